"""Batch statistics of scenarios: measured as torch measures them, and each sample normalised by those of its own."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch

from mobanet.errors import UserError
from mobanet.evaluation.batch_statistics import measure_statistics
from mobanet.models.base import select_available
from mobanet.scenarios.scenario import scenarios_of
from tests.models.tiny import awaken, every_pattern, random_inputs, tiny_mobanet

FORMS = {"plain": {}, "scaled": {"family": "sam", "pyramid": "scaled", "fusion": "se", "missing": "token"}}
WITH = ["rgb", "dsm", "rgb+dsm"]


class Drawn:
    """Windows of noise, of which some lack a modality."""

    def __init__(self, model, count, lacking=()):
        self.inputs = random_inputs(model, count, 56, 56)
        self.available = torch.ones(count, len(model.modalities), dtype=torch.bool)
        for window, modality in lacking:
            self.available[window, modality] = False

    def __len__(self):
        return len(self.available)

    def read(self, first, last):
        rows = slice(first, last)
        return {"inputs": {name: x[rows] for name, x in self.inputs.items()}, "available": self.available[rows]}


def incomplete(model):
    return [scenario for scenario in scenarios_of(list(model.modalities)) if not scenario.full]


def measured(model, windows, count=8, size=4):
    return measure_statistics(model, incomplete(model), windows, count, size, lambda batch: SimpleNamespace(**batch))


def trained(form="plain"):
    """A network whose running statistics are of something."""
    model = awaken(tiny_mobanet(**FORMS[form])).train()
    with torch.no_grad():
        for _ in range(3):
            model(random_inputs(model, 4, 56, 56))
    return model.eval()


def adapted(form="plain"):
    """One that has statistics of some scenarios."""
    model = trained(form)
    measured(model, Drawn(model, 8)).of(WITH).give_to(model)
    return model


@torch.no_grad()
def by_torch(model, windows, scenario, size):
    """What torch's own cumulative average comes to over batches in a scenario."""
    model = deepcopy(model)
    for norm in model.scenario_norms().values():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for first in range(0, len(windows), size):
        batch = windows.read(first, first + size)
        available = torch.tensor(scenario.available).expand(len(batch["available"]), -1)
        model(select_available(batch["inputs"], available), available, auxiliary=False)
    return model.scenario_norms()


@pytest.mark.parametrize("form", FORMS)
def test_statistics_are_those_that_torch_finds_over_the_same_windows(form):
    model = trained(form)
    windows = Drawn(model, 8)
    found = measured(model, windows)
    assert found.windows == (8,) * 6
    assert len(found.by_norm) == (13 if form == "scaled" else 12)
    for place, scenario in enumerate(found.scenarios):
        for name, norm in by_torch(model, windows, scenario, 4).items():
            mean, var = found.by_norm[name][:, place]
            torch.testing.assert_close(mean.float(), norm.running_mean, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(var.float(), norm.running_var, rtol=1e-4, atol=1e-6)


def test_measuring_leaves_the_network_as_it_was():
    model = trained()
    model.decoder.train()
    before, modes = deepcopy(model.state_dict()), [part.training for part in model.modules()]
    measured(model, Drawn(model, 5), 5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [part.training for part in model.modules()] == modes
    assert {norm.momentum for norm in model.scenario_norms().values()} == {0.1}


def test_windows_count_in_scenarios_that_they_have_all_of():
    model = trained()
    found = measured(model, Drawn(model, 8, lacking=[(0, 1), (1, 1), (2, 1), (4, 2), (5, 2), (6, 2)]), 8)
    assert dict(zip(found.names, found.windows, strict=True)) == {
        "rgb": 8,
        "ir": 4,
        "dsm": 4,
        "rgb+ir": 4,
        "rgb+dsm": 4,
    }


@pytest.mark.parametrize(("count", "windows"), [(7, 7), (99, 9), (2, 2)])
def test_all_windows_are_shared_out_to_batches_of_about_the_size(count, windows):
    model = trained()
    assert set(measured(model, Drawn(model, 9), count).windows) == {windows}


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_a_mixed_batch_gives_what_its_samples_give_and_complete_ones_keep_every_bit(form):
    model, before = adapted(form), trained(form)
    available = every_pattern(model)
    inputs = random_inputs(model, len(available), 56, 56)
    mixed, shared = model(inputs, available).logits, before(inputs, available).logits
    for row, pattern in enumerate(available):
        alone = model({name: x[row : row + 1] for name, x in inputs.items()}, pattern[None]).logits
        torch.testing.assert_close(mixed[row : row + 1], alone, rtol=1e-4, atol=1e-5)
        name = "+".join(n for n, there in zip(model.modalities, pattern, strict=True) if there)
        assert torch.equal(mixed[row], shared[row]) == (name not in WITH), name
    assert torch.equal(model(inputs).logits, before(inputs).logits)
    patterns = list(available[:, None].expand(-1, len(available), -1))
    for output, pattern in zip(model.forward_each(inputs, patterns), patterns, strict=True):
        torch.testing.assert_close(output.logits, model(inputs, pattern).logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_own_statistics_do_what_they_would_do_as_running_ones(form):
    model, other = adapted(form), trained(form)
    for name, norm in model.scenario_norms().items():
        twin = other.scenario_norms()[name]
        twin.running_mean.copy_(norm.scenario_mean[1])
        twin.running_var.copy_(norm.scenario_var[1])
    inputs = random_inputs(model, 3, 70, 45)
    available = torch.tensor([[False, False, True]] * 3)
    torch.testing.assert_close(model(inputs, available).logits, other(inputs, available).logits, rtol=1e-4, atol=1e-5)


def test_the_setting_makes_room_for_statistics_of_its_scenarios():
    model, found = tiny_mobanet(scenario_statistics=WITH), adapted()
    model.load_state_dict(found.state_dict())
    inputs, available = random_inputs(model, 7, 56, 56), every_pattern(model)
    assert torch.equal(model.eval()(inputs, available).logits, found(inputs, available).logits)
    assert "with_statistics" not in model.state_dict()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"scenario_statistics": ["rgb+ir+dsm"]},
            "names rgb\\+ir\\+dsm, which is no incomplete scenario of rgb, ir, dsm",
        ),
        ({"scenario_statistics": ["dsm+rgb"]}, "names dsm\\+rgb"),
        ({"scenario_statistics": ["rgb", "lidar"]}, "names lidar"),
        ({"scenario_statistics": [""]}, "names nothing"),
        ({"scenario_statistics": ["rgb", "dsm", "rgb"]}, "or comes twice"),
        ({"scenario_statistics": ["rgb"], "normalization": "group"}, "is for `network.normalization` batch"),
        ({"scenario_statistics": ["rgb"], "incomplete": "own"}, "incomplete shared"),
    ],
)
def test_scenarios_that_can_have_no_statistics_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        tiny_mobanet(**settings)
