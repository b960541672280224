"""Method bayes and early_terminate on this machine: what is proposed and ended, and that going on changes nothing."""

import math

import pytest

from mobanet.sweep import main
from mobanet.trials.process import Ended
from tests.trials.conftest import remembered, table

SPACE = {
    "model.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
    "data.crop": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25},
    "model.depth": {"min": 1, "max": 4},
    "data.modalities": {"values": [["rgb", "dsm"], None, True]},
    "data.root": {"value": "x"},
}


@pytest.fixture
def sweep(command, tmp_path):
    """Runs the command in this process, into a folder of `tmp_path`."""
    return lambda file, run, *words: command(main, [str(file), "--local", "--run", str(tmp_path / run), *words])


def parameters(words):
    return dict(word[2:].split("=", 1) for word in words if "=" in word)


def worth(words):
    """Best at a learning rate of 1e-3."""
    return [-abs(math.log10(float(parameters(words)["model.lr"])) + 3)]


def lines(path):
    return [{key: value for key, value in row.items() if key != "folder"} for row in table(path / "results.csv")]


def test_a_search_nears_the_best_and_is_the_same_after_a_stop(sweep, sweep_file, fake, tmp_path):
    fake.does = staticmethod(worth)
    file = sweep_file(method="bayes", parameters=SPACE)
    assert sweep(file, "a").sentence().endswith("names no run_cap, and a search never ends; give --trials N.")
    assert sweep(file, "a", "--trials", "32").code == 0
    found = lines(tmp_path / "a")
    rates = [float(row["model.lr"]) for row in found]
    assert len({*rates}) == 32
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert {row["data.crop"] for row in found} <= {"0.0", "0.25", "0.5", "0.75", "1.0"}
    assert {row["model.depth"] for row in found} <= {"1", "2", "3", "4"}
    assert {row["data.modalities"] for row in found} == {'["rgb", "dsm"]', "null", "true"}
    away = [abs(math.log10(rate) + 3) for rate in rates]
    assert sum(away[16:]) / 16 < 0.75  # of random draws it is 1 on average

    for trials in (5, 32):
        assert sweep(file, "b", "--trials", str(trials)).code == 0
        if trials == 5:  # as a process leaves it that is killed in a trial
            fake.does = staticmethod(lambda words: Ended(137, 0, "killed", 1.0))
            assert sweep(file, "b", "--trials", "6").code == 0
            begun = remembered(tmp_path / "b/trial_006")
            assert begun["status"] == "failed"
            fake.does = staticmethod(worth)
    assert remembered(tmp_path / "b/trial_006")["parameters"] == begun["parameters"]
    assert [row["model.lr"] for row in lines(tmp_path / "b")] == [row["model.lr"] for row in found]
    assert sweep(file, "c", "--trials", "1", "--seed", "1").code == 0
    assert lines(tmp_path / "c")[0]["model.lr"] not in {row["model.lr"] for row in found}


def test_what_another_sweep_has_left_in_the_folder_is_not_taken_for_its_own(sweep, sweep_file, fake, tmp_path):
    fake.does = staticmethod(lambda words: Ended(2, 0, "training has diverged: the loss is NaN.", 5.0))
    early = {"type": "hyperband", "min_iter": 1}
    keys = {"method": "bayes", "run_cap": 3, "early_terminate": early}
    for given in ({"values": ["a", None, [1], True]}, {"min": 0.5, "max": 0.6}):
        assert sweep(sweep_file(**keys, parameters={"model.lr": given}), "a").code == 0
    assert [row["status"] for row in lines(tmp_path / "a")] == ["failed"] * 3
    fake.does = staticmethod(lambda words: [0.5])
    for mixed in ([1, True, 1.0], ["x"]):  # of which Python holds three for the same
        assert sweep(sweep_file(**keys, parameters={"data.crop": {"values": mixed}}), str(mixed)).code == 0
    assert sweep(sweep_file(**keys, parameters={"model.lr": {"min": 0.8, "max": 0.9}}), "a").code == 0
    assert all(0.8 <= float(row["model.lr"]) <= 0.9 for row in lines(tmp_path / "a"))


