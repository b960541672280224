"""How every `python -m mobanet.…` starts: typed arguments in, one sentence and exit code 2 on a mistake."""

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from mobanet.cli.help_screens import asked_for, screen
from mobanet.cli.networks import HELP as NETWORKS_HELP
from mobanet.cli.networks import with_networks
from mobanet.cli.option_names import as_typed, with_short_names
from mobanet.cli.parser_errors import check_config_files, plain_parser_message
from mobanet.cli.parser_help import PrintedHelp
from mobanet.errors import Stopped, UserError
from mobanet.plain.command_words import with_bare
from mobanet.plain.pipes import unread_output_ends_quietly

EXIT_CODE = 2  # that of argparse for a wrong command line

_FULL = (errno.ENOSPC, errno.EDQUOT)  # to its user, a quota that is used up is a full disk
_PLACE = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
)
"""What the system says of a file that is not where or what it should be."""


class SentenceParser(PrintedHelp, ArgumentParser):
    """A parser that reports a wrong option as one sentence, without the usage text."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `message` on one line and exit with code 2."""
        fail(as_typed(plain_parser_message(message, self), "test"))


def fail(message: str) -> NoReturn:
    """Print one sentence to standard error and exit with code 2."""
    text = " ".join(str(message).split())
    # names of files may hold control characters, which a terminal would obey
    plain = text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    print(f"error: {plain}", file=sys.stderr, flush=True)
    sys.exit(EXIT_CODE)


@contextmanager
def one_sentence(
    way_on: Callable[[KeyboardInterrupt], str] | None = None, said: Callable[[str], str] = str
) -> Iterator[None]:
    """Turn what a user can mend into one sentence and an exit code: a `UserError`, a full disk, a file out of place.

    Args:
        way_on: what to say on Ctrl-C.
        said: how a `UserError` is put.
    """
    with unread_output_ends_quietly(), _one_sentence(way_on, said):
        yield


@contextmanager
def _one_sentence(way_on: Callable[[KeyboardInterrupt], str] | None, said: Callable[[str], str]) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        fail(said(_without_worker_trace(error.told())))
    except OSError as error:
        sentence = _file_sentence(error)
        if sentence is None:
            raise
        fail(sentence)
    except KeyboardInterrupt as interrupt:
        if int(os.environ.get("LOCAL_RANK") or 0):
            # the first process says it; it would be killed by one that fails, and wait for one that does not come
            sys.exit(0 if isinstance(interrupt, Stopped) else 130)
        # 130 is 128 and the number of SIGINT, as shells have it
        print(way_on(interrupt) if way_on else "interrupted", file=sys.stderr)
        sys.exit(130)


def _without_worker_trace(text: str) -> str:
    """A `DataLoader` raises a worker's exception again with the worker's traceback in its text."""
    return text.rpartition("UserError: ")[2] if text.startswith("Caught UserError in ") else text


def _file_sentence(error: OSError) -> str | None:
    """What to do about a file; None for other trouble, of which the traceback is worth seeing."""
    number, text, name = error.errno, error.strerror, error.filename
    if number is None and (told := re.search(r"\[Errno (\d+)\] ([^:\n]+)(?:: '(.*)')?", str(error))):
        number, text, name = int(told[1]), told[2], told[3]  # of a worker, whose exception was put into words
    # first, as it may be told without a name
    if number in _FULL:
        where = f" while writing {name}" if name else ""
        return (
            f"the disk is full{where}; free some space, or put the output on another disk, and run the command again."
        )
    if number in _PLACE and name:
        return f"{name} cannot be used ({text}); check that the path is right and that it may be read and written."
    return None


def _explicit_flags(words: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """Let a bare `--archives` mean `--archives=true`, also where it may have another value than true or false."""
    kinds = get_type_hints(function).items()
    return with_bare(words, {f"--{name}" for name, kind in kinds if kind is bool or bool in get_args(kind)})


def _gathered(words: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """Let the words behind an option that takes several stand one by one: `--input rgb=a.tif dsm=b.tif`.

    The option may come again, as in `--input rgb=a.tif --input dsm=b.tif`: the parser would forget what came before.
    """
    kinds = get_type_hints(function)
    lists = {
        f"--{name}"
        for name, kind in kinds.items()
        if get_origin(kind) is list or any(get_origin(each) is list for each in get_args(kind))
    }
    out: list[str] = []
    before: dict[str, tuple[int, list[str]]] = {}  # where in `out` an option's words are, and which
    given = list(words)
    while given:
        option, equals, value = given.pop(0).partition("=")
        if option not in lists:
            out.append(f"{option}{equals}{value}")
            continue
        several = [value] if equals else []
        while given and not given[0].startswith("--"):
            several.append(given.pop(0))
        # a list in brackets, or rgb,dsm, which the parser has a word to say about
        single = len(several) == 1 and re.fullmatch(r"\[.*|null|[^=]*,[^=]*", several[0], re.DOTALL)
        if single or not several:
            out += [option, *several]
            continue
        if option not in before:
            out += [option, ""]
            before[option] = len(out) - 1, []
        place, known = before[option]
        known += several
        out[place] = json.dumps(known)  # one word, which the parser reads as a list
    return out


def run(
    function: Callable[..., Any],
    program: str,
    arguments: Sequence[str] | None = None,
    way_on: Callable[[KeyboardInterrupt], str] | None = None,
    prepared: Callable[[Sequence[str]], list[str]] | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Parse `arguments` (default: the command line) by the signature of `function` and call it.

    Args:
        function: its docstring is the help text, its annotations the option types.
        program: the name shown in the help, such as `python -m mobanet.prepare`.
        arguments: the words after the program's name.
        way_on: what to say on Ctrl-C.
        prepared: what is made of the words before they are parsed, as of an experiment's name.
        more: options that it takes out of them, by name, and their help.
    """
    parser = SentenceParser(prog=program, description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_function_arguments(function, as_group=False)
    parser.add_argument("--config", action="config", help="read options from a YAML file")
    parser.add_argument("--networks", type=str | None, default=None, help=NETWORKS_HELP)
    for name, text in more.items():
        parser.add_argument(f"--{name}", type=str | None, default=None, help=text)
    words = sys.argv[1:] if arguments is None else arguments
    short = screen(program.rpartition(".")[2])
    if short:
        parser.add_argument("--help_all", action="help", help="show all options and exit")
    with one_sentence(way_on, lambda text: as_typed(text, "test")):
        if short and asked_for(words):
            print(short, end="")
            return
        check_config_files(words)
        words = with_networks(with_short_names(words, get_type_hints(function)))
        words = prepared(words) if prepared else words
        options = parser.instantiate(parser.parse_args(_gathered(_explicit_flags(words, function), function)))
        for name in ("config", "networks", *more):
            options.pop(name, None)
        function(**options)
