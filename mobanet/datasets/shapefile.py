"""Shapefiles looked at before GDAL reads them: several files, each of which says how long it is."""

import struct
from pathlib import Path

from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef


def check_shapefile(path: Path, file: FileRef, start: bytes) -> None:
    """Refuse a shapefile without index or attributes, and one whose parts have not the lengths that they say."""
    # in any case, as programs on Windows write .SHX and .DBF
    beside = {other.name.lower(): other for other in path.parent.iterdir()}
    parts = []
    for ending, what in ((".shx", "the index"), (".dbf", "the attributes")):
        part = beside.get(f"{path.stem}{ending}".lower())
        if part is None or not part.is_file():
            raise UserError(f"{file} lacks {path.stem}{ending}, which holds {what}: put it beside the shapefile")
        parts.append(part)
    # 9994, with which every shapefile begins (ESRI's description of 1998)
    if len(start) < 100 or start[:4] != b"\0\0\x27\x0a" or not _whole_shapefile(path, *parts):
        raise UserError(f"{file} is no shapefile, or cut short: fetch it and the files beside it again")


def _whole_shapefile(path: Path, index: Path, attributes: Path) -> bool:
    """Whether index, outlines and attributes are as long as their headers say."""
    # the length stands at byte 24 of both, with the greatest byte first
    for each in (path, index):
        with each.open("rb") as content:
            head = content.read(28)
        if len(head) < 28 or 2 * struct.unpack(">i", head[24:28])[0] > each.stat().st_size:  # in words of 16 bits
            return False
    with attributes.open("rb") as content:
        head = content.read(12)
    if len(head) < 12:
        return False
    # by dBASE, with the least byte first; that an end mark may follow is no harm
    rows, header, row = struct.unpack("<IHH", head[4:12])
    return header + rows * row <= attributes.stat().st_size
