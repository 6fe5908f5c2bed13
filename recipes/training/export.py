"""Export a model to where it is served; the file is loaded back and compared before it is there."""

import importlib
import importlib.util
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recipes.contract import check, family, unknown
from recipes.training import checkpoints
from recipes.training.quiet import quiet
from recipes.training.runs import Run, environment, read_config, write_json
from recipes.training.unsupervised import Unsupervised

# format: (the end of its name, the backends that write it, the packages that it needs)
FORMATS = {
    "saved_model": ("", ("tensorflow",), ()),
    "onnx": (".onnx", ("tensorflow", "torch"), ("onnxruntime",)),
    "litert": (".tflite", ("tensorflow",), ()),
    "keras": (".keras", ("tensorflow", "jax", "torch"), ()),
}
EXAMPLES = 16  # that an exported file is checked on, at once and one by itself
MIXED = ("mixed_float16", "mixed_bfloat16")
Predict = Callable[[Any], Any]


@dataclass(frozen=True)
class Exported:
    """An exported file, and how far its outputs are from those of the model.

    `path`: of the file, or of the folder of a SavedModel; `<path>.json` beside it holds all of
    this. `difference`: the largest, between any of its outputs and the model's own, as a share of
    the largest output where that is more than 1; at most `tolerance`. `checked_on`: which examples.
    `inputs`: for each its name, dtype and shape, None where any size will do. `outputs`: shapes and
    dtypes, and what they mean where there are classes. `about`: how raw inputs are prepared, and
    class names, as in `data.json` of a run; empty for a model by itself.
    """

    path: Path
    format: str
    difference: float
    tolerance: float
    checked_on: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    about: dict[str, Any]


def export(
    run: str | Path | Run | keras.Model,
    path: str | Path | None = None,
    *,
    format: str = "saved_model",
    examples: Any = None,
    tolerance: float = 1e-4,
) -> Exported:
    """Export a model's forward pass, `model(x)`, for another runtime.

    The file is made under another name, loaded by the format's own runtime, and run on examples in
    two batch sizes. Only if its outputs are the model's own, does it get its name. It computes in
    float32, whatever precision the model was trained in, and takes inputs that are prepared as in
    training: `recipes.data.transform_from_config` does that, from what stands in the JSON file.

    Args:
        run: a run directory, whose best model it is then, a `Run`, a `.keras` file, or a model.
        path: of the file; one that an earlier export left is replaced. Default in the
            folder `export` of the run directory.
        format: "saved_model" (a folder, for TensorFlow), "onnx", "litert" (TensorFlow Lite's
            `.tflite`) or "keras" (a `.keras` file without the optimizer).
        examples: model inputs to check with, such as x of a batch of `data.test`; default from
            the test part of the run's data, or random ones where that cannot be loaded again.
        tolerance: largest `difference`.

    Raises:
        ValueError: an unknown format, or one that this backend does not write; no run; a path that
            is something else; examples that the model does not take.
        ImportError: a package is missing; names the extra that brings it.
        RuntimeError: the model cannot be written in this format, or the file's outputs differ.
    """
    _check_format(format)
    ok = isinstance(tolerance, int | float) and not isinstance(tolerance, bool) and tolerance > 0
    check(ok, "tolerance", tolerance, "must be a number above 0")
    directory = run.directory if isinstance(run, Run) else run
    if isinstance(directory, str | Path) and Path(directory).is_dir():
        read_config(directory)  # says so if this is no run
    wanted = "name the file: only a run has a place of its own"
    of_run = isinstance(directory, str | Path) and Path(directory).is_dir()
    check(path is not None or of_run, "path", path, wanted)
    name = "saved_model" if format == "saved_model" else "model"
    path = _place(path or Path(directory) / "export" / name, format)
    model = run if isinstance(run, keras.Model) else checkpoints.load(directory, compile=False)
    model = _bare(model, in_float32=format != "keras")
    batches, checked_on = _batches(model, run, directory if of_run else None, examples)
    signature = _signature(model, batches)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        made = Path(folder) / f"model{FORMATS[format][0]}"
        try:
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the writers' own packages do
                predict, signature = _write(model, made, format, signature, batches)
                found = [predict(x) for x in batches]
        except Exception as error:
            said = " ".join(str(error).split())[:400]
            others = ", ".join(name for name in FORMATS if name != format)
            raise RuntimeError(
                f"format={format!r}: this model cannot be written or run in it; try another of "
                f"{others} ({type(error).__name__}: {said})"
            ) from error
        expected = [model.predict(x, batch_size=len(_first(x)), verbose=0) for x in batches]
        difference = float(np.max([*map(_difference, expected, found)]))  # NaN, if one is
        if not difference <= tolerance:
            raise RuntimeError(
                f"format={format!r}: the outputs of the exported file differ from the model's own "
                f"by {difference:.2g} of {tolerance:.2g}, on {checked_on}; nothing was written"
            )
        about = {}
        if of_run:
            about = json.loads((Path(directory) / "data.json").read_text())
        exported = Exported(
            path,
            format,
            difference,
            tolerance,
            checked_on,
            [
                {"name": s.name, "dtype": str(s.dtype), "shape": list(s.shape)}
                for s in keras.tree.flatten(signature)
            ],
            [_described(y, model, about) for y in keras.tree.flatten(expected[0])],
            about,
        )
        write_json(Path(folder) / "about.json", {**asdict(exported), "environment": environment()})
        if path.is_dir():  # a folder is not replaced by a rename
            path.rename(Path(folder) / "older")
        made.replace(path)
        (Path(folder) / "about.json").replace(_beside(path))
    return exported


