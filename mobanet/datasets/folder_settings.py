"""Own data described without writing Python: the settings of layout `folder`."""

from dataclasses import dataclass, field
from typing import Literal

from mobanet.datasets.listed_splits import SplitLists, SplitTable
from mobanet.datasets.tiling_settings import BUFFER, SplitAreas, SplitBlocks, Tiling
from mobanet.datasets.vector_settings import VectorLabel


@dataclass
class FolderModality:
    """One modality of one's own data.

    Attributes:
        pattern: path below the root with `{tile}` where the tile's id is, in a folder or in the file name, such as
            `ortho/{tile}.tif`; or with parts of the id, `{tile1}`, `{tile2}` and so on, such as
            `{tile1}/ortho/{tile2}.tif`, of which `_` between them makes it. `*` stands for anything within a name,
            `**/` for any folders; an archive counts as a folder called like it, without `.zip`. Or an address, such as
            `https://host/ortho/{tile}.tif`, of tiles that other patterns find below the root, or that splits name.
        bands: what `band_numbers` are, counted from 0 as descriptions had it before.
        names: of these bands; null to number them.
        kind: colour augmentation touches `optical` only.
        nodata: a value that means missing, beside what the rasters declare.
        minimum: values below it are missing; null for heights below -1000 m.
        maximum: full range of digital numbers, such as 255 for 8 bit and 2047 for 11 bit; null to take it from the type
            and the values of the training tiles.
        unit: of the stored values, such as metre.
        factor: stored value = raster value times this; null for what the rasters say by scale, offset and unit.
        pixel_ratio: pixels of the grid that one of its own pixels is wide, such as 50 for 10 m beside 0.2 m, for a
            sensor that is coarser: it is stored and fed to the network in its own pixels. With 1 it is resampled to the
            grid. Crops, windows and strides must be multiples of it.
        band_numbers: of the bands to use, in order, from 1 as GDAL and QGIS count; null for a raster with a single
            band.
    """

    pattern: str
    bands: list[int] | None = None
    names: list[str] | None = None
    kind: Literal["optical", "elevation", "other"] = "optical"
    nodata: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    factor: float | None = None
    pixel_ratio: int = 1
    band_numbers: list[int] | None = None  # last, so that nobody's second argument counts otherwise by now

    @property
    def chosen(self) -> tuple[int, ...]:
        """The bands to use as rasters are read, from 0; none where that is not said."""
        return tuple(number - 1 for number in self.band_numbers or ()) or tuple(self.bands or ())

    def names_of_bands(self, name: str) -> tuple[str, ...]:
        """What the bands are called in a modality of that name; numbers are those that bands are told by."""
        first, count = int(self.bands is None), len(self.chosen) or 1
        return tuple(self.names or ([name] if count == 1 else [f"{name}_{first + n}" for n in range(count)]))


@dataclass
class FolderSplit:
    """Tile ids, or patterns of them such as `north_*`, of one's own data; of rasters that are cut, ground as well.

    Attributes:
        train: tiles to train on.
        validation: tiles held out, by which checkpoints are chosen.
        test: tiles for the final figures.
        areas: polygons that say which ground is for what, in place of lists.
        blocks: tiles drawn with a seed, in place of lists.
        lists: text files with a tile a line, in place of the lists above.
        table: a table of tiles and their parts, in place of lists.
        incomplete: leave tiles out that lists, a table or patterns name and that are not there, in place of refusing.
        buffer: pixels around ground that is held out whose labels do not count: of test ground for training and
            validation, of validation ground for training. With at least a crop's width no crop that teaches anything
            shows such ground.
    """

    train: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    areas: SplitAreas | None = None
    blocks: SplitBlocks | None = None
    buffer: int = BUFFER
    lists: SplitLists | None = None
    table: SplitTable | None = None
    incomplete: bool = False

    @property
    def told(self) -> SplitLists | SplitTable | None:
        """Files that tell the split; None for none."""
        return self.lists if self.table is None else self.table


@dataclass
class FolderSettings:
    """Description of one's own data.

    Attributes:
        modalities: by name; the first one's grid is what the others are brought to, whichever are in use.
        classes: names of the classes, in index order.
        label: pattern of the label rasters, or the description of a vector file; null for data without labels.
        eroded_label: pattern of label rasters with a margin ignored around every object.
        colours: one RGB triple a class; null when `values` is given, or labels are polygons, and any colours will do in
            pictures.
        distance: a colour off the palette is taken for the nearest class where no channel differs by more.
        ignored_colours: colours in the label that mean no class.
        values: class index by raster value, for labels that hold numbers.
        ignored: raster values that mean no class.
        averaged: names of the classes that mean F1 and mIoU are taken over; null for all.
        tiling: how rasters are cut into tiles; null for tiles that are files of their own.
        splits: which tiles, or which ground, are for training, validation and test.
        crs: coordinate reference system of rasters that carry none, such as EPSG:32633.
        grid: name of the modality whose grid the others are brought to; null for the first one.
    """

    modalities: dict[str, FolderModality]
    classes: list[str]
    label: str | VectorLabel | None = None
    eroded_label: str | None = None
    colours: list[tuple[int, int, int]] | None = None
    distance: int = 0
    ignored_colours: list[tuple[int, int, int]] = field(default_factory=list)
    values: dict[int, int] | None = None
    ignored: list[int] = field(default_factory=list)
    averaged: list[str] | None = None
    tiling: Tiling | None = None
    splits: FolderSplit = field(default_factory=FolderSplit)
    crs: str | None = None
    grid: str | None = None
