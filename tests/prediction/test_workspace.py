import errno
import json
import os
import resource
import shutil

import numpy as np
import pytest

from mobanet.errors import UserError
from mobanet.prediction.parts import parts_of
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.workspace import Workspace

PARTS = parts_of(0, 40, 30, 16)


@pytest.fixture
def workspace(tmp_path):
    made = Workspace.of(tmp_path / "maps/town.tif")
    made.begin({"--window": 64})
    return made


def maps_of(part, probabilities=None, seed=0):
    random = np.random.default_rng(seed)
    shape = (part.bottom - part.top, part.right - part.left)
    shares = None
    if probabilities == "float32":
        shares = random.random((3, *shape), np.float32)
        shares[:, 0] = np.nan
    if probabilities == "uint8":
        shares = random.integers(0, 256, (3, *shape)).astype(np.uint8)
    planes = random.integers(0, 256, (2, *shape)).astype(np.uint8)
    return PartMaps(planes[0], planes[1], shares, None if shares is None else shares[0])


def test_it_lies_beside_the_map(tmp_path):
    assert Workspace.of(tmp_path / "town.tif").folder == tmp_path / "town.tif.parts"


def test_settings_are_found_again(workspace):
    assert workspace.settings() == {"--window": 64}
    assert Workspace(workspace.folder).settings() == {"--window": 64}
    workspace.remove()
    assert workspace.settings() is None
    assert not workspace.folder.exists()
    workspace.remove()  # nothing to do
    workspace.folder.mkdir()
    assert workspace.settings() is None


@pytest.mark.parametrize("kind", [None, "uint8", "float32"])
def test_parts_are_found_again(workspace, kind):
    assert workspace.done(PARTS) == set()
    maps = {part: maps_of(part, kind, seed) for seed, part in enumerate(PARTS[:2])}
    for part, each in maps.items():
        workspace.save(part, each)
    assert workspace.done(PARTS) == set(PARTS[:2])
    for part, each in maps.items():
        found = workspace.load(part)
        assert np.array_equal(found.classes, each.classes)
        assert np.array_equal(found.scenarios, each.scenarios)
        if kind is None:
            assert found.probabilities is None
            assert found.confidence is None
        else:
            assert found.confidence.dtype == each.confidence.dtype
            assert np.array_equal(found.confidence, each.confidence, equal_nan=kind == "float32")
            assert found.probabilities.dtype == each.probabilities.dtype
            assert np.array_equal(found.probabilities, each.probabilities, equal_nan=kind == "float32")
    assert sorted(path.name for path in workspace.folder.iterdir()) == [PARTS[0].name, PARTS[1].name, "settings.json"]


def test_a_new_beginning_forgets_the_old_one(workspace):
    workspace.save(PARTS[0], maps_of(PARTS[0]))
    workspace.begin({"--window": 32})
    assert workspace.done(PARTS) == set()
    assert workspace.settings() == {"--window": 32}


def test_a_part_that_is_half_written_is_not_there(workspace):
    workspace.save(PARTS[0], maps_of(PARTS[0]))
    path = workspace.folder / PARTS[0].name
    path.write_bytes(path.read_bytes()[:-30])
    (workspace.folder / PARTS[1].name).touch()
    assert workspace.done(PARTS) == set()


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_damaged_part_is_removed_and_said(workspace, place):
    """Wherever the damage is: in a header, in compressed bytes, in the list of names."""
    part = PARTS[0]
    workspace.save(part, maps_of(part))
    path = workspace.folder / part.name
    content = bytearray(path.read_bytes())
    at = (len(content) - 40) * place // 100
    for k in range(at, at + 12):
        content[k] ^= 0xA5
    path.write_bytes(bytes(content))
    said = None
    try:
        found = workspace.load(part)
    except UserError as error:
        said = str(error)
    if said is None:  # the damage is in what does not matter, such as a date
        assert np.array_equal(found.classes, maps_of(part).classes)
        assert np.array_equal(found.scenarios, maps_of(part).scenarios)
    else:
        assert said == f"{path} is damaged and was removed: run the command again with --resume."
        assert not path.exists()


def test_a_part_that_is_gone_or_holds_something_else(workspace):
    with pytest.raises(UserError, match=r"000_00000\.npz is damaged"):
        workspace.load(PARTS[0])
    np.savez(workspace.folder / PARTS[0].name, other=np.zeros(3))
    with pytest.raises(UserError, match="run the command again with --resume"):
        workspace.load(PARTS[0])
    assert workspace.done(PARTS) == set()


