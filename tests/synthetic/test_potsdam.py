import cv2
import numpy as np
import pytest
import rasterio

from mobanet.synthetic import tile_names
from tests.synthetic.rasters import classes_of, files_below, read

TILES = tile_names("potsdam", 4)


def padded(tile):
    row, column = (int(part) for part in tile.split("_"))
    return f"{row:02d}_{column:02d}"


def test_files_are_named_as_the_benchmark_names_them(potsdam):
    expected = set()
    for tile in TILES:
        for folder, bands in (("2_Ortho_RGB", "RGB"), ("3_Ortho_IRRG", "IRRG"), ("4_Ortho_RGBIR", "RGBIR")):
            expected |= {f"{folder}/top_potsdam_{tile}_{bands}{suffix}" for suffix in (".tif", ".tfw")}
        expected |= {f"1_DSM/dsm_potsdam_{padded(tile)}{suffix}" for suffix in (".tif", ".tfw")}
        for way in ("lastools", "ownapproach"):
            expected.add(f"1_DSM_normalisation/dsm_potsdam_{padded(tile)}_normalized_{way}.jpg")
        expected.add(f"5_Labels_all/top_potsdam_{tile}_label.tif")
        expected.add(f"5_Labels_all_noBoundary/top_potsdam_{tile}_label_noBoundary.tif")
    assert files_below(potsdam) == expected
    assert "1_DSM/dsm_potsdam_02_10.tif" in expected


@pytest.mark.parametrize("tile", TILES)
def test_bands_types_and_sizes(potsdam, tile):
    rgbir = read(potsdam / f"4_Ortho_RGBIR/top_potsdam_{tile}_RGBIR.tif")
    assert rgbir.dtype == np.uint8
    assert rgbir.shape == (4, 256, 256)
    np.testing.assert_array_equal(read(potsdam / f"2_Ortho_RGB/top_potsdam_{tile}_RGB.tif"), rgbir[:3])
    np.testing.assert_array_equal(read(potsdam / f"3_Ortho_IRRG/top_potsdam_{tile}_IRRG.tif"), rgbir[[3, 0, 1]])
    dsm = read(potsdam / f"1_DSM/dsm_potsdam_{padded(tile)}.tif")
    assert dsm.dtype == np.float32
    assert dsm.shape == (1, 256, 256)
    assert np.isfinite(dsm).all()
    assert 25 < dsm.min() < dsm.max() < 130
    for way in ("lastools", "ownapproach"):
        ndsm = read(potsdam / f"1_DSM_normalisation/dsm_potsdam_{padded(tile)}_normalized_{way}.jpg")
        assert ndsm.dtype == np.uint8
        assert ndsm.shape == (1, 256, 256)


def test_infrared_is_no_alpha_band(potsdam):
    with rasterio.open(potsdam / f"4_Ortho_RGBIR/top_potsdam_{TILES[0]}_RGBIR.tif") as raster:
        assert all(flags == [rasterio.enums.MaskFlags.all_valid] for flags in raster.mask_flag_enums)


@pytest.mark.parametrize("tile", TILES)
def test_every_class_is_there(potsdam, tile):
    classes = classes_of(potsdam / f"5_Labels_all/top_potsdam_{tile}_label.tif")
    assert set(np.unique(classes)) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("tile", TILES)
def test_eroded_labels_lack_a_disc_of_three_pixels(potsdam, tile):
    classes = classes_of(potsdam / f"5_Labels_all/top_potsdam_{tile}_label.tif")
    eroded = classes_of(potsdam / f"5_Labels_all_noBoundary/top_potsdam_{tile}_label_noBoundary.tif")
    foreign = np.zeros(classes.shape, bool)
    for index in range(6):
        # distance to the nearest pixel of another class, exact to rounding
        distance = cv2.distanceTransform((classes == index).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        foreign |= (classes == index) & (distance < 3.0001)
    np.testing.assert_array_equal(eroded == 255, foreign)
    np.testing.assert_array_equal(eroded[~foreign], classes[~foreign])


def test_world_files_make_a_grid_of_adjoining_tiles(potsdam):
    def corner(tile):
        lines = (potsdam / f"1_DSM/dsm_potsdam_{padded(tile)}.tfw").read_text().split()
        a, d, b, e, x, y = (float(line) for line in lines)
        assert (a, d, b, e) == (0.25, 0, 0, -0.25)
        top = (potsdam / f"4_Ortho_RGBIR/top_potsdam_{tile}_RGBIR.tfw").read_text().split()
        assert top == lines
        return np.array((x - a / 2, y - e / 2))

    side = 256 * 0.25
    np.testing.assert_allclose(corner("2_11") - corner("2_10"), (side, 0))
    np.testing.assert_allclose(corner("2_13") - corner("2_12"), (side, 0))
    with rasterio.open(potsdam / "4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif") as raster:
        assert raster.crs is None
        np.testing.assert_allclose((raster.transform.c, raster.transform.f), corner("2_10"))


def test_infrared_tells_plants_from_the_rest(potsdam):
    plants, others = [], []
    for tile in TILES:
        red, _, _, infrared = read(potsdam / f"4_Ortho_RGBIR/top_potsdam_{tile}_RGBIR.tif").astype(float)
        classes = classes_of(potsdam / f"5_Labels_all_noBoundary/top_potsdam_{tile}_label_noBoundary.tif")
        ndvi = (infrared - red) / (infrared + red + 1)
        plants.append(ndvi[(classes == 2) | (classes == 3)])
        others.append(ndvi[(classes == 0) | (classes == 4)])
    plants, others = np.concatenate(plants), np.concatenate(others)
    assert np.median(plants) > 0.2
    assert np.median(others) < 0.02
    assert ((plants > 0.08).mean() + (others < 0.08).mean()) / 2 > 0.9


def test_normalised_heights_are_decimetres_above_ground(potsdam):
    for tile in TILES:
        classes = classes_of(potsdam / f"5_Labels_all_noBoundary/top_potsdam_{tile}_label_noBoundary.tif")
        for way in ("lastools", "ownapproach"):
            ndsm = read(potsdam / f"1_DSM_normalisation/dsm_potsdam_{padded(tile)}_normalized_{way}.jpg")[0]
            assert np.median(ndsm[classes == 0]) < 6
            assert 22 < np.median(ndsm[classes == 1]) < 250
            assert 25 < np.median(ndsm[classes == 3]) < 170
