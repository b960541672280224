"""What a raster says of itself, beside what layout and user say of it: settled once, for check, prepare and predict.

A file declares bands, an alpha band, nodata, scale and offset, units, descriptions and a colour table. Some of that is
wrong in many files (GDAL takes the fourth of four bytes for alpha), some of it changes every value (a surface model in
centimetres). What is clear is applied, the rest is said, and what the user sets explicitly always wins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.bands import Mask, colour_table, find_mask, order_note, windows
from mobanet.rasters.contents import Modality, Source
from mobanet.rasters.opening import ABSURD, check_memory, is_value, masked
from mobanet.rasters.strips import strips
from mobanet.rasters.values import (
    DEEP,
    DESCRIBED,
    HIGHEST,
    LOWEST,
    SENTINELS,
    Range,
    Remedies,
    check_heights,
    check_imagery,
    void_note,
)

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window


@dataclass(frozen=True)
class ReadingRule:
    """How a raster was read.

    Attributes:
        dtype: of the raster's pixels, before it was read.
        bands: 0-based, of the raster.
        count: of all bands that the raster has.
        factor: what its values were multiplied by; 1 where an offset was added, too.
        nodata: a value that meant missing beside what the raster declares; None for none.
    """

    dtype: str
    bands: tuple[int, ...]
    count: int
    factor: float = 1.0
    nodata: float | None = None


# by a unit's names in lower case
_METRES = {
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), 1.0),
    **dict.fromkeys(("dm", "decimetre", "decimeter", "decimetres", "decimeters"), 0.1),
    **dict.fromkeys(("cm", "centimetre", "centimeter", "centimetres", "centimeters"), 0.01),
    **dict.fromkeys(("mm", "millimetre", "millimeter", "millimetres", "millimeters"), 0.001),
    **dict.fromkeys(("ft", "foot", "feet", "international foot", "foot (international)"), 0.3048),
    # by its definition of 1893; the international foot is exactly 0.3048 m
    **dict.fromkeys(("us survey foot", "us-ft", "ftus", "us_survey_foot", "foot_us", "us foot"), 1200 / 3937),
    **dict.fromkeys(("km", "kilometre", "kilometer"), 1000.0),
}


@dataclass(frozen=True)
class Reading:
    """How one modality is read from one raster.

    Attributes:
        source, modality: what is read, with what layout or user say, and what for.
        bands: 0-based, of the file; with a colour table the one that it belongs to.
        mask: band that says where there are data; None for none.
        data: all bands of the file that hold data.
        nodata: of all bands of the file, as declared.
        table: (C, entries), what the band's values stand for; None for themselves.
        scale, offset: by band: stored = raster value * scale + offset.
        lowest: stored heights below it are missing; None for no bound.
        dtype: as stored.
        notes: what was settled, for the user.
    """

    source: Source
    modality: Modality
    bands: tuple[int, ...]
    mask: int | None
    data: tuple[int, ...]
    nodata: tuple[float | None, ...]
    table: np.ndarray | None
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    lowest: float | None
    dtype: np.dtype
    notes: tuple[str, ...] = ()
    _met: set[float] = field(default_factory=set, compare=False, repr=False)

    def read(
        self, raster: "DatasetReader", window: "Window | None" = None, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Values as stored, (bands, H, W), and which pixels were measured, (H, W) bool, or None when all were.

        A pixel is missing where the mask or alpha band says so; where a band has a nodata value, declared or given, but
        where that could be a brightness, only if all bands have it; where a band is not finite, absurdly large or below
        `minimum`; and where it has a number that exporters write for nothing, such as -9999, which is then noted. For
        `window` and `shape` see `masked`.
        """
        size = shape or ((raster.height, raster.width) if window is None else (window.height, window.width))
        check_memory(size[0] * size[1], len(self.scale), np.dtype(raster.dtypes[self.bands[0]]).itemsize)
        out = None if shape is None else (len(self.bands), *shape)
        values = raster.read([band + 1 for band in self.bands], window=window, out_shape=out)
        missing = masked(raster, self.mask, window, shape)
        self._nodata(values, missing, raster, window, shape)
        stored = self._stored(values)
        # of a table's numbers none is a measurement that could be absurd
        for plane, raw in zip(stored, values if self.table is None else [None] * len(stored), strict=True):
            for rows in strips(plane.shape):
                self._unmeasured(plane[rows], None if raw is None else raw[rows], missing[rows])
        return stored, ~missing if missing.any() else None

    def rule(self, raster: "DatasetReader") -> ReadingRule:
        """What is remembered of it."""
        same = len(set(self.scale)) == 1 and not any(self.offset)
        dtype, factor = raster.dtypes[self.bands[0]], self.scale[0] if same else 1.0
        return ReadingRule(dtype, self.source.bands, raster.count, factor, self.source.nodata)

    def remarks(self) -> list[str]:
        """For the user: what was settled, and which numbers were met that say nothing though nobody declares them."""
        name, file = self.modality.name, self.source.file.name
        met = ", ".join(f"{value:g}" for value in sorted(self._met))
        more = [f"{name}: {met} in {file} is taken for missing, though the file does not declare it"] if met else []
        return [*self.notes, *more]

    def _nodata(
        self,
        values: np.ndarray,
        missing: np.ndarray,
        raster: "DatasetReader",
        window: "Window | None",
        shape: tuple[int, int] | None,
    ) -> None:
        """Mark what has a nodata value, declared or given."""
        declared = [self.nodata[band] for band in self.bands]
        if all(value is None or self._could_be_data(value) for value in declared):
            # a colour is missing where all of its channels are, those among them that this modality does not read
            marks = [(band, mark) for band in self.data if (mark := self.nodata[band]) is not None]
            if len(marks) == len(self.data):
                empty = np.ones_like(missing)
                at = {band: index for index, band in enumerate(self.bands)}
                for band, mark in marks:
                    plane = values[at[band]] if band in at else raster.read(band + 1, window=window, out_shape=shape)
                    empty &= is_value(plane, mark)
                missing |= empty
        else:
            for plane, value in zip(values, declared, strict=True):
                if value is not None:
                    missing |= is_value(plane, value)
        given = self.source.nodata
        if given is not None:
            found = is_value(values, given)
            missing |= found.all(axis=0) if self._could_be_data(given) else found.any(axis=0)

    def _could_be_data(self, value: float) -> bool:
        """Whether a nodata value is also that of a measured pixel: black is, of a channel of imagery; -9999 is not."""
        if self.modality.kind != "optical" or not value >= 0:
            return False
        # where the range is not known, any number from 0 on may be a brightness
        highest = np.inf if self.modality.maximum is None else self.modality.maximum
        return value * abs(self.scale[0]) <= highest

    def _stored(self, values: np.ndarray) -> np.ndarray:
        """8 and 16 bit imagery as it is, the rest as float32."""
        if self.table is not None:
            values = self.table[:, values[0]]
        if values.dtype == self.dtype and set(self.scale) == {1.0} and set(self.offset) == {0.0}:
            return values
        stored = values.astype(np.float32)
        with np.errstate(all="ignore"):  # what is too large for a float is missing
            for plane, scale, offset in zip(stored, self.scale, self.offset, strict=True):
                plane *= np.float32(scale)
                if offset:
                    plane += np.float32(offset)
        return stored

    def _unmeasured(self, stored: np.ndarray, raw: np.ndarray | None, missing: np.ndarray) -> None:
        """Mark what cannot have been measured: not finite, absurd, too low, or a number that stands for nothing."""
        if np.issubdtype(stored.dtype, np.floating):
            missing |= ~(np.abs(stored) < ABSURD)  # NaN compares false
        if raw is None:
            return
        if np.issubdtype(raw.dtype, np.floating):
            # before the factor, too, which may bring an absurd number back among the others
            missing |= ~(np.abs(raw) < ABSURD)
        if self.source.minimum is not None:
            # of the numbers in the file, which are those that the user sees
            missing |= raw < self.source.minimum
        if self.modality.kind == "elevation":
            odd = (stored < in_unit(DEEP, self.modality)) | (stored > in_unit(HIGHEST, self.modality))
        elif np.issubdtype(raw.dtype, np.unsignedinteger):  # 9999 and 65535 may be brightnesses
            return
        else:
            # less than any correction of the atmosphere leads below 0
            odd = raw <= -9999
        odd &= ~missing
        if not odd.any():
            return
        values = raw[odd]
        strange = np.isin(values, [value for value in SENTINELS if not self._is_value(value)])
        if self.lowest is not None:
            strange |= stored[odd] < self.lowest
        if strange.any():
            # three at a time, as examples: a raster of floats may have any number of them
            self._met.update(np.unique(values[strange])[:3].tolist())
            missing[odd] = strange

    def _is_value(self, number: float) -> bool:
        """Whether the user's `minimum` says that a negative number is a measurement like any other."""
        return self.source.minimum is not None and self.source.minimum <= number < 0


