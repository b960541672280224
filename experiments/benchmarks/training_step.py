"""One training step of MoBaNet against the same step in two passes, and against the bare frozen backbone.

    python experiments/benchmarks/training_step.py [--backbone NAME] [--batch 4] [--size 252] [--rounds 10]

A step is forward, loss with auxiliary losses, backward, and AdamW. `two passes` runs each stream through the frozen
blocks by itself, as a loop over the streams does. `bare backbone` is timm's own forward on the same number of images
(two for each sample) and backward to its inputs, without anything of MoBaNet. Weights are random: they do not change
the time. The variants take turns within each round, and ratios are medians over rounds.
"""

import statistics
from collections.abc import Callable

import torch
from steps import parsed, timed, training
from torch import Tensor

from mobanet.models.backbones.stages import NUM_STAGES, BackboneSettings
from mobanet.models.mobanet.network import MoBaNet
from mobanet.models.mobanet.pyramid import Stages


class TwoPasses(MoBaNet):
    """MoBaNet with a loop over the streams where the package has one batch of both."""

    def encode(
        self, inputs: dict[str, Tensor], available: Tensor | None = None, stream_stages: int = NUM_STAGES
    ) -> Stages:
        """Everything before the decoder, one stream after the other through the blocks."""
        backbone = self.backbone
        embedded = [embed(inputs, backbone.patch_kernel, backbone.patch_bias) for embed in self.embeddings]
        streams, geometry = [], None
        for patches in embedded:
            tokens, geometry = backbone.embed(patches)
            streams.append(tokens)
        prefix, taps = backbone.num_prefix_tokens, []
        for stage, blocks in enumerate(backbone.stages):
            added = self.interactions[stage](streams[0][:, prefix:], streams[1][:, prefix:])
            streams = [
                torch.cat((tokens[:, :prefix], tokens[:, prefix:] + prompt), dim=1)
                for tokens, prompt in zip(streams, added, strict=True)
            ]
            for number, tokens in enumerate(streams):
                out = tokens
                for index in blocks:
                    out = backbone.block(index, out, geometry)
                streams[number] = out
            taps.append(torch.cat([backbone.normalize(tokens[:, prefix:]) for tokens in streams]))
        return self.pyramid(taps, geometry.grid, stream_stages)


def bare(model: MoBaNet, images: Tensor, half: bool) -> Callable[[], None]:
    """A function that runs the frozen backbone forward and backward to its inputs."""

    def step() -> None:
        # or each step would add to the last one's
        images.grad = None
        with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
            out = model.backbone.vit.forward_features(images)
        out.float().sum().backward()

    return step


def main() -> None:
    """Measure and print."""
    options = parsed(__doc__.splitlines()[0], rounds=10)
    torch.manual_seed(0)
    streams = {"optical": {"rgb": 3}, "elevation": {"dsm": 1}}
    backbone = BackboneSettings(options.backbone, pretrained=False, freeze=True)
    one = MoBaNet(streams, 6, backbone).to(options.device).train()
    two = TwoPasses(streams, 6, backbone).to(options.device).train()
    # the same weights, so that logits can be held against each other
    two.load_state_dict(one.state_dict())
    shape = (options.batch, 3, options.size, options.size)
    inputs = {"rgb": torch.randn(shape), "dsm": torch.randn(shape)[:, :1]}
    inputs = {name: x.to(options.device) for name, x in inputs.items()}
    with torch.no_grad():
        difference = (one.eval()(inputs).logits - two.eval()(inputs).logits).abs().max().item()
    one.train(), two.train()
    print(f"{options.backbone}, {options.batch} crops of {options.size}, {options.device}")
    print(f"both variants give the same logits to {difference:.0e}")
    label = torch.randint(0, 6, (options.batch, options.size, options.size), device=options.device)
    images = torch.randn(2 * options.batch, *shape[1:], device=options.device, requires_grad=True)
    steps = {
        "two passes, fp32": training(two, inputs, label, half=False),
        "mobanet, fp32": training(one, inputs, label, half=False),
        "bare backbone, fp32": bare(one, images, half=False),
        "mobanet, bf16": training(one, inputs, label, half=True),
        "bare backbone, bf16": bare(one, images, half=True),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(options.rounds + 2):
        for name, step in steps.items():
            seconds = timed(step, options.device)
            # the first two warm up
            if turn > 1:
                times[name].append(seconds)
    for name, values in times.items():
        print(f"{name:<20} {statistics.median(values) * 1000:8.1f} ms")
    for a, b in (
        ("two passes, fp32", "mobanet, fp32"),
        ("two passes, fp32", "mobanet, bf16"),
        ("mobanet, fp32", "bare backbone, fp32"),
        ("mobanet, bf16", "bare backbone, bf16"),
    ):
        ratio = statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))
        print(f"{a} over {b}: {ratio:.2f}")


if __name__ == "__main__":
    main()
