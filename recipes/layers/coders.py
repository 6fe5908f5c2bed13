"""Encoders and decoders of images, dense or convolutional, each the mirror image of the other."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


def initializer(activation: str) -> str | keras.initializers.Initializer:
    """Glorot's initial weights; for logistic units four times as large (Glorot & Bengio 2010)."""
    if activation == "sigmoid":
        return keras.initializers.VarianceScaling(16.0, "fan_avg", "uniform")
    return "glorot_uniform"


def encode(x: Any, units: Sequence[int], filters: Sequence[int], activation: str) -> Any:
    """Features of an image: (n, height, width, channels) -> (n, features).

    Args:
        x: a tensor of Keras's functional API, any shape.
        units: of the dense layers, which come last.
        filters: of the convolutions, 3x3 with stride 2: each halves the height and the width.
        activation: of every layer.
    """
    for width in filters:
        style = {"activation": activation, "kernel_initializer": initializer(activation)}
        x = layers.Conv2D(width, 3, strides=2, padding="same", **style)(x)
    x = layers.Flatten()(x)
    for width in units:
        style = {"activation": activation, "kernel_initializer": initializer(activation)}
        x = layers.Dense(width, **style)(x)
    return x


def decode(
    z: Any, output_shape: Sequence[int], units: Sequence[int], filters: Sequence[int],
    activation: str,
) -> Any:  # fmt: skip
    """Logits of an image: (n, features) -> (n, *output_shape), float32.

    Args:
        z: a tensor of Keras's functional API.
        output_shape: (height, width, channels), or any shape where there are no filters.
        units: as the encoder's; the layers come in the opposite order here.
        filters: likewise.
        activation: of every layer but the last.
    """
    for width in reversed(units):
        style = {"activation": activation, "kernel_initializer": initializer(activation)}
        z = layers.Dense(width, **style)(z)
    if not filters:
        z = layers.Dense(math.prod(output_shape), dtype="float32")(z)
        return layers.Reshape(output_shape, dtype="float32")(z)
    *sides, channels = output_shape
    # The sides that the encoder's convolutions gave: 28, 14, 7.
    sizes = [tuple(-(-side // 2**i) for side in sides) for i in range(len(filters) + 1)]
    z = layers.Dense(math.prod(sizes[-1]) * filters[-1], activation=activation)(z)
    z = layers.Reshape((*sizes[-1], filters[-1]))(z)
    for i in reversed(range(len(filters))):
        style = {"dtype": "float32"} if i == 0 else {"activation": activation}
        z = layers.Conv2DTranspose(
            filters[i - 1] if i else channels, 3, strides=2, padding="same", **style
        )(z)
        extra = [(0, 2 * half - side) for half, side in zip(sizes[i + 1], sizes[i], strict=True)]
        if any(map(any, extra)):
            z = layers.Cropping2D(extra, dtype=z.dtype)(z)
    return z
