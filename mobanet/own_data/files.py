"""From paths, folders and patterns to files: which belong to which tile, by what differs in their names."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from mobanet.datasets.file_patterns import expression
from mobanet.datasets.vector_settings import ENDINGS, ending_of
from mobanet.errors import UserError
from mobanet.own_data.given import Given
from mobanet.plain.wording import natural_key, nearest, shorten

RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".png", ".jpg", ".jpeg", ".img", ".asc", ".bil")
"""Of rasters that a folder is searched for."""

_TOKEN = re.compile(r"\d+|[^\W\d_]+")
_LABELS = ("label", "labels", "class", "classes", "mask", "gt", "landcover")
_MANY = 6
"""Kinds of rasters a tile that a folder may hold."""


@dataclass(frozen=True)
class Found:
    """The files of a modality, or of the labels.

    Attributes:
        pattern: absolute path, with `{tile}` where the tile's id is; the file's own where there is but one.
        files: by tile; under the empty name where there is but one.
    """

    given: Given
    pattern: str
    files: dict[str, Path]

    @property
    def tiled(self) -> bool:
        """Whether there is a file a tile."""
        return "{tile}" in self.pattern

    @property
    def vector(self) -> bool:
        """Whether it holds polygons."""
        return ending_of(self.pattern) is not None


def find_files(given: Sequence[Given]) -> list[Found]:
    """The files of everything that is named; those of folders get patterns by which tiles are called alike."""
    settled: dict[str, Found] = {}
    listed: dict[str, tuple[Given, list[Path]]] = {}
    for each in given:
        paths = _looked_up(each)
        if isinstance(paths, Found):
            settled[each.name] = paths
        elif len(paths) == 1:
            settled[each.name] = _single(each, paths[0])
        else:
            listed[each.name] = each, _of_one_kind(each, paths)
    if listed:
        # what patterns call tiles is settled, and names in folders are cut to be like it
        fixed = set().union(*(found.files for found in settled.values() if found.tiled))
        chosen = _matched({name: [path.stem for path in paths] for name, (_, paths) in listed.items()}, fixed, listed)
        for name, (front, back) in chosen.items():
            settled[name] = _patterned(*listed[name], front, back)
    return [settled[each.name] for each in given]


def _looked_up(given: Given) -> Found | list[Path]:
    """A pattern's files, or those that a path leads to."""
    text = given.text
    if "://" in text or text.startswith("/vsi"):
        raise UserError(f"{given.option} is no path of this machine; fetch the file, and give its path.")
    path = Path(text).expanduser()
    if path.is_file():
        if path.suffix.lower() == ".zip":
            raise UserError(f"{given.option} is an archive; unpack it, and give the raster or folder that was in it.")
        return [path.absolute()]
    if path.is_dir():
        # a file geodatabase is a folder, and is refused further on as a vector file
        return [path.absolute()] if path.suffix.lower() == ".gdb" else _in_folder(given, path.absolute())
    if "{tile}" in text:
        return _by_pattern(given, path.absolute())
    if has_magic(text):
        paths = [Path(name).absolute() for name in sorted(glob(str(path))) if Path(name).is_file()]
        if "**" in text or len({found.parent for found in paths}) > 1:
            raise UserError(f"{given.option} leads to several folders; put {{tile}} where the tile's name is.")
        if not paths:
            raise UserError(f"{given.option} matches no file; look at the folder and the pattern.")
        return paths
    raise UserError(f"{given.option} does not exist{_nearest(path)}; give a raster, a folder, or a pattern.")


def _nearest(path: Path) -> str:
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ""
    near = nearest(path.name, names)
    return f" (did you mean {path.parent / near}?)" if near else ""


def _in_folder(given: Given, folder: Path) -> list[Path]:
    try:
        # without what systems leave in folders, such as ._tile.tif
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{given.option} cannot be read ({error.strerror}); mend its permissions.") from error
    rasters = [path for path in files if path.suffix.lower() in RASTERS]
    if given.name == "labels" and not rasters:
        # .json is metadata as often as polygons; named by a path of its own it is taken
        rasters = [path for path in files if ending_of(path.name) and path.suffix.lower() != ".json"]
    if not rasters:
        what = f"raster ({', '.join(RASTERS)})"
        raise UserError(f"{given.option} is a folder without a {what}; give the one that holds them.")
    return rasters


