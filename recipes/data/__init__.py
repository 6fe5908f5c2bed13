"""Data for every family: one `Data` from an embedded set, a TensorFlow Datasets name, or your own.

A kind of data is one module here (`images`, `tables`) with `EMBEDDED` (name to reader) and
`load(source, **options) -> Data`.
"""

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from recipes.contract import unknown

KINDS = ("images", "tables")


def module_of(kind: str) -> ModuleType:
    """The module of a kind of data."""
    return importlib.import_module(f"recipes.data.{kind}")


def embedded(kinds: Sequence[str] = KINDS) -> list[str]:
    """Names of the real data sets that need no download."""
    return [name for kind in kinds for name in module_of(kind).EMBEDDED]


def options_of(kinds: Sequence[str]) -> dict[str, inspect.Parameter]:
    """The options of `load` over some kinds, by name."""
    options: dict[str, inspect.Parameter] = {}
    for kind in kinds:
        parameters = inspect.signature(module_of(kind).load).parameters
        options |= {name: p for name, p in parameters.items() if name != "source"}
    return options


def kind_of(source: Any, kinds: Sequence[str], data_dir: str | None = None) -> str:
    """The kind of data that a source holds; see `load`."""
    from recipes.data import arrays, tables, tfds

    for kind in KINDS:
        if isinstance(source, str) and source in module_of(kind).EMBEDDED:
            return kind
    if hasattr(source, "columns"):  # a pandas frame
        return "tables"
    if arrays.is_arrays(source):
        # Rows of numbers are a table; what no kind fits is left to the first kind's own message.
        rank = _rank(source)
        return "tables" if rank == 2 else "images" if rank in (3, 4) else kinds[0]
    if not isinstance(source, str | Path):
        raise ValueError(
            f"source is a {type(source).__name__}; needs the name of a data set, a file or folder, "
            f"arrays (x, y), a pandas frame or a tf.data.Dataset. Embedded: {', '.join(embedded())}"
        )
    path = Path(source).expanduser()
    if not tfds.is_prepared(str(source), data_dir):
        if path.is_dir():
            return "images"
        if path.is_file() or path.suffix in tables.EXTENSIONS:
            return "tables"
    return tfds.keys_of(tfds.builder(str(source), data_dir).info)[0]


def _rank(source: Any) -> int:
    """Number of axes of x in arrays or a `tf.data.Dataset`, the batch included."""
    if isinstance(source, dict):
        source = next(iter(source.values()), ())
    if hasattr(source, "element_spec"):
        spec = source.element_spec
        if isinstance(spec, dict):
            spec = (spec.get("image"), spec.get("label"))
        if not isinstance(spec, tuple | list) or len(spec) != 2 or None in spec:
            return 0
        return len(spec[0].shape) + (len(spec[1].shape) == 0)
    import numpy as np

    while isinstance(source, tuple | list) and len(source):
        if hasattr(source[0], "element_spec"):
            return _rank(source[0])
        if hasattr(source[0], "ndim"):
            return source[0].ndim
        if isinstance(source[0], list):
            try:
                return np.ndim(source[0])
            except ValueError:
                return 0
        source = source[0]
    return 0


def load(source: Any, kinds: Sequence[str], **options: Any) -> Any:
    """Load a source as whichever of `kinds` it holds.

    Tried in this order: an embedded name; a TensorFlow Datasets name; a folder, CSV, TSV or
    Parquet file; arrays (x, y), a `tf.data.Dataset`, a pandas frame. A `Data` passes as it is.

    Args:
        source: see above.
        kinds: kinds of data that the family takes, such as ("images",).
        **options: those of `recipes.data.<kind>.load`.

    Raises:
        ValueError: no such source, of another kind, or an option that the kind does not have.
    """
    from recipes.data.core import Data

    if isinstance(source, Data):
        return source
    if isinstance(source, Path):
        source = str(source)
    if isinstance(source, str) and source.startswith("~"):
        source = str(Path(source).expanduser())
    kind = kind_of(source, kinds, options.get("data_dir"))
    if kind not in kinds:
        raise ValueError(
            f"source={_short(source)} holds {kind}; this family takes {' or '.join(kinds)}. "
            f"Embedded: {', '.join(embedded(kinds))}"
        )
    known = options_of((kind,))
    for name in options:
        if name not in known:
            raise unknown(f"option of {kind}", name, known)
    data = module_of(kind).load(source, **options)
    if isinstance(source, str):
        data.source = {"source": source, **options}
    return data


def _short(source: Any) -> str:
    return repr(source) if isinstance(source, str) else f"<{type(source).__name__}>"
