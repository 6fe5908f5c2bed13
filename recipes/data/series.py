"""Time series: windows of the past as inputs, and what follows them as targets.

Model inputs are float32 (n, window, features), targets float32 (n, horizon), or (n, horizon,
targets) where there are several. The parts follow one another in time: no target value is in two
of them, and a window may look back over a border, as a forecast does. Each column is scaled by
statistics of the training part's rows alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recipes.contract import check, unknown
from recipes.data import arrays, tables, tfds
from recipes.data.core import Data, Source, assemble, check_options

SCALINGS = ("standard", "minmax", "none")
FILLS = ("error", "previous")


class SeriesTransform:
    """Raw windows to model inputs, and forecasts back to the units of the series.

    Args:
        columns: names of the features, the targets first.
        num_targets: how many of them are forecast.
        window: time steps of an input.
        horizon: time steps of a forecast.
        offset: of each column, subtracted.
        scale: of each column, divided by.
        season: time steps after which the series repeats; 1 for none.
        naive_error: of each target, the mean absolute error over the training part, in the units
            of the series, of the forecast that repeats the value of one season before.
    """

    def __init__(
        self,
        columns: Sequence[str],
        num_targets: int,
        window: int,
        horizon: int,
        offset: Sequence[float],
        scale: Sequence[float],
        season: int,
        naive_error: Sequence[float],
    ):
        self.columns, self.num_targets = list(columns), num_targets
        self.window, self.horizon, self.season = window, horizon, season
        self.offset, self.scale, self.naive_error = list(offset), list(scale), list(naive_error)

    @property
    def target(self) -> list[float]:
        """[offset, scale] of the first target, as a table's regression has it."""
        return [self.offset[0], self.scale[0]]

    def __call__(self, raw: Any) -> np.ndarray:
        """Values (..., features), in the units of the series -> the same shape, float32.

        Raises:
            ValueError: another number of features, or values that are missing.
        """
        raw = np.asarray(raw, "float64")
        fits = raw.shape[-1:] == (len(self.columns),)
        wanted = f"needs the features {', '.join(self.columns)} on its last axis"
        check(fits, "raw", f"array of shape {raw.shape}", wanted)
        check(np.isfinite(raw).all(), "raw", "an array", "holds NaN or infinity")
        return ((raw - self.offset) / self.scale).astype("float32")

    def inverse(self, y: Any) -> np.ndarray:
        """Targets or forecasts (n, horizon[, targets]) in the units of the series, float64."""
        y = np.asarray(y, "float64")
        count = self.num_targets
        offset, scale = np.array(self.offset[:count]), np.array(self.scale[:count])
        return y * scale + offset if count > 1 else y * scale[0] + offset[0]

    def naive(self, x: Any, season: int | None = None) -> np.ndarray:
        """The seasonal naive forecast: each value as it was one season before.

        Args:
            x: model inputs (n, window, features).
            season: time steps; default the series' own; 1 repeats the last value (persistence).

        Returns:
            Forecasts as the targets are, (n, horizon[, targets]).

        Raises:
            ValueError: a season longer than the window.
        """
        season = self.season if season is None else season
        inside = 1 <= season <= np.shape(x)[1]
        check(inside, "season", season, f"must be in 1 .. {np.shape(x)[1]}, the window")
        steps = np.arange(self.horizon) % season - season  # y(t + h) = x(t + h - k season)
        found = np.asarray(x)[:, steps, : self.num_targets]
        return found if self.num_targets > 1 else found[..., 0]

    def mase(self, y: Any, forecast: Any) -> float:
        """Mean absolute scaled error of forecasts, both scaled as the targets are.

        The mean absolute error over `naive_error`, the mean over the targets: below 1 is better
        than the seasonal naive forecast, one step ahead within its reach, was on the training
        part (Hyndman & Koehler 2006, Another look at measures of forecast accuracy).
        """
        error = np.abs(self.inverse(forecast) - self.inverse(y))
        error = error.reshape(*error.shape[:2], self.num_targets).mean(axis=(0, 1))
        return float((error / self.naive_error).mean())

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """The last window of each CSV, TSV or Parquet file -> model inputs (n, window, features).

        Raises:
            ValueError: no files, one that cannot be read, a column that is missing, or too few
                rows.
        """
        check(len(paths), "paths", paths, "needs at least one file")
        found = []
        for path in paths:
            table = tables.read_file(path)
            for name in self.columns:
                if name not in table:
                    raise unknown(f"{path}: column", name, table.columns)
            rows = table[self.columns].to_numpy("float64")
            wanted = f"this model takes a window of {self.window} rows"
            check(len(rows) >= self.window, str(path), f"{len(rows)} rows", wanted)
            found.append(rows[-self.window :])
        return self(np.stack(found))

    def get_config(self) -> dict:
        """The constructor's arguments."""
        names = ("columns", "num_targets", "window", "horizon", "offset", "scale", "season")
        return {name: getattr(self, name) for name in (*names, "naive_error")}


TRANSFORM = SeriesTransform


def _sunspots() -> Any:
    from statsmodels.datasets import sunspots

    return sunspots.load_pandas().data[["SUNACTIVITY"]]  # the years are its other column


