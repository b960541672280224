"""The one exception for mistakes a user can mend."""


class UserError(Exception):
    """A mistake in what the user gave.

    The message is one sentence: it names the file or option, says what is wrong, and says what to do. Entry points
    print it and exit with code 2 (see `mobanet.entry`).
    """
