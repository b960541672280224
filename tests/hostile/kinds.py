"""What is damaged, and what then reads it: a function a kind, of a generator and an empty folder.

Each ends by itself, by a `UserError`, or in what the fuzzer exists to find. What is left is checked here.
"""

import hashlib
import io
import random
import shutil
import zipfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import torch

from mobanet.cli.parser_errors import check_config_files
from mobanet.data.reading import TileReader, TileWindow
from mobanet.datasets import FolderModality, FolderSettings, get_layout, load_folder_settings
from mobanet.datasets.catalogue import Listings, list_files
from mobanet.datasets.polygons import Filled, labelled_images, read_extent, read_outlines
from mobanet.errors import UserError
from mobanet.evaluation.read_back import read_evaluation
from mobanet.loading.module import load_module
from mobanet.prediction.parts import parts_of
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.request import find_scenes
from mobanet.prediction.rows import RasterRows
from mobanet.prediction.run import describe_model
from mobanet.prediction.scene import place
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.archives import local_copy
from mobanet.rasters.categories import class_kind
from mobanet.rasters.geotiff import RowWriter
from mobanet.reporting.logged import read_curves
from mobanet.scenarios.history import read_history, read_scores, write_record
from mobanet.scenarios.probabilities import read_probabilities
from mobanet.store.build import build_store
from mobanet.store.stored import TileStore
from mobanet.tracking.csv_log import read_rows
from mobanet.tracking.wandb_run import read_tracked
from mobanet.trials.files import read_json as read_trial
from mobanet.trials.sweep_file import read_sweep
from tests.cli.conftest import leftovers
from tests.data_files.fake_files import WORLD, coloured, georeferenced, indices, load, noise, surface, write, zipped
from tests.data_files.fake_satellites import SCENES, dstl
from tests.data_files.fake_vectors import DRIVERS, box, tiles, write_vector
from tests.exporting.small import DSM, RGB, keep, make
from tests.hostile.mutate import bytes_of, json_of, text_of, tree_of
from tests.prediction.conftest import MODALITIES
from tests.unit.test_read_back import DATA, results, written
from tests.unit.test_score_files import THREE, TWO, record, scores_file

SIZE = (33, 40)
NAMES = ("north", "south", "east", "west", "up", "down")
COLOURS = [(255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)]
OWN = get_layout(
    "folder",
    FolderSettings(
        {
            "rgb": FolderModality("rgb/{tile}.tif", band_numbers=[1, 2, 3]),
            "dsm": FolderModality("dsm/{tile}.tif", kind="elevation"),
        },
        list(NAMES),
        "label/{tile}.tif",
        colours=COLOURS,
    ),
)
OPTIONS = ({}, {"compress": "deflate"}, {"compress": "lzw", "tiled": True, "blockxsize": 16, "blockysize": 16})


def _rng(number: int) -> random.Random:
    return random.Random(number)


def raster_files(rng: random.Random, folder: Path) -> dict[str, Path]:
    """Rasters of one tile, georeferenced or not, packed one way or another."""
    place_of = rng.choice(({}, georeferenced(1000, 2000, 1)))
    options = rng.choice(OPTIONS)
    files = {"rgb": noise("a", 3, SIZE), "dsm": surface("a", SIZE), "label": coloured(indices("a", SIZE))}
    made = {name: write(folder / name / "a.tif", array, **place_of, **options) for name, array in files.items()}
    if not place_of and rng.random() < 0.7:
        for name in ("rgb", "dsm"):
            (folder / name / "a.tfw").write_text(WORLD)
    return made


def damage_one(rng: random.Random, files: dict[str, Path]) -> None:
    """A raster, its world file, or its sidecar of GDAL's."""
    path = rng.choice(list(files.values()))
    world, told = path.with_suffix(".tfw"), path.with_name(f"{path.name}.aux.xml")
    kind = rng.random()
    if world.exists() and kind < 0.5:
        world.write_bytes(text_of(rng, world.read_bytes()))
    elif kind < 0.65:
        told.write_bytes(text_of(rng, _SIDECAR))
    else:
        path.write_bytes(bytes_of(rng, path.read_bytes()))


