"""CBC and CBC-SLP under the contract of all models, and what is their own."""

import copy
import itertools
import weakref
from collections import Counter

import huggingface_hub
import pytest
import torch
from torch import nn

from mobanet.errors import UserError
from mobanet.models.cbc.network import CBC, CBCSettings
from mobanet.models.cbc.volumes import instance_norm
from tests.models.tiny import every_pattern, random_inputs

ODD = (35, 50)
SMALL = {"width": 2, "token_width": 32, "heads": 4, "grid": 2, "encoder_depths": (1, 2, 1, 1), "encoder_width": 4}
MODALITIES = {
    "one": {"dsm": 1},
    "two": {"rgb": 3, "dsm": 1},
    "three": {"rgb": 3, "nir": 3, "swir": 3},
    "four": {"rgb": 3, "nir": 1, "swir": 2, "dsm": 5},
}
BOTH = pytest.mark.parametrize("slp", [False, True], ids=["cbc", "cbc-slp"])
EVERY_COUNT = pytest.mark.parametrize("modalities", MODALITIES.values(), ids=MODALITIES.keys())


def small_cbc(modalities=MODALITIES["two"], slp: bool = False, classes: int = 4, **settings) -> CBC:
    torch.manual_seed(0)
    return CBC(modalities, classes, CBCSettings(**{**SMALL, **settings}), slp)


def in_float64(model: CBC, batch: int) -> tuple[CBC, dict[str, torch.Tensor]]:
    """A model in eval mode and inputs at an odd size; instance norm makes much of float32's rounding."""
    return model.double().eval(), {name: x.double() for name, x in random_inputs(model, batch, *ODD).items()}


def count_samples(model: CBC) -> Counter:
    """Samples that pass each encoder and the decoder, counted from here on."""
    counts = Counter()
    for name, module in (*zip(model.modalities, model.encoders, strict=True), ("decoder", model.decoder)):
        module.register_forward_hook(lambda _, inputs, __, name=name: counts.update({name: len(inputs[0])}))
    return counts


def statistics(encoder: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.named_buffers() if "running" in name}


@BOTH
@EVERY_COUNT
def test_shapes_at_odd_sizes(modalities, slp):
    model = small_cbc(modalities, slp).eval()
    output = model(random_inputs(model, 2, *ODD))
    assert output.logits.shape == (2, 4, *ODD)
    assert output.logits.dtype == torch.float32
    assert output.latent.shape == (2, 16 * len(modalities), 2, 4)
    assert output.auxiliary == {}
    assert model(random_inputs(model, 2, *ODD), auxiliary=True).auxiliary == {}
    assert model.standardization == {}
    assert list(model.modalities.items()) == list(modalities.items())


