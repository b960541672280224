import pytest

from mobanet.datasets import get_layout


@pytest.fixture
def potsdam():
    return get_layout("potsdam")


@pytest.fixture
def vaihingen():
    return get_layout("vaihingen")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
