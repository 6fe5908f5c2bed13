"""What networks that learn from x alone have in common: one base class over `keras.Model`."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from recipes.contract import check
from recipes.contract.arguments import check_vocabulary
from recipes.training.compilation import create_variables


def beside(x: Any, condition: Any) -> Any:
    """The input of a network: x, or x and the condition, where there is one."""
    return x if condition is None else [x, condition]


class Unsupervised(keras.Model):
    """A model of its own inputs, made of other models; `compute_loss` is all of its learning.

    `fit` takes x alone, or (x, labels) as every `Data` gives them; a model that has no use for
    labels ignores them. In training `call` returns its input: what there is to compute needs the
    labels too, and so stands in `compute_loss`. Outside of it, `call` is what `predict` returns:
    as a rule the reconstruction of x.

    A subclass names the models that it is made of in `networks`; they, and the numbers in
    `numbers`, are the arguments of its constructor, and are saved with it.

    Args:
        input_shape: of one example, without the batch.
        num_classes: of the labels that it is conditional on; None for a model without labels.
    """

    networks: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = (0.0, 1.0)  # of x; None for any
    xla_on_cpu = False  # see `recipes.training.compilation`

    def __init__(self, input_shape: Sequence[int], num_classes: int | None = None, **kwargs):
        super().__init__(autocast=False, **kwargs)  # losses and sampling are float32
        self.example_shape, self.num_classes = tuple(input_shape), num_classes
        self.built = True  # the networks have their weights

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, *input_shape), as of other models."""
        return (None, *self.example_shape)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        config = {"name": self.name, "input_shape": self.example_shape}
        config |= {"num_classes": self.num_classes}
        config |= {name: getattr(self, name) for name in self.numbers}
        for name in self.networks:
            config[name] = keras.saving.serialize_keras_object(getattr(self, name))
        return config

    @classmethod
    def from_config(cls, config: dict) -> "Unsupervised":
        """The model of a configuration."""
        networks = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in cls.networks
            if isinstance(config[name], dict)
        }
        return cls(**{**config, **networks})

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`, for x alone or with labels.

        Raises:
            ValueError: the first examples have another shape, or values outside of `value_range`;
                a conditional model, and no labels.
        """
        first = x[0] if isinstance(x, keras.utils.PyDataset) else (x, y)
        self.check_examples(first[0])
        # Before Keras begins: on JAX a model whose first step fails has no weights any more.
        if isinstance(first[0], np.ndarray):
            self.check_labels(first[1] if len(first) > 1 else None)
        create_variables(self)
        return super().fit(x, y, *args, **kwargs)

    def check_examples(self, x: Any) -> None:
        """Raise where the first examples of x, an array or a `PyDataset`, do not fit."""
        first = x[0][0] if isinstance(x, keras.utils.PyDataset) else x
        if not isinstance(first, np.ndarray):
            return  # a tensor or a generator; not worth a look ahead
        found = first[:128]
        wanted = f"this model takes {self.input_shape}"
        check(found.shape[1:] == self.example_shape, "x", f"array of shape {first.shape}", wanted)
        if self.value_range is not None and found.size:
            (low, high), least, most = self.value_range, float(found.min()), float(found.max())
            inside = low <= least and most <= high  # False for NaN, too
            wanted = f"this model takes values in [{low:g}, {high:g}]"
            check(inside, "x", f"values in {least:g} .. {most:g}", wanted)

    def check_labels(self, labels: Any) -> None:
        """Raise where a conditional model is to learn without labels."""
        wanted = "a conditional model learns from images with their labels, (x, y)"
        check(labels is not None or self.num_classes is None, "y", labels, wanted)

    def one_hot(self, labels: Any, like: Any) -> Any:
        """Labels (n,) as one-hot rows (n, num_classes); without labels each class counts the same.

        Args:
            labels: integers (n,), or None.
            like: a tensor of n examples.
        """
        if labels is None:
            return ops.full((ops.shape(like)[0], self.num_classes), 1 / self.num_classes)
        return ops.one_hot(ops.reshape(labels, (-1,)), self.num_classes)

    def condition(self, labels: Any, like: Any, training: bool = False) -> Any:
        """One-hot labels (n, num_classes), or None for an unconditional model.

        Raises:
            ValueError: a conditional model learns, and there are no labels.
        """
        if self.num_classes is None:
            return None
        if training:
            self.check_labels(labels)
        return self.one_hot(labels, like)

    def chosen_labels(self, count: int, labels: Any, seed: int) -> np.ndarray | None:
        """Check what `generate` was given; the labels int32 (count,), None if unconditional.

        Args:
            count: number of examples.
            labels: one for all, one each, or None: all classes in turn.
            seed: of the noise.

        Raises:
            ValueError: labels for a model that has none, or labels that do not exist.
        """
        check_vocabulary({"count": count, "seed": seed})
        if self.num_classes is None:
            wanted = "this model is unconditional: it was built without labels"
            check(labels is None, "labels", labels, wanted)
            return None
        if labels is None:
            return (np.arange(count) % self.num_classes).astype("int32")
        found = np.asarray(labels)
        ok = found.dtype.kind in "iu" and found.shape in ((), (count,))
        ok = ok and found.min() >= 0 and found.max() < self.num_classes
        wanted = f"must be one of 0 .. {self.num_classes - 1}, or {count} of them"
        check(ok, "labels", labels, wanted)
        return np.broadcast_to(found, (count,)).astype("int32")
