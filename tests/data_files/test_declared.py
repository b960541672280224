"""What a raster says of itself, through both doors: a tile is prepared, and the same file is read to be predicted."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling

from mobanet.datasets import FolderModality, FolderSettings, get_layout
from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster, GivenScene
from mobanet.prediction.rows import RasterRows
from mobanet.prediction.scene import place
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from tests.data_files.fake_files import georeferenced, indices, load, noise, surface, write

HERE = georeferenced(1000, 2000, 1)
RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
RGBA = (*RGB, ColorInterp.alpha)


def layout_of(**modalities):
    return get_layout("folder", FolderSettings(modalities, ["a", "b"]))


def prepared(root, **modalities):
    """By modality, values (H, W, C) and validity (H, W) of tile `a`; and its notes."""
    layout = layout_of(**modalities)
    tile = build_store(layout, root, root / "store", workers=1).tiles["a"]
    found = {}
    for name, record in tile.modalities.items():
        values = load(tile, name)
        there = np.ones(values.shape[:2], bool) if record.complete else load(tile, f"{name}.valid") == 1
        found[name] = values, there
    return found, tile.notes


def predicted(root, given, **modalities):
    """The same of the files that a user gives to be predicted, for a model that the layout's data made."""
    layout = layout_of(**modalities)
    scene = place(GivenScene("a", given), layout.modalities)
    found = {}
    for name, raster in scene.rasters.items():
        with RasterRows(raster) as rows:
            parts = [(v, np.ones(v.shape[:2], bool) if there is None else there) for v, there in rows.chunks()]
        found[name] = tuple(np.concatenate(each) for each in zip(*parts, strict=True))
    return found, scene.notes


def both(root, given=None, **modalities):
    """What both read, having seen that it is the same; and both notes."""
    if given is None:
        given = {
            name: GivenRaster(root / own.pattern.format(tile="a"), own.chosen, own.nodata, own.factor)
            for name, own in modalities.items()
        }
    trained, notes = prepared(root, **modalities)
    mapped, others = predicted(root, given, **modalities)
    for name, (values, there) in trained.items():
        assert mapped[name][0].dtype == values.dtype
        assert np.array_equal(mapped[name][1], there)
        assert np.array_equal(mapped[name][0][there], values[there])
    return trained, notes, others


def refused(root, *parts, given=None, **modalities):
    """Check, prepare and predict refuse it in one sentence with these parts."""
    layout = layout_of(**modalities)
    problems = "; ".join(check_files(layout, root, root / "store", workers=1).problems)
    with pytest.raises(UserError) as prepare:
        build_store(layout, root, root / "store", workers=1)
    given = given or {
        name: GivenRaster(root / own.pattern.format(tile="a"), own.chosen, own.nodata, own.factor)
        for name, own in modalities.items()
    }
    with pytest.raises(UserError) as predict:
        place(GivenScene("a", given), layout.modalities)
    for said in (problems, str(prepare.value), str(predict.value)):
        for part in parts:
            assert part in said
    return problems, str(predict.value)


def raster(root: Path, name, array, meaning=(), **said):
    """A raster that says something of itself: attributes of rasterio's datasets by name."""
    options = {key: said.pop(key) for key in ("nodata", "photometric", "nbits", "crs", "transform") if key in said}
    path = root / f"{name}/a.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    with rasterio.open(path, "w", dtype=array.dtype, **profile, **{**HERE, **options}) as file:
        if meaning:
            file.colorinterp = meaning
        for key, value in said.items():
            setattr(file, key, value)
        file.write(array)
    return path


# alpha


def test_a_band_that_a_modality_is_read_from_is_no_mask_though_it_is_flagged(root):
    pixels = noise("rgbir", 4)
    assert (pixels[3] == 0).any()
    raster(root, "ortho", pixels, RGBA)
    rgb, ir = (
        FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]),
        FolderModality("ortho/{tile}.tif", band_numbers=[4]),
    )
    found, _, _ = both(root, rgb=rgb, ir=ir)
    assert found["rgb"][1].all()
    assert found["ir"][1].all()
    assert np.array_equal(found["ir"][0][:, :, 0], pixels[3])


def test_it_is_none_either_where_only_another_modality_is_prepared(root):
    raster(root, "ortho", noise("rgbir", 4), RGBA)
    rgb, ir = (
        FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]),
        FolderModality("ortho/{tile}.tif", band_numbers=[4]),
    )
    tile = build_store(layout_of(rgb=rgb, ir=ir), root, root / "store", ["rgb"], workers=1).tiles["a"]
    assert tile.modalities["rgb"].complete


