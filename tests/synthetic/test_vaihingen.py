import numpy as np

from mobanet.datasets.isprs_splits import VAIHINGEN
from mobanet.synthetic import tile_names
from tests.synthetic.rasters import classes_of, files_below, read

TILES = tile_names("vaihingen", 4)
COMPLETE = "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE"
ERODED = "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE"


def test_files_are_named_as_the_benchmark_names_them(vaihingen):
    official = VAIHINGEN["official"]
    expected = set()
    for tile in TILES:
        top = f"top_mosaic_09cm_area{tile}"
        expected |= {f"top/{top}.tif", f"{COMPLETE}/{top}.tif", f"{ERODED}/{top}_noBoundary.tif"}
        expected |= {f"dsm/dsm_09cm_matching_area{tile}{suffix}" for suffix in (".tif", ".tfw")}
        expected.add(f"ndsm/dsm_09cm_matching_area{tile}_normalized.jpg")
        if tile in (*official.train, *official.validation):
            expected.add(f"gts_for_participants/{top}.tif")
    assert files_below(vaihingen) == expected


def test_tiles_differ_in_size_and_products_agree(vaihingen):
    sizes = set()
    for tile in TILES:
        top = read(vaihingen / f"top/top_mosaic_09cm_area{tile}.tif")
        dsm = read(vaihingen / f"dsm/dsm_09cm_matching_area{tile}.tif")
        classes = classes_of(vaihingen / f"{COMPLETE}/top_mosaic_09cm_area{tile}.tif")
        assert top.dtype == np.uint8
        assert dsm.dtype == np.float32
        assert len(top) == 3
        assert top.shape[1:] == dsm.shape[1:] == classes.shape
        assert all(0.89 * 160 < side < 1.11 * 160 for side in classes.shape)
        assert 230 < dsm.min() < dsm.max() < 380
        sizes.add(classes.shape)
    assert len(sizes) == len(TILES)


def test_bands_are_infrared_red_green(vaihingen):
    infrared, red, green = (
        np.concatenate(
            [
                read(vaihingen / f"top/top_mosaic_09cm_area{tile}.tif")[band][
                    classes_of(vaihingen / f"{ERODED}/top_mosaic_09cm_area{tile}_noBoundary.tif") == 3
                ]
                for tile in TILES
            ]
        ).mean()
        for band in range(3)
    )
    assert infrared > 1.3 * green > 1.3 * red
