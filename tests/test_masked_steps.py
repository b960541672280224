"""What a training step masks and leaves out: scenarios come first; every draw is one of its epoch, step and rank."""

from itertools import pairwise

import pytest
import torch

from mobanet.data.datamodule import RasterDataModule
from mobanet.models.inputs import ModelBatch
from mobanet.scenarios.masking import MaskingSettings

BATCH = 24
SIZE = 16
OPTICAL, ELEVATION = ("rgb", "ir"), ("dsm",)


def batch(valid=None, available=None):
    """Inputs of ones, so that every zero is a block."""
    inputs = {name: torch.ones(BATCH, bands, SIZE, SIZE) for name, bands in (("rgb", 3), ("ir", 1), ("dsm", 1))}
    available = torch.ones(BATCH, 3, dtype=torch.bool) if available is None else available
    label = torch.randint(0, 6, (BATCH, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(BATCH, 4, dtype=torch.long)
    return ModelBatch(inputs, available, label, ["2_10"] * BATCH, nothing[:, :2], nothing, valid or {})


@pytest.fixture
def module(make_module):
    return make_module(RasterDataModule("nowhere", modalities=["rgb", "ir", "dsm"]))


def holes(module, step, given=None):
    """Available modalities (B, M), and by modality (B, H, W), where a step's inputs are zero."""
    given = given or batch()
    available = module._drawn(given, step)
    masked = module._masked(given, available, step)
    return available, {name: x[:, 0] == 0 for name, x in masked.items()}


def test_every_draw_is_one_of_its_epoch_step_and_rank(module, make_trainer):
    module.scenario_probabilities.fill_(1 / 7)
    drawn = {}
    module.trainer = make_trainer()
    for rank in (0, 3):
        module.trainer.strategy.global_rank = rank
        assert module.global_rank == rank
        for epoch in (0, 1):
            module.trainer.fit_loop.epoch_progress.current.completed = epoch
            assert module.current_epoch == epoch
            for step in (0, 1, 2):
                available, zeros = holes(module, step)
                again, same = holes(module, step)
                assert torch.equal(available, again)
                assert all(torch.equal(zeros[name], same[name]) for name in zeros)
                drawn[rank, epoch, step] = available, torch.stack(list(zeros.values()))
    places = list(drawn)
    for first, second in ((a, b) for k, a in enumerate(places) for b in places[k + 1 :]):
        (one, blocks), (other, others) = drawn[first], drawn[second]
        assert not torch.equal(one, other), (first, second)
        assert not torch.equal(blocks, others), (first, second)


def test_complete_samples_lose_three_and_three_blocks_of_twenty_four(module):
    for step in range(5):
        _, zeros = holes(module, step)
        taken = {name: x.flatten(1).any(1) for name, x in zeros.items()}
        assert torch.equal(zeros["rgb"], zeros["ir"])
        assert (taken["rgb"].sum(), taken["dsm"].sum()) == (3, 3)
        assert not (taken["rgb"] & taken["dsm"]).any()


def test_no_block_falls_on_what_a_scenario_lacks_or_takes_the_only_stream_it_leaves(module):
    module.scenario_probabilities.fill_(1 / 7)
    pool, counts = 0, torch.zeros(2)
    for step in range(40):
        available, zeros = holes(module, step)
        has = torch.stack([available[:, :2].any(1), available[:, 2]], 1)
        taken = torch.stack([zeros["rgb"].flatten(1).any(1), zeros["dsm"].flatten(1).any(1)], 1)
        assert not (taken & ~has).any()
        assert not (taken & ~has.flip(1)).any()
        pool += int(has.all(1).sum())
        counts += taken.sum(0)
    assert pool > 300  # three of seven scenarios have both streams
    assert counts.tolist() == pytest.approx([pool / 8] * 2, abs=8)


def test_a_pixel_that_one_stream_alone_has_is_never_taken(module):
    module.masking = MaskingSettings(ratio=1.0)
    measured = torch.ones(BATCH, SIZE, SIZE, dtype=torch.uint8)
    measured[:, :, : SIZE // 2] = 0
    _, zeros = holes(module, 0, batch({"dsm": measured}))
    for name in (*OPTICAL, *ELEVATION):
        assert not zeros[name][:, :, : SIZE // 2].any()
        assert zeros[name][:, :, SIZE // 2 :].any()


def test_the_only_stream_of_the_data_is_never_taken(make_module):
    module = make_module(RasterDataModule("nowhere", modalities=["rgb", "ir"]), masking=MaskingSettings(ratio=1.0))
    given = batch()
    inputs = {name: given.inputs[name] for name in OPTICAL}
    given = ModelBatch(inputs, given.available[:, :2], given.label, given.tiles, given.extents, given.windows)
    assert not any(x.any() for x in holes(module, 0, given)[1].values())


def test_auxiliary_losses_leave_out_samples_that_lack_the_stream(module, monkeypatch):
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.__setitem__(name, float(value)))
    available = torch.ones(BATCH, 3, dtype=torch.bool)
    available[:, 2] = False
    module.training_step(batch(available=available), 0).backward()
    assert logged["train/auxiliary_elevation"] == 0
    assert logged["train/auxiliary_optical"] > 0
    gradients = [p.grad for p in module.network.heads.parameters()]
    assert all(g is not None for g in gradients)  # attached: under DDP every parameter needs one
    losses = []
    for rows in (slice(0, 6), slice(6, None)):
        available = torch.ones(BATCH, 3, dtype=torch.bool)
        available[rows, 2] = False
        module.training_step(batch(available=available), 0)
        losses.append(logged["train/auxiliary_elevation"])
    assert all(a != b for a, b in pairwise((0, *losses)))
