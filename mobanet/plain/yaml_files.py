"""YAML files that people write: read within bounds, with one sentence that says which of them is wrong, and where."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobanet.errors import UserError
from mobanet.plain.bounds import DEEPEST, check_values, read_bounded, shown

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 1 << 20
"""Of a file; ours have a few thousand."""

MOST_VALUES = 100_000
"""In a file, counting what an alias stands for as often as it does: ten lines of aliases can stand for billions."""


# characters: the loader in Python takes a second and more for them, that in C a quarter of it
_LONG = 1 << 16
_WORD = re.compile(r"[\w./+-]*")

_ODD_VALUES = (ValueError, ArithmeticError, LookupError, AttributeError)
"""What is raised while values are made of a well-formed text: of the date 2020-13-45, of `!!bool x`, of 5000 digits."""


def read_yaml(path: Path, hint: str = "a YAML file with options") -> Any:
    """The content of a file.

    Args:
        path: of the file.
        hint: what to give in place of one that is no text.

    Raises:
        UserError: for a file that cannot be read, is no text, is not YAML, or goes beyond bounds.
    """
    import yaml

    try:
        return parse_yaml(read_bounded(path, MOST_BYTES))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give another file.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML{in_words(error)}; mend it.") from error
    except ValueError as error:
        if "is not in UTF-8" in str(error):
            raise UserError(f"{path} is no text file; give {hint}.") from error
        raise UserError(f"{path} {error}; mend it.") from error


def part_of(content: Any, name: str) -> Mapping[str, Any]:
    """A mapping within what a file holds; an empty one where there is none."""
    part = content.get(name) if isinstance(content, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def parse_yaml(text: str) -> Any:
    """The content of a text.

    Raises:
        yaml.YAMLError: when it is no YAML.
        ValueError: when it goes beyond bounds, with a clause that has no subject.
    """
    import yaml

    check_events(text)
    try:
        # only now: a few lines of aliases or brackets cost no memory as events, and all of it as values
        content = with_ids_as_written(yaml.load(text, Loader=_loader(text)), text)
    except _ODD_VALUES as error:
        raise ValueError(f"holds a value that is none ({' '.join(str(error).split())[:80]})") from error
    check_values(content)
    return content


def check_events(text: str) -> None:
    """Count levels and values before anything is built of them.

    Raises:
        yaml.YAMLError: when the text is no YAML.
        ValueError: for more than `DEEPEST` levels, more than `MOST_VALUES` values, an alias of what it is part of, and
            a key that a mapping has twice.
    """
    import yaml

    open_nodes: list[tuple[str | None, int]] = []  # anchor, and number of values before it
    sizes: dict[str, int] = {}
    count = 0
    for event in _keys_once(_events(text)):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                raise ValueError(f"refers to {shown(event.anchor)} inside of itself")
            # 1 for an alias of nothing, which `yaml` itself refuses as it goes on from events
            count += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, count - 1))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_nodes) > DEEPEST:
            raise _too_deep()
        if count > MOST_VALUES:
            raise ValueError(f"has more than {MOST_VALUES} values, those counted that its aliases stand for")


def _keys_once(events: Iterable[Any]) -> Iterator[Any]:
    """The same events, unless a mapping has a key twice: `yaml` would forget what the first says, without a word."""
    import yaml

    keys: list[set[tuple[str, bool]] | None] = [None]  # of each collection that is open; None where it has none
    nodes = [0]  # so far in each: in a mapping keys and values take turns
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            keys.pop()
            nodes.pop()
        elif isinstance(event, yaml.NodeEvent):
            known = keys[-1] if nodes[-1] % 2 == 0 else None
            nodes[-1] += 1
            # `<<` may come again, for the keys of another mapping
            if known is not None and isinstance(event, yaml.ScalarEvent) and event.value != "<<":
                key = (event.value, event.style is None)  # 1 and "1" are two
                if key in known:
                    raise ValueError(
                        f"has the key {shown(event.value)} twice, again in line {event.start_mark.line + 1}"
                    )
                known.add(key)
            if isinstance(event, yaml.CollectionStartEvent):
                keys.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
                nodes.append(0)
        yield event


def _events(text: str) -> Iterator[Any]:
    import yaml

    try:
        yield from yaml.parse(text, Loader=_loader(text))
    except yaml.YAMLError as error:
        if "maximum nesting" in str(getattr(error, "problem", "")):  # of the fast loader, before it comes to say more
            raise _too_deep() from error
        raise


def with_ids_as_written(content: Any, text: str) -> Any:
    """What a parser made of a text, but for tiles under `splits` and values of polygons, which stay as written.

    YAML takes 3_10 for 310, 010 for 8, 1e3 and 2:30 for numbers and no for false.

    Args:
        content: of the text; changed in place.
        text: YAML.
    """
    import yaml

    # the text is parsed once more for them, which most files need not wait for
    if ("splits" in text or "vector" in text) and isinstance(content, dict):
        _restore_ids(content, yaml.compose(text, Loader=_loader(text)))
    return content


def _restore_ids(content: Any, node: Any) -> None:
    import yaml

    # content and nodes side by side: a node still has its scalar as it was written
    if isinstance(content, list) and isinstance(node, yaml.SequenceNode):
        for value, inner in zip(content, node.value, strict=True):
            _restore_ids(value, inner)
    if not (isinstance(content, dict) and isinstance(node, yaml.MappingNode)):
        return
    for key, inner in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else None
        value = content.get(name)
        if name == "splits" and isinstance(value, dict) and isinstance(inner, yaml.MappingNode):
            lists = {key.value: ids for key, ids in inner.value if isinstance(ids, yaml.SequenceNode)}
            for part in value.keys() & lists.keys():
                scalars = [id.value if isinstance(id, yaml.ScalarNode) else None for id in lists[part].value]
                value[part] = [old if new is None else new for old, new in zip(value[part], scalars, strict=True)]
        elif name == "label" and isinstance(value, dict) and isinstance(inner, yaml.MappingNode):
            for key, mapping in inner.value:
                if getattr(key, "value", None) == "values" and "vector" in value:
                    value["values"] = _as_written(value["values"], mapping)
        else:
            _restore_ids(value, inner)


def _as_written(content: Any, node: Any) -> Any:
    """A mapping from single words to single words as a file has them; null stays null, and anything else as it is."""
    import yaml

    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        return content
    pairs = node.value
    if not all(isinstance(each, yaml.ScalarNode) for pair in pairs for each in pair):
        return content
    null, merge = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"
    # `<<` stands for keys of another mapping, which only the constructor brings in
    if any(key.tag == merge for key, _ in pairs):
        return content
    return {None if key.tag == null else key.value: None if value.tag == null else value.value for key, value in pairs}


def in_words(error: "yaml.YAMLError") -> str:
    """` in line 3: what is wrong`."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f" in line {mark.line + 1}" if mark else ""
    return f"{where}: {problem or 'it cannot be parsed'}"


