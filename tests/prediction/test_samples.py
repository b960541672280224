import gc
import threading
import time

import numpy as np
import pytest
import rasterio
import torch

from mobanet.data.reading import grid
from mobanet.errors import UserError
from mobanet.prediction.parts import PartRun, parts_of, runs_of
from mobanet.prediction.request import GivenRaster
from mobanet.prediction.samples import WindowRules, ahead, batches_of, read_windows
from mobanet.prediction.scene_scaling import SceneScaling
from tests.data_files.fake_files import georeferenced, noise, truncate, write
from tests.prediction.conftest import MODALITIES, placed, slope

LEVELS = {name: np.stack([np.zeros(len(m.bands)), np.ones(len(m.bands))]) for name, m in MODALITIES.items()}
LEVELS = {name: numbers.astype(np.float32) for name, numbers in LEVELS.items()}
RULES = WindowRules(32, 20, "pixel", "nodata")


def whole_job(scene, number=0, strip=1000, panel=1000):
    return [PartRun((part,)) for part in parts_of(number, scene.grid.height, scene.grid.width, strip, panel)]


def samples_of(scene, rules=RULES, **options):
    return list(read_windows(whole_job(scene, **options), [scene], [SceneScaling(LEVELS)], MODALITIES, rules))


def test_windows_of_a_scene_hold_its_pixels_and_nothing_beyond(ortho, surface):
    scene = placed(rgb=ortho, dsm=surface)
    found = samples_of(scene)
    assert [(sample.top, sample.left) for sample in found] == grid(90, 70, 32, 20)
    assert [sample.number for sample in found] == list(range(len(found)))
    rgb = noise("ortho", 3, (90, 70)).transpose(1, 2, 0)
    for sample in found:
        rows, columns = slice(sample.top, sample.top + 32), slice(sample.left, sample.left + 32)
        raw = sample.raw
        assert np.array_equal(raw["inputs"]["rgb"].numpy(), rgb[rows, columns])
        assert np.array_equal(raw["inputs"]["dsm"].numpy()[:, :, 0], slope(90, 70)[0, rows, columns])
        assert {name: x.dtype for name, x in raw["inputs"].items()} == {
            "rgb": torch.uint8,
            "ir": torch.uint8,
            "dsm": torch.float32,
        }
        assert raw["valid"]["rgb"].all()
        assert not raw["valid"]["ir"].any()  # not given
        assert sample.covered.patterns == (0b101,)
        assert torch.equal(raw["offset_scale"]["dsm"], torch.tensor([[0.0], [1.0]]))


def test_a_scene_smaller_than_a_window_is_padded_as_missing(tmp_path):
    (sample,) = samples_of(placed(rgb=write(tmp_path / "small.tif", noise("small", 3, (20, 25)))))
    assert (sample.top, sample.left) == (0, 0)
    assert sample.raw["inputs"]["rgb"].shape == (32, 32, 3)
    expected = torch.zeros(32, 32, dtype=torch.uint8)
    expected[:20, :25] = 1
    assert torch.equal(sample.raw["valid"]["rgb"], expected)
    assert np.array_equal(sample.covered.wanted, expected.numpy() == 1)


def test_windows_without_a_pixel_of_the_map_are_counted_but_not_read_out(tmp_path):
    values = noise("gap", 3, (120, 70))
    values[:, 32:92] = 0
    scene = placed(rgb=write(tmp_path / "gap.tif", values, nodata=0, **georeferenced(1000, 2000, 1)))
    found = samples_of(scene)
    corners = grid(120, 70, 32, 20)
    assert [(s.top, s.left) for s in found] == [(top, left) for top, left in corners if top != 40 and top != 60]
    assert [s.number for s in found] == [k for k, (top, _) in enumerate(corners) if top not in (40, 60)]


def test_jobs_and_panels_give_the_same_pixels_as_the_whole(ortho, surface):
    scene = placed(rgb=ortho, dsm=surface)
    whole = {(s.top, s.left): s for s in samples_of(scene)}
    seen = set()
    for job in whole_job(scene, strip=30, panel=25):
        for sample in read_windows([job], [scene], [SceneScaling(LEVELS)], MODALITIES, RULES):
            same = whole[sample.top, sample.left]
            for kind in ("inputs", "valid"):
                assert all(torch.equal(sample.raw[kind][name], same.raw[kind][name]) for name in MODALITIES)
            seen.add((sample.top, sample.left))
    assert seen == set(whole)


