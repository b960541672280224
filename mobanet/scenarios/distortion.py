"""Latent distortion: how far each scenario moves a model's latent from the full one (arXiv 2605.20372)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mobanet.models.base import SegmentationModel
from mobanet.scenarios.scenario import lowered


@dataclass(frozen=True)
class Distortion:
    """Distortion of each scenario, float64.

    Attributes:
        mean: (S,), D_k; the last scenario is the full one, whose distortion is 0 by definition.
        standard_error: (S,), of D_k over windows; as large as D_k itself where a single window had the scenario.
        num_windows: windows that were measured on.
    """

    mean: np.ndarray
    standard_error: np.ndarray
    num_windows: int

    def settled(self, share: float) -> bool:
        """Whether every standard error is under a share of its distortion."""
        return bool(np.all(self.standard_error[:-1] <= share * self.mean[:-1]))


class DistortionMeter:
    """Sums squared differences of latents over windows, in float64.

    D_k is the mean over windows of the mean over elements of (z_k - z_full)^2. A window whose data has nothing of a
    scenario says nothing about it and is left out of its mean.

    Args:
        masks: (S, M) bool, the scenarios' availability, the last the full one.
    """

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks
        self.sums = torch.zeros(3, len(masks), dtype=torch.float64)
        """Number of windows, sum of distortions, sum of their squares, by scenario; ranks' sums add up."""

    @torch.no_grad()
    def add(
        self,
        encoder: SegmentationModel,
        inputs: dict[str, Tensor],
        available: Tensor,
        incomplete: Sequence[int] | None = None,
    ) -> None:
        """Measure a batch; the latent of the full scenario is computed once.

        Args:
            encoder: in eval mode.
            inputs: by modality, (B, C, H, W), normalised.
            available: (B, M) bool, what the data has.
            incomplete: indices of the scenarios to measure in, beside the full one; None: all.
        """
        # with the full one always, whose count of windows is the count of all
        chosen = [*(range(len(self.masks) - 1) if incomplete is None else incomplete), len(self.masks) - 1]
        masks = self.masks.to(available.device)[chosen]
        # the full one first: the others are compared with it one by one, and none has to be kept
        latents = iter(encoder.latents(inputs, [available, *(lowered(available, mask) for mask in masks[:-1])]))
        full = _exact(next(latents))
        distortions = [(_exact(latent) - full).square().flatten(1).mean(1) for latent in latents]
        distortions.append(torch.zeros_like(full[:, 0, 0, 0]))
        # doubled on the CPU: MPS devices have no float64
        d = torch.stack(distortions, 1).cpu().double()  # (B, chosen)
        # what would have nothing is given all it has by `lowered`, and would measure a distortion of 0
        counts = (available[:, None] & masks).any(2).cpu()  # (B, chosen)
        d = torch.where(counts, d, 0)
        self.sums[:, chosen] += torch.stack([counts.double().sum(0), d.sum(0), d.square().sum(0)])

    def result(self, sums: Tensor | None = None) -> Distortion:
        """What was measured.

        Args:
            sums: of all ranks, (3, S); None for this meter's own.
        """
        count, total, squares = (self.sums if sums is None else sums).numpy()
        mean = total / np.maximum(count, 1)
        # the difference of two large sums, which rounding may leave below 0
        variance = np.maximum(squares - count * mean**2, 0) / np.maximum(count - 1, 1)
        # one window says nothing of a spread: as large as the mean, it never counts as settled
        error = np.where(count == 1, mean, np.sqrt(variance / np.maximum(count, 1)))
        return Distortion(mean, error, int(count[-1]))


def _exact(x: Tensor) -> Tensor:
    """In float32 at least: squares of small differences are nothing in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
