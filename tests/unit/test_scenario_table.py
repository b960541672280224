import csv
import io
import json
import math
import re
import statistics
from dataclasses import replace

import pytest
import torch

from mobanet.evaluation.bootstrap import bootstrap
from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.jaccard import SoftScores
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.scenario_summary import figures_to_log, summarise
from mobanet.evaluation.scenario_table import (
    ScenarioResults,
    intervals_to_log,
    scenario_columns,
    scenario_csv,
    scenario_json,
    scenario_rows,
    scenario_table,
)
from mobanet.plain.text_tables import percent, stacked
from mobanet.rasters.contents import Classes
from mobanet.scenarios.failure import Failure, usual_failures
from mobanet.scenarios.scenario import scenarios_of

CLASSES = Classes(
    ("road", "low vegetation", "clutter"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "low vegetation")
)
MATRICES = {
    "rgb": [[8, 2, 0], [2, 8, 0], [0, 0, 0]],  # IoU 8/12 twice, no clutter anywhere
    "dsm": [[5, 5, 0], [5, 5, 0], [0, 0, 0]],  # IoU 5/15 twice
    "rgb+dsm": [[10, 0, 0], [0, 9, 1], [0, 0, 0]],  # IoU 1, 9/10, and a pixel wrongly called clutter
}
NOTHING_AVERAGED = [[0, 0, 0], [0, 0, 0], [0, 0, 4]]
EMPTY = [[0, 0, 0], [0, 0, 0], [0, 0, 0]]


def results(matrices=MATRICES, modalities=("rgb", "dsm"), classes=CLASSES, **unmasked):
    matrices = {name: torch.tensor(matrix) for name, matrix in matrices.items()}
    return ScenarioResults(
        scenarios=scenarios_of(modalities),
        classes=classes,
        scores={name: scores(matrix, classes) for name, matrix in matrices.items()},
        matrices=matrices,
        unmasked={name: unmasked.get(name, 0) for name in matrices},
        windows=400,
        protocol={"data": "toy, 1 test tile", "labels": "full; ignored pixels count nowhere"},
    )


def printed(text):
    """The cells of each row by its label, of several tables one after the other."""
    found = {}
    for line in text.splitlines():
        label, *cells = re.split(r"\s{2,}", line.strip())
        if label == "scenario" or all(re.fullmatch(r"-?\d+\.\d\d|absent", cell) for cell in cells):
            found.setdefault(label, []).extend(cells)
    return found


def rows(text):
    return {row["scenario"]: row for row in csv.DictReader(text.splitlines())}


def test_summary_is_the_mean_the_worst_by_miou_and_the_mean_of_the_incomplete():
    summary = summarise(results().scores, "rgb+dsm")
    assert summary.mean.mean_iou == pytest.approx((2 / 3 + 1 / 3 + 0.95) / 3)
    assert summary.mean.overall_accuracy == pytest.approx((0.8 + 0.5 + 0.95) / 3)
    assert summary.mean.mean_f1 == pytest.approx((0.8 + 0.5 + (1 + 18 / 19) / 2) / 3)
    assert summary.mean.iou[:2] == pytest.approx(((2 / 3 + 1 / 3 + 1) / 3, (2 / 3 + 1 / 3 + 0.9) / 3))
    assert (summary.worst_name, summary.worst.mean_iou) == ("dsm", pytest.approx(1 / 3))
    assert summary.incomplete.mean_iou == pytest.approx(0.5)
    assert summary.incomplete.kappa == pytest.approx((0.6 + 0) / 2)
    assert summary.incomplete.pixels == (10, 10, 0)


def test_absent_class_is_left_out_of_the_means_over_scenarios():
    summary = summarise(results().scores, "rgb+dsm")
    assert summary.mean.iou[2] == 0.0  # only one scenario calls anything clutter, wrongly
    assert math.isnan(summary.incomplete.iou[2])


def test_scenario_without_figures_is_neither_the_worst_nor_in_the_mean():
    found = results({"rgb": NOTHING_AVERAGED, "dsm": MATRICES["rgb"], "rgb+dsm": MATRICES["dsm"]})
    summary = summarise(found.scores, "rgb+dsm")
    assert summary.worst_name == "rgb+dsm"
    assert summary.mean.mean_iou == pytest.approx(0.5)
    assert summary.incomplete.mean_iou == pytest.approx(2 / 3)
    nothing = summarise(results({"rgb": EMPTY, "rgb+dsm": EMPTY}).scores, "rgb+dsm")
    assert (nothing.worst, nothing.worst_name) == (None, None)
    assert math.isnan(nothing.mean.mean_iou)


