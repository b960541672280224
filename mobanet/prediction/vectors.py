"""What becomes of a map beside rasters: polygons of its classes, as asked for on the command line."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mobanet.errors import UserError
from mobanet.plain.wording import did_you_mean
from mobanet.prediction.assemble import MapFiles
from mobanet.prediction.scene import Scene
from mobanet.prediction.zones import Zones, check_zones
from mobanet.rasters.geopackage import ENDING
from mobanet.rasters.pixel_size import in_degrees, pixel_area


@dataclass(frozen=True)
class VectorSettings:
    """What is made of a finished map; attributes as options of `mobanet.predict`, None for what is not asked for.

    Attributes:
        polygons: whether they are written, True for beside the map, else the file's name.
        zones: the user's polygons, for a table of what they hold.
    """

    polygons: bool | str = False
    minimum_area: float | None = None
    fill_holes: float | None = None
    simplify: float | None = None
    zones: Zones | None = None
    right_angles: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, unit in (("minimum_area", "square metres"), ("fill_holes", "square metres"), ("simplify", "metres")):
            value = getattr(self, name)
            if value is None:
                continue
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"--{name} is {value:g}; give {unit} above 0, or leave it out.")
            if not self.polygons:
                raise UserError(f"--{name} is about polygons, which are not asked for: give --polygons, too.")
        if self.right_angles is not None and not self.polygons:
            raise UserError("--right_angles is about polygons, which are not asked for: give --polygons, too.")
        if self.right_angles is not None and not self.right_angles:
            raise UserError("--right_angles names no class: give one or more, or leave it out.")
        if isinstance(self.polygons, str):
            _check_place(self.polygons)

    def files(self, rasters: MapFiles) -> MapFiles:
        """All that a map comes with: its rasters, and what is made of it."""
        path = rasters.classes
        polygons = zones = copy = None
        if self.polygons:
            beside = path.with_name(f"{path.stem}_polygons{ENDING}")
            polygons = Path(self.polygons).expanduser() if isinstance(self.polygons, str) else beside
        if self.zones is not None:
            zones, copy = path.with_name(f"{path.stem}_zones.csv"), path.with_name(f"{path.stem}_zones{ENDING}")
        return replace(rasters, polygons=polygons, zones=zones, zones_copy=copy)

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse classes that the model, which has `classes`, does not have."""
        for name in self.right_angles or ():
            if name not in classes:
                hint = did_you_mean(name, classes, quoted=True)
                raise UserError(
                    f"--right_angles names {name!r}, which is no class of the model{hint}; there are "
                    f"{', '.join(map(repr, classes))}."
                )

    def check(self, scenes: Sequence[Scene]) -> None:
        """Refuse what does not go with the scenes.

        Raises:
            UserError: where one file is named for several, for metres where a map has no place on the earth, for right
                angles where it is in degrees, and for zones that lie on no map.
        """
        if self.zones is not None:
            check_zones(self.zones, [scene.grid for scene in scenes])
        if isinstance(self.polygons, str) and len(scenes) > 1:
            raise UserError(
                f"--polygons {self.polygons} names one file for {len(scenes)} scenes; give --polygons without a name, "
                "which writes them beside each map."
            )
        # a degree of longitude is shorter than one of latitude, so that right angles on the map are none on the ground
        degrees = [scene for scene in scenes if in_degrees(scene.grid)]
        if self.right_angles is not None and degrees:
            raise UserError(
                f"--right_angles: the map of {degrees[0].id} is in degrees ({degrees[0].grid.crs}), in which right "
                "angles on the ground are none: name a --reference in a projected system, or leave --right_angles out."
            )
        for name in ("minimum_area", "fill_holes", "simplify"):
            lost = [scene for scene in scenes if pixel_area(scene.grid) is None]
            if getattr(self, name) is not None and lost:
                raise UserError(
                    f"--{name} is in metres, and the map of {lost[0].id} has no place on the earth: give --crs if its "
                    f"rasters only lack the name of their system, or leave --{name} out."
                )


NO_VECTORS = VectorSettings()
"""Rasters alone."""


def _check_place(polygons: str) -> None:
    path = Path(polygons).expanduser()
    if path.suffix.lower() != ENDING:
        raise UserError(
            f"--polygons {polygons} must end with {ENDING}: polygons are written as GeoPackage, of which ogr2ogr makes "
            "any other format."
        )
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UserError(f"--polygons {polygons} cannot be written: there is no folder {parent}; make it first.")
    # now and not when the map is there, which may be hours later
    if not os.access(parent, os.W_OK) or path.is_dir():
        raise UserError(
            f"--polygons {polygons} cannot be written: {path if path.is_dir() else parent} is "
            f"{'a folder' if path.is_dir() else 'not a folder that you may write to'}; name another file."
        )
