"""Sums of losses, losses of one's own and balanced crops in plain Lightning: exact with workers and after a resume."""

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional

from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.training.module import SegmentationModule
from mobanet.training.objective import LOSSES, Objective
from tests.test_training import assert_same, fitted, weights

BALANCED = {"sampling": "balanced", "balanced_share": 0.6}
RARE = {"loss": {"cross_entropy": 1, "dice": 0.5, "lovasz": 0.5}, "class_weights": "auto"}


class Smooth(nn.Module):
    """A loss of the user's own."""

    def __init__(self, by=0.1):
        super().__init__()
        self.register_buffer("by", torch.tensor(by))

    def forward(self, logits, label, weight):
        return functional.cross_entropy(logits, label, weight, ignore_index=255, label_smoothing=float(self.by))


def test_balanced_crops_are_the_same_with_workers_and_from_wherever_a_run_is_resumed(
    make_data, make_module, make_trainer, tmp_path
):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = {"callbacks": [keep], "enable_checkpointing": True}
    whole = weights(fitted(make_data, make_module, make_trainer, trainer, RARE, **BALANCED))
    assert_same(whole, weights(fitted(make_data, make_module, make_trainer, None, RARE, num_workers=2, **BALANCED)))
    for step in (2, 3):  # within the first epoch, and at its end
        path = str(tmp_path / f"step={step}.ckpt")
        assert_same(whole, weights(fitted(make_data, make_module, make_trainer, None, RARE, path, **BALANCED)))


def test_a_loss_object_trains_resumes_and_is_not_needed_for_its_checkpoint(
    make_data, make_module, make_trainer, tmp_path
):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = {"callbacks": [keep], "enable_checkpointing": True}
    whole = fitted(make_data, make_module, make_trainer, trainer, {"loss": Smooth(0.2)})
    path = str(tmp_path / "step=4.ckpt")
    assert read_checkpoint(path)["hyper_parameters"]["loss"] == "tests.test_imbalance.Smooth"
    assert not [name for name in read_checkpoint(path)["state_dict"] if "loss" in name]
    resumed = fitted(make_data, make_module, make_trainer, None, {"loss": Smooth(0.2)}, path)
    assert_same(weights(whole), weights(resumed))
    module = SegmentationModule.load_from_checkpoint(path, weights_only=True)
    data = make_data()
    make_trainer().test(module, datamodule=data, verbose=False)
    with pytest.raises(UserError, match=r"the loss tests.test_imbalance.Smooth is code of your own.*loss=MyLoss\(\)"):
        make_trainer(max_epochs=1, limit_val_batches=0).fit(module, datamodule=data)
    given = SegmentationModule.load_from_checkpoint(path, weights_only=True, loss=Smooth(0.2))
    make_trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(given, datamodule=data)


