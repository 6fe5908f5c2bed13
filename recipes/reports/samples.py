"""How good generated examples are: distances between two sets of examples, in numbers.

All of it works on features, float arrays (n, d): the pixels themselves, or better what a classifier
of the same data sees in them (`features`). The Frechet distance is that of Heusel et al. 2017 but
not their FID, whose features come from Inception trained on ImageNet: compare only values that
came from the same classifier, and from equally many examples.
"""

from collections.abc import Iterator

import keras
import numpy as np

from recipes.contract import check

CHUNK = 1000  # rows of a distance matrix held at once


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians fitted to features.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), Dowson & Landau 1982; 0 for equal sets.

    Args:
        a: features (n, d), n of at least 2.
        b: features (m, d).

    Raises:
        ValueError: arrays of other shapes, or of one example.
    """
    a, b = _features(a, b)
    check(min(len(a), len(b)) > 1, "features", (a.shape, b.shape), "need at least 2 examples each")
    root = _root(np.cov(a, rowvar=False, ddof=1).reshape(a.shape[1], -1))
    other = np.cov(b, rowvar=False, ddof=1).reshape(a.shape[1], -1)
    # The eigenvalues of S_a S_b are those of the symmetric S_a^(1/2) S_b S_a^(1/2).
    cross = np.linalg.eigvalsh(root @ other @ root)
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    spread = np.trace(root @ root) + np.trace(other) - 2 * np.sqrt(cross.clip(0)).sum()
    return float(shift + spread)


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Precision and recall of Kynkaanniemi et al. 2019 (eq. 1 and 2).

    A set's region is the union of balls around its examples, each as wide as to the k-th nearest
    neighbour in the set. Precision: share of fakes in the real region. Recall: the reverse.

    Args:
        real: features (n, d).
        fake: features (m, d).
        k: neighbours, fewer than n and m.
    """
    real, fake = _features(real, fake)
    shares = []
    for centres, points in ((real, fake), (fake, real)):
        radii = _radii(centres, k)
        inside = [(rows <= radii).any(axis=1) for _, rows in _distances(points, centres)]
        shares.append(float(np.concatenate(inside).mean()))
    return shares[0], shares[1]


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Density and coverage of Naeem et al. 2020 (eq. 3 and 4).

    Density: real balls (see `precision_recall`) that hold a fake, on average, over k; may exceed 1.
    Coverage: share of real balls that hold at least one fake.

    Args:
        real: features (n, d).
        fake: features (m, d).
        k: neighbours, fewer than n.
    """
    real, fake = _features(real, fake)
    radii = _radii(real, k)
    held, covered = 0, np.zeros(len(real), bool)
    for _, rows in _distances(fake, real):
        inside = rows <= radii
        held += inside.sum()
        covered |= inside.any(axis=0)
    return float(held / (k * len(fake))), float(covered.mean())


def mode_coverage(probabilities: np.ndarray) -> tuple[int, float]:
    """Number of classes hit, and the entropy of the histogram of classes, in nats.

    Args:
        probabilities: of a classifier, or its logits, (n, classes).
    """
    shares = np.bincount(np.argmax(probabilities, axis=1)) / len(probabilities)
    shares = shares[shares > 0]
    return len(shares), float(-(shares * np.log(shares)).sum()) + 0.0


def nearest(fake: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distance of each fake to its nearest training example, and that one's index.

    Args:
        fake: examples of any shape (m, ...).
        train: examples (n, ...).

    Returns:
        Distances float64 (m,) and indices (m,).
    """
    fake, train = _features(fake, train)
    distances, indices = np.empty(len(fake)), np.empty(len(fake), int)
    for start, rows in _distances(fake, train):
        best = rows.argmin(axis=1)
        part = slice(start, start + len(rows))
        # The difference itself: |a|^2 - 2ab + |b|^2 is rough near zero.
        indices[part] = best
        distances[part] = np.linalg.norm(fake[part] - train[best], axis=1)
    return distances, indices


def features(classifier: keras.Model, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """What a classifier's last layer sees of x: float64 (n, d).

    Args:
        classifier: a functional or sequential Keras model.
        x: what it takes.
        batch_size: examples at once.
    """
    inner = keras.Model(classifier.inputs, classifier.layers[-1].input)
    # Called, since `predict` would compile anew for each call of this function.
    parts = [
        keras.ops.convert_to_numpy(inner(x[start : start + batch_size], training=False))
        for start in range(0, len(x), batch_size)
    ]
    return np.concatenate(parts).reshape(len(x), -1).astype("float64")


def evaluate(
    generated: np.ndarray, real: np.ndarray, train: np.ndarray, classifier: keras.Model
) -> dict[str, float]:
    """All of these measures.

    Args:
        generated: images (m, height, width, channels), as the classifier takes them.
        real: images that neither the generator nor the classifier has seen.
        train: images that the generator has learnt from.
        classifier: a Keras classifier of such images, with logits or probabilities.

    Returns:
        "frechet", "precision", "recall", "density", "coverage", "modes", "entropy", and two medians
        over images: "nearest" (distance of a generated image to the nearest of `train`) and
        "nearest_real" (the same for `real`). A "nearest" far below the latter means copies.
    """
    a, b = features(classifier, real), features(classifier, generated)
    precision, recall = precision_recall(a, b)
    density, coverage = density_coverage(a, b)
    modes, entropy = mode_coverage(classifier.predict(generated, verbose=0))
    return {
        "frechet": frechet_distance(a, b),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "modes": modes,
        "entropy": entropy,
        "nearest": float(np.median(nearest(generated, train)[0])),
        "nearest_real": float(np.median(nearest(real, train)[0])),
    }


def _features(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (n, d), after a look at their shapes."""
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    ok = a.ndim >= 2 and a.shape[1:] == b.shape[1:]
    check(ok, "features", (a.shape, b.shape), "must be (n, ...) and (m, ...), otherwise alike")
    return a.reshape(len(a), -1), b.reshape(len(b), -1)


def _distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Euclidean distances between all rows, some rows of a at a time: (first row, (rows, m))."""
    squares = np.square(b).sum(axis=1)
    for start in range(0, len(a), CHUNK):
        part = a[start : start + CHUNK]
        square = np.square(part).sum(axis=1)[:, None] - 2 * part @ b.T + squares
        yield start, np.sqrt(square.clip(0))


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row."""
    ok = isinstance(k, int) and 1 <= k < len(x)
    check(ok, "k", k, f"must be a positive integer below the {len(x)} examples")
    # The nearest of all is the row itself.
    return np.concatenate([np.partition(rows, k, axis=1)[:, k] for _, rows in _distances(x, x)])
