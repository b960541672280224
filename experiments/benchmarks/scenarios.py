"""What an evaluation of all scenarios costs over one of the full scenario alone, by how many modalities there are.

    python experiments/benchmarks/scenarios.py [--backbone NAME] [--batch 1] [--size 224] [--rounds 3] [--streams 3 5]

Each modality has a stream of its own, rgb of three bands and the others of one, in MoBaNet with random weights, which
do not change the time. The full scenario and all scenarios (`forward_each`, as a test does it) take turns, in fp32; so
do latents without the decoder, which a refresh of the strategy latent is made of, in all scenarios and in as many as
it takes of each batch (`--scenarios.num_scenarios`), evenly spread. Ratios are medians over rounds.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from steps import timed

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNet, MoBaNetSettings
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scenario import scenario_masks, scenarios_of

NAMES = ("rgb", "ir", "dsm", "s1", "s2", "sar")
KINDS = {
    "absent zero": {},
    "absent left_out": {"absent": "left_out"},
    "absent left_out, own parts": {"absent": "left_out", "incomplete": "own"},
    "absent zero, no CPIA": {"placement": "none"},
    "absent left_out, no CPIA": {"absent": "left_out", "placement": "none"},
}


def consumed(results: Callable) -> Callable[[], None]:
    """A function that takes all results, one at a time."""

    def take() -> None:
        with torch.inference_mode():
            for _ in results():
                pass

    return take


def measure(count: int, kind: str, options: argparse.Namespace) -> str:
    """A row of the table."""
    torch.manual_seed(0)
    streams = {name: {name: 3 if name == "rgb" else 1} for name in NAMES[:count]}
    backbone = BackboneSettings(options.backbone, pretrained=False, freeze=True)
    model = MoBaNet(streams, 6, backbone, MoBaNetSettings(**KINDS[kind])).to(options.device).eval()
    inputs = {
        name: torch.randn(options.batch, bands, options.size, options.size, device=options.device)
        for name, bands in model.modalities.items()
    }
    masks = scenario_masks(scenarios_of(NAMES[:count])).to(options.device)
    # (B, M) each
    patterns = [mask.expand(options.batch, -1) for mask in masks]
    turn = min(ScenarioSettings().num_scenarios, len(patterns) - 1)
    some = [*(patterns[k * (len(patterns) - 1) // turn] for k in range(turn)), patterns[-1]]
    steps = [
        consumed(lambda: model.forward_each(inputs, patterns[-1:])),
        consumed(lambda: model.forward_each(inputs, patterns)),
        consumed(lambda: model.latents(inputs, patterns)),
        consumed(lambda: model.latents(inputs, some)),
    ]
    times = [[timed(step, options.device) for step in steps] for _ in range(options.rounds + 1)][1:]  # one warms up
    one = 1000 * statistics.median(row[0] for row in times) / options.batch
    ratios = [statistics.median(row[k] / row[0] for row in times) for k in (1, 2, 3)]
    shown = " | ".join(f"{ratio:.1f}" for ratio in ratios)
    return f"| {count} | {len(patterns)} | {kind} | {one:.0f} | {shown} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vit_small_patch14_dinov2")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", nargs="+", type=int, default=[3, 5], choices=range(2, len(NAMES) + 1))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    print(f"{options.backbone}, {options.batch} crops of {options.size}, {options.device}, fp32\n")
    print("| modalities | scenarios | MoBaNet | full, ms a crop | all, over full | latents of all | of a refresh |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for count in options.streams:
        for kind in KINDS:
            print(measure(count, kind, options), flush=True)


if __name__ == "__main__":
    main()
