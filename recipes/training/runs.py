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
    part; `config` is what `config.json` holds.
    """

    directory: Path
    family: str
    model: keras.Model
    data: Data
    history: dict[str, list[float]]
    metrics: dict[str, Any]
    config: dict[str, Any] = field(repr=False)


class Recorder(keras.callbacks.Callback):
    """Writes an epoch's results as it ends, keeps the best model, and stops where it should end.

    `last.keras` is written last and carries this object's state, so that whatever is on disk
    after a crash belongs together.

    Args:
        directory: of the run.
        objective: (name of a metric, "max" or "min"). Where there is no validation part,
            "val_accuracy" is the training's own "accuracy".
        patience: epochs without a better value after which training stops, or None.
    """

    def __init__(self, directory: Path, objective: tuple[str, str], patience: int | None):
        super().__init__()
        self.directory, self.patience = directory, patience
        self.objective, direction = objective
        self.sign = 1 if direction == "max" else -1
        self.epoch, self.best_epoch, self.seconds = 0, 0, 0.0
        self.best: float | None = None
        self.diverged = ""  # the loss, once it is no number

    @property
    def state(self) -> dict:
        """What a checkpoint keeps."""
        names = ("epoch", "objective", "best", "best_epoch", "diverged", "seconds")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict) -> None:
        """Continue from the state of a checkpoint; later rows of the history are dropped."""
        for name, value in state.items():
            setattr(self, name, value)
        path = self.directory / "history.csv"
        if path.exists():
            rows = path.read_text().splitlines(keepends=True)
            path.write_text("".join(rows[: self.epoch + 1]))

    @property
    def stopped(self) -> str:
        """Why training should not go on; empty where it should."""
        if self.diverged:
            return f"the loss is {self.diverged} in epoch {self.epoch}; try a smaller learning_rate"
        if self.patience is not None and self.epoch - self.best_epoch >= max(1, self.patience):
            return f"no better {self.objective} since epoch {self.best_epoch}, out of patience"
        return ""

    def on_train_begin(self, logs=None):
        """A checkpoint before the first epoch, so that any interruption can be resumed."""
        self._clock = time.perf_counter()
        if self.epoch == 0:
            checkpoints.save(self.model, self.directory / "last.keras", self.state)

    def on_epoch_end(self, epoch, logs=None):
        """History, then the best model, then the checkpoint."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        self.epoch = epoch + 1
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        if self.objective not in logs:
            self.objective = self.objective.removeprefix("val_")
        if self.objective not in logs:
            raise ValueError(f"objective={self.objective!r} is not among the metrics {list(logs)}")
        with (self.directory / "history.csv").open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not file.tell():
                writer.writerow(["epoch", *logs])
            writer.writerow([self.epoch, *logs.values()])
        if not math.isfinite(logs.get("loss", 0)):
            self.diverged = str(logs["loss"])
        value = logs[self.objective]
        # A network of NaNs still hits its share of the classes: the losses have to be numbers, too.
        sound = all(math.isfinite(logs.get(k, 0)) for k in (self.objective, "loss", "val_loss"))
        if sound and (self.best is None or self.sign * value > self.sign * self.best):
            self.best, self.best_epoch = value, self.epoch
            checkpoints.save(self.model, self.directory / "best.keras", self.state)
        checkpoints.save(self.model, self.directory / "last.keras", self.state)
        if self.stopped:
            self.model.stop_training = True


def check_new(directory: str | Path | None, argument: str = "run_dir") -> None:
    """Raise where `new_directory` could not use this: told before any work is done."""
    if directory is None:
        return
    check(isinstance(directory, str | Path), argument, directory, "must be the path of a directory")
    path = Path(directory)
    there = next(p for p in (path, *path.parents) if p.exists())
    check(there.is_dir(), argument, str(path), f"must be a directory, but {there} is a file")
    more = ", or continue that run with resume" if argument == "run_dir" else ""
    free = there != path or not any(path.iterdir())
    check(free, argument, str(path), f"is not empty; name a new directory{more}")


def new_directory(directory: str | Path | None, name: str, parent: str = "runs") -> Path:
    """A directory that nobody else has: the one given, or `<parent>/<name>-<number>`."""
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        return Path(directory)
    name, number = re.sub(r"[^\w.-]+", "_", name), 1
    while True:
        path = Path(parent) / f"{name}-{number}"
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def read_config(directory: str | Path) -> dict:
    """`config.json` of a run directory.

    Raises:
        ValueError: it is no run directory.
    """
    path = isinstance(directory, str | Path) and Path(directory) / "config.json"
    found = path and path.is_file()
    shown = str(directory) if isinstance(directory, Path) else directory
    check(found, "run", shown, "is no run directory: it has no config.json")
    return json.loads(path.read_text())


def read_search(directory: str | Path) -> dict:
    """`search.json` of a search's directory, with its `best.json`, if there is one, as "best".

    Raises:
        ValueError: it is no search.
    """
    path = isinstance(directory, str | Path) and Path(directory) / "search.json"
    shown = str(directory) if isinstance(directory, Path) else directory
    check(path and path.is_file(), "search", shown, "is no search: it has no search.json")
    best = path.with_name("best.json")
    found = json.loads(best.read_text()) if best.exists() else None
    return {**json.loads(path.read_text()), "best": found}


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
        if isinstance(obj, Path):
            return str(obj)
        return keras.saving.serialize_keras_object(obj)

    write_text(path, json.dumps(value, indent=1, default=other) + "\n")


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
