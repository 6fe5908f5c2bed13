"""The loop of a search: the oracle says what to try, the executor tries it."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from recipes.training.runs import write_json
from recipes.tuning.budget import UNLIMITED, Budget
from recipes.tuning.executors import Ended, Heard
from recipes.tuning.trial import OUT_OF_MEMORY, Task

LIVES = 2  # processes that a trial may take down with it


class Executor(Protocol):
    """Where trials run; see `recipes.tuning.executors`."""

    slots: range

    def submit(self, slot: int, task: Task) -> None:
        """Take a trial for a free slot."""

    def wait(self, heard: Heard, timeout: float | None) -> Ended | None:
        """What became of a trial, or None: ask again."""

    def stop(self) -> None:
        """End all trials after their epoch."""

    def close(self) -> None:
        """End all trials at once."""


def launch(
    oracle: keras_tuner.Oracle,
    executor: Executor,
    task_of: Callable[[Trial], Task],
    *,
    budget: Budget = UNLIMITED,
    shrink_batch: bool = False,
    heard: Callable[[Trial, int, dict[str, float]], None] = lambda *_: None,
    ended: Callable[[Trial], None] = lambda *_: None,
) -> bool:
    """Run trials until the oracle has no more, or the budget is spent.

    The oracle saves itself before a trial starts and after it has ended, so that a kill at any
    moment loses what the executor has not kept, and no trial.

    Args:
        oracle: chooses.
        executor: runs.
        task_of: what there is to do for a trial.
        budget: once it is spent no trial starts, and those that run end after their epoch.
        shrink_batch: what runs out of memory is tried again in batches of half the size.
        heard: called after each epoch of a trial.
        ended: called after each trial.

    Returns:
        Whether the budget was spent.

    Raises:
        OSError: the disk is full, or may not be written.
    """
    start, epochs = time.monotonic(), 0
    free, running = list(executor.slots), {}
    deaths: dict[str, int] = {}
    more, stopped = True, False

    def epoch_of(slot: int, epoch: int, logs: dict[str, float]) -> None:
        nonlocal epochs
        epochs += 1
        heard(running[slot][0], epoch, logs)
        stop_if_spent()

    def stop_if_spent() -> None:
        nonlocal more, stopped
        if not stopped and budget.is_spent(time.monotonic() - start, epochs):
            more, stopped = False, True
            executor.stop()

    while True:
        while more and free:
            trial = oracle.create_trial(f"slot {free[0]}")
            if trial.status == TrialStatus.IDLE:  # until one that runs has ended
                break
            if trial.status == TrialStatus.STOPPED:
                more = False
                break
            slot, task = free.pop(0), task_of(trial)
            running[slot] = trial, task
            executor.submit(slot, task)
        if not running:
            return stopped
        left = None
        if budget.seconds is not None and not stopped:
            left = max(0.0, start + budget.seconds - time.monotonic())
        end = executor.wait(epoch_of, left)
        stop_if_spent()
        if end is None:
            continue
        trial, task = running[end.slot]
        record = end.record
        if record is None:
            deaths[trial.trial_id] = deaths.get(trial.trial_id, 0) + 1
            if deaths[trial.trial_id] < LIVES:
                executor.submit(end.slot, task)  # goes on from its last checkpoint
                continue
            record = _failed(task, end.died)
        elif record.get("stop"):  # the trial runs, for the oracle, and goes on some other time
            raise OSError(record["reason"])
        elif "history" not in record:
            record = _failed(task, record["reason"])
        memory = OUT_OF_MEMORY in (record["reason"] or "")
        if memory and shrink_batch and task.batch_size > 1:
            for name in ("record.json", "last.keras"):
                for file in task.folder.rglob(name):  # its folds', too
                    file.unlink()
            running[end.slot] = trial, task.smaller()
            deaths.pop(trial.trial_id, None)
            executor.submit(end.slot, task.smaller())
            continue
        del running[end.slot]
        free = sorted([*free, end.slot])
        finish(oracle, trial, record)
        ended(trial)


def finish(oracle: keras_tuner.Oracle, trial: Trial, record: dict[str, Any]) -> None:
    """Tell the oracle what became of a trial."""
    trial.status, trial.message = TrialStatus.COMPLETED, record["reason"]
    if record["reason"] is None:
        of_trial = record["best_epoch"] - record["epoch"] - 1  # an index from the end
        best = {name: values[of_trial] for name, values in record["history"].items()}
        best[oracle.objective.name] = record["score"]  # over folds it is in no history
        oracle.update_trial(trial.trial_id, best, step=record["best_epoch"] - 1)
    else:
        trial.status = TrialStatus.FAILED
    oracle.end_trial(trial)


def _failed(task: Task, reason: str) -> dict[str, Any]:
    """The record of a trial that could not write its own."""
    record = {"reason": reason, "epoch": 0, "score": None, "best_epoch": None, "history": {}}
    record |= {"parameters": None, "batch_size": task.batch_size, "seconds": 0.0}
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / "last.keras").unlink(missing_ok=True)
    write_json(task.folder / "record.json", record)
    return record
