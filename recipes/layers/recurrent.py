"""Networks of recurrent layers with a head for a task; the families differ in the layer alone."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import keras
from keras import layers, ops

from recipes.contract import check
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import make_optimizer

OF_CLASSES = ("classification", "labelling")
TASKS = (*OF_CLASSES, "regression", "forecasting")
DECODERS = ("direct", "autoregressive")
POOLINGS = ("last", "max")
NARROW = 32  # units, up to which XLA takes half of the time of TensorFlow's loop on a CPU


@keras.saving.register_keras_serializable("recipes")
class NarrowRecurrent(keras.Model):
    """A functional model whose steps are smaller than what TensorFlow's loop needs for each."""

    xla_on_cpu = True


@keras.saving.register_keras_serializable("recipes")
class MaxOverTime(layers.Layer):
    """The largest value of each feature over the steps that are no padding: (n, t, d) -> (n, d)."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        """None, since there are no steps left."""

    def call(self, x, mask=None):
        """The maximum; a sequence of padding alone gives -1e4."""
        if mask is not None:
            x = ops.where(mask[..., None], x, ops.cast(-1e4, x.dtype))
        return ops.max(x, axis=1)


@keras.saving.register_keras_serializable("recipes")
class Autoregressive(layers.Layer):
    """Forecasts one step, feeds it back as the next input, and so on: (n, t, d) -> (n, horizon, d).

    The window is read by the layers as ever; each further step is one step of their cells. Both
    the loss and `predict` see forecasts that were fed back, so that it learns from its own errors.

    Args:
        recurrent: layers that return sequences and states.
        head: the last layer's output (n, units) -> (n, d).
        horizon: steps.
        residual: all values are differences from the window's last one, and the head gives the
            difference from the step before.
        dropout_rate: after each layer.
    """

    def __init__(self, recurrent: Sequence[layers.RNN], head: layers.Layer, horizon: int,
                 residual: bool = True, dropout_rate: float = 0.0, **kwargs):  # fmt: skip
        super().__init__(**{"dtype": "float32", **kwargs})  # forecasts are sums of many terms
        self.recurrent, self.head = list(recurrent), head
        self.horizon, self.residual, self.dropout_rate = horizon, residual, dropout_rate
        self.dropout = layers.Dropout(dropout_rate)

    def call(self, x, training=False):
        """The forecasts."""
        level = x[:, -1:] if self.residual else 0.0
        h, value, states = x - level, x[:, -1] - x[:, -1], []
        for layer in self.recurrent:
            h, *state = layer(h, training=training)
            h = self.dropout(h, training=training)
            states.append(state)
        h, forecasts = h[:, -1], []
        for step in range(self.horizon):
            if step:
                h = value
                for i, layer in enumerate(self.recurrent):
                    h, states[i] = layer.cell(h, states[i], training=training)
                    h = self.dropout(h, training=training)
            value = value + self.head(h) if self.residual else self.head(h)
            forecasts.append(value)
        return ops.stack(forecasts, axis=1) + level

    def get_config(self) -> dict:
        """The constructor's arguments."""
        save = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "recurrent": [save(layer) for layer in self.recurrent],
            "head": save(self.head),
            "horizon": self.horizon,
            "residual": self.residual,
            "dropout_rate": self.dropout_rate,
        }

    @classmethod
    def from_config(cls, config: dict) -> "Autoregressive":
        """The layer of a configuration."""
        load = keras.saving.deserialize_keras_object
        recurrent = [load(layer) for layer in config["recurrent"]]
        return cls(**{**config, "recurrent": recurrent, "head": load(config["head"])})


def build(
    layer: Callable[..., layers.RNN],
    name: str,
    *,
    task: str | None,
    units: int | tuple[int, ...],
    optimizer: str | keras.optimizers.Optimizer,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    clip_norm: float | None,
    **others: Any,
) -> keras.Model:
    """A compiled network: ids or features -> recurrent layers -> the head of a task.

    Args:
        layer: makes a recurrent layer of (units, return_sequences=..., ...).
        name: of the model.
        task: as of `recipes.lstm.build_model`, and so are all others.
        units: likewise.
        optimizer: likewise.
        learning_rate: likewise.
        clip_norm: likewise.
        **others: likewise.

    Raises:
        ValueError: arguments that do not go together.
    """
    task = task or ("classification" if others["num_classes"] else "forecasting")
    units = (units,) if isinstance(units, Integral) else tuple(units)
    _check(task=task, units=units, clip_norm=clip_norm, **others)
    # Wide ones take as long by XLA, what is fed back too, and embedded ids several times as long.
    narrow = others["vocabulary_size"] is None and max(units) <= NARROW
    narrow = narrow and others["decoder"] == "direct" and others["input_shape"][0] is not None
    kind = NarrowRecurrent if narrow else keras.Model
    model = kind(*_network(layer, task=task, units=units, **others), name=name)
    if task in OF_CLASSES:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy"]
    else:
        loss, metrics = keras.losses.MeanSquaredError(), ["mae"]
    optimizer = make_optimizer(optimizer, learning_rate, clip_norm=clip_norm)
    model.compile(optimizer, loss, metrics=metrics)
    choose_jit(model)
    return model


