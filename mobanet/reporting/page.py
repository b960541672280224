"""The page as a whole: sections in order, style and script inside, and a policy that lets it load nothing."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from markupsafe import Markup

from mobanet.reporting.markup import render


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: of its address within the page.
        title: above it, and in the list of contents.
        content: below the title.
    """

    key: str
    title: str
    content: Markup


def page(title: str, summary: Markup, sections: Sequence[Section], legend: Markup) -> str:
    """A whole HTML document: the run's name, a summary, sections in order, and a legend below enlarged pictures."""
    style, script = (_resource(name) for name in ("page.css", "page.js"))
    # of what stands between the tags, to the last blank, or browsers do not run it
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # no digest covers the style attributes of swatches and cells
    # a report travels by mail: whatever got into it by a name loads nothing and runs nothing
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    given = {"title": title, "summary": summary, "sections": sections, "legend": legend, "policy": policy}
    return f"<!DOCTYPE html>\n{render('page', style=style, script=script, **given)}\n"


def _resource(name: str) -> Markup:
    return Markup(files("mobanet.reporting").joinpath(name).read_text(encoding="utf-8").strip())
