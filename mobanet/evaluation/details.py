"""What a test measures beside its confusion matrices where it is asked to, in every scenario: boundaries, objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from mobanet.errors import UserError
from mobanet.evaluation import boundary, objects
from mobanet.evaluation.boundary import BoundaryRows, BoundaryScores, SharedTruths, boundary_scores
from mobanet.evaluation.distances import Distance, pixel_distances
from mobanet.evaluation.objects import ObjectRows, ObjectScores
from mobanet.plain.wording import did_you_mean
from mobanet.rasters.contents import IGNORE_INDEX, Classes
from mobanet.stitching.windows import Strip
from mobanet.store.stored import StoredTile

OBJECTS_OPTION = "--objects"

USUAL_OBJECTS = "building"
"""The class whose objects are counted where a user names none."""


@dataclass(frozen=True)
class DetailSettings:
    """What is measured.

    Attributes:
        distances: from boundaries; none for no figures of boundaries.
        objects: names of classes whose objects are counted.
    """

    distances: tuple[Distance, ...] = ()
    objects: tuple[str, ...] = ()

    def on(self, tiles: Sequence[StoredTile], classes: Classes) -> "Measures":
        """What is measured on tiles, all that are evaluated.

        Raises:
            UserError: for a distance that does not fit the tiles.
        """
        pixels = pixel_distances(self.distances, tiles) if self.distances else {}
        return Measures(self, classes, pixels)


@dataclass(frozen=True)
class Measures:
    """What is measured on known tiles.

    Attributes:
        settings: as chosen.
        classes: of the maps.
        pixels: the distances in pixels of each tile, by its id; empty without distances.
    """

    settings: DetailSettings
    classes: Classes
    pixels: Mapping[str, tuple[int, ...]]

    def scores(self, counts: Tensor) -> "DetailScores":
        """All figures of what `DetailCounts` has counted."""
        distances, numbers = self.settings.distances, len(self.classes)
        cut = len(distances) * numbers * len(boundary.COUNTED)
        each = counts[:cut].view(len(distances), numbers, -1).tolist() if distances else []
        # over all tiles: of one distance in metres the pixels differ where tiles have other pixel sizes
        reach = [(min(own), max(own)) for own in zip(*self.pixels.values(), strict=True)]
        # guarded, as torch cannot infer -1 of a view with 0 rows
        own = counts[cut:].view(len(self.settings.objects), -1).tolist() if self.settings.objects else []
        return DetailScores(
            tuple(
                boundary_scores(distance.label, distance.name, pixels, rows, self.classes)
                for distance, pixels, rows in zip(distances, reach, each, strict=True)
            ),
            tuple(ObjectScores(name, *row) for name, row in zip(self.settings.objects, own, strict=True)),
        )


@dataclass(frozen=True)
class DetailScores:
    """What was measured in one scenario.

    Attributes:
        boundary: one a distance.
        objects: one a class.
    """

    boundary: tuple[BoundaryScores, ...] = ()
    objects: tuple[ObjectScores, ...] = ()

    def __bool__(self) -> bool:  # `any(found.values())` asks it
        """Whether anything was measured."""
        return bool(self.boundary or self.objects)

    def figures(self) -> dict[str, float]:
        """What stands in tables of scenarios and goes to loggers, 0..1, NaN where absent, by name of the metric."""
        out: dict[str, float] = {}
        for each in self.boundary:
            out |= {f"boundary_iou_{each.name}": each.mean_iou, f"boundary_f1_{each.name}": each.mean_f1}
        for found in self.objects:
            name = f"objects_{found.of.replace(' ', '_')}"
            out |= {f"{name}_{key}": share for key, share in found.shares().items()}
        return out


class DetailCounts(Metric):
    """Counts boundaries and objects of one scenario's strips, in whole numbers, which are summed over ranks.

    Strips of a tile come from top to bottom, one tile after the other. Memory beside them is that of `BoundaryRows` and
    of `ObjectRows`, and does not depend on how high tiles are or how many.

    Args:
        measures: what is counted.
        truths: shared by all scenarios.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, measures: Measures, truths: SharedTruths | None = None) -> None:
        super().__init__()
        self.measures, self._truths = measures, truths or SharedTruths(1)
        self._boundaries = len(measures.settings.distances) * len(measures.classes) * len(boundary.COUNTED)
        self._of = [measures.classes.names.index(name) for name in measures.settings.objects]
        total = self._boundaries + len(self._of) * len(objects.COUNTED)
        self.add_state("counts", torch.zeros(total, dtype=torch.int64), dist_reduce_fx="sum")
        self._leave()

    def reset(self) -> None:
        """Start anew."""
        super().reset()
        self._truths.reset()
        self._leave()

    def update(self, strip: Strip | None) -> None:
        """Count what a strip completes; None where there is no further one, which counts what is left."""
        # strips do not say that they are the last
        if strip is None or strip.tile != self._tile:
            self._finish()
        if strip is not None:
            self._add(strip)

    def compute(self) -> Tensor:
        """Of all distances (D, K, 7), then of all classes with objects (C, 5), in one row, int64."""
        return self.counts

    def _leave(self) -> None:
        self._tile: str | None = None
        self._rows: BoundaryRows | None = None
        self._objects: list[ObjectRows] = []

    def _add(self, strip: Strip) -> None:
        if strip.tile != self._tile:
            self._tile = strip.tile
            if self.measures.settings.distances:
                distances = self.measures.pixels[strip.tile]
                self._rows = BoundaryRows(len(self.measures.classes), distances, self._truths, strip.tile)
            self._objects = [ObjectRows() for _ in self._of]
        prediction, label = strip.prediction.cpu().numpy(), strip.label.cpu().numpy()
        # the truth has no class there, so that only the map's objects have to be cut
        counted = label != IGNORE_INDEX
        found = [] if self._rows is None else [self._rows.add(prediction, label)]
        for k, rows in zip(self._of, self._objects, strict=True):
            # views: a bool is a byte of 0 or 1 already
            found.append(rows.add(((prediction == k) & counted).view(np.uint8), (label == k).view(np.uint8)))
        self._take(found)

    def _finish(self) -> None:
        found = [] if self._rows is None else [self._rows.finish()]
        self._take([*found, *(rows.finish() for rows in self._objects)])
        self._leave()

    def _take(self, found: Sequence[np.ndarray]) -> None:
        if found:
            counts = torch.from_numpy(np.concatenate([each.ravel() for each in found]))
            self.counts += counts.to(self.counts.device)


def chosen_objects(given: str, classes: Classes) -> tuple[str, ...]:
    """The classes that a user names, in the order of the classes.

    Args:
        given: names joined by commas.
        classes: of the model.

    Raises:
        UserError: for a name that is no class, or is given twice.
    """
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in classes.names:
            hint = did_you_mean(name, classes.names)
            raise UserError(
                f"{OBJECTS_OPTION} names {name or 'nothing'}, which is no class of the model{hint}; choose from "
                f"{', '.join(classes.names)} by commas."
            )
        if names.count(name) > 1:
            raise UserError(f"{OBJECTS_OPTION} names {name} twice; leave one of them out.")
    return tuple(name for name in classes.names if name in names)
