"""Encoders and decoders of images, dense or convolutional, each the mirror image of the other."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from recipes.contract import check


def check_sizes(input_shape: Sequence[int], **sizes: Sequence[int]) -> None:
    """Raise where the shape is no image's, or where `units` or `filters` are no flat tuples."""
    check(len(input_shape) == 3, "input_shape", input_shape, "must be (height, width, channels)")
    for name, value in sizes.items():
        flat = isinstance(value, tuple | list) and all(isinstance(n, int) for n in value)
        check(flat, name, value, "must be a tuple of positive integers")


def halved(sides: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """The sides that convolutions of stride 2 give one after another: 28, 14, 7."""
    return [tuple(-(-side // 2**i) for side in sides) for i in range(times + 1)]


def cut(x: Any, sides: Sequence[int]) -> Any:
    """x without the rows and columns that doubling has made too many: (n, *sides, channels)."""
    extra = [(0, now - side) for now, side in zip(x.shape[1:3], sides, strict=True)]
    return layers.Cropping2D(extra, dtype=x.dtype)(x) if any(map(any, extra)) else x


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
    sizes = halved(sides, len(filters))
    z = layers.Dense(math.prod(sizes[-1]) * filters[-1], activation=activation)(z)
    z = layers.Reshape((*sizes[-1], filters[-1]))(z)
    for i in reversed(range(len(filters))):
        style = {"dtype": "float32"} if i == 0 else {"activation": activation}
        z = layers.Conv2DTranspose(
            filters[i - 1] if i else channels, 3, strides=2, padding="same", **style
        )(z)
        z = cut(z, sizes[i])
    return z
