"""Restricted Boltzmann machines: two layers of units, each connected with the other only.

E(v, h) = -b.v - c.h - v W h for binary visible units, with (v - b)^2 / 2 in the place of -b.v for
Gaussian ones of variance 1; p(v, h) = exp(-E(v, h)) / Z.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes.training.optimizers import l2

VISIBLE = ("binary", "gaussian")
BLOCK = 10  # Gibbs steps in one call


@keras.saving.register_keras_serializable("recipes")
class Boltzmann(layers.Layer):
    """A machine: visible units (n, visible) -> hidden probabilities (n, units), float32.

    Products run in the compute dtype of the policy; biases, energies and draws are float32.
    Initial weights are of N(0, 0.01), biases 0 (Hinton 2010, section 8).

    Args:
        units: hidden units.
        visible: kind of the visible units: "binary" or "gaussian".
        weight_decay: L2 penalty (weight_decay / 2) |W|^2.
    """

    def __init__(self, units, visible="binary", weight_decay=0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.units, self.visible, self.weight_decay = units, visible, weight_decay
        self.seeds = keras.random.SeedGenerator()

    def build(self, input_shape):
        """Weights for visible units of the shape (n, visible)."""
        size = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel", shape=(size, self.units), regularizer=l2(self.weight_decay),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )  # fmt: skip
        self.visible_bias = self.add_weight(name="visible_bias", shape=(size,), initializer="zeros")
        self.hidden_bias = self.add_weight(
            name="hidden_bias", shape=(self.units,), initializer="zeros"
        )

    def get_config(self):
        """The constructor's arguments."""
        names = ("units", "visible", "weight_decay")
        return super().get_config() | {name: getattr(self, name) for name in names}

    def compute_output_shape(self, input_shape):
        """(n, units)."""
        return (*input_shape[:-1], self.units)

    def compute_output_spec(self, inputs):
        """float32 under every policy."""
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), "float32")

    def call(self, v):
        """p(h = 1 | v)."""
        return ops.sigmoid(self.hidden_inputs(v))

    def hidden_inputs(self, v):
        """c + v W: the log-odds of the hidden units, (n, units)."""
        return self.hidden_bias + self._product(v, self.kernel)

    def visible_inputs(self, h):
        """b + W h: the log-odds of binary visible units or the means of Gaussian ones."""
        return self.visible_bias + self._product(h, ops.transpose(self.kernel))

    def _product(self, x, kernel):
        x, kernel = (ops.cast(value, self.compute_dtype) for value in (x, kernel))
        return ops.cast(ops.matmul(x, kernel), "float32")

    def visible_means(self, inputs):
        """E[v | h] of `visible_inputs`."""
        return ops.sigmoid(inputs) if self.visible == "binary" else inputs

    def noise(self, steps, count, seeds):
        """What `steps` draws are made from: (steps, count, units), (steps, count, visible)."""
        draw = keras.random.uniform if self.visible == "binary" else keras.random.normal
        hidden = keras.random.uniform((steps, count, self.units), seed=seeds)
        return hidden, draw((steps, count, self.kernel.shape[0]), seed=seeds)

    def draw_hidden(self, inputs, noise):
        """h of p(h | v), each 0.0 or 1.0, of `hidden_inputs`."""
        return ops.cast(noise < ops.sigmoid(inputs), "float32")

    def draw_visible(self, inputs, noise):
        """v of p(v | h), of `visible_inputs`."""
        return self.draw_hidden(inputs, noise) if self.visible == "binary" else inputs + noise

    def visible_energy(self, v, bias=None):
        """The part of E(v, h) that depends on v alone, (n,)."""
        bias = self.visible_bias if bias is None else bias
        if self.visible == "binary":
            return -ops.sum(v * bias, axis=-1)
        return ops.sum(ops.square(v - bias), axis=-1) / 2

    def free_energy(self, v, inputs=None):
        """F(v) = -log sum_h exp(-E(v, h)), (n,).

        Args:
            v: visible units.
            inputs: their `hidden_inputs`, where those are there already.
        """
        inputs = self.hidden_inputs(v) if inputs is None else inputs
        return self.visible_energy(v) - ops.sum(ops.softplus(inputs), axis=-1)

    def reconstruct(self, v):
        """Means of the visible units given the means of the hidden ones given v."""
        return self.visible_means(self.visible_inputs(self.call(v)))

    def reconstruction_error(self, v, inputs=None):
        """Of `reconstruct`, (n,): cross-entropy in nats; squared error of Gaussian units."""
        inputs = self.hidden_inputs(v) if inputs is None else inputs
        found = self.visible_inputs(ops.sigmoid(inputs))
        if self.visible == "binary":
            return ops.sum(ops.softplus(found) - v * found, axis=-1)
        return ops.sum(ops.square(v - found), axis=-1)

    def bias_of(self, v: np.ndarray) -> np.ndarray:
        """Biases of independent visible units with the means of v, (n, ...) -> (visible,)."""
        mean = np.asarray(v, "float64").reshape(len(v), -1).mean(axis=0)
        if self.visible == "gaussian":
            return mean
        share = (mean * len(v) + 1) / (len(v) + 2)  # none is always off
        return np.log(share / (1 - share))

    def contrastive_divergence(self, v, steps, chains=None):
        """What a batch teaches (Hinton 2002; from chains of its own: Tieleman 2008).

        Args:
            v: the data, (n, visible).
            steps: of Gibbs sampling, from the data or from the chains.
            chains: (m, visible), or None.

        Returns:
            loss, a number: its gradient is that of mean F(v) - mean F(samples), its value the
                mean reconstruction error of v;
            error, (n,): the reconstruction error;
            samples, (n or m, visible): where the sampling ended.
        """
        inputs = self.hidden_inputs(v)
        error = ops.stop_gradient(self.reconstruction_error(v, inputs))
        start = v if chains is None else chains
        hidden, visible = self.noise(steps, ops.shape(start)[0], self.seeds)

        def step(i, v, inputs=None):
            inputs = self.hidden_inputs(v) if inputs is None else inputs
            h = self.draw_hidden(inputs, hidden[i])
            return self.draw_visible(self.visible_inputs(h), visible[i])

        samples = step(0, start, inputs if chains is None else None)
        if steps > 1:
            samples = ops.fori_loop(1, steps, step, samples)
        samples = ops.stop_gradient(samples)
        data, model = self.free_energy(v, inputs), self.free_energy(samples)
        difference = ops.mean(data) - ops.mean(model)
        loss = ops.mean(error) + difference - ops.stop_gradient(difference)
        return loss, error, samples


