"""A finished model in two lines of Python: `mobanet.load(...)`, and arrays or files in, arrays out."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from mobanet.errors import UserError
from mobanet.models.precision import resolved
from mobanet.plain.bounds import shorten_text
from mobanet.prediction.areas import FinishedMap
from mobanet.prediction.coverage import Coverage, Gaps
from mobanet.prediction.input_raster import InputRaster
from mobanet.prediction.plan import MapSettings, Preset, output_paths
from mobanet.prediction.request import find_scenes
from mobanet.prediction.run import Model, announce, clear_way, launched, make_maps, network_of
from mobanet.prediction.scene import Scene
from mobanet.prediction.sources import open_model
from mobanet.rasters.contents import Classes, FileRef, Modality
from mobanet.rasters.grid import Grid
from mobanet.rasters.opening import opened
from mobanet.stitching.blending import Probabilities

_STORED = ("uint8", "uint16", "int16", "uint32", "int32", "float32")
"""Types of arrays that go through a raster as they are."""

_WORDS = {
    "preset": get_args(Preset),
    "coverage": get_args(Coverage),
    "gaps": get_args(Gaps),
    "probabilities": get_args(Probabilities),
    "confidence": get_args(Probabilities),
}
"""Of options that take one of a few words."""


class Prediction(NamedTuple):
    """Of each pixel.

    Attributes:
        classes: (H, W) uint8, the index of the class; 255 where the reference has no data.
        confidence: (H, W) float32, the probability of that class, calibrated where the model has a temperature for
            what the pixel was seen by; NaN where there is no class.
    """

    classes: np.ndarray
    confidence: np.ndarray


class SavedModel:
    """A model that maps rasters, whatever it was saved as.

    Args:
        model: opened by `mobanet.load`.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __repr__(self) -> str:
        """What it takes and what it tells apart."""
        return f"SavedModel({'+'.join(self.modalities)} -> {', '.join(self.classes.names)}; {self._model.path})"

    @property
    def classes(self) -> Classes:
        """Names and colours of the classes, in index order."""
        return self._model.data.classes

    @property
    def modalities(self) -> dict[str, Modality]:
        """What it takes, by name, with the bands of each."""
        return self._model.modalities

    @property
    def gsd(self) -> float | None:
        """Side of a pixel on the ground in metres, of most rasters that it was trained on; None where not known."""
        return self._model.rasters.side

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names of all combinations of its modalities, such as rgb+dsm."""
        return tuple(scenario.name for scenario in self._model.scenarios)

    @property
    def never_trained(self) -> frozenset[str]:
        """Names of the scenarios that it was not trained in, in which little can be expected of it."""
        return self._model.never

    def predict(
        self,
        rasters: Mapping[str, Any] | None = None,
        *,
        transform: Sequence[float] | None = None,
        crs: str | None = None,
        reference: str | None = None,
        preset: Literal["smooth", "test", "authors"] = "smooth",
        window: int | None = None,
        stride: int | None = None,
        turns: bool = False,
        coverage: Literal["pixel", "window"] | None = None,
        gaps: Literal["nodata", "predict"] = "nodata",
        resolution: str | None = None,
        batch_size: int = 8,
        accelerator: str = "auto",
        precision: str = "32-true",
        **named: Any,
    ) -> Prediction:
        """Classes and confidence of each pixel: `model.predict(rgb=array, dsm="surface.tif")`.

        What `mobanet.predict` does with files is done here: windows that overlap and are blended, each pixel with what
        there is of it, in bounded memory but for the two arrays that come back. Arrays are written to a temporary
        folder on the way.

        Args:
            rasters: by modality, an array, or the path or URL of a raster as in `--input`, with bands in brackets;
                modalities may be given by name, too. Those left out are predicted without. Arrays hold what the rasters
                of the training hold, as (H, W), (bands, H, W) or (H, W, bands); NaN and masked pixels were not
                measured.
            transform: affine pixel-to-map coefficients (a, b, c, d, e, f) of the arrays, of those with coarser pixels
                (`pixel_ratio`) from the same corner; None where they are not known.
            crs: reference system of the arrays, and of files that name none.
            reference: modality whose grid the result has; None for the first one given, in the model's order.
            preset: how windows overlap, as the option of mobanet.predict; so are the following.
            window: height and width of a window in pixels; None for the training's.
            stride: from window to window in pixels; None for the preset's.
            turns: take the mean over the eight turns and flips of a window.
            coverage: where a modality is there in part, decide by pixel or window; None for the preset's.
            gaps: pixels that the reference lacks are left out, or predicted from the others.
            resolution: side of the result's pixels in metres, or `training`; None for the reference's.
            batch_size: windows that go through the network together.
            accelerator: cpu, gpu or auto.
            precision: of the network's arithmetic.
            named: modalities.

        Raises:
            UserError: for rasters that the model does not take, or that do not fit each other.
        """
        given = _once(rasters, named)
        settings = self._settings(
            preset,
            accelerator,
            precision,
            window=window,
            stride=stride,
            coverage=coverage,
            turns=turns,
            gaps=gaps,
            confidence="float32",
        )
        with TemporaryDirectory(prefix="mobanet-") as name:
            folder = Path(name)
            files = {
                modality: _file(folder, modality, value, self.modalities, transform, crs)
                for modality, value in given.items()
            }
            try:
                found = self._placed(files, reference, crs, resolution)
                found = replace(found, notes=tuple(_of_arrays(note, folder, files) for note in found.notes))
                finished = self._made(found, folder / "map" / "map.tif", settings, accelerator, batch_size)
            except UserError as error:  # which names the file that an array was written to
                raise UserError(_of_arrays(str(error), folder, files)) from error
            assert finished.files.confidence is not None  # as the settings say
            return Prediction(_read(finished.files.classes), _read(finished.files.confidence))

    def write_map(
        self,
        output: str | Path,
        rasters: Mapping[str, str | Path] | None = None,
        *,
        crs: str | None = None,
        reference: str | None = None,
        preset: Literal["smooth", "test", "authors"] = "smooth",
        window: int | None = None,
        stride: int | None = None,
        turns: bool = False,
        coverage: Literal["pixel", "window"] | None = None,
        gaps: Literal["nodata", "predict"] = "nodata",
        resolution: str | None = None,
        probabilities: Literal["none", "uint8", "float32"] = "none",
        confidence: Literal["none", "uint8", "float32"] = "none",
        calibrated: bool = True,
        scenarios: bool = False,
        overwrite: bool = False,
        batch_size: int = 8,
        accelerator: str = "auto",
        precision: str = "32-true",
        **named: str | Path,
    ) -> FinishedMap:
        """Write the map of a scene of any size: `model.write_map("map.tif", rgb="ortho.tif", dsm="surface.tif")`.

        The file is that of `python -m mobanet.predict`, byte for byte, which also goes on with an interrupted one
        (`--resume`) and makes polygons and tables of zones.

        Args:
            output: GeoTIFF to write.
            rasters: by modality, the path or URL of a raster as in `--input`, with bands in brackets; modalities may be
                given by name, too. Those left out are predicted without.
            crs: reference system of files that name none.
            reference: as of `predict`, and so are the following.
            preset: how windows overlap.
            window: height and width of a window in pixels.
            stride: from window to window in pixels.
            turns: take the mean over the eight turns and flips of a window.
            coverage: where a modality is there in part, decide by pixel or window.
            gaps: pixels that the reference lacks are left out, or predicted from the others.
            resolution: side of the map's pixels in metres, or `training`.
            probabilities: write those of the classes, too, to OUTPUT_probabilities.tif.
            confidence: write that of the map's class to OUTPUT_confidence.tif.
            calibrated: calibrate them where the model has temperatures.
            scenarios: write which scenario each pixel was predicted in to OUTPUT_scenarios.tif.
            overwrite: replace a map that is there, and forget an interrupted one.
            batch_size: windows that go through the network together.
            accelerator: cpu, gpu or auto.
            precision: of the network's arithmetic.
            named: modalities.

        Returns:
            The map, with its files, pixels and areas of each class and scenario, and pictures.

        Raises:
            UserError: for rasters that the model does not take or that do not fit each other, an output that is there
                already, and arrays, which `predict` takes.
        """
        settings = self._settings(
            preset,
            accelerator,
            precision,
            window=window,
            stride=stride,
            coverage=coverage,
            turns=turns,
            gaps=gaps,
            probabilities=probabilities,
            confidence=confidence,
            calibrated=calibrated and bool(self._model.temperatures),
            scenarios=scenarios,
        )
        scene = self._placed(_paths(_once(rasters, named)), reference, crs, resolution)
        (path,) = output_paths(output, [scene.id])
        clear_way([scene], [path], settings, resume=False, overwrite=overwrite)
        return self._made(scene, path, settings, accelerator, batch_size)

    def inputs(
        self, rasters: Mapping[str, str | Path] | None = None, *, crs: str | None = None, **named: str | Path
    ) -> dict[str, InputRaster]:
        """Look at rasters before a map is made of them; they are checked against the model and each other.

        Args:
            rasters: by modality, as of `write_map`; modalities may be given by name, too.
            crs: reference system of files that name none.
            named: modalities.

        Returns:
            By modality, in the model's order.

        Raises:
            UserError: for rasters that the model does not take or that do not fit each other, and for arrays.
        """
        scene = self._placed(_paths(_once(rasters, named)), None, crs, None)
        return {name: InputRaster(raster) for name, raster in scene.rasters.items()}

    def _settings(self, preset: Preset, accelerator: str, precision: str, **chosen: Any) -> MapSettings:
        for name, words in _WORDS.items():
            given = preset if name == "preset" else chosen.get(name)
            if given is not None and given not in words:
                raise UserError(f"{name} is {given!r}; give {', '.join(words)}.")
        usual = {"calibrated": bool(self._model.temperatures), "precision": resolved(precision, accelerator, 1)}
        return MapSettings.of(preset, self._model.windows, {**usual, **chosen}, self._model.step)

    def _placed(
        self, files: Mapping[str, str], reference: str | None, crs: str | None, resolution: str | None
    ) -> Scene:
        """The one scene that files are of."""
        scenes = find_scenes(files, list(self.modalities))
        if len(scenes) > 1:
            raise UserError(f"the rasters are {len(scenes)} scenes; give one file of each modality.")
        return self._model.place(scenes[0], reference, crs, resolution)

    def _made(self, scene: Scene, path: Path, settings: MapSettings, accelerator: str, batch_size: int) -> FinishedMap:
        announce(self._model, [scene], settings)
        # one device: for more, Lightning would start the caller's script again, once for each
        fabric = launched(accelerator, 1, settings.precision)
        (finished,) = make_maps(self._model, [scene], [path], settings, fabric, batch_size)
        return finished


def load(source: str | Path, backbone: str | Path | None = None) -> SavedModel:
    """A finished model, ready to map rasters: `mobanet.load("runs/potsdam").predict(rgb="ortho.tif")`.

    Args:
        source: a checkpoint; the folder of a run, of which the best checkpoint is taken, or else the last; a folder or
            .safetensors file that mobanet.export wrote; or OWNER/NAME of a repository on the hub with such a folder.
        backbone: file with the weights of a frozen backbone that the model leaves out, where they have moved.

    Raises:
        UserError: when there is no such model, or it cannot be used.
    """
    from mobanet.runs.messages import quieten

    quieten()
    model = open_model(source, None if backbone is None else str(backbone), "model")
    # once, and not for every prediction
    return SavedModel(replace(model, network=network_of(model, torch.float32)))


def _once(rasters: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """What is given together and by names."""
    if rasters is not None and not isinstance(rasters, Mapping):
        raise UserError(f"rasters is a {type(rasters).__name__}; give them by modality, as a dictionary or by name.")
    for name in (rasters or {}).keys() & named.keys():
        raise UserError(f"{name} is given twice, among the rasters and by its name.")
    return {**(rasters or {}), **named}


def _paths(given: Mapping[str, Any]) -> dict[str, str]:
    """Rasters that are files."""
    for name, value in given.items():
        if not isinstance(value, str | Path):
            raise UserError(
                f"{shorten_text(str(name))} is {type(value).__name__} and no path; give a file, or arrays to predict."
            )
    return {name: str(value) for name, value in given.items()}


def _file(
    folder: Path,
    name: str,
    value: Any,
    modalities: Mapping[str, Modality],
    transform: Sequence[float] | None,
    crs: str | None,
) -> str:
    """The path of a modality's raster, which an array is written to."""
    if isinstance(value, str | Path):
        return str(value)
    if name not in modalities:
        raise UserError(f"{shorten_text(str(name))} is no modality of the model, which takes {', '.join(modalities)}.")
    planes = _planes(name, value, len(modalities[name].bands))
    # a modality may be called what no file can be, such as a/b
    plain = name if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) else f"raster{len(list(folder.iterdir()))}"
    path = folder / f"{plain}.tif"
    if transform is not None:
        ratio = modalities[name].pixel_ratio
        # given once for all, in pixels of the grid: those of a coarser array are so many times as wide
        transform = Grid(planes.shape[1], planes.shape[2], tuple(transform[:6])).in_pixels(ratio, ratio).transform
    _write(path, planes, transform, crs)
    return str(path)


