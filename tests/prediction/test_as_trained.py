"""Rasters are read by the training's rule unless told otherwise, and other pixels than the training's are said."""

import json

import numpy as np
import pytest
import rasterio

from mobanet.data.training_rasters import TrainingRasters, check_rasters
from mobanet.datasets import get_layout
from mobanet.errors import UserError
from mobanet.plain.schema import MismatchError
from mobanet.prediction.as_trained import TRAINING
from mobanet.prediction.request import GivenRaster
from mobanet.prediction.rows import RasterRows
from mobanet.prediction.scene import place
from mobanet.rasters.reader import ReadingRule
from tests.data_files.fake_files import georeferenced, noise, write
from tests.prediction.conftest import MODALITIES, given, slope

HERE = {**georeferenced(366_000, 5_808_000, 0.25), "crs": "EPSG:32633"}
RULES = {
    "rgb": ReadingRule("uint8", (0, 1, 2), 4),
    "ir": ReadingRule("uint8", (3,), 4),
    "dsm": ReadingRule("uint8", (0,), 1, 0.1, 255.0),
}
TRAINED = TrainingRasters(RULES, 0.25, ("EPSG:32633",))


def placed(trained=TRAINED, resolution=None, **rasters):
    return place(given(**rasters), MODALITIES, trained=trained, resolution=resolution)


def values_of(scene, name):
    with RasterRows(scene.rasters[name]) as rows:
        (chunk,) = list(rows.chunks())
    return chunk


@pytest.fixture
def decimetres(tmp_path):
    """A normalised surface model as ISPRS delivers it: bytes, in decimetres."""
    values = np.arange(60 * 50, dtype=np.uint16).reshape(1, 60, 50) % 250
    values[0, 0, 0] = 255
    return write(tmp_path / "ndsm.tif", values.astype(np.uint8), **HERE)


def test_a_factor_and_nodata_of_the_training_hold_for_files_like_its_own(decimetres):
    scene = placed(dsm=decimetres)
    values, valid = values_of(scene, "dsm")
    assert values[0, 1, 0] == pytest.approx(0.1)
    assert values.max() < 26
    assert not valid[0, 0]
    assert valid.sum() == 60 * 50 - 1
    assert "dsm: values of ndsm.tif are multiplied by 0.1, as in training; --factor dsm=1 leaves them as they are" in (
        scene.notes
    )
    assert "dsm: 255 in ndsm.tif means missing, as in training" in scene.notes


def test_what_the_user_says_wins(decimetres):
    scene = placed(dsm=GivenRaster(decimetres, factor=1.0, nodata=7.0))
    values, valid = values_of(scene, "dsm")
    assert values[0, 1, 0] == 1
    assert valid[0, 0]
    assert not valid[0, 7]
    assert not [note for note in scene.notes if "as in training" in note]


def test_what_the_file_says_wins(tmp_path):
    values = np.full((1, 60, 50), 200, np.uint8)
    path = write(tmp_path / "scaled.tif", values, **HERE)
    with rasterio.open(path, "r+") as file:
        file.scales = (0.05,)
    found, _ = values_of(placed(dsm=path), "dsm")
    assert found[0, 0, 0] == pytest.approx(10)


def test_files_of_another_type_are_left_alone_and_that_is_said(tmp_path):
    path = write(tmp_path / "metres.tif", slope(60, 50), **HERE)
    scene = placed(dsm=path)
    assert np.array_equal(values_of(scene, "dsm")[0][:, :, 0], slope(60, 50)[0])
    (note,) = [note for note in scene.notes if "left as they are" in note]
    assert "(float32)" in note
    assert "(uint8) were multiplied by 0.1; --factor dsm=X" in note


def test_bands_are_the_trainings_where_a_file_has_others(tmp_path):
    values = noise("four", 4, (60, 50))
    path = write(tmp_path / "rgbir.tif", values, **HERE)
    scene = placed(rgb=path, ir=path)
    assert np.array_equal(values_of(scene, "rgb")[0], values[:3].transpose(1, 2, 0))
    assert np.array_equal(values_of(scene, "ir")[0][:, :, 0], values[3])
    assert "ir: band 4 of rgbir.tif is read, as in training" in scene.notes
    other = placed(rgb=GivenRaster(path, (2, 1, 0)), ir=GivenRaster(path, (0,)))
    assert np.array_equal(values_of(other, "ir")[0][:, :, 0], values[0])
    five = write(tmp_path / "five.tif", noise("five", 5, (60, 50)), **HERE)
    with pytest.raises(UserError, match="has 5 bands where the model's rgb has 3"):
        placed(rgb=five)  # which of them are red, green and blue, files of four bands do not tell
    with pytest.raises(UserError, match="bands where the model's ir has 1"):
        placed(TrainingRasters(), ir=path)


@pytest.mark.parametrize(
    ("pixel", "words"),
    [
        (0.08, "pixels of 0.08 m are 3.1"),
        (0.25, None),
        (0.3, None),
        (1.0, "pixels of 1 m are 4 times as large as those that the model was trained on (0.25 m)"),
    ],
)
def test_pixels_of_another_size_are_said(pixel, words, tmp_path):
    here = {**georeferenced(366_000, 5_808_000, pixel), "crs": "EPSG:32633"}
    scene = placed(rgb=write(tmp_path / "ortho.tif", noise("pixels", 3, (60, 50)), **here))
    said = [note for note in scene.notes if "trained on" in note]
    assert len(said) == (words is not None)
    if words:
        assert words in said[0]
        assert "--resolution training resamples them" in said[0]
    assert scene.grid.size == "50 x 60"


