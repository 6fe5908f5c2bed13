"""Optimizers and schedules by name, as papers state them."""

import importlib
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from recipes.contract import check, unknown


class FusedAdam:
    """Adam's step in few operations: on TensorFlow one for a variable, on PyTorch for all."""

    def _backend_update_step(self, gradients, variables, learning_rate):
        """All variables' steps."""
        if keras.backend.backend() == "torch":
            own = importlib.import_module("recipes.training.adam_torch")
            own.update(self, gradients, variables, learning_rate)
        else:
            super()._backend_update_step(gradients, variables, learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        """One variable's step (Kingma & Ba 2015, algorithm 1)."""
        if keras.backend.backend() == "tensorflow":
            own = importlib.import_module("recipes.training.adam_tensorflow")
            if own.update(self, gradient, variable, learning_rate):
                return
        super().update_step(gradient, variable, learning_rate)


@keras.saving.register_keras_serializable("recipes")
class Adam(FusedAdam, keras.optimizers.Adam):
    """Keras's, with a step in few operations."""


@keras.saving.register_keras_serializable("recipes")
class AdamW(FusedAdam, keras.optimizers.AdamW):
    """Keras's, but that biases and the scales of norms do not decay."""

    def build(self, variables):
        """Make the averages; leave out what is no matrix from the decay."""
        if not self.built:  # a saved optimizer does not keep what it leaves out
            self.exclude_from_weight_decay([v for v in variables if len(v.shape) < 2])
        super().build(variables)


@keras.saving.register_keras_serializable("recipes")
class PatientAdam(keras.optimizers.Adam):
    """Adam that moves the first `held` variables in every `every`-th step only.

    In between, neither they nor their averages change, and their corrections of the averages'
    start count their own steps: it is what Adam would do that is called for them every so often.

    Args:
        learning_rate: a number or a schedule.
        beta_1: decay of the average of gradients.
        beta_2: decay of the average of squared gradients.
        held: number of variables.
        every: steps between two of theirs.
    """

    def __init__(self, learning_rate=1e-4, beta_1=0.5, beta_2=0.9, held: int = 0, every: int = 1,
                 **kwargs):  # fmt: skip
        super().__init__(learning_rate, beta_1, beta_2, **kwargs)
        self.held, self.every = held, every

    def update_step(self, gradient, variable, learning_rate):
        """One variable's step (Kingma & Ba 2015, the end of section 2)."""
        i, dtype = self._get_variable_index(variable), variable.dtype
        every = self.every if i < self.held else 1
        moves = ops.cast(ops.equal(self.iterations % every, every - 1), dtype)
        step = ops.cast(self.iterations // every + 1, dtype)
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        m, v = self._momentums[i], self._velocities[i]
        self.assign_add(m, moves * (1 - self.beta_1) * (gradient - m))
        self.assign_add(v, moves * (1 - self.beta_2) * (ops.square(gradient) - v))
        rate = rate * ops.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        self.assign_sub(variable, moves * rate * m / (ops.sqrt(v) + self.epsilon))

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {**super().get_config(), "held": self.held, "every": self.every}


OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def make_optimizer(
    optimizer: str | keras.optimizers.Optimizer,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    momentum: float = 0.9,
    decay_steps: Sequence[int] = (),
    warmup_steps: int = 0,
    cosine_steps: int = 0,
    clip_norm: float | None = None,
    weight_decay: float | None = None,
    beta_2: float | None = None,
    epsilon: float | None = None,
) -> keras.optimizers.Optimizer:
    """An optimizer by name; an optimizer object passes as it is.

    Args:
        optimizer: one of `OPTIMIZERS`, or an object, which then ignores the other arguments.
        learning_rate: initial rate, or a schedule.
        momentum: of "sgd" and "rmsprop"; the others have their own averages.
        decay_steps: steps after which the rate is divided by ten, each time.
        warmup_steps: over which the rate rises from zero; not together with `decay_steps`.
        cosine_steps: steps, with those of the warm-up, over which the rate falls to a tenth along
            half a cosine; 0: it stays.
        clip_norm: of all gradients together, at most.
        weight_decay: of "adamw", which leaves out biases and norms; None: Keras's default.
        beta_2: of "adam" and "adamw"; None: Keras's default.
        epsilon: likewise.
    """
    ok = isinstance(decay_steps, tuple | list) and all(isinstance(n, Integral) for n in decay_steps)
    ok = ok and all(earlier < later for earlier, later in pairwise((0, *decay_steps)))
    check(ok, "decay_steps", decay_steps, "must be a tuple of rising integers, such as (100, 200)")
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    if decay_steps:
        a_schedule = isinstance(learning_rate, LearningRateSchedule)
        wanted = "needs learning_rate to be a number, not a schedule"
        check(not a_schedule, "decay_steps", decay_steps, wanted)
        learning_rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            list(decay_steps), [learning_rate * 0.1**i for i in range(len(decay_steps) + 1)]
        )
    whole = isinstance(warmup_steps, Integral) and warmup_steps >= 0
    check(whole, "warmup_steps", warmup_steps, "must be an integer of at least 0")
    whole = isinstance(cosine_steps, Integral) and not 0 < cosine_steps <= warmup_steps
    wanted = f"must be 0 or an integer of more than warmup_steps={warmup_steps}"
    check(whole and cosine_steps >= 0, "cosine_steps", cosine_steps, wanted)
    a_number = not isinstance(learning_rate, LearningRateSchedule)
    if cosine_steps and a_number:
        learning_rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup_steps else learning_rate, cosine_steps - warmup_steps, 0.1,
            warmup_target=learning_rate if warmup_steps else None, warmup_steps=warmup_steps,
        )  # fmt: skip
    elif warmup_steps and a_number:
        check(not decay_steps, "warmup_steps", warmup_steps, "does not go with decay_steps")
        learning_rate = keras.optimizers.schedules.PolynomialDecay(0.0, warmup_steps, learning_rate)
    options = {"momentum": momentum} if optimizer in ("sgd", "rmsprop") else {}
    if optimizer == "adamw" and weight_decay is not None:
        options["weight_decay"] = weight_decay
    if optimizer in ("adam", "adamw"):
        given = {"beta_2": beta_2, "epsilon": epsilon}
        options |= {name: value for name, value in given.items() if value is not None}
    return OPTIMIZERS[optimizer](learning_rate, global_clipnorm=clip_norm, **options)


def l2(weight_decay: float) -> keras.regularizers.Regularizer | None:
    """Weight decay as the older papers mean it: (weight_decay / 2) |w|^2 added to the loss.

    It passes through the optimizer's momentum, unlike Keras's decoupled `weight_decay`.
    """
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None
