"""What the two ISPRS data sets share: classes, palette and modalities."""

import numpy as np

from mobanet.datasets.named_files import RecipeLayout
from mobanet.rasters.contents import Classes, DecodedLabel, Modality
from mobanet.rasters.labels import decode_isprs

CLASSES = Classes(
    names=("impervious surfaces", "building", "low vegetation", "tree", "car", "clutter"),
    colours=((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)),
    averaged=("impervious surfaces", "building", "low vegetation", "tree", "car"),
)

LOWEST = -1000.0
"""Metres; the ISPRS surface models declare no nodata value, and nothing lies this deep."""

DECIMETRE = 0.1
"""The ISPRS normalised surface models are 8 bit, 10 = 1 m, and end at 25.5 m."""

RASTERS = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".bmp")

OPTICAL = {
    "rgb": Modality("rgb", ("red", "green", "blue")),
    "ir": Modality("ir", ("infrared",)),
    "rg": Modality("rg", ("red", "green")),
    "irrg": Modality("irrg", ("infrared", "red", "green")),
}

ELEVATION = {
    "dsm": Modality("dsm", ("elevation",), "elevation", "metre"),
    "ndsm": Modality("ndsm", ("height",), "elevation", "metre"),
    "ndsm_lastools": Modality("ndsm_lastools", ("height",), "elevation", "metre"),
    "ndsm_ownapproach": Modality("ndsm_ownapproach", ("height",), "elevation", "metre"),
}


class IsprsLayout(RecipeLayout):
    """Potsdam or Vaihingen."""

    classes = CLASSES

    def decode_label(self, raster: np.ndarray) -> DecodedLabel:
        """See `Layout.decode_label` and `mobanet.rasters.labels`."""
        return decode_isprs(raster, self.classes)
