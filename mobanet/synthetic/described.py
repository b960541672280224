"""Data that a description of one's own data fits: files of the names, bands and values that it says."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from glob import has_magic
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mobanet.datasets import FolderModality, FolderSettings, VectorLabel
from mobanet.datasets.file_patterns import filled, placeholders
from mobanet.datasets.folder_checks import check_settings
from mobanet.datasets.held_out import ROLES
from mobanet.datasets.listed_splits import SplitTable, files_of
from mobanet.datasets.vector_settings import ending_of
from mobanet.errors import UserError
from mobanet.files import put_in_place
from mobanet.rasters.elsewhere import is_address
from mobanet.synthetic.archives import EPOCH, pack_flat
from mobanet.synthetic.delivery import CityPlan, Delivery, share_out
from mobanet.synthetic.files import write_bytes, write_tiff
from mobanet.synthetic.noise import stream
from mobanet.synthetic.patchwork import Patchwork, render_patchwork

_REFLECTANCE = 10000.0  # as Sentinel-2 stores a reflectance of 1, where the description names no range

_SYSTEM = "EPSG:32631"  # UTM zone 31 north; any system in metres would do
_DATE = datetime(*EPOCH).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class DescribedDelivery(Delivery):
    """The tiles that the splits of a description name, or as many as wanted where they name patterns or files.

    Args:
        layout: as given to `--layout`.
        settings: the description.

    Raises:
        UserError: for a description that makes no sense, or of which nothing can be drawn.
    """

    contents = ("sensors", "labels")
    pixels = (0.01, 1000.0)

    def __init__(self, layout: str, settings: FolderSettings) -> None:
        self.layout, self.settings = layout, settings
        check_settings(settings)
        for key, there in (
            ("tiling", settings.tiling is not None),
            ("splits.areas", settings.splits.areas is not None),
            ("label.vector", isinstance(settings.label, VectorLabel)),
            ("eroded_label", settings.eroded_label is not None),
            ("an address", any(is_address(given.pattern) for given in settings.modalities.values())),
        ):
            if there:
                raise UserError(
                    f"--layout {layout}: its description has {key}, of which nothing can be drawn; take it out."
                )

    def names(self, count: int) -> list[str]:
        """See `Delivery.names`."""
        chosen = share_out(self.layout, [list(islice(self._names(role), max(count, 1))) for role in ROLES], count)
        parts = self._placeholders()
        if odd := next((tile for tile in chosen if tile.count("_") < len(parts) - 1), None):
            raise UserError(
                f"--layout {self.layout}: its splits name the tile {odd}, and its patterns make an id of {len(parts)} "
                "parts with _ between; write it so."
            )
        return chosen

    def default_gsd(self, size: int) -> float:
        """A metre."""
        return 1.0

    def paths(self, plan: CityPlan, tile: str) -> list[str]:
        """See `Delivery.paths`."""
        label = self._label(plan, tile)
        return [*self._sensors(plan, tile), *([] if label is None else [label])]

    def draw(self, plan: CityPlan, folder: Path, tile: str) -> None:
        """See `Delivery.draw`."""
        world = (plan.seed, "looks")
        land = render_patchwork((plan.seed, tile), world, plan.size, plan.gsd, len(self.settings.classes))
        place = _place(plan, tile)
        for path, found in self._sensors(plan, tile).items():
            factor = max((plan.coarser or {}).get(name, 1) for name in found)
            bands = self._bands(land, found, plan.size // factor)
            write_tiff(folder / path, bands, **self._georeference(place, plan.gsd * factor))
        if (label := self._label(plan, tile)) is not None:
            write_tiff(folder / label, self._coded(land), compress="deflate", **self._georeference(place, plan.gsd))

    def finish(self, plan: CityPlan, folder: Path, names: Sequence[str]) -> None:
        """See `Delivery.finish`; lists or the table of the splits."""
        told = self.settings.splits.told
        parts = {tile: role for role in ROLES for tile in islice(self._names(role), len(names)) if tile in names}
        if isinstance(told, SplitTable):
            _write_table(folder / _path(told.path), told, {tile: parts[tile] for tile in names})
        else:
            for key, path in files_of(told).items():
                lines = [tile for tile in names if key.endswith(parts[tile])]
                write_bytes(folder / _path(path), "".join(f"{line}\n" for line in lines).encode())

    def archives(self) -> tuple[str, ...]:
        """See `Delivery.archives`."""
        return (f"{Path(self.layout).stem}.zip",)

    def pack(self, plan: CityPlan, folder: Path, root: Path, names: Sequence[str]) -> None:
        """See `Delivery.pack`."""
        told = [_path(path) for path in files_of(self.settings.splits.told).values()]
        members = [(path, folder / path) for path in [*told, *(p for tile in names for p in self.paths(plan, tile))]]
        pack_flat(root / self.archives()[0], members, folder)

    def check_coarser(self, coarser: Mapping[str, int], size: int) -> None:
        """See `Delivery.check_coarser`."""
        for name, factor in coarser.items():
            if name not in self.settings.modalities:
                raise UserError(f"--coarser names {name!r}: there are {', '.join(self.settings.modalities)}.")
            if factor < 1 or size % factor:
                raise UserError(f"--coarser {name} is {factor}: give a whole number by which --size {size} is divided.")

    def _names(self, role: str) -> Iterator[str]:
        """Tiles of a part of the split, without end where it is not told by name."""
        splits = self.settings.splits
        entries = getattr(splits, role)
        named = splits.told is None and splits.blocks is None
        if named and not any(map(has_magic, entries)):
            yield from entries
        elif not named or entries:
            for number in range(1, 1 << 20):
                if not named:
                    # as parts of splits, which are drawn or told, say nothing of names
                    rest = ["1"] * (len(self._placeholders()) - 1)
                    yield "_".join([f"{role}{number}", *rest])
                for entry in entries if named else ():
                    name = entry.replace("*", str(number))
                    # other patterns than * name nothing that could be made up, and a plain name comes once
                    if not has_magic(name) and (name != entry or number == 1):
                        yield name

    def _placeholders(self) -> tuple[str, ...]:
        return placeholders(next(iter(self.settings.modalities.values())).pattern)

    def _parts(self, tile: str) -> dict[str, str]:
        names = self._placeholders()
        return dict(zip(names, tile.split("_", len(names) - 1), strict=True))

    def _sensors(self, plan: CityPlan, tile: str) -> dict[str, dict[str, FolderModality]]:
        """By path, the modalities that a raster holds."""
        found: dict[str, dict[str, FolderModality]] = {}
        for name, given in self.settings.modalities.items() if "sensors" in plan.products else ():
            found.setdefault(_path(filled(given.pattern, self._parts(tile))), {})[name] = given
        return found

    def _label(self, plan: CityPlan, tile: str) -> str | None:
        if not isinstance(self.settings.label, str) or "labels" not in plan.products:
            return None
        return _path(filled(self.settings.label, self._parts(tile)))

    def _bands(self, land: Patchwork, found: Mapping[str, FolderModality], size: int) -> np.ndarray:
        """All bands of a raster, (C, size, size); one that no modality reads is as those of the first."""
        # the other way round, so that of several that read a band the first one described draws it
        readers = {
            band: (name, given) for name, given in reversed(list(found.items())) for band in given.chosen or (0,)
        }
        first = next(iter(found.items()))
        planes = []
        for band in range(max(readers) + 1):
            name, given = readers.get(band, first)
            plane = self._plane(land, name, given, band)
            if size != plane.shape[0]:
                plane = cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA)  # means of the finer pixels
            planes.append(plane)
        stacked, kind = np.stack(planes), _stored(first[1])
        return (np.rint(stacked) if kind.kind == "u" else stacked).astype(kind)

    def _plane(self, land: Patchwork, name: str, given: FolderModality, band: int) -> np.ndarray:
        """A band in raster values, (H, W) float32; a corner has the value that means missing, if there is one."""
        factor = given.factor or 1.0
        if given.kind == "elevation":
            # the first one described has what stands on the ground, all further ones the ground alone
            surface = next(key for key, one in self.settings.modalities.items() if one.kind == "elevation") == name
            plane = (land.surface() if surface else land.ground) / np.float32(factor)
        else:
            seen = land.optical(name, band) if given.kind == "optical" else land.radar(name, band)
            plane = seen * np.float32((_REFLECTANCE if given.maximum is None else given.maximum) / factor)
        if given.nodata is not None:
            side = max(1, len(plane) // 16)
            plane[:side, :side] = given.nodata
        return plane

    def _coded(self, land: Patchwork) -> np.ndarray:
        """The label raster, (1 or 3, H, W) uint8 or what the values need."""
        settings = self.settings
        corner = max(1, len(land.classes) // 16)
        if settings.values is None:
            palette = np.array([tuple(colour) for colour in settings.colours or ()], np.uint8)
            coded = palette[land.classes].transpose(2, 0, 1).copy()
            # so that pixels without a class occur
            if settings.ignored_colours:
                coded[:, -corner:, -corner:] = np.array(settings.ignored_colours[0], np.uint8)[:, None, None]
            return coded
        values = {index: value for value, index in reversed(settings.values.items())}  # of several, the first stays
        numbers = np.array([values.get(index, 0) for index in range(len(settings.classes))])
        every = np.array([*numbers, *settings.ignored])
        kind = np.uint8 if every.min() >= 0 and every.max() < 256 else np.int32
        coded = numbers[land.classes].astype(kind)
        if settings.ignored:
            coded[-corner:, -corner:] = settings.ignored[0]
        return coded[None]

    def _georeference(self, place: tuple[float, float], pixel: float) -> dict[str, Any]:
        from rasterio.transform import from_origin

        return {"crs": self.settings.crs or _SYSTEM, "transform": from_origin(*place, pixel, pixel)}


def _path(pattern: str) -> str:
    """A path that a pattern stands for."""
    return pattern.replace("**/", "").replace("*", "1").removeprefix("./")


def _place(plan: CityPlan, tile: str) -> tuple[float, float]:
    """Easting and northing of a tile's upper left corner."""
    # on a lattice of tiles by the name alone: two may fall on one place, which nothing here depends on
    across, up = stream(plan.seed, tile, "place").integers(0, 400, 2).tolist()
    return 400000.0 + across * plan.size * plan.gsd, 5400000.0 + up * plan.size * plan.gsd