def settle(
    raster: "DatasetReader",
    source: Source,
    modality: Modality,
    mask: Mask,
    remedies: Remedies,
    known: Range | None = None,
) -> Reading:
    """How a modality is read from an open raster, whose mask is from `find_mask`.

    `remedies` word how the user says what a file does not; `known` are the values that imagery may have, None for any.

    Raises:
        UserError: for types that are no imagery, colour tables that are no brightness, and values that contradict what
            is declared, as far as a few windows show them.
    """
    table = colour_table(raster, source, modality)
    # a colour table belongs to the first band, whichever of its colours are asked for
    bands = source.bands if table is None else (0,)
    _check_types(raster, bands, source, modality)
    scale, offset, notes = _calibration(raster, bands if table is None else (0,) * len(table), source, modality)
    elevation = modality.kind == "elevation"
    dtype = np.dtype(raster.dtypes[bands[0]]) if table is None else table.dtype
    plain = dtype in (np.uint8, np.uint16) and not elevation and set(scale) == {1.0} and set(offset) == {0.0}
    told = [f"{modality.name}: {mask.note} ({source.file.name})"] if mask.note else []
    if table is not None:
        told.append(f"{modality.name}: the colours of {source.file.name} are looked up in its colour table")
    told += [f"{modality.name}: {note}" for note in notes]
    told += order_note(raster, source, modality, table)
    reading = Reading(
        source=source,
        modality=modality,
        bands=bands,
        mask=mask.band,
        data=mask.data,
        nodata=tuple(raster.nodatavals),
        table=table,
        scale=scale,
        offset=offset,
        lowest=in_unit(LOWEST, modality) if elevation and source.minimum is None else None,
        dtype=dtype if plain else np.dtype(np.float32),
        notes=tuple(told),
    )
    return replace(reading, notes=(*reading.notes, *_judged(raster, reading, remedies, known)))


