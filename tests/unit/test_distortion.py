"""Latent distortion against sums written out by hand, with the data's own gaps, in any sharing out."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from mobanet.scenarios.distortion import DistortionMeter
from mobanet.scenarios.refresh import in_turn, measure_distortion, undisturbed
from mobanet.scenarios.scenario import scenario_masks, scenarios_of

MASKS = scenario_masks(scenarios_of(("a", "b")))


class Linear(nn.Module):
    """The latent is a weighted sum of two images, behind a normalisation and a dropout that must stay out of it."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([2.0, 3.0]))
        self.norm = nn.BatchNorm2d(1)
        self.dropout = nn.Dropout(0.5)
        self.seen = 0

    def latents(self, inputs, patterns):
        for pattern in patterns:
            self.seen += len(pattern)
            x = sum(
                w * torch.where(pattern[:, i, None, None, None], inputs[name], 0)
                for i, (name, w) in enumerate(zip("ab", self.weights, strict=True))
            )
            yield self.dropout(self.norm(x))


@dataclass
class Batch:
    inputs: dict
    available: torch.Tensor


class Numbers:
    """Windows of numbers."""

    def __init__(self, count, gaps=()):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(count, 2, 1, 4, 4, generator=generator)
        self.available = torch.ones(count, 2, dtype=torch.bool)
        for window, modality in gaps:
            self.available[window, modality] = False

    def __len__(self):
        return len(self.images)

    def read(self, first, last):
        a, b = self.images[first:last].unbind(1)
        return {"inputs": {"a": a, "b": b}, "available": self.available[first:last]}


def prepare(raw):
    return Batch(raw["inputs"], raw["available"])


def by_hand(windows, count, weights=(2.0, 3.0)):
    """D and its standard error, by loops."""
    scale = 1 / np.sqrt(1 + 1e-5)  # of a fresh batch normalisation in eval mode
    values = [[], [], [0.0]]
    for image, available in zip(windows.images[:count], windows.available[:count], strict=True):
        image, available = image.double().numpy(), available.numpy()
        full = sum(w * image[i] * available[i] for i, w in enumerate(weights))
        for k in (0, 1):
            left = available & (np.arange(2) == k)
            if left.any():
                z = sum(w * image[i] * left[i] for i, w in enumerate(weights))
                values[k].append(float(np.mean((scale * (z - full)) ** 2)))
    mean = [np.mean(v) for v in values]
    error = [np.std(v, ddof=1) / np.sqrt(len(v)) if len(v) > 1 else m for v, m in zip(values, mean, strict=True)]
    return mean, error


@pytest.mark.parametrize("gaps", [(), ((0, 1), (3, 0), (9, 0))])
def test_distortion_is_the_mean_over_windows_that_have_something_of_the_scenario(gaps):
    windows, model = Numbers(30, gaps), Linear()
    model.train()
    distortion = measure_distortion(model, MASKS, windows, 21, prepare)
    mean, error = by_hand(windows, 21)
    np.testing.assert_allclose(distortion.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(distortion.standard_error, error, rtol=1e-6)
    assert distortion.mean[-1] == distortion.standard_error[-1] == 0
    assert distortion.num_windows == 21
    assert model.seen == 3 * 21  # the full scenario once, each other once
    assert model.training


def test_ranks_share_the_batches_and_sum_to_the_same():
    windows, model = Numbers(50), Linear().eval()
    alone = DistortionMeter(MASKS)
    for first in range(0, 50, 8):
        batch = prepare(windows.read(first, min(first + 8, 50)))
        alone.add(model, batch.inputs, batch.available)
    for world in (2, 3, 8):
        parts = []
        for rank in range(world):
            measure_distortion(model, MASKS, windows, 192, prepare, rank, world, lambda s, p=parts: p.append(s) or s)
        total = torch.stack(parts).sum(0)
        assert [int(part[0, -1]) for part in parts] != [50] * world
        torch.testing.assert_close(total, alone.sums, rtol=1e-14, atol=0)


def test_auto_goes_on_until_every_standard_error_is_small_or_nothing_is_left():
    model = Linear().eval()
    large = measure_distortion(model, MASKS, Numbers(2000), "auto", prepare)
    assert large.num_windows % 64 == 0
    assert 64 <= large.num_windows < 2000
    assert large.settled(0.1)
    small = measure_distortion(model, MASKS, Numbers(20), "auto", prepare)
    assert small.num_windows == 20
    noisy = Numbers(500)
    noisy.images *= torch.linspace(-3, 3, 500).exp()[:, None, None, None, None] ** 2
    assert measure_distortion(model, MASKS, noisy, "auto", prepare).num_windows == 500


@pytest.mark.parametrize("turn", [1, 3, 16, 29, 30, 31])
def test_each_scenario_has_its_turn(turn):
    turns = [in_turn(number, turn, 30) for number in range(90)]
    assert {len(set(one)) for one in turns} == {min(turn, 30)}
    for until in (1, 10, 45, 90):
        counts = np.bincount(np.concatenate(turns[:until]), minlength=30)
        assert counts.max() - counts.min() <= 1


def test_in_turn_a_scenario_is_measured_on_the_windows_of_its_batches():
    windows, model = Numbers(40), Linear().eval()
    found = measure_distortion(model, MASKS, windows, 40, prepare, num_scenarios=1)
    assert model.seen == 2 * 40  # the full scenario, and one other
    assert found.num_windows == 40
    for scenario, batches in ((0, (0, 2, 4)), (1, (1, 3))):
        own = [window for batch in batches for window in range(8 * batch, 8 * batch + 8)]
        part = Numbers(40)
        part.images = part.images[own]
        mean, error = by_hand(part, len(own))
        assert found.mean[scenario] == pytest.approx(mean[scenario], rel=1e-6)
        assert found.standard_error[scenario] == pytest.approx(error[scenario], rel=1e-6)


def test_no_scenario_is_left_out_where_windows_are_few_and_ranks_take_the_same_turns():
    for count in (3, 8, 9, 17, 100):
        windows, model, sums = Numbers(count), Linear().eval(), []
        masks = scenario_masks(scenarios_of(("a", "b")))[[0, 1, 0, 1, 0, 2]]  # six, in the places of as many others
        for given in (count, "auto"):
            found = measure_distortion(model, masks, windows, given, prepare, num_scenarios=1)
            assert (found.mean[:-1] > 0).all()
        for world in (1, 3):
            parts = []
            for rank in range(world):
                given = (rank, world, lambda s, p=parts: p.append(s) or s)
                measure_distortion(model, masks, windows, count, prepare, *given, num_scenarios=1)
            sums.append(torch.stack(parts).sum(0))
        torch.testing.assert_close(sums[0], sums[1], rtol=1e-14, atol=0)


def test_a_model_is_left_as_it_was():
    model = Linear()
    model.train()
    model.dropout.eval()  # as a frozen part is
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state = torch.get_rng_state()
    measure_distortion(model, MASKS, Numbers(16), 16, prepare)
    assert (model.training, model.norm.training, model.dropout.training) == (True, True, False)
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())

    def spoilt():
        with undisturbed(model):
            model.norm.running_mean += 1
            assert not model.norm.training
            raise RuntimeError

    with pytest.raises(RuntimeError):
        spoilt()
    assert torch.equal(model.norm.running_mean, before["norm.running_mean"])
    assert model.norm.training


def test_a_single_window_does_not_settle_anything():
    model = Linear().eval()
    distortion = measure_distortion(model, MASKS, Numbers(1), 192, prepare)
    np.testing.assert_array_equal(distortion.standard_error, distortion.mean)
    assert not distortion.settled(0.1)
