from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from mobanet.reporting.markup import Markup, macro, note, render
from tests.reporting.html_tree import parse


def test_what_is_put_into_a_template_is_escaped_and_markup_is_not_escaped_twice():
    inner = Markup("<b>1 &lt; 2</b>")
    text = "<script>&\"'"
    node = parse(macro("parts", "table", f'" onload=x {text}', text, [text], [(text, None)], [[([text], [inner], "")]]))
    assert node.one("div").attributes["aria-label"] == f'" onload=x {text}'
    assert [node.one(name).text for name in ("caption", "td", "b")] == [text, "1 < 2", "1 < 2"]
    assert [head.text for head in node.all("th")] == [text] * 3
    assert node.all("script") == []


def test_a_template_stands_in_one_line_and_takes_no_value_that_is_not_given():
    assert "\n" not in render("summary", sentence=None, untested=None, figures=[("a", "1")])
    with pytest.raises(UndefinedError, match="figures"):
        render("summary", sentence=None, untested=None)


def test_nothing_is_let_through_unescaped():
    found = [file.read_text(encoding="utf-8") for file in files("mobanet.reporting").joinpath("templates").iterdir()]
    assert found
    assert not any(word in text for text in found for word in ("|safe", "| safe", "autoescape"))


def test_a_note_sets_what_is_between_grave_accents_as_code():
    node = parse(note("run `mobanet.test <x>` first"))
    assert node.text == "run mobanet.test <x> first"
    assert node.one("code").text == "mobanet.test <x>"


def test_pairs_and_swatches():
    node = parse(Markup().join([macro("parts", "pairs", [("a<", "b")]), macro("parts", "swatch", (1, 2, 3))]))
    assert [(d.one("dt").text, d.one("dd").text) for d in node.all("div")] == [("a<", "b")]
    assert node.one("span").attributes["style"] == "background:rgb(1,2,3)"


def test_a_scenarios_name_may_be_broken_behind_each_plus():
    made = macro("parts", "scenario", "worst (rgb+<ir>+dsm)")
    assert parse(made).text == "worst (rgb+<ir>+dsm)"
    assert made.count("+<wbr/>") == 2
