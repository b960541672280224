import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mobanet.errors import UserError
from mobanet.scenarios.history import ScoreRecord, read_history, read_scores, write_record, write_scores
from mobanet.scenarios.probabilities import read_probabilities
from mobanet.scenarios.scenario import scenarios_of
from mobanet.scenarios.scores import ScoreSettings

TWO = scenarios_of(["rgb", "dsm"])
THREE = scenarios_of(["rgb", "ir", "dsm"])


def record(epoch=0, scenarios=TWO, settings=None):
    settings = settings or ScoreSettings(bandwidth="median", tau=0.7)
    distortion = np.linspace(0.5, 0, len(scenarios)) / (epoch + 1)
    scores = settings.score(distortion)
    return ScoreRecord(
        epoch=epoch,
        scenarios=tuple(scenario.name for scenario in scenarios),
        distortion=tuple(distortion.tolist()),
        standard_error=tuple((distortion / 10).tolist()),
        scores=tuple(scores.scores.tolist()),
        probabilities=tuple(scores.probabilities.tolist()),
        num_windows=192,
        seconds=1.25,
        settings=settings,
    )


def scores_file(folder, scenarios):
    path, found = folder / "made" / "scores.json", record(3, scenarios)
    write_scores(path, found, found.settings.score(found.distortion), "best.ckpt")
    return path, found


def test_a_history_reads_back_as_it_was_written(tmp_path):
    path = tmp_path / "run" / "scenario_scores.jsonl"
    records = [record(epoch) for epoch in range(3)]
    for each in records:
        write_record(path, each)
    assert read_history(path) == records
    assert len(path.read_text().splitlines()) == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_resumed_run_replaces_its_epoch_and_the_later_ones(tmp_path):
    path = tmp_path / "scenario_scores.jsonl"
    for epoch in range(4):
        write_record(path, record(epoch))
    again = replace(record(2), seconds=9.0)
    write_record(path, again)
    assert read_history(path) == [record(0), record(1), again]


def test_a_write_that_fails_leaves_the_old_history(tmp_path):
    path = tmp_path / "scenario_scores.jsonl"
    write_record(path, record(0))
    before = path.read_text()
    (tmp_path / "scenario_scores.jsonl.part").mkdir()
    with pytest.raises(OSError, match="scenario_scores"):
        write_record(path, record(1))
    assert path.read_text() == before


def test_only_the_settings_of_the_scores_are_written(tmp_path):
    @dataclass
    class More(ScoreSettings):
        strategy: str = "latent"

    path = tmp_path / "scenario_scores.jsonl"
    write_record(path, record(settings=More(tau=0.9)))
    assert read_history(path)[0].settings == ScoreSettings(tau=0.9)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[:40],
        lambda line: "3",
        lambda line: line.replace('"seconds"', '"minutes"'),
        lambda line: line.replace('"gamma": 0.5', '"gamma": 5'),
        lambda line: line.replace('"distortion": [0.25,', '"distortion": [NaN,'),
        lambda line: line.replace('"distortion": [0.25,', '"distortion": ['),
    ],
)
def test_a_damaged_line_is_refused_by_file_and_number(tmp_path, damage):
    path = tmp_path / "scenario_scores.jsonl"
    write_record(path, record(0))
    write_record(path, record(1))
    first, second = path.read_text().splitlines()
    assert damage(second) != second
    path.write_text(f"{first}\n\n{damage(second)}\n")
    with pytest.raises(UserError, match=r"scenario_scores\.jsonl, line 3: no record"):
        read_history(path)


def test_a_missing_history_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl cannot be read"):
        read_history(tmp_path / "none.jsonl")


def test_a_record_whose_lists_differ_in_length_is_refused():
    with pytest.raises(ValueError, match="scores has 1 numbers for 3 scenarios"):
        replace(record(), scores=(1.0,))


