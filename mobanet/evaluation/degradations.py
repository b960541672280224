"""Degradations of one sensor, by name and severity: what a scenario, in which it is there or not, does not tell.

Each is a function of the seed, the sensor, the tile and the pixel's place in it, and of nothing else, so that a pixel
that several windows see is the same in all of them, whatever their stride, order, batch or process. Of one seed, what a
milder severity destroys a stronger one destroys, too, and noise grows in its place.

Pixels are the sensor's own, where these are others than the grid's.

All act on what the network takes, values after scaling and standardisation. A delivery in other units or at another
level (haze, a vertical offset, a wrong scale) would be prepared as it is: the median of its tile, which `robust` takes
off, the extremes that `minmax` goes by, and the ground under its heights move with it. `_levelled` works that out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mobanet.datasets.scalings import Scaling
from mobanet.errors import UserError
from mobanet.evaluation.pixel_noise import Key, normal, uniform
from mobanet.models.base import Standardization
from mobanet.plain.wording import did_you_mean
from mobanet.rasters.contents import Modality

OPTION = "--degrade"
ALL = "all"

RMM, NM = "RMM", "NM"
"""Words of the literature on sensor failure: random-missing and noisy modality."""

_BLOCK = 64
"""Pixels of a missing block's side: several of a transformer's patches, and less than a usual window of 256, so that
windows see part of the sensor; what a window without any of it is predicted as, the scenarios tell."""
_BLOCKS_ACROSS = 8
"""Of a tile at least, down to blocks of `_LEAST` pixels, so that shares are what they say on small tiles, too."""
_LEAST = 8

_WAYS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
"""In which a sensor may be shifted."""


@dataclass(frozen=True)
class SensorWindows:
    """Windows of one sensor, in pixels of its own, with what degradations have to know of them.

    Attributes:
        modality: the sensor.
        scaling: of its stored values.
        standardization: that follows it; None for none.
        values: (B, C, H + 2m, W + 2m) float32 as the network takes them; 0 where nothing was measured.
        valid: (B, H + 2m, W + 2m) bool, where it was.
        margin: m, pixels around the window itself.
        tiles: ids of the windows' tiles.
        places: top and left of each window in its tile, without the margin, in pixels.
        extents: height and width of each tile.
        offset_scale: (B, 2, C), offsets and scales that stored values were scaled by.
        marks: (B, 3, C), lowest, highest and a bright value in stored units (`mobanet.data.wide_windows.marks_of`).
        seed: of all draws.
    """

    modality: Modality
    scaling: Scaling
    standardization: Standardization | None
    values: Tensor
    valid: Tensor
    margin: int
    tiles: Sequence[str]
    places: Sequence[tuple[int, int]]
    extents: Sequence[tuple[int, int]]
    offset_scale: Tensor
    marks: Tensor
    seed: int

    @property
    def size(self) -> tuple[int, int]:
        """H and W."""
        return self.values.shape[2] - 2 * self.margin, self.values.shape[3] - 2 * self.margin

    def cut(self, down: int = 0, right: int = 0) -> tuple[slice, slice]:
        """The window itself, or what lies so many pixels further down and to the right, at most the margin."""
        height, width = self.size
        top, left = self.margin + down, self.margin + right
        return slice(top, top + height), slice(left, left + width)

    def own(self) -> tuple[Tensor, Tensor]:
        """Values and validity of the windows themselves, (B, C, H, W) and (B, H, W)."""
        return self.values[(..., *self.cut())], self.valid[(..., *self.cut())]

    def key(self, number: int, *parts: str | int) -> Key:
        """Of draws for the tile of window `number`; parts begin with the degradation's name."""
        return Key.of(self.seed, self.modality.name, self.tiles[number], *parts)

    def pixels(self, number: int) -> tuple[Tensor, Tensor]:
        """Rows (H,) and columns (W,) of window `number` in its tile."""
        (top, left), (height, width) = self.places[number], self.size
        device = self.values.device
        return torch.arange(top, top + height, device=device), torch.arange(left, left + width, device=device)

    def drawn(self, draw: Callable[[Key, Tensor, Tensor], Tensor], *parts: str | int) -> Tensor:
        """Numbers for the pixels of each window, (B, H, W), by `uniform` or `normal`; parts as in `key`."""
        return torch.stack([draw(self.key(n, *parts), *self.pixels(n)) for n in range(len(self.tiles))])


