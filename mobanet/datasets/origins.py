"""Where each data set comes from: said where one is expected and there is none."""

import shlex
from pathlib import Path

DEMO_ROOT = Path("demo/city")
"""The synthetic city of the experiment `synthetic_irrgb_dsm`."""

_DEMO = "--tiles 12 --size 512 --seed 7"
_ISPRS = "https://www.isprs.org/resources/datasets/benchmarks/UrbanSemLab/default.aspx"

_FILES = {
    "potsdam": f"Potsdam.zip, or what is in it, from {_ISPRS}",
    "vaihingen": f"Vaihingen.zip, or what is in it, from {_ISPRS}",
    "dstl": "three_band.zip, sixteen_band.zip, train_wkt_v4.csv and grid_sizes.csv from Kaggle's competition "
    "dstl-satellite-imagery-feature-detection",
    "hunan": "the folder or archive Hunan_Dataset from its publisher (DKDFN)",
}


def origin_of(layout: str) -> str | None:
    """What a data set consists of and where it is to be had; None for one's own data."""
    # `dstl_crops` and the like have the files of `dstl`
    return _FILES.get(layout.partition("_")[0])


def synthesize_command(layout: str, root: Path) -> str | None:
    """The command that draws a synthetic data set under a layout's names; None where it has no names of its own."""
    if origin_of(layout) is None:
        return None
    command = f"python -m mobanet.synthesize --layout {layout.partition('_')[0]} --root {shlex.quote(str(root))}"
    return f"{command} {_DEMO if _is_demo(root) else '--tiles 6 --size 512'}"


def how_to_get(layout: str, root: Path) -> str:
    """What to do about a data set that is not at `root`, as the end of a sentence."""
    drawn, files = synthesize_command(layout, root), origin_of(layout)
    if drawn is None:
        return "give as root the folder or zip archive that holds the data set."
    if _is_demo(root):
        return f"draw the synthetic city with `{drawn}`."
    return f"put there {files}; or give as root the folder that holds it; or draw a synthetic one with `{drawn}`."


def _is_demo(root: Path) -> bool:
    return root.parts[-2:] == DEMO_ROOT.parts
