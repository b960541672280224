"""Progress that no run could go on from is refused before training starts."""

import copy

import pytest
import torch

from mobanet.checkpoints.resumable import check_progress
from mobanet.errors import UserError


@pytest.fixture(scope="module")
def saved(city, tmp_path_factory):
    """A module, its trainer, and a checkpoint of theirs after a step."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from mobanet.data.datamodule import RasterDataModule
    from mobanet.training.module import SegmentationModule
    from tests.exporting.small import PARTS, MoBaNetSettings, backbone

    options = {"crop": 32, "batch_size": 2, "steps_per_epoch": 1, "num_workers": 0, "modalities": ["rgb", "dsm"]}
    data, folder = RasterDataModule(str(city), **options), tmp_path_factory.mktemp("resumed")
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler"), False)
    keep = ModelCheckpoint(folder, monitor="train/loss", save_on_train_epoch_end=True)
    trainer = Trainer(accelerator="cpu", devices=1, max_epochs=1, limit_val_batches=0, callbacks=[keep], **quiet)
    network = MoBaNetSettings(**PARTS)
    module = SegmentationModule(data.description, backbone=backbone("clip"), network=network, auxiliary_weight=0)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "last.ckpt")
    return module, trainer, torch.load(folder / "last.ckpt", weights_only=True)


def at(path, value):
    def change(checkpoint):
        *groups, last = path
        for key in groups:
            checkpoint = checkpoint[key]
        checkpoint[last] = value(checkpoint[last]) if callable(value) else value

    return change


def lacking(*path):
    def change(checkpoint):
        for key in path[:-1]:
            checkpoint = checkpoint[key]
        del checkpoint[path[-1]]

    return change


def best(key, value):
    return lambda checkpoint: next(iter(checkpoint["callbacks"].values())).__setitem__(key, value)


FIT, OPTIMIZER = ("loops", "fit_loop"), ("optimizer_states", 0)
MOMENT = (*OPTIMIZER, "state", 0, "exp_avg")
CASES = {
    "no optimiser": (lacking("optimizer_states"), "optimizer_states is None"),
    "optimisers as a mapping": (at(("optimizer_states",), {}), "optimizer_states is a dict"),
    "optimiser as a word": (at(OPTIMIZER, "adamw"), r"optimizer_states\[0\] is 'adamw'"),
    "no groups": (lacking(*OPTIMIZER, "param_groups"), r"optimizer_states\[0\].param_groups is None"),
    "group without parameters": (
        at((*OPTIMIZER, "param_groups", 0, "params"), None),
        r"param_groups\[0\].params is None",
    ),
    "states under words": (at((*OPTIMIZER, "state"), {"a": {}}), r"a key of optimizer_states\[0\].state is 'a'"),
    "moment of another shape": (at(MOMENT, torch.zeros(3, 1)), r"state.0.exp_avg has the shape \(3, 1\)"),
    "sparse moment": (at(MOMENT, torch.zeros(3).to_sparse()), "state.0 is odd: .* is no dense tensor"),
    "moment in words": (at(MOMENT, "zero"), "state.0.exp_avg is 'zero'"),
    "no schedule": (lacking("lr_schedulers"), "lr_schedulers is None"),
    "schedule as a list": (at(("lr_schedulers", 0), []), r"lr_schedulers\[0\] is a list"),
    "schedule without epoch": (lacking("lr_schedulers", 0, "last_epoch"), r"lr_schedulers\[0\].last_epoch is None"),
    "no loops": (lacking("loops"), "loops is None"),
    "no loop of fit": (lacking(*FIT), "loops.fit_loop is None"),
    "loop without counters": (lacking(*FIT, "epoch_progress"), "loops.fit_loop.epoch_progress is missing"),
    "counter in words": (at((*FIT, "epoch_progress", "current", "completed"), "one"), "current.completed is 'one'"),
    "counter below none": (at((*FIT, "epoch_progress", "total", "ready"), -4), "total.ready is -4"),
    "no callbacks": (lacking("callbacks"), "callbacks is None"),
    "callbacks as a list": (at(("callbacks",), []), "callbacks is a list"),
    "sampling as a word": (
        at(("callbacks",), {"ScenarioSampling": "latent"}),
        "callbacks.ScenarioSampling is 'latent'",
    ),
    "nothing logged": (at(("callbacks",), {"Interrupts": {}}), "callbacks.Interrupts.logged is None"),
    "best score as a word": (best("best_model_score", "high"), "ModelCheckpoint.best_model_score is 'high'"),
    "best path as a number": (best("best_model_path", 3), "ModelCheckpoint.best_model_path is 3"),
    "best of several": (best("best_k_models", {"a.ckpt": torch.zeros(2)}), "ModelCheckpoint.a.ckpt is a Tensor"),
}


def check(saved, checkpoint):
    module, trainer, _ = saved
    check_progress(checkpoint, trainer)
    module.check_resumable(checkpoint)


def test_a_checkpoint_of_a_run_can_be_resumed(saved):
    check(saved, copy.deepcopy(saved[2]))


@pytest.mark.parametrize("case", CASES)
def test_odd_progress_is_refused_in_one_sentence(case, saved):
    change, words = CASES[case]
    checkpoint = {**saved[2], **{key: copy.deepcopy(saved[2][key]) for key in ("optimizer_states", "lr_schedulers")}}
    checkpoint |= {key: copy.deepcopy(saved[2][key]) for key in ("loops", "callbacks")}
    change(checkpoint)
    with pytest.raises(UserError, match=f"the checkpoint cannot be resumed: .*{words}.*--init_from.$"):
        check(saved, checkpoint)
