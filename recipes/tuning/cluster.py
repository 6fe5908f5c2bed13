"""Trials on the machines of a Ray cluster.

Each slot is a Ray actor, which keeps its process, and runs trial after trial: with a GPU of its own
where the cluster has some, else with its share of the cores. An actor that dies, or whose machine
does, is replaced, and its trial goes on from its last checkpoint, on whatever machine is left.

The machines need this package, the launcher's backend, and nothing else in common. An actor that
finds the launcher's directory under the same path (NFS, Lustre, one machine) writes there. Any
other works on its own disk, and sends what matters, `best.keras`, `last.keras` and `record.json`,
through Ray's object store after the epoch in which it was written; the launcher puts it in the
search's directory, and sends it along where the trial, or Hyperband's next, goes on elsewhere.
"""

import contextlib
import pickle
import queue
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import ray

from recipes.contract import check
from recipes.tuning import trial
from recipes.tuning.executors import LIFE, Ended, Heard, packed
from recipes.tuning.trial import Setup, Task

KEPT = ("best.keras", "last.keras", "record.json")  # in the order in which they are written


class Cluster:
    """Trials in Ray actors, at most one at a time in each.

    Args:
        workers: actors.
        setup: sent to the cluster once.
        address: of the cluster, "auto" for one that runs here, "local" for one of this machine
            that ends with the search. A program that has called `ray.init` stays with that.

    Raises:
        ValueError: no cluster there, or no room for so many workers.
    """

    def __init__(self, workers: int, setup: Setup, address: str):
        packed_setup = packed(setup, workers)
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(address)
        self.slots, self._stopped = range(workers), False
        self._token: Path | None = None  # a file by which an actor knows the launcher's directory
        self._actors: dict[int, Any] = {}
        self._trials: dict[int, int] = {}  # that the actor of a slot has run
        self._running: dict[Any, tuple[int, Task]] = {}  # what an actor says, and its trial
        try:
            self._options = _options(workers)
        except ValueError:
            self.close()
            raise
        self._setup = ray.put(packed_setup)

    def submit(self, slot: int, task: Task) -> None:
        """Send a trial to a free slot's actor, a new one where the last is gone."""
        root = task.folder.parent
        if self._token is None:
            self._token = root / f".shared-{uuid.uuid4().hex}"
            self._token.touch()
        if slot not in self._actors:
            self._actors[slot] = ray.remote(Runner).options(**self._options).remote(self._setup)
            self._trials[slot] = 0
            if self._stopped:
                self._actors[slot].stop.remote()
        sources = [task.folder] + ([] if task.start is None else [task.start.parent])
        files = {str(f.relative_to(root)): f.read_bytes() for s in sources for f in _files(s)}
        run = self._actors[slot].run.options(num_returns="streaming")
        self._running[run.remote(task, str(self._token), files)] = slot, task

    def stop(self) -> None:
        """All trials end after their epoch."""
        self._stopped = True
        for actor in self._actors.values():
            actor.stop.remote()

    def wait(self, heard: Heard, timeout: float | None) -> Ended | None:
        """What became of the next trial that ends; None after `timeout` seconds."""
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout)
        if not ready:
            return None
        (said,) = ready
        slot, task = self._running.pop(said)
        try:
            events = ray.get(next(said))
        except ray.exceptions.RayError as error:  # its process or its machine is gone
            self._let_go(slot)
            return Ended(slot, None, f"its worker died: {str(error).splitlines()[0]}")
        for what, *content in events:
            if what == "files":
                _write(task.folder.parent, *content)
            elif what == "epoch":
                heard(slot, *content)
            else:
                self._trials[slot] += 1
                if self._trials[slot] >= LIFE:
                    self._let_go(slot)
                return Ended(slot, *content)
        self._running[said] = slot, task  # last in turn
        return None

    def _let_go(self, slot: int) -> None:
        ray.kill(self._actors.pop(slot))

    def close(self) -> None:
        """End all actors, and the cluster if it is of this machine alone."""
        for slot in list(self._actors):
            self._let_go(slot)
        if self._token is not None:
            self._token.unlink(missing_ok=True)
        if self._ours:
            ray.shutdown()


