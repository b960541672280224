"""Rasters as pictures: optical bands stretched, elevation as shaded relief, class indices in their colours."""

import numpy as np

from mobanet.rasters.contents import IGNORE_INDEX, Classes, Modality


def stretched(pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Values, (H, W, C) or (H, W), between the 2nd and 98th percentile brought to 0..1, float32; 0 where not measured.

    All bands share one range, which keeps hues. Of `valid`, (H, W) bool, None for everywhere, some pixel must be.
    """
    values = pixels.astype(np.float32)
    # a few glints would take the whole range otherwise
    low, high = np.percentile(values if valid is None else values[valid], (2, 98))
    # of a plane without relief 0, where 0 / 0 would be NaN
    scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
    if valid is not None:
        scaled[~valid] = 0
    return scaled


def natural_bands(modality: Modality) -> list[int]:
    """Numbers of the red, green and blue bands of a modality; empty unless it has all three."""
    wanted = ("red", "green", "blue")
    return [modality.bands.index(name) for name in wanted] if set(wanted) <= set(modality.bands) else []


def optical_picture(pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(H, W, C) of any number of bands -> (H, W, 3) floats in 0..1: the first three bands, or the first in grey."""
    shown = stretched(pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1], valid)
    return shown if shown.shape[-1] == 3 else np.repeat(shown, 3, axis=-1)


def relief(height: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """A surface model, (H, W) in any unit, tinted by height and lit from the north-west, (H, W, 3) floats in 0..1.

    Raw heights look blank on a screen: a tile's relief is a few per cent of its absolute height.
    """
    import matplotlib
    from matplotlib.colors import LightSource

    scaled = stretched(height, valid)
    # a slope takes two pixels; numpy's gradient refuses fewer
    if min(scaled.shape) < 2:
        return np.repeat(scaled[:, :, None], 3, axis=2)
    # without the ends of the colours, which light and shade would take to white and black
    tint = matplotlib.colormaps["cividis"](0.15 + 0.8 * scaled)[:, :, :3]
    shade = LightSource(azdeg=315, altdeg=50).hillshade(scaled, vert_exag=12)  # (H, W) in 0..1
    return np.clip(tint * (0.55 + 0.75 * shade[:, :, None]), 0, 1)


def coloured(indices: np.ndarray, classes: Classes) -> np.ndarray:
    """(H, W) class indices -> (H, W, 3) uint8 in the classes' colours, black where ignored."""
    palette = np.zeros((IGNORE_INDEX + 1, 3), np.uint8)
    palette[: len(classes)] = classes.colours
    return palette[indices]
