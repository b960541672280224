"""`mobanet.init`: what it finds out about rasters and labels, what it writes, and what it says of each mistake."""

import shlex
import shutil

import numpy as np
import pytest
import rasterio
import shapely
import yaml

from mobanet.check import main as check
from mobanet.cli.commands import main
from mobanet.init import main as init
from mobanet.rasters.categories import sidecar
from mobanet.shipped import experiment_folder
from tests.cli.conftest import start, wait
from tests.data_files.fake_files import coloured, georeferenced, indices, noise, surface, write
from tests.data_files.fake_vectors import write_vector

SIZE = (64, 64)
LEFT, TOP, PIXEL = 500_000, 5_800_000, 0.5
TILES = ("2_9", "2_10", "2_11", "3_9", "3_10", "3_11")
NUMBERS = np.array([1, 2, 5, 6, 0, 1], np.uint8)


def place(number, pixel=PIXEL, crs="EPSG:32633"):
    """Of a tile, side by side with the others."""
    return georeferenced(LEFT + number * SIZE[1] * PIXEL, TOP, pixel, crs)


def polygon(number, left=0, right=64):
    x = LEFT + number * SIZE[1] * PIXEL
    return shapely.box(x + left * PIXEL, TOP - SIZE[0] * PIXEL, x + right * PIXEL, TOP)


def cover(path, shapes=None, columns=None, **more):
    """A meadow, a house and a road on each tile."""
    if shapes is None:
        shapes = [polygon(n, *sides) for n in range(len(TILES)) for sides in ((0, 32), (32, 48), (48, 64))]
    if columns is None:
        columns = {"class": ["meadow", "house", "road"] * len(TILES)}
    return write_vector(path, shapes, columns, **more)


@pytest.fixture(scope="session")
def usual_town(tmp_path_factory):
    """Folders of six tiles, named in ways of their own, polygons, and labels in numbers and in colours."""
    root = tmp_path_factory.mktemp("usual") / "town"
    for number, tile in enumerate(TILES):
        write(root / f"ortho/top_town_{tile}_RGB.tif", noise(tile, 3, SIZE), **place(number))
        write(root / f"surface/dsm_town_{tile}.tif", surface(tile, SIZE), nodata=-9999, **place(number))
        write(root / f"numbers/{tile}_label.tif", NUMBERS[indices(tile, SIZE)][None], **place(number))
        write(root / f"colours/{tile}.tif", coloured(indices(tile, SIZE)), **place(number))
    cover(root / "cover.gpkg")
    return root


@pytest.fixture
def town(usual_town, tmp_path, monkeypatch):
    """A copy of it, below the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(usual_town, tmp_path / "town")


QUICK = (
    *("--trainer.max_epochs", "1", "--data.steps_per_epoch", "1", "--workers", "0", "--batch_size", "2"),
    *("--crop_size", "30", "--panels.every_n_epochs", "null", "--accelerator", "cpu", "--wandb", "off"),
    *("--scenarios.validate", "full", "--precision", "32-true"),
)
"""What a run is shortened by; the rest is the file's."""

BOTH = ("--rgb", "town/ortho", "--dsm", "town/surface")
USUAL = (*BOTH, "--labels", "town/cover.gpkg", "--output", "town.yaml", "--accelerator", "cpu")


@pytest.fixture
def made(command, tmp_path):
    """Runs the command and gives what it wrote, and what it said."""

    def run(*words):
        (tmp_path / "town.yaml").unlink(missing_ok=True)
        ended = command(init, [*words])
        assert ended.code == 0, ended.err
        return yaml.safe_load((tmp_path / "town.yaml").read_text()), ended.out

    return run


def usual(**changed):
    """The usual words with other values; None takes an option out."""
    words = dict(zip(USUAL[::2], USUAL[1::2], strict=True)) | {f"--{key}": value for key, value in changed.items()}
    return [word for pair in words.items() if pair[1] is not None for word in pair]


