"""The data sets mobanet knows, by name."""

from collections.abc import Callable
from functools import partial

from mobanet.datasets.base import Layout
from mobanet.datasets.dstl import TARGETS, DstlLayout
from mobanet.datasets.folder import FolderLayout
from mobanet.datasets.folder_settings import FolderModality, FolderSettings, FolderSplit
from mobanet.datasets.folder_words import load_folder_settings
from mobanet.datasets.hunan import LABEL_MAPS, HunanLayout
from mobanet.datasets.listed_splits import SplitLists, SplitTable
from mobanet.datasets.potsdam import PotsdamLayout
from mobanet.datasets.tiling_settings import SplitAreas, SplitBlocks, Tiling
from mobanet.datasets.vaihingen import VaihingenLayout
from mobanet.datasets.vector_settings import VectorLabel
from mobanet.errors import UserError
from mobanet.plain.wording import choose_from

_MADE: dict[str, Callable[[], Layout]] = {
    "potsdam": PotsdamLayout,
    "vaihingen": VaihingenLayout,
    "dstl": DstlLayout,
    **{f"dstl_{target}": partial(DstlLayout, target) for target in TARGETS},
    **{f"hunan_{name}" if name else "hunan": partial(HunanLayout, name) for name in LABEL_MAPS},
}

LAYOUTS = (*_MADE, "folder")
"""Names for `get_layout`."""

__all__ = [
    "LAYOUTS",
    "FolderModality",
    "FolderSettings",
    "FolderSplit",
    "Layout",
    "SplitAreas",
    "SplitBlocks",
    "SplitLists",
    "SplitTable",
    "Tiling",
    "VectorLabel",
    "get_layout",
    "load_folder_settings",
]


def get_layout(name: str, folder: FolderSettings | None = None) -> Layout:
    """The layout called `name`.

    Args:
        name: one of `LAYOUTS`.
        folder: description of one's own data, for `folder` and only for it.

    Raises:
        UserError: for an unknown name, `folder` settings that are missing or without use, or that make no sense.
    """
    choose_from(dict.fromkeys(LAYOUTS), name, "there is no layout")
    if name == "folder":
        if folder is None:
            raise UserError("layout folder needs a description of the data: give its settings under folder.")
        return FolderLayout(folder)
    if folder is not None:
        raise UserError(f"layout {name} takes no folder settings: leave them out, or use layout folder.")
    return _MADE[name]()
