"""Tables: rows of numbers and categories, one column of which is to be predicted.

Model inputs are float32 (n, features): numbers standardised by the training part's mean and
standard deviation (missing ones take its median), each category one column of zeros and ones
(missing or never seen in training: all zeros). Targets are class labels int32 (n,) or, for a
regression, float32 (n, 1) standardised by the training part.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check, unknown
from recipes.data import arrays, tfds
from recipes.data.core import Data, Source, assemble, labels_and_names

MAX_CATEGORIES = 100  # of one column; more is a name or an identifier, not a category
EXTENSIONS = (".csv", ".tsv", ".parquet")


class TableTransform:
    """Rows of a table to model inputs.

    Args:
        numbers: column to [median, mean, standard deviation] over the training part.
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
        """Rows as a pandas frame or a dictionary of columns -> float32 (n, features)."""
        columns = []
        for name, (median, mean, std) in self.numbers.items():
            values = np.asarray(raw[name], "float64")
            values = np.where(np.isfinite(values), values, median)
            columns.append((values - mean) / std)
        for name, known in self.categories.items():
            values = np.asarray(raw[name], dtype=object)
            columns += [np.array([str(v) == k for v in values]) for k in known]
        return np.stack(columns, axis=-1).astype("float32")

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """CSV or Parquet files -> model inputs, as `recipes predict` does."""
        import pandas

        table = pandas.concat([read_file(path) for path in paths], ignore_index=True)
        for name in [*self.numbers, *self.categories]:
            if name not in table:
                raise ValueError(
                    f"{paths[0]}: no column {name!r}, which the model was trained on; "
                    f"columns: {', '.join(map(str, table.columns))}"
                )
        for name in self.numbers:
            table[name] = _as_numbers(table[name], str(paths[0]))
        return self(table)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {"numbers": self.numbers, "categories": self.categories, "target": self.target}


class _Rows:
    """A table that is transformed once and then indexed like an array."""

    def __init__(self, inputs: np.ndarray):
        self.inputs = inputs

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.inputs[indices]


def read_file(path: str | Path) -> Any:
    """A CSV, TSV or Parquet file as a pandas frame.

    Raises:
        ValueError: no such file, another type, or not readable as a table.
    """
    import pandas

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            table = pandas.read_parquet(path)
        elif path.suffix in (".csv", ".tsv"):
            table = pandas.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
        else:
            raise ValueError(f"unknown type {path.suffix!r}; known: {', '.join(EXTENSIONS)}")
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are of these types
        raise ValueError(f"{path}: not readable as a table ({error})") from None
    if not len(table):
        raise ValueError(f"{path}: the table has no rows")
    table.columns = [str(column) for column in table.columns]
    return table


def _as_numbers(column: Any, where: str) -> Any:
    import pandas

    try:
        return pandas.to_numeric(column)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: column {column.name!r} must hold numbers ({error})") from None


def _sklearn(name: str, citation: str) -> Source:
    import sklearn.datasets

    found = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    names = found.get("target_names")
    regression = names is None
    return Source(
        name,
        found.data,
        found.target.to_numpy("float32" if regression else "int32"),
        None if regression else tuple(map(str, names)),
        licence="see the source; distributed with scikit-learn",
        citation=citation,
    )


EMBEDDED = {
    "iris": lambda: _sklearn("iris", "Fisher 1936, The use of multiple measurements"),
    "wine": lambda: _sklearn("wine", "Forina et al. 1988, PARVUS; UCI"),
    "breast_cancer": lambda: _sklearn("breast_cancer", "Street, Wolberg & Mangasarian 1993; UCI"),
    "diabetes": lambda: _sklearn("diabetes", "Efron, Hastie, Johnstone & Tibshirani 2004"),
}


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    target: str | None = None,
    task: str = "auto",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    class_names: Sequence[str] | None = None,
    data_dir: str | None = None,
    cache_bytes: int = 2**31,
) -> Data:
    """Load a table.

    Args:
        source: an embedded set ("iris", "wine", "breast_cancer", "diabetes"), the name of a
            TensorFlow Datasets set, a CSV, TSV or Parquet file, a pandas frame, arrays (x, y),
            or a `tf.data.Dataset`.
        batch_size: rows in a batch.
        seed: of the splits and of the order.
        target: column to predict, for files and frames; by default the last one.
        task: "classification", "regression", or "auto": regression where the target holds
            fractions or more than 20 different numbers.
        validation_fraction: share of the rows, where the source has no such part.
        test_fraction: likewise.
        class_names: names of the classes 0, 1, ...; for arrays.
        data_dir: where TensorFlow Datasets are prepared.
        cache_bytes: a larger `tf.data.Dataset` is refused.

    Returns:
        `Data` whose batches are x float32 (n, features) and y int32 (n,) for classes, float32
        (n, 1), standardised, for a regression.
    """
    tasks = ("auto", "classification", "regression")
    check(task in tasks, "task", task, f"must be one of {', '.join(tasks)}")
    if isinstance(source, str) and source in EMBEDDED:
        found = EMBEDDED[source]()
    elif arrays.is_arrays(source):
        found = _from_arrays(source, task, class_names, cache_bytes)
    elif hasattr(source, "columns"):
        found = _from_frame(source.copy(), "frame", target, task)
    elif Path(source).suffix in EXTENSIONS:
        found = _from_frame(read_file(source), Path(source).name, target, task)
    else:
        found = tfds.read_table(source, data_dir)
    return _assemble(found, batch_size, seed, validation_fraction, test_fraction)


