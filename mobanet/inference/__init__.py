"""From windows to whole rasters."""
