"""Where a raster says it lies: read from the raster or the world file beside it, and judged in one place."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobanet.errors import UserError
from mobanet.rasters.contents import FileRef

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_MOST_BYTES = 4096  # of a world file; its six numbers take a hundred
_FLATTEST = 1e-9  # of the area of the parallelogram that a pixel is, by the square of its longer side


def transform_of(raster: "DatasetReader", shown: FileRef) -> tuple[float, ...] | None:
    """Pixel-to-map coefficients (a, b, c, d, e, f) of an open raster; None where it is not georeferenced.

    A world file beside a raster without georeference counts whether or not GDAL, which passes over those that it
    cannot make sense of, has taken it.

    Raises:
        UserError: for a georeference that places no pixel anywhere, and for a world file that holds none.
    """
    # the identity is what GDAL gives for no georeference at all
    if not raster.transform.is_identity:
        transform = tuple(float(number) for number in raster.transform[:6])
        check_transform(transform, raster.height, raster.width, shown)
        return transform
    for path in _world_files(Path(raster.name)):
        world = _beside(shown, path.suffix)
        transform = read_world(_text(path, world), raster.height, raster.width, world)
        return None if transform == (1, 0, 0, 0, 1, 0) else transform  # the pixels themselves
    return None


def read_world(text: str, height: int, width: int, shown: FileRef) -> tuple[float, ...]:
    """The transform in a world file, whose origin is the centre of the first pixel; ours is its corner.

    Raises:
        UserError: when it does not hold six numbers that place a raster of so many rows and columns.
    """
    try:
        # the matrix column by column, where GDAL's transform goes row by row; decimal commas as GDAL takes them
        # float takes nan and inf, too, which `check_transform` refuses
        a, d, b, e, x, y = (float(word.replace(",", ".")) for word in text.split())
    except ValueError as error:
        raise UserError(f"{shown} is no world file of six numbers: mend or remove it.") from error
    transform = (a, b, x - (a + b) / 2, d, e, y - (d + e) / 2)
    check_transform(transform, height, width, shown)
    return transform


def check_transform(transform: Sequence[float], height: int, width: int, shown: FileRef | Path) -> None:
    """Refuse a transform that places no pixel anywhere; turned, sheared and mirrored ones do.

    Raises:
        UserError: where a number or a corner is not finite, and where pixels have no size, or one that is lost beside
            the coordinates.
    """
    if wrong := what_is_wrong(transform, height, width):
        numbers = ", ".join(f"{number:g}" for number in transform)
        raise UserError(f"{shown} has a georeference {wrong} ({numbers}): mend it, or the world file beside it.")


def what_is_wrong(transform: Sequence[float], height: int, width: int) -> str | None:
    """A clause on a transform that places no pixel anywhere; None for one that does."""
    a, b, c, d, e, f = transform
    if not all(map(math.isfinite, transform)):
        return "that is not finite"
    across, down = math.hypot(a, d), math.hypot(b, e)
    side = max(across, down)
    # divided before they are multiplied: the product of two tiny numbers may be 0, of two huge ones infinite
    if not across or not down or not abs((a / side) * (e / side) - (b / side) * (d / side)) > _FLATTEST:
        return "by which pixels have no size"
    # floats are coarsest at the corner farthest from the origin; of sides much beyond 1e150 the area is infinite
    farthest = max(abs(n) for n in (c, f, c + a * width, f + d * width, c + b * height, f + e * height))
    lost = not math.isfinite(farthest) or min(across, down) < 16 * math.ulp(farthest) or side > 1e150
    return "by which its pixels cannot be told apart" if lost else None


def _world_files(path: Path) -> Iterator[Path]:
    """Those beside a raster by GDAL's rules: of `a.tif` `a.tfw`, `a.tifw` and `a.wld`, in either case."""
    ending = path.suffix[1:]
    names = (f"{ending[:1]}{ending[-1:]}w", f"{ending}w", "wld") if len(ending) > 1 else ("wld",)
    for name in names:
        for suffix in (name.lower(), name.upper()):
            # asked for by name: a folder may hold thousands of others
            beside = path.with_suffix(f".{suffix}")
            if beside.is_file():
                yield beside


def _text(path: Path, shown: FileRef) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror}): mend its permissions or remove it.") from error
    # latin-1 has a character for any byte, so that what is no text is refused for not being six numbers
    return content.decode("latin-1") if len(content) <= _MOST_BYTES else "more than a world file holds"


def _beside(shown: FileRef, suffix: str) -> FileRef:
    """The file beside another, with another ending."""
    if shown.member is None:
        return replace(shown, path=shown.disk_path.with_suffix(suffix))
    return replace(shown, member=f"{shown.member.rpartition('.')[0]}{suffix}")
