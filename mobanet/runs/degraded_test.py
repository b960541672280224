"""`mobanet.test --degrade`: the test's windows once more for each degradation, each sensor alone, all others there."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from mobanet.data.attached import data_of
from mobanet.data.batch import StoredBatch
from mobanet.errors import AgreedError
from mobanet.evaluation.degradations import Degradation, SensorWindows
from mobanet.evaluation.degraded_table import (
    DegradedFigure,
    DegradedResults,
    degraded_csv,
    degraded_json,
    degraded_table,
)
from mobanet.evaluation.host import Evaluated, evaluated
from mobanet.evaluation.maps import overflow_words
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.tile_matrices import TileMatrices, stacked
from mobanet.figures.canvas import write_png
from mobanet.figures.degraded import degraded_figure
from mobanet.files import write_text
from mobanet.models.inputs import ModelBatch
from mobanet.plain.progress import counted, duration
from mobanet.rasters.contents import Modality
from mobanet.stitching.windows import Stitcher, Strip


@dataclass(frozen=True)
class Variant:
    """One sensor degraded in one way."""

    degradation: Degradation
    modality: Modality
    severity: float

    @property
    def name(self) -> str:
        """In messages."""
        return f"{self.modality.name} {self.degradation.name} {self.severity:g}"


def variants_of(degradation: Degradation, modalities: Sequence[Modality]) -> list[Variant]:
    """Every sensor that a degradation applies to, at every severity."""
    return [
        Variant(degradation, modality, severity)
        for modality in modalities
        if degradation.applies_to(modality)
        for severity in degradation.severities
    ]


class DegradedTest(Callback):
    """Tests the full scenario with one sensor degraded, when the test itself has ended and its files are written.

    Windows are read once for each degradation, and predicted once for each sensor and severity of it; in memory are as
    many strips of logits as that, which is about as many as a test of all scenarios has.

    Args:
        folder: of the test's results.
        degradations: in the order of tables.
        seed: of their draws.
    """

    def __init__(self, folder: str | Path, degradations: Sequence[Degradation], seed: int) -> None:
        self.folder = Path(folder)
        self.degradations = list(degradations)
        self.seed = seed

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how much there is to do."""
        modalities = evaluated(pl_module).data.modalities
        passes = sum(len(variants_of(degradation, modalities)) for degradation in self.degradations)
        names = ", ".join(degradation.name for degradation in self.degradations)
        rank_zero_info(f"degrading   {passes} passes behind the test, each as long as one scenario takes: {names}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run all passes, and leave what they found beside the test's other results, and with its figures."""
        module = evaluated(pl_module)
        # on every rank, since sums over ranks wait for all of them
        results = self._results(trainer, module, list(self._measured(trainer, module)))
        # from where those who record a test take its figures
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in results.to_log().items()})
        if not trainer.is_global_zero:
            return
        write_text(self.folder / "test_degraded.csv", degraded_csv(results))
        write_text(self.folder / "test_degraded.json", degraded_json(results))
        write_png(degraded_figure(results), self.folder / "test_degraded.png", dpi=200)
        rank_zero_info(degraded_table(results, shutil.get_terminal_size((120, 24)).columns))
        rank_zero_info(f"figures of degraded sensors are in {self.folder / 'test_degraded.csv'}")

    def _measured(self, trainer: Trainer, module: Evaluated) -> Iterator[DegradedFigure]:
        begun = time.monotonic()
        for number, degradation in enumerate(self.degradations, 1):
            variants = variants_of(degradation, module.data.modalities)
            for variant, matrix in zip(variants, self._pass(trainer, module, degradation, variants), strict=True):
                figures = scores(matrix, module.data.classes)
                yield DegradedFigure(variant.modality.name, degradation, variant.severity, figures, matrix)
            elapsed = time.monotonic() - begun
            # as if all took alike, though some are for one kind of sensor only
            left = elapsed / number * (len(self.degradations) - number)
            rank_zero_info(
                f"{counted('degradation', number, len(self.degradations))} ({degradation.name}): done, "
                f"{duration(left)} left"
            )

    def _pass(
        self, trainer: Trainer, module: Evaluated, degradation: Degradation, variants: Sequence[Variant]
    ) -> list[Tensor]:
        """The confusion matrix (K, K) of each variant, summed over all ranks.

        Raises:
            AgreedError: when logits are not finite.
        """
        counts = [StitchedMatrix(len(module.data.classes)) for _ in variants]
        # one for each degradation, as each looks as far around a window as it needs
        loader = data_of(trainer).wide_test_dataloader(degradation.margin)
        windows = 0
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(trainer.precision_plugin.test_step_context())
            # no more than the test itself has seen (--trainer.limit_test_batches)
            for stored in islice(loader, int(trainer.num_test_batches[0])):
                batch: ModelBatch = trainer.strategy.batch_to_device(stored)
                windows += sum(bool(tile) for tile in batch.tiles)
                for variant, count in zip(variants, counts, strict=True):
                    changed = degraded_batch(batch, stored, module, variant, degradation.margin, self.seed)
                    (logits,) = module.predict_scenarios(changed, module.scenarios[-1:])
                    count.add(changed, logits)
        matrices = [count.finish() for count in counts]
        own = torch.tensor([windows, *(int(count.overflown) for count in counts)], device=module.device)
        total, *overflown = trainer.strategy.reduce(own, reduce_op="sum").tolist()
        unusable = [variant.name for variant, count in zip(variants, overflown, strict=True) if count]
        if unusable:
            half = str(trainer.precision).startswith("16")
            remedy = "set --trainer.precision bf16-mixed or 32-true" if half else f"leave {degradation.name} out"
            raise AgreedError(f"{overflow_words('test', unusable, max(overflown), total)}; {remedy}.")
        return matrices

    def _results(self, trainer: Trainer, module: Evaluated, figures: Sequence[DegradedFigure]) -> DegradedResults:
        full = module.scenarios[-1].name
        return DegradedResults(
            figures=figures,
            full=full,
            whole=module.evaluation.found["test"].matrices.get(full),
            classes=module.data.classes,
            protocol={
                **data_of(trainer).protocol("test"),
                "degradations": f"one sensor at a time, all others as they were; seed {self.seed}",
            },
        )


