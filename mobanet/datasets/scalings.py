"""How modalities are scaled, by name, and which way is taken unless the user says."""

from typing import Literal

from mobanet.datasets.base import Layout
from mobanet.rasters.contents import Modality

Scaling = Literal["unit", "standard", "ground", "robust", "minmax"]
"""How a modality is scaled:

- `unit`: divided by the full range of its digital numbers (255 for 8 bit).
- `standard`: mean and standard deviation over the training tiles.
- `ground`: less the ground around the pixel (`mobanet.rasters.ground`), divided by half the typical 2 % to 98 %
  range of the heights above it in the training tiles. A metre means the same everywhere, on slopes, at any altitude and
  however a raster is cut. The subtraction is done where pixels are read; the scaling itself only divides.
- `robust`: less the tile's own median, divided by half the typical 2 % to 98 % range of the training tiles. A metre
  means the same on every tile and one outlier changes nothing, but where land rises by as much as houses do, the median
  depends on how the tile is cut.
- `minmax`: the tile's own minimum and maximum to 0..1, as in MoBaNet's code; for reproduction, since one outlier
  changes the whole tile. A constant tile becomes 0.
"""


_BY_KIND: dict[str, Scaling] = {"optical": "unit", "elevation": "ground", "other": "standard"}


def default_scaling(modality: Modality) -> Scaling:
    """`unit` for optical products, `ground` for elevation, `standard` for the rest."""
    return _BY_KIND[modality.kind]


def usual_scaling(layout: Layout, modality: Modality) -> Scaling:
    """How a layout's modality is scaled unless the user says otherwise."""
    return layout.scalings.get(modality.name, default_scaling(modality))
