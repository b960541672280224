"""MCRM: the authors' draws at their batch size, fair shares at any other, and never the only stream of a pixel."""

import math

import pytest
import torch

from mobanet.errors import SettingError
from mobanet.models.draws import rounding
from mobanet.scenarios.masking import (
    MaskingSettings,
    _rectangle,
    draw_masks,
    mask_streams,
    share_out,
    spare_pixels,
)
from mobanet.scenarios.sampling import draw_availability
from mobanet.scenarios.scenario import scenario_masks, scenarios_of

STREAMS = {"optical": ["rgb", "ir"], "elevation": ["dsm"]}
ORDER = ["rgb", "ir", "dsm"]


def masks(seed=0, batch=24, at=0.5, spare=None, height=100, width=120, streams=2, **settings):
    spare = torch.ones(batch, streams, 1, 1, dtype=torch.bool) if spare is None else spare
    generator = torch.Generator().manual_seed(seed)
    return draw_masks(spare, height, width, MaskingSettings(**settings), generator, at)


def lost(able, at=0.5, ratio=0.25, seed=0):
    order = torch.randperm(len(able), generator=torch.Generator().manual_seed(seed))
    return share_out(able, order, ratio, at).lost


def complete(batch, streams=2):
    return torch.ones(batch, streams, dtype=torch.bool)


