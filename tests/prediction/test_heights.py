"""Heights above the ground: the same in training, test and prediction, and however a scene is cut."""

import numpy as np
import pytest
import rasterio

from mobanet.checkpoints.content import check_scaling
from mobanet.data.reading import TileReader, TileWindow
from mobanet.data.scaling import learnt_radius
from mobanet.errors import UserError
from mobanet.plain.schema import MismatchError
from mobanet.prediction.parts import PartRun, parts_of
from mobanet.prediction.samples import WindowRules, read_windows
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.rasters.ground import STEP
from mobanet.store.elevation import ground_of
from mobanet.store.stored import TileStore
from mobanet.synthetic.scene import render_tile
from tests.data_files.fake_files import write
from tests.prediction.conftest import MODALITIES, placed

SCALING = {"rgb": "unit", "ir": "unit", "dsm": "ground"}
LEARNT = {
    "rgb": np.array([[0.0] * 3, [255.0] * 3]),
    "ir": np.array([[0.0], [255.0]]),
    "dsm": np.array([[0.0], [5.0], [float(STEP)]]),
}
RULES = WindowRules(64, 64, "pixel", "nodata")
SIZE = 960


def heights(path, window=None):
    """The DSM of a scene as the network gets it, (H, W), NaN where it was not measured."""
    scene = placed(dsm=path)
    scaling = SceneScaling.measured(scene, MODALITIES, SCALING, LEARNT)
    parts = parts_of(0, scene.grid.height, scene.grid.width, 10_000, 10_000)
    found = np.full((scene.grid.height, scene.grid.width), np.nan, np.float32)
    for sample in read_windows([PartRun(tuple(parts))], [scene], [scaling], MODALITIES, RULES):
        values = sample.raw["inputs"]["dsm"][:, :, 0].numpy().copy()
        values[sample.raw["valid"]["dsm"].numpy() == 0] = np.nan
        here = found[sample.top : sample.top + 64, sample.left : sample.left + 64]
        here[:] = values[: here.shape[0], : here.shape[1]]
        assert sample.raw["offset_scale"]["dsm"].flatten().tolist() == [0, 5]
    return found


@pytest.fixture(scope="module")
def surface():
    return render_tile(5, SIZE).dsm


def saved(folder, name, values, top=0, left=0, **profile):
    """A cut of a scene whose pixels are 0.25 m, where it lies."""
    transform = rasterio.Affine(0.25, 0, 366_000.3 + 0.25 * left, 0, -0.25, 5_808_000.1 - 0.25 * top)
    return write(folder / f"{name}.tif", values[None], transform=transform, crs="EPSG:32633", **profile)


def test_a_scene_has_the_heights_that_its_tile_was_trained_on(prepared):
    store = TileStore(prepared / "mobanet_store")
    tiles = list(store.tiles.values())
    for tile in tiles[:2]:
        reader = TileReader([tile], {"dsm": 1}, "full", 64, {"dsm": [ground_of(tile, "dsm", STEP)]})
        stored = reader.read(TileWindow(0, 0, 0, tile.height, tile.width)).inputs["dsm"][:, :, 0]
        assert np.abs(stored).max() > 3
        assert np.array_equal(heights(prepared / tile.modalities["dsm"].source), stored)


def test_heights_in_a_mosaic_and_in_its_quarters_are_one(surface, tmp_path):
    whole = heights(saved(tmp_path, "whole", surface))
    half, rim = SIZE // 2, STEP + STEP // 2
    for row in (0, half):
        for column in (0, half):
            cut = surface[row : row + half, column : column + half]
            found = heights(saved(tmp_path, f"cut_{row}_{column}", cut, row, column))
            off = np.abs(found - whole[row : row + half, column : column + half])
            away = tuple(slice(rim, None) if start else slice(half - rim) for start in (row, column))
            assert off[away].max() < 1e-4
            assert np.sqrt(np.mean(off**2)) < 1.0  # metres, of a cut that is nearly all rim


