"""Time a polygon and peak memory of drawing labels from a vector file.

    python experiments/benchmarks/vector_labels.py [--polygons 100000] [--size 13000] [--format gpkg]

Draws synthetic land cover, blobs of 12 to 40 vertices of three classes, onto one raster of SIZE x SIZE pixels, strip by
strip as `mobanet.prepare` does, in a process of its own. Time is the processor's. Memory is what that process had at
most beyond what it had before it opened the file; strips of the label are thrown away.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from mobanet.datasets import VectorLabel
from mobanet.datasets.vector_files import open_layer
from mobanet.datasets.vector_labels import draw_polygons
from mobanet.datasets.vector_values import inspect_layers
from mobanet.rasters.contents import FileRef
from mobanet.rasters.grid import Grid
from mobanet.rasters.rows import rows_at_once

CLASSES = ["building", "tree", "field"]
LEFT, TOP, PIXEL, SYSTEM = 500_000.0, 5_800_000.0, 0.2, "EPSG:25833"
DRIVERS = {"gpkg": "GPKG", "shp": "ESRI Shapefile", "geojson": "GeoJSON", "fgb": "FlatGeobuf"}


def write(path: Path, polygons: int, size: int) -> None:
    """Blobs all over a raster, so many that they cover it about once."""
    import shapely
    from pyogrio.raw import write as write_features

    random = np.random.default_rng(0)
    reach = size / np.sqrt(polygons) / 1.5
    content = []
    for vertices in random.integers(12, 41, polygons):
        angles = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
        middle, radii = random.uniform(0, size, 2), reach * random.uniform(0.5, 1.2, (vertices, 1))
        ring = (middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii) * (PIXEL, -PIXEL) + (LEFT, TOP)
        content.append(shapely.to_wkb(shapely.Polygon(ring)))
    names = np.array(CLASSES, object)[random.integers(0, len(CLASSES), polygons)]
    given = {"geometry_type": "Polygon", "crs": SYSTEM, "driver": DRIVERS[path.suffix[1:]]}
    write_features(path, np.array(content, object), [names], ["class"], **given)


def draw(path: Path, size: int, told: multiprocessing.Queue) -> None:
    """Seconds of the processor to look through the file and to draw, megabytes, and polygons."""
    import pyogrio  # noqa: F401  (what importing takes is no part of it)
    import rasterio.features  # noqa: F401
    import shapely  # noqa: F401

    label = VectorLabel(path.name, "class", {name: name for name in CLASSES})
    grid = Grid(size, size, (PIXEL, 0, LEFT, 0, -PIXEL, TOP), SYSTEM)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    inspect_layers(label, CLASSES, [lambda: open_layer(path, FileRef(path), label)])
    inspected = time.process_time()
    drawn = draw_polygons(label, CLASSES, open_layer(path, FileRef(path), label), grid)
    for _ in drawn.strips(rows_at_once(size)):
        pass
    ended, most = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told.put((inspected - begun, ended - inspected, (most - before) / 1024, drawn.outlines))


def main() -> None:
    """Print time a polygon and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polygons", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=13_000, help="pixels along a side")
    parser.add_argument("--format", choices=DRIVERS, default="gpkg")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"cover.{given.format}"
        write(path, given.polygons, given.size)
        # a fresh process, since the peak that the kernel tells of is that of a whole life
        context = multiprocessing.get_context("spawn")
        told = context.Queue()
        process = context.Process(target=draw, args=(path, given.size, told))
        process.start()
        # before the join: a process ends once its queue has been taken from
        inspected, seconds, megabytes, outlines = told.get()
        process.join()
    print(f"{outlines} polygons on {given.size} x {given.size} pixels, {given.format}")
    print(f"looked through in {inspected:.2f} s")
    print(f"drawn in {seconds:.1f} s: {1e6 * seconds / outlines:.0f} microseconds a polygon")
    print(f"{1e9 * seconds / given.size**2:.0f} nanoseconds a pixel")
    print(f"{megabytes:.0f} MB beyond what the process had")


if __name__ == "__main__":
    main()
