"""What `import mobanet` brings, and what it does not."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mobanet

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NAMES = [name for name in mobanet.__all__ if name != "__version__"]


IMPORTING_ALL = """
import builtins, importlib, pkgutil, sys

hidden, usual = set(sys.argv[1:]), builtins.__import__
# pictures come with what timm needs, so that there they are hidden from the package alone
sys.modules.update(dict.fromkeys(hidden - {"PIL"}))

def guarded(name, globals=None, *rest, **more):
    if name.partition(".")[0] in hidden and (globals or {}).get("__name__", "").startswith("mobanet"):
        raise ModuleNotFoundError(f"{name} is hidden from {globals['__name__']}")
    return usual(name, globals, *rest, **more)

builtins.__import__ = guarded
import mobanet

heavy = {"torch", "lightning", "timm", "rasterio", "numpy", "matplotlib"}
assert issubclass(mobanet.UserError, Exception) and set(mobanet.__all__) <= set(dir(mobanet))
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
import mobanet.models.mobanet.convert, mobanet.models.mobanet.network
assert "timm" not in sys.modules
assert callable(mobanet.from_pretrained) and "torch" in sys.modules
found = [module.name for module in pkgutil.walk_packages(mobanet.__path__, "mobanet.")]
for name in found:
    importlib.import_module(name)
print(len(found))
"""


def of_extras():
    """Top-level modules of what only an extra asks for."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = {Requirement(line).name for line in project["dependencies"]}
    extra = {Requirement(line).name for lines in project["optional-dependencies"].values() for line in lines}
    names = {canonicalize_name(name) for name in extra - needed - {"mobanet"}}
    return {module for module, of in packages_distributions().items() if names & {canonicalize_name(n) for n in of}}


def test_importing_the_package_loads_nothing_heavy_until_it_is_asked_for_and_no_module_needs_an_extra():
    hidden = of_extras()
    assert hidden >= {
        *("peft", "segmentation_models_pytorch", "onnx", "onnxruntime", "onnxscript", "pystac", "tensorboard"),
        *("ipykernel", "ipywidgets", "nbclient", "pytest", "PIL", "mkdocs"),
    }
    done = subprocess.run([sys.executable, "-c", IMPORTING_ALL, *hidden], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = [file for file in Path(mobanet.__file__).parent.rglob("*.py") if file.name != "__init__.py"]
    assert int(done.stdout) >= len(files)


def test_what_there_is_not_is_an_attribute_error():
    assert mobanet.open_run.__module__ == "mobanet.runs.opened"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mobanet.nothing


def below(source):
    """What a program takes of the package beside its public names."""
    found, bound = [], {"mobanet"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("mobanet.")]
            bound |= {alias.asname for alias in node.names if alias.name == "mobanet" and alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            package, _, rest = node.module.partition(".")
            if package == "mobanet":
                private = [alias.name for alias in node.names if alias.name not in mobanet.__all__]
                found += [node.module] if rest else [f"mobanet.{name}" for name in private]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            found += [] if node.attr in mobanet.__all__ else [f"mobanet.{node.attr}"]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_use_public_names_only(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert re.search(r"^(import|from) mobanet\b", "\n".join(cells), re.M)
    assert [name for cell in cells for name in below(cell)] == []


def test_there_are_two_notebooks():
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize(
    "source",
    [
        "import mobanet.predict",
        "from mobanet.rasters import opening",
        "from mobanet import runs",
        "import mobanet as m\nm.runs.Run",
        "def f():\n    mobanet.prediction.areas",
    ],
)
def test_what_lies_below_is_noticed(source):
    assert len(below(source)) == 1
    assert below("import mobanet\nfrom mobanet import load\nmobanet.open_run, load") == []


@pytest.mark.parametrize("name", NAMES)
def test_public_names_and_their_methods_are_documented(name):
    thing = getattr(mobanet, name)
    assert thing.__name__ == name
    own = {key: value for key, value in vars(thing).items() if key[0] != "_"} if inspect.isclass(thing) else {}
    methods = {key: value for key, value in own.items() if callable(value) or isinstance(value, property)}
    bare = [key for key, value in {name: thing, **methods}.items() if not inspect.getdoc(value)]
    assert bare == []
    assert not thing.__doc__.startswith(f"{name}(")  # what a dataclass without one gets
    # a module of that name would take its place as soon as it is imported
    assert find_spec(f"mobanet.{name}") is None


def test_all_that_is_loaded_when_asked_for_is_listed():
    assert set(mobanet._PLACES) == set(NAMES)
    assert list(mobanet.__all__) == sorted(mobanet.__all__)


def test_the_documentation_lists_the_public_names():
    page = (Path(__file__).parents[2] / "docs/python.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = [word for row in rows for word in row.replace(" ", "").replace("`", "").split(",")]
    assert sorted(listed) == sorted(NAMES)
