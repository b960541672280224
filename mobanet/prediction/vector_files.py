"""Polygons of a finished map, from its saved parts to their file."""

from mobanet.prediction.map_writer import GoOn
from mobanet.prediction.patches import generalised
from mobanet.prediction.plan import ScenePlan
from mobanet.prediction.polygons import Legend, write_polygons
from mobanet.prediction.strips import SavedStrips
from mobanet.prediction.vectors import VectorSettings
from mobanet.rasters.pixel_size import pixel_sides


def write_vectors(plan: ScenePlan, settings: VectorSettings, legend: Legend, go_on: GoOn) -> int | None:
    """Write what is asked for beside the rasters of a map.

    Args:
        plan: of the scene, whose parts are all saved.
        settings: what is asked for.
        legend: of the map's numbers.
        go_on: called from time to time; what it raises ends the writing, with nothing left of it.

    Returns:
        How many polygons there are; None where none are asked for.

    Raises:
        OSError: when the disk is full.
    """
    if plan.files.polygons is None:
        return None
    strips = SavedStrips(plan.workspace, plan.parts, plan.grid, go_on)
    sides = pixel_sides(plan.grid)
    if sides and (settings.minimum_area or settings.fill_holes):
        strips = generalised(strips, sides, settings.minimum_area or 0, settings.fill_holes or 0)
    return write_polygons(plan.files.polygons, strips, plan.grid, legend, settings.simplify)