Degraded = tuple[Tensor, Tensor]
"""Values (B, C, H, W) and validity (B, H, W) of the windows themselves; 0 where not valid."""


@dataclass(frozen=True)
class Degradation:
    """A kind of degradation.

    Attributes:
        name: on the command line and in tables.
        severities: from mild to strong.
        words: of a severity, a format for the number, or for it as `percent`.
        meaning: what happens, and what a severity means.
        apply: to windows, at a severity.
        kinds: of the modalities it applies to; empty for all.
        measure: what the literature counts it under; empty for nothing.
        margin: pixels around a window that it looks at.
    """

    name: str
    severities: tuple[float, ...]
    words: str
    meaning: str
    apply: Callable[[SensorWindows, float], Degraded]
    kinds: tuple[str, ...] = ()
    measure: str = ""
    margin: int = 0

    def applies_to(self, modality: Modality) -> bool:
        """Whether a sensor of this kind can suffer it."""
        return not self.kinds or modality.kind in self.kinds

    def worded(self, severity: float) -> str:
        """A severity as tables have it: `25 %`, `4 px`."""
        return self.words.format(severity, percent=100 * severity)


def chosen_degradations(given: str, modalities: Sequence[Modality]) -> list[Degradation]:
    """The degradations that a user names, in the usual order.

    Args:
        given: `all`, for those that apply to a modality of the data, or names joined by commas.
        modalities: of the data.

    Raises:
        UserError: for a name that is no degradation, one that applies to no modality, and data of a single modality.
    """
    names = [name.strip() for name in given.split(",")]
    wanted = [each for name, each in DEGRADATIONS.items() if ALL in names or name in names]
    for name in names:
        if name != ALL and name not in DEGRADATIONS:
            hint = did_you_mean(name, DEGRADATIONS)
            raise UserError(
                f"{OPTION} names {name or 'nothing'}, which is no degradation{hint}; choose from "
                f"{', '.join(DEGRADATIONS)} by commas, or write {OPTION} alone for all."
            )
    if len(modalities) == 1:
        raise UserError(
            f"{OPTION} degrades one sensor while the others are as they were, and this model has {modalities[0].name} "
            "alone; leave it out, or test a model of several modalities."
        )
    apply = [each for each in wanted if any(map(each.applies_to, modalities))]
    for name in names:
        if name != ALL and DEGRADATIONS[name] not in apply:
            kinds = " or ".join(DEGRADATIONS[name].kinds)
            has = ", ".join(f"{modality.name} ({modality.kind})" for modality in modalities)
            raise UserError(
                f"{OPTION} {name} is for modalities of the kind {kinds}, and this model has {has}; leave {name} out."
            )
    return apply


