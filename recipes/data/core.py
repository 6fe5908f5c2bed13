"""What every kind of data has in common: `Data`, its batches, and its splits."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np

from recipes.contract import check


class Transform(Protocol):
    """Turns raw examples into what a model takes; fitted on the training part only."""

    def __call__(self, raw: Any) -> np.ndarray:
        """Raw examples, any type, to model inputs, float32."""

    def get_config(self) -> dict:
        """All that is needed to make it again, as JSON holds it."""


class Batches(keras.utils.PyDataset):
    """Examples in batches, for `fit`, `evaluate` and `predict` on every backend.

    The order of an epoch is a function of the seed and of the epoch's number alone, so a training
    that resumes at `epoch` sees what the undisturbed one would have seen.

    Args:
        x: raw examples: an array, or anything that is indexed by an array of integers.
        y: targets of all of x, shape (n, ...).
        indices: which of the n examples belong to this part.
        transform: raw examples to model inputs, called on one batch at a time.
        batch_size: examples in a batch; the last batch of an epoch may be smaller.
        shuffle: a new order in each epoch.
        seed: of the order.
        workers: threads that prepare batches; 1 is fastest for arrays in memory.
    """

    def __init__(
        self,
        x: Any,
        y: np.ndarray,
        indices: np.ndarray,
        transform: Callable[[Any], np.ndarray],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 1,
    ):
        super().__init__(workers=workers)
        check(
            isinstance(batch_size, int) and batch_size >= 1,
            "batch_size",
            batch_size,
            "must be a positive integer",
        )
        self.x, self.y, self.indices, self.transform = x, y, indices, transform
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.epoch = 0
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.indices)

    @property
    def targets(self) -> np.ndarray:
        """Targets of this part in stored order, shape (size, ...)."""
        return self.y[self.indices]

    @property
    def order(self) -> np.ndarray:
        """This part's examples in this epoch's order, as indices of x, shape (size,)."""
        if not self.shuffle:
            return self.indices
        if self._order is None or self._order[0] != self.epoch:
            generator = np.random.default_rng((self.seed, self.epoch))
            self._order = (self.epoch, generator.permutation(self.indices))
        return self._order[1]

    def __len__(self) -> int:
        return math.ceil(self.size / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.transform(self.x[chosen]), self.y[chosen]

    def on_epoch_end(self) -> None:
        """Move on to the next epoch's order."""
        self.epoch += 1

    def with_batch_size(self, batch_size: int) -> "Batches":
        """The same examples in batches of another size."""
        return Batches(
            self.x,
            self.y,
            self.indices,
            self.transform,
            batch_size,
            shuffle=self.shuffle,
            seed=self.seed,
            workers=self.workers,
        )

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All examples at once, transformed, in their stored order: (x, y)."""
        return self.transform(self.x[self.indices]), self.targets


@dataclass
class Data:
    """A data set, split and ready for `fit`.

    `train`, `validation` and `test` go straight into `fit`, `evaluate` and `predict`; `spec` holds
    the arguments that make a family's `build_model` fit this data.
    """

    name: str
    kind: str  # "images", "tables", ...
    train: Batches
    validation: Batches | None
    test: Batches
    spec: dict[str, Any]
    transform: Transform
    class_names: tuple[str, ...] | None = None
    licence: str = "not stated"
    citation: str = ""
    source: dict[str, Any] = field(default_factory=dict)  # how load_data made it, where it can be

    @property
    def sizes(self) -> dict[str, int]:
        """Number of examples in each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part.size if part is not None else 0 for name, part in parts.items()}

    def with_batch_size(self, batch_size: int) -> "Data":
        """The same data in batches of another size."""
        parts = {
            name: part.with_batch_size(batch_size) if part is not None else None
            for name, part in (
                ("train", self.train),
                ("validation", self.validation),
                ("test", self.test),
            )
        }
        return Data(**{**vars(self), **parts})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{count:,} {name}" for name, count in self.sizes.items())
        spec = ", ".join(f"{name}={value!r}" for name, value in self.spec.items())
        return f"Data({self.name!r}, {self.kind}: {sizes}; {spec})"


@dataclass
class Source:
    """Raw examples before they are split: what each reader of a kind of data returns."""

    name: str
    x: Any
    y: np.ndarray
    class_names: tuple[str, ...] | None = None  # None: regression
    test: np.ndarray | None = None  # indices of a given test part
    validation: np.ndarray | None = None
    licence: str = "not stated"
    citation: str = ""