def test_full_scenario_alone_has_no_incomplete_ones():
    found = results({"rgb+dsm": MATRICES["rgb+dsm"]})
    assert summarise(found.scores, "rgb+dsm").incomplete is None
    assert list(rows(scenario_csv(found))) == ["rgb+dsm", "mean", "worst (rgb+dsm)"]
    assert scenario_json(found, 0)["summary"]["incomplete"] is None
    assert "mean of incomplete" not in scenario_table(found)


def test_table_gives_figures_in_per_cent_and_the_drop_in_points():
    found = printed(scenario_table(results()))
    assert found["scenario"] == ["OA", "F1", "mIoU", "drop", "road", "vegetation", "clutter *"]
    assert found["rgb"] == ["80.00", "80.00", "66.67", "28.33", "66.67", "66.67", "absent"]
    assert found["dsm"] == ["50.00", "50.00", "33.33", "61.67", "33.33", "33.33", "absent"]
    assert found["rgb+dsm"] == ["95.00", "97.37", "95.00", "0.00", "100.00", "90.00", "0.00"]
    assert found["mean"] == ["75.00", "75.79", "65.00", "30.00", "66.67", "63.33", "0.00"]
    assert found["worst (dsm)"] == found["dsm"]
    assert found["mean of incomplete"] == ["65.00", "65.00", "50.00", "45.00", "50.00", "50.00", "absent"]
    assert list(found).index("rgb+dsm") < list(found).index("mean")


def test_table_explains_itself_and_names_its_protocol():
    lines = scenario_table(results()).splitlines()
    assert "per cent; under a class's name its IoU; drop: points of mIoU below rgb+dsm" in lines
    assert "* counts as an error where it is confused, but is not averaged" in lines
    assert lines[-2:] == ["data: toy, 1 test tile", "labels: full; ignored pixels count nowhere"]


def test_table_names_scenarios_of_which_windows_have_nothing():
    text = scenario_table(results(dsm=12))
    assert text.endswith("\ndsm: 12 of 400 windows have nothing of it and were evaluated with what they have")
    assert "\nrgb: 1 of 400 windows has nothing of it and was evaluated" in scenario_table(results(rgb=1))
    assert "windows" not in scenario_table(results())


def test_without_the_full_scenario_there_is_no_drop():
    found = results({name: MATRICES[name] for name in ("rgb", "dsm")})
    text = scenario_table(found)
    assert printed(text)["rgb"] == ["80.00", "80.00", "66.67", "66.67", "66.67", "absent"]
    assert "no drop, as rgb+dsm was not evaluated" in text
    assert printed(text)["mean"] == printed(text)["mean of incomplete"]
    assert rows(scenario_csv(found))["dsm"]["drop"] == ""
    content = scenario_json(found, 0)
    assert content["scenarios"]["dsm"]["drop"] is None
    assert content["summary"]["mean"]["drop"] is None


def test_better_than_full_is_a_negative_drop():
    found = results({"rgb": MATRICES["rgb"], "rgb+dsm": MATRICES["dsm"]})
    assert printed(scenario_table(found))["rgb"][3] == "-33.33"
    assert rows(scenario_csv(found))["rgb"]["drop"] == "-0.333333"


def test_rounding_leaves_no_negative_zero():
    assert percent(-1e-9) == "0.00"
    assert percent(-0.0123) == "-1.23"


