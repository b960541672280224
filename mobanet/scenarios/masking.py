"""MCRM, modality-conditional random masking (MoBaNet, arXiv 2603.17705): training loses a block of one stream."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mobanet.errors import UserError

_TRIES = 10


@dataclass
class MaskingSettings:
    """Modality-conditional random masking.

    Attributes:
        ratio: share of a batch that loses a block; 0 switches masking off.
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
        if not 0 <= self.ratio <= 1:
            raise UserError(f"--model.masking.ratio is {self.ratio}; give a share from 0 to 1.")
        if not 0 < self.min_area <= self.max_area <= 1:
            raise UserError(
                f"--model.masking.min_area {self.min_area} and max_area {self.max_area} must rise within 0 and 1."
            )
        if not 0 < self.min_aspect <= self.max_aspect:
            raise UserError(
                f"--model.masking.min_aspect {self.min_aspect} and max_aspect {self.max_aspect} must rise from above 0."
            )
        if self.blocks < 1:
            raise UserError(f"--model.masking.blocks is {self.blocks}; give a number of at least 1.")


@dataclass(frozen=True)
class Block:
    """A rectangle that one stream of one sample loses, in pixels."""

    sample: int
    stream: str
    top: int
    left: int
    height: int
    width: int


def draw_blocks(
    batch: int, height: int, width: int, streams: Sequence[str], settings: MaskingSettings, generator: torch.Generator
) -> list[Block]:
    """Which blocks a batch loses.

    int(batch * ratio) distinct samples are drawn; the first half of them lose blocks in the first stream, the rest in
    the second; never both in one sample. With a single stream all of them lose blocks there.

    Args:
        batch: number of samples.
        height: of the crops, in pixels.
        width: of the crops, in pixels.
        streams: names, one or two.
        settings: sizes and shares.
        generator: on the CPU; all draws come from it.
    """
    chosen = torch.randperm(batch, generator=generator)[: int(batch * settings.ratio)].tolist()
    blocks = []
    for place, sample in enumerate(chosen):
        stream = streams[0] if place < len(chosen) // 2 else streams[-1]
        for _ in range(settings.blocks):
            rectangle = _rectangle(height, width, settings, generator)
            if rectangle is not None:
                blocks.append(Block(sample, stream, *rectangle))
    return blocks


def _rectangle(
    height: int, width: int, settings: MaskingSettings, generator: torch.Generator
) -> tuple[int, int, int, int] | None:
    for _ in range(_TRIES):
        u, v = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        area = (settings.min_area + u * (settings.max_area - settings.min_area)) * height * width
        aspect = settings.min_aspect + v * (settings.max_aspect - settings.min_aspect)
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            top = int(torch.randint(height - h + 1, (), generator=generator))
            left = int(torch.randint(width - w + 1, (), generator=generator))
            return top, left, h, w
    return None


def mask_blocks(
    inputs: Mapping[str, Tensor], blocks: Sequence[Block], streams: Mapping[str, Sequence[str]]
) -> dict[str, Tensor]:
    """New inputs with the blocks set to zero in every modality of their stream.

    Args:
        inputs: by modality, (B, C, H, W), normalised; left as they are.
        blocks: from `draw_blocks`.
        streams: the modalities of each stream.
    """
    out = dict(inputs)
    for stream in {block.stream for block in blocks}:
        for name in streams[stream]:
            out[name] = out[name].clone()
    for block in blocks:
        rows = slice(block.top, block.top + block.height)
        columns = slice(block.left, block.left + block.width)
        for name in streams[block.stream]:
            out[name][block.sample, :, rows, columns] = 0
    return out
