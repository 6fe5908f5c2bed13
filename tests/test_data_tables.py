"""Tables: the embedded sets' facts, files and frames, missing values, targets of all kinds."""

import numpy as np
import pandas
import pytest

from recipes import data
from recipes.data import tables

# Four numbers with one missing, two categories with one missing, and a target.
CSV = """size,colour,kind
1.5,red,a
2.5,blue,b
?,red,a
3.5,,b
"""


def load(source, **options):
    return data.load(source, ("tables",), **options)


def frame(n=40, seed=0):
    """A table with a number, a category and a class that follows the number."""
    rng = np.random.default_rng(seed)
    number = rng.normal(5, 2, n)
    return pandas.DataFrame(
        {
            "number": number,
            "letter": rng.choice(list("xyz"), n),
            "class": np.where(np.arange(n) % 2, "b", "a"),
        }
    )


def inputs_of(found):
    """All rows of all parts in stored order."""
    return found.train.x


# --- embedded sets


@pytest.mark.parametrize(
    ("name", "counts", "features", "names"),
    [
        ("iris", [50, 50, 50], 4, ("setosa", "versicolor", "virginica")),
        ("wine", [59, 71, 48], 13, ("class_0", "class_1", "class_2")),
        ("breast_cancer", [212, 357], 30, ("malignant", "benign")),
    ],
)
def test_classification_sets(name, counts, features, names):
    found = load(name)
    assert found.spec == {"input_shape": (features,), "num_classes": len(counts)}
    assert found.class_names == names
    assert np.bincount(found.train.y).tolist() == counts
    x, y = found.train[0]
    assert x.dtype == np.float32 and x.shape == (32, features)
    assert y.dtype == np.int32 and y.shape == (32,)
    assert "CC BY 4.0" in found.licence and found.citation
    x, _ = found.train.arrays()
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)


def test_iris_rows_are_fishers():
    found = load("iris")
    columns = np.array(list(found.transform.numbers.values()))
    raw = inputs_of(found) * columns[:, 2] + columns[:, 1]
    np.testing.assert_allclose(raw[0], [5.1, 3.5, 1.4, 0.2], atol=1e-5)  # the first setosa
    np.testing.assert_allclose(raw[149], [5.9, 3.0, 5.1, 1.8], atol=1e-5)  # the last virginica
    np.testing.assert_allclose(raw.mean(axis=0), [5.8433, 3.0573, 3.7580, 1.1993], atol=1e-4)


def test_diabetes_is_a_regression_on_unscaled_columns():
    found = load("diabetes")
    assert sum(found.sizes.values()) == 442 and found.class_names is None
    assert found.spec == {"input_shape": (10,), "num_classes": None}
    median_age, *_ = found.transform.numbers["age"]
    assert median_age == round(median_age) > 40  # years
    y = found.train.targets
    assert y.shape == (310, 1) and y.dtype == np.float32
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-5)
    mean, std = found.transform.target
    raw = found.train.y * std + mean
    np.testing.assert_allclose([raw.min(), raw.max(), raw.mean()], [25, 346, 152.133], atol=1e-2)
    assert found.licence.startswith("not stated")


# --- the transform


