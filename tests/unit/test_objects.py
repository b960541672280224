"""Objects counted by rows against pieces of whole maps and the largest matching, and by hand."""

import math

import numpy as np
import pytest

from mobanet.evaluation.objects import ObjectRows, ObjectScores


def pieces(mask):
    """Sets of places that hang together by their sides."""
    left, found = {tuple(place) for place in np.argwhere(mask).tolist()}, []
    while left:
        ahead, piece = [left.pop()], set()
        while ahead:
            row, column = ahead.pop()
            piece.add((row, column))
            beside = {(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)} & left
            left -= beside
            ahead += beside
        found.append(piece)
    return found


def by_pieces(mapped, truth):
    ours, theirs = pieces(truth), pieces(mapped)
    fits = [[j for j, other in enumerate(theirs) if 2 * len(own & other) >= len(own | other)] for own in ours]
    match = {}

    def matched(i, seen):
        """Whether one more can be matched: a way along which matches change."""
        for j in fits[i]:
            if j not in seen:
                seen.add(j)
                if j not in match or matched(match[j], seen):
                    match[j] = i
                    return True
        return False

    most = sum(matched(i, set()) for i in range(len(ours)))
    height, width = truth.shape
    cut = [sum(any(r in (0, height - 1) or c in (0, width - 1) for r, c in p) for p in of) for of in (ours, theirs)]
    return [len(ours), len(theirs), most, *cut]


def by_rows(mapped, truth, heights=None):
    rows, top, found = ObjectRows(), 0, 0
    mapped, truth = (np.asarray(each, np.uint8) for each in (mapped, truth))
    for height in heights or [len(truth)]:
        found = found + rows.add(mapped[top : top + height], truth[top : top + height])
        top += height
    assert top == len(truth)
    return (found + rows.finish()).tolist()


def drawn(text):
    return np.array([[int(sign != ".") for sign in line] for line in text.split()], np.uint8)


@pytest.mark.parametrize("seed", range(60))
def test_objects_are_those_of_whole_maps_however_rows_come(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 31, 2)
    grain, share = random.integers(1, 5), random.uniform(0.2, 0.8)

    def blocks():
        small = random.random((height // grain + 1, width // grain + 1)) < share
        return small.repeat(grain, 0).repeat(grain, 1)[:height, :width]

    truth = blocks()
    mapped = np.where(random.random((height, width)) < random.uniform(0.6, 1), truth, blocks())
    heights = []
    while sum(heights) < height:
        heights.append(min(int(random.integers(1, 9)), height - sum(heights)))
    assert by_rows(mapped, truth, heights) == by_pieces(mapped, truth)


def test_an_object_is_matched_from_a_half_on():
    whole, upper = drawn("..... .##.. .##.. ....."), drawn("..... .##.. ..... .....")
    assert by_rows(upper, whole) == by_rows(whole, upper) == [1, 1, 1, 0, 0]  # 2 of 4 pixels
    less, more = drawn("..... .##.. .##.. .#..."), drawn("..... .##.. .##.. .####")
    assert by_rows(upper, less)[2] == by_rows(less, upper)[2] == 0  # 2 of 5
    assert by_rows(whole, more)[2] == by_rows(more, whole)[2] == 1  # 4 of 8


def test_two_objects_are_never_matched_with_the_same_third():
    whole = drawn("....... .#####. .......")
    assert by_rows(drawn("....... .##.##. ......."), whole) == [1, 2, 0, 0, 0]  # 2 of 5 each
    assert by_rows(whole, drawn("....... .##.##. .......")) == [2, 1, 0, 0, 0]
    # halves that touch by a corner alone, in a whole that has another pixel for it
    assert by_rows(drawn(".... .##. ...# ...."), drawn(".... .### ...# ....")) == [1, 2, 1, 1, 1]


def test_an_object_that_opens_downwards_is_one():
    shape = drawn("#.#.# #.#.# #.#.# #####")
    assert by_rows(shape, shape, [1, 1, 1, 1]) == [1, 1, 1, 1, 1]
    assert by_rows(shape[::-1].copy(), shape[::-1].copy(), [1, 1, 1, 1]) == [1, 1, 1, 1, 1]


def test_what_a_tiles_edge_cuts_is_counted_and_told():
    truth = drawn("##... ##... ...#. ...#. #...#")
    assert by_rows(truth, truth, [2, 2, 1]) == [4, 4, 4, 3, 3]


def test_nothing_has_no_figures():
    assert ObjectRows().finish().tolist() == [0] * 5
    nothing = np.zeros((4, 4), np.uint8)
    assert by_rows(nothing, nothing) == [0] * 5
    none = ObjectScores("house", 0, 0, 0, 0, 0)
    assert all(map(math.isnan, (none.precision, none.recall, none.f1)))
    missed = ObjectScores("house", 2, 0, 0, 0, 0)
    assert (missed.recall, missed.f1) == (0, 0)
    assert math.isnan(missed.precision)
    some = ObjectScores("house", 4, 5, 3, 0, 0)
    assert (some.precision, some.recall, some.f1) == (3 / 5, 3 / 4, pytest.approx(2 * 3 / 9))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6])
def test_what_is_remembered_does_not_grow_with_the_height_of_a_tile(share):
    random = np.random.default_rng(1)
    rows, width, held = ObjectRows(), 40, []
    for _ in range(200):
        truth, mapped = (random.random((2, 4, width)) < share).astype(np.uint8)
        truth[:, :3] = 1  # an object as high as the tile, which may have pairs with all
        mapped[:, 0] = 1
        rows.add(mapped, truth)
        held.append(len(rows._truth.areas) + len(rows._map.areas) + len(rows._pairs))
    assert max(held) < 4 * width
    assert max(held[100:]) <= 1.5 * max(held[:100])
