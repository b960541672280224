"""A trained model as a GIS plugin wants it: one input with all bands of a layer, probabilities out, no other input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobanet.data.scaling import learnt_radius
from mobanet.errors import UserError
from mobanet.exporting.deployed import AVAILABLE, TILE_WISE, DeployedModel, offset_scale_name
from mobanet.exporting.pretrained import PretrainedModel
from mobanet.models.own_pixels import finer
from mobanet.rasters.contents import Modality
from mobanet.rasters.opening import ABSURD
from mobanet.rasters.reader import in_unit
from mobanet.rasters.values import HIGHEST, LOWEST
from mobanet.scenarios.scenario import Scenario

Datum = Literal["layer", "window"]

DIVISOR = 255.0
"""By which the plugin divides every value, whatever its range."""

_QUANTILE, _LEAST, _NOTHING, _RIDGE, _ITERATIONS = 0.1, 0.05, 1e-6, 3e-4, 10
"""Of the plane that is fitted to a window's heights, as `mobanet.rasters.ground` has them."""

_SENTINEL = -999.0
"""The one of `mobanet.rasters.values.SENTINELS` that is no height on land and lies within the bounds of heights."""


@dataclass(frozen=True)
class StackedBand:
    """A band of the stacked input, by the name of its modality, its own there, and in words what it holds."""

    modality: str
    band: str
    values: str


def needs_datum(model: PretrainedModel, scenario: Scenario) -> list[str]:
    """Names of the scenario's modalities that are scaled by what is measured on a whole scene."""
    data = model.module.data
    return [m.name for m in _there(model, scenario) if data.scaling[m.name] in (*TILE_WISE, "ground")]


