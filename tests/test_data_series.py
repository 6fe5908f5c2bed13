"""Time series: windows by hand, no leak between the parts, MASE, gaps, bad input."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from recipes import data
from recipes.data import series

SHARED = Path(__file__).parents[2] / "shared" / "data" / "time_series"
LINE = np.arange(100.0)


def load(source, **options):
    return data.load(source, ("series",), **options)


def steps(found, part):
    """Time steps of inputs and of targets, where the series counts them."""
    x, y = part.arrays()
    count = found.transform
    return np.rint(x * count.scale + count.offset), np.rint(count.inverse(y))


# --- windows and parts


def test_targets_follow_their_window():
    found = load(LINE, window=5, horizon=3, batch_size=4)
    x, y = found.train[0]
    assert x.shape == (4, 5, 1) and y.shape == (4, 3) and x.dtype == y.dtype == np.float32
    assert found.spec == {"input_shape": (5, 1), "task": "forecasting", "horizon": 3}
    for part in (found.train, found.validation, found.test):
        x, y = steps(found, part)
        assert np.array_equal(x[:, :, 0] - x[:, :1, 0], np.tile(np.arange(5), (len(x), 1)))
        assert np.array_equal(y, x[:, -1] + [1, 2, 3])


@pytest.mark.parametrize("stride", [1, 2, 7])
@pytest.mark.parametrize(("window", "horizon"), [(5, 3), (30, 1), (1, 10), (60, 10)])
def test_no_target_is_in_two_parts_and_none_is_lost(window, horizon, stride):
    found = load(LINE, window=window, horizon=horizon, stride=stride)
    seen = [set(steps(found, p)[1].ravel()) for p in (found.train, found.validation, found.test)]
    bounds = [(window, 70), (70, 80), (80, 100)]
    for targets, (low, high) in zip(seen, bounds, strict=True):
        assert targets and min(targets) == low and max(targets) < high
        if stride == 1:
            assert targets == set(range(low, high))
    # an evaluation looks back over the border, no further forward than its first target
    x, y = steps(found, found.test)
    assert x[0].max() == 79 and y[0].min() == 80
    starts = steps(found, found.train)[0][:, 0, 0]
    assert set(np.diff(starts)) <= {stride}


@pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
def test_nothing_that_is_fitted_sees_a_later_part(scaling):
    rng = np.random.default_rng(0)
    past, other = rng.normal(size=(100, 2)), rng.normal(size=(100, 2))
    other[:70] = past[:70]
    options = {"window": 4, "scaling": scaling, "season": 3, "target": "x0", "covariates": ["x1"]}
    a, b = load(past, **options), load(np.r_[other[:70], 1000 * other[70:]], **options)
    assert a.transform.get_config() == b.transform.get_config()
    for one, two in zip(a.train.arrays(), b.train.arrays(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(a.validation.arrays()[1], b.validation.arrays()[1])
    train = past[:70]
    expected = {
        "standard": (past - train.mean(0)) / train.std(0),
        "minmax": (past - train.min(0)) / (train.max(0) - train.min(0)),
        "none": past,
    }[scaling]
    x, y = a.test.arrays()
    np.testing.assert_allclose(x[0], expected[76:80], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y[:, 0], expected[80:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.transform.inverse(y)[:, 0], past[80:, 0], rtol=1e-5, atol=1e-6)


def test_windows_are_views_of_one_copy():
    found = load(np.random.default_rng(0).normal(size=10_000), window=500, horizon=100)
    assert found.train.x.base is not None and not found.train.x.flags.owndata
    assert found.train.x.strides[0] == found.train.x.strides[1] == 4  # bytes from step to step
    assert np.shares_memory(found.train.x, found.train.y)


def test_targets_come_first_and_covariates_are_inputs_only():
    table = pandas.DataFrame({"a": LINE, "b": 2 * LINE, "c": LINE % 7})
    found = load(table, window=5, horizon=2, target=["c", "a"], covariates=["b"])
    assert found.transform.columns == ["c", "a", "b"]
    assert found.spec["input_shape"] == (5, 3) and found.spec["num_targets"] == 2
    x, y = found.test[0]
    assert x.shape[1:] == (5, 3) and y.shape[1:] == (2, 2)
    np.testing.assert_allclose(
        found.transform.inverse(y)[0], [[80 % 7, 80], [81 % 7, 81]], atol=1e-4
    )
    assert load(table, window=5).spec["num_targets"] == 3  # all
    assert "num_targets" not in load(table, window=5, target="b").spec


# --- naive forecasts and MASE


def test_the_naive_error_and_mase_by_hand():
    values = np.array([1.0, 2, 4, 1, 3, 4, 2, 2, 5, 9, 9, 9, 9, 9, 9, 9])[:, None]
    found = load(values, window=3, season=3, validation_fraction=0, test_fraction=7 / 16)
    # the first 9: |1-1| + |3-2| + |4-4| + |2-1| + |2-3| + |5-4| over 6
    assert found.transform.naive_error == [4 / 6]
    assert found.transform.target == [np.mean(values[:9]), np.std(values[:9])]
    x, y = found.test.arrays()
    wrong = y + 2 / found.transform.scale[0]  # by 2 in the series' own units
    assert found.transform.mase(y, y) == 0
    assert found.transform.mase(y, wrong) == pytest.approx(2 / (4 / 6))
    naive = found.transform.inverse(found.transform.naive(x))
    np.testing.assert_allclose(naive[:, 0], values[6:13, 0], atol=1e-5)
    persistence = found.transform.inverse(found.transform.naive(x, 1))
    np.testing.assert_allclose(persistence[:, 0], values[8:15, 0], atol=1e-5)


def test_a_season_shorter_than_the_horizon_repeats():
    found = load(np.tile([1.0, 5.0, 2.0], 40), window=6, horizon=8, season=3)
    x, y = found.test.arrays()
    np.testing.assert_allclose(found.transform.naive(x), y, atol=1e-6)
    with pytest.raises(ValueError, match=r"season=7: must be in 1 \.\. 6, the window"):
        found.transform.naive(x, 7)


# --- the embedded series


def test_sunspots():
    found = load("sunspots")
    assert sum(p.size for p in (found.train, found.validation, found.test)) == 309 - 33
    assert found.spec == {"input_shape": (33, 1), "task": "forecasting", "horizon": 1}
    assert found.transform.season == 11 and found.licence == "public domain"
    x, y = found.test.arrays()
    np.testing.assert_allclose(found.transform.inverse(y)[-2:, 0], [7.5, 2.9], atol=1e-4)  # 2007
    assert found.transform.naive_error[0] == pytest.approx(21.6, abs=0.01)
    # a cycle of eleven years: it forecasts better than persistence does at half a cycle
    far = load("sunspots", horizon=6)
    x, y = far.test.arrays()
    errors = [far.transform.mase(y, far.transform.naive(x, season)) for season in (11, 1)]
    assert errors[0] < 0.6 * errors[1]


def test_co2_is_filled_by_past_values_alone():
    raw = series.EMBEDDED["co2"]()
    assert raw.co2.isna().sum() == 59
    found = load("co2")
    assert found.transform.season == 52 and found.spec["horizon"] == 13
    values = found.transform.inverse(found.train.x[:, 0, 0])
    held = raw.co2.to_numpy()[: len(values)]
    last = None
    for value, original in zip(values, held, strict=True):
        last = original if np.isfinite(original) else last
        assert value == pytest.approx(last, abs=1e-3)
    with pytest.raises(
        ValueError, match=r"co2: 59 missing or infinite value\(s\), the first in row 6"
    ):
        load("co2", fill="error")


# --- sources, and the way back


def test_each_source_holds_the_same_series(tmp_path):
    table = pandas.DataFrame({"day": pandas.date_range("2020-01-01", periods=100), "v": LINE})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    sources = (LINE, LINE[:, None], LINE.tolist(), table, table.set_index("day"), table.v,
               tmp_path / "a.csv", tmp_path / "a.parquet")  # fmt: skip
    for source in sources:
        found = load(source, window=5)
        assert found.kind == "series"
        np.testing.assert_array_equal(steps(found, found.test)[1][:, 0], np.arange(80, 100))
    config = json.loads(json.dumps(found.transform.get_config()))
    again = data.transform_from_config("series", config)
    (tmp_path / "more.csv").write_text("v\n" + "".join(f"{i}\n" for i in range(90, 105)))
    assert again.read_files([tmp_path / "more.csv"]).shape == (1, 5, 1)
    np.testing.assert_array_equal(
        again.read_files([tmp_path / "more.csv"])[0], again(np.arange(100.0, 105)[:, None])
    )


def test_the_family_and_its_options_say_what_a_table_is(tmp_path):
    table = pandas.DataFrame({"a": LINE, "text": [f"line {i}" for i in range(100)], "y": LINE % 2})
    table.to_csv(tmp_path / "a.csv", index=False)
    for source in (table, tmp_path / "a.csv"):
        assert data.load(source, ("tables", "series"), ignore=["text"]).kind == "tables"
        assert data.load(source, ("tables", "series"), window=5).kind == "series"
        assert data.load(source, ("series", "text"), target="a").kind == "series"
        assert data.load(source, ("series", "text"), label="y").kind == "text"


def test_minimum_temperatures():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    found = load(SHARED / "daily-min-temperatures.csv", window=30, season=365)
    assert found.transform.columns == ["Temp"] and sum(found.sizes.values()) == 3650 - 30
    assert found.transform.inverse(found.train.x[0, 0]) == pytest.approx(20.7, abs=1e-4)


GAPS = np.where(np.isin(np.arange(100), (7, 50)), np.nan, LINE)
TABLE = pandas.DataFrame({"day": pandas.date_range("2020-01-01", periods=100)[::-1], "v": LINE})


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (LINE, {"window": 100}, "window=100: with horizon=1 longer than the training part, 70 of"),
        (LINE, {"window": 70}, "the series' 100 time steps"),
        (LINE, {"window": 5, "horizon": 11}, "horizon=11: must be at most 10, the validation part"),
        (LINE, {"window": 0}, "window=0: must be a positive integer"),
        (LINE, {"window": 2.5}, "window=2.5"),
        (LINE, {"stride": 0}, "stride=0"),
        (LINE, {"season": 70}, "season=70: must be less than the training part's 70"),
        (LINE, {"scaling": "log"}, "scaling='log': must be one of standard, minmax, none"),
        (LINE, {"fill": "linear"}, "fill='linear': must be one of error, previous"),
        (LINE, {"target": "v"}, "unknown column 'v'; known: x0"),
        (LINE, {"target": "x0", "covariates": ["x0"]}, "one is given twice"),
        (LINE, {"covariates": ["x0"]}, "needs at least one column"),
        (LINE, {"covariates": "x0"}, "covariates='x0': must be a list"),
        (LINE, {"test_fraction": 0.6, "validation_fraction": 0.4}, "must be less than 1"),
        (LINE, {"test_fraction": 0}, "test_fraction=0: must be more than 0"),
        (GAPS, {}, "array: 2 missing or infinite value(s), the first in row 7 of column 'x0'"),
        (np.r_[np.nan, LINE], {"fill": "previous"}, "there is no value before it"),
        (np.array(["a"] * 9), {}, "needs one array (T,) or (T, features)"),
        (np.zeros((4, 3, 2)), {}, "holds images; this family takes series"),
        (TABLE, {"target": "v"}, "its rows must be in order of time"),
        (TABLE.iloc[::-1], {"target": "day"}, "column='day': must hold numbers"),
        ("nowhere.csv", {}, "nowhere.csv: no such file"),
        ("iris", {}, "holds tables; this family takes series, embedded: sunspots, co2"),
    ],
)  # fmt: skip
def test_bad_input(source, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        load(source, **options)
    assert words in str(error.value)
