"""A document as a tree, by a parser that refuses what a browser would silently mend."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "input", "br", "hr", "wbr"}


@dataclass
class Node:
    """An element; `parts` holds its text and elements in order."""

    name: str
    attributes: dict = field(default_factory=dict)
    parts: list = field(default_factory=list)

    def all(self, name=None, **attributes):
        """Elements below with a name and attributes, in order; `class_` must be among the classes."""
        found = []
        for part in self.parts:
            if isinstance(part, Node):
                if (name is None or part.name == name) and all(part._has(k, v) for k, v in attributes.items()):
                    found.append(part)
                found += part.all(name, **attributes)
        return found

    def one(self, name=None, **attributes):
        (found,) = self.all(name, **attributes)
        return found

    def _has(self, key, value):
        given = self.attributes.get(key.rstrip("_").replace("_", "-"))
        return value in (given or "").split() if key == "class_" else given == value

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    def rows(self):
        """Text of a table's cells."""
        return [[cell.text for cell in row.parts if isinstance(cell, Node)] for row in self.all("tr")]


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.stack = [Node("")]

    def handle_starttag(self, tag, attrs):
        assert len({key for key, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        node = Node(tag, dict(attrs))
        self.stack[-1].parts.append(node)
        if tag not in _VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack[-1].name == tag, f"</{tag}> within <{self.stack[-1].name}>"
        self.stack.pop()

    def handle_data(self, data):
        self.stack[-1].parts.append(data)


def parse(text: str) -> Node:
    """The tree of a document or a part of one."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert len(parser.stack) == 1, f"<{parser.stack[-1].name}> is never closed"
    return parser.stack[0]
