"""Plain values of a file that somebody else may have written, held against the annotations of what they are for."""

import inspect
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST = 2**53
"""Beyond it not every whole number is a float."""

_LONGEST = 4096
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "printable text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
    NoneType: "null",
}


class MismatchError(ValueError):
    """A value is not what it should be.

    Args:
        where: key of the value, with those around it.
        problem: the rest of the clause.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where} {problem}")
        self.where, self.problem = where, problem


class UnknownKeyError(MismatchError):
    """A key that nothing here has."""

    def __init__(self, where: str) -> None:
        super().__init__(where, "is unknown")


def shown(value: Any) -> str:
    """A value in a message: short, and on one line whatever it holds."""
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, str | int | float):
        return reprlib.repr(value)
    return f"a {type(value).__name__}"


def check_value(value: Any, kind: Any, where: str) -> None:
    """Refuse a value that an annotation does not allow; lists pass for tuples, and mappings for dataclasses.

    Args:
        value: plain: of dicts, lists, strings and numbers.
        kind: the annotation.
        where: key of the value, for messages.

    Raises:
        MismatchError: naming the innermost value that does not fit.
    """
    if kind is Any:
        return
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        _check_one_of(value, inner, where)
    elif origin is Literal:
        # of the same type, too: 1 and True are equal
        if not any(type(value) is type(choice) and value == choice for choice in inner):
            raise MismatchError(where, f"is {shown(value)}, not one of {', '.join(map(str, inner))}")
    elif not _fits(value, kind):
        raise MismatchError(where, f"is {shown(value)} where {_WORDS.get(origin or kind, 'a mapping')} is expected")
    elif is_dataclass(kind):
        check_keys(value, get_type_hints(kind), _required(kind), where)
    elif origin in (dict, Mapping):
        for key, item in value.items():
            # YAML of jsonargparse has numbers that are keys as text, and reads them as numbers again
            number = inner[0] is int and isinstance(key, str) and re.fullmatch(r"-?\d{1,18}", key, re.ASCII)
            check_value(int(key) if number else key, inner[0], f"a key of {where}")
            check_value(item, inner[1], f"{where}.{key}")
    elif origin in (list, tuple):
        _check_items(value, inner, where)


def check_keys(value: Mapping[str, Any], kinds: Mapping[str, Any], required: set[str], where: str = "") -> None:
    """Refuse a mapping with other keys, without one that it needs, or with a value of another kind.

    Args:
        value: to look at.
        kinds: annotations by key.
        required: keys that must be there.
        where: key of the mapping, for messages; empty for the outermost one.

    Raises:
        MismatchError: `UnknownKeyError` for a key that is not among `kinds`.
    """
    prefix = f"{where}." if where else ""
    for key in value:
        check_value(key, str, f"a key of {where or 'the settings'}")
        if key not in kinds:
            raise UnknownKeyError(f"{prefix}{key}")
    for key in required - value.keys():
        raise MismatchError(f"{prefix}{key}", "is missing")
    for key, item in value.items():
        check_value(item, kinds[key], f"{prefix}{key}")


def completed(value: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Arguments of a function, as plain values, with the defaults of those that are not given, nested ones too."""
    whole = dict(value)
    for name, parameter in inspect.signature(function).parameters.items():
        default = parameter.default
        if default is inspect.Parameter.empty:
            continue
        if is_dataclass(default) and not isinstance(default, type):
            own = to_plain(_defaults(type(default)) if name in whole else asdict(default))
            whole[name] = {**own, **whole.get(name, {})}
        else:
            whole.setdefault(name, default)
    return whole


def to_plain(value: Any) -> Any:
    """Nested dicts, lists and tuples as dicts and lists, as checkpoints and JSON may hold."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def _check_one_of(value: Any, kinds: tuple[Any, ...], where: str) -> None:
    """Of several annotations the one that has the value's outer form speaks, where there is one."""
    near = [kind for kind in kinds if get_origin(kind) is not Literal and _fits(value, kind)]
    # where the outer form fits none, each is tried, so that a literal among them has its turn
    for kind in near or kinds:
        try:
            return check_value(value, kind, where)
        except MismatchError as error:
            trouble = error
    if len(near) == 1:
        raise trouble
    wanted = " or ".join(dict.fromkeys(_WORDS.get(get_origin(kind) or kind, "a mapping") for kind in kinds))
    raise MismatchError(where, f"is {shown(value)} where {wanted} is expected")


def _fits(value: Any, kind: Any) -> bool:
    """Whether the outer form of a value is that of an annotation."""
    kind = get_origin(kind) or kind
    if is_dataclass(kind) or kind in (dict, Mapping):
        return isinstance(value, dict)
    if kind in (list, tuple):
        return isinstance(value, list | tuple)
    if kind is str:
        # printable, as such texts go on into tables, logs and messages
        return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()
    if kind is int:  # of this very type, as bool is one, too
        return type(value) is int and -LARGEST <= value <= LARGEST
    if kind is float:
        # YAML and JSON may write 1.0 as 1
        return _fits(value, int) or (type(value) is float and math.isfinite(value))
    return type(value) is kind


def _check_items(value: Any, inner: tuple[Any, ...], where: str) -> None:
    # `list[X]` and `tuple[X, ...]` have any length, other tuples one kind a place
    kinds = [inner[0]] * len(value) if len(inner) == 1 or inner[-1] is ... else list(inner)
    if len(kinds) != len(value):
        raise MismatchError(where, f"has {len(value)} entries where {len(kinds)} are expected")
    for number, (item, kind) in enumerate(zip(value, kinds, strict=True)):
        check_value(item, kind, f"{where}[{number}]")


def _required(kind: Any) -> set[str]:
    return {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}


def _defaults(kind: Any) -> dict[str, Any]:
    # a dataclass cannot be called for them: it may have fields that are required
    given = {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    made = {f.name: f.default_factory() for f in fields(kind) if f.default_factory is not MISSING}
    return given | made
