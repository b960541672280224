import numpy as np
import pytest
import rasterio

from mobanet.datasets.isprs import CLASSES
from mobanet.errors import UserError
from mobanet.rasters.contents import Classes
from mobanet.rasters.labels import decode_colours, decode_isprs, decode_values
from mobanet.rasters.palettes import label_colours
from tests.data_files.fake_files import PALETTE, coloured, indices, write

OWN = Classes(("water", "land"), ((0, 0, 200), (90, 60, 20)), ("water", "land"))


def test_palette_and_order():
    decoded = decode_isprs(PALETTE.T[:, :, None], CLASSES)
    assert decoded.classes[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert (decoded.corrected, decoded.unknown) == (0, 0)


def test_black_is_ignored_and_magenta_is_unknown():
    decoded = decode_isprs(np.array([[0, 12, 255, 240], [0, 5, 0, 9], [0, 0, 255, 250]], np.uint8)[:, None], CLASSES)
    assert decoded.classes.tolist() == [[255] * 4]
    assert (decoded.corrected, decoded.unknown) == (0, 2)


def test_published_defects_are_corrected_and_counted():
    # 4_12: re-encoded with loss; 6_7: cars in (252, 255, 0)
    colours = np.array([(9, 222, 221), (225, 227, 227), (252, 255, 0), (255, 255, 0)], np.uint8)
    decoded = decode_isprs(colours.T[:, None], CLASSES)
    assert decoded.classes.tolist() == [[2, 0, 4, 4]]
    assert (decoded.corrected, decoded.unknown) == (3, 0)


@pytest.mark.parametrize("grey", [88, 127, 128, 167])
def test_a_colour_between_corners_is_never_class_zero(grey):
    decoded = decode_isprs(np.full((3, 2, 2), grey, np.uint8), CLASSES)
    assert (decoded.classes == 255).all()
    assert decoded.unknown == 4


@pytest.mark.parametrize(("channel", "corner"), [(87, 0), (168, 255)])
def test_the_nearest_colours_that_count(channel, corner):
    decoded = decode_isprs(np.array([channel, 0, 255], np.uint8).reshape(3, 1, 1), CLASSES)
    assert (decoded.classes[0, 0], decoded.unknown) == ((1, 0) if corner == 0 else (255, 1))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_jpeg_copy_of_a_label(tmp_path):
    classes = indices("lossy", (64, 64))
    path = write(tmp_path / "label.jpg", coloured(classes), "JPEG", quality=95)
    with rasterio.open(path) as raster:
        values = raster.read()
    decoded = decode_isprs(values, CLASSES)
    known = decoded.classes != 255
    black = (values <= 87).all(0)  # ignored, as the eroded boundary is; of one JPEG library and not of another
    assert decoded.corrected > 1000
    assert decoded.unknown == (~known & ~black).sum() > 0
    assert (decoded.classes == classes)[known].mean() > 0.99


def test_index_label_is_refused():
    with pytest.raises(UserError, match="has one band of uint8 where a label in colours has three"):
        decode_isprs(np.zeros((1, 4, 4), np.uint8), CLASSES)


def test_strips_give_the_same_as_one_piece(monkeypatch):
    raster = np.random.default_rng(0).integers(0, 256, (3, 50, 40)).astype(np.uint8)
    whole = decode_isprs(raster, CLASSES)
    monkeypatch.setattr("mobanet.rasters.strips._STRIP", 90)
    parts = decode_isprs(raster, CLASSES)
    assert np.array_equal(whole.classes, parts.classes)
    assert (whole.corrected, whole.unknown) == (parts.corrected, parts.unknown)


def test_own_colours_within_and_beyond_the_distance():
    raster = np.array([(0, 0, 200), (5, 3, 190), (90, 60, 31), (1, 1, 1)], np.uint8).T[:, None]
    decoded = decode_colours(raster, OWN, [(1, 1, 1)], 10)
    assert decoded.classes.tolist() == [[0, 0, 255, 255]]
    assert (decoded.corrected, decoded.unknown) == (1, 1)


def test_own_values():
    raster = np.array([[[10, 20, 0, 7]]], np.uint16)
    decoded = decode_values(raster, {10: 1, 20: 0}, [0])
    assert decoded.classes.tolist() == [[1, 0, 255, 255]]
    assert (decoded.corrected, decoded.unknown) == (0, 1)
    with pytest.raises(UserError, match="has 3 bands where values are mapped"):
        decode_values(np.zeros((3, 2, 2), np.uint8), {0: 0}, [])


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "float32", "float64"]
)
def test_every_number_of_every_type_is_its_class(dtype):
    values, ignored = {0: 1, 3: 0, 100: 2, 200: 1, 40_000: 0, -5: 2, 2**31 + 7: 1, 2**24 + 1: 0}, [7, -1, 255, 65_535]
    numbers = [*range(-130, 260), 39_999, 40_000, 65_535, 2**24, 2**24 + 1, 2**24 + 2, 2**31 + 7, 2**40]
    if np.issubdtype(dtype, np.integer):
        numbers = [number for number in numbers if np.iinfo(dtype).min <= number <= np.iinfo(dtype).max]
    else:
        numbers += [0.5, np.nan, np.inf, -np.inf]
    raster = np.random.default_rng(0).permutation(np.array(numbers * 3, dtype))[None, None]
    decoded = decode_values(raster, values, ignored)
    found = raster[0, 0].tolist()
    assert decoded.classes[0].tolist() == [values.get(number, 255) for number in found]
    assert decoded.unknown == sum(number not in values and number not in ignored for number in found)


