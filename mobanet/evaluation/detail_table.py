"""Figures of boundaries and objects, as columns of tables, notes, CSV and JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from mobanet.evaluation import objects
from mobanet.evaluation.boundary import COUNTED, BoundaryScores, boundary_scores
from mobanet.evaluation.details import DetailScores
from mobanet.evaluation.objects import ObjectScores
from mobanet.plain.text_tables import csv_text, decimal, none_if_absent, stacked
from mobanet.rasters.contents import Classes

ERODED = (
    "labels are eroded, and what lies around the boundaries of the truth is ignored with them: figures of boundaries "
    "and objects mean little (--data.evaluation.labels full)"
)
_BOUNDARIES = (
    "boundary IoU: of the pixels within the distance of another class (Cheng et al. 2021); boundary F1: of the "
    "contours, within the distance of each other (Csurka et al. 2013); mean over the averaged classes; neither ignored "
    "pixels nor a tile's edge are a boundary"
)
_FIGURES = ("iou", "f1", "precision", "recall")
"""Of each class at a distance, in files."""
_OBJECTS = (
    "objects: what hangs together of a class by the sides of pixels; matched one to one at an IoU of at least 0.5; "
    "what a tile's edge cuts is an object as it is there"
)


def detail_heads(details: DetailScores) -> dict[str, str]:
    """Headings, on several lines, by the names of `DetailScores.figures`."""
    heads = [f"{kind}\n{each.distance}" for each in details.boundary for kind in ("boundary\nIoU", "boundary\nF1")]
    for each in details.objects:
        heads += [f"{stacked(each.of)}\n{kind}" for kind in ("precision", "recall", "F1")]
    return dict(zip(details.figures(), heads, strict=True))


def detail_notes(details: Mapping[str, DetailScores]) -> list[str]:
    """What has to stand below the tables, of figures by scenario; nothing where nothing was measured."""
    # the last scenario is the fullest; an empty one stands for none
    *_, fullest = [DetailScores(), *details.values()]
    lines = [_BOUNDARIES] if fullest.boundary else []
    rounded = [f"{each.distance} {_pixels(each)}" for each in fullest.boundary if not each.distance.endswith(" px")]
    lines += [f"distances in whole pixels: {', '.join(rounded)}"] if rounded else []
    lines += [_OBJECTS] if fullest.objects else []
    for each in fullest.objects:
        cut = f", {each.truth_cut} of them cut by a tile's edge" if each.truth_cut else ""
        lines.append(f"{each.of}: {each.truth} {'object' if each.truth == 1 else 'objects'} in the truth{cut}")
    return lines


def _pixels(each: BoundaryScores) -> str:
    least, most = each.pixels
    return f"{least} px" if least == most else f"{least} to {most} px"


def boundary_csv(details: Mapping[str, DetailScores], classes: Classes) -> str:
    """One row a scenario, distance and class, then the mean, 0..1; absent figures are empty."""
    heads = [f"boundary_{figure}" for figure in _FIGURES]
    lines: list[Sequence[Any]] = [["scenario", "distance", "class", *heads, "averaged", *COUNTED]]
    for scenario, scores in details.items():
        for each in scores.boundary:
            rows = zip(*(getattr(each, figure) for figure in _FIGURES), strict=True)
            for name, numbers, counts in zip(classes.names, rows, each.counts, strict=True):
                place = [scenario, each.distance, name]
                lines.append([*place, *map(decimal, numbers), int(name in classes.averaged), *counts])
            # F1 sums up precision and recall, of which no mean is given; their columns stay
            means = [decimal(each.mean_iou), decimal(each.mean_f1), "", ""]
            lines.append([scenario, each.distance, "mean", *means, "", *[""] * len(COUNTED)])
    return csv_text(lines)


def objects_csv(details: Mapping[str, DetailScores]) -> str:
    """One row a scenario and class; absent figures are empty."""
    lines: list[Sequence[Any]] = [["scenario", "class", "precision", "recall", "f1", *objects.COUNTED]]
    for scenario, scores in details.items():
        for each in scores.objects:
            lines.append([scenario, each.of, *map(decimal, each.shares().values()), *each.counts().values()])
    return csv_text(lines)


def details_as_plain(scores: DetailScores, classes: Classes) -> dict[str, Any]:
    """One scenario's boundaries and objects for JSON: absent figures are null, what was not measured is left out."""
    content: dict[str, Any] = {}
    if scores.boundary:
        content["boundary"] = [_boundary_as_plain(each, classes) for each in scores.boundary]
    if scores.objects:
        content["objects"] = [
            {
                "class": each.of,
                **each.counts(),
                **{name: none_if_absent(share) for name, share in each.shares().items()},
            }
            for each in scores.objects
        ]
    return content


def _boundary_as_plain(each: BoundaryScores, classes: Classes) -> dict[str, Any]:
    return {
        "distance": each.distance,
        "name": each.name,
        "pixels": list(each.pixels),
        "iou": none_if_absent(each.mean_iou),
        "f1": none_if_absent(each.mean_f1),
        "classes": {
            name: {
                **{figure: none_if_absent(getattr(each, figure)[k]) for figure in _FIGURES},
                "counts": list(each.counts[k]),
            }
            for k, name in enumerate(classes.names)
        },
    }


def details_from_plain(content: Mapping[str, Any], classes: Classes) -> DetailScores:
    """What `details_as_plain` has written into a scenario's content; one of earlier versions has nothing of it.

    Raises:
        ValueError, KeyError, TypeError: for what is no such thing.
    """
    found = []
    for each in content.get("boundary", ()):
        if list(each["classes"]) != list(classes.names):
            raise ValueError("the classes of its boundaries are not the run's")
        counts = [_counts(own["counts"], len(COUNTED)) for own in each["classes"].values()]
        least, most = _counts(each["pixels"], 2)
        # from the counts anew, so that shares in an edited file cannot belie them
        found.append(boundary_scores(str(each["distance"]), str(each["name"]), (least, most), counts, classes))
    counted = []
    for each in content.get("objects", ()):
        if each["class"] not in classes.names:
            raise ValueError(f"its objects are of {each['class']}, which is no class of the run")
        numbers = _counts([each[key] for key in objects.COUNTED], len(objects.COUNTED))
        counted.append(ObjectScores(each["class"], *numbers))
    return DetailScores(tuple(found), tuple(counted))


def _counts(values: Sequence[Any], length: int) -> list[int]:
    # by its very type: True is an int to isinstance
    if len(values) != length or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"{values} are not {length} counts")
    return [*values]
