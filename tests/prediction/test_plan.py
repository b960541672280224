import inspect
import json
import os

import numpy as np
import pytest

from mobanet.errors import UserError
from mobanet.predict import predict
from mobanet.prediction.parts import PANEL
from mobanet.prediction.plan import MapSettings, output_paths, plan_scene, ticket
from mobanet.prediction.request import GivenRaster
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.rasters.blocks import summarise
from mobanet.rasters.ground import Ground
from tests.data_files.fake_files import georeferenced, noise, write
from tests.prediction.conftest import placed, slope

RUN = {"size": 64, "stride": 48}


def settings(preset="smooth", windows=RUN, **given):
    return MapSettings.of(preset, windows, given)


def test_presets():
    smooth, test, authors = (settings(preset) for preset in ("smooth", "test", "authors"))
    assert smooth == MapSettings(64, 32, "smooth", coverage="pixel")
    assert test == MapSettings(64, 48, "sum", coverage="window")
    assert authors == MapSettings(64, 32, "sum", coverage="window")
    assert settings("authors", {"size": 256, "stride": 256}).stride == 32
    assert settings("authors", {"size": 20, "stride": 20}).stride == 20
    assert settings("smooth", {"size": 65, "stride": 65}).stride == 32


def test_what_the_user_says_wins():
    found = settings(
        "test", window=128, stride=100, coverage="pixel", turns=True, gaps="predict", probabilities="uint8"
    )
    assert found == MapSettings(128, 100, "sum", True, "pixel", "predict", "uint8")
    assert settings("smooth", window=50).stride == 25
    assert settings("smooth", window=None, stride=None, coverage=None) == settings("smooth")
    assert settings("smooth", None, window=40) == MapSettings(40, 20)
    assert settings("test", None, window=40).stride == 40


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"window": 15}, "--window is 15; give at least 16 pixels."),
        ({"window": 0}, "--window is 0; give at least 16 pixels."),
        ({"window": -64}, "--window is -64; give at least 16 pixels."),
        ({"stride": 0}, "--stride is 0; give 1 to 64 pixels, the window's size."),
        ({"stride": -1}, "--stride is -1; give 1 to 64 pixels, the window's size."),
        ({"stride": 65}, "--stride is 65; give 1 to 64 pixels, the window's size."),
        ({"stride": 60, "window": 32}, "--stride is 60; give 1 to 32 pixels, the window's size."),
        ({"window": 32, "preset": "test"}, "--stride is 48; give 1 to 32 pixels, the window's size."),
        ({"windows": None}, "the checkpoint does not say how large its windows are; give --window, in pixels."),
    ],
)
def test_sizes_that_make_no_sense_are_refused(given, said):
    with pytest.raises(UserError) as error:
        settings(**given)
    assert str(error.value) == said


@pytest.mark.parametrize("window", [16, 256, 1024, 4096])
@pytest.mark.parametrize("classes", [2, 6, 100, 250])
def test_a_panel_bounds_memory_but_is_no_narrower_than_two_windows(window, classes):
    columns = MapSettings(window, window).panel(classes)
    assert 2 * window <= columns <= max(PANEL, 2 * window)
    if columns > max(2 * window, 512):
        assert columns % 512 == 0
        assert 4 * classes * window * columns <= 256 * 2**20
    assert MapSettings(64, 32).panel(6) == PANEL


def test_one_scene_goes_to_the_file_or_into_the_folder(tmp_path):
    assert output_paths(tmp_path / "map.tif", ["a"]) == [tmp_path / "map.tif"]
    assert output_paths(tmp_path / "new/sub/map.TIFF", ["a"]) == [tmp_path / "new/sub/map.TIFF"]
    assert output_paths(tmp_path, ["a"]) == [tmp_path / "a.tif"]
    assert output_paths(f"{tmp_path}/new/", ["a"]) == [tmp_path / "new/a.tif"]
    assert not (tmp_path / "new").exists()


def test_several_scenes_go_into_a_folder(tmp_path):
    assert output_paths(tmp_path / "maps", ["a", "b"]) == [tmp_path / "maps/a.tif", tmp_path / "maps/b.tif"]


def test_a_relative_and_a_home_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [str(path) for path in output_paths("map.tif", ["a"])] == ["map.tif"]
    assert output_paths("~/map.tif", ["a"]) == [tmp_path / "map.tif"]


