"""Mixed precision: which one suits the device, and Keras's policy for as long as it is needed."""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from recipes.contract import unknown

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


@dataclass(frozen=True)
class Device:
    """One device that the backend sees."""

    name: str
    kind: str  # "cpu", "gpu" or "tpu"
    bfloat16: bool = False  # computes in it at full speed
    float16: bool = False


def devices() -> list[Device]:
    """The devices that the current backend sees, the ones it would use first."""
    backend = keras.backend.backend()
    found = importlib.import_module(f"recipes.training.devices_{backend}").devices()
    return sorted(found, key=lambda device: device.kind == "cpu")


def choose(precision: str = "auto") -> str:
    """ "float32", "bfloat16" or "float16".

    Args:
        precision: one of these, which is returned, or "auto": by the device. A TPU and a GPU of
            compute capability 8.0 or more take bfloat16, which needs no loss scaling; a GPU of
            7.0 or more float16; everything else float32.
    """
    names = {**{name: name for name in POLICIES}, **{v: k for k, v in POLICIES.items()}}
    if precision in names:
        return names[precision]
    if precision != "auto":
        raise unknown("precision", precision, ["auto", *POLICIES])
    device = devices()[0]
    return "bfloat16" if device.bfloat16 else "float16" if device.float16 else "float32"


@contextlib.contextmanager
def policy(precision: str = "auto") -> Iterator[str]:
    """Keras's dtype policy for a precision, inside a `with`; the former one comes back after it."""
    chosen = choose(precision)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[chosen])
    try:
        yield chosen
    finally:
        keras.config.set_dtype_policy(before)
