"""How every `python -m mobanet.…` starts: typed arguments in, one sentence and exit code 2 on a mistake."""

import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ArgumentParser

from mobanet.errors import UserError
from mobanet.parser_errors import plain_parser_message

EXIT_CODE = 2


class SentenceParser(ArgumentParser):
    """A parser that reports a wrong option as one sentence, without the usage text."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `message` on one line and exit with code 2."""
        fail(plain_parser_message(message, self))


def fail(message: str) -> NoReturn:
    """Print one sentence to standard error and exit with code 2."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    sys.exit(EXIT_CODE)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn a `UserError`, a full disk or an interrupt inside the block into one sentence and an exit code."""
    try:
        yield
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        fail(f"the disk is full{where}; free some space, or put the output on another disk, and run the command again.")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _explicit_flags(words: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """Let a bare `--archives` mean `--archives true`."""
    flags = {f"--{name}" for name, kind in get_type_hints(function).items() if kind is bool}
    out = []
    for word, following in zip(words, [*words, "--"][1:], strict=True):
        out += [word, "true"] if word in flags and following.startswith("--") else [word]
    return out


def run(function: Callable[..., Any], program: str, arguments: Sequence[str] | None = None) -> None:
    """Parse `arguments` (default: the command line) by the signature of `function` and call it.

    Args:
        function: its docstring is the help text, its annotations the option types.
        program: the name shown in the help, such as `python -m mobanet.prepare`.
        arguments: the words after the program's name.
    """
    parser = SentenceParser(prog=program, description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_function_arguments(function, as_group=False)
    parser.add_argument("--config", action="config", help="read options from a YAML file")
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.instantiate(parser.parse_args(_explicit_flags(words, function)))
    options.pop("config", None)
    with one_sentence():
        function(**options)
