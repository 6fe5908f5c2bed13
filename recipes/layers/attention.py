"""Attention: in several heads, or by one of several scores, softly or at one place.

In heads every position asks (query), is asked (key) and answers (value), with masks, additive
biases, a memory, and a cache of keys and values:
Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017, equation 1).
"""

import math
from typing import Any

import keras
from keras import layers, ops

from recipes.training.precision import devices


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
    if bias is None and dropout is None and not return_weights and _has_fused(q.dtype):
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


def _has_fused(dtype: Any) -> bool:
    """Whether Keras's fused operation works here: on CPUs JAX's has no float16."""
    if keras.backend.backend() != "jax" or keras.backend.standardize_dtype(dtype) != "float16":
        return True
    return devices()[0].kind != "cpu"


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


def shares(scores, there):
    """softmax over the places that are no padding, float32: (n, t, s), there (n, s)."""
    return ops.softmax(ops.where(there[:, None], ops.cast(scores, "float32"), -1e9))


def hard_look(a, noise):
    """Which place each question looks at, as weights: a (n, t, s) -> (n, t, s).

    Args:
        a: shares of the places.
        noise: random numbers (n, t, 2) in [0, 1): the place, and whether to look softly after all;
            None takes the likeliest place.

    Returns:
        Weights, log p of the look and the entropy of `a`, both (n, t).
    """
    ends = ops.cumsum(a, axis=-1)
    if noise is None:
        place = ops.argmax(a, axis=-1)
    else:
        drawn = noise[..., :1] * ends[..., -1:]
        place = ops.sum(ops.cast(ends <= drawn, "int32"), axis=-1)
    looked = ops.one_hot(ops.minimum(place, ops.shape(a)[-1] - 1), ops.shape(a)[-1])
    log_a = ops.log(ops.maximum(a, 1e-9))
    log_p = ops.sum(looked * log_a, axis=-1)
    if noise is not None:
        soft = ops.cast(noise[..., 1] < 0.5, "float32")
        looked = soft[..., None] * a + (1 - soft[..., None]) * looked
        log_p = (1 - soft) * log_p
    return looked, log_p, -ops.sum(a * log_a, axis=-1)


@keras.saving.register_keras_serializable("recipes")
class Attention(layers.Layer):
    """Questions (n, t, d) to a memory (n, s, m) -> what they find, and where.

        additive, concat    v . tanh(W q + U h): [q, h] through one matrix is the sum of two
        dot                 q . h
        general             q . W h, bilinear
        scaled_dot          q . h / sqrt(d)
        multi_head          scaled_dot in heads, of projections of q and h, and one back

    Args:
        score: one of these.
        units: width of additive attention's hidden layer.
        num_heads: of "multi_head".
        hard: look at one place, drawn in training, the likeliest at other times.
    """

    def __init__(self, score="additive", units=64, num_heads=4, hard=False, **kwargs):
        super().__init__(**kwargs)
        self.score, self.units, self.num_heads, self.hard = score, units, num_heads, hard

    def build(self, question_shape, memory_shape):
        """Make the score's weights."""
        d, m = question_shape[-1], memory_shape[-1]

        def dense(units, inputs, name):
            made = layers.Dense(units, use_bias=False, name=name, dtype=self.dtype_policy)
            made.build((None, None, inputs))
            return made

        if self.score in ("additive", "concat"):
            self.of_question = dense(self.units, d, "of_question")
            self.of_memory = dense(self.units, m, "of_memory")
            self.v = dense(1, self.units, "v")
        elif self.score == "general":
            self.of_memory = dense(d, m, "of_memory")
        elif self.score == "multi_head":
            self.heads = MultiHeadAttention(self.num_heads, cross=True, use_bias=False,
                                            name="heads", dtype=self.dtype_policy)  # fmt: skip
            self.heads.build((None, None, d), (None, None, m))

    def prepare(self, memory):
        """What of the memory is the same for every question."""
        if self.score == "multi_head":
            return self.heads.remember(memory)
        return memory if self.score in ("dot", "scaled_dot") else self.of_memory(memory)

    def call(self, questions, memory, prepared, there, noise=None):
        """What is found.

        Args:
            questions: (n, t, d).
            memory: (n, s, m).
            prepared: what `prepare` made of it.
            there: booleans (n, s), False where padded.
            noise: of `hard_look`.

        Returns:
            What is found (n, t, m), of "multi_head" (n, t, d); the shares (n, heads, t, s),
            float32; of hard attention log p of each look and its entropy, both (n, t).
        """
        if self.score == "multi_head":
            found, a = self.heads(questions, prepared, there[:, None, None], return_weights=True)
            nothing = ops.zeros_like(a[:, 0, :, 0])
            return found, a, nothing, nothing
        if self.score in ("additive", "concat"):
            asked = self.of_question(questions)[:, :, None]
            scores = self.v(ops.tanh(asked + prepared[:, None]))[..., 0]  # (n, t, s)
        else:
            scores = ops.einsum("ntd,nsd->nts", questions, prepared)
            scores = scores * questions.shape[-1] ** -0.5 if self.score == "scaled_dot" else scores
        a = shares(scores, there)
        looked, log_p, entropy = a, ops.zeros_like(a[..., 0]), ops.zeros_like(a[..., 0])
        if self.hard:
            looked, log_p, entropy = hard_look(a, noise)
        found = ops.einsum("nts,nsm->ntm", ops.cast(looked, memory.dtype), memory)
        return found, a[:, None], log_p, entropy

    def get_config(self):
        """The constructor's arguments."""
        names = ("score", "units", "num_heads", "hard")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("recipes")
