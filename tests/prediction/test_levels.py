import numpy as np
import pytest

from mobanet.data.scaling import learn, levels, tile_levels
from mobanet.data.store import BandStatistics, TileStore
from mobanet.errors import UserError
from mobanet.inference.levels import scene_levels
from mobanet.inference.request import GivenRaster
from tests.data_files.fake_files import georeferenced, noise, write
from tests.prediction.conftest import MODALITIES, placed, slope

SCALINGS = ("robust", "minmax", "standard", "unit")


@pytest.fixture(scope="module")
def store(prepared):
    return TileStore(prepared / "mobanet_store")


def scene_of(tile, root):
    bands = {"rgb": (0, 1, 2), "ir": (3,), "dsm": (0,)}
    return placed(**{n: GivenRaster(root / record.source, bands[n]) for n, record in tile.modalities.items()})


@pytest.mark.parametrize("scaling", SCALINGS)
def test_levels_of_a_scene_are_those_of_the_same_tile_in_a_store(scaling, store, prepared):
    tiles = list(store.tiles.values())
    chosen = dict.fromkeys(MODALITIES, scaling)
    learnt = {name: learn(modality, scaling, tiles[:3]) for name, modality in MODALITIES.items()}
    for tile in tiles[::3]:
        found = scene_levels(scene_of(tile, prepared), MODALITIES, chosen, learnt)
        assert list(found) == list(MODALITIES)
        for name, modality in MODALITIES.items():
            expected = levels(modality, scaling, learnt[name], [tile])[0]
            assert found[name].dtype == np.float32
            assert np.array_equal(found[name], expected)


def test_levels_look_at_the_scene_where_the_scaling_does(store, prepared):
    """So that the test above compares more than what was learnt."""
    one, other = (scene_of(store.tiles[name], prepared) for name in list(store.tiles)[:2])
    learnt = {name: learn(modality, "standard", list(store.tiles.values())) for name, modality in MODALITIES.items()}
    for scaling in SCALINGS:
        found = [scene_levels(s, MODALITIES, dict.fromkeys(MODALITIES, scaling), learnt)["dsm"] for s in (one, other)]
        assert np.array_equal(*found) == (scaling in ("standard", "unit"))


def test_a_modality_that_the_scene_lacks_gets_what_was_learnt(ortho):
    learnt = {"rgb": np.array([[0.0] * 3, [255.0] * 3]), "ir": np.array([[3.0], [4.0]]), "dsm": np.array([[0], [7.5]])}
    found = scene_levels(placed(rgb=ortho), MODALITIES, {"rgb": "unit", "ir": "minmax", "dsm": "robust"}, learnt)
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
    found = scene_levels(placed(rgb=ortho, dsm=dsm), MODALITIES, chosen, learnt)["dsm"]
    values = slope(90, 70)
    assert found[:, 0] == pytest.approx([values.min(), np.ptp(values)], rel=1e-6)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_raster_without_valid_pixels_is_refused_where_its_figures_are_needed(scaling, tmp_path, ortho):
    empty = write(
        tmp_path / "empty.tif", np.full((1, 90, 70), -9999, np.float32), nodata=-9999, **georeferenced(1000, 2000, 1)
    )
    scene = placed(rgb=ortho, dsm=empty)
    learnt = {name: np.stack([np.zeros(len(m.bands)), np.ones(len(m.bands))]) for name, m in MODALITIES.items()}
    arguments = scene, MODALITIES, {"rgb": "unit", "ir": "unit", "dsm": scaling}, learnt
    if scaling in ("standard", "unit"):
        assert scene_levels(*arguments)["dsm"].tolist() == [[0], [1]]
    else:
        with pytest.raises(UserError, match=r"empty\.tif has no valid pixel on the map of here: leave dsm out"):
            scene_levels(*arguments)


def test_a_constant_raster_becomes_zero():
    flat = (BandStatistics(9, 5.0, 0.0, 5.0, 5.0, 5.0, 5.0, 5.0),)
    assert tile_levels("minmax", np.array([[0.0], [1.0]]), flat).tolist() == [[5], [1]]
    assert tile_levels("robust", np.array([[0.0], [0.0]]), flat).tolist() == [[5], [1]]
    assert tile_levels("robust", np.array([[0.0], [2.0]]), None).tolist() == [[0], [2]]


def test_what_was_learnt_is_not_changed():
    learnt = np.array([[1.0], [0.0]])
    tile_levels("robust", learnt, (BandStatistics(9, 5.0, 1.0, 4.0, 6.0, 4.0, 5.0, 6.0),))
    assert learnt.tolist() == [[1], [0]]


def test_optical_values_of_several_bands(tmp_path):
    values = noise("levels", 3, (300, 40))
    path = write(tmp_path / "tall.tif", values, **georeferenced(1000, 2000, 1))
    learnt = {name: np.stack([np.zeros(len(m.bands)), np.ones(len(m.bands))]) for name, m in MODALITIES.items()}
    found = scene_levels(placed(rgb=path), MODALITIES, dict.fromkeys(MODALITIES, "robust"), learnt)["rgb"]
    assert found[0].tolist() == [np.percentile(band, 50) for band in values]
