"""Any number of streams: two are the paper's, one has nothing to share, and what is missing has no part in anything."""

from itertools import combinations, pairwise

import pytest
import torch
import torch.nn.functional as F

from mobanet.models.mobanet.cpia import CPIA, AdapterCPIA
from mobanet.models.mobanet.dgfm import DGFM, MeanFusion, SEFusion
from tests.models.test_scenarios import count_samples, scenario_patterns
from tests.models.tiny import THREE_STREAMS, awaken, every_pattern, random_inputs, tiny_mobanet

FIVE = {name: {name: 3 if name == "rgb" else 1} for name in ("rgb", "ir", "dsm", "s1", "s2")}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def awake(streams: int) -> DGFM:
    fusion = DGFM(16, streams)
    for layer in (fusion.gate_out, fusion.gate_norm):
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    return fusion


def preference(fusion: DGFM, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The paper's gate before its sigmoid, of two reductions (B, N, hidden)."""
    hidden = fusion.gate_in(torch.cat((a, b, (a - b).abs()), -1)).transpose(1, 2)  # as a map, (B, hidden, N)
    return fusion.gate_out(F.gelu(fusion.gate_norm(hidden).transpose(1, 2)))


def test_a_prompt_is_of_all_streams():
    cpia = CPIA(8, 0.25, 3)
    streams = torch.randn(3, 2, 5, 8)
    parts = [reduce(x) for reduce, x in zip(cpia.reduce, streams, strict=True)]
    u = cpia.expand(cpia.mix(torch.cat(parts, -1)))
    for stream, prompt in enumerate(cpia(*streams)):
        torch.testing.assert_close(prompt, u + (cpia.gammas[stream] * u + cpia.betas[stream]))


@pytest.mark.parametrize("streams", [3, 4, 6])
def test_weights_come_nearest_to_the_preferences_of_pairs(streams):
    """Of least squares over all pairs, solved by a library."""
    fusion = awake(streams)
    given = torch.randn(streams, 2, 6, 16)
    reduced = [reduce(x) for reduce, x in zip(fusion.reduce, given, strict=True)]
    pairs = list(combinations(range(streams), 2))
    wanted = torch.stack([preference(fusion, reduced[i], reduced[j]) for i, j in pairs])  # (P, B, N, C)
    system = torch.zeros(len(pairs) + 1, streams, dtype=torch.float64)
    for row, (i, j) in enumerate(pairs):
        system[row, i], system[row, j] = 1, -1
    system[-1] = 1  # logs sum to 0
    right = torch.cat([wanted.double().flatten(1), torch.zeros(1, wanted[0].numel())])
    logs = torch.linalg.lstsq(system, right).solution.unflatten(1, wanted.shape[1:])
    fused = (logs.softmax(0) * given.double()).sum(0)
    torch.testing.assert_close(fusion(*given), fusion.norm(fused.float()), rtol=1e-4, atol=1e-5)


def test_weights_of_two_streams_are_the_papers_gate():
    fusion = awake(2)
    streams = torch.randn(2, 3, 6, 16)
    reduced = [reduce(x) for reduce, x in zip(fusion.reduce, streams, strict=True)]
    gate = preference(fusion, *reduced).sigmoid()
    for present in (None, torch.ones(2, 3, dtype=torch.bool)):
        torch.testing.assert_close(fusion._weights(reduced, present), torch.stack([gate, 1 - gate]))
    torch.testing.assert_close(fusion(*streams), fusion.norm(gate * streams[0] + (1 - gate) * streams[1]))


def test_gates_start_with_the_mean():
    streams = torch.randn(4, 3, 6, 16)
    torch.testing.assert_close(DGFM(16, 4)(*streams), F.layer_norm(streams.mean(0), (16,)))


@pytest.mark.parametrize("kind", [awake, lambda streams: MeanFusion(), lambda streams: SEFusion(16, streams)])
def test_streams_that_a_sample_lacks_are_fused_as_if_there_were_none(kind):
    """Whether all samples of a batch lack a stream, which is then not given, or some."""
    fusion = kind(4)
    streams = torch.randn(4, 15, 6, 16)
    present = torch.tensor([[bool(sample + 1 >> stream & 1) for sample in range(15)] for stream in range(4)])
    fused = fusion(*streams, present=present)
    for sample in range(15):
        own = [x[sample : sample + 1] if there else None for there, x in zip(present[:, sample], streams, strict=True)]
        torch.testing.assert_close(fused[sample : sample + 1], fusion(*own), rtol=1e-4, atol=1e-5)
        given = present[:, sample].nonzero()[:, 0].tolist()
        some = torch.ones(len(given), 1, dtype=torch.bool)
        torch.testing.assert_close(fusion(*own), fusion(*own, present=some), rtol=1e-4, atol=1e-5)
        if isinstance(fusion, DGFM) and len(given) == 2:
            reduced = [fusion.reduce[stream](streams[stream, sample : sample + 1]) for stream in given]
            gate = preference(fusion, *reduced).sigmoid()
            first, second = (streams[stream, sample : sample + 1] for stream in given)
            expected = fusion.norm(gate * first + (1 - gate) * second)
            torch.testing.assert_close(fused[sample : sample + 1], expected, rtol=1e-4, atol=1e-5)


def test_a_sample_that_has_nothing_stays_finite():
    fusion, streams = awake(3), torch.randn(3, 2, 6, 16, requires_grad=True)
    present = torch.tensor([[True, False], [True, False], [False, False]])
    for each in (fusion, MeanFusion(), SEFusion(16, 3)):
        fused = each(*streams, present=present)
        assert fused.isfinite().all()
        fused.square().sum().backward()
    assert streams.grad.isfinite().all()
    assert not streams.grad[2, 0].any()


@pytest.mark.parametrize("kind", [CPIA, lambda width, ratio, streams: AdapterCPIA(width, ratio, 0.25, 0.0, streams)])
def test_prompts_are_of_the_streams_that_are_there(kind):
    part = kind(32, 0.25, 3)
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    streams = torch.randn(3, 2, 5, 32)
    present = torch.tensor([[True, True], [False, False], [True, False]])
    found = part(*streams, present=present)
    assert found.shape == (3, 2, 5, 32)
    torch.testing.assert_close(part(streams[0], None, streams[2], present=present[[0, 2]]), found[[0, 2]])
    other = torch.stack([streams[0], streams[1] + 1, streams[2]])
    torch.testing.assert_close(part(*other, present=present)[[0, 2]], found[[0, 2]], rtol=0, atol=0)
    assert (part(*other)[[0, 2]] - part(*streams)[[0, 2]]).abs().min() > 0


KINDS = {
    "stage-dgfm": {},
    "block-dgfm": {"placement": "block"},
    "none-mean": {"placement": "none", "fusion": "mean"},
    "se-plain": {"fusion": "se"},
    "sam": {"family": "sam", "placement": "block", "fusion": "se", "pyramid": "scaled"},
    "dgfm-scaled": {"pyramid": "scaled"},
}


def without(model, stream: str, **settings):
    """A model that never had a stream, with the weights of one that has it."""
    at = list(model.streams).index(stream)
    left = {name: members for name, members in THREE_STREAMS.items() if name != stream}
    smaller = tiny_mobanet(streams=left, absent="left_out", **settings).eval()
    rest = [place for place in range(3) if place != at]
    state, given = {}, model.state_dict()
    for name, value in smaller.state_dict().items():
        words = name.split(".")
        for place, word in enumerate(words):  # indices of streams
            by_stream = ("embeddings", "reduce", "gammas", "betas", "adapters", "streams", "scales", "heads")
            if place and words[place - 1] in by_stream and word.isdigit():
                words[place] = str(rest[int(word)])
        found = given[".".join(words)]
        if found.shape != value.shape:  # the columns of a mix, a block a stream
            found = found.unflatten(1, (3, -1))[:, rest].flatten(1)
        state[name] = found
    smaller.load_state_dict(state)
    return smaller


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("stream", ["elevation", "radar"])
def test_without_a_stream_a_model_is_the_one_that_never_had_it(kind, stream):
    model = awaken(tiny_mobanet(streams=THREE_STREAMS, absent="left_out", **kind)).eval()
    smaller = without(model, stream, **kind)
    inputs = random_inputs(model, 2, 56, 56)
    lacking = [name for name in THREE_STREAMS[stream]]
    pattern = torch.tensor([[name not in lacking for name in model.modalities]] * 2)
    expected = smaller({name: x for name, x in inputs.items() if name not in lacking}).logits
    torch.testing.assert_close(model(inputs, pattern).logits, expected, rtol=1e-4, atol=1e-5)
    (shared,) = model.forward_each(inputs, [pattern])
    torch.testing.assert_close(shared.logits, expected, rtol=1e-4, atol=1e-5)
    assert (model(inputs).logits - expected).abs().max() > 1e-3


def test_parameters_grow_by_the_stream_and_not_by_the_pair():
    def trained(count: int) -> dict[str, int]:
        streams = dict(list(FIVE.items())[:count])
        model = tiny_mobanet(streams=streams)
        parts = {"prompts": model.interactions, "gates": model.pyramid.fusions, "heads": model.heads}
        return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}

    counts = [trained(count) for count in range(1, 6)]
    assert counts[0]["prompts"] == 0
    assert counts[0]["gates"] == 4 * 2 * 32  # LayerNorms
    for part in ("prompts", "gates", "heads"):
        steps = [b[part] - a[part] for a, b in pairwise(counts[1:])]
        assert len(set(steps)) == 1
        assert steps[0] > 0


