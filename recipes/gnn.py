"""Graph neural networks: nodes that tell their neighbours what they are, step by step.

Each layer makes a node's new features from its own and from what its neighbours send. After k
layers a node knows of all that is k edges away. From its features then comes a class of the node,
whether two nodes are joined, or, from all nodes together, a class of the graph.

Papers:
    Kipf & Welling 2017, Semi-supervised classification with graph convolutional networks (`gcn`).
    Velickovic, Cucurull, Casanova, Romero, Lio & Bengio 2018, Graph attention networks (`gat`).
    Brody, Alon & Yahav 2022, How attentive are graph attention networks? (`gatv2`).
    Hamilton, Ying & Leskovec 2017, Inductive representation learning on large graphs
    (`graphsage`, `graphsage_pool`; sampled neighbours: `load_data(neighbours=(25, 10))`).
    Xu, Hu, Leskovec & Jegelka 2019, How powerful are graph neural networks? (`gin`).
    Kipf & Welling 2016, Variational graph auto-encoders (`gae`, `vgae`).
    Gilmer, Schoenholz, Riley, Vinyals & Dahl 2017, Neural message passing for quantum chemistry.

Differences:
    GCN has biases, which the paper has and its code leaves out. Links are learnt from as many pairs
    that are not joined as pairs that are, drawn afresh in each epoch; the paper weighs all pairs.
    GraphSAGE runs all layers on all nodes of a sampled neighbourhood. GIN has GIN-0's sums,
    a constant learning rate (the paper's halves every 50 epochs), and dropout before the linear
    layers of its readout; the paper's code has it behind.
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe, unknown
from recipes.layers.graph import (
    REDUCTIONS,
    GINConv,
    GraphAttention,
    GraphConv,
    GraphReadout,
    SAGEConv,
    graph_of_nodes,
)
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import l2, make_optimizer

KINDS = ("graphs",)
OBJECTIVE = ("val_loss", "min")
EPOCHS = 200

TASKS = ("nodes", "links", "graphs")
LAYERS = ("gcn", "gat", "gatv2", "sage", "gin")
AGGREGATORS = ("mean", "pool")


@keras.saving.register_keras_serializable("recipes")
class Inside(layers.Layer):
    """Which nodes are no padding: sizes (g,) and features (n, any) -> booleans (n,)."""

    def call(self, sizes, x):
        """Padding belongs to the graph behind the last one."""
        return graph_of_nodes(sizes, ops.shape(x)[0]) < ops.shape(sizes)[0]


@keras.saving.register_keras_serializable("recipes")
class Asked(layers.Layer):
    """The rows that the answer is wanted for: (n, d) and numbers (t,) -> (t, d)."""

    def call(self, x, asked):
        """Gather them."""
        return ops.take(x, asked, axis=0)


@keras.saving.register_keras_serializable("recipes")
class InnerProduct(layers.Layer):
    """How sure it is that two nodes are joined: z_a . z_b (Kipf & Welling 2016, equation 2).

    The logits of pairs: z (n, d) and pairs (t, 2) -> (t,), float32.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)

    def call(self, z, pairs):
        """Row by row."""
        return ops.sum(ops.take(z, pairs[:, 0], axis=0) * ops.take(z, pairs[:, 1], axis=0), axis=-1)


