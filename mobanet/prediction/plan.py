"""What is to be predicted: settings, scenes with their files and parts, and what an interrupted attempt has left."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from mobanet.errors import UserError
from mobanet.prediction.assemble import MapFiles
from mobanet.prediction.coverage import Coverage, Gaps
from mobanet.prediction.parts import PANEL, MapPart, parts_of
from mobanet.prediction.scene import Scene
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.prediction.vectors import NO_VECTORS, VectorSettings
from mobanet.prediction.workspace import Workspace
from mobanet.rasters.contents import FileRef
from mobanet.rasters.elsewhere import Elsewhere
from mobanet.rasters.grid import Grid
from mobanet.rasters.network import state_of
from mobanet.rasters.opening import opened
from mobanet.stitching.blending import Blend, Probabilities

Preset = Literal["smooth", "test", "authors"]
"""Ways to put windows together:

- `smooth`: half-overlapping windows, blended smoothly, each pixel in the scenario of what it has.
- `test`: the windows of the run's own test, logits summed: the map that `mobanet.test` measures.
- `authors`: stride 32, logits summed, as MoBaNet's authors test.
"""

AUTHORS_STRIDE = 32

STRIP = 256
"""Rows that are saved at a time."""

_BAND_BYTES = 128 * 2**20
"""Of the logits that are added up at a time; wider scenes are cut into panels."""


@dataclass(frozen=True)
class MapSettings:
    """How maps are made; everything that their pixels depend on, but for rasters and model.

    Attributes are options of `mobanet.predict`, but for `blend`, how overlapping windows are added up, which comes of
    the preset.
    """

    window: int
    stride: int
    blend: Blend = "smooth"
    turns: bool = False
    coverage: Coverage = "pixel"
    gaps: Gaps = "nodata"
    probabilities: Probabilities = "none"
    confidence: Probabilities = "none"
    calibrated: bool = True
    scenarios: bool = False
    precision: str = "32-true"
    float32_matmul_precision: str | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that make no sense."""
        if self.window < 16:
            raise UserError(f"--window is {self.window}; give at least 16 pixels.")
        if not 1 <= self.stride <= self.window:
            raise UserError(f"--stride is {self.stride}; give 1 to {self.window} pixels, the window's size.")

    @classmethod
    def of(
        cls, preset: Preset, windows: Mapping[str, int] | None, given: Mapping[str, Any], step: int = 1
    ) -> "MapSettings":
        """A preset's settings, but for those that the user has given, which are not None.

        `windows` has `size` and `stride` of the run's own test; None where the checkpoint does not say. Windows and
        strides are multiples of `step` pixels, as the model's coarser modalities have whole ones.
        """
        if windows is None:
            if given.get("window") is None:
                raise UserError("the checkpoint does not say how large its windows are; give --window, in pixels.")
            windows = {"size": given["window"], "stride": given["window"]}
        size = windows["size"] if given.get("window") is None else given["window"]
        values: dict[str, Any] = {
            "smooth": {"stride": max(size // 2 // step, 1) * step},
            "test": {"stride": windows["stride"], "blend": "sum", "coverage": "window"},
            "authors": {
                "stride": min(max(AUTHORS_STRIDE // step, 1) * step, size),
                "blend": "sum",
                "coverage": "window",
            },
        }[preset]
        chosen = cls(**{**values, **{key: value for key, value in given.items() if value is not None}, "window": size})
        for option, pixels in (("window", chosen.window), ("stride", chosen.stride)):
            if pixels % step:
                raise UserError(
                    f"--{option} is {pixels}, and the model has modalities with coarser pixels, of which windows have "
                    f"whole ones: give a multiple of {step}."
                )
        return chosen

    def files(self, path: Path) -> MapFiles:
        """The rasters of a map of that name."""
        return MapFiles.beside(path, self.probabilities, self.scenarios, self.confidence)

    @property
    def tells_probabilities(self) -> bool:
        """Whether any are computed."""
        return {self.probabilities, self.confidence} != {"none"}

    def panel(self, num_classes: int) -> int:
        """Columns added up at a time."""
        # a band is as high as a window (`Mosaic`)
        columns = _BAND_BYTES // (4 * num_classes * self.window)  # bytes of float32
        # whole blocks of the file; and two windows at least, as those that reach into two panels are run for both
        return max(min(columns // 512 * 512, PANEL), 2 * self.window, 512)


@dataclass(frozen=True)
class ScenePlan:
    """A scene and what becomes of it."""

    scene: Scene
    scaling: SceneScaling
    parts: list[MapPart]
    files: MapFiles
    workspace: Workspace

    @property
    def fetched(self) -> Path:
        """Folder for the rows of what was fetched to measure the scene."""
        return fetched_folder(self.files.classes)

    @property
    def grid(self) -> Grid:
        """Of the map."""
        return self.scene.grid


def fetched_folder(path: Path) -> Path:
    """That of a map, beside it, for rows that are fetched and read again."""
    return path.with_name(f"{path.name}.fetched")


def output_paths(output: str | Path, ids: Sequence[str]) -> list[Path]:
    """A file a scene: as named, or, of several scenes or in a folder that is there, by their ids."""
    path = Path(output).expanduser()
    # a Path has no slash at its end, by which a folder that is to be made is told
    folder = len(ids) > 1 or path.is_dir() or str(output).endswith("/")
    if folder and path.suffix.lower() in (".tif", ".tiff"):
        raise UserError(f"--output {output} names one file for {len(ids)} scenes; name a folder.")
    if not folder and path.suffix.lower() not in (".tif", ".tiff"):
        raise UserError(f"--output {output} must end with .tif, or name a folder that is there.")
    if len(set(ids)) < len(ids):
        raise UserError(f"several scenes are named {max(ids, key=ids.count)}; predict them one at a time.")
    _check_writable(path if folder else path.parent, output)
    return [path / f"{name}.tif" for name in ids] if folder else [path]


def output_folder(output: str | Path) -> Path:
    """The folder that the maps of a list go to."""
    path = Path(output).expanduser()
    if path.suffix.lower() in (".tif", ".tiff"):
        raise UserError(f"--output {output} names one file for the scenes of a list; name a folder.")
    _check_writable(path, output)
    return path


def _check_writable(folder: Path, output: str | Path) -> None:
    # folders are made with the first map: until then the innermost that is there decides
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"--output {output} cannot be written: {existing} is not a folder that you may write to.")


def ticket(scene: Scene, settings: MapSettings, checkpoint: str) -> dict[str, Any]:
    """All that a map depends on, by the words of the command line, to compare an interrupted attempt with."""
    inputs: dict[str, Any] = {}
    for name, raster in scene.rasters.items():
        source = raster.source
        bands = ",".join(str(band + 1) for band in source.bands)
        path = source.file.path
        # so that it may be gone on with from another folder
        where = path.absolute() if isinstance(path, Path) else path
        inputs[f"--input {name}"] = f"{where}[{bands}] of {_state(source.file)}"
        nodata = source.nodata
        inputs[f"--nodata {name}"] = "nan" if nodata is not None and math.isnan(nodata) else nodata  # JSON has no NaN
        inputs[f"--factor {name}"] = source.factor
        inputs[f"--minimum {name}"] = source.minimum
    options = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    return {
        "--ckpt_path": checkpoint,
        **inputs,
        "--reference": scene.reference,
        "--crs": scene.grid.crs,
        # the pixels that came of it, since `training` and metres may mean the same
        "--resolution": None if scene.grid.transform is None else list(scene.grid.transform),
        "--preset": options.pop("blend"),  # what says how windows are added up
        **{f"--{name}": value for name, value in options.items()},
    }


def _state(file: FileRef) -> str:
    """What stands for a raster's content, which would take too long to read."""
    path = file.path
    if isinstance(path, Elsewhere):
        if path.archive is None:
            with opened(path, file) as raster:
                return state_of(path, raster)
        path = path.archive
    status = path.stat()
    return f"{datetime.fromtimestamp(status.st_mtime).isoformat()}, {status.st_size} bytes"


def plan_scene(
    number: int,
    scene: Scene,
    path: Path,
    settings: MapSettings,
    num_classes: int,
    checkpoint: str,
    measured: SceneScaling | None,
    vectors: VectorSettings = NO_VECTORS,
) -> ScenePlan:
    """Settle a scene's parts, and begin or find again the folder that they are saved in.

    What the scene is scaled by has been measured where no folder was there. `checkpoint` is its fingerprint.

    Raises:
        UserError: when an interrupted attempt was begun otherwise.
    """
    workspace = Workspace.of(path)
    now = ticket(scene, settings, checkpoint)
    before = workspace.settings()
    if before is not None:
        before.setdefault("--calibrated", False)  # earlier versions had no temperatures
        # not compared but taken over: to measure it again would read whole rasters
        saved = before.pop("scaling", None)
        try:
            scaling = SceneScaling.from_plain(saved)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise workspace.damaged() from error
        workspace.check(now, before)
    else:
        assert measured is not None
        scaling = measured
        workspace.begin({**now, "scaling": scaling.to_plain()})
    height, width = scene.grid.height, scene.grid.width
    parts = parts_of(number, height, width, STRIP, settings.panel(num_classes))
    files = vectors.files(settings.files(path))
    return ScenePlan(scene, scaling, parts, files, workspace)
