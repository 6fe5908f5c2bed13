"""Optimizers of our own, beside Keras's."""

import keras
import numpy as np
import pytest

from recipes.training.optimizers import Adam, AdamW


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"global_clipnorm": 0.1}], ids=str)
def test_adam_takes_kerass_steps(options, jit_compile):
    """For dense weights, and for an embedding, of which each batch meets a few rows."""
    if jit_compile and keras.backend.backend() == "torch":
        pytest.skip("PyTorch's compiler takes half a minute")
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 20, (64, 3)), generator.normal(size=(64, 2)).astype("float32")
    found = []
    for cls in (Adam, keras.optimizers.Adam):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((3,), dtype="int32"), *layers])
        rate = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)
        optimizer = cls(rate, beta_1=0.8, beta_2=0.95, epsilon=1e-4, **options)
        model.compile(optimizer, "mse", jit_compile=jit_compile)
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        weights = [keras.ops.convert_to_numpy(v) for v in optimizer.variables]
        found.append([*model.get_weights(), *weights])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of PyTorch's step")
@pytest.mark.parametrize("cls", [Adam, AdamW])
def test_pytorch_moves_all_variables_at_once(cls, monkeypatch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(cls(0.1), "mse")
    monkeypatch.delattr(keras.optimizers.Adam, "update_step")  # one variable's
    before = model.get_weights()
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 1)))
    assert all((a != b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_adam_trains_half_precision_with_a_scaled_loss():
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(AdamW(0.05, weight_decay=0.0), "mse")
    x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
    loss = model.fit(x, x[:, :1] - x[:, 1:2], epochs=8, verbose=0).history["loss"]
    assert loss[-1] < 0.01 * loss[0]
