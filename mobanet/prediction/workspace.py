"""Where the finished parts of a map wait until it is whole: beside the map, found again by `--resume`."""

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mobanet.errors import UserError
from mobanet.files import part_of, whole_file, write_bytes
from mobanet.plain.json_files import read_json
from mobanet.prediction.parts import MapPart
from mobanet.prediction.predictor import PartMaps

_TICKET = "settings.json"
_TROUBLE = "trouble_{}.txt"

_EFFORT = 1
"""Of compressing class indices, which are many times smaller then; probabilities hardly are, and stay as they are."""


@dataclass(frozen=True)
class Workspace:
    """A folder `MAP.parts`."""

    folder: Path

    @classmethod
    def of(cls, path: Path) -> "Workspace":
        """That of a map."""
        return cls(path.with_name(f"{path.name}.parts"))

    def settings(self) -> dict[str, Any] | None:
        """What an interrupted prediction was begun with; None where there is none."""
        path = self.folder / _TICKET
        if not path.is_file():
            return None
        try:
            found = read_json(path)
            if not isinstance(found, dict):
                raise ValueError(found)
        except ValueError as error:
            raise self.damaged() from error
        return found

    def damaged(self) -> UserError:
        """The error for settings that cannot be used."""
        return UserError(f"{self.folder / _TICKET} is damaged: delete {self.folder} and predict without --resume.")

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start with nothing."""
        self.remove()
        self.folder.mkdir(parents=True)
        # last, since a folder without it counts as one that was never begun
        write_bytes(self.folder / _TICKET, json.dumps(settings, indent=1).encode())

    def check(self, settings: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings or rasters than before, when the folder was begun."""
        # as they come back from the file: tuples are lists there
        now = json.loads(json.dumps(settings))
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                raise UserError(
                    f"--resume: {self.folder} was begun with another {key} ({_short(before.get(key))}, now "
                    f"{_short(now.get(key))}); give the same, or delete the folder and start anew."
                )

    def done(self, parts: Sequence[MapPart]) -> set[MapPart]:
        """Those of the parts that are there."""
        # a zip's directory is its end: a file that is cut short is none
        return {part for part in parts if zipfile.is_zipfile(self.folder / part.name)}

    def save(self, part: MapPart, maps: PartMaps) -> None:
        """Keep a finished part."""
        path = self.folder / part.name
        with whole_file(path, part_of(path, own=True)) as file, _archive(file) as archive:
            _put(archive, "classes.npy", maps.classes)
            _put(archive, "scenarios.npy", maps.scenarios)
            if maps.probabilities is not None:
                # an entry that is given as such is stored, whatever the archive does with names
                _put(archive, zipfile.ZipInfo("probabilities.npy"), maps.probabilities)  # as they are
            if maps.confidence is not None:
                _put(archive, zipfile.ZipInfo("confidence.npy"), maps.confidence)

    def load(self, part: MapPart) -> PartMaps:
        """A part that is there.

        Raises:
            UserError: when it is damaged; it is removed, so that a resumed prediction makes it anew.
        """
        path = self.folder / part.name
        try:
            with np.load(path) as arrays:
                more = arrays.get("probabilities"), arrays.get("confidence")
                maps = PartMaps(arrays["classes"], arrays["scenarios"], *more)
            shape = (part.bottom - part.top, part.right - part.left)
            for plane in (maps.classes, maps.scenarios):
                if plane.shape != shape or plane.dtype != np.uint8:
                    raise ValueError(f"{plane.dtype} of {plane.shape}")
            if maps.probabilities is not None and maps.probabilities.shape[1:] != shape:
                raise ValueError(f"probabilities of {maps.probabilities.shape}")
            if maps.confidence is not None and maps.confidence.shape != shape:
                raise ValueError(f"confidence of {maps.confidence.shape}")
        except Exception as error:  # of any bytes the readers of archives and arrays raise anything
            path.unlink(missing_ok=True)
            raise UserError(f"{path} is damaged and was removed: run the command again with --resume.") from error
        return maps

    def tell(self, rank: int, trouble: str) -> None:
        """Leave word of what went wrong in one of several processes."""
        # Ctrl-C comes as an error without words
        write_bytes(self.folder / _TROUBLE.format(rank), (trouble or "another process was interrupted.").encode())

    def trouble(self) -> str | None:
        """What went wrong in another process."""
        found = sorted(self.folder.glob(_TROUBLE.format("*")))
        return found[0].read_text(encoding="utf-8") if found else None

    def forget_trouble(self) -> None:
        """Begin without the word of earlier attempts, and without what they had not finished."""
        for path in self.folder.iterdir():
            if path.suffix != ".npz" and path.name != _TICKET:
                path.unlink()

    def remove(self) -> None:
        """All of it."""
        while self.folder.exists():
            with suppress(FileNotFoundError):  # another process may be at it, too, and has removed that one
                shutil.rmtree(self.folder)


def _archive(file: BinaryIO) -> zipfile.ZipFile:
    return zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_EFFORT)


def _put(archive: zipfile.ZipFile, name: str | zipfile.ZipInfo, pixels: np.ndarray) -> None:
    """Add an array, as `numpy.load` finds it; the archive keeps a checksum of it."""
    # how much will be written, `zipfile` cannot know, and refuses 2 GB and more unless told beforehand
    with archive.open(name, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, pixels, allow_pickle=False)


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) < 160 else f"…{text[-157:]}"