def test_a_small_table_by_hand(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    found = tables._fit(tables.read_file(tmp_path / "t.csv").drop(columns="kind"), None)
    std = np.sqrt(2 / 3)
    assert found.numbers == {"size": [2.5, 2.5, pytest.approx(std)]}
    assert found.categories == {"colour": ["blue", "red"]}
    assert found.feature_names == ["size", "colour=blue", "colour=red"]
    rows = pandas.DataFrame(
        {"size": [1.5, None, np.inf, 10.0], "colour": ["red", None, "green", "blue"]}
    )
    expected = [[-1 / std, 0, 1], [0, 0, 0], [0, 0, 0], [7.5 / std, 1, 0]]
    np.testing.assert_allclose(found(rows), expected, rtol=1e-6)
    assert found(rows).dtype == np.float32


def test_missing_numbers_take_the_median_not_the_mean():
    x = frame()
    x.loc[0, "number"] = 1e6
    x.loc[1:5, "number"] = None
    found = load(x, test_fraction=0.5)
    median, mean, std = found.transform.numbers["number"]
    assert inputs_of(found)[1, 0] == pytest.approx((median - mean) / std, rel=1e-5)


def test_statistics_come_from_the_training_part_only():
    first = load(frame())
    changed = frame()
    for part in (first.test, first.validation):
        changed.loc[part.indices, "number"] = 1e6
        changed.loc[part.indices, "letter"] = "new"
    second = load(changed)
    assert np.array_equal(first.train.indices, second.train.indices)
    assert first.transform.get_config() == second.transform.get_config()
    assert second.test.arrays()[0][:, 1:].max() == 0  # a category never seen
    changed.loc[first.train.indices[0], "number"] = 1e6
    assert load(changed).transform.get_config() != first.transform.get_config()

    changed = frame().assign(y=lambda t: 10 * t["number"] + 3)
    first = load(changed)
    changed.loc[first.test.indices, "y"] = 1e6
    assert load(changed).transform.target == first.transform.target


def test_columns_that_tell_nothing_in_training_become_zeros():
    x = frame().assign(same=0.1, nothing=np.nan, none=None)
    x = x[["same", "nothing", "none", "number", "class"]]
    found = load(x)
    assert found.spec["input_shape"] == (3,)  # a column of no text at all has no category
    assert np.all(inputs_of(found)[:, :2] == 0)
    rows = x.head(2).assign(same=1e6, nothing=3.0)
    assert np.all(found.transform(rows)[:, :2] == 0)


def test_columns_of_many_types_become_numbers():
    n = 40
    whole = pandas.array([1, 2, None, 4] * 10, dtype="Int64")
    x = pandas.DataFrame(
        {
            "bool": np.arange(n) % 2 == 0,
            "nullable": whole,
            "nullable_bool": pandas.array([True, None] * 20, dtype="boolean"),
            "small": np.arange(n, dtype="int8"),
            "category": pandas.Categorical(["u", "v"] * 20, categories=["v", "u", "w"]),
            "class": np.arange(n) // 20,
        }
    )
    found = load(x)
    assert list(found.transform.numbers) == ["bool", "nullable", "nullable_bool", "small"]
    assert found.transform.categories == {"category": ["u", "v"]}
    assert np.isfinite(inputs_of(found)).all()
    median, mean, std = found.transform.numbers["nullable"]
    assert inputs_of(found)[2, 1] == pytest.approx((median - mean) / std, rel=1e-5)


# --- files

PLAIN = "number,letter,y\n" + "".join(f"{i / 4},{'uvw'[i % 3]},{'ab'[i % 2]}\n" for i in range(24))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", PLAIN.encode("utf-8-sig")),  # with Excel's mark
        ("T.CSV", PLAIN.encode()),
        ("a b ü.csv", PLAIN.replace("\n", "\r\n").encode()),
        ("t.csv", PLAIN.replace(",", ";").encode()),
        ("t.csv", PLAIN.replace(",", ";").replace(".", ",").encode()),  # decimal commas
        ("t.csv", PLAIN.replace(",", "\t").encode()),
        ("t.tsv", PLAIN.replace(",", "\t").encode()),
        ("t.csv", PLAIN.replace(",", ", ").encode()),
        ("t.parquet", None),
    ],
)
def test_one_table_in_many_files(tmp_path, name, content):
    (tmp_path / "plain.csv").write_text(PLAIN)
    expected = load(tmp_path / "plain.csv")
    assert expected.transform.feature_names == ["number", "letter=u", "letter=v", "letter=w"]
    path = tmp_path / name
    if content is None:
        pandas.read_csv(tmp_path / "plain.csv").to_parquet(path)
    else:
        path.write_bytes(content)
    for source in (path, str(path)):
        found = load(source)
        assert found.transform.get_config() == expected.transform.get_config()
        assert found.class_names == ("a", "b") and found.name == name
        np.testing.assert_array_equal(inputs_of(found), inputs_of(expected))
        np.testing.assert_array_equal(found.train.y, expected.train.y)
    np.testing.assert_array_equal(found.transform.read_files([path]), inputs_of(expected))
    np.testing.assert_array_equal(
        found.transform.read_files([path, tmp_path / "plain.csv"])[24:], inputs_of(expected)
    )


