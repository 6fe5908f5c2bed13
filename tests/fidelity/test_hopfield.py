"""Hopfield networks against PyTorch's attention, and against loops in plain NumPy."""

import numpy as np
import pytest

from recipes import hopfield
from recipes.data.patterns import corrupt, random_patterns

torch = pytest.importorskip("torch")


def patterns(count, *shape, seed=0):
    return random_patterns(count, shape, seed).astype("float32")


@pytest.mark.parametrize("beta", [0.02, 0.125, 1.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_modern_update_is_attention(beta, steps):
    x = patterns(200, 64)
    queries = np.random.default_rng(1).uniform(-1, 1, (50, 64)).astype("float32")
    model = hopfield.build_model(
        "modern", input_shape=(64,), num_patterns=200, beta=beta, max_steps=steps
    )
    model.fit(x, verbose=0)
    expected, keys = torch.tensor(queries), torch.tensor(x)
    for _ in range(steps):
        expected = torch.nn.functional.scaled_dot_product_attention(
            expected, keys, keys, scale=beta
        )
    found = model.predict(queries, verbose=0)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-4)


def test_the_modern_energy_has_the_update_as_the_zero_of_its_gradient():
    # dE/ds = s - update(s), by PyTorch's autograd of its own logsumexp.
    x, beta = patterns(30, 16), 0.3
    s = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (8, 16)), requires_grad=True)
    keys = torch.tensor(x, dtype=torch.float64)
    energy = (s * s).sum(1) / 2 - torch.logsumexp(beta * s @ keys.T, 1) / beta
    (slope,) = torch.autograd.grad(energy.sum(), s)
    model = hopfield.build_model(
        "modern", input_shape=(16,), num_patterns=30, beta=beta, max_steps=1
    )
    model.fit(x, verbose=0)
    start = s.detach().numpy().astype("float32")
    np.testing.assert_allclose(start - model.predict(start, verbose=0), slope, atol=1e-5)
    constant = np.log(30) / beta + 16 / 2
    np.testing.assert_allclose(model.energy(start), energy.detach() + constant, rtol=1e-5)


def weights_of(x, rule):
    n = x.shape[1]
    w = np.zeros((n, n))
    for row in x.astype("float64"):
        fields = np.array([[w[i] @ row - w[i, i] * row[i] - w[i, j] * row[j] * (i != j)
                            for j in range(n)] for i in range(n)])  # fmt: skip
        learned = np.outer(row, row)
        if rule == "storkey":
            learned -= row[:, None] * fields.T + fields * row[None, :]
        w += learned / n
        np.fill_diagonal(w, 0)
    return w


@pytest.mark.parametrize("rule", ["hebb", "storkey"])
@pytest.mark.parametrize("mode", ["asynchronous", "synchronous"])
def test_classical_recall_equals_plain_loops(rule, mode):
    x = patterns(9, 46)  # a field of Hebb's is a sum of 9 * 45 odd terms, and never 0
    start = np.concatenate([corrupt(x, 0.2), patterns(20, 46, seed=2)])
    w, expected = weights_of(x, rule), start.copy()
    model = hopfield.build_model(
        input_shape=(46,), num_patterns=9, rule=rule, mode=mode, max_steps=6, seed=4
    )
    model.fit(x, verbose=0)
    for s in expected:
        for _ in range(6):
            if mode == "synchronous":
                s[:] = np.sign(w @ s)
            else:
                for i in model.order:
                    s[i] = np.sign(w[i] @ s)
    np.testing.assert_array_equal(model.predict(start, verbose=0), expected)
    energies = [-0.5 * s @ w @ s for s in expected]
    np.testing.assert_allclose(model.energy(expected), energies, rtol=1e-5)


@pytest.mark.parametrize("degree", [3, 4])
def test_dense_recall_equals_plain_loops(degree):
    x = patterns(60, 31)
    start = np.concatenate([corrupt(x[:10], 0.1), patterns(10, 31, seed=2)])
    model = hopfield.build_model(
        "dense", input_shape=(31,), num_patterns=60, degree=degree, max_steps=4
    )
    model.fit(x, verbose=0)
    expected, exact = start.copy(), x.astype("int64")
    for s in expected:
        for _ in range(4):
            for i in model.order:
                up, down = s.astype("int64"), s.astype("int64")
                up[i], down[i] = 1, -1
                gain = (exact @ up).astype(object) ** degree - (exact @ down).astype(
                    object
                ) ** degree
                s[i] = np.sign(gain.sum()) or s[i]
    found = model.predict(start, verbose=0)
    # A tie in whole numbers may go either way in float32.
    assert np.mean((found == expected).all(axis=1)) >= 0.95
