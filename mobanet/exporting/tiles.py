"""The fixed height and width of what an exported graph takes."""

import math

from mobanet.errors import UserError
from mobanet.models.base import SegmentationModel

USUAL = 256  # the crop of MoBaNet's authors


def chosen_tile(network: SegmentationModel, given: int | None, trained: int | None) -> int:
    """Height and width of a tile in pixels.

    Args:
        network: to export.
        given: as the user wants it; None for what fits best.
        trained: the windows the model was evaluated on, or its training crops; None where that is not known.

    Raises:
        UserError: for a tile that the network would have to pad, with the next ones that it would not.
    """
    patch, whole = network.patch_size, math.lcm(*network.pixel_ratios.values())
    step, least = math.lcm(patch, whole), network.least_size
    if given is None:
        return max(round((trained or USUAL) / step), -(-least // step)) * step
    if given < least:
        raise UserError(f"--tile is {given}; give at least {least} pixels.")
    if given % step:
        below = given // step * step
        of = (
            f"{step} pixels of a patch" if step == patch else f"{step} pixels that are whole patches and coarser pixels"
        )
        raise UserError(f"--tile is {given}, no multiple of the {of}; give {_either(below, step)}.")
    return given


def _either(below: int, step: int) -> str:
    return f"{below} or {below + step}" if below else f"{step}"
