"""Attributes of polygons: which classes their values are, what is said of those that are none, and what lies on top."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mobanet.datasets.vector_files import EVERYWHERE, VectorLayer
from mobanet.datasets.vector_settings import FILE_ORDER, VectorLabel, as_text, class_table
from mobanet.errors import UserError
from mobanet.plain.bounds import shown
from mobanet.plain.wording import shorten
from mobanet.rasters.contents import IGNORE_INDEX

NULL = 256
"""Beside class indices: of a feature without a value."""


def inspect_layers(
    label: VectorLabel, classes: Sequence[str], layers: Iterable[Callable[[], VectorLayer]]
) -> list[str]:
    """Look through vector files as wholes, before anything is drawn; remarks, or all that is wrong with any of them."""
    problems, met, files, notes = list[str](), set[str | None](), list[str](), list[str]()
    for opened in layers:
        try:
            layer = opened()
            values, bare = _inspected(label, classes, layer)
        except UserError as error:
            problems.append(str(error).rstrip("."))
            continue
        met |= values
        files.append(layer.file.name)
        if bare:
            what = "feature" if bare == 1 else "features"
            notes.append(f"{layer.file.name} has {bare} {what} without an outline that can be read")
    if problems:
        raise UserError(f"{'; '.join(problems)}.")
    return [*notes, *unmet_notes(met, label, shorten(files, 3))]


def _inspected(label: VectorLabel, classes: Sequence[str], layer: VectorLayer) -> tuple[set[str | None], int]:
    """Values of the attribute that a layer has, and how many of its features have no outline."""
    layer.check_columns(label.columns)
    features = layer.features(label.columns)
    if label.shared and not len(features.ids):
        raise UserError(f"{layer.file} holds no polygon: export the polygons again")
    values, _ = classed(features.columns[label.attribute], label, classes)
    if unknown := unknown_values(values, label):
        raise UserError(unknown_words(layer, label, unknown))
    if not isinstance(label.order, list) and label.order != FILE_ORDER:
        order_keys(features.columns[label.order], layer, label)
    return set(values), len(features.ids) - len(layer.features((), EVERYWHERE).ids)


def classed(column: np.ndarray, label: VectorLabel, classes: Sequence[str]) -> tuple[Counter[str | None], np.ndarray]:
    """How often each of an attribute's (N,) values occurs, and by feature its class index, `NULL` for no value."""
    table = class_table(label, classes) | {None: NULL}
    known: dict[tuple[type, object], tuple[str | None, int]] = {}
    counted: Counter[tuple[type, object]] = Counter()
    # no bytes, since `NULL` is beyond them
    indices = np.empty(len(column), np.int64)
    for number, value in enumerate(_plain(column)):
        # with its type, since to a dictionary True, 1 and 1.0 are one key
        key = (type(value), value)
        if key not in known:
            text = as_text(value)
            known[key] = text, table.get(text, IGNORE_INDEX)
        counted[key] += 1
        indices[number] = known[key][1]
    values: Counter[str | None] = Counter()
    for key, count in counted.items():
        # values of several types may read alike, such as 1 and 1.0
        values[known[key][0]] += count
    return values, indices


def _plain(column: np.ndarray) -> Iterable[Any]:
    """Values of Python, as they are written: 0.1 of four bytes is not that of eight."""
    if column.dtype == np.float32:
        return [float(str(value)) for value in column]
    # times stay numpy's, which `as_text` knows: `tolist` makes datetimes of some, and whole numbers of others
    return column if column.dtype.kind in "mM" else column.tolist()


def unknown_values(values: Counter[str | None], label: VectorLabel) -> list[tuple[str, int]]:
    """Values that the settings do not name, and how many features have each, the most frequent first."""
    known = set(map(as_text, label.values))
    unknown = [(value, count) for value, count in values.items() if value is not None and value not in known]
    return sorted(unknown, key=lambda pair: (-pair[1], pair[0]))


def unknown_words(layer: VectorLayer, label: VectorLabel, unknown: Sequence[tuple[str, int]]) -> str:
    """The sentence on values that the settings do not name."""
    polygons = (f"{value_words(value)} ({count} polygon{'s' if count > 1 else ''})" for value, count in unknown)
    what = "a value" if len(unknown) == 1 else f"{len(unknown)} values"
    return (
        f"{layer.file} has {what} of {label.attribute} that {label.key}.values does not name, {shorten(polygons, 12)}: "
        "map each to a class, or to ignored"
    )


def unmet_notes(met: Iterable[str | None], label: VectorLabel, where: str) -> list[str]:
    """A remark on keys of `values` that no polygon has, of the values that were met where was looked."""
    there = set(met)
    unmet = [key for key in label.values if as_text(key) not in there]
    if not unmet:
        return []
    keys = shorten((value_words(None if key is None else str(key)) for key in unmet), 12)
    there.discard(None)
    has = f", whose values are {shorten(sorted(map(value_words, there)), 12)}" if there else ""
    return [f"{label.key}.values names {keys}, which no polygon of {where} has as {label.attribute}{has}"]


def order_keys(values: np.ndarray, layer: VectorLayer, label: VectorLabel) -> tuple[np.ndarray, np.ndarray]:
    """Of an attribute of numbers or dates, (N,) to sort by, and which features have none, bool; these come first."""
    if values.dtype.kind in "mM":
        missing = np.isnat(values)
        # in one unit, whatever the column's
        return np.where(missing, -np.inf, values.astype("datetime64[ms]").astype(np.float64)), missing
    keys = np.full(len(values), -np.inf)
    for number, value in enumerate(values.tolist()):
        text = as_text(value)
        if text is None:
            continue
        try:
            # by the text, so that numbers in a column of texts sort as numbers
            keys[number] = float(text) if not isinstance(value, bool) else value
        except ValueError as error:
            raise UserError(
                f"{layer.file} has {value_words(text)} as {label.order}, which {label.key}.order takes for a number or "
                "date: name an attribute of numbers, list the classes, or give file"
            ) from error
    return keys, np.isneginf(keys)


def value_words(value: str | None) -> str:
    """A value of an attribute as sentences name it."""
    return "null" if value is None else shown(value)