def test_classes_that_do_not_fit_go_below_each_other_and_nothing_is_cut():
    names = tuple(f"sparsely vegetated surface {k}" for k in range(10))
    modalities = ("rgb", "nir", "sar", "dsm")
    classes = Classes(names, tuple((k, k, k) for k in range(10)), averaged=names)
    found = results({s.name: torch.eye(10).long().tolist() for s in scenarios_of(modalities)}, modalities, classes)
    once, twice = scenario_table(found, width=400), scenario_table(found, width=100)
    assert max(map(len, once.splitlines())) > 120
    assert max(map(len, twice.splitlines())) <= 100
    assert printed(twice)["rgb+nir+sar"] == printed(once)["rgb+nir+sar"] == ["100.00"] * 3 + ["0.00"] + ["100.00"] * 10
    assert [twice.count(f"surface {k}") for k in range(10)] == [1] * 10
    assert printed(twice)["mean of incomplete"] == printed(once)["mean of incomplete"]
    narrow = scenario_table(found, width=10)  # one class a table at the least
    assert printed(narrow)["rgb+nir+sar+dsm"] == printed(once)["rgb+nir+sar+dsm"]
    assert "…" not in once + twice + narrow


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("car", ["car"]),
        ("impervious surfaces", ["impervious", "surfaces"]),
        ("low_vegetation", ["low_", "vegetation"]),
        ("non-residential", ["non-", "residential"]),
        ("bare or no soil", ["bare or", "no soil"]),
        ("-other", ["-other"]),
        ("--", ["--"]),
    ],
)
def test_names_of_classes_break_between_words(name, lines):
    assert stacked(name).split("\n") == lines


def test_brackets_in_a_name_are_no_markup():
    classes = Classes(("[red]roof", "tree", "car"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), ("[red]roof", "tree", "car"))
    assert "[red]roof" in scenario_table(results(classes=classes))


def test_csv_holds_every_figure_and_the_summary():
    text = scenario_csv(results(dsm=12))
    assert text.splitlines()[0] == (
        "scenario,oa,kappa,mean_f1,miou,drop,iou_road,iou_low_vegetation,iou_clutter,kept_windows,"
        "miou_low,miou_high,ece,fwiou,users_accuracy_road,users_accuracy_low_vegetation,users_accuracy_clutter,"
        "producers_accuracy_road,producers_accuracy_low_vegetation,producers_accuracy_clutter"
    )
    found = rows(text)
    summary = ["mean", "worst (dsm)", "mean of incomplete", "standard deviation"]
    assert list(found) == ["rgb", "dsm", "rgb+dsm", *summary]
    assert list(found["rgb"].values())[1:] == [
        "0.800000",
        "0.600000",
        "0.800000",
        "0.666667",
        "0.283333",
        "0.666667",
        "0.666667",
        "",
        "0",
        *["", "", ""],  # neither tiles nor probabilities are known
        "0.666667",
        *["0.800000", "0.800000", ""] * 2,
    ]
    assert found["rgb+dsm"]["kappa"] == f"{0.475 / 0.525:.6f}"
    assert found["rgb+dsm"]["drop"] == "0.000000"
    assert found["rgb+dsm"]["iou_clutter"] == "0.000000"
    assert found["dsm"]["kept_windows"] == found["worst (dsm)"]["kept_windows"] == "12"
    assert found["mean"]["miou"] == "0.650000"
    assert found["mean"]["drop"] == "0.300000"
    assert found["mean of incomplete"]["miou"] == "0.500000"
    assert found["mean of incomplete"]["iou_clutter"] == found["mean of incomplete"]["kept_windows"] == ""


def test_json_holds_everything_and_null_where_absent():
    content = json.loads(json.dumps(scenario_json(results(dsm=12), epoch=7), allow_nan=False))
    assert content["protocol"] == {"data": "toy, 1 test tile", "labels": "full; ignored pixels count nowhere"}
    assert (content["epoch"], content["modalities"], content["windows"]) == (7, ["rgb", "dsm"], 400)
    assert list(content["scenarios"]) == ["rgb", "dsm", "rgb+dsm"]
    dsm = content["scenarios"]["dsm"]
    assert (dsm["oa"], dsm["miou"], dsm["drop"]) == pytest.approx((0.5, 1 / 3, 0.95 - 1 / 3))
    assert dsm["confusion"] == MATRICES["dsm"]
    assert dsm["kept_windows"] == 12
    accuracies = {"users_accuracy": None, "producers_accuracy": None}
    assert dsm["classes"]["clutter"] == {"iou": None, "f1": None, "pixels": 0, **accuracies}
    assert dsm["fwiou"] == pytest.approx(1 / 3)
    summary = content["summary"]
    assert summary["mean"]["miou"] == pytest.approx(0.65)
    assert summary["mean"]["drop"] == pytest.approx(0.3)
    assert summary["mean"]["classes"]["road"]["iou"] == pytest.approx(2 / 3)
    assert (summary["worst"]["scenario"], summary["worst"]["miou"]) == ("dsm", pytest.approx(1 / 3))
    assert summary["incomplete"]["classes"]["clutter"]["iou"] is None


