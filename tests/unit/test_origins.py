"""Where a data set is missing, the sentence says how to come by it."""

from pathlib import Path

import pytest
import yaml

from mobanet.datasets import LAYOUTS
from mobanet.datasets.catalogue import check_root
from mobanet.datasets.origins import DEMO_ROOT, how_to_get
from mobanet.errors import UserError
from mobanet.shipped import experiment_folder, experiment_names
from mobanet.synthetic.deliveries import delivery_of

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "folder"])
def test_every_known_data_set_says_where_it_is_from_and_how_to_draw_one(layout, tmp_path):
    root = tmp_path / "not here"
    with pytest.raises(UserError) as told:
        check_root(root, layout)
    sentence = str(told.value)
    drawn = layout.partition("_")[0]
    assert f"python -m mobanet.synthesize --layout {drawn} --root '{root}' --tiles" in sentence
    assert delivery_of(drawn).layout == drawn
    assert sentence.startswith(f"{root} does not exist: put there ")
    assert "from" in sentence


def test_of_ones_own_data_nothing_is_known():
    assert how_to_get("folder", Path("data/mytown")).startswith("give as root the folder")


def test_the_demo_is_drawn_by_the_command_that_the_makefile_has():
    sentence = how_to_get("potsdam", DEMO_ROOT)
    command = sentence.split("`")[1]
    assert command.replace("python", "$(BIN)/python", 1) in (TOP / "Makefile").read_text()
    assert "isprs" not in sentence


def test_the_synthetic_experiment_lies_where_the_demo_does():
    roots = {
        name: yaml.safe_load((experiment_folder() / f"{name}.yaml").read_text())["data"]["root"]
        for name in experiment_names()
    }
    assert roots.pop("synthetic_irrgb_dsm") == str(DEMO_ROOT)
    assert all(Path(root).parent == Path("data") for root in roots.values())
