"""Recurrent layers that PyTorch reads sequences with in one operation, TensorFlow in own loops."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes.layers import recurrence
from recipes.training import compilation

BACKEND = keras.backend.backend()
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="elsewhere Keras's own layers read")
PADDED = {
    "whole": None,
    "padded": np.arange(7) < np.array([[7], [3], [1], [0], [5]]),
    "padded in front": np.arange(7) >= np.array([[0], [3], [6], [7], [5]]),
    "holes": np.random.default_rng(1).random((5, 7)) < 0.5,
}
CASES = [
    ("LSTM", {}), ("LSTM", {"use_bias": False}), ("LSTM", {"recurrent_activation": "tanh"}),
    ("GRU", {}), ("GRU", {"reset_after": False}), ("GRU", {"use_bias": False}),
    ("SimpleRNN", {}), ("SimpleRNN", {"activation": "relu"}), ("SimpleRNN", {"activation": "gelu"}),
]  # fmt: skip
STRANGE = {"reset_after": False}, {"activation": "gelu"}, {"recurrent_activation": "tanh"}
TRAINED = [
    (name, options, padded)
    for name, options in CASES
    for padded in (["holes"] if options else PADDED)
    if options not in STRANGE
]


def both(name: str, **options) -> list[keras.layers.RNN]:
    """Ours and Keras's, with the same weights, none of which is zero."""
    made = [getattr(where, name)(4, **options) for where in (recurrence, keras.layers)]
    generator = np.random.default_rng(0)
    for layer in made:
        layer.build((5, 7, 3))
    for pair in zip(*(layer.weights for layer in made), strict=True):
        value = generator.normal(0, 0.5, pair[0].shape)
        for weight in pair:
            weight.assign(value)
    return made


@on_torch
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("padded", PADDED)
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_outputs_and_states_are_those_of_kerass_own(name, options, padded, back):
    """In each kind of padding, from states that are not zero."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(5, 7, 3)).astype("float32")
    states = [generator.normal(size=(5, 4)).astype("float32") for _ in range(1 + (name == "LSTM"))]
    for sequences in (False, True):
        options = {**options, "go_backwards": back, "return_sequences": sequences}
        ours, of_kerass = (
            layer(x, initial_state=states, mask=PADDED[padded])
            for layer in both(name, return_state=True, **options)
        )
        for a, b in zip(ours, of_kerass, strict=True):
            a, b = ops.convert_to_numpy(a), ops.convert_to_numpy(b)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(BACKEND == "jax", reason="there Keras's own layers read")
@pytest.mark.parametrize(("name", "options", "padded"), TRAINED, ids=str)
def test_both_directions_train_as_kerass_own(name, options, padded, monkeypatch):
    """Gradients, by steps of gradient descent, through both directions and through one alone,
    which repeats its last output in padding, where both are 0.
    """
    read = []
    if BACKEND == "tensorflow":
        from recipes.layers import recurrence_tensorflow as own

        whole = own.read
        monkeypatch.setattr(own, "NARROW", 0)
        monkeypatch.setattr(compilation, "XLA_ON_CPU", True)
        monkeypatch.setattr(own, "read", lambda *args: read.append(1) or whole(*args))
    generator = np.random.default_rng(3)
    x = generator.normal(size=(5, 7, 3)).astype("float32")
    if padded != "whole":
        x *= PADDED[padded][..., None]
    y = generator.normal(size=(5, 7, 12)).astype("float32")
    found, start = [], None
    for layer in both(name, return_sequences=True, **options):
        inputs = keras.Input((7, 3))
        kept = keras.layers.Masking()(inputs) if padded != "whole" else inputs
        alone = type(layer).from_config({**layer.get_config(), "name": "alone"})
        outputs = [keras.layers.Bidirectional(layer)(kept), alone(kept)]
        model = keras.Model(inputs, keras.layers.Concatenate()(outputs))
        start = start or model.get_weights()
        model.set_weights(start)
        model.compile(keras.optimizers.SGD(0.5), "mse")
        losses = [model.train_on_batch(x, y) for _ in range(3)]
        found.append([*model.get_weights(), losses, model.predict(x, verbose=0)])
    for ours, of_kerass in zip(*found, strict=True):
        np.testing.assert_allclose(ours, of_kerass, rtol=1e-4, atol=1e-5)
    assert len(read) == 3 * (BACKEND == "tensorflow")  # one layer each


@on_torch
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_pytorch_reads_in_one_operation_what_it_can(name, options, monkeypatch):
    """Step by step goes only what PyTorch has no operation for, and what is dropped out."""
    step_by_step = []
    loop = keras.layers.RNN.inner_loop
    kind = getattr(keras.layers, name)

    def counted(*args, **kwargs):
        step_by_step.append(name)
        return loop(*args, **kwargs)

    monkeypatch.setattr(kind, "inner_loop", counted)
    x = np.ones((5, 7, 3), "float32")
    layer = both(name, **options)[0]
    layer(x, mask=PADDED["padded"])
    assert bool(step_by_step) == (options in STRANGE)
    both(name, dropout=0.5)[0](x)
    assert step_by_step


@on_torch
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float64"])
def test_other_precisions(dtype):
    """Outputs have the policy's dtype and are near those of float32."""
    x = np.random.default_rng(4).normal(size=(5, 7, 3)).astype("float32")
    mask = PADDED["padded"]
    exact = both("LSTM")[0](x, mask=mask)
    other = both("LSTM", dtype=dtype)[0](x, mask=mask)
    assert keras.backend.standardize_dtype(other.dtype) == dtype.removeprefix("mixed_")
    exact, other = (ops.convert_to_numpy(ops.cast(y, "float32")) for y in (exact, other))
    np.testing.assert_allclose(other, exact, atol=0.03)