# what it writes


def test_from_folders_to_a_run(made, command, town, tmp_path):
    content, said = made(*USUAL)
    folder = content["data"]["folder"]
    assert folder["modalities"] == {
        "rgb": {
            "pattern": "ortho/top_town_{tile}_RGB.tif",
            "band_numbers": [1, 2, 3],
            "names": ["red", "green", "blue"],
        },
        "dsm": {"pattern": "surface/dsm_town_{tile}.tif", "kind": "elevation", "unit": "metre"},
    }
    assert folder["classes"] == ["house", "meadow", "road"]
    assert folder["label"]["values"] == {"house": "house", "meadow": "meadow", "road": "road"}
    assert sorted(tile for part in folder["splits"].values() for tile in part) == sorted(TILES)
    assert [len(folder["splits"][part]) for part in ("train", "validation", "test")] == [4, 1, 1]
    assert (content["data"]["crop"], content["data"]["root"]) == (60, "town")  # of tiles of 64 pixels
    text = (tmp_path / "town.yaml").read_text()
    assert "# 6 tiles, 3 bands of uint8, 0 to 254, 0.5 m, EPSG:32633\n" in text
    assert "house: house                            # 6 polygons, 25 % of the labelled ground\n" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("#   python")) <= 120
    assert "labels      cover.gpkg, attribute class: 3 classes" in said
    # the commands that it prints, as they are printed
    commands = [line.split()[2:] for line in said.splitlines() if line.startswith("  python -m ")]
    assert [words[0] for words in commands] == ["mobanet.check", "mobanet.fit", "mobanet.test", "mobanet.predict"]
    checked = command(check, [*commands[0][1:], "--workers", "1"])
    assert checked.code == 0, checked.out + checked.err
    trained = command(main, "fit", [*commands[1][1:], *QUICK])
    assert trained.code == 0, trained.err
    assert "streams     optical: rgb; elevation: dsm" in trained.err
    assert (tmp_path / "runs/town/checkpoints/best.ckpt").is_file()
    # the same words give the same file, and another seed another split
    made(*USUAL)
    assert (tmp_path / "town.yaml").read_text() == text
    other, _ = made(*USUAL, "--seed", "3")
    assert other["data"]["folder"]["splits"] != folder["splits"]


@pytest.mark.parametrize(
    "words",
    [
        ("--input", "rgb=town/ortho/top_town_{tile}_RGB.tif", "dsm=town/surface/dsm_town_{tile}.tif"),
        ("--input", "dsm=town/surface", "rgb=town/ortho/*.tif[1,2,3]"),
        ("--dsm", "town/surface/dsm_town_{tile}.tif", "--input", "rgb=town/ortho"),
    ],
)
def test_paths_may_be_folders_and_patterns(made, town, words):
    content, _ = made(*words, "--labels", "town/cover.gpkg", "--output", "town.yaml")
    modalities = content["data"]["folder"]["modalities"]
    assert {name: each["pattern"] for name, each in modalities.items()} == {
        "rgb": "ortho/top_town_{tile}_RGB.tif",
        "dsm": "surface/dsm_town_{tile}.tif",
    }
    assert list(modalities) == ["rgb", "dsm"]  # imagery first, whose grid is taken


def test_a_gpu_gets_the_recipe(made, town):
    content, _ = made(*usual(accelerator="gpu"))
    recipe = yaml.safe_load((experiment_folder() / "potsdam_irrgb_dsm.yaml").read_text())
    for part in ("backbone", "network", "masking", "lr", "weight_decay", "schedule", "auxiliary_weight"):
        assert content["model"][part] == recipe["model"][part]
    assert content["scenarios"] == recipe["scenarios"]
    assert content["data"]["crop"] == 56  # a multiple of 14 within 64


