"""`python -m mobanet.prepare`: turn a data set as downloaded into a tile store."""

from collections.abc import Sequence
from pathlib import Path

from mobanet.cli.data_options import EXPERIMENT_OPTIONS, folder_settings, with_data_of
from mobanet.cli.entry import run

_INTERRUPTED = "interrupted; tiles that are finished stay, and the same command goes on"


def prepare(
    root: str,
    layout: str = "potsdam",
    store: str | None = None,
    modalities: list[str] | None = None,
    workers: int = 0,
    folder: str | None = None,
    allow_missing: bool = False,
) -> None:
    """Check every tile of a data set and write it to a tile store; what is current is left alone.

    Args:
        root: folder with the rasters or zip archives as they were downloaded, or one zip archive.
        layout: potsdam, vaihingen, dstl, hunan or folder; dstl_crops and the like take one class of DSTL, hunan_mfnet
            another label map.
        store: where the prepared tiles go; null for mobanet_store inside root.
        modalities: those to prepare, such as [rgb,dsm]; null for the layout's usual ones.
        workers: processes, a tile each; 0 for one a core but no more than 8.
        folder: YAML file that describes your own data, for layout folder, or an experiment that does under data.folder.
        allow_missing: accept tiles that lack some of the modalities.
    """
    # within, as in `mobanet.check`
    from mobanet.datasets import get_layout
    from mobanet.store.build import build_store
    from mobanet.store.tables import print_store

    rules = get_layout(layout, folder_settings(folder))
    place = Path(store) if store else None
    print_store(build_store(rules, Path(root), place, modalities, workers, allow_missing))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(prepare, "python -m mobanet.prepare", arguments, lambda _: _INTERRUPTED, with_data_of, EXPERIMENT_OPTIONS)


if __name__ == "__main__":
    main()
