from zipfile import ZipFile

import numpy as np
import pytest

from mobanet import check, prepare
from mobanet.datasets.hunan import TEST, VALIDATION
from mobanet.store.stored import TileStore
from mobanet.synthesize import main
from mobanet.synthetic import synthesize, tile_names
from tests.synthetic.rasters import files_below, read

TILES = tile_names("hunan", 5)


@pytest.fixture(scope="module")
def hunan(tmp_path_factory):
    root = tmp_path_factory.mktemp("hunan")
    main(["--layout", "hunan", "--root", str(root), "--tiles", "5", "--size", "128", "--seed", "3"])
    return root


def part_of(tile):
    return "val" if tile in VALIDATION else "test" if tile in TEST else "train"


def test_files_are_named_as_published(hunan):
    expected = set()
    for tile in TILES:
        part = part_of(tile)
        kinds = ("s2", "s1", "topo", "lc", *(["tri"] if part == "train" else []))
        expected |= {f"Hunan_Dataset/{part}/{kind}/{kind}_{tile}.tif" for kind in kinds}
    assert files_below(hunan) == expected
    assert {part_of(tile) for tile in TILES} == {"train", "val", "test"}
    assert len(set(tile_names("hunan", 500))) == 500


def test_bands_types_and_codes(hunan):
    for tile in TILES:
        folder = hunan / "Hunan_Dataset" / part_of(tile)
        s2, s1, topo, lc = (read(folder / f"{kind}/{kind}_{tile}.tif") for kind in ("s2", "s1", "topo", "lc"))
        assert [len(bands) for bands in (s2, s1, topo, lc)] == [13, 2, 2, 1]
        assert [bands.dtype.name for bands in (s2, s1, topo, lc)] == ["uint16", "float32", "float32", "uint8"]
        assert s2.shape[1:] == s1.shape[1:] == topo.shape[1:] == lc.shape[1:] == (128, 128)
        assert set(np.unique(lc)) <= {1, 2, 3, 4, 5, 6, 8, 9, 255}
        water = lc[0] == 6
        assert s1[0][water].mean() < s1[0][~water].mean() - 5
        assert topo[0][water].mean() < topo[0][~water].mean()


def test_prepare_and_check_through_their_commands(hunan, tmp_path, capsys):
    store = tmp_path / "store"
    prepare.main(["--root", str(hunan), "--layout", "hunan", "--workers", "1", "--store", str(store)])
    tiles = TileStore(store).tiles
    assert sorted(tiles) == sorted(TILES)
    pixels = np.sum([tile.labels["full"].pixels for tile in tiles.values()], axis=0)
    assert len(pixels) == 7
    assert (pixels > 0).all()
    sheet = tmp_path / "sheet.png"
    check.main(["--root", str(hunan), "--layout", "hunan_mfnet", "--workers", "1", "--sheet", str(sheet)])
    output = capsys.readouterr().out
    assert "13 uint16" in output
    assert "problem" not in output
    assert sheet.exists()


def test_the_archive_holds_what_the_folders_hold(hunan, tmp_path):
    synthesize("hunan", tmp_path, tiles=5, size=128, seed=3, archives=True)
    assert files_below(tmp_path) == {"Hunan_Dataset.zip"}
    with ZipFile(tmp_path / "Hunan_Dataset.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    assert members == {name: (hunan / name).read_bytes() for name in files_below(hunan) if name.startswith("Hunan_D")}
