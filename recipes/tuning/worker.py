"""A process that runs trials for the launcher that started it, and ends when that one does.

What a trial is, its setup's `run(task, tell)` says.

It is told on its standard input and answers on its standard output, pickles both; so there is no
port, and what a trial prints goes to the log. Started by `recipes.tuning.executors.Processes`.
"""

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any


def main() -> None:
    """Run what comes until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # print() goes to the log
    told: queue.Queue[bytes] = queue.Queue()
    stop = threading.Event()

    def listen() -> None:
        """While TensorFlow is imported, too: the launcher must not wait to get its data rid."""
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                what, content = pickle.load(sys.stdin.buffer)
                stop.set() if what == "stop" else told.put(content)
        os._exit(0)  # the launcher is gone, or wants this process gone

    def say(*answer: Any) -> None:
        pickle.dump(answer, answers)
        answers.flush()

    def tell(epoch: int, logs: dict[str, float]) -> bool:
        say("epoch", epoch, logs)
        return stop.is_set()

    threading.Thread(target=listen, daemon=True).start()
    setup = pickle.loads(told.get())

    import gc

    import keras

    from recipes.tuning import trial

    gc.collect()
    gc.freeze()  # all of Keras need not be looked at after each trial
    while True:
        task = pickle.loads(told.get())
        record = trial.run_or_say(setup, task, tell)
        keras.utils.clear_session(free_memory=False)
        gc.collect()
        say("ended", record, memory())


def peak_memory() -> int:
    """Most bytes that this process ever held."""
    try:  # what `getrusage` says is that of the process that started this one, if it was larger
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except OSError:  # no Linux
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory() -> int:
    """Bytes that this process holds."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no Linux
        return peak_memory()
