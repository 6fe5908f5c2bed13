"""Arrays and `tf.data.Dataset` objects, alone or in parts, as one array each of x and y."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check

PARTS = ("train", "validation", "test")
WANTED = (
    "needs (x, y), ((x_train, y_train), (x_test, y_test)), a tf.data.Dataset of (x, y), "
    "or a dictionary of such parts: train, validation, test"
)


def origin_of(source: object) -> str:
    """What a source is: "arrays", a "frame", or the "name" of a data set, a file or a folder.

    Raises:
        ValueError: none of these.
    """
    if hasattr(source, "columns") and hasattr(source, "iloc"):  # a pandas.DataFrame
        return "frame"
    if isinstance(source, tuple | list | dict) or is_dataset(source) or _is_array(source):
        return "arrays"
    if isinstance(source, str | Path):
        check(source != "", "source", source, "is empty; needs a name or a path")
        return "name"
    from recipes.data import embedded

    raise ValueError(
        f"source is a {type(source).__name__}; needs the name of a data set, a file or folder, "
        f"arrays (x, y), a pandas frame or a tf.data.Dataset; embedded: {', '.join(embedded())}"
    )


def is_dataset(source: object) -> bool:
    """Whether this is a `tf.data.Dataset`; asks without importing TensorFlow."""
    return hasattr(source, "element_spec") and hasattr(source, "as_numpy_iterator")


def holds_texts(source: Any) -> bool:
    """Whether the first thing in arrays or lists, of any nesting, is a text."""
    while not isinstance(source, str | bytes | Path):
        if is_dataset(source):
            return "string" in str(_specs(source)[0].dtype)
        if isinstance(source, dict):
            source = list(source.values())
        if isinstance(source, np.ndarray):
            source = source.ravel()
        if not isinstance(source, tuple | list | np.ndarray) or not len(source):
            return False
        source = source[0]
    return True


def holds_recordings(source: Any) -> bool:
    """Whether these are recordings with labels, alone or in parts: .wav files, or rows of numbers.

    Rows are told from one series by what they lie in: (recordings, labels).
    """
    depth = 0
    while isinstance(source, tuple | list | dict) or _is_ragged(source):
        source = list(source.values()) if isinstance(source, dict) else source
        if not len(source):
            return False
        source, depth = source[0], depth + 1
    if isinstance(source, str | Path):
        return str(source).lower().endswith(".wav")
    axes = np.ndim(source) if _is_array(source) or np.isscalar(source) else 3
    return axes < 3 and depth > 0 and depth + axes in (3, 4)


def labelled_lists(source: Any, what: str, wanted: str) -> dict[str, tuple]:
    """Parts (examples, labels) by name, of lists that are one part, two, or a dictionary of parts.

    Args:
        source: (examples, labels), ((examples, labels), (examples, labels)) for training and test,
            or a dictionary of such parts.
        what: the examples are, such as "texts".
        wanted: what would do, for the error.

    Raises:
        ValueError: something else, lists of unequal length, or empty ones.
    """
    parts = source if isinstance(source, dict) else {"train": source}
    if not isinstance(source, dict) and len(source) == 2 and all(map(_is_pair, source)):
        parts = dict(zip(("train", "test"), source, strict=True))
    known = "train" in parts and set(parts) <= set(PARTS)
    check(known, "source", f"a dictionary with keys {list(parts)}", wanted)
    for name, part in parts.items():
        check(_is_pair(part), "source", f"{name} part: a {type(part).__name__}", wanted)
        x, y = part
        unequal = f"the {name} part has {len(x)} {what} and {len(y)} labels"
        check(len(x) == len(y), "source", "lists of unequal length", unequal)
        check(len(x), "source", "an empty list", f"the {name} part holds no {what}")
    return parts


def joined(parts: Mapping[str, tuple]) -> tuple[list, np.ndarray, dict[str, np.ndarray]]:
    """Parts (examples, labels), one behind the other.

    Returns:
        All examples, all labels, and the places of the parts other than "train", by name.
    """
    examples, labels, given = [], [], {}
    for name in (name for name in PARTS if name in parts):
        x, y = parts[name]
        if name != "train":
            given[name] = np.arange(len(examples), len(examples) + len(x))
        examples += list(x)
        labels += list(y)
    return examples, np.asarray(labels), given


def _is_pair(part: Any) -> bool:
    """Whether this is (examples, labels)."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        return False
    return all(hasattr(v, "__len__") and not isinstance(v, str | bytes | dict) for v in part)


