"""TensorBoard logs on every backend: Keras's own callback needs TensorFlow."""

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
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(self.folder))
        self.started = False

    def on_epoch_end(self, epoch, logs=None):
        """One scalar for each metric; the step is the epoch, from 1 as in `history.csv`."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        if (
            not self.started
        ):  # voids what a run wrote of this epoch and later ones before it crashed
            start = SessionLog(status=SessionLog.START)
            self.writer.add_event(Event(step=epoch + 1, session_log=start))
            self.started = True
        values = [Summary.Value(tag=k, simple_value=float(v)) for k, v in (logs or {}).items()]
        self.writer.add_event(Event(step=epoch + 1, summary=Summary(value=values)))
        self.writer.flush()

    def on_train_end(self, logs=None):
        """Close the file."""
        self.writer.close()


def write_hparams(folder: str | Path, values: Mapping[str, Any], group: str) -> None:
    """Say with which arguments what is logged in a folder was trained, for the HParams tab.

    Args:
        folder: of the event files; the metrics may be in folders within it.
        values: of arguments; what is neither number nor text is written as a text.
        group: what several trainings with the same values have in common, such as folds.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    plain = {n: v if isinstance(v, bool | int | float | str) else str(v) for n, v in values.items()}
    writer = EventFileWriter(str(folder), filename_suffix=".hparams")
    writer.add_event(Event(summary=hparams_pb(plain, trial_id=group)))
    writer.close()
