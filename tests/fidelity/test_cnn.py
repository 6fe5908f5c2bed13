"""The same weights in, the same outputs and training steps out, as networks written by others."""

import keras
import numpy as np
import pytest

from recipes import cnn


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the peer is PyTorch")


def images(*shape, scale=1.0):
    return np.random.default_rng(0).normal(size=shape).astype("float32") * scale


def weighted(model):
    return [layer for layer in model.layers if layer.weights]


def assert_close(ours, theirs, tolerance):
    """The largest difference, relative to the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


# Peers in PyTorch -------------------------------------------------------------------------------


def channels_last(torch):
    """Flatten as Keras does, channels last, so that dense kernels need no reordering."""

    class Flatten(torch.nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    return Flatten()


def lenet5(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.ZeroPad2d(2),
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        channels_last(torch),
        *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def alexnet(torch, groups):
    """At 99 x 99: 23, 11, 5, 2 pixels; 32 instead of 4096 hidden units.

    PyTorch divides alpha by the 5 channels summed over, the paper does not.
    """
    nn = torch.nn

    def norm():
        return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)

    return nn.Sequential(
        *(nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=groups), nn.ReLU(), norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1, groups=groups), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, 2)),
        channels_last(torch),
        *(nn.Linear(1024, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def vgg11_bn(torch):
    """At 32 x 32, with widths of 8 and 16, and 32 instead of 4096 hidden units."""
    nn = torch.nn
    blocks, channels = [], 3
    for width in (8, "pool", 8, "pool", 16, 16, "pool", 16, 16, "pool", 16, 16, "pool"):
        if width == "pool":
            blocks.append(nn.MaxPool2d(2))
        else:
            conv = nn.Conv2d(channels, width, 3, padding=1)
            norm = nn.BatchNorm2d(width)  # epsilon 1e-5
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0.0, 0.1)
            norm.running_mean.normal_(0.0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            blocks += [conv, norm, nn.ReLU()]
            channels = width
    return nn.Sequential(
        *blocks,
        channels_last(torch),
        *(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


SMALL = {"num_classes": 10, "units": (32, 32), "dropout_rate": 0.0}
# name: peer, our variant and arguments, scale of the inputs (large enough for the response
# normalisation to matter), learning rate of the steps compared, tolerance of the outputs
PEERS = {
    "lenet5": (lenet5, "lenet5", {}, 1.0, 0.1, 1e-5),
    "alexnet": (
        lambda torch: alexnet(torch, 2),
        "alexnet",
        {"input_shape": (99, 99, 3), **SMALL},
        100.0,
        1e-4,
        1e-5,
    ),
    "alexnet, one tower": (
        lambda torch: alexnet(torch, 1),
        "alexnet",
        {"input_shape": (99, 99, 3), "groups": 1, **SMALL},
        100.0,
        1e-4,
        1e-5,
    ),
    "vgg11 with batch norm": (
        vgg11_bn,
        "vgg11",
        {
            "input_shape": (32, 32, 3),
            "filters": ((8,), (8,), (16, 16), (16, 16), (16, 16)),
            "batch_norm": True,
            **SMALL,
        },
        1.0,
        0.01,
        1e-4,
    ),
}


def pair(torch, from_torch, name, **arguments):
    """A peer and our model with its weights: both have their layers in the same order."""
    torch.manual_seed(0)
    build, variant, given, scale, rate, tolerance = PEERS[name]
    peer = build(torch)
    model = cnn.build_model(
        variant, **given, optimizer="sgd", learning_rate=rate, momentum=0.9, **arguments
    )
    modules = [module for module in peer if hasattr(module, "weight")]
    for layer, module in zip(weighted(model), modules, strict=True):
        if module.weight.ndim > 1:
            torch.nn.init.kaiming_normal_(module.weight)
        layer.set_weights(from_torch(module))
    model.run_eagerly = True  # no compilation for three steps
    return model, peer, modules, images(2, *model.input_shape[1:], scale=scale), rate, tolerance


@pytest.mark.parametrize("name", PEERS)
def test_outputs_equal_pytorchs(torch, from_torch, name):
    model, peer, _, x, _, tolerance = pair(torch, from_torch, name)
    with torch.no_grad():
        theirs = peer.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    assert_close(model(x), theirs, tolerance)


@pytest.mark.parametrize("name", PEERS)
def test_sgd_steps_equal_pytorchs(torch, from_torch, name):
    """What each weight moved by: after one step, its gradient; after three, with momentum."""
    decay = 0.01
    model, peer, modules, x, rate, _ = pair(torch, from_torch, name, weight_decay=decay)
    kernels = [p for p in peer.parameters() if p.ndim > 1]
    others = [p for p in peer.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": decay}, {"params": others}], lr=rate, momentum=0.9
    )
    y = np.array([1, 4])
    start = [from_torch(module) for module in modules]

    def compare():
        for layer, module, before in zip(weighted(model), modules, start, strict=True):
            # kernel and bias, or scale and shift; the moving averages are PyTorch's own
            kinds = zip(before[:2], layer.get_weights()[:2], from_torch(module)[:2], strict=True)
            for i, (old, ours, theirs) in enumerate(kinds):
                if i == 1 and "batch norm" in name and isinstance(layer, keras.layers.Conv2D):
                    continue  # normalisation takes the bias away: its gradient is only rounding
                moved = np.abs(theirs - old).max()
                rounding = 2 * np.finfo("float32").eps * np.abs(old).max()
                assert moved > 20 * rounding
                atol = 1e-4 * moved + rounding
                np.testing.assert_allclose(ours - old, theirs - old, rtol=0, atol=atol)

    peer.train()
    for step in (1, 2, 3):
        model.train_on_batch(x, y)
        optimizer.zero_grad()
        logits = peer(torch.from_numpy(x.transpose(0, 3, 1, 2)))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()
        optimizer.step()
        if step != 2:
            compare()


def test_lenet5_of_1998_equals_the_paper_written_out_in_pytorch(torch):
    """C3 as a dense convolution with zeros in its kernel, S2 and S4 as sums, then distances."""
    model = cnn.build_model("lenet5_1998")
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(size=w.shape) * 0.05 for w in model.get_weights()])
    c1, s2, c3, s4, c5, f6 = (
        [torch.from_numpy(w) for w in layer.get_weights()] for layer in weighted(model)
    )
    f = torch.nn.functional

    def squash(a):
        return 1.7159 * torch.tanh(2 / 3 * a)

    def subsample(a, coefficient, bias):
        ones = torch.ones(a.shape[1], 1, 2, 2)
        sums = f.conv2d(a, ones, stride=2, groups=a.shape[1])
        return squash(coefficient[:, None, None] * sums + bias[:, None, None])

    dense, position = torch.zeros(16, 6, 5, 5), 0
    for o, maps in enumerate(cnn.C3_CONNECTIONS):
        for i in maps:
            dense[o, i] = c3[0][:, :, position]
            position += 1

    x = images(5, 28, 28, 1)
    a = f.pad(torch.from_numpy(x.transpose(0, 3, 1, 2)), (2, 2, 2, 2))
    a = squash(f.conv2d(a, c1[0].permute(3, 2, 0, 1), c1[1]))
    a = subsample(a, *s2)
    a = squash(f.conv2d(a, dense, c3[1]))
    a = subsample(a, *s4)
    a = squash(a.permute(0, 2, 3, 1).flatten(1) @ c5[0] + c5[1])
    a = squash(a @ f6[0] + f6[1])
    codes = torch.from_numpy(model.layers[-1].codes.T)
    distances = torch.cdist(a, codes, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    assert_close(model(x), -distances, 1e-5)


# keras.applications -----------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["vgg16", "vgg19"])
def test_vgg_equals_keras_applications(variant):
    """Same order of weights, so that pretrained ones fit. Small pictures; dropout is inactive."""
    peers = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}
    peer = peers[variant](weights=None, include_top=False, input_shape=(32, 32, 3))
    model = cnn.build_model(variant, input_shape=(32, 32, 3), units=(16, 16), num_classes=5)
    features = keras.Model(
        model.input,
        [x for x in model.layers if isinstance(x, keras.layers.MaxPooling2D)][-1].output,
    )
    features.set_weights(peer.get_weights())
    x = images(2, 32, 32, 3)
    ours, theirs = features(x), peer(x)
    assert np.abs(theirs).max() > 0 and theirs.shape == (2, 1, 1, 512)
    assert_close(ours, theirs, 1e-5)


@pytest.mark.slow  # 138 million weights, twice
def test_vgg16_with_its_head_equals_keras_applications_at_full_size():
    peer = keras.applications.VGG16(weights=None, classifier_activation=None)
    model = cnn.build_model("vgg16")
    model.set_weights(peer.get_weights())
    x = images(1, 224, 224, 3)
    assert_close(model(x), peer(x), 1e-4)