@keras.saving.register_keras_serializable("recipes")
class Latent(layers.Layer):
    """z = mean + deviation * noise in training, and the mean otherwise; float32.

    Adds KL(q(z|x) || N(0, 1)) / n to the loss, the mean over the n nodes: Kipf & Welling 2016,
    equation 3, on the scale of their code.

    Args:
        seed: of the noise.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, mean, log_deviation, training=False):
        """(n, d) and (n, d) -> (n, d)."""
        log_deviation = ops.minimum(log_deviation, 10.0)
        nodes = ops.cast(ops.shape(mean)[0], "float32")
        kl = ops.square(mean) + ops.exp(2 * log_deviation) - 1 - 2 * log_deviation
        self.add_loss(ops.mean(ops.sum(kl, axis=-1)) / 2 / nodes)
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), seed=self.generator)
        return mean + ops.exp(log_deviation) * noise

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"seed": self.seed}


class OneBatch(keras.utils.PyDataset):
    """A graph in arrays, with what is wanted of it, as the only batch."""

    def __init__(self, *batch: Any):
        super().__init__()
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple:
        """The batch."""
        return self.batch


@keras.saving.register_keras_serializable("recipes")
class GraphModel(keras.Model):
    """A network of a graph: a dictionary of arrays -> what is asked, (t, ...).

    The dictionary is that of `recipes.data.graph_batches`. Its arrays have unlike lengths, which
    Keras takes from a `PyDataset` only; given as they are, they are one batch.
    """

    xla_on_cpu = False

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """As Keras's, but penalties on weights count in training only: else no decay would win."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training:
            return loss
        return loss - sum(w.regularizer(w) for w in self.trainable_weights if w.regularizer)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, **kwargs):  # fmt: skip
        """As `keras.Model.fit`; `sample_weight` (t,) can be a mask.

        Raises:
            ValueError: edges to nodes that are not there; a validation_split of one graph.
        """
        if isinstance(validation_data, tuple | list):
            validation_data = self.one_batch(*validation_data)
        if isinstance(x, dict):
            wanted = "one graph cannot be split; give validation_data"
            check(not validation_split, "validation_split", validation_split, wanted)
            x, y, sample_weight = self.one_batch(x, y, sample_weight), None, None
        return super().fit(
            x, y, batch_size, epochs, verbose, callbacks, validation_split, validation_data,
            shuffle, class_weight, sample_weight, **kwargs,
        )  # fmt: skip

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None,
                 **kwargs):  # fmt: skip
        """As `keras.Model.evaluate`."""
        if isinstance(x, dict):
            x, y, sample_weight = self.one_batch(x, y, sample_weight), None, None
        return super().evaluate(x, y, batch_size, verbose, sample_weight, **kwargs)

    def predict(self, x, batch_size=None, *args, **kwargs):
        """As `keras.Model.predict`."""
        return super().predict(
            self.one_batch(x) if isinstance(x, dict) else x, batch_size, *args, **kwargs
        )

    def one_batch(self, x: dict, y: Any = None, sample_weight: Any = None) -> OneBatch:
        """A graph in arrays as a batch, after a look at its edges.

        Raises:
            ValueError: an array is missing, or an edge leads to a node that is not there.
        """
        missing = sorted({i.name for i in self.inputs} - set(x))
        check(not missing, "x", sorted(x), f"lacks {', '.join(missing)}")
        edges, n = np.asarray(x["edges"]), len(x["features"])
        fits = not edges.size or (edges.min() >= 0 and edges.max() < n)
        wanted = f"the nodes are 0 .. {n - 1}"
        check(fits, "edges", f"from {edges.min(initial=0)} to {edges.max(initial=0)}", wanted)
        return OneBatch(*(v for v in (x, y, sample_weight) if v is not None))

    def encode(self, x: dict) -> np.ndarray:
        """Features of all nodes before the last layer, of links the latent ones: (n, d) float32."""
        inner = keras.Model(self.inputs, self.get_layer("embedding").output)
        return ops.convert_to_numpy(inner.predict_on_batch(x)).astype("float32")


