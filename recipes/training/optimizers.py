"""Optimizers and schedules by name, as papers state them."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral

import keras

from recipes.contract import check, unknown

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
    ok = isinstance(decay_steps, tuple | list) and all(isinstance(n, Integral) for n in decay_steps)
    ok = ok and all(earlier < later for earlier, later in pairwise((0, *decay_steps)))
    check(ok, "decay_steps", decay_steps, "must be a tuple of rising integers, such as (100, 200)")
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    if decay_steps:
        a_schedule = isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule)
        wanted = "needs learning_rate to be a number, not a schedule"
        check(not a_schedule, "decay_steps", decay_steps, wanted)
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
