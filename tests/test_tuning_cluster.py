"""Trials on a Ray cluster: what they give back, and what the death of a worker costs."""

import os
import signal
import sys
import time
import types

import cloudpickle
import keras
import numpy as np
import pytest

import recipes
from recipes import dnn

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

# Callbacks and spaces of this file go to other processes, which cannot import it.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    """A cluster of this machine, as if it had two cores."""
    ray.init(
        num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=80 * 2**20,
        log_to_driver=False, logging_level="ERROR",
    )  # fmt: skip
    yield
    ray.shutdown()


def space(hp):
    rate = hp.Choice("learning_rate", [1e-2, 1e-1, 3e-2, 3e-3])
    return {"units": (4,), "dropout_rate": 0.2, "learning_rate": rate}


def tune(directory, **changes):
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 45)
    data = dnn.load_data((rng.normal(size=(90, 3)) + y[:, None], y), batch_size=16)
    given = {"algorithm": "grid", "max_trials": 4, "epochs": 3, "space": space, "verbose": 0}
    given |= {"precision": "float32", "checkpoint_every": 0, "keep": None}
    return recipes.tune("dnn", data, directory=directory, **given | changes)


class Killer(keras.callbacks.Callback):
    """Ends its process by SIGKILL in the second epoch of one trial, once; notes all epochs."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        rate = float(self.model.optimizer.learning_rate)
        with (self.folder / "epochs").open("a") as file:
            file.write(f"{os.getpid()} {rate:.3g} {epoch}\n")
        if epoch == 1 and abs(rate - 1e-1) < 1e-6 and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("shared", [True, False])
def test_a_killed_worker_costs_what_came_after_its_checkpoint(shared, tmp_path, monkeypatch):
    whole = tune(tmp_path / "whole", workers=0)
    if not shared:
        from recipes.tuning import cluster

        submit = cluster.Cluster.submit

        def submit_unshared(self, slot, task):
            self._token = tmp_path / "elsewhere"  # which no worker finds
            submit(self, slot, task)

        monkeypatch.setattr(cluster.Cluster, "submit", submit_unshared)
    given = {"workers": 2, "cluster": "local", "callbacks": [Killer(tmp_path)]}
    search = tune(tmp_path / "s", **given)
    assert [trial["reason"] for trial in search.trials] == [None] * 4
    for ours, theirs in zip(search.trials, whole.trials, strict=True):
        assert ours["arguments"] == theirs["arguments"]
        assert ours["history"] == {
            name: pytest.approx(values, rel=1e-5) for name, values in theirs["history"].items()
        }
    lines = [line.split() for line in (tmp_path / "epochs").read_text().splitlines()]
    killed = [int(epoch) for _, rate, epoch in lines if rate == "0.1"]
    assert killed == [0, 1, 1, 2]  # from its checkpoint after the first epoch
    assert len({pid for pid, _, _ in lines}) == 3  # two, and the one in place of the dead one
    files = sorted(p.relative_to(search.directory).as_posix() for p in search.directory.rglob("*"))
    assert not [name for name in files if "last.keras" in name or ".shared" in name]
    assert sum(name.endswith("best.keras") for name in files) == 4
    assert search.best_model().built and ray.is_initialized()  # which was not the search's to end


def test_short_epochs_are_heard_of_together(tmp_path, monkeypatch):
    """One by one, thousands of them kept the launcher behind until it seemed to hang."""
    from recipes.tuning import cluster

    def fast(setup, task, tell):
        for epoch in range(1000):
            tell(epoch, {"loss": 1.0})
        return "record"

    monkeypatch.setattr(cluster.trial, "run_or_say", fast)
    task = types.SimpleNamespace(folder=tmp_path / "0000", start=None)
    runner, heard, times = cluster.Runner(cloudpickle.dumps(None)), [], 0
    for events in runner.run(task, str(tmp_path), {}):
        heard += events
        times += 1
        time.sleep(0.05)  # the launcher has other things to do
    *epochs, last = heard
    assert [epoch for _, epoch, _ in epochs] == list(range(1000))
    assert last == ("ended", "record")
    assert times < 100


def test_a_budget_ends_the_trials_that_run(tmp_path):
    given = {"workers": 2, "cluster": "auto", "epochs": 400, "budget": "4 epochs"}
    search = tune(tmp_path / "s", **given)
    assert len(search.trials) == 2
    assert all(trial["score"] is not None and trial["epochs"] < 400 for trial in search.trials)


def test_more_workers_than_the_cluster_has_room_for(tmp_path):
    wanted = "workers=3: the cluster has room for 2 trials at a time, each with a core"
    with pytest.raises(ValueError, match=wanted):
        tune(tmp_path / "s", workers=3, cluster="local")
    with pytest.raises(ValueError, match="workers=0: a cluster needs at least 1"):
        tune(tmp_path / "s", workers=0, cluster="local")
    assert not (tmp_path / "s").exists()