def test_a_label_that_every_number_is_strange_to():
    decoded = decode_values(np.zeros((1, 3, 4), np.int32), {2**40: 1}, [])
    assert (decoded.classes == 255).all()
    assert decoded.unknown == 12


def test_colours_met_in_one_label_are_the_same_in_the_next():
    random = np.random.default_rng(0)
    palette = np.array([*OWN.colours, (1, 1, 1)])
    for _ in range(3):
        raster = (palette[random.integers(0, 3, 900)] + random.integers(0, 25, (900, 3))).T.astype(np.uint8)
        decoded = decode_colours(raster.reshape(3, 30, 30), OWN, [(1, 1, 1)], 10)
        apart = np.abs(raster.T.astype(int)[:, None] - palette).max(axis=2)  # (900, 3)
        near, best = apart.min(axis=1) <= 10, apart.argmin(axis=1)
        assert decoded.classes.ravel().tolist() == np.where(near & (best < 2), best, 255).tolist()
        assert decoded.corrected == (near & (best < 2) & (apart.min(axis=1) > 0)).sum()
        assert decoded.unknown == (~near).sum()


def test_no_label_is_sorted(monkeypatch):
    """A quarter of the time of preparing went there."""

    def never(*_, **__):
        raise AssertionError

    for name in ("unique", "sort", "argsort"):
        monkeypatch.setattr(np, name, never)
    for dtype in ("uint8", "int16", "int32", "float32"):
        decode_values(np.ones((1, 4, 4), dtype), {1: 0}, [])
    decode_colours(np.zeros((3, 4, 4), np.uint8), OWN, [], 10)


def test_a_palette_of_more_colours_than_a_byte_can_name(tmp_path):
    entries = "".join(f'<Entry c1="{n % 256}" c2="7" c3="9" c4="255"/>' for n in range(300))
    path = write(tmp_path / "label.tif", np.arange(12, dtype=np.uint8).reshape(1, 3, 4))
    (tmp_path / "label.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><ColorInterp>Palette</ColorInterp>"
        f"<ColorTable>{entries}</ColorTable></PAMRasterBand></PAMDataset>"
    )
    with rasterio.open(path) as raster:
        assert len(raster.colormap(1)) == 300
        colours = label_colours(raster, raster.read())
    assert colours[0].tolist() == np.arange(12).reshape(3, 4).tolist()