def _stored(given: FolderModality) -> np.dtype:
    """Type of a raster: bytes where they do, 16 bit for reflectances, floats for heights and what has fractions."""
    most = (_REFLECTANCE if given.maximum is None else given.maximum) / (given.factor or 1.0)
    if given.kind == "elevation" or most < 16:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if most < 256 else np.uint16)


def _write_table(path: Path, table: SplitTable, parts: Mapping[str, str]) -> None:
    """A table of tiles and parts, in the format that its ending names."""
    # of several values of a part the first stays
    words = {role: key for key, role in reversed((table.values or {}).items())}
    rows = [(tile, str(words.get(role, role))) for tile, role in parts.items()]
    if ending_of(path.name) is None:
        lines = [f"{table.tile};{table.attribute}", *(f"{tile};{word}" for tile, word in rows)]
        return write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
    import shapely
    from pyogrio import set_gdal_config_options
    from pyogrio.raw import write

    # in front, as the ending says which driver writes
    part = path.with_name(f".part-{path.name}")
    part.parent.mkdir(parents=True, exist_ok=True)
    columns = [np.array(column, object) for column in zip(*rows, strict=True)]
    points = shapely.to_wkb(shapely.points(np.zeros((len(rows), 2))))
    names, layer = [table.tile, table.attribute], table.layer or path.stem
    # or a GeoPackage says when it was written: the same parameters are to give the same bytes
    set_gdal_config_options({"OGR_CURRENT_DATE": _DATE})
    try:
        write(part, points, columns, names, layer=layer, geometry_type="Point", crs=_SYSTEM)
    finally:
        set_gdal_config_options({"OGR_CURRENT_DATE": None})
    put_in_place(part, path)
