"""Engineering systems, as some offices deliver labels in: the same plane by name and axes, or a sentence."""

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import from_origin

from mobanet.datasets import FolderModality, FolderSettings, get_layout
from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster, GivenScene
from mobanet.prediction.rows import RasterRows
from mobanet.prediction.scene import place
from mobanet.rasters.pixel_size import pixel_area
from mobanet.rasters.reference_systems import same_plane
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from tests.data_files.fake_files import indices, load, noise, surface, write

KNOWN = "EPSG:2154"


def local(name="RGF93 / Lambert-93", unit='UNIT["metre",1,AUTHORITY["EPSG","9001"]]', axes=("Easting", "Northing")):
    first, second = axes
    return CRS.from_wkt(f'LOCAL_CS["{name}",{unit},AXIS["{first}",EAST],AXIS["{second}",NORTH]]')


def tile(root, ortho, others, pixel=1, heights=None):
    """An ortho of 64 x 60 pixels of 1 m; label and heights of pixels of another size."""
    size = (60 // pixel, 64 // pixel)
    there, coarse = from_origin(700_000, 6_600_000, 1, 1), from_origin(700_000, 6_600_000, pixel, pixel)
    write(root / "ortho/a.tif", noise("a", 3), crs=ortho, transform=there)
    write(root / "label/a.tif", (indices("a", size) % 2)[None], crs=others, transform=coarse)
    write(root / "dsm/a.tif", surface("a", size), crs=heights or others, transform=coarse)
    return get_layout(
        "folder",
        FolderSettings(
            {
                "rgb": FolderModality("ortho/{tile}.tif", band_numbers=[1, 2, 3]),
                "dsm": FolderModality("dsm/{tile}.tif", kind="elevation"),
            },
            ["a", "b"],
            "label/{tile}.tif",
            values={0: 0, 1: 1},
        ),
    )


def scene_of(root, layout):
    given = {"rgb": GivenRaster(root / "ortho/a.tif"), "dsm": GivenRaster(root / "dsm/a.tif")}
    return place(GivenScene("a", given), layout.modalities)


@pytest.mark.parametrize("pixel", [1, 2])
@pytest.mark.parametrize(
    ("ortho", "others"),
    [
        (KNOWN, local()),
        (KNOWN, local("RGF93 v1 / Lambert-93")),
        (local(), KNOWN),
        (local(), local()),
        (local("site grid"), local("Site Grid", axes=("E", "N"))),
    ],
)
def test_the_same_name_and_axes_are_the_same_plane(root, capfd, ortho, others, pixel):
    layout = tile(root, ortho, others, pixel)
    assert check_files(layout, root, root / "store", workers=1).problems == []
    stored = build_store(layout, root, root / "store", workers=1).tiles["a"]
    label = indices("a", (60 // pixel, 64 // pixel)) % 2
    assert np.array_equal(load(stored, "label_full"), label.repeat(pixel, 0).repeat(pixel, 1))
    scene = scene_of(root, layout)
    assert scene.rasters["dsm"].fit == ("same" if pixel == 1 else "warp")
    with RasterRows(scene.rasters["dsm"]) as rows:
        ((values, _),) = rows.chunks()
    assert np.array_equal(values, load(stored, "dsm"))
    pixel_area(scene.grid)
    assert "ERROR" not in capfd.readouterr().err  # of GDAL


@pytest.mark.parametrize("pixel", [1, 2])
@pytest.mark.parametrize(
    "other",
    [
        local("site grid"),
        local(unit='UNIT["US survey foot",0.304800609601219]'),
    ],
)
def test_a_local_system_that_is_another_is_a_sentence(root, capfd, other, pixel):
    layout = tile(root, KNOWN, KNOWN, pixel, heights=other)
    problems = "; ".join(check_files(layout, root, root / "store", workers=1).problems)
    with pytest.raises(UserError) as prepare:
        build_store(layout, root, root / "store", workers=1)
    with pytest.raises(UserError) as predict:
        scene_of(root, layout)
    for said in (problems, str(prepare.value), str(predict.value)):
        assert "dsm/a.tif cannot be placed, since the local system " in said
        assert (
            "is tied to no place, nor so to EPSG:2154: write the right system into the file, as with gdal_edit" in said
        )
    assert "ERROR" not in capfd.readouterr().err


def test_axes_that_point_elsewhere_are_another_plane():  # which a GeoTIFF cannot say, but other formats can
    south = CRS.from_wkt('LOCAL_CS["RGF93 / Lambert-93",UNIT["metre",1],AXIS["Westing",WEST],AXIS["Southing",SOUTH]]')
    assert not same_plane(KNOWN, south.to_string())


def test_known_systems_are_compared_as_before():
    assert same_plane(KNOWN, KNOWN)
    assert not same_plane("EPSG:32633", "EPSG:25833")  # centimetres apart, and a way between them is known
    assert same_plane("EPSG:25833+7837", local("ETRS89 / UTM zone 33N").to_string())  # with heights


def test_a_map_keeps_a_local_system(root, tmp_path):
    from mobanet.rasters.categories import class_kind
    from mobanet.rasters.geotiff import RowWriter

    grid = scene_of(root, tile(root, local(), local())).grid
    layout = get_layout("potsdam")
    with RowWriter(tmp_path / "map.tif", grid, class_kind(layout.classes)) as writer:
        writer.write(np.zeros((1, 60, 64), np.uint8))
    with rasterio.open(tmp_path / "map.tif") as file:
        assert same_plane(file.crs.to_string(), local().to_string())
