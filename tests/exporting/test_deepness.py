"""ONNX files for Deepness: what it reads of them, the classes that it shows, and pixels without data."""

import contextlib
import importlib.util
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import rasterio
import torch
from affine import Affine

import mobanet
from mobanet.data.training_rasters import TrainingRasters
from mobanet.errors import UserError
from mobanet.export import main
from mobanet.exporting import deepness
from mobanet.exporting.deepness import chosen_scenario, compare_deepness, metadata, random_images
from mobanet.exporting.deployed import deployed
from mobanet.exporting.pretrained import PretrainedModel
from mobanet.exporting.stacked import StackedModel, lower_plane
from mobanet.exporting.weights import Training
from mobanet.prediction import layer
from mobanet.prediction.layer import LayerRequest
from mobanet.rasters.ground import _lower_plane
from mobanet.rasters.reader import ReadingRule
from tests.exporting.small import DSM, IR, LEARNT, RADAR, RGB, keep, make, numbers

TILE = 56
RULES = {"rgb": ReadingRule("uint8", (0, 1, 2), 3), "dsm": ReadingRule("float32", (0,), 1, 1.0, -7.0)}


@pytest.fixture(scope="module")
def plugin_map():
    """What the plugin makes of a layer, by our own words for it."""
    path = Path(__file__).parents[2] / "experiments/deepness.py"
    spec = importlib.util.spec_from_file_location("experiment_deepness", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.plugin_map


@pytest.fixture
def call(command):
    return lambda *words: command(main, [str(word) for word in words])


def pretrained(modalities=(RGB, IR, DSM), rules=RULES, side=0.2, windows=None, **scalings):
    module = make(modalities, scalings={"dsm": "ground"} | scalings if DSM in modalities else scalings)
    learnt = numbers(module)
    if "dsm" in learnt and module.data.scaling["dsm"] == "ground":
        learnt["dsm"] = np.array([[0.0], [7.3], [256.0]])
    return PretrainedModel(module, learnt, windows, Training(TrainingRasters(rules, side)))


def values_of(batch=2, size=TILE, seed=0):
    """Stored values of rgb, ir and dsm, (B, 5, size, size)."""
    rng = np.random.default_rng(seed)
    rgb, ir = rng.integers(1, 256, (batch, 3, size, size)), rng.integers(1, 2048, (batch, 1, size, size))
    return torch.from_numpy(np.concatenate((rgb, ir, rng.exponential(5, (batch, 1, size, size))), 1)).float()


@torch.inference_mode()
def shares(model, values, scenario=None, datum="layer"):
    stacked = StackedModel(model, chosen_scenario(model, scenario), datum).eval()
    return stacked(values / 255)


@torch.inference_mode()
def expected(model, values, available, temperature=1.0):
    """Probabilities of the classes, from the deployed model."""
    modalities, feeds, first = model.module.data.modalities, {}, 0
    for modality in modalities:
        feeds[modality.name] = values[:, first : first + len(modality.bands)]
        first += len(modality.bands)
    feeds["available"] = torch.tensor(available).expand(len(values), -1)
    return torch.softmax(deployed(model.module, model.learnt)(feeds) / temperature, 1)


def test_the_bands_of_one_layer_give_the_probabilities_of_the_model():
    model, values = pretrained(), values_of()
    found = shares(model, values)
    assert torch.allclose(found[:, 1:], expected(model, values, [True] * 3), atol=1e-5)
    assert not found[:, 0].any()
    model.module.temperatures.copy_(torch.tensor([1.0, 1.0, 1.0, 2.5, 1.0, 1.0, 3.0]))  # of rgb+ir, and of all
    assert torch.allclose(shares(model, values)[:, 1:], expected(model, values, [True] * 3, 3.0), atol=1e-5)
    without = values.clone()
    without[:, 4] = torch.nan
    probabilities = expected(model, without, [True, True, False], 2.5)
    assert torch.allclose(shares(model, values[:, :4], "ir+rgb", None)[:, 1:], probabilities, atol=1e-5)
    # a window that has nothing of a modality is one of the scenario without it
    assert torch.allclose(shares(model, without)[:, 1:], probabilities, atol=1e-5)
    assert not torch.allclose(probabilities, expected(model, values, [True] * 3), atol=1e-2)


def test_what_has_no_data_is_class_0_and_counts_as_missing():
    model, values = pretrained(), values_of(4)
    values[0, :, :9] = 0  # beyond the layer's edge
    values[1, :, 3:5] = torch.nan
    values[2, :4, 7] = torch.finfo(torch.float32).min  # nodata of floats
    values[2, 4, 7], values[2, 4, 8] = -9999, -999
    values[3, 4, :20] = -7  # nodata of the training's rasters
    values[3, 0, 30:] = 0  # black in one band is a colour
    found = shares(model, values)
    there = torch.zeros(4, TILE, TILE, dtype=torch.bool)
    there[0, :9], there[1, 3:5], there[2, 7] = True, True, True
    assert torch.equal(found[:, 0], there.float())
    assert torch.equal(found.argmax(1) == 0, there)
    assert torch.allclose(found.sum(1), torch.ones(4, TILE, TILE))
    same = values.clone()
    same[0, :, :9], same[2, :, 7], same[2, 4, 8], same[3, 4, :20] = (torch.nan,) * 4
    assert torch.allclose(found, shares(model, same), atol=1e-6)
    nothing = shares(model, torch.zeros(1, 5, TILE, TILE))
    assert nothing[:, 0].all()
    assert not nothing[:, 1:].any()


def test_zero_may_be_a_value_where_there_is_no_imagery():
    model = pretrained((DSM, RADAR), {})
    assert not shares(model, torch.zeros(1, 3, TILE, TILE))[:, 0].any()


def test_a_nodata_value_that_may_be_a_brightness_is_missing_in_all_bands_only():
    rule = ReadingRule("uint8", (0, 1, 2), 3, 1.0, 255.0)
    model, values = pretrained((RGB,), {"rgb": rule}), values_of()[:, :3].clamp(max=254)
    values[0, :2, :9], values[1, :, :9] = 255, 255
    assert shares(model, values, None, None)[:, 0].flatten(1).sum(1).tolist() == [0, 9 * TILE]


@pytest.mark.parametrize("scaling", ["robust", "minmax"])
def test_what_a_whole_scene_says_is_measured_on_each_window_or_given(scaling):
    model, values = pretrained(dsm=scaling), values_of()
    values[:, 4] += 40
    values[1, 4, :8] = torch.nan
    given = values.clone()
    for number, heights in enumerate(values[:, 4].numpy()):
        there = heights[np.isfinite(heights)]
        less, by = (np.median(there), 1.0) if scaling == "robust" else (there.min(), np.ptp(there))
        given[number, 4] = (values[number, 4] - float(less)) / float(by)
    window, left = shares(model, values, datum="window"), shares(model, given, datum="layer")
    assert torch.allclose(window, left, atol=2e-3 if scaling == "robust" else 1e-5)  # the median lies between two
    assert not torch.allclose(window, shares(model, values, datum="layer"), atol=1e-2)


def test_heights_are_taken_above_a_plane_where_each_window_is_its_own_scene():
    rows, columns = np.mgrid[:TILE, :TILE]
    slope = 40 + 0.1 * rows - 0.07 * columns
    things = 6.0 * ((rows // 7 + columns // 9) % 3 == 0)
    surface = torch.from_numpy(slope + things).float()[None, None].repeat(2, 2, 1, 1)
    surface[1, 1] += 300
    there = torch.ones(2, TILE, TILE, dtype=torch.bool)
    there[1, 20:30] = False
    surface[1, :, 20:30] = torch.nan
    found = lower_plane(surface, there)
    assert (found[0, 0] - torch.from_numpy(slope)).abs().max() < 0.05
    assert (found[1, 1] - 300 - torch.from_numpy(slope)).abs().max() < 0.05
    assert not lower_plane(surface, there & False).any()
    # in the middle it is what is fitted around a node, with equal weights
    v, u = (grid.reshape(1, -1) for grid in np.meshgrid(*[np.linspace(-1, 1, TILE)] * 2, indexing="ij"))
    rough = np.random.default_rng(0).exponential(5, (1, TILE * TILE)) + 2 * v
    expected = _lower_plane(v, u, rough, np.ones_like(rough))[0]
    plane = lower_plane(torch.from_numpy(rough).view(1, 1, TILE, TILE), there[:1])
    assert plane[0, 0, TILE // 2 - 1 : TILE // 2 + 1, TILE // 2 - 1 : TILE // 2 + 1].mean() == pytest.approx(expected)
    model = pretrained()
    values = values_of()
    values[:, 4] = surface[0, 0]
    given = values.clone()
    given[:, 4] -= found[0, 0]
    assert torch.allclose(shares(model, values, datum="window"), shares(model, given), atol=1e-5)


def scene():
    """Rasters of three by two tiles, (C, H, W)."""
    rough = np.random.default_rng(1).integers(1, 255, (5, 12, 8))
    rgb, ir, dsm = np.split(np.kron(rough, np.ones((1, 14, 14), int)), (3, 4))
    return rgb.astype(np.uint8), (8 * ir).astype(np.uint16), (100 + dsm / 20).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint, its file for a layer with heights above the ground, and what was said."""
    folder = tmp_path_factory.mktemp("deepness")
    module = make((RGB, IR, DSM), scalings={"dsm": "ground"})
    shown, seed = set(), 0
    while len(shown) < 3:  # or one class would be everywhere
        torch.nn.init.normal_(module.network.decoder.classifier.weight, generator=torch.Generator().manual_seed(seed))
        of = PretrainedModel(module, numbers(module) | {"dsm": np.array([[0.0], [7.3], [256.0]])})
        rgb, ir, dsm = (torch.from_numpy(x[None, :, :TILE, :TILE].astype(np.float32)) for x in scene())
        classes, counts = of.predict({"rgb": rgb, "ir": ir, "dsm": dsm - 100}).argmax(1).unique(return_counts=True)
        shown, seed = set(classes[counts > 99].tolist()), seed + 1
    state = {
        "scaling": {"rgb": LEARNT["rgb"], "ir": LEARNT["ir"], "dsm": [[0.0], [7.3], [256.0]]},
        "windows": {"size": TILE, "stride": TILE},
        "rasters": TrainingRasters(RULES, 0.09996).to_plain(),
    }
    path = keep(module, folder / "model.ckpt", RasterDataModule=state)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main(["--ckpt_path", str(path), "--format", "deepness", "--datum", "layer"])
    return path, folder / "model_deepness.onnx", said.getvalue()


def test_the_file_says_what_the_plugin_reads(written):
    _, file, said = written
    assert "  4      ir infrared: 0 to 2047" in said.splitlines()
    assert "  5      dsm height: height above the ground within 256 pixels, metre" in said.splitlines()
    session = onnxruntime.InferenceSession(file)
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    assert (given.shape, given.type) == (["batch", 5, TILE, TILE], "tensor(float)")
    assert (output.shape, output.type) == (["batch", 4, TILE, TILE], "tensor(float)")
    told = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert told["model_type"] == "Segmentor"
    assert told["class_names"] == {"0": "no data", "1": "road", "2": "roof", "3": "rest"}
    numbers = ("resolution", "tiles_size", "tile_size", "tiles_overlap", "seg_thresh", "seg_small_segment")
    assert [told[key] for key in numbers] == [10.0, TILE, TILE, 0, 0.0, 0]
    assert (told["standardization_mean"], told["standardization_std"]) == ([0.0] * 5, [1.0] * 5)
    assert (told["mobanet"]["scenario"], told["mobanet"]["datum"]) == ("rgb+ir+dsm", "layer")
    assert [channel["band"] for channel in told["mobanet"]["channels"]] == [*RGB.bands, *IR.bands, *DSM.bands]
    content = onnx.load(file)
    assert (content.ir_version, content.opset_import[0].version) == (8, 18)  # that QGIS's runtime reads
    assert str(Path(mobanet.__file__).parent).encode() not in content.SerializeToString()


def test_the_plugin_shows_the_classes_of_a_prediction(written, plugin_map):
    path, file, _ = written
    session, model, (rgb, ir, dsm) = onnxruntime.InferenceSession(file), mobanet.load(path), scene()
    heights = mobanet.from_pretrained(path).heights("dsm", dsm[0])[None]
    stack = np.concatenate((rgb, ir, heights))
    found = model.predict(rgb=rgb, ir=ir, dsm=dsm, window=TILE, stride=TILE).classes
    assert np.array_equal(plugin_map(session, stack) - 1, found)
    assert len(np.unique(found)) == 3
    stack[:, :20, 30:50] = 0  # where a layer has nothing
    shown = plugin_map(session, stack[:, :150, :100])  # whose tiles are padded
    assert shown.shape == (150, 100)
    assert np.array_equal(shown == 0, (stack == 0).all(0)[:150, :100])


@pytest.mark.long
def test_what_is_measured_on_each_window_is_part_of_the_file(tmp_path):
    model = pretrained((IR, DSM, RADAR), {}, ir="robust", radar="minmax")
    stacked = StackedModel(model, chosen_scenario(model, None), "window").eval()
    deepness.write_deepness(model, stacked, TILE, tmp_path / "model.onnx")
    assert "in 5 batches" in compare_deepness(stacked, tmp_path / "model.onnx", TILE)


def test_what_is_not_known_is_said(tmp_path):
    rule = ReadingRule("uint16", (0,), 1, 0.5, 0.0)
    model = pretrained(rules={"ir": rule}, side=None)
    stacked = StackedModel(model, chosen_scenario(model, None), "layer")
    notes = list(deepness.remarks(model, stacked))
    assert "set the resolution in the plugin" in notes[0]
    assert "values of ir were multiplied by 0.5: the layer has to hold them so" in notes[1]
    assert "resolution" not in metadata(model, stacked, TILE)
    for windows, overlap in ((None, 50), ({"size": 56, "stride": 42}, 25), ({"size": 256, "stride": 32}, 50)):
        assert metadata(replace(model, windows=windows), stacked, TILE)["tiles_overlap"] == overlap
    assert "ir" not in stacked.nodata  # which meant the values before


MISTAKES = {
    "no datum": ([], "dsm is scaled by the median of the whole scene", "--scenario rgb+ir"),
    "datum of nothing": (["--scenario", "rgb", "--datum", "layer"], "--datum is for what is scaled by a whole scene"),
    "no such datum": (["--datum", "sea"], "--datum cannot be sea"),
    "no such scenario": (["--scenario", "rgb+sar"], "--scenario names rgb+sar, which is no scenario of rgb, ir, dsm"),
    "several scenarios": (["--scenario", "all", "--datum", "layer"], "--scenario all names 7 scenarios; give one"),
    "tile of no patches": (["--tile", "15", "--datum", "layer"], "--tile is 15"),
    "another format": (["--format", "onnx", "--scenario", "rgb"], "--scenario is for --format deepness, not for onnx"),
    "a folder": (["--format", "folder", "--datum", "layer"], "--datum is for --format deepness, not for folder"),
    "licence": (["--license", "mit"], "--license is for --format folder"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_end_in_one_sentence_and_leave_nothing(case, call, tmp_path):
    path = keep(make((RGB, IR, DSM)), tmp_path / "model.ckpt")
    words, *parts = MISTAKES[case]
    ended = call("--format", "deepness", *words, "--ckpt_path", path)
    assert ended.code == 2
    assert all(part in ended.err.splitlines()[-1] for part in parts), ended.err
    assert [file.name for file in tmp_path.iterdir()] == ["model.ckpt"]


def test_an_elevation_alone_has_no_way_round_its_datum(call, tmp_path):
    ended = call("--format", "deepness", "--ckpt_path", keep(make((DSM,)), tmp_path / "model.ckpt"))
    assert ended.err.splitlines()[-1].endswith("--datum window to measure it on each window, which changes the map.")


def test_a_file_that_computes_something_else_is_refused(monkeypatch, tmp_path):
    model = pretrained((RGB,), {})
    stacked = StackedModel(model, chosen_scenario(model, None)).eval()

    class Session:
        wrong = 0.0

        def run(self, names, feeds):
            with torch.inference_mode():
                found = stacked(torch.from_numpy(feeds["image"])).numpy().copy()
            found[-1, 1, 5, 5] += self.wrong
            return [found]

    session = Session()
    monkeypatch.setattr(deepness, "opened", lambda path: session)
    assert "2 batches" not in compare_deepness(stacked, tmp_path, TILE)
    for wrong in (0.01, np.nan):
        session.wrong = wrong
        with pytest.raises(UserError, match=r"the deepness export differs by .* so that nothing was written"):
            compare_deepness(stacked, tmp_path, TILE)


def test_inputs_of_the_comparison_have_holes_padding_and_a_modality_missing():
    model = pretrained()
    stacked = StackedModel(model, chosen_scenario(model, None), "layer")
    batches = list(random_images(stacked, TILE))
    assert [len(images) for images in batches] == [2, 2, 2, 2, 1]
    for number, bands in enumerate((slice(0, 3), slice(3, 4), slice(4, 5))):
        assert batches[number][0, bands].isnan().all()
        assert not batches[number][0].isnan().all(0).any()
    assert all((images[-1, :, 0, 0] == 0).all() or images[-1, :, 0, 0].isnan().any() for images in batches)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory):
    """The scene as files, the surface with a hole and a metre to the pixel, the others with two."""
    folder, (rgb, ir, dsm) = tmp_path_factory.mktemp("rasters"), scene()
    dsm = np.kron(dsm, np.ones((1, 2, 2), np.float32))
    dsm[0, 200:260, 40:90] = -9999
    for name, planes, side, nodata in (("rgb", rgb, 2, None), ("ir", ir, 2, None), ("dsm", dsm, 1, -9999)):
        count, height, width = planes.shape
        size = {"count": count, "height": height, "width": width, "dtype": planes.dtype, "nodata": nodata}
        where = {"crs": "EPSG:25833", "transform": Affine(side, 0, 400_000, 0, -side, 5_800_000)}
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", **size, **where) as file:
            file.write(planes)
    return folder


def given(rasters, *names):
    return ["--input", *(f"{name}={rasters / name}.tif" for name in names)]


def test_a_layer_is_made_of_rasters_as_a_prediction_reads_them(written, rasters, plugin_map, tmp_path, monkeypatch):
    path, file, _ = written
    monkeypatch.setattr(deepness, "write_deepness", lambda *given: given[-1].write_bytes(b""))
    monkeypatch.setattr(deepness, "compare_deepness", lambda *given: "")
    monkeypatch.setattr(layer, "_ROWS", 100)
    found = {}
    for datum in ("window", "layer"):
        words = ["--format", "deepness", "--datum", datum, "--output", tmp_path / f"{datum}.onnx"]
        main([str(word) for word in ("--ckpt_path", path, *words, *given(rasters, "dsm", "rgb", "ir"))])
        with rasterio.open(tmp_path / f"{datum}_layer.tif") as made:
            assert made.descriptions == ("rgb red", "rgb green", "rgb blue", "ir infrared", "dsm height")
            assert (made.dtypes[0], made.crs.to_epsg(), made.res) == ("float32", 25833, (2.0, 2.0))
            found[datum] = made.read()
    hole = np.isnan(found["layer"][4])
    assert hole[101:129, 21:44].all()
    assert not hole[:99].any()
    for planes in found.values():
        assert np.array_equal(planes[:4], np.concatenate(scene()[:2]))
    surface = found["window"][4]
    inner = np.s_[5:98:14, 6:112:14]  # of pieces of one height
    assert np.abs(surface[inner] - scene()[2][0][inner]).max() < 1e-3
    place = (2, 0, 400_000, 0, -2, 5_800_000)
    heights = mobanet.from_pretrained(path).heights("dsm", surface, transform=place)
    assert np.abs(found["layer"][4] - heights)[~hole].max() < 1e-3
    # and the plugin has the classes of a prediction from the files
    shown = plugin_map(onnxruntime.InferenceSession(file), found["layer"])
    files = {name: rasters / f"{name}.tif" for name in ("rgb", "ir", "dsm")}
    expected = mobanet.load(path).predict(files, window=TILE, stride=TILE, coverage="window").classes
    assert np.array_equal(shown - 1, expected)


def test_a_layer_of_a_scene_s_median_and_range(tmp_path, rasters):
    for scaling in ("robust", "minmax"):
        model = pretrained((RGB, DSM), {}, dsm=scaling)
        stacked = StackedModel(model, chosen_scenario(model, None), "layer")
        request = LayerRequest([f"{name}={rasters / name}.tif" for name in ("rgb", "dsm")])
        request.placed(model, stacked, tmp_path / "x.tif").write(tmp_path / "x.tif")
        with rasterio.open(tmp_path / "x.tif") as made:
            heights = made.read(4)
        there = heights[np.isfinite(heights)]
        if scaling == "robust":
            assert abs(np.median(there)) < 0.3
            assert np.ptp(there) > 10
        else:
            assert (there.min(), there.max()) == pytest.approx((0, 1))


def test_a_layer_of_rasters_in_an_archive_is_that_of_the_rasters(tmp_path, rasters):
    archive, made = shutil.make_archive(str(tmp_path / "packed"), "zip", rasters), []
    model = pretrained((RGB, DSM), {}, dsm="robust")
    stacked = StackedModel(model, chosen_scenario(model, None), "layer")
    for place in (f"{rasters}/", f"{archive}!"):
        request = LayerRequest([f"{name}={place}{name}.tif" for name in ("rgb", "dsm")])
        request.placed(model, stacked, tmp_path / "x.tif").write(tmp_path / "x.tif")
        with rasterio.open(tmp_path / "x.tif") as file:
            made.append(file.read())
    assert np.array_equal(*made, equal_nan=True)


LAYER_MISTAKES = {
    "one is missing": (
        ["rgb", "ir"],
        [],
        "--input gives rgb+ir, and the model takes rgb+ir+dsm; give a raster of each",
    ),
    "one too many": (["rgb", "ir", "dsm"], ["--scenario", "ir"], "--input gives rgb+ir+dsm, and the model takes ir"),
    "no raster": (["rgb", "ir", "sar"], [], "--input sar: the model takes rgb, ir, dsm"),
    "an option of none": ([], ["--factor", "dsm=0.1"], "--factor is for the rasters of --input"),
    "another format": (["rgb", "ir", "dsm"], ["--format", "onnx"], "--input is for --format deepness, not for onnx"),
    "of other values": (["rgb", "ir", "dsm"], ["--factor", "rgb=9"], "rgb.tif has values up to", "--factor rgb="),
}


@pytest.mark.parametrize("case", LAYER_MISTAKES)
def test_mistakes_with_rasters_end_in_one_sentence_and_leave_nothing(case, written, rasters, call, tmp_path):
    names, words, *parts = LAYER_MISTAKES[case]
    datum = [] if words[:1] in (["--scenario"], ["--format"]) else ["--datum", "layer"]
    inputs = given(rasters, *names) if names else []
    ended = call(
        "--format", "deepness", *datum, "--ckpt_path", written[0], *inputs, *words, "--output", tmp_path / "x.onnx"
    )
    assert ended.code == 2, ended.out
    assert all(part in ended.err.splitlines()[-1] for part in parts), ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_raster_is_not_replaced_by_the_layer(written, rasters, call, tmp_path):
    shutil.copy(rasters / "rgb.tif", tmp_path / "x_layer.tif")
    words = ["--input", f"rgb={tmp_path / 'x_layer.tif'}", "--scenario", "rgb", "--output", tmp_path / "x.onnx"]
    ended = call("--format", "deepness", "--ckpt_path", written[0], *words)
    assert "x_layer.tif is a raster of --input, which the layer would replace" in ended.err.splitlines()[-1]
