"""Splits, batches, labels, and finding the kind of a source."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from recipes import data
from recipes.data.core import Batches, Source, _draw, labels_and_names, short, split

FRACTIONS = {"validation_fraction": 0.1, "test_fraction": 0.2}


def source_of(sizes, **parts) -> Source:
    """A source with so many examples of each class, in mixed order."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    y = np.random.default_rng(1).permutation(y).astype("int32")
    return Source("s", np.arange(len(y)), y, tuple(map(str, range(len(sizes)))), **parts)


def batches_of(n=23, batch_size=5, **options) -> Batches:
    """Batches of rows (i, i) with targets i, of which the even i are in this part."""
    x = np.repeat(np.arange(n, dtype="float32")[:, None], 2, axis=1)
    y = np.arange(n, dtype="int32")
    return Batches(x, y, np.arange(0, n, 2), np.asarray, batch_size, **options)


# --- splits


@pytest.mark.parametrize("sizes", [(50, 50, 50), (500, 7, 3), (2, 2, 2, 30), (1, 40, 40)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_split_is_disjoint_covering_and_stratified_within_one_example(sizes, seed):
    source = source_of(sizes)
    parts = split(source, **FRACTIONS, seed=seed)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(sum(sizes)))
    for name, fraction in (("test", 0.2), ("validation", 0.1)):
        found = np.bincount(source.y[parts[name]], minlength=len(sizes))
        assert np.all(np.abs(found - fraction * np.array(sizes)) <= 1)
        assert abs(len(parts[name]) - fraction * sum(sizes)) <= 1
    assert np.bincount(source.y[parts["train"]], minlength=len(sizes)).min() >= 1


def test_drawing_rounds_each_class_up_or_down_and_gives_the_exact_sum():
    generator = np.random.default_rng(0)
    for _ in range(200):
        sizes = generator.integers(2, 60, generator.integers(2, 9))
        labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
        count = int(generator.integers(0, sizes.sum() // 2))
        drawn, rest = _draw(np.arange(len(labels)), labels, count, generator)
        share = count * sizes / sizes.sum()
        found = np.bincount(labels[drawn], minlength=len(sizes))
        assert len(drawn) == count
        assert np.all((found >= np.floor(share)) & (found <= np.ceil(share)))
        assert len(np.intersect1d(drawn, rest)) == 0 and len(drawn) + len(rest) == len(labels)


def test_split_is_fixed_by_the_seed():
    source = source_of((40, 60))
    a, b, c = (split(source, **FRACTIONS, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["test"], c["test"])


def test_a_class_of_one_example_is_trained_on():
    for seed in range(20):
        source = source_of((1, 1, 40))
        train = split(source, **FRACTIONS, seed=seed)["train"]
        assert {0, 1} <= set(source.y[train])


def test_given_parts_are_kept_and_fractions_are_of_the_rest():
    test, validation = np.arange(10, 30), np.arange(50, 60)
    parts = split(source_of((60, 60), test=test), **FRACTIONS, seed=0)
    assert np.array_equal(parts["test"], test)
    assert len(parts["validation"]) == 10 and len(parts["train"]) == 90  # a tenth of 100
    parts = split(source_of((60, 60), test=test, validation=validation), **FRACTIONS, seed=0)
    assert np.array_equal(parts["validation"], validation) and len(parts["train"]) == 90
    parts = split(source_of((60, 60), validation=validation), **FRACTIONS, seed=0)
    assert len(parts["test"]) == 22 and len(parts["train"]) == 88  # a fifth of 110


def test_regression_is_split_without_classes():
    source = Source("s", np.arange(100), np.linspace(0, 1, 100), None)
    parts = split(source, **FRACTIONS, seed=0)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }


# --- batches


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    one = batches_of(shuffle=True, seed=7)
    orders = []
    for _ in range(4):
        orders.append(one.order.copy())
        assert np.array_equal(np.sort(one.order), one.indices)
        one.on_epoch_end()
    for epoch in (3, 0, 2):  # in any sequence
        other = batches_of(shuffle=True, seed=7, batch_size=2)
        other.epoch = epoch
        assert np.array_equal(other.order, orders[epoch])
    assert len({tuple(order) for order in orders}) == 4
    assert not np.array_equal(batches_of(shuffle=True, seed=8).order, orders[0])
    assert np.array_equal(batches_of().order, np.arange(0, 23, 2))


@pytest.mark.parametrize("workers", [1, 4])
def test_keras_sees_this_order_epoch_after_epoch(workers):
    expected = []
    for epoch in range(3):
        one = batches_of(shuffle=True, seed=5)
        one.epoch = epoch
        expected.append(one.order)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    given = batches_of(shuffle=True, seed=5, workers=workers)
    for epoch in range(3):  # one call is one epoch
        seen = model.predict(given, verbose=0)[:, 0].astype(int)
        assert np.array_equal(seen, expected[epoch])


def test_fit_that_resumes_at_an_epoch_sees_what_the_undisturbed_one_saw():
    def trained_on(first_epoch):
        seen = []
        given = batches_of(shuffle=True, seed=5)
        given.transform = lambda raw: seen.append(raw[:, 0].astype(int)) or raw
        given.epoch = first_epoch
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(given, epochs=4, initial_epoch=first_epoch, shuffle=False, verbose=0)
        # TensorFlow looks at two batches before it begins.
        return np.concatenate(seen[-(4 - first_epoch) * len(given) :])

    whole, rest = trained_on(0), trained_on(2)
    assert len(whole) == 4 * 12 and np.array_equal(whole[24:], rest)


def test_batches_cover_the_part_once_and_the_last_is_smaller():
    given = batches_of(shuffle=True)
    found = list(given)  # ends by itself
    assert [len(y) for _, y in found] == [5, 5, 2] and len(given) == 3
    x, y = (np.concatenate(values) for values in zip(*found, strict=True))
    assert np.array_equal(np.sort(y), given.indices) and np.array_equal(x[:, 0], y)
    assert np.array_equal(given[-1][1], found[2][1])
    with pytest.raises(IndexError):
        given[3]


def test_arrays_and_targets_are_in_stored_order():
    given = batches_of(shuffle=True)
    x, y = given.arrays()
    assert np.array_equal(y, given.indices) and np.array_equal(given.targets, y)
    assert np.array_equal(x[:, 0], y)


def test_with_batch_size_keeps_all_else():
    given = batches_of(shuffle=True, seed=3, workers=2)
    other = given.with_batch_size(12)
    assert len(other) == 1 and other.workers == 2
    assert np.array_equal(other[0][1], given.order)

    whole = data.load("iris", ("tables",), seed=2)
    other = whole.with_batch_size(50)
    assert [len(part) for part in (other.train, other.validation, other.test)] == [3, 1, 1]
    assert other.sizes == whole.sizes == {"train": 105, "validation": 15, "test": 30}
    assert np.array_equal(other.train.order, whole.train.order)
    assert len(whole.train) == 4  # untouched


def test_no_validation_part():
    found = data.load("iris", ("tables",), validation_fraction=0)
    assert found.validation is None
    assert found.sizes == {"train": 120, "validation": 0, "test": 30}
    assert found.with_batch_size(8).validation is None


# --- labels


@pytest.mark.parametrize(
    ("y", "class_names", "labels", "names"),
    [
        ([0, 2, 1, 0], None, [0, 2, 1, 0], ("0", "1", "2")),
        ([7, -1, 7, 3], None, [2, 0, 2, 1], ("-1", "3", "7")),
        ([[3], [5]], None, [0, 1], ("3", "5")),
        ([1.0, 2.0, 1.0], None, [0, 1, 0], ("1", "2")),
        ([True, False], None, [1, 0], ("False", "True")),
        (["cat", "ape", "cat"], None, [1, 0, 1], ("ape", "cat")),
        ([b"cat", b"ape", b"cat"], None, [1, 0, 1], ("ape", "cat")),
        (np.array(["b", "a"], object), None, [1, 0], ("a", "b")),
        (np.array([10, 9], object), None, [1, 0], ("9", "10")),
        (np.array([2, 1], "uint8"), None, [1, 0], ("1", "2")),
        (np.eye(3)[[2, 0, 1]], None, [2, 0, 1], ("0", "1", "2")),
        (np.eye(2, dtype=bool), ["no", "yes"], [0, 1], ("no", "yes")),
        ([0, 2], ["a", "b", "c"], [0, 2], ("a", "b", "c")),
        (["low", "high"], ["low", "high"], [0, 1], ("low", "high")),
    ],
)
def test_labels_of_any_kind(y, class_names, labels, names):
    found, found_names = labels_and_names(y, class_names)
    assert found.dtype == np.int32
    assert found.tolist() == labels and found_names == names


@pytest.mark.parametrize(
    ("y", "class_names", "words"),
    [
        ([0, 0, 0], None, "needs at least 2 classes"),
        ([0, 1, 5], ["a", "b"], "class_names=('a', 'b'): y holds labels 0 .. 5"),
        ([-1, 0], ["a", "b"], "y holds labels -1 .. 0"),
        ([0, 1], "ab", "class_names='ab': must be a list"),
        ([0, 1], ["a", "a"], "different texts"),
        ([0, 1], [1, 2], "different texts"),
        (["x", "z"], ["x", "y"], "y holds other labels: ['z']"),
        (np.eye(3), ["a", "b"], "y has 3 columns"),
        (np.ones((4, 3)), None, "one-hot"),
        (np.ones((4, 3, 2)), None, "one label an example"),
        ([0.5, 1.5], None, "whole numbers or texts"),
        ([0.0, np.nan], None, "whole numbers or texts"),
        (["a", None], None, "1 missing label(s)"),
        (np.array(["a", np.nan], object), None, "1 missing label(s)"),
        ([1 + 2j, 2j], None, "whole numbers or texts"),
    ],
)
def test_bad_labels(y, class_names, words):
    with pytest.raises(ValueError) as error:
        labels_and_names(y, class_names)
    assert words in str(error.value)


# --- finding the kind, and the public functions


def test_a_transform_comes_back_from_its_configuration():
    raw = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3)).astype("uint8")
    images = data.load((raw, np.arange(40) % 2), ("images",))
    config = json.loads(json.dumps(images.transform.get_config()))
    again = data.transform_from_config("images", config)
    np.testing.assert_array_equal(again(raw), images.transform(raw))

    wine = data.load("wine", ("tables",))
    from recipes.data.tables import EMBEDDED

    table = EMBEDDED["wine"]().x
    again = data.transform_from_config(
        "tables", json.loads(json.dumps(wine.transform.get_config()))
    )
    np.testing.assert_array_equal(again(table), wine.test.x)


def test_the_kind_is_found_by_what_is_given():
    pixels, labels = np.zeros((20, 5, 5), "uint8"), np.arange(20) % 2
    both = ("tables", "images")
    assert data.load((pixels, labels), both).kind == "images"
    assert data.load((pixels.reshape(20, 25), labels), both).kind == "tables"
    assert data.load((pixels.reshape(20, 25).tolist(), labels), both).kind == "tables"
    assert data.load("digits", both).kind == "images"
    iris = data.load("iris", both)
    assert iris.kind == "tables"
    assert data.load(iris, ("tables",)) is iris


def test_the_kind_can_be_said(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text("".join(f"{'ab'[i % 2]}\tword {i}\n" for i in range(40)))
    both = ("pairs", "text")
    assert data.load(file, both).kind == "pairs"
    found = data.load(file, both, kind="text", min_count=1)
    assert (found.kind, found.class_names) == ("text", ("a", "b"))
    assert data.load(kinds=both, **found.source).kind == "text"


def test_how_data_was_made_is_kept():
    options = {"seed": 4, "batch_size": 10}
    found = data.load("iris", ("tables",), **options)
    assert found.source == {"source": "iris", **options}
    again = data.load(kinds=("tables",), **found.source)
    assert np.array_equal(again.train[0][0], found.train[0][0])
    assert data.load((np.eye(20), np.arange(20) % 2), ("tables",)).source == {}


def test_a_folder_given_as_a_path_is_kept_as_text(tmp_path):
    found = data.load("iris", ("tables",), data_dir=tmp_path)
    assert json.loads(json.dumps(found.source)) == {"source": "iris", "data_dir": str(tmp_path)}


def test_a_path_is_never_the_name_of_a_data_set(tmp_path, monkeypatch):
    (tmp_path / "iris").mkdir()
    monkeypatch.chdir(tmp_path)
    assert data.load("iris", ("tables",)).sizes["test"] == 30
    with pytest.raises(ValueError, match="needs one sub-folder a class"):
        data.load(Path("iris"), ("images",))


PIXELS, LABELS = np.zeros((20, 5, 5), "uint8"), np.arange(20) % 2


@pytest.mark.parametrize(
    ("source", "kinds", "options", "words"),
    [
        (42, ("images",), {}, "source is a int; needs the name of a data set"),
        (None, ("images",), {}, "source is a NoneType"),
        (PIXELS, ("images",), {}, "needs (x, y)"),
        ("mnist5", ("images",), {}, "Did you mean 'mnist5k'?"),
        ("nowhere/at/all", ("images",), {}, "no such file or folder"),
        ("nowhere.csv", ("tables",), {}, "no such file"),
        ("~/no-such-folder-here", ("images",), {}, "no such file or folder"),
        ("iris", ("images",), {}, "source='iris' holds tables; this family takes images"),
        ("digits", ("tables",), {}, "holds images; this family takes tables, embedded: iris"),
        ((PIXELS, LABELS), ("tables",), {}, "source=<tuple> holds images"),
        ("iris", ("tables",), {"image_size": 8}, "unknown option of tables 'image_size'"),
        ("iris", ("tables", "images"), {"image_size": 8}, "unknown option of tables"),
        ("digits", ("images",), {"bath_size": 8}, "Did you mean 'batch_size'?"),
        ("iris", ("images", "text"), {"kind": "image"}, "unknown kind 'image'"),
        ("iris", ("images", "tables"), {"kind": "images"}, "holds tables"),
        ("digits", ("images",), {"batch_size": 0}, "batch_size=0: must be a positive integer"),
        ("digits", ("images",), {"batch_size": 2.5}, "batch_size=2.5"),
        ("digits", ("images",), {"seed": -1}, "seed=-1"),
        ("digits", ("images",), {"seed": "a"}, "seed='a'"),
        ("iris", ("tables",), {"test_fraction": 1}, "test_fraction=1: must be a number in [0, 1)"),
        ("iris", ("tables",), {"test_fraction": "a"}, "test_fraction='a'"),
        ("iris", ("tables",), {"validation_fraction": -0.1}, "validation_fraction=-0.1"),
        ("iris", ("tables",), {"validation_fraction": float("nan")}, "validation_fraction=nan"),
        ("iris", ("tables",), {"test_fraction": 0}, "must be more than 0"),
        (
            "iris",
            ("tables",),
            {"test_fraction": 0.5, "validation_fraction": 0.5},
            "validation_fraction + test_fraction=1.0: must be less than 1",
        ),
        ((np.eye(2), [0, 1]), ("tables",), {}, "too few of each class: 2 train, 0 validation"),
    ],
)
def test_bad_input(source, kinds, options, words):
    with pytest.raises(ValueError) as error:
        data.load(source, kinds, **options)
    assert words in str(error.value)


def test_data_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="holds tables; this family takes images"):
        data.load(data.load("iris", ("tables",)), ("images",))


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"unknown kind of data .image.;.*Did you mean .images."):
        data.transform_from_config("image", {})