def _check_format(format: str) -> None:
    """Raise where a format is unknown, or cannot be written here."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    _, backends, packages = FORMATS[format]
    backend = keras.backend.backend()
    wanted = f"is not written by the {backend} backend; a run loads on any, so set KERAS_BACKEND="
    check(backend in backends, "format", format, wanted + " or ".join(backends))
    if format == "onnx":
        packages += ("tf2onnx",) if backend == "tensorflow" else ("onnx",)
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        wanted = f"needs {' and '.join(missing)}: pip install 'keras-recipes[export]'"
        raise ImportError(f"format={format!r}: {wanted}")


def _place(path: str | Path, format: str) -> Path:
    """Where an export goes, with the format's ending."""
    end = FORMATS[format][0]
    path = Path(path)
    path = path if path.suffix == end or not end else path.with_name(path.name + end)
    ours = _beside(path).is_file()
    wanted = "is there already, and no export; name a new one"
    check(ours or not path.exists(), "path", str(path), wanted)
    there = next(p for p in path.absolute().parents if p.exists())
    check(there.is_dir(), "path", str(path), f"must be in a folder, but {there} is a file")
    return path


def _beside(path: Path) -> Path:
    """The JSON file of an export."""
    return path.with_name(path.name + ".json")


def _bare(model: keras.Model, in_float32: bool) -> keras.Model:
    """The model in float32, or a copy of it in its own precision, without optimizer and losses."""
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    text = json.dumps(config)
    if in_float32:
        if not any(f'"{mixed}"' in text for mixed in MIXED):
            return model
        for mixed in MIXED:
            text = text.replace(f'"{mixed}"', '"float32"')
    # Not from a file: what is unsafe in it has run before
    copy = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=False)
    if not copy.built:
        copy.build_from_config(model.get_build_config())
    copy.set_weights(model.get_weights())
    return copy


def _batches(
    model: keras.Model, run: Any, directory: Path | None, examples: Any
) -> tuple[list[Any], str]:
    """Model inputs to check with, in two batch sizes, and what they are called."""
    if examples is not None:
        if isinstance(examples, dict):  # arrays of unlike lengths
            return [examples], "the examples given"
        first = _slice(examples, EXAMPLES)
        return [first, _slice(first, 1)], "the examples given"
    part = run.data.test if isinstance(run, Run) else directory and _test_part(directory)
    if part is not None:
        sizes = (min(EXAMPLES, part.size), 1)
        first, one = (part.first(EXAMPLES).with_batch_size(n)[0][0] for n in sizes)
        # of a graph, a batch of one is no slice
        batches = [first, one if isinstance(first, dict) else _slice(first, 1)]
        return batches, f"{sizes[0]} examples of the test part"
    wanted = "this model has no inputs of fixed shapes: give some"
    tensors = _inputs(model)
    check(tensors or isinstance(model, Unsupervised), "examples", None, wanted)
    tensors = tensors or [keras.KerasTensor(model.input_shape)]
    generator = np.random.default_rng(0)
    drawn = [
        generator.integers(0, 2, shape).astype(t.dtype)
        if "int" in t.dtype
        else generator.random(shape).astype(t.dtype)
        for t in tensors
        for shape in [[EXAMPLES if n is None else n for n in t.shape]]
    ]
    structure = getattr(model, "_inputs_struct", None)
    first = drawn[0] if len(drawn) == 1 else drawn
    if isinstance(structure, dict):
        first = keras.tree.pack_sequence_as(structure, drawn)
    return [first, _slice(first, 1)], "random inputs"


