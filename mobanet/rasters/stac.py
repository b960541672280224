"""Assets of STAC items: `stac:https://host/item.json#visual`, by the asset's name or by what its bands show."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobanet.errors import UserError
from mobanet.plain.bounds import read_bounded, shown
from mobanet.plain.json_files import parse_json
from mobanet.plain.wording import shorten
from mobanet.rasters.elsewhere import SCHEMES, Place, elsewhere, redacted
from mobanet.rasters.network import UNFETCHED, WAIT, asked_for, said_of_answer

if TYPE_CHECKING:
    from pystac import Asset, Item

PREFIX = "stac:"

_MOST = 1 << 24  # bytes of an item; most have a few thousand

# how the media types of rasters begin
_RASTERS = ("image/", "application/x-hdf", "application/x-netcdf", "application/wmo-GRIB")


def asset(text: str, folder: Path = Path()) -> tuple[Place, tuple[int, ...]]:
    """The raster of an asset.

    Args:
        text: `stac:ITEM#ASSET`: the address or path of an item's JSON, and the key of an asset, or one or more common
            names of bands, such as `nir` or `red,green,blue`, of one asset that has them; without any, the only raster.
        folder: that paths are relative to.

    Returns:
        Its place; and 0-based bands, where these were asked for, else none.

    Raises:
        UserError: where there is no such item or asset, or where it leads from the network to this disk.
    """
    where, _, wanted = text.removeprefix(PREFIX).partition("#")
    name = f"{PREFIX}{redacted(where)}"
    remote = where.startswith(("http://", "https://"))
    href = where if remote else str((folder / Path(where).expanduser()).absolute())
    item = _item(parse(name, _fetched(where, name) if remote else _text(Path(href), name)), href, name)
    key, bands = _chosen(item.assets, wanted, name)
    link = item.assets[key].get_absolute_href() or ""
    place = elsewhere(link) if link.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)) else None
    if place is None and (remote or "://" in link or link.startswith("/vsi")):
        raise UserError(f"{name}#{key} leads to {redacted(link)}, which is not read: give the raster's own address.")
    if place is None and not Path(link).is_file():
        raise UserError(f"{name}#{key} leads to {link}, which does not exist: mend the item, or put the raster there.")
    return place or Path(link), bands


def parse(name: str, text: str) -> Any:
    """JSON, or a sentence."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{name} is no STAC item ({error}): give the address of an item's JSON.") from error


def _text(path: Path, name: str) -> str:
    try:
        return read_bounded(path, _MOST)
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}): give the path or address of an item.") from error
    except ValueError as error:
        raise UserError(f"{name} is no STAC item ({error}): give the path of an item's JSON.") from error


def _fetched(url: str, name: str) -> str:
    try:
        with urllib.request.urlopen(asked_for(url), timeout=WAIT) as answer:
            # a byte more tells that there are more, whatever length the server names
            content = answer.read(_MOST + 1)
        if len(content) > _MOST:
            raise UserError(f"{name} is no STAC item (it has more than {_MOST >> 20} MB): give the address of an item.")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no STAC item (it is not in UTF-8): give the address of an item's JSON.") from error
    except UNFETCHED as error:
        # not as the cause, which may hold the whole address
        raise UserError(said_of_answer(name, error)) from None


def _item(content: Any, href: str, name: str) -> "Item":
    try:
        import pystac
    except ImportError as error:
        raise UserError(f"{name} needs pystac; install it with pip install 'mobanet[stac]'.") from error
    kind = content.get("type") if isinstance(content, Mapping) else None
    if kind != "Feature":
        other = f"{shown(str(kind))} and no STAC item" if kind is not None else "no STAC item"
        raise UserError(f"{name} is {other}: give the address of one item.")
    try:
        # no links are resolved, so that nothing else is fetched
        # the dictionary is nobody else's, and need not be copied first
        return pystac.Item.from_dict(dict(content), href=href, preserve_dict=False)
    except Exception as error:  # of any content pystac raises anything
        raise UserError(f"{name} is no STAC item that pystac reads ({type(error).__name__}): mend it.") from error


def _chosen(assets: "Mapping[str, Asset]", wanted: str, name: str) -> tuple[str, tuple[int, ...]]:
    """The key of an asset, and bands of it."""
    rasters = [key for key, each in assets.items() if (each.media_type or "image/").startswith(_RASTERS)]
    there = f"it has {shorten(map(shown, rasters))}" if rasters else "it has no raster"
    if wanted in assets:
        return wanted, ()
    if not wanted:
        # beside its data an item has previews, which are images, too
        data = [key for key in rasters if "data" in (assets[key].roles or ())]
        if len(only := data if len(data) == 1 else rasters) != 1:
            raise UserError(f"{name} is an item of several assets: name one behind it, as {name}#NAME; {there}.")
        return only[0], ()
    names = [band.strip() for band in wanted.split(",")]
    there_in = {key: _common_names(assets[key]) for key in rasters}
    found = {key: tuple(map(of.index, names)) for key, of in there_in.items() if set(names) <= set(of)}
    if len(found) == 1:
        ((key, bands),) = found.items()
        return key, bands
    if found:
        both = shorten(map(shown, found))
        raise UserError(f"{name}#{shown(wanted)} is in the assets {both}: name one of them, with bands in brackets.")
    raise UserError(f"{name} has no asset {shown(wanted)}, and none with such bands: {there}.")


def _common_names(given: "Asset") -> list[str]:
    """What each band shows, by STAC 1.1 or by the extension `eo` of earlier versions."""
    listed = given.extra_fields.get("bands") or given.extra_fields.get("eo:bands") or []
    bands = [band if isinstance(band, Mapping) else {} for band in (listed if isinstance(listed, list) else [])]
    return [str(band.get("eo:common_name") or band.get("common_name") or "") for band in bands]
