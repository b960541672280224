"""Scenarios by command line: sampling in fit, the offline way over a file, and the scenarios of a test."""

import json
import shutil

import numpy as np
import pytest
import yaml

from mobanet import report
from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.scenarios.history import read_history
from tests.cli.test_fit_and_test import differing, rows, said

NAMES = ("rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm")
LATENT = ("--scenarios.strategy", "latent", "--scenarios.num_windows", "12")


def test_latent_sampling_logs_seven_probabilities_an_epoch(fit, tmp_path):
    ended = fit(*LATENT)
    assert ended.code == 0, ended.err
    run = tmp_path / "run"
    history = read_history(run / "scenario_scores.jsonl")
    assert [record.epoch for record in history] == [0, 1]
    logged = [row for row in rows(run / "metrics.csv") if row["val/miou"]]
    assert len(logged) == 2
    for record, row in zip(history, logged, strict=True):
        p = [float(row[f"scenarios/probability/{name}"]) for name in NAMES]
        np.testing.assert_allclose(p, record.probabilities, rtol=1e-5)
        d = [float(row[f"scenarios/distortion/{name}"]) for name in NAMES]
        np.testing.assert_allclose(d, record.distortion, rtol=1e-5, atol=1e-12)
    lines = [line for line in said(ended) if line.startswith("scenarios ")]
    assert len(lines) == 2
    for record, line in zip(history, lines, strict=True):
        assert all(f"{name} {p:.3f}" in line for name, p in zip(NAMES, record.probabilities, strict=True))
        assert "; 12 windows, " in line
    saved = read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"]["scenario_probabilities"]
    np.testing.assert_allclose(saved, history[-1].probabilities, rtol=1e-6)
    assert yaml.safe_load((run / "config.yaml").read_text())["scenarios"]["strategy"] == "latent"


@pytest.mark.long
def test_a_resumed_latent_run_is_the_uninterrupted_one(fit, command, tmp_path):
    assert fit(*LATENT, "--trainer.max_epochs", "1").code == 0
    short = tmp_path / "run"
    resumed = shutil.copytree(short, tmp_path / "resumed")
    assert fit(*LATENT).code == 0  # both epochs, into the same folder as the single one
    words = ["--ckpt_path", str(resumed / "checkpoints/last.ckpt"), "--trainer.max_epochs", "2", "--wandb", "off"]
    assert command(main, "fit", words).code == 0
    assert differing(short / "checkpoints/last.ckpt", resumed / "checkpoints/last.ckpt") == []
    one, two = (read_history(folder / "scenario_scores.jsonl") for folder in (short, resumed))
    assert [(r.epoch, r.distortion, r.probabilities) for r in one] == [
        (r.epoch, r.distortion, r.probabilities) for r in two
    ]


def test_the_offline_way_over_a_file_and_over_the_checkpoint(fit, command, finished, tmp_path):
    checkpoint = shutil.copytree(finished, tmp_path / "trained") / "checkpoints/last.ckpt"
    ended = command(main, "scores", ["--ckpt_path", str(checkpoint), "--scenarios.num_windows", "12"])
    assert ended.code == 0, ended.err
    path = tmp_path / "trained/scenario_scores.json"
    content = json.loads(path.read_text())
    assert content["scenarios"] == [*NAMES]
    assert content["num_windows"] == 12
    assert np.shape(content["kernel"]) == (7, 7)
    for name, p in zip(NAMES, content["probabilities"], strict=True):
        assert any(line.split()[1:2] == [name] and f"{p:.4g}" in line for line in said(ended))
    assert set(p.name for p in finished.iterdir()) | {"scenario_scores.json"} == {
        p.name for p in (tmp_path / "trained").iterdir()
    }

    once = ("--init_from", str(checkpoint), "--trainer.max_epochs", "1")
    assert fit(*once, "--scenarios.strategy", "fixed", "--scenarios.probabilities", str(path)).code == 0
    shutil.move(tmp_path / "run", tmp_path / "fixed")
    assert fit(*once, *LATENT, "--scenarios.every_n_epochs", "null").code == 0
    (record,) = read_history(tmp_path / "run/scenario_scores.jsonl")
    # what latent measures at its start is what was measured on the checkpoint
    np.testing.assert_allclose(record.distortion, content["distortion"], rtol=1e-12)
    np.testing.assert_allclose(record.probabilities, content["probabilities"], rtol=1e-12)
    assert differing(tmp_path / "fixed/checkpoints/last.ckpt", tmp_path / "run/checkpoints/last.ckpt") == []
    last = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert (last["epoch"], last["global_step"]) == (0, 2)  # a new run, not the old one's third epoch
    assert last["RasterDataModule"] == read_checkpoint(checkpoint)["RasterDataModule"]


