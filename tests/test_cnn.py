import math
import re

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy.signal import correlate2d

from recipes import cnn


def of_type(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def count(weights):
    return sum(math.prod(w.shape) for w in weights)


# Parameters -------------------------------------------------------------------------------------

# variant, arguments, trainable, moving averages
COUNTS = [
    ("lenet5", {}, 61_706, 0),
    ("lenet5", {"input_shape": (32, 32, 1)}, 61_706, 0),
    ("lenet5_1998", {}, 60_000, 0),
    ("alexnet", {}, 60_965_224, 0),
    ("alexnet", {"groups": 1}, 62_378_344, 0),
    ("vgg11", {}, 132_863_336, 0),
    ("vgg13", {}, 133_047_848, 0),
    ("vgg16", {}, 138_357_544, 0),
    ("vgg19", {}, 143_667_240, 0),
    # two numbers in training, and two averages, for each of 2752 = 64 + 128 + ... maps
    ("vgg11", {"batch_norm": True}, 132_868_840, 2 * 2_752),
    ("vgg13", {"batch_norm": True}, 133_053_736, 2 * 2_944),
    ("vgg16", {"batch_norm": True}, 138_365_992, 2 * 4_224),
    ("vgg19", {"batch_norm": True}, 143_678_248, 2 * 5_504),
]


@pytest.mark.parametrize(("variant", "arguments", "trainable", "averages"), COUNTS)
def test_parameter_counts(sketch, variant, arguments, trainable, averages):
    model = sketch(cnn.build_model, variant, **arguments)
    assert count(model.trainable_weights) == trainable
    assert count(model.non_trainable_weights) == averages


def test_lenet5_1998_has_the_papers_parameters_in_each_layer(sketch):
    model = sketch(cnn.build_model, "lenet5_1998")
    counts = [count(layer.weights) for layer in model.layers if layer.weights]
    assert counts == [156, 12, 1_516, 32, 48_120, 10_164]  # C1 S2 C3 S4 C5 F6


# Shapes -----------------------------------------------------------------------------------------


def sides(model, *kinds):
    return [layer.output.shape[1] for layer in of_type(model, kinds)]


@pytest.mark.parametrize("size", [28, 32])
def test_lenet_halves_as_in_the_paper(sketch, size):
    modern = sketch(cnn.build_model, "lenet5", input_shape=(size, size, 1))
    assert sides(modern, layers.Conv2D, layers.AveragePooling2D) == [28, 14, 10, 5]
    paper = sketch(cnn.build_model, "lenet5_1998", input_shape=(size, size, 1))
    assert sides(paper, layers.Conv2D, cnn.SparseConv2D, cnn.Subsampling) == [28, 14, 10, 5]


def test_alexnet_shrinks_as_in_the_paper(sketch):
    model = sketch(cnn.build_model, "alexnet")
    assert sides(model, layers.Conv2D) == [55, 27, 13, 13, 13]
    assert sides(model, layers.MaxPooling2D) == [27, 13, 6]
    assert [conv.groups for conv in of_type(model, layers.Conv2D)] == [1, 2, 1, 2, 2]
    # activation, then normalisation, then pooling
    kinds = [type(layer).__name__ for layer in model.layers]
    normalisations = [i for i, k in enumerate(kinds) if k == "LocalResponseNormalization"]
    assert len(normalisations) == 2
    for i in normalisations:
        assert (kinds[i - 1], kinds[i + 1]) == ("Activation", "MaxPooling2D")


def test_vgg_halves_five_times(sketch):
    model = sketch(cnn.build_model, "vgg16")
    assert sides(model, layers.MaxPooling2D) == [112, 56, 28, 14, 7]
    assert sides(model, layers.Conv2D) == 2 * [224] + 2 * [112] + 3 * [56] + 3 * [28] + 3 * [14]


def test_batch_norm_stands_between_convolution_and_activation(sketch):
    model = sketch(cnn.build_model, "vgg11", batch_norm=True)
    kinds = [type(layer).__name__ for layer in model.layers]
    convolutions = [i for i, kind in enumerate(kinds) if kind == "Conv2D"]
    assert len(convolutions) == 8
    for i in convolutions:
        assert kinds[i + 1 : i + 3] == ["BatchNormalization", "Activation"]


def test_small_pictures_are_padded_to_32_on_all_sides():
    small = np.random.default_rng(0).normal(size=(4, 27, 28, 1)).astype("float32")
    padded = np.pad(small, ((0, 0), (2, 3), (2, 2), (0, 0)))
    for variant in ("lenet5", "lenet5_1998"):
        model = cnn.build_model(variant, input_shape=(27, 28, 1))
        wide = cnn.build_model(variant, input_shape=(32, 32, 1))
        wide.set_weights(model.get_weights())
        np.testing.assert_allclose(
            ops.convert_to_numpy(model(small)),
            ops.convert_to_numpy(wide(padded)),
            rtol=1e-5,
            atol=1e-5,
        )


# (variant, arguments, smallest): by hand, from one pixel backwards. A pooling of 2 doubles, one of
# 3 with stride 2 gives 2n + 1, a k x k convolution adds k - 1, AlexNet's first gives 4n + 7.
SMALLEST = [
    ("tiny", {}, 4),
    ("simple", {}, 4),
    ("simple", {"padding": "valid"}, 10),  # 1 2 4 8 10
    ("vgg11", {}, 32),
    ("vgg19", {"batch_norm": True}, 32),
    ("alexnet", {}, 67),  # 1 3 7 15 67
    ("alexnet", {"padding": "same"}, 57),  # 1 3 7 15, of which 57 is the first: ceil(57 / 4) = 15
]


@pytest.mark.parametrize(("variant", "arguments", "smallest"), SMALLEST)
def test_too_small_pictures_name_the_smallest_that_work(sketch, variant, arguments, smallest):
    with pytest.raises(ValueError, match=r"input_shape=\(\d+, 200, 3\)") as error:
        sketch(cnn.build_model, variant, input_shape=(smallest - 1, 200, 3), **arguments)
    assert re.search(r"at least (\d+)x\1;.*image_size=\1 ", str(error.value)).group(1) == str(
        smallest
    )
    sketch(cnn.build_model, variant, input_shape=(smallest, smallest, 3), **arguments)


@pytest.mark.parametrize(
    ("variant", "name", "value"),
    [
        ("lenet5", "groups", 2),
        ("lenet5", "pooling", "subsampling"),
        ("lenet5", "padding", "full"),
        ("lenet5", "kernel_size", (5, 5)),
        ("lenet5", "filters", 6),
        ("lenet5", "filters", ()),
        ("lenet5", "units", 120),
        ("lenet5", "units", ((120, 84),)),
        ("lenet5", "input_shape", (28, 28)),
        ("vgg16", "groups", 2),
        ("alexnet", "filters", (96, 256)),
        ("alexnet", "filters", ((96,), (256,), (384,), (384,), (256,))),
        ("alexnet", "kernel_size", 3),
        ("alexnet", "pooling", "subsampling"),
        ("lenet5_1998", "filters", (6, 32)),
        ("lenet5_1998", "kernel_size", 3),
        ("lenet5_1998", "padding", "same"),
        ("lenet5_1998", "pooling", "max"),
        ("lenet5_1998", "batch_norm", True),
        ("lenet5_1998", "groups", 2),
    ],
)
def test_what_a_variant_cannot_use_is_refused(sketch, variant, name, value):
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r}")):
        sketch(cnn.build_model, variant, **{name: value})


