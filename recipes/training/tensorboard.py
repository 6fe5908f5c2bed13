"""TensorBoard logs on every backend: Keras's own callback needs TensorFlow."""

from pathlib import Path

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

    def on_epoch_end(self, epoch, logs=None):
        """One scalar for each metric."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=k, simple_value=float(v)) for k, v in (logs or {}).items()]
        self.writer.add_event(Event(step=epoch, summary=Summary(value=values)))
        self.writer.flush()

    def on_train_end(self, logs=None):
        """Close the file."""
        self.writer.close()
