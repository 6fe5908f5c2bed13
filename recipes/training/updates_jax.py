"""Many training steps in one compiled call, with JAX."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np


def repeat(model: keras.Model) -> Callable[[Any, Any], np.ndarray]:
    """A function that takes a model's training step on each of several batches.

    Args:
        model: compiled, its optimizer built; its `compute_metrics` gives "errors", float32
            (batch_size,).

    Returns:
        (x, sample_weight), each (steps, batch_size, ...) -> the errors, (steps, batch_size).
    """

    def step(state, batch):
        x, weight = batch
        logs, state = model.train_step(state, (x, None, weight))
        return tuple(map(list, state)), logs["errors"]

    @jax.jit
    def run(state, batches):
        return jax.lax.scan(step, state, batches)

    def call(x, sample_weight):
        variables = (model.trainable_variables, model.non_trainable_variables,
                     model.optimizer.variables, model.metrics_variables)  # fmt: skip
        state = tuple([v.value for v in part] for part in variables)
        state, errors = run(state, (x, sample_weight))
        for part, values in zip(variables, state, strict=True):
            for variable, value in zip(part, values, strict=True):
                variable.assign(value)
        return np.asarray(errors)

    return call