# Layers -----------------------------------------------------------------------------------------


def test_c3_sees_the_maps_of_the_papers_table():
    table = """
        X . . . X X X . . X X X X . X X
        X X . . . X X X . . X X X X . X
        X X X . . . X X X . . X . X X X
        . X X X . . X X X X . . X . X X
        . . X X X . . X X X X . X X . X
        . . . X X X . . X X X X . X X X
    """
    seen = np.array([row.split() for row in table.split("\n") if row.strip()]) == "X"
    ours = np.zeros((6, 16), bool)
    for c3, maps in enumerate(cnn.C3_CONNECTIONS):
        ours[list(maps), c3] = True
    np.testing.assert_array_equal(ours, seen)
    assert ours.sum(axis=1).tolist() == [10] * 6
    assert [len(maps) for maps in cnn.C3_CONNECTIONS] == [3] * 6 + [4] * 9 + [6]


def test_sparse_convolution_sums_over_its_connections_only():
    connections = ((2, 0), (1,), (0, 1, 2))
    layer = cnn.SparseConv2D(connections, 3)
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")
    layer(x)
    assert not np.any(layer.bias)
    kernel, bias = np.random.default_rng(1).normal(size=(3, 3, 6)), np.array([0.5, -1.0, 2.0])
    layer.set_weights([kernel, bias])
    expected = np.zeros((2, 4, 5, 3)) + bias
    position = 0
    for output, maps in enumerate(connections):
        for i in maps:
            for n in range(2):
                expected[n, :, :, output] += correlate2d(
                    x[n, :, :, i], kernel[:, :, position], mode="valid"
                )
            position += 1
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape((2, 6, 7, 3)) == (2, 4, 5, 3)


def test_scaled_tanh_keeps_plus_and_minus_one():
    x = np.array([-1.0, 0.0, 1.0, 100.0], "float32")
    np.testing.assert_allclose(cnn.scaled_tanh(x), [-1, 0, 1, 1.7159], atol=1e-4)
    # The second derivative is largest at +-1 (appendix A).
    grid = np.linspace(0, 2, 41).astype("float32")
    curvature = np.diff(cnn.scaled_tanh(grid), 2)
    assert grid[1 + np.argmin(curvature)] == pytest.approx(1.0, abs=0.05)


