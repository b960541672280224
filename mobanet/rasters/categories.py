"""What the values of a map mean, and how QGIS, ArcGIS and GDAL learn their names.

A GeoTIFF holds a colour table but no names. These are looked for beside it, in `NAME.tif.aux.xml` (GDAL's PAM format):
by GDAL as category names, by QGIS and ArcGIS as a raster attribute table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from mobanet.errors import UserError
from mobanet.rasters.contents import IGNORE_INDEX, Classes
from mobanet.rasters.distinct_colours import distinct_colours

Colour = tuple[int, int, int]

_INTEGER, _TEXT = 0, 2
# name, and as GDAL numbers them type and use: 5 is the value itself, 2 its name, 6 to 8 its colour
_COLUMNS = (
    ("Value", _INTEGER, 5),
    ("Class", _TEXT, 2),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
)

UNITS = 254
"""The largest value of a probability in 8 bits, which stands for 1; 255 stands for nothing."""


@dataclass(frozen=True)
class RasterKind:
    """What the pixels of a written raster mean.

    Attributes:
        dtype: `uint8` or `float32`.
        nodata: value of pixels of which nothing is known: 255, or NaN.
        bands: their descriptions.
        colours: colour table by value, RGB; empty for none.
        categories: names by value; empty for none.
        scale: a real value is the stored one times this.
        overviews: how smaller versions are made, as rasterio names it: `mode` for classes, `average` for probabilities.
    """

    dtype: str
    nodata: float
    bands: tuple[str, ...]
    colours: tuple[Colour, ...] = ()
    categories: tuple[str, ...] = ()
    scale: float = 1.0
    overviews: str = "mode"


def class_kind(classes: Classes) -> RasterKind:
    """Class indices in one band, in the colours of the classes."""
    return RasterKind("uint8", IGNORE_INDEX, ("class",), classes.colours, classes.names)


def probability_kind(classes: Classes, dtype: Literal["uint8", "float32"]) -> RasterKind:
    """A band a class; as uint8 in steps of 1/254."""
    return _share_kind(classes.names, dtype)


def confidence_kind(dtype: Literal["uint8", "float32"]) -> RasterKind:
    """The highest probability in one band; as uint8 in steps of 1/254."""
    return _share_kind(("confidence",), dtype)


def _share_kind(bands: tuple[str, ...], dtype: Literal["uint8", "float32"]) -> RasterKind:
    nodata, scale = (255, 1 / UNITS) if dtype == "uint8" else (float("nan"), 1.0)
    return RasterKind(dtype, nodata, bands, scale=scale, overviews="average")


def scenario_kind(names: Sequence[str]) -> RasterKind:
    """Which scenario a pixel was predicted in: its index in `names`, which come in the usual order.

    Raises:
        UserError: when there are more than 8 bits can tell apart.
    """
    if len(names) > IGNORE_INDEX:
        raise UserError(
            f"a map of scenarios tells at most {IGNORE_INDEX} apart, and there are {len(names)}: ask for no such "
            "map, or use fewer modalities."
        )
    return RasterKind("uint8", IGNORE_INDEX, ("scenario",), distinct_colours(len(names)), tuple(names))


def sidecar(names: Sequence[str], colours: Sequence[Colour] = (), existing: bytes | None = None) -> bytes:
    """Names and colours of the first band's values as XML, by value; no colours where these are empty.

    What GDAL itself has to say beside the raster, `existing`, is kept.
    """
    root = ElementTree.fromstring(existing) if existing else ElementTree.Element("PAMDataset")
    band = root.find("PAMRasterBand[@band='1']")
    if band is None:
        band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    listed = ElementTree.SubElement(band, "CategoryNames")
    # GDAL takes categories by their place, from the value 0 on
    for name in names:
        ElementTree.SubElement(listed, "Category").text = name
    table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    columns = _COLUMNS if colours else _COLUMNS[:2]
    for index, (name, kind, use) in enumerate(columns):
        column = ElementTree.SubElement(table, "FieldDefn", index=str(index))
        for key, value in (("Name", name), ("Type", kind), ("Usage", use)):
            ElementTree.SubElement(column, key).text = str(value)
    for value, name in enumerate(names):
        row = ElementTree.SubElement(table, "Row", index=str(value))
        for cell in (value, name, *(colours[value] if colours else ())):
            ElementTree.SubElement(row, "F").text = str(cell)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode").encode() + b"\n"  # UTF-8, as GDAL expects
