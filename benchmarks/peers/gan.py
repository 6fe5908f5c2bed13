"""DCGAN, with the original loss and with Wasserstein's, of PyTorch's own layers."""

from peers import Case, device, of_torch


def networks(batch: bool) -> tuple:
    """Generator and discriminator for 28x28; `batch`: batch normalisation in the latter."""
    from torch import nn

    generator = nn.Sequential(
        nn.Linear(100, 64 * 49, bias=False), nn.Unflatten(1, (64, 7, 7)),
        nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        nn.BatchNorm2d(32), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1, bias=not batch), nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1, bias=not batch), *[nn.BatchNorm2d(64)] * batch,
        nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64 * 49, 1, bias=not batch),
    )  # fmt: skip
    return generator, discriminator


def pytorch(case: Case) -> tuple:
    import torch
    from torch.nn.functional import softplus

    wasserstein = case.variant == "wgan_gp"
    g, d = (net.to(device()) for net in networks(batch=not wasserstein))
    rate, betas = (1e-4, (0.0, 0.9)) if wasserstein else (2e-4, (0.5, 0.999))
    of_g, of_d = (torch.optim.Adam(net.parameters(), rate, betas) for net in (g, d))
    count = 0

    def penalty(real, made):
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (share * real + (1 - share) * made).requires_grad_()
        (slope,) = torch.autograd.grad(d(between).sum(), between, create_graph=True)
        return 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()

    def step(x, y):
        nonlocal count
        count += 1
        real, z = 2 * x - 1, torch.randn(len(x), 100, device=x.device)
        made = g(z)
        on_real, on_made = d(real), d(made.detach())
        if wasserstein:
            d_loss = on_made.mean() - on_real.mean() + penalty(real, made.detach())
        else:
            d_loss = softplus(-on_real).mean() + softplus(on_made).mean()
        of_d.zero_grad()
        d_loss.backward()
        of_d.step()
        if wasserstein and count % 5:  # the generator moves in every fifth step
            return (d_loss.detach(),)
        judged = d(made)
        g_loss = -judged.mean() if wasserstein else softplus(-judged).mean()
        of_g.zero_grad()
        g_loss.backward()
        of_g.step()
        return (d_loss.detach(),)

    def generate(count):
        return (g(torch.randn(count, 100, device=device())) + 1) / 2

    return of_torch(case, step, lambda x: d(2 * x - 1), [g, d], generate)


CASES = {
    name: Case("gan", name, (28, 28, 1), 64, 30, {"PyTorch": pytorch},
               num_classes=None, values="unit", generate={})
    for name in ("dcgan", "wgan_gp")
}  # fmt: skip
