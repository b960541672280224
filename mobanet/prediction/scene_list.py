"""Scenes from a table: a row each, its id and the raster of each modality, as paths or addresses."""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobanet.errors import UserError
from mobanet.plain.bounds import read_bounded, shown
from mobanet.plain.wording import shorten
from mobanet.prediction.request import GivenRaster, GivenScene, given_raster, numbers_of
from mobanet.rasters.elsewhere import is_address, redacted

ID = "id"
"""Heading of the column that names the outputs."""

_MOST = 1 << 26
"""Bytes of a list; a million scenes have as many."""

_ENDINGS = ("probabilities", "scenarios", "confidence", "polygons", "zones")
"""Of the names of files that lie beside a map."""

_LONGEST = 200
"""Bytes of an id; file systems take 255, of which endings need some."""


@dataclass(frozen=True)
class ListedScene:
    """A row of a list.

    Attributes:
        id: names the outputs.
        paths: by modality, as written; modalities that the scene lacks are not in it.
        folder: that paths are relative to.
        numbers: by modality, nodata, factor and minimum, as for `GivenRaster`.
    """

    id: str
    paths: dict[str, str]
    folder: Path
    numbers: Mapping[str, Mapping[str, float | None]]

    @property
    def files(self) -> list[str]:
        """Paths of those of its rasters that are files; none is looked for."""
        # without band numbers
        bare = [text.rpartition("[")[0] if text.endswith("]") else text for text in self.paths.values()]
        return [os.path.abspath(self.folder / text) for text in bare if not is_address(text)]

    def given(self) -> GivenScene:
        """The rasters, looked for."""
        rasters: dict[str, GivenRaster] = {}
        for name, text in self.paths.items():
            raster = given_raster(text, self.folder)
            if isinstance(raster.path, Path) and not raster.path.is_file():
                raise UserError(f"{raster.path} ({name} of {self.id}) does not exist: mend its path in the list.")
            numbers: Mapping[str, Any] = self.numbers[name]  # by field
            rasters[name] = replace(raster, **numbers)
        return GivenScene(self.id, rasters)


def read_scenes(
    path: str | Path,
    modalities: Sequence[str],
    nodata: Sequence[str] = (),
    factor: Sequence[str] = (),
    minimum: Sequence[str] = (),
) -> list[ListedScene]:
    """Read a list of scenes, a CSV file with a heading of `id` and names of modalities; no raster of it is looked at.

    Words such as `dsm=-9999` hold for all scenes.

    Raises:
        UserError: with the row, for what is no such list.
    """
    path = Path(path).expanduser()
    try:
        text = read_bounded(path, _MOST)
        # strictly: else a quotation mark that is never closed would take the rest of the list for one cell
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except FileNotFoundError as error:
        raise UserError(
            f"--scenes {path} does not exist; give a CSV file with the columns id and modalities."
        ) from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"--scenes {path} is no CSV file ({error}): save it as one, in UTF-8.") from error
    heading = [name.strip() for name in rows[0]] if rows else []
    _check_heading(path, heading, modalities)
    given = [name for name in modalities if name in heading]
    said = {"nodata": nodata, "factor": factor, "minimum": minimum}
    told = {key: numbers_of(words, modalities, f"--{key}", given, f"--scenes {path}") for key, words in said.items()}
    numbers = {name: {key: told[key].get(name) for key in said} for name in given}
    scenes = []
    # as a spreadsheet numbers rows
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(heading):
            raise UserError(
                f"--scenes {path}, row {number}, has {len(row)} columns and the heading {len(heading)}: give one a "
                "heading, in quotation marks where there are commas in it."
            )
        cells = dict(zip(heading, (cell.strip() for cell in row), strict=True))
        paths = {name: cells[name] for name in given if cells[name]}
        if not paths:
            raise UserError(f"--scenes {path}, row {number}, names no raster: name one, or remove the row.")
        scenes.append(ListedScene(_plain_id(path, number, cells[ID]), paths, path.absolute().parent, numbers))
    _check_ids(path, [scene.id for scene in scenes])
    return scenes


def part_of(scenes: Sequence[ListedScene], part: str) -> list[ListedScene]:
    """A share of the scenes; `3/16` is every sixteenth, from the third on."""
    number, _, count = part.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"--part {part} is none; write 3/16 for the third of sixteen, which begin with 1/16.")
    return list(scenes[int(number) - 1 :: int(count)])


def _check_heading(path: Path, heading: Sequence[str], modalities: Sequence[str]) -> None:
    wanted = f"write {ID},{','.join(modalities)} or some of them"
    if ID not in heading:
        raise UserError(f"--scenes {path} has no column {ID} in its first row; {wanted}, with commas between.")
    odd = [name for name in heading if name != ID and name not in modalities]
    if odd:
        raise UserError(f"--scenes {path} has the column {shown(odd[0])}, which the model does not take; {wanted}.")
    if len(set(heading)) < len(heading):
        raise UserError(f"--scenes {path} has a column twice; {wanted}.")
    if len(heading) < 2:
        raise UserError(f"--scenes {path} has no column of a modality; {wanted}.")


def _plain_id(path: Path, number: int, name: str) -> str:
    """An id that can be a file's name, on any system, and a cell of a table."""
    odd = not name.isprintable() or not 0 < len(name.encode()) <= _LONGEST or set(name) & set('/\\:*?"<>|')
    if odd or name.startswith("."):
        raise UserError(
            f"--scenes {path}, row {number}, has the id {shown(redacted(name))}, of which no file can be named: use up "
            f"to {_LONGEST} letters, digits, _, - and dots, and no dot at the beginning."
        )
    return name


def _check_ids(path: Path, ids: Sequence[str]) -> None:
    if not ids:
        raise UserError(f"--scenes {path} lists no scene; add a row each.")
    plain = Counter(name.casefold() for name in ids)  # some file systems know no capitals
    if twice := [name for name in dict.fromkeys(ids) if plain[name.casefold()] > 1]:
        raise UserError(f"--scenes {path} has the id {shorten(twice, 3)} more than once: name each scene once.")
    for name in ids:
        stem, _, ending = name.rpartition("_")
        if ending in _ENDINGS and stem.casefold() in plain:
            raise UserError(
                f"--scenes {path} has the ids {stem} and {name}, which is what a file of the first is called: rename "
                "one."
            )
