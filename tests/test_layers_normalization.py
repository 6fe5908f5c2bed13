"""Batch normalisation of images."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes.layers.normalization import BatchNormalization


@pytest.mark.parametrize(
    ("shape", "options"),
    [((6, 5, 4, 3), {}), ((1, 2, 3, 2), {}), ((6, 5, 4, 3), {"scale": False}),
     ((6, 3, 4, 5), {"axis": 1})],
    ids=str,
)  # fmt: skip
def test_it_trains_as_kerass_own(shape, options):
    """Outputs, gradients (by one step of gradient descent), moving statistics, inference."""
    generator = np.random.default_rng(0)
    x = generator.normal(3, 2, shape).astype("float32")
    y = generator.normal(size=shape).astype("float32")
    found, rising = [], keras.initializers.RandomUniform(0.5, 2.0, seed=0)
    for cls in (keras.layers.BatchNormalization, BatchNormalization):
        norm = cls(momentum=0.9, epsilon=1e-3, gamma_initializer=rising, **options)
        start = keras.initializers.GlorotUniform(seed=0)
        first = keras.layers.Conv2D(shape[-1], 1, kernel_initializer=start)
        model = keras.Sequential([keras.Input(shape[1:]), first, norm])
        model.compile("sgd", "mse")
        loss = [model.train_on_batch(x, y) for _ in range(3)]
        found.append([*model.get_weights(), loss, model.predict(x, verbose=0)])
    for of_keras, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, of_keras, rtol=1e-4, atol=1e-5)


def test_it_normalizes_and_keeps_frozen_statistics():
    x = np.random.default_rng(0).normal(3, 2, (8, 4, 4, 2)).astype("float32")
    norm = BatchNormalization(momentum=0.5, epsilon=1e-6)
    y = ops.convert_to_numpy(norm(x, training=True))
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, atol=1e-4)
    mean, variance = (ops.convert_to_numpy(v) for v in norm.non_trainable_variables)
    np.testing.assert_allclose(mean, x.mean(axis=(0, 1, 2)) / 2, rtol=1e-5)
    np.testing.assert_allclose(variance, (1 + x.var(axis=(0, 1, 2))) / 2, rtol=1e-5)
    norm.trainable = False
    norm(x, training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(norm.moving_mean), mean)
