"""Data for every family: one `Data` from an embedded set, a TensorFlow Datasets name, or your own.

A kind of data is one module here (`images`, `tables`, `patterns`, `series`, `text`, `corpus`,
`pairs`, `audio`, `environments`, `graphs`) with `EMBEDDED` (name to reader), `load(source,
**options) -> Data`, and `TRANSFORM`, the class that prepares its examples.
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from recipes.contract import unknown

KINDS = (
    "images", "tables", "patterns", "series", "text", "corpus", "pairs", "audio", "environments",
    "graphs",
)  # fmt: skip


def module_of(kind: str) -> ModuleType:
    """The module of a kind of data.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise unknown("kind of data", kind, KINDS)
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


def transform_from_config(kind: str, config: Mapping[str, Any]) -> Any:
    """The transform of a kind of data, made again from its `get_config()`."""
    return module_of(kind).TRANSFORM(**config)


def load(source: Any, kinds: Sequence[str], *, kind: str | None = None, **options: Any) -> Any:
    """Load a source as whichever of `kinds` it holds.

    A text is, in this order: an embedded set, a prepared TensorFlow Datasets set, a folder or a
    file. A `Path` is a file or folder only. What a folder, a file, a frame or a list holds is for
    `kinds` to say; where several would do, the first one that has all the options, or `kind`.

    Args:
        source: a name or path; arrays (x, y), a `tf.data.Dataset`, a pandas frame; lists of texts
            or of paths. A `Data` passes as it is.
        kinds: kinds of data that the family takes, such as ("images",).
        kind: one of them, for a source that could be several: a file of two columns can hold
            "pairs", or "text" with its class.
        **options: those of `recipes.data.<kind>.load`.

    Raises:
        ValueError: no such source, of another kind, or an option that the kind does not have.
    """
    from recipes.data import arrays
    from recipes.data.core import Data

    if isinstance(source, Path):
        source = str(source.expanduser().absolute())
    elif isinstance(source, str) and source.startswith("~"):
        source = str(Path(source).expanduser())
    options = {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}
    chosen = {} if kind is None else {"kind": kind}
    if chosen:
        if kind not in kinds:
            raise unknown("kind", kind, kinds)
        kinds = (kind,)
    known = options_of(kinds)
    for name in options:
        if name not in known:
            raise unknown(f"option of {' and '.join(kinds)}", name, known)
    kind = source.kind if isinstance(source, Data) else _kind_of(source, kinds, options)
    if kind == "images" and "patterns" in kinds and not isinstance(source, Data):
        kind = "patterns"  # which they are turned into
    if kind not in kinds:
        what = repr(source) if isinstance(source, str) else f"<{type(source).__name__}>"
        raise ValueError(
            f"source={what} holds {kind}; this family takes {' or '.join(kinds)}, "
            f"embedded: {', '.join(embedded(kinds))}"
        )
    if isinstance(source, Data):
        return source
    for name in options:
        if name not in options_of((kind,)):
            raise unknown(f"option of {kind}", name, options_of((kind,)))
    data = module_of(kind).load(source, **options)
    if isinstance(source, str) and not _is_text(source, kinds):
        data.source = {"source": source, **chosen, **options}
    elif kind in ("text", "pairs") and arrays.are_files(source):
        data.source = {"source": arrays.as_texts(source), **chosen, **options}
    return data


def _is_text(source: str, kinds: Sequence[str]) -> bool:
    """Whether this is a text itself, not a name or a path: it has more than one line."""
    return "corpus" in kinds and "\n" in source


def _kind_of(source: Any, kinds: Sequence[str], options: Mapping[str, Any]) -> str:
    """The kind of data that a source holds."""
    from recipes.data import arrays, audio, environments, tables, tfds

    if "environments" in kinds and callable(source):
        return "environments"
    fitting = [kind for kind in kinds if set(options) <= set(options_of((kind,)))]

    def first(*held: str) -> str:
        """The first kind that fits among those that it could hold; else the first of these."""
        some = [kind for kind in fitting if kind in held] or [k for k in kinds if k in held]
        return (some or held)[0]

    if "graphs" in kinds and not isinstance(source, str):
        return "graphs"
    origin = arrays.origin_of(source)
    if origin == "frame":
        return first("tables", "series", "text")
    if origin == "arrays" and "patterns" in kinds:
        return "patterns"  # by its axes an array could be a table or images just as well
    if origin == "arrays":
        if "audio" in kinds and arrays.holds_recordings(source):
            return "audio"
        if {"text", "pairs"} & set(kinds) and arrays.holds_texts(source):
            return first("text", "pairs")
        if "series" in kinds and arrays.is_sequence(source):
            return "series"
        # Rows of numbers are a table; what fits no kind is left to the first kind's own message.
        return {2: "tables", 3: "images", 4: "images"}.get(arrays.rank(source), kinds[0])
    if _is_text(source, kinds):
        return "corpus"
    for kind in KINDS:
        if source in module_of(kind).EMBEDDED:
            return kind
    if "graphs" in kinds and Path(source).exists():
        return "graphs"
    data_dir = options.get("data_dir")
    if "environments" in kinds and environments.is_name(source):
        return "environments"
    if not tfds.is_prepared(source, data_dir):
        if "audio" in kinds and audio.has_recordings(Path(source)):
            return "audio"
        if Path(source).is_dir():
            return first("images", "text", "corpus", "audio")
        if tables.is_table(source):
            return first("tables", "series", "text", "pairs", "corpus")
        if Path(source).is_file():
            if {"text", "corpus", "pairs"} & set(kinds):
                return first("text", "corpus", "pairs")
            raise ValueError(
                f"{source}: no table ({', '.join(tables.EXTENSIONS)}); pictures are given as their "
                "folder, with one sub-folder a class"
            )
    return tfds.kind_of(tfds.builder(source, data_dir).info)
