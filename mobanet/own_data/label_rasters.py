"""Label rasters: the numbers or colours that they hold, how often, and what they are called."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from mobanet.datasets.vector_settings import IGNORED
from mobanet.errors import UserError
from mobanet.own_data.classes import MOST, FoundClass, LabelLook, class_name, colours_for
from mobanet.own_data.files import Found
from mobanet.rasters.contents import FileRef
from mobanet.rasters.opening import opened, read_label
from mobanet.rasters.rows import row_windows, rows_at_once

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

MOST_PIXELS = 400_000_000
"""Of labels that are read; of more, some rows."""

# of a file of names that is parsed
_MOST_BYTES = 1 << 20
_MANY_COLOURS = 64
"""Of a palette; a picture, or a label that was saved with loss, has more."""

Colour = tuple[int, int, int]


def look_at_raster_labels(found: Found) -> LabelLook:
    """What label rasters hold; rasters that are no labels are refused."""
    paths = list(found.files.values())
    first = paths[0]
    with opened(first, FileRef(first)) as raster:
        coloured = _is_coloured(raster, first)
        table = {} if coloured else _table(raster)
    counted, empty, sampled = _counted(paths, coloured)
    look = _of_colours(found, counted) if coloured else _of_numbers(found, counted, empty, _names(first), table)
    look.sampled = sampled
    total = sum(each.count for each in look.found if not each.ignored)
    for each in look.found:
        each.share = None if each.ignored else each.count / max(1, total)
    return look


def _is_coloured(raster: "DatasetReader", path: Path) -> bool:
    """Whether a label has colours, and not numbers; one that has neither is refused."""
    # a fourth is opacity
    coloured = raster.count in (3, 4) and raster.dtypes[0] == "uint8"
    if raster.count != 1 and not coloured:
        raise UserError(
            f"{path} has {raster.count} bands of {raster.dtypes[0]} where a label has one with numbers, or three "
            "of uint8 with colours; keep the one with the classes, as with gdal_translate -b 1."
        )
    return coloured


def _of_numbers(
    found: Found, counted: Counter[int], empty: Counter[int], names: dict[int, str], table: dict[int, Colour]
) -> LabelLook:
    notes: list[str] = []
    if len(counted) < 2 and empty:
        # a single class and nothing else: what is not of it is declared as nodata
        counted = counted + empty
        notes.append("the value that is declared as nodata is a class, since there is but one other")
    elif empty:
        values = ", ".join(str(value) for value in sorted(empty))
        notes.append(f"{values} is declared as nodata and ignored")
    listed: list[FoundClass] = []
    for value in sorted(counted):
        # many tools write 255 where there is no class; as one of two values it is the yes of a mask
        ignored = value < 0 or (value == 255 and len(counted) > 2 and value not in names)
        name = IGNORED if ignored else class_name(names.get(value, value), [each.name for each in listed])
        doubtful = value == 0 and not names and len(counted) > 2 and not ignored
        note = "if 0 means that nobody looked, move it to ignored" if doubtful else ""
        listed.append(FoundClass(name, value, counted[value], note=note))
    classes = [each for each in listed if not each.ignored]
    _check_classes(found, len(classes))
    # colours by class index, where the table has them by value
    known = {index: table[each.value] for index, each in enumerate(classes) if each.value in table}
    if len(set(known.values())) < len(known):
        known = {}  # a table of one colour for all says nothing
    return LabelLook("numbers", listed, colours_for(len(classes), known), "pixels", notes=notes)


def _of_colours(found: Found, counted: Counter[int]) -> LabelLook:
    listed: list[FoundClass] = []
    for code, count in sorted(counted.items()):
        # black is the margin around objects, or what nobody looked at
        name = IGNORED if not code and len(counted) > 2 else f"class_{code:06x}"
        # shifts bind before &: red, green and blue from the highest byte to the lowest
        listed.append(FoundClass(name, (code >> 16, code >> 8 & 255, code & 255), count))
    classes = [each for each in listed if not each.ignored]
    _check_classes(found, len(classes))
    return LabelLook("colours", listed, [each.value for each in classes], "pixels")


def _check_classes(found: Found, count: int) -> None:
    if count < 2:
        raise UserError(
            f"{found.given.option} holds {'a single value' if count else 'no value'}, where classes are at least two; "
            "give labels of all classes."
        )


def _counted(paths: list[Path], coloured: bool) -> tuple[Counter[int], Counter[int], bool]:
    """How often each number or packed colour occurs, and of nodata by itself; and whether a part was looked at."""
    counted: Counter[int] = Counter()
    empty: Counter[int] = Counter()
    sampled = False
    share = 1.0
    for number, path in enumerate(paths):
        with opened(path, FileRef(path)) as raster:
            if number == 0:
                # as if all were as large as the first, so that none is opened just to be measured
                share = MOST_PIXELS / (raster.height * raster.width * len(paths))
            if _is_coloured(raster, path) != coloured:
                one, other = ("numbers", "colours") if coloured else ("colours", "numbers")
                raise UserError(f"{path} holds {one} and {paths[0]} {other}; give labels of one kind.")
            step = 1 if share >= 1 else int(np.ceil(1 / share))
            sampled |= step > 1
            for values, nothing in _strips(raster, step):
                _count(values[:3] if coloured else values, nothing, counted, empty, path, coloured)
    return counted, empty, sampled


def _strips(raster: "DatasetReader", step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of every `step`-th strip of rows (bands, pixels) values that are not masked, and which of them are nodata."""
    from rasterio.windows import Window

    height = rows_at_once(raster.width, raster.count, raster.dtypes[0])
    if step > 1:
        # thin strips, so that about four are seen of each raster, and not its top alone
        height = max(1, min(height, raster.height // (4 * step)))
    for number, window in enumerate(row_windows(Window(0, 0, raster.width, raster.height), height)):
        if number % step == 0:
            values, missing, empty = read_label(raster, window)
            nothing = np.zeros_like(missing) if empty is None else empty
            yield values[:, ~missing], nothing[~missing]


def _count(
    values: np.ndarray, nothing: np.ndarray, counted: Counter[int], empty: Counter[int], path: Path, coloured: bool
) -> None:
    if coloured:
        red, green, blue = values.astype(np.int32)
        # one number a pixel, since np.unique over rows of three takes many times as long
        plane = red << 16 | green << 8 | blue
    else:
        plane = values[0]
    for chosen, into in ((plane[~nothing], counted), (plane[nothing], empty)):
        numbers, counts = np.unique(chosen, return_counts=True)
        # what has an imaginary part equals no whole number
        if not coloured and (odd := numbers[numbers != np.rint(numbers.real)]).size:
            raise UserError(
                f"{path} holds fractions such as {odd[0]:.4g}, where labels have a number a class; give the raster of "
                "classes."
            )
        for number, count in zip(numbers.real.tolist(), counts.tolist(), strict=True):
            into[int(number)] += count
    # after each strip, or a photograph would be counted to its end with millions of colours
    if len(counted) > (_MANY_COLOURS if coloured else MOST):
        what = f"more than {_MANY_COLOURS} colours" if coloured else f"more than {MOST} values"
        remedy = (
            "give a label that was saved without loss, or a raster with a number a class"
            if coloured
            else "give the raster of classes, and not one of measurements or of single objects"
        )
        raise UserError(f"{path} has {what}, so that it tells no classes; {remedy}.")


def _table(raster: "DatasetReader") -> dict[int, Colour]:
    """Colours by value of a raster with a colour table."""
    from rasterio.enums import ColorInterp

    if raster.colorinterp[0] != ColorInterp.palette:
        return {}
    try:
        return {value: colour[:3] for value, colour in raster.colormap(1).items()}
    except ValueError:  # called a palette without having one
        return {}


def _names(path: Path) -> dict[int, str]:
    """Names by value, from where GDAL, QGIS and ArcGIS look for them: `NAME.aux.xml`, or a VRT itself."""
    for file in (path.with_name(f"{path.name}.aux.xml"), *([path] if path.suffix.lower() == ".vrt" else [])):
        try:
            content = file.read_bytes()
        except OSError:
            continue
        if len(content) > _MOST_BYTES or b"<!" in content.replace(b"<!--", b""):  # no entities out of a stranger's file
            continue
        try:
            found = _listed(ElementTree.fromstring(content))
        # the last two: of rows that are short, and of numbers without end
        except (ElementTree.ParseError, ValueError, LookupError, OverflowError):
            continue
        if found:
            return found
    return {}


def _listed(root: ElementTree.Element) -> dict[int, str]:
    """Of a table of attributes, or of category names, which count from 0."""
    for table in root.iter("GDALRasterAttributeTable"):
        uses = [field.findtext("Usage") for field in table.iter("FieldDefn")]
        # GDAL's GFU_Name and GFU_MinMax, a column of names and one of single values
        if {"2", "5"} <= set(uses):
            value, name = uses.index("5"), uses.index("2")
            rows = [[cell.text or "" for cell in row.iter("F")] for row in table.iter("Row")]
            return {int(float(row[value])): row[name] for row in rows if row[name].strip()}
    for names in root.iter("CategoryNames"):
        texts = [of.text or "" for of in names.iter("Category")]
        return {number: text for number, text in enumerate(texts) if text.strip()}
    return {}
