"""Runs that diverge: where they stop, what they say, and that good checkpoints stay."""

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision

from mobanet.data.choices import EvaluationSettings
from mobanet.models.backbones import BackboneSettings
from mobanet.training.checkpoint import read_checkpoint
from mobanet.training.divergence import Diverged
from mobanet.training.finite import not_finite
from mobanet.training.module import SegmentationModule
from tests.conftest import TINY

NAN, INF = float("nan"), float("inf")


class Spoilt(SegmentationModule):
    """Does what `spoil` says to the loss of each batch."""

    spoil = staticmethod(lambda module, loss: loss)

    def training_step(self, batch, batch_idx):
        return self.spoil(self, super().training_step(batch, batch_idx))


class SpoiltGradient(Callback):
    """Puts a value into a gradient in some of the optimiser's steps, counted from 1."""

    def __init__(self, steps, value=NAN):
        self.steps, self.value = steps, value

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step + 1 in self.steps:
            first = next(p for p in pl_module.parameters() if p.grad is not None)
            first.grad.view(-1)[0] = self.value


@pytest.fixture
def fit(make_data, make_trainer, tmp_path):
    """Trains three epochs of three steps, with a best and a last checkpoint."""

    def run(spoil=None, callbacks=(), steps=3, **trainer):
        seed_everything(1)
        data = make_data(crop=32, batch_size=2, steps_per_epoch=steps, evaluation=EvaluationSettings(window=160))
        module = Spoilt(
            data.description, backbone=BackboneSettings("vit_tiny_patch16_224", False, freeze=False, options=dict(TINY))
        )
        module.spoil = spoil or (lambda module, loss: loss)
        best = ModelCheckpoint(tmp_path, "best", monitor="val/miou", mode="max", enable_version_counter=False)
        last = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        given = {"max_epochs": 3, "enable_checkpointing": True, **trainer}
        make_trainer(callbacks=[*callbacks, best, last], **given).fit(module, datamodule=data)
        return module

    return run


def from_step(number, factor, then=None):
    """Multiplies the loss in and after the optimiser's step of this number, up to another one."""

    def spoil(module, loss):
        step = module.trainer.global_step + 1
        return loss * factor if number <= step < (then or step + 1) else loss

    return spoil


@pytest.mark.parametrize(
    ("spoil", "gradient", "trainer", "told"),
    [
        (from_step(5, NAN), (), {}, "the loss is NaN or infinite in step 5 (epoch 2)"),
        (from_step(6, INF), (), {"precision": "bf16-mixed"}, "the loss is NaN or infinite in step 6 (epoch 2)"),
        (lambda module, loss: loss + (NAN if module.trainer.global_step == 4 else 0), (), {}, "in step 5 (epoch 2)"),
        (from_step(3, NAN), (), {"accumulate_grad_batches": 2}, "the loss is NaN or infinite in step 3 (epoch 2)"),
        (None, (6,), {}, "are NaN or infinite after step 6 (epoch 2)"),  # no loss ever tells
        (None, (4,), {}, "the loss is NaN or infinite in step 5 (epoch 2)"),
    ],
    ids=["nan", "inf", "weights-stay", "accumulated", "weights-alone", "weights-first"],
)
def test_a_run_that_diverges_stops_and_keeps_its_checkpoints(spoil, gradient, trainer, told, fit, tmp_path):
    with pytest.raises(Diverged) as stopped:
        fit(spoil, [SpoiltGradient(gradient)], **trainer)
    words = str(stopped.value)
    assert words.startswith("training has diverged: ")
    assert told in words
    assert f"{tmp_path}/last.ckpt is the last checkpoint from before" in words or f"{tmp_path}/best.ckpt is" in words
    assert "--model.lr" in words
    assert sorted(path.name for path in tmp_path.glob("*.ckpt*")) == ["best.ckpt", "last.ckpt"]
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = read_checkpoint(tmp_path / name)
        assert (checkpoint["epoch"], not_finite(checkpoint["state_dict"])) == (0, [])


def test_a_checkpoint_within_an_epoch_is_not_written_from_broken_weights(fit, tmp_path):
    keep = ModelCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(Diverged, match=r"weights \(.* are NaN or infinite after step 2 \(epoch 1\); .*step=1.ckpt is"):
        fit(callbacks=[SpoiltGradient([2]), keep])
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["step=1.ckpt"]


def test_without_a_checkpoint_it_says_so(fit):
    with pytest.raises(Diverged, match=r"no checkpoint was written before: begin again with a lower --model.lr"):
        fit(from_step(1, NAN))


def half():
    """One epoch of eight steps in 16-mixed, with the scaler that it has on a GPU."""
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0))
    return {"steps": 8, "max_epochs": 1, "limit_val_batches": 0, "plugins": [plugin]}


def test_steps_that_a_scaler_leaves_out_are_no_divergence(fit):
    module = fit(from_step(3, INF, 8), [SpoiltGradient([1, 2], INF)], **half())
    assert module.trainer.global_step == 8
    assert not_finite(module.state_dict()) == []


def test_a_scaler_that_leaves_out_every_step_is(fit):
    told = r"the loss is NaN or infinite in step 2 \(epoch 1\), and in the 5 after it; .*, or --trainer.precision bf16"
    with pytest.raises(Diverged, match=told):
        fit(from_step(2, NAN), **half())
