"""Rasters to predict beside those of the training: read by the same rule unless told otherwise, in pixels as large."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mobanet.data.training_rasters import FAR, TrainingRasters
from mobanet.errors import UserError
from mobanet.prediction.request import GivenRaster, GivenScene
from mobanet.rasters.bands import find_mask
from mobanet.rasters.contents import Modality
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import opened
from mobanet.rasters.pixel_size import pixel_area
from mobanet.rasters.reader import ReadingRule, declares

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

TRAINING = "training"
"""As `--resolution`: that of the rasters that the model was trained on."""

_MOST = 64.0
"""Times as many or as few pixels along a side as the reference raster has; more is a slip of the keyboard."""


def read_as_trained(
    given: GivenScene, modalities: Mapping[str, Modality], rules: Mapping[str, ReadingRule]
) -> tuple[GivenScene, dict[str, list[str]]]:
    """A scene's files with what the user leaves open filled in from the training, where it fits; remarks by modality.

    Bands are the training's where the file has as many as those had, and others than the model takes; a factor is
    for files of the training's data type that declare none themselves; a nodata value holds as it did. Modalities
    of older models have no rule.
    """
    rasters, notes = dict(given.rasters), {}
    for name, raster in given.rasters.items():
        if name in rules:
            with opened(raster.path, raster.file) as file:
                rasters[name], notes[name] = _filled_in(file, raster, modalities[name], rules[name])
    return replace(given, rasters=rasters), notes


def _filled_in(
    file: "DatasetReader", given: GivenRaster, modality: Modality, rule: ReadingRule
) -> tuple[GivenRaster, list[str]]:
    name, shown, wanted, notes = modality.name, given.path.name, len(modality.bands), []
    # a file that has as many bands as the model takes needs no telling which
    others = not given.bands and len(find_mask(file, (), wanted).data) != wanted
    if others and file.count == rule.count and len(rule.bands) == wanted:
        given = replace(given, bands=rule.bands)
        numbers = ", ".join(str(band + 1) for band in rule.bands)
        told = f"band {numbers} of {shown} is read" if wanted == 1 else f"bands {numbers} of {shown} are read"
        notes.append(f"{name}: {told}, as in training")
    # the first stands for all, since a rule has one factor
    band = (given.bands or (0,))[0]
    if given.factor is None and rule.factor != 1 and band < file.count and not declares(file, band, modality):
        if file.dtypes[band] == rule.dtype:
            given = replace(given, factor=rule.factor)
            notes.append(
                f"{name}: values of {shown} are multiplied by {rule.factor:g}, as in training; --factor {name}=1 "
                "leaves them as they are"
            )
        else:
            notes.append(
                f"{name}: values of {shown} ({file.dtypes[band]}) are left as they are, though those of the training "
                f"({rule.dtype}) were multiplied by {rule.factor:g}; --factor {name}=X multiplies them"
            )
    if given.nodata is None and rule.nodata is not None:
        given = replace(given, nodata=rule.nodata)
        notes.append(f"{name}: {rule.nodata:g} in {shown} means missing, as in training")
    return given, notes


def map_grid(grid: Grid, trained: TrainingRasters, resolution: str | float | None) -> tuple[Grid, list[str]]:
    """The grid of a map, and a remark where its pixels are others than the model knows.

    `resolution` is the side of the map's pixels on the ground in metres, or `TRAINING`; None keeps those of `grid`,
    which is the reference raster's.
    """
    area = pixel_area(grid)
    # of a square as large, since pixels in degrees are none on the ground
    side = None if area is None else math.sqrt(area)
    if resolution is not None:
        wanted = _metres(resolution, trained)
        if side is None:
            raise UserError(
                f"--resolution {resolution}: the reference raster does not say how large its pixels are on the ground; "
                "leave it out, or give a georeference and --crs."
            )
        times = wanted / side
        if not 1 / _MOST <= times <= _MOST:
            raise UserError(
                f"--resolution {resolution}: pixels of {wanted:.3g} m are {times:.3g} times as large as the raster's "
                f"{side:.3g} m; give one between {side / _MOST:.3g} and {side * _MOST:.3g}."
            )
        return grid.in_pixels(times, times), [
            f"the map's pixels are {wanted:.3g} m, the reference raster's {side:.3g} m"
        ]
    known = trained.times_as_large(side)
    if known is None or 1 / FAR <= known <= FAR:
        return grid, []
    how = f"{known:.3g} times as large as" if known > 1 else f"{1 / known:.3g} times as fine as"
    return grid, [
        f"pixels of {side:.3g} m are {how} those that the model was trained on ({trained.side:.3g} m), and the map may "
        f"be poor; --resolution {TRAINING} resamples them"
    ]


def _metres(resolution: str | float, trained: TrainingRasters) -> float:
    if resolution == TRAINING:
        if trained.side is None:
            raise UserError(
                f"--resolution {TRAINING}: the checkpoint does not say how large the pixels of its training were; give "
                "metres, such as --resolution 0.25."
            )
        return trained.side
    try:
        metres = float(resolution)
    except ValueError:
        metres = math.nan
    if not 0 < metres < math.inf:
        raise UserError(f"--resolution {resolution} is no size of a pixel; give metres, or {TRAINING}.")
    return metres
