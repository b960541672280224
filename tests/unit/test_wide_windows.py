"""Windows with their surroundings: the test's own windows in the middle, the tile's pixels around, nothing beyond."""

import numpy as np
import pytest
import torch

from mobanet.data.options import EvaluationSettings
from mobanet.data.wide_windows import marks_of
from mobanet.evaluation.pixel_noise import Key, normal, uniform
from mobanet.rasters.contents import Modality
from mobanet.store.arrays import read_array

NAMES = ("rgb", "ir", "dsm")


@pytest.fixture
def opened(make_data):
    def make(**options):
        data = make_data(evaluation=EvaluationSettings(window=64, test_stride=48, batch_size=3), **options)
        data.prepare_data()
        data.setup("test")
        return data

    return make


@pytest.mark.parametrize("margin", [0, 16])
def test_the_middle_is_the_window_of_the_test_and_the_rim_is_the_tiles(opened, margin):
    data = opened()
    (tile,) = data.tiles("test")
    whole = read_array(tile, "rgb", slice(0, tile.height), slice(0, tile.width))
    around = np.pad(whole, ((margin, margin), (margin, margin), (0, 0)))
    count = 0
    for plain, wide in zip(data.test_dataloader(), data.wide_test_dataloader(margin), strict=True):
        inner = np.s_[..., margin : margin + 64, margin : margin + 64]
        for name in NAMES:
            assert torch.equal(plain["inputs"][name], wide["inputs"][name][inner])
            assert torch.equal(plain["offset_scale"][name], wide["offset_scale"][name])
            expected = plain["valid"].get(name, torch.ones_like(wide["valid"][name][inner]))
            assert torch.equal(expected, wide["valid"][name][inner])
        for part in ("label", "available", "extent", "window"):
            assert torch.equal(plain[part], wide[part])
        assert plain["tile"] == wide["tile"]
        for i, (top, left, *_) in enumerate(plain["window"].tolist()):
            part = around[top : top + 64 + 2 * margin, left : left + 64 + 2 * margin]
            assert np.array_equal(wide["inputs"]["rgb"][i].permute(1, 2, 0), part)
            rows = np.arange(top - margin, top + 64 + margin)
            columns = np.arange(left - margin, left + 64 + margin)
            inside = ((rows >= 0) & (rows < 160))[:, None] & ((columns >= 0) & (columns < 160))
            assert np.array_equal(wide["valid"]["rgb"][i], inside.astype(np.uint8))
            count += 1
    assert count == 9


def test_marks_are_the_extremes_of_a_tile_and_a_bright_value_of_all(opened):
    data = opened(modalities=["rgb", "dsm"])
    data.setup("fit")
    tiles = [*data.tiles("test"), *data.tiles("train")]
    marks = marks_of("rgb", 3, tiles, None)
    assert marks.shape == (len(tiles), 3, 3)
    for tile, found in zip(tiles, marks, strict=True):
        pixels = read_array(tile, "rgb", slice(0, tile.height), slice(0, tile.width)).reshape(-1, 3)
        np.testing.assert_array_equal(found[:2], [pixels.min(0), pixels.max(0)])
    bright = np.median([[band.p98 for band in tile.modalities["rgb"].statistics] for tile in tiles], axis=0)
    np.testing.assert_allclose(marks[:, 2], np.broadcast_to(bright, (len(tiles), 3)))
    (batch, *_) = data.wide_test_dataloader(0)
    low, high = batch["marks"]["dsm"][0, :2, 0].tolist()  # of heights above the ground
    assert -5 < low < 1
    assert 3 < high < 40
    assert (marks_of("nir", 2, tiles, None) == 0).all()
    assert Modality("dsm", ("height",)).name in batch["marks"]


def test_a_pixels_number_is_its_own_wherever_a_window_begins():
    key = Key.of(7, "dsm", "2_13", "pixels")
    whole = uniform(key, torch.arange(-20, 300), torch.arange(500))
    part = uniform(key, torch.arange(30, 80), torch.arange(123, 321))
    assert torch.equal(whole[50:100, 123:321], part)
    other = Key.of(8, "dsm", "2_13", "pixels")
    assert not torch.equal(part, uniform(other, torch.arange(30, 80), torch.arange(123, 321)))
    # so that figures of different versions and machines compare
    pinned = [0.4236535429954529, 0.3910267949104309, 0.9640529751777649, 0.4354061484336853]
    assert uniform(key, torch.arange(2), torch.arange(2)).double().flatten().tolist() == pinned


def test_numbers_are_uniform_within_0_and_1_and_do_not_hang_together():
    drawn = uniform(Key.of(0), torch.arange(1000), torch.arange(1000))
    assert float(drawn.min()) > 0
    assert float(drawn.max()) < 1
    counts = torch.histc(drawn, 100, 0, 1)
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 150  # chi squared of 99 degrees of freedom: p < 0.001
    for down, right in ((0, 1), (1, 0), (1, 1), (64, 0), (0, 256), (1, -1)):
        moved = drawn.roll((down, right), (0, 1))
        together = torch.corrcoef(torch.stack([drawn.flatten(), moved.flatten()]))[0, 1]
        assert abs(float(together)) < 0.004  # four standard deviations
    lines = (drawn.mean(1), drawn.mean(0))
    assert all(float(line.std()) == pytest.approx((1 / 12 / 1000) ** 0.5, rel=0.1) for line in lines)
    assert len(drawn.flatten().unique()) > 900_000  # of 2^23 numbers


def test_normal_numbers_are_normal():
    drawn = normal(Key.of("x"), torch.arange(700), torch.arange(700)).double()
    assert float(drawn.mean()) == pytest.approx(0, abs=0.006)
    assert float(drawn.std()) == pytest.approx(1, abs=0.005)
    assert float((drawn**3).mean()) == pytest.approx(0, abs=0.02)
    assert float((drawn**4).mean()) == pytest.approx(3, abs=0.05)
    assert float(drawn.abs().max()) < 5.8
