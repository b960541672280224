"""The exceptions for mistakes a user can mend, and the one for work that was interrupted."""

import re

_ELSEWHERE = ("data.", "trainer.", "scenarios.")
"""How settings begin that are not of the model."""
_NAMED = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)`")


class UserError(Exception):
    """A mistake in what the user gave.

    The message is one sentence: it names the file or option, says what is wrong, and says what to do. Entry points
    print it and exit with code 2 (see `mobanet.cli.entry`).
    """

    def told(self) -> str:
        """The sentence as the command line says it."""
        return str(self)


class SettingError(UserError):
    """A setting that makes no sense, or does not fit the data or another one.

    A model and its training know what their settings are called, and not how they are typed: in Python the message
    begins with the setting's name, on the command line with its option.

    Args:
        field: the setting, as the module has it: `cmx.heads`, `streams`; or, of others, `data.crop`, `scenarios.tau`.
        reason: the rest of the sentence; settings that it names stand in backquotes.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field, self.reason = field, reason
        super().__init__(f"{field}{_gap(reason)}{reason}")

    def __reduce__(self) -> tuple[type["SettingError"], tuple[str, str]]:
        """By what it is made of, as a worker hands it on."""
        return type(self), (self.field, self.reason)

    def told(self) -> str:
        """With the option of each setting in the place of its name."""
        return f"{option_of(self.field)}{_gap(self.reason)}{as_options(self.reason)}"


def check_setting(holds: bool, field: str, reason: str) -> None:
    """Refuse a setting for which something does not hold, by `SettingError`."""
    if not holds:
        raise SettingError(field, reason)


def as_options(text: str) -> str:
    """A text in which settings stand in backquotes, with the options that set them."""
    return _NAMED.sub(lambda found: option_of(found[1]), text)


def option_of(field: str) -> str:
    """The option behind which a setting is typed."""
    return f"--{field}" if field.startswith(_ELSEWHERE) else f"--model.{field}"


def _gap(reason: str) -> str:
    # a reason that begins so goes on right behind the name
    return "" if reason[:1] in (":", ",") else " "


class Stopped(KeyboardInterrupt):
    """Ctrl-C, in work that can be gone on with.

    The message says how far it came; entry points add the command to go on with (see `mobanet.cli.entry`).
    """


class AgreedError(UserError):
    """A mistake that all processes of a run find at the same place; the first of them tells it."""


DIVERGED = "training has diverged"
"""How the sentence of a run begins whose loss or weights are no numbers."""
