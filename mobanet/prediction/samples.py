"""Windows of jobs as samples for batches, read ahead in a thread."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from mobanet.data.crops import collate
from mobanet.prediction.coverage import Coverage, Gaps, WindowCoverage, window_coverage
from mobanet.prediction.parts import PartRun
from mobanet.prediction.rows import RasterRows, fetched_rows
from mobanet.prediction.scene import Scene
from mobanet.prediction.scene_scaling import SceneScaling
from mobanet.rasters.contents import Modality, ratios_of


@dataclass(frozen=True)
class WindowRules:
    """How a scene is cut into windows and what each is predicted with; as of `MapSettings`.

    Attributes:
        step: windows begin at multiples of it, as of every modality they have whole pixels.
    """

    size: int
    stride: int
    coverage: Coverage
    gaps: Gaps
    step: int = 1


@dataclass(frozen=True)
class WindowSample:
    """One window to predict, with its row and column in the scene, and what is there.

    Attributes:
        number: of the windows of all jobs that come before it, those without anything among them.
        job: its number; samples of a job follow one another, row by row of windows.
        raw: as in a batch of the data module: `inputs`, `valid` and `offset_scale` by modality.
    """

    number: int
    job: int
    top: int
    left: int
    covered: WindowCoverage
    raw: dict[str, dict[str, torch.Tensor]]


@dataclass(frozen=True)
class WindowBatch:
    """Windows of one or more jobs.

    Attributes:
        samples: without their pixels.
        raw: as in a batch of the data module: `inputs` (B, C, H, W), `valid` (B, H, W) and `offset_scale` (B, 2, C),
            by modality.
    """

    samples: tuple[WindowSample, ...]
    raw: dict[str, dict[str, torch.Tensor]]


def read_windows(
    jobs: Sequence[PartRun],
    scenes: Sequence[Scene],
    scalings: Sequence[SceneScaling],
    modalities: Mapping[str, Modality],
    rules: WindowRules,
    fetched: Sequence[Path] | None = None,
) -> Iterator[WindowSample]:
    """The windows of all jobs that have a pixel the map is to have, in order.

    `scenes`, `scalings` and `fetched`, folders with the rows of what was fetched to measure a scene, go by its
    number.

    Raises:
        UserError: when a raster cannot be read any further.
    """
    passed, ratios = 0, ratios_of(modalities.values())
    for number, job in enumerate(jobs):
        index = job.parts[0].scene
        scene = scenes[index]
        corners = job.windows(scene.grid.height, scene.grid.width, rules.size, rules.stride, rules.step)
        left = min(column for _, column in corners)
        right = min(max(column for _, column in corners) + rules.size, scene.grid.width)
        # bit by place among the model's modalities, as scenarios are numbered (`MapPredictor`)
        given = sum(1 << place for place, name in enumerate(modalities) if name in scene.rasters)
        reference = list(modalities).index(scene.reference)
        with ExitStack() as stack:
            folder = None if fetched is None else fetched[index]
            # only the columns that windows of the job reach, of a panel that may be a part of the scene's width
            rows = {
                name: stack.enter_context(
                    RasterRows(
                        raster,
                        left // ratios[name],
                        -(-right // ratios[name]),
                        _measured(fetched_rows(raster, folder, name)),
                    )
                )
                for name, raster in scene.rasters.items()
            }
            for top, column in corners:
                # places and sizes in pixels of a modality's own, of which windows have whole ones
                at = {name: (top // ratio, column // ratio) for name, ratio in ratios.items()}
                cut = {n: rows[n].cut(*at[n], rules.size // ratios[n], rules.size // ratios[n]) for n in rows}
                valid = [_on_grid(cut[name][1], ratios[name]) if name in cut else None for name in modalities]
                covered = window_coverage(valid, given, reference, rules.coverage, rules.gaps)
                if covered is not None:
                    for name, ground in scalings[index].grounds.items():
                        values, known = cut[name]
                        cut[name] = ground.heights(values, known, *at[name]), known
                    raw = _raw(cut, scalings[index].offset_scale, modalities, rules.size)
                    yield WindowSample(passed, number, top, column, covered, raw)
                passed += 1


def _on_grid(valid: np.ndarray | None, ratio: int) -> np.ndarray | None:
    """Validity of pixels of a modality's own, for each pixel of the scene."""
    return valid if valid is None or ratio == 1 else valid.repeat(ratio, 0).repeat(ratio, 1)


def _measured(fetched: Path | None) -> Path | None:
    """The rows of what was read to be measured; nothing is kept of what is read once."""
    return fetched if fetched is not None and fetched.is_dir() else None


def _raw(
    cut: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    offset_scale: Mapping[str, np.ndarray],
    modalities: Mapping[str, Modality],
    size: int,
) -> dict[str, dict[str, torch.Tensor]]:
    inputs, valid = {}, {}
    for name, modality in modalities.items():
        values, known = cut.get(name, (None, None))
        # in pixels of its own, of which a window has whole ones
        own = size // modality.pixel_ratio
        if values is None:
            # of bytes, the least to send to a device: `valid` says that none of them counts
            values = np.zeros((own, own, len(modality.bands)), np.uint8)
        # of every window, that all fit into one batch
        inputs[name] = torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.float32, copy=False))
        known = np.ones((own, own), np.uint8) if known is None and name in cut else known
        valid[name] = (
            torch.zeros(own, own, dtype=torch.uint8) if known is None else torch.from_numpy(known.view(np.uint8))
        )
    return {
        "inputs": inputs,
        "valid": valid,
        "offset_scale": {name: torch.from_numpy(offset_scale[name]) for name in modalities},
    }


def batches_of(samples: Iterable[WindowSample], size: int) -> Iterator[WindowBatch]:
    """So many windows at a time, whichever jobs and scenes they are of; closes what they come from."""
    given = iter(samples)
    try:
        while chosen := list(islice(given, size)):
            raw = collate([_alike(sample.raw, chosen) for sample in chosen])
            # pixels live on in the batch alone, or twice as much memory would be held
            yield WindowBatch(tuple(replace(sample, raw={}) for sample in chosen), raw)
    finally:
        _close(given)


def _close(given: Iterator[Any]) -> None:
    """Close a generator where it ran: GDAL's handles belong to the thread that opened them."""
    if isinstance(given, Generator):
        given.close()


def _alike(raw: dict[str, Any], chosen: Sequence[WindowSample]) -> dict[str, Any]:
    """Scenes may have a modality in different types: then as floats."""
    inputs = {}
    for name, x in raw["inputs"].items():
        kinds = {sample.raw["inputs"][name].dtype for sample in chosen}
        inputs[name] = x if len(kinds) == 1 else x.float()
    return {**raw, "inputs": inputs}


Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], depth: int = 2) -> Generator[Item]:
    """The same items, made in a thread while the last ones are used; what goes wrong there is raised here.

    They are made, and closed, in the thread alone; `depth` of them are kept ready.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: tuple[Any, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                # not for ever: nobody may take from the queue any more
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        given = iter(items)
        try:
            for item in given:
                if not put((item, None)):
                    break
        except BaseException as error:
            put((_END, error))
        finally:
            _close(given)
        put((_END, None))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        # lets the thread go where it waits to hand something over to nobody
        stop.set()
        thread.join()
