import numpy as np
import pytest
import rasterio
import torch

from mobanet.data.reading import grid
from mobanet.models.inputs import scaled_inputs
from mobanet.prediction.parts import PartRun, parts_of, runs_of
from mobanet.prediction.predictor import MapPredictor, PartMaps
from mobanet.prediction.samples import WindowRules, batches_of, read_windows
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.scenarios.scenario import scenarios_of
from mobanet.stitching.blending import NOTHING
from tests.data_files.fake_files import georeferenced, noise, write
from tests.models.tiny import awaken, tiny_mobanet
from tests.prediction.conftest import MODALITIES, placed, slope

HEIGHT, WIDTH, SIZE, STRIDE = 75, 90, 28, 14
HERE = georeferenced(1000, 2000, 1)
LEVELS = {
    "rgb": np.array([[0] * 3, [255] * 3], np.float32),
    "ir": np.array([[0], [255]], np.float32),
    "dsm": np.array([[33], [3]], np.float32),
}
SCENARIOS = scenarios_of(list(MODALITIES))
NUMBER = {scenario.name: number for number, scenario in enumerate(SCENARIOS)}


@pytest.fixture(scope="module")
def network():
    """Random weights, whose last layer is large enough that classes and scenarios differ clearly."""
    model = awaken(tiny_mobanet()).eval()
    with torch.no_grad():
        model.decoder.classifier.weight *= 30
    assert list(model.modalities) == list(MODALITIES)
    assert list(model.standardization) == ["rgb", "ir"]
    return model


