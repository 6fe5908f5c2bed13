"""Deep belief networks against scikit-learn's stacked machines and PyTorch's dense layers."""

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.datasets import load_digits

from recipes import dbn

UNITS = (24, 16)


def digits():
    found = load_digits()
    return (found.data / 16).astype("float32")[:300], found.target[:300].astype("int32")


def small(**arguments):
    model = dbn.build_model("tiny", input_shape=(64,), units=UNITS, seed=0, **arguments)
    model.jit_compile = False
    return model


@pytest.fixture(scope="module")
def peers():
    """Two of scikit-learn's machines, trained greedily."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    x, made = digits()[0], []
    for units in UNITS:
        made.append(
            neural_network.BernoulliRBM(units, learning_rate=0.1, n_iter=30, random_state=0)
        )
        x = made[-1].fit_transform(x)
    return made


def test_features_of_stacked_machines_equal_scikit_learns(peers):
    model, (x, _) = small(), digits()
    model.enter(1)
    for machine, peer in zip(model.machines, peers, strict=True):
        machine.set_weights([peer.components_.T, peer.intercept_visible_, peer.intercept_hidden_])
    expected = peers[1].transform(peers[0].transform(x))
    np.testing.assert_allclose(ops.convert_to_numpy(model.stack(x)), expected, atol=1e-5)
    found = ops.convert_to_numpy(model.seen_by(1, x))
    np.testing.assert_allclose(found, peers[0].transform(x), atol=1e-5)
    assert expected.std() > 0.05  # there was something to get wrong
    # and the classifier begins with the same features
    model.enter(2)
    hidden = keras.Model(model.network.inputs[0], model.network.get_layer("logits").input)
    np.testing.assert_allclose(ops.convert_to_numpy(hidden(x)), expected, atol=1e-5)


def test_fine_tuning_equals_torchs_on_the_same_weights(from_torch):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(64, 24), torch.nn.Sigmoid(), torch.nn.Linear(24, 16), torch.nn.Sigmoid(),
        torch.nn.Linear(16, 10),
    )  # fmt: skip
    dense = [layer for layer in theirs if isinstance(layer, torch.nn.Linear)]
    model = small(optimizer="sgd", momentum=0.9, learning_rate=0.5)
    model.network.set_weights([w for layer in dense for w in from_torch(layer)])
    start = [w.copy() for w in model.network.get_weights()]
    x, y = digits()
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)

    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            theirs(torch.tensor(x)), torch.tensor(y.astype("int64"))
        )
        loss.backward()
        optimizer.step()
        found = model.train_on_batch(x, y)[0]
        assert float(found) == pytest.approx(loss.item(), rel=1e-4)
    wanted = [w for layer in dense for w in from_torch(layer)]
    for ours, their, old in zip(model.network.get_weights(), wanted, start, strict=True):
        np.testing.assert_allclose(ours, their, atol=1e-5)
        assert np.abs(their - old).max() > 1e-3
