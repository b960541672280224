"""A contact sheet of a data set: a row a tile, a column a raster, with the stretch that makes each of them readable."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobanet.files import whole_file
from mobanet.rasters.contents import IGNORE_INDEX, Classes
from mobanet.rasters.pictures import coloured, natural_bands, optical_picture, relief
from mobanet.store.check import Findings, RasterLook, TileLook, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL, _GAP, _LEFT = 1.7, 0.12, 0.95  # inches: a picture, the space between two, and the column of tile names
_TOP, _BOTTOM = 0.95, 0.6
_DPI = 110
_LONGEST = 187  # pixels of a picture's longer side: a cell at this resolution
_MOST = 40  # tiles that have a row
_UNMEASURED = (236, 170, 190)
# of the picture of a split: pixels of its longer side, inches that it is high at most, and those of its title
_MAP, _TALLEST, _MAP_HEAD = 900, 6.0, 0.25
# told apart by all kinds of eyes, as blue, orange and a bluish green are
_ROLES = {"train": (0, 114, 178), "validation": (230, 159, 0), "test": (0, 158, 115)}  # of Okabe and Ito
_ROLE_WORDS = {"train": "blue", "validation": "orange", "test": "green"}
_INK, _PALE, _ALARM = "#222222", "#8a8a8a", "#b3261e"


def draw_sheet(findings: Findings, path: Path) -> None:
    """Write the contact sheet of `findings` to a PNG file."""
    # not by pyplot, which keeps each figure and chooses a backend that may want a display
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    columns, rows, maps = findings.products, _some(findings.tiles), split_maps(findings)
    width = max(_LEFT + len(columns) * (_CELL + _GAP) + _GAP, 6.0)
    tall = [min(_TALLEST, (width - 0.3) * len(image) / image.shape[1]) for _, image in maps]
    above = sum(tall) + (_MAP_HEAD + _GAP) * len(maps)
    height = _TOP + above + len(rows) * (_CELL + _GAP) + _BOTTOM
    figure, top = Figure((width, height), dpi=_DPI, facecolor="white"), _TOP + above

    def place(row: int, column: int) -> "Axes":
        left = _LEFT + column * (_CELL + _GAP)
        bottom = height - top - (row + 1) * (_CELL + _GAP) + _GAP
        return figure.add_axes((left / width, bottom / height, _CELL / width, _CELL / height))

    count = len(findings.tiles)
    tiles = "1 tile" if count == 1 else f"{count} tiles"
    tiles += f", of which {len(rows)} are shown" if count > len(rows) else ""
    figure.text(0.15 / width, 1 - 0.28 / height, f"{findings.layout.name}, {tiles}", size=13, weight="bold", color=_INK)
    at = 0.55
    for (title, image), high in zip(maps, tall, strict=True):
        figure.text(0.15 / width, 1 - (at + 0.16) / height, title, size=8, color=_PALE)
        at += _MAP_HEAD + high
        axes = figure.add_axes((0.15 / width, 1 - at / height, 1 - 0.3 / width, high / height))
        axes.imshow(image, interpolation="nearest")
        axes.axis("off")
        # by itself a picture that is narrower than its axes stands in their middle
        axes.set_anchor("W")
        at += _GAP
    for number, name in enumerate(columns):
        across = (_LEFT + number * (_CELL + _GAP) + _CELL / 2) / width
        title, detail = _heading(findings, name)
        figure.text(across, 1 - (top - 0.24) / height, title, size=9, ha="center", color=_INK)
        figure.text(across, 1 - (top - 0.08) / height, detail, size=6.5, ha="center", color=_PALE)
    for row, tile in enumerate(rows):
        middle = 1 - (top + row * (_CELL + _GAP) + _CELL / 2) / height
        figure.text(0.15 / width, middle + 0.02 / height, tile.tile, size=10, va="bottom", weight="bold", color=_INK)
        first = next(iter(tile.looks.values()), None)
        if first is not None:
            figure.text(0.15 / width, middle - 0.03 / height, first.grid.size, size=6.5, va="top", color=_PALE)
        for column, name in enumerate(columns):
            look = tile.looks.get(name)
            _cell(place(row, column), look, findings, "" if look else ("problem" if tile.problems else "none"))
    _legend(figure, findings, width, height)
    # a name with two dollars would be a formula, or none, which is an error
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with whole_file(path) as file:
        figure.savefig(file, dpi=_DPI, format="png")


def _some(tiles: Sequence[TileLook]) -> list[TileLook]:
    """Those that have a row: all, or of many those with problems first and then some from all over the set."""
    if len(tiles) <= _MOST:
        return list(tiles)
    wrong = [number for number, tile in enumerate(tiles) if tile.problems][:_MOST]
    others = [number for number, tile in enumerate(tiles) if not tile.problems]
    # evenly: tiles next to one another in the order mostly lie so on the ground, too
    spread = np.linspace(0, len(others) - 1, _MOST - len(wrong)).round().astype(int).tolist() if others else []
    return [tiles[number] for number in sorted({*wrong, *(others[at] for at in spread)})]


def picture(look: RasterLook, elevation: bool, bands: Sequence[int] = ()) -> np.ndarray:
    """A raster, or some of its bands, as (h, w, 3) uint8.

    Bands, of which the first three are seen, are stretched between the 2nd and 98th percentiles, elevation coloured and
    shaded.
    """
    pixels, valid = _reduce(look.pixels[list(bands)] if bands else look.pixels, look.valid)
    if not valid.any():
        return np.full((*valid.shape, 3), _UNMEASURED, np.uint8)
    planes = pixels.transpose(1, 2, 0)  # (bands, h, w) -> (h, w, bands)
    image = relief(planes[..., 0], valid) if elevation else optical_picture(planes, valid)
    image = (255 * image).astype(np.uint8)
    image[~valid] = _UNMEASURED
    return image


def split_maps(findings: Findings) -> list[tuple[str, np.ndarray]]:
    """Of each raster that is cut into tiles a title and a picture, (h, w, 3) uint8: which ground is for what.

    Ground whose labels count is tinted in the colour of its part of the split, the rest is grey.
    """
    return [_split_map(findings, name) for name in dict.fromkeys(window[0] for window in findings.windows.values())]


def _split_map(findings: Findings, raster: str) -> tuple[str, np.ndarray]:
    windows = {tile: window[1:] for tile, window in findings.windows.items() if window[0] == raster}
    height = max(top + high for top, _, high, _ in windows.values())
    width = max(left + wide for _, left, _, wide in windows.values())
    thinner = max(1, -(-max(height, width) // _MAP))
    image = np.full((-(-height // thinner), -(-width // thinner), 3), 244, np.uint8)
    edges = []
    for tile in (tile for tile in findings.tiles if tile.tile in windows):
        top, left, high, wide = windows[tile.tile]
        # rows and columns of the thinned picture whose pixels lie in the tile: neighbours share none
        rows = np.arange(-(-top // thinner), -(-(top + high) // thinner))
        columns = np.arange(-(-left // thinner), -(-(left + wide) // thinner))
        role = findings.roles.get(tile.tile, "")
        tinted = _tinted(tile, findings, _ROLES.get(role), (len(rows), len(columns)))
        if tinted is not None:
            shown, counts = tinted
            part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            # a tile of another part of the split may have the same rectangle, and counts elsewhere
            fresh = counts | (part == 244).all(axis=2)
            part[fresh] = shown[fresh]
            edges.append((rows[0], rows[-1], columns[0], columns[-1]))
    for first, last, begin, end in edges:
        image[[first, last], begin : end + 1] = image[first : last + 1, [begin, end]] = 255
    parts = [f"{part} {colour}" for part, colour in _ROLE_WORDS.items() if part in findings.roles.values()]
    grey = "labels that do not count grey"
    return f"{Path(raster).name}: {', '.join([*parts, grey] if parts else ['in no part of a split'])}", image


def _tinted(
    tile: TileLook, findings: Findings, colour: tuple[int, int, int] | None, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """A tile in grey, tinted where its labels count, (h, w, 3) uint8, and (h, w) bool, where that is."""
    look = next((look for name, look in tile.looks.items() if name in findings.layout.modalities), None)
    if look is None or not min(shape):
        return None
    modality = findings.layout.modalities[look.product]
    shown = picture(look, modality.kind == "elevation", natural_bands(modality))
    grey = np.repeat(shown.mean(axis=2, keepdims=True), 3, axis=2)[_nearest(shown.shape, shape)]
    label = next((tile.looks[name] for name in ("label_full", "label_eroded") if name in tile.looks), None)
    counts = np.zeros(shape, bool)
    if colour is not None:
        classes = None if label is None else label.pixels[0]
        counts = np.ones(shape, bool) if classes is None else (classes != IGNORE_INDEX)[_nearest(classes.shape, shape)]
    tint = np.array(colour or (0, 0, 0), np.float32)
    return np.where(counts[..., None], 0.5 * grey + 0.5 * tint, 0.6 * grey + 90).astype(np.uint8), counts


def _nearest(source: tuple[int, ...], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the pixels of an array that a picture of another size takes."""
    rows, columns = (nearest(have, to) for have, to in zip(source[:2], shape, strict=True))
    return rows[:, None], columns[None]


