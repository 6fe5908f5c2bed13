"""Model files: whole or not at all, with everything that training needs to go on."""

import zipfile

import keras
import numpy as np
import pytest

import recipes
from recipes import dnn
from recipes.training import checkpoints
from recipes.training.precision import policy


def small(**arguments) -> keras.Model:
    given = {"input_shape": (4,), "num_classes": 3, "units": (6,), "dropout_rate": 0.5, "seed": 1}
    return dnn.build_model("tiny", **given | arguments)


def batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(32, 4)).astype("float32"), rng.integers(0, 3, 32).astype("int32")


def values(variables) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_a_loaded_model_goes_on_as_the_saved_one(precision, tmp_path):
    with policy(precision):
        model = small()
        for step in range(3):
            model.train_on_batch(*batch(step))
        checkpoints.save(model, tmp_path / "model.keras")
    loaded = recipes.load(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    assert loaded.layers[1].compute_dtype == precision
    for step in range(3, 6):  # the same dropout masks, momenta and loss scale
        model.train_on_batch(*batch(step))
        loaded.train_on_batch(*batch(step))
    pairs = zip(
        values([*model.variables, *model.optimizer.variables]),
        values([*loaded.variables, *loaded.optimizer.variables]),
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


def test_float16_keeps_its_loss_scale(tmp_path):
    with policy("float16"):
        model = small()
        model.train_on_batch(*batch(0))
        x, y = batch(1)
        model.train_on_batch(x * np.inf, y)  # overflows: the scale is halved
        checkpoints.save(model, tmp_path / "model.keras")
    optimizer = recipes.load(tmp_path / "model.keras").optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert float(optimizer.dynamic_scale) == 2.0**15 / 2
    assert int(optimizer.inner_optimizer.iterations) == 1


@pytest.mark.filterwarnings("error::UserWarning")
def test_state_comes_back_and_other_files_have_none(tmp_path):
    model = small()
    model.train_on_batch(*batch(0))
    state = {"epoch": 3, "best": 0.5, "objective": "val_loss", "none": None, "long": "x" * 100_000}
    checkpoints.save(model, tmp_path / "with.keras", state)
    assert checkpoints.read_state(tmp_path / "with.keras") == state
    model.save(tmp_path / "plain.keras")
    assert checkpoints.read_state(tmp_path / "plain.keras") == {}
    x, _ = batch(0)
    plain, ours = (recipes.load(tmp_path / name) for name in ("plain.keras", "with.keras"))
    np.testing.assert_array_equal(plain.predict_on_batch(x), ours.predict_on_batch(x))
    # Keras itself reads our file, too.
    keras.saving.load_model(tmp_path / "with.keras")


@pytest.mark.parametrize("place", ["os.fsync", "keras.Model.save", "zipfile.ZipFile.writestr"])
def test_an_error_while_saving_leaves_the_old_file(place, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    checkpoints.save(small(), path, {"epoch": 1})
    before = path.read_bytes()
    save = keras.Model.save

    def fail(*args, **kwargs):
        if place == "keras.Model.save":  # with half of the file written
            save(*args, **kwargs)
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(place, fail)
        checkpoints.save(small(), path, {"epoch": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
    assert path.read_bytes() == before


def test_what_a_kill_left_behind_is_cleaned_by_the_next_save(tmp_path, monkeypatch):
    path, written = tmp_path / "model.keras", []

    def interrupted(model, file):
        written.append(file)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(keras.Model, "save", interrupted)
        checkpoints.save(small(), path)
    written[0].write_bytes(b"half of a fi")
    checkpoints.save(small(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
    recipes.load(path)


def test_a_damaged_file_has_a_clear_error(tmp_path):
    path = tmp_path / "model.keras"
    checkpoints.save(small(), path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("model.weights.h5").header_offset
    flipped = bytearray(whole)
    flipped[start + 3000] ^= 0xFF
    for damaged in (b"", whole[:10], whole[: len(whole) // 2], whole[:-1], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^path='.*model.keras': not a whole .keras file$"):
            recipes.load(path)


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_model_that_has_not_learnt_yet_loads_without_a_warning(tmp_path):
    checkpoints.save(small(), tmp_path / "compiled.keras")
    recipes.load(tmp_path / "compiled.keras")
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    checkpoints.save(plain, tmp_path / "plain.keras")
    recipes.load(tmp_path / "plain.keras")


def test_an_ordinary_keras_model_loads(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    x = np.ones((1, 3), "float32")
    loaded = recipes.load(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))


def rewritten(path, old: str, new: str) -> None:
    """Exchange a text in the configuration of a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert old in files["config.json"].decode()
    files["config.json"] = files["config.json"].decode().replace(old, new).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_no_code_comes_out_of_a_file(tmp_path, monkeypatch):
    path, touched = tmp_path / "model.keras", tmp_path / "touched"
    monkeypatch.setenv("TOUCHED", str(touched))
    layer = keras.layers.Lambda(
        lambda x: (__import__("os").system('touch "$TOUCHED"'), x)[1]  # and any other program
    )
    inputs = keras.Input((3,))
    keras.Model(inputs, layer(inputs)).save(path)
    touched.unlink()
    with pytest.raises(ValueError, match="arbitrary code execution"):
        recipes.load(path)
    assert not touched.exists()
    keras.saving.load_model(path, safe_mode=False)
    assert touched.exists()  # the file is as bad as it should be
    touched.unlink()

    # A function of Python's own, in the place of an activation
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu")])
    model.save(path)
    system = '{"module": "os", "class_name": "function", "config": "system"}'
    rewritten(path, '"activation": "relu"', f'"activation": {system}')
    with pytest.raises(TypeError, match="Could not"):
        recipes.load(path)
