"""What a data set is: modalities, classes, splits, and the layout that finds its tiles on disk and reads its labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mobanet.datasets.catalogue import Catalogue, Entry, list_files
from mobanet.datasets.held_out import HeldOut, RoleStrips
from mobanet.errors import UserError
from mobanet.plain.wording import choose_from
from mobanet.rasters.alignment import Placing
from mobanet.rasters.contents import Classes, DecodedLabel, FileRef, Modality, Source
from mobanet.rasters.grid import Grid

if TYPE_CHECKING:
    # `scalings` itself imports `Layout`
    from mobanet.datasets.scalings import Scaling

LabelKind = Literal["full", "eroded"]
"""`eroded`: a margin around every object is ignored, as in the ISPRS `noBoundary` rasters."""

LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)


@dataclass(frozen=True)
class Split:
    """A named division of the tiles.

    Attributes:
        train: tiles to train on, without those of `validation`.
        validation: tiles held out of training, by which checkpoints are chosen.
        test: tiles for the final figures.
        patch: the lists name square patches of so many pixels instead of whole tiles (`mobanet.store.patches`).
        leak: what training knows of the test tiles, as a clause for logs and tables; empty where it knows nothing.
        buffer: pixels around ground that is held out whose labels do not count; None where tiles are not cut.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    patch: int | None = None
    leak: str = ""
    buffer: int | None = None


@dataclass(frozen=True)
class Tile:
    """One tile as found on disk, together with what its layout knows about the files.

    Attributes:
        sources: by modality, of those that are there.
        band_counts: number of data bands each modality's raster must have; a further alpha band is a mask.
        missing: for each modality asked for but not there, the file that was expected.
        copies: further files that claim to be the same product, by modality or `label_<kind>`.
        world: a world file that places the tile, for rasters that carry no georeference.
        notes: remarks for the user, such as a product that was passed over because its file is empty.
        reference: modality and raster that set the tile's grid, whether or not that modality is asked for; None for
            the first one that is.
        measure: a raster of another tile whose pixels have the size that this tile's are to have, for a tile that lacks
            the modality that sets the grid; None where the reference's own will do.
        extras: further files that a label is drawn with.
        window: top, left, height and width of the tile in pixels of the grid that `reference` has, of which it is a
            part; None for a tile that has the whole of it.
        held: where its labels count, for a tile near ground that is held out; None for everywhere.
    """

    id: str
    sources: dict[str, Source]
    labels: dict[LabelKind, FileRef] = field(default_factory=dict)
    band_counts: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    copies: dict[str, tuple[FileRef, ...]] = field(default_factory=dict)
    world: FileRef | None = None
    notes: tuple[str, ...] = ()
    reference: tuple[str, FileRef] | None = None
    measure: FileRef | None = None
    extras: tuple[FileRef, ...] = ()
    window: tuple[int, int, int, int] | None = None
    held: HeldOut | None = None


@dataclass(frozen=True)
class Survey:
    """All tiles of a data set, in natural order of their ids, and remarks about the whole set.

    Attributes:
        elsewhere: files of tiles that are not below the root, which the catalogue does not have.
    """

    tiles: tuple[Tile, ...]
    notes: tuple[str, ...] = ()
    elsewhere: tuple[Entry, ...] = ()


NOTHING_DRAWN = "no polygon lies on the tile"
"""Begins the note on such a tile."""


@dataclass
class DrawnLabel:
    """A label that is drawn from outlines onto a tile's grid, strip by strip.

    Attributes:
        strips: draws it from top to bottom, so many rows at a time: (h, W) uint8 class indices.
        outlines: number of outlines it is drawn from; final, as the remarks are, once all strips are drawn.
    """

    strips: Callable[[int], Iterator[np.ndarray]]
    outlines: int
    notes: list[str] = field(default_factory=list)


