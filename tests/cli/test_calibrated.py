"""Temperatures from the validation that fits them to tests and maps that are calibrated by them."""

import json
import math
import shutil

import numpy as np
import pytest
import rasterio
import torch

from mobanet.data.datamodule import RasterDataModule
from mobanet.errors import Stopped, UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.predict import predict
from mobanet.prediction import run as prediction_run
from mobanet.report import report
from tests.cli.conftest import start, wait
from tests.cli.test_fit_and_test import rows
from tests.cli.test_predict import files_of, half_covered

__all__ = ["half_covered"]

FULL = "rgb+ir+dsm"
NAMES = ["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", FULL]


@pytest.fixture
def run(finished, tmp_path):
    """A run that has validated the full scenario."""
    return shutil.copytree(finished, tmp_path / "finished")


def changed(path, change):
    """A checkpoint in whose weights something is changed."""
    content = torch.load(path, weights_only=True)
    change(content["state_dict"])
    torch.save(content, path)
    return path


def without(path):
    """One of an earlier version."""
    return changed(path, lambda state: state.pop("temperatures"))


@pytest.fixture
def warm(run):
    """A checkpoint with temperatures of two scenarios."""

    def fill(state):
        state["temperatures"] = torch.full((7,), math.nan)
        state["temperatures"][3], state["temperatures"][6] = 0.25, 2.5

    return changed(run / "checkpoints/best.ckpt", fill)


def shares_of(path):
    with rasterio.open(path.with_name(f"{path.stem}_probabilities.tif")) as raster:
        return raster.read().astype(float), raster.tags()


def at(shares, temperatures):
    """Probabilities at temperatures (H, W), from those at 1."""
    sharp = shares ** (1 / temperatures)
    return sharp / sharp.sum(0)


