import numpy as np
import pytest

from mobanet.prediction.coverage import SPECK, window_coverage

RGB, IR, DSM = 1, 2, 4  # bits
SIZE = 20


def area(rows=slice(None), columns=slice(None)):
    valid = np.zeros((SIZE, SIZE), bool)
    valid[rows, columns] = True
    return valid


LEFT, RIGHT, TOP = area(columns=slice(0, 8)), area(columns=slice(8, None)), area(rows=slice(0, 15))


def look(rgb=None, ir=None, dsm=None, given=RGB | IR | DSM, reference=0, coverage="pixel", gaps="nodata"):
    return window_coverage([rgb, ir, dsm], given, reference, coverage, gaps)


def scenario(found):
    """(h, w) bits that each pixel is predicted with."""
    return np.full((SIZE, SIZE), found.patterns[0]) if found.pixels is None else np.array(found.patterns)[found.pixels]


@pytest.mark.parametrize("coverage", ["pixel", "window"])
@pytest.mark.parametrize("gaps", ["nodata", "predict"])
def test_a_window_with_everything_is_predicted_once(coverage, gaps):
    for given in (RGB, RGB | DSM, RGB | IR | DSM):
        found = look(given=given, coverage=coverage, gaps=gaps)
        assert (found.patterns, found.pixels, found.wanted) == ((given,), None, None)


def test_what_is_not_given_is_not_looked_at():
    found = look(dsm=area(rows=slice(0, 0)), ir=LEFT, given=RGB)
    assert (found.patterns, found.pixels, found.wanted) == ((RGB,), None, None)


def test_each_pixel_takes_the_scenario_of_what_it_has():
    found = look(dsm=RIGHT)
    assert found.patterns == (RGB | IR | DSM, RGB | IR)  # the larger part first
    assert np.array_equal(scenario(found), np.where(RIGHT, RGB | IR | DSM, RGB | IR))
    assert found.pixels.dtype == np.int16
    assert found.wanted is None
    found = look(ir=TOP, dsm=LEFT)
    assert set(found.patterns) == {RGB, RGB | IR, RGB | DSM, RGB | IR | DSM}
    assert np.array_equal(scenario(found), RGB + IR * TOP + DSM * LEFT)


def test_a_window_without_a_modality_is_predicted_without_it():
    found = look(dsm=area(rows=slice(0, 0)))
    assert (found.patterns, found.pixels, found.wanted) == ((RGB | IR,), None, None)
    assert look(dsm=area(rows=slice(0, 0)), given=RGB | DSM, coverage="window").patterns == (RGB,)


def test_in_window_mode_all_that_has_a_pixel_counts():
    one = area(slice(3, 4), slice(5, 6))
    found = look(ir=one, dsm=LEFT, coverage="window")
    assert (found.patterns, found.pixels, found.wanted) == ((RGB | IR | DSM,), None, None)


def test_pixels_without_the_reference_are_not_wanted():
    for coverage in ("pixel", "window"):
        found = look(rgb=LEFT, dsm=TOP, coverage=coverage)
        assert np.array_equal(found.wanted, LEFT)
    assert np.array_equal(look(rgb=LEFT, dsm=TOP, reference=2).wanted, TOP)
    assert look(rgb=LEFT, reference=2).wanted is None


def test_scenarios_are_counted_where_the_map_is_wanted():
    found = look(rgb=LEFT, dsm=LEFT)
    assert (found.patterns, found.pixels) == ((RGB | IR | DSM,), None)  # the right side has ir alone and is not wanted
    found = look(rgb=LEFT, dsm=RIGHT | TOP)
    assert found.patterns == (RGB | IR | DSM, RGB | IR)
    assert np.array_equal(scenario(found)[LEFT], np.where(TOP, RGB | IR | DSM, RGB | IR)[LEFT])


def test_a_window_outside_the_reference_is_left_out():
    nothing = area(rows=slice(0, 0))
    for coverage in ("pixel", "window"):
        assert look(rgb=nothing, coverage=coverage) is None
        assert look(rgb=nothing, ir=nothing, dsm=nothing, coverage=coverage, gaps="predict") is None
        assert look(rgb=nothing, coverage=coverage, gaps="predict").patterns == (IR | DSM,)


def test_gaps_of_the_reference_are_predicted_from_the_others():
    found = look(rgb=LEFT, ir=TOP, dsm=TOP, gaps="predict")
    assert np.array_equal(found.wanted, LEFT | TOP)
    expected = RGB * LEFT + (IR | DSM) * TOP
    assert np.array_equal(scenario(found)[found.wanted], expected[found.wanted])
    assert 0 not in found.patterns
    assert look(rgb=LEFT, ir=None, dsm=TOP, gaps="predict").wanted is None


def test_specks_take_the_scenario_of_the_windows_largest_part():
    few, enough = int(SPECK * SIZE**2) - 1, int(SPECK * SIZE**2)
    assert few >= 1
    for count, patterns in ((few, (RGB | IR | DSM,)), (enough, (RGB | IR | DSM, RGB | IR))):
        dsm = np.ones((SIZE, SIZE), bool)
        dsm[4, :count] = False
        found = look(dsm=dsm)
        assert found.patterns == patterns
        assert found.wanted is None
    dsm = ~LEFT
    dsm[0, :few] = True  # specks of all three, in a window that has two of them and the rest
    found = look(ir=~dsm, dsm=dsm & ~LEFT | area(slice(0, 1), slice(0, few)))
    assert len(found.patterns) == 2
    ir = np.ones((SIZE, SIZE), bool)
    ir[19, 19 - few : 19] = False
    found = look(ir=ir, dsm=RIGHT)
    assert found.patterns == (RGB | IR | DSM, RGB | IR)
    assert (scenario(found)[~ir] == RGB | IR | DSM).all()


def test_a_window_of_nothing_but_specks_takes_the_largest():
    rgb = area(slice(0, 1), slice(0, 3))
    dsm = area(slice(0, 1), slice(0, 2))
    found = look(rgb=rgb, dsm=dsm, ir=area(rows=slice(0, 0)))
    assert (found.patterns, found.pixels) == ((RGB | DSM,), None)
    assert np.array_equal(found.wanted, rgb)


def test_validity_is_left_as_it_was():
    rgb, dsm = LEFT.copy(), TOP.copy()
    look(rgb=rgb, dsm=dsm, gaps="predict")
    assert np.array_equal(rgb, LEFT)
    assert np.array_equal(dsm, TOP)
