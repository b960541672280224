"""LoRA: nothing changes at first, additions alone are trained where asked, and names that match nothing are refused."""

import pytest
import torch

from mobanet.errors import UserError
from mobanet.models.lora import LoRASettings, add_lora, still_frozen_statistics, with_lora_names
from tests.models.tiny import NAMES, random_inputs, tiny_mobanet

SEPARATE = ("eva02", "beit")  # biases are added after the layer that gets additions, another rounding


def side(family):
    return 56 if "14" in NAMES[family][0] else 64


@pytest.mark.parametrize("family", NAMES)
def test_additions_start_as_nothing_and_train_beside_a_frozen_backbone(family):
    model = tiny_mobanet(family).eval()
    inputs = random_inputs(model, 2, side(family), side(family))
    before = model(inputs).logits
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    layers = add_lora(model, LoRASettings(rank=2))
    assert len(layers) == 8  # qkv and proj in each of four blocks
    if family in SEPARATE:
        torch.testing.assert_close(before, model(inputs).logits)
    else:
        assert torch.equal(before, model(inputs).logits)
    output = model.train()(inputs)
    (output.logits.square().mean() + sum(x.square().mean() for x in output.auxiliary.values())).backward()
    graded = {name for name, p in model.named_parameters() if p.grad is not None}
    additions = {name for name in graded if ".lora_" in name}
    assert len(additions) == 16
    assert graded - additions == trained
    assert not any(".base_layer." in name for name in graded)


def test_rank_four_on_attention_has_the_count_that_follows():
    model = tiny_mobanet("dinov2")
    add_lora(model, LoRASettings())
    count = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
    width, blocks = 32, 4
    assert count == blocks * 4 * ((width + 3 * width) + (width + width))


def test_the_rest_can_be_frozen_with_its_statistics():
    model = tiny_mobanet("dinov2", fusion="dgfm", pyramid="scaled")
    add_lora(model, LoRASettings(freeze_rest=True))
    assert all((".lora_" in name) == p.requires_grad for name, p in model.named_parameters())
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    model.train()
    still_frozen_statistics(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(random_inputs(model, 2, 56, 56))
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())


@pytest.mark.parametrize("targets", [r"interactions\.\d\.(mix|expand)", r"decoder\.merge\.0", r".*gate_out"])
def test_own_parts_get_the_additions_of_the_parts_that_they_copy(targets):
    plain, adapted = (tiny_mobanet("dinov2", incomplete="own") for _ in range(2))
    layers = add_lora(adapted, LoRASettings(targets=targets))
    assert {name.removeprefix("incomplete.") for name in layers if name.startswith("incomplete.")} == {
        name for name in layers if not name.startswith("incomplete.")
    }
    own = {name: value for name, value in adapted.state_dict().items() if ".lora_" in name}
    adapted.load_state_dict({**own, **with_lora_names(plain.state_dict(), layers)})
    adapted.part_ways()


def test_additions_to_own_parts_alone_are_refused():
    with pytest.raises(UserError, match=r"matches incomplete\.decoder\.merge\.0 and not decoder\.merge\.0, which it"):
        add_lora(tiny_mobanet("dinov2", incomplete="own"), LoRASettings(targets=r"incomplete\.decoder\.merge\.0"))


def test_weights_of_a_network_without_lora_fit_under_its_names():
    plain, adapted = tiny_mobanet("dinov2"), tiny_mobanet("dinov2")
    torch.manual_seed(5)
    for p in plain.parameters():
        torch.nn.init.normal_(p, std=0.02)
    layers = add_lora(adapted, LoRASettings())
    missing, unexpected = adapted.load_state_dict(with_lora_names(plain.state_dict(), layers), strict=False)
    assert unexpected == []
    assert all(".lora_" in name for name in missing)
    inputs = random_inputs(plain, 1, 56, 56)
    assert torch.equal(plain.eval()(inputs).logits, adapted.eval()(inputs).logits)


@pytest.mark.parametrize(
    ("family", "settings", "words"),
    [
        ("dinov2", {"targets": r".*attn\.query"}, "matches no layer of this model; its attention layers are backbone"),
        ("dinov2", {"targets": r".*attn"}, "is no linear layer and no convolution"),
    ],
)
def test_targets_that_cannot_be_adapted_are_refused(family, settings, words):
    with pytest.raises(UserError, match=words):
        add_lora(tiny_mobanet(family), LoRASettings(**settings))


def test_a_layer_whose_weight_is_taken_past_it_is_refused():
    model = tiny_mobanet("eva02")
    del model.backbone.vit.blocks[0].attn.qkv_bias_separate  # as in attentions of other releases
    with pytest.raises(UserError, match="uses past the layer"):
        add_lora(model, LoRASettings())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": -1}, "rank is -1"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"targets": "("}, "no regular expression"),
        ({"rank": 10**6}, "rank is 1000000; give a number of"),
    ]
    + [
        ({"targets": slow}, "could take for ever")
        for slow in ("(a+)+b", "(a|a)*b", ".*.*.*.*b", "a?" * 30 + "a" * 30, r"(a)\\1")
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        LoRASettings(**settings)


def test_the_papers_lora_on_cbc_has_the_papers_count():
    import yaml

    from mobanet.models.cbc.network import CBC
    from mobanet.shipped import experiment_folder

    variant = yaml.safe_load((experiment_folder() / "variants/lora_cbc.yaml").read_text())
    model = CBC({"rgb": 3, "nir": 3, "swir": 3}, 1, slp=True)
    layers = add_lora(model, LoRASettings(**variant["model"]["lora"]))
    assert len(layers) == 7
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 18_240 - 1_536  # the published one has another fusion, which nothing uses