def _assemble(
    found: Source, batch_size: int, seed: int, validation_fraction: float, test_fraction: float
) -> Data:
    """Fit on the training part, transform every row once, and keep the transform for later."""
    fitted: list[TableTransform] = []
    regression = found.class_names is None
    table, target = found.x, found.y
    found.x = _Rows(np.empty((len(target), 0)))

    def fit_transform(rows: _Rows, train: np.ndarray) -> Any:
        transform = _fit(table.iloc[train], target[train] if regression else None)
        rows.inputs = transform(table)
        if regression:
            mean, std = transform.target
            found.y = ((target - mean) / std).astype("float32").reshape(-1, 1)
        fitted.append(transform)
        return np.asarray  # the rows are ready

    def spec(_: Any) -> dict[str, Any]:
        shape = (len(fitted[0].feature_names),)
        if regression:
            return {"input_shape": shape, "num_classes": None}
        return {"input_shape": shape, "num_classes": len(found.class_names)}

    data = assemble(
        found,
        "tables",
        fit_transform,
        spec,
        batch_size=batch_size,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )
    data.transform = fitted[0]
    return data


def _fit(table: Any, target: np.ndarray | None) -> TableTransform:
    numbers, categories = {}, {}
    for name in table.columns:
        column = table[name]
        if column.dtype.kind in "iufb":
            values = column.to_numpy("float64")
            values = values[np.isfinite(values)]
            check(len(values), "column", name, "has no numbers in the training part")
            # A column without variation becomes zeros.
            numbers[name] = [
                float(np.median(values)),
                float(values.mean()),
                float(values.std()) or 1.0,
            ]
        else:
            known = sorted({str(value) for value in column.dropna()})
            if len(known) > MAX_CATEGORIES:
                raise ValueError(
                    f"column {name!r} has {len(known)} different texts, more than "
                    f"{MAX_CATEGORIES}: leave it out if it is a name or an identifier, or turn it "
                    "into numbers"
                )
            categories[name] = known
    scale = None
    if target is not None:
        scale = [float(target.mean()), float(target.std()) or 1.0]
    return TableTransform(numbers, categories, scale)


def _is_regression(y: np.ndarray, task: str) -> bool:
    if task != "auto":
        return task == "regression"
    if y.dtype.kind not in "iuf":
        return False
    return bool((y.dtype.kind == "f" and (y != np.floor(y)).any()) or len(np.unique(y)) > 20)


def _from_arrays(
    source: Any, task: str, class_names: Sequence[str] | None, cache_bytes: int
) -> Source:
    import pandas

    x, y, parts = arrays.read(source, cache_bytes)
    if x.ndim != 2 or x.dtype.kind not in "iufb":
        raise ValueError(
            f"x has shape {x.shape} and type {x.dtype}; a table needs numbers, (n, features)"
        )
    table = pandas.DataFrame(x)
    table.columns = [f"x{i}" for i in range(x.shape[1])]
    return _with_target("arrays", table, y, task, class_names, parts)


def _from_frame(table: Any, name: str, target: str | None, task: str) -> Source:
    table.columns = [str(column) for column in table.columns]
    target = table.columns[-1] if target is None else target
    if target not in table:
        raise unknown("target", target, table.columns)
    y = table.pop(target)
    check(len(table.columns), "source", name, f"has no column beside the target {target!r}")
    table, y = table[y.notna()].reset_index(drop=True), y[y.notna()]  # no target, no use
    check(len(y), "target", target, "has no values")
    y = y.to_numpy() if y.dtype.kind in "iufb" else y.astype(str).to_numpy(object)
    return _with_target(name, table, y, task, None, {})


def _with_target(
    name: str,
    table: Any,
    y: np.ndarray,
    task: str,
    class_names: Sequence[str] | None,
    parts: dict[str, np.ndarray],
) -> Source:
    if y.ndim == 1 or y.shape[1] == 1:
        y = y.reshape(len(y))
        if class_names is None and _is_regression(y, task):
            check(y.dtype.kind in "iufb", "target", y.dtype, "a regression needs numbers")
            check(np.isfinite(y.astype("float64")).all(), "target", name, "holds NaN or infinity")
            return Source(name, table, y.astype("float32"), None, **parts)
    labels, names = labels_and_names(y.astype(str) if y.dtype == object else y, class_names)
    return Source(name, table, labels, names, **parts)