@torch.no_grad()
@BOTH
@EVERY_COUNT
def test_a_sample_does_not_depend_on_its_batch(modalities, slp):
    model = small_cbc(modalities, slp)
    available = every_pattern(model)
    available = available[:: max(1, len(available) // 5)]
    model, inputs = in_float64(model, len(available))
    whole = model(inputs, available)
    for i in range(len(available)):
        alone = model({name: x[i : i + 1] for name, x in inputs.items()}, available[i : i + 1])
        torch.testing.assert_close(whole.logits[i : i + 1], alone.logits)
        torch.testing.assert_close(whole.latent[i : i + 1], alone.latent)


@torch.no_grad()
@BOTH
@EVERY_COUNT
def test_each_pattern_gives_what_forward_gives(modalities, slp):
    model, inputs = in_float64(small_cbc(modalities, slp), 2)
    every = every_pattern(model)
    every = every[:: max(1, len(every) // 5)]  # of four modalities' fifteen one in three, the first and the last
    patterns = [pattern.expand(2, -1) for pattern in every] + [every[[0, -1]], every[[-1, 0]]]
    outputs, latents = list(model.forward_each(inputs, patterns)), list(model.latents(inputs, patterns))
    for pattern, output, latent in zip(patterns, outputs, latents, strict=True):
        expected = model(inputs, pattern)
        torch.testing.assert_close(output.logits, expected.logits)
        torch.testing.assert_close(output.latent, expected.latent)
        torch.testing.assert_close(latent, expected.latent)
    if len(modalities) > 1:
        assert (outputs[0].logits - outputs[1].logits).abs().max() > 1e-3  # absence does something here
        assert (latents[0] - latents[1]).abs().max() > 1e-3


@torch.no_grad()
def test_no_availability_means_that_everything_is_there():
    model = small_cbc(MODALITIES["three"], slp=True).eval()
    inputs = random_inputs(model, 2, *ODD)
    everything = model(inputs, torch.ones(2, 3, dtype=torch.bool))
    assert torch.equal(model(inputs).logits, everything.logits)


@torch.no_grad()
@BOTH
def test_encoders_run_once_for_all_patterns(slp):
    model = small_cbc(MODALITIES["three"], slp).eval()
    inputs, counts = random_inputs(model, 2, *ODD), count_samples(model)
    patterns = [pattern.expand(2, -1) for pattern in every_pattern(model)]
    outputs = list(model.forward_each(inputs, [*patterns, *patterns]))
    assert counts == {"rgb": 2, "nir": 2, "swir": 2, "decoder": 7 * 2}
    assert all(first is second for first, second in zip(outputs[:7], outputs[7:], strict=True))
    counts.clear()
    assert len(list(model.latents(inputs, patterns))) == 7
    assert counts == {"rgb": 2, "nir": 2, "swir": 2}


@torch.no_grad()
def test_encoders_run_on_what_some_pattern_has():
    model = small_cbc(MODALITIES["three"]).eval()
    inputs, counts = random_inputs(model, 2, *ODD), count_samples(model)
    patterns = [
        torch.tensor(rows) for rows in ([[True, False, False]] * 2, [[False, True, False], [True, False, False]])
    ]
    assert len(list(model.latents(inputs, patterns))) == 2
    assert (counts["rgb"], counts["nir"], counts["swir"]) == (2, 1, 0)


@torch.no_grad()
def test_results_come_one_at_a_time():
    model = small_cbc().eval()
    inputs, counts = random_inputs(model, 2, *ODD), count_samples(model)
    results = model.forward_each(inputs, [pattern.expand(2, -1) for pattern in every_pattern(model)])
    assert counts == {}
    first = weakref.ref(next(results))
    assert counts["decoder"] == 2
    next(results)
    assert first() is None


def test_wrong_arguments_are_refused_before_anything_runs():
    model = small_cbc()
    inputs = random_inputs(model, 2, *ODD)
    for ask in (model.forward_each, model.latents):
        with pytest.raises(ValueError, match=r"must have shape \(2, 2\), got \(2, 3\)"):
            ask(inputs, [torch.ones(2, 3, dtype=torch.bool)])
        assert list(ask(inputs, [])) == []
    with pytest.raises(ValueError, match="dsm has 1 bands"):
        model({**inputs, "dsm": inputs["rgb"]})


@BOTH
@pytest.mark.parametrize("choice", ["all", "available"])
def test_what_is_missing_does_not_count_not_even_nan(slp, choice):
    model = small_cbc(MODALITIES["three"], slp, statistics=choice, dropout=0.0)
    available = torch.tensor([[True, False, True], [True, True, False], [True, True, True]])
    clean = random_inputs(model, 3, *ODD)
    dirty = {name: x.clone() for name, x in clean.items()}
    dirty["nir"][0] = dirty["swir"][1] = torch.nan
    for training in (False, True):
        model.train(training)
        output = model(dirty, available)
        model.zero_grad()
        output.logits.square().mean().backward()
        assert torch.equal(output.logits, model(clean, available).logits)
        assert all(p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        assert all(
            latent.isfinite().all()
            for latent in model.eval().latents(dirty, [available, available[[2, 0, 1]] & available])
        )


@BOTH
@EVERY_COUNT
def test_every_parameter_learns_when_everything_is_there(modalities, slp):
    model = small_cbc(modalities, slp, encoder_width=8).train()
    model(random_inputs(model, 2, *ODD)).logits.square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@BOTH
@pytest.mark.parametrize("choice", ["all", "available"])
def test_parameters_stay_in_the_graph_when_no_sample_has_a_modality(slp, choice):
    model = small_cbc(MODALITIES["three"], slp, statistics=choice).train()
    available = torch.tensor([[False, True, True], [False, True, False]])
    before = statistics(model.encoders[0])
    output = model(random_inputs(model, 2, *ODD), available)
    output.logits.square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert not any(p.grad.any() for p in model.encoders[0].parameters())
    kept = all(torch.equal(value, before[name]) for name, value in statistics(model.encoders[0]).items())
    assert kept == (choice == "available")
    assert output.logits.isfinite().all()


@pytest.mark.parametrize("choice", ["all", "available"])
def test_running_statistics_are_of_the_samples_chosen(choice):
    model = small_cbc(statistics=choice).train()
    inputs = random_inputs(model, 3, *ODD)
    available = torch.tensor([[True, True], [True, False], [False, True]])
    fresh = copy.deepcopy(model.encoders)
    model(inputs, available)
    for column, (encoder, x) in enumerate(zip(fresh, inputs.values(), strict=True)):
        there = available[:, column]
        encoder(x[there] if choice == "available" else torch.where(there[:, None, None, None], x, 0.0))
        for name, value in statistics(model.encoders[column]).items():
            torch.testing.assert_close(value, statistics(encoder)[name])


@torch.no_grad()
def test_in_eval_mode_the_choice_of_statistics_changes_nothing():
    models = [small_cbc(MODALITIES["three"], statistics=choice).eval() for choice in ("all", "available")]
    inputs, available = random_inputs(models[0], 7, *ODD), every_pattern(models[0])
    outputs = [model(inputs, available) for model in models]
    assert torch.equal(outputs[0].logits, outputs[1].logits)


@torch.no_grad()
def test_the_latent_is_all_of_the_volume_or_what_is_shared():
    inputs = random_inputs(small_cbc(), 2, *ODD)
    volumes = []
    for slp, latent in ((False, "z"), (True, "z"), (True, "shared")):
        model = small_cbc(slp=slp, latent=latent).eval()
        model.fusion.register_forward_hook(lambda _, __, fused: volumes.append(fused.latent))
        found = model(inputs).latent
        tokens = model.shared(volumes[-1]) if latent == "shared" else volumes[-1]  # (B, N, C)
        cells = itertools.product(range(2), repeat=3)
        for token, (plane, row, column) in zip(tokens.unbind(1), cells, strict=True):
            assert torch.equal(found[:, :, plane, 2 * row + column], token)
        assert found.shape[1] == (16 if latent == "shared" else 32)


@torch.no_grad()
def test_volumes_follow_the_grid():
    sizes = []
    for grid in (1, 3):
        model = small_cbc(grid=grid).eval()
        for level in model.decoder.levels:
            level.register_forward_hook(lambda _, __, volume: sizes.append(tuple(volume.shape[1:])))
        assert model(random_inputs(model, 1, 33, 20)).latent.shape == (1, 32, grid, grid**2)
        assert sizes[-4:] == [(c, n * grid, n * grid, n * grid) for c, n in ((16, 2), (8, 4), (4, 8), (2, 16))]


@torch.no_grad()
def test_the_smallest_images():
    model = small_cbc(MODALITIES["one"]).eval()
    assert model(random_inputs(model, 1, 1, 3)).logits.shape == (1, 4, 1, 3)
    torch.testing.assert_close(instance_norm(torch.randn(1, 2, 1, 1, 1)), torch.zeros(1, 2, 1, 1, 1), rtol=0, atol=1e-3)


def test_training_on_a_single_value_is_refused():
    model = small_cbc().train()
    inputs = random_inputs(model, 2, 32, 32)
    available = torch.tensor([[True, True], [True, False]])
    with pytest.raises(UserError, match=r"^data\.crop is 32, .* set it to more than 32"):
        model(inputs, available)
    model(random_inputs(model, 2, 33, 32), available).logits.sum().backward()


def test_runs_under_autocast():
    model = small_cbc(MODALITIES["four"], slp=True).train()
    available = every_pattern(model)[[2, 4, 13]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(random_inputs(model, 3, *ODD), available)
    assert output.logits.dtype == torch.float32
    output.logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_pretrained_is_refused(offline, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    if not offline:  # a port where nobody listens
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"resnet50.* cannot be had .*; start from .* `cbc\.pretrained` false"):
        CBC({"dsm": 1}, 2, CBCSettings(pretrained=True, token_width=8, grid=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, r"^cbc\.width is 0"),
        ({"grid": 0}, r"^cbc\.grid is 0"),
        ({"encoder_width": -1}, r"^cbc\.encoder_width is -1"),
        ({"heads": 7}, r"^cbc\.heads is 7, which does not divide"),
        ({"dropout": 1.0}, r"^cbc\.dropout is 1\.0"),
        ({"encoder_depths": [3, 4, 6]}, r"^cbc\.encoder_depths is \[3, 4, 6\]"),
        ({"encoder_depths": (3, 0, 6, 3)}, r"^cbc\.encoder_depths is"),
        ({"latent": "s"}, r"^cbc\.latent is 's': choose one of z, shared"),
        ({"statistics": "some"}, r"^cbc\.statistics is 'some': choose one of all, available"),
        ({"pretrained": True, "encoder_width": 32}, r"^cbc\.pretrained needs .*encoder_width` at 64"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        CBCSettings(**changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modalities": {}}, r"^data\.modalities is empty"),
        ({"modalities": {"dsm": 0}}, "dsm has 0 bands"),
        ({"classes": 0}, "num_classes is 0"),
        ({"latent": "shared"}, r"^cbc\.latent is shared"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        small_cbc(**arguments)


def test_depths_may_be_a_list():
    assert CBCSettings(encoder_depths=[3, 4, 6, 3]) == CBCSettings()
