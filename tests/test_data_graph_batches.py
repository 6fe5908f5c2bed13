"""Batches of graphs: neighbourhoods, padding, negatives, and graphs side by side."""

import numpy as np
import pytest

from recipes.data.graph_batches import (
    Graph,
    GraphBatches,
    LinkBatches,
    in_order,
    mirrored,
    ranges,
    sparse_rows,
)


def random_graph(n=200, edges=1500, seed=0):
    rng = np.random.default_rng(seed)
    pairs, weights = in_order(rng.integers(0, n, (edges, 2)), rng.uniform(1, 2, edges), n)
    x = np.stack([np.arange(n), rng.random(n)], axis=1).astype("float32")  # its number, first
    return Graph(x, pairs, weights, np.array([n], "int32"))


def three_graphs():
    """A path of 3, one lonely node, a ring of 4; features are the numbers of the nodes."""
    edges = np.array([[0, 1], [1, 2], [4, 5], [5, 6], [6, 7], [7, 4]])
    edges, weights = in_order(edges, np.arange(1, 7), 8)
    x = np.arange(8, dtype="float32")[:, None]
    return Graph(x, edges, weights, np.array([3, 1, 4], "int32"))


def edges_by_feature(graph):
    """Edges of a part, told by the first features of their ends, with weights."""
    x = graph.features[:, 0].astype(int)
    return {(x[a], x[b]): w for (a, b), w in zip(graph.edges, graph.weights.tolist(), strict=True)}


def test_ranges_by_hand():
    found = ranges(np.array([5, 0, 7]), np.array([2, 0, 3]))
    np.testing.assert_array_equal(found, [5, 6, 7, 8, 9])


def test_edges_are_in_order_and_once():
    edges = np.array([[2, 0], [1, 0], [2, 0], [0, 1]])
    found, weights = in_order(edges, np.array([3, 5, 3, 7]), 3)
    np.testing.assert_array_equal(found, [[1, 0], [2, 0], [0, 1]])
    np.testing.assert_array_equal(weights, [5, 3, 7])
    found, _ = in_order(*mirrored(edges, np.ones(4)), 3)
    np.testing.assert_array_equal(found, [[1, 0], [2, 0], [0, 1], [0, 2]])


def test_sparse_rows_are_the_matrix():
    x = np.random.default_rng(0).random((20, 50)) * (
        np.random.default_rng(1).random((20, 50)) < 0.1
    )
    x[3] = 0
    values, columns = sparse_rows(x)
    again = np.zeros_like(x)
    np.add.at(again, (np.arange(20)[:, None], columns), values)
    np.testing.assert_allclose(again, x, atol=1e-7)
    assert values.shape[1] == (x != 0).sum(axis=1).max()


# Graphs side by side.


def test_some_graphs_keep_their_own_edges():
    found = three_graphs().graphs(np.array([2, 0]))
    np.testing.assert_array_equal(found.sizes, [4, 3])
    np.testing.assert_array_equal(found.features[:, 0], [4, 5, 6, 7, 0, 1, 2])
    assert edges_by_feature(found) == {
        (0, 1): 1, (1, 2): 2, (4, 5): 3, (5, 6): 4, (6, 7): 5, (7, 4): 6,
    }  # fmt: skip
    assert (np.diff(found.edges[:, 1]) >= 0).all()


def test_batches_of_graphs_have_one_size_and_padding_joins_padding_alone():
    graphs, y = three_graphs(), np.array([0, 1, 2], "int32")
    part = GraphBatches(graphs, y, np.arange(3), "graphs", 2)
    batches = [part[i] for i in range(len(part))]
    assert len(batches) == 2
    for x, _ in batches:
        assert x["features"].shape == (8, 1)  # the two largest, and one
        assert x["edges"].shape == (6, 2)
        real = x["sizes"].sum()
        assert ((x["edges"] >= real).all(axis=1) | (x["edges"] < real).all(axis=1)).all()
    np.testing.assert_array_equal(batches[0][1], [0, 1])
    np.testing.assert_array_equal(batches[1][0]["sizes"], [4])
    np.testing.assert_array_equal(batches[1][0]["asked"], [0])


# Neighbourhoods.


def test_a_neighbourhood_holds_the_whole_one_where_all_are_drawn():
    graph = random_graph()
    nodes = np.array([7, 3, 150])
    found = graph.neighbourhood(nodes, (1000, 1000), np.random.default_rng(0), graph.starts)
    np.testing.assert_array_equal(found.features[:3, 0], nodes)
    into = {}
    for a, b in graph.edges.tolist():
        into.setdefault(b, set()).add(a)
    first = set(nodes.tolist()).union(*(into.get(b, set()) for b in nodes.tolist()))
    expected = {(a, b) for b in first for a in into.get(b, ())}
    assert set(edges_by_feature(found)) == expected
    weights = dict(zip(map(tuple, graph.edges.tolist()), graph.weights.tolist(), strict=True))
    assert all(weights[edge] == w for edge, w in edges_by_feature(found).items())


