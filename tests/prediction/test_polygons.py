"""Polygons of maps cut into strips, held against those of the map as a whole."""

import resource
import signal
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from rasterio.features import shapes

from mobanet.errors import UserError
from mobanet.prediction.polygons import Legend, write_polygons
from mobanet.prediction.strips import MapStrip
from mobanet.rasters.components import label_pieces
from mobanet.rasters.grid import Grid
from mobanet.scenarios.scenario import scenarios_of

SCENARIOS = scenarios_of(("rgb", "dsm"))  # rgb, dsm, rgb+dsm
LEGEND = Legend(("a", "b", "c", "d"), SCENARIOS, ("rgb", "dsm"))
PLANE = (1, 0, 0, 0, -1, 0)


def strips_of(classes, step=7, scenarios=None, confidence=None, area=1.0):
    """A map, some rows at a time, as often as it is asked for."""
    scenarios = np.where(classes == 255, 255, 2).astype(np.uint8) if scenarios is None else scenarios

    class Strips:
        def __iter__(self):
            for top in range(0, len(classes), step):
                rows = slice(top, top + step)
                known = None if confidence is None else confidence[rows]
                size = None if area is None else np.full(classes.shape[1], area)
                yield MapStrip(top, classes[rows], scenarios[rows], known, size)

    return Strips()


def grid_of(classes, transform=PLANE, crs="EPSG:25833"):
    return Grid(*classes.shape, transform, crs)


def written(folder: Path, classes, step=7, grid=None, legend=LEGEND, **more):
    """Polygons, and fields by name."""
    given = {key: more.pop(key) for key in ("scenarios", "confidence", "area") if key in more}
    path = folder / "map.gpkg"
    count = write_polygons(path, strips_of(classes, step, **given), grid or grid_of(classes), legend, **more)
    meta, _, geometries, values = pyogrio.raw.read(path)
    polygons = shapely.from_wkb(geometries)
    assert count == len(polygons)
    assert shapely.is_valid(polygons).all()
    return polygons, dict(zip(meta["fields"].tolist(), values, strict=True))


def keys(polygons):
    """For sets of polygons that begin and go around anyhow."""
    return [shapely.to_wkb(polygon) for polygon in shapely.normalize(np.asarray(polygons))]


def at_once(classes):
    """By rasterio, of all pixels together: normal form, class."""
    found = shapes(classes, mask=classes != 255, connectivity=4)
    flat = [(shapely.transform(shapely.geometry.shape(one), lambda p: p * (1, -1) + 0), value) for one, value in found]
    return sorted(zip(keys([one for one, _ in flat]), [int(value) for _, value in flat], strict=True))


def random_map(generator, height, width, gaps=True):
    classes = generator.integers(0, generator.integers(1, 5), (height, width)).astype(np.uint8)
    if gaps:
        classes[generator.random((height, width)) < 0.15] = 255
    return classes


@pytest.mark.parametrize("step", [1, 5, 64])
@pytest.mark.parametrize("seed", range(5))
def test_strips_make_the_polygons_of_the_whole(seed, step, tmp_path):
    generator = np.random.default_rng(seed)
    classes = random_map(generator, *generator.integers(1, 40, 2).tolist(), gaps=seed % 3 == 0)
    polygons, fields = written(tmp_path, classes, step)
    found = sorted(zip(keys(polygons), fields["class_index"].tolist(), strict=True))
    assert found == at_once(classes)


