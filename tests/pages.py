"""README.md and the pages of docs, for tests of what they say, and the parts of the site's own program."""

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^(```|~~~)(\w*)\n(.*?)^\1$", re.M | re.S)


@cache
def pages():
    """Text by its place from the repository's top."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def blocks(language):
    """Code of a language by page, in pairs of page and code."""
    found = [(page, match) for page, text in pages().items() for match in FENCE.findall(text)]
    return [(page, code) for page, (_, named, code) in found if named == language]


def marked(remark, language):
    """The code behind each of a remark's comments, over all pages."""
    pattern = rf"<!-- {remark} -->\n```{language}\n(.*?)```"
    return [code for text in pages().values() for code in re.findall(pattern, text, re.S)]


def command_lines():
    """Each line of the shell that a page shows, once, without what follows a hash."""
    lines = [line.partition(" #")[0].strip() for _, code in blocks("bash") for line in code.splitlines()]
    inline = [line for text in pages().values() for line in re.findall(r"`(python -m mobanet\.[^`]+)`", text)]
    whole = [line for line in inline if " --" in line and not re.search(r"…|\b[A-Z]{3,}\b", line)]
    return list(dict.fromkeys(line for line in [*lines, *whole] if line))


@cache
def hook(name):
    """A module of the site, which mkdocs finds by its folder."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/hooks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@cache
def told_options(command):
    """Names of all options that a command's help tells."""
    told = hook("options").parsed_help(hook("options").printed_help(command))
    return {option.name for group in told.groups for option in group.options}
