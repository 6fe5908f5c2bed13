"""Variational autoencoders against torch: its distributions, its losses, its gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from recipes import vae

torch = pytest.importorskip("torch")
Normal, Bernoulli = torch.distributions.Normal, torch.distributions.Bernoulli

SHAPE, LATENT, CLASSES = (4, 3, 1), 3, 5
LABELS = np.sqrt(LATENT) * np.eye(CLASSES)  # as both networks see them


def tensor(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_divergence_equals_that_of_torchs_distributions():
    mean, log_variance = 3 * normal(50, LATENT), 2 * normal(50, LATENT, seed=1)
    q = Normal(tensor(mean), tensor(np.exp(log_variance.astype("float64") / 2)))
    expected = torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    found = vae.gaussian_divergence(*map(ops.convert_to_tensor, (mean, log_variance)))
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def likelihoods(model, x, logits):
    found = model.log_likelihood(ops.convert_to_tensor(x), ops.convert_to_tensor(logits))
    return ops.convert_to_numpy(found)


@pytest.mark.parametrize("scale", [1, 30])  # 30: probabilities that float32 rounds to 0 and 1
def test_likelihoods_equal_torchs(scale):
    x, logits = (normal(20, *SHAPE) > 0).astype("float32"), scale * normal(20, *SHAPE, seed=1)
    model = vae.build_model("tiny", input_shape=SHAPE)
    expected = Bernoulli(logits=tensor(logits)).log_prob(tensor(x)).sum((1, 2, 3))
    found = likelihoods(model, x, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

    model = vae.build_model("tiny", input_shape=SHAPE, likelihood="gaussian", pixel_std=0.3)
    grey = np.random.default_rng(0).random((20, *SHAPE), "float32")
    expected = Normal(torch.sigmoid(tensor(logits)), 0.3).log_prob(tensor(grey)).sum((1, 2, 3))
    found = likelihoods(model, grey, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


class Peer(torch.nn.Module):
    """The same network from torch's layers, in float64."""

    def __init__(self, pixels, hidden, labels):
        super().__init__()
        sizes = ((pixels + labels, hidden), (hidden, LATENT), (hidden, LATENT),
                 (LATENT + labels, hidden), (hidden, pixels))  # fmt: skip
        self.parts = torch.nn.ModuleList(torch.nn.Linear(*s, dtype=torch.float64) for s in sizes)

    def forward(self, x, c, noise):
        hidden, mean, log_variance, after, logits = self.parts
        h = torch.relu(hidden(torch.cat([x, c], 1)))
        q = Normal(mean(h), torch.exp(log_variance(h) / 2))
        z = q.loc + q.scale * noise
        return q, z, logits(torch.relu(after(torch.cat([z, c], 1))))


def pair(from_torch, **arguments):
    """Theirs and ours, with the same weights."""
    labels = CLASSES if arguments.get("conditional") else 0
    peer = Peer(12, 6, labels)
    model = vae.build_model("tiny", input_shape=SHAPE, units=(6,), latent_dim=LATENT,
                            num_classes=CLASSES, **arguments)  # fmt: skip
    weights = [from_torch(part) for part in peer.parts]
    encoder, decoder = weights[:3], weights[3:]
    model.encoder.set_weights([w for part in encoder for w in part])
    model.decoder.set_weights([w for part in decoder for w in part])
    return peer, model


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"beta": 4.0},
        {"likelihood": "gaussian", "pixel_std": 0.3},
        {"conditional": True},
    ],
    ids=str,
)
def test_loss_and_steps_of_gradient_descent_equal_torchs(arguments, from_torch, monkeypatch):
    torch.manual_seed(0)
    rate = 0.01
    peer, model = pair(from_torch, optimizer=keras.optimizers.SGD(rate), **arguments)
    model.jit_compile = False
    x = (normal(8, *SHAPE) > 0).astype("float32")
    y = np.arange(8, dtype="int32") % CLASSES
    noise = normal(8, LATENT, seed=2)
    monkeypatch.setattr(keras.random, "normal", lambda shape, seed: ops.convert_to_tensor(noise))

    c = tensor(LABELS[y] if "conditional" in arguments else np.zeros((8, 0)))
    optimizer = torch.optim.SGD(peer.parameters(), rate)
    flat = tensor(x).reshape(8, -1)
    start = [p.detach().clone() for p in peer.parameters()]
    for _ in range(3):
        q, _, logits = peer(flat, c, tensor(noise))
        if arguments.get("likelihood") == "gaussian":
            error = -Normal(torch.sigmoid(logits), 0.3).log_prob(flat).sum() / 8
        else:
            error = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, flat, reduction="sum"
            ) / 8  # fmt: skip
        divergence = torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum() / 8
        loss = error + arguments.get("beta", 1.0) * divergence
        found = model.train_on_batch(x, y, return_dict=True)
        model.reset_metrics()
        assert float(found["loss"]) == pytest.approx(loss.item(), rel=1e-5)
        assert float(found["reconstruction"]) == pytest.approx(error.item(), rel=1e-5)
        assert float(found["kl"]) == pytest.approx(divergence.item(), rel=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    wanted = [w for part in peer.parts for w in from_torch(part)]
    ours = [*model.encoder.get_weights(), *model.decoder.get_weights()]
    for a, b in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
    moved = [(p - s).abs().max().item() for p, s in zip(peer.parameters(), start, strict=True)]
    assert min(moved) > 5e-4  # hundreds of times what is allowed between the two


@pytest.mark.parametrize("conditional", [False, True])
def test_importance_weighted_bound_equals_torchs(conditional, from_torch):
    torch.manual_seed(0)
    peer, model = pair(from_torch, conditional=conditional)
    n, k = 5, 40
    x = (normal(n, *SHAPE) > 0).astype("float32")
    y = np.arange(n) % CLASSES
    noise = np.random.default_rng(3).standard_normal((n, k, LATENT), "float32")
    rows = np.repeat(np.arange(n), k)
    c = tensor(LABELS[y] if conditional else np.zeros((n, 0)))
    flat = tensor(x).reshape(n, -1)[rows]
    with torch.no_grad():
        q, z, logits = peer(flat, c[rows], tensor(noise.reshape(n * k, LATENT)))
        log_w = (Bernoulli(logits=logits).log_prob(flat).sum(1)
                 + Normal(0.0, 1.0).log_prob(z).sum(1) - q.log_prob(z).sum(1))  # fmt: skip
    expected = torch.logsumexp(log_w.reshape(n, k), 1) - np.log(k)
    found = model.log_likelihood_bound(x, k, seed=3, labels=y if conditional else None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
