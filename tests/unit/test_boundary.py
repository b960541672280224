"""Boundaries counted by rows against all pairs of pixels in numpy, and by hand."""

import math

import numpy as np
import pytest

from mobanet.evaluation.boundary import COUNTED, BoundaryRows, SharedTruths, boundary_scores, spread
from mobanet.rasters.contents import Classes

CLASSES = Classes(("road", "house", "mud"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "house"))
K = len(CLASSES)


def by_pairs(prediction, label, distances, number=K):
    """(D, K, 7) from the distances between all pairs of pixels."""
    places = np.stack(np.indices(label.shape), -1).reshape(-1, 2)
    squares = ((places[:, None] - places[None]) ** 2).sum(-1)
    labelled = label.ravel() != 255
    sides = [label.ravel(), np.where(labelled, prediction.ravel(), 255)]

    def near(chosen, distance):
        return (squares[:, chosen] <= distance**2).any(1)

    found = np.zeros((len(distances), number, len(COUNTED)), int)
    for k in range(number):
        own = [side == k for side in sides]
        others = [labelled & ~side for side in own]
        contours = [side & near(other, 1) for side, other in zip(own, others, strict=True)]
        for number, distance in enumerate(distances):
            bands = [side & near(other, distance) for side, other in zip(own, others, strict=True)]
            matched = [contours[0] & near(contours[1], distance), contours[1] & near(contours[0], distance)]
            found[number, k] = [x.sum() for x in (*bands, bands[0] & bands[1], *contours, *matched)]
    return found


def by_rows(prediction, label, distances, heights):
    rows, top, found = BoundaryRows(K, distances), 0, 0
    for height in heights:
        found = found + rows.add(prediction[top : top + height], label[top : top + height])
        top += height
    assert top == len(label)
    return found + rows.finish()


def measured(prediction, label, distance=1):
    prediction, label = (np.array(each, np.uint8) for each in (prediction, label))
    (counts,) = by_rows(prediction, label, [distance], [len(label)])
    return boundary_scores(f"{distance} px", f"{distance}px", (distance, distance), counts.tolist(), CLASSES)