def test_scores_go_where_they_are_asked_for_and_follow_their_settings(command, finished, tmp_path):
    words = ["--ckpt_path", str(finished / "checkpoints/best.ckpt"), "--scenarios.num_windows", "12"]
    contents = []
    for name, more in (("a", []), ("b", ["--scenarios.gamma", "1", "--scenarios.bandwidth", "median"])):
        assert command(main, "scores", [*words, "--output", str(tmp_path / name / "p.json"), *more]).code == 0
        contents.append(json.loads((tmp_path / name / "p.json").read_text()))
    assert contents[0]["distortion"] == contents[1]["distortion"]
    assert contents[0]["probabilities"] != contents[1]["probabilities"]
    np.testing.assert_allclose(contents[1]["probabilities"], contents[1]["softmax"], rtol=1e-12)
    assert contents[1]["settings"]["bandwidth"] == "median"
    assert not (finished / "scenario_scores.json").exists()


def test_a_test_of_some_scenarios_reports_these(command, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    words = ["--ckpt_path", str(run / "checkpoints/best.ckpt")]
    everything = command(main, "test", words)
    check_expectation(run / "test", everything.err, [0.05, 0.1, 0.2])
    table = {row["scenario"]: row for row in rows(run / "test/test_scenarios.csv")}
    assert list(table)[:7] == [*NAMES]
    assert [name for name in NAMES if f"\n {name} " in everything.err] == [*NAMES]
    assert "never in rgb, ir, dsm and 3 more: expect little of it there" in everything.err
    some = command(main, "test", [*words, "--scenarios.evaluate", "dsm+rgb,rgb"])
    assert some.code == 0
    assert "nothing is expected of sensors that fail, as 5 of 7 scenarios were not evaluated" in some.err
    assert not any(
        name.startswith("expected") for name in (row["scenario"] for row in rows(run / "test/test_scenarios.csv"))
    )
    fewer = {row["scenario"]: row for row in rows(run / "test/test_scenarios.csv")}
    assert list(fewer)[:2] == ["rgb", "rgb+dsm"]
    for name in ("rgb", "rgb+dsm"):
        assert fewer[name]["miou"] == table[name]["miou"]
        assert fewer[name]["drop"] == ""
    assert sorted(path.name for path in (run / "test/confusion").iterdir()) == ["test_rgb+dsm.csv", "test_rgb.csv"]
    full = command(main, "test", [*words, "--scenarios.evaluate", "full"])
    assert full.code == 0
    assert "expect little" not in full.err
    assert not (run / "test/test_scenarios.csv").exists()
    assert json.loads((run / "test/test.json").read_text())["scenario"] == "rgb+ir+dsm"


def check_expectation(folder, said, failures):
    """Expectation, spread and calibration are those of the file's own confusion matrices, and of no interval."""
    content = json.loads((folder / "test_scenarios.json").read_text())
    mious = {name: figures["miou"] for name, figures in content["scenarios"].items()}
    for told, p in zip(content["summary"]["expected"], failures, strict=True):
        weights = {name: p ** (2 - name.count("+")) * (1 - p) ** (1 + name.count("+")) for name in NAMES}
        by_hand = sum(weight * mious[name] for name, weight in weights.items()) / sum(weights.values())
        assert told["miou"] == pytest.approx(by_hand)
        assert f"\n expected, p = {p:g} " in said
        assert f" {100 * by_hand:.2f} " in said
    assert content["summary"]["deviation"]["miou"] == pytest.approx(np.std(list(mious.values())))
    assert content["tiles"] == ["2_13"]
    assert content["bootstrap"] is None
    assert "no 95 % interval of mIoU, which takes two tiles with labels, and there is one\n" in said
    for figures in content["scenarios"].values():
        found, matrix = figures["calibration"], np.array(figures["confusion"])
        assert figures["miou_interval"] is None
        assert sum(found["pixels"]) == matrix.sum()  # the same pixels
        right = [n * share for n, share in zip(found["pixels"], found["accuracy"], strict=True) if n]
        assert sum(right) == pytest.approx(np.trace(matrix))
        there = [
            (n, p, a)
            for n, p, a in zip(*(found[key] for key in ("pixels", "confidence", "accuracy")), strict=True)
            if n
        ]
        assert figures["ece"] == pytest.approx(sum(n * abs(p - a) for n, p, a in there) / matrix.sum())
        assert all(
            k / 15 <= p <= (k + 1) / 15
            for k, (n, p) in enumerate(zip(found["pixels"], found["confidence"], strict=True))
            if n
        )


@pytest.mark.long
def test_the_failure_of_each_sensor_and_specialists_can_be_given(command, finished, tmp_path):
    words = ["--ckpt_path", str(finished / "checkpoints/best.ckpt"), "--run", str(tmp_path)]
    ended = command(main, "test", [*words, "--scenarios.failure", "{dsm: 0, rgb: 0.5, ir: 1}"])
    assert ended.code == 0, ended.err
    content = json.loads((tmp_path / "test/test_scenarios.json").read_text())
    (told,) = content["summary"]["expected"]
    assert told["failure"] == {"rgb": 0.5, "ir": 1.0, "dsm": 0.0}
    mious = [content["scenarios"][name]["miou"] for name in ("dsm", "rgb+dsm")]
    assert told["miou"] == pytest.approx(sum(mious) / 2)
    assert "expected, rgb 0.5, ir 1, dsm 0" in ended.err

    # the same test stands for the specialists: what it has won is nothing, of no gap
    others = f"{{full: {tmp_path}, rgb: {tmp_path}/test/test_scenarios.json}}"
    ended = command(main, "test", [*words, "--scenarios.specialists", others])
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "test/test_scenarios.json").read_text())["scenarios"]
    assert [(name, figures["gap_regained"]) for name, figures in found.items() if "gap_regained" in figures] == [
        ("rgb", None)
    ]
    assert "gap: share that is regained" in ended.err
    other = [*words, "--scenarios.specialists", others, "--data.evaluation.labels", "full"]
    told = command(main, "test", other).sentence()
    assert f"--scenarios.specialists full: {tmp_path}/test/test_scenarios.json was measured with labels: eroded" in told


