"""Layers that pass messages along the edges of a graph; never a matrix of nodes by nodes.

A graph is three arrays: features of its n nodes, edges int32 (e, 2) of (source, target), and the
edges' weights float32 (e,). What a node receives is gathered from the sources, one row an edge, and
reduced over the rows of each target: time and memory grow with the edges. Several graphs are one
graph of several components, whose numbers of nodes are `sizes`, int32 (g,); nodes behind the last
component are padding, and the edges between them reach nobody else.

Features are float (n, features), or, where most of them are zero, a list [values (n, k),
columns int32 (n, k)] of the others, filled up with zeros. Their product with a matrix then costs k
and not `features` rows a node, and the layers multiply before they gather.

Gilmer et al. 2017, Neural message passing for quantum chemistry, equations 1 and 2.
"""

import math

import keras
from keras import layers, ops

REDUCTIONS = ("sum", "mean", "max")


def number_of_nodes(x):
    """Of features, dense or sparse."""
    return ops.shape(x[0] if isinstance(x, list | tuple) else x)[0]


def project(x, kernel):
    """x W, (n, features) -> (n, units), of dense or sparse features."""
    if isinstance(x, list | tuple):
        values, columns = x
        rows = ops.take(kernel, columns, axis=0)  # (n, k, units)
        return ops.sum(ops.cast(values, rows.dtype)[..., None] * rows, axis=1)
    return ops.matmul(x, kernel)


def reduce_segments(rows, segments, num_segments, reduction: str, weights=None):
    """Rows (e, ...) of equal segment to one, (num_segments, ...); a segment without rows is 0.

    Args:
        rows: what is reduced.
        segments: the segment of each row, int32 (e,).
        num_segments: how many there are.
        reduction: "sum", "mean" or "max".
        weights: of the rows, (e,), by which a mean is divided; None: 1 each.
    """
    if reduction == "max":
        most = ops.segment_max(rows, segments, num_segments)
        none = ops.segment_sum(ops.ones_like(rows), segments, num_segments) < 0.5
        return ops.where(none, ops.zeros_like(most), most)
    # Sums of many terms stay in float32.
    total = ops.segment_sum(ops.cast(rows, "float32"), segments, num_segments)
    if reduction == "mean":
        counts = ops.ones_like(rows[..., 0]) if weights is None else weights
        counts = ops.segment_sum(ops.cast(counts, "float32"), segments, num_segments)
        total = total / ops.where(ops.equal(counts, 0), ops.ones_like(counts), counts)[..., None]
    return ops.cast(total, rows.dtype)


def segment_softmax(scores, own, target, num_nodes):
    """Shares of what each node attends to: its incoming edges and itself, of sum 1.

    Args:
        scores: of the edges, (e, heads).
        own: of each node with itself, (n, heads).
        target: of each edge, int32 (e,).
        num_nodes: n.

    Returns:
        Shares of the edges (e, heads) and of the nodes themselves (n, heads).
    """
    top = ops.maximum(ops.segment_max(scores, target, num_nodes), own)
    top = ops.stop_gradient(top)
    powers, own = ops.exp(scores - ops.take(top, target, axis=0)), ops.exp(own - top)
    total = ops.segment_sum(powers, target, num_nodes) + own
    return powers / ops.take(total, target, axis=0), own / total


def gcn_weights(edges, weights, num_nodes):
    """D^-1/2 (A + I) D^-1/2 as weights of the edges (e,) and of each node itself (n,).

    Kipf & Welling 2017, equation 2; degrees are those of incoming edges. A node that has an edge to
    itself keeps its weight in place of the 1 of I.
    """
    source, target = edges[:, 0], edges[:, 1]
    weights = ops.cast(weights, "float32")
    loop = ops.cast(ops.equal(source, target), "float32")
    loops = ops.segment_sum(ops.stack([loop, loop * weights], axis=1), target, num_nodes)
    own = ops.where(loops[:, 0] > 0, loops[:, 1], ops.ones_like(loops[:, 1]))
    weights = weights * (1 - loop)
    degree = ops.segment_sum(weights, target, num_nodes) + own
    root = ops.where(degree > 0, ops.rsqrt(ops.maximum(degree, 1e-12)), ops.zeros_like(degree))
    weights = ops.take(root, source) * weights * ops.take(root, target)
    return weights, root * root * own


