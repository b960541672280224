"""Several availability patterns of one batch: the results of `forward`, without repeating what patterns share."""

import weakref
from collections import Counter
from itertools import product

import pytest
import torch
from torch import nn

from mobanet.models.base import SegmentationModel, SegmentationOutput
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings
from mobanet.models.sharing import SharedResults, each_once
from mobanet.scenarios.scenario import scenario_masks, scenarios_of
from tests.models.tiny import (
    ODD,
    PAPER_STREAMS,
    TWO_STREAMS,
    VARIANTS,
    awaken,
    every_pattern,
    random_inputs,
    tiny_backbone,
    tiny_mobanet,
)

BATCH = 2


def scenario_patterns(model: SegmentationModel, batch: int = BATCH) -> list[torch.Tensor]:
    masks = scenario_masks(scenarios_of(list(model.modalities)))
    return [mask.expand(batch, -1) for mask in masks]


def count_samples(model: MoBaNet) -> Counter:
    """Samples that pass each block, each stream's patch embedding and the decoder, counted from here on."""
    counts = Counter()

    def watch(name: str, module: nn.Module, samples) -> None:
        module.register_forward_hook(lambda _, inputs, output: counts.update({name: samples(inputs, output)}))

    for index, block in enumerate(model.backbone.vit.blocks):
        watch(f"block {index}", block, lambda inputs, _: len(inputs[0]))
    for stream, embedding in zip(model.streams, model.embeddings, strict=True):
        watch(stream, embedding, lambda _, output: len(output))
    watch("decoder", model.decoder, lambda _, output: len(output))
    return counts


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_each_pattern_gives_what_forward_gives(variant):
    model = awaken(tiny_mobanet(**variant)).eval()
    inputs = random_inputs(model, 3, *ODD)
    mixed = [every_pattern(model)[torch.tensor(rows) % len(every_pattern(model))] for rows in ([0, 3, 6], [4, 4, 1])]
    patterns = [*scenario_patterns(model, 3), *mixed]
    outputs = list(model.forward_each(inputs, patterns))
    latents = list(model.latents(inputs, patterns))
    assert len(outputs) == len(latents) == len(patterns)
    for pattern, output, latent in zip(patterns, outputs, latents, strict=True):
        expected = model(inputs, pattern)
        assert output.auxiliary == {}
        assert output.logits.dtype == expected.logits.dtype
        torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.latent, expected.latent, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(latent, expected.latent, rtol=1e-4, atol=1e-5)
    if len(patterns) > 3:
        assert (latents[0] - latents[1]).abs().max() > 1e-3  # absence does something here


@torch.no_grad()
@pytest.mark.parametrize("family", ["dinov2", "dinov3", "sam"])
@pytest.mark.parametrize(("placement", "shared"), [("none", 4), ("block", 1), ("stage", 0)])
def test_streams_run_once_for_each_pattern_of_their_own_until_they_interact(family, placement, shared):
    model = tiny_mobanet(family, placement=placement).eval()
    inputs, counts = random_inputs(model, BATCH, 56, 56), count_samples(model)
    outputs = list(model.forward_each(inputs, scenario_patterns(model)))
    # Optical: rgb, ir, both, neither; elevation: dsm or not.
    alone, together = (4 + 2) * BATCH, 7 * 2 * BATCH
    assert [counts[f"block {index}"] for index in range(4)] == [alone] * shared + [together] * (4 - shared)
    assert (counts["optical"], counts["elevation"]) == (4 * BATCH, 2 * BATCH)
    assert counts["decoder"] == 7 * BATCH == sum(len(output.logits) for output in outputs)


@torch.no_grad()
def test_latents_come_without_the_decoder():
    for placement, passes in (("none", 6), ("stage", 14)):
        model = tiny_mobanet(placement=placement).eval()
        inputs, counts = random_inputs(model, BATCH, 56, 56), count_samples(model)
        assert len(list(model.latents(inputs, scenario_patterns(model)))) == 7
        assert counts["decoder"] == 0
        assert counts["block 3"] == passes * BATCH


