"""The exception for mistakes a user can mend, and the one for work that was interrupted."""


class UserError(Exception):
    """A mistake in what the user gave.

    The message is one sentence: it names the file or option, says what is wrong, and says what to do. Entry points
    print it and exit with code 2 (see `mobanet.cli.entry`).
    """


class Stopped(KeyboardInterrupt):
    """Ctrl-C, in work that can be gone on with.

    The message says how far it came; entry points add the command to go on with (see `mobanet.cli.entry`).
    """


class AgreedError(UserError):
    """A mistake that all processes of a run find at the same place; the first of them tells it."""


DIVERGED = "training has diverged"
"""How the sentence of a run begins whose loss or weights are no numbers."""
