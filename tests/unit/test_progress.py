"""Progress is worded alike everywhere, and epochs count from 1, after a resume too."""

import io
import math
import re
import sys
from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback

from mobanet.plain.progress import duration, pace
from mobanet.runs import progress
from mobanet.runs.progress import BarProgress, PlainProgress
from mobanet.store import progress as steps_module
from mobanet.store.progress import TaskProgress

COUNT = re.compile(r"^(.+): (?:step )?\d+ of \d+, (?:\d+\.\d\d \w+/s, [\d \w]+ left|done in [\d \w]+)")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (185, "3 min 5 s"), (7800, "2 h 10 min"),
     (86400, "1 d"), (97200, "1 d 3 h")],
)  # fmt: skip
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_a_standstill_has_no_time_left():
    assert pace(0, "steps", 5) == "0.00 steps/s"


def test_long_tasks_tell_count_pace_and_rest(capsys, monkeypatch):
    monkeypatch.setattr(steps_module, "_SECONDS", 0)
    with TaskProgress("preparing tiles", 3) as steps:
        for _ in range(3):
            steps.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"preparing tiles: {k} of 3" for k in (1, 2, 3)]
    assert all(COUNT.match(line) for line in lines)
    assert "tiles/s" in lines[0]
    assert "done in 0 s" in lines[2]


class Words(Callback):
    """What the bar says at each step."""

    def __init__(self):
        self.said = []

    def on_train_batch_end(self, trainer, *_):
        bar = trainer.progress_bar_callback.train_progress_bar
        self.said.append(f"{bar.desc} {bar.n} of {bar.total}{bar.unit}")

    def on_validation_batch_end(self, trainer, *_):
        bar = trainer.progress_bar_callback.val_progress_bar
        self.said.append(f"{bar.desc} {bar.n} of {bar.total}{bar.unit}")


def test_epochs_count_from_one_and_on_after_a_resume(
    make_data, make_module, make_trainer, capsys, tmp_path, monkeypatch
):
    def fit(epochs, bar, path=None, **options):
        words = Words() if isinstance(bar, BarProgress) else Callback()
        data = make_data(steps_per_epoch=2)
        trainer = make_trainer(
            max_epochs=epochs, callbacks=[bar, words], enable_progress_bar=True, limit_val_batches=1, **options
        )
        data.prepare_data()
        data.setup("fit")
        trainer.fit(make_module(data), datamodule=data, ckpt_path=path, weights_only=True)
        return trainer, words

    trainer, _ = fit(1, PlainProgress(seconds=0))
    checkpoint = tmp_path / "one.ckpt"
    trainer.save_checkpoint(checkpoint)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    _, words = fit(3, BarProgress(), checkpoint)
    expected = []
    for epoch in (2, 3):
        expected += [f"epoch {epoch} of 3: step {step} of 2 steps" for step in (1, 2)]
        expected.append("validation: step 1 of 1 steps")
    assert words.said == expected


@pytest.mark.parametrize(
    ("epochs", "steps", "told"),
    [
        (50, 200, "epoch 1 of 50: done in 2 s, 1 min 38 s left, loss -"),
        (50, 7, "epoch 1 of 2: done in 2 s, 2 s left, loss -"),
        (-1, 7, "epoch 1 of 2: done in 2 s, 2 s left, loss -"),
        (-1, math.inf, "epoch 1: done in 2 s, loss -"),
    ],
)
def test_what_is_left_is_counted_by_what_ends_the_run(epochs, steps, told, monkeypatch):
    """In epochs of four steps, the first of which took two seconds."""
    trainer = SimpleNamespace(
        max_epochs=epochs,
        estimated_stepping_batches=steps,
        num_training_batches=4,
        accumulate_grad_batches=1,
        current_epoch=0,
        callback_metrics={},
        callbacks=[],
        fit_loop=SimpleNamespace(setup_data=lambda: None),
    )
    said = []
    monkeypatch.setattr(progress, "rank_zero_info", said.append)
    clock = iter((5.0, 7.0))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    line = PlainProgress()
    line.on_train_epoch_start(trainer, None)
    line.on_train_epoch_end(trainer, None)
    assert said == [told]
