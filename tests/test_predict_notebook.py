"""The notebook from two GeoTIFFs to a map is executed as a whole: on the demo, on other rasters, and without any."""

import base64
import io
import os
import re
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pytest
import rasterio
import shapely
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from PIL import Image
from rasterio.transform import from_origin

from mobanet.predict import main
from tests.cli.conftest import command, prepared  # noqa: F401 - fixtures
from tests.cli.test_predict import copy_with, files_of, model, read  # noqa: F401
from tests.notebooks import Client
from tests.test_notebook import Executed

NOTEBOOK = Path(__file__).parent.parent / "notebooks/predict_your_own.ipynb"
MAPS = "runs/maps"
FIGURES = ("look", "map", "difference", "scenarios", "place")
"""Cells that show a picture each."""
CLASSES = ("impervious surfaces", "building", "low vegetation", "tree", "car", "clutter")
NODATA = -9999


def execute(project, area="None", **environment) -> Executed:
    """Execute the notebook in the folder `notebooks` of a project; `AREA` as the user may write it."""
    (project / "notebooks").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    try:
        return Executed(run_all(project, area, environment))
    except CellTimeoutError:  # once in many runs the client misses a reply of the idle kernel, and waits for ever
        return Executed(run_all(project, area, environment))


def run_all(project, area, environment):
    """The notebook with the outputs of its cells, up to one that fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.id == "within")
    assert "AREA = None  #" in cell.source
    cell.source = cell.source.replace("AREA = None", f"AREA = {area}")
    own = {key: value for key, value in os.environ.items() if not key.startswith("MOBANET_")}
    own |= {"OMP_NUM_THREADS": "1", "IPYTHONDIR": str(project / "ipython"), **environment}
    client = Client(
        notebook,
        kernel_name="python3",
        timeout=900,
        coalesce_streams=True,
        resources={"metadata": {"path": str(project / "notebooks")}},
    )
    with suppress(CellExecutionError):
        client.execute(env=own)
    return notebook


def assert_whole(done):
    """Every cell has run and said no more than it should, and no picture is cut off at its border."""
    assert troubles(done) == []
    pictures = {}
    for name, cell in done.cells.items():
        shown = [output.data.get("image/png") for output in cell.get("outputs", []) if "data" in output]
        if any(shown):
            (png,) = filter(None, shown)
            pictures[name] = np.array(Image.open(io.BytesIO(base64.b64decode(png))).convert("L"))
    assert set(pictures) == set(FIGURES)
    for picture in pictures.values():
        assert min(picture.shape) > 300
        assert len(np.unique(picture)) > 10
        inner = picture[2:-2, 2:-2]
        assert (inner < 255).sum() == (picture < 255).sum()


def troubles(done):
    outputs = [output for cell in done.cells.values() for output in cell.get("outputs", [])]
    # warnings, too, go to stdout here, with the progress of predictions
    return [
        output
        for output in outputs
        if output.output_type == "error" or output.get("name") == "stderr" or "Warning:" in output.get("text", "")
    ]


def counted(values):
    """Pixels of each class, by a way of its own."""
    return {name: int((values == index).sum()) for index, name in enumerate(CLASSES)}


def assert_areas(table, pixels, pixel_area):
    """A table of areas says what was counted; `pixel_area` in square metres."""
    total = sum(pixels.values())
    assert list(table) == [*pixels, "all"]
    for name, count in [*pixels.items(), ("all", total)]:
        shown, share, hectares = table[name]
        assert shown == f"{count:,}"
        assert float(share) == pytest.approx(100 * count / total, abs=0.0501)
        if pixel_area is None:
            assert hectares == "unknown"
        else:  # on the ground, which differs from a map's metres by up to a thousandth in UTM
            assert float(hectares.replace(",", "")) == pytest.approx(count * pixel_area / 10_000, rel=2e-3, abs=1e-4)
    assert table["all"][1] == "100.0"
    assert sum(float(share) for _, share, _ in list(table.values())[:-1]) == pytest.approx(100, abs=0.05 * len(pixels))


@pytest.fixture(scope="module")
def demo(city, model, tmp_path_factory):  # noqa: F811
    """The notebook as it is, executed on what `make demo` leaves."""
    project = tmp_path_factory.mktemp("demo")
    checkpoint = project / "demo/run/checkpoints/best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(model, checkpoint)
    (project / "demo/city").symlink_to(city)
    return project, execute(project)


@pytest.mark.long
def test_the_notebook_runs_on_what_make_demo_leaves(demo):
    project, done = demo
    assert_whole(done)
    rasters = done.table("open")
    assert list(rasters) == ["rgb", "ir", "dsm"]
    with rasterio.open(project / "demo/city/1_DSM/dsm_potsdam_02_13.tif") as raster:
        size = raster.transform.a
    assert rasters["rgb"][0] == "top_potsdam_2_13_RGBIR.tif"
    assert rasters["dsm"][1:] == ["elevation", "160 x 160", f"{size:g} metre", "EPSG:32633", "0.0"]
    names = ["map", "map_half", "map_half_scenarios", "map_probabilities", "map_without", "half_surface"]
    assert {path.name for path in (project / MAPS).iterdir()} >= {f"{name}.tif" for name in names}
    assert not list(project.rglob("*.part*"))


def test_two_lines_give_the_arrays_of_the_written_map(demo):
    project, done = demo
    said = done.said("two-arrays")
    assert "rgb+ir+dsm -> impervious surfaces, building" in said
    assert "classes (160, 160)" in said
    pixels = {name: int(n.replace(",", "")) for name, n in re.findall(r"^(.+): ([\d,]+) pixels, mean conf", said, re.M)}
    assert pixels == {name: n for name, n in counted(read(project / MAPS / "map.tif")).items() if n}
    assert all(0 < float(mean) <= 1 for mean in re.findall(r"mean confidence (\S+)", said))


def test_areas_are_those_of_the_written_map(demo):
    project, done = demo
    pixels = counted(read(project / MAPS / "map.tif"))
    assert sum(pixels.values()) == 160 * 160
    assert sum(count > 0 for count in pixels.values()) >= 3
    with rasterio.open(project / MAPS / "map.tif") as raster:
        assert raster.crs.to_epsg() == 32633
        assert_areas(done.table("areas"), pixels, raster.transform.a**2)
    inside = done.table("within")["all"]
    assert int(inside[0].replace(",", "")) == pytest.approx(160 * 160 / 2, abs=160)  # the diamond


def test_the_map_without_the_surface_model_is_compared(demo):
    project, done = demo
    with rasterio.open(project / MAPS / "map_without.tif") as raster:
        assert "dsm" not in raster.tags()["mobanet_inputs"]
    full, without = read(project / MAPS / "map.tif"), read(project / MAPS / "map_without.tif")
    changed = int((full != without).sum())
    assert changed > 0
    assert f"without dsm {changed:,} of 25,600 pixels get another class, {changed / 256:.1f} %" in done.said("without")
    before, after = counted(full), counted(without)
    table = done.table("without")
    assert list(table) == list(CLASSES)
    for name, cells in table.items():
        expected = [before[name] / 256, after[name] / 256, (after[name] - before[name]) / 256]
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=0.0501)


def test_half_a_surface_model_gives_two_scenarios(demo):
    project, done = demo
    with rasterio.open(project / MAPS / "half_surface.tif") as raster:
        assert raster.nodata == NODATA
        heights = raster.read(1)
    assert (heights[:, 80:] == NODATA).all()
    assert np.array_equal(heights[:, :80], read(project / "demo/city/1_DSM/dsm_potsdam_02_13.tif")[:, :80])
    with rasterio.open(project / MAPS / "map_half_scenarios.tif") as raster:
        scenarios, names = raster.read(1), raster.tags(1)
        assert_areas(done.table("half"), {"rgb+ir": 12_800, "rgb+ir+dsm": 12_800}, raster.transform.a**2)
    assert {names[f"SCENARIO_{number}"] for number in np.unique(scenarios[:, :80])} == {"rgb+ir+dsm"}
    assert {names[f"SCENARIO_{number}"] for number in np.unique(scenarios[:, 80:])} == {"rgb+ir"}
    half, without = read(project / MAPS / "map_half.tif"), read(project / MAPS / "map_without.tif")
    assert np.array_equal(half[:, 80:], without[:, 80:])  # as the text says
    assert not np.array_equal(half[:, :80], without[:, :80])


def test_the_printed_command_writes_the_same_file(demo, command, monkeypatch):  # noqa: F811
    project, done = demo
    monkeypatch.chdir(project)
    words = shlex.split(done.said("command"))
    assert words[:3] == ["python", "-m", "mobanet.predict"]
    words[words.index(f"{MAPS}/map.tif")] = "again.tif"
    ended = command(main, words[3:])
    assert ended.code == 0, ended.err
    assert Path("again.tif").read_bytes() == Path(MAPS, "map.tif").read_bytes()
    assert Path("again_probabilities.tif").read_bytes() == Path(MAPS, "map_probabilities.tif").read_bytes()


@pytest.mark.long
def test_rasters_of_two_grids_with_missing_pixels_and_a_polygon_of_ones_own(city, model, tmp_path):  # noqa: F811
    """An orthophoto of three bands with an empty corner, longer than wide, and a surface model of larger pixels."""
    files = files_of(city)

    def ortho(values):
        values = values[:, :, :120].clip(1)
        values[:, :30, :40] = 0
        return values

    rgb = copy_with(files["rgb"], tmp_path / "own/my ortho.tif", ortho, nodata=0, transform=from_origin(500, 900, 2, 2))
    coarse = from_origin(500, 900, 4, 4)
    dsm = copy_with(files["dsm"], tmp_path / "own/dsm.tif", lambda v: v[:, ::2, ::2][:, :, :60], transform=coarse)
    inputs = shlex.join([f"rgb={rgb}", f"dsm={dsm}"])
    area = "shapely.Polygon([(530.5, 880.3), (901.7, 700.9), (611.3, 640.1), (640.7, 777.7)])"  # ends outside the map
    done = execute(
        tmp_path / "project", area, MOBANET_CHECKPOINT=str(model), MOBANET_INPUT=inputs, MOBANET_OUTPUT="my maps"
    )
    assert_whole(done)
    assert done.table("open") == {
        "rgb": ["my ortho.tif", "red, green, blue", "120 x 160", "2", "none", f"{100 * 1200 / (160 * 120):.1f}"],
        "dsm": ["dsm.tif", "elevation", "60 x 80", "4", "none", "0.0"],
    }
    assert "from rgb+dsm, without ir" in done.said("predict")
    values = read(tmp_path / "project/my maps/map.tif")
    assert int((values == 255).sum()) == 1200
    assert_areas(done.table("areas"), counted(values), None)  # the system, and so the unit, is not known
    columns, rows = np.meshgrid(500 + 2 * (np.arange(120) + 0.5), 900 - 2 * (np.arange(160) + 0.5))
    inside = shapely.contains_xy(eval(area, {"shapely": shapely}), columns, rows)
    assert 1000 < inside.sum() < 10_000
    assert (values[inside] == 255).any()
    assert_areas(done.table("within"), counted(values[inside]), None)
    assert set(done.table("half")) == {"rgb", "rgb+dsm", "all"}
    assert "--crs" not in done.said("command")


def test_without_the_demo_the_notebook_stops_with_one_sentence(tmp_path):
    done = execute(tmp_path / "project")
    (trouble,) = troubles(done)
    assert trouble in done.outputs("start")
    missing = tmp_path / "project/demo/run/checkpoints/best.ckpt"
    sentence = f"error: {missing} does not exist: run `make demo` first, or name a checkpoint of yours above."
    assert trouble.traceback == [sentence]
    order = list(done.cells)
    later = [name for name in order[order.index("start") + 1 :] if done.cells[name].get("outputs")]
    assert later == []
    assert not (tmp_path / "project/runs").exists()


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert all(re.fullmatch(r"[a-z-]+", cell.id) for cell in notebook.cells)  # named, not drawn anew by an editor
