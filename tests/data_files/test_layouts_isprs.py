import pytest

from mobanet.datasets import get_layout
from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef
from tests.data_files.fake_files import coloured, indices, noise, potsdam_tile, surface, vaihingen_area, write


def by_id(layout, root, modalities=None):
    return {tile.id: tile for tile in layout.find(root, layout.check_modalities(modalities))}


def test_official_potsdam_folders(potsdam, root):
    for tile in ((6, 7), (2, 10), (3, 13)):
        potsdam_tile(root, *tile)
    tiles = by_id(potsdam, root)
    assert list(tiles) == ["2_10", "3_13", "6_7"]
    tile = tiles["6_7"]
    rgbir = FileRef(root / "4_Ortho_RGBIR/top_potsdam_6_7_RGBIR.tif")
    assert tile.sources["rgb"].file == rgbir
    assert tile.sources["rgb"].bands == (0, 1, 2)
    assert tile.sources["ir"].bands == (3,)
    assert tile.sources["dsm"].file.name == "dsm_potsdam_06_07.tif"
    assert tile.sources["dsm"].minimum == -1000
    assert tile.labels["full"].name == "top_potsdam_6_7_label.tif"
    assert tile.labels["eroded"].name == "top_potsdam_6_7_label_noBoundary.tif"
    assert tile.world == FileRef(rgbir.path.with_suffix(".tfw"))


@pytest.mark.parametrize("name", ["dsm_potsdam_6_7.tif", "dsm_potsdam_06_7.TIF", "DSM_Potsdam_06_07.tiff"])
def test_numbers_padded_or_not_in_any_case_and_folder(potsdam, root, name):
    write(root / f"a/b/{name}", surface("x"))
    assert by_id(potsdam, root, ["dsm"])["6_7"].sources["dsm"].file.name == name


def test_doubled_and_lower_case_folders(potsdam, root):
    write(root / "2_ortho_rgb/2_Ortho_RGB/top_potsdam_2_10_RGB.tif", noise("a", 3))
    write(root / "3_ortho_irrg/3_Ortho_IRRG/top_potsdam_2_10_IRRG.tif", noise("b", 3))
    write(root / "5_Labels_for_participants_no_Boundary/top_potsdam_2_10_label_no_Boundary.tif", coloured(indices("a")))
    tile = by_id(potsdam, root, ["rgb", "ir", "irrg"])["2_10"]
    assert tile.sources["rgb"].file.name == "top_potsdam_2_10_RGB.tif"
    assert (tile.sources["ir"].file.name, tile.sources["ir"].bands) == ("top_potsdam_2_10_IRRG.tif", (0,))
    assert tile.sources["irrg"].bands == (0, 1, 2)
    assert set(tile.labels) == {"eroded"}


def test_irrg_out_of_rgbir(potsdam, root):
    potsdam_tile(root, 2, 10)
    assert by_id(potsdam, root, ["irrg"])["2_10"].sources["irrg"].bands == (3, 0, 1)


def test_ndsm_prefers_ownapproach_and_passes_over_empty_files(potsdam, root):
    for tile, own in (("02_10", noise("n", 1)), ("02_11", None), ("02_12", "absent")):
        stem = root / f"1_DSM_normalisation/dsm_potsdam_{tile}_normalized"
        write(stem.with_name(f"{stem.name}_lastools.jpg"), noise("m", 1), "JPEG")
        if own is None:
            stem.with_name(f"{stem.name}_ownapproach.jpg").touch()
        elif not isinstance(own, str):
            write(stem.with_name(f"{stem.name}_ownapproach.jpg"), own, "JPEG")
    tiles = by_id(potsdam, root, ["ndsm", "ndsm_lastools"])
    chosen = [tiles[name].sources["ndsm"].file.name.rsplit("_", 1)[-1] for name in ("2_10", "2_11", "2_12")]
    assert chosen == ["ownapproach.jpg", "lastools.jpg", "lastools.jpg"]
    assert tiles["2_10"].sources["ndsm_lastools"].file.name.endswith("lastools.jpg")
    assert tiles["2_10"].sources["ndsm"].factor == 0.1
    assert "ownapproach.jpg is empty" in tiles["2_11"].notes[0]
    with pytest.raises(UserError, match="nothing for dsm"):
        by_id(potsdam, root, ["dsm"])
    only = by_id(potsdam, root, ["ndsm", "ndsm_ownapproach"])["2_12"]
    assert only.missing == {"ndsm_ownapproach": "dsm_potsdam_02_12_normalized_ownapproach.jpg"}


def test_the_fuller_set_of_labels_wins(potsdam, root):
    for tile in ((2, 10), (2, 11)):
        potsdam_tile(root, *tile)
    copy = root / "0_Labels_for_participants/top_potsdam_2_10_label.tif"
    write(copy, coloured(indices("2_10")))
    tile = by_id(potsdam, root)["2_10"]
    assert tile.labels["full"].path.parent.name == "5_Labels_all"
    assert tile.copies["label_full"] == (FileRef(copy),)


