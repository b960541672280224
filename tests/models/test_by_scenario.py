"""Batch normalisation by scenario: samples of a scenario are normalised by themselves, with statistics of their own."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from mobanet.errors import UserError
from mobanet.models.mobanet.network import decoder_norms
from mobanet.models.upernet import SCENARIO_MOMENTUM, BatchNorm
from tests.models.tiny import awaken, every_pattern, random_inputs, tiny_mobanet

ROWS = torch.tensor([2, 0, 2, 0, 0, -1, -1])
UNMET = 1


def norm_of_scenarios(count=3):
    norm = BatchNorm(4)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    norm.learn_scenarios(count)
    return norm


def maps(seed=0, side=3):
    """Of which each sample has another mean and spread."""
    rng = torch.Generator().manual_seed(seed)
    samples = len(ROWS)
    scale = torch.arange(1, samples + 1)[:, None, None, None]
    return (torch.randn(samples, 4, side, side, generator=rng) + 1) * scale


def alone(norm, **options):
    """Torch's own, with the same affine map."""
    plain = nn.BatchNorm2d(4, **options)
    plain.load_state_dict({**plain.state_dict(), "weight": norm.weight, "bias": norm.bias})
    return plain


def test_each_scenario_is_normalised_as_torch_would_normalise_its_samples_alone():
    torch.manual_seed(0)
    norm, x = norm_of_scenarios(), maps().requires_grad_()
    found = norm(x, ROWS)
    wanted = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * wanted).sum().backward()
    y = maps().requires_grad_()
    for row in (0, 2, -1):
        plain = alone(norm, momentum=1.0)  # whose running statistics are those of the batch
        expected = plain(y[row == ROWS])
        torch.testing.assert_close(found[row == ROWS], expected, rtol=1e-5, atol=1e-5)
        (expected * wanted[row == ROWS]).sum().backward()
        if row >= 0:
            torch.testing.assert_close(norm.scenario_mean[row], plain.running_mean)
            torch.testing.assert_close(norm.scenario_var[row], plain.running_var)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-3, atol=1e-4)
    assert norm.scenario_batches.tolist() == [1, 0, 1]


def test_running_statistics_are_of_all_samples():
    torch.manual_seed(0)
    norm, plain, x = norm_of_scenarios(), nn.BatchNorm2d(4, momentum=None), maps()
    norm(x, ROWS)
    plain(x)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_a_scenario_is_known_by_its_first_batch_and_then_follows():
    norm, rows = norm_of_scenarios(), torch.zeros(7, dtype=torch.int64)
    seen = []
    for seed in range(40):
        norm(maps(seed), rows)
        seen.append(maps(seed).mean((0, 2, 3)))
        if seed == 1:
            torch.testing.assert_close(norm.scenario_mean[0], torch.stack(seen).mean(0))
    expected = torch.lerp(norm.scenario_mean[0], maps(99).mean((0, 2, 3)), SCENARIO_MOMENTUM)
    norm(maps(99), rows)
    torch.testing.assert_close(norm.scenario_mean[0], expected)


def test_in_eval_mode_samples_take_the_statistics_of_their_scenario_and_running_ones_of_one_not_met():
    norm, x = norm_of_scenarios(), maps()
    norm(x, ROWS)
    norm.eval()
    rows = torch.tensor([0, UNMET, 2, -1, UNMET, 0, 2])
    found = norm(x, rows)
    shared = norm(x)
    for place, row in enumerate(rows.tolist()):
        plain = alone(norm).eval()
        if row in (0, 2):
            plain.running_mean.copy_(norm.scenario_mean[row])
            plain.running_var.copy_(norm.scenario_var[row])
            torch.testing.assert_close(found[place], plain(x[place : place + 1])[0])
        else:
            assert torch.equal(found[place], shared[place])