@torch.no_grad()
def test_a_single_stream_runs_once_for_each_pattern():
    model = tiny_mobanet(streams={"optical": TWO_STREAMS["optical"]}).eval()
    inputs, counts = random_inputs(model, BATCH, 56, 56), count_samples(model)
    patterns = scenario_patterns(model)
    outputs = list(model.forward_each(inputs, [*patterns, *patterns]))
    assert [counts[f"block {index}"] for index in range(4)] == [3 * BATCH] * 4
    assert counts["decoder"] == 3 * BATCH
    assert all(outputs[i] is outputs[i + 3] for i in range(3))


@torch.no_grad()
def test_one_pattern_runs_its_streams_as_one_batch():
    model = awaken(tiny_mobanet(placement="none")).eval()
    inputs, calls = random_inputs(model, BATCH, *ODD), []
    model.backbone.vit.blocks[0].register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    pattern = torch.tensor([[True, False, True], [False, True, True]])
    (output,) = model.forward_each(inputs, [pattern])
    assert calls == [2 * BATCH]
    assert torch.equal(output.logits, model(inputs, pattern).logits)


@torch.no_grad()
def test_streams_with_other_patterns_in_other_samples_are_told_apart():
    model = awaken(tiny_mobanet(placement="none")).eval()
    inputs, counts = random_inputs(model, BATCH, 56, 56), count_samples(model)
    both, rgb, dsm = [True, True, True], [True, False, False], [False, False, True]
    patterns = [torch.tensor(rows) for rows in ([both, rgb], [rgb, both], [both, both], [rgb, dsm], [both, rgb])]
    outputs = list(model.forward_each(inputs, patterns))
    assert (counts["optical"], counts["elevation"]) == (4 * BATCH, 3 * BATCH)
    assert outputs[0] is outputs[4]
    for pattern, output in zip(patterns, outputs, strict=True):
        torch.testing.assert_close(output.logits, model(inputs, pattern).logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("order", [["dsm", "rgb", "ir"], ["ir", "dsm", "rgb"]])
@pytest.mark.parametrize("missing", ["zero", "token"])
def test_modalities_of_a_stream_need_not_be_neighbours(order, missing):
    settings = MoBaNetSettings(placement="none", projection_channels=16, decoder_channels=8, missing=missing)
    torch.manual_seed(0)
    model = awaken(MoBaNet(TWO_STREAMS, 4, tiny_backbone(), settings, order)).eval()
    torch.manual_seed(0)
    usual = MoBaNet(TWO_STREAMS, 4, tiny_backbone(), settings).eval()
    usual.load_state_dict(model.state_dict())
    inputs, counts = random_inputs(usual, BATCH, 56, 56), count_samples(model)
    patterns = scenario_patterns(usual)
    columns = [list(usual.modalities).index(name) for name in order]
    outputs = model.forward_each(inputs, [pattern[:, columns] for pattern in patterns])
    for pattern, output in zip(patterns, outputs, strict=True):
        torch.testing.assert_close(output.logits, usual(inputs, pattern).logits, rtol=1e-4, atol=1e-5)
    assert counts["block 0"] == 6 * BATCH


@torch.no_grad()
@pytest.mark.parametrize("placement", ["none", "block", "stage"])
def test_nan_in_what_no_pattern_has_does_not_spread(placement):
    model = tiny_mobanet(placement=placement).eval()
    inputs = random_inputs(model, BATCH, 56, 56)
    clean = {**inputs, "dsm": torch.zeros_like(inputs["dsm"])}
    inputs["dsm"] = torch.full_like(inputs["dsm"], torch.nan)
    patterns = [pattern for pattern in scenario_patterns(model) if not pattern[0, 2]]
    found = list(model.forward_each(inputs, patterns))
    assert len(found) == 3
    for output, expected in zip(found, model.forward_each(clean, patterns), strict=True):
        assert torch.equal(output.logits, expected.logits)
    assert all(latent.isfinite().all() for latent in model.latents(inputs, patterns))


@torch.no_grad()
@pytest.mark.parametrize("placement", ["none", "stage"])
def test_results_come_one_at_a_time(placement):
    model = tiny_mobanet(streams=PAPER_STREAMS, placement=placement).eval()
    inputs, counts = random_inputs(model, BATCH, 56, 56), count_samples(model)
    results = model.forward_each(inputs, scenario_patterns(model))
    assert counts["block 0"] == 0
    first = weakref.ref(next(results))
    assert counts["decoder"] == BATCH
    next(results)
    assert counts["decoder"] == 2 * BATCH
    assert first() is None


@torch.no_grad()
@pytest.mark.parametrize("placement", ["none", "block", "stage"])
def test_runs_under_autocast(placement):
    model = awaken(tiny_mobanet(placement=placement)).eval()
    inputs, patterns = random_inputs(model, BATCH, 56, 56), scenario_patterns(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = list(model.forward_each(inputs, patterns))
        expected = [model(inputs, pattern) for pattern in patterns]
    for output, other in zip(outputs, expected, strict=True):
        assert output.logits.dtype == torch.float32
        assert output.latent.dtype == other.latent.dtype
        torch.testing.assert_close(output.logits, other.logits, rtol=0.05, atol=0.05)


def test_wrong_arguments_are_refused_before_anything_runs():
    model = tiny_mobanet()
    inputs = random_inputs(model, BATCH, 56, 56)
    for ask in (model.forward_each, model.latents):
        with pytest.raises(ValueError, match=r"must have shape \(2, 3\), got \(3,\)"):
            ask(inputs, [torch.ones(BATCH, 3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)])
        with pytest.raises(ValueError, match=r"must have shape \(2, 3\), got \(2, 2\)"):
            ask(inputs, [torch.ones(BATCH, 2, dtype=torch.bool)])
        with pytest.raises(ValueError, match="takes the modalities"):
            ask({"rgb": inputs["rgb"]}, [])
        assert list(ask(inputs, [])) == []


class MeanOfWhatIsThere(SegmentationModel):
    """The least a model has to do; keeps the patterns it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.modalities, self.num_classes, self.standardization = {"rgb": 3, "dsm": 1}, 3, {}
        self.asked = []

    def segment(self, inputs, available, auxiliary):
        self.asked.append(available)
        logits = inputs["rgb"] + inputs["dsm"]
        return SegmentationOutput(logits, logits.mean((2, 3), keepdim=True), {"rgb": logits} if auxiliary else {})


def test_any_model_answers_each_distinct_pattern_once():
    model = MeanOfWhatIsThere().train()
    inputs = {"dsm": torch.randn(2, 1, 4, 4), "rgb": torch.randn(2, 3, 4, 4)}
    patterns = [torch.tensor(rows) for rows in product([[True, False], [False, True], [True, True]], repeat=2)]
    outputs = list(model.forward_each(inputs, [*patterns, *reversed(patterns)]))
    assert len(model.asked) == len(patterns)
    assert all(first is second for first, second in zip(outputs, reversed(outputs), strict=True))
    latents = list(model.latents(inputs, patterns))
    for pattern, output, latent in zip(patterns, outputs, latents, strict=False):
        expected = model(inputs, pattern, auxiliary=False)
        assert torch.equal(output.logits, expected.logits)
        assert torch.equal(latent, expected.latent)
        assert output.auxiliary == {}
    assert torch.equal(model.asked[0], patterns[0])
    model(inputs)
    assert model.asked[-1] is None


def test_results_are_held_only_while_they_are_needed():
    class Result:
        pass

    rows = [[[True, False]], [[True, True]], [[True, False]], [[False, True]]]
    results = each_once([torch.tensor(row) for row in rows], lambda distinct: (Result() for _ in distinct))
    once = next(results)
    first, second = weakref.ref(once), weakref.ref(next(results))
    del once
    assert first() is not None
    assert next(results) is first()
    next(results)
    assert first() is None
    assert second() is None
    held = SharedResults(["a", "a"])
    held.put("a", 1)
    assert held.take("a") == 1
    assert "a" in held
    assert held.take("a") == 1
    assert "a" not in held
