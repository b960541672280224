import errno
import resource
import signal
import threading
import time

import numpy as np
import pytest

from mobanet.errors import UserError
from mobanet.prediction.assemble import MapFiles, assemble
from mobanet.prediction.map_writer import MapWriter
from mobanet.prediction.parts import parts_of
from mobanet.prediction.plan import ScenePlan
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.scene import Scene
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.contents import Classes
from mobanet.rasters.geotiff import RowWriter
from mobanet.rasters.grid import Grid
from mobanet.scenarios.scenario import scenarios_of

CLASSES = Classes(("a", "b"), ((255, 0, 0), (0, 0, 255)), ("a",))
SHAPE, STRIP = (80, 40), 16


def plan_of(folder, number=0, shape=SHAPE, strip=STRIP, probabilities="none"):
    path = folder / f"{number}.tif"
    workspace = Workspace.of(path)
    workspace.begin({})
    scene = Scene(str(number), Grid(*shape), "rgb", {}, ())
    files = MapFiles.beside(path, probabilities, True)
    return ScenePlan(scene, None, parts_of(number, *shape, strip), files, workspace)


def maps_of(part, probabilities=None):
    random = np.random.default_rng(part.scene * 1000 + part.strip)
    shape = (part.bottom - part.top, part.right - part.left)
    shares = None if probabilities is None else random.random((2, *shape), np.float32)
    return PartMaps(random.integers(0, 2, shape).astype(np.uint8), np.zeros(shape, np.uint8), shares)


def finish(plan, go_on):
    """The real thing, less the words."""
    assemble(plan.workspace, plan.parts, plan.files, plan.grid, CLASSES, scenarios_of(["rgb"]), {}, go_on)
    plan.workspace.remove()
    return plan.scene.id


def save_and_finish(plan, count=None, error=None):
    """What the prediction of one scene does, perhaps with an error after some parts."""
    with MapWriter([plan], finish) as writer:
        for part in plan.parts[:count]:
            writer.save(part, maps_of(part))
        if error is not None:
            raise error
        return writer.finish()


def pixels(plan):
    import rasterio

    with rasterio.open(plan.files.classes) as raster:
        return raster.read(1)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_maps_are_written_one_after_the_other(tmp_path):
    plans = [plan_of(tmp_path, number) for number in range(3)]
    with MapWriter(plans, finish) as writer:
        for plan in plans:
            for part in plan.parts:
                writer.save(part, maps_of(part))
        assert writer.finish() == ["0", "1", "2"]
    for plan in plans:
        assert np.array_equal(pixels(plan), np.concatenate([maps_of(part).classes for part in plan.parts]))
        assert not plan.workspace.folder.exists()


def test_what_is_there_already_is_written_without_a_part_to_come(tmp_path):
    plan = plan_of(tmp_path)
    for part in plan.parts:
        plan.workspace.save(part, maps_of(part))
    with MapWriter([plan], finish) as writer:
        assert writer.finish() == ["0"]


def test_processes_but_the_first_write_no_map(tmp_path):
    plan = plan_of(tmp_path)
    with MapWriter([plan], None) as writer:
        for part in plan.parts:
            writer.save(part, maps_of(part))
        assert writer.finish() == []
    assert plan.workspace.done(plan.parts) == set(plan.parts)
    assert not plan.files.classes.exists()


def test_parts_of_other_processes_are_waited_for(tmp_path):
    plan = plan_of(tmp_path)
    *own, other = plan.parts
    threading.Timer(0.5, lambda: plan.workspace.save(other, maps_of(other))).start()
    with MapWriter([plan], finish) as writer:
        for part in own:
            writer.save(part, maps_of(part))
        assert writer.finish() == ["0"]


def test_what_went_wrong_in_another_process_is_said(tmp_path):
    plan = plan_of(tmp_path)
    threading.Timer(0.5, lambda: plan.workspace.tell(1, "the raster is gone.")).start()
    with pytest.raises(UserError, match=r"^the raster is gone\.$"), MapWriter([plan], finish) as writer:
        writer.finish()