def test_a_checkpoint_chooses_no_code(make_data, make_module, make_trainer, tmp_path, monkeypatch):
    seed_everything(1)
    data, module = make_data(), None
    module = make_module(data)
    trainer = make_trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    (tmp_path / "strange_code.py").write_text("raise SystemExit('it ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for loss in ("strange_code.Loss", {"dice": 1, "strange_code.Loss": 1}, {"class_path": "strange_code.Loss"}):
        content["hyper_parameters"]["loss"] = loss
        torch.save(content, tmp_path / "b.ckpt")
        read_checkpoint(tmp_path / "b.ckpt")
        strange = SegmentationModule.load_from_checkpoint(tmp_path / "b.ckpt", weights_only=True)
        with pytest.raises(UserError, match=r"strange_code.Loss is code of your own"):
            make_trainer(max_epochs=1, limit_val_batches=0).fit(strange, datamodule=data)


def test_losses_of_no_dimension_are_asked_where_pixels_count_alone():
    asked = []

    def mean(logits, label):
        asked.append(logits.dtype)
        return functional.cross_entropy(logits, label, ignore_index=255)  # NaN over no pixel

    objective = Objective(mean)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    loss = objective(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()
    assert asked == []
    assert objective(logits, torch.zeros(2, 4, 4, dtype=torch.long)).item() > 0
    assert asked == [torch.float32]
    with pytest.raises(UserError, match=r"takes logits and label alone; leave `class_weights` out"):
        objective(logits, torch.zeros(2, 4, 4, dtype=torch.long), torch.ones(3))


def test_terms_are_logged_under_names_of_their_own():
    def names(settings):
        return Objective(settings, bring=False).names

    assert names("bce") == ["cross_entropy"]
    assert names({"bce": 1, "cross_entropy": 1}) == ["bce", "cross_entropy"]
    assert names("a.loss") == ["a_loss"]
    assert names({"a.B": 1, "c.B": 1, "dice": 1, "focal": 0}) == ["a_B", "c_B", "dice"]
    assert Objective({"tversky": {"weight": 2, "beta": 0.5}}).described == "2 tversky (beta 0.5)"


def test_a_sum_is_the_sum_and_one_loss_is_itself_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(2, 4, 6, 6, generator=generator), torch.randint(0, 4, (2, 6, 6), generator=generator)
    weight = torch.tensor([1.0, 2, 3, 4])
    for name, loss in LOSSES.items():
        assert torch.equal(Objective(name)(logits, label, weight), loss(logits, label, weight))
        assert torch.equal(Objective({name: 1})(logits, label, weight), loss(logits, label, weight))
    total = Objective({"cross_entropy": 0.25, "lovasz": 2})(logits, label, weight)
    assert total.item() == pytest.approx(
        0.25 * LOSSES["cross_entropy"](logits, label, weight).item()
        + 2 * LOSSES["lovasz"](logits, label, weight).item()
    )


def test_of_several_processes_the_mean_of_their_losses_counts():
    """As is documented: of cross-entropies over as many pixels that is the loss of all, of Dice it is not."""
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(4, 4, 6, 6, generator=generator), torch.randint(0, 4, (4, 6, 6), generator=generator)
    for name, alike in (("cross_entropy", True), ("focal", True), ("dice", False), ("lovasz", False)):
        ranks = np.mean([LOSSES[name](logits[part], label[part]).item() for part in (slice(0, 2), slice(2, 4))])
        assert (abs(ranks - LOSSES[name](logits, label).item()) < 1e-6) == alike


MISTAKES = {
    "null": ("null", "--model.loss names null, which is no loss", "cross_entropy, bce"),
    "a number": ("3", "--model.loss names 3", "choose one of"),
    "unknown in a sum": ("{cross_entropy: 1, lovas: 1}", "names lovas", "did you mean lovasz?"),
    "nothing": ("{}", "--model.loss is {}", "{cross_entropy: 1, dice: 0.5}"),
    "a word for a weight": ("{dice: much}", "--model.loss.dice is 'much'", "a number from 0 to"),
    "no number": ("{dice: .nan}", "--model.loss.dice is nan", "a number from 0 to"),
    "endless": ("{dice: .inf}", "--model.loss.dice is inf", "a number from 0 to"),
    "true": ("{dice: true}", "--model.loss.dice is True", "a number from 0 to"),
    "option of nothing": ("{dice: {smooth: 1}}", "--model.loss.dice has no option smooth", "it has none"),
    "too smooth": ("{cross_entropy: {smoothing: 2}}", "--model.loss.cross_entropy.smoothing is 2", "from 0 to 1"),
    "half a pixel": ("{boundary_cross_entropy: {pixels: 0.5}}", "pixels is 0.5", "a whole number from 1 to 100"),
    "no module": ("torch.lossy.MyLoss", "and Python finds no torch.lossy", "install it"),
}
"""More of them, from the command line: `tests/cli/test_losses.py`."""


@pytest.mark.parametrize("case", MISTAKES)
def test_settings_that_make_no_sense(case):
    given, *parts = MISTAKES[case]
    with pytest.raises(UserError) as refused:
        Objective(yaml.safe_load(given) if given.startswith("{") else given)
    for part in parts:
        assert part in refused.value.told()
