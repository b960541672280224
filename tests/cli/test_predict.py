"""`mobanet.predict` from files to maps, held against what `mobanet.test` computes in memory."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.loading.module import load_module
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.predict import main, predict
from mobanet.stitching.windows import Stitcher
from mobanet.training.module import SegmentationModule
from tests.cli.conftest import leftovers, start, wait
from tests.conftest import NARROW, TINY

WINDOW, STRIDE = 64, 24
TILE = "2_13"


@pytest.fixture(scope="module")
def model(prepared, tmp_path_factory) -> Path:
    """A checkpoint of a network with random weights, which sees many classes everywhere."""
    data = RasterDataModule(
        str(prepared),
        modalities=["rgb", "ir", "dsm"],
        crop=WINDOW,
        num_workers=0,
        evaluation=EvaluationSettings(window=WINDOW, test_stride=STRIDE),
    )
    data.setup("fit")
    torch.manual_seed(3)
    backbone = BackboneSettings("vit_tiny_patch16_224", pretrained=False, freeze=False, options=dict(TINY))
    module = SegmentationModule(data.description, backbone=backbone, network=MoBaNetSettings(**NARROW))
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    path = tmp_path_factory.mktemp("model") / "model.ckpt"
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "RasterDataModule": data.state_dict(),
        "epoch": 0,
    }
    torch.save(content, path)
    return path


def files_of(city, tile=TILE) -> dict[str, str]:
    """The rasters of a tile as `--input` takes them."""
    low = "_".join(f"{int(part):02d}" for part in tile.split("_"))
    return {
        "rgb": f"{city}/2_Ortho_RGB/top_potsdam_{tile}_RGB.tif",
        "ir": f"{city}/4_Ortho_RGBIR/top_potsdam_{tile}_RGBIR.tif[4]",
        "dsm": f"{city}/1_DSM/dsm_potsdam_{low}.tif",
    }


def read(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def evaluated(model, root, tile=TILE, scenario=None, **options):
    """The map that the evaluation of `mobanet.test` puts together in memory."""
    loaded = load_module(model)
    given = {"window": WINDOW, "test_stride": STRIDE, **options}
    data = RasterDataModule(
        str(root),
        modalities=["rgb", "ir", "dsm"],
        crop=WINDOW,
        batch_size=5,
        num_workers=0,
        allow_missing=True,
        evaluation=EvaluationSettings(**given),
    )
    data.prepare_data()
    data.setup("test")
    data.load_state_dict(loaded.checkpoint["RasterDataModule"])
    module = loaded.module
    scenario = module.scenarios[-1] if scenario is None else next(s for s in module.scenarios if s.name == scenario)
    stitcher, rows = Stitcher(len(module.data.classes)), []
    with torch.no_grad():
        for raw in data.test_dataloader():
            batch = module.on_after_batch_transfer(raw, 0)
            (logits,) = module.predict_scenarios(batch, [scenario])
            for k, name in enumerate(batch.tiles):
                extent, window = tuple(batch.extents[k].tolist()), tuple(batch.windows[k].tolist())
                strips = stitcher.add(name, extent, window, logits[k], batch.label[k])
                rows += [strip.prediction.numpy() for strip in strips if strip.tile == tile]
    return np.concatenate(rows)


def copy_with(source, target, change=None, **profile):
    """A raster again, with other pixels or another profile."""
    with rasterio.open(source) as raster:
        values, own = raster.read(), raster.profile
    values = values if change is None else change(values)
    own.update(height=values.shape[1], width=values.shape[2], count=values.shape[0], **profile)
    target.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(target, "w", **own) as raster:
        raster.write(values)
    return target


def test_the_map_equals_what_test_evaluates(model, prepared, tmp_path):
    (done,) = predict(str(model), files_of(prepared), str(tmp_path / "map.tif"), preset="test")
    expected = evaluated(model, prepared)
    assert len(np.unique(expected)) >= 3
    assert np.array_equal(read(tmp_path / "map.tif"), expected)
    assert sum(share.pixels for share in done.classes) == expected.size
    assert [share.name for share in done.scenarios] == ["rgb+ir+dsm"]
    with rasterio.open(tmp_path / "map.tif") as raster, rasterio.open(files_of(prepared)["rgb"]) as source:
        assert raster.transform == source.transform
        assert raster.shape == source.shape
        assert raster.nodata == 255
        assert raster.tags(1)["CLASS_1"] == "building"
        assert raster.colormap(1)[1][:3] == (0, 0, 255)
        assert '"stride": 24' in raster.tags()["mobanet_settings"]


def test_stride_32_summed_is_the_authors_preset(model, prepared, tmp_path):
    predict(str(model), files_of(prepared), str(tmp_path / "map.tif"), preset="authors")
    assert np.array_equal(read(tmp_path / "map.tif"), evaluated(model, prepared, test_stride=32))


def test_every_precision_makes_the_same_map_but_for_its_rounding(model, prepared, tmp_path):
    maps, before = {}, torch.get_float32_matmul_precision()
    for precision in ("32-true", "64-true", "bf16-true", "16-true"):
        path = tmp_path / f"{precision}.tif"
        options = {"preset": "test", "stride": WINDOW, "precision": precision, "float32_matmul_precision": "high"}
        predict(str(model), files_of(prepared), str(path), **options)
        maps[precision] = read(path)
    assert torch.get_float32_matmul_precision() == before
    same = {precision: float((found == maps["32-true"]).mean()) for precision, found in maps.items()}
    assert same["64-true"] > 0.999
    assert 0.9 < same["bf16-true"] < same["16-true"] < 1


@pytest.mark.parametrize("scenario", ["rgb", "ir+dsm"])
def test_a_modality_left_out_is_a_scenario(scenario, model, prepared, tmp_path):
    files = {name: path for name, path in files_of(prepared).items() if name in scenario.split("+")}
    (done,) = predict(str(model), files, str(tmp_path / "map.tif"), preset="test")
    assert np.array_equal(read(tmp_path / "map.tif"), evaluated(model, prepared, scenario=scenario))
    assert [share.name for share in done.scenarios] == [scenario]


def test_missing_pixels_are_treated_as_test_treats_them(model, city, tmp_path):
    root = tmp_path / "city"
    shutil.copytree(city, root, ignore=shutil.ignore_patterns("mobanet_store"))
    dsm = Path(files_of(root)["dsm"])

    def holes(values):
        values[:, :70] = -5000  # some windows have nothing of it, some a part
        values[:, 100:110, 90:95] = np.nan
        return values

    copy_with(Path(files_of(city)["dsm"]), dsm, holes)
    (done,) = predict(str(model), files_of(root), str(tmp_path / "map.tif"), preset="test", scenarios=True)
    expected = evaluated(model, root)
    assert np.array_equal(read(tmp_path / "map.tif"), expected)
    assert not np.array_equal(expected, evaluated(model, city))
    assert {share.name for share in done.scenarios} == {"rgb+ir", "rgb+ir+dsm"}
    scenarios = read(tmp_path / "map_scenarios.tif")
    with rasterio.open(tmp_path / "map_scenarios.tif") as raster:
        names = raster.tags(1)
    assert names[f"SCENARIO_{scenarios[0, 0]}"] == "rgb+ir"
    assert names[f"SCENARIO_{scenarios[-1, -1]}"] == "rgb+ir+dsm"


@pytest.fixture(scope="module")
def half_covered(prepared, tmp_path_factory):
    """The rasters of a tile whose surface model ends in the middle, and whose orthophoto has an empty corner."""
    folder = tmp_path_factory.mktemp("half")
    files = files_of(prepared)

    def west(values):
        values[:, :, 80:] = -9999
        return values

    def collar(values):
        values[:, :30, :40] = 0
        return values

    dsm = copy_with(files["dsm"], folder / "dsm.tif", west, nodata=-9999)
    rgb = copy_with(files["rgb"], folder / "rgb.tif", collar, nodata=0)
    return {**files, "dsm": str(dsm), "rgb": str(rgb)}


def settled(path, model, files, **options):
    predict(str(model), files, str(path), overwrite=True, **options)
    return read(path)


def test_each_pixel_is_predicted_in_the_scenario_of_what_it_has(model, half_covered, tmp_path):
    found = settled(tmp_path / "map.tif", model, half_covered, scenarios=True, stride=STRIDE, probabilities="float32")
    scenarios = read(tmp_path / "map_scenarios.tif")
    ids = {name: k for k, name in enumerate(["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm"])}
    assert (found[:30, :40] == 255).all()
    assert np.count_nonzero(found == 255) == 30 * 40
    assert (scenarios[30:, :80] == ids["rgb+ir+dsm"]).all()
    assert (scenarios[:, 80:] == ids["rgb+ir"]).all()
    with rasterio.open(tmp_path / "map_probabilities.tif") as raster:
        shares = raster.read()
    assert np.isnan(shares[:, :30, :40]).all()
    known = found != 255
    assert np.allclose(shares[:, known].sum(0), 1, atol=1e-5)
    assert np.array_equal(shares.argmax(0)[known], found[known])
    # east of the last pixel of the surface model the map is, to the border, that of a scene that has none
    without = {name: path for name, path in half_covered.items() if name != "dsm"}
    alone = settled(tmp_path / "alone.tif", model, without, stride=STRIDE, probabilities="float32")
    assert np.array_equal(found[:, 80:], alone[:, 80:])
    assert not np.array_equal(found[:, :80], alone[:, :80])


def test_a_half_covered_scene_has_no_seams_at_windows(model, half_covered, tmp_path):
    """Neighbours across a window's border differ no more than other neighbours do, on either side."""
    settled(tmp_path / "map.tif", model, half_covered, stride=32, probabilities="float32")
    with rasterio.open(tmp_path / "map_probabilities.tif") as raster:
        shares = raster.read()
    steps = np.abs(np.diff(shares[:, 40:], axis=2)).sum(0).mean(0)  # (159,) between columns
    borders = np.array([column for column in (31, 63, 95, 127) if column != 79])
    others = np.setdiff1d(np.arange(1, 158), [*borders, *range(76, 84)])
    assert steps[borders].max() < 1.5 * steps[others].max()
    settled(tmp_path / "hard.tif", model, half_covered, stride=64, window=64, probabilities="float32", preset="test")
    with rasterio.open(tmp_path / "hard_probabilities.tif") as raster:
        hard = np.abs(np.diff(raster.read()[:, 40:], axis=2)).sum(0).mean(0)
    assert hard[63] > 1.5 * np.median(hard[others])  # so that the test can fail


