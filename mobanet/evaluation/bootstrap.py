"""How far figures depend on which tiles were tested: a bootstrap over tiles, from their confusion matrices."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mobanet.evaluation.scenario_summary import covers
from mobanet.rasters.contents import Classes
from mobanet.scenarios.failure import Failure

# 1000 draws leave 25 beyond either end of the interval
LEVEL, RESAMPLES, FEW = 0.95, 1000, 5
"""Of the interval; draws of as many tiles as there are, with replacement; with fewer tiles it is hardly more than a
hint."""
INTERVAL = f"{100 * LEVEL:.0f} %"
_SEED = 0  # of its own: the same figures have the same interval in every run, whatever its seed

Interval = tuple[float, float]
"""Lower and upper end, 0..1."""


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of mIoU.

    Attributes:
        scenarios: by name; left out where a scenario has no figures.
        mean: of the mean over the evaluated scenarios; None alike.
        incomplete: of the mean over those that lack a modality; None alike, and where none was evaluated.
        expected: of the expected mIoU, one a failure, None alike; empty where a scenario was not evaluated.
    """

    scenarios: Mapping[str, Interval]
    mean: Interval | None
    incomplete: Interval | None
    expected: tuple[Interval | None, ...]


def bootstrap(
    tiles: Mapping[str, Tensor], classes: Classes, full: str, failures: Sequence[Failure] = ()
) -> Intervals | None:
    """Intervals from draws of tiles, the same for all scenarios; None where fewer than two have a pixel that counts.

    A class that no tile of a draw has is absent from it, as in every other evaluation.

    Args:
        tiles: confusion matrices by scenario, (T, K, K), at least one scenario.
        classes: which of the K are averaged.
        full: name of the full scenario.
        failures: of sensors, to expect mIoU of.
    """
    # a tile without labels would take part in draws and add nothing to them
    counted = labelled(tiles)
    number = int(counted.sum())
    if number < 2:
        return None
    # how often each tile is drawn says all, in one product of matrices, with no copies of tiles
    # the same draws for all scenarios, so that each mean over scenarios is of one draw of tiles
    draws = np.random.default_rng(_SEED).multinomial(number, np.full(number, 1 / number), RESAMPLES)  # (R, T) counts
    mious = {name: _mious(draws, each[counted].numpy(), classes) for name, each in tiles.items()}
    rows = np.array(list(mious.values()))  # (S, R)
    lacking = np.array([mious[name] for name in mious if name != full])
    # an expectation is of all scenarios, and there is none without one of them
    weights = [failure.weights() for failure in failures if covers(mious, full)]
    return Intervals(
        scenarios={name: found for name, each in mious.items() if (found := _interval(each))},
        mean=_interval(_mean(rows, 0)),
        incomplete=_interval(_mean(lacking, 0)) if len(lacking) else None,
        expected=tuple(
            # without weights of 0, since 0 times NaN is NaN
            _interval(np.sum([weight * mious[name] for name, weight in each.items() if weight], axis=0))
            for each in weights
        ),
    )


def labelled(tiles: Mapping[str, Tensor]) -> Tensor:
    """Which tiles have a pixel that counts, (T,) bool, of matrices (T, K, K) by scenario."""
    return torch.stack([each.flatten(1).sum(1) for each in tiles.values()]).sum(0) > 0


def _mious(draws: np.ndarray, tiles: np.ndarray, classes: Classes) -> np.ndarray:
    """The mIoU of each draw, (R,), from its counts of tiles, (R, T), and their matrices, (T, K, K)."""
    side = tiles.shape[-1]
    # in floats for the sake of speed; sums of pixels stay far below 2^53
    # (R, T) by (T, K * K): the confusion matrix of each draw
    m = (draws.astype(float) @ tiles.reshape(len(tiles), -1).astype(float)).reshape(-1, side, side)
    hit = m.diagonal(axis1=1, axis2=2)
    union = m.sum(1) + m.sum(2) - hit
    iou = np.divide(hit, union, out=np.full_like(hit, math.nan), where=union > 0)
    return _mean(iou[:, [classes.names.index(name) for name in classes.averaged]], 1)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Of what there is along an axis; NaN of nothing, and without numpy's warning of that."""
    there = ~np.isnan(values)
    count = there.sum(axis)
    return np.divide(np.where(there, values, 0).sum(axis), count, out=np.full(count.shape, math.nan), where=count > 0)


def _interval(values: np.ndarray) -> Interval | None:
    there = values[~np.isnan(values)]
    if not len(there):
        return None
    # the percentile interval: it stays within 0..1, as one by standard errors may not
    low, high = np.quantile(there, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
