"""A procedural city under the data sets' own file names: something to train on without the real data."""

from mobanet.data.synthetic.dataset import synthesize
from mobanet.data.synthetic.deliveries import tile_names
from mobanet.data.synthetic.scene import SyntheticTile, render_tile

__all__ = ["SyntheticTile", "render_tile", "synthesize", "tile_names"]
