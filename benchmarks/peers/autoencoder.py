"""Autoencoders of PyTorch's own layers."""

from peers import STEP, Case, device, of_torch


def coder(case: Case):
    """784-64-32-64-784, or two convolutions and their mirror: encoder and decoder with logits."""
    from torch import nn

    if case.variant == "dense":
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32))
        decoder = nn.Sequential(
            nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 784), nn.Unflatten(1, (1, 28, 28))
        )
        return encoder, decoder
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 32),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(32, 32 * 49), nn.ReLU(), nn.Unflatten(1, (32, 7, 7)),
        nn.ConvTranspose2d(32, 16, 3, 2, 1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 3, 2, 1, output_padding=1),
    )  # fmt: skip
    return encoder, decoder


def pytorch(case: Case) -> tuple:
    import torch

    model = torch.nn.Sequential(*coder(case)).to(device())
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)

    def step(x, y):
        optimizer.zero_grad()
        error = (model(x).sigmoid() - x).square().sum((1, 2, 3))
        loss = error.mean()
        loss.backward()
        optimizer.step()
        return loss.detach(), error.detach().mean() / 784

    return of_torch(case, step, lambda x: model(x).sigmoid(), [model])


CASES = {
    f"autoencoder_{variant}": Case(
        "autoencoder", variant, (28, 28, 1), 128, steps, {"PyTorch": pytorch},
        num_classes=None, values="unit", why=STEP,
    )
    for variant, steps in (("dense", 200), ("convolutional", 40))
}  # fmt: skip
