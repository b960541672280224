"""No step of a training waits for its device: nothing that is computed there is read, and no size depends on it."""

from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn.utils import clip_grad_norm_

from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.lora import LoRASettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.sampling import ScenarioSettings
from tests.conftest import NARROW
from tests.device_reads import DeviceReads
from tests.test_training import FROZEN

SMALL = CBCSettings(width=2, token_width=16, grid=2, heads=2, encoder_depths=(1, 1, 1, 1), encoder_width=4)
OWN = MoBaNetSettings(**NARROW, incomplete="own")
NETWORKS = {
    "plain": {},
    "left_out": {"network": MoBaNetSettings(**NARROW, absent="left_out", missing="token")},
    "own": {"network": OWN},
    "recomputed": {"recompute_blocks": True, "lora": LoRASettings(rank=2)},
    "cmx": {"architecture": "cmx", "cmx": CMXSettings("cnn"), "class_weights": [1, 2, 1, 1, 1, 0]},
    "cbc": {"architecture": "cbc_slp", "cbc": SMALL},
}
STRATEGIES = {
    "full": ScenarioSettings(),
    "uniform": ScenarioSettings(strategy="uniform"),
    "shared_out": ScenarioSettings(strategy="uniform", full_share=0.5),
    "latent": ScenarioSettings(strategy="latent", num_windows=8, every_n_epochs=None),
}


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_runs_on_a_device_that_holds_no_numbers(
    network, shares, make_data, make_module, make_trainer, monkeypatch
):
    data = make_data()
    data.prepare_data()
    data.setup("fit")
    module = make_module(data, **{"backbone": FROZEN, **NETWORKS[network]})
    module.trainer, module.exact_scenario_shares = make_trainer(), shares
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no such device
    probabilities, masks = torch.full((7,), 1 / 7), module.scenario_masks
    module.to("meta")
    module.scenario_probabilities, module.scenario_masks = probabilities, masks  # fetched before, as they seldom change
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters)
    for step, batch in enumerate(data.train_dataloader()):
        there = module.on_after_batch_transfer(batch.to(torch.device("meta")), 0)
        assert there.inputs["rgb"].is_meta
        module.on_train_batch_start(there, step)
        module.training_step(there, step).backward()
        clip_grad_norm_(parameters, 1.0)
        module.on_before_optimizer_step(optimizer)
        optimizer.step()
        optimizer.zero_grad()
    assert step == 2


class Watch(Callback):
    """Watches each step from when its batch is on the device until the step is done and logged."""

    def __init__(self, module, reads, monkeypatch):
        self.reads, self.steps, self.trainer = reads, 0, None
        ready = module.on_after_batch_transfer

        def begin(batch, dataloader_idx):
            if not module.trainer.training:
                return ready(batch, dataloader_idx)
            states = [optimizer.state.values() for optimizer in module.trainer.optimizers]
            moments = [x for state in states for values in state for name, x in values.items() if name != "step"]
            self.reads.put([[*module.parameters()], [*module.buffers()], moments])
            given = [x for name, x in batch.contents.items() if name != "available"]
            self.reads.add(given)
            self.reads.watching = True
            return ready(batch, dataloader_idx)

        monkeypatch.setattr(module, "on_after_batch_transfer", begin)

    def on_train_batch_end(self, *_):
        self.reads.watching = False
        self.steps += 1


def watched(module, data, make_trainer, monkeypatch, callbacks=(), **trainer):
    with DeviceReads() as reads:
        watch = Watch(module, reads, monkeypatch)
        given = {"callbacks": [*callbacks, watch], "max_epochs": 2, "limit_val_batches": 0, "logger": False}
        make_trainer(**{**given, **trainer}).fit(module, datamodule=data)
    assert watch.steps == 6
    return reads.found


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("network", ["plain", "own"])
def test_a_training_reads_nothing_of_its_steps(network, strategy, make_data, make_module, make_trainer, monkeypatch):
    data = make_data()
    module = make_module(data, **{"backbone": FROZEN, **NETWORKS[network]})
    sampling = ScenarioSampling(STRATEGIES[strategy])
    options = {"gradient_clip_val": 1.0, "accumulate_grad_batches": 1}
    assert watched(module, data, make_trainer, monkeypatch, [sampling], **options) == []


@pytest.mark.parametrize(
    ("reading", "name"),
    [
        (lambda x: x.item(), "Tensor.item"),
        (lambda x: x.cpu(), "Tensor.cpu"),
        (lambda x: x > 0 and None, "Tensor.__bool__"),
        (lambda x: x[None][x[None] > 0], "aten::index"),
        (lambda x: x[None].nonzero(), "aten::nonzero"),
    ],
)
def test_what_reads_is_found(reading, name, make_data, make_module, make_trainer, monkeypatch):
    data = make_data()
    module = make_module(data, backbone=FROZEN)
    step = module.training_step

    def training_step(batch, batch_idx):
        loss = step(batch, batch_idx)
        reading(loss.detach())
        return loss

    monkeypatch.setattr(module, "training_step", training_step)
    assert name in watched(module, data, make_trainer, monkeypatch)
