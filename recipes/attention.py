"""Attention: a network that looks, and chooses at what.

Without it, a recurrent network has to press all that it has read into one last state. With it, it
keeps a state h_j for each word, and each time that it needs something it asks: a score tells how
well h_j answers the question q, the softmax of the scores gives shares, and what is found is the
mean of all states by their shares:

    a_j = softmax_j score(q, h_j),    c = sum_j a_j h_j

Soft attention is that mean. Hard attention looks at one place, drawn with the probabilities a_j:
no gradient passes through a draw, so the network learns which looks paid (REINFORCE).

Two networks use it. One turns a sequence into another: its decoder asks at each step what to look
at in the source. The other classifies texts: it asks once, with a question of its own that it has
learnt; or first each sentence for its words, and then the text for its sentences.

Papers:
    Bahdanau, Cho & Bengio 2015, Neural machine translation by jointly learning to align and
    translate (`rnnsearch`: the state before a word asks, score "additive").
    Luong, Pham & Manning 2015, Effective approaches to attention-based neural machine translation
    (`luong2015`: the state after it asks, what was found goes along to the next step; scores "dot",
    "general" and "concat").
    Vaswani et al. 2017, Attention is all you need (scores "scaled_dot" and "multi_head").
    Xu et al. 2015, Show, attend and tell (`hard`; section 4.1: the baseline, the entropy, and that
    half of the examples look softly).
    Yang et al. 2016, Hierarchical attention networks for document classification (`yang2016`).
    Lin et al. 2017, A structured self-attentive sentence embedding (`lin2017`: several questions).

Differences:
    Trained by Adam; 2015's networks by Adadelta and SGD. Luong's decoder starts, as Bahdanau's,
    from a dense layer of the encoder's last state. Where Xu's reward is the whole sequence's
    log-likelihood, a look here is paid for what is written from there on, with a baseline for each
    place: the same gradient on average, with less noise. The question that a classifier asks is
    additive attention's with W q as the bias.
"""

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe, unknown
from recipes.layers import decoding
from recipes.layers.attention import Attention, MultiHeadAttention, Pooling
from recipes.layers.recurrence import GRU, LSTM
from recipes.layers.transformer import SinusoidalPositions
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import make_optimizer
from recipes.training.sequences import MaskedAccuracy, MaskedCrossentropy

KINDS = ("pairs", "text")
OBJECTIVE = ("val_loss", "min")
EPOCHS = 5

SCORES = ("additive", "dot", "general", "concat", "scaled_dot", "multi_head")
CELLS = {"gru": GRU, "lstm": LSTM}
ENCODERS = ("recurrent", "self", "words")
ENTROPY = 0.01  # weight of the entropy of hard looks, which keeps them from settling too early


