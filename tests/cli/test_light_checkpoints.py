"""Commands on checkpoints without their frozen backbone."""

import shutil

import pytest
import torch
import yaml
from safetensors.torch import save_file

from mobanet.checkpoints.frozen import LEFT_OUT
from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.loading.module import load_module
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.runs.opened import open_run
from tests.cli.conftest import WIDE
from tests.cli.test_fit_and_test import differing, rows
from tests.conftest import TINY, same

NAME = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights of the small experiment's backbone."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(build_backbone(BackboneSettings(NAME, pretrained=False, options=TINY)).vit.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def runs(small, file, tmp_path_factory):
    """The folders of one run twice, `light` and `full`."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--experiment", str(small), "--wandb", "off", "--model.backbone.freeze", "true"]
    words += ["--backbone", str(file)]
    for kind in ("light", "full"):
        main("fit", [*words, "--run", str(folder / kind), "--checkpoints", kind])
    return folder


@pytest.fixture
def moved(runs, file, tmp_path):
    """A copy of the light run whose backbone is in another file now."""
    run = shutil.copytree(runs / "light", tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        checkpoint = read_checkpoint(path)
        checkpoint["hyper_parameters"]["backbone"]["checkpoint"] = str(tmp_path / "gone.safetensors")
        torch.save(checkpoint, tmp_path / "new")  # not over the file itself, which is mapped into memory
        (tmp_path / "new").replace(path)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(file), str(tmp_path / "gone.safetensors")))
    return run


@pytest.mark.long
def test_light_and_full_checkpoints_are_of_the_same_run(runs, command):
    light, full = (read_checkpoint(runs / kind / "checkpoints/last.ckpt") for kind in ("light", "full"))
    backbone = {name for name in full["state_dict"] if name.startswith("network.backbone.")}
    assert backbone
    assert light["state_dict"].keys() == full["state_dict"].keys() - backbone
    assert all(same(value, full["state_dict"][name]) for name, value in light["state_dict"].items())
    assert light[LEFT_OUT]["name"] == NAME
    assert LEFT_OUT not in full
    sizes = [(runs / kind / "checkpoints/last.ckpt").stat().st_size for kind in ("light", "full")]
    assert sizes[1] - sizes[0] > sum(full["state_dict"][name].nbytes for name in backbone)
    for kind in ("light", "full"):
        assert command(main, "test", ["--ckpt_path", str(runs / kind / "checkpoints/best.ckpt")]).code == 0
    for path in (runs / "light/test/confusion").iterdir():
        assert path.read_bytes() == (runs / "full/test/confusion" / path.name).read_bytes()


def test_both_kinds_resume_to_the_same_weights(runs, command, tmp_path):
    for kind in ("light", "full"):
        run = shutil.copytree(runs / kind, tmp_path / kind)
        words = ["--ckpt_path", str(run / "checkpoints/last.ckpt"), "--trainer.max_epochs", "3", "--wandb", "off"]
        assert command(main, "fit", words).code == 0
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert (config["checkpoints"], config["model"]["restored"]) == (kind, False)
    light, full = (read_checkpoint(tmp_path / kind / "checkpoints/last.ckpt") for kind in ("light", "full"))
    assert (LEFT_OUT in light, LEFT_OUT in full) == (True, False)
    assert light["global_step"] == 6
    assert all(same(value, full["state_dict"][name]) for name, value in light["state_dict"].items())


def test_an_adapted_light_checkpoint_is_light(small, file, command, tmp_path):
    words = ["--experiment", str(small), "--wandb", "off", "--model.backbone.freeze", "true", *WIDE]
    main("fit", [*words, "--backbone", str(file), "--run", str(tmp_path / "light")])
    light, path = tmp_path / "light/checkpoints/best.ckpt", tmp_path / "new.ckpt"
    content = torch.load(light, weights_only=True)
    content["state_dict"]["network.decoder.merge.1.running_mean"] += 20  # own statistics are better than that
    torch.save(content, light)
    ended = command(main, "adapt", ["--ckpt_path", str(light), "--windows", "8", "--output", str(path)])
    assert ended.code == 0, ended.err
    new = read_checkpoint(path)
    assert new[LEFT_OUT] == content[LEFT_OUT]
    assert not any(name.startswith("network.backbone.") for name in new["state_dict"])
    assert path.stat().st_size < light.stat().st_size
    load_module(path)


@pytest.mark.long
def test_a_backbone_that_has_moved_is_given_by_hand(moved, runs, file, command, tmp_path):
    best, last = (str(moved / f"checkpoints/{name}.ckpt") for name in ("best", "last"))
    lost = f"frozen backbone {NAME}; --backbone {tmp_path / 'gone.safetensors'} is not a file"
    assert lost in command(main, "test", ["--ckpt_path", best]).sentence()
    assert lost in command(main, "fit", ["--ckpt_path", last, "--trainer.max_epochs", "3"]).sentence()
    here = ["--backbone", str(file)]
    assert command(main, "test", ["--ckpt_path", best, *here]).code == 0
    assert command(main, "scores", ["--ckpt_path", best, *here, "--scenarios.num_windows", "8"]).code == 0
    assert rows(moved / "test/test_scenarios.csv") == rows(runs / "light/test/test_scenarios.csv")
    module, wanted = open_run(moved, "best", backbone=file).module, open_run(runs / "full", "best").module
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), wanted.parameters(), strict=True))
    resumed = ["--ckpt_path", last, *here, "--trainer.max_epochs", "3", "--wandb", "off"]
    assert command(main, "fit", resumed).code == 0
    assert read_checkpoint(last)["hyper_parameters"]["backbone"]["checkpoint"] == str(file)
    assert command(main, "test", ["--ckpt_path", last]).code == 0  # the resumed run knows where it is


def test_other_backbones_are_refused(runs, file, command, small, tmp_path):
    light, full = (str(runs / kind / "checkpoints/last.ckpt") for kind in ("light", "full"))
    on = ["--trainer.max_epochs", "3", "--wandb", "off", "--run", str(tmp_path / "run")]
    other = "vit_small_patch14_dinov2.lvd142m"
    sentence = command(main, "fit", ["--ckpt_path", light, *on, "--model.backbone.name", other]).sentence()
    assert f"--model.backbone.name is {other} here and {NAME} in the checkpoint" in sentence
    torch.manual_seed(4)
    wrong = tmp_path / "wrong.safetensors"
    save_file(build_backbone(BackboneSettings(NAME, pretrained=False, options=TINY)).vit.state_dict(), wrong)
    for name, words in (("test", []), ("fit", on)):
        given = [*words, "--backbone", str(wrong)]
        assert f"and {wrong} have " in command(main, name, ["--ckpt_path", light, *given]).sentence()
    begun = ["--experiment", str(small), "--init_from", light, "--model.backbone.freeze", "true", *on]
    assert "--model.backbone.pretrained is false; set it to true" in command(main, "fit", begun).sentence()
    assert not (tmp_path / "run").exists()
    given = ["--ckpt_path", full, "--backbone", str(file)]
    assert f"{full} holds all its weights" in command(main, "test", given).sentence()
    given = ["--ckpt_path", light, "--model.backbone.freeze", "false"]
    assert "--model.backbone.freeze is False, but the checkpoint has True" in command(main, "test", given).sentence()


def test_a_new_run_begins_from_a_light_checkpoint(runs, file, command, small, tmp_path):
    light = runs / "light/checkpoints/last.ckpt"
    words = ["--experiment", str(small), "--init_from", str(light), "--backbone", str(file)]
    words += ["--wandb", "off", "--model.lr", "0", "--model.weight_decay", "0", "--trainer.max_epochs", "1"]
    for freeze in ("true", "false"):
        run = tmp_path / freeze
        assert command(main, "fit", [*words, "--model.backbone.freeze", freeze, "--run", str(run)]).code == 0
    frozen, trained = (read_checkpoint(tmp_path / freeze / "checkpoints/last.ckpt") for freeze in ("true", "false"))
    assert frozen[LEFT_OUT] == read_checkpoint(light)[LEFT_OUT]
    assert LEFT_OUT not in trained  # by whom the backbone may be changed from here on
    moved = differing(light, tmp_path / "true/checkpoints/last.ckpt")
    assert all("running_" in name or "num_batches" in name for name in moved)
    original = read_checkpoint(runs / "full/checkpoints/last.ckpt")["state_dict"]
    for name, value in original.items():
        if name.startswith("network.backbone."):
            assert torch.equal(value, trained["state_dict"][name])