def _inputs(model: keras.Model) -> list[keras.KerasTensor]:
    """The inputs of a functional model; none of another."""
    inputs = getattr(model, "inputs", None)
    return inputs if isinstance(inputs, list) else []


def _test_part(directory: Path) -> Any:
    """The test part of a run's data; None where it was in memory, or is gone."""
    config = read_config(directory)
    source = dict(config["data"]["source"] or {"source": None})
    name = source.pop("source")
    if name is None:
        return None
    try:
        return family(config["family"]).load_data(name, **source).test
    except (ValueError, OSError, ImportError):
        return None


def _slice(x: Any, count: int) -> Any:
    return keras.tree.map_structure(lambda a: np.asarray(a)[:count], x)


def _first(x: Any) -> Any:
    return keras.tree.flatten(x)[0]


def _signature(model: keras.Model, batches: list[Any]) -> Any:
    """Names, dtypes and shapes of the inputs, in the structure of a batch.

    What is None in the model's own inputs, or has another size in another batch, is free.
    """
    tensors = {t.name: t for t in _inputs(model)}
    flat = [keras.tree.flatten(x) for x in batches]
    if isinstance(batches[0], dict):
        names = sorted(batches[0])  # the order of `flatten`
    elif len(flat[0]) == 1:
        names, tensors = ["x"], dict(zip(["x"], tensors.values(), strict=False))
    elif len(tensors) == len(flat[0]):
        names = list(tensors)
    else:
        names = [f"x_{i}" for i in range(len(flat[0]))]
    specs = []
    for name, one, other in zip(names, flat[0], flat[-1], strict=True):
        known = tensors[name].shape if name in tensors else one.shape
        sizes = list(zip(known, one.shape, other.shape, strict=True))[1:]
        free = [None if n is None or a != b else a for n, a, b in sizes]
        specs.append(keras.InputSpec(shape=(None, *free), dtype=str(one.dtype), name=name))
    return keras.tree.pack_sequence_as(batches[0], specs)


def _write(
    model: keras.Model, path: Path, format: str, signature: Any, batches: list[Any]
) -> tuple[Predict, Any]:
    """Write the file, and load it by the format's own runtime.

    Returns:
        What it predicts, and the signature that it has.
    """
    if format == "keras":
        checkpoints.save(model, path)
        loaded = checkpoints.load(path, compile=False)
        return lambda x: loaded.predict(x, batch_size=len(_first(x)), verbose=0), signature
    if format == "onnx":
        return _write_onnx(model, path, signature)
    written = importlib.import_module("recipes.training.export_tensorflow")
    if format == "saved_model":
        return written.write_saved_model(model, path, signature)
    return written.write_litert(model, path, signature, batches[0])


def _write_onnx(model: keras.Model, path: Path, signature: Any) -> tuple[Predict, Any]:
    model.export(path, format="onnx", input_signature=[signature], verbose=False)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def predict(x: Any) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, keras.tree.flatten(x), strict=True)))

    return predict, signature


def _difference(expected: Any, found: Any) -> float:
    """The largest between outputs, as a share of the largest output where that is more than 1."""
    pairs = list(zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True))
    differences = [0.0]
    for ours, theirs in pairs:
        ours, theirs = np.asarray(ours, "float64"), np.asarray(theirs, "float64")
        if ours.shape != theirs.shape:
            raise RuntimeError(f"outputs of shape {theirs.shape}, but the model's {ours.shape}")
        scale = max(1.0, float(np.abs(ours).max(initial=0)))
        differences.append(float(np.abs(ours - theirs).max(initial=0)) / scale)
    return float(np.max(differences))


def _described(y: np.ndarray, model: keras.Model, about: dict[str, Any]) -> dict[str, Any]:
    """Dtype and shape of an output, and that it is logits where there are classes."""
    found = {"dtype": str(y.dtype), "shape": [None, *y.shape[1:]]}
    classes = about.get("class_names")
    if classes and y.shape[1:] == (len(classes),) and not isinstance(model, Unsupervised):
        found["meaning"] = "logits, whose softmax is a probability for each class"
    return found
