"""Apple's GPUs have no float64: nothing goes there in it, and nothing becomes it there."""

import os
from dataclasses import replace

import torch
from torch import Tensor

from mobanet.evaluation.calibration import Calibration
from mobanet.evaluation.evaluation import Evaluation
from mobanet.evaluation.jaccard import SoftJaccard
from mobanet.evaluation.metrics import confusion_matrix, scores
from mobanet.rasters.contents import Classes
from mobanet.scenarios.distortion import DistortionMeter
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scenario import scenario_masks, scenarios_of
from mobanet.scenarios.scoring import score_module


class OnMPS(Tensor):
    """A tensor that says it is on an Apple GPU, and refuses float64 as one there does, until it is brought back."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function == Tensor.device.__get__:
            return torch.device("mps")
        if function is Tensor.to and any(isinstance(given, torch.device) for given in args):
            return args[0]  # it is there
        found = super().__torch_function__(function, types, args, kwargs or {})
        if function is Tensor.cpu:
            return found.as_subclass(Tensor)
        if isinstance(found, OnMPS) and found.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return found


def test_metrics_do_without_float64_on_the_device():
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(3, 2, 8, 8, generator=generator), torch.randint(2, (3, 8, 8), generator=generator)
    figures = []
    for kind in (Tensor, OnMPS):
        soft, calibration = SoftJaccard(), Calibration()
        soft.update(logits.as_subclass(kind), label.as_subclass(kind))
        matrix = logits.argmax(1).as_subclass(kind)
        calibration.update(logits.softmax(1).amax(1).as_subclass(kind), matrix, label.as_subclass(kind))
        counted = confusion_matrix(matrix, label.as_subclass(kind), 2).as_subclass(kind)
        figure = scores(counted, Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)), ("a", "b")))
        figures.append((soft.compute(), calibration.compute().tolist(), figure))
    assert figures[0] == figures[1]


def test_distortion_does_without_float64_on_the_device():
    class Encoder:
        def latents(self, inputs, patterns):
            return (inputs["a"] * pattern.float().sum() for pattern in patterns)

    results = []
    for kind in (Tensor, OnMPS):
        meter = DistortionMeter(scenario_masks(scenarios_of("ab")).as_subclass(kind))
        x = torch.linspace(0, 1, 32).reshape(2, 1, 4, 4)
        meter.add(Encoder(), {"a": x.as_subclass(kind)}, torch.ones(2, 2, dtype=torch.bool).as_subclass(kind))
        results.append(meter.result().mean.tolist())
    assert results[0] == results[1]
    assert results[0][0] > 0


def test_nothing_that_a_trainer_moves_to_the_device_is_float64(make_data, make_module):
    data = make_data()
    data.prepare_data()
    data.setup("fit")
    module = make_module(data)
    module.evaluation = Evaluation(_binary(data.description))
    seen = []
    module._apply(lambda tensor: seen.append(tensor.dtype) or tensor)  # what `.to(device)` goes through
    batch = next(iter(data.train_dataloader()))
    moved = [batch["label"], batch["available"], *batch["inputs"].values(), *batch["offset_scale"].values()]
    assert torch.int64 in seen  # of the metrics
    assert torch.float64 not in {*seen, *(tensor.dtype for tensor in moved)}


def test_scores_of_one_process_stay_where_float64_is(make_data, make_module, make_trainer, monkeypatch):
    data = make_data()
    data.prepare_data()
    data.setup("fit")
    module, trainer = make_module(data), make_trainer()
    trainer.datamodule = data
    trainer.strategy.connect(module)
    plain = Tensor.to

    def to(tensor, *args, **kwargs):
        assert tensor.dtype != torch.float64, "float64 on its way to a device"
        return plain(tensor, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", to)
    record, _ = score_module(trainer, module, ScenarioSettings(strategy="latent", num_windows=2), epoch=0)
    assert record.num_windows == 2


def test_workers_of_all_devices_share_the_cores(make_data, make_trainer, monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    data = make_data(num_workers=None)
    data.prepare_data()
    data.setup("fit")
    cores = len(os.sched_getaffinity(0))
    numbers = {}
    for devices in (1, 2, 8):
        data.trainer = make_trainer(devices=devices, strategy="ddp" if devices > 1 else "auto")
        numbers[devices] = data.train_dataloader().num_workers
        assert numbers[devices] == data.val_dataloader().num_workers
    assert numbers == {devices: max(1, min(4, cores // devices)) for devices in (1, 2, 8)}
    data.num_workers = 3
    assert data.train_dataloader().num_workers == 3


def _binary(description):
    return replace(description, classes=Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)), ("a", "b")))