class Layout(ABC):
    """A data set's conventions: what it has, and how its files, in folders or zip archives, are named and read.

    Attributes:
        name: as given to `--data.layout`.
        modalities: every modality the layout can offer, by name, in canonical order.
        default_modalities: those prepared when none are named.
        crs: coordinate reference system to assume where rasters carry none, such as `EPSG:32633`.
        scalings: by modality, how it is scaled unless the user says, where its kind does not tell.
        placing: how the rasters of a tile lie on one another.
        coloured_labels: label rasters tell classes by colours, not by numbers.
        label_remedy: what to do about a label whose pixels name no class, for messages.
    """

    name: str
    modalities: Mapping[str, Modality]
    default_modalities: tuple[str, ...]
    classes: Classes
    splits: Mapping[str, Split]
    crs: str | None = None
    # not to be written to, as it is shared by all layouts that have none of their own
    scalings: "Mapping[str, Scaling]" = MappingProxyType({})
    placing: Placing = "pixels"
    coloured_labels: bool = True
    label_remedy: str = "put the right label there"

    @abstractmethod
    def survey(self, catalogue: Catalogue, modalities: Iterable[str], scratch: Path | None = None) -> Survey:
        """Sort the files of `catalogue` into tiles, of the modalities named.

        What file names alone do not tell of archive members is looked up in copies that are unpacked into `scratch`.

        Raises:
            UserError: when no file belongs to this layout, or a file could be two things.
        """

    @abstractmethod
    def decode_label(self, raster: np.ndarray) -> DecodedLabel:
        """Class indices of a label raster of shape (bands, H, W)."""

    def find(self, root: Path, modalities: Iterable[str]) -> list[Tile]:
        """Tiles below `root`, as `survey` finds them.

        Raises:
            UserError: when `root` does not exist or holds no file of this layout.
        """
        return list(self.survey(list_files(root), self.check_modalities(modalities)).tiles)

    def check_modalities(self, modalities: Iterable[str] | None) -> tuple[str, ...]:
        """The named modalities in canonical order; the default ones for None.

        Raises:
            UserError: for a name this layout does not offer.
        """
        wanted = self.default_modalities if modalities is None else tuple(modalities)
        if not wanted:
            raise UserError(f"modalities is empty: name at least one of {', '.join(self.modalities)}.")
        for name in wanted:
            choose_from(self.modalities, name, f"layout {self.name} has no modality")
        # each once: the order in which they are typed decides nothing
        return tuple(name for name in self.modalities if name in wanted)

    def resolve_split(self, name: str, tiles: Iterable[str]) -> Split:
        """The split called `name`, as lists of ids; patterns in a user's own are matched with `tiles`, those there are.

        Raises:
            UserError: when there is no such split.
        """
        return choose_from(self.splits, name, f"layout {self.name} has no split")

    def told_split(self) -> dict[str, list[str]] | None:
        """Tiles by part, as files below the root told when they were surveyed, to be kept; None where no file does."""
        return None

    def recall_split(self, told: Any) -> None:  # noqa: B027 - most have nothing to recall
        """Take what a store kept of `told_split`, where nothing has been surveyed yet; no mapping counts as nothing."""

    def inspect_labels(self, tiles: Sequence[Tile], local: Callable[[FileRef], Path]) -> list[str]:
        """Look through label files that hold outlines as wholes, before any label is drawn; remarks.

        Raises:
            UserError: with everything that is wrong with them.
        """
        return []

    def draw_label(
        self, tile: Tile, kind: LabelKind, grid: Grid, local: Callable[[FileRef], Path]
    ) -> DrawnLabel | None:
        """The label on a grid of a tile whose label file holds outlines; None where labels are rasters.

        Raises:
            UserError: when the outlines cannot be read or do not belong to the tile.
        """
        return None

    def draw_areas(self, tile: Tile, local: Callable[[FileRef], Path]) -> RoleStrips | None:
        """What draws the ground of training, validation and test on grids around a tile; None where no file says so."""
        return None

    def label_rule(self) -> str:
        """A text that changes whenever `decode_label` or `draw_label` would give other classes for the same raster."""
        return repr(self.classes)
