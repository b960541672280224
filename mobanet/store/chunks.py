"""How the arrays of a store lie on disk: in squares, so that a window is read without the rows it crosses.

In a file of rows, a window of 256 pixels lies in 256 places, and a disk reads pages of each of them and, beyond, what
it takes to be wanted next. Here an array of (H, W, ...) is a `.npy` file of (h, w, CHUNK, CHUNK, ...), a square of
pixels after the other, with zeros beyond the right and the bottom edge; the neighbours of one row of squares lie side
by side. `numpy.load` reads such a file; `from_chunks` puts what it gives together.
"""

import io
import math
from functools import lru_cache

import numpy as np

CHUNK = 64  # pixels a side: a window of 256 touches at most 5 x 5 chunks, which have 1.6 times its pixels
HEADER = 4096  # bytes before the first chunk: a page, so that chunks of a byte a pixel are whole pages, too


def is_chunked(name: str) -> bool:
    """Whether an array of a store lies in chunks: all but summaries of elevations and labels, which are small."""
    return not name.endswith((".blocks", ".marks"))


def chunked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the chunks of an array of (H, W, ...)."""
    return -(-shape[0] // CHUNK), -(-shape[1] // CHUNK), CHUNK, CHUNK, *shape[2:]


def chunked_size(shape: tuple[int, ...], dtype: np.dtype | str) -> int:
    """Bytes of the file of an array of (H, W, ...)."""
    return HEADER + math.prod(chunked_shape(shape)) * np.dtype(dtype).itemsize


def make_header(shape: tuple[int, ...], dtype: np.dtype | str) -> bytes:
    """What stands before the chunks of an array of (H, W, ...)."""
    file = io.BytesIO()
    content = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
    # by itself numpy fills up to a multiple of 64 bytes
    np.lib.format.write_array_header_1_0(file, {**content, "shape": chunked_shape(shape)})
    # magic and version, then 2 bytes of the length, which grows with the blanks that are put in here
    start, text = file.getvalue()[:8], file.getvalue()[10:].rstrip()
    return start + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11) + b"\n"


@lru_cache(maxsize=256)  # tiles of a store are mostly of a size
def read_header(header: bytes) -> tuple[tuple[int, ...], np.dtype]:
    """The shape of the chunks, (h, w, CHUNK, CHUNK, ...), and their type.

    Raises:
        ValueError: when that is no header of chunks; numpy may find other words for it.
    """
    file = io.BytesIO(header)
    np.lib.format.read_magic(file)
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if by_columns or file.tell() != HEADER or len(shape) < 4 or shape[2:4] != (CHUNK, CHUNK) or min(shape) < 1:
        raise ValueError(f"{dtype} of {shape} from byte {file.tell()} on")
    return shape, dtype


def to_chunks(rows: np.ndarray, chunks: np.ndarray, first: int) -> None:
    """Lay rows, (n, W, ...), into a row of chunks, (w, CHUNK, CHUNK, ...), from row `first` of these on."""
    whole = rows.shape[1] // CHUNK
    split = rows[:, : whole * CHUNK].reshape(len(rows), whole, CHUNK, *rows.shape[2:])
    chunks[:whole, first : first + len(rows)] = split.swapaxes(0, 1)
    if rest := rows.shape[1] - whole * CHUNK:
        chunks[whole, first : first + len(rows), :rest] = rows[:, whole * CHUNK :]


def from_chunks(chunks: np.ndarray, rows: np.ndarray, first: int, left: int) -> None:
    """The inverse of `to_chunks`, from column `left` of the first chunk on; `rows` are changed."""
    part = chunks[:, first : first + len(rows)]  # (w, n, CHUNK, ...)
    width = rows.shape[1]
    head = min(-left % CHUNK, width)
    whole = (width - head) // CHUNK
    # the first chunk is done with the head, unless the part begins where the chunk does
    at, end = int(left > 0), head + whole * CHUNK
    if head:
        rows[:, :head] = part[0, :, left : left + head]
    if whole:
        # a view, as reshaping only splits an axis here: what is laid into it lies in `rows`
        middle = rows[:, head:end].reshape(len(rows), whole, CHUNK, *rows.shape[2:])
        middle[:] = part[at : at + whole].swapaxes(0, 1)
    if end < width:
        rows[:, end:] = part[at + whole, :, : width - end]
