"""Trials in processes of their own: what they give back, and what a kill costs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import keras
import numpy as np
import pytest

import recipes
from recipes import cnn
from recipes.training.precision import Device
from recipes.tuning import executors

# Callbacks and spaces of this file go to other processes, which cannot import it.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def images():
    """Bright and dark pictures, (96, 8, 8, 1): 67 to train on, 10 to validate, 19 to test."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 48)
    x = 0.5 * rng.normal(size=(96, 8, 8, 1)) + 0.3 * (2 * y - 1)[:, None, None, None]
    return cnn.load_data((x.astype("float32"), y), batch_size=16)


def space(hp):
    return {
        "filters": (4, 4),
        "units": (hp.Choice("width", [4, 8, 16]),),
        "dropout_rate": 0.2,
        "learning_rate": hp.Float("learning_rate", 1e-3, 1e-1, sampling="log"),
    }


def tune(directory, **changes):
    given = {"algorithm": "random", "max_trials": 4, "epochs": 3, "objective": "val_loss"}
    given |= {"variant": "tiny", "space": space, "precision": "float32", "verbose": 0}
    given |= {"checkpoint_every": 0}
    return recipes.tune("cnn", images(), directory=directory, **given | changes)


class Killer(keras.callbacks.Callback):
    """Ends a process by SIGKILL as an epoch of a trial begins: once for each line of a file."""

    def __init__(self, file, whom):
        super().__init__()
        self.file, self.whom = file, whom

    def on_epoch_begin(self, epoch, logs=None):
        left = self.file.read_text().splitlines()
        if left and left[0] == f"{self.file.name} {epoch}":
            self.file.write_text("\n".join(left[1:]))
            self.file.with_suffix(".pid").write_text(str(os.getpid()))
            os.kill(os.getpid() if self.whom == "worker" else os.getppid(), signal.SIGKILL)
            time.sleep(60)  # the launcher is gone: this process is to end by itself


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing disturbs, in one process."""
    return tune(tmp_path_factory.mktemp("whole") / "s")


def assert_same(trials, others):
    for ours, theirs in zip(trials, others, strict=True):
        assert ours["arguments"] == theirs["arguments"]
        assert ours["history"] == {
            name: pytest.approx(values, rel=1e-5) for name, values in theirs["history"].items()
        }


def test_a_process_finds_what_this_one_does(whole, tmp_path):
    here = tune(tmp_path / "here", workers=0, max_trials=2)
    assert_same(here.trials, whole.trials[:2])
    data = images()
    loss = whole.best_model().evaluate(data.validation, verbose=0, return_dict=True)["loss"]
    assert loss == whole.best_score
    log = (whole.directory / "worker-1.log").read_text()
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_killed_worker_costs_what_came_after_its_checkpoint(whole, tmp_path):
    kills = tmp_path / "kill"
    kills.write_text("kill 1\nkill 2\nkill 2")  # in trials 1, 1 and 2: one too many for trial 1
    search = tune(tmp_path / "s", callbacks=[Killer(kills, "worker")], workers=1)
    first, *others = search.trials
    assert (first["status"], first["reason"]) == ("failed", "killed, perhaps out of memory")
    assert not list(search.directory.rglob("last.keras"))
    assert_same(others, whole.trials[1:])


SEARCH = """
import sys
sys.path.insert(0, {tests!r})
import test_tuning_executors as tests
from pathlib import Path
tests.tune({where!r}, callbacks=[tests.Killer(Path({kills!r}), "launcher")], workers=2)
"""


def test_a_killed_launcher_loses_nothing_and_leaves_nobody_behind(whole, tmp_path):
    kills = tmp_path / "kill"
    kills.write_text("kill 1")
    given = {"tests": str(Path(__file__).parent), "where": str(tmp_path / "s"), "kills": str(kills)}
    done = subprocess.run([sys.executable, "-c", SEARCH.format(**given)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    worker = Path("/proc", kills.with_suffix(".pid").read_text(), "cmdline")
    deadline = time.monotonic() + 50
    while worker.exists() and worker.read_bytes():  # not even a zombie's name
        assert time.monotonic() < deadline, "the worker outlives its launcher"
        time.sleep(0.1)
    assert_same(tune(tmp_path / "s", workers=1).trials, whole.trials)


def test_two_launchers_do_not_share_a_directory(tmp_path):
    class Second(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            with pytest.raises(ValueError, match=r"directory=.*another process is at this search"):
                tune(tmp_path / "s", workers=0, epochs=1)

    search = tune(tmp_path / "s", workers=0, max_trials=1, epochs=1, callbacks=[Second()])
    assert [t["reason"] for t in search.trials] == [None]


@pytest.mark.slow
def test_a_process_is_replaced_before_its_memory_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "LIFE", 2)
    started = []
    start = executors.Processes._start
    monkeypatch.setattr(
        executors.Processes,
        "_start",
        lambda self, slot, log: (started.append(slot), start(self, slot, log)),
    )
    search = tune(tmp_path / "s", max_trials=3, epochs=1)
    assert started == [0, 0] and len(search.trials) == 3
    assert executors.share(1, 10**6)["OMP_NUM_THREADS"] == "1"


class Surroundings(keras.callbacks.Callback):
    """Notes what a worker is given of the machine."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def on_train_begin(self, logs=None):
        names = ("CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_PREALLOCATE", "OMP_NUM_THREADS")
        with self.file.open("a") as file:
            file.write(" ".join(os.environ.get(name, "-") for name in names) + "\n")


def test_each_worker_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    gpus = [Device(f"card {i}", "gpu") for i in range(2)]
    monkeypatch.setattr(executors, "devices", lambda: [*gpus, Device("processor", "cpu")])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    given = {"max_trials": 2, "epochs": 1, "workers": 2}
    tune(tmp_path / "s", callbacks=[Surroundings(tmp_path / "seen")], **given)
    assert sorted((tmp_path / "seen").read_text().splitlines()) == ["4 false 4", "7 false 4"]


def test_workers_beyond_the_gpus_share_them(monkeypatch):
    monkeypatch.setattr(executors, "devices", lambda: [Device("card", "gpu")] * 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = [executors.share(slot, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert seen == ["0", "1", "0"]
    monkeypatch.setattr(executors, "devices", lambda: [Device("processor", "cpu")])
    assert "CUDA_VISIBLE_DEVICES" not in executors.share(0, 3)


def test_what_cannot_be_sent_is_told_first(tmp_path):
    class Locked(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.file = (tmp_path / "open").open("w")

    with pytest.raises(ValueError, match="workers=1: data and callbacks cannot be sent"):
        tune(tmp_path / "s", callbacks=[Locked()])
    assert not (tmp_path / "s").exists()
