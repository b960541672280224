"""What `mobanet.lightning_internals` relies on is in the installed Lightning; no other file relies on such things."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import WandbLogger

import mobanet
from mobanet import lightning_internals as internals
from tests.cli.conftest import start, wait

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}

OTHERS = {
    # GDAL's errors as rasterio lets them through; the place of a raster, left to chance where it has no overviews
    "rasters/opening.py": {"rasterio._err", "_transform"},
    "models/backbones/kinds.py": {"_pos_embed"},  # timm's own resampling of positions
    "models/draws.py": {"_version"},  # how often a tensor was changed in place: torch has no other word for it
    "models/lora.py": {"_BatchNorm"},  # every batch normalisation of torch
    "models/precision.py": {"_is_mkldnn_bf16_supported"},  # whether oneDNN takes bfloat16 on this CPU
    "cli/parser_errors.py": {
        "_actions",
        "_option_string_actions",
    },  # options a parser of the standard library knows
    "cli/parser_help.py": {"_actions", "_action_groups", "_group_actions"},  # and in which groups
    # what type checkers call any dataclass, and memory that can be written to; nothing of it is there when code runs
    "plain/typed.py": {"_typeshed"},
    "rasters/archives.py": {"_typeshed"},
}
"""Private names of other libraries than Lightning, by file."""


class Logs(BoringModel):
    """Logs the number of its batches so far, as a mean."""

    def training_step(self, batch, batch_idx):
        """Log, and train."""
        self.log("count", float(batch_idx), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


class Watch(Callback):
    """Asks the trainer at each batch, and saves within the validation."""

    def __init__(self, path):
        self.path, self.seen, self.began = path, [], []

    def on_train_batch_start(self, trainer, *_):
        self.began.append((*internals.epochs_done(trainer), *internals.batches_done(trainer)))

    def on_train_batch_end(self, trainer, *_):
        logged = internals.logged_so_far(trainer)
        self.seen.append((internals.accumulates(trainer), internals.batches_done(trainer)[1], logged["count"]))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            trainer.save_checkpoint(self.path)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A short training: two epochs of three batches, steps of two, a validation of three after each batch."""
    watch = Watch(tmp_path_factory.mktemp("watched") / "within.ckpt")
    limits = {"limit_train_batches": 3, "limit_val_batches": 3, "val_check_interval": 1, "num_sanity_val_steps": 0}
    trainer = Trainer(**QUIET, max_epochs=2, accumulate_grad_batches=2, callbacks=[watch], **limits)
    trainer.fit(Logs())
    return trainer, watch


@pytest.mark.filterwarnings("ignore")
def test_how_far_a_training_has_come(watched):
    _, watch = watched
    assert watch.began == [(e + 1, e, b, b == 2) for e in (0, 1) for b in (0, 1, 2)]
    steps = [(True, False, 0.0), (False, False, 0.5), (False, True, 1.0)]  # the last batch makes a step by itself
    assert watch.seen == steps * 2


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_from_within_a_validation_is_put_before_it(watched):
    _, watch = watched
    checkpoint = torch.load(watch.path, weights_only=True)
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    assert (progress["total"]["completed"], progress["current"]["completed"]) == (7, 1)
    internals.put_before_validation(checkpoint)
    assert progress["total"] == {"ready": 7, "started": 7, "processed": 6, "completed": 6}
    assert progress["current"] == {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    assert progress["is_last_batch"] is False


def test_a_batch_that_was_begun_twice_counts_once(watched):
    trainer, _ = watched
    total = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    total.ready, total.started = total.ready + 1, total.started + 1
    assert (total.ready, total.started, total.processed, total.completed) == (10, 10, 9, 9)
    internals.count_validation_anew(trainer)
    assert (total.ready, total.started, total.processed, total.completed) == (9, 9, 9, 9)


def test_who_started_the_processes():
    environment = LightningEnvironment()
    assert internals.cluster_environment(Trainer(**QUIET, devices=1, plugins=[environment])) is environment


def test_child_processes_are_known_and_ended():
    trainer = Trainer(**QUIET, devices=2, strategy="ddp")
    assert internals.release_child_processes(trainer) == []  # none are started yet
    internals.end_child_processes(trainer)
    trainer.strategy._configure_launcher()
    launcher = trainer.strategy.launcher
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        launcher.procs.append(child)
        assert internals.release_child_processes(trainer) == [child]
        launcher.procs.append(child)
        internals.end_child_processes(trainer)
        assert child.wait(timeout=10) == -9


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("ended", 2),
        ("released", 2),
        ("unknown", -9),  # what the observer is for: nobody knew of this end
    ],
)
def test_children_that_are_ended_do_not_take_the_first_process_with_them(end, code, tmp_path):
    ended = wait(start("tests.unit.observed", end, folder=tmp_path))
    assert ended.code == code, ended.err


def test_a_signal_is_forgotten():
    trainer = Trainer(**QUIET, devices=1)
    trainer._signal_connector.received_sigterm = True
    assert trainer.received_sigterm
    internals.forget_sigterm(trainer)
    assert not trainer.received_sigterm


def test_wandb_is_told_of_nothing_that_it_finds_old(tmp_path):
    logger = WandbLogger(save_dir=str(tmp_path), offline=True)
    assert "anonymous" in logger._wandb_init
    internals.without_anonymous(logger)
    assert "anonymous" not in logger._wandb_init


ACCESS = ("getattr", "setattr", "hasattr", "delattr")


def private(name):
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def reached_into(tree):
    """The private names that a file takes from other objects or modules, in the order of its text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr) and not of_its_own(node.value):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (name for name in [node.module or "", *(alias.name for alias in node.names)] if private(name))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if private(alias.name))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ACCESS:
            name = node.args[1]
            if isinstance(name, ast.Constant) and private(str(name.value)):
                yield name.value


def of_its_own(value):
    """Whether an object is the class's own, or `os`, whose `_exit` is documented."""
    if isinstance(value, ast.Call):
        return getattr(value.func, "id", "") == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls", "os")


def test_no_other_file_reaches_into_private_names():
    package = Path(mobanet.__file__).parent
    found = {}
    for path in package.rglob("*.py"):
        names = set(reached_into(ast.parse(path.read_text(encoding="utf-8"))))
        if names and path.name != "lightning_internals.py":
            found[path.relative_to(package).as_posix()] = names
    assert found == OTHERS


def test_what_reaching_into_private_names_is():
    text = (
        "import a._b\nfrom c import _d\nfrom e._f import g\nh._i\ngetattr(j, '_k')\nl().m._n = 1\n"
        "self._o, cls._p, super()._q, os._exit, r.__s__"
    )
    assert sorted(reached_into(ast.parse(text))) == ["_d", "_i", "_k", "_n", "a._b", "e._f"]
