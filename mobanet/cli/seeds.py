"""The options `--seeds` and `--test` of `mobanet.fit`, which ask for more than one process."""

from collections.abc import Sequence

OPTIONS = ("--seeds", "--test")


def asks_for_more(words: Sequence[str]) -> bool:
    """Whether a command line of `mobanet.fit` is for `mobanet.trials.seeds.fit_seeds`."""
    given = {word.split("=")[0] for word in words}
    return bool(given & set(OPTIONS)) and not given & {"-h", "--help", "--help_all", "--print_config"}


def explicit_test(words: Sequence[str]) -> list[str]:
    """Let a bare `--test` mean `--test=true`, for the parser."""
    behind = [*words, "--"][1:]
    return [
        f"{w}=true" if w == "--test" and after.startswith("--") else w for w, after in zip(words, behind, strict=True)
    ]
