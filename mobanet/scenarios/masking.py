"""MCRM, modality-conditional random masking (MoBaNet, arXiv 2603.17705): training loses a block of one stream."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mobanet.errors import check_setting
from mobanet.models.draws import sent

_TRIES = 10  # as in the authors' code (mobanet.md, section 5)


@dataclass
class MaskingSettings:
    """Modality-conditional random masking.

    Attributes:
        ratio: share of the samples that lose a block, among those that have more than one stream in their scenario; 0
            switches masking off.
        min_area: smallest block, as a share of the crop.
        max_area: largest block, as a share of the crop.
        min_aspect: smallest width divided by height.
        max_aspect: largest width divided by height.
        blocks: blocks a sample.
    """

    ratio: float = 0.25
    min_area: float = 0.1
    max_area: float = 0.3
    min_aspect: float = 0.5
    max_aspect: float = 2.0
    blocks: int = 1

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_setting(0 <= self.ratio <= 1, "masking.ratio", f"is {self.ratio}; give a share from 0 to 1.")
        check_setting(
            0 < self.min_area <= self.max_area <= 1,
            "masking.min_area",
            f"{self.min_area} and max_area {self.max_area} must rise within 0 and 1.",
        )
        check_setting(
            0 < self.min_aspect <= self.max_aspect < math.inf,
            "masking.min_aspect",
            f"{self.min_aspect} and max_aspect {self.max_aspect} must rise from above 0.",
        )
        check_setting(self.blocks >= 1, "masking.blocks", f"is {self.blocks}; give a number of at least 1.")


@dataclass(frozen=True)
class Shares:
    """Which samples lose blocks.

    Attributes:
        lost: (B, S) bool, whether a sample loses blocks in a stream; in one at most.
        number: (B,) int, the sample's place among those that lose blocks; of no meaning for the others.
        most: how many they are at most, known without waiting for the device.
    """

    lost: Tensor
    number: Tensor
    most: int


def spare_pixels(
    available: Tensor, valid: Mapping[str, Tensor], streams: Mapping[str, Sequence[str]], order: Sequence[str]
) -> Tensor:
    """Pixels that a stream has and that another stream has, too, so that they may be taken from it.

    Args:
        available: (B, M) bool, what is there in each sample's scenario.
        valid: by modality, (B, H, W), not 0 where a pixel was measured; a modality that is not in it has all pixels.
        streams: the modalities of each stream.
        order: of the modalities, as in the columns of `available`.

    Returns:
        (B, S, H, W) bool, or (B, S, 1, 1) where every modality has all pixels.
    """
    columns = {name: available[:, place, None, None] for place, name in enumerate(order)}
    has = {name: there & (valid[name] != 0) if name in valid else there for name, there in columns.items()}
    covered = [functools.reduce(torch.logical_or, [has[name] for name in members]) for members in streams.values()]
    stacked = torch.stack(torch.broadcast_tensors(*covered), dim=1)
    # a pixel that one stream alone has would be lost to the sample altogether
    return stacked & (stacked.sum(1, keepdim=True) > 1)


def draw_masks(
    spare: Tensor, height: int, width: int, settings: MaskingSettings, generator: torch.Generator, at: float
) -> Tensor:
    """The pixels that a batch loses.

    Of the samples in which more than one stream can be taken from, the share `settings.ratio` is drawn, as many for
    each stream, and never two streams of one sample. Where that is no whole number, `at` decides which way it is
    rounded, so that on average the shares are exact at any batch size. With two streams and 24 complete samples 3 lose
    blocks in the first and 3 in the second, as in the authors' code.

    No draw waits for the device that `spare` is on.

    Args:
        spare: (B, S, H, W) or (B, S, 1, 1) bool, of `spare_pixels`; no other pixel is lost.
        height: of the crops, in pixels.
        width: of the crops, in pixels.
        settings: sizes and shares.
        generator: on the CPU; which samples and which blocks come from it.
        at: of `rounding`.

    Returns:
        (B, S, H, W) bool.
    """
    batch, streams = spare.shape[:2]
    order = torch.randperm(batch, generator=generator)
    shares = share_out(spare.flatten(2).any(2), order, settings.ratio, at)
    if not shares.most:
        return spare.new_zeros(batch, streams, height, width)
    # for as many samples as there can be, so that what is drawn does not depend on the device's answer
    drawn = [_rectangle(height, width, settings, generator) for _ in range(shares.most * settings.blocks)]
    blocks = sent(torch.tensor(drawn).unflatten(0, (shares.most, -1)), spare.device)  # (most, N, 4)
    # samples that lose nothing have numbers beyond the last; `lost` leaves out what they are given here
    blocks = blocks[shares.number.clamp(max=shares.most - 1)]  # (B, N, 4)
    return shares.lost[:, :, None, None] & _inside(blocks, height, width)[:, None] & spare


def share_out(able: Tensor, order: Tensor, ratio: float, at: float) -> Shares:
    """Deal samples out to streams, separately for each set of streams that a sample can lose.

    Args:
        able: (B, S) bool, the streams that each sample can lose.
        order: (B,) int, a permutation of the samples, on the CPU; the first of each set lose blocks.
        ratio: share of the samples that do.
        at: of `rounding`.
    """
    streams, device = torch.arange(able.shape[1], device=able.device), able.device
    kinds = torch.arange(2 ** len(streams), device=device)
    members = (kinds[:, None] >> streams & 1).bool()  # (2^S, S)
    kind = (able.long() << streams).sum(1)  # (B,)
    sizes = (kind[:, None] == kinds).sum(0)
    # all samples on a line, by kind and then, in equal parts of the kind's samples, by stream; a sample is `unit` long
    # the least number that any count of streams divides, so that equal parts are whole numbers
    unit = math.lcm(*range(1, len(streams) + 1))
    cells = torch.where(members, (sizes * unit // members.sum(1).clamp(min=1))[:, None], 0)
    ends = cells.flatten().cumsum(0).view_as(cells)
    # how many lose blocks up to a place of the line: a table, since a device may round sums of floats the other way
    places = torch.arange(len(able) * unit + 1, dtype=torch.float64)
    # rounded first: 100 times 0.29 is 28.999999999999996 in float64, and 29 samples are meant
    table = torch.floor((places * ratio / unit).round(decimals=9) + at).long()
    most, table = int(table[-1]), sent(table, device)
    first, last = (table[edge][kind] for edge in (ends - cells, ends))  # (B, S)
    rank = sent(order.argsort(), device)  # of each sample in the drawn order
    place = ((kind[:, None] == kind) & (rank[:, None] > rank)).sum(1)  # among its kind, in the drawn order
    number = first[:, 0] + place
    return Shares((first <= number[:, None]) & (number[:, None] < last), number, most)


def _rectangle(
    height: int, width: int, settings: MaskingSettings, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a block; all 0 where none was found that fits."""
    for _ in range(_TRIES):
        # two draws a try whether or not it fits, then two of a place: the order is part of what a seed means
        u, v = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        # area = h·w and aspect = w / h, solved for both (mobanet.md, section 5)
        area = (settings.min_area + u * (settings.max_area - settings.min_area)) * height * width
        aspect = settings.min_aspect + v * (settings.max_aspect - settings.min_aspect)
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            top = int(torch.randint(height - h + 1, (), generator=generator))
            left = int(torch.randint(width - w + 1, (), generator=generator))
            return top, left, top + h, left + w
    return 0, 0, 0, 0


