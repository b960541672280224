"""What a user gets wrong is answered by one sentence that names it and says what to do, and leaves nothing behind."""

import errno
import os
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml

from mobanet import check, prepare, synthesize
from mobanet.data.reading import TileReader
from mobanet.errors import UserError
from tests.cli.conftest import leftovers, small_experiment, start, wait
from tests.conftest import TINY
from tests.data_files.fake_files import truncate, write

IMAGE = "4_Ortho_RGBIR/top_potsdam_3_10_RGBIR.tif"
DSM = "1_DSM/dsm_potsdam_03_10.tif"
LABEL = "5_Labels_all/top_potsdam_3_10_label.tif"

OPTIONS = {
    "unknown option": ("--model.lrr 3", "--model.lrr is not an option", "did you mean --model.lr?"),
    "unknown nested option": ("--data.evaluation.windw 9", "--data.evaluation.windw", "--window"),
    "no option at all": ("potsdam", "potsdam is not an option", "--help"),
    "option without value": ("--model.lr", "--model.lr needs a value"),
    "text for a number": ("--model.lr abc", "--model.lr cannot be abc", "give a number"),
    "fraction for a count": ("--batch_size 4.5", "--batch_size cannot be 4.5", "whole number"),
    "Python's None": ("--crop_size None", "--crop_size cannot be None", "whole number"),
    "list for a mapping": ("--model.streams [rgb,ir]", "--model.streams cannot be ['rgb', 'ir']", "a mapping"),
    "texts for numbers": ("--model.class_weights [a,b]", "--model.class_weights cannot be", "a list of numbers"),
    "blocks of a network that has none": (
        "--model.recompute_blocks true --model.architecture cmx --model.cmx.encoder cnn",
        "--model.recompute_blocks is for networks around a transformer",
        "leave it out",
    ),
    "neither fused nor not": ("--model.fused maybe", "--model.fused cannot be maybe", "auto"),
    "unknown choice": ("--model.network.fusion sum", "--model.network.fusion cannot be sum", "dgfm, se, mean"),
    "unknown scaling": ("--data.scaling.dsm foo", "--data.scaling", "unit, standard, ground, robust, minmax"),
    "unknown tracking": ("--wandb maybe", "--wandb cannot be maybe", "auto, online, offline, off"),
    "settings file missing": ("--folder own.yaml", "--folder names own.yaml", "that exists"),
    "configuration missing": ("--config nowhere.yaml", "nowhere.yaml", "does not exist"),
    "unknown callback": ("--trainer.callbacks [{class_path:Foo}]", "--trainer.callbacks", "package.module.Class"),
    "unknown layout": ("--layout potsdm", "layout 'potsdm'", "potsdam, vaihingen, dstl"),
    "unknown modality": ("--modalities [rgb,dms]", "--modalities names dms", "dsm, ndsm"),
    "modality twice": ("--modalities [rgb,rgb]", "--modalities names a modality twice: rgb, rgb"),
    "unknown split": ("--data.split papr", "--data.split papr", "paper, official, ssrs"),
    "root missing": ("--root nowhere", "nowhere does not exist", "root"),
    "scaling of nothing": ("--data.scaling {dms:robust}", "--data.scaling names dms", "it has rgb"),
    "gaps between windows": ("--data.evaluation.test_stride 65", "--data.evaluation.test_stride is 65", "at most 64"),
    "crop too small": ("--crop_size 8", "--crop_size is 8", "at least 16"),
    "no crops": ("--batch_size 0", "--batch_size is 0", "at least 1"),
    "no steps": ("--data.steps_per_epoch 0", "--data.steps_per_epoch is 0", "at least 1"),
    "workers below none": ("--workers -1", "--workers is -1", "at least 0"),
    "statistics of all processes": (
        "--trainer.sync_batchnorm true --model.network.normalization scenario",
        "--trainer.sync_batchnorm is true",
        "set it false, or",
    ),
    "one crop": ("--batch_size 1", "--batch_size is 1", "2 or more"),
    "foreign modality in a stream": (
        "--model.streams {optical:[rgb,ir],elevation:[ndsm]}",
        "--model.streams names ndsm",
        "--modalities (rgb, ir, dsm)",
    ),
    "modality in no stream": ("--model.streams {optical:[rgb],elevation:[dsm]}", "--model.streams puts ir", "drop it"),
    "too few weights": ("--model.class_weights [1,2]", "has 2 numbers for 6 classes", "impervious surfaces"),
    "negative weight": ("--model.class_weights [1,1,1,1,1,-1]", "--model.class_weights is", "at least 0"),
    "weight that is no number": ("--model.class_weights [1,1,.nan,1,1,1]", "--model.class_weights is", "at least 0"),
    "rate below none": ("--model.schedule.min_lr -0.1", "--model.schedule.min_lr is -0.1", "0 or more"),
    "endless blocks": ("--model.masking.max_aspect .inf", "min_aspect 0.5 and max_aspect inf must", "above 0"),
    "negative learning rate": ("--model.lr -1", "--model.lr is -1.0", "at least 0"),
    "negative weight decay": ("--model.weight_decay -1", "--model.weight_decay is -1.0", "at least 0"),
    "mask larger than all": ("--model.masking.ratio 2", "--model.masking.ratio is 2.0", "from 0 to 1"),
    "unknown backbone": ("--model.backbone.name vit_tny_patch16_224", "vit_tny_patch16_224", "vit_tiny_patch16_224?"),
    "no transformer": (
        "--model.backbone.name resnet18",
        "name resnet18",
        "VisionTransformer",
        "Eva",
        "SwinTransformer",
    ),
    "uneven depth": ("--model.backbone.options.depth 6", "6 blocks", "a multiple of 4"),
    "unknown backbone option": ("--model.backbone.options {dpth:4}", "--model.backbone.options", "dpth"),
    "no network": (
        "--model.backbone.pretrained true --model.backbone.options {}",
        "cannot be downloaded",
        "--backbone FILE",
        "--model.backbone.pretrained false",
    ),
    "backbone file missing": ("--backbone x.pth", "--backbone x.pth", "the path of"),
    "negative seed": ("--seed -3", "--seed is -3", "from 0 to"),
    "random seed": ("--seed true", "--seed is true", "from 0 to"),
    "online without a key": ("--wandb online", "--wandb online needs a key", "wandb login", "--wandb offline"),
    "no GPU": ("--accelerator gpu", "--accelerator gpu", "set --accelerator cpu"),
    "unknown accelerator": ("--accelerator quantum", "--accelerator", "cpu"),
    "devices in words": ("--devices many", "--devices", "int > 0"),
    "unknown strategy": ("--trainer.strategy dddp", "--trainer.strategy", "ddp"),
    "unknown precision": ("--precision 17", "--precision cannot be 17", "bf16-mixed"),
    "time in words": ("--trainer.max_time soon", "--trainer", "DD:HH:MM:SS"),
    "validation never": ("--trainer.val_check_interval 50", "--trainer.val_check_interval is 50", "at most 2"),
    "nothing to train": ("--trainer.max_epochs 0", "--trainer.max_epochs is 0", "give more"),
    "the same batches": ("--trainer.overfit_batches 1", "--trainer.overfit_batches is 1", "leave it out"),
    "a rate of what is frozen": (
        "--model.backbone.freeze true --model.backbone_lr 1e-5",
        "--model.backbone_lr is 1e-05",
        "--model.backbone.freeze false",
    ),
    "stopping by nothing": (
        "--trainer.callbacks.class_path lightning.pytorch.callbacks.EarlyStopping "
        "--trainer.callbacks.init_args.monitor val/mious",
        "EarlyStopping watch val/mious",
        "did you mean val/miou?",
    ),
    "sharded": ("--trainer.strategy fsdp --scenarios.strategy latent", "--trainer.strategy fsdp", "ddp"),
    "no block": ("--model.backbone.options.depth 0", "options.depth is '0'", "a whole number from 1 to 128"),
    "uneven stages": ("--model.backbone.options.depth 6", "6 blocks", "a multiple of 4"),
    "resume from nothing": ("--ckpt_path no.ckpt", "--ckpt_path no.ckpt does not exist", "best.ckpt"),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Paths in the table are relative; `runs/` would be seen here."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if torch.cuda.is_available():
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def assert_says(ended, *parts):
    sentence = ended.sentence()
    for part in parts:
        assert part in sentence


def assert_nothing_written(tmp_path):
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / "here").iterdir()) == []
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("case", OPTIONS)
def test_wrong_options(case, fit, tmp_path):
    words, *parts = OPTIONS[case]
    # YAML wants a space behind a colon, which would split the table's words
    ended = fit(*(word.replace(":", ": ") if "{" in word else word for word in words.split()))
    assert_says(ended, *parts)
    assert_nothing_written(tmp_path)


