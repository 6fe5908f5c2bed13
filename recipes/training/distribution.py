"""One training on several devices, and in several processes, by what Keras has for it.

`data`: every device holds the model and takes its share of each batch; gradients are averaged, so
that a step is that of one device with the whole batch. `model`: the layers of transformers are
split over devices, too, as in Shoeybi et al. 2019, Megatron-LM (section 3): the first product of an
attention and of its dense layers by columns, the second by rows.

Several processes, each with its devices, are started with the environment variables of
`keras.distribution.initialize`:

    KERAS_DISTRIBUTION_JOB_ADDRESSES=10.0.0.1:1234 KERAS_DISTRIBUTION_NUM_PROCESSES=2 \\
    KERAS_DISTRIBUTION_PROCESS_ID=0 KERAS_BACKEND=jax recipes train cnn --distribute data
"""

import atexit
import contextlib
import importlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recipes.contract import check
from recipes.data.core import Feed

LAYOUT = {  # weights of a transformer, by their paths: the axis that is split
    r".*attention/(q|kv|qkv)/kernel": (None, "model"),
    r".*attention/(q|kv|qkv)/bias": ("model",),
    r".*attention/out/kernel": ("model", None),
    r".*/up/kernel": (None, "model"),
    r".*/up/bias": ("model",),
    r".*/down/kernel": ("model", None),
}


class OneDevice:
    """Nothing is distributed."""

    process = 0
    scope = contextlib.nullcontext

    def share(self, batches: Any) -> Any:
        """All of it."""
        return batches

    def check(self, model: keras.Model, batches: keras.utils.PyDataset) -> None:
        """Any model will do."""


class Distribution:
    """Devices that train together.

    Args:
        how: "data", "model" (each copy of the model is split over all devices) or "model:4" (over
            four).

    Raises:
        ValueError: something else, or what the backend cannot do.
    """

    def __init__(self, how: str):
        kind, _, width = how.partition(":") if isinstance(how, str) else ("", "", "")
        ok = kind in ("data", "model") and (not width or (kind == "model" and width.isdecimal()))
        check(ok, "distribute", how, 'must be "data", "model", or "model:N" for N devices a model')
        backend = keras.backend.backend()
        self.process, self.processes, self._split = 0, _processes(), kind == "model"
        several = kind == "model" or self.processes > 1
        wanted = f"needs KERAS_BACKEND=jax{' for that' if backend == 'tensorflow' else ''}"
        check(backend == "jax" or (backend == "tensorflow" and not several), "distribute", how,
              f"{wanted}; this is {backend}" + (f", {self.processes} processes"
                                                if self.processes > 1 else ""))  # fmt: skip
        if backend == "tensorflow":
            module = importlib.import_module("recipes.training.distribution_tensorflow")
            self.scope, self.devices = module.mirrored()
            return
        if self.processes > 1:
            _join()
            self.process = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
        names = keras.distribution.list_devices()
        self.devices = len(names)
        if not self._split:
            found = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
        else:
            wanted = f"goes with one process; there are {self.processes}"
            check(self.processes == 1, "distribute", how, wanted)
            width = int(width or self.devices)
            fits = width and self.devices % width == 0
            check(fits, "distribute", how, f"there are {self.devices} devices, no multiple of it")
            mesh = keras.distribution.DeviceMesh(
                (self.devices // width, width), ("batch", "model"), names
            )
            layout = keras.distribution.LayoutMap(mesh)
            for path, axes in LAYOUT.items():
                layout[path] = axes
            found = keras.distribution.ModelParallel(
                layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
            )
            self.devices //= width  # that a batch is shared by
        self._distribution = found
        self.scope = found.scope

    def check(self, model: keras.Model, batches: keras.utils.PyDataset) -> None:
        """Raise where a model cannot be trained on these batches by several devices."""
        name = model.name
        own = getattr(model, "own_loop", False)
        check(not own, "distribute", name, "learns by a loop of its own, on one device")
        sizes = sorted({len(part) for part in keras.tree.flatten(batches[0])})
        wanted = f"a batch has arrays of {sizes} rows, no examples to share; train on one device"
        check(len(sizes) == 1, "distribute", name, wanted)
        if self._split:
            layouts = [self._distribution.get_variable_layout(w) for w in model.trainable_weights]
            split = any(layout is not None and any(layout.axes) for layout in layouts)
            check(split, "distribute", name, 'has no layers that are split; take "data"')

    def share(self, batches: keras.utils.PyDataset | None) -> keras.utils.PyDataset | None:
        """This process's share of each batch."""
        return None if batches is None else Share(batches, self)


class Share(Feed):
    """A process's share of each batch, which all processes prepare alike.

    A batch that the devices cannot share evenly, such as an epoch's last one, begins again with
    its first examples until they can.
    """

    def __init__(self, batches: keras.utils.PyDataset, of: Distribution):
        super().__init__(workers=batches.workers)
        self.batches, self.of = batches, of

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        """Batch (x, y), or (x,)."""
        batch = self.batches[index]
        size = len(keras.tree.flatten(batch)[0])
        each = -(-size // self.of.devices) * self.of.devices // self.of.processes
        rows = np.arange(self.of.process * each, (self.of.process + 1) * each) % size
        return keras.tree.map_structure(lambda part: part[rows], batch)

    def on_epoch_end(self) -> None:
        """Move on to the next epoch's order."""
        self.batches.on_epoch_end()


def distribution(how: str | None) -> OneDevice | Distribution:
    """What `distribute` asks for; joins the other processes, which has to come before all else."""
    return OneDevice() if how is None else Distribution(how)


def throwaway_directory() -> Path:
    """Where a process writes what the first one keeps: one writer, and the same code for all."""
    path = tempfile.mkdtemp(prefix="recipes-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def _processes() -> int:
    return int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", 1))


def _join() -> None:
    """Meet the other processes, once."""
    if importlib.import_module("recipes.training.distribution_jax").is_joined():
        return
    for name in ("JOB_ADDRESSES", "PROCESS_ID"):
        name = f"KERAS_DISTRIBUTION_{name}"
        wanted = f"must be set, since there are {_processes()} processes"
        check(name in os.environ, name, None, wanted)
    keras.utils.set_random_seed(0)  # or Keras agrees on one by a computation
    keras.distribution.initialize()
