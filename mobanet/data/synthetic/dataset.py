"""Draws a whole data set to disk."""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import track

from mobanet.data.synthetic.archives import pack
from mobanet.data.synthetic.files import Place, write_bytes, write_raster
from mobanet.data.synthetic.noise import stream
from mobanet.data.synthetic.products import Product, layout_files, tile_names
from mobanet.data.synthetic.scene import default_gsd, render_tile
from mobanet.data.synthetic.terrain import Relief
from mobanet.errors import UserError

MARKER = ".mobanet_synthetic.json"
"""Names the parameters of the data set in a folder, and that it is ours to complete."""

SCRATCH = ".mobanet_synthetic_tiles"
"""Where tiles wait to be archived."""

SMALLEST = 128

RECIPE = 1
"""Raised whenever the same parameters would give another city."""


@dataclass(frozen=True)
class Plan:
    """The parameters that decide what is in a data set."""

    layout: str
    tiles: int
    size: int
    seed: int
    gsd: float
    archives: bool
    products: tuple[str, ...]

    def wanted(self, tile: str) -> Iterator[Product]:
        """The kinds of file a tile gets."""
        files = layout_files(self.layout)
        for product in files.products:
            if product.content not in self.products or (product.labelled_only and tile not in files.labelled()):
                continue
            if tile in files.stray and not (product.content == "labels_eroded" and not product.labelled_only):
                continue
            if product.folder is not None:
                yield product

    def shape(self, tile: str) -> tuple[int, int]:
        """Rows and columns of a tile."""
        spread = layout_files(self.layout).uneven
        factors = 1 + stream(self.seed, self.layout, tile, "size").uniform(-spread, spread, 2)
        return round(self.size * factors[0]), round(self.size * factors[1])

    def place(self, tile: str) -> Place:
        """Where a tile lies: in Potsdam's grid of adjoining squares, or in Vaihingen's loose arrangement (UTM)."""
        side = self.size * self.gsd
        if self.layout == "potsdam":
            row, column = (int(part) for part in tile.split("_"))
            return Place(364000.0 + column * side, 5812000.0 - row * side, self.gsd)
        row, column = divmod(int(tile), 7)
        return Place(496000.0 + column * 1.25 * side, 5421000.0 - row * 1.25 * side, self.gsd)


def synthesize(
    layout: str,
    root: Path,
    tiles: int,
    size: int,
    seed: int = 0,
    archives: bool = False,
    gsd: float | None = None,
    workers: int = 0,
    products: list[str] | None = None,
) -> list[str]:
    """Draw a procedural city and write it as a benchmark would ship it.

    Streets, houses, trees and cars are drawn at random; labels, colours, infrared and elevation agree. A run that was
    killed continues where it stopped when started again with the same options.

    Args:
        layout: whose file names, bands and colours to use: potsdam or vaihingen.
        root: folder to write to; new, empty, or holding this very data set.
        tiles: how many, named so that from three on the split `paper` has training, validation and test tiles.
        size: pixels a side, at least 128; Vaihingen's tiles differ by up to a tenth.
        seed: which city.
        archives: pack everything into Potsdam.zip or Vaihingen.zip, nested like the official archives.
        gsd: metres a pixel; unless given 0.25, or what shows 64 m in tiles below 256 pixels: the benchmarks' own 5 and
            9 cm would leave small tiles without a whole house.
        workers: processes that draw; 0 draws in this one. The pixels do not depend on it.
        products: what to write, all unless given: rgb, irrg, rgbir, dsm, ndsm, ndsm_own, labels, labels_eroded.

    Returns:
        The ids of the tiles.

    Raises:
        UserError: for an option out of range, or a folder that holds something else.
    """
    names = tile_names(layout, tiles)
    plan = _plan(layout, tiles, size, seed, gsd, archives, products)
    if workers < 0:
        raise UserError(f"--workers {workers}: give 0 to draw in this process, or the number of processes.")
    root = Path(root)
    _claim(root, plan)
    if not archives:
        _draw(plan, root, names, workers)
        return names
    files = layout_files(layout)
    if not (root / files.archive).exists():
        drawn = [*names, *files.stray]
        _draw(plan, root / SCRATCH, drawn, workers)
        pack(root / files.archive, _members(plan, root / SCRATCH, drawn), root / SCRATCH)
    shutil.rmtree(root / SCRATCH, ignore_errors=True)
    return names


