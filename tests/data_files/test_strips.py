"""What is prepared strip by strip is what whole rasters give, bit for bit, in memory that no tile's height changes."""

import resource
import signal
import tracemalloc
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import rasterio

from mobanet.datasets.catalogue import list_files
from mobanet.errors import UserError
from mobanet.rasters import rows as source_rows
from mobanet.rasters.alignment import source_window, window_grid
from mobanet.rasters.blocks import origin_of, summarise
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.rasters.opening import opened
from mobanet.rasters.reader import Reading, settled
from mobanet.rasters.statistics import describe
from mobanet.store.build import build_store
from mobanet.store.check import check_files
from mobanet.store.decoding import LabelDecoder
from mobanet.store.jobs import jobs_for
from mobanet.store.products import Products, label_strip
from mobanet.store.stored import MARK, LabelRecord, ModalityRecord
from tests.data_files.fake_files import coloured, georeferenced, indices, load, noise, surface, truncate, write
from tests.data_files.tile_kinds import HERE, KINDS, described
from tests.data_files.whole_rasters import aligned, aligned_label
from tests.hostile.children import verdicts


class Whole:
    """Arrays and figures of a tile, each raster read and brought to the grid at once."""

    def __init__(self, layout, root, store):
        catalogue = list_files(root)
        wanted = layout.check_modalities(None)
        (job,) = jobs_for(layout.survey(catalogue, wanted), catalogue, layout, wanted, store, store / "scratch", False)
        self.arrays, self.figures = {}, {}
        with ExitStack() as stack:
            self.products = Products(job, stack)
            self.grid, _ = self.products.reference()
            for name, source in job.tile.sources.items():
                with opened(self.products.path(source.file), source.file) as raster:
                    self._modality(name, source, raster)
            for kind, file in job.tile.labels.items():
                drawn = layout.draw_label(job.tile, "full", self.grid, self.products.path)
                if drawn is not None:
                    (self.arrays[f"label_{kind}"],) = drawn.strips(self.grid.height)
                    continue
                with opened(self.products.path(file), file) as raster:
                    self._label(kind, file, raster)
            for kind in job.tile.labels:
                self._marks(f"label_{kind}")

    def _placed(self, raster, file):
        placed = self.products.placed(raster, file, self.grid)
        own, fit = placed.own, placed.fit
        window = source_window(own, self.grid) if fit == "warp" else None
        return window, window_grid(own, window) if window else own, self.grid, fit

    def _modality(self, name, source, raster):
        job, known = self.products.job, self.products.known(name)
        reading = settled(raster, source, job.tile.band_counts.get(name), *known)
        window, *placed = self._placed(raster, source.file)
        values, valid = aligned(*reading.read(raster, window), *placed)
        statistics = tuple(describe(plane, valid) for plane in values)
        if valid is not None:
            if values.dtype == np.float32:
                for plane, figures in zip(values, statistics, strict=True):
                    plane[~valid] = figures.p50
            self.arrays[f"{name}.valid"] = valid.astype(np.uint8)
        self.arrays[name] = np.ascontiguousarray(values.transpose(1, 2, 0))
        if known[0].kind == "elevation":
            size = self.grid.height, self.grid.width
            blocks = summarise(lambda: [(self.arrays[name], valid)], *size, origin_of(self.grid.transform))
            self.arrays[f"{name}.blocks"] = blocks
        self.figures[name] = statistics, 1.0 if valid is None else valid.mean(), str(values.dtype)

    def _marks(self, name):
        labelled = self.arrays[name] != IGNORE_INDEX
        rows, columns = (range(0, length, MARK) for length in labelled.shape)
        marks = [[labelled[row : row + MARK, column : column + MARK].any() for column in columns] for row in rows]
        if not np.all(marks):
            self.arrays[f"{name}.marks"] = np.array(marks, np.uint8)

    def _label(self, kind, file, raster):
        window, *placed = self._placed(raster, file)
        decoder = LabelDecoder(self.products.job.layout, file)
        classes = decoder.count(*label_strip(raster, self.products.job.layout, window))
        self.arrays[f"label_{kind}"] = aligned_label(classes, *placed)
        self.figures[kind] = decoder.corrected, decoder.unknown


