"""Plain Lightning: subclasses with optimisers or data of their own, and `Trainer.predict`."""

import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from mobanet.data.crops import collate
from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.exporting.command import ExportRequest, open_source
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.prediction.run import describe_model
from mobanet.training.module import SegmentationModule
from tests.conftest import NARROW, TINY, same


def plateau(module):
    optimizer = Adam(module.parameters(), 1e-3)
    scheduler = {"scheduler": ReduceLROnPlateau(optimizer, "max", 0.1, patience=0, threshold=10), "monitor": "val/miou"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


def one_cycle(module):
    half = [p for name, p in module.named_parameters() if "backbone" in name]
    rest = [p for name, p in module.named_parameters() if "backbone" not in name]
    optimizer = Adam([{"params": half, "lr": 1e-4}, {"params": rest}], 1e-3)
    scheduler = OneCycleLR(optimizer, [1e-4, 1e-3], total_steps=module.trainer.estimated_stepping_batches)
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def lists(module):
    optimizer = SGD(module.parameters(), 1e-2, momentum=0.9)
    return [optimizer], [StepLR(optimizer, 1, 0.5)]


def alone(module):
    return Adam(module.parameters(), 1e-3)


class Own(SegmentationModule):
    """Trains with an optimiser of its own."""

    recipe = staticmethod(alone)

    def configure_optimizers(self):
        return self.recipe(self)


def by_half(module):
    half = [p for name, p in module.named_parameters() if "backbone" in name]
    rest = [p for name, p in module.named_parameters() if "backbone" not in name]
    return [SGD(half, 1e-3), SGD(rest, 1e-2)]


class ByHand(Own):
    """Has two optimisers, and steps them itself, as Lightning wants it then."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        """One step of both."""
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss


class TownData(RasterDataModule):
    """Data under a name of its own."""


@pytest.fixture
def fit(city, make_trainer):
    """Trains steps of tiny crops with plain Lightning, and gives module and data."""

    def run(recipe=None, epochs=2, ckpt_path=None, callbacks=(), kind=RasterDataModule, own=Own):
        seed_everything(42)
        data = kind(
            str(city),
            modalities=["rgb", "dsm"],
            crop=32,
            batch_size=2,
            steps_per_epoch=2,
            num_workers=0,
            evaluation=EvaluationSettings(window=96, test_stride=96),
        )
        backbone = BackboneSettings("vit_tiny_patch16_224", False, freeze=False, options=dict(TINY))
        network = MoBaNetSettings(**NARROW)
        module = (own if recipe else SegmentationModule)(data.description, backbone=backbone, network=network)
        if recipe:
            module.recipe = recipe
        trainer = make_trainer(max_epochs=epochs, callbacks=list(callbacks), enable_checkpointing=bool(callbacks))
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
        return module, data

    return run


@pytest.mark.parametrize("recipe", [alone, lists, one_cycle], ids=lambda recipe: recipe.__name__)
def test_an_optimiser_of_a_subclass_resumes_as_if_nothing_had_been(recipe, fit, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    after = ModelCheckpoint(tmp_path, filename="epoch={epoch}", auto_insert_metric_name=False, save_top_k=-1)
    whole, _ = fit(recipe, callbacks=[keep, after])
    rates = [group["lr"] for group in whole.optimizers().param_groups]
    for name in ("step=1.ckpt", "epoch=0.ckpt"):  # within the epoch, and after its validation
        resumed, _ = fit(recipe, ckpt_path=str(tmp_path / name))
        assert [group["lr"] for group in resumed.optimizers().param_groups] == rates
        state = resumed.state_dict()
        assert [key for key, value in whole.state_dict().items() if not same(value, state[key])] == []


def test_the_rates_of_two_optimisers_are_logged(fit):
    module, _ = fit(by_half, epochs=1, own=ByHand)
    logged = module.trainer.callback_metrics
    assert {name: round(float(logged[f"train/{name}"]), 6) for name in ("lr_0", "lr_1", "lr")} == {
        "lr_0": 1e-3,
        "lr_1": 1e-2,
        "lr": 1e-2,
    }


def test_a_plateau_goes_on_with_what_it_has_seen(fit, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    fit(plateau, callbacks=[keep])
    path = tmp_path / "step=3.ckpt"  # within the second epoch
    (seen,) = read_checkpoint(path)["lr_schedulers"]
    assert seen["last_epoch"] == 1
    resumed, _ = fit(plateau, ckpt_path=str(path))
    # Lightning leaves out its step at the end of the epoch that a run is resumed in
    assert resumed.lr_schedulers().best == seen["best"]
    assert resumed.lr_schedulers().last_epoch >= 1


def test_data_of_a_subclass_is_found_again_by_everybody(fit, make_trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="last")
    _, data = fit(kind=TownData, epochs=1, callbacks=[keep])
    path, learnt = tmp_path / "last.ckpt", data.state_dict()["scaling"]
    assert {"TownData", "RasterDataModule"} <= read_checkpoint(path).keys()
    for found in (describe_model(path), open_source(ExportRequest(path, None, "torch")).pretrained):
        assert {name: numbers.tolist() for name, numbers in found.learnt.items()} == learnt

    class Renamed(TownData):
        pass

    module, data = fit(kind=RasterDataModule, epochs=1)
    data._learnt = {}
    make_trainer().validate(module, datamodule=data, ckpt_path=str(path), verbose=False)
    assert data.state_dict()["scaling"] == learnt
    other = Renamed(str(data.root), modalities=["rgb", "dsm"], crop=32, num_workers=0)
    other._learn = lambda tiles: None  # as where the training tiles are elsewhere
    make_trainer().validate(module, datamodule=other, ckpt_path=str(path), verbose=False)
    assert other.state_dict()["scaling"] == learnt


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_predicts_the_windows_of_the_test_tiles(workers, fit, make_trainer):
    module, data = fit(epochs=1)
    data.num_workers = workers
    batches = make_trainer().predict(module, datamodule=data)
    windows = [data.windows("test")[number] for number in range(4)]
    assert sum(len(batch["tile"]) for batch in batches) == len(data.windows("test")) == 4
    assert torch.cat([batch["window"] for batch in batches]).tolist() == [
        windows[k]["window"].tolist() for k in range(4)
    ]
    assert {tile for batch in batches for tile in batch["tile"]} == {tile.id for tile in data.tiles("test")}
    assert {tuple(batch["logits"].shape) for batch in batches} == {(2, 6, 96, 96)}
    one = module.on_after_batch_transfer(collate([windows[1]]), 0)
    with torch.no_grad():
        (alone,) = module.eval().predict_scenarios(one, module.scenarios[-1:])
    torch.testing.assert_close(alone[0], batches[0]["logits"][1], atol=1e-4, rtol=1e-4)
