"""Networks of ReLUs as spiking ones."""

import keras
import numpy as np
import pytest
from keras import layers

import recipes
from recipes import cnn, dnn, snn


def trained(family, data, epochs, variant, **arguments):
    model = family.build_model(variant, **data.spec, **arguments, seed=0)
    model.fit(data.train, epochs=epochs, verbose=0)
    return model


def test_rates_are_activations_by_hand():
    inputs = keras.Input((2,))
    h = layers.Dense(2, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(h))
    model.set_weights([np.array([[1.0, -1.0], [0.5, 2.0]]), np.array([0.0, 0.1]),
                       np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([0.5, -0.5])])  # fmt: skip
    x = np.array([[1.0, 0.5], [0.2, 0.6], [0.0, 1.0]], "float32")
    hidden = np.maximum(0, x @ [[1.0, -1.0], [0.5, 2.0]] + [0.0, 0.1])
    spiking = snn.convert(model, x, num_steps=500, percentile=100)
    ((spikes, _),) = spiking.trace(x).values()
    # A spike at each step stands for the largest activation.
    np.testing.assert_allclose(spikes.mean(axis=1), hidden / hidden.max(), atol=2 / 500)
    found, expected = spiking.predict(x, verbose=0), model.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, atol=3 * hidden.max() * 2 / 500)


@pytest.mark.slow
def test_a_dense_network_keeps_its_accuracy_on_real_digits(tmp_path):
    data = dnn.load_data("digits", batch_size=64)
    model = trained(dnn, data, 15, "mlp", units=(64, 64), learning_rate=3e-3)
    spiking = snn.convert(model, data, num_steps=60)
    before, after = (m.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]
                     for m in (model, spiking))  # fmt: skip
    assert before > 0.95
    assert after >= before - 0.01
    few = snn.convert(model, data, num_steps=3)
    x = data.test.arrays()[0]
    errors = [np.abs(m.predict(x, verbose=0) - model.predict(x, verbose=0)).mean()
              for m in (few, spiking)]  # fmt: skip
    assert errors[1] < errors[0] / 4
    spiking.save(tmp_path / "s.keras")
    loaded = recipes.load(tmp_path / "s.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), spiking.predict(x, verbose=0))
    costs = spiking.statistics(x[:50])
    assert [row["multiply_adds"] for row in costs] == [64 * 64, 64 * 64, 640]


@pytest.mark.slow
def test_a_convolutional_network_keeps_its_accuracy_on_real_digits():
    data = cnn.load_data("mnist5k")
    arguments = {"activation": "relu", "batch_norm": True, "filters": (6, 12), "units": (40,)}
    model = trained(cnn, data, 4, "lenet5", **arguments)
    spiking = snn.convert(model, data, num_steps=80)
    x, y = data.test.sample(300)
    before, after = (m.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
                     for m in (model, spiking))  # fmt: skip
    assert before > 0.9
    assert after >= before - 0.01


def test_batch_normalisation_becomes_part_of_the_weights():
    generator = np.random.default_rng(0)
    inputs = keras.Input((8, 8, 1))
    h = layers.Conv2D(3, 3, use_bias=False)(inputs)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.Flatten()(layers.AveragePooling2D(2)(h))
    h = layers.Activation("relu")(layers.BatchNormalization(scale=False)(layers.Dense(6)(h)))
    model = keras.Model(inputs, layers.Dense(4)(h))
    model.set_weights([np.abs(w) + 0.5 if w.ndim == 1 else w + generator.normal(0, 0.1, w.shape)
                       for w in model.get_weights()])  # fmt: skip
    x = generator.random((20, 8, 8, 1)).astype("float32")
    found = snn.convert(model, x, num_steps=800, percentile=100).predict(x, verbose=0)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.ptp(expected))


def chain(*parts, shape=(8, 8, 1)):
    return keras.Sequential([keras.Input(shape), *parts])


def branching():
    inputs = keras.Input((4,))
    h = layers.Dense(4, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Add()([h, inputs])))


X = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chain(layers.Conv2D(2, 3, activation="relu"), layers.MaxPooling2D(name="pool"),
                       layers.Flatten(), layers.Dense(2)), r"pass through the MaxPooling2D 'pool'"),
        (lambda: chain(layers.Flatten(), layers.Dense(2, "tanh", name="one"), layers.Dense(2)),
         r"pass through the Dense 'one'; needs Dense and Conv2D layers with ReLU"),
        (lambda: chain(layers.Flatten(), layers.Dense(2, name="one"), layers.Dense(2)),
         r"cannot be converted: one has no ReLU"),
        (lambda: chain(layers.Flatten(), layers.Dense(2, "relu")), r"end in a layer of logits"),
        (lambda: chain(layers.Flatten(), layers.LayerNormalization(name="n"), layers.Dense(2)),
         r"pass through the LayerNormalization 'n'"),
        (branching, r"model='\w+': cannot be converted: it is no chain of layers"),
        (lambda: "dnn", r"model='str': must be a Keras model"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_gets_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        x = X if make is not branching else X[:, 0, :4, 0]
        snn.convert(make(), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 0}, r"num_steps=0: must be a positive integer"),
        ({"percentile": 101}, r"percentile=101: must be a number in \(0, 100\]"),
        ({"data": X[:, :4]}, r"data='array of shape \(4, 4, 8, 1\)': needs inputs \(None, 8, 8, 1"),
    ],
)
def test_wrong_arguments_get_one_clear_error(arguments, message):
    model = chain(layers.Flatten(), layers.Dense(2, "relu"), layers.Dense(2))
    with pytest.raises(ValueError, match=message):
        snn.convert(model, **{"data": X, **arguments})
