"""The transformer: one sequence turned into another by attention alone.

The encoder reads the source: every position looks at every other, layer after layer. The decoder
writes the target, token by token: each position looks at the target before it, and at all that the
encoder made of the source. Nothing is recurrent, so that in training all positions are computed at
once; sines of different lengths, added to the tokens, say where each one stands.

Papers:
    Vaswani et al. 2017, Attention is all you need (`base`, `big`).
    Xiong et al. 2020, On layer normalization in the transformer architecture (`norm_first`).
    Wu et al. 2016, Google's neural machine translation system (equation 14: the length penalty of
    beam search).

Differences:
    `small`, the default, is the same network at a size for short sequences and two cores: 2 layers
    of 128, and less dropout. `encoder` is the encoder alone, with the mean of its positions and a
    dense layer, for classes. Dropout is also of attention weights, as in the authors' code.
"""

from numbers import Integral

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.layers import decoding
from recipes.layers.transformer import SinusoidalPositions, TiedEmbedding, TransformerBlock
from recipes.training.optimizers import make_optimizer
from recipes.training.sequences import InverseSquareRoot, MaskedAccuracy, MaskedCrossentropy

KINDS = ("pairs", "text")
OBJECTIVE = ("val_loss", "min")
EPOCHS = 10


def seen(ids):
    """Where there is a token, as a mask for attention: (n, s) -> (n, 1, 1, s)."""
    return ops.not_equal(ids, decoding.PADDING)[:, None, None, :]


def stack(prefix, count, cross, sizes, dtype) -> list[TransformerBlock]:
    """The blocks of an encoder or a decoder, and the norm behind them if there is one."""
    blocks = [
        TransformerBlock(**sizes, cross=cross, name=f"{prefix}_{i}", dtype=dtype)
        for i in range(count)
    ]
    if sizes["norm_first"]:
        blocks.append(layers.LayerNormalization(epsilon=1e-5, name=f"{prefix}_norm",
                                                dtype="float32"))  # fmt: skip
    return blocks


