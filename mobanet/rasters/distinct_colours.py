"""Colours that are told apart with normal and with colour-blind eyes.

The first seven are those of Okabe and Ito (Color Universal Design, 2008) without their black. Each further one is, of a
grid of colours neither too dark nor too pale, the one whose nearest colour is farthest away: as CIE 1976 colour
difference, and as the least of it to normal eyes and to eyes that lack one of the three cones (Machado, Oliveira and
Fernandes, 2009, at severity 1).
"""

from functools import lru_cache

import numpy as np

OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)

_STEP = 15  # between the colours of the grid, in 8 bits: a divisor of 255, so that pure colours are among them
_LIGHTNESS = (15, 92)  # of CIE, 0 to 100: paler ones are lost on white, darker ones in one another

# what linear RGB looks like to normal eyes, and to those without long, medium and short cones
_EYES = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)

# of sRGB's primaries, with its white D65
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _TO_XYZ.sum(axis=1)


@lru_cache(maxsize=8)
def distinct_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """So many colours, of which the first ones do not depend on how many there are."""
    chosen = list(OKABE_ITO[:count])
    if count <= len(chosen):
        return tuple(chosen)
    sides = np.arange(0, 256, _STEP)
    grid = np.stack(np.meshgrid(sides, sides, sides, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = appearance(grid)
    fit = (seen[0, :, 0] > _LIGHTNESS[0]) & (seen[0, :, 0] < _LIGHTNESS[1])
    grid, seen = grid[fit], seen[:, fit]
    nearest = np.full(len(grid), np.inf)
    for colour in chosen:
        nearest = np.minimum(nearest, _apart(seen, appearance(np.array([colour]))))
    while len(chosen) < count:
        # the first of equally far ones, so that a number of colours is the same on every machine
        best = int(nearest.argmax())
        red, green, blue = grid[best].tolist()
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, _apart(seen, seen[:, best : best + 1]))
    return tuple(chosen)


def appearance(colours: np.ndarray) -> np.ndarray:
    """(4, n, 3), CIE L*a*b* of sRGB colours, (n, 3) of 0 to 255, to each kind of eyes."""
    share = colours / 255
    # the transfer function of sRGB (IEC 61966-2-1), and below CIE's own fractions for L*a*b*, which meet without a step
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(np.einsum("eij,nj->eni", _EYES, linear), 0, 1) @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,), the least difference over the kinds of eyes."""
    return np.sqrt(((one - other) ** 2).sum(axis=-1)).min(axis=0)
