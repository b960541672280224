"""`--model.compile`: one graph for training and one for evaluation, whatever the scenarios; no graph is made twice."""

from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from mobanet.models.mobanet import network as mobanet_network
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.sampling import ScenarioSettings
from tests.conftest import NARROW
from tests.test_training import FROZEN

SETTINGS = {
    "plain": ({}, {"strategy": "uniform"}, 2),
    "left_out": (
        {"network": MoBaNetSettings(**NARROW, absent="left_out", missing="token")},
        {"strategy": "uniform"},
        2,
    ),
    "own": ({"network": MoBaNetSettings(**NARROW, incomplete="own")}, {"strategy": "uniform", "full_share": 0.5}, 4),
}
"""The module's options, the scenarios', and how many graphs they take: each set of parts has one for
training and one for evaluation."""


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


@pytest.mark.parametrize("kind", SETTINGS)
def test_graphs_do_not_depend_on_what_is_there(kind, counter, make_data, make_module, make_trainer):
    options, scenarios, graphs = SETTINGS[kind]
    data = make_data()
    module = make_module(data, backbone=FROZEN, compile=True, **options)
    module.evaluate_on(validation="all")
    sizes, predict = [], module.predict_scenarios
    module.predict_scenarios = lambda batch, chosen: sizes.append(len(batch.available)) or predict(batch, chosen)
    trainer = make_trainer(callbacks=[ScenarioSampling(ScenarioSettings(**scenarios))])
    trainer.fit(module, datamodule=data)
    assert len(set(sizes)) > 1, "no batch of the validation is a part of one"
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
