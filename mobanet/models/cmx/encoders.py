"""Encoders of CMX: from the modalities of a stream to three channels, and from these to four feature maps.

Two kinds: Mix-Transformers, as published (CMX, arXiv 2203.04838; SegFormer, arXiv 2105.15203), built by
segmentation-models-pytorch (the extra `cmx`), and the plain CNN of the three-modality variant (arXiv 2605.20372).
"""

import copy
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.errors import SettingError
from mobanet.models.backbones.weights import Refused, check_numbers, of_setting, published_weights, read_weights
from mobanet.models.containers import ListOf
from mobanet.models.patches import initial_kernel
from mobanet.plain.wording import name_differences

EncoderName = Literal["cnn", "mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The key map of a MiT's first stage is reduced by 8, and the first patch embedding by 4.
MIT_SMALLEST_SIDE = 32
WEIGHTS_REMEDY = (
    "give a local file with `cmx.checkpoint` FILE, or start from random weights with `cmx.pretrained` false"
)


def licence(encoder: EncoderName) -> str:
    """The licence that comes with an encoder: of its published weights, and for MiT of the encoder's code too."""
    if encoder == "cnn":
        return "none needed, its weights start random"
    return (
        "NVIDIA Source Code License for SegFormer, weights and encoder code: NON-COMMERCIAL, research or evaluation "
        "only (https://github.com/NVlabs/SegFormer/blob/master/LICENSE)"
    )


def stage_channels(encoder: EncoderName) -> tuple[int, ...]:
    """Channels of the four maps of an encoder, finest first."""
    # the release's CNN has the widths of B1 to B5, so that rectification and fusion fit either
    return (32, 64, 160, 256) if encoder == "mit_b0" else (64, 128, 320, 512)


class StreamInput(nn.Module):
    """The modalities of one stream as one three-channel image, by a 1x1 convolution without bias.

    A stream of a single modality of three bands is such an image already. One band starts as a grey image, the same
    in all three channels. Beyond that the projection starts random, as the three-modality variant's, or `as_colours`:
    three bands are taken as they are, other bands enter like more colours (as in `patches.initial_kernel`).

    Args:
        modalities: number of bands by modality.
        as_colours: keep the image one that a pretrained encoder can read.
        missing_tokens: learn a value a band of each modality that stands in for its pixels where it is missing. It
            starts at zero, as if there were none.
    """

    def __init__(self, modalities: Mapping[str, int], as_colours: bool, missing_tokens: bool) -> None:
        super().__init__()
        self.modalities = dict(modalities)
        bands, alone = sum(modalities.values()), len(modalities) == 1
        self.projection = None if alone and bands == 3 else nn.Conv2d(bands, 3, 1, bias=False)
        # published CMX is given a single band three times, which is what the projection of one starts as
        if self.projection is not None and (as_colours or bands == 1):
            with torch.no_grad():
                self.projection.weight.copy_(torch.cat([_as_colours(n, alone) for n in modalities.values()], dim=1))
        self.has_tokens = missing_tokens
        for name, count in self.modalities.items() if missing_tokens else ():
            self.register_parameter(f"missing_{name}", nn.Parameter(torch.zeros(count)))

    def forward(self, inputs: Mapping[str, Tensor], available: Mapping[str, Tensor] | None) -> Tensor:
        """Make the stream's image.

        Args:
            inputs: by modality, (B, bands, H, W), zero where missing; others are ignored.
            available: by modality, (B,) bool; None: everything is there.

        Returns:
            (B, 3, H, W).
        """
        images = [inputs[name] for name in self.modalities]
        if self.has_tokens:
            images = [
                image + self._stand_in(name, None if available is None else available[name]).to(image.dtype)
                for name, image in zip(self.modalities, images, strict=True)
            ]
        stacked = torch.cat(images, dim=1)  # (B, all bands, H, W)
        return stacked if self.projection is None else self.projection(stacked)

    def _stand_in(self, name: str, available: Tensor | None) -> Tensor:
        """What is added to a modality's pixels: (B, bands, 1, 1), or (1, bands, 1, 1) where nothing is missing."""
        token = self.get_parameter(f"missing_{name}")
        if available is None:
            # Zeros with a gradient of zero: no parameter may drop out of the graph under DDP.
            available = token.new_ones(1, dtype=torch.bool)
        return torch.where(available[:, None], 0, token)[:, :, None, None]


def _as_colours(bands: int, alone: bool) -> Tensor:
    """Columns of a projection for one modality: (3, bands, 1, 1)."""
    kernel = initial_kernel(torch.eye(3)[:, :, None, None], bands, alone)
    return kernel.sum(dim=1, keepdim=True) if bands == 1 else kernel


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions with batch normalisation, the first with stride 2: (B, C, h, w) -> (B, D, h/2, w/2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class Encoder(nn.Module):
    """Four stages, each a map of half the size of the one before; the first at a quarter of the image's.

    Attributes:
        stages: by depth; the first takes (B, 3, H, W).
    """

    def __init__(self, stages: list[nn.Sequential]) -> None:
        super().__init__()
        self.stages: ListOf[nn.Sequential] = ListOf(stages)


def build_encoders(name: EncoderName, pretrained: bool, checkpoint: str | None) -> list[Encoder]:
    """The encoders of two streams, of separate weights that start from the same file where there is one.

    Args:
        name: of the encoder.
        pretrained: start a MiT from the ImageNet weights of segmentation-models-pytorch, downloaded once.
        checkpoint: local file of MiT weights, rather than a download.

    Raises:
        UserError: when weights cannot be found, downloaded or read, or belong to another encoder, and where the extra
            `cmx` is not installed, for a Mix-Transformer.
    """
    if name == "cnn":
        return [_build_cnn(stage_channels(name)) for _ in range(2)]
    if not (pretrained or checkpoint):
        return [_cut_stages(_create_mit(name)) for _ in range(2)]
    mit = _create_mit(name)
    if checkpoint is None:
        _load(mit, _download(name), of_setting("cmx.encoder", name))
    else:
        _load(mit, Path(checkpoint), of_setting("cmx.checkpoint", checkpoint))
    # copied rather than built and filled twice: the two start alike and train apart
    encoder = _cut_stages(mit)
    return [encoder, copy.deepcopy(encoder)]


def _build_cnn(channels: tuple[int, ...]) -> Encoder:
    stem, *others = (ConvBlock(*pair) for pair in pairwise((3, channels[0], *channels)))
    return Encoder([nn.Sequential(stem, others[0]), *(nn.Sequential(block) for block in others[1:])])


def _create_mit(name: str) -> Any:
    """A Mix-Transformer with random weights, and stochastic depth that grows from 0 to 0.1 over its blocks."""
    mit = _package(name).get_encoder(name, in_channels=3, depth=5, weights=None)
    for part in mit.modules():
        # the methods of these objects alone are replaced: the package's class stays as it is for everybody else
        if type(part).__name__ == "Attention":
            part.forward = MethodType(_attend, part)
    return mit


def _attend(attention: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    """What the package's attention computes, (B, N, C) -> the same, without a matrix of all pairs in memory."""
    keyed = tokens
    if attention.sr_ratio > 1:
        maps = tokens.transpose(1, 2).unflatten(2, (height, width))
        keyed = attention.norm(attention.sr(maps).flatten(2).transpose(1, 2))
    heads = attention.num_heads
    q = attention.q(tokens).unflatten(2, (heads, -1)).transpose(1, 2)  # (B, heads, N, C/heads)
    k, v = attention.kv(keyed).unflatten(2, (2, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    dropout = attention.attn_drop.p if attention.training else 0.0
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=attention.scale)
    return attention.proj_drop(attention.proj(out.transpose(1, 2).flatten(2)))


def _package(name: str) -> ModuleType:
    """What builds Mix-Transformers: an extra, since its wheel holds NVIDIA's code, which is not for commercial use.

    Raises:
        UserError: where it is not installed.
    """
    try:
        from segmentation_models_pytorch import encoders
    except ImportError as error:
        raise SettingError(
            "cmx.encoder",
            f"{name} needs the package segmentation-models-pytorch, parts of which are for "
            "non-commercial use only; install it with pip install 'mobanet[cmx]'.",
        ) from error
    return encoders


def _cut_stages(mit: Any) -> Encoder:
    parts = ((getattr(mit, f"{part}{stage}") for part in ("patch_embed", "block", "norm")) for stage in range(1, 5))
    return Encoder([nn.Sequential(*stage) for stage in parts])


def _download(name: str) -> Path:
    """Path of the ImageNet weights in the hub's cache, fetched if they are not there yet."""
    published = _package(name).encoders[name]["pretrained_settings"]["imagenet"]
    repository, file, revision = published["repo_id"], "model.safetensors", published["revision"]
    return published_weights(repository, file, "cmx.encoder", name, WEIGHTS_REMEDY, revision)


def _load(mit: nn.Module, file: Path, refused: Refused) -> None:
    """Fill a Mix-Transformer in place, by the names of SegFormer's own files; their classifier is left out."""
    contents = read_weights(file, refused)
    found = {name: value for name, value in contents.items() if not name.startswith("head.")}
    wanted = mit.state_dict()
    problems = name_differences(wanted, found)
    check_numbers(wanted, found, refused)
    problems += [
        f"has {name} of shape {tuple(found[name].shape)} where {tuple(wanted[name].shape)} is expected"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ][:1]
    if problems:
        raise refused(
            f"does not hold the weights of this encoder: it {' and '.join(problems)}; let `cmx.encoder` "
            "name the encoder of the file."
        )
    mit.load_state_dict(found)