_SIDECAR = b"""<PAMDataset>
<SRS>EPSG:32633</SRS>
<GeoTransform> 1.0e+03, 1.0, 0.0, 2.0e+03, 0.0, -1.0 </GeoTransform>
<PAMRasterBand band="1"> <NoDataValue>3</NoDataValue> <Offset>1</Offset> <Scale>2</Scale> <UnitType>ft</UnitType>
<Description>blue</Description> <ColorInterp>Palette</ColorInterp>
<ColorTable> <Entry c1="9" c2="0" c3="0" c4="255"/> <Entry c1="0" c2="9" c3="0" c4="255"/> </ColorTable>
</PAMRasterBand>
<PAMRasterBand band="3"> <ColorInterp>Alpha</ColorInterp> </PAMRasterBand>
</PAMDataset>
"""


def prepared_rasters(rng: random.Random, folder: Path) -> None:
    """Prepare damaged rasters; what a store says of them is whole and finite."""
    damage_one(rng, raster_files(rng, folder / "data"))
    store, refused = folder / "store", None
    try:
        build_store(OWN, folder / "data", store, workers=1)
    except UserError as error:
        refused = error
    if refused is None:
        check_store(store)
    elif (store / "store.json").exists():
        raise AssertionError(f"refused and finished: {refused}")
    assert leftovers(folder) == []
    if refused is not None:
        raise refused


def check_store(path: Path) -> None:
    """All that a store says is finite, and its arrays are there."""
    for tile in TileStore(path).tiles.values():
        assert tile.transform is None or np.isfinite(tile.transform).all(), tile.transform
        for name, (shape, dtype) in tile.arrays().items():
            array = load(tile, name)
            assert (array.shape, str(array.dtype)) == (shape, dtype)
        for each in tile.modalities.values():
            assert all(np.isfinite(list(asdict(figures).values())).all() for figures in each.statistics)


def predicted_rasters(rng: random.Random, folder: Path) -> None:
    """Everything that predicting does with damaged rasters but the network."""
    files = raster_files(rng, folder / "data")
    del files["label"]
    damage_one(rng, files)
    (scene,) = find_scenes({name: str(path) for name, path in files.items()}, list(MODALITIES))
    scene = place(scene, MODALITIES, rng.choice((None, "dsm")))
    scaling = dict.fromkeys(MODALITIES, "robust")
    learnt = {m: np.ones((2, len(MODALITIES[m].bands))) for m in MODALITIES}
    offset_scale = SceneScaling.measured(scene, MODALITIES, scaling, learnt).offset_scale
    assert all(np.isfinite(numbers).all() for numbers in offset_scale.values())
    for raster in scene.rasters.values():
        with RasterRows(raster) as rows:
            for values, valid in rows.chunks():
                assert np.isfinite(values if valid is None else values[valid]).all()
    with RowWriter(folder / "map.tif", scene.grid, class_kind(OWN.classes)) as writer:
        for top in range(0, scene.grid.height, 256):
            writer.write(np.zeros((1, min(256, scene.grid.height - top), scene.grid.width), np.uint8))
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["map.qml", "map.tif", "map.tif.aux.xml"]


@cache
def packed() -> dict[int, bytes]:
    """A data set as archives, by way of packing; one inside another for a third of them."""
    import tempfile

    made = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raster_files(_rng(0), folder / "plain")
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            inner = zipped(folder / f"in{method}" / "inner.zip", folder / "plain", compression=method)
            made[2 * method] = inner.read_bytes()
            made[2 * method + 1] = zipped(folder / f"o{method}.zip", inner.parent, compression=method).read_bytes()
    return made


