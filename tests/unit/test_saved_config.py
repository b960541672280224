"""What a run folder keeps of its settings: readable again, and compared when the run goes on."""

import json

import pytest
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback

from mobanet.errors import UserError
from mobanet.runs.saved_config import announce_changes, check_saved, register_types

RUN = {
    "trainer": {"max_epochs": 2, "callbacks": None, "precision": "32-true"},
    "data": {"crop": 32, "scaling": None, "allow_missing": False},
    "model": {"lr": 1e-3},
    "scenarios": {"validate": "full", "tau": 0.5},
    "monitor": "val/miou",
}


@pytest.fixture
def announced(tmp_path, caplog):
    """The lines for two configurations."""

    def run(before, now):
        (tmp_path / "before").write_text(yaml.safe_dump(before))
        caplog.clear()
        with caplog.at_level("INFO"):
            announce_changes(tmp_path / "before", yaml.safe_dump(now))
        return [record.getMessage() for record in caplog.records]

    return run


def test_changes_of_trainer_data_and_evaluation_are_said(announced):
    assert announced(RUN, RUN) == []
    now = {
        "trainer": {"max_epochs": 3, "callbacks": [{"class_path": "A"}], "precision": "32-true", "new": 1},
        "data": {"crop": 64, "scaling": {"dsm": "standard"}, "allow_missing": True},
        "model": {"lr": 1e-5},  # of these the checkpoint knows
        "scenarios": {"validate": "all", "tau": 2.0},
        "monitor": "val/scenarios/mean_miou",
    }
    assert announced(RUN, now) == [
        "resuming with --data.allow_missing true (the run has false)",
        "resuming with --data.crop 64 (the run has 32)",
        "resuming with --data.scaling.dsm standard (the run has null)",
        "resuming with --monitor val/scenarios/mean_miou (the run has val/miou)",
        "resuming with --scenarios.validate all (the run has full)",
        "resuming with --trainer.callbacks [{'class_path': 'A'}] (the run has null)",
        "resuming with --trainer.max_epochs 3 (the run has 2)",
    ]
    back = "resuming with --data.scaling null (the run has {'dsm': 'standard'})"
    assert back in announced(now, RUN)


def test_a_value_that_no_file_can_hold_is_refused():
    check_saved(yaml.safe_dump(RUN))
    callbacks = [{"class_path": "A", "init_args": {"device": "Unable to serialize instance cpu"}}]
    with pytest.raises(UserError, match=r"--trainer.callbacks has a value that no configuration file can hold"):
        check_saved(yaml.safe_dump({**RUN, "trainer": {"callbacks": callbacks}}))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("StochasticWeightAveraging", {"swa_lrs": 1e-3}),
        ("StochasticWeightAveraging", {"swa_lrs": [1e-3, 1e-4], "device": "cpu"}),
        ("WeightAveraging", {"device": "cpu"}),
        ("EMAWeightAveraging", {}),
        ("EarlyStopping", {"monitor": "val/miou"}),
        ("ModelCheckpoint", {"train_time_interval": "00:10:00"}),
        ("Timer", {"duration": "00:01:00:00"}),
        ("GradientAccumulationScheduler", {"scheduling": {"0": 2}}),
        ("LearningRateMonitor", {}),
        ("LearningRateFinder", {}),
        ("DeviceStatsMonitor", {}),
        ("RichProgressBar", {}),
    ],
)
def test_callbacks_of_lightning_come_back_from_a_configuration(name, arguments):
    register_types()
    parser = ArgumentParser()
    parser.add_argument("--callbacks", type=list[Callback] | Callback | None)
    given = {"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": arguments}
    config = parser.parse_args([f"--callbacks={json.dumps(given)}"])
    text = parser.dump(config, skip_none=False)
    check_saved(text)
    again = parser.parse_string(text)
    assert again == config
    assert type(parser.instantiate(again).callbacks).__name__ == name
