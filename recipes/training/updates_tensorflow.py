"""Many training steps in one compiled call, with TensorFlow."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def repeat(model: keras.Model) -> Callable[[Any, Any], np.ndarray]:
    """A function that takes a model's training step on each of several batches.

    Args:
        model: compiled, its optimizer built; its `compute_metrics` gives "errors", float32
            (batch_size,).

    Returns:
        (x, sample_weight), each (steps, batch_size, ...) -> the errors, (steps, batch_size).
    """

    def step(batch):
        x, weight = batch
        return model.train_step((x, None, weight))["errors"]

    @tf.function(jit_compile=model.jit_compile, autograph=False)
    def run(x, sample_weight):
        kind = tf.TensorSpec(sample_weight.shape[1:], "float32")
        return tf.map_fn(step, (x, sample_weight), fn_output_signature=kind, parallel_iterations=1)

    return lambda x, sample_weight: run(x, sample_weight).numpy()
