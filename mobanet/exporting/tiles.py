"""The fixed height and width of what an exported graph takes."""

import math

from mobanet.errors import UserError
from mobanet.models.base import SegmentationModel

USUAL = 256  # the crop of MoBaNet's authors


def chosen_tile(network: SegmentationModel, given: int | None, trained: int | None) -> int:
    """Height and width of a tile in pixels: as given, or else what is nearest to the windows or crops of training."""
    # modalities with coarser pixels have whole ones in a tile, and the network whole patches
    patch, whole = network.patch_size, math.lcm(*network.pixel_ratios.values())
    step, least = math.lcm(patch, whole), network.least_size
    if given is None:
        # -(-a
        # b): rounded up
        return max(round((trained or USUAL) / step), -(-least // step)) * step
    if given < least:
        raise UserError(f"--tile is {given}; give at least {least} pixels.")
    if given % step:
        below = given // step * step
        of = "of a patch" if step == patch else "that are whole patches and coarser pixels"
        either = f"{below} or {below + step}" if below else f"{step}"
        raise UserError(f"--tile is {given}, no multiple of the {step} pixels {of}; give {either}.")
    return given
