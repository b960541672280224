"""GDAL's virtual rasters: text files that name the rasters whose pixels they show."""

import re
from pathlib import Path
from xml.sax.saxutils import unescape

_SOURCE = re.compile(r"<SourceFilename([^>]*)>([^<]+)</SourceFilename>")

_MOST = 1 << 24
"""Bytes of such a file that are looked at; a mosaic of thousands of rasters has a few million."""


def absent_source(path: Path) -> str | None:
    """The first raster that a virtual one names and that is not there; None where all are, and for other files."""
    if path.suffix.lower() != ".vrt":
        return None
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return None
    for attributes, name in _SOURCE.findall(text):
        name = unescape(name)
        if name.startswith("/vsi") or "://" in name:  # in an archive or on the web
            continue
        source = path.parent / name if 'relativeToVRT="1"' in attributes else Path(name)
        if not source.exists():
            return str(source)
    return None