def test_web_mercator_is_measured_on_the_ground(tmp_path):
    here = {**georeferenced(1_456_000, 6_876_000, 0.41), "crs": "EPSG:3857"}  # 0.25 m at 52.4 degrees north
    assert placed(rgb=write(tmp_path / "ortho.tif", noise("pixels", 3, (60, 50)), **here)).notes == ()


@pytest.mark.parametrize("resolution", [TRAINING, "0.25", 0.25])
def test_a_map_can_have_the_pixels_of_the_training(resolution, tmp_path):
    fine = {**georeferenced(366_000, 5_808_000, 0.0625), "crs": "EPSG:32633"}
    ortho = write(tmp_path / "ortho.tif", np.repeat(np.repeat(noise("fine", 3, (30, 25)), 4, 1), 4, 2), **fine)
    dsm = write(tmp_path / "dsm.tif", slope(30, 25), **HERE)
    scene = placed(resolution=resolution, rgb=ortho, dsm=dsm)
    assert scene.grid.size == "25 x 30"
    assert scene.grid.transform == pytest.approx((0.25, 0, 366_000, 0, -0.25, 5_808_000), rel=1e-3)
    assert "the map's pixels are 0.25 m, the reference raster's 0.0625 m" in scene.notes[0]
    off = values_of(scene, "rgb")[0].astype(int) - noise("fine", 3, (30, 25)).transpose(1, 2, 0)
    assert np.abs(off).mean() < 40  # a bilinear kernel of two pixels blurs noise
    assert np.abs(off.mean()) < 2
    assert values_of(scene, "dsm")[0].shape == (30, 25, 1)


@pytest.mark.parametrize(
    ("resolution", "words"),
    [
        ("none", "--resolution none is no size of a pixel; give metres, or training."),
        ("-1", "--resolution -1 is no size"),
        ("nan", "is no size"),
        ("100", "400 times as large as the raster's 0.25 m; give one between 0.00391 and 16."),
    ],
)
def test_resolutions_that_cannot_be_had_are_refused(resolution, words, tmp_path):
    path = write(tmp_path / "ortho.tif", noise("pixels", 3, (60, 50)), **HERE)
    with pytest.raises(UserError) as refused:
        placed(resolution=resolution, rgb=path)
    assert words in str(refused.value)


def test_a_resolution_needs_two_known_sizes(tmp_path):
    path = write(tmp_path / "ortho.tif", noise("pixels", 3, (60, 50)), **HERE)
    with pytest.raises(UserError, match="the checkpoint does not say how large the pixels of its training were"):
        placed(TrainingRasters(), TRAINING, rgb=path)
    bare = write(tmp_path / "bare.tif", noise("pixels", 3, (60, 50)))
    with pytest.raises(UserError, match="the reference raster does not say how large its pixels are on the ground"):
        placed(resolution=TRAINING, rgb=bare)


def test_a_checkpoint_says_how_its_rasters_were_read(make_data, city, tmp_path):
    """The city's elevations are in metres; the official normalised models of the same layout are in decimetres."""
    layout = get_layout("potsdam")
    assert "ndsm" in layout.modalities
    store = {"root": str(city), "store": str(tmp_path / "store")}
    data = make_data(**store, modalities=["rgb", "ir", "ndsm"])
    data.prepare_data()
    data.setup("fit")
    plain = json.loads(json.dumps(data.state_dict()["rasters"]))  # as plain as a checkpoint asks for
    check_rasters(plain, "rasters")
    found = TrainingRasters.from_plain(plain)
    assert found.rules["ndsm"] == ReadingRule("uint8", (0,), 1, 0.1, None)
    assert found.rules["ir"].bands == (3,)
    assert found.side == pytest.approx(0.4, rel=2e-3)  # 64 m on 160 pixels
    assert found.systems == ("EPSG:32633",)
    other = make_data(**store, modalities=["rgb", "ir", "ndsm"])
    other.load_state_dict(data.state_dict())
    other.setup("fit")
    assert other.state_dict()["rasters"] == data.state_dict()["rasters"]


def test_checkpoints_made_before_say_nothing(make_data, prepared):
    assert TrainingRasters.from_plain(None) == TrainingRasters()
    data = make_data(root=str(prepared))
    data.prepare_data()
    data.setup("fit")
    older = {key: value for key, value in data.state_dict().items() if key != "rasters"}
    data.load_state_dict(older)
    assert data.state_dict()["rasters"] == TrainingRasters().to_plain()


@pytest.mark.parametrize(
    "change",
    [
        {"side": -1.0},
        {"side": "wide"},
        {"systems": 3},
        {"rules": {"dsm": {"dtype": "uint8", "bands": [0], "count": 1, "factor": 0.0}}},
        {"rules": {"dsm": {"dtype": "uint8", "bands": [-1], "count": 1, "factor": 1.0}}},
        {"rules": {"dsm": {"dtype": "uint8", "bands": [], "count": 1, "factor": 1.0}}},
        {"rules": {"dsm": {"dtype": "uint8", "bands": [0], "count": 1, "factor": 1.0, "path": "/etc/passwd"}}},
        {"rules": {"dsm": {"dtype": "uint8", "bands": [1], "count": 1}}},
        {"rules": {"dsm": {"dtype": "uint8", "bands": [0]}}},
        {"more": 1},
    ],
)
def test_the_door_refuses_what_describes_no_rasters(change):
    check_rasters(TRAINED.to_plain(), "rasters")
    with pytest.raises(MismatchError):
        check_rasters({**TRAINED.to_plain(), **change}, "rasters")
