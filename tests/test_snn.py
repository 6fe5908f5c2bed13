"""Spiking networks: what goes through time, exact spike times, costs, and learning of digits."""

import keras
import numpy as np
import pytest
from keras import ops

import recipes
from recipes import snn
from recipes.layers.spiking import Direct, EachStep
from recipes.reports.spikes import raster


@pytest.fixture(scope="module")
def digits():
    return snn.load_data("digits", batch_size=32)


def accuracy(model, data, epochs):
    model.fit(data.train, epochs=epochs, verbose=0)
    return model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]


def test_parameters_of_the_tutorials_networks():
    assert snn.build_model().count_params() == 784 * 1000 + 1000 + 1000 * 10 + 10
    convolutional = snn.build_model("convolutional")  # 12C5-MP2-64C5-MP2-10
    expected = 12 * 25 + 12 + 64 * 12 * 25 + 64 + 64 * 4 * 4 * 10 + 10
    assert convolutional.count_params() == expected
    spikes = [layer.output.shape for layer in convolutional.neurons]
    assert spikes == [(None, 25, 12, 12, 12), (None, 25, 4, 4, 64)]
    assert convolutional.get_layer("membranes").output.shape == (None, 25, 10)


def test_a_constant_current_is_computed_once_and_means_the_same():
    x = np.random.default_rng(0).random((5, 6)).astype("float32")
    model = snn.build_model(input_shape=(6,), num_classes=3, units=(8,), num_steps=12, seed=0)
    assert not any(isinstance(layer, EachStep) for layer in model.layers[:3])
    inputs = keras.Input((6,))
    h = Direct(12)(inputs)
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.Dense):
            h = EachStep(layer)(h)
        elif not isinstance(layer, Direct):
            h = layer(h)
    expected = keras.Model(inputs, h).predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected)
    assert expected.std() > 0


SLOW = [("latency", "membrane", 0.9), ("rate", "membrane", 0.9), ("binary", "count", 0.85),
        ("temporal", "mean_membrane", 0.9), ("direct", "count", 0.93),
        ("direct", "first_spike", 0.85)]  # fmt: skip
CODES = [("direct", "membrane", 0.93)]
CODES += [pytest.param(*code, marks=pytest.mark.slow) for code in SLOW]


@pytest.mark.parametrize(("encoder", "readout", "bar"), CODES)
def test_learns_real_digits_by_each_code(encoder, readout, bar, digits):
    model = snn.build_model(
        **digits.spec, encoder=encoder, readout=readout, units=(100,), num_steps=12,
        learning_rate=3e-3, seed=0,
    )  # fmt: skip
    assert accuracy(model, digits, 8) >= bar


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "epochs", "bar"),
    [("adaptive", 8, 0.9), ("synaptic", 8, 0.9), ("hebbian", 15, 0.8), ("spikeprop", 15, 0.85)],
)
def test_each_way_to_learn_gets_real_digits(variant, epochs, bar, digits):
    surrogate = {"num_steps": 12, "learning_rate": 3e-3}
    own = {"hebbian": {}, "spikeprop": {"learning_rate": 3e-3}}.get(variant, surrogate)
    model = snn.build_model(variant, **digits.spec, units=(100,), seed=0, **own)
    assert accuracy(model, digits, epochs) >= bar


@pytest.mark.slow
def test_learns_handwritten_digits_of_mnist():
    data = snn.load_data("mnist5k")
    model = snn.build_model(**data.spec, units=(300,), seed=0)
    assert accuracy(model, data, 6) >= 0.91


def test_spikes_can_be_given_as_they_are():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 400)
    # The same number of spikes of each input: only their times tell.
    early = np.zeros((400, 10, 6), "float32")
    for i, label in enumerate(y):
        order = generator.permutation(5)
        early[i, order + (0 if label else 5), np.arange(5)] = 1
        early[i, generator.integers(10), 5] = 1
    model = snn.build_model(
        input_shape=(10, 6), num_classes=2, encoder="spikes", units=(20,), readout="mean_membrane",
        learning_rate=1e-2, seed=0,
    )  # fmt: skip
    model.fit(early, y, epochs=10, batch_size=40, verbose=0)
    assert model.evaluate(early, y, verbose=0)[1] > 0.95
    with pytest.raises(ValueError, match=r"x='values such as 0.5': needs spikes of 0 and 1"):
        model.fit(early / 2, y)


def test_traces_are_what_the_network_does(digits):
    model = snn.build_model("tiny", **digits.spec, readout="count", seed=0)
    x = digits.test.sample(5)[0]
    traces = model.trace(x)
    assert list(traces) == ["neurons_1", "neurons"]
    spikes, membranes = traces["neurons"]
    np.testing.assert_array_equal(spikes, membranes > 1)
    np.testing.assert_allclose(spikes.sum(axis=1), model.predict(x, verbose=0))
    hidden, _ = traces["neurons_1"]
    assert hidden.shape == (5, 10, 32)
    assert 0 < hidden.mean() < 1


