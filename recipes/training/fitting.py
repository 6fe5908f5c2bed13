"""What a family's own `fit` has in common with Keras's, where learning is no gradient step."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from recipes.contract import check
from recipes.data.core import Batches


def refuse(why: str, **arguments: Any) -> None:
    """Raise for those arguments of `fit` that were given and mean nothing to a family."""
    for name, value in arguments.items():
        shown = value if isinstance(value, int | float | dict) else f"<{type(value).__name__}>"
        check(value is None, name, shown, f"not supported: {why}")


def batches_of(x: Any, y: Any, batch_size: int | None, shuffle: bool) -> Iterable:
    """What `fit` was given, as batches (x, y) that can be gone through again in each epoch."""
    if y is None:
        fits = isinstance(x, Iterable | keras.utils.PyDataset) and not isinstance(x, Iterator)
        check(fits and not hasattr(x, "shape"), "x", type(x).__name__,
              "needs y beside it, or must hold batches (x, y) for every epoch: a PyDataset or a "
              "tf.data.Dataset, not a generator")  # fmt: skip
        infinite = hasattr(x, "cardinality") and int(x.cardinality()) == -1
        check(not infinite, "x", type(x).__name__, "is infinite; an epoch must have an end")
        return x
    x, y = np.asarray(x), np.asarray(y)
    check(x.ndim and x.shape[:1] == y.shape[:1], "y", f"array of shape {y.shape}",
          f"needs a label for each example of x, shape {x.shape}")  # fmt: skip
    seed = np.random.randint(2**31)  # `keras.utils.set_random_seed` makes it repeatable
    return Batches(
        x, y, np.arange(len(x)), np.asarray, batch_size or 32, shuffle=shuffle, seed=seed
    )


class Callbacks(keras.callbacks.CallbackList):
    """Keras's, for logs that are Python numbers: without a search for tensors among them, which
    takes TensorFlow as long as a step of a small network, and without a thread.
    """

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Call it on each callback."""
        logs = dict(sorted(logs.items()))
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Call it on each callback."""
        logs = dict(sorted(logs.items()))
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)


def callbacks_of(
    model: keras.Model, callbacks: Any, verbose: Any, epochs: int, steps: int | None
) -> Callbacks:
    """The callbacks of a training, with a `History` and, unless silent, a progress bar."""
    return Callbacks(
        callbacks, add_history=True, add_progbar=verbose != 0, model=model, verbose=verbose,
        epochs=epochs, steps=steps,
    )  # fmt: skip


def validate(
    model: keras.Model, data: Any, callbacks: Any, batch_size: int | None, steps: int | None
) -> dict[str, float]:
    """The metrics on validation data as `fit` names them: val_loss ..."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    found = model.evaluate(
        x, y, batch_size, sample_weight=weight, steps=steps, callbacks=callbacks, return_dict=True
    )
    return {f"val_{name}": value for name, value in found.items()}
