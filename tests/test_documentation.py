"""Commands of README.md and docs: those behind a remark are run as written, every other one is parsed."""

import importlib
import re
import shlex
import shutil
import tomllib
from functools import partial

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from pyogrio import read_info

from mobanet.cli.commands import main
from mobanet.cli.option_names import with_settings
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.plain.yaml_files import parse_yaml
from mobanet.predict import predict
from tests.cli.conftest import start, wait
from tests.data_files.fake_files import georeferenced, noise, surface, write
from tests.data_files.fake_vectors import write_vector
from tests.file_server import serve
from tests.pages import ROOT, blocks, command_lines, marked, pages, told_options


def commands(where):
    """The commands behind a remark."""
    (code,) = marked(f"the suite runs these commands{where}", "bash")
    return code.splitlines()


RUN, OWN, TOWN = commands(""), commands(" on a town of its own"), commands(" on one mosaic")
MAPPING, SCRIPT = marked("the suite runs this script", "python")
LINES = [line for line in command_lines() if line not in (*RUN, *OWN, *TOWN)]
FIT = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:torchrun .* -m -- mobanet\.fit|bash experiments/cluster/torchrun\.sh"
    r"|sbatch .*experiments/cluster/slurm\.sbatch) (.*)"
)
"""What starts mobanet.fit in other ways than Python."""
LOOKING = r"python -m mobanet\.(test|scores|adapt|fit(?= --ckpt_path)) "
"""Commands that begin with a look at their checkpoint, so that only their options can be held against the parser's."""
OTHERS = {"source", "docker", "gdalwarp", "ogr2ogr", "wandb"}
"""Programs whose command lines are not ours."""


def plain(line):
    """A command without the environment before it; what starts mobanet.fit in another way, as if by Python."""
    if found := FIT.fullmatch(line):
        return f"python -m mobanet.fit {found[1]}"
    return re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line)


def execute(command, folder):
    python, option, module, *words = shlex.split(command)
    assert (python, option) == ("python", "-m")
    return wait(start(module, *words, folder=folder), timeout=600)


@pytest.mark.long
def test_the_synthetic_path_runs_as_written(tmp_path):
    assert [line.split()[2] for line in RUN] == [
        f"mobanet.{name}" for name in ("synthesize", "prepare", "check", "fit", "fit", "test", "report")
    ]
    outputs = []
    for command in RUN:
        done = execute(command, tmp_path)
        assert done.code == 0, done.err
        outputs.append(done.out + done.err)
    assert sorted(path.name for path in (tmp_path / "data/toy").iterdir() if path.name[0] != ".") == [
        "Potsdam.zip",
        "mobanet_store",
    ]
    assert (tmp_path / "data/toy/mobanet_store/contact_sheet.png").is_file()
    run = tmp_path / "runs/toy"
    left = {"config.yaml", "metrics.csv", "log.txt", "validation_confusion.csv", "scenario_scores.jsonl"}
    assert left <= {p.name for p in run.iterdir()}
    # one an epoch, but for the first two, in which the recipe shows all sensors
    assert len((run / "scenario_scores.jsonl").read_text().splitlines()) == 1
    epochs = [line.split(",")[1] for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert set(epochs) == {"0", "1", "2"}  # two epochs, and a third after resuming
    assert "mean of incomplete" in outputs[-2]
    assert "</html>" in (run / "report.html").read_text()
    assert len((run / "test/test_scenarios.csv").read_text().splitlines()) == 1 + 7 + 3 + 3 + 1
    assert (run / "test/predictions.png").is_file()
    assert (run / "test/test_scenarios.png").is_file()


@pytest.mark.long
def test_the_script_runs_as_written_and_its_checkpoint_predicts(city, tmp_path):
    ignore = shutil.ignore_patterns("mobanet_store", ".mobanet*")  # it has the tiles to prepare, and guards nothing
    shutil.copytree(city, tmp_path / "data/toy", ignore=ignore)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = execute("python -m script", tmp_path)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "runs/python").glob("*.ckpt")
    assert read_checkpoint(path)["epoch"] in (0, 1, 2)
    raster = next(city.glob("2_Ortho_RGB/*_2_10_RGB.tif"))
    (made,) = predict(str(path), [f"rgb={raster}"], str(tmp_path / "map.tif"))
    assert [share.name for share in made.scenarios] == ["rgb"]
    assert (tmp_path / "map.tif").is_file()
    path.rename(path.with_name("best.ckpt"))  # Lightning counts up where it goes on
    (tmp_path / "mapping.py").write_text(MAPPING)
    done = execute("python -m mapping", tmp_path)
    assert done.code == 0, done.err
    assert "'building'" in done.out
    assert re.search(r"\) 0\.400\d* \(160, 160\) 0\.", done.out)