@pytest.mark.parametrize("lift", [30, 300])
def test_heights_do_not_depend_on_the_datum(lift, surface, tmp_path):
    off = heights(saved(tmp_path, "lifted", surface + np.float32(lift))) - heights(saved(tmp_path, "flat", surface))
    assert np.abs(off).max() < 1e-3


def test_heights_are_the_same_on_a_slope(surface, tmp_path):
    slope = (0.1 * 0.25 * np.arange(SIZE)[None] + np.zeros((SIZE, 1))).astype(np.float32)
    off = heights(saved(tmp_path, "slope", surface + slope)) - heights(saved(tmp_path, "flat", surface))
    assert np.abs(off).max() < 0.2  # of 21 m


def test_a_hole_stays_a_hole(surface, tmp_path):
    holed = surface[:300, :300].copy()
    holed[40:90, 100:200] = -9999
    found = heights(saved(tmp_path, "holed", holed, nodata=-9999))
    assert np.array_equal(np.isnan(found), holed == -9999)


def test_the_radius_comes_from_the_size_of_pixels_or_from_the_user(make_data, prepared):
    for given, expected in ((None, 256), (512, 512)):
        data = make_data(root=str(prepared), ground_radius=given)
        data.prepare_data()
        data.setup("fit")
        learnt = np.array(data.state_dict()["scaling"]["dsm"])
        assert learnt.shape == (3, 1)
        assert learnt_radius("ground", learnt) == expected
        assert 1 < learnt[1, 0] < 15  # half the range of heights in metres
        sample = next(iter(data.train_dataloader()))["inputs"]["dsm"]
        assert sample.abs().max() < 40  # of elevations of 35 to 95 m


def test_a_checkpoints_radius_is_the_one_that_is_kept(make_data, prepared):
    data = make_data(root=str(prepared), ground_radius=512)
    data.prepare_data()
    data.setup("fit")
    other = make_data(root=str(prepared))
    other.load_state_dict(data.state_dict())
    other.setup("fit")
    assert other.state_dict()["scaling"] == data.state_dict()["scaling"]
    one, two = (next(iter(of.val_dataloader()))["inputs"]["dsm"] for of in (data, other))
    assert np.array_equal(one.numpy(), two.numpy())


@pytest.mark.parametrize(("scaling", "rows"), [("ground", 2), ("robust", 3)])
def test_numbers_of_another_scaling_are_refused(scaling, rows, make_data):
    data = make_data(modalities=["dsm"], scaling={"dsm": scaling})
    with pytest.raises(UserError, match=rf"--data\.scaling\.dsm is {scaling}, and the checkpoint's model was trained"):
        data.load_state_dict({"scaling": {"dsm": [[0.0], [5.0], [256.0]][:rows]}})


@pytest.mark.parametrize("radius", [0, -256, 100, 2**40])
def test_a_radius_that_fits_no_lattice_is_refused(radius, make_data):
    with pytest.raises(UserError, match=rf"--data\.ground_radius is {radius}; give a multiple of 256 pixels, at most"):
        make_data(ground_radius=radius)


def test_only_elevation_has_a_ground(make_data):
    with pytest.raises(UserError, match=r"--data\.scaling\.rgb is ground, which is for elevation"):
        make_data(scaling={"rgb": "ground"})


@pytest.mark.parametrize("third", [[], [[100.0]], [[1e300]], [[float("nan")]], [[256.0, 256.0]]])
def test_the_door_refuses_radii_that_cannot_be(third):
    data = {"modalities": [{"name": "dsm", "bands": ["height"]}], "scaling": {"dsm": "ground"}}
    check_scaling({"scaling": {"dsm": [[0.0], [1.0], [512.0]]}}, data, "state")
    with pytest.raises(MismatchError):
        check_scaling({"scaling": {"dsm": [[0.0], [1.0], *third]}}, data, "state")
