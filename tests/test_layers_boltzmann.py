"""Restricted Boltzmann machines: every quantity against a sum over all states of a small one."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from recipes.layers.boltzmann import (
    BLOCK,
    Boltzmann,
    first_examples,
    log_mean,
    log_partition,
    run_chains,
)

SIZE, UNITS = 4, 3


def machine(visible="binary", size=SIZE, units=UNITS, scale=1.0, seed=0, **arguments):
    """With weights of N(0, scale), biases too."""
    made = Boltzmann(units, visible, **arguments)
    made.build((None, size))
    generator = np.random.default_rng(seed)
    made.set_weights([generator.normal(0, scale, w.shape) for w in made.get_weights()])
    return made


def states(count):
    return np.array(list(itertools.product((0.0, 1.0), repeat=count)), "float32")


def energies(made, v, h):
    """E(v, h) of each row of v (rows) and of h (columns), written out in float64."""
    w, b, c = (x.astype("float64") for x in made.get_weights())
    own = -v @ b if made.visible == "binary" else ((v - b) ** 2).sum(axis=1) / 2
    return own[:, None] - (h @ c)[None, :] - v @ w @ h.T


def exact_log_z(made):
    """Over the visible states, or for Gaussian units over the hidden ones.

    The integral over v of exp(-|v - b|^2 / 2 + v.a) is (2 pi)^(D / 2) exp(b.a + |a|^2 / 2).
    """
    w, b, c = (x.astype("float64") for x in made.get_weights())
    if made.visible == "binary" and len(b) <= len(c):
        v = states(len(b)).astype("float64")
        return np.logaddexp.reduce(v @ b + np.logaddexp(0, c + v @ w).sum(axis=1))
    h = states(len(c)).astype("float64")
    a = h @ w.T
    if made.visible == "binary":
        return np.logaddexp.reduce(h @ c + np.logaddexp(0, b + a).sum(axis=1))
    inside = h @ c + a @ b + (a**2).sum(axis=1) / 2
    return np.logaddexp.reduce(inside) + len(b) / 2 * np.log(2 * np.pi)


def some_v(visible):
    generator = np.random.default_rng(1)
    v = generator.normal(size=(5, SIZE)) if visible == "gaussian" else states(SIZE)
    return v.astype("float32")


# Energies and conditionals.


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
def test_free_energy_sums_over_all_hidden_states(visible):
    made, v = machine(visible), some_v(visible)
    expected = -np.logaddexp.reduce(-energies(made, v, states(UNITS)), axis=1)
    found = ops.convert_to_numpy(made.free_energy(ops.convert_to_tensor(v)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
def test_hidden_probabilities_are_those_of_the_joint_distribution(visible):
    made, v, h = machine(visible), some_v(visible), states(UNITS)
    joint = np.exp(-energies(made, v, h))
    expected = joint @ h / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ops.convert_to_numpy(made(v)), expected, rtol=1e-5)


def test_visible_probabilities_are_those_of_the_joint_distribution():
    made, v, h = machine(), states(SIZE), states(UNITS)
    joint = np.exp(-energies(made, v, h)).T
    expected = joint @ v / joint.sum(axis=1, keepdims=True)
    found = made.visible_means(made.visible_inputs(ops.convert_to_tensor(h)))
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def test_gaussian_visible_units_have_the_mean_of_least_energy_and_variance_one():
    made, h = machine("gaussian"), states(UNITS)[5:6]
    means = made.visible_inputs(ops.convert_to_tensor(h))
    _, noise = made.noise(1, 20_000, made.seeds)
    drawn = ops.convert_to_numpy(made.draw_visible(means, noise[0]))
    w, b, _ = made.get_weights()
    np.testing.assert_allclose(drawn.mean(axis=0), (b + h @ w.T)[0], atol=0.04)
    np.testing.assert_allclose(drawn.var(axis=0), 1, atol=0.05)
    # a quadratic function's derivative is exact: dE/dv = 0 at the mean
    least, step = ops.convert_to_numpy(means), 0.5 * np.eye(SIZE)
    up, down = (energies(made, least + s * step, h) for s in (1, -1))
    np.testing.assert_allclose(up, down, rtol=1e-5, atol=1e-5)


def test_reconstruction_error_by_hand():
    made = machine(size=2, units=1)
    made.set_weights([np.array([[2.0], [-1.0]]), np.array([0.5, 0.0]), np.array([-1.0])])
    # v = (1, 0): h = s(2 - 1) = 0.731059; p = s(0.5 + 2 h) = 0.876761, s(-h) = 0.324962
    v = ops.convert_to_tensor(np.array([[1.0, 0.0]], "float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(made.reconstruct(v)), [[0.876761, 0.324962]], atol=1e-5
    )
    expected = -np.log(0.876761) - np.log(1 - 0.324962)
    assert float(made.reconstruction_error(v)[0]) == pytest.approx(expected, abs=1e-5)
    gaussian = machine("gaussian", size=2, units=1)
    gaussian.set_weights(made.get_weights())
    expected = (1 - 0.5 - 2 * 0.731059) ** 2 + 0.731059**2
    assert float(gaussian.reconstruction_error(v)[0]) == pytest.approx(expected, abs=1e-5)


# Gibbs sampling.


def test_gibbs_sampling_reaches_the_exact_distribution():
    made, v = machine(), states(SIZE)
    expected = np.exp(-ops.convert_to_numpy(made.free_energy(ops.convert_to_tensor(v))))
    expected /= expected.sum()
    found, weights = run_chains(made, 20_000, np.ones(51))
    which = (found @ 2 ** np.arange(SIZE)[::-1]).astype(int)
    share = np.bincount(which, minlength=2**SIZE) / len(found)
    # the standard error of each share is below 0.0036
    np.testing.assert_allclose(share, expected, atol=0.015)
    assert expected.max() > 0.2
    np.testing.assert_array_equal(weights, 0)  # nothing was annealed


def test_gibbs_sampling_of_gaussian_units_has_the_exact_mean_and_covariance():
    made, h = machine("gaussian", scale=0.6), states(UNITS)
    w, b, c = (x.astype("float64") for x in made.get_weights())
    a = h @ w.T  # given h, v is of N(b + a, 1)
    share = np.exp(h @ c + a @ b + (a**2).sum(axis=1) / 2)
    share /= share.sum()
    mean = b + share @ a
    covariance = np.eye(SIZE) + (a.T * share) @ a - np.outer(share @ a, share @ a)
    found, _ = run_chains(made, 20_000, np.ones(51))
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(found.T), covariance, atol=0.1)
    assert np.abs(covariance - np.eye(SIZE)).max() > 0.15


def test_chains_repeat_for_a_seed_and_walk_any_number_of_steps():
    made = machine()
    first, again, other = (run_chains(made, 50, np.ones(BLOCK + 4), seed=s)[0] for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# Contrastive divergence.


def gradients_and_value(made, v, steps, chains=None):
    """Of `contrastive_divergence`, by one step of plain gradient descent on every backend."""

    class Learner(keras.Model):
        def __init__(self):
            super().__init__()
            self.machine, self.found = made, None

        def call(self, x):
            return x

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss, _, samples = made.contrastive_divergence(ops.cast(x, "float32"), steps, chains)
            self.kept.assign(samples)
            return loss

    learner = Learner()
    shape = v.shape if chains is None else chains.shape
    learner.kept = learner.add_weight(shape=shape, initializer="zeros", trainable=False)
    learner.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    before = [w.astype("float64") for w in made.get_weights()]
    loss = learner.train_on_batch(v)
    after = made.get_weights()
    moved = [b - a for a, b in zip(after, before, strict=True)]
    return moved, float(loss), ops.convert_to_numpy(learner.kept).astype("float64")


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
@pytest.mark.parametrize("persistent", [False, True])
def test_gradient_is_the_difference_of_the_two_phases(visible, persistent):
    # dW = <v h>_model - <v h>_data with the probabilities of h (Hinton 2002; 2010, equation 9)
    made, v = machine(visible), some_v(visible)
    w, b, c = (x.astype("float64") for x in made.get_weights())
    chains = ops.convert_to_tensor(some_v(visible)[::-1].copy()) if persistent else None
    (dw, db, dc), loss, u = gradients_and_value(made, v, 2, chains)
    hv, hu = (1 / (1 + np.exp(-(c + x @ w))) for x in (v, u))
    np.testing.assert_allclose(dw, u.T @ hu / len(u) - v.T @ hv / len(v), atol=1e-5)
    # of v.b as of (v - b)^2 / 2 the derivative by b is v, up to a constant that both phases share
    np.testing.assert_allclose(db, u.mean(axis=0) - v.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(dc, hu.mean(axis=0) - hv.mean(axis=0), atol=1e-5)
    assert np.abs(dw).max() > 0.01
    made.set_weights([w, b, c])
    errors = ops.convert_to_numpy(made.reconstruction_error(ops.convert_to_tensor(v)))
    assert loss == pytest.approx(errors.mean(), rel=1e-5)


def test_many_steps_give_the_gradient_of_the_exact_likelihood():
    made = machine(seed=2)
    data = np.repeat(states(SIZE)[[3, 5, 12]], 7000, axis=0)
    before = made.get_weights()

    def likelihood(weights):
        made.set_weights(weights)
        free = ops.convert_to_numpy(made.free_energy(ops.convert_to_tensor(data[::7000])))
        return -free.mean(dtype="float64") - exact_log_z(made)

    expected = []
    for i, weight in enumerate(before):
        slopes = np.zeros(weight.shape)
        for index in np.ndindex(weight.shape):
            up, down = ([w.copy() for w in before] for _ in range(2))
            up[i][index] += 0.05
            down[i][index] -= 0.05
            slopes[index] = (likelihood(up) - likelihood(down)) / 0.1
        expected.append(slopes)
    made.set_weights(before)
    found, _, _ = gradients_and_value(made, data, 25)
    for slopes, moved in zip(expected, found, strict=True):
        np.testing.assert_allclose(-moved, slopes, atol=0.015)
    assert max(np.abs(slopes).max() for slopes in expected) > 0.2


# The partition function.


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
@pytest.mark.parametrize("base", [None, 0.5])
def test_annealed_importance_sampling_finds_the_exact_partition_function(visible, base):
    made = machine(visible, size=8, units=10, scale=0.5)  # 2^10 hidden states
    bias = None if base is None else np.full(8, base)
    found, error = log_partition(made, bias, num_chains=500, num_betas=300)
    assert 0 < error < 0.05
    assert found == pytest.approx(exact_log_z(made), abs=4 * error)


def test_standard_error_is_that_of_repeated_estimates():
    made = machine(size=8, units=10, scale=0.7)
    _, log_weights = run_chains(made, 4000, np.linspace(0, 1, 41))
    values, errors = np.transpose([log_mean(part) for part in np.split(log_weights, 40)])
    assert values.std(ddof=1) == pytest.approx(errors.mean(), rel=0.35)  # of 40, 3 sigma
    whole, error = log_mean(log_weights)
    assert error == pytest.approx(errors.mean() / np.sqrt(40), rel=0.2)
    first = np.logaddexp(0, made.get_weights()[1].astype("float64")).sum() + 10 * np.log(2)
    assert first + whole == pytest.approx(exact_log_z(made), abs=4 * error)


def test_log_partition_of_a_machine_without_connections_is_exact():
    made = machine(size=6, units=5)
    weights = made.get_weights()
    made.set_weights([0 * weights[0], *weights[1:]])
    b, c = (w.astype("float64") for w in weights[1:])
    expected = np.logaddexp(0, b).sum() + np.logaddexp(0, c).sum()
    found, error = log_partition(made, num_chains=10, num_betas=20)
    assert found == pytest.approx(expected, abs=1e-4)
    assert error < 1e-6


# What training starts from.


def test_bias_of_independent_units_has_the_means_of_the_data():
    v = (np.random.default_rng(0).random((5000, 3)) < [0.1, 0.5, 0.9]).astype("float32")
    v[:, 2] = 0  # a pixel that is always off
    bias = machine(size=3).bias_of(v)
    share = 1 / (1 + np.exp(-bias))
    np.testing.assert_allclose(share[:2], v.mean(axis=0)[:2], atol=1e-3)
    assert share[2] == pytest.approx(1 / 5002)
    np.testing.assert_allclose(machine("gaussian", size=3).bias_of(v), v.mean(axis=0), rtol=1e-5)


def test_first_examples_of_arrays_and_batches():
    x = np.arange(60, dtype="float32").reshape(30, 2)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return (x[5 * index : 5 * index + 5],)

    np.testing.assert_array_equal(first_examples(x, 7), x[:7])
    np.testing.assert_array_equal(first_examples(Batches(), 8), x[:10])
    np.testing.assert_array_equal(first_examples(Batches(), 800), x)
    assert first_examples(iter([x])) is None


def test_products_are_half_precision_and_all_else_is_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    made = machine(size=64, units=32, scale=0.3)
    keras.config.set_dtype_policy("float32")
    exact = machine(size=64, units=32, scale=0.3)
    v = ops.convert_to_tensor((np.random.default_rng(0).random((20, 64)) < 0.5).astype("float32"))
    half, full = (ops.convert_to_numpy(m.free_energy(v)) for m in (made, exact))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.5  # of sums of 64 products, in 8 bits
    assert keras.backend.standardize_dtype(made(v).dtype) == "float32"