def degraded_batch(
    batch: ModelBatch, stored: StoredBatch, module: Evaluated, variant: Variant, margin: int, seed: int
) -> ModelBatch:
    """A batch without its margin, one sensor of it degraded.

    A window that the sensor has nothing left in is predicted without it, as anywhere else.

    Args:
        batch: with a margin, on the device.
        stored: the same as its loader gave it, for offset_scale and marks.
        module: that is to predict it.
        variant: what to do to which sensor.
        margin: in pixels of each modality's own.
        seed: of all draws.
    """
    name = variant.modality.name
    own = {name: _inner(x, margin) for name, x in batch.inputs.items()}
    valid = {name: _inner(x, margin) for name, x in batch.valid.items()}
    windows = sensor_windows(batch, stored, module, variant.modality, margin, seed)
    values, there = variant.degradation.apply(windows, variant.severity)
    column = list(own).index(name)
    available = batch.available.clone()
    # a sensor of which nothing is left is a missing one
    available[:, column] &= there.flatten(1).any(1)
    valid = {**valid, name: there.to(torch.uint8)}
    # known: None, as the CPU's copy of availability is out of date now
    return replace(batch, inputs={**own, name: values}, valid=valid, available=available, known=None)


def sensor_windows(
    batch: ModelBatch, stored: StoredBatch, module: Evaluated, modality: Modality, margin: int, seed: int
) -> SensorWindows:
    """One sensor of a batch, as degradations take it; arguments as in `degraded_batch`."""
    values, ratio = batch.inputs[modality.name], modality.pixel_ratio
    return SensorWindows(
        modality=modality,
        scaling=module.data.scaling[modality.name],
        standardization=module.network.standardization.get(modality.name),
        values=values,
        valid=batch.valid[modality.name] != 0,
        margin=margin,
        tiles=batch.tiles,
        places=[(top // ratio, left // ratio) for top, left, _, _ in batch.windows.tolist()],
        # rounded up: a coarser pixel that the tile's edge cuts is there
        extents=[(-(-height // ratio), -(-width // ratio)) for height, width in batch.extents.tolist()],
        offset_scale=stored["offset_scale"][modality.name].to(values.device),
        marks=stored["marks"][modality.name].to(values.device),
        seed=seed,
    )


def _inner(x: Tensor, margin: int) -> Tensor:
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]


class StitchedMatrix:
    """A confusion matrix of windows that overlap, counted as the test counts them.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self.matrices = TileMatrices(1, num_classes)
        self.stitcher = Stitcher(num_classes)
        self.overflown: int | Tensor = 0
        """Windows with logits that are NaN or infinite; stays on the device until it is asked for."""

    def add(self, batch: ModelBatch, logits: Tensor) -> None:
        """Take the logits (B, K, H, W) of a batch."""
        counted = torch.tensor([bool(tile) for tile in batch.tiles], device=logits.device)
        self.overflown += (counted & ~torch.isfinite(logits).flatten(1).all(1)).sum()
        windows, extents = batch.windows.tolist(), batch.extents.tolist()
        for number, tile in enumerate(batch.tiles):
            if tile:
                place, extent = tuple(windows[number]), tuple(extents[number])
                self._count(self.stitcher.add(tile, extent, place, logits[number], batch.label[number]))

    def finish(self) -> Tensor:
        """The matrix (K, K), summed over all ranks."""
        self._count(self.stitcher.finish())
        return stacked(self.matrices.gathered(), self.matrices.shape)[:, 0].sum(0)

    def _count(self, strips: Sequence[Strip]) -> None:
        for strip in strips:
            self.matrices.add(strip.tile, 0, strip.prediction, strip.label)
