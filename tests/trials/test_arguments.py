"""The words of a trial are those that the W&B agent would run."""

import pytest

from mobanet.errors import UserError
from mobanet.trials.arguments import check_macros, expand, fit_words
from mobanet.trials.draws import draw
from mobanet.trials.sweep_file import find_sweep, read_sweep, sweep_names

TRICKY = {
    "yes": True,
    "no": False,
    "nothing": None,
    "tiny": 1e-05,
    "whole": 3,
    "third": 1 / 3,
    "model.lr": 0.0002,
    "data.modalities": ["rgb", "dsm"],
    "mapping": {"a": None, "b": [1, True]},
    "spaced": "two words = 'quoted' \"twice\" $HOME",
    "empty": "",
    "negative": -1e22,
}


def by_agent(command, values, program=None):
    """As `wandb_agent.Agent._command_run` puts a command together."""
    # here, as only those who ask for it should wait for the two seconds that it takes
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    given = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    given |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [program]}
    words = []
    for word in map(str, create_sweep_command(list(command))):
        words += given.get(word[2:-1]) or [] if word.startswith("${") and word.endswith("}") else [word]
    return words


@pytest.mark.parametrize("macro", ["args", "args_no_hyphens", "args_no_boolean_flags", "args_json"])
def test_every_form_of_arguments_is_the_agents(macro, monkeypatch):
    monkeypatch.setenv("MOBANET_ROOT", "/data set")
    monkeypatch.setenv("MOBANET_ODD", "${nothing}")
    command = ["${env}", "${interpreter}", "${program}", 1, "--root=${envvar:MOBANET_ROOT}/a", f"${{{macro}}}", "last"]
    command += ["${envvar:MOBANET_ODD}", "--odd=${envvar:MOBANET_ODD}"]
    assert expand(command, TRICKY, "fit.py") == by_agent(command, TRICKY, "fit.py")


def test_values_are_written_as_python_writes_them():
    assert expand(["${args}"], {"a": None, "b": True, "c": ["rgb", "dsm"], "d": 1e-05}) == [
        "--a=None",
        "--b=True",
        "--c=['rgb', 'dsm']",
        "--d=1e-05",
    ]
    assert expand(["${args_no_boolean_flags}"], {"a": True, "b": False, "c": 1}) == ["--a", "--c=1"]


@pytest.mark.parametrize("name", sweep_names())
def test_the_shipped_sweeps_run_what_the_agent_would_run(name):
    sweep = read_sweep(find_sweep(name))
    for number in range(1, 20):
        values = draw(sweep.parameters, 0, number)
        words = expand(sweep.command, values)
        assert words == by_agent(sweep.command, values)
        assert fit_words(words, "FILE") == words[4:]
        assert len([word for word in words if "=" in word]) == len(sweep.parameters)


@pytest.mark.parametrize("head", [["mobanet", "fit"], ["/usr/bin/env", "python3", "-m", "mobanet.fit"]])
def test_other_ways_to_run_fit(head):
    assert fit_words([*head, "--a=1"], "FILE") == ["--a=1"]


@pytest.mark.parametrize("words", [["python", "train.py"], ["python", "-m", "mobanet.test"], [], ["fit"]])
def test_a_command_that_runs_something_else_is_refused(words):
    with pytest.raises(UserError, match=r"^FILE: its command does not run mobanet.fit; give \[.*\]\.$"):
        fit_words(words, "FILE")


@pytest.mark.parametrize("option", ["--run", "--ckpt_path=a", "--seeds", "--test"])
def test_a_trial_has_one_run_and_the_folder_of_the_sweep(option):
    with pytest.raises(UserError, match=rf"^FILE: {option.split('=')[0]} cannot be set for a trial, .*leave it out\.$"):
        fit_words(["mobanet", "fit", option], "FILE")


def test_macros_that_mean_nothing_are_refused(monkeypatch):
    monkeypatch.delenv("MOBANET_ROOT", raising=False)
    check_macros(["${env}", "a", 1], "FILE")
    for word in ("${arg}", "x${args}", "${args_append_hydra}"):
        with pytest.raises(UserError, match=r"^FILE: .* in the command is unknown; choose from \$\{env\}, .*\.$"):
            check_macros([word], "FILE")
    with pytest.raises(UserError, match=r"^FILE: .*variable MOBANET_ROOT, which is not set; set it\.$"):
        check_macros(["--a=${envvar:MOBANET_ROOT}"], "FILE")
