"""Values against what is declared of them: check, prepare and predict say the same."""

import numpy as np
import pytest

from mobanet.data.datamodule import RasterDataModule
from mobanet.data.description import DataDescription, check_description
from mobanet.datasets import FolderModality, FolderSettings, FolderSplit, get_layout
from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster, GivenScene
from mobanet.prediction.scene import place
from mobanet.rasters.values import known_range
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from mobanet.store.tables import print_store
from tests.data_files.fake_files import SIZE, indices, noise, surface, write, zipped
from tests.data_files.test_declared import both, layout_of, raster, refused

RGB = {"pattern": "ortho/{tile}.tif", "band_numbers": [1, 2, 3]}
DSM = {"pattern": "dsm/{tile}.tif", "kind": "elevation", "unit": "metre"}
DEEP = noise("deep", 3).astype(np.uint16) * 16


def data(root, settings, **more):
    """A data module of a folder's own data, set up to be trained."""
    module = RasterDataModule(
        str(root), "folder", folder=settings, crop=32, batch_size=2, num_workers=0, train_labels="full", **more
    )
    module.evaluation.labels = "full"
    module.prepare_data()
    module.setup("fit")
    return module


def labelled(root, tiles, values, classes=None):
    for tile in tiles:
        write(root / f"ortho/{tile}.tif", values)
        write(root / f"label/{tile}.tif", (indices(tile) % 2 if classes is None else classes)[None].astype(np.uint8))


def settings(rgb=None, classes=("a", "b"), values=None):
    return FolderSettings(
        {"rgb": FolderModality(**{**RGB, **(rgb or {})})},
        list(classes),
        "label/{tile}.tif",
        values=values or {0: 0, 1: 1},
        splits=FolderSplit(["t*"], ["v"], []),
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (noise("a", 3), 255),
        (noise("a", 3).astype(np.uint16), 255),
        (DEEP, 4095),
        (noise("a", 3).astype(np.uint16) * 257, 65535),
        (noise("a", 3).astype(np.float32) / 255, 1),
        (noise("a", 3).astype(np.float32), 255),
    ],
)
def test_a_range_that_nobody_gives_is_that_of_type_and_values_and_is_said(root, caplog, capsys, values, expected):
    labelled(root, ("t1", "t2", "v"), values)
    findings = check_files(get_layout("folder", settings()), root, root / "store", workers=1)
    with caplog.at_level("INFO"):
        module = data(root, settings())
    print_store(build_store(get_layout("folder", settings()), root, workers=1))
    batch = next(iter(module.train_dataloader()))
    scaled = batch["inputs"]["rgb"].float() / batch["offset_scale"]["rgb"][:, 1].float()[:, :, None, None]
    assert 0.5 < float(scaled.max()) <= 1
    assert module.state_dict()["scaling"]["rgb"] == [[0] * 3, [expected] * 3]
    assert module._ranged(module.tiles("train"))["rgb"].maximum == expected  # what colours are changed within
    for said in (" ".join(findings.notes), caplog.text, capsys.readouterr().out):
        assert (f"rgb: no maximum is given, and by its type and values it goes from 0 to {expected}" in said) == (
            expected != 255
        )


def test_a_range_that_is_taken_from_the_data_travels_in_the_checkpoint(root):
    labelled(root, ("t1", "v"), DEEP)
    module = data(root, settings())
    plain = module.description.to_plain()
    check_description(plain)
    (modality,) = DataDescription.from_plain(plain).modalities
    ranges = {"rgb": known_range(modality, "unit", np.array(module.state_dict()["scaling"]["rgb"]))}
    scene = GivenScene("v", {"rgb": GivenRaster(root / "ortho/v.tif")})
    assert place(scene, {"rgb": modality}, ranges=ranges).rasters["rgb"].dtype == np.uint16  # the run's own tile
    write(root / "ortho/v.tif", DEEP * 2)
    assert place(scene, {"rgb": modality}, ranges=ranges)  # what was taken from some tiles may be exceeded by others
    write(root / "ortho/v.tif", noise("v", 3).astype(np.float32) * 255)
    with pytest.raises(UserError, match=r"values up to \d+ and more, and the model knows rgb from 0 to 4095: .*--fact"):
        place(scene, {"rgb": modality}, ranges=ranges)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (DEEP, ("has values up to 4064 and more", "0 to 255", "--factor rgb=0.06227")),
        (noise("a", 3).astype(np.float32) / 255, ("has values up to 0.996078 only", "0 to 255", "--factor rgb=255")),
        (noise("a", 3).astype(np.float32) - 200, ("has values down to -200", "0 to 255", "nodata", "-200")),
        (noise("a", 3).astype(np.int16) - 200, ("has values down to -200", "0 to 255")),
    ],
)
def test_imagery_of_another_range_than_declared_is_refused_alike_everywhere(root, values, said):
    raster(root, "ortho", values)
    refused(root, *said, rgb=FolderModality(**RGB, maximum=255))


def test_a_value_that_only_the_whole_raster_shows_is_refused_where_all_of_it_is_read(root):
    values = np.zeros((3, 700, 500), np.uint16)
    values[1, 130, 130] = 3000  # between the windows that are looked at first
    raster(root, "ortho", values)
    with pytest.raises(UserError, match="has values up to 3000 and more, and rgb is described as 0 to 255"):
        build_store(layout_of(rgb=FolderModality(**RGB, maximum=255)), root, root / "store", workers=1)


