"""Train a family on data, in a run directory that holds all that matters, and resume it."""

import csv
import json
import math
import platform
import re
import sys
import time
import zlib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

import recipes
from recipes.contract import check, family, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data.core import Data
from recipes.training import checkpoints
from recipes.training.precision import choose, devices, policy
from recipes.training.tensorboard import ScalarLog


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


def train(
    family_or_name: str | ModuleType | None = None,
    data: Any = None,
    *,
    variant: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    patience: int | None = None,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: list[keras.callbacks.Callback] = (),
    data_options: dict[str, Any] | None = None,
    verbose: int | str = "auto",
    **build_arguments: Any,
) -> Run:
    """Train a model and keep everything about it.

    The run directory holds: `config.json` (all arguments, resolved), `environment.json`,
    `data.json` (how new inputs are prepared), `history.csv`, `metrics.json`, `best.keras` and
    `last.keras`, `plots/`, `logs/` (TensorBoard), and `README.md`, a model card.

    Args:
        family_or_name: a family's module or name, such as "cnn".
        data: anything the family's `load_data` takes, or a `Data`; default its own data set.
        variant: of the family; default that of its `build_model`.
        epochs: at most so many; default the family's `EPOCHS`.
        batch_size: default that of the family's `load_data`.
        precision: "float32", "bfloat16", "float16", or "auto": by the device.
        seed: of the weights, the splits, the order and dropout.
        patience: stop after so many epochs without a better objective; default never.
        run_dir: a new directory; default `runs/<family>-<variant>-<data>-<number>`.
        resume: a run directory, to continue after a crash, or for more `epochs`. Only `epochs`,
            `callbacks` and `verbose` may be given with it, and `data` if the run had arrays.
        callbacks: further Keras callbacks.
        data_options: further arguments of `load_data`.
        verbose: as in `fit`; "auto" shows a progress bar in a terminal and lines elsewhere.
        **build_arguments: of `build_model`, over what the data asks for.

    Returns:
        The `Run`, with the best model.

    Raises:
        ValueError: an unknown family, variant, argument or data set; data that does not fit the
            arguments; a `run_dir` that is not empty; a `resume` that is no run.
    """
    if resume is not None:
        given = dict(
            build_arguments,
            variant=variant,
            batch_size=batch_size,
            run_dir=run_dir,
            patience=patience,
            data_options=data_options,
        )
        given |= {"family": family_or_name} if family_or_name is not None else {}
        refused = [name for name, value in given.items() if value is not None]
        check(
            not refused,
            "resume",
            str(resume),
            f"cannot change {', '.join(refused)}: a resumed run keeps its arguments, except epochs",
        )
        return _resume(Path(resume), data, epochs, callbacks, verbose)

    check(family_or_name is not None, "family", None, "name a family, or a run to resume")
    module = family(family_or_name)
    name = module.__name__.rpartition(".")[2]
    variant = _default_variant(module) if variant is None else variant
    if variant not in module.VARIANTS:
        raise unknown("variant", variant, module.VARIANTS)
    check_vocabulary(
        {"epochs": epochs, "batch_size": batch_size, "seed": seed},
        optional=("epochs", "batch_size"),
    )
    check(
        patience is None or (isinstance(patience, int) and patience >= 0),
        "patience",
        patience,
        "must be an integer of at least 0",
    )
    precision = choose(precision)

    if not isinstance(data, Data):
        options = dict(data_options or {}, seed=seed)
        options |= {"batch_size": batch_size} if batch_size else {}
        data = module.load_data(*(() if data is None else (data,)), **options)
    elif batch_size:
        data = data.with_batch_size(batch_size)
    for argument, value in data.spec.items():
        wanted = build_arguments.get(argument, value)
        same = tuple(wanted) == tuple(value) if argument == "input_shape" else wanted == value
        check(same, argument, wanted, f"the data {data.name!r} needs {value!r}")

    config = {
        "recipes": recipes.__version__,
        "family": name,
        "variant": variant,
        "build": {**data.spec, **build_arguments},
        "data": _data_identity(data),
        "epochs": epochs or module.EPOCHS,
        "batch_size": data.train.batch_size,
        "precision": precision,
        "seed": int(seed),
        "patience": patience,
    }
    with policy(precision):
        keras.utils.set_random_seed(seed)
        # Built first: a wrong argument must not leave a directory behind.
        model = module.build_model(variant, **config["build"])
        directory = _new_directory(run_dir, f"{name}-{variant}-{data.name}")
        _write_json(directory / "config.json", config)
        _write_json(directory / "environment.json", environment())
        _write_json(
            directory / "data.json",
            {
                "name": data.name,
                "kind": data.kind,
                "class_names": data.class_names,
                "transform": data.transform.get_config(),
            },
        )
        recorder = Recorder(directory, module.OBJECTIVE, patience)
        return _fit(directory, config, model, data, recorder, callbacks, verbose)