class StackedModel(nn.Module):
    """Segments windows of one raster layer that holds all bands, as they are handed over divided by 255.

    A pixel of a modality was not measured where a band is not finite or absurdly large, has the nodata value that the
    training's rasters were read with, or, of heights, is none on land; and in all modalities where every band of the
    layer is 0, as in what a window is padded with beyond the layer's edge. A modality of which a window has nothing
    counts as missing in it.

    Args:
        model: read whole.
        scenario: its modalities are the input's, in the model's order; the others count as missing.
        datum: of modalities that are scaled by what is measured on a whole scene: `layer`, the layer holds what is
            left when that is done (heights above the ground; values less the scene's median; values scaled from 0 to
            1), or `window`, it is measured on each window, the ground as one plane; None where the scenario has none.

    Attributes:
        bands: of the input, in order.

    Raises:
        UserError: when a modality needs a datum and none is given.
    """

    bits: Tensor
    temperatures: Tensor

    def __init__(self, model: PretrainedModel, scenario: Scenario, datum: Datum | None = None) -> None:
        super().__init__()
        if datum is None and (names := needs_datum(model, scenario)):
            raise _no_datum(model, names[0], scenario)
        data = model.module.data
        self.model: DeployedModel = model.deployed
        self.scenario, self.datum, self.scaling = scenario, datum, dict(data.scaling)
        self.modalities = _there(model, scenario)
        # of values that were multiplied in training the layer holds others, whose nodata value nobody told
        self.nodata = {name: rule.nodata for name, rule in model.training.rasters.rules.items() if rule.factor == 1}
        # a layer of heights alone may well be 0 where there is ground
        self.pads = any(modality.kind == "optical" for modality in self.modalities)
        self.bands = tuple(
            StackedBand(modality.name, band, _values(modality, self.scaling[modality.name], model, datum))
            for modality in self.modalities
            for band in modality.bands
        )
        for place, modality in enumerate(data.modalities):
            if modality.name in self.model.tile_wise:
                scale = model.learnt[modality.name][1] if self.scaling[modality.name] == "robust" else 1.0
                offset_scale = torch.zeros(2, len(modality.bands))
                offset_scale[1] = torch.as_tensor(scale, dtype=torch.float32)
                self.register_buffer(f"given_{place}", offset_scale[None], persistent=False)
        self.register_buffer("bits", 2 ** torch.arange(len(self.modalities)), persistent=False)
        known = model.temperatures
        names = [
            # as scenarios are named, in the model's order
            "+".join(modality.name for bit, modality in enumerate(self.modalities) if pattern >> bit & 1)
            for pattern in range(1 << len(self.modalities))
        ]
        self.register_buffer("temperatures", torch.tensor([known.get(name, 1.0) for name in names]), persistent=False)

    @property
    def num_outputs(self) -> int:
        """Channels of the output: no data, and the classes."""
        return 1 + self.model.network.num_classes

    def forward(self, image: Tensor) -> Tensor:
        """Segment.

        Args:
            image: (B, C, S, S) float32, the bands of the layer divided by 255.

        Returns:
            (B, 1 + K, S, S) float32 that add up to 1: first whether nothing was measured, and behind it, where
            something was, the calibrated probabilities of the classes.
        """
        stored, measured = self.parted(image * DIVISOR)
        feeds = self._feeds(stored, measured, image)
        logits = self.model(feeds)
        ratios = self.model.ratios
        seen = torch.stack([there.flatten(1).any(1) for there in measured.values()], 1)  # (B, M of the scenario)
        number = (seen.long() * self.bits).sum(1)  # of the pattern; ONNX knows no shift
        shares = torch.softmax(logits / self.temperatures[number][:, None, None, None], 1)
        there = torch.stack([finer(x, ratios[name]) for name, x in measured.items()], 1).any(1, keepdim=True)
        return torch.cat((1 - there.to(shares.dtype), torch.where(there, shares, shares.new_zeros(()))), 1)

    def parted(self, values: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Of the layer's values (B, C, S, S), by modality the stored ones, and where they were measured, (B, S, S).

        Of a modality with coarser pixels S / ratio: means of what was measured of each.
        """
        stored, measured, first = {}, {}, 0
        blank = (values == 0).all(1) if self.pads else None
        for modality in self.modalities:
            x = values[:, first : first + len(modality.bands)]
            first += len(modality.bands)
            valid = (x.abs() < ABSURD).all(1)  # NaN compares false
            valid = valid & ~self._stands_for_nothing(modality, x)
            # 0 in every band is padding, while 0 in one is a dark pixel
            valid = valid if blank is None else valid & ~blank
            stored[modality.name], measured[modality.name] = coarser(x, valid, modality.pixel_ratio)
        return stored, measured

    def _stands_for_nothing(self, modality: Modality, x: Tensor) -> Tensor:
        """Where the numbers of a modality mean that there is none, (B, S, S)."""
        odd = torch.zeros_like(x, dtype=torch.bool)
        nodata = self.nodata.get(modality.name)
        if nodata is not None:
            odd = (x - nodata).abs() <= 1e-6 * max(abs(nodata), 1.0)  # the division by 255 takes digits
            if modality.kind == "optical" and 0 <= nodata <= (modality.maximum or 0):
                odd = odd.all(1, keepdim=True)  # such as 0, which a single band may have
        if modality.kind == "elevation" and not (self.datum == "layer" and self.scaling[modality.name] == "minmax"):
            low, high, none = (in_unit(metres, modality) for metres in (LOWEST, HIGHEST, _SENTINEL))
            odd = odd | (x < low) | (x > high) | ((x - none).abs() < 1e-3 * abs(none))
        return odd.any(1)

    def _feeds(self, stored: Mapping[str, Tensor], measured: Mapping[str, Tensor], image: Tensor) -> dict[str, Tensor]:
        """What the deployed model takes."""
        feeds: dict[str, Tensor] = {}
        batch, height, width = image.shape[0], image.shape[2], image.shape[3]
        for place, (name, bands) in enumerate(self.model.modalities.items()):
            if name not in stored:
                # another scenario's: it is fed, since the network's inputs are fixed, and not available
                ratio = self.model.ratios[name]
                feeds[name] = image.new_zeros(batch, bands, height // ratio, width // ratio)
                if name in self.model.tile_wise:
                    feeds[offset_scale_name(name)] = self.get_buffer(f"given_{place}").expand(batch, 2, bands)
                continue
            x, there = stored[name], measured[name]
            if self.scaling[name] == "ground" and self.datum == "window":
                x = x - lower_plane(x, there)
            if name in self.model.tile_wise:
                feeds[offset_scale_name(name)] = self._offset_scale(name, place, x, there)
            feeds[name] = torch.where(there[:, None], x, x.new_full((), torch.nan))
        available = torch.tensor(self.scenario.available, device=image.device)
        feeds[AVAILABLE] = available.expand(batch, -1)
        return {name: feeds[name] for name in self.model.inputs}

    def _offset_scale(self, name: str, place: int, x: Tensor, there: Tensor) -> Tensor:
        """Offsets and scales, (B, 2, C)."""
        given = self.get_buffer(f"given_{place}").expand(x.shape[0], 2, x.shape[1])
        if self.datum == "layer":
            return given
        if self.scaling[name] == "robust":
            return torch.stack((_ranked(x, there, 0.5), given[:, 1]), 1)
        low = _ranked(x, there, 0.0)
        return torch.stack((low, _ranked(x, there, 1.0) - low), 1)


def coarser(x: Tensor, valid: Tensor, ratio: int) -> tuple[Tensor, Tensor]:
    """Means of (B, C, S, S) over valid pixels of squares, (B, C, S / ratio, S / ratio), and which have any."""
    if ratio == 1:
        return x, valid
    share = F.avg_pool2d(valid[:, None].to(x.dtype), ratio)
    means = F.avg_pool2d(torch.where(valid[:, None], x, x.new_zeros(())), ratio)
    # the clamp: 0 / 0 where nothing was measured
    return means / share.clamp(min=torch.finfo(x.dtype).tiny), share[:, 0] > 0


def lower_plane(x: Tensor, there: Tensor) -> Tensor:
    """The plane under most of each band's measured values, (B, C, H, W): a tenth of them lie below it.

    As in `mobanet.rasters.ground`, where it is fitted around each node of a lattice: least squares that are
    weighted anew in turn (Koenker and Bassett 1978). Here all pixels of the window count alike.
    """
    height, width = x.shape[2:]
    # from -1 to 1, so that the ridge weighs alike in windows of any size
    down, across = (torch.linspace(-1, 1, count, device=x.device) for count in (height, width))
    v, u = (grid.reshape(1, 1, -1) for grid in torch.meshgrid(down, across, indexing="ij"))
    valid = there.flatten(1)[:, None].to(x.dtype)  # (B, 1, N)
    z = torch.where(valid > 0, x.flatten(2), x.new_zeros(()))
    w, whole = valid.expand_as(z), valid.sum(2, keepdim=True).clamp(min=1)

    def mean(of: Tensor) -> Tensor:
        return (w * of).sum(2, keepdim=True) / total

    for last in [*[False] * _ITERATIONS, True]:
        total = w.sum(2, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        middle = mean(z)
        dv, du, dz = v - mean(v), u - mean(u), z - middle
        # the ridge keeps the plane determined where what was measured lies on a line
        vv, uu, vu, vz, uz = mean(dv * dv) + _RIDGE, mean(du * du) + _RIDGE, mean(dv * du), mean(dv * dz), mean(du * dz)
        determinant = vv * uu - vu**2
        slopes = (vz * uu - uz * vu) / determinant, (uz * vv - vz * vu) / determinant
        plane = middle + slopes[0] * dv + slopes[1] * du
        if last:
            break
        above = z - plane
        least = _LEAST * (valid * above.abs()).sum(2, keepdim=True) / whole + _NOTHING
        # weighted so, squares come to the quantile's (pinball) loss; `least` keeps weights finite near 0
        w = valid * torch.where(above > 0, _QUANTILE, 1 - _QUANTILE) / (above.abs() + least)
    return plane.reshape(x.shape)


def _ranked(x: Tensor, there: Tensor, share: float) -> Tensor:
    """Of each band's measured values the one that a share of the others lies below, (B, C); 0 where there is none.

    A share of 0 is for the least, 1 for the greatest.
    """
    count = there.flatten(1).sum(1)  # (B,)
    # a sort of all pixels: a graph cannot pick out those that were measured, whose number varies
    beyond = torch.where(there[:, None], x, x.new_full((), torch.inf)).flatten(2)  # (B, C, N), the others at the end
    place = ((count - 1).clamp(min=0).float() * share).round().long()
    found = beyond.sort(dim=2).values.gather(2, place[:, None, None].expand(-1, x.shape[1], 1))[:, :, 0]
    return torch.where(count[:, None] > 0, found, found.new_zeros(()))


def _there(model: PretrainedModel, scenario: Scenario) -> list[Modality]:
    """The modalities of a scenario."""
    return [m for m, there in zip(model.module.data.modalities, scenario.available, strict=True) if there]


def _values(modality: Modality, scaling: str, model: PretrainedModel, datum: Datum | None) -> str:
    """What a band holds, in words."""
    unit = modality.unit or "digital numbers"
    if scaling == "unit":
        return f"0 to {float(model.learnt[modality.name][1].max()):g}"
    if scaling == "standard" or datum == "window":
        return unit
    if scaling == "ground":
        radius = learnt_radius(scaling, model.learnt[modality.name])
        return f"height above the ground within {radius} pixels, {unit}"
    if scaling == "robust":
        return f"{unit}, less the median of the scene"
    return "from 0, the scene's least value, to 1, its greatest"


def _no_datum(model: PretrainedModel, name: str, scenario: Scenario) -> UserError:
    scaling = model.module.data.scaling[name]
    what, layer = {
        "ground": ("the ground around each pixel", "heights above the ground"),
        "robust": ("the median of the whole scene", "values less that median"),
        "minmax": ("the range of the whole scene", "values scaled from 0 to 1 by it"),
    }[scaling]
    without = "+".join(modality.name for modality in _there(model, scenario) if modality.name != name)
    way_out = f", or leave {name} out with --scenario {without}" if without else ""
    return UserError(
        f"{name} is scaled by {what}, which no window of the plugin shows: give --datum layer where the layer's band "
        f"holds {layer}, --datum window to measure it on each window, which changes the map{way_out}."
    )
