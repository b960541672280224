import numpy as np

from mobanet.evaluation.window_maps import WindowMaps
from mobanet.figures.predictions import RIGHT, WRONG
from mobanet.figures.windows import share_right, varied_windows, window_figure
from mobanet.rasters.contents import IGNORE_INDEX, Classes, Modality

CLASSES = Classes(("road", "house"), ((255, 255, 255), (0, 0, 255)), averaged=("road", "house"))
MODALITIES = {
    "rgb": Modality("rgb", ("r", "g", "b")),
    "ir": Modality("ir", ("i",)),
    "dsm": Modality("dsm", ("z",), kind="elevation", unit="metre"),
}
TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, IGNORE_INDEX]], np.uint8)
FLAT, EXACT = np.zeros((2, 4), np.uint8), np.array([[0, 0, 1, 1], [0, 0, 1, 0]], np.uint8)


def drawn(predictions, modalities=("rgb", "dsm"), truth=TRUTH):
    generator = np.random.default_rng(0)
    inputs = {name: generator.random((*truth.shape, len(MODALITIES[name].bands))) for name in modalities}
    return window_figure(WindowMaps("7", inputs, truth, predictions), MODALITIES, CLASSES, "tile 7")


def pictures(figure):
    """Titles and pictures, row by row; places that are left empty are left out."""
    rows = {}
    for axis in figure.axes:
        if axis.images:
            row = axis.get_subplotspec().rowspan.start
            rows.setdefault(row, []).append((axis.get_title(), axis.images[0].get_array()))
    return [rows[row] for row in sorted(rows)]


def test_each_scenario_has_its_prediction_with_the_share_of_right_pixels_above_its_errors():
    figure = drawn({"rgb": FLAT, "dsm": FLAT, "rgb+dsm": EXACT})
    inputs, predictions, wrong = pictures(figure)
    assert [title for title, _ in inputs] == ["rgb", "dsm", "truth"]
    assert [title for title, _ in predictions] == ["rgb\n57.1 % right", "dsm\n57.1 % right", "rgb+dsm\n100.0 % right"]
    np.testing.assert_array_equal(inputs[2][1][0], [[255] * 3, [255] * 3, [0, 0, 255], [0, 0, 255]])
    assert inputs[2][1][1, 3].tolist() == [0, 0, 0]  # ignored
    assert (predictions[0][1] == 255).all()
    np.testing.assert_array_equal(wrong[0][1], [[RIGHT, RIGHT, WRONG, WRONG], [RIGHT, RIGHT, WRONG, (0, 0, 0)]])
    np.testing.assert_array_equal(wrong[2][1], [[RIGHT] * 4, [RIGHT, RIGHT, RIGHT, (0, 0, 0)]])
    assert figure.get_suptitle() == "tile 7"


def test_the_legend_has_every_colour():
    figure = drawn({"rgb": FLAT})
    (legend,) = figure.legends
    named = dict(zip([text.get_text() for text in legend.get_texts()], legend.get_patches(), strict=True))
    colours = {name: tuple(round(255 * c) for c in patch.get_facecolor()[:3]) for name, patch in named.items()}
    expected = {"road": (255, 255, 255), "house": (0, 0, 255), "ignored": (0, 0, 0), "right": RIGHT, "wrong": WRONG}
    assert colours == expected


def test_seven_scenarios_of_three_modalities_take_two_blocks_and_the_full_one_is_last():
    names = ["rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm", "rgb+ir+dsm"]
    figure = drawn(dict.fromkeys(names, EXACT), ("rgb", "ir", "dsm"))
    rows = pictures(figure)
    assert [len(row) for row in rows] == [4, 4, 4, 3, 3]
    titles = [title.split("\n")[0] for row in (rows[1], rows[3]) for title, _ in row]
    assert titles == names
    figure.canvas.draw()  # what is laid out does not collide or fall off the page
    width, height = figure.canvas.get_width_height()
    for axis in figure.axes:
        box = axis.get_tightbbox()
        assert axis.images == [] or (box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height)


def test_one_modality_has_one_scenario():
    inputs, predictions, wrong = pictures(drawn({"dsm": EXACT}, ("dsm",)))
    assert (len(inputs), len(predictions), len(wrong)) == (2, 1, 1)


def test_a_window_without_truth_has_no_share():
    ignored = np.full_like(TRUTH, IGNORE_INDEX)
    assert np.isnan(share_right(ignored, EXACT))
    _, predictions, wrong = pictures(drawn({"rgb": EXACT}, truth=ignored))
    assert predictions[0][0] == "rgb\nno truth"
    assert (wrong[0][1] == 0).all()


def windows(*labels):
    return [{"label": np.array(label, np.uint8)} for label in labels]


def test_the_most_varied_window_has_the_most_classes_and_of_several_the_most_even_ones():
    x = IGNORE_INDEX
    assert varied_windows(windows([0, 0, x, x], [0, 1, 2, x], [0, 1, x, x])) == [1]
    assert varied_windows(windows([0, 0, 0, 1], [0, 0, 1, 1], [x, x, x, x])) == [1]
    assert varied_windows(windows([x, x], [x, 0])) == [1]
    assert varied_windows(windows([x, x])) == [0]


def test_several_windows_are_of_different_tiles_as_long_as_there_are_tiles():
    given = windows([0, 1, 2], [0, 1, 1], [0, 0, 0], [0, 0, 1])
    for window, tile in zip(given, "aaab", strict=True):
        window["tile"] = tile
    assert varied_windows(given, 2) == [0, 3]
    assert varied_windows(given, 3) == [0, 3, 1]
    assert varied_windows(given, 9) == [0, 3, 1, 2]


def test_of_many_windows_only_some_are_looked_at():
    class Counting(list):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    seen = []
    many = Counting(windows(*([0, 0] for _ in range(101))))
    many[40]["label"][1] = 1
    seen.clear()
    assert varied_windows(many, most=10) == [0]  # 40 is not among them
    assert seen == list(range(0, 101, 11))
    many[44]["label"][1] = 1
    assert varied_windows(many, most=10) == [44]
