"""What boundaries and objects cost a test: its time with them over its time without, and their memory.

    python experiments/benchmarks/details.py [--backbone NAME] [--batch 4] [--size 252] [--rounds 3] [--scenarios 7]
    python experiments/benchmarks/details.py --width 30000

A tile four windows wide and high is evaluated at a stride of half a window: the network runs, on random pixels, and
what is counted are drawn maps of six classes, of which a network with random weights makes none. With `--width`, maps
that wide and of several heights are counted, nothing else, and the peak of what numpy has allocated for it is told.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from mobanet.data.reading import grid
from mobanet.evaluation.boundary import BoundaryRows
from mobanet.evaluation.details import DetailSettings, Measures
from mobanet.evaluation.distances import Distance
from mobanet.evaluation.maps import ScenarioEvaluation
from mobanet.evaluation.objects import ObjectRows
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.inputs import ModelBatch
from mobanet.models.mobanet.network import MoBaNet
from mobanet.rasters.contents import Classes
from mobanet.scenarios.scenario import scenarios_of

NAMES = ("impervious", "building", "low vegetation", "tree", "car", "clutter")
CLASSES = Classes(NAMES, tuple((k, k, k) for k in range(6)), NAMES[:-1])
BANDS = {"rgb": 3, "ir": 1, "dsm": 1}
# rows that a stride finishes: half a window of 252
STRIP = 126


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_small_patch14_dinov2.lvd142m")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=252)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenarios", type=int, default=7, help="how many of the seven")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--width", type=int, default=0, help="of maps whose memory is measured; 0 measures time")
    given = parser.parse_args()
    if given.width:
        memory(given.width)
    else:
        ratios(given)


def drawn(height: int, width: int, seed: int, cell: int = 48, noise: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """A truth in patches some pixels wide, and a map that is right in most of it, (height, width) uint8."""
    random = np.random.default_rng(seed)

    def field(grain: int) -> np.ndarray:
        coarse = random.random((max(height // grain, 2), max(width // grain, 2))).astype(np.float32)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    fields = [field(cell) for _ in NAMES]
    mapped = [each + noise * field(cell // 4) for each in fields]
    return np.argmax(fields, 0).astype(np.uint8), np.argmax(mapped, 0).astype(np.uint8)


def batches(given: argparse.Namespace) -> Iterator[tuple[ModelBatch, Tensor]]:
    """Windows of a tile, and the logits of its drawn map."""
    side, size = 4 * given.size, given.size
    truth, mapped = map(torch.from_numpy, drawn(side, side, 0))
    places = list(grid(side, side, size, size // 2))
    for first in range(0, len(places), given.batch):
        own = places[first : first + given.batch]
        inputs = {name: torch.randn(len(own), bands, size, size, device=given.device) for name, bands in BANDS.items()}
        label = torch.stack([truth[t : t + size, x : x + size] for t, x in own]).long().to(given.device)
        classes = torch.stack([mapped[t : t + size, x : x + size] for t, x in own]).long()
        logits = torch.nn.functional.one_hot(classes, len(NAMES)).permute(0, 3, 1, 2).float().to(given.device)
        available = torch.ones(len(own), len(BANDS), dtype=torch.bool, device=given.device)
        windows = torch.tensor([[t, x, size, size] for t, x in own])
        yield ModelBatch(inputs, available, label, ["a"] * len(own), torch.full((len(own), 2), side), windows), logits


def ratios(given: argparse.Namespace) -> None:
    """Print how much longer a test takes."""
    torch.manual_seed(0)
    backbone = BackboneSettings(given.backbone, pretrained=False, freeze=True)
    model = MoBaNet({"optical": {"rgb": 3, "ir": 1}, "elevation": {"dsm": 1}}, len(NAMES), backbone)
    model = model.to(given.device).eval()
    scenarios = scenarios_of(list(BANDS))[-given.scenarios :]
    prepared = list(batches(given))
    print(f"{given.backbone}, windows of {given.size}, {given.device}, {len(scenarios)} scenarios")
    kinds = {
        "neither": None,
        "--boundary 3": measures(3),
        "--boundary 3,10": measures(3, 10),
        "--boundary 30": measures(30),
        "--objects building": measures(objects=("building",)),
        "--boundary 3,10 --objects building": measures(3, 10, objects=("building",)),
    }
    evaluations = {name: ScenarioEvaluation(scenarios, len(NAMES)).to(given.device) for name in kinds}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for name, evaluation in evaluations.items():
        evaluation.measure(kinds[name])
    for turn in range(given.rounds + 1):
        network = clocked(given.device, lambda: predict(model, prepared, scenarios))
        for name, evaluation in evaluations.items():
            counting = clocked(given.device, lambda e=evaluation: tested(e, prepared))
            if turn:  # the first warms up
                seconds[name].append(network + counting)
    plain = np.median(seconds["neither"])
    print(f"a test of a tile without them: {plain:.2f} s")
    pixels = (4 * given.size) ** 2 * len(scenarios)
    for name in [*kinds][1:]:
        taken = np.median(seconds[name])
        more = 1e9 * (taken - plain) / pixels
        print(f"{name}: {taken / plain:.3f} times as long, {more:.0f} ns more for a pixel in a scenario")


def measures(*pixels: int, objects: tuple[str, ...] = ()) -> Measures:
    """Of the tile `a`."""
    settings = DetailSettings(tuple(Distance(each, "px") for each in pixels), objects)
    return Measures(settings, CLASSES, {"a": pixels})


def clocked(device: str, step: Callable[[], None]) -> float:
    """Seconds of one call; on the CPU those of the processor, which other programs do not change."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    begin = clock()
    step()
    if device == "cuda":
        # calls return before the GPU has done what they ask for
        torch.cuda.synchronize()
    return clock() - begin


