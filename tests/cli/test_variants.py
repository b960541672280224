"""Variants compose with experiments: every one runs for a step, and every network fits, resumes and is tested."""

import json
import sys
from collections.abc import Callable
from functools import cache

import pytest
import yaml

from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.shipped import experiment_folder, variant_names
from mobanet.synthetic import synthesize
from tests.cli.test_fit_and_test import rows, said

SMALL = {
    "mobanet": (),
    "cmx": ("--model.cmx.encoder", "mit_b0", "--model.cmx.pretrained", "false", "--model.cmx.decoder_channels", "8"),
    "cbc": (
        *("--model.cbc.width", "2", "--model.cbc.token_width", "16", "--model.cbc.grid", "2", "--model.cbc.heads", "2"),
        *("--model.cbc.encoder_width", "4", "--model.cbc.encoder_depths", "[1,1,1,1]", "--crop_size", "64"),
    ),
}
"""Options that make a network small; the backbone of the small experiment is so already."""
SMALL |= {"cmx_cnn": (), "cbc_slp": SMALL["cbc"], "lora_cbc": SMALL["cbc"]}


@pytest.fixture
def run_variant(command, small, tmp_path):
    """Fits a variant of the small experiment for an epoch."""

    def run(name, *words, folder="run", epochs=1):
        variant = [] if name == "mobanet" else ["--variant", name]
        given = ["--experiment", str(small), *variant, "--run", str(tmp_path / folder), "--wandb", "off"]
        given += ["--trainer.max_epochs", str(epochs), *SMALL.get(name.split(",")[0], ()), *words]
        return command(main, "fit", given)

    return run


