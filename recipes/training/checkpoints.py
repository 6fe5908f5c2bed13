"""Model files: written whole or not at all, with the state of the training inside.

A checkpoint is an ordinary `.keras` file. The training's own state (epoch, best value, patience)
lies in the comment of its zip archive, so that weights and state cannot disagree: one file, one
rename.
"""

import importlib
import json
import os
import zipfile
from pathlib import Path

import keras

from recipes.contract import families
from recipes.training.precision import policy


def save(model: keras.Model, path: str | Path, state: dict | None = None) -> None:
    """Save a model with its optimizer, and a small state, to a temporary file; then rename it.

    Args:
        model: any Keras model.
        path: the `.keras` file.
        state: what JSON holds, at most 60 KiB of it.
    """
    path = Path(path)
    # Keras asks for this ending.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = json.dumps({"recipes": state or {}}).encode()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: str | Path) -> dict:
    """The state that `save` put in a checkpoint; empty for other `.keras` files."""
    with _open(path) as archive:
        return json.loads(archive.comment or b"{}").get("recipes", {})


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
    path = Path(path)
    if path.is_dir():
        path = path / "best.keras"
    with _open(path) as archive:
        config = archive.read("config.json").decode()
    for name in families() if '"recipes>' in config else ():
        importlib.import_module(f"recipes.{name}")  # registers its classes
    mixed = [p for p in ("mixed_float16", "mixed_bfloat16") if f'"{p}"' in config]
    with policy(mixed[0] if mixed else "float32"):
        return keras.saving.load_model(path, compile=compile)


def _open(path: str | Path) -> zipfile.ZipFile:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"path={str(path)!r}: no such model file")
    try:
        archive = zipfile.ZipFile(path)
        archive.getinfo("config.json")
    except (zipfile.BadZipFile, KeyError):
        raise ValueError(f"path={str(path)!r}: not a whole .keras file") from None
    return archive