def test_subsampling_is_coefficient_times_sum_plus_bias():
    layer = cnn.Subsampling()
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")
    # at the start: the mean
    mean = x[:, :4].reshape(2, 2, 2, 3, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), mean, rtol=1e-5, atol=1e-6)
    coefficient, bias = np.array([0.1, -2.0, 1.0]), np.array([1.0, 0.0, -1.0])
    layer.set_weights([coefficient, bias])
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(x)), coefficient * 4 * mean + bias, rtol=1e-5, atol=1e-5
    )
    assert layer.compute_output_shape(x.shape) == (2, 2, 3, 3)


@pytest.mark.parametrize("depth", [5, 4, 1])
def test_local_response_normalisation_follows_the_papers_sum(depth):
    a = np.random.default_rng(0).normal(size=(2, 3, 3, 8)).astype("float32") * 100
    expected = np.empty_like(a)
    for i in range(8):
        neighbours = a[..., max(0, i - depth // 2) : i - depth // 2 + depth]
        expected[..., i] = a[..., i] / (2 + 1e-4 * (neighbours**2).sum(axis=-1)) ** 0.75
    layer = cnn.LocalResponseNormalization(depth)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(a)), expected, rtol=1e-5)
    half = cnn.LocalResponseNormalization(depth, dtype="float16")(a * 50)  # 5000^2 > 65504
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    np.testing.assert_allclose(np.asarray(half, "float32"), layer(a * 50), rtol=5e-3)


def test_radial_basis_measures_distances_to_fixed_codes():
    layer = cnn.RadialBasis(4)
    x = np.random.default_rng(0).normal(size=(3, 20)).astype("float32")
    out = layer(x)
    codes = layer.codes.T  # (4, 20)
    assert set(np.unique(codes)) == {-1.0, 1.0} and len(np.unique(codes, axis=0)) == 4
    expected = [[-sum((row - code) ** 2) for code in codes] for row in x]
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    # a code is nearest to itself, at distance 0
    np.testing.assert_allclose(np.diag(layer(codes)), 0, atol=1e-5)
    assert np.asarray(layer(codes)).argmax(axis=1).tolist() == [0, 1, 2, 3]
    again = cnn.RadialBasis.from_config(layer.get_config())
    np.testing.assert_array_equal(again(x), out)
    assert not np.array_equal(cnn.RadialBasis(4, seed=1)(x), out)


# Initial weights and training -------------------------------------------------------------------


def test_lenet5_1998_starts_within_24_over_fan_in():
    model = cnn.build_model("lenet5_1998", seed=1)
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    for kernel, fan_in in zip(kernels, (25, 25 * 60 / 16, 400, 120), strict=True):  # C1 C3 C5 F6
        assert np.abs(kernel).max() == pytest.approx(2.4 / fan_in, rel=0.1)
        assert np.abs(kernel).max() <= 2.4 / fan_in


def test_alexnet_starts_as_the_paper_says():
    model = cnn.build_model("alexnet", input_shape=(67, 67, 3), units=(50, 50), num_classes=7)
    weighted = [layer for layer in model.layers if layer.weights]
    for layer, bias in zip(weighted, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
        assert (np.asarray(layer.bias) == bias).all()
        assert np.std(layer.kernel) == pytest.approx(0.01, rel=0.1)


def test_weight_decay_is_half_of_the_squared_kernels():
    for variant in ("lenet5", "lenet5_1998"):
        model = cnn.build_model(variant, weight_decay=0.1)
        kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
        squares = sum(np.sum(ops.convert_to_numpy(kernel) ** 2) for kernel in kernels)
        assert ops.convert_to_numpy(sum(model.losses)) == pytest.approx(0.05 * squares, rel=1e-5)


def test_the_towers_of_alexnet_meet_in_the_third_convolution():
    """A change in the first tower of conv 2 reaches all of conv 3, but half of conv 4's maps."""
    model = cnn.build_model("alexnet", input_shape=(67, 67, 3), units=(8,), num_classes=2)
    second, third, fourth, _ = of_type(model, layers.Conv2D)[1:]
    rng = np.random.default_rng(0)

    def reached(conv, width):
        x = rng.normal(size=(1, 3, 3, width)).astype("float32")
        changed = x.copy()
        changed[..., : width // 2] += 1
        return (
            np.abs(ops.convert_to_numpy(conv(changed)) - ops.convert_to_numpy(conv(x))).max(
                axis=(0, 1, 2)
            )
            > 0
        )

    assert reached(second, 96).tolist() == [True] * 128 + [False] * 128
    assert reached(third, 256).all()
    assert reached(fourth, 384).tolist() == [True] * 192 + [False] * 192