def _plan(
    layout: str, tiles: int, size: int, seed: int, gsd: float | None, archives: bool, products: Sequence[str] | None
) -> Plan:
    """The checked parameters."""
    known = layout_files(layout).contents
    if size < SMALLEST:
        raise UserError(f"--size {size}: a tile needs at least {SMALLEST} pixels a side; give {SMALLEST} or more.")
    if seed < 0:
        raise UserError(f"--seed {seed}: a seed cannot be negative; give 0 or more.")
    if gsd is not None and not 0.02 <= gsd <= 2:
        raise UserError(f"--gsd {gsd}: pixels must be between 0.02 and 2 metres; leave it out for {default_gsd(size)}.")
    for name in products or ():
        if name not in known:
            raise UserError(f"--products {name}: layout {layout} has {', '.join(known)}; name some of these.")
    if products is not None and not products:
        raise UserError(f"--products is empty: name some of {', '.join(known)}, or leave the option out for all.")
    chosen = tuple(name for name in known if products is None or name in products)
    return Plan(layout, tiles, size, seed, default_gsd(size) if gsd is None else gsd, archives, chosen)


def _claim(root: Path, plan: Plan) -> None:
    """Make `root` the folder of this data set, or refuse it."""
    mine = {"recipe": RECIPE, **asdict(plan), "products": list(plan.products)}
    marker = root / MARKER
    if root.exists() and not root.is_dir():
        raise UserError(f"--root {root} is a file: give a folder.")
    if marker.exists():
        try:
            theirs = json.loads(marker.read_text())
        except ValueError:
            raise UserError(f"{marker} cannot be read: remove {root} and run the command again.") from None
        if theirs != mine:
            differing = ", ".join(key for key in mine if theirs.get(key) != mine[key])
            raise UserError(
                f"--root {root} holds a synthetic data set with other options ({differing}): "
                "give another folder, or remove this one first."
            )
        return
    if root.exists() and any(root.iterdir()):
        raise UserError(f"--root {root} holds files that are not from mobanet.synthesize: give a new or empty folder.")
    write_bytes(marker, json.dumps(mine, indent=1).encode())


def _paths(plan: Plan, folder: Path, tile: str) -> Iterator[tuple[Product, Path]]:
    for product in plan.wanted(tile):
        yield product, folder / str(product.folder) / product.file_name(tile)


def _draw(plan: Plan, folder: Path, names: Sequence[str], workers: int) -> None:
    """Write the tiles that are not there yet."""
    todo = [tile for tile in names if not all(_written(*item) for item in _paths(plan, folder, tile))]
    console = Console(stderr=True)
    if workers == 0 or len(todo) < 2:
        for tile in track(todo, f"Drawing {plan.layout}", console=console):
            write_tile(plan, folder, tile)
        return
    # spawned, not forked: the caller may have threads (torch, OpenCV) that a fork would lose
    with ProcessPoolExecutor(
        min(workers, len(todo)), get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        jobs = [pool.submit(write_tile, plan, folder, tile) for tile in todo]
        try:
            for job in track(as_completed(jobs), f"Drawing {plan.layout}", len(jobs), console=console):
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _written(product: Product, path: Path) -> bool:
    return path.exists() and (product.world_archive is None or path.with_suffix(".tfw").exists())


def write_tile(plan: Plan, folder: Path, tile: str) -> None:
    """Draw one tile and write its files below `folder`."""
    place = plan.place(tile)
    relief = Relief(int(stream(plan.seed, plan.layout, "land").integers(2**31)), *layout_files(plan.layout).elevation)
    drawn = render_tile((plan.seed, plan.layout, tile), plan.shape(tile), plan.gsd, relief, (place.east, place.north))
    for product, path in _paths(plan, folder, tile):
        write_raster(path, product.content, drawn)
        if product.world_archive is not None:
            write_bytes(path.with_suffix(".tfw"), place.world_file())


def _members(plan: Plan, folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """What goes into the archives: inner zip, name in it, file."""
    files = layout_files(plan.layout)
    for tile in names:
        drawn = {product.content: path for product, path in _paths(plan, folder, tile)}
        for product in files.products:
            path = drawn.get(product.content)
            if path is None or product.archive is None or (product.labelled_only and tile not in files.labelled()):
                continue
            inside = f"{product.inside}/" if product.inside else ""
            yield product.archive, inside + product.file_name(tile), path
            if product.world_archive is not None:
                world = path.with_suffix(".tfw")
                yield (
                    product.world_archive,
                    (f"{product.world_inside}/" if product.world_inside else "") + world.name,
                    world,
                )