def _co2() -> Any:
    from statsmodels.datasets import co2

    return co2.load_pandas().data


EMBEDDED = {"sunspots": _sunspots, "co2": _co2}
DEFAULTS = {
    "sunspots": {"window": 33, "horizon": 1, "season": 11, "fill": "error"},
    "co2": {"window": 104, "horizon": 13, "season": 52, "fill": "previous"},
}
GENERAL = {"window": 32, "horizon": 1, "season": 1, "fill": "error"}
CITATIONS = {
    "sunspots": "National Geophysical Data Center, yearly sunspot activity; from statsmodels",
    "co2": "Keeling & Whorf 2004, Atmospheric CO2 concentrations at Mauna Loa; from statsmodels",
}


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    window: int | None = None,
    horizon: int | None = None,
    stride: int = 1,
    target: str | Sequence[str] | None = None,
    covariates: Sequence[str] = (),
    scaling: str = "standard",
    season: int | None = None,
    fill: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
) -> Data:
    """Load a time series.

    Embedded are "sunspots", their yearly number from 1700 to 2008, and "co2", parts per million at
    Mauna Loa each week from March 1958 to December 2001. Of co2 59 of 2,284 weeks are missing, all
    before 1986; each takes the value of the week before it (fill="previous").

    Args:
        source: "sunspots", "co2", a CSV, TSV or Parquet file, a pandas frame or series, or an
            array (T,) or (T, features), a row a time step, the oldest first.
        batch_size: windows in a batch.
        seed: of the training part's order.
        window: time steps of an input; default 33 for sunspots, 104 for co2, otherwise 32.
        horizon: time steps to forecast; default 13 for co2, otherwise 1.
        stride: time steps from one window to the next.
        target: column or columns to forecast; by default all columns of numbers that are no
            covariates. Columns of an array are "x0", "x1", ...
        covariates: further columns that inputs hold, and targets do not.
        scaling: by the training part's rows: "standard" (mean 0, deviation 1), "minmax" (0 to 1)
            or "none".
        season: time steps after which the series repeats, for MASE and the naive forecast; default
            11 for sunspots, 52 for co2, otherwise 1.
        fill: what to do with missing values: "error", or "previous": the last value before them,
            so that no value of the future is in a window.
        validation_fraction: share of the time steps, the last ones before the test part.
        test_fraction: share of the time steps, the last ones.

    Returns:
        `Data` whose batches are x float32 (n, window, features) and y float32 (n, horizon), or
        (n, horizon, targets) for several targets.

    Raises:
        ValueError: a source that is not there, missing values, rows out of order, a window longer
            than the series, or an option out of its range.
    """
    common = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    check_options(batch_size=batch_size, seed=seed, **common)
    name = source if isinstance(source, str) and source in EMBEDDED else None
    given = {"window": window, "horizon": horizon, "season": season, "fill": fill}
    given = {n: v for n, v in given.items() if v is not None}
    options = {**DEFAULTS.get(name, GENERAL), **given}
    fill = options.pop("fill")
    for option, value in {**options, "stride": stride}.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        check(whole, option, value, "must be a positive integer")
    for option, value, known in (("scaling", scaling, SCALINGS), ("fill", fill, FILLS)):
        check(value in known, option, value, f"must be one of {', '.join(known)}")
    check(isinstance(covariates, tuple | list), "covariates", covariates, "must be a list")
    total = validation_fraction + test_fraction
    check(total < 1, "validation_fraction + test_fraction", total, "must be less than 1")
    check(test_fraction > 0, "test_fraction", test_fraction, "must be more than 0")

    label, table = _read(source)
    columns, count = _columns(table, target, covariates)
    values = _values(table, columns, fill, label)
    window, horizon, season = (options[n] for n in ("window", "horizon", "season"))
    ends = [len(values) - round(f * len(values)) for f in (total, test_fraction)]
    parts = _parts(len(values), ends, window, horizon, stride, bool(validation_fraction))

    train = values[: ends[0]]
    wanted = f"must be less than the training part's {len(train)} time steps"
    check(season < len(train), "season", season, wanted)
    offset, scale = _scaling(train, scaling)
    naive = np.abs(train[season:, :count] - train[:-season, :count]).mean(axis=0)
    transform = SeriesTransform(
        columns,
        count,
        window,
        horizon,
        offset.tolist(),
        scale.tolist(),
        season,
        np.where(naive > 0, naive, 1.0).tolist(),
    )
    scaled = transform(values)
    # Views: a batch alone is copied. (n, features, window) -> (n, window, features)
    x = sliding_window_view(scaled[:-horizon], window, axis=0).transpose(0, 2, 1)
    y = sliding_window_view(scaled[window:, :count], horizon, axis=0).transpose(0, 2, 1)
    spec = {"input_shape": (window, len(columns)), "task": "forecasting", "horizon": horizon}
    if count > 1:
        spec["num_targets"] = count
    found = Source(label, x, y if count > 1 else y[..., 0])
    if name:
        found.licence, found.citation = "public domain", CITATIONS[name]
    return assemble(
        found,
        "series",
        parts,
        transform,
        spec,
        batch_size=batch_size,
        seed=seed,
        of_batch=np.asarray,  # they are scaled
    )


