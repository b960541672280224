"""Checkpoints without the frozen backbone: what is in them, what comes back, and what is refused."""

import huggingface_hub
import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file

from mobanet.checkpoints.frozen import LEFT_OUT, left_out
from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.loading.module import load_module
from mobanet.models.backbones.kinds import build_backbone
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.lora import LoRASettings
from mobanet.training.module import SegmentationModule
from tests.conftest import TINY, same

NAME = "vit_tiny_patch16_224"
BACKBONE = "network.backbone.vit."


def weight_file(path, seed=0):
    torch.manual_seed(seed)
    save_file(build_backbone(BackboneSettings(NAME, pretrained=False, options=TINY)).vit.state_dict(), path)
    return path


@pytest.fixture
def file(tmp_path):
    """Weights of a small transformer."""
    return weight_file(tmp_path / "vit.safetensors")


def frozen(file=None, **options):
    return BackboneSettings(NAME, pretrained=False, checkpoint=file and str(file), options=TINY, **options)


@pytest.fixture
def train(make_data, make_module, make_trainer, tmp_path):
    """Trains epochs of three steps, keeps the checkpoint of every step, and gives the module."""

    def run(backbone, ckpt_path=None, begin_from=None, epochs=1, **options):
        seed_everything(42)
        data = make_data()
        module = make_module(data, backbone=backbone, **options)
        if begin_from is not None:
            module.begin_from(begin_from)
        keep = ModelCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
        given = {} if ckpt_path else {"callbacks": [keep], "enable_checkpointing": True}
        make_trainer(max_epochs=epochs, **given).fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return module

    return run


@pytest.fixture
def saved(train, file, tmp_path):
    """A module that was trained around a frozen backbone, and its last checkpoint."""
    return train(frozen(file)), tmp_path / "steps/step=3.ckpt"


@torch.no_grad()
def prediction(module):
    generator = torch.Generator().manual_seed(1)
    inputs = {m.name: torch.randn(2, len(m.bands), 40, 40, generator=generator) for m in module.data.modalities}
    return module.cpu().eval()(inputs, torch.tensor([[True, True, True], [True, False, True]])).logits


def assert_same(one, other, but=()):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    assert [name for name in one if not same(one[name], other[name])] == list(but)


FITTED = ["temperatures"]
"""What the validation behind the last step, at which a checkpoint was written, has left in the module."""


def test_a_checkpoint_holds_what_was_trained_and_says_around_what(saved, file):
    module, path = saved
    checkpoint = read_checkpoint(path)
    kept, whole = checkpoint["state_dict"].keys(), module.state_dict()
    assert {name for name, p in module.named_parameters() if p.requires_grad} <= kept
    assert whole.keys() - kept == {name for name in whole if name.startswith(BACKBONE)}
    assert checkpoint[LEFT_OUT] == {"name": NAME, "fingerprint": build_backbone(frozen(file)).fingerprint()}
    assert checkpoint["hyper_parameters"]["backbone"]["checkpoint"] == str(file)


def test_it_comes_back_whole_without_arguments(saved):
    module, path = saved
    wanted = prediction(module)
    for loaded in (SegmentationModule.load_from_checkpoint(path, weights_only=True), load_module(path).module):
        assert_same(module, loaded, FITTED)
        assert torch.equal(wanted, prediction(loaded))
    assert not load_module(path).module.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_backbone_is_known_by_the_weights_it_had_before_they_were_converted(dtype, file, make_data, make_module):
    module = make_module(make_data(), backbone=frozen(file)).to(dtype)
    assert module.checkpointing.fingerprint(module) == build_backbone(frozen(file)).fingerprint()
    assert module.scenario_probabilities.dtype == torch.float32


def test_a_run_resumed_without_its_backbone_ends_with_the_same_weights(train, file, tmp_path):
    whole = train(frozen(file), epochs=2)
    for step in (2, 3):  # within the first epoch, and at its end
        assert_same(whole, train(frozen(file), str(tmp_path / f"steps/step={step}.ckpt"), epochs=2))


def test_weights_that_have_moved_are_given_by_hand_and_others_refused(saved, file, tmp_path):
    module, path = saved
    moved = file.rename(tmp_path / "moved.safetensors")
    lost = f"the weights of its frozen backbone {NAME}; --backbone {file} is not a file"
    with pytest.raises(UserError, match=lost):
        load_module(path)
    assert torch.equal(prediction(module), prediction(load_module(path, str(moved)).module))
    other = weight_file(tmp_path / "other.safetensors", seed=1)
    wanted, found = (build_backbone(frozen(path)).fingerprint()[:12] for path in (moved, other))
    told = f"trained around weights of {NAME} with the fingerprint {wanted}, which it leaves out, and {other} have "
    told += f"{found}; give the file that the run had with --backbone FILE"
    with pytest.raises(UserError, match=told):
        load_module(path, str(other))


