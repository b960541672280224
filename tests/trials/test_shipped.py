"""The sweeps that come with the package: whatever the W&B agent makes of them, `mobanet.fit` takes."""

import sys

import pytest

from mobanet.trials.arguments import fit_words
from mobanet.trials.sweep_file import find_sweep, read_sweep, sweep_names
from tests.cli.conftest import start, wait
from tests.trials.conftest import table
from tests.trials.test_arguments import by_agent

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu")


def corners(sweep):
    """As few trials as hold each value of each parameter, and both ends of each range."""
    choices = {p.name: p.values or (p.low, p.high) for p in sweep.parameters}
    count = max(map(len, choices.values()))
    return [{name: values[i % len(values)] for name, values in choices.items()} for i in range(count)]


def words_of(sweep, values, experiment):
    words = fit_words(by_agent(sweep.command, values), "FILE")
    words[words.index("--experiment") + 1] = str(experiment)
    return [*words, "--model.streams", "null"]  # which the small experiment sets, and the one of the files does not


@pytest.mark.parametrize("name", sweep_names())
def test_every_value_is_one_that_fit_takes(name, small, tmp_path):
    from mobanet.cli.command_line import MobanetCLI

    sweep = read_sweep(find_sweep(name))
    seen = []
    for values in corners(sweep):
        words = words_of(sweep, values, small)
        cli = MobanetCLI("fit", [*words, "--run", str(tmp_path / "run"), "--wandb", "off"])
        for key, value in values.items():
            found = cli.config.get(key)
            assert (found, type(found)) == (value, type(value)) or found == float(value), key
            seen.append((key, str(value)))
    assert {(p.name, str(value)) for p in sweep.parameters for value in p.values} <= set(seen)
    kinds = {type(value) for p in sweep.parameters for value in p.values}
    assert kinds & {type(None), bool, list}


@pytest.mark.parametrize(("name", "more"), [("scenario_sampling", ()), ("masking_and_learning_rate", TWO)])
@pytest.mark.skipif(sys.platform == "win32", reason="two processes")
def test_a_shipped_sweep_runs_as_the_agent_runs_it(name, more, small, tmp_path):
    sweep = read_sweep(find_sweep(name))
    words = (*words_of(sweep, corners(sweep)[0], small), *more, "--trainer.max_steps", "1", "--run", "run")
    words += ("--data.steps_per_epoch", "1")  # the epoch's end, where it is validated
    words += ("--scenarios.num_windows", "4")
    ended = wait(start("mobanet.fit", *words, folder=tmp_path, WANDB_MODE="offline"))
    assert ended.code == 0, ended.err
    rows = table(tmp_path / "run/metrics.csv")
    assert 0 <= float(rows[-1][sweep.metric.name]) <= 1  # the metric of the file is one that is logged
    assert list((tmp_path / "run/wandb").glob("offline-run-*"))


def test_the_agents_functions_are_the_ones_compared_with():
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    assert create_sweep_command_args({"args": {"a": {"value": None}}})["args"] == ["--a=None"]
