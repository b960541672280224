"""`python -m mobanet.check`: look at a data set before preparing it."""

from collections.abc import Sequence
from pathlib import Path

from mobanet.cli.data_options import EXPERIMENT_OPTIONS, folder_settings, with_data_of
from mobanet.cli.entry import run
from mobanet.errors import UserError


def check(
    root: str,
    layout: str = "potsdam",
    store: str | None = None,
    modalities: list[str] | None = None,
    workers: int = 0,
    folder: str | None = None,
    allow_missing: bool = False,
    sheet: str | None = None,
) -> None:
    """List the rasters, values and class shares of a data set and all its problems, and draw a contact sheet.

    Args:
        root: folder with the rasters or zip archives as they were downloaded, or one zip archive.
        layout: potsdam, vaihingen, dstl, hunan or folder; dstl_crops and the like take one class of DSTL, hunan_mfnet
            another label map.
        store: where the prepared tiles would go; null for mobanet_store inside root.
        modalities: those to look at, such as [rgb,dsm]; null for the layout's usual ones.
        workers: processes, a tile each; 0 for one a core but no more than 8.
        folder: YAML file that describes your own data, for layout folder, or an experiment that does under data.folder.
        allow_missing: accept tiles that lack some of the modalities.
        sheet: where the contact sheet goes; null for contact_sheet.png in the store.
    """
    # within, so that help and a mistyped option are answered at once
    from mobanet.datasets import get_layout
    from mobanet.store.check import check_files
    from mobanet.store.sheet import draw_sheet
    from mobanet.store.stored import default_store
    from mobanet.store.tables import print_findings
    from mobanet.store.writing import check_writable

    rules = get_layout(layout, folder_settings(folder))
    place = Path(store) if store else default_store(Path(root), layout)
    path = Path(sheet) if sheet else place / "contact_sheet.png"
    # before everything is read
    check_writable(path.parent, "give the contact sheet another place with --sheet, or the store one with --store")
    findings = check_files(rules, Path(root), place, modalities, workers, allow_missing)
    print_findings(findings)
    draw_sheet(findings, path)
    print(f"contact sheet: {path}")
    # last, since table and sheet are what shows them
    if findings.problems:
        count = "a problem" if len(findings.problems) == 1 else f"{len(findings.problems)} problems"
        raise UserError(f"{root} has {count}, listed above: mend the files named there, then prepare the data set.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(check, "python -m mobanet.check", arguments, None, with_data_of, EXPERIMENT_OPTIONS)


if __name__ == "__main__":
    main()
