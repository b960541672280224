"""What rasters hold, declared: files, modalities, classes and decoded labels."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mobanet.rasters.elsewhere import Place

IGNORE_INDEX = 255
"""Label value of pixels that neither loss nor metrics look at."""

MOST_RATIO = 1024
"""Of the pixels of a modality to those of a tile's grid: 10 m to a centimetre."""


@dataclass(frozen=True)
class Modality:
    """A named sensor product.

    Attributes:
        name: the word used in options, logs and batches, such as `rgb`, `ir`, `dsm`.
        bands: the names of its bands, in the order in which they are stored.
        kind: colour augmentation touches `optical` only.
        unit: of the stored values, such as `metre`; empty for digital numbers.
        maximum: the full range of digital numbers, by which they are divided (255 for 8 bit, 2047 for 11 bit); None to
            take it from the type and the values of the training tiles.
        pixel_ratio: pixels of a tile's grid that one of its own pixels is wide and high, 1 for a modality on that grid.
            It is stored, cropped and scaled in its own pixels: (H, W) of the grid are (H / ratio, W / ratio) of these.
    """

    name: str
    bands: tuple[str, ...]
    kind: Literal["optical", "elevation", "other"] = "optical"
    unit: str = ""
    maximum: float | None = 255.0
    pixel_ratio: int = 1

    def to_plain(self) -> dict[str, Any]:
        """Text, numbers and lists of these only; without the ratio where it is 1, as files had none once."""
        plain = {**asdict(self), "bands": list(self.bands)}
        return plain if self.pixel_ratio > 1 else {key: x for key, x in plain.items() if key != "pixel_ratio"}


def ratios_of(modalities: Iterable[Modality]) -> dict[str, int]:
    """By name, pixels of a tile's grid that one of a modality's own is wide and high."""
    return {modality.name: modality.pixel_ratio for modality in modalities}


def step_of(modalities: Iterable[Modality]) -> int:
    """The least number of pixels of a tile's grid that are a whole number of every modality's own."""
    # of 2 and 3 only every sixth pixel is a border of both; 1 of nothing
    return math.lcm(*ratios_of(modalities).values())


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, in index order.

    Attributes:
        names: one a class.
        colours: one RGB triple a class, as in the label rasters and in pictures.
        averaged: names of the classes that mean F1 and mIoU are taken over (ISPRS leaves `clutter` out).
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    averaged: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class FileRef:
    """A file on disk, a member of a zip archive on disk, or a raster elsewhere.

    Attributes:
        path: the file, the archive, or the place elsewhere.
        member: the name inside the archive; of an archive inside an archive, `inner.zip!folder/name.tif`.
    """

    path: Place
    member: str | None = None

    @property
    def disk_path(self) -> Path:
        """The file, or the archive, where it is known to lie on this disk.

        Raises:
            TypeError: for a raster elsewhere.
        """
        if isinstance(self.path, Path):
            return self.path
        raise TypeError(f"{self.path} is no file on this disk")

    @property
    def name(self) -> str:
        """The bare file name, without folders and archives."""
        return (self.member or self.path.name).replace("!", "/").rsplit("/", 1)[-1]

    def __str__(self) -> str:
        """As written in messages: the path, then the member behind an exclamation mark."""
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"


@dataclass(frozen=True)
class Source:
    """Where one modality of one tile is read from.

    Attributes:
        file: the raster.
        bands: 0-based band numbers, in the order of `Modality.bands`.
        nodata: a value that means missing, beside what the raster itself declares.
        minimum: raster values below it are missing; None for heights below -1000 m, and for no other bound.
        factor: stored value = raster value times this (an nDSM in decimetres has 0.1); None for what the raster itself
            says by scale, offset and unit.
        others: further bands of the file that modalities are read from, so that none of them is a mask.
    """

    file: FileRef
    bands: tuple[int, ...]
    nodata: float | None = None
    minimum: float | None = None
    factor: float | None = None
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class DecodedLabel:
    """A label raster as class indices.

    Attributes:
        classes: (H, W) uint8, `IGNORE_INDEX` where ignored or unknown.
        corrected: pixels whose colour was off the palette but near enough to name a class.
        unknown: pixels whose colour names no class; they are ignored, never a class.
    """

    classes: np.ndarray
    corrected: int
    unknown: int
