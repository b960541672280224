"""From distortion to probabilities: utility, kernel smoothing, z-scores, softmax and floor (arXiv 2605.20372)."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
import torch

from mobanet.errors import check_setting

_BOUNDS = {
    "alpha": (0, math.inf, "a number of at least 0"),
    "bandwidth": (sys.float_info.min, math.inf, "a number above 0, or median"),
    "ridge": (1e-12, math.inf, "a number of at least 1e-12"),  # below it rounding decides whether the solve succeeds
    "tau": (0, math.inf, "a number of at least 0"),
    "gamma": (0, 1, "a share from 0 to 1"),
}
_LEAST_SPREAD = 1e-12  # the paper's
_ROUNDING = 1e-13  # of the largest utility: what float64 leaves of equal scores, with room
_SAME = 1e-12  # of the largest distortion: what summation in another order leaves of equal distortions, with room


@dataclass
class ScoreSettings:
    """From distortion to probabilities; the defaults are the paper's."""

    alpha: float = 1.0
    """Utility of a unit of distortion; scales the scores and leaves the probabilities alone; 0 makes them uniform."""

    bandwidth: float | Literal["median"] = 1.0
    """Of the kernel, in units of distortion; median: of the differences between scenarios that are not 0."""

    ridge: float = 1e-3
    """Smoothing of the scores along the kernel; more smooths more."""

    tau: float = 0.5
    """Factor in the softmax; 0 makes every scenario alike, more prefers the distorted ones."""

    gamma: float = 0.5
    """Share of the softmax in the probabilities; the rest is uniform, so none falls below (1 - gamma) / scenarios."""

    def __post_init__(self) -> None:
        for name in _BOUNDS:
            value = getattr(self, name)
            check_setting(_sensible(name, value), f"scenarios.{name}", f"is {value}; give {_BOUNDS[name][2]}.")

    def score(self, distortion: "np.ndarray | Sequence[float]") -> "ScenarioScores":
        """Scores and probabilities of distortions, (S,); see `score_scenarios`."""
        return score_scenarios(
            distortion, alpha=self.alpha, sigma=self.bandwidth, ridge=self.ridge, tau=self.tau, gamma=self.gamma
        )


@dataclass(frozen=True)
class ScenarioScores:
    """What follows from the distortion of S scenarios, float64.

    Attributes:
        kernel: (S, S), likeness of scenarios, K.
        scores: (S,), smoothed utility, r.
        normalized: (S,), r' with mean 0 and deviation 1, or zeros where the scores do not differ.
        softmax: (S,), of tau r'; sums to 1.
        probabilities: (S,), p, what training draws from; sums to 1.
        bandwidth: of the kernel, in units of distortion.
    """

    kernel: np.ndarray
    scores: np.ndarray
    normalized: np.ndarray
    softmax: np.ndarray
    probabilities: np.ndarray
    bandwidth: float


def score_scenarios(
    distortion: np.ndarray | Sequence[float],
    *,
    alpha: float = 1.0,
    sigma: float | Literal["median"] = 1.0,
    ridge: float = 1e-3,
    tau: float = 0.5,
    gamma: float = 0.5,
) -> ScenarioScores:
    """Scores and probabilities of scenarios (section 3 of the paper, in float64 on the CPU).

    U = alpha D; K_ij = exp(-(D_i - D_j)^2 / (2 sigma^2)); r = K (K + ridge I)^-1 U; r' = (r - mean r) / std r;
    p = (1 - gamma) / S + gamma softmax(tau r').

    Args:
        distortion: (S,), D. A float32 array has U rounded to float32, as in the authors' code.
        alpha: utility of a unit of distortion.
        sigma: bandwidth of the kernel, in units of distortion; median: see `median_bandwidth`.
        ridge: lambda of the paper.
        tau: factor in the softmax, the inverse of a temperature.
        gamma: share of the softmax.

    Raises:
        ValueError: for distortions that are not one-dimensional, none, not finite or negative; for other arguments
            out of their range.
    """
    for name, value in {"alpha": alpha, "bandwidth": sigma, "ridge": ridge, "tau": tau, "gamma": gamma}.items():
        if not _sensible(name, value):
            raise ValueError(f"{'sigma' if name == 'bandwidth' else name} is {value}: give {_BOUNDS[name][2]}")
    given = _distortion(distortion)
    # float(): a NumPy number would lift float32 distortions to float64 before they are rounded
    utility, descriptor = (float(alpha) * given).astype(np.float64), given.astype(np.float64)
    bandwidth = median_bandwidth(descriptor) if sigma == "median" else float(sigma)
    with np.errstate(over="ignore"):  # scenarios infinitely many bandwidths apart: the kernel is 0
        # of distortions, not of utilities: alpha moves the scores and no likeness, as in the authors' code
        kernel = np.exp(-0.5 * np.square((descriptor[:, None] - descriptor) / bandwidth))
    scores = _smoothed(kernel, utility, ridge)
    # of the population, as the paper has it: ddof 1 would shrink all scores of few scenarios
    spread = scores.std()
    # the second condition is ours: equal large distortions would leave rounding above the paper's threshold
    if spread < _LEAST_SPREAD or spread <= _ROUNDING * np.abs(utility).max():
        normalized = np.zeros_like(scores)
    else:
        normalized = (scores - scores.mean()) / spread
    # less the largest, which cancels and keeps exp from overflowing with a large tau
    softmax = np.exp(tau * (normalized - normalized.max()))
    softmax /= softmax.sum()
    probabilities = (1 - gamma) / len(scores) + gamma * softmax
    # divided once more by their sum, as in the authors' code (cmx_cbc.md, 8.2): 1 to the last digit
    return ScenarioScores(kernel, scores, normalized, softmax, probabilities / probabilities.sum(), bandwidth)


def median_bandwidth(distortion: np.ndarray) -> float:
    """Median of the differences between any two distortions that are not 0, but for rounding; 1 where all are equal.

    The paper's fixed bandwidth of 1 makes all scenarios alike to the kernel when distortion is of order 1e-3.

    Args:
        distortion: (S,).
    """
    differences = np.abs(distortion[:, None] - distortion)[np.triu_indices(len(distortion), 1)]
    differences = differences[differences > _SAME * distortion.max()]
    return float(np.median(differences)) if len(differences) else 1.0


def _smoothed(kernel: np.ndarray, utility: np.ndarray, ridge: float) -> np.ndarray:
    # K (K + ridge I)^-1 U = U - ridge (K + ridge I)^-1 U: one solve with a symmetric positive definite matrix, so
    # by Cholesky. NumPy factorises but cannot solve with the factor; torch does both, and SciPy is not needed.
    system = torch.from_numpy(kernel + ridge * np.eye(len(kernel)))
    solution = torch.cholesky_solve(torch.from_numpy(utility)[:, None], torch.linalg.cholesky(system))
    return utility - ridge * solution[:, 0].numpy()


def _distortion(given: np.ndarray | Sequence[float]) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"distortion has shape {array.shape}: give one number a scenario, (S,)")
    if not np.isfinite(array).all():
        raise ValueError(f"distortion holds numbers that are not finite: {array.tolist()}")
    if (array < 0).any():
        raise ValueError(f"distortion holds negative numbers: {array.tolist()}")
    return array


def _sensible(name: str, value: object) -> bool:
    if name == "bandwidth" and value == "median":
        return True
    least, most, _ = _BOUNDS[name]
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    number = float(value)
    return math.isfinite(number) and least <= number <= most