@torch.no_grad()
@pytest.mark.parametrize(
    ("settings", "blocks"),
    [({"absent": "left_out"}, 5 * 16), ({"absent": "zero"}, 5 * 31), ({"absent": "left_out", "placement": "none"}, 5)],
)
def test_scenarios_run_the_streams_that_they_have(settings, blocks):
    """31 scenarios of five streams: 80 streams are there in them, and 75 are not."""
    model = awaken(tiny_mobanet(streams=FIVE, **settings)).eval()
    inputs, counts = random_inputs(model, 2, 28, 28), count_samples(model)
    patterns = scenario_patterns(model)
    assert len(patterns) == 31
    found = [output.logits for output in model.forward_each(inputs, patterns)]
    assert counts["block 3"] == 2 * blocks
    assert len(list(model.latents(inputs, patterns))) == 31
    for pattern, logits in zip(patterns[::7], found[::7], strict=True):
        torch.testing.assert_close(logits, model(inputs, pattern).logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_parts_for_incomplete_samples_share_as_well():
    model = awaken(tiny_mobanet(streams=THREE_STREAMS, absent="left_out", incomplete="own", placement="none")).eval()
    inputs, counts = random_inputs(model, 2, 28, 28), count_samples(model)
    patterns = [*scenario_patterns(model), torch.tensor([[True, True, True], [True, False, False]])]
    found = [output.logits for output in model.forward_each(inputs, patterns)]
    # three streams by either parts; of the last pattern one sample each, all streams
    assert counts["block 3"] == 2 * 3 + 2 * 3 + 3 + 3
    for pattern, logits in zip(patterns, found, strict=True):
        torch.testing.assert_close(logits, model(inputs, pattern).logits, rtol=1e-4, atol=1e-5)


def test_every_parameter_of_five_streams_trains_in_every_scenario():
    model = awaken(tiny_mobanet(streams=FIVE, absent="left_out")).train()
    for pattern in every_pattern(model)[::6]:
        model.zero_grad()
        output = model(random_inputs(model, 2, 28, 28), pattern.expand(2, -1))
        assert set(output.auxiliary) == set(FIVE)
        (output.logits.square().mean() + sum(x.square().mean() for x in output.auxiliary.values())).backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
