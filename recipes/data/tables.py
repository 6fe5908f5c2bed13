"""Tables: rows of numbers and categories, one column of which is to be predicted.

Model inputs are float32 (n, features): numbers standardised by the training part's mean and
standard deviation (missing ones take its median), each category one column of zeros and ones
(missing or never seen in training: all zeros). Targets are class labels int32 (n,) or, for a
regression, float32 (n, 1) standardised by the training part.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check, unknown
from recipes.data import arrays, tfds
from recipes.data.core import Data, Source, assemble, check_options, labels_and_names, split

MAX_CATEGORIES = 100  # of one column; more is a name or an identifier, not a category
MAX_NUMBERS = 20  # different whole numbers in a target; more is a quantity, not a class
EXTENSIONS = (".csv", ".tsv", ".parquet")


class TableTransform:
    """Rows of a table to model inputs.

    Args:
        numbers: column to [median, mean, standard deviation] over the training part; a column
            that does not vary there has a deviation of 0, and becomes zeros.
        categories: column to its values in the training part, in order.
        target: [mean, standard deviation] of a regression's target, or None.
    """

    def __init__(
        self,
        numbers: dict[str, list[float]],
        categories: dict[str, list[str]],
        target: list[float] | None = None,
    ):
        self.numbers, self.categories, self.target = numbers, categories, target

    @property
    def feature_names(self) -> list[str]:
        """Names of the model's inputs, in order."""
        of_categories = [f"{c}={v}" for c, values in self.categories.items() for v in values]
        return [*self.numbers, *of_categories]

    def __call__(self, raw: Any) -> np.ndarray:
        """Rows as a pandas frame -> float32 (n, features)."""
        inputs = np.zeros((len(raw), len(self.feature_names)), "float32")
        for i, (name, (median, mean, std)) in enumerate(self.numbers.items()):
            values = _floats(raw[name])
            values[~np.isfinite(values)] = median
            if std:
                inputs[:, i] = (values - mean) / std
        start = len(self.numbers)
        for name, known in self.categories.items():
            number = {value: start + i for i, value in enumerate(known)}
            found = np.array([number.get(text, -1) for text in _texts(raw[name])])
            rows = np.flatnonzero(found >= 0)
            inputs[rows, found[rows]] = 1.0
            start += len(known)
        return inputs

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """CSV, TSV or Parquet files -> model inputs, as `recipes predict` does.

        Raises:
            ValueError: no files, one that cannot be read, or a column missing or without numbers.
        """
        import pandas

        check(len(paths), "paths", paths, "needs at least one file")
        tables = [read_file(path) for path in paths]
        for path, table in zip(paths, tables, strict=True):
            for name in [*self.numbers, *self.categories]:
                if name not in table:
                    raise ValueError(
                        f"{path}: no column {name!r}, which the model was trained on; "
                        f"columns: {', '.join(table.columns)}"
                    )
        return self(pandas.concat(tables, ignore_index=True))

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {"numbers": self.numbers, "categories": self.categories, "target": self.target}


TRANSFORM = TableTransform


def _floats(column: Any) -> np.ndarray:
    """A column of numbers as float64; missing values are NaN."""
    import pandas

    try:
        return pandas.to_numeric(column).to_numpy("float64", na_value=np.nan, copy=True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"column {column.name!r} must hold numbers ({error})") from None


def _texts(column: Any) -> list[str | None]:
    """A column of categories as texts; missing values are None."""
    missing = column.isna()
    return [None if gone else str(v) for v, gone in zip(column, missing, strict=True)]


def is_table(path: str | Path) -> bool:
    """Whether a file's name is that of a table."""
    return Path(path).suffix.lower() in EXTENSIONS


def read_file(path: str | Path) -> Any:
    """A CSV, TSV or Parquet file as a pandas frame.

    Commas, semicolons and tabs are told apart by the first line of a CSV file, and decimal commas
    by the second. An empty field, `?`, and what pandas takes for missing are missing values.

    Raises:
        ValueError: no such file, another type, or not readable as a table.
    """
    import pandas

    path = Path(path)
    kind = path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if kind not in EXTENSIONS:
        raise ValueError(f"{path}: no table ({', '.join(EXTENSIONS)})")
    try:
        if kind == ".parquet":
            table = pandas.read_parquet(path)
        else:
            with open(path, encoding="utf-8-sig") as file:  # -sig: Excel begins with a mark
                head, row = file.readline(), file.readline()
            separator = "\t" if kind == ".tsv" else max(",;\t", key=head.count)
            comma = separator == ";" and re.search(r"\d,\d", row)
            table = pandas.read_csv(
                path,
                sep=separator,
                decimal="," if comma else ".",
                na_values=["?"],
                skipinitialspace=True,
                encoding="utf-8-sig",
            )
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are of these types
        raise ValueError(f"{path}: not readable as a table ({error})") from None
    if not len(table):
        raise ValueError(f"{path}: the table has no rows")
    table.columns = [str(column) for column in table.columns]
    if kind != ".parquet" and any(re.fullmatch(r"-?\d*\.\d+", name) for name in table.columns):
        raise ValueError(f"{path}: the first line holds numbers; it must name the columns")
    return table


