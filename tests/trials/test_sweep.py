"""`mobanet.sweep FILE --local`: which trials run, what is refused on going on, and what is shown in the end."""

import shlex
import signal
import sys

import pytest

from mobanet.sweep import main, with_file
from mobanet.trials.files import held
from mobanet.trials.process import Ended
from tests.cli.conftest import start, wait
from tests.trials.conftest import remembered, table
from tests.trials.signals import sending_to_parent

LR = "--model.lr="


@pytest.fixture
def sweep(command, tmp_path):
    """Runs the command in this process, into `tmp_path/out`."""
    return lambda file, *words: command(main, [str(file), "--local", "--run", str(tmp_path / "out"), *words])


def given(words):
    return next(float(word.removeprefix(LR)) for word in words if word.startswith(LR))


def test_a_grid_ends_in_a_table_with_the_best_first(sweep, sweep_file, fake, tmp_path):
    fake.calls.clear()
    fake.does = staticmethod(lambda words: [given(words) / 4, 0.01])
    ended = sweep(sweep_file(name="rates"), "--", "--batch_size", "4")
    assert ended.code == 0, ended.err
    assert [given(words) for _, words, _ in fake.calls] == [0.1, 0.2, 0.3]
    assert all(words[-4:-2] == ["--data.batch_size", "4"] for _, words, _ in fake.calls)
    assert all(variables == {"WANDB_RUN_GROUP": "rates"} for _, _, variables in fake.calls)
    rows = table(tmp_path / "out" / "results.csv")
    assert [(row["number"], row["status"], row["model.lr"], row["best"]) for row in rows] == [
        ("1", "finished", "0.1", "0.025"),
        ("2", "finished", "0.2", "0.05"),
        ("3", "finished", "0.3", "0.075"),
    ]
    assert (rows[0]["epoch"], rows[0]["last"], rows[0]["seconds"]) == ("1", "0.01", "60.0")
    lines = ended.out.splitlines()
    shown = [line.split()[0] for line in lines if "finished " in line and "failed" not in line]
    assert shown == ["3", "2", "1"]
    command = next(line for line in lines if line.startswith("the best of them again: ")).partition(": ")[2]
    words = ["--experiment", "NAME", "--model.lr=0.3", "--batch_size", "4"]
    assert shlex.split(command) == ["python", "-m", "mobanet.fit", *words]
    assert str(tmp_path / "out" / "results.csv") in lines[-1]
    assert (tmp_path / "out" / "sweep.yaml").read_text() == (tmp_path / "search.yaml").read_text()


def test_a_later_failure_is_recorded_and_put_last(sweep, sweep_file, fake, tmp_path):
    broken = Ended(2, 0, "--model.lr is 0.2; give another.", 5.0)
    fake.does = staticmethod(lambda words: broken if given(words) == 0.2 else [given(words)])
    ended = sweep(sweep_file(metric={"name": "val/miou", "goal": "minimize"}))
    assert ended.code == 0
    assert "trial 2 has failed: --model.lr is 0.2; give another" in ended.err
    assert "2 finished, 1 failed" in ended.out.splitlines()[-1]
    assert [row["status"] for row in table(tmp_path / "out/results.csv")] == ["finished", "failed", "finished"]
    lines = [line.split()[:2] for line in ended.out.splitlines()]
    order = [words[0] for words in lines if words[1:] in (["finished"], ["failed"])]
    assert order == ["1", "3", "2"]


def test_a_first_trial_that_diverges_says_nothing_of_the_others(sweep, sweep_file, fake, tmp_path):
    diverged = Ended(2, 0, "training has diverged: the loss is NaN or infinite in step 3 (epoch 1).", 5.0)
    fake.does = staticmethod(lambda words: diverged if given(words) == 0.1 else [given(words)])
    assert sweep(sweep_file(metric={"name": "val/miou", "goal": "minimize"})).code == 0
    assert [row["status"] for row in table(tmp_path / "out/results.csv")] == ["failed", "finished", "finished"]


def test_a_failure_before_anything_has_finished_ends_the_sweep(sweep, sweep_file, fake, tmp_path):
    fake.calls.clear()
    fake.does = staticmethod(lambda words: Ended(2, 0, "--data.root is missing.", 5.0))
    ended = sweep(sweep_file())
    assert ended.sentence().endswith("has failed before any other trial has finished: --root is missing.")
    assert len(fake.calls) == 1
    fake.does = staticmethod(lambda words: [0.5])
    assert sweep(sweep_file(), "--", "--root", "x").code == 0  # nothing was trained: other words may begin
    assert [remembered(tmp_path / f"out/trial_00{i}")["status"] for i in (1, 2, 3)] == ["finished"] * 3


def test_random_trials_are_the_same_however_many_there_are(sweep, sweep_file, fake, tmp_path):
    file = sweep_file(method="random", parameters={"model.lr": {"min": 0.1, "max": 0.9}})
    assert sweep(file).sentence().endswith("names no run_cap, and random draws never end; give --trials N.")
    fake.calls.clear()
    assert sweep(file, "--trials", "1").code == 0
    assert sweep(file, "--trials", "3").code == 0
    rates = [given(words) for _, words, _ in fake.calls]
    assert len(set(rates)) == 3  # the first has not run twice
    assert main([str(file), "--local", "--run", str(tmp_path / "b"), "--trials", "3"]) is None
    assert [given(words) for _, words, _ in fake.calls][3:] == rates
    main([str(file), "--local", "--run", str(tmp_path / "c"), "--trials", "3", "--seed", "1"])
    assert not {given(words) for _, words, _ in fake.calls[6:]} & set(rates)


