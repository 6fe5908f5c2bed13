import math
import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from recipes import resnet

CIFAR = {"input_shape": (32, 32, 3)}


def of_type(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def count(weights):
    return sum(math.prod(w.shape) for w in weights)


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# Parameters and shapes --------------------------------------------------------------------------

# variant, arguments, trainable, moving averages (None: nobody else's figure), projections
COUNTS = [
    ("resnet18", {}, 11_689_512, 9_600, 3),
    ("resnet34", {}, 21_797_672, 17_024, 3),
    ("resnet50", {}, 25_557_032, 53_120, 4),
    ("resnet101", {}, 44_549_160, 105_344, 4),
    ("resnet152", {}, 60_192_808, 151_424, 4),
    ("resnet50", {"preactivation": True}, 25_549_352, None, 4),
    ("resnet101", {"preactivation": True}, 44_541_480, None, 4),
    ("resnet152", {"preactivation": True}, 60_185_128, None, 4),
    ("resnet20", CIFAR, 269_722, None, 0),
    ("resnet32", CIFAR, 464_154, None, 0),
    ("resnet44", CIFAR, 658_586, None, 0),
    ("resnet56", CIFAR, 853_018, None, 0),
    ("resnet110", CIFAR, 1_727_962, None, 0),
    ("resnet20", {**CIFAR, "shortcut": "projection"}, 272_474, None, 2),
    ("resnet20", {**CIFAR, "preactivation": True}, 269_722, None, 0),  # the scales only move
]


@pytest.mark.parametrize(("variant", "arguments", "trainable", "averages", "projections"), COUNTS)
def test_parameter_and_layer_counts(sketch, variant, arguments, trainable, averages, projections):
    model = sketch(resnet.build_model, variant, **arguments)
    assert count(model.trainable_weights) == trainable
    if averages is not None:
        assert count(model.non_trainable_weights) == averages
    # the number in the name: convolutions off the shortcuts, and the head
    depth = len(of_type(model, layers.Conv2D)) - projections + 1
    assert f"resnet{depth}" == variant


def test_stages_halve_as_in_the_papers(sketch):
    model = sketch(resnet.build_model, "resnet50")
    outputs = [layer.output.shape[1:] for layer in of_type(model, layers.Add)]
    stages = [(56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048)]
    assert outputs == [stages[0]] * 3 + [stages[1]] * 4 + [stages[2]] * 6 + [stages[3]] * 3
    model = sketch(resnet.build_model, "resnet56", **CIFAR)
    outputs = [layer.output.shape[1:] for layer in of_type(model, layers.Add)]
    assert outputs == [(32, 32, 16)] * 9 + [(16, 16, 32)] * 9 + [(8, 8, 64)] * 9


@pytest.mark.parametrize(
    ("variant", "smallest"), [("tiny", 4), ("resnet20", 4), ("resnet18", 32), ("resnet50", 32)]
)
def test_too_small_pictures_name_the_smallest_that_work(sketch, variant, smallest):
    with pytest.raises(ValueError, match=r"input_shape=\(\d+, 200, 3\)") as error:
        sketch(resnet.build_model, variant, input_shape=(smallest - 1, 200, 3))
    named = re.search(r"at least (\d+)x\1;.*image_size=\1 ", str(error.value)).group(1)
    assert int(named) == smallest
    model = sketch(resnet.build_model, variant, input_shape=(smallest, smallest, 3))
    assert of_type(model, layers.Add)[-1].output.shape[1:3] == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"block": "wide"}, "block"),
        ({"stem": "mnist"}, "stem"),
        ({"shortcut": "identity"}, "shortcut"),
        ({"filters": 16}, "filters"),
        ({"filters": ()}, "filters"),
        ({"filters": ((16, 32), 64)}, "filters"),
        ({"filters": (64, 32, 16)}, "filters"),
        ({"num_blocks": 3}, "num_blocks"),
        ({"num_blocks": (3, 3)}, "num_blocks"),
        ({"num_blocks": (3, 0, 3)}, "num_blocks"),
        ({"num_blocks": (3, 1.5, 3)}, "num_blocks"),
        ({"crop_padding": -1}, "crop_padding"),
        ({"crop_padding": 1.5}, "crop_padding"),
        ({"preactivation": True, "zero_init": True}, "zero_init"),
        ({"input_shape": (28, 28)}, "input_shape"),
    ],
)
def test_impossible_arguments_are_refused_by_name(sketch, arguments, name):
    with pytest.raises(ValueError, match=re.escape(f"{name}={arguments[name]!r}")):
        sketch(resnet.build_model, **arguments)


