"""From `--input rgb=ortho.tif dsm=surface/*.tif` to scenes: which files belong together."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from mobanet.errors import UserError
from mobanet.plain.bounds import shown
from mobanet.rasters.contents import FileRef
from mobanet.rasters.elsewhere import Place, elsewhere, redacted
from mobanet.rasters.stac import PREFIX, asset

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".png", ".jpg", ".jpeg", ".img")
"""Of rasters that a folder is searched for."""

_PART = re.compile(r"\d+|[^\W\d_]+")
"""Of a name: a number or a word."""

_WITH_BANDS = re.compile(r"(.+)\[(\d+(?:\s*,\s*\d+)*)\]")
"""A path or an address, with band numbers behind it."""


@dataclass(frozen=True)
class GivenRaster:
    """A file as the user names it.

    Attributes:
        path: of the file, or its place elsewhere.
        bands: 0-based band numbers; empty for all of them.
        nodata: a value that means missing, beside what the file declares.
        factor: value for the model = raster value times this; None for what the file says by scale, offset and unit.
        minimum: raster values below it are missing; None for heights below -1000 m.
    """

    path: Place
    bands: tuple[int, ...] = ()
    nodata: float | None = None
    factor: float | None = None
    minimum: float | None = None

    @property
    def file(self) -> FileRef:
        """As the readers of rasters take it."""
        return FileRef(self.path)


@dataclass(frozen=True)
class GivenScene:
    """Files that show the same ground, by modality, of those that are there; the id names the output."""

    id: str
    rasters: dict[str, GivenRaster]


def find_scenes(
    given: Mapping[str, str] | Sequence[str],
    modalities: Sequence[str],
    nodata: Mapping[str, float] | Sequence[str] = (),
    factor: Mapping[str, float] | Sequence[str] = (),
    minimum: Mapping[str, float] | Sequence[str] = (),
) -> list[GivenScene]:
    """Find the files of each modality and put those of one scene together.

    A modality is given as a file, a folder, or a pattern with `*`, `?` or `**`; band numbers, from 1, may stand behind
    it in brackets: `ir=rgbir.tif[4]`. One file is one scene, or the same for all scenes. Several files of several
    modalities are matched by what differs in their names: `top_2_12_RGB.tif` and `dsm_02_12.tif` by `2_12`. A file may
    lie elsewhere, see `mobanet.rasters.elsewhere`. All are given by modality, or as words such as `dsm=-9999`.

    Raises:
        UserError: for a modality that the model does not have, and for a file or pattern that is not there.
    """
    paths = _by_modality(given, modalities, "--input", "FILE")
    missing = numbers_of(nodata, modalities, "--nodata", paths)
    factors = numbers_of(factor, modalities, "--factor", paths)
    least = numbers_of(minimum, modalities, "--minimum", paths)
    if not paths:
        raise UserError(
            f"--input names no raster; give at least one of {', '.join(modalities)}, as {modalities[0]}=FILE."
        )
    found = {}
    for name in (name for name in modalities if name in paths):
        numbers = missing.get(name), factors.get(name), least.get(name)
        found[name] = [GivenRaster(_plain_name(file), bands, *numbers) for file, bands in _located(paths[name], name)]
    several = {name: files for name, files in found.items() if len(files) > 1}
    if not several:
        first = next(iter(found.values()))[0]
        return [GivenScene(first.path.stem, {name: files[0] for name, files in found.items()})]
    return _matched(found, several)


def given_raster(text: str, folder: Path) -> GivenRaster:
    """One raster of a list, with the bands behind it; as for `find_scenes`, but neither a folder nor a pattern.

    A path is relative to the folder.
    """
    if text.startswith(PREFIX):
        return GivenRaster(*_of_item(text, folder))
    text, bands = _bands(text, folder)
    place = elsewhere(text, folder)
    return GivenRaster(_plain_name(folder / Path(text).expanduser() if place is None else place), bands)


def _matched(found: Mapping[str, list[GivenRaster]], several: Mapping[str, list[GivenRaster]]) -> list[GivenScene]:
    keys = _keys({name: [raster.path.stem for raster in files] for name, files in several.items()})
    (first, own), *others = keys.items()
    for name, of in others:
        if not set(of) & set(own):
            raise UserError(
                f"the files of {first} and {name} cannot be matched by name: {first} differs in "
                f"{_some(own)}, {name} in {_some(of)}; rename them, or predict one scene at a time."
            )
    stems = dict(zip(own, (raster.path.stem for raster in several[first]), strict=True))
    scenes = []
    for key in sorted({key for of in keys.values() for key in of}, key=_natural):
        rasters = {name: files[0] for name, files in found.items() if name not in several}
        for name, of in keys.items():
            if key in of:
                rasters[name] = several[name][of.index(key)]
        ordered = {name: rasters[name] for name in found if name in rasters}
        # called as the first modality's file; a scene that lacks it as the first file that it has
        scenes.append(GivenScene(stems.get(key, next(iter(ordered.values())).path.stem), ordered))
    return scenes


def _keys(stems: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What differs in names, part by part, by modality; numbers without leading zeros.

    A part that all names of a modality share is left out, such as the modality's name or a year, unless some, but not
    all, names of another have it: with `rgb_2_12` and `rgb_2_13` beside `dsm_2_12` and `dsm_3_12`, 2 tells apart.
    """
    parts = {name: [[_plain(p) for p in _PART.findall(stem)] for stem in of] for name, of in stems.items()}
    shared = {name: set(of[0]).intersection(*of[1:]) for name, of in parts.items()}
    some = {name: set().union(*of) - shared[name] for name, of in parts.items()}
    left_out = {name: shared[name] - set().union(*(some[other] for other in some)) for name in parts}
    keys = {name: ["_".join(p for p in each if p not in left_out[name]) for each in of] for name, of in parts.items()}
    if any("" in of or len(set(of)) < len(of) for of in keys.values()):  # parts that some share and others repeat
        keys = {name: ["_".join(each) for each in _without_ends(of)] for name, of in parts.items()}
    for name, of in keys.items():
        if len(set(of)) < len(of):
            raise UserError(
                f"{stems[name][0]} and the other files beside it cannot be told apart by name: rename them."
            )
    return keys


