"""Small pieces and small holes of a map given to a neighbour, pixel by pixel, so that polygons still cover it exactly.

A map is gone through twice, a few rows at a time: once for all its pieces and what they touch, once to write the
classes that come of it. How the rows are cut does not matter.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mobanet.prediction.neighbours import Graph, find_neighbours
from mobanet.prediction.strips import MapStrip, MapStrips
from mobanet.rasters.components import NONE, label_pieces, root_of


@dataclass(frozen=True)
class Generalised:
    """The rows of a map, cut as for the graph, without its small pieces and holes; `value` has each piece's class."""

    strips: MapStrips
    value: np.ndarray

    def __iter__(self) -> Iterator[MapStrip]:
        """Read them anew."""
        passed = 0
        for strip in self.strips:
            labels, own = label_pieces(strip.classes)
            # label 0 is pixels without a class
            values = np.append(np.uint8(NONE), self.value[passed : passed + len(own)])
            passed += len(own)
            yield replace(strip, classes=values[labels])


def generalised(strips: MapStrips, sides: tuple[float, float], minimum_area: float, fill_holes: float) -> Generalised:
    """Fill small holes, then give small pieces to the neighbour with the longest shared border.

    A hole is whatever one piece encloses, of one or more pieces, by sides; one that has pixels without a class in it,
    or reaches the map's edge, is none. Of the pieces that are too small the one with the fewest pixels goes first (of
    equal ones that which begins further up, then left), to the neighbour with the longest border (likewise), and all
    neighbours of that one's class become one with it. A piece without a neighbour stays.

    Args:
        strips: of the map, with areas.
        sides: of a pixel along rows and along columns, in metres.
        minimum_area: square metres; 0 leaves all pieces.
        fill_holes: square metres; 0 leaves all holes.
    """
    graph = find_neighbours(strips, max(minimum_area, fill_holes))
    merged = _Merged(graph, sides)
    # holes first: a piece counts with what fills it, and may so be large enough to stay
    if fill_holes:
        merged.fill(fill_holes)
    if minimum_area:
        merged.give_away(minimum_area)
    return Generalised(strips, merged.values())


