"""Code of the user's own, by its import path."""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

from mobanet.errors import UserError
from mobanet.plain.wording import did_you_mean


def is_import_path(name: Any) -> bool:
    """Whether a name could be one: names of a package and of something in it, with dots between them."""
    parts = name.split(".") if isinstance(name, str) else []
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def imported(path: str, option: str) -> Any:
    """What an import path such as `my_package.losses.MyLoss` names.

    Args:
        path: of it.
        option: where the user gave it, for messages.

    Raises:
        UserError: when there is no such package, or no such name in it, or its own import fails.
    """
    module, _, name = path.rpartition(".")
    package = imported_module(module, path, option)
    if not hasattr(package, name):
        hint = did_you_mean(name, vars(package))
        raise UserError(f"{option} names {path}, and {module} has no {name}{hint}; give a name that it has.")
    return getattr(package, name)


def imported_module(module: str, path: str, option: str) -> ModuleType:
    """A module that the user has named.

    Args:
        module: its name.
        path: what the user gave, which it is a part of or all of.
        option: where the user gave it, for messages.

    Raises:
        UserError: when there is none of that name, or its own import fails.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # the module itself or a package above it; any other name is of something that its own code imports
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise UserError(
                f"{option} names {path}, and Python finds no {error.name}; install it, or start where its folder lies, "
                "with PYTHONPATH=. where need be."
            ) from error
        raise UserError(f"{option} names {path}, whose module needs {error.name}, which is not installed.") from error
    except Exception as error:  # of code that is not ours
        raise UserError(
            f"{option} names {path}, whose module cannot be imported ({_in_a_line(error)}); mend it."
        ) from error


def is_module(name: str) -> bool:
    """Whether a name is that of a module, rather than of something within one; packages above it are imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:  # of code that is not ours, and `ModuleNotFoundError` where what should be a package is a module
        return False


def import_path_of(thing: Any) -> str:
    """The path by which a function, or the class of an object, could be imported again, where it lies in a module."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    name = named.__qualname__.rpartition(".")[2]
    # a lambda is called `<lambda>`, which `is_import_path` would not take for a name
    return f"{named.__module__}.{name if name.isidentifier() else 'unnamed'}"


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
