"""Configurations and weights of exported models that somebody has changed."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from mobanet.errors import UserError
from mobanet.exporting.places import from_pretrained
from mobanet.exporting.pretrained import save_pretrained
from mobanet.models.backbones import weights as backbone_weights
from tests.doors.test_content import CASES
from tests.exporting.small import DSM, RGB, make, numbers

SETTINGS = (
    "a setting of a newer version",
    "unknown architecture",
    "group as a list",
    "word for a switch",
    "streams of others",
    "endless decoder",
    "endless expression",
    "repository",
    "file of timm",
    "endless depth",
    "more than the memory",
    "no modality",
    "modality as a path",
    "300 classes",
    "instantiator",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    module = make((RGB, DSM))
    folder = save_pretrained(module, numbers(module), tmp_path_factory.mktemp("exported") / "folder")
    return (folder / "config.json").read_text(), load_file(folder / "model.safetensors")


@pytest.fixture
def refusal(exported, tmp_path):
    """The sentence for a changed configuration, and weights that others have saved anew."""

    def read(change=lambda config: None, weights=None):
        config = json.loads(exported[0])
        change(config)
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(exported[1] if weights is None else weights, tmp_path / "model.safetensors")
        with pytest.raises(UserError) as caught:
            from_pretrained(tmp_path)
        assert str(caught.value).isprintable()
        assert str(caught.value).startswith(str(tmp_path))
        return str(caught.value)

    return read


@pytest.mark.parametrize("case", SETTINGS)
def test_odd_settings(case, refusal):
    change, words = CASES[case]
    assert re.search(words, refusal(change))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("scaling", {}, "config.scaling.rgb does not hold 2 numbers"),
        ("scaling", [1], "config.scaling is a list"),
        ("temperatures", [1.5], "temperatures is a list where"),
        ("temperatures", {"rgb": "warm"}, "temperatures.rgb is 'warm'"),
        ("temperatures", {"rgb": 0.0}, "temperatures holds 0 where a number above 0"),
        ("temperatures", {"rgb": -1}, "temperatures holds -1 where a number above 0"),
        ("temperatures", {"rgb": 1e300}, "temperatures holds inf where a number above 0"),
        ("temperatures", {"sar": 1.5}, "temperatures names 'sar', which is no scenario of the model"),
        ("windows", {"size": 0, "stride": 0}, "config.windows has size 0"),
        ("version", ["9"], "mobanet_version is a list"),
        ("hyper_parameters", [], "is not a model that mobanet.export wrote"),
        ("left_out_backbone", {"name": "vit", "fingerprint": "x"}, "fingerprint is 'x'"),
        ("format", "new", "in format new, and this version reads format 1"),
    ],
)
def test_odd_configuration(key, value, words, refusal):
    assert words in refusal(lambda config: config.__setitem__(key, value))


def test_odd_weights(exported, refusal):
    name = next(name for name, value in exported[1].items() if value.ndim == 2)
    value = exported[1][name]
    for odd, words in {
        "int": (value.long(), "of floats is expected; export the checkpoint again"),
        "row": (value[:1].clone(), "of floats is expected"),
        "few bits": (value.to(torch.float8_e4m3fn), "is of the type float8_e4m3fn"),
    }.values():
        assert words in refusal(weights={**exported[1], name: odd})


def test_no_other_file_is_opened(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(backbone_weights, "read_weights", lambda *_: pytest.fail("opened a file"))
    config = json.loads(exported[0])
    config["hyper_parameters"]["backbone"] |= {"checkpoint": __file__, "pretrained": True}
    config["hyper_parameters"]["cmx"]["checkpoint"] = __file__
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(exported[1], tmp_path / "model.safetensors")
    assert from_pretrained(tmp_path).module.settings.backbone.checkpoint is None
