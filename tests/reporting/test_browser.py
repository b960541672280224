"""The report in a real browser, on a screen, on a phone, on paper and without a script."""

import contextlib
import json
from dataclasses import replace

import pytest
import torch

from mobanet.evaluation.metrics import scores
from mobanet.evaluation.read_back import Evaluated
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.rasters.contents import Classes
from mobanet.reporting.charts import Chart, Line, charts_of
from mobanet.reporting.confusion_section import confusion_section
from mobanet.reporting.folder import read_folder
from mobanet.reporting.page import Section, page
from mobanet.reporting.pictures import tile_pictures
from mobanet.reporting.scenario_section import scenario_section
from mobanet.reporting.tiles_section import class_legend, tiles_section
from mobanet.reporting.write import write_report
from mobanet.scenarios.scenario import scenarios_of
from tests.reporting.chromium import NAMES, Page, find_browser, start_browser
from tests.reporting.conftest import opened

pytestmark = pytest.mark.skipif(find_browser() is None, reason=f"no browser: none of {', '.join(NAMES)} is on the path")

DESKTOP, PHONE = (1280, 800), (390, 844)


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    return write_report(run, tmp_path_factory.mktemp("browser") / "report of <a> run.html", tiles=6, side=768)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with start_browser(find_browser(), tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def show(browser, report):
    """Opens the report, or another file, in a tab of its own."""
    with contextlib.ExitStack() as tabs:

        def open_page(size=DESKTOP, file=report, **options):
            tab = Page(browser, file, *size, touch=size == PHONE, **options)
            tabs.callback(tab.close)
            return tab

        yield open_page


SPILLING = """[...document.querySelectorAll('td, th, dd, dt, .glance div, .chart, figcaption, .legend li')].filter(e =>
  e.getClientRects().length && e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML)"""
"""Elements whose text is wider than they are."""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_loads_nothing_else_complains_of_nothing_and_fits(size, show):
    tab = show(size)
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    tab.until("[...document.images].filter(i => i.id !== 'enlarged-image').every(i => i.complete)")
    widths = tab.evaluate(
        "Promise.all([...document.querySelectorAll('main img')].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert widths == [160] * 6
    assert [address for address in tab.requests if not address.startswith("data:")] == [tab.address]
    assert tab.complaints == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    outside = tab.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, dialog, .skip, .hidden') &&"
        "e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML)"
    )
    assert outside == []
    assert tab.evaluate(SPILLING) == []


def long_and_many():
    """Figures of fifteen scenarios and classes with long names, as sections of a page."""
    names = ("sentinel2", "sentinel1_descending", "topography", "lidar_intensity")
    words = ("one very long class name of many words", "OneVeryLongClassNameWithoutAnySpaceInItsWholeLength", "x")
    classes = Classes(words, ((1, 1, 1), (200, 200, 200), (9, 99, 9)), averaged=words[:1])
    matrices = {s.name: torch.tensor([[10**9, 5, 7], [12, 10**8, 3], [0, 0, 0]]) for s in scenarios_of(names)}
    results = ScenarioResults(
        scenarios=scenarios_of(names),
        classes=classes,
        scores={name: scores(matrix, classes) for name, matrix in matrices.items()},
        matrices=matrices,
        unmasked=dict.fromkeys(matrices, 3),
        windows=9,
        protocol={"data": "toy"},
    )
    evaluated = Evaluated("test", results, 0)
    lines = [Line(name, [1, 2, 250_000], [1e-5, 2e-5, 1e-4]) for name in matrices]
    charts = charts_of([Chart("t" * 80, "step", lines)])
    parts = {"a": scenario_section(evaluated), "b": confusion_section(evaluated), "c": charts}
    return [Section(key, key, content) for key, content in parts.items()], class_legend(classes)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_many_scenarios_and_long_names_stay_within_the_page(size, show, tmp_path):
    parts, legend = long_and_many()
    file = tmp_path / "long.html"
    file.write_text(page("a_run_" * 20, legend, parts, legend))
    tab = show(size, file=file)
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    tab.click("label.switch")
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert tab.evaluate(SPILLING) == []
    if size == PHONE:
        assert tab.evaluate("[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)")


def test_a_label_of_a_chart_stays_within_its_drawing(show):
    tab = show(PHONE)
    cut = tab.evaluate(
        "[...document.querySelectorAll('.plot')].flatMap(svg => { const box = svg.getBoundingClientRect();"
        "return [...svg.querySelectorAll('text')].filter(t => { const r = t.getBoundingClientRect();"
        "return r.left < box.left - 0.5 || r.right > box.right + 0.5 || r.bottom > box.bottom + 0.5; })"
        ".map(t => t.textContent); })"
    )
    assert cut == []


def name(tab):
    return tab.evaluate("document.getElementById('enlarged-name').textContent")


def is_open(tab):
    return tab.evaluate("document.getElementById('enlarged').open")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_picture_is_enlarged_by_a_click_and_closed_by_escape(size, show):
    tab = show(size)
    assert not is_open(tab)
    tab.click(".enlarge", 3)
    assert is_open(tab)
    assert name(tab) == "truth, tile 2_13 (4 of 6)"
    shown = "document.getElementById('enlarged-image')"
    assert tab.evaluate(f"{shown}.decode().then(() => {shown}.naturalWidth)") == 160
    assert tab.evaluate(f"{shown}.src === document.querySelectorAll('.enlarge img')[3].src")
    assert tab.evaluate(f"{shown}.getBoundingClientRect().width") >= 0.85 * min(size[0], size[1] - 200)
    assert tab.evaluate(f"{shown}.getBoundingClientRect().width") <= size[0]
    tab.press("ArrowRight")
    assert name(tab) == "prediction, tile 2_13 (5 of 6)"
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")
    assert name(tab) == "dsm, tile 2_13 (3 of 6)"
    tab.press("Escape")
    tab.until("!document.getElementById('enlarged').open")
    tab.until("document.activeElement === document.querySelectorAll('.enlarge')[2]")
    assert tab.complaints == []


def test_the_buttons_of_the_enlarged_view_and_the_keyboard_alone(show):
    tab = show()
    tab.evaluate("document.querySelectorAll('.enlarge')[0].focus()")
    tab.press("Enter")
    assert is_open(tab)
    for action, words in {"previous": "error, tile 2_13 (6 of 6)", "next": "rgb, tile 2_13 (1 of 6)"}.items():
        tab.click(f"[data-action={action}]")
        assert name(tab) == words
    image = "document.getElementById('enlarged-image').getBoundingClientRect().width"
    fitted = tab.evaluate(image)
    tab.click("[data-action=zoom]")
    assert tab.evaluate(image) == 160 < fitted
    tab.click("#enlarged-image")
    assert tab.evaluate(image) == fitted
    tab.click("[data-action=close]")
    assert not is_open(tab)


def test_a_swipe_turns_to_the_next_picture(show):
    tab = show(PHONE)
    tab.click(".enlarge", 0)
    tab.swipe((300, 400), (120, 410))
    tab.until("document.getElementById('enlarged-name').textContent.startsWith('ir')")
    tab.swipe((120, 400), (300, 410))
    tab.until("document.getElementById('enlarged-name').textContent.startsWith('rgb')")
    tab.swipe((200, 300), (190, 500))
    assert name(tab).startswith("rgb")


def test_up_and_down_go_to_the_same_picture_of_another_tile(show, run, tmp_path):
    data, classes = opened(run), read_folder(run).data.classes
    (tile,) = data.tiles("test")
    first = tile_pictures(data, tile, run / f"test/maps/{tile.id}.tif", classes, 768)
    second = replace(first, tile="other", pictures=first.pictures[1:])
    parts = [Section("tiles", "Tiles", tiles_section([first, second], classes, []))]
    file = tmp_path / "two.html"
    file.write_text(page("two", class_legend(classes), parts, class_legend(classes)))
    tab = show(file=file)
    tab.click(".enlarge", 1)
    tab.press("ArrowDown")
    assert name(tab) == "dsm, tile other (8 of 11)"
    tab.press("ArrowDown")
    assert name(tab) == "ir, tile 2_13 (2 of 11)"
    tab.press("ArrowUp")
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")
    assert name(tab) == "error, tile 2_13 (6 of 11)"
    tab.press("ArrowDown")  # which has one picture less
    assert name(tab) == "error, tile other (11 of 11)"


VISIBLE = "[...document.querySelectorAll('.matrix')].map(m => m.getClientRects().length > 0)"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_another_scenario_shows_another_confusion_matrix(script, show):
    tab = show(script=script)
    assert tab.evaluate(VISIBLE) == [False] * 6 + [True]
    tab.click(".choice label", 2)
    assert tab.evaluate(VISIBLE) == [False, False, True, False, False, False, False]
    assert tab.evaluate("document.querySelectorAll('.matrix caption')[2].textContent").startswith("dsm:")
    tab.press("ArrowRight")  # the label's radio button has the focus
    assert tab.evaluate(VISIBLE) == [False, False, False, True, False, False, False]
    # a cell with pixels: of none, share and count are both 0
    cell = (
        "[...document.querySelectorAll('.matrix')[3].querySelectorAll('td')].find(t => t.querySelector('.count') && "
        "t.querySelector('.count').textContent !== '0')"
    )
    shown = f"{cell}.innerText"
    share = tab.evaluate(shown)
    tab.click("label.switch")
    count = tab.evaluate(shown)
    assert count != share
    assert count == tab.evaluate(f"{cell}.querySelector('.count').textContent")


CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const blend = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const texts = [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && !e.closest('svg, dialog, .skip, script'));
  return texts.map(e => {
    const grounds = [];
    for (let up = e; up; up = up.parentElement) grounds.unshift(getComputedStyle(up).backgroundColor);
    const ground = blend(grounds), ink = blend([...grounds, getComputedStyle(e).color]);
    const [low, high] = [light(ground), light(ink)].sort((a, b) => a - b);
    return [high / low, e.textContent.trim().slice(0, 60)];
  });
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_stands_out_from_its_ground_in_light_and_in_dark(dark, show):
    tab = show(dark=dark)
    tab.evaluate("document.querySelector('details').open = true")
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is not dark
    for k in range(7):
        tab.click(".choice label", k)
        found = tab.evaluate(CONTRAST)
        assert len(found) > 200
        assert [each for each in found if each[0] < 4.5] == []


def test_on_paper_everything_is_printed_in_ink_on_white(show):
    tab = show(dark=True)
    tab.prefer("dark", "print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate(VISIBLE) == [True] * 7
    hidden = "['nav', '.switch', '.choice > label', 'dialog']"
    assert tab.evaluate(f"{hidden}.every(s => !document.querySelector(s).getClientRects().length)")
    printed = tab.send("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
    assert len(printed) > 50_000


def test_markup_in_names_never_becomes_part_of_the_page(show, run, tmp_path):
    classes = read_folder(run).data.classes
    evil = "<img src=x onerror=\"document.title='taken'\">"
    named = replace(classes, names=(evil, *classes.names[1:]))
    file = tmp_path / "evil.html"
    file.write_text(page(evil, class_legend(named), [Section("a", evil, class_legend(named))], class_legend(named)))
    tab = show(file=file)
    assert tab.evaluate("document.querySelector('h1').textContent") == evil
    assert tab.evaluate("document.images.length") == 1  # the enlarged view's own
    assert tab.evaluate("document.title") == f"{evil} \N{MIDDLE DOT} mobanet run report"
    assert tab.complaints == []


def test_a_script_that_is_not_the_pages_own_does_not_run(show, report, tmp_path):
    file = tmp_path / "tampered.html"
    intruder = "<script>document.title = 'taken'</script><img src='http://127.0.0.1:9/x.png'>"
    file.write_text(report.read_text().replace("</main>", f"</main>{intruder}"))
    tab = show(file=file)
    assert tab.evaluate("document.title") == "run \N{MIDDLE DOT} mobanet run report"
    assert any("Content Security Policy" in json.loads(text)["entry"]["text"] for text in tab.complaints)


def test_nothing_spills_over_on_paper(show):
    tab = show((690, 1000))  # an A4 sheet within its margins
    tab.prefer("light", "print")
    spilling = tab.evaluate(
        "[...document.querySelectorAll('td, th, dd, dt, .glance div')].filter(e => e.getClientRects().length &&"
        "(e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth + 0.5))"
        ".map(e => e.outerHTML)"
    )
    assert spilling == []
