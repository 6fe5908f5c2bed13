"""How PyTorch reads our batches: as they come, without the `DataLoader` that Keras puts around."""

from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.torch import trainer

from recipes.data.core import Feed

KerasIterator = trainer.TorchEpochIterator


class FeedIterator(KerasIterator):
    """Keras's iterator over epochs; of a `Feed` without a `DataLoader`."""

    def _get_iterator(self) -> Any:
        ours = isinstance(getattr(self.data_adapter, "py_dataset", None), Feed)
        return self._batches() if ours else super()._get_iterator()

    def _batches(self) -> Iterator[Any]:
        convert = keras.ops.convert_to_tensor
        for batch in self.data_adapter._get_iterator():
            yield keras.tree.map_structure(convert, batch, none_is_leaf=False)


trainer.TorchEpochIterator = FeedIterator