def test_a_stage_may_narrow_with_projections(sketch):
    model = sketch(resnet.build_model, "tiny", filters=(32, 16, 8), shortcut="projection")
    assert of_type(model, layers.Add)[-1].output.shape[-1] == 8


def test_bottlenecks_take_both_shortcuts(sketch):
    for shortcut, projections in (("pad", 0), ("projection", 3)):
        model = sketch(resnet.build_model, "tiny", block="bottleneck", shortcut=shortcut)
        assert [a.output.shape[-1] for a in of_type(model, layers.Add)] == [32, 64, 128]
        assert len(of_type(model, layers.Conv2D)) == 1 + 3 * 3 + projections


# Layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "filters", "strides"), [(6, 8, 2), (7, 5, 2), (4, 3, 1)])
def test_padded_shortcut_keeps_every_other_pixel_between_new_zero_maps(size, filters, strides):
    x = pictures(2, size, size + 1, 2)
    layer = resnet.PaddedShortcut(filters, strides)
    out = np.asarray(layer(x))
    before = (filters - 2) // 2
    np.testing.assert_array_equal(out[..., before : before + 2], x[:, ::strides, ::strides])
    assert not np.delete(out, (before, before + 1), axis=-1).any()
    assert layer.compute_output_shape(x.shape) == out.shape


def test_random_crop_flip_gives_each_picture_its_own_crop_of_the_padded_one():
    n, p = 2000, 1
    x = pictures(n, 4, 5, 2)
    layer = resnet.RandomCropFlip(p, flip=True, seed=3)
    np.testing.assert_array_equal(layer(x, training=False), x)
    out = np.asarray(layer(x, training=True))
    padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
    possible = [
        crop[:, :, ::mirror]
        for i in range(2 * p + 1)
        for j in range(2 * p + 1)
        for crop in (padded[:, i : i + 4, j : j + 5],)
        for mirror in (1, -1)
    ]
    found = np.array([(out == crop).all(axis=(1, 2, 3)) for crop in possible])  # (18, n)
    assert (found.sum(axis=0) == 1).all()  # each picture is just one of them
    # each of the 18 is drawn as often as the others, to within five standard deviations
    deviation = math.sqrt(n * (1 / 18) * (17 / 18))
    assert (np.abs(found.sum(axis=1) - n / 18) < 5 * deviation).all()
    assert (np.asarray(layer(x, training=True)) != out).any()  # the next draw is another one


def test_random_crop_without_flip_or_padding():
    x = pictures(200, 3, 3, 1)
    np.testing.assert_array_equal(resnet.RandomCropFlip(0, flip=False)(x, training=True), x)
    out = np.asarray(resnet.RandomCropFlip(0, flip=True)(x, training=True))
    mirrored = (out == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored ^ (out == x).all(axis=(1, 2, 3))).all()
    assert 60 < mirrored.sum() < 140  # 100 +- 5.7 standard deviations


def test_a_model_crops_in_training_only():
    model = resnet.build_model("tiny", crop_padding=2, flip=True)
    plain = resnet.build_model("tiny")
    for layer, same in zip(
        [layer for layer in model.layers if layer.trainable_weights],
        [layer for layer in plain.layers if layer.trainable_weights],
        strict=True,
    ):
        layer.set_weights(same.get_weights())
    x = pictures(8, 28, 28, 1)
    cropping, same = (ops.convert_to_numpy(m(x)) for m in (model, plain))
    np.testing.assert_allclose(cropping, same, rtol=1e-5, atol=1e-5)
    cropping, same = (ops.convert_to_numpy(m(x, training=True)) for m in (model, plain))
    assert np.abs(cropping - same).max() > 1e-3


# The residual idea ------------------------------------------------------------------------------