def graph_of_nodes(sizes, num_nodes):
    """The graph that each node belongs to, int32 (n,); of padding the number of graphs."""
    ends = ops.cast(ops.cumsum(sizes), "int32")
    ended = ops.segment_sum(ops.ones_like(ends), ends, num_nodes + 1)  # graphs, before each node
    return ops.cast(ops.cumsum(ended), "int32")[:-1]


@keras.saving.register_keras_serializable("recipes")
class MessagePassing(layers.Layer):
    """h'_i = update(h_i, reduce over edges j -> i of message(h_j, w_ji)), h = transform(x).

    As it stands, each node gets its neighbours' features, weighted and reduced. A subclass says
    what h, a message and the update are.

    Args:
        reduction: "sum", "mean" or "max".
    """

    def __init__(self, reduction="sum", **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def transform(self, x):
        """Features of the nodes to what they send, (n, units)."""
        return x

    def message(self, h, source, target, weights):
        """What goes along each edge, (e, units)."""
        return ops.take(h, source, axis=0) * ops.cast(weights, h.dtype)[:, None]

    def update(self, x, h, received):
        """A node's new features from its old ones, what it sends and what it receives."""
        return received

    def call(self, x, edges, weights):
        """Features (n, features), edges (e, 2) and weights (e,) -> (n, units)."""
        h = self.transform(x)
        source, target = edges[:, 0], edges[:, 1]
        messages = self.message(h, source, target, weights)
        received = reduce_segments(
            messages, target, number_of_nodes(x), self.reduction, weights=weights
        )
        return self.update(x, h, received)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"reduction": self.reduction}


class Convolution(MessagePassing):
    """What the layers below share: a kernel, a bias and an activation.

    Args:
        units: outputs of each node.
        activation: a Keras activation, of the result.
        kernel_regularizer: of all matrices.
        num_features: of sparse features, whose number their shape does not tell.
    """

    def __init__(self, units, activation=None, kernel_regularizer=None, num_features=None,
                 reduction="sum", **kwargs):  # fmt: skip
        super().__init__(reduction, **kwargs)
        self.units, self.num_features = units, num_features
        self.activation = keras.activations.get(activation)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def add_kernel(self, name, *shape):
        """A matrix after Glorot 2010."""
        return self.add_weight(
            shape=shape, initializer="glorot_uniform", regularizer=self.kernel_regularizer,
            name=name,
        )  # fmt: skip

    def add_bias(self, name="bias", units=None):
        """A vector of zeros."""
        return self.add_weight(shape=(units or self.units,), initializer="zeros", name=name)

    def features_of(self, x_shape):
        """The number of features of x."""
        return self.num_features or x_shape[-1]

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "num_features": self.num_features,
        }


@keras.saving.register_keras_serializable("recipes")
class GraphConv(Convolution):
    """H' = D^-1/2 (A + I) D^-1/2 X W + b (Kipf & Welling 2017, equation 2)."""

    def build(self, x_shape, edges_shape=None, weights_shape=None):
        """Make the weights."""
        self.kernel = self.add_kernel("kernel", self.features_of(x_shape), self.units)
        self.bias = self.add_bias()

    def transform(self, x):
        """X W."""
        return project(x, self.kernel)

    def call(self, x, edges, weights):
        """Features (n, features), edges (e, 2) and weights (e,) -> (n, units)."""
        h = self.transform(x)
        weights, own = gcn_weights(edges, weights, number_of_nodes(x))
        messages = self.message(h, edges[:, 0], edges[:, 1], weights)
        received = reduce_segments(messages, edges[:, 1], number_of_nodes(x), "sum")
        return self.activation(received + ops.cast(own, h.dtype)[:, None] * h + self.bias)


