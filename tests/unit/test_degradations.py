"""A degraded pixel is the same in every window that sees it, and what each kind does is what its name says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobanet.data.options import EvaluationSettings
from mobanet.errors import UserError
from mobanet.evaluation.degradations import (
    DEGRADATIONS,
    SensorWindows,
    block_side,
    chosen_degradations,
)
from mobanet.models.base import Standardization
from mobanet.rasters.blocks import summarise
from mobanet.rasters.contents import Modality
from mobanet.rasters.ground import Ground
from mobanet.runs.degraded_test import degraded_batch, sensor_windows, variants_of
from mobanet.store.arrays import read_array
from mobanet.training.inputs import model_batch

RGB, DSM = Modality("rgb", ("red", "green", "blue")), Modality("dsm", ("elevation",), "elevation", "metre")
SAR = Modality("sar", ("VV", "VH"), "other")


def loaded(make_data, make_module, margin, window=64, stride=64, batch_size=4, **options):
    """Batches of the test tiles with a margin, as stored and as a model takes them, and the model."""
    settings = EvaluationSettings(window=window, test_stride=stride, batch_size=batch_size)
    data = make_data(evaluation=settings, allow_missing=True, **options)
    data.prepare_data()
    data.setup("test")
    module = make_module(data)
    for stored in data.wide_test_dataloader(margin):
        yield module, stored, model_batch(stored, module.network.standardization)


def painted(make_data, make_module, degradation, variant, seed=1, **options):
    """The whole test tile of a degraded sensor, put together from windows that must agree where they overlap."""
    tiles = {}
    for module, stored, batch in loaded(make_data, make_module, degradation.margin, **options):
        changed = degraded_batch(batch, stored, module, variant, degradation.margin, seed)
        name = variant.modality.name
        for i, tile in enumerate(changed.tiles):
            top, left, height, width = changed.windows[i].tolist()
            extent = changed.extents[i].tolist()
            values, seen = tiles.setdefault(tile, (torch.full((changed.inputs[name].shape[1] + 1, *extent), -9e9), []))
            both = torch.cat([changed.inputs[name][i], changed.valid[name][i][None].float()])
            both = both[:, : extent[0] - top, : extent[1] - left]
            place = values[:, top : top + height, left : left + width]
            before = place != -9e9
            assert torch.equal(place[before], both[before]), "windows disagree about a pixel"
            seen.append(bool(before.any()))
            place[:] = both
        others = [other for other in changed.inputs if other != name]
        m = degradation.margin
        for other in others:
            inner = batch.inputs[other][..., m : m + height, m : m + width]
            assert torch.equal(changed.inputs[other], inner), "another sensor was touched"
    return {tile: values for tile, (values, _) in tiles.items()}, any(any(seen) for _, seen in tiles.values())


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_pixel_is_degraded_alike_in_every_window(name, make_data, make_module):
    degradation = DEGRADATIONS[name]
    modality = DSM if degradation.kinds == ("elevation",) else RGB
    variant = next(v for v in variants_of(degradation, [modality]) if v.severity == degradation.severities[1])
    one, overlapping = painted(make_data, make_module, degradation, variant, window=64, stride=24, batch_size=5)
    assert overlapping
    other, _ = painted(make_data, make_module, degradation, variant, window=48, stride=48, batch_size=1)
    large, _ = painted(make_data, make_module, degradation, variant, window=192, stride=96)  # beyond the tile
    assert one.keys() == other.keys() == large.keys()
    for tile, values in one.items():
        assert (values != -9e9).all()
        assert torch.equal(values, other[tile])
        assert torch.equal(values, large[tile])
    again, _ = painted(make_data, make_module, degradation, variant, seed=2)
    drawn = name in ("blocks", "pixels", "gaussian", "salt_and_pepper")
    if drawn:
        assert all(not torch.equal(values, again[tile]) for tile, values in one.items())


def windows(
    modality=RGB, scaling="unit", values=None, size=(64, 64), margin=0, tiles=("a",), extent=None, standard=None, seed=0
):
    """Windows at the upper left of tiles of their own size."""
    shape = (len(tiles), len(modality.bands), size[0] + 2 * margin, size[1] + 2 * margin)
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0)) if values is None else values
    bands = len(modality.bands)
    return SensorWindows(
        modality,
        scaling,
        standard,
        values,
        torch.ones(shape[0], *shape[2:], dtype=torch.bool),
        margin,
        tiles,
        [(0, 0)] * len(tiles),
        [extent or size] * len(tiles),
        torch.tensor([[0.0] * bands, [255.0] * bands]).expand(len(tiles), 2, bands),
        torch.tensor([[10.0] * bands, [250.0] * bands, [200.0] * bands]).expand(len(tiles), 3, bands),
        seed,
    )


def applied(name, given, severity):
    return DEGRADATIONS[name].apply(given, severity)


@pytest.mark.parametrize("name", ["blocks", "pixels"])
@pytest.mark.parametrize("extent", [(160, 160), (600, 410), (96, 1000)])
def test_so_many_pixels_are_missing_as_is_said_and_more_of_the_same_at_a_stronger_severity(name, extent):
    given, before = windows(size=extent), None
    for share in DEGRADATIONS[name].severities:
        values, valid = applied(name, given, share)
        assert float((~valid).float().mean()) == pytest.approx(share, abs=0.02)
        assert (values[:, :, ~valid[0]] == 0).all()
        assert torch.equal(values[:, :, valid[0]], given.values[:, :, valid[0]])
        assert before is None or not (valid & ~before).any()
        before = valid


def test_blocks_are_squares_on_the_tiles_own_lattice_and_others_in_another_tile_or_sensor():
    side = block_side((400, 400))
    assert side == 50
    assert (block_side((6000, 6000)), block_side((40, 400))) == (64, 8)
    _, valid = applied("blocks", windows(size=(400, 400), tiles=("a", "b")), 0.5)
    blocks = valid.view(2, 8, side, 8, side).float().mean((2, 4))
    assert set(blocks.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(blocks[0], blocks[1])
    sensor = applied("blocks", windows(DSM, size=(400, 400)), 0.5)[1]
    assert not torch.equal(sensor[0], valid[0])


def test_noise_is_normal_independent_and_only_where_something_was_measured():
    given = windows(size=(256, 256))
    given.valid[:, :100] = False
    given.values[:, :, :100] = 0
    values, valid = applied("gaussian", given, 0.2)
    assert torch.equal(valid, given.valid)
    assert (values[:, :, :100] == 0).all()
    noise = (values - given.values)[0, :, 100:] / 0.2
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert float((noise.abs() > 1.959964).float().mean()) == pytest.approx(0.05, abs=0.003)
    rows = torch.corrcoef(torch.stack([noise[0].flatten(), noise[1].flatten(), noise[0].roll(1, 0).flatten()]))
    columns = torch.corrcoef(torch.stack([noise[0].flatten(), noise[0].roll(1, 1).flatten()]))
    assert float((rows - torch.eye(3)).abs().max()) < 0.015
    assert float(columns[0, 1].abs()) < 0.015
    stronger = applied("gaussian", given, 0.4)[0] - given.values
    torch.testing.assert_close(stronger, 2 * (values - given.values), atol=1e-5, rtol=0)


def test_salt_and_pepper_are_the_extremes_of_the_tile_as_the_network_sees_them():
    standard = Standardization((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    given = windows(size=(200, 200), standard=standard)
    values, valid = applied("salt_and_pepper", given, 0.1)
    assert valid.all()
    changed = (values != given.values).all(1)
    assert float(changed.float().mean()) == pytest.approx(0.1, abs=0.005)
    for mark, share in ((10, 0.05), (250, 0.05)):
        expected = (mark / 255 - torch.tensor(standard.mean)) / torch.tensor(standard.std)
        there = torch.isclose(values, expected[:, None, None]).all(1)
        assert float(there.float().mean()) == pytest.approx(share, abs=0.005)


def prepared(stored, scaling, modality, standard=None):
    """What preparing and scaling make of stored values (B, C, H, W): values, and what they are scaled by."""
    median, low, high = stored.flatten(2).median(2)[0], stored.flatten(2).amin(2), stored.flatten(2).amax(2)
    offset, scale = torch.full_like(median, 12.0), torch.full_like(median, 7.0)
    offset, scale = {"robust": (median, scale), "minmax": (low, high - low)}.get(scaling, (offset, scale))
    mean, std = (0.0, 1.0)
    if standard:
        mean, std = (torch.tensor(x)[:, None, None] for x in (standard.mean, standard.std))
    values = ((stored - offset[..., None, None]) / scale[..., None, None] - mean) / std
    return values, torch.stack([offset, scale], 1)


@pytest.mark.parametrize("scaling", ["unit", "standard", "robust", "minmax"])
@pytest.mark.parametrize(
    ("name", "severity", "modality"), [("haze", 0.4, RGB), ("offset", 5.0, DSM), ("scale", 1.5, DSM)]
)
def test_another_delivery_is_what_preparing_and_scaling_it_gives(scaling, name, severity, modality):
    stored = 40 + 9 * torch.randn(2, len(modality.bands), 33, 33, generator=torch.Generator().manual_seed(4))
    standard = Standardization((0.5, 0.4, 0.3), (0.2, 0.3, 0.2)) if modality is RGB else None
    values, offset_scale = prepared(stored, scaling, modality, standard)
    given = windows(modality, scaling, values, size=(33, 33), tiles=("a", "b"), standard=standard)
    delivered = {"haze": 0.6 * stored + 0.4 * 200, "offset": stored + 5, "scale": 1.5 * stored}[name]
    expected, _ = prepared(delivered, scaling, modality, standard)
    got, valid = applied(name, replace(given, offset_scale=offset_scale), severity)
    assert valid.all()
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
    cancelled = (name == "offset" and scaling in ("robust", "minmax")) or scaling == "minmax"
    assert torch.equal(got, values) == cancelled


def test_slopes_of_an_elevation_modality_are_no_heights():
    topo = replace(DSM, bands=("elevation", "slope"))
    given = windows(topo, "standard")
    for name in ("offset", "scale"):
        got, _ = applied(name, given, 3.0)
        assert not torch.equal(got[:, 0], given.values[:, 0])
        assert torch.equal(got[:, 1], given.values[:, 1])


def test_a_vertical_offset_cancels_above_the_ground_to_the_last_bit_and_a_scale_error_does_not(make_data, make_module):
    for module, stored, batch in loaded(make_data, make_module, 0):
        assert module.data.scaling["dsm"] == "ground"
        given = sensor_windows(batch, stored, module, module.data.modalities[2], 0, 0)
        assert torch.equal(applied("offset", given, 45.0)[0], given.values)
        assert torch.equal(applied("scale", given, 2.0)[0], 2 * given.values)


def test_a_ground_that_is_fitted_anew_to_a_faulty_surface_gives_what_is_worked_out(make_data, make_module):
    module, stored, batch = next(loaded(make_data, make_module, 0, window=160, stride=160, batch_size=1))
    data = make_data()
    data.prepare_data()
    data.setup("test")
    (tile,) = data.tiles("test")
    surface = read_array(tile, "dsm", slice(0, tile.height), slice(0, tile.width)).astype(np.float32)
    given = sensor_windows(batch, stored, module, module.data.modalities[2], 0, 0)
    radius = int(data._learnt["dsm"][2, 0])
    for name, severity, faulty in (("offset", 5.0, surface + 5), ("scale", 1.5, surface * np.float32(1.5))):
        blocks = summarise(lambda faulty=faulty: iter([(faulty, None)]), *faulty.shape[:2], tile.origin_of("dsm"))
        ground = Ground.fitted(blocks, faulty.shape[:2], tile.origin_of("dsm"), radius)
        heights = torch.from_numpy(ground.heights(faulty, None, 0, 0)).permute(2, 0, 1)
        expected = heights / given.offset_scale[0, 1][:, None, None]
        torch.testing.assert_close(applied(name, given, severity)[0][0], expected, atol=1e-3, rtol=1e-3)


def test_blur_leaves_out_what_was_not_measured_and_keeps_the_level():
    given = windows(size=(40, 40), margin=12)
    flat = replace(given, values=torch.full_like(given.values, 3.0))
    flat.valid[:, 20:30, 20:30] = False
    flat.values[:, :, 20:30, 20:30] = 0
    values, valid = applied("blur", flat, 2.0)
    own = flat.own()[1]
    assert torch.equal(valid, own)
    assert (values[:, :, ~own[0]] == 0).all()
    torch.testing.assert_close(values[:, :, own[0]], torch.full_like(values[:, :, own[0]], 3.0))
    point = torch.zeros_like(given.values)
    point[:, :, 32, 32] = 1
    sharp = windows(values=point, size=(40, 40), margin=12)
    spread, _ = applied("blur", sharp, 2.0)
    at = torch.arange(40.0) - 20
    assert float(spread[0, 0].sum()) == pytest.approx(1, abs=1e-5)
    assert float((spread[0, 0].sum(1) * at**2).sum()) ** 0.5 == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("severity", [1.0, 4.0, 16.0])
def test_a_sensor_lies_so_many_pixels_beside_and_nothing_comes_in_at_the_rim(severity):
    k, size, ways = int(severity), 48, set()
    for seed in range(40):
        given = windows(size=(size, size), margin=16, seed=seed)
        rim = torch.zeros_like(given.valid)
        rim[:, 16:-16, 16:-16] = True
        values, valid = applied("misregistration", replace(given, valid=rim), severity)
        lost = ~valid[0]
        down = -k if lost[:k].all() else k if lost[-k:].all() else 0
        right = -k if lost[:, :k].all() else k if lost[:, -k:].all() else 0
        assert int(lost.sum()) == size * size - (size - abs(down)) * (size - abs(right)) > 0
        shifted = given.values[:, :, 16 + down : 64 + down, 16 + right : 64 + right]
        assert torch.equal(values, shifted)
        ways.add((down // k, right // k))
    assert len(ways) == 8


def test_a_window_without_anything_left_of_a_sensor_is_predicted_without_it(make_data, make_module):
    degradation = DEGRADATIONS["blocks"]
    variant = next(v for v in variants_of(degradation, [DSM]) if v.severity == 0.75)
    lost = 0
    for module, stored, batch in loaded(make_data, make_module, 0, window=16, stride=16, batch_size=8):
        changed = degraded_batch(batch, stored, module, variant, 0, 0)
        left = changed.valid["dsm"].flatten(1).any(1)
        assert torch.equal(changed.available[:, 2], left & batch.available[:, 2])
        assert torch.equal(changed.available[:, :2], batch.available[:, :2])
        assert torch.equal(changed.label, batch.label)
        lost += int((~left).sum())
    assert lost > 0


def test_all_takes_what_applies_and_names_take_their_usual_order():
    names = [each.name for each in chosen_degradations("all", [RGB, SAR])]
    assert names == [name for name in DEGRADATIONS if name not in ("offset", "scale")]
    assert [each.name for each in chosen_degradations("haze, blocks", [RGB, DSM])] == ["blocks", "haze"]
    assert len(variants_of(DEGRADATIONS["haze"], [RGB, SAR, DSM])) == 3
    assert len(variants_of(DEGRADATIONS["blocks"], [RGB, SAR, DSM])) == 9


@pytest.mark.parametrize(
    ("given", "modalities", "sentence"),
    [
        ("fog", [RGB, DSM], "--degrade names fog, which is no degradation; choose from blocks, pixels, gaussian, "),
        ("blokcs,haze", [RGB, DSM], "--degrade names blokcs, which is no degradation (did you mean blocks?); choose"),
        ("", [RGB, DSM], "--degrade names nothing, which is no degradation; choose from"),
        ("all", [RGB], "--degrade degrades one sensor while the others are as they were, and this model has rgb alone"),
        ("offset", [RGB, SAR], "--degrade offset is for modalities of the kind elevation, and this model has rgb (opt"),
        ("all,haze", [DSM, SAR], "--degrade haze is for modalities of the kind optical, and this model has dsm (eleva"),
    ],
)
def test_what_cannot_be_degraded_is_said(given, modalities, sentence):
    with pytest.raises(UserError) as error:
        chosen_degradations(given, modalities)
    assert str(error.value).startswith(sentence)
