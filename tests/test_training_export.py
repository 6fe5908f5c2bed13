"""Exported files: loaded by their own runtimes, equal to the model, or not there at all."""

import importlib.util
import json

import keras
import numpy as np
import pytest

import recipes
from recipes import data, dnn, rnn
from recipes.training import export as exporting
from recipes.training.precision import policy

BACKEND = keras.backend.backend()
NEEDS = {"onnx": ("onnxruntime", "tf2onnx" if BACKEND == "tensorflow" else "onnx")}


def can_write(format: str) -> bool:
    packages = NEEDS.get(format, ())
    return BACKEND in exporting.FORMATS[format][1] and all(map(importlib.util.find_spec, packages))


def writable(format: str):
    marks = pytest.mark.skipif(not can_write(format), reason=f"no {format} here")
    return pytest.param(format, marks=marks)


FORMATS = list(map(writable, exporting.FORMATS))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recipes.reports.run.write_reports", lambda run: None)
        return recipes.train(
            "dnn", "digits", variant="tiny", epochs=3, learning_rate=0.02, verbose=0,
            run_dir=tmp_path_factory.mktemp("runs") / "digits",
        )  # fmt: skip


def small(**arguments) -> keras.Model:
    return dnn.build_model("tiny", input_shape=(4,), num_classes=3, units=(6,), **arguments)