def settled(
    raster: "DatasetReader", source: Source, declared: int | None, modality: Modality, known: Range | None
) -> Reading:
    """As `settle`, of a raster with `declared` data bands; None for at least those that are read.

    Raises:
        UserError: when it has another number of bands, or other types or values than declared.
    """
    mask = find_mask(raster, (*source.bands, *source.others), declared)
    table = colour_table(raster, source, modality)
    count = len(mask.data) if table is None else len(table)
    needed = max(source.bands) + 1 if declared is None else declared
    if count < needed or declared not in (None, count):
        bands = "1 band" if count == 1 else f"{count} bands"
        raise UserError(
            f"{source.file} has {bands} where {modality.name} needs {needed}: put the right raster there, or for layout"
            " folder list its bands"
        )
    return settle(raster, source, modality, mask, DESCRIBED, known)


def declares(raster: "DatasetReader", band: int, modality: Modality) -> bool:
    """Whether a raster itself says how a band's values become those of a modality: by scale, offset or unit."""
    known = modality.kind == "elevation" and _metres(raster.units[band]) is not None
    return (raster.scales[band], raster.offsets[band]) != (1.0, 0.0) or known


def check_values(reading: Reading, low: float, high: float, remedies: Remedies, known: Range | None) -> None:
    """Refuse values that contradict what is declared, by the least and the greatest valid one as stored.

    Raises:
        UserError: naming file, values and remedy.
    """
    file, modality = reading.source.file, reading.modality
    if modality.kind == "elevation":
        check_heights(file, modality.name, high, in_unit(HIGHEST, modality), remedies)
    elif known is not None:
        check_imagery(file, modality.name, low, high, known, remedies, reading.dtype, reading.scale[0])


