"""Small rasters to predict, for a model of rgb, ir and dsm."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobanet.datasets.isprs import ELEVATION, OPTICAL
from mobanet.prediction.request import GivenRaster, GivenScene
from mobanet.prediction.scene import place
from tests.cli.conftest import Ended, command, finished, prepared, small
from tests.data_files.fake_files import georeferenced, noise, write

__all__ = ["command", "finished", "prepared", "small"]

MODALITIES = {"rgb": OPTICAL["rgb"], "ir": OPTICAL["ir"], "dsm": ELEVATION["dsm"]}

ANNOUNCED = re.compile(
    r"(INFO: )?(\S+: \d+ x \d+ pixels of |\S+: .* (is resampled to|padded as missing|that the model was trained on)|"
    r"windows of \d+ pixels, stride |Using bfloat16 |the CPU has no units for bfloat16 |going on with \d+ of \d+ parts|"
    r"predicting windows: )"
)
"""What may stand before the error: what is predicted, and how far it came."""


def sentence(ended: Ended) -> str:
    """The one sentence of a mistake, behind announcements and progress."""
    lines = ended.err.splitlines(keepends=True)
    return replace(ended, err="".join(line for line in lines if not ANNOUNCED.match(line))).sentence()


def given(name="here", **rasters) -> GivenScene:
    """Paths, or `GivenRaster`s, as a scene."""
    files = {key: file if isinstance(file, GivenRaster) else GivenRaster(Path(file)) for key, file in rasters.items()}
    return GivenScene(name, files)


def placed(reference=None, crs=None, modalities=MODALITIES, **rasters):
    """The scene of some rasters."""
    return place(given(**rasters), modalities, reference, crs)


def slope(height, width, x=0.03, y=0.05):
    """(1, H, W) float32 metres, a plane with a step in each direction."""
    rows, columns = np.mgrid[:height, :width]
    return (30 + y * rows + x * columns).astype(np.float32)[None]


@pytest.fixture
def ortho(tmp_path):
    """A georeferenced ortho of 90 x 70 pixels of 1 m."""
    return write(tmp_path / "ortho.tif", noise("ortho", 3, (90, 70)), **georeferenced(1000, 2000, 1))


@pytest.fixture
def surface(tmp_path):
    """A surface model on the ortho's grid."""
    return write(tmp_path / "surface.tif", slope(90, 70), **georeferenced(1000, 2000, 1))