def _sklearn(name: str, licence: str, citation: str, **options: Any) -> Source:
    import sklearn.datasets

    found = getattr(sklearn.datasets, f"load_{name}")(as_frame=True, **options)
    names = found.get("target_names")
    names = None if names is None else tuple(map(str, names))
    return Source(name, found.data, found.target.to_numpy(), names, None, None, licence, citation)


def _xor() -> Source:
    """All four rows of the function, which are the training, the validation and the test part."""
    import pandas

    table = pandas.DataFrame({"x0": [0, 0, 1, 1], "x1": [0, 1, 0, 1]})
    rows = np.arange(4)
    return Source("xor", table, np.array([0, 1, 1, 0]), None, rows, rows, "none needed", "by hand")


_UCI = "CC BY 4.0 (UCI)"
EMBEDDED = {
    "iris": lambda: _sklearn(
        "iris", _UCI, "Fisher 1936, The use of multiple measurements in taxonomic problems"
    ),
    "wine": lambda: _sklearn("wine", _UCI, "Forina et al., PARVUS; Aeberhard & Forina 1992, UCI"),
    "breast_cancer": lambda: _sklearn(
        "breast_cancer", _UCI, "Street, Wolberg & Mangasarian 1993, Nuclear feature extraction"
    ),
    # Unscaled: scikit-learn's scaling takes mean and deviation over all rows, the test part's too.
    "diabetes": lambda: _sklearn(
        "diabetes",
        "not stated; distributed with scikit-learn",
        "Efron, Hastie, Johnstone & Tibshirani 2004, Least angle regression",
        scaled=False,
    ),
    "xor": _xor,
}


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    target: str | None = None,
    ignore: Sequence[str] = (),
    task: str = "auto",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    class_names: Sequence[str] | None = None,
    data_dir: str | None = None,
    cache_bytes: int = 2**31,
) -> Data:
    """Load a table.

    Args:
        source: an embedded set ("iris", "wine", "breast_cancer", "diabetes", or "xor": four rows
            of 0 and 1 as they are, in every part), the name of a TensorFlow Datasets set, a CSV,
            TSV or Parquet file, a pandas frame, arrays (x, y), or a `tf.data.Dataset`.
        batch_size: rows in a batch.
        seed: of the splits and of the order.
        target: column to predict, for files and frames; by default the last one.
        ignore: columns to leave out, such as an identifier.
        task: "classification", "regression", or "auto": regression where the target holds
            fractions or more than 20 different numbers.
        validation_fraction: share of the rows, where the source has no such part.
        test_fraction: likewise.
        class_names: names of the classes 0, 1, ...; for arrays.
        data_dir: where TensorFlow Datasets are prepared; default `TFDS_DATA_DIR`, then
            `~/tensorflow_datasets`.
        cache_bytes: a larger `tf.data.Dataset` is refused.

    Returns:
        `Data` whose batches are x float32 (n, features) and y int32 (n,) for classes, float32
        (n, 1), standardised, for a regression.

    Raises:
        ValueError: a source that is not there or holds no table, or an option out of its range.
    """
    common = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    check_options(batch_size=batch_size, seed=seed, **common)
    tasks = ("auto", "classification", "regression")
    check(task in tasks, "task", task, f"must be one of {', '.join(tasks)}")
    check(isinstance(ignore, tuple | list), "ignore", ignore, "must be a list of columns")
    origin = arrays.origin_of(source)
    ours, is_file = origin == "arrays", origin == "name" and is_table(source)
    check(class_names is None or ours, "class_names", class_names, "is for arrays only")
    choice = target is None or is_file or origin == "frame"
    check(choice, "target", target, "only a file or a frame has a choice of columns")

    if ours:
        found = _from_arrays(source, class_names, cache_bytes)
    elif origin == "frame":
        found = _from_frame(source, "frame", target)
    elif source in EMBEDDED:
        found = EMBEDDED[source]()
    elif is_file:
        found = _from_frame(read_file(source), Path(source).name, target)
    else:
        found = tfds.read_table(source, data_dir)
    for name in ignore:
        if name not in found.x:
            raise unknown("column to ignore", name, found.x.columns)
    found.x = found.x.drop(columns=list(ignore))
    _set_task(found, task)

    regression = found.class_names is None
    if isinstance(source, str) and source == "xor":
        parts = dict.fromkeys(("train", "validation", "test"), found.test)
        target = [0.0, 1.0] if regression else None
        transform = TableTransform({name: [0.0, 0.0, 1.0] for name in found.x}, {}, target)
    else:
        parts = split(found, **common, seed=seed)
        known = found.x.iloc[parts["train"]]
        transform = _fit(known, found.y[parts["train"]] if regression else None)
    if not transform.feature_names:
        raise ValueError(f"{found.name}: no column beside the target holds anything")
    found.x = transform(found.x)  # once: rows are small
    if regression:
        mean, std = transform.target
        found.y = ((found.y - mean) / std).astype("float32").reshape(-1, 1)
    return assemble(
        found,
        "tables",
        parts,
        transform,
        {
            "input_shape": found.x.shape[1:],
            "num_classes": None if regression else len(found.class_names),
        },
        batch_size=batch_size,
        seed=seed,
        of_batch=np.asarray,  # its rows are ready
    )


