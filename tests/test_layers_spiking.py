"""Neurons step by step, surrogates, encoders and readouts."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from recipes.layers import spiking
from recipes.layers.spiking import (
    LIF,
    Adaptive,
    Binary,
    Direct,
    EachStep,
    Latency,
    Rate,
    Readout,
    Synaptic,
    Temporal,
)


def over_time(layer, *currents):
    """Spikes and membranes of one neuron for these currents."""
    x = np.array(currents, "float32").reshape(1, -1, 1)
    spikes, membranes, *_ = layer.states(ops.convert_to_tensor(x))
    return [ops.convert_to_numpy(v)[0, :, 0].tolist() for v in (spikes, membranes)]


def test_lif_by_hand():
    spikes, membranes = over_time(LIF(beta=0.9), *[0.4] * 7)
    # 0.9 U + 0.4, and 1 less behind a spike
    expected = [0.4, 0.76, 1.084, 0.3756, 0.73804, 1.064236, 0.3578124]
    np.testing.assert_allclose(membranes, expected, rtol=1e-5)
    assert spikes == [0, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("subtract", [0.75, 1.125, 0.3125]),  # 0.5 * 1.125 + 0.75 - 1
        ("zero", [0.75, 1.125, 0.75]),
        ("none", [0.75, 1.125, 1.3125]),
    ],
)
def test_resets_by_hand(reset, expected):
    _, membranes = over_time(LIF(beta=0.5, reset=reset), 0.75, 0.75, 0.75)
    np.testing.assert_allclose(membranes, expected)


def test_a_membrane_at_the_threshold_does_not_fire():
    assert over_time(LIF(beta=1.0), 0.5, 0.5, 0.5)[0] == [0, 0, 1]


def test_a_neuron_that_does_not_leak_fires_as_often_as_its_current_says():
    for current in (0.1, 0.37, 0.9):
        spikes, _ = over_time(LIF(beta=1.0, start_at=0.5), *[current] * 200)
        assert abs(sum(spikes) - 200 * current) <= 1


def test_synaptic_currents_last():
    spikes, membranes = over_time(Synaptic(alpha=0.5, beta=0.5), 0.8, 0.0, 0.0)
    # A: 0.8, 0.4, 0.2; U: 0.8, 0.8, 0.6
    np.testing.assert_allclose(membranes, [0.8, 0.8, 0.6], rtol=1e-6)
    assert spikes == [0, 0, 0]


def test_an_adaptive_neuron_tires_and_recovers():
    neuron = Adaptive(rho=0.5, strength=2.0, beta=1.0)
    spikes, membranes = over_time(neuron, 1.5, 1.5, 1.0, 0.0)
    # B: 1, 1 + 2 * 0.5 = 2, 1.5, 2.25; U: 1.5, 1.5 + 1.5 - 1 = 2, 2 + 1, 3 - 1.5
    np.testing.assert_allclose(membranes, [1.5, 2.0, 3.0, 1.5])
    assert spikes == [1, 0, 1, 0]
    steady = [1.2] * 200
    plain, tired = (sum(over_time(n, *steady)[0]) for n in (LIF(), Adaptive()))
    assert 0 < tired < 0.7 * plain


@pytest.mark.parametrize("neuron", [LIF(beta=0.8), Adaptive(), Synaptic(reset="zero")])
def test_many_steps_go_as_few_do(neuron, monkeypatch):
    x = np.random.default_rng(0).normal(0.3, 0.5, (3, 30, 4)).astype("float32")
    few = neuron.states(ops.convert_to_tensor(x))
    monkeypatch.setattr(spiking, "UNROLLED", 8)
    many = neuron.states(ops.convert_to_tensor(x))
    for a, b in zip(few, many, strict=True):
        assert a.shape == (3, 30, 4)
        np.testing.assert_allclose(
            ops.convert_to_numpy(a), ops.convert_to_numpy(b), rtol=1e-5, atol=1e-6
        )


def slopes(surrogate, u):
    """Gradients of a sum of spikes, through `fit`'s own machinery on every backend."""

    class Weight(keras.layers.Layer):
        def build(self, _):
            self.u = self.add_weight(shape=(len(u),), name="u")

        def call(self, x):
            return x * spiking.fires(self.u, surrogate)

    inputs = keras.Input((len(u),))
    layer = Weight()
    model = keras.Model(inputs, layer(inputs))
    layer.u.assign(u)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: ops.sum(p, axis=-1))
    x = np.arange(1, len(u) + 1, dtype="float32")[None]
    before = model.predict(x, verbose=0)
    model.train_on_batch(x, x)
    return before[0], (u - ops.convert_to_numpy(layer.u)) / x[0]