def split(
    source: Source, *, validation_fraction: float, test_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Disjoint indices of the training, validation and test parts, fixed by the seed.

    Parts that the source brings itself are kept. The others are drawn from the rest, with each
    class in proportion where there are classes.
    """
    for name, value in (
        ("validation_fraction", validation_fraction),
        ("test_fraction", test_fraction),
    ):
        check(
            isinstance(value, int | float) and 0 <= value < 1,
            name,
            value,
            "must be a number in [0, 1)",
        )
    drawn_test = source.test is None
    total = validation_fraction * (source.validation is None) + test_fraction * drawn_test
    check(total < 1, "validation_fraction + test_fraction", total, "must be less than 1")
    check(
        test_fraction > 0 or not drawn_test,
        "test_fraction",
        test_fraction,
        "must be more than 0, since this data has no test part of its own",
    )

    given = [part for part in (source.test, source.validation) if part is not None]
    rest = np.setdiff1d(np.arange(len(source.y)), np.concatenate(given) if given else [])
    labels = source.y if source.class_names is not None else None
    generator = np.random.default_rng(seed)
    test, validation = source.test, source.validation
    # Fractions are of what the source did not split itself.
    count = len(rest)
    if test is None:
        test, rest = _draw(rest, labels, round(test_fraction * count), generator)
    if validation is None:
        validation, rest = _draw(rest, labels, round(validation_fraction * count), generator)
    if not len(rest) or not len(test):
        raise ValueError(
            f"{source.name}: {len(source.y)} examples are too few to split into training "
            f"({len(rest)}), validation ({len(validation)}) and test ({len(test)}) parts"
        )
    return rest, validation, test


def _draw(
    pool: np.ndarray, labels: np.ndarray | None, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` of `pool`, in proportion to the labels; returns (drawn, what is left)."""
    shuffled = generator.permutation(pool)
    if labels is not None and len(shuffled):
        # Spread each class evenly over (0, 1); the first `count` then hold every class in
        # proportion, to within one example a class.
        rank = np.empty(len(shuffled))
        for label in np.unique(labels[shuffled]):
            of_class = np.flatnonzero(labels[shuffled] == label)
            rank[of_class] = (np.arange(len(of_class)) + generator.random()) / len(of_class)
        shuffled = shuffled[np.argsort(rank, kind="stable")]
    return np.sort(shuffled[:count]), np.sort(shuffled[count:])


def labels_and_names(
    y: Sequence, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class labels of any kind as int32 in 0 .. k-1, shape (n,), with the k names.

    Accepts integers, strings, booleans, and one-hot rows of shape (n, k).
    """
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        one_hot = np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()
        check(
            one_hot,
            "y",
            f"array of shape {y.shape}",
            "must hold one label an example, shape (n,), or one-hot rows, shape (n, classes)",
        )
        names = class_names or [str(i) for i in range(y.shape[1])]
        y = y.argmax(axis=1)
    else:
        y = y.reshape(len(y))
        if class_names is None:
            values = np.unique(y)
            # Whole numbers 0 .. k-1 stay as they are; everything else is numbered in order.
            y = np.searchsorted(values, y)
            names = [_label(value) for value in values]
        else:
            names = class_names
    names = tuple(str(name) for name in names)
    check(
        len(names) >= 2,
        "y",
        f"labels of {len(names)} class(es): {', '.join(names)}",
        "needs at least 2 classes",
    )
    check(
        y.min() >= 0 and y.max() < len(names),
        "y",
        f"labels {y.min()} .. {y.max()}",
        f"must lie in 0 .. {len(names) - 1} for the {len(names)} class names",
    )
    return y.astype("int32"), names


def _label(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def assemble(
    source: Source,
    kind: str,
    make_transform: Callable[[Any, np.ndarray], Transform],
    spec: Callable[[Transform], dict[str, Any]],
    *,
    batch_size: int,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    workers: int = 1,
) -> Data:
    """Split a source, fit the transform on its training part, and batch the parts.

    Args:
        source: raw examples.
        kind: of data.
        make_transform: (raw x, indices of the training part) to the fitted transform.
        spec: fitted transform to the arguments of `build_model`.
        batch_size: examples in a batch.
        seed: of the splits and of the training order.
        validation_fraction: of what the source did not split itself.
        test_fraction: likewise.
        workers: threads that prepare batches.
    """
    check(
        isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0,
        "seed",
        seed,
        "must be an integer of at least 0",
    )
    train, validation, test = split(
        source, validation_fraction=validation_fraction, test_fraction=test_fraction, seed=seed
    )
    transform = make_transform(source.x, train)

    def part(indices: np.ndarray, shuffle: bool = False) -> Batches | None:
        if not len(indices):
            return None
        return Batches(
            source.x,
            source.y,
            indices,
            transform,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            workers=workers,
        )

    return Data(
        name=source.name,
        kind=kind,
        train=part(train, shuffle=True),
        validation=part(validation),
        test=part(test),
        spec=spec(transform),
        transform=transform,
        class_names=source.class_names,
        licence=source.licence,
        citation=source.citation,
    )
