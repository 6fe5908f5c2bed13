"""Losses, metrics and the schedule of models that write sequences; 0 among targets is padding."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("recipes")
class MaskedCrossentropy(keras.losses.Loss):
    """Mean over the tokens that are no padding of -sum_k q_k log p_k, in nats.

    q is 1 - e at the target, and e spread evenly over all tokens (Szegedy et al. 2016, section 7).

    Args:
        label_smoothing: e.
    """

    def __init__(self, label_smoothing=0.0, name="masked_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """Targets (n, t), logits (n, t, tokens) -> (n, t), whose mean is that of real tokens."""
        y, logits = ops.cast(y_true, "int32"), ops.cast(y_pred, "float32")
        log_p = ops.log_softmax(logits)
        wanted = ops.take_along_axis(log_p, y[..., None], axis=-1)[..., 0]
        e = self.label_smoothing
        loss = -(1 - e) * wanted - (e * ops.mean(log_p, axis=-1) if e else 0.0)
        real = ops.cast(ops.not_equal(y, 0), "float32")
        return loss * real / ops.maximum(ops.mean(real), 1e-7)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("recipes")
class MaskedAccuracy(keras.metrics.Mean):
    """Share of tokens, or of whole sequences, that the logits get right; padding does not count.

    Each token is guessed from the true ones before it.

    Args:
        whole: count sequences in which every token is right.
    """

    def __init__(self, whole=False, name=None, **kwargs):
        super().__init__(name=name or ("sequence_accuracy" if whole else "accuracy"), **kwargs)
        self.whole = whole

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Targets (n, t), logits (n, t, tokens)."""
        y = ops.cast(y_true, "int32")
        right = ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), y)
        real = ops.not_equal(y, 0)
        if self.whole:
            right = ops.all(ops.logical_or(right, ops.logical_not(real)), axis=-1)
            return super().update_state(ops.cast(right, "float32"))
        return super().update_state(ops.cast(right, "float32"), ops.cast(real, "float32"))

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "whole": self.whole}


@keras.saving.register_keras_serializable("recipes")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """width^-0.5 min(s^-0.5, s warmup_steps^-1.5) in step s (Vaswani et al. 2017, equation 3).

    Args:
        width: of the model.
        warmup_steps: after which the rate falls.
        scale: factor of it all.
    """

    def __init__(self, width, warmup_steps=4000, scale=1.0):
        super().__init__()
        self.width, self.warmup_steps, self.scale = width, warmup_steps, scale

    def __call__(self, step):
        """The rate of the step after so many."""
        s = ops.cast(step, "float32") + 1.0
        rises = s * self.warmup_steps**-1.5
        return self.scale * self.width**-0.5 * ops.minimum(1 / ops.sqrt(s), rises)

    def get_config(self):
        """The constructor's arguments."""
        return {"width": self.width, "warmup_steps": self.warmup_steps, "scale": self.scale}