def test_label_rasters_of_numbers(made, town):
    content, said = made(*usual(labels="town/numbers"))
    folder = content["data"]["folder"]
    assert folder["label"] == "numbers/{tile}_label.tif"
    assert folder["classes"] == ["class_0", "class_1", "class_2", "class_5", "class_6"]
    assert folder["values"] == {0: 0, 1: 1, 2: 2, 5: 3, 6: 4}
    pixels = sum(int((NUMBERS[indices(tile, SIZE)] == 5).sum()) for tile in TILES)
    assert f"class_5: {pixels} pixels, " in said
    assert "if 0 means that nobody looked, move it to ignored" in said


def test_label_rasters_of_colours(made, town):
    content, _ = made(*usual(labels="town/colours/{tile}.tif"))
    folder = content["data"]["folder"]
    assert len(folder["classes"]) == 6
    assert [0, 0, 255] in folder["colours"]
    assert folder["classes"][folder["colours"].index([0, 0, 255])] == "class_0000ff"


def test_black_among_colours_and_255_among_numbers_are_ignored(made, town):
    for number, tile in enumerate(TILES):
        classes = indices(tile, SIZE)
        classes[::4] = 255
        write(town / f"colours/{tile}.tif", coloured(classes), **place(number))
        write(town / f"numbers/{tile}_label.tif", classes[None], **place(number))
    folder = made(*usual(labels="town/colours"))[0]["data"]["folder"]
    assert folder["ignored_colours"] == [[0, 0, 0]]
    assert len(folder["classes"]) == 6
    folder = made(*usual(labels="town/numbers"))[0]["data"]["folder"]
    assert folder["ignored"] == [255]
    assert len(folder["classes"]) == 6


def test_a_colour_table_and_names_beside_the_label(made, town):
    table = {0: (10, 20, 30), 1: (200, 0, 0), 2: (0, 200, 0), 3: (0, 0, 200), 4: (9, 9, 9), 5: (1, 2, 3)}
    for number, tile in enumerate(TILES):
        path = write(town / f"numbers/{tile}_label.tif", indices(tile, SIZE)[None], nodata=5, **place(number))
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, table)
        path.with_name(f"{path.name}.aux.xml").write_bytes(sidecar(["paved", "house", "grass", "tree", "unknown"]))
    content, said = made(*usual(labels="town/numbers"))
    folder = content["data"]["folder"]
    assert folder["classes"] == ["paved", "house", "grass", "tree"]
    assert folder["colours"] == [list(table[n]) for n in range(4)]
    assert folder["values"] == {0: 0, 1: 1, 2: 2, 3: 3}
    assert folder["ignored"] == [4]  # which calls itself unknown
    assert "5 is declared as nodata and ignored" in said


def test_one_class_and_nodata_are_two_classes(made, town):
    for number, tile in enumerate(TILES):
        house = (indices(tile, SIZE) == 1).astype(np.uint8)[None]
        write(town / f"numbers/{tile}_label.tif", house, nodata=0, **place(number))
    folder = made(*usual(labels="town/numbers"))[0]["data"]["folder"]
    assert folder["classes"] == ["class_0", "class_1"]


def test_polygons_of_one_class_leave_the_rest_to_another(made, town):
    cover(town / "cover.gpkg", [polygon(n, 0, 16) for n in range(6)], {"kind": ["house"] * 6})
    content, said = made(*USUAL)
    folder = content["data"]["folder"]
    assert folder["classes"] == ["house", "other"]
    assert folder["label"]["background"] == "other"
    assert "house: 6 polygons, 25 % of the labelled ground" in said