def test_outputs_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.tif").mkdir()
    for output, ids, said in (
        ("map.tif", ["a", "b"], "map.tif names one file for 2 scenes; name a folder."),
        ("map", ["a"], "map must end with .tif, or name a folder that is there."),
        ("map.png", ["a"], "map.png must end with .tif, or name a folder that is there."),
        ("maps", ["a", "b", "a"], "several scenes are named a; predict them one at a time."),
        ("file/map.tif", ["a"], f"cannot be written: {tmp_path}/file is not a folder that you may write to."),
        ("file/below/map.tif", ["a"], f"cannot be written: {tmp_path}/file is not a folder that you may write to."),
        ("file", ["a", "b"], f"cannot be written: {tmp_path}/file is not a folder that you may write to."),
    ):
        with pytest.raises(UserError) as error:
            output_paths(tmp_path / output, ids)
        assert str(error.value).endswith(said)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="is not a folder that you may write to"):
            output_paths(tmp_path / "map.tif", ["a"])
    finally:
        tmp_path.chmod(0o700)


def test_every_part_of_a_ticket_is_named_by_an_option(ortho):
    options = {f"--{name}" for name in inspect.signature(predict).parameters}
    assert {key.split()[0] for key in ticket(placed(rgb=ortho), settings(), "abc")} <= options


def test_a_ticket_tells_what_a_map_depends_on(ortho, tmp_path):
    def of(raster=ortho, checkpoint="abc", given=None, **options):
        return ticket(placed(rgb=raster, **options), given or settings(), checkpoint)

    same = of()
    assert of() == same
    other = write(tmp_path / "other.tif", noise("ortho", 3, (90, 70)), **georeferenced(1000, 2000, 1))
    for changed in (
        of(checkpoint="def"),
        of(raster=other),
        of(raster=GivenRaster(ortho, (2, 1, 0))),
        of(raster=GivenRaster(ortho, (), 3.0)),
        of(raster=GivenRaster(ortho, (), None, 0.5)),
        *(
            of(given=settings(**given))
            for given in ({"window": 32}, {"stride": 8}, {"turns": True}, {"gaps": "predict"})
        ),
        *(
            of(given=settings(**given))
            for given in ({"probabilities": "uint8"}, {"scenarios": True}, {"preset": "test"})
        ),
        of(given=settings(precision="bf16-mixed")),
    ):
        assert changed != same
    os.utime(ortho, ns=(1, 1))
    assert of() != same


LEVELS = {"rgb": np.array([[0.1] * 3, [1 / 3] * 3], np.float32)}


BLOCKS = summarise(lambda: [(slope(90, 70)[0, :, :, None], None)], 90, 70, (0, 0))
SCALING = SceneScaling(LEVELS, {"dsm": Ground.fitted(BLOCKS, (90, 70), (0, 0), 256)})


def plan(scene, path, given=None, measured=SCALING):
    return plan_scene(0, scene, path, given or settings(), 6, "abc", measured)


def test_an_interrupted_attempt_is_found_again(ortho, tmp_path):
    scene, path = placed(rgb=ortho), tmp_path / "map.tif"
    first = plan(scene, path)
    assert [part.bottom for part in first.parts] == [90]
    assert first.grid == scene.grid
    again = plan(scene, path, measured=None)
    assert again.parts == first.parts
    offset_scale, ground = again.scaling.offset_scale["rgb"], again.scaling.grounds["dsm"]
    assert offset_scale.dtype == np.float32
    assert np.array_equal(offset_scale, LEVELS["rgb"])  # to the last digit
    assert np.array_equal(ground.window(0, 0, 90, 70), SCALING.grounds["dsm"].window(0, 0, 90, 70))
    with pytest.raises(UserError, match=r"another --window \(64, now 32\)"):
        plan(scene, path, settings(window=32))


NODES = {"nodes": [[[1.0]]], "first": [0, 0], "spacing": 64}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"scaling": 3},
        {"scaling": {"offset_scale": {}}},
        {"scaling": {"offset_scale": {}, "grounds": {"dsm": NODES}}},
    ],
)
def test_settings_without_what_a_scene_is_scaled_by_are_damaged(content, ortho, tmp_path):
    scene, path = placed(rgb=ortho), tmp_path / "map.tif"
    plan(scene, path)
    ticket_file = path.with_name("map.tif.parts") / "settings.json"
    ticket_file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"settings\.json is damaged"):
        plan(scene, path)


def test_what_does_not_change_the_map_may_change(ortho, tmp_path):
    """Neither batch size nor devices are in a ticket."""
    assert not {"--batch_size", "--devices", "--accelerator", "--backbone"} & set(
        ticket(placed(rgb=ortho), settings(), "")
    )
