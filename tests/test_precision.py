"""Every precision of the trainer: from stored values to weights, and from a checkpoint to everything that reads it."""

import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from mobanet.data.options import EvaluationSettings
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.loading.module import load_module
from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.runs.summary import RunSummary
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.training.trainer import Trainer
from tests.conftest import NARROW, same

SMALL_CBC = CBCSettings(width=2, token_width=16, grid=2, heads=2, encoder_depths=(1, 1, 1, 1), encoder_width=4)
NETWORKS = {
    "mobanet": {"class_weights": [1.0, 1.0, 1.0, 1.0, 2.0, 0.3]},
    "block": {"network": MoBaNetSettings(placement="block", missing="token", **NARROW)},
    "cmx": {"architecture": "cmx", "cmx": CMXSettings("mit_b0", pretrained=False)},
    "cbc": {"architecture": "cbc", "cbc": SMALL_CBC},
    "cbc_slp": {"architecture": "cbc_slp", "cbc": SMALL_CBC},
}
DTYPES = {
    "bf16-true": torch.bfloat16,
    "16-true": torch.float16,
    "64-true": torch.float64,
    "bf16-mixed": torch.float32,
}
PAIRS = [("bf16-true", "mobanet"), ("16-true", "mobanet"), ("64-true", "block"), ("bf16-mixed", "block")]
PAIRS += [("bf16-true", "cmx"), ("16-true", "cbc"), ("64-true", "cbc_slp")]


@pytest.fixture
def run(make_data, make_module, tmp_path):
    """Fits a step an epoch, latent sampling before it, and tests."""

    def fit(precision, network="mobanet", epochs=1, ckpt_path=None):
        seed_everything(42)
        size = 64 if "cbc" in network else 32  # which halves its maps once more
        windows = EvaluationSettings(window=size)
        data = make_data(modalities=["rgb", "dsm"], steps_per_epoch=1, crop=size, batch_size=2, evaluation=windows)
        module = make_module(data, **NETWORKS[network])
        callbacks = [
            RunSummary(),
            ScenarioSampling(ScenarioSettings(strategy="latent", num_windows=2)),
            ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False),
        ]
        trainer = Trainer(
            precision=precision,
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            logger=False,
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            limit_val_batches=1,
            limit_test_batches=1,
            default_root_dir=str(tmp_path),
        )
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return trainer, module, data

    return fit


@pytest.mark.parametrize(
    ("precision", "network"),
    [pytest.param(*pair, marks=[pytest.mark.long] * (pair[1] in ("cmx", "cbc"))) for pair in PAIRS],
)
def test_a_run_trains_resumes_tests_and_is_read_again(precision, network, run, tmp_path):
    trainer, module, data = run(precision, network)
    assert {p.dtype for p in module.network.parameters()} == {DTYPES[precision]}
    assert module.scenario_probabilities.dtype == module.temperatures.dtype == torch.float32
    assert bool(module.temperatures[-1].isfinite())
    assert float(module.scenario_probabilities.sum()) == pytest.approx(1, abs=1e-6)
    path = tmp_path / "last.ckpt"
    assert read_checkpoint(path)["precision"] == precision
    trainer, module, data = run(precision, network, epochs=2, ckpt_path=str(path))
    assert trainer.global_step == 2
    assert all(bool(p.isfinite().all()) for p in module.parameters())
    trainer.test(module, datamodule=data, verbose=False)
    matrix = list(module.evaluation.found["test"].matrices.values())[-1]
    assert matrix.dtype == torch.int64
    assert matrix.sum() > 0
    again = load_module(path).module
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    trained = {name: value.float() for name, value in module.state_dict().items()}
    assert all(same(value.float(), trained[name]) for name, value in again.state_dict().items())


def test_float64_says_what_float32_says(make_data, make_module, tmp_path):
    losses = {}
    for precision in ("32-true", "64-true"):
        seed_everything(42)
        data = make_data(modalities=["rgb", "dsm"], evaluation=EvaluationSettings(window=32))
        options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "limit_val_batches": 1}
        trainer = Trainer(precision=precision, enable_progress_bar=False, **options)
        module = make_module(data)
        (figures,) = trainer.validate(module, datamodule=data, verbose=False)
        losses[module.dtype] = figures["val/loss"]
    assert losses.keys() == {torch.float32, torch.float64}
    assert losses[torch.float64] == pytest.approx(losses[torch.float32], rel=1e-5)