def test_what_differs_on_going_on_is_named(sweep, sweep_file, fake):
    assert sweep(sweep_file(), "--trials", "1").code == 0
    for keys, words, named in (
        ({}, ["--seed", "1"], "another seed;"),
        ({}, ["--method", "random"], "another method;"),
        ({}, ["--", "--crop_size", "8"], "another words;"),
        ({"parameters": {"model.lr": {"values": [0.1]}}}, [], "another parameters.model.lr;"),
        ({"metric": {"name": "val/loss"}}, [], "another metric.name and metric.goal;"),
    ):
        sentence = sweep(sweep_file(**keys), "--trials", "1", *words).sentence()
        assert named in sentence
        assert sentence.endswith("give what it was begun with, or another --run.")
    assert sweep(sweep_file(description="a word more", run_cap=9)).code == 0


def test_trials_of_another_process_are_left_to_it(sweep, sweep_file, fake, tmp_path):
    fake.calls.clear()
    with held(tmp_path / "out/trial_002/trial.lock"):
        ended = sweep(sweep_file())
    assert [given(words) for _, words, _ in fake.calls] == [0.1, 0.3]
    assert "2 finished, 0 failed, 1 run by other processes" in ended.out
    assert sweep(sweep_file()).code == 0
    assert [given(words) for _, words, _ in fake.calls] == [0.1, 0.3, 0.2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            [],
            "give a W&B sweep file, or one of masking_and_learning_rate, scenario_sampling.",
        ),
        (["a.yaml", "b.yaml"], "mobanet.sweep takes one FILE, not 2 (a.yaml, b.yaml); run it once for each."),
        (["scenario_sampling"], "--local runs it here."),
        (["scenario_sampling", "--local", "--trials", "0"], "--trials is 0; give at least 1."),
        (["scenario_sampling", "--local", "--seed=-1"], "--seed is -1; give at least 0."),
        (["scenario_sampling", "--local", "--method", "evolve"], "choose one of grid, random, bayes."),
        (["scenario_sampling", "--local", "--method", "grid"], "give values, or --method random."),
        (["scenario_sampling", "--local", "--", "--run", "x"], "whose folder is the sweep's; leave it out."),
    ],
)
def test_what_cannot_be_run_is_one_sentence(words, sentence, command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command(main, words).sentence().endswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_optuna_is_named_where_it_is_missing(sweep, sweep_file, fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    needed = "needs Optuna; install it with pip install 'mobanet[optuna]', or "
    asked = sweep(sweep_file(method="bayes", run_cap=1)).sentence()
    assert asked.endswith(f"search.yaml: the method bayes {needed}give --method random.")
    asked = sweep(sweep_file(early_terminate={"type": "hyperband", "min_iter": 1})).sentence()
    assert asked.endswith(f"search.yaml: early_terminate {needed}take it out to run every trial to its end.")


def test_the_words_of_a_command_line_are_sorted_out():
    assert with_file(["--local", "a.yaml", "--trials", "3", "--", "--x", "1"]) == [
        "--local=true",
        "--trials",
        "3",
        "--file=a.yaml",
        '--words=["--x", "1"]',
    ]
    assert with_file(["--help"]) == ["--help"]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_sweep_is_stopped_goes_on_and_survives_a_trial_that_fails(sweep_file, small, tmp_path):
    command = ["${interpreter}", "-m", "mobanet.fit", "--experiment", str(small), "--wandb", "off", "${args}"]
    file = sweep_file(command=command, parameters={"trainer.max_epochs": {"values": [1, 2, -5]}})
    words = (str(file), "--local", "--run", "out", "--", sending_to_parent(call=3))  # in the second trial alone
    ended = wait(start("mobanet.sweep", *words, folder=tmp_path, COLUMNS="200", fresh=True))
    assert ended.code == 128 + signal.SIGTERM, ended.err
    out = tmp_path / "out"
    assert [remembered(out / f"trial_00{i}")["status"] for i in (1, 2)] == ["finished", "interrupted"]
    last = ended.err.splitlines()[-1]
    assert last.startswith("the sweep has stopped in trial 2; go on with: python -m mobanet.sweep ")
    assert "SIGTERM has stopped the run after step 3; go on with" in ended.err
    assert "Traceback" not in ended.err
    first = (out / "trial_001/checkpoints/last.ckpt").stat().st_mtime_ns

    again = shlex.split(last.partition("go on with: ")[2])[3:]
    assert again == list(words)
    ended = wait(start("mobanet.sweep", *again, folder=tmp_path, COLUMNS="200", fresh=True))
    assert ended.code == 0, ended.err
    assert (out / "trial_001/checkpoints/last.ckpt").stat().st_mtime_ns == first
    rows = table(out / "results.csv")
    assert [row["status"] for row in rows] == ["finished", "finished", "failed"]
    logged = table(out / "trial_002/metrics.csv")
    assert [row["step"] for row in logged] == ["0", "1", "2", "3"]
    assert float(rows[1]["best"]) == max(float(row["val/miou"]) for row in logged if row["val/miou"])
    assert "max_epochs" in remembered(out / "trial_003")["error"]
    assert "trial 3 has failed: " in ended.err
    assert "trainer" in ended.out
    assert "2 finished, 1 failed; the figures of all trials are in out/results.csv" in ended.out
