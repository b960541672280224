"""Telling a label raster from a photograph by its colours, where file names do not."""

import tempfile
from pathlib import Path

import numpy as np

from mobanet.rasters.archives import local_copy
from mobanet.rasters.bands import sample
from mobanet.rasters.contents import FileRef
from mobanet.rasters.opening import opened

_NEAR = 40
"""Of 8 bits, by which a label that was saved with loss is off its colours."""

# between the two it cannot be told, and whoever asked wants folders with telling names
_LABEL, _IMAGE = 0.98, 0.9


def looks_like_label(file: FileRef, scratch: Path | None) -> bool | None:
    """Whether `file` holds the colours of an ISPRS label; None when that cannot be told.

    A label has nearly all pixels close to a corner of the colour cube, and more than one corner; in a photograph many
    pixels lie between. A few windows are looked at (`mobanet.rasters.bands.sample`).
    """
    with (
        tempfile.TemporaryDirectory(prefix="mobanet-") as temporary,
        local_copy(file, scratch or Path(temporary)) as path,
        opened(path, file) as raster,
    ):
        if raster.count < 3 or raster.dtypes[0] != "uint8":
            return None
        picture = sample(raster, (0, 1, 2))
    near = (picture <= _NEAR) | (picture >= 255 - _NEAR)  # (3, pixels)
    share = float(near.all(axis=0).mean())
    # a picture that is all black or all white lies at a corner as well, and is no label
    corners = np.unique((picture > 127).astype(np.uint8), axis=1).shape[1]
    if share >= _LABEL and corners > 1:
        return True
    return False if share < _IMAGE else None
