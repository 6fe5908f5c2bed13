"""Gradients with respect to inputs, with PyTorch."""

from collections.abc import Callable
from typing import Any

import torch


def input_gradient(function: Callable[[Any], Any], x: Any) -> Any:
    """Gradient of the sum of function(x) with respect to x, of its shape; can be derived again."""
    with torch.enable_grad():  # `evaluate` turns it off
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x, create_graph=True)[0]
