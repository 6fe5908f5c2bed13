"""The variational autoencoder 784-400-20 of PyTorch's own layers."""

from peers import STEP, Case, device, of_torch


def pytorch(case: Case) -> tuple:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.mean = nn.Linear(784, 400), nn.Linear(400, 20)
            self.log_variance = nn.Linear(400, 20)
            self.back, self.logits = nn.Linear(20, 400), nn.Linear(400, 784)

        def encode(self, x):
            h = F.relu(self.hidden(x.flatten(1)))
            return self.mean(h), self.log_variance(h)

        def decode(self, z):
            return self.logits(F.relu(self.back(z)))

    model = Net().to(device())
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step(x, y):
        optimizer.zero_grad()
        mean, log_variance = model.encode(x)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        found, x = model.decode(z), x.flatten(1)
        error = F.binary_cross_entropy_with_logits(found, x, reduction="sum") / len(x)
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / (2 * len(x))
        loss = error + kl
        loss.backward()
        optimizer.step()
        return loss.detach(), error.detach(), kl.detach()

    def generate(count):
        return model.decode(torch.randn(count, 20, device=device())).sigmoid()

    return of_torch(case, step, lambda x: model.decode(model.encode(x)[0]).sigmoid(), [model],
                    generate)  # fmt: skip


CASES = {
    "vae": Case("vae", "dense", (28, 28, 1), 128, 200, {"PyTorch": pytorch},
                num_classes=None, values="unit", generate={}, why=STEP),
}  # fmt: skip
