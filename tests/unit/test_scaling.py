import pickle

import numpy as np
import pytest
import torch

from mobanet.data.reading import TileWindow
from mobanet.data.scaling import learn, offset_scale
from mobanet.datasets.scalings import default_scaling
from mobanet.errors import UserError
from mobanet.models.base import Standardization
from mobanet.rasters.contents import Modality
from mobanet.rasters.statistics import BandStatistics
from mobanet.store.elevation import Grounds
from mobanet.store.stored import ModalityRecord, StoredTile
from mobanet.training.inputs import model_batch

DSM = Modality("dsm", ("height",), "elevation", "metre")
RGB = Modality("rgb", ("r", "g", "b"))


def tile(values, name="dsm"):
    values = np.asarray(values, float)
    low, median, high = np.percentile(values, (2, 50, 98))
    band = BandStatistics(values.size, values.mean(), values.std(), values.min(), values.max(), low, median, high)
    record = ModalityRecord(1, "float32", True, 1.0, (band,), "", "")
    return StoredTile("t", None, 1, 1, name, {name: record}, {}, None, None, ())


def scaled(values, scaling, training):
    offset, scale = offset_scale(DSM, scaling, learn(DSM, scaling, training), [tile(values)])[0, :, 0]
    return (np.asarray(values) - offset) / scale


def test_minmax_is_each_tiles_own_and_a_constant_tile_is_zero():
    assert scaled([30.0, 40.0, 50.0], "minmax", []) == pytest.approx([0, 0.5, 1])
    assert scaled([30.0, 30.0], "minmax", []) == pytest.approx([0, 0])


def test_robust_forgets_absolute_height_and_keeps_the_metre():
    flat, steep = np.linspace(30, 40, 101), np.linspace(200, 260, 101)
    training = [tile(flat), tile(flat + 70), tile(steep)]
    low, high = scaled(flat, "robust", training), scaled(flat + 500, "robust", training)
    assert low == pytest.approx(high, abs=1e-4)
    assert np.ptp(scaled(steep, "robust", training)) / np.ptp(low) == pytest.approx(6, rel=1e-4)
    spiked = flat.copy()
    spiked[0] = 9000
    assert scaled(spiked, "robust", training)[50] == pytest.approx(low[50], abs=0.05)


def test_standard_pools_pixels_of_all_tiles():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    together = np.concatenate([a, b])
    offset, scale = learn(DSM, "standard", [tile(a), tile(b)])[:, 0]
    assert offset == pytest.approx(together.mean())
    assert scale == pytest.approx(together.std())


def test_unit_divides_by_the_full_range():
    assert offset_scale(RGB, "unit", learn(RGB, "unit", []), [tile([1.0])])[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert [default_scaling(m) for m in (RGB, DSM)] == ["unit", "ground"]


def test_nothing_to_learn_from_is_said():
    with pytest.raises(UserError, match="no training tile has the modality dsm"):
        learn(DSM, "robust", [tile([1.0], "rgb")])


def test_batch_is_scaled_standardised_and_zero_where_not_measured():
    raw = torch.full((2, 3, 4, 4), 128, dtype=torch.uint8)
    dsm = torch.full((2, 1, 4, 4), 35.0)
    dsm[0, 0, 0, 0] = float("nan")
    valid = torch.ones(2, 4, 4, dtype=torch.uint8)
    valid[0, 0, 0] = 0
    batch = {
        "inputs": {"rgb": raw, "dsm": dsm},
        "valid": {"dsm": valid},
        "offset_scale": {
            "rgb": torch.tensor([[0.0] * 3, [255.0] * 3]).expand(2, 2, 3),
            "dsm": torch.tensor([[[30.0], [10.0]], [[25.0], [10.0]]]),
        },
        "available": torch.ones(2, 2, dtype=torch.bool),
        "label": torch.zeros(2, 4, 4, dtype=torch.uint8),
        "tile": ["a", "b"],
        "extent": torch.tensor([[4, 4]] * 2),
        "window": torch.tensor([[0, 0, 4, 4]] * 2),
    }
    out = model_batch(batch, {"rgb": Standardization((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))})
    assert out.inputs["rgb"][0, :, 0, 0].tolist() == pytest.approx(
        [(128 / 255 - m) / s for m, s in ((0.5, 0.2), (0.4, 0.2), (0.3, 0.1))], rel=1e-5
    )
    assert out.inputs["dsm"][0, 0, 0, 0] == 0
    assert out.inputs["dsm"][0, 0, 1, 1] == pytest.approx(0.5)
    assert out.inputs["dsm"][1, 0, 1, 1] == pytest.approx(1.0)
    assert out.label.dtype == torch.int64


def test_of_many_tiles_the_ground_is_fitted_when_a_window_needs_it(make_data, monkeypatch):
    def started():
        data = make_data(scaling={"dsm": "ground"})
        data.prepare_data()
        data.setup("fit")
        return data, data.train_dataloader()

    few, loader = started()
    expected = [batch["inputs"]["dsm"] for batch in loader]
    assert len(few._fitted) == len(few.tiles("train")) > 2
    monkeypatch.setattr("mobanet.data.datamodule.SOME", 1)
    monkeypatch.setattr("mobanet.data.scaling.SOME", 1)
    many, loader = started()
    assert len(many._fitted) == 1  # that of the tile which the range of heights is learnt from
    assert all(map(torch.equal, expected, [batch["inputs"]["dsm"] for batch in loader]))
    assert len(many._fitted) > 1
    reader = pickle.loads(pickle.dumps(loader.dataset.reader))  # as a spawned worker gets it
    window = TileWindow(0, 0, 0, 64, 64)
    assert np.array_equal(reader.read(window).inputs["dsm"], loader.dataset.reader.read(window).inputs["dsm"])


def test_the_typical_range_of_many_tiles_is_learnt_from_evenly_spaced_ones(make_data, monkeypatch):
    data = make_data(scaling={"dsm": "ground"})
    data.prepare_data()
    data.setup("fit")
    tiles, modality, radius = data.tiles("train"), data.modalities["dsm"], 256
    asked = []

    class Watched(Grounds):
        def __getitem__(self, number):
            asked.append(number)
            return super().__getitem__(number)

    monkeypatch.setattr("mobanet.data.scaling.SOME", 2)
    found = learn(modality, "ground", tiles, radius, Watched(tiles, "dsm", radius, {}))
    assert asked == [0, len(tiles) // 2]
    alone = [
        learn(modality, "ground", [t], radius, Grounds([t], "dsm", radius, {})) for t in (tiles[0], tiles[asked[1]])
    ]
    np.testing.assert_allclose(found[1], np.mean([numbers[1] for numbers in alone], axis=0), rtol=1e-12)