@keras.saving.register_keras_serializable("recipes")
class Transformer(keras.Model):
    """(source (n, s), target so far (n, t)), token ids -> logits of each next token (n, t, tokens).

    Args:
        source_vocabulary_size: tokens of sources.
        target_vocabulary_size: tokens of targets.
        num_layers: blocks of the encoder, and of the decoder.
        num_heads: of each attention.
        hidden_dim: width of a position.
        intermediate_dim: units of each block's dense network.
        dropout_rate: of embeddings, attention weights and what blocks add.
        norm_first: norms before each part; False: behind each shortcut.
        shared_vocabulary: one table of tokens for sources and targets.
        target_length: most tokens that are written.
        tokenizers: configurations for "source" and "target"; None: ids alone.
        dtype: policy of all layers.
    """

    def __init__(self, source_vocabulary_size, target_vocabulary_size, num_layers, num_heads,
                 hidden_dim, intermediate_dim, dropout_rate=0.1, norm_first=False,
                 shared_vocabulary=True, target_length=64, tokenizers=None, dtype=None,
                 **kwargs):  # fmt: skip
        self.numbers = {
            "source_vocabulary_size": source_vocabulary_size,
            "target_vocabulary_size": target_vocabulary_size, "num_layers": num_layers,
            "num_heads": num_heads, "hidden_dim": hidden_dim, "intermediate_dim": intermediate_dim,
            "dropout_rate": dropout_rate, "norm_first": norm_first,
            "shared_vocabulary": shared_vocabulary, "target_length": target_length,
        }  # fmt: skip
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        sizes = {"num_heads": num_heads, "intermediate_dim": intermediate_dim,
                 "norm_first": norm_first, "dropout_rate": dropout_rate}  # fmt: skip

        def table(tokens, name):
            normal = keras.initializers.RandomNormal(stddev=hidden_dim**-0.5)
            return TiedEmbedding(tokens, hidden_dim, normal, name=name, dtype=policy)

        target_table = table(target_vocabulary_size, "tokens")
        source_table = target_table if shared_vocabulary else (
            table(source_vocabulary_size, "source_tokens"))  # fmt: skip
        positions = SinusoidalPositions(name="positions", dtype=policy)
        dropout = layers.Dropout(dropout_rate, dtype=policy) if dropout_rate else None
        encoder = stack("encoder", num_layers, False, sizes, policy)
        decoder = stack("decoder", num_layers, True, sizes, policy)

        def begin(ids, table, start=0):
            x = positions(table(ids) * hidden_dim**0.5, start=start)
            return x if dropout is None else dropout(x)

        source = keras.Input((None,), dtype="int32", name="source")
        target = keras.Input((None,), dtype="int32", name="target")
        mask = seen(source)
        memory = begin(source, source_table)
        for layer in encoder:
            block = isinstance(layer, TransformerBlock)
            memory = layer(memory, attention_mask=mask) if block else layer(memory)
        x = begin(target, target_table)
        for layer in decoder:
            block = isinstance(layer, TransformerBlock)
            given = {"memory": memory, "memory_mask": mask, "causal": True} if block else {}
            x = layer(x, **given)
        super().__init__([source, target], target_table(x, reverse=True), **kwargs)
        self.table, self.source_table, self.positions = target_table, source_table, positions
        self.encoder, self.decoder = encoder, decoder
        self.policy, self.tokenizers = policy, tokenizers
        self.writers = {}

    def get_config(self):
        """The constructor's arguments."""
        policy = keras.dtype_policies.serialize(self.policy)
        made = {**self.numbers, "tokenizers": self.tokenizers, "dtype": policy}
        return {"name": self.name, **made}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model of a configuration."""
        return cls(**config)

    @property
    def blocks(self) -> list[TransformerBlock]:
        """Those of the decoder."""
        return [layer for layer in self.decoder if isinstance(layer, TransformerBlock)]

    def begin(self, ids, table, start=0):
        """Tokens to vectors with their positions."""
        return self.positions(table(ids) * self.numbers["hidden_dim"] ** 0.5, start=start)

    def read(self, source):
        """What the decoder looks at: keys and values of each block's memory, and the mask."""
        mask, x = seen(source), self.begin(source, self.source_table)
        for layer in self.encoder:
            block = isinstance(layer, TransformerBlock)
            x = layer(x, attention_mask=mask) if block else layer(x)
        return [block.memory_attention.remember(x) for block in self.blocks], mask

    def first_states(self, memory):
        """Empty caches of keys and values, one for each block."""
        count, length = ops.shape(memory[1])[0], self.numbers["target_length"]
        return [block.attention.empty_cache(count, length) for block in self.blocks]

    def advance(self, ids, memory, states, start):
        """Logits of what follows the tokens (n, 1) at the position `start`, and the new caches."""
        (memories, mask), x, new = memory, self.begin(ids, self.table, start), []
        for layer in self.decoder:
            if isinstance(layer, TransformerBlock):
                i = len(new)
                x, cache = layer(x, memory=memories[i], memory_mask=mask, cache=states[i],
                                 start=start)  # fmt: skip
                new.append(cache)
            else:
                x = layer(x)
        return self.table(x, reverse=True)[:, 0], new

    generate = decoding.generate

    def attention_weights(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """How much each target position looks at each source position, (n, layers, heads, t, s).

        Args:
            source: ids (n, s).
            target: ids (n, t), from the start token on.
        """
        mask, memory = seen(source), self.begin(source, self.source_table)
        for layer in self.encoder:
            block = isinstance(layer, TransformerBlock)
            memory = layer(memory, attention_mask=mask) if block else layer(memory)
        x, found = self.begin(target, self.table), []
        for block in self.blocks:
            found.append(ops.convert_to_numpy(block.memory_weights(x, memory, mask)))
            x = block(x, memory=memory, memory_mask=mask, causal=True)
        return np.stack(found, axis=1)


@keras.saving.register_keras_serializable("recipes")
class EncoderClassifier(keras.Model):
    """Token ids (n, t), 0 where padded -> logits of classes (n, num_classes), float32.

    Args:
        vocabulary_size: tokens.
        num_classes: logits.
        num_layers: blocks.
        num_heads: of each attention.
        hidden_dim: width of a position.
        intermediate_dim: units of each block's dense network.
        dropout_rate: of embeddings, attention weights, what blocks add, and the mean.
        norm_first: norms before each part; False: behind each shortcut.
        dtype: policy of all layers.
    """

    def __init__(self, vocabulary_size, num_classes, num_layers, num_heads, hidden_dim,
                 intermediate_dim, dropout_rate=0.1, norm_first=False, dtype=None,
                 **kwargs):  # fmt: skip
        self.numbers = {
            "vocabulary_size": vocabulary_size, "num_classes": num_classes,
            "num_layers": num_layers, "num_heads": num_heads, "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim, "dropout_rate": dropout_rate,
            "norm_first": norm_first,
        }  # fmt: skip
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        sizes = {"num_heads": num_heads, "intermediate_dim": intermediate_dim,
                 "norm_first": norm_first, "dropout_rate": dropout_rate}  # fmt: skip
        ids = keras.Input((None,), dtype="int32", name="ids")
        mask = seen(ids)
        normal = keras.initializers.RandomNormal(stddev=hidden_dim**-0.5)
        x = layers.Embedding(vocabulary_size, hidden_dim, normal, name="tokens", dtype=policy)(ids)
        x = SinusoidalPositions(name="positions", dtype=policy)(x * hidden_dim**0.5)
        x = layers.Dropout(dropout_rate, dtype=policy)(x) if dropout_rate else x
        for layer in stack("encoder", num_layers, False, sizes, policy):
            block = isinstance(layer, TransformerBlock)
            x = layer(x, attention_mask=mask) if block else layer(x)
        there = ops.cast(ops.not_equal(ids, decoding.PADDING), "float32")[:, :, None]
        total = ops.sum(ops.cast(x, "float32") * there, axis=1)
        x = total / ops.maximum(ops.sum(there, axis=1), 1.0)  # the mean of what is no padding
        x = layers.Dropout(dropout_rate, dtype="float32")(x) if dropout_rate else x
        logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
        super().__init__(ids, logits, **kwargs)
        self.policy = policy

    def get_config(self):
        """The constructor's arguments."""
        policy = keras.dtype_policies.serialize(self.policy)
        return {"name": self.name, **self.numbers, "dtype": policy}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model of a configuration."""
        return cls(**config)


VARIANTS = {
    "small": {},
    "encoder": {"num_classes": 14, "vocabulary_size": 258, "warmup_steps": 400},
    "base": {"num_layers": 6, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 2048,
             "dropout_rate": 0.1, "label_smoothing": 0.1, "warmup_steps": 4000,
             "source_vocabulary_size": 37000, "target_vocabulary_size": 37000,
             "target_length": 256},
    "big": {"num_layers": 6, "num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096,
            "dropout_rate": 0.3, "label_smoothing": 0.1, "warmup_steps": 4000,
            "source_vocabulary_size": 37000, "target_vocabulary_size": 37000,
            "target_length": 256},
    "tiny": {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64,
             "dropout_rate": 0.0, "warmup_steps": 100},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "small",
    *,
    source_vocabulary_size: int = 260,
    target_vocabulary_size: int = 260,
    source_length: int | None = None,
    target_length: int = 11,
    tokenizers: dict | None = None,
    num_classes: int | None = None,
    vocabulary_size: int | None = None,
    sequence_length: int | None = None,
    num_layers: int = 2,
    num_heads: int = 4,
    hidden_dim: int = 128,
    intermediate_dim: int = 512,
    dropout_rate: float = 0.1,
    norm_first: bool = False,
    shared_vocabulary: bool = True,
    label_smoothing: float = 0.0,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float | None = None,
    warmup_steps: int = 1000,
    beta_2: float = 0.98,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `Transformer`, or, with `num_classes`, an `EncoderClassifier`.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        source_vocabulary_size: tokens of sources.
        target_vocabulary_size: tokens of targets.
        source_length: of the data's sources; the network takes any.
        target_length: most tokens that `generate` writes, the end included.
        tokenizers: configurations for "source" and "target", which `generate` needs for texts.
        num_classes: of texts: the encoder alone classifies them; None: there is a decoder.
        vocabulary_size: tokens of texts that are classified.
        sequence_length: of the data's texts; the network takes any.
        num_layers: blocks of the encoder, and of the decoder.
        num_heads: of each attention; divides `hidden_dim`.
        hidden_dim: width of a position.
        intermediate_dim: units of each block's dense network.
        dropout_rate: of embeddings, attention weights and what blocks add.
        norm_first: norms before each part, and one behind all; False: behind each shortcut.
        shared_vocabulary: one table of tokens for sources, targets and logits; False: one for
            sources, one for the others.
        label_smoothing: share of the target's probability that is spread over all tokens.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule; None: the paper's, which rises for `warmup_steps` and
            then falls with the root of the steps (equation 3).
        warmup_steps: see there.
        beta_2: of "adam" and "adamw".
        seed: of the initial weights and of dropout.

    Raises:
        ValueError: an unknown variant, argument or value, or arguments that exclude each other.
    """
    wanted = f"must be a multiple of num_heads={num_heads}"
    check(hidden_dim % num_heads == 0, "hidden_dim", hidden_dim, wanted)
    for name, value in (("norm_first", norm_first), ("shared_vocabulary", shared_vocabulary)):
        check(isinstance(value, bool), name, value, "must be True or False")
    ok = isinstance(label_smoothing, int | float) and 0 <= label_smoothing < 1
    check(ok, "label_smoothing", label_smoothing, "must be a number in [0, 1)")
    same = source_vocabulary_size == target_vocabulary_size or not shared_vocabulary
    wanted = "needs source_vocabulary_size and target_vocabulary_size to be equal"
    check(same, "shared_vocabulary", shared_vocabulary, wanted)
    whole = isinstance(warmup_steps, Integral) and warmup_steps >= 1
    check(whole, "warmup_steps", warmup_steps, "must be a positive integer")
    sizes = (num_layers, num_heads, hidden_dim, intermediate_dim, dropout_rate, norm_first)
    if num_classes is not None:
        wanted = "a classifier needs the number of its tokens"
        check(vocabulary_size is not None, "vocabulary_size", None, wanted)
        model = EncoderClassifier(vocabulary_size, num_classes, *sizes,
                                  name=f"transformer_{variant}")  # fmt: skip
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy"]
    else:
        model = Transformer(
            source_vocabulary_size, target_vocabulary_size, *sizes, shared_vocabulary,
            target_length, tokenizers, name=f"transformer_{variant}",
        )  # fmt: skip
        loss = MaskedCrossentropy(label_smoothing)
        metrics = [MaskedAccuracy(), MaskedAccuracy(whole=True)]
    rate = InverseSquareRoot(hidden_dim, warmup_steps) if learning_rate is None else learning_rate
    model.compile(optimizer=make_optimizer(optimizer, rate, beta_2=beta_2, epsilon=1e-9),
                  loss=loss, metrics=metrics)  # fmt: skip
    return model


def load_data(source: object = "dates", *, batch_size: int = 64, seed: int = 0, **options):
    """Dates in five languages to ISO 8601, files or lists of pairs, or texts with classes.

    See `recipes.data.pairs.load` and `recipes.data.text.load` for all sources and options. The
    default `level` of dates is "bytes", whose vocabulary is always the same.

    Returns:
        `Data` of ((source, target_in), target_out), token ids int32, or of ids and labels.
    """
    options = {"level": "bytes", **options} if source in ("dates", "languages") else options
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    width = hp.Choice("hidden_dim", [64, 128, 256, 512], default=128)
    return {
        "num_layers": hp.Int("num_layers", 1, 6, default=2),
        "hidden_dim": width,
        "intermediate_dim": width * hp.Choice("expansion", [2, 4], default=4),
        "num_heads": hp.Choice("num_heads", [2, 4, 8], default=4),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.3, step=0.1, default=0.1),
        "warmup_steps": hp.Choice("warmup_steps", [250, 500, 1000, 2000, 4000], default=1000),
        "batch_size": hp.Choice("batch_size", [32, 64, 128], default=64),
    }