def test_evaluation_without_a_counted_pixel_is_absent_everywhere():
    found = results({"rgb": EMPTY, "rgb+dsm": EMPTY})
    assert printed(scenario_table(found))["rgb"] == ["absent"] * 7
    assert "worst (" not in scenario_table(found)
    assert set(list(rows(scenario_csv(found))["mean"].values())[1:]) == {""}
    assert json.loads(json.dumps(scenario_json(found, 0), allow_nan=False))["summary"]["worst"] is None


def test_binary_targets_have_the_papers_figure_beside_the_iou():
    classes = Classes(("other", "crops"), ((1, 1, 1), (2, 2, 2)), averaged=("crops",))
    names = ("rgb", "dsm", "rgb+dsm")
    matrices = {name: torch.tensor([[9 - k, k], [k, 9 - k]]) for k, name in enumerate(names)}
    soft = {name: SoftScores(0.5 + 0.1 * k, 0.1, 0.9, 40) for k, name in enumerate(names)}
    results = ScenarioResults(
        scenarios_of(["rgb", "dsm"]),
        classes,
        {name: scores(matrix, classes) for name, matrix in matrices.items()},
        matrices,
        dict.fromkeys(names, 0),
        40,
        {"data": "dstl_crops"},
        soft,
    )
    rows = list(csv.DictReader(io.StringIO(scenario_csv(results))))
    assert [row["soft_jaccard"] for row in rows] == [
        "0.500000",
        "0.600000",
        "0.700000",
        "0.600000",
        "0.700000",  # the worst by IoU is the last here
        "0.550000",
        f"{(2 / 3) ** 0.5 / 10:.6f}",
    ]
    table = scenario_table(results)
    assert "soft J" in table.splitlines()[2] + table.splitlines()[3]
    assert "not comparable with IoU" in table
    plain = scenario_json(results, 1)["scenarios"]["dsm"]
    assert plain["soft_per_image"] == {"jaccard": 0.6, "jaccard_deviation": 0.1, "f1": 0.9, "images": 40}


MIOUS = {"rgb": 2 / 3, "dsm": 1 / 3, "rgb+dsm": 0.95}


def reliability(error):
    """Ten pixels at a probability of 0.5, of which so many more are right that the calibration error is this."""
    counts = torch.zeros(3, BINS, dtype=torch.int64)
    counts[:, 7] = torch.tensor([10, round(10 * (0.5 + error)), 5 * 2**30])
    return Reliability.of(counts)


def told(tiles=2, failures=None, **options):
    """Results with all that a test knows: so many tiles that are alike."""
    found = results(**options)
    each = {name: matrix.expand(tiles, -1, -1) for name, matrix in found.matrices.items()}
    failures = usual_failures(("rgb", "dsm")) if failures is None else failures
    return replace(
        found,
        reliability={name: reliability(0.1 * k) for k, name in enumerate(found.scores)},
        failures=failures,
        tiles=[f"tile_{k}" for k in range(tiles)],
        intervals=bootstrap(each, found.classes, "rgb+dsm", failures),
    )


def test_what_is_expected_of_sensors_that_fail_is_the_mean_by_probability():
    summary = summarise(results().scores, "rgb+dsm", usual_failures(("rgb", "dsm")))
    for (failure, expected), p in zip(summary.expected, (0.05, 0.1, 0.2), strict=True):
        assert list(failure.rates.values()) == [p, p]
        full, one = (1 - p) ** 2, p * (1 - p)
        by_hand = (full * 0.95 + one * (2 / 3 + 1 / 3)) / (full + 2 * one)
        assert expected.mean_iou == pytest.approx(by_hand)
        assert expected.overall_accuracy == pytest.approx((full * 0.95 + one * (0.8 + 0.5)) / (full + 2 * one))
        assert expected.iou[2] == 0.0  # of the only scenario that has the class
    uneven = summarise(results().scores, "rgb+dsm", [Failure({"rgb": 0.0, "dsm": 1.0})])
    assert uneven.expected[0][1].mean_iou == pytest.approx(MIOUS["rgb"])


