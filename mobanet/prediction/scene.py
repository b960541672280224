"""A scene to predict: its rasters, checked against what the model takes, and how each gets to the scene's grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobanet.data.training_rasters import TrainingRasters
from mobanet.datasets.scalings import default_scaling
from mobanet.errors import UserError
from mobanet.prediction.as_trained import map_grid, read_as_trained
from mobanet.prediction.request import GivenRaster, GivenScene
from mobanet.rasters.alignment import Fit, how_to_fit
from mobanet.rasters.bands import Mask, colour_table, find_mask, order_by_meaning
from mobanet.rasters.contents import Modality, Source
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import grid_of, look_anew, opened
from mobanet.rasters.reader import Reading, settle
from mobanet.rasters.values import COMMANDED, Range, known_range

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_UNKNOWN = TrainingRasters()


@dataclass(frozen=True)
class PlacedRaster:
    """One modality of a scene.

    Attributes:
        reading: how it is read, as into a tile store.
        own: its grid.
        fit: how it gets to `grid`.
        grid: of its pixels as the model takes them: the scene's, or coarser ones from the same corner on.
    """

    reading: Reading
    own: Grid
    fit: Fit
    grid: Grid

    @property
    def modality(self) -> Modality:
        """What it is to the model."""
        return self.reading.modality

    @property
    def source(self) -> Source:
        """Where it is read from, and what the user says of it."""
        return self.reading.source

    @property
    def dtype(self) -> np.dtype:
        """Of its pixels once read, as in a tile store."""
        return self.reading.dtype


@dataclass(frozen=True)
class Scene:
    """Rasters that show the same ground.

    Attributes:
        id: names the output.
        grid: of the map, that of the reference raster; of one that has a pixel ratio, as much finer.
        reference: the modality whose grid it is.
        rasters: by modality, in the model's order; modalities that are missing are not in it.
        notes: what a user should know of how the rasters were brought together.
    """

    id: str
    grid: Grid
    reference: str
    rasters: dict[str, PlacedRaster]
    notes: tuple[str, ...]


def place(
    given: GivenScene,
    modalities: Mapping[str, Modality],
    reference: str | None = None,
    crs: str | None = None,
    ranges: Mapping[str, Range | None] | None = None,
    trained: TrainingRasters = _UNKNOWN,
    resolution: str | float | None = None,
) -> Scene:
    """Check a scene's rasters and settle its grid.

    Args:
        given: the files.
        modalities: of the model, in its order.
        reference: the modality whose grid the map gets; None for the first that the scene has.
        crs: assumed where a raster is georeferenced but names no system.
        ranges: by modality, the values that the model knows, None for any; without them those of the usual scaling.
        trained: what the rasters were that the model was trained on.
        resolution: side of the map's pixels on the ground in metres, or `training`; None for the reference's own.

    Raises:
        UserError: when a raster is unreadable, has other bands or values than the model takes, or cannot be placed.
    """
    names = [name for name in modalities if name in given.rasters]
    if reference is not None and reference not in names:
        raise UserError(
            f"--reference {reference}: --input gives {given.id} {', '.join(names)}, and the model takes "
            f"{', '.join(modalities)}; name one that is given."
        )
    reference = reference or names[0]
    crs = None if crs is None else _plain_crs(crs)
    for raster in given.rasters.values():
        # before any is opened: a process that lives long may have read another file at the same address
        look_anew(raster.path)
    given, filled_in = read_as_trained(given, modalities, trained.rules)
    ranges = ranges or {name: known_range(m, default_scaling(m)) for name, m in modalities.items()}
    # a band that is asked for is no alpha, whatever GDAL takes the fourth of four for
    asked = {
        raster.path: [band for other in given.rasters.values() if other.path == raster.path for band in other.bands]
        for raster in given.rasters.values()
    }
    looked = {}
    for name in names:
        raster = given.rasters[name]
        looked[name] = _look(raster, modalities[name], crs, asked[raster.path], ranges[name])
    first = given.rasters[reference].path
    grid, notes = map_grid(looked[reference][1].finer(modalities[reference].pixel_ratio), trained, resolution)
    rasters = {}
    for name, (reading, own) in looked.items():
        own_grid = grid.coarser(modalities[name].pixel_ratio)
        rasters[name] = PlacedRaster(reading, own, _fit(own, own_grid, given.rasters[name], first), own_grid)
        # that the reference is resampled was asked for, and is said by `map_grid`
        placed = [] if resolution is not None and name == reference else _notes(name, rasters[name], reference)
        notes += [*filled_in.get(name, ()), *placed, *reading.remarks()]
    if grid.transform is None:
        notes.append(f"{first} has no georeference, and the map gets none")
    return Scene(given.id, grid, reference, rasters, tuple(notes))


def _plain_crs(crs: str) -> str:
    """As rasters name their own, so that the same system in other words is the same."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        with rasterio.Env():  # GDAL's complaint goes to the log and not to the terminal
            return CRS.from_user_input(crs).to_string()
    except (CRSError, ValueError) as error:  # such as EPSG:west
        raise UserError(f"--crs {crs} is no coordinate reference system; give one such as EPSG:25833.") from error


