"""Graphs: classes of nodes, links that are missing, or classes of whole graphs.

Node classification sees the whole graph, and the labels of its training nodes alone. Link
prediction sees the graph without the validation and test links. Batches are dictionaries of arrays:
see `recipes.data.graph_batches`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check
from recipes.contract.arguments import check_vocabulary
from recipes.data import arrays, tables
from recipes.data.core import Data, Source, check_options, labels_and_names, split
from recipes.data.graph_batches import (
    Graph,
    GraphBatches,
    LinkBatches,
    in_order,
    sparse_rows,
)
from recipes.data.graph_sources import Raw, from_networkx, read

TASKS = ("nodes", "links", "graphs")
FRACTIONS = {"nodes": (0.2, 0.5), "links": (0.05, 0.1), "graphs": (0.1, 0.2)}
SPARSE_SHARE, SPARSE_FEATURES = 0.1, 64  # few of many numbers: kept as values and places


class GraphTransform:
    """Raw graphs to the arrays that a model takes.

    Args:
        task: "nodes", "links" or "graphs".
        encoding: of the features: "array", as they are; "table", columns of numbers and
            categories; "identity", a feature for each node; "degree", one for each degree.
        num_features: how many there are.
        normalize: scale each node's features to the sum 1.
        sparse: keep those that are not zero.
        table: configuration of a `TableTransform`, for the encoding "table".
        target: attribute or column of the labels, which is no feature.
    """

    def __init__(
        self,
        task: str,
        encoding: str,
        num_features: int,
        normalize: bool = False,
        sparse: bool = False,
        table: Mapping[str, Any] | None = None,
        target: str | None = None,
    ):
        self.task, self.encoding, self.num_features = task, encoding, num_features
        self.normalize, self.sparse, self.target = normalize, sparse, target
        self.table = None if table is None else tables.TableTransform(**table)

    def __call__(self, raws: Sequence[Raw]) -> Graph:
        """Graphs side by side.

        Raises:
            ValueError: features of another number than those of the training.
        """
        features = [self.features(raw) for raw in raws]
        sizes = np.array([len(raw.names) for raw in raws], "int32")
        starts = np.cumsum(sizes) - sizes
        edges = np.concatenate([r.edges + s for r, s in zip(raws, starts, strict=True)])
        weights = np.concatenate([raw.weights for raw in raws])
        both = np.concatenate([np.full(len(r.edges), not r.directed) for r in raws])
        edges, weights = (
            np.concatenate([one, two])
            for one, two in zip((edges, weights), (edges[both, ::-1], weights[both]), strict=True)
        )
        edges, weights = in_order(edges, weights, sizes.sum())
        if not self.sparse:
            return Graph(np.concatenate(features), edges, weights, sizes)
        rows = [sparse_rows(f) if isinstance(f, np.ndarray) else f for f in features]
        width = max(values.shape[1] for values, _ in rows)
        values, columns = (
            np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])
            for parts in zip(*rows, strict=True)
        )
        return Graph(values, edges, weights, sizes, columns)

    def features(self, raw: Raw) -> Any:
        """Of one graph: float32 (n, f), or (values, columns) where they are made up."""
        n = len(raw.names)
        if self.encoding in ("identity", "degree"):
            places = np.arange(n)
            if self.encoding == "degree":
                places = np.minimum(degrees(raw), self.num_features - 1)
            else:
                wanted = f"has no features, and the model knows {self.num_features} nodes by number"
                check(n == self.num_features, "graph", f"of {n} nodes", wanted)
            return np.ones((n, 1), "float32"), places[:, None].astype("int32")
        if self.table is not None:
            wanted = "the model was trained on nodes with attributes"
            check(hasattr(raw.features, "columns"), "features", type(raw.features), wanted)
            missing = [c for c in (*self.table.numbers, *self.table.categories)
                       if c not in raw.features]  # fmt: skip
            check(not missing, "features", list(raw.features.columns), f"lacks {missing}")
            found = self.table(raw.features)
        else:
            found = _numbers(raw.features)
        wanted = f"the model takes (n, {self.num_features})"
        check(found.shape == (n, self.num_features), "features", f"array {found.shape}", wanted)
        if self.normalize:
            sums = found.sum(axis=1, keepdims=True)
            found = found / np.where(sums == 0, 1, sums)
        return found

    def read(self, source: Any) -> tuple[list, dict[str, np.ndarray]]:
        """New graphs, from files or as `load` takes them -> names of the outputs, and inputs.

        Raises:
            ValueError: no such file, or no graph.
        """
        if isinstance(source, list | tuple) and len(source) == 1:
            source = source[0]
        several = isinstance(source, list | tuple)
        given = source if several else [source]
        found = [read(s, self.task, self.target, new=True)[0] for s in given]
        raws = [raw for part in found for raw in part]
        if self.task == "graphs":
            names = [str(s) for s in source] if several and _are_paths(source) else range(len(raws))
            names = list(names) if len(names) == len(raws) else list(range(len(raws)))
            return names, self(raws).inputs(np.arange(len(raws)))
        check(len(raws) == 1, "inputs", f"{len(raws)} graphs", "this model takes one")
        graph, names = self(raws), list(raws[0].names)
        if self.task == "nodes":
            return names, graph.inputs(np.arange(len(names)))
        pairs = raws[0].edges
        return [f"{names[a]} - {names[b]}" for a, b in pairs], graph.inputs(pairs)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        names = ("task", "encoding", "num_features", "normalize", "sparse", "target")
        table = None if self.table is None else self.table.get_config()
        return {**{name: getattr(self, name) for name in names}, "table": table}


TRANSFORM = GraphTransform


def _numbers(features: Any) -> np.ndarray:
    """Features as float32 (n, f), checked."""
    features = np.asarray(features.todense() if hasattr(features, "todense") else features)
    ok = features.ndim == 2 and features.dtype.kind in "iufb" and features.shape[1]
    wanted = "must be numbers (nodes, features)"
    check(ok, "features", f"{features.dtype} array of shape {features.shape}", wanted)
    check(np.isfinite(features).all(), "features", "NaN or infinity", wanted)
    return features.astype("float32")


def degrees(raw: Raw) -> np.ndarray:
    """Of the incoming edges of each node, or of all where they have no direction: (n,)."""
    ends = raw.edges[:, 1] if raw.directed else raw.edges.ravel()
    return np.bincount(ends, minlength=len(raw.names))


def _karate() -> Raw:
    import networkx

    raw = from_networkx(networkx.karate_club_graph(), "club")
    # The two leaders: all else follows from who meets whom.
    rest = np.setdiff1d(np.arange(34), (0, 33))
    raw.parts = {"train": np.array([0, 33]), "validation": rest[::2], "test": rest[1::2]}
    return raw


def nearest_neighbours(x: np.ndarray, k: int) -> np.ndarray:
    """An edge from each of the k nearest others to each row of x (n, f): (k n, 2)."""
    squares = np.square(x).sum(axis=1)
    found = []
    for start in range(0, len(x), 1000):
        part = x[start : start + 1000]
        distances = squares - 2 * part @ x.T  # but for the row's own square
        distances[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        found.append(np.argpartition(distances, k - 1, axis=1)[:, :k])
    sources = np.concatenate(found)
    return np.stack([sources.ravel(), np.repeat(np.arange(len(x)), k)], axis=1)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.data / 16.0, found.target


def _digits_knn(k: int = 8) -> Raw:
    x, y = _digits()
    return Raw(nearest_neighbours(x, k), range(len(x)), x, labels=y)


def _digit_graphs() -> list[Raw]:
    """Each digit's inked pixels, joined to those that they touch."""
    x, y = _digits()
    places = np.stack(np.meshgrid(range(8), range(8), indexing="ij"), axis=-1).reshape(64, 2)
    touches = np.abs(places[:, None] - places[None]).max(axis=-1) == 1
    found = []
    for pixels, label in zip(x, y, strict=True):
        inked = np.flatnonzero(pixels >= 0.25)
        edges = np.argwhere(np.triu(touches[np.ix_(inked, inked)]))
        features = np.column_stack([pixels[inked], places[inked] / 3.5 - 1])
        found.append(Raw(edges, inked.tolist(), features, labels=label))
    return found


