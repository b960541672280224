"""Contradictions in the description of one's own data."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mobanet.datasets.file_patterns import filled, placeholders
from mobanet.datasets.folder_settings import FolderModality, FolderSettings
from mobanet.datasets.held_out import ROLES
from mobanet.datasets.listed_splits import check_lists, check_table
from mobanet.datasets.tiling_settings import check_areas, check_blocks, check_tiling
from mobanet.datasets.vector_settings import VectorLabel, check_vector_label, ending_of
from mobanet.errors import UserError
from mobanet.plain.bounds import shown
from mobanet.plain.hints import hint
from mobanet.rasters.contents import MOST_RATIO
from mobanet.rasters.elsewhere import elsewhere, is_address, redacted


def check_settings(settings: FolderSettings) -> None:
    """Refuse settings that contradict themselves, naming the key and the remedy."""
    s, count = settings, len(settings.classes)
    if not s.modalities:
        raise UserError("modalities is empty: describe at least one, with its pattern.")
    vector = s.label if isinstance(s.label, VectorLabel) else None
    # only patterns are looked at here: a vector file's settings have checks of their own below
    given_labels = {"label": s.label, "eroded_label": s.eroded_label}
    rasters = {key: text for key, text in given_labels.items() if isinstance(text, str)}
    patterns = {f"modalities.{name}.pattern": given.pattern for name, given in s.modalities.items()} | rasters
    for key, pattern in patterns.items():
        if key.endswith("label") and (ending := ending_of(pattern)):
            values = "{vector: …, attribute: …, values: {…}}"
            raise UserError(f"{key} is {pattern!r}, a vector file ({ending}): describe it as label: {values}.")
        if not placeholders(pattern) and s.tiling is None:
            raise UserError(
                f"{key} is {pattern!r}, without {{tile}}: put it where the tile's id is, or have one large raster cut "
                "into tiles with tiling: {size: 4096}."
            )
        if is_address(pattern):
            _check_address(key, pattern)
            if s.tiling is not None:
                raise UserError(
                    f"{key} is an address, of which no raster is cut into tiles: download it, or leave tiling out."
                )
    _check_parts(patterns | ({} if vector is None else {"label.vector": vector.vector}))
    images = {given.pattern for given in s.modalities.values()}
    if len({*images, *rasters.values()}) < len(images) + len(rasters):
        raise UserError("label or eroded_label has the pattern of something else: give each its own.")
    for name, given in s.modalities.items():
        # part of scenarios', files' and options' names
        if not re.fullmatch(r"\w[\w-]*", name) or name in ("all", "full"):
            raise UserError(
                f"modalities names {name!r}: use letters, digits, _ and -, and neither all nor full, which stand for "
                "scenarios."
            )
        _check_bands(name, given)
        if not 1 <= given.pixel_ratio <= MOST_RATIO:
            raise UserError(
                f"modalities.{name}.pixel_ratio is {given.pixel_ratio}: give how many pixels of the grid one of its "
                f"own is wide, from 1 to {MOST_RATIO}."
            )
    leading = s.grid or next(iter(s.modalities))
    ratio = s.modalities[leading].pixel_ratio if leading in s.modalities else 1
    if ratio != 1:
        raise UserError(
            f"modalities.{leading}.pixel_ratio is {ratio}, and {leading} sets the grid that ratios are told of: leave "
            "it out, or name a finer modality as grid."
        )
    odd = [name for name in (*s.modalities, *s.classes) if not name.isprintable() or not 0 < len(name) <= 60]
    if odd:  # they stand in tables, pages and file names
        raise UserError(f"a modality or class is named {shown(odd[0])}: use 1 to 60 letters that can be printed.")
    if count < 2 or len(set(s.classes)) < count:
        raise UserError(f"classes is {s.classes}: give at least two different names.")
    if s.grid is not None and s.grid not in s.modalities:
        raise UserError(f"grid is {s.grid!r}, which is none of the modalities {', '.join(s.modalities)}: name one.")
    if s.averaged is not None and (not s.averaged or not set(s.averaged) <= set(s.classes)):
        raise UserError(f"averaged is {s.averaged}: list some of the classes {', '.join(s.classes)}.")
    if s.colours is not None and len(s.colours) != count:
        raise UserError(f"colours has {len(s.colours)} entries for {count} classes: give one a class.")
    if rasters and s.values is None and s.colours is None:
        raise UserError("label is given without colours or values: say which colour or number is which class.")
    if vector is not None:
        check_vector_label(vector, s.classes)
        _check_only_vector(s)
    _check_palette(s)
    _check_space(s)
    if wrong := [index for index in (s.values or {}).values() if not 0 <= index < count]:
        raise UserError(f"values maps to class {wrong[0]}, but classes go from 0 to {count - 1}: correct it.")
    if both := sorted({*(s.values or ())} & {*s.ignored}):
        raise UserError(f"{both[0]} is in values and in ignored: leave it in one.")


def _check_bands(name: str, given: FolderModality) -> None:
    """Refuse bands that there cannot be; bands counted from 0 are taken as they are meant, and it is said so."""
    for key, numbers, least in (("band_numbers", given.band_numbers, 1), ("bands", given.bands, 0)):
        if numbers is not None and (not numbers or min(numbers) < least):
            raise UserError(f"modalities.{name}.{key} is {numbers}: list band numbers from {least} on.")
    if given.names is not None and len(given.names) != (count := len(given.chosen) or 1):
        raise UserError(f"modalities.{name} has {len(given.names)} names for {count} bands: give one a band.")
    if given.bands is not None:
        if given.band_numbers is not None:
            raise UserError(f"modalities.{name} has band_numbers and bands, from 1 and from 0: leave bands out.")
        same = f"band_numbers: {[band + 1 for band in given.bands]}"
        if given.names is None and len(given.bands) > 1:
            same += f", names: [{', '.join(given.names_of_bands(name))}]"
        hint(
            f"modalities.{name}.bands {given.bands} counts from 0, and is read so; {same} says it from 1, as GDAL "
            "and QGIS count."
        )


def _check_parts(patterns: Mapping[str, str]) -> None:
    """Refuse patterns that name tiles by other parts than another one, whose ids would be others."""
    named = {key: parts for key, pattern in patterns.items() if (parts := placeholders(pattern))}
    for key, parts in named.items():
        first = next(iter(named))
        if "tile" in parts and len(parts) > 1:
            raise UserError(
                f"{key} is {patterns[key]!r}: name a tile by {{tile}}, or by its parts {{tile1}}, {{tile2}}, …."
            )
        if parts != named[first]:
            names, others = (" and ".join(f"{{{name}}}" for name in given) for given in (parts, named[first]))
            raise UserError(
                f"{key} is {patterns[key]!r}, where {names} make{'s' if len(parts) == 1 else ''} the id of a tile, and "
                f"in {first} {others}: name the same parts in all patterns."
            )


def _check_only_vector(s: FolderSettings) -> None:
    """Refuse keys that say what label rasters hold where there are none; colours are those of pictures, too."""
    keys = [key for key in ("values", "ignored", "ignored_colours", "distance") if getattr(s, key) not in (None, [], 0)]
    if s.eroded_label is None and keys:
        raise UserError(
            f"{' and '.join(keys)} say{'s' if len(keys) == 1 else ''} what label rasters hold, and label is a vector "
            "file: say it under label.values, and leave this out."
        )


def _check_space(s: FolderSettings) -> None:
    """Refuse contradictions in how rasters are cut and their ground is dealt out."""
    given = s.splits
    used, lists = _given(given, ("areas", "blocks")), [part for part in ROLES if getattr(given, part)]
    if given.buffer < 0:
        raise UserError(f"splits.buffer is {given.buffer}: give a number of pixels from 0 on.")
    if used and s.tiling is None:
        raise UserError(
            f"splits.{used[0]} is given without tiling: say how rasters are cut, as with tiling: {{size: 4096}}."
        )
    # train, validation and test are three keys of one way to split, and so may stand together
    named = [*used, *_given(given, ("lists", "table")), *lists]
    if len(named) > max(1, len(lists)):
        raise UserError(
            f"splits has {' and '.join(named)}: give areas, blocks or lists of tiles, here or in files (lists, table)."
        )
    if given.incomplete and (used or not named):
        raise UserError(
            "splits.incomplete says what becomes of tiles that are named and not there, and splits names none: leave "
            "it out."
        )
    if s.tiling is not None:
        check_tiling(s.tiling)
    if given.areas is not None:
        check_areas(given.areas)
    if given.blocks is not None:
        check_blocks(given.blocks)
    if given.lists is not None:
        check_lists(given.lists)
    if given.table is not None:
        check_table(given.table)


def _given(settings: Any, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if getattr(settings, key) is not None]


def _check_palette(s: FolderSettings) -> None:
    palette = [tuple(colour) for colour in [*(s.colours or []), *s.ignored_colours]]
    for colour in palette:
        if not all(0 <= channel <= 255 for channel in colour):
            raise UserError(f"colours has {list(colour)}: give red, green and blue from 0 to 255.")
    if s.colours is None or s.values is not None:
        return
    for number, one in enumerate(palette):
        for other in palette[number + 1 :]:
            apart = max(abs(a - b) for a, b in zip(one, other, strict=True))
            # a colour in the middle would be near enough to both
            if apart <= 2 * s.distance:
                raise UserError(
                    f"colours {list(one)} and {list(other)} are {apart} apart, too near to be told apart with distance "
                    f"{s.distance}: lower it below {max(1, (apart + 1) // 2)} or change a colour."
                )


def _check_address(key: str, pattern: str) -> None:
    """Refuse an address that is none, or that holds keys, which would be written into every record of a run."""
    if redacted(pattern) != pattern:
        raise UserError(
            f"{key} is {redacted(pattern)!r}, with more behind it or a login in it, which runs would record: leave it "
            "out, and give GDAL the keys in the environment, such as GDAL_HTTP_HEADERS."
        )
    named = placeholders(pattern) in ((), ("tile",))
    place = elsewhere(filled(pattern, {"tile": "tile"}))
    if "*" in pattern or not named or pattern.startswith("/vsi") or place is None:
        raise UserError(
            f"{key} is {pattern!r}: write an address such as https://host/folder/{{tile}}.tif, without * and with "
            "{tile} alone."
        )