def spiral(size):
    """One long piece, one pixel wide, around and around."""
    walls = np.zeros((size, size), np.uint8)
    for margin in range(0, size // 2, 2):
        walls[margin, margin : size - margin] = 1
        walls[margin : size - margin, size - 1 - margin] = 1
        walls[size - 1 - margin, margin : size - margin] = 1
        walls[margin + 2 : size - margin, margin] = 1
        if margin:
            walls[margin, margin - 1] = 1
    return walls


HARD = {
    "one class": np.zeros((30, 40), np.uint8),
    "one pixel": np.zeros((1, 1), np.uint8),
    "one row": np.array([[0, 0, 1, 255, 1, 1]], np.uint8),
    "one column": np.array([[0, 0, 1, 255, 1, 1]], np.uint8).T,
    "checkerboard": (np.indices((25, 31)).sum(0) % 2).astype(np.uint8),
    "checkerboard in a frame": np.pad((np.indices((21, 21)).sum(0) % 2).astype(np.uint8), 2, constant_values=1),
    "many holes": np.where(np.indices((41, 41)).min(0) % 2 * (np.indices((41, 41)).max(0) % 2), 1, 0).astype(np.uint8),
    "spiral": spiral(31),
    "nodata in the middle": np.pad(np.full((5, 5), 255, np.uint8), 5, constant_values=1),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_maps(name, tmp_path):
    classes, step = HARD[name], 3
    polygons, fields = written(tmp_path, classes, step)
    assert sorted(zip(keys(polygons), fields["class_index"].tolist(), strict=True)) == at_once(classes)
    assert shapely.area(polygons).sum() == np.count_nonzero(classes != 255)


def test_a_map_of_nothing_has_a_file_without_a_polygon(tmp_path):
    polygons, fields = written(tmp_path, np.full((9, 9), 255, np.uint8))
    assert len(polygons) == 0
    assert list(fields) == ["class", "class_index", "area_m2", "confidence", "scenario", "without_rgb", "without_dsm"]


@pytest.mark.parametrize("step", [1, 4, 50])
def test_fields_are_those_of_the_pixels(step, tmp_path):
    generator = np.random.default_rng(5)
    classes = random_map(generator, 23, 31)
    scenarios = generator.integers(0, 3, classes.shape).astype(np.uint8)
    scenarios[classes == 255] = 255
    confidence = generator.random(classes.shape).astype(np.float32)
    given = {"scenarios": scenarios, "confidence": confidence, "area": 2.5}
    polygons, fields = written(tmp_path, classes, step, **given)
    labels, value = label_pieces(classes)
    assert len(polygons) == len(value)
    for k, polygon in enumerate(polygons):
        x, y = shapely.get_coordinates(shapely.point_on_surface(polygon))[0]
        own = labels == labels[int(np.floor(-y)), int(np.floor(x))]
        assert own.sum() * 2.5 == pytest.approx(fields["area_m2"][k])
        assert fields["class"][k] == LEGEND.classes[fields["class_index"][k]]
        assert fields["confidence"][k] == pytest.approx(confidence[own].mean(), rel=1e-5)
        counts = np.bincount(scenarios[own], minlength=3)
        assert fields["scenario"][k] == SCENARIOS[counts.argmax()].name
        assert fields["without_rgb"][k] == pytest.approx(counts[1] / counts.sum())
        assert fields["without_dsm"][k] == pytest.approx(counts[0] / counts.sum())


def test_what_is_not_known_is_null(tmp_path):
    classes = np.array([[0, 1], [0, 1]], np.uint8)
    polygons, fields = written(tmp_path, classes, area=None, grid=Grid(2, 2))
    assert np.isnan(fields["area_m2"]).all()
    assert np.isnan(fields["confidence"]).all()
    info = pyogrio.read_info(tmp_path / "map.gpkg")
    assert info["crs"] is None
    assert shapely.bounds(polygons).tolist() == [[0, -2, 1, 0], [1, -2, 2, 0]]


@pytest.mark.parametrize("transform", [(0.3, 0.4, 500, 0.4, -0.3, 800), (2, 0, 5, 0, 3, 9), (-1, 0, 0, 0, -1, 0)])
def test_turned_and_mirrored_grids(transform, tmp_path):
    classes = random_map(np.random.default_rng(2), 12, 17)
    polygons, _ = written(tmp_path, classes, grid=grid_of(classes, transform))
    pixel = abs(transform[0] * transform[4] - transform[1] * transform[3])
    assert shapely.area(polygons).sum() == pytest.approx(pixel * np.count_nonzero(classes != 255))
    assert all(polygon.exterior.is_ccw for polygon in polygons)
    assert shapely.union_all(polygons).area == pytest.approx(shapely.area(polygons).sum())


@pytest.mark.parametrize("seed", range(6))
def test_simplified_neighbours_keep_their_shared_borders(seed, tmp_path):
    generator = np.random.default_rng(seed)
    classes = np.kron(generator.integers(0, 4, (6, 7)), np.ones((5, 5))).astype(np.uint8)
    noise = generator.random(classes.shape) < 0.1
    classes[noise] = generator.choice([0, 1, 2, 255], noise.sum())
    grid = grid_of(classes, (0.5, 0, 367000, 0, -0.25, 5810000))
    plain, fields = written(tmp_path, classes, grid=grid)
    found = {}
    for step in (1, 4, 100):
        polygons, same = written(tmp_path, classes, step, grid, simplify=0.8)
        assert sorted(same["area_m2"]) == sorted(fields["area_m2"])
        assert shapely.coverage_is_valid(polygons)
        assert all(polygon.exterior.is_ccw for polygon in polygons)
        found[step] = sorted(keys(polygons))
    assert found[1] == found[4] == found[100]
    assert shapely.get_num_coordinates(polygons).sum() < shapely.get_num_coordinates(plain).sum()
    # no gaps and no overlaps
    assert shapely.union_all(polygons).area == pytest.approx(shapely.area(polygons).sum(), rel=1e-9)


def test_outlines_that_memory_does_not_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mobanet.prediction.polygons._BYTES", 1e12)
    classes = HARD["checkerboard"]
    with pytest.raises(UserError, match=r"--simplify 2 takes all outlines at once, .* give a larger --minimum_area"):
        written(tmp_path, classes, grid=grid_of(classes, (0.5, 0, 367000, 0, -0.5, 5810000)), simplify=2)
    assert not list(tmp_path.iterdir())


def test_outlines_that_would_cross_themselves_are_refused(tmp_path, monkeypatch):
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    monkeypatch.setattr(shapely, "coverage_simplify", lambda polygons, metres: np.full(len(polygons), bow))
    classes = HARD["checkerboard"]
    with pytest.raises(UserError, match=r"--simplify 2 makes outlines cross themselves: give fewer metres"):
        written(tmp_path, classes, grid=grid_of(classes, (0.5, 0, 367000, 0, -0.5, 5810000)), simplify=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("most", [1, 60])
def test_strips_of_noise_are_halved(most, tmp_path, monkeypatch):
    monkeypatch.setattr("mobanet.prediction.regions._MANY", most)
    classes = random_map(np.random.default_rng(8), 33, 20)
    polygons, fields = written(tmp_path, classes, 100)
    assert sorted(zip(keys(polygons), fields["class_index"].tolist(), strict=True)) == at_once(classes)


def test_outlines_are_traced_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("mobanet.rasters.outlines._MOST", 20)
    monkeypatch.setattr("mobanet.prediction.polygons._BATCH", 7)
    classes = random_map(np.random.default_rng(9), 33, 20)
    polygons, fields = written(tmp_path, classes, 5)
    assert sorted(zip(keys(polygons), fields["class_index"].tolist(), strict=True)) == at_once(classes)


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path):
    class Ending:
        def __iter__(self):
            yield from strips_of(np.zeros((4, 4), np.uint8))
            raise KeyboardInterrupt

    (tmp_path / "map.gpkg").write_text("an older one")
    with pytest.raises(KeyboardInterrupt):
        write_polygons(tmp_path / "map.gpkg", Ending(), Grid(4, 4), LEGEND)
    assert [path.name for path in tmp_path.iterdir()] == ["map.gpkg"]
    assert (tmp_path / "map.gpkg").read_text() == "an older one"


@pytest.mark.parametrize(
    "crs",
    ["EPSG:4326", "EPSG:25833+5783", 'LOCAL_CS["yard",UNIT["metre",1]]', "+proj=ob_tran +o_proj=longlat +o_lat_p=37.5"],
)
def test_any_system_is_kept(crs, tmp_path):
    classes = HARD["checkerboard"]
    polygons, _ = written(tmp_path, classes, grid=grid_of(classes, (1e-5, 0, 13, 0, -1e-5, 52), crs))
    assert len(polygons) == classes.size
    assert pyogrio.read_info(tmp_path / "map.gpkg")["crs"]


def test_a_system_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match="EPSG:99 is no coordinate reference system; give one such as EPSG:32633"):
        written(tmp_path, np.zeros((3, 3), np.uint8), grid=Grid(3, 3, PLANE, "EPSG:99"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [0, 5000, 98304, 200_000])
def test_a_full_disk_leaves_no_file(limit, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|Input/output error") as error:
            written(tmp_path, (np.indices((60, 60)).sum(0) % 2).astype(np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert error.value.filename == str(tmp_path / "map.gpkg")
    assert not list(tmp_path.iterdir())


def test_the_file_has_a_spatial_index(tmp_path):
    classes = (np.indices((20, 20)).sum(0) % 2).astype(np.uint8)
    written(tmp_path, classes)
    near = pyogrio.raw.read(tmp_path / "map.gpkg", bbox=(4.2, -5.8, 4.8, -5.2))
    assert len(near[2]) == 1
    assert pyogrio.read_info(tmp_path / "map.gpkg")["capabilities"]["fast_spatial_filter"]
