import numpy as np
import pytest

from mobanet.data.scaling import learn, offset_scale, tile_offset_scale
from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.rasters.statistics import BandStatistics
from mobanet.store.stored import TileStore
from tests.data_files.fake_files import georeferenced, noise, write
from tests.prediction.conftest import MODALITIES, placed, slope

SCALINGS = ("robust", "minmax", "standard", "unit")


def scene_offset_scale(*given):
    return SceneScaling.measured(*given).offset_scale


@pytest.fixture(scope="module")
def store(prepared):
    return TileStore(prepared / "mobanet_store")


def scene_of(tile, root):
    bands = {"rgb": (0, 1, 2), "ir": (3,), "dsm": (0,)}
    # of all that the store holds by now, which others share, what the model takes
    return placed(**{n: GivenRaster(root / tile.modalities[n].source, own) for n, own in bands.items()})


@pytest.mark.parametrize("scaling", SCALINGS)
def test_levels_of_a_scene_are_those_of_the_same_tile_in_a_store(scaling, store, prepared):
    tiles = list(store.tiles.values())
    chosen = dict.fromkeys(MODALITIES, scaling)
    learnt = {name: learn(modality, scaling, tiles[:3]) for name, modality in MODALITIES.items()}
    for tile in tiles[::3]:
        found = scene_offset_scale(scene_of(tile, prepared), MODALITIES, chosen, learnt)
        assert list(found) == list(MODALITIES)
        for name, modality in MODALITIES.items():
            expected = offset_scale(modality, scaling, learnt[name], [tile])[0]
            assert found[name].dtype == np.float32
            assert np.array_equal(found[name], expected)


def test_levels_look_at_the_scene_where_the_scaling_does(store, prepared):
    """So that the test above compares more than what was learnt."""
    one, other = (scene_of(store.tiles[name], prepared) for name in list(store.tiles)[:2])
    learnt = {name: learn(modality, "standard", list(store.tiles.values())) for name, modality in MODALITIES.items()}
    for scaling in SCALINGS:
        found = [
            scene_offset_scale(s, MODALITIES, dict.fromkeys(MODALITIES, scaling), learnt)["dsm"] for s in (one, other)
        ]
        assert np.array_equal(*found) == (scaling in ("standard", "unit"))


def test_a_modality_that_the_scene_lacks_gets_what_was_learnt(ortho):
    learnt = {"rgb": np.array([[0.0] * 3, [255.0] * 3]), "ir": np.array([[3.0], [4.0]]), "dsm": np.array([[0], [7.5]])}
    found = scene_offset_scale(placed(rgb=ortho), MODALITIES, {"rgb": "unit", "ir": "minmax", "dsm": "robust"}, learnt)
    assert found["dsm"].tolist() == [[0], [7.5]]
    assert found["ir"].tolist() == [[3], [4]]
    assert found["rgb"].tolist() == [[0] * 3, [255] * 3]


def test_levels_are_those_of_what_lies_on_the_map(tmp_path, ortho):
    """As of a tile: pixels outside the map do not count."""
    wide = np.full((1, 200, 200), 900, np.float32)
    wide[0, 60:150, 40:110] = slope(90, 70)[0]
    dsm = write(tmp_path / "wide.tif", wide, **georeferenced(960, 2060, 1))
    chosen = {"rgb": "unit", "ir": "unit", "dsm": "minmax"}
    learnt = {name: np.stack([np.zeros(len(m.bands)), np.ones(len(m.bands))]) for name, m in MODALITIES.items()}
    found = scene_offset_scale(placed(rgb=ortho, dsm=dsm), MODALITIES, chosen, learnt)["dsm"]
    values = slope(90, 70)
    assert found[:, 0] == pytest.approx([values.min(), np.ptp(values)], rel=1e-6)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["rgb", "dsm"])
def test_a_raster_without_a_valid_pixel_is_refused_whichever_it_is(scaling, name, tmp_path, ortho, surface):
    """The first one sets the grid; whether a scaling asks for its figures makes no difference either."""
    bands, here = len(MODALITIES[name].bands), georeferenced(1000, 2000, 1)
    empty = write(tmp_path / "empty.tif", np.full((bands, 90, 70), np.nan, np.float32), **here)
    learnt = {name: np.stack([np.zeros(len(m.bands)), np.ones(len(m.bands))]) for name, m in MODALITIES.items()}
    rasters = {"rgb": ortho, "dsm": surface} | {name: empty}
    for given, remedy in ((rasters, f"leave {name} out to predict without it"), ({name: empty}, "give another raster")):
        with pytest.raises(UserError, match=rf"empty\.tif has no valid pixel on the map of here: {remedy}\."):
            scene_offset_scale(placed(**given), MODALITIES, dict.fromkeys(MODALITIES, scaling), learnt)


def test_a_raster_with_one_valid_pixel_is_enough(tmp_path, ortho):
    values = np.full((1, 600, 70), np.nan, np.float32)
    values[0, 599, 3] = 7
    here = georeferenced(1000, 2000, 1)
    dsm = write(tmp_path / "dsm.tif", values, **here)
    learnt = {name: np.stack([np.zeros(len(m.bands)), np.ones(len(m.bands))]) for name, m in MODALITIES.items()}
    tall = write(tmp_path / "tall.tif", noise("tall", 3, (600, 70)), **here)
    scene = placed(rgb=tall, dsm=dsm)
    assert scene_offset_scale(scene, MODALITIES, dict.fromkeys(MODALITIES, "unit"), learnt)["dsm"].tolist() == [
        [0],
        [1],
    ]
    assert scene_offset_scale(scene, MODALITIES, dict.fromkeys(MODALITIES, "robust"), learnt)["dsm"][0].tolist() == [7]


def test_a_constant_raster_becomes_zero():
    flat = (BandStatistics(9, 5.0, 0.0, 5.0, 5.0, 5.0, 5.0, 5.0),)
    assert tile_offset_scale("minmax", np.array([[0.0], [1.0]]), flat).tolist() == [[5], [1]]
    assert tile_offset_scale("robust", np.array([[0.0], [0.0]]), flat).tolist() == [[5], [1]]
    assert tile_offset_scale("robust", np.array([[0.0], [2.0]]), None).tolist() == [[0], [2]]


def test_what_was_learnt_is_not_changed():
    learnt = np.array([[1.0], [0.0]])
    tile_offset_scale("robust", learnt, (BandStatistics(9, 5.0, 1.0, 4.0, 6.0, 4.0, 5.0, 6.0),))
    assert learnt.tolist() == [[1], [0]]


def test_optical_values_of_several_bands(tmp_path):
    values = noise("offset_scale", 3, (300, 40))
    path = write(tmp_path / "tall.tif", values, **georeferenced(1000, 2000, 1))
    learnt = {name: np.stack([np.zeros(len(m.bands)), np.ones(len(m.bands))]) for name, m in MODALITIES.items()}
    found = scene_offset_scale(placed(rgb=path), MODALITIES, dict.fromkeys(MODALITIES, "robust"), learnt)["rgb"]
    assert found[0].tolist() == [np.percentile(band, 50) for band in values]