def test_values_of_polygons_that_are_no_classes(made, town):
    values = ["meadow", "010", "no"] * 5 + [None, "unclassified", "marsh"]
    shapes = [polygon(n, *sides) for n in range(6) for sides in ((0, 32), (32, 48), (48, 64))]
    shapes[-1] = polygon(400)  # far away
    cover(town / "cover.gpkg", shapes, {"class": values, "fid_old": [*range(18)]})
    content, said = made(*USUAL)
    folder = content["data"]["folder"]
    assert folder["classes"] == ["meadow", "no", "class_010"]
    text = folder["label"]["values"]
    assert text == {
        "010": "class_010",
        "marsh": "ignored",
        "meadow": "meadow",
        "no": "no",
        "unclassified": "ignored",
        None: "ignored",
    }
    assert "ignored: 1 polygon, without a value" in said
    assert "ignored: 1 polygon, none of them on the rasters" in said


def test_numbers_as_values_of_polygons(made, town):
    cover(town / "cover.gpkg", columns={"code": np.array([311, 112, 122] * 6)})
    folder = made(*USUAL)[0]["data"]["folder"]
    assert folder["classes"] == ["class_112", "class_122", "class_311"]


def test_a_vector_file_a_tile(made, town):
    for number, tile in enumerate(TILES):
        shapes = [polygon(number, 0, 32), polygon(number, 32, 64)]
        cover(town / f"outlines/{tile}.geojson", shapes, {"class": ["a", "b"]})
    folder = made(*usual(labels="town/outlines"))[0]["data"]["folder"]
    assert folder["label"]["vector"] == "outlines/{tile}.geojson"


def test_the_likeliest_attribute(made, town):
    names = ["meadow", "house", "road"] * 6
    more = {"source": ["survey", "photo"] * 9, "note": [f"note {n}" for n in range(18)], "landcover": names}
    cover(town / "cover.gpkg", columns=more)
    content, said = made(*USUAL)
    assert content["data"]["folder"]["label"]["attribute"] == "landcover"
    assert "landcover is the attribute that most likely tells the classes" in said
    content, said = made(*USUAL, "--attribute", "source")
    assert content["data"]["folder"]["classes"] == ["photo", "survey"]


def test_bands_by_their_own_words(made, town):
    for number, tile in enumerate(TILES):
        path = write(town / f"four/{tile}.tif", noise(tile, 4, SIZE), **place(number))
        with rasterio.open(path, "r+") as file:
            file.descriptions = ("NIR", "Red", "Green", "Blue")
    content, said = made(*usual(rgb="town/four"))
    rgb = content["data"]["folder"]["modalities"]["rgb"]
    assert rgb["band_numbers"] == [2, 3, 4]
    assert "band 1 is not read; band 1 is infrared, which --input ir=town/four[1] adds" in said
    content, _ = made(*usual(rgb="town/four"), "--input", "ir=town/four[1]")
    assert content["data"]["folder"]["modalities"]["ir"]["band_numbers"] == [1]
    assert content["model"]["streams"] == {"optical": ["rgb", "ir"], "elevation": ["dsm"]}
    content, _ = made(*usual(rgb=None, irrg="town/four"))
    assert content["data"]["folder"]["modalities"]["irrg"]["band_numbers"] == [1, 2, 3]
    content, _ = made(*usual(rgb=None), "--input", "ortho=town/four")
    assert content["data"]["folder"]["modalities"]["ortho"]["band_numbers"] == [1, 2, 3, 4]


def test_kinds(made, town):
    for number, tile in enumerate(TILES):
        write(town / f"ndvi/{tile}.tif", (noise(tile, 1, SIZE) / 128 - 1).astype(np.float32), **place(number))
        write(town / f"radar/{tile}.tif", (noise(tile, 2, SIZE) / 10 - 30).astype(np.float32), **place(number))
        write(town / f"sat/{tile}.tif", (noise(tile, 4, SIZE) / 255).astype(np.float32), **place(number))
        path = write(town / f"relief/{tile}.tif", surface(tile, SIZE) * 100, **place(number))
        with rasterio.open(path, "r+") as file:
            file.units = ("cm",)
    given = ["ndvi=town/ndvi", "radar=town/radar", "sat=town/sat", "relief=town/relief"]
    content, said = made("--input", *given, "--labels", "town/cover.gpkg", "--output", "town.yaml")
    modalities = content["data"]["folder"]["modalities"]
    kinds = {name: each.get("kind", "optical") for name, each in modalities.items()}
    assert kinds == {"ndvi": "other", "radar": "other", "sat": "optical", "relief": "elevation"}
    assert content["data"]["scaling"] == {"sat": "unit", "ndvi": "standard", "radar": "standard", "relief": "ground"}
    assert "is in cm and is converted to metre" in said


