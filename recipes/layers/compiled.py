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
    """

    def __init__(self, owner: keras.Layer, function: Callable[[Any], Any]):
        super().__init__(dtype="float32")
        self.owner, self.function = owner, function
        self.xla_on_cpu = getattr(owner, "xla_on_cpu", False)
        choose_jit(self)

    def call(self, inputs):
        """The function's result."""
        return self.function(inputs)


def compiled(owner: keras.Layer, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of arrays, compiled at its first call.

    It can be an attribute of its owner, as the model behind it could not: Keras would take it for a
    part of the owner, save it, and never come to an end.
    """
    return Compiled(owner, function).predict_on_batch
