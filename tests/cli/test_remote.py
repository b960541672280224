"""Rasters where they lie: on a server on this machine, in archives, behind virtual rasters."""

import json
import re
import shutil
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.env import getenv
from rasterio.transform import from_origin

import mobanet
from mobanet.check import main as check
from mobanet.datasets import get_layout
from mobanet.datasets.folder_words import parsed_settings
from mobanet.errors import UserError
from mobanet.predict import main, predict
from mobanet.prediction.request import find_scenes
from mobanet.prediction.rows import RasterRows
from mobanet.prepare import main as prepare
from mobanet.rasters.contents import FileRef
from mobanet.rasters.opening import opened
from mobanet.report import main as report
from mobanet.store.build import build_store
from mobanet.store.stored import TileStore
from tests.cli.conftest import ROOT, start, wait
from tests.cli.test_own_data import described, experiment_of
from tests.cli.test_predict import copy_with, files_of, model, read
from tests.data_files.fake_files import load
from tests.file_server import serve
from tests.prediction.conftest import MODALITIES, placed, sentence

__all__ = ["model"]

OPTIONS = {"preset": "test", "stride": 64, "accelerator": "cpu"}
WORDS = ("--preset", "test", "--stride", "64", "--accelerator", "cpu")
SECRET = "X-Amz-Signature=0123hidden"


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory) -> Path:
    """The rasters of a tile under short names, with their place in themselves, and an infrared band of a district."""
    folder = tmp_path_factory.mktemp("served")
    for name, path in files_of(prepared).items():
        copy_with(path.removesuffix("[4]"), folder / f"{'rgbir' if name == 'ir' else name}.tif", crs="EPSG:32633")
    with rasterio.open(folder / "rgb.tif") as raster:
        size, left, top = raster.transform.a, raster.transform.c, raster.transform.f
    place = from_origin(left - 900 * size, top + 900 * size, size, size)
    kinds = {"driver": "COG", "compress": "deflate", "blocksize": 128, "overviews": "NONE"}
    profile = {"count": 1, "height": 2048, "width": 2048, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(folder / "district.tif", "w", transform=place, **profile, **kinds) as raster:
        raster.write(np.random.default_rng(2).integers(0, 200, (1, 2048, 2048), np.uint8))
    return folder


@pytest.fixture
def server(folder, monkeypatch):
    """Gives the rasters out; nobody waits for one that does not answer, nor asks twice."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    server, http = serve(folder)
    yield server
    http.shutdown()
    http.server_close()


def served(server) -> dict[str, str]:
    return {"rgb": server.url("rgb.tif"), "ir": server.url("rgbir.tif[4]"), "dsm": server.url("dsm.tif")}


def test_maps_of_rasters_on_a_server_are_those_of_files(model, folder, server, tmp_path):
    files = {"rgb": f"{folder}/rgb.tif", "ir": f"{folder}/rgbir.tif[4]", "dsm": f"{folder}/dsm.tif"}
    predict(str(model), files, str(tmp_path / "here.tif"), **OPTIONS, confidence="uint8")
    predict(str(model), served(server), str(tmp_path / "there.tif"), **OPTIONS, confidence="uint8")
    assert len(np.unique(read(tmp_path / "here.tif"))) >= 3
    for name in ("{}.tif", "{}_confidence.tif"):
        here, there = (tmp_path / name.format(place) for place in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()
    assert any(range_ for _, _, range_ in server.asked)


def test_each_byte_is_fetched_about_once(model, folder, server, tmp_path):
    predict(str(model), served(server), str(tmp_path / "map.tif"), **OPTIONS)
    size = sum((folder / f"{name}.tif").stat().st_size for name in ("rgb", "rgbir", "dsm"))
    assert 0.5 * size < server.sent < 1.2 * size


def test_a_part_of_a_large_raster_is_read_in_part(model, folder, server, tmp_path, command):
    """The infrared of a district beside the orthophoto of a place in it: blocks of the place are fetched."""
    words = ["--input", f"rgb={server.url('rgb.tif')}", f"ir={server.url('district.tif')}"]
    ended = command(main, ["--ckpt_path", str(model), "--output", f"{tmp_path}/map.tif", *words, *WORDS])
    assert ended.code == 0, ended.err
    assert 0 < server.sent - (folder / "rgb.tif").stat().st_size < 0.1 * (folder / "district.tif").stat().st_size
    here = {"rgb": f"{folder}/rgb.tif", "ir": f"{folder}/district.tif"}
    predict(str(model), here, str(tmp_path / "here.tif"), **OPTIONS)
    assert (tmp_path / "here.tif").read_bytes() == (tmp_path / "map.tif").read_bytes()


def test_gdal_keeps_a_row_of_blocks_of_each_raster_that_is_fetched(folder, server):
    """Chunks of rows cut blocks, and what GDAL does not keep is fetched twice."""

    def kept(**rasters):
        scene = placed(
            **{name: find_scenes({name: path}, list(MODALITIES))[0].rasters[name] for name, path in rasters.items()}
        )
        with ExitStack() as stack:
            for raster in scene.rasters.values():
                stack.enter_context(RasterRows(raster))
            return getenv()["GDAL_CACHEMAX"]

    here = kept(rgb=f"{folder}/rgb.tif", dsm=f"{folder}/dsm.tif")
    there = {"rgb": server.url("rgb.tif"), "dsm": server.url("dsm.tif")}
    assert kept(rgb=there["rgb"]) == here + 160 * 512 * 3
    assert kept(**there) == here + 160 * 512 * (3 + 4)
    assert kept(rgb=there["rgb"], dsm=f"{folder}/dsm.tif") == here + 160 * 512 * 3


def test_what_is_measured_is_fetched_once(model, folder, server, tmp_path, monkeypatch):
    """Heights above the ground are read twice: rows of the first time are kept until the map is there."""
    read_again, put = [], []
    load, save = np.load, np.savez
    monkeypatch.setattr(np, "savez", lambda file, **arrays: put.append(file.name) or save(file, **arrays))
    monkeypatch.setattr(np, "load", lambda file, **kinds: read_again.append(str(file)) or load(file, **kinds))
    predict(str(model), served(server), str(tmp_path / "there.tif"), **OPTIONS)
    (kept,) = {path for path in read_again if "fetched" in path}
    assert kept == f"{tmp_path}/there.tif.fetched/dsm/00000.npz"
    assert [path.partition(".npz")[0] for path in put if "fetched" in path] == [kept.removesuffix(".npz")]
    assert sorted(path.name for path in tmp_path.iterdir() if "there" in path.name and path.is_dir()) == []
    read_again.clear()
    files = {"rgb": f"{folder}/rgb.tif", "ir": f"{folder}/rgbir.tif[4]", "dsm": f"{folder}/dsm.tif"}
    predict(str(model), files, str(tmp_path / "here.tif"), **OPTIONS)
    assert not any("fetched" in path for path in read_again)
    assert (tmp_path / "here.tif").read_bytes() == (tmp_path / "there.tif").read_bytes()


def test_in_python_a_url_is_a_path(model, folder, server):
    loaded = mobanet.load(model)
    here = loaded.predict(rgb=folder / "rgb.tif", dsm=str(folder / "dsm.tif"), accelerator="cpu")
    there = loaded.predict(rgb=Path(server.url("rgb.tif")), dsm=server.url("dsm.tif"), accelerator="cpu")
    assert np.array_equal(here.classes, there.classes)
    assert np.array_equal(here.confidence, there.confidence, equal_nan=True)


BUCKETS = {
    "s3": {"AWS_S3_ENDPOINT": "{}", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES"},
    "gs": {"CPL_GS_ENDPOINT": "http://{}/", "GS_NO_SIGN_REQUEST": "YES"},
    "az": {
        "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=me;AccountKey=bXk=;"
        "BlobEndpoint=http://{}",
    },
}


@pytest.mark.parametrize("scheme", BUCKETS)
def test_buckets_are_read_by_gdals_own_settings(scheme, model, folder, server, tmp_path, monkeypatch, command):
    for key, value in BUCKETS[scheme].items():
        monkeypatch.setenv(key, value.format(f"127.0.0.1:{server.port}"))
    place = folder / f"{scheme}_bucket/deep"
    place.mkdir(parents=True)
    shutil.copyfile(folder / "rgb.tif", place / "rgb.tif")
    words = ["--ckpt_path", str(model), "--output", f"{tmp_path}/map.tif", *WORDS]
    ended = command(main, [*words, "--input", f"rgb={scheme}://{scheme}_bucket/deep/rgb.tif"])
    assert ended.code == 0, ended.err
    predict(str(model), {"rgb": f"{folder}/rgb.tif"}, str(tmp_path / "here.tif"), **OPTIONS)
    assert (tmp_path / "map.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()
    said = command(main, [*words, "--input", f"rgb={scheme}://{scheme}_bucket/deep/absent.tif"]).sentence()
    assert f"{scheme}://{scheme}_bucket/deep/absent.tif is not there (404), or not for these keys" in said
    said = command(main, [*words, "--input", f"rgb={scheme}://403/deep/absent.tif"]).sentence()
    assert "is refused by its server: give GDAL the keys in the environment" in said


def test_without_keys_a_bucket_is_refused_in_a_sentence(model, tmp_path, monkeypatch, command):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_AWS_EC2_API_ROOT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["--ckpt_path", str(model), "--input", "rgb=s3://bucket/rgb.tif", "--output", f"{tmp_path}/map.tif"]
    assert "is refused by its server: give GDAL the keys" in command(main, words).sentence()


def test_what_has_changed_at_a_url_is_read_anew(model, folder, server, tmp_path):
    loaded, path = mobanet.load(model), folder / "changing.tif"
    shutil.copyfile(folder / "rgb.tif", path)
    before = loaded.predict(rgb=server.url("changing.tif"), accelerator="cpu")
    copy_with(folder / "rgb.tif", path, lambda values: 255 - values)
    after = loaded.predict(rgb=server.url("changing.tif"), accelerator="cpu")
    assert np.array_equal(after.classes, loaded.predict(rgb=path, accelerator="cpu").classes)
    assert not np.array_equal(before.classes, after.classes)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("403/rgb.tif", "is refused by its server: give GDAL the keys in the environment"),
        ("401/rgb.tif", "is refused by its server"),
        ("404/rgb.tif", "is not there (404): check the address"),
        ("absent.tif", "is not there (404)"),
        ("503/rgb.tif", "is not given out by its server, which fails or is too busy: try again later"),
        ("whole/district.tif", "knows no range requests: download it, and give the file"),
        ("slow/rgb.tif", "is not answered in time: try again, or wait longer with GDAL_HTTP_CONNECTTIMEOUT"),
        ("page.tif", "is no raster that is read, perhaps a page to log in at"),
        ("cut.tif", "cannot be read"),
    ],
)
def test_what_a_server_does_not_give_is_one_sentence_without_keys(
    address, told, model, folder, server, tmp_path, command
):
    (folder / "page.tif").write_text("<html><body>please log in</body></html>" * 30)
    (folder / "cut.tif").write_bytes((folder / "rgb.tif").read_bytes()[:30_000])
    url = f"{server.url(address, 'me:hidden@')}?{SECRET}"
    ended = command(
        main, ["--ckpt_path", str(model), "--input", f"rgb={url}", "--output", f"{tmp_path}/map.tif", *WORDS]
    )
    said = sentence(ended)
    assert told in said
    assert f"{server.url(address)}?…" in said
    assert "hidden" not in ended.err + ended.out
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://nowhere.invalid/rgb.tif?key=hidden", "no server of that name is found: check name and network"),
        ("http://127.0.0.1:1/rgb.tif?key=hidden", "its server refuses the connection: check host, port and network"),
        ("https:///rgb.tif?key=hidden", "names no server: write it as https://HOST/PATH"),
        ("ftp://127.0.0.1/rgb.tif?key=hidden", "begins with ftp://, which is not read: give a path or one of http://"),
        ("http://127.0.0.1:1/*.tif[0]?key=hidden", "its server refuses the connection"),
        ("http://127.0.0.1:1/a.tif?key=hidden[0]", "bands are counted from 1"),
        ("/vsicurl?url=http%3A%2F%2F127.0.0.1%3A1%2Fa.tif&header.Authorization=hidden", "refuses the connection"),
    ],
)
def test_what_has_no_server_is_one_sentence_without_keys(url, told, model, monkeypatch, tmp_path, command):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ended = command(main, ["--ckpt_path", str(model), "--input", f"rgb={url}", "--output", f"{tmp_path}/map.tif"])
    assert told in ended.sentence()
    assert "hidden" not in ended.err + ended.out


def test_a_signature_that_holds_for_get_alone_is_enough(model, server, tmp_path):
    predict(str(model), {"rgb": f"{server.url('get/rgb.tif')}?sig=0123"}, str(tmp_path / "map.tif"), **OPTIONS)
    assert {method for method, _, _ in server.asked} == {"GET"}


def test_nothing_that_gdal_logs_holds_a_key(model, server, tmp_path):
    """In a process of its own, whose standard error nobody has set up."""
    addresses = ("404/rgb.tif", "page.tif", "whole/district.tif", "cut.tif")
    script = "import os, traceback, mobanet\nmodel = mobanet.load(os.environ['MODEL'])\n"
    script += "for url in os.environ['URLS'].split():\n    try:\n        model.predict(rgb=url, accelerator='cpu')\n"
    script += "    except mobanet.errors.UserError:\n        traceback.print_exc()\n"
    (tmp_path / "script.py").write_text(script)
    urls = " ".join(f"{server.url(address, 'me:hidden@')}?{SECRET}" for address in addresses)
    given = {"MODEL": str(model), "URLS": urls, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    ended = wait(start("script", folder=tmp_path, **given))
    assert ended.code == 0, ended.err
    for address in addresses:
        assert f"mobanet.errors.UserError: {server.url(address)}?…" in ended.err
    assert "hidden" not in ended.err + ended.out


def test_no_key_is_written_anywhere(model, server, tmp_path, command):
    url = f"{server.url('login/rgb.tif', 'me:hidden@')}?{SECRET}"
    words = ["--ckpt_path", str(model), "--input", f"rgb={url}", f"dsm={server.url('dsm.tif')}?{SECRET}"]
    ended = command(main, [*words, "--output", f"{tmp_path}/map.tif", *WORDS, "--scenarios", "--polygons"])
    assert ended.code == 0, ended.err
    assert "map.tif: 160 x 160" in ended.out
    told = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(told) >= 3
    for path in told:
        assert b"hidden" not in path.read_bytes(), path
    assert "hidden" not in ended.out + ended.err
    with rasterio.open(tmp_path / "map.tif") as raster:
        assert '"rgb": "rgb.tif"' in raster.tags()["mobanet_inputs"]


@pytest.mark.parametrize("how", ["", "bare/"])
def test_what_a_server_breaks_off_is_gone_on_with_unless_it_has_changed(
    how, model, folder, server, tmp_path, monkeypatch, command
):
    path = folder / "long.tif"
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    copy_with(folder / "rgb.tif", path, lambda values: np.tile(values, (1, 8, 2)), **tiled)
    monkeypatch.setattr("mobanet.prediction.plan.STRIP", 32)
    words = ["--ckpt_path", str(model), "--input", f"rgb={server.url(f'{how}long.tif')}", "--batch_size", "1", *WORDS]
    words += ["--output", f"{tmp_path}/map.tif"]
    server.fails_after = path.stat().st_size // 2
    said = sentence(command(main, words))
    assert "what is finished stays, and --resume goes on with it" in said
    parts = tmp_path / "map.tif.parts"
    assert len(list(parts.glob("*.npz"))) >= 3
    server.fails_after = None
    assert "go on with --resume" in sentence(command(main, words))
    kept = path.read_bytes()
    copy_with(path, path, lambda values: 255 - values // 2, **tiled)
    said = sentence(command(main, [*words, "--resume"]))
    assert re.search(r"was begun with another --input rgb \(.*now ", said)
    if not how:
        return  # what came back would have another time
    path.write_bytes(kept)
    ended = command(main, [*words, "--resume"])
    assert ended.code == 0, ended.err
    predict(str(model), {"rgb": str(path)}, str(tmp_path / "here.tif"), **OPTIONS, batch_size=1)
    assert (tmp_path / "here.tif").read_bytes() == (tmp_path / "map.tif").read_bytes()


def test_members_of_archives_are_read_in_place(model, folder, server, tmp_path):
    predict(str(model), {"rgb": f"{folder}/rgb.tif"}, str(tmp_path / "plain.tif"), **OPTIONS)
    with zipfile.ZipFile(folder / "delivery.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "rgb.tif", "ortho photos/rgb.tif")
    whole = folder / "delivery.zip"
    given = (f"{whole}!ortho photos/rgb.tif", f"{server.url('delivery.zip')}!ortho photos/rgb.tif")
    given += (
        f"/vsizip/{whole}/ortho photos/rgb.tif",
        f"/vsizip//vsicurl/{server.url('delivery.zip')}/ortho photos/rgb.tif",
    )
    for number, path in enumerate(given):
        predict(str(model), {"rgb": path}, str(tmp_path / f"{number}.tif"), **OPTIONS)
        assert (tmp_path / f"{number}.tif").read_bytes() == (tmp_path / "plain.tif").read_bytes()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("delivery.zip", "delivery.zip is an archive; name a raster in it, as delivery.zip!FOLDER/RASTER.tif"),
        ("delivery.zip!absent.tif", "delivery.zip!absent.tif is unreadable or cut short"),
        ("delivery.zip!", "names nothing in the archive"),
        ("absent.zip!rgb.tif", "absent.zip, of which rgb.tif is wanted, does not exist"),
        ("delivery.zip!mosaic.vrt", "is a virtual raster, whose names lead nowhere in an archive: unpack the archive"),
        ("delivery.zip!hidden.tif", "is unreadable or cut short"),
    ],
)
def test_what_an_archive_does_not_have_is_one_sentence(path, told, model, folder, server, tmp_path, command):
    with zipfile.ZipFile(tmp_path / "delivery.zip", "w") as archive:
        archive.write(folder / "rgb.tif", "rgb.tif")
        for name in ("mosaic.vrt", "hidden.tif"):
            archive.writestr(name, virtual(server.url("rgb.tif")))
    words = ["--ckpt_path", str(model), "--input", f"rgb={tmp_path}/{path}", "--output", f"{tmp_path}/map.tif"]
    assert told in command(main, words).sentence()
    assert server.asked == []


def virtual(source, relative=0, tag="SourceFilename"):
    """A virtual raster of 160 x 160 pixels that names another."""
    band = (
        f'<VRTRasterBand dataType="Byte" band="{{}}"><SimpleSource><{tag} relativeToVRT="{relative}">{source}</{tag}>'
        "<SourceBand>{}</SourceBand></SimpleSource></VRTRasterBand>"
    )
    bands = "".join(band.format(number, number) for number in (1, 2, 3))
    return f'<VRTDataset rasterXSize="160" rasterYSize="160">{bands}</VRTDataset>'


def test_a_virtual_raster_on_a_server_shows_what_lies_beside_it(model, folder, server, tmp_path, command):
    (folder / "mosaic.vrt").write_text(virtual("rgb.tif", relative=1))
    predict(str(model), {"rgb": server.url("mosaic.vrt")}, str(tmp_path / "there.tif"), **OPTIONS)
    predict(str(model), {"rgb": f"{folder}/mosaic.vrt"}, str(tmp_path / "here.tif"), **OPTIONS)
    assert (tmp_path / "here.tif").read_bytes() == (tmp_path / "there.tif").read_bytes()
    other, http = serve(folder)
    leading = {
        f"/vsicurl/{other.url('rgb.tif')}": "on another server: give that address itself",
        other.url("rgb.tif"): "on another server",
        f"{folder}/rgb.tif": "may name rasters beside it only",
        "/etc/hostname": "may name rasters beside it only",
    }
    for number, (source, told) in enumerate(leading.items()):
        (folder / f"{number}.vrt").write_text(virtual(source))
        words = ["--input", f"rgb={server.url(f'{number}.vrt')}", "--output", f"{tmp_path}/map.tif"]
        assert told in command(main, ["--ckpt_path", str(model), *words]).sentence()
    assert other.asked == []
    http.shutdown()
    http.server_close()


SERVICE = """<GDAL_WMS><Service name="TMS"><ServerUrl>{}/${{z}}/${{x}}/${{y}}.tif</ServerUrl></Service><DataWindow>
<UpperLeftX>0</UpperLeftX><UpperLeftY>160</UpperLeftY><LowerRightX>160</LowerRightX><LowerRightY>0</LowerRightY>
<TileLevel>0</TileLevel><SizeX>160</SizeX><SizeY>160</SizeY></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>"""
WARPED = """<VRTDataset rasterXSize="160" rasterYSize="160" subClass="VRTWarpedDataset"><VRTRasterBand dataType="Byte"
band="1" subClass="VRTWarpedRasterBand"/><GDALWarpOptions><SourceDataset>{}</SourceDataset></GDALWarpOptions>
</VRTDataset>"""


def test_what_a_virtual_raster_says_to_its_readers_may_have_links(model, folder, tmp_path):
    said = '<!-- of https://host --><Description>see https://host/about</Description><SRS a="1">https://host/4326</SRS>'
    metadata = '<Metadata><MDI key="source">https://host/rgb.tif</MDI></Metadata>'
    text = virtual(f"{folder}/rgb.tif").replace("<SimpleSource>", f"{said}<SimpleSource>", 1)
    (tmp_path / "m.vrt").write_text(text.replace("<VRTRasterBand", f"{metadata}<VRTRasterBand", 1))
    predict(str(model), {"rgb": f"{tmp_path}/m.vrt"}, str(tmp_path / "map.tif"), **OPTIONS)
    assert read(tmp_path / "map.tif").shape == (160, 160)


def _oddly(source, more):
    """A virtual raster that names another, with something more in the mark in front of the name."""
    return virtual(source, relative=1).replace('relativeToVRT="1"', f'relativeToVRT="1" {more}')


def hiding(kind, folder, server):
    """A file that leads to a server; its name, and what is said of it."""
    url, network = server.url("rgb.tif"), "where a file may not lead to the network"
    files = {
        "curl": ("m.vrt", virtual(f"/vsicurl/{url}"), network),
        "plain": ("m.vrt", virtual(url), network),
        "escaped": ("m.vrt", virtual(f"&#104;ttp{url[4:]}"), network),
        "quoted": ("m.vrt", virtual(f"<![CDATA[{url}]]>"), network),
        "warped": ("m.vrt", WARPED.format(url), network),
        "attribute": (
            "m.vrt",
            virtual("x").replace("<SimpleSource>", f'<SimpleSource SourceFilename="{url}">'),
            network,
        ),
        "by content": ("m.tif", virtual(url), network),
        "inline": ("m.vrt", virtual("&lt;VRTDataset&gt;"), network),
        "service": ("m.tif", SERVICE.format(server.url("")), "describes a service"),
        "service behind": ("m.vrt", virtual("service.xml", relative=1), "describes a service"),
        "another behind": ("m.vrt", virtual("inner.vrt", relative=1), network),
        # what GDAL's parser takes beside XML
        "comment in quotes": ("m.vrt", _oddly(url, 'x="<!--"').replace("</VRTD", "<!-- --></VRTD"), network),
        "remark in quotes": ("m.vrt", _oddly(url, 'x="<Description>"'), network),
        "archive": ("m.vrt", virtual(f"/vsizip/{folder}/a.zip/service.xml"), "rasters by their paths only"),
        "archive beside": (
            "m.vrt",
            virtual("/vsizip/{{a.zip}}/service.xml", relative=1),
            "rasters by their paths only",
        ),
        "part": ("m.vrt", virtual(f"/vsisubfile/0,{folder}/service.xml"), "rasters by their paths only"),
        "derived": ("m.vrt", virtual(f"DERIVED_SUBDATASET:AMPLITUDE:{folder}/service.xml"), network),
        "behind words": ("m.vrt", f"words {virtual(url)}", network),
        **{
            f"{kind} behind": ("m.vrt", _oddly(name, more).replace(old, new), "describes a service")
            for kind, name, more, old, new in (
                ("without quotes", "service.xml", "", '"1"', "1"),
                ("in small letters", "service.xml", "", "SourceFilename", "sourcefilename"),
                ("in capitals", "service.xml", "", "relativeToVRT", "RELATIVETOVRT"),
                ("numbered", "service.xml", "", '"1"', '"01"'),
                ("a mark in quotes", "service.xml", 'x="a>b"', "", ""),
                ("another mark in quotes", "service.xml", 'x="<b"', "", ""),
                ("an end of a quotation", "service.xml", "x=a]]", "", ""),
                ("a blank at the end", "blank.xml ", "", "", ""),
                ("a mark in the name", "<![CDATA[a<b.xml]]>", "", "", ""),
                ("words", "words.xml", "", "", ""),
            )
        },
    }
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("service.xml", SERVICE.format(server.url("")))
    (folder / "blank.xml ").write_text(SERVICE.format(server.url("")))
    (folder / "a<b.xml").write_text(SERVICE.format(server.url("")))
    tiles = f"<GDALTileIndexDataset><IndexDataset>{server.url('index.gpkg')}</IndexDataset></GDALTileIndexDataset>"
    (folder / "words.xml").write_text(f"words {tiles}")
    (folder / "service.xml").write_text(SERVICE.format(server.url("")))
    (folder / "inner.vrt").write_text(virtual(url))
    name, content, told = files[kind]
    (folder / name).write_text(content)
    return folder / name, told


KINDS = ["curl", "plain", "escaped", "quoted", "warped", "attribute", "by content", "inline"]
ODD = [
    "archive",
    "archive beside",
    "part",
    "derived",
    "comment in quotes",
    "remark in quotes",
    "behind words",
    "without quotes behind",
    "in small letters behind",
]
ODD += ["in capitals behind", "numbered behind", "a mark in quotes behind", "another mark in quotes behind"]
ODD += ["an end of a quotation behind", "a blank at the end behind", "a mark in the name behind", "words behind"]


@pytest.mark.parametrize("kind", [*KINDS, "service", "service behind", "another behind"])
def test_no_file_leads_to_the_network(kind, model, server, tmp_path, command):
    path, told = hiding(kind, tmp_path, server)
    words = ["--ckpt_path", str(model), "--input", f"rgb={path}", "--output", f"{tmp_path}/map.tif"]
    assert told in command(main, words).sentence()
    assert server.asked == []


@pytest.mark.parametrize("kind", ODD)
def test_no_file_leads_to_the_network_by_what_only_gdal_reads(kind, server, tmp_path, monkeypatch):
    path, told = hiding(kind, tmp_path, server)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told), opened(path, FileRef(path)) as raster:
        raster.read()
    assert server.asked == []


@pytest.mark.parametrize("scheme", ["", "/vsicurl/"])
def test_no_text_beside_a_raster_leads_to_the_network(scheme, model, folder, server, tmp_path, command):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own_data(tmp_path / "data", "ortho/{tile}.tif")))
    path, url = tmp_path / "data/ortho/west.tif", f"{scheme}{server.url('rgb.tif')}?key=hidden"
    beside = f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{url}</MDI></Metadata></PAMDataset>'
    path.with_name("west.tif.aux.xml").write_text(beside)
    told = f"west.tif names overviews at {scheme}{server.url('rgb.tif')}?…, where a file may not lead to the network"
    words = ["--ckpt_path", str(model), "--input", f"rgb={path}", "--output", f"{tmp_path}/map.tif"]
    assert told in command(main, words).sentence()
    words = ["--layout", "folder", "--root", str(tmp_path / "data"), "--folder", str(tmp_path / "own.yaml")]
    for looked in (check, prepare):
        ended = command(looked, [*words, "--workers", "1"])
        assert ended.code == 2
        assert told in ended.err + ended.out
    assert server.asked == []


# STAC items


def item(**assets):
    """An item with an asset a keyword: its link, and what else is said of it."""
    made = {
        key: {"type": "image/tiff", **(each if isinstance(each, dict) else {"href": each})}
        for key, each in assets.items()
    }
    properties = {"datetime": "2026-01-01T00:00:00Z"}
    kinds = {"type": "Feature", "stac_version": "1.1.0", "id": "t_1", "geometry": None, "links": []}
    return json.dumps({**kinds, "properties": properties, "assets": made})


def bands_of(version, *names):
    key, band = ("bands", "eo:common_name") if version == "1.1" else ("eo:bands", "common_name")
    return {key: [{"name": f"B{number}", band: name} for number, name in enumerate(names)]}


@pytest.fixture
def pystac():
    return pytest.importorskip("pystac")


def test_assets_of_an_item_are_rasters(pystac, model, folder, server, tmp_path):
    here = {"rgb": f"{folder}/rgb.tif", "ir": f"{folder}/rgbir.tif[4]"}
    predict(str(model), here, str(tmp_path / "here.tif"), **OPTIONS)
    (folder / "items").mkdir(exist_ok=True)
    for version in ("1.0", "1.1"):
        both = {"href": "../rgbir.tif", **bands_of(version, "red", "green", "blue", "nir")}
        thumbnail = {"href": "../rgb.png", "type": "image/png", "roles": ["thumbnail"]}
        text = item(visual="../rgb.tif", image=both, thumbnail=thumbnail, about={"href": "a.html", "type": "text/html"})
        (folder / "items/t_1.json").write_text(text)
        for number, where in enumerate((f"{folder}/items/t_1.json", f"{server.url('items/t_1.json')}?{SECRET}")):
            given = {"rgb": f"stac:{where}#visual[1,2,3]", "ir": f"stac:{where}#nir"}
            path = tmp_path / f"{version}_{number}.tif"
            predict(str(model), given, str(path), **OPTIONS)
            assert path.read_bytes() == (tmp_path / "here.tif").read_bytes()
    (folder / "items/one.json").write_text(
        item(data={"href": server.url("rgb.tif"), "roles": ["data"]}, thumbnail=thumbnail)
    )
    predict(str(model), {"rgb": f"stac:{folder}/items/one.json"}, str(tmp_path / "one.tif"), **OPTIONS)
    assert read(tmp_path / "one.tif").shape == (160, 160)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent.json", None, "is not there (404): check the address"),
        ("403/a.json", "{}", "is refused by its server"),
        ("garbage/a.json", "{}", "cannot be fetched (its server does not answer in HTTP): check the address"),
        ("an absent.json", None, "is not there (404): check the address"),
        ("a.json", "{", "is no STAC item (Expecting property name"),
        ("a.json", "[]", "is no STAC item: give the address of one item"),
        (
            "a.json",
            '{"type": "FeatureCollection"}',
            "is 'FeatureCollection' and no STAC item: give the address of one item",
        ),
        ("a.json", '{"type": "Feature"}', "is no STAC item that pystac reads (STACTypeError)"),
        ("a.json", item(), "is an item of several assets: name one behind it"),
        ("a.json", item(a="a.tif", b="b.tif"), "NAME; it has 'a', 'b'"),
        ("a.json#c", item(a="a.tif", b="b.tif"), "has no asset 'c', and none with such bands: it has 'a', 'b'"),
        ("a.json#a", item(a="file:///etc/hostname"), "leads to file:///etc/hostname, which is not read"),
        (
            "a.json#a",
            item(a="/vsicurl/http://127.0.0.1:1/a.tif"),
            "leads to /vsicurl/http://127.0.0.1:1/a.tif, which is not",
        ),
        ("a.json#a", item(a="absent.tif?key=hidden"), "absent.tif?… is not there (404)"),
        (
            "a.json#nir",
            item(**{n: {"href": "a.tif", **bands_of("1.1", "nir")} for n in "ab"}),
            "is in the assets 'a', 'b'",
        ),
        ("a.json[0]", item(a="a.tif"), "bands are counted from 1"),
    ],
)
def test_what_is_no_asset_is_one_sentence(pystac, name, content, told, model, folder, server, tmp_path, command):
    if content is not None:
        (folder / "a.json").write_text(content)
    address, mark, fragment = name.partition("#")
    address, bracket, bands = address.partition("[")
    url = f"stac:{server.url(address)}?{SECRET}{mark}{fragment}{bracket}{bands}"
    words = ["--ckpt_path", str(model), "--input", f"rgb={url}", "--output", f"{tmp_path}/map.tif"]
    ended = command(main, words)
    assert told in ended.sentence()
    assert "hidden" not in ended.err


def test_an_item_on_a_server_does_not_lead_to_this_disk(pystac, model, folder, server, tmp_path, command):
    (folder / "a.json").write_text(item(a=f"{folder}/rgb.tif"))
    words = ["--ckpt_path", str(model), "--output", f"{tmp_path}/map.tif", "--input"]
    # of a path without a host, what counts is the server
    assert "is not there (404)" in command(main, [*words, f"rgb=stac:{server.url('a.json')}#a"]).sentence()
    assert command(main, [*words, f"rgb=stac:{folder}/a.json#a"]).code == 0
    (folder / "a.json").write_text(item(a="absent.tif"))
    said = command(main, [*words, f"rgb=stac:{folder}/a.json#a"]).sentence()
    assert "absent.tif, which does not exist: mend the item" in said


def test_without_pystac_it_is_said_how_to_get_it(model, folder, tmp_path, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "pystac", None)
    (folder / "a.json").write_text(item(a="rgb.tif"))
    words = ["--ckpt_path", str(model), "--input", f"rgb=stac:{folder}/a.json", "--output", f"{tmp_path}/map.tif"]
    assert "needs pystac; install it with pip install 'mobanet[stac]'" in command(main, words).sentence()


# Layout folder


def own_data(root, pattern):
    """Own data whose orthophotos match a pattern."""
    folder = described(root)
    folder["modalities"]["rgb"]["pattern"] = pattern
    return folder


def test_own_data_may_lie_on_a_server(server, folder, command, fit, test, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    described(here)
    plain = own_data(there, server.url("ortho/{tile}.tif"))
    shutil.move(there / "ortho", folder / "ortho")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(plain))
    words = ["--layout", "folder", "--root", str(there), "--folder", str(tmp_path / "own.yaml"), "--workers", "1"]
    checked = command(check, words)
    assert checked.code == 0, checked.err
    trained = fit(experiment=experiment_of(there, plain, tmp_path / "there.yaml"))
    assert trained.code == 0, trained.err
    layout = get_layout("folder", parsed_settings(own_data(here, "ortho/{tile}.tif")))
    stored, own = TileStore(there / "mobanet_store").tiles, build_store(layout, here, workers=1).tiles
    assert stored.keys() == own.keys()
    for tile in own:
        assert np.array_equal(load(stored[tile], "rgb"), load(own[tile], "rgb"))
        assert stored[tile].modalities["rgb"].source == server.url(f"ortho/{tile}.tif")
    server.forget()
    best = str(tmp_path / "run/checkpoints/best.ckpt")
    said = test("--ckpt_path", best).sentence()
    assert "a configuration that was found leads nobody to the network: name it with --config" in said
    tested = test("--ckpt_path", best, "--config", str(tmp_path / "run/config.yaml"))
    assert tested.code == 0, tested.err
    assert server.asked == []  # what is prepared is current
    (page,) = tmp_path.glob("run/*.html") if command(report, [str(tmp_path / "run")]).code == 0 else ()
    assert "west" in page.read_text()  # its test tile, as it was prepared
    assert server.asked == []


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("http://127.0.0.1:1/{tile}.tif", "cannot be reached, since its server refuses the connection"),
        ("{}nowhere/{{tile}}.tif", "is not there (404): check the address"),
        (
            "http://me:hidden@host/{tile}.tif",
            "with more behind it or a login in it, which runs would record: leave it out",
        ),
        ("http://host/{tile}.tif?key=hidden", "'http://host/{tile}.tif?…', with more behind it"),
        ("http://host/*/{tile}.tif", "write an address such as https://host/folder/{tile}.tif, without *"),
        ("ftp://host/{tile}.tif", "begins with ftp://, which is not read"),
        ("http://host/tile.tif", "without {tile}: put it where the tile's id is"),
    ],
)
def test_addresses_of_own_data_that_lead_nowhere_are_one_sentence(pattern, told, server, command, tmp_path):
    pattern = pattern.format(server.url("")) if pattern.startswith("{}") else pattern
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own_data(tmp_path / "data", pattern)))
    words = ["--layout", "folder", "--root", str(tmp_path / "data"), "--folder", str(tmp_path / "own.yaml")]
    ended = command(prepare, [*words, "--workers", "1"])
    assert ended.code == 2
    assert told in ended.err.splitlines()[-1]
    assert "hidden" not in ended.err + ended.out


def test_tiles_that_nothing_names_cannot_be_found_at_an_address(command, tmp_path):
    plain = own_data(tmp_path / "data", "http://host/{tile}.tif")
    shutil.rmtree(tmp_path / "data/label")
    shutil.rmtree(tmp_path / "data/dsm")
    plain |= {"splits": {"train": ["*"]}, "label": None, "values": None}
    plain["modalities"].pop("dsm")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(plain))
    words = ["--layout", "folder", "--root", str(tmp_path / "data"), "--folder", str(tmp_path / "own.yaml")]
    said = command(prepare, words).sentence()
    assert "is an address, where tiles cannot be listed: name each of them in splits" in said
