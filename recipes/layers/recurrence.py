"""Recurrent layers that PyTorch, too, reads sequences with in one operation, padded or not.

There Keras's own go step by step: all of them on a CPU, and on a GPU the simple one and whatever
reads padded sequences. On TensorFlow with a CPU alone, wide ones are trained in compiled loops.
"""

import importlib
from typing import Any

import keras
from keras import layers

ACTIVATIONS = {keras.activations.tanh: "tanh", keras.activations.relu: "relu"}


class FusedRNN(layers.RNN):
    """A recurrent layer, of which `operation` names what PyTorch has for its cell, or is None."""

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False):
        """As Keras's: all steps."""
        cell = self.cell
        plain = self.operation and not (self.unroll or cell.dropout or cell.recurrent_dropout)
        backend = keras.backend.backend()
        if plain and backend in ("tensorflow", "torch"):
            own = importlib.import_module(f"recipes.layers.recurrence_{backend}")
            if own.pays(self, sequences, training):
                mask = mask[0] if isinstance(mask, list | tuple) else mask
                return own.read(self, sequences, initial_state, mask)
        return super().inner_loop(sequences, initial_state, mask, training=training)


@keras.saving.register_keras_serializable("recipes")
class SimpleRNN(FusedRNN, layers.SimpleRNN):
    """Keras's."""

    @property
    def operation(self) -> str | None:
        """Of PyTorch."""
        name = ACTIVATIONS.get(self.cell.activation)
        return name and f"rnn_{name}"


@keras.saving.register_keras_serializable("recipes")
class LSTM(FusedRNN, layers.LSTM):
    """Keras's."""

    @property
    def operation(self) -> str | None:
        """Of PyTorch."""
        return "lstm" if gated(self.cell) else None


@keras.saving.register_keras_serializable("recipes")
class GRU(FusedRNN, layers.GRU):
    """Keras's."""

    @property
    def operation(self) -> str | None:
        """Of PyTorch, whose reset comes after the product."""
        return "gru" if gated(self.cell) and self.cell.reset_after else None


def gated(cell: layers.Layer) -> bool:
    """Whether its functions are those of all kernels."""
    usual = keras.activations.tanh, keras.activations.sigmoid
    return (cell.activation, cell.recurrent_activation) == usual
