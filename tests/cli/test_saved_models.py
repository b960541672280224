"""Models by whatever name: checkpoint, run folder, export, hub; on the command line and in two lines of Python."""

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import rasterio

import mobanet
from mobanet.cli.commands import main as run_command
from mobanet.errors import UserError
from mobanet.export import main as export
from mobanet.predict import main, predict
from mobanet.prediction.sources import open_model
from tests.cli.test_predict import files_of, model, read

__all__ = ["model"]  # a fixture


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The model as a folder and as a file, elsewhere."""
    place = tmp_path_factory.mktemp("exported")
    for kind, name in (("folder", "model"), ("safetensors", "model.safetensors")):
        export(["--ckpt_path", str(model), "--format", kind, "--output", str(place / name)])
    return place


def arrays(city):
    """By modality, the pixels of a tile as its rasters hold them, (bands, H, W), and where they lie."""
    found = {}
    for name, path in files_of(city).items():
        path, _, band = path.partition("[")
        with rasterio.open(path) as raster:
            found[name] = raster.read([int(band[:-1])] if band else None)
            place = {"transform": raster.transform, "crs": raster.crs.to_string() if raster.crs else None}
    return found, place


@pytest.mark.parametrize("name", ["model", "model.safetensors"])
def test_an_export_makes_the_map_of_its_checkpoint(model, exported, prepared, command, tmp_path, name):
    files = files_of(prepared)
    predict(str(model), files, str(tmp_path / "a.tif"), scenarios=True)
    words = ["--input", *(f"{key}={value}" for key, value in files.items()), "--output", str(tmp_path / "b.tif")]
    ended = command(main, ["--ckpt_path", str(exported / name), *words, "--scenarios"])
    assert ended.code == 0, ended.err
    for ending in (".tif", "_scenarios.tif"):
        assert np.array_equal(read(tmp_path / f"a{ending}"), read(tmp_path / f"b{ending}"))
    assert len(np.unique(read(tmp_path / "a.tif"))) > 3
    one, other = open_model(model), open_model(exported / name)
    assert other.rasters == one.rasters
    assert other.rasters.side is not None
    assert (other.never, other.windows, other.temperatures) == (one.never, one.windows, one.temperatures)
    assert other.learnt.keys() == one.learnt.keys()


def test_an_export_knows_how_rasters_were_read_and_what_it_never_saw(model, exported, prepared, command, tmp_path):
    given = json.loads((exported / "model/config.json").read_text())["training"]
    assert given["rasters"]["rules"].keys() == {"rgb", "ir", "dsm"}
    assert "rgb" in given["never"]
    rgb = files_of(prepared)["rgb"]
    words = ["--input", f"rgb={rgb}", "--output", str(tmp_path / "map.tif")]
    ended = command(main, ["--ckpt_path", str(exported / "model"), *words])
    assert "warning: the model was trained with every sensor there, and never in rgb" in ended.err


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"training": 5}, "training"),
        ({"training": {"rasters": {"rules": {}, "side": -1, "systems": []}, "never": []}}, "side"),
        ({"training": {"rasters": None, "never": []}}, "rasters"),
        ({"training": {"rasters": {"rules": {}, "side": None, "systems": []}, "never": [1]}}, "never"),
        ({"training": {"rasters": {"rules": {}, "side": None, "systems": []}, "never": [], "epoch": -1}}, "epoch"),
        ({"training": {"rasters": {"rules": {}, "side": None, "systems": []}, "never": [], "epoch": "x"}}, "epoch"),
    ],
)
def test_what_an_export_says_of_its_training_is_checked(exported, command, prepared, tmp_path, damage, words):
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = shutil.copytree(exported / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | damage
    (folder / "config.json").write_text(json.dumps(config))
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(state, folder / "model.safetensors")  # as others save it, without our metadata
    given = ["--input", f"rgb={files_of(prepared)['rgb']}", "--output", str(tmp_path / "map.tif")]
    ended = command(main, ["--ckpt_path", str(folder), *given])
    assert ended.code == 2
    assert words in ended.sentence()
    assert "export the checkpoint again" in ended.sentence()


def test_an_older_export_is_taken_and_knows_no_rasters(exported, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = shutil.copytree(exported / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config["training"]
    (folder / "config.json").write_text(json.dumps(config))
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(state, folder / "model.safetensors")
    found = open_model(folder)
    assert found.rasters.side is None
    assert found.never == frozenset()


def test_a_model_on_the_hub_is_taken_by_its_name(exported, prepared, command, tmp_path, monkeypatch):
    cache = tmp_path / "cache/models--office--roofs"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text("1" * 40)
    shutil.copytree(exported / "model", cache / "snapshots" / ("1" * 40))
    monkeypatch.chdir(tmp_path)
    words = ["--input", f"rgb={files_of(prepared)['rgb']}", "--output", "map.tif"]
    ended = command(main, ["--ckpt_path", "office/roofs", *words])
    assert ended.code == 0, ended.err
    assert mobanet.load("office/roofs").classes.names[1] == "building"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("office/streets", "is no folder here, and cannot be fetched from the hub"),
        ("runs/best.ckpt", "does not exist"),
        ("here/streets", "does not exist"),  # a folder that is there, and nothing in it
        ("empty", "is a folder without checkpoints/best.ckpt and checkpoints/last.ckpt"),
    ],
)
def test_what_is_no_model_is_said(command, prepared, tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    for name in ("here", "empty"):
        (tmp_path / name).mkdir()
    ended = command(main, ["--ckpt_path", given, "--input", f"rgb={files_of(prepared)['rgb']}", "--output", "map.tif"])
    assert ended.code == 2
    assert given in ended.sentence()
    assert words in ended.sentence()
    with pytest.raises(UserError, match=given):
        mobanet.load(given)


def test_a_folder_that_has_lost_a_part_is_said(exported, tmp_path):
    for name in ("config.json", "model.safetensors"):
        folder = shutil.copytree(exported / "model", tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(UserError, match=f"has no {name}"):
            mobanet.load(folder)


def test_the_folder_of_a_run_stands_for_its_checkpoint(finished, prepared, command, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    ended = command(run_command, "test", ["--ckpt_path", str(run)])
    assert ended.code == 0, ended.err
    assert (run / "test/test.json").is_file()
    assert command(run_command, "scores", [f"--ckpt_path={run}", "--output", str(tmp_path / "scores.json")]).code == 0
    assert "best.ckpt" in (tmp_path / "scores.json").read_text()
    words = ["--input", f"rgb={files_of(prepared)['rgb']}", "--output", str(tmp_path / "map.tif")]
    assert command(main, ["--ckpt_path", str(run), *words]).code == 0
    ended = command(export, ["--ckpt_path", str(run), "--format", "folder"])
    assert ended.code == 0, ended.err
    assert (run / "checkpoints/best/config.json").is_file()
    assert mobanet.load(run / "checkpoints/best").classes == mobanet.load(run).classes
    (run / "checkpoints/best.ckpt").unlink()
    assert mobanet.load(run)._model.path.name == "last.ckpt"


def test_training_goes_on_from_the_last_checkpoint_of_a_folder(finished, command, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    ended = command(run_command, "fit", ["--ckpt_path", str(run), "--trainer.max_epochs", "2", "--wandb", "off"])
    assert ended.code == 0, ended.err
    (run / "checkpoints/last.ckpt").unlink()
    ended = command(run_command, "fit", ["--ckpt_path", str(run), "--wandb", "off"])
    assert ended.code == 2
    assert f"--ckpt_path {run} is a folder without checkpoints/last.ckpt" in ended.sentence()
    ended = command(run_command, "adapt", ["--ckpt_path", str(tmp_path)])
    assert ended.code == 2
    assert f"--ckpt_path {tmp_path} is a folder without" in ended.sentence()


def test_two_lines_map_files_as_the_command_does(model, exported, prepared, tmp_path):
    files = files_of(prepared)
    (done,) = predict(str(model), files, str(tmp_path / "map.tif"), probabilities="float32")
    with rasterio.open(done.files.probabilities) as raster:
        expected = raster.read().max(0)
    for source in (model, exported / "model"):
        found = mobanet.load(source).predict(**files)
        assert np.array_equal(found.classes, read(done.files.classes))
        assert np.array_equal(found.confidence, expected, equal_nan=True)
        assert found.confidence.dtype == np.float32
    assert 1 / 6 < expected.mean() <= 1


def test_arrays_are_mapped_as_their_files_are(model, prepared, caplog):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    mobanet.load(model).predict(rgb=arrays(prepared)[0]["rgb"])
    assert "rgb: the array of rgb has no georeference, and the map gets none" in caplog.text
    given, place = arrays(prepared)
    files, loaded = files_of(prepared), mobanet.load(model)
    expected = loaded.predict(files)
    found = loaded.predict(given, **place)
    assert np.array_equal(found.classes, expected.classes)
    assert np.array_equal(found.confidence, expected.confidence)
    # bands behind, wider floats, and no bands at all
    other = {"rgb": given["rgb"].transpose(1, 2, 0), "ir": given["ir"][0], "dsm": given["dsm"].astype(np.float64)}
    assert np.array_equal(loaded.predict(**other, **place).classes, expected.classes)
    # a raster's place and an array's
    mixed = loaded.predict(rgb=files["rgb"], ir=given["ir"], dsm=given["dsm"], **place)
    assert np.array_equal(mixed.classes, expected.classes)


def test_what_was_not_measured_is_predicted_without(model, prepared):
    given, place = arrays(prepared)
    loaded = mobanet.load(model)
    dsm = given["dsm"].astype(np.float32)
    dsm[:, :, :100] = np.nan
    holes = loaded.predict(rgb=given["rgb"], dsm=dsm, **place)
    masked = np.ma.masked_array(given["dsm"], np.isnan(dsm))
    assert np.array_equal(loaded.predict(rgb=given["rgb"], dsm=masked, **place).classes, holes.classes)
    alone, both = (loaded.predict(rgb=given["rgb"], **more, **place) for more in ({}, {"dsm": given["dsm"]}))
    assert np.array_equal(holes.classes[:, :30], alone.classes[:, :30])
    assert not np.array_equal(both.classes[:, :30], alone.classes[:, :30])
    rgb = np.ma.masked_array(given["rgb"], np.zeros(given["rgb"].shape, bool))
    rgb[:, :20, :20] = np.ma.masked
    gap = loaded.predict(rgb=rgb, dsm=given["dsm"], **place)
    assert (gap.classes[:20, :20] == 255).all()
    assert np.isnan(gap.confidence[:20, :20]).all()
    assert (gap.classes[30:, 30:] != 255).all()


def test_a_model_says_what_it_is(model):
    loaded = mobanet.load(model)
    assert list(loaded.modalities) == ["rgb", "ir", "dsm"]
    assert loaded.classes.names[1] == "building"
    assert loaded.gsd == pytest.approx(0.4, rel=0.05)
    assert loaded.scenarios[-1] == "rgb+ir+dsm"
    assert "rgb" in loaded.never_trained
    assert "rgb+ir+dsm -> " in repr(loaded)


@pytest.mark.parametrize(
    ("rasters", "words"),
    [
        ({}, "--input names no raster"),
        ({"radar": np.zeros((1, 80, 80), np.uint8)}, "radar is no modality of the model, which takes rgb, ir, dsm"),
        ({"rgb": np.zeros((80, 80), np.uint8)}, r"the model takes 3 bands of it; give \(3, H, W\) or \(H, W, 3\)"),
        ({"rgb": np.zeros((3, 80), bool)}, "rgb is an array of bool; give one of uint8"),
        ({"rgb": np.zeros((3, 80, 80), np.int64)}, "rgb is an array of int64"),
        ({"rgb": np.zeros((3, 0, 80), np.uint8)}, "rgb has the shape"),
        ({"rgb": np.array("a")}, "rgb is an array of <U1"),
        ({"rgb": np.zeros((3, 80, 80), np.uint8), "dsm": np.zeros((90, 80), np.float32)}, "dsm|rgb"),
        ({"rgb": "nowhere.tif"}, "nowhere.tif does not exist"),
        ({"dsm": np.full((80, 80), np.nan, np.float32)}, "^the array of dsm has no valid pixel"),
    ],
)
def test_arrays_that_do_not_fit_are_said(model, rasters, words):
    with pytest.raises(UserError, match=words):
        mobanet.load(model).predict(rasters)


@pytest.mark.parametrize("kind", ["checkpoint", "export"])
def test_a_prediction_changes_nothing_for_the_next(model, exported, prepared, kind, monkeypatch):
    loaded = mobanet.load(model if kind == "checkpoint" else exported / "model")
    rgb = files_of(prepared)["rgb"]
    first = loaded.predict(rgb=rgb)
    halved = loaded.predict(rgb=rgb, precision="bf16-true")
    assert not np.array_equal(first.confidence, halved.confidence)
    # nor is it read once more
    monkeypatch.setattr("torch.load", None)
    monkeypatch.setattr("mobanet.checkpoints.reading.load_file", None)
    again = loaded.predict(rgb=rgb)
    assert np.array_equal(again.classes, first.classes)
    assert np.array_equal(again.confidence, first.confidence, equal_nan=True)


def test_a_modality_is_given_once(model, prepared):
    rgb = files_of(prepared)["rgb"]
    with pytest.raises(UserError, match=r"^rgb is given twice, among the rasters and by its name\.$"):
        mobanet.load(model).predict({"rgb": rgb}, rgb=rgb)
