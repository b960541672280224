"""Averages of the weights, by Lightning's callbacks: light in checkpoints, saved where they belong, resumed exactly."""

import signal

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from safetensors.torch import save_file

from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.runs.interrupt import Interrupted, Interrupts
from tests.conftest import TINY, same

NAME = "vit_tiny_patch16_224"
CALLBACKS = {
    "ema": lambda: EMAWeightAveraging(decay=0.5),
    "swa": lambda: StochasticWeightAveraging(1e-3, swa_epoch_start=1, annealing_epochs=2),
}


@pytest.fixture
def train(make_data, make_module, make_trainer, tmp_path):
    """Trains epochs of two steps around a frozen backbone from a file, with averages; gives module and callback."""
    file = tmp_path / "vit.safetensors"
    save_file(build_backbone(BackboneSettings(NAME, pretrained=False, options=TINY)).vit.state_dict(), file)

    def run(kind, *callbacks, ckpt_path=None, epochs=3):
        seed_everything(42)
        average, data = CALLBACKS[kind](), make_data(steps_per_epoch=2)
        module = make_module(data, backbone=BackboneSettings(NAME, checkpoint=str(file), options=TINY))
        options = {"enable_checkpointing": any(isinstance(each, ModelCheckpoint) for each in callbacks)}
        trainer = make_trainer(max_epochs=epochs, callbacks=[average, *callbacks], **options)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path and str(ckpt_path), weights_only=True)
        return module, average

    return run


def names_in(tree):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from names_in(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from names_in(value)


def differing(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not same(one[name], other[name])]


@pytest.mark.parametrize("kind", [pytest.param("ema", marks=pytest.mark.long), "swa"])
def test_averages_are_light_in_checkpoints_and_resume_to_the_same_weights(kind, train, tmp_path):
    keep = ModelCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
    whole, average = train(kind, keep)
    for step in (2, 4):
        path = tmp_path / f"steps/step={step}.ckpt"
        content = read_checkpoint(path)
        assert not [name for name in names_in(content) if str(name).startswith("network.backbone.vit.")]
        copies = [content["callbacks"], content.get("current_model_state")]
        assert [name for name in names_in(copies) if str(name).startswith("network.decoder.")]
        resumed, again = train(kind, ckpt_path=path)
        assert differing(whole.state_dict(), resumed.state_dict()) == []
        assert differing(average._average_model.state_dict(), again._average_model.state_dict()) == []


def test_a_checkpoint_has_the_average_that_was_validated(train, tmp_path):
    whole, average = train("ema", ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True))
    content = read_checkpoint(tmp_path / "last.ckpt")
    trained = [name for name, parameter in whole.named_parameters() if parameter.requires_grad]
    averaged = average._average_model.module.state_dict()
    assert [name for name in trained if not torch.equal(content["state_dict"][name], averaged[name])] == []
    moved = [name for name in trained if not torch.equal(content["current_model_state"][name], averaged[name])]
    assert len(moved) > len(trained) / 2


@pytest.mark.parametrize("kind", CALLBACKS)
def test_averages_of_an_earlier_version_which_have_no_temperatures_are_resumed(kind, train, tmp_path):
    whole, _ = train(kind, ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1))
    path = tmp_path / "step=4.ckpt"
    content = torch.load(path, weights_only=True)
    places = [content["state_dict"], content.get("current_model_state", {}), *content["callbacks"].values()]
    places += [value for place in places for value in place.values() if isinstance(value, dict)]
    assert sum("temperatures" in place for place in places) == 2
    for place in places:
        place.pop("temperatures", None)
    torch.save(content, path)
    resumed, _ = train(kind, ckpt_path=path)
    assert differing(whole.state_dict(), resumed.state_dict()) == []


@pytest.mark.parametrize("kind", CALLBACKS)
def test_a_temperature_is_of_the_weights_that_were_validated(kind, train, tmp_path):
    """The average's, where that is what a validation sees and a checkpoint has; none of an average that none saw."""
    seen = {}

    class Look(Callback):
        def on_validation_end(self, trainer, module):
            seen[trainer.current_epoch] = module.temperatures.clone()
            assert bool(module.temperatures[-1].isfinite())

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx:
                assert bool(module.temperatures.isnan().all())

    keep = ModelCheckpoint(tmp_path, "{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    module, _ = train(kind, Look(), keep)
    for epoch in (0, 1, 2):
        state = read_checkpoint(tmp_path / f"epoch={epoch}.ckpt")["state_dict"]
        assert same(state["temperatures"], seen[epoch])
    assert same(module.temperatures, seen[2]) == (kind == "ema")
    assert bool(module.temperatures.isnan().all()) == (kind == "swa")


def test_a_validation_of_averages_that_is_interrupted_saves_each_in_its_place(train, tmp_path):
    class Signal(Callback):
        def on_validation_batch_start(self, trainer, *_):
            interrupts._caught = signal.SIGTERM

    interrupts = Interrupts(tmp_path / "last.ckpt")
    with pytest.raises(Interrupted):
        train("ema", interrupts, Signal(), epochs=2)
    whole, _ = train("ema", epochs=2)
    resumed, _ = train("ema", ckpt_path=tmp_path / "last.ckpt", epochs=2)
    assert differing(whole.state_dict(), resumed.state_dict()) == []
