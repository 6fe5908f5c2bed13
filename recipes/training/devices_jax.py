"""Devices that JAX sees."""

import re

import jax

from recipes.training.precision import Device


def devices() -> list[Device]:
    """CPU, GPUs and TPUs."""
    found = []
    for device in jax.devices():
        kind = {"cuda": "gpu", "rocm": "gpu"}.get(device.platform, device.platform)
        version = str(getattr(device, "compute_capability", ""))  # AMD's are names
        capability = float(version) if re.fullmatch(r"\d+(\.\d+)?", version) else 0
        found.append(
            Device(
                device.device_kind,
                kind,
                bfloat16=kind == "tpu" or capability >= 8,
                float16=capability >= 7,
            )
        )
    return found
