"""The pages of docs: their links, the options and names that they tell, and the sentences that they quote."""

import ast
import importlib
import re
import textwrap
from functools import cache
from pathlib import PurePosixPath

import pytest
import yaml

import mobanet
from mobanet.__main__ import COMMANDS
from mobanet.cli.option_names import as_typed
from mobanet.datasets.folder_settings import FolderSettings
from mobanet.datasets.folder_words import parsed_settings
from mobanet.errors import SettingError
from tests.pages import FENCE, ROOT, blocks, hook, pages, told_options

LINKS, OPTIONS = hook("pages"), hook("options")
SOURCES = {source: (ROOT / source).read_text(encoding="utf-8") for source in LINKS.PAGES} | pages()


def anchors(text):
    """Of a page's headings, as Markdown's readers name them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    words = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in words}


@pytest.mark.parametrize("source", SOURCES)
def test_links_lead_somewhere(source):
    for target in LINKS.links(SOURCES[source]):
        path = LINKS.place(target, source)
        anchor = target.partition("#")[2]
        if path is None and not target.startswith("#"):
            assert target.startswith("https://"), target
            continue
        assert path is None or (ROOT / path).is_file(), target
        if anchor:
            assert anchor in anchors((ROOT / (path or source)).read_text(encoding="utf-8")), target
        if path and PurePosixPath(path).suffix == ".md":
            assert LINKS.page(path), f"{target} is a page that the site has not"


def test_links_out_of_docs_lead_to_where_things_are_on_the_site():
    text = "[a](../SECURITY.md#what-is-trusted) ![b](../experiments/pictures/qgis.png) [c](maps.md) [d](https://e.org)"
    files = LINKS.beside(text, "docs/faq.md", ROOT)
    assert files == {"experiments/pictures/qgis.png": "files/experiments/pictures/qgis.png"}
    assert LINKS.relinked(text, "docs/faq.md", files) == (
        "[a](security.md#what-is-trusted) ![b](files/experiments/pictures/qgis.png) [c](maps.md) [d](https://e.org)"
    )
    assert LINKS.relinked("[a](docs/maps.md#polygons)", "README.md", {}) == "[a](maps.md#polygons)"
    code = "```bash\npython a.py # [a](docs/maps.md)\n```\n"
    assert LINKS.relinked(code, "README.md", {}) == code


def test_every_page_is_in_the_navigation():
    configuration = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +- (?:[^:\n]+: )?([\w-]+\.md)$", configuration, re.M)
    assert sorted(named) == sorted([path.name for path in (ROOT / "docs").glob("*.md")] + list(LINKS.PAGES.values()))


def test_public_names_are_those_of_the_python_page():
    page = pages()["docs/python.md"]
    assert sorted(re.findall(r"^::: mobanet\.(\w+)$", page, re.M)) == [n for n in mobanet.__all__ if n != "__version__"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "mobanet").rglob("*.py"))
    for name in re.findall(r"^::: mobanet:(\w+)$", page, re.M):
        assert len(re.findall(rf"^class {name}\b", source, re.M)) == 1, name


def test_options_that_pages_name_are_there():
    """Of commands, of scripts under experiments, and of the few other programs that pages speak of."""
    options = {name for command in COMMANDS for name in told_options(command)}
    known = options | {name.rpartition(".")[0] for name in options} | {"--help", "--help_all"}
    scripts = [path for kind in ("py", "sh", "sbatch") for path in (ROOT / "experiments").rglob(f"*.{kind}")]
    known |= {name for path in scripts for name in re.findall(r"--[a-z][\w-]+", path.read_text(encoding="utf-8"))}
    others = {
        "--directory",
        "--rm",
        "--gpus",
        "--shm-size",
        "--ipc",
        "--index-url",
        "--torch-backend",
        "--array",
        "--nproc_per_node",
    }
    for page, text in pages().items():
        unknown = {name.rstrip(".") for name in re.findall(r"(?<![\w-])--[a-z][\w.-]*", text)} - known - others
        # keys of mappings are none of the options
        assert {n for n in unknown if n.rpartition(".")[0] not in options | {"--data.folder.splits"}} == set(), page


def test_the_page_of_options_has_every_command():
    page = OPTIONS.options_page()
    assert re.findall(r"^## (\w+)$", page, re.M) == list(COMMANDS)
    assert "| <code>--crop_size</code><br><small>int</small> | " in page
    assert re.search(
        r"<code>--data.sampling</code><br><small>tile, area, balanced</small> \| .* \| <code>tile</code>", page
    )
    assert re.search(r"<code>--model.loss</code><br><small>.* \| <code>cross&#95;entropy</code>", page)
    tested = page.partition("\n## test\n")[2].partition("\n## ")[0]
    assert "<code>--degrade_seed</code>" in tested
    assert "crop" not in tested.partition("All other settings")[2]  # as of fit
    assert "It takes no `--variant`" in tested
    assert "| needed |" in page.partition("\n## prepare\n")[2]


def test_no_two_commands_have_two_names_for_a_thing():
    """No help tells a name of a setting that another command has by a short one, nor a short name twice."""
    for command in COMMANDS:
        told = told_options(command)
        assert {name for name in told if as_typed(name, "fit") != name} == set(), command
    shared = {"--root", "--layout", "--folder", "--store", "--modalities", "--allow_missing", "--workers"}
    assert shared <= told_options("fit") & told_options("prepare") & told_options("check")
    assert {"--devices", "--accelerator", "--precision", "--batch_size", "--window"} <= (
        told_options("test") & told_options("predict")
    )
    assert {"--stride", "--backbone"} <= told_options("test") & told_options("predict")
    assert "--seed" in told_options("fit") & told_options("synthesize") & told_options("sweep") & told_options("init")


def test_the_layout_of_the_code_has_every_folder():
    drawn = re.findall(r"^  (\w+)/ ", pages()["docs/adding.md"], re.M)
    assert sorted(drawn) == sorted(path.parent.name for path in (ROOT / "mobanet").glob("*/__init__.py"))


@cache
def sentences():
    """Every text of the package, with a mark where a value is put in."""

    def text(node):
        if isinstance(node, ast.JoinedStr):
            return "".join(map(text, node.values))
        if isinstance(node, ast.Call):  # a setting and what is wrong with it, as the command line says it
            return SettingError(*map(text, node.args[-2:])).told()
        return str(node.value) if isinstance(node, ast.Constant) else "\0"

    found = []
    for path in sorted((ROOT / "mobanet").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            setting = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("SettingError", "check_setting")
            if (setting and len(node.args) >= 2) or isinstance(node, ast.JoinedStr | ast.Constant):
                found.append(text(node))
    return [re.sub(r"\{(\w*)\}", "\0", as_typed(sentence, "fit")) for sentence in found if " " in sentence]


def quotes():
    """Sentences of the program that a page quotes."""
    for page, text in pages().items():
        for lines in re.findall(r"(?:^> .*\n)+", FENCE.sub("", text), re.M):
            yield page, " ".join(line.removeprefix("> ") for line in lines.splitlines())


@pytest.mark.parametrize(("page", "quote"), list(quotes()))
def test_what_is_quoted_is_what_the_program_says(page, quote):
    pieces = [piece.strip() for piece in quote.split("…") if len(piece.strip()) > 2]
    assert pieces
    whole = re.compile(".*".join(re.escape(piece) for piece in pieces))
    assert any(whole.search(sentence) for sentence in sentences()), quote


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_of_pages_names_what_there_is(page, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mobanet"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mobanet":
            assert node.attr in mobanet.__all__


NAMED = [found for text in pages().values() for found in re.findall(r"`(mobanet(?:\.\w+)+)\.(\w+)`", text)]


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_modules_that_pages_name_are_there(module, name):
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("page", "code"), blocks("yaml"))
def test_descriptions_on_pages_have_known_keys(page, code):
    """Each is of a whole experiment's data, or of keys of the description that a page begins with."""
    content = yaml.safe_load(textwrap.dedent(code))
    whole = yaml.safe_load(blocks("yaml")[0][1])["data"]["folder"]
    given = content["data"]["folder"] if "data" in content else content
    assert isinstance(parsed_settings(whole | given), FolderSettings)
