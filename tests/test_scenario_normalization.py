"""Batch statistics by scenario within training on the CPU: how they are learnt, kept and handed on."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.mobanet.network import MoBaNetSettings, decoder_norms
from tests.conftest import NARROW
from tests.scenario_fits import assert_same, weights


@pytest.mark.parametrize(("incomplete", "share"), [("shared", None), ("shared", 0.5), ("own", 0.5)])
def test_normalised_by_scenario_a_batch_is_of_one_and_each_has_statistics(fitted, incomplete, share):
    network = {"network": MoBaNetSettings(normalization="scenario", incomplete=incomplete, **NARROW)}
    data, p = {"batch_size": 3, "steps_per_epoch": 14}, {"strategy": "uniform", "full_share": share}
    kept = ModelCheckpoint(save_top_k=-1, filename="{epoch}")
    module, watch, _ = fitted(network, data, callbacks=[kept], **p)
    assert all((batch == batch[0]).all() for batch in watch.available)
    drawn = [tuple(batch[0].tolist()) for batch in watch.available]
    assert len(set(drawn)) == 7
    whole = drawn.count((True, True, True))
    assert abs(whole - len(drawn) * (share or 1 / 7)) <= 2
    parts = module.network.incomplete or module.network
    known = parts.decoder.merge[1].scenario_batches.tolist()
    counts = {pattern: drawn.count(pattern) for pattern in set(drawn)}
    masks = [tuple(mask) for mask in module.network.with_statistics.tolist()]
    assert known == [counts[mask] for mask in masks]
    first = next(path for path in Path(kept.dirpath).glob("*.ckpt") if "epoch=0" in path.name)
    again, _, _ = fitted(network, data, first, folder="again", **p)
    assert_same(weights(again), weights(module))


def test_own_parts_take_the_statistics_of_incomplete_scenarios_from_one_that_all_samples_shared(
    fitted, make_data, make_module
):
    """And the parts of complete samples those of the full scenario, so that every sample is seen as before."""
    kept, by_scenario = ModelCheckpoint(), {"normalization": "scenario", "absent": "left_out", **NARROW}
    data = {"batch_size": 2, "steps_per_epoch": 14}
    whole, _, _ = fitted(
        {"network": MoBaNetSettings(**by_scenario)}, data, callbacks=[kept], strategy="uniform", epochs=1
    )
    module = make_module(make_data(), network=MoBaNetSettings(incomplete="own", **by_scenario))
    module.begin_from(read_checkpoint(kept.best_model_path))
    draws = torch.Generator().manual_seed(0)
    inputs = {name: torch.rand(7, bands, 64, 64, generator=draws) for name, bands in whole.network.modalities.items()}
    with torch.inference_mode():
        expected, found = (each.eval().network(inputs, each.scenario_masks).logits for each in (whole, module))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    before, own = (decoder_norms(parts) for parts in (whole.network, module.network.incomplete))
    assert all(torch.equal(norm.scenario_batches, before[name].scenario_batches[:-1]) for name, norm in own.items())


def test_statistics_by_scenario_are_refused_where_those_of_all_processes_are_asked_for(
    make_data, make_module, make_trainer
):
    data = make_data()
    module = make_module(data, network=MoBaNetSettings(normalization="scenario", **NARROW))
    with pytest.raises(UserError, match=r"trainer\.sync_batchnorm is true and `network\.normalization` scenario"):
        make_trainer(sync_batchnorm=True, max_epochs=1).fit(module, datamodule=data)


def test_a_network_may_go_on_by_scenario_from_one_that_was_normalised_over_batches(fitted, make_data, make_module):
    kept = ModelCheckpoint()
    whole, _, _ = fitted(callbacks=[kept], strategy="full", epochs=1)
    module = make_module(make_data(), network=MoBaNetSettings(normalization="scenario", **NARROW))
    module.begin_from(read_checkpoint(kept.best_model_path))
    weights_now = module.network.state_dict()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(weights_now[name], value), name
    assert not any(value.any() for name, value in weights_now.items() if name.endswith(".scenario_batches"))
    for norm in decoder_norms(module.network).values():  # no scenario is met yet
        assert torch.equal(norm.scenario_mean, norm.running_mean.expand(7, -1))
        assert torch.equal(norm.scenario_var, norm.running_var.expand(7, -1))