def _network(
    layer, *, task, units, input_shape, vocabulary_size, sequence_length, num_classes, num_targets,
    horizon, decoder, residual, bidirectional, hidden_dim, pooling, masking, dropout_rate, stateful,
    batch_size,
):  # fmt: skip
    """Inputs and outputs, as tensors of Keras's functional API."""
    ids = vocabulary_size is not None
    shape = (sequence_length,) if ids else tuple(input_shape)
    x = inputs = keras.Input(
        batch_shape=(batch_size if stateful else None, *shape),
        dtype="int32" if ids else "float32",
        name="ids" if ids else "features",
    )
    if ids:
        x = layers.Embedding(vocabulary_size, hidden_dim, mask_zero=True, name="embedding")(x)
        x = layers.Dropout(dropout_rate)(x) if dropout_rate else x
    elif masking:
        x = layers.Masking(name="masking")(x)

    if task == "forecasting" and decoder == "autoregressive":
        stack = [
            layer(n, return_sequences=True, return_state=True, name=f"layer_{i}")
            for i, n in enumerate(units)
        ]
        head = layers.Dense(num_targets, dtype="float32", name="values")
        x = Autoregressive(stack, head, horizon, residual, dropout_rate, name="feedback")(x)
        x = layers.Reshape((horizon,), dtype="float32")(x) if num_targets == 1 else x
        return inputs, x

    residual = residual and task == "forecasting"
    if residual:
        last = inputs[:, -1:, :num_targets]
        level = ops.pad(last, [(0, 0), (0, 0), (0, shape[1] - num_targets)])
        x = layers.Subtract(dtype="float32", name="relative")([x, level])
    each_step = task == "labelling"
    for i, n in enumerate(units):
        whole = each_step or i < len(units) - 1 or pooling == "max"
        made = layer(n, return_sequences=whole, stateful=stateful, name=f"layer_{i}")
        made = layers.Bidirectional(made, name=f"both_{i}") if bidirectional else made
        x = made(x)
        # Behind the maximum: among dropped and scaled steps it would be larger in training.
        if pooling == "max" and i == len(units) - 1 and not each_step:
            x = MaxOverTime(name="max")(x)
        x = layers.Dropout(dropout_rate)(x) if dropout_rate else x
    if task in OF_CLASSES:
        return inputs, layers.Dense(num_classes, dtype="float32", name="logits")(x)
    count = num_targets * (horizon if task == "forecasting" else 1)
    x = layers.Dense(count, dtype="float32", name="values")(x)
    if task == "regression":
        return inputs, x
    x = layers.Reshape((horizon, num_targets), dtype="float32")(x)
    x = layers.Add(dtype="float32", name="forecast")([x, last]) if residual else x
    return inputs, layers.Reshape((horizon,), dtype="float32")(x) if num_targets == 1 else x


def _check(
    *, task, units, clip_norm, input_shape, vocabulary_size, sequence_length, num_classes,
    num_targets, horizon, decoder, pooling, batch_size, **others,
):  # fmt: skip
    """Raise where arguments are wrong, or do not go together."""
    known = {"task": (task, TASKS), "decoder": (decoder, DECODERS), "pooling": (pooling, POOLINGS)}
    for name, (value, values) in known.items():
        check(value in values, name, value, f"must be one of {', '.join(values)}")
    flags = {n: others[n] for n in ("bidirectional", "residual", "masking", "stateful")}
    for name, value in flags.items():
        check(isinstance(value, bool), name, value, "must be True or False")
    flat = units and all(isinstance(n, Integral) for n in units)
    check(flat, "units", units, "must be an integer or a tuple of them, such as (64, 64)")
    whole = isinstance(horizon, Integral) and not isinstance(horizon, bool) and horizon >= 1
    check(whole, "horizon", horizon, "must be a positive integer")
    ok = clip_norm is None or (isinstance(clip_norm, Real) and clip_norm > 0)
    check(ok, "clip_norm", clip_norm, "must be a positive number, or None")

    def refuse(name: str, why: str) -> None:
        check(not flags[name], name, flags[name], why)

    if vocabulary_size is not None:
        wanted = "token ids need the length of a sequence"
        check(sequence_length is not None, "sequence_length", None, wanted)
        check(task != "forecasting", "task", task, "does not go with token ids, vocabulary_size")
        refuse("masking", "token ids are masked where they are 0 anyway")
    else:
        wanted = "must be (steps, features); for token ids give vocabulary_size"
        check(len(input_shape) == 2, "input_shape", input_shape, wanted)
    if task in OF_CLASSES:
        check(num_classes is not None, "num_classes", None, f"task={task!r} needs a number")
    else:
        check(num_classes is None, "num_classes", num_classes, f"task={task!r} has no classes")
    if task == "forecasting":
        wanted = f"num_targets={num_targets} of the features are to be forecast"
        check(input_shape[1] >= num_targets, "input_shape", input_shape, wanted)
        refuse("masking", "a forecast goes on from the last step")
        if decoder == "autoregressive":
            wanted = f"it feeds back all features, and so forecasts all, not {num_targets}"
            check(input_shape[1] == num_targets, "decoder", decoder, wanted)
            for name in ("bidirectional", "stateful"):
                refuse(name, "does not go with decoder='autoregressive'")
            check(pooling == "last", "pooling", pooling, "decoder='autoregressive' needs 'last'")
    if flags["stateful"]:
        refuse("bidirectional", "does not go with stateful=True: a piece is not the whole")
        wanted = "stateful=True keeps a state for each row of a batch; how many rows?"
        check(batch_size is not None, "batch_size", None, wanted)


def reset_state(model: keras.Model) -> None:
    """Let a stateful model forget what it has read."""
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()
