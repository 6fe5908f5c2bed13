"""TensorFlow Datasets: prepared folders in both formats, with and without TensorFlow."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recipes import data
from recipes.data import tfds
from recipes.data.pictures import Pictures

SHARED = Path(__file__).parents[2] / "shared"


def prepared_folder(folder: str, name: str) -> str:
    """A folder where the set is prepared, or skip."""
    given = os.environ.get("TFDS_DATA_DIR") if folder == "tfds" else None
    for found in filter(None, (given, SHARED / folder)):
        if tfds.is_prepared(name, str(found)):
            return str(found)
    return pytest.skip(f"{name} is not prepared in {folder}: no TFDS_DATA_DIR, no shared/")


def load(name, kind="images", **options):
    return data.load(name, (kind,), **options)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with sets made here: see below. Writing them needs TensorFlow; reading does not."""
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as t

    folder = tmp_path_factory.mktemp("made")
    f = t.features
    rng = np.random.default_rng(0)

    class Made(t.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = t.core.Version("1.0.0")

        def __init__(self, name, features, splits, keys):
            self.name, self.of_set, self.splits, self.keys = name, features, splits, keys
            super().__init__(data_dir=folder)

        def _info(self):
            return t.core.DatasetInfo(
                builder=self,
                features=f.FeaturesDict(self.of_set),
                supervised_keys=self.keys,
                disable_shuffling=True,
            )

        def _split_generators(self, manager):
            return {part: enumerate(rows) for part, rows in self.splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    def store(name, features, splits, keys=None):
        Made(name, features, splits, keys).download_and_prepare()

    def pictures(count, height, label=None):
        return [
            {
                "image": rng.integers(0, 256, (height + i % 3, 6, 3)).astype("uint8"),
                "label": i % 2 if label is None else label,
            }
            for i in range(count)
        ]

    image = {
        "image": f.Image(shape=(None, None, 3)),
        "label": f.ClassLabel(names=["ape", "bee"]),
    }
    # pictures of mixed sizes; a test part that has no labels
    store("mixed", image, {"train": pictures(30, 5), "test": pictures(8, 5, label=-1)})
    rows = [
        {
            "features": {
                "age": float(i),
                "size": [i / 2, 1.0],
                "sex": i % 3 - 1,
                "town": f"t{i % 2}",
            },
            "price": i / 7,
        }
        for i in range(40)
    ]
    row = {
        "features": {
            "age": np.float32,
            "size": f.Tensor(shape=(2,), dtype=np.float32),
            "sex": f.ClassLabel(names=["f", "m"]),
            "town": f.Text(),
        },
        "price": np.float32,
    }
    store("prices", row, {"train": rows}, keys=("features", "price"))
    label = f.ClassLabel(names=["a", "b"])
    store(
        "sequences",
        {"x": f.Sequence(np.int64), "label": label},
        {"train": [{"x": [1], "label": 0}]},
    )
    return str(folder)


# --- the prepared sets


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["tfds", "tfds_array_record"])
def test_mnist(folder):
    found = load("mnist", data_dir=prepared_folder(folder, "mnist"))
    assert found.sizes == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert found.spec == {"input_shape": (28, 28, 1), "num_classes": 10}
    assert found.class_names == tuple("0123456789")
    of_test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # as known for MNIST
    assert np.bincount(found.test.targets).tolist() == of_test
    of_all = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    assert np.bincount(found.train.y).tolist() == of_all
    # the mean and deviation that everyone normalises MNIST by, over all 60,000
    np.testing.assert_allclose(found.transform.mean, [0.1307], atol=3e-4)
    np.testing.assert_allclose(found.transform.std, [0.3081], atol=3e-4)
    assert "lecun" in found.citation.lower()


@pytest.mark.slow
def test_mnist5k_is_part_of_mnist():
    found = load("mnist", data_dir=prepared_folder("tfds", "mnist"))
    whole = {
        (image.tobytes(), int(y)) for image, y in zip(found.train.x, found.train.y, strict=True)
    }
    small = load("mnist5k").train
    assert all(
        (image.tobytes(), int(y)) in whole for image, y in zip(small.x, small.y, strict=True)
    )


@pytest.mark.slow
def test_fashion_mnist():
    found = load("fashion_mnist", data_dir=prepared_folder("tfds", "fashion_mnist"))
    assert found.sizes == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert found.class_names[0] == "T-shirt/top" and found.class_names[9] == "Ankle boot"
    assert np.bincount(found.test.targets).tolist() == [1000] * 10
    assert found.train.x.mean() / 255 == pytest.approx(0.2861, abs=3e-4)  # as known


def test_pixels_are_those_that_tensorflow_reads():
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as t

    folder = prepared_folder("tfds", "mnist")
    found = load("mnist", data_dir=folder, cache_bytes=0, standardize=False)
    assert isinstance(found.test.x, Pictures)
    some = found.test.indices[:100]
    theirs = t.load("mnist", split="test[:100]", data_dir=folder, batch_size=-1)
    np.testing.assert_array_equal(found.test.x[some], theirs["image"].numpy())
    np.testing.assert_array_equal(found.test.y[some], theirs["label"].numpy())


@pytest.mark.parametrize("folder", ["tfds", "tfds_array_record"])
def test_iris_is_scikit_learns_but_for_the_two_known_errors(folder):
    """UCI's file has two wrong rows, which scikit-learn corrects (its own description says so)."""
    from sklearn.datasets import load_iris

    source = tfds.read_table("iris:2.1.0", prepared_folder(folder, "iris"))
    theirs = load_iris()

    def rows(x, y):
        table = np.round(np.column_stack([np.asarray(x, "float64"), y]), 1)
        return Counter(map(tuple, table.tolist()))

    ours, other = rows(source.x, source.y), rows(theirs.data, theirs.target)
    assert ours - other == {(4.9, 3.1, 1.5, 0.1, 0.0): 2}
    assert other - ours == {(4.9, 3.1, 1.5, 0.2, 0.0): 1, (4.9, 3.6, 1.4, 0.1, 0.0): 1}

    found = load("iris:2.1.0", "tables", data_dir=prepared_folder(folder, "iris"))
    assert found.sizes == {"train": 105, "validation": 15, "test": 30}
    assert found.class_names == ("Iris-setosa", "Iris-versicolor", "Iris-virginica")


def test_the_data_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", prepared_folder("tfds_array_record", "iris"))
    assert "iris" in tfds.prepared()
    assert load("iris:2.1.0", "tables").spec == {"input_shape": (4,), "num_classes": 3}


WITHOUT_TENSORFLOW = """
import importlib.machinery, json, sys
find = importlib.machinery.PathFinder.find_spec
def hide(cls, name, path=None, target=None):
    return None if name.split(".")[0] == "tensorflow" else find(name, path, target)
importlib.machinery.PathFinder.find_spec = classmethod(hide)

import numpy as np
from recipes import data
folder = sys.argv[1]
iris = data.load("iris:2.1.0", ("tables",), data_dir=folder)
mnist = data.load("mnist", ("images",), data_dir=folder, cache_bytes=0, standardize=False)
x, y = mnist.test[0]
import keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
loss = model.fit(iris.train, verbose=0).history["loss"][0]
print(json.dumps({
    "backend": keras.backend.backend(), "tensorflow": "tensorflow" in sys.modules,
    "iris": iris.sizes, "mnist": mnist.sizes, "labels": np.bincount(mnist.test.targets).tolist(),
    "pixels": float(x.mean()), "first": y[:10].tolist(), "finite": bool(np.isfinite(loss)),
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["tfds", "tfds_array_record"])
def test_both_formats_are_read_where_tensorflow_is_not_installed(folder):
    pytest.importorskip("jax")
    prepared_folder(folder, "mnist")
    where = prepared_folder(folder, "iris")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, where],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == "jax" and not found["tensorflow"]
    assert found["iris"] == {"train": 105, "validation": 15, "test": 30}
    assert found["mnist"] == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert found["labels"] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert found["first"] == [2, 0, 4, 8, 7, 6, 0, 6, 3, 1]  # as TFDS stores them
    assert found["pixels"] == pytest.approx(0.133, abs=0.02) and found["finite"]


# --- sets of other shapes


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_mixed_sizes_and_a_part_without_labels(made, cache_bytes):
    found = load("mixed", data_dir=made, cache_bytes=cache_bytes)
    assert found.spec == {"input_shape": (64, 64, 3), "num_classes": 2}
    assert sum(found.sizes.values()) == 30  # the test part is drawn from the training part
    asked = load("mixed", data_dir=made, image_size=(4, 6), channels=1, cache_bytes=cache_bytes)
    assert asked.spec["input_shape"] == (4, 6, 1)
    x, y = asked.train[0]
    assert x.shape == (21, 4, 6, 1) and set(y) == {0, 1}
    held = load("mixed", data_dir=made, image_size=(4, 6), channels=1)
    np.testing.assert_array_equal(held.train[0][0], x)


def test_a_table_of_numbers_classes_and_texts(made):
    found = load("prices", "tables", data_dir=made)
    assert found.class_names is None  # the price is a quantity
    names = ["features/age", "features/size_0", "features/size_1"]
    assert list(found.transform.numbers) == names
    assert found.transform.categories == {
        "features/sex": ["f", "m"],
        "features/town": ["t0", "t1"],
    }
    x, y = found.train.x, found.train.y[:, 0]
    assert x.shape == (40, 7)
    np.testing.assert_array_equal(x[:6, 3], [0, 1, 0, 0, 1, 0])  # -1 is not known
    np.testing.assert_array_equal(x[:3, 5:], [[1, 0], [0, 1], [1, 0]])
    np.testing.assert_allclose(np.corrcoef(x[:, 0], y)[0, 1], 1, atol=1e-6)


def test_the_newest_version_and_the_one_that_is_named(tmp_path):
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        (tmp_path / "set" / version).mkdir(parents=True)
        (tmp_path / "set" / version / "dataset_info.json").touch()
    assert tfds.is_prepared("set", str(tmp_path)) and tfds.is_prepared("set:1.9.0", str(tmp_path))
    assert not tfds.is_prepared("set:2.0.0", str(tmp_path))
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tensorflow_datasets.builder_from_directory", opened.append)
        tfds.builder("set", str(tmp_path))
        tfds.builder("set:1.9.0", str(tmp_path))
    assert [path.name for path in opened] == ["1.10.0", "1.9.0"]


def test_damaged_records(made, tmp_path):
    import shutil

    shutil.copytree(Path(made) / "mixed", tmp_path / "mixed")
    (path,) = (tmp_path / "mixed").rglob("*train.tfrecord*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"mixed-train\.tfrecord.*cut short; prepare"):
        load("mixed", data_dir=str(tmp_path))
    length = 16 + int.from_bytes(whole[:8], "little")
    path.write_bytes(whole[length:])
    with pytest.raises(ValueError, match="29 examples of 30; prepare"):
        load("mixed", data_dir=str(tmp_path))


# --- what is not there


@pytest.fixture
def no_network(monkeypatch):
    import socket

    def refuse(*arguments, **options):
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar10", ["'cifar10' is a TensorFlow Datasets set that is not prepared in", "t.load("]),
        ("cifar10:3.0.2", ["t.load('cifar10:3.0.2', data_dir="]),
        ("glue/cola", ["t.load('glue/cola'"]),
        ("fashion_mnits", ["no data set, file or folder has this name", "'fashion_mnist'?"]),
        ("qqqqqqqq", ["embedded: mnist5k, digits, iris", "prepared in"]),
        ("a b", ["'a b': no such file or folder"]),
        ("", ["source='': is empty"]),
    ],
)
def test_not_prepared_is_one_error_that_says_what_to_do(no_network, tmp_path, name, words):
    with pytest.raises(ValueError) as error:
        load(name, data_dir=str(tmp_path))
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_the_command_in_the_error_is_python_that_asks_for_this_set(tmp_path, monkeypatch):
    with pytest.raises(ValueError) as error:
        load("cifar10", data_dir=str(tmp_path))
    _, _, command = str(error.value).partition('python -c "')
    asked = []
    monkeypatch.setattr("tensorflow_datasets.load", lambda *a, **k: asked.append((a, k)))
    exec(command.removesuffix('"'))
    assert asked == [(("cifar10",), {"data_dir": str(tmp_path)})]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("sequences", "images", "the data set 'sequences' holds label, x; needs pictures"),
        ("mixed", "tables", "holds images; this family takes tables"),
        ("prices", "images", "holds tables; this family takes images"),
    ],
)
def test_a_set_that_does_not_fit(made, name, kind, words):
    with pytest.raises(ValueError) as error:
        load(name, kind, data_dir=made)
    assert words in str(error.value)


def test_a_set_in_several_configurations(tmp_path):
    for config in ("big", "small"):
        (tmp_path / "set" / config / "1.0.0").mkdir(parents=True)
        (tmp_path / "set" / config / "1.0.0" / "dataset_info.json").touch()
    with pytest.raises(ValueError, match="name one of its configurations: set/big, set/small"):
        tfds.builder("set", str(tmp_path))