def _read(source: Any) -> tuple[str, Any]:
    """A name, and a pandas frame in order of time."""
    import pandas

    origin = arrays.origin_of(source)
    if origin == "frame":
        return "frame", _in_order(source.set_axis(map(str, source.columns), axis=1))
    if isinstance(source, pandas.Series):
        return str(source.name or "series"), _in_order(source.to_frame(str(source.name or "x0")))
    if origin == "arrays":
        wanted = "needs one array (T,) or (T, features), a row a time step"
        alone = not (isinstance(source, tuple | dict) or arrays.is_dataset(source))
        check(alone, "source", f"a {type(source).__name__}", wanted)
        try:
            values = np.asarray(source)
        except ValueError:
            raise ValueError(f"source: rows of unequal length; {wanted}") from None
        values = values[:, None] if values.ndim == 1 else values
        fits = values.ndim == 2 and values.size and values.dtype.kind in "iufb"
        check(fits, "source", f"{values.dtype} array of shape {values.shape}", wanted)
        names = [f"x{i}" for i in range(values.shape[1])]
        return "array", pandas.DataFrame(values, columns=names)
    if source in EMBEDDED:
        return source, EMBEDDED[source]()
    if not tables.is_table(source):
        tfds.builder(source)  # says what is not there
        raise ValueError(f"source={source!r} holds no series; needs a table, a frame or an array")
    return Path(source).name, _in_order(tables.read_file(source))


def _in_order(table: Any) -> Any:
    """The same frame, once its index or first column, where these are times, is seen to ascend."""
    import pandas

    times = table.index if isinstance(table.index, pandas.DatetimeIndex) else None
    if times is None and len(table.columns) and table.dtypes.iloc[0].kind not in "iufb":
        first = table.iloc[:, 0]
        times = pandas.DatetimeIndex(pandas.to_datetime(first, errors="coerce", format="mixed"))
        times = None if times.isna().any() else times
    wanted = "its rows must be in order of time, the oldest first"
    ascends = times is None or times.is_monotonic_increasing
    check(ascends, "source", "a table with dates out of order", wanted)
    return table


def _columns(
    table: Any, target: str | Sequence[str] | None, covariates: Sequence[str]
) -> tuple[list[str], int]:
    """Names of the columns that are used, targets first, and how many are targets."""
    numbers = [c for c in table.columns if table[c].dtype.kind in "iufb"]
    if target is None:
        target = [c for c in numbers if c not in covariates]
    targets = [target] if isinstance(target, str) else list(target)
    check(targets, "target", target, "needs at least one column of numbers")
    columns = [*targets, *covariates]
    for name in columns:
        if name not in table:
            raise unknown("column", name, table.columns)
        check(name in numbers, "column", name, "must hold numbers")
    check(len(set(columns)) == len(columns), "columns", columns, "one is given twice")
    return columns, len(targets)


def _values(table: Any, columns: list[str], fill: str, label: str) -> np.ndarray:
    """The columns as float64 (T, features) without gaps."""
    import pandas

    values = table[columns].to_numpy("float64", na_value=np.nan)
    if fill == "previous":
        values = pandas.DataFrame(values).replace([np.inf, -np.inf], np.nan).ffill().to_numpy()
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        first = "; there is no value before it" if fill == "previous" else ""
        hint = "" if first else "; fill='previous' repeats the last value before each gap"
        raise ValueError(
            f"{label}: {int(bad.sum())} missing or infinite value(s), the first in row {row} of "
            f"column {columns[column]!r}{first}{hint}"
        )
    return values


def _parts(
    size: int, ends: Sequence[int], window: int, horizon: int, stride: int, validation: bool
) -> dict[str, np.ndarray]:
    """Windows of each part, by the time step that they begin at.

    The targets of window i are the time steps i + window .. i + window + horizon - 1, all of which
    lie in one part.
    """
    if window + horizon > ends[0]:
        raise ValueError(
            f"window={window}: with horizon={horizon} longer than the training part, {ends[0]} of "
            f"the series' {size} time steps"
        )
    borders = [0, *ends, size]
    parts = {}
    for i, name in enumerate(("train", "validation", "test")):
        first, last = max(borders[i] - window, 0), borders[i + 1] - window - horizon
        parts[name] = np.arange(first, last + 1, stride)
        wanted = f"must be at most {borders[i + 1] - borders[i]}, the {name} part's time steps"
        check(len(parts[name]) or (i == 1 and not validation), "horizon", horizon, wanted)
    return parts


def _scaling(train: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """What each column is lessened and divided by."""
    if scaling == "none":
        return np.zeros(train.shape[1]), np.ones(train.shape[1])
    if scaling == "minmax":
        offset, scale = train.min(axis=0), np.ptp(train, axis=0)
    else:
        offset, scale = train.mean(axis=0), train.std(axis=0)
    return offset, np.where(scale > 0, scale, 1.0)  # a column of one value
