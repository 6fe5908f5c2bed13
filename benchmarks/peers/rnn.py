"""Recurrent networks of PyTorch's own layers: a forecast, and texts with classes.

PyTorch's RNN and LSTM have two biases where one would do: more weights by one for each unit and
gate, in each direction. Texts are of full length, so that PyTorch need not pack them; ours looks
for padding all the same, as it always does.
"""

from collections.abc import Callable

from peers import Case, device, of_torch


def trained(case: Case, model, loss, count, learning_rate: float) -> tuple:
    """Step of Adam with gradients clipped; `count` (outputs, y) is summed for the metric."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), learning_rate)

    def step(x, y):
        found = model(x)
        value = loss(found, y)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return value.detach(), count(found.detach(), y)

    return of_torch(case, step, model, [model])


def forecaster(layer: str) -> Callable:
    """The contender whose layer has this name in PyTorch; it sees and tells differences."""

    def contender(case: Case) -> tuple:
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                features = case.input_shape[1]
                self.body = getattr(nn, layer)(features, 32, case.depth, batch_first=True)
                self.head = nn.Linear(32, case.arguments["horizon"])

            def forward(self, x):
                last = x[:, -1:]
                return self.head(self.body(x - last)[0][:, -1]) + last[:, 0]

        def error(found, y):
            return (found - y).abs().sum()

        rate = 3e-3 if layer == "RNN" else 5e-3
        return trained(case, Net().to(device()), nn.MSELoss(), error, rate)

    return contender


def classifier(layer: str) -> Callable:
    """Likewise: both directions over embedded words, and each unit's maximum over time."""

    def contender(case: Case) -> tuple:
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.words = nn.Embedding(case.arguments["vocabulary_size"], 128)
                self.body = getattr(nn, layer)(128, 128, batch_first=True, bidirectional=True)
                self.dropout = nn.Dropout(0.5)
                self.head = nn.Linear(256, case.num_classes)

            def forward(self, ids):
                states = self.body(self.dropout(self.words(ids)))[0]
                return self.head(self.dropout(states.amax(1)))

        def right(found, y):
            return (found.argmax(1) == y).sum()

        return trained(case, Net().to(device()), nn.CrossEntropyLoss(), right, 1e-3)

    return contender


LOOP = "each step of TensorFlow's loop is a dozen small operations"


def both(family: str, variant: str, layer: str) -> dict[str, Case]:
    """A family's cases: its default variant on series, and `text`."""
    return {
        f"{family}_series": Case(
            family, variant, (104, 1), 64, 100, {"PyTorch": forecaster(layer)}, {"horizon": 13},
            num_classes=None, values="series", layers=lambda factor: {"units": (32,) * factor},
            why=LOOP,
        ),
        f"{family}_text": Case(
            family, "text", (24,), 32, 100, {"PyTorch": classifier(layer)},
            {"vocabulary_size": 4000}, num_classes=6, values="words",
            why="loops of small products, compiled by XLA",
        ),
    }  # fmt: skip


CASES = both("rnn", "elman", "RNN")
