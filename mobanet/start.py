"""How fit, test, scores and adapt begin: everything they need is imported here, as fast as that goes."""

import gc
import sys
from collections.abc import Sequence

from mobanet.cli.help_screens import asked_for, screen
from mobanet.cli.option_names import as_typed, with_settings
from mobanet.plain.pipes import unread_output_ends_quietly


def start(command: str, words: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        command: `fit`, `test`, `scores` or `adapt`.
        words: the command line behind the program's name; None for this process's.
    """
    words = sys.argv[1:] if words is None else list(words)
    if asked_for(words):
        with unread_output_ends_quietly():
            print(screen(command), end="")
        return
    if command == "fit":
        from mobanet.cli.seeds import asks_for_more

        if asks_for_more(words):  # by processes of their own; this one waits, and needs nothing of what follows
            from mobanet.cli.entry import one_sentence
            from mobanet.trials.seeds import fit_seeds

            with one_sentence(said=lambda text: as_typed(text, command)):
                fit_seeds(with_settings(words, command))
            return
    gc.disable()  # imports and the parser take a fifth less time; on once the command line has been read
    from mobanet.cli.commands import main

    main(command, words)
