"""STAC items of exported folders: the fields that STAC 1.1 and its MLM extension ask for, and what they say."""

import hashlib
import json
import math
import re
from datetime import datetime

import numpy as np
import pytest
import torch

from mobanet.data.training_rasters import TrainingRasters
from mobanet.export import main
from mobanet.exporting.places import from_pretrained
from mobanet.exporting.pretrained import FILES, ITEM_FILE, save_pretrained
from mobanet.exporting.stac import EXTENSIONS
from mobanet.exporting.weights import Training
from mobanet.models.inputs import scaled_inputs
from mobanet.plain.json_files import read_json
from mobanet.rasters.reader import ReadingRule
from tests.exporting.small import DSM, IR, LEARNT, RADAR, RGB, make, numbers

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]")
VERSION = re.compile(r"\d+\.\d+\.\d+")
TYPES = {"uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"}


def checked(item):
    """The properties of an item that has all that is asked for."""
    assert {"type", "stac_version", "id", "geometry", "properties", "links", "assets"} <= item.keys()
    assert (item["type"], item["stac_version"], item["geometry"]) == ("Feature", "1.1.0", None)  # so needs no bbox
    assert item["stac_extensions"] == list(EXTENSIONS)
    properties = item["properties"]
    datetime.strptime(properties["datetime"], "%Y-%m-%dT%H:%M:%SZ")
    assert NAME.fullmatch(properties["mlm:name"])
    assert properties["mlm:tasks"] == ["semantic-segmentation"]
    assert VERSION.fullmatch(properties["mlm:framework_version"])
    assert {"mlm:architecture", "mlm:input", "mlm:output"} <= properties.keys()
    bands = [band["name"] for band in properties["bands"]]
    assert len(set(bands)) == len(bands)
    assert all(band.get("data_type", "uint8") in TYPES for band in properties["bands"])
    assert bands == [band for given in properties["mlm:input"] for band in given["bands"]]
    for given in properties["mlm:input"]:
        assert {"name", "bands", "input"} <= given.keys()
        assert given["input"]["shape"] == [-1, len(given["bands"]), -1, -1]
        assert given["input"]["dim_order"] == ["batch", "channel", "height", "width"]
        assert given["input"]["data_type"] == "float32"
        for scaling in given["value_scaling"]:
            wanted = {"z-score": {"mean", "stddev"}, "processing": {"format", "expression"}}
            assert scaling.keys() == {"type", *wanted[scaling["type"]]}
        assert len(given["value_scaling"]) in (1, len(given["bands"]))
    (output,) = properties["mlm:output"]
    assert {"name", "tasks", "result"} <= output.keys()
    assert output["result"]["shape"] == [-1, len(output["classification:classes"]), -1, -1]
    for number, one in enumerate(output["classification:classes"]):
        assert one["value"] == number
        assert re.fullmatch(r"[0-9A-Za-z_-]+", one["name"])
        assert re.fullmatch(r"[0-9A-F]{6}", one["color_hint"])
    models = [asset for asset in item["assets"].values() if "mlm:model" in asset["roles"]]
    assert [[band["name"] for band in asset["bands"]] for asset in models] == [bands]
    assert all(link.keys() >= {"rel", "href"} for link in item["links"])
    return properties


@pytest.fixture
def folder(tmp_path):
    rules = {
        "rgb": ReadingRule("uint8", (0, 1, 2), 3, 1.0, 0.0),
        "dsm": ReadingRule("float32", (0,), 1, 1.0, math.nan),
    }
    module = make((RGB, IR, DSM, RADAR), scalings={"dsm": "ground"})
    module.temperatures[0] = 1.25
    learnt = {**numbers(module), "dsm": np.array([[0.0], [7.3], [256.0]])}
    windows, training = {"size": 64, "stride": 32}, Training(TrainingRasters(rules, 0.2))
    return save_pretrained(module, learnt, tmp_path / "roofs & trees, 2", windows=windows, training=training)


