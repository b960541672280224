"""One's own rasters and labels, looked at: what they are, and an experiment that fits them."""
