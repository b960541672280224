"""What changes how a training step is computed and not what it comes to: recomputed blocks, fused optimisers."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from mobanet.errors import UserError
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.backbones.weights import create_vit
from mobanet.models.cmx.encoders import build_encoders
from mobanet.models.cmx.network import CMXSettings
from mobanet.models.lora import LoRASettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.training.fused import takes_fused_steps
from mobanet.training.optim import OPTIMIZERS, build_optimizer
from tests.conftest import NARROW, TINY
from tests.test_training import FROZEN, assert_same, fitted, weights

LORA = LoRASettings(rank=2)
ROTARY = BackboneSettings(
    "vit_small_patch16_dinov3_qkvb", False, None, False, options={"depth": 4, "embed_dim": 32, "num_heads": 2}
)
BY_BLOCK = MoBaNetSettings(**NARROW, placement="block")
WITH_DROPS = BackboneSettings("vit_tiny_patch16_224", False, None, False, options={**TINY, "drop_path_rate": 0.3})


@pytest.mark.parametrize(
    "module",
    [
        {"backbone": FROZEN},
        {"backbone": FROZEN, "lora": LORA},
        {"backbone": FROZEN, "network": BY_BLOCK},
        {"backbone": WITH_DROPS},
        {"backbone": ROTARY},
    ],
    ids=["frozen", "lora", "adapters", "drawn_depth", "rotary"],
)
def test_recomputed_blocks_end_with_the_same_weights(module, make_data, make_module, make_trainer):
    trainer = {"max_epochs": 1}
    kept = weights(fitted(make_data, make_module, make_trainer, trainer, module))
    recomputed = fitted(make_data, make_module, make_trainer, trainer, {**module, "recompute_blocks": True})
    assert recomputed.network.backbone.recomputes
    assert_same(kept, weights(recomputed))


def test_blocks_are_recomputed_in_training_alone(make_data, make_module, monkeypatch):
    module = make_module(make_data(), backbone=FROZEN, recompute_blocks=True)
    backbone, runs = module.network.backbone, []
    once = backbone._run_block
    monkeypatch.setattr(backbone, "_run_block", lambda *given: runs.append(given[0]) or once(*given))
    inputs = {name: torch.rand(2, bands, 64, 64) for name, bands in module.network.modalities.items()}
    module.network(inputs).logits.sum().backward()
    assert sorted(runs) == [0, 0, 1, 1, 2, 2, 3, 3]
    runs.clear()
    with torch.no_grad():
        module.eval().network(inputs)
    assert runs == [0, 1, 2, 3]


def test_a_step_with_recomputed_blocks_keeps_less_for_the_backward_pass(make_data, make_module):
    def kept(**options):
        module = make_module(make_data(), backbone=FROZEN, **options)
        inputs = {name: torch.rand(2, bands, 64, 64) for name, bands in module.network.modalities.items()}
        storages = {}

        def pack(x):
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            module.network(inputs)
        own = {x.untyped_storage().data_ptr() for x in module.parameters()}
        return sum(size for place, size in storages.items() if place not in own)

    assert kept(recompute_blocks=True) < 0.8 * kept()


def test_networks_without_blocks_have_none_to_recompute(make_data, make_module):
    with pytest.raises(UserError, match=r"recompute_blocks is for .*, and cmx is none; leave it out"):
        make_module(make_data(), architecture="cmx", cmx=CMXSettings("cnn"), recompute_blocks=True)


def stepped(name, *stretches):
    """Parameters after five steps of each stretch, fused or not, of the same gradients."""
    draws = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(size, generator=draws)) for size in (7, 33)]
    state = None
    for fused in stretches:
        optimizer = build_optimizer(name, [{"params": parameters, "lr": 1e-2, "weight_decay": 0.05}], fused=fused)
        if state is not None:
            own = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
            optimizer.load_state_dict({**state, "param_groups": [{**state["param_groups"][0], **own}]})
        for _ in range(5):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=draws)
            optimizer.step()
        state = optimizer.state_dict()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("stretches", [(True, True), (True, False), (False, True)])
def test_fused_steps_are_the_others_to_rounding(stretches, name):
    torch.testing.assert_close(stepped(name, *stretches), stepped(name, False, False))


@pytest.mark.parametrize("first", [False, True])
def test_a_run_goes_on_between_fused_and_not(first, make_data, make_module, make_trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = {"callbacks": [keep], "enable_checkpointing": True}
    begun = fitted(make_data, make_module, make_trainer, trainer, {"fused": first})
    path = str(tmp_path / "step=4.ckpt")
    resumed = fitted(make_data, make_module, make_trainer, {}, {"fused": not first}, ckpt_path=path)
    for module, fused in ((begun, first), (resumed, not first)):
        (optimizer,) = module.trainer.optimizers
        assert {bool(group["fused"]) for group in optimizer.param_groups} == {fused}
        assert {int(state["step"]) for state in optimizer.state.values()} == {6}
    saved = torch.load(path, weights_only=True)["state_dict"]
    end, other = weights(begun), weights(resumed)
    moved = sum(float((end[name] - value).abs().nansum()) for name, value in saved.items() if value.is_floating_point())
    apart = sum(float((end[name] - value).abs().nansum()) for name, value in other.items())
    assert apart < 0.05 * moved


def pretended(device, precision="32-true", clip=None):
    plugin = MixedPrecision(precision, device) if precision.endswith("mixed") else Precision()
    return SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device(device)),
        precision_plugin=plugin,
        precision=precision,
        gradient_clip_val=clip,
    )


def test_fused_steps_are_taken_where_they_go(capsys):
    assert takes_fused_steps("auto", pretended("cuda"))
    assert takes_fused_steps("auto", pretended("cuda", "16-mixed"))
    assert takes_fused_steps("auto", pretended("cuda", "bf16-mixed"))
    assert takes_fused_steps("auto", pretended("cuda", "bf16-true", 1.0))
    assert not takes_fused_steps("auto", pretended("cpu"))
    assert takes_fused_steps(True, pretended("cpu", clip=1.0))
    assert not takes_fused_steps(False, pretended("cuda"))


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_gradients_that_are_clipped_in_mixed_precision_are_not_fused(precision, caplog):
    trainer = pretended("cuda", precision, 1.0)
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    with pytest.raises(
        RuntimeError, match="does not allow for gradient clipping"
    ):  # else nothing would be refused here
        trainer.precision_plugin.clip_gradients(torch.optim.AdamW([parameter], fused=True), 1.0)
    with caplog.at_level("INFO"):
        assert not takes_fused_steps("auto", trainer)
    assert "--trainer.gradient_clip_val 1: the optimiser is not fused" in caplog.text
    with pytest.raises(UserError) as refused:
        takes_fused_steps(True, trainer)
    assert "--trainer.gradient_clip_val 1; leave one of them out, or set --trainer.prec" in refused.value.told()


def test_a_device_without_fused_optimisers_is_named():
    with pytest.raises(UserError, match=r"no fused optimiser for tpu; leave it out"):
        takes_fused_steps(True, SimpleNamespace(strategy=SimpleNamespace(root_device=SimpleNamespace(type="tpu"))))


@pytest.mark.parametrize("pyramid", ["plain", "scaled"])
def test_maps_of_tokens_are_in_channels_last_order(pyramid, make_data, make_module):
    small = {"decoder_channels": 8, "projection_channels": 16, "pyramid": pyramid}
    module = make_module(make_data(), backbone=FROZEN, network=MoBaNetSettings(**small))
    seen = []
    module.network.decoder.register_forward_pre_hook(lambda _, given: seen.extend(given[0]))
    module.network({name: torch.rand(2, bands, 64, 64) for name, bands in module.network.modalities.items()})
    assert len(seen) == 4
    # what the decoder's own operators make of them is theirs, and differs from processor to processor
    assert all(maps.is_contiguous(memory_format=torch.channels_last) for maps in seen)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3_qkvb", "samvit_base_patch16"])
def test_attention_of_backbones_is_torchs_own(name):
    with torch.device("meta"):
        vit = create_vit(BackboneSettings(name, False, options={"depth": 4}))
    kinds = [part.fused_attn for part in vit.modules() if hasattr(part, "fused_attn")]
    assert kinds == [True] * 4


def test_attention_of_mix_transformers_is_theirs_to_rounding():
    encoder = build_encoders("mit_b0", False, None)[1].eval()
    parts = [part for part in encoder.modules() if type(part).__name__ == "Attention"]
    assert {part.sr_ratio for part in parts} == {8, 4, 2, 1}
    for part in parts:
        assert part.forward.__self__ is part
        tokens = torch.randn(2, 16 * 8, part.dim)
        torch.testing.assert_close(part(tokens, 16, 8), type(part).forward(part, tokens, 16, 8))
