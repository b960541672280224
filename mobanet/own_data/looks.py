"""What a modality's rasters are: bands, kind, values, pixels and place, by a look at some windows of some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from mobanet.errors import UserError
from mobanet.own_data.files import Found
from mobanet.plain.wording import shorten
from mobanet.rasters.alignment import how_to_fit
from mobanet.rasters.bands import find_mask, windows
from mobanet.rasters.contents import FileRef, Modality, Source
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import grid_of, opened
from mobanet.rasters.pixel_size import pixel_side, pixel_words
from mobanet.rasters.reader import Reading, settled
from mobanet.rasters.reference_systems import name_of
from mobanet.rasters.values import fitting_maximum

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

Item = TypeVar("Item")

Kind = Literal["optical", "elevation", "other"]

SOME = 8
"""Rasters of a modality whose values are looked at."""

THINNED = 1024
"""Pixels a side of a raster that is read thinned out."""

HEADERS = 400
"""Rasters of a modality that are opened."""

_HEIGHTS = {
    # dom, dgm and ndom are German for dsm, dtm and ndsm
    *("dsm", "ndsm", "dtm", "dem", "dom", "dgm", "ndom", "chm"),
    *("height", "heights", "elevation", "surface", "terrain"),
}
_OPTICAL = {
    *("rgb", "irrg", "cir", "rgbi", "rgbir", "rgbn", "ir", "nir", "pan", "ortho"),
    # dop is German for an orthophoto, and top the ISPRS's true orthophoto
    *("orthophoto", "dop", "top", "swir"),
}
_METRES = {"m", "metre", "meter", "metres", "meters", "cm", "dm", "mm", "ft", "foot", "feet", "us survey foot"}

_WORDS = {
    "red": {"red", "r", "rot", "rouge"},
    "green": {"green", "g", "grün", "gruen", "vert"},
    "blue": {"blue", "b", "blau", "bleu"},
    "infrared": {"ir", "nir", "infrared", "near infrared", "nearinfrared", "near_infrared", "n", "nir1", "b8"},
}
"""What bands are called, in lower case."""

_WANTED = {
    "rgb": ("red", "green", "blue"),
    "irrg": ("infrared", "red", "green"),
    "cir": ("infrared", "red", "green"),
    "ir": ("infrared",),
    "nir": ("infrared",),
}
"""Bands of a modality by its name."""


KEPT = 4
"""Times as wide as the grid's, from which on pixels are kept: resampled, they take sixteen times the room and more."""


@dataclass(frozen=True)
class Raster:
    """One raster's place, number of bands, and the type of its first one."""

    path: Path
    grid: Grid
    count: int
    dtype: str


@dataclass(frozen=True)
class ModalityLook:
    """What a modality is.

    Attributes:
        rasters: by tile, those that were opened.
        bands: 0-based, to read; None of a raster with a single band.
        names: of these bands, where they are known.
        unit: of heights.
        low, high: of the values that were looked at, as stored.
        notes: what is to be said of it.
    """

    name: str
    found: Found
    rasters: dict[str, Raster]
    bands: tuple[int, ...] | None
    names: tuple[str, ...] | None
    kind: Kind
    unit: str
    low: float
    high: float
    notes: tuple[str, ...]

    @property
    def first(self) -> Raster:
        """Of the first tile."""
        return next(iter(self.rasters.values()))

    @property
    def count(self) -> int:
        """Number of bands that are read."""
        return 1 if self.bands is None else len(self.bands)

    @property
    def side(self) -> float | None:
        """Of a pixel on the ground in metres; None where that is not known."""
        return pixel_side(self.first.grid)

    @property
    def words(self) -> str:
        """Size, type, values, pixels and system in a few words."""
        raster = self.first
        size = f"{raster.grid.size} pixels" if not self.found.tiled else f"{len(self.found.files)} tiles"
        bands = "1 band" if self.count == 1 else f"{self.count} bands"
        values = f"{self.low:.5g} to {self.high:.5g}"
        parts = [size, f"{bands} of {raster.dtype}", values, pixel_words(raster.grid)]
        parts.append(name_of(raster.grid.crs) if raster.grid.crs else "no reference system")
        return ", ".join(part for part in parts if part)


