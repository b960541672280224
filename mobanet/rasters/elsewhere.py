"""Rasters that are no file on a disk: at a URL, in a bucket, in an archive, behind one of GDAL's `/vsi` prefixes."""

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from mobanet.errors import UserError

# what GDAL writes for the beginning of an address
SCHEMES = {
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

_ONE_SLASH = re.compile(rf"^({'|'.join(SCHEMES)}):/(?=[^/])", re.IGNORECASE)  # what a `Path` makes of an address

# GDAL's prefixes of what is fetched
_NETWORK = re.compile(r"/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)(?:_streaming)?(?=[/?])")

# with words behind blanks that lead to a query: of an address that somebody typed with blanks in it
_URL = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)([^\s?#]*(?:(?: +(?!\S*://)[^\s?#]+)+(?=[?#]\S*=))?)([?#]\S*)?")
_CURL_OPTIONS = re.compile(r"/vsicurl\?\S*")

_PACKED = re.compile(r"\.(?:zip|tar|tgz|tar\.gz|gz|7z|rar|kmz)(?=/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Elsewhere:
    """A raster that is no file on a disk; takes the place of a `Path` wherever GDAL is what opens it.

    Attributes:
        opens: the name that GDAL opens; may hold keys, and is shown to nobody.
        shown: the same for messages and records, without user names, passwords and what follows a question mark.
        name: of the file, as the last part of a path.
        archive: the file on this disk that it is packed in; None where there is none.
    """

    opens: str = field(repr=False)
    shown: str
    name: str
    archive: Path | None = None

    def __str__(self) -> str:
        return self.shown

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name."""
        return PurePosixPath(self.name).suffix

    @property
    def on_network(self) -> bool:
        """Whether it is fetched."""
        return bool(self.fetched)

    @property
    def fetched(self) -> str:
        """The one name that GDAL may fetch to read it: of an archive there, all of that."""
        start = _NETWORK.search(self.opens)
        if start is None:
            return ""
        name = self.opens[start.start() :]
        # an outer name may stand in braces, which end where it does
        if "{" in self.opens[: start.start()]:
            return name.partition("}")[0]
        # behind another prefix only, such as /vsizip/: a plain address is fetched as it is, whatever it ends in
        packed = _PACKED.search(name) if start.start() else None
        return name if packed is None else name[: packed.end()]

    @property
    def url(self) -> str | None:
        """Of what is fetched, where it is asked for by HTTP without GDAL's own keys; may hold keys."""
        name = self.fetched
        return name.removeprefix("/vsicurl/") if name.startswith("/vsicurl/http") else None

    @property
    def server(self) -> str:
        """The beginning of all names on the same server, or in the same bucket."""
        name = self.fetched
        depth = 5 if name.startswith("/vsicurl/http") else 3  # /vsicurl/https://HOST/ and /vsis3/BUCKET/
        return "/".join(name.split("/")[:depth]) + "/"


Place = Path | Elsewhere
"""Where a raster lies."""


def elsewhere(text: str, folder: Path = Path()) -> Elsewhere | None:
    """A place that is no path of a file on a disk; None for one that is.

    Args:
        text: as the user types it: `https://host/ortho.tif`, `s3://bucket/ortho.tif`, `archive.zip!folder/ortho.tif`,
            `/vsicurl/https://host/ortho.tif`.
        folder: that the path of an archive is relative to.

    Raises:
        UserError: for an address that cannot be one, and for an archive of which nothing is named.
    """
    text = _ONE_SLASH.sub(r"\1://", text)
    archive, inside, member = text.rpartition("!")
    packed = inside and re.split(r"[?#]", archive)[0].lower().endswith(".zip")
    # unless the mark is in a file's own name; an address is looked for nowhere, as it may be longer than a path can be
    if packed and (is_address(text) or not (folder / text).exists()):
        return _packed(archive, member, text, folder)
    if not is_address(text):
        return None
    if not text.isprintable():
        raise UserError(f"{redacted(text)!a} has characters in it that no address has: check it.")
    if text.startswith("/vsi"):
        return Elsewhere(text, redacted(text), _name(redacted(text)), _archive_in(text))
    scheme, _, rest = text.partition("://")
    prefix = SCHEMES.get(scheme.lower())
    bare = re.split(r"[?#]", text)[0]
    shown = _plain_address(scheme, bare.partition("://")[2]) + ("?…" if bare != text else "")
    if prefix is None:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(f"{shown} begins with {scheme}://, which is not read: give a path or one of {known}.")
    if prefix.startswith("/vsicurl/"):
        rest = rest.replace(" ", "%20")
        if not _host(text):
            raise UserError(f"{shown} names no server: write it as {scheme}://HOST/PATH.")
    return Elsewhere(prefix + rest, shown, _name(unquote(shown)))


def redacted(text: str) -> str:
    """A text in which URLs have no user names, passwords, queries and fragments: these are where keys stand."""
    return _URL.sub(_without_keys, _CURL_OPTIONS.sub(_without_options, text))


def _without_keys(match: re.Match[str]) -> str:
    scheme, place, more = match.groups(default="")
    return f"{_plain_address(scheme.removesuffix('://'), place)}{_end(place, more)}"


def _plain_address(scheme: str, place: str) -> str:
    """An address without user name and password."""
    login_and_host, slash, path = place.partition("/")
    # the last one: a password may hold another
    host = login_and_host.rpartition("@")[2]
    if not re.fullmatch(r"(?:[^:\s]*|\[[^\s]*\])(?::\d*)?", host):
        return f"{scheme}://…"  # no host and port, and so perhaps a password that an address cannot hold
    return f"{scheme}://{host}{slash}{path}"


def _end(place: str, more: str) -> str:
    """For what follows a question mark: of an archive's member, and of what GDAL puts in braces, that comes behind."""
    if not more:
        return ""
    for mark in ("}", "!"):
        inside = "}/" in more if mark == "}" else place.lower().endswith(".zip")
        if inside and mark in more:
            return f"?…{mark}{more.rpartition(mark)[2]}"
    return "?…"


def _without_options(match: re.Match[str]) -> str:
    """`/vsicurl?url=https%3A%2F%2Fhost%2Fa.tif&header.Authorization=…` as the URL alone."""
    urls = parse_qs(match[0].partition("?")[2]).get("url", [])
    return f"/vsicurl/{urls[0]}" if urls else "/vsicurl?…"


def is_address(text: str) -> bool:
    """Whether a text begins like one, and not like a path."""
    return _ONE_SLASH.match(text) is not None or text.startswith("/vsi") or _SCHEME.match(text) is not None


def _host(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        return parts.hostname if parts.port is None or parts.port else None
    except ValueError:  # of brackets without an address in them, and of a port that is no number
        return None


def _packed(archive: str, member: str, text: str, folder: Path) -> Elsewhere:
    member = member.strip("/")
    if not member:
        raise UserError(f"{redacted(text)} names nothing in the archive: write ARCHIVE.zip!FOLDER/RASTER.tif.")
    outer = elsewhere(archive, folder)
    if outer is not None:
        return Elsewhere(f"/vsizip/{{{outer.opens}}}/{member}", f"{outer}!{member}", _name(member), outer.archive)
    path = folder / Path(archive).expanduser()
    if not path.is_file():
        raise UserError(f"{archive}, of which {member} is wanted, does not exist; give an archive that is there.")
    # in braces, without which GDAL guesses by endings where the archive's name stops
    return Elsewhere(f"/vsizip/{{{path.absolute()}}}/{member}", f"{archive}!{member}", _name(member), path)


def _archive_in(text: str) -> Path | None:
    """The file on this disk that GDAL's name of a member begins with; None where there is none."""
    path = re.sub(r"^(?:/vsi(?:zip|tar|gzip|7z|rar)/\{?)+", "", text).partition("}")[0]
    if path == text or path.startswith("/vsi"):
        return None
    found = [path[: end.end()] for end in _PACKED.finditer(path)]
    return next((Path(name) for name in found or [path] if Path(name).is_file()), None)


def _name(path: str) -> str:
    """The last part of a path or an address."""
    bare = path.removesuffix("?…").rstrip("/")
    return bare.rpartition("/")[2] or bare
