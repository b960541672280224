"""Draws a whole data set to disk."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import cv2

from mobanet.errors import UserError
from mobanet.plain.json_files import read_json
from mobanet.plain.typed import checked
from mobanet.store.pool import in_processes
from mobanet.store.progress import TaskProgress
from mobanet.synthetic.deliveries import delivery_of
from mobanet.synthetic.delivery import CityPlan, Delivery
from mobanet.synthetic.files import write_bytes

MARKER = ".mobanet_synthetic.json"
"""Names the parameters of the data set in a folder, and that it is ours to complete."""

SCRATCH = ".mobanet_synthetic_tiles"
"""Where tiles wait to be archived."""

SMALLEST = 128

RECIPE = 1
"""Raised whenever the same parameters would give another city."""


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
    coarser: dict[str, int] | None = None,
) -> list[str]:
    """Draw a procedural city, or for hunan a landscape, and write it as a benchmark would ship it.

    Streets, houses, trees and cars are drawn at random; labels, colours, infrared and elevation agree. A run that was
    killed continues where it stopped when started again with the same options.

    Args:
        layout: whose file names, bands and labels to use: potsdam, vaihingen, dstl or hunan; or a described data set
            (whu_opt_sar, earthmiss, flair_hub), or an experiment or YAML file that describes your own data, for a
            patchwork of its classes in files as it says.
        root: folder to write to; new, empty, or holding this very data set.
        tiles: how many, named so that from three on the first split has training, validation and test tiles.
        size: pixels a side, at least 128; Vaihingen's tiles differ by up to a tenth, DSTL's by up to a hundredth.
        seed: which city.
        archives: pack everything into zip archives like the official ones.
        gsd: metres a pixel; unless given 0.25, or what shows 64 m in tiles below 256 pixels: the benchmarks' own 5 and
            9 cm would leave small tiles without a whole house. 10 for hunan, 1 for described data.
        workers: processes that draw; 0 draws in this one. The pixels do not depend on it.
        products: what to write, all unless given: rgb, irrg, rgbir, dsm, ndsm, ndsm_own, labels, labels_eroded; for
            dstl rgb, pan, ms, swir, labels; for hunan s2, s1, topo, tri, labels; of described data sensors, labels.
        coarser: of described data, by modality how many times as large its pixels are.

    Returns:
        The ids of the tiles.

    Raises:
        UserError: for an option out of range, or a folder that holds something else.
    """
    delivery = delivery_of(layout)
    names = delivery.names(tiles)
    plan = _plan(delivery, tiles, size, seed, gsd, archives, products)
    if coarser:
        delivery.check_coarser(coarser, size)
        plan = replace(plan, coarser=coarser)
    if workers < 0:
        raise UserError(f"--workers {workers}: give 0 to draw in this process, or the number of processes.")
    root = Path(root)
    _claim(root, plan)
    if not archives:
        _draw(plan, root, names, workers)
        delivery.finish(plan, root, names)
        return names
    # an archive gets its name once it is whole, so that one that is there is finished
    if not all((root / name).exists() for name in delivery.archives()):
        drawn = [*names, *delivery.strays()]
        _draw(plan, root / SCRATCH, drawn, workers)
        delivery.finish(plan, root / SCRATCH, drawn)
        delivery.pack(plan, root / SCRATCH, root, drawn)
    shutil.rmtree(root / SCRATCH, ignore_errors=True)
    return names


def _plan(
    delivery: Delivery,
    tiles: int,
    size: int,
    seed: int,
    gsd: float | None,
    archives: bool,
    products: Sequence[str] | None,
) -> CityPlan:
    """The checked parameters."""
    known, (finest, coarsest) = delivery.contents, delivery.pixels
    if size < SMALLEST:
        raise UserError(f"--size {size}: a tile needs at least {SMALLEST} pixels a side; give {SMALLEST} or more.")
    if seed < 0:
        raise UserError(f"--seed {seed}: a seed cannot be negative; give 0 or more.")
    usual = delivery.default_gsd(size)
    if gsd is not None and not finest <= gsd <= coarsest:
        raise UserError(
            f"--gsd {gsd}: pixels must be between {finest:g} and {coarsest:g} metres; leave it out for {usual}."
        )
    for name in products or ():
        if name not in known:
            raise UserError(f"--products {name}: layout {delivery.layout} has {', '.join(known)}; name some of these.")
    if products is not None and not products:
        raise UserError(f"--products is empty: name some of {', '.join(known)}, or leave the option out for all.")
    chosen = tuple(name for name in known if products is None or name in products)
    return CityPlan(delivery.layout, tiles, size, seed, usual if gsd is None else gsd, archives, chosen)


def _claim(root: Path, plan: CityPlan) -> None:
    """Make `root` the folder of this data set, or refuse it."""
    mine = {"recipe": RECIPE, **asdict(plan), "products": list(plan.products)}
    if plan.coarser is None:
        del mine["coarser"]  # as in folders that were drawn before there was such an option
    marker = root / MARKER
    if root.exists() and not root.is_dir():
        raise UserError(f"--root {root} is a file: give a folder.")
    if marker.exists():
        try:
            theirs = checked(dict[str, Any], read_json(marker), MARKER)
        except (ValueError, TypeError):
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


def _draw(plan: CityPlan, folder: Path, names: Sequence[str], workers: int) -> None:
    """Write the tiles that are not there yet."""
    delivery = delivery_of(plan.layout)
    todo = [tile for tile in names if not delivery.drawn(plan, folder, tile)]
    with TaskProgress("drawing tiles", len(todo)) as steps:
        # 0 here is this process alone, which is 1 there
        for _ in in_processes(partial(_draw_tile, plan, folder), todo, workers or 1, alone=0):
            steps.advance()


def _draw_tile(plan: CityPlan, folder: Path, tile: str) -> None:
    if parent_process() is not None:
        cv2.setNumThreads(1)  # or each process would start as many threads as there are cores
    delivery_of(plan.layout).draw(plan, folder, tile)
