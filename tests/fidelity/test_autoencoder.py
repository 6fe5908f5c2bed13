"""The same weights in PyTorch give the same codes, images, losses, penalties and gradients."""

import keras
import numpy as np
import pytest

from recipes import autoencoder

torch = pytest.importorskip("torch", reason="the peer is torch.nn (extra `peers`)")
from torch import nn  # noqa: E402

X = np.random.default_rng(0).random((6, 8, 8, 1), "float32")
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "linear": nn.Identity}


def stack(network: keras.Model) -> nn.Sequential:
    """A network's dense layers as PyTorch's, with the same weights."""
    made = [nn.Flatten()]
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense):
            kernel, bias = layer.get_weights()
            twin = nn.Linear(*kernel.shape)
            twin.weight.data, twin.bias.data = torch.tensor(kernel.T.copy()), torch.tensor(bias)
            made += [twin, ACTIVATIONS[layer.activation.__name__]()]
    return nn.Sequential(*made)


def their_loss(model: autoencoder.Autoencoder, encoder: nn.Module, decoder: nn.Module):
    x = torch.tensor(X)
    z = encoder(x)
    logits, flat = decoder(z), x.flatten(1)
    if model.reconstruction == "crossentropy":
        loss = nn.functional.binary_cross_entropy_with_logits(logits, flat, reduction="sum")
    else:
        loss = nn.functional.mse_loss(torch.sigmoid(logits), flat, reduction="sum")
    loss = loss / len(x)
    if model.sparsity is not None:
        target, mean = (
            torch.distributions.Bernoulli(p) for p in (torch.tensor(model.sparsity), z.mean(0))
        )
        loss = loss + model.sparsity_weight * torch.distributions.kl_divergence(target, mean).sum()
    if model.contraction:
        for one in x:
            jacobian = torch.autograd.functional.jacobian(
                lambda v: encoder(v[None])[0], one, create_graph=True
            )
            loss = loss + model.contraction * jacobian.square().sum() / len(x)
    return loss


@pytest.mark.parametrize("variant", ["dense", "deep", "sparse", "contractive"])
def test_same_loss_and_same_first_steps(variant):
    rate = 1e-3
    model = autoencoder.build_model(
        variant, input_shape=(8, 8, 1), optimizer=keras.optimizers.SGD(rate), seed=3
    )
    encoder, decoder = stack(model.encoder), stack(model.decoder)
    with torch.no_grad():
        images = torch.sigmoid(decoder(encoder(torch.tensor(X)))).reshape(X.shape).numpy()
    np.testing.assert_allclose(model.predict(X, verbose=0), images, rtol=1e-5, atol=1e-6)

    optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], rate)
    for _ in range(3):
        loss = their_loss(model, encoder, decoder)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ours = model.train_on_batch(X, return_dict=True)["loss"]
        assert ours == pytest.approx(loss.item(), rel=1e-5)
        model.reset_metrics()
    theirs = [p.detach().numpy().T for p in (*encoder.parameters(), *decoder.parameters())]
    for ours, expected in zip(model.get_weights(), theirs, strict=False):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