def _single(given: Given, path: Path) -> Found:
    if odd := next((mark for mark in ("*", "{tile}") if mark in str(path)), None):
        raise UserError(f"{path} has {odd} in its name, which stands for more in patterns; rename it.")
    return Found(given, str(path), {"": path})


def _by_pattern(given: Given, path: Path) -> Found:
    rule = expression(str(path))
    files: dict[str, Path] = {}
    # brackets and question marks stand for themselves, as in the layout's patterns
    anything = re.sub(r"[\[?]", r"[\g<0>]", str(path).replace("{tile}", "*"))
    for name in sorted(glob(anything, recursive=True)):
        # for glob, the tile may be called one thing in the folder and another in the file
        match = rule.fullmatch(name)
        if match is None or not Path(name).is_file():
            continue
        tile = match["tile"]
        if tile in files:
            raise UserError(
                f"{given.option} leads to two files of the tile {tile}, {files[tile]} and {name}; remove one."
            )
        files[tile] = Path(name)
    if not files:
        raise UserError(f"{given.option} matches no file; look at the folder and the pattern.")
    return Found(given, str(path), dict(sorted(files.items(), key=lambda pair: natural_key(pair[0]))))


def _of_one_kind(given: Given, paths: list[Path]) -> list[Path]:
    """Files of one ending, and one a tile."""
    if len(endings := sorted({path.suffix for path in paths})) > 1:
        example = Path(given.text if Path(given.text).is_dir() else Path(given.text).parent) / f"{{tile}}{endings[0]}"
        raise UserError(
            f"{given.option} holds files that end with {' and '.join(endings)}; say which are meant by a pattern, such "
            f"as {example}."
        )
    words = {given.name.lower()} if given.name != "labels" else set(_LABELS)
    # files that are called like the modality are meant, where others lie beside them
    named = [path for path in paths if words & {token.lower() for token in _TOKEN.findall(path.stem)}]
    paths = named if len(named) > 1 else paths  # one alone may be a tile that is called so
    kinds = _kinds([path.stem for path in paths])
    if kinds:
        first, second = (f"{kind}{endings[0]}" for kind in kinds[:2])
        raise UserError(
            f"{given.option} holds several rasters a tile, such as {first} and {second}; say which are meant by a "
            f"pattern, such as {paths[0].parent.name}/{kinds[0]}{endings[0]}."
        )
    return paths


def _kinds(stems: Sequence[str]) -> list[str]:
    """Patterns of what a folder holds of each tile, where that is several files that differ in a word; else none."""
    # the word that differs stands last, as in 1_rgb.tif, or first, as in rgb_1.tif
    for place in (-1, 0):
        bases: dict[str, set[str]] = defaultdict(set)
        for stem in stems:
            tokens = list(_TOKEN.finditer(stem))
            if len(tokens) < 2 or tokens[place][0].isdecimal():
                break
            token = tokens[place]
            # with what no name holds between front and back, so that a_b and ab are two
            bases[stem[: token.start()] + "\0" + stem[token.end() :]].add(token[0])
        else:
            words = set().union(*bases.values())
            # else the word that differs is a part of the tiles' own names
            if len(words) <= _MANY and all(len(of) > 1 for of in bases.values()) and len(bases) > 1:
                shape = "{{tile}}_{}" if place else "{}_{{tile}}"
                return [shape.format(word) for word in sorted(words)]
    return []


