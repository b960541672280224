"""Arrays as data URIs: class maps as PNG with a palette, photographs as JPEG."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_QUALITY = 88
"""Of JPEG: below it, ringing shows at roof edges."""


def png_uri(indices: np.ndarray, palette: Sequence[Sequence[int]]) -> str:
    """A map, (H, W) uint8 below the palette's length, as a PNG with this palette, every pixel kept as it is."""
    from PIL import Image

    # Pillow counts columns first
    height, width = indices.shape
    # from bytes, as fromarray() makes a greyscale picture of one plane
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(indices, np.uint8).tobytes())
    image.putpalette([channel for colour in palette for channel in colour])
    return _uri(image, "PNG", optimize=True)


def jpeg_uri(picture: np.ndarray) -> str:
    """A photograph or a relief, (H, W, 3) floats in 0..1, as a JPEG."""
    from PIL import Image

    # astype by itself cuts off, and white would be 254
    image = Image.fromarray(np.round(255 * picture).astype(np.uint8))
    return _uri(image, "JPEG", quality=_QUALITY, optimize=True)


def _uri(image: "Image", kind: str, **options: bool | int) -> str:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
