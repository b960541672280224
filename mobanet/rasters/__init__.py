"""One raster: where it lies, what its bands and values mean, how it is read, scaled down to figures, and written.

Training and prediction read through the same modules; nothing in here knows of data sets, stores or models.
"""
