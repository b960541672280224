from pathlib import Path

import pytest

from mobanet.synthetic import synthesize


@pytest.fixture(scope="package")
def potsdam(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("potsdam")
    synthesize("potsdam", root, tiles=4, size=256, seed=3)
    return root


@pytest.fixture(scope="package")
def vaihingen(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("vaihingen")
    synthesize("vaihingen", root, tiles=4, size=160, seed=3)
    return root
