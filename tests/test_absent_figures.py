"""Figures that there are not: of an evaluation without labelled pixels, and of logits that are no numbers."""

import csv
import json
import math
import re
from dataclasses import replace

import pytest
import torch

from mobanet.checkpoints.best_and_last import RunCheckpoint
from mobanet.data.options import EvaluationSettings
from mobanet.errors import AgreedError
from mobanet.loading.checkpoint import read_checkpoint
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.runs.results import ResultFiles
from mobanet.tracking.csv_log import MetricsCSV
from mobanet.training.module import SegmentationModule
from tests.conftest import NARROW, TINY


class Small(SegmentationModule):
    """Evaluates without labels as long as `unlabelled` says so, and spoils the logits of a scenario."""

    unlabelled = spoilt = ()

    def validation_step(self, batch, batch_idx):
        return super().validation_step(self._bared(batch, "validation"), batch_idx)

    def test_step(self, batch, batch_idx):
        return super().test_step(self._bared(batch, "test"), batch_idx)

    def _bared(self, batch, stage):
        bare = (stage, self.current_epoch) in self.unlabelled
        return replace(batch, label=torch.full_like(batch.label, IGNORE_INDEX)) if bare else batch

    def predict_scenarios(self, batch, scenarios):
        for scenario, logits in zip(scenarios, super().predict_scenarios(batch, scenarios), strict=True):
            if scenario.name in self.spoilt and batch.tiles[0]:
                logits[0, 1, 3, 3] = math.inf
            yield logits


@pytest.fixture
def data(make_data):
    evaluation = EvaluationSettings(window=96, test_stride=96)  # four windows each, in validation and test
    return make_data(crop=32, batch_size=2, steps_per_epoch=1, evaluation=evaluation)


@pytest.fixture
def module(data):
    backbone = BackboneSettings("vit_tiny_patch16_224", False, freeze=False, options=dict(TINY))
    return Small(data.description, backbone=backbone, network=MoBaNetSettings(**NARROW))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_evaluation_without_a_labelled_pixel_has_no_figures(data, module, make_trainer, tmp_path, caplog):
    module.unlabelled = {("validation", 0), ("validation", 1), ("test", 3)}
    best = RunCheckpoint(tmp_path, "best", monitor="val/miou", mode="max", enable_version_counter=False)
    log = MetricsCSV(tmp_path)
    callbacks = [best, ResultFiles(tmp_path)]
    trainer = make_trainer(max_epochs=3, callbacks=callbacks, logger=log, enable_checkpointing=True)
    with caplog.at_level("INFO"):
        trainer.fit(module, datamodule=data)
    assert caplog.text.count("none of the 4 validation windows has a labelled pixel, so that there are no figures") == 1
    measured = [row for row in rows(tmp_path / "metrics.csv") if row["val/miou"]]
    for name in ("val/loss", "val/miou", "val/mean_f1", "val/oa", "val/kappa", "val/iou_car"):
        assert [math.isnan(float(row[name])) for row in measured[:2]] == [True, True], name
    assert 0 < float(measured[2]["val/loss"]) < 10
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] == 2
    with caplog.at_level("INFO"):
        trainer.test(module, datamodule=data, verbose=False)
    assert "none of the 4 test windows has a labelled pixel" in caplog.text
    table = [line for line in caplog.text.splitlines() if re.match(r" *(rgb|ir|dsm|mean of)\S* ", line)]
    assert table
    assert all("absent" in line and "0.00" not in line for line in table)
    scenarios = json.loads((tmp_path / "test_scenarios.json").read_text())["scenarios"]
    assert {content["miou"] for content in scenarios.values()} == {None}
    assert {row["miou"] for row in rows(tmp_path / "test_scenarios.csv")} == {""}


def test_logits_that_are_no_numbers_have_no_figures(data, module, make_trainer, caplog):
    module.spoilt = {"rgb", "rgb+ir+dsm"}
    module.evaluate_on(validation="all")
    trainer = make_trainer(max_epochs=1)
    with caplog.at_level("INFO"):
        trainer.fit(module, datamodule=data)
    told = "the logits of 2 of the 4 validation windows are NaN or infinite in rgb, rgb+ir+dsm, so that there are no"
    assert told in caplog.text
    absent = {name for name, figures in module.scores["validation"].items() if math.isnan(figures.mean_iou)}
    assert absent == {"rgb", "rgb+ir+dsm"}
    assert math.isnan(trainer.callback_metrics["val/miou"])
    assert trainer.callback_metrics["val/scenarios/mean_miou"] >= 0
    with pytest.raises(AgreedError, match=r"2 of the 4 test windows are NaN or infinite .*; take another checkpoint"):
        trainer.test(module, datamodule=data, verbose=False)
