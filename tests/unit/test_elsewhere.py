"""Places elsewhere: what GDAL opens, what messages show, and which single name may be fetched."""

from pathlib import Path

import pytest
import rasterio

from mobanet.errors import UserError
from mobanet.rasters.elsewhere import elsewhere, redacted
from mobanet.rasters.network import fetching

PLACES = [
    ("https://host/a/b.tif", "/vsicurl/https://host/a/b.tif", "https://host/a/b.tif", "b.tif"),
    ("HTTP://host/b.tif", "/vsicurl/http://host/b.tif", "HTTP://host/b.tif", "b.tif"),
    ("https://host:81/b.tif?k=1#x", "/vsicurl/https://host:81/b.tif?k=1#x", "https://host:81/b.tif?…", "b.tif"),
    ("https://me:p@ss@host/b.tif", "/vsicurl/https://me:p@ss@host/b.tif", "https://host/b.tif", "b.tif"),
    ("https://me x:hidden @host/b.tif", "", "https://host/b.tif", "b.tif"),
    ("https://[::1]:81/b.tif", "/vsicurl/https://[::1]:81/b.tif", "https://[::1]:81/b.tif", "b.tif"),
    ("https://host/a b%20c.tif", "/vsicurl/https://host/a%20b%20c.tif", "https://host/a b%20c.tif", "a b c.tif"),
    ("https://host", "/vsicurl/https://host", "https://host", "host"),
    ('https://h/b.tif?q={"k":"hidden !"}', "", "https://h/b.tif?…", "b.tif"),
    ("https:/me:hidden@host/b.tif?k=hidden", "", "https://host/b.tif?…", "b.tif"),  # of a Path
    ("s3:/bucket/a/b.tif", "/vsis3/bucket/a/b.tif", "s3://bucket/a/b.tif", "b.tif"),
    ("s3://bucket/a/b.tif", "/vsis3/bucket/a/b.tif", "s3://bucket/a/b.tif", "b.tif"),
    ("gs://bucket/b.tif", "/vsigs/bucket/b.tif", "gs://bucket/b.tif", "b.tif"),
    ("az://box/b.tif", "/vsiaz/box/b.tif", "az://box/b.tif", "b.tif"),
    ("/vsis3/bucket/b.tif", "/vsis3/bucket/b.tif", "/vsis3/bucket/b.tif", "b.tif"),
    ("/vsicurl?k=hidden&url=https%3A%2F%2Fh%2Fb.tif%3Fk%3Dhidden", "", "/vsicurl/https://h/b.tif?…", "b.tif"),
    ("/vsicurl?k=hidden", "", "/vsicurl?…", "vsicurl"),
    (
        "https://host/a.zip?k=hidden!x/b.tif",
        "/vsizip/{/vsicurl/https://host/a.zip?k=hidden}/x/b.tif",
        "https://host/a.zip?…!x/b.tif",
        "b.tif",
    ),
    (
        "/vsizip/{/vsicurl/https://me:hidden@host/a.zip?k=hidden}/x/b.tif",
        "/vsizip/{/vsicurl/https://me:hidden@host/a.zip?k=hidden}/x/b.tif",
        "/vsizip/{/vsicurl/https://host/a.zip?…}/x/b.tif",
        "b.tif",
    ),
]


@pytest.mark.parametrize(("text", "opens", "shown", "name"), PLACES)
def test_what_is_opened_and_shown(text, opens, shown, name):
    place = elsewhere(text)
    assert place.opens == (opens or place.opens)
    assert (str(place), place.name) == (shown, name)
    for said in (str(place), place.name, repr(place)):
        assert "hidden" not in said


PATHS = ["a.tif", "./a b.tif", "C:/a.tif", "C://a.tif", "/data/a.tif", "a!b.tif", "vsi/a.tif", "x:y"]


@pytest.mark.parametrize("text", PATHS)
def test_paths_are_left_alone(text):
    assert elsewhere(text) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://me:hid/den@host/b.tif", "https://… names no server"),
        ("https://me x:hid den@host:y/b.tif", "https://… names no server"),
        ("https://host:0/b.tif", "names no server"),
        ("https:///b.tif", "names no server"),
        ("https://[/b.tif", "names no server"),
        ("https://host/b\n.tif", "has characters in it that no address has"),
        ("ftp://me:hidden@host/b.tif", "ftp://host/b.tif begins with ftp://, which is not read"),
        ("https://host/a.zip!", "names nothing in the archive"),
    ],
)
def test_what_is_no_address_is_one_sentence(text, told):
    with pytest.raises(UserError) as refused:
        elsewhere(text)
    assert told in str(refused.value)
    assert "hid" not in str(refused.value)


