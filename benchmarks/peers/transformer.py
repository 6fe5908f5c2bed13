"""The small transformer at the sizes of the embedded dates: torch.nn.Transformer, and Marian.

torch.nn.Transformer knows neither tokens nor positions, which are written by hand, and has no
cache: each token is written from all before it. transformers' Marian is the same network, with the
sines before the cosines, and has a cache. All sides write `target_length` tokens: no row of ours
can end before all do, and in training no target had an end; Marian is told of no end.
"""

from peers import Case, device, of_torch
from peers.attention import SIZES, teach

WIDTH, HEADS, LAYERS, UNITS, DROPOUT, WARMUP = 128, 4, 2, 512, 0.1, 1000


def vaswani(model, logits):
    """Step of Adam with the paper's schedule."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), 1.0, (0.9, 0.98), 1e-9)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: WIDTH**-0.5 * min((s + 1) ** -0.5, (s + 1) * WARMUP**-1.5)
    )
    return teach(model, logits, optimizer, schedule=schedule)


def pytorch(case: Case) -> tuple:
    import torch
    from torch import nn

    target_length, count = case.input_shape[1], LAYERS * case.depth

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(case.arguments["source_vocabulary_size"], WIDTH)
            nn.init.normal_(self.words.weight, std=WIDTH**-0.5)
            self.dropout = nn.Dropout(DROPOUT)
            self.body = nn.Transformer(WIDTH, HEADS, count, count, UNITS, DROPOUT, batch_first=True)
            self.body.encoder.norm = self.body.decoder.norm = None  # as in the paper
            for layer in (*self.body.encoder.layers, *self.body.decoder.layers):
                layer.dropout = nn.Identity()  # between the dense layers
            rates = 10_000 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
            angles = torch.arange(max(case.input_shape))[:, None] * rates
            positions = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
            self.register_buffer("positions", positions)
            hidden = nn.Transformer.generate_square_subsequent_mask(target_length)
            self.register_buffer("hidden", hidden)

        def begin(self, ids):
            x = self.words(ids) * WIDTH**0.5 + self.positions[: ids.shape[1]]
            return self.dropout(x)

        def read(self, source):
            padding = source == 0
            memory = self.body.encoder(self.begin(source), src_key_padding_mask=padding)
            return memory, padding

        def write(self, target, memory, padding):
            steps = target.shape[1]
            return self.body.decoder(
                self.begin(target), memory, self.hidden[:steps, :steps],
                memory_key_padding_mask=padding, tgt_is_causal=True,
            )  # fmt: skip

        def forward(self, inputs):
            source, target = inputs
            return self.write(target, *self.read(source)) @ self.words.weight.T

    model = Net().to(device())
    source = case.tensors()[0][0][0]

    def generate(count):
        memory, ids = model.read(source), torch.full((count, 1), 2, device=device())
        for _ in range(target_length):
            last = model.write(ids, *memory)[:, -1] @ model.words.weight.T
            ids = torch.cat([ids, last.argmax(-1, keepdim=True)], 1)
        return ids[:, 1:]

    return of_torch(case, vaswani(model, model), model, [model], generate)


def transformers(case: Case) -> tuple:
    from transformers import MarianConfig, MarianMTModel

    both = {"layers": LAYERS * case.depth, "attention_heads": HEADS, "ffn_dim": UNITS}
    config = MarianConfig(
        vocab_size=case.arguments["source_vocabulary_size"], d_model=WIDTH, dropout=DROPOUT,
        attention_dropout=DROPOUT, activation_function="relu", scale_embedding=True,
        max_position_embeddings=max(case.input_shape), decoder_start_token_id=2, pad_token_id=0,
        eos_token_id=None, forced_eos_token_id=None,
        **{f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in both.items()},
    )  # fmt: skip
    model = MarianMTModel(config).to(device())
    source = case.tensors()[0][0][0]

    def logits(inputs):
        source, target = inputs
        return model(source, (source != 0).long(), decoder_input_ids=target).logits

    def generate(count):
        return model.generate(
            source, attention_mask=(source != 0).long(), do_sample=False, num_beams=1,
            max_new_tokens=case.input_shape[1],
        )  # fmt: skip

    return of_torch(case, vaswani(model, logits), logits, [model], generate)


CASES = {
    "transformer_small": Case(
        "transformer", "small", (36, 11), 64, 40,
        {"PyTorch": pytorch, "transformers": transformers}, SIZES, num_classes=None,
        values="pairs", generate={}, layers=lambda factor: {"num_layers": LAYERS * factor},
        why="TensorFlow; XLA takes 0.8 of its time, but 10 s for each width of batches first",
    ),
}  # fmt: skip
