"""Folders and files of weights: the same predictions bit for bit, here or from the hub's cache; what is refused."""

import json
import shutil
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mobanet.data.scaling import tile_offset_scale
from mobanet.errors import UserError
from mobanet.exporting.command import ExportRequest, run_export
from mobanet.exporting.describe import description
from mobanet.exporting.places import from_pretrained
from mobanet.exporting.pretrained import FILES, save_pretrained
from mobanet.exporting.weights import saved, write_weights
from mobanet.loading.module import load_module
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.lora import LoRASettings
from mobanet.rasters.blocks import summarise
from mobanet.rasters.ground import Ground
from mobanet.rasters.statistics import BandStatistics
from tests.exporting.small import CBC, DSM, IR, LORA, RADAR, RGB, backbone, keep, make, numbers, predicted, stored

HUB_NAME = "vit_small_patch16_dinov3.lvd1689m"
AVAILABLE = torch.tensor([[True, True], [False, True], [True, False]])
MODELS = {
    "mobanet": ((RGB, DSM), {}),
    "lora": LORA,
    "cbc": ((RADAR, DSM), {"architecture": "cbc", "cbc": CBC}),
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub's, to which repositories are added as folders."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    def add(name, files):
        place = cache / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs/main").write_text("1" * 40)
        shutil.copytree(files, place / "snapshots" / ("1" * 40))

    return add


@pytest.fixture
def published(hub, tmp_path):
    """Weights of a small transformer, as if they were the published ones."""
    settings = backbone("dinov3", name=HUB_NAME)
    torch.manual_seed(5)
    (tmp_path / "weights").mkdir()
    save_file(build_backbone(settings).vit.state_dict(), tmp_path / "weights/model.safetensors")
    hub(f"timm/{HUB_NAME}", tmp_path / "weights")
    return backbone("dinov3", name=HUB_NAME, pretrained=True)


def same(module, model, size=37):
    inputs, offset_scale = stored(module, 3, size)
    inputs["dsm"][0, :, 3:9] = torch.nan
    wise = {name: offset_scale[name] for name in offset_scale if module.data.scaling[name] == "robust"}
    found = model.predict(inputs, AVAILABLE, wise)
    return torch.equal(found, predicted(module, inputs, offset_scale, AVAILABLE))


@pytest.mark.parametrize("kind", ["folder", "safetensors"])
def test_temperatures_stay_and_are_told(kind, tmp_path):
    module = make((RGB, DSM))
    module.temperatures.copy_(torch.tensor([1.32, torch.nan, 0.9]))
    path = keep(module, tmp_path / "model.ckpt")
    list(run_export(ExportRequest(path, tmp_path / "out", kind)))
    model = from_pretrained(tmp_path / "out")
    assert model.temperatures == module.known_temperatures
    assert list(model.temperatures) == ["rgb", "rgb+dsm"]
    if kind == "folder":
        told = json.loads((tmp_path / "out/config.json").read_text())["temperatures"]
        assert told == {"rgb": pytest.approx(1.32), "dsm": None, "rgb+dsm": pytest.approx(0.9)}
        assert "softmax(logits / T)" in (tmp_path / "out/README.md").read_text()
        assert "rgb 1.32, rgb+dsm 0.90" in (tmp_path / "out/README.md").read_text()
    about = description(module, numbers(module), 64)
    assert about["temperatures"] == {"rgb": pytest.approx(1.32), "dsm": None, "rgb+dsm": pytest.approx(0.9)}


def test_an_export_of_an_earlier_version_has_no_temperatures(tmp_path):
    module = make((RGB, DSM))
    model = saved(module, numbers(module))
    assert model.config.pop("temperatures") == {"rgb": None, "dsm": None, "rgb+dsm": None}
    write_weights(model, tmp_path / "model.safetensors")
    assert from_pretrained(tmp_path / "model.safetensors").temperatures == {}


@pytest.mark.parametrize("kind", ["folder", "safetensors"])
@pytest.mark.parametrize("name", MODELS)
def test_what_comes_back_predicts_the_same_bit_for_bit(name, kind, tmp_path):
    modalities, options = MODELS[name]
    path = keep(make(modalities, **options), tmp_path / "model.ckpt")
    list(run_export(ExportRequest(path, tmp_path / "out", kind)))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.ckpt", "out"]
    model = from_pretrained(tmp_path / "out")
    assert same(load_module(path).module, model)
    assert not model.module.training
    again = save_pretrained(model.module, model.learnt, tmp_path / "again", windows={"size": 64, "stride": 32})
    assert sorted(file.name for file in again.iterdir()) == sorted(FILES)
    assert from_pretrained(again).windows == {"size": 64, "stride": 32}
    assert same(load_module(path).module, from_pretrained(again))


@pytest.mark.parametrize("options", [{}, {"lora": LoRASettings(rank=2)}], ids=["plain", "lora"])
def test_published_weights_of_a_frozen_backbone_are_left_out_and_come_back(options, published, tmp_path):
    module = make(backbone=published, **options)
    path = keep(module, tmp_path / "model.ckpt")
    list(run_export(ExportRequest(path, tmp_path / "light", "folder")))
    list(run_export(ExportRequest(path, tmp_path / "full", "folder", whole=True)))
    names = {kind: load_file(tmp_path / kind / "model.safetensors").keys() for kind in ("light", "full")}
    assert names["full"] == module.network.state_dict().keys()
    assert {name for name in names["full"] - names["light"]} == {
        name for name in names["full"] if name.startswith("backbone.vit.") and ".lora_" not in name
    }
    for kind in names:
        assert same(module, from_pretrained(tmp_path / kind))
    card = (tmp_path / "light/README.md").read_text()
    assert "does without the frozen weights of the backbone" in card
    assert f"base_model: timm/{HUB_NAME}" in card
    assert "license_name: dinov3-license" in card


def test_another_backbone_than_the_one_left_out_is_refused(published, tmp_path, monkeypatch):
    module = make(backbone=published)
    save_pretrained(module, numbers(module), tmp_path / "light")
    torch.manual_seed(6)
    other = tmp_path / "other.safetensors"
    save_file(build_backbone(backbone("dinov3", name=HUB_NAME)).vit.state_dict(), other)
    with pytest.raises(UserError, match=r"light: the checkpoint was trained around weights of .* with the fingerprint"):
        from_pretrained(tmp_path / "light", backbone=other)
    assert same(module, from_pretrained(tmp_path / "light", backbone=tmp_path / "weights/model.safetensors"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"light: .* leaves out the weights of its frozen backbone .* cannot be downl"):
        from_pretrained(tmp_path / "light")


def test_commands_take_the_backbone_of_an_export_from_a_file(published, city, tmp_path, monkeypatch):
    from mobanet.cli.command_line import MobanetCLI

    module = make(backbone=published)
    folder, file = save_pretrained(module, numbers(module), tmp_path / "light"), tmp_path / "weights/model.safetensors"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)
    words = ["--ckpt_path", str(folder), "--data.layout", "potsdam", "--data.root", str(city), "--run", "run"]
    with pytest.raises(UserError, match=r"leaves out .* or give a local file with --model.backbone.checkpoint FILE"):
        MobanetCLI("test", words)
    cli = MobanetCLI("test", [*words, "--model.backbone.checkpoint", str(file), "--trainer.accelerator", "cpu"])
    assert cli.checkpoint["state_dict"].keys() == module.state_dict().keys()
    with pytest.raises(UserError, match="or give a local file with --backbone FILE"):
        list(run_export(ExportRequest.of(str(folder), str(tmp_path / "model.onnx"), "onnx")))


def test_a_local_file_of_backbone_weights_is_written_whole_and_its_folder_is_not_named(published, tmp_path):
    local = backbone("dinov3", name=HUB_NAME, checkpoint=str(tmp_path / "weights/model.safetensors"))
    module = make(backbone=local)
    folder = save_pretrained(module, numbers(module), tmp_path / "folder")
    assert load_file(folder / "model.safetensors").keys() == module.network.state_dict().keys()
    assert not any(str(tmp_path) in (folder / name).read_text() for name in ("config.json", "README.md"))
    assert same(module, from_pretrained(folder))
    with pytest.raises(UserError, match=r"holds all its weights, so that .* would not be read"):
        from_pretrained(folder, backbone=local.checkpoint)


def test_a_repository_comes_from_the_hub_by_name(hub, tmp_path):
    module = make()
    hub("someone/roofs", save_pretrained(module, numbers(module), tmp_path / "folder"))
    assert same(module, from_pretrained("someone/roofs"))
    with pytest.raises(UserError, match=r"someone/walls is no folder here, and cannot be fetched from the hub \("):
        from_pretrained("someone/walls")
    with pytest.raises(UserError, match="nowhere/at/all does not exist; give a checkpoint, the folder of a run, a "):
        from_pretrained("nowhere/at/all")


def test_levels_of_a_tile_are_those_of_the_tile_store():
    module = make((DSM, RADAR), scalings={"radar": "minmax"})
    model = saved_and_read(module)
    rng = np.random.default_rng(0)
    heights = rng.normal(100, 9, (40, 30)).astype(np.float32)
    heights[:4] = np.nan
    median = np.median(heights[4:])
    assert torch.equal(model.offset_scale("dsm", heights), torch.tensor([[median], [7.3]]))
    radar = rng.integers(0, 900, (40, 30, 2)).astype(np.uint16)
    valid = np.ones((40, 30), bool)
    valid[:, :9] = False
    bands = [radar[:, 9:, k].astype(float) for k in range(2)]
    statistics = [BandStatistics(1, 0, 0, band.min(), band.max(), 0, 0, 0) for band in bands]
    expected = tile_offset_scale("minmax", numbers(module)["radar"], statistics)
    assert np.array_equal(model.offset_scale("radar", radar, valid).numpy(), expected)
    with pytest.raises(UserError, match="the raster of dsm has no valid pixel"):
        model.offset_scale("dsm", np.full((5, 5), np.nan, np.float32))


def test_heights_above_the_ground_are_taken_as_in_prediction(tmp_path):
    module = make((RGB, DSM), scalings={"dsm": "ground"})
    learnt = {**numbers(module), "dsm": np.array([[0.0], [7.3], [256.0]])}
    model = from_pretrained(save_pretrained(module, learnt, tmp_path / "folder"))
    rng = np.random.default_rng(0)
    raster = (np.linspace(100, 130, 300) + rng.exponential(4, (280, 300))).astype(np.float32)
    raster[:4] = np.nan
    found = model.heights("dsm", raster, transform=(0.5, 0, 366_000, 0, -0.5, 5_808_000))
    origin, there = (-5_808_000 * 2, 366_000 * 2), np.isfinite(raster)
    blocks = summarise(lambda: [(np.nan_to_num(raster)[:, :, None], there)], 280, 300, origin)
    expected = raster - Ground.fitted(blocks, (280, 300), origin, 256).window(0, 0, 280, 300)[:, :, 0]
    assert np.array_equal(np.isnan(found), ~there)
    assert np.abs(found - expected)[there].max() < 1e-4
    assert np.abs(found[there]).max() < 60
    as_planes = model.heights("dsm", np.nan_to_num(raster)[:, :, None], there)
    assert as_planes.shape == (280, 300, 1)
    assert np.array_equal(np.isnan(as_planes[:, :, 0]), ~there)
    card = (tmp_path / "folder/README.md").read_text()
    assert 'model.heights("dsm", dsm_raster)' in card
    assert "heights above the ground within 256 pixels" in card
    logits = [model.predict({"dsm": torch.from_numpy(x[None, None, 4:60, :56])}) for x in (found, found + 7.3)]
    assert not torch.equal(*logits)
    with pytest.raises(ValueError, match="rgb is scaled by unit, from values as stored"):
        model.heights("rgb", np.zeros((5, 5, 3), np.uint8))


def saved_and_read(module):
    from mobanet.exporting.pretrained import PretrainedModel

    return PretrainedModel(module, numbers(module))


def test_modalities_left_out_are_missing_and_levels_are_asked_for():
    module = make((RGB, IR, DSM))
    model, (inputs, offset_scale) = saved_and_read(module), stored(module, 2, 28)
    only = {"ir": inputs["ir"]}
    expected = predicted(module, inputs, offset_scale, torch.tensor([[False, True, False]] * 2))
    assert torch.equal(model.predict(only), expected)
    with pytest.raises(ValueError, match="dsm is scaled tile by tile: give `offset_scale`"):
        model.predict({"dsm": inputs["dsm"]})
    with pytest.raises(ValueError, match=r"takes the modalities \['rgb', 'ir', 'dsm'\], got \['sar'\]"):
        model.predict({"sar": inputs["ir"]})
    one = model.predict({"dsm": inputs["dsm"]}, offset_scale={"dsm": offset_scale["dsm"][0]})
    alike = offset_scale["dsm"][:1].expand(2, 2, 1)  # the same batch: another one adds up in another order
    assert torch.equal(one, model.predict({"dsm": inputs["dsm"]}, offset_scale={"dsm": alike}))


def test_a_modality_left_out_may_have_coarser_or_finer_pixels():
    module = make((RGB, replace(IR, pixel_ratio=2)))
    model, generator = saved_and_read(module), torch.Generator().manual_seed(3)
    inputs = {"rgb": torch.rand(2, 3, 28, 28, generator=generator), "ir": torch.rand(2, 1, 14, 14, generator=generator)}
    for name, available in (("rgb", [True, False]), ("ir", [False, True])):
        expected = model.predict(inputs, torch.tensor([available] * 2))
        assert torch.equal(model.predict({name: inputs[name]}), expected)


def damage(folder, how):
    config, weights = folder / "config.json", folder / "model.safetensors"
    content = json.loads(config.read_text())
    if how == "no config":
        config.unlink()
    elif how == "no weights":
        weights.unlink()
    elif how == "broken config":
        config.write_text(config.read_text()[:-30])
    elif how == "foreign config":
        config.write_text('{"model_type": "bert"}')
    elif how == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "later format":
        config.write_text(json.dumps(content | {"format": 2, "version": "9.1"}))
    elif how == "unknown setting":
        content["hyper_parameters"]["depth"] = 3
        config.write_text(json.dumps(content))
    else:
        state = load_file(weights)
        name = next(iter(state))
        if how == "lacking weight":
            del state[name]
        else:
            state[name] = torch.zeros(1, 2)
        save_file(state, weights)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no config", "folder has no config.json"),
        ("no weights", "folder has no model.safetensors"),
        ("broken config", "config.json is not valid JSON"),
        ("foreign config", "is not a model that mobanet.export wrote"),
        ("truncated weights", "model.safetensors cannot be read as safetensors"),
        ("later format", "written by mobanet 9.1 in format 2"),
        ("unknown setting", "has the setting depth, which mobanet .* does not know; .*export the checkpoint again"),
        ("lacking weight", "does not hold the weights of its model: it lacks network"),
        ("another shape", "cannot be used: the weight network.* is .* is expected; export the checkpoint again"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence(how, sentence, tmp_path):
    module = make((DSM,))
    folder = save_pretrained(module, numbers(module), tmp_path / "folder")
    damage(folder, how)
    with pytest.raises(UserError, match=sentence):
        from_pretrained(folder)


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other.safetensors is not a model that mobanet.export wrote"):
        from_pretrained(tmp_path / "other.safetensors")