def test_a_factor_mends_what_was_refused(root):
    raster(root, "ortho", noise("a", 3).astype(np.float32) / 255)
    found, _, _ = both(root, rgb=FolderModality(**RGB, maximum=255, factor=255))
    assert found["rgb"][0].max() == pytest.approx(noise("a", 3).max())


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax"])
def test_no_range_is_asked_for_where_the_scaling_does_not_look_at_it(scaling, tmp_path):
    hunan = get_layout("hunan")
    values = write(tmp_path / "s2.tif", np.full((13, *SIZE), 10_500, np.uint16))
    ranges = {name: known_range(m, scaling, np.ones((2, len(m.bands)))) for name, m in hunan.modalities.items()}
    given = GivenScene("s", {"s2": GivenRaster(values)})
    assert place(given, {"s2": hunan.modalities["s2"]}, ranges=ranges)
    with pytest.raises(UserError, match="from 0 to 10000"):
        place(given, {"s2": hunan.modalities["s2"]})


def test_a_layout_that_scales_otherwise_knows_no_range(root):
    write(root / "s2/s2_298.tif", np.full((13, *SIZE), 10_500, np.uint16))
    write(root / "lc/lc_298.tif", np.ones((1, *SIZE), np.uint8))
    assert check_files(get_layout("hunan"), root, root / "store", ["s2"], workers=1).problems == []


# heights


@pytest.mark.parametrize("kind", ["float32", "int16", "int32"])
@pytest.mark.parametrize("void", [-9999, -32768, 9999, 32767, -99999])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_numbers_that_stand_for_nothing_are_missing_and_said(root, kind, void, scale):
    if kind == "int16" and abs(void) > 40_000:
        return
    heights = (surface("h")[0] / scale).astype(kind)
    heights[:10] = void
    raster(root, "dsm", heights[None], scales=(scale,))
    if scale != 1 and void > 0:
        return  # 99.99 m is a height
    found, notes, others = both(root, dsm=FolderModality(**DSM))
    values, there = found["dsm"]
    assert np.array_equal(there, heights != void)
    assert np.ptp(values) < 40
    for told in (notes, others):
        assert any(f"{void:g} in a.tif is taken for missing, though the file does not declare it" in n for n in told)


def test_a_minimum_of_the_users_says_what_is_a_height(root):
    depths = surface("h")
    depths[0, :10] = -9999
    raster(root, "dsm", depths)
    found, notes, _ = both_trained(root, FolderModality(**DSM, minimum=-11_000))
    assert found[1].all()
    assert notes == ()


def both_trained(root, own):
    from tests.data_files.test_declared import prepared

    found, notes = prepared(root, dsm=own)
    return found["dsm"], notes, None


def test_heights_that_are_none_are_refused_with_the_factor_that_mends_them(root):
    raster(root, "dsm", surface("h") * 1000)
    refused(root, "has heights up to 55400, where nothing is higher than 9000", "--factor dsm=0.01",
            dsm=FolderModality(**DSM))  # fmt: skip


@pytest.mark.parametrize(("low", "said"), [(28, True), (3, False)])
def test_heights_of_exactly_0_far_below_all_others_are_said(root, low, said):
    heights = surface("h") - 30 + low
    heights[0, :10] = 0
    raster(root, "dsm", heights)
    _, notes, others = both(root, dsm=FolderModality(**DSM))
    findings = check_files(layout_of(dsm=FolderModality(**DSM)), root, root / "store", workers=1)
    for told, remedy in (
        (notes, "nodata: 0 under modalities.dsm"),
        (findings.tiles[0].notes, "nodata: 0 under modalities.dsm"),
        (others, "--nodata dsm=0"),
    ):
        assert any("is exactly 0 and nothing else lower" in note and remedy in note for note in told) == said


# classes and files


def test_a_class_that_no_training_tile_has_is_said(root, caplog, capsys):
    labelled(root, ("t1", "t2", "v"), noise("a", 3), indices("a") % 2 + 1)  # ids from 1 on, described from 0 on
    own = settings(classes=("a", "b", "c"), values={0: 0, 1: 1, 2: 2})
    findings = check_files(get_layout("folder", own), root, root / "store", workers=1)
    with caplog.at_level("INFO"):
        data(root, own)
    print_store(build_store(get_layout("folder", own), root, workers=1))
    for said in (" ".join(findings.notes), caplog.text, capsys.readouterr().out.replace("\n", " ")):
        assert "has a pixel of the class a, which cannot be learnt so" in said


@pytest.mark.parametrize("use", ["rgb", "label_full"])
def test_two_files_for_one_tile_are_refused(root, use):
    labelled(root, ("t1", "v"), noise("a", 3))
    folder = "ortho" if use == "rgb" else "label"
    write(root / f"{folder}/more/t1.tif", noise("b", 3)[: 3 if use == "rgb" else 1])
    own = settings({"pattern": "ortho/**/{tile}.tif"})
    own.label = "label/**/{tile}.tif"
    for door in (check_files, build_store):
        with pytest.raises(UserError, match=rf"of {use} matches two files of the tile t1, {folder}/.*t1\.tif and "):
            door(get_layout("folder", own), root, root / "store", workers=1)


def test_a_file_beside_the_archive_that_it_came_in_is_one_file(root, tmp_path):
    labelled(root, ("t1", "v"), noise("a", 3))
    zipped(root / "ortho.zip", root / "ortho")
    assert list(build_store(get_layout("folder", settings()), root, root / "store", workers=1).tiles) == ["t1", "v"]