def test_maps_do_not_depend_on_batches_strips_and_panels(model, half_covered, tmp_path, monkeypatch):
    options = {"stride": STRIDE, "probabilities": "uint8", "scenarios": True}
    one = settled(tmp_path / "one.tif", model, half_covered, batch_size=1, **options)
    many = settled(tmp_path / "many.tif", model, half_covered, batch_size=7, **options)
    assert np.mean(one == many) > 0.999  # kernels sum in another order for other batches
    monkeypatch.setattr("mobanet.prediction.plan.MapSettings.panel", lambda self, classes: 48)
    monkeypatch.setattr("mobanet.prediction.plan.STRIP", 40)
    cut = settled(tmp_path / "cut.tif", model, half_covered, batch_size=1, **options)
    assert np.array_equal(one, cut)
    for kind in ("probabilities", "scenarios"):
        assert np.array_equal(read(tmp_path / f"one_{kind}.tif"), read(tmp_path / f"cut_{kind}.tif"))


def test_gaps_of_the_reference_are_predicted_if_asked_for(model, half_covered, tmp_path):
    found = settled(tmp_path / "map.tif", model, half_covered, gaps="predict", scenarios=True)
    assert (found != 255).all()
    assert (read(tmp_path / "map_scenarios.tif")[:20, :20] == 5).all()  # ir+dsm


