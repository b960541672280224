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
_REMARK = re.compile(r"<!--.*?-->", re.DOTALL)
_QUOTED = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_QUOTES = re.compile(r"<!\[CDATA\[|\]\]>")

# for readers, who may be given any link: remarks, namespaces, systems, and metadata but those that name a raster.
# Nothing in them may end a quotation or a mark, so that GDAL takes them for the same.
_FOR_READERS = re.compile(
    r"""<!--[^<>"']*--> | \s(?:xmlns|[a-z]\w*:)[\w.:-]*="[^"'<>]*"
    | <(Description|Category|UnitType|\w*SRS)(?:\s[\w.:-]+="[^"'<>]*")*>[^<>]*</\1>
    | <MDI\ key="(?!(?i:X_DATASET|Y_DATASET|RPC_DEM)")[^"'<>]*">[^<>]*</MDI>""",
    re.VERBOSE,
)

# in the name of a raster: what leads to the network, or to a description that may
_NETWORK = re.compile(
    r"(?:https?|ftps?|s3|gs|az|abfss?|adl|oss|swift)://|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)|"
    r"(?:^|[\"':])(?:WMS|WCS|WMTS|STACIT|STACTA|PLMOSAIC|EEDAI|OGCAPI|NGW|GTI|DAAS|vrt|DERIVED_SUBDATASET):|<\s*\w+",
    re.IGNORECASE,
)

# GDAL's other prefixes, as of a member of an archive, in which a description is not looked for
_PREFIXED = re.compile(r"(?:^|[:,{])/vsi\w+[/?]")

_SERVICES = re.compile(
    r"<(?:GDAL_WMS|WCS_GDAL|GDAL_WMTS|Capabilities|GDALTileIndexDataset|MRF_META|GDAL_DAAS)\b", re.IGNORECASE
)

_MOST = 1 << 26  # bytes of such a file; a mosaic of thousands of rasters has a few million

_LONGEST = 1 << 15  # characters of a name, each of which may be written as `&#x41;`

# ends of marks without a beginning, of which any may be the real one: each costs a look for a file
_MUDDLE = re.compile(r">(?:[^<>]*>){100}")

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
    if _SERVICES.search(text[:_BEGINNING]) or not depth or len(text) > _MOST or _MUDDLE.search(text):
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
        if _PREFIXED.search(name):
            raise UserError(
                f"{shown} shows pixels of {redacted(name)}, where it may name rasters by their paths only: unpack the "
                "archive, or give that name itself."
            )
    for source in (place for name in _contents(text) for place in (path.parent / name, Path(name))):
        # rings of virtual rasters end here, and what two of them show is looked at once
        if source not in seen:
            seen.add(source)
            _check_text(source, shown, depth - 1, seen)


def _text(path: Path) -> str | None:
    """Of a file that is one of marks, by GDAL's rules; None for others, and what cannot be read, which GDAL says."""
    try:
        with path.open("rb") as file:
            start = file.read(_BEGINNING)
            begin = start.decode("latin-1")
            # anywhere in the beginning: GDAL takes a virtual raster, and some services, behind other words, too
            known = start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") or "<VRTDataset" in begin
            if not known and not _SERVICES.search(begin):
                return None
            text = start + file.read(_MOST)
    except (OSError, ValueError):
        return None
    # a name of a file may be no UTF-8, and has to be found all the same
    return text.decode("utf-8", "surrogateescape")


def _names(text: str) -> Iterator[str]:
    """All texts that may name a raster, and more.

    GDAL's parser takes what is no XML: values without quotes, marks within quotes, names in any case. So nobody asks
    what is an element and what its content: whatever stands between marks, quotes and signs of equality counts.
    """
    for part in dict.fromkeys(re.split(r"[<>\"'=]", _both_ways(_FOR_READERS.sub("", text)))):
        yield unescape(part).strip()


def _contents(text: str) -> Iterator[str]:
    """All that may be content, by any way to read marks, and so a name of a file: with and without blanks around it."""
    for piece in dict.fromkeys(_both_ways(text).split("<")):
        last = piece[-_LONGEST:]
        written = {last[end.end() :] for end in re.finditer(">", last)}
        for content in written | {unescape(each) for each in written}:
            yield from {content, content.lstrip(), content.strip()} - {""}
    # where a mark may be a part of the name
    yield from _QUOTED.findall(text)


def _both_ways(text: str) -> str:
    """A text as it stands and, behind it, without the marks of quotations, which may also be a part of a value."""
    return f"{text}<{_QUOTES.sub('', text)}" if _QUOTES.search(text) else text


def _sources(text: str) -> Iterator[tuple[str, bool]]:
    """The rasters that are named as such, and whether their names count from the file's folder."""
    for tag, attributes, content in _ELEMENT.findall(_QUOTES.sub("", _REMARK.sub("", text))):
        if tag in ("SourceFilename", "SourceDataset"):
            yield unescape(content).strip(), re.search(r"relativeToVRT\s*=\s*[\"']1", attributes) is not None
