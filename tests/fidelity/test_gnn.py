"""Graph layers and whole networks against torch-geometric, with the same weights."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes import gnn
from recipes.data.graph_batches import Graph, in_order, sparse_rows
from recipes.layers import graph as ours

torch = pytest.importorskip("torch")
nn = pytest.importorskip("torch_geometric.nn", reason="the peer is torch-geometric (extra `peers`)")

NODES, FEATURES, UNITS = 30, 6, 5


@pytest.fixture
def graph() -> Graph:
    """Directed and weighted, with edges from a node to itself and a node without any edge."""
    rng = np.random.default_rng(0)
    edges = rng.integers(0, NODES - 1, (120, 2))
    edges[:4] = [[3, 3], [7, 7], [0, 1], [1, 0]]
    edges, weights = in_order(edges, rng.uniform(0.5, 2, 120), NODES)
    x = rng.standard_normal((NODES, FEATURES)).astype("float32")
    return Graph(x, edges, weights, np.array([NODES], "int32"))


def unweighted(graph: Graph) -> Graph:
    """torch-geometric's SAGEConv and GINConv know no weights."""
    return Graph(graph.features, graph.edges, np.ones_like(graph.weights), graph.sizes)


def draw(module) -> None:
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for w in module.parameters():
            w.copy_(torch.as_tensor(rng.uniform(-0.6, 0.6, w.shape)))


def numpy(tensor):
    return tensor.detach().numpy().copy()


# A layer of theirs -> the weights of ours, in the order in which ours makes them; `of` picks
# the values or the gradients.
def of_gcn(layer, of=lambda w: w):
    return [numpy(of(layer.lin.weight)).T, numpy(of(layer.bias))]


def of_gat(layer, of=lambda w: w):
    scores = [numpy(of(w))[0] for w in (layer.att_dst, layer.att_src)]
    return [numpy(of(layer.lin.weight)).T, *scores, numpy(of(layer.bias))]


def of_gatv2(layer, of=lambda w: w):
    kernels = [numpy(of(w.weight)).T for w in (layer.lin_l, layer.lin_r)]
    biases = [numpy(of(w.bias)) for w in (layer.lin_l, layer.lin_r)]
    return [*kernels, *biases, numpy(of(layer.att))[0], numpy(of(layer.bias))]


def of_sage(layer, of=lambda w: w):
    pool = []
    if layer.project:
        pool = [numpy(of(layer.lin.weight)).T, numpy(of(layer.lin.bias))]
    kernels = [numpy(of(w.weight)).T for w in (layer.lin_r, layer.lin_l)]
    return [*pool, *kernels, numpy(of(layer.lin_l.bias))]


def of_gin(layer, of=lambda w: w):
    found = [numpy(of(w)) for m in (layer.nn[0], layer.nn[2]) for w in (m.weight, m.bias)]
    return [found[0].T, found[1], found[2].T, found[3], numpy(of(layer.eps)).reshape(())]


def perceptron():
    return torch.nn.Sequential(
        torch.nn.Linear(FEATURES, UNITS), torch.nn.ReLU(), torch.nn.Linear(UNITS, UNITS)
    )


