"""How TensorFlow reads our batches: as they come, one ahead, without tf.data.

Keras makes a tf.data pipeline of a `PyDataset`, around a Python generator, which costs a small
network more than its steps do, and more at each end of an epoch (`benchmarks/pipeline.py`, "one
dense layer"). Its steps take any other iterator as well.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow import trainer
from keras.src.trainers.epoch_iterator import EpochIterator

from recipes.data.core import Feed

KerasIterator = trainer.TFEpochIterator


class Batch:
    """A tensor of a batch that steps are traced for with other lengths, too; see `tf.function`.

    Where nothing is traced (`run_eagerly`), it is what a tensor is to Keras.
    """

    def __init__(self, tensor: tf.Tensor, spec: tf.TensorSpec):
        self._tensor, self._spec = tensor, spec

    def __tf_tracing_type__(self, context: Any) -> tf.TensorSpec:
        return self._spec

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        return self._tensor

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._tensor, dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tensor, name)


for _name in tf.Tensor.OVERLOADABLE_OPERATORS:  # __getattr__ is not asked for these
    setattr(Batch, _name, lambda self, *others, name=_name: getattr(self._tensor, name)(*others))


class FeedIterator(KerasIterator):
    """Keras's iterator over epochs; of a `Feed` on one device, without tf.data."""

    def __init__(self, distribute_strategy: tf.distribute.Strategy, **kwargs: Any):
        one_device = distribute_strategy.num_replicas_in_sync == 1
        self._plain = one_device and isinstance(kwargs.get("x"), Feed)
        if self._plain:
            EpochIterator.__init__(self, **kwargs)
            self._specs = None
        else:
            super().__init__(distribute_strategy, **kwargs)

    def _get_iterator(self) -> Any:
        if not self._plain:
            return super()._get_iterator()
        count = self.data_adapter.num_batches
        return self._batches() if count == 1 else self._one_ahead(count)

    def _one_ahead(self, count: int) -> Iterator[Any]:
        """An epoch's batches, the next of which is made while a step computes."""
        batches = self._batches()
        # It ends before the last batch is given, after which Keras stops its own threads. Nothing
        # waits for it, since Python ignores Ctrl+C while it closes a generator.
        thread = ThreadPoolExecutor(1)
        try:
            coming = thread.submit(next, batches)
            for _ in range(count - 1):
                batch, coming = coming.result(), thread.submit(next, batches)
                yield batch
            last = coming.result()
        finally:
            thread.shutdown(wait=False)
        yield last

    def _batches(self) -> Iterator[Any]:
        """Batches of tensors; what differs in length between the first two may be of any length."""
        batches = self.data_adapter._get_iterator()
        first = list(islice(batches, 2))
        for batch in first:
            self._widen(batch)
        for batch in chain(first, batches):
            self._widen(batch)
            tensors = keras.tree.map_structure(tf.convert_to_tensor, batch)
            yield keras.tree.map_structure(Batch, tensors, self._specs)

    def _widen(self, batch: Any) -> None:
        """Let the specs cover this batch."""
        self._specs = keras.tree.map_structure(widened, batch, self._specs or batch)


def widened(array: np.ndarray, spec: np.ndarray | tf.TensorSpec) -> tf.TensorSpec:
    """Of any number of rows, and of any length where the array is not as long as the spec says."""
    lengths = [a if a == b else None for a, b in zip(array.shape[1:], spec.shape[1:], strict=True)]
    return tf.TensorSpec([None, *lengths], array.dtype)


trainer.TFEpochIterator = FeedIterator
