import math

import numpy as np
import pytest
import torch

from mobanet.data.reading import grid
from mobanet.prediction.parts import PartRun, parts_of
from mobanet.rasters.categories import UNITS
from mobanet.stitching.blending import NOTHING, Mosaic, window_weights

CLASSES, SIZE = 3, 8


def windows_of(corners, seed=0):
    """Logits, scenario numbers and wanted pixels of each window, the same wherever a job begins."""
    out = {}
    for top, left in corners:
        random = torch.Generator().manual_seed(seed + 10_000 * top + left)
        logits = torch.randn(CLASSES, SIZE, SIZE, generator=random)
        scenario = torch.randint(0, 7, (SIZE, SIZE), generator=random).to(torch.uint8)
        wanted = torch.rand(SIZE, SIZE, generator=random) < 0.7 if (top + left) % 3 else None
        out[top, left] = logits, scenario, wanted
    return out


def brute_force(windows, height, width, weights):
    """The same map from a canvas of the whole scene: classes, scenarios, probabilities."""
    logits, total = torch.zeros(CLASSES, height + SIZE, width + SIZE), torch.zeros(height + SIZE, width + SIZE)
    most, wanted = torch.zeros_like(total), torch.zeros_like(total, dtype=torch.bool)
    scenarios = torch.full_like(total, NOTHING, dtype=torch.uint8)
    weights = torch.ones(SIZE, SIZE) if weights is None else weights
    for (top, left), (x, scenario, mask) in windows.items():
        here = slice(top, top + SIZE), slice(left, left + SIZE)
        logits[:, *here] += x * weights
        total[here] += weights
        scenarios[here] = torch.where(weights > most[here], scenario, scenarios[here])
        most[here] = torch.maximum(most[here], weights)
        wanted[here] |= torch.ones(SIZE, SIZE, dtype=torch.bool) if mask is None else mask
    classes = torch.where(wanted, logits.argmax(0).to(torch.uint8), NOTHING)
    scenarios = torch.where(wanted, scenarios, NOTHING)
    shares = (logits / total.clamp(min=1e-6)).softmax(0)
    return classes[:height, :width], scenarios[:height, :width], shares[:, :height, :width]


def mosaic_of(windows, left=0, width=None, blend="smooth", probabilities="float32", temperatures=None):
    """All rows that come out, and where each piece began."""
    how = window_weights(blend, SIZE), probabilities, torch.device("cpu"), temperatures
    mosaic = Mosaic(CLASSES, SIZE, left, width, *how)
    found = [mosaic.add(top, column, *pixels) for (top, column), pixels in windows.items()]
    return [rows for rows in (*found, mosaic.finish()) if rows is not None]


