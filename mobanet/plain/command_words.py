"""The words of a command line, before any parser reads them."""

from collections.abc import Sequence

from mobanet.errors import UserError


def take(words: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option, None without it, and the other words.

    Raises:
        UserError: when the value is not there.
    """
    value, rest, given = None, [], iter(words)
    for word in given:
        if word == option:
            value = next(given, None)
            if value is None or value.startswith("--"):
                raise UserError(f"{option} needs a value.")
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest
