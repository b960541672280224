"""The style that QGIS gives a raster when it is opened: `NAME.qml` beside `NAME.tif`."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

_HEAD = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def style_of(path: Path) -> Path:
    """Where the style of a raster is."""
    return path.with_suffix(".qml")


def paletted_style(names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> bytes:
    """A style with an entry for each value from 0 on, and for nothing else.

    Args:
        names: by value.
        colours: by value, RGB.
    """
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    given = {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    renderer = ElementTree.SubElement(pipe, "rasterrenderer", given)
    ElementTree.SubElement(renderer, "rasterTransparency")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(names, colours, strict=True)):
        entry = {"value": str(value), "color": "#{:02x}{:02x}{:02x}".format(*colour), "label": name, "alpha": "255"}
        ElementTree.SubElement(palette, "paletteEntry", entry)
    ElementTree.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ElementTree.SubElement(root, "blendMode").text = "0"
    ElementTree.indent(root)
    return _HEAD + ElementTree.tostring(root, encoding="unicode").encode() + b"\n"