def assert_is(tile, whole):
    assert {*tile.arrays()} == {*whole.arrays}
    for name, expected in whole.arrays.items():
        stored = load(tile, name)
        assert (stored.dtype, stored.shape) == (expected.dtype, expected.shape), name
        assert np.array_equal(stored, expected), name
    for name, record in tile.modalities.items():
        assert isinstance(record, ModalityRecord)
        assert (record.statistics, record.valid_share, record.dtype) == whole.figures[name]
    for kind, record in tile.labels.items():
        assert isinstance(record, LabelRecord)
        classes = whole.arrays[f"label_{kind}"]
        counts = np.bincount(classes.ravel(), minlength=256)
        assert (list(record.pixels), record.ignored) == (counts[: len(record.pixels)].tolist(), counts[IGNORE_INDEX])
        assert (record.corrected, record.unknown) == whole.figures.get(kind, (0, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_strips_are_those_of_the_whole_rasters(kind, tmp_path, monkeypatch):
    root = tmp_path / "data"
    layout = kind(root)
    whole = Whole(layout, root, tmp_path / "whole")
    for rows in (source_rows.CHUNK, 150, 100_000):  # wherever they are cut
        monkeypatch.setattr(source_rows, "CHUNK", rows)
        (tile,) = build_store(layout, root, tmp_path / f"store{rows}", workers=1).tiles.values()
        assert_is(tile, whole)


def test_labels_on_pixels_whose_middles_lie_on_others_edges_have_no_seams(tmp_path):
    """Which of two neighbours a middle on their edge takes is chance, and must be the same chance for all strips."""
    place = georeferenced(366976.525, 5809760.975, 0.1)
    write(tmp_path / "data/rgb/a.tif", noise("rgb", 3, (600, 700)), **place)
    numbers = noise("fine", 1, (1200, 1400), 6)
    write(tmp_path / "data/label/a.tif", numbers, **georeferenced(366976.525, 5809760.975, 0.05))
    values = {number: number for number in range(6)}
    layout = described({"rgb": {"band_numbers": [1, 2, 3]}}, colours=None, values=values)
    (tile,) = build_store(layout, tmp_path / "data", tmp_path / "store", workers=1).tiles.values()
    assert_is(tile, Whole(layout, tmp_path / "data", tmp_path / "whole"))


def tall(root, height, width=600):
    """A tile of everything that takes memory: 8 bit, floats with voids on another grid, and a label on a third."""
    profile = {"driver": "GTiff", "width": width, "tiled": True, "sparse_ok": True, **HERE}
    for name, bands, dtype in (("rgb", 3, "uint8"), ("dsm", 1, "float32"), ("label", 1, "uint8")):
        (root / name).mkdir(parents=True)
        given = profile | {"height": height, "count": bands, "dtype": dtype}
        if name == "label":
            given |= georeferenced(500_000, 5_800_000, 0.75)
        with rasterio.open(root / name / "a.tif", "w", **given) as raster:
            if name == "dsm":
                raster.write(surface("tall", (64, 64)), window=rasterio.windows.Window(0, 0, 64, 64))
                raster.nodata = 0
    return described(
        {"rgb": {"band_numbers": [1, 2, 3]}, "dsm": {"kind": "elevation"}}, colours=None, values={0: 1, 1: 0}
    )


def peak(work):
    """Bytes that Python and numpy held at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("function", [build_store, check_files])
def test_memory_does_not_grow_with_the_height_of_a_tile(tmp_path, function, monkeypatch):
    monkeypatch.setattr("mobanet.rasters.strips._STRIP", 1 << 19)
    monkeypatch.setattr("mobanet.rasters.statistics.SAMPLE", 100_000)
    peaks = []
    for height in (4_000, 16_000):
        root, store = tmp_path / f"{height}", tmp_path / f"store{height}"
        peaks.append(peak(partial(function, tall(root, height), root, store, workers=1)))
    assert peaks[1] <= 1.1 * peaks[0]
    assert peaks[1] < 6 * 16_000 * 600  # bytes a pixel


def test_no_more_rows_are_read_at_once_than_a_chunk_has(tmp_path, monkeypatch):
    windows, read = [], Reading.read

    def spied(self, raster, window=None, shape=None):
        windows.append(window)
        return read(self, raster, window, shape)

    monkeypatch.setattr(Reading, "read", spied)
    layout = tall(tmp_path / "data", 1500, 300)
    build_store(layout, tmp_path / "data", tmp_path / "store", workers=1)
    assert len(windows) >= 12
    assert max(window.height for window in windows) <= source_rows.CHUNK


def test_wider_rasters_are_read_in_fewer_rows():
    assert [source_rows.rows_at_once(width, bands) for width, bands in ((1, 1), (131_072, 1), (131_073, 1))] == (
        [256, 256, 128]
    )
    assert source_rows.rows_at_once(30_000, 13, "uint16") == 128
    assert source_rows.rows_at_once(2**31, 200) == 1


def test_a_label_that_names_no_class_is_told_by_its_most_frequent_value_whatever_the_strips(tmp_path):
    write(tmp_path / "data/rgb/a.tif", noise("rgb", 3, (600, 50)), **HERE)
    numbers = np.full((1, 600, 50), 17, np.uint8)
    numbers[:, :250] = 99  # of the first strip
    write(tmp_path / "data/label/a.tif", numbers, **HERE)
    layout = described({"rgb": {"band_numbers": [1, 2, 3]}}, colours=None, values={0: 0, 1: 1})
    with pytest.raises(UserError, match=r"names no class in 100 % of its pixels, such as 17: "):
        build_store(layout, tmp_path / "data", tmp_path / "store", workers=1)


def test_nothing_is_left_where_a_raster_ends_too_early(tmp_path):
    for name, pixel in (("rgb", 0.5), ("dsm", 0.75), ("label", 0.75)):
        content = {"rgb": noise("rgb", 3, (900, 200)), "dsm": surface("dsm", (600, 140))}
        content["label"] = coloured(indices("label", (600, 140)))
        write(tmp_path / f"data/{name}/a.tif", content[name], **georeferenced(500_000, 5_800_000, pixel))
        truncate(tmp_path / f"data/{name}/a.tif", 0.6)
    layout = described({"rgb": {"band_numbers": [1, 2, 3]}, "dsm": {"kind": "elevation"}})
    with pytest.raises(UserError) as error:
        build_store(layout, tmp_path / "data", tmp_path / "store", workers=1)
    for name in ("rgb", "dsm", "label"):
        assert f"{name}/a.tif is unreadable or cut short" in str(error.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["rgb", "dsm", "label"])
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path, name):
    """Wherever it is noticed: in what is read again for its statistics, in a copy to be resampled, or in the store."""
    sizes = {"rgb": (100, 100), "dsm": (100, 100), "label": (100, 100)} | {name: (300, 300)}
    for each, size in sizes.items():
        content = {"rgb": noise("rgb", 3, size), "dsm": surface("dsm", size), "label": coloured(indices("l", size))}
        write(tmp_path / f"data/{each}/a.tif", content[each], **georeferenced(500_000, 5_800_000, 50 / size[0]))
    layout = described({"rgb": {"band_numbers": [1, 2, 3]}, "dsm": {"kind": "elevation"}})

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        with pytest.raises(OSError, match="File too large") as caught:
            build_store(layout, tmp_path / "data", tmp_path / "store", workers=1)
        assert caught.value.filename is not None
        assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.suffix != ".lock"]

    (end,) = verdicts([work], 60)
    assert end.end == "success", end.text
