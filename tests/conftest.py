"""Fixtures for all tests."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # they share the cores: one thread each
    for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")

import keras
import numpy as np
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


@pytest.fixture
def adding_error() -> Callable[..., float]:
    """`adding_error(family, length, epochs, ...)`: how well it learns to add what is far apart.

    Two numbers of a row are marked; what is their sum? Hochreiter & Schmidhuber 1997, experiment 4,
    as Le et al. 2015 state it: uniform numbers in [0, 1], one mark in each half. Always saying 1
    has the mean squared error 1/6 = 0.167. Given is that of the best epoch on new rows; training
    stops where it is below 0.005.
    """

    def rows(count: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        numbers, marks = generator.random((count, length)), np.zeros((count, length))
        marks[np.arange(count), generator.integers(0, length // 2, count)] = 1
        marks[np.arange(count), generator.integers(length // 2, length, count)] = 1
        x = np.stack([numbers, marks], axis=-1).astype("float32")
        return x, (numbers * marks).sum(axis=1, keepdims=True).astype("float32")

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = logs["val_loss"] < 0.005

    def adding_error(family, length: int, epochs: int, **arguments) -> float:
        model = family.build_model(
            input_shape=(length, 2),
            task="regression",
            **{"units": (64,), "learning_rate": 3e-3, "seed": 0, **arguments},
        )
        history = model.fit(
            *rows(10_000, length, seed=0), batch_size=50, epochs=epochs, verbose=0,
            validation_data=rows(1_000, length, seed=1), callbacks=[Stop()],
        ).history  # fmt: skip
        assert np.isfinite(history["loss"]).all()
        return min(history["val_loss"])

    return adding_error


@pytest.fixture
def forecast_scores() -> Callable[..., tuple[float, float]]:
    """`forecast_scores(family, name, epochs, ...)`: MASE on the test part, ours and a naive one.

    The naive forecast is the better one of the last value and of the one a season before.
    """

    def forecast_scores(family, name: str, epochs: int, **arguments) -> tuple[float, float]:
        data = family.load_data(name)
        model = family.build_model(**data.spec, **{"seed": 0, **arguments})
        model.fit(data.train, epochs=epochs, verbose=0)
        x, y = data.test.arrays()
        naive = min(data.transform.mase(y, data.transform.naive(x, s)) for s in (1, None))
        return data.transform.mase(y, model.predict(x, verbose=0)), naive

    return forecast_scores
