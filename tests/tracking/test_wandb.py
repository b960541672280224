"""What an offline record of Weights & Biases holds of a run, read back from the file."""

import csv
import json

import pytest
import yaml

from mobanet.errors import UserError
from mobanet.tracking.wandb_run import read_tracked
from tests.cli.conftest import start, wait
from tests.tracking.conftest import OFFLINE
from tests.tracking.wandb_file import records

SCENARIOS = ["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm"]


@pytest.fixture(scope="session")
def found(killed):
    return records(killed)


@pytest.fixture(scope="session")
def epochs(killed):
    return yaml.safe_load((killed / "config.yaml").read_text())["trainer"]["max_epochs"]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_run_goes_on_as_the_same_tracked_run_and_so_does_its_test(killed, found):
    kept = json.loads((killed / "wandb_run.json").read_text())
    assert kept == {"id": found[0].run.run_id, "project": "maps", "entity": None}
    assert [(part.run.run_id, part.run.project) for part in found] == [(kept["id"], "maps")] * 3
    assert found[0].run.display_name == "small/run"


def test_the_record_of_a_resumed_run_is_whole_and_no_row_is_doubled(killed, found, epochs):
    logged = {int(row["step"]): float(row["train/loss"]) for row in rows(killed / "metrics.csv")}
    assert list(logged) == list(range(2 * epochs))
    for part in found[1:]:
        assert part.values("train/loss") == pytest.approx(logged, rel=1e-9)
        assert all(row["trainer/global_step"] == row["_step"] for row in part.rows)
    # what was written before the kill says the same of the same steps
    before = found[0].values("train/loss")
    assert len(before) >= 4
    assert before == pytest.approx({step: logged[step] for step in before}, rel=1e-9)


def test_each_scenario_has_a_line_of_probabilities_and_one_of_miou(found, epochs):
    _, resumed, _ = found
    for name in SCENARIOS:
        probability = resumed.values(f"scenarios/probability/{name}")
        assert list(probability) == list(range(1, 2 * epochs, 2))  # at each epoch's end
        assert len(resumed.values(f"val/scenarios/{name}/miou")) == epochs
    for step in (1, 2 * epochs - 1):
        total = sum(resumed.values(f"scenarios/probability/{name}")[step] for name in SCENARIOS)
        assert total == pytest.approx(1, abs=1e-5)
    for name in (
        "val/miou",
        "val/oa",
        "val/mean_f1",
        "val/scenarios/mean_miou",
        "val/scenarios/worst_miou",
        "val/loss",
    ):
        assert len(resumed.values(name)) == epochs


def table(run, entry, part):
    (folder,) = run.glob(f"wandb/offline-run-*-{part.run.run_id}/files/{entry['path']}")
    return json.loads(folder.read_text())


def test_the_tables_of_scenarios_are_there(killed, found):
    _, resumed, tested = found
    scores = resumed.values("scenarios/table.path")
    last = table(killed, {"path": scores[max(scores)]}, resumed)
    assert last["columns"] == ["scenario", "distortion", "standard error", "score", "probability"]
    assert [row[0] for row in last["data"]] == SCENARIOS
    history = [json.loads(line) for line in (killed / "scenario_scores.jsonl").read_text().splitlines()]
    assert [row[4] for row in last["data"]] == pytest.approx(history[-1]["probabilities"])
    validated = resumed.values("val/scenarios/table.path")
    shown = table(killed, {"path": validated[max(validated)]}, resumed)
    assert [row[0] for row in shown["data"]][:7] == SCENARIOS
    figures = json.loads((killed / "validation_scenarios.json").read_text())["scenarios"]
    assert [row[3] for row in shown["data"]][:7] == pytest.approx([figures[name]["miou"] for name in SCENARIOS])
    result = json.loads((killed / "test/test_scenarios.json").read_text())
    assert tested.summary["test/miou"] == pytest.approx(result["scenarios"]["rgb+ir+dsm"]["miou"], abs=1e-6)
    assert tested.summary["test/scenarios/worst_miou"] == pytest.approx(result["summary"]["worst"]["miou"], abs=1e-6)
    by_p = {each["failure"]["rgb"]: each["miou"] for each in result["summary"]["expected"]}
    assert tested.summary["test/scenarios/expected_miou_at_10_percent"] == pytest.approx(by_p[0.1], abs=1e-6)
    assert tested.summary["test/scenarios/rgb/ece"] == pytest.approx(result["scenarios"]["rgb"]["ece"], abs=1e-6)
    deviation = result["summary"]["deviation"]["miou"]
    assert tested.summary["test/scenarios/miou_deviation"] == pytest.approx(deviation, abs=1e-6)
    full = result["scenarios"]["rgb+ir+dsm"]
    assert tested.summary["test/fwiou"] == pytest.approx(full["fwiou"], abs=1e-6)
    users = full["classes"]["building"]["users_accuracy"]
    assert tested.summary["test/users_accuracy_building"] == pytest.approx(users, abs=1e-6, nan_ok=True)
    for name, measured in result["scenarios"].items():
        logged = tested.summary[f"test/scenarios/{name}/boundary_iou_2px"]
        assert logged == pytest.approx(measured["boundary"][0]["iou"], abs=1e-6)
    assert tested.summary["test/boundary_iou_2px"] == pytest.approx(full["boundary"][0]["iou"], abs=1e-6)
    assert tested.summary["test/objects_building_recall"] == pytest.approx(full["objects"][0]["recall"], abs=1e-6)
    shown = table(killed, tested.summary["test/scenarios/table"], tested)
    assert shown["columns"][-5:] == [
        "boundary IoU 2 px",
        "boundary F1 2 px",
        "building precision",
        "building recall",
        "building F1",
    ]
    assert [row[3] for row in shown["data"]][:7] == pytest.approx([result["scenarios"][s]["miou"] for s in SCENARIOS])


