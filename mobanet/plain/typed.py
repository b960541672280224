"""Plain content of a file as a dataclass, with every type checked: a file may hold anything."""

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
Check = Callable[[Any, str], Any]


def build(kind: type[Record], content: Any, **given: Any) -> Record:
    """A dataclass of a mapping.

    Args:
        kind: the dataclass; its fields are numbers, texts, truths, tuples, mappings, and dataclasses.
        content: by field; lists stand for tuples, and fields with a default may be left out.
        given: fields that `content` does not hold.

    Raises:
        TypeError: for content of another type, fields that are missing, and fields that there are not.
    """
    # the plain type first: to look an abstract class up takes four times as long, of every tile's record
    if type(content) is not dict and not isinstance(content, Mapping):
        raise TypeError(f"a {kind.__name__} is {_short(content)}, which is no mapping")
    checks, values = _field_checks(kind), {}
    for name, value in content.items():
        # what the caller knows, such as the folder a file was found in, a file may not say
        check = checks.get(name) if name not in given else None
        if check is None:
            raise TypeError(f"a {kind.__name__} has the field {_short(name)}, which there is not")
        values[name] = check(value, name)
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
    return _check(wanted)(value, name)


@cache
def _field_checks(kind: type) -> dict[str, Check]:
    hints = get_type_hints(kind)
    return {field.name: _check(hints[field.name]) for field in dataclasses.fields(kind)}


@cache  # a store has thousands of records of a few types
def _check(wanted: Any) -> Check:
    """What makes sure that a value, which has a name for messages, is of a type."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return lambda value, name: value
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        return lambda value, name: build(wanted, value)
    if origin in (Union, types.UnionType):
        # unions here are `X | None` only, of which X stands first
        inner, optional = _check(arguments[0]), type(None) in arguments
        return lambda value, name: None if value is None and optional else inner(value, name)

    def refuse(value: Any, name: str) -> NoReturn:
        raise TypeError(f"{name} is {_short(value)}, where {getattr(wanted, '__name__', wanted)} belongs")

    if origin is Literal:
        return lambda value, name: value if isinstance(value, str) and value in arguments else refuse(value, name)
    if origin is tuple:
        inside = _tuple(arguments)
        return lambda value, name: inside(value, name) if isinstance(value, list | tuple) else refuse(value, name)
    if origin is dict:
        key, each = map(_check, arguments)

        def mapping(value: Any, name: str) -> dict[Any, Any]:
            if not isinstance(value, Mapping):
                refuse(value, name)
            return {key(one, name): each(other, name) for one, other in value.items()}

        return mapping
    if wanted is float:

        def number(value: Any, name: str) -> float:
            if type(value) is float:
                return value
            return (
                float(value) if isinstance(value, int | float) and not isinstance(value, bool) else refuse(value, name)
            )

        return number
    if wanted in (int, str, bool):
        # the very type, since True is an instance of int
        return lambda value, name: value if type(value) is wanted else refuse(value, name)
    return refuse


def _tuple(arguments: tuple[Any, ...]) -> Check:
    if arguments[-1] is ...:
        each = _check(arguments[0])
        # of a list: tuple() goes through a generator at a quarter of the speed
        return lambda value, name: tuple([each(one, name) for one in value])
    checks = [_check(kind) for kind in arguments]

    def fixed(value: Sequence[Any], name: str) -> tuple[Any, ...]:
        if len(value) != len(checks):
            raise TypeError(f"{name} has {len(value)} values, where {len(checks)} belong")
        return tuple([check(one, name) for check, one in zip(checks, value, strict=True)])

    return fixed


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
