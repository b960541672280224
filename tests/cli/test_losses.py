"""Losses, class weights and balanced crops from the command line: what a run records, goes on with, and refuses."""

import sys

import pytest
import torch
import yaml

from mobanet.loading.checkpoint import read_checkpoint
from mobanet.loading.module import load_module
from tests.cli.test_fit_and_test import differing, rows, said
from tests.pages import blocks

OWN = """
import torch
from torch import nn
from torch.nn import functional


class MyLoss(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, logits, label, weight):
        return self.scale * functional.cross_entropy(logits, label, weight, ignore_index=255)


class Learns(MyLoss):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))


def pair(logits, label):
    return functional.cross_entropy(logits, label, ignore_index=255)


def blind(logits, label, weight):
    return logits.argmax(1).float().mean()


def map_of_it(logits, label, weight):
    return functional.cross_entropy(logits, label, weight, ignore_index=255, reduction="none")


def of_four(logits, label, weight, other):
    return logits.sum()


def of_one(logits):
    return logits.sum()


NUMBER = 3
"""


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """A module of the user's, which can be taken away."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "my_losses.py").write_text(OWN)
    (folder / "my_broken_losses.py").write_text("import nowhere_to_be_found\n")
    (folder / "my_failing_losses.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(folder)

    def forget():
        monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(folder)])
        sys.modules.pop("my_losses", None)

    yield forget
    for name in ("my_losses", "my_broken_losses", "my_failing_losses"):
        sys.modules.pop(name, None)


SUM = "{cross_entropy: {weight: 1, smoothing: 0.1}, dice: 0.5}"


def test_a_sum_with_counted_weights_and_balanced_crops_is_recorded_and_resumed(fit, test, tmp_path):
    words = ("--model.loss", SUM, "--model.class_weights", "auto", "--data.sampling", "balanced")
    words += ("--data.balanced_share", "0.75", "--model.auxiliary_weight", "0")
    whole = fit(*words)
    assert whole.code == 0, whole.err
    assert "loss        cross_entropy (smoothing 0.1) + 0.5 dice" in said(whole)
    (line,) = [line for line in said(whole) if line.startswith("classes     weighted (auto, by the inverse root")]
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["model"]["loss"] == {"cross_entropy": {"weight": 1, "smoothing": 0.1}, "dice": 0.5}
    assert config["data"]["balanced_share"] == 0.75
    weights = config["model"]["class_weights"]
    assert len(weights) == 6
    assert line.endswith(f"clutter {weights[5]:g}")
    saved = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["hyper_parameters"]
    assert saved["class_weights"] == weights
    assert saved["loss"] == config["model"]["loss"]
    for row in rows(tmp_path / "run/metrics.csv"):
        parts = float(row["train/cross_entropy"]) + 0.5 * float(row["train/dice"])
        assert float(row["train/loss"]) == pytest.approx(parts, rel=1e-5)
    half = fit(*words, "--trainer.max_epochs", "1", "--run", str(tmp_path / "half"))
    assert half.code == 0, half.err
    more = ("--ckpt_path", str(tmp_path / "half/checkpoints/last.ckpt"), "--trainer.max_epochs", "2")
    other = fit(*more, "--run", str(tmp_path / "other"), "--model.loss", "{lovasz: 1}", experiment=None)
    shown = "{cross_entropy: {weight: 1, smoothing: 0.1}, dice: 0.5}"
    assert f"resuming with --model.loss {{lovasz: 1}} (the checkpoint has {shown})" in said(other)
    tested = test("--ckpt_path", str(tmp_path / "run/checkpoints/last.ckpt"), "--model.loss.dice", "0.4")
    assert "--model.loss is {'dice': 0.4}, but the checkpoint has {'cross_entropy'" in tested.sentence()
    tested = test("--ckpt_path", str(tmp_path / "run/checkpoints/last.ckpt"), "--wandb", "off")
    assert tested.code == 0, tested.err


def test_balanced_crops_and_counted_weights_resume_to_the_same_weights(fit, tmp_path):
    words = ("--model.class_weights", "effective", "--data.sampling", "balanced", "--model.loss", "lovasz")
    assert fit(*words).code == 0
    assert fit(*words, "--trainer.max_epochs", "1", "--run", str(tmp_path / "half")).code == 0
    last = tmp_path / "half/checkpoints/last.ckpt"
    resumed = fit(
        "--ckpt_path", str(last), "--trainer.max_epochs", "2", "--run", str(tmp_path / "half"), experiment=None
    )
    assert resumed.code == 0, resumed.err
    assert not [line for line in said(resumed) if line.startswith("resuming with --model")]
    assert differing(tmp_path / "run/checkpoints/last.ckpt", last) == []


def test_a_run_with_a_loss_of_ones_own_is_used_without_it_and_goes_on_with_it(fit, test, own_package, tmp_path):
    given = "{class_path: my_losses.MyLoss, init_args: {scale: 2}}"
    whole = fit("--model.loss", given, "--trainer.max_epochs", "1", "--model.auxiliary_weight", "0")
    assert whole.code == 0, whole.err
    assert "loss        my_losses.MyLoss (scale 2)" in said(whole)
    row = rows(tmp_path / "run/metrics.csv")[-1]
    assert float(row["train/MyLoss"]) == pytest.approx(float(row["train/loss"]))
    assert float(row["val/loss"]) > 0
    plain = fit("--trainer.max_epochs", "1", "--model.auxiliary_weight", "0", "--run", str(tmp_path / "plain"))
    assert plain.code == 0, plain.err
    first, once = (float(rows(tmp_path / f"{name}/metrics.csv")[0]["train/loss"]) for name in ("run", "plain"))
    assert first == pytest.approx(2 * once, rel=1e-5)
    last = tmp_path / "run/checkpoints/last.ckpt"
    own_package()
    tested = test("--ckpt_path", str(last), "--wandb", "off")
    assert tested.code == 0, tested.err
    assert "my_losses" not in sys.modules
    module = load_module(last).module
    assert not module.pixel_loss.at_hand
    more = ("--ckpt_path", str(last), "--trainer.max_epochs", "2", "--run", str(tmp_path / "more"))
    refused = fit(*more, experiment=None)
    assert refused.code == 2
    assert refused.err.splitlines()[-1].startswith(
        "error: --model.loss names my_losses.MyLoss, and Python finds no my_losses; install it"
    )
    changed = fit(*more, "--model.loss", "cross_entropy", experiment=None)
    assert changed.code == 0, changed.err


def test_a_sum_with_a_loss_of_ones_own_resumes_to_the_same_weights(fit, test, own_package, tmp_path):
    words = ("--model.loss", "{my_losses.pair: 0.5, dice: {weight: 1}}")
    assert fit(*words).code == 0
    assert fit(*words, "--trainer.max_epochs", "1", "--run", str(tmp_path / "half")).code == 0
    last = tmp_path / "half/checkpoints/last.ckpt"
    resumed = fit(
        "--ckpt_path", str(last), "--trainer.max_epochs", "2", "--run", str(tmp_path / "half"), experiment=None
    )
    assert resumed.code == 0, resumed.err
    assert f"{tmp_path / 'half/config.yaml'} brings my_losses.pair" in said(resumed)  # which is code
    assert differing(tmp_path / "run/checkpoints/last.ckpt", last) == []
    own_package()
    assert test("--ckpt_path", str(last), "--wandb", "off").code == 0


def test_the_loss_of_the_documentation_trains(fit, tmp_path, monkeypatch):
    (code,) = [code for page, code in blocks("python") if page == "docs/losses.md"]
    (tmp_path / "documented_losses.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    given = "{documented_losses.PolyLoss: {weight: 0.5, init_args: {epsilon: 2}}}"
    ended = fit("--model.loss", given, "--trainer.max_epochs", "1", "--model.class_weights", "auto")
    assert ended.code == 0, ended.err
    assert "loss        0.5 documented_losses.PolyLoss (epsilon 2)" in said(ended)


MISTAKES = {
    "unknown": ("dise", "--model.loss names dise, which is no loss (did you mean dice?)", "my_package.MyLoss"),
    "a list": ("[dice]", "--model.loss", "choose one of"),
    "negative": ("{cross_entropy: 1, dice: -0.5}", "--model.loss.dice is -0.5", "a number from 0 to"),
    "all 0": ("{cross_entropy: 0, dice: 0}", "--model.loss has the weight 0 for all", "above 0"),
    "unknown option": ("{focal: {gama: 2}}", "--model.loss.focal has no option gama", "it has gamma"),
    "class path and more": ("{class_path: a.B, dice: 1}", "--model.loss has dice beside class_path", "init_args"),
    "no class path": ("{class_path: MyLoss}", "--model.loss names MyLoss, which is no loss", "my_package.MyLoss"),
    "arguments as a list": ("{class_path: my_losses.MyLoss, init_args: [1]}", "init_args is [1]", "a mapping"),
    "arguments beside": ("{my_losses.MyLoss: {scale: 2}}", "my_losses.MyLoss has no option scale", "under init_args"),
    "no package": ("my_los.MyLoss", "names my_los.MyLoss, and Python finds no my_los", "install it"),
    "no such loss": ("my_losses.MyLos", "my_losses has no MyLos", "did you mean MyLoss?"),
    "needs another": ("my_broken_losses.A", "needs nowhere_to_be_found, which is not installed"),
    "fails": ("my_failing_losses.A", "cannot be imported (ZeroDivisionError: division by zero)", "mend it"),
    "no function": ("my_losses.NUMBER", "names my_losses.NUMBER, which is no function and no class"),
    "wrong arguments": ("{class_path: my_losses.MyLoss, init_args: {size: 1}}", "cannot be made of", "size"),
    "learns": ("my_losses.Learns", "which has parameters (factor)", "make them buffers"),
    "gives a map": ("my_losses.map_of_it", "which gives a tensor of the shape (4, 32, 32)", "no dimension"),
    "takes four": ("my_losses.of_four", "takes 4 arguments", "logits, label and class weights"),
    "takes one": ("my_losses.of_one", "takes 1 argument", "or the first two alone"),
    "is blind": ("my_losses.blind", "does not depend on the logits", "argmax"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_losses_that_make_no_sense(case, fit, own_package):
    given, *parts = MISTAKES[case]
    sentence = fit("--model.loss", given).sentence()
    for part in parts:
        assert part in sentence


def test_weights_that_a_loss_does_not_take(fit, own_package):
    sentence = fit("--model.loss", "my_losses.pair", "--model.class_weights", "auto").sentence()
    assert "my_losses.pair, which takes logits and label alone; leave --model.class_weights out." in sentence


BALANCE = {
    "share of nothing": (("--data.balanced_share", "0.5"), "changes nothing while --data.sampling is tile"),
    "share of 0": (("--data.sampling", "balanced", "--data.balanced_share", "0"), "--data.balanced_share is 0; give"),
    "share above 1": (("--data.sampling", "balanced", "--data.balanced_share", "2"), "above 0 and up to 1"),
    "unknown sampling": (("--data.sampling", "balancd"), "cannot be balancd; choose one of tile, area, balanced"),
    "unknown weights": (
        ("--model.class_weights", "automatic"),
        "cannot be automatic; choose one of auto, inverse, inverse_root, effective, or give a list of numbers",
    ),
}


@pytest.mark.parametrize("case", BALANCE)
def test_balances_that_make_no_sense(case, fit):
    words, part = BALANCE[case]
    assert part in fit(*words).sentence()


def test_a_class_without_a_pixel_is_named_and_weighs_nothing(fit, prepared, tmp_path, monkeypatch):
    from mobanet.data.datamodule import RasterDataModule

    counted = RasterDataModule.class_pixels
    monkeypatch.setattr(RasterDataModule, "class_pixels", lambda data: [*counted(data)[:5], 0])
    ended = fit("--model.class_weights", "inverse", "--trainer.max_epochs", "1")
    assert ended.code == 0, ended.err
    assert "classes     without a pixel in training, so of weight 0: clutter" in said(ended)
    weights = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]["class_weights"]
    assert weights[5] == 0
    assert min(weights[:5]) > 0
    saved = load_module(tmp_path / "run/checkpoints/last.ckpt").module
    assert torch.equal(saved.class_weights, torch.tensor(weights))
