"""The blocks of transformers: attention and a dense network for each position, with shortcuts."""

import keras
import numpy as np
from keras import layers, ops

from recipes.layers.attention import MultiHeadAttention


def gelu_tanh(x):
    """GELU in the approximation that GPT uses (Hendrycks & Gimpel 2016, section 2)."""
    return ops.gelu(x, approximate=True)


ACTIVATIONS = {"gelu_tanh": gelu_tanh}  # beside Keras's own names


@keras.saving.register_keras_serializable("recipes")
class TransformerBlock(layers.Layer):
    """Self-attention, attention to a memory if any, and two dense layers: (n, t, width) -> same.

    Each part f has a shortcut: norm(x + f(x)), as in Vaswani et al. 2017, or, with `norm_first`,
    x + f(norm(x)), which trains without a warm-up (Xiong et al. 2020).

    Args:
        num_heads: of the attention.
        intermediate_dim: units between the dense layers.
        cross: whether it looks at a memory as well.
        activation: between the dense layers: a name of Keras's, or "gelu_tanh".
        norm_first: see above.
        dropout_rate: of attention weights and of what each part adds.
        use_bias: of projections, dense layers and norms.
        epsilon: of the norms.
        kernel_initializer: of all matrices.
        output_initializer: of those whose result is added to the shortcut; None: the same.
    """

    def __init__(self, num_heads, intermediate_dim, cross=False, activation="relu",
                 norm_first=False, dropout_rate=0.1, use_bias=True, epsilon=1e-5,
                 kernel_initializer="glorot_uniform", output_initializer=None,
                 **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.num_heads, self.intermediate_dim, self.cross = num_heads, intermediate_dim, cross
        self.activation, self.norm_first, self.epsilon = activation, norm_first, epsilon
        self.dropout_rate, self.use_bias = dropout_rate, use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self.dropout = layers.Dropout(dropout_rate) if dropout_rate else None

    def build(self, x_shape, memory_shape=None):
        """Make the weights."""
        initial = [keras.initializers.serialize(i)
                   for i in (self.kernel_initializer, self.output_initializer)]  # fmt: skip
        last = initial[1] or initial[0]
        common = {"dtype": self.dtype_policy, "use_bias": self.use_bias}
        heads = {"num_heads": self.num_heads, "dropout_rate": self.dropout_rate, **common,
                 "kernel_initializer": initial[0], "output_initializer": last}  # fmt: skip

        def norm(name):
            made = layers.LayerNormalization(
                epsilon=self.epsilon, center=self.use_bias, dtype="float32", name=name
            )
            made.build(x_shape)
            return made

        self.norm, self.attention = norm("norm"), MultiHeadAttention(**heads, name="attention")
        self.attention.build(x_shape)
        if self.cross:
            self.memory_norm = norm("memory_norm")
            self.memory_attention = MultiHeadAttention(cross=True, **heads, name="memory_attention")
            self.memory_attention.build(x_shape, memory_shape)
        self.dense_norm = norm("dense_norm")
        self.up = layers.Dense(
            self.intermediate_dim, ACTIVATIONS.get(self.activation, self.activation),
            kernel_initializer=initial[0], name="up", **common,
        )  # fmt: skip
        self.down = layers.Dense(x_shape[-1], kernel_initializer=last, name="down", **common)
        self.up.build(x_shape)
        self.down.build((*x_shape[:-1], self.intermediate_dim))

    def call(self, x, memory=None, attention_mask=None, memory_mask=None, causal=False,
             cache=None, start=None, training=False):  # fmt: skip
        """(n, t, width) -> the same shape; with a cache, a pair with the new one.

        Args:
            x: (n, t, width).
            memory: (n, s, memory's width), or its keys and values (`remember`).
            attention_mask: which keys of x may be seen, spreads to (n, heads, t, t); booleans.
            memory_mask: likewise of the memory.
            causal: no position sees later ones.
            cache: of `empty_cache`; x then are the positions from `start` on.
            start: see there.
            training: whether there is dropout.
        """

        def part(function, norm, x):
            found = function(self.cast(norm(x)) if self.norm_first else x)
            found = found if self.dropout is None else self.dropout(found, training=training)
            return x + found if self.norm_first else self.cast(norm(x + found))

        def look_back(x):
            return self.memory_attention(
                x, memory=memory, attention_mask=memory_mask, training=training
            )

        def look(x):
            nonlocal cache
            found = self.attention(
                x, attention_mask=attention_mask, causal=causal, cache=cache, start=start,
                training=training,
            )  # fmt: skip
            found, cache = (found, None) if cache is None else found
            return found

        cached = cache is not None
        x = part(look, self.norm, x)
        if self.cross:
            x = part(look_back, self.memory_norm, x)
        x = part(lambda x: self.down(self.up(x)), self.dense_norm, x)
        return (x, cache) if cached else x

    def memory_weights(self, x, memory, memory_mask=None):
        """How much each of x, which looks at itself causally first, looks at each of the memory.

        Returns:
            (n, heads, t, s), float32.
        """
        h = self.attention(self.cast(self.norm(x)) if self.norm_first else x, causal=True)
        h = x + h if self.norm_first else self.cast(self.norm(x + h))
        q = self.cast(self.memory_norm(h)) if self.norm_first else h
        return self.memory_attention(
            q, memory=memory, attention_mask=memory_mask, return_weights=True
        )[1]

    def cast(self, x):
        """From the norms' float32 to the dtype that the block computes in."""
        return ops.cast(x, self.compute_dtype)

    def compute_output_spec(self, x, *args, **kwargs):
        """Of the shape and the dtype that x has."""
        return keras.KerasTensor(x.shape, self.compute_dtype)

    def get_config(self):
        """The constructor's arguments."""
        names = ("num_heads", "intermediate_dim", "cross", "activation", "norm_first",
                 "dropout_rate", "use_bias", "epsilon")  # fmt: skip
        made = {name: getattr(self, name) for name in names}
        for name in ("kernel_initializer", "output_initializer"):
            made[name] = keras.initializers.serialize(getattr(self, name))
        return {**super().get_config(), **made}


@keras.saving.register_keras_serializable("recipes")
class TiedEmbedding(layers.Embedding):
    """Token ids (n, t) -> vectors (n, t, width), and back: vectors -> logits, float32."""

    def call(self, inputs, reverse=False):
        """ids -> vectors; with `reverse`, vectors -> their products with every token's."""
        if not reverse:
            return super().call(inputs)
        table = ops.cast(ops.convert_to_tensor(self.embeddings), self.compute_dtype)
        found = ops.matmul(ops.cast(inputs, self.compute_dtype), ops.transpose(table))
        return ops.cast(found, "float32")

    def compute_output_spec(self, inputs, reverse=False):
        """(n, t, width), or (n, t, tokens) in float32."""
        if not reverse:
            return keras.KerasTensor((*inputs.shape, self.output_dim), self.compute_dtype)
        return keras.KerasTensor((*inputs.shape[:-1], self.input_dim), "float32")


@keras.saving.register_keras_serializable("recipes")
class PositionEmbedding(layers.Layer):
    """Adds a learnt vector for each position: (n, t, width) -> the same.

    Args:
        sequence_length: positions that there are.
        initializer: of the vectors.
    """

    def __init__(self, sequence_length, initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.sequence_length = sequence_length
        self.initializer = keras.initializers.get(initializer)

    def build(self, x_shape):
        """Make the vectors."""
        self.positions = self.add_weight(
            (self.sequence_length, x_shape[-1]), self.initializer, name="positions"
        )

    def call(self, x, start=0):
        """x at the positions from `start` on."""
        places = start + ops.arange(ops.shape(x)[1])
        return x + ops.cast(ops.take(self.positions, places, axis=0), x.dtype)

    def compute_output_spec(self, x, start=0):
        """As x."""
        return keras.KerasTensor(x.shape, self.compute_dtype)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "sequence_length": self.sequence_length,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable("recipes")
class SinusoidalPositions(layers.Layer):
    """Adds sines and cosines of each position: (n, t, width) -> the same.

    PE(p, 2i) = sin(p / 10000^(2i / width)), PE(p, 2i + 1) = cos of the same (Vaswani et al. 2017,
    section 3.5).
    """

    def call(self, x, start=0):
        """x at the positions from `start` on."""
        width = x.shape[-1]
        rates = 10_000.0 ** (-2 * (np.arange(width) // 2) / width)
        places = ops.cast(start + ops.arange(ops.shape(x)[1]), "float32")[:, None]
        angles = places * rates.astype("float32")
        even = (np.arange(width) % 2 == 0)[None]
        return x + ops.cast(ops.where(even, ops.sin(angles), ops.cos(angles)), x.dtype)

    def compute_output_spec(self, x, start=0):
        """As x."""
        return keras.KerasTensor(x.shape, self.compute_dtype)

    def get_config(self):
        """Nothing of its own; Keras wants it said where a dtype policy is given."""
        return super().get_config()
