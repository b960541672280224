import numpy as np
import pytest

from mobanet.rasters.blocks import BLOCK, block_shape, origin_of, summarise
from mobanet.rasters.ground import MOST, STEP, Ground, block_heights, radius_of
from mobanet.synthetic.scene import render_tile

SIZE = 840
PLANES = {"thirty_metres": (30, 0, 0), "mountains": (300, 0, 0), "slope": (0, 0.03, -0.02), "all": (-80, -0.02, 0.025)}


def in_chunks(values, valid=None, size=256):
    def rows():
        for top in range(0, len(values), size):
            yield values[top : top + size], None if valid is None else valid[top : top + size]

    return rows


def heights(values, valid=None, origin=(0, 0), radius=STEP):
    blocks = summarise(in_chunks(values, valid), *values.shape[:2], origin)
    return Ground.fitted(blocks, values.shape[:2], origin, radius).heights(values, valid, 0, 0)


@pytest.fixture(scope="module")
def surface():
    """Of a city on a hill, (H, W, 1) float32, in metres."""
    return render_tile(3, SIZE).dsm[:, :, None]


@pytest.fixture(scope="module")
def city():
    return render_tile(4, SIZE)


@pytest.mark.parametrize("chunk", [1, 7, 256, 1000])
def test_blocks_hold_what_numpy_finds_however_rows_come(chunk):
    rng = np.random.default_rng(0)
    values, valid, origin = rng.normal(400, 9, (53, 75, 2)).astype(np.float32), rng.random((53, 75)) < 0.7, (-1003, 21)
    valid[:8, :16] = False
    blocks = summarise(in_chunks(values, valid, chunk), 53, 75, origin)
    rows, columns = (np.arange(n) + start for n, start in zip((53, 75), origin, strict=True))
    numbers = [np.unique(place // BLOCK) for place in (rows, columns)]
    assert blocks.shape == (*map(len, numbers), 5) == (*block_shape((53, 75), origin), 5)
    for i, row in enumerate(numbers[0]):
        for j, column in enumerate(numbers[1]):
            here = np.ix_(rows // BLOCK == row, columns // BLOCK == column)
            there = np.argwhere(valid[here])
            if not len(there):
                assert not blocks[i, j].any()
                continue
            middle = (
                there.mean(0)
                + 0.5
                + [(rows[rows // BLOCK == row] % BLOCK)[0], (columns[columns // BLOCK == column] % BLOCK)[0]]
            )
            assert blocks[i, j] == pytest.approx([len(there), *middle, *values[here][valid[here]].mean(0)], rel=1e-6)


def test_blocks_of_a_whole_raster_are_those_of_one_that_is_valid_everywhere(surface):
    origin = (5, 900)
    whole = summarise(in_chunks(surface), SIZE, SIZE, origin)
    assert np.array_equal(whole, summarise(in_chunks(surface, np.ones((SIZE, SIZE), bool)), SIZE, SIZE, origin))


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
def test_heights_are_the_same_on_any_plane(plane, surface):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    added = (plane[0] + plane[1] * rows + plane[2] * columns)[:, :, None].astype(np.float32)
    off = np.abs(heights(surface + added) - heights(surface))
    assert off.max() < 0.2
    assert off[STEP:-STEP, STEP:-STEP].max() < 0.03  # metres, of up to 38 that the slope rises


@pytest.mark.parametrize("window", [(0, 0, 800, 830), (20, 17, 800, 820)])
def test_heights_do_not_depend_on_how_a_raster_is_cut(window, surface):
    top, left, height, width = window
    origin = (-51_234, 7_321)
    whole = heights(surface, origin=origin)[top : top + height, left : left + width]
    cut = surface[top : top + height, left : left + width]
    found = heights(cut, origin=(origin[0] + top, origin[1] + left))
    rim = STEP + STEP // 2  # a pixel lies between nodes that see as far as the radius
    assert np.abs(found - whole)[rim:-rim, rim:-rim].max() < 1e-4
    assert np.abs(found - whole).max() > 1e-3  # so that this is no test of two equal rasters


def test_heights_scale_with_the_unit(surface):
    assert np.abs(heights(surface * 3.28) - heights(surface) * 3.28).max() < 1e-3


def test_the_ground_is_near_the_ground(city):
    """Of a city whose true heights are known; in metres, of houses of ten."""
    found, true = heights(city.dsm[:, :, None])[:, :, 0], city.ndsm / 10
    low = city.ndsm < 5
    assert abs(np.median(found[low])) < 1.5
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.97
    absolute = city.dsm - np.median(city.dsm)
    assert np.corrcoef(absolute.ravel(), true.ravel())[0, 1] < 0.9


def test_a_hall_as_wide_as_half_the_radius_stands_on_the_ground_around_it():
    values = np.zeros((SIZE, SIZE, 1), np.float32)
    values[320:448, 300:480] = 12
    found = heights(values)
    assert found[384, 384, 0] == pytest.approx(12, abs=0.7)
    assert np.abs(found[values == 0]).max() < 0.7


def test_a_few_pits_do_not_pull_the_ground_down():
    rng = np.random.default_rng(1)
    values = rng.normal(50, 0.1, (SIZE, SIZE, 1)).astype(np.float32)
    for row, column in rng.integers(0, SIZE // BLOCK, (20, 2)) * BLOCK:
        values[row : row + BLOCK, column : column + BLOCK] -= 20
    assert abs(np.median(heights(values))) < 1.0


def test_what_was_not_measured_changes_nothing_and_is_zero(surface):
    valid = np.ones((SIZE, SIZE), bool)
    valid[100:140, 500:620] = False
    holed = surface.copy()
    holed[~valid] = -9999
    found = heights(holed, valid)
    assert not found[~valid].any()
    assert np.abs(found - heights(surface))[valid].max() < 2
    holed[~valid] = 1e20
    assert np.array_equal(heights(holed, valid), found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (16, 16), (17, 40)])
def test_small_rasters_have_a_ground(shape):
    values = np.full((*shape, 1), 314.0, np.float32)
    assert np.abs(heights(values, origin=(3, 500))).max() < 1e-4


def test_a_single_valid_pixel_is_ground():
    values, valid = np.zeros((300, 300, 1), np.float32), np.zeros((300, 300), bool)
    values[299, 5], valid[299, 5] = 77, True
    assert heights(values, valid)[299, 5] == pytest.approx(0, abs=1e-4)


def test_bands_have_a_ground_each(surface):
    two = np.concatenate([surface, surface * 2 + 9], axis=2)
    found = heights(two)
    assert np.abs(found[:, :, :1] - heights(surface)).max() < 1e-4
    assert np.abs(found[:, :, 1] - found[:, :, 0] * 2).max() < 1e-3


@pytest.mark.parametrize("radius", [STEP, 2 * STEP, 3 * STEP, 5 * STEP])
def test_a_window_is_a_part_of_the_whole_and_single_places_are_too(radius, surface):
    origin = (77, -1030)
    blocks = summarise(in_chunks(surface), SIZE, SIZE, origin)
    ground = Ground.fitted(blocks, (SIZE, SIZE), origin, radius)
    whole = ground.window(0, 0, SIZE, SIZE)
    assert np.array_equal(ground.window(511, 33, 100, 61), whole[511:611, 33:94])
    rows, columns = np.array([0, 300, 839]), np.array([839, 12, 5])
    assert ground.at(rows + 0.5, columns + 0.5) == pytest.approx(whole[rows, columns])
    assert block_heights(blocks, origin, ground).shape == (np.count_nonzero(blocks[:, :, 0]), 1)
    beyond = ground.window(800, 800, 200, 200)
    assert np.isfinite(beyond).all()
    assert np.array_equal(beyond[:40, :40], whole[800:, 800:])


def test_a_ground_comes_back_from_plain_numbers(surface):
    ground = Ground.fitted(summarise(in_chunks(surface), SIZE, SIZE, (0, 0)), (SIZE, SIZE), (0, 0), STEP)
    again = Ground.from_plain(ground.to_plain())
    assert np.array_equal(again.window(3, 4, 50, 60), ground.window(3, 4, 50, 60))
    for wrong in ({}, {**ground.to_plain(), "nodes": [[[1.0]]]}, {**ground.to_plain(), "spacing": 0}):
        with pytest.raises((KeyError, ValueError)):
            Ground.from_plain(wrong)


@pytest.mark.parametrize(
    ("gsd", "radius"), [(None, 256), (0.05, 1280), (0.09, 768), (0.2, 256), (0.25, 256), (10, 256), (1e-9, MOST)]
)
def test_a_radius_is_about_64_metres(gsd, radius):
    assert radius_of(gsd) == radius


def test_origins_count_pixels_of_absolute_coordinates():
    assert origin_of((0.05, 0, 366676.2, 0, -0.05, 5808000.15)) == (-116160003, 7333524)
    assert origin_of(None) == origin_of((1.0, 0.2, 100, -0.2, -1.0, 300)) == (0, 0)
