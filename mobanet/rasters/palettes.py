"""Rasters whose numbers stand for colours."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


def palette_of(raster: "DatasetReader") -> np.ndarray | None:
    """(3, entries) uint8, the colours that the numbers of a raster's first band stand for; None for themselves."""
    from rasterio.enums import ColorInterp

    if raster.colorinterp[0] != ColorInterp.palette or raster.dtypes[0] not in ("uint8", "uint16"):
        return None
    try:
        entries = raster.colormap(1)
    except ValueError:  # called a palette without having one
        return None
    table = np.zeros((3, np.iinfo(raster.dtypes[0]).max + 1), np.uint8)
    for number, colour in entries.items():
        if number < table.shape[1]:  # a damaged palette may have more than the type can name
            # without alpha, which is no part of what a class or a band is known by
            table[:, number] = colour[:3]
    return table


def label_colours(raster: "DatasetReader", values: np.ndarray) -> np.ndarray:
    """A label's values, (bands, H, W), as colours, (3, H, W) uint8, where one band has a colour table; else as read."""
    table = palette_of(raster) if raster.count == 1 and values.dtype == np.uint8 else None
    return values if table is None else table.take(values[0], axis=1)
