"""Attention in several heads: masks, additive biases, a memory, a cache of keys and values.

Every position asks (query), is asked (key) and answers (value):
Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017, equation 1).
"""

import math
from typing import Any

import keras
from keras import layers, ops


def attend(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    dropout: keras.Layer | None = None,
    scale: float | None = None,
    return_weights: bool = False,
) -> Any:
    """softmax(scale q k^T + bias) v, head by head; the softmax is float32.

    Where nothing speaks against it, Keras's fused operation does the work, which is flash
    attention on GPUs that have it: that needs no bias, no dropout and no weights to return.

    Args:
        q: queries (n, t, heads, d).
        k: keys (n, s, heads, d).
        v: values (n, s, heads, d_v).
        mask: booleans that spread to (n, heads, t, s): where a query may look.
        bias: added to the scores, spreads to (n, heads, t, s).
        causal: query i looks at keys 0 .. i only.
        dropout: applied to the weights; None outside of training.
        scale: default 1 / sqrt(d).
        return_weights: give the weights (n, heads, t, s) too.

    Returns:
        (n, t, heads, d_v), or a pair with the weights.
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    if bias is None and dropout is None and not return_weights:
        return ops.dot_product_attention(q, k, v, mask=mask, scale=scale, is_causal=causal)
    scores = ops.cast(ops.einsum("nqhd,nkhd->nhqk", q, k), "float32") * scale
    scores = scores if bias is None else scores + ops.cast(bias, "float32")
    if causal:
        visible = causal_mask(ops.shape(q)[1], ops.shape(k)[1])
        mask = visible if mask is None else ops.logical_and(mask, visible)
    if mask is not None:
        scores = ops.where(mask, scores, -1e9)
    weights = ops.softmax(scores)
    seen = weights if dropout is None else dropout(weights, training=True)
    found = ops.einsum("nhqk,nkhd->nqhd", ops.cast(seen, v.dtype), v)
    return (found, weights) if return_weights else found


def causal_mask(queries: Any, keys: Any, start: Any = 0) -> Any:
    """Where query i, at position start + i, sees key j: j <= start + i; (queries, keys)."""
    return ops.arange(keys)[None, :] <= start + ops.arange(queries)[:, None]


@keras.saving.register_keras_serializable("recipes")
class MultiHeadAttention(layers.Layer):
    """Attention of x to itself, or to a memory: (n, t, width) -> (n, t, width).

    Queries, keys and values of a position come from one product: weights "qkv" (width, 3 heads
    head_dim), or "q" and, of the memory, "kv". Weights "out" lead back to the width.

    Args:
        num_heads: heads.
        head_dim: numbers of a head; default width / num_heads.
        cross: keys and values are the memory's.
        dropout_rate: of the weights, in training.
        use_bias: of all projections.
        kernel_initializer: of them.
        output_initializer: of the last one; None: the same.
    """

    def __init__(self, num_heads, head_dim=None, cross=False, dropout_rate=0.0, use_bias=True,
                 kernel_initializer="glorot_uniform", output_initializer=None,
                 **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.num_heads, self.head_dim, self.cross = num_heads, head_dim, cross
        self.dropout_rate, self.use_bias = dropout_rate, use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self.dropout = layers.Dropout(dropout_rate, dtype="float32") if dropout_rate else None

    def build(self, x_shape, memory_shape=None):
        """Make the weights."""
        width = x_shape[-1]
        self.size = self.head_dim or width // self.num_heads
        inner = self.num_heads * self.size

        def dense(units, name, inputs, initializer=self.kernel_initializer):
            made = layers.Dense(
                units, use_bias=self.use_bias, kernel_initializer=_fresh(initializer), name=name,
                dtype=self.dtype_policy,
            )  # fmt: skip
            made.build((None, None, inputs))
            return made

        if self.cross:
            self.q = dense(inner, "q", width)
            self.kv = dense(2 * inner, "kv", memory_shape[-1])
        else:
            self.qkv = dense(3 * inner, "qkv", width)
        last = self.output_initializer or self.kernel_initializer
        self.out = dense(width, "out", inner, last)

    def heads(self, x: Any, parts: int) -> list:
        """(n, t, parts heads d) -> parts tensors (n, t, heads, d)."""
        x = ops.reshape(x, (-1, ops.shape(x)[1], parts, self.num_heads, self.size))
        return [x[:, :, i] for i in range(parts)]

    def remember(self, memory: Any) -> tuple:
        """Keys and values of a memory (n, s, width), to look at many times."""
        return tuple(self.heads(self.kv(memory), 2))

    def call(self, x, memory=None, attention_mask=None, bias=None, causal=False, cache=None,
             start=None, training=False, return_weights=False):  # fmt: skip
        """What each position of x finds.

        Args:
            x: (n, t, width).
            memory: (n, s, memory's width), or what `remember` made of it; for `cross` alone.
            attention_mask: the `mask` of `attend`.
            bias: likewise.
            causal: likewise.
            cache: keys and values (n, s, heads, d) of all positions, filled in as they come.
            start: position of the first of x in the cache: what lies behind x is not seen.
            training: whether weights drop out.
            return_weights: give the weights (n, heads, t, s) too.

        Returns:
            (n, t, width); with `cache` a pair with the new cache, with `return_weights` a pair
            with the weights.
        """
        mask = attention_mask
        if self.cross:
            (q,) = self.heads(self.q(x), 1)
            k, v = memory if isinstance(memory, tuple | list) else self.remember(memory)
        else:
            q, k, v = self.heads(self.qkv(x), 3)
        if cache is not None:
            begin = (0, start, 0, 0)
            k, v = (ops.slice_update(old, begin, ops.cast(new, old.dtype))
                    for old, new in zip(cache, (k, v), strict=True))  # fmt: skip
            cache = (k, v)
            visible = causal_mask(ops.shape(q)[1], ops.shape(k)[1], start)
            mask = visible if mask is None else ops.logical_and(mask, visible)
            mask = ops.reshape(mask, (1,) * (4 - len(mask.shape)) + tuple(mask.shape))
            k, v = (ops.cast(part, q.dtype) for part in (k, v))
        dropout = self.dropout if training else None
        found = attend(q, k, v, mask, bias, causal and cache is None, dropout,
                       return_weights=return_weights)  # fmt: skip
        found, weights = found if return_weights else (found, None)
        found = self.out(ops.reshape(found, (-1, ops.shape(x)[1], self.num_heads * self.size)))
        if return_weights:
            return found, weights
        return found if cache is None else (found, cache)

    def empty_cache(self, count: int, length: int) -> tuple:
        """Keys and values for `length` positions of `count` sequences, all zero."""
        shape = (count, length, self.num_heads, self.size)
        return ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)

    def compute_output_spec(self, x, *args, return_weights=False, **kwargs):
        """Of the shape and the dtype that x has."""
        return keras.KerasTensor(x.shape, self.compute_dtype)

    def get_config(self):
        """The constructor's arguments."""
        names = ("num_heads", "head_dim", "cross", "dropout_rate", "use_bias")
        made = {name: getattr(self, name) for name in names}
        for name in ("kernel_initializer", "output_initializer"):
            made[name] = keras.initializers.serialize(getattr(self, name))
        return {**super().get_config(), **made}


def _fresh(initializer: keras.initializers.Initializer) -> keras.initializers.Initializer:
    """A copy with a seed of its own: one initializer gives the same to equal shapes."""
    config = initializer.get_config()
    return type(initializer).from_config({**config, "seed": None} if "seed" in config else config)
