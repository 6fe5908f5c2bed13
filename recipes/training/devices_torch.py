"""Devices that PyTorch sees."""

import torch

from recipes.training.precision import Device


def devices() -> list[Device]:
    """CPU and GPUs."""
    found = [Device("CPU", "cpu")]
    for index in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(index)
        found.append(
            Device(
                torch.cuda.get_device_name(index),
                "gpu",
                bfloat16=capability >= (8, 0),
                float16=capability >= (7, 0),
            )
        )
    return found
