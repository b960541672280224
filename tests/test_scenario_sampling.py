"""Scenario sampling within training on the CPU: the contract of the callback, clause by clause, on one process."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging

from mobanet.errors import UserError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNetSettings, decoder_norms
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.history import read_history
from mobanet.scenarios.masking import MaskingSettings
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scores import score_scenarios
from mobanet.scenarios.scoring import score_module
from mobanet.training.module import SegmentationModule
from mobanet.training.optim import ScheduleSettings
from tests.conftest import NARROW, TINY, same
from tests.scenario_fits import FULL, STAGES, Watch, assert_same, of_complete, weights

NAMES = ("rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm")


def test_each_strategy_sets_its_probabilities(fitted):
    assert fitted(strategy="full")[1].probabilities == [FULL, FULL]
    np.testing.assert_allclose(fitted(strategy="uniform")[1].probabilities, np.full((2, 7), 1 / 7), rtol=1e-6)
    fixed = fitted(strategy="fixed", probabilities={"dsm+rgb": 0.25, "rgb+ir+dsm": 0.75})[1]
    np.testing.assert_allclose(fixed.probabilities, [[0, 0, 0, 0, 0.25, 0, 0.75]] * 2)
    assert set(map(tuple, torch.cat(fixed.available).int().tolist())) <= {(1, 0, 1), (1, 1, 1)}
    module, latent, folder = fitted(strategy="latent")
    first, second = latent.probabilities
    assert first != second
    assert min(first) >= 0.5 / 7
    assert sum(first) == pytest.approx(1, abs=1e-6)
    assert module.scenario_probabilities.tolist() == second
    assert not (folder / "nothing").exists()


def test_only_scenarios_that_are_named_are_drawn_and_measured(fitted):
    chosen = {"sampled": "single,rgb+dsm"}
    _, uniform, _ = fitted(strategy="uniform", **chosen)
    np.testing.assert_allclose(uniform.probabilities, [[0.25, 0.25, 0.25, 0, 0.25, 0, 0]] * 2)
    _, latent, folder = fitted(strategy="latent", num_scenarios=2, **chosen)
    records = read_history(folder / "scenario_scores.jsonl")
    assert [record.scenarios for record in records] == [("rgb", "ir", "dsm", "rgb+dsm")] * 2
    for record, p in zip(records, latent.probabilities, strict=True):
        assert min(record.distortion) > 0  # of the full scenario, which is not drawn, it is 0
        np.testing.assert_allclose(np.array(p)[[0, 1, 2, 4]], record.probabilities, rtol=1e-6)
        assert [p[place] for place in (3, 5, 6)] == [0, 0, 0]
    rows = set(map(tuple, torch.cat(latent.available).int().tolist()))
    assert rows <= {(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)}
    _, half, _ = fitted(strategy="latent", full_share=0.5, **chosen)
    assert [p[-1] for p in half.probabilities] == [0.5, 0.5]
    assert all(p[3] == p[5] == 0 for p in half.probabilities)


def test_history_holds_what_was_measured_and_leads_to_the_probabilities(fitted):
    _, watch, folder = fitted(strategy="latent", epochs=3)
    records = read_history(folder / "scenario_scores.jsonl")
    assert [record.epoch for record in records] == [0, 1, 2]
    for record, p in zip(records, watch.probabilities, strict=True):
        assert record.scenarios == NAMES
        assert record.num_windows == 12
        assert record.distortion[-1] == record.standard_error[-1] == 0
        assert min(record.distortion[:-1]) > 0
        assert all(0 < e < d for d, e in zip(record.distortion[:-1], record.standard_error[:-1], strict=True))
        expected = score_scenarios(np.array(record.distortion))
        np.testing.assert_allclose(record.scores, expected.scores, rtol=1e-12)
        np.testing.assert_allclose(record.probabilities, expected.probabilities, rtol=1e-12)
        np.testing.assert_allclose(p, record.probabilities, rtol=1e-6)
        assert record.seconds > 0


def test_every_scenario_is_drawn_and_samples_of_a_batch_differ(fitted):
    _, watch, _ = fitted(strategy="uniform", data={"batch_size": 16, "steps_per_epoch": 8}, epochs=1)
    available = torch.cat(watch.available)
    assert len({tuple(row) for row in available.int().tolist()}) == 7
    assert any(len({tuple(row) for row in batch.int().tolist()}) > 2 for batch in watch.available)


def test_draws_do_not_depend_on_what_else_draws(fitted):
    class Noise(Callback):
        def on_train_batch_start(self, *_):
            torch.rand(7)

    _, quiet, _ = fitted(strategy="uniform")
    _, noisy, _ = fitted(strategy="uniform", callbacks=[Noise()])
    assert all(torch.equal(a, b) for a, b in zip(quiet.available, noisy.available, strict=True))


def test_warm_up_and_the_interval_between_refreshes(fitted):
    _, watch, folder = fitted(strategy="latent", warmup_epochs=1, every_n_epochs=2, epochs=5)
    p = watch.probabilities
    assert p[0] == FULL
    assert p[1] != FULL
    assert p[1] == p[2] != p[3]
    assert p[3] == p[4]
    assert [r.epoch for r in read_history(folder / "scenario_scores.jsonl")] == [1, 3]
    _, once, folder = fitted(strategy="latent", every_n_epochs=None, epochs=3, folder="once")
    assert once.probabilities[0] == once.probabilities[1] == once.probabilities[2] != FULL
    assert [r.epoch for r in read_history(folder / "scenario_scores.jsonl")] == [0]
    _, uniform, _ = fitted(strategy="uniform", warmup_epochs=1)
    assert uniform.probabilities[0] == FULL
    assert max(uniform.probabilities[1]) < 0.15


def test_own_parts_part_ways_when_the_strategy_begins_and_go_on_apart(fitted):
    """Until then they stay as they were; they start as a copy; a resumed run does not start them once more."""

    class Parts(Callback):
        def __init__(self):
            self.equal = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            network = pl_module.network
            own, whole = (parts.decoder.classifier.weight for parts in (network.incomplete, network))
            self.equal.append((trainer.current_epoch, batch_idx, torch.equal(own, whole)))

    own = {"network": MoBaNetSettings(incomplete="own", **NARROW)}
    data = {"batch_size": 4, "steps_per_epoch": 2}
    sampled = {"strategy": "uniform", "full_share": 0.5, "warmup_epochs": 1}
    parts, kept = Parts(), ModelCheckpoint(save_top_k=-1, filename="{epoch}")
    whole, _, _ = fitted(own, data, callbacks=[parts, kept], epochs=3, **sampled)
    assert parts.equal[1:5] == [(0, 1, False), (1, 0, True), (1, 1, False), (2, 0, False)]
    for epoch in (0, 1):  # at the end of the warm-up, and an epoch later
        checkpoint = next(path for path in Path(kept.dirpath).glob("*.ckpt") if f"epoch={epoch}" in path.name)
        again, _, _ = fitted(own, data, checkpoint, [Parts()], folder=f"again{epoch}", epochs=3, **sampled)
        found = again.network.state_dict()
        for name, value in whole.network.state_dict().items():
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize(("freeze", "normalization"), [(True, "scenario"), (False, "batch")])
def test_without_complete_samples_what_sees_them_stays_bit_for_bit_and_each_stage_has_its_schedule(
    fitted, freeze, normalization
):
    """Also what both kinds share and is trained: it fits what complete samples have learnt."""

    class Stages(Callback):
        def __init__(self):
            self.rates, self.states, self.incomplete = [], [], []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])
            if batch_idx == 0:
                self.states.append(of_complete(pl_module))
                self.incomplete.append(weights(pl_module.network.incomplete))

    own = {
        "network": MoBaNetSettings(incomplete="own", normalization=normalization, **NARROW),
        "schedule": ScheduleSettings(warmup_epochs=1, every="step"),
        "backbone": BackboneSettings("vit_tiny_patch16_224", pretrained=False, freeze=freeze, options=dict(TINY)),
    }
    data, kept, stages = {"batch_size": 4, "steps_per_epoch": 2}, ModelCheckpoint(save_top_k=-1), Stages()
    module, watch, _ = fitted(own, data, callbacks=[stages, kept], epochs=4, **STAGES)
    assert watch.probabilities[:2] == [FULL, FULL]
    assert [p[-1] for p in watch.probabilities[2:]] == [0, 0]
    assert not torch.cat(watch.available[4:]).all(1).any()
    before, mid, turn, late = stages.states
    assert any(not torch.equal(mid[name], turn[name]) for name in mid if "decoder" in name)
    moved = [name for name in before if "backbone" in name and not torch.equal(before[name], turn[name])]
    assert bool(moved) == (not freeze)
    for state in (late, of_complete(module)):
        assert_same(state, turn)
    assert any(not same(value, stages.incomplete[3][name]) for name, value in stages.incomplete[2].items())
    rates = [rate[0] for rate in stages.rates]
    assert rates[4:] == pytest.approx(rates[:4])  # both are as long
    assert rates[0] < max(rates[:4]) > rates[3]
    for epoch in (0, 1, 2):  # a resumed run goes on with the stage that it is in
        checkpoint = next(path for path in Path(kept.dirpath).glob("*.ckpt") if f"epoch={epoch}-" in path.name)
        again, _, _ = fitted(own, data, checkpoint, folder=f"again{epoch}", epochs=4, **STAGES)
        assert_same(weights(again), weights(module))


@pytest.mark.parametrize(("absent", "normalization"), [("zero", "batch"), ("left_out", "scenario")])
def test_parts_for_missing_sensors_are_added_to_a_finished_model_that_stays_as_it_is(fitted, absent, normalization):
    """Also where the parts, unlike the model so far, know what is missing: of complete samples nothing is."""
    data, knows = {"batch_size": 4, "steps_per_epoch": 2}, {"absent": absent, "normalization": normalization}
    kept, own = ModelCheckpoint(), {"network": MoBaNetSettings(incomplete="own", **knows, **NARROW)}
    whole, _, _ = fitted(data=data, callbacks=[kept], epochs=1)
    added = {**STAGES, "warmup_epochs": 0}
    with pytest.raises(UserError, match=r"full_share is 0 and there is no warm-up, .* would never learn: set"):
        fitted(own, data, epochs=1, folder="bare", **added)
    checkpoint = read_checkpoint(kept.best_model_path)

    class Begin(Callback):
        def setup(self, trainer, pl_module, stage):
            pl_module.begin_from(checkpoint)

    module, _, _ = fitted(own, data, callbacks=[Begin()], epochs=1, folder="added", **added)
    assert_same(of_complete(module), of_complete(whole))
    draws = torch.Generator().manual_seed(0)
    inputs = {name: torch.rand(2, bands, 64, 64, generator=draws) for name, bands in whole.network.modalities.items()}
    complete = torch.ones(2, 3, dtype=torch.bool)
    with torch.inference_mode():
        assert same(*(each.eval().network(inputs, complete).logits for each in (module, whole)))
    own, parts = module.network.incomplete.decoder, module.network.decoder
    assert not torch.equal(own.classifier.weight, parts.classifier.weight)


def test_a_model_that_was_loaded_or_trained_before_may_be_given_the_second_stage_alone(fitted, make_data, make_trainer):
    own, data = {"network": MoBaNetSettings(incomplete="own", **NARROW)}, {"batch_size": 4, "steps_per_epoch": 2}
    kept, added = ModelCheckpoint(), ScenarioSettings(strategy="uniform", full_share=0.0)
    module, _, _ = fitted(own, data, callbacks=[kept], epochs=2, **STAGES)
    for model in (module, SegmentationModule.load_from_checkpoint(kept.best_model_path, weights_only=True)):
        before = of_complete(model)
        make_trainer(callbacks=[ScenarioSampling(added)], max_epochs=1).fit(model, datamodule=make_data(**data))
        assert_same(of_complete(model), before)


@pytest.mark.parametrize("endless", [False, True])
def test_a_stage_turns_where_its_epoch_ends_also_when_batches_are_gathered(
    make_data, make_module, make_trainer, endless
):
    """Of 4 epochs with 4 batches in 2 steps each, told as epochs or as steps."""

    class Rates(Callback):
        def __init__(self):
            self.of = {}

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.of.setdefault(trainer.current_epoch, []).append(optimizer.param_groups[0]["lr"])

    data, rates = make_data(steps_per_epoch=4), Rates()
    module = make_module(
        data,
        network=MoBaNetSettings(incomplete="own", **NARROW),
        schedule=ScheduleSettings(warmup_epochs=1, every="step"),
    )
    length = {"max_epochs": -1, "max_steps": 8} if endless else {"max_epochs": 4}
    sampling = ScenarioSampling(ScenarioSettings(**{**STAGES, "warmup_epochs": 2}))
    make_trainer(callbacks=[sampling, rates], accumulate_grad_batches=2, **length).fit(module, datamodule=data)
    stages = [rates.of[0] + rates.of[1], rates.of[2] + rates.of[3]]
    # a quarter of the stage is its rise; from there on it falls
    for stage in stages:
        assert len(stage) == 4
        assert stage[0] < stage[1] > stage[2] > stage[3]
    assert stages[0] == pytest.approx(stages[1])


def test_until_the_turn_a_model_does_without_a_sensor_what_one_of_all_sensors_does(fitted):
    """In validations of the warm-up, and in the checkpoints of that time."""

    class Compare(Callback):
        def __init__(self):
            self.equal = []

        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                own, parts = pl_module.network.incomplete.state_dict(), pl_module.network.state_dict()
                self.equal.append(all(same(value, parts[name]) for name, value in own.items()))

    own = {"network": MoBaNetSettings(incomplete="own", **NARROW)}
    compare = Compare()
    fitted(own, {"batch_size": 4, "steps_per_epoch": 1}, callbacks=[compare], epochs=4, **STAGES)
    assert compare.equal == [True, True, False, False]


AVERAGES = {
    "ema": lambda: EMAWeightAveraging(decay=0.5),
    "swa": lambda: StochasticWeightAveraging(1e-3, swa_epoch_start=1),
}


@pytest.mark.parametrize("kind", AVERAGES)
@pytest.mark.parametrize("validated", [True, False])
def test_averages_of_own_parts_begin_where_those_of_complete_samples_are(fitted, kind, validated):
    """What own parts would have been until the turn, which a validation sees and a SWA ends with, is what they copy.

    The turn is of the epochs that were asked for: SWA adds one, for running statistics, while it runs.
    """
    average = AVERAGES[kind]()

    class Compare(Callback):
        def __init__(self):
            self.averages, self.seen = {}, []

        def equal(self, network):
            parts = network.state_dict()
            own = {name: value for name, value in network.incomplete.state_dict().items() if ".scenario_" not in name}
            # what was not met, which is all of it, is as the running statistics
            rows = [[*norm.scenario_mean, *norm.scenario_var] for norm in decoder_norms(network.incomplete).values()]
            running = [[*[norm.running_mean] * 6, *[norm.running_var] * 6] for norm in decoder_norms(network).values()]
            return all(same(value, parts[name]) for name, value in own.items()) and all(
                same(a, b) for one, other in zip(rows, running, strict=True) for a, b in zip(one, other, strict=True)
            )

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            kept = average._average_model
            self.averages[trainer.current_epoch, batch_idx] = self.equal(getattr(kept, "module", kept).network)

        def on_validation_batch_start(self, trainer, pl_module, *_):
            self.seen.append((trainer.current_epoch, self.equal(pl_module.network)))

    own = {"network": MoBaNetSettings(incomplete="own", normalization="scenario", **NARROW)}
    compare, data = Compare(), {"batch_size": 2, "steps_per_epoch": 16}
    module, _, _ = fitted(own, data, callbacks=[average, compare], epochs=4, validated=validated, **STAGES)
    assert compare.averages[2, 0]
    assert not compare.averages[3, 1]
    # of a SWA, too, which takes all statistics anew in an epoch of its own, and so of complete samples as well
    assert all(
        norm.num_batches_tracked > 0 and norm.running_mean.any() for norm in decoder_norms(module.network).values()
    )
    # each of the six was drawn in the second stage, and is known by what it was, whatever an average makes of counts
    for norm in decoder_norms(module.network.incomplete).values():
        assert all(not torch.allclose(row, norm.running_mean) for row in norm.scenario_mean)
        assert norm.scenario_var.isfinite().all()
    assert validated == bool(compare.seen)
    assert all(equal for epoch, equal in compare.seen if epoch < 2)


def test_at_the_turn_latent_measures_parts_that_are_copies_already(fitted, monkeypatch):
    """Also of a run that validates nothing: parts that have learnt nothing say nothing of how far a latent moves."""
    equal = []

    def score(trainer, module, settings, epoch, *places):
        own, parts = module.network.incomplete.state_dict(), module.network.state_dict()
        equal.append(all(same(value, parts[name]) for name, value in own.items()))
        return score_module(trainer, module, settings, epoch, *places)

    monkeypatch.setattr("mobanet.scenarios.callback.score_module", score)
    own = {"network": MoBaNetSettings(incomplete="own", **NARROW)}
    data = {"batch_size": 4, "steps_per_epoch": 2}
    fitted(own, data, epochs=4, validated=False, **{**STAGES, "strategy": "latent"})
    assert equal == [True, False]


def test_what_lacks_a_sensor_by_itself_teaches_the_parts_that_will_be_copied(fitted, monkeypatch):
    """Before the turn there are no others: a sample without elevation goes where complete ones go."""
    monkeypatch.setattr(
        "mobanet.training.module.SegmentationModule._drawn",
        lambda self, batch, batch_idx: batch.available.new_tensor([[True, True, False]]).repeat(len(batch.tiles), 1),
    )

    class Moved(Callback):
        def __init__(self):
            self.before, self.moved = [], []

        def read(self, pl_module):
            return [p.decoder.classifier.weight.clone() for p in (pl_module.network, pl_module.network.incomplete)]

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.before = self.read(pl_module)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            pairs = zip(self.before, self.read(pl_module), strict=True)
            self.moved.append([not torch.equal(a, b) for a, b in pairs])

    own = {"network": MoBaNetSettings(incomplete="own", **NARROW)}
    moved = Moved()
    fitted(own, {"batch_size": 4, "steps_per_epoch": 2}, callbacks=[moved], epochs=2, **STAGES)
    assert moved.moved == [[True, False]] * 2 + [[False, True]] * 2


def test_a_run_made_longer_does_not_warm_up_once_more(fitted, caplog):
    """Half of two epochs is over after one, half of six after three; parts that have parted are not copied anew."""
    own = {"network": MoBaNetSettings(incomplete="own", **NARROW)}
    data, kept = {"batch_size": 4, "steps_per_epoch": 2}, ModelCheckpoint()
    sampled = {"strategy": "uniform", "full_share": 0.5, "warmup_epochs": 0.5}
    fitted(own, data, callbacks=[kept], epochs=2, **sampled)
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")

    class Parted(Callback):
        def __init__(self):
            self.parted = []

        def on_train_batch_start(self, trainer, pl_module, *_):
            own, whole = (
                parts.decoder.classifier.weight for parts in (pl_module.network.incomplete, pl_module.network)
            )
            self.parted.append(not torch.equal(own, whole))

    for epochs in (6, 8):  # from a run that was resumed, too
        parted, path, kept = Parted(), kept.best_model_path, ModelCheckpoint()
        _, watch, _ = fitted(own, data, path, [parted, kept], folder=f"to{epochs}", epochs=epochs, **sampled)
        assert all(p[-1] == 0.5 for p in watch.probabilities)
        assert all(parted.parted)
        assert "which ended before epoch 2: --scenarios.warmup_epochs 0.5 begins no other" in caplog.text
        caplog.clear()


def test_a_second_run_with_the_same_callback_warms_up_again(make_data, make_module, make_trainer):
    """For its own half, although the first, shorter run was over its half after an epoch."""
    sampling = ScenarioSampling(ScenarioSettings(strategy="uniform", warmup_epochs=0.5))
    for epochs in (2, 4):
        data, watch = make_data(steps_per_epoch=1), Watch()
        make_trainer(callbacks=[sampling, watch], max_epochs=epochs).fit(make_module(data), datamodule=data)
        assert [p == FULL for p in watch.probabilities] == [True] * (epochs // 2) + [False] * (epochs // 2)


def test_with_own_parts_whole_batches_are_complete_and_idle_parts_stay_as_they_are(fitted):
    class Parts(Callback):
        def __init__(self):
            self.before, self.moved = [], []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            network = pl_module.network
            self.before = [parts.decoder.classifier.weight.clone() for parts in (network, network.incomplete)]

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            network = pl_module.network
            now = [parts.decoder.classifier.weight for parts in (network, network.incomplete)]
            self.moved.append([not torch.equal(a, b) for a, b in zip(self.before, now, strict=True)])

    own = {"network": MoBaNetSettings(incomplete="own", **NARROW)}
    data, parts = {"batch_size": 4, "steps_per_epoch": 12}, Parts()
    _, watch, _ = fitted(own, data, callbacks=[parts], strategy="uniform", full_share=0.25, epochs=2)
    complete = [bool(available.all()) for available in watch.available]
    assert all(not available.all(1).any() for available in watch.available if not available.all())
    assert abs(sum(complete) - 6) <= 1  # a quarter of 24
    assert parts.moved == [[whole, not whole] for whole in complete]


def test_own_parts_may_begin_with_the_weights_of_a_network_that_has_none(fitted, make_data, make_module):
    sizes, kept = {"decoder_channels": 8, "projection_channels": 16}, ModelCheckpoint()
    whole, _, _ = fitted({"network": MoBaNetSettings(**sizes)}, callbacks=[kept], strategy="full", epochs=1)
    module = make_module(make_data(), network=MoBaNetSettings(incomplete="own", **sizes))
    checkpoint = read_checkpoint(kept.best_model_path)
    module.begin_from(checkpoint)
    weights = module.network.state_dict()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(weights[name], value), name
    for name, value in module.network.incomplete.state_dict().items():
        assert torch.equal(weights[name], value), name
    with pytest.raises(UserError, match=r"--model\.network\.incomplete is own here and shared in the checkpoint"):
        module.check_resumable(checkpoint)


def test_own_parts_that_nothing_would_teach_are_refused(fitted):
    own = {"network": MoBaNetSettings(incomplete="own", **NARROW)}
    with pytest.raises(UserError) as refused:
        fitted(own, strategy="full")
    assert refused.value.told().startswith("--model.network.incomplete is own, and with --scenarios.strategy full")


def test_a_share_of_every_batch_sees_all_and_the_strategy_deals_out_the_rest(fitted):
    data = {"batch_size": 6, "steps_per_epoch": 4}
    _, watch, _ = fitted(strategy="uniform", full_share=0.5, data=data)
    np.testing.assert_allclose(watch.probabilities, [[0.5 / 6] * 6 + [0.5]] * 2, rtol=1e-6)
    assert [int(available.all(1).sum()) for available in watch.available] == [3] * 8
    assert all(len({tuple(row) for row in batch.int().tolist()}) == 4 for batch in watch.available)  # three others
    _, latent, folder = fitted(strategy="latent", full_share=1 / 3, data=data, folder="latent")
    for record, p in zip(read_history(folder / "scenario_scores.jsonl"), latent.probabilities, strict=True):
        rest = np.array(record.probabilities[:-1])  # as measured: what the share makes of them is no measurement
        np.testing.assert_allclose(p, [*(2 / 3 * rest / rest.sum()), 1 / 3], rtol=1e-5)
    assert [int(available.all(1).sum()) for available in latent.available] == [2] * 8


def test_a_warm_up_may_be_a_share_of_the_run(fitted):
    _, watch, _ = fitted(strategy="uniform", full_share=0.5, warmup_epochs=0.5, epochs=4)
    assert [p[-1] for p in watch.probabilities] == [1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(("warmup", "epochs", "said"), [(0.5, 1, True), (2, 2, True), (1, 2, False), (0.5, 2, False)])
def test_a_warm_up_that_leaves_the_strategy_no_epoch_is_said(fitted, caplog, warmup, epochs, said):
    with caplog.at_level("INFO"):
        fitted(strategy="uniform", warmup_epochs=warmup, epochs=epochs)
    sentence = f"--scenarios.warmup_epochs {warmup} takes all of the run ({epochs}), so that the strategy uniform never"
    assert (sentence in caplog.text) == said


def test_a_run_of_shares_resumed_anywhere_ends_with_the_same_weights(fitted, tmp_path):
    settings = {"strategy": "latent", "full_share": 0.4, "warmup_epochs": 0.5}
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole, watched, _ = fitted(callbacks=[keep], **settings)
    for step in (2, 3, 5):
        resumed, watch, _ = fitted(ckpt_path=str(tmp_path / f"step={step}.ckpt"), folder="again", **settings)
        assert_same(weights(whole), weights(resumed))
        assert all(map(torch.equal, watch.available, watched.available[step:]))


def test_masking_falls_into_what_is_available(fitted):
    masking = MaskingSettings(ratio=1.0, min_area=0.2, max_area=0.3)
    _, masked, _ = fitted({"masking": masking}, strategy="uniform", epochs=1)
    _, plain, _ = fitted({"masking": MaskingSettings(ratio=0.0)}, strategy="uniform", epochs=1)
    for a, b in zip(masked.available, plain.available, strict=True):
        assert torch.equal(a, b)
    holes = sum(int((a["dsm"] != b["dsm"]).sum()) for a, b in zip(masked.inputs, plain.inputs, strict=True))
    assert holes > 0


def test_the_refresh_leaves_no_trace(fitted, make_data, make_module, make_trainer):
    class Compare(Callback):
        """Before and after the refresh; Lightning calls callbacks in order."""

        def __init__(self, store):
            self.store = store

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx > 0:
                return
            self.store.append(
                {
                    "state": {n: v.clone() for n, v in pl_module.state_dict().items() if "probabilities" not in n},
                    "modes": [part.training for part in pl_module.modules()],
                    "random": (torch.get_rng_state(), np.random.get_state()[1].copy()),  # noqa: NPY002
                    "position": trainer.datamodule._position(),
                    "gradients": [p.requires_grad for p in pl_module.parameters()],
                }
            )

    before, after = [], []
    seed_everything(42)
    data = make_data()
    module = make_module(data)
    sampling = ScenarioSampling(ScenarioSettings(strategy="latent", num_windows=12))
    make_trainer(callbacks=[Compare(before), sampling, Compare(after)], max_epochs=2).fit(module, datamodule=data)
    assert len(before) == len(after) == 2
    for a, b in zip(before, after, strict=True):
        assert_same(a["state"], b["state"])
        assert a["modes"] == b["modes"]
        assert torch.equal(a["random"][0], b["random"][0])
        assert np.array_equal(a["random"][1], b["random"][1])
        assert (a["position"], a["gradients"]) == (b["position"], b["gradients"])
    assert any(name.endswith("running_mean") for name in before[0]["state"])  # there are statistics to disturb


def test_a_latent_run_trains_like_a_fixed_one_with_the_same_probabilities(fitted):
    latent, _, folder = fitted(strategy="latent", every_n_epochs=None)
    (record,) = read_history(folder / "scenario_scores.jsonl")
    given = dict(zip(record.scenarios, record.probabilities, strict=True))
    fixed, _, _ = fitted(strategy="fixed", probabilities=given, folder="fixed")
    assert_same(weights(latent), weights(fixed))


def test_a_run_resumed_anywhere_ends_with_the_same_weights_and_history(fitted, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole, watch, folder = fitted(strategy="latent", callbacks=[keep])
    history = read_history(folder / "scenario_scores.jsonl")
    assert len(sorted(tmp_path.glob("step=*.ckpt"))) == 6
    saved = read_checkpoint(tmp_path / "step=4.ckpt")["state_dict"]["scenario_probabilities"]
    assert saved.tolist() == watch.probabilities[1]
    for step in (2, 3, 4):  # within the first epoch, at its end, within the second
        other = tmp_path / f"from{step}"
        other.mkdir()
        lines = (folder / "scenario_scores.jsonl").read_text().splitlines()
        (other / "scenario_scores.jsonl").write_text("\n".join(lines) + "\n")  # a killed run has written on
        path = str(tmp_path / f"step={step}.ckpt")
        resumed, again, _ = fitted(strategy="latent", ckpt_path=path, folder=f"from{step}")
        assert_same(weights(whole), weights(resumed))
        records = read_history(other / "scenario_scores.jsonl")
        assert [r.epoch for r in records] == [0, 1]
        assert [r.probabilities for r in records] == [r.probabilities for r in history]
        assert len(again.available) == 6 - step


def test_resuming_with_other_settings_uses_and_says_them(fitted, tmp_path, caplog):
    keep = ModelCheckpoint(tmp_path, filename="last")
    fitted(strategy="latent", callbacks=[keep], epochs=1)
    with caplog.at_level("INFO"):
        _, watch, _ = fitted(strategy="uniform", ckpt_path=str(tmp_path / "last.ckpt"), folder="other")
    assert "resuming with --scenarios.strategy uniform (the checkpoint has latent)" in caplog.text
    assert max(watch.probabilities[-1]) < 0.15


def test_what_is_computed_once_is_computed_when_a_resumed_run_turns_to_it(fitted, tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    once = {"strategy": "latent", "every_n_epochs": None, "epochs": 3}
    fitted(strategy="full", callbacks=[keep], epochs=1)
    _, watch, folder = fitted(ckpt_path=str(tmp_path / "epoch=0.ckpt"), callbacks=[keep], folder="once", **once)
    assert watch.probabilities[0] == watch.probabilities[1] != FULL
    assert [r.epoch for r in read_history(folder / "scenario_scores.jsonl")] == [1]
    # and not again when that run is resumed
    _, again, folder = fitted(ckpt_path=str(tmp_path / "epoch=1.ckpt"), folder="once", **once)
    assert again.probabilities == watch.probabilities[1:]
    assert [r.epoch for r in read_history(folder / "scenario_scores.jsonl")] == [1]


def test_another_run_into_the_same_folder_leaves_no_history_behind(fitted):
    _, _, folder = fitted(strategy="latent")
    assert (folder / "scenario_scores.jsonl").is_file()
    fitted(strategy="latent", epochs=1)
    assert [r.epoch for r in read_history(folder / "scenario_scores.jsonl")] == [0]
    fitted(strategy="uniform")
    assert not (folder / "scenario_scores.jsonl").exists()


def test_a_diverged_model_is_told_of(fitted):
    class Diverge(Callback):
        def on_fit_start(self, trainer, pl_module):
            with torch.no_grad():
                next(p for n, p in pl_module.network.named_parameters() if "pyramid" in n).fill_(float("nan"))

    with pytest.raises(UserError, match="training has diverged"):
        fitted(strategy="latent", callbacks=[Diverge()])


def test_bandwidth_median_and_auto_are_taken(fitted):
    _, _, folder = fitted(strategy="latent", bandwidth="median", tau=2.0, num_windows="auto", epochs=1)
    (record,) = read_history(folder / "scenario_scores.jsonl")
    expected = score_scenarios(np.array(record.distortion), sigma="median", tau=2.0)
    np.testing.assert_allclose(record.probabilities, expected.probabilities, rtol=1e-12)
    line = json.loads((folder / "scenario_scores.jsonl").read_text())
    assert (line["settings"]["bandwidth"], line["settings"]["tau"]) == ("median", 2.0)


def test_a_learned_token_trains_where_something_is_missing(fitted):
    module, _, _ = fitted({"network": MoBaNetSettings(missing="token", **NARROW)}, strategy="uniform", epochs=1)
    tokens = {name: p for name, p in module.network.named_parameters() if "missing" in name or "token_" in name}
    assert len(tokens) == 3
    assert all(float(p.detach().abs().max()) > 0 for p in tokens.values())


def test_one_modality_has_one_scenario(fitted):
    module, watch, folder = fitted(strategy="latent", data={"modalities": ["rgb"]}, epochs=1)
    assert watch.probabilities == [[1.0]]
    assert [s.name for s in module.scenarios] == ["rgb"]
    assert read_history(folder / "scenario_scores.jsonl")[0].distortion == (0.0,)
