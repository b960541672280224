"""What benchmarks of the model share: their options, one training step, and a clock that waits for the GPU."""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mobanet.models.mobanet.network import MoBaNet
from mobanet.training.losses import auxiliary_loss, segmentation_loss


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """Of the options backbone, batch, size, rounds and device."""
    words = argparse.ArgumentParser(description=description)
    words.add_argument("--backbone", default="vit_small_patch14_dinov2.lvd142m")
    words.add_argument("--batch", type=int, default=4)
    words.add_argument("--size", type=int, default=252)
    words.add_argument("--rounds", type=int, default=rounds)
    words.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return words


def parsed(description: str, rounds: int) -> argparse.Namespace:
    """The options: backbone, batch, size, rounds and device."""
    return parser(description, rounds).parse_args()


def training(
    model: MoBaNet,
    inputs: dict[str, Tensor],
    label: Tensor,
    half: bool,
    fused: bool | None = None,
    available: Tensor | None = None,
) -> Callable[[], None]:
    """A function that runs one whole training step: forward, loss with auxiliary losses, backward, AdamW.

    Args:
        model: to train.
        inputs: by modality, (B, C_m, H, W).
        label: (B, H, W).
        half: in bfloat16, mixed.
        fused: of AdamW.
        available: (B, M) bool, on the CPU; None: everything is there.
    """
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=fused)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(label.device.type, torch.bfloat16, enabled=half):
            output = model(inputs, available)
            loss = segmentation_loss(output.logits, label)
            for value in auxiliary_loss(output.auxiliary, output.logits, label).values():
                loss = loss + 0.01 * value
        loss.backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None], device: str) -> float:
    """Seconds of one call."""
    if device == "cuda":
        # what is under way from before is none of this call's
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
