"""Pictures of the test tiles, each of which can be enlarged."""

from collections.abc import Sequence

from markupsafe import Markup

from mobanet.figures.predictions import RIGHT, WRONG
from mobanet.rasters.contents import Classes
from mobanet.reporting.markup import macro
from mobanet.reporting.pictures import BLACK, UNMEASURED, TilePictures


def tiles_section(tiles: Sequence[TilePictures], classes: Classes, remarks: Sequence[str]) -> Markup:
    """The legend, a row of pictures a tile, and sentences about what is not shown."""
    pictures = [macro("tiles", "tile", tile, caption(tile)) for tile in tiles]
    words = [macro("tiles", "remark", sentence) for sentence in remarks]
    return Markup().join([class_legend(classes), *pictures, *words])


def class_legend(classes: Classes) -> Markup:
    """What the colours of truth, prediction and error mean."""
    entries = [*zip(classes.colours, classes.names, strict=True), (BLACK, "ignored")]
    entries += [(RIGHT, "right"), (WRONG, "wrong"), (UNMEASURED, "not measured")]
    return macro("tiles", "legend", entries)


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def caption(tile: TilePictures) -> str:
    """What the pictures of a tile show and at what scale."""
    height, width = tile.shown
    size = f"whole tile, {tile.width} \N{MULTIPLICATION SIGN} {tile.height} pixels"
    if tile.metres:
        size += f" of {tile.metres:.3g} m"
    if tile.factor == 1:
        shown = "every pixel shown"
    else:
        ordinal = {2: "second", 3: "third"}.get(tile.factor) or _ordinal(tile.factor)
        scale = f" of {tile.metres * tile.factor:.3g} m" if tile.metres else ""
        shown = (
            f"shown thinned to {width} \N{MULTIPLICATION SIGN} {height}{scale}: means of the inputs, every {ordinal} "
            "pixel of the class maps"
        )
    parts = [size, shown]
    if tile.scenario:
        parts.append(f"predicted with {tile.scenario}")
    if tile.accuracy is not None:
        parts.append(f"{100 * tile.accuracy:.1f} % of all pixels that count are right")
    if tile.lacking:
        parts.append(f"the tile has no {', '.join(tile.lacking)}")
    return "; ".join(parts)
