"""Which models XLA compiles, and that they learn the same."""

import keras
import numpy as np
import pytest

import recipes
from recipes import attention, cnn, lstm, vae
from recipes.training import compilation
from recipes.training.precision import Device

BACKEND = keras.backend.backend()


def small() -> keras.Model:
    return vae.build_model("tiny", input_shape=(4, 4, 1), seed=0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="XLA is optional on TensorFlow alone")
def test_models_that_gain_by_it_are_compiled_on_a_cpu(monkeypatch, tmp_path):
    monkeypatch.setattr(compilation, "XLA_ON_CPU", True)
    for model in (small(), lstm.build_model(units=8)):
        assert model.jit_compile
        model.save(tmp_path / "x.keras")
        assert recipes.load(tmp_path / "x.keras").jit_compile
    assert not lstm.build_model(units=64).jit_compile
    other = cnn.build_model("tiny")
    before = other.jit_compile
    compilation.choose_jit(other)
    assert other.jit_compile == before


@pytest.mark.skipif(BACKEND != "tensorflow", reason="XLA is optional on TensorFlow alone")
def test_models_that_xla_cannot_compile_are_not_compiled_where_auto_says_yes(monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr(compilation, "XLA_ON_CPU", True)
    monkeypatch.setattr(compilation, "devices", lambda: [Device("a GPU", "gpu")])
    assert not lstm.build_model(units=8).jit_compile  # which is said by Keras's own "auto"
    monkeypatch.setattr(keras.Model, "_resolve_auto_jit_compile", lambda self: True)
    assert cnn.build_model("tiny").jit_compile
    sizes = {"source_vocabulary_size": 9, "target_vocabulary_size": 9}
    assert not attention.build_model("tiny", **sizes).jit_compile


@pytest.mark.skipif(BACKEND != "tensorflow", reason="traces are TensorFlow's")
@pytest.mark.parametrize("family", [cnn, vae])
def test_a_step_is_traced_once(family):
    data = family.load_data("digits", batch_size=60)
    model = family.build_model("tiny", **data.spec)
    compilation.create_variables(model, data.train[0])
    traces, compute_loss = [], model.compute_loss
    model.compute_loss = lambda *args, **kwargs: traces.append(1) or compute_loss(*args, **kwargs)
    model.fit(data.train.first(120), epochs=2, verbose=0)
    assert len(traces) == 1
    assert model.optimizer.iterations == 4


def test_a_loaded_model_follows_this_machine(tmp_path):
    model = small()
    usual = model.jit_compile
    model.compile(optimizer="sgd", jit_compile=not usual)
    model.save(tmp_path / "x.keras")
    assert recipes.load(tmp_path / "x.keras").jit_compile == usual


@pytest.mark.skipif(BACKEND != "tensorflow", reason="XLA is optional on TensorFlow alone")
def test_xla_computes_the_same(monkeypatch):
    # XLA draws other numbers from the same seed
    monkeypatch.setattr(keras.random, "normal", lambda shape, seed: keras.ops.ones(shape))
    x = np.random.default_rng(0).random((8, 4, 4, 1), "float32")
    found = []
    for switch in (False, True):
        monkeypatch.setattr(compilation, "XLA_ON_CPU", switch)
        model = small()
        assert model.jit_compile == switch
        model.fit(x, epochs=2, batch_size=8, shuffle=False, verbose=0)
        found.append(model.predict(x, verbose=0))
    np.testing.assert_allclose(*found, rtol=1e-4)