LONG = ("cmx_cnn", "lora_cbc", "scenario_paper")  # beside cmx, lora and cbc they show nothing new of how variants run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in variant_names()]
)
def test_every_variant_runs_and_says_what_it_trains(name, run_variant, command, small, tmp_path):
    text = (experiment_folder() / "variants" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    printed = command(main, "fit", ["--experiment", "potsdam_irrgb_dsm", "--variant", name, "--print_config"])
    assert printed.code == 0, printed.err
    config = yaml.safe_load(printed.out)
    for group, settings in yaml.safe_load(text).items():
        for key, value in settings.items():
            found = config[group][key]
            assert {k: found[k] for k in value} == value if isinstance(value, dict) else found == value
    variant = "cbc,lora_cbc" if name == "lora_cbc" else name
    ended = run_variant(variant, *(() if name in ("uniform", "latent") else ("--data.steps_per_epoch", "1")))
    assert ended.code == 0, ended.err
    (line,) = [line for line in said(ended) if line.startswith("parameters ")]
    assert "trained" in line


@pytest.fixture(scope="session")
def satellites(tmp_path_factory) -> Callable[[str], tuple[str, ...]]:
    """Options for small data sets of other sensors than the city's, each drawn in its own format when asked for."""
    root = tmp_path_factory.mktemp("satellites")
    tiles = {"dstl": 10, "hunan": 3}
    dstl = ("--layout", "dstl_crops", "--modalities", "rgb,nir,swir", "--data.split", "fold2_scenes")
    hunan = ("--layout", "hunan", "--modalities", "s2,s1,topo")
    full = ("--data.evaluation.labels", "full", "--root")
    options = {
        "dstl": (*dstl, "--model.streams", "{optical: [rgb], infrared: [nir, swir]}", *full, str(root / "dstl")),
        "hunan": (*hunan, "--model.streams", "{optical: [s2], ground: [s1, topo]}", *full, str(root / "hunan")),
        "potsdam": (),
    }

    @cache
    def of(data):
        if data in tiles:
            synthesize(data, root / data, tiles=tiles[data], size=128, seed=2, workers=0)
        return options[data]

    return of


PAIRS = [
    pytest.param("mobanet", "dstl", "latent", marks=pytest.mark.long),
    pytest.param("mobanet", "hunan", "uniform", marks=pytest.mark.long),
    pytest.param("cmx", "potsdam", "latent", marks=pytest.mark.long),
    pytest.param("cmx", "dstl", "full", marks=pytest.mark.long),
    ("cbc", "hunan", "latent"),
    pytest.param("cbc_slp", "potsdam", "uniform", marks=pytest.mark.long),
]
"""Every network and every data set, and every strategy with networks of either kind."""


@pytest.mark.parametrize(("network", "data", "strategy"), PAIRS)
def test_every_network_fits_resumes_and_is_tested(network, data, strategy, run_variant, command, satellites, tmp_path):
    words = ("--scenarios.strategy", strategy, "--scenarios.num_windows", "8", *satellites(data))
    words += ("--data.steps_per_epoch", "1")
    ended = run_variant(network, *words, epochs=1)
    assert ended.code == 0, ended.err
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert command(main, "fit", ["--ckpt_path", str(last), "--trainer.max_epochs", "2", "--wandb", "off"]).code == 0
    resumed = read_checkpoint(last)
    assert resumed["hyper_parameters"]["architecture"] == network
    assert resumed["global_step"] == 2
    assert command(main, "test", ["--ckpt_path", str(last)]).code == 0
    table = rows(tmp_path / "run/test/test_scenarios.csv")
    assert len(table) == 7 + 7  # beside the scenarios mean, worst, incomplete, three expected and the spread
    assert all(0 <= float(row["oa"]) <= 1 for row in table)
    # of binary targets, the paper's figure stands beside the IoU of the confusion matrix
    assert ("soft_jaccard" in table[0]) == (data == "dstl")
    if data == "dstl":
        assert all(0 < float(row["soft_jaccard"]) < 1 for row in table)


def test_variants_follow_one_another_and_options_win(command, small):
    words = ["--experiment", str(small), "--variant", "cmx_cnn,latent", "--model.lr", "3e-3", "--print_config"]
    config = yaml.safe_load(command(main, "fit", words).out)
    assert (config["model"]["architecture"], config["model"]["cmx"]["encoder"]) == ("cmx", "cnn")
    assert (config["scenarios"]["strategy"], config["model"]["lr"]) == ("latent", 3e-3)
    assert config["data"]["crop"] == 32


def test_a_variant_names_its_run(command, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--experiment", str(small), "--variant", "decoder_only", "--wandb", "off", "--trainer.max_epochs", "1"]
    assert command(main, "fit", words).code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small_decoder_only"]


def test_unknown_variants_and_other_networks_are_refused(run_variant, command, small, tmp_path):
    sentence = run_variant("lroa").sentence()
    assert "--variant lroa is unknown (did you mean lora?)" in sentence
    assert "decoder_only" in sentence
    assert run_variant("cbc").code == 0
    checkpoint = str(tmp_path / "run/checkpoints/last.ckpt")
    other = run_variant("mobanet", "--init_from", checkpoint, folder="other").sentence()
    assert "--model.architecture is mobanet here and cbc in the checkpoint" in other
    for name in ("test", "scores"):
        for option in ("--variant=cmx", f"--init_from={checkpoint}"):
            ignored = command(main, name, ["--ckpt_path", checkpoint, option]).sentence()
            assert f"{option.split('=')[0]} is for mobanet.fit; mobanet.{name} takes all from --ckpt_path" in ignored


def test_without_the_extra_the_published_cmx_ends_in_one_sentence(run_variant, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    assert run_variant("cmx").sentence().endswith("install it with pip install 'mobanet[cmx]'.")


def test_lora_is_added_to_a_trained_network_and_trains_alone(run_variant, command, finished, tmp_path):
    checkpoint = finished / "checkpoints/last.ckpt"
    words = ("--model.lora.rank", "2", "--model.lora.freeze_rest", "true", "--init_from", str(checkpoint))
    assert run_variant("mobanet", *words).code == 0
    before, after = (
        read_checkpoint(path)["state_dict"] for path in (checkpoint, tmp_path / "run/checkpoints/last.ckpt")
    )
    additions = [name for name in after if ".lora_" in name]
    assert len(additions) == 16
    assert any(float(after[name].abs().max()) > 0 for name in additions if ".lora_B" in name)
    moved = [
        name
        for name, value in after.items()  # of the network: a temperature is fitted to what it has become
        if name.startswith("network.")
        and ".lora_" not in name
        and not bool((value == before[name.replace(".base_layer.", ".")]).all())
    ]
    assert moved == []
    assert command(main, "test", ["--ckpt_path", str(tmp_path / "run/checkpoints/last.ckpt")]).code == 0
    assert json.loads((tmp_path / "run/test/test.json").read_text())["scenario"] == "rgb+ir+dsm"