def test_coarse_pixels_get_smaller_crops(made, town):
    for number, tile in enumerate(TILES):
        write(town / f"coarse/{tile}.tif", noise(tile, 4, (300, 300)), **georeferenced(LEFT + 3000 * number, TOP, 10))
    shapes = [shapely.box(LEFT + 1500 * n, TOP - 3000, LEFT + 1500 * (n + 1), TOP) for n in range(12)]
    cover(town / "wide.gpkg", shapes, {"class": ["a", "b"] * 6})
    words = ["--input", "s2=town/coarse", "--labels", "town/wide.gpkg", "--output", "town.yaml"]
    content, _ = made(*words, "--accelerator", "gpu")
    assert content["data"]["crop"] == 126
    assert content["scenarios"] == {"strategy": "full"}  # of a single modality none can be missing
    assert content["model"]["network"]["incomplete"] == "shared"


@pytest.mark.parametrize(
    ("words", "streams"),
    [
        (usual(dsm=None), {"optical": ["rgb"]}),
        (usual(rgb=None), {"elevation": ["dsm"]}),
        ([*usual(dsm=None), "--input", "pan=town/ortho[2]"], {"optical": ["rgb", "pan"]}),
    ],
)
def test_a_single_stream_runs(made, command, town, words, streams):
    content, _ = made(*words)
    assert content["model"]["streams"] == streams
    ended = command(main, "fit", ["--config", "town.yaml", "--run", "run", *QUICK])
    assert ended.code == 0, ended.err


def test_tiles_that_lack_a_modality(made, command, town):
    (town / "surface/dsm_town_3_9.tif").unlink()
    content, said = made(*USUAL)
    assert content["data"]["allow_missing"] is True
    assert "1 of 6 tiles lack dsm; tiles are used without (allow_missing)" in said
    checked = command(check, ["--experiment", "town.yaml", "--workers", "1"])
    assert checked.code == 0, checked.out + checked.err


def test_rasters_without_a_place_that_share_their_pixels(made, command, town):
    for tile in TILES:
        write(town / f"ortho/top_town_{tile}_RGB.tif", noise(tile, 3, SIZE))
        write(town / f"surface/dsm_town_{tile}.tif", surface(tile, SIZE))
        write(town / f"numbers/{tile}_label.tif", NUMBERS[indices(tile, SIZE)][None])
    _, said = made(*usual(labels="town/numbers"))
    assert "no reference system" in said
    checked = command(check, ["--experiment", "town.yaml", "--workers", "1"])
    assert checked.code == 0, checked.out + checked.err


def test_a_reference_system_that_files_lack(made, town):
    for number, tile in enumerate(TILES):
        write(town / f"surface/dsm_town_{tile}.tif", surface(tile, SIZE), **place(number, crs=None))
    content, _ = made(*USUAL, "--crs", "EPSG:32633")
    assert content["data"]["folder"]["crs"] == "EPSG:32633"


def test_twelve_bits_are_said(made, town):
    for number, tile in enumerate(TILES):
        write(town / f"ortho/top_town_{tile}_RGB.tif", noise(tile, 3, SIZE).astype(np.uint16) * 16, **place(number))
    _, said = made(*USUAL)
    assert "3 bands of uint16, 0 to 4064" in said


