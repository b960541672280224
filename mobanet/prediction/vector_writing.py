"""Polygons of a finished map, and what the user's zones hold of it, from its saved parts to their files."""

from mobanet.files import write_bytes
from mobanet.prediction.map_writer import GoOn
from mobanet.prediction.patches import generalised
from mobanet.prediction.plan import ScenePlan
from mobanet.prediction.polygons import Legend, write_polygons
from mobanet.prediction.right_angles import RightAngles
from mobanet.prediction.strips import MapStrips, SavedStrips
from mobanet.prediction.vectors import VectorSettings
from mobanet.prediction.zones import place_zones, write_zones
from mobanet.rasters.pixel_size import pixel_sides
from mobanet.rasters.styles import categorised_style, style_of


def write_vectors(plan: ScenePlan, settings: VectorSettings, legend: Legend, go_on: GoOn) -> tuple[str, ...]:
    """Write what is asked for beside the rasters of a map, whose parts are all saved; a line to say of each comes back.

    Raises:
        UserError: when memory does not suffice to simplify outlines.
        OSError: when the disk is full.
    """
    strips, files, said = SavedStrips(plan.workspace, plan.parts, plan.grid, go_on), plan.files, []
    if files.polygons is not None:
        pieces, right_angles = _generalised(strips, plan, settings), None
        if settings.right_angles is not None:
            right_angles = RightAngles(legend.classes, settings.right_angles, plan.grid, settings.simplify, go_on)
        count = write_polygons(files.polygons, pieces, plan.grid, legend, settings.simplify, right_angles)
        style = style_of(files.polygons)
        # of the same name as the map, whose own style is there, they have none
        if legend.colours and style != style_of(files.classes):
            write_bytes(style, categorised_style("class", legend.classes, legend.colours))
        said.append(f"{files.polygons}: {count:,} polygon{'' if count == 1 else 's'}")
        said += right_angles.described() if right_angles is not None else ()
    if settings.zones is not None and files.zones is not None and files.zones_copy is not None:
        placed = place_zones(settings.zones, plan.grid)
        said.append(write_zones(files.zones, files.zones_copy, strips, settings.zones, placed, legend))
    return tuple(said)


def _generalised(strips: MapStrips, plan: ScenePlan, settings: VectorSettings) -> MapStrips:
    sides = pixel_sides(plan.grid)
    if sides is None or not (settings.minimum_area or settings.fill_holes):
        return strips
    return generalised(strips, sides, settings.minimum_area or 0, settings.fill_holes or 0)
