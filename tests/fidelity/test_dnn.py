"""Dense networks against scikit-learn's, with scikit-learn's own weights."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from recipes import dnn

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid"}  # theirs: ours
WIDTHS = (16, 8)


def wine():
    x, y = load_wine(return_X_y=True)
    return scale(x), y


def diabetes(targets: int):
    """The disease's progression, and for more targets the first features as well."""
    x, y = load_diabetes(return_X_y=True)
    y = scale(np.column_stack([y, x])[:, :targets])
    return scale(x), y.ravel() if targets == 1 else y


def fitted(kind, widths, activation, x, y):
    """Theirs after a short training."""
    peer = kind(
        hidden_layer_sizes=widths, activation=activation, max_iter=30, learning_rate_init=0.01,
        random_state=0,
    )  # fmt: skip
    return peer.fit(x, y)


def weights_of(peer) -> list:
    """Kernel and bias of each layer in turn, as `get_weights` has them."""
    pairs = zip(peer.coefs_, peer.intercepts_, strict=True)
    return [w for pair in pairs for w in pair]


def copied(peer, x, **arguments):
    """Our network with the weights of theirs."""
    model = dnn.build_model(
        "tiny", input_shape=x.shape[1:], units=peer.hidden_layer_sizes,
        activation=ACTIVATIONS[peer.activation], **arguments,
    )  # fmt: skip
    model.set_weights(weights_of(peer))
    return model


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", [(), (5,), WIDTHS], ids=str)
def test_probabilities_equal_scikit_learns(activation, widths):
    x, y = wine()
    peer = fitted(MLPClassifier, widths, activation, x, y)
    model = copied(peer, x, num_classes=3)
    found = keras.ops.softmax(model.predict(x, verbose=0))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(found), peer.predict_proba(x), rtol=0, atol=1e-5
    )
    assert np.ptp(peer.predict_proba(x)[:, 0]) > 0.3  # there was something to get wrong


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("targets", [1, 3])
def test_regression_equals_scikit_learns(activation, targets):
    x, y = diabetes(targets)
    peer = fitted(MLPRegressor, WIDTHS, activation, x, y)
    model = copied(peer, x, num_classes=None, num_targets=targets)
    expected = peer.predict(x).reshape(-1, targets)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 5.0], ids=["plain", "weight_decay"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("task", ["classes", "regression"])
def test_first_steps_of_gradient_descent_equal_scikit_learns(task, activation, alpha):
    classes = task == "classes"
    x, y = wine() if classes else diabetes(1)
    rate = 0.5
    kind = MLPClassifier if classes else MLPRegressor
    peer = kind(
        hidden_layer_sizes=WIDTHS, activation=activation, solver="sgd", learning_rate_init=rate,
        momentum=0.0, nesterovs_momentum=False, alpha=alpha, batch_size=len(x), random_state=0,
    )  # fmt: skip
    peer.partial_fit(x, y, **({"classes": [0, 1, 2]} if classes else {}))
    # Theirs is cross-entropy, or half of the squared error, + alpha / (2 n) |w|^2.
    half = 1 if classes else 2
    model = copied(
        peer, x, num_classes=3 if classes else None, optimizer="sgd", momentum=0.0,
        learning_rate=rate / half, weight_decay=half * alpha / len(x),
    )  # fmt: skip
    start = [w.copy() for w in peer.coefs_]
    for _ in range(3):
        peer.partial_fit(x, y)
        model.train_on_batch(x, y)
    for found, wanted in zip(model.get_weights(), weights_of(peer), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
    # The steps are a thousand times what is allowed between the two.
    assert all(np.abs(a - b).max() > 2e-3 for a, b in zip(start, peer.coefs_, strict=True))
