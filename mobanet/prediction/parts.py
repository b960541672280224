"""A scene cut into parts: what is saved at a time, shared out to processes, and found again by `--resume`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mobanet.data.reading import starts

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


@dataclass(frozen=True)
class PartRun:
    """Parts that lie below one another, predicted in one go: windows that reach into two of them are run once."""

    parts: tuple[MapPart, ...]

    def windows(self, height: int, width: int, size: int, stride: int, step: int = 1) -> list[tuple[int, int]]:
        """Top-left corners, row by row, of the scene's windows that reach into the run.

        Args:
            height: of the scene.
            width: of the scene.
            size: of a window.
            stride: from window to window.
            step: corners are multiples of it (`mobanet.data.reading.starts`).
        """
        top, bottom = self.parts[0].top, self.parts[-1].bottom
        left, right = self.parts[0].left, self.parts[0].right
        rows = [row for row in starts(height, size, stride, step) if row < bottom and row + size > top]
        columns = [column for column in starts(width, size, stride, step) if column < right and column + size > left]
        return [(row, column) for row in rows for column in columns]


def parts_of(scene: int, height: int, width: int, strip: int, panel: int = PANEL) -> list[MapPart]:
    """All parts of a scene, panel by panel, from top to bottom.

    Args:
        scene: its number.
        height: in pixels.
        width: in pixels.
        strip: rows of a part.
        panel: columns of a part.
    """
    return [
        MapPart(scene, j, i, top, min(top + strip, height), left, min(left + panel, width))
        for j, left in enumerate(range(0, width, panel))
        for i, top in enumerate(range(0, height, strip))
    ]


def runs_of(parts: Sequence[MapPart], done: Collection[MapPart], rank: int, world: int) -> list[PartRun]:
    """What one process has to do of the parts that are left: a run of them of about equal area for each.

    Args:
        parts: of all scenes.
        done: those that are there.
        rank: of the process.
        world: number of processes.
    """
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
