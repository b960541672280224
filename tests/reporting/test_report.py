import csv
import json
import shutil
from dataclasses import replace

import pytest

from mobanet import report
from mobanet.errors import UserError
from mobanet.reporting import write
from mobanet.reporting.folder import read_folder
from tests.cli.conftest import leftovers
from tests.reporting.conftest import rename_classes
from tests.reporting.html_tree import parse

SECTIONS = [
    "scenarios",
    "confusion",
    "accuracy",
    "calibration",
    "tiles",
    "curves",
    "sampling",
    "model",
    "protocol",
    "configuration",
]


@pytest.fixture
def made(command, run, tmp_path):
    """The report of a run as a tree; the run is the tested one unless given."""

    def make(folder=run, *words):
        output = tmp_path / "report.html"
        ended = command(report.main, [str(folder), "--output", str(output), *words])
        assert ended.code == 0, ended.err
        text = output.read_text()
        assert text.startswith("<!DOCTYPE html>\n")
        return parse(text.removeprefix("<!DOCTYPE html>\n"))

    return make


def section(page, key):
    return page.one("section", id=key)


def test_the_page_is_well_formed_self_contained_and_accessible(made):
    page = made()
    assert page.one("head").one("title").text == "run \N{MIDDLE DOT} mobanet run report"
    assert page.one("h1").text == "run"
    assert page.one("html").attributes["lang"] == "en"
    assert [part.attributes["id"] for part in page.all("section", class_="part")] == SECTIONS
    addresses = [node.attributes[key] for node in page.all() for key in ("href", "src") if key in node.attributes]
    assert {address[:1] if address[0] == "#" else address[:5] for address in addresses} == {"#", "data:"}
    assert "default-src 'none'" in page.all("meta")[1].attributes["content"]
    ids = [node.attributes["id"] for node in page.all() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    used = [node.attributes[key] for node in page.all() for key in ("for", "aria-labelledby") if key in node.attributes]
    used += [address[1:] for address in addresses if address[0] == "#"]
    assert set(used) <= set(ids)
    assert all(image.attributes["alt"] for image in page.one("main").all("img"))
    assert all(head.attributes.get("scope") in ("row", "col") for head in page.all("th"))
    assert all(svg.attributes.get("role") == "img" or "aria-hidden" in svg.attributes for svg in page.all("svg"))


def test_the_scenario_table_has_the_figures_of_the_test_and_marks_the_best(made, run):
    head, *body = section(made(), "scenarios").one("table").rows()
    with (run / "test/test_scenarios.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert head[:5] == ["scenario", "OA", "mean\N{NO-BREAK SPACE}F1", "mIoU", "drop"]
    assert head[-1] == "clutter\N{NO-BREAK SPACE}*"
    assert len(body) == len(table) == 14
    at = [key for key in ("ece_calibrated",) if key in table[0]]
    columns = ["oa", "mean_f1", "miou", "drop", "ece", *at, *(key for key in table[0] if key.startswith("iou_"))]
    for row, expected in zip(body, table, strict=True):
        assert row[0] == expected["scenario"]
        for shown, key in zip(row[1:], columns, strict=True):
            if (expected["scenario"], key) == ("standard deviation", "drop"):
                assert shown == expected[key] == ""
            elif expected[key] == "":
                assert shown == ("" if key == "ece_calibrated" else "absent")  # validated was the full scenario alone
            else:
                assert float(shown.replace("\N{MINUS SIGN}", "-")) == pytest.approx(
                    100 * float(expected[key]), abs=0.006
                )
    rows = section(made(), "scenarios").all("tr")[1:8]
    mious = [float(row["miou"]) for row in table[:7]]
    bold = [len(row.all("td")[2].all("strong")) for row in rows]
    assert bold == [int(miou == max(mious)) for miou in mious]
    underlined = [len(row.all("td")[2].all("u")) for row in rows]
    assert underlined == [int(miou == max(mious[:6])) for miou in mious[:6]] + [0]
    assert [len(row.all("td")[3].all("strong")) for row in rows] == [0] * 7  # drop


def test_users_and_producers_accuracy_of_every_scenario_are_those_of_the_test(made, run):
    user, producer = section(made(), "accuracy").all("table")
    with (run / "test/test_scenarios.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for shown, first, kind in ((user, ["fwiou"], "users"), (producer, [], "producers")):
        head, *body = shown.rows()
        keys = [*first, *(key for key in table[0] if key.startswith(f"{kind}_accuracy_"))]
        assert head[-6:] == ["impervious surfaces", "building", "low vegetation", "tree", "car", "clutter"]
        for row, expected in zip(body, table, strict=True):
            wanted = ["absent" if expected[key] == "" else f"{100 * float(expected[key]):.2f}" for key in keys]
            assert row[0] == expected["scenario"]
            assert [cell == "absent" for cell in row[1:]] == [cell == "absent" for cell in wanted]
            there = [(float(a), float(b)) for a, b in zip(row[1:], wanted, strict=True) if a != "absent"]
            assert [a for a, _ in there] == pytest.approx([b for _, b in there], abs=0.006)


def test_every_scenario_has_its_confusion_matrix_and_the_fullest_is_chosen(made, run):
    part = section(made(), "confusion")
    results = json.loads((run / "test/test_scenarios.json").read_text())
    radios, tables = part.all("input", type="radio"), part.all("table")
    labels = [label.text for label in part.all("label")[1:]]
    assert labels == list(results["scenarios"])
    assert ["checked" in radio.attributes for radio in radios] == [False] * 6 + [True]
    for name, table in zip(labels, tables, strict=True):
        assert table.one("caption").text.startswith(f"{name}:")
        for row, counts in zip(table.all("tr")[1:], results["scenarios"][name]["confusion"], strict=True):
            *cells, total = row.all("td")
            assert [int(plain(cell.one("span", class_="count").text)) for cell in cells] == counts
            assert int(plain(total.text)) == sum(counts)
            for cell, count in zip(cells, counts, strict=True):
                share = cell.one("span", class_="share").text
                expected = f"{100 * count / sum(counts):.1f}" if count else "0"
                assert share == (expected if sum(counts) else "\N{EN DASH}")
                assert cell.attributes["style"] == f"--v:{count / sum(counts) if sum(counts) else 0:.3f}"
                assert f"{count} of {sum(counts)} pixels" in plain(cell.attributes["title"])


def plain(text):
    return text.replace("\N{NARROW NO-BREAK SPACE}", "")


def test_the_summary_tells_figures_and_protocol(made, run):
    lead = made().one("header").one("p", class_="lead").text
    results = json.loads((run / "test/test_scenarios.json").read_text())
    for value in (
        results["scenarios"]["rgb+ir+dsm"]["miou"],
        results["scenarios"]["rgb+ir+dsm"]["oa"],
        results["summary"]["mean"]["miou"],
        results["summary"]["worst"]["miou"],
    ):
        assert f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%" in lead
    for words in results["protocol"].values():
        assert words in lead
    facts = {d.one("dt").text: d.one("dd").text for d in section(made(), "protocol").all("div")}
    assert facts == results["protocol"]


def test_tiles_curves_model_and_configuration_are_there(made, run):
    page = made()
    tile = section(page, "tiles")
    assert [figure.one("figcaption").text for figure in tile.all("figure")] == [
        *("rgb", "ir", "dsm", "truth", "prediction", "error")
    ]
    assert [swatch.text for swatch in tile.one("ul", class_="classes").all("li")][-4:] == [
        *("ignored", "right", "wrong", "not measured")
    ]
    titles = [caption.text for caption in section(page, "curves").all("figcaption")]
    assert titles == [
        "Loss",
        "Auxiliary losses, before their weight",
        "Validation, %",
        "IoU of each class in validation, %",
        "Learning rate",
    ]
    probabilities = section(page, "sampling").all("figure")[0]
    assert probabilities.one("figcaption").text == "Scenario probabilities"
    assert len(probabilities.one("ul").all("li")) == 8  # scenarios, and the uniform level
    total = section(page, "model").one("table").rows()[-1]
    assert total[0] == "total"
    (line,) = (text for text in (run / "log.txt").read_text().splitlines() if " parameters  " in text)
    assert f"parameters  {plain(total[1])} trained" in line.replace(",", "")
    assert line.replace(",", "").endswith(f"{plain(total[2])} frozen")
    facts = {d.one("dt").text: d.one("dd").text for d in section(page, "model").all("div") if d.all("dt")}
    assert facts["pretrained part"] == "vit_tiny_patch16_224, trained, from random weights"
    assert facts.get("git commit of the run") == read_folder(run).commit  # of a source tree; none when installed
    assert section(page, "configuration").one("pre").text == (run / "config.yaml").read_text().rstrip()


def test_names_from_files_are_shown_as_text(made, copied):
    hostile = {"building": "<b>roof</b>", "tree": "<img src=x onerror=alert(1)>\"'&amp;"}
    rename_classes(copied, hostile)
    folder = copied.with_name("a<i>b&c")
    copied.rename(folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text() + "# </pre><script>alert(2)</script>\n")
    page = made(folder)
    assert page.one("h1").text == "a<i>b&c"
    assert len(page.all("script")) == 1
    assert not page.all("b") + page.all("i")
    head = section(page, "scenarios").one("table").rows()[0]
    assert [name for name in head if "<" in name] == list(hostile.values())
    assert "</pre><script>alert(2)</script>" in section(page, "configuration").one("pre").text


def test_what_a_run_lacks_is_left_out_with_a_sentence(made, copied):
    shutil.rmtree(copied / "test/maps")
    (copied / "scenario_scores.jsonl").unlink()
    (copied / "metrics.csv").unlink()
    page = made(copied)
    told = {key: section(page, key).one("p", class_="note").text for key in ("tiles", "curves", "sampling")}
    assert "no class map" in told["tiles"]
    assert f"python -m mobanet.test --ckpt_path {copied}/checkpoints/best.ckpt" in told["tiles"]
    assert "mobanet.fit" in told["curves"]
    assert "--scenarios.strategy latent" in told["sampling"]
    assert page.one("main").all("img") == []


def test_a_run_that_was_not_tested_shows_its_validation(made, copied):
    shutil.rmtree(copied / "test")
    page = made(copied)
    assert "In the validation of epoch 2 the model reaches" in page.one("p", class_="lead").text
    assert "The run has not been tested: python -m mobanet.test" in page.one("header").one("p", class_="note").text
    titles = [part.one("h2").text for part in page.all("section", class_="part")]
    assert titles[:4] == [
        "Scenarios (validation)",
        "Confusion matrix (validation)",
        "Accuracy of each class (validation)",
        "Calibration (validation)",
    ]
    assert len(section(page, "confusion").all("table")) == 1
    assert len(section(page, "scenarios").all("tbody")) == 1  # one scenario has no summary
    assert "mobanet.test" in section(page, "tiles").one("p", class_="note").text
    for path in copied.glob("validation*"):
        path.unlink()
    ids = [part.attributes["id"] for part in made(copied).all("section", class_="part")]
    assert ids == ["tiles", "curves", "sampling", "model", "configuration"]


def test_a_test_of_one_scenario_is_reported_without_summary(made, copied):
    for path in (copied / "test").glob("test_scenarios.*"):
        path.unlink()
    page = made(copied)
    assert [row[0] for row in section(page, "scenarios").one("table").rows()] == ["scenario", "rgb+ir+dsm"]
    assert section(page, "confusion").one("table").one("caption").text.startswith("rgb+ir+dsm")
    assert not section(page, "scenarios").all("strong")


def test_tiles_that_are_gone_are_left_out_with_the_reason(made, copied):
    config = copied / "config.yaml"
    root = str(read_folder(copied).config["data"]["root"])
    config.write_text(config.read_text().replace(root, "/nowhere/city"))
    told = section(made(copied), "tiles").one("p", class_="note").text
    assert told.startswith("There are no pictures, as the test tiles are not at hand: /nowhere/city/mobanet_store")


def test_side_thins_pictures(made, run):
    image = section(made(run, "--side", "40"), "tiles").all("img")[0]
    assert (image.attributes["width"], image.attributes["height"]) == ("40", "40")


@pytest.fixture
def more_tiles(copied, monkeypatch):
    """The run with its one test tile under three names; the last has no map."""
    opened = write.open_data

    def with_more(*given):
        data = opened(*given)
        (tile,) = data.tiles("test")
        monkeypatch.setitem(data._roles, "test", [tile, *(replace(tile, id=name) for name in ("a/b", "c"))])
        return data

    shutil.copy(copied / "test/maps/2_13.tif", copied / "test/maps/a_b.tif")
    monkeypatch.setattr(write, "open_data", with_more)
    return copied


def test_tiles_that_are_not_shown_are_counted_with_the_reason(made, more_tiles, monkeypatch):
    some = section(made(more_tiles), "tiles")
    assert [head.text for head in some.all("h3")] == ["Tile 2_13", "Tile a/b"]
    assert some.all("p")[-1].text == "2 of 3 test tiles are shown: the others have no class map in test/maps."
    one = section(made(more_tiles, "--tiles", "1"), "tiles")
    assert len(one.all("h3")) == 1
    assert one.all("p")[-1].text == "1 of 3 test tiles are shown: --tiles is 1."
    monkeypatch.setattr(write, "MOST_BYTES", 100)
    few = section(made(more_tiles), "tiles")
    assert len(few.all("h3")) == 1
    assert "1 of 3 test tiles are shown: the page would grow beyond 0 MB; lower --side" in few.all("p")[-1].text


def test_the_commit_that_the_run_was_last_started_from_is_shown(made, copied):
    path = copied / "provenance.jsonl"
    lines = [{"commit": "abc123", "changed": True}, {"commit": "def456", "changed": False}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts = {d.one("dt").text: d.one("dd").text for d in section(made(copied), "model").all("div") if d.all("dt")}
    assert facts["git commit of the run"] == "def456"
    path.write_text(json.dumps(lines[0]))
    assert read_folder(copied).commit == "abc123, with changes"
    path.write_text(json.dumps({"commit": None, "changed": None}))
    assert read_folder(copied).commit is None
    path.write_text("{}")
    with pytest.raises(UserError, match=r"provenance\.jsonl is damaged; remove it"):
        read_folder(copied)
    path.unlink()
    assert read_folder(copied).commit is None


def test_the_report_goes_into_the_run_folder_however_the_folder_is_given(command, copied, monkeypatch):
    ended = command(report.main, ["--run", str(copied)])
    assert ended.code == 0
    assert f"the report is {copied}/report.html (" in ended.out
    first = (copied / "report.html").read_bytes()
    monkeypatch.chdir(copied.parent)
    assert command(report.main, ["--side=768", "run"]).code == 0
    assert (copied / "report.html").read_bytes() == first.replace(str(copied).encode(), b"run")
    assert leftovers(copied) == []
    assert command(report.main, ["run", "--output", "new/folder/x.html"]).code == 0
    assert (copied.parent / "new/folder/x.html").is_file()


def test_settings_that_describe_no_data_leave_the_pictures_out(made, copied):
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("  crop: 32", "  crop: many"))
    assert "does not describe a data set" in section(made(copied), "tiles").one("p", class_="note").text
