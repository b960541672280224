"""`--model.compile`: one graph for training and one for evaluation, whatever the scenarios; no graph is made twice."""

from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from mobanet.models.mobanet import network as mobanet_network
from mobanet.models.mobanet.network import MoBaNetSettings
from tests.conftest import NARROW
from tests.test_training import FROZEN

SETTINGS = {
    "plain": ({}, False, 2),
    "left_out": (
        {"network": MoBaNetSettings(**NARROW, absent="left_out", missing="token")},
        False,
        2,
    ),
    "own": ({"network": MoBaNetSettings(**NARROW, incomplete="own")}, True, 4),
    "by_scenario": (
        {"network": MoBaNetSettings(**NARROW, normalization="scenario")},
        False,
        2,
    ),
}
"""The module's options, whether batches have exact shares of scenarios, and how many graphs they take: of each set of
parts one for training and one for evaluation."""


@pytest.fixture
def counter(monkeypatch):
    """Counts graphs, and runs them as they are."""
    torch._dynamo.reset()
    counters.clear()
    mobanet_network._compiled.cache_clear()
    found = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=found))
    yield found
    mobanet_network._compiled.cache_clear()
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.long), "left_out", "own", "by_scenario"])
def test_graphs_do_not_depend_on_what_is_there(kind, counter, make_data, make_module, make_trainer, monkeypatch):
    """Steps, an evaluation in every scenario, whose last batch is a part of one, and steps once more."""
    options, exact, graphs = SETTINGS[kind]
    data = make_data(batch_size=2)
    data.prepare_data()
    data.setup("fit")
    module = make_module(data, backbone=FROZEN, compile=True, **options)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    module.trainer, module.exact_scenario_shares = make_trainer(), exact
    module.scenario_probabilities.copy_(torch.tensor([*[1 / 12] * 6, 0.5]))  # of three batches at least one is complete
    module.setup("test")
    sizes = []
    for training in (True, False, True):
        module.train(training)
        batches = data.train_dataloader() if training else list(data.val_dataloader())[-2:]
        for step, batch in enumerate(batches):
            ready = module.on_after_batch_transfer(batch, 0)
            if training:
                module.training_step(ready, step).backward()
                continue
            sizes.append(len(ready.available))
            with torch.inference_mode():
                found = list(module.predict_scenarios(ready, module.scenarios))
            assert [len(logits) for logits in found] == [sizes[-1]] * 7
    assert sizes == [2, 1]
    assert not counters["graph_break"]
    assert counter.frame_count == graphs


def test_compiled_gradients_are_the_others_to_rounding(counter, make_data, make_module):
    """With recomputed blocks, too, which are a part of the same graph."""
    data = make_data()
    plain, compiled = (make_module(data, backbone=FROZEN, recompute_blocks=other) for other in (False, True))
    compiled.load_state_dict(plain.state_dict())
    compiled.network.compile_steps()
    draws = torch.Generator().manual_seed(0)
    inputs = {name: torch.rand(2, bands, 64, 64, generator=draws) for name, bands in plain.network.modalities.items()}
    available = torch.tensor([[True, False, True], [True, True, True]])
    for module in (plain, compiled):
        torch.manual_seed(0)
        module.network(inputs, available).logits.square().mean().backward()
    assert counter.frame_count == 1
    assert not counters["graph_break"]
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, msg=name)
