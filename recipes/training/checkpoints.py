"""Model files: written whole or not at all, with the state of the training inside.

A checkpoint is an ordinary `.keras` file with one more member, `recipes.json`: the training's own
state (epoch, best value ...) and the states of the model's random generators, which Keras does not
save. Weights and state cannot disagree: one file, one rename.
"""

import importlib
import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np

from recipes.contract import check, families
from recipes.training.compilation import choose_jit
from recipes.training.precision import policy

EXTRA = "recipes.json"


class SeedEpochs(keras.callbacks.Callback):
    """Begins each epoch from a seed of its own, so that a resumed one draws what it would have.

    It is for generators that no checkpoint holds: PyTorch's, from which Keras's dropout draws
    there, NumPy's and Python's.

    Args:
        seed: of the training.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        """Seed all of them."""
        drawn = np.random.SeedSequence((self.seed, epoch)).generate_state(1)
        keras.utils.set_random_seed(int(drawn[0]))


def save(model: keras.Model, path: str | Path, state: dict | None = None) -> None:
    """Save a model with its optimizer and random states to a temporary file; then rename it.

    Args:
        model: any Keras model.
        path: the `.keras` file.
        state: anything that JSON holds, for `read_state`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}")  # one that a kill left behind is overwritten
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:  # Keras warns where it loads an unbuilt one
        optimizer.build(model.trainable_variables)
    seeds = [keras.ops.convert_to_numpy(v).tolist() for v in _random_states(model)]
    try:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(EXTRA, json.dumps({"state": state or {}, "seeds": seeds}))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: str | Path) -> dict:
    """The state that `save` put in a checkpoint; empty for other `.keras` files."""
    with _open(path) as archive:
        return _extra(archive).get("state", {})


def load(path: str | Path, compile: bool = True) -> keras.Model:
    """Load a model from a `.keras` file, or the best one of a run directory.

    Knows the classes of every family, and restores the model under the precision it was trained
    in: Keras alone drops loss scaling and optimizer state of a float16 model without a word.

    Args:
        path: a `.keras` file, or a run directory, whose `best.keras` it is then.
        compile: restore optimizer, loss and metrics too.

    Raises:
        ValueError: no such file, or not a whole `.keras` file.
    """
    check(isinstance(path, str | Path), "path", path, "must be a .keras file or a run directory")
    path = Path(path)
    if path.is_dir():
        path = path / "best.keras"
    with _open(path) as archive:
        config = archive.read("config.json").decode()
        seeds = _extra(archive).get("seeds", [])
    for name in families() if '"recipes>' in config else ():
        importlib.import_module(f"recipes.{name}")  # registers its classes
    mixed = [p for p in ("mixed_float16", "mixed_bfloat16") if f'"{p}"' in config]
    try:
        with policy(mixed[0] if mixed else "float32"):
            model = keras.saving.load_model(path, compile=compile)
            choose_jit(model)
    except (zipfile.BadZipFile, OSError) as error:  # a checksum does not fit
        raise _damaged(path) from error
    for variable, value in zip(_random_states(model), seeds, strict=False):
        variable.assign(np.array(value, variable.dtype))
    return model


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the generators behind dropout, augmentation and the like, in their order."""
    weights = {id(weight) for weight in model.weights}
    return [v for v in model.variables if id(v) not in weights]


def _open(path: str | Path) -> zipfile.ZipFile:
    check(Path(path).is_file(), "path", str(path), "no such model file")
    try:
        archive = zipfile.ZipFile(path)
        archive.getinfo("config.json")
    except (zipfile.BadZipFile, KeyError):
        raise _damaged(path) from None
    return archive


def _damaged(path: str | Path) -> ValueError:
    return ValueError(f"path={str(path)!r}: not a whole .keras file")


def _extra(archive: zipfile.ZipFile) -> dict:
    return json.loads(archive.read(EXTRA)) if EXTRA in archive.namelist() else {}
