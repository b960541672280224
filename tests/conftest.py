"""A small synthetic city under Potsdam's names, made once, and a small model on it."""

import gc
import logging
import os
import signal
from pathlib import Path

import pytest

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("WANDB_API_KEY", None)
# Lightning's loggers hand on what they are told only where the root logger has a handler when Lightning is imported;
# pytest's own are not always there by then
logging.getLogger().addHandler(logging.NullHandler())
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts what a script runs in the background so, and the processes of tests would be deaf, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.fsync = lambda handle: None
"""Tests need not outlive a crash of the machine, and disks may take a second for a checkpoint; those of the call itself
put their own in its place."""


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Spare the collector of garbage what lives as long as the session: modules, tests, rewritten assertions.

    Millions of objects, which it would walk through a dozen times while they are made, and again whenever tests make
    more of them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 20, 10)
        gc.enable()


TINY = {"depth": 4, "embed_dim": 32, "num_heads": 2, "patch_size": 8, "img_size": 64}
NARROW = {"decoder_channels": 8, "projection_channels": 16}
"""The widths of the trained part, which at the defaults costs more than the tiny backbone: time and room on disk."""


def same(one, other) -> bool:
    """Whether two tensors are alike to the last bit; NaN, which stands for a temperature not fitted, is like NaN."""
    import torch

    gaps = one.isnan(), other.isnan()
    return torch.equal(*gaps) and torch.equal(one.masked_fill(gaps[0], 0), other.masked_fill(gaps[1], 0))


@pytest.fixture(scope="session")
def city(tmp_path_factory) -> Path:
    """Six tiles of 160 x 160 pixels; tests that change files copy it first."""
    from mobanet.synthetic import synthesize

    root = tmp_path_factory.mktemp("city") / "potsdam"
    synthesize("potsdam", root, tiles=6, size=160, seed=3, workers=0)
    return root


@pytest.fixture
def make_data(city):
    """Builds a data module on the city."""
    from mobanet.data.datamodule import RasterDataModule

    def make(**options):
        given = {
            "root": str(city),
            "modalities": ["rgb", "ir", "dsm"],
            "crop": 64,
            "batch_size": 4,
            "steps_per_epoch": 3,
            "num_workers": 0,
        }
        return RasterDataModule(**{**given, **options})

    return make


@pytest.fixture
def make_module():
    """Builds a small model for a data module."""
    from mobanet.models.backbones.stages import BackboneSettings
    from mobanet.models.mobanet.network import MoBaNetSettings
    from mobanet.training.module import SegmentationModule

    def make(data, **options):
        backbone = BackboneSettings("vit_tiny_patch16_224", pretrained=False, freeze=False, options=dict(TINY))
        small = {"backbone": backbone, "network": MoBaNetSettings(**NARROW)}
        return SegmentationModule(data.description, **{**small, **options})

    return make


@pytest.fixture
def make_trainer(tmp_path):
    """Builds a quiet trainer on one CPU process."""
    from lightning.pytorch import Trainer

    def make(**options):
        given = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 2,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": str(tmp_path),
        }
        return Trainer(**{**given, **options})

    return make


@pytest.fixture
def fitted(make_data, make_module, make_trainer, tmp_path):
    """Fits with scenario settings; the module, what was watched, and the folder of the run."""
    from lightning.pytorch import seed_everything

    from mobanet.scenarios.callback import ScenarioSampling
    from mobanet.scenarios.sampling import ScenarioSettings
    from tests.scenario_fits import Watch

    def fit(module=None, data=None, ckpt_path=None, callbacks=(), folder="run", epochs=2, validated=True, **scenarios):
        seed_everything(42)
        data = make_data(**(data or {}))
        module = make_module(data, **(module or {}))
        watch = Watch()
        settings = ScenarioSettings(**{"num_windows": 12, **scenarios})
        sampling = ScenarioSampling(settings, tmp_path / folder)
        trainer = make_trainer(
            callbacks=[sampling, watch, *callbacks],
            max_epochs=epochs,
            enable_checkpointing=bool(callbacks),
            **({} if validated else {"limit_val_batches": 0}),
        )
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return module, watch, tmp_path / folder

    return fit
