"""Whatever a checkpoint holds, each door answers with one sentence."""

import re

import pytest
import torch

from mobanet.loading.checkpoint import read_checkpoint
from mobanet.loading.module import load_module
from mobanet.training.module import SegmentationModule
from tests.doors.conftest import DOORS, refusal


def setting(path, value):
    """Sets a hyper-parameter, `backbone.options.depth`."""

    def change(checkpoint):
        *groups, last = path.split(".")
        place = checkpoint["hyper_parameters"]
        for group in groups:
            place = place[int(group) if group.isdigit() else group]
        place[int(last) if last.isdigit() else last] = value

    return change


def around(name, **options):
    """Names another backbone."""
    return setting("backbone", {"name": name, "pretrained": False, "options": options})


def without(group):
    return lambda checkpoint: checkpoint["hyper_parameters"].pop(group) and None


def weight(become):
    """Replaces a matrix of the weights."""

    def change(checkpoint):
        state = checkpoint["state_dict"]
        name = next(name for name, value in state.items() if value.ndim == 2)
        state[name] = become(state[name])

    return change


def temperature(value):
    """Gives the second scenario another temperature."""
    return lambda checkpoint: checkpoint["state_dict"]["temperatures"].__setitem__(1, value)


def entry(name, value):
    return lambda checkpoint: checkpoint.__setitem__(name, value)


def adapted(record=None):
    """Gives statistics of a scenario, with a variance below 0, or a record of other scenarios."""

    def change(checkpoint):
        checkpoint["hyper_parameters"]["network"]["scenario_statistics"] = ["dsm"]
        state = checkpoint["state_dict"]
        for name in [name for name in state if name.endswith("running_mean") and ".decoder." in name]:
            norm = name.removesuffix("running_mean")
            state[f"{norm}scenario_mean"] = state[name][None].clone()
            state[f"{norm}scenario_var"] = state[f"{norm}running_var"][None].clone()
        if record is None:
            state["network.decoder.merge.1.scenario_var"][0, 3] = -0.5
        else:
            figures = {"windows": {"dsm": 8}, "before": {"dsm": 0.1}, "own": {"dsm": None}, "kept": record}
            facts = {"checkpoint": "best.ckpt", "version": "1", "seed": 0, "batch_size": 4, "validation": "a tile"}
            checkpoint["adapted"] = {**facts, **figures}

    return change


def renamed(new):
    def change(checkpoint):
        state = checkpoint["state_dict"]
        state[new] = state.pop(next(iter(state)))

    return change


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def doubled(times):
    """2^times lists in a few bytes."""
    value = []
    for _ in range(times):
        value = [value, value]
    return value