def is_sequence(source: Any) -> bool:
    """Whether this is one series: an array alone of one or two axes, or a list of numbers."""
    if _is_array(source):
        return source.ndim in (1, 2)
    return isinstance(source, list) and bool(source) and np.isscalar(source[0])


def are_files(source: Any) -> bool:
    """Whether this is nothing but paths of files, in tuples, lists and dictionaries."""
    if isinstance(source, dict):
        source = list(source.values())
    if isinstance(source, tuple | list):
        return bool(source) and all(map(are_files, source))
    return isinstance(source, str | Path) and os.path.isfile(source)


def as_texts(source: Any) -> Any:
    """The same with each path as a text, as JSON holds it."""
    if isinstance(source, dict):
        return {name: as_texts(part) for name, part in source.items()}
    return [as_texts(p) for p in source] if isinstance(source, tuple | list) else str(source)


def rank(source: Any) -> int:
    """Number of axes of x, the examples' own axis included; 0 where it cannot be told."""
    part = next(iter(_parts(source).values()))
    if _is_array(part):  # x alone
        return part.ndim
    if is_dataset(part):
        x, y = (spec.shape for spec in _specs(part))
        if x.rank is None or y.rank is None:
            return 0
        return x.rank + (not _is_batched(x, y))
    return _ndim(part[0]) if isinstance(part, tuple | list) and len(part) else 0


