import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from PIL import Image

from mobanet.errors import UserError
from mobanet.figures.predictions import RIGHT, WRONG
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.reporting import thinning
from mobanet.reporting.images import jpeg_uri, png_uri
from mobanet.reporting.pictures import read_map, tile_pictures
from mobanet.reporting.thinning import block_means, block_middles, thin
from mobanet.reporting.tiles_section import caption
from tests.reporting.conftest import opened, write_map


def decoded(uri):
    kind, _, content = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == f"data:image/{image.format.lower()}"
    return np.asarray(image.convert("RGB"))


def test_class_maps_keep_every_pixel_and_photographs_nearly():
    generator = np.random.default_rng(0)
    indices, palette = generator.integers(0, 3, (40, 31)).astype(np.uint8), [(255, 0, 3), (0, 0, 0), (9, 200, 7)]
    assert np.array_equal(decoded(png_uri(indices, palette)), np.array(palette)[indices])
    ramp = np.linspace(0, 1, 64)[:, None, None] * np.linspace(0.2, 1, 48)[None, :, None] * (1.0, 0.5, 0.8)
    assert np.abs(decoded(jpeg_uri(ramp)) - 255 * ramp).max() < 6


def test_block_means_are_over_measured_pixels_and_edges_are_smaller_blocks():
    generator = np.random.default_rng(1)
    pixels, valid = generator.integers(0, 255, (7, 11, 2)).astype(np.uint8), generator.integers(0, 2, (7, 11))
    valid[0:3, 3:6] = 0
    means, measured = block_means(pixels, valid, 3)
    assert means.shape == (3, 4, 2)
    assert not measured[0, 1]
    for row in range(3):
        for column in range(4):
            block = np.s_[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            there = pixels[block][valid[block] > 0]
            assert measured[row, column] == bool(len(there))
            np.testing.assert_allclose(means[row, column], there.mean(0) if len(there) else 0, rtol=1e-6)
    whole, everywhere = block_means(pixels, None, 1)
    assert np.array_equal(whole, pixels)
    assert everywhere.all()


def test_block_middles_come_from_the_middle_or_the_edge():
    indices = np.arange(7 * 5).reshape(7, 5)
    assert block_middles(indices, 3).tolist() == [[6, 9], [21, 24], [31, 34]]
    assert np.array_equal(block_middles(indices, 1), indices)


def test_a_tile_read_in_bands_is_the_tile_read_at_once(run, monkeypatch):
    data = opened(run)
    (tile,) = data.tiles("test")
    prediction = read_map(run / f"test/maps/{tile.id}.tif", tile, 6)[0]
    at_once = thin(data, tile, prediction, side=50)
    monkeypatch.setattr(thinning, "_ROWS", 24)
    in_bands = thin(data, tile, prediction, side=50)
    assert at_once.factor == 4  # 160 pixels
    assert in_bands.truth.shape == (40, 40)
    assert np.array_equal(in_bands.truth, at_once.truth)
    for name, values in at_once.inputs.items():
        np.testing.assert_allclose(in_bands.inputs[name], values, rtol=1e-6)
    label = data.picture(tile.id, slice(0, 160), slice(0, 160)).label
    counts = label != IGNORE_INDEX
    assert (in_bands.right, in_bands.counted) == ((counts & (label == prediction)).sum(), counts.sum())
    assert (at_once.right, at_once.counted) == (in_bands.right, in_bands.counted)


def test_the_pictures_of_a_tile_show_inputs_truth_prediction_and_errors(run):
    data = opened(run)
    (tile,) = data.tiles("test")
    classes = data.layout.classes
    made = tile_pictures(data, tile, run / f"test/maps/{tile.id}.tif", classes, 768)
    pictures = {picture.label: decoded(picture.uri) for picture in made.pictures}
    assert list(pictures) == ["rgb", "ir", "dsm", "truth", "prediction", "error"]
    assert {picture.shape for picture in pictures.values()} == {(160, 160, 3)}
    assert all(len(np.unique(pictures[name].reshape(-1, 3), axis=0)) > 50 for name in ("rgb", "ir", "dsm"))
    label = data.picture(tile.id, slice(0, 160), slice(0, 160)).label
    colours = np.zeros((256, 3), np.uint8)
    colours[:6] = classes.colours
    assert np.array_equal(pictures["truth"], colours[label])
    assert (pictures["prediction"][:40] == classes.colours[1]).all()
    assert (pictures["prediction"][-5:, -5:] == 0).all()
    expected = np.where((label != IGNORE_INDEX)[..., None], RIGHT, (0, 0, 0))
    wrong = (label != IGNORE_INDEX) & (np.arange(160)[:, None] < 40) & (label != 1)
    wrong[-5:, -5:] |= (label != IGNORE_INDEX)[-5:, -5:]
    expected[wrong] = WRONG
    assert np.array_equal(pictures["error"], expected)
    counted = (label != IGNORE_INDEX).sum()
    assert made.accuracy == pytest.approx(1 - wrong.sum() / counted)
    (truth,) = (p for p in made.pictures if p.label == "truth")
    assert truth.discrete
    assert truth.described.startswith("reference classes, eroded labels: ")
    assert f"{100 * made.accuracy:.1f} % of all pixels that count are right" in caption(made)
    assert "; predicted with rgb+ir+dsm; " in caption(made)
    assert "whole tile, 160 × 160 pixels of 0.4 m; every pixel shown" in caption(made)  # noqa: RUF001


def test_a_larger_tile_is_thinned_and_its_caption_says_so(run):
    data = opened(run)
    (tile,) = data.tiles("test")
    made = tile_pictures(data, tile, run / f"test/maps/{tile.id}.tif", data.layout.classes, 60)
    assert {decoded(p.uri).shape for p in made.pictures} == {(54, 54, 3)}
    assert "thinned to 54 × 54 of 1.2 m: means of the inputs, every third pixel" in caption(made)  # noqa: RUF001
    nowhere = replace(made, metres=None, factor=4, lacking=("dsm",), accuracy=None, scenario="")
    assert caption(nowhere).endswith("every 4th pixel of the class maps; the tile has no dsm")
    for factor, words in ((11, "11th"), (12, "12th"), (21, "21st"), (22, "22nd"), (33, "33rd"), (112, "112th")):
        assert f"every {words} pixel" in caption(replace(made, factor=factor))
    assert " m" not in caption(nowhere).replace(" means", "").replace(" maps", "")


def test_a_tile_without_a_modality_or_square_metres_is_shown_without_them(run, monkeypatch):
    data = opened(run)
    (tile,) = data.tiles("test")
    bare = replace(tile, modalities={name: r for name, r in tile.modalities.items() if name != "dsm"}, crs="EPSG:4326")
    monkeypatch.setitem(data._roles, "test", [bare])
    made = tile_pictures(data, bare, run / f"test/maps/{tile.id}.tif", data.layout.classes, 768)
    assert [p.label for p in made.pictures] == ["rgb", "ir", "truth", "prediction", "error"]
    assert made.lacking == ("dsm",)
    assert made.metres is None


MAPS = {
    "too small": (lambda m: m[:-1], "160 x 159 pixels and its tile .* 160 x 160"),
    "another class": (lambda m: np.where(m == 1, 6, m), "holds other values than the 6 classes"),
    "another type": (lambda m: m.astype("int16"), "holds other values than the 6 classes"),
}


@pytest.mark.parametrize("case", MAPS)
def test_a_class_map_of_something_else_is_refused(case, run, tmp_path):
    change, words = MAPS[case]
    (tile,) = opened(run).tiles("test")
    with rasterio.open(run / f"test/maps/{tile.id}.tif") as raster:
        good = raster.read(1)
    write_map(tmp_path / "map.tif", change(good))
    with pytest.raises(UserError, match=rf"map\.tif .*{words}.*; run mobanet.test again"):
        read_map(tmp_path / "map.tif", tile, 6)


def test_a_truncated_class_map_is_named(run, tmp_path):
    (tile,) = opened(run).tiles("test")
    content = (run / f"test/maps/{tile.id}.tif").read_bytes()
    (tmp_path / "map.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"map\.tif cannot be read as a class map; run mobanet.test again"):
        read_map(tmp_path / "map.tif", tile, 6)


def test_a_map_that_names_another_raster_is_none(run, tmp_path):
    """It might be anywhere."""
    (tile,) = opened(run).tiles("test")
    source = f"<SourceFilename>{run}/test/maps/{tile.id}.tif</SourceFilename><SourceBand>1</SourceBand>"
    band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource></VRTRasterBand>'
    size = f'rasterXSize="{tile.width}" rasterYSize="{tile.height}"'
    (tmp_path / "map.tif").write_text(f"<VRTDataset {size}>{band}</VRTDataset>")
    with rasterio.open(tmp_path / "map.tif") as raster:
        assert raster.shape == (tile.height, tile.width)
    with pytest.raises(UserError, match=r"map\.tif cannot be read as a class map; run mobanet.test again"):
        read_map(tmp_path / "map.tif", tile, 6)
