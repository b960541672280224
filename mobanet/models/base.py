"""The contract every model meets: inputs by modality and their availability in, logits and latent out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from mobanet.errors import SettingError, check_setting
from mobanet.models.draws import sent
from mobanet.models.own_pixels import finer
from mobanet.models.sharing import each_once

if TYPE_CHECKING:
    from mobanet.models.backbones.stages import BackboneSettings


@dataclass
class SegmentationOutput:
    """What a model returns.

    Attributes:
        logits: (B, K, H, W), at the size of the inputs.
        latent: (B, C, h, w), the deepest fused feature before decoding.
        auxiliary: by stream, logits of shape (B, K, H, W); empty in eval mode unless asked for.
    """

    logits: Tensor
    latent: Tensor
    auxiliary: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Standardization:
    """Mean and standard deviation, one a band, that a model expects taken off its inputs after scaling to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class NetworkInputs:
    """What a network is made for.

    Attributes:
        modalities: number of bands by modality, in the order of the data.
        streams: the same by stream, for networks that have streams.
        num_classes: K.
        pixel_ratios: by modality, pixels of the grid that one of its own is wide and high; 1 where it is not named.
        backbone: `--model.backbone`, for networks around a transformer of timm's (`build_backbone`). One that calls it
            `self.backbone` gets light checkpoints, without a frozen backbone's weights.
    """

    modalities: Mapping[str, int]
    streams: Mapping[str, Mapping[str, int]]
    num_classes: int
    backbone: "BackboneSettings"
    pixel_ratios: Mapping[str, int] = field(default_factory=dict)


def select_available(inputs: dict[str, Tensor], available: Tensor | None) -> dict[str, Tensor]:
    """The inputs with every missing modality replaced by zeros: the one place where absence happens.

    Args:
        inputs: by modality, in the order of the columns of `available`; each (B, C, H, W), normalised.
        available: (B, M) bool, or None when everything is there.

    Returns:
        New tensors; selection, not multiplication, so that NaN in a missing modality cannot spread.

    Raises:
        ValueError: when `available` is not of shape (B, M).
    """
    if available is None:
        return inputs
    _check_available(inputs, available)
    zero = torch.zeros((), device=available.device)
    return {
        name: torch.where(available[:, column, None, None, None], x, zero.to(x.dtype))
        for column, (name, x) in enumerate(inputs.items())
    }


def size_of(inputs: Mapping[str, Tensor]) -> tuple[int, int]:
    """Height and width that all inputs share."""
    height, width = next(iter(inputs.values())).shape[-2:]
    return height, width


def check_classes(count: int) -> None:
    """Refuse a model without a class, by `SettingError`."""
    check_setting(count > 0, "num_classes", f"is {count}: give the number of classes, at least 1.")


def check_choices(settings: Any, group: str) -> None:
    """Refuse a dataclass of settings, of the options `--model.GROUP`, with a field that is none of its choices.

    Raises:
        UserError: naming the first.
    """
    for name, kind in get_type_hints(type(settings)).items():
        if get_origin(kind) is Literal and (value := getattr(settings, name)) not in get_args(kind):
            raise SettingError(f"{group}.{name}", f"is {value!r}: choose one of {', '.join(get_args(kind))}.")


def _check_available(inputs: dict[str, Tensor], available: Tensor) -> None:
    batch = next(iter(inputs.values())).shape[0]
    if available.shape != (batch, len(inputs)):
        raise ValueError(f"available must have shape ({batch}, {len(inputs)}), got {tuple(available.shape)}")


def check_unsynced(network: "SegmentationModel") -> None:
    """Refuse to normalise over the batches of all processes what knows scenarios.

    Raises:
        UserError: for a network that is normalised by scenario.
    """
    # torch puts layers of its own in the place of all batch normalisations, which know but one kind of statistics
    check_setting(
        not network.one_scenario_a_batch,
        "trainer.sync_batchnorm",
        "is true and `network.normalization` scenario, with which each process draws a scenario of its own: set it "
        "false, or normalization to batch.",
    )


