"""The fixed height and width of what an exported graph takes."""

from mobanet.errors import UserError
from mobanet.models.base import SegmentationModel

USUAL = 256


def chosen_tile(network: SegmentationModel, given: int | None, trained: int | None) -> int:
    """Height and width of a tile in pixels.

    Args:
        network: to export.
        given: as the user wants it; None for what fits best.
        trained: the windows the model was evaluated on, or its training crops; None where that is not known.

    Raises:
        UserError: for a tile that the network would have to pad, with the next ones that it would not.
    """
    step, least = network.patch_size, network.least_size
    if given is None:
        return max(round((trained or USUAL) / step) * step, least)
    if given < least:
        raise UserError(f"--tile is {given}; give at least {least} pixels.")
    if given % step:
        below = given // step * step
        raise UserError(
            f"--tile is {given}, no multiple of the {step} pixels of a patch; give {below} or {below + step}."
        )
    return given
