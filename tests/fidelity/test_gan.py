"""GANs against PyTorch: each network's gradient by autograd, from the same weights and noise."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from recipes import gan

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional

LATENT, SIDE, COUNT = 6, 8, 16


class Generator(nn.Module):
    """z -> 2x2 -> 4x4 -> 8x8."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(LATENT, 2 * 2 * 6, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(4)])
        self.ups = nn.ModuleList(
            [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in ((6, 4), (4, 1))]
        )

    def forward(self, z):
        h = self.project(z).reshape(-1, 2, 2, 6).permute(0, 3, 1, 2)
        for norm, up in zip(self.norms, self.ups, strict=True):
            h = up(torch.relu(norm(h)))
        return (torch.tanh(h) + 1) / 2

    def in_order(self):
        return [self.project, self.norms[0], self.ups[0], self.norms[1], self.ups[1]]


class Discriminator(nn.Module):
    """8x8 -> 4x4 -> 2x2 -> logit."""

    def __init__(self, batch):
        super().__init__()
        self.downs = nn.ModuleList(
            [nn.Conv2d(a, b, 4, 2, 1, bias=not batch) for a, b in ((1, 4), (4, 6))]
        )
        self.norm = nn.BatchNorm2d(6) if batch else nn.Identity()
        self.head = nn.Linear(24, 1, bias=not batch)
        self.batch = batch

    def forward(self, x):
        h = functional.leaky_relu(self.downs[0](2 * x - 1), 0.2)
        h = functional.leaky_relu(self.norm(self.downs[1](h)), 0.2)
        return self.head(h.permute(0, 2, 3, 1).flatten(1))  # Keras's order

    def in_order(self):
        return [*self.downs, *([self.norm] if self.batch else []), self.head]


def pair(variant, from_torch, **arguments):
    """Our model of 8x8 images under plain gradient descent, and theirs with the same weights."""
    torch.manual_seed(0)
    model = gan.build_model(
        variant, input_shape=(SIDE, SIDE, 1), latent_dim=LATENT, filters=(4, 6), n_critic=1,
        optimizer=keras.optimizers.SGD(1.0), **arguments,
    )  # fmt: skip
    if keras.backend.backend() == "tensorflow":
        model.jit_compile = False
    theirs = Generator(), Discriminator(batch=variant == "dcgan")
    for ours, other in zip((model.generator, model.discriminator), theirs, strict=True):
        weighted = [layer for layer in ours.layers if layer.weights]
        for layer, module in zip(weighted, other.in_order(), strict=True):
            layer.set_weights(from_torch(module))
    return model, *theirs


def gradients(module):
    """Of each parameter in turn, in Keras's order of axes."""
    order = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}
    parts = [p.grad for part in module.in_order() for p in part.parameters()]
    return [g.permute(order[g.ndim]).numpy().copy() for g in parts]  # the next pass adds to them


def steps_of(model, x):
    """How far one step of gradient descent at rate 1 moves each network, down the gradient."""
    networks = (model.generator, model.discriminator)

    def weights():
        return [[ops.convert_to_numpy(w).copy() for w in n.trainable_variables] for n in networks]

    before = weights()
    model.train_on_batch(x)
    return [
        [a - b for a, b in zip(old, new, strict=True)]
        for old, new in zip(before, weights(), strict=True)
    ]


def drawn(monkeypatch, model, share):
    """Images, and the noise and the shares of the penalty that the model will see."""
    rng = np.random.default_rng(1)
    x = rng.random((COUNT, SIDE, SIDE, 1), dtype="float32")
    z = rng.standard_normal((COUNT, LATENT)).astype("float32")
    monkeypatch.setattr(model, "noise", lambda x, training: ops.convert_to_tensor(z))
    monkeypatch.setattr(keras.random, "uniform", lambda shape, seed: ops.full(shape, share))
    return x, torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(z)


@pytest.mark.parametrize("variant", ["dcgan", "wgan_gp"])
def test_gradients_of_both_networks_equal_autograds(variant, from_torch, monkeypatch):
    share = 0.3
    model, generator, discriminator = pair(variant, from_torch)
    x, real, z = drawn(monkeypatch, model, share)
    found = steps_of(model, x)

    made = generator(z)
    on_real, on_made = discriminator(real), discriminator(made.detach())
    if variant == "dcgan":
        loss = functional.binary_cross_entropy_with_logits
        d_loss = loss(on_real, torch.ones_like(on_real)) + loss(on_made, torch.zeros_like(on_made))
    else:
        between = (share * real + (1 - share) * made.detach()).requires_grad_()
        of_x = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)[0]
        penalty = (of_x.flatten(1).norm(dim=1) - 1).square().mean()
        d_loss = on_made.mean() - on_real.mean() + 10 * penalty
    d_loss.backward()
    wanted_of_discriminator = gradients(discriminator)
    judged = discriminator(made)
    g_loss = loss(judged, torch.ones_like(judged)) if variant == "dcgan" else -judged.mean()
    g_loss.backward()
    wanted = [gradients(generator), wanted_of_discriminator]

    for ours, theirs in zip(found, wanted, strict=True):
        largest = max(np.abs(g).max() for g in theirs)
        assert largest > 1e-3
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * largest)


def test_networks_equal_torchs(from_torch):
    model, generator, discriminator = pair("dcgan", from_torch)
    z = np.random.default_rng(2).standard_normal((5, LATENT)).astype("float32")
    generator.eval()
    discriminator.eval()
    with torch.no_grad():
        made = generator(torch.from_numpy(z))
        logits = discriminator(made).numpy()
    made = made.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(
        ops.convert_to_numpy(model.generator(z, training=False)), made, atol=1e-5
    )
    np.testing.assert_allclose(model.predict(made, verbose=0), logits, rtol=1e-4, atol=1e-5)


def test_spectral_normalization_and_its_gradient_equal_torchs(from_torch):
    torch.manual_seed(0)
    theirs = nn.Linear(7, 4)
    inner = layers.Dense(4)
    layer = gan.SpectralNormalization(inner)
    x = np.random.default_rng(0).standard_normal((9, 7)).astype("float32")
    layer(x)
    inner.set_weights(from_torch(theirs))
    theirs = nn.utils.parametrizations.spectral_norm(theirs)
    for _ in range(100):  # the singular vectors settle
        layer(x, training=True)
        wanted = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(x)), wanted.detach().numpy(), rtol=1e-4, atol=1e-5
    )
    wanted.square().mean().backward()
    inputs = keras.Input((7,))
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(1.0), loss="mse", run_eagerly=True)
    before = inner.get_weights()
    model.train_on_batch(x, np.zeros((9, 4), "float32"))
    step = [a - b for a, b in zip(before, inner.get_weights(), strict=True)]
    of_weight = theirs.parametrizations.weight.original.grad.T.numpy()
    assert np.abs(of_weight).max() > 1e-2
    np.testing.assert_allclose(step[0], of_weight, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(step[1], theirs.bias.grad.numpy(), rtol=1e-3, atol=1e-5)