def _resume(directory: Path, data: Any, epochs: int | None, callbacks: list, verbose: Any) -> Run:
    config = read_config(directory)
    last = directory / "last.keras"
    check(last.is_file(), "resume", str(directory), "has no last.keras to continue from")
    module = family(config["family"])
    check_vocabulary({"epochs": epochs}, optional=("epochs",))
    config["epochs"] = epochs or config["epochs"]
    identity = config["data"]
    if not isinstance(data, Data):
        if data is None and identity["source"] is None:
            raise ValueError(
                f"resume={str(directory)!r}: this run was trained on data in memory "
                f"({identity['name']}); pass the same data again"
            )
        options = dict(identity["source"] or {"seed": config["seed"]})
        source = options.pop("source", None)
        options["batch_size"] = config["batch_size"]
        data = module.load_data(source if data is None else data, **options)
    data = data.with_batch_size(config["batch_size"])
    found = _data_identity(data)
    for key in ("spec", "sizes", "labels"):
        found_value, wanted = (json.loads(json.dumps(d[key])) for d in (found, identity))
        check(
            found_value == wanted,
            "data",
            data.name,
            f"is not what the run was trained on: its {key} are {found_value}, not {wanted}",
        )

    with policy(config["precision"]):
        keras.utils.set_random_seed(config["seed"])
        model = checkpoints.load(last)
        recorder = Recorder(directory, module.OBJECTIVE, config["patience"])
        recorder.restore(checkpoints.read_state(last))
        _write_json(directory / "config.json", config)
        return _fit(directory, config, model, data, recorder, callbacks, verbose)


def _fit(
    directory: Path,
    config: dict,
    model: keras.Model,
    data: Data,
    recorder: "Recorder",
    callbacks: list,
    verbose: Any,
) -> Run:
    """Fit from where the recorder stands, then evaluate the best model and write the reports."""
    from recipes.reports.run import write_reports

    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() else 2
    data.train.epoch = recorder.epoch
    if recorder.epoch < config["epochs"] and not recorder.stopped:
        try:
            model.fit(
                data.train,
                validation_data=data.validation,
                epochs=config["epochs"],
                initial_epoch=recorder.epoch,
                shuffle=False,  # Batches shuffles, by seed and epoch
                callbacks=[*callbacks, ScalarLog(directory / "logs"), recorder],
                verbose=verbose,
            )
        except KeyboardInterrupt:
            print(
                f"\nPaused after epoch {recorder.epoch}. To continue: "
                f"recipes train --resume {directory}"
            )
            raise
    best_file = directory / "best.keras"
    best = checkpoints.load(best_file) if best_file.exists() else model
    tested = best.evaluate(data.test, verbose=0, return_dict=True)
    metrics = {
        **checkpoints.read_state(best_file if best_file.exists() else directory / "last.keras"),
        "epochs": recorder.epoch,
        **{f"test_{key}": float(value) for key, value in tested.items()},
        "parameters": sum(math.prod(w.shape) for w in best.trainable_weights),
        "seconds": round(recorder.seconds, 1),
    }
    _write_json(directory / "metrics.json", metrics)
    run = Run(directory, config["family"], best, data, read_history(directory), metrics, config)
    write_reports(run)
    return run


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


def _default_variant(module: ModuleType) -> str:
    import inspect

    return inspect.signature(module.build_model).parameters["variant"].default


def _data_identity(data: Data) -> dict:
    """What makes two data sets the same: names, sizes, shapes and a checksum of the labels."""
    parts = (data.train, data.validation, data.test)
    return {
        "name": data.name,
        "source": data.source or None,
        "sizes": data.sizes,
        "spec": data.spec,
        "labels": [zlib.crc32(part.targets.tobytes()) for part in parts if part is not None],
    }


def _new_directory(run_dir: str | Path | None, name: str) -> Path:
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


def _write_json(path: Path, value: Any) -> None:
    """Whole or not at all; objects of Keras as Keras writes them."""

    def other(obj: Any) -> Any:
        if hasattr(obj, "item"):
            return obj.item()
        return keras.saving.serialize_keras_object(obj)

    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, default=other) + "\n")
    temporary.replace(path)