CASES = {
    "gcn": (
        lambda: nn.GCNConv(FEATURES, UNITS), lambda: ours.GraphConv(UNITS), of_gcn, True,
    ),
    "gat": (
        lambda: nn.GATConv(FEATURES, UNITS, heads=3),
        lambda: ours.GraphAttention(UNITS, 3), of_gat, False,
    ),
    "gat_averaged": (
        lambda: nn.GATConv(FEATURES, UNITS, heads=3, concat=False),
        lambda: ours.GraphAttention(UNITS, 3, concat=False), of_gat, False,
    ),
    "gatv2": (
        lambda: nn.GATv2Conv(FEATURES, UNITS, heads=3),
        lambda: ours.GraphAttention(UNITS, 3, dynamic=True), of_gatv2, False,
    ),
    "sage_mean": (
        lambda: nn.SAGEConv(FEATURES, UNITS), lambda: ours.SAGEConv(UNITS), of_sage, False,
    ),
    "sage_normalized": (
        lambda: nn.SAGEConv(FEATURES, UNITS, normalize=True),
        lambda: ours.SAGEConv(UNITS, normalize=True), of_sage, False,
    ),
    "sage_max": (
        lambda: nn.SAGEConv(FEATURES, UNITS, aggr="max"),
        lambda: ours.SAGEConv(UNITS, "max"), of_sage, False,
    ),
    "sage_pool": (
        lambda: nn.SAGEConv(FEATURES, FEATURES, aggr="max", project=True),
        lambda: ours.SAGEConv(FEATURES, "pool"), of_sage, False,
    ),
    "gin": (
        lambda: nn.GINConv(perceptron(), eps=0.3, train_eps=True),
        lambda: ours.GINConv(UNITS, learn_eps=True), of_gin, False,
    ),
}  # fmt: skip


