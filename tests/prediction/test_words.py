"""The words of a command line, where an option takes several."""

import pytest

from mobanet.cli.entry import _explicit_flags, _gathered, run
from mobanet.predict import predict
from mobanet.prepare import prepare


def gathered(text, function=predict):
    return _gathered(text.split(), function)


def test_words_behind_an_option_stand_one_by_one():
    expected = ["--input", '["a=1.tif", "b=2.tif"]', "--output", "c"]
    assert gathered("--input a=1.tif b=2.tif --output c") == expected
    assert gathered("--output c --input a=1.tif b=2.tif") == [*expected[2:], *expected[:2]]
    assert gathered("--input a --output c") == ["--input", '["a"]', "--output", "c"]


def test_an_option_may_come_again():
    assert gathered("--input a=1.tif --output c --input=b=2.tif") == [
        *("--input", '["a=1.tif", "b=2.tif"]'),
        *("--output", "c"),
    ]


def test_lists_in_brackets_are_left_as_they_are():
    for word in ("[a,b]", "['a', 'b']", "[]", "null"):
        assert _gathered(["--input", word, "--output", "c"], predict) == ["--input", word, "--output", "c"]


def test_a_pattern_in_brackets_is_one_of_several():
    assert gathered("--input rgb=a[1].tif dsm=b.tif") == ["--input", '["rgb=a[1].tif", "dsm=b.tif"]']
    assert gathered("--input rgb=a.tif[1,2,3]") == ["--input", '["rgb=a.tif[1,2,3]"]']


def test_other_options_are_left_alone():
    words = ["--ckpt_path", "a=b.ckpt", "--window=64", "--stride", "32", "--turns", "true"]
    assert _gathered(words, predict) == words


def test_an_option_without_a_word_gets_none():
    assert gathered("--input --output c") == ["--input", "--output", "c"]
    assert gathered("--output c --input") == ["--output", "c", "--input"]


def test_negative_numbers_are_words():
    assert gathered("--nodata dsm=-9999 rgb=0") == ["--nodata", '["dsm=-9999", "rgb=0"]']


def test_lists_that_may_be_null():
    assert gathered("--modalities rgb dsm --root x", prepare) == ["--modalities", '["rgb", "dsm"]', "--root", "x"]
    assert gathered("--modalities [rgb,dsm]", prepare) == ["--modalities", "[rgb,dsm]"]
    assert gathered("--modalities null", prepare) == ["--modalities", "null"]


def test_an_equals_sign_begins_a_list_too():
    assert gathered("--input=rgb=a.tif dsm=b.tif --output c") == [
        "--input",
        '["rgb=a.tif", "dsm=b.tif"]',
        "--output",
        "c",
    ]
    assert gathered("--input=rgb=a.tif") == ["--input", '["rgb=a.tif"]']
    assert gathered("--modalities=[rgb,dsm]", prepare) == ["--modalities", "[rgb,dsm]"]


def test_flags_keep_their_place():
    words = ["--turns", "--input", "a", "b", "--resume", "--output", "c"]
    assert _gathered(_explicit_flags(words, predict), predict) == [
        *("--turns=true", "--input", '["a", "b"]', "--resume=true", "--output", "c"),
    ]


def sample(given: list[str], more: list[str] | None = None, name: str = "x", flag: bool = False) -> None:
    """Take some words.

    Args:
        given: several.
        more: several or none.
        name: one.
        flag: yes or no.
    """
    SEEN.append((given, more, name, flag))


SEEN: list = []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--given a b", (["a", "b"], None, "x", False)),
        ("--given a=1 --more b=2 c=3 --flag", (["a=1"], ["b=2", "c=3"], "x", True)),
        ("--flag --given [a,b] --more null --name y", (["a", "b"], None, "y", True)),
        ("--given 1 2.5 true null", (["1", "2.5", "true", "null"], None, "x", False)),
        ("--given a#b a:b {x} ~/c", (["a#b", "a:b", "{x}", "~/c"], None, "x", False)),
    ],
)
def test_the_parser_gets_what_was_typed(text, expected):
    SEEN.clear()
    run(sample, "sample", text.split())
    assert len(SEEN) == 1
    assert SEEN[0] == expected


def test_file_names_with_blanks_and_quotes():
    SEEN.clear()
    run(sample, "sample", ["--given", 'my "best" ortho.tif', "ümläut.tif", "a\\b", "it's"])
    assert SEEN[0][0] == ['my "best" ortho.tif', "ümläut.tif", "a\\b", "it's"]


@pytest.mark.parametrize("words", [["--modalities", "rgb,dsm"], ["--modalities=rgb,dsm"]])
def test_a_comma_in_one_word_is_no_list(words, capsys):
    """Nor is it one name; shells do not tell which was meant."""
    with pytest.raises(SystemExit) as end:
        run(prepare, "prepare", ["--root", ".", *words])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: --modalities cannot be rgb,dsm; give a list such as '[a, b]'")
