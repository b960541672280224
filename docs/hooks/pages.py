"""Pages of the site that lie elsewhere in the repository, and links that lead out of `docs`.

A link in Markdown is relative to the file that it stands in, so that it works where the repository is read. On the site
the same file is another page, or a file to fetch.
"""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "experiments/results/README.md": "results.md",
    "mobanet/models/backbones/shipped/README.md": "city-backbone.md",
}
"""By their place in the repository, what they are called on the site."""

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"^(```.*?^```)$", re.M | re.S)


def links(text: str) -> list[str]:
    """What a page links to, pictures among it, and code left out."""
    return [found[1] for found in _LINK.findall(_FENCE.sub("", text))]


def place(target: str, source: str) -> str | None:
    """Where a link leads to, from the repository's top; None where it stays on its page, or leads to the web.

    Args:
        target: of the link, as it is written.
        source: file with the link, from the repository's top.
    """
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def page(path: str) -> str | None:
    """What a file of the repository is called on the site; None for what is no page of it."""
    if path in PAGES:
        return PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else None


def beside(text: str, source: str, root: Path) -> dict[str, str]:
    """Files that a page shows or offers and that are no pages: their names on the site, by their place."""
    places = {place(target, source) for target in links(text)} - {None}
    return {path: f"files/{path}" for path in sorted(places) if page(path) is None and (root / path).is_file()}


def relinked(text: str, source: str, files: Mapping[str, str]) -> str:
    """A page as the site has it.

    Args:
        text: as the repository has it.
        source: its place there.
        files: what lies beside the pages, as from `beside`.
    """
    own = page(source)

    def led(match: re.Match[str]) -> str:
        path = place(match[2], source)
        there = path and (page(path) or files.get(path))
        if not there:
            return match[0]
        anchor = "".join(match[2].partition("#")[1:])
        return f"{match[1]}{posixpath.relpath(there, posixpath.dirname(own) or '.')}{anchor}{match[3]}"

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(led, part) for part in parts)
