"""Associative memories in PyTorch: storing (with one recall, as our `fit` reports) and recall.

A step takes all patterns, in one batch; a round is as many calls as it has steps.
"""

from dataclasses import replace

from peers import CALLS, Case, device, of_keras, of_torch


class Memory(Case):
    """A case that grows by its units."""

    def ours(self):
        parts, parameters = of_keras(self.build_model(), replace(self, steps=1))
        return {name: self.repeated(part) for name, part in parts.items()}, parameters

    def repeated(self, part):
        """A part of one step, for all steps of a round."""
        return lambda: [part() for _ in range(self.steps)]

    def tensors(self):
        return Case.tensors(replace(self, steps=1)) * self.steps

    def larger(self, what, factor):
        units = self.input_shape[0] * factor
        return replace(self, input_shape=(units,)) if what == "nodes" else None


def pytorch(case: Case) -> tuple:
    import torch

    modern = case.variant == "modern"
    units = case.input_shape[0]
    memory = torch.zeros(case.arguments["num_patterns"] if modern else units, units)
    memory = memory.to(device())
    order = torch.randperm(units).tolist()

    def sweep(s):
        if modern:
            return torch.softmax(s @ memory.T, 1) @ memory
        if case.variant == "synchronous":
            return turned(s, s @ memory)
        s = s.clone()
        for i in order:
            s[:, i] = turned(s[:, i], s @ memory[:, i])
        return s

    def turned(s, field):
        return torch.where(field == 0, s, field.sign())

    def recall(s):
        for _ in range(100):
            before, s = s, sweep(s)
            if (s - before).abs().max() <= 1e-4:
                break
        return s

    @torch.inference_mode()
    def step(x, y):
        if modern:
            memory.copy_(x)
        else:
            memory.copy_(x.T @ x).fill_diagonal_(0)
        return ((recall(x) * x > 0).float().mean(),)

    parts, _ = of_torch(case, step, recall, [])
    return parts, memory.numel()


WHY = {
    "synchronous": CALLS,
    "modern": "its energy, which PyTorch is not asked for, is a third of the products",
}


def case(variant: str, patterns: int) -> Memory:
    return Memory(
        "hopfield", variant, (500,), patterns, 20, {"PyTorch": pytorch},
        {"num_patterns": patterns}, num_classes=None, values="signs", why=WHY.get(variant, ""),
    )  # fmt: skip


CASES = {
    "hopfield_asynchronous": case("hebb", 50),
    "hopfield_synchronous": case("synchronous", 50),
    "hopfield_modern": case("modern", 2000),
}
