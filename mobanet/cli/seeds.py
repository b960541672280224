"""The options `--seeds` and `--test` of `mobanet.fit`, which ask for more than one process."""

from collections.abc import Sequence

from mobanet.plain.command_words import given_options

OPTIONS = ("--seeds", "--test")


def asks_for_more(words: Sequence[str]) -> bool:
    """Whether a command line of `mobanet.fit` is for `mobanet.trials.seeds.fit_seeds`."""
    given = given_options(words)
    # help is the same for all, and needs no processes
    return bool(given & set(OPTIONS)) and not given & {"-h", "--help", "--help_all", "--print_config"}
