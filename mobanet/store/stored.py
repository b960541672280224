"""Prepared tiles, reading side: arrays and what is known about them.

`mobanet.store.build` makes them:

    STORE/store.json                        version, layout, modalities, classes, tiles; written when all tiles are done
    STORE/tiles.jsonl                       what `tile.json` says of each (`mobanet.store.index`); written just before
    STORE/tiles/<id>/<modality>.npy         (H, W, C) uint8 or uint16 as in the source, float32 otherwise; of a
                                            modality with pixels of its own size (H / ratio, W / ratio, C), rounded up
    STORE/tiles/<id>/<modality>.valid.npy   (H, W) uint8, 1 = measured; only there when some pixel is not
    STORE/tiles/<id>/<modality>.blocks.npy  (h, w, 3 + C) float32, of elevation (`mobanet.rasters.blocks.summarise`)
    STORE/tiles/<id>/label_full.npy         (H, W) uint8 class indices, 255 = ignore; label_eroded.npy alike
    STORE/tiles/<id>/label_full.marks.npy   (h, w) uint8, 1 where a square of `MARK` pixels has a label; only there
                                            when some square has none
    STORE/tiles/<id>/tile.json              written when its arrays are there, so that a build that was stopped goes on

Arrays of pixels lie in chunks: `mobanet.store.chunks` says how, and `mobanet.store.arrays` reads them.

Pixels that were not measured hold a harmless finite value: what the source has in integer imagery (0 where padded), the
band's median in float32. Consumers go by the validity array, never by the value.
"""

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobanet.datasets.catalogue import STORE_FILE
from mobanet.errors import UserError
from mobanet.plain import json_files
from mobanet.plain.bounds import odd_character
from mobanet.plain.typed import build, checked
from mobanet.rasters.blocks import block_shape, origin_of
from mobanet.rasters.contents import MOST_RATIO, Classes, Modality
from mobanet.rasters.georeference import what_is_wrong
from mobanet.rasters.grid import Grid
from mobanet.rasters.reader import ReadingRule
from mobanet.rasters.statistics import BandStatistics
from mobanet.store.chunks import chunked_size, is_chunked
from mobanet.store.index import INDEX_FILE, Index, Tiles
from mobanet.store.locking import no_builder

# 1 had arrays row by row, without chunks
VERSION = 2
MARK = 64
"""Pixels a side of the squares of which it is stored whether a label has any pixel there."""

TILE_FILE = "tile.json"


@dataclass(frozen=True)
class ModalityRecord:
    """One modality of one stored tile.

    Attributes:
        bands: their number.
        dtype: of the array: `uint8`, `uint16` or `float32`.
        complete: no invalid pixel, hence no validity array.
        valid_share: valid pixels over all pixels.
        statistics: one a band.
        source: the raster it was read from, below the root.
        stamp: changes whenever the source or the way of reading it does.
        blocks: whether a summary of it in blocks is stored, from which the ground is fitted.
        rule: how the source was read.
        pixel_ratio: pixels of the tile that one of its own is wide and high.
    """

    bands: int
    dtype: str
    complete: bool
    valid_share: float
    statistics: tuple[BandStatistics, ...]
    source: str
    stamp: str
    blocks: bool = False
    rule: ReadingRule | None = None
    pixel_ratio: int = 1

    def to_plain(self) -> dict[str, Any]:
        """For `tile.json`; without the ratio where it is 1, as stores had none once."""
        return {key: x for key, x in asdict(self).items() if key != "pixel_ratio" or x > 1}


@dataclass(frozen=True)
class LabelRecord:
    """One label raster of one stored tile.

    Attributes:
        pixels: count per class.
        ignored: pixels with the ignore index, `unknown` ones and padding among them.
        corrected: pixels whose colour was off the palette but near enough to name a class.
        unknown: pixels whose colour or value named nothing.
        source: the raster it was read from, below the root.
        stamp: changes whenever the source or the way of reading it does.
        marks: whether it is stored which squares have a labelled pixel, as some have none.
    """

    pixels: tuple[int, ...]
    ignored: int
    corrected: int
    unknown: int
    source: str
    stamp: str
    marks: bool = False


