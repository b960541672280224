"""What the papers' recipes ask of a run: few validations, eroded labels, and variants that compose."""

import yaml

from mobanet.cli.commands import main
from mobanet.loading.checkpoint import read_checkpoint
from tests.cli.test_fit_and_test import rows, said


def test_a_run_validates_every_few_epochs_and_at_its_end_and_says_so(fit, tmp_path):
    words = ("--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "3", "--data.steps_per_epoch", "1")
    ended = fit(*words, "--data.train_labels", "eroded", "--data.evaluation.validation_stride", "64")
    assert ended.code == 0, ended.err
    lines = said(ended)
    assert "validation  every 2 epochs (--trainer.check_val_every_n_epoch) and at the end" in lines
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert ["val/miou" in line for line in epochs] == [False, True, True]  # none of an earlier one's
    run = tmp_path / "run"
    assert [int(row["epoch"]) for row in rows(run / "metrics.csv") if row["val/miou"]] == [1, 2]
    assert read_checkpoint(run / "checkpoints/best.ckpt")["epoch"] in (1, 2)
    assert (run / "validation.csv").is_file()


def test_the_scenario_papers_recipe_composes(command):
    words = ["--experiment", "dstl_rgb_nir_swir", "--variant", "cbc,latent,scenario_paper", "--print_config"]
    printed = command(main, "fit", words)
    assert printed.code == 0, printed.err
    config = yaml.safe_load(printed.out)
    model = config["model"]
    assert (model["architecture"], model["optimizer"], model["loss"]) == ("cbc", "adam", "bce")
    assert (model["schedule"]["shape"], config["scenarios"]["strategy"]) == ("steps", "latent")
    assert config["trainer"]["max_epochs"] == 70
    assert not config["data"]["augmentation"]["flips"]
