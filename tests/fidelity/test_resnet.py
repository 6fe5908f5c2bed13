"""The same weights in, the same outputs and training steps out, as networks written by others."""

import keras
import numpy as np
import pytest

from recipes import resnet

NORM = keras.layers.BatchNormalization


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def made(model, kind):
    """Layers of a kind in the order of their making: conv2d, conv2d_1, conv2d_2, ..."""

    def number(layer):
        last = layer.name.rpartition("_")[2]
        return int(last) if last.isdigit() else 0

    return sorted((layer for layer in model.layers if isinstance(layer, kind)), key=number)


# transformers.ResNetForImageClassification, version 1 -------------------------------------------


@pytest.fixture
def hugging_face():
    """Makes (peer, our model with its weights, pairs of layers)."""
    torch = pytest.importorskip("torch", reason="the peer is in PyTorch")
    transformers = pytest.importorskip("transformers", reason="the peer is in transformers")

    def make(variant, from_torch, **arguments):
        torch.manual_seed(0)
        model = resnet.build_model(variant, num_classes=10, **arguments)
        block, num_blocks, filters = (
            arguments.get(name, resnet.VARIANTS[variant][name])
            for name in ("block", "num_blocks", "filters")
        )
        peer = transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                embedding_size=filters[0],
                hidden_sizes=[(4 if block == "bottleneck" else 1) * width for width in filters],
                depths=list(num_blocks),
                layer_type=block,
                num_labels=10,
            )
        )
        pairs = []
        # Both make a block's shortcut first, then its convolutions from first to last.
        for kind, theirs in (
            (keras.layers.Conv2D, torch.nn.Conv2d),
            (NORM, torch.nn.BatchNorm2d),
            (keras.layers.Dense, torch.nn.Linear),
        ):
            modules = [module for module in peer.modules() if isinstance(module, theirs)]
            pairs += zip(made(model, kind), modules, strict=True)
        for layer, module in pairs:
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0.0, 0.1)
                module.running_mean.normal_(0.0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
            layer.set_weights(from_torch(module))
        return peer, model, pairs

    return make


@pytest.mark.parametrize("variant", ["resnet18", "resnet50"])
def test_outputs_equal_transformers(hugging_face, from_torch, variant):
    import torch

    peer, model, _ = hugging_face(variant, from_torch, input_shape=(64, 64, 3))
    x = images(2, 64, 64, 3)
    with torch.no_grad():
        theirs = peer.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2))).logits.numpy()
    np.testing.assert_allclose(model(x), theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_sgd_steps_equal_transformers(hugging_face, from_torch, block):
    """What each weight moved by: after one step, its gradient; after three, with momentum."""
    import torch

    peer, model, pairs = hugging_face(
        "resnet18",
        from_torch,
        input_shape=(48, 48, 3),
        block=block,
        filters=(8, 16),
        num_blocks=(2, 2),
        learning_rate=0.01,
        weight_decay=0.01,
    )
    model.run_eagerly = True  # no compilation for three steps
    kernels = [p for p in peer.parameters() if p.ndim > 1]
    others = [p for p in peer.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": 0.01}, {"params": others}], lr=0.01, momentum=0.9
    )
    x, y = images(4, 48, 48, 3), np.array([1, 4, 1, 9])
    start = [layer.get_weights() for layer, _ in pairs]

    def compare():
        for before, (layer, module) in zip(start, pairs, strict=True):
            # The variances are left out: PyTorch keeps the unbiased ones.
            kinds = zip(before[:3], layer.get_weights()[:3], from_torch(module)[:3], strict=True)
            for old, ours, theirs in kinds:
                moved = np.abs(theirs - old).max()
                rounding = 2 * np.finfo("float32").eps * np.abs(old).max()
                assert moved > 20 * rounding
                atol = 1e-4 * moved + rounding
                np.testing.assert_allclose(ours - old, theirs - old, rtol=0, atol=atol)

    peer.train()
    for step in (1, 2, 3):
        model.train_on_batch(x, y)
        optimizer.zero_grad()
        logits = peer(torch.from_numpy(x.transpose(0, 3, 1, 2))).logits
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()
        optimizer.step()
        if step != 2:
            compare()


# keras_hub.models.ResNetBackbone, version 2 -----------------------------------------------------


def test_preactivation_equals_keras_hub():
    """Outputs, and gradients as one SGD step, with frozen statistics.

    KerasHub pools before the first normalisation, we behind it and its ReLU (as the paper's
    code does): the same while scales are positive and statistics frozen. Only bottlenecks are
    compared, since KerasHub's first basic block does not put the activation before the split.
    """
    keras_hub = pytest.importorskip("keras_hub", reason="the peer is KerasHub")
    filters, blocks = (64, 32), (2, 2)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=filters,
        stackwise_num_blocks=blocks,
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        use_pre_activation=True,
        image_shape=(64, 64, 3),
    )
    features = keras.layers.GlobalAveragePooling2D()(backbone.output)
    peer = keras.Model(backbone.input, keras.layers.Dense(10, name="head")(features))
    model = resnet.build_model(
        "resnet50",
        input_shape=(64, 64, 3),
        num_classes=10,
        filters=filters,
        num_blocks=blocks,
        preactivation=True,
        weight_decay=0,
    )

    # KerasHub's names, in the order in which our layers are made
    block_names = [f"stack{s}_block{b}" for s in range(2) for b in range(blocks[s])]
    projects = ("stack0_block0", "stack1_block0")
    convs = ["conv1_conv"] + [
        f"{name}_{i}_conv" for name in block_names for i in range(name not in projects, 4)
    ]
    norms = [f"{name}_{i}_bn" for name in block_names for i in ("pre_activation", 1, 2)]
    pairs = [
        (ours, peer.get_layer(theirs))
        for kind, names in (
            (keras.layers.Conv2D, convs),
            (NORM, [*norms, "post_bn"]),
            (keras.layers.Dense, ["head"]),
        )
        for ours, theirs in zip(made(model, kind), names, strict=True)
    ]
    rng = np.random.default_rng(1)
    for ours, theirs in pairs:
        if isinstance(theirs, NORM):
            shape = theirs.gamma.shape
            scale, variance = rng.uniform(0.5, 1.5, size=(2, *shape))
            theirs.set_weights([scale, *rng.normal(scale=0.1, size=(2, *shape)), variance])
            ours.trainable = theirs.trainable = False
        ours.set_weights(theirs.get_weights())

    x, y = images(2, 64, 64, 3), np.array([3, 7])
    theirs = np.asarray(peer(x))
    np.testing.assert_allclose(model(x), theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())

    start = [layer.get_weights() for layer, _ in pairs]
    for network in (model, peer):
        network.compile(
            keras.optimizers.SGD(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            run_eagerly=True,
        )
        network.train_on_batch(x, y)
    for before, (ours, theirs) in zip(start, pairs, strict=True):
        if not isinstance(theirs, NORM):
            moves = [layer.get_weights()[0] - before[0] for layer in (ours, theirs)]
            moved = np.abs(moves[1]).max()
            assert moved > 1e-5
            atol = 1e-4 * moved + 2 * np.finfo("float32").eps
            np.testing.assert_allclose(*moves, rtol=0, atol=atol)
