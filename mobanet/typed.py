"""Plain content of a file as a dataclass, with every type checked: a file may hold anything."""

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def build(kind: type[Record], content: Any, **given: Any) -> Record:
    """A dataclass of a mapping.

    Args:
        kind: the dataclass; its fields are numbers, texts, truths, tuples, mappings, and dataclasses.
        content: by field; lists stand for tuples, and fields with a default may be left out.
        given: fields that `content` does not hold.

    Raises:
        TypeError: for content of another type, fields that are missing, and fields that there are not.
    """
    if not isinstance(content, Mapping):
        raise TypeError(f"a {kind.__name__} is {_short(content)}, which is no mapping")
    hints, fields = _hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    if unknown := [key for key in content if key not in fields or key in given]:
        raise TypeError(f"a {kind.__name__} has the field {_short(unknown[0])}, which there is not")
    values = {name: checked(hints[name], value, name) for name, value in content.items()}
    return kind(**values, **given)


def checked(wanted: Any, value: Any, name: str) -> Any:
    """A value of the type that is wanted, lists as tuples.

    Args:
        wanted: the type.
        value: plain.
        name: for messages.

    Raises:
        TypeError: for a value of another type.
    """
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return value
    if dataclasses.is_dataclass(wanted):
        return build(wanted, value)
    if origin in (Union, types.UnionType):
        return None if value is None and type(None) in arguments else checked(arguments[0], value, name)
    if origin is Literal and isinstance(value, str) and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return _tuple(arguments, value, name)
    if origin is dict and isinstance(value, Mapping):
        return {checked(arguments[0], key, name): checked(arguments[1], each, name) for key, each in value.items()}
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted in (int, str, bool) and type(value) is wanted:
        return value
    raise TypeError(f"{name} is {_short(value)}, where {getattr(wanted, '__name__', wanted)} belongs")


def _tuple(arguments: tuple[Any, ...], value: list | tuple, name: str) -> tuple[Any, ...]:
    if arguments[-1] is ...:
        return tuple(checked(arguments[0], each, name) for each in value)
    if len(value) != len(arguments):
        raise TypeError(f"{name} has {len(value)} values, where {len(arguments)} belong")
    return tuple(checked(kind, each, name) for kind, each in zip(arguments, value, strict=True))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
