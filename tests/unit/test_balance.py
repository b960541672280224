"""Crops around classes drawn alike: every pixel of a class as often, exact draws, patches, sparse labels, caches."""

import pickle

import numpy as np
import pytest
import torch

from mobanet.data import balance
from mobanet.data.augment import Augmentation, AugmentationSettings
from mobanet.data.balance import ClassPixels
from mobanet.data.crops import RandomCrops
from mobanet.data.reading import TileReader
from mobanet.data.sampler import CropSampler
from mobanet.datasets import get_layout
from mobanet.errors import UserError
from mobanet.store.arrays import read_array
from mobanet.store.build import build_store
from mobanet.store.class_pixels import class_pixels, class_squares
from mobanet.store.patches import cut_store
from mobanet.store.stored import MARK

BANDS = {"rgb": 3}


@pytest.fixture(scope="module")
def store(city):
    return build_store(get_layout("potsdam"), city, modalities=["rgb"], workers=1)


def crops(tiles, store, size=48, share=1.0, seed=1, kind="full", **settings):
    reader = TileReader(tiles, BANDS, kind, size)
    offset_scale = {"rgb": np.zeros((len(tiles), 2, 3), np.float32)}
    augmentation = Augmentation(AugmentationSettings(**{"flips": False, **settings}), {"rgb": store.modalities["rgb"]})
    return RandomCrops(reader, offset_scale, size, "balanced", seed, augmentation, share)


@pytest.mark.parametrize("patch", [None, 100])
@pytest.mark.parametrize("kind", ["full", "eroded"])
def test_squares_hold_the_pixels_of_each_class(store, kind, patch):
    tiles = list((cut_store(store, patch) if patch else store).tiles.values())[:5]
    for tile, counted in zip(tiles, class_pixels(tiles, kind), strict=True):
        label, squares = read_array(tile, f"label_{kind}"), class_squares(tile, kind)
        assert squares.shape == (6, -(-tile.height // MARK), -(-tile.width // MARK))
        for k, i, j in np.ndindex(*squares.shape):
            part = label[i * MARK : (i + 1) * MARK, j * MARK : (j + 1) * MARK]
            assert squares[k, i, j] == (part == k).sum()
        assert counted.tolist() == [(label == k).sum() for k in range(6)]


def test_every_pixel_of_a_class_is_drawn_as_often(store):
    """By all numbers that there are of a rare class, each pixel of it comes once."""
    tiles = list(store.tiles.values())
    pixels = ClassPixels(TileReader(tiles, BANDS, "full", 48))
    rare = int(pixels.ends[-1].argmin())

    class All:
        def integers(self, most):
            return next(self.numbers) if most != len(pixels.classes) else rare

    draws, total = All(), int(pixels.ends[-1, rare])
    draws.numbers = iter(range(total))
    found = [pixels.draw(draws) for _ in range(total)]
    expected = [(t, *at) for t, tile in enumerate(tiles) for at in np.argwhere(read_array(tile, "label_full") == rare)]
    assert sorted(found) == sorted((t, int(i), int(j)) for t, i, j in expected)


def test_classes_are_drawn_alike_and_the_crop_holds_the_pixel(store):
    tiles = list(store.tiles.values())
    dataset, draws = crops(tiles, store), []
    for index in range(600):
        generator = np.random.Generator(np.random.Philox(key=[1, index]))
        generator.random()
        tile, row, column = dataset.classes.draw(generator)
        sample = dataset[index]
        assert sample["tile"] == tiles[tile].id
        top, left, height, width = sample["window"].tolist()
        assert 0 <= row - top < height
        assert 0 <= column - left < width
        assert 0 <= top <= tiles[tile].height - height
        draws.append(int(read_array(tiles[tile], "label_full")[row, column]))
    assert np.bincount(draws, minlength=6).min() > 70
    shares = class_pixels(tiles, "full").sum(0)
    assert shares.min() / shares.sum() < 0.05  # which by area would be seldom


@pytest.mark.parametrize("share", [0.25, 0.8])
def test_the_dial_is_the_share_of_such_crops(store, share):
    dataset, asked = crops(list(store.tiles.values()), store, share=share), []
    draw = dataset.classes.draw
    dataset.classes.draw = lambda generator: asked.append(1) or draw(generator)
    for index in range(800):
        dataset.window(np.random.Generator(np.random.Philox(key=[1, index])))
    assert len(asked) / 800 == pytest.approx(share, abs=0.05)


def test_draws_depend_on_seed_and_index_alone(store, monkeypatch):
    tiles = list(store.tiles.values())
    first = crops(tiles, store, share=0.7, flips=True, turns=True)
    forward = [first[index] for index in range(30)]
    monkeypatch.setattr(balance, "_MOST_BYTES", 1)  # every tile is counted anew
    for again in (crops(tiles, store, share=0.7, flips=True, turns=True), pickle.loads(pickle.dumps(first))):
        for index in reversed(range(30)):
            sample = again[index]
            assert sample["window"].tolist() == forward[index]["window"].tolist()
            assert torch.equal(sample["label"], forward[index]["label"])
        assert len(again.classes._known) == 1
    other = crops(tiles, store, share=0.7, seed=2, flips=True, turns=True)
    assert any(other[index]["window"].tolist() != forward[index]["window"].tolist() for index in range(5))


def test_ranks_share_out_what_one_would_draw(store):
    tiles = list(store.tiles.values())

    def drawn(size, rank, world):
        indices = CropSampler(3, size, rank, world, lambda: (1, 1))  # resumed behind the first batch
        dataset = crops(tiles, store, share=0.7)
        return [(sample["tile"], *sample["window"].tolist()) for sample in map(dataset.__getitem__, indices)]

    one, two = drawn(4, 0, 1), [drawn(2, rank, 2) for rank in (0, 1)]
    assert [*two[0][:2], *two[1][:2], *two[0][2:], *two[1][2:]] == one


def test_patches_and_crops_larger_than_a_tile(store):
    tiles = list(cut_store(store, 40).tiles.values())[3:9]
    dataset = crops(tiles, store, size=48)
    there = set(np.flatnonzero(class_pixels(tiles, "full").sum(0)).tolist())
    seen = set()
    for index in range(60):
        sample = dataset[index]
        assert sample["window"].tolist()[:2] == [0, 0]
        seen |= set(sample["label"].unique().tolist())
    assert seen - {255} == there


def test_a_label_that_has_changed_under_the_store_is_damaged(store, monkeypatch):
    pixels = ClassPixels(TileReader(list(store.tiles.values()), BANDS, "full", 48))
    monkeypatch.setattr(balance, "class_squares", lambda tile, kind: np.zeros((6, 3, 3), np.uint16))
    with pytest.raises(UserError, match=r"label_full.npy is damaged: .*mobanet.prepare"):
        pixels.draw(np.random.default_rng(0))