def test_validation_of_several_scenarios_can_choose_the_best_epoch(fit, tmp_path):
    words = ("--scenarios.validate", "rgb,full", "--monitor", "val/scenarios/worst_miou")
    assert fit(*words, "--scenarios.strategy", "uniform").code == 0
    run = tmp_path / "run"
    best = []
    for row in (row for row in rows(run / "metrics.csv") if row["val/miou"]):
        rgb, full = float(row["val/scenarios/rgb/miou"]), float(row["val/scenarios/rgb+ir+dsm/miou"])
        assert full == float(row["val/miou"])
        assert float(row["val/scenarios/mean_miou"]) == pytest.approx((rgb + full) / 2)
        best.append(float(row["val/scenarios/worst_miou"]))
        assert best[-1] == min(rgb, full)
    kept = read_checkpoint(run / "checkpoints/best.ckpt")["epoch"]
    assert kept == int(np.argmax(best))
    assert [row["scenario"] for row in rows(run / "validation_scenarios.csv")][:2] == ["rgb", "rgb+ir+dsm"]


def test_given_probabilities_in_the_configuration(command, small, tmp_path):
    config = yaml.safe_load(small.read_text())
    config["scenarios"] = {"strategy": "fixed", "probabilities": {"rgb": 0.5, "rgb+ir+dsm": 0.5}, "warmup_epochs": 1}
    path = tmp_path / "fixed.yaml"
    path.write_text(yaml.safe_dump(config))
    words = ["--experiment", str(path), "--run", str(tmp_path / "run"), "--wandb", "off"]
    assert command(main, "fit", words).code == 0
    first, second = (row for row in rows(tmp_path / "run/metrics.csv") if row["val/miou"])
    assert [float(row["scenarios/probability/rgb"]) for row in (first, second)] == [0.0, 0.5]