def test_settings_protocol_code_and_sizes_are_in_its_configuration(killed, found, epochs):
    _, resumed, _ = found
    config = resumed.config
    written = yaml.safe_load((killed / "config.yaml").read_text())
    assert config["experiment"] == "small"
    assert config["scenarios.tau"] == written["scenarios"]["tau"] == 0.5
    assert config["trainer.max_epochs"] == epochs
    assert config["data.modalities"] == ["rgb", "ir", "dsm"]
    assert config["model.backbone.options.embed_dim"] == 32
    assert config["model.backbone.checkpoint"] is None
    protocol = json.loads((killed / "validation.json").read_text())["protocol"]
    assert {name: config[f"protocol.{name}"] for name in protocol} == protocol
    assert config["parameters.frozen"] == 0
    parts = [value for name, value in config.items() if name.startswith("parameters.trained.")]
    assert sum(parts) == config["parameters.trained"] > 0
    starts = [json.loads(line) for line in (killed / "provenance.jsonl").read_text().splitlines()]
    assert [part.config["provenance.started"] for part in found[:2]] == [made["started"] for made in starts]
    assert starts[1]["command"].startswith("python -m mobanet.fit --ckpt_path run/checkpoints/last.ckpt")
    assert config["provenance.commit"] == starts[1]["commit"]


def test_pictures_of_every_scenario_are_recorded(killed, found, epochs):
    pictures = found[0].values("panels.filenames")
    assert pictures
    for step, (name,) in pictures.items():
        assert step % 2 == 1  # an epoch's last
        (path,) = killed.glob(f"wandb/offline-run-*/files/{name}")
        assert path.read_bytes().startswith(b"\x89PNG")
    assert (killed / "panels/epoch_0001_1.png").is_file()
    assert list(found[1].values("panels.filenames")) == [2 * epochs - 1]  # the last epoch's


def test_a_sweeps_job_is_the_agents_run_with_its_values(small, tmp_path):
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("wandb_version: 1\nscenarios.tau: {value: 0.25}\nmodel.streams: {value: null}\n")
    agent = {"WANDB_SWEEP_ID": "abcd1234", "WANDB_RUN_ID": "job00007", "WANDB_SWEEP_PARAM_PATH": str(parameters)}
    words = ("--experiment", str(small), "--run", "run", "--scenarios.tau=0.25", "--model.streams=None")
    ended = wait(start("mobanet.fit", *words, "--trainer.max_steps=1", folder=tmp_path, **OFFLINE, **agent))
    assert ended.code == 0, ended.err
    (record,) = records(tmp_path / "run")
    assert record.run.run_id == "job00007"
    assert record.run.sweep_id == "abcd1234"
    assert record.config["scenarios.tau"] == 0.25
    assert record.config["model.streams"] is None
    assert record.config["trainer.max_steps"] == 1
    assert read_tracked(tmp_path / "run").id == "job00007"


def test_a_damaged_name_of_the_tracked_run_is_refused(tmp_path):
    assert read_tracked(tmp_path) is None
    for content in ("{", '{"name": "x"}', "[]"):
        (tmp_path / "wandb_run.json").write_text(content)
        with pytest.raises(UserError, match=r"wandb_run\.json does not name a tracked run; remove it"):
            read_tracked(tmp_path)
