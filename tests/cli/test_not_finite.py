"""Checkpoints whose weights are no numbers are refused by every command, and by Lightning, before anything is done."""

import numpy as np
import pytest
import torch

from mobanet.cli.commands import main
from mobanet.errors import UserError
from mobanet.export import main as export
from mobanet.exporting.places import from_pretrained
from mobanet.exporting.weights import saved, write_weights
from mobanet.loading.module import load_module
from mobanet.predict import main as predict


@pytest.fixture(scope="module")
def spoilt(finished, tmp_path_factory):
    """A checkpoint in which a running statistic and a weight are no numbers."""
    path = tmp_path_factory.mktemp("spoilt") / "spoilt.ckpt"
    checkpoint = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    weights = [value for value in checkpoint["state_dict"].values() if value.is_floating_point()]
    weights[3].view(-1)[-1], weights[-1].view(-1)[0] = float("nan"), float("inf")
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda words: main("fit", ["--wandb", "off", *words]), ["--ckpt_path"]),
        (lambda words: main("fit", ["--wandb", "off", *words]), ["--experiment", "SMALL", "--init_from"]),
        (lambda words: main("test", words), ["--ckpt_path"]),
        (lambda words: main("scores", words), ["--ckpt_path"]),
        (predict, ["--input", "rgb=a.tif", "--output", "b.tif", "--ckpt_path"]),
        (export, ["--ckpt_path"]),
    ],
    ids=["resume", "begin", "test", "scores", "predict", "export"],
)
def test_no_command_takes_them(run, words, spoilt, small, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [str(small) if word == "SMALL" else word for word in words]
    told = command(run, [*words, str(spoilt)]).sentence()
    assert told.startswith(f"{words[-1]} {spoilt} holds weights that are NaN or infinite (")
    assert "and 1 more), as training leaves them when it diverges; take a checkpoint from before" in told
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_diverges_ends_with_a_sentence_beside_what_loggers_have_of_it(fit, tmp_path):
    own = ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", str(tmp_path / "own"))
    told = fit("--model.lr", "1e30", "--model.schedule.every", "step", *own).sentence()
    assert told.startswith("training has diverged: ")
    assert "(epoch 1)" in told
    assert "no checkpoint was written before" in told
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    assert "train/loss" in rows[0].split(",")
    assert len(rows) > 1
    (theirs,) = (tmp_path / "own").rglob("metrics.csv")
    assert "train/loss" in theirs.read_text()


def test_nor_does_lightning(finished, spoilt, make_data, make_trainer):
    data, module = make_data(), load_module(finished / "checkpoints/last.ckpt").module
    with pytest.raises(UserError, match="the checkpoint holds weights that are NaN or infinite"):
        make_trainer().test(module, datamodule=data, ckpt_path=str(spoilt), weights_only=True, verbose=False)


def test_nor_are_they_loaded_from_an_export(finished, tmp_path):
    loaded = load_module(finished / "checkpoints/last.ckpt")
    module, learnt = loaded.module, loaded.checkpoint["RasterDataModule"]["scaling"]
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] = float("nan")
    write_weights(saved(module, {name: np.array(own) for name, own in learnt.items()}), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors: .* holds weights that are NaN or infinite"):
        from_pretrained(tmp_path / "model.safetensors")
