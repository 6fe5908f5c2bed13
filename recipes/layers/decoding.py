"""Choosing the next token from logits."""

from typing import Any

from keras import ops


def choose(logits: Any, uniform: Any, temperature: Any, top_k: Any, top_p: Any) -> Any:
    """A token for each row: the same on every backend, since the random numbers are given.

    The tokens are lined up by probability, cut after `top_k` of them and where those before have
    `top_p` together, and the one is taken in whose share the random number falls.

    Args:
        logits: (n, tokens).
        uniform: random numbers in [0, 1), (n,).
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw from so many of the likeliest tokens only.
        top_p: draw from the likeliest tokens that have this probability together (Holtzman et al.
            2020).

    Returns:
        ids (n,), int32.
    """
    size = logits.shape[-1]
    values, order = ops.top_k(logits / ops.maximum(temperature, 1e-6), size)
    shares = ops.softmax(values)
    before = ops.cumsum(shares, axis=-1) - shares
    kept = ops.logical_and(ops.arange(size) < top_k, before < top_p)
    ends = ops.cumsum(ops.where(kept, shares, 0.0), axis=-1)
    place = ops.sum(ops.cast(ends <= uniform[:, None] * ends[:, -1:], "int32"), axis=-1)
    place = ops.minimum(place, ops.sum(ops.cast(kept, "int32"), axis=-1) - 1)
    return ops.cast(ops.take_along_axis(order, place[:, None], axis=-1)[:, 0], "int32")