def _matched(
    stems: Mapping[str, Sequence[str]], fixed: set[str], listed: Mapping[str, tuple[Given, list[Path]]]
) -> dict[str, tuple[int, int]]:
    """By name, how many characters of the front and of the back of file names are no part of the tile's id.

    `fixed` are the ids that patterns give to tiles. Files of two modalities without a tile in common are refused.
    """
    choices = {name: list(_cuts(of)) for name, of in stems.items()}
    first = next(iter(stems))
    # each way to cut the first one's names is tried as the tiles' ids, and the others are cut to be like them
    anchors = [fixed] if fixed else [ids for _, ids in choices[first]]
    best: tuple[tuple[int, int], dict[str, tuple[int, int]]] | None = None
    for anchor in anchors:
        picked = {name: _most_alike(of, anchor) for name, of in choices.items()}
        alike = min(len(anchor & ids) for _, ids in picked.values())
        # the modality that fits worst decides, since a tile takes all of them
        score = alike, sum(len(anchor & ids) for _, ids in picked.values())
        if best is None or score > best[0]:
            best = score, {name: cut for name, (cut, _) in picked.items()}
    if best is None or not best[0][0]:
        told = {name: shorten(sorted(choices[name][0][1], key=natural_key), 3) for name in stems}
        others = f"; a pattern calls tiles {shorten(sorted(fixed, key=natural_key), 3)}" if fixed else ""
        names = "; ".join(f"{listed[name][0].option} has {ids}" for name, ids in told.items())
        raise UserError(
            f"files cannot be matched by name: {names}{others}; rename them so that a tile is called alike everywhere, "
            "or give patterns with {tile}."
        )
    return best[1]


def _most_alike(cuts: Sequence[tuple[tuple[int, int], set[str]]], anchor: set[str]) -> tuple[tuple[int, int], set[str]]:
    """By ids in common, and then by short ones."""
    return max(cuts, key=lambda cut: (len(cut[1] & anchor), -sum(map(len, cut[1]))))


def _cuts(stems: Sequence[str]) -> Iterator[tuple[tuple[int, int], set[str]]]:
    """Ways to cut off what all names begin and end with, between words and numbers; the shortest ids come first."""
    least = min(map(len, stems))
    front = next((at for at in range(least) if len({stem[at] for stem in stems}) > 1), least)
    # counted from the end, in which names of several lengths may agree
    back = next((at for at in range(least) if len({stem[-1 - at] for stem in stems}) > 1), least)
    fronts = [at for at in range(front, -1, -1) if all(_begins(stem, at) for stem in stems)]
    backs = [at for at in range(back, -1, -1) if all(_begins(stem[::-1], at) for stem in stems)]
    for at in fronts:
        for behind in backs:
            ids = {stem[at : len(stem) - behind] for stem in stems}
            # a cut that leaves a name without an id, or gives two files one, is none
            if at + behind < least and "" not in ids and len(ids) == len(stems) and (at, behind) != (0, 0):
                yield (at, behind), ids
    # whole names last, so that they are taken where nothing shorter fits as well
    yield (0, 0), set(stems)


def _begins(stem: str, at: int) -> bool:
    """Whether a word or a number begins at a place."""
    if at >= len(stem) or not stem[at].isalnum():
        return False
    before = stem[at - 1] if at else ""
    return not before.isalnum() or before.isdecimal() != stem[at].isdecimal()


def _patterned(given: Given, paths: list[Path], front: int, back: int) -> Found:
    stem, ending = paths[0].stem, paths[0].suffix
    pattern = str(paths[0].parent / f"{stem[:front]}{{tile}}{stem[len(stem) - back :] if back else ''}{ending}")
    if "*" in pattern:
        raise UserError(f"{paths[0]} has * in its name, which stands for more in patterns; rename it.")
    files = {path.stem[front : len(path.stem) - back]: path for path in paths}
    return Found(given, pattern, dict(sorted(files.items(), key=lambda pair: natural_key(pair[0]))))


def is_vector(found: Found) -> bool:
    """Whether labels are polygons; vector files of other formats are refused."""
    suffix = next(iter(found.files.values())).suffix.lower()
    if suffix in (".kml", ".kmz", ".gml", ".dxf", ".gdb", ".tab", ".mif", ".csv", ".dbf", ".xml"):
        read = ", ".join(dict.fromkeys(ENDINGS.values()))
        raise UserError(
            f"{found.given.option} ends with {suffix}, of which no labels are read ({read} are); convert it, as with "
            "ogr2ogr landcover.gpkg FILE."
        )
    return found.vector
