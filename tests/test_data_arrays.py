"""Arrays and `tf.data.Dataset` objects, whole and in parts."""

import numpy as np
import pytest

from recipes import data
from recipes.data import arrays

N = 24
X = np.random.default_rng(0).integers(0, 256, (N, 6, 5, 1)).astype("uint8")
Y = (np.arange(N) % 3).astype("int64")
CACHE = 2**20


def same(found, x=X, y=Y, parts=()):
    assert found[0].dtype == x.dtype
    np.testing.assert_array_equal(found[0], x)
    np.testing.assert_array_equal(found[1], y)
    assert set(found[2]) == set(parts)


def test_whole_and_in_parts():
    same(arrays.read((X, Y), CACHE))
    same(arrays.read([X, Y], CACHE))
    same(arrays.read((X.tolist(), Y.tolist()), CACHE), X.astype(int))
    cut = ((X[:18], Y[:18]), (X[18:], Y[18:]))
    for source in (cut, list(cut), [list(cut[0]), list(cut[1])]):
        found = arrays.read(source, CACHE)
        same(found, parts=["test"])
        assert found[2]["test"].tolist() == list(range(18, 24))
    found = arrays.read({"test": cut[1], "train": cut[0], "validation": (X[:2], Y[:2])}, CACHE)
    assert found[2]["validation"].tolist() == [18, 19]
    assert found[2]["test"].tolist() == list(range(20, 26))
    np.testing.assert_array_equal(found[1][found[2]["test"]], Y[18:])


@pytest.mark.parametrize("sequence", [list, tuple])
def test_two_rows_of_numbers_are_x_not_two_parts(sequence):
    x = sequence([sequence([0.0, 1.0]), sequence([1.0, 0.0])])
    found = arrays.read((x, [0, 1]), CACHE)
    assert found[0].shape == (2, 2) and found[2] == {}
    assert arrays.rank((x, [0, 1])) == 2


def test_parts_reach_the_data():
    found = data.load({"train": (X, Y), "test": (X[:6], Y[:6])}, ("images",), standardize=False)
    assert found.sizes == {"train": 22, "validation": 2, "test": 6}
    x, y = found.test.arrays()
    np.testing.assert_allclose(x, X[:6] / 255, rtol=1e-6)
    np.testing.assert_array_equal(y, Y[:6])


# --- tf.data


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow")


@pytest.mark.parametrize("form", ["single", "batched", "whole batches", "dictionary"])
@pytest.mark.parametrize("one_hot", [False, True])
def test_tf_data_is_read_batched_or_not(tf, form, one_hot):
    y = np.eye(3, dtype="float32")[Y] if one_hot else Y
    dataset = tf.data.Dataset.from_tensor_slices((X, y))
    if form == "batched":
        dataset = dataset.batch(7)  # the last one is smaller
    elif form == "whole batches":
        dataset = dataset.batch(6, drop_remainder=True)  # a known size
    elif form == "dictionary":
        dataset = dataset.map(lambda x, y: {"image": x, "label": y, "id": 0})
    assert arrays.is_dataset(dataset) and arrays.rank(dataset) == 4
    same(arrays.read(dataset, CACHE), y=y)


def test_tf_data_in_parts(tf):
    train, test = (tf.data.Dataset.from_tensor_slices((X[i:], Y[i:])) for i in (0, 18))
    found = data.load((train, test.batch(4)), ("images",), batch_size=4)
    assert found.sizes["test"] == 6
    np.testing.assert_array_equal(found.test.targets, Y[18:])


def test_tf_data_of_rows_and_of_texts(tf):
    names = np.array(["ape", "bee", "cat"])[Y]
    dataset = tf.data.Dataset.from_tensor_slices((X.reshape(N, 30).astype("float32"), names))
    assert arrays.rank(dataset) == 2
    found = data.load(dataset, ("images", "tables"))
    assert found.kind == "tables" and found.class_names == ("ape", "bee", "cat")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.repeat(), "repeats without end"),
        (lambda d: d.take(0), "is empty"),
        (lambda d: d.map(lambda x, y: x), "needs elements (x, y)"),
        (lambda d: d.map(lambda x, y: {"picture": x, "label": y}), "needs elements (x, y)"),
        (lambda d: d.map(lambda x, y: ({"a": x}, y)), "needs elements (x, y)"),
        (lambda d: d.concatenate(d).concatenate(d), "more than cache_bytes=1,000"),
        (lambda d: d.map(lambda x, y: (x[y:], y)).take(2), "examples of shapes (5, 5, 1), (6, 5"),
    ],
)
def test_bad_tf_data(tf, change, words):
    dataset = change(tf.data.Dataset.from_tensor_slices((X, Y)))
    with pytest.raises(ValueError) as error:
        data.load(dataset, ("images",), cache_bytes=1000)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ((), "the train part is a tuple of length 0; needs (x, y)"),
        ((X,), "the train part is a tuple of length 1"),
        ((X, Y, Y), "the train part is a tuple of length 3"),
        ((X, Y[:5]), "x holds 24 examples and y holds 5"),
        ((X, 3), "the train part is x (24, 6, 5, 1), y ()"),
        ((X[:0], Y[:0]), "the train part is x (0, 6, 5, 1)"),
        (([[1, 2], [3]], [0, 1]), "rows of unequal length"),
        ({}, "source is a dictionary with keys []"),
        ({"x": X, "y": Y}, "keys ['x', 'y']: needs (x, y)"),
        ({"test": (X, Y)}, "keys ['test']"),
        ({"train": (X, Y), "test": X}, "the test part is a ndarray of length 24"),
        (((X, Y), (X[:, :3], Y)), "the parts differ in shape: x (24, 6, 5, 1) and (24, 3, 5, 1)"),
        (((X, Y), (X, np.eye(3)[Y])), "y (24,) and (24, 3)"),
    ],
)
def test_bad_arrays(source, words):
    with pytest.raises(ValueError) as error:
        data.load(source, ("images",))
    assert words in str(error.value)