def outputs(path, format: str, x: np.ndarray) -> np.ndarray:
    """What an exported file says of x, without a line of ours."""
    if format == "keras":
        return keras.saving.load_model(path).predict(x, verbose=0)
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x})[0]
    import tensorflow as tf

    if format == "saved_model":
        loaded = tf.saved_model.load(str(path))
        return loaded.serve(x).numpy()
    interpreter = tf.lite.Interpreter(model_path=str(path))
    where = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(where, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(where, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
def test_a_run_is_served_from_the_file_and_its_json_alone(format, run):
    found = recipes.export(run.directory, format=format)
    assert found.path.parent == run.directory / "export"
    assert found.difference <= found.tolerance == 1e-4
    assert found.checked_on == "16 examples of the test part"
    about = json.loads((found.path.parent / f"{found.path.name}.json").read_text())
    assert about["difference"] == found.difference
    assert about["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 8, 8, 1]}]
    assert about["outputs"][0]["shape"] == [None, 10]
    assert about["environment"]["backend"] == BACKEND

    raw = run.data.test.x[run.data.test.indices[:9]]
    prepared = data.transform_from_config(about["about"]["kind"], about["about"]["transform"])
    wanted = recipes.predict(run.directory, raw)
    for size in (9, 4, 1):  # any number at a time
        logits = outputs(found.path, format, prepared(raw[:size]))
        classes = [about["about"]["class_names"][i] for i in logits.argmax(axis=1)]
        assert classes == [row["class"] for row in wanted[:size]]
        of_model = run.model.predict(prepared(raw[:size]), verbose=0)
        np.testing.assert_allclose(logits, of_model, atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_what_differs_is_never_there(format, run, tmp_path, monkeypatch):
    path = tmp_path / f"model{exporting.FORMATS[format][0]}"
    recipes.export(run, path, format=format)
    before = {p.name: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    write = exporting._write

    def wrong(*args):
        predict, signature = write(*args)
        return lambda x: keras.tree.map_structure(lambda y: y + 2e-2, predict(x)), signature

    monkeypatch.setattr(exporting, "_write", wrong)
    message = "outputs of the exported file differ from the model's own by .* nothing was written"
    with pytest.raises(RuntimeError, match=message):
        recipes.export(run, path, format=format)
    with pytest.raises(RuntimeError, match=message):
        recipes.export(run, tmp_path / "new", format=format)
    assert {p.name: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before
    assert recipes.export(run, path, format=format, tolerance=1).difference > 1e-4  # told, allowed


def test_an_output_that_is_no_number_differs():
    y = np.zeros((2, 3))
    assert not exporting._difference(y, y * np.nan) <= 1
    with pytest.raises(RuntimeError, match=r"outputs of shape \(2, 2\), but the model's \(2, 3\)"):
        exporting._difference(y, y[:, :2])
    assert exporting._difference(100 * np.ones((2, 3)), 99 * np.ones((2, 3))) == pytest.approx(0.01)


@pytest.mark.parametrize("format", FORMATS)
def test_a_kill_while_writing_leaves_the_older_export(format, run, tmp_path, monkeypatch):
    recipes.export(run, tmp_path / "model", format=format)
    before = sorted(p.name for p in tmp_path.iterdir())

    def killed(model, path, *args):
        path.write_text("half of a fi")
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        recipes.export(run, tmp_path / "model", format=format)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_nothing_but_an_export_is_replaced(run, tmp_path):
    notes = tmp_path / "notes.keras"
    notes.write_text("mine")
    with pytest.raises(ValueError, match=r"path='.*notes.keras': is there already, and no export"):
        recipes.export(run, notes, format="keras")
    assert notes.read_text() == "mine"
    with pytest.raises(ValueError, match=r"must be in a folder, but .*notes.keras is a file"):
        recipes.export(run, notes / "model.keras", format="keras")


@pytest.mark.parametrize("format", [f for f in FORMATS if f.values[0] != "keras"])
def test_a_network_of_mixed_precision_is_exported_in_float32(format, tmp_path):
    with policy("bfloat16"):
        model = small()
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    found = recipes.export(model, tmp_path / "model", format=format, examples=x)
    exact = small()
    exact.set_weights(model.get_weights())
    np.testing.assert_allclose(
        outputs(found.path, format, x), exact.predict(x, verbose=0), atol=1e-5
    )
    assert found.checked_on == "the examples given"


def test_a_keras_file_has_no_optimizer_and_the_same_precision(tmp_path):
    with policy("bfloat16"):
        model = small()
    found = recipes.export(model, tmp_path / "model", format="keras")
    assert found.checked_on == "random inputs"
    loaded = recipes.load(found.path)
    assert loaded.layers[1].compute_dtype == "bfloat16"
    assert not loaded.compiled


@pytest.mark.skipif(not can_write("litert"), reason="no litert here")
def test_litert_takes_one_series_at_a_time(tmp_path):
    model = rnn.build_model("tiny", input_shape=(5, 1), task="regression", num_targets=1)
    found = recipes.export(model, tmp_path / "model", format="litert")
    assert found.inputs == [{"name": "x", "dtype": "float32", "shape": [1, 5, 1]}]


def test_data_that_are_gone_leave_random_inputs(tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.reports.run.write_reports", lambda run: None)
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    run = recipes.train(
        "dnn", (x, x[:, 0] > 0), variant="tiny", epochs=1, verbose=0, run_dir=tmp_path / "run"
    )
    found = recipes.export(run.directory, format="keras")
    assert found.checked_on == "random inputs"
    assert recipes.export(run, format="keras").checked_on.endswith("of the test part")


def test_wrong_arguments_say_what_would_do(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"unknown format 'onx'; known: .*Did you mean 'onnx'"):
        recipes.export(run, format="onx")
    with pytest.raises(ValueError, match=r"tolerance=0: must be a number above 0"):
        recipes.export(run, format="keras", tolerance=0)
    with pytest.raises(ValueError, match=r"path=None: name the file"):
        recipes.export(run.model, format="keras")
    with pytest.raises(ValueError, match=r"run=.*is no run directory"):
        recipes.export(tmp_path, format="keras")
    with pytest.raises(ValueError, match=r"no such model file"):
        recipes.export(tmp_path / "none.keras", tmp_path / "m", format="keras")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for format in ("saved_model", "onnx", "litert"):
        message = rf"format='{format}': is not written by the jax backend; .*KERAS_BACKEND=tensor"
        with pytest.raises(ValueError, match=message):
            recipes.export(run, format=format)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"needs onnxruntime and tf2onnx: pip install 'keras-recipes\[export\]'"
    with pytest.raises(ImportError, match=message):
        recipes.export(run, format="onnx")
