"""Graphs from every source, their splits, and what a model is fed."""

import json
import pickle
from pathlib import Path

import networkx
import numpy as np
import pandas
import pytest

from recipes import data
from recipes.data import graphs

CORA = Path(__file__).parents[2] / "shared" / "data" / "cora"
RNG = np.random.default_rng(0)
N = 60
EDGES = RNG.integers(0, N, (200, 2))
X = RNG.standard_normal((N, 4)).astype("float32")
Y = np.arange(N) % 3


def load(source, **options):
    return data.load(source, ("graphs",), **options)


def pairs(x, a=0, b=1):
    """Edges as a set."""
    return set(zip(x["edges"][:, a].tolist(), x["edges"][:, b].tolist(), strict=True))


def both_ways(edges):
    return {(int(a), int(b)) for a, b in edges} | {(int(b), int(a)) for a, b in edges}


# Embedded sets.


def test_karate_is_zacharys():
    found = load("karate")
    x, y = found.train[0]
    assert found.sizes == {"train": 2, "validation": 16, "test": 16}
    np.testing.assert_array_equal(x["asked"], [0, 33])
    assert [found.class_names[c] for c in y] == ["Mr. Hi", "Officer"]
    assert len(x["edges"]) == 2 * 78
    assert x["weights"].sum() == 2 * 231  # Zachary's table of contexts
    np.testing.assert_array_equal(x["columns"][:, 0], np.arange(34))  # each its own feature
    assert found.spec == {"input_shape": (34,), "sparse": True, "task": "nodes", "num_classes": 2}
    labels = found.train.y
    assert np.bincount(labels).tolist() == [17, 17]


def test_digits_are_joined_to_those_most_alike():
    found = load("digits_knn", k=3)
    x = found.train[0][0]
    assert x["features"].shape == (1797, 64)
    # Row 500's nearest others, the slow way.
    features = x["features"].astype("float64")
    distances = np.linalg.norm(features - features[500], axis=1)
    nearest = set(np.argsort(distances)[1:4].tolist())
    sources = set(x["edges"][x["edges"][:, 1] == 500, 0].tolist())
    assert nearest <= sources
    assert pairs(x) == pairs(x, 1, 0)
    same = found.train.y[x["edges"][:, 0]] == found.train.y[x["edges"][:, 1]]
    assert same.mean() > 0.97
    assert np.bincount(found.train.targets).tolist() == [10] * 10


def test_digit_graphs_are_the_inked_pixels():
    found = load("digit_graphs")
    assert sum(found.sizes.values()) == 1797
    graph = found.train.x.graphs(np.array([0]))
    from sklearn.datasets import load_digits

    picture = load_digits().images[0] / 16
    assert graph.shape[0] == (picture >= 0.25).sum()
    drawn = np.zeros((8, 8))
    rows, columns = np.round((graph.features[:, 1:].T + 1) * 3.5).astype(int)
    drawn[rows, columns] = graph.features[:, 0]
    np.testing.assert_allclose(drawn, np.where(picture >= 0.25, picture, 0), atol=1e-6)
    for a, b in graph.edges:
        assert max(abs(rows[a] - rows[b]), abs(columns[a] - columns[b])) == 1


# Arrays and graphs of others.


def test_a_dictionary_of_arrays():
    masks = {name: np.zeros(N, bool) for name in ("train", "validation", "test")}
    masks["train"][:10], masks["validation"][10:30], masks["test"][30:] = True, True, True
    found = load({"features": X, "edges": EDGES, "labels": Y, **masks})
    x, y = found.train[0]
    np.testing.assert_array_equal(x["features"], X)
    np.testing.assert_array_equal(x["asked"], np.arange(10))
    np.testing.assert_array_equal(y, Y[:10])
    assert pairs(x) == both_ways(EDGES)
    assert found.sizes == {"train": 10, "validation": 20, "test": 30}
    directed = load({"features": X, "edges": EDGES, "labels": Y, **masks}, directed=True)
    assert pairs(directed.train[0][0]) == {tuple(e) for e in EDGES.tolist()}