def archives(rng: random.Random, folder: Path) -> None:
    """List and unpack damaged archives, also ones inside archives."""
    content = bytes_of(rng, rng.choice(list(packed().values())))
    (folder / "data").mkdir()
    (folder / "data/all.zip").write_bytes(content)
    try:
        for entry in list_files(folder / "data", folder / "scratch").entries:
            with local_copy(entry.file, folder / "scratch") as path:
                path.read_bytes()
    finally:
        unpacked = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert unpacked < 50_000_000, unpacked
        outside = [path.name for path in folder.iterdir() if path.name not in ("data", "scratch")]
        assert not outside, outside


FOLDER = b"""modalities:
  rgb: {pattern: "rgb/{tile}.tif", band_numbers: [1, 2, 3], maximum: 255.0}
  dsm: {pattern: "dsm/{tile}.tif", kind: elevation, nodata: -9999, factor: 0.1}
classes: [road, roof, rest]
label: label/{tile}.tif
values: {3: 0, 4: 1, 7: 2}
ignored: [0]
splits:
  train: [north_*, a]
  test: [b]
crs: EPSG:32633
"""

SWEEP = b"""method: random
metric: {name: val/miou, goal: maximize}
parameters:
  model.lr: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-3}
  data.batch_size: {values: [2, 4, 8], probabilities: [0.2, 0.3, 0.5]}
  model.masking.ratio: {min: 0.1, max: 0.9}
run_cap: 7
command: ["${env}", "${interpreter}", "-m", "mobanet.fit", "--experiment", "potsdam_irrgb_dsm", "${args}"]
"""

EXPERIMENT = b"""seed_everything: 3
trainer:
  max_epochs: 2
  precision: 32-true
data:
  layout: potsdam
  modalities: &m [rgb, ir, dsm]
  crop: 64
  scaling: {dsm: robust}
model:
  lr: 1.0e-4
  streams: {optical: [rgb, ir], elevation: [dsm]}
"""


def own_data(rng: random.Random, folder: Path) -> None:
    """A description of one's own data, and what a layout makes of it."""
    path = put(folder / "own.yaml", text_of(rng, FOLDER))
    layout = get_layout("folder", load_folder_settings(path))
    assert all(name.isprintable() for name in (*layout.modalities, *layout.classes.names))


@cache
def covers() -> dict[str, dict[str, bytes]]:
    """Vector files of each format, with what lies beside them."""
    import tempfile

    shapes = [box(3 * n % 40, 5 * n % 30, 3 * n % 40 + 9, 5 * n % 30 + 7) for n in range(40)]
    columns = {"class": np.array(["tree", "building", None, "17"] * 10, object), "height": np.arange(40.0)}
    found = {}
    for ending in DRIVERS:
        with tempfile.TemporaryDirectory() as name:
            write_vector(Path(name) / f"cover{ending}", shapes, columns)
            found[ending] = {path.name: path.read_bytes() for path in Path(name).iterdir()}
    return found


COVER = b"""modalities:
  rgb: {pattern: "ortho/{tile}.tif", band_numbers: [1, 2, 3]}
classes: [building, tree]
label:
  vector: cover.*
  attribute: class
  values: {building: building, tree: tree, 17: tree, 010: ignored, null: building}
  background: ignored
  order: height
  all_touched: [tree]
  crs: null
"""


def vectors(rng: random.Random, folder: Path) -> None:
    """Polygons for labels, of which the file or the description is damaged."""
    ending = rng.choice(list(DRIVERS))
    files, text = covers()[ending], COVER.replace(b"cover.*", f"cover{ending}".encode())
    tiles(folder / "data", ("a",), (33, 40))
    for name, content in files.items():
        put(folder / "data" / name, content)
    if rng.random() < 0.3:
        text = text_of(rng, text)
    else:
        name = rng.choice(list(files))
        change = rng.choice((text_of, json_of)) if ending == ".geojson" else bytes_of
        put(folder / "data" / name, change(rng, files[name]))
    layout = get_layout("folder", load_folder_settings(put(folder / "own.yaml", text)))
    build_store(layout, folder / "data", folder / "store", workers=1)
    check_store(folder / "store")