def test_nothing_is_expected_where_a_scenario_was_not_evaluated_or_has_no_figures():
    failures = usual_failures(("rgb", "dsm"))
    some = results({name: MATRICES[name] for name in ("rgb", "rgb+dsm")})
    assert summarise(some.scores, "rgb+dsm", failures).expected == ()
    text = scenario_table(replace(some, failures=failures))
    assert "nothing is expected of sensors that fail, as 1 of 3 scenarios were not evaluated" in text
    assert "\n expected" not in text
    empty = summarise(results({**MATRICES, "dsm": EMPTY}).scores, "rgb+dsm", failures)
    assert all(math.isnan(expected.mean_iou) for _, expected in empty.expected)


def test_the_spread_is_the_population_deviation_over_scenarios():
    summary = summarise(results().scores, "rgb+dsm")
    assert summary.deviation.mean_iou == pytest.approx(statistics.pstdev(MIOUS.values()))
    assert summary.deviation.overall_accuracy == pytest.approx(statistics.pstdev([0.8, 0.5, 0.95]))
    assert summarise(results({"rgb": EMPTY, "rgb+dsm": MATRICES["rgb"]}).scores, "rgb+dsm").deviation is None


def test_table_shows_intervals_calibration_expectation_and_spread():
    found = told(tiles=2)
    lines = {re.split(r"\s{2,}", line.strip())[0]: line for line in scenario_table(found).splitlines()}
    assert "66.67 - 66.67" in lines["rgb"]  # tiles that are alike
    assert [lines[name].split()[-4] for name in MIOUS] == ["0.00", "10.00", "20.00"]  # before three classes
    assert lines["mean"].split()[-4] == "10.00"
    expected = (0.9025 * 0.2 + 0.0475 * 0.1) / 0.9975
    assert lines["expected, p = 0.05"].split()[-4] == f"{100 * expected:.2f}"
    assert "65.00 - 65.00" in lines["mean"]
    assert "50.00 - 50.00" in lines["mean of incomplete"]
    assert " - " not in lines["standard deviation"]
    text = scenario_table(found)
    assert "\n95 %: interval of mIoU by bootstrap over 2 tiles, 1000 draws; of fewer than 5 it is hardly more" in text
    assert "\nECE: expected calibration error of the probabilities" in text
    assert "\nexpected: over all scenarios, if each sensor fails with probability p" in text
    assert "a hint" not in scenario_table(told(tiles=5))


def test_one_tile_has_no_interval_which_is_said():
    text = scenario_table(told(tiles=1))
    assert " - " not in text
    assert "no 95 % interval of mIoU, which takes two tiles with labels, and there is one\n" in text
    assert "and there is none" in scenario_table(told(tiles=0))
    assert "interval" not in scenario_table(results())  # of a file that does not say which tiles there were


def test_files_hold_intervals_calibration_expectation_and_spread():
    found = told(tiles=2)
    table = rows(scenario_csv(found))
    assert list(table)[3:] == [
        "mean",
        "worst (dsm)",
        "mean of incomplete",
        "expected, p = 0.05",
        "expected, p = 0.1",
        "expected, p = 0.2",
        "standard deviation",
    ]
    assert [table["dsm"][key] for key in ("miou_low", "miou_high", "ece")] == ["0.333333", "0.333333", "0.100000"]
    assert [table["standard deviation"][key] for key in ("miou_low", "drop", "kept_windows")] == ["", "", ""]
    content = json.loads(json.dumps(scenario_json(found, 0), allow_nan=False))
    assert content["tiles"] == ["tile_0", "tile_1"]
    assert content["bootstrap"] == {"level": 0.95, "resamples": 1000}
    dsm, summary = content["scenarios"]["dsm"], content["summary"]
    assert (dsm["miou_interval"], dsm["ece"]) == ([pytest.approx(1 / 3)] * 2, pytest.approx(0.1))
    assert dsm["calibration"]["pixels"][7] == 10
    assert (dsm["calibration"]["confidence"][7], dsm["calibration"]["accuracy"][7]) == (0.5, 0.6)
    assert dsm["calibration"]["accuracy"][0] is None
    assert [each["failure"] for each in summary["expected"]] == [{"rgb": p, "dsm": p} for p in (0.05, 0.1, 0.2)]
    assert summary["expected"][0]["miou"] == pytest.approx(float(table["expected, p = 0.05"]["miou"]), abs=1e-6)
    assert summary["mean"]["miou_interval"] == [pytest.approx(0.65)] * 2
    assert (summary["deviation"]["drop"], summary["deviation"]["miou_interval"]) == (None, None)
    assert summary["deviation"]["miou"] == pytest.approx(statistics.pstdev(MIOUS.values()))


