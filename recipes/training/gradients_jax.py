"""Gradients with respect to inputs, with JAX."""

from collections.abc import Callable
from typing import Any

import jax


def input_gradient(function: Callable[[Any], Any], x: Any) -> Any:
    """Gradient of the sum of function(x) with respect to x, of its shape; can be derived again."""
    return jax.grad(lambda value: function(value).sum())(x)
