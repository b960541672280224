"""From finished parts to files: the class map, and as asked probabilities and scenarios, each whole or not there."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mobanet.prediction.parts import MapPart
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.alignment import part_of
from mobanet.rasters.categories import RasterKind, class_kind, confidence_kind, probability_kind, scenario_kind
from mobanet.rasters.contents import Classes
from mobanet.rasters.geotiff import RowWriter
from mobanet.rasters.grid import Grid
from mobanet.rasters.pixel_size import pixel_area
from mobanet.scenarios.scenario import Scenario
from mobanet.stitching.blending import NOTHING, Probabilities


@dataclass(frozen=True)
class MapFiles:
    """What a prediction writes.

    Attributes:
        classes: the map.
        probabilities: one band a class; None unless asked for.
        scenarios: which scenario each pixel was predicted in; None unless asked for.
        polygons: of the classes; None unless asked for.
        zones: table of what the user's polygons hold; None unless asked for.
        zones_copy: these polygons with the same columns, alike.
        confidence: the highest of the probabilities; None unless asked for.
    """

    classes: Path
    probabilities: Path | None
    scenarios: Path | None
    polygons: Path | None = None
    zones: Path | None = None
    zones_copy: Path | None = None
    confidence: Path | None = None

    @classmethod
    def beside(
        cls, path: Path, probabilities: Probabilities, scenarios: bool, confidence: Probabilities = "none"
    ) -> "MapFiles":
        """Names of rasters beside that of the map."""
        return cls(
            path,
            path.with_name(f"{path.stem}_probabilities.tif") if probabilities != "none" else None,
            path.with_name(f"{path.stem}_scenarios.tif") if scenarios else None,
            confidence=path.with_name(f"{path.stem}_confidence.tif") if confidence != "none" else None,
        )

    @property
    def all(self) -> list[Path]:
        """Those that are to be written."""
        vectors, rasters = (self.polygons, self.zones_copy, self.zones), (self.probabilities, self.confidence)
        every = *vectors, *rasters, self.scenarios, self.classes
        return [path for path in every if path is not None]


@dataclass(frozen=True)
class MapCounts:
    """Pixels of a finished map.

    Attributes:
        classes: (K,) of each class.
        scenarios: (S,) predicted in each scenario.
        nothing: without a value.
        class_areas: (K,) square metres on the ground; None where the map has no place on the earth.
        scenario_areas: (S,), likewise.
    """

    classes: np.ndarray
    scenarios: np.ndarray
    nothing: int
    class_areas: np.ndarray | None = None
    scenario_areas: np.ndarray | None = None


def assemble(
    workspace: Workspace,
    parts: Sequence[MapPart],
    files: MapFiles,
    grid: Grid,
    classes: Classes,
    scenarios: Sequence[Scenario],
    tags: Mapping[str, str],
    go_on: Callable[[], None] = lambda: None,
) -> MapCounts:
    """Write the files of one scene.

    Args:
        workspace: holds all its parts.
        parts: of the scene.
        files: to write; the class map comes last.
        grid: of the map.
        classes: of the model.
        scenarios: all of the model's.
        tags: of every file.
        go_on: called from time to time; what it raises ends the writing, with nothing left of it.

    Raises:
        OSError: when the disk is full; nothing is left under the final names that were not there yet.
    """
    counted = np.zeros((2, 256), np.int64)  # of the classes, and of the scenarios
    areas = np.zeros((2, 256))  # square metres; NaN where they are not known
    with ExitStack() as stack:
        wanted: dict[str, tuple[Path | None, Callable[[], RasterKind]]] = {
            # the last that is left is the first to get its name: the class map stands for all being there
            "classes": (files.classes, lambda: class_kind(classes)),
            "scenarios": (files.scenarios, lambda: scenario_kind([each.name for each in scenarios])),
            "probabilities": (
                files.probabilities,
                lambda: probability_kind(classes, _dtype(workspace.load(parts[0]).probabilities)),
            ),
            "confidence": (files.confidence, lambda: confidence_kind(_dtype(workspace.load(parts[0]).confidence))),
        }
        writers = {
            name: stack.enter_context(RowWriter(path, grid, kind(), tags))
            for name, (path, kind) in wanted.items()
            if path is not None
        }
        for _, strip in groupby(sorted(parts, key=lambda part: (part.strip, part.panel)), key=lambda part: part.strip):
            go_on()
            maps = []
            for part in strip:
                maps.append(workspace.load(part))
                numbers = torch.from_numpy(np.stack([maps[-1].classes, maps[-1].scenarios]))
                # numpy's takes three times as long
                pixels = np.stack([torch.bincount(each.ravel(), minlength=256).numpy() for each in numbers])
                # pixels of one size on the map are not of one size on the ground, but nearly so within a part
                area = pixel_area(grid_of(part, grid))
                counted += pixels
                areas += pixels * (np.nan if area is None else area)
            for name, writer in writers.items():
                rows = np.concatenate([getattr(each, name) for each in maps], axis=-1)
                writer.write(rows if rows.ndim == 3 else rows[None])
    known = bool(np.isfinite(areas).all())
    return MapCounts(
        counted[0, : len(classes)],
        counted[1, : len(scenarios)],
        int(counted[0, NOTHING]),
        areas[0, : len(classes)] if known else None,
        areas[1, : len(scenarios)] if known else None,
    )


def _dtype(values: np.ndarray | None) -> Literal["uint8", "float32"]:
    """In which type the parts of a map have what is to be written."""
    assert values is not None  # parts and files follow the same settings
    return "uint8" if values.dtype == np.uint8 else "float32"


def grid_of(part: MapPart, grid: Grid) -> Grid:
    """The grid of a part of a map."""
    return part_of(grid, part.top, part.left, part.bottom - part.top, part.right - part.left)


def map_tags(settings: Mapping[str, object]) -> dict[str, str]:
    """How a map came about, as texts to store in it."""
    return {
        f"mobanet_{name}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in settings.items()
    }
