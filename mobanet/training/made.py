"""Objects of classes that the user has named by their import path, and what they are made of."""

from collections.abc import Callable, Mapping
from typing import Any

from mobanet.errors import SettingError, check_setting


def made(
    found: Callable[..., Any], path: str, field: str, arguments: Mapping[str, Any], *given: Any, **more: Any
) -> Any:
    """What a class, or a function, makes of arguments.

    Args:
        found: the class.
        path: where Python has found it.
        field: the setting that names it.
        arguments: by name.
        given: by place, before them.
        more: by name, not of the user's.

    Raises:
        SettingError: when it makes nothing of them.
    """
    try:
        return found(*given, **more, **arguments)
    except Exception as error:  # of code that is not ours
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise SettingError(
            field, f"names {path}, which cannot be made of {dict(arguments)} ({reason}); give other init_args."
        ) from error


def checked_arguments(given: Any, field: str, example: str) -> dict[str, Any]:
    """The `init_args` of a setting, none where they are null; refused by `SettingError` where they are no mapping."""
    fits = given is None or (isinstance(given, Mapping) and all(isinstance(key, str) for key in given))
    check_setting(fits, f"{field}.init_args", f"is {given}; give a mapping such as {example}.")
    return dict(given or {})