def _blocks(windows: SensorWindows, severity: float) -> Degraded:
    kept = []
    for number, extent in enumerate(windows.extents):
        side = block_side(extent)
        gone = _gone_blocks(windows.key(number, "blocks"), extent, side, severity).to(windows.values.device)
        # a window may reach beyond its tile, where nothing was measured anyway
        down, right = (
            (at // side).clamp(max=most - 1) for at, most in zip(windows.pixels(number), gone.shape, strict=True)
        )
        kept.append(~gone[down[:, None], right[None]])
    return _without(windows, torch.stack(kept))


def block_side(extent: tuple[int, int]) -> int:
    """Pixels of a missing block's side, of a tile of so many rows and columns."""
    return max(_LEAST, min(_BLOCK, min(extent) // _BLOCKS_ACROSS))


@lru_cache(maxsize=256)  # most windows of a batch, and batches behind each other, are of one tile
def _gone_blocks(key: Key, extent: tuple[int, int], side: int, share: float) -> Tensor:
    """Which blocks of a tile are missing, (h, w) bool: as many, in a drawn order, as come nearest to a share."""
    # the last ones may be smaller
    high, wide = (np.minimum(side, length - np.arange(0, length, side)) for length in extent)
    drawn = uniform(key, torch.arange(len(high)), torch.arange(len(wide))).numpy()
    order = np.argsort(drawn, axis=None, kind="stable")  # of equal numbers the first, on every machine
    lost = np.concatenate([[0], np.cumsum(np.outer(high, wide).ravel()[order])])
    # by pixels, as blocks at the right and the bottom edge are smaller
    count = int(np.abs(lost - share * lost[-1]).argmin())
    gone = torch.zeros(drawn.size, dtype=torch.bool)
    gone[torch.from_numpy(order[:count])] = True
    return gone.view(drawn.shape)


def _pixels(windows: SensorWindows, severity: float) -> Degraded:
    return _without(windows, windows.drawn(uniform, "pixels") >= severity)


def _without(windows: SensorWindows, kept: Tensor) -> Degraded:
    values, valid = windows.own()
    valid = valid & kept
    return _measured(values, valid), valid


def _gaussian(windows: SensorWindows, severity: float) -> Degraded:
    values, valid = windows.own()
    drawn = [windows.drawn(normal, "gaussian", band) for band in range(values.shape[1])]
    return _measured(values + severity * torch.stack(drawn, 1), valid), valid


def _salt_and_pepper(windows: SensorWindows, severity: float) -> Degraded:
    """Dead and saturated pixels, all bands of them, at the lowest and the highest value that their tile has."""
    values, valid = windows.own()
    at = windows.drawn(uniform, "salt_and_pepper")[:, None]  # (B, 1, H, W)
    offset, scale = windows.offset_scale.unbind(1)
    mean, std = _standard(windows)
    low, high = (((mark - offset) / scale - mean) / std for mark in windows.marks[:, :2].unbind(1))
    # both by one draw: what a milder severity turns, a stronger one turns to the same end
    values = torch.where(at < severity / 2, low[:, :, None, None], values)
    return _measured(torch.where(at > 1 - severity / 2, high[:, :, None, None], values), valid), valid


def _haze(windows: SensorWindows, severity: float) -> Degraded:
    """Light from the haze in place of as much light from the ground, alike in a whole tile.

    A tile is some hundred metres to a few kilometres wide, over which haze hardly changes. Its light is as bright as
    bright ground.
    """
    bright = windows.marks[:, 2]
    return _levelled(windows, torch.full_like(bright, 1 - severity), severity * bright)


def _blur(windows: SensorWindows, severity: float) -> Degraded:
    """A Gaussian over what was measured; what was not takes no part and stays missing."""
    reach = _reach(severity)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / severity) ** 2)
    weights /= weights.sum()
    values, weight = windows.values, windows.valid[:, None].float()
    # a Gaussian is the product of one along rows and one along columns: two short passes
    for axis in (2, 3):
        values, weight = (_smoothed(x, weights, axis, windows.margin) for x in (values, weight))
    valid = windows.own()[1]
    # the weights of what was measured do not sum to 1; where nothing was in reach, 0 / tiny is 0
    return _measured(values / weight.clamp(min=torch.finfo(torch.float32).tiny), valid), valid


def _reach(sigma: float) -> int:
    return int(3 * sigma)  # beyond it lie 0.3 per cent of a Gaussian


def _smoothed(x: Tensor, weights: np.ndarray, axis: int, margin: int) -> Tensor:
    """Weighted sums along an axis, which loses its margin.

    Term by term rather than as a convolution, whose order of sums depends on where in a window a pixel lies.
    """
    length, reach = x.shape[axis] - 2 * margin, len(weights) // 2
    total = torch.zeros_like(x.narrow(axis, margin, length))
    for k, weight in enumerate(weights.tolist()):
        total = total + x.narrow(axis, margin - reach + k, length) * weight
    return total


def _misregistration(windows: SensorWindows, severity: float) -> Degraded:
    """All of a tile's pixels so many pixels away in one of eight directions; at the rim nothing comes in."""
    values, valid = [], []
    for number in range(len(windows.tiles)):
        down, right = _WAYS[windows.key(number, "misregistration").choice(len(_WAYS))]
        # diagonally so many each way: the grid of pixels is kept, and nothing is resampled
        cut = windows.cut(down * int(severity), right * int(severity))
        values.append(windows.values[(number, ..., *cut)])
        valid.append(windows.valid[(number, *cut)])
    return torch.stack(values), torch.stack(valid)


def _offset(windows: SensorWindows, severity: float) -> Degraded:
    shift = _heights(windows, 0.0, severity)
    return _levelled(windows, torch.ones_like(shift), shift)


def _scale(windows: SensorWindows, severity: float) -> Degraded:
    gain = _heights(windows, 1.0, severity)
    return _levelled(windows, gain, torch.zeros_like(gain))


def _heights(windows: SensorWindows, others: float, first: float) -> Tensor:
    """(B, C), one number for the first band, which has the heights of an elevation modality, and one for others."""
    out = torch.full_like(windows.offset_scale[:, 0], others)  # such as a slope
    out[:, 0] = first
    return out


def _levelled(windows: SensorWindows, gain: Tensor, shift: Tensor) -> Degraded:
    """Windows whose stored values were multiplied and then raised, prepared and scaled as such a delivery would be."""
    values, valid = windows.own()
    if windows.scaling == "minmax":  # the tile's extremes become 0 and 1, whatever they are
        return values, valid
    offset, scale = windows.offset_scale.unbind(1)
    # the ground and a tile's median move along, and nothing is left but the gain; other offsets are the training's
    follows = windows.scaling in ("ground", "robust")
    # x = s * scale + offset becomes gain * x + shift: (that - offset) / scale = gain * s + raised
    raised = torch.zeros_like(shift) if follows else ((gain - 1) * offset + shift) / scale
    mean, std = _standard(windows)
    # and s = z * std + mean, standardised: gain * z + raised
    raised = ((gain - 1) * mean + raised) / std
    return _measured(gain[:, :, None, None] * values + raised[:, :, None, None], valid), valid


def _standard(windows: SensorWindows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation that scaled values are standardised by, (C,)."""
    given, like = windows.standardization, windows.offset_scale[0, 0]
    if given is None:
        return torch.zeros_like(like), torch.ones_like(like)
    return like.new_tensor(given.mean), like.new_tensor(given.std)


def _measured(values: Tensor, valid: Tensor) -> Tensor:
    # chosen, not multiplied: NaN times 0 would stay NaN
    return torch.where(valid[:, None], values, values.new_zeros(()))


_SIGMAS = (1.0, 2.0, 4.0)
"""Of the blur: a slightly soft lens, motion or resampling from pixels twice as large, and from four times as large."""

_SHIFTS = (1.0, 4.0, 16.0)
"""Pixels: what good products are registered to; an orthophoto rectified with another terrain model; a patch of the
usual transformers, as when datums are confused on pixels of some metres or roofs lean in an orthophoto of 5 cm."""

_OFFSETS = (0.5, 5.0, 45.0)
"""Metres: a weakly controlled block of images; navigation without ground control; heights above the ellipsoid for those
above the geoid, in central Europe."""

_SCALES = (1.1, 1.5, 3.28084)
"""A weak calibration of the camera; exaggeration left in from a display; feet read as metres."""

_HAZES = (0.25, 0.5, 0.75)
"""Share of the light that is the haze's: a dull day, haze, and ground that is just about seen through thin cloud."""

DEGRADATIONS: dict[str, Degradation] = {
    each.name: each
    for each in (
        Degradation(
            "blocks",
            (0.25, 0.5, 0.75),
            "{percent:g} %",
            f"square blocks, {_BLOCK} pixels at most, are missing: share of the pixels",
            _blocks,
            measure=RMM,
        ),
        Degradation(
            "pixels",
            (0.25, 0.5, 0.75),
            "{percent:g} %",
            "pixels here and there are missing: their share",
            _pixels,
            measure=RMM,
        ),
        Degradation(
            "gaussian",
            (0.1, 0.2, 0.5),
            "{:g}",
            "noise on values after normalisation: its standard deviation",
            _gaussian,
            measure=NM,
        ),
        Degradation(
            "salt_and_pepper",
            (0.05, 0.1, 0.2),
            "{:g}",
            "pixels at their tile's lowest or highest value: their share",
            _salt_and_pepper,
            measure=NM,
        ),
        Degradation("haze", _HAZES, "{percent:g} %", "share of the light that is the haze's", _haze, ("optical",)),
        Degradation(
            "blur",
            _SIGMAS,
            "{:g} px",
            "a Gaussian: its standard deviation in pixels",
            _blur,
            ("optical",),
            # of the widest severity: one reading of the windows serves all of them
            margin=_reach(max(_SIGMAS)),
        ),
        Degradation(
            "misregistration",
            _SHIFTS,
            "{:g} px",
            "this sensor lies so many pixels beside the others",
            _misregistration,
            margin=int(max(_SHIFTS)),
        ),
        Degradation("offset", _OFFSETS, "{:g} m", "heights are so much too high", _offset, ("elevation",)),
        Degradation("scale", _SCALES, "\N{MULTIPLICATION SIGN} {:.3g}", "heights times this", _scale, ("elevation",)),
    )
}
"""By name, in the order of tables."""