U = np.array([-2.0, -0.5, -0.1, 0.0, 0.1, 0.5, 2.0], "float32")


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        ("fast_sigmoid", 1 / (1 + 25 * np.abs(U)) ** 2),
        ("arctan", 1 / (1 + (math.pi * U) ** 2)),
        ("triangular", np.maximum(0, 1 - np.abs(U))),
    ],
)
def test_surrogates_stand_in_for_the_steps_slope(surrogate, expected):
    spikes, found = slopes(surrogate, U)
    np.testing.assert_array_equal(spikes, [0, 0, 0, 0, 5, 6, 7])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_rates_are_the_values_and_draws_are_new_each_time():
    x = np.tile(np.array([[0.0, 0.1, 0.5, 0.9, 1.0]], "float32"), (40, 1))
    layer = Rate(500, seed=3)
    first, second = (ops.convert_to_numpy(layer(x)) for _ in range(2))
    assert set(np.unique(first)) == {0, 1}
    deviation = np.sqrt(x[0] * (1 - x[0]) / first[..., 0].size)
    assert (np.abs(first.mean(axis=(0, 1)) - x[0]) <= 4 * deviation).all()
    assert (first != second).any()
    # Independent from step to step: the variance of counts is that of a binomial.
    assert first.sum(axis=1)[:, 2].var() == pytest.approx(500 * 0.25, rel=0.6)
    again = ops.convert_to_numpy(Rate(500, seed=3)(x))
    np.testing.assert_array_equal(first, again)


def when(spikes):
    """The step of the only spike; -1 where there is none."""
    spikes = ops.convert_to_numpy(spikes)
    assert spikes.sum(axis=1).max() <= 1
    return np.where(spikes.any(axis=1), spikes.argmax(axis=1), -1)[0].tolist()


def test_latencies_by_hand():
    x = np.array([[1.0, 0.5, 0.02, 0.009]], "float32")
    assert when(Latency(5)(x)) == [0, 2, 4, -1]  # 4 (1 - x)
    # tau ln(x / (x - 0.01)), tau = 100 / ln(0.0100001 / 1e-7): 0.09, 0.18 and 6.02
    assert when(Latency(101, linear=False)(x)) == [0, 0, 6, -1]
    assert when(Latency(101, threshold=0.4, linear=False)(x)) == [3, 11, -1, -1]


def test_binary_and_fully_temporal_codes_by_hand():
    x = np.array([[0.0, 0.2, 0.25, 0.5, 1.0]], "float32")
    found = ops.convert_to_numpy(Binary(3)(x))[0]
    np.testing.assert_array_equal(found, [[0, 0, 0, 1, 1]] * 3)
    found = ops.convert_to_numpy(Temporal(10)(x))[0].T
    assert np.flatnonzero(found[1]).tolist() == [4, 9]
    assert np.flatnonzero(found[2]).tolist() == [3, 7]
    assert np.flatnonzero(found[3]).tolist() == [1, 3, 5, 7, 9]
    assert found.sum(axis=1).tolist() == [0, 2, 2, 5, 10]
    np.testing.assert_array_equal(ops.convert_to_numpy(Direct(2)(x)), [[x[0], x[0]]])


