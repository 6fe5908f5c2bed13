"""The GRU: the equations of both its kinds in NumPy, what it remembers, forecasts and reads."""

import keras
import numpy as np
import pytest

from recipes import gru

RNG = np.random.default_rng(0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def transcription(x, w, u, b, reset_after: bool) -> np.ndarray:
    """The docstring's equations, a gate at a time: (n, t, d) -> all h, (n, t, units)."""
    units = len(u)
    z_, r_, h_ = (slice(i * units, (i + 1) * units) for i in range(3))
    b, c = b if reset_after else (b, np.zeros(3 * units))
    h = np.zeros((len(x), units))
    states = []
    for step in range(x.shape[1]):
        now = x[:, step]
        z = sigmoid(now @ w[:, z_] + h @ u[:, z_] + b[z_] + c[z_])
        r = sigmoid(now @ w[:, r_] + h @ u[:, r_] + b[r_] + c[r_])
        if reset_after:
            g = np.tanh(now @ w[:, h_] + b[h_] + r * (h @ u[:, h_] + c[h_]))
        else:
            g = np.tanh(now @ w[:, h_] + (r * h) @ u[:, h_] + b[h_])
        h = z * h + (1 - z) * g
        states.append(h)
    return np.stack(states, axis=1)


@pytest.mark.parametrize("reset_after", [False, True])
def test_the_equations(reset_after):
    model = gru.build_model(
        "tiny", input_shape=(12, 3), task="labelling", num_classes=2, units=(5,),
        reset_after=reset_after,
    )  # fmt: skip
    w, u, b, head, bias = weights = [RNG.standard_normal(w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    x = RNG.standard_normal((4, 12, 3))
    found = model.predict(x, verbose=0)
    expected = transcription(x, w, u, b, reset_after) @ head + bias
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    other = transcription(x, w, u, b if reset_after else np.stack([b, 0 * b]), True)
    assert reset_after or np.abs(found - (other @ head + bias)).max() > 0.1  # they do differ


@pytest.mark.parametrize("reset_after, biases", [(False, 1), (True, 2)])
def test_number_of_parameters(reset_after, biases):
    """3 (n (n + m) + n), with a second bias where the reset comes after the product."""
    model = gru.build_model(
        input_shape=(9, 3), task="regression", units=(4,), reset_after=reset_after
    )
    assert model.count_params() == 3 * (4 * (4 + 3) + biases * 4) + 5


def test_chos_is_the_papers_unit():
    assert gru.VARIANTS["cho2014"]["reset_after"] is False
    with pytest.raises(ValueError, match="reset_after='no': must be True or False"):
        gru.build_model(reset_after="no")


def test_a_closed_update_gate_keeps_the_state():
    """z near 1: h' = h, whatever comes in."""
    model = gru.build_model("tiny", input_shape=(1, 2), num_classes=2, task="labelling", units=3)
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.GRU))
    kernel, recurrent, bias = layer.get_weights()
    bias[0, :3] = 20.0
    layer.set_weights([kernel, recurrent, bias])
    x = RNG.standard_normal((1, 50, 2)).astype("float32")
    state = np.array([[0.5, -0.2, 0.9]], "float32")
    found = keras.ops.convert_to_numpy(layer(x, initial_state=state))
    np.testing.assert_allclose(found, np.repeat(state[:, None], 50, axis=1), atol=1e-5)


def test_it_adds_over_thirty_steps(adding_error):
    assert adding_error(gru, 30, epochs=12, units=32, learning_rate=1e-2) < 0.01


@pytest.mark.slow
def test_it_solves_the_adding_problem(adding_error):
    assert adding_error(gru, 100, epochs=30) < 0.01


@pytest.mark.slow
def test_it_forecasts_co2_better_than_naively(forecast_scores):
    found, naive = forecast_scores(gru, "co2", 20)
    assert naive > 1
    assert found < 0.6


def test_it_forecasts_sunspots_better_than_naively(forecast_scores):
    found, naive = forecast_scores(gru, "sunspots", 20, units=16, learning_rate=1e-2)
    assert naive > 1
    assert found < 0.9


@pytest.mark.slow
def test_it_reads_questions(shared_tfds):
    """TREC's coarse classes from random embeddings, six epochs, after which it learns by heart.

    Kim 2014 has 91.2 with a CNN, which this does not reach.
    """
    data = gru.load_data("trec", data_dir=shared_tfds)
    model = gru.build_model("text", **data.spec, seed=0)
    model.fit(data.train, epochs=6, verbose=0)
    assert model.evaluate(data.test, verbose=0)[1] >= 0.84