def _of_arrays(text: str, folder: Path, files: Mapping[str, str]) -> str:
    """A message about files, in which those of arrays are the arrays."""
    for name, path in files.items():
        if Path(path).parent == folder:
            text = text.replace(path, f"the array of {name}")
    return text


def _planes(name: str, value: Any, bands: int) -> np.ndarray:
    """(bands, H, W), NaN where a pixel was not measured."""
    hidden = np.ma.getmaskarray(value) if np.ma.isMaskedArray(value) else None
    array = np.asarray(value)
    if hidden is not None and hidden.any():
        if array.dtype.kind not in "uif":
            raise UserError(f"{name} is an array of {array.dtype}; give numbers.")
        # floats from here on, as whole numbers have no NaN
        array = np.where(hidden, np.nan, array)
    if array.dtype in (np.float16, np.float64):
        array = array.astype(np.float32)
    if str(array.dtype) not in _STORED:
        raise UserError(f"{name} is an array of {array.dtype}; give one of {', '.join(_STORED)}.")
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise UserError(f"{name} has the shape {array.shape}; give (H, W), ({bands}, H, W) or (H, W, {bands}).")
    # a shape that can be read both ways, such as (3, 9, 3), has its bands first
    if array.shape[0] != bands and array.shape[2] == bands:
        array = array.transpose(2, 0, 1)
    if array.shape[0] != bands:
        raise UserError(
            f"{name} has the shape {array.shape}, and the model takes {bands} band{'s' * (bands != 1)} of it; give "
            f"({bands}, H, W) or (H, W, {bands})."
        )
    return array


def _write(path: Path, planes: np.ndarray, transform: Sequence[float] | None, crs: str | None) -> None:
    import rasterio
    from affine import Affine
    from rasterio.errors import NotGeoreferencedWarning

    where: dict[str, Any] = {} if transform is None else {"transform": Affine(*transform[:6])}
    if where and crs is not None:
        where["crs"] = crs
    if planes.dtype == np.float32:
        where["nodata"] = np.nan
    count, height, width = planes.shape
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER"}
    kinds = {"photometric": "MINISBLACK", "ALPHA": "NO"}  # a fourth band of bytes is none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        size = {"count": count, "height": height, "width": width, "dtype": planes.dtype}
        with rasterio.open(path, "w", driver="GTiff", **size, **tiled, **kinds, **where) as file:
            file.write(planes)


def _read(path: Path) -> np.ndarray:
    with opened(path, FileRef(path)) as raster:
        return raster.read(1)
