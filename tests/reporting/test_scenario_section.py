from dataclasses import replace

import pytest
import torch

from mobanet.evaluation.bootstrap import bootstrap
from mobanet.evaluation.calibration import BINS, Reliability
from mobanet.evaluation.jaccard import SoftScores
from mobanet.evaluation.metrics import scores
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.rasters.contents import Classes
from mobanet.reporting.calibration_section import calibration_section
from mobanet.reporting.scenario_section import scenario_section
from mobanet.reporting.summary_section import key_figures, sentence
from mobanet.scenarios.failure import Failure
from mobanet.scenarios.scenario import scenarios_of
from tests.reporting.html_tree import parse

CLASSES = Classes(("road", "house", "mud"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), averaged=("road", "house"))
SAME, WORSE = [[8, 2, 0], [2, 8, 0], [0, 0, 0]], [[5, 5, 0], [5, 5, 0], [0, 0, 0]]
BEST = [[10, 0, 0], [0, 9, 1], [0, 0, 0]]


def evaluated(matrices, soft=False, unmasked=0):
    tensors = {name: torch.tensor(matrix) for name, matrix in matrices.items()}
    return Evaluated(
        "test",
        ScenarioResults(
            scenarios=scenarios_of(["rgb", "dsm"]),
            classes=CLASSES,
            scores={name: scores(matrix, CLASSES) for name, matrix in tensors.items()},
            matrices=tensors,
            unmasked=dict.fromkeys(matrices, unmasked),
            windows=5,
            protocol={"data": "toy", "labels": "full"},
            soft={name: SoftScores(0.25 * k, 0, 0, 3) for k, name in enumerate(matrices)} if soft else {},
        ),
        epoch=0,
    )


def table(*given, **options):
    return parse(scenario_section(evaluated(*given, **options))).one("table")


def marked(cells, name):
    return [bool(cell.all(name)) for cell in cells]


def test_equal_figures_are_marked_alike_and_only_incomplete_ones_underlined():
    shown = table({"rgb": SAME, "dsm": WORSE, "rgb+dsm": SAME})
    assert shown.rows()[1] == ["rgb", "80.00", "80.00", "66.67", "0.00", "66.67", "66.67", "absent"]
    rgb, dsm, full = (row.all("td") for row in shown.all("tr")[1:4])
    assert marked(rgb, "strong") == marked(full, "strong") == [True, True, True, False, True, True, False]
    assert marked(rgb, "u") == marked(rgb, "strong")
    assert marked(full, "u") == marked(dsm, "strong") == marked(dsm, "u") == [False] * 7


def test_a_scenario_better_than_the_full_one_has_a_negative_drop():
    shown = table({"rgb": BEST, "dsm": WORSE, "rgb+dsm": SAME})
    assert shown.rows()[1][4] == "\N{MINUS SIGN}28.33"
    assert [row[0] for row in shown.rows()[4:]] == ["mean", "worst (dsm)", "mean of incomplete", "standard deviation"]


def test_without_the_full_scenario_there_is_no_drop():
    head, *rows = table({"rgb": SAME, "dsm": WORSE}).rows()
    assert "drop" not in head
    assert [row[0] for row in rows] == ["rgb", "dsm", "mean", "worst (dsm)", "mean of incomplete", "standard deviation"]
    assert {len(row) for row in rows} == {len(head)}


def test_binary_targets_have_the_soft_jaccard_and_its_means():
    head, *rows = table({"rgb": SAME, "dsm": WORSE, "rgb+dsm": BEST}, soft=True).rows()
    column = head.index("soft J")
    assert [row[column] for row in rows] == ["0.00", "25.00", "50.00", "25.00", "25.00", "12.50", "20.41"]


def test_notes_tell_what_is_not_averaged_and_which_windows_were_kept():
    notes = [
        item.text for item in parse(scenario_section(evaluated({"rgb": SAME, "rgb+dsm": BEST}, unmasked=2))).all("li")
    ]
    assert notes[0] == "bold: best of all scenarios"
    assert "* counts as an error where it is confused, but is not averaged" in notes
    assert "rgb: 2 of 5 windows have nothing of it and were evaluated with what they have" in notes
    assert not [note for note in notes if note.startswith(("data:", "labels:"))]  # a section of its own


