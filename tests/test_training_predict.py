"""recipes.predict: new inputs are prepared as the training data was."""

import keras
import numpy as np
import pytest
from PIL import Image

import recipes


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """`train(source)`: a small run, made once."""
    runs = {}

    def get(source: str):
        if source not in runs:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("recipes.reports.run.write_reports", lambda run: None)
                runs[source] = recipes.train(
                    "dnn", source, variant="tiny", epochs=3, learning_rate=0.02, verbose=0,
                    run_dir=tmp_path_factory.mktemp("runs") / source,
                )  # fmt: skip
        return runs[source]

    return get


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype("float64"))
    return powers / powers.sum(axis=1, keepdims=True)


def shares(rows: list[dict]) -> np.ndarray:
    return np.array([list(row["probabilities"].values()) for row in rows])


@pytest.fixture
def digits(train, tmp_path):
    """A run, ten raw digits with their labels, and the same as picture files."""
    run = train("digits")
    chosen = run.data.test.indices[:10]
    raw, labels = run.data.test.x[chosen], run.data.test.y[chosen]
    files = [tmp_path / f"{i}.png" for i in range(10)]
    for file, picture in zip(files, raw, strict=True):
        Image.fromarray(picture[..., 0]).save(file)
    return run, raw, labels, files


def test_arrays_are_prepared_as_the_training_data(digits):
    run, raw, labels, _ = digits
    rows = recipes.predict(run.directory, raw)
    # By hand: x / 255, then the training part's mean and deviation.
    train = run.data.train.x[run.data.train.indices] / 255
    x = ((raw / 255 - train.mean()) / train.std()).astype("float32")
    wanted = softmax(run.model.predict(x, verbose=0))
    np.testing.assert_allclose(shares(rows), wanted, atol=1e-5)
    assert [row["input"] for row in rows] == list(range(10))
    assert [row["class"] for row in rows] == [str(i) for i in wanted.argmax(1)]
    assert [row["probability"] for row in rows] == [max(r["probabilities"].values()) for r in rows]
    assert (wanted.argmax(1) == labels).mean() > 0.7
    # load_data takes grey pictures without a channel axis, too; so does this, in any batches.
    np.testing.assert_allclose(
        shares(recipes.predict(run.directory, raw[..., 0].tolist(), batch_size=3)),
        wanted,
        atol=1e-5,
    )


def test_picture_files_and_folders_are_as_arrays(digits, tmp_path):
    run, raw, _, files = digits
    wanted = shares(recipes.predict(run.directory, raw))
    rows = recipes.predict(run.directory, files)
    np.testing.assert_allclose(shares(rows), wanted, atol=1e-6)
    assert [row["input"] for row in rows] == [str(file) for file in files]
    assert len(recipes.predict(run.directory, str(files[3]))) == 1

    inner = tmp_path / "folder" / "inner"
    inner.mkdir(parents=True)
    files[1].rename(inner / "b.PNG")
    files[2].rename(inner.parent / "a.png")
    (inner / "notes.txt").write_text("no picture")
    (inner / "._b.png").write_bytes(b"what a Mac leaves")
    rows = recipes.predict(run.directory, [files[0], inner.parent])
    assert [row["input"] for row in rows] == [
        str(p) for p in (files[0], inner.parent / "a.png", inner / "b.PNG")
    ]
    np.testing.assert_allclose(shares(rows), wanted[[0, 2, 1]], atol=1e-6)


def test_larger_pictures_in_colour_are_made_to_fit(digits, tmp_path):
    run, raw, _, _ = digits
    grey = np.kron(raw[0, ..., 0], np.ones((4, 4), "uint8"))  # 32 x 32
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "large.png")
    found = recipes.predict(run.directory, tmp_path / "large.png")[0]
    assert found["class"] == recipes.predict(run.directory, raw[:1])[0]["class"]


def test_tables_as_files_frames_and_arrays(train, tmp_path):
    from sklearn.datasets import load_iris

    run = train("iris")
    table = load_iris(as_frame=True).data
    rows = recipes.predict(run.directory, table)
    assert {row["class"] for row in rows} <= {"setosa", "versicolor", "virginica"}
    x, _ = run.data.test.arrays()
    wanted = softmax(run.model.predict(x, verbose=0))
    np.testing.assert_allclose(shares(rows)[run.data.test.indices], wanted, atol=1e-5)
    right = load_iris().target_names[load_iris().target] == [row["class"] for row in rows]
    assert right.mean() > 0.8

    shuffled = table[table.columns[::-1]].assign(note="columns in another order, one more")
    shuffled[:100].to_csv(tmp_path / "one.csv", index=False)
    shuffled[100:].to_parquet(tmp_path / "two.parquet")
    from_files = recipes.predict(run.directory, [tmp_path / "one.csv", tmp_path / "two.parquet"])
    assert [row["input"] for row in from_files] == list(range(150))
    np.testing.assert_allclose(shares(from_files), shares(rows), atol=1e-5)
    from_array = recipes.predict(run.directory, table.to_numpy())
    np.testing.assert_allclose(shares(from_array), shares(rows), atol=1e-6)


def test_a_regression_predicts_in_the_units_of_the_target(train):
    from sklearn.datasets import load_diabetes

    run = train("diabetes")
    raw, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    values = np.array([row["value"] for row in recipes.predict(run.directory, raw)])
    known = target.to_numpy()[run.data.train.indices]
    x, _ = run.data.test.arrays()
    wanted = run.model.predict(x, verbose=0)[:, 0] * known.std() + known.mean()
    np.testing.assert_allclose(values[run.data.test.indices], wanted, rtol=1e-4)
    assert np.corrcoef(values, target)[0, 1] > 0.5


def test_a_run_may_be_moved(digits, tmp_path):
    run, raw, _, _ = digits
    import shutil

    shutil.copytree(run.directory, tmp_path / "elsewhere")
    found, wanted = (recipes.predict(d, raw) for d in (tmp_path / "elsewhere", run.directory))
    assert found == wanted
    assert isinstance(recipes.load(tmp_path / "elsewhere"), keras.Model)
