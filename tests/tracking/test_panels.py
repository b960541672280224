"""Pictures of validation windows while a model trains."""

import pytest
import torch
from PIL import Image

from mobanet.errors import UserError
from mobanet.training.checkpoint import read_checkpoint
from mobanet.training.panels import PanelSettings


def test_they_come_every_n_epochs_and_at_the_end_and_leave_the_training_alone(fit, tmp_path):
    words = ("--trainer.max_epochs", "5", "--scenarios.strategy", "uniform", "--data.num_workers", "0")
    assert fit(*words, "--panels.every_n_epochs", "2", "--panels.windows", "1").code == 0
    drawn = sorted(path.name for path in (tmp_path / "run/panels").iterdir())
    assert drawn == ["epoch_0002_1.png", "epoch_0004_1.png", "epoch_0005_1.png"]
    with Image.open(tmp_path / "run/panels/epoch_0005_1.png") as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").getcolors(2**24)) > 50
    assert fit(*words, "--panels.every_n_epochs", "null", "--run", str(tmp_path / "plain")).code == 0
    assert not (tmp_path / "plain/panels").exists()
    with_them, without = (
        read_checkpoint(tmp_path / run / "checkpoints/last.ckpt")["state_dict"] for run in ("run", "plain")
    )
    assert with_them.keys() == without.keys()
    assert all(torch.equal(with_them[name], without[name]) for name in without)


@pytest.mark.parametrize("name", ["every_n_epochs", "windows"])
def test_a_number_must_be_one(name):
    for value in (0, -1, True):
        with pytest.raises(UserError, match=f"--panels.{name} is .*; give a number of at least 1"):
            PanelSettings(**{name: value})