def test_what_cannot_be_had_again_stays_in(train, file, tmp_path):
    path = tmp_path / "steps/step=3.ckpt"
    for backbone in (frozen(), frozen(file, freeze=False)):  # random and frozen; trained
        module = train(backbone)
        checkpoint = read_checkpoint(path)
        assert checkpoint["state_dict"].keys() == module.state_dict().keys()
        assert LEFT_OUT not in checkpoint
        assert_same(module, load_module(path).module, FITTED)
        path.unlink()
        for other in path.parent.glob("*.ckpt"):
            other.unlink()
    # what was trained there is frozen here, and is in no file of its own
    module = train(frozen(file), begin_from=checkpoint)
    assert LEFT_OUT not in read_checkpoint(path)
    assert_same(module, load_module(path).module, FITTED)


def test_all_weights_are_kept_when_asked_for(train, file, make_data, make_module, make_trainer, tmp_path):
    data = make_data()
    module = make_module(data, backbone=frozen(file))
    module.checkpointing.leaves_out = False
    trainer = make_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "full.ckpt", weights_only=False)
    file.unlink()
    assert_same(module, load_module(tmp_path / "full.ckpt").module)
    with pytest.raises(UserError, match=r"full.ckpt holds all its weights, so that --backbone a.pth would not be read"):
        load_module(tmp_path / "full.ckpt", "a.pth")


def test_low_rank_additions_stay_in_and_may_be_added_later(train, saved, file, tmp_path):
    _, path = saved
    plain = read_checkpoint(path)
    module = train(frozen(file), begin_from=plain, lora=LoRASettings(rank=2))
    path = tmp_path / "steps/step=3-v1.ckpt"
    checkpoint = read_checkpoint(path)
    additions = [name for name in module.state_dict() if ".lora_" in name]
    assert len(additions) == 16
    assert set(additions) <= checkpoint["state_dict"].keys()
    assert not [name for name in checkpoint["state_dict"] if ".base_layer." in name]
    assert checkpoint[LEFT_OUT] == plain[LEFT_OUT]
    loaded = load_module(path).module
    assert_same(module, loaded, FITTED)
    assert torch.equal(prediction(module), prediction(loaded))


def test_a_name_too_few_or_too_many_is_refused(saved, tmp_path):
    checkpoint = read_checkpoint(saved[1])
    state = checkpoint["state_dict"]
    taken = next(name for name in state if name.startswith("network.decoder."))
    broken = {name: value for name, value in state.items() if name != taken} | {f"{BACKBONE}extra": torch.zeros(1)}
    torch.save({**checkpoint, "state_dict": broken}, tmp_path / "broken.ckpt")
    for load in (load_module, lambda path: SegmentationModule.load_from_checkpoint(path, weights_only=True)):
        with pytest.raises(UserError, match=f"it lacks {taken} and has unknown {BACKBONE}extra; take another one"):
            load(tmp_path / "broken.ckpt")


def test_published_weights_are_taken_from_the_cache_or_missed_by_name(
    make_data, make_module, make_trainer, tmp_path, monkeypatch
):
    options = {"depth": 4, "embed_dim": 32, "num_heads": 2}
    backbone = BackboneSettings("vit_small_patch16_dinov3.lvd1689m", options=options)
    vit = build_backbone(BackboneSettings(backbone.name, pretrained=False, options=options)).vit
    save_file(vit.state_dict(), tmp_path / "model.safetensors")
    data = make_data()
    with monkeypatch.context() as cache:
        cache.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "model.safetensors"))
        module, trainer = make_module(data, backbone=backbone), make_trainer(max_epochs=1)
        trainer.fit(module, datamodule=data)
        trainer.save_checkpoint(tmp_path / "light.ckpt", weights_only=False)
        assert left_out(read_checkpoint(tmp_path / "light.ckpt")).name == backbone.name
        assert_same(module, load_module(tmp_path / "light.ckpt").module)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        load_module(tmp_path / "light.ckpt")
    for part in (f"its frozen backbone {backbone.name}; ", "cannot be downloaded", "run once with a network, or give"):
        assert part in str(error.value)
    assert "--model.backbone.pretrained false" not in str(error.value)
