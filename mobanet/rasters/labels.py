"""From label rasters to class indices, with a count of what did not fit. No unknown colour ever becomes a class.

The ISPRS rule: each channel is thresholded at 127, which names one of the eight corners of the colour cube. Two
published Potsdam labels need it: 4_12 was re-encoded with loss, so that no pixel has an exact colour, and in 6_7 most
cars are (252, 255, 0). In none of the 71 published labels does a channel come within 40 of 127, so anything nearer
than that is not a re-encoded class colour but something else.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.contents import IGNORE_INDEX, Classes, DecodedLabel
from mobanet.rasters.strips import strips

MARGIN = 40  # channel values within this distance of 127 belong to no corner

# bits of a code behind the three of its corner
_INEXACT, _FAR = 8, 16

# beside a class index in a table's entries: off the palette, naming no class, and not looked at yet
_OFF, _STRANGE, _UNMET = 1 << 8, 1 << 9, (1 << 16) - 1


def decode_isprs(raster: np.ndarray, classes: Classes) -> DecodedLabel:
    """Class indices of an ISPRS label, (3, H, W) uint8, or (4, H, W) with alpha, which is not looked at.

    The classes' colours are corners of the colour cube. Black, the eroded boundary, is ignored; magenta and colours far
    from every corner are unknown.

    Raises:
        UserError: when the raster is not a colour picture of 8 bit. The sentence starts without a subject.
    """
    remedy = "use the label raster as published, or describe your own under layout folder"
    check_colour(raster, "0,0,255 for building", remedy)
    value = np.arange(256)
    near = (value <= 127 - MARGIN) | (value > 127 + MARGIN)
    flags = (value > 127) | np.where(near, 0, _FAR) | np.where(np.isin(value, (0, 255)), 0, _INEXACT)
    # bit 0 to 2: red, green and blue of the corner
    tables = [(flags & ~1 | (flags & 1) << bit).astype(np.uint8) for bit in range(3)]
    lookup = np.full(32, IGNORE_INDEX, np.uint8)
    for index, colour in enumerate(classes.colours):
        corner = sum((channel > 127) << bit for bit, channel in enumerate(colour))
        lookup[[corner, corner | _INEXACT]] = index
    known = lookup != IGNORE_INDEX
    known[[0, _INEXACT]] = True  # black

    decoded = np.empty(raster.shape[1:], np.uint8)
    counts = np.zeros(32, np.int64)
    for rows in strips(decoded.shape):
        codes = tables[0][raster[0, rows]] | tables[1][raster[1, rows]] | tables[2][raster[2, rows]]
        counts += np.bincount(codes.ravel(), minlength=32)
        decoded[rows] = lookup[codes]
    # black that is a little off is ignored like black, which corrects nothing
    inexact = (np.arange(32) & _INEXACT > 0) & (lookup != IGNORE_INDEX)
    return DecodedLabel(decoded, int(counts[inexact].sum()), int(counts[~known].sum()))


def decode_colours(
    raster: np.ndarray, classes: Classes, ignored: Sequence[tuple[int, int, int]], distance: int
) -> DecodedLabel:
    """Class indices of a label with a palette of its own, (3, H, W) uint8, or (4, H, W), whose alpha does not count.

    `ignored` colours do not count as unknown. A colour off the palette is taken for the nearest one where no channel
    differs by more than `distance`.

    Raises:
        UserError: when the raster is not a colour picture of 8 bit. The sentence starts without a subject.
    """
    remedy = "save it in colours, or say under values which of its numbers is which class"
    check_colour(raster, "those under colours", remedy)
    table = _palette(classes.colours, tuple(ignored), distance)
    decoded = np.empty(raster.shape[1:], np.uint8)
    corrected = strange = 0
    for rows in strips(decoded.shape):
        red, green, blue = (raster[band, rows].astype(np.int32) for band in range(3))
        entries = table.look_up(red << 16 | green << 8 | blue)
        decoded[rows] = entries & 255
        corrected += int(np.count_nonzero(entries & _OFF))
        strange += int(np.count_nonzero(entries & _STRANGE))
    return DecodedLabel(decoded, corrected, strange)


class _Palette:
    """What each of the 16 million colours stands for, found out when it is first met."""

    def __init__(
        self, colours: Sequence[tuple[int, int, int]], ignored: Sequence[tuple[int, int, int]], distance: int
    ) -> None:
        # signed: differences of unsigned bytes would wrap around
        self._palette = np.array([*colours, *ignored], np.int16)
        self._indices = np.array([*range(len(colours)), *([IGNORE_INDEX] * len(ignored))], np.uint16)
        self._distance = distance
        self._table = np.full(1 << 24, _UNMET, np.uint16)

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """Class indices of packed colours, (h, W) int32: plus `_OFF` off the palette, plus `_STRANGE` where too far."""
        found = self._table[codes]
        unmet = found == _UNMET
        if unmet.any():
            self._learn(codes[unmet])
            found[unmet] = self._table[codes[unmet]]
        return found

    def _learn(self, codes: np.ndarray) -> None:
        # marked and not sorted, as `np.unique` would: a strip has millions of pixels, and few colours
        seen = np.zeros(1 << 24, bool)
        seen[codes] = True
        colours = np.flatnonzero(seen)
        channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.int16)  # (N, 3)
        nearest = np.zeros(len(colours), np.int64)
        least = np.full(len(colours), 256, np.int16)
        for number, colour in enumerate(self._palette):
            apart = np.abs(channels - colour).max(axis=1)
            nearest[apart < least] = number
            np.minimum(least, apart, out=least)
        classes = self._indices[nearest]
        # near an ignored colour a pixel is ignored, which is no correction
        off = (least > 0) & (classes != IGNORE_INDEX)
        known = np.where(off, classes | _OFF, classes)
        self._table[colours] = np.where(least <= self._distance, known, IGNORE_INDEX | _STRANGE)


@lru_cache(maxsize=2)
def _palette(
    colours: tuple[tuple[int, int, int], ...], ignored: tuple[tuple[int, int, int], ...], distance: int
) -> _Palette:
    """That of a label, for all its strips: its table takes 32 MB and a while to fill."""
    return _Palette(colours, ignored, distance)


def decode_values(raster: np.ndarray, values: Mapping[int, int], ignored: Sequence[int]) -> DecodedLabel:
    """Class indices of a label that holds a number a class, (1, H, W) whole numbers of any type.

    `values` are class indices by number; those that are `ignored` do not count as unknown.

    Raises:
        UserError: when the raster has several bands. The sentence starts without a subject.
    """
    if raster.shape[0] != 1:
        raise UserError(
            f"has {raster.shape[0]} bands where values are mapped to classes, which needs one: "
            "give the palette under colours and leave values out."
        )
    decoded = np.empty(raster.shape[1:], np.uint8)
    unknown = 0
    for rows in strips(decoded.shape):
        entries = _by_number(raster[0, rows], values, ignored)
        decoded[rows] = entries & 255
        unknown += int(np.count_nonzero(entries & _STRANGE))
    return DecodedLabel(decoded, 0, unknown)


def _by_number(plane: np.ndarray, values: Mapping[int, int], ignored: Sequence[int]) -> np.ndarray:
    """Class indices, (h, W) uint16, with `_STRANGE` added to what is neither in `values` nor in `ignored`."""
    meanings = dict.fromkeys(ignored, IGNORE_INDEX) | dict(values)
    strange = IGNORE_INDEX | _STRANGE
    if plane.dtype.kind == "c":
        # a number with an imaginary part names no class, and a NaN equals nothing
        plane = np.where(plane.imag == 0, plane.real, np.nan)
    if plane.dtype.kind in "iu":
        limits = np.iinfo(plane.dtype)
        # others cannot be met in the raster, and numpy refuses to make them its type
        numbers = np.array(sorted(n for n in meanings if limits.min <= n <= limits.max), plane.dtype)
    else:
        numbers = np.array(sorted(meanings), np.float64)
    entries = np.array([meanings[number] for number in numbers.tolist()], np.uint16)
    if plane.dtype.kind in "iu" and plane.dtype.itemsize <= 2:
        # so that negative numbers have a place in the table, too
        # as text, which keeps the order of bytes
        unsigned = plane.dtype.str.replace("i", "u")
        table = np.full(1 << 8 * plane.dtype.itemsize, strange, np.uint16)
        table[numbers.view(unsigned)] = entries
        return table[plane.view(unsigned)]
    if not len(numbers):
        return np.full(plane.shape, strange, np.uint16)
    # NaN is placed behind the last number, and is not equal to it below
    at = np.searchsorted(numbers, plane).clip(max=len(numbers) - 1)
    return np.where(numbers[at] == plane, entries[at], strange)


def check_colour(raster: np.ndarray, expected: str, remedy: str) -> None:
    """Refuse a raster, (bands, H, W), that is not an 8-bit colour picture; `expected` is an example of a colour.

    Raises:
        UserError: with a sentence that starts without a subject and ends with the remedy.
    """
    if raster.shape[0] in (3, 4) and raster.dtype == np.uint8:
        return
    bands = "one band" if raster.shape[0] == 1 else f"{raster.shape[0]} bands"
    raise UserError(
        f"has {bands} of {raster.dtype} where a label in colours has three of uint8 ({expected}): {remedy}."
    )
