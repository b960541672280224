"""The whole path on the CPU: fit, resume, frozen parts, equal results however windows are shared out."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from mobanet.data.augment import AugmentationSettings
from mobanet.data.options import EvaluationSettings
from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.cbc.network import CBCSettings
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.masking import MaskingSettings
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.training.module import SegmentationModule
from mobanet.training.optim import ScheduleSettings
from tests.conftest import NARROW, TINY, same

FROZEN = BackboneSettings("vit_tiny_patch16_224", pretrained=False, freeze=True, options=TINY)


def fitted(make_data, make_module, make_trainer, trainer=None, module=None, ckpt_path=None, **data):
    seed_everything(42)
    data = make_data(**data)
    module = make_module(data, **(module or {}))
    make_trainer(**(trainer or {})).fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return module


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    different = [name for name in a if not same(a[name], b[name])]
    assert different == []


def test_one_seed_gives_the_same_weights_twice_and_with_workers(make_data, make_module, make_trainer):
    first = weights(fitted(make_data, make_module, make_trainer))
    assert_same(first, weights(fitted(make_data, make_module, make_trainer)))
    assert_same(first, weights(fitted(make_data, make_module, make_trainer, num_workers=2)))


def test_a_run_resumed_anywhere_ends_with_the_same_weights(make_data, make_module, make_trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = {"callbacks": [keep], "enable_checkpointing": True}
    whole = weights(fitted(make_data, make_module, make_trainer, trainer))
    paths = sorted(tmp_path.glob("step=*.ckpt"))
    assert len(paths) == 6
    for step in (2, 3, 4):  # within the first epoch, at its end, within the second
        resumed = fitted(make_data, make_module, make_trainer, ckpt_path=str(tmp_path / f"step={step}.ckpt"))
        assert_same(whole, weights(resumed))


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["cmx", "cbc_slp"])
def test_runs_of_other_networks_resume_to_the_same_weights(
    architecture, make_data, make_module, make_trainer, tmp_path
):
    small = CBCSettings(width=2, token_width=16, grid=2, heads=2, encoder_depths=(1, 1, 1, 1), encoder_width=4)
    module = {"architecture": architecture, "cbc": small, "cmx": CMXSettings("mit_b0", pretrained=False)}
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)

    def run(callbacks, ckpt_path=None):
        sampling = ScenarioSampling(ScenarioSettings(strategy="latent", num_windows=8))
        trainer = {"callbacks": [sampling, *callbacks], "enable_checkpointing": bool(callbacks)}
        return weights(fitted(make_data, make_module, make_trainer, trainer, module, ckpt_path))

    whole = run([keep])
    for step in (2, 3):  # within the first epoch, and at its end
        assert_same(whole, run([], str(tmp_path / f"step={step}.ckpt")))


def test_resuming_uses_the_new_learning_rate_and_refuses_another_model(make_data, make_module, make_trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="last")
    fitted(make_data, make_module, make_trainer, {"callbacks": [keep], "enable_checkpointing": True, "max_epochs": 1})
    path = str(tmp_path / "last.ckpt")

    class Rates(Callback):
        seen: tuple = ()

        def on_train_batch_start(self, trainer, *_):
            self.seen = (*self.seen, *(g["lr"] for g in trainer.optimizers[0].param_groups))

    rates = Rates()
    settings = {"lr": 1e-5, "weight_decay": 0.5}
    module = fitted(make_data, make_module, make_trainer, {"callbacks": [rates]}, settings, path)
    assert rates.seen
    assert max(rates.seen) <= 1e-5
    assert {g["weight_decay"] for g in module.optimizers().param_groups} == {0.0, 0.5}
    other = BackboneSettings("vit_tiny_patch16_224", pretrained=False, freeze=False, options={**TINY, "depth": 8})
    with pytest.raises(UserError, match=r"--model.backbone.options.depth is 8 here and 4 in the checkpoint"):
        fitted(make_data, make_module, make_trainer, None, {"backbone": other}, path)


def test_frozen_backbone_keeps_its_weights_and_its_eval_mode(make_data, make_module, make_trainer):
    class Watch(Callback):
        modes: set = set()  # noqa: RUF012 - one test, one instance

        def on_train_batch_end(self, trainer, pl_module, *_):
            self.modes.add((pl_module.network.decoder.training, pl_module.network.backbone.vit.training))

    seed_everything(1)
    data = make_data()
    module = make_module(data, backbone=FROZEN)
    before = weights(module)
    watch = Watch()
    make_trainer(callbacks=[watch]).fit(module, datamodule=data)
    after = weights(module)
    assert watch.modes == {(True, False)}
    frozen = [name for name in before if name.startswith("network.backbone.")]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    assert [name for name in trained if torch.equal(before[name], after[name])] == []


def test_load_from_checkpoint_needs_no_arguments(make_data, make_module, make_trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="last")
    module = fitted(make_data, make_module, make_trainer, {"callbacks": [keep], "enable_checkpointing": True})
    loaded = SegmentationModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert_same(weights(module), weights(loaded))
    assert loaded.data == module.data
    plain = read_checkpoint(tmp_path / "last.ckpt")["hyper_parameters"]
    leaves, queue = set(), [plain]
    while queue:
        item = queue.pop()
        if isinstance(item, (dict, list)):
            assert type(item) in (dict, list)
            queue += item.values() if isinstance(item, dict) else item
        else:
            leaves.add(type(item))
    assert leaves <= {str, int, float, bool, type(None)}


def test_evaluation_does_not_depend_on_the_batch_size(make_data, make_module, make_trainer):
    from mobanet.data.options import EvaluationSettings

    data = make_data()
    seed_everything(0)
    module = make_module(data)
    matrices = []
    for size in (1, 5):
        data = make_data(evaluation=EvaluationSettings(test_stride=32, batch_size=size))
        make_trainer().test(module, datamodule=data, verbose=False)
        matrices.append(module.evaluation.found["test"].matrices)
    assert len(matrices[0]) == 7
    for name, matrix in matrices[0].items():
        assert matrix.sum() > 10000
        # sums of float32 logits may round differently; a handful of ties at most
        assert (matrix - matrices[1][name]).abs().sum() <= 4


def test_gradient_accumulation_masking_and_bf16_run(make_data, make_module, make_trainer):
    module = fitted(
        make_data,
        make_module,
        make_trainer,
        {"accumulate_grad_batches": 3, "precision": "bf16-mixed", "max_epochs": 1},
        {"masking": MaskingSettings(ratio=1.0, blocks=2), "class_weights": [1.0, 1.0, 1.0, 1.0, 2.0, 0.5]},
    )
    assert module.trainer.global_step == 1
    assert {p.dtype for p in module.network.parameters()} == {torch.float32}


def test_a_warmup_longer_than_the_run_is_shortened_and_said(make_data, make_module, make_trainer, caplog):
    with caplog.at_level("INFO"):
        module = fitted(make_data, make_module, make_trainer, {"max_epochs": 2}, {"lr": 1e-3})
    assert "the warm-up of 5 epochs is no shorter than the run" in caplog.text
    # 2 epochs, a warm-up of 0.4 of one: the first epoch already has the full rate, the cosine ends at the floor
    scheduler = module.lr_schedulers()
    assert scheduler.base_lrs[0] == 1e-3
    assert [scheduler.lr_lambdas[0](step) for step in (0, 2)] == pytest.approx([1.0, 1e-3])


def test_masking_draws_differ_by_step_and_rank_only(make_data, make_module, make_trainer):
    data = make_data()
    module = make_module(data)
    module.trainer = make_trainer()
    seeds = {module._step_seed(i) for i in range(50)}
    assert len(seeds) == 50
    again = make_module(data)
    again.trainer = make_trainer()
    assert {again._step_seed(i) for i in range(50)} == seeds


def test_a_finished_store_serves_without_its_rasters(make_data, make_module, make_trainer, city, tmp_path):
    import shutil

    make_data(store=str(tmp_path / "store")).prepare_data()
    data = make_data(root=str(tmp_path / "gone"), store=str(tmp_path / "store"))
    make_trainer(max_epochs=1).fit(make_module(data), datamodule=data)
    other = make_data(root=str(tmp_path / "gone"), store=str(tmp_path / "store"), modalities=["rgb", "ndsm"])
    other.prepare_data()
    with pytest.raises(UserError, match="was prepared for the layout potsdam with rgb, ir, dsm, not for"):
        other.setup("fit")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(UserError, match="gone"):
        data.prepare_data()


@pytest.mark.long
def test_compiled_network_computes_the_same_and_keeps_its_names(make_data, make_module, monkeypatch):
    data = make_data()
    seed_everything(0)
    network = {"network": MoBaNetSettings(decoder_dropout=0.0, **NARROW)}
    plain, compiled = make_module(data, **network), make_module(data, compile=True, **network)
    compiled.load_state_dict(plain.state_dict())
    # the graphs are ours to get right, and captured in full; to make C++ of them is PyTorch's work of minutes
    monkeypatch.setattr(compiled.network, "compile", partial(compiled.network.compile, backend="aot_eager"))
    compiled.setup("fit")
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    inputs = {m.name: torch.randn(2, len(m.bands), 64, 64) for m in data.description.modalities}
    outputs, gradients = [], []
    for module in (plain, compiled):
        output = module.train()(inputs, torch.ones(2, 3, dtype=torch.bool))
        sum(x.square().mean() for x in (output.logits, *output.auxiliary.values())).backward()
        outputs.append(output.logits)
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert module.network._compiled_call_impl is not None
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-3)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.999


def test_settings_of_one_object_are_not_those_of_the_next(make_data, make_module):
    """A default is one object for all, and so is what a caller gives twice."""
    data, given = make_data(), MaskingSettings()
    data.evaluation.labels, data.augmentation.turns = "full", not data.augmentation.turns
    module = make_module(data, masking=given)
    module.masking.ratio, module.schedule.min_lr, module.lora.rank = 0.5, 1e-9, 3
    module.settings.cmx.encoder = "cnn"
    other = make_module(make_data(), masking=given)
    assert (other.masking.ratio, other.lora.rank, given.ratio) == (0.25, 0, 0.25)
    assert other.schedule == ScheduleSettings()
    assert other.settings.cmx == CMXSettings()
    assert make_data().evaluation == EvaluationSettings()
    assert make_data().augmentation == AugmentationSettings()