def test_the_scores_of_a_checkpoint_are_all_in_one_readable_file(tmp_path):
    path, found = scores_file(tmp_path, THREE)
    content = json.loads(path.read_text())
    details = found.settings.score(found.distortion)
    assert content == {
        "scenarios": list(found.scenarios),
        "distortion": list(found.distortion),
        "standard_error": list(found.standard_error),
        "kernel": details.kernel.tolist(),
        "scores": details.scores.tolist(),
        "normalized": details.normalized.tolist(),
        "softmax": details.softmax.tolist(),
        "probabilities": details.probabilities.tolist(),
        "bandwidth": details.bandwidth,
        "num_windows": 192,
        "epoch": 3,
        "seconds": 1.25,
        "settings": {"alpha": 1.0, "bandwidth": "median", "ridge": 1e-3, "tau": 0.7, "gamma": 0.5},
        "checkpoint": "best.ckpt",
    }
    assert len(path.read_text().splitlines()) == 24  # a key a line, a row of the kernel a line
    assert list(path.parent.iterdir()) == [path]


def test_the_scores_of_a_checkpoint_read_back_as_a_record(tmp_path):
    path, found = scores_file(tmp_path, THREE)
    assert read_scores(path) == found
    assert read_scores(str(path)).settings == found.settings


@pytest.mark.parametrize("text", ["", "[]", '{"scenarios": ["rgb"]}'])
def test_a_file_without_scores_is_refused_as_such(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"other\.json: no record.*make it anew with mobanet\.scores"):
        read_scores(path)


def test_a_missing_file_of_scores_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.json cannot be read.*that mobanet\.scores wrote"):
        read_scores(tmp_path / "none.json")


def test_probabilities_come_back_from_the_file_of_a_checkpoint(tmp_path):
    path, found = scores_file(tmp_path, THREE)
    np.testing.assert_allclose(read_probabilities(str(path), THREE), found.probabilities, rtol=1e-14)


def test_probabilities_follow_their_scenarios_where_the_modalities_are_in_another_order(tmp_path):
    path, found = scores_file(tmp_path, THREE)
    expected = {frozenset(name.split("+")): p for name, p in zip(found.scenarios, found.probabilities, strict=True)}
    other = scenarios_of(["dsm", "rgb", "ir"])
    for scenario, p in zip(other, read_probabilities(path, other), strict=True):
        assert p == pytest.approx(expected[frozenset(scenario.name.split("+"))])


def test_numbers_by_scenario_take_modalities_in_any_order_and_leave_the_rest_zero(tmp_path):
    given = {"dsm+rgb": 0.25, "ir": 0.75}
    expected = [0, 0.75, 0, 0, 0.25, 0, 0]
    assert read_probabilities(given, THREE).tolist() == expected
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(given))
    assert read_probabilities(path, THREE).tolist() == expected


def test_a_list_is_in_the_usual_order(tmp_path):
    assert read_probabilities([0.2, 0.3, 0.5], TWO).tolist() == [0.2, 0.3, 0.5]
    assert read_probabilities(np.array([0, 0, 1]), TWO).tolist() == [0, 0, 1]
    path = tmp_path / "list.json"
    path.write_text("[0.2, 0.3, 0.5]")
    assert read_probabilities(str(path), TWO).tolist() == [0.2, 0.3, 0.5]


def test_typed_numbers_may_be_rounded_and_sum_to_one_afterwards():
    found = read_probabilities([0.333333, 0.333333, 0.3333337], TWO)
    assert found.dtype == np.float64
    assert found.sum() == pytest.approx(1, abs=1e-15)


def paper(tmp_path, masks, probabilities):
    path = tmp_path / "paper.json"
    content = {"modelType": "x", "final_probs": probabilities}
    path.write_text(json.dumps(content if masks is None else {**content, "mask_array": masks}))
    return path


