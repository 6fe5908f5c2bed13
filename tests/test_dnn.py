"""Dense networks: counts, a forward pass by hand, theory of each layer, and real data."""

import statistics

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.datasets import make_friedman1

from recipes import dnn


def dense_layers(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def outputs_of(model, kind, x, training=False):
    """What the layers of a kind put out, one array each."""
    found = [layer.output for layer in model.layers if isinstance(layer, kind)]
    values = keras.Model(model.inputs[0], found)(x, training=training)
    values = values if isinstance(values, list) else [values]
    return [ops.convert_to_numpy(v) for v in values]


def standard_normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# Parameters.


@pytest.mark.parametrize(
    ("variant", "arguments", "expected"),
    [
        ("shallow", {}, 101_770),
        ("lenet300", {}, 266_610),
        ("mlp", {}, 669_706),
        ("simard2003", {}, 636_010),
        ("mlp", {"units": (800, 800)}, 784 * 800 + 800 + 800 * 800 + 800 + 8010),
        ("mlp", {"units": ()}, 7_850),
        # scale and shift instead of a bias; the two averages are not trained
        ("shallow", {"normalization": "layer"}, 784 * 128 + 2 * 128 + 1290),
        ("shallow", {"normalization": "batch"}, 784 * 128 + 4 * 128 + 1290),
        ("table", {}, 31 * 64 + 65 * 64 + 65 * 2),
        ("table", {"num_classes": None, "num_targets": 3}, 31 * 64 + 65 * 64 + 65 * 3),
    ],
)
def test_parameter_counts(sketch, variant, arguments, expected):
    assert sketch(dnn.build_model, variant, **arguments).count_params() == expected


# The forward pass.

HIDDEN = [[1.0, -1.0], [2.0, 0.5]], [0.5, -0.5]
HEAD = [[1.0, 2.0], [-1.0, 1.0]], [0.0, 1.0]


def two_units(activation="relu", **arguments):
    return dnn.build_model(
        "tiny", input_shape=(2,), num_classes=2, units=(2,), activation=activation, **arguments
    )


def test_forward_pass_by_hand():
    model = two_units()
    model.set_weights([np.array(w) for w in (*HIDDEN, *HEAD)])
    # (1, 1): hidden (1 + 2 + 0.5, -1 + 0.5 - 0.5) = (3.5, -1) -> (3.5, 0)
    #         logits (3.5, 7 + 1)
    # (-1, 2): hidden (-1 + 4 + 0.5, 1 + 1 - 0.5) = (3.5, 1.5)
    #         logits (3.5 - 1.5, 7 + 1.5 + 1)
    x = np.array([[1, 1], [-1, 2]], "float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), [[3.5, 8.0], [2.0, 9.5]], rtol=1e-6)


def test_loss_takes_logits_by_hand():
    model = two_units()
    model.set_weights([np.array(w) for w in (*HIDDEN, *HEAD)])
    x, y = np.array([[1, 1], [-1, 2]], "float32"), np.array([1, 0])
    # log(1 + exp(3.5 - 8)) and log(1 + exp(9.5 - 2)); one of the two is right
    expected = np.log1p(np.exp([-4.5, 7.5])).mean()
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] == 0.5


def test_regression_loss_is_the_mean_square_by_hand():
    model = dnn.build_model("tiny", input_shape=(2,), num_classes=None, num_targets=2, units=())
    model.set_weights([np.eye(2), np.zeros(2)])
    x, y = np.array([[1, 2], [3, 4]], "float32"), np.array([[0, 2], [3, 7]], "float32")
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx((1 + 0 + 0 + 9) / 4)
    assert found["mae"] == pytest.approx((1 + 0 + 0 + 3) / 4)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_activation_follows_normalization_by_hand(normalization):
    model = two_units(normalization=normalization)
    averages = [np.array([1.0, 2.0]), np.array([4.0, 9.0])] if normalization == "batch" else []
    scale, shift = np.array([2.0, 3.0]), np.array([0.5, -0.5])
    model.set_weights([np.array(HIDDEN[0]), scale, shift, *averages, *map(np.array, HEAD)])
    # (-1, 2): hidden (3, 2), without a bias
    x = np.array([[-1, 2]], "float32")
    if normalization == "batch":  # (3 - 1) / 2 = 1, (2 - 2) / 3 = 0
        hidden = np.array([[2 * 1 + 0.5, 0]])
    else:  # mean 2.5, standard deviation 0.5: 1, -1
        hidden = np.array([[2 * 1 + 0.5, 0]])
    expected = hidden @ np.array(HEAD[0]) + np.array(HEAD[1])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4)


