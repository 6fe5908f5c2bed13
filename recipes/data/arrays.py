"""Arrays and `tf.data.Dataset` objects, alone or in parts, as one array each of x and y."""

import numbers
from typing import Any

import numpy as np

from recipes.contract import check

PARTS = ("train", "validation", "test")
WANTED = (
    "needs (x, y), ((x_train, y_train), (x_test, y_test)), a tf.data.Dataset of (x, y), "
    "or a dictionary of such parts: train, validation, test"
)


def is_dataset(source: object) -> bool:
    """Whether this is a `tf.data.Dataset`; asks without importing TensorFlow."""
    return hasattr(source, "element_spec") and hasattr(source, "as_numpy_iterator")


def is_arrays(source: object) -> bool:
    """Whether `read` takes this."""
    return isinstance(source, tuple | list | dict) or is_dataset(source)


def read(source: Any, cache_bytes: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Read arrays into one (x, y).

    Args:
        source: (x, y); ((x_train, y_train), (x_test, y_test)); a `tf.data.Dataset` of (x, y),
            batched or not; or a dictionary of such parts.
        cache_bytes: a larger `tf.data.Dataset` is refused.

    Returns:
        x of shape (n, ...), y of shape (n, ...), and the indices of the parts that came apart:
        a dictionary with "test", "validation", both or neither.
    """
    if isinstance(source, dict):
        parts = source
    elif isinstance(source, tuple | list) and len(source) == 2 and _is_pair(source[0]):
        parts = {"train": source[0], "test": source[1]}
    else:
        parts = {"train": source}
    if set(parts) - set(PARTS) or "train" not in parts:
        raise ValueError(f"source is a dictionary with keys {sorted(parts)}: {WANTED}")

    xs, ys, indices, start = [], [], {}, 0
    for name, part in parts.items():
        x, y = _pair(part, name, cache_bytes)
        xs.append(x)
        ys.append(y)
        if name != "train":
            indices[name] = np.arange(start, start + len(x))
        start += len(x)
    for x, y in zip(xs[1:], ys[1:], strict=True):
        if x.shape[1:] != xs[0].shape[1:] or y.shape[1:] != ys[0].shape[1:]:
            raise ValueError(
                f"source: the parts differ in shape: x {xs[0].shape} and {x.shape}, "
                f"y {ys[0].shape} and {y.shape}"
            )
    if len(xs) == 1:
        return xs[0], ys[0], indices
    return np.concatenate(xs), np.concatenate(ys), indices


def _is_pair(source: object) -> bool:
    return is_dataset(source) or (
        isinstance(source, tuple | list)
        and len(source) == 2
        and not isinstance(source[0], numbers.Number | str)
        and all(hasattr(part, "__len__") for part in source)
        and getattr(source[0], "ndim", 0) != 0
    )


def _pair(part: Any, name: str, cache_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """One part as arrays x and y of equal length."""
    if is_dataset(part):
        return _from_dataset(part, cache_bytes)
    if not isinstance(part, tuple | list) or len(part) != 2:
        length = f" of length {len(part)}" if hasattr(part, "__len__") else ""
        raise ValueError(f"source: the {name} part is a {type(part).__name__}{length}; {WANTED}")
    try:
        x, y = (np.asarray(value) for value in part)
    except ValueError as error:
        raise ValueError(f"source: the {name} part has rows of unequal length ({error})") from None
    check(x.ndim and y.ndim and len(x), "source", f"x {x.shape}, y {y.shape}", WANTED)
    if len(x) != len(y):
        raise ValueError(f"source: x holds {len(x)} examples and y holds {len(y)}")
    return x, y


def _from_dataset(dataset: Any, cache_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a `tf.data.Dataset` into memory."""
    spec = dataset.element_spec
    if isinstance(spec, dict) and {"image", "label"} <= set(spec):
        keys = ("image", "label")
    elif isinstance(spec, tuple | list) and len(spec) == 2:
        keys = (0, 1)
    else:
        raise ValueError(f"source: a tf.data.Dataset of {spec}; needs elements (x, y)")
    batched = len(spec[keys[1]].shape) > 0
    xs, ys, size = [], [], 0
    for element in dataset.as_numpy_iterator():
        x, y = np.asarray(element[keys[0]]), np.asarray(element[keys[1]])
        xs.append(x if batched else x[None])
        ys.append(y if batched else y[None])
        size += x.nbytes
        if size > cache_bytes:
            raise ValueError(
                f"source: the tf.data.Dataset holds more than cache_bytes={cache_bytes:,}; raise "
                "cache_bytes if the memory is there, take() a part, or pass it to fit() directly"
            )
    check(xs, "source", dataset, "the tf.data.Dataset is empty")
    shapes = {x.shape[1:] for x in xs}
    check(
        len(shapes) == 1,
        "source",
        f"examples of shapes {sorted(shapes)[:3]}",
        "all examples need one shape: resize them in the tf.data.Dataset",
    )
    return np.concatenate(xs), np.concatenate(ys)