def test_the_network_goes_on_until_one_part_is_saved_and_one_waits(tmp_path, monkeypatch):
    plan, gate, handed = plan_of(tmp_path), threading.Event(), []
    save = Workspace.save

    def slow(self, part, maps):
        gate.wait(10)
        save(self, part, maps)

    def hand_over(writer):
        for part in plan.parts:
            writer.save(part, maps_of(part))
            handed.append(part)

    monkeypatch.setattr(Workspace, "save", slow)
    with MapWriter([plan], finish) as writer:
        network = threading.Thread(target=hand_over, args=(writer,))
        network.start()
        time.sleep(1)
        assert handed == plan.parts[:2]
        gate.set()
        network.join()
        assert writer.finish() == ["0"]


def test_maps_are_compressed_while_later_parts_are_saved(tmp_path, monkeypatch):
    plans, gate = [plan_of(tmp_path, number) for number in range(2)], threading.Event()

    def slow(plan, go_on):
        assert gate.wait(10)
        return finish(plan, go_on)

    with MapWriter(plans, slow) as writer:
        for plan in plans:
            for part in plan.parts:
                writer.save(part, maps_of(part))
        deadline = time.monotonic() + 10
        while len(plans[1].workspace.done(plans[1].parts)) < len(plans[1].parts) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert plans[1].workspace.done(plans[1].parts) == set(plans[1].parts)
        gate.set()
        assert writer.finish() == ["0", "1"]


def test_a_disk_that_takes_no_more_is_said_of_the_part(tmp_path):
    plan = plan_of(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            save_and_finish(plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(plan.workspace.folder / plan.parts[0].name)
    assert plan.workspace.done(plan.parts) == set()


def test_a_damaged_part_is_said_and_removed(tmp_path):
    plan = plan_of(tmp_path)
    for part in plan.parts:
        plan.workspace.save(part, maps_of(part))
    path = plan.workspace.folder / plan.parts[2].name
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged and was removed"), MapWriter([plan], finish) as writer:
        writer.finish()
    assert plan.workspace.done(plan.parts) == {*plan.parts} - {plan.parts[2]}
    assert not plan.files.classes.exists()


def test_an_error_of_the_network_loses_no_part_that_was_handed_over(tmp_path):
    plan = plan_of(tmp_path)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        save_and_finish(plan, 3, KeyboardInterrupt())
    assert plan.workspace.done(plan.parts) == set(plan.parts[:3])
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == threads


def test_a_map_that_is_finished_while_it_is_given_up_is_no_trouble(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    written = iter([plan])  # at the first look, and none at the second
    at = property(lambda self: next(written, None), lambda self, at: None)
    monkeypatch.setattr(MapWriter, "_at", at, raising=False)
    writer = MapWriter([plan], finish)
    for ended in writer._works.values():
        threading.Timer(0.5, ended.set).start()
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert next(written, None) is None


@pytest.mark.parametrize("step", ["_add_overviews", "_compress"])
def test_an_interrupt_does_not_wait_until_gdal_has_compressed_all(tmp_path, monkeypatch, step):
    plan = plan_of(tmp_path, shape=(4096, 2048), strip=1024, probabilities="float32")
    for part in plan.parts:
        plan.workspace.save(part, maps_of(part, "float32"))
    real, begun = getattr(RowWriter, step), threading.Event()

    def watched(self):
        if self.kind.dtype == "float32":
            begun.set()
        real(self)

    monkeypatch.setattr(RowWriter, step, watched)
    moments = []

    def finish_and_interrupt():
        begun.wait(60)
        moments.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=finish_and_interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        save_and_finish(plan, 0)
    (interrupted,) = moments
    assert time.monotonic() - interrupted < 1.5  # compressing takes several seconds
    assert [path.name for path in tmp_path.iterdir()] == ["0.tif.parts"]
    assert plan.workspace.done(plan.parts) == set(plan.parts)
