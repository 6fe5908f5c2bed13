"""Restricted Boltzmann machines against scikit-learn's, with scikit-learn's own weights."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes import rbm

neural_network = pytest.importorskip("sklearn.neural_network")


def digits():
    from sklearn.datasets import load_digits

    return (load_digits().data[:400] >= 8).astype("float32")  # (400, 64)


@pytest.fixture(scope="module")
def peer():
    """Theirs after a short training."""
    made = neural_network.BernoulliRBM(20, learning_rate=0.1, n_iter=40, random_state=0)
    return made.fit(digits())


def copied(peer, **arguments):
    """Ours with the weights of theirs."""
    model = rbm.build_model(
        "cd1", input_shape=(64,), units=20, optimizer="sgd", weight_decay=0.0, **arguments
    )
    model.machine.set_weights(weights_of(peer))
    model.jit_compile = False
    return model


def weights_of(peer):
    return [peer.components_.T, peer.intercept_visible_, peer.intercept_hidden_]


def test_hidden_probabilities_equal_scikit_learns(peer):
    x = digits()
    np.testing.assert_allclose(copied(peer).encode(x), peer.transform(x), atol=1e-5)
    assert peer.transform(x).std() > 0.1  # there was something to get wrong


def test_free_energy_equals_scikit_learns(peer):
    x = digits()
    expected = peer._free_energy(x)
    np.testing.assert_allclose(copied(peer).free_energy(x), expected, rtol=1e-5, atol=1e-4)
    assert np.ptp(expected) > 10


def test_gibbs_steps_have_scikit_learns_statistics(peer):
    model, v = copied(peer), np.repeat(digits()[:2], 4000, axis=0)
    theirs = np.stack([part.mean(axis=0) for part in np.split(peer.gibbs(v), 2)])
    _, _, found = model.machine.contrastive_divergence(ops.convert_to_tensor(v), 1)
    found = ops.convert_to_numpy(found)
    ours = np.stack([part.mean(axis=0) for part in np.split(found, 2)])
    # the standard error of a difference of two shares of 4,000 is at most 0.011
    np.testing.assert_allclose(ours, theirs, atol=0.05)
    assert theirs.std() > 0.1


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_step_of_persistent_learning_equals_scikit_learns_on_the_same_samples(peer, momentum):
    # Theirs in one step: fit on the batch, then on its own chains; see `_fit`.
    x, rate = digits()[:100], 0.1
    model = copied(peer, persistent=True, num_chains=100, learning_rate=rate, momentum=momentum)
    model.chains.assign(digits()[100:200])
    model.train_on_batch(x)
    v = ops.convert_to_numpy(model.chains).astype("float64")  # what the step has drawn
    positive, negative = peer._mean_hiddens(x), peer._mean_hiddens(v)
    expected = [
        peer.components_.T + rate * (x.T @ positive - v.T @ negative) / 100,
        peer.intercept_visible_ + rate * (x.mean(axis=0) - v.mean(axis=0)),
        peer.intercept_hidden_ + rate * (positive.mean(axis=0) - negative.mean(axis=0)),
    ]
    for found, wanted, before in zip(
        model.machine.get_weights(), expected, weights_of(peer), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert np.abs(wanted - before).max() > 1e-3


def test_reconstruction_error_equals_torchs_cross_entropy(peer):
    torch = pytest.importorskip("torch")
    x = digits()
    w, b, c = (torch.tensor(weight, dtype=torch.float64) for weight in weights_of(peer))
    v = torch.tensor(x, dtype=torch.float64)
    logits = torch.nn.functional.linear(torch.sigmoid(v @ w + c), w, b)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, v, reduction="sum")
    found = copied(peer).evaluate(x, batch_size=400, verbose=0, return_dict=True)
    assert found["reconstruction_error"] == pytest.approx(float(expected) / len(x), rel=1e-5)
    assert keras.backend.standardize_dtype(copied(peer)(x).dtype) == "float32"
