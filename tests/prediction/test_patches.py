"""Small pieces and holes given away strip by strip, held against a plain way that looks at the whole map each time."""

import numpy as np
import pytest

from mobanet.prediction.patches import generalised
from mobanet.rasters.components import label_pieces
from tests.prediction.test_polygons import HARD, random_map, strips_of


def neighbours(labels, number):
    """Numbers beside a piece, with the sides of pixels between them: along columns and along rows."""
    found = {}
    for own, other, along in (
        (labels[:, :-1], labels[:, 1:], 0),
        (labels[:, 1:], labels[:, :-1], 0),
        (labels[:-1], labels[1:], 1),
        (labels[1:], labels[:-1], 1),
    ):
        for beside in other[(own == number) & (other != number) & (other > 0)].tolist():
            found.setdefault(beside, [0, 0])[along] += 1
    return found


def plainly_filled(classes, most, pixel):
    labels, values = label_pieces(classes)
    holes = []
    for number, value in enumerate(values, 1):
        rest, kinds = label_pieces(np.where(labels == number, 255, 0).astype(np.uint8))
        for hole in range(1, len(kinds) + 1):
            inside = rest == hole
            edge = inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any()
            if not edge and (classes[inside] != 255).all() and inside.sum() * pixel < most:
                holes.append((inside.sum(), inside, value))
    out = classes.copy()
    for _, inside, value in sorted(holes, key=lambda hole: hole[0]):
        out[inside] = value
    return out


def plainly_merged(classes, least, pixel, sides):
    classes = classes.copy()
    while True:
        labels, values = label_pieces(classes)
        sizes = np.bincount(labels.ravel(), minlength=len(values) + 1)
        for number in sorted(range(1, len(values) + 1), key=lambda k: (sizes[k], k)):
            found = neighbours(labels, number)
            if sizes[number] * pixel < least and found:
                length = {k: c * sides[1] + r * sides[0] for k, (c, r) in found.items()}
                classes[labels == number] = values[max(length, key=lambda k: (length[k], -k)) - 1]
                break
        else:
            return classes


def result(classes, step, least, most, pixel=1.0, sides=(1.0, 1.0)):
    found = generalised(strips_of(classes, step, area=pixel), sides, least, most)
    return np.concatenate([strip.classes for strip in found])


@pytest.mark.parametrize("seed", range(16))
def test_strips_do_what_the_whole_map_does(seed):
    generator = np.random.default_rng(seed)
    classes = random_map(generator, *generator.integers(1, 22, 2).tolist(), gaps=seed % 2 == 0)
    least, most, sides = generator.integers(1, 12), generator.integers(1, 25), (1.0, 1.0 + seed % 3)
    expected = plainly_merged(plainly_filled(classes, most, 1.5), least, 1.5, sides)
    for step in (1, 3, 50):
        assert np.array_equal(result(classes, step, least, most, 1.5, sides), expected)


@pytest.mark.parametrize("seed", range(16))
def test_holes_in_holes(seed):
    """Few classes in large patches with noise, so that many pieces enclose others."""
    generator = np.random.default_rng(seed)
    classes = np.kron(generator.integers(0, 2, (5, 5)), np.ones((4, 4))).astype(np.uint8)
    noise = generator.random(classes.shape) < 0.25
    classes[noise] = generator.integers(0, 3, noise.sum())
    for most in (2, 4, 9, 40):
        expected = plainly_filled(classes, most, 1)
        assert np.array_equal(result(classes, 1, 0, most), expected)
        assert np.array_equal(result(classes, 6, 0, most), expected)


def rings(size):
    """Rings of classes in turn, one pixel wide, around one another."""
    rows, columns = np.indices((size, size))
    return (np.minimum.reduce([rows, columns, size - 1 - rows, size - 1 - columns]) % 3).astype(np.uint8)


@pytest.mark.parametrize("most", [1, 2, 10, 26, 50, 1000])
def test_rings_around_rings(most):
    classes = rings(13)
    assert np.array_equal(result(classes, 4, 0, most), plainly_filled(classes, most, 1))


@pytest.mark.parametrize("name", HARD)
def test_hard_maps(name):
    classes = HARD[name]
    for least, most in ((3, 0), (0, 30), (10_000, 0)):
        expected = plainly_merged(plainly_filled(classes, most, 1), least, 1, (1, 1)) if least < 100 else None
        found = result(classes, 5, least, most)
        assert np.array_equal(found == 255, classes == 255)
        assert expected is None or np.array_equal(found, expected)


def test_a_hole_with_nodata_in_it_stays():
    classes = np.zeros((7, 7), np.uint8)
    classes[2:5, 2:5] = 1
    assert (result(classes, 2, 0, 10) == 0).all()
    classes[3, 3] = 255
    assert np.array_equal(result(classes, 2, 0, 10), classes)


def test_a_piece_without_a_neighbour_stays():
    classes = np.full((5, 5), 255, np.uint8)
    classes[2, 2] = 1
    assert np.array_equal(result(classes, 2, 100, 100), classes)
