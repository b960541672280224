"""How a data set is delivered: what its files are called, what is in them, how they are packed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobanet.errors import UserError
from mobanet.synthetic.archives import pack_flat
from mobanet.synthetic.scene import default_gsd


@dataclass(frozen=True)
class CityPlan:
    """The parameters that decide what is in a data set."""

    layout: str
    tiles: int
    size: int
    seed: int
    gsd: float
    archives: bool
    products: tuple[str, ...]
    coarser: dict[str, int] | None = None


class Delivery(ABC):
    """One layout's files.

    Attributes:
        layout: whose files these are.
        contents: names for `--products`.
        pixels: smallest and largest metres a pixel that can be drawn.
    """

    layout: str
    contents: tuple[str, ...]
    pixels: tuple[float, float] = (0.02, 2.0)

    @abstractmethod
    def names(self, count: int) -> list[str]:
        """The first `count` tiles.

        Raises:
            UserError: for a count below 1 or above the number of names.
        """

    def default_gsd(self, size: int) -> float:
        """Metres a pixel that suit a tile of `size` pixels a side; see `scene.default_gsd`."""
        return default_gsd(size)

    @abstractmethod
    def paths(self, plan: CityPlan, tile: str) -> list[str]:
        """The files of a tile, from the folder that they are drawn in."""

    def drawn(self, plan: CityPlan, folder: Path, tile: str) -> bool:
        """Whether all files of a tile are below `folder`."""
        return all((folder / path).exists() for path in self.paths(plan, tile))

    @abstractmethod
    def draw(self, plan: CityPlan, folder: Path, tile: str) -> None:
        """Draw one tile and write its files below `folder`."""

    def check_coarser(self, coarser: Mapping[str, int], size: int) -> None:
        """Refuse rasters with larger pixels where there can be none."""
        if coarser:
            raise UserError(f"--coarser: layout {self.layout} has pixels of its own; leave the option out.")

    def finish(self, plan: CityPlan, folder: Path, names: Sequence[str]) -> None:  # noqa: B027 - most have nothing to do
        """Write the files that belong to all tiles together, once these are drawn."""

    def strays(self) -> tuple[str, ...]:
        """Further tiles that are drawn for archives."""
        return ()

    @abstractmethod
    def archives(self) -> tuple[str, ...]:
        """Names of the archives."""

    def pack(self, plan: CityPlan, folder: Path, root: Path, names: Sequence[str]) -> None:
        """Pack what was drawn below `folder` into archives in `root`, each put in place in one step."""
        (archive,) = self.archives()
        pack_flat(root / archive, [(path, folder / path) for tile in names for path in self.paths(plan, tile)], folder)


def share_out(layout: str, parts: Sequence[Sequence[str]], count: int) -> list[str]:
    """The first `count` of a layout's training, validation and test tiles.

    One for training, one for validation and one for testing come first, then about 60, 15 and 25 in a hundred while
    they last, so that three tiles already make a complete experiment. A part may be empty.

    Raises:
        UserError: for a count below 1 or above the number of names.
    """
    # by share, which tells the three apart
    waiting = {share: list(part) for share, part in zip((0.60, 0.15, 0.25), parts, strict=True)}
    available = sum(len(names) for names in waiting.values())
    if not 1 <= count <= available:
        raise UserError(
            f"--tiles {count}: layout {layout} has names for 1 to {available} tiles; give a number in between."
        )
    chosen = [names.pop(0) for names in waiting.values() if names]
    taken = dict.fromkeys(waiting, 1)
    while len(chosen) < count:
        # whoever is furthest behind its share is next
        share = max((share for share in waiting if waiting[share]), key=lambda s: s * (len(chosen) + 1) - taken[s])
        chosen.append(waiting[share].pop(0))
        taken[share] += 1
    return chosen[:count]