def test_an_output_that_is_there(command, made, town, tmp_path):
    made(*USUAL)
    (tmp_path / "town.yaml").write_text("mine")
    assert (
        "--output town.yaml is there already; give another name, or --overwrite true"
        in command(init, [*USUAL]).sentence()
    )
    assert (tmp_path / "town.yaml").read_text() == "mine"
    ended = command(init, [*USUAL, "--overwrite", "true"])
    assert ended.code == 0, ended.err
    assert (tmp_path / "town.yaml").read_text().startswith("# town: 3 classes from rgb, dsm")


def test_a_root_that_cannot_be_written_to_gets_its_store_elsewhere(made, town, monkeypatch):
    import os

    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: False if mode == os.W_OK else real(path, mode))
    content, _ = made(*USUAL)
    assert content["data"]["store"] == "town_store"


# mistakes


def remove(path):
    return lambda town: (town / path).unlink()


def text(path, content="x"):
    def make(town):
        (town / path).parent.mkdir(parents=True, exist_ok=True)
        (town / path).write_text(content)

    return make


def several_kinds(town):
    for tile in TILES:
        for kind in ("ortho", "infra"):
            write(town / f"mixed/{tile}_{kind}.tif", noise(tile, 3, SIZE))


def two_endings(town):
    several_kinds(town)
    write(town / "mixed/2_9_more.png", noise("x", 3, SIZE), driver="PNG")


def elsewhere(folder, bands, **options):
    """Rasters far away."""

    def make(town):
        for number, path in enumerate(sorted((town / folder).iterdir())):
            array = surface(path.name, SIZE) if bands == 0 else noise(path.name, bands, SIZE) % 3
            write(path, array, **georeferenced(LEFT + 90_000 + 32 * number, TOP, PIXEL), **options)

    return make


def other_names(town):
    for number, path in enumerate(sorted((town / "surface").iterdir())):
        path.rename(path.with_name(f"sheet{chr(97 + number)}.tif"))


def unplaced(town):
    for number, tile in enumerate(TILES):
        write(town / f"surface/dsm_town_{tile}.tif", surface(tile, SIZE), **place(number, crs=None))


def labelled(array, **options):
    """Label rasters of another kind."""

    def make(town):
        for number, tile in enumerate(TILES):
            write(town / f"numbers/{tile}_label.tif", array(tile), **place(number), **options)

    return make


def recovered(**options):
    def make(town):
        (town / "cover.gpkg").unlink()
        cover(town / "cover.gpkg", **options)

    return make


def two_layers(town):
    recovered(layer="houses")(town)
    cover(town / "cover.gpkg", layer="trees", append=True)


def many_values(town):
    shapes = [polygon(n % 6) for n in range(300)]
    recovered(shapes=shapes, columns={"name": [f"parcel {n}" for n in range(300)], "kind": ["a", "b"] * 150})(town)


def uneven(town):
    write(town / "ortho/top_town_3_11_RGB.tif", noise("x", 4, SIZE), **place(5))


def small(town):
    for number, tile in enumerate(TILES):
        write(town / f"ortho/top_town_{tile}_RGB.tif", noise(tile, 3, (12, 12)), **place(number))


