"""Networks of a user's own, by import path: they do all that the package's do, and no file loads code."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import mobanet
from mobanet.cli.commands import main
from mobanet.cli.networks import with_networks
from mobanet.errors import UserError
from mobanet.export import main as export
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.base import SegmentationModel
from mobanet.models.registry import network_named, path_of
from mobanet.report import main as report
from mobanet.training.module import SegmentationModule
from tests.cli.conftest import start, wait
from tests.cli.test_ddp import TWO
from tests.cli.test_fit_and_test import rows
from tests.conftest import TINY
from tests.reporting.test_model import DATA

EXAMPLE = Path(__file__).parents[2] / "docs/examples/tiny_network.py"
OWN = ("--model.architecture", "tiny_network.TinyNetwork", "--model.arguments", "{width: 8}")
AROUND = '''
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.base import SegmentationModel, SegmentationOutput
import torch


class Around(SegmentationModel):
    """The tokens of a transformer, each as large as its patch."""

    def __init__(self, inputs):
        super().__init__(inputs)
        self.backbone = build_backbone(inputs.backbone)
        self.patch_size = self.backbone.patch_size
        size, bands = self.patch_size, sum(inputs.modalities.values())
        self.patch = torch.nn.Conv2d(bands, self.backbone.width, size, size)
        self.head = torch.nn.Linear(self.backbone.width, inputs.num_classes)

    def segment(self, inputs, available, auxiliary):
        tokens, geometry = self.backbone.embed(self.patch(torch.cat(list(inputs.values()), 1)).movedim(1, -1))
        for index in range(self.backbone.depth):
            tokens = self.backbone.block(index, tokens, geometry)
        latent = tokens[:, self.backbone.num_prefix_tokens :].unflatten(1, geometry.grid).movedim(-1, 1)
        logits = self.head(latent.movedim(1, -1)).movedim(-1, 1)
        size = next(iter(inputs.values())).shape[-2:]
        return SegmentationOutput(torch.nn.functional.interpolate(logits, size), latent)
'''


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """The folder that a user works in, with code of theirs that is not imported yet."""
    place = tmp_path / "work"
    place.mkdir()
    shutil.copy(EXAMPLE, place)
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    for name in ("tiny_network", "around"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield place
    for name in ("tiny_network", "around"):
        sys.modules.pop(name, None)


@pytest.fixture
def forget(monkeypatch):
    """As a process that has not imported it."""
    return lambda: sys.modules.pop("tiny_network", None)


def test_the_example_is_short():
    text = EXAMPLE.read_text()
    assert text[text.index("from dataclasses") :] in (EXAMPLE.parents[1] / "adding.md").read_text()
    code = text.partition("from dataclasses")[2]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 40


def test_a_network_of_ones_own_does_all_that_ours_do(stranger, fit, forget, command, tmp_path):
    assert fit(*OWN, "--scenarios.strategy", "latent", "--scenarios.num_windows", "8").code == 0
    run, last = tmp_path / "run", tmp_path / "run/checkpoints/last.ckpt"
    trained = read_checkpoint(last)["hyper_parameters"]
    assert (trained["architecture"], trained["arguments"]) == ("tiny_network.TinyNetwork", {"width": 8})

    forget()
    named = ("--networks", "tiny_network")
    resumed = command(main, "fit", ["--ckpt_path", str(last), "--trainer.max_epochs", "3", "--wandb", "off"])
    assert resumed.code == 0, resumed.err  # a training goes on with all that its run's configuration names
    assert "config.yaml brings tiny_network.TinyNetwork" in resumed.err
    assert read_checkpoint(last)["global_step"] == 6
    forget()
    assert command(main, "test", ["--ckpt_path", str(run), *named]).code == 0
    table = {row["scenario"]: float(row["miou"]) for row in rows(run / "test/test_scenarios.csv")}
    assert len(set(table)) == 7 + 7
    forget()
    made = command(report, [str(run), *named])
    assert made.code == 0, made.err
    assert "TinyNetwork" in (run / "report.html").read_text()

    forget()
    for kind in ("folder", "onnx", "torch"):
        ended = command(export, ["--ckpt_path", str(run), "--format", kind, "--output", str(tmp_path / kind), *named])
        assert ended.code == 0, ended.err
    card = (tmp_path / "folder/README.md").read_text()
    assert "The network TinyNetwork is code of its own (width 8)" in card
    assert "```bibtex\n\n```" not in card
    whole, light = mobanet.load(run), mobanet.load(tmp_path / "folder")
    draw = np.random.default_rng(1)
    inputs = {name: draw.integers(1, 255, (bands, 40, 50), np.uint8) for name, bands in (("rgb", 3), ("ir", 1))}
    found = [model.predict(inputs) for model in (whole, light)]
    assert found[0].classes.shape == (40, 50)
    assert (found[0].classes == found[1].classes).all()


@pytest.mark.parametrize("option", ["-c", "--config", "--experiment", "--variant"])
def test_every_option_that_names_a_file_brings_its_network(stranger, option):
    (stranger / "mine.yaml").write_text("model: {architecture: tiny_network.TinyNetwork}")
    assert with_networks([option, "mine.yaml"]) == [option, "mine.yaml"]
    assert "tiny_network" in sys.modules


@pytest.mark.long
def test_two_processes_import_it(stranger, small, tmp_path):
    words = ["--experiment", str(small), "--run", str(tmp_path / "run"), "--wandb", "off", *TWO, *OWN]
    ended = wait(start("mobanet.fit", *words, "--trainer.max_epochs", "1", folder=stranger))
    assert ended.code == 0, ended.err
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2


def test_no_file_loads_code(stranger, fit, forget, command, small, tmp_path):
    assert fit(*OWN).code == 0
    checkpoint, config = tmp_path / "run/checkpoints/last.ckpt", tmp_path / "run/config.yaml"
    assert yaml.safe_load(config.read_text())["model"]["architecture"] == "tiny_network.TinyNetwork"
    words = {
        "test": (main, "test", ["--ckpt_path", str(checkpoint)]),
        "begun": (main, "fit", ["--experiment", str(small), "--init_from", str(checkpoint), "--wandb", "off"]),
        "export": (export, ["--ckpt_path", str(checkpoint)]),
        "report": (report, [str(tmp_path / "run")]),
    }
    for name, given in words.items():
        forget()
        sentence = command(*given).sentence()
        assert "tiny_network.TinyNetwork is code of its own, which no file may load by itself" in sentence, name
        assert "--networks tiny_network.TinyNetwork" in sentence
        assert "tiny_network" not in sys.modules
    with pytest.raises(UserError, match="import it before in Python"):
        mobanet.load(checkpoint)


def test_a_frozen_transformer_of_it_stays_out_of_checkpoints(stranger, fit, command, tmp_path):
    (stranger / "around.py").write_text(AROUND)
    vit = build_backbone(BackboneSettings("vit_tiny_patch16_224", pretrained=False, options=TINY)).vit
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    own = ("--model.architecture", "around.Around", "--model.backbone.freeze", "true")
    ended = fit(*own, "--backbone", str(tmp_path / "vit.safetensors"))
    assert ended.code == 0, ended.err
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert "network.head.weight" in state
    assert not [name for name in state if name.startswith("network.backbone.vit.")]
    assert command(main, "test", ["--ckpt_path", str(tmp_path / "run")]).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model.architecture", "mobanett"), "is unknown (did you mean mobanet?): choose from mobanet, cmx, cbc"),
        (
            ("--model.architecture", "nowhere.Network"),
            "--model.architecture names nowhere.Network, and Python finds no nowhere; install it",
        ),
        (("--model.architecture", "tiny_network.TinyNet"), "tiny_network has no TinyNet (did you mean TinyNetwork?)"),
        (("--model.architecture", "tiny_network.TinySettings"), "is no subclass of mobanet.models.base"),
        (("--model.arguments", "{width: 8}"), "--model.arguments are for a network of your own"),
        ((*OWN[:2], "--model.arguments", "{wdith: 8}"), "wdith is nothing that tiny_network.TinyNetwork takes"),
        ((*OWN[:2], "--model.arguments", "{width: wide}"), "--model.arguments.width is 'wide' where a whole number"),
        ((*OWN, "--networks"), "--networks needs a value"),
        ((*OWN, "--networks", "tiny_netwrok"), "--networks names tiny_netwrok, and Python finds no tiny_netwrok"),
    ],
)
def test_mistakes_end_in_one_sentence(stranger, fit, words, said):
    assert said in fit(*words).sentence()


def test_code_that_fails_is_named(stranger, fit):
    (stranger / "around.py").write_text("import nothing_of_that_name\n")
    sentence = fit("--model.architecture", "around.Around").sentence()
    assert "names around.Around, whose module needs nothing_of_that_name, which is not installed" in sentence


def test_what_a_module_would_make_when_asked_is_not_looked_up(stranger):
    (stranger / "around.py").write_text(
        "def __getattr__(name):\n    raise AssertionError('code of a name in a file ran')\n"
    )
    import around

    assert around.__name__ in sys.modules
    with pytest.raises(UserError, match=r"around.Network is code of its own, which no file may load"):
        network_named("around.Network")


def test_a_class_stands_for_its_path(stranger):
    import tiny_network

    assert path_of(tiny_network.TinyNetwork) == "tiny_network.TinyNetwork"
    module = SegmentationModule(DATA, architecture=tiny_network.TinyNetwork, arguments={"width": 4})
    assert module.hparams["architecture"] == "tiny_network.TinyNetwork"
    inputs = {"rgb": torch.ones(2, 3, 9, 7), "dsm": torch.ones(2, 1, 9, 7)}
    assert module(inputs, torch.tensor([[True, False], [True, True]])).logits.shape == (2, 6, 9, 7)
    assert network_named("tiny_network.TinyNetwork").title == "TinyNetwork"
    assert issubclass(tiny_network.TinyNetwork, SegmentationModel)
