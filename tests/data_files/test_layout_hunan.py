import shutil

import numpy as np
import pytest

from mobanet.datasets import get_layout
from mobanet.datasets.hunan import TEST, VALIDATION
from mobanet.errors import UserError
from mobanet.store.build import build_store
from tests.data_files.fake_files import load, noise, write, zipped
from tests.data_files.fake_satellites import band, codes, hunan_tile


@pytest.fixture
def layout():
    return get_layout("hunan")


def three(root):
    for part, tile in (("train", 299), ("val", 298), ("test", 639)):
        hunan_tile(root, part, tile)


def test_content(layout, root):
    three(root)
    store = build_store(layout, root, modalities=list(layout.modalities), workers=1)
    assert list(store.tiles) == ["298", "299", "639"]
    tile = store.tiles["299"]
    s2 = band("s2_299", 13, (32, 32)).transpose(1, 2, 0)
    assert np.array_equal(load(tile, "s2"), s2)
    assert np.array_equal(load(tile, "rgb"), s2[:, :, [3, 2, 1]])
    assert np.array_equal(load(tile, "s1"), (noise("s1_299", 2, (32, 32)) / np.float32(-10)).transpose(1, 2, 0))
    assert np.array_equal(load(tile, "dem"), load(tile, "topo")[:, :, :1])
    assert set(tile.labels) == {"full"}
    assert not list((store.path / "tiles/299").glob("tri*"))
    assert len(layout.modalities["s2"].bands) == 13


MAPS = {
    "hunan": {1: 0, 2: 1, 3: 2, 4: 1, 5: 3, 6: 4, 7: 6, 8: 6, 9: 5, 10: 6},
    "hunan_mfnet": {1: 0, 2: 1, 3: 2, 5: 3, 6: 4, 8: 5, 9: 6},
    "hunan_merged": {1: 0, 2: 1, 3: 2, 4: 1, 5: 3, 6: 4, 7: 6, 8: 6, 9: 5, 10: 6, 11: 6},
}


@pytest.mark.parametrize("name", MAPS)
def test_label_maps(root, name):
    hunan_tile(root, "train", 299)
    store = build_store(get_layout(name), root, workers=1)
    wanted = np.vectorize(lambda code: MAPS[name].get(code, 255))(codes(299, (32, 32)))
    tile = store.tiles["299"]
    assert np.array_equal(load(tile, "label_full"), wanted)
    assert tile.labels["full"].unknown == 0
    assert store.path.name == {"hunan": "mobanet_store"}.get(name, f"mobanet_store_{name[6:]}")


def test_a_strange_code_is_counted(layout, root):
    hunan_tile(root, "train", 299)
    strange = np.full((1, 32, 32), 3, np.uint8)
    strange[0, :2] = 77
    write(root / "Hunan_Dataset/train/lc/lc_299.tif", strange)
    tile = build_store(layout, root, workers=1).tiles["299"]
    assert tile.labels["full"].unknown == 64
    assert (load(tile, "label_full")[:2] == 255).all()


def test_archives_and_converted_folders(layout, tmp_path):
    three(tmp_path / "plain")
    zipped(tmp_path / "packed/Hunan_Dataset.zip", tmp_path / "plain")
    converted = tmp_path / "converted"
    for kind, folder in (("s1", "s1_dir"), ("s2", "s2_dir"), ("topo", "dem_dir"), ("lc", "ann_dir")):
        for part in ("train", "val", "test"):
            shutil.copytree(tmp_path / "plain/Hunan_Dataset" / part / kind, converted / folder / part)
    stripped = tmp_path / "stripped"
    for path in (tmp_path / "plain").rglob("*.tif"):
        kind, tile = path.stem.split("_")
        (stripped / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, stripped / kind / f"{tile}.tif")
    stores = [build_store(layout, path, workers=1) for path in (tmp_path / "packed", converted, stripped)]
    for store in stores:
        assert list(store.tiles) == ["298", "299", "639"]
        for tile in store.tiles.values():
            for name in tile.arrays():
                assert np.array_equal(load(tile, name), load(stores[0].tiles[tile.id], name))


def test_problems(layout, root):
    three(root)
    data = root / "Hunan_Dataset"
    (data / "train/s1/s1_299.tif").unlink()
    write(data / "val/s2/s2_298.tif", band("x", 12, (32, 32)))
    write(data / "test/lc/lc_639.tif", np.full((3, 32, 32), 3, np.uint8))
    with pytest.raises(UserError) as caught:
        build_store(layout, root, workers=1)
    assert "3 problems" in str(caught.value)
    assert "tile 299 has no s1: s1/s1_299.tif is missing" in str(caught.value)
    assert "s2_298.tif has 12 bands where s2 needs 13" in str(caught.value)
    assert "lc_639.tif has 3 bands where values are mapped to classes" in str(caught.value)
    with pytest.raises(UserError, match=r"holds no file of layout hunan, such as s2/s2_298\.tif"):
        layout.find(data / "train/tri", ["s2"])


def test_splits(layout):
    assert (len(VALIDATION), len(TEST)) == (50, 50)
    tiles = ["640", "639", "300", "301", "298"]
    split = layout.resolve_split("official", tiles)
    assert split.train == ("300", "301", "640")
    assert (split.validation, split.test) == (VALIDATION, TEST)
    many = [str(number) for number in range(20100, 20140)] + ["298", "639"]
    split = layout.resolve_split("evsr", many)
    assert split.test == (*VALIDATION, *TEST)
    assert len(split.validation) == 4
    assert not set(split.train) & {*split.validation, *split.test}
    assert {*split.train, *split.validation} == set(many) - {"298", "639"}


def test_definitions(layout):
    assert layout.default_modalities == ("s2", "s1", "topo")
    assert layout.scalings["s2"] == "standard"
    assert len(layout.classes) == 7
    assert set(layout.recipes) == set(layout.modalities)
