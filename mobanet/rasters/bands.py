"""Which bands of a raster hold what: data, a mask, colours behind a table, and the order in which they stand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.contents import Modality, Source
from mobanet.rasters.palettes import palette_of

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

# of the windows by which a raster is judged before it is read: pixels, and windows in either direction
_SIDE, _ACROSS = 128, 4

# a band flagged as alpha is a mask where at least this share of its pixels has the lowest or the highest value: masks
# have ramps at their rims at most, an infrared band has all values
_ONLY_ENDS = 0.95

_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Mask:
    """Which band of a raster is no data but says where there are any.

    Attributes:
        band: 0-based; None where there is none.
        data: the other bands.
        note: for the user, where the file's word was not taken.
    """

    band: int | None
    data: tuple[int, ...]
    note: str = ""


def find_mask(raster: "DatasetReader", asked: Iterable[int], declared: int | None) -> Mask:
    """Which band of a raster is a mask.

    GDAL flags the last of four bytes as alpha in ordinary files, infrared or not. A band that is asked for (0-based,
    for whichever modality) is data, and so is one that the file must have, as it is `declared` to have so many of data;
    any other is a mask if its values are those of one.
    """
    from rasterio.enums import ColorInterp

    everything = tuple(range(raster.count))
    # such as the near infrared of NAIP (microsoft/PlanetaryComputer issue 82)
    flagged = [band for band in everything if raster.colorinterp[band] == ColorInterp.alpha]
    # a lone band is data whatever it is called, and a file without a band too many has none for a mask
    if not flagged or raster.count in (1, declared):
        return Mask(None, everything)
    band = flagged[-1]
    data = tuple(other for other in everything if other != band)
    if band in set(asked):
        # beside an rgb of three bands the fourth is another modality's, as infrared: neither rgb's data nor its mask
        return Mask(None, data if declared == len(data) else everything)
    # of a few windows, as all of a large raster would be read before anything is done with it
    values = sample(raster, [band])[0]
    # the highest number of the type is opaque, or the highest that is there, as 1 in a mask of 0 and 1
    whole = np.issubdtype(raster.dtypes[band], np.integer)
    top = float(np.iinfo(raster.dtypes[band]).max) if whole and values.max() > 1 else float(values.max())
    if np.isin(values, (0, top)).mean() >= _ONLY_ENDS:
        return Mask(band, data)
    note = f"band {band + 1} is flagged as alpha, but holds other values than a mask and is not taken for one"
    return Mask(None, data if declared is not None else everything, note)


def windows(height: int, width: int) -> "list[Window]":
    """Sixteen small windows, evenly spread; fewer where they would coincide, and one where they would hold all."""
    from rasterio.windows import Window

    if height * width <= (_ACROSS * _SIDE) ** 2:
        return [Window(0, 0, width, height)]
    tops, lefts = (
        sorted({max(size - _SIDE, 0) * step // (_ACROSS - 1) for step in range(_ACROSS)}) for size in (height, width)
    )
    return [Window(left, top, min(_SIDE, width), min(_SIDE, height)) for top in tops for left in lefts]


def sample(raster: "DatasetReader", bands: Sequence[int]) -> np.ndarray:
    """Raw values of `windows`, (bands, pixels)."""
    numbers = [band + 1 for band in bands]
    return np.concatenate(
        [raster.read(numbers, window=window).reshape(len(bands), -1) for window in windows(*raster.shape)], axis=1
    )


def colour_table(raster: "DatasetReader", source: Source, modality: Modality) -> np.ndarray | None:
    """What the values of a raster with a colour table stand for, (C, entries); None for themselves.

    Raises:
        UserError: for colours where a single brightness is asked for.
    """
    table = palette_of(raster) if modality.kind == "optical" else None
    if table is None:
        return None
    wanted = len(modality.bands)
    if wanted == len(source.bands) == 3 and set(source.bands) <= {0, 1, 2}:
        # three bands are asked for, of which the file has but the one that names their colours
        return table[list(source.bands)]
    if wanted > 1 or source.bands != (0,):
        return None
    if (table != table[0]).any():
        raise UserError(
            f"{source.file} has a colour table, so that its numbers are no brightness, where {modality.name} has one "
            "band: write its colours out with gdal_translate -expand rgb, and name the bands to use."
        )
    # a table of greys in their order changes nothing, and numbers can be judged where colours cannot
    return None if np.array_equal(table[0], np.arange(table.shape[1])) else table[:1]


def order_by_meaning(raster: "DatasetReader", bands: Sequence[int], modality: Modality) -> tuple[int, ...] | None:
    """Bands (0-based) in a modality's order, where the file says of every one what it is; None where it does not."""
    wanted = _wanted(modality)
    # all names or none: GDAL calls the first of three bytes red where it is infrared, too, which is no contradiction
    for meanings in (_descriptions(raster, bands), _interpretations(raster, bands)):
        if len(set(wanted)) == len(wanted) and sorted(meanings) == sorted(wanted):
            return tuple(bands[meanings.index(name)] for name in wanted)
    return None


def order_note(raster: "DatasetReader", source: Source, modality: Modality, table: np.ndarray | None) -> list[str]:
    """What to say where the user's bands stand in another order than the file's own names."""
    if table is not None:
        return []
    right = order_by_meaning(raster, source.bands, modality)
    if right in (None, source.bands):
        return []
    names, wanted = _descriptions(raster, source.bands), _wanted(modality)
    if sorted(names) != sorted(wanted):
        names = _interpretations(raster, source.bands)
    numbers = ", ".join(str(band + 1) for band in source.bands)
    return [
        f"{modality.name}: {source.file.name} calls bands {numbers} {', '.join(names)}, which are read as "
        f"{', '.join(wanted)}, as was asked"
    ]


def _wanted(modality: Modality) -> list[str]:
    """What a modality's bands are; those of a nameless rgb are clear."""
    letters = {"rgb": _COLOURS, "bgr": _COLOURS[::-1]}.get(modality.name.lower())
    # nameless bands have numbers, from 0 in older descriptions
    numbered = [tuple(f"{modality.name}_{n + first}" for n in range(len(modality.bands))) for first in (0, 1)]
    if letters is not None and modality.bands in numbered:
        return list(letters)
    return [name.strip().lower() for name in modality.bands]


def _descriptions(raster: "DatasetReader", bands: Sequence[int]) -> list[str]:
    return [(raster.descriptions[band] or "").strip().lower() for band in bands]


def _interpretations(raster: "DatasetReader", bands: Sequence[int]) -> list[str]:
    return [raster.colorinterp[band].name for band in bands]
