"""What a data set is, declared: modalities, classes, tiles, splits, and the layout that finds them on disk."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

IGNORE_INDEX = 255
"""Label value of pixels that neither loss nor metrics look at."""

LabelKind = Literal["full", "eroded"]
"""`eroded`: a margin around every object is ignored, as in the ISPRS `noBoundary` rasters."""


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
    """

    name: str
    bands: tuple[str, ...]
    kind: Literal["optical", "elevation", "other"] = "optical"
    unit: str = ""
    maximum: float | None = 255.0


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
        """Number of classes."""
        return len(self.names)


@dataclass(frozen=True)
class FileRef:
    """A file on disk, or a member of a zip archive on disk.

    Attributes:
        path: the file, or the archive.
        member: the name inside the archive; of an archive inside an archive, `inner.zip!folder/name.tif`.
    """

    path: Path
    member: str | None = None

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
class Tile:
    """One tile as found on disk: a source for each modality that is there, and its label rasters."""

    id: str
    sources: dict[str, Source]
    labels: dict[LabelKind, FileRef] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """A named division of the tiles.

    Attributes:
        train: tiles to train on, without those of `validation`.
        validation: tiles held out of training, by which checkpoints are chosen.
        test: tiles for the final figures.
        patch: the lists name square patches of so many pixels instead of whole tiles (`mobanet.data.patches`).
        leak: what training knows of the test tiles, as a clause for logs and tables; empty where it knows nothing.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    patch: int | None = None
    leak: str = ""


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


class Layout(ABC):
    """A data set's conventions: what it has and how its files are named. Subclasses live in `mobanet.data.layouts`.

    Attributes:
        name: as given to `--data.layout`.
        modalities: every modality the layout can offer, by name, in canonical order.
        default_modalities: those prepared when none are named.
        classes: the label classes.
        splits: by name.
        crs: coordinate reference system to assume where rasters carry none, such as `EPSG:32633`.
        scalings: by modality, how it is scaled unless the user says, where its kind does not tell.
    """

    name: str
    modalities: dict[str, Modality]
    default_modalities: tuple[str, ...]
    classes: Classes
    splits: dict[str, Split]
    crs: str | None = None
    scalings: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def find(self, root: Path, modalities: Iterable[str]) -> list[Tile]:
        """Tiles below `root`, sorted by id, each with the sources of those `modalities` that exist.

        Raises:
            UserError: when `root` does not exist or holds no file of this layout.
        """

    @abstractmethod
    def decode_label(self, raster: np.ndarray) -> DecodedLabel:
        """Class indices of a label raster of shape (bands, H, W)."""
