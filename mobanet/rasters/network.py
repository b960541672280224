"""What GDAL may fetch, and what is said where it cannot: only what the user names leads to the network."""

import base64
import http.client
import os
import re
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from mobanet.rasters.elsewhere import Elsewhere, redacted

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

# GDAL's settings while a file on this disk is read: no name that it holds, such as that of an overview, is fetched
LOCAL = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "-"}

_ONLY = "CPL_VSIL_CURL_ALLOWED_FILENAME"

# while a virtual raster is read whose names have been looked at
_VIRTUAL = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".vrt,.tif,.tiff,.jp2,.png,.jpg,.jpeg,.img"}

# unless the user's environment says otherwise
_USUAL = {
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",  # seconds, longer each time
    "GDAL_HTTP_CONNECTTIMEOUT": "20",  # seconds
    "GDAL_HTTP_LOW_SPEED_TIME": "30",  # seconds with less than the limit; a large answer may take any time
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",  # bytes a second
    "GDAL_HTTP_TCP_KEEPALIVE": "YES",
    "CPL_VSIL_CURL_CACHE_SIZE": str(2**26),
}

_SIGNED = {"CPL_VSIL_CURL_USE_HEAD": "NO"}  # for addresses with a signature, which holds for one way to ask: by GET
WAIT = 20  # seconds for a server to say what it has
# what `urllib` raises: of an answer that is no HTTP it lets through what is no `OSError`
UNFETCHED = (OSError, ValueError, http.client.HTTPException)

_KEYS = (
    "give GDAL the keys in the environment (AWS_ACCESS_KEY_ID, AZURE_STORAGE_CONNECTION_STRING, GDAL_HTTP_HEADERS, …), "
    "or an address whose signature has not expired"
)

_SENTENCES = (
    (r"code(?: on .*)?: 404|does not exist|NoSuch|no such|ContainerNotFound", "is not there (404): check the address"),
    (
        r"code(?: on .*)?: 40[13]|Access ?Denied|credentials|InvalidAccessKey|SignatureDoesNotMatch|Forbidden|"
        r"Unauthorized|AuthenticationFailed|not authorized|AWS_SECRET_ACCESS_KEY|GS_SECRET_ACCESS_KEY|AZURE_STORAGE",
        f"is refused by its server: {_KEYS}",
    ),
    (r"resolve host|resolve proxy", "cannot be reached, since no server of that name is found: check name and network"),
    (
        r"ailed to connect|ould not connect|onnection refused|onnection reset|Empty reply",
        "cannot be reached, since its server refuses the connection: check host, port and network",
    ),
    (
        r"timed out|too slow|Timeout",
        "is not answered in time: try again, or wait longer with GDAL_HTTP_CONNECTTIMEOUT and GDAL_HTTP_TIMEOUT",
    ),
    (
        r"Range downloading not supported",
        "can only be fetched as a whole, since its server knows no range requests: download it, and give the file",
    ),
    (r"SSL|certificate", "has a certificate that is not trusted: name that of your network in CURL_CA_BUNDLE"),
    (
        r"not recognized",
        "is no raster that is read, perhaps a page to log in at: look at the address in a browser",
    ),
    (r"code(?: on .*)?: (?:429|5\d\d)", "is not given out by its server, which fails or is too busy: try again later"),
)