OPTIONS = "backbone.options"
MODALITY = {"name": "m", "bands": ["b"], "kind": "other"}
CASES = {
    # settings
    "a setting of a newer version": (
        setting("taps", 3),
        "has the setting taps, which mobanet .* does not know; .*install",
    ),
    "one in a group": (setting("network.taps", 3), "has the setting network.taps"),
    "one in a class": (setting("data.modalities.0.wavelength", 3), r"data.modalities\[0\].wavelength"),
    "settings as a list": (entry("hyper_parameters", []), "not a checkpoint of a mobanet run"),
    "no settings": (lambda c: c.pop("hyper_parameters") and None, "not a checkpoint of a mobanet run"),
    "no data": (without("data"), "not a checkpoint of a mobanet run"),
    "a number as key": (setting("data", {"modalities": [], 3: 4}), "a key of data is 3"),
    "unknown architecture": (setting("architecture", "unet"), "architecture is 'unet', not one of mobanet"),
    "no architecture": (setting("architecture", None), "architecture is None"),
    "group as a list": (setting("network", []), "network is a list where a mapping is expected"),
    "group as a word": (setting("lora", "on"), "lora is 'on' where a mapping is expected"),
    "word for a switch": (setting("backbone.freeze", "yes"), "backbone.freeze is 'yes' where true or false"),
    "number for a switch": (setting("compile", 1), "compile is 1 where true or false"),
    "word for a number": (setting("lr", "fast"), "lr is 'fast' where a finite number"),
    "no number": (setting("weight_decay", float("nan")), "weight_decay is nan where a finite number"),
    "endless number": (setting("lr", 10**400), "lr is a number of 1329 bits"),
    "NUL": (setting("backbone.name", "vit\0"), "backbone.name is .* where printable text"),
    "lines": (setting("data.layout", "a\nb"), "data.layout is .* where printable text"),
    "tensor as setting": (setting("lr", torch.zeros(2, 2)), "lr is a Tensor where"),
    "unknown loss": (setting("loss", "dise"), "loss names dise, which is no loss .did you mean dice"),
    "loss of nothing": (setting("loss", {}), "loss is {}"),
    "loss below nothing": (setting("loss", {"dice": -1.0}), "loss.dice is -1.0"),
    "loss of odd options": (setting("loss", {"focal": {"gama": 2}}), "loss.focal has no option gama"),
    "loss of numbers": (setting("loss", [1.0]), "loss is a list where"),
    "class weights of an unknown kind": (setting("class_weights", "rare"), "class_weights is 'rare'"),
    "too few class weights": (setting("class_weights", [1.0]), "class_weights has 1 numbers for 3 classes"),
    "class weights in words": (setting("class_weights", ["a"]), r"class_weights\[0\] is 'a'"),
    "streams of nothing": (setting("streams", {}), "streams"),
    "streams of others": (setting("streams", {"optical": ["nir"]}), "streams names nir"),
    "streams as numbers": (setting("streams", {"optical": [1]}), r"streams.optical\[0\] is 1"),
    "mask larger than all": (setting("masking.ratio", 2.0), "masking.ratio is 2.0"),
    "endless decoder": (setting("network.decoder_channels", 10**12), "decoder_channels is 1000000000000"),
    "decoder of nothing": (setting("network.projection_channels", -3), "projection_channels is -3"),
    "endless rank": (setting("lora.rank", 10**9), "lora.rank is 1000000000"),
    "endless expression": (setting("lora.targets", "(.*)*(.*)*x"), "could take for ever"),
    # backbone
    "no timm name": (setting("backbone.name", "vit_tny"), "is not a model of timm"),
    "repository": (setting("backbone.name", "hf-hub:someone/model"), "is not a model of timm"),
    "folder": (setting("backbone.name", "local-dir:/tmp"), "is not a model of timm"),
    "no transformer": (setting("backbone.name", "resnet18"), "is of a family that does not work here"),
    "file of timm": (setting(f"{OPTIONS}.checkpoint_path", "w.pth"), "must not set 'checkpoint_path'"),
    "data sheet of timm": (setting(f"{OPTIONS}.pretrained_cfg_overlay", "x"), "must not set 'pretrained_cfg_overlay'"),
    "endless depth": (setting(f"{OPTIONS}.depth", 100000), "options.depth is '100000': give a whole number"),
    "endless width": (setting(f"{OPTIONS}.embed_dim", 10**12), "options.embed_dim is"),
    "no heads": (setting(f"{OPTIONS}.num_heads", 0), "options.num_heads is"),
    "more than the memory": (
        setting(OPTIONS, {"embed_dim": 16384, "num_heads": 2, "depth": 128, "mlp_ratio": 64}),
        "its model takes .* GB, and this machine has",
    ),
    "three stages": (setting(f"{OPTIONS}.depths", [1, 2, 3]), "depths is .*: give a list of 4 whole numbers"),
    "stages in words": (setting(f"{OPTIONS}.depths", ["a"]), r"backbone.options.depths\[0\] is 'a'"),
    "endless windows": (
        around("swin_tiny_patch4_window7_224", window_size=1024, img_size=8192),
        "its model takes .* GB, and this machine has",
    ),
    "endless distances": (
        around("beit_base_patch16_224", img_size=8192, patch_size=2, num_heads=1, embed_dim=8),
        "its model takes .* GB, and this machine has",
    ),
    "endless stages": (
        around("convnext_tiny", depths=[128] * 4, dims=[16384] * 4),
        "its model takes .* GB, and this machine has",
    ),
    "options as a list": (setting(OPTIONS, [1]), "options is a list where a mapping"),
    "heads that do not divide": (setting(f"{OPTIONS}.num_heads", 3), "do not fit vit_small"),
    # data
    "no modality": (setting("data.modalities", []), "data.modalities holds 0"),
    "13 modalities": (
        setting("data.modalities", [{**MODALITY, "name": f"m{k}"} for k in range(13)]),
        "data.modalities holds 13",
    ),
    "modality twice": (setting("data.modalities", [MODALITY, MODALITY]), "data.modalities holds 2"),
    "modality as a word": (setting("data.modalities", ["rgb"]), r"data.modalities\[0\] is 'rgb' where a mapping"),
    "modality as a path": (setting("data.modalities.0.name", "../rgb"), r"modalities\[0\].name is '../rgb'"),
    "modality without bands": (setting("data.modalities.0.bands", []), "has 0 bands"),
    "unknown kind": (setting("data.modalities.0.kind", "sonar"), "kind is 'sonar', not one of optical"),
    "unknown scaling": (setting("data.scaling.rgb", "log"), r"data\.scaling\.rgb is 'log', not one of unit"),
    "scaling of others": (setting("data.scaling", {"sar": "unit"}), "data.scaling is not one of unit"),
    "no class": (setting("data.classes.names", []), "data.classes holds 0"),
    "300 classes": (setting("data.classes.names", [str(k) for k in range(300)]), "data.classes holds 300"),
    "colours of others": (setting("data.classes.colours", [[0, 0, 0]]), "colours are not one"),
    "colour of two": (setting("data.classes.colours.0", [0, 0]), r"colours\[0\] has 2 entries where 3"),
    "mean over nothing": (setting("data.classes.averaged", ["sea"]), "averaged names no class"),
    # weights
    "weights as a list": (entry("state_dict", []), "not a checkpoint of a mobanet run"),
    "no weights": (entry("state_dict", {}), "it lacks network"),
    "sparse": (weight(lambda w: w.to_sparse()), "is no dense tensor .sparse_coo"),
    "without values": (weight(lambda w: w.to("meta")), "is no dense tensor .strided, meta"),
    "complex": (weight(lambda w: w.to(torch.complex64)), "is of the type complex64"),
    "eight bits": (weight(lambda w: w.to(torch.float8_e4m3fn)), "is of the type float8_e4m3fn"),
    "quantized": (
        weight(lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)),
        "of the type qint8|cannot be read",
    ),
    "weight as a list": (weight(lambda w: w.tolist()), "is a list where a tensor is expected"),
    "weight as null": (weight(lambda w: None), "is None where a tensor is expected"),
    "other shape": (weight(lambda w: w[:, :1].clone()), r"is \(\d+, 1\) float32 where \(\d+, \d+\) of floats"),
    "turned": (weight(lambda w: w.flatten()[None].clone()), r"is \(1, \d+\) float32 where"),
    "whole numbers": (weight(lambda w: w.long()), "int64 where .* of floats is expected"),
    "one number for all": (weight(lambda w: torch.zeros(1).expand_as(w)), "the file does not hold as many"),
    "unknown name": (renamed("network.other"), "has unknown network.other"),
    "name of two lines": (renamed("a\nb"), r"a weight has the name 'a\\nb'"),
    "number as name": (renamed(3), "a weight has the name 3"),
    "temperature of 0": (temperature(0.0), "temperatures holds 0 where a number above 0, or NaN for none, is expected"),
    "temperature below 0": (temperature(-1.5), "temperatures holds -1.5 where a number above 0"),
    "endless temperature": (temperature(float("inf")), "temperatures holds inf where a number above 0"),
    "too many temperatures": (
        lambda c: c["state_dict"].__setitem__("temperatures", torch.ones(4)),
        r"the weight temperatures is \(4,\) float32 where \(3,\) of floats is expected",
    ),
    "temperatures in whole numbers": (
        lambda c: c["state_dict"].__setitem__("temperatures", torch.ones(3, dtype=torch.int64)),
        r"temperatures is \(3,\) int64 where \(3,\) of floats",
    ),
    # what it says of itself
    "epoch in words": (entry("epoch", "last"), "epoch is 'last' where a whole number"),
    "epoch below none": (entry("epoch", -1), "epoch is -1"),
    "endless step": (entry("global_step", 10**400), "global_step is a number of"),
    "version of Lightning": (entry("pytorch-lightning_version", "latest"), "pytorch-lightning_version is 'latest'"),
    "old Lightning": (entry("pytorch-lightning_version", "0.7.6"), "pytorch-lightning_version is '0.7.6'"),
    "version as a number": (entry("mobanet_version", 3), "mobanet_version is 3"),
    "number as a key": (entry(3, 4), "a key of it is 3"),
    "fingerprint as a number": (entry("left_out_backbone", {"name": "vit", "fingerprint": 3}), "fingerprint is 3"),
    "no fingerprint": (entry("left_out_backbone", {"name": "vit"}), "left_out_backbone.fingerprint is missing"),
    "scaling as a word": (entry("RasterDataModule", {"scaling": "unit"}), "RasterDataModule.scaling is 'unit'"),
    "scaling of too few": (entry("RasterDataModule", {"scaling": {}}), "scaling.rgb does not hold 2 numbers"),
    "scaling by nothing": (
        entry("RasterDataModule", {"scaling": {"rgb": [[0.0] * 3, [1.0] * 3], "dsm": [[0.0], [float("nan")]]}}),
        r"scaling.dsm\[1\]\[0\] is nan",
    ),
    "nested without end": (entry("callbacks", nested(200)), "its content is nested too deeply"),
    "large without end": (entry("callbacks", doubled(40)), "its content is nested too deeply or too large"),
    "statistics of no scenario": (
        setting("network.scenario_statistics", ["rgb+dsm"]),
        r"names rgb\+dsm, which is no incomplete scenario of rgb, dsm",
    ),
    "statistics that are not there": (
        setting("network.scenario_statistics", ["dsm"]),
        "lacks network.decoder.laterals.0.1.scenario_mean, .* and 21 more",
    ),
    "statistics as a word": (
        setting("network.scenario_statistics", "dsm"),
        "scenario_statistics is 'dsm' where a list",
    ),
    "variance below 0": (adapted(), "decoder.merge.1.scenario_var holds a variance below 0"),
    "adapted in words": (entry("adapted", "well"), "adapted is 'well' where a mapping"),
    "adapted by half": (entry("adapted", {"kept": []}), "adapted.[a-z_]+ is missing"),
    "adapted to others": (adapted(record=["rgb"]), "adapted.kept names other scenarios"),
    # code
    "instantiator": (setting("_instantiator", "os.system"), "holds hyper_parameters._instantiator, by which"),
    "class": (setting("class_path", "os.system"), "holds hyper_parameters.class_path, by which"),
    "older settings": (entry("hparams", {"_instantiator": "os.system"}), "holds hparams, by which"),
    "settings under a name": (entry("hparams_name", "data"), "holds hparams_name, by which"),
    "instantiator of data": (
        entry("datamodule_hyper_parameters", {"_instantiator": "os.system"}),
        "holds datamodule_hyper_parameters._instantiator",
    ),
}
EVERYWHERE = ("file of timm", "sparse", "temperature of 0", "instantiator")