def test_a_disk_that_takes_no_more_names_the_part_and_leaves_nothing_of_it(workspace):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))  # no file beyond 200 bytes, in truth
    try:
        with pytest.raises(OSError, match="File too large") as error:
            workspace.save(PARTS[0], maps_of(PARTS[0]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(workspace.folder / PARTS[0].name))
    assert [path.name for path in workspace.folder.iterdir()] == ["settings.json"]


SETTINGS = {"--ckpt_path": "abc", "--input": {"rgb": ["/a.tif", 12, 3.0, [1, 2, 3]]}, "--window": 64, "--crs": None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--window": 32}, "another --window (64, now 32)"),
        ({"--ckpt_path": "def"}, "another --ckpt_path (abc, now def)"),
        ({"--crs": "EPSG:25833"}, "another --crs (none, now EPSG:25833)"),
        ({"--input": {"rgb": ["/a.tif", 12, 4.0, [1, 2, 3]]}}, "another --input ("),
        ({"--stride": 8}, "another --stride (none, now 8)"),
    ],
)
def test_going_on_with_something_else_names_what_differs(workspace, change, said):
    with pytest.raises(UserError) as error:
        workspace.check(SETTINGS | change, SETTINGS)
    assert str(error.value).startswith(f"--resume: {workspace.folder} was begun with {said}")
    assert str(error.value).endswith("give the same, or delete the folder and start anew.")
    workspace.check(SETTINGS, json.loads(json.dumps(SETTINGS)))


def test_something_that_was_asked_for_before_and_not_now(workspace):
    with pytest.raises(UserError, match="another --crs"):
        workspace.check({key: value for key, value in SETTINGS.items() if key != "--crs"}, SETTINGS | {"--crs": "x"})


def test_tuples_are_the_lists_that_they_become(workspace):
    workspace.check({"--input": {"rgb": (1, 2)}}, {"--input": {"rgb": [1, 2]}})


@pytest.mark.parametrize("content", ["{", "", "[]", "3", "\udcff"])
def test_damaged_settings_are_said(workspace, content):
    (workspace.folder / "settings.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"settings\.json is damaged: delete .*town\.tif\.parts and predict without"):
        workspace.settings()


def test_trouble_of_any_process_is_told_to_all(workspace):
    assert workspace.trouble() is None
    workspace.tell(3, "the disk is full.")
    assert Workspace(workspace.folder).trouble() == "the disk is full."
    workspace.save(PARTS[0], maps_of(PARTS[0]))
    unfinished = workspace.folder / f"{PARTS[1].name}.{os.getpid()}"
    unfinished.touch()
    workspace.forget_trouble()
    assert workspace.trouble() is None
    assert not unfinished.exists()
    assert workspace.done(PARTS) == {PARTS[0]}
    assert workspace.settings() == {"--window": 64}


def test_trouble_without_words_is_trouble(workspace):
    """Of an interrupt, whose text is empty, other processes have to hear too."""
    workspace.tell(1, str(KeyboardInterrupt()))
    assert workspace.trouble()


def test_no_trouble_where_the_folder_has_gone(workspace):
    workspace.remove()
    assert workspace.trouble() is None


def test_parts_of_different_panels_and_strips_have_different_files(workspace):
    parts = parts_of(0, 40, 30, 16, 10)
    for number, part in enumerate(parts):
        workspace.save(part, maps_of(part, seed=number))
    for number, part in enumerate(parts):
        assert np.array_equal(workspace.load(part).classes, maps_of(part, seed=number).classes)
    assert len(list(workspace.folder.glob("*.npz"))) == len(parts) == 9


def test_a_folder_that_cannot_be_removed_is_no_clean_start(workspace, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(PermissionError):
        workspace.begin({"--window": 64})


def test_files_that_another_process_removes_meanwhile_are_passed_over(workspace, monkeypatch):
    remove, tried = shutil.rmtree, []

    def late(path):
        tried.append(path)
        if len(tried) == 1:
            raise FileNotFoundError(2, "No such file", str(path))
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", late)
    workspace.remove()
    assert len(tried) == 2
    assert not workspace.folder.exists()
