"""A disk that is full or may not be written: one error, nothing half-written, and going on."""

import errno
import os
import sys
from pathlib import Path

import cloudpickle
import keras
import numpy as np
import pytest

import recipes
from recipes import perceptron

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the callback goes to a process
AGAIN = "once it can, the same call continues the search"


def space(hp):
    return {"learning_rate": hp.Choice("rate", [1.0, 0.5, 0.25, 2.0])}


def tune(directory, **changes):
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 100)
    data = perceptron.load_data((rng.normal(size=(200, 3)) + 0.5 * y[:, None], y))
    given = {"algorithm": "grid", "max_trials": 4, "epochs": 2, "verbose": 0, "space": space}
    given |= {"precision": "float32", "workers": 0, "checkpoint_every": 0, "keep": None}
    return recipes.tune("perceptron", data, directory=directory, **given | changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tune(tmp_path_factory.mktemp("whole") / "s")


def assert_goes_on(directory, whole):
    """Nothing half-written is there, and the search ends as if nothing had been."""
    names = [path.name for path in directory.rglob("*")]
    assert not [name for name in names if name.startswith(".") or name.endswith(".tmp")]
    search = tune(directory)
    assert [(t["arguments"], t["history"], t["reason"]) for t in search.trials] == [
        (t["arguments"], t["history"], t["reason"]) for t in whole.trials
    ]
    rows = (directory / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 and (directory / "README.md").exists()
    assert {path.relative_to(directory) for path in directory.rglob("*.keras")} == {
        path.relative_to(whole.directory) for path in whole.directory.rglob("*.keras")
    }


@pytest.mark.parametrize(
    ("file", "time"),
    [("search.tmp", 1), ("oracle.tmp", 4), ("record.tmp", 2)]
    + [
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (("oracle.tmp", 1), ("oracle.tmp", 3), ("results.tmp", 4), ("best.tmp", 2))
    ],
)
def test_a_disk_that_is_full_when_a_file_is_written(file, time, whole, tmp_path, monkeypatch):
    """The search's own, the oracle's as a trial begins and as it ends, and a trial's record."""
    write, times = Path.write_text, []

    def write_half(self, text, *args, **kwargs):
        times.append(self.name)
        if times.count(file) == time and self.name == file:
            write(self, text[: len(text) // 2], *args, **kwargs)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, text, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_half)
        with pytest.raises(OSError, match=rf"directory=.*No space left on device.*{AGAIN}"):
            tune(tmp_path / "s")
    assert_goes_on(tmp_path / "s", whole)


@pytest.mark.parametrize("time", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_when_a_checkpoint_is_written(time, whole, tmp_path, monkeypatch):
    save, times = keras.Model.save, []

    def save_half(self, path, *args, **kwargs):
        times.append(path)
        if len(times) == time:
            Path(path).write_bytes(b"half")
            # As HDF5 says it, without a number
            raise OSError("Can't write data (error message = 'No space left on device')")
        return save(self, path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", save_half)
        with pytest.raises(OSError, match=rf"directory=.*No space left on device.*{AGAIN}"):
            tune(tmp_path / "s")
    assert_goes_on(tmp_path / "s", whole)


class FullOnce(keras.callbacks.Callback):
    """The disk is full in the second epoch, until somebody makes room."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1 and not self.file.exists():
            self.file.touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))


@pytest.mark.slow
def test_a_disk_that_is_full_in_a_worker(whole, tmp_path):
    with pytest.raises(OSError, match=rf"directory=.*No space left on device.*{AGAIN}"):
        tune(tmp_path / "s", workers=1, callbacks=[FullOnce(tmp_path / "full")])
    assert (tmp_path / "s/trial_0/last.keras").exists()
    assert_goes_on(tmp_path / "s", whole)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["s", None])
def test_a_directory_that_may_not_be_written(where, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = where and tmp_path / where

    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(OSError, match=rf"directory='.*s.*': .*Read-only file system.*{AGAIN}"):
            tune(where)
    assert not list(tmp_path.iterdir())
    assert_goes_on(tmp_path / "s", whole)


@pytest.mark.slow
def test_a_search_that_has_become_read_only(whole, tmp_path, monkeypatch):
    tune(tmp_path / "s", max_trials=2)
    before = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    opened = Path.open

    def refuse(self, mode="r", *args, **kwargs):
        if "w" in mode:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return opened(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(OSError, match=rf"directory=.*Permission denied.*{AGAIN}"):
            tune(tmp_path / "s")
    assert before == {p: p.read_bytes() for p in before}
    assert_goes_on(tmp_path / "s", whole)
