"""Batch statistics by scenario within training on the CPU: how they are learnt, taken anew, kept and handed on."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.mobanet.network import MoBaNetSettings, decoder_norms
from mobanet.scenarios.batch_statistics import measure_statistics
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scenario import scenarios_of
from mobanet.training.module import SegmentationModule
from tests.conftest import NARROW
from tests.scenario_fits import STAGES, assert_same, weights

BY_SCENARIO = {"normalization": "scenario", "absent": "left_out", **NARROW}
DATA = {"batch_size": 4, "steps_per_epoch": 8}


@pytest.mark.parametrize(("incomplete", "share"), [("shared", None), ("shared", 0.5), ("own", 0.5)])
def test_normalised_by_scenario_a_batch_is_of_one_and_each_has_statistics(fitted, incomplete, share):
    network = {"network": MoBaNetSettings(normalization="scenario", incomplete=incomplete, **NARROW)}
    data, p = (
        {"batch_size": 3, "steps_per_epoch": 14},
        {"strategy": "uniform", "full_share": share, "statistics_windows": 6},
    )
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


def statistics(network):
    """By normalisation, means and variances of the scenarios, (2, S, C)."""
    return {
        name: torch.stack([norm.scenario_mean, norm.scenario_var]) for name, norm in network.scenario_norms().items()
    }


def assert_of_windows(module, trainer, count):
    """What training has met has, of statistics, what windows of the training tiles have with these weights."""
    network, data = module.network, trainer.datamodule
    met = [tuple(mask) for mask in network.with_statistics[network.scenarios_met()].tolist()]
    scenarios = [scenario for scenario in scenarios_of(list(network.modalities)) if scenario.available in met]
    assert len(scenarios) > 3
    windows, to_device = data.probe_windows(), trainer.strategy.batch_to_device
    found = measure_statistics(network, scenarios, windows, count, data.batch_size, to_device)
    rows = [network.with_statistics.tolist().index([*scenario.available]) for scenario in found.scenarios]
    for name, values in statistics(network).items():
        expected = found.by_norm[name].float()
        torch.testing.assert_close(values[:, rows], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("incomplete", ["shared", "own"])
def test_at_the_end_they_are_those_of_the_last_weights_over_windows_without_masks_and_dropout(
    fitted, incomplete, validated
):
    module = {"network": MoBaNetSettings(incomplete=incomplete, **BY_SCENARIO)}
    given = {"strategy": "uniform", "validated": validated, "epochs": 1}
    anew, _, _ = fitted(module, DATA, statistics_windows=8, **given)
    assert_of_windows(anew, anew.trainer, 8)
    # no training moves by it, and without it they are what the last batches had
    kept, _, _ = fitted(module, DATA, statistics_windows=0, folder="kept", **given)
    one, other = weights(anew.network), weights(kept.network)
    assert_same(
        *(
            {name: w for name, w in each.items() if ".scenario_m" not in name and ".scenario_v" not in name}
            for each in (one, other)
        )
    )
    for name, values in statistics(kept.network).items():
        assert not torch.allclose(values, statistics(anew.network)[name], rtol=0.01)
    assert torch.equal(kept.network.scenarios_met(), anew.network.scenarios_met())


@pytest.mark.parametrize("place", ["before", "callbacks"])
def test_each_checkpoint_has_those_of_its_weights_and_of_an_average_those_of_the_average(fitted, place):
    kept = ModelCheckpoint(save_top_k=-1, filename="{epoch}")
    module = {"network": MoBaNetSettings(**BY_SCENARIO)}
    average = {place: [EMAWeightAveraging(decay=0.5), kept]}
    ended, _, _ = fitted(module, DATA, strategy="uniform", statistics_windows=8, **average)
    paths = sorted(Path(kept.dirpath).glob("*.ckpt"))
    assert len(paths) == 2
    for path in paths:
        assert_of_windows(SegmentationModule.load_from_checkpoint(path, weights_only=True), ended.trainer, 8)


def test_during_the_warm_up_nothing_is_measured_and_afterwards_what_was_drawn_is(fitted, monkeypatch):
    seen, measure = [], measure_statistics

    def watched(network, scenarios, *given):
        seen.append([scenario.name for scenario in scenarios])
        return measure(network, scenarios, *given)

    monkeypatch.setattr("mobanet.scenarios.batch_statistics.measure_statistics", watched)
    module = {"network": MoBaNetSettings(incomplete="own", **BY_SCENARIO)}
    fitted(module, DATA, epochs=4, sampled="single", statistics_windows=4, **STAGES)
    assert seen == [["rgb", "ir", "dsm"]] * 2
    # once for the same weights, and of networks that know no scenarios never
    seen.clear()
    fitted({"network": MoBaNetSettings(**NARROW)}, DATA, strategy="uniform", folder="other", epochs=1)
    assert seen == []


def test_a_second_run_with_the_same_callback_ends_with_those_of_its_own_weights(make_data, make_module, make_trainer):
    sampling = ScenarioSampling(ScenarioSettings(strategy="uniform", statistics_windows=8))
    for _ in range(2):
        data = make_data(**DATA)
        module = make_module(data, network=MoBaNetSettings(**BY_SCENARIO))
        trainer = make_trainer(callbacks=[sampling], max_epochs=1, limit_val_batches=0)
        trainer.fit(module, datamodule=data)
        assert_of_windows(module, trainer, 8)


def test_a_run_resumed_anywhere_ends_with_the_same_statistics(fitted):
    module, data = {"network": MoBaNetSettings(incomplete="own", **BY_SCENARIO)}, {**DATA, "steps_per_epoch": 4}
    kept = ModelCheckpoint(filename="{step}", every_n_train_steps=1, save_top_k=-1)
    given = {**STAGES, "statistics_windows": 8}
    whole, _, _ = fitted(module, data, callbacks=[kept], **given)
    for step in (4, 5, 7):  # where own parts begin, and within their epoch
        path = str(Path(kept.dirpath) / f"step={step}.ckpt")
        again, _, _ = fitted(module, data, path, folder=f"from{step}", **given)
        assert_same(weights(again), weights(whole))