def _fit(table: Any, target: np.ndarray | None) -> TableTransform:
    """The transform by the training part."""
    numbers, categories = {}, {}
    for name in table.columns:
        column = table[name]
        if column.dtype.kind in "mM":
            raise ValueError(
                f"column {name!r} holds dates or times: turn it into numbers, or ignore=[{name!r}]"
            )
        if column.dtype.kind in "iufb":
            values = _floats(column)
            values = values[np.isfinite(values)]
            if len(values) and values.min() < values.max():
                numbers[name] = [float(f(values)) for f in (np.median, np.mean, np.std)]
            else:  # it tells nothing
                numbers[name] = [0.0, 0.0, 0.0]
        else:
            known = sorted({text for text in _texts(column) if text is not None})
            if len(known) > MAX_CATEGORIES:
                raise ValueError(
                    f"column {name!r} has {len(known)} different texts, more than "
                    f"{MAX_CATEGORIES}: ignore=[{name!r}] if it is a name, a date or an "
                    "identifier, or turn it into numbers"
                )
            categories[name] = known
    scale = None if target is None else [float(target.mean()), float(target.std()) or 1.0]
    return TableTransform(numbers, categories, scale)


def _from_arrays(source: Any, class_names: Sequence[str] | None, cache_bytes: int) -> Source:
    import pandas

    x, y, parts = arrays.read(source, cache_bytes)
    if x.ndim != 2 or x.dtype.kind not in "iufb":
        raise ValueError(
            f"x has shape {x.shape} and type {x.dtype}; a table needs numbers, (n, features); "
            "with categories, give one pandas frame with the target among its columns"
        )
    table = pandas.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    return Source("arrays", table, y, class_names, **parts)


def _from_frame(table: Any, name: str, target: str | None) -> Source:
    table = table.set_axis([str(column) for column in table.columns], axis=1)
    twice = table.columns[table.columns.duplicated()]
    check(not len(twice), "source", name, f"has more than one column {', '.join(twice)}")
    target = table.columns[-1] if target is None else target
    if target not in table:
        raise unknown("target", target, table.columns)
    table = table[table[target].notna()].reset_index(drop=True)  # no target, no use
    check(len(table), "target", target, "this column has no values")
    y = table.pop(target)
    check(len(table.columns), "source", name, f"has no column beside the target {target!r}")
    y = y.to_numpy() if y.dtype.kind in "iufb" else np.array(_texts(y))
    return Source(name, table, y)


def _set_task(found: Source, task: str) -> None:
    """Turn the target into class labels with names, or into numbers float64 without."""
    y = np.asarray(found.y)
    numbers = y.dtype.kind in "iuf" and y.size == len(y) and found.class_names is None
    if numbers and task == "auto":
        fractions = y.dtype.kind == "f" and (y != np.floor(y)).any()
        task = "regression" if fractions or len(np.unique(y)) > MAX_NUMBERS else "classification"
    if task != "regression":
        found.y, found.class_names = labels_and_names(y, found.class_names)
        return
    wanted = f"needs one number an example, without class names; the target is {y.dtype} {y.shape}"
    check(numbers, "task", task, wanted)
    found.y = y.reshape(len(y)).astype("float64")
    if not np.isfinite(found.y).all():
        raise ValueError(f"{found.name}: the target holds NaN or infinity")
