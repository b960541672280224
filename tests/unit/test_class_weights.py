"""Class weights from counts: their formulas, their scale, and classes that are not there."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mobanet.cli.layered import without_foreign
from mobanet.errors import UserError
from mobanet.store.class_pixels import class_pixels
from mobanet.training.class_weights import class_weights

PIXELS = [600, 300, 90, 10]
SHARES = np.array(PIXELS) / 1000


@pytest.mark.parametrize(
    ("weighting", "raw"),
    [
        ("inverse", 1 / SHARES),
        ("inverse_root", SHARES**-0.5),
        ("auto", SHARES**-0.5),
        ("effective", 1 / (1 - np.exp(-4 * SHARES))),
    ],
)
def test_weights_are_their_formulas_with_a_mean_of_one_over_pixels(weighting, raw):
    weights = class_weights(weighting, PIXELS)
    assert weights == pytest.approx(raw / (raw * SHARES).sum(), rel=1e-3)
    assert np.dot(weights, SHARES) == pytest.approx(1, rel=1e-3)
    assert weights == sorted(weights)
    assert all(float(f"{weight:.4g}") == weight for weight in weights)


def test_effective_numbers_are_those_of_the_paper():
    """(1 - beta) / (1 - beta ** n) with beta = (N - 1) / N and N an equal share of so many pixels."""
    pixels = [600_000, 300_000, 90_000, 10_000]
    beta = 1 - 1 / 250_000
    raw = np.array([(1 - beta) / -math.expm1(n * math.log(beta)) for n in pixels])
    assert class_weights("effective", pixels) == pytest.approx(raw / (raw * SHARES).sum(), rel=1e-3)


@pytest.mark.parametrize("weighting", ["auto", "inverse", "effective"])
def test_a_class_without_a_pixel_weighs_nothing_and_moves_no_other(weighting):
    without = class_weights(weighting, [600, 0, 300, 90, 10])
    assert without == [*class_weights(weighting, PIXELS)[:1], 0.0, *class_weights(weighting, PIXELS)[1:]]
    assert class_weights(weighting, [0, 7]) == [0.0, 1.0]


def test_a_run_counts_its_own_training_tiles(make_data, make_module, make_trainer, tmp_path):
    data = make_data(train_labels="eroded")
    module = make_module(data, class_weights="inverse")
    assert (module.class_weights == 1).all()
    trainer = make_trainer(max_epochs=1, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    counts = class_pixels(data.tiles("train"), "eroded").sum(0)
    assert module.hparams["class_weights"] == class_weights("inverse", counts.tolist())
    assert module.class_weights.tolist() == pytest.approx(module.hparams["class_weights"])
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = type(module).load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(again.class_weights, module.class_weights)


def test_weights_of_a_word_need_labels_to_count(make_data, make_module, make_trainer):
    data = make_data()
    data.prepare_data()
    data.setup("fit")
    module = make_module(SimpleNamespace(description=data.description), class_weights="auto")
    with pytest.raises(UserError, match=r"class_weights auto counts the labels of a RasterDataModule"):
        make_trainer().fit(module, train_dataloaders=data.train_dataloader())
    with pytest.raises(UserError, match=r"class_weights is rare; choose one of auto, inverse"):
        make_module(data, class_weights="rare")


def test_a_word_is_kept_for_data_of_another_layout(tmp_path):
    """Numbers are of the classes that an experiment knows; what is counted is not."""
    kept = {}
    for name, given in (("word", "auto"), ("numbers", [1.0, 2.0])):
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"data: {{layout: potsdam}}\nmodel: {{class_weights: {given}}}\n")
        kept[name], _ = without_foreign(["--config", str(path), "--data.layout", "hunan"])
    assert kept["word"] == ["--config", str(tmp_path / "word.yaml"), "--data.layout", "hunan"]
    assert "{model: {class_weights: null}}" in kept["numbers"]
