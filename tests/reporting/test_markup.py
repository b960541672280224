from mobanet.reporting.markup import Markup, element, joined, note, pairs, scenario_words, swatch
from tests.reporting.html_tree import parse


def test_text_and_attributes_are_escaped_and_markup_is_not_escaped_twice():
    inner = element("b", "1 < 2")
    made = element("td", inner, "<script>&\"'", title="\"' onload=x <b>")
    node = parse(made).one("td")
    assert node.text == "1 < 2<script>&\"'"
    assert node.one("b").text == "1 < 2"
    assert node.attributes == {"title": "\"' onload=x <b>"}
    assert parse(joined("<i>", made)).all("i") == []


def test_attributes_take_dashes_leave_out_none_and_false_and_may_have_no_value():
    node = parse(element("input", type="radio", checked=True, disabled=False, id=None, aria_label="x", for_="y")).one()
    assert node.attributes == {"type": "radio", "checked": None, "aria-label": "x", "for": "y"}
    assert element("meta", name="a", content=0) == '<meta name="a" content="0"/>'


def test_a_note_sets_what_is_between_grave_accents_as_code():
    node = parse(note("run `mobanet.test <x>` first"))
    assert node.text == "run mobanet.test <x> first"
    assert node.one("code").text == "mobanet.test <x>"


def test_pairs_and_swatches():
    node = parse(joined(pairs([("a<", "b"), ("c", element("i", "d"))]), swatch((1, 2, 3))))
    assert [(d.one("dt").text, d.one("dd").text) for d in node.all("div")] == [("a<", "b"), ("c", "d")]
    assert node.one("span").attributes["style"] == "background:rgb(1,2,3)"
    assert isinstance(swatch((1, 2, 3)), Markup)


def test_a_scenarios_name_may_be_broken_behind_each_plus():
    made = scenario_words("worst (rgb+<ir>+dsm)")
    assert parse(made).text == "worst (rgb+<ir>+dsm)"
    assert made.count("+<wbr/>") == 2
