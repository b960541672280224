import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobanet import check, prepare
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from mobanet.store.stored import TileStore
from tests.data_files.fake_files import indices, noise, potsdam_tile, surface, truncate, vaihingen_area, write, zipped


def test_prepare_prints_what_was_built(root, capsys):
    potsdam_tile(root, 2, 10)
    potsdam_tile(root, 3, 13)
    write(root / "1_DSM/dsm_potsdam_03_13.tif", surface("odd", (60, 63)))
    prepare.main(["--root", str(root), "--modalities", "[rgb,dsm]", "--workers", "1"])
    output = capsys.readouterr().out
    assert "3_13" in output
    assert "98.44 %" in output
    assert "note: tile 3_13: dsm: dsm_potsdam_03_13.tif is 63 x 60 pixels, the tile 64 x 60" in output
    assert list(TileStore(root / "mobanet_store").modalities) == ["rgb", "dsm"]


def test_prepare_with_own_data(root, tmp_path, capsys):
    write(root / "a_image.tif", noise("a", 3))
    yaml = tmp_path / "own.yaml"
    yaml.write_text('modalities: {rgb: {pattern: "{tile}_image.tif", band_numbers: [1, 2, 3]}}\nclasses: [x, y]\n')
    prepare.main(["--root", str(root), "--layout", "folder", "--folder", str(yaml), "--store", str(tmp_path / "s")])
    assert list(TileStore(tmp_path / "s").tiles) == ["a"]


@pytest.mark.parametrize("arguments", [["--root", "nowhere"], ["--root", ".", "--layout", "potsdm"], []])
def test_a_mistake_is_one_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        prepare.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error


def test_check_lists_and_draws(root, tmp_path, capsys):
    potsdam_tile(root, 2, 10, size=(600, 640))
    write(root / "1_DSM/dsm_potsdam_02_10.tif", np.where(np.arange(640) < 64, np.nan, surface("a", (600, 640))))
    sheet = tmp_path / "sheet.png"
    check.main(["--root", str(root), "--workers", "1", "--sheet", str(sheet)])
    output = capsys.readouterr().out
    for part in ("dsm_potsdam_02_10.tif", "640 x 600", "1 float32", "10.00 %", "building", "share, eroded labels"):
        assert part in output
    assert "problem" not in output
    picture = np.asarray(Image.open(sheet).convert("RGB"))
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)[::3].tolist()}
    assert {(0, 0, 255), (255, 255, 0), (236, 170, 190)} <= colours  # building, car, not measured
    assert sorted(path.name for path in (root / "mobanet_store").iterdir()) == []


def test_check_reports_every_problem_and_goes_on(root, capsys):
    for column in (10, 11, 12):
        potsdam_tile(root, 2, column)
    (root / "1_DSM/dsm_potsdam_02_10.tif").unlink()
    truncate(root / "4_Ortho_RGBIR/top_potsdam_2_11_RGBIR.tif", 0.9)
    write(root / "5_Labels_all/top_potsdam_2_12_label.tif", indices("x")[None])
    write(root / "1_DSM/dsm_potsdam_02_12.tif", surface("x", (20, 20)))
    with pytest.raises(SystemExit) as caught:
        check.main(["--root", str(root), "--workers", "1"])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out.count("problem:") == 4
    assert captured.err.strip().splitlines()[-1].startswith(f"error: {root} has 4 problems, listed above")
    assert (root / "mobanet_store/contact_sheet.png").exists()


def test_check_of_archives_leaves_nothing_behind(vaihingen, root, tmp_path):
    vaihingen_area(tmp_path / "plain", 1)
    zipped(root / "all.zip", tmp_path / "plain")
    findings = check_files(vaihingen, root, tmp_path / "store", workers=1)
    assert findings.problems == []
    look = findings.tiles[0].looks["label_full"]
    counts = np.bincount(indices("area1").ravel(), minlength=6)
    assert look.shares == pytest.approx(tuple(counts / counts.sum()))
    assert findings.tiles[0].looks["irrg"].source == "all/top/top_mosaic_09cm_area1.tif"
    assert list((tmp_path / "store").iterdir()) == []
    assert [path.name for path in root.iterdir()] == ["all.zip"]


def test_check_of_data_that_cannot_be_written_to_draws_elsewhere(root, tmp_path, capsys):
    potsdam_tile(root, 2, 10)
    (root / "mobanet_store").write_text("x")  # no folder can be made here, whoever asks for it
    sheet = tmp_path / "sheet.png"
    check.main(["--root", str(root), "--workers", "1", "--sheet", str(sheet)])
    assert sheet.exists()
    with pytest.raises(SystemExit):
        check.main(["--root", str(root), "--workers", "1"])
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith(f"error: {root}/mobanet_store cannot be written to (")
    assert "give the contact sheet another place with --sheet, or the store one with --store" in captured.err
    with pytest.raises(SystemExit):
        prepare.main(["--root", str(root), "--workers", "1"])
    assert "cannot be written to (File exists): give another place with --store" in capsys.readouterr().err


def test_what_a_killed_check_left_is_cleared_away_by_the_next_one(root, tmp_path, potsdam):
    potsdam_tile(root, 2, 10)
    started = tmp_path / "started"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom mobanet.datasets import get_layout\n"
        "from mobanet.store import check\n"
        "def wait(job):\n    Path(sys.argv[2]).touch()\n    time.sleep(60)\n"
        "check.look_at = wait\ncheck.check_files(get_layout('potsdam'), Path(sys.argv[1]), workers=1)\n"
    )
    store = root / "mobanet_store"
    running = [
        subprocess.Popen([sys.executable, "-c", program, root, f"{started}{number}"], cwd=Path(__file__).parents[2])
        for number in range(2)
    ]
    while not all(Path(f"{started}{number}").exists() for number in range(2)):
        assert [process.poll() for process in running] == [None, None]
        time.sleep(0.05)
    left = set(store.glob(".check-*"))
    assert len(left) == 2
    running[0].kill()
    running[0].wait()
    check_files(potsdam, root, workers=1)
    assert len(set(store.glob(".check-*"))) == 1  # that of the one that is still at work
    running[1].kill()
    running[1].wait()
    build_store(potsdam, root, workers=1)
    assert not set(store.glob(".check-*"))
