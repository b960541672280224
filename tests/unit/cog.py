"""Whether a file is a cloud optimised GeoTIFF, by its bytes: what a reader over a network relies on."""

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_LETTERS = {3: "H", 4: "I", 13: "I", 16: "Q"}
_REDUCED, _WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS = 254, 256, 257, 322, 323, 324, 325


@dataclass(frozen=True)
class Directory:
    """One image of a TIFF.

    Attributes:
        at: first byte of the directory.
        end: byte behind it and all values that it refers to.
        tags: integers by the number of the tag.
    """

    at: int
    end: int
    tags: dict[int, tuple[int, ...]]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.tags[_HEIGHT][0], self.tags[_WIDTH][0]

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """First byte and number of bytes of each tile."""
        return list(zip(self.tags[_OFFSETS], self.tags[_COUNTS], strict=True))


def directories(content: bytes) -> list[Directory]:
    """All images, in the order in which they refer to one another."""
    end = {b"II": "<", b"MM": ">"}[content[:2]]
    (version,) = struct.unpack_from(f"{end}H", content, 2)
    big = version == 43
    assert version in (42, 43)
    word, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    (at,) = struct.unpack_from(f"{end}{word}", content, 8 if big else 4)
    found = []
    while at:
        (number,) = struct.unpack_from(f"{end}{count}", content, at)
        first, tags = at + struct.calcsize(count), {}
        behind = first + number * entry + struct.calcsize(word)
        for place in range(first, first + number * entry, entry):
            tag, kind = struct.unpack_from(f"{end}HH", content, place)
            (values,) = struct.unpack_from(f"{end}{word}", content, place + 4)
            value, room = place + 4 + struct.calcsize(word), struct.calcsize(word)
            if values * _SIZES[kind] > room:
                (value,) = struct.unpack_from(f"{end}{word}", content, value)
                behind = max(behind, value + values * _SIZES[kind])
            if kind in _LETTERS:
                tags[tag] = struct.unpack_from(f"{end}{values}{_LETTERS[kind]}", content, value)
        found.append(Directory(at, behind, tags))
        (at,) = struct.unpack_from(f"{end}{word}", content, first + number * entry)
    return found


def assert_cloud_optimised(path: Path, block: int = 512) -> None:
    """Fail unless all directories come first, then overviews from the smallest on, then the image, tile by tile."""
    content = path.read_bytes()
    images = directories(content)
    full = images[0]
    # behind the header, or behind the words in which GDAL says how tiles are laid out
    start = 16 if content[2] in (43,) or content[3] == 43 else 8
    mark = b"GDAL_STRUCTURAL_METADATA_SIZE="
    if content[start:].startswith(mark):
        said = content[start : start + 43]
        start += 43 + int(said[len(mark) : len(mark) + 6])
    assert full.at <= start + 8, f"the first directory stands at {full.at}, not behind the header at {start}"
    assert [image.at for image in images] == sorted(image.at for image in images), "directories are out of order"
    assert _REDUCED not in full.tags or full.tags[_REDUCED] == (0,)
    for larger, smaller in pairwise(images):
        assert smaller.tags[_REDUCED][0] & 1, "an image that is no overview"
        assert all(2 * b in (a, a + 1) or b == -(-a // 2) for a, b in zip(larger.shape, smaller.shape, strict=True))
    height, width = images[-1].shape
    assert max(full.shape) <= block or max(height, width) <= block, f"no overview fits into a block: {height} x {width}"
    data = min(at for image in images for at, _ in image.tiles)
    assert max(image.end for image in images) <= data, "a directory stands behind pixels"
    behind = data
    for image in reversed(images):
        assert image.tags[_TILE_WIDTH] == image.tags[_TILE_HEIGHT] == (block,)
        height, width = image.shape
        assert len(image.tiles) % (-(-height // block) * -(-width // block)) == 0
        for at, size in image.tiles:
            assert size, "a tile is missing"
            assert at >= behind, "tiles are out of order"
            behind = at + size
    assert behind <= len(content), "the file is cut short"
