"""Where trials run: in this process, or in processes that outlive neither it nor their memory.

An executor has `slots`, takes a task for a free slot by `submit`, and gives back by `wait` what
became of one. While it waits, it calls `heard(slot, epoch, logs)` for each epoch of any trial.
"""

import contextlib
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle

from recipes.training.precision import devices
from recipes.tuning import trial
from recipes.tuning.trial import Setup, Task

# A process is replaced after so many trials, since each leaves a little memory behind (1.5 MB, of
# 850), or once it holds so many times what it held after the first.
LIFE, GROWTH = 25, 1.3
# TensorFlow and JAX take most of a GPU's memory at once, if nobody tells them not to.
AS_NEEDED = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
Heard = Callable[[int, int, dict[str, float]], None]


class Ended(NamedTuple):
    """What became of a trial: its record, or why its process died."""

    slot: int
    record: dict[str, Any] | None
    died: str = ""


class Here:
    """One trial at a time, in this process."""

    slots = range(1)

    def __init__(self, setup: Setup):
        self.setup, self._stopped = setup, False

    def submit(self, slot: int, task: Task) -> None:
        """Take a trial; `wait` runs it."""
        self._task = task

    def stop(self) -> None:
        """The trial ends after its epoch."""
        self._stopped = True

    def wait(self, heard: Heard, timeout: float | None) -> Ended | None:
        """Run the trial."""

        def tell(epoch: int, logs: dict[str, float]) -> bool:
            heard(0, epoch, logs)
            return self._stopped

        ended = Ended(0, trial.run(self.setup, self._task, tell))
        gc.collect()  # the network
        return ended

    def close(self) -> None:
        """Nothing to end."""


@dataclass(eq=False)
class _Worker:
    slot: int
    process: subprocess.Popen
    log: Path
    first: int = 0  # bytes that it held after its first trial
    trials: int = 0
    busy: bool = False

    def tell(self, what: str, content: Any = None) -> None:
        """Where it died, the thread that listens to it says so."""
        with contextlib.suppress(OSError):
            pickle.dump((what, content), self.process.stdin)
            self.process.stdin.flush()


class Processes:
    """Trials in processes of their own, each of which runs one after the other.

    A process that dies is replaced, and so is one whose memory has grown. Each has its share of
    the cores, or a GPU, if there are any.

    Args:
        workers: so many at a time.
        setup: sent to each process once. What the processes print is in the search's directory.
    """

    def __init__(self, workers: int, setup: Setup):
        self._setup = packed(setup, workers)
        self.slots, self._stopped = range(workers), False
        self._events: queue.Queue[tuple[_Worker, tuple | None]] = queue.Queue()
        self._workers: dict[int, _Worker] = {}

    def _start(self, slot: int, log: Path) -> None:
        # The program itself is not imported again, as multiprocessing would: no need of
        # `if __name__ == "__main__"`, and what it defines comes with the setup, by value.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; import recipes.tuning.worker as w; w.main()"
        )
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=os.environ | share(slot, len(self.slots)),
            )
        worker = self._workers[slot] = _Worker(slot, process, log)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        worker.tell("setup", self._setup)
        if self._stopped:
            worker.tell("stop")

    def _listen(self, worker: _Worker) -> None:
        with contextlib.suppress(Exception):  # the end, or half of a last word
            while True:
                self._events.put((worker, pickle.load(worker.process.stdout)))
        worker.process.wait()
        self._events.put((worker, None))

    def submit(self, slot: int, task: Task) -> None:
        """Send a trial to a free slot's process, a new one where the last is gone."""
        if slot not in self._workers:
            self._start(slot, task.folder.parent / f"worker-{slot + 1}.log")
        worker = self._workers[slot]
        worker.busy = True
        worker.tell("task", pickle.dumps(task))

    def stop(self) -> None:
        """All trials end after their epoch."""
        self._stopped = True
        for worker in self._workers.values():
            worker.tell("stop")

    def wait(self, heard: Heard, timeout: float | None) -> Ended | None:
        """What became of the next trial that ends; None after `timeout` seconds."""
        while True:
            try:
                worker, event = self._events.get(timeout=timeout)
            except queue.Empty:
                return None
            slot = worker.slot
            if worker is not self._workers.get(slot):
                continue  # one that was let go
            if event is None:
                del self._workers[slot]
                if worker.busy:
                    return Ended(slot, None, _why(worker))
            elif event[0] == "epoch":
                heard(slot, *event[1:])
                return None
            else:
                _, record, held = event
                worker.busy, worker.first = False, worker.first or held
                worker.trials += 1
                if worker.trials >= LIFE or held > GROWTH * worker.first:
                    worker.process.stdin.close()  # which ends it
                    del self._workers[slot]
                return Ended(slot, record)

    def close(self) -> None:
        """End all processes, and with them what they are at."""
        for worker in self._workers.values():
            with contextlib.suppress(OSError):
                worker.process.stdin.close()
        for worker in self._workers.values():
            try:
                worker.process.wait(5)
            except subprocess.TimeoutExpired:
                worker.process.kill()


def packed(setup: Setup, workers: int) -> bytes:
    """A setup as other processes take it, with what the program itself defines.

    Raises:
        ValueError: it cannot be sent.
    """
    try:
        return cloudpickle.dumps(setup)
    except Exception as error:
        wanted = f"data and callbacks cannot be sent to other processes ({error}); take 0"
        raise ValueError(f"workers={workers}: {' '.join(wanted.split())}") from error


def share(slot: int, workers: int) -> dict[str, str]:
    """The environment that leaves a process its share of the machine: one GPU, or its cores."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no Linux
        cores = os.cpu_count() or 1
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
    names += ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    found = dict.fromkeys(names, str(max(1, cores // workers)))
    gpus = sum(device.kind == "gpu" for device in devices())
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus))))
        # The launcher, and workers beyond the number of GPUs, are on the same GPU.
        found |= AS_NEEDED
        found["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % gpus]
    return found


def _why(worker: _Worker) -> str:
    """How a process died."""
    code = worker.process.returncode
    if code == -signal.SIGKILL:
        return "killed, perhaps out of memory"
    if code < 0:
        return f"ended by signal {-code} ({signal.strsignal(-code)}); see {worker.log}"
    said = worker.log.read_text(errors="replace").strip().splitlines()
    return f"ended with code {code}: {said[-1] if said else 'no word'}; see {worker.log}"
