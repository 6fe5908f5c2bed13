"""Trained ReLU networks as spiking ones: weights scaled so that rates stand for activations."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes.contract import check
from recipes.layers.spiking import LIF, Direct, EachStep, Readout

WEIGHTED = (layers.Dense, layers.Conv2D)
# No more than a mean, another shape, or nothing at all: the same for rates as for activations.
PASSING = (layers.Flatten, layers.AveragePooling2D, layers.GlobalAveragePooling2D, layers.Reshape,
           layers.ZeroPadding2D)  # fmt: skip


def spiking_tensors(
    model: keras.Model, x: np.ndarray, num_steps: int, percentile: float, batch_size: int = 256
) -> tuple[Any, Any]:
    """The inputs and the logits of a network of IF neurons with a trained network's weights.

    Each ReLU becomes neurons that fire as often as it is active, as a share of what is nearly its
    largest activation on x: layer l has the weights W_l a_(l-1) / a_l and the biases b_l / a_l
    (Diehl et al. 2015; a percentile, Rueckauer et al. 2017, section 2.2.2). Batch normalisation is
    part of W_l and b_l. The first layer takes the values as they are, as currents; the last one
    adds up, without spikes.

    Args:
        model: a chain of layers that ends in logits.
        x: inputs that the activations are measured on.
        num_steps: of time.
        percentile: of the activations that a rate of 1 stands for.
        batch_size: of the measurement.

    Raises:
        ValueError: a layer that rates do not pass through.
    """
    groups = _groups(model)
    relus = [group["relu"] for group in groups[:-1]]
    measured = keras.Model(model.inputs, [relu.output for relu in relus])
    found = [
        [
            ops.convert_to_numpy(part)
            for part in keras.tree.flatten(measured([some], training=False))
        ]
        for some in np.split(x, range(batch_size, len(x), batch_size))
    ]
    found = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    tops = [max(float(np.percentile(part, percentile)), 1e-6) for part in found]

    h = inputs = keras.Input(model.input_shape[1:])
    before = 1.0
    for i, group in enumerate(groups):
        for layer in group["passing"]:
            copy = type(layer).from_config({**layer.get_config(), "dtype": "float32"})
            h = (EachStep(copy) if i else copy)(h)
        after = tops[i] if i < len(tops) else 1.0
        layer = group["layer"]
        kernel, bias = group["weights"]
        copy = type(layer).from_config(
            {**layer.get_config(), "activation": None, "use_bias": True, "dtype": "float32",
             "name": f"{layer.name}_current"}
        )  # fmt: skip
        h = (EachStep(copy, name=f"{layer.name}_currents") if i else copy)(h)
        copy.set_weights([kernel * (before / after), bias / after])
        if not i:
            h = Direct(num_steps, name="direct")(h)
        if i < len(tops):
            h = LIF(beta=1.0, start_at=0.5, name=f"{layer.name}_neurons")(h)
        before = after
    return inputs, Readout("mean_membrane", name="logits")(h)


def _groups(model: keras.Model) -> list[dict]:
    """Each weighted layer with its weights, the layers that lead to it, and its ReLU."""
    groups, passing, came = [], [], model.inputs[0]
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        wanted = "cannot be converted: it is no chain of layers"
        check(getattr(layer, "input", None) is came, "model", model.name, wanted)
        came = layer.output
        last = groups[-1] if groups else {"relu": None, "layer": None}
        if isinstance(layer, layers.Dropout):
            continue
        if type(layer) in WEIGHTED:
            wanted = f"cannot be converted: {last['layer'] and last['layer'].name} has no ReLU"
            check(not groups or last["relu"] is not None, "model", model.name, wanted)
            kernel, *bias = layer.get_weights()
            bias = bias[0] if bias else np.zeros(kernel.shape[-1], "float32")
            groups.append({"layer": layer, "weights": (kernel, bias), "passing": passing,
                           "relu": None})  # fmt: skip
            passing = []
            if _activation(layer) == "relu":
                groups[-1]["relu"] = layer
                continue
            ok = _activation(layer) == "linear"
        elif isinstance(layer, layers.BatchNormalization):
            ok = groups and last["relu"] is None and not passing
            if ok:
                last["weights"] = _folded(*last["weights"], layer)
        elif isinstance(layer, layers.Activation | layers.ReLU):
            ok = groups and not passing and _activation(layer) in ("relu", "linear")
            if ok and _activation(layer) == "relu":
                last["relu"] = layer
        else:
            ok = isinstance(layer, PASSING) and (not groups or last["relu"] is not None)
            passing = [*passing, layer]
        wanted = (
            f"cannot be converted: rates do not pass through the {type(layer).__name__} "
            f"'{layer.name}'; needs Dense and Conv2D layers with ReLU, batch normalisation before "
            "it, average pooling, and logits at the end"
        )
        check(ok, "model", model.name, wanted)
    ok = groups and not passing and groups[-1]["relu"] is None
    check(ok, "model", model.name, "cannot be converted: it does not end in a layer of logits")
    return groups


def _activation(layer: keras.Layer) -> str:
    if isinstance(layer, layers.ReLU):
        plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
        return "relu" if plain else "another"
    return getattr(layer.activation, "__name__", "another")


def _folded(kernel: np.ndarray, bias: np.ndarray, norm: layers.BatchNormalization) -> tuple:
    """Weights and biases that do what they and a batch normalisation behind them do."""
    mean, variance = (ops.convert_to_numpy(v) for v in (norm.moving_mean, norm.moving_variance))
    scale = 1.0 / np.sqrt(variance + norm.epsilon)
    scale = scale * ops.convert_to_numpy(norm.gamma) if norm.scale else scale
    shift = ops.convert_to_numpy(norm.beta) if norm.center else 0.0
    return kernel * scale, (bias - mean) * scale + shift
