"""What a user of `mobanet.predict` gets wrong is answered by one sentence, and leaves nothing behind."""

import contextlib
import io
import os
import re
import shutil

import numpy as np
import pytest
import rasterio
import torch

import mobanet.prediction.run
from mobanet.data.description import DataDescription
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.predict import main
from mobanet.rasters.contents import Modality
from mobanet.training.module import SegmentationModule
from tests.cli.conftest import leftovers
from tests.data_files.fake_files import georeferenced, noise, truncate, write
from tests.exporting.small import CLASSES, PARTS, backbone
from tests.prediction.conftest import sentence, slope

HERE = georeferenced(1000, 2000, 1)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with rasters."""
    folder = tmp_path_factory.mktemp("drawn") / "here"
    folder.mkdir()
    write(folder / "ortho.tif", noise("ortho", 3, (90, 70)), **HERE)
    write(folder / "surface.tif", slope(90, 70), **HERE)
    write(folder / "five.tif", noise("five", 5, (90, 70)), **HERE)
    write(folder / "away.tif", slope(90, 70), **georeferenced(9000, 2000, 1))
    write(folder / "nameless.tif", slope(90, 70), transform=HERE["transform"])
    write(folder / "tiles/t_1.tif", noise("t_1", 3, (40, 40)), **HERE)
    write(folder / "tiles/t_2.tif", noise("t_2", 3, (40, 40)), **HERE)
    write(folder / "void.tif", np.full((1, 90, 70), -9999, np.float32), nodata=-9999, **HERE)
    write(folder / "some/s_1.tif", noise("s_1", 3, (40, 40)), **HERE)
    write(folder / "some/s_2.tif", np.zeros((3, 40, 40), np.uint8), nodata=0, **HERE)
    write(folder / "placeless.tif", noise("placeless", 3, (40, 40)))
    (folder / "placeless.tfw").write_text("nan\n0\n0\n-1\n3\n4\n")
    (folder / "odd").mkdir()
    shutil.copy(folder / "ortho.tif", folder / "odd/a\x1b[31m.tif")
    (folder / "none").mkdir()
    (folder / "file").write_text("x")
    (folder / "text.tif").write_text("no raster")
    write(folder / "map_there.tif", noise("map", 1, (90, 70)), **HERE)
    return folder


@pytest.fixture(autouse=True)
def own_folder(drawn, tmp_path, monkeypatch):
    """Paths in the table are relative to a folder with rasters."""
    folder = shutil.copytree(drawn, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def best(finished):
    return str(finished / "checkpoints/best.ckpt")


@pytest.fixture
def attempt(command, best):
    """Runs `mobanet.predict` with the words of a text, on the finished run's checkpoint unless it names one."""

    def run(text, *more):
        words = [*text.split(), *more]
        for option, value in (("--ckpt_path", best), ("--output", "map.tif")):
            words = words if option in words else [*words, option, value]
        return command(main, words)

    return run


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WRONG = {
    "no input": ("", "--input is missing; give it, such as rgb=ortho.tif, or a list of scenes with --scenes."),
    "input without a word": ("--input", "--input", "needs a value"),
    "nothing in the list": ("--input []", "--input names no raster", "rgb, ir, dsm", "rgb=FILE"),
    "unknown modality": ("--input dms=surface.tif", "--input dms", "the model takes rgb, ir, dsm"),
    "no modality": ("--input ortho.tif", "--input ortho.tif", "write --input rgb=FILE"),
    "modality twice": ("--input rgb=ortho.tif rgb=five.tif", "--input gives rgb twice"),
    "missing file": ("--input rgb=gone.tif", "--input rgb=gone.tif does not exist", "a folder or a pattern"),
    "empty folder": ("--input rgb=none", "--input rgb=none", "holds no raster"),
    "pattern of nothing": ("--input rgb=x*.tif", "--input rgb=x*.tif matches no file"),
    "no raster": ("--input rgb=text.tif", "text.tif is unreadable or cut short"),
    "too many bands": ("--input rgb=five.tif", "five.tif has 5 bands", "rgb=five.tif[1,2,3]"),
    "too few bands": ("--input rgb=surface.tif", "surface.tif has 1 band", "(red, green, blue)"),
    "a band that is not there": ("--input ir=five.tif[6]", "five.tif has 5 bands, and band 6 is asked for"),
    "band 0": ("--input ir=five.tif[0]", "bands are counted from 1"),
    "elsewhere": ("--input rgb=ortho.tif dsm=away.tif", "do not overlap", "9000 to 9070", "1000 to 1070"),
    "no system on one": ("--input rgb=ortho.tif dsm=nameless.tif", "nameless.tif names no", "EPSG:32633", "--crs"),
    "unknown system": ("--input rgb=ortho.tif dsm=nameless.tif --crs EPSG:999999", "EPSG:999999", "--crs"),
    "unknown system of the only one": ("--input dsm=nameless.tif --crs EPSG:999999", "EPSG:999999", "--crs"),
    "system without a number": ("--input dsm=nameless.tif --crs EPSG:west", "EPSG:west", "--crs"),
    "system in words": ("--input dsm=nameless.tif --crs somewhere", "somewhere", "--crs"),
    "nothing valid": ("--input rgb=ortho.tif dsm=void.tif", "void.tif has no valid pixel", "leave dsm out"),
    "nothing valid in the first one": (
        "--input dsm=void.tif --gaps predict",
        "void.tif has no valid pixel",
        "give another raster",
    ),
    "nothing valid in one of several": ("--input rgb=some --output maps", "some/s_2.tif has no valid pixel"),
    "no place": ("--input rgb=placeless.tif", "placeless.tif has a georeference that is not finite", "mend it"),
    "a name that cannot be printed": ("--input rgb=odd", "'a\\x1b[31m.tif'", "rename it"),
    "nodata in words": ("--input rgb=ortho.tif --nodata rgb=black", "--nodata rgb=black is no number"),
    "nodata of what is not given": ("--input rgb=ortho.tif --nodata dsm=-9999", "--nodata dsm=-9999", "leave it out"),
    "factor in words": ("--input rgb=ortho.tif --factor rgb=x", "--factor rgb=x is no number"),
    "unknown reference": ("--input rgb=ortho.tif --reference dms", "--reference dms", "rgb, ir, dsm"),
    "reference that is not given": ("--input rgb=ortho.tif --reference dsm", "--reference dsm", "--input"),
    "output is no tif": ("--input rgb=ortho.tif --output map.png", "--output map.png must end with .tif"),
    "output in a file": ("--input rgb=ortho.tif --output file/map.tif", "--output file/map.tif cannot be written"),
    "output is there": (
        "--input rgb=ortho.tif --output map_there.tif",
        "map_there.tif is there already",
        "--overwrite",
    ),
    "one file for several": ("--input rgb=tiles --output maps.tif", "names one file for 2 scenes", "name a folder"),
    "several into a file": ("--input rgb=tiles --output file", "--output file cannot be written"),
    "the input itself": ("--input rgb=ortho.tif --output ortho.tif --overwrite", "ortho.tif", "--output", "--input"),
    "an input of several": ("--input rgb=tiles --output tiles --overwrite", "t_1.tif", "--output", "--input"),
    "resume and overwrite": ("--input rgb=ortho.tif --resume --overwrite", "--resume", "--overwrite", "one of them"),
    "window too small": ("--input rgb=ortho.tif --window 8", "--window is 8; give at least 16"),
    "window in words": ("--input rgb=ortho.tif --window big", "--window cannot be big", "whole number"),
    "stride too large": ("--input rgb=ortho.tif --stride 65", "--stride is 65; give 1 to 64"),
    "no stride": ("--input rgb=ortho.tif --stride 0", "--stride is 0"),
    "batch of none": ("--input rgb=ortho.tif --batch_size 0", "--batch_size is 0", "at least 1"),
    "batch below none": ("--input rgb=ortho.tif --batch_size -1", "--batch_size is -1", "at least 1"),
    "unknown preset": ("--input rgb=ortho.tif --preset smoth", "--preset cannot be smoth", "smooth, test, authors"),
    "unknown coverage": ("--input rgb=ortho.tif --coverage tile", "--coverage cannot be tile", "pixel"),
    "unknown option": ("--input rgb=ortho.tif --strde 3", "--strde is not an option", "--stride?"),
    "unknown accelerator": ("--input rgb=ortho.tif --accelerator quantum", "--accelerator quantum"),
    "no devices": ("--input rgb=ortho.tif --devices 0", "--devices 0"),
    "backbone that is not needed": ("--input rgb=ortho.tif --backbone file", "--backbone"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(case, attempt, own_folder):
    text, *parts = WRONG[case]
    before = files(own_folder)
    said = sentence(attempt(text))
    for part in parts:
        assert part in said
    assert files(own_folder) == before


def test_checkpoints_that_are_none(attempt, best, own_folder):
    (own_folder / "text.ckpt").write_text("no checkpoint")
    whole = torch.load(best, map_location="cpu", weights_only=True)
    torch.save({"model": 3}, own_folder / "other.ckpt")
    torch.save({key: value for key, value in whole.items() if key != "RasterDataModule"}, own_folder / "stateless.ckpt")
    shutil.copy(best, own_folder / "short.ckpt")
    truncate(own_folder / "short.ckpt")
    before = files(own_folder)
    for name, part in {
        "gone.ckpt": "does not exist",
        "none": "is a folder without checkpoints/best.ckpt",
        "text.ckpt": "cannot be read as a checkpoint",
        "short.ckpt": "cannot be read as a checkpoint",
        "other.ckpt": "is not a checkpoint of a mobanet run",
        "stateless.ckpt": "does not say how its inputs are scaled; give one that mobanet.fit wrote",
    }.items():
        said = sentence(attempt(f"--input rgb=ortho.tif --ckpt_path {name}"))
        assert f"--ckpt_path {name}" in said
        assert part in said
    assert files(own_folder) == before
    assert "--ckpt_path needs a value" in sentence(attempt("--input rgb=ortho.tif --ckpt_path"))


@pytest.fixture(scope="module")
def broken_off(drawn, finished, tmp_path_factory):
    """A folder of finished parts, left by an attempt that was interrupted before the map was put together."""

    def interrupt(*_):
        raise KeyboardInterrupt

    here, said = shutil.copytree(drawn, tmp_path_factory.mktemp("broken_off") / "here"), io.StringIO()
    words = ["--input", "rgb=ortho.tif", "--window", "48", "--output", "map.tif"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.chdir(here)
        patch.setattr(mobanet.prediction.run, "assemble", interrupt)
        with pytest.raises(SystemExit, match="130"):
            main([*words, "--ckpt_path", str(finished / "checkpoints/best.ckpt")])
    assert (
        said.getvalue()
        .splitlines()[-1]
        .startswith("SIGINT has stopped the prediction after 1 of 1 parts; go on with: python -m mobanet.predict")
    )
    assert len(list((here / "map.tif.parts").glob("*.npz"))) == 1
    assert not (here / "map.tif").exists()
    return here / "map.tif.parts"


@pytest.fixture
def interrupted(broken_off, own_folder):
    """These parts, beside the rasters that they are of."""
    parts = shutil.copytree(broken_off, own_folder / "map.tif.parts")
    settings = parts / "settings.json"
    settings.write_text(settings.read_text().replace(str(broken_off.parent), str(own_folder)))
    return parts


def test_an_interrupted_attempt_is_in_the_way(attempt, interrupted, own_folder):
    before = files(own_folder)
    said = sentence(attempt("--input rgb=ortho.tif --window 48"))
    assert said == "map.tif.parts holds an interrupted prediction: go on with --resume, or start anew with --overwrite."
    assert files(own_folder) == before


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ("--window 32", "--window (48, now 32)"),
        ("--window 48 --stride 48", "--stride (24, now 48)"),
        ("--window 48 --stride 24 --preset test --coverage pixel", "--preset (smooth, now "),
        ("--window 48 --turns", "--turns (False, now True)"),
        ("--window 48 --gaps predict", "--gaps (nodata, now predict)"),
        ("--window 48 --probabilities uint8", "--probabilities (none, now uint8)"),
        ("--window 48 --scenarios", "--scenarios (False, now True)"),
        ("--window 48 --precision bf16-mixed", "--precision (32-true, now bf16-mixed)"),
        ("--window 48 --nodata rgb=0", "--nodata"),
        ("--window 48 --factor rgb=0.5", "--factor"),
        ("--window 48 --minimum rgb=3", "--minimum rgb (none, now 3.0)"),
    ],
)
def test_going_on_with_another_setting_names_it(attempt, interrupted, own_folder, changed, option):
    before = files(own_folder)
    said = sentence(attempt(f"--input rgb=ortho.tif --resume {changed}"))
    assert said.startswith(f"--resume: map.tif.parts was begun with another {option}")
    assert files(own_folder) == before


def test_going_on_with_other_rasters_names_them(attempt, interrupted, own_folder):
    said = sentence(attempt("--input rgb=ortho.tif dsm=surface.tif --window 48 --resume"))
    assert "another --input" in said
    assert "dsm" in said
    said = sentence(attempt("--input rgb=five.tif[1,2,3] --window 48 --resume"))
    assert "ortho.tif" in said
    assert "five.tif" in said
    os.utime(own_folder / "ortho.tif", ns=(1, 1))
    said = sentence(attempt("--input rgb=ortho.tif --window 48 --resume"))
    before, now = re.search(r"another --input.*? \((.*), now (.*)\); give the same", said).groups()
    assert "ortho.tif" in now
    assert before != now  # what is said shows what differs


def test_going_on_with_another_checkpoint(attempt, interrupted, finished, own_folder):
    changed = torch.load(finished / "checkpoints/best.ckpt", map_location="cpu", weights_only=True)
    torch.save({**changed, "epoch": 99}, own_folder / "other.ckpt")
    said = sentence(attempt("--input rgb=ortho.tif --window 48 --resume --ckpt_path other.ckpt"))
    assert "was begun with another --ckpt_path (" in said


def test_going_on_as_before_ends_as_it_should(attempt, interrupted, own_folder):
    ended = attempt("--input rgb=ortho.tif --window 48 --resume")
    assert ended.code == 0
    assert "going on with 1 of 1 parts there" in ended.err
    with rasterio.open(own_folder / "map.tif") as raster:
        assert raster.shape == (90, 70)
    assert leftovers(own_folder) == []
    assert not interrupted.exists()
    ended = attempt("--input rgb=ortho.tif --window 48 --resume")
    assert ended.code == 0
    assert "map.tif is finished; left as it is" in ended.err


def test_settings_of_an_attempt_that_are_damaged(attempt, interrupted):
    for content in ("", "{}", "[1]"):
        (interrupted / "settings.json").write_text(content)
        said = sentence(attempt("--input rgb=ortho.tif --window 48 --resume"))
        assert "map.tif.parts/settings.json is damaged: delete map.tif.parts" in said


def test_a_damaged_part_is_made_anew_when_told_to_go_on(attempt, interrupted, own_folder):
    (part,) = interrupted.glob("*.npz")
    whole = part.read_bytes()
    part.write_bytes(whole[:60] + bytes(40) + whole[100:])
    said = sentence(attempt("--input rgb=ortho.tif --window 48 --resume"))
    assert said == "map.tif.parts/000_00000.npz is damaged and was removed: run the command again with --resume."
    assert not (own_folder / "map.tif").exists()
    assert leftovers(own_folder) == []
    assert attempt("--input rgb=ortho.tif --window 48 --resume").code == 0
    assert not interrupted.exists()


@pytest.mark.parametrize("layout", [{}, TILED], ids=["strips", "tiles"])
@pytest.mark.parametrize("name", ["rgb", "dsm"])
def test_a_raster_cut_short_in_the_middle_of_the_run(name, layout, attempt, own_folder):
    """In the optical raster the first parts are done by then; a surface model's figures are taken before all else."""
    values = noise("long", 3, (900, 70)) if name == "rgb" else slope(900, 70)
    path = write(own_folder / "long.tif", values, **layout, **HERE)
    whole = path.read_bytes()
    truncate(path, 0.7)
    said = sentence(attempt(f"--input {name}=long.tif"))
    assert said.startswith("long.tif cannot be read from row 512 on; it is damaged or cut short")
    assert not (own_folder / "map.tif").exists()
    assert leftovers(own_folder) == []
    # what the sentence says is what works
    path.write_bytes(whole)
    remedy = "--overwrite" if "--overwrite" in said else "--resume"
    ended = attempt(f"--input {name}=long.tif {remedy}")
    assert ended.code == 0, ended.err
    assert (own_folder / "map.tif").exists()
    assert not (own_folder / "map.tif.parts").exists()


def test_a_map_of_before_stays_until_the_new_one_is_whole(attempt, own_folder):
    path = write(own_folder / "long.tif", noise("long", 3, (900, 70)), **HERE)
    before = (own_folder / "map_there.tif").read_bytes()
    truncate(path, 0.7)
    said = sentence(attempt("--input rgb=long.tif --output map_there.tif --overwrite"))
    assert "long.tif cannot be read" in said
    assert (own_folder / "map_there.tif").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written(attempt, own_folder):
    (own_folder / "none").chmod(0o500)
    try:
        assert "--output none/map.tif cannot be written" in sentence(
            attempt("--input rgb=ortho.tif --output none/map.tif")
        )
    finally:
        (own_folder / "none").chmod(0o700)


def test_a_model_of_more_scenarios_than_a_byte_numbers_is_refused(own_folder, command):
    names = [f"m{k}" for k in range(9)]
    data = DataDescription("toy", tuple(Modality(n, ("one",)) for n in names), dict.fromkeys(names, "unit"), CLASSES)
    module = SegmentationModule(data, backbone=backbone("dinov2"), network=MoBaNetSettings(**PARTS))
    kept = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "epoch": 0, "global_step": 1}
    module.on_save_checkpoint(kept)
    torch.save(kept | {"RasterDataModule": {"scaling": {name: [[0], [255]] for name in names}}}, "nine.ckpt")
    ended = command(main, ["--ckpt_path", "nine.ckpt", "--input", "m0=surface.tif", "--output", "map.tif"])
    assert sentence(ended) == (
        "--ckpt_path nine.ckpt has 9 modalities, in 511 scenarios, and a map tells 255 apart at most: give a model of "
        "up to 8 modalities."
    )
    assert leftovers(own_folder) == []
