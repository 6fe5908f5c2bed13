"""Layers of graphs: values by hand, and what must not depend on order, padding or other graphs."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes.data.graph_batches import Graph, in_order, mirrored, sparse_rows
from recipes.layers.graph import (
    GINConv,
    GraphAttention,
    GraphConv,
    GraphReadout,
    MessagePassing,
    SAGEConv,
    gcn_weights,
    graph_of_nodes,
    project,
    reduce_segments,
    segment_softmax,
)

MAKERS = {
    "gcn": lambda: GraphConv(5, "relu"),
    "gat": lambda: GraphAttention(3, 2),
    "gatv2": lambda: GraphAttention(3, 2, dynamic=True),
    "sage": lambda: SAGEConv(5),
    "sage_pool": lambda: SAGEConv(5, "pool", normalize=True),
    "gin": lambda: GINConv(5, eps=0.2),
    "messages": lambda: MessagePassing("mean"),
}


def numpy(x):
    return ops.convert_to_numpy(x)


def tensors(*arrays):
    return [ops.convert_to_tensor(a) for a in arrays]


def random_graph(n=12, edges=40, features=4, seed=0):
    rng = np.random.default_rng(seed)
    pairs, weights = in_order(rng.integers(0, n, (edges, 2)), rng.uniform(0.5, 2, edges), n)
    x = rng.standard_normal((n, features)).astype("float32")
    return x, pairs, weights


def path():
    """0 - 1 - 2, both ways."""
    edges, weights = mirrored(np.array([[0, 1], [1, 2]]), np.ones(2))
    return in_order(edges, weights, 3)


def dense(edges, weights, own, n):
    found = np.diag(numpy(own)).astype("float64")
    found[edges[:, 1], edges[:, 0]] += numpy(weights)  # row: who receives
    return found


# Weights of GCN.


def test_the_weights_of_a_path_by_hand():
    edges, weights = path()
    found = dense(edges, *gcn_weights(*tensors(edges, weights), 3), 3)
    half = 1 / np.sqrt(6)  # degrees with itself: 2, 3, 2
    expected = [[1 / 2, half, 0], [half, 1 / 3, half], [0, half, 1 / 2]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[0, 1] == pytest.approx(0.408248, abs=1e-6)


def test_weights_directions_loops_and_lonely_nodes_by_hand():
    # 0 -> 1 of weight 3, 2 -> 2 of weight 4, and 3 alone.
    edges, weights = np.array([[0, 1], [2, 2]], "int32"), np.array([3, 4], "float32")
    found = dense(edges, *gcn_weights(*tensors(edges, weights), 4), 4)
    # Degrees: 0 has itself (1), 1 has 3 + 1, 2 has its own edge's 4 in place of 1, 3 has itself.
    expected = np.zeros((4, 4))
    expected[0, 0], expected[1, 1], expected[2, 2], expected[3, 3] = 1, 1 / 4, 1, 1
    expected[1, 0] = 3 / np.sqrt(4 * 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_largest_eigenvalue_is_one():
    # Of I - L for an undirected graph: its eigenvector is the root of the degrees.
    edges = np.random.default_rng(0).integers(0, 20, (50, 2))
    edges, weights = in_order(*mirrored(edges, np.ones(50)), 20)
    found = dense(edges, *gcn_weights(*tensors(edges, weights), 20), 20)
    np.testing.assert_allclose(found, found.T, atol=1e-6)
    assert np.linalg.eigvalsh(found).max() == pytest.approx(1, abs=1e-5)


# Reductions.


def test_reductions_by_hand_and_empty_segments_are_zero():
    rows = np.array([[1.0, -2], [3, -6], [-5, 0]], "float32")
    segments = np.array([0, 0, 2], "int32")
    found = {r: numpy(reduce_segments(*tensors(rows, segments), 4, r)) for r in
             ("sum", "mean", "max")}  # fmt: skip
    np.testing.assert_allclose(found["sum"], [[4, -8], [0, 0], [-5, 0], [0, 0]])
    np.testing.assert_allclose(found["mean"], [[2, -4], [0, 0], [-5, 0], [0, 0]])
    np.testing.assert_allclose(found["max"], [[3, -2], [0, 0], [-5, 0], [0, 0]])
    weights = ops.convert_to_tensor(np.array([1, 3, 2], "float32"))
    weighted = reduce_segments(*tensors(rows, segments), 4, "mean", weights)
    np.testing.assert_allclose(numpy(weighted)[0], [1, -2])  # 4 / (1 + 3)


def test_shares_of_attention_sum_to_one_however_large_the_scores():
    _, edges, _ = random_graph()
    scores = 200 * np.random.default_rng(1).standard_normal((len(edges), 2)).astype("float32")
    own = np.full((12, 2), -300, "float32")
    shares, self_shares = segment_softmax(*tensors(scores, own, edges[:, 1]), 12)
    total = numpy(self_shares).astype("float64")
    np.add.at(total, edges[:, 1], numpy(shares))
    np.testing.assert_allclose(total, 1, atol=1e-5)
    row = edges[:, 1] == edges[0, 1]
    wanted = np.exp(np.append(scores[row, 0], -300).astype("float64") - scores[row, 0].max())
    np.testing.assert_allclose(numpy(shares)[row, 0], (wanted / wanted.sum())[:-1], atol=1e-6)


def test_readouts_by_hand_with_padding_and_an_empty_graph():
    x = np.array([[1.0], [2], [3], [10], [50]], "float32")
    sizes = np.array([1, 0, 3], "int32")  # and one node of padding
    np.testing.assert_array_equal(numpy(graph_of_nodes(ops.convert_to_tensor(sizes), 5)),
                                  [0, 2, 2, 2, 3])  # fmt: skip
    for reduction, expected in (("sum", [1, 0, 15]), ("mean", [1, 0, 5]), ("max", [1, 0, 10])):
        found = GraphReadout(reduction)(*tensors(x, sizes))
        np.testing.assert_allclose(numpy(found)[:, 0], expected)


# Layers.


def test_the_plain_layer_gives_the_neighbours_by_hand():
    edges = np.array([[0, 1], [2, 1], [1, 0]], "int32")
    x = np.array([[1.0], [10], [100]], "float32")
    weights = np.array([2, 0.5, 1], "float32")
    found = {r: numpy(MessagePassing(r)(*tensors(x, edges, weights)))[:, 0] for r in
             ("sum", "mean", "max")}  # fmt: skip
    np.testing.assert_allclose(found["sum"], [10, 52, 0])
    np.testing.assert_allclose(found["mean"], [10, 52 / 2.5, 0])
    np.testing.assert_allclose(found["max"], [10, 50, 0])


def test_a_layer_of_ones_own_is_a_message_and_an_update():
    class Difference(MessagePassing):
        def message(self, h, source, target, weights):
            return ops.take(h, source, axis=0) - ops.take(h, target, axis=0)

        def update(self, x, h, received):
            return x + received

    edges = np.array([[0, 1], [2, 1]], "int32")
    x = np.array([[1.0], [10], [100]], "float32")
    found = Difference()(*tensors(x, edges, np.ones(2, "float32")))
    np.testing.assert_allclose(numpy(found)[:, 0], [1, 10 + (1 - 10) + (100 - 10), 100])


def test_gcn_is_the_product_of_matrices():
    x, edges, weights = random_graph()
    layer = GraphConv(3)
    found = numpy(layer(*tensors(x, edges, weights)))
    layer.bias.assign([1.0, 2, 3])
    a = dense(edges, *gcn_weights(*tensors(edges, weights), 12), 12)
    np.testing.assert_allclose(found, a @ x @ numpy(layer.kernel), atol=1e-5)
    again = numpy(layer(*tensors(x, edges, weights)))
    np.testing.assert_allclose(again - found, np.tile([1, 2, 3], (12, 1)), atol=1e-5)


def test_equal_scores_are_a_mean():
    x, edges, weights = random_graph()
    edges = edges[edges[:, 0] != edges[:, 1]]
    layer = GraphAttention(3, 1)
    inputs = tensors(x, edges, weights[: len(edges)])
    layer(*inputs)
    for scores in (layer.source_scores, layer.target_scores):
        scores.assign(np.zeros((1, 3)))
    a = np.eye(12)
    a[edges[:, 1], edges[:, 0]] = 1
    a /= a.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(numpy(layer(*inputs)), a @ x @ numpy(layer.kernel), atol=1e-5)


@pytest.mark.parametrize("dynamic", [False, True])
def test_each_head_drops_features_of_its_own(dynamic):
    n, features = 400, 6
    x, weights = np.ones((n, features), "float32"), np.zeros(0, "float32")
    columns = np.tile(np.arange(features, dtype="int32"), (n, 1))
    none = np.zeros((0, 2), "int32")  # everyone attends to itself alone
    for given in (x, [x, columns]):
        layer = GraphAttention(1, 2, input_dropout=0.5, dynamic=dynamic, num_features=features)
        given = [*tensors(*given)] if isinstance(given, list) else tensors(given)[0]
        inputs = (given, *tensors(none, weights))
        layer(*inputs)
        layer.kernel.assign(np.ones((features, 2)))
        np.testing.assert_allclose(numpy(layer(*inputs)), np.full((n, 2), features))
        kept = numpy(layer(*inputs, training=True)) / 2  # of 6, scaled by 1 / 0.5
        assert set(np.unique(kept)) <= set(range(features + 1))
        assert kept.mean() == pytest.approx(3, abs=0.2)
        assert abs(np.corrcoef(kept.T)[0, 1]) < 0.2


def test_each_head_begins_as_if_it_were_alone():
    layer = GraphAttention(4, 8)
    layer.build((10, 50))
    for weight, fans in ((layer.kernel, 50 + 4), (layer.source_scores, 1 + 4)):
        limit = np.sqrt(6 / fans)
        assert 0.8 * limit < np.abs(numpy(weight)).max() <= limit


def test_in_gat_all_rank_their_neighbours_alike_and_in_gatv2_not():
    # Everyone hears everyone. Brody 2022, theorem 1.
    n = 8
    edges = np.array([(a, b) for b in range(n) for a in range(n) if a != b], "int32")
    x = np.random.default_rng(0).standard_normal((n, 5)).astype("float32")
    rankings = {}
    for dynamic in (False, True):
        layer = GraphAttention(16, 1, dynamic=dynamic)
        layer(*tensors(x, edges, np.ones(len(edges), "float32")))
        h = layer.heads(project(ops.convert_to_tensor(x), layer.kernel))
        scores, own = layer.scores(*tensors(x), h, *tensors(edges[:, 0], edges[:, 1]))
        table = np.diag(numpy(own)[:, 0])
        table[edges[:, 1], edges[:, 0]] = numpy(scores)[:, 0]
        rankings[dynamic] = {tuple(row) for row in table.argsort(axis=1)}
    assert len(rankings[False]) == 1
    assert len(rankings[True]) > 1


def test_gin_tells_apart_what_mean_and_maximum_do_not():
    # A node with two equal neighbours, and one with three (Xu 2019, figure 3).
    edges = np.array([[1, 0], [2, 0], [4, 3], [5, 3], [6, 3]], "int32")
    x, weights = np.ones((7, 2), "float32"), np.ones(5, "float32")
    for make, differ in ((lambda: GINConv(8), True), (lambda: SAGEConv(8), False),
                         (lambda: SAGEConv(8, "pool"), False)):  # fmt: skip
        out = numpy(make()(*tensors(x, edges, weights)))
        assert bool(np.abs(out[0] - out[3]).max() > 1e-4) == differ


@pytest.mark.parametrize("name", MAKERS)
def test_the_order_of_nodes_and_edges_does_not_matter(name):
    x, edges, weights = random_graph()
    layer = MAKERS[name]()
    expected = numpy(layer(*tensors(x, edges, weights)))
    rng = np.random.default_rng(1)
    to = rng.permutation(12)  # old number -> new number
    order = rng.permutation(len(edges))
    moved = np.empty_like(x)
    moved[to] = x
    found = numpy(layer(*tensors(moved, to[edges][order].astype("int32"), weights[order])))
    np.testing.assert_allclose(found[to], expected, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_side_by_side_and_padded_is_as_each_alone(name):
    one, two = random_graph(seed=1), random_graph(n=7, edges=15, seed=2)
    layer = MAKERS[name]()
    alone = [numpy(layer(*tensors(*graph))) for graph in (one, two)]
    padding = np.full((5, 2), 20, "int32")  # from the last node to itself
    x = np.concatenate([one[0], two[0], np.full((2, 4), 9, "float32")])
    edges = np.concatenate([one[1], two[1] + 12, padding])
    weights = np.concatenate([one[2], two[2], np.ones(5, "float32")])
    together = numpy(layer(*tensors(x, edges, weights)))
    np.testing.assert_allclose(together[:19], np.concatenate(alone), atol=1e-5)
    assert np.isfinite(together).all()


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "messages"])
def test_sparse_features_are_dense_ones(name):
    x, edges, weights = random_graph(features=30)
    x *= np.random.default_rng(3).random(x.shape) < 0.1
    layer = MAKERS[name]()
    expected = numpy(layer(*tensors(x, edges, weights)))
    again = type(layer).from_config({**layer.get_config(), "num_features": 30})
    values, columns = sparse_rows(x)
    assert values.shape[1] < 10
    inputs = [tensors(values, columns), *tensors(edges, weights)]
    again(*inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(numpy(again(*inputs)), expected, atol=1e-5)


def test_batch_normalisation_does_not_see_padding():
    x, edges, weights = random_graph()
    layer = GINConv(5, batch_normalization=True)
    inside = np.ones(12, bool)
    expected = numpy(layer(*tensors(x, edges, weights, inside), training=True))
    statistics = [numpy(w).copy() for w in layer.non_trainable_variables]
    fresh = GINConv.from_config(layer.get_config())
    x = np.concatenate([x, np.full((3, 4), 100, "float32")])
    inside = np.arange(15) < 12
    fresh.build(x.shape)
    fresh.set_weights([w if w.path.split("/")[-1] not in ("moving_mean", "moving_variance")
                       else np.full(w.shape, "variance" in w.path, "float32")
                       for w in layer.weights])  # fmt: skip
    found = numpy(fresh(*tensors(x, edges, weights, inside), training=True))
    np.testing.assert_allclose(found[:12], expected, atol=1e-4)
    for a, b in zip(fresh.non_trainable_variables, statistics, strict=True):
        np.testing.assert_allclose(numpy(a), b, atol=1e-5)


@pytest.mark.parametrize("half", ["mixed_float16", "mixed_bfloat16"])
def test_many_neighbours_are_summed_in_float32(half):
    # In float16 a sum of ones ends at 2,048, in bfloat16 at 256.
    n = 4000
    edges = np.stack([np.arange(1, n), np.zeros(n - 1)], axis=1).astype("int32")
    x, weights = np.ones((n, 1), "float32"), np.ones(n - 1, "float32")
    found = MessagePassing("sum", dtype=half)(*tensors(x, edges, weights))
    assert float(numpy(ops.cast(found, "float32"))[0, 0]) == pytest.approx(n - 1, rel=0.005)


@pytest.mark.parametrize("name", MAKERS)
def test_layers_are_made_again_from_their_configuration(name):
    layer = MAKERS[name]()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    graph = tensors(*random_graph())
    layer(*graph), again(*graph)
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(numpy(again(*graph)), numpy(layer(*graph)), atol=1e-6)


def test_no_matrix_of_nodes_by_nodes():
    # 300,000 nodes: such a matrix would need 360 GB.
    n = 300_000
    edges = np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1).astype("int32")
    graph = Graph(np.ones((n, 1), "float32"), edges, np.ones(n, "float32"), np.array([n], "int32"))
    found = GraphConv(1)(*tensors(graph.features, graph.edges, graph.weights))
    assert found.shape == (n, 1)
