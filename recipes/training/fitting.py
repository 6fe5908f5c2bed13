"""What a family's own `fit` has in common with Keras's, where learning is no gradient step."""

from collections.abc import Callable, Iterable, Iterator
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
    """Keras's, for logs of single numbers: without its search for tensors among them, which takes
    TensorFlow as long as a step of a small network, and without its thread.
    """

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Call it on each callback."""
        logs = {name: float(logs[name]) for name in sorted(logs)}
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Call it on each callback."""
        logs = {name: float(logs[name]) for name in sorted(logs)}
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)


def run_epochs(
    model: keras.Model,
    learn: Callable[[int, Callbacks], dict[str, float]],
    *,
    epochs: int,
    initial_epoch: int = 0,
    steps: int | None = None,
    verbose: Any = "auto",
    callbacks: Any = None,
    validation_data: Any = None,
    validation_freq: Any = 1,
    validation_batch_size: int | None = None,
    validation_steps: int | None = None,
    done: Callable[[dict[str, float]], bool] | None = None,
) -> keras.callbacks.History:
    """The loop over epochs of a `fit`: callbacks, validation, and an end where there is one.

    Args:
        model: that is trained; `stop_training` ends it, as Keras has it.
        learn: one epoch, of its number and the callbacks, on which it calls those of batches;
            returns the logs.
        steps: batches of an epoch, as far as they are known.
        done: of an epoch's logs, whether it was the last one.
        **others: of `fit`.

    Returns:
        `History`.
    """
    callbacks = Callbacks(
        callbacks, add_history=True, add_progbar=verbose != 0, model=model, verbose=verbose,
        epochs=epochs, steps=steps,
    )  # fmt: skip
    model.stop_training, logs = False, {}
    callbacks.on_train_begin()
    epoch = model._initial_epoch or initial_epoch  # BackupAndRestore's
    while epoch < epochs and not model.stop_training:
        callbacks.on_epoch_begin(epoch)
        logs = learn(epoch, callbacks)
        if validation_data is not None and model._should_eval(epoch, validation_freq):
            x, y, weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            found = model.evaluate(
                x, y, validation_batch_size, sample_weight=weight, steps=validation_steps,
                callbacks=callbacks, return_dict=True,
            )  # fmt: skip
            logs |= {f"val_{name}": value for name, value in found.items()}
        if done is not None and done(logs):
            model.stop_training = True
        callbacks.on_epoch_end(epoch, logs)
        epoch += 1
    callbacks.on_train_end(logs)
    return model.history
