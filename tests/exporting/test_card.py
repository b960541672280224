"""The figures on a card: what the hub's table is given of what a test measured."""

from huggingface_hub import ModelCardData

from mobanet.exporting.card_figures import eval_results, figure_section
from mobanet.exporting.run_facts import Figures
from tests.unit.test_read_back import results


def told(found):
    """Value by scenario and metric as the hub reads them, back from the card's YAML."""
    data = ModelCardData(eval_results=list(eval_results(found, "toy")), model_name="it")
    (index,) = data.to_dict()["model-index"]
    return {
        (each["dataset"]["config"], metric["name"]): (metric["value"], metric.get("args"))
        for each in index["results"]
        for metric in each["metrics"]
    }


def test_the_hub_is_told_what_was_measured_and_nothing_that_was_not():
    found = told(Figures("test/test_scenarios.json", results(told=True), older=False))
    assert found["rgb", "mIoU"] == (66.67, None)
    assert found["rgb+dsm, calibrated", "ECE at T"] == (15.0, {"temperature": 1.5})
    assert found["rgb+dsm", "user's accuracy of house"] == (100.0, None)
    assert found["rgb+dsm", "producer's accuracy of house"] == (90.0, None)
    assert ("rgb+dsm", "producer's accuracy of mud") not in found  # the truth has none
    assert found["rgb", "boundary IoU 3 px"] == (52.08, None)
    assert found["rgb+dsm", "objects: house recall"] == (77.78, None)
    assert {name for name, _ in found} == {"rgb", "rgb+dsm", "rgb+dsm, calibrated", "mean", "mean of incomplete"}
    single = Figures("test/test.json", results(["rgb"]), older=False)
    assert {name for name, _ in told(single)} == {"rgb"}
    assert "| rgb | 80.00 | 80.00 | 66.67 | 66.67 |" in figure_section(single)


def test_figures_of_another_checkpoint_reach_no_table():
    older = Figures("test/test.json", results(["rgb"]), older=True)
    assert list(eval_results(older, "toy")) == []
    assert "was written before the checkpoint" in figure_section(older)
    assert list(eval_results(None, "toy")) == []
