"""The scenario paper's optimiser, schedule and loss in training: resumed bit for bit, and changed where told."""

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from mobanet.errors import UserError
from mobanet.training.optim import ScheduleSettings
from tests.conftest import same

PAPER = {
    "optimizer": "adam",
    "loss": "bce",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": ScheduleSettings("steps", warmup_epochs=0, step_epochs=1, factor=0.5, every="step"),
}


class Rates(Callback):
    """The learning rate of each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, *_):
        self.seen.append(trainer.optimizers[0].param_groups[-1]["lr"])


@pytest.fixture
def fitted(make_data, make_module, make_trainer):
    def fit(settings, callbacks=(), ckpt_path=None, **trainer):
        seed_everything(42)
        data = make_data(steps_per_epoch=2, batch_size=2)
        module = make_module(data, **settings)
        trainer = make_trainer(callbacks=[*callbacks], enable_checkpointing=any(callbacks), **trainer)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return module

    return fit


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_run_resumed_anywhere_ends_with_the_same_weights(fitted, tmp_path):
    rates = Rates()
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole = fitted(PAPER, [keep, rates])
    assert type(whole.optimizers().optimizer) is torch.optim.Adam
    assert rates.seen == [1e-3, 1e-3, 0.5e-3, 0.5e-3]
    for step in (1, 2):  # within an epoch, and at its end
        resumed = fitted(PAPER, ckpt_path=str(tmp_path / f"step={step}.ckpt"))
        assert all(same(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_a_best_checkpoint_of_every_second_epoch_is_resumed_to_the_same_weights(fitted, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", monitor="val/loss", save_top_k=-1)
    every = {"check_val_every_n_epoch": 2, "max_epochs": 3, "limit_val_batches": 1}
    whole = fitted({}, [keep], **every)
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["epoch=1.ckpt"]
    resumed = fitted({}, ckpt_path=str(tmp_path / "epoch=1.ckpt"), **every)
    assert resumed.trainer.global_step == 6
    assert all(same(value, weights(resumed)[name]) for name, value in weights(whole).items())


def test_a_resumed_run_takes_its_own_optimiser_schedule_and_loss_and_says_so(fitted, tmp_path, caplog):
    keep = ModelCheckpoint(tmp_path, filename="last")
    fitted({}, [keep], max_epochs=1)
    rates = Rates()
    steps = ScheduleSettings("steps", warmup_epochs=0, step_epochs=1, factor=0.5)
    with caplog.at_level("INFO"):
        module = fitted({**PAPER, "schedule": steps}, [rates], ckpt_path=str(tmp_path / "last.ckpt"))
    for option in (
        "optimizer adam (the checkpoint has adamw)",
        "loss bce (the checkpoint has cross_entropy)",
        "schedule.shape steps (the checkpoint has cosine)",
        "schedule.factor 0.5 (the checkpoint has 0.9)",
    ):
        assert f"resuming with --model.{option}" in caplog.text
    optimizer = module.optimizers().optimizer
    fresh = module.optimizer_choice.make(module._parameter_groups())
    for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        assert {k: v for k, v in group.items() if k not in ("params", "lr", "initial_lr")} == {
            k: v for k, v in new.items() if k not in ("params", "lr")
        }
        assert group["initial_lr"] == 1e-3
    assert rates.seen == [0.5e-3, 0.5e-3]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("loss", "--model.loss names sgd, which is no loss; choose one of cross_entropy, bce"),
        ("optimizer", "--model.optimizer is sgd; choose one of adamw, adam"),
    ],
)
def test_what_is_not_known_is_refused(make_data, make_module, option, said):
    with pytest.raises(UserError) as refused:
        make_module(make_data(), **{option: "sgd"})
    assert refused.value.told().startswith(said)
