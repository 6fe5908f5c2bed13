"""The perceptron against scikit-learn's own, which cycles over the examples in float64."""

import numpy as np
import pytest
from sklearn.linear_model import Perceptron, SGDClassifier

from recipes import perceptron

pytestmark = pytest.mark.filterwarnings("ignore:the perceptron did not converge")


def fitted(name: str, variant: str, epochs: int):
    """Our weights (units, inputs) and biases (units,) with the examples they learned from."""
    data = perceptron.load_data(name)
    x, y = data.train.arrays()
    model = perceptron.build_model(variant, **data.spec)
    model.fit(x, y, epochs=epochs, shuffle=False, verbose=0)
    w = np.array(model.units.mean if variant == "averaged" else model.units.w).T
    return w[:, :-1], w[:, -1], x.astype("float64"), y, model


@pytest.mark.parametrize("epochs", [1, 5, 20])
@pytest.mark.parametrize("name", ["breast_cancer", "iris", "wine"])
def test_weights_equal_scikit_learns_perceptron(name, epochs):
    w, b, x, y, model = fitted(name, "rosenblatt", epochs)
    peer = Perceptron(eta0=1, shuffle=False, tol=None, max_iter=epochs).fit(x, y)
    # Ours are rounded to float32 after each epoch.
    np.testing.assert_allclose(w, peer.coef_, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(b, peer.intercept_)  # whole numbers
    np.testing.assert_array_equal(model.predict(x, verbose=0).argmax(axis=1), peer.predict(x))


@pytest.mark.parametrize("epochs", [1, 5])
@pytest.mark.parametrize("name", ["breast_cancer", "iris"])
def test_mean_weights_equal_scikit_learns_averaged_sgd(name, epochs):
    w, b, x, y, model = fitted(name, "averaged", epochs)
    peer = SGDClassifier(
        loss="perceptron",
        penalty=None,
        learning_rate="constant",
        eta0=1,
        average=True,
        shuffle=False,
        tol=None,
        max_iter=epochs,
    ).fit(x, y)
    np.testing.assert_allclose(w, peer.coef_, rtol=0, atol=2e-5)
    np.testing.assert_allclose(b, peer.intercept_, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(model.predict(x, verbose=0).argmax(axis=1), peer.predict(x))