def read(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def test_what_a_run_has_validated_has_a_temperature_in_its_checkpoints(run):
    for name in ("best", "last"):
        temperatures = read_checkpoint(run / f"checkpoints/{name}.ckpt")["state_dict"]["temperatures"].tolist()
        assert [math.isnan(each) for each in temperatures] == [True] * 6 + [False]
        assert 0.25 <= temperatures[-1] <= 8


def test_every_validated_scenario_is_fitted_and_a_resumed_run_ends_with_the_same(fit, tmp_path):
    ended = fit("--scenarios.validate", "all")
    assert ended.code == 0, ended.err
    last = tmp_path / "run/checkpoints/last.ckpt"
    whole = read_checkpoint(last)["state_dict"]["temperatures"]
    assert bool(whole.isfinite().all())
    first = ["--scenarios.validate", "all", "--trainer.max_epochs", "1", "--run", str(tmp_path / "again")]
    given = [*first, "--model.schedule.warmup_epochs", "0.4", "--model.schedule.every", "step"]
    assert fit(*given).code == 0
    again = tmp_path / "again/checkpoints/last.ckpt"
    begun = read_checkpoint(again)["state_dict"]["temperatures"]
    # through already, so that nothing is trained: what was fitted stays
    assert fit("--ckpt_path", str(again), *given).code == 0
    assert torch.equal(read_checkpoint(again)["state_dict"]["temperatures"], begun)


def test_weights_that_were_trained_on_without_a_validation_have_none(run, fit):
    last = run / "checkpoints/last.ckpt"
    ended = fit("--ckpt_path", str(last), "--trainer.max_epochs", "3", "--trainer.limit_val_batches", "0")
    assert ended.code == 0, ended.err
    found = [path for path in run.parent.rglob("last.ckpt") if read_checkpoint(path)["epoch"] == 2]
    assert found
    assert all(bool(read_checkpoint(path)["state_dict"]["temperatures"].isnan().all()) for path in found)


def test_a_test_tells_calibration_before_and_after(warm, test, tmp_path):
    run = warm.parents[1]
    ended = test("--ckpt_path", str(warm))
    assert ended.code == 0, ended.err
    told = ended.out + ended.err
    assert "ECE at T: the same of softmax(logits / T)" in told
    assert f"rgb+ir 0.25, {FULL} 2.50" in told
    assert "no T is known of rgb, ir, dsm, …" in told
    table = {row["scenario"]: row for row in rows(run / "test/test_scenarios.csv")}
    assert [name for name in NAMES if table[name]["ece_calibrated"]] == ["rgb+ir", FULL]
    assert (table["rgb+ir"]["temperature"], table["rgb"]["temperature"]) == ("0.250000", "")
    assert table["mean"]["ece_calibrated"] == ""
    content = json.loads((run / "test/test_scenarios.json").read_text())["scenarios"]
    full = content[FULL]
    assert full["temperature"] == 2.5
    assert sum(full["calibrated"]["pixels"]) == sum(full["calibration"]["pixels"])
    assert full["ece_calibrated"] != full["ece"]
    assert "temperature" not in content["rgb"]
    report(str(run), str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "at T" in page
    assert page.count("<polyline") >= 2


@pytest.mark.long
def test_an_earlier_checkpoint_is_tested_resumed_and_predicts_as_before(run, prepared, test, fit, tmp_path, caplog):
    best, last = (without(run / f"checkpoints/{name}.ckpt") for name in ("best", "last"))
    ended = test("--ckpt_path", str(best))
    assert ended.code == 0, ended.err
    assert "no ECE of calibrated probabilities: of temperatures the checkpoint has none" in ended.out + ended.err
    assert "ece_calibrated" not in (run / "test/test_scenarios.csv").read_text()
    predict(str(best), files_of(prepared), str(tmp_path / "map.tif"), probabilities="float32")
    assert "probabilities are not calibrated: the checkpoint has no temperatures" in caplog.text
    settings = json.loads(shares_of(tmp_path / "map.tif")[1]["mobanet_settings"])
    assert settings["calibrated"] is False
    ended = fit("--ckpt_path", str(last), "--trainer.max_epochs", "3")
    assert ended.code == 0, ended.err
    found = [path for path in run.parent.rglob("last.ckpt") if read_checkpoint(path)["epoch"] == 2]
    assert all(math.isfinite(read_checkpoint(path)["state_dict"]["temperatures"][-1]) for path in found)


@pytest.mark.parametrize("turns", [False, pytest.param(True, marks=pytest.mark.long)])
def test_calibrated_maps_have_the_same_classes_and_probabilities_at_the_temperature(
    turns, warm, half_covered, tmp_path, caplog
):
    options = {"scenarios": True, "probabilities": "float32", "confidence": "uint8", "stride": 24, "turns": turns}
    plain, calibrated = tmp_path / "plain.tif", tmp_path / "calibrated.tif"
    predict(str(warm), half_covered, str(plain), calibrated=False, **options)
    assert "probabilities are not calibrated (--calibrated false)" in caplog.text
    predict(str(warm), half_covered, str(calibrated), **options)
    said = f"probabilities are calibrated by the checkpoint's temperatures: rgb+ir 0.25, {FULL} 2.50; T is 1 in all"
    assert said in caplog.text
    assert np.array_equal(read(plain), read(calibrated))
    numbers = read(tmp_path / "plain_scenarios.tif")
    assert np.array_equal(numbers, read(tmp_path / "calibrated_scenarios.tif"))
    before, after = shares_of(plain), shares_of(calibrated)
    known = read(plain) != 255
    assert {NAMES[number] for number in np.unique(numbers[known])} == {"rgb+ir", FULL}
    temperatures = np.where(numbers == 3, 0.25, 2.5)[known]
    assert np.allclose(after[0][:, known], at(before[0][:, known], temperatures), atol=1e-4)
    assert not np.allclose(after[0][:, known], before[0][:, known], atol=1e-2)
    assert np.isnan(after[0][:, ~known]).all()
    assert json.loads(after[1]["mobanet_temperatures"]) == {"rgb+ir": 0.25, FULL: 2.5}
    assert "mobanet_temperatures" not in before[1]
    for path, (shares, _) in ((plain, before), (calibrated, after)):
        with rasterio.open(path.with_name(f"{path.stem}_confidence.tif")) as raster:
            assert (raster.count, raster.dtypes, raster.nodata) == (1, ("uint8",), 255)
            assert raster.descriptions == ("confidence",)
            assert raster.scales == (1 / 254,)
            assert raster.overviews(1) == []
            found = raster.read(1)
        # rounded to the nearest step; which one, where two are as near, is up to the processor's last digit
        assert np.abs(found[known] - shares[:, known].max(0).astype(np.float64) * 254).max() <= 0.5 + 1e-4
        assert (found[~known] == 255).all()


def test_a_scenario_without_a_temperature_is_left_as_it_is(warm, prepared, tmp_path):
    files = {"dsm": files_of(prepared)["dsm"]}
    for name, calibrated in (("plain", False), ("calibrated", True)):
        predict(str(warm), files, str(tmp_path / f"{name}.tif"), calibrated=calibrated, probabilities="float32")
    predict(str(warm), files, str(tmp_path / "alone.tif"), confidence="float32")
    with rasterio.open(tmp_path / "alone_confidence.tif") as raster:
        assert np.array_equal(raster.read(1), shares_of(tmp_path / "plain.tif")[0].max(0), equal_nan=True)
    assert not (tmp_path / "alone_probabilities.tif").exists()
    assert np.array_equal(shares_of(tmp_path / "plain.tif")[0], shares_of(tmp_path / "calibrated.tif")[0])


def test_an_interrupted_prediction_goes_on_calibrated_and_no_other_way(warm, half_covered, tmp_path, monkeypatch):
    monkeypatch.setattr("mobanet.prediction.plan.STRIP", 40)
    options = {"probabilities": "float32", "stride": 24, "batch_size": 1}
    whole, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    predict(str(warm), half_covered, str(whole), **options)

    save, saved = prediction_run.MapWriter.save, []

    def stop(self, part, maps):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(part)
        save(self, part, maps)

    with monkeypatch.context() as broken:
        broken.setattr(prediction_run.MapWriter, "save", stop)
        with pytest.raises(Stopped):
            predict(str(warm), half_covered, str(cut), **options)
    assert len(list((tmp_path / "cut.tif.parts").glob("*.npz"))) == 2
    with pytest.raises(UserError, match=r"begun with another --calibrated \(True, now False\)"):
        predict(str(warm), half_covered, str(cut), calibrated=False, resume=True, **options)
    predict(str(warm), half_covered, str(cut), resume=True, **options)
    assert np.array_equal(shares_of(cut)[0], shares_of(whole)[0], equal_nan=True)
    assert np.array_equal(read(cut), read(whole))


def test_an_attempt_of_an_earlier_version_goes_on_uncalibrated_only(warm, prepared, tmp_path, monkeypatch):
    path, options = tmp_path / "map.tif", {"probabilities": "float32"}

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(prediction_run, "assemble", stop)
        with pytest.raises(Stopped):
            predict(str(warm), files_of(prepared), str(path), calibrated=False, **options)
    ticket = tmp_path / "map.tif.parts/settings.json"
    content = json.loads(ticket.read_text())
    assert content.pop("--calibrated") is False
    ticket.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"begun with another --calibrated \(False, now True\)"):
        predict(str(warm), files_of(prepared), str(path), resume=True, **options)
    predict(str(warm), files_of(prepared), str(path), resume=True, calibrated=False, **options)
    assert path.is_file()


@pytest.mark.long
def test_two_processes_calibrate_alike(warm, half_covered, tmp_path, monkeypatch):
    one, two = tmp_path / "one.tif", tmp_path / "two.tif"
    monkeypatch.setattr("mobanet.prediction.plan.MapSettings.panel", lambda self, classes: 96)
    predict(str(warm), half_covered, str(one), probabilities="uint8", batch_size=1)
    monkeypatch.undo()
    words = ["--ckpt_path", str(warm), "--output", str(two), "--probabilities", "uint8", "--batch_size", "1"]
    words += ["--input", *(f"{name}={path}" for name, path in half_covered.items())]
    ended = wait(start("mobanet.predict", *words, "--accelerator", "cpu", "--devices", "2", folder=tmp_path))
    assert ended.code == 0, ended.err
    assert ended.err.count("probabilities are calibrated by the checkpoint's temperatures") == 1
    assert np.array_equal(read(one), read(two))
    assert np.array_equal(shares_of(one)[0], shares_of(two)[0])


def test_on_the_windows_that_it_was_fitted_to_a_temperature_lessens_the_error_of_a_network_too_sure_of_itself(
    prepared, make_module, make_trainer, tmp_path
):
    data = RasterDataModule(
        str(prepared),
        modalities=["rgb", "ir", "dsm"],
        crop=64,
        batch_size=4,
        steps_per_epoch=12,
        num_workers=0,
        validation="test",
    )
    torch.manual_seed(5)
    wide = MoBaNetSettings(decoder_channels=32, projection_channels=64)  # learns something in so few steps
    module = make_module(data, lr=3e-3, network=wide)
    module.evaluate_on(validation="all", test="all")
    trainer = make_trainer(max_epochs=2)
    trainer.fit(module, datamodule=data)
    own = module.temperatures.clone()
    assert len(module.known_temperatures) == 7
    with torch.no_grad():  # what is fitted is the likelihood, which moves the error only where that is large
        for parameter in module.network.decoder.classifier.parameters():
            parameter *= 4
    trainer.validate(module, datamodule=data, verbose=False)
    np.testing.assert_allclose(module.temperatures, (4 * own).clamp(max=8), rtol=0.02)
    evaluation = module.evaluation.stages["validation"]
    evaluation.calibrate(module.known_temperatures)  # the same windows once more
    fitted = module.temperatures.clone()
    trainer.validate(module, datamodule=data, verbose=False)
    assert torch.equal(module.temperatures, fitted)
    found = module.evaluation.found["validation"]
    before, after = found.reliability, found.calibrated
    assert list(after) == NAMES
    for name in NAMES:
        assert sum(after[name].pixels) == sum(before[name].pixels)
        assert after[name].error < before[name].error
    assert np.mean([after[name].error for name in NAMES]) < 0.5 * np.mean([before[name].error for name in NAMES])