FILES = {
    "broken YAML": (b"data: [a\nmodel: {", "is not valid YAML in line"),
    "no text": (b"\xff\xfe\x00\x80", "is no text file"),
    "a list": (b"- a\n- b\n", "holds no options"),
    "empty": (b"", "holds nothing"),
    "unknown key": (b"data: {root: x, batchsize: 3}", "sets data.batchsize", "did you mean data.batch_size?"),
    "unknown group": (b"modle: {lr: 3}", "sets modle.lr", "did you mean model.lr?"),
    "wrong type": (b"{data: {root: x}, model: {lr: fast}}", "--model.lr cannot be fast", "give a number"),
    "no root": (b"model: {lr: 0.1}", "--root is missing", "--experiment NAME"),
}


@pytest.mark.parametrize("case", FILES)
def test_wrong_experiment_files(case, fit, tmp_path):
    content, *parts = FILES[case]
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    ended = fit(experiment=file)
    assert_says(ended, *parts)
    if "YAML" in case or "text" in case:
        assert str(file) in ended.err
        assert str(file) in fit("--config", str(file)).sentence()
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("setting", [{"seeds": "0,1"}, {"test": True}])
def test_what_makes_several_runs_is_no_setting_of_one(setting, fit, small, tmp_path):
    file = tmp_path / "several.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(small.read_text()), **setting}))
    assert_says(fit(experiment=file), "seeds and test are no settings of an experiment", "--seeds or --test")


