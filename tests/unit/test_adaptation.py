"""When a checkpoint can be adapted, and what is kept of it."""

from dataclasses import replace

import pytest

from mobanet.errors import UserError
from mobanet.evaluation.adaptation import Comparison, check_adaptable, check_output
from mobanet.evaluation.metrics import Scores
from mobanet.models.cmx.network import CMX, CMXSettings
from mobanet.scenarios.failure import usual_failures
from tests.models.tiny import ONE_STREAM, TWO_STREAMS, tiny_mobanet

NAMES = ["rgb", "dsm", "rgb+dsm"]
NOTHING = Scores(0, 0, 0, 0, (), (), (), (), (), 0)


def comparison(before, own):
    figures = [
        {name: replace(NOTHING, mean_iou=x) for name, x in zip(NAMES, values, strict=True)} for values in (before, own)
    ]
    return Comparison(*figures, usual_failures(["rgb", "dsm"]))


def refused(network, architecture="mobanet", batch_size=4, **settings):
    checkpoint = {"hyper_parameters": {"network": settings}}
    with pytest.raises(UserError) as caught:
        check_adaptable(network, checkpoint, architecture, batch_size)
    return str(caught.value)


def test_what_has_no_batch_statistics_of_its_own_to_take_is_refused():
    assert "--model.network.normalization is group" in refused(tiny_mobanet(normalization="group"))
    assert "--model.network.normalization is scenario" in refused(tiny_mobanet(normalization="scenario"))
    assert "--model.network.incomplete is own" in refused(tiny_mobanet(incomplete="own"))
    assert "has one modality, dsm" in refused(tiny_mobanet(streams=ONE_STREAM))
    assert "adapted already" in refused(tiny_mobanet(scenario_statistics=["rgb"]), scenario_statistics=["rgb"])
    assert "--data.batch_size is 1" in refused(tiny_mobanet(), batch_size=1)
    cmx = CMX(TWO_STREAMS, 4, CMXSettings(pretrained=False, encoder="cnn", decoder_channels=8))
    assert "--model.architecture is cmx" in refused(cmx, "cmx")
    check_adaptable(tiny_mobanet(), {"hyper_parameters": {"network": {}}}, "mobanet", 2)


def test_scenarios_keep_what_is_better_and_the_full_one_what_it_has():
    both = comparison([0.2, 0.3, 0.8], [0.25, 0.3, 0.9])
    assert both.kept == ["rgb"]
    assert [scores.mean_iou for scores in both.after.values()] == [0.25, 0.3, 0.8]
    both.check_gain(trained_full=True)
    table = both.table()
    assert "own" in table
    rows = {line.split("  ")[0].strip(): line.split()[-4:] for line in table.splitlines() if line.strip()}
    assert rows["rgb"] == ["20.00", "25.00", "25.00", "yes"]
    assert rows["dsm"][1:] == ["30.00", "30.00", "30.00"]
    assert rows["mean of incomplete"][1:] == ["25.00", "27.50", "27.50"]


def test_a_scenario_without_a_figure_keeps_what_it_has():
    assert comparison([float("nan"), 0.3, 0.8], [0.3, float("nan"), 0.8]).kept == []


def test_nothing_gained_is_refused_and_so_is_what_hurts_a_model_that_knows_incomplete_samples():
    with pytest.raises(UserError, match="in no incomplete scenario is the validation mIoU better"):
        comparison([0.2, 0.3, 0.8], [0.2, 0.1, 0.8]).check_gain(trained_full=True)
    worse = comparison([0.2, 0.3, 0.8], [0.25, 0.1, 0.8])
    worse.check_gain(trained_full=True)
    with pytest.raises(UserError, match=r"no better \(25.00 per cent before, 17.50 after\); nothing was written"):
        worse.check_gain(trained_full=False)
    comparison([0.2, 0.3, 0.8], [0.3, 0.25, 0.8]).check_gain(trained_full=False)


def test_the_new_checkpoint_goes_where_nothing_is(tmp_path):
    old = tmp_path / "best.ckpt"
    old.write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    for path, words in (
        (old, "is the checkpoint itself; name another"),
        (tmp_path / "file", "is there already"),
        (tmp_path / "file/new.ckpt", "cannot be written; name a file in a writable folder"),
    ):
        with pytest.raises(UserError, match=words):
            check_output(path, old)
    check_output(tmp_path / "new/adapted.ckpt", old)
    assert not (tmp_path / "new").exists()
