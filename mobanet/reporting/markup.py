"""HTML made of the templates beside this module: all that is put into them is escaped, unless it is markup already."""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup


class _InOneLine(Extension):
    """Ends of lines in templates, with the spaces around them, are for those who read these."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r"\s*\n\s*", "", source)


@cache
def _templates() -> Environment:
    loader = PackageLoader("mobanet.reporting")
    # strict: a name that a template misspells is an error, and not an empty place
    # for every template: jinja2's own default escapes nothing
    templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, extensions=[_InOneLine])
    templates.filters["grouped"] = grouped
    return templates


def render(template: str, /, **values: object) -> Markup:
    """What a template, by its name without `.html`, makes of values."""
    # marked as done, or a template that it is put into would escape it again
    return Markup(_templates().get_template(f"{template}.html").render(**values))


def macro(template: str, name: str, /, *values: object) -> Markup:
    """What a macro of a template makes of values, in its order."""
    return Markup(getattr(_templates().get_template(f"{template}.html").module, name)(*values))


def note(sentence: str) -> Markup:
    """A plain sentence where something of a run is not there, with `code` between grave accents."""
    return macro("parts", "note", sentence)


def grouped(count: int) -> str:
    """A number with its thousands apart by narrow spaces that do not break."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
