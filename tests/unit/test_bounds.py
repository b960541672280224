"""Files of text that no person writes: refused by their size, depth and values, before they cost time or memory."""

import json
import time
from pathlib import Path

import pytest
import yaml

from mobanet.cli.entry import run
from mobanet.cli.experiments import resolve
from mobanet.cli.parser_errors import check_config_files, check_words
from mobanet.datasets import load_folder_settings
from mobanet.errors import UserError
from mobanet.evaluation.read_back import read_evaluation
from mobanet.exporting.places import from_pretrained
from mobanet.plain.bounds import LARGEST
from mobanet.plain.json_files import parse_json, read_json
from mobanet.plain.yaml_files import read_yaml
from mobanet.prediction.workspace import Workspace
from mobanet.reporting.logged import read_curves
from mobanet.scenarios.history import read_history, read_scores
from mobanet.scenarios.probabilities import read_probabilities
from mobanet.scenarios.scenario import chosen_scenarios, scenarios_of
from mobanet.store.stored import TileStore
from mobanet.tracking.csv_log import read_rows
from mobanet.tracking.wandb_run import read_tracked
from mobanet.trials.files import read_json as read_trial
from mobanet.trials.sweep_file import read_sweep
from tests.hostile.children import verdicts
from tests.unit.test_read_back import DATA

TWO = scenarios_of(["rgb", "dsm"])