@keras.saving.register_keras_serializable("recipes")
class Encoder(layers.Layer):
    """Vectors of words (n, s, d) -> a state for each (n, s, m), and the last states.

    Args:
        kind: "recurrent": in both directions, a state is what lies before and behind a word;
            "self": each word asks all words, in several heads; "words": as they are.
        units: of each direction.
        num_layers: recurrent layers.
        cell: "gru" or "lstm".
        num_heads: of "self".
    """

    def __init__(self, kind="recurrent", units=64, num_layers=1, cell="gru", num_heads=4, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.units, self.num_layers = kind, units, num_layers
        self.cell, self.num_heads = cell, num_heads
        common = {"dtype": self.dtype_policy}
        if kind == "recurrent":
            self.recurrent = [
                layers.Bidirectional(
                    CELLS[cell](
                        units, return_sequences=True, return_state=True, name=cell, **common
                    ),
                    name=f"layer_{i}", **common,
                )
                for i in range(num_layers)
            ]  # fmt: skip
        elif kind == "self":
            self.positions = SinusoidalPositions(name="positions", **common)
            self.attention = MultiHeadAttention(num_heads, name="attention", **common)
            self.norm = layers.LayerNormalization(name="norm", **common)

    def call(self, x, there):
        """States (n, s, m) and, of a recurrent one, the last layer's states on its way back."""
        states = []
        if self.kind == "recurrent":
            for layer in self.recurrent:
                x, *states = layer(x, mask=there)
            states = states[len(states) // 2 :]
        elif self.kind == "self":
            x = self.positions(x * x.shape[-1] ** 0.5, start=0)
            x = self.norm(x + self.attention(x, attention_mask=there[:, None, None]))
        return x, states

    def get_config(self):
        """The constructor's arguments."""
        names = ("kind", "units", "num_layers", "cell", "num_heads")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("recipes")
class Decoder(layers.Layer):
    """Writes: vectors of the words so far (n, t, e) and a memory -> vectors of the next (n, t, r).

    One step, with y the last word's vector, s the state and c what was found:

        ask="before" (Bahdanau)               ask="after" (Luong)
        c = attention(s, memory)              s' = cell([y, r], s)
        s' = cell([y, c], s)                  c = attention(s', memory)
        r' = maxout(W [s, y, c])              r' = tanh(W [c, s'])

    Args:
        ask: "before" or "after".
        units: of a cell.
        num_layers: cells, one above the other; the last one's state asks.
        cell: "gru" or "lstm".
        readout_dim: r.
        score: of the attention, and so are the next three.
        alignment_dim: its units.
        num_heads: likewise.
        hard: likewise.
    """

    def __init__(self, ask="before", units=64, num_layers=1, cell="gru", readout_dim=64,
                 score="additive", alignment_dim=64, num_heads=4, hard=False,
                 **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.given = {
            "ask": ask, "units": units, "num_layers": num_layers, "cell": cell,
            "readout_dim": readout_dim, "score": score, "alignment_dim": alignment_dim,
            "num_heads": num_heads, "hard": hard,
        }  # fmt: skip
        common = {"dtype": self.dtype_policy}
        self.attention = Attention(score, alignment_dim, num_heads, hard, name="attention",
                                   **common)  # fmt: skip
        kind = {"gru": layers.GRUCell, "lstm": layers.LSTMCell}[cell]
        self.cells = [kind(units, name=f"cell_{i}", **common) for i in range(num_layers)]
        # Of each cell: its state, of an LSTM also its memory, which is no tanh of anything.
        self.starts = [
            [layers.Dense(units, how, name=f"start_{i}_{part}", **common)
             for part, how in enumerate(("tanh", None)[: 1 + (cell == "lstm")])]
            for i in range(num_layers)
        ]  # fmt: skip
        width = readout_dim * (2 if ask == "before" else 1)
        self.readout = layers.Dense(width, use_bias=False, name="readout", **common)
        self.heads = num_heads if score == "multi_head" else 1
        self.seeds = keras.random.SeedGenerator()

    def build(self, y_shape, memory_shape):
        """Make the weights."""
        given, m = self.given, memory_shape["states"][-1]
        units = given["units"]
        self.attention.build((None, None, units), (None, None, m))
        found = units if given["score"] == "multi_head" else m
        x = y_shape[-1] + (found if given["ask"] == "before" else given["readout_dim"])
        for i, cell in enumerate(self.cells):
            cell.build((None, units if i else x))
        for start in self.starts:
            for dense, last in zip(start, memory_shape["last"], strict=True):
                dense.build(last)
        before = given["ask"] == "before"
        self.readout.build((None, found + units + (y_shape[-1] if before else 0)))

    def prepare(self, memory):
        """A memory ("states", "last", "there") with what the attention makes of it."""
        return {**memory, "prepared": self.attention.prepare(memory["states"])}

    def first(self, memory):
        """What there is before the first step: `steps`'s carry for one word."""
        states = [[dense(last) for dense, last in zip(start, memory["last"], strict=True)]
                  for start in self.starts]  # fmt: skip
        flat = ops.zeros_like(memory["states"][:, 0, :1])  # (n, 1)
        seen = ops.zeros_like(memory["states"][:, None, :, 0])  # (n, 1, s)
        return {
            "states": states,
            "readout": ops.repeat(flat, self.given["readout_dim"], axis=1),
            "shares": ops.cast(ops.repeat(seen, self.heads, axis=1), "float32"),
            "log_p": ops.cast(flat[:, 0], "float32"),
            "entropy": ops.cast(flat[:, 0], "float32"),
        }

    def step(self, memory, before, y, noise=None):
        """The carry after a word y (n, e)."""
        given, states = self.given, before["states"]

        def look(state):
            question = state[-1][0][:, None]
            one = None if noise is None else noise[:, None]
            found, a, log_p, entropy = self.attention(
                question, memory["states"], memory["prepared"], memory["there"], one
            )
            return found[:, 0], {"shares": a[:, :, 0], "log_p": log_p[:, 0],
                                 "entropy": entropy[:, 0]}  # fmt: skip

        if given["ask"] == "before":
            c, seen = look(states)
            x = ops.concatenate([y, c], axis=-1)
        else:
            x = ops.concatenate([y, before["readout"]], axis=-1)
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            x, state = cell(x, list(state))
            new.append(list(state) if isinstance(state, list | tuple) else [state])
        if given["ask"] == "before":
            r = self.readout(ops.concatenate([states[-1][0], y, c], axis=-1))
            r = ops.max(ops.reshape(r, (-1, given["readout_dim"], 2)), axis=-1)
        else:
            c, seen = look(new)
            r = ops.tanh(self.readout(ops.concatenate([c, x], axis=-1)))
        return {"states": new, "readout": r, **seen}

    def call(self, y, memory, training=False):
        """Of y (n, t, e) and a memory: a dictionary.

        "readout" (n, t, r), "shares" (n, heads, t, s), "log_p" and "entropy" of the looks (n, t).
        """
        noise = None
        if self.given["hard"] and training:
            shape = (ops.shape(y)[1], ops.shape(y)[0], 2)
            noise = keras.random.uniform(shape, seed=self.seeds)
        memory, words = self.prepare(memory), ops.transpose(y, (1, 0, 2))

        def step(before, each):
            new = self.step(memory, before, *each)
            return new, new

        each = (words,) if noise is None else (words, noise)
        _, found = ops.scan(step, self.first(memory), each)
        back = {"readout": (1, 0, 2), "shares": (1, 2, 0, 3), "log_p": (1, 0), "entropy": (1, 0)}
        return {name: ops.transpose(found[name], order) for name, order in back.items()}

    def compute_output_spec(self, y, memory, training=False):
        """As `call`; known without writing anything."""
        (n, t, _), s = y.shape, memory["states"].shape[1]
        looks = {"shares": (n, self.heads, t, s), "log_p": (n, t), "entropy": (n, t)}
        found = {name: keras.KerasTensor(shape, "float32") for name, shape in looks.items()}
        readout = keras.KerasTensor((n, t, self.given["readout_dim"]), self.compute_dtype)
        return {"readout": readout, **found}

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self.given}


class AttentionNetwork(keras.Model):
    """What both networks share: `look` gives logits and looks, and hard looks learn by REINFORCE.

    The graph of layers that they are made from is their picture; what runs is `look`.

    With L = log p of the right answers and a the place looked at, drawn with p(a), the gradient of
    E[L] is E[dL + (L - b) d log p(a)] for any b that does not depend on a (Xu et al. 2015, equation
    12); b is a moving average of L, one for each place in the target.
    """

    # XLA would want to know a decoder's number of steps; each batch has its own.
    xla_never = True

    def set_up(self, hard, steps):
        """What is not a layer of the graph; `steps`: most looks that follow each other."""
        self.hard = hard
        if hard:
            self.baseline = self.add_weight(shape=(steps,), initializer="zeros", trainable=False,
                                            dtype="float32", name="baseline")  # fmt: skip

    def get_config(self):
        """The constructor's arguments."""
        policy = keras.dtype_policies.serialize(self.policy)
        return {"name": self.name, **self.numbers, "dtype": policy}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model of a configuration."""
        return cls(**config)

    def call(self, inputs, training=False):
        """Logits; of hard attention in training, with its looks."""
        logits, looks = self.look(inputs, training=training)
        return {"logits": logits, **looks} if self.hard and training else logits

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of the logits, and what makes looks likelier that paid."""
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training=training)
        logits = y_pred["logits"]
        loss = super().compute_loss(x, y, logits, sample_weight, training=training)
        y, log_p = ops.cast(y, "int32"), ops.log_softmax(logits)
        of_texts = len(logits.shape) == 2
        if of_texts:
            y, log_p = y[:, None], log_p[:, None]
        real = ops.ones_like(log_p[..., 0])
        real = real if of_texts else ops.cast(ops.not_equal(y, decoding.PADDING), "float32")
        right = ops.take_along_axis(log_p, y[..., None], axis=-1)[..., 0] * real
        # What is written from here on: (n, t).
        rest = ops.stop_gradient(ops.flip(ops.cumsum(ops.flip(right, axis=1), axis=1), axis=1))
        b = self.baseline[: ops.shape(y)[1]]
        count = ops.maximum(ops.sum(real, axis=0), 1.0)
        new = ops.where(ops.any(real > 0, axis=0), ops.sum(rest * real, axis=0) / count, b)
        self.baseline.assign(ops.slice_update(self.baseline.value, (0,), 0.9 * b + 0.1 * new))
        paid = (rest - b) * y_pred["log_p"] + ENTROPY * y_pred["entropy"]
        return loss - ops.sum(paid * real) / ops.sum(real)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Of the logits."""
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, logits, sample_weight)


@keras.saving.register_keras_serializable("recipes")
class AttentionTranslator(AttentionNetwork):
    """(source (n, s), target so far (n, t)), token ids -> logits of each next token (n, t, tokens).

    Args:
        source_vocabulary_size: tokens of sources.
        target_vocabulary_size: tokens of targets.
        target_length: most tokens that are written.
        hidden_dim: numbers that a token is embedded in.
        units: of the encoder, in each direction, and of the decoder.
        num_layers: of both.
        cell: as of `Decoder`, and so are ask, score, alignment_dim, readout_dim, num_heads, hard.
        ask: see there.
        score: see there.
        alignment_dim: see there.
        readout_dim: see there.
        num_heads: see there.
        hard: see there.
        dropout_rate: of embeddings and of what the logits are made of.
        tokenizers: configurations for "source" and "target"; None: ids alone.
        dtype: policy of all layers.
    """

    def __init__(self, source_vocabulary_size, target_vocabulary_size, target_length, hidden_dim,
                 units, num_layers, cell, ask, score, alignment_dim, readout_dim, num_heads, hard,
                 dropout_rate=0.0, tokenizers=None, dtype=None, **kwargs):  # fmt: skip
        self.numbers = {
            "source_vocabulary_size": source_vocabulary_size,
            "target_vocabulary_size": target_vocabulary_size, "target_length": target_length,
            "hidden_dim": hidden_dim, "units": units, "num_layers": num_layers, "cell": cell,
            "ask": ask, "score": score, "alignment_dim": alignment_dim,
            "readout_dim": readout_dim, "num_heads": num_heads, "hard": hard,
            "dropout_rate": dropout_rate, "tokenizers": tokenizers,
        }  # fmt: skip
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        common = {"dtype": policy}
        source_table = layers.Embedding(source_vocabulary_size, hidden_dim, name="source_tokens",
                                        **common)  # fmt: skip
        table = layers.Embedding(target_vocabulary_size, hidden_dim, name="tokens", **common)
        dropout = layers.Dropout(dropout_rate, **common)
        each_way = units // 2 if score in ("dot", "scaled_dot") else units
        encoder = Encoder("recurrent", each_way, num_layers, cell, name="encoder", **common)
        decoder = Decoder(ask, units, num_layers, cell, readout_dim, score, alignment_dim,
                          num_heads, hard, name="decoder", **common)  # fmt: skip
        head = layers.Dense(target_vocabulary_size, name="logits", dtype="float32")

        source = keras.Input((None,), dtype="int32", name="source")
        target = keras.Input((None,), dtype="int32", name="target")
        there = ops.not_equal(source, decoding.PADDING)
        states, last = encoder(source_table(source), there)
        found = decoder(table(target), {"states": states, "last": last, "there": there})
        super().__init__([source, target], head(found["readout"]), **kwargs)
        self.source_table, self.table, self.dropout = source_table, table, dropout
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.policy, self.tokenizers, self.writers = policy, tokenizers, {}
        self.set_up(hard, target_length)

    def encode(self, source, training=False):
        """What the decoder looks at."""
        there = ops.not_equal(source, decoding.PADDING)
        x = self.dropout(self.source_table(source), training=training)
        states, last = self.encoder(x, there)
        return {"states": states, "last": last, "there": there}

    def look(self, inputs, training=False):
        """Logits (n, t, tokens), and the looks as `Decoder` gives them."""
        source, target = inputs
        y = self.dropout(self.table(target), training=training)
        looks = self.decoder(y, self.encode(source, training), training=training)
        readout = looks.pop("readout")
        return self.head(self.dropout(readout, training=training)), looks

    def read(self, source):
        """What the decoder looks at, prepared for many steps."""
        return self.decoder.prepare(self.encode(source))

    def first_states(self, memory):
        """The decoder's carry before the first token."""
        return self.decoder.first(memory)

    def advance(self, ids, memory, states, t):
        """Logits of what follows the tokens (n, 1), and the new carry."""
        states = self.decoder.step(memory, states, self.table(ids)[:, 0])
        return self.head(states["readout"]), states

    generate = decoding.generate

    def attention_weights(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The shares of source positions when each next target token was written, (n, heads, t, s).

        Args:
            source: ids (n, s).
            target: ids (n, t), from the start token on.
        """
        _, looks = self.look([ops.convert_to_tensor(source), ops.convert_to_tensor(target)])
        return ops.convert_to_numpy(looks["shares"])


@keras.saving.register_keras_serializable("recipes")
class AttentionClassifier(AttentionNetwork):
    """Token ids (n, words), or (n, sentences, words), 0 where padded -> logits (n, num_classes).

    Args:
        vocabulary_size: tokens.
        num_classes: logits.
        num_sentences: of a text that is read sentence by sentence; None: word by word.
        hidden_dim: numbers that a token is embedded in.
        units: of the encoders, in each direction.
        num_layers: of the encoders.
        cell: "gru" or "lstm".
        encoder: `kind` of the encoders.
        alignment_dim: units of the questions' hidden layer.
        num_questions: that are asked.
        num_heads: of an encoder "self".
        hard: as of `Pooling`, and so is penalty.
        penalty: see there.
        dropout_rate: of embeddings and of what the logits are made of.
        dtype: policy of all layers.
    """

    def __init__(self, vocabulary_size, num_classes, num_sentences, hidden_dim, units, num_layers,
                 cell, encoder, alignment_dim, num_questions, num_heads, hard, penalty=0.0,
                 dropout_rate=0.0, dtype=None, **kwargs):  # fmt: skip
        self.numbers = {
            "vocabulary_size": vocabulary_size, "num_classes": num_classes,
            "num_sentences": num_sentences, "hidden_dim": hidden_dim, "units": units,
            "num_layers": num_layers, "cell": cell, "encoder": encoder,
            "alignment_dim": alignment_dim, "num_questions": num_questions,
            "num_heads": num_heads, "hard": hard, "penalty": penalty, "dropout_rate": dropout_rate,
        }  # fmt: skip
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        common = {"dtype": policy}
        table = layers.Embedding(vocabulary_size, hidden_dim, name="tokens", **common)
        dropout = layers.Dropout(dropout_rate, **common)
        levels = [
            (Encoder(encoder, units, num_layers, cell, num_heads, name=f"{name}_encoder", **common),
             Pooling(alignment_dim, num_questions, hard, penalty, name=f"{name}_attention",
                     **common))
            for name in ("word", "sentence")[: 1 if num_sentences is None else 2]
        ]  # fmt: skip
        head = layers.Dense(num_classes, name="logits", dtype="float32")

        ids = keras.Input((None,) * (1 if num_sentences is None else 2), dtype="int32", name="ids")
        super().__init__(ids, head(self.pool(levels, table(ids), ids)[0]), **kwargs)
        self.table, self.dropout, self.head, self.policy = table, dropout, head, policy
        self.levels = levels
        self.set_up(hard, num_questions)

    @staticmethod
    def pool(levels, x, ids, training=False):
        """Vectors of words to one of the text, and the looks, level by level."""
        there, looks = ops.not_equal(ids, 0), []
        for i, (encoder, pooling) in enumerate(levels):
            whole = ops.shape(x)
            if i < len(levels) - 1:  # each sentence for itself
                x = ops.reshape(x, (-1, whole[2], x.shape[3]))
                inner = ops.reshape(there, (-1, whole[2]))
                x, *look = pooling(encoder(x, inner)[0], inner, training=training)
                x = ops.reshape(x, (-1, whole[1], x.shape[-1]))
                there = ops.any(there, axis=-1)
            else:
                x, *look = pooling(encoder(x, there)[0], there, training=training)
            looks.append(dict(zip(("shares", "log_p", "entropy"), look, strict=True)))
        return x, looks

    def look(self, inputs, training=False):
        """Logits (n, num_classes), and the looks of the last level."""
        x = self.dropout(self.table(inputs), training=training)
        x, looks = self.pool(self.levels, x, inputs, training)
        return self.head(self.dropout(x, training=training)), looks[-1]

    def attention_weights(self, ids: np.ndarray) -> np.ndarray:
        """What each word counted: ids (n, words) -> (n, words), or (n, sentences, words).

        The mean over the questions; where there are sentences, a word's share of its sentence times
        the sentence's share of the text. The sum over a text is 1.
        """
        ids = ops.convert_to_tensor(ids)
        _, looks = self.pool(self.levels, self.table(ids), ids)
        found = [ops.convert_to_numpy(look["shares"]).mean(axis=1) for look in looks]
        if len(found) == 1:
            return found[0]
        words, sentences = found
        return words.reshape(*sentences.shape, -1) * sentences[..., None]


VARIANTS = {
    "small": {},
    "hard": {"hard": True},
    "text": {
        "num_classes": 14, "vocabulary_size": 258, "cell": "lstm", "units": 128, "hidden_dim": 128,
        "alignment_dim": 128, "dropout_rate": 0.5,
    },
    "self": {
        "num_classes": 14, "vocabulary_size": 258, "encoder": "self", "hidden_dim": 128,
        "dropout_rate": 0.3,
    },
    "rnnsearch": {
        "source_vocabulary_size": 30000, "target_vocabulary_size": 30000, "target_length": 50,
        "hidden_dim": 620, "units": 1000, "alignment_dim": 1000, "readout_dim": 500,
    },
    "luong2015": {
        "source_vocabulary_size": 50000, "target_vocabulary_size": 50000, "target_length": 50,
        "hidden_dim": 1000, "units": 1000, "readout_dim": 1000, "num_layers": 4, "cell": "lstm",
        "ask": "after", "score": "general", "dropout_rate": 0.2, "clip_norm": 5.0,
    },
    "lin2017": {
        "num_classes": 5, "vocabulary_size": 20000, "cell": "lstm", "units": 300, "hidden_dim": 100,
        "alignment_dim": 350, "num_questions": 30, "penalty": 1.0, "dropout_rate": 0.5,
    },
    "yang2016": {
        "num_classes": 5, "vocabulary_size": 20000, "num_sentences": 16, "hidden_dim": 200,
        "units": 50, "alignment_dim": 100,
    },
    "tiny": {"hidden_dim": 16, "units": 16, "alignment_dim": 16, "readout_dim": 16,
             "learning_rate": 5e-3},
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
    num_sentences: int | None = None,
    hidden_dim: int = 64,
    units: int = 64,
    num_layers: int = 1,
    cell: str = "gru",
    encoder: str = "recurrent",
    ask: str = "before",
    score: str = "additive",
    alignment_dim: int = 64,
    readout_dim: int = 64,
    num_questions: int = 1,
    num_heads: int = 4,
    hard: bool = False,
    penalty: float = 0.0,
    dropout_rate: float = 0.0,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 2e-3,
    clip_norm: float = 1.0,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `AttentionTranslator`, or, with `num_classes`, an `AttentionClassifier`.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        source_vocabulary_size: tokens of sources.
        target_vocabulary_size: tokens of targets.
        source_length: of the data's sources; the network takes any.
        target_length: most tokens that `generate` writes, the end included.
        tokenizers: configurations for "source" and "target", which `generate` needs for texts.
        num_classes: of texts, which are classified; None: there is a decoder.
        vocabulary_size: tokens of texts that are classified.
        sequence_length: of the data's texts or sentences; the network takes any.
        num_sentences: of texts that are read sentence by sentence.
        hidden_dim: numbers that a token is embedded in.
        units: of recurrent layers, in each direction of the encoder.
        num_layers: recurrent layers of the encoder, and of the decoder.
        cell: "gru" or "lstm".
        encoder: of a classifier: "recurrent", "self" (each word asks all words) or "words".
        ask: the decoder's question is its state "before" (Bahdanau) or "after" (Luong) it has read
            the last word.
        score: of question and memory: "additive", "dot", "general", "concat", "scaled_dot" or
            "multi_head"; "dot" and "scaled_dot" need no weights, but states of the encoder, two
            directions, that are as wide as the decoder's: there, each direction has half the units.
        alignment_dim: hidden units of "additive" and "concat", and of a classifier's questions.
        readout_dim: width of what the logits are made of.
        num_questions: of a classifier.
        num_heads: of the score "multi_head" and of the encoder "self".
        hard: look at one place, drawn in training, the likeliest at other times.
        penalty: of a classifier's questions that look at the same places.
        dropout_rate: of embeddings and of what the logits are made of.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        clip_norm: of all gradients together, at most.
        seed: of the initial weights, of dropout and of hard looks.

    Raises:
        ValueError: an unknown variant, argument or value, or arguments that exclude each other.
    """
    for name, value, known in (
        ("cell", cell, CELLS), ("encoder", encoder, ENCODERS), ("ask", ask, ("before", "after")),
        ("score", score, SCORES),
    ):  # fmt: skip
        if value not in known:
            raise unknown(name, value, known)
    check(isinstance(hard, bool), "hard", hard, "must be True or False")
    for name, value in (
        ("alignment_dim", alignment_dim), ("readout_dim", readout_dim),
        ("num_questions", num_questions), ("num_sentences", num_sentences),
    ):  # fmt: skip
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        whole = whole or (name == "num_sentences" and value is None)
        check(whole, name, value, "must be a positive integer")
    ok = isinstance(penalty, int | float) and penalty >= 0
    check(ok, "penalty", penalty, "must be a number of at least 0")
    wanted = f"must be a multiple of num_heads={num_heads}"
    if num_classes is not None:
        wanted_size = "a classifier needs the number of its tokens"
        check(vocabulary_size is not None, "vocabulary_size", None, wanted_size)
        self_width = encoder != "self" or hidden_dim % num_heads == 0
        check(self_width, "hidden_dim", hidden_dim, wanted)
        alone = not hard or (num_sentences is None and num_questions == 1)
        check(alone, "hard", hard, "goes with one question and no sentences")
        model = AttentionClassifier(
            vocabulary_size, num_classes, num_sentences, hidden_dim, units, num_layers, cell,
            encoder, alignment_dim, num_questions, num_heads, hard, penalty, dropout_rate,
            name=f"attention_{variant}",
        )  # fmt: skip
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy"]
    else:
        for name, value, silent in (("encoder", encoder, "recurrent"), ("penalty", penalty, 0),
                                    ("num_questions", num_questions, 1)):  # fmt: skip
            check(value == silent, name, value, "is for classifiers, which need num_classes")
        check(units % num_heads == 0 or score != "multi_head", "units", units, wanted)
        even = units % 2 == 0 or score not in ("dot", "scaled_dot")
        check(even, "units", units, f"must be even for score={score!r}: half for each direction")
        check(not hard or score != "multi_head", "hard", hard, "does not go with several heads")
        model = AttentionTranslator(
            source_vocabulary_size, target_vocabulary_size, target_length, hidden_dim, units,
            num_layers, cell, ask, score, alignment_dim, readout_dim, num_heads, hard,
            dropout_rate, tokenizers, name=f"attention_{variant}",
        )  # fmt: skip
        loss, metrics = MaskedCrossentropy(), [MaskedAccuracy(), MaskedAccuracy(whole=True)]
    model.compile(make_optimizer(optimizer, learning_rate, clip_norm=clip_norm), loss,
                  metrics=metrics)  # fmt: skip
    choose_jit(model)
    return model


def load_data(source: object = "dates", *, batch_size: int = 64, seed: int = 0, **options):
    """Dates in five languages to ISO 8601, files or lists of pairs, or texts with classes.

    See `recipes.data.pairs.load` and `recipes.data.text.load` for all sources and options; of texts
    `num_sentences` gives each sentence a row. The default `level` of dates is "bytes", whose
    vocabulary is always the same.

    Returns:
        `Data` of ((source, target_in), target_out), token ids int32, or of ids and labels.
    """
    options = {"level": "bytes", **options} if source == "dates" else options
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    return {
        "hidden_dim": hp.Choice("hidden_dim", [32, 64, 128, 256], default=64),
        "units": hp.Choice("units", [32, 64, 128, 256], default=64),
        "num_layers": hp.Int("num_layers", 1, 3, default=1),
        "cell": hp.Choice("cell", list(CELLS), default="gru"),
        "ask": hp.Choice("ask", ["before", "after"], default="before"),
        "score": hp.Choice("score", ["additive", "general", "multi_head"], default="additive"),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.6, step=0.1, default=0.0),
        "learning_rate": hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=2e-3),
        "batch_size": hp.Choice("batch_size", [32, 64, 128], default=64),
    }


