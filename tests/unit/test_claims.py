"""The paired comparison of ways to train: its rows, its table, and the table in the README."""

import csv
import importlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mobanet.training.module import SegmentationModule
from tests.conftest import NARROW

ROOT = Path(__file__).parents[2]
NAMES = ("rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm")


@pytest.fixture(scope="module")
def claims():
    """The script as a module, which finds its others beside it as a script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "experiments")
        yield importlib.import_module("claims")
    for name in ("claims", "claims_design", "claims_tables"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def made(claims):
    """What makes tables of rows."""
    return sys.modules["claims_tables"]


@pytest.fixture(scope="module")
def design(claims):
    """What is compared."""
    return sys.modules["claims_design"]


def rows(arm, seed, mious, steps=400, city="ambiguous"):
    return [
        {"city": city, "arm": arm, "seed": str(seed), "steps": str(steps), "scenario": name, "miou": str(miou)}
        for name, miou in zip(NAMES, mious, strict=True)
    ]


def read_raster(path):
    import rasterio

    with rasterio.open(path) as file:
        return file.read()


def cells(table, arm):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {arm}:")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_readme_has_the_table_of_the_rows(made):
    """Where they differ: experiments/claims.py --seeds --readme README.md --page experiments/results/README.md."""
    found = made.read(ROOT / "experiments/results/claims.csv")
    shown = {"README.md": made.tables(found, 400, ["sampling"])}
    for path, tables in (shown | {"experiments/results/README.md": made.all_tables(found, 400)}).items():
        text = (ROOT / path).read_text()
        assert made.with_table(text, tables) == text
        assert made.with_table(text, "another") != text


def test_differences_are_paired_by_seed_and_an_interval_around_nothing_is_undecided(made):
    found = []
    for seed, level in enumerate((0.2, 0.4, 0.6)):
        found += rows("uniform", seed, [level] * 7)
        found += rows("full", seed, [level] * 6 + [level + 0.1])
        found += rows("latent", seed, [level] * 6 + [level + (0.1, -0.1, 0.05)[seed]])
    found += rows("latent", 3, [0.9] * 7)  # has no partner
    table = made.table(found, 400)
    assert cells(table, "uniform")[1:4] == ["3", "40.0", "40.0"]
    assert cells(table, "full")[1:5] == [
        "3",
        "50.0 (+10.0, +10.0 to +10.0)",
        "40.0 (+0.0, +0.0 to +0.0, undecided)",
        "40.0 (+0.0, +0.0 to +0.0, undecided)",
    ]
    latent = cells(table, "latent")
    assert latent[1] == "4"
    assert latent[2].startswith("53.8 (+1.7, ")
    assert latent[2].endswith("undecided)")
    assert "gap regained" not in table


def test_arms_may_have_a_partner_each(made):
    found = [row for seed in range(3) for row in (*rows("full", seed, [0.5] * 7), *rows("uniform", seed, [0.4] * 7))]
    assert made.tables(found, 400, ["streams"]) == ""  # nothing to compare
    found += [row for seed in range(3) for row in rows("three_full", seed, [0.53] * 7)]
    found += [row for seed in range(3) for row in rows("three_uniform", seed, [0.41] * 7)]
    table = made.tables(found, 400, ["streams"])
    assert cells(table, "full")[2] == "50.0"
    assert cells(table, "three_full")[2] == "53.0 (+3.0, +3.0 to +3.0)"
    assert cells(table, "three_uniform")[2] == "41.0 (+1.0, +1.0 to +1.0)"
    assert table.endswith("paired difference to the same with two streams, 95 % interval.")


def test_two_pairs_have_no_interval_and_other_steps_and_cities_no_place(made):
    found = [row for seed in (0, 1) for arm in ("uniform", "full") for row in rows(arm, seed, [0.5] * 7)]
    table = made.table(
        found + rows("full", 2, [0.1] * 7, steps=200) + rows("full", 2, [0.1] * 7, city="redundant"), 400
    )
    assert cells(table, "full")[1:3] == ["2", "50.0"]


def test_what_is_regained_is_a_share_of_the_gap_to_specialists(made):
    found = rows("full", 0, [0.1] * 6 + [0.9]) + rows("uniform", 0, [0.3] * 6 + [0.7])
    for place, name in enumerate(NAMES[:-1]):
        found += rows(f"alone_{name}", 0, [0.5] * 7)[place : place + 1]
    table = made.table(found, 400)
    assert cells(table, "full")[-1] == "0.0"
    assert cells(table, "uniform")[-1] == "50.0"
    assert "alone" not in table


def test_the_figure_has_a_mark_for_each_way_to_train(made):
    found = [row for seed in (0, 1) for row in rows("uniform", seed, [0.2 + 0.2 * seed] * 6 + [0.5])]
    figure = made.frontier(found + rows("full", 0, [0.1] * 6 + [0.9]) + rows("alone_rgb", 0, [0.5] * 7), 400)
    (axes,) = figure.axes
    marks = {c.get_label(): c.get_offsets().tolist() for c in axes.collections if not c.get_label().startswith("_")}
    assert list(marks) == ["full", "uniform"]
    assert marks["full"] == [[pytest.approx(90), pytest.approx(10)]]
    assert marks["uniform"] == [[pytest.approx(50), pytest.approx(30)]]


def test_rows_are_added_to_those_there_are(made, tmp_path):
    path = tmp_path / "results/claims.csv"
    shared = {"city": "redundant", "parameters": "1", "commit": "c", "protocol": "a, b"}
    made.add(path, [shared | row for row in rows("full", 0, [0.5] * 7)])
    made.add(path, [shared | row for row in rows("own", 0, [0.25] * 7)])
    found = made.read(path)
    assert [row["arm"] for row in found] == ["full"] * 7 + ["own"] * 7
    assert set(found[0]) == set(made.COLUMNS)
    assert found[0]["protocol"] == "a, b"


def test_a_file_of_fewer_columns_gets_the_others_and_keeps_its_rows(made, tmp_path):
    path, fewer = tmp_path / "claims.csv", made.COLUMNS[:-2]
    before = dict.fromkeys(fewer, "a, b") | {"scenario": "rgb"}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fewer, lineterminator="\n")
        writer.writeheader()
        writer.writerow(before)
    made.add(path, [dict.fromkeys(made.COLUMNS, "c")])
    old, new = made.read(path)
    assert {name: old[name] for name in fewer} == before
    assert not old["iou_car"]
    assert new == dict.fromkeys(made.COLUMNS, "c")
    with path.open("a", newline="") as file:  # by a process that knows of no others yet
        csv.DictWriter(file, fewer, lineterminator="\n").writerow(before)
    assert {name: made.read(path)[2][name] for name in fewer} == before


def test_a_run_is_added_whole_or_not_at_all(made, tmp_path):
    path, row = tmp_path / "claims.csv", dict.fromkeys(made.COLUMNS, "c")
    made.add(path, [row])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="another"):
        made.add(path, [row, {"another": "column"}])  # as if it were ended between two rows
    assert path.read_bytes() == before


@pytest.mark.parametrize(("arm", "extra"), [("mit_full", "cmx"), ("lora", "lora")])
def test_an_extra_that_is_not_there_is_told_before_anything_is_trained(
    claims, arm, extra, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(claims, "find_spec", lambda name: None)
    for name in ("prepare", "trained"):
        monkeypatch.setattr(claims, name, lambda *_: pytest.fail("began"))
    results = tmp_path / "claims.csv"
    monkeypatch.setattr(sys, "argv", ["claims.py", "--arms", "full", arm, "--results", str(results)])
    with pytest.raises(SystemExit) as ended:
        claims.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"the arm {arm} needs the extra {extra}: install it with pip install -e '.[{extra}]'")
    assert not results.exists()


def test_every_arm_that_needs_an_extra_says_so(design):
    needs = {arm: design.ARMS[arm].extra for arm in design.ARMS if design.ARMS[arm].extra}
    assert needs == {"lora": "lora"} | {arm: "cmx" for arm in design.ARMS if arm.startswith("mit_")}


def test_a_table_of_rare_classes_tells_of_them_with_all_sensors(made):
    found = []
    for seed in range(3):
        found += [row | {"iou_car": "0.5", "iou_clutter": "0.25"} for row in rows("even", seed, [0.1] * 6 + [0.75])]
        rare = {"iou_car": "0.625", "iou_clutter": str(0.25 + (seed - 1) / 8)}
        found += [row | rare for row in rows("plus_dice", seed, [0.1] * 6 + [0.5])[-1:]]
    table = made.table(found + rows("focal", 0, [0.5] * 7), 400, "imbalance")
    assert table.splitlines()[0].endswith("| all sensors | IoU of car | IoU of clutter |")
    assert cells(table, "even")[1:] == ["3", "75.0", "50.0", "25.0"]
    assert cells(table, "plus_dice")[2:4] == ["50.0 (-25.0, -25.0 to -25.0)", "62.5 (+12.5, +12.5 to +12.5)"]
    assert cells(table, "plus_dice")[4].endswith("undecided)")
    assert cells(table, "focal")[1:] == ["1", "50.0", "", ""]  # of a time when they were not written


def test_every_arm_has_its_place_in_a_group_and_every_start_is_an_arm(claims, design):
    assert {arm for group in design.GROUPS.values() for arm in group.arms} == set(design.ARMS)
    assert sum(design.LEFT.values()) * design.REGAIN["probabilities"]["ir"] == pytest.approx(design.LEFT["ir"])
    for group in design.GROUPS.values():
        partners = {*group.partners, *group.partners.values()} or {group.against}
        assert partners <= set(group.arms) or not group.title
    assert {arm.start for arm in design.ARMS.values()} - {None} == {"full", "uniform"}
    assert claims.in_order(["full_then_own", "own", "full", "own"]) == ["own", "full", "full_then_own"]


def test_what_tests_the_claims_of_both_papers_is_in_the_other_tables(design):
    papers, others = design.GROUPS["papers"], [group for name, group in design.GROUPS.items() if name != "papers"]
    assert not papers.title
    assert set(papers.arms) < {arm for group in others for arm in group.arms}
    assert len(set(papers.arms)) == len(papers.arms)
    assert {*design.GROUPS["parts"].arms, *design.GROUPS["specialists"].arms} < set(papers.arms)
    for start in ("full_then", "uniform_then", "mit"):  # each way to sample, and ours
        arms = [arm.removeprefix(f"{start}_") for arm in papers.arms if arm.startswith(f"{start}_")]
        assert {"full", "uniform", "latent_once", "latent"} < set(arms)
        assert len(arms) == 5
    assert {design.ARMS[arm].start for arm in papers.arms} - {None} <= set(papers.arms)


def test_a_table_a_group_and_a_city_that_have_rows(made, design):
    found = rows("full", 0, [0.5] * 7) + rows("full", 0, [0.25] * 7, city="redundant")
    found += rows("cmx_full", 0, [0.125] * 7) + rows("alone_rgb", 0, [0.5] * 7)
    shown = made.tables(found, 400)
    titles = [line for line in shown.splitlines() if line.startswith("**")]
    assert [title.split("; ")[0].strip("*") for title in titles] == [
        *[design.GROUPS["sampling"].title] * 2,
        design.GROUPS["cmx"].title,
    ]
    assert made.tables(found, 400, ["cmx"]).count("| cmx_full: all sensors, always | 1 | 12.5 |") == 1
    assert "12.5" not in made.tables(found, 400, ["sampling", "parts"])


def test_runs_of_other_lengths_have_a_table_of_their_own_where_there_is_what_they_are_compared_to(made, design):
    title, found = design.GROUPS["sampling"].title, rows("full", 0, [0.5] * 7) + rows("uniform", 0, [0.25] * 7)
    assert made.all_tables(found, 400) == made.tables(found, 400)
    found += [row for seed in range(3) for row in rows("uniform", seed, [0.3] * 7, steps=800)]
    found += [row for seed in range(3) for row in rows("full", seed, [0.4] * 7, steps=800)]
    found += rows("full", 0, [0.75] * 7, steps=200)  # of which there is no `uniform`
    first, longer = made.all_tables(found, 400).split(f"**{title} in ")
    assert first.strip() == made.tables(found, 400)
    assert longer.startswith("800 steps rather than 400**; city `ambiguous`")
    assert cells(longer, "full")[1:3] == ["3", "40.0 (+10.0, +10.0 to +10.0)"]
    assert "75.0" not in longer
    # a group that is compared in a length has its table there, and no other has
    for arm in ("uniform_then_uniform", "uniform_then_half"):
        found += rows(arm, 0, [0.6] * 7, steps=200)
    _, shorter, last = made.all_tables(found, 400).split(" steps rather than 400**")
    assert shorter.count("**") == 1  # which the title of the next begins with
    assert f"**{design.GROUPS['after_uniform'].title} in 200" in made.all_tables(found, 400)
    assert cells(shorter, "uniform_then_half")[1:3] == ["1", "60.0"]
    assert last.rstrip() == longer.partition("**")[2].rstrip()


def test_a_table_of_parts_tells_of_all_sensors_only(made):
    found = [row for seed in range(3) for row in rows("full", seed, [0.1] * 6 + [0.5])]
    found += [row for seed in range(3) for row in rows("lora", seed, [0] * 6 + [0.625])[-1:]]
    shown = made.table(found, 400, "parts")
    assert cells(shown, "full")[1:] == ["3", "50.0"]
    assert cells(shown, "lora")[1:] == ["3", "62.5 (+12.5, +12.5 to +12.5)"]


def test_colours_of_the_redundant_city_tell_classes(claims, tmp_path):
    from mobanet.synthetic import synthesize

    for name in ("plain", "tinted"):
        synthesize("potsdam", tmp_path / name, 1, 128, seed=5)
    claims.tint(tmp_path / "tinted")
    for name, bands in claims.BANDS.items():
        (plain,) = (tmp_path / "plain" / name).glob("*.tif")
        before, after = read_raster(plain), read_raster(tmp_path / "tinted" / name / plain.name)
        (label,) = (tmp_path / "plain/5_Labels_all").glob("*.tif")
        label = read_raster(label)
        for colour, tints in {**claims.TINTS, (255, 255, 255): (0, 0, 0, 0)}.items():
            here = (label == np.array(colour)[:, None, None]).all(0)
            assert here.any()
            expected = np.clip(before[:, here].astype(int) + np.array(tints)[list(bands)][:, None], 0, 255)
            assert np.array_equal(after[:, here], expected)


def test_an_arm_goes_on_from_the_weights_of_its_start(claims, city, make_module, monkeypatch, tmp_path):
    begun = []

    def small(description, backbone, network, **options):
        given = {name: getattr(network, name) for name in ("placement", "fusion", "incomplete", "absent")}
        module = make_module(
            SimpleNamespace(description=description), network=type(network)(**NARROW, **given), **options
        )
        monkeypatch.setattr(module, "begin_from", lambda checkpoint: begun.append((module, checkpoint)))
        return module

    monkeypatch.setattr("mobanet.training.module.SegmentationModule", small)
    (tmp_path / "town").symlink_to(city)
    for name, value in (("WORK", tmp_path), ("CROP", 64), ("BATCH", 4), ("EPOCHS", 2)):
        monkeypatch.setattr(claims, name, value)
    found = claims.trained("town", "full_then_own", 3, 8)  # whose start is trained first, as nobody has
    assert claims.weights_path("town", "full", 3, 8).is_file()
    assert {(row["arm"], row["steps"]) for row in found} == {("full_then_own", 8)}
    ((module, checkpoint),) = begun
    assert checkpoint["global_step"] == 8
    assert module.trainer.global_step == 4
    assert module.lr == 1e-3
    assert checkpoint["hyper_parameters"]["lr"] == 2e-3
    assert checkpoint["hyper_parameters"]["network"]["incomplete"] == "shared"
    claims.trained("town", "full_then_uniform", 3, 8)
    assert claims.weights_path("town", "full", 3, 8).is_file()
    assert begun[1][1]["global_step"] == 8


RUNS = """
import os, sys, time
from pathlib import Path
import claims