def _judged(raster: "DatasetReader", reading: Reading, remedies: Remedies, known: Range | None) -> list[str]:
    """Look at a few windows where there is something to see in them; remarks."""
    from rasterio.errors import RasterioError

    elevation = reading.modality.kind == "elevation"
    # bytes cannot leave such a range, and need not be read to be judged
    whole_range = reading.dtype == np.uint8 and known is not None and known.maximum >= 255
    if not elevation and (known is None or whole_range):
        return []
    try:
        parts = [reading.read(raster, window) for window in windows(raster.height, raster.width)]
    except RasterioError:
        if elevation:
            return []  # whoever reads all of it says which rows are damaged
        raise
    values = np.concatenate(
        [plane[:, valid] if valid is not None else plane.reshape(len(plane), -1) for plane, valid in parts], axis=1
    )  # (bands, pixels)
    if not values.size:
        return []
    check_values(reading, float(values.min()), float(values.max()), remedies, known)
    note = void_note(values[0], reading.modality.name, reading.source.file, remedies) if elevation else ""
    return [note] if note else []


def _check_types(raster: "DatasetReader", bands: Sequence[int], source: Source, modality: Modality) -> None:
    for band in bands:
        dtype = raster.dtypes[band]
        if dtype.startswith("complex"):
            raise UserError(
                f"{source.file} holds complex numbers, of which {modality.name} cannot be made: write amplitudes or "
                "intensities as real numbers."
            )
        if modality.kind != "optical":
            continue
        if dtype == "int8":
            raise UserError(
                f"{source.file} holds signed bytes, from -128 to 127, where {modality.name} is imagery: write it as "
                "uint8, such as with gdal_translate -ot Byte -scale -128 127 0 255."
            )
        if raster.tags(band + 1, ns="IMAGE_STRUCTURE").get("NBITS") == "1":
            raise UserError(
                f"{source.file} has one bit a pixel, a mask, where {modality.name} is imagery: give the image itself."
            )


def _calibration(
    raster: "DatasetReader", bands: Sequence[int], source: Source, modality: Modality
) -> tuple[tuple[float, ...], tuple[float, ...], list[str]]:
    """Scale and offset of each band, by what the user says, or else the file; and remarks."""
    if source.factor is not None:
        return (source.factor,) * len(bands), (0.0,) * len(bands), []
    file, notes = source.file.name, []
    scale, offset = [], []
    for band in bands:
        by, plus = float(raster.scales[band]), float(raster.offsets[band])
        if (by, plus) != (1.0, 0.0):
            told = f"{file} declares the scale {by:g} and the offset {plus:g}, "
            if modality.kind == "optical":  # whose maximum is that of digital numbers
                notes.append(f"{told}which are not applied to imagery: give a factor if its values are to be scaled")
                by, plus = 1.0, 0.0
            elif not (math.isfinite(by) and math.isfinite(plus)) or by == 0:
                notes.append(f"{told}which leave nothing of it and are not applied")
                by, plus = 1.0, 0.0
            else:
                notes.append(f"{told}which are applied")
        if modality.kind == "elevation":
            unit, wanted = _metres(raster.units[band]), _metres(modality.unit)
            if unit is not None and unit != (wanted or 1.0):
                by, plus = by * unit / (wanted or 1.0), plus * unit / (wanted or 1.0)
                notes.append(f"{file} is in {raster.units[band]} and is converted to {modality.unit or 'metre'}")
        scale.append(by)
        offset.append(plus)
    return tuple(scale), tuple(offset), list(dict.fromkeys(notes))


def _metres(unit: str | None) -> float | None:
    """Metres in a unit; None for one that is not known."""
    return _METRES.get((unit or "").strip().lower())


def in_unit(metres: float, modality: Modality) -> float:
    """A height in the unit of a modality."""
    return metres / (_metres(modality.unit) or 1.0)