def _inside(blocks: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W) bool of blocks (B, N, 4)."""
    top, left, bottom, right = (edge[:, :, None] for edge in blocks.unbind(2))
    y, x = (torch.arange(size, device=blocks.device) for size in (height, width))
    rows, columns = (top <= y) & (y < bottom), (left <= x) & (x < right)  # (B, N, H), (B, N, W)
    return (rows[:, :, :, None] & columns[:, :, None]).any(1)


def mask_streams(
    inputs: Mapping[str, Tensor], masks: Tensor, streams: Mapping[str, Sequence[str]]
) -> dict[str, Tensor]:
    """New inputs with what is masked set to zero in every modality of its stream.

    Args:
        inputs: by modality, (B, C, H, W), normalised; left as they are. A modality may have coarser pixels: it loses
            those of which the mask covers half or more.
        masks: (B, S, H, W) bool, of `draw_masks`.
        streams: the modalities of each stream.
    """
    lost = {name: masks[:, place, None] for place, members in enumerate(streams.values()) for name in members}
    return {name: x.masked_fill(_coarser(lost[name], x.shape[-2:]), 0) for name, x in inputs.items()}


def _coarser(mask: Tensor, size: Sequence[int]) -> Tensor:
    """(B, 1, H, W) bool in as many pixels."""
    times = mask.shape[-1] // size[-1]
    return mask if times == 1 else torch.nn.functional.avg_pool2d(mask.float(), times) >= 0.5
