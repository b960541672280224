import numpy as np
import pytest
import torch

from mobanet.data.reading import grid
from mobanet.stitching.blending import Mosaic
from mobanet.stitching.windows import Stitcher


@pytest.mark.parametrize(
    ("height", "width", "size", "stride"), [(40, 57, 16, 8), (16, 16, 16, 4), (33, 20, 16, 16), (50, 31, 16, 5)]
)
def test_strips_equal_a_whole_canvas(height, width, size, stride):
    generator = torch.Generator().manual_seed(3)
    canvas, windows = torch.zeros(4, height, width), torch.zeros(height, width)
    mosaic = Mosaic(4, size, 0, width, None, "float32", torch.device("cpu"))
    shares = []
    label = torch.randint(0, 4, (height, width), generator=generator)
    stitcher, strips = Stitcher(4), []
    for top, left in grid(height, width, size, stride):
        logits = torch.randn(4, size, size, generator=generator)
        canvas[:, top : top + size, left : left + size] += logits
        windows[top : top + size, left : left + size] += 1
        shares.append(mosaic.add(top, left, logits, torch.zeros(size, size, dtype=torch.uint8), None))
        part = label[top : top + size, left : left + size]
        strips += stitcher.add("a", (height, width), (top, left, size, size), logits, part)
    assert stitcher.finish() == []
    assert [s.top for s in strips] == sorted({s.top for s in strips})
    assert torch.equal(torch.cat([s.prediction for s in strips]), canvas.argmax(0).to(torch.uint8))
    assert torch.equal(torch.cat([s.label for s in strips]), label)
    confidence = torch.cat([s.confidence for s in strips])
    torch.testing.assert_close(confidence, (canvas / windows).softmax(0).amax(0))
    # and bit for bit what a map of the same windows says
    mapped = torch.cat([rows.probabilities for rows in [*shares, mosaic.finish()] if rows], 1)
    assert torch.equal(confidence, mapped[:, :height].amax(0))


def test_tiles_follow_each_other_and_a_small_tile_is_cut_to_its_size():
    stitcher = Stitcher(2)
    logits = torch.zeros(2, 8, 8)
    logits[1] = 1
    label = torch.full((8, 8), 255)
    label[:5, :6] = 1
    first = stitcher.add("small", (5, 6), (0, 0, 8, 8), logits, label)
    assert [(s.tile, tuple(s.prediction.shape)) for s in first] == [("small", (5, 6))]
    assert (first[0].label == 1).all()
    assert stitcher.add("next", (16, 8), (0, 0, 8, 8), logits, label) == []
    unfinished = stitcher.finish()
    assert [(s.tile, s.prediction.shape[0]) for s in unfinished] == [("next", 8)]


def test_grid_covers_and_shifts_the_last_window_back():
    assert grid(256, 256, 256, 32) == [(0, 0)]
    assert grid(300, 256, 256, 256) == [(0, 0), (44, 0)]
    assert grid(100, 300, 256, 128) == [(0, 0), (0, 44)]
    # mmsegmentation's counts for 512-pixel cover of 6000 x 6000
    assert len(grid(6000, 6000, 512, 512)) == 144
    covered = np.zeros((47, 61), int)
    for top, left in grid(47, 61, 16, 11):
        covered[top : top + 16, left : left + 16] += 1
        assert top + 16 <= 47
        assert left + 16 <= 61
    assert covered.min() >= 1
