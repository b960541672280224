"""Label rasters as class indices, strip by strip, and what is said of them once all strips are known."""

from collections.abc import Callable, Iterable

import numpy as np

from mobanet.datasets.base import Layout
from mobanet.errors import UserError
from mobanet.rasters.contents import IGNORE_INDEX, DecodedLabel, FileRef

_SOME = 100_000  # pixels of a label that are looked at for an example of what is wrong with it
MOSTLY = 0.5  # a label in which more than this share of the pixels names no class is taken for a wrong file

Raw = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""A strip of a label raster, from `read_label`: (bands, h, W) values; (h, W) bool, pixels without a label; and (h, W)
bool, pixels with the nodata value, None where none is declared."""


class LabelDecoder:
    """Decodes one label raster. What the raster itself calls missing is ignored.

    Its nodata value is not, where the layout names a class by it: that comes from the user, and nodata often from
    whichever program wrote the file.

    Attributes:
        size: pixels that were counted.
        corrected, unknown: of these, as in `DecodedLabel`.
        notes: remarks so far.
    """

    def __init__(self, layout: Layout, file: FileRef) -> None:
        self.layout, self.file = layout, file
        self.size = self.corrected = self.unknown = 0
        self.notes: list[str] = []
        self._ignored = 0
        self._empty_counts: bool | None = None

    def count(self, values: np.ndarray, missing: np.ndarray, empty: np.ndarray | None) -> np.ndarray:
        """Class indices of a strip, (h, W) uint8, whose pixels are counted; for the arguments see `Raw`.

        Raises:
            UserError: when it is no label of the layout.
        """
        decoded = self._decoded(values, missing, empty)
        self.size += decoded.classes.size
        self.corrected += decoded.corrected
        self.unknown += decoded.unknown
        self._ignored += int(np.count_nonzero(decoded.classes == IGNORE_INDEX))
        return decoded.classes

    def judge(self, again: Callable[[], Iterable[Raw]]) -> None:
        """Refuse a raster whose pixels, as far as they were counted, mostly name no class.

        Raises:
            UserError: with the value or colour that is met most, for which `again` gives the strips once more.
        """
        share = self.unknown / max(1, self.size)
        if share > MOSTLY:
            raise UserError(
                f"{self.file} names no class in {100 * share:.0f} % of its pixels, such as {self._example(again())}: "
                f"{self.layout.label_remedy}"
            )

    def _decoded(self, values: np.ndarray, missing: np.ndarray, empty: np.ndarray | None) -> DecodedLabel:
        try:
            if empty is not None and empty.any():
                if self._empty_counts is None:
                    # any such pixel will do, for all of them have the nodata values in all bands
                    self._empty_counts = self._is_class(values[(slice(None), *np.argwhere(empty)[0])])
                if not self._empty_counts:
                    missing = missing | empty
            if not missing.any():
                return self.layout.decode_label(values)
            # without missing pixels, whose values would be counted as naming no class
            inside = self.layout.decode_label(values[:, ~missing][:, :, None])  # (bands, valid pixels, 1)
        except UserError as error:
            raise UserError(f"{self.file} {error}") from error
        classes = np.full(missing.shape, IGNORE_INDEX, np.uint8)
        classes[~missing] = inside.classes[:, 0]
        return DecodedLabel(classes, inside.corrected, inside.unknown)

    def _is_class(self, alone: np.ndarray) -> bool:
        """Whether the nodata value, (bands,), is that of a class, which is then said."""
        index = int(self.layout.decode_label(alone[:, None, None]).classes[0, 0])
        if index == IGNORE_INDEX:
            return False
        value = ", ".join(f"{number:g}" for number in alone.tolist())
        name = self.layout.classes.names[index]
        self.notes.append(f"{self.file.name} declares {value} as nodata, which is the class {name} and counts as it")
        return True

    def _example(self, raw: Iterable[Raw]) -> str:
        """The most frequent value or colour that names no class, among some of the pixels without one."""
        step, passed, some = max(1, self._ignored // _SOME), 0, []
        for values, missing, empty in raw:
            without = values[:, self._decoded(values, missing, empty).classes == IGNORE_INDEX]  # (bands, pixels)
            # on from where the last strip left off, so that the example does not depend on strips
            some.append(without[:, -passed % step :: step])
            passed += without.shape[1]
        found, counts = np.unique(np.concatenate(some, axis=1), axis=1, return_counts=True)
        # stable: of equally frequent ones always the same, and the sentence with it
        for number in np.argsort(-counts, kind="stable"):
            if self.layout.decode_label(found[:, number, None, None]).unknown:  # not one that is to be ignored
                break
        return ", ".join(f"{value:g}" for value in found[:, number].tolist())
