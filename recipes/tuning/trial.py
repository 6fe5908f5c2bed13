"""One trial: a model built, trained and kept, in whatever process it is given to."""

import copy
import errno
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recipes.contract import family
from recipes.data.core import Data
from recipes.training import checkpoints
from recipes.training.compilation import create_variables
from recipes.training.precision import policy
from recipes.training.runs import write_json
from recipes.training.tensorboard import write_hparams
from recipes.tuning.folds import fold, together

OUT_OF_MEMORY = "out of memory"  # how the reason of such a failure begins


@dataclass
class Setup:
    """What is the same for all trials of a search."""

    family: str
    variant: str
    data: Data
    precision: str  # "float32", "bfloat16" or "float16", where the space does not decide it
    seed: int  # trial n starts from seed + n
    objective: tuple[str, str] | None  # (name of a metric, "max" or "min"); None: the last is best
    epochs: int  # of a trial, where the space does not decide it
    patience: int | None  # epochs without a better objective after which a trial ends
    callbacks: list[keras.callbacks.Callback]  # each trial gets copies
    checkpoint_every: float = 30.0  # seconds between two checkpoints of a trial that runs
    folds: int | None = None  # each trial trains once for each, on the others

    def of_fold(self, number: int) -> "Setup":
        """That of one fold, from 1, of every trial."""
        data = fold(self.data, number, self.folds, self.seed)
        return replace(self, data=data, folds=None)

    def run(self, task: "Task", tell: "Tell") -> dict[str, Any]:
        """See `run` below."""
        return run(self, task, tell)


@dataclass
class Task:
    """What one trial is."""

    number: int  # from 1
    folder: Path  # of its files
    arguments: dict[str, Any]  # of build_model
    batch_size: int
    epochs: int
    precision: str
    initial_epoch: int = 0
    start: Path | None = None  # a checkpoint to go on from
    name: str = ""  # of the folder within the search's

    def smaller(self) -> "Task":
        """The same in batches of half the size."""
        return replace(self, batch_size=self.batch_size // 2)

    def of_fold(self, number: int) -> "Task":
        """What one fold of it is."""
        name = f"fold_{number}"
        start = self.start and self.start.parent / name / self.start.name
        return replace(self, folder=self.folder / name, start=start, name=f"{self.name}/{name}")


# Told after each epoch: how many are done, and the metrics. Answers whether the trial should end.
Tell = Callable[[int, dict[str, float]], bool]


def run(setup: Setup, task: Task, tell: Tell = lambda epoch, logs: False) -> dict[str, Any]:
    """Train a trial to its end, or to its failure.

    Its folder gets `best.keras`, the model of its best epoch with the optimizer, and `record.json`,
    which is returned. A folder that has a record already is left alone; one with a `last.keras`, a
    checkpoint, goes on from there. With folds, each has such a folder within the trial's.

    Returns:
        `reason`: why it failed, or None; `score` and `best_epoch` (from 1), None where it failed
        before the first epoch's end; `history`: metric to its values, one for each epoch;
        `parameters`: trainable ones, None where no model was built; `batch_size`; `seconds`. With
        folds also what `recipes.tuning.folds.together` adds.

    Raises:
        OSError: the disk is full, or may not be written.
    """
    done = task.folder / "record.json"
    if done.exists():
        return json.loads(done.read_text())
    task.folder.mkdir(parents=True, exist_ok=True)
    record = (_in_folds if setup.folds else _at_once)(setup, task, tell)
    write_json(done, record)
    (task.folder / "last.keras").unlink(missing_ok=True)
    return record


def run_or_say(setup: Setup, task: Task, tell: Tell) -> dict[str, Any]:
    """As `run`, for a process that answers to a launcher: where nothing can be written, why."""
    try:
        return setup.run(task, tell)
    except Exception as error:
        return {"reason": reason_of(error), "stop": cannot_write(error)}


def _in_folds(setup: Setup, task: Task, tell: Tell) -> dict[str, Any]:
    """The record over all folds; those that had not begun when it was to end are left out."""
    records, ended = [], False
    for number in range(1, setup.folds + 1):

        def tell_all(epoch: int, logs: dict[str, float], before: int = number - 1) -> bool:
            nonlocal ended
            ended = tell(before * task.epochs + epoch, logs)
            return ended

        record = run(setup.of_fold(number), task.of_fold(number), tell_all)
        if record["reason"] is not None:
            return record | {"reason": f"{record['reason']} (fold {number})"}
        records.append(record)
        if ended:
            break
    return together(records)


def _at_once(setup: Setup, task: Task, tell: Tell) -> dict[str, Any]:
    """The record of one training."""
    last = task.folder / "last.keras"
    recorder = Recorder(setup, task, tell)
    reason = None
    try:
        with policy(task.precision):
            _fit(setup, task, recorder, last if last.exists() else task.start)
    except Exception as error:
        if cannot_write(error):  # no fault of the trial's
            raise
        reason = reason_of(error)
    return {"reason": reason, **recorder.state}


def build(setup: Setup, number: int, arguments: dict[str, Any]) -> keras.Model:
    """A compiled model, from a trial's seed and under Keras's policy of the moment."""
    keras.utils.set_random_seed(setup.seed + number)
    return family(setup.family).build_model(setup.variant, **arguments)


def _fit(setup: Setup, task: Task, recorder: "Recorder", start: Path | None) -> None:
    """Train as long as the task says, or patience allows."""
    if start is None:
        model = build(setup, task.number, task.arguments)
    else:
        keras.utils.set_random_seed(setup.seed + task.number)
        model = checkpoints.load(start)
        if start.name == "last.keras":
            recorder.restore(checkpoints.read_state(start))
    data = setup.data.with_batch_size(task.batch_size)
    data.train.epoch = recorder.epoch
    recorder.parameters = sum(math.prod(w.shape) for w in model.trainable_weights)
    create_variables(model, data.train[0])
    callbacks = copy.deepcopy(list(setup.callbacks))
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.TensorBoard):
            callback.log_dir = str(Path(callback.log_dir) / task.name)
            values = {k: v for k, v in task.arguments.items() if k not in setup.data.spec}
            values["batch_size"] = task.batch_size
            write_hparams(callback.log_dir, values, group=task.name.partition("/")[0])
    if recorder.epoch < task.epochs and not recorder.patient_no_more:
        model.fit(
            data.train,
            validation_data=data.validation,
            epochs=task.epochs,
            initial_epoch=recorder.epoch,
            shuffle=False,  # Batches shuffles, by seed and epoch
            callbacks=[checkpoints.SeedEpochs(setup.seed + task.number), *callbacks, recorder],
            verbose=0,
        )
    recorder.parameters = sum(math.prod(w.shape) for w in model.trainable_weights)
    recorder.keep_best(model)


