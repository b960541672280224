"""Label rasters whose numbers stand for colours."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


def label_colours(raster: "DatasetReader", values: np.ndarray) -> np.ndarray:
    """A label's colours, where it is of one band with a colour table, which says as much as three bands of them.

    Args:
        raster: open.
        values: (bands, H, W), read from it.

    Returns:
        (3, H, W) uint8; of any other raster the values themselves.
    """
    from rasterio.enums import ColorInterp

    if raster.count != 1 or raster.colorinterp[0] != ColorInterp.palette or values.dtype != np.uint8:
        return values
    try:
        entries = raster.colormap(1)
    except ValueError:  # called a palette without having one
        return values
    table = np.zeros((256, 3), np.uint8)
    for number, colour in entries.items():
        if number < len(table):  # a damaged palette may have more than a byte can name
            table[number] = colour[:3]
    return np.ascontiguousarray(table[values[0]].transpose(2, 0, 1))