def test_unknown_experiments(fit, tmp_path):
    known = ("potsdam_rgb_dsm", "potsdam_irrgb_dsm", "vaihingen_irrg_dsm")
    assert_says(fit(experiment="potsdam_rgb_dms"), "--experiment potsdam_rgb_dms", "mean potsdam_rgb_dsm?", *known)
    assert_says(fit(experiment="zzz"), "--experiment zzz is unknown: choose from", *known)
    assert_says(fit(experiment="my/own.yaml"), "--experiment my/own.yaml does not exist")
    assert_says(fit("--experiment", experiment=None), "--experiment needs a value")
    assert_says(fit(experiment=None), "--root is missing", "--experiment NAME")
    assert_nothing_written(tmp_path)


def test_roots_without_rasters(fit, tmp_path):
    empty, file = tmp_path / "empty", tmp_path / "file.txt"
    empty.mkdir()
    file.write_text("x")
    assert_says(fit("--root", str(empty)), str(empty), "no file of layout potsdam", "RGBIR.tif")
    assert_says(fit("--root", str(file)), str(file), "no zip archive")
    assert list(empty.iterdir()) == []
    assert_nothing_written(tmp_path)


def without_dsm(root):
    (root / DSM).unlink()


def small_dsm(root):
    write(root / DSM, raster(root / DSM)[:, :100])


def two_bands(root):
    write(root / IMAGE, raster(root / IMAGE)[:2])


def cut_short(root):
    truncate(root / IMAGE)


def strange_colours(root):
    shape = raster(root / LABEL).shape[1:]
    write(root / LABEL, np.broadcast_to(np.array([200, 130, 120], np.uint8)[:, None, None], (3, *shape)))


def nothing_measured(root):
    write(root / DSM, np.full_like(raster(root / DSM), np.nan))


def raster(path):
    with rasterio.open(path) as source:
        return source.read()


TILES = {
    without_dsm: ("tile 3_10 has no dsm: dsm_potsdam_03_10.tif is missing", "add the missing files", "allow_missing"),
    small_dsm: (DSM, "160 x 100 pixels where the tile is 160 x 160"),
    two_bands: (IMAGE, "has 2 bands where rgb needs 4", "put the right raster there"),
    cut_short: (IMAGE, "unreadable or cut short", "fetch it again"),
    strange_colours: (LABEL, "names no class in 100 % of its pixels", "put the right label there"),
    nothing_measured: (DSM, "no valid pixel", "replace or remove it"),
}


@pytest.mark.parametrize("spoil", TILES, ids=lambda spoil: spoil.__name__)
def test_wrong_rasters(spoil, broken, command, tmp_path):
    spoil(broken)
    words = ["--root", str(broken), "--modalities", "[rgb,ir,dsm]", "--workers", "1"]
    ended = command(prepare.main, words)
    assert_says(ended, str(broken), *TILES[spoil])
    assert not (broken / "mobanet_store/store.json").exists()
    assert not (broken / "mobanet_store/tiles/3_10").exists()
    ended = command(check.main, [*words, "--sheet", str(tmp_path / "sheet.png")])
    assert_says(ended, str(broken), "listed above")
    assert TILES[spoil][0] in ended.out
    assert leftovers(tmp_path) == []


