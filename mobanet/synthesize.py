"""`python -m mobanet.synthesize --layout potsdam --root DIR --tiles 6 --size 512`: a procedural city to train on."""

from collections.abc import Sequence

from mobanet.cli.entry import run
from mobanet.synthetic import synthesize  # at the top, unlike elsewhere: it needs no torch


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    run(synthesize, "python -m mobanet.synthesize", arguments)


if __name__ == "__main__":
    main()
