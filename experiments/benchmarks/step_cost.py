"""What a training step costs besides its arithmetic, and how far options change it: kernels, waits, memory, time.

    python experiments/benchmarks/step_cost.py [--backbone NAME] [--batch 4] [--size 252] [--rounds 5] [--device cuda]

Prints the hardware's name; of one step each way the operators (on a GPU the kernels) and the waits for the device that
torch's profiler counts; times as ratios of medians over rounds in which the ways take turns; peak memory, on a CPU of
processes of their own (`peaks.py`), on a GPU as torch allocates it, by batch; and which share of the arithmetic that a
large matrix product reaches on the same machine the step reaches (MFU). `bare backbone` is timm's own forward on as
many images, and backward to its inputs. Weights are random: they do not change the time.

On a CPU what is read of a tensor that would be there beside a GPU, too, counts as a wait: `own parts` look up in the
draws which samples go where. `tests/test_no_waiting.py` tells the two apart.
"""

import argparse
import platform
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from peaks import measured
from steps import parser, timed, training
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from training_step import bare

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings

STREAMS = {"optical": {"rgb": 3}, "elevation": {"dsm": 1}}
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
WAITS_OF_CUDA = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
DATA_SHEET = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Multiply-adds a second in bfloat16, times two, dense, as NVIDIA's data sheets have them."""

Step = Callable[[], None]


def built(options: argparse.Namespace, **changes: bool) -> tuple[MoBaNet, Step]:
    """A network and a step of it.

    Args:
        options: of the command.
        changes: `recomputed`, `fused`, `own`, `channels_last`.
    """
    torch.manual_seed(0)
    backbone = BackboneSettings(options.backbone, pretrained=False, freeze=True)
    settings = MoBaNetSettings(incomplete="own" if changes.get("own") else "shared")
    model = MoBaNet(STREAMS, 6, backbone, settings).to(options.device).train()
    model.backbone.recomputes = changes.get("recomputed", False)
    if changes.get("channels_last"):
        for part in (model.decoder, model.heads):
            part.to(memory_format=torch.channels_last)
    shape = (options.batch, 3, options.size, options.size)
    inputs = {"rgb": torch.randn(shape).to(options.device), "dsm": torch.randn(shape)[:, :1].to(options.device)}
    label = torch.randint(0, 6, (options.batch, options.size, options.size)).to(options.device)
    available = torch.ones(options.batch, 2, dtype=torch.bool)  # on the CPU, where draws are made
    available[: options.batch // 2, 1] = False
    if not model.parts_samples:
        available = available.to(options.device)
    return model, training(model, inputs, label, options.half, changes.get("fused"), available)


def counted(step: Step) -> tuple[int, int, int]:
    """Operators, kernels of a GPU, and waits for the device in one step."""
    step()
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * torch.cuda.is_available()]) as record:
        step()
    events = record.events()
    names = Counter(event.name for event in events)
    on_gpu = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events)
    waits = WAITS_OF_CUDA if torch.cuda.is_available() else WAITS
    waited = sum(event.name in waits and not _optimizes(event) for event in events)
    return sum(name.startswith("aten::") for name in names.elements()), on_gpu, waited


def _optimizes(event: Any) -> bool:
    """Whether an event is one of AdamW's step, which reads its own counters: they are on the CPU on every device."""
    while event is not None and not event.name.startswith("Optimizer.step"):
        event = event.cpu_parent
    return event is not None


def product_flops(device: str, half: bool) -> float:
    """Operations a second of a large matrix product."""
    # large enough to keep the device busy, and small enough to take seconds
    side = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16 if half else None) for _ in range(2))
    seconds = [timed(lambda: a @ b, device) for _ in range(6)][1:]
    return 2 * side**3 / statistics.median(seconds)


def hardware(device: str) -> str:
    """Its name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {torch.get_num_threads()} threads"


def peaks(options: argparse.Namespace) -> Iterator[str]:
    """Lines on peak memory: of each way on a CPU, by batch on a GPU."""
    if options.device != "cuda":
        given = [f"--{name}={getattr(options, name)}" for name in ("backbone", "batch", "size", "device")]
        given += ["--half"] * options.half
        found = {way: measured([__file__, *given, "--one", way])[0] for way in ("nothing", "kept", "recomputed")}
        grown = {way: found[way] - found["nothing"] for way in ("kept", "recomputed")}
        yield f"peak of a process: {', '.join(f'{way} {peak:.0f} MB' for way, peak in found.items())}"
        yield (
            f"recomputed over kept: {found['recomputed'] / found['kept']:.2f}; of what the step adds to a process with "
            f"the network and nothing else: {grown['recomputed'] / grown['kept']:.2f}"
        )
        return
    for batch in (options.batch, 2 * options.batch, 4 * options.batch):
        line = []
        for way in ("kept", "recomputed"):
            torch.cuda.empty_cache()
            _, step = built(argparse.Namespace(**{**vars(options), "batch": batch}), recomputed=way == "recomputed")
            torch.cuda.reset_peak_memory_stats()
            step()
            line.append(f"{way} {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
            # before the next one is built, or both would count
            del step
        yield f"batch {batch}: {', '.join(line)}"


def main() -> None:
    """Measure and print."""
    words = parser(__doc__.splitlines()[0], rounds=5)
    words.add_argument("--half", action="store_true", help="bfloat16, mixed")
    words.add_argument("--one", choices=("nothing", "kept", "recomputed"), help="one step this way, for its memory")
    options = words.parse_args()
    if options.one:
        _, step = built(options, recomputed=options.one == "recomputed")
        if options.one != "nothing":
            step()
        return
    ways: dict[str, dict[str, bool]] = {
        "plain": {},
        "fused": {"fused": True},
        "recomputed": {"recomputed": True},
        "channels last": {"channels_last": True},
        "own parts": {"own": True},
    }
    precision = "bf16" if options.half else "fp32"
    print(f"{hardware(options.device)}; torch {torch.__version__}; {options.backbone}, ", end="")
    print(f"{options.batch} crops of {options.size}, {precision}")
    steps = {way: built(options, **changes)[1] for way, changes in ways.items()}
    for way, step in steps.items():
        operators, kernels, waits = counted(step)
        print(f"{way:<14} {operators:6d} operators, {kernels:6d} kernels of a GPU, {waits:3d} waits")
    model, _ = built(options)
    images = torch.randn(2 * options.batch, 3, options.size, options.size, device=options.device, requires_grad=True)
    steps["bare backbone"] = bare(model, images, options.half)
    times: dict[str, list[float]] = {way: [] for way in steps}
    for turn in range(options.rounds + 1):
        for way, step in steps.items():
            seconds = timed(step, options.device)
            if turn:
                times[way].append(seconds)
    for way in steps:
        ratio = statistics.median(x / y for x, y in zip(times[way], times["plain"], strict=True))
        print(f"{way:<14} {statistics.median(times[way]) * 1000:8.1f} ms, {ratio:.2f} of plain")
    over = statistics.median(x / y for x, y in zip(times["plain"], times["bare backbone"], strict=True))
    with FlopCounterMode(display=False) as flops:
        steps["plain"]()
    speed = flops.get_total_flops() / statistics.median(times["plain"])
    print(f"plain over the bare frozen backbone: {over:.2f}")
    print(f"MFU, of a large matrix product here: {speed / product_flops(options.device, options.half):.2f}")
    for name, most in DATA_SHEET.items():
        if options.half and name in hardware(options.device):
            print(f"MFU, of the data sheet of {name}: {speed / most:.2f}")
    del steps, model
    for line in peaks(options):
        print(line)


if __name__ == "__main__":
    main()
