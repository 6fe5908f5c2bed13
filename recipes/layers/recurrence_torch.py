"""All steps of a recurrent layer as one operation of PyTorch."""

from typing import Any

import keras
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def pays(layer: keras.layers.RNN, x: Any, training: bool) -> bool:
    """Always, but where a graph is being made, which cannot depend on lengths."""
    return not (torch.jit.is_tracing() or torch.compiler.is_compiling())


def weights(layer: keras.layers.RNN) -> list[torch.Tensor]:
    """A cell's as PyTorch has them: W (gates u, d), U (gates u, u) and two biases (gates u,)."""
    cell = layer.cell

    def tensor(weight: keras.Variable) -> torch.Tensor:
        return keras.ops.convert_to_tensor(weight, layer.compute_dtype)

    kernels = [tensor(cell.kernel), tensor(cell.recurrent_kernel)]
    biases = tensor(cell.bias) if cell.use_bias else kernels[0].new_zeros(kernels[0].shape[1])
    if biases.ndim == 1:
        biases = torch.stack([biases, torch.zeros_like(biases)])
    if layer.operation == "gru":  # z, r, h -> r, z, h
        *kernels, biases = (
            w.unflatten(1, (3, -1))[:, [1, 0, 2]].flatten(1) for w in (*kernels, biases)
        )
    return [*(w.T.contiguous() for w in kernels), *biases]


def read(
    layer: keras.layers.RNN, x: torch.Tensor, states: list[torch.Tensor], mask: Any
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """What `inner_loop` of Keras's RNN returns.

    Args:
        layer: whose cell it is.
        x: (n, steps, d).
        states: of the cell, (n, u) each.
        mask: (n, steps), true where a step is read; others leave the states as they are. Or None.

    Returns:
        The last output (n, u), all outputs (n, steps, u) and the states.
    """
    if layer.go_backwards:
        x, mask = x.flip(1), None if mask is None else mask.flip(1)
    x = x.to(states[0].dtype)
    if mask is None:
        outputs, states = run(layer, [x], states, batch_first=True)
        return outputs[:, -1], outputs, states

    # The steps that are read come together at the front, in packed rows.
    mask = mask.bool()
    count = mask.sum(1)  # (n,)
    front = torch.argsort(~mask, dim=1, stable=True)
    x = x.gather(1, front[..., None].expand_as(x))
    lengths = count.clamp(min=1).cpu()
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    there, back = packed.sorted_indices, packed.unsorted_indices
    outputs, new = run(layer, packed[:2], [s[there] for s in states])
    packed = PackedSequence(outputs, packed.batch_sizes, there, back)
    outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=mask.shape[1])

    # The output of a step that is not read is that of the last one read, and 0 before the first.
    so_far = mask.cumsum(1)[..., None]  # (n, steps, 1)
    outputs = outputs.gather(1, (so_far - 1).clamp(min=0).expand_as(outputs))
    shown = mask[..., None] if layer.zero_output_for_mask else so_far > 0
    outputs = torch.where(shown, outputs, 0)
    any_read = count[:, None] > 0
    states = [torch.where(any_read, a[back], b) for a, b in zip(new, states, strict=True)]
    return outputs[:, -1], outputs, states


def run(layer: Any, data: Any, states: Any, **options: Any) -> tuple[torch.Tensor, list]:
    """Outputs and states of PyTorch's operation, of sequences or packed ones."""
    operation = getattr(torch, layer.operation)
    start = tuple(s[None].contiguous() for s in states)  # (1, n, u)
    learn = torch.is_grad_enabled()
    settings = {
        "has_biases": True, "num_layers": 1, "dropout": 0.0, "train": learn, "bidirectional": False,
    }  # fmt: skip
    start = start if len(start) > 1 else start[0]
    outputs, *states = operation(*data, start, weights(layer), **settings, **options)
    return outputs, [s[0] for s in states]
