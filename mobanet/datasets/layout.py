"""What a data set is, declared: modalities, classes, tiles, splits, and the layout that finds them on disk."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from mobanet.rasters.contents import Classes, DecodedLabel, FileRef, Modality, Source

LabelKind = Literal["full", "eroded"]
"""`eroded`: a margin around every object is ignored, as in the ISPRS `noBoundary` rasters."""


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
        patch: the lists name square patches of so many pixels instead of whole tiles (`mobanet.store.patches`).
        leak: what training knows of the test tiles, as a clause for logs and tables; empty where it knows nothing.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    patch: int | None = None
    leak: str = ""


class Layout(ABC):
    """A data set's conventions: what it has and how its files are named. Subclasses live in `mobanet.datasets`.

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