def random_maps(seed):
    """A truth of blocks with and without ignored pixels, and a map that is right in most of them."""
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 27, 2)
    grain = random.integers(1, 6)

    def blocks():
        small = random.integers(0, K, (height // grain + 1, width // grain + 1))
        return small.repeat(grain, 0).repeat(grain, 1)[:height, :width].astype(np.uint8)

    label = blocks()
    prediction = np.where(random.random((height, width)) < 0.8, label, blocks())
    if seed % 2:
        label[random.random((height, width)) < 0.2] = 255
    if seed % 10 == 9:
        label[:] = 255
    heights = []
    while sum(heights) < height:
        heights.append(min(int(random.integers(1, 9)), height - sum(heights)))
    return prediction, label, heights, random


@pytest.mark.parametrize("seed", range(40))
def test_counts_are_those_of_all_pairs_of_pixels_however_rows_come(seed):
    prediction, label, heights, random = random_maps(seed)
    distances = [1, int(random.integers(2, 7)), int(random.integers(13, 22))]
    assert (by_rows(prediction, label, distances, heights) == by_pairs(prediction, label, distances)).all()


@pytest.mark.parametrize("distance", [1, 2, 5, 13, 25])
def test_bits_spread_over_a_disc_and_not_beyond_the_edges(distance):
    bits = np.zeros((1, 2 * distance + 3, 2 * distance + 3), np.uint8)
    bits[0, distance + 1, distance + 1] = 4
    bits[0, 0, 0] = 8
    at = np.arange(-distance - 1, distance + 2)
    squares = at[:, None] ** 2 + at**2
    (found,) = spread(bits, [distance])
    assert ((found[0] & 4 > 0) == (squares <= distance**2)).all()
    corner = np.arange(len(at))
    assert ((found[0] & 8 > 0) == (corner[:, None] ** 2 + corner**2 <= distance**2)).all()
    assert (spread(bits, [1, distance, 2])[1] == found).all()
    flat = np.ones((1, 1, 3), np.uint8)
    assert (spread(flat, [distance])[0] == 1).all()  # a tile smaller than the disc


@pytest.mark.parametrize("number", [8, 9, 64, 65, 200])
def test_classes_may_be_many(number):
    label = np.random.default_rng(number).integers(0, number, (12, 12)).astype(np.uint8)
    label[3] = 255
    prediction = np.roll(label, 1, axis=1)
    distances = [1, 3]
    rows = BoundaryRows(number, distances)
    found = rows.add(prediction, label) + rows.finish()
    assert (found == by_pairs(prediction, label, distances, number)).all()


def test_a_shifted_edge_by_hand():
    label = [[0, 0, 0, 1, 1, 1]] * 4
    prediction = [[0, 0, 0, 0, 1, 1]] * 4
    near, far = measured(prediction, label, 1), measured(prediction, label, 2)
    # road: the truth's band is column 2, the map's column 3; at two pixels columns 1 and 2, and 2 and 3
    assert near.iou[:2] == (0, 0)
    assert far.iou[:2] == pytest.approx((1 / 3, 1 / 3))
    # contours are the same bands, one pixel apart
    assert (near.precision[:2], near.recall[:2], near.f1[:2]) == ((1, 1), (1, 1), (1, 1))
    assert math.isnan(near.iou[2])
    assert math.isnan(near.f1[2])
    assert (near.mean_iou, far.mean_iou, near.mean_f1) == (0, pytest.approx(1 / 3), 1)


def test_a_map_that_follows_the_truth_has_all_of_it():
    label = np.kron([[0, 1], [2, 0]], np.ones((5, 5))).astype(np.uint8)
    figures = measured(label, label, 3)
    assert figures.iou == figures.f1 == figures.precision == figures.recall == (1, 1, 1)


def test_the_edge_of_a_tile_is_no_boundary():
    house = np.zeros((8, 8), np.uint8)
    house[4:, :] = 1  # ends at three edges
    counts = by_rows(house, house, [2], [8])[0]
    assert counts[1, :3].tolist() == [16, 16, 16]  # two rows beside the road, and nothing along the edges
    assert counts[1, 3] == 8


def test_one_class_alone_and_nothing_labelled_have_no_figures():
    for label in (np.ones((6, 6), np.uint8), np.full((6, 6), 255, np.uint8)):
        figures = measured(np.ones((6, 6), np.uint8), label, 2)
        assert all(map(math.isnan, (*figures.iou, *figures.f1, figures.mean_iou, figures.mean_f1)))
    (counts,) = BoundaryRows(K, [3]).finish()
    assert counts.tolist() == [[0] * 7] * 3


def test_a_boundary_that_only_the_map_has_is_an_error():
    figures = measured([[0, 0, 1, 1]] * 3, [[0, 0, 0, 0]] * 3)
    assert figures.iou[:2] == (0, 0)
    assert figures.f1[:2] == (0, 0)
    assert figures.precision[:2] == (0, 0)
    assert all(map(math.isnan, figures.recall[:2]))
    missed = measured([[0, 0, 0, 0]] * 3, [[0, 0, 1, 1]] * 3)
    assert (missed.iou[1], missed.f1[1], missed.recall[1]) == (0, 0, 0)
    assert math.isnan(missed.precision[1])


def test_there_is_no_boundary_between_ignored_and_labelled_pixels():
    # eroded labels: a house with an ignored ring around it
    label = np.zeros((20, 20), np.uint8)
    label[4:16, 4:16] = 255
    label[7:13, 7:13] = 1
    counts = by_rows(label, label, [1, 3, 4], [20])
    assert not counts[:2].any()  # the ring is as wide as that, and nothing else is beside it
    assert counts[2, 1, 0] == 20  # across the ring, the outermost of the house


@pytest.mark.parametrize("seed", range(1, 12, 2))
def test_what_a_map_says_of_ignored_pixels_counts_nowhere(seed):
    prediction, label, heights, random = random_maps(seed)
    other = np.where(label == 255, random.integers(0, K, label.shape), prediction).astype(np.uint8)
    first, second = (by_rows(each, label, [1, 4], heights) for each in (prediction, other))
    assert (first == second).all()
    right = by_rows(np.where(label == 255, other, label), label, [1, 4], heights)
    assert (right[..., 0] == right[..., 2]).all()


def test_the_truth_is_looked_at_once_for_all_scenarios_and_let_go():
    random = np.random.default_rng(4)
    label = random.integers(0, K, (40, 9)).astype(np.uint8)
    maps = [random.integers(0, K, (40, 9)).astype(np.uint8) for _ in range(3)]
    truths, made = SharedTruths(3), []
    several = [BoundaryRows(K, [2], truths, "a") for _ in maps]
    alone = [by_rows(each, label, [2], [10] * 4) for each in maps]
    found = [0, 0, 0]
    for top in range(0, 40, 10):
        for k, rows in enumerate(several):
            found[k] = found[k] + rows.add(maps[k][top : top + 10], label[top : top + 10])
            made.append(len(truths._held))
    assert max(made) == 1
    assert all((each + rows.finish() == wanted).all() for each, rows, wanted in zip(found, several, alone, strict=True))
    assert truths._held == {}


def test_rows_that_wait_do_not_depend_on_the_height_of_a_tile():
    random = np.random.default_rng(0)
    rows, most = BoundaryRows(K, [5]), 0
    for _ in range(60):
        label = random.integers(0, K, (4, 30)).astype(np.uint8)
        rows.add(label, label)
        most = max(most, rows._rows.shape[1])
    assert most <= 4 * (5 + 1) + 4