_DIGITS = {"licence": "CC BY 4.0 (UCI)", "citation": "Alpaydin & Kaynak 1998, Optical recognition "
           "of handwritten digits, UCI"}  # fmt: skip
EMBEDDED = {"karate": _karate, "digits_knn": _digits_knn, "digit_graphs": _digit_graphs}
ABOUT = {
    "karate": {"licence": "BSD-3-Clause, as NetworkX", "citation": "Zachary 1977, An information "
               "flow model for conflict and fission in small groups"},
    "digits_knn": _DIGITS,
    "digit_graphs": _DIGITS,
}  # fmt: skip


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    task: str = "auto",
    neighbours: Sequence[int] | None = None,
    labels_per_class: int | None = None,
    k: int = 8,
    target: str | None = None,
    directed: bool | None = None,
    normalize: bool | None = None,
    validation_fraction: float | None = None,
    test_fraction: float | None = None,
) -> Data:
    """Load a graph, or graphs.

    Edges go both ways, unless the source says that they are directed. One that is there twice
    counts once; one from a node to itself stays. Nodes without features get one each of their own
    (a class of nodes, links) or one for each degree (classes of graphs).

    Args:
        source: "karate", whose 34 members fell out; "digits_knn", scikit-learn's 1,797 digits,
            each joined to the `k` most alike; "digit_graphs", a graph for each of them, of its
            inked pixels; a folder of Planetoid files (`ind.cora.x` ...); a folder with tables
            `nodes` and `edges` (.csv, .tsv, .parquet): names of the nodes first, and the label in
            the last column; or as a dictionary {"nodes": ..., "edges": ...} of such files or
            frames; a .graphml or .gml file, or a folder of them with one sub-folder a class; a
            NetworkX graph; a dictionary of arrays, features (n, f), edges (e, 2), weights (e,),
            labels (n,), train, validation, test (masks or numbers of nodes), or such as
            torch-geometric has them (x, edge_index, edge_weight, y, train_mask ...); a list of
            graphs with a label each.
        batch_size: graphs in a batch, or nodes where there are `neighbours`. Otherwise a batch is
            the whole graph.
        seed: of the splits, of the order, and of what is drawn.
        task: "nodes", "links", "graphs", or "auto": graphs where there are many, nodes where they
            have labels, otherwise links.
        neighbours: most neighbours that a node hears of, step by step away from the nodes of a
            batch, such as (25, 10); for graphs too large for one step.
        labels_per_class: training nodes of each class, the others have no label; default all, of
            "digits_knn" 10.
        k: neighbours in "digits_knn".
        target: attribute or column of the labels; default "y" or "label", of tables the last.
        directed: whether an edge goes from its source to its target only.
        normalize: scale each node's features to the sum 1; default: of Planetoid files, for classes
            of nodes (for links the papers did not).
        validation_fraction: share of the labelled nodes (0.2), links (0.05) or graphs (0.1), where
            the source has no such part.
        test_fraction: likewise; 0.5, 0.1 or 0.2.

    Returns:
        `Data` whose batches are (x, y): x a dictionary, y labels int32 (t,), or float32 (t,): 1
        for links that are there.

    Raises:
        ValueError: a source that is not there or holds no graph, edges to nodes that are not there,
            parts that overlap, or an option out of its range.
    """
    check_options(batch_size=batch_size, seed=seed, validation_fraction=validation_fraction or 0,
                  test_fraction=test_fraction or 0)  # fmt: skip
    check_vocabulary({"count": labels_per_class}, optional=("count",))
    for name, value in (("directed", directed), ("normalize", normalize)):
        check(value in (None, True, False), name, value, "must be True or False")
    check(task in ("auto", *TASKS), "task", task, f"must be one of auto, {', '.join(TASKS)}")
    counts = isinstance(neighbours, tuple | list) and neighbours
    counts = counts and all(isinstance(c, int) and c >= 1 for c in neighbours)
    wanted = "must be positive integers, such as (25, 10)"
    check(neighbours is None or counts, "neighbours", neighbours, wanted)
    whole = isinstance(k, int) and not isinstance(k, bool) and 1 <= k < 100
    check(whole, "k", k, "must be an integer in 1 .. 99")

    if isinstance(source, str) and source in EMBEDDED:
        check(k == 8 or source == "digits_knn", "k", k, "is for digits_knn only")
        raws = EMBEDDED[source](*([k] if source == "digits_knn" else []))
        raws, about = raws if isinstance(raws, list) else [raws], {"name": source, **ABOUT[source]}
        target = "club" if source == "karate" else target
        if source == "digits_knn" and task in ("auto", "nodes"):
            labels_per_class = labels_per_class or 10
    else:
        raws, about = read(source, task, target)
    many = len(raws) > 1
    if task == "auto":
        task = "graphs" if many else "links" if raws[0].labels is None else "nodes"
    check((task == "graphs") == many, "task", task, f"{about['name']} holds {len(raws)} graph(s)")
    check(neighbours is None or task == "nodes", "neighbours", neighbours, "is for nodes only")
    for raw in raws:
        raw.directed = raw.directed if directed is None else directed
    defaults = FRACTIONS[task]
    common = {
        "validation_fraction": defaults[0] if validation_fraction is None else validation_fraction,
        "test_fraction": defaults[1] if test_fraction is None else test_fraction,
    }
    check(labels_per_class is None or task == "nodes", "labels_per_class", labels_per_class,
          "is for nodes only")  # fmt: skip

    y, names = None, None
    if task == "links":
        y, parts = _links(raws[0]), None
        parts = split(Source(about["name"], y, None), **common, seed=seed)
    elif task == "nodes":
        y, names, parts = _labelled_nodes(raws[0], about["name"], labels_per_class, common, seed)
    else:
        found = [raw.labels for raw in raws]
        check(not any(f is None for f in found), "source", "a list", "every graph needs a label")
        y, names = labels_and_names(np.asarray(found))
        given = raws[0].parts
        parts = split(Source(about["name"], y, y, names, given.get("test"),
                             given.get("validation")), **common, seed=seed)  # fmt: skip
    scaled = about.pop("normalize", False) and task == "nodes"
    scaled = scaled if normalize is None else normalize
    transform = _fit(raws, parts["train"], task, bool(scaled))
    if task == "links":
        graph = transform([_with_links(raws[0], y, parts["train"])])
    else:
        graph = transform(raws)
    options = {"directed": raws[0].directed} if task == "links" else {"neighbours": neighbours}
    kind = LinkBatches if task == "links" else GraphBatches
    batches = {
        name: kind(graph, y, part, task, batch_size, shuffle=name == "train", seed=seed, **options)
        if len(part)
        else None
        for name, part in parts.items()
    }
    spec = {"input_shape": (transform.num_features,), "sparse": transform.sparse, "task": task}
    if names is not None:
        spec["num_classes"] = len(names)
    return Data(kind="graphs", spec=spec, transform=transform, class_names=names, **about,
                **batches)  # fmt: skip