def test_batches_go_across_jobs_and_scenes_of_different_types(tmp_path, ortho):
    deep = write(tmp_path / "deep.tif", noise("deep", 3, (50, 40)).astype(np.float32), **georeferenced(1000, 2000, 1))
    scenes = [
        placed(rgb=ortho),
        placed(rgb=deep),
        placed(rgb=GivenRaster(ortho), dsm=write(tmp_path / "d.tif", slope(90, 70), **georeferenced(1000, 2000, 1))),
    ]
    parts = [part for k, scene in enumerate(scenes) for part in parts_of(k, scene.grid.height, scene.grid.width, 25)]
    jobs = runs_of(parts, {parts[1]}, 0, 1)
    assert len(jobs) == 4
    single = list(read_windows(jobs, scenes, [SceneScaling(LEVELS)] * 3, MODALITIES, RULES))
    assert len({sample.job for sample in single}) == 4
    for size in (1, 5, 1000):
        batches = list(batches_of(iter(single), size))
        assert [len(batch.samples) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert [s.number for batch in batches for s in batch.samples] == [s.number for s in single]
        assert not any(s.raw for batch in batches for s in batch.samples)  # their pixels are in the batch
        k = 0
        for batch in batches:
            for place in range(len(batch.samples)):
                for name in MODALITIES:
                    expected = single[k].raw["inputs"][name].permute(2, 0, 1)
                    assert torch.equal(batch.raw["inputs"][name][place].float(), expected.float())
                    assert torch.equal(batch.raw["valid"][name][place], single[k].raw["valid"][name])
                    assert torch.equal(batch.raw["offset_scale"][name][place], single[k].raw["offset_scale"][name])
                k += 1
        kinds = {batch.raw["inputs"]["rgb"].dtype for batch in batches}
        assert kinds == ({torch.float32} if size == 1000 else {torch.uint8, torch.float32})


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(ahead(iter(range(50)))) == list(range(50))
    assert list(ahead([])) == []
    assert list(ahead([None, None])) == [None, None]
    assert not readers()


def test_items_are_made_ahead_but_not_all():
    made = []

    def items():
        for k in range(100):
            made.append(k)
            yield k

    given = ahead(items(), depth=3)
    assert next(given) == 0
    until = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < until:  # three are ready, the next waits for room
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 5
    given.close()
    assert not readers()


def test_what_goes_wrong_in_the_thread_is_raised_behind_what_was_made_before():
    def items():
        yield 1
        yield 2
        raise UserError("the disk is on fire: put it out.")

    seen = []
    with pytest.raises(UserError, match="on fire"):
        seen.extend(iter_into(seen, ahead(items())))
    assert seen == [1, 2]
    assert not readers()


def iter_into(seen, items):
    for item in items:
        seen.append(item)
    return ()


def test_an_error_before_the_first_item():
    with pytest.raises(KeyError):
        next(ahead({}[k] for k in range(3)))
    assert not readers()


def test_a_consumer_that_leaves_early_stops_the_thread_and_closes_what_it_reads(ortho, surface):
    scene = placed(rgb=ortho, dsm=surface)
    closed = threading.Event()
    where = []

    def items():
        where.append(threading.current_thread().name)
        try:
            yield from read_windows(whole_job(scene), [scene], [SceneScaling(LEVELS)], MODALITIES, RULES)
        finally:
            where.append(threading.current_thread().name)
            closed.set()

    given = ahead(items(), depth=1)
    next(given)
    given.close()
    assert closed.is_set()
    assert where == ["read-ahead", "read-ahead"]  # GDAL's handles stay in one thread
    assert not readers()
    assert not rasterio.env.hasenv()


def test_batches_close_the_windows_where_they_were_read(ortho, surface):
    scene = placed(rgb=ortho, dsm=surface)
    samples = read_windows(whole_job(scene), [scene], [SceneScaling(LEVELS)], MODALITIES, RULES)
    given = ahead(batches_of(samples, 2), depth=1)
    next(given)
    given.close()
    assert samples.gi_frame is None  # closed, although it is still referred to
    assert not rasterio.env.hasenv()


def test_one_that_is_never_begun_starts_no_thread():
    before = threading.active_count()
    given = ahead(iter([1]))
    assert threading.active_count() == before
    del given
    gc.collect()
    assert not readers()


def test_a_raster_cut_short_is_told_by_the_reader(tmp_path):
    place = {"tiled": True, "blockxsize": 64, "blockysize": 64, **georeferenced(1000, 2000, 1)}
    path = write(tmp_path / "short.tif", noise("short", 3, (900, 100)), **place)
    scene = placed(rgb=path)
    truncate(path, 0.6)
    seen = []
    with pytest.raises(UserError, match=r"short\.tif cannot be read from row 512 on"):
        iter_into(seen, ahead(read_windows(whole_job(scene), [scene], [SceneScaling(LEVELS)], MODALITIES, RULES)))
    assert max(sample.top for sample in seen) + RULES.size <= 512
    assert max(sample.top for sample in seen) >= 460  # all windows above
    assert not readers()