def look_at(found: Found, crs: str | None) -> ModalityLook:
    """What a modality is; `crs` is that of rasters that name none. Bands that cannot be told apart are refused."""
    files = spread(list(found.files.items()), HEADERS)
    rasters = {tile: header(path, crs) for tile, path in files}
    _check_alike(found, rasters)
    name = found.given.name
    first = next(iter(rasters.values()))
    with opened(first.path, FileRef(first.path)) as raster:
        kind = _kind(name, raster, found)
        bands, names, notes = _bands(found, raster, kind)
        unit = "metre" if kind == "elevation" else ""
    # of a palette three bands are read from one
    several = bands if first.count > 1 or len(bands) > 1 else None
    modality = Modality(name, tuple(names or (f"{name}_{n + 1}" for n in range(len(bands)))), kind, unit, None)
    lows, highs, said, remarks = [], [], list(notes), dict[str, list[str]]()
    for _, path in spread(files, SOME):
        low, high, told = _values(path, bands, modality)
        lows.append(low)
        highs.append(high)
        for remark in told:
            # alike but for the file: said of the first one
            remarks.setdefault(remark.replace(path.name, ""), []).append(remark)
    said += [f"{same[0]} (and so others)" if len(same) > 1 else same[0] for same in remarks.values()]
    said += _sides_note(rasters)
    # a tenth of the range below zero: atmospheric correction leaves slightly negative reflectances
    if kind == "optical" and first.dtype != "uint8" and min(lows) < -0.1 * fitting_maximum(first.dtype, max(highs), 1):
        kind = "other"  # no brightness: backscatter in decibels, an index from -1 to 1
    once = tuple(dict.fromkeys(said))
    return ModalityLook(name, found, rasters, several, names, kind, unit, min(lows), max(highs), once)


def kept_ratio(look: ModalityLook, reference: ModalityLook, crop: int) -> int:
    """How many pixels of the reference's grid one of a modality's own is wide, where it is to keep them; else 1.

    Pixels that are nearly as wide are resampled, which costs little, and so are those that no crop has whole ones of.
    """
    own, grid = look.first.grid, reference.first.grid
    if own.transform is None or grid.transform is None or own.needs_transform(grid):
        return 1
    times = own.steps[0] / grid.steps[0]
    ratio = round(times)
    whole = abs(times - ratio) <= 0.01 * ratio and crop % max(ratio, 1) == 0
    # a crop has at least four of its pixels along a side, or hardly a shape is seen in it
    return ratio if whole and KEPT <= ratio <= crop // 4 else 1


def check_overlap(looks: Sequence[ModalityLook]) -> None:
    """Refuse modalities that do not show the same ground, by the words of whoever brings them to one grid."""
    reference = looks[0]
    for look in looks[1:]:
        common = pairs(look.rasters, reference.rasters)
        if not common:
            raise UserError(
                f"{look.found.given.option} and {reference.found.given.option} have no tile in common: "
                f"{shorten(look.found.files, 3)} and {shorten(reference.found.files, 3)}; rename them so that a tile "
                "is called alike everywhere, or give patterns with {tile}."
            )
        check_pairs(common)


def check_pairs(common: Sequence[tuple[Raster, Raster]]) -> None:
    """Refuse rasters that do not come to the grid of their partners; of a mosaic beside tiles where it fits none."""
    problems = {}
    for own, target in common:
        try:
            check_fit(own.path, own.grid, target.grid)
        except UserError as error:
            problems[own.path, target.path] = error
    shared = len({own.path for own, _ in common}) == 1 or len({target.path for _, target in common}) == 1
    if problems and (not shared or len(problems) == len(common)):
        raise next(iter(problems.values()))


def pairs(own: Mapping[str, Raster], targets: Mapping[str, Raster]) -> list[tuple[Raster, Raster]]:
    """Rasters that show the same ground, by tile; a mosaic is paired with each tile."""
    if "" in own or "" in targets:
        return [(one, target) for one in own.values() for target in targets.values()]
    return [(own[tile], targets[tile]) for tile in own if tile in targets]


