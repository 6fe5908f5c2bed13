"""How a model's steps are compiled: once, and by XLA where that pays."""

from typing import Any

import keras

from recipes.training.precision import devices

XLA_ON_CPU = True  # False, where many small models each take few steps, as in tests


def choose_jit(model: keras.Model) -> None:
    """Compile a model's steps by XLA where that pays: what Keras's "auto" says on this machine.

    Where TensorFlow has a CPU alone, "auto" says no; models whose class has `xla_on_cpu` are
    compiled there as well. Those whose class has `xla_never` are not compiled even on a GPU, as
    Keras's own recurrent layers are not, which run cuDNN's kernels. A saved model brings what
    "auto" said where it was compiled.

    Args:
        model: a compiled model.
    """
    tensorflow = keras.backend.backend() == "tensorflow"
    if tensorflow and getattr(model, "xla_never", False):
        model.jit_compile = False
    else:
        pays = tensorflow and getattr(model, "xla_on_cpu", False) and devices()[0].kind == "cpu"
        model.jit_compile = True if pays and XLA_ON_CPU else None  # None: Keras asks "auto" again


def create_variables(model: keras.Model, batch: tuple[Any, ...] | None = None) -> None:
    """Create what a training step would create: TensorFlow traces such a step a second time.

    Args:
        model: a compiled model.
        batch: of the data, for loss and metrics; models with a `fit` of their own have their own.
    """
    if keras.backend.backend() != "tensorflow":
        return  # where Keras does it
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    if batch is not None and type(model).fit is keras.Model.fit:
        model._symbolic_build(data_batch=batch)
