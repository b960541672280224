"""Experiments in a paper's name have the paper's settings; counts in their comments are those of the windows."""

import re

import pytest

from mobanet.data.options import EvaluationSettings
from mobanet.data.reading import grid
from mobanet.datasets import get_layout
from mobanet.plain.yaml_files import read_yaml
from mobanet.shipped import experiment_folder, variant_names

POTSDAM = (6000, 6000)
VAIHINGEN = {
    **dict.fromkeys(("4", "6", "7", "8", "10"), (1887, 2557)),
    **dict.fromkeys(("14", "16"), (1919, 2565)),
    **dict.fromkeys(("22", "23", "24"), (1903, 2546)),
    **dict.fromkeys(("31", "32"), (1980, 2555)),
    "2": (2428, 2767),
    "12": (1922, 2575),
    "20": (1866, 2315),
    "27": (1917, 3313),
    "29": (1917, 2563),
    "33": (1581, 2555),
    "35": (2805, 1884),
    "38": (3816, 2550),
}
"""Sizes in pixels of the held-out and test tiles."""
SHAPES = {"potsdam": lambda tile: POTSDAM, "vaihingen": VAIHINGEN.__getitem__}
AUTHORS_STRIDE = {"potsdam": 64, "vaihingen": 32}


def settings(name):
    return read_yaml(experiment_folder() / f"{name}.yaml", "an experiment")


def windows(layout, tiles, stride):
    return sum(len(grid(*SHAPES[layout](tile), 256, stride)) for tile in tiles)


@pytest.mark.parametrize("name", ["potsdam_rgb_dsm", "vaihingen_irrg_dsm"])
def test_mobanets_recipe_is_the_papers(name):
    recipe = settings(name)
    trainer, data, model = (recipe[part] for part in ("trainer", "data", "model"))
    assert (trainer["max_epochs"], trainer["check_val_every_n_epoch"]) == (50, 5)
    assert (data["split"], data["train_labels"], data["evaluation"]["labels"]) == ("paper", "eroded", "eroded")
    assert (data["crop"], data["batch_size"], data["steps_per_epoch"], data["sampling"]) == (256, 24, 1000, "tile")
    assert data["augmentation"] == {"flips": True}
    assert data["scaling"]["dsm"] == "minmax"
    evaluation = EvaluationSettings(**data["evaluation"])
    assert (evaluation.size(256), evaluation.stride("test", 256)) == (256, 32)
    assert (model["lr"], model["weight_decay"], model["auxiliary_weight"]) == (2e-4, 0.05, 0.01)
    assert model["schedule"] == {"warmup_epochs": 5, "min_lr": 1e-6, "every": "epoch"}
    assert model["masking"] == {"ratio": 0.25}
    assert recipe["seed_everything"] == 42


@pytest.mark.parametrize("name", ["potsdam_rgb_dsm", "vaihingen_irrg_dsm"])
def test_windows_are_as_many_as_the_comment_says(name):
    data = settings(name)["data"]
    split = get_layout(data["layout"]).splits["paper"]
    text = (experiment_folder() / f"{name}.yaml").read_text()
    own = EvaluationSettings(**data["evaluation"]).stride("validation", data["crop"])
    theirs = AUTHORS_STRIDE[data["layout"]]
    assert f"--data.validation test --data.evaluation.validation_stride {theirs}`" in text
    counts = [
        windows(data["layout"], tiles, stride)
        for tiles, stride in ((split.validation, own), (split.validation, theirs), (split.test, theirs))
    ]
    (comment,) = re.findall(r"# (\S+(?: \d+)? windows.*?)\n  evaluation", text, re.DOTALL)
    found = [int(number.replace(" ", "")) for number in re.findall(r"\d{1,3}(?: \d{3})+|\b\d{3}\b", comment)]
    assert found == counts


def test_the_scenario_papers_recipe_composes_with_its_networks():
    variant = read_yaml(experiment_folder() / "variants/scenario_paper.yaml", "a variant")
    assert variant["trainer"] == {"max_epochs": 70}
    model = variant["model"]
    assert (model["optimizer"], model["lr"], model["weight_decay"], model["loss"]) == ("adam", 1e-4, 0, "bce")
    assert model["schedule"] == {
        "shape": "steps",
        "warmup_epochs": 0,
        "step_epochs": 5,
        "factor": 0.9,
        "every": "epoch",
    }
    assert "architecture" not in model
    assert "scenario_paper" in variant_names()