@pytest.mark.parametrize("case", CASES)
def test_odd_content_is_refused_in_one_sentence(case, written):
    change, words = CASES[case]
    path = written(change)
    names = list(DOORS)
    door = names[list(CASES).index(case) % len(names)]
    assert re.search(words, refusal(door, path))


@pytest.mark.parametrize("case", EVERYWHERE)
@pytest.mark.parametrize("door", DOORS)
def test_no_door_is_left_open(door, case, written):
    change, words = CASES[case]
    assert re.search(words, refusal(door, written(change)))


def test_statistics_of_scenarios_come_through_every_door_that_gives_a_model(written):
    def sound(checkpoint):
        adapted(record=["dsm"])(checkpoint)
        checkpoint["pytorch-lightning_version"] = "2.5.0"

    path = written(sound)
    assert read_checkpoint(path)["adapted"]["own"] == {"dsm": None}
    for module in (load_module(path).module, SegmentationModule.load_from_checkpoint(path, weights_only=True)):
        assert module.settings.network.scenario_statistics == ["dsm"]
        assert module.network.with_statistics.tolist() == [[False, True]]


def test_settings_of_an_older_version_get_their_defaults(content, written):
    def older(checkpoint):
        for name in ("lora", "cbc", "schedule"):
            checkpoint["hyper_parameters"].pop(name)
        checkpoint["hyper_parameters"]["network"].pop("cpia_ratio")
        checkpoint.pop("mobanet_version")

    path = written(older)
    assert read_checkpoint(path)["hyper_parameters"] == content["hyper_parameters"]
    load_module(path)


def test_a_checkpoint_of_an_older_version_has_no_temperatures_and_loads_by_every_way(written):
    def older(checkpoint):
        checkpoint["state_dict"].pop("temperatures")
        checkpoint["pytorch-lightning_version"] = "2.5.0"

    path = written(older)
    assert read_checkpoint(path)["state_dict"]["temperatures"].isnan().tolist() == [True] * 3
    for module in (load_module(path).module, SegmentationModule.load_from_checkpoint(path, weights_only=True)):
        assert module.known_temperatures == {}
    fitted = written(temperature(1.5))
    assert load_module(fitted).module.known_temperatures == {"dsm": 1.5}


def test_the_version_that_wrote_a_checkpoint_is_named(written):
    def newer(checkpoint):
        checkpoint["mobanet_version"] = "9.1"
        checkpoint["hyper_parameters"]["network"]["taps"] = 3

    words = refusal("predict", written(newer))
    assert "was written by mobanet 9.1: install that version, or take another checkpoint" in words
