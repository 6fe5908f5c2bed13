"""A deep belief network's two kinds of steps, in PyTorch."""

from peers import STEP, Case, device, of_torch, torch_classifier
from peers.rbm import gibbs, learn, machine


def pretraining(case: Case) -> tuple:
    import torch

    below, top = machine(784, 500), machine(500, 500)
    speeds = tuple(map(torch.zeros_like, below))
    net, _ = classifier(case, torch)
    net.to(device())

    @torch.inference_mode()
    def step(x, y):
        return (learn(below, speeds, x.flatten(1), momentum=0.5)[1],)

    def generate(count):
        v = torch.bernoulli(torch.full((count, 500), 0.5, device=device()))
        for _ in range(case.generate["gibbs_steps"]):
            v = gibbs(top, v)
        return torch.sigmoid(v @ below[0].T + below[1])

    parts, _ = of_torch(case, step, net, [net], generate)
    return parts, sum(w.numel() for w in below)


def classifier(case: Case, torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 500), nn.Sigmoid(), nn.Linear(500, 500), nn.Sigmoid(),
        nn.Linear(500, 10),
    ), torch.optim.Adam  # fmt: skip


CASES = {
    "dbn_pretraining": Case(
        "dbn", "small", (28, 28, 1), 50, 200, {"PyTorch": pretraining}, {"pretrain_epochs": 1000},
        values="binary", generate={"gibbs_steps": 100}, why=STEP,
    ),
    "dbn_finetuning": Case(
        "dbn", "small", (28, 28, 1), 50, 200, {"PyTorch": torch_classifier(classifier)},
        {"pretrain_epochs": 0}, values="binary", why=STEP,
    ),
}  # fmt: skip
