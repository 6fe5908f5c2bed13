"""Encoders and decoders: the shapes they promise, and where their weights start."""

import keras
import numpy as np
import pytest

from recipes.layers.coders import decode, encode


def test_convolutions_halve_and_double_every_size():
    for shape in ((28, 28, 1), (33, 50, 3), (1, 5, 2)):
        x = keras.Input(shape)
        h = encode(x, (7,), (4, 6, 8), "relu")
        assert h.shape == (None, 7)
        smallest = [-(-side // 8) for side in shape[:2]]
        flat = next(layer for layer in keras.Model(x, h).layers if layer.name.startswith("flatten"))
        assert flat.output.shape == (None, smallest[0] * smallest[1] * 8)
        assert decode(keras.Input((5,)), shape, (7,), (4, 6, 8), "relu").shape == (None, *shape)


def test_the_decoder_mirrors_the_encoder():
    x, z = keras.Input((6, 6, 1)), keras.Input((5,))
    networks = (
        keras.Model(x, encode(x, (20, 10), (), "relu")),
        keras.Model(z, decode(z, (6, 6, 1), (20, 10), (), "relu")),
    )
    widths = [
        [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
        for network in networks
    ]
    assert widths == [[20, 10], [10, 20, 36]]


@pytest.mark.parametrize(("activation", "gain"), [("tanh", 1), ("relu", 1), ("sigmoid", 4)])
def test_initial_weights_are_glorots(activation, gain):
    x = keras.Input((300,))
    layer = keras.Model(x, encode(x, (500,), (), activation)).layers[-1]
    limit = gain * np.sqrt(6 / 800)
    kernel = np.abs(layer.get_weights()[0])
    assert 0.99 * limit < kernel.max() <= limit