def bound_parsers() -> None:
    """Let every parser of command lines read YAML within the same bounds, in files that it opens itself and in words.

    Values raise `UserError`, naming the file where there is one.
    """
    import yaml
    from jsonargparse import get_loader, set_loader

    loader = get_loader("yaml")
    if getattr(loader, "bounded", False):
        return
    set_loader("yaml", _bounded(loader), exceptions=(yaml.YAMLError,))


def _bounded(loader: Callable[[str], Any]) -> Callable[..., Any]:
    def load(text: str, path: Any = None) -> Any:
        import yaml

        where = str(path) if path else f"the value {shown(text)}"
        try:
            if len(text) > MOST_BYTES:
                raise ValueError(f"has more than {MOST_BYTES} characters")
            if not _WORD.fullmatch(text):  # most of what a parser reads are single words
                check_events(text)
            content = with_ids_as_written(loader(text), text)
            check_values(content)
        except yaml.YAMLError:
            raise  # which the parser takes for plain text
        except _ODD_VALUES as error:
            raise UserError(f"{where} {' '.join(str(error).split())}; mend it.") from error
        return content

    # to be known by when it is asked for again; a function has whatever attributes it is given
    load.bounded = True  # type: ignore[attr-defined]
    return load


def _too_deep() -> ValueError:
    return ValueError(f"has more than {DEEPEST} levels of brackets or mappings in one another")


def _loader(text: str) -> Any:
    """The one that says best what is wrong; for long texts the fast one. Both are safe, and neither calls anything."""
    import yaml

    return yaml.SafeLoader if len(text) < _LONG else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
