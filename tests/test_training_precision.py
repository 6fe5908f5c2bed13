"""Which precision suits which device, and the policy that applies it."""

import importlib
from types import SimpleNamespace

import keras
import pytest

from recipes.training import precision
from recipes.training.precision import Device, choose, devices, policy


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([Device("CPU", "cpu")], "float32"),
        ([Device("K80", "gpu")], "float32"),
        ([Device("V100", "gpu", float16=True)], "float16"),
        ([Device("H200", "gpu", bfloat16=True, float16=True)], "bfloat16"),
        ([Device("TPU v5e", "tpu", bfloat16=True)], "bfloat16"),
        ([Device("T4", "gpu", float16=True), Device("CPU", "cpu", bfloat16=True)], "float16"),
    ],
)
def test_auto_is_by_the_first_device(found, wanted, monkeypatch):
    monkeypatch.setattr(precision, "devices", lambda: found)
    assert choose() == choose("auto") == wanted
    assert choose("float32") == "float32"  # what is asked for wins


def gpu(backend: str, name: str, version: str) -> object:
    """A module in the place of the backend's, on a machine with one GPU."""
    capability = tuple(int(n) for n in version.split(".")) if "." in version else ()
    if backend == "tensorflow":
        cpu, found = (
            SimpleNamespace(device_type=kind, name=f"/physical_device:{kind}:0")
            for kind in ("CPU", "GPU")
        )
        details = {"device_name": name} | ({"compute_capability": capability} if capability else {})
        experimental = SimpleNamespace(get_device_details=lambda device: details)
        config = SimpleNamespace(
            list_physical_devices=lambda: [cpu, found], experimental=experimental
        )
        return SimpleNamespace(config=config)
    if backend == "jax":
        device = SimpleNamespace(platform="gpu", device_kind=name, compute_capability=version)
        return SimpleNamespace(devices=lambda: [device])
    cuda = SimpleNamespace(
        device_count=lambda: 1,
        get_device_capability=lambda index: capability,
        get_device_name=lambda index: name,
    )
    return SimpleNamespace(cuda=cuda)


@pytest.mark.parametrize(
    ("name", "version", "wanted"),
    [
        ("GTX 1080", "6.1", "float32"),
        ("V100", "7.0", "float16"),
        ("T4", "7.5", "float16"),
        ("A100", "8.0", "bfloat16"),
        ("H200", "9.0", "bfloat16"),
        ("B200", "10.0", "bfloat16"),  # more than 8.0, though not as a text
        ("MI300X", "gfx942", "float32"),
    ],
)
def test_this_backends_devices_are_told_by_compute_capability(name, version, wanted, monkeypatch):
    backend = keras.backend.backend()
    if backend == "torch" and "." not in version:
        pytest.skip("PyTorch states numbers for every GPU")
    module = importlib.import_module(f"recipes.training.devices_{backend}")
    short = {"tensorflow": "tf"}.get(backend, backend)
    monkeypatch.setattr(module, short, gpu(backend, name, version))
    first = devices()[0]  # the GPU comes before the CPU
    assert (first.name, first.kind) == (name, "gpu")
    assert choose("auto") == wanted


def test_this_machine_has_a_device():
    assert {device.kind for device in devices()} <= {"cpu", "gpu", "tpu"}
    assert devices()


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_policy_is_applied_and_taken_back(name):
    mixed = name if name == "float32" else f"mixed_{name}"
    before = keras.config.dtype_policy()
    with policy(name) as chosen:
        assert chosen == name
        assert keras.config.dtype_policy().name == mixed
        assert keras.layers.Dense(1).compute_dtype == name
        with policy("float32"):
            assert keras.layers.Dense(1).compute_dtype == "float32"
        assert keras.config.dtype_policy().name == mixed
    assert keras.config.dtype_policy() is before
    assert choose(mixed) == name  # Keras's own names do, too


def test_policy_is_taken_back_after_an_error():
    before = keras.config.dtype_policy()
    with pytest.raises(ZeroDivisionError), policy("float16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy() is before
    with pytest.raises(ValueError, match="unknown precision 'half'; known: auto, float32"):
        policy("half").__enter__()
    assert keras.config.dtype_policy() is before