def _links(raw: Raw) -> np.ndarray:
    """The edges between different nodes, each once: (m, 2)."""
    edges = raw.edges if raw.directed else np.sort(raw.edges, axis=1)
    edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)
    check(len(edges) >= 3, "source", f"a graph of {len(edges)} edges", "links need at least 3")
    return edges


def _with_links(raw: Raw, links: np.ndarray, chosen: np.ndarray) -> Raw:
    """The graph with some of its links alone, and their weights."""
    ends = raw.edges if raw.directed else np.sort(raw.edges, axis=1)
    n = (len(raw.names), 1)
    _, first = np.unique(ends @ n, return_index=True)
    at = np.searchsorted((ends @ n)[first], links[chosen] @ n)
    weights = np.asarray(raw.weights)[first[at]]
    return Raw(links[chosen], raw.names, raw.features, weights, directed=raw.directed)


def _labelled_nodes(
    raw: Raw, name: str, labels_per_class: int | None, common: dict, seed: int
) -> tuple[np.ndarray, tuple[str, ...], dict[str, np.ndarray]]:
    """Labels int32 (n,), -1 where there is none, names of the classes, and the parts."""
    labels, n = raw.labels, len(raw.names)
    check(labels is not None, "source", name, "has no labels; task='links' needs none")
    wanted = f"needs a label for each of {n} nodes"
    check(len(labels) == n, "labels", f"{len(labels)} labels", wanted)
    labels = np.asarray(labels)
    if labels.dtype.kind == "O":
        known = np.array([v is not None and v == v for v in labels])
        labels = labels.copy()
        labels[known] = [str(v) if isinstance(v, str) else v for v in labels[known]]
    elif labels.ndim == 2 and labels.shape[1] > 1:
        known = labels.any(axis=1)  # one-hot
    else:
        labels = labels.reshape(-1)
        known = labels == labels
        known = known & (labels >= 0) if labels.dtype.kind in "if" else known
    y = np.full(n, -1, "int32")
    some = labels[known]
    check(len(some), "labels", "none", "needs nodes with labels")
    y[known], names = labels_and_names(np.array(some.tolist()))
    if raw.parts:
        parts = _given_parts(raw.parts, n)
        for part, nodes in parts.items():
            lacking = int((y[nodes] < 0).sum())
            check(not lacking, part, f"{lacking} nodes", "have no label")
    else:
        where = np.flatnonzero(known)
        found = split(Source(name, where, y[where], names), **common, seed=seed)
        parts = {part: where[nodes] for part, nodes in found.items()}
    if labels_per_class is not None:
        shuffled = np.random.default_rng((seed, 1)).permutation(parts["train"])
        kept = [shuffled[y[shuffled] == c][:labels_per_class] for c in range(len(names))]
        parts["train"] = np.sort(np.concatenate(kept))
    return y, names, parts