class _Merged:
    """Pieces that have become one; those that touch no small piece are left out."""

    def __init__(self, graph: Graph, sides: tuple[float, float]) -> None:
        self.graph, (self.across, self.down) = graph, sides
        self.nodes, pairs = np.unique(graph.pairs, return_inverse=True)
        pairs = pairs.reshape(-1, 2)
        # both ways, by the piece that it is the neighbour of; loops of Python go through them number by number
        source, target = np.concatenate([pairs, pairs[:, ::-1]]).T
        order = np.argsort(source, kind="stable")
        lengths = np.concatenate([graph.sides, graph.sides])[order]
        # as memoryviews, out of which Python's own numbers come, faster to reckon with one by one than numpy's
        self.begins = np.searchsorted(source[order], np.arange(len(self.nodes) + 1)).data
        self.targets = np.ascontiguousarray(target[order]).data
        self.columns, self.rows = (np.ascontiguousarray(lengths[:, k]).data for k in range(2))
        self.value = graph.value[self.nodes].data
        self.pixels, self.area = graph.pixels[self.nodes].data, graph.area[self.nodes].data
        self.parents: dict[int, int] = {}
        self.members: dict[int, list[int]] = {}
        """Of pieces that are still small: those that they are made of."""

    def values(self) -> np.ndarray:
        """(n,) uint8, the class of each number of the graph."""
        value = self.graph.value.copy()
        for node in self.parents:
            value[self.nodes[node]] = self.value[root_of(self.parents, node)]
        own = np.array(self.value, np.uint8)
        whole = np.array([node not in self.parents for node in range(len(own))], bool)
        value[self.nodes[whole]] = own[whole]
        return value[self.graph.root]

    def _neighbours(self, node: int) -> range:
        return range(self.begins[node], self.begins[node + 1])

    # holes

    def fill(self, most: float) -> None:
        """Give what a piece encloses to that piece, where it is smaller than `most` square metres.

        Of the small pieces a tree is laid from the outside: the large ones, the map's edge, pixels without a class.
        What hangs below a piece, and reaches nothing above it, is enclosed by it (Tarjan's articulation points).
        """
        outside = self.graph.outside[self.nodes]
        small = np.array(self.area) < most
        seen: dict[int, int] = {}
        for node in range(len(self.nodes)):
            if small[node] and node not in seen and (outside[node] or self._large_beside(node, small)):
                self._fill_below(node, most, small, outside, seen)

    def _large_beside(self, node: int, small: np.ndarray) -> set[int]:
        return {self.targets[k] for k in self._neighbours(node) if not small[self.targets[k]]}

    def _fill_below(
        self, first: int, most: float, small: np.ndarray, outside: np.ndarray, seen: dict[int, int]
    ) -> None:
        """Go through all small pieces that hang together with one that touches the outside, whose number is 0."""
        order, low = [first], {}
        seen[first] = 1
        below: dict[int, float] = {}
        # by hand, as more pieces may hang together than Python lets calls lie in one another
        path = [(first, iter(self._neighbours(first)))]
        enclosed: list[tuple[int, int, int]] = []  # from and up to which place in `order`, by which piece
        places = {first: 0}
        around, open_ended = set(), False
        while path:
            node, rest = path[-1]
            if node not in below:
                below[node] = self.area[node]
                large = self._large_beside(node, small)
                around |= large
                open_ended |= bool(outside[node])
                # whoever touches a large piece reaches the outside by it, since no small piece can enclose a large one
                low[node] = 0 if large or outside[node] else seen[node]
            for k in rest:
                other = self.targets[k]
                if not small[other]:
                    continue
                if other in seen:
                    low[node] = min(low[node], seen[other])
                    continue
                seen[other] = len(order) + 1
                places[other] = len(order)
                order.append(other)
                path.append((other, iter(self._neighbours(other))))
                break
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    if low[node] >= seen[above] and below[node] < most:
                        enclosed.append((places[node], len(order), above))
                    low[above] = min(low[above], low[node])
                    below[above] += below[node]
        # one large piece around all of them: they are its hole as a whole
        if len(around) == 1 and not open_ended and below[first] < most:
            enclosed = [(0, len(order), around.pop())]
        for begin, end, by in enclosed:  # inner ones first; what an outer piece takes comes to it by way of its own
            for node in order[begin:end]:
                if node not in self.parents:
                    self.parents[node] = by
                    self.pixels[by] += self.pixels[node]
                    self.area[by] += self.area[node]

    # small pieces

    def give_away(self, least: float) -> None:
        """Merge pieces smaller than `least` square metres."""
        waiting = [
            (self.pixels[node], node)
            for node in range(len(self.nodes))
            if self.area[node] < least and node not in self.parents
        ]
        heapq.heapify(waiting)
        while waiting:
            pixels, node = heapq.heappop(waiting)
            # an entry from before it grew, as a heap's entries cannot be changed; a later one has its size of now
            if node in self.parents or pixels != self.pixels[node] or self.area[node] >= least:
                continue
            lengths = self._borders(node)
            if not lengths:
                continue
            best = max(lengths, key=lambda other: (lengths[other], -other))
            alike = [other for other in lengths if self.value[other] == self.value[best]]
            root = self._unite([node, *alike], self.value[best], least)
            if self.area[root] < least:
                heapq.heappush(waiting, (self.pixels[root], root))

    def _borders(self, node: int) -> dict[int, float]:
        """Length of the border with each neighbour, in metres."""
        sides: dict[int, list[int]] = {}
        for member in self.members.get(node, [node]):
            for k in self._neighbours(member):
                other = root_of(self.parents, self.targets[k])
                if other != node:
                    both = sides.setdefault(other, [0, 0])
                    both[0] += self.columns[k]
                    both[1] += self.rows[k]
        # a side along columns is as long as a pixel is high
        return {other: along * self.down + across * self.across for other, (along, across) in sides.items()}

    def _unite(self, nodes: list[int], value: int, least: float) -> int:
        # the one that begins first, by which ties are settled
        root = min(nodes)
        pixels, area = sum(self.pixels[node] for node in nodes), sum(self.area[node] for node in nodes)
        members = [member for node in nodes for member in self.members.pop(node, [node])]
        for node in nodes:
            if node != root:
                self.parents[node] = root
        self.value[root], self.pixels[root], self.area[root] = value, pixels, area
        if area < least:
            self.members[root] = members
        return root