def test_fit_tells_of_all_wrong_rasters_at_once_and_starts_nothing(broken, fit, tmp_path):
    without_dsm(broken)
    cut_short(broken)
    two_bands_of_another = broken / "4_Ortho_RGBIR/top_potsdam_2_10_RGBIR.tif"
    write(two_bands_of_another, raster(two_bands_of_another)[:2])
    ended = fit("--root", str(broken))
    assert_says(ended, "has no dsm", "cut short", "top_potsdam_2_10_RGBIR.tif has 2 bands")
    assert not (broken / "mobanet_store/store.json").exists()
    assert_nothing_written(tmp_path)


def test_labels_that_are_not_there(broken, fit, command, tmp_path):
    shutil.rmtree(broken / "5_Labels_all_noBoundary")
    assert command(prepare.main, ["--root", str(broken), "--workers", "1"]).code == 0
    assert_says(fit("--root", str(broken)), "has eroded labels", "--data.evaluation.labels full")
    assert_nothing_written(tmp_path)


def test_archives_that_are_no_good(command, fit, tmp_path):
    root = tmp_path / "archives"
    root.mkdir()
    (root / "Potsdam.zip").write_bytes(b"PK\x03\x04" + b"x" * 500)
    assert_says(command(prepare.main, ["--root", str(root)]), "Potsdam.zip is damaged or cut short", "fetch it again")
    with zipfile.ZipFile(root / "Potsdam.zip", "w") as archive:
        archive.writestr("../evil.tif", "x")
    for ended in (command(prepare.main, ["--root", str(root)]), fit("--root", str(root))):
        assert_says(ended, "'../evil.tif'", "Potsdam.zip", "do not use this archive")
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["Potsdam.zip"]
    assert_nothing_written(tmp_path)


def test_backbone_files_that_are_no_good(fit, tmp_path):
    import timm

    for name in ("damaged.pth", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"abc" * 50)
        ended = fit("--backbone", str(tmp_path / name))
        assert_says(ended, name, "cannot be read as weights", "undamaged")
    other = timm.create_model("vit_tiny_patch16_224", num_classes=0, **{**TINY, "embed_dim": 64})
    torch.save(other.state_dict(), tmp_path / "other.pth")
    ended = fit("--backbone", str(tmp_path / "other.pth"))
    assert_says(ended, "other.pth", "another architecture or size", "(1, 1, 64)", "--model.backbone.name")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("program", ["fit", "test"])
def test_checkpoints_that_are_no_good(program, fit, test, finished, tmp_path):
    run = fit if program == "fit" else test
    whole = (finished / "checkpoints/last.ckpt").read_bytes()
    for name, content in {
        "half.ckpt": whole[: len(whole) // 2],
        "head.ckpt": whole[:100],
        "empty.ckpt": b"",
        "text.ckpt": b"hello",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert_says(run("--ckpt_path", str(tmp_path / name)), name, "cannot be read as a checkpoint", "truncated")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {"lr": 1}}, tmp_path / "foreign.ckpt")
    for name in ("weights.ckpt", "foreign.ckpt"):
        assert_says(run("--ckpt_path", str(tmp_path / name)), name, "not a checkpoint of a mobanet run", "mobanet.fit")
    (tmp_path / "empty").mkdir()
    assert_says(run("--ckpt_path", str(tmp_path / "empty")), "empty is a folder without checkpoints/")
    assert_nothing_written(tmp_path)


def test_resuming_another_model(fit, finished, tmp_path):
    last = ("--ckpt_path", str(finished / "checkpoints/last.ckpt"))
    assert_says(
        fit(*last, "--model.backbone.options.depth", "8"),
        "another model",
        "--model.backbone.options.depth is 8 here and 4 in the checkpoint",
    )
    two = ("--modalities", "[rgb,dsm]", "--model.streams", "{optical: [rgb], elevation: [dsm]}")
    assert_says(fit(*last, *two), "--modalities is rgb, dsm here and rgb, ir, dsm in the checkpoint")
    assert_says(fit(*last, "--model.backbone.freeze", "true"), "other parts frozen", "--model.backbone.freeze")
    assert_nothing_written(tmp_path)


