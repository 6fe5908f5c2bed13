"""Optimizers and schedules by name, as papers state them."""

from collections.abc import Sequence

import keras

from recipes.contract import unknown

OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def make_optimizer(
    optimizer: str | keras.optimizers.Optimizer,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    momentum: float = 0.9,
    decay_steps: Sequence[int] = (),
) -> keras.optimizers.Optimizer:
    """An optimizer by name; an optimizer object passes as it is.

    Args:
        optimizer: one of `OPTIMIZERS`, or an object, which then ignores the other arguments.
        learning_rate: initial rate, or a schedule.
        momentum: of "sgd" and "rmsprop"; the others have their own averages.
        decay_steps: steps after which the rate is divided by ten, each time.
    """
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer
    if optimizer not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    if decay_steps:
        if isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError("decay_steps needs learning_rate to be a number, not a schedule")
        learning_rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            list(decay_steps), [learning_rate * 0.1**i for i in range(len(decay_steps) + 1)]
        )
    if optimizer in ("sgd", "rmsprop"):
        return OPTIMIZERS[optimizer](learning_rate, momentum=momentum)
    return OPTIMIZERS[optimizer](learning_rate)


def l2(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """Weight decay as the older papers mean it: (weight_decay / 2) |w|^2 added to the loss.

    It passes through the optimizer's momentum, unlike Keras's decoupled `weight_decay`.
    """
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None