def authors_draws(batch, height, width, settings, generator):
    """What the authors' code draws: int(B ratio) samples, the first half of them optical."""
    chosen = torch.randperm(batch, generator=generator)[: int(batch * settings.ratio)].tolist()
    expected = torch.zeros(batch, 2, height, width, dtype=torch.bool)
    for place, sample in enumerate(chosen):
        for _ in range(settings.blocks):
            top, left, bottom, right = _rectangle(height, width, settings, generator)
            expected[sample, int(place >= len(chosen) // 2), top:bottom, left:right] = True
    return expected


@pytest.mark.parametrize(("batch", "blocks"), [(24, 1), (8, 1), (48, 2)])
def test_whole_shares_are_the_authors_draws_wherever_the_rounding_falls(batch, blocks):
    settings = MaskingSettings(blocks=blocks)
    for seed, at in enumerate((0.0, 0.3, 1 - 2**-24)):
        expected = authors_draws(batch, 100, 120, settings, torch.Generator().manual_seed(seed))
        assert torch.equal(masks(seed, batch, at, blocks=blocks), expected)
        assert expected.flatten(2).any(2).sum(0).tolist() == [batch // 8] * 2


@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize(("ratio", "parts"), [(0.25, 4), (0.4, 5), (1.0, 1)])
def test_every_stream_has_its_exact_share_at_any_batch_size(streams, ratio, parts):
    places = parts * streams  # all values at which a rounding changes lie between two of these
    for batch in range(1, 26):
        able = complete(batch, streams)
        counts = torch.stack([lost(able, (k + 0.5) / places, ratio).sum(0) for k in range(places)])
        share = batch * ratio / streams
        assert counts.double().mean(0).tolist() == pytest.approx([share] * streams, abs=1e-12)
        assert math.floor(share) <= counts.min() <= counts.max() <= math.ceil(share - 1e-9)
        total = counts.sum(1)
        assert math.floor(batch * ratio + 1e-9) <= total.min() <= total.max() <= math.ceil(batch * ratio - 1e-9)


def test_over_a_thousand_steps_no_stream_is_off_by_more_than_a_few():
    for batch in range(1, 26):
        values = [rounding(batch, step) for step in range(1000)]
        for streams in (1, 2, 3):
            bounds = torch.arange(streams + 1, dtype=torch.float64) * batch * 0.25 / streams
            counts = torch.floor(bounds + torch.tensor(values, dtype=torch.float64)[:, None]).diff(dim=1).long()
            off = counts.sum(0) - 1000 * batch * 0.25 / streams
            assert off.abs().max() <= 3  # of independent roundings: up to 30 and more
            for step in (0, 999):
                assert torch.equal(lost(complete(batch, streams), values[step]).sum(0), counts[step])


def test_roundings_are_uniform_and_differ_by_seed_and_step():
    values = torch.tensor([[rounding(seed, step) for step in range(50)] for seed in range(50)])
    assert len(values.flatten().unique()) > 2490  # float32
    assert values.min() >= 0
    assert values.max() <= 1
    for part in (values, values[:, 0], values[:, 49]):
        assert part.mean() == pytest.approx(0.5, abs=0.12)


def test_every_sample_is_taken_alike_and_none_in_two_streams():
    taken = torch.stack([lost(complete(5), rounding(0, seed), 0.5, seed) for seed in range(1000)])
    assert taken.sum(2).max() == 1
    # a quarter each, and a standard error of 0.014
    assert taken.float().mean(0).flatten().tolist() == pytest.approx([0.25] * 10, abs=0.05)


def test_blocks_keep_area_and_aspect():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([_rectangle(100, 120, MaskingSettings(), generator) for _ in range(360)])
    top, left, bottom, right = drawn.unbind(1)
    areas, aspects = (bottom - top) * (right - left) / 12000, (right - left) / (bottom - top)
    assert 0.095 < areas.min() < 0.12
    assert 0.28 < areas.max() < 0.305
    assert 0.45 < aspects.min() < 0.6
    assert 1.8 < aspects.max() < 2.1
    assert bool(((top >= 0) & (bottom <= 100) & (left >= 0) & (right <= 120)).all())


def test_masking_zeroes_every_modality_of_the_stream_and_leaves_the_input_alone():
    drawn = masks(1, batch=8)
    assert drawn.flatten(2).any(2).sum(0).tolist() == [1, 1]
    inputs = {name: torch.ones(8, c, 100, 120) for name, c in (("rgb", 3), ("ir", 1), ("dsm", 1))}
    masked = mask_streams(inputs, drawn, STREAMS)
    assert all((x == 1).all() for x in inputs.values())
    for stream, members in enumerate(STREAMS.values()):
        for name in members:
            assert torch.equal(masked[name] == 0, drawn[:, stream, None].expand_as(masked[name]))


def test_same_generator_state_same_blocks():
    assert torch.equal(masks(5), masks(5))
    assert not torch.equal(masks(5), masks(6))


def test_only_what_another_stream_has_too_may_be_taken():
    available = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()
    spare = spare_pixels(available, {}, STREAMS, ORDER)
    assert spare.flatten(1).int().tolist() == [[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]]
    three = spare_pixels(available, {}, {name: [name] for name in ORDER}, ORDER)
    assert three.flatten(1).int().tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert not spare_pixels(available, {}, {"all": ORDER}, ORDER).any()


def test_pixels_of_holes_are_not_spare():
    valid = {"rgb": torch.ones(1, 2, 4, dtype=torch.uint8), "dsm": torch.ones(1, 2, 4, dtype=torch.uint8)}
    valid["rgb"][..., 0], valid["dsm"][..., 3] = 0, 0
    available = torch.ones(1, 3, dtype=torch.bool)
    columns = lambda spare: spare.any(2).int().tolist()  # noqa: E731
    assert columns(spare_pixels(available, valid, STREAMS, ORDER)) == [[[1, 1, 1, 0]] * 2]  # ir has what rgb lacks
    two = spare_pixels(available[:, [0, 2]], valid, {"optical": ["rgb"], "elevation": ["dsm"]}, ["rgb", "dsm"])
    assert columns(two) == [[[0, 1, 1, 0]] * 2]


@pytest.mark.parametrize("streams", [2, 3])
def test_of_samples_that_lack_streams_the_others_have_their_exact_shares(streams):
    generator = torch.Generator().manual_seed(streams)
    names = [str(k) for k in range(streams)]
    for batch in (1, 2, 3, 6, 24):
        available = torch.rand(batch, streams, generator=generator) < 0.6
        able = spare_pixels(available, {}, {name: [name] for name in names}, names).flatten(1)
        share = (able * (0.25 / able.sum(1, keepdim=True).clamp(min=1))).sum(0)
        counts = torch.stack([lost(able, (k + 0.5) / 24) for k in range(24)])
        assert not (counts & ~able).any()
        torch.testing.assert_close(counts.sum(1).float().mean(0), share, atol=1e-6, rtol=0)


@pytest.mark.parametrize("streams", [2, 3])
def test_masks_keep_to_spare_pixels_and_take_one_stream_of_a_sample(streams):
    generator = torch.Generator().manual_seed(streams)
    names = [str(k) for k in range(streams)]
    available = torch.rand(24, streams, generator=generator) < 0.8
    valid = {name: (torch.rand(24, 1, 30, generator=generator) < 0.8).expand(-1, 30, -1) for name in names}
    spare = spare_pixels(available, valid, {name: [name] for name in names}, names)
    for seed in range(10):
        drawn = masks(seed, spare=spare, height=30, width=30, ratio=1.0, at=seed / 10)
        assert drawn.any()
        assert not (drawn & ~spare).any()
        assert drawn.flatten(2).any(2).sum(1).max() == 1


def test_a_batch_without_a_spare_pixel_loses_nothing():
    spare = torch.zeros(4, 2, 1, 1, dtype=torch.bool)
    assert not masks(batch=4, spare=spare, ratio=1.0).any()
    assert masks(batch=4, spare=spare, ratio=1.0).shape == (4, 2, 100, 120)


def test_no_draw_asks_the_device_for_a_value():
    """A meta tensor has none: what would wait for a GPU fails on it."""
    available = torch.ones(24, 3, dtype=torch.bool, device="meta")
    probabilities = torch.ones(7, device="meta")
    generator = torch.Generator().manual_seed(0)
    left = draw_availability(probabilities, scenario_masks(scenarios_of(ORDER)).to("meta"), available, generator)
    valid = {"dsm": torch.ones(24, 100, 120, dtype=torch.uint8, device="meta")}
    drawn = masks(spare=spare_pixels(left, valid, STREAMS, ORDER))
    masked = mask_streams({name: torch.ones(24, 1, 100, 120, device="meta") for name in ORDER}, drawn, STREAMS)
    assert masked["dsm"].shape == (24, 1, 100, 120)
    assert masked["dsm"].is_meta


@pytest.mark.parametrize(
    "wrong", [{"ratio": 1.5}, {"min_area": 0.5, "max_area": 0.2}, {"min_aspect": 0}, {"blocks": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(SettingError) as refused:
        MaskingSettings(**wrong)
    assert refused.value.told().startswith(f"--model.masking.{next(iter(wrong))} ")
