"""Functions of tensors that each backend compiles."""

from collections.abc import Callable
from typing import Any

import keras

from recipes.training.compilation import choose_jit


class Compiled(keras.Model):
    """A function as a model, so that `predict_on_batch` compiles it, on every backend.

    Args:
        owner: the model or layer whose weights the function uses.
        function: tensors, in any structure -> tensors.
        xla_on_cpu: see `recipes.training.compilation`.
    """

    def __init__(self, owner: keras.Layer, function: Callable[[Any], Any], xla_on_cpu: bool):
        super().__init__(dtype="float32")
        self.owner, self.function, self.xla_on_cpu = owner, function, xla_on_cpu
        choose_jit(self)

    def call(self, inputs):
        """The function's result."""
        return self.function(inputs)


def compiled(
    owner: keras.Layer, function: Callable[[Any], Any], xla_on_cpu: bool | None = None
) -> Callable[[Any], Any]:
    """A function of arrays, compiled at its first call; by default by XLA where its owner is.

    It can be an attribute of its owner, as the model behind it could not: Keras would take it for a
    part of the owner, save it, and never come to an end.
    """
    if xla_on_cpu is None:
        xla_on_cpu = getattr(owner, "xla_on_cpu", False)
    return Compiled(owner, function, xla_on_cpu).predict_on_batch
