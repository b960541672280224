"""What `mobanet.predict` writes as QGIS shows it: `python3 experiments/look_in_qgis.py FOLDER OUT.png`.

Opens every map (`.tif`) and every file of polygons (`.gpkg`) of a folder in QGIS, without a window and without a
setting, prints what QGIS makes of each, and draws all of them side by side. It runs in the Python that QGIS brings (on
Debian that of the package `python3-qgis`), which has no need of this package.
"""

import os
import sys
from pathlib import Path
from typing import Any

SIDE, HEAD = 640, 30
"""Pixels of a picture, and of the line above it."""


def main(folder: Path, output: Path) -> None:
    """Open, tell and draw.

    Args:
        folder: of maps.
        output: picture to write.
    """
    # before anything of Qt is loaded, or it asks for a screen
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from qgis.core import QgsApplication
    from qgis.PyQt.QtGui import QColor, QImage, QPainter

    application = QgsApplication([], False)
    application.initQgis()
    layers = [opened(path) for path in sorted(folder.iterdir()) if path.suffix in (".tif", ".gpkg")]
    whole = QImage(len(layers) * (SIDE + 10), SIDE + HEAD, QImage.Format_RGB32)
    whole.fill(QColor("white"))
    painter = QPainter(whole)
    for number, layer in enumerate(layers):
        print(described(layer))
        painter.drawText(number * (SIDE + 10) + 8, HEAD - 10, layer.name())
        painter.drawImage(number * (SIDE + 10), HEAD, drawn(layer))
    painter.end()
    whole.save(str(output))
    sys.stdout.flush()
    os._exit(0)  # QGIS takes its own pieces apart in an order that it does not survive


def opened(path: Path) -> Any:
    """A layer, with the style that lies beside it."""
    from qgis.core import QgsRasterLayer, QgsVectorLayer

    if path.suffix == ".tif":
        layer = QgsRasterLayer(str(path), path.name)
    else:
        layer = QgsVectorLayer(str(path), path.name, "ogr")
    if not layer.isValid():
        sys.exit(f"error: QGIS does not open {path}")
    return layer


def described(layer: Any) -> str:
    """Its reference system, its way of drawing, and the entries of its legend."""
    renderer = layer.renderer()
    entries = []
    if renderer.type() == "paletted":
        entries = [f"{entry.label} {entry.color.name()}" for entry in renderer.classes()]
    elif renderer.type() == "categorizedSymbol":
        entries = [f"{entry.label()} {entry.symbol().color().name()}" for entry in renderer.categories()]
    return f"{layer.name()}: {layer.crs().authid()}, {renderer.type()}{': ' if entries else ''}{', '.join(entries)}"


def drawn(layer: Any) -> Any:
    """A picture of all of it."""
    from qgis.core import QgsMapRendererParallelJob, QgsMapSettings
    from qgis.PyQt.QtCore import QSize
    from qgis.PyQt.QtGui import QColor

    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setOutputSize(QSize(SIDE, SIDE))
    settings.setExtent(layer.extent())
    settings.setDestinationCrs(layer.crs())
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(
            "error: give a folder of maps and the picture to write: python3 experiments/look_in_qgis.py FOLDER OUT.png"
        )
    main(Path(sys.argv[1]), Path(sys.argv[2]))
