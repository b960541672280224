"""What `import mobanet` brings, and what it does not."""

import subprocess
import sys

import pytest

import mobanet


def test_importing_the_package_loads_nothing_heavy_until_it_is_asked_for():
    program = """
import sys, mobanet
heavy = {"torch", "lightning", "timm", "rasterio", "numpy", "matplotlib"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
sys.modules["segmentation_models_pytorch"] = None  # an extra
assert callable(mobanet.from_pretrained) and "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_there_is_not_is_an_attribute_error():
    assert mobanet.open_run.__module__ == "mobanet.runs"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mobanet.nothing