def test_costs_by_hand():
    model = snn.build_model(input_shape=(4,), num_classes=3, units=(5,), num_steps=6)
    # A current of 0.6: U = 0.6, 1.14 (spike), 0.626, 1.1634 (spike), 0.647, 1.182 (spike)
    kernel, bias = np.zeros((4, 5)), np.full(5, 0.6)
    model.set_weights([kernel, bias, np.zeros((5, 3)), np.zeros(3)])
    x = np.zeros((2, 4), "float32")
    spikes = model.trace(x)["neurons_1"][0].sum() / 2
    one, two = model.statistics(x)
    assert one == {"layer": "dense_1", "spikes": 0, "operations": 20, "multiply_adds": 20}
    assert spikes == 5 * 3
    expected = {"layer": "dense_2", "spikes": 15, "operations": 45, "multiply_adds": 15}
    assert two == pytest.approx(expected)
    convolutional = snn.build_model("convolutional", num_steps=2)
    rows = convolutional.statistics(np.zeros((1, 28, 28, 1), "float32"))
    macs = [24 * 24 * 25 * 12, 8 * 8 * 25 * 12 * 64, 64 * 16 * 10]
    assert [row["multiply_adds"] for row in rows] == macs
    assert [row["operations"] for row in rows] == [macs[0], 0, 0]  # biases start at 0: silence


# SpikeProp.


def crossing(w, came, tau=7.0):
    """When sum w e(t - came) first passes 1, by bisection."""
    from scipy.optimize import brentq

    def v(t):
        s = np.maximum(t - came, 0) / tau
        return (w * s * np.exp(1 - s)).sum() - 1

    grid = np.arange(0, 40, 0.01)
    first = next(t for t in grid if v(t) >= 0)
    return brentq(v, first - 0.01, first, xtol=1e-12)


def test_spike_times_and_their_gradients_are_those_of_the_equation():
    generator = np.random.default_rng(0)
    came = generator.uniform(0, 8, 6)
    w = generator.uniform(0.1, 0.6, 6)
    layer = snn.SpikeTimes(1, 40, grid=20)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([w[:, None]])
    x = came[None].astype("float32")
    expected = crossing(w, came)
    assert model.predict(x, verbose=0)[0, 0] == pytest.approx(expected, abs=1e-3)
    slopes = [(crossing(w + d, came) - crossing(w - d, came)) / 2e-4 for d in 1e-4 * np.eye(6)]
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: ops.sum(p, axis=-1))
    model.train_on_batch(x, x[:, :1])
    found = w - ops.convert_to_numpy(layer.kernel)[:, 0]
    np.testing.assert_allclose(found, slopes, rtol=2e-2, atol=2e-3)


def test_gradients_of_the_times_that_come_in():
    came, w = np.array([0.0, 2.0]), np.array([0.9, 0.8])

    class Shift(keras.layers.Layer):
        def build(self, shape):
            self.t = self.add_weight(shape=(2,), name="t")

        def call(self, x):
            return x + self.t

    inputs, shift, layer = keras.Input((2,)), Shift(), snn.SpikeTimes(1, 40, grid=20)
    model = keras.Model(inputs, layer(shift(inputs)))
    layer.set_weights([w[:, None]])
    layer.trainable = False
    shift.t.assign([0.0, 0.0])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: ops.sum(p, axis=-1))
    model.train_on_batch(came[None].astype("float32"), np.zeros((1, 1), "float32"))
    slopes = [(crossing(w, came + d) - crossing(w, came - d)) / 2e-4 for d in 1e-4 * np.eye(2)]
    assert sum(slopes) == pytest.approx(1, abs=1e-3)  # all later: the answer as much later
    np.testing.assert_allclose(-ops.convert_to_numpy(shift.t), slopes, rtol=2e-2)


def test_a_silent_neuron_is_later_than_the_end_and_learns_to_fire():
    layer = snn.SpikeTimes(1, 30)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.array([[0.2], [0.3]])])
    x = np.array([[0.0, snn.NEVER]], "float32")
    found = model.predict(x, verbose=0)[0, 0]
    assert found == pytest.approx(30 + 7 * 0.8, abs=1e-3)  # its highest V is 0.2
    model.compile(keras.optimizers.SGD(0.05), loss=lambda y, p: ops.sum(p, axis=-1))
    for _ in range(5):
        model.train_on_batch(x, x[:, :1])
    assert model.predict(x, verbose=0)[0, 0] < 30
    assert ops.convert_to_numpy(layer.kernel)[1, 0] == pytest.approx(0.3)  # which never came