class SegmentationModel(nn.Module, ABC):
    """Base of all networks.

    In eval mode `model(batch)[i]` equals `model(batch[i:i+1])`, whatever the mix of availability in the batch.

    A network of a user's own is a subclass whose constructor takes `inputs` and its `settings`, named by import path:
    `--model.architecture package.module.Class`. Nothing else knows of it (see `mobanet.models.registry`).

    Args:
        inputs: that it is made for; None for networks that set the attributes below themselves.

    Attributes:
        Settings: a dataclass of what `--model.arguments` may hold, of numbers, switches, text and lists of these; None
            for a network without settings.
        patch_size: inputs whose sides are multiples of it are not padded, in pixels.
        least_size: the smallest side that the network sees, in pixels.
        modalities: number of bands by modality, in order.
        num_classes: K.
        standardization: by modality, for those whose pretrained kernel expects one.
        pixel_ratios: by modality, pixels of the grid that one of its own is wide and high; 1 where it is not named.
        uses_streams: modalities are sorted into the streams that `--model.streams` names (`NetworkInputs.streams`).
        own_pixels: `segment` takes such modalities as they are; else they are repeated to the grid's pixels before.
    """

    Settings: ClassVar[type[Any] | None] = None
    patch_size: int = 1
    least_size: int = 32
    modalities: dict[str, int]
    num_classes: int
    standardization: dict[str, Standardization]
    pixel_ratios: Mapping[str, int] = MappingProxyType({})
    uses_streams: bool = False
    own_pixels: bool = False

    def __init__(self, inputs: NetworkInputs | None = None) -> None:
        super().__init__()
        if inputs is not None:
            self.pixel_ratios = dict(inputs.pixel_ratios)
            self.modalities, self.num_classes = dict(inputs.modalities), inputs.num_classes
            self.standardization = {}

    def forward(
        self, inputs: dict[str, Tensor], available: Tensor | None = None, auxiliary: bool | None = None
    ) -> SegmentationOutput:
        """Segment a batch.

        Args:
            inputs: by modality, (B, C_m, H, W), normalised, of any floating-point type; any H and W, over its pixel
                ratio where a modality has one.
            available: (B, M) bool in the order of `modalities`, where the inputs are or on the CPU; None when
                everything is there.
            auxiliary: whether to compute auxiliary logits; None: in training mode only.

        Raises:
            ValueError: when modalities, bands or sizes are not those of the model.
        """
        ordered = self._order(inputs)
        auxiliary = self.training if auxiliary is None else auxiliary
        if available is None:
            return self.segment(ordered, None, auxiliary)
        # availability is drawn on the CPU; a plain copy would wait for all that the GPU has queued
        there = sent(available, next(iter(ordered.values())).device)
        return self.segment(select_available(ordered, there), available if self.parts_samples else there, auxiliary)

    def forward_each(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[SegmentationOutput]:
        """What `forward(inputs, pattern, auxiliary=False)` gives for each availability pattern, one after the other.

        Meant for evaluation: work that patterns share is done once, so in training they would share random draws too.
        Equal patterns give the same object; others may differ from `forward` by rounding.

        Args:
            inputs: as in `forward`.
            patterns: (B, M) bool each.

        Raises:
            ValueError: as `forward`.
        """
        self._order(inputs, patterns)  # refuses what does not fit, before anything is asked for
        return each_once(
            patterns, lambda distinct: (self(inputs, available, auxiliary=False) for available in distinct)
        )

    def latents(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor]) -> Iterator[Tensor]:
        """The latents alone, (B, C, h, w) each, of what `forward_each` gives; without a decoder where a model can."""
        return (output.latent for output in self.forward_each(inputs, patterns))

    parts_samples = False
    """Whether what is computed of a batch depends on which of its samples lack what, so that `segment` is given
    `available` as it came: on the CPU, if it was there, where it can be read without waiting for a device."""

    one_scenario_a_batch = False
    """Whether training draws a scenario for a batch rather than for each sample: those of a batch that are of the same
    one are normalised by themselves, and statistics of few samples are noise."""

    apart = False
    """Whether samples that lack something are seen by other parts than complete ones."""

    joined = False
    """Whether, in training and for now, they are seen by the same: before these parts begin."""

    def idle_parts(self, reached: tuple[bool, bool] | None = None) -> list[nn.Module]:
        """After a backward pass, parts that none of its samples reached; the same on every rank.

        Args:
            reached: whether there were complete samples, and incomplete ones, on any rank; None: as gradients tell,
                which waits for the device.
        """
        return []

    def compile_steps(self, **options: Any) -> None:
        """Compile what a training step and an evaluation run of this network.

        Args:
            options: of `torch.compile`.
        """
        self.compile(**options)

    def part_ways(self) -> None:
        """Told when training on incomplete scenarios begins after one on all sensors; nothing here.

        Also before each validation of the latter: a checkpoint from there is to be of use, too.
        """

    @abstractmethod
    def segment(self, inputs: dict[str, Tensor], available: Tensor | None, auxiliary: bool) -> SegmentationOutput:
        """Segment inputs in which missing modalities are already zero.

        Args:
            inputs: by modality, (B, C_m, H, W), in the order of `modalities`; H and W over its pixel ratio with
                `own_pixels`.
            available: (B, M) bool, for models that do more about absence than see zeros; None: everything is there.
            auxiliary: whether to compute auxiliary logits.
        """

    def _order(self, inputs: dict[str, Tensor], patterns: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """The inputs in the order of `modalities` and the type of the weights, with all shapes checked.

        In the grid's pixels, unless `segment` takes those of their own.
        """
        if inputs.keys() != self.modalities.keys():
            raise ValueError(f"this model takes the modalities {list(self.modalities)}, got {list(inputs)}")
        # heights and widths are compared on the ground, since a coarse modality has fewer pixels of it
        shapes = {name: tuple(x.shape) for name, x in inputs.items()}
        ratios = {name: self.pixel_ratios.get(name, 1) for name in shapes}
        extents = [(b, h * ratios[name], w * ratios[name]) for name, (b, _, h, w) in shapes.items()]
        if any(extent != extents[0] for extent in extents):  # not a set: symbols of an export have no hash
            of = f" in pixels of the ratios {ratios}" if any(ratio != 1 for ratio in ratios.values()) else ""
            raise ValueError(f"all modalities must have one batch size, height and width{of}, got {shapes}")
        for name, bands in self.modalities.items():
            if shapes[name][1] != bands:
                raise ValueError(f"modality {name} has {bands} bands in this model, got {shapes[name][1]}")
        # columns of `available` go by this order, whatever that of the mapping
        ordered = {name: self._as_weights(inputs[name]) for name in self.modalities}
        if not self.own_pixels:
            ordered = {name: finer(x, ratios[name]) for name, x in ordered.items()}
        for pattern in patterns:
            _check_available(ordered, pattern)
        return ordered

    def _as_weights(self, x: Tensor) -> Tensor:
        """Inputs are scaled in float32; the weights are of another type in Lightning's true precisions."""
        dtype = next((weight.dtype for weight in self.parameters() if weight.is_floating_point()), x.dtype)
        return x if x.dtype == dtype else x.to(dtype)
