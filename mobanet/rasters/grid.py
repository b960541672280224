"""Where the pixels of a raster are."""

from dataclasses import dataclass

import numpy as np

from mobanet.rasters.reference_systems import same_plane


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster are.

    Attributes:
        height, width: rows and columns.
        transform: affine pixel-to-map coefficients (a, b, c, d, e, f), None when not georeferenced.
        crs: coordinate reference system as text, None when unknown.
    """

    height: int
    width: int
    transform: tuple[float, ...] | None = None
    crs: str | None = None

    @property
    def size(self) -> str:
        """`width x height`, for messages."""
        return f"{self.width} x {self.height}"

    @property
    def coefficients(self) -> tuple[float, ...]:
        """Those of `transform`; of a grid that is not georeferenced, in pixels."""
        return self.transform or (1, 0, 0, 0, 1, 0)

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3), from (column, row, 1) to (x, y, 1)."""
        return np.array([*self.coefficients, 0, 0, 1], np.float64).reshape(3, 3)

    def corners(self) -> np.ndarray:
        """(4, 2), map coordinates of the four corners."""
        right, bottom = self.width, self.height
        pixels = np.array([(0, 0, 1), (right, 0, 1), (right, bottom, 1), (0, bottom, 1)])
        return (pixels @ self.matrix.T)[:, :2]

    @property
    def extent(self) -> str:
        """`left to right, bottom to top`, for messages."""
        (left, bottom), (right, top) = self.corners().min(axis=0), self.corners().max(axis=0)
        return f"{left:.10g} to {right:.10g}, {bottom:.10g} to {top:.10g}"

    @property
    def steps(self) -> tuple[float, float]:
        """Length of a pixel along the rows and along the columns, in units of the reference system."""
        across, down = np.hypot(self.matrix[0, :2], self.matrix[1, :2]).tolist()
        return across, down

    def with_pixels_of(self, other: "Grid") -> "Grid":
        """The same place from the same corner on, in pixels as large as another grid's."""
        return self.in_pixels(*(theirs / own for theirs, own in zip(other.steps, self.steps, strict=True)))

    def in_pixels(self, wide: float, high: float) -> "Grid":
        """The same place from the same corner on, in pixels so many times as wide and as high."""
        a, b, x, d, e, y = self.coefficients
        size = (max(1, round(self.height / high)), max(1, round(self.width / wide)))
        return Grid(*size, (a * wide, b * high, x, d * wide, e * high, y), self.crs)

    def coarser(self, ratio: int) -> "Grid":
        """The same place from the same corner on, in pixels so many times as wide and high, as many as cover it."""
        a, b, x, d, e, y = self.coefficients
        transform = None if self.transform is None else (a * ratio, b * ratio, x, d * ratio, e * ratio, y)
        return self if ratio == 1 else Grid(-(-self.height // ratio), -(-self.width // ratio), transform, self.crs)

    def finer(self, ratio: int) -> "Grid":
        """The same place in pixels so many times as narrow and low."""
        a, b, x, d, e, y = self.coefficients
        transform = None if self.transform is None else (a / ratio, b / ratio, x, d / ratio, e / ratio, y)
        return self if ratio == 1 else Grid(self.height * ratio, self.width * ratio, transform, self.crs)

    def needs_transform(self, other: "Grid") -> bool:
        """Whether coordinates have to be brought from one system to the other: not within one plane, named or not."""
        if self.crs is None or other.crs is None:
            # two systems that are not known may be taken for one, but not one beside a name
            return self.crs != other.crs
        return not same_plane(self.crs, other.crs)

    def same_as(self, other: "Grid") -> bool:
        """Same size, same system, and corners no more than a twentieth of a pixel apart."""
        if (self.height, self.width) != (other.height, other.width) or self.needs_transform(other):
            return False
        # corners and not coefficients: a tiny difference in the size of a pixel adds up across a raster
        apart = (self.corners() - other.corners()) @ np.linalg.inv(self.matrix[:2, :2]).T  # in columns and rows
        return bool(np.abs(apart).max() <= 0.05)
