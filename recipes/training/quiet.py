"""Silence for what C++ writes past Python; imports no backend, so that one can start inside."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches the standard error, unless the user set TF_CPP_MIN_LOG_LEVEL to 0 or 1.

    TensorFlow's messages come from C++, so that only the file descriptor can be silenced.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") in ("0", "1"):
        yield  # the user asked for messages
        return
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        silence = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, silence)
        os.dup2(silence, 2)
        yield