@pytest.fixture
def rasters(tmp_path):
    """An ortho with blocks of colour, and a surface model with a part missing at the right."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    blocks = np.stack([(rows // 9 * 53 + columns // 13 * 31 * k) % 255 for k in (1, 2, 3)]).astype(np.uint8)
    dsm = slope(HEIGHT, WIDTH) + np.sin(rows / 5) * 2
    dsm[:, :, 50:] = np.nan
    dsm = dsm.astype(np.float32)
    return {
        "rgb": write(tmp_path / "rgb.tif", blocks, **HERE),
        "ir": write(tmp_path / "ir.tif", noise("ir", 1, (HEIGHT, WIDTH)), **HERE),
        "dsm": write(tmp_path / "dsm.tif", dsm, **HERE),
    }


def predict(
    network, scenes, jobs, batch=4, coverage="pixel", gaps="nodata", blend="smooth", turns=False, shares="float32"
):
    predictor = MapPredictor(network, SCENARIOS, SIZE, blend, turns, shares, torch.device("cpu"))
    rules = WindowRules(SIZE, STRIDE, coverage, gaps)
    samples = read_windows(jobs, scenes, [SceneScaling(LEVELS)] * len(scenes), MODALITIES, rules)
    return dict(predictor.predict(batches_of(samples, batch), jobs))


def map_of(network, scene, **options):
    """The whole map of a scene at once."""
    (part,) = parts_of(0, HEIGHT, WIDTH, HEIGHT)
    return predict(network, [scene], [PartRun((part,))], **options)[part]


def by_hand(network, scene, names):
    """Blended logits of every window in one scenario, straight from the network."""
    arrays = {}
    for name in MODALITIES:
        if name in scene.rasters:
            with rasterio.open(scene.rasters[name].source.file.path) as file:
                arrays[name] = file.read().astype(np.float32)
        else:
            arrays[name] = np.zeros((len(MODALITIES[name].bands), HEIGHT, WIDTH), np.float32)
    side = (0.5 - 0.5 * torch.cos(2 * torch.pi * (torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE)).clamp(
        min=1e-3
    )
    weights = torch.outer(side, side).float()
    logits, total = torch.zeros(4, HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH)
    available = torch.tensor([[name in names for name in MODALITIES]])
    for top, left in grid(HEIGHT, WIDTH, SIZE, STRIDE):
        here = slice(top, top + SIZE), slice(left, left + SIZE)
        inputs = {}
        for name, array in arrays.items():
            offset, scale = (torch.from_numpy(x)[:, None, None] for x in LEVELS[name])
            x = (torch.from_numpy(array[:, *here].copy()) - offset) / scale
            if name in network.standardization:
                expects = network.standardization[name]
                x = (x - torch.tensor(expects.mean)[:, None, None]) / torch.tensor(expects.std)[:, None, None]
            known = torch.from_numpy(np.isfinite(array[:, *here]).all(0)) & (name in scene.rasters)
            inputs[name] = torch.where(known, x, torch.zeros(()))[None]
        with torch.inference_mode():
            logits[:, *here] += network(inputs, available).logits[0] * weights
        total[here] += weights
    return logits / total


def assert_same_map(found, expected, margin=1e-4, exactly=False):
    """Batches of other sizes round otherwise, by about 1e-6: classes may only differ where two are as good as equal."""
    assert np.array_equal(found.scenarios, expected.scenarios)
    assert np.array_equal(found.classes == NOTHING, expected.classes == NOTHING)
    if exactly:
        assert np.array_equal(found.classes, expected.classes)
        return
    best = np.sort(expected.probabilities, axis=0)
    clear = best[-1] - best[-2] > margin
    assert (clear | (expected.classes == NOTHING)).mean() > 0.95
    assert np.array_equal(found.classes[clear], expected.classes[clear])
    assert np.allclose(found.probabilities, expected.probabilities, atol=1e-5, equal_nan=True)


def test_the_map_is_the_blended_network(network, rasters):
    scene = placed(rgb=rasters["rgb"], ir=rasters["ir"])
    found = map_of(network, scene)
    expected = by_hand(network, scene, ("rgb", "ir"))
    assert len(np.unique(found.classes)) > 1
    assert np.allclose(found.probabilities, expected.softmax(0).numpy(), atol=1e-5)
    assert (found.scenarios == NUMBER["rgb+ir"]).all()


def test_mixed_windows_take_each_pixel_from_its_own_scenario(network, rasters):
    """Predicted in both scenarios by hand, and chosen by what a pixel has."""
    scene = placed(**rasters)
    found = map_of(network, scene)
    with_dsm, without = (
        by_hand(network, scene, names).softmax(0).numpy() for names in (("rgb", "ir", "dsm"), ("rgb", "ir"))
    )
    there = np.broadcast_to(np.arange(WIDTH) < 50, (HEIGHT, WIDTH))
    assert np.array_equal(found.scenarios, np.where(there, NUMBER["rgb+ir+dsm"], NUMBER["rgb+ir"]))
    assert np.allclose(found.probabilities, np.where(there, with_dsm, without), atol=1e-5)
    assert np.abs(with_dsm - without).max() > 0.01  # else the choice would not show


def test_in_window_mode_each_window_has_one_scenario(network, rasters):
    found = map_of(network, placed(**rasters), coverage="window")
    assert (found.scenarios[:, :50] == NUMBER["rgb+ir+dsm"]).all()
    assert (found.scenarios[:, -SIZE // 2 :] == NUMBER["rgb+ir"]).all()
    mixed = map_of(network, placed(**rasters))
    assert np.allclose(found.probabilities[:, :, :20], mixed.probabilities[:, :, :20], atol=1e-5)
    assert not np.allclose(found.probabilities[:, :, 52:60], mixed.probabilities[:, :, 52:60], atol=1e-3)


@pytest.mark.parametrize("blend", ["smooth", "sum"])
def test_parts_do_not_depend_on_the_batch_size(network, rasters, blend):
    scene = placed(**rasters)
    parts = parts_of(0, HEIGHT, WIDTH, 20, 40)
    one, *others = (predict(network, [scene], runs_of(parts, (), 0, 1), batch=size, blend=blend) for size in (1, 3, 64))
    assert list(one) == parts
    for other in others:
        assert list(other) == parts
        for part in parts:
            assert_same_map(other[part], one[part])


def test_parts_do_not_depend_on_what_is_predicted_with_them(network, rasters):
    """One process, two, and one that goes on: the same windows in batches of one give the same bits."""
    scene = placed(**rasters)
    parts = parts_of(0, HEIGHT, WIDTH, 20, 40)
    whole = predict(network, [scene], runs_of(parts, (), 0, 1), batch=1)
    for done, world in (((), 2), (parts[1:3], 1)):
        for rank in range(world):
            for part, maps in predict(network, [scene], runs_of(parts, done, rank, world), batch=1).items():
                assert_same_map(maps, whole[part], exactly=True)


def test_parts_of_several_scenes_in_one_batch(network, rasters, tmp_path):
    rows = noise("other", 3, (40, 33))
    other = write(tmp_path / "other.tif", rows, **HERE)
    scenes = [placed(**rasters), placed(rgb=other), placed(rgb=rasters["rgb"])]
    parts = [part for k, s in enumerate(scenes) for part in parts_of(k, s.grid.height, s.grid.width, 30)]
    together = predict(network, scenes, runs_of(parts, (), 0, 1), batch=16)
    assert list(together) == parts
    for number, scene in enumerate(scenes):
        own = [part for part in parts if part.scene == number]
        alone = predict(network, scenes, runs_of(own, (), 0, 1), batch=1)
        for part in own:
            assert together[part].classes.shape == (part.bottom - part.top, part.right - part.left)
            assert_same_map(together[part], alone[part])
        assert scene.grid.height == own[-1].bottom


def test_parts_come_as_soon_as_they_are_finished(network, rasters):
    scene, seen = placed(rgb=rasters["rgb"]), []
    jobs = runs_of(parts_of(0, HEIGHT, WIDTH, 10), (), 0, 1)

    def told(batches):
        for batch in batches:
            seen.append(batch.samples[-1].top)
            yield batch

    samples = read_windows(
        jobs, [scene], [SceneScaling(LEVELS)], MODALITIES, WindowRules(SIZE, STRIDE, "pixel", "nodata")
    )
    predictor = MapPredictor(network, SCENARIOS, SIZE, "sum", False, "none", torch.device("cpu"))
    for part, maps in predictor.predict(told(batches_of(samples, 1)), jobs):
        assert maps.probabilities is None
        needed = min(top for top, _ in grid(HEIGHT, WIDTH, SIZE, STRIDE) if top >= part.bottom or top + SIZE >= HEIGHT)
        assert seen[-1] <= needed


def test_a_job_without_any_window_is_all_nothing(network, rasters, tmp_path):
    values = noise("gap", 3, (200, 40))
    values[:, 30:150] = 0
    gap = write(tmp_path / "gap.tif", values, nodata=0, **HERE)
    empty = write(tmp_path / "empty.tif", np.zeros((3, 50, 40), np.uint8), nodata=0, **HERE)
    scenes = [placed(rgb=empty), placed(rgb=gap), placed(rgb=empty), placed(rgb=rasters["rgb"]), placed(rgb=empty)]
    parts = [part for k, s in enumerate(scenes) for part in parts_of(k, s.grid.height, s.grid.width, 25)]
    jobs = [PartRun((part,)) for part in parts]
    for shares in ("none", "uint8", "float32"):
        found = predict(network, scenes, jobs, shares=shares)
        assert list(found) == parts
        for part, maps in found.items():
            assert maps.classes.shape == maps.scenarios.shape == (part.bottom - part.top, part.right - part.left)
            nothing = maps.classes == NOTHING
            assert nothing.all() == (part.scene in (0, 2, 4) or (part.scene == 1 and 50 <= part.top < 150))
            assert np.array_equal(nothing, maps.scenarios == NOTHING)
            if shares == "float32":
                assert np.array_equal(np.isnan(maps.probabilities), np.broadcast_to(nothing, (4, *nothing.shape)))
            if shares == "uint8":
                assert maps.probabilities.dtype == np.uint8
                assert (maps.probabilities[:, nothing] == NOTHING).all()
                assert (maps.probabilities[:, ~nothing] < NOTHING).all()
    rows = np.concatenate([found[part].classes for part in parts if part.scene == 1])
    assert np.array_equal(rows == NOTHING, (values == 0).all(0))


def test_nothing_at_all_to_do(network):
    assert predict(network, [], []) == {}


def test_probabilities_in_eight_bits_are_those_in_floats(network, rasters):
    scene = placed(**rasters)
    floats, eight = (map_of(network, scene, shares=kind) for kind in ("float32", "uint8"))
    assert np.array_equal(floats.classes, eight.classes)
    assert np.abs(eight.probabilities / 254 - floats.probabilities).max() <= 0.5 / 254 + 1e-6
    assert floats.probabilities.sum(0) == pytest.approx(np.ones((HEIGHT, WIDTH)), abs=1e-5)


def test_turns_are_the_mean_over_the_square(network, rasters):
    """A scene of one window, turned before it is predicted, gives the turned map."""
    pixels = noise("square", 3, (SIZE, SIZE))

    def probabilities(array, turns, name):
        path = write(rasters["rgb"].with_name(f"{name}.tif"), np.ascontiguousarray(array), **HERE)
        (part,) = parts_of(0, SIZE, SIZE, SIZE)
        return predict(network, [placed(rgb=path)], [PartRun((part,))], turns=turns, blend="sum")[part].probabilities

    plain, turned = (probabilities(a, False, n) for n, a in (("a", pixels), ("b", np.rot90(pixels, 1, (1, 2)))))
    assert not np.allclose(np.rot90(plain, 1, (1, 2)), turned, atol=1e-3)
    plain, turned = (probabilities(a, True, n) for n, a in (("c", pixels), ("d", np.rot90(pixels, 1, (1, 2)))))
    assert np.allclose(np.rot90(plain, 1, (1, 2)), turned, atol=1e-5)
    plain, mirrored = (probabilities(a, True, n) for n, a in (("e", pixels), ("f", pixels[:, ::-1])))
    assert np.allclose(plain[:, ::-1], mirrored, atol=1e-5)


def test_every_scenario_has_its_number(network):
    predictor = MapPredictor(network, SCENARIOS, SIZE, "sum", False, "none", torch.device("cpu"))
    for number, scenario in enumerate(SCENARIOS):
        bits = sum(1 << place for place, there in enumerate(scenario.available) if there)
        assert predictor.number_of[bits] == number
    assert predictor.number_of[0] == NOTHING


def test_missing_pixels_are_zero_whatever_the_file_holds(network, rasters):
    """Scaled inputs of a window with NaN in it."""
    scene = placed(dsm=rasters["dsm"])
    jobs = runs_of(parts_of(0, HEIGHT, WIDTH, HEIGHT), (), 0, 1)
    samples = read_windows(
        jobs, [scene], [SceneScaling(LEVELS)], MODALITIES, WindowRules(SIZE, STRIDE, "pixel", "nodata")
    )
    for batch in batches_of(samples, 5):
        for x in scaled_inputs(batch.raw, {}).values():
            assert x.isfinite().all()
    found = map_of(network, scene)
    assert np.isfinite(found.probabilities[:, :, :50]).all()
    assert (found.classes[:, 50:] == NOTHING).all()


def test_empty_maps():
    (part,) = parts_of(0, 5, 7, 5)
    for kind, value in (("uint8", NOTHING), ("float32", np.nan)):
        maps = PartMaps.empty(part, 3, kind)
        assert maps.probabilities.dtype == kind
        assert np.array_equal(maps.probabilities, np.full((3, 5, 7), value, kind), equal_nan=True)
    assert PartMaps.empty(part, 3, "none").probabilities is None