def test_what_torch_geometric_has_is_the_same():
    torch = pytest.importorskip("torch")
    geometric = pytest.importorskip("torch_geometric.data")
    masks = {name: torch.zeros(N, dtype=torch.bool) for name in ("train", "val", "test")}
    masks["train"][:10], masks["val"][10:30], masks["test"][30:] = True, True, True
    theirs = geometric.Data(
        x=torch.tensor(X), edge_index=torch.tensor(EDGES.T), y=torch.tensor(Y),
        edge_weight=torch.arange(200.0), **{f"{k}_mask": v for k, v in masks.items()},
    )  # fmt: skip
    ours = {
        "features": X,
        "edges": EDGES,
        "labels": Y,
        "weights": np.arange(200.0),
        "train": np.arange(10),
        "validation": np.arange(10, 30),
        "test": np.arange(30, N),
    }
    expected = load(ours, directed=True)
    for source in (theirs, theirs.to_dict()):
        found = load(source, directed=True)
        for part, other in zip(found._parts.values(), expected._parts.values(), strict=True):
            for key, value in part[0][0].items():
                np.testing.assert_array_equal(value, other[0][0][key])


def test_a_networkx_graph_with_attributes():
    graph = networkx.DiGraph()
    for i in range(30):
        graph.add_node(f"n{i}", size=float(i), colour="red" if i % 2 else "blue", y="ab"[i % 2])
    for i in range(29):
        graph.add_edge(f"n{i}", f"n{i + 1}", weight=i + 1)
    graph.nodes["n29"].pop("y")  # nobody knows
    found = load(graph)
    x = found.train[0][0]
    assert pairs(x) == {(i, i + 1) for i in range(29)}
    assert dict(zip(x["edges"][:, 0].tolist(), x["weights"].tolist(), strict=True))[5] == 6
    assert found.spec["input_shape"] == (3,)  # a number and two colours
    assert found.class_names == ("a", "b")
    used = np.concatenate([part.indices for part in found._parts.values()])
    assert 29 not in used
    # Numbers are standardised by the training nodes alone.
    sizes = found.train.indices.astype("float64")
    expected = (np.arange(30) - sizes.mean()) / sizes.std()
    np.testing.assert_allclose(x["features"][:, 0], expected, rtol=1e-5, atol=1e-6)
    assert load(graph, directed=False).train[0][0]["edges"].shape == (58, 2)


def test_tables_of_nodes_and_edges(tmp_path):
    nodes = pandas.DataFrame({
        "name": [f"p{i}" for i in range(N)], "age": X[:, 0], "kind": np.where(Y == 1, "x", "z"),
        "label": [f"c{v}" for v in Y],
    })  # fmt: skip
    nodes.loc[7, "label"] = None
    edges = pandas.DataFrame({
        "from": [f"p{i}" for i in EDGES[:, 0]], "to": [f"p{i}" for i in EDGES[:, 1]],
        "weight": np.arange(200) + 1.0,
    })  # fmt: skip
    nodes.to_csv(tmp_path / "nodes.csv", index=False)
    edges.to_parquet(tmp_path / "edges.parquet")
    found = load(tmp_path)
    assert found.class_names == ("c0", "c1", "c2")
    assert pairs(found.train[0][0]) == both_ways(EDGES)
    assert 7 not in np.concatenate([part.indices for part in found._parts.values()])
    assert found.transform.read(tmp_path)[0][:2] == ["p0", "p1"]
    frames = load({"nodes": nodes.copy(), "edges": edges})
    a, b = (part.train[0][0]["features"] for part in (frames, found))
    np.testing.assert_allclose(a, b, atol=1e-6)
    # To predict, neither a label nor a split is needed.
    _, x = found.transform.read({"nodes": nodes.drop(columns="label"), "edges": edges})
    np.testing.assert_allclose(x["features"], b, atol=1e-6)
    nodes["split"] = ["train"] * 20 + ["val"] * 20 + ["test"] * 20
    with pytest.raises(ValueError, match=r"train=.1 nodes.*no label"):
        load({"nodes": nodes.copy(), "edges": edges}, target="label")
    nodes.loc[7, "label"] = "c1"
    parts = load({"nodes": nodes, "edges": edges}, target="label")
    np.testing.assert_array_equal(parts.validation.indices, np.arange(20, 40))
    assert parts.spec["input_shape"] == (3,)


