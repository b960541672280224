"""From finished parts to files: the class map, and as asked probabilities and scenarios, each whole or not there."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mobanet.prediction.parts import MapPart, by_strip
from mobanet.prediction.predictor import PartMaps
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.categories import RasterKind, class_kind, confidence_kind, probability_kind, scenario_kind
from mobanet.rasters.contents import Classes
from mobanet.rasters.geotiff import RowWriter
from mobanet.rasters.grid import Grid
from mobanet.scenarios.scenario import Scenario
from mobanet.stitching.blending import NOTHING, Probabilities


@dataclass(frozen=True)
class MapFiles:
    """What a prediction writes; None for what is not asked for.

    Attributes:
        classes: the map.
        probabilities: one band a class.
        scenarios: which scenario each pixel was predicted in.
        polygons: of the classes.
        zones: table of what the user's polygons hold.
        zones_copy: these polygons with the same columns.
        confidence: the highest of the probabilities.
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
        classes: (K,) of each.
        scenarios: (S,) predicted in each.
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
    """Write the files of one scene, all of whose parts are in the workspace; the class map comes last.

    `tags` go into every file. `go_on` is called from time to time; what it raises ends the writing, with nothing
    left of it.

    Raises:
        OSError: when the disk is full; nothing is left under the final names that were not there yet.
    """
    counted = np.zeros((2, 256), np.int64)  # of the classes, and of the scenarios
    areas = np.zeros((2, 256))  # square metres; NaN where they are not known
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(RowWriter(path, grid, kind, tags))
            for name, path, kind in _rasters(files, workspace.load(parts[0]), classes, scenarios)
        }
        # side by side across all panels, since files are written in whole rows
        for strip in by_strip(parts):
            go_on()
            maps = []
            for part in strip:
                maps.append(workspace.load(part))
                numbers = torch.from_numpy(np.stack([maps[-1].classes, maps[-1].scenarios]))
                # numpy's takes three times as long
                pixels = np.stack([torch.bincount(each.ravel(), minlength=256).numpy() for each in numbers])
                area = part.pixel_area(grid)
                counted += pixels
                # NaN times no pixel is NaN, too: a single part without a place leaves no area known
                areas += pixels * (np.nan if area is None else area)
            for name, writer in writers.items():
                rows = np.concatenate([getattr(each, name) for each in maps], axis=-1)
                # (bands, h, W), of which class maps have one
                writer.write(rows if rows.ndim == 3 else rows[None])
    known = bool(np.isfinite(areas).all())
    return MapCounts(
        counted[0, : len(classes)],
        counted[1, : len(scenarios)],
        int(counted[0, NOTHING]),
        areas[0, : len(classes)] if known else None,
        areas[1, : len(scenarios)] if known else None,
    )


def _rasters(
    files: MapFiles, first: PartMaps, classes: Classes, scenarios: Sequence[Scenario]
) -> Iterator[tuple[str, Path, RasterKind]]:
    """What is written of `PartMaps`, by the name of its field, in types that the first part has."""
    # the last that is left is the first to get its name: the class map stands for all being there
    yield "classes", files.classes, class_kind(classes)
    if files.scenarios is not None:
        yield "scenarios", files.scenarios, scenario_kind([each.name for each in scenarios])
    if files.probabilities is not None:
        yield "probabilities", files.probabilities, probability_kind(classes, _dtype(first.probabilities))
    if files.confidence is not None:
        yield "confidence", files.confidence, confidence_kind(_dtype(first.confidence))


def _dtype(values: np.ndarray | None) -> Literal["uint8", "float32"]:
    assert values is not None  # parts and files follow the same settings
    return "uint8" if values.dtype == np.uint8 else "float32"


def map_tags(settings: Mapping[str, object]) -> dict[str, str]:
    """How a map came about, as texts to store in it."""
    return {
        f"mobanet_{name}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in settings.items()
    }