def test_an_image_is_the_row_of_its_pixels():
    image = dnn.build_model("tiny", input_shape=(4, 5, 3), num_classes=7)
    row = dnn.build_model("tiny", input_shape=(60,), num_classes=7)
    row.set_weights(image.get_weights())
    x = standard_normal(6, 4, 5, 3)
    np.testing.assert_array_equal(
        image.predict(x, verbose=0), row.predict(x.reshape(6, 60), verbose=0)
    )


# Initial weights.


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        ("relu", 2 / 400),  # He: 2 / fan-in
        ("tanh", 2 / (400 + 600)),  # Glorot: 2 / (fan-in + fan-out)
        ("sigmoid", 2 / (400 + 600)),
        ("selu", 1 / 400),  # LeCun: 1 / fan-in
    ],
)
def test_initial_weights_have_the_variance_of_the_activation(activation, variance):
    model = dnn.build_model(input_shape=(400,), units=(600,), activation=activation, seed=0)
    kernel, bias = dense_layers(model)[0].get_weights()
    assert kernel.var() == pytest.approx(variance, rel=0.02)  # 240,000 draws
    assert abs(kernel.mean()) < 4 * np.sqrt(variance / kernel.size)
    assert not bias.any()
    head = dense_layers(model)[-1].get_weights()[0]
    assert head.var() == pytest.approx(2 / (600 + 10), rel=0.06)  # 6,000 draws


def test_the_layers_start_from_different_draws():
    model = dnn.build_model(input_shape=(64,), units=(64, 64), seed=0)
    first, second = (layer.get_weights()[0] for layer in dense_layers(model)[:2])
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1


# Theory.


def test_selu_keeps_mean_zero_and_variance_one_through_the_layers():
    # Klambauer 2017, theorem 1: (0, 1) is the fixed point. ReLU's mean cannot be zero.
    model = dnn.build_model("selu", input_shape=(256,), seed=0)
    x = standard_normal(512, 256)
    layers = outputs_of(model, keras.layers.Activation, x)
    assert len(layers) == 8
    assert all(abs(h.mean()) < 0.1 and abs(h.var() - 1) < 0.2 for h in layers)
    relu = dnn.build_model("selu", input_shape=(256,), activation="relu", dropout_rate=0, seed=0)
    assert outputs_of(relu, keras.layers.Activation, x)[-1].mean() > 0.3


def test_alpha_dropout_keeps_mean_and_variance():
    model = dnn.build_model("selu", input_shape=(256,), dropout_rate=0.3, seed=0)
    before = outputs_of(model, keras.layers.Activation, standard_normal(512, 256), training=True)
    after = outputs_of(model, keras.layers.AlphaDropout, standard_normal(512, 256), training=True)
    assert all(abs(h.mean()) < 0.15 and abs(h.var() - 1) < 0.25 for h in after)
    assert not np.array_equal(before[0], after[0])


