"""Training on several devices or in several processes is training on one, with equal batches."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from recipes.training.distribution import Distribution, OneDevice, Share, distribution


class Numbers(keras.utils.PyDataset):
    """Two batches: 0 to 5, and 6, 7, 8."""

    def __init__(self):
        super().__init__(workers=1)
        self.epoch = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = np.arange(6) if index == 0 else np.arange(6, 9)
        return rows[:, None], -rows

    def on_epoch_end(self):
        self.epoch += 1


def shares(devices: int, processes: int) -> list[Share]:
    made = []
    for process in range(processes):
        of = object.__new__(Distribution)
        of.devices, of.processes, of.process, of._split = devices, processes, process, False
        made.append(of.share(Numbers()))
    return made


def test_processes_share_a_batch_without_overlap():
    one, two = shares(2, 2)
    assert [row[1].tolist() for row in (one[0], two[0])] == [[0, -1, -2], [-3, -4, -5]]
    assert one[0][0].tolist() == [[0], [1], [2]]
    assert len(one) == 2


def test_what_is_left_over_begins_again_until_all_devices_have_as_much():
    one, two = shares(2, 2)
    assert [row[1].tolist() for row in (one[1], two[1])] == [[-6, -7], [-8, -6]]
    (alone,) = shares(4, 1)
    assert alone[1][1].tolist() == [-6, -7, -8, -6]
    assert alone[0][1].tolist() == [0, -1, -2, -3, -4, -5, 0, -1]


def test_a_share_moves_on_with_its_batches():
    (alone,) = shares(2, 1)
    alone.on_epoch_end()
    assert alone.batches.epoch == 1
    assert alone.of.share(None) is None


def test_what_cannot_be_shared():
    class Graph(Numbers):
        def __getitem__(self, index):
            return {"features": np.zeros((5, 2)), "edges": np.zeros((9, 2))}, np.zeros(5)

    (alone,) = shares(2, 1)
    model = keras.Sequential(name="net")
    with pytest.raises(ValueError, match=r"distribute='net': .*\[5, 9\] rows.* one device"):
        alone.of.check(model, Graph())
    model.own_loop = True
    with pytest.raises(ValueError, match=r"distribute='net': .*a loop of its own"):
        alone.of.check(model, Numbers())


def test_nothing_is_distributed_unless_asked():
    batches = Numbers()
    assert isinstance(distribution(None), OneDevice)
    assert OneDevice().share(batches) is batches


@pytest.mark.parametrize("how", ["all", "data:2", "model:x", "", 2, True])
def test_what_it_cannot_be(how):
    with pytest.raises(ValueError, match=r'distribute=.*"data", "model", or "model:N"'):
        distribution(how)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can")
def test_what_this_backend_cannot_do(monkeypatch):
    with pytest.raises(ValueError, match=r"distribute='model': needs KERAS_BACKEND=jax"):
        distribution("model")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(ValueError, match=r"KERAS_BACKEND=jax.*2 processes"):
        distribution("data")


PROGRAM = """
import json, os, sys
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    device = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, parts)
import recipes
from recipes.contract import family
name, source, how, where = sys.argv[1:]
data = family(name).load_data(source, batch_size=30)
data.train, data.validation = data.train.first(190), data.validation.first(60)
if "--resume" in where:
    found = recipes.train(resume=where.split()[0], data=data, epochs=3, distribute=how, verbose=0)
else:
    found = recipes.train(
        name, data, variant="tiny", epochs=2, precision="float32", run_dir=where,
        distribute=None if how == "none" else how, verbose=0,
    )
print(json.dumps([found.history, str(found.directory)]))
"""


def run(backend, *arguments, devices=1, processes=1):
    """What each process printed."""
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for process in range(processes):
        joint = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(process),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *map(str, arguments)],
                env=environment | (joint if processes > 1 else {}),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    found = []
    for process in started:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err[-3000:]
        found.append(json.loads(out.splitlines()[-1]))
    return found


def weights(path):
    from recipes import load

    return load(path).get_weights()


def same_training(alone, together, tmp_path):
    (history, _), (other, _) = alone, together
    assert history["epoch"] == other["epoch"]
    for name in history:
        # 190 examples are six batches of 30 and one of 10, which two devices share evenly.
        np.testing.assert_allclose(history[name], other[name], rtol=1e-4, err_msg=name)
    for a, b in zip(weights(tmp_path / "one"), weights(tmp_path / "two"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_as_one(backend, tmp_path):
    pytest.importorskip(backend)
    (alone,) = run(backend, "dnn", "digits", "none", tmp_path / "one")
    (together,) = run(backend, "dnn", "digits", "data", tmp_path / "two", devices=2)
    same_training(alone, together, tmp_path)
    (resumed,) = run(backend, "dnn", "digits", "data", f"{tmp_path / 'two'} --resume", devices=2)
    assert resumed[0]["epoch"] == [1, 2, 3]


@pytest.mark.slow
def test_two_processes_train_as_one_and_one_of_them_writes(tmp_path):
    pytest.importorskip("jax")
    (alone,) = run("jax", "dnn", "digits", "none", tmp_path / "one")
    first, second = run("jax", "dnn", "digits", "data", tmp_path / "two", processes=2)
    same_training(alone, first, tmp_path)
    assert first[1] == str(tmp_path / "two")
    assert second[0] == first[0]
    assert second[1] != first[1]
    assert not os.path.exists(second[1])


@pytest.mark.slow
def test_a_transformer_split_over_two_devices_trains_as_one(tmp_path):
    pytest.importorskip("jax")
    (alone,) = run("jax", "gpt", "pydoc_topics", "none", tmp_path / "one")
    (together,) = run("jax", "gpt", "pydoc_topics", "model", tmp_path / "two", devices=2)
    same_training(alone, together, tmp_path)