def test_tiles_without_imagery_are_left_out_with_a_note(potsdam, root):
    potsdam_tile(root, 2, 10)
    write(root / "5_Labels_all/top_potsdam_2_11_label.tif", coloured(indices("a")))
    from mobanet.datasets.catalogue import list_files

    survey = potsdam.survey(list_files(root), ("rgb",))
    assert [tile.id for tile in survey.tiles] == ["2_10"]
    assert "2_11" in survey.notes[0]


def test_nothing_found(potsdam, vaihingen, root):
    with pytest.raises(UserError, match=r"holds no file of layout potsdam, such as top_potsdam_2_10_RGBIR\.tif"):
        potsdam.find(root, ["rgb"])
    vaihingen_area(root, 1)
    with pytest.raises(UserError, match="holds no file of layout potsdam"):
        potsdam.find(root, ["rgb"])
    with pytest.raises(UserError, match="does not exist"):
        potsdam.find(root / "nowhere", ["rgb"])


@pytest.mark.parametrize(
    "labels",
    [
        "gts_for_participants",
        "Labels",
        "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE",
        "ISPRS_semantic_labeing_Vaihingen_ground_truth_eroded_for_participants/x",
        "gt",
    ],
)
def test_vaihingen_images_and_labels_by_folder(vaihingen, root, labels):
    vaihingen_area(root / "ISPRS_semantic_labeling_Vaihingen", 1, label_folder=labels)
    tile = by_id(vaihingen, root)["1"]
    assert tile.sources["irrg"].file.path.parent.name == "top"
    assert tile.labels["full"].path.parent.name == labels.split("/")[-1]
    assert tile.copies["irrg"] == ()


def test_vaihingen_images_and_labels_by_colour(vaihingen, root):
    write(root / "a/top_mosaic_09cm_area7.tif", coloured(indices("a")))
    write(root / "b/top_mosaic_09cm_area7.tif", noise("b", 3))
    tile = by_id(vaihingen, root, ["irrg", "ir", "rg"])["7"]
    assert tile.labels["full"].path.parent.name == "a"
    assert tile.sources["rg"].file.path.parent.name == "b"
    assert (tile.sources["ir"].bands, tile.sources["rg"].bands) == ((0,), (1, 2))


def test_vaihingen_undecidable_file(vaihingen, root):
    mixed = coloured(indices("a"))
    mixed[:, :, :4] = 127  # neither a clean label nor a photograph
    write(root / "top_mosaic_09cm_area7.tif", mixed)
    with pytest.raises(UserError, match=r"area7\.tif could be an image or a label"):
        by_id(vaihingen, root)


def test_vaihingen_stray_area9(vaihingen, root):
    vaihingen_area(root, 1)
    for area in (1, 9):
        write(root / f"eroded/top_mosaic_09cm_area{area}_noBoundary.tif", coloured(indices("a")))
    from mobanet.datasets.catalogue import list_files

    survey = vaihingen.survey(list_files(root), ("irrg", "dsm"))
    assert [tile.id for tile in survey.tiles] == ["1"]
    assert set(survey.tiles[0].labels) == {"full", "eroded"}
    assert "area 9 left out" in survey.notes[0]


@pytest.mark.parametrize(
    "name",
    ["dsm_09cm_matching_area1_normalized.jpg", "dsm_09cm_matching_area1.bmp", "nDSM/dsm_09cm_matching_area1.tif"],
)
def test_vaihingen_ndsm_copies(vaihingen, root, name):
    vaihingen_area(root, 1)
    driver = {"jpg": "JPEG", "bmp": "BMP", "tif": "GTiff"}[name[-3:]]
    write(root / name, noise("n", 1), driver)
    tile = by_id(vaihingen, root, ["dsm", "ndsm"])["1"]
    assert tile.sources["ndsm"].file == FileRef(root / name)
    assert tile.sources["dsm"].file == FileRef(root / "dsm/dsm_09cm_matching_area1.tif")


def test_definitions():
    potsdam, vaihingen = get_layout("potsdam"), get_layout("vaihingen")
    assert potsdam.default_modalities == ("rgb", "ir", "dsm")
    assert vaihingen.default_modalities == ("irrg", "dsm")
    assert vaihingen.modalities["irrg"].bands == ("infrared", "red", "green")
    assert (potsdam.crs, vaihingen.crs) == ("EPSG:32633", "EPSG:32632")
    assert potsdam.classes.averaged == potsdam.classes.names[:5]
    for layout in (potsdam, vaihingen):
        assert set(layout.recipes) == set(layout.modalities)


def test_unknown_names():
    with pytest.raises(UserError, match=r"no layout 'potsdm' \(did you mean 'potsdam'\?\): choose from potsdam, vaih"):
        get_layout("potsdm")
    with pytest.raises(UserError, match="potsdam has no modality 'dem'"):
        get_layout("potsdam").check_modalities(["dem"])
    with pytest.raises(UserError, match="has no split 'papr'"):
        get_layout("potsdam").resolve_split("papr", [])
    with pytest.raises(UserError, match="layout folder needs a description"):
        get_layout("folder")