def test_turns_change_the_map_and_keep_to_the_symmetry(model, prepared, tmp_path):
    """Of a model that takes heights above a tile's median: the ground is looked for at places that do not turn."""
    content = torch.load(model, weights_only=True)
    content["hyper_parameters"]["data"]["scaling"]["dsm"] = "robust"
    content["RasterDataModule"]["scaling"]["dsm"] = content["RasterDataModule"]["scaling"]["dsm"][:2]
    model, files = tmp_path / "robust.ckpt", files_of(prepared)
    torch.save(content, model)
    plain = settled(tmp_path / "plain.tif", model, files)
    mean = settled(tmp_path / "mean.tif", model, files, turns=True)
    assert not np.array_equal(plain, mean)
    folder = tmp_path / "turned"
    folder.mkdir()
    turned = {
        "ir": str(copy_with(files["ir"].removesuffix("[4]"), folder / "ir.tif", lambda v: np.rot90(v[3:], 1, (1, 2))))
    }
    for name in ("rgb", "dsm"):
        turned[name] = str(copy_with(files[name], folder / f"{name}.tif", lambda v: np.rot90(v, 1, (1, 2))))
    again = settled(tmp_path / "again.tif", model, turned, turns=True)
    assert np.mean(np.rot90(again, -1) == mean) > 0.999