def test_importing_the_layer_imports_no_reader():
    """Families import it, and readers take longer to import than Keras itself."""
    script = (
        "import sys, keras; before = set(sys.modules)\n"
        "import recipes.data.images, recipes.data.tables\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {
        "pandas",
        "PIL",
        "sklearn",
        "tensorflow_datasets",
        "pyarrow",
        "mlxtend",
        "array_record",
    }
    loaded = set(found.stdout.split())
    assert "recipes" in loaded and not loaded & heavy


def test_a_sample_is_spread_over_the_part():
    x = np.arange(40.0).reshape(20, 2)
    part = Batches(x, np.arange(20), np.arange(4, 16), lambda raw: raw + 0.5, 5, shuffle=True)
    found, y = part.sample(4)
    assert y.tolist() == [4, 7, 10, 13]
    np.testing.assert_array_equal(found, x[[4, 7, 10, 13]] + 0.5)
    assert part.sample(100)[1].tolist() == list(range(4, 16))
    assert Batches(x, None, np.arange(3), np.asarray, 5).sample(2)[1] is None


def test_long_values_are_not_shown_in_full():
    assert short({"a": 1}) == "{...}"
    assert short(list(range(1000))) == "[1,000 values]"
    assert short((28, 28, 1)) == "(28, 28, 1)"
    assert short("lenet5") == "'lenet5'"