def test_three_bands_and_the_flagged_one_may_be_given_as_one_file_each(root):
    pixels = noise("rgbir", 4)
    path = raster(root, "ortho", pixels, RGBA)
    rgb, ir = (
        FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]),
        FolderModality("ortho/{tile}.tif", band_numbers=[4]),
    )
    found, notes = predicted(root, {"rgb": GivenRaster(path), "ir": GivenRaster(path, (3,))}, rgb=rgb, ir=ir)
    assert np.array_equal(found["rgb"][0], pixels[:3].transpose(1, 2, 0))
    assert found["rgb"][1].all()
    assert found["ir"][1].all()
    assert notes == ()


@pytest.mark.parametrize("kind", ["bytes", "deep"])
def test_a_flagged_band_with_values_like_data_is_said_and_not_taken_for_a_mask(root, kind):
    pixels = noise("rgbir", 4).astype({"bytes": np.uint8, "deep": np.uint16}[kind])
    path = raster(root, "ortho", pixels, RGBA)
    found, notes, others = both(root, rgb=FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3], names=[*"xyz"]))
    assert found["rgb"][1].all()
    for said in (notes, others):
        assert any("band 4 is flagged as alpha, but holds other values than a mask" in note for note in said)
    _, others = predicted(  # without brackets, as an ortho of three bands and a mask
        root, {"rgb": GivenRaster(path)}, rgb=FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3])
    )
    assert any("band 4 is flagged as alpha" in note for note in others)


@pytest.mark.parametrize("count", [1, 3, 4, 8])
@pytest.mark.parametrize("top", [1, 255])
def test_a_mask_behind_any_number_of_bands_is_one(root, count, top):
    pixels = noise("masked", count + 1)
    pixels[-1] = top
    pixels[-1, :20] = 0
    raster(root, "ortho", pixels, (*[ColorInterp.undefined] * count, ColorInterp.alpha))
    own = FolderModality("ortho/{tile}.tif", bands=list(range(count)))
    found, notes, _ = both(root, x=own)
    assert np.array_equal(found["x"][1], pixels[-1] > 0)
    assert notes == ()


# nodata


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_pixel_that_lacks_one_of_several_heights_is_missing(root, dtype, declared):
    pixels = np.concatenate([surface("dem"), surface("aspect")]).astype(dtype)
    pixels[1, 5:9] = -9999
    raster(root, "terrain", pixels, **({"nodata": -9999} if declared else {}))
    own = FolderModality(
        "terrain/{tile}.tif", band_numbers=[1, 2], kind="elevation", nodata=None if declared else -9999
    )
    found, _, _ = both(root, topo=own)
    assert np.array_equal(found["topo"][1], pixels[1] != -9999)
    assert found["topo"][0].min() > 0
    alone, _, _ = both(root, dem=FolderModality("terrain/{tile}.tif", band_numbers=[1], kind="elevation"))
    assert alone["dem"][1].all()  # whose own band has it all


def test_black_in_one_channel_of_imagery_is_a_colour_and_black_in_all_is_missing(root):
    pixels = noise("rgb", 3)
    pixels[:, :4], pixels[0, 4:20] = 0, 0
    raster(root, "ortho", pixels, nodata=0)
    found, _, _ = both(root, rgb=FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]))
    assert np.array_equal(found["rgb"][1], pixels.any(axis=0))
    assert found["rgb"][1][4:20].any()


def test_what_cannot_be_a_brightness_is_missing_in_one_channel_of_imagery(root):
    pixels = noise("rgb", 3).astype(np.float32)
    pixels[0, 4:20] = -9999
    for said in ({"nodata": -9999}, {}):
        raster(root, "ortho", pixels, **said)
        found, notes, others = both(root, rgb=FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3], maximum=255))
        assert np.array_equal(found["rgb"][1], pixels[0] >= 0)
        for told in (notes, others):
            assert any("-9999 in a.tif is taken for missing" in note for note in told) == (not said)


# labels


