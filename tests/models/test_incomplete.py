"""Own parts for samples that lack a sensor: what they learn does not reach the others, and the other way round."""

import pytest
import torch
from torch import Tensor

from mobanet.errors import UserError
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings
from tests.models.tiny import PAPER_STREAMS, awaken, every_pattern, random_inputs, tiny_mobanet

ALL, NO_DSM, ONLY_DSM = [True, True, True], [True, True, False], [False, False, True]


def apart(**settings) -> MoBaNet:
    """Whose parts for incomplete samples have gone another way."""
    model = awaken(tiny_mobanet(incomplete="own", **settings))
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.incomplete.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model


def gradients(model: MoBaNet, rows: list[int], available: Tensor) -> tuple[Tensor, Tensor]:
    """Of a loss on some samples alone: largest gradient in the network's parts, and in those for incomplete samples."""
    torch.manual_seed(0)
    output = model.train()(random_inputs(model, len(available), 56, 56), available)
    loss = output.logits[rows].square().mean() + sum(x[rows].square().mean() for x in output.auxiliary.values())
    model.zero_grad()
    loss.backward()
    there = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None for grad in there.values())  # as DistributedDataParallel wants it
    own = [grad.abs().max() for name, grad in there.items() if name.startswith("incomplete.")]
    return max(grad.abs().max() for name, grad in there.items() if not name.startswith("incomplete.")), max(own)


@pytest.mark.parametrize("settings", [{}, {"normalization": "group"}, {"auxiliary_heads": False}])
def test_samples_move_the_parts_that_saw_them_and_no_others(settings):
    model = apart(**settings)
    available = torch.tensor([ALL, NO_DSM, ALL, ONLY_DSM, NO_DSM])
    complete, incomplete = gradients(model, [0, 2], available)
    assert complete > 0
    assert incomplete == 0
    complete, incomplete = gradients(model, [1, 3, 4], available)
    assert complete == 0
    assert incomplete > 0


@pytest.mark.parametrize("pattern", [ALL, NO_DSM])
def test_where_all_samples_go_one_way_the_other_parts_have_gradients_of_zero(pattern):
    largest = gradients(apart(), [0, 1], torch.tensor([pattern] * 2))
    assert sorted(bool(x > 0) for x in largest) == [False, True]


def test_batch_statistics_are_of_the_samples_of_each_way():
    model = apart().train()
    inputs = random_inputs(model, 6, 56, 56)
    available = torch.tensor([ALL, NO_DSM] * 3)
    with torch.no_grad():
        model(inputs, available)
        once = tiny_mobanet()
        once.load_state_dict(own_weights(apart()))
        torch.manual_seed(0)
        once.train()(({name: x[::2] for name, x in inputs.items()}), available[::2])
    for name, value in once.state_dict().items():
        if "running_" in name and "auxiliary" not in name:
            torch.testing.assert_close(dict(model.named_buffers())[name], value, msg=name)


def own_weights(model: MoBaNet) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("incomplete.")}


@torch.no_grad()
def test_complete_samples_get_what_a_network_with_shared_parts_gives_them():
    model, shared = apart().eval(), tiny_mobanet()
    shared.load_state_dict(own_weights(model))
    inputs, available = random_inputs(model, 7, 70, 45), every_pattern(model)
    found, expected = model(inputs, available), shared.eval()(inputs, available)
    assert available[-1].all()
    torch.testing.assert_close(found.logits[-1], expected.logits[-1], rtol=1e-4, atol=1e-5)
    assert ((found.logits - expected.logits)[:-1].abs().flatten(1).amax(1) > 1e-3).all()
    torch.testing.assert_close(model(inputs).logits, shared(inputs).logits)  # None is: everything is there


@torch.no_grad()
def test_parting_ways_copies_weights_and_running_statistics():
    model = apart()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
    model.part_ways()
    whole = model.state_dict()
    for name, value in model.incomplete.state_dict().items():
        assert torch.equal(value, whole[name]), name
    inputs, available = random_inputs(model, 7, 56, 56), every_pattern(model)
    shared = tiny_mobanet()
    shared.load_state_dict(own_weights(model))
    found, expected = model.eval()(inputs, available), shared.eval()(inputs, available)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alone", [0, 1])
def test_a_way_with_a_single_sample_trains_with_batch_normalisation(alone):
    """Its 1x1 pool has one value a channel, of which there are no statistics: running ones are taken, and stay."""
    model = apart().train()
    available = torch.tensor([ALL, NO_DSM, NO_DSM] if alone == 0 else [ALL, ALL, NO_DSM])
    parts = model if alone == 0 else model.incomplete
    pooled = parts.decoder.pooling.branches[0][1]
    before = pooled.running_mean.clone()
    output = model(random_inputs(model, 3, 56, 56), available)
    output.logits.square().mean().backward()
    assert torch.isfinite(output.logits).all()
    assert torch.equal(pooled.running_mean, before)
    assert parts.decoder.classifier.weight.grad.abs().max() > 0


def test_of_one_modality_nothing_is_incomplete():
    assert tiny_mobanet(streams={"elevation": {"dsm": 1}}, incomplete="own").incomplete is None
    assert tiny_mobanet(streams=PAPER_STREAMS, incomplete="own").incomplete is not None
    with pytest.raises(UserError, match=r"^network\.incomplete is 'none': choose one of shared, own"):
        MoBaNetSettings(incomplete="none")


@pytest.mark.parametrize("pattern", [ALL, NO_DSM])
def test_parts_that_saw_no_sample_are_idle(pattern):
    model = apart()
    gradients(model, [0, 1], torch.tensor([pattern] * 2))
    idle = {id(p) for part in model.idle_parts() for p in part.parameters()}
    own = {id(p) for p in model.incomplete.parameters()}
    rest = {id(p) for p in model.parameters() if p.requires_grad} - own
    assert idle & {id(p) for p in model.parameters() if p.requires_grad} == (own if all(pattern) else rest)
    gradients(model, [0, 1], torch.tensor([ALL, NO_DSM]))
    assert model.idle_parts() == tiny_mobanet().idle_parts() == []
