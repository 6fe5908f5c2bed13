"""GPT in nanoGPT's smallest setting: of PyTorch's own layers, and transformers' GPT-2.

The latter has biases, which the setting has not; it generates with its own cache, greedily.
"""

from peers import Case, device, of_torch


def optimized(model, rate=lambda step: 1e-3) -> tuple:
    """Step of AdamW with gradients clipped, as nanoGPT has it; matrices alone decay."""
    import torch

    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": 0.1},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, 1.0, (0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def logits(x):
        found = model(x)
        return getattr(found, "logits", found)

    def step(x, y):
        found = logits(x)
        loss = torch.nn.functional.cross_entropy(found.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        return loss.detach(), (found.argmax(-1) == y).sum()

    return step, logits


def network(vocabulary_size: int, length: int, num_layers: int = 4):
    """nanoGPT's network, with GPT-2's initialisation."""
    from torch import nn
    from torch.nn import functional as F

    width, heads = 128, 4

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.up = nn.Linear(width, 4 * width, bias=False)
            self.down = nn.Linear(4 * width, width, bias=False)

        def forward(self, x):
            n, t, _ = x.shape
            qkv = self.qkv(self.norm1(x)).view(n, t, 3, heads, width // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(found.transpose(1, 2).reshape(n, t, width))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary_size, width)
            self.positions = nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(num_layers)))
            self.norm = nn.LayerNorm(width, bias=False)
            for name, weight in self.named_parameters():
                if weight.ndim == 2:
                    residual = name.endswith(("out.weight", "down.weight"))
                    nn.init.normal_(weight, 0.0, 0.02 * (2 * num_layers) ** (-0.5 * residual))

        def forward(self, x):
            x = self.tokens(x) + self.positions.weight[: x.shape[1]]
            return self.norm(self.blocks(x)) @ self.tokens.weight.T

    return Net().to(device())


def pytorch(case: Case) -> tuple:
    import torch

    model = network(case.arguments["vocabulary_size"], case.input_shape[0], 4 * case.depth)

    def generate(count):
        """As nanoGPT does it: without a cache."""
        ids = torch.ones(count, 1, dtype=torch.long, device=device())
        for _ in range(case.generate["max_new_tokens"]):
            p = model(ids)[:, -1].softmax(-1)
            ids = torch.cat([ids, torch.multinomial(p, 1)], 1)
        return ids

    return of_torch(case, *optimized(model), [model], generate)


def transformers(case: Case) -> tuple:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(
        vocab_size=case.arguments["vocabulary_size"], n_positions=case.input_shape[0], n_embd=128,
        n_layer=4 * case.depth, n_head=4, bos_token_id=None, eos_token_id=None, pad_token_id=0,
        **quiet,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).to(device())

    def generate(count):
        ids = torch.ones(count, 1, dtype=torch.long, device=device())
        return model.generate(ids, do_sample=False, **case.generate)

    return of_torch(case, *optimized(model), [model], generate)


CASES = {
    "gpt_nano": Case(
        "gpt", "nano", (64,), 12, 100, {"PyTorch": pytorch, "transformers": transformers},
        {"vocabulary_size": 65, "warmup_steps": 0}, values="ids", generate={"max_new_tokens": 63},
        layers=lambda factor: {"num_layers": 4 * factor},
        why="XLA on a CPU; TensorFlow without it takes 1.6 times as much of the processor",
    ),
}  # fmt: skip