def bomb(levels):
    """Ten times as many values a level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels))])


YAML = {
    "brackets": ("[" * 100_000, "64 levels"),
    "mappings": ("{a: " * 5000, "64 levels"),
    "dashes": ("- " * 100_000, "64 levels"),
    "indents": ("\n".join(f"{' ' * n}a:" for n in range(300)), "64 levels"),
    "aliases": (bomb(12), "100000 values"),
    "merged aliases": (f"{bomb(9)}\nb:\n  <<: [{', '.join(['*m'] * 9)}]\nm: &m {{}}", "100000 values"),
    "an alias of itself": ("a: &a [1, *a]", "inside of itself"),
    "a key twice": (
        "modalities:\n  rgb: a\nlabel: {b: 1, c: 2}\nmodalities:\n  dsm: b",
        "'modalities' twice, again in line 4",
    ),
    "a key twice within": (
        "a:\n- {b: [b, b], c: &c {b: b}}\n- b: *c\n  'd': 1\n  \"d\": 2",
        "'d' twice, again in line 5",
    ),
    "large": (f"a: {'x' * (1 << 20)}", "has more than 1 MB"),
    "many values": ("a: [" + "1, " * 150_000 + "]", "100000 values"),
    "a large number": (f"a: {10**400}", "a whole number of 401 digits"),
    "a number too long to be read": (f"a: {'9' * 5000}", "holds a value that is none"),
    "a large number as a key": (f"{2**63}: a", "a whole number of 19 digits"),
    "NUL": ('a: "b\\0c"', r"the text 'b\x00c' with the character '\x00'"),
    "half a character": ('a: "\\ud800"', r"the character '\ud800'"),
    "an escape": ('a: "\\e[31m"', r"the character '\x1b'"),
    "no date": ("a: 2020-13-45", "holds a value that is none (month must be in 1..12)"),
    "no truth": ("a: !!bool x", "holds a value that is none"),
    "a constructor": ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "bytes": (b"a: \xff\xfe\xfa", "is no text file"),
}
JSON = {
    "brackets": ("[" * 100_000 + "]" * 100_000, "64 levels"),
    "mappings": ('{"a": ' * 70 + "1" + "}" * 70, "64 levels"),
    "a large number": (json.dumps({"a": 10**400}), "a whole number of 401 digits"),
    "a number too long to be read": (f'{{"a": {"9" * 5000}}}', "5000 digits"),
    "infinity": ('{"a": 1e999}', "holds the number inf"),
    "NaN": ('{"a": NaN}', "holds the number NaN"),
    "NUL": ('{"a": "b\\u0000"}', r"the text 'b\x00' with the character '\x00'"),
    "half a character": ('{"\\ud800": 1}', r"with the character '\ud800'"),
    "bytes": (b'{"a": "\xff"}', "is not in UTF-8"),
    "large": ("[" + "1," * (17 << 20) + "1]", "has more than 32 MB"),
    "nothing": ("", "Expecting value"),
}


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(work, path):
    """The sentence, which names the file and comes at once."""
    begun = time.process_time()
    with pytest.raises(UserError) as caught:
        work()
    assert time.process_time() - begun < 5
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", YAML)
def test_yaml_at_every_door(tmp_path, case):
    content, part = YAML[case]
    path = put(tmp_path / "x.yaml", content)
    doors = (
        lambda: read_yaml(path, "a YAML file"),
        lambda: check_config_files(["--config", str(path)]),
        lambda: resolve(["--experiment", str(path)]),
        lambda: load_folder_settings(path),
        lambda: read_sweep(path),
    )
    for door in doors:
        assert part in refused(door, path), case


@pytest.mark.parametrize("case", JSON)
def test_json(tmp_path, case):
    content, part = JSON[case]
    with pytest.raises(ValueError, match=r".") as caught:
        read_json(put(tmp_path / "x.json", content))
    assert part in str(caught.value)


@pytest.mark.parametrize("case", ["brackets", "a large number", "NaN", "NUL", "bytes"])
def test_json_at_every_door(tmp_path, case):
    content, _ = JSON[case]
    doors = {
        "given.json": lambda path: read_probabilities(str(path), TWO),
        "scenario_scores.json": read_scores,
        "scenario_scores.jsonl": read_history,
        "wandb_run.json": lambda path: read_tracked(path.parent),
        "trial.json": lambda path: read_trial(path, "remove it"),
        "map.tif.parts/settings.json": lambda path: Workspace(path.parent).settings(),
        "test/test.json": lambda path: read_evaluation(path.parent.parent, "test", DATA),
        "store.json": lambda path: TileStore(path.parent),
    }
    for name, door in doors.items():
        path = put(tmp_path / name, content)
        refused(lambda door=door, path=path: door(path), path)
    put(tmp_path / "model/config.json", content)
    put(tmp_path / "model/model.safetensors", "")
    refused(lambda: from_pretrained(tmp_path / "model"), tmp_path / "model")


def test_what_is_within_bounds_is_read_as_before(tmp_path):
    given = {"a": [1, LARGEST, -LARGEST, 1.5, None, True, "x\ty\n"], "ü": {"b": {"c": []}}}
    assert parse_json(json.dumps(given)) == given
    assert read_yaml(put(tmp_path / "x.yaml", yaml.safe_dump(given)), "") == given
    assert read_yaml(put(tmp_path / "y.yaml", "a: &a {b: 1}\nc: {<<: *a, d: [*a, *a]}"), "")["c"]["d"] == [{"b": 1}] * 2
    assert read_yaml(put(tmp_path / "z.yaml", "\ufeffa: 2020-01-01"), "")["a"].year == 2020


def command(root: str, lists: list[int] | None = None, factor: float = 1.0, scaling: dict[str, str] | None = None):
    """Do nothing."""


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--root", "a", "--lists", "[" * 3000], "64 levels"),
        (["--root", "a", "--lists", f"[1, {10**400}]"], "401 digits"),
        (["--root", "a", "--factor", str(10**400)], "--factor holds a whole number of 401 digits"),
        ([f"--factor={10**400}"], "--factor holds a whole number of 401 digits"),
        (["--root", "a", "--factor", "9" * 6000], "6000 digits"),
        (["--root", "a\0b"], r"--root holds the text 'a\x00b' with the character '\x00'; give another value"),
        (["--root", "a\udcff"], r"--root holds the text 'a\udcff'"),
        (["--root", "a", "--scaling", "{a: &a [x], b: [*a, *a], c: &c [*c]}"], "inside of itself"),
    ],
)
def test_words(words, part, capsys):
    with pytest.raises(SystemExit) as end:
        run(command, "python -m command", words)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert part in said


def test_words_that_are_usual_pass():
    check_words(["--a", "2026-01-01", "--b=[1, 2]", "--c", str(LARGEST), "--d", "0" * 30, "x\ny", "ü/ß.tif"])
    check_config_files(["--config", f"{{model: {{arguments: [{', '.join(['12345'] * 100)}]}}}}"])  # no name of a file


def test_a_bomb_costs_no_memory(tmp_path):
    """Files of a megabyte that would stand for gigabytes, with 64 MB to spare."""
    paths = [put(tmp_path / f"{n}.yaml", content) for n, (content, _) in enumerate(YAML.values())]
    work = [lambda path=path: read_yaml(path, "a YAML file") for path in paths]
    assert {verdict.end for verdict in verdicts(work, 20, memory=64 << 20)} == {"sentence"}


@pytest.mark.parametrize(
    "content",
    [
        b"step,epoch,a\n0,0," + b"1" * 200_000,
        b"step,epoch,a\n" + b"9" * 5000 + b",0,1\n",
        b"step,epoch,a\n" + b"9" * 400 + b",0,1\n",
        b"step,epoch,a\n1,0,1\0\n",
        b"step,epoch,\xff\n1,0,1\n",
        b'step,epoch,a\n1,0,"1\n',
    ],
)
def test_tables_of_metrics(tmp_path, content):
    path = put(tmp_path / "metrics.csv", content)
    for door in (read_curves, read_rows):
        refused(lambda door=door: door(path), path)


@pytest.mark.parametrize("name", ["rgb+rgb", "rgb+dsm+rgb", "dsm + dsm"])
def test_a_modality_twice_is_no_scenario(name):
    with pytest.raises(UserError, match=r"names .*, which is no scenario of rgb, dsm"):
        chosen_scenarios(name, ["rgb", "dsm"], "--scenarios")
    with pytest.raises(UserError, match=r"names .*, which is no scenario of rgb, dsm"):
        read_probabilities({name: 0.5, "dsm": 0.5}, TWO)


def test_names_that_cannot_be_shown_are_shown_as_escapes(capsys):
    from mobanet.cli.entry import fail

    with pytest.raises(SystemExit):
        fail(f"{Path('a')} \x1b[31m\udcff is wrong\nfor it.")
    assert capsys.readouterr().err == "error: a \\x1b[31m\\udcff is wrong for it.\n"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"\\u0007": 1}', '["a\x7f"]', "[99999999999999999999]",
        "[-9223372036854775808]", "[1e999]", "[-1E+999]", "[1e400]", "[" * 66 + "]" * 66, '{"a":' * 65 + "1" + "}" * 65,
        "1e999", "-1e999", " 1e999", "[0, 1e999]", '{"a":1E309}', '{"a": -0.5e+0999}', "[123456789012345678.5e300]",
    ],
)  # fmt: skip
def test_no_short_cut_lets_a_value_through(text):
    with pytest.raises(ValueError, match=r"holds|more than 64 levels"):
        parse_json(text)


def test_values_are_looked_at_one_by_one_only_where_need_be(monkeypatch):
    monkeypatch.setattr("mobanet.plain.json_files.check_values", None)
    given = {"a": [1, -2.5, 12345678901234.5678, 1e-300, 1e22, True, None, "ü"], "3e512a7e9999": {"c": "1e999"}}
    assert parse_json(json.dumps(given, ensure_ascii=False)) == given
