"""Small tensors are fastest on one thread; a run with its test, made by the trainer; and commands in this process."""

import pytest
import yaml

from mobanet.runs.results import ResultFiles
from tests.cli.conftest import command
from tests.models.conftest import one_thread

__all__ = ["command", "one_thread", "run_folder"]


@pytest.fixture(scope="session")
def run_folder(city, tmp_path_factory):
    """A run of two steps, tested in all scenarios; tests that change it copy it first."""
    from lightning.pytorch import Trainer

    from mobanet.data.datamodule import RasterDataModule
    from mobanet.models.mobanet.network import MoBaNetSettings
    from mobanet.training.module import SegmentationModule
    from tests.conftest import NARROW
    from tests.exporting.small import backbone

    folder = tmp_path_factory.mktemp("runs") / "run"
    options = {"crop": 32, "batch_size": 2, "steps_per_epoch": 2, "num_workers": 0, "modalities": ["rgb", "dsm"]}
    options["scaling"] = {"dsm": "robust"}  # which takes numbers from each tile, unlike the default
    data = RasterDataModule(str(city), **options)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[ResultFiles(folder / "test")],
    )
    settings = backbone("clip", name="vit_tiny_patch16_224", options={"depth": 4, "embed_dim": 32, "num_heads": 2})
    module = SegmentationModule(data.description, backbone=settings, network=MoBaNetSettings(**NARROW))
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "checkpoints/best.ckpt")
    config = {
        "seed_everything": 42,
        "data": {**options, "layout": "potsdam", "split": "paper", "validation": "holdout"},
    }
    config |= {"trainer": {"max_epochs": 1}, "scenarios": {"strategy": "latent"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    trainer.test(module, datamodule=data, verbose=False)
    return folder
