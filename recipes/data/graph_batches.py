"""Graphs as arrays, and their batches for `fit`, `evaluate` and `predict`.

A batch is (x, y), where x is what `recipes.gnn` takes: a dictionary of arrays of unlike lengths,

    "asked"     what the answer is wanted for: nodes int32 (t,), pairs of nodes (t, 2), graphs (t,)
    "features"  of the nodes, float32 (n, features); of sparse ones the values, (n, k),
    "columns"   and their places, int32 (n, k)
    "edges"     (source, target) of each, int32 (e, 2), in order of the targets
    "weights"   of the edges, float32 (e,)
    "sizes"     number of nodes of each graph, int32 (g,); nodes behind them are padding.

"asked" comes first in the alphabet: Keras weighs the losses of batches by its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes.data.core import Batches


@dataclass
class Graph:
    """One graph, or several side by side; the edges in order of their targets."""

    features: np.ndarray  # float32 (n, features), or values (n, k)
    edges: np.ndarray  # int32 (e, 2)
    weights: np.ndarray  # float32 (e,)
    sizes: np.ndarray  # int32 (g,)
    columns: np.ndarray | None = None  # int32 (n, k), of sparse features

    @property
    def shape(self) -> tuple[int]:
        """(nodes,)."""
        return (len(self.features),)

    @property
    def starts(self) -> np.ndarray:
        """The first edge into each node, and the end: (n + 1,)."""
        return np.searchsorted(self.edges[:, 1], np.arange(len(self.features) + 1))

    def inputs(self, asked: np.ndarray) -> dict[str, np.ndarray]:
        """What a model takes."""
        found = {"asked": np.asarray(asked, "int32"), "edges": self.edges}
        found |= {"features": self.features, "sizes": self.sizes, "weights": self.weights}
        return found if self.columns is None else {**found, "columns": self.columns}

    def part(
        self, nodes: np.ndarray, edges: np.ndarray, chosen: np.ndarray, sizes: np.ndarray,
        padding: tuple[int, int] | None = None,
    ) -> "Graph":  # fmt: skip
        """Some nodes with some edges, filled up to numbers of nodes and edges.

        Padding edges run from the last node, which is padding, to itself.

        Args:
            nodes: that are kept, in their new order.
            edges: (m, 2) in the numbers of the new order.
            chosen: which edges these are, for their weights.
            sizes: of the new graphs.
            padding: nodes, more than there are, and edges.
        """
        order = np.argsort(edges[:, 1], kind="stable")
        more = (0, 0)
        if padding is not None:
            more = (padding[0] - len(nodes), padding[1] - len(edges))

        def fill(rows: np.ndarray, count: int, value: float = 0) -> np.ndarray:
            filled = np.full((count, *rows.shape[1:]), value, rows.dtype)
            return np.concatenate([rows, filled]) if count else rows

        last = len(nodes) + more[0] - 1
        return Graph(
            fill(self.features[nodes], more[0]),
            fill(edges[order].astype("int32"), more[1], last),
            fill(self.weights[chosen[order]], more[1], 1),
            np.asarray(sizes, "int32"),
            None if self.columns is None else fill(self.columns[nodes], more[0]),
        )

    def graphs(self, chosen: np.ndarray, padding: tuple[int, int] | None = None) -> "Graph":
        """Some of the graphs, in this order."""
        ends = np.cumsum(self.sizes)
        sizes, first = self.sizes[chosen], (ends - self.sizes)[chosen]
        nodes = ranges(first, sizes)
        starts = self.starts
        counts = starts[first + sizes] - starts[first]
        which = ranges(starts[first], counts)
        shift = np.cumsum(sizes) - sizes - first  # from old numbers to new ones
        edges = self.edges[which] + np.repeat(shift, counts)[:, None]
        return self.part(nodes, edges, which, sizes, padding)

    def neighbourhood(
        self, nodes: np.ndarray, neighbours: Sequence[int], generator: np.random.Generator,
        starts: np.ndarray, padding: tuple[int, int] | None = None,
    ) -> "Graph":  # fmt: skip
        """Some nodes, first, with those that they hear of in as many steps as `neighbours` has.

        Hamilton, Ying & Leskovec 2017, algorithm 2: each node hears of at most so many neighbours,
        drawn without replacement. A node that is met twice keeps its first draws.

        Args:
            nodes: different ones.
            neighbours: most edges into a node, of `nodes` first, then one step further away.
            generator: of the draws.
            starts: those of this graph.
            padding: numbers of nodes and edges to fill up to.
        """
        place = np.full(len(self.features), -1)
        place[nodes] = np.arange(len(nodes))
        found, rim, picked = [nodes], nodes, []
        for most in neighbours:
            counts = starts[rim + 1] - starts[rim]
            which = ranges(starts[rim], counts)
            owner = np.repeat(np.arange(len(rim)), counts)
            order = np.lexsort((generator.random(len(which)), owner))
            rank = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
            which = which[order[rank < most]]
            picked.append(which)
            rim = np.unique(self.edges[which, 0])
            rim = rim[place[rim] < 0]
            place[rim] = sum(map(len, found)) + np.arange(len(rim))
            found.append(rim)
        nodes, which = np.concatenate(found), np.concatenate(picked)
        return self.part(nodes, place[self.edges[which]], which, [len(nodes)], padding)


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ..., start + count - 1, of one after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


class GraphBatches(Batches):
    """Nodes of a graph, or whole graphs, with what there is to know around them.

    Without `neighbours`, the nodes of one graph are one batch, since each step needs the whole
    graph anyway. With them, a batch holds `batch_size` nodes and what they hear of, drawn anew in
    each epoch of training and always the same elsewhere. Graphs come in batches of `batch_size`.
    Batches of training and evaluation are filled up to one size.

    Args:
        x: the graph, or the graphs.
        y: labels int32 of all nodes (n,) or graphs (g,).
        indices: nodes or graphs of this part.
        task: "nodes" or "graphs".
        batch_size: nodes or graphs in a batch.
        neighbours: most edges that a node hears by, in each step from the nodes of the batch.
        shuffle: a new order in each epoch.
        seed: of the order and of the draws.
        whole: leave out what fills no batch, others in each epoch.
    """

    def __init__(
        self,
        x: Graph,
        y: np.ndarray | None,
        indices: np.ndarray,
        task: str,
        batch_size: int,
        *,
        neighbours: Sequence[int] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        whole: bool = False,
    ):
        super().__init__(x, y, indices, tuple, batch_size, shuffle=shuffle, seed=seed, whole=whole)
        self.task, self.neighbours = task, neighbours
        self.at_once = task != "graphs" and neighbours is None
        self.starts = x.starts if neighbours else None
        self.padding = self._padding()

    def _padding(self) -> tuple[int, int] | None:
        """Nodes and edges that no batch exceeds, with a node for the padding edges."""
        if self.at_once or not self.size:
            return None
        count = min(self.batch_size, self.size)
        if self.task == "graphs":
            ends = np.cumsum(self.x.sizes)
            sides = np.stack([ends - self.x.sizes, ends])[:, self.indices]
            lengths = np.diff(self.x.starts[sides], axis=0)[0]
            most = [np.sort(a)[-count:].sum() for a in (self.x.sizes[self.indices], lengths)]
            return int(most[0]) + 1, int(most[1])
        nodes, edges, rim = count, 0, count
        for most in self.neighbours:
            rim *= most
            nodes, edges = nodes + rim, edges + rim
        degrees = np.diff(self.starts)
        all_edges = np.minimum(degrees, max(self.neighbours)).sum()
        return min(nodes, self.x.shape[0]) + 1, int(min(edges, all_edges))

    def __len__(self) -> int:
        return min(1, self.size) if self.at_once else super().__len__()

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Batch (x, y)."""
        start = range(len(self))[index] * self.batch_size  # IndexError ends a loop over batches
        if self.at_once:
            return self.x.inputs(self.indices), self.y[self.indices]
        chosen = self.order[start : start + self.batch_size]
        asked = np.arange(len(chosen))
        if self.task == "graphs":
            graph = self.x.graphs(chosen, self.padding)
        else:
            epoch = self.epoch if self.shuffle else 0
            generator = np.random.default_rng((self.seed, epoch, index))
            graph = self.x.neighbourhood(
                chosen, self.neighbours, generator, self.starts, self.padding
            )
        return graph.inputs(asked), self.y[chosen]

    def _arguments(self) -> dict[str, Any]:
        names = ("x", "y", "indices", "task", "batch_size", "neighbours", "shuffle", "seed")
        return {name: getattr(self, name) for name in (*names, "whole")}

    def sample(self, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """At most `count` nodes or graphs, spread evenly over the stored order: (x, y).

        Nodes come with the whole graph.
        """
        count = min(count, self.size)
        chosen = self.indices[np.arange(count) * self.size // max(1, count)]
        if self.task == "graphs":
            return self.x.graphs(chosen).inputs(np.arange(count)), self.y[chosen]
        return self.x.inputs(chosen), self.y[chosen]


class LinkBatches(GraphBatches):
    """Pairs of nodes that are joined (1), and as many that are not (0), in one batch.

    The pairs that are not are drawn by chance among all that no edge joins, one node to another:
    afresh in each epoch of training, and always the same elsewhere.

    Args:
        x: the graph of the training edges.
        y: all edges that are there, (m, 2), each once.
        indices: those of this part.
        task: "links".
        batch_size: has no meaning here: all pairs are one batch.
        directed: whether (a, b) is another pair than (b, a).
        shuffle: draw afresh in each epoch.
        seed: of the draws.
    """

    def __init__(self, x, y, indices, task, batch_size, *, directed=False, neighbours=None,
                 shuffle=False, seed=0, whole=False):  # fmt: skip
        super().__init__(x, y, indices, task, batch_size, shuffle=shuffle, seed=seed, whole=whole)
        self.directed = directed
        there = y if directed else np.sort(y, axis=1)
        self.codes = np.unique(there.astype("int64") @ (x.shape[0], 1))  # a n + b

    def absent(self, count: int, seed: Any) -> np.ndarray:
        """Different pairs without an edge, (count, 2), drawn by the seed; fewer where few are."""
        n, generator = self.x.shape[0], np.random.default_rng(seed)
        codes = np.empty(0, "int64")
        for _ in range(50):
            pairs = generator.integers(0, n, (2 * (count - len(codes)) + 8, 2))
            pairs = pairs if self.directed else np.sort(pairs, axis=1)
            drawn = pairs[pairs[:, 0] != pairs[:, 1]] @ (n, 1)
            drawn = drawn[~np.isin(drawn, self.codes)]
            codes = np.concatenate([codes, drawn])
            first = np.sort(np.unique(codes, return_index=True)[1])
            codes = codes[first][:count]
            if len(codes) == count:
                break
        return np.stack(np.divmod(codes, n), axis=1)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The batch: (x, y float32 (t,))."""
        range(len(self))[index]  # IndexError ends a loop over batches
        # Each part its own draws: the first edge tells them apart.
        seed = (self.seed, self.epoch + 1 if self.shuffle else 0, int(self.indices[0]))
        return self._asked(self.y[self.indices], self.absent(self.size, seed))

    def _asked(self, there: np.ndarray, absent: np.ndarray) -> tuple[dict, np.ndarray]:
        y = np.repeat(np.array([1, 0], "float32"), [len(there), len(absent)])
        return self.x.inputs(np.concatenate([there, absent])), y

    def sample(self, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """At most `count` pairs with an edge, and as many without."""
        part = self.first(count)
        return part[0]

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "directed": self.directed}


def mirrored(edges: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each edge in both directions: (e, 2), (e,) -> (2 e, 2), (2 e,)."""
    return np.concatenate([edges, edges[:, ::-1]]), np.concatenate([weights, weights])


def in_order(
    edges: np.ndarray, weights: np.ndarray, num_nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Edges in order of targets, then sources; one that is there twice counts once."""
    codes = edges[:, ::-1].astype("int64") @ (num_nodes, 1)
    _, first = np.unique(codes, return_index=True)
    return edges[first].astype("int32"), weights[first].astype("float32")


def sparse_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, f) as values float32 (n, k) and columns int32 (n, k), filled up with zeros."""
    rows, columns = np.nonzero(features)
    counts = np.bincount(rows, minlength=len(features))
    values = np.zeros((len(features), max(1, counts.max(initial=0))), "float32")
    places = np.zeros(values.shape, "int32")
    at = rows, ranges(np.zeros(len(counts), int), counts)
    values[at], places[at] = features[rows, columns], columns
    return values, places
