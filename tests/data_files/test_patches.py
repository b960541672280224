import logging

import numpy as np
import pytest

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.options import EvaluationSettings
from mobanet.data.reading import TileReader, TileWindow
from mobanet.datasets import dstl_folds, get_layout
from mobanet.datasets.base import Split
from mobanet.errors import UserError
from mobanet.store.build import build_store
from mobanet.store.patches import cut_store, cut_tile
from tests.data_files.fake_files import load
from tests.data_files.fake_satellites import SCENES, dstl


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("dstl")
    dstl(root)
    return root


@pytest.fixture
def store(scenes):
    return build_store(get_layout("dstl"), scenes, workers=1)


def test_patches_cover_every_pixel_once(store):
    patched = cut_store(store, 16)
    assert len(store.tiles) == 3  # as it was
    assert len(patched.tiles) == 3 * 4 * 7
    assert list(patched.tiles)[:8:7] == ["6010_1_2_r0_c0", "6010_1_2_r1_c0"]
    counts = np.zeros((50, 100), int)
    for patch in cut_tile(store.tiles[SCENES[0]], 16):
        counts[patch.top : patch.top + patch.height, patch.left : patch.left + patch.width] += 1
    assert (counts == 1).all()
    assert (patch.height, patch.width) == (2, 4)


def test_a_patch_shows_nothing_of_its_neighbours(store):
    patch = cut_store(store, 16).tiles["6010_1_2_r2_c6"]  # 16 rows, 4 columns
    reader = TileReader([patch], {"rgb": 3}, "full", 24)
    sample = reader.read(TileWindow(0, 0, 0, 24, 24))
    whole = load(store.tiles["6010_1_2"], "rgb")
    assert np.array_equal(sample.inputs["rgb"][:16, :4], whole[32:48, 96:100])
    assert not sample.inputs["rgb"][16:].any()
    assert not sample.inputs["rgb"][:, 4:].any()
    assert sample.valid["rgb"].sum() == 64
    assert (sample.label[16:] == 255).all()
    assert np.array_equal(sample.label[:16, :4], load(store.tiles["6010_1_2"], "label_full")[32:48, 96:100])
    inner = reader.read(TileWindow(0, 3, 1, 5, 2))
    assert np.array_equal(inner.inputs["rgb"], whole[35:40, 97:99])


def test_scene_folds_are_disjoint_and_complete():
    splits = get_layout("dstl").splits
    tested = []
    for fold in range(1, 6):
        split = splits[f"fold{fold}_scenes"]
        parts = [set(split.train), set(split.validation), set(split.test)]
        assert [len(part) for part in parts] == [15, 5, 5]
        assert len(set.union(*parts)) == 25
        # no ground is in two parts: a region's scenes adjoin, and 6110 and 6140 are one place
        regions = [{scene[:4].replace("6140", "6110") for scene in part} for part in parts]
        assert sum(map(len, regions)) == len(set.union(*regions))
        assert split.leak == ""
        tested += split.test
    assert len(tested) == len(set(tested)) == 25


def test_patch_folds_are_disjoint_and_complete():
    patches = [f"{scene}_r{row}_c{column}" for scenes in dstl_folds.SCENES for scene in scenes for row in range(15)
               for column in range(16)]  # fmt: skip
    # 6070_2_3 is narrower, which makes the papers' 5985
    patches = [patch for patch in patches if not (patch.startswith("6070_2_3") and patch.endswith("_c15"))]
    assert len(patches) == 5985
    layout = get_layout("dstl_crops")
    tested = []
    for fold in range(1, 6):
        split = layout.resolve_split(f"fold{fold}_patches", patches)
        assert (len(split.train), len(split.validation), len(split.test)) == (4310, 478, 1197)
        assert {*split.train, *split.validation, *split.test} == set(patches)
        assert (split.patch, split.leak) == (224, dstl_folds.LEAK)
        tested += split.test
        # random, so that a scene is on both sides
        assert {patch[:8] for patch in split.test} == {patch[:8] for patch in split.train}
    assert sorted(tested) == sorted(patches)
    assert layout.resolve_split("fold2_patches", reversed(patches)) == layout.resolve_split("fold2_patches", patches)
    with pytest.raises(UserError, match=r"fold2_patches needs at least 10 patches of 224 pixels and the scenes give 9"):
        layout.resolve_split("fold2_patches", patches[:9])


def data_of(scenes, split, **options):
    data = RasterDataModule(
        str(scenes),
        "dstl",
        split=split,
        crop=16,
        batch_size=4,
        steps_per_epoch=2,
        num_workers=0,
        evaluation=EvaluationSettings(labels="full"),
        **options,
    )
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def test_the_data_module_deals_out_patches_and_names_the_leak(scenes, store, monkeypatch, caplog):
    monkeypatch.setattr(dstl_folds, "PATCH", 16)
    small = Split((), (), (), 16, dstl_folds.LEAK)
    monkeypatch.setattr("mobanet.datasets.dstl.DstlLayout.splits", {"fold2_patches": small})
    with caplog.at_level(logging.INFO):
        data = data_of(scenes, "fold2_patches")
    assert caplog.text.count("warning: split fold2_patches: patches of one scene are in training, validation and") == 1
    assert data.protocol("test")["data"] == f"dstl, split fold2_patches, 17 test patches; {dstl_folds.LEAK}"
    split = data.layout.resolve_split("fold2_patches", cut_store(store, 16).tiles)
    seen = [tile for batch in data.test_dataloader() for tile in batch["tile"]]
    assert sorted(seen) == sorted(split.test)
    for batch in data.train_dataloader():
        assert set(batch["tile"]) <= set(split.train)
        assert batch["inputs"]["rgb"].shape == (4, 3, 16, 16)


def test_the_data_module_deals_out_scenes(scenes, store, caplog):
    data = data_of(scenes, None)
    assert data.split_name == "fold1_scenes"
    assert data.protocol("test")["data"] == "dstl, split fold1_scenes, 1 test tile"
    assert "warning" not in caplog.text
    assert {tile for batch in data.test_dataloader() for tile in batch["tile"]} == {"6110_1_2"}