def test_new_files_may_have_other_columns_and_order(tmp_path):
    (tmp_path / "t.csv").write_text(PLAIN)
    found = load(tmp_path / "t.csv")
    (tmp_path / "new.csv").write_text("letter,id,number\nv,77,1\nz,78,\n")
    median, mean, std = found.transform.numbers["number"]
    expected = [[(1 - mean) / std, 0, 1, 0], [(median - mean) / std, 0, 0, 0]]
    np.testing.assert_allclose(
        found.transform.read_files([tmp_path / "new.csv"]), expected, rtol=1e-6
    )


def test_target_and_ignored_columns():
    x = frame().assign(id=[f"customer {i}" for i in range(40)])
    found = load(x, target="class", ignore=["id"])
    assert found.transform.feature_names == ["number", "letter=x", "letter=y", "letter=z"]
    by_letter = load(x, target="letter", ignore=["id", "class"])
    assert by_letter.class_names == ("x", "y", "z")
    assert by_letter.spec["input_shape"] == (1,)
    assert list(x.columns) == ["number", "letter", "class", "id"]  # the caller's is untouched


def test_rows_without_a_target_are_left_out():
    x = frame()
    x.loc[[3, 7], "class"] = None
    assert sum(load(x).sizes.values()) == 38


# --- the target


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (np.arange(40) % 2 == 0, ("False", "True")),
        (pandas.Categorical(["u", "v"] * 20), ("u", "v")),
        (pandas.array([3, 5] * 20, dtype="Int64"), ("3", "5")),
        (pandas.array([True, False] * 20, dtype="boolean"), ("False", "True")),
        ([1.0, 2.0] * 20, ("1", "2")),
        ([9, 10] * 20, ("9", "10")),
        (["9", "10"] * 20, ("10", "9")),
        (np.arange(40) % 20, tuple(str(i) for i in range(20))),
        (np.arange(40) / 4, None),
        (np.arange(40), None),  # more than 20 whole numbers
    ],
)
def test_the_task_is_found_by_the_target(target, names):
    found = load(frame().drop(columns="class").assign(y=target), test_fraction=0.3)
    assert found.class_names == names
    assert found.spec["num_classes"] == (None if names is None else len(names))


def test_the_task_may_be_chosen():
    x = frame().assign(y=np.arange(40) % 4)
    assert load(x, task="regression").train.y.shape == (40, 1)
    x["y"] = np.arange(40) // 2 * 2
    x["y"] += x["y"] // 20 * 100
    assert load(x, task="classification", test_fraction=0.3).spec["num_classes"] == 20


def test_regression_targets_may_be_undone():
    target = np.arange(40) ** 2 / 8
    found = load(frame().assign(y=target))
    mean, std = found.transform.target
    np.testing.assert_allclose(found.train.y[:, 0] * std + mean, target, atol=1e-3)


def test_arrays():
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (50, 4)), np.arange(50) % 2
    found = load((x, y), class_names=["no", "yes"])
    assert found.class_names == ("no", "yes") and found.spec["input_shape"] == (4,)
    train = found.train.indices
    expected = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    np.testing.assert_allclose(inputs_of(found), expected, atol=1e-5)
    assert load((x, np.eye(3)[np.arange(50) % 3])).spec["num_classes"] == 3
    assert load((x, np.array(["ja", "nein"])[y])).class_names == ("ja", "nein")
    regression = load((x, x[:, :1] / 3))
    assert regression.class_names is None and regression.train.y.shape == (50, 1)
    parts = load(((x, y), (x[:10], y[:10])))
    assert parts.sizes == {"train": 45, "validation": 5, "test": 10}


