"""Many training steps in one compiled call, with PyTorch."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from keras import ops, tree


def repeat(model: keras.Model) -> Callable[[Any, Any], np.ndarray]:
    """A function that takes a model's training step on each of several batches.

    Args:
        model: compiled, its optimizer built; its `compute_metrics` gives "errors", float32
            (batch_size,).

    Returns:
        (x, sample_weight), each (steps, batch_size, ...) -> the errors, (steps, batch_size).
    """

    def call(x, sample_weight):
        # In one go: it is not compiled, but the data goes to the device once.
        x, sample_weight = tree.map_structure(ops.convert_to_tensor, (x, sample_weight))
        errors = []
        for i, weight in enumerate(sample_weight):
            batch = tree.map_structure(lambda part, i=i: part[i], x)
            errors.append(model.train_step((batch, None, weight))["errors"])
        return ops.convert_to_numpy(torch.stack(errors))

    return call