def pictures(model: keras.Model, data) -> dict:
    """What a run shows: confusions of a classifier; else who looked where, and what was written."""
    from recipes.reports import plots

    if data.class_names is not None:
        part = data.test
        logits = model.predict(part.transform(part.x[part.indices[:10_000]]), verbose=0)
        truth = part.y[part.indices[:10_000]]
        return {"confusion_matrix": plots.confusion_matrix(truth, logits.argmax(1),
                                                           data.class_names)}  # fmt: skip
    (source, target), truth = data.test.sample(12)
    made = model.generate(source)
    tokenizer = data.transform
    rows, values = [], []
    for ids, right, found in zip(source, tokenizer.decode(truth), tokenizer.decode(made),
                                 strict=True):  # fmt: skip
        rows += [
            tokenizer.source.decode(ids),
            " > ",
            found,
            "" if found == right else f" ({right})",
        ]
        rows.append("\n")
        values += [0.0, 0.0, 0.0 if found == right else 6.0, 0.0, 0.0]
    n, m = (int((part[0] != decoding.PADDING).sum()) for part in (source, target))
    weights = model.attention_weights(source[:1, :n], target[:1, :m])[0]
    asked = [tokenizer.target.decode([i]) for i in truth[0, :m]]
    seen_tokens = [tokenizer.source.decode([i]) for i in source[0, :n]]
    return {
        "written": plots.coloured_texts({"test part: source > target": (rows, values)}),
        "attention": plots.attention(weights, asked, seen_tokens),
    }
