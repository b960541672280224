"""What `mkdocs build` does beside what it does by itself: see `pages` and `options`."""

import os
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pages import PAGES, beside, relinked

ROOT = Path(__file__).parents[2]
BESIDE: dict[str, str] = {}
"""Files that pages show or offer: their names on the site, by their place in the repository."""
_CLASS = re.compile(r"^::: mobanet:(\w+)$", re.M)
_CODE = re.compile(r"""<code>[^<]*--[^<]*</code>|<div class="language-bash.*?</div>""", re.S)
_OPTION = re.compile(r"(?<![\w-])(--[\w.-]+)")
_FROM_THE_WEB = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the pages that lie elsewhere, and the files that pages show or offer."""
    texts = {source: (ROOT / source).read_text(encoding="utf-8") for source in PAGES}
    own = {f"docs/{file.src_uri}": file for file in files.documentation_pages()}
    BESIDE.clear()
    for source, text in [*texts.items(), *((source, file.content_string) for source, file in own.items())]:
        BESIDE.update(beside(text, source, ROOT))
    for source, text in texts.items():
        files.append(File.generated(config, PAGES[source], content=relinked(text, source, BESIDE)))
    for source, target in BESIDE.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of `docs` to where things are on the site, and write what is made of the sources."""
    if page.file.src_uri not in PAGES.values():
        markdown = relinked(markdown, f"docs/{page.file.src_uri}", BESIDE)
    if page.file.src_uri == "options.md":
        return markdown + _options()
    return _CLASS.sub(lambda match: f"::: {_module_of(match[1])}.{match[1]}", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark options in code amid text and in commands, so that no line ends within one."""
    return _CODE.sub(lambda match: _OPTION.sub(r'<span class="option">\1</span>', match[0]), html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse what a reader's browser would fetch from elsewhere."""
    if found := _FROM_THE_WEB.search(output):
        raise PluginError(f"{page.file.src_uri}: {found[0]} comes from the web")
    return output


def _options() -> str:
    """In a process of its own: the commands set up logging, and this one has its own."""
    program = Path(__file__).with_name("options.py")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}  # of this checkout, whichever is installed
    done = subprocess.run([sys.executable, str(program)], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise PluginError(f"docs/hooks/options.py: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _module_of(name: str) -> str:
    """Where a class stands, so that pages need not know."""
    heads = re.compile(rf"^class {name}\b", re.M)
    found = [path for path in sorted((ROOT / "mobanet").rglob("*.py")) if heads.search(path.read_text("utf-8"))]
    if len(found) != 1:
        raise PluginError(f"{len(found)} modules have a class {name}, where a page wants one")
    return ".".join(found[0].relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