def calibrated(found, *names):
    """With temperatures of these scenarios, at which each error is a tenth."""
    return replace(
        found,
        temperatures={name: 1.5 for name in names},
        calibrated={name: reliability(0.1) for name in names},
    )


def test_calibrated_errors_stand_beside_the_others_where_a_temperature_is_known():
    some, every = calibrated(told(), "dsm", "rgb+dsm"), calibrated(told(), *MIOUS)
    text = scenario_table(some)
    assert "\nECE at T: the same of softmax(logits / T), T by the validation of each scenario: dsm 1.50" in text
    assert "\nno T is known of rgb: fitted is what is validated in training (--scenarios.validate)" in text
    assert "ECE at T" not in scenario_table(told())
    assert "no T is known" not in scenario_table(every)
    table = rows(scenario_csv(some))
    assert [table[name]["ece_calibrated"] for name in (*MIOUS, "mean")] == ["", "0.100000", "0.100000", ""]
    assert [table[name]["temperature"] for name in MIOUS] == ["", "1.500000", "1.500000"]
    assert rows(scenario_csv(every))["mean"]["ece_calibrated"] == "0.100000"
    assert rows(scenario_csv(every))["standard deviation"]["ece_calibrated"] == "0.000000"
    content = json.loads(json.dumps(scenario_json(some, 0), allow_nan=False))
    dsm = content["scenarios"]["dsm"]
    assert (dsm["temperature"], dsm["ece_calibrated"], dsm["calibrated"]["pixels"][7]) == (1.5, pytest.approx(0.1), 10)
    assert content["scenarios"]["rgb"]["ece_calibrated"] is None
    assert content["summary"]["mean"]["ece_calibrated"] is None
    assert "ece_calibrated" not in json.dumps(scenario_json(told(), 0))
    assert scenario_columns(some)[-2:] == ["ECE", "ECE at T"]
    assert [row[-1] for row in scenario_rows(some)[:3]] == [None, pytest.approx(0.1), pytest.approx(0.1)]
    logged = figures_to_log(some.scores, CLASSES, dict.fromkeys(MIOUS, 0.2), (), {"dsm": 0.1, "rgb+dsm": 0.05})
    names = ("ece", "ece_calibrated", "scenarios/dsm/ece_calibrated")
    assert [logged[name] for name in names] == [0.2, 0.05, 0.1]
    assert "scenarios/rgb/ece_calibrated" not in logged


def test_loggers_get_the_same_table_and_the_ends_of_the_intervals():
    found = told(tiles=2, failures=[Failure({"rgb": 0.1, "dsm": 0.2})])
    shown = {row[0]: dict(zip(scenario_columns(found), row, strict=True)) for row in scenario_rows(found)}
    assert (shown["dsm"]["mIoU low"], shown["dsm"]["ECE"]) == pytest.approx((1 / 3, 0.1))
    assert shown["standard deviation"]["drop"] is None
    ends = intervals_to_log(found)
    names = ["miou", *(f"scenarios/{name}/miou" for name in MIOUS), "scenarios/mean_miou", "scenarios/expected_miou"]
    assert list(ends) == [f"{name}_{end}" for name in names for end in ("low", "high")]
    logged = figures_to_log(found.scores, CLASSES, {name: 0.1 for name in MIOUS}, found.failures)
    assert {name.rpartition("_")[0] for name in ends} <= set(logged)
    assert (logged["ece"], logged["scenarios/rgb/ece"]) == (0.1, 0.1)
    assert logged["scenarios/miou_deviation"] == pytest.approx(statistics.pstdev(MIOUS.values()))
    assert intervals_to_log(results()) == {}