def pictures(model: keras.Model, data) -> dict:
    """What a run shows: where it looked in texts that it wrote, or that it classified."""
    from recipes.reports import plots

    if data.class_names is None:
        source, _ = data.test.sample(6)
        source = source[0]
        made = model.generate(source)
        given = np.pad(made[:, :-1], ((0, 0), (1, 0)), constant_values=decoding.START)
        weights = model.attention_weights(source, given).mean(axis=1)
        examples = []
        for look, ids, written in zip(weights, source, made, strict=True):
            t, s = int((written != 0).sum()), int((ids != 0).sum())
            examples.append((
                look[:t, :s],
                [data.transform.target.decode([i]) or "end" for i in written[:t]],
                [data.transform.source.decode([i]) for i in ids[:s]],
            ))  # fmt: skip
        return {"alignments": plots.alignments(examples)}
    texts, tokenizer = {}, data.transform.tokenizer
    x, truth = data.test.sample(8)
    found = model.predict(x, verbose=0).argmax(axis=1)
    for ids, look, right, said in zip(x, model.attention_weights(x), truth, found, strict=True):
        there = ids.ravel() != 0
        words = [tokenizer.decode([i]) for i in ids.ravel()[there]]
        gap = " " if max(map(len, words)) > 1 else ""
        title = f"{len(texts) + 1}: {data.class_names[said]}"
        title += "" if said == right else f", but it is {data.class_names[right]}"
        shades = 6 * look.ravel()[there] / look.max()
        texts[title] = ([word + gap for word in words], shades)
    x, truth = data.test.sample(10_000)
    found = model.predict(x, verbose=0).argmax(axis=1)
    return {
        "looks": plots.coloured_texts(texts),
        "confusion_matrix": plots.confusion_matrix(truth, found, data.class_names),
    }