@dataclass(frozen=True)
class StoredTile:
    """One tile of a store.

    Attributes:
        id: as in the layout's splits.
        folder: where its arrays are.
        height, width: in pixels.
        reference: the modality whose grid the tile has.
        modalities: those stored for this tile, by name.
        labels: by kind, `full` and `eroded`; empty for an unlabelled tile.
        transform: affine pixel-to-map coefficients (a, b, c, d, e, f), None when not georeferenced.
        crs: coordinate reference system, None when unknown.
        notes: what preparing had to mend or leave out.
        top, left: where in the arrays it begins: not 0 for a patch of a tile (`mobanet.store.patches`), whose records,
            statistics among them, are those of the whole tile.
        absent: modalities whose rasters have nothing on this tile, which was cut from larger ones, with the stamps of
            these.
    """

    id: str
    folder: Path
    height: int
    width: int
    reference: str
    modalities: dict[str, ModalityRecord]
    labels: dict[str, LabelRecord]
    transform: tuple[float, float, float, float, float, float] | None
    crs: str | None
    notes: tuple[str, ...]
    top: int = 0
    left: int = 0
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """Where its pixels are."""
        return Grid(self.height, self.width, self.transform, self.crs)

    def ratio_of(self, name: str) -> int:
        """Pixels of the tile that one of an array's is wide and high; of labels and their marks 1."""
        record = self.modalities.get(name.partition(".")[0])
        return 1 if record is None else record.pixel_ratio

    def plane_of(self, name: str) -> tuple[int, int]:
        """Rows and columns of the tile in pixels of an array."""
        ratio = self.ratio_of(name)
        return -(-self.height // ratio), -(-self.width // ratio)

    def place_of(self, name: str) -> tuple[int, int]:
        """Row and column at which the tile begins in an array."""
        ratio = self.ratio_of(name)
        return self.top // ratio, self.left // ratio

    def origin_of(self, name: str) -> tuple[int, int]:
        """Row and column of an array's first pixel, counted from the origin of the coordinates."""
        row, column = origin_of(self.grid.coarser(self.ratio_of(name)).transform)
        top, left = self.place_of(name)
        return row - top, column - left

    def path(self, name: str) -> Path:
        """File of the array `name`: a modality, `<modality>.valid` or `.blocks`, `label_full` or `label_eroded`."""
        return self.folder / f"{name}.npy"

    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of every array this tile has, by name."""
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        for name, record in self.modalities.items():
            plane = self.plane_of(name)
            found[name] = ((*plane, record.bands), record.dtype)
            if not record.complete:
                found[f"{name}.valid"] = (plane, "uint8")
            if record.blocks:
                found[f"{name}.blocks"] = ((*block_shape(plane, self.origin_of(name)), 3 + record.bands), "float32")
        plane = (self.height, self.width)
        for kind, label in self.labels.items():
            found[f"label_{kind}"] = (plane, "uint8")
            if label.marks:
                found[f"label_{kind}.marks"] = (marks_shape(plane), "uint8")
        return found

    def sizes(self) -> dict[str, int]:
        """Bytes that the file of every array has at least, by name."""
        return {
            name: chunked_size(shape, dtype) if is_chunked(name) else math.prod(shape) * np.dtype(dtype).itemsize
            for name, (shape, dtype) in self.arrays().items()
        }


def marks_shape(plane: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of squares of a label of (H, W) pixels."""
    return -(-plane[0] // MARK), -(-plane[1] // MARK)


class TileStore:
    """A finished store, read-only.

    Attributes:
        path: its folder.
        layout: name of the layout it was prepared with.
        modalities: every modality some tile may have, by name, in canonical order.
        classes: the label classes.
        tiles: by id, in natural order. A tile is made when it is asked for, and may then turn out to be damaged.
        description: content of `store.json`.
    """

    def __init__(self, path: Path, wait: bool = True) -> None:
        """Read the index of the store at `path`; arrays are left on disk, and a tile is looked at when it is asked for.

        While a store is rebuilt, its index is away: a reader that misses it waits for the builder. A builder itself
        does not `wait`, and has no use for a store without an index. Where one was stopped half-way, the tiles' own
        descriptions are read.

        Raises:
            UserError: when there is no finished store, or it is damaged or made by a newer or an older mobanet.
        """
        self.path = Path(path)
        try:
            self._read()
        except UserError:
            if not wait:
                raise
            # once nobody is at work, what is still amiss is really so
            with no_builder(self.path):
                self._read(settled=True)

    def _read(self, settled: bool = False) -> None:
        if not (self.path / STORE_FILE).is_file():
            raise UserError(f"{self.path} holds no finished tile store: run python -m mobanet.prepare on the data set.")
        content = read_json(self.path / STORE_FILE)
        version = content.get("version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise UserError(
                f"{self.path / STORE_FILE} has version {version}, this mobanet reads up to {VERSION}: update mobanet."
            )
        if isinstance(version, int) and version < VERSION:
            raise UserError(
                f"{self.path} was prepared by an earlier mobanet, whose stores are laid out in another way (version "
                f"{version}; this one reads {VERSION}): run python -m mobanet.prepare on the rasters again."
            )
        try:
            self.layout: str = checked(str, content["layout"], "layout")
            self.modalities = checked(dict[str, Modality], content["modalities"], "modalities")
            self.classes = checked(Classes, content["classes"], "classes")
            names = checked(tuple[str, ...], content["tiles"], "tiles")
            whole = checked(str, content["index"], "index")
            for name in (*names, *self.modalities):
                check_plain(name)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.path / STORE_FILE) from error
        self.description: dict[str, Any] = content
        self.tiles: Mapping[str, StoredTile] = self._listed(names, whole, settled)

    def is_unchanged(self) -> bool:
        """Whether the store on disk is still the one that was read, and nobody is rebuilding it."""
        try:
            return (self.path / INDEX_FILE).is_file() and read_json(self.path / STORE_FILE) == self.description
        except UserError:
            return False

    def _listed(self, names: tuple[str, ...], whole: str, settled: bool) -> Mapping[str, StoredTile]:
        """The tiles, from the index whose sum is `whole`."""
        path = self.path / INDEX_FILE
        if settled and not path.is_file():  # nobody is at work, so that it will not come
            return {name: self._own(name) for name in names}
        try:
            index = Index.read(path)
            # between the two files of a rebuild, a reader may see the new one of one and the old one of the other
            if index.sum != whole or len(index.lines) != len(names):
                raise ValueError("another store's")
        except (OSError, ValueError) as error:
            raise damaged(path) from error

        # no function of its own: a store can be pickled
        return Tiles(names, partial(self._indexed, index, self.path / "tiles"))

    def _indexed(self, index: Index, folder: Path, number: int, name: str) -> StoredTile:
        try:
            return make_tile(index.description(number), folder / name)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(self.path / INDEX_FILE) from error

    def _own(self, name: str) -> StoredTile:
        folder = self.path / "tiles" / name
        if not (folder / TILE_FILE).is_file():
            raise damaged(folder)
        return read_tile(folder)[0]


def default_store(root: Path, layout: str = "") -> Path:
    """Where the store of the data set at `root` goes when no place is given: inside it, or beside it for an archive.

    Layouts that read the same files with other labels, such as `dstl` and `dstl_crops`, have a store each.
    """
    name = "mobanet_store" + "".join(layout.partition("_")[1:])
    return root.with_name(f"{root.stem}_{name}") if root.is_file() else root / name


def damaged(path: Path) -> UserError:
    """The error for a store file that cannot be used."""
    return UserError(f"{path} is damaged: delete it and run python -m mobanet.prepare again to rebuild it.")


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        UserError: when it is not readable JSON.
    """
    try:
        return json_files.read_json(path)
    except (OSError, ValueError) as error:
        raise damaged(path) from error


def read_tile(folder: Path) -> tuple[StoredTile, dict[str, Any]]:
    """The finished tile in `folder`, and what its `tile.json` holds.

    Raises:
        UserError: when there is none, or its description is unreadable, or an array is missing or too short.
    """
    content = read_json(folder / TILE_FILE)
    try:
        return make_tile(content, folder), content
    except (TypeError, ValueError) as error:
        raise damaged(folder / TILE_FILE) from error


def make_tile(content: Any, folder: Path) -> StoredTile:
    """A tile of its description, the content of `tile.json`; its arrays are there, as far as sizes tell.

    Raises:
        TypeError, ValueError: when that describes no tile of this version, or that of another folder.
        UserError: when an array is missing or too short.
    """
    if not isinstance(content, Mapping) or content.get("version") != VERSION:
        raise ValueError("of another version")
    tile = build(StoredTile, {key: value for key, value in content.items() if key != "version"}, folder=folder)
    if tile.id != folder.name:  # of a folder that was copied or renamed by hand
        raise ValueError(f"{tile.id} for {folder.name}")
    _check(tile)
    for name, size in tile.sizes().items():
        # a text: by a Path the look takes half as long again, and a store may have thousands of tiles
        file = f"{folder}/{name}.npy"
        try:
            status = os.stat(file)
        except OSError as error:
            raise damaged(tile.path(name)) from error
        if not stat.S_ISREG(status.st_mode) or status.st_size < size:
            raise damaged(tile.path(name))
    return tile


def check_plain(name: str) -> None:
    """Refuse a name out of a file that would lead out of the folder it belongs into.

    Raises:
        ValueError: for such a name.
    """
    # the backslash separates folders on Windows
    if not name or name in (".", "..") or "/" in name or "\\" in name or odd_character(name):
        raise ValueError(f"{name!r} is no name of a file")


def _check(tile: StoredTile) -> None:
    """Refuse, with a `ValueError`, what a tile cannot be, though every type is right."""
    if min(tile.height, tile.width) < 1 or tile.top or tile.left:  # patches are made in memory, never written
        raise ValueError(f"a tile of {tile.height} x {tile.width} pixels")
    if unknown := tile.labels.keys() - {"full", "eroded"}:
        raise ValueError(f"labels of the kinds {unknown}")
    for name, record in tile.modalities.items():
        check_plain(name)
        if record.dtype not in ("uint8", "uint16", "float32") or record.bands < 1:
            raise ValueError(f"{record.bands} bands of {record.dtype}")
        if not 1 <= record.pixel_ratio <= MOST_RATIO:
            raise ValueError(f"pixels {record.pixel_ratio} times as wide")
        if len(record.statistics) != record.bands or any(figures.count < 1 for figures in record.statistics):
            raise ValueError(f"{len(record.statistics)} statistics of {record.bands} bands")
    if tile.transform is not None and (wrong := what_is_wrong(tile.transform, tile.height, tile.width)):
        raise ValueError(f"a georeference {wrong}")