def near(found, expected):
    """Equal to 1e-5 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_layer_equals_torch_geometrics(name, sparse, graph):
    make_theirs, make_ours, weights_of, weighted = CASES[name]
    if sparse and name == "sage_max":
        pytest.skip("a maximum of sparse features is none of its own")
    graph = graph if weighted else unweighted(graph)
    theirs, layer = make_theirs(), make_ours()
    draw(theirs)
    inputs = [keras.Input((FEATURES,)), keras.Input((2,), dtype="int32"), keras.Input(())]
    columns = ()
    x = graph.features
    if sparse:
        x = x * (np.random.default_rng(2).random(x.shape) < 0.4)
        inputs[0], columns = keras.Input((None,)), (keras.Input((None,), dtype="int32"),)
        layer.num_features = FEATURES
    outputs = layer([inputs[0], *columns] if sparse else inputs[0], *inputs[1:])
    model = keras.Model([*inputs, *columns], outputs)
    layer.set_weights(weights_of(theirs))
    fed = [*(sparse_rows(x)[:1] if sparse else (x,)), graph.edges, graph.weights]
    fed += sparse_rows(x)[1:] if sparse else ()

    edge_index = torch.tensor(graph.edges.T.astype("int64"))
    extra = (torch.tensor(graph.weights),) if weighted else ()
    expected = theirs(torch.tensor(x.astype("float32")), edge_index, *extra)
    near(ops.convert_to_numpy(model.predict_on_batch(fed)), numpy(expected))

    # Gradients: by how much one step of plain descent moves each weight. The loss is not linear:
    # there Keras on TensorFlow may update a weight that its gradient does not need before it is
    # read.
    target = np.random.default_rng(3).standard_normal(expected.shape).astype("float32")
    (expected - torch.tensor(target)).square().sum().backward()
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: ops.sum(ops.square(p - y)))
    before = layer.get_weights()
    model.train_on_batch(fed, target)
    moved = [a - b for a, b in zip(before, layer.get_weights(), strict=True)]
    for step, gradient in zip(moved, weights_of(theirs, lambda w: w.grad), strict=True):
        assert np.abs(gradient).max() > 1e-3
        near(step, gradient)


class Net(torch.nn.Module):
    """GCN as the paper has it, without dropout."""

    def __init__(self, features, units, classes):
        super().__init__()
        self.a, self.b = nn.GCNConv(features, units), nn.GCNConv(units, classes)

    def forward(self, x, edges, weights):
        return self.b(torch.relu(self.a(x, edges, weights)), edges, weights)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_first_three_adam_steps_of_gcn(sparse, graph):
    theirs = Net(FEATURES, 16, 3)
    draw(theirs)
    # Keras adds epsilon before the correction of the start, PyTorch behind it.
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-12)
    model = gnn.build_model(
        input_shape=(FEATURES,), num_classes=3, dropout_rate=0.0, sparse=sparse,
        optimizer=optimizer,
    )  # fmt: skip
    convolutions = [model.get_layer(name) for name in ("layer_0", "logits")]
    for layer, other in zip(convolutions, (theirs.a, theirs.b), strict=True):
        layer.set_weights(of_gcn(other))
    asked = np.array([0, 5, 11, 29, 2])  # the last but one has no edge
    y = np.array([0, 1, 2, 1, 0], "int32")
    x = graph.inputs(asked)
    if sparse:
        x["features"], x["columns"] = sparse_rows(graph.features)
    # torch-geometric's users let Adam add weight_decay * w to the gradient.
    decayed = [{"params": [theirs.a.lin.weight], "weight_decay": 5e-4}]
    others = [theirs.a.bias, *theirs.b.parameters()]
    descent = torch.optim.Adam([*decayed, {"params": others}], lr=0.01, eps=1e-12)
    edges = torch.tensor(graph.edges.T.astype("int64"))
    for _ in range(3):
        logits = theirs(torch.tensor(graph.features), edges, torch.tensor(graph.weights))[asked]
        near(ops.convert_to_numpy(model.predict_on_batch(x)), numpy(logits))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y).long())
        penalty = 2.5e-4 * float(theirs.a.lin.weight.detach().square().sum())
        descent.zero_grad()
        loss.backward()
        descent.step()
        found = model.train_on_batch(x, y, return_dict=True)
        assert found["loss"] == pytest.approx(float(loss.detach()) + penalty, rel=1e-5)
    for layer, other in zip(convolutions, (theirs.a, theirs.b), strict=True):
        for a, b in zip(layer.get_weights(), of_gcn(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_links_and_their_loss_equal_torch_geometrics_vgae(graph):
    graph = unweighted(graph)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.GCNConv(FEATURES, 8)
            self.mean, self.deviation = nn.GCNConv(8, 4), nn.GCNConv(8, 4)

        def forward(self, x, edges):
            h = torch.relu(self.a(x, edges))
            return self.mean(h, edges), self.deviation(h, edges)

    encoder = Encoder()
    draw(encoder)
    theirs = nn.VGAE(encoder)
    theirs.eval()  # the means
    model = gnn.build_model("vgae", input_shape=(FEATURES,), units=8, latent_dim=4)
    for name, layer in (("layer_0", encoder.a), ("mean", encoder.mean),
                        ("deviation", encoder.deviation)):  # fmt: skip
        model.get_layer(name).set_weights(of_gcn(layer))
    pairs = np.array([[0, 1], [4, 9], [2, 2], [3, 8]])
    y = np.array([1, 1, 0, 0], "float32")
    x, edges = torch.tensor(graph.features), torch.tensor(graph.edges.T.astype("int64"))
    z = theirs.encode(x, edges)
    logits = theirs.decoder(z, torch.tensor(pairs.T), sigmoid=False)
    near(model.predict(graph.inputs(pairs), verbose=0), numpy(logits))
    near(model.encode(graph.inputs(pairs)), numpy(z))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(y))
    loss = float((loss + theirs.kl_loss() / NODES).detach())
    found = model.evaluate(graph.inputs(pairs), y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_readout_equals_torch_geometrics_pooling(reduction):
    x = np.random.default_rng(0).standard_normal((12, 4)).astype("float32")
    sizes = np.array([3, 1, 6], "int32")  # and two nodes of padding
    pool = {"sum": "global_add_pool", "mean": "global_mean_pool", "max": "global_max_pool"}
    batch = torch.tensor(np.repeat(np.arange(3), sizes))
    expected = getattr(nn, pool[reduction])(torch.tensor(x[:10]), batch)
    found = ours.GraphReadout(reduction)(ops.convert_to_tensor(x), ops.convert_to_tensor(sizes))
    near(ops.convert_to_numpy(found), numpy(expected))