def sweeps(rng: random.Random, folder: Path) -> None:
    """A sweep file."""
    read_sweep(put(folder / "search.yaml", text_of(rng, SWEEP)))


def experiments(rng: random.Random, folder: Path) -> None:
    """A configuration of a training run, as the command line reads it before anything else."""
    check_config_files(["--config", str(put(folder / "mine.yaml", text_of(rng, EXPERIMENT)))])


def options(rng: random.Random, folder: Path) -> None:
    """A configuration and words, parsed by types."""
    from mobanet.cli.entry import run

    def command(
        root: str, layout: str = "potsdam", modalities: list[str] | None = None, workers: int = 0, factor: float = 1.0,
        scaling: dict[str, str] | None = None, bands: list[int] | None = None, deep: bool = False,
    ) -> None:  # fmt: skip
        """Do nothing."""
        Path(root).exists()
        float(factor), np.int64(workers), np.array(bands or [0], np.int64), "".join(modalities or ())

    given = (
        b"root: /nowhere\nlayout: potsdam\nmodalities: [rgb, dsm]\nworkers: 2\nfactor: 0.5\nscaling: {dsm: robust}\n"
    )
    words = ["--config", str(put(folder / "mine.yaml", text_of(rng, given)))]
    for _ in range(rng.randrange(3)):
        name = rng.choice(("root", "layout", "modalities", "workers", "factor", "scaling", "bands", "deep", "config"))
        words += [f"--{name}", text_of(rng, rng.choice((b"3", b"[1, 2]", b"{a: b}", b"rgb", b"0.5"))).decode("latin-1")]
    run(command, "python -m command", words)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@cache
def example_store() -> dict[str, bytes]:
    """The files of a store of one tile."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rgb, dsm = raster_files(_rng(1), folder / "data")["rgb"], surface("a", SIZE)
        dsm[0, :3] = np.nan
        write(folder / "data/dsm/a.tif", dsm)
        rgb.with_suffix(".tfw").unlink(missing_ok=True)
        build_store(OWN, folder / "data", folder / "store", workers=1)
        files = {p.relative_to(folder / "store").as_posix(): p.read_bytes() for p in (folder / "store").rglob("*.*")}
    return {name: content for name, content in files.items() if not name.endswith(".lock")}


def stores(rng: random.Random, folder: Path) -> None:
    """A store with a damaged file: opened and read, and prepared again."""
    files = dict(example_store())
    name = rng.choice([*files, *(name for name in files if ".json" in name)])
    files[name] = (json_of if ".json" in name else bytes_of)(rng, files[name])
    if rng.random() < 0.5 and "tiles.jsonl" in name:  # by someone who knows that the two belong together
        sum_before = hashlib.sha256(example_store()[name]).hexdigest().encode()
        files[name] = files[name].replace(b"\n", b" ") + b"\n"
        sum_after = hashlib.sha256(files[name]).hexdigest().encode()
        files["store.json"] = files["store.json"].replace(sum_before, sum_after)
    for each, content in files.items():
        put(folder / "store" / each, content)
    store = TileStore(folder / "store")
    tiles = list(store.tiles.values())
    reader = TileReader(tiles, {"rgb": 3, "dsm": 1}, "full", 16)
    for number, tile in enumerate(tiles):
        sample = reader.read(TileWindow(number, 0, 0, 16, 16))
        assert sample.label is None or sample.label.shape == (16, 16)
        assert min(tile.height, tile.width) > 0


def rebuilt_stores(rng: random.Random, folder: Path) -> None:
    """A store of which files are damaged or gone is mended by preparing again."""
    raster_files(_rng(2), folder / "data")
    build_store(OWN, folder / "data", folder / "store", workers=1)
    files = [path for path in (folder / "store").rglob("*.json*") if path.is_file()]
    path = rng.choice(files)
    path.write_bytes(json_of(rng, path.read_bytes()))
    build_store(OWN, folder / "data", folder / "store", workers=1)
    check_store(folder / "store")


def score_files(rng: random.Random, folder: Path) -> None:
    """Histories and scores of scenarios, and probabilities out of them."""
    if rng.random() < 0.4:
        for epoch in range(3):
            write_record(folder / "run/scenario_scores.jsonl", record(epoch))
        path = folder / "run/scenario_scores.jsonl"
        lines = path.read_bytes().splitlines()
        lines[1] = json_of(rng, lines[1])
        read_history(put(path, b"\n".join(lines)))
    elif rng.random() < 0.5:
        path, _ = scores_file(folder, THREE)
        path.write_bytes(json_of(rng, path.read_bytes()))
        assert abs(read_probabilities(str(path), THREE).sum() - 1) < 1e-6
        read_scores(path)
    else:
        plain = rng.choice(
            (
                b'{"rgb": 0.5, "dsm": 0.25, "rgb+dsm": 0.25}',
                b"[0.5, 0.25, 0.25]",
                b'{"final_probs": [0.5, 0.2, 0.3], "mask_array": [[1, 0], [0, 1], [1, 1]]}',
            )
        )
        path = put(folder / "given.json", json_of(rng, plain))
        assert abs(read_probabilities(str(path), TWO).sum() - 1) < 1e-6


def figures(rng: random.Random, folder: Path) -> None:
    """The files of a test, and a tracked run's."""
    written(folder, results(rng.choice((("rgb+dsm",), ("rgb", "rgb+dsm"))), soft=rng.random() < 0.5))
    path = rng.choice([p for p in (folder / "test").rglob("*") if p.suffix in (".json", ".csv")])
    path.write_bytes((json_of if path.suffix == ".json" else text_of)(rng, path.read_bytes()))
    read_evaluation(folder, "test", DATA)
    put(folder / "wandb_run.json", json_of(rng, b'{"id": "a1", "project": "p", "entity": null}'))
    read_tracked(folder)


