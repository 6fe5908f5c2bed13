"""Adam's step as one operation of TensorFlow."""

from typing import Any

import keras
import tensorflow as tf


def update(optimizer: keras.optimizers.Adam, gradient: Any, variable: Any, rate: Any) -> bool:
    """Move a variable and its averages; False where it is Keras's: some rows, or AMSGrad."""
    if isinstance(gradient, tf.IndexedSlices) or optimizer.amsgrad:
        return False
    i, dtype = optimizer._get_variable_index(variable), variable.dtype
    m, v = optimizer._momentums[i].value, optimizer._velocities[i].value
    step = tf.cast(optimizer.iterations.value + 1, dtype)
    beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (optimizer.beta_1, optimizer.beta_2))
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle, m=m.handle, v=v.handle, grad=tf.cast(gradient, dtype),
        beta1=beta_1, beta2=beta_2, beta1_power=beta_1**step, beta2_power=beta_2**step,
        lr=tf.cast(rate, dtype), epsilon=tf.constant(optimizer.epsilon, dtype),
    )  # fmt: skip
    return True
