"""TensorBoard logs on every backend: Keras's own callback needs TensorFlow."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras


class ScalarLog(keras.callbacks.Callback):
    """Write each epoch's metrics where `tensorboard --logdir` finds them.

    Args:
        folder: of the event files.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        """Open a new event file."""
        self.file = EventFile(self.folder)
        self.started = False

    def on_epoch_end(self, epoch, logs=None):
        """One scalar for each metric; the step is the epoch, from 1 as in `history.csv`."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        if not self.started:  # voids what a run wrote of this epoch and later ones, then crashed
            start = SessionLog(status=SessionLog.START)
            self.file.write(step=epoch + 1, session_log=start)
            self.started = True
        values = [Summary.Value(tag=k, simple_value=float(v)) for k, v in (logs or {}).items()]
        self.file.write(step=epoch + 1, summary=Summary(value=values))

    def on_train_end(self, logs=None):
        """Close the file."""
        self.file.close()


class EventFile:
    """A new file of events, which TensorBoard reads after all that the folder has.

    It reads files in the order of their names. Its own `EventFileWriter` counts in them, as text:
    of two files of one second, the tenth of a process comes before the ninth.

    Args:
        folder: made where there is none.
    """

    def __init__(self, folder: str | Path):
        from tensorboard.summary.writer.record_writer import RecordWriter

        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / f"events.out.tfevents.{time.time_ns()}"
        self.records = RecordWriter(path.open("xb"))
        self.write(file_version="brain.Event:2")

    def write(self, **event: Any) -> None:
        """Write an `Event` of these fields, at once."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.records.write(Event(wall_time=time.time(), **event).SerializeToString())
        self.records.flush()

    def close(self) -> None:
        """Nothing more comes."""
        self.records.close()


def write_hparams(folder: str | Path, values: Mapping[str, Any], group: str) -> None:
    """Say with which arguments what is logged in a folder was trained, for the HParams tab.

    Args:
        folder: of the event files; the metrics may be in folders within it.
        values: of arguments; what is neither number nor text is written as a text.
        group: what several trainings with the same values have in common, such as folds.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    plain = {n: v if isinstance(v, bool | int | float | str) else str(v) for n, v in values.items()}
    file = EventFile(folder)
    file.write(summary=hparams_pb(plain, trial_id=group))
    file.close()
