"""Spiking networks against snnTorch, step by step, with gradients and a training."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes import snn
from recipes.layers.spiking import LIF, Latency, Synaptic

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
from snntorch import spikegen, surrogate  # noqa: E402

CURRENTS = np.random.default_rng(0).normal(0.25, 0.6, (4, 60, 5)).astype("float32")
OURS = {"fast_sigmoid": surrogate.fast_sigmoid(25), "arctan": surrogate.atan(2.0)}


def run(neuron, x):
    """A snnTorch neuron over time: spikes and membranes (n, num_steps, units)."""
    states = [torch.zeros_like(x[:, 0])] * (2 if isinstance(neuron, snntorch.Synaptic) else 1)
    found = []
    for t in range(x.shape[1]):
        s, *states = neuron(x[:, t], *states)
        found.append((s, states[-1]))
    return tuple(torch.stack(part, 1) for part in zip(*found, strict=True))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("beta", [0.5, 0.9, 1.0])
def test_lif_equals_leaky_step_by_step(reset, beta):
    expected = run(snntorch.Leaky(beta=beta, threshold=0.8, reset_mechanism=reset),
                   torch.tensor(CURRENTS))  # fmt: skip
    found = LIF(beta=beta, threshold=0.8, reset=reset).states(ops.convert_to_tensor(CURRENTS))
    assert 50 < expected[0].sum() < 1150
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(ours), theirs.detach(), atol=1e-5)


@pytest.mark.parametrize("reset", ["subtract", "none"])
def test_synaptic_equals_synaptic_step_by_step(reset):
    x = CURRENTS / 4
    theirs = snntorch.Synaptic(alpha=0.7, beta=0.8, reset_mechanism=reset)
    expected = run(theirs, torch.tensor(x))
    layer = Synaptic(alpha=0.7, beta=0.8, reset=reset)
    found = layer.states(ops.convert_to_tensor(x))
    assert expected[0].sum() > 50
    for ours, theirs in zip(found[:2], expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(ours), theirs.detach(), atol=1e-5)


class Scaled(keras.layers.Layer):
    """Currents times a weight each, which collects their gradient."""

    def build(self, shape):
        self.w = self.add_weight(shape=shape[1:], initializer="ones", name="w")

    def call(self, x):
        return x * self.w


def gradients(neuron, x, weights):
    """d(sum of spikes times weights) / d(currents' weights), by one step of SGD."""
    inputs = keras.Input(x.shape[1:])
    scaled = Scaled()
    model = keras.Model(inputs, neuron(scaled(inputs)))
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: len(x) * ops.sum(y * p, (1, 2)))
    before = np.ones(x.shape[1:])
    model.train_on_batch(x, weights)
    return before - ops.convert_to_numpy(scaled.w)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("kind", ["subtract", "zero", "synaptic"])
def test_gradients_through_time_equal_snntorchs(name, kind):
    x = CURRENTS[:, :20] / (3 if kind == "synaptic" else 1)
    weights = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    reset = "subtract" if kind == "synaptic" else kind
    common = {"spike_grad": OURS[name], "reset_mechanism": reset}
    if kind == "synaptic":
        theirs = snntorch.Synaptic(alpha=0.6, beta=0.7, **common)
        ours = Synaptic(alpha=0.6, beta=0.7, surrogate=name)
    else:
        theirs = snntorch.Leaky(beta=0.7, **common)
        ours = LIF(beta=0.7, reset=reset, surrogate=name)
    w = torch.ones(x.shape[1:], requires_grad=True)
    spikes, _ = run(theirs, torch.tensor(x) * w)
    (spikes * torch.tensor(weights)).sum().backward()
    found = gradients(ours, x, weights)
    np.testing.assert_allclose(found, w.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("threshold", [0.01, 0.2])
def test_latency_equals_spikegen(linear, threshold):
    x = np.random.default_rng(0).random((6, 50)).astype("float32")
    x[:, 0] = 0.0  # below the threshold: snnTorch normalises by the latest one
    expected = spikegen.latency(
        torch.tensor(x), num_steps=30, threshold=threshold, linear=linear, normalize=True, clip=True
    )
    layer = Latency(30, threshold=threshold, linear=linear)
    found = ops.convert_to_numpy(layer(x))
    if linear:  # its last step is that of the threshold in both
        np.testing.assert_array_equal(found, expected.movedim(0, 1))
    else:
        assert np.mean(found == expected.movedim(0, 1).numpy()) > 0.999


class Net(torch.nn.Module):
    """784-40-10 as in snnTorch's tutorial 5."""

    def __init__(self, weights, last):
        super().__init__()
        self.one, self.two = torch.nn.Linear(784, 40), torch.nn.Linear(40, 10)
        for layer, (w, b) in zip((self.one, self.two), weights, strict=True):
            layer.weight.data, layer.bias.data = torch.tensor(w.T.copy()), torch.tensor(b.copy())
        grad = surrogate.atan(2.0)
        self.first = snntorch.Leaky(beta=0.9, spike_grad=grad)
        self.last = snntorch.Leaky(beta=0.9, spike_grad=grad, reset_mechanism=last)

    def forward(self, x, num_steps):
        u, v = self.first.init_leaky(), self.last.init_leaky()
        spikes, membranes = [], []
        for _ in range(num_steps):
            s, u = self.first(self.one(x), u)
            s, v = self.last(self.two(s), v)
            spikes.append(s)
            membranes.append(v)
        return {"count": sum(spikes), "membrane": torch.stack(membranes).amax(0)}


@pytest.mark.parametrize(("readout", "last"), [("count", "subtract"), ("membrane", "none")])
def test_a_network_learns_as_in_snntorch_for_three_steps_of_adam(readout, last):
    generator = np.random.default_rng(0)
    x = generator.random((24, 28, 28, 1), "float32")
    y = generator.integers(0, 10, 24, "int32")
    # With a small epsilon, Adam makes much of gradients that are no more than rounding.
    ours = keras.optimizers.Adam(1e-3, epsilon=1e-5)
    model = snn.build_model(units=(40,), num_steps=15, readout=readout, optimizer=ours, seed=0)
    w = model.get_weights()
    net = Net([w[:2], w[2:]], last)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for i in range(3):
        part = slice(8 * i, 8 * i + 8)  # of many more, some would be at the threshold
        flat = torch.tensor(x[part].reshape(8, -1))
        # Keras adds it before the averages are corrected for their start.
        optimizer.param_groups[0]["eps"] = 1e-5 / (1 - 0.999 ** (i + 1)) ** 0.5
        optimizer.zero_grad()
        logits = net(flat, 15)[readout]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y[part]).long())
        found = model.predict_on_batch(x[part])
        np.testing.assert_allclose(found, logits.detach(), atol=1e-5)
        loss.backward()
        optimizer.step()
        ours = model.train_on_batch(x[part], y[part], return_dict=True)
        model.reset_metrics()
        assert ours["loss"] == pytest.approx(loss.item(), abs=1e-4)
    expected = [p.detach().numpy() for p in net.parameters()]
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.T, atol=2e-5)
