"""Restricted Boltzmann machines: scikit-learn's, and one of PyTorch's matrix products."""

from peers import STEP, Case, device, of_torch


def scikit_learn(case: Case) -> tuple:
    import numpy as np
    from sklearn.neural_network import BernoulliRBM

    count = case.arguments["units"]
    model = BernoulliRBM(count, learning_rate=0.05, batch_size=case.batch_size)
    x, _ = case.arrays()
    x = x.reshape(len(x), -1)
    batches = [x[i : i + case.batch_size] for i in range(0, len(x), case.batch_size)]

    def train():
        for batch in batches:
            model.partial_fit(batch)

    def generate():
        v = np.random.default_rng(0).random((case.batch_size, 784)) < 0.5
        for _ in range(case.generate["gibbs_steps"]):
            v = model.gibbs(v.astype("float32"))

    train()
    parts = {"train": train, "predict": lambda: [model.transform(b) for b in batches]}
    return parts | {"generate": generate}, 784 * count + 784 + count


def machine(visible: int, hidden: int) -> tuple:
    """Weights of a machine: W (visible, hidden), b, c."""
    import torch

    w = 0.01 * torch.randn(visible, hidden, device=device())
    return w, torch.zeros(visible, device=device()), torch.zeros(hidden, device=device())


def gibbs(weights: tuple, v):
    """One step from v to v'."""
    import torch

    w, b, c = weights
    h = torch.bernoulli(torch.sigmoid(v @ w + c))
    return torch.bernoulli(torch.sigmoid(h @ w.T + b))


def learn(weights: tuple, speeds: tuple, v, chains=None, momentum=0.0, rate=0.05, decay=2e-4):
    """One step of contrastive divergence, from v or from chains; (end of the chains, error)."""
    import torch

    w, b, c = weights
    h = torch.sigmoid(v @ w + c)
    error = torch.nn.functional.binary_cross_entropy_with_logits(h @ w.T + b, v, reduction="sum")
    chains = gibbs(weights, v if chains is None else chains)
    dreamt = torch.sigmoid(chains @ w + c)
    steps = (
        v.T @ h / len(v) - chains.T @ dreamt / len(chains) - decay * w,
        v.mean(0) - chains.mean(0),
        h.mean(0) - dreamt.mean(0),
    )
    for weight, speed, step in zip(weights, speeds, steps, strict=True):
        speed.mul_(momentum).add_(step, alpha=rate)
        weight.add_(speed)
    return chains, error / len(v)


def pytorch(case: Case) -> tuple:
    import torch

    weights = machine(784, case.arguments["units"])
    speeds = tuple(map(torch.zeros_like, weights))
    chains = torch.zeros(case.batch_size, 784, device=device())

    @torch.inference_mode()
    def step(x, y):
        nonlocal chains
        chains, error = learn(weights, speeds, x.flatten(1), chains)
        return (error,)

    def predict(x):
        return torch.sigmoid(x.flatten(1) @ weights[0] + weights[2])

    def generate(count):
        v = torch.bernoulli(torch.full((count, 784), 0.5, device=device()))
        for _ in range(case.generate["gibbs_steps"]):
            v = gibbs(weights, v)
        return v

    parts, _ = of_torch(case, step, predict, [], generate)
    return parts, sum(w.numel() for w in weights)


CASES = {
    "rbm": Case(
        "rbm", "pcd", (28, 28, 1), 100, 100, {"scikit-learn": scikit_learn, "PyTorch": pytorch},
        {"units": 500}, num_classes=None, values="binary", generate={"gibbs_steps": 100},
        predict="encode", why=STEP,
    ),
}  # fmt: skip
