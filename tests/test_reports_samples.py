"""Measures of generated examples: closed forms, sets made by hand, and properties from theory."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.linalg import sqrtm

from recipes.reports import samples


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def with_moments(mean, covariance, count=50):
    """Rows whose sample mean and covariance are exactly these."""
    x = normal(count, len(mean))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(x, rowvar=False)))).T
    return white @ np.linalg.cholesky(covariance).T + mean


# Frechet distance.


def test_frechet_distance_of_independent_features_by_hand():
    a = with_moments([0.0, 1.0], np.diag([4.0, 9.0]))
    b = with_moments([3.0, 1.0], np.diag([1.0, 25.0]))
    # 3^2 in the means; (2 - 1)^2 + (3 - 5)^2 in the standard deviations
    assert samples.frechet_distance(a, b) == pytest.approx(9 + 1 + 4)


def test_frechet_distance_equals_scipys_square_root():
    a, b = (
        normal(300, 12) @ normal(12, 12, seed=1),
        normal(200, 12, seed=2) @ normal(12, 12, seed=3),
    )
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    wanted = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert samples.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-8)
    assert samples.frechet_distance(b, a) == pytest.approx(wanted, rel=1e-8)
    assert samples.frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def test_frechet_distance_of_fewer_examples_than_features():
    a = normal(5, 20)
    assert samples.frechet_distance(a, a + 0.5) == pytest.approx(20 * 0.25)  # only the means differ


def test_frechet_distance_of_one_feature():
    a, b = with_moments([1.0], np.eye(1)), with_moments([3.0], 9 * np.eye(1))
    assert samples.frechet_distance(a, b) == pytest.approx(4 + 4)


# Precision and recall, density and coverage.

LINE = np.array([[0.0], [1.0], [2.0], [3.0]])  # to the nearest other: 1, 1, 1, 1


def test_precision_and_recall_by_hand():
    # Balls of width 1 around 0 .. 3 hold -0.5 and 3.9, not 10 and 11.
    fake = np.array([[-0.5], [3.9], [10.0], [11.0]])
    # The fakes' own balls: 4.4 around -0.5, 4.4 around 3.9, 1 around the others: all of 0 .. 3.
    assert samples.precision_recall(LINE, fake, k=1) == (0.5, 1.0)
    assert samples.precision_recall(fake, LINE, k=1) == (1.0, 0.5)


def test_a_collapsed_generator_has_precision_and_no_recall():
    real = normal(200, 2)
    fake = real[0] + 1e-4 * normal(200, 2, seed=1)
    precision, recall = samples.precision_recall(real, fake)
    assert precision == 1
    assert recall <= 1 / 200
    assert samples.density_coverage(real, fake)[1] < 0.1


def test_density_and_coverage_by_hand():
    # Second neighbours lie 2, 1, 1, 2 away: balls [-2, 2], [0, 2], [1, 3], [1, 5].
    fake = np.array([[-1.0], [1.5], [4.5], [9.0]])
    # They hold 1 + 1: of the first; 1: of the second; 1: of the third; 1 + 1: of the fourth.
    assert samples.density_coverage(LINE, fake, k=2) == (6 / (2 * 4), 1.0)
    assert samples.density_coverage(LINE, fake[[0, 3]], k=2) == (1 / (2 * 2), 0.25)


@pytest.mark.parametrize("measure", [samples.precision_recall, samples.density_coverage])
def test_equal_distributions_score_high_and_distant_ones_nothing(measure, monkeypatch):
    real, fake = normal(500, 4), normal(500, 4, seed=1)
    found = measure(real, fake)
    assert all(share > 0.8 for share in found)
    assert measure(real, fake + 100) == (0, 0)
    monkeypatch.setattr(samples, "CHUNK", 64)  # rows at a time make no difference
    assert measure(real, fake) == found


def test_expected_density_and_coverage_of_equal_distributions():
    # Naeem et al. 2020, section 3.3: density 1 and coverage 1 - (1/2)^k for as many of both.
    found = [
        samples.density_coverage(normal(600, 8, seed=i), normal(600, 8, seed=99 + i), k=2)
        for i in range(5)
    ]
    density, coverage = np.mean(found, axis=0)
    assert density == pytest.approx(1, abs=0.06)
    assert coverage == pytest.approx(1 - 0.25, abs=0.03)


# Classes and neighbours.


def test_mode_coverage_by_hand():
    probabilities = np.eye(10)[[0, 0, 3, 3]]
    modes, entropy = samples.mode_coverage(probabilities)
    assert modes == 2
    assert entropy == pytest.approx(np.log(2))
    assert samples.mode_coverage(np.eye(10)[[4] * 7]) == (1, 0.0)
    assert samples.mode_coverage(np.eye(10))[1] == pytest.approx(np.log(10))


def test_nearest_finds_copies_and_distances():
    train = normal(3000, 4, 4, 1)
    fake = train[[7, 2999, 0]].copy()
    fake[1, 2, 2, 0] += 0.25
    distances, indices = samples.nearest(fake, train)
    assert indices.tolist() == [7, 2999, 0]
    np.testing.assert_allclose(distances, [0, 0.25, 0], atol=1e-12)


@pytest.fixture
def classifier():
    inputs = keras.Input((2, 2, 1))
    h = layers.Dense(3, activation="relu")(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(5)(h))


def test_features_are_what_the_last_layer_takes(classifier):
    x = normal(6, 2, 2, 1).astype("float32")
    found = samples.features(classifier, x)
    w, b, last, shift = classifier.get_weights()
    np.testing.assert_allclose(found, np.maximum(x.reshape(6, 4) @ w + b, 0), atol=1e-5)
    np.testing.assert_allclose(found @ last + shift, classifier.predict(x, verbose=0), atol=1e-5)


def test_evaluate_tells_good_bad_and_copied_samples_apart(classifier):
    real, good, train = (normal(300, 2, 2, 1, seed=i).astype("float32") for i in range(3))
    of = {
        name: samples.evaluate(made, real, train, classifier)
        for name, made in (("good", good), ("bad", 5 * good), ("copied", train))
    }
    assert of["good"]["frechet"] < of["bad"]["frechet"] / 10
    assert of["good"]["precision"] > 0.7 > of["bad"]["precision"]
    assert of["good"]["modes"] >= of["bad"]["modes"]
    assert of["copied"]["nearest"] == 0 < of["good"]["nearest"]
    assert of["good"]["nearest"] == pytest.approx(of["good"]["nearest_real"], rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: samples.frechet_distance(LINE, normal(4, 2)), r"features=\(\(4, 1\), \(4, 2\)\)"),
        (lambda: samples.nearest(np.ones(3), np.ones(3)), r"must be \(n, \.\.\.\)"),
        (lambda: samples.precision_recall(LINE, LINE, k=4), r"k=4: .* below the 4 examples"),
        (lambda: samples.density_coverage(LINE, LINE, k=0), r"k=0: must be a positive integer"),
        (lambda: samples.frechet_distance(LINE, LINE[:1]), r"at least 2"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
