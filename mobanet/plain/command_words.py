"""The words of a command line, before any parser reads them."""

from collections.abc import Collection, Iterable, Sequence

from mobanet.errors import UserError


def set_apart(words: Iterable[str], flags: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """The words of a command line that belong to no option, and the others; options but flags take a value.

    Args:
        words: behind the command.
        flags: options that may stand alone, which are given `true`.
    """
    alone, options, given = [], list[str](), iter(words)
    for word in given:
        if not word.startswith("-"):
            alone.append(word)
        elif word in flags:
            options.append(f"{word}=true")
        else:
            options.append(word)
            if "=" not in word and word not in ("-h", "--help"):
                options += [value for value in (next(given, None),) if value is not None]
    return alone, options


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
