import hashlib
import json

import pytest

from mobanet.errors import UserError
from mobanet.synthesize import main
from mobanet.synthetic import dataset, isprs, synthesize
from tests.synthetic.rasters import files_below


def digests(root):
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files_below(root)}


def test_bytes_depend_on_seed_layout_and_tile_only(tmp_path):
    assert synthesize("potsdam", tmp_path / "one", tiles=1, size=128, seed=5) == ["2_10"]
    synthesize("potsdam", tmp_path / "many", tiles=3, size=128, seed=5, workers=2)
    one, many = digests(tmp_path / "one"), digests(tmp_path / "many")
    assert one.items() <= many.items()
    synthesize("potsdam", tmp_path / "other", tiles=1, size=128, seed=6)
    other = digests(tmp_path / "other")
    assert not any(other[name] == digest for name, digest in one.items() if not name.endswith(".tfw"))


def test_bytes_do_not_depend_on_the_time(tmp_path):
    for root in ("now", "later"):
        synthesize("flair_hub", tmp_path / root, tiles=3, size=128, products=["labels"])
    assert "GLOBAL_ALL_MTD_SPLIT.gpkg" in files_below(tmp_path / "now")
    assert digests(tmp_path / "now") == digests(tmp_path / "later")


def test_same_options_again_complete_the_set_and_touch_nothing_else(tmp_path):
    options = {"tiles": 3, "size": 128, "products": ["rgb", "labels"]}
    names = synthesize("potsdam", tmp_path, **options)
    before = digests(tmp_path)
    assert {name.split("/")[0] for name in before} == {"2_Ortho_RGB", "5_Labels_all"}
    (tmp_path / f"2_Ortho_RGB/top_potsdam_{names[1]}_RGB.tif").unlink()
    kept = tmp_path / f"2_Ortho_RGB/top_potsdam_{names[0]}_RGB.tif"
    written = kept.stat().st_mtime_ns
    assert synthesize("potsdam", tmp_path, **options) == names
    assert digests(tmp_path) == before
    assert kept.stat().st_mtime_ns == written


@pytest.mark.parametrize("archives", [False, True])
def test_a_killed_run_leaves_no_half_file_and_can_be_continued(tmp_path, monkeypatch, archives):
    original, calls = isprs.write_raster, []

    def die_at_the_seventh(path, content, tile):
        calls.append(path)
        if len(calls) == 7:
            path.with_name(f".{path.name}.part").write_bytes(b"half")
            raise KeyboardInterrupt
        original(path, content, tile)

    options = {"tiles": 2, "size": 128, "products": ["rgb", "dsm", "labels", "labels_eroded"], "archives": archives}
    monkeypatch.setattr(isprs, "write_raster", die_at_the_seventh)
    with pytest.raises(KeyboardInterrupt):
        synthesize("potsdam", tmp_path / "killed", **options)
    assert not (tmp_path / "killed/Potsdam.zip").exists()
    monkeypatch.undo()
    synthesize("potsdam", tmp_path / "killed", **options)
    synthesize("potsdam", tmp_path / "whole", **options)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.part"))


def test_other_data_is_never_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/top.tif").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"--root .*mine holds files that are not from mobanet.synthesize"):
        synthesize("potsdam", tmp_path / "mine", tiles=1, size=128)
    synthesize("potsdam", tmp_path / "city", tiles=1, size=128, products=["labels"])
    with pytest.raises(UserError, match=r"other options \(tiles, seed\)"):
        synthesize("potsdam", tmp_path / "city", tiles=2, size=128, seed=1, products=["labels"])
    (tmp_path / "city" / dataset.MARKER).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        synthesize("potsdam", tmp_path / "city", tiles=1, size=128, products=["labels"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 127}, "--size 127: .* 128"),
        ({"tiles": 0}, "--tiles 0"),
        ({"tiles": 99}, "--tiles 99: .* 37"),
        ({"layout": "folder"}, "--layout folder: .*potsdam, vaihingen, dstl or hunan"),
        ({"layout": "hunan", "gsd": 0.3}, "--gsd 0.3: pixels must be between 5 and 60 metres; leave it out for 10"),
        ({"layout": "dstl", "products": ["dsm"]}, "--products dsm: layout dstl has rgb, pan, ms, swir, labels"),
        ({"seed": -1}, "--seed -1"),
        ({"gsd": 0}, "--gsd 0"),
        ({"workers": -2}, "--workers -2"),
        ({"products": ["rgb", "lidar"]}, "--products lidar: .*rgb, irrg, rgbir, dsm"),
        ({"products": []}, "--products is empty"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, options, message):
    given = {"layout": "potsdam", "tiles": 1, "size": 128, **options}
    with pytest.raises(UserError, match=message):
        synthesize(root=tmp_path / "city", **given)
    assert not (tmp_path / "city").exists()


def test_command_line(tmp_path, capsys):
    root = tmp_path / "city"
    options = ["--layout", "vaihingen", "--root", str(root), "--tiles", "1", "--size", "128", "--products", "[labels]"]
    main([*options, "--gsd", "0.4"])
    assert "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE/top_mosaic_09cm_area1.tif" in files_below(root)
    assert json.loads((root / dataset.MARKER).read_text())["gsd"] == 0.4
    with pytest.raises(SystemExit) as stop:
        main([*options, "--gsd", "0.5"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.rstrip().splitlines()[-1].startswith("error: --root")
