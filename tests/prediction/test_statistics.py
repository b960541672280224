import numpy as np
import pytest

from mobanet.rasters.statistics import describe, describe_rows

SHAPE = (60, 47)


def cut(values, valid, heights):
    """Rows of so many pixels each, again and again, anew at each call."""

    def rows():
        top, turn = 0, 0
        while top < len(values):
            bottom = top + heights[turn % len(heights)]
            yield values[top:bottom], None if valid is None else valid[top:bottom]
            top, turn = bottom, turn + 1

    return rows


def raster(dtype, seed=0):
    """(H, W, 3) values and (H, W) bool, without anything valid in some rows."""
    random = np.random.default_rng(seed)
    high = 60_000 if dtype == np.uint16 else 250
    values = random.integers(3, high, (*SHAPE, 3)).astype(dtype)
    if dtype == np.float32:
        values += random.random(values.shape, np.float32)
    valid = random.random(SHAPE) < 0.4
    valid[10:25] = False
    return values, valid


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("masked", [False, True])
def test_any_cutting_of_rows_gives_what_describe_gives_of_each_band(dtype, masked, monkeypatch):
    monkeypatch.setattr("mobanet.rasters.statistics.SAMPLE", 300)  # floats are sampled
    values, valid = raster(np.dtype(dtype))
    valid = valid if masked else None
    expected = [describe(band, valid) for band in np.moveaxis(values, 2, 0)]
    for heights in ([60], [1], [7], [3, 20, 1], [59]):
        found = describe_rows(cut(values, valid, heights), values.dtype)
        assert len(found) == 3
        for figures, band in zip(found, expected, strict=True):
            # sums in another order differ in the last digits, all else is the same
            assert (figures.mean, figures.std) == pytest.approx((band.mean, band.std), rel=1e-12)
            assert (figures.count, figures.minimum, figures.maximum) == (band.count, band.minimum, band.maximum)
            assert (figures.p2, figures.p50, figures.p98) == (band.p2, band.p50, band.p98)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("masked", [False, True])
def test_against_numpy(dtype, masked):
    values, valid = raster(np.dtype(dtype), seed=1)
    found = describe_rows(cut(values, valid if masked else None, [9]), values.dtype)
    for figures, band in zip(found, np.moveaxis(values, 2, 0), strict=True):
        pixels = (band[valid] if masked else band.ravel()).astype(np.float64)
        assert figures.count == pixels.size
        assert (figures.mean, figures.std) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-9)
        assert (figures.minimum, figures.maximum) == (pixels.min(), pixels.max())
        assert (figures.p2, figures.p50, figures.p98) == pytest.approx(tuple(np.percentile(pixels, (2, 50, 98))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_raster_without_valid_pixels_has_no_figures(dtype):
    values, _ = raster(np.dtype(dtype))
    assert describe_rows(cut(values, np.zeros(SHAPE, bool), [8]), values.dtype) == ()


def test_what_is_not_valid_does_not_count_whatever_it_holds(recwarn):
    values, valid = raster(np.dtype(np.float32))
    expected = describe_rows(cut(values, valid, [8]), values.dtype)
    values[~valid] = np.nan
    assert describe_rows(cut(values, valid, [8]), values.dtype) == expected
    values[~valid] = 3e38
    assert describe_rows(cut(values, valid, [8]), values.dtype) == expected
    assert not [str(warning.message) for warning in recwarn]
    assert all(np.isfinite(list(vars(figures).values())).all() for figures in expected)


def test_few_valid_pixels_between_the_sampled_ones(monkeypatch):
    monkeypatch.setattr("mobanet.rasters.statistics.SAMPLE", 2)
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(*SHAPE, 1)
    valid = np.zeros(SHAPE, bool)
    chosen = np.arange(1001, 1033, 4)  # eight pixels: every fourth of the raster is sampled, none of these
    valid.ravel()[chosen] = True
    for heights in ([60], [1], [31]):
        (figures,) = describe_rows(cut(values, valid, heights), values.dtype)
        assert (figures.count, figures.p50, figures.minimum) == (8, np.median(chosen), 1001)


def test_columns_are_not_sampled_alone(monkeypatch):
    """A step that divides the width would see the same columns in every row."""
    monkeypatch.setattr("mobanet.rasters.statistics.SAMPLE", 1000)
    values = np.tile(np.arange(100, dtype=np.float32), (100, 1))[:, :, None]
    (figures,) = describe_rows(cut(values, None, [33]), values.dtype)
    assert (figures.p2, figures.p50, figures.p98) == pytest.approx((1.98, 49.5, 97.02), abs=1.5)
