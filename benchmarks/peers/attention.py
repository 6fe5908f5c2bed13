"""Bahdanau's translator of PyTorch's own layers, at the sizes of the embedded dates.

The encoder packs its sources, as PyTorch's users do where there is padding. What needs no step
before it, the readout and the logits, is done for all steps at once in training. Both sides write
`target_length` tokens: no row of ours can end before all do, and in training no target had an end.
"""

from collections.abc import Callable

from peers import Case, device, of_torch


def teach(
    model, logits: Callable, optimizer, clip_norm: float | None = None, schedule=None
) -> Callable:
    """Step of teacher forcing; padding counts neither in the loss nor as right."""
    import torch

    def step(x, y):
        found = logits(x)
        loss = torch.nn.functional.cross_entropy(found.flatten(0, 1), y.flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        right, real = found.argmax(-1) == y, y != 0
        return loss.detach(), (right & real).sum(), (right | ~real).all(1).sum()

    return step


def pytorch(case: Case) -> tuple:
    import torch
    from torch import nn

    size, width = case.arguments["source_vocabulary_size"], 64
    source_length, target_length = case.input_shape

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.source_words, self.words = (nn.Embedding(size, width) for _ in range(2))
            self.encoder = nn.GRU(width, width, batch_first=True, bidirectional=True)
            self.start = nn.Linear(width, width)
            self.of_question = nn.Linear(width, width, bias=False)
            self.of_memory = nn.Linear(2 * width, width, bias=False)
            self.v = nn.Linear(width, 1, bias=False)
            self.cell = nn.GRUCell(3 * width, width)
            self.readout = nn.Linear(4 * width, 2 * width, bias=False)
            self.head = nn.Linear(width, size)

        def read(self, source):
            """The memory, what the attention makes of it, where it is, and the first state."""
            there = source != 0
            packed = nn.utils.rnn.pack_padded_sequence(
                self.source_words(source), there.sum(1).cpu(), True, enforce_sorted=False
            )
            states, last = self.encoder(packed)
            memory = nn.utils.rnn.pad_packed_sequence(states, True, total_length=source_length)[0]
            return (memory, self.of_memory(memory), there), torch.tanh(self.start(last[1]))

        def look(self, state, memory, prepared, there):
            scores = self.v(torch.tanh(self.of_question(state)[:, None] + prepared))[..., 0]
            shares = scores.masked_fill(~there, -torch.inf).softmax(-1)
            return (shares[:, None] @ memory)[:, 0]

        def tell(self, *what):
            return self.head(self.readout(torch.cat(what, -1)).unflatten(-1, (-1, 2)).amax(-1))

        def forward(self, inputs):
            source, target = inputs
            memory, state = self.read(source)
            y, states, found = self.words(target), [], []
            for word in y.unbind(1):
                states.append(state)
                found.append(self.look(state, *memory))
                state = self.cell(torch.cat([word, found[-1]], -1), state)
            return self.tell(torch.stack(states, 1), y, torch.stack(found, 1))

    model = Net().to(device())
    source = case.tensors()[0][0][0]

    def generate(count):
        memory, state = model.read(source)
        ids = [torch.full((count,), 2, device=device())]
        for _ in range(target_length):
            y, c = model.words(ids[-1]), model.look(state, *memory)
            ids.append(model.tell(state, y, c).argmax(-1))
            state = model.cell(torch.cat([y, c], -1), state)
        return torch.stack(ids[1:], 1)

    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    return of_torch(case, teach(model, model, optimizer, 1.0), model, [model], generate)


SIZES = {"source_vocabulary_size": 260, "target_vocabulary_size": 260}

CASES = {
    "attention_small": Case(
        "attention", "small", (36, 11), 64, 60, {"PyTorch": pytorch}, SIZES, num_classes=None,
        values="pairs", generate={}, why="each step of the decoder is a dozen small operations",
    ),
}  # fmt: skip
