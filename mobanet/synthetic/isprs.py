"""The city as Potsdam or Vaihingen: which tiles, where they lie, and their files in folders or archives."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mobanet.synthetic.archives import pack
from mobanet.synthetic.delivery import CityPlan, Delivery, share_out
from mobanet.synthetic.files import world_file, write_bytes, write_raster
from mobanet.synthetic.noise import stream
from mobanet.synthetic.products import FileKind, layout_files
from mobanet.synthetic.scene import render_tile
from mobanet.synthetic.terrain import Relief


class IsprsDelivery(Delivery):
    """Potsdam or Vaihingen.

    Args:
        layout: `potsdam` or `vaihingen`.
    """

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.files = layout_files(layout)
        self.contents = self.files.contents

    def names(self, count: int) -> list[str]:
        """See `Delivery.names`; those of the split `paper`."""
        split = self.files.splits["paper"]
        return share_out(self.layout, (split.train, split.validation, split.test), count)

    def paths(self, plan: CityPlan, tile: str) -> list[str]:
        """See `Delivery.paths`."""
        found = list(self._paths(plan, Path(), tile))
        worlds = [path.with_suffix(".tfw") for product, path in found if product.world is not None]
        return [path.as_posix() for path in (*(path for _, path in found), *worlds)]

    def draw(self, plan: CityPlan, folder: Path, tile: str) -> None:
        """See `Delivery.draw`."""
        place = self._place(plan, tile)
        # one land for all tiles, so that they adjoin without a step
        relief = Relief(int(stream(plan.seed, plan.layout, "land").integers(2**31)), *self.files.elevation)
        drawn = render_tile((plan.seed, plan.layout, tile), self._shape(plan, tile), plan.gsd, relief, place)
        for product, path in self._paths(plan, folder, tile):
            write_raster(path, product.content, drawn)
            if product.world is not None:
                write_bytes(path.with_suffix(".tfw"), world_file(*place, plan.gsd))

    def strays(self) -> tuple[str, ...]:
        """See `Delivery.strays`."""
        return self.files.stray

    def archives(self) -> tuple[str, ...]:
        """See `Delivery.archives`."""
        return (self.files.archive,)

    def pack(self, plan: CityPlan, folder: Path, root: Path, names: Sequence[str]) -> None:
        """See `Delivery.pack`."""
        pack(root / self.files.archive, self._members(plan, folder, names), folder)

    def _has(self, tile: str, product: FileKind) -> bool:
        return not product.labelled_only or tile in self.files.labelled()

    def _paths(self, plan: CityPlan, folder: Path, tile: str) -> Iterator[tuple[FileKind, Path]]:
        """The kinds of file that a tile gets, and where they lie unpacked."""
        for product in self.files.products:
            stray = tile in self.files.stray and product.content != "labels_eroded"
            if (
                product.folder is not None
                and product.content in plan.products
                and self._has(tile, product)
                and not stray
            ):
                yield product, folder / product.folder / product.file_name(tile)

    def _shape(self, plan: CityPlan, tile: str) -> tuple[int, int]:
        """Rows and columns of a tile."""
        spread = self.files.uneven
        factors = 1 + stream(plan.seed, plan.layout, tile, "size").uniform(-spread, spread, 2)
        return round(plan.size * factors[0]), round(plan.size * factors[1])

    def _place(self, plan: CityPlan, tile: str) -> tuple[float, float]:
        """Easting and northing of a tile in UTM: in Potsdam's grid of adjoining squares, or Vaihingen's loose one."""
        side = plan.size * plan.gsd
        if plan.layout == "potsdam":
            row, column = (int(part) for part in tile.split("_"))
            return 364000.0 + column * side, 5812000.0 - row * side
        row, column = divmod(int(tile), 7)
        return 496000.0 + column * 1.25 * side, 5421000.0 - row * 1.25 * side

    def _members(self, plan: CityPlan, folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
        """What goes into the archives: inner zip, name in it, file."""
        for tile in names:
            drawn = {product.content: path for product, path in self._paths(plan, folder, tile)}
            for product in self.files.products:
                if (path := drawn.get(product.content)) is None or not self._has(tile, product):
                    continue
                name = Path(product.file_name(tile))
                for packed, member, file in (
                    (product.packed, name, path),
                    (product.world, name.with_suffix(".tfw"), path.with_suffix(".tfw")),
                ):
                    if packed is not None:
                        stem, inside = packed
                        yield stem, (Path(inside) / member).as_posix(), file
