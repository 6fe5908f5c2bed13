"""Adam's step of all variables at once, in PyTorch."""

from typing import Any

import keras
import torch
from keras.src.backend.torch.optimizers.torch_adam import Adam


@torch.no_grad()
def update(optimizer: keras.optimizers.Adam, gradients: list, variables: list, rate: Any) -> None:
    """Move variables and their averages, as Keras does for its own class and for no other."""
    Adam._parallel_update_step(optimizer, gradients, variables, rate)