ODD = {
    "no modality": (None, {"rgb": None, "dsm": None}, "no raster is given; name at least one, such as --rgb ortho.tif"),
    "no name": (None, {"input": "town/ortho"}, "--input town/ortho names no modality; write NAME=PATH"),
    "no path": (None, {"input": "ir="}, "--input ir= has no path"),
    "a name twice": (None, {"input": "rgb=town/surface"}, "--rgb town/ortho are both called rgb"),
    "a name that is none": (
        None,
        {"input": "a b=town/surface"},
        "modalities names 'a b': use letters, digits, _ and -",
    ),
    "a band of 0": (None, {"rgb": "town/ortho[0,1]"}, "name each band once, counted from 1"),
    "a band beyond": (None, {"rgb": "town/ortho[1,2,9]"}, "names band 9, and"),
    "nothing there": (None, {"rgb": "town/orto"}, "--rgb town/orto does not exist (did you mean town/ortho?)"),
    "a pattern of nothing": (None, {"rgb": "town/{tile}/x.tif"}, "--rgb town/{tile}/x.tif matches no file"),
    "an empty glob": (None, {"rgb": "town/*.jp2"}, "--rgb town/*.jp2 matches no file"),
    "folders of folders": (None, {"rgb": "town/**/*.tif"}, "leads to several folders; put {tile} where"),
    "an empty folder": (lambda town: (town / "empty").mkdir(), {"rgb": "town/empty"}, "is a folder without a raster"),
    "several kinds": (several_kinds, {"rgb": "town/mixed"}, "several rasters a tile, such as {tile}_infra.tif and"),
    "endings": (two_endings, {"rgb": "town/mixed"}, "holds files that end with .png and .tif; say which are meant"),
    "an address": (None, {"rgb": "ftp://x/y.tif"}, "is no path of this machine; fetch the file"),
    "an archive": (text("all.zip"), {"rgb": "town/all.zip"}, "is an archive; unpack it"),
    "a vector as a modality": (None, {"rgb": "town/cover.gpkg"}, "is a vector file, where rgb needs a raster"),
    "no raster": (text("ortho/top_town_2_9_RGB.tif"), {}, "top_town_2_9_RGB.tif is unreadable or cut short"),
    "names without match": (other_names, {}, "files cannot be matched by name: --rgb town/ortho has"),
    "another place": (elsewhere("surface", 0), {}, "dsm_town_2_9.tif does not overlap: it covers"),
    "labels elsewhere": (elsewhere("numbers", 1), {"labels": "town/numbers"}, "_label.tif does not overlap: it covers"),
    "no system": (unplaced, {}, "names no coordinate reference system: give --crs (EPSG:32633 if it lies in that"),
    "heights of many bands": (None, {"dsm": "town/ortho"}, "has 3 bands, of which heights are one; name it"),
    "rgb of one band": (None, {"rgb": "town/surface", "dsm": None, "input": "rgb2=town/ortho"}, None),
    "uneven bands": (uneven, {}, "top_town_3_11_RGB.tif has 4 bands and"),
    "tiny tiles": (small, {}, "is of tiles as small as 12 pixels, where a crop needs 16; give larger rasters"),
    "labels that are not there": (None, {"labels": "town/covr.gpkg"}, "(did you mean town/cover.gpkg?)"),
    "labels of another format": (text("cover.kml"), {"labels": "town/cover.kml"}, "ends with .kml, of which no labels"),
    "a damaged vector": (text("cover.gpkg"), {}, "cover.gpkg is no GeoPackage"),
    "measurements": (
        labelled(lambda tile: surface(tile, SIZE)),
        {"labels": "town/numbers"},
        "holds fractions such as",
    ),
    "complex numbers": (
        labelled(lambda tile: 1j * np.ones((1, 64, 64), np.complex64)),
        {"labels": "town/numbers"},
        "holds fractions such as 0+1j",
    ),
    "too many numbers": (
        labelled(lambda tile: np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64)),
        {"labels": "town/numbers"},
        "has more than 254 values, so that it tells no classes",
    ),
    "a picture": (None, {"labels": "town/ortho"}, "has more than 64 colours, so that it tells no classes"),
    "colours beside numbers": (
        labelled(lambda tile: noise(tile, 3 if tile == TILES[0] else 1, SIZE) % 2),
        {"labels": "town/numbers"},
        f"{TILES[0]}_label.tif colours; give labels of one kind",
    ),
    "numbers beside colours": (
        labelled(lambda tile: noise(tile, 1 if tile == TILES[0] else 3, SIZE) % 2),
        {"labels": "town/numbers"},
        f"{TILES[0]}_label.tif numbers; give labels of one kind",
    ),
    "two bands": (
        labelled(lambda tile: noise(tile, 2, SIZE)),
        {"labels": "town/numbers"},
        "has 2 bands of uint8 where a label has one with numbers",
    ),
    "one value": (
        labelled(lambda tile: np.ones((1, *SIZE), np.uint8)),
        {"labels": "town/numbers"},
        "holds a single value, where classes are at least two",
    ),
    "polygons elsewhere": (
        recovered(shapes=[polygon(900)] * 3, columns={"class": ["a", "b", "c"]}),
        {},
        "lies on the rasters, such as",
    ),
    "no attribute": (
        recovered(shapes=[polygon(n) for n in range(60)], columns={"fid_1": [f"{n} x" for n in range(60)]}),
        {},
        "has no attribute that tells classes; it has fid_1; name one with --attribute",
    ),
    "several attributes": (
        recovered(columns={"eins": ["a", "b", "c"] * 6, "zwei": ["d", "e"] * 9}),
        {},
        "has several attributes that may tell the classes, eins ('a', 'b', 'c'), zwei ('d', 'e'); name one with",
    ),
    "an attribute that is none": (None, {"attribute": "clas"}, "has no attribute 'clas' (did you mean 'class'?)"),
    "too many values": (
        many_values,
        {"attribute": "name"},
        "has 300 values, and labels tell at most 254 classes apart",
    ),
    "layers": (two_layers, {}, "has 2 layers with polygons, houses, trees: name one as --layer"),
    "polygons without a system": (
        recovered(crs=None),
        {},
        "names no coordinate reference system: give --crs, such as EPSG:32633",
    ),
    "another ending": (None, {"output": "town.json"}, "--output is town.json; give a file that ends with .yaml"),
    "a seed": (None, {"seed": "-3"}, "--seed is -3; give a number from 0 to 4294967295"),
    "a system": (None, {"crs": "EPSG:99999"}, "--crs is 'EPSG:99999'; give the code of a system, such as EPSG:25833"),
    "a system of words": (None, {"crs": "http://x/y"}, "--crs is 'http://x/y'; give the code of a system"),
    "another machine": (None, {"accelerator": "tpu"}, "--accelerator is tpu; choose one of auto, cpu, gpu"),
    "no labels": (None, {"labels": None}, "--labels is missing; give it"),
}