class Runner:
    """What runs trials on a machine of the cluster."""

    def __init__(self, setup: bytes):
        self._setup, self._stopped = pickle.loads(setup), False

    def stop(self) -> None:
        """The trial ends after its epoch."""
        self._stopped = True

    def run(self, task: Task, token: str, files: dict[str, bytes]) -> Iterator[list[tuple]]:
        """Run a trial.

        Args:
            task: the trial, with paths as the launcher has them.
            token: a file in the search's directory: is this here the same?
            files: what the trial goes on from, by paths within that directory.

        Yields:
            What has happened since the last time, each ("epoch", epoch, logs), ("files", as
            `files`, with None for one that is gone), or at the end ("ended", record).
        """
        said: queue.Queue[tuple] = queue.Queue()
        root, scratch = task.folder.parent, None
        if not Path(token).exists():
            scratch = Path(tempfile.mkdtemp())
            _write(scratch, files)
            start = task.start and scratch / task.start.relative_to(root)
            task = replace(task, folder=scratch / task.folder.relative_to(root), start=start)
        known = _times(scratch)

        def tell(epoch: int, logs: dict[str, float]) -> bool:
            send()
            said.put(("epoch", epoch, logs))
            return self._stopped

        def send() -> None:
            nonlocal known
            now = _times(scratch)
            changed = {n: (scratch / n).read_bytes() for n in now if now[n] != known.get(n)}
            gone = dict.fromkeys(known.keys() - now.keys())
            known = now
            if changed or gone:
                said.put(("files", changed | gone))
                said.join()  # a checkpoint counts once it has left this process

        def train() -> None:
            record = trial.run_or_say(self._setup, task, tell)
            send()
            said.put(("ended", record))

        thread = threading.Thread(target=train, daemon=True)
        thread.start()
        while True:
            events = [said.get()]
            while not said.empty():  # short epochs are heard of together
                events.append(said.get())
            if events[-1][0] == "ended":
                break
            yield events
            for _ in events:
                said.task_done()
        thread.join()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        keras.utils.clear_session(free_memory=False)
        yield events


def _connect(address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    quiet |= {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        hint = "; one that asks for a token needs RAY_AUTH_MODE=token here, too"
        raise ValueError(
            f"cluster={address!r}: no Ray cluster answers there ({why}){hint}"
        ) from error


def _options(workers: int) -> dict[str, Any]:
    """What an actor asks of the cluster: a GPU if there are any, and as many cores as all can."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = any(node.get("GPU") for node in nodes)

    def places(cores: int) -> int:
        """Actors with so many cores each that find room."""
        found = [(int(n.get("CPU", 0)) // cores, int(n.get("GPU", 0))) for n in nodes]
        return sum(min(shares) if gpus else shares[0] for shares in found)

    most = f"the cluster has room for {places(1)} trials at a time, each with a "
    check(places(1) >= workers, "workers", workers, most + ("GPU" if gpus else "core"))
    largest = max(int(node.get("CPU", 0)) for node in nodes)
    cores = next(c for c in range(largest, 0, -1) if places(c) >= workers)
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
    environment = dict.fromkeys(threads, str(cores)) | {
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    return {
        "num_cpus": cores,
        "num_gpus": int(gpus),
        "max_concurrency": 2,  # it hears `stop` while it runs
        "runtime_env": {"env_vars": environment},
    }


def _files(folder: Path) -> list[Path]:
    """What matters of a trial, with its folds."""
    return [file for name in KEPT for file in sorted(folder.rglob(name))]


def _times(folder: Path | None) -> dict[str, int]:
    """When each file was written, by its path in the folder; nothing for none."""
    found = [] if folder is None else _files(folder)
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in found}


def _write(root: Path, files: dict[str, bytes | None]) -> None:
    """Each whole or not at all, in their order."""
    for name, content in files.items():
        path = root / name
        if content is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with contextlib.ExitStack() as stack:
            stack.callback(temporary.unlink, missing_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
