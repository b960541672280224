"""Pictures of validation windows while a model trains."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy
from PIL import Image

from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.tracking.panels import PanelSettings, ScenarioPanels


def test_they_come_every_n_epochs_and_at_the_end_and_leave_the_training_alone(fit, tmp_path):
    words = ("--trainer.max_epochs", "3", "--scenarios.strategy", "uniform", "--data.num_workers", "0")
    assert fit(*words, "--panels.every_n_epochs", "2", "--panels.windows", "1").code == 0
    drawn = sorted(path.name for path in (tmp_path / "run/panels").iterdir())
    assert drawn == ["epoch_0002_1.png", "epoch_0003_1.png"]
    with Image.open(tmp_path / "run/panels/epoch_0003_1.png") as picture:
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


def test_where_no_process_has_all_weights_none_are_drawn_and_it_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    trainer = SimpleNamespace(strategy=FSDPStrategy(), is_global_zero=True, current_epoch=0, max_epochs=1)
    panels = ScenarioPanels(PanelSettings(), tmp_path)
    panels.on_fit_start(trainer, None)
    assert [record.getMessage() for record in caplog.records] == [
        "panels are not drawn with FSDPStrategy, which shares out the weights"
    ]
    panels.on_train_epoch_end(trainer, None)
    assert list(tmp_path.iterdir()) == []