def test_other_grids_and_systems_are_brought_to_the_reference(model, prepared, tmp_path):
    files = files_of(prepared)
    plain = settled(tmp_path / "plain.tif", model, files)
    with rasterio.open(files["dsm"]) as raster:
        values, transform, shape = raster.read(), raster.transform, raster.shape
    size = transform.a
    left, top = transform.c, transform.f
    # the same surface with a margin, on pixels half as large, in the neighbouring zone's system
    fine = np.repeat(np.repeat(values, 2, axis=1), 2, axis=2)
    fine = np.pad(fine, ((0, 0), (40, 40), (40, 40)), mode="edge")
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": fine.shape[1], "width": fine.shape[2]}
    own = from_origin(left - 20 * size, top + 20 * size, size / 2, size / 2)
    near = tmp_path / "near.tif"
    with rasterio.open(near, "w", crs="EPSG:32633", transform=own, **profile) as raster:
        raster.write(fine)
    found = settled(tmp_path / "near_map.tif", model, {**files, "dsm": str(near)}, crs="EPSG:32633")
    assert np.mean(found == plain) > 0.9
    west, south, east, north = transform_bounds(
        "EPSG:32633", "EPSG:4326", left, top - shape[0] * size, left + shape[1] * size, top
    )
    degrees = tmp_path / "degrees.tif"
    transform = rasterio.transform.from_bounds(west, south, east, north, fine.shape[2], fine.shape[1])
    with rasterio.open(degrees, "w", crs="EPSG:4326", transform=transform, **profile) as raster:
        raster.write(fine)
    found = settled(tmp_path / "far_map.tif", model, {**files, "dsm": str(degrees)}, crs="EPSG:32633")
    with rasterio.open(tmp_path / "far_map.tif") as raster:
        assert raster.crs.to_epsg() == 32633
    assert np.mean(found == plain) > 0.5


def test_several_scenes_of_a_folder_are_matched_by_name(model, prepared, command, tmp_path):
    ended = command(
        main,
        [
            *("--ckpt_path", str(model), "--output", f"{tmp_path}/maps/", "--preset", "test"),
            *("--input", f"rgb={prepared}/2_Ortho_RGB", f"dsm={prepared}/1_DSM/dsm_potsdam_*.tif"),
        ],
    )
    assert ended.code == 0, ended.err
    names = sorted(path.stem for path in (prepared / "2_Ortho_RGB").glob("*.tif"))
    assert sorted(path.stem for path in (tmp_path / "maps").glob("*.tif")) == names
    assert np.array_equal(
        read(tmp_path / f"maps/top_potsdam_{TILE}_RGB.tif"), evaluated(model, prepared, scenario="rgb+dsm")
    )
    assert f"top_potsdam_{TILE}_RGB: 160 x 160 pixels of rgb, from rgb+dsm, without ir" in ended.err
    warned = [line for line in ended.err.splitlines() if "never in rgb+dsm: expect little of it there" in line]
    assert len(warned) == len(names)  # its probabilities are those of a training on the full scenario
    assert ended.out.count("100.0 %, which the model was not trained in") == len(names)


def test_pictures_without_georeference_work_and_say_so(model, prepared, command, tmp_path):
    files = files_of(prepared)
    plain = {}
    for name in ("rgb", "dsm"):
        with rasterio.open(files[name]) as raster:
            values = raster.read()
        plain[name] = tmp_path / f"{name}.tif"
        with rasterio.open(
            plain[name], "w", driver="GTiff", height=160, width=160, count=len(values), dtype=values.dtype
        ) as raster:
            raster.write(values)
    words = [f"{name}={path}" for name, path in plain.items()]
    ended = command(main, ["--ckpt_path", str(model), "--input", *words, "--output", f"{tmp_path}/map.tif"])
    assert ended.code == 0, ended.err
    assert "has no georeference, and the map gets none" in ended.err
    assert "NotGeoreferenced" not in ended.err
    with rasterio.open(tmp_path / "map.tif") as raster:
        assert raster.crs is None
        assert raster.transform.is_identity


