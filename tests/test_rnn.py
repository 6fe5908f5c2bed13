"""The simple recurrent network: its equation in NumPy, what it forgets, what it forecasts."""

import keras
import numpy as np
import pytest

from recipes import rnn

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_equation(activation):
    model = rnn.build_model(
        "tiny", input_shape=(12, 3), task="labelling", num_classes=2, units=(5,),
        activation=activation,
    )  # fmt: skip
    w, u, b, head, bias = weights = [
        0.4 * RNG.standard_normal(w.shape) for w in model.get_weights()
    ]
    model.set_weights(weights)
    x = RNG.standard_normal((4, 12, 3))
    act = np.tanh if activation == "tanh" else lambda v: np.maximum(v, 0)
    h, states = np.zeros((4, 5)), []
    for step in range(12):
        h = act(x[:, step] @ w + h @ u + b)
        states.append(h)
    expected = np.stack(states, axis=1) @ head + bias
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_number_of_parameters():
    """n (n + m) + n, and the head."""
    model = rnn.build_model(input_shape=(9, 3), task="regression", units=(4,))
    assert model.count_params() == 4 * (4 + 3) + 4 + 5


def test_irnn_starts_as_le_et_al_say():
    """U is the identity, W is N(0, 0.001), a different one in each layer; ReLU."""
    model = rnn.build_model("irnn", input_shape=(9, 100), units=(100, 100), seed=0)
    first, second = (model.get_layer(f"layer_{i}") for i in range(2))
    for layer in (first, second):
        w, u, b = layer.get_weights()
        np.testing.assert_array_equal(u, np.eye(100))
        np.testing.assert_array_equal(b, 0)
        assert w.std() == pytest.approx(0.001, rel=0.03)
        assert layer.activation is keras.activations.relu
    assert np.abs(first.get_weights()[0] - second.get_weights()[0]).max() > 1e-3


def test_an_unknown_start_is_named():
    with pytest.raises(ValueError, match=r"unknown initializer 'identiy'; .*'identity'\?"):
        rnn.build_model(initializer="identiy")


def trace(model: keras.Model, length: int) -> float:
    """How far a change of the first of many steps moves the last state, as a share of it."""
    layer = model.get_layer("layer_0")
    x = RNG.random((32, length, 1), "float32")
    moved = x.copy()
    moved[:, 0] += 0.1
    last = [keras.ops.convert_to_numpy(layer(v)) for v in (x, moved)]
    return float(np.abs(last[1] - last[0]).mean() / 0.1)


def test_what_was_long_ago_fades_but_not_from_an_identity():
    elman = rnn.build_model("elman", input_shape=(100, 1), seed=0)
    irnn = rnn.build_model("irnn", input_shape=(100, 1), units=64, seed=0)
    assert trace(elman, 100) < 1e-3 * trace(elman, 1)
    assert trace(irnn, 100) > 0.1 * trace(irnn, 1)


@pytest.mark.slow
def test_it_does_not_solve_the_adding_problem(adding_error):
    """The gates of `lstm` and `gru` do, in the same epochs, with as many units."""
    assert adding_error(rnn, 100, epochs=15) > 0.14


def test_it_forecasts_sunspots_better_than_naively(forecast_scores):
    found, naive = forecast_scores(rnn, "sunspots", 20, units=16, learning_rate=1e-2)
    assert naive > 1
    assert found < 0.9


@pytest.mark.slow
def test_it_forecasts_co2_better_than_naively(forecast_scores):
    found, naive = forecast_scores(rnn, "co2", 20)
    assert naive > 1
    assert found < 0.8
