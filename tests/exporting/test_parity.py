"""The comparison that every export passes: it sees what is wrong, and knows what rounding is."""

import copy

import pytest
import torch

from mobanet.errors import UserError
from mobanet.exporting import parity
from mobanet.exporting.deployed import deployed
from mobanet.exporting.parity import compare, random_feeds
from tests.exporting.small import make, numbers

TILE = 28


@pytest.fixture
def model():
    module = make()
    return deployed(module, numbers(module))


def test_equal_models_differ_by_nothing_in_every_scenario_and_batch(model):
    found = compare(model, copy.deepcopy(model), TILE, "a copy", tolerance=0.0)
    assert (found.largest, found.tolerance, found.scenarios) == (0.0, 0.0, 3)
    assert "3 scenarios, batches of 1 and 3: largest difference 0.0e+00" in found.described()


def test_all_scenarios_are_compared_alone_and_mixed(model):
    batches = list(random_feeds(model, TILE))
    assert [len(feeds["available"]) for feeds in batches] == [1, 1, 1, 3, 3, 3]
    alone = {tuple(feeds["available"][0].tolist()) for feeds in batches[:3]}
    assert alone == {(True, False), (False, True), (True, True)}
    for feeds in batches[3:]:
        assert {tuple(row) for row in feeds["available"].tolist()} == alone
        assert all(torch.isnan(feeds[name][2]).any() for name in ("rgb", "dsm"))
    assert [feeds["rgb"].nan_to_num().max() > 200 for feeds in batches] == [True] * 6  # stored values, not scaled ones


@pytest.mark.parametrize("change", ["one scenario", "small", "not a number", "shape"])
def test_a_difference_is_refused(model, change):
    def wrong(feeds):
        logits = model(feeds).clone()
        if change == "one scenario" and feeds["available"][0].tolist() == [False, True]:
            logits[0, 0, 0, 0] += logits.abs().max() / 100
        if change == "small":
            logits *= 1.0003
        if change == "not a number":
            logits[0, 0, 3, 3] = torch.nan
        return logits[:, :2] if change == "shape" else logits

    with pytest.raises(UserError, match=r"the ONNX file .* on the same inputs, so that nothing was written"):
        compare(model, wrong, TILE, "the ONNX file")


def test_a_network_that_magnifies_rounding_is_allowed_ten_times_its_own(model, monkeypatch):
    def off(feeds):
        logits = model(feeds).clone()
        logits[0, 0, 0, 0] += 3e-4 * logits.abs().max()
        return logits

    with pytest.raises(UserError, match="where 1e-04 is allowed"):
        compare(model, off, TILE, "it")
    monkeypatch.setattr(parity, "_own_rounding", lambda *_: 1e-4)
    assert compare(model, off, TILE, "it").tolerance == pytest.approx(1e-3)
    assert parity.allowed(model, TILE) == pytest.approx(1e-3)
    monkeypatch.setattr(parity, "_own_rounding", lambda *_: 1.0)
    assert compare(model, off, TILE, "it").tolerance == parity.MOST


def test_rounding_is_measured_against_double_precision(model):
    assert 0 < parity._own_rounding(model, TILE) < 1e-5
    assert all(p.dtype == torch.float32 for p in model.network.parameters())