def words_of(model, files, output, *more):
    return [
        "--ckpt_path",
        str(model),
        "--input",
        *(f"{n}={p}" for n, p in files.items()),
        "--output",
        str(output),
        *more,
    ]


def test_two_processes_write_the_same_map(model, half_covered, tmp_path):
    settled(tmp_path / "one.tif", model, half_covered, stride=STRIDE, batch_size=1)
    words = words_of(model, half_covered, tmp_path / "two.tif", "--stride", str(STRIDE), "--batch_size", "1")
    ended = wait(start("mobanet.predict", *words, "--accelerator", "cpu", "--devices", "2", folder=tmp_path))
    assert ended.code == 0, ended.err
    assert np.array_equal(read(tmp_path / "one.tif"), read(tmp_path / "two.tif"))
    assert leftovers(tmp_path) == []
    assert not list(tmp_path.glob("*.parts"))


@pytest.fixture(scope="module")
def large(prepared, tmp_path_factory):
    """A scene of twenty strips."""
    files, folder = files_of(prepared), tmp_path_factory.mktemp("large")
    out = {}
    for name in ("rgb", "dsm"):
        out[name] = str(copy_with(files[name], folder / f"{name}.tif", lambda v: np.tile(v, (1, 16, 2))))
    return out


@pytest.mark.long
def test_a_killed_prediction_resumes_to_the_same_file(model, large, tmp_path):
    whole = tmp_path / "whole.tif"
    predict(str(model), large, str(whole), scenarios=True)
    words = words_of(model, large, tmp_path / "killed.tif", "--scenarios")
    process = start("mobanet.predict", *words, folder=tmp_path)
    parts = tmp_path / "killed.tif.parts"
    deadline = time.monotonic() + 90
    while len(list(parts.glob("*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(list(parts.glob("*.npz"))) >= 3
    assert not (tmp_path / "killed.tif").exists()
    before = {path: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    refused = wait(start("mobanet.predict", *words, folder=tmp_path))
    assert "go on with --resume, or start anew with --overwrite" in refused.sentence()
    assert {path: path.stat().st_mtime_ns for path in parts.glob("*.npz")} == before
    resumed = wait(start("mobanet.predict", *words, "--resume", folder=tmp_path))
    assert resumed.code == 0, resumed.err
    assert f"going on with {len(before)} of" in resumed.err
    assert (tmp_path / "killed_scenarios.tif").read_bytes() == (tmp_path / "whole_scenarios.tif").read_bytes()
    assert (tmp_path / "killed.tif").read_bytes() == whole.read_bytes()
    assert not parts.exists()
    again = wait(start("mobanet.predict", *words, "--resume", folder=tmp_path))
    assert again.code == 0
    assert "is finished; left as it is" in again.err


@pytest.mark.long
def test_what_only_one_process_cannot_read_is_said_by_the_first(model, large, tmp_path):
    """As a raster that lies on a disk of another node; nobody waits for the one that has ended."""
    (tmp_path / "script.py").write_text(
        "import os\nimport mobanet.prediction.run as run\nfrom mobanet.errors import UserError\n"
        "from mobanet.predict import main\n"
        "real = run._plans\n"
        "def plans(*given):\n"
        "    if os.environ.get('LOCAL_RANK', '0') != '0':\n        raise UserError('rgb.tif is not here.')\n"
        "    return real(*given)\n"
        "run._plans = plans\nif __name__ == '__main__':\n    main()\n"
    )
    words = words_of(model, large, tmp_path / "map.tif", "--devices", "2", "--accelerator", "cpu")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "script.py", *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 2, done.stderr
    assert "error: rgb.tif is not here." in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.long
def test_a_full_disk_leaves_no_map(model, large, tmp_path):
    words = words_of(model, large, tmp_path / "map.tif", "--probabilities", "float32")
    limited = (
        "import resource, signal, runpy, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "sys.argv = sys.argv[:1] + sys.argv[1:]\n"
        "runpy.run_module('mobanet.predict', run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", limited, *words], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "map.tif" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "map.tif").exists()
    assert not list(tmp_path.glob("*.part"))
