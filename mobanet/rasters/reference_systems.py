"""Coordinate reference systems by what they say: which are the same plane, and which nothing ties to another.

Some offices deliver rasters in an engineering system (`LOCAL_CS["RGF93 / Lambert-93", …]`): the name and the axes of a
projected system without its projection. PROJ knows no way from there to anywhere, the projected system included.
"""

import re
from functools import lru_cache
from typing import Any

from mobanet.errors import UserError

# of a name: EPSG calls `RGF93 / Lambert-93` now `RGF93 v1 / Lambert-93`, as which it is the same
_VERSION = re.compile(r"\bv\d+\b|[^a-z0-9]+")


@lru_cache(maxsize=1024)
def same_plane(one: str, other: str) -> bool:
    """Whether coordinates in two systems mean the same: equal, or one is local and has the other's name and axes."""
    if one == other:
        return True
    if not (is_local(one) or is_local(other)):
        return False
    told = _described(one), _described(other)
    return None not in told and told[0] == told[1]


@lru_cache(maxsize=1024)
def is_local(crs: str) -> bool:
    """Whether a system is an engineering one, tied to no place on Earth."""
    return _plain(crs).get("type") == "EngineeringCRS"


def check_tied(own: str, target: str) -> None:
    """Refuse two systems of which one is local and not the other's plane.

    Raises:
        UserError: with a sentence that starts without a subject.
    """
    if same_plane(own, target) or not (is_local(own) or is_local(target)):
        return
    local, known = (own, target) if is_local(own) else (target, own)
    raise UserError(
        f"cannot be placed, since the local system {name_of(local)} is tied to no place, nor so to "
        f"{name_of(known)}: write the right system into the file, as with gdal_edit.py -a_srs EPSG:CODE"
    )


def name_of(crs: str | None) -> str:
    """A short name, for messages."""
    if crs is None:
        return "no reference system"
    return crs if len(crs) < 30 else str(_plain(crs).get("name", crs[:60]))


def _described(crs: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """Name and axes in comparable form; None where there are none."""
    plain = _plain(crs)
    while "components" in plain or "source_crs" in plain:  # with heights, or a shift of datum
        plain = plain["components"][0] if "components" in plain else plain["source_crs"]
    axes = plain.get("coordinate_system", {}).get("axis", ())
    if not axes or not plain.get("name"):
        return None
    units = (axis.get("unit", "") for axis in axes)
    named = [unit["name"] if isinstance(unit, dict) else unit for unit in units]
    # rasters give easting first, in whichever order a system's own text has its axes
    directions = sorted(zip((axis["direction"] for axis in axes), named, strict=True))
    return _VERSION.sub("", plain["name"].lower()), tuple(directions)


@lru_cache(maxsize=1024)
def _plain(crs: str) -> dict[str, Any]:
    """A system as PROJ describes it; empty for one that it cannot."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        with rasterio.Env():  # GDAL's complaint goes to the log and not to the terminal
            return CRS.from_user_input(crs).to_dict(projjson=True)
    except CRSError:
        return {}