def test_the_summary_says_what_there_is_and_no_more():
    several = evaluated({"rgb": SAME, "dsm": WORSE, "rgb+dsm": BEST})
    text = sentence(several).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert text == (
        "On the test tiles the model reaches 95.0 % mIoU, 97.4 % mean F1 and 95.0 % overall accuracy with rgb+dsm. "
        "Over 3 scenarios its mIoU is 65.0 % on average and 33.3 % at worst, with dsm; where a modality is missing it "
        "is 50.0 % on average. Protocol: data: toy; labels: full."
    )
    single = sentence(evaluated({"dsm": WORSE}))
    assert "Over" not in single
    assert len(key_figures(evaluated({"dsm": WORSE}))) == 3
    nothing = evaluated({"rgb": [[0] * 3] * 3})
    assert "reaches absent mIoU" in sentence(nothing)
    assert "absent" in parse(scenario_section(nothing)).one("table").rows()[1]


def test_intervals_calibration_and_expectation_are_shown_and_the_least_error_is_the_best():
    names = ("rgb", "dsm", "rgb+dsm")
    counts = torch.zeros(3, 3, BINS, dtype=torch.int64)
    counts[:, :, 7] = torch.tensor([[10, right, 5 * 2**30] for right in (8, 6, 5)])
    given = evaluated(dict(zip(names, (SAME, WORSE, BEST), strict=True)))
    tiles = {name: torch.stack([matrix, matrix]) for name, matrix in given.results.matrices.items()}
    failures = (Failure({"rgb": 0.1, "dsm": 0.2}),)
    results = replace(
        given.results,
        reliability={name: Reliability.of(each) for name, each in zip(names, counts, strict=True)},
        failures=failures,
        tiles=["a", "b"],
        intervals=bootstrap(tiles, CLASSES, "rgb+dsm", failures),
    )
    shown = parse(scenario_section(replace(given, results=results)))
    head, *rows = shown.one("table").rows()
    interval, error, miou = head.index("95\N{NO-BREAK SPACE}%"), head.index("ECE"), head.index("mIoU")
    assert {len(row) for row in rows} == {len(head)}
    assert rows[0][interval] == "66.67\N{EN DASH}66.67"
    assert [row[error] for row in rows[:4]] == ["30.00", "10.00", "0.00", "13.33"]
    cells = [row.all("td") for row in shown.one("table").all("tr")[1:4]]
    assert [bool(each[error - 1].all("strong")) for each in cells] == [False, False, True]
    assert [bool(each[error - 1].all("u")) for each in cells] == [False, True, False]
    assert not any(each[interval - 1].all("strong") for each in cells)
    labels = [row[0] for row in rows]
    assert labels[-2:] == ["expected, rgb 0.1, dsm 0.2", "standard deviation"]
    expected = (0.72 * 0.95 + 0.18 * 2 / 3 + 0.08 / 3) / 0.98
    assert rows[-2][miou] == f"{100 * expected:.2f}"
    assert (rows[-1][interval], rows[-1][head.index("drop")]) == ("", "")
    notes = [item.text for item in shown.all("li")]
    assert any(note.startswith("95 %: interval of mIoU by bootstrap over 2 tiles") for note in notes)
    text = sentence(replace(given, results=results)).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert f"if each sensor fails by itself, {100 * expected:.1f} % (rgb 0.1, dsm 0.2) is to be expected. " in text


def test_each_scenario_has_a_reliability_diagram():
    counts = torch.zeros(3, BINS, dtype=torch.int64)
    counts[:, 7], counts[:, 14] = torch.tensor([10, 8, 5 * 2**30]), torch.tensor([30, 30, 29 * 2**30])
    found = {"rgb": Reliability.of(counts), "rgb+dsm": Reliability.absent()}
    first, second = parse(calibration_section(found)).all("figure")
    assert first.one("figcaption").text == "rgb ECE 10.00 %"
    assert second.one("figcaption").text == "rgb+dsm no pixel"
    assert [len(first.all("rect", class_=kind)) for kind in ("right", "gap", "share")] == [2, 2, 2]
    assert second.all("rect") == []
    told = [title.text for title in first.all("title")]
    assert "10 pixels: mean probability 50.00 %, right 80.00 %" in told
    heights = [float(bar.attributes["height"]) for bar in first.all("rect", class_="right")]
    assert heights == [pytest.approx(0.8 * 180, abs=0.1), pytest.approx(180)]
    assert first.all("polyline") == []
    calibrated, other = parse(calibration_section(found, {"rgb": found["rgb"]})).all("figure")
    assert calibrated.one("figcaption").text == "rgb ECE 10.00 %, 10.00 % at T"
    assert len(calibrated.one("polyline").attributes["points"].split()) == len(calibrated.all("circle")) == 2
    assert other.all("polyline") == []
    gaps = [float(bar.attributes["height"]) for bar in first.all("rect", class_="gap")]
    assert gaps == pytest.approx([0.3 * 180, 180 / 30], abs=0.1)
