import pytest

from mobanet.datasets.isprs_splits import POTSDAM, VAIHINGEN
from mobanet.errors import UserError
from mobanet.synthetic import tile_names

SPLITS = {"potsdam": POTSDAM, "vaihingen": VAIHINGEN}


@pytest.mark.parametrize("layout", SPLITS)
def test_every_prefix_can_train_validate_and_test(layout):
    split = SPLITS[layout]["paper"]
    everything = {*split.train, *split.validation, *split.test}
    names = tile_names(layout, len(everything))
    assert set(names) == everything
    for count in range(1, len(names) + 1):
        assert tile_names(layout, count) == names[:count]
    assert (names[0], names[1], names[2]) == (split.train[0], split.validation[0], split.test[0])


@pytest.mark.parametrize("layout", SPLITS)
def test_shares_follow_sixty_fifteen_twenty_five(layout):
    split = SPLITS[layout]["paper"]
    ten = set(tile_names(layout, 12))
    assert [len(ten & set(part)) for part in (split.train, split.validation, split.test)] == [7, 2, 3]


def test_more_tiles_than_names_are_refused_with_the_number():
    with pytest.raises(UserError, match=r"--tiles 38: .* 1 to 37 tiles"):
        tile_names("potsdam", 38)
    with pytest.raises(UserError, match="--tiles 0"):
        tile_names("vaihingen", 0)


def test_unknown_layout_lists_the_known_ones():
    with pytest.raises(UserError, match=r"--layout folder: .*potsdam, vaihingen, dstl or hunan"):
        tile_names("folder", 3)
    with pytest.raises(UserError, match=r"--layout potsdam_x: "):
        tile_names("potsdam_x", 3)