def test_a_trial_that_is_worse_than_others_ends_early_and_stays_so(sweep, sweep_file, fake, tmp_path):
    fake.calls.clear()
    fake.does = staticmethod(lambda words: [float(parameters(words)["model.lr"])] * 6)
    keys = {"parameters": {"model.lr": {"values": [0.3, 0.1, 0.4, 0.2]}}}
    file = sweep_file(early_terminate={"type": "hyperband", "min_iter": 2, "eta": 2}, **keys)
    ended = sweep(file, "a")
    assert ended.code == 0
    assert [row["status"] for row in lines(tmp_path / "a")] == ["finished", "ended", "finished", "ended"]
    assert [row["epoch"] for row in lines(tmp_path / "a")] == ["1"] * 4
    assert len(table(tmp_path / "a/trial_002/metrics.csv")) == 2
    assert "trial 2 has been ended early: others were better by then" in ended.out
    assert "2 finished, 0 failed, 2 ended early; the figures of all trials" in ended.out
    order = [line.split()[0] for line in ended.out.splitlines() if line.split()[1:2] in (["finished"], ["ended"])]
    assert order == ["3", "1", "4", "2"]
    assert len(fake.calls) == 4
    assert sweep(file, "a").code == 0
    assert len(fake.calls) == 4  # ended trials are not run again
    # there is no comparison at the last epoch, which would spare nothing; what nobody searches may be of any kind
    keys["parameters"]["model.weight_decay"] = {"distribution": "normal"}
    file = sweep_file(early_terminate={"type": "hyperband", "max_iter": 2, "s": 1, "eta": 2}, method="random", **keys)
    fake.does = staticmethod(lambda words: [{"1": 0.3, "2": 0.1, "3": 0.4, "4": 0.2}[words[-1][-1]]] * 6)
    assert sweep(file, "b", "--trials", "4").code == 0
    assert [len(table(tmp_path / f"b/trial_00{i}/metrics.csv")) for i in (1, 2, 3, 4)] == [6, 1, 6, 1]


def test_a_search_learns_of_trials_that_were_ended(sweep, sweep_file, fake, tmp_path):
    fake.does = staticmethod(lambda words: worth(words) * 4)
    early = {"type": "hyperband", "min_iter": 1, "eta": 2}
    file = sweep_file(method="bayes", parameters=SPACE, early_terminate=early, run_cap=16)
    assert sweep(file, "a").code == 0
    assert sweep(file, "b").code == 0
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    assert {row["status"] for row in lines(tmp_path / "a")} == {"finished", "ended"}


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"method": "bayes", "parameters": {"a": {"distribution": "normal"}}},
            "parameters.a has the distribution normal, which bayes does not search; give values, or min and max, or "
            "--method random.",
        ),
        (
            {"method": "bayes", "parameters": {"a": {"values": [1, 2], "probabilities": [0.5, 0.5]}}},
            "parameters.a has probabilities, which bayes does not search; give values, or min and max, or --method "
            "random.",
        ),
        ({"early_terminate": True}, "early_terminate is True; give {type: hyperband, min_iter: 3}."),
        ({"early_terminate": {"type": "envelope"}}, "give {type: hyperband, min_iter: 3}."),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 1, "strict": True}},
            "early_terminate.strict is not applied here; give min_iter, or max_iter and s, and eta.",
        ),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 0}},
            "early_terminate.min_iter is 0; give a whole number of at least 1.",
        ),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}},
            "early_terminate.eta is 1; give a whole number of at least 2.",
        ),
        (
            {"early_terminate": {"type": "hyperband", "max_iter": 9}},
            "early_terminate has max_iter; give min_iter, or max_iter and s.",
        ),
        (
            {"early_terminate": {"type": "hyperband", "max_iter": 9, "s": 3}},
            "early_terminate: max_iter 9 has less than 3 brackets; lower s.",
        ),
    ],
)
def test_what_cannot_be_searched_or_ended_is_one_sentence(keys, sentence, sweep, sweep_file, fake, tmp_path):
    assert sweep(sweep_file(**keys), "a").sentence().endswith(sentence)
    assert not (tmp_path / "a").exists()
