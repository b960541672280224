"""UPerNet decoder on four feature maps, and the auxiliary head of one stream.

Source: UPerNet, arXiv 1807.10221, in the light form of MoBaNet (arXiv 2603.17705): ReLU6, 64 channels.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOLING_BINS = (1, 2, 3, 6)  # of PSPNet, arXiv 1612.01105, whose pooling UPerNet takes over
Normalization = Literal["batch", "group", "scenario"]

_GROUPS = 8
"""Of channels, at most."""
SCENARIO_MOMENTUM = 0.2
"""Of statistics by scenario, twice that of running ones: a scenario comes every few batches, while weights move on."""


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resampling to `size`, corners not aligned: (B, C, h, w) -> (B, C, *size); nothing to do if equal."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=list(size), mode="bilinear", align_corners=False)


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics where a channel has one value only, which has none of its own.

    So it is in the 1x1 pool of a single sample: of a batch that is parted, one sample may be all that one part gets.

    Besides the running statistics it may have those of several scenarios (`make_room`), by which samples are normalised
    in eval mode where they are told to be. It may learn them, too (`learn_scenarios`): samples of each scenario are
    then normalised by themselves in training (as domains are in arXiv 1906.03950, section 3.2, here with one affine map
    for all of them).
    """

    scenario_mean: Tensor
    scenario_var: Tensor
    scenario_batches: Tensor

    learns_scenarios = False

    def make_room(self, count: int) -> None:
        """Have statistics of so many scenarios, too, (S, C) each; they begin as running ones do, at 0 and 1."""
        assert self.running_mean is not None  # it tracks them
        assert self.running_var is not None
        shape = (count, self.num_features)
        self.register_buffer("scenario_mean", self.running_mean.new_zeros(shape))
        self.register_buffer("scenario_var", self.running_var.new_ones(shape))

    def learn_scenarios(self, count: int) -> None:
        """Have statistics of so many scenarios that training moves; those of one not met yet are the running ones."""
        self.make_room(count)
        self.learns_scenarios = True
        # how many batches have had samples of each scenario
        self.register_buffer("scenario_batches", self.scenario_mean.new_zeros(count, dtype=torch.int64))
        self.forget_scenarios()

    def forget_scenarios(self) -> None:
        """Take the running statistics for those of each scenario, as if none had been met."""
        self.scenario_batches.zero_()
        self._follow()

    def forward(self, maps: Tensor, rows: Tensor | None = None) -> Tensor:
        """Normalise (B, C, h, w).

        Args:
            maps: to normalise.
            rows: (B,) int64, of which scenario each sample takes the statistics in eval mode, -1 for the running ones;
                None: all take the running ones. In training they part the samples where scenarios are learnt.
        """
        if rows is not None and self.training and self.learns_scenarios:
            return self._learnt(maps, rows)
        if self.training and maps.numel() == self.num_features:
            # torch's own refuses to train on one value a channel ("Expected more than 1 value per channel")
            return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        shared = super().forward(maps)
        if rows is None or self.training:
            return shared
        if self.learns_scenarios:
            # not by the count of batches, of which averages of weights (EMA) make 0, or anything
            rows = torch.where(self._follows()[rows.clamp(min=0)], -1, rows)
        # both for all samples: an export knows no branch, and samples by the running statistics keep every bit
        return torch.where((rows < 0)[:, None, None, None], shared, self._by_scenario(maps, rows.clamp(min=0)))

    def _learnt(self, maps: Tensor, rows: Tensor) -> Tensor:
        """Normalise the samples of each scenario by their own mean and variance, which move the scenario's statistics.

        Nothing here waits for the device: groups are sums over all samples, most of which do not count.
        """
        x = maps.to(torch.promote_types(maps.dtype, torch.float32))
        # one group more, of samples of none of the scenarios
        group = torch.where(rows < 0, len(self.scenario_mean), rows)  # (B,)
        member = group == torch.arange(len(self.scenario_mean) + 1, device=group.device)[:, None]  # (S + 1, B)
        values = member.sum(1) * x[0, 0].numel()  # a channel's, in each group
        # one value has no variance: as above, it is normalised by what was learnt so far
        learnt_mean, learnt_var = self._so_far(x.dtype)  # (S + 1, C)
        few = (values < 2)[:, None]
        mean = torch.where(few, learnt_mean, _mean_of_groups(x.mean((2, 3)), member))  # (S + 1, C)
        centred = x - mean[group][:, :, None, None]
        spread = centred.square().mean((2, 3))  # (B, C)
        var = torch.where(few, learnt_var, _mean_of_groups(spread, member))
        scale = self.weight.to(x.dtype) * torch.rsqrt(var + self.eps)
        found = centred * scale[group][:, :, None, None] + self.bias.to(x.dtype)[:, None, None]
        # as above, and the one value has no variance to move the running one by
        if maps.numel() > self.num_features:
            with torch.no_grad():
                self._move(mean, var, values, x)
        return found.to(maps.dtype)

    def _pairs(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Means and variances, of scenarios (S, C) and running ones (C,)."""
        assert self.running_mean is not None  # it tracks them
        assert self.running_var is not None
        return (self.scenario_mean, self.running_mean), (self.scenario_var, self.running_var)

    def _so_far(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Means and variances of scenarios, and the running ones last: (S + 1, C) each."""
        mean, var = (torch.cat([own, shared[None]]).to(dtype) for own, shared in self._pairs())
        return mean, var

    def _follow(self) -> None:
        """Let the statistics of scenarios that were not met be the running ones.

        Averages of both are then sensible, too, where a scenario is met late: no step from 0 and 1.
        """
        met = (self.scenario_batches > 0)[:, None]
        for own, shared in self._pairs():
            own.copy_(torch.where(met, own, shared))

    def _follows(self) -> Tensor:
        """(S,) bool, whether a scenario's statistics are the running ones."""
        mean, var = (own == shared for own, shared in self._pairs())
        return (mean & var).all(1)

    def _move(self, mean: Tensor, var: Tensor, values: Tensor, x: Tensor) -> None:
        """Let the statistics of scenarios that a batch has, and the running ones of all samples, follow the batch's."""
        assert self.running_mean is not None  # it tracks them
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        # averages of weights (SWA) take all statistics anew, which they tell by setting torch's count to 0
        self.scenario_batches.mul_(self.num_batches_tracked > 0)
        self.num_batches_tracked.add_(1)
        # momentum None, in torch, is the mean of all batches
        least, of_scenarios = (0.0, 0.0) if self.momentum is None else (self.momentum, SCENARIO_MOMENTUM)
        there, count = values[:-1] > 1, values[:-1]
        # the first batch alone, rather than a step from 0 and 1: a scenario may be rare
        share = torch.where(there, (1 / (self.scenario_batches + 1)).clamp(min=of_scenarios), 0)[:, None]
        unbiased = var[:-1] * (count / (count - 1).clamp(min=1))[:, None]
        for kept, new, part in (
            (self.scenario_mean, mean[:-1], share),
            (self.scenario_var, unbiased, share),
            # of what is met never, and of what nothing is known
            (self.running_mean, x.mean((0, 2, 3)), (1 / self.num_batches_tracked).clamp(min=least)),
            (self.running_var, x.var((0, 2, 3)), (1 / self.num_batches_tracked).clamp(min=least)),
        ):
            kept.add_(part.to(kept.dtype) * (new.to(kept.dtype) - kept))
        self.scenario_batches.add_(there)
        self._follow()

    def _by_scenario(self, maps: Tensor, rows: Tensor) -> Tensor:
        exact = torch.promote_types(maps.dtype, torch.float32)  # torch's own computes so, too
        mean, var = self.scenario_mean[rows].to(exact), self.scenario_var[rows].to(exact)  # (B, C)
        scale = self.weight.to(exact) * torch.rsqrt(var + self.eps)
        shift = self.bias.to(exact) - mean * scale
        return (maps.to(exact) * scale[:, :, None, None] + shift[:, :, None, None]).to(maps.dtype)


def norm_of(kind: Normalization, channels: int) -> nn.Module:
    """A normalisation of maps, (B, C, h, w) -> (B, C, h, w).

    Args:
        kind: `batch` over all samples of a batch (in eval mode by running statistics), as is `scenario` until it is
            told of scenarios (`BatchNorm.learn_scenarios`); `group` over groups of channels of each sample, of at least
            four where there are as many.
        channels: C.
    """
    if kind != "group":
        return BatchNorm(channels)
    # the gcd, since GroupNorm takes divisors of the channels only
    return nn.GroupNorm(math.gcd(channels, min(_GROUPS, max(1, channels // 4))), channels)


def _mean_of_groups(of_samples: Tensor, member: Tensor) -> Tensor:
    """The mean over each group's samples, 0 where it has none: (B, C) by (G, B) bool -> (G, C).

    A sum rather than a product of matrices, which autocast and TF32 would round.
    """
    chosen = torch.where(member[:, :, None], of_samples, 0).sum(1)
    return chosen / member.sum(1).clamp(min=1)[:, None]


class Normed(nn.Sequential):
    """Parts one after the other, the batch normalisations among them told which statistics each sample takes."""

    def forward(self, maps: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run (B, C, h, w) through all parts; `rows` as in `BatchNorm.forward`."""
        for part in self:
            maps = part(maps, rows) if rows is not None and isinstance(part, BatchNorm) else part(maps)
        return maps


class ConvBNReLU6(Normed):
    """Convolution without bias that keeps the size, normalisation (BatchNorm in the paper), ReLU6."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, norm: Normalization = "batch") -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            norm_of(norm, out_channels),
            nn.ReLU6(),
        )


class PyramidPooling(nn.Module):
    """Averages over grids of 1, 2, 3 and 6 cells give every position a view of the whole image."""

    def __init__(self, in_channels: int, channels: int, norm: Normalization = "batch") -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvBNReLU6(in_channels, channels, 1, norm) for _ in POOLING_BINS)
        self.merge = ConvBNReLU6(in_channels + len(POOLING_BINS) * channels, channels, 3, norm)

    def forward(self, maps: Tensor, rows: Tensor | None = None) -> Tensor:
        """Pool and merge: (B, in_channels, h, w) -> (B, channels, h, w); `rows` as in `BatchNorm.forward`."""
        pooled = [
            resize(branch(F.adaptive_avg_pool2d(maps, bins), rows), maps.shape[-2:])
            for bins, branch in zip(POOLING_BINS, self.branches, strict=True)
        ]
        return self.merge(torch.cat((maps, *pooled), dim=1), rows)


class UPerNet(nn.Module):
    """Pyramid pooling on the coarsest map, top-down sums, all levels merged at the finest.

    Args:
        in_channels: of each of the four maps.
        channels: inside the decoder.
        num_classes: K.
        dropout: probability that a channel is dropped before the classifier.
        norm: of all maps.
    """

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, dropout: float, norm: Normalization = "batch"
    ) -> None:
        super().__init__()
        self.pooling = PyramidPooling(in_channels, channels, norm)
        self.laterals = nn.ModuleList(
            # no activation, as in the release (mobanet.md, section 4)
            Normed(nn.Conv2d(in_channels, channels, 1, bias=False), norm_of(norm, channels))
            for _ in range(3)
        )
        self.smooth = nn.ModuleList(ConvBNReLU6(channels, channels, 3, norm) for _ in range(3))
        self.merge = ConvBNReLU6(4 * channels, channels, 3, norm)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, maps: list[Tensor], rows: Tensor | None = None) -> Tensor:
        """Decode four maps (B, in_channels, h_s, w_s), finest first, to logits (B, K, h_1, w_1).

        Args:
            maps: to decode.
            rows: as in `BatchNorm.forward`.
        """
        # smoothed already: pyramid pooling ends with a 3x3 convolution
        top = level = self.pooling(maps[3], rows)  # p4: (B, channels, h_4, w_4)
        levels = []
        # from the coarsest of the other three to the finest; both lists are kept finest first, as in the release
        for lateral, smooth, feature in zip(self.laterals[::-1], self.smooth[::-1], maps[2::-1], strict=True):
            level = lateral(feature, rows) + resize(level, feature.shape[-2:])  # p3, p2, p1
            levels.append(smooth(level, rows))
        size = maps[0].shape[-2:]
        merged = torch.cat([resize(p, size) for p in (*levels[::-1], top)], dim=1)  # (B, 4·channels, h_1, w_1)
        return self.classifier(self.dropout(self.merge(merged, rows)))


class AuxiliaryHead(nn.Module):
    """Classifies one stream on its own, to keep it from leaning on the other.

    Args:
        channels: of the stream's first map.
        num_classes: K.
        dropout: probability.
        norm: of its map.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float, norm: Normalization = "batch") -> None:
        super().__init__()
        self.conv = ConvBNReLU6(channels, channels, 3, norm)
        # single values, where the decoder drops channels: both as in the release
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Classify positions: (B, channels, h, w) -> (B, K, h, w)."""
        return self.classifier(self.dropout(self.conv(maps)))