VARIANTS = {
    "gcn": {},
    "gat": {
        "layer": "gat", "units": 8, "activation": "elu", "dropout_rate": 0.6,
        "attention_dropout": 0.6, "message_dropout": 0.6, "learning_rate": 5e-3,
        "decayed_layers": None,
    },
    "gatv2": {
        "layer": "gatv2", "units": 8, "activation": "elu", "dropout_rate": 0.6,
        "attention_dropout": 0.6, "message_dropout": 0.6, "learning_rate": 5e-3,
        "decayed_layers": None,
    },
    "graphsage": {"layer": "sage", "units": 128, "normalize": True},
    "graphsage_pool": {"layer": "sage", "units": 128, "aggregator": "pool", "normalize": True},
    "gin": {
        "task": "graphs", "input_shape": (3,), "layer": "gin", "units": 64, "num_layers": 4,
        "weight_decay": 0.0,
    },
    "gae": {"task": "links", "units": 32, "dropout_rate": 0.0, "weight_decay": 0.0},
    "vgae": {
        "task": "links", "variational": True, "units": 32, "dropout_rate": 0.0,
        "weight_decay": 0.0,
    },
    "tiny": {"units": 8, "dropout_rate": 0.0, "weight_decay": 0.0, "learning_rate": 0.05},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "gcn",
    *,
    input_shape: tuple[int, ...] = (64,),
    sparse: bool = False,
    num_classes: int = 10,
    task: str = "nodes",
    layer: str = "gcn",
    units: int = 16,
    num_layers: int = 2,
    num_heads: int = 8,
    output_heads: int = 1,
    aggregator: str = "mean",
    normalize: bool = False,
    latent_dim: int = 16,
    variational: bool = False,
    readout: str = "sum",
    activation: str = "relu",
    dropout_rate: float = 0.5,
    attention_dropout: float = 0.0,
    message_dropout: float = 0.0,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 1e-2,
    weight_decay: float = 5e-4,
    decayed_layers: int | None = 1,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `GraphModel`: a graph -> logits of nodes or graphs (t, classes), or of links (t,).

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (features,) of a node.
        sparse: features come as values and places.
        num_classes: number of logits; of links there is one each.
        task: "nodes", "links" or "graphs".
        layer: "gcn", "gat", "gatv2", "sage" or "gin".
        units: of each layer but the last, of "gat" and "gatv2" for each head.
        num_layers: that pass messages: the last one gives the logits of nodes or the latent
            features of links.
        num_heads: of "gat" and "gatv2", side by side.
        output_heads: likewise of the last layer, averaged.
        aggregator: of "sage": "mean", or "pool", a maximum.
        normalize: "sage" scales its features to the length 1, but for logits.
        latent_dim: features from which links are told.
        variational: draw these from a distribution.
        readout: of the nodes of a graph: "sum", "mean" or "max".
        activation: a Keras activation, behind each layer but the last.
        dropout_rate: before each layer, of "gat" and "gatv2" for each head anew; of whole graphs
            before the logits.
        attention_dropout: of the shares of attention.
        message_dropout: of what "gat" and "gatv2" send, as in the code of GAT's authors.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        weight_decay: L2 penalty (weight_decay / 2) |w|^2 on the kernels of the first layers, in
            training; the loss of `evaluate` is without it.
        decayed_layers: how many these are; None: all.
        seed: of the initial weights, of dropout and of the latent noise.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    for what, value, known in (("task", task, TASKS), ("layer", layer, LAYERS),
                               ("aggregator", aggregator, AGGREGATORS),
                               ("readout", readout, REDUCTIONS)):  # fmt: skip
        if value not in known:
            raise unknown(what, value, known)
    check(len(input_shape) == 1, "input_shape", input_shape, "must be (features,) of a node")
    for name, value in (("units", units), ("num_layers", num_layers),
                        ("output_heads", output_heads)):  # fmt: skip
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        check(whole, name, value, "must be a positive integer")
    for name, value in (("sparse", sparse), ("normalize", normalize), ("variational", variational)):
        check(isinstance(value, bool), name, value, "must be True or False")
    rates = {"attention_dropout": attention_dropout, "message_dropout": message_dropout}
    for name, value in rates.items():
        rate = isinstance(value, int | float) and 0 <= value < 1
        check(rate, name, value, "must be a number in [0, 1)")
    whole = isinstance(decayed_layers, int) and decayed_layers >= 0
    wanted = "must be an integer of at least 0, or None"
    check(decayed_layers is None or whole, "decayed_layers", decayed_layers, wanted)
    check(task == "links" or not variational, "variational", variational, "is for links only")

    shape = (2,) if task == "links" else ()
    inputs = {
        "asked": keras.Input(shape, dtype="int32", name="asked"),
        "edges": keras.Input((2,), dtype="int32", name="edges"),
        "features": keras.Input((None,) if sparse else input_shape, name="features"),
        "sizes": keras.Input((), dtype="int32", name="sizes"),
        "weights": keras.Input((), dtype="float32", name="weights"),
    }
    columns = None
    if sparse:
        columns = inputs["columns"] = keras.Input((None,), dtype="int32", name="columns")
    inside = Inside(name="inside")(inputs["sizes"], inputs["features"])
    edges, weights = inputs["edges"], inputs["weights"]

    def convolve(x, i: int, width: int, last: bool, name: str):
        """Layer i: features of the nodes (n, any) -> (n, width), of several heads wider."""
        decays = decayed_layers is None or i < decayed_layers
        common = {
            "activation": None if last else activation,
            "kernel_regularizer": l2(weight_decay if decays else 0.0),
            "num_features": input_shape[0] if sparse and i == 0 else None,
            "name": name,
        }
        if sparse and i == 0:
            x = [x, columns]
        if layer in ("gat", "gatv2"):
            return GraphAttention(
                width, output_heads if last else num_heads, concat=not last,
                input_dropout=0.0 if task == "graphs" else dropout_rate,
                dropout_rate=attention_dropout, message_dropout=message_dropout,
                dynamic=layer == "gatv2", **common,
            )(x, edges, weights)  # fmt: skip
        if layer == "sage":
            return SAGEConv(width, aggregator, normalize and not last, **common)(x, edges, weights)
        if layer == "gin":
            convolution = GINConv(width, batch_normalization=not last, **common)
            return convolution(x, edges, weights, inside)
        return GraphConv(width, **common)(x, edges, weights)

    def drop(x):
        return layers.Dropout(dropout_rate)(x) if dropout_rate else x

    def drop_inputs(x):  # the heads of attention do so themselves
        return x if task == "graphs" or layer in ("gat", "gatv2") else drop(x)

    x, steps = inputs["features"], []
    hidden = num_layers - (task != "graphs")
    for i in range(hidden):
        x = convolve(drop_inputs(x), i, units, False, f"layer_{i}")
        steps.append(x)
    if task == "graphs":
        # Graphs are told apart by what all layers saw (Xu et al. 2019, equation 4.2).
        pooled = [GraphReadout(readout, name=f"readout_{i}")(s, inputs["sizes"])
                  for i, s in enumerate(steps)]  # fmt: skip
        x = layers.Concatenate(name="embedding")(pooled) if len(pooled) > 1 else pooled[0]
        x = layers.Dense(num_classes, dtype="float32", name="logits")(drop(x))
        outputs = Asked(name="asked_for", dtype="float32")(x, inputs["asked"])
    elif task == "nodes":
        x = layers.Identity(name="embedding")(x)
        x = convolve(drop_inputs(x), hidden, num_classes, True, "logits")
        outputs = Asked(name="asked_for", dtype="float32")(x, inputs["asked"])
    else:
        x = drop_inputs(x)
        z = convolve(x, hidden, latent_dim, True, "mean")
        if variational:
            z = Latent(seed, name="latent")(z, convolve(x, hidden, latent_dim, True, "deviation"))
        z = layers.Identity(name="embedding")(z)
        outputs = InnerProduct(name="logits")(z, inputs["asked"])

    model = GraphModel(inputs, outputs, name=f"gnn_{variant}")
    if task == "links":
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        metrics = [
            keras.metrics.AUC(num_thresholds=2000, from_logits=True, name="auc"),
            keras.metrics.AUC(
                num_thresholds=2000, curve="PR", from_logits=True, name="average_precision"
            ),
        ]
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )
        metrics = None
    model.compile(
        optimizer=make_optimizer(optimizer, learning_rate),
        loss=loss,
        metrics=metrics,
        weighted_metrics=None if task == "links" else ["accuracy"],
    )
    choose_jit(model)
    return model


def load_data(source: object = "digits_knn", *, batch_size: int = 32, seed: int = 0, **options):
    """Digits joined to those like them, another embedded graph, or a graph of your own.

    See `recipes.data.graphs.load` for all sources and options.

    Returns:
        `Data` whose batches are (x, y): x a dictionary of arrays (see
        `recipes.data.graph_batches`), y labels int32 (t,), or float32 (t,), 1 for links that are
        there.
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    return {
        "layer": hp.Choice("layer", list(LAYERS), default="gcn"),
        "units": hp.Choice("units", [8, 16, 32, 64, 128], default=16),
        "num_layers": hp.Int("num_layers", 1, 4, default=2),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.8, step=0.1, default=0.5),
        "learning_rate": hp.Float("learning_rate", 1e-3, 5e-2, sampling="log", default=1e-2),
        "weight_decay": hp.Choice("weight_decay", [0.0, 5e-5, 5e-4, 5e-3], default=5e-4),
    }


def pictures(model: GraphModel, data) -> dict:
    """What a run shows: the graph or its nodes in a plane, and mistakes; or how links are told."""
    from recipes.reports import graphs

    return graphs.pictures(model, data)