def test_an_item_says_what_the_model_takes_and_gives(folder):
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    properties = checked(read_json(folder / ITEM_FILE))
    assert (properties["mlm:name"], properties["title"]) == ("roofs-trees-2", "roofs & trees, 2")
    assert properties["gsd"] == 0.2
    assert properties["mlm:hyperparameters"] == {"window": 64, "stride": 32, "temperatures": {"rgb": 1.25}}
    bands = {band["name"]: band for band in properties["bands"]}
    assert list(bands) == ["rgb_red", "rgb_green", "rgb_blue", "ir_infrared", "dsm_height", "radar_vv", "radar_vh"]
    assert (bands["rgb_red"]["data_type"], bands["rgb_red"]["nodata"]) == ("uint8", 0.0)
    assert bands["dsm_height"]["unit"] == "metre"
    assert "nodata" not in bands["dsm_height"]  # what is not finite is missing in all rasters
    assert "data_type" not in bands["radar_vv"]
    (output,) = properties["mlm:output"]
    assert [(one["name"], one["color_hint"]) for one in output["classification:classes"]] == [
        ("road", "5A5A5A"),
        ("roof", "FF0000"),
        ("rest", "000000"),
    ]
    assert "license" not in properties
    assert "mlm:pretrained" not in properties  # of random weights it is not claimed that nothing was before


def test_scalings_are_those_of_the_model(folder):
    model, inputs = from_pretrained(folder), read_json(folder / ITEM_FILE)["properties"]["mlm:input"]
    rng = torch.Generator().manual_seed(0)
    for given, modality in zip(inputs, model.module.data.modalities, strict=True):
        stored = 200 * torch.rand(1, len(modality.bands), 4, 4, generator=rng)
        offset_scale = torch.tensor(model.learnt[modality.name][:2], dtype=torch.float32)[None]
        batch = {"inputs": {modality.name: stored}, "offset_scale": {modality.name: offset_scale}, "valid": {}}
        expected = scaled_inputs(batch, model.module.network.standardization)[modality.name]
        mean, deviation = (
            torch.tensor([scaling[key] for scaling in given["value_scaling"]])[:, None, None]
            for key in ("mean", "stddev")
        )
        assert torch.allclose((stored - mean) / deviation, expected, rtol=1e-4, atol=1e-5)
    assert inputs[2]["pre_processing_function"]["expression"].endswith("PretrainedModel.heights")
    assert "Heights above the ground within 256 pixels" in inputs[2]["description"]
    assert inputs[0]["pre_processing_function"] is None


def test_what_is_measured_on_a_scene_is_no_number(tmp_path):
    module = make((DSM,), scalings={"dsm": "minmax"})
    folder = save_pretrained(module, {"dsm": np.array(LEARNT["dsm"])}, tmp_path / "7")
    properties = checked(read_json(folder / ITEM_FILE))
    (scaling,) = properties["mlm:input"][0]["value_scaling"]
    assert scaling["expression"] == "mobanet.exporting.pretrained:PretrainedModel.offset_scale"
    assert properties["mlm:name"] == "mobanet-7"
    assert "mlm:hyperparameters" not in properties


def test_files_are_those_beside_the_item(folder):
    assets = read_json(folder / ITEM_FILE)["assets"]
    assert {asset["href"] for asset in assets.values()} == {f"./{name}" for name in FILES if name != ITEM_FILE}
    for asset in assets.values():
        content = (folder / asset["href"]).read_bytes()
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == f"1220{hashlib.sha256(content).hexdigest()}"  # a multihash


def test_the_command_writes_it_with_licence_and_steps(run_folder, command, tmp_path):
    words = ["--ckpt_path", str(run_folder), "--format", "folder", "--license", "cc-by-4.0"]
    ended = command(main, [*words, "--output", str(tmp_path / "roofs")])
    assert ended.code == 0, ended.err
    properties = checked(json.loads((tmp_path / "roofs" / ITEM_FILE).read_text()))
    assert properties["license"] == "cc-by-4.0"
    assert properties["mlm:hyperparameters"]["steps"] == 2
    links = json.loads((tmp_path / "roofs" / ITEM_FILE).read_text())["links"]
    assert {"rel": "cite-as", "href": "https://arxiv.org/abs/2603.17705"}.items() <= links[0].items()


def test_a_folder_without_an_item_is_read_like_any_other(folder):
    (folder / ITEM_FILE).unlink()
    assert from_pretrained(folder).windows == {"size": 64, "stride": 32}
