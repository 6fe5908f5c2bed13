"""Fixtures for all tests."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest

from recipes.training import compilation

compilation.XLA_ON_CPU = False  # compiling would be most of the time


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts from seed 0, and leaves neither layers nor a dtype policy behind."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session(free_memory=False)  # resets the policy
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="session")
def shared_tfds() -> str:
    """The folder of prepared TensorFlow Datasets."""
    beside = Path(__file__).parents[2] / "shared" / "tfds"
    folder = Path(os.environ.get("TFDS_DATA_DIR", beside))
    if not folder.is_dir():
        pytest.skip(f"needs prepared TensorFlow Datasets in TFDS_DATA_DIR ({folder} is no folder)")
    return str(folder)


@pytest.fixture
def sketch() -> Callable[..., keras.Model]:
    """`sketch(build_model, ...)` builds a model whose weights have shapes but take no memory."""

    def sketch(build_model: Callable, *args, **kwargs) -> keras.Model:
        optimizer = keras.optimizers.SGD()  # made outside, since it has a number to initialise
        with keras.StatelessScope(initialize_variables=False):
            return build_model(*args, optimizer=optimizer, **kwargs)

    return sketch


@pytest.fixture
def from_torch() -> Callable:
    """`from_torch(module)`: a torch layer's weights, as `get_weights` of Keras's has them."""

    def from_torch(module) -> list:
        weight = module.weight.detach()
        order = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[weight.ndim]  # 1: batch normalisation
        weights = [weight.permute(order)]
        for name in ("bias", "running_mean", "running_var"):
            if getattr(module, name, None) is not None:
                weights.append(getattr(module, name).detach())
        return [w.numpy().copy() for w in weights]

    return from_torch
