"""Own data of 16 bit from check to a map: what is taken for the range is the same in every command."""

import numpy as np
import rasterio
import yaml

from mobanet.check import main as check
from mobanet.predict import main as predict
from tests.cli.conftest import small_experiment
from tests.data_files.fake_files import georeferenced, indices, noise, surface, write

SIZE, HERE = (64, 64), georeferenced(500_000, 5_800_000, 0.5)


def described(root):
    """Own data of four tiles: an ortho of 12 of 16 bit, heights in centimetres, classes 0 and 1."""
    for tile in ("north_1", "north_2", "south", "west"):
        write(root / f"ortho/{tile}.tif", noise(tile, 3, SIZE).astype(np.uint16) * 16, **HERE)
        path = write(root / f"dsm/{tile}.tif", np.rint(surface(tile, SIZE) * 100).astype(np.uint16), **HERE)
        with rasterio.open(path, "r+") as file:
            file.units = ("cm",)
        write(root / f"label/{tile}.tif", (indices(tile, SIZE) % 2)[None], nodata=0, **HERE)
    return {
        "modalities": {
            "rgb": {"pattern": "ortho/{tile}.tif", "band_numbers": [1, 2, 3]},
            "dsm": {"pattern": "dsm/{tile}.tif", "kind": "elevation", "unit": "metre"},
        },
        "label": "label/{tile}.tif",
        "classes": ["a", "b"],
        "values": {0: 0, 1: 1},
        "splits": {"train": ["north_*"], "validation": ["south"], "test": ["west"]},
    }


def experiment_of(root, folder, path):
    plain = small_experiment(root)
    plain["data"] |= {"layout": "folder", "folder": folder, "modalities": ["rgb", "dsm"], "evaluation": {"window": 64}}
    plain["data"]["evaluation"]["labels"] = "full"
    plain["model"]["streams"] = {"optical": ["rgb"], "elevation": ["dsm"]}
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path


def test_sixteen_bit_from_check_to_a_map(command, fit, test, tmp_path):
    folder = described(tmp_path / "data")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(folder))
    words = ["--layout", "folder", "--root", str(tmp_path / "data"), "--folder", str(tmp_path / "own.yaml")]
    checked = command(check, [*words, "--workers", "1"])
    assert checked.code == 0, checked.err
    trained = fit(experiment=experiment_of(tmp_path / "data", folder, tmp_path / "small.yaml"))
    assert trained.code == 0, trained.err
    for said in (checked.out, trained.err):
        assert "rgb: no maximum is given, and by its type and values it goes from 0 to 4095" in said
    for said in (checked.out, trained.err + checked.out):
        assert "is in cm and is converted to metre" in said
        assert "declares 0 as nodata, which is the class a and counts as it" in said
    best = str(tmp_path / "run/checkpoints/best.ckpt")
    tested = test("--ckpt_path", best)
    assert tested.code == 0, tested.err
    tile = [f"rgb={tmp_path}/data/ortho/west.tif", f"dsm={tmp_path}/data/dsm/west.tif"]
    output = ["--preset", "test", "--output", str(tmp_path / "map.tif")]
    mapped = command(predict, ["--ckpt_path", best, "--input", *tile, *output])
    assert mapped.code == 0, mapped.err
    assert "dsm: west.tif is in cm and is converted to metre" in mapped.err
    (own,) = (tmp_path / "run/test/maps").rglob("west*.tif")
    with rasterio.open(own) as one, rasterio.open(tmp_path / "map.tif") as other:
        assert np.array_equal(one.read(), other.read())  # the run's own test tile, to the pixel
    # and a range that contradicts the data is refused before anything is trained, in the words of predict
    folder["modalities"]["rgb"]["maximum"] = 255
    said = fit(experiment=experiment_of(tmp_path / "data", folder, tmp_path / "wrong.yaml")).sentence()
    assert "has values up to 4064 and more, and rgb is described as 0 to 255: rescale it" in said
    assert "maximum: 4095 or factor: 0.06227 under modalities.rgb" in said


def test_few_data_are_trained_on_without_a_tile_to_validate_on(fit, command, tmp_path):
    folder = described(tmp_path / "data")
    folder["splits"] = {"train": ["*"]}
    experiment = experiment_of(tmp_path / "data", folder, tmp_path / "small.yaml")
    said = fit(experiment=experiment).sentence()
    assert "the split folder has no validation tiles" in said
    assert said.endswith("or train without validating with --trainer.limit_val_batches 0.")
    words = ("--trainer.limit_val_batches", "0", "--panels.every_n_epochs", "1")
    trained = fit(*words, experiment=experiment)
    assert trained.code == 0, trained.err
    assert "panels are not drawn: there are no validation tiles" in trained.err
    assert "grid        that of rgb" in trained.err
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["last.ckpt"]
    words = ["--ckpt_path", str(tmp_path / "run"), "--input", f"rgb={tmp_path}/data/ortho/west.tif"]
    assert command(predict, [*words, "--output", str(tmp_path / "map.tif")]).code == 0
