"""A checkpoint that was trained with every sensor there gets batch statistics of scenarios; it is used like any."""

import json
import logging
import shutil
from copy import deepcopy

import numpy as np
import pytest
import rasterio
import torch

from mobanet import from_pretrained
from mobanet.cli.commands import main
from mobanet.evaluation.adaptation import adaptation
from mobanet.export import export
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.loading.module import load_module
from mobanet.predict import predict
from mobanet.runs.opened import open_run
from tests.cli.conftest import WIDE, leftovers
from tests.cli.test_fit_and_test import rows
from tests.cli.test_predict import files_of

FULL = "rgb+ir+dsm"
INCOMPLETE = ["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm"]
FEW = ("--windows", "16")


@pytest.fixture
def adapt(command):
    return lambda *words: command(main, "adapt", [*FEW, *words])


class Said(logging.Handler):
    """Keeps what commands say."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines += record.getMessage().splitlines()


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    """A run whose decoder was trained on other values than it meets: of any scenario, own statistics are better."""
    run = tmp_path_factory.mktemp("adapted") / "run"
    main("fit", ["--experiment", str(small), "--run", str(run), "--wandb", "off", *WIDE])
    changed(run / "checkpoints/best.ckpt", lambda content: mislead(content["state_dict"]))
    return run


def mislead(state):
    for name in state:
        if name.startswith("network.decoder.merge") and name.endswith("running_mean"):
            state[name] = state[name] + 20


def changed(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def done(run):
    """The adapted checkpoint of the run, and what was said of it."""
    said, best = Said(), run / "checkpoints/best.ckpt"
    logging.getLogger().addHandler(said)
    before = best.read_bytes()
    main("adapt", [*FEW, "--ckpt_path", str(best)])
    logging.getLogger().removeHandler(said)
    assert best.read_bytes() == before
    return best.with_name("adapted.ckpt"), said.lines


def read(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def test_the_new_checkpoint_has_statistics_of_scenarios_and_says_how_it_came_by_them(done, run):
    path, said = done
    old, new = read_checkpoint(run / "checkpoints/best.ckpt"), read_checkpoint(path)
    record = adaptation(new)
    assert record.kept == new["hyper_parameters"]["network"]["scenario_statistics"] == INCOMPLETE
    assert (record.checkpoint, record.seed, record.batch_size) == ("best.ckpt", 42, 4)
    assert record.windows == dict.fromkeys(INCOMPLETE, 16)
    assert record.validation == "potsdam, split paper, 1 held-out training tile"
    assert list(record.before) == list(record.own) == [*INCOMPLETE, FULL]
    assert record.before[FULL] == record.own[FULL]
    assert all(record.own[name] > record.before[name] for name in INCOMPLETE)
    added = new["state_dict"].keys() - old["state_dict"].keys()
    assert len(added) == 2 * 12
    assert all(new["state_dict"][name].shape[0] == 6 for name in added)
    weights = [name for name in old["state_dict"] if name != "temperatures"]
    assert all(torch.equal(new["state_dict"][name], old["state_dict"][name]) for name in weights)
    assert bool(new["state_dict"]["temperatures"].isfinite().all())
    assert torch.equal(new["state_dict"]["temperatures"][-1:], old["state_dict"]["temperatures"][-1:])
    assert new["RasterDataModule"] == old["RasterDataModule"]
    assert not {"optimizer_states", "lr_schedulers", "loops", "callbacks"} & new.keys()
    assert leftovers(run) == []
    cells = {line.split("  ")[0].strip(): line.split()[-4:] for line in said}
    figures = [f"{100 * record.before['dsm']:.2f}", *[f"{100 * record.own['dsm']:.2f}"] * 2, "yes"]
    assert cells["dsm"] == figures
    assert cells[FULL][1:] == [f"{100 * record.before[FULL]:.2f}"] * 3
    assert {"mean", "worst", "mean of incomplete", "expected, p = 0.05", "expected, p = 0.2"} <= cells.keys()


def test_a_test_of_it_is_as_before_with_all_sensors_and_says_what_it_is(done, run, test, tmp_path):
    figures = []
    for path in (run / "checkpoints/best.ckpt", done[0]):
        ended = test("--ckpt_path", str(path), "--run", str(tmp_path / path.stem), "--scenarios.evaluate", "full,dsm")
        assert ended.code == 0, ended.err
        figures.append({row["scenario"]: row for row in rows(tmp_path / path.stem / "test/test_scenarios.csv")})
    told = ended.out + ended.err
    remarks = json.loads((tmp_path / "adapted/test/test_scenarios.json").read_text())["remarks"]
    assert "adapted: dsm, by batch statistics taken after training (mobanet.adapt)" in remarks
    assert "adapted     rgb, ir, dsm, rgb+ir, rgb+dsm, ir+dsm normalised by batch statistics of their own" in told
    assert "never in dsm: mobanet.adapt has fitted its normalisation to that since" in told
    before, after = figures
    assert before[FULL] == after[FULL]
    assert before["dsm"]["miou"] != after["dsm"]["miou"]


def test_maps_with_all_sensors_stay_and_others_change(done, run, prepared, tmp_path, caplog):
    files = files_of(prepared)
    for name, given in (("full", files), ("dsm", {"dsm": files["dsm"]})):
        for path in (run / "checkpoints/best.ckpt", done[0]):
            caplog.clear()
            predict(str(path), given, str(tmp_path / f"{name}_{path.stem}.tif"))
    assert "never in dsm: mobanet.adapt has fitted its normalisation to that since" in caplog.text
    assert np.array_equal(read(tmp_path / "full_best.tif"), read(tmp_path / "full_adapted.tif"))
    assert not np.array_equal(read(tmp_path / "dsm_best.tif"), read(tmp_path / "dsm_adapted.tif"))


def test_a_folder_of_it_is_read_again_and_its_card_tells(done, tmp_path):
    export(str(done[0]), str(tmp_path / "model"), format="folder")
    assert "taken from training windows after training (`mobanet.adapt`)" in (tmp_path / "model/README.md").read_text()
    module, again = open_run(done[0].parents[1], "adapted").module, from_pretrained(tmp_path / "model").module
    assert module.settings.network.scenario_statistics == INCOMPLETE
    others = again.state_dict()
    pairs = [(value, others[name]) for name, value in module.state_dict().items() if "network." in name]
    assert all(torch.equal(*pair) for pair in pairs)
    inputs = {name: torch.rand(2, bands, 64, 64) for name, bands in module.network.modalities.items()}
    available = torch.tensor([[True, False, False], [False, True, True]])
    with torch.no_grad():
        assert torch.equal(again(inputs, available).logits, module(inputs, available).logits)


def test_mistakes_are_told_before_anything_is_computed(done, run, adapt, fit):
    best, path = str(run / "checkpoints/best.ckpt"), str(done[0])
    assert f"{path} is there already; name another file" in adapt("--ckpt_path", best).sentence()
    assert "is the checkpoint itself" in adapt("--ckpt_path", best, "--output", best).sentence()
    sentence = adapt("--ckpt_path", path, "--output", f"{path}.2").sentence()
    assert "is adapted already; give the one that it was made of, best.ckpt." in sentence
    assert "--windows is 1" in adapt("--ckpt_path", best, "--windows", "1").sentence()
    assert "--batch_size is 1" in adapt("--ckpt_path", best, "--batch_size", "1").sentence()
    assert "was adapted by mobanet.adapt and has no state of a training: go on from best.ckpt" in (
        fit("--ckpt_path", path, experiment=None).sentence()
    )
    assert "--model.network.scenario_statistics is not for training" in (
        fit("--model.network.scenario_statistics", "[rgb]").sentence()
    )


def test_a_new_run_begins_with_its_weights_and_not_with_its_statistics(done, run):
    content, best = read_checkpoint(done[0]), load_module(run / "checkpoints/best.ckpt").module
    other = deepcopy(best)
    for value in other.parameters():
        torch.nn.init.zeros_(value)
    other.begin_from(content)
    begun, wanted = other.state_dict(), best.state_dict()
    weights = [name for name in wanted if name.startswith("network.")]
    assert all(torch.equal(begun[name], wanted[name]) for name in weights)


def test_where_nothing_is_gained_nothing_is_written(finished, tmp_path, command):
    run = shutil.copytree(finished, tmp_path / "run")

    def mute(content):
        content["state_dict"]["network.decoder.classifier.weight"].zero_()

    best = changed(run / "checkpoints/best.ckpt", mute)
    there = sorted(run.rglob("*"))
    ended = command(main, "adapt", [*FEW, "--ckpt_path", str(best)])
    assert ended.code == 2
    assert ended.err.rstrip().endswith(
        "error: in no incomplete scenario is the validation mIoU better with its own batch statistics; nothing was "
        "written: use the checkpoint as it is."
    )
    assert sorted(run.rglob("*")) == there