def parsed(command, capsys):
    """What a command would be run with."""
    module, *words = shlex.split(command)[2:]
    behind = words.index("--") if "--" in words else len(words)
    words = [*words[:behind], *([] if "--print_config" in words else ["--print_config"]), *words[behind:]]
    name = module.removeprefix("mobanet.")
    run = partial(main, name) if name in ("fit", "test", "scores", "adapt") else importlib.import_module(module).main
    with pytest.raises(SystemExit) as ended:
        run(words)
    out, err = capsys.readouterr()
    assert ended.value.code in (None, 0), err
    return yaml.safe_load(out)


@pytest.mark.long
def test_own_data_run_as_written(tmp_path):
    assert [line.split()[2] for line in OWN] == [
        f"mobanet.{name}" for name in ("init", "check", "fit", "test", "predict")
    ]
    for number, tile in enumerate(("2_9", "2_10", "2_11", "3_9", "3_10", "3_11")):
        place = georeferenced(500_000 + 64 * number, 5_800_000, 0.5)
        write(tmp_path / f"town/ortho/{tile}.tif", noise(tile, 3, (128, 128)), **place)
        write(tmp_path / f"town/surface/{tile}.tif", surface(tile, (128, 128)), **place)
    shapes = [shapely.box(500_000 + 8 * n, 5_799_936, 500_008 + 8 * n, 5_800_000) for n in range(48)]
    write_vector(tmp_path / "town/landcover.gpkg", shapes, {"class": ["meadow", "house", "road"] * 16})
    for command in OWN:
        done = execute(command, tmp_path)
        assert done.code == 0, done.err
    assert (tmp_path / "runs/town/test/test_scenarios.csv").is_file()
    assert (tmp_path / "town.tif").is_file()


@pytest.fixture
def town(tmp_path):
    """Two rasters of 256 x 384 pixels, of which houses are bright and high, with land cover, areas and parcels."""
    size, random = (256, 384), np.random.default_rng(4)
    houses = [(row, column) for row in range(16, 256, 48) for column in range(16, 384, 48)]
    built = np.zeros(size, bool)
    for row, column in houses:
        built[row : row + 24, column : column + 24] = True
    ground = random.integers(60, 90, (3, *size)) + 100 * built
    heights = 40 + 0.02 * np.arange(size[1]) + 8 * built + random.normal(0, 0.2, size)
    place = georeferenced(500_000, 5_800_000, 0.5)
    write(tmp_path / "town/ortho.tif", ground.astype(np.uint8), **place)
    write(tmp_path / "town/surface.tif", heights[None].astype(np.float32), **place)

    def box(top, left, bottom, right):
        return shapely.box(500_000 + left / 2, 5_800_000 - bottom / 2, 500_000 + right / 2, 5_800_000 - top / 2)

    shapes = [box(0, 0, *size), *(box(row, column, row + 24, column + 24) for row, column in houses)]
    write_vector(tmp_path / "town/landcover.gpkg", shapes, {"class": ["open", *["house"] * len(houses)]})
    areas = {"train": (0, 0, 256, 192), "validation": (0, 192, 128, 384), "test": (128, 192, 256, 384)}
    write_vector(tmp_path / "town/areas.gpkg", [box(*at) for at in areas.values()], {"split": list(areas)})
    parcels = {"west": (0, 0, 256, 150), "east": (0, 150, 256, 384)}
    write_vector(tmp_path / "town/parcels.gpkg", [box(*at) for at in parcels.values()], {"parcel": list(parcels)})
    return tmp_path


