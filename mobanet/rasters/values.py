"""Which values a modality can have, and what is said where a raster has others: in one place for every reader."""

from dataclasses import dataclass

import numpy as np

from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef, Modality

LOWEST, HIGHEST = -1000.0, 9000.0
"""Metres; nothing on land lies below or above."""

# metres; a number such as -9999 that comes out lower than this is taken for none, as is one above `HIGHEST`
# above -99.99, which -9999 is in centimetres
DEEP = -90.0

# numbers that exporters write where they have nothing to say
SENTINELS = (-99999.0, -32768.0, -32767.0, -9999.0, -999.0, 9999.0, 32767.0, 65535.0, 99999.0)

_SPARE = 4.0  # by so much imagery may exceed a range that was not declared but taken from the training tiles

# imagery of floats that stays below this share of its range is given in other numbers, such as reflectances
_DARK = 0.01

_BELOW = 0.1  # so far below 0, as a share of the range, atmospheric correction may lead

# metres that separate heights of 0 from all others, and the least share of them, that look like voids
_VOID_GAP, _VOID_SHARE = 10.0, 0.001


@dataclass(frozen=True)
class Range:
    """Values of imagery, from 0 on.

    Attributes:
        maximum: by which they are divided.
        declared: whether layout or user name it; else it was taken from the training tiles, and others may exceed it.
    """

    maximum: float
    declared: bool = True

    @property
    def limit(self) -> float:
        """Values beyond it are those of another range."""
        # what bytes can hold is no estimate
        return self.maximum if self.declared or self.maximum == 255 else _SPARE * self.maximum


@dataclass(frozen=True)
class Remedies:
    """How the user says what a file does not, in the words of a command: formats of a modality's name and a value.

    Attributes:
        known: a clause on the range of imagery.
        nodata: to set a value that means missing.
        factor: to multiply values.
        maximum: to set the highest value, before another remedy; empty where that cannot be set.
    """

    known: str
    nodata: str
    factor: str
    maximum: str


DESCRIBED = Remedies(
    "and {0} is described as 0 to {1:g}",
    "nodata: {1:g} under modalities.{0} of layout folder",
    "factor: {1:.4g} under modalities.{0} of layout folder (--factor {0}={1:.4g} to predict)",
    "maximum: {1:g} or ",
)
"""In the YAML file that describes own data, or under `--data.folder`."""

COMMANDED = Remedies(
    "and the model knows {0} from 0 to {1:g}", "--nodata {0}={1:g}", "--factor {0}={1:.4g}", maximum=""
)
"""On the command line of `mobanet.predict`."""


def fitting_maximum(dtype: np.dtype | str, high: float, typical: float) -> float:
    """The full range of digital numbers that imagery of a stored type seems to have.

    255 for bytes; else 1 for reflectances, and for other numbers the least of 255, 511 … that holds the highest. Only
    few pixels exceed the typical value.
    """
    if np.dtype(dtype) == np.uint8:
        return 255.0
    if np.issubdtype(np.dtype(dtype), np.floating) and typical <= 1:
        return 1.0
    # sensors have 10, 11, 12 or 14 bits, in files of 16
    bits = 8
    while 2**bits - 1 < high and bits < 32:
        bits += 1
    return float(2**bits - 1)


def check_imagery(
    file: FileRef, name: str, low: float, high: float, known: Range, remedies: Remedies, dtype: np.dtype, factor: float
) -> None:
    """Refuse imagery of other values than are known, by the least and the greatest one as stored.

    They were multiplied by `factor` when they were read; the remedies say how the user sets what is known.

    Raises:
        UserError: for values above or below, and for floats that are all but black.
    """
    span = remedies.known.format(name, known.maximum)
    if high > known.limit:
        fits = fitting_maximum(dtype, high, high)
        raise UserError(
            f"{file} has values up to {high:g} and more, {span}: rescale it to that range, or give "
            f"{remedies.maximum.format(name, fits)}{remedies.factor.format(name, factor * known.maximum / fits)}."
        )
    if low < -_BELOW * known.maximum:
        raise UserError(
            f"{file} has values down to {low:g}, {span}: rescale it to that range, or give "
            f"{remedies.nodata.format(name, low)} if that means missing."
        )
    # dark whole numbers may be a dark picture; reflectances are floats
    if np.issubdtype(dtype, np.floating) and 0 < high <= _DARK * known.maximum:
        raise UserError(
            f"{file} has values up to {high:g} only, {span}: rescale it to that range, or give, for reflectances, "
            f"{remedies.maximum.format(name, 1)}{remedies.factor.format(name, factor * known.maximum)}."
        )


def check_heights(file: FileRef, name: str, high: float, highest: float, remedies: Remedies) -> None:
    """Refuse heights that there are not.

    Raises:
        UserError: naming what could mend it.
    """
    if high > highest:
        raise UserError(
            f"{file} has heights up to {high:g}, where nothing is higher than {highest:g}: give "
            f"{remedies.factor.format(name, 0.01)} for centimetres, or {remedies.nodata.format(name, high)} if that "
            "means missing."
        )


def void_note(heights: np.ndarray, name: str, file: FileRef, remedies: Remedies) -> str:
    """A remark on heights, (pixels,), of exactly 0 that lie far below all others; empty where there are none."""
    share = float((heights == 0).mean())
    rest = heights[heights != 0]
    if share < _VOID_SHARE or not rest.size or rest.min() < _VOID_GAP:
        return ""
    return (
        f"{name}: about {100 * share:.2g} % of {file.name} is exactly 0 and nothing else lower than {rest.min():.4g}: "
        f"if these are voids, give {remedies.nodata.format(name, 0)}"
    )


def known_range(modality: Modality, scaling: str, learnt: np.ndarray | None = None) -> Range | None:
    """The values of imagery that is divided by its range; None for any, as where the scaling does not look at it.

    `learnt`, (2, C), is what a model has learnt; None where there is no model yet.
    """
    if scaling != "unit" or modality.kind != "optical":
        return None
    if learnt is not None:
        return Range(float(np.max(learnt[1])), modality.maximum is not None)
    return None if modality.maximum is None else Range(modality.maximum)


def range_note(modality: Modality, maximum: float) -> str:
    """A remark on imagery whose range nobody declares; empty for bytes, whose range is clear."""
    if maximum == 255:
        return ""
    return (
        f"{modality.name}: no maximum is given, and by its type and values it goes from 0 to {maximum:g}, by "
        f"which it is divided; set maximum under modalities.{modality.name} of layout folder if that is wrong"
    )
