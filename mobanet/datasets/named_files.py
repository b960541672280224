"""Layouts whose files are told apart by their names: files are products of tiles, products become modalities."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mobanet.datasets.base import LABEL_KINDS, LabelKind, Layout, Survey, Tile
from mobanet.datasets.catalogue import Catalogue, Entry
from mobanet.errors import UserError
from mobanet.plain.wording import natural_key, shorten
from mobanet.rasters.contents import FileRef, Source


@dataclass(frozen=True)
class Recipe:
    """One way to get a modality: from these bands, from 1, of this product, which must have `count` (None: any)."""

    product: str
    bands: tuple[int, ...]
    count: int | None
    minimum: float | None = None
    factor: float | None = None


class RecipeLayout(Layout):
    """Files are sorted into products by name, products into modalities by recipes.

    Attributes:
        recipes: by modality, in order of preference.
        worlds: products of world files that can place a tile, in order of preference.
    """

    recipes: ClassVar[dict[str, tuple[Recipe, ...]]]
    worlds: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def products(self, catalogue: Catalogue, scratch: Path | None) -> tuple[list[tuple[Entry, str, str]], list[str]]:
        """Every file that belongs to the data set with its tile id and product, and remarks.

        Products are those of the recipes, `label_full`, `label_eroded`, and those in `worlds`.
        """

    @abstractmethod
    def expected(self, tile: str, product: str) -> str:
        """The official file name of a product."""

    def survey(self, catalogue: Catalogue, modalities: Iterable[str], scratch: Path | None = None) -> Survey:
        """See `Layout.survey`."""
        wanted = tuple(modalities)
        sorted_files, notes = self.products(catalogue, scratch)
        rasters = {recipe.product for recipes in self.recipes.values() for recipe in recipes}
        if not any(product in rasters for _, _, product in sorted_files):
            raise UserError(
                f"{catalogue.root} holds no file of layout {self.name}, such as "
                f"{self.expected(self._example(), self.recipes[wanted[0]][0].product)}: give the folder with the "
                "official zip archives or what was in them."
            )
        table: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
        tiles_in: dict[tuple[str, str], set[str]] = defaultdict(set)
        for entry, tile, product in sorted_files:
            table[tile][product].append(entry)
            tiles_in[entry.folder, product].add(tile)
        for products in table.values():
            for product, entries in products.items():
                # the fullest set first, then what is unpacked already
                entries.sort(key=lambda e: (-len(tiles_in[e.folder, product]), e.file.member is not None, e.location))
        found: list[Tile] = []
        bare: list[Tile] = []
        for tile in sorted(table, key=natural_key):
            made = self._tile(tile, table[tile], wanted)
            (found if made.sources else bare).append(made)
        notes.extend(self._bare(bare, wanted))
        if not found:
            raise UserError(
                f"{catalogue.root} holds files of layout {self.name} but nothing for {', '.join(wanted)}: "
                f"add files such as {next(iter(bare[0].missing.values()))}, or name other modalities."
            )
        return Survey(tuple(found), tuple(notes))

    def _example(self) -> str:
        return next(iter(self.splits.values())).train[0]

    def _tile(self, tile: str, products: dict[str, list[Entry]], wanted: tuple[str, ...]) -> Tile:
        notes: list[str] = []
        usable: dict[str, list[Entry]] = {}
        for product, entries in products.items():
            # an empty file counts as none, so that another recipe steps in, as lastools does for Potsdam's ownapproach
            usable[product] = [entry for entry in entries if entry.size > 0]
            notes.extend(f"{entry.location} is empty and was passed over" for entry in entries if entry.size == 0)
        sources: dict[str, Source] = {}
        counts: dict[str, int] = {}
        missing: dict[str, str] = {}
        copies: dict[str, tuple[FileRef, ...]] = {}
        for name in wanted:
            recipe = next((recipe for recipe in self.recipes[name] if usable.get(recipe.product)), None)
            if recipe is None:
                missing[name] = " or ".join(self.expected(tile, recipe.product) for recipe in self.recipes[name])
                continue
            # of the others only the size in pixels is looked at, where tiles are prepared (`compare_copies`)
            first, *others = usable[recipe.product]
            # recipes count from 1, as the data sets' own papers and GDAL do; sources from 0
            bands = tuple(number - 1 for number in recipe.bands)
            sources[name] = Source(first.file, bands, minimum=recipe.minimum, factor=recipe.factor)
            copies[name] = tuple(other.file for other in others)
            if recipe.count is not None:
                counts[name] = recipe.count
        labels: dict[LabelKind, FileRef] = {}
        for kind in LABEL_KINDS:
            if there := usable.get(f"label_{kind}"):
                labels[kind] = there[0].file
                copies[f"label_{kind}"] = tuple(other.file for other in there[1:])
        world = next((usable[product][0].file for product in self.worlds if usable.get(product)), None)
        return Tile(tile, sources, labels, counts, missing, copies, world, tuple(notes))

    def _bare(self, tiles: list[Tile], wanted: tuple[str, ...]) -> list[str]:
        if not tiles:
            return []
        names = shorten(tile.id for tile in tiles)
        return [f"left out, since there is nothing of {', '.join(wanted)} for them: {names}"]
