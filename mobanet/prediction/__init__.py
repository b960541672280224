"""From a checkpoint and rasters to maps: scenes, windows, mosaics, and the files that come of them."""
