import csv
import io
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
import shapely

from mobanet import check, prepare
from mobanet.datasets.polygons import Extent, Filled
from mobanet.store.arrays import read_array
from mobanet.store.stored import TileStore
from mobanet.synthesize import main
from mobanet.synthetic import dataset, synthesize, tile_names
from mobanet.synthetic.outlines import to_wkt, trace
from tests.synthetic.rasters import files_below, read

TILES = tile_names("dstl", 3)


@pytest.fixture(scope="module")
def dstl(tmp_path_factory):
    root = tmp_path_factory.mktemp("dstl")
    main(["--layout", "dstl", "--root", str(root), "--tiles", "3", "--size", "256", "--seed", "3"])
    return root


def test_files_are_named_as_the_competition_names_them(dstl):
    expected = {f"three_band/{tile}.tif" for tile in TILES} | {"train_wkt_v4.csv", "grid_sizes.csv"}
    expected |= {f"sixteen_band/{tile}_{product}.tif" for tile in TILES for product in "AMP"}
    assert files_below(dstl) == expected
    with (dstl / "train_wkt_v4.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ImageId", "ClassType", "MultipolygonWKT"]
    assert [row[:2] for row in rows[1:]] == [[tile, str(number)] for tile in sorted(TILES) for number in range(1, 11)]
    assert {row[2] for row in rows if row[1] == "7"} == {"MULTIPOLYGON EMPTY"}
    assert (dstl / "grid_sizes.csv").read_text().splitlines()[0] == ",Xmax,Ymin"


def test_products_have_their_own_sizes_and_ranges(dstl):
    sizes = set()
    for tile in TILES:
        rgb = read(dstl / f"three_band/{tile}.tif")
        height, width = rgb.shape[1:]
        sizes.add((height, width))
        assert abs(height - 256) <= 3
        assert abs(width - 256) <= 3
        products = {name: read(dstl / f"sixteen_band/{tile}_{name}.tif") for name in "PMA"}
        assert products["M"].shape == (8, round(height / 4), round(width / 4))
        assert products["A"].shape == (8, round(height / 25), round(width / 25))
        assert products["P"].shape in ((1, height, width), (1, height - 1, width))
        for name, full in (("P", 2047), ("M", 2047), ("A", 16383)):
            assert products[name].dtype == rgb.dtype == np.uint16
            assert full / 4 < products[name].max() <= full
    assert len(sizes) == 3


def test_traced_outlines_fill_the_same_pixels_again():
    rng = np.random.default_rng(1)
    extent = Extent(0.00913, -0.00904)
    for density in (0.2, 0.5, 0.8):
        mask = cv2.GaussianBlur(rng.random((70, 90)).astype(np.float32), (0, 0), 1.2)
        mask = mask > np.quantile(mask, 1 - density)
        mask[30, 40] = True
        shape = shapely.from_wkt(to_wkt(trace(mask), extent, 70, 90))
        assert np.array_equal(Filled(shape, extent, 70, 90).mask, mask)
    assert sum(len(holes) for _, holes in trace(mask)) > 3


def test_crops_are_seen_in_the_near_infrared(dstl, tmp_path):
    from mobanet.datasets import get_layout
    from mobanet.store.build import build_store

    crops = build_store(get_layout("dstl_crops"), dstl, tmp_path, workers=1)
    inside, outside = [], []
    for tile in crops.tiles.values():
        label, nir = read_array(tile, "label_full"), read_array(tile, "nir")
        green = read_array(tile, "rgb")[..., 1].astype(float)
        grass = (nir[..., 1] > 1.3 * green) & (nir[..., 1] > 700)
        inside.append(nir[grass & (label == 1), 0])
        outside.append(nir[grass & (label == 0), 0])
        assert 0.03 < label.mean() < 0.6
    assert np.median(np.concatenate(inside)) > 1.1 * np.median(np.concatenate(outside))


def test_prepare_and_check_through_their_commands(dstl, tmp_path, capsys):
    prepare.main(["--root", str(dstl), "--layout", "dstl", "--workers", "1", "--store", str(tmp_path / "store")])
    store = TileStore(tmp_path / "store")
    assert list(store.tiles) == sorted(TILES)
    assert list(store.modalities) == ["rgb", "nir", "swir"]
    assert all(tile.labels["full"].pixels[6] > 0 for tile in store.tiles.values())
    sheet = tmp_path / "sheet.png"
    check.main(["--root", str(dstl), "--layout", "dstl_crops", "--workers", "1", "--sheet", str(sheet)])
    output = capsys.readouterr().out
    assert "crops" in output
    assert "outlines" in output
    assert "problem" not in output
    assert sheet.exists()


def test_archives_hold_what_the_folders_hold(dstl, tmp_path):
    synthesize("dstl_crops", tmp_path, tiles=3, size=256, seed=3, archives=True)
    assert files_below(tmp_path) == {
        "three_band.zip",
        "sixteen_band.zip",
        "train_wkt_v4.csv.zip",
        "grid_sizes.csv.zip",
    }
    members = {}
    for path in tmp_path.glob("*.zip"):
        with ZipFile(io.BytesIO(path.read_bytes())) as archive:
            members |= {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    assert members == {name: (dstl / name).read_bytes() for name in files_below(dstl)}
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_killed_run_can_be_continued(tmp_path, monkeypatch):
    options = {"tiles": 2, "size": 128, "seed": 1}
    real, drawn = dataset._draw_tile, []

    def die_at_the_second(plan, folder, tile):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(tile)
        real(plan, folder, tile)

    monkeypatch.setattr(dataset, "_draw_tile", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        synthesize("dstl", tmp_path / "killed", **options)
    assert not (tmp_path / "killed/train_wkt_v4.csv").exists()
    monkeypatch.undo()
    synthesize("dstl", tmp_path / "killed", **options)
    synthesize("dstl", tmp_path / "whole", **options)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert files_below(killed) == files_below(whole)
    for name in files_below(whole):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert not (killed / ".polygons").exists()
