"""Gradients with respect to inputs, with TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def input_gradient(function: Callable[[Any], Any], x: Any) -> Any:
    """Gradient of the sum of function(x) with respect to x, of its shape; can be derived again."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)