def _without_ends(parts: list[list[str]]) -> list[list[str]]:
    """Names without the parts at their beginning and end that all share."""
    least = min(len(of) for of in parts)
    front = next((i for i in range(least) if len({of[i] for of in parts}) > 1), least)
    back = next((i for i in range(least - front) if len({of[-1 - i] for of in parts}) > 1), least - front)
    return [of[front : len(of) - back] for of in parts]


def _plain(part: str) -> str:
    # 2_02 and 2_2 are one tile, as in ISPRS Potsdam, whose images and heights are numbered in both ways
    return (part.lstrip("0") or "0") if part.isdecimal() else part.lower()


def _natural(key: str) -> list[tuple[int, str]]:
    # pairs, since Python orders no number against a word
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in key.split("_")]


def _some(keys: Sequence[str]) -> str:
    return ", ".join(sorted(keys, key=_natural)[:3]) + (", …" if len(keys) > 3 else "")


def _located(text: str, modality: str) -> list[tuple[Place, tuple[int, ...]]]:
    """The files that are named, with the bands of each."""
    if text.startswith(PREFIX):
        return [_of_item(text, Path())]
    text, bands = _bands(text)
    return [(file, bands) for file in _files(text, modality)]


def _of_item(text: str, folder: Path) -> tuple[Place, tuple[int, ...]]:
    """An asset, with the bands behind it, or those that it was asked for by."""
    told = re.fullmatch(_WITH_BANDS, text)
    place, own = asset(text if told is None else told[1], folder)
    return _plain_name(place), own if told is None else _numbered(told[2], text)


def _files(text: str, modality: str) -> Sequence[Place]:
    place = elsewhere(text)
    if place is not None:
        return [place]
    path = Path(text).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        # none such as ._ortho.tif, which macOS leaves beside files on other systems' disks
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not files:
            raise UserError(f"--input {modality}={text}: the folder holds no raster ({', '.join(SUFFIXES)}).")
        return files
    if has_magic(text):
        # sorted, as systems list folders in orders of their own
        files = sorted(p for p in map(Path, glob(str(path), recursive=True)) if p.is_file())
        if not files:
            raise UserError(f"--input {modality}={text} matches no file; check the folder and the pattern.")
        return files
    raise UserError(f"--input {modality}={text} does not exist; give a raster, a folder or a pattern.")


def _plain_name(path: Place) -> Place:
    """A raster whose name can stand in the map's tags, in tables and in the names of other files."""
    if not path.name.isprintable():
        raise UserError(f"--input finds the file {shown(path.name)}, whose name cannot be printed; rename it.")
    if path.suffix.lower() == ".zip":
        raise UserError(f"{path} is an archive; name a raster in it, as {path.name}!FOLDER/RASTER.tif.")
    return path


def _bands(text: str, folder: Path = Path()) -> tuple[str, tuple[int, ...]]:
    """The path, and 0-based bands from the brackets behind it."""
    told = re.fullmatch(_WITH_BANDS, text)
    # brackets may be a part of the file's own name
    if told is None or (elsewhere(text, folder) is None and (folder / text).exists()):
        return text, ()
    return told[1], _numbered(told[2], text)


def _numbered(bands: str, text: str) -> tuple[int, ...]:
    numbers = [int(number) for number in bands.split(",")]
    if min(numbers) < 1:
        raise UserError(f"--input {redacted(text)}: bands are counted from 1.")
    return tuple(number - 1 for number in numbers)


def _by_modality(
    given: Mapping[str, object] | Sequence[str], modalities: Sequence[str], option: str, what: str
) -> dict[str, str]:
    pairs = given.items() if isinstance(given, Mapping) else [word.partition("=")[::2] for word in given]
    out: dict[str, str] = {}
    for name, value in pairs:
        name, value = str(name).strip(), str(value).strip()
        if name not in modalities:
            raise UserError(
                f"{option} {name or 'without a name'}: the model takes {', '.join(modalities)}; write {option} "
                f"{modalities[0]}={what}."
            )
        if not value or name in out:
            raise UserError(f"{option} gives {name} {'twice' if name in out else 'without a value'}; give it once.")
        out[name] = value
    return out


def numbers_of(
    given: Mapping[str, float] | Sequence[str],
    modalities: Sequence[str],
    option: str,
    there: Collection[str],
    where: str = "--input",
) -> dict[str, float]:
    """Numbers by modality, from words such as `dsm=0.1` behind an option, of those that `where` gives."""
    numbers = {}
    for name, value in _by_modality(given, modalities, option, "NUMBER").items():
        if name not in there:
            raise UserError(f"{option} {name}={value}: {where} gives no {name}; leave it out.")
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise UserError(f"{option} {name}={value} is no number; write it as -9999 or 0.1.") from error
        if option == "--factor" and (not math.isfinite(numbers[name]) or numbers[name] == 0):
            raise UserError(f"{option} {name}={value} leaves nothing of the raster; give a number such as 0.1.")
        if option == "--minimum" and not math.isfinite(numbers[name]):
            raise UserError(f"{option} {name}={value} is no bound; give a number such as -50.")
    return numbers
