"""The dense network of 25 steps by snnTorch, written as in its tutorial 5, but for its logits."""

from peers import Case, torch_classifier


def by_snntorch(case: Case, torch):
    import snntorch
    from snntorch import surrogate

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            slope = surrogate.atan(2.0)
            self.one, self.two = torch.nn.Linear(784, 1000), torch.nn.Linear(1000, 10)
            self.first = snntorch.Leaky(beta=0.9, spike_grad=slope)
            self.last = snntorch.Leaky(beta=0.9, spike_grad=slope, reset_mechanism="none")

        def forward(self, x):
            x, membranes = x.flatten(1), []
            first, last = self.first.init_leaky(), self.last.init_leaky()
            for _ in range(25):
                spikes, first = self.first(self.one(x), first)
                _, last = self.last(self.two(spikes), last)
                membranes.append(last)
            return torch.stack(membranes).amax(0)

    return Net(), torch.optim.Adam


CASES = {
    "snn": Case("snn", "dense", (28, 28, 1), 128, 40, {"snnTorch": torch_classifier(by_snntorch)},
                values="unit"),
}  # fmt: skip