def test_one_value_a_channel_is_normalised_by_what_was_learnt_and_moves_nothing():
    norm, x = norm_of_scenarios(), maps(side=1)
    norm(x, torch.tensor([0, 0, 0, 0, -1, -1, -1]))
    mean, batches = norm.scenario_mean.clone(), norm.scenario_batches.clone()
    found = norm(x[:3], torch.tensor([0, UNMET, 2]))
    assert torch.isfinite(found).all()
    assert torch.equal(norm.scenario_mean[0], mean[0])
    assert torch.equal(norm.scenario_mean[1:], norm.running_mean.expand(2, -1))  # neither was met
    assert torch.equal(norm.scenario_batches, batches)
    plain = alone(norm).eval()
    plain.running_mean.copy_(mean[0])
    plain.running_var.copy_(norm.scenario_var[0])
    torch.testing.assert_close(found[0], plain(x[:1])[0])


def test_a_single_value_a_channel_leaves_all_statistics_as_they_are():
    norm = norm_of_scenarios()
    norm(maps(), ROWS)
    before = deepcopy(norm.state_dict())
    found = norm(maps(1, side=1)[:1], torch.tensor([2]))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    torch.testing.assert_close(found, norm.eval()(maps(1, side=1)[:1], torch.tensor([2])))