@torch.no_grad()
def predict(model: MoBaNet, prepared: list[tuple[ModelBatch, Tensor]], scenarios: list) -> None:
    """Run the network as a test does."""
    for batch, _ in prepared:
        patterns = [batch.available & batch.available.new_tensor(each.available) for each in scenarios]
        for output in model.forward_each(batch.inputs, patterns):
            output.logits.float()


def tested(evaluation: ScenarioEvaluation, prepared: list[tuple[ModelBatch, Tensor]]) -> None:
    """Count what the network is taken to have said, as a test does."""
    evaluation.reset()
    for batch, logits in prepared:
        evaluation.note(batch)
        for k in range(len(evaluation.scenarios)):
            evaluation.add(k, batch, logits)
    evaluation.finish()


def memory(width: int) -> None:
    """Print the peak of what is allocated to count maps of several heights."""
    strips = [drawn(STRIP, width, seed) for seed in range(3)]
    for distances in ([3], [3, 10], [30]):
        for height in (2000, 8000):
            peak = allocated(lambda h=height, d=distances: count_boundaries(strips, h, d))
            print(f"boundaries at {distances}, {height} x {width} pixels: {peak:.0f} MB", flush=True)
    for height in (2000, 8000):
        peak = allocated(lambda h=height: count_objects(strips, h))
        print(f"objects, {height} x {width} pixels: {peak:.0f} MB", flush=True)
    print(f"a strip's map and truth: {2 * strips[0][0].nbytes / 2**20:.0f} MB")


def allocated(step: Callable[[], None]) -> float:
    """The peak of what a call allocates, in MB."""
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20


def count_boundaries(strips: list[tuple[np.ndarray, np.ndarray]], height: int, distances: list[int]) -> None:
    """Count the boundaries of a map, strip by strip."""
    rows = BoundaryRows(len(NAMES), distances)
    for number in range(height // STRIP):
        truth, mapped = strips[number % len(strips)]
        rows.add(mapped, truth)
    rows.finish()


def count_objects(strips: list[tuple[np.ndarray, np.ndarray]], height: int) -> None:
    """Count the buildings of a map, strip by strip."""
    rows = ObjectRows()
    for number in range(height // STRIP):
        truth, mapped = strips[number % len(strips)]
        rows.add((mapped == 1).view(np.uint8), (truth == 1).view(np.uint8))
    rows.finish()


if __name__ == "__main__":
    main()
