"""A run and its directory: what is written when, and how it is read again."""

import csv
import json
import math
import platform
import re
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

import recipes
from recipes.contract import check
from recipes.data.core import Data
from recipes.training import checkpoints
from recipes.training.precision import devices


@dataclass
class Run:
    """A finished training and its directory.

    `model` is the best one by the family's objective; `history` has a list for each metric, one
    value for each epoch; `metrics` has the best epoch and what the best model scores on the test
    part.
    """

    directory: Path
    family: str
    model: keras.Model
    data: Data
    history: dict[str, list[float]]
    metrics: dict[str, Any]
    config: dict[str, Any] = field(repr=False)


class Recorder(keras.callbacks.Callback):
    """Writes an epoch's results as it ends, keeps the best model, and stops where patience ends.

    `last.keras` is written last and carries this object's state, so that whatever is on disk
    after a crash belongs together.

    Args:
        directory: of the run.
        objective: (name of a metric, "max" or "min").
        patience: epochs without a better value, or None.
    """

    def __init__(self, directory: Path, objective: tuple[str, str], patience: int | None):
        super().__init__()
        self.directory, self.patience = directory, patience
        self.monitor, self.direction = objective
        self.epoch, self.best, self.best_epoch, self.stopped = 0, None, 0, False
        self.seconds = 0.0

    def restore(self, state: dict) -> None:
        """Continue from the state of a checkpoint; later rows of the history are dropped."""
        for key in ("epoch", "best", "best_epoch", "seconds"):
            setattr(self, key, state.get(key, getattr(self, key)))
        self.stopped = self._out_of_patience()
        path = self.directory / "history.csv"
        if path.exists():
            rows = path.read_text().splitlines(keepends=True)
            path.write_text("".join(rows[: self.epoch + 1]))

    def on_train_begin(self, logs=None):
        """A checkpoint before the first epoch, so that any interruption can be resumed."""
        self._clock = time.perf_counter()
        if self.epoch == 0:
            self._save_last()

    def on_epoch_end(self, epoch, logs=None):
        """History, then the best model, then the checkpoint."""
        logs = {key: float(value) for key, value in (logs or {}).items()}
        self.epoch = epoch + 1
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        path = self.directory / "history.csv"
        if not path.exists():
            path.write_text(",".join(["epoch", *logs]) + "\n")
        with path.open("a", newline="") as file:
            csv.writer(file).writerow([self.epoch, *logs.values()])
        # Without a validation part the training's own value has to do.
        value = logs.get(self.monitor, logs.get(self.monitor.removeprefix("val_")))
        if value is None:
            raise ValueError(f"objective={self.monitor!r} is not among the metrics {list(logs)}")
        better = (
            value > self.best
            if self.direction == "max" and self.best is not None
            else (self.best is None or value < self.best)
        )
        if better and math.isfinite(value):
            self.best, self.best_epoch = value, self.epoch
            checkpoints.save(self.model, self.directory / "best.keras", self._state())
        self._save_last()
        if not math.isfinite(logs.get("loss", 0.0)):
            self.model.stop_training = True
            print(
                f"Stopped: the loss is {logs['loss']} in epoch {self.epoch}. "
                "Try a smaller learning_rate."
            )
        if self._out_of_patience():
            self.model.stop_training = True

    def _out_of_patience(self) -> bool:
        return self.patience is not None and self.epoch - self.best_epoch > self.patience

    def _state(self) -> dict:
        return {
            "objective": self.monitor,
            "epoch": self.epoch,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
        }

    def _save_last(self) -> None:
        checkpoints.save(self.model, self.directory / "last.keras", self._state())


def new_directory(run_dir: str | Path | None, name: str) -> Path:
    """A directory that nobody else has: made here, or empty."""
    if run_dir is not None:
        directory = Path(run_dir)
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ValueError(
                f"run_dir={str(run_dir)!r} is not empty; name a new one, or continue that run with "
                f"resume={str(run_dir)!r}"
            )
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    name = re.sub(r"[^\w.-]+", "_", name)
    number = 1
    while True:
        directory = Path("runs") / f"{name}-{number}"
        try:
            directory.mkdir(parents=True)
            return directory
        except FileExistsError:
            number += 1


def read_config(directory: str | Path) -> dict:
    """`config.json` of a run directory.

    Raises:
        ValueError: it is no run directory.
    """
    path = Path(directory) / "config.json"
    check(path.is_file(), "run", str(directory), "is no run directory (it has no config.json)")
    return json.loads(path.read_text())


def read_history(directory: str | Path) -> dict[str, list[float]]:
    """`history.csv` of a run directory: metric to its values, one for each epoch."""
    path = Path(directory) / "history.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: [float(row[key]) for row in rows] for key in rows[0]} if rows else {}


def environment() -> dict:
    """Versions, backend and devices, for the record."""
    packages = ("keras", "tensorflow", "jax", "torch", "keras-tuner", "numpy")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "recipes": recipes.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": keras.backend.backend(),
        "devices": [f"{device.kind}: {device.name}" for device in devices()],
        "packages": versions,
    }


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all; objects of Keras as Keras writes them."""

    def other(obj: Any) -> Any:
        if hasattr(obj, "item"):
            return obj.item()
        return keras.saving.serialize_keras_object(obj)

    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, default=other) + "\n")
    temporary.replace(path)
