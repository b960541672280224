"""The last weights are validated wherever a run ends, and before only where the setting says."""

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from mobanet.runs.last_validation import LastValidation

STEPS = 4
"""Steps of an epoch."""


class Watch(Callback):
    """Remembers the steps after which there was a validation; may stop the run after a step."""

    def __init__(self, stop_after=None):
        self.steps, self.stop_after = [], stop_after

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.stop_after:
            trainer.should_stop = True

    def on_validation_end(self, trainer, pl_module):
        self.steps.append(trainer.global_step)


@pytest.fixture
def validated(make_trainer):
    """Fits, and gives the steps after which there was a validation."""

    def fit(stop_after=None, callbacks=(), ckpt_path=None, **options):
        watch = Watch(stop_after)
        given = {"max_epochs": -1 if "max_steps" in options else None, "limit_train_batches": STEPS, **options}
        trainer = make_trainer(callbacks=[watch, *callbacks], limit_val_batches=1, **given)
        trainer.callbacks.append(LastValidation())
        trainer.fit(BoringModel(), ckpt_path=ckpt_path, weights_only=False)
        assert trainer.check_val_every_n_epoch == options["check_val_every_n_epoch"]
        return watch.steps

    return fit


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (5, 3, [3]), (5, 5, [5]), (5, 6, [5, 6]), (2, 1, [1])],
)
def test_every_so_many_epochs_and_the_last(validated, every, epochs, expected):
    steps = validated(check_val_every_n_epoch=every, max_epochs=epochs)
    assert steps == [epoch * STEPS for epoch in expected]


@pytest.mark.parametrize(
    ("every", "steps", "expected"), [(1, 6, [4, 6]), (5, 3, [3]), (2, 9, [8, 9]), (2, 8, [8]), (3, 4, [4])]
)
def test_a_run_of_so_many_steps_is_validated_after_the_last(validated, every, steps, expected):
    assert validated(check_val_every_n_epoch=every, max_steps=steps) == expected


@pytest.mark.parametrize(("every", "expected"), [(1, [4, 6]), (5, [6])])
def test_a_run_that_a_callback_ends_is_validated_there(validated, every, expected):
    assert validated(check_val_every_n_epoch=every, max_epochs=4, stop_after=6) == expected


def test_a_stop_that_has_to_wait_changes_nothing_before(validated):
    assert validated(check_val_every_n_epoch=2, max_epochs=3, min_epochs=3, stop_after=1) == [8, 12]


def test_validations_by_steps_alone_stay_as_they_are(validated):
    options = {"check_val_every_n_epoch": None, "val_check_interval": 3}
    assert validated(max_epochs=2, **options) == [3, 6]
    assert validated(max_steps=5, **options) == [3, 5]


def test_a_resumed_run_has_the_validations_that_are_left(validated, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    options = {"check_val_every_n_epoch": 2, "max_epochs": 3, "enable_checkpointing": True}
    assert validated(callbacks=[keep], **options) == [8, 12]
    for step, expected in ((3, [8, 12]), (9, [12]), (11, [12])):
        steps = validated(ckpt_path=str(tmp_path / f"step={step}.ckpt"), **{**options, "enable_checkpointing": False})
        assert steps == expected, step