def trained(*job):
    Path(f"begun-{os.getpid()}").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:  # Lightning ends a training by it, and its caller goes on
        pass
    return []

if __name__ == "__main__":
    claims.prepare, claims.trained = lambda city: None, trained
    claims.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_leaves_no_runs_behind(sent, tmp_path):
    (tmp_path / "runs.py").write_text(RUNS)
    words = [sys.executable, "runs.py", *("--groups", "sampling", "--jobs", "2", "--results", "claims.csv")]
    place = {**os.environ, "PYTHONPATH": f"{ROOT / 'experiments'}{os.pathsep}{ROOT}"}
    command = subprocess.Popen(words, cwd=tmp_path, env=place, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        while len(runs := set(tmp_path.glob("begun-*"))) < 2:
            assert command.poll() is None
            time.sleep(0.1)
        # a terminal sends Ctrl-C to all of a command's processes, a scheduler ends the one that it knows
        (os.killpg if sent == signal.SIGINT else os.kill)(command.pid, sent)
        assert command.wait(30) != 0
        for run in runs:
            with pytest.raises(ProcessLookupError):
                os.kill(int(run.name.removeprefix("begun-")), 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
    assert set(tmp_path.glob("begun-*")) == runs  # none was begun after it
    assert not (tmp_path / "claims.csv").exists()


def trained_small(claims, arm, city, make_module, monkeypatch, tmp_path, callbacks=()):
    """An arm's few steps with narrow parts: its module after them."""
    made = []

    def small(description, backbone, network, **options):
        module = make_module(
            SimpleNamespace(description=description), network=type(network)(**NARROW, absent=network.absent), **options
        )
        made.append(module)
        return module

    monkeypatch.setattr("mobanet.training.module.SegmentationModule", small)
    (tmp_path / "town").symlink_to(city)
    for name, value in (("WORK", tmp_path), ("CROP", 64), ("BATCH", 4), ("EPOCHS", 4)):
        monkeypatch.setattr(claims, name, value)
    claims.trained("town", arm, 3, 8)
    return made[0]


def test_a_share_of_complete_samples_falls_epoch_by_epoch(claims, city, make_module, monkeypatch, tmp_path):
    shares, draw = [], SegmentationModule._drawn

    def drawn(self, batch, batch_idx):
        shares.append(self.scenario_probabilities[-1].item())
        return draw(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "_drawn", drawn)
    module = trained_small(claims, "falling", city, make_module, monkeypatch, tmp_path)
    assert shares == pytest.approx([1, 1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25])
    assert module.exact_scenario_shares


def test_a_consistent_arm_adds_what_incomplete_samples_differ_by(claims, city, make_module, monkeypatch, tmp_path):
    added, step = [], SegmentationModule.training_step

    def counted(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        added.append((self, loss.detach()))
        return loss

    wholes, make = [], claims.make_consistent

    def noted(module, weight):
        make(module, weight)
        inner = module.training_step

        def training_step(batch, batch_idx):
            modes = [part.training for part in module.network.modules()]
            loss = inner(batch, batch_idx)
            assert [part.training for part in module.network.modules()] == modes
            wholes.append(loss.detach())
            return loss

        module.training_step = training_step

    monkeypatch.setattr(SegmentationModule, "training_step", counted)
    monkeypatch.setattr(claims, "make_consistent", noted)
    trained_small(claims, "half_consistent", city, make_module, monkeypatch, tmp_path)
    gains = [float(whole - loss) for whole, (_, loss) in zip(wholes, added, strict=True)]
    assert len(gains) == 8
    assert min(gains) > 0  # a divergence, of two samples of four each time


@pytest.mark.parametrize("arm", ["own", "lora", "full_finetuning", "alone_rgb+dsm", "balanced"])
def test_an_arm_trains_what_it_says(claims, arm, city, make_module, monkeypatch, tmp_path):
    made = []

    def small(description, backbone, network, **options):
        given = {name: getattr(network, name) for name in ("placement", "fusion", "incomplete", "absent")}
        data = SimpleNamespace(description=description)
        module = make_module(data, network=type(network)(**NARROW, **given), **options)
        made.append((module, backbone))
        return module

    monkeypatch.setattr("mobanet.training.module.SegmentationModule", small)
    (tmp_path / "town").symlink_to(city)
    monkeypatch.setattr(claims, "WORK", tmp_path)
    monkeypatch.setattr(claims, "CROP", 64)
    monkeypatch.setattr(claims, "BATCH", 4)
    monkeypatch.setattr(claims, "EPOCHS", 2)
    found = claims.trained("town", arm, 3, 4)
    alike = ("lora", "full_finetuning", "balanced")
    told = {**dict.fromkeys(alike, NAMES[-1:]), "alone_rgb+dsm": ("rgb+dsm",)}.get(arm, NAMES)
    assert tuple(row["scenario"] for row in found) == told
    assert {(row["city"], row["arm"], row["seed"], row["steps"]) for row in found} == {("town", arm, 3, 4)}
    assert all(0 <= float(row["miou"]) <= 1 for row in found)
    ((module, backbone),) = made
    assert isinstance(module, SegmentationModule)
    assert backbone.freeze == (arm != "full_finetuning")
    assert (module.network.incomplete is not None) == (arm == "own")
    assert any("lora" in name for name, _ in module.network.named_parameters()) == (arm == "lora")
    expected = {"own": 0.5, "alone_rgb+dsm": 0.0}.get(arm, 1.0)
    assert module.scenario_probabilities[-1].item() == expected
    assert all(0 <= float(row["iou_car"]) <= 1 for row in found)
    assert module.trainer.datamodule.sampling == ("balanced" if arm == "balanced" else "area")
    assert module.hparams["class_weights"] == (None if arm == "balanced" else [1, 1, 1, 1, 5, 2])
    if arm == "alone_rgb+dsm":
        assert module.scenario_probabilities[NAMES.index("rgb+dsm")].item() == 1
