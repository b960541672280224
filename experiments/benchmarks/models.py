"""Parameters, arithmetic, step time and memory of every network, in one table.

    python experiments/benchmarks/models.py [--batch 2] [--size 224] [--rounds 3] [--only mobanet cbc]

Three modalities: rgb and ir of three and one band, dsm of one; six classes; random weights. Arithmetic is of one
forward pass of one crop, counted by torch (a multiplication and an addition are two operations; attention kernels and
what is done element by element are not all counted). A step is forward, loss, backward and AdamW in fp32. Memory is the
peak of building the network and taking steps: of the GPU, or what its process gains on the CPU. Each network runs in a
process of its own.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable

import torch
from steps import timed, training
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.base import SegmentationModel
from mobanet.models.cbc.network import CBC
from mobanet.models.cmx.network import CMX, CMXSettings
from mobanet.models.lora import LoRASettings, add_lora
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings

STREAMS = {"optical": {"rgb": 3, "ir": 1}, "elevation": {"dsm": 1}}
BANDS = {"rgb": 3, "ir": 1, "dsm": 1}


def mobanet(backbone: str, freeze: bool = True, lora: bool = False, **network: str | bool) -> SegmentationModel:
    """MoBaNet, or a baseline on the same backbone."""
    settings = BackboneSettings(backbone, pretrained=False, freeze=freeze)
    model = MoBaNet(STREAMS, 6, settings, MoBaNetSettings(**network))
    if lora:
        add_lora(model, LoRASettings())
    return model


PLAIN = {"placement": "none", "auxiliary_heads": False}
NETWORKS: dict[str, Callable[[], SegmentationModel]] = {
    "mobanet, ViT-S/14": lambda: mobanet("vit_small_patch14_dinov2"),
    "mobanet, ViT-L/14": lambda: mobanet("vit_large_patch14_dinov2"),
    "decoder only, ViT-L/14": lambda: mobanet("vit_large_patch14_dinov2", fusion="mean", **PLAIN),
    "LoRA, ViT-L/14": lambda: mobanet("vit_large_patch14_dinov2", lora=True, **PLAIN),
    "full fine-tuning, ViT-L/14": lambda: mobanet("vit_large_patch14_dinov2", freeze=False, **PLAIN),
    "cmx, MiT-B2": lambda: CMX(STREAMS, 6, CMXSettings("mit_b2", pretrained=False)),
    "cmx, cnn": lambda: CMX(STREAMS, 6, CMXSettings("cnn")),
    "cbc": lambda: CBC(BANDS, 6),
    "cbc_slp": lambda: CBC(BANDS, 6, slp=True),
}


def peak(device: str) -> float:
    """Largest use of memory so far, in GB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    import resource

    # kB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(name: str, batch: int, size: int, rounds: int, device: str) -> str:
    """A row of the table."""
    torch.manual_seed(0)
    before = peak(device)
    model = NETWORKS[name]().to(device)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())

    def images(count: int) -> dict[str, Tensor]:
        return {key: torch.randn(count, bands, size, size, device=device) for key, bands in model.modalities.items()}

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(images(1))
    label = torch.randint(0, 6, (batch, size, size), device=device)
    step = training(model.train(), images(batch), label, half=False)
    # the first one warms up
    times = [timed(step, device) for _ in range(rounds + 1)][1:]
    return (
        f"| {name} | {trained / 1e6:.1f} | {total / 1e6:.1f} | {counter.get_total_flops() / 1e9:.0f} | "
        f"{1000 * statistics.median(times) / batch:.0f} | {peak(device) - before:.1f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), help="names, or how they begin")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(measure(options.row, options.batch, options.size, options.rounds, options.device))
        return
    print(f"{options.batch} crops of {options.size}, {options.device}, fp32\n")
    print("| network | trained, million | all, million | GFLOP forward | ms a crop, step | GB, step |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for name in (name for name in NETWORKS if any(name.startswith(only) for only in options.only)):
        words = [f"--{key}={getattr(options, key)}" for key in ("batch", "size", "rounds", "device")]
        # not stopped by one that fails: its row says so
        done = subprocess.run([sys.executable, __file__, "--row", name, *words], capture_output=True, text=True)
        print(done.stdout.strip() or f"| {name} | failed: {done.stderr.strip().splitlines()[-1]} |", flush=True)


if __name__ == "__main__":
    main()