def first_examples(x: Any, count: int = 1000) -> np.ndarray | None:
    """The first examples of what `fit` takes, (about count, ...); None where that is a stream."""
    if isinstance(x, keras.utils.PyDataset):
        batches = range(min(len(x), math.ceil(count / max(1, len(x[0][0])))))
        return np.concatenate([np.asarray(x[i][0]) for i in batches])
    return x[:count] if isinstance(x, np.ndarray) else None


class Chains(keras.Model):
    """`BLOCK` steps of annealed importance sampling (Salakhutdinov & Murray 2008, section 4.1).

    The distributions lead from p_0, independent visible units of the bias `base`, to the machine's:
    p_beta(v) ~ exp(-(1 - beta) energy_base(v) - beta energy(v)) prod_j (1 + exp(beta (c + v W)_j)).
    At beta = 1 throughout it is plain Gibbs sampling.

    Args:
        machine: a `Boltzmann`.
        base: (visible,).
        seed: of the draws.
    """

    def __init__(self, machine: Boltzmann, base: np.ndarray, seed: int):
        super().__init__(dtype="float32")
        self.machine, self.base = machine, base
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, inputs):
        """v (m, visible), log weights (m, 1), betas (m, BLOCK + 1) -> v and log weights."""
        machine, base = self.machine, ops.convert_to_tensor(self.base)
        betas = inputs[2]
        hidden, visible = machine.noise(BLOCK, ops.shape(betas)[0], self.seeds)

        def step(i, state):
            v, log_weights = state
            before, after = ops.take(betas, [i], axis=1), ops.take(betas, [i + 1], axis=1)
            fields = machine.hidden_inputs(v)
            # log p_after(v) - log p_before(v), neither normalised
            units = ops.softplus(after * fields) - ops.softplus(before * fields)
            energies = machine.visible_energy(v, base) - machine.visible_energy(v)
            log_weights += ops.sum(units, axis=-1, keepdims=True)
            log_weights += (after - before) * energies[:, None]
            h = machine.draw_hidden(after * fields, hidden[i])
            means = (1 - after) * base + after * machine.visible_inputs(h)
            return machine.draw_visible(means, visible[i]), log_weights

        return ops.fori_loop(0, BLOCK, step, (inputs[0], inputs[1]))


def run_chains(
    machine: Boltzmann, count: int, betas: Any, base: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Visible units after a walk through the betas, and the logarithms of their weights.

    Args:
        machine: a built machine.
        count: chains, side by side.
        betas: rising to 1; where they start at 1, all steps are plain Gibbs sampling.
        base: bias of the visible units that the chains start from; None: the machine's.
        seed: of all draws.

    Returns:
        v (count, visible) float32, and log weights (count,) float64.
    """
    bias = ops.convert_to_numpy(machine.visible_bias)
    base = bias if base is None else np.asarray(base, "float32")
    generator = np.random.default_rng(seed)
    if machine.visible == "binary":
        v = generator.random((count, len(base)), "float32") < 1 / (1 + np.exp(-base))
    else:
        v = base + generator.standard_normal((count, len(base)), "float32")
    v, log_weights = v.astype("float32"), np.zeros((count, 1), "float32")
    steps = math.ceil((len(betas) - 1) / BLOCK) * BLOCK
    betas = np.append(betas, np.ones(1 + steps - len(betas))).astype("float32")
    chains, total = Chains(machine, base, seed), np.zeros(count)
    for start in range(0, steps, BLOCK):
        block = np.tile(betas[start : start + BLOCK + 1], (count, 1))
        v, found = chains.predict_on_batch([v, log_weights, block])
        total += found[:, 0]
    return v, total


def log_partition(
    machine: Boltzmann,
    base: np.ndarray | None = None,
    num_chains: int = 100,
    num_betas: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """An estimate of log Z in nats, and its standard error.

    Args:
        machine: a built machine.
        base: bias of the first distribution's visible units; None: the machine's own.
        num_chains: of annealed importance sampling.
        num_betas: distributions that each chain goes through.
        seed: of all draws.
    """
    bias = ops.convert_to_numpy(machine.visible_bias) if base is None else base
    bias = np.asarray(bias, "float64")
    betas = np.linspace(0, 1, num_betas + 1)
    _, log_weights = run_chains(machine, num_chains, betas, base, seed)
    first = np.logaddexp(0, bias).sum() if machine.visible == "binary" else (
        len(bias) / 2 * math.log(2 * math.pi))  # fmt: skip
    first += machine.units * math.log(2)
    mean, error = log_mean(log_weights)
    return float(first + mean), float(error)


def log_mean(log_weights: np.ndarray) -> tuple[float, float]:
    """log of the mean of exp(log_weights), and its standard error by the delta method."""
    most = log_weights.max()
    weights = np.exp(log_weights - most)
    error = weights.std(ddof=1) / weights.mean() / math.sqrt(len(weights))
    return most + math.log(weights.mean()), error