def test_a_folder_of_graphs_with_one_sub_folder_a_class(tmp_path):
    for label, make in (("ring", networkx.cycle_graph), ("star", networkx.star_graph)):
        (tmp_path / label).mkdir()
        for n in range(4, 16):
            networkx.write_graphml(make(n), tmp_path / label / f"{n:02}.graphml")
    found = load(tmp_path)
    assert found.spec["task"] == "graphs"
    assert found.class_names == ("ring", "star")
    assert sum(found.sizes.values()) == 24
    # No features: one for each degree, as the training graphs have them.
    x, y = found.train.sample(found.sizes["train"])
    degree = np.bincount(x["edges"][:, 1], minlength=len(x["columns"]))
    np.testing.assert_array_equal(x["columns"][:, 0], degree)
    ends = np.cumsum(x["sizes"])
    for start, end, label in zip(ends - x["sizes"], ends, y, strict=True):
        assert set(degree[start:end].tolist()) == ({2} if label == 0 else {1, end - start - 1})
    _, x = found.transform.read([str(tmp_path / "ring" / "05.graphml")])
    assert x["sizes"].tolist() == [5]
    _, x = found.transform.read(tmp_path / "star")
    assert len(x["asked"]) == 12
    one = load(tmp_path / "ring" / "15.graphml")
    assert one.spec["task"] == "links"  # there are no labels


def test_lists_of_graphs():
    rng = np.random.default_rng(0)
    some = [{"features": rng.random((n, 2)), "edges": np.array([[0, 1], [1, 2]]), "labels": n % 2}
            for n in range(3, 43)]  # fmt: skip
    found = load(some)
    assert found.spec == {"input_shape": (2,), "sparse": False, "task": "graphs", "num_classes": 2}
    x, y = found.test.sample(3)
    np.testing.assert_array_equal(x["sizes"] % 2, y)


# Cora.


@pytest.fixture(scope="module")
def cora():
    if not CORA.is_dir():
        pytest.skip(f"needs Planetoid's Cora ({CORA} is no folder)")
    return load(CORA)


def test_cora_has_the_public_split(cora):
    assert cora.name == "cora"
    assert cora.sizes == {"train": 140, "validation": 500, "test": 1000}
    assert cora.spec == {"input_shape": (1433,), "sparse": True, "task": "nodes", "num_classes": 7}
    assert np.bincount(cora.train.targets).tolist() == [20] * 7
    np.testing.assert_array_equal(cora.validation.indices, np.arange(140, 640))
    test = np.loadtxt(CORA / "ind.cora.test.index", dtype=int)
    np.testing.assert_array_equal(cora.test.indices, np.sort(test))
    x = cora.train[0][0]
    assert len(x["edges"]) == 10556  # as torch-geometric has it
    assert pairs(x) == pairs(x, 1, 0)


def test_coras_features_and_labels_are_where_they_belong(cora):
    x = cora.train[0][0]
    np.testing.assert_allclose(x["features"].sum(axis=1), 1, atol=1e-5)
    with open(CORA / "ind.cora.tx", "rb") as file:
        tx = pickle.load(file, encoding="latin1")
    with open(CORA / "ind.cora.ty", "rb") as file:
        ty = pickle.load(file, encoding="latin1")
    test = np.loadtxt(CORA / "ind.cora.test.index", dtype=int)
    for i in (0, 17, 999):  # row i of the file is node test[i]
        node = test[i]
        words = np.sort(x["columns"][node][x["features"][node] > 0])
        np.testing.assert_array_equal(words, np.sort(tx[i].indices))
        assert cora.test.y[node] == ty[i].argmax()
    edges = x["edges"]
    same = cora.train.y[edges[:, 0]] == cora.train.y[edges[:, 1]]
    assert same.mean() == pytest.approx(0.81, abs=0.005)  # its known homophily


