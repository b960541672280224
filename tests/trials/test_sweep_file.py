"""Sweep files: what is read, and one sentence for each thing that is wrong."""

import pytest

from mobanet.errors import UserError
from mobanet.trials.metric import Metric
from mobanet.trials.parameters import Parameter, read_parameter
from mobanet.trials.sweep_file import EarlyEnd, find_sweep, read_sweep, sweep_names
from tests.trials.conftest import COMMAND


def test_everything_a_file_says_is_read(sweep_file):
    path = sweep_file(
        name="Search of rates",
        description="text",
        method="random",
        run_cap=7,
        project="maps",
        entity="us",
        early_terminate={"type": "hyperband", "min_iter": 3},
        metric={"name": "val/loss"},
        parameters={"model.lr": {"min": 0.1, "max": 1}, "data.batch_size": {"value": 4}},
    )
    sweep = read_sweep(path)
    assert (sweep.name, sweep.method, sweep.run_cap) == ("Search of rates", "random", 7)
    assert (sweep.project, sweep.entity, sweep.early_terminate) == ("maps", "us", EarlyEnd(3, 3))
    assert sweep.metric == Metric("val/loss", "minimize")  # W&B's default
    assert [parameter.name for parameter in sweep.parameters] == ["model.lr", "data.batch_size"]
    assert sweep.command == tuple(COMMAND)


def test_the_shipped_sweeps_are_found_by_name():
    assert sweep_names() == ["masking_and_learning_rate", "scenario_sampling"]
    for name in sweep_names():
        sweep = read_sweep(find_sweep(name))
        assert (sweep.name, sweep.method, sweep.metric.goal) == (name, "random", "maximize")
    with pytest.raises(UserError, match=r"FILE scenario_samplin is unknown \(did you mean scenario_sampling\?\)"):
        find_sweep("scenario_samplin")
    with pytest.raises(UserError, match=r"FILE no\.yaml does not exist; give"):
        find_sweep("no.yaml")


def test_the_metrics_of_the_shipped_sweeps_are_logged():
    from mobanet.evaluation.metrics import Scores
    from mobanet.evaluation.scenario_summary import figures_to_log
    from mobanet.rasters.contents import Classes

    scores = Scores(0.5, 0.5, 0.5, 0.5, (0.5, 0.5), (0.5, 0.5), (1, 1), (0.5, 0.5), (0.5, 0.5), 0.5)
    logged = figures_to_log({"rgb": scores, "rgb+dsm": scores}, Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)), ("a", "b")))
    for name in sweep_names():
        assert read_sweep(find_sweep(name)).metric.name.removeprefix("val/") in logged


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"value": None}, Parameter("a", "constant", (None,))),
        ({"values": [1, None]}, Parameter("a", "categorical", (1, None))),
        ({"values": [1, 2], "probabilities": [0.25, 0.75]}, Parameter("a", "categorical", (1, 2), (0.25, 0.75))),
        ({"min": 1, "max": 3}, Parameter("a", "int_uniform", low=1, high=3)),
        ({"min": 1, "max": 3.0}, Parameter("a", "uniform", low=1, high=3.0)),
        ({"distribution": "q_normal", "mu": 2, "q": 0.5}, Parameter("a", "q_normal", mu=2, q=0.5)),
    ],
)
def test_a_distribution_that_is_not_named_is_inferred_as_wandb_does(content, expected):
    assert read_parameter("a", content, "FILE") == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (3, r"is 3; give a mapping"),
        ({}, r"names no distribution; give value, values, min and max"),
        ({"min": 1}, r"names no distribution"),
        ({"parameters": {"b": {"value": 1}}}, r"is nested; use flat dotted names such as model\.lr\.b\.$"),
        (
            {"distribution": "unifrom", "min": 0, "max": 1},
            r"unifrom is unknown \(did you mean uniform\?\)",
        ),
        ({"values": [1], "mim": 0}, r"mim is not a key of categorical"),
        ({"distribution": "uniform", "min": 0}, r"uniform lacks max; give min, max\.$"),
        ({"values": []}, r"values is \[\]; give a list of at least one"),
        ({"values": "rgb"}, r"values is 'rgb'; give a list"),
        ({"values": [1, 2], "probabilities": [1]}, r"probabilities is \[1\]; give a list of 2 numbers"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, r"must be at least 0 and sum to 1"),
        ({"values": [1, 2], "probabilities": [-0.5, 1.5]}, r"must be at least 0 and sum to 1"),
        ({"min": 2, "max": 1}, r"min 2 is above max 1; exchange them"),
        ({"min": "1e-5", "max": 1}, r"min is the text '1e-5'; give a number \(YAML reads 1\.0e-5 as one"),
        ({"distribution": "uniform", "min": True, "max": 1}, r"min is True; give a number"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 1}, r"of int_uniform must be whole numbers"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, r"min 0 of log_uniform_values has no logarithm"),
        ({"distribution": "log_uniform", "min": 1, "max": 1000}, r"log_uniform_values takes the values themselves"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, r"q is 0; give a step above 0"),
        ({"distribution": "normal", "sigma": -1}, r"sigma is -1; give a number of at least 0"),
        ({"distribution": "beta", "a": 0}, r"a 0 and b 1\.0 must be above 0"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_one_sentence(content, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        read_parameter("model.lr", content, "FILE")
    assert str(refused.value).startswith("FILE: parameters.model.lr")
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"method": "annealing"}, r"the method is annealing; choose one of grid, random, bayes"),
        ({"methods": "grid"}, r"methods is not a key of a sweep \(did you mean method\?\)"),
        ({"metric": None}, r"names no metric; give one such as"),
        ({"metric": {"goal": "maximize"}}, r"the metric is .*; give \{name"),
        ({"metric": {"name": "a", "goal": "more"}}, r"metric\.goal is more; choose one of maximize, minimize"),
        ({"metric": {"name": "a", "target": 1}}, r"metric\.target is not applied here"),
        ({"parameters": {}}, r"has no parameters"),
        ({"parameters": {"model lr": {"value": 1}}}, r"is no name of an option"),
        ({"run_cap": 0}, r"run_cap is 0; give a number of at least 1"),
        ({"command": None}, r"has no command; give \["),
        ({"command": "python train.py"}, r"the command is python train\.py; give a list of words"),
        ({"command": ["python", "train.py", "${args}"]}, r"its command does not run mobanet\.fit"),
        ({"command": COMMAND[:-1]}, r"holds no \"\$\{args\}\", so that all trials would be alike"),
        ({"name": 3}, r"name is 3; give text"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_sentence(sweep_file, keys, sentence):
    path = sweep_file(**keys)
    with pytest.raises(UserError, match=sentence) as refused:
        read_sweep(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"), [("a: [1", "is not valid YAML in line 1"), ("- a", "holds no sweep"), ("", "holds no sweep")]
)
def test_what_is_no_mapping_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_sweep(path)
