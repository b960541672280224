"""The page as a whole: sections in order, style and script inside, and a policy that lets it load nothing."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from mobanet.reporting.markup import Markup, element


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
    """A whole HTML document.

    Args:
        title: of the run.
        summary: stands above the sections.
        sections: in order.
        legend: stands below an enlarged picture.
    """
    style, script = (_resource(name) for name in ("page.css", "page.js"))
    contents = (element("li", element("a", section.title, href=f"#{section.key}")) for section in sections)
    body = element(
        "body",
        element("a", "Skip to the figures", href="#main", class_="skip"),
        element(
            "header",
            element("p", "mobanet run report", class_="kind"),
            element("h1", title),
            summary,
            element("nav", element("ul", *contents), aria_label="Contents"),
        ),
        element("main", *(_section(section) for section in sections), id="main"),
        _lightbox(legend),
        element("script", Markup(script)),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} \N{MIDDLE DOT} mobanet run report"),
        element("link", rel="icon", href="data:,"),  # or a browser asks for one
        element("style", Markup(style)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(section: Section) -> Markup:
    heading = element("h2", section.title, id=f"{section.key}-title")
    return element(
        "section", heading, section.content, id=section.key, aria_labelledby=f"{section.key}-title", class_="part"
    )


def _lightbox(legend: Markup) -> Markup:
    """The enlarged view, filled by the script."""

    def button(action: str, sign: str, words: str) -> Markup:
        return element("button", sign, type="button", data_action=action, aria_label=words)

    return element(
        "dialog",
        element(
            "div",
            element("p", id="enlarged-name", aria_live="polite"),
            button("previous", "\N{LEFTWARDS ARROW}", "Previous picture"),
            button("next", "\N{RIGHTWARDS ARROW}", "Next picture"),
            button("zoom", "1:1", "Show at full size or fitted"),
            button("close", "\N{MULTIPLICATION SIGN}", "Close"),
            class_="bar",
        ),
        element("div", element("img", alt="", id="enlarged-image"), class_="stage", tabindex=-1),
        element("div", legend, class_="key"),
        id="enlarged",
        aria_labelledby="enlarged-name",
    )


def _policy(script: str) -> str:
    # of what stands between the tags, to the last blank, or browsers do not run it
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # no digest covers the style attributes of swatches and cells
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _resource(name: str) -> str:
    return files("mobanet.reporting").joinpath(name).read_text(encoding="utf-8").strip()
