"""What a parser's own help shows: the options that a user may set."""

from argparse import SUPPRESS, Action
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

_INTERNAL = ("model.restored", "model.data", "model.seed", "data.seed")
"""Set by the command line itself: from the checkpoint, the data module and --seed_everything."""

_OF_FIT = ("variant", "init_from")
"""In the other commands only so that they can be refused by name."""


class HelpFormatter(DefaultHelpFormatter):
    """Knows that an experiment has what the constructors cannot do without."""

    def _get_help_string(self, action: Action) -> str:
        text = super()._get_help_string(action)
        return text.replace("(required, ", "(needed unless an experiment or a checkpoint's run has it; ")


class PrintedHelp:
    """For a parser: help is printed like anything else; argparse swallows what goes wrong with it."""

    def print_help(self, file: Any = None) -> None:
        """Print it to `file`, or to standard output."""
        parser: Any = self
        print(parser.format_help(), end="", file=file)


@contextmanager
def tidied(parser: ArgumentParser, command: str) -> Iterator[None]:
    """Leave internal options out of the help for as long as this lasts.

    Not for good: what is left out of the help is left out of a saved configuration, too.

    Args:
        parser: with all of its options.
        command: `fit`, `test`, `scores` or `adapt`.
    """
    hidden = _INTERNAL if command == "fit" else (*_INTERNAL, *_OF_FIT)
    former = [(action, action.help) for action in parser._actions]
    for action in parser._actions:
        if action.dest in hidden or any(f"--{name}.help" in action.option_strings for name in hidden):
            action.help = SUPPRESS
        elif "--help" in action.option_strings:
            # argparse's own words would promise all of them
            action.help = "show the most used options and exit"
    links = [group for group in parser._action_groups if group.title == "Linked arguments"]  # no user's business
    for group in links:
        former += [(action, action.help) for action in group._group_actions]
        for action in group._group_actions:
            action.help = SUPPRESS
    try:
        yield
    finally:
        for action, text in former:
            action.help = text