@pytest.mark.parametrize("mistake", ODD)
def test_mistakes(command, town, tmp_path, mistake):
    make, changed, said = ODD[mistake]
    if make is not None:
        make(town)
    words = usual(**changed)
    if said is None:
        said = "--rgb town/surface has"
    assert said in command(init, words).sentence()
    assert not (tmp_path / "town.yaml").exists()


def test_files_without_a_folder_in_common(command, town, monkeypatch):
    import os

    real = os.path.commonpath
    monkeypatch.setattr(os.path, "commonpath", lambda paths: "/" if len(list(paths)) > 2 else real(paths))
    assert "which have no folder in common; put them, or links to them, below one" in command(init, [*USUAL]).sentence()


def test_nothing_is_left_of_a_check_that_fails(command, town, tmp_path):
    shutil.copytree(town / "surface", town / ".surface")
    said = command(init, usual(dsm="town/.surface")).sentence()
    assert "the pattern '.surface/dsm_town_{tile}.tif' of dsm matches no file below town" in said
    assert not (tmp_path / "town.yaml").exists()


@pytest.mark.long
def test_the_commands_that_it_prints_run_as_they_are(made, town, tmp_path):
    _, said = made(*USUAL)
    for line in [line for line in said.splitlines() if line.startswith("  python -m ")]:
        _, _, module, *words = shlex.split(line)
        more = ["--wandb", "off"] if module == "mobanet.fit" else []
        ended = wait(start(module, *words, *more, folder=tmp_path))
        assert ended.code == 0, ended.err
    assert (tmp_path / "runs/town/test/test_scenarios.csv").is_file()
    assert (tmp_path / "town.tif").is_file()
