"""A precision that fits the machine, from the command line to what a run folder says of it."""

import json

import torch
import yaml

from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models import precision

WORDS = ("--precision", "auto", "--float32_matmul_precision", "high", "--data.steps_per_epoch", "1")
SHORT = ("--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1")


def test_a_run_computes_in_what_its_machine_is_best_at(fit, command, tmp_path, monkeypatch):
    run, before = tmp_path / "run", torch.get_float32_matmul_precision()
    monkeypatch.setattr(precision, "_cpu_computes_in_bf16", lambda: True)
    ended = fit(*WORDS, *SHORT, "--trainer.max_epochs", "1")
    assert ended.code == 0, ended.err
    assert "precision   bf16-mixed (auto: the CPU computes in bfloat16)\n" in ended.err
    assert torch.get_float32_matmul_precision() == before
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["trainer"]["precision"], config["float32_matmul_precision"]) == ("auto", "high")
    made = json.loads((run / "provenance.jsonl").read_text())
    assert (made["precision"], made["float32_matmul_precision"]) == ("bf16-mixed", "high")
    last = run / "checkpoints/last.ckpt"
    assert read_checkpoint(last)["precision"] == "bf16-mixed"

    monkeypatch.setattr(precision, "_cpu_computes_in_bf16", lambda: False)
    ended = fit("--ckpt_path", str(last), "--trainer.max_epochs", "2", experiment=None)
    assert ended.code == 0, ended.err
    assert "precision   32-true (auto: the CPU has no units for bfloat16)\n" in ended.err
    assert "resuming in 32-true (the checkpoint was trained in bf16-mixed)\n" in ended.err
    assert read_checkpoint(last)["precision"] == "32-true"

    words = ("--ckpt_path", str(last), "--output", str(tmp_path / "scores.json"), "--precision", "bf16-true")
    ended = command(main, "scores", [*words, "--scenarios.num_windows", "2"])
    assert ended.code == 0, ended.err
    ended = command(main, "test", ["--ckpt_path", str(last), *SHORT, "--precision", "bf16-mixed"])
    assert ended.code == 0, ended.err
    assert "precision   bf16-mixed\n" in ended.err
    assert "steps of 17 times the length of 32-true were measured" in ended.err
    assert "resuming" not in ended.err