@pytest.mark.parametrize("blend", ["smooth", "sum"])
def test_calibrated_probabilities_are_at_the_mean_inverse_temperature_and_classes_stay(blend):
    weights, size = window_weights(blend, SIZE), 3 * SIZE + 5
    windows = windows_of(grid(size, size, SIZE, SIZE // 2))
    temperatures = torch.ones(256)
    temperatures[:7] = torch.tensor([0.5, 2.0, 1.0, 3.0, 1.3, 0.25, 8.0])
    logits, total, inverse = (torch.zeros(CLASSES, size, size), *torch.zeros(2, size, size))
    for (top, left), (x, scenario, _) in windows.items():
        here = slice(top, top + SIZE), slice(left, left + SIZE)
        own = torch.ones(SIZE, SIZE) if weights is None else weights
        logits[:, *here] += x * own
        total[here] += own
        inverse[here] += own / temperatures[scenario.long()]
    expected = (logits / total * (inverse / total)).softmax(0)
    plain, found = mosaic_of(windows, 0, size, blend), mosaic_of(windows, 0, size, blend, temperatures=temperatures)
    for one, other in zip(plain, found, strict=True):
        assert torch.equal(one.classes, other.classes)
        assert torch.equal(one.scenarios, other.scenarios)
        known = other.classes != NOTHING
        part = expected[:, other.top : other.top + len(known)]
        torch.testing.assert_close(other.probabilities[:, known], part[:, known])
        assert other.probabilities[:, ~known].isnan().all()
        assert not torch.allclose(one.probabilities[:, known], other.probabilities[:, known], atol=0.01)
    # a temperature of 1 changes no digit, and one that all windows share is that one
    for number, temperature in ((2, 1.0), (1, 2.0)):
        same = {corner: (x, torch.full_like(s, number), mask) for corner, (x, s, mask) in windows.items()}
        for one, other in zip(
            mosaic_of(same, 0, size, blend), mosaic_of(same, 0, size, blend, temperatures=temperatures), strict=True
        ):
            known = other.classes != NOTHING
            if temperature == 1:
                assert torch.equal(one.probabilities[:, known], other.probabilities[:, known])
            else:
                part = (logits / total / temperature).softmax(0)[:, other.top : other.top + len(known)]
                torch.testing.assert_close(other.probabilities[:, known], part[:, known])


def assert_same(rows, expected, left=0):
    """Rows are in order, each once, and equal to the canvas."""
    classes, scenarios, shares = expected
    behind = -1
    for each in rows:
        assert each.top >= behind
        behind = each.top + each.classes.shape[0]
        last = min(behind, classes.shape[0])
        here = slice(each.top, last), slice(left, left + each.classes.shape[1])
        assert torch.equal(each.classes[: last - each.top], classes[here])
        assert torch.equal(each.scenarios[: last - each.top], scenarios[here])
        if each.probabilities is not None:
            found, known = each.probabilities[:, : last - each.top], classes[here] != NOTHING
            assert found[:, ~known].isnan().all()
            # softmax of arrays of other shapes may round otherwise; the sums, as classes show, are the same
            assert torch.allclose(found[:, known], shares[:, *here][:, known], atol=1e-6, rtol=0)


@pytest.mark.parametrize("blend", ["smooth", "sum"])
@pytest.mark.parametrize("stride", range(1, SIZE + 1))
@pytest.mark.parametrize(("height", "width"), [(21, 19), (8, 8), (5, 6), (9, 30), (31, 7)])
def test_rows_are_those_of_a_canvas_of_the_whole_scene(height, width, stride, blend):
    windows = windows_of(grid(height, width, SIZE, stride))
    rows = mosaic_of(windows, width=width, blend=blend)
    assert_same(rows, brute_force(windows, height, width, window_weights(blend, SIZE)))
    covered = [row for each in rows for row in range(each.top, each.top + each.classes.shape[0])]
    assert covered[:height] == list(range(height))
    assert covered == sorted(set(covered))


def test_rows_come_as_soon_as_no_window_can_touch_them():
    windows = windows_of(grid(20, 12, SIZE, 4))
    mosaic = Mosaic(CLASSES, SIZE, 0, 12, None, "none", torch.device("cpu"))
    given = [(corner, mosaic.add(*corner, *pixels)) for corner, pixels in windows.items()]
    assert [(corner, rows.top, len(rows.classes)) for corner, rows in given if rows] == [
        ((4, 0), 0, 4),
        ((8, 0), 4, 4),
        ((12, 0), 8, 4),
    ]
    last = mosaic.finish()
    assert (last.top, len(last.classes), last.probabilities) == (12, SIZE, None)


def test_a_mosaic_without_windows_has_no_rows():
    assert Mosaic(CLASSES, SIZE, 0, 12, None, "none", torch.device("cpu")).finish() is None


@pytest.mark.parametrize("blend", ["smooth", "sum"])
@pytest.mark.parametrize("stride", [1, 3, 5, 8])
def test_windows_that_are_left_out_leave_nothing(stride, blend):
    """Where nodata has no windows, for more than a window's height too."""
    corners = grid(60, 27, SIZE, stride)
    kept = [(top, left) for top, left in corners if not 11 <= top < 40 and (top + 3 * left) % 4]
    windows = windows_of(kept)
    rows = mosaic_of(windows, width=27, blend=blend)
    expected = brute_force(windows, 60, 27, window_weights(blend, SIZE))
    assert_same(rows, expected)
    came = {row for each in rows for row in range(each.top, each.top + each.classes.shape[0])}
    assert set(np.flatnonzero((expected[0] != NOTHING).any(1))) <= came
    assert len(came) < 60


@pytest.mark.parametrize("blend", ["smooth", "sum"])
@pytest.mark.parametrize(("height", "width", "strip", "panel"), [(37, 33, 5, 33), (37, 33, 11, 10), (20, 40, 20, 7)])
def test_any_job_gives_the_same_bits_as_the_whole_scene(height, width, strip, panel, blend):
    """A panel, and a mosaic that begins further down."""
    for stride in (2, 4, 7):
        everything = windows_of(grid(height, width, SIZE, stride))
        expected = brute_force(everything, height, width, window_weights(blend, SIZE))
        parts = parts_of(0, height, width, strip, panel)
        for first in range(len(parts)):
            same = [part for part in parts[first : first + 3] if part.panel == parts[first].panel]
            job = PartRun(tuple(same))
            windows = {corner: everything[corner] for corner in job.windows(height, width, SIZE, stride)}
            left = same[0].left
            rows = mosaic_of(windows, left, same[0].right - left, blend)
            inside = [cut_to(each, same[0].top, same[-1].bottom) for each in rows]
            inside = [each for each in inside if each is not None]
            assert sum(len(each.classes) for each in inside) == same[-1].bottom - same[0].top
            assert_same(inside, expected, left)


def cut_to(rows, top, bottom):
    """Those of the rows that are in a job; above and below, not all of their windows are."""
    first, last = max(rows.top, top), min(rows.top + len(rows.classes), bottom)
    if first >= last:
        return None
    here = slice(first - rows.top, last - rows.top)
    shares = None if rows.probabilities is None else rows.probabilities[:, here]
    return type(rows)(first, rows.classes[here], rows.scenarios[here], shares)


def test_smooth_weights_fall_from_the_middle_to_nearly_nothing():
    weights = window_weights("smooth", 64)
    assert weights.dtype == torch.float32
    assert torch.equal(weights, weights.T)
    assert torch.equal(weights, weights.flip(0))
    assert weights.max() > 0.99
    assert 0 < weights.min() < 1e-5
    assert (weights[31].diff()[:31] >= 0).all()
    assert window_weights("sum", 64) is None
    # half-overlapping windows add up to one but where the least weight holds
    side = weights[31] / weights[31, 31]
    assert (side[:32] + side[32:])[2:-2].numpy() == pytest.approx(np.full(28, (side[:32] + side[32:])[16]), rel=1e-5)


def test_probabilities_are_of_the_weighted_mean_of_logits():
    """Two windows of different logits: between them as far as their weights say."""
    low, high = torch.zeros(CLASSES, SIZE, SIZE), torch.zeros(CLASSES, SIZE, SIZE)
    high[1] = 4
    number = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    for blend in ("smooth", "sum"):
        (rows,) = mosaic_of({(0, 0): (low, number, None), (0, 4): (high, number + 1, None)}, width=12, blend=blend)
        weights = window_weights(blend, SIZE)
        weights = torch.ones(SIZE, SIZE) if weights is None else weights
        for column in (0, 3, 4, 5, 7, 11):
            one, other = (float(weights[2, c]) if 0 <= c < SIZE else 0.0 for c in (column, column - 4))
            mean = 4 * other / (one + other)
            assert float(rows.probabilities[1, 2, column]) == pytest.approx(
                math.exp(mean) / (math.exp(mean) + 2), abs=1e-5
            )
            assert int(rows.scenarios[2, column]) == int(other > one)
        assert torch.allclose(rows.probabilities.sum(0), torch.ones(SIZE, 12))


@pytest.mark.parametrize("blend", ["smooth", "sum"])
def test_probabilities_in_eight_bits_are_the_floats_rounded(blend):
    size, random = 40, torch.Generator().manual_seed(1)  # more rows than are computed at once
    pieces = []
    windows = {
        corner: (
            torch.randn(CLASSES, size, size, generator=random) * 3,
            torch.zeros(size, size, dtype=torch.uint8),
            torch.rand(size, size, generator=random) < 0.8,
        )
        for corner in grid(97, 71, size, 25)
    }
    for kind in ("float32", "uint8"):
        mosaic = Mosaic(CLASSES, size, 0, 71, window_weights(blend, size), kind, torch.device("cpu"))
        found = [mosaic.add(*corner, *pixels) for corner, pixels in windows.items()]
        pieces.append([rows for rows in (*found, mosaic.finish()) if rows is not None])
    for floats, bytes_ in zip(*pieces, strict=True):
        assert torch.equal(floats.classes, bytes_.classes)
        known = floats.classes != NOTHING
        assert (floats.probabilities.dtype, bytes_.probabilities.dtype) == (torch.float32, torch.uint8)
        assert torch.equal(
            bytes_.probabilities[:, known], (floats.probabilities[:, known] * UNITS).round().to(torch.uint8)
        )
        assert (bytes_.probabilities[:, ~known] == NOTHING).all()
        assert floats.probabilities[:, ~known].isnan().all()
        # the most probable class is the map's
        assert torch.equal(floats.probabilities.argmax(0)[known], floats.classes[known].long())


@pytest.mark.parametrize("temperatures", [None, 2.5])
@pytest.mark.parametrize("confidence", ["float32", "uint8"])
@pytest.mark.parametrize("probabilities", ["none", "float32", "uint8"])
def test_confidence_is_the_highest_probability_with_or_without_the_others(probabilities, confidence, temperatures):
    size, random = 40, torch.Generator().manual_seed(2)
    at = None if temperatures is None else torch.full((256,), temperatures)
    more = window_weights("smooth", size)
    wanted = confidence if probabilities == "none" else probabilities
    alone = Mosaic(CLASSES, size, 0, 71, more, wanted, torch.device("cpu"), at)
    both = Mosaic(CLASSES, size, 0, 71, more, probabilities, torch.device("cpu"), at, confidence)
    pieces = ([], [])
    for corner in grid(97, 71, size, 25):
        logits = torch.randn(CLASSES, size, size, generator=random) * 3
        pixels = torch.zeros(size, size, dtype=torch.uint8), torch.rand(size, size, generator=random) < 0.8
        for mosaic, found in zip((alone, both), pieces, strict=True):
            found.append(mosaic.add(*corner, logits, *pixels))
    for found, mosaic in zip(pieces, (alone, both), strict=True):
        found.append(mosaic.finish())
    for one, other in zip(*pieces, strict=True):
        if one is None:
            assert other is None
            continue
        known = one.classes != NOTHING
        assert other.confidence.dtype == (torch.uint8 if confidence == "uint8" else torch.float32)
        highest, unknown = other.confidence[known], other.confidence[~known]
        assert unknown.isnan().all() if confidence == "float32" else (unknown == NOTHING).all()
        if wanted == confidence:
            assert torch.equal(highest, one.probabilities.amax(0)[known])
        else:
            units = {"uint8": UNITS, "float32": 1}
            expected = one.probabilities.amax(0)[known] / units[wanted]
            assert (highest / units[confidence] - expected).abs().max() <= 0.5 / UNITS + 1e-6
        if probabilities == "none":
            assert other.probabilities is None
        else:
            assert torch.equal(other.probabilities[:, known], one.probabilities[:, known])
        assert one.confidence is None