def check_fit(path: Path, own: Grid, target: Grid) -> None:
    """Refuse a raster that cannot be brought to a grid."""
    try:
        how_to_fit(own, target, "georeference")
    except UserError as error:
        # the sentence is of whoever reads a description, and there is none yet
        text = str(error).replace("give the key crs in the description of the data", "give --crs").replace("crs: ", "")
        remedy = "" if "--crs" in text or "with " in text else "; give rasters that show the same ground"
        raise UserError(f"{path} {text.rstrip('.')}{remedy}.") from error


def share_of_ground(own: Grid, target: Grid) -> float:
    """About which share of a grid's ground another raster reaches."""
    import shapely
    from rasterio.warp import transform_bounds

    if own.transform is None or target.transform is None:
        return 1.0
    bounds = (*own.corners().min(axis=0).tolist(), *own.corners().max(axis=0).tolist())
    if own.needs_transform(target) and own.crs and target.crs:
        bounds = transform_bounds(own.crs, target.crs, *bounds)
    ground = shapely.box(*target.corners().min(axis=0), *target.corners().max(axis=0))
    return float(shapely.box(*bounds).intersection(ground).area / ground.area)


def spread(items: list[Item], most: int) -> list[Item]:
    """At most so many, evenly spread."""
    if len(items) <= most:
        return items
    # in whole numbers: no item twice, and the first always among them
    return [items[len(items) * number // most] for number in range(most)]


def header(path: Path, crs: str | None) -> Raster:
    """Place and shape of a raster."""
    with opened(path, FileRef(path)) as raster:
        return Raster(path, grid_of(raster, crs, FileRef(path)), raster.count, raster.dtypes[0])


def _check_alike(found: Found, rasters: dict[str, Raster]) -> None:
    first = next(iter(rasters.values()))
    for raster in rasters.values():
        if raster.count != first.count:
            raise UserError(
                f"{raster.path} has {raster.count} band{'s' if raster.count > 1 else ''} and {first.path} "
                f"{first.count}; give {found.given.name} rasters of one kind."
            )


def _sides_note(rasters: dict[str, Raster]) -> list[str]:
    sides = {round(side, 6): raster for raster in rasters.values() if (side := pixel_side(raster.grid)) is not None}
    # pixels in degrees are a little wider or narrower with each tile's latitude
    if len(sides) < 2 or max(sides) <= 1.01 * min(sides):
        return []
    return [f"pixels are {min(sides):.3g} m in some rasters and {max(sides):.3g} m in others"]


def _kind(name: str, raster: "DatasetReader", found: Found) -> Kind:
    words = {word for word in name.lower().replace("-", "_").split("_") if word}
    single = raster.count == 1 or (found.given.bands is not None and len(found.given.bands) == 1)
    band = (found.given.bands or (0,))[0]
    # a band that is not there is refused further on, in a sentence of its own
    unit = (raster.units[band] if band < raster.count else "") or ""
    float_values = np.issubdtype(np.dtype(raster.dtypes[0]), np.floating)
    if words & _HEIGHTS or (single and float_values and unit.strip().lower() in _METRES):
        return "elevation"
    if words & _OPTICAL or raster.dtypes[0] in ("uint8", "uint16"):
        return "optical"
    # several bands of floats or of signed numbers: reflectances, unless their values say otherwise
    return "optical" if raster.count >= 3 else "other"


def _bands(
    found: Found, raster: "DatasetReader", kind: Kind
) -> tuple[tuple[int, ...], tuple[str, ...] | None, list[str]]:
    """Which bands to read, what they are called, and remarks."""
    given, name = found.given, found.given.name
    meanings = _meanings(raster)
    if given.bands is not None:
        if max(given.bands) >= raster.count:
            raise UserError(
                f"{given.option} names band {max(given.bands) + 1}, and {raster.name} has {raster.count}; give others."
            )
        return given.bands, _known_names(given.bands, meanings), []
    data = find_mask(raster, (), None).data
    wanted = _WANTED.get(name.lower())
    if len(data) == 1 and wanted is not None and len(wanted) == 3:
        if raster.colorinterp[0].name != "palette":
            raise UserError(f"{given.option} has 1 band, where {name} is {', '.join(wanted)}; give it another name.")
        return (0, 1, 2), wanted, []  # looked up in the colour table
    if len(data) == 1:
        return data, None, []
    if kind == "elevation":
        raise UserError(
            f"{given.option} has {len(data)} bands, of which heights are one; name it, such as "
            f"--input {name}={given.text}[1]."
        )
    if wanted is None:
        return data, _known_names(data, meanings), []
    if all(word in meanings for word in wanted):
        bands = tuple(meanings.index(word) for word in wanted)
        return bands, wanted, _unread(found, data, bands, meanings)
    if name.lower() == "rgb" and len(data) >= 3:
        # as almost every file has them; of four bands, though, the first three are not infrared, red and green
        bands = data[:3]
    elif name.lower() in ("irrg", "cir") and len(data) == 3:
        bands = data
    elif name.lower() in ("ir", "nir") and len(data) == 4:
        return (data[3],), None, [f"band {data[3] + 1} of 4 is taken for infrared; say otherwise as {name}=FILE[1]"]
    else:
        raise UserError(
            f"{given.option} has {len(data)} bands and does not say which are {', '.join(wanted)}; name them, such as "
            f"--input {name}={given.text}[{','.join(str(n + 1) for n in range(len(wanted)))}]."
        )
    return bands, wanted, _unread(found, data, bands, meanings)


def _unread(found: Found, data: Sequence[int], bands: Sequence[int], meanings: Sequence[str]) -> list[str]:
    """A remark on bands that are left over, of which one may be infrared."""
    left = [band for band in data if band not in bands]
    if not left:
        return []
    numbers = ", ".join(str(band + 1) for band in left)
    if found.given.name == "ir":
        return [f"band {numbers} not read"]
    infrared = next((band for band in left if meanings[band] == "infrared"), left[0])
    what = "is infrared" if meanings[infrared] == "infrared" else "may be infrared"
    return [
        f"band {numbers} {'is' if len(left) == 1 else 'are'} not read; band {infrared + 1} {what}, which "
        f"--input ir={found.given.text}[{infrared + 1}] adds"
    ]


def _meanings(raster: "DatasetReader") -> list[str]:
    """What the file says of each band: red, green, blue or infrared, or nothing."""
    found = []
    for description, colour in zip(raster.descriptions, raster.colorinterp, strict=True):
        word = (description or "").strip().lower()
        by_name = next((meaning for meaning, words in _WORDS.items() if word in words), "")
        by_colour = {"red": "red", "green": "green", "blue": "blue", "nir": "infrared"}.get(colour.name, "")
        # descriptions are somebody's words; GDAL calls the first of three bytes red whatever it is
        found.append(by_name or ("" if word else by_colour))
    return found


def _known_names(bands: Sequence[int], meanings: Sequence[str]) -> tuple[str, ...] | None:
    names = tuple(meanings[band] for band in bands)
    return names if all(names) and len(set(names)) == len(names) else None


def _thinned_values(path: Path, reading: Reading) -> tuple[float, float]:
    """Of a raster that is missing wherever a few windows looked: of all of it, thinned out."""
    file = FileRef(path)
    # means over missing pixels and others would be neither
    with opened(path, file, overviews=False) as raster:
        shape = min(raster.height, THINNED), min(raster.width, THINNED)
        values, valid = reading.read(raster, shape=shape)
    inside = values if valid is None else values[:, valid]
    if not inside.size:
        raise UserError(f"{path} has no valid pixel; replace or remove it.")
    return float(inside.min()), float(inside.max())


def _values(path: Path, bands: tuple[int, ...], modality: Modality) -> tuple[float, float, list[str]]:
    """Least and greatest of some windows' values, and what reading them says."""
    file = FileRef(path)
    with opened(path, file) as raster:
        reading = settled(raster, Source(file, bands), None, modality, None)
        low, high = np.inf, -np.inf
        for window in windows(raster.height, raster.width):
            values, valid = reading.read(raster, window)
            inside = values if valid is None else values[:, valid]
            if inside.size:
                low, high = min(low, float(inside.min())), max(high, float(inside.max()))
    if low > high:
        low, high = _thinned_values(path, reading)
    prefix = f"{modality.name}: "
    return low, high, [remark.removeprefix(prefix) for remark in reading.remarks()]