def test_no_node_hears_of_more_than_asked_and_none_twice():
    graph = random_graph()
    nodes = np.arange(0, 200, 20)
    degree = np.bincount(graph.edges[:, 1], minlength=200)
    found = graph.neighbourhood(nodes, (4, 2), np.random.default_rng(0), graph.starts)
    heard = np.bincount(found.edges[:, 1], minlength=len(found.features))
    numbers = found.features[:, 0].astype(int)
    assert len(set(numbers.tolist())) == len(numbers)
    np.testing.assert_array_equal(heard[:10], np.minimum(4, degree[nodes]))
    assert heard[10:].max() == 2
    assert len(set(map(tuple, found.edges.tolist()))) == len(found.edges)


def test_each_neighbour_is_drawn_as_often_as_any_other():
    n = 21
    edges = np.stack([np.arange(1, n), np.zeros(n - 1, int)], axis=1)
    edges, weights = in_order(edges, np.ones(n - 1), n)
    star = Graph(np.arange(n, dtype="float32")[:, None], edges, weights, np.array([n]))
    counts, generator = np.zeros(n), np.random.default_rng(0)
    for _ in range(4000):
        found = star.neighbourhood(np.array([0]), (5,), generator, star.starts)
        counts[found.features[1:, 0].astype(int)] += 1
    # 4,000 draws of 5 among 20: 1,000 each, with a deviation of 27.
    assert np.abs(counts[1:] - 1000).max() < 4 * 27.4


def test_draws_are_new_in_each_epoch_of_training_and_fixed_elsewhere():
    graph, y = random_graph(), np.arange(200, dtype="int32") % 3
    for shuffle in (True, False):
        part = GraphBatches(graph, y, np.arange(60), "nodes", 20, neighbours=(3, 2),
                            shuffle=shuffle)  # fmt: skip
        first = [part[i] for i in range(3)]
        part.on_epoch_end()
        second = [part[i] for i in range(3)]
        part.epoch = 0
        again = part[1]
        np.testing.assert_array_equal(again[0]["edges"], first[1][0]["edges"])
        same = all(np.array_equal(a[0]["edges"], b[0]["edges"]) for a, b in
                   zip(first, second, strict=True))  # fmt: skip
        assert same == (not shuffle)
        seen = np.sort(np.concatenate([x["features"][:20, 0] for x, _ in second]))
        np.testing.assert_array_equal(seen, np.arange(60))
        sizes = {(x["features"].shape, x["edges"].shape) for x, _ in first + second}
        assert len(sizes) == 1
        for x, labels in first:
            np.testing.assert_array_equal(y[x["features"][x["asked"], 0].astype(int)], labels)


# Links.


def links(directed=False, shuffle=True):
    graph = random_graph(40, 300)
    pairs = graph.edges if directed else np.unique(np.sort(graph.edges, axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return LinkBatches(graph, pairs, np.arange(0, len(pairs), 2), "links", 1,
                       directed=directed, shuffle=shuffle)  # fmt: skip


@pytest.mark.parametrize("directed", [False, True])
def test_absent_pairs_have_no_edge_in_any_part(directed):
    part = links(directed)
    known = {tuple(e) for e in part.y.tolist()}
    if not directed:
        known |= {(b, a) for a, b in known}
    for _ in range(5):
        x, y = part[0]
        part.on_epoch_end()
        pairs = list(map(tuple, x["asked"].tolist()))
        assert y.dtype == np.float32
        assert y.sum() == part.size == len(y) / 2
        assert all((pair in known) == bool(label) for pair, label in zip(pairs, y, strict=True))
        assert len(set(pairs)) == len(pairs)
        assert all(a != b for a, b in pairs)


def test_absent_pairs_are_new_in_each_epoch_of_training_and_fixed_elsewhere():
    for shuffle in (True, False):
        part = links(shuffle=shuffle)
        first = part[0][0]["asked"]
        np.testing.assert_array_equal(part[0][0]["asked"], first)
        part.on_epoch_end()
        second = part[0][0]["asked"]
        assert np.array_equal(first, second) == (not shuffle)
        np.testing.assert_array_equal(first[: part.size], second[: part.size])


def test_where_nearly_all_are_joined_there_are_fewer_absent_pairs():
    n = 6
    pairs = np.array([(a, b) for a in range(n) for b in range(a + 1, n)])[1:]  # (0, 1) is not there
    edges, weights = in_order(*mirrored(pairs, np.ones(len(pairs))), n)
    graph = Graph(np.ones((n, 1), "float32"), edges, weights, np.array([n]))
    x, y = LinkBatches(graph, pairs, np.arange(5), "links", 1)[0]
    np.testing.assert_array_equal(x["asked"][5:], [[0, 1]])
    np.testing.assert_array_equal(y, [1] * 5 + [0])
