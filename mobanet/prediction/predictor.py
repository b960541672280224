"""From windows to finished parts of maps: the network, the mosaics, and what is saved."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobanet.models.base import SegmentationModel
from mobanet.models.inputs import scaled_inputs
from mobanet.prediction.parts import MapPart, PartRun
from mobanet.prediction.samples import WindowBatch
from mobanet.prediction.symmetries import mean_over_turns
from mobanet.scenarios.scenario import Scenario
from mobanet.stitching.blending import NOTHING, Blend, MapRows, Mosaic, Probabilities, window_weights


@dataclass
class PartMaps:
    """The pixels of one part.

    Attributes:
        classes: (h, w) uint8, 255 where the map has none.
        scenarios: (h, w) uint8 numbers of scenarios, alike.
        probabilities: (K, h, w) float32, NaN alike, or uint8 in steps of 1/254, 255 alike; None unless asked for.
        confidence: (h, w), the highest of them, alike; None unless asked for.
    """

    classes: np.ndarray
    scenarios: np.ndarray
    probabilities: np.ndarray | None
    confidence: np.ndarray | None = None

    @classmethod
    def empty(
        cls, part: MapPart, num_classes: int, probabilities: Probabilities, confidence: Probabilities = "none"
    ) -> "PartMaps":
        """All nothing."""
        shape = (part.bottom - part.top, part.right - part.left)
        shares, highest = _nothing(probabilities, (num_classes, *shape)), _nothing(confidence, shape)
        return cls(np.full(shape, NOTHING, np.uint8), np.full(shape, NOTHING, np.uint8), shares, highest)

    def put(self, rows: MapRows, here: slice, there: slice) -> None:
        """Take rows `here` of finished ones as rows `there` of the part."""
        self.classes[there] = rows.classes[here].numpy()
        self.scenarios[there] = rows.scenarios[here].numpy()
        # rows come of a mosaic that was asked for the same
        if self.probabilities is not None:
            assert rows.probabilities is not None
            self.probabilities[:, there] = rows.probabilities[:, here].numpy()
        if self.confidence is not None:
            assert rows.confidence is not None
            self.confidence[there] = rows.confidence[here].numpy()


def _nothing(kind: Probabilities, shape: tuple[int, ...]) -> np.ndarray | None:
    return None if kind == "none" else np.full(shape, np.nan if kind == "float32" else NOTHING, kind)


@dataclass
class _Running:
    """A job under way: its mosaic, and the part that rows go to."""

    number: int
    job: PartRun
    mosaic: Mosaic
    part: int = 0
    maps: PartMaps | None = None


class MapPredictor:
    """Predicts the windows of jobs and gives out their parts.

    Args:
        network: in eval mode, on the device.
        scenarios: all of the data's.
        size: of a window in pixels.
        blend: how overlapping windows are added up.
        turns: whether to take the mean over the eight symmetries of the square.
        probabilities: whether to give them out, and in which type.
        device: where the network is.
        precision: gives the context of a forward pass, such as autocast.
        temperatures: by name of the scenario, by which probabilities are calibrated, 1 where none is given; none at
            all leave them as they are.
        confidence: whether to give out the highest probability, and in which type.
    """

    def __init__(
        self,
        network: SegmentationModel,
        scenarios: Sequence[Scenario],
        size: int,
        blend: Blend,
        turns: bool,
        probabilities: Probabilities,
        device: torch.device,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
        temperatures: Mapping[str, float] | None = None,
        confidence: Probabilities = "none",
    ) -> None:
        self.network, self.size, self.turns = network, size, turns
        self.probabilities, self.confidence = probabilities, confidence
        self.device, self.precision = device, precision
        self.weights = window_weights(blend, size)
        masks = torch.tensor([scenario.available for scenario in scenarios])
        # as `window_coverage` has them: a bit a modality, the first one lowest
        bits = (masks << torch.arange(masks.shape[1])).sum(1)
        self.number_of = torch.full((1 << masks.shape[1],), NOTHING, dtype=torch.uint8)  # of a scenario, by its bits
        self.number_of[bits] = torch.arange(len(scenarios), dtype=torch.uint8)
        self.temperatures: Tensor | None = None  # by the number of a scenario
        if temperatures:
            # up to 255, the number of pixels that no scenario was predicted for
            self.temperatures = torch.ones(NOTHING + 1)
            known = [temperatures.get(scenario.name, 1.0) for scenario in scenarios]
            self.temperatures[: len(known)] = torch.tensor(known)

    # torch enters the mode anew at each step of a generator, and so leaves alone whoever takes the parts
    @torch.inference_mode()
    def predict(self, batches: Iterable[WindowBatch], jobs: Sequence[PartRun]) -> Iterator[tuple[MapPart, PartMaps]]:
        """Every part of the jobs, as soon as it is finished, from the windows of all, in order."""
        running: _Running | None = None
        following = 0
        for batch in batches:
            logits, numbers, wanted = self._segment(batch)
            for k, sample in enumerate(batch.samples):
                while running is None or running.number < sample.job:
                    if running is not None:
                        yield from self._finish(running)
                    running = self._begin(following, jobs[following])
                    following += 1
                mask = None if sample.covered.wanted is None else wanted[k]
                rows = running.mosaic.add(sample.top, sample.left, logits[k], numbers[k], mask)
                if rows is not None:
                    yield from self._take(running, rows)
        if running is not None:
            yield from self._finish(running)
        for number in range(following, len(jobs)):  # of which no window has anything
            yield from self._finish(self._begin(number, jobs[number]))

    def _begin(self, number: int, job: PartRun) -> _Running:
        left, width = job.parts[0].left, job.parts[0].right - job.parts[0].left
        how = self.weights, self.probabilities, self.device, self.temperatures, self.confidence
        return _Running(number, job, Mosaic(self.network.num_classes, self.size, left, width, *how))

    def _take(self, running: _Running, rows: MapRows) -> Iterator[tuple[MapPart, PartMaps]]:
        """Put rows into the job's parts; those that they finish come back."""
        bottom = rows.top + rows.classes.shape[0]
        while running.part < len(running.job.parts):
            part = running.job.parts[running.part]
            maps = self._maps(running, part)
            first, last = max(rows.top, part.top), min(bottom, part.bottom)
            if first < last:
                here, there = slice(first - rows.top, last - rows.top), slice(first - part.top, last - part.top)
                maps.put(rows, here, there)
            if bottom < part.bottom:
                return
            yield self._done(running, part, maps)

    def _finish(self, running: _Running) -> Iterator[tuple[MapPart, PartMaps]]:
        rows = running.mosaic.finish()
        if rows is not None:
            yield from self._take(running, rows)
        while running.part < len(running.job.parts):
            part = running.job.parts[running.part]
            yield self._done(running, part, self._maps(running, part))

    def _maps(self, running: _Running, part: MapPart) -> PartMaps:
        if running.maps is None:
            running.maps = PartMaps.empty(part, self.network.num_classes, self.probabilities, self.confidence)
        return running.maps

    def _done(self, running: _Running, part: MapPart, maps: PartMaps) -> tuple[MapPart, PartMaps]:
        running.maps = None
        running.part += 1
        return part, maps

    def _segment(self, batch: WindowBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, K, H, W), the number of each pixel's scenario and whether it is wanted, (B, H, W) each."""
        raw = {kind: {name: self._moved(x) for name, x in of.items()} for kind, of in batch.raw.items()}
        inputs = scaled_inputs(raw, self.network.standardization)
        covered = [sample.covered for sample in batch.samples]
        shape = (len(covered), self.size, self.size)
        logits = self._logits(inputs, [c.patterns[0] for c in covered])
        places = torch.zeros(shape, dtype=torch.int16)
        for k, each in enumerate(covered):
            if each.pixels is not None:
                places[k] = torch.from_numpy(each.pixels)
        places = self._moved(places)
        # a clone: all pixels of an expanded tensor are one number, which cannot be written to by pixel
        numbers = self._numbers([c.patterns[0] for c in covered])[:, None, None].expand(shape).clone()
        # the second scenario of all windows that have one, then the third: each time they go through the network whole
        for place in range(1, max(len(c.patterns) for c in covered)):
            mixed = [k for k, c in enumerate(covered) if len(c.patterns) > place]
            patterns = [covered[k].patterns[place] for k in mixed]
            other = self._logits({name: x[mixed] for name, x in inputs.items()}, patterns)
            chosen = places[mixed] == place
            # (B, 1, H, W) against (B, K, H, W): each pixel takes all classes of its own scenario's map
            logits[mixed] = torch.where(chosen[:, None], other, logits[mixed])
            numbers[mixed] = torch.where(chosen, self._numbers(patterns)[:, None, None], numbers[mixed])
        wanted = torch.ones(shape, dtype=torch.bool)
        for k, each in enumerate(covered):
            if each.wanted is not None:
                wanted[k] = torch.from_numpy(each.wanted)
        return logits, numbers, self._moved(wanted)

    def _logits(self, inputs: dict[str, Tensor], patterns: Sequence[int]) -> Tensor:
        bits = torch.arange(len(inputs))
        available = self._moved(torch.tensor(patterns)[:, None] >> bits & 1 == 1)  # (B, M)

        def segment(given: dict[str, Tensor]) -> Tensor:
            with self.precision():
                (output,) = self.network.forward_each(given, [available])
            # half precisions are too coarse to add many windows up in
            return output.logits.float()

        return mean_over_turns(segment, inputs) if self.turns else segment(inputs)

    def _numbers(self, patterns: Sequence[int]) -> Tensor:
        return self._moved(self.number_of[list(patterns)])

    def _moved(self, x: Tensor) -> Tensor:
        return x.to(self.device, non_blocking=True)