REFUSED = {
    "unknown strategy": ("--scenarios.strategy latents", "--scenarios.strategy cannot be latents", "full, uniform"),
    "fixed without numbers": ("--scenarios.strategy fixed", "--scenarios.probabilities"),
    "numbers without fixed": ("--scenarios.probabilities {rgb:1}", "--scenarios.strategy fixed"),
    "file missing": ("--scenarios.strategy fixed --scenarios.probabilities no.json", "no.json", "--scenarios.prob"),
    "unknown scenario": (
        "--scenarios.strategy fixed --scenarios.probabilities {rgb+dms:1}",
        "--scenarios.probabilities",
        "rgb+dms",
    ),
    "sum above one": ("--scenarios.strategy fixed --scenarios.probabilities {rgb:0.6,ir:0.6}", "1.2"),
    "gamma": ("--scenarios.gamma 1.5", "--scenarios.gamma is 1.5"),
    "bandwidth": ("--scenarios.bandwidth mean", "--scenarios.bandwidth cannot be mean"),
    "windows": ("--scenarios.num_windows some", "--scenarios.num_windows cannot be some"),
    "sampled without a strategy": ("--scenarios.sampled single", "sampled is for the strategies uniform and latent"),
    "sampled full": ("--scenarios.strategy uniform --scenarios.sampled full", "names the full scenario alone"),
    "sampled unknown": ("--scenarios.strategy latent --scenarios.sampled rgb+dms", "--scenarios.sampled names rgb+dms"),
    "scenarios a window": ("--scenarios.num_scenarios 0", "--scenarios.num_scenarios is 0", "null for all"),
    "validate": ("--scenarios.validate rgb+dms", "--scenarios.validate names rgb+dms", "did you mean rgb+dsm?"),
    "failure": ("--scenarios.failure {rgb:0.1}", "--scenarios.failure gives none for ir, dsm"),
    "failure above one": ("--scenarios.failure 0.1,2", "--scenarios.failure has 2, which is no probability"),
    "missing": ("--model.network.missing mean", "--model.network.missing cannot be mean", "zero, token"),
    "init from nothing": ("--init_from no.ckpt", "--init_from no.ckpt does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_told_in_one_sentence(case, fit, tmp_path):
    line, *parts = REFUSED[case]
    sentence = fit(*line.split()).sentence()
    for part in parts:
        assert part in sentence
    assert not (tmp_path / "run").exists()


def test_mistakes_in_a_test_and_in_beginning_from_a_checkpoint(fit, test, command, finished):
    checkpoint = str(finished / "checkpoints/best.ckpt")
    assert (
        "--scenarios.evaluate names lidar"
        in test("--ckpt_path", checkpoint, "--scenarios.evaluate", "lidar").sentence()
    )
    assert "mobanet.scores needs --ckpt_path" in command(main, "scores", []).sentence()
    both = fit("--ckpt_path", checkpoint, "--init_from", checkpoint).sentence()
    assert "--ckpt_path goes on with a run and --init_from begins a new one" in both
    other = fit("--init_from", checkpoint, "--model.network.missing", "token").sentence()
    assert "--model.network.missing is token here and zero in the checkpoint" in other


def test_a_test_degrades_each_sensor_alone_and_leaves_figures_of_all(command, finished, pictures, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    words = ["--ckpt_path", str(run / "checkpoints/best.ckpt"), "--scenarios.evaluate", "full"]
    ended = command(main, "test", [*words, "--degrade", "offset,blocks,blur"])
    assert ended.code == 0
    assert "18 passes behind the test, each as long as one scenario takes: blocks, blur, offset" in ended.err
    whole, *table = rows(run / "test/test_degraded.csv")
    assert whole["miou"] == f"{json.loads((run / 'test/test.json').read_text())['miou']:.6f}"
    kinds = [("rgb", "blocks"), ("ir", "blocks"), ("dsm", "blocks"), ("rgb", "blur"), ("ir", "blur"), ("dsm", "offset")]
    assert [(row["modality"], row["degradation"]) for row in table[::3]] == kinds
    content = json.loads((run / "test/test_degraded.json").read_text())
    before, counted = content["undegraded"]["confusion"], [each["confusion"] for each in content["degraded"]]
    assert [row["severity"] for row in table[-3:]] == ["0.5", "5", "45"]
    assert counted[-3:] == [before] * 3  # heights above the ground know no offset, not by one pixel
    assert all(np.array_equal(np.sum(each, 1), np.sum(before, 1)) for each in counted)  # the same pixels
    assert all(each != before for each in counted[6:9])  # without blocks of heights
    assert (run / "test/test_degraded.png").stat().st_size > 10_000
    for part in ("\n rgb blocks ", "\n dsm offset ", "\n RMM (blocks) ", " undegraded: ", "seed 0"):
        assert part in ended.err
    assert command(report.main, [str(run)]).code == 0
    assert "Degraded sensors" in (run / "report.html").read_text()

    again = command(main, "test", [*words, "--degrade", "blocks", "--batch_size", "1"])
    assert again.code == 0
    alike = [float(row["miou"]) for row in rows(run / "test/test_degraded.csv")[1:]]
    assert alike == pytest.approx([float(row["miou"]) for row in table[:9]], abs=1e-4)  # but for sums' last digits
    assert command(main, "test", [*words, "--degrade=blocks", "--degrade_seed", "1"]).code == 0
    assert [row["miou"] for row in rows(run / "test/test_degraded.csv")[1:]] != [row["miou"] for row in table[:9]]
    assert command(main, "test", words).code == 0
    assert not list((run / "test").glob("test_degraded.*"))  # nothing stale beside another test


def test_degradations_that_cannot_be_are_refused_before_anything_is_tested(command, fit, finished):
    words = ["--ckpt_path", str(finished / "checkpoints/best.ckpt")]
    assert command(main, "test", [*words, "--degrade", "hase"]).sentence() == (
        "--degrade names hase, which is no degradation (did you mean haze?); choose from blocks, pixels, gaussian, "
        "salt_and_pepper, haze, blur, misregistration, offset, scale by commas, or write --degrade alone for all."
    )
    assert command(main, "test", [*words, "--degrade_seed", "3"]).sentence() == (
        "--degrade_seed 3 is the seed of --degrade, which is not given; give it, too."
    )
    assert command(main, "test", [*words, "--degrade", "--degrade_seed", "-1"]).sentence() == (
        "--degrade_seed is -1; give a number from 0 to 4294967295."
    )
    assert fit("--degrade").sentence() == "--degrade is for mobanet.test --ckpt_path FILE; leave it out here."
    assert command(main, "scores", [*words, "--degrade=haze"]).sentence().startswith("--degrade is for mobanet.test")
    assert not (finished / "test").exists()
