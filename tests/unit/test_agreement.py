"""Two ranks over gloo, of which a signal reaches one: they stop at the same place."""

import multiprocessing
import os
import signal
import sys
from datetime import timedelta

import pytest
import torch
from lightning.pytorch import Trainer

from mobanet.runs.agreement import Agreement
from mobanet.runs.interrupt import Interrupted, Interrupts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


class Rank(Trainer):
    """One of two ranks as far as the callback looks at it: two epochs of four batches, and of two in validation."""

    world_size, global_step = 2, 0

    def __init__(self, **options):
        super().__init__(accelerator="cpu", logger=False, enable_checkpointing=False, **options)

    def run(self, interrupts, reached):
        """Calls the hooks as Lightning does.

        Args:
            interrupts: the callback.
            reached: called with the name of each place, within it.
        """
        given = (self, None)
        interrupts.setup(*given, "fit")
        interrupts.on_train_start(*given)
        for epoch in range(2):
            reached(f"epoch {epoch}")
            interrupts.on_train_epoch_start(*given)
            for batch in range(4):
                progress = self.fit_loop.epoch_loop.batch_progress
                progress.current.ready, progress.is_last_batch = batch + 1, batch == 3
                interrupts.on_train_batch_start(*given, None, batch)
                reached(f"batch {epoch} {batch}")
                self.global_step += (batch + 1) % self.accumulate_grad_batches == 0
                interrupts.on_train_batch_end(*given, None, None, batch)
            interrupts.on_validation_start(*given)
            for batch in range(2):
                interrupts.on_validation_batch_start(*given, None, batch)
                reached(f"validation {epoch} {batch}")
                interrupts.on_validation_batch_end(*given, None, None, batch)
        interrupts.on_train_end(*given)


def follow(rank, store, pipe, cases):
    """What a rank's process does: of each case where it stopped, as it says itself, and whether a question is open."""
    together(rank, store)
    ends = []
    for place, options in cases:
        interrupts, trainer, now = Interrupts(None), Rank(**options), []

        def reached(name, place=place, now=now):
            now[:] = [name]
            if rank == 1 and name == place:
                os.kill(os.getpid(), signal.SIGTERM)

        try:
            with interrupts.caught():
                trainer.run(interrupts, reached)
            said = "finished"
        except Interrupted as stopped:
            said = stopped.sentence.split(";")[0]
        ends.append((said, trainer.global_step, now[0], interrupts._agreement.asked))
    pipe.send(ends)


def together(rank, store):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )


def both(tmp_path, target, *words):
    """What two processes send that run `target(rank, store, pipe, *words)`."""
    context = multiprocessing.get_context("fork")  # has imported torch already
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    ranks = [
        context.Process(target=target, args=(rank, tmp_path / "store", pipes[rank][1], *words)) for rank in range(2)
    ]
    for rank, (_, sender) in zip(ranks, pipes, strict=True):
        rank.start()
        sender.close()
    try:
        return [receiver.recv() if receiver.poll(100) else pytest.fail("a rank hangs") for receiver, _ in pipes]
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()


CASES = {
    ("batch 0 0", 1): (2, "batch 0 1"),  # the next step's end is where both know
    ("batch 0 2", 1): (4, "batch 0 3"),  # its validation is not begun
    ("batch 0 3", 1): (4, "batch 0 3"),
    ("validation 0 0", 1): (4, "validation 0 1"),
    ("validation 0 1", 1): (4, "epoch 1"),
    ("epoch 1", 1): (4, "epoch 1"),
    ("batch 1 3", 1): (8, "batch 1 3"),
    ("batch 0 0", 2): (2, "batch 0 3"),  # a step of several batches is finished first
    ("batch 1 2", 2): (4, "batch 1 3"),
}
"""By the place where the signal comes and the batches of a step: the last step, and the place where all ranks stop."""


def test_all_ranks_stop_at_the_same_place(tmp_path):
    cases = [(place, {"accumulate_grad_batches": batches}) for place, batches in (*CASES, ("nowhere", 1))]
    one, other = both(tmp_path, follow, cases)
    assert one == other
    stopped = [(f"SIGTERM has stopped the run after step {step}", step, last, False) for step, last in CASES.values()]
    assert one == [*stopped, ("finished", 8, "validation 1 1", False)]


def ask(rank, store, pipe):
    together(rank, store)
    agreement, answers = Agreement(torch.device("cpu")), []
    for number in range(3):
        agreement.ask(10 * rank + number)
        agreement.ask(99)  # one question at a time
        answers.append(agreement.read())
    agreement.ask(10 * rank)
    pipe.send([*answers, agreement.now(5 * rank), agreement.read()])


def test_the_largest_number_counts(tmp_path):
    assert both(tmp_path, ask) == [[10, 11, 12, 10, 0]] * 2


def fall(rank, store, pipe):
    together(rank, store)
    agreement = Agreement(torch.device("cpu"))
    agreement.now(0)
    if rank == 0:
        pipe.send("gone")
        os._exit(1)
    agreement.ask(1)
    try:
        pipe.send(agreement.read())
    except RuntimeError as error:
        pipe.send(type(error).__name__)


def test_a_rank_whose_other_is_gone_ends_in_an_error_and_not_never(tmp_path):
    assert both(tmp_path, fall) == ["gone", "RuntimeError"]