def label_picture(look: RasterLook, classes: Classes) -> np.ndarray:
    """(h, w, 3) uint8 in the classes' colours, black where ignored."""
    thinner = max(1, -(-max(look.pixels.shape[1:]) // _LONGEST))
    return coloured(look.pixels[0, ::thinner, ::thinner], classes)


def _reduce(pixels: np.ndarray, valid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Means of blocks of pixels over those that are valid, (bands, h, w) float32, and where there are any."""
    thinner = max(1, -(-max(pixels.shape[1:]) // _LONGEST))
    weight = np.ones(pixels.shape[1:], np.float32) if valid is None else valid.astype(np.float32)
    rows, columns = (np.arange(0, size, thinner) for size in weight.shape)

    def total(array: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.add.reduceat(array, rows, axis=-2), columns, axis=-1)  # the last block may be smaller

    count = total(weight)
    # not a product with 0: what was not measured may be NaN
    means = total(np.where(weight > 0, pixels, 0).astype(np.float32)) / np.maximum(count, 1)
    return means, count > 0


def _heading(findings: Findings, name: str) -> tuple[str, str]:
    modality = findings.layout.modalities.get(name)
    if modality is None:
        return name.replace("label_", "") + " label", "black: ignored"
    shown = [modality.bands[band] for band in natural_bands(modality)] or modality.bands[:4]
    detail = modality.unit if modality.kind == "elevation" else ", ".join(shown)
    return name, detail


def _cell(axes: "Axes", look: RasterLook | None, findings: Findings, absent: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#c8c8c8", linewidth=0.6)
    if look is None:
        axes.set_facecolor("#f4f4f4")
        colour = _ALARM if absent == "problem" else _PALE
        axes.text(0.5, 0.5, absent, ha="center", va="center", size=8, color=colour, transform=axes.transAxes)
        return
    modality = findings.layout.modalities.get(look.product)
    if modality is None:
        image = label_picture(look, findings.layout.classes)
    else:
        image = picture(look, modality.kind == "elevation", natural_bands(modality))
    axes.imshow(image, interpolation="nearest")
    if look.low is not None:
        caption = f"{look.low:.4g} to {look.high:.4g}"
        if look.missing:
            caption += f", {100 * look.missing:.2g} % missing"
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.2}
        axes.text(0.03, 0.04, caption, size=5.5, color=_INK, transform=axes.transAxes, bbox=box)


def _legend(figure: "Figure", findings: Findings, width: float, height: float) -> None:
    from matplotlib.patches import Rectangle

    entries = list(zip(findings.layout.classes.names, findings.layout.classes.colours, strict=True))
    entries += [("ignored", (0, 0, 0)), ("not measured", _UNMEASURED)]
    at, line = 0.15, 0.32
    for name, colour in entries:
        # inches of the swatch with its gaps, and of a letter of this size
        needed = 0.3 + 0.075 * len(name)
        if at + needed > width:
            at, line = 0.15, line - 0.2
        swatch = (at / width, line / height)
        figure.add_artist(
            Rectangle(
                swatch,
                0.12 / width,
                0.12 / height,
                transform=figure.transFigure,
                facecolor=[channel / 255 for channel in colour],
                edgecolor=_PALE,
                linewidth=0.5,
            )
        )
        figure.text((at + 0.17) / width, (line + 0.015) / height, name, size=7.5, color=_INK)
        at += needed