def read(
    source: Any, cache_bytes: int, labelled: bool = True
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """Read arrays into one (x, y).

    Args:
        source: (x, y); ((x_train, y_train), (x_test, y_test)); a `tf.data.Dataset` of (x, y),
            batched or not; or a dictionary of such parts.
        cache_bytes: a larger `tf.data.Dataset` is refused.
        labelled: every part needs y; otherwise an array stands for x alone.

    Returns:
        x of shape (n, ...), y of shape (n, ...) or None, and the indices of the parts that came
        apart: a dictionary with "test", "validation", both or neither.
    """
    xs, ys, indices, start = [], [], {}, 0
    for name, part in _parts(source).items():
        if is_dataset(part):
            x, y = _from_dataset(part, cache_bytes)
        elif _is_array(part) and not labelled:
            x, y = np.asarray(part), None
            check(x.ndim and len(x), "source", f"array of shape {x.shape}", "needs examples")
        else:
            x, y = _pair(part, name)
        xs.append(x)
        ys.append(y)
        if name != "train":
            indices[name] = np.arange(start, start + len(x))
        start += len(x)
    for x, y in zip(xs, ys, strict=True):
        if x.shape[1:] != xs[0].shape[1:] or np.shape(y)[1:] != np.shape(ys[0])[1:]:
            raise ValueError(
                f"source: the parts differ in shape: x {xs[0].shape} and {x.shape}, "
                f"y {np.shape(ys[0])} and {np.shape(y)}"
            )
    if len(xs) == 1:
        return xs[0], ys[0], indices
    wanted = "either all parts have labels or none has"
    check(len({y is None for y in ys}) == 1, "source", "parts with and without y", wanted)
    return np.concatenate(xs), None if ys[0] is None else np.concatenate(ys), indices


def _parts(source: Any) -> dict[str, Any]:
    """The parts by name: "train" first, and "validation" and "test" where they come apart."""
    if isinstance(source, dict):
        if set(source) - set(PARTS) or "train" not in source:
            raise ValueError(f"source is a dictionary with keys {list(source)}: {WANTED}")
        return {name: source[name] for name in PARTS if name in source}
    if isinstance(source, tuple | list) and len(source) == 2 and _is_part(source[0]):
        return {"train": source[0], "test": source[1]}
    return {"train": source}


def _is_part(source: object) -> bool:
    """Whether this is a part of its own, not the x of (x, y): a data set, or x and y in a tuple."""
    if is_dataset(source):
        return True
    pair = isinstance(source, tuple | list) and len(source) == 2
    # Two rows of numbers in a list are x.
    return pair and _ndim(source[0]) >= 2 and (isinstance(source, tuple) or _is_array(source[0]))


def _is_array(value: object) -> bool:
    return hasattr(value, "ndim")


def _is_ragged(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "O"


def _ndim(value: object) -> int:
    try:
        return value.ndim if _is_array(value) else np.ndim(value)
    except ValueError:  # rows of unequal length
        return 0


def _pair(part: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """One part as arrays x and y of equal length."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        length = f" of length {len(part)}" if hasattr(part, "__len__") else ""
        raise ValueError(f"source: the {name} part is a {type(part).__name__}{length}; {WANTED}")
    try:
        x, y = (np.asarray(value) for value in part)
    except ValueError as error:
        raise ValueError(f"source: the {name} part has rows of unequal length ({error})") from None
    if not (x.ndim and y.ndim and len(x)):
        raise ValueError(f"source: the {name} part is x {x.shape}, y {y.shape}; {WANTED}")
    if len(x) != len(y):
        raise ValueError(f"source: x holds {len(x)} examples and y holds {len(y)}")
    return x, y


def _specs(dataset: Any) -> tuple[Any, Any]:
    """Specifications of x and y in a `tf.data.Dataset`."""
    spec = dataset.element_spec
    found = tuple(spec) if isinstance(spec, tuple | list) else ()
    if isinstance(spec, dict) and {"image", "label"} <= set(spec):
        found = (spec["image"], spec["label"])
    if len(found) == 2 and all(hasattr(part, "shape") for part in found):
        return found
    raise ValueError(f"source: a tf.data.Dataset of {spec}; needs elements (x, y)")


def _is_batched(x: Any, y: Any) -> bool:
    """Whether shapes of x and y are those of a batch: both begin with the same length."""
    return len(x) > 1 and len(y) > 0 and x[0] == y[0]


def _from_dataset(dataset: Any, cache_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a `tf.data.Dataset` into memory."""
    _specs(dataset)
    keys = ("image", "label") if isinstance(dataset.element_spec, dict) else (0, 1)
    if int(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise ValueError("source: the tf.data.Dataset repeats without end; take() a part of it")
    xs, ys, size = [], [], 0
    for element in dataset.as_numpy_iterator():
        x, y = (np.asarray(element[key]) for key in keys)
        texts = x.ndim == 1 and x.dtype.kind in "OS"  # one text has no axis
        batched = texts or _is_batched(x.shape, y.shape)
        xs.append(x if batched else x[None])
        ys.append(y if batched else y[None])
        size += x.nbytes
        if size > cache_bytes:
            raise ValueError(
                f"source: the tf.data.Dataset holds more than cache_bytes={cache_bytes:,}; raise "
                "cache_bytes if the memory is there, take() a part, or pass it to fit() directly"
            )
    if not xs:
        raise ValueError("source: the tf.data.Dataset is empty")
    shapes = sorted({x.shape[1:] for x in xs})
    check(
        len(shapes) == 1,
        "source",
        f"examples of shapes {', '.join(map(str, shapes[:3]))}",
        "all examples need one shape: resize them in the tf.data.Dataset",
    )
    return np.concatenate(xs), np.concatenate(ys)