def test_what_a_test_refuses(test, finished, small, tmp_path):
    best = finished / "checkpoints/best.ckpt"
    assert_says(test(), "mobanet.test needs --ckpt_path FILE")
    assert_says(test("--experiment", str(small)), "mobanet.test needs --ckpt_path FILE")
    given = ("--ckpt_path", str(best))
    for words, parts in {
        ("--model.network.fusion", "mean"): ("--model.network.fusion is mean", "has dgfm", "leave the option out"),
        ("--model.lr=0.5",): ("--model.lr is 0.5", "leave the option out"),
        ("--modalities", "rgb,dsm"): ("--modalities is rgb, dsm", "the checkpoint has rgb, ir, dsm"),
        ("--root", "nowhere"): ("nowhere does not exist",),
    }.items():
        assert_says(test(*given, *words), *parts)
    lonely = shutil.copy(best, tmp_path / "lonely.ckpt")
    assert_says(test("--ckpt_path", str(lonely)), "--root is missing", "--experiment NAME")
    assert not (finished / "test").exists()
    assert_nothing_written(tmp_path)


def test_results_that_cannot_be_written(fit, tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for place in (file, file / "below"):
        assert_says(fit("--run", str(place)), f"cannot be written to {place}", "--run DIR")
    assert file.read_text() == "x"
    assert_nothing_written(tmp_path)


def test_monitoring_what_is_not_logged_ends_before_the_first_step(fit, tmp_path):
    ended = fit("--monitor", "val/miuo", "--trainer.num_sanity_val_steps", "1")
    assert_says(ended, "--monitor val/miuo is not logged", "did you mean val/miou?", "val/loss")
    assert not (tmp_path / "run/metrics.csv").exists()
    ended = fit("--monitor", "train/lss", "--trainer.max_epochs", "1")
    assert_says(ended, "train/lss", "train/loss")
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()


PREPARE = {
    "no root": ([], "--root is missing"),
    "unknown option": (["--root", ".", "--layot", "x"], "--layot", "did you mean --layout?"),
    "unknown layout": (["--root", ".", "--layout", "potsdm"], "layout 'potsdm'", "mean 'potsdam'?"),
    "unknown modality": (["--root", ".", "--modalities", "[dms]"], "modality 'dms'", "mean 'dsm'?"),
    "modalities as text": (["--root", ".", "--modalities", "rgb,dsm"], "--modalities cannot be rgb,dsm", "[a, b]"),
    "workers in words": (["--root", ".", "--workers", "two"], "--workers cannot be two", "whole number"),
    "own data undescribed": (["--root", ".", "--layout", "folder"], "layout folder needs a description"),
    "description missing": (["--root", ".", "--layout", "folder", "--folder", "x.yaml"], "x.yaml cannot be read"),
    "description unused": (["--root", ".", "--folder", "own.yaml"], "own.yaml"),
    "configuration missing": (["--config", "nowhere.yaml"], "nowhere.yaml", "does not exist"),
}


@pytest.mark.parametrize("case", PREPARE)
def test_wrong_options_of_prepare_and_check(case, command, tmp_path):
    words, *parts = PREPARE[case]
    for main in (prepare.main, check.main):
        ended = command(main, words)
        assert_says(ended, *parts)
        assert len(ended.err.splitlines()) == 1
    assert_nothing_written(tmp_path)


def test_stores_and_sheets_that_cannot_be_written(prepared, command, tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    ended = command(prepare.main, ["--root", str(prepared), "--store", str(file)])
    assert_says(ended, str(file), "cannot be written to", "another place")
    ended = command(check.main, ["--root", str(prepared), "--workers", "1", "--sheet", str(file / "sheet.png")])
    assert_says(ended, str(file), "cannot be written to", "another place with --sheet")


SYNTHESIZE = {
    "unknown layout": ({"layout": "potsdm"}, "--layout potsdm", "use potsdam, vaihingen, dstl or hunan"),
    "layout without names": ({"layout": "folder"}, "--layout folder", "use potsdam, vaihingen, dstl or hunan"),
    "too small": ({"size": "64"}, "--size 64", "give 128 or more"),
    "no size": ({"size": "big"}, "--size cannot be big", "whole number"),
    "no tiles": ({"tiles": "0"}, "--tiles 0", "1 to 37"),
    "too many tiles": ({"tiles": "999"}, "--tiles 999", "1 to 37"),
    "unknown product": ({"products": "[rgb,foo]"}, "--products foo", "rgb, irrg"),
    "negative seed": ({"seed": "-1"}, "--seed -1", "0 or more"),
    "unknown option": ({"sed": "3"}, "--sed is not an option", "--seed"),
}


@pytest.mark.parametrize("case", SYNTHESIZE)
def test_wrong_options_of_synthesize(case, command, tmp_path):
    changed, *parts = SYNTHESIZE[case]
    options = {"layout": "potsdam", "root": str(tmp_path / "new"), "tiles": "3", "size": "128"} | changed
    ended = command(synthesize.main, [word for name, value in options.items() for word in (f"--{name}", value)])
    assert_says(ended, *parts)
    assert not (tmp_path / "new").exists()


def test_synthesize_leaves_foreign_folders_alone(command, finished, tmp_path):
    others = ["--layout", "potsdam", "--tiles", "3", "--size", "128", "--root"]
    before = sorted(finished.rglob("*"))
    assert_says(command(synthesize.main, [*others, str(finished)]), str(finished), "give a new or empty folder")
    assert sorted(finished.rglob("*")) == before
    file = tmp_path / "file"
    file.write_text("x")
    assert_says(command(synthesize.main, [*others, str(file)]), str(file), "give a folder")
    assert_says(command(synthesize.main, [*others, str(file / "below")]), str(file / "below"))
    assert_says(command(synthesize.main, ["--layout", "potsdam"]), "--root, --tiles and --size are missing")


class FullDisk:
    """Lets files whose name ends in `ending` be opened, but not be written."""

    def __init__(self, ending):
        self.ending, self.open = ending, Path.open

    def __get__(self, path, _):
        def opened(mode="r", *args, **options):
            file = self.open(path, mode, *args, **options)
            return _Full(file) if path.name.endswith(self.ending) and "w" in mode else file

        return opened


class _Full:
    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_while_preparing(broken, command, monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "open", FullDisk(".part"))
    ended = command(prepare.main, ["--root", str(broken), "--workers", "1"])
    assert_says(ended, "the disk is full while writing", str(broken / "mobanet_store"), "free some space")
    assert not (broken / "mobanet_store").exists()
    monkeypatch.undo()
    assert command(prepare.main, ["--root", str(broken), "--workers", "1"]).code == 0
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_the_checkpoints_of_before(fit, finished, monkeypatch, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    last = tmp_path / "run/checkpoints/last.ckpt"
    before = last.read_bytes()
    monkeypatch.setattr(Path, "open", FullDisk("last.ckpt.part"))
    ended = fit("--ckpt_path", str(last), "--trainer.max_epochs", "3")
    assert_says(ended, f"the disk is full while writing {last}", "free some space")
    assert last.read_bytes() == before
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    assert fit("--ckpt_path", str(last), "--trainer.max_epochs", "3").code == 0
    assert last.read_bytes() != before


def test_mistakes_met_by_workers_are_one_sentence_too(fit, prepared, monkeypatch, tmp_path):
    read = TileReader.read
    mistake = UserError(f"{prepared} is on fire: put it out.")

    def burning(self, window):
        if torch.utils.data.get_worker_info() is None:
            return read(self, window)
        raise mistake

    def gone(self, window):
        (tmp_path / "gone.npy").read_bytes()

    def killed(self, window):
        os.kill(os.getpid(), signal.SIGKILL)

    for behaviour, parts in {
        burning: (str(mistake),),
        gone: ("gone.npy", "No such file", "check that the path is right"),
        killed: ("--workers", "memory"),
    }.items():
        monkeypatch.setattr(TileReader, "read", behaviour)
        assert_says(fit("--workers", "1"), *parts)


@pytest.mark.long
def test_as_users_meet_it(prepared, tmp_path):
    experiment = small_experiment(prepared)
    experiment["data"]["root"] = str(tmp_path / "nowhere")
    (tmp_path / "lost.yaml").write_text(yaml.safe_dump(experiment))
    processes = {
        start("mobanet.fit", "--experiment", "lost.yaml", folder=tmp_path, fresh=True): "nowhere does not exist",
        start("mobanet", "test", "--ckpt_path", "no.ckpt", folder=tmp_path): "no.ckpt does not exist",
        start("mobanet.prepare", "--root", "nowhere", folder=tmp_path): "nowhere does not exist",
        start("mobanet.synthesize", "--layout", "x", folder=tmp_path): "--root, --tiles and --size",
    }
    for process, part in processes.items():
        ended = wait(process)
        assert_says(ended, part)
        assert ended.err.count("\n") == 1
        assert ended.out == ""
    assert [path.name for path in tmp_path.iterdir() if path.name != "here"] == ["lost.yaml"]
