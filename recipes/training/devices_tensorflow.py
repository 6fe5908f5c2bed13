"""Devices that TensorFlow sees."""

import tensorflow as tf

from recipes.training.precision import Device


def devices() -> list[Device]:
    """CPU, GPUs and TPUs."""
    found = []
    for device in tf.config.list_physical_devices():
        kind = device.device_type.lower().removesuffix("_system")  # TPU_SYSTEM stands for its TPUs
        details = tf.config.experimental.get_device_details(device) if kind == "gpu" else {}
        capability = details.get("compute_capability", (0, 0))
        found.append(
            Device(
                details.get("device_name", device.name),
                kind,
                bfloat16=kind == "tpu" or capability >= (8, 0),
                float16=capability >= (7, 0),
            )
        )
    return found
