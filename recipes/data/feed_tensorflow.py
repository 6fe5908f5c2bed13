"""How TensorFlow reads our batches."""

import tensorflow as tf
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from recipes.data.core import Feed

_keras_own = PyDatasetAdapter.get_tf_dataset


def _untuned(self: PyDatasetAdapter) -> tf.data.Dataset:
    """Keras's own, and of a `Feed` without tuning and rewriting.

    A pipeline of one generator has nothing to tune. Yet where it ends, twice in an epoch of `fit`,
    it waits for its tuner, now and then for a second. Keras does without it, but for several
    workers alone, and says so nowhere that a `PyDataset` could change.
    """
    dataset = _keras_own(self)
    if isinstance(self.py_dataset, Feed):
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        dataset = dataset.with_options(options)
    return dataset


PyDatasetAdapter.get_tf_dataset = _untuned
