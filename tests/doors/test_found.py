"""A configuration that lies beside a checkpoint runs no code, outside of fit, and sends results nowhere else."""

import json
import logging
import sys
from contextlib import suppress

import pytest
import yaml

from mobanet.cli.command_line import MobanetCLI
from mobanet.cli.experiments import resolve
from mobanet.errors import UserError
from mobanet.report import report
from mobanet.runs.found import found_configuration
from mobanet.runs.opened import open_run
from mobanet.tracking.wandb_run import read_tracked
from tests.data_files.fake_files import noise, write

MADE = {"class_path": "stranger.Made", "init_args": {}}
CLASSES = {
    "callbacks": ([MADE], MADE, "stranger.Made", ["stranger.Made"]),
    "logger": ([MADE], MADE, "stranger.Made"),
    "plugins": ([MADE], MADE, "stranger.Made"),
    "strategy": (MADE, "stranger.Made"),
    "accelerator": (MADE, "stranger.Made"),
    "profiler": (MADE, "stranger.Made"),
    "model_registry": ("stranger.Made",),
}


@pytest.fixture
def run(written, tmp_path, monkeypatch):
    """A run folder with a configuration, and a module that a stranger would have imported."""
    (tmp_path / "stranger.py").write_text("class Made: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOBANET_RUN_FOLDER", raising=False)
    write(tmp_path / "data/2_Ortho_RGB/top_potsdam_2_10_RGB.tif", noise("ortho", 3, (20, 20)))
    checkpoint = written()

    def make(**content):
        given = {"data": {"root": str(tmp_path / "data"), "modalities": ["rgb", "dsm"]}, **content}
        (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(given))
        return checkpoint

    yield make
    assert "stranger" not in sys.modules


def left(path, command="test"):
    return yaml.safe_load(found_configuration(path.parents[1] / "config.yaml", command))


@pytest.mark.parametrize("key", CLASSES)
def test_no_form_of_a_class_is_left(key, run):
    for form in CLASSES[key]:
        path = run(trainer={key: form, "precision": "bf16-mixed", "devices": [0], "max_epochs": 3})
        assert left(path)["trainer"] == {"precision": "bf16-mixed", "devices": [0], "max_epochs": 3}


GROUPS = ("data", "scenarios", "folder", "augmentation", "evaluation", "scaling", "modalities")


@pytest.mark.parametrize("form", [MADE, "stranger.Made"], ids=["mapping", "word"])
@pytest.mark.parametrize("group", GROUPS)
def test_no_class_in_place_of_a_group_of_settings(group, form, run):
    path = run(**({group: form} if group in ("data", "scenarios") else {"data": {"root": "data", group: form}}))
    with pytest.raises(UserError):
        MobanetCLI("test", ["--ckpt_path", str(path)])
    with suppress(UserError):  # a report goes without what it cannot open
        report(str(path.parents[1]))


def test_unknown_groups_are_left_out(run):
    assert left(run(whatever={"deep": [{"er": MADE}]}, other="stranger.Made", third=3, callbacks=MADE)) == {
        **left(run()),
        "third": 3,
    }


def test_what_is_of_a_call_or_of_training_is_left_out(run):
    path = run(
        run="elsewhere", ckpt_path="x", init_from="y", output="z", model={"lr": 1}, experiment="../../x", monitor="m"
    )
    assert left(path) == {"data": left(path)["data"], "experiment": "../../x", "monitor": "m"}
    assert resolve(["--ckpt_path", str(path)], "test").experiment == path.parents[2].name


def test_tiles_are_prepared_where_the_user_says(run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    store = {"root": "data", "store": str(tmp_path / "elsewhere")}
    assert left(run(data=store))["data"] == {"root": "data", "store": None}
    assert f"--store {tmp_path / 'elsewhere'} are not there" in caplog.text
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/store.json").write_text("{}")
    assert left(run(data=store))["data"] == store
    with pytest.raises(UserError, match=r"names a file as data.folder; give 'secrets.yaml' with --data.folder FILE"):
        left(run(data={"root": "data", "folder": "secrets.yaml"}))


@pytest.mark.parametrize("command", ["test", "scores", "adapt"])
def test_a_command_runs_without_a_stranger_s_classes(command, run, caplog):
    caplog.set_level(logging.INFO)
    path = run(trainer={"callbacks": [MADE], "profiler": "stranger.Made", "accelerator": "cpu", "log_every_n_steps": 7})
    cli = MobanetCLI(command, ["--ckpt_path", str(path)])
    assert {type(callback).__module__.split(".")[0] for callback in cli.trainer.callbacks} <= {"mobanet", "lightning"}
    assert cli.trainer.log_every_n_steps == 7
    assert cli.folder == path.parents[1]
    assert "without its callbacks, profiler of the trainer" in caplog.text


def test_open_run_neither(run):
    with pytest.raises(UserError, match="tile 2_10 has no dsm"):
        open_run(run(trainer={"callbacks": [MADE]}).parents[1])


def test_fit_goes_on_with_a_run_s_classes_and_says_which(run, caplog):
    caplog.set_level(logging.INFO)
    path = run(trainer={"callbacks": [{"class_path": "a.B"}, "c.D"], "profiler": {"class_path": "e.F"}})
    config = path.parents[1] / "config.yaml"
    assert found_configuration(config, "fit") == str(config)
    assert "config.yaml brings a.B, c.D, e.F" in caplog.text
    with pytest.raises(UserError, match=r"config.yaml sets run, which fit never leaves in a run folder"):
        resolve(["--ckpt_path", str(run(run="elsewhere"))])


def test_a_configuration_that_is_named_is_the_user_s_own(run):
    path = run(trainer={"callbacks": [MADE]})
    words = ["--config", str(path.parents[1] / "config.yaml"), "--ckpt_path", str(path)]
    assert resolve(words, "test").words == words


ODD_RUNS = ({"id": "../x"}, {"id": 3}, {"id": "x", "project": ["p"]}, {"id": "x", "host": "h"}, [])


@pytest.mark.parametrize("content", ODD_RUNS)
def test_the_name_of_a_tracked_run_is_words(content, tmp_path):
    given = {"project": "mobanet", **content} if isinstance(content, dict) else content
    (tmp_path / "wandb_run.json").write_text(json.dumps(given))
    with pytest.raises(UserError, match="does not name a tracked run"):
        read_tracked(tmp_path)
