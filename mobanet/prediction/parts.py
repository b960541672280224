"""A scene cut into parts: what is saved at a time, shared out to processes, and found again by `--resume`."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from mobanet.data.reading import starts
from mobanet.rasters.alignment import part_of
from mobanet.rasters.grid import Grid
from mobanet.rasters.pixel_size import pixel_area

PANEL = 32_768
"""Columns of a part at most, which bounds memory at any width of a scene."""


@dataclass(frozen=True)
class MapPart:
    """A rectangle of a scene's map.

    Attributes:
        scene: its number.
        panel: number of its columns, from the left.
        strip: number of its rows, from the top.
        top, bottom, left, right: in pixels; bottom and right lie behind the last.
    """

    scene: int
    panel: int
    strip: int
    top: int
    bottom: int
    left: int
    right: int

    @property
    def name(self) -> str:
        """Of the file that it is saved in."""
        return f"{self.panel:03d}_{self.strip:05d}.npz"

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def pixel_area(self, grid: Grid) -> float | None:
        """Square metres on the ground of one of its pixels, of the map on `grid`; None without a place on the earth."""
        # one size for all: on the ground pixels of a map differ in size, but hardly within a part
        return pixel_area(part_of(grid, self.top, self.left, self.bottom - self.top, self.right - self.left))


@dataclass(frozen=True)
class PartRun:
    """Parts that lie below one another, predicted in one go: windows that reach into two of them are run once."""

    parts: tuple[MapPart, ...]

    def windows(self, height: int, width: int, size: int, stride: int, step: int = 1) -> list[tuple[int, int]]:
        """Top-left corners, row by row, of the scene's windows that reach into the run.

        They are multiples of `step` (`mobanet.data.reading.starts`).
        """
        top, bottom = self.parts[0].top, self.parts[-1].bottom
        left, right = self.parts[0].left, self.parts[0].right
        rows = [row for row in starts(height, size, stride, step) if row < bottom and row + size > top]
        columns = [column for column in starts(width, size, stride, step) if column < right and column + size > left]
        return [(row, column) for row in rows for column in columns]


def parts_of(scene: int, height: int, width: int, strip: int, panel: int = PANEL) -> list[MapPart]:
    """All parts of a scene, of `strip` rows and `panel` columns each, panel by panel, from top to bottom."""
    return [
        MapPart(scene, j, i, top, min(top + strip, height), left, min(left + panel, width))
        for j, left in enumerate(range(0, width, panel))
        for i, top in enumerate(range(0, height, strip))
    ]


def by_strip(parts: Sequence[MapPart]) -> Iterator[list[MapPart]]:
    """The parts of a scene that lie side by side, from left to right; strips from top to bottom."""
    for _, side_by_side in groupby(sorted(parts, key=lambda p: (p.strip, p.panel)), key=lambda p: p.strip):
        yield list(side_by_side)


def runs_of(parts: Sequence[MapPart], done: Collection[MapPart], rank: int, world: int) -> list[PartRun]:
    """What one of `world` processes has to do of the parts that are not done: runs of about equal area in all."""
    left = [part for part in parts if part not in done]
    total, passed, own = sum(part.area for part in left), 0, []
    for part in left:
        # by where a part begins, in area: neighbours stay together, and windows between them are run once
        if min(passed * world // total, world - 1) == rank:
            own.append(part)
        passed += part.area
    runs: list[list[MapPart]] = []
    for part in own:
        before = runs[-1][-1] if runs else None
        if before and (before.scene, before.panel, before.strip + 1) == (part.scene, part.panel, part.strip):
            runs[-1].append(part)
        else:
            runs.append([part])
    return [PartRun(tuple(run)) for run in runs]
