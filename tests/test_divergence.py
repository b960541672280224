"""Runs that diverge: where they stop, what they say, and that good checkpoints stay."""

import sys
import time

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.multiprocessing import ProcessRaisedException
from torch.utils.data import DataLoader

from mobanet.checkpoints.finite import not_finite
from mobanet.checkpoints.trained import Diverged
from mobanet.data.options import EvaluationSettings
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.training.divergence import DivergenceStop
from mobanet.training.module import SegmentationModule
from tests.conftest import NARROW, TINY

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

    def run(spoil=None, callbacks=(), **trainer):
        seed_everything(1)
        data = make_data(crop=32, batch_size=2, evaluation=EvaluationSettings(window=160))
        backbone = BackboneSettings("vit_tiny_patch16_224", False, freeze=False, options=dict(TINY))
        network = MoBaNetSettings(**NARROW)
        module = Spoilt(data.description, backbone=backbone, network=network)
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
    ("spoil", "gradient", "told"),
    [
        (from_step(5, NAN), (), "the loss is NaN or infinite in step 5 (epoch 2)"),
        (None, (6,), "are NaN or infinite after step 6 (epoch 2)"),  # the epoch's last, so that no loss ever tells
    ],
    ids=["loss", "weights"],
)
def test_a_run_that_diverges_stops_and_keeps_its_checkpoints(spoil, gradient, told, fit, tmp_path):
    with pytest.raises(Diverged) as stopped:
        fit(spoil, [SpoiltGradient(gradient)])
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


class Toy(LightningModule):
    """A single number that learns; `losses` says what each step's loss is multiplied by, on which rank."""

    def __init__(self, factors, rank=0, adds=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.factors, self.rank, self.adds = factors, rank, adds

    def train_dataloader(self):
        return DataLoader(torch.ones(len(self.factors), 1), 1)

    def training_step(self, batch, batch_idx):
        factor = self.factors[batch_idx] if self.global_rank == self.rank else 1.0
        loss = (self.weight * batch).sum()
        return loss + factor if self.adds else loss * factor

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def half():
    """16-mixed, with the scaler that it has on a GPU."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**15))


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize(
    ("module", "trainer", "step"),
    [
        (Toy([1, INF, 1, 1]), {}, 2),
        (Toy([1, 1, 1, NAN]), {"precision": "bf16-mixed"}, 4),  # the last one
        (Toy([0, 0, NAN, 0, 0], adds=True), {}, 3),  # of which no gradient knows
        (Toy([1, NAN, 1, 1, 1]), {"accumulate_grad_batches": 3}, 1),
    ],
)
def test_any_loss_that_is_no_number_is_told(module, trainer, step, make_trainer):
    told = (
        rf"the loss is NaN or infinite in step {step} \(epoch 1\); no checkpoint was written before: begin again with"
    )
    with pytest.raises(Diverged, match=told):
        make_trainer(max_epochs=1, callbacks=[DivergenceStop()], **trainer).fit(module)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_steps_that_a_scaler_leaves_out_are_no_divergence(make_trainer):
    module = Toy([1, 1, *[INF] * 5, 1, NAN, 1])
    overflows = SpoiltGradient([1, 2], INF)
    trainer = make_trainer(max_epochs=1, callbacks=[DivergenceStop(), overflows], plugins=[half()])
    trainer.fit(module)
    assert trainer.global_step == 10
    assert module.weight.item() == pytest.approx(1 - 2 * 0.01)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_scaler_that_leaves_out_every_step_is(make_trainer):
    told = r"the loss is NaN or infinite in step 2 \(epoch 1\), and in the 5 after it; .*, or --trainer.precision bf16"
    with pytest.raises(Diverged, match=told):
        make_trainer(max_epochs=1, callbacks=[DivergenceStop()], plugins=[half()]).fit(Toy([1, *[NAN] * 8]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_stop_at_the_same_step_whichever_of_them_it_is(rank, make_trainer, tmp_path):
    class Told(DivergenceStop):
        def on_train_batch_end(self, trainer, *arguments):
            try:
                super().on_train_batch_end(trainer, *arguments)
            except Diverged as error:
                (tmp_path / f"{trainer.global_rank}.txt").write_text(f"{trainer.global_step} {error}")
                patience = time.monotonic() + 20
                while len(list(tmp_path.glob("?.txt"))) < 2 and time.monotonic() < patience:
                    time.sleep(0.01)  # the first to end has the other one ended
                raise

    module = Toy([1, 1, NAN, 1, 1, 1], rank)
    trainer = make_trainer(
        max_epochs=1,
        callbacks=[Told()],
        strategy="ddp_fork",
        devices=2,
        use_distributed_sampler=False,
    )
    with pytest.raises(ProcessRaisedException, match="training has diverged: the loss is NaN or infinite in step 3"):
        trainer.fit(module)
    told = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert told[0] == told[1]
    assert told[0].startswith("4 training has diverged: the loss is NaN or infinite in step 3 (epoch 1);")
