"""Files come whole, through to the disk, and whatever cannot be written is named."""

import errno
import io
import os
import resource
import signal
import stat
from pathlib import Path

import numpy as np
import pytest

from mobanet import files
from mobanet.checkpoints.checkpoint import WholeFiles
from mobanet.datasets.catalogue import Listings
from mobanet.evaluation.results import result_files
from mobanet.exporting.files import scratch_beside
from mobanet.exporting.pretrained import write_files
from mobanet.exporting.stac import ItemFacts
from mobanet.exporting.weights import Saved, Training
from mobanet.figures.canvas import write_png
from mobanet.figures.scenarios import scenario_figure
from mobanet.figures.scores import plot_history
from mobanet.prediction.parts import parts_of
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.categories import class_kind
from mobanet.rasters.geotiff import RowWriter
from mobanet.rasters.grid import Grid
from mobanet.scenarios.history import write_record
from mobanet.store.writing import stage_array
from mobanet.store.writing import write_json as write_store_json
from mobanet.synthetic.files import write_bytes as write_synthetic
from mobanet.tracking.csv_log import MetricsCSV
from mobanet.tracking.wandb_run import TrackedRun, write_tracked
from mobanet.trials.files import write_json as write_trial
from tests.exporting.small import LEARNT, make
from tests.hostile.children import verdicts
from tests.unit.test_read_back import results
from tests.unit.test_score_files import record

PLANE = np.zeros((20, 30), np.uint8)


def rows(path):
    with RowWriter(path, Grid(20, 30), class_kind(results().classes)) as writer:
        writer.write(PLANE[None])


def metrics(path):
    logger = MetricsCSV(path.parent)
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()


def described():
    module = make()
    learnt = {modality.name: np.array(LEARNT[modality.name]) for modality in module.data.modalities}
    return ItemFacts(module, learnt, None, Training())


def model(path):
    with scratch_beside(path.parent) as scratch:
        write_files(Saved({"a": 1}, {}), "card", described(), scratch)


def part(path):
    workspace = Workspace(path.parent)
    workspace.folder.mkdir(parents=True)
    workspace.save(parts_of(0, 20, 30, 20, 30)[0], PartMaps(PLANE, PLANE, None))


def figure(path):
    write_png(scenario_figure(results()), path, dpi=200)


WRITERS = {
    "x/a.txt": lambda path: files.write_text(path, "a"),
    "x/a.bin": lambda path: files.write_bytes(path, b"a", own=True),
    "x/last.ckpt": lambda path: WholeFiles().save_checkpoint({"a": 1}, path),
    "x/rgb.npy": lambda path: stage_array(path, PLANE),
    "x/tile.json": lambda path: write_store_json(path, {"a": 1}),
    "x/archives.json": lambda path: Listings({"a": []}).save(path),
    "x/top.tif": lambda path: write_synthetic(path, b"a"),
    "x/map.tif": rows,
    "x/metrics.csv": metrics,
    "x/scenario_scores.jsonl": lambda path: write_record(path, record()),
    "x/scores.png": lambda path: plot_history([record()], path),
    "x/scenarios.png": figure,
    "x/wandb_run.json": lambda path: write_tracked(path.parent, TrackedRun("a", "b")),
    "x/trial.json": lambda path: write_trial(path, {"a": 1}),
    "model/config.json": model,
    "map.tif.parts/000_00000.npz": part,
}


def without_room(write, path):
    """Write in a child whose files may not have a byte."""

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == "x":
            path.parent.mkdir(exist_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with pytest.raises(OSError, match="File too large") as caught:
            write(path)
        assert caught.value.errno == errno.EFBIG
        assert str(caught.value.filename) in (str(path), str(path.parent))
        left = [str(left) for left in path.parent.parent.rglob("*") if left.is_file()]
        assert not left, left

    return work


def test_whatever_cannot_be_written_is_named(tmp_path):
    work = [without_room(write, tmp_path / f"{n}" / name) for n, (name, write) in enumerate(WRITERS.items())]
    ends = dict(zip(WRITERS, verdicts(work, 20), strict=True))
    assert not {name: end.text for name, end in ends.items() if end.end != "success"}


@pytest.fixture
def synced(monkeypatch):
    """What is brought to the disk or gets a name, in order."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def kept(handle):
        kind = os.fstat(handle).st_mode
        calls.append("folder" if stat.S_ISDIR(kind) else "file")
        fsync(handle)

    def named(part, path):
        calls.append("name")
        replace(part, path)

    monkeypatch.setattr(os, "fsync", kept)
    monkeypatch.setattr(os, "replace", named)
    return calls


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("x/rgb.npy",)])
def test_content_is_on_the_disk_before_its_name_and_the_name_after(tmp_path, synced, name):
    path = tmp_path / name
    if path.parent.name == "x":
        path.parent.mkdir()
    if name.startswith("model"):
        from mobanet.exporting.files import move_all

        with scratch_beside(path.parent) as scratch:
            write_files(Saved({"a": 1}, {}), "card", described(), scratch)
            move_all(scratch, path.parent, path.name)
    else:
        WRITERS[name](path)
    assert path.is_file()
    names = [k for k, call in enumerate(synced) if call == "name"]
    assert names
    for k in names:
        assert "file" in synced[:k]
        assert "folder" in synced[k:]


def test_other_complaints_keep_their_own_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, files.whole_file(tmp_path / "a"):
        (tmp_path / "gone").read_bytes()
    assert caught.value.filename == str(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"exists|directory") as caught:
        files.write_text(tmp_path / "file/a", "x")
    assert str(caught.value.filename).startswith(str(tmp_path / "file"))


def test_a_disk_that_refuses_on_syncing_is_named_too(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_text(tmp_path / "a", "new")
    assert caught.value.filename == str(tmp_path / "a")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


def test_results_of_a_test_are_written_by_it(tmp_path):
    for name, text in result_files("test", results(), 1).items():
        files.write_text(tmp_path / name, text)
    assert Path(tmp_path / "test_scenarios.json").is_file()


def test_a_buffer_that_cannot_be_written_is_let_go(tmp_path):
    (tmp_path / "file").touch()
    buffer = io.BytesIO(b"content")
    with pytest.raises(OSError, match="/file") as refused:  # which holds the traceback, as whoever reports it does
        files.write_buffer(tmp_path / "file/below", buffer)
    buffer.seek(0, io.SEEK_END)
    buffer.write(b" and more")  # a view that is still there would forbid it
    assert refused.value.errno in (errno.ENOTDIR, errno.EEXIST)
