"""What a family's own `fit` has in common with Keras's, where learning is no gradient step."""

from typing import Any

import keras

from recipes.contract import check


def refuse(why: str, **arguments: Any) -> None:
    """Raise for those arguments of `fit` that were given and mean nothing to a family."""
    for name, value in arguments.items():
        shown = value if isinstance(value, int | float | dict) else f"<{type(value).__name__}>"
        check(value is None, name, shown, f"not supported: {why}")


def callbacks_of(
    model: keras.Model, callbacks: Any, verbose: Any, epochs: int, steps: int | None
) -> keras.callbacks.CallbackList:
    """The callbacks of a training, with a `History` and, unless silent, a progress bar."""
    return keras.callbacks.CallbackList(
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
