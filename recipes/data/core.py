"""What every kind of data has in common: `Data`, its batches, and its splits."""

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Protocol

import keras
import numpy as np

from recipes.contract import check
from recipes.contract.arguments import check_vocabulary


class Transform(Protocol):
    """Turns raw examples into what a model takes; fitted on the training part only."""

    def __call__(self, raw: Any) -> np.ndarray:
        """Raw examples, any type, to model inputs, float32."""

    def get_config(self) -> dict:
        """All that is needed to make it again, as JSON holds it."""


class Feed(keras.utils.PyDataset):
    """A `PyDataset` that is read as it comes; see `recipes.data.feed_tensorflow`, `feed_torch`."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        backend = keras.backend.backend()
        if backend in ("tensorflow", "torch"):
            importlib.import_module(f"recipes.data.feed_{backend}")


class Rows(Feed):
    """Arrays of as many rows each, in batches, for `predict`.

    Args:
        x: an array, or several in any structure.
        batch_size: rows in a batch.
    """

    def __init__(self, x: Any, batch_size: int):
        super().__init__()
        check_vocabulary({"batch_size": batch_size})
        self.x, self.batch_size = x, batch_size

    def __len__(self) -> int:
        return math.ceil(len(keras.tree.flatten(self.x)[0]) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any]:
        """Batch (x,)."""
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return (keras.tree.map_structure(lambda part: part[rows], self.x),)


class Batches(Feed):
    """Examples in batches, for `fit`, `evaluate` and `predict` on every backend.

    The order of an epoch is a function of the seed and of the epoch's number alone, so a training
    that resumes at `epoch` sees what the undisturbed one would have seen.

    Args:
        x: raw examples: an array, or anything that is indexed by an array of integers.
        y: targets of all of x, shape (n, ...); None where there are none.
        indices: which of the n examples belong to this part.
        transform: raw examples to model inputs, called on one batch at a time.
        batch_size: examples in a batch; the last batch of an epoch may be smaller.
        shuffle: a new order in each epoch.
        seed: of the order.
        workers: threads that prepare batches; 1 is fastest for arrays in memory.
        whole: leave out what fills no batch, others in each epoch.
    """

    def __init__(
        self,
        x: Any,
        y: np.ndarray | None,
        indices: np.ndarray,
        transform: Callable[[Any], np.ndarray],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 1,
        whole: bool = False,
    ):
        super().__init__(workers=workers)
        check_vocabulary({"batch_size": batch_size, "seed": seed})
        self.x, self.y, self.indices, self.transform = x, y, indices, transform
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.whole = whole
        self.epoch = 0
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.indices)

    @property
    def targets(self) -> np.ndarray | None:
        """Targets of this part in stored order, shape (size, ...)."""
        return None if self.y is None else self.y[self.indices]

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
        if self.whole and self.size >= self.batch_size:
            return self.size // self.batch_size
        return math.ceil(self.size / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Batch (x, y), or (x,) where there are no targets."""
        start = range(len(self))[index] * self.batch_size  # IndexError ends a loop over batches
        chosen = self.order[start : start + self.batch_size]
        x = self.transform(self.x[chosen])
        return (x,) if self.y is None else (x, self.y[chosen])

    def on_epoch_end(self) -> None:
        """Move on to the next epoch's order."""
        self.epoch += 1

    def with_batch_size(self, batch_size: int) -> "Batches":
        """The same examples in batches of another size."""
        return type(self)(**{**self._arguments(), "batch_size": batch_size})

    def part(self, indices: np.ndarray, *, shuffle: bool) -> "Batches":
        """Others of the same examples, by their indices; unshuffled, none is left out."""
        arguments = {**self._arguments(), "indices": indices, "shuffle": shuffle}
        if not shuffle:
            arguments.pop("whole", None)
        return type(self)(**arguments)

    def first(self, count: int) -> "Batches":
        """The first examples of this part, in stored order, as a part of their own."""
        arguments = {**self._arguments(), "indices": self.indices[:count]}
        arguments.pop("whole", None)  # all of them are looked at
        return type(self)(**arguments)

    def _arguments(self) -> dict[str, Any]:
        """Those of the constructor."""
        names = ("x", "y", "indices", "transform", "batch_size", "shuffle", "seed", "workers")
        return {name: getattr(self, name) for name in (*names, "whole")}

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """All examples at once, transformed, in their stored order: (x, y)."""
        return self.sample(self.size)

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """At most `count` examples, spread evenly over the stored order, transformed: (x, y)."""
        count = min(count, self.size)
        chosen = self.indices[np.arange(count) * self.size // max(1, count)]
        return self.transform(self.x[chosen]), None if self.y is None else self.y[chosen]


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
    def _parts(self) -> dict[str, Batches]:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of examples in each part."""
        empty = {"train": 0, "validation": 0, "test": 0}
        return empty | {name: part.size for name, part in self._parts.items()}

    def with_batch_size(self, batch_size: int) -> "Data":
        """The same data in batches of another size."""
        parts = {name: part.with_batch_size(batch_size) for name, part in self._parts.items()}
        return replace(self, **parts)

    def in_whole_batches(self) -> "Data":
        """The same data, trained on in whole batches alone: XLA compiles each size anew."""
        train = type(self.train)(**{**self.train._arguments(), "whole": True})
        return replace(self, train=train)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{count:,} {name}" for name, count in self.sizes.items())
        spec = ", ".join(f"{name}={short(value)}" for name, value in self.spec.items())
        return f"Data({self.name!r}, {self.kind}: {sizes}; {spec})"


def short(value: Any) -> str:
    """A value as it is written, but neither a dictionary nor a long list in full."""
    if isinstance(value, dict):
        return "{...}"
    long = isinstance(value, list | tuple) and len(value) > 8
    return f"[{len(value):,} values]" if long else repr(value)


@dataclass
class Source:
    """Raw examples before they are split: what each reader of a kind of data returns."""

    name: str
    x: Any
    y: np.ndarray | None  # None: no targets
    class_names: tuple[str, ...] | None = None  # None: no classes
    test: np.ndarray | None = None  # indices of a given test part
    validation: np.ndarray | None = None
    licence: str = "not stated"
    citation: str = ""


def check_options(
    *, batch_size: int, seed: int, validation_fraction: float, test_fraction: float
) -> None:
    """Check the options that every kind of data has, before anything is read."""
    check_vocabulary({"batch_size": batch_size, "seed": seed})
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    for name, value in fractions.items():
        ok = isinstance(value, Real) and not isinstance(value, bool) and 0 <= value < 1
        check(ok, name, value, "must be a number in [0, 1)")


def split(
    source: Source, *, validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, np.ndarray]:
    """Disjoint indices of the parts "train", "validation" and "test", fixed by the seed.

    Parts that the source brings itself are kept. The others are drawn from the rest, with each
    class in proportion where there are classes; fractions are of this rest.
    """
    if source.test is None:
        total = test_fraction + validation_fraction * (source.validation is None)
        check(total < 1, "validation_fraction + test_fraction", total, "must be less than 1")
        wanted = "must be more than 0, since this data has no test part of its own"
        check(test_fraction > 0, "test_fraction", test_fraction, wanted)

    given = {"test": source.test, "validation": source.validation}
    given = {name: part for name, part in given.items() if part is not None}
    size = source.x.shape[0]
    rest = np.ones(size, bool)
    for part in given.values():
        rest[part] = False
    rest = np.flatnonzero(rest)
    labels = None if source.class_names is None else source.y
    generator = np.random.default_rng(seed)
    count = len(rest)
    for name, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        if name not in given:
            given[name], rest = _draw(rest, labels, round(fraction * count), generator)
    parts = {"train": rest, "validation": given["validation"], "test": given["test"]}
    if not len(rest) or not len(parts["test"]):
        sizes = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        hint = "" if labels is None else ", or too few of each class"
        raise ValueError(f"{source.name}: {size} examples are too few{hint}: {sizes}")
    return parts


def _draw(
    pool: np.ndarray, labels: np.ndarray | None, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` of `pool`, each class in proportion; returns (drawn, what is left), sorted.

    Each class gives its exact share, rounded down or up so that the sum is `count`; but its last
    example is never drawn.
    """
    shuffled = generator.permutation(pool)
    if labels is None:
        return np.sort(shuffled[:count]), np.sort(shuffled[count:])
    _, which, sizes = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    share = count * sizes / max(1, len(pool))
    take = np.floor(share).astype(int)
    # The largest remainders are rounded up; among equal ones, those that come first in a new order.
    order = generator.permutation(len(sizes))
    remainder = np.where(take + 1 < sizes, share - take, -1.0)[order]
    take[order[np.argsort(-remainder, kind="stable")][: count - take.sum()]] += 1
    take = np.minimum(take, sizes - 1)
    drawn = np.zeros(len(pool), bool)
    for label, number in enumerate(take):
        drawn[np.flatnonzero(which == label)[:number]] = True
    return np.sort(shuffled[drawn]), np.sort(shuffled[~drawn])


def labels_and_names(
    y: Any, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class labels of any kind as int32 in 0 .. k-1, shape (n,), with the k names.

    Args:
        y: whole numbers, texts, booleans, or one-hot rows of shape (n, k).
        class_names: names of the classes 0, 1, ..., or, where y holds texts, their order; by
            default the different values of y in order.

    Raises:
        ValueError: labels that are missing, fractions, of one class, or outside of the names.
    """
    y = np.asarray(y)
    if class_names is not None:
        texts = not isinstance(class_names, str) and all(isinstance(n, str) for n in class_names)
        ok = texts and len(set(class_names)) == len(class_names)
        check(ok, "class_names", class_names, "must be a list of different texts, one a class")
    if y.ndim == 2 and y.shape[1] > 1:
        rows = y.dtype.kind in "iufb" and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()
        wanted = "must hold one label an example, shape (n,), or one-hot rows, shape (n, classes)"
        check(rows, "y", f"array of shape {y.shape}", wanted)
        names = class_names or [str(i) for i in range(y.shape[1])]
        wanted = f"y has {y.shape[1]} columns, so it needs as many names"
        check(len(names) == y.shape[1], "class_names", tuple(names), wanted)
        return y.argmax(axis=1).astype("int32"), tuple(names)

    check(y.size == len(y), "y", f"array of shape {y.shape}", "must hold one label an example")
    y = y.reshape(len(y))
    if y.dtype.kind in "OSU":
        values = [v.decode() if isinstance(v, bytes) else v for v in y.tolist()]
        missing = sum(v is None or v != v for v in values)  # NaN differs from itself
        check(not missing, "y", f"{missing} missing label(s)", "every example needs one")
        y = np.array(values)
    if y.dtype.kind == "f":
        whole = np.isfinite(y).all() and (y == np.floor(y)).all()
        check(whole, "y", "fractions or NaN", "labels must be whole numbers or texts")
        y = y.astype("int64")
    check(y.dtype.kind in "iubU", "y", y.dtype, "labels must be whole numbers or texts")

    if class_names is None:
        values, y = np.unique(y, return_inverse=True)
        names = tuple(values.astype(str).tolist())
    elif y.dtype.kind == "U":
        names = tuple(class_names)
        strange = sorted(set(y.tolist()) - set(names))
        check(not strange, "class_names", names, f"y holds other labels: {strange[:5]}")
        y = np.array([names.index(text) for text in y])
    else:
        names = tuple(class_names)
        wanted = f"y holds labels {y.min()} .. {y.max()}; needs a name for each of 0, 1, ..."
        check(y.min() >= 0 and y.max() < len(names), "class_names", names, wanted)
    check(len(names) >= 2, "y", f"only the class {', '.join(names)}", "needs at least 2 classes")
    return y.astype("int32"), names


def assemble(
    source: Source,
    kind: str,
    parts: dict[str, np.ndarray],
    transform: Transform,
    spec: dict[str, Any],
    *,
    batch_size: int,
    seed: int,
    of_batch: Callable[[Any], np.ndarray] | None = None,
    workers: int = 1,
) -> Data:
    """Batch the parts of a source.

    Args:
        source: examples.
        kind: of data.
        parts: indices of "train", "validation" and "test"; see `split`.
        transform: of raw examples, fitted on the training part.
        spec: the arguments of `build_model`.
        batch_size: examples in a batch.
        seed: of the training order.
        of_batch: what is left to do with a batch of the source's x; by default `transform`.
        workers: threads that prepare batches.
    """
    batches = {
        name: Batches(
            source.x,
            source.y,
            indices,
            of_batch or transform,
            batch_size,
            shuffle=name == "train",
            seed=seed,
            workers=workers,
        )
        if len(indices)
        else None
        for name, indices in parts.items()
    }
    return Data(
        name=source.name,
        kind=kind,
        spec=spec,
        transform=transform,
        class_names=source.class_names,
        licence=source.licence,
        citation=source.citation,
        **batches,
    )
