"""`mobanet.fit --seeds 0,1 --test`: one run a seed, and what they have in common."""

import csv
import json
import statistics
import sys

import pytest
import yaml

from mobanet.cli.seeds import asks_for_more
from mobanet.plain.command_words import with_bare
from mobanet.runs.folder import TEST_VARIABLE
from mobanet.start import start
from mobanet.trials.files import held
from mobanet.trials.process import Ended
from mobanet.trials.seed_figures import Figure, read_validation
from mobanet.trials.seeds import read_request, read_seeds
from tests.cli.conftest import fork_server
from tests.trials.conftest import log, remembered


@pytest.fixture
def seeds(command, monkeypatch):
    """Runs `mobanet.fit`."""
    for name in ("WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    return lambda *words: command(start, "fit", words)


def test_seeds_are_read_from_a_list_with_or_without_brackets():
    assert read_seeds("0,1,2") == read_seeds("[0, 1, 2]") == (0, 1, 2)
    assert read_seeds(f"7, {2**32 - 1}") == (7, 2**32 - 1)
    assert asks_for_more(["--seeds=0,1"])
    assert asks_for_more(["--experiment", "x", "--test"])
    assert not asks_for_more(["--experiment", "test", "--seed_everything", "1"])
    assert not asks_for_more(["--seeds=0,1", "--help"])
    assert not asks_for_more(["--seeds=0,1", "--print_config=skip_default"])
    words = ["--test", "--run", "x", "--test", "-c", "y", "--test"]
    assert with_bare(words, ("--test",)) == ["--test=true", "--run", "x", "--test=true", "-c", "y", "--test=true"]
    assert with_bare(["--test", "false"], ("--test",)) == ["--test", "false"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seeds", "0,a"], r"^--seeds holds a; give numbers from 0 to 4294967295, such as 0,1,2\.$"),
        (["--seeds", "0,-1"], r"^--seeds holds -1; give"),
        (["--seeds", "0,4294967296"], r"^--seeds holds 4294967296; give"),
        (["--seeds=0,"], r"^--seeds holds nothing; give"),
        (["--seeds", "1,1"], r"names a seed twice; give each once\.$"),
        (["--seeds", "1"], r"is a single seed; give at least two, or --seed 1\.$"),
        (["--seeds"], r"^--seeds needs a value\.$"),
        (["--seeds", "0,1", "--seed=3"], r"^--seed sets the seed and --seeds begins several;"),
        (["--seeds", "0,1", "--ckpt_path", "a.ckpt"], r"^--ckpt_path goes on with one run and --seeds begins several;"),
        (["--test", "--experiment", "no"], r"^--experiment no is unknown"),
        (["--test", "--trainer.fast_dev_run=true"], r"^--trainer.fast_dev_run leaves no run to test or compare;"),
        (["--test=perhaps"], r"^--test cannot be perhaps; give true or false"),
    ],
)
def test_options_that_contradict_each_other_are_one_sentence(seeds, words, sentence):
    import re

    assert re.search(sentence, seeds(*words).sentence())


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_a_launcher_of_several_processes_is_refused(seeds, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    sentence = seeds("--seeds", "0,1").sentence()
    assert f"a launcher has started 2 ({name})" in sentence
    assert sentence.endswith("with --devices N, or run each seed by itself.")
    monkeypatch.setenv(name, "1")
    assert read_request(["--seeds", "0,1", "--run", "x"]).seeds == (0, 1)


def test_the_test_is_asked_for_with_or_without_a_value():
    for words, expected in ((["--test"], True), (["--test", "true"], True), (["--test=false"], False)):
        request = read_request([*words, "--run", "x", "--data.crop", "8"])
        assert (request.test, request.words) == (expected, ("--data.crop", "8"))


def run_of(words, tmp_path):
    """What a fit or a test leaves, without running it; values depend on the seed."""
    if "--run" in words:
        folder = tmp_path / words[words.index("--run") + 1]
        seed = int(words[words.index("--seed_everything") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({"monitor": "val/miou", "monitor_mode": "max"}))
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints/best.ckpt").write_bytes(b"")
        return [0.1, 0.4 + seed / 10, 0.2]
    folder = tmp_path / words[1].removesuffix("/checkpoints/best.ckpt")
    (folder / "test").mkdir()
    classes = {"car": {"iou": 0.5, "f1": 0.5, "pixels": 3}, "low tree": {"iou": None, "f1": None, "pixels": 0}}
    figures = {"oa": 0.5, "kappa": 0.1, "mean_f1": 0.5, "miou": 0.25, "classes": classes}
    content = {"protocol": {"labels": "eroded"}, "epoch": 1, "scenario": "rgb", **figures}
    (folder / "test/test.json").write_text(json.dumps(content))
    return []


@pytest.fixture
def pretended(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake.calls.clear()
    fake.does = staticmethod(lambda words: run_of(words, tmp_path))
    return fake


def test_each_seed_is_fitted_then_tested_and_nothing_twice(seeds, pretended):
    assert seeds("--seeds", "3,0", "--test", "--run", "out", "--crop_size", "8").code == 0
    calls = [(module, words) for module, words, _ in pretended.calls]
    assert calls == [
        ("mobanet.fit", ["--data.crop", "8", "--seed_everything", "3", "--run", "out/seed_3"]),
        ("mobanet.test", ["--ckpt_path", "out/seed_3/checkpoints/best.ckpt"]),
        ("mobanet.fit", ["--data.crop", "8", "--seed_everything", "0", "--run", "out/seed_0"]),
        ("mobanet.test", ["--ckpt_path", "out/seed_0/checkpoints/best.ckpt"]),
    ]
    assert all(variables[TEST_VARIABLE] == "1" for module, _, variables in pretended.calls if module == "mobanet.fit")
    ended = seeds("--seeds", "3,0", "--test", "--run", "out", "--crop_size", "8")
    assert len(pretended.calls) == 4
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["val/miou", "0.7000", "0.4000", "0.5500", "0.2121"] in lines  # sample deviation of 0.7 and 0.4
    assert [
        "rgb",
        "50.00",
        "±",
        "0.00",
        *["50.00", "±", "0.00", "25.00", "±", "0.00", "50.00", "±", "0.00", "absent"],
    ] in lines
    assert "labels: eroded" in ended.out


def test_a_failing_seed_ends_all_with_its_sentence_and_code(seeds, pretended, tmp_path):
    pretended.does = staticmethod(lambda words: Ended(2, 0, "--data.crop is 8; give more.", 1.0))
    ended = seeds("--seeds", "0,1", "--run", "out")
    assert ended.sentence() == "out/seed_0 has failed: --data.crop is 8; give more."
    pretended.does = staticmethod(lambda words: Ended(1, 0, None, 1.0))
    assert seeds("--seeds", "0,1", "--run", "out").code == 1
    assert len(pretended.calls) == 2
    pretended.does = staticmethod(
        lambda words: Ended(2, 0, "no tiles.", 1.0) if "--run" not in words else run_of(words, tmp_path)
    )
    assert seeds("--seeds", "0,1", "--test", "--run", "out").sentence() == "out/seed_0 has failed: no tiles."


def test_an_interruption_says_how_to_go_on(seeds, pretended):
    pretended.does = staticmethod(lambda words: Ended(138, 10, None, 1.0))
    ended = seeds("--seeds", "0,1", "--run", "out folder", "--crop_size", "8")
    assert ended.code == 138
    assert ended.err.splitlines()[-1] == (
        "stopped in out folder; go on with: python -m mobanet.fit --crop_size 8 --seeds 0,1 --run 'out folder'"
    )
    assert len(pretended.calls) == 1


def test_a_single_run_is_tested_in_its_own_folder(seeds, pretended, tmp_path):
    assert seeds("--test", "--run", "out", "--seed", "4").code == 0
    assert [words[-1] for _, words, _ in pretended.calls] == ["out", "out/checkpoints/best.ckpt"]
    assert not (tmp_path / "out/seeds.csv").exists()


def test_seeds_of_another_process_are_left_to_it(seeds, pretended, tmp_path):
    with held(tmp_path / "out/seed_0/trial.lock"):
        ended = seeds("--seeds", "0,1", "--run", "out")
    assert ended.code == 0
    assert "out/seed_0: another process is at work there" in ended.out
    assert [words[-1] for _, words, _ in pretended.calls] == ["out/seed_1"]


def test_validation_is_that_of_the_best_epoch(tmp_path):
    folders = {seed: tmp_path / f"seed_{seed}" for seed in (0, 1)}
    for (seed, folder), mode in zip(folders.items(), ("max", "min"), strict=True):
        log(folder, [0.2, 0.5 + seed / 10, float("nan"), 0.1], name="val/iou_car")
        (folder / "config.yaml").write_text(yaml.safe_dump({"monitor": "val/iou_car", "monitor_mode": mode}))
    found = read_validation(folders)
    assert found.epochs == (2, 4)
    assert {name: figure.values for name, figure in found.figures.items()} == {"val/iou_car": (0.5, 0.1)}


def test_what_is_absent_in_a_seed_is_left_out():
    figure = Figure((0.2, float("nan"), 0.4))
    assert (figure.mean, figure.deviation) == (pytest.approx(0.3), pytest.approx(statistics.stdev([0.2, 0.4])))
    assert Figure((0.2, float("nan"))).deviation != Figure((0.2, float("nan"))).deviation  # NaN
    assert Figure((float("nan"),) * 2).mean != Figure((float("nan"),) * 2).mean


@pytest.mark.long
def test_two_seeds_are_trained_tested_and_compared(seeds, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "executable", str(fork_server().python))  # four processes, which need not all import torch
    words = ("--experiment", str(small), "--wandb", "off", "--trainer.max_epochs", "1", "--run", "out")
    ended = seeds("--seeds", "0,1", "--test", *words)
    assert ended.code == 0, ended.err
    folders = [tmp_path / f"out/seed_{seed}" for seed in (0, 1)]
    assert [remembered(folder)["status"] for folder in folders] == ["finished"] * 2
    configs = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in folders]
    assert [config["seed_everything"] for config in configs] == [0, 1]

    tests = [json.loads((folder / "test/test_scenarios.json").read_text()) for folder in folders]
    summary = json.loads((tmp_path / "out/seeds.json").read_text())
    for row in [*tests[0]["scenarios"], None]:
        pair = [test["scenarios"][row]["miou"] if row else test["summary"]["worst"]["miou"] for test in tests]
        figure = (summary["test"]["scenarios"][row] if row else summary["test"]["summary"]["worst"])["miou"]
        mean = (pair[0] + pair[1]) / 2
        deviation = abs(pair[0] - pair[1]) / 2**0.5  # of two, with one degree of freedom
        assert figure["values"] == {"0": pair[0], "1": pair[1]}
        assert figure["mean"] == pytest.approx(mean, abs=1e-12)
        assert figure["deviation"] == pytest.approx(deviation, abs=1e-12)
        line = next(line for line in ended.out.splitlines() if line.split()[:1] == [row or "worst"])
        assert f"{100 * mean:.2f} ± {100 * deviation:.2f}" in line
    protocol = tests[0]["protocol"]
    assert summary["test"]["protocol"] == protocol
    pair = [each["miou"] for test in tests for each in test["summary"]["expected"] if each["failure"]["rgb"] == 0.1]
    expected = summary["test"]["summary"]["expected, p = 0.1"]["miou"]
    assert expected["mean"] == pytest.approx(sum(pair) / 2)
    assert all(f"{name}: {text}" in ended.out for name, text in protocol.items())

    with (tmp_path / "out/seeds.csv").open(newline="") as file:
        rows = {(row["stage"], row["row"], row["figure"]): row for row in csv.DictReader(file)}
    validation = [json.loads((folder / "validation.json").read_text())["miou"] for folder in folders]
    row = rows["validation", "best epoch", "val/miou"]
    assert [float(row["seed_0"]), float(row["seed_1"])] == pytest.approx(validation, abs=1e-6)  # floats of 32 bits
    assert float(rows["test", "rgb+ir+dsm", "drop"]["mean"]) == 0
    assert (tmp_path / "out/seed_0/test/maps").is_dir()