def trials(rng: random.Random, folder: Path) -> None:
    """Bookkeeping of sweeps and repeated seeds, and the listings of archives."""
    path = put(folder / "trial.json", json_of(rng, b'{"words": ["--a", "3"], "values": {"model.lr": 0.1}, "state": 3}'))
    Listings.load(put(folder / "archives.json", json_of(rng, b'{"a.zip:3:4": [["a.tif", 3, 4]], "b": []}')))
    read_trial(path, "remove it")


METRICS = b"step,epoch,train/loss,val/miou,lr\n0,0,1.5,,0.1\n1,0,1.25,0.5,0.1\n2,1,,0.75,\n"


def metrics(rng: random.Random, folder: Path) -> None:
    """metrics.csv, as a report and as a resumed run read it."""
    from mobanet.reporting.curves import curves_section

    path = put(folder / "metrics.csv", text_of(rng, METRICS))
    read_curves(path)
    str(curves_section(folder))
    read_rows(path, before=2)


@cache
def tables() -> dict[str, bytes]:
    """DSTL's tables."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        dstl(Path(name), SCENES[:1])
        return {path.name: path.read_bytes() for path in Path(name).rglob("*.csv")}


def polygons(rng: random.Random, folder: Path) -> None:
    """Outlines and extents of DSTL."""
    files = dict(tables())
    name = rng.choice(list(files))
    files[name] = text_of(rng, files[name])
    paths = {each: put(folder / each, content) for each, content in files.items()}
    outlines = next(path for each, path in paths.items() if "wkt" in each)
    extents = next(path for each, path in paths.items() if "grid" in each)
    images = labelled_images(outlines)
    for image in images[:1]:
        extent = read_extent(extents, image)
        for shape in read_outlines(outlines, image).values():
            list(Filled(shape, extent, 50, 100).strips(7))


def labels(rng: random.Random, folder: Path) -> None:
    """Labels of any type and number of bands."""
    kinds = ("uint8", "uint16", "int16", "int32", "float32", "float64", "complex64")
    array = np.frombuffer(rng.randbytes(8 * 4 * 33 * 40 * 2), rng.choice(kinds))[: rng.choice((1, 2, 3, 4)) * 1320]
    files = raster_files(rng, folder / "data")
    if rng.random() < 0.5:  # numbers of classes, some of which there are not
        array = (array[:1320].view(np.uint8)[:1320] % rng.choice((2, 5, 7))).astype(rng.choice(kinds[:6]))
    write(files["label"], array.reshape(-1, 33, 40))
    if rng.random() < 0.5:
        write(files["dsm"], array.reshape(-1, 33, 40)[:1])
    store = folder / "store"
    build_store(rng.choice((OWN, _VALUES)), folder / "data", store, workers=1)
    check_store(store)


_NUMBERS = {0: 0, 1: 1, 2: 3, 255: 5}
_VALUES = get_layout(
    "folder",
    FolderSettings(OWN.settings.modalities, list(NAMES), "label/{tile}.tif", values=_NUMBERS, ignored=[3]),
)


@cache
def parts() -> tuple[bytes, bytes]:
    """Settings and a part of an interrupted prediction."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        workspace, part = Workspace.of(Path(name) / "map.tif"), parts_of(0, 20, 30, 20, 30)[0]
        workspace.begin({"--window": 32, "offset_scale": {"rgb": [[0.0], [255.0]]}})
        plane = np.arange(600, dtype=np.uint8).reshape(20, 30)
        workspace.save(part, PartMaps(plane, plane, None))
        return (workspace.folder / "settings.json").read_bytes(), (workspace.folder / part.name).read_bytes()