def test_readouts_by_hand():
    spikes = np.array([[[0, 0, 1], [1, 0, 0], [1, 0, 1]]], "float32")  # 3 steps, 3 neurons
    membranes = np.array([[[0.1, -1.0], [0.4, -3.0]]], "float32")
    found = {name: ops.convert_to_numpy(Readout(name)(spikes))[0].tolist()
             for name in ("count", "first_spike")}  # fmt: skip
    assert found == {"count": [2, 0, 2], "first_spike": [-1, -3, 0]}
    np.testing.assert_allclose(Readout("membrane")(membranes), [[0.4, -1.0]])
    np.testing.assert_allclose(Readout("mean_membrane")(membranes), [[0.25, -2.0]])


def test_each_step_goes_through_the_layer_by_itself():
    x = np.random.default_rng(0).random((2, 3, 8, 8, 2)).astype("float32")
    layer = EachStep(keras.layers.Conv2D(4, 3))
    found = ops.convert_to_numpy(layer(x))
    assert found.shape == (2, 3, 6, 6, 4)
    one = ops.convert_to_numpy(layer.layer(x[:, 1]))
    np.testing.assert_allclose(found[:, 1], one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_membranes_are_float32_and_spikes_exact_under_every_policy(policy):
    x = np.random.default_rng(0).normal(0.1, 1, (4, 50, 20)).astype("float32")
    expected = ops.convert_to_numpy(LIF()(x))
    layer = LIF(dtype=policy)
    spikes = layer(x)
    assert keras.backend.standardize_dtype(spikes.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.cast(spikes, "float32")), expected)
    membranes = LIF(returns="membranes", dtype=policy)(x)
    assert keras.backend.standardize_dtype(membranes.dtype) == "float32"


LAYERS = [LIF(beta=0.7, threshold=2.0, reset="none", surrogate="arctan", returns="membranes",
              start_at=0.5), Adaptive(rho=0.5, strength=0.3), Synaptic(alpha=0.3), Direct(3),
          Rate(4, seed=5), Latency(5, threshold=0.3, linear=False), Binary(2), Temporal(7),
          Readout("first_spike")]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layers_come_back_from_their_configuration(layer):
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    assert keras.saving.get_registered_name(type(layer)) == f"recipes>{type(layer).__name__}"
    x = keras.KerasTensor((None, 6, 4))
    spec = layer(x)
    x = np.random.default_rng(0).random((2, 6, 4)).astype("float32")
    found = layer(x)
    assert spec.shape[1:] == tuple(found.shape[1:])
    assert spec.dtype == keras.backend.standardize_dtype(found.dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(beta=0.0), r"beta=0.0: must be a number in \(0, 1\]"),
        (lambda: LIF(beta=1.01), r"beta=1.01: must be a number in \(0, 1\]"),
        (lambda: LIF(threshold=-1), r"threshold=-1: must be a positive number"),
        (lambda: LIF(reset="hard"), r"unknown reset 'hard'; known: subtract, zero, none"),
        (lambda: LIF(surrogate="sigmoid"), r"unknown surrogate 'sigmoid'; known: fast_sigmoid"),
        (lambda: LIF(returns="all"), r"unknown returns 'all'; known: spikes, membranes"),
        (lambda: Synaptic(alpha=2), r"alpha=2: must be a number in \(0, 1\]"),
        (lambda: Adaptive(rho="x"), r"rho='x': must be a number in \(0, 1\]"),
        (lambda: Direct(0), r"num_steps=0: must be a positive integer"),
        (lambda: Latency(5, threshold=1.0), r"threshold=1.0: must be a number in \(0, 1\)"),
        (lambda: Readout("rate"), r"unknown readout 'rate'; known: count, first_spike"),
        (lambda: spiking.check_spikes(np.full((2, 3), 0.5)), r"values such as 0.5.*: needs spikes"),
        (lambda: spiking.check_spikes(np.ones(3)), r"array of shape \(3,\)': needs spikes"),
        (lambda: spiking.check_spikes(np.full((2, 3), np.nan)), r"values such as nan"),
    ],
)
def test_impossible_values_get_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
