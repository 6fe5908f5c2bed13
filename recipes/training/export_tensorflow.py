"""What TensorFlow alone writes: SavedModels and LiteRT files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    Interpreter = tf.lite.Interpreter

Written = tuple[Callable[[Any], Any], Any]


def write_saved_model(model: keras.Model, path: Path, signature: Any) -> Written:
    """Write a SavedModel; returns what it predicts once loaded, and its signature."""
    model.export(path, format="tf_saved_model", input_signature=[signature], verbose=False)
    loaded = tf.saved_model.load(str(path))
    return lambda x: keras.tree.map_structure(lambda y: y.numpy(), loaded.serve(x)), signature


def write_litert(model: keras.Model, path: Path, signature: Any, batch: Any) -> Written:
    """Write a LiteRT file; returns what its interpreter predicts, and its signature.

    It has built-in operations alone: the others need a delegate, which the interpreter lacks. Where
    LiteRT has to know all sizes, as loops over time do, one example comes at once, as long as those
    of `batch`, model inputs.
    """
    options = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    options |= {"format": "litert", "verbose": False}
    one = keras.tree.map_structure(
        lambda spec, x: keras.InputSpec(shape=(1, *x.shape[1:]), dtype=spec.dtype, name=spec.name),
        signature,
        batch,
    )
    try:
        model.export(path, input_signature=[signature], **options)
        run = Interpreter(model_path=str(path)).get_signature_runner()
        together = True
    except Exception:  # the converter's own kinds differ between versions
        model.export(path, input_signature=[one], **options)
        run = Interpreter(model_path=str(path)).get_signature_runner()
        together = False
    names = sorted(run.get_input_details())

    def predict(x: Any) -> list[Any]:
        flat = keras.tree.flatten(x)
        size = len(flat[0])
        batches = [flat] if together else [[a[i : i + 1] for a in flat] for i in range(size)]
        found = [run(**dict(zip(names, batch, strict=True))) for batch in batches]
        return [np.concatenate([outputs[name] for outputs in found]) for name in sorted(found[0])]

    return predict, signature if together else one