def test_dropout_is_inactive_at_inference_and_keeps_the_mean_in_training():
    arguments = dict(input_shape=(20,), num_classes=3, units=(2000,), seed=0)
    model = dnn.build_model("mlp", dropout_rate=0.4, **arguments)
    without = dnn.build_model("mlp", dropout_rate=0.0, **arguments)
    without.set_weights(model.get_weights())
    x = standard_normal(8, 20)
    np.testing.assert_array_equal(model.predict(x, verbose=0), without.predict(x, verbose=0))

    hidden = outputs_of(model, keras.layers.Activation, x)[0]
    dropped = outputs_of(model, keras.layers.Dropout, x, training=True)[0]
    on = hidden > 0
    kept = dropped[on] != 0
    assert kept.mean() == pytest.approx(0.6, abs=0.03)  # 8,000 draws
    np.testing.assert_allclose(dropped[on][kept], hidden[on][kept] / 0.6, rtol=1e-5)


@pytest.mark.parametrize(
    ("normalization", "axis"), [("batch", 0), ("layer", 1)], ids=["batch", "layer"]
)
def test_normalized_sums_have_mean_zero_and_variance_one(normalization, axis):
    model = dnn.build_model(
        input_shape=(20,), units=(300, 200), normalization=normalization, seed=0
    )
    kind = dict(batch=keras.layers.BatchNormalization, layer=keras.layers.LayerNormalization)
    x = 5 + 3 * standard_normal(256, 20)
    for sums in outputs_of(model, kind[normalization], x, training=True):
        np.testing.assert_allclose(sums.mean(axis=axis), 0, atol=1e-4)
        np.testing.assert_allclose(sums.var(axis=axis), 1, atol=2e-3)


def test_layer_normalization_ignores_the_scale_of_an_example():
    x = standard_normal(64, 20)
    arguments = dict(input_shape=(20,), units=(50,), num_classes=3, seed=0)
    layer = dnn.build_model(normalization="layer", **arguments)
    none = dnn.build_model(**arguments)
    np.testing.assert_allclose(
        layer.predict(100 * x, verbose=0), layer.predict(x, verbose=0), atol=1e-3
    )
    assert np.abs(none.predict(100 * x, verbose=0) - none.predict(x, verbose=0)).max() > 1


def test_batch_normalization_learns_its_averages():
    # after 60 steps at momentum 0.9 the start has a weight of 0.9^60 = 0.2 %
    model = dnn.build_model(
        input_shape=(3,), num_classes=2, units=(8,), normalization="batch", optimizer="sgd",
        learning_rate=1e-6, dropout_rate=0.0, seed=0,
    )  # fmt: skip
    x = 4 + 2 * standard_normal(64, 3)
    many = np.tile(x, (60, 1))
    model.fit(many, np.zeros(len(many), "int32"), batch_size=64, shuffle=False, verbose=0)
    kernel = dense_layers(model)[0].get_weights()[0]
    _, _, mean, variance = model.get_weights()[1:5]
    np.testing.assert_allclose(mean, (x @ kernel).mean(axis=0), rtol=0.01, atol=0.01)
    np.testing.assert_allclose(variance, (x @ kernel).var(axis=0), rtol=0.02)