@pytest.mark.long
def test_from_one_delivery_to_a_map_run_as_written(town, monkeypatch):
    assert [line.split()[2] for line in TOWN] == [
        f"mobanet.{name}" for name in ("init", "check", "fit", "test", "predict", "export")
    ]
    for command in TOWN:
        done = execute(command, town)
        assert done.code == 0, done.err
    scores = (town / "runs/town/test/test_scenarios.csv").read_text()
    assert len(scores.splitlines()) > 3
    with rasterio.open(town / "town.tif") as found:
        classes = found.read(1)
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open(town / "town/ortho.tif") as ortho:
        built = ortho.read(1) > 120
    house = parse_yaml((town / "town.yaml").read_text())["data"]["folder"]["classes"].index("house")
    assert ((classes == house) == built).mean() > 0.8  # trained for seconds
    assert len(read_info(town / "town_polygons.gpkg")["fields"]) > 3
    zones = [line.split(",")[0] for line in (town / "town_zones.csv").read_text().splitlines()]
    assert zones[1:] == ["west", "east"]
    # the folder, sent elsewhere, and the rasters, on a server, give the same bytes
    (town / "elsewhere").mkdir()
    shutil.move(town / "roofs", town / "elsewhere/roofs")
    server, http = serve(town / "town")
    try:
        given = [f"rgb={server.url('ortho.tif')}", f"dsm={server.url('surface.tif')}"]
        words = shlex.join(["--ckpt_path", "elsewhere/roofs", "--output", "again.tif", "--input", *given])
        done = execute(f"python -m mobanet.predict {words}", town)
    finally:
        http.shutdown()
        http.server_close()
    assert done.code == 0, done.err
    with rasterio.open(town / "again.tif") as again:
        assert np.array_equal(again.read(1), classes)


PARSED = [line for line in map(plain, LINES) if re.match(r"python -m mobanet\.", line) and not re.match(LOOKING, line)]


@pytest.mark.parametrize("command", PARSED)
def test_other_commands_parse(command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    description = next(code for page, code in blocks("yaml") if page == "docs/data-description.md")
    (tmp_path / "mytown.yaml").write_text(description)
    given = re.findall(r" --([a-z][a-z_]*)[ =]", f"{command} ")
    assert given or command.startswith("python -m mobanet.report ")
    if not {"help", "help_all"} & set(given):
        of_the_line = {"print_config", "config", "variant", "seeds", "test"}  # and no settings
        if (name := command.split()[2].removeprefix("mobanet.")) in ("fit", "test", "scores", "adapt"):
            given = [word[2:].partition(".")[0] for word in with_settings([f"--{each}" for each in given], name)]
        assert set(given) - of_the_line <= parsed(command, capsys).keys()


@pytest.mark.parametrize("line", [line for line in map(plain, LINES) if line not in PARSED])
def test_lines_of_other_programs_name_what_there_is(line):
    program, *words = shlex.split(line)
    given = [word.partition("=")[0] for word in words if word.startswith("--")]
    if found := re.match(LOOKING, line):
        assert set(given) <= told_options(found[1])
    elif program == "make":
        assert set(words) <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    elif program in ("python", "python3") and words[0] != "-m":
        source = (ROOT / words[0]).read_text()
        assert all(f'"{name}"' in source for name in given if name != "--")
    elif program == "pip":
        assert words[0] == "install"
    else:
        assert program in OTHERS or line == "python -m mobanet"


def test_pages_name_only_what_exists():
    text = "\n".join(pages().values())
    names = set(re.findall(r"--experiment (\w+)", text)) | set(re.findall(r"^\| `(\w+)` \|.*\|.*\|$", text, re.M))
    known = {path.stem for path in (ROOT / "experiments").glob("*.yaml")}
    assert known <= names
    assert {name for name in names if name.endswith("_dsm")} <= known
    variants = {name for listed in re.findall(r"--variant ([a-z_,]+)", text) for name in listed.split(",")}
    known = {path.stem for path in (ROOT / "experiments/variants").glob("*.yaml")}
    assert variants - {"my"} <= known
    assert known <= set(re.findall(r"`([a-z_]+)`", text)) | {"lora_cbc"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name for listed in re.findall(r"'(?:\.|mobanet)\[([a-z,]+)\]'", text) for name in listed.split(",")}
    assert extras <= project["optional-dependencies"].keys()
    for path in re.findall(r"\b(?:experiments|tests|mobanet)/[\w/.-]+\w\.(?:py|sh|sbatch|yaml|csv)\b", text):
        assert (ROOT / path).is_file() or path.endswith("/NAME.py"), path