def test_the_papers_json_is_read_by_its_masks_and_renormalised(tmp_path):
    masks = [[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1.0, 0.0, 1.0]]
    found = read_probabilities(paper(tmp_path, masks, [0.1, 0.2, 0.3, 0.1, 0.1, 0.05, 0.16]), THREE)
    np.testing.assert_allclose(found, np.array([0.2, 0.3, 0.1, 0.1, 0.16, 0.05, 0.1]) / 1.01, rtol=1e-14)


def test_the_papers_json_without_masks_is_in_the_usual_order(tmp_path):
    assert read_probabilities(paper(tmp_path, None, [2, 3, 5]), TWO).tolist() == [0.2, 0.3, 0.5]
    with pytest.raises(UserError, match=r"has 3 probabilities for 7 scenarios.*rgb, ir, dsm, rgb\+ir"):
        read_probabilities(paper(tmp_path, None, [2, 3, 5]), THREE)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], r"row \[1, 0, 0\] in mask_array.*rgb, dsm"),
        ([[1, 0], [0, 0], [1, 1]], r"row \[0, 0\]"),
        ([[1, 0], [0, 2], [1, 1]], r"row \[0, 2\]"),
        ([[1, 0], [1, 0], [1, 1]], "names rgb twice"),
        ([[1, 0], [0, 1]], "has 3 probabilities for 2 scenarios"),
        (7, "row 7"),
    ],
)
def test_masks_of_the_papers_json_that_fit_no_scenarios_are_refused(tmp_path, masks, message):
    with pytest.raises(UserError, match=message):
        read_probabilities(paper(tmp_path, masks, [0.2, 0.3, 0.5]), TWO)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rgb": 0.5, "nir": 0.5}, "names nir, which is no scenario of rgb, dsm; .*rgb.dsm"),
        ({"rgb+dsm": 0.5, "dsm+rgb": 0.5}, r"names dsm\+rgb twice"),
        ({"rgb": -0.5, "dsm": 1.5}, "gives rgb the probability -0.5"),
        ({"rgb": float("nan")}, "gives rgb the probability nan"),
        ({"rgb": "much"}, "gives rgb the probability much"),
        ({"rgb": True}, "gives rgb the probability True"),
        ({}, "no scenario a probability above 0"),
        ([0, 0, 0], "no scenario a probability above 0"),
        ([0.2, 0.3, 0.4], "sums to 0.9;"),
        ([0.2, 0.3, 0.50001], "sums to 1.00001;"),
        ([0.5, 0.5], "has 2 probabilities for 3 scenarios; .* rgb, dsm, rgb.dsm"),
        ([0.5, float("inf"), 0], "gives dsm the probability inf"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(given, message):
    with pytest.raises(UserError, match=rf"^--scenarios\.probabilities .*{message}"):
        read_probabilities(given, TWO)


def test_scores_of_other_modalities_are_refused_by_name(tmp_path):
    fewer, _ = scores_file(tmp_path / "two", TWO)
    with pytest.raises(UserError, match=r"scores\.json\) lacks ir, rgb\+ir, ir\+dsm, rgb\+ir\+dsm; "):
        read_probabilities(fewer, THREE)
    more, _ = scores_file(tmp_path / "three", THREE)
    with pytest.raises(UserError, match="names ir, which is no scenario of rgb, dsm"):
        read_probabilities(more, TWO)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON file"),
        (b"\xff\xfe\x00", "is no JSON file"),
        ("3", "holds no probabilities"),
        ('{"scenarios": 3, "probabilities": [1]}', "names its scenarios 3"),
        ('{"scenarios": ["rgb"], "probabilities": 1}', "has no probabilities for 1 scenarios"),
        ('{"final_probs": {"a": 1}}', "has no probabilities for 3 scenarios"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path, text, message):
    path = tmp_path / "p.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=rf"^--scenarios\.probabilities .*p\.json.* {message}"):
        read_probabilities(str(path), TWO)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError, match="which cannot be read"):
            read_probabilities(path, TWO)
    with pytest.raises(UserError, match="names even, which cannot be read"):
        read_probabilities("even", TWO)