def values(model, tensors, x):
    """What these tensors inside the model are for x, as arrays."""
    return [ops.convert_to_numpy(value) for value in keras.Model(model.input, tensors)(x)]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_zero_init_starts_every_block_as_its_shortcut(block):
    x = pictures(4, 28, 28, 1)
    arguments = {"num_blocks": (3, 2, 1), "block": block, "seed": 1}
    for zero_init in (True, False):
        model = resnet.build_model("tiny", zero_init=zero_init, **arguments)
        sums = values(model, [add.output for add in of_type(model, layers.Add)], x)
        same = [np.array_equal(sums[i], np.maximum(sums[i - 1], 0)) for i in (1, 2, 4)]
        assert same == [zero_init] * 3
        scales = [norm.gamma for norm in of_type(model, layers.BatchNormalization)]
        assert sum(not np.any(gamma) for gamma in scales) == 6 * zero_init


def randomise(model):
    """Weights far from their start, so that nothing is one or zero by accident."""
    rng = np.random.default_rng(0)
    for norm in of_type(model, layers.BatchNormalization):
        shape = norm.gamma.shape
        norm.set_weights(
            [rng.uniform(0.5, 1.5, shape), *rng.normal(size=(2, *shape)), rng.uniform(1, 2, shape)]
        )


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_with_preactivation_the_signal_is_the_sum_of_all_blocks(block):
    """x_L = x_l + the sum of F(x_i) (equation 4 of 2016): nothing stands on the shortcut."""
    arguments = {"filters": (8,), "num_blocks": (4,), "block": block}
    x = pictures(2, 8, 8, 1)

    model = resnet.build_model("tiny", input_shape=(8, 8, 1), preactivation=True, **arguments)
    randomise(model)
    adds = of_type(model, layers.Add)
    sums = values(model, [add.output for add in adds], x)
    shortcuts, branches = (values(model, [add.input[i] for add in adds], x) for i in (0, 1))
    expected = sums[0] + sum(branches[1:])
    np.testing.assert_allclose(sums[-1], expected, rtol=1e-4, atol=1e-4)
    assert sums[-1].min() < 0
    # the first block gets what the stem activated, on both ways
    assert shortcuts[0].min() >= 0

    v1 = resnet.build_model("tiny", input_shape=(8, 8, 1), **arguments)
    randomise(v1)
    adds = of_type(v1, layers.Add)
    sums = values(v1, [add.output for add in adds], x)
    shortcuts = values(v1, [add.input[0] for add in adds], x)
    for before, after in zip(sums[:-1], shortcuts[1:], strict=True):
        np.testing.assert_array_equal(after, np.maximum(before, 0))


@pytest.mark.parametrize("preactivation", [False, True])
def test_normalisation_and_activation_stand_where_the_papers_put_them(sketch, preactivation):
    """v1: convolution, norm, ReLU, and ReLU after the sum. v2: norm, ReLU, convolution."""
    model = sketch(resnet.build_model, "resnet18", preactivation=preactivation)

    def before(layer):
        return layer.input._keras_history.operation

    for add in of_type(model, layers.Add):
        branch = add.input[1]._keras_history.operation
        after = {type(node.operation) for node in add._outbound_nodes}
        if preactivation:
            assert isinstance(branch, layers.Conv2D)
            assert isinstance(before(branch), layers.ReLU)
            assert isinstance(before(before(branch)), layers.BatchNormalization)
            assert layers.ReLU not in after
        else:
            assert isinstance(branch, layers.BatchNormalization)
            assert after == {layers.ReLU}
    for relu in of_type(model, layers.ReLU):
        wanted = (
            layers.BatchNormalization if preactivation else (layers.BatchNormalization, layers.Add)
        )
        assert isinstance(before(relu), wanted)


# Training ---------------------------------------------------------------------------------------


def test_decay_steps_are_the_papers_learning_rates():
    model = resnet.build_model("tiny", decay_steps=(32_000, 48_000))
    for step, rate in ((0, 0.1), (31_999, 0.1), (32_001, 0.01), (47_999, 0.01), (48_001, 0.001)):
        model.optimizer.iterations.assign(step)
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)


def test_weight_decay_is_half_of_the_squared_kernels():
    model = resnet.build_model("tiny", weight_decay=0.1, shortcut="projection")
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    assert len(kernels) == 1 + 6 + 2 + 1
    squares = sum(np.sum(ops.convert_to_numpy(kernel) ** 2) for kernel in kernels)
    assert ops.convert_to_numpy(sum(model.losses)) == pytest.approx(0.05 * squares, rel=1e-5)
