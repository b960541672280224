"""`python -m mobanet.report RUN`: a run folder as one HTML page."""

import sys
from collections.abc import Sequence

from mobanet.cli.entry import fail, run
from mobanet.errors import UserError
from mobanet.plain.command_words import set_apart


def report(run: str, output: str | None = None, tiles: int = 6, side: int = 768) -> None:
    """Write a run's figures, confusion matrices, maps, curves and settings as one HTML page that needs no other file.

    Args:
        run: folder that mobanet.fit has written, or a checkpoint or exported model in one; `mobanet.report RUN` means
            the same as `--run RUN`.
        output: HTML file to write; null for report.html in the run folder.
        tiles: most test tiles to show.
        side: most rows and columns of a picture; larger tiles are thinned.
    """
    for option, value, least in (("tiles", tiles, 1), ("side", side, 16)):
        if value < least:
            raise UserError(f"--{option} is {value}; give at least {least}.")
    # within, so that help and a mistyped option are answered without torch
    from mobanet.reporting.folder import run_in
    from mobanet.reporting.write import write_report

    folder = run_in(run)
    path = write_report(folder, output or folder / "report.html", tiles, side)
    print(f"the report is {path} ({path.stat().st_size / 1e6:.1f} MB)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(report, "python -m mobanet.report", with_run(sys.argv[1:] if arguments is None else arguments))


def with_run(words: Sequence[str]) -> list[str]:
    """The words of a command line in which a folder may stand without `--run`; every option here takes a value."""
    folders, out = set_apart(words)
    if len(folders) > 1:
        # by itself: what turns errors into sentences begins with `run`
        fail(f"mobanet.report takes one run folder, not {len(folders)} ({', '.join(folders)}); run it once for each.")
    return [*out, *(f"--run={folder}" for folder in folders)]


if __name__ == "__main__":
    main()