def test_texts_of_others_lose_their_keys():
    text = "GET https://me:hidden@host/a.tif?k=hidden failed: see http://x/y, ftp://u:hidden@z and /vsicurl?a=hidden"
    assert redacted(text) == "GET https://host/a.tif?… failed: see http://x/y, ftp://z and /vsicurl?…"
    assert redacted("a mail to me@host, 3:4, C://x") == "a mail to me@host, 3:4, C://x"


def test_blanks_in_an_address_hide_no_key():
    text = "no https://me:hidden@host/my tiles/a b.tif?k=hidden here, nor in http://z ftp://u:hidden@y/a?k=hidden"
    assert redacted(text) == "no https://host/my tiles/a b.tif?… here, nor in http://z ftp://y/a?…"
    assert str(elsewhere("/vsicurl/https://host/a b.tif?k=hidden")) == "/vsicurl/https://host/a b.tif?…"
    assert redacted("https://x/a is not there: is it b? no") == "https://x/a is not there: is it b? no"


@pytest.mark.parametrize(
    ("text", "fetched"),
    [
        ("https://host/b.tif?k=1", "/vsicurl/https://host/b.tif?k=1"),
        ("s3://bucket/b.tif", "/vsis3/bucket/b.tif"),
        ("https://host/a.zip!b.tif", "/vsicurl/https://host/a.zip"),
        ("/vsizip//vsicurl/https://host/a.zip/x/b.tif", "/vsicurl/https://host/a.zip"),
        ("/vsitar/{/vsis3/bucket/a}/x/b.tif", "/vsis3/bucket/a"),
        ("/vsigzip//vsicurl/https://host/b.tif.gz", "/vsicurl/https://host/b.tif.gz"),
        ("/vsizip/a.zip/b.tif", ""),
    ],
)
def test_one_name_may_be_fetched(text, fetched):
    place = elsewhere(text)
    assert place.fetched == fetched
    assert place.on_network == bool(fetched)


def test_archives_on_this_disk(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    place = elsewhere("a.zip!x/b.tif", tmp_path)
    assert place.opens == f"/vsizip/{{{tmp_path}/a.zip}}/x/b.tif"
    assert (str(place), place.archive, place.on_network) == ("a.zip!x/b.tif", tmp_path / "a.zip", False)
    (tmp_path / "b.zip!c.tif").write_bytes(b"")
    assert elsewhere("b.zip!c.tif", tmp_path) is None
    with pytest.raises(UserError, match=r"c\.zip, of which b\.tif is wanted, does not exist"):
        elsewhere("c.zip!b.tif", tmp_path)
    inner = elsewhere("a.zip!b.zip!c.tif", tmp_path)
    assert inner.opens == f"/vsizip/{{/vsizip/{{{tmp_path}/a.zip}}/b.zip}}/c.tif"
    assert inner.archive == Path(tmp_path / "a.zip")


def test_an_archive_in_gdals_own_words_is_known(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    for text in (
        f"/vsizip/{tmp_path}/a.zip/x/b.tif",
        f"/vsizip/{{{tmp_path}/a.zip}}/b.tif",
        f"/vsigzip/{tmp_path}/a.zip",
    ):
        assert elsewhere(text).archive == tmp_path / "a.zip"
    for text in ("/vsizip//vsicurl/https://host/a.zip/b.tif", "/vsizip/absent.zip/b.tif", "/vsimem/a.tif"):
        assert elsewhere(text).archive is None


def test_requests_are_tried_again_as_the_user_says_or_else_three_times(monkeypatch):
    place = elsewhere("https://host/a.tif")
    for name in ("GDAL_HTTP_MAX_RETRY", "GDAL_HTTP_CONNECTTIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    usual = fetching(place)
    assert (usual["GDAL_HTTP_MAX_RETRY"], usual["GDAL_HTTP_CONNECTTIMEOUT"]) == ("3", "20")
    assert usual["CPL_VSIL_CURL_ALLOWED_FILENAME"] == "/vsicurl/https://host/a.tif"
    assert usual["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    with rasterio.Env(GDAL_HTTP_CONNECTTIMEOUT="1"):
        assert not {"GDAL_HTTP_MAX_RETRY", "GDAL_HTTP_CONNECTTIMEOUT"} & fetching(place).keys()