def test_whole_batches_leave_out_others_in_each_epoch():
    part = batches_of(n=99, batch_size=16, shuffle=True)  # 50 of them
    loaded = data.core.Data("x", "tables", part, None, part.first(5), {}, None)
    whole = loaded.in_whole_batches()
    assert whole.test is loaded.test and whole.sizes == loaded.sizes
    epochs = []
    for _ in range(2):
        found = [y for _, y in whole.train]
        assert [len(y) for y in found] == [16, 16, 16]
        epochs.append(np.concatenate(found).tolist())
        whole.train.on_epoch_end()
    assert epochs[0] == np.concatenate([y for _, y in part]).tolist()[:48]  # the same order
    assert set(epochs[0]) != set(epochs[1])
    assert [len(y) for _, y in whole.with_batch_size(64).train] == [50]  # too few for one
    assert sum(len(y) for _, y in whole.train.first(20)) == 20


class OfKeras(keras.utils.PyDataset):
    """Batches as Keras itself reads them."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


@pytest.mark.parametrize("eagerly", [False, True])
def test_training_evaluation_and_prediction_on_our_batches_are_as_on_any(eagerly):
    """And TensorFlow traces a step once, though the last batch is smaller."""
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    batches, found = Batches(x, 2 * x[:, :1], np.arange(50), np.asarray, 8), []
    for read in (batches, OfKeras(batches)):
        traced = []

        class Double(keras.layers.Layer):
            def call(self, x, traced=traced):
                traced.append(x.shape)
                return 2.0 * x

        model = keras.Sequential([keras.Input((3,)), Double(), keras.layers.Dense(1)])
        model.layers[-1].set_weights([np.ones((3, 1)), np.zeros(1)])
        model.compile("sgd", "mse", run_eagerly=eagerly)
        traced.clear()
        history = model.fit(read, epochs=2, shuffle=False, validation_data=read, verbose=0).history
        once = keras.backend.backend() == "tensorflow" and not eagerly
        assert not once or len(traced) == 2  # in fit and in evaluate
        found.append([*model.get_weights(), history["loss"], model.predict(read, verbose=0)])
    for ours, keras_own in zip(*found, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's feed")
def test_a_later_batch_may_be_longer_than_the_first_two():
    class Growing(data.core.Feed):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return np.full((2, (3, 3, 7)[index]), 1.0 + index, "float32")

    model = keras.Sequential([keras.Input((None,)), keras.layers.Lambda(lambda x: x[:, -1:])])
    found = model.predict(Growing(), verbose=0)
    assert found.ravel().tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's feed")
def test_ctrl_c_is_heard_when_an_epochs_thread_ends(monkeypatch):
    """Python ignores what is raised while it closes a generator: it ends before, unwaited."""
    x = np.zeros((20, 3), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batches = Batches(x, x[:, :1], np.arange(20), np.asarray, 8)
    waits = []

    def interrupt(self, wait=True):
        waits.append(wait)
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(batches, verbose=0)
    assert waits == [False]


def test_a_batch_that_cannot_be_made_ends_fit_with_its_error():
    def transform(raw):
        if raw[0] >= 40:
            raise OSError("no such picture")
        return np.zeros((len(raw), 3), "float32")

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batches = Batches(np.arange(50), np.zeros((50, 1)), np.arange(50), transform, 8)
    with pytest.raises(OSError, match="no such picture"):
        model.fit(batches, verbose=0)
