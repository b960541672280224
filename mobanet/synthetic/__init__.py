"""A procedural city under the data sets' own file names: something to train on without the real data."""

from mobanet.synthetic.dataset import synthesize
from mobanet.synthetic.deliveries import tile_names
from mobanet.synthetic.scene import SyntheticTile, render_tile

__all__ = ["SyntheticTile", "render_tile", "synthesize", "tile_names"]