@pytest.mark.parametrize("kind", ["values", "colours"])
def test_a_class_that_the_user_names_counts_though_the_file_calls_it_nodata(root, kind):
    write(root / "ortho/a.tif", noise("a", 3))
    classes = indices("a") % 2
    label = classes[None] if kind == "values" else np.stack([classes * 255] * 3)
    write(root / "label/a.tif", label.astype(np.uint8), nodata=0)
    rule = {"values": {0: 0, 1: 1}} if kind == "values" else {"colours": [(0, 0, 0), (255, 255, 255)]}
    own = FolderSettings(
        {"rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3])}, ["a", "b"], "label/{tile}.tif"
    )
    layout = get_layout("folder", FolderSettings(**{**own.__dict__, **rule}))
    look = check_files(layout, root, root / "store", workers=1).tiles[0]
    tile = build_store(layout, root, root / "store", workers=1).tiles["a"]
    assert np.array_equal(load(tile, "label_full"), classes)
    assert look.looks["label_full"].missing == 0
    for notes in (tile.notes, look.notes):
        assert any("as nodata, which is the class a and counts as it" in note for note in notes)


def test_a_look_takes_pixels_and_not_the_means_of_them_that_overviews_hold(root):
    size = (1500, 1400)
    classes = np.random.default_rng(0).integers(0, 2, size).astype(np.uint8) * 200
    heights = np.where(classes == 0, np.float32(-9999), np.float32(40))
    write(root / "ortho/a.tif", noise("a", 3, size))
    for path, values in ((root / "label/a.tif", classes), (root / "dsm/a.tif", heights)):
        file = write(path, values[None], nodata=-9999 if path.parent.name == "dsm" else None)
        with rasterio.open(file, "r+") as raster:
            raster.build_overviews([2, 4], Resampling.average)
    modalities = {
        "rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]),
        "dsm": FolderModality("dsm/{tile}.tif", kind="elevation"),
    }
    settings = FolderSettings(modalities, ["a", "b"], "label/{tile}.tif", values={0: 0, 200: 1})
    findings = check_files(get_layout("folder", settings), root, root / "store", workers=1)
    assert findings.problems == []
    looks = findings.tiles[0].looks
    assert looks["label_full"].shares == pytest.approx((0.5, 0.5), abs=0.02)
    assert (looks["dsm"].low, looks["dsm"].high) == (40, 40)
    assert looks["dsm"].missing == pytest.approx(0.5, abs=0.02)


def test_nodata_that_names_no_class_is_ignored_and_not_reported_as_unknown(root):
    write(root / "ortho/a.tif", noise("a", 3))
    classes = indices("a") % 3
    write(root / "label/a.tif", classes[None].astype(np.uint8), nodata=2)
    own = {"rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3])}
    layout = get_layout("folder", FolderSettings(own, ["a", "b"], "label/{tile}.tif", values={0: 0, 1: 1}))
    tile = build_store(layout, root, root / "store", workers=1).tiles["a"]
    assert np.array_equal(load(tile, "label_full"), np.where(classes == 2, 255, classes))
    assert (tile.labels["full"].unknown, tile.notes) == (0, ())


# scale, offset and unit

DSM = {"pattern": "dsm/{tile}.tif", "kind": "elevation", "unit": "metre"}
FEET = surface("h") / np.float32(0.3048)


@pytest.mark.parametrize(
    ("pixels", "said", "told"),
    [
        (np.rint(surface("h") * 100).astype(np.uint16), {"scales": (0.01,)}, "the scale 0.01 and the offset 0, which"),
        (np.rint(surface("h") * 100 - 900).astype(np.int16), {"scales": (0.01,), "offsets": (9.0,)}, "the offset 9"),
        (FEET, {"units": ("ft",)}, "is in ft and is converted to metre"),
        (FEET, {"units": ("US survey foot",)}, "is in US survey foot"),
        (surface("h") * 100, {"units": ("cm",)}, "is in cm"),
        (FEET * 10, {"units": ("foot",), "scales": (0.1,)}, "is in foot"),
        (FEET, {"crs": "EPSG:26910+8228"}, "is in foot"),
    ],
)
def test_heights_come_in_metres_whatever_the_file_has_them_in(root, pixels, said, told):
    raster(root, "dsm", pixels, **said)
    found, notes, others = both(root, dsm=FolderModality(**DSM))
    assert np.allclose(found["dsm"][0][:, :, 0], surface("h")[0], atol=0.006)
    for notes_of in (notes, others):
        assert any(told in note for note in notes_of)


def test_what_the_user_says_wins_over_scale_and_unit(root):
    raster(root, "dsm", FEET, units=("ft",), scales=(3.0,))
    found, notes, _ = both(root, dsm=FolderModality(**DSM, factor=0.5))
    assert np.array_equal(found["dsm"][0][:, :, 0], FEET[0] * np.float32(0.5))
    assert notes == ()


def test_heights_stay_in_the_unit_that_the_user_names(root):
    raster(root, "dsm", FEET, units=("ft",))
    found, _, _ = both(root, dsm=FolderModality("dsm/{tile}.tif", kind="elevation", unit="foot"))
    assert np.array_equal(found["dsm"][0][:, :, 0], FEET[0])


def test_a_scale_of_imagery_is_said_and_not_applied(root):
    raster(root, "ortho", noise("a", 1).astype(np.uint16), scales=(0.0001,), offsets=(-0.1,))
    found, notes, others = both(root, pan=FolderModality("ortho/{tile}.tif"))
    assert np.array_equal(found["pan"][0][:, :, 0], noise("a", 1)[0])
    for told in (notes, others):
        assert any("the scale 0.0001 and the offset -0.1, which are not applied to imagery" in note for note in told)


# order of bands and colour tables


@pytest.mark.parametrize(
    "said",
    [
        {"descriptions": ("Blue", "green", "RED")},
        {"meaning": (ColorInterp.blue, ColorInterp.green, ColorInterp.red)},
    ],
)
@pytest.mark.parametrize("names", [["red", "green", "blue"], None])
def test_bands_that_the_file_names_come_in_the_models_order(root, said, names):
    pixels = noise("bgr", 3)
    path = raster(root, "ortho", pixels, **said)
    own = FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3], names=names)
    found, _ = predicted(root, {"rgb": GivenRaster(path)}, rgb=own)
    assert np.array_equal(found["rgb"][0], pixels[::-1].transpose(1, 2, 0))
    found, notes, others = both(root, rgb=own)  # bands that the user lists stay as listed, which is said
    assert np.array_equal(found["rgb"][0], pixels.transpose(1, 2, 0))
    for told in (notes, others):
        assert any("calls bands 1, 2, 3 blue, green, red, which are read as red, green, blue" in n for n in told)


