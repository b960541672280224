"""One small checkpoint, and every way by which a checkpoint is read."""

import copy

import pytest
import torch

from mobanet.errors import UserError
from tests.exporting.small import DSM, RGB, keep, make
from tests.models.conftest import one_thread

__all__ = ["one_thread"]


@pytest.fixture(scope="session")
def content(tmp_path_factory):
    """Of a checkpoint that nothing is wrong with."""
    path = keep(make((RGB, DSM)), tmp_path_factory.mktemp("sound") / "sound.ckpt")
    return torch.load(path, weights_only=True)


@pytest.fixture
def written(content, tmp_path):
    """Writes a changed copy of the content into a run folder of its own."""

    def write(change=lambda checkpoint: None):
        changed = copy.deepcopy(content)
        changed = change(changed) or changed
        folder = tmp_path / "run/checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / "config.yaml").write_text("data: {root: nowhere}\n")
        torch.save(changed, folder / "best.ckpt")
        return folder / "best.ckpt"

    return write


def by_predict(path):
    from mobanet.predict import predict

    predict(str(path), ["rgb=none.tif"], str(path.with_suffix(".tif")))


def by_command(command, option="--ckpt_path"):
    def door(path):
        from mobanet.cli.command_line import MobanetCLI

        MobanetCLI(command, [option, str(path)])

    return door


def by_export(path):
    from mobanet.export import export

    export(str(path), format="safetensors")


def by_report(path):
    from mobanet.report import report

    report(str(path.parents[1]))


def by_open_run(path):
    from mobanet.runs.opened import open_run

    open_run(path.parents[1])


def by_python(path):
    from mobanet.training.module import SegmentationModule

    SegmentationModule.load_from_checkpoint(path)


DOORS = {
    "predict": by_predict,
    "test": by_command("test"),
    "scores": by_command("scores"),
    "adapt": by_command("adapt"),
    "fit --ckpt_path": by_command("fit"),
    "fit --init_from": by_command("fit", "--init_from"),
    "export": by_export,
    "report": by_report,
    "open_run": by_open_run,
    "load_from_checkpoint": by_python,
}


def refusal(door, path) -> str:
    """The one sentence of a refusal that names the file."""
    with pytest.raises(UserError) as caught:
        DOORS[door](path)
    words = str(caught.value)
    assert str(path) in words
    assert words.isprintable()
    assert words.endswith((".", "?"))
    assert len(words) < 1500
    return words
