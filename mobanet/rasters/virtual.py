"""GDAL's virtual rasters: text files that name the rasters whose pixels they show.

What the user names may lie anywhere. What a virtual raster names must not: one that came with the data must not send
anybody to the network, and one at a URL neither to another server nor to this machine's disk.
"""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef
from mobanet.rasters.elsewhere import Elsewhere, redacted

_ELEMENT = re.compile(r"<([A-Za-z][\w.:-]*)([^<>]*)>([^<]*)")
_ATTRIBUTE = re.compile(r"([\w.:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_COMMENT = re.compile(r"<!--.*?-->|<!\[CDATA\[|\]\]>", re.DOTALL)

# in the name of a raster: what leads to the network, or to a description that may
_NETWORK = re.compile(
    r"(?:https?|ftps?|s3|gs|az|abfss?|adl|oss|swift)://|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)|"
    r"(?:^|[\"':])(?:WMS|WCS|WMTS|STACIT|STACTA|PLMOSAIC|EEDAI|OGCAPI|NGW|GTI|DAAS|vrt):|<\s*\w+",
    re.IGNORECASE,
)

_SERVICES = re.compile(r"<(?:GDAL_WMS|WCS_GDAL|GDAL_WMTS|Capabilities|GDALTileIndexDataset|MRF_META|GDAL_DAAS)\b")

_TEXTS = ("Description", "Category", "UnitType")  # elements for readers, who may be given any link
_DATASETS = ("X_DATASET", "Y_DATASET", "RPC_DEM")  # metadata that name a raster; others may hold any link
_MOST = 1 << 26  # bytes of such a file; a mosaic of thousands of rasters has a few million

_BEGINNING = 1 << 10

# of virtual rasters that show virtual rasters
_DEEPEST = 8


def absent_source(path: Path) -> str | None:
    """The first raster that a virtual one names and that is not there; None where all are, and for other files."""
    text = _text(path)
    for name, relative in _sources(text or ""):
        if _NETWORK.search(name) or name.startswith("/vsi"):  # in an archive or on the web
            continue
        source = path.parent / name if relative else Path(name)
        if not source.exists():
            return str(source)
    return None


def check_local(path: Path, shown: FileRef) -> None:
    """Refuse a virtual raster on this disk that leads to the network, itself or by others that it names.

    Raises:
        UserError: with the name that it leads to.
    """
    _check_text(path, shown, _DEEPEST, {path})


def check_beside(overviews: str | None, shown: FileRef) -> None:
    """Refuse overviews on the network, which a text beside a raster or in it may name.

    Raises:
        UserError: with the name, as GDAL gives it.
    """
    if overviews is not None and _NETWORK.search(overviews):
        raise UserError(
            f"{shown} names overviews at {redacted(overviews)}, where a file may not lead to the network: remove that "
            "from the text beside it, or from its metadata."
        )


def check_remote(place: Elsewhere, text: str) -> None:
    """Refuse a virtual raster on the network, by its text, that leads anywhere but to its own server.

    Raises:
        UserError: with the name that it leads to.
    """
    for name in _names(text):
        if _NETWORK.search(name) and not name.startswith(place.server):
            raise UserError(f"{place} shows pixels of {redacted(name)}, on another server: give that address itself.")
    for name, relative in _sources(text):
        inside = _NETWORK.search(name) or (relative and not name.startswith("/"))
        if not inside or name.lower().endswith(".vrt"):
            raise UserError(
                f"{place} shows pixels of {redacted(name)}, where it may name rasters beside it only: write their "
                "names relative to it, with relativeToVRT=1."
            )


def _check_text(path: Path, shown: FileRef, depth: int, seen: set[Path]) -> None:
    text = _text(path)
    if text is None:
        return
    if _SERVICES.search(text[:_BEGINNING]) or not depth or len(text) > _MOST:
        raise UserError(
            f"{shown} shows pixels of {path}, which describes a service or no end of rasters: give a raster."
        )
    if "<VRTDataset" not in text:
        return
    for name in _names(text):
        if _NETWORK.search(name):
            raise UserError(
                f"{shown} shows pixels of {redacted(name)}, where a file may not lead to the network: give that "
                "address itself, or put the virtual raster beside what it shows and give its address."
            )
    for name, relative in _sources(text):
        source = path.parent / name if relative else Path(name)
        # rings of virtual rasters end here, and what two of them show is looked at once
        if source not in seen:
            seen.add(source)
            _check_text(source, shown, depth - 1, seen)


def _text(path: Path) -> str | None:
    """Of a file that is one of marks; None for others, and for what cannot be read, which GDAL says."""
    try:
        with path.open("rb") as file:
            start = file.read(_BEGINNING)
            if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
                return None
            text = start + file.read(_MOST)
    except (OSError, ValueError):
        return None
    # in CDATA, which GDAL reads, a name would hide from the patterns here
    return _COMMENT.sub("", text.decode("utf-8", "replace"))


def _names(text: str) -> Iterator[str]:
    """All texts that may name a raster."""
    for tag, attributes, content in _ELEMENT.findall(text):
        given = {key: unescape(double or single) for key, double, single in _ATTRIBUTE.findall(attributes)}
        yield from (value for key, value in given.items() if not key.startswith("xmlns") and ":" not in key)
        plain = tag.endswith("SRS") or tag in _TEXTS or (tag == "MDI" and given.get("key") not in _DATASETS)
        if not plain:
            yield unescape(content).strip()


def _sources(text: str) -> Iterator[tuple[str, bool]]:
    """The rasters that are named as such, and whether their names count from the file's folder."""
    for tag, attributes, content in _ELEMENT.findall(text):
        if tag in ("SourceFilename", "SourceDataset"):
            yield unescape(content).strip(), re.search(r"relativeToVRT\s*=\s*[\"']1", attributes) is not None