def test_infrared_in_the_place_of_red_is_no_contradiction(root):
    raster(root, "ortho", noise("irrg", 3), RGB)
    own = FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3], names=["infrared", "red", "green"])
    _, notes, others = both(root, irrg=own)
    assert notes == others == ()


def palette(path, colours):
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {value: (*colour, 255) for value, colour in enumerate(colours)})
    return path


def test_colours_are_looked_up_in_a_colour_table(root):
    colours = noise("table", 3, (1, 256))[:, 0].T  # (256, 3)
    path = palette(raster(root, "ortho", noise("a", 1)), colours.tolist())
    own = FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3])
    found, notes, _ = both(root, rgb=own)
    assert np.array_equal(found["rgb"][0], colours[noise("a", 1)[0]])
    assert any("looked up in its colour table" in note for note in notes)
    mapped, _ = predicted(root, {"rgb": GivenRaster(path)}, rgb=own)
    assert np.array_equal(mapped["rgb"][0], found["rgb"][0])


def test_greys_are_looked_up_and_colours_are_no_brightness(root):
    greys = [(255 - value,) * 3 for value in range(256)]
    palette(raster(root, "ortho", noise("a", 1)), greys)
    found, _, _ = both(root, pan=FolderModality("ortho/{tile}.tif"))
    assert np.array_equal(found["pan"][0][:, :, 0], 255 - noise("a", 1)[0])
    palette(raster(root, "ortho", noise("a", 1)), [(value, 0, 9) for value in range(256)])
    refused(root, "has a colour table", "gdal_translate -expand rgb", pan=FolderModality("ortho/{tile}.tif"))
    both(root, height=FolderModality("ortho/{tile}.tif", kind="elevation"))  # colours of a height are for show


@pytest.mark.parametrize(
    ("dtype", "options", "part"),
    [("complex64", {}, "complex numbers"), ("int8", {}, "signed bytes"), ("uint8", {"nbits": 1}, "one bit a pixel")],
)
def test_what_is_no_imagery_is_refused(root, dtype, options, part):
    raster(root, "ortho", (noise("a", 1) % 2).astype(dtype), **options)
    refused(root, part, pan=FolderModality("ortho/{tile}.tif"))
