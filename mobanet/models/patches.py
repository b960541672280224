"""From the images of one stream to its tokens: one patch kernel a modality, one bias a stream."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.models.own_pixels import pooled_kernel


def initial_kernel(pretrained: Tensor, bands: int, alone: bool) -> Tensor:
    """What the trainable kernel of a modality starts from.

    One band is stored as three channels that see the same image, which at run time is one kernel, their sum (the
    authors' parametrisation). Alone in its stream it starts as the pretrained kernel itself; beside others as a third
    of it, so that its sum is the channel mean and the band enters like one more colour. Several bands repeat the
    three colours in turn, scaled by 3/N so that N equal bands answer like a grey image (never above 1 beside others).

    Args:
        pretrained: (C, 3, p, p).
        bands: of the modality.
        alone: whether it is the only modality of its stream.

    Returns:
        (C, max(bands, 3 if bands == 1), p, p): three channels for one band, else one channel a band.
    """
    if bands == 1:
        return pretrained.clone() if alone else pretrained / 3
    cycled = pretrained[:, [band % 3 for band in range(bands)]]  # (C, 3, p, p) -> (C, bands, p, p)
    return cycled * (3 / bands if alone else min(1, 3 / bands))


class StreamEmbedding(nn.Module):
    """Sum of the patch embeddings of a stream's modalities, plus one bias.

    For a stream of one modality this is the paper's patch embedding. The modality that keeps the pretrained kernel
    borrows it, and the bias with it, from the backbone at every call; all other parameters live here and train.

    Args:
        modalities: number of bands by modality.
        borrowed: the modality that uses the backbone's kernel; None: every modality has its own, the stream a bias.
        kernel: pretrained kernel (C, 3, p, p) to start from.
        bias: pretrained bias (C,) to start from; None: start from zero.
        stride: of the convolution, in pixels; None: that of disjoint patches, p.
        padding: of the convolution, in pixels of zeros.
        scales: by modality, pixels of the grid that one of its image is wide and high, which divide p; 1 where it is
            not named. The kernel of such a modality is as many times smaller, and starts as what gives the same of it.
        missing_tokens: learn a vector (C,) a modality that is added to all patches of the samples which lack it. It
            starts at zero, as if there were none.
    """

    bias: nn.Parameter  # of a stream that borrows none

    def __init__(
        self,
        modalities: Mapping[str, int],
        borrowed: str | None,
        kernel: Tensor,
        bias: Tensor | None,
        missing_tokens: bool = False,
        stride: int | None = None,
        padding: int = 0,
        scales: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.modalities = dict(modalities)
        self.borrowed = borrowed
        self.patch_size: int = kernel.shape[-1]
        self.stride, self.padding = stride or self.patch_size, padding
        self.scales = {name: scales.get(name, 1) for name in self.modalities}
        for name, bands in self.modalities.items():
            if name != borrowed:
                start = initial_kernel(kernel.detach(), bands, alone=len(self.modalities) == 1)
                start = pooled_kernel(start, self.scales[name])
                self.register_parameter(f"kernel_{name}", nn.Parameter(start))
        if borrowed is None:
            start = kernel.new_zeros(len(kernel)) if bias is None else bias.detach().clone()
            self.register_parameter("bias", nn.Parameter(start))
        self.has_tokens = missing_tokens
        for name in self.modalities if missing_tokens else ():
            self.register_parameter(f"missing_{name}", nn.Parameter(kernel.new_zeros(len(kernel))))

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        kernel: Tensor,
        bias: Tensor | None,
        available: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Embed the stream's images.

        Args:
            inputs: by modality, (B, bands, H / scale, W / scale), H and W multiples of the stride, zero where missing;
                others are ignored.
            kernel: the backbone's, (C, 3, p, p).
            bias: the backbone's, (C,) or None.
            available: by modality, (B,) bool; None: everything is there.

        Returns:
            (B, h, w, C), H and W over the stride.
        """
        own: Tensor | None = bias if self.borrowed is not None else self.bias
        embedded: Tensor | None = None
        for scale in dict.fromkeys(self.scales.values()):
            names = [name for name, other in self.scales.items() if other == scale]
            images = torch.cat([inputs[name] for name in names], dim=1)  # (B, all bands, H / scale, W / scale)
            kernels = [self._kernel(name, kernel) for name in names]
            # A sum of convolutions is one over stacked channels; over disjoint patches it is a matrix product.
            part = self._convolve(images, torch.cat(kernels, dim=1), own)
            embedded, own = part if embedded is None else embedded + part, None
        assert embedded is not None  # a stream has modalities
        return embedded + self._stand_in(available)[:, None, None] if self.has_tokens else embedded

    def _convolve(self, images: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """(B, bands, H, W) and (C, bands, p, p) to (B, h, w, C)."""
        p = kernel.shape[-1]
        if self.stride != self.patch_size or self.padding:
            return F.conv2d(images, kernel, bias, self.stride, self.padding).permute(0, 2, 3, 1)
        patches = images.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (B, bands, h, p, w, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (B, h, w, bands·p·p)
        return F.linear(patches, kernel.flatten(1), bias)  # by (C, all bands·p·p)

    def _stand_in(self, available: Mapping[str, Tensor] | None) -> Tensor:
        """Sum of the tokens of what each sample lacks: (B, C), or (1, C) where nothing is missing."""
        tokens = {name: self.get_parameter(f"missing_{name}") for name in self.modalities}
        if available is None:
            # Zeros with a gradient of zero: no parameter may drop out of the graph under DDP.
            available = {name: token.new_ones(1, dtype=torch.bool) for name, token in tokens.items()}
        first, *others = (torch.where(available[name][:, None], 0, token) for name, token in tokens.items())
        for other in others:
            first = first + other
        return first

    def _kernel(self, name: str, pretrained: Tensor) -> Tensor:
        if name == self.borrowed:
            return pooled_kernel(pretrained, self.scales[name])
        kernel = self.get_parameter(f"kernel_{name}")
        # Three channels that see the same band are one channel: (C, 3, p, p) -> (C, 1, p, p).
        return kernel.sum(dim=1, keepdim=True) if self.modalities[name] == 1 else kernel