# --- bad input

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("iris", {"task": "sort"}, "task='sort': must be one of auto, classification, regression"),
        ("iris", {"task": "regression"}, "task='regression': needs one number an example"),
        ("iris", {"target": "species"}, "target='species': only a file or a frame"),
        ("iris", {"class_names": ["a", "b", "c"]}, "is for arrays only"),
        ("iris", {"ignore": "petal"}, "ignore='petal': must be a list"),
        ("iris", {"ignore": ["petal"]}, "unknown column to ignore 'petal'; known: sepal length"),
        (frame(), {"target": "klass"}, "unknown target 'klass'; known: number, letter, class. Did"),
        (frame(), {"task": "regression"}, "the target is <U1 (40,)"),
        (frame()[["class"]], {}, "has no column beside the target 'class'"),
        (frame(), {"ignore": ["number", "letter"]}, "no column beside the target holds anything"),
        (frame().iloc[:0], {}, "target='class': this column has no values"),
        (frame().assign(y=None), {}, "target='y': this column has no values"),
        (frame().assign(y="same"), {}, "needs at least 2 classes"),
        (frame().assign(y=np.where(Y, np.inf, 1.5)), {}, "holds NaN or infinity"),
        (pandas.concat([frame(), frame()], axis=1), {}, "has more than one column number, letter"),
        (
            frame().assign(when=pandas.Timestamp("2024-02-29"), y=Y),
            {},
            "column 'when' holds dates or times",
        ),
        (
            pandas.DataFrame({"name": [f"n{i}" for i in range(400)], "y": np.arange(400) % 2}),
            {},
            "column 'name' has 280 different texts, more than 100: ignore=['name']",
        ),
        (frame(2), {}, "too few of each class"),
        ((X[:, 0], Y), {}, "x has shape (40,) and type float64; a table needs numbers"),
        ((X.astype(str), Y), {}, "a table needs numbers"),
        ((X, X), {}, "must hold one label an example"),
        ((X, Y), {"target": "x0"}, "target='x0': only a file or a frame"),
        ((X, Y), {"class_names": ["no"]}, "class_names=('no',): y holds labels 0 .. 1"),
        ((X, Y + np.nan), {}, "the target holds NaN"),
        ((X, Y + np.nan), {"task": "classification"}, "labels must be whole numbers or texts"),
        ((X, Y / 3 + np.nan), {"task": "regression"}, "holds NaN or infinity"),
    ],
)
def test_bad_input(source, options, words):
    with pytest.raises(ValueError) as error:
        load(source, **options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "t.csv: not readable as a table (No columns to parse"),
        ("t.csv", b"a,b\n", "t.csv: the table has no rows"),
        ("t.csv", b"5.1,3.5,setosa\n4.9,3.0,setosa\n", "the first line holds numbers"),
        ("t.csv", "größe,b\n1,2\n".encode("latin-1"), "not readable as a table ('utf-8' codec"),
        ("t.csv", b"a,b\n1,2\n3,4,5,6\n", "not readable as a table (Error tokenizing"),
        ("t.csv", b"a b c\n1 2 3\n", "has no column beside the target 'a b c'"),
        ("t.parquet", b"no parquet", "t.parquet: not readable as a table"),
        ("t.xlsx", b"", "t.xlsx: no table (.csv, .tsv, .parquet); pictures are"),
        ("gone.csv", None, "gone.csv: no such file"),
        ("gone.CSV", None, "gone.CSV: no such file"),
    ],
)
def test_bad_files(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        load(tmp_path / name)
    assert words in str(error.value)


def test_bad_files_to_predict(tmp_path):
    (tmp_path / "t.csv").write_text(PLAIN)
    transform = load(tmp_path / "t.csv").transform
    for content, words in (
        ("number\n1\n", "new.csv: no column 'letter', which the model was trained on"),
        ("number,letter\nmany,u\n", "column 'number' must hold numbers"),
        ("number,letter\n", "the table has no rows"),
    ):
        (tmp_path / "new.csv").write_text(content)
        with pytest.raises(ValueError) as error:
            transform.read_files([tmp_path / "new.csv"])
        assert words in str(error.value)
    with pytest.raises(ValueError, match="needs at least one file"):
        transform.read_files([])