@keras.saving.register_keras_serializable("recipes")
class GraphAttention(Convolution):
    """Each node attends to its neighbours and itself, with several heads; weights do not count.

    Velickovic et al. 2018, equations 1 to 6: the score of an edge is LeakyReLU(a . [W x_i, W x_j]).
    Brody et al. 2022, equation 7 (`dynamic`): a . LeakyReLU(W_i x_i + W_j x_j), with which the
    ranking of the neighbours can depend on who looks.

    Args:
        units: of each head.
        num_heads: whose outputs lie side by side, (n, num_heads * units), or are averaged.
        concat: False: averaged, (n, units).
        input_dropout: of the features, for each head anew.
        dropout_rate: of the shares of attention.
        message_dropout: of what is sent, behind the scores.
        dynamic: the second form.
        negative_slope: of LeakyReLU.
        activation: of the result.
        kernel_regularizer: of all weights but the biases.
        num_features: of sparse features.
    """

    def __init__(self, units, num_heads=8, concat=True, input_dropout=0.0, dropout_rate=0.0,
                 message_dropout=0.0, dynamic=False, negative_slope=0.2, **kwargs):  # fmt: skip
        super().__init__(units, **kwargs)
        self.num_heads, self.concat, self.dynamic = num_heads, concat, dynamic
        self.dropout_rate, self.negative_slope = dropout_rate, negative_slope
        self.input_dropout, self.message_dropout = input_dropout, message_dropout
        self.drop_inputs = layers.Dropout(input_dropout)
        self.dropout = layers.Dropout(dropout_rate)
        self.drop_messages = layers.Dropout(message_dropout)

    def build(self, x_shape, edges_shape=None, weights_shape=None):
        """Make the weights."""
        features, width = self.features_of(x_shape), self.num_heads * self.units
        self.kernel = self.add_heads("kernel", features, width)  # of the senders
        if self.dynamic:
            self.target_kernel = self.add_heads("target_kernel", features, width)
            self.source_bias = self.add_bias("source_bias", width)
            self.target_bias = self.add_bias("target_bias", width)
        else:
            self.target_scores = self.add_heads("target_scores", self.num_heads, self.units)
        self.source_scores = self.add_heads("source_scores", self.num_heads, self.units)
        self.bias = self.add_bias(units=self.units * (self.num_heads if self.concat else 1))

    def add_heads(self, name, *shape):
        """Kernels (features, heads * units) or scores (heads, units), each head's after Glorot."""
        fan_in = 1 if "scores" in name else shape[0]
        limit = math.sqrt(6 / (fan_in + self.units))
        return self.add_weight(
            shape=shape, initializer=keras.initializers.RandomUniform(-limit, limit),
            regularizer=self.kernel_regularizer, name=name,
        )  # fmt: skip

    def scores(self, x, h, source, target):
        """Scores of the edges (e, heads), and of each node with itself (n, heads), float32."""
        if self.dynamic:
            looks = self.sent(x, self.target_kernel) + self.heads(self.target_bias)
            pairs = ops.take(looks, target, axis=0) + ops.take(h, source, axis=0)
            return self.score(pairs), self.score(looks + h)
        sent = ops.sum(h * self.source_scores, axis=-1)  # (n, heads)
        asked = ops.sum(h * self.target_scores, axis=-1)
        edges = ops.take(sent, source, axis=0) + ops.take(asked, target, axis=0)
        return self.leak(edges), self.leak(sent + asked)

    def score(self, pairs):
        """a . LeakyReLU(...), (..., heads, units) -> (..., heads)."""
        return ops.cast(ops.sum(self.leak(pairs) * self.source_scores, axis=-1), "float32")

    def leak(self, x):
        """LeakyReLU, float32."""
        return ops.leaky_relu(ops.cast(x, "float32"), self.negative_slope)

    def heads(self, h):
        """(n, heads * units) -> (n, heads, units)."""
        return ops.reshape(h, (-1, self.num_heads, self.units))

    def dropped(self, x):
        """The features as each head sees them in training, values of (n, heads, ...)."""
        values, *columns = x if isinstance(x, list | tuple) else (x,)
        values = self.drop_inputs(ops.repeat(values[:, None], self.num_heads, 1), training=True)
        return [values, *columns] if columns else values

    def sent(self, x, kernel):
        """x W, (n, heads, units), of features as they are or of `dropped` ones."""
        values, *columns = x if isinstance(x, list | tuple) else (x,)
        if len(values.shape) == 2:
            return self.heads(project(x, kernel))
        kernel = self.heads(kernel)  # (features, heads, units)
        values = ops.cast(values, kernel.dtype)
        if columns:
            return ops.einsum("nhk,nkhu->nhu", values, ops.take(kernel, columns[0], axis=0))
        return ops.einsum("nhf,fhu->nhu", values, kernel)

    def call(self, x, edges, weights, training=False):
        """Features (n, features) and edges (e, 2) -> (n, heads * units) or (n, units)."""
        n, source, target = number_of_nodes(x), edges[:, 0], edges[:, 1]
        if training and self.input_dropout:
            x = self.dropped(x)
        h = self.sent(x, self.kernel)
        if self.dynamic:
            h = h + self.heads(self.source_bias)
        scores, own = self.scores(x, h, source, target)
        loop = ops.equal(source, target)[:, None]  # a node attends to itself once
        scores = ops.where(loop, ops.full_like(scores, -1e9), scores)
        shares, own = segment_softmax(scores, own, target, n)
        shares = ops.cast(self.dropout(shares, training=training), h.dtype)
        own = ops.cast(self.dropout(own, training=training), h.dtype)
        h = self.drop_messages(h, training=training)
        messages = shares[..., None] * ops.take(h, source, axis=0)  # (e, heads, units)
        h = reduce_segments(messages, target, n, "sum") + own[..., None] * h
        if self.concat:
            h = ops.reshape(h, (-1, self.num_heads * self.units))
        else:
            h = ops.mean(h, axis=1)
        return self.activation(h + self.bias)

    def get_config(self):
        """The constructor's arguments."""
        names = ("num_heads", "concat", "input_dropout", "dropout_rate", "message_dropout",
                 "dynamic", "negative_slope")  # fmt: skip
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("recipes")
class SAGEConv(Convolution):
    """h'_i = W x_i + W' (what the neighbours say) + b (Hamilton, Ying & Leskovec 2017).

    The paper's product of one matrix with both side by side is this sum (algorithm 1, line 5).

    Args:
        units: outputs of each node.
        aggregator: "mean" of the neighbours' features, weighted by the edges; "max" of them; or
            "pool", the maximum of ReLU(W'' x_j + b'') (equation 3).
        normalize: scale each result to the length 1 (algorithm 1, line 7).
        activation: of the result, before that.
        kernel_regularizer: of all matrices.
        num_features: of sparse features, which "max" cannot have.
    """

    def __init__(self, units, aggregator="mean", normalize=False, **kwargs):
        super().__init__(units, reduction="mean" if aggregator == "mean" else "max",
                         **{k: v for k, v in kwargs.items() if k != "reduction"})  # fmt: skip
        self.aggregator, self.normalize = aggregator, normalize

    def build(self, x_shape, edges_shape=None, weights_shape=None):
        """Make the weights."""
        features = self.features_of(x_shape)
        sent = features
        if self.aggregator == "pool":
            sent = self.units
            self.pool_kernel = self.add_kernel("pool_kernel", features, sent)
            self.pool_bias = self.add_bias("pool_bias", sent)
        self.kernel = self.add_kernel("kernel", features, self.units)
        self.neighbour_kernel = self.add_kernel("neighbour_kernel", sent, self.units)
        self.bias = self.add_bias()

    def transform(self, x):
        """A mean can be taken behind the matrix, a maximum cannot."""
        if self.aggregator == "pool":
            return ops.relu(project(x, self.pool_kernel) + self.pool_bias)
        return project(x, self.neighbour_kernel) if self.aggregator == "mean" else x

    def message(self, h, source, target, weights):
        """Weights count in a mean only."""
        if self.aggregator == "mean":
            return super().message(h, source, target, weights)
        return ops.take(h, source, axis=0)

    def update(self, x, h, received):
        """W x_i + W' received + b."""
        if self.aggregator != "mean":
            received = ops.matmul(received, self.neighbour_kernel)
        h = self.activation(project(x, self.kernel) + received + self.bias)
        return ops.normalize(h, axis=-1, order=2) if self.normalize else h

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"aggregator": self.aggregator, "normalize": self.normalize}


