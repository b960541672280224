from collections import Counter
from itertools import product

import numpy as np
import pytest

from mobanet.data.reading import grid, starts
from mobanet.prediction.parts import PartRun, parts_of, runs_of

SIZES = [(1, 1), (7, 50), (64, 64), (65, 129), (200, 33)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("strip", [1, 16, 64])
@pytest.mark.parametrize("panel", [16, 64, 1000])
def test_every_pixel_is_in_exactly_one_part(height, width, strip, panel):
    parts = parts_of(3, height, width, strip, panel)
    counted = np.zeros((height, width), int)
    for part in parts:
        counted[part.top : part.bottom, part.left : part.right] += 1
        assert part.area == (part.bottom - part.top) * (part.right - part.left)
        assert part.bottom - part.top <= strip
        assert part.right - part.left <= panel
        assert part.scene == 3
    assert (counted == 1).all()
    assert len({part.name for part in parts}) == len(parts)
    assert parts == sorted(parts, key=lambda part: (part.panel, part.strip))


@pytest.mark.parametrize("world", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_all_ranks_together_do_what_is_left_exactly_once(world, share):
    random = np.random.default_rng(world)
    for sizes in product(SIZES, repeat=2):
        parts = [part for number, size in enumerate(sizes) for part in parts_of(number, *size, 16, 40)]
        done = {part for part in parts if random.random() < share}
        jobs = [runs_of(parts, done, rank, world) for rank in range(world)]
        assert Counter(part for each in jobs for job in each for part in job.parts) == Counter(set(parts) - done)
        ordered = [part for each in jobs for job in each for part in job.parts]
        assert ordered == [part for part in parts if part not in done]  # every rank a run of them
        for job in (job for each in jobs for job in each):
            for above, below in zip(job.parts, job.parts[1:], strict=False):
                assert (above.scene, above.panel, above.bottom) == (below.scene, below.panel, below.top)


def test_ranks_get_about_the_same_area():
    parts = [*parts_of(0, 500, 300, 10, 100), *parts_of(1, 333, 90, 10, 100)]
    total, largest = sum(part.area for part in parts), max(part.area for part in parts)
    for world in (2, 3, 7):
        areas = [
            sum(part.area for job in runs_of(parts, (), rank, world) for part in job.parts) for rank in range(world)
        ]
        assert max(abs(area - total / world) for area in areas) <= largest


def test_parts_that_are_there_split_a_job():
    parts = parts_of(0, 100, 30, 20)
    jobs = runs_of(parts, {parts[2]}, 0, 1)
    assert [job.parts for job in jobs] == [tuple(parts[:2]), tuple(parts[3:])]
    assert runs_of(parts, set(parts), 0, 1) == []
    assert [len(job.parts) for job in runs_of(parts_of(0, 100, 90, 20, 30), (), 0, 1)] == [5, 5, 5]  # one a panel


@pytest.mark.parametrize(("size", "stride"), [(16, 16), (16, 5), (30, 1), (64, 32), (300, 150)])
def test_windows_of_a_job_are_those_of_the_scene_that_touch_it(size, stride):
    height, width = 131, 97
    everything = grid(height, width, size, stride)
    parts = parts_of(0, height, width, 20, 30)
    for first, last in ((0, 1), (0, 7), (3, 4), (2, 5), (6, 7), (10, 13)):
        job = PartRun(tuple(parts[first:last]))
        top, bottom, left, right = job.parts[0].top, job.parts[-1].bottom, job.parts[0].left, job.parts[0].right
        touching = [
            (row, column)
            for row, column in everything
            if len(range(max(row, top), min(row + size, bottom)))
            and len(range(max(column, left), min(column + size, right)))
        ]
        assert job.windows(height, width, size, stride) == touching
        covered = np.zeros((height, width), bool)
        for row, column in touching:
            covered[row : row + size, column : column + size] = True
        assert covered[top:bottom, left:right].all()


def test_windows_start_where_the_grid_of_evaluation_has_them():
    assert starts(10, 16, 4) == [0]
    assert starts(16, 16, 4) == [0]
    assert starts(33, 16, 16) == [0, 16, 17]
    assert starts(21, 16, 2) == [0, 2, 4, 5]
    for length, size, stride in product((1, 15, 16, 17, 50, 64), (16,), (1, 3, 16)):
        found = starts(length, size, stride)
        assert found == sorted(set(found))
        assert max(b - a for a, b in zip([0, *found], found, strict=False)) <= stride
        assert found[-1] == max(length - size, 0)