def test_a_scenario_that_was_not_met_has_the_running_statistics_and_averages_of_weights_are_of_use():
    """An average of the counts (EMA) is 0 for long, as whole numbers are cut off."""
    norm = norm_of_scenarios()
    average = torch.optim.swa_utils.AveragedModel(
        norm, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    for seed in range(10):
        norm(maps(seed), torch.where(ROWS == UNMET, -1, ROWS) if seed > 2 else torch.zeros_like(ROWS))
        average.update_parameters(norm)
    assert torch.equal(norm.scenario_mean[UNMET], norm.running_mean)
    assert torch.equal(norm.scenario_var[UNMET], norm.running_var)
    kept = average.module.eval()
    torch.testing.assert_close(kept.scenario_mean[UNMET], kept.running_mean)
    found, shared = kept(maps(), ROWS), kept(maps())
    plain = alone(kept).eval()
    plain.running_mean.copy_(kept.scenario_mean[0])
    plain.running_var.copy_(kept.scenario_var[0])
    torch.testing.assert_close(found[ROWS == 0], plain(maps()[ROWS == 0]))
    assert not torch.allclose(found[ROWS == 0], shared[ROWS == 0])


def test_statistics_that_are_taken_anew_begin_anew():
    """As Lightning's averaging of weights takes those of its average: momentum None, and a count of 0."""
    norm = norm_of_scenarios()
    for seed in range(5):
        norm(maps(seed) + 50, ROWS)
    norm.momentum = None
    norm.num_batches_tracked.zero_()
    for seed in range(5):
        norm(maps(seed), ROWS)
    expected = torch.stack([maps(seed)[ROWS == 0].mean((0, 2, 3)) for seed in range(5)]).mean(0)
    torch.testing.assert_close(norm.scenario_mean[0], expected)
    assert norm.scenario_batches.tolist() == [5, 0, 5]


def test_in_half_precision_statistics_stay_in_float32():
    norm = norm_of_scenarios()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = norm(maps().bfloat16(), ROWS)
    assert found.dtype == torch.bfloat16
    assert norm.scenario_mean.dtype == norm.scenario_var.dtype == torch.float32
    torch.testing.assert_close(found.float(), norm_like(norm)(maps(), ROWS), rtol=0.02, atol=0.05)


def norm_like(norm):
    other = norm_of_scenarios()
    other.load_state_dict({**other.state_dict(), "weight": norm.weight, "bias": norm.bias})
    return other


def trained(**settings):
    """A network that every scenario has been through, one a batch."""
    model = awaken(tiny_mobanet(normalization="scenario", **settings)).train()
    with torch.no_grad():
        for seed in range(2):
            for pattern in every_pattern(model):
                torch.manual_seed(seed)
                model(random_inputs(model, 4, 56, 56), pattern.expand(4, -1))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("settings", [{}, {"incomplete": "own"}, {"family": "sam", "pyramid": "scaled"}])
def test_every_scenario_has_statistics_of_its_own_and_a_mixed_batch_gives_what_its_samples_give(settings):
    model = trained(**settings)
    inputs, available = random_inputs(model, 7, 56, 56), every_pattern(model)
    mixed = model(inputs, available).logits
    before = deepcopy(model)
    for norm in decoder_norms(before.incomplete or before).values():
        norm.forget_scenarios()
    shared = before(inputs, available).logits
    for row, pattern in enumerate(available):
        alone = model({name: x[row : row + 1] for name, x in inputs.items()}, pattern[None]).logits
        torch.testing.assert_close(mixed[row : row + 1], alone, rtol=1e-4, atol=1e-5)
        # own parts are for incomplete samples, and complete ones have the running statistics of the others
        assert torch.equal(mixed[row], shared[row]) == ("incomplete" in settings and bool(pattern.all()))
    patterns = list(available[:, None].expand(-1, 7, -1))
    for output, pattern in zip(model.forward_each(inputs, patterns), patterns, strict=True):
        torch.testing.assert_close(output.logits, model(inputs, pattern).logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_where_everything_is_there_without_saying_it_is_a_scenario_too():
    model = trained()
    inputs, everything = random_inputs(model, 2, 56, 56), torch.ones(2, 3, dtype=torch.bool)
    assert torch.equal(model(inputs).logits, model(inputs, everything).logits)


def test_a_single_incomplete_sample_leaves_the_statistics_of_own_parts_finite():
    model = tiny_mobanet(normalization="scenario", incomplete="own").train()
    available = torch.ones(3, 3, dtype=torch.bool)
    available[1, 2] = False
    model(random_inputs(model, 3, 56, 56), available)
    assert all(torch.isfinite(value).all() for value in model.incomplete.state_dict().values())


def test_complete_samples_are_seen_bit_for_bit_as_without_where_parts_are_own():
    plain = awaken(tiny_mobanet(incomplete="own"))
    model = tiny_mobanet(incomplete="own", normalization="scenario")
    with_room = model.state_dict()
    model.load_state_dict({**with_room, **plain.state_dict()})
    inputs = random_inputs(model, 4, 56, 56)
    available = torch.ones(4, 3, dtype=torch.bool)
    for each in (plain.train(), model.train()):
        torch.manual_seed(0)
        each(inputs, available).logits.square().mean().backward()
    grads = {name: p.grad for name, p in plain.named_parameters() if p.requires_grad}
    assert all(torch.equal(p.grad, grads[name]) for name, p in model.named_parameters() if p.requires_grad)
    with torch.no_grad():
        assert torch.equal(plain.eval()(inputs, available).logits, model.eval()(inputs, available).logits)


@torch.no_grad()
def test_parting_ways_forgets_scenarios_and_takes_everything_else():
    model = trained(incomplete="own")
    norms = decoder_norms(model.incomplete)
    assert all((norm.scenario_batches == 2).all() and len(norm.scenario_batches) == 6 for norm in norms.values())
    assert not any(norm.learns_scenarios for norm in decoder_norms(model).values())
    model.part_ways()
    assert not any(norm.scenario_batches.any() for norm in norms.values())
    whole = model.state_dict()
    for name, value in model.incomplete.state_dict().items():
        assert ".scenario_" in name or torch.equal(value, whole[name]), name
    for norm in norms.values():
        assert torch.equal(norm.scenario_mean, norm.running_mean.expand(6, -1))
        assert torch.equal(norm.scenario_var, norm.running_var.expand(6, -1))


def test_weights_begin_as_those_of_batch_normalisation():
    torch.manual_seed(0)
    plain = tiny_mobanet(incomplete="own")
    torch.manual_seed(0)
    state = tiny_mobanet(incomplete="own", normalization="scenario").state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())


def test_a_scenario_is_drawn_for_a_batch_where_there_is_more_than_one():
    assert tiny_mobanet(normalization="scenario").one_scenario_a_batch
    assert not tiny_mobanet().one_scenario_a_batch
    assert not tiny_mobanet(normalization="scenario", streams={"elevation": {"dsm": 1}}).one_scenario_a_batch


def test_a_batch_of_one_sample_and_statistics_taken_beside_are_refused():
    model = tiny_mobanet(normalization="scenario").train()
    with pytest.raises(UserError, match="batch normalisation cannot train on a single sample"):
        model(random_inputs(model, 1, 56, 56))
    with pytest.raises(UserError, match=r"scenario_statistics is for `network.normalization` batch"):
        tiny_mobanet(normalization="scenario", scenario_statistics=["rgb"])
