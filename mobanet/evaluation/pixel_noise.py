"""Random numbers that belong to a pixel of a tile, in whatever window, batch or process it is seen.

A generator that is drawn from in turn would give a pixel another number in each window that it lies in. Here it is a
hash of a key and the pixel's row and column, so that neighbours, order and device play no part.
"""

import hashlib
import json
import math
from dataclasses import dataclass

import torch
from torch import Tensor

_WORD = 2**32 - 1
_ROUNDS = ((16, 0x21F0AAAD), (15, 0x735A2D97))  # of the kind that hash-prospector finds (its issue 19)
"""Shifts and odd factors. A factor of 31 bits times a number of 32 stays within int64, which all devices have."""


@dataclass(frozen=True)
class Key:
    """What numbers are drawn for; two halves of 32 bits."""

    first: int
    second: int

    @classmethod
    def of(cls, *parts: str | int) -> "Key":
        """The key of words and numbers, in this order."""
        # not hash(), which is another one in each process
        digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
        return cls(int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big"))

    def choice(self, count: int) -> int:
        """One of so many, from 0: a draw for the key alone."""
        # of 64 bits the remainder favours none by more than count / 2^64
        return (self.first << 32 | self.second) % count


def uniform(key: Key, rows: Tensor, columns: Tensor) -> Tensor:
    """A number between 0 and 1, both left out, for each pixel, (H, W) float32; the same on every device.

    Args:
        key: of the draw.
        rows: (H,) int64, the pixels' rows in their tile; negative ones are rows like any others.
        columns: (W,) alike.
    """
    # twice, each time with another number of the row: with one, rows whose numbers are near would be alike
    one, other = (_mixed((rows & _WORD) ^ half)[:, None] for half in (key.first, key.second))
    drawn = _mixed(_mixed((columns & _WORD)[None] ^ one) ^ other)
    return ((drawn >> 9).float() + 0.5) / 2**23  # as many bits as float32 holds with the half


def normal(key: Key, rows: Tensor, columns: Tensor) -> Tensor:
    """As `uniform`, of mean 0 and standard deviation 1, (H, W) float32, at most 5.8 from 0."""
    radius = torch.sqrt(-2 * torch.log(uniform(key, rows, columns)))  # never of 0, which `uniform` leaves out
    # Box-Muller takes two numbers that know nothing of each other: any other key does
    # the constant parts the two keys even where both halves are the same
    turn = uniform(Key(key.second, key.first ^ 0x5BD1E995), rows, columns)
    return radius * torch.cos(2 * math.pi * turn)


def _mixed(x: Tensor) -> Tensor:
    """Numbers of 32 bits, int64, each bit of which depends on each bit of what is given."""
    for shift, factor in _ROUNDS:
        x = x ^ (x >> shift)
        x = (x * factor) & _WORD
    return x ^ (x >> 15)
