"""The style that QGIS gives a layer when it is opened: `NAME.qml` beside `NAME.tif` or `NAME.gpkg`."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

_HEAD = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def style_of(path: Path) -> Path:
    """Where the style of a raster, or of a GeoPackage with one layer, is."""
    return path.with_suffix(".qml")


def paletted_style(names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> bytes:
    """A style with an entry for each value from 0 on, and for nothing else; colours are RGB."""
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
    return _written(root)


def categorised_style(field: str, names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> bytes:
    """A style of polygons with an entry for each text that a field may have; colours are RGB."""
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = ElementTree.SubElement(root, "renderer-v2", type="categorizedSymbol", attr=field)
    categories, symbols = (ElementTree.SubElement(renderer, name) for name in ("categories", "symbols"))
    for number, (name, colour) in enumerate(zip(names, colours, strict=True)):
        given = {"value": name, "label": name, "symbol": str(number), "render": "true"}
        ElementTree.SubElement(categories, "category", given)
        symbol = ElementTree.SubElement(symbols, "symbol", type="fill", name=str(number), alpha="1")
        layer = ElementTree.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0"})
        options = ElementTree.SubElement(layer, "Option", type="Map")
        told = {"color": "{},{},{},255".format(*colour), "outline_color": "35,35,35,255", "outline_width": "0.1"}
        for key, value in told.items():
            ElementTree.SubElement(options, "Option", name=key, type="QString", value=value)
            ElementTree.SubElement(layer, "prop", k=key, v=value)  # as QGIS before 3.26 has it
    return _written(root)


def _written(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    return _HEAD + ElementTree.tostring(root, encoding="unicode").encode() + b"\n"