class Pooling(layers.Layer):
    """A text's own questions to its words: (n, s, m) -> (n, questions m).

    a = softmax_j v_k . tanh(W h_j + b) for each question k (Yang et al. 2016, equations 5 to 7; Lin
    et al. 2017, equation 6). Looks at different places are asked for by adding |A A^T - I|^2 to
    the loss (Lin et al., equation 8).

    Args:
        units: of the hidden layer.
        num_questions: k.
        hard: as of `Attention`.
        penalty: weight of |A A^T - I|^2.
    """

    def __init__(self, units, num_questions=1, hard=False, penalty=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.num_questions = units, num_questions
        self.hard, self.penalty = hard, penalty
        self.supports_masking = True
        self.seeds = keras.random.SeedGenerator()

    def build(self, memory_shape, there_shape=None):
        """Make the weights."""
        self.hidden = layers.Dense(self.units, "tanh", name="hidden", dtype=self.dtype_policy)
        self.hidden.build(memory_shape)
        self.v = layers.Dense(self.num_questions, use_bias=False, name="v", dtype=self.dtype_policy)
        self.v.build((*memory_shape[:-1], self.units))

    def compute_mask(self, *arguments, **masks):
        """None: no words are left."""

    def call(self, memory, there, training=False):
        """What is found; shares (n, questions, s); log p and entropy of looks (n, questions)."""
        scores = ops.transpose(self.v(self.hidden(memory)), (0, 2, 1))
        a = shares(scores, there)
        looked, log_p, entropy = a, ops.zeros_like(a[..., 0]), ops.zeros_like(a[..., 0])
        if self.hard:
            shape = (ops.shape(a)[0], self.num_questions, 2)
            noise = keras.random.uniform(shape, seed=self.seeds) if training else None
            looked, log_p, entropy = hard_look(a, noise)
        if self.penalty and training:
            same = ops.einsum("nks,nls->nkl", a, a) - ops.eye(self.num_questions)
            self.add_loss(self.penalty * ops.mean(ops.sum(same**2, axis=(1, 2))))
        found = ops.einsum("nks,nsm->nkm", ops.cast(looked, memory.dtype), memory)
        found = ops.reshape(found, (-1, self.num_questions * memory.shape[-1]))
        return found, a, log_p, entropy

    def get_config(self):
        """The constructor's arguments."""
        names = ("units", "num_questions", "hard", "penalty")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