def test_files_that_run_code_are_not_read(tmp_path):
    class Bad:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was_here",))

    for part in ("x", "y", "tx", "ty", "allx", "ally", "graph"):
        (tmp_path / f"ind.bad.{part}").write_bytes(pickle.dumps(Bad()))
    (tmp_path / "ind.bad.test.index").write_text("1\n")
    with pytest.raises(ValueError, match="not readable as a Planetoid file"):
        load(tmp_path)
    assert not (tmp_path / "was_here").exists()


# Splits.


def test_parts_are_disjoint_stratified_and_of_the_seed():
    source = {"features": X, "edges": EDGES, "labels": Y}
    found, again, other = load(source), load(source), load(source, seed=1)
    parts = [part.indices for part in found._parts.values()]
    assert len(np.unique(np.concatenate(parts))) == N
    assert [np.bincount(Y[p]).tolist() for p in parts] == [[6] * 3, [4] * 3, [10] * 3]
    np.testing.assert_array_equal(again.test.indices, found.test.indices)
    assert not np.array_equal(other.test.indices, found.test.indices)
    few = load(source, labels_per_class=2)
    assert np.bincount(few.train.targets).tolist() == [2, 2, 2]
    np.testing.assert_array_equal(few.test.indices, found.test.indices)
    assert set(few.train.indices) <= set(found.train.indices)


@pytest.mark.parametrize("directed", [False, True])
def test_hidden_links_are_not_in_the_graph(directed):
    edges = np.concatenate([EDGES, [[5, 5], [6, 6]]])
    weights = np.arange(202) + 1.0
    source = {"features": X, "edges": edges, "weights": weights}
    found = load(source, task="links", directed=directed)
    shown = pairs(found.train[0][0])
    hidden = np.concatenate([found.validation.targets, found.test.targets])
    assert not shown & {tuple(e) for e in hidden.tolist()}
    if not directed:
        assert not shown & {tuple(e) for e in hidden[:, ::-1].tolist()}
    train = found.train.targets
    assert shown == ({tuple(e) for e in train.tolist()} if directed else both_ways(train))
    everything = {tuple(e) for e in EDGES.tolist() if e[0] != e[1]}
    everything = everything if directed else {tuple(sorted(e)) for e in everything}
    assert len(train) + len(hidden) == len(everything)
    assert len(found.test.targets) == round(0.1 * len(everything))
    # Weights stay with their edges.
    x = found.train[0][0]
    first = {}
    for edge, w in zip(edges.tolist(), weights, strict=True):
        first.setdefault(tuple(edge if directed else sorted(edge)), w)
    for edge, w in zip(x["edges"].tolist(), x["weights"].tolist(), strict=True):
        assert first[tuple(edge if directed else sorted(edge))] == w


# The transform.


@pytest.mark.parametrize("source", ["karate", "digits_knn", "digit_graphs"])
def test_the_transform_is_made_again_from_its_configuration(source):
    found = load(source)
    config = json.loads(json.dumps(found.transform.get_config()))
    again = data.transform_from_config("graphs", config)
    raws = graphs.EMBEDDED[source]()
    raws = raws[:5] if isinstance(raws, list) else [raws]
    one, two = found.transform(raws), again(raws)
    np.testing.assert_array_equal(one.features, two.features)
    np.testing.assert_array_equal(one.edges, two.edges)


def test_rows_are_scaled_to_the_sum_one_and_empty_ones_stay():
    x = np.array([[1.0, 3], [0, 0], [2, 2]])
    source = {"features": x, "edges": np.array([[0, 1], [1, 2], [2, 0]])}
    found = load(source, normalize=True, task="links", validation_fraction=0, test_fraction=0.4)
    np.testing.assert_allclose(found.train[0][0]["features"], [[0.25, 0.75], [0, 0], [0.5, 0.5]])