def fetching(place: Elsewhere) -> dict[str, str]:
    """GDAL's settings to read what the user has named, and nothing else, from the network."""
    from rasterio.env import getenv, hasenv

    known = {*os.environ, *(getenv() if hasenv() else ())}
    wanted = _USUAL if "?" not in place.fetched else {**_USUAL, **_SIGNED}
    usual = {key: value for key, value in wanted.items() if key not in known}
    only = _VIRTUAL if place.suffix.lower() == ".vrt" else {_ONLY: place.fetched}
    # neither a listing nor a look for files beside it: each would be a request of its own
    return {**usual, **only, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


def said_of(place: Elsewhere, error: BaseException) -> str:
    """One sentence on what went wrong at a server, by what GDAL says of it."""
    texts: list[str] = []
    at: BaseException | None = error
    while at is not None:
        texts.append(str(at))
        # what GDAL said of a server is further down: rasterio's own error may only say that reading failed
        at = at.__cause__
    if sentence := _sentence(" ".join(texts)):
        # as GDAL says of buckets that it has no keys for
        or_keys = f", or not for these keys: {_KEYS}" if place.url is None else ": check the address"
        return f"{place} {sentence.replace(': check the address', or_keys) if '(404)' in sentence else sentence}."
    short = redacted(texts[-1]).replace(place.opens, place.shown).strip().rstrip(".")
    return f"{place} cannot be read ({short}): the server fails, or the raster there is damaged; try again."


def said_of_answer(name: str, error: Exception) -> str:
    """One sentence on what went wrong, by an error of `urllib`, at a server that Python itself asked for `name`."""
    if isinstance(error, urllib.error.HTTPError):
        told = f"HTTP response code: {error.code}"
    elif isinstance(error, http.client.HTTPException):
        told = "its server does not answer in HTTP"  # whose own text is whatever the server said
    else:
        reason = getattr(error, "reason", error)
        told = "resolve host" if isinstance(reason, socket.gaierror) else str(reason)
    sentence = _sentence(told) or f"cannot be fetched ({redacted(told).rstrip('.')}): check the address"
    return f"{name} {sentence}."


def _sentence(told: str) -> str | None:
    return next((sentence for pattern, sentence in _SENTENCES if re.search(pattern, told)), None)


def asked_for(url: str, **headers: str) -> urllib.request.Request:
    """A request, with the user name and the password of its address as HTTP wants them."""
    # urllib takes a login in an address for a part of the host's name
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    address = urlunsplit((parts.scheme, host, parts.path, parts.query, "")).replace(" ", "%20")
    request = urllib.request.Request(address, headers=headers)
    if login:
        user, _, password = login.partition(":")
        plain = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        # not sent on to wherever the server redirects to
        request.add_unredirected_header("Authorization", f"Basic {plain}")
    return request


def state_of(place: Elsewhere, raster: "DatasetReader") -> str:
    """What changes with the content of a raster on the network, as far as it can be had without reading all of it.

    Of an HTTP server its size, ETag and time; else, and where that says nothing, sizes and places of blocks.
    """
    told = None if place.url is None else _headers(place.url)
    return told or _blocks(raster)


def _headers(url: str) -> str | None:
    try:
        # a byte by GET instead of HEAD, for which a signature in the address may not hold
        with urllib.request.urlopen(asked_for(url, Range="bytes=0-0"), timeout=WAIT) as answer:
            # `bytes 0-0/SIZE`
            size = answer.headers.get("Content-Range", "").rpartition("/")[2]
            told = [answer.headers.get(name, "") for name in ("ETag", "Last-Modified")]
    except UNFETCHED:  # of what GDAL reads with keys or through a proxy that only it is told of
        return None
    return f"{', '.join(text for text in told if text)}, {size or '?'} bytes" if any(told) else None


def _blocks(raster: "DatasetReader") -> str:
    """Size and type of a raster, and where some of its blocks lie in the file, which changes with their sizes."""
    height, width = raster.block_shapes[0]
    rows, columns = -(-raster.height // height), -(-raster.width // width)
    last = rows * columns - 1
    places = []
    for number in sorted({last * step // 16 for step in range(17)}):
        block = f"{number % columns}_{number // columns}"
        place = [raster.get_tag_item(f"BLOCK_{what}_{block}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")]
        places.append("+".join(map(str, place)))
    made = raster.tags().get("TIFFTAG_DATETIME", "")
    what = f"{raster.width} x {raster.height} x {raster.count} {raster.dtypes[0]}, {made}"
    return f"{what}, blocks at {' '.join(places)}"