def _given_parts(given: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
    """Masks, or numbers of nodes, as numbers of nodes that do not overlap."""
    parts = {}
    for name in arrays.PARTS:
        part = np.asarray(given.get(name, np.arange(0)))
        if part.dtype == bool:
            check(part.shape == (n,), name, f"mask of shape {part.shape}", f"must be ({n},)")
            part = np.flatnonzero(part)
        ok = part.ndim == 1 and (part.dtype.kind in "iu" or not part.size)
        ok = ok and (not part.size or (part.min() >= 0 and part.max() < n))
        check(ok, name, f"{part.dtype} array of shape {part.shape}", f"must be nodes 0 .. {n - 1}")
        parts[name] = part.astype("int64")
    for name in ("train", "test"):
        check(len(parts[name]), name, "no nodes", "masks must give training and test nodes")
    nodes, counts = np.unique(np.concatenate([*parts.values()]), return_counts=True)
    twice = nodes[counts > 1]
    wanted = f"overlap or repeat: nodes {twice[:5].tolist()} are there more than once"
    check(not len(twice), "train, validation and test", f"{len(twice)} nodes", wanted)
    return parts


def _fit(raws: list[Raw], train: np.ndarray, task: str, normalize: bool) -> GraphTransform:
    """The transform by the training part: its nodes, or its graphs."""
    target = raws[0].target
    shown = [raws[i] for i in train] if task == "graphs" else raws
    first, table, sparse = shown[0].features, None, False
    if first is None:
        encoding = "degree" if task == "graphs" else "identity"
        number = len(shown[0].names)
        if task == "graphs":
            number = 1 + max(int(degrees(raw).max()) for raw in shown)
        return GraphTransform(task, encoding, number, False, True, None, target)
    if hasattr(first, "columns"):
        import pandas

        frame = pandas.concat([raw.features for raw in shown], ignore_index=True)
        fitted = tables._fit(frame.iloc[train] if task == "nodes" else frame, None)
        table, number = fitted.get_config(), len(fitted.feature_names)
    else:
        some = _numbers(first)
        number = some.shape[1]
        share = np.count_nonzero(some) / some.size
        sparse = bool(number >= SPARSE_FEATURES and share < SPARSE_SHARE)
    encoding = "array" if table is None else "table"
    return GraphTransform(task, encoding, number, normalize, sparse, table, target)


def _are_paths(source: Any) -> bool:
    return all(isinstance(s, str | Path) for s in source)
