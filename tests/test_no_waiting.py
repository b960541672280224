"""No step of a training waits for its device: nothing that is computed there is read, and no size depends on it."""

from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn.utils import clip_grad_norm_

from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.draws import HostCopy
from mobanet.models.lora import LoRASettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.training.reached import ReachedParts
from tests.conftest import NARROW
from tests.device_reads import DeviceReads
from tests.test_training import FROZEN

SMALL = CBCSettings(width=2, token_width=16, grid=2, heads=2, encoder_depths=(1, 1, 1, 1), encoder_width=4)
OWN = MoBaNetSettings(**NARROW, incomplete="own")
NETWORKS = {
    "plain": {},
    "left_out": {"network": MoBaNetSettings(**NARROW, absent="left_out", missing="token")},
    "own": {"network": OWN},
    "by_scenario": {"network": MoBaNetSettings(**NARROW, incomplete="own", normalization="scenario")},
    "recomputed": {"recompute_blocks": True, "lora": LoRASettings(rank=2)},
    "cmx": {"architecture": "cmx", "cmx": CMXSettings("cnn"), "class_weights": [1, 2, 1, 1, 1, 0]},
    "losses": {"loss": {"cross_entropy": 1, "dice": 0.5, "lovasz": 0.5, "focal": 1, "boundary_cross_entropy": 1}},
    "cbc": {"architecture": "cbc_slp", "cbc": SMALL},
}
STRATEGIES = {
    "full": ScenarioSettings(),
    "uniform": ScenarioSettings(strategy="uniform"),
    "shared_out": ScenarioSettings(strategy="uniform", full_share=0.5),
    "latent": ScenarioSettings(strategy="latent", num_windows=8, every_n_epochs=None),
}


# how shares are drawn depends on whether there are own parts, and on nothing else of a network
@pytest.mark.parametrize(
    ("network", "shares"),
    [*((name, False) for name in NETWORKS), *((name, True) for name in ("plain", "own", "by_scenario"))],
)
def test_a_step_runs_on_a_device_that_holds_no_numbers(
    network, shares, make_data, make_module, make_trainer, monkeypatch
):
    data = make_data(steps_per_epoch=2)
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
    assert step == 1


class Watch(Callback):
    """Watches each step from when its batch is on the device until the step is done and logged.

    But for an epoch's first, before which probabilities of scenarios may be measured anew and are fetched.
    """

    def __init__(self, module, monkeypatch):
        self.reads, self.steps = DeviceReads(), 0
        ready = module.on_after_batch_transfer

        def begin(batch, dataloader_idx):
            if self.steps == 0:
                return ready(batch, dataloader_idx)
            states = [optimizer.state.values() for optimizer in module.trainer.optimizers]
            moments = [x for state in states for values in state for name, x in values.items() if name != "step"]
            given = [x for name, x in batch.contents.items() if name != "available"]
            fetched = (module.scenario_probabilities, module.scenario_masks)
            buffers = [x for x in module.buffers() if all(x is not other for other in fetched)]
            self.reads.put([[*module.parameters()], buffers, moments, given])
            self.reads.watch()
            return ready(batch, dataloader_idx)

        monkeypatch.setattr(module, "on_after_batch_transfer", begin)

    def on_train_batch_end(self, *_):
        self.reads.rest()
        self.steps += 1


@pytest.mark.parametrize(
    ("network", "strategy"),
    [
        *(("own", "shared_out"), ("by_scenario", "shared_out")),
        *(("plain", "latent"), ("plain", "uniform"), ("plain", "full")),
    ],
)
def test_a_training_reads_nothing_of_its_steps(network, strategy, make_data, make_module, make_trainer, monkeypatch):
    data = make_data(steps_per_epoch=3)
    module = make_module(data, **{"backbone": FROZEN, **NETWORKS[network]})
    watch = Watch(module, monkeypatch)
    options = {"max_epochs": 1, "limit_val_batches": 0, "logger": False, "gradient_clip_val": 1.0}
    trainer = make_trainer(callbacks=[ScenarioSampling(STRATEGIES[strategy]), watch], **options)
    trainer.fit(module, datamodule=data)
    assert watch.steps == 3
    assert watch.reads.found == []
    assert watch.reads.has([trainer.callback_metrics["train/loss"]])


@pytest.mark.parametrize(
    ("reading", "name"),
    [
        (lambda x: x.sum().item(), "aten::_local_scalar_dense"),
        (lambda x: float(x[0]), "aten::_local_scalar_dense"),
        (lambda x: bool(x.any()), "Tensor.__bool__"),
        (lambda x: (2 * x).cpu(), "Tensor.cpu"),
        (lambda x: x.tolist(), "Tensor.tolist"),
        (lambda x: x[x > 0], "aten::index"),
        (lambda x: x.nonzero(), "aten::nonzero"),
    ],
)
def test_what_reads_is_found(reading, name):
    reads, drawn = DeviceReads(), torch.ones(3)
    there = torch.ones(3)
    reads.put([there])
    reads.watch()
    reading(drawn)
    nothing = list(reads.found)
    reading(there + drawn)
    reads.rest()
    reading(there)
    assert nothing == []
    assert name in reads.found
    assert len(reads.found) < 4


def test_what_samples_reached_is_kept_until_the_step_is_taken():
    reached, device = ReachedParts(), torch.device("cpu")
    assert reached.read() is None
    reached.note(torch.tensor([[True, True], [True, True]]), device, ranks=False)
    assert reached.read() == (True, False)
    reached.note(torch.tensor([[True, False]]), device, ranks=False)
    reached.note(torch.tensor([[True, True]]), device, ranks=False)
    assert reached.read() == (True, True)
    assert reached.read() is None


def test_a_tensor_is_fetched_once_after_each_change():
    class Counted(torch.Tensor):
        fetched = 0

        def detach(self):
            Counted.fetched += 1
            return self

    copy, tensor = HostCopy(), torch.zeros(2).as_subclass(Counted)
    copy.of(tensor), copy.of(tensor)
    assert Counted.fetched == 1
    tensor.copy_(torch.ones(2))
    assert copy.of(tensor).tolist() == [1, 1]
    with torch.inference_mode():
        tensor.fill_(2)
    assert copy.of(tensor).tolist() == [2, 2]
    assert Counted.fetched == 3
