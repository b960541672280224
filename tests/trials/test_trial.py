"""A trial's folder: what it remembers, what is run again, what goes on, and what is refused."""

import math
from pathlib import Path

import pytest

from mobanet.errors import UserError
from mobanet.trials.metric import Metric, reached
from mobanet.trials.process import Ended
from mobanet.trials.trial import Trial, only_here, read_record, run_trial
from tests.trials.conftest import log, remembered

MIOU = Metric("val/miou", "maximize")


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path / "trial", ("--model.lr=0.1",), {"model.lr": 0.1})


def keep(folder, name="last"):
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints" / f"{name}.ckpt").write_bytes(b"")


def test_the_best_value_is_the_first_of_the_best_and_nan_is_none(tmp_path):
    log(tmp_path, [0.2, 0.6, math.nan, 0.6, 0.1])
    found = reached(tmp_path / "metrics.csv", MIOU)
    assert (found.best, found.epoch, found.step, found.last) == (0.6, 2, 4, 0.1)
    lowest = reached(tmp_path / "metrics.csv", Metric("val/miou", "minimize"))
    assert (lowest.best, lowest.epoch) == (0.1, 5)
    log(tmp_path, [0.2, math.nan])
    assert reached(tmp_path / "metrics.csv", MIOU).last is None


def test_a_metric_that_was_never_logged_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"val/miou was never logged \(logged were none\); name one that is\.$"):
        reached(tmp_path / "metrics.csv", MIOU)
    log(tmp_path, [0.2])
    with pytest.raises(UserError, match=r"val/moiu was never logged \(did you mean val/miou.*\); name one that is\.$"):
        reached(tmp_path / "metrics.csv", Metric("val/moiu", "maximize"))
    log(tmp_path, [math.nan])
    with pytest.raises(UserError, match=r"val/miou was never finite"):
        reached(tmp_path / "metrics.csv", MIOU)


def test_a_finished_trial_is_left_alone(trial, fake):
    fake.calls.clear()
    fake.does = staticmethod(lambda words: [0.1, 0.3, 0.2])
    outcome = run_trial(trial, fake(), MIOU, {"A": "b"})
    assert (outcome.status, outcome.best, outcome.epoch, outcome.last) == ("finished", 0.3, 2, 0.2)
    assert fake.calls == [("mobanet.fit", ["--model.lr=0.1", "--run", str(trial.folder)], {"A": "b"})]
    assert remembered(trial.folder)["parameters"] == {"model.lr": 0.1}
    assert run_trial(trial, fake(), MIOU) == outcome
    assert len(fake.calls) == 1
    assert read_record(trial.folder).trial == trial
    assert sorted(path.name for path in trial.folder.iterdir()) == ["metrics.csv", "trial.json"]


def test_what_was_interrupted_goes_on_from_its_last_checkpoint(trial, fake):
    fake.calls.clear()
    trial = Trial(trial.folder, ("--init_from", "a.ckpt", *trial.words), trial.parameters)
    fake.does = staticmethod(lambda words: Ended(143, 15, None, 30.0))
    assert run_trial(trial, fake(), MIOU).status == "interrupted"
    keep(trial.folder)
    fake.does = staticmethod(lambda words: [0.3])
    outcome = run_trial(trial, fake(), MIOU)
    assert (outcome.status, outcome.seconds) == ("finished", 90.0)
    last = str(trial.folder / "checkpoints" / "last.ckpt")
    assert fake.calls[0][1] == [*trial.words, "--run", str(trial.folder)]
    assert fake.calls[1][1] == [*trial.words[2:], "--run", str(trial.folder), "--ckpt_path", last]


def test_a_failed_trial_is_tried_again(trial, fake):
    fake.does = staticmethod(lambda words: Ended(2, 0, "--a is wrong; mend it.", 1.0))
    outcome = run_trial(trial, fake(), MIOU)
    assert (outcome.status, outcome.error, outcome.code) == ("failed", "--a is wrong; mend it", 2)
    fake.does = staticmethod(lambda words: [math.nan])
    assert "was never finite" in run_trial(trial, fake(), MIOU).error
    fake.does = staticmethod(lambda words: [0.3])
    assert run_trial(trial, fake(), MIOU).status == "finished"


def test_other_words_are_refused_where_something_was_trained(trial, fake):
    other = Trial(trial.folder, ("--model.lr=0.2",), {"model.lr": 0.2})
    fake.does = staticmethod(lambda words: Ended(2, 0, "wrong.", 5.0))
    run_trial(trial, fake(), MIOU)
    assert run_trial(other, fake(), MIOU).seconds == 5.0  # nothing was lost: another trial may begin
    keep(trial.folder)
    sentence = r"has run with other words \(--model\.lr=0\.1 is new; --model\.lr=0\.2 is gone\); give another --run"
    with pytest.raises(UserError, match=sentence):
        run_trial(trial, fake(), MIOU)


def test_a_folder_is_one_processes_at_a_time(tmp_path):
    with only_here(tmp_path / "a") as first, only_here(tmp_path / "a") as second, only_here(tmp_path / "b") as third:
        assert (first, second, third) == (True, False, True)
    with only_here(tmp_path / "a") as again:
        assert again


def test_a_damaged_record_is_one_sentence(tmp_path):
    for text in ("{", "[]", "{}", '{"words": [], "parameters": {}, "state": 1}'):
        Path(tmp_path / "trial.json").write_text(text)
        with pytest.raises(UserError, match=r"trial\.json is damaged \(.*\); remove it to run the trial again\.$"):
            read_record(tmp_path)
