"""Graphs as people have them: NetworkX's, arrays, tables, GraphML, GML and Planetoid files."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check, unknown
from recipes.data import arrays, folders, tables

EXTENSIONS = (".graphml", ".gml")
# Names that a dictionary's parts can have, those of torch-geometric included.
KEYS = {
    "features": ("features", "x"),
    "edges": ("edges", "edge_index"),
    "weights": ("weights", "edge_weight"),
    "labels": ("labels", "y"),
    "train": ("train", "train_mask"),
    "validation": ("validation", "val_mask"),
    "test": ("test", "test_mask"),
    "num_nodes": ("num_nodes",),
}
NOT_USED = ("pos", "edge_attr", "batch", "ptr", "name")
WANTED = (
    "needs a NetworkX graph, a dictionary of arrays (features, edges, weights, labels, train, "
    "validation, test), one of tables (nodes, edges), or a list of graphs with a label each"
)


@dataclass
class Raw:
    """A graph as it was read."""

    edges: np.ndarray  # (e, 2), numbers of nodes
    names: Sequence[Any]  # of the nodes
    features: Any = None  # an array (n, f), a frame of n rows, or None
    weights: np.ndarray | None = None  # (e,)
    labels: Any = None  # of the nodes, None where unknown; or one, of the graph
    target: str | None = None  # the attribute or column that they were
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    directed: bool = False

    def __post_init__(self):
        n = len(self.names)
        check(n, "source", "a graph without nodes", "needs nodes")
        self.edges = np.asarray(self.edges)
        shape, kind = self.edges.shape, self.edges.dtype.kind
        ok = len(shape) == 2 and shape[1] == 2 and (kind in "iu" or not shape[0])
        check(ok, "edges", f"{self.edges.dtype} array of shape {shape}",
              "must be integers (e, 2), source and target; an edge_index is (2, e)")  # fmt: skip
        self.edges = self.edges.astype("int64")
        strange = self.edges[((self.edges < 0) | (self.edges >= n)).any(axis=1)]
        check(not len(strange), "edges", strange[:3].tolist(), f"the nodes are 0 .. {n - 1}")
        e = len(self.edges)
        self.weights = np.ones(e) if self.weights is None else np.asarray(self.weights, "float64")
        ok = self.weights.size == e
        check(ok, "weights", f"array of shape {self.weights.shape}", f"needs one an edge, ({e},)")
        self.weights = self.weights.reshape(e)
        ok = np.isfinite(self.weights).all() and (self.weights >= 0).all()
        check(ok, "weights", "negative numbers or NaN", "must be numbers of at least 0")


def read(
    source: Any, task: str, target: str | None, new: bool = False
) -> tuple[list[Raw], dict[str, Any]]:
    """The graphs of a source, and what is known of it.

    Args:
        source: as of `load`.
        task: likewise.
        target: likewise.
        new: what to predict, which needs no labels: a target that is there is no feature.
    """
    if isinstance(source, str | Path):
        return _from_path(Path(source), task, target, new)
    if isinstance(source, tuple | list):
        check(len(source), "source", "an empty list", WANTED)
        raws = [_one(one, task, target, new) for one in source]
        return raws, {"name": "graphs"}
    return [_one(source, task, target, new)], {"name": "graph"}


def _one(source: Any, task: str, target: str | None, new: bool) -> Raw:
    if hasattr(source, "nodes") and hasattr(source, "adj"):
        return from_networkx(source, target, new)
    if hasattr(source, "edge_index") and hasattr(source, "to_dict"):  # torch-geometric
        source = source.to_dict()
    check(isinstance(source, Mapping), "source", f"a {type(source).__name__}", WANTED)
    if set(source) == {"nodes", "edges"}:
        return _from_tables(source["nodes"], source["edges"], task, target, new)
    return _from_dictionary(source)


def _from_dictionary(source: Mapping[str, Any]) -> Raw:
    """Arrays by name."""
    name_of = {key: name for name, keys in KEYS.items() for key in keys}
    for key in source:
        if key not in name_of and key not in NOT_USED:
            raise unknown("key of a graph", key, name_of)
    found = {name_of[k]: v for k, v in source.items() if k in name_of and v is not None}
    check("edges" in found, "source", f"a dictionary of {list(source)}", "needs edges")
    edges = np.asarray(found["edges"])
    edges = edges.T if "edge_index" in source else edges
    features = found.get("features")
    if features is not None and not hasattr(features, "todense"):
        features = np.asarray(features)
    n = found.get("num_nodes")
    if n is None and features is not None:
        n = features.shape[0]
    if n is None and np.ndim(found.get("labels")):
        n = len(found["labels"])
    if n is None:
        n = int(edges.max()) + 1 if edges.size else 0
    labels = found.get("labels")
    if labels is not None:
        labels = np.asarray(labels)
        labels = labels.item() if labels.size == 1 else labels  # of the graph
    parts = {name: found[name] for name in arrays.PARTS if name in found}
    return Raw(edges, range(int(n)), features, found.get("weights"), labels, None, parts)


def from_networkx(graph: Any, target: str | None, new: bool = False) -> Raw:
    """Attributes of the nodes are features, but for the target; "weight" of an edge its weight."""
    import pandas

    nodes = list(graph)
    number = {node: i for i, node in enumerate(nodes)}
    pairs = list(graph.edges(data="weight", default=1.0))
    edges = np.array([(number[a], number[b]) for a, b, _ in pairs], "int64").reshape(-1, 2)
    weights = np.array([1.0 if w is None else w for *_, w in pairs], "float32")
    attributes = [graph.nodes[node] for node in nodes]
    names = {name for found in attributes for name in found}
    if target is None and not new:
        target = next((name for name in ("y", "label") if name in (names | set(graph.graph))), None)
    labels = graph.graph.get(target)
    if target in names:
        labels = np.array([found.get(target) for found in attributes], object)
    elif target is not None and labels is None and not new:
        raise unknown("target", target, sorted(map(str, names)) or ["none"])
    features = None
    for name in ("x", "features"):
        if name in names:
            features = np.array([found.get(name) for found in attributes], "float32")
            features = features.reshape(len(nodes), -1)
            break
    else:
        if names - {target}:
            features = pandas.DataFrame(attributes).drop(columns=target, errors="ignore")
    return Raw(edges, nodes, features, weights, labels, target, directed=graph.is_directed())


def _from_tables(nodes: Any, edges: Any, task: str, target: str | None, new: bool) -> Raw:
    """A node table (name, features ..., label) and an edge list (source, target[, weight])."""
    nodes, edges = (
        t.reset_index(drop=True) if hasattr(t, "iloc") else tables.read_file(t)
        for t in (nodes, edges)
    )
    check(len(edges.columns) >= 2, "edges", list(edges.columns), "needs source and target")
    names = nodes.pop(next((c for c in nodes if str(c).lower() in ("id", "node", "name")),
                           nodes.columns[0]))  # fmt: skip
    twice = names[names.duplicated()]
    check(not len(twice), "nodes", twice.iloc[:3].tolist(), "are there more than once")
    lower = {str(c).lower(): c for c in edges.columns}
    columns = [lower.get(name, edges.columns[i]) for i, name in enumerate(("source", "target"))]
    index = names.astype(str)
    number = dict(zip(index, range(len(index)), strict=True))
    ends = [edges[c].astype(str) for c in columns]
    strange = sorted({end for side in ends for end in side} - set(number))
    check(not strange, "edges", strange[:3], "name nodes that the node table does not have")
    pairs = np.column_stack([[number[end] for end in side] for side in ends])
    third = edges.columns[2] if len(edges.columns) > 2 else None
    weights = edges[lower.get("weight", third)].to_numpy() if third is not None else None
    parts = {}
    split_column = next((c for c in nodes if str(c).lower() in ("split", "part")), None)
    if split_column is not None:
        words = nodes.pop(split_column).astype(str).str.lower()
        parts = {p: np.flatnonzero(words.isin(known)) for p, known in folders.PARTS.items()}
    if target is None and len(nodes.columns) and task != "links" and not new:
        target = nodes.columns[-1]
    labels = None
    if target is not None and not (new and target not in nodes):
        if target not in nodes:
            raise unknown("target", target, nodes.columns)
        labels = nodes.pop(target)
        labels = labels.astype(object).where(labels.notna(), None).to_numpy()
    features = nodes if len(nodes.columns) else None
    return Raw(pairs, names.tolist(), features, weights, labels, target, parts)


def _from_path(
    path: Path, task: str, target: str | None, new: bool
) -> tuple[list[Raw], dict[str, Any]]:
    """Planetoid files, tables, or files that NetworkX reads."""
    if path.is_file():
        return [_from_file(path, target, new)], {"name": path.name}
    wanted = "holds no graph: neither ind.*.graph, nor nodes.csv and edges.csv, nor .graphml files"
    check(path.is_dir(), "source", str(path), "no such file or folder")
    planetoid = sorted(path.glob("ind.*.graph"))
    if planetoid:
        return [_from_planetoid(path, planetoid[0].name.split(".")[1])], {
            "name": planetoid[0].name.split(".")[1],
            "citation": "Sen et al. 2008, Collective classification in network data; "
            "Yang, Cohen & Salakhutdinov 2016, Revisiting semi-supervised learning",
            "normalize": True,
        }
    found = [next((path / f"{name}{end}" for end in tables.EXTENSIONS
                   if (path / f"{name}{end}").is_file()), None)
             for name in ("nodes", "edges")]  # fmt: skip
    if all(found):
        return [_from_tables(*found, task, target, new)], {"name": path.name}
    files = folders.files_below(path, EXTENSIONS)
    check(files, "source", str(path), wanted)
    if len(files) == 1:
        return [_from_file(files[0], target, new)], {"name": path.name}
    raws, given = [], {}
    if new:
        return [_from_file(file, target, new) for file in files], {"name": path.name}
    for part, classes in folders.read_classes(path, EXTENSIONS, "graphs").items():
        start = len(raws)
        for label, names in classes.items():
            some = [_from_file(file, target) for file in names]
            for raw in some:
                raw.labels = label
            raws += some
        if part != "train":
            given[part] = np.arange(start, len(raws))
    raws[0].parts = given
    return raws, {"name": path.name}


def _from_file(path: Path, target: str | None, new: bool = False) -> Raw:
    import networkx

    readers = dict(zip(EXTENSIONS, (networkx.read_graphml, networkx.read_gml), strict=True))
    wanted = f"is no graph ({', '.join(EXTENSIONS)}); tables stand in a folder"
    check(path.suffix.lower() in readers, "source", str(path), wanted)
    try:
        graph = readers[path.suffix.lower()](path)
    except Exception as error:  # the parsers' own errors have no common class
        raise ValueError(f"{path}: not readable as a graph ({error})") from None
    return from_networkx(graph, target, new)


class _Unpickler(pickle.Unpickler):
    """Knows arrays, sparse matrices and dictionaries, and runs nothing else."""

    KNOWN = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "collections",
             "scipy.sparse.csr", "scipy.sparse._csr", "_codecs")  # fmt: skip
    NAMES = ("ndarray", "dtype", "_reconstruct", "scalar", "defaultdict", "csr_matrix", "encode",
             "list")  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        """The class, where it is one of those known."""
        if name == "csr_matrix" and module.startswith("scipy.sparse"):
            import scipy.sparse

            return scipy.sparse.csr_matrix
        if name == "list" and module in ("__builtin__", "builtins"):
            return list
        if module not in self.KNOWN or name not in self.NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return super().find_class(module, name)


def _from_planetoid(folder: Path, name: str) -> Raw:
    """Planetoid files, with their public split (Yang, Cohen & Salakhutdinov 2016)."""
    import scipy.sparse

    found = {}
    for part in ("x", "y", "tx", "ty", "allx", "ally", "graph"):
        path = folder / f"ind.{name}.{part}"
        check(path.is_file(), "source", str(path), "no such file")
        with path.open("rb") as file:
            try:
                found[part] = _Unpickler(file, encoding="latin1").load()
            except Exception as error:  # whatever damaged bytes lead to
                raise ValueError(f"{path}: not readable as a Planetoid file ({error})") from None
    index = folder / f"ind.{name}.test.index"
    check(index.is_file(), "source", str(index), "no such file")
    test = np.array(index.read_text().split(), int)
    known, n = found["allx"].shape[0], max(found["graph"]) + 1
    features = scipy.sparse.lil_matrix((n, found["allx"].shape[1]), dtype="float32")
    features[:known] = found["allx"]
    features[test] = found["tx"]  # rows of the test part are given in the order of its index
    labels = np.zeros((n, found["ally"].shape[1]), int)
    labels[:known], labels[test] = found["ally"], found["ty"]
    edges = [(a, b) for a, others in found["graph"].items() for b in others]
    train = len(found["y"])
    parts = {"train": np.arange(train), "validation": np.arange(train, train + 500), "test": test}
    # Citeseer's test part has nodes that nothing is known of.
    parts["test"] = np.sort(test[labels[test].any(axis=1)])
    features = np.asarray(features.todense())
    return Raw(np.array(edges), range(n), features, labels=labels, parts=parts)