@keras.saving.register_keras_serializable("recipes")
class GINConv(Convolution):
    """h'_i = MLP((1 + eps) x_i + sum of the neighbours), a perceptron of two layers.

    Xu et al. 2019, equation 4.1. The perceptron's first matrix is taken into the sum.

    Args:
        units: of both layers of the perceptron.
        eps: what a node's own features count above its neighbours'; at first, where it is learnt.
        learn_eps: False is the paper's GIN-0.
        batch_normalization: of both layers, before their activations.
        activation: of the second layer, the result.
        kernel_regularizer: of both matrices.
        num_features: of sparse features.
    """

    def __init__(self, units, eps=0.0, learn_eps=False, batch_normalization=False, **kwargs):
        super().__init__(units, **kwargs)
        self.eps, self.learn_eps = eps, learn_eps
        self.batch_normalization = batch_normalization
        self.norms = []
        if batch_normalization:
            self.norms = [layers.BatchNormalization(momentum=0.9, epsilon=1e-5) for _ in range(2)]

    def build(self, x_shape, edges_shape=None, weights_shape=None, nodes_shape=None):
        """Make the weights."""
        self.kernel = self.add_kernel("kernel", self.features_of(x_shape), self.units)
        self.bias = self.add_bias()
        self.output_kernel = self.add_kernel("output_kernel", self.units, self.units)
        self.output_bias = self.add_bias("output_bias")
        start = keras.initializers.Constant(self.eps)
        if self.learn_eps:
            self.own = self.add_weight(shape=(), initializer=start, name="eps")
        for norm in self.norms:
            norm.build((None, self.units))

    def transform(self, x):
        """X W."""
        return project(x, self.kernel)

    def update(self, x, h, received):
        """(1 + eps) x_i + sum, times W."""
        return (1 + (self.own if self.learn_eps else self.eps)) * h + received

    def call(self, x, edges, weights, nodes=None, training=False):
        """Features (n, features), edges (e, 2), weights (e,) -> (n, units).

        `nodes`, booleans (n,), says which are no padding, for batch normalisation.
        """

        def normalized(h, i):
            return self.norms[i](h, training=training, mask=nodes) if self.norms else h

        h = ops.relu(normalized(super().call(x, edges, weights) + self.bias, 0))
        h = ops.matmul(h, self.output_kernel) + self.output_bias
        return self.activation(normalized(h, 1))

    def get_config(self):
        """The constructor's arguments."""
        names = ("eps", "learn_eps", "batch_normalization")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("recipes")
class GraphReadout(layers.Layer):
    """The nodes of each graph to one row: (n, units), sizes (g,) -> (g, units).

    Args:
        reduction: "sum", "mean" or "max".
    """

    def __init__(self, reduction="sum", **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def call(self, x, sizes):
        """Padding is a graph of its own, which is left out."""
        graphs = ops.shape(sizes)[0]
        which = graph_of_nodes(sizes, ops.shape(x)[0])
        return reduce_segments(x, which, graphs + 1, self.reduction)[:graphs]

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"reduction": self.reduction}
