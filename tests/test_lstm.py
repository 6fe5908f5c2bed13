"""The LSTM: its equations in NumPy, what it remembers, what it forecasts, what it reads."""

import keras
import numpy as np
import pytest

from recipes import lstm

RNG = np.random.default_rng(0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def transcription(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The docstring's equations, a gate at a time: (n, t, d) -> all h, (n, t, units)."""
    units = len(u)
    gate = {name: slice(i * units, (i + 1) * units) for i, name in enumerate("ifgo")}
    h = c = np.zeros((len(x), units))
    states = []
    for step in range(x.shape[1]):
        z = {k: x[:, step] @ w[:, s] + h @ u[:, s] + b[s] for k, s in gate.items()}
        c = sigmoid(z["f"]) * c + sigmoid(z["i"]) * np.tanh(z["g"])
        h = sigmoid(z["o"]) * np.tanh(c)
        states.append(h)
    return np.stack(states, axis=1)


def test_the_equations():
    model = lstm.build_model(
        "tiny", input_shape=(12, 3), task="labelling", num_classes=2, units=(5,)
    )
    w, u, b, head, bias = weights = [RNG.standard_normal(w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    x = RNG.standard_normal((4, 12, 3))
    expected = transcription(x, w, u, b) @ head + bias
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_number_of_parameters():
    """4 (n (n + m) + n), and the head."""
    model = lstm.build_model(input_shape=(9, 3), task="regression", units=(4,))
    assert model.count_params() == 4 * (4 * (4 + 3) + 4) + 5


@pytest.mark.parametrize("start", [True, False])
def test_the_forget_gate_starts_open(start):
    model = lstm.build_model("tiny", units=(3,), unit_forget_bias=start)
    bias = model.get_weights()[2]
    np.testing.assert_array_equal(bias, [0, 0, 0, *[float(start)] * 3, *[0] * 6])


def test_an_error_lasts_where_the_forget_gate_is_open():
    """dc' / dc is f: after 50 steps f^50 of a change is left, whatever else the weights are."""
    model = lstm.build_model("tiny", input_shape=(1, 1), num_classes=2, task="labelling", units=1)
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.LSTM))
    kernel, recurrent, bias = (np.zeros_like(w) for w in layer.get_weights())
    bias[1] = 4.0  # f = sigmoid(4) = 0.982
    bias[3] = 20.0  # o = 1
    layer.set_weights([kernel, recurrent, bias])
    zeros = np.zeros((1, 50, 1), "float32")
    state = [np.zeros((1, 1), "float32"), np.full((1, 1), 0.5, "float32")]
    found = keras.ops.convert_to_numpy(layer(zeros, initial_state=state))[0, -1, 0]
    assert found == pytest.approx(np.tanh(0.5 * sigmoid(4.0) ** 50), rel=1e-5)


def test_it_adds_over_thirty_steps(adding_error):
    assert adding_error(lstm, 30, epochs=12, units=32, learning_rate=1e-2) < 0.01


@pytest.mark.slow
def test_it_solves_the_adding_problem(adding_error):
    assert adding_error(lstm, 100, epochs=30) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
def test_it_forecasts_co2_better_than_naively(forecast_scores, decoder):
    found, naive = forecast_scores(lstm, "co2", 20, decoder=decoder)
    assert naive > 1
    assert found < 0.6


def test_it_forecasts_sunspots_better_than_naively(forecast_scores):
    found, naive = forecast_scores(lstm, "sunspots", 20, units=16, learning_rate=1e-2)
    assert naive > 1
    assert found < 0.9


@pytest.mark.slow
def test_it_reads_questions(shared_tfds):
    """TREC's coarse classes from random embeddings, six epochs, after which it learns by heart.

    Kim 2014 has 91.2 with a CNN, which this does not reach.
    """
    data = lstm.load_data("trec", data_dir=shared_tfds)
    model = lstm.build_model("text", **data.spec, seed=0)
    model.fit(data.train, epochs=6, verbose=0)
    assert model.evaluate(data.test, verbose=0)[1] >= 0.84