def test_spikeprop_learns_xor_in_times():
    # Bohte et al. 2002, section 4: 0 and 6 ms, a third input at 0; answers at 10 and 16 ms.
    x = np.array([[0, 0, 0], [0, 6, 0], [6, 0, 0], [6, 6, 0]], "float32")
    y = np.array([[16], [10], [10], [16]], "float32")
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    h = snn.SpikeTimes(5, 40, num_delays=16, gain=5.0)(inputs)
    model = keras.Model(inputs, snn.SpikeTimes(1, 50, num_delays=16, gain=5.0)(h))
    model.compile(keras.optimizers.Adam(5e-3), loss="mse")
    start = model.evaluate(x, y, verbose=0)
    model.fit(np.tile(x, (250, 1)), np.tile(y, (250, 1)), batch_size=4, shuffle=False, verbose=0)
    assert start > 5
    assert model.evaluate(x, y, verbose=0) < 0.25  # half a millisecond
    assert np.abs(model.predict(x, verbose=0) - y).max() < 1


# Saved, shown, refused.


@pytest.mark.parametrize(
    "arguments",
    [
        {"variant": "dense", "encoder": "temporal", "readout": "count"},
        {"variant": "convolutional", "filters": (3,), "kernel_size": 3},
        {"variant": "adaptive"},
        {"variant": "synaptic", "readout": "first_spike"},
        {"variant": "latency"},
        {"variant": "spikeprop"},
    ],
    ids=lambda a: a["variant"],
)
def test_saved_and_loaded(arguments, tmp_path, digits):
    units = {} if arguments["variant"] == "convolutional" else {"units": (12,)}
    model = snn.build_model(**digits.spec, **units, num_steps=6, **arguments, seed=0)
    x = digits.test.sample(20)[0]
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "snn.keras")
    found = recipes.load(tmp_path / "snn.keras")
    assert type(found) is snn.Spiking
    np.testing.assert_allclose(found.predict(x, verbose=0), expected, atol=1e-5)
    assert found.encoder is not None


@pytest.mark.parametrize("variant", ["tiny", "latency", "hebbian", "spikeprop"])
def test_pictures(variant, digits):
    model = snn.build_model(variant, **digits.spec, units=(20,), num_steps=8, seed=0)
    model.fit(digits.train, epochs=1, verbose=0)
    figures = snn.pictures(model, digits)
    always = {"confusion_matrix", "mistakes"}
    timed = {"spikes", "membranes", "cost"}
    expected = {"hebbian": {"filters"}, "spikeprop": set()}.get(variant, timed)
    assert set(figures) == always | expected
    if variant == "tiny":
        x = digits.test.sample(1000)[0][:1]
        spikes = model.trace(x)["neurons_1"][0]
        assert len(figures["spikes"].axes[0].collections[0].get_offsets()) == spikes.sum()


def test_inputs_that_do_not_fit_get_one_clear_error(digits):
    model = snn.build_model("latency", **digits.spec, units=(5,))
    x = digits.test.sample(4)[0]
    with pytest.raises(ValueError, match=r"shape \(4, 8, 4, 1\)': this model takes \(None, 8, 8"):
        model.fit(x[:, :, :4], np.zeros(4))
    with pytest.raises(ValueError, match=r"values in 0 .. 255': the latency code takes values in"):
        model.predict(x * 255)
    with pytest.raises(ValueError, match=r"hidden='values such as 0.5': needs spikes of 0 and 1"):
        raster({"hidden": np.full((4, 3), 0.5)})
    with pytest.raises(ValueError, match=r"has no neurons that go step by step"):
        snn.build_model("spikeprop", units=(3,)).trace(x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 0}, r"num_steps=0: must be a positive integer"),
        ({"num_steps": 2.5}, r"num_steps=2.5: must be a positive integer"),
        ({"encoder": "rates"}, r"unknown encoder 'rates'; known: direct, rate, .* Did you mean"),
        ({"neuron": "izhikevich"}, r"unknown neuron 'izhikevich'; known: lif, .*if"),
        ({"readout": "spikes"}, r"unknown readout 'spikes'; known: count, first_spike, membrane"),
        ({"learning": "bptt"}, r"unknown learning 'bptt'; known: surrogate, stdp, hebbian"),
        ({"beta": 0.0}, r"beta=0.0: must be a number in \(0, 1\]"),
        ({"beta": 1.5}, r"beta=1.5: must be a number in \(0, 1\]"),
        ({"threshold": 0}, r"threshold=0: must be a positive number"),
        ({"surrogate": "relu"}, r"unknown surrogate 'relu'; known: fast_sigmoid, arctan"),
        ({"reset": "soft"}, r"unknown reset 'soft'"),
        ({"units": 100}, r"units=100: must be a tuple of integers, such as \(1000,\)"),
        (
            {"variant": "diehl_cook", "units": (5, 5)},
            r"units=\(5, 5\): the learning 'stdp' has one",
        ),
        ({"variant": "hebbian", "filters": (3,)}, r"filters=\(3,\): the learning 'hebbian' has no"),
        ({"filters": (3,), "input_shape": (9,)}, r"input_shape=\(9,\): convolutions need"),
        ({"encoder": "spikes", "input_shape": (9,)}, r"input_shape=\(9,\): spikes need \(num_st"),
    ],
)
def test_wrong_arguments_get_one_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        snn.build_model(**arguments)