def workspaces(rng: random.Random, folder: Path) -> None:
    """What an interrupted prediction left."""
    workspace, part = Workspace.of(folder / "map.tif"), parts_of(0, 20, 30, 20, 30)[0]
    settings, saved = parts()
    put(workspace.folder / "settings.json", json_of(rng, settings) if rng.random() < 0.4 else settings)
    put(workspace.folder / part.name, bytes_of(rng, saved) if rng.random() < 0.7 else saved)
    before = workspace.settings()
    before.pop("offset_scale", None)
    workspace.check({"--window": 32}, before)
    if workspace.done([part]):
        assert workspace.load(part).classes.shape == (20, 30)


@cache
def checkpoint() -> bytes:
    """Of a small model."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        return keep(make((RGB, DSM)), Path(name) / "a.ckpt").read_bytes()


def odd_tensor(rng: random.Random, tensor: torch.Tensor) -> object:
    """A weight as no network of ours has it."""
    return rng.choice(
        (
            lambda: tensor[None],
            lambda: tensor.to(torch.complex64),
            lambda: torch.zeros(3, 3).to_sparse(),
            lambda: tensor.to("meta"),
            lambda: tensor.tolist() if tensor.numel() < 100 else [],
            lambda: torch.full_like(tensor, float("nan"), dtype=torch.float32),
            lambda: tensor.to(torch.int64),
            lambda: None,
            lambda: torch.zeros(1).expand(1 << 40),
        )
    )()


def checkpoints(rng: random.Random, folder: Path) -> None:
    """A checkpoint of damaged bytes, or of odd content that loads."""
    path = folder / "a.ckpt"
    if rng.random() < 0.4:
        put(path, bytes_of(rng, checkpoint()))
    else:
        content = torch.load(io.BytesIO(checkpoint()), weights_only=True)
        weights = content.pop("state_dict")
        if rng.random() < 0.3:
            name = rng.choice(list(weights))
            weights[name] = odd_tensor(rng, weights[name])
        else:
            content = tree_of(rng, content)
        torch.save({**content, "state_dict": weights} if isinstance(content, dict) else content, path)
    describe_model(path)
    load_module(path)


def clean(folder: Path) -> None:
    """Nothing of a case before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


KINDS = (
    prepared_rasters,
    predicted_rasters,
    archives,
    own_data,
    sweeps,
    experiments,
    options,
    stores,
    rebuilt_stores,
    score_files,
    figures,
    trials,
    metrics,
    polygons,
    labels,
    workspaces,
    checkpoints,
    vectors,
)
