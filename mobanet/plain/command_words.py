"""The words of a command line, before any parser reads them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest

from mobanet.errors import UserError

CONFIG = ("--config", "-c")
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


def given_options(words: Iterable[str]) -> set[str]:
    """The options among the words, each without its value."""
    return {word.partition("=")[0] for word in words}


def values_of(words: Sequence[str], options: Collection[str]) -> Iterator[tuple[int, str]]:
    """Each value that one of the options is given, with the place of the word behind it."""
    for place, (word, following) in enumerate(zip_longest(words, words[1:], fillvalue=""), start=1):
        name, equals, value = word.partition("=")
        if name in options:
            yield (place, value) if equals else (place + 1, following)


def with_bare(words: Sequence[str], options: Collection[str], meaning: str = "true") -> list[str]:
    """Let options without a value mean one, for a parser that knows no such options."""
    return [
        f"{word}={meaning}" if word in options and following.startswith("-") else word
        # `--` stands for an option behind the last word, which has no value there either
        for word, following in zip_longest(words, words[1:], fillvalue="--")
    ]


def listed(given: str | Sequence[str] | None) -> list[str]:
    """Names that are joined by commas, or a list of them already; none where nothing is given."""
    return [name.strip() for name in given.split(",")] if given and isinstance(given, str) else list(given or ())


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
            # help takes no value: the word behind it is one that stands alone
            if "=" not in word and word not in ("-h", "--help"):
                options += [value for value in (next(given, None),) if value is not None]
    return alone, options


def take_flag(words: Sequence[str], option: str) -> tuple[bool, list[str]]:
    """Whether a flag is given, alone or with true or false, and the other words.

    Raises:
        UserError: for another value.
    """
    found, rest, given = False, [], list(words)
    while given:
        word, equals, value = given.pop(0).partition("=")
        if word != option:
            rest.append(f"{word}{equals}{value}")
            continue
        # any other word behind a flag is no value of it but stands by itself, as a path does
        if not equals:
            value = given.pop(0) if given and given[0].lower() in (*_YES, *_NO) else "true"
        if value.lower() not in (*_YES, *_NO):
            raise UserError(f"{option} cannot be {value}; give true or false, or nothing behind it.")
        found = value.lower() in _YES
    return found, rest


def take(words: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option, None without it, and the other words.

    Raises:
        UserError: when the value is not there.
    """
    value, rest, given = None, [], iter(words)
    for word in given:
        if word == option:
            value = next(given, None)
            # two dashes: one may begin a value, such as a negative number
            if value is None or value.startswith("--"):
                raise UserError(f"{option} needs a value.")
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest
