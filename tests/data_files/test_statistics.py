import numpy as np
import pytest

from mobanet.rasters.statistics import describe


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("masked", [False, True])
def test_against_numpy(dtype, masked, monkeypatch):
    monkeypatch.setattr("mobanet.rasters.strips._STRIP", 1000)
    random = np.random.default_rng(1)
    plane = random.integers(3, 250, (90, 70)).astype(dtype)
    valid = random.random(plane.shape) < 0.3 if masked else None
    values = plane.ravel() if valid is None else plane[valid]
    figures = describe(plane, valid)
    assert figures.count == values.size
    assert figures.mean == pytest.approx(values.mean(dtype=np.float64))
    assert figures.std == pytest.approx(values.std(dtype=np.float64))
    assert (figures.minimum, figures.maximum) == (values.min(), values.max())
    assert (figures.p2, figures.p50, figures.p98) == pytest.approx(tuple(np.percentile(values, (2, 50, 98))))


def test_large_float_band_is_sampled(monkeypatch):
    monkeypatch.setattr("mobanet.rasters.statistics.SAMPLE", 2000)
    plane = np.tile(np.arange(300, dtype=np.float32), (200, 1))  # a step that divides the width would see few values
    figures = describe(plane, None)
    assert figures.mean == pytest.approx(149.5)
    assert figures.p50 == pytest.approx(149.5, abs=8)
    assert figures.p98 == pytest.approx(293, abs=8)


@pytest.mark.parametrize("step", range(2, 13))
def test_stripes_are_sampled_whatever_their_period(step, monkeypatch):
    monkeypatch.setattr("mobanet.rasters.statistics.SAMPLE", 24 * 500 // step)
    for period in (2, 3, 4, 6, 8, 12):
        stripes = (np.arange(24) % period == 0).astype(np.float32)
        figures = describe(np.tile(stripes, (500, 1)), None)
        assert (figures.p2, figures.p98) == (0, 1), period


def test_few_valid_pixels(monkeypatch):
    monkeypatch.setattr("mobanet.rasters.statistics.SAMPLE", 4)
    valid = np.zeros((50, 50), bool)
    valid[3, 3:20] = True
    figures = describe(np.full((50, 50), 5, np.float32), valid)
    assert (figures.count, figures.p2, figures.std) == (17, 5, 0)