class Recorder(keras.callbacks.Callback):
    """Keeps the history and the best weights, and fails a trial whose numbers are none.

    The weights stay in memory: files are written when the trial ends, and at most every
    `setup.checkpoint_every` seconds before that, so that short trials pay for one file alone.
    """

    def __init__(self, setup: Setup, task: Task, tell: Tell):
        super().__init__()
        self.setup, self.task, self.tell = setup, task, tell
        self.epoch, self.batch_size = task.initial_epoch, task.batch_size
        self.history: dict[str, list[float]] = {}
        self.score: float | None = None
        self.best_epoch: int | None = None
        self.parameters: int | None = None
        self.seconds = 0.0  # before this object was made
        self._weights: list[np.ndarray] | None = None  # of the best epoch, while in no file
        self._made = self._saved = time.perf_counter()

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint and the record keep."""
        names = ("epoch", "score", "best_epoch", "history", "parameters", "batch_size")
        seconds = self.seconds + time.perf_counter() - self._made
        return {**{name: getattr(self, name) for name in names}, "seconds": round(seconds, 3)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        vars(self).update(state)

    @property
    def patient_no_more(self) -> bool:
        """Whether the objective got no better for too long."""
        patience = self.setup.patience
        if patience is None or self.best_epoch is None:
            return False
        return self.epoch - self.best_epoch >= max(1, patience)

    def on_epoch_end(self, epoch, logs=None):
        """Fail, or keep what is best, then tell."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        self.epoch = epoch + 1
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        objective, direction = self.setup.objective or (None, "max")
        judged = self.epoch if objective is None else logs[objective]
        # Accuracy alone does not show it: a network of NaNs still hits its share of the classes.
        for name, value in (("loss", logs.get("loss", 0.0)), (objective, judged)):
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value} in epoch {self.epoch}")
        sign = 1 if direction == "max" else -1
        if self.score is None or sign * judged > sign * self.score:
            self.score, self.best_epoch = judged, self.epoch
            self._weights = _values(self.model)
            if type(self.model).fit is not keras.Model.fit:  # may change more than its weights
                self.keep_best(self.model)
        if time.perf_counter() - self._saved >= self.setup.checkpoint_every:
            self._checkpoint()
        if self.tell(self.epoch, logs) or self.patient_no_more:
            self.model.stop_training = True

    def _checkpoint(self) -> None:
        """The best model, then the last: after a kill in between, the epochs run again."""
        older = self._weights is not None and self.best_epoch != self.epoch
        now = _values(self.model) if older else []
        self.keep_best(self.model)
        if older:
            _assign(self.model, now)
        checkpoints.save(self.model, self.task.folder / "last.keras", self.state)
        self._saved = time.perf_counter()

    def keep_best(self, model: keras.Model) -> None:
        """Write `best.keras` unless it is there. The model has the best weights then."""
        if self._weights is not None:
            if self.best_epoch != self.epoch:
                _assign(model, self._weights)
            checkpoints.save(model, self.task.folder / "best.keras", {"epoch": self.best_epoch})
            self._weights = None


def _variables(model: keras.Model) -> list[keras.Variable]:
    """All that a checkpoint holds: weights, random states, the optimizer's variables."""
    optimizer = getattr(model, "optimizer", None)
    return [*model.variables, *(optimizer.variables if optimizer is not None else ())]


def _values(model: keras.Model) -> list[np.ndarray]:
    """Copies; PyTorch's arrays would be views of what training goes on to change."""
    return [np.array(keras.ops.convert_to_numpy(v)) for v in _variables(model)]


def _assign(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)


def cannot_write(error: BaseException) -> bool:
    """Whether there is no room, or no leave, to write. HDF5 says so in its text alone."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return isinstance(error, OSError) and any(os.strerror(c) in str(error) for c in codes)


def reason_of(error: BaseException) -> str:
    """Why a trial failed, on one line."""
    text = " ".join(str(error).split())[:300]
    name = type(error).__name__
    signs = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "allocate memory")
    if isinstance(error, MemoryError) or any(sign in f"{name} {text}" for sign in signs):
        return f"{OUT_OF_MEMORY}: {text or name}"
    return text if text and isinstance(error, ValueError) else f"{name}: {text}"
