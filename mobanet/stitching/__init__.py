"""From overlapping windows to whole maps: how windows are weighed, joined, and turned into classes."""