def test_weight_decay_adds_half_the_squared_kernels_to_the_loss():
    model = dnn.build_model("tiny", input_shape=(5,), num_classes=3, weight_decay=0.1)
    model.set_weights([w + 0.5 for w in model.get_weights()])  # biases too
    kernels = [layer.get_weights()[0] for layer in dense_layers(model)]
    expected = 0.05 * sum((kernel**2).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_one_hidden_layer_learns_xor_and_none_cannot():
    # Minsky & Papert 1969: a line through the plane gets at most 3 of the 4 right.
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32"), np.array([0, 1, 1, 0])

    def accuracy(units):
        model = dnn.build_model(
            input_shape=(2,), num_classes=2, units=units, activation="tanh", dropout_rate=0.0,
            learning_rate=0.05, seed=0,
        )  # fmt: skip
        many = np.tile(np.arange(4), 100)
        model.fit(x[many], y[many], batch_size=4, shuffle=False, verbose=0)
        return (model.predict(x, verbose=0).argmax(axis=1) == y).mean()

    assert accuracy((8,)) == 1.0
    assert accuracy(()) <= 0.75


# The search.


def test_search_space_reaches_every_depth_with_its_own_widths():
    keras_tuner = pytest.importorskip("keras_tuner")
    drawn = {}
    for depth in (1, 2, 3, 4):
        hp = keras_tuner.HyperParameters()
        hp.Fixed("num_layers", depth)
        for i in range(1, 5):
            hp.Fixed(f"units_{i}", 2**i)
        drawn[depth] = dnn.search_space(hp)["units"]
    assert drawn == {1: (2,), 2: (2, 4), 3: (2, 4, 8), 4: (2, 4, 8, 16)}


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 128}, r"units=128: must be a tuple of integers"),
        ({"units": (128, 0)}, r"units=\(128, 0\): must be a positive integer"),
        ({"units": ((128,), 64)}, r"units=\(\(128,\), 64\): must be a tuple of integers"),
        ({"normalization": "bach"}, r"normalization='bach': must be one of none, batch, layer"),
        ({"dropout_rate": 1.0}, r"dropout_rate=1.0: must be a number in \[0, 1\)"),
        ({"num_targets": 0}, r"num_targets=0: must be a positive integer"),
        ({"num_classes": 2.5}, r"num_classes=2.5: must be an integer"),
        ({"activation": "rellu"}, r"rellu"),
        ({"optimizer": "adm"}, r"unknown optimizer 'adm'.*adam"),
        ({"hidden_layers": 3}, r"unknown argument 'hidden_layers'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dnn.build_model(**arguments)


# Real data, and a known function.


def median_score(source, metric, variant, epochs, **arguments):
    """Median over three seeds of the split, the weights and the order; on the test part."""
    found = []
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        data = dnn.load_data(source, seed=seed)
        model = dnn.build_model(variant, **data.spec, seed=seed, **arguments)
        model.fit(data.train, epochs=epochs, verbose=0)
        x, y = data.test.arrays()
        outputs = model.predict(x, verbose=0)
        right = outputs.argmax(axis=1) == y if metric == "accuracy" else None
        found.append(right.mean() if metric == "accuracy" else r2(outputs, y))
    return statistics.median(found)


def r2(outputs, y):
    """Share of the variance that is explained."""
    return 1 - ((outputs - y) ** 2).mean() / y.var()


def median_r2_of_least_squares(source):
    found = []
    for seed in range(3):
        data = dnn.load_data(source, seed=seed)
        (x, y), (x_test, y_test) = (
            (np.column_stack([x, np.ones(len(x))]), y)
            for x, y in (data.train.arrays(), data.test.arrays())
        )
        found.append(r2(x_test @ np.linalg.lstsq(x, y)[0], y_test))
    return statistics.median(found)


@pytest.mark.parametrize(
    ("source", "variant", "epochs", "bar"),
    [
        ("wine", "table", 20, 0.97),
        # measured 0.93 and 0.965; logistic regression 0.93 and 0.97
        pytest.param("iris", "table", 20, 0.93, marks=pytest.mark.slow),
        pytest.param("breast_cancer", "table", 20, 0.95, marks=pytest.mark.slow),
        # measured 0.93; 0.89 without a hidden layer
        pytest.param("mnist5k", "mlp", 10, 0.92, marks=pytest.mark.slow),
    ],
)
def test_classes(source, variant, epochs, bar):
    assert median_score(source, "accuracy", variant, epochs) >= bar


@pytest.mark.slow
def test_regression_on_diabetes():
    # Measured 0.49; least squares 0.52: there is little in this table but straight lines.
    assert median_score("diabetes", "r2", "table", 20, weight_decay=0.03) >= 0.45


@pytest.mark.slow
def test_regression_finds_what_is_not_linear():
    # Friedman 1991: 10 sin(pi x0 x1) + 20 (x2 - 0.5)^2 + 10 x3 + 5 x4, and noise of variance 1;
    # its own variance is 23.8, so that 0.96 is the most that can be explained.
    source = make_friedman1(1000, noise=1.0, random_state=0)
    assert median_score(source, "r2", "table", 40) >= 0.87  # measured 0.90
    assert median_r2_of_least_squares(source) < 0.8