def _look(
    given: GivenRaster, modality: Modality, crs: str | None, asked: Sequence[int], known: Range | None
) -> tuple[Reading, Grid]:
    """How a file is read, checked against what the model takes, and its own grid."""
    with opened(given.path, given.file) as raster:
        mask = find_mask(raster, asked, None if given.bands else len(modality.bands))
        bands = _bands(raster, given, modality, mask)
        source = Source(given.file, bands, given.nodata, given.minimum, given.factor)
        return settle(raster, source, modality, mask, COMMANDED, known), grid_of(raster, crs, given.file)


def _bands(raster: "DatasetReader", given: GivenRaster, modality: Modality, mask: Mask) -> tuple[int, ...]:
    """0-based bands to read, as asked for, or else all that hold data, by what the file says they are."""
    wanted = len(modality.bands)
    table = colour_table(raster, Source(given.file, given.bands or tuple(range(wanted))), modality)
    count = len(mask.data) if table is None else len(table)
    if given.bands and table is None and max(given.bands) >= raster.count:
        raise UserError(
            f"{given.path} has {_counted(raster.count)}, and band {max(given.bands) + 1} is asked for: give others "
            f"behind it, such as {modality.name}={given.path.name}[1]."
        )
    if wanted != (len(given.bands) or count):
        raise UserError(_wrong_bands(given, modality, count))
    # what the user chose is taken as it is, and of a palette the three colours
    if given.bands or table is not None:
        return given.bands or tuple(range(wanted))
    return order_by_meaning(raster, mask.data, modality) or mask.data


def _fit(own: Grid, grid: Grid, given: GivenRaster, first: object) -> Fit:
    if own.transform and grid.transform and (own.crs is None) != (grid.crs is None):
        lacking, other = (given.path, first) if own.crs is None else (first, given.path)
        raise UserError(
            f"{lacking} names no coordinate reference system and {other} does ({own.crs or grid.crs}): write it into "
            "the file, or give the one to assume with --crs."
        )
    try:
        return how_to_fit(own, grid, "georeference")
    except UserError as error:
        # by its words: `how_to_fit` raises one kind of error for all
        if "does not overlap" in str(error):
            systems = f" ({own.crs})" if own.crs else "", f" ({grid.crs})" if grid.crs else ""
            raise UserError(
                f"{given.path} and {first} do not overlap: the first covers {own.extent}{systems[0]}, the second "
                f"{grid.extent}{systems[1]}; give rasters of the same place."
            ) from error
        if "cannot be placed" in str(error):
            raise UserError(f"{given.path} {error}.") from error
        raise UserError(
            f"{given.path} is {own.size} pixels and {first} {grid.size}, and without a georeference on both they must "
            "have the same size: georeference them or resample one."
        ) from error


def _notes(name: str, raster: PlacedRaster, reference: str) -> list[str]:
    file, grid = raster.source.file.name, raster.grid
    if raster.fit == "warp":
        pixels = f"{grid.size} pixels on " if raster.modality.pixel_ratio > 1 else ""
        return [f"{name}: {file} ({raster.own.size} pixels) is resampled to {pixels}{reference}'s grid"]
    if raster.fit == "edge":
        return [f"{name}: {file} has {raster.own.size} pixels and not {grid.size}; padded as missing or cut"]
    if (raster.own.transform is None) != (grid.transform is None):
        return [f"{name}: {file} or {reference} has no georeference; they are taken to share pixels"]
    return []


def _wrong_bands(given: GivenRaster, modality: Modality, count: int) -> str:
    wanted = len(modality.bands)
    if given.bands:
        return (
            f"{_counted(len(given.bands))} of {given.path} are asked for where the model's {modality.name} has "
            f"{wanted} ({', '.join(modality.bands)}): list as many."
        )
    choose = ",".join(str(band + 1) for band in range(wanted))
    remedy = f"choose, such as {modality.name}={given.path.name}[{choose}]" if count > wanted else "give another raster"
    return (
        f"{given.path} has {_counted(count)} where the model's {modality.name} has {wanted} "
        f"({', '.join(modality.bands)}): {remedy}."
    )


def _counted(bands: int) -> str:
    return "1 band" if bands == 1 else f"{bands} bands"
