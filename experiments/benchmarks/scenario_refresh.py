"""What recomputing the scenario probabilities costs, as a share of an epoch's training steps.

    python experiments/benchmarks/scenario_refresh.py [--backbone NAME] [--batch 4] [--size 252] [--rounds 5]

Training steps (forward, loss with auxiliary losses, backward, AdamW) and refreshes (the latent of every scenario of
rgb, ir and dsm) take turns. Both are brought to one sample, and from there to the defaults: 192 windows against 1000
steps of 24 crops. Weights and pixels are random: they do not change the time.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from steps import parsed, timed, training
from torch import Tensor

from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.inputs import ModelBatch
from mobanet.models.mobanet.network import MoBaNet
from mobanet.scenarios.refresh import measure_distortion
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.scenarios.scenario import scenario_masks, scenarios_of

STEPS, CROPS = 1000, 24


class Pixels:
    """Windows of random pixels on the device."""

    def __init__(self, inputs: dict[str, Tensor], count: int) -> None:
        self.inputs = inputs
        self.count = count

    def __len__(self) -> int:
        """Number of windows."""
        return self.count

    def read(self, first: int, last: int) -> dict[str, Any]:
        """A batch."""
        return {name: x[first:last] for name, x in self.inputs.items()}


def refresh(model: MoBaNet, inputs: dict[str, Tensor], half: bool) -> Callable[[], None]:
    """A function that measures the distortion of all scenarios."""
    windows = Pixels(inputs, len(next(iter(inputs.values()))))
    masks = scenario_masks(scenarios_of(list(inputs)))

    def prepare(raw: dict[str, Tensor]) -> ModelBatch:
        x = next(iter(raw.values()))
        available = torch.ones(len(x), len(raw), dtype=torch.bool, device=x.device)
        # a refresh looks at inputs alone
        nothing = torch.empty(0)
        return ModelBatch(raw, available, nothing, [], nothing, nothing)

    def step() -> None:
        device = next(iter(inputs.values())).device.type
        with torch.autocast(device, torch.bfloat16, enabled=half):
            ScenarioSettings().score(measure_distortion(model, masks, windows, len(windows), prepare).mean)

    return step


def main() -> None:
    """Measure and print."""
    options = parsed(__doc__.splitlines()[0], rounds=5)
    torch.manual_seed(0)
    backbone = BackboneSettings(options.backbone, pretrained=False, freeze=True)
    model = MoBaNet({"optical": {"rgb": 3, "ir": 1}, "elevation": {"dsm": 1}}, 6, backbone).to(options.device).train()

    def images(count: int) -> dict[str, Tensor]:
        shape = (count, options.size, options.size)
        return {
            name: torch.randn(shape[0], bands, *shape[1:], device=options.device)
            for name, bands in model.modalities.items()
        }

    label = torch.randint(0, 6, (options.batch, options.size, options.size), device=options.device)
    print(f"{options.backbone}, crops of {options.size}, {options.device}, {len(scenarios_of('abc'))} scenarios")
    count = 8
    for name, half in (("fp32", False), ("bf16", True)):
        step = training(model, images(options.batch), label, half)
        measure = refresh(model, images(count), half)
        shares, steps, refreshes = [], [], []
        for turn in range(options.rounds + 1):
            a, b = timed(step, options.device) / options.batch, timed(measure, options.device) / count
            if turn:  # the first warms up
                steps.append(a), refreshes.append(b)
                shares.append(ScenarioSettings().num_windows * b / (STEPS * CROPS * a))
        print(
            f"{name}: training {1000 * statistics.median(steps):.1f} ms a crop, refresh "
            f"{1000 * statistics.median(refreshes):.1f} ms a window; at the defaults a refresh is "
            f"{100 * statistics.median(shares):.2f} % of an epoch"
        )


if __name__ == "__main__":
    main()
