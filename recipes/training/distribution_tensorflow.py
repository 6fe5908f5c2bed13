"""All devices of this process, by TensorFlow's mirrored strategy."""

from collections.abc import Callable

import tensorflow as tf


def mirrored() -> tuple[Callable, int]:
    """Its scope, and how many devices share a batch: the GPUs, or CPUs where there are none."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in found])
    return strategy.scope, len(found)
