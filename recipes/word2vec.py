"""word2vec: vectors of words, such that words with the same neighbours in a text lie together.

Each word has two vectors: one for when it stands beside another word, one for when it is guessed
from those beside it. Their product says how well the two go together; it is raised for pairs that
occur and lowered for words drawn by chance. What is kept in the end are the first vectors.

Papers:
    Mikolov, Chen, Corrado & Dean 2013, Efficient estimation of word representations in vector
    space (`cbow`: a word from the mean of its neighbours; `skip_gram`: a word from each of them).
    Mikolov, Sutskever, Chen, Corrado & Dean 2013, Distributed representations of words and phrases
    and their compositionality (negative sampling, equation 4; subsampling, equation 5;
    hierarchical softmax, equation 3: `cbow_hs`, `skip_gram_hs`).
    Mikolov et al. 2013, word2vec.c, whose defaults these are where it differs from the papers.
    Ji, Satish, Li & Dubey 2016, Parallelizing word2vec in shared and distributed memory (negatives
    that several pairs share, so that the work is products of matrices).

Differences:
    A step learns from thousands of words at once, whose gradients are added; word2vec.c takes one
    pair after another. `CHUNK` words share `NOISE` negatives, weighted so that each pair has
    `negative` of them on average; a negative that is the word itself is not drawn anew. Where a
    word has too many pairs in a step for a sum, the mean counts for `limit` of them.
    A word is kept with probability sqrt(t/f) + t/f, as in word2vec.c; the paper has sqrt(t/f).
    In `cbow` the gradient of the mean goes to each neighbour undivided, as in word2vec.c.
    The sentences are the rows of the data, `sequence_length` words each: no window reaches beyond.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe, unknown
from recipes.data.core import Batches, Feed
from recipes.data.vectors import Vectors
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import make_optimizer

KINDS = ("corpus",)
OBJECTIVE = ("val_loss", "min")
EPOCHS = 30

ARCHITECTURES = ("skip_gram", "cbow")
OBJECTIVES = ("negative_sampling", "hierarchical_softmax")
RESERVED = 2  # ids of padding and of unknown words, which are left out of the text
CHUNK = 16  # words whose scores are one product of matrices
NOISE = 16  # negatives that they share
PULL = 2.5  # of all pairs of a word in a step, as a multiple of one pair's at a rate of 1
HELD_OUT = 5  # window, and negatives a pair, of the loss outside of training


def noise_distribution(counts: Sequence[float], power: float = 0.75) -> np.ndarray:
    """Shares of the words among the negatives, (n,) float64: counts^power, of sum 1."""
    found = np.asarray(counts, "float64") ** power
    return found / found.sum()


def keep_probability(counts: Sequence[float], sample: float) -> np.ndarray:
    """How probably each occurrence of a word stays in the text, (n,) float64, as word2vec.c has it.

    sqrt(t / f) + t / f, at most 1, for a word's share f of the text; 1 for all where t is 0.
    """
    counts = np.asarray(counts, "float64")
    ratio = sample * counts.sum() / np.maximum(counts, 1e-12)
    return np.minimum(1.0, np.sqrt(ratio) + ratio) if sample else np.ones(len(counts))


def huffman(counts: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The way to each word in the binary tree whose mean way is shortest.

    Returns:
        nodes int32 (n, longest), from the root (n - 2) on, and turns float32 (n, longest): 1 to
        the branch that is a 0 in the word's code, -1 to the other; 0 behind a way's end.
    """
    count = len(counts)
    heap = [(n, i) for i, n in enumerate(counts)]
    heapq.heapify(heap)
    parent, turn = np.zeros(2 * count - 1, int), np.ones(2 * count - 1)
    for node in range(count, 2 * count - 1):
        (least, first), (second, other) = heapq.heappop(heap), heapq.heappop(heap)
        parent[[first, other]], turn[other] = node, -1  # the less frequent one is the 0
        heapq.heappush(heap, (least + second, node))
    ways = []
    for word in range(count):
        way, node = [], word
        while node != 2 * count - 2:
            way.append((parent[node] - count, turn[node]))
            node = parent[node]
        ways.append(way[::-1])
    nodes, turns = (np.zeros((count, max(map(len, ways)))) for _ in range(2))
    for word, way in enumerate(ways):
        nodes[word, : len(way)], turns[word, : len(way)] = zip(*way, strict=True)
    return nodes.astype("int32"), turns.astype("float32")


@keras.saving.register_keras_serializable("recipes")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that falls along a line to 1e-4 of itself over a whole training.

    Args:
        learning_rate: the first.
        steps: over which it falls; None: it stays, until `Word2Vec.fit` knows them.
        start: the optimizer's count of steps at which it begins.
    """

    def __init__(self, learning_rate: float, steps: int | None = None, start: int = 0):
        self.learning_rate, self.steps, self.start = learning_rate, steps, start

    def __call__(self, step):
        """The rate of a step."""
        if self.steps is None:
            return ops.convert_to_tensor(self.learning_rate, "float32")
        done = (ops.cast(step, "float32") - self.start) / self.steps
        return self.learning_rate * ops.clip(1.0 - done, 1e-4, 1.0)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {"learning_rate": self.learning_rate, "steps": self.steps, "start": self.start}


class Draws(Feed):
    """What a step learns from, drawn from batches (x, ...) of rows: a dictionary for each batch.

    It is drawn by NumPy, some 30 times faster than XLA draws random numbers on a CPU; each epoch
    anew, by the seed and the numbers of the epoch and of the batch.

    Args:
        model: a `Word2Vec`.
        batches: x int32 (n, t).
        epoch: the number of the first.
    """

    def __init__(self, model: "Word2Vec", batches: keras.utils.PyDataset, epoch: int = 0):
        super().__init__(workers=batches.workers)
        self.model, self.batches, self.epoch = model, batches, epoch
        self.rows = len(batches[0][0])

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        """See `Word2Vec.draw`."""
        seed = (self.model.arguments["seed"] or 0, self.epoch, index)
        return (self.model.draw(self.batches[index][0], np.random.default_rng(seed), self.rows),)

    def on_epoch_end(self) -> None:
        """Move on to the next epoch's order."""
        self.epoch += 1
        self.batches.on_epoch_end()


@keras.saving.register_keras_serializable("recipes")
class Word2Vec(keras.Model):
    """Token ids int32 (n, t) -> their vectors (n, t, hidden_dim), float32.

    Args:
        vocabulary_size: tokens, padding (0) and unknown (1) included.
        hidden_dim: of the vectors.
        architecture: "skip_gram" or "cbow".
        objective: "negative_sampling" or "hierarchical_softmax".
        window: most words between a word and its neighbour, plus one; each word draws its own.
        negative: words by chance for each pair.
        sample: share of the text above which words are thinned out; 0: none are.
        limit: most pairs whose gradients are added for a word in a step; see `limited`.
        counts: of the tokens in the training part, (vocabulary_size,).
        tokenizer: configuration of the tokenizer that the words go through; None: ids alone.
        seed: of the weights and of all that is drawn.
        dtype: policy of the layers.
    """

    xla_on_cpu = True

    def __init__(self, vocabulary_size, hidden_dim, architecture, objective, window, negative,
                 sample, limit, counts, tokenizer=None, seed=None, dtype=None,
                 **kwargs):  # fmt: skip
        super().__init__(autocast=False, **kwargs)  # losses are float32
        self.policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        counts = [int(n) for n in counts]
        self.arguments = {
            "vocabulary_size": vocabulary_size, "hidden_dim": hidden_dim,
            "architecture": architecture, "objective": objective, "window": window,
            "negative": negative, "sample": sample, "limit": limit, "counts": counts,
            "tokenizer": tokenizer, "seed": seed,
        }  # fmt: skip
        self.limit = limit
        self.hidden_dim, self.window, self.negative = hidden_dim, window, negative
        self.is_cbow, self.is_tree = architecture == "cbow", objective == OBJECTIVES[1]
        self.chunk = max(window, HELD_OUT, 8 if self.is_tree else CHUNK)

        # A word as word2vec.c has it: neither padding nor unknown.
        words, none = np.array(counts[RESERVED:]), np.zeros(RESERVED)
        keep = np.concatenate([none, keep_probability(words, sample)])
        shares = np.concatenate([none, noise_distribution(words)])
        self.keep = keep.astype("float32")
        self.kept_share = float((keep * counts).sum() / max(1, sum(counts)))
        self.noise_ends = shares.cumsum() / shares.sum()
        # Evenly through the noise distribution; each chunk of a row begins elsewhere.
        begin = np.arange(1, 513)[:, None] * 0.618034 % 1
        self.even_noise = self.noise_at((np.arange(NOISE) + begin) / NOISE)
        if self.is_tree:
            pad = ((RESERVED, 0), (0, 0))
            self.nodes, self.turns = (np.pad(part, pad) for part in huffman(words))
            # So that log P becomes the log-odds that negative sampling learns.
            self.log_noise = np.log(np.maximum(shares, 1e-30) * HELD_OUT).astype("float32")

        rows = len(words) - 1 if self.is_tree else vocabulary_size
        edge = 0.5 / hidden_dim
        start = keras.initializers.RandomUniform(-edge, edge, seed)
        self.inner = layers.Embedding(vocabulary_size, hidden_dim, start, name="inner",
                                      dtype=self.policy)  # fmt: skip
        self.outer = layers.Embedding(rows, hidden_dim, "zeros", name="outer", dtype=self.policy)
        self.inner.build()
        self.outer.build()
        self.built = True

    def get_config(self) -> dict:
        """The constructor's arguments."""
        policy = keras.dtype_policies.serialize(self.policy)
        return {"name": self.name, **self.arguments, "dtype": policy}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model of a configuration."""
        return cls(**config)

    def call(self, x, training=False):
        """The vectors; in training x itself, since `compute_loss` does the work."""
        return x if training else ops.cast(self.inner(x), "float32")

    def fit(self, x=None, y=None, batch_size=None, epochs=1, *args, **kwargs):
        """As `keras.Model.fit`, for ids alone or with what follows them, which is not looked at.

        The learning rate falls over all epochs, where it is known how long these are.

        Raises:
            ValueError: ids of another shape or type, or outside of the vocabulary.
        """
        if isinstance(x, np.ndarray):
            self.check_ids(x)
            shuffle = kwargs.get("shuffle", True)
            x = Batches(x, None, np.arange(len(x)), np.asarray, batch_size or 32, shuffle=shuffle)
            kwargs["shuffle"] = False  # of batches, by Keras
        wanted = "needs rows of token ids, an array or the batches of `load_data`"
        check(isinstance(x, keras.utils.PyDataset), "x", f"a {type(x).__name__}", wanted)
        self.check_ids(x[0][0])
        begun, steps = kwargs.get("initial_epoch", 0), kwargs.get("steps_per_epoch") or len(x)
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        schedule = getattr(optimizer, "_learning_rate", None)
        if isinstance(schedule, LinearDecay):
            schedule.steps = epochs * steps
            schedule.start = int(optimizer.iterations) - begun * steps
            self.train_function = None  # it may hold another training's numbers
        return super().fit(Draws(self, x, begun), None, None, epochs, *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As `keras.Model.train_on_batch`, for rows of ids."""
        self.check_ids(x)
        generator = np.random.default_rng(
            (self.arguments["seed"] or 0, int(self.optimizer.iterations))
        )
        return super().train_on_batch(self.draw(x, generator, len(x)), None, *args, **kwargs)

    def check_ids(self, x: np.ndarray) -> None:
        """Raise where x is no rows of token ids."""
        ok = x.ndim == 2 and x.dtype.kind in "iu"
        wanted = "this model takes rows of token ids, integers of shape (n, t)"
        check(ok, "x", f"{x.dtype} {x.shape}", wanted)
        size = self.arguments["vocabulary_size"]
        ends = (int(x.min()), int(x.max())) if x.size else (0, 0)
        inside = ends[0] >= 0 and ends[1] < size
        check(inside, "x", f"ids {ends[0]} .. {ends[1]}", f"must be token ids in 0 .. {size - 1}")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The mean over the pairs, in nats.

        In training its gradient is that of the sum, so that a pair moves the vectors as far as in
        word2vec.c, whatever the size of the batch.
        """
        if not training:
            loss, pairs = self.held_out(x)
            return ops.sum(loss) / ops.maximum(ops.sum(pairs), 1.0)
        loss, pairs = self.pair_losses(**x, negative=self.negative)
        total, pairs = ops.sum(loss), ops.sum(pairs)
        return ops.stop_gradient(total / ops.maximum(pairs, 1.0)) + (
            total - ops.stop_gradient(total)
        )

    def noise_at(self, places):
        """The words at places in [0, 1) of the noise distribution, int32."""
        found = np.searchsorted(self.noise_ends, places, side="right")
        return np.minimum(found, len(self.noise_ends) - 1).astype("int32")

    def draw(self, x, generator, rows):
        """What a step learns from: the words that stay, one behind another, in chunks.

        Args:
            x: ids (n, t).
            generator: NumPy's, of random numbers.
            rows: of a full batch; the last one is filled up, so that nothing is compiled anew.

        Returns:
            int32 arrays: "words" (g, q), 0 behind the last; "sentences" (g, q), the row of each
            word, from 1 on, and 0 where there is none; "reach" (g, q), the window of each; and
            "noise" (g, k), drawn from unigram^0.75.
        """
        q = self.chunk
        # A little more room than is needed as a rule; what would be too much falls off at the end.
        g = math.ceil((1.03 * self.kept_share * rows * x.shape[1] + q) / q)
        stays = np.flatnonzero(generator.random(x.size, "float32") < self.keep[x.ravel()])[: g * q]
        words, sentences = (np.zeros(g * q, "int32") for _ in range(2))
        words[: len(stays)] = x.ravel()[stays]
        sentences[: len(stays)] = stays // x.shape[1] + 1
        reach = generator.integers(1, self.window, g * q, "int32", endpoint=True)
        found = {"words": words, "sentences": sentences, "reach": reach}
        found = {name: part.reshape(g, q) for name, part in found.items()}
        return {**found, "noise": self.noise_at(generator.random((g, NOISE)))}

    def around(self, a, window):
        """Chunks (g, q) with what stands before and behind them: (g, q + 2 window)."""
        none = ops.zeros_like(a[:1, :window])
        before = ops.concatenate([none, a[:-1, -window:]], axis=0)
        behind = ops.concatenate([a[1:, :window], none], axis=0)
        return ops.concatenate([before, a, behind], axis=1)

    def pair_losses(self, words, sentences, reach, noise, negative, window=None, odds=False):
        """The loss of each word and its number of pairs, both (g, q) float32.

        A pair is a word and a neighbour in `skip_gram`, a word and all its neighbours in `cbow`.

        Args:
            words: (g, q) int32.
            sentences: (g, q) int32; 0 where there is no word.
            reach: (g, q) int32, the window of each word.
            noise: negatives of each chunk, (g, k) int32.
            negative: how many negatives a pair has, by weight.
            window: the widest reach; None: the model's.
            odds: see `scores`; with it, a tree's loss is as that of negative sampling.
        """
        words, sentences, reach, noise = (
            ops.convert_to_tensor(part) for part in (words, sentences, reach, noise)
        )
        window = window or self.window
        plain = self.is_tree and not odds  # the loss is -log P
        q = self.chunk
        near = self.around(words, window)
        far = ops.abs(ops.arange(q)[:, None] + window - ops.arange(q + 2 * window))
        own = sentences[:, :, None]
        beside = ops.logical_and(own == self.around(sentences, window)[:, None, :], own > 0)
        wide = reach[:, :, None] if self.is_cbow else self.around(reach, window)[:, None, :]
        beside = ops.logical_and(beside, ops.logical_and(far > 0, far <= wide))
        beside = ops.cast(beside, "float32")  # (g, q, q + 2 window)
        pairs = ops.sum(beside, axis=2)
        draws = 0 if plain else negative
        if self.is_cbow:
            there = ops.cast(pairs > 0, "float32")
            neighbours = self.limited(self.inner, near, ops.sum(beside, axis=1) * (1 + draws))
            total = ops.matmul(ops.cast(beside, neighbours.dtype), neighbours)
            mean = total / ops.cast(ops.maximum(pairs, 1.0), total.dtype)[:, :, None]
            given = ops.stop_gradient(mean - total) + total  # the mean, with the sum's gradient
            pairs = there
            right = self.own_scores(given, words, pairs, odds)
            loss = pairs * (ops.softplus(-right) if not plain else -right)
            if not plain:
                weight = self.shared(pairs, noise, negative)
                wrong = self.scores(given, noise, weight, odds)
        else:
            given = self.limited(self.inner, words, pairs * (1 + draws))
            both, weight = near, ops.sum(beside, axis=1)
            if not plain:  # their scores are of the same product
                both = ops.concatenate([near, noise], axis=1)
                shared = self.shared(pairs, noise, negative)
                weight = ops.concatenate([weight, shared], axis=1)
            both = self.scores(given, both, weight, odds)
            right, wrong = both[:, :, : q + 2 * window], both[:, :, q + 2 * window :]
            loss = ops.sum(beside * (ops.softplus(-right) if not plain else -right), axis=2)
        if not plain:
            weight = pairs * (negative / noise.shape[1])
            loss = loss + weight * ops.sum(ops.softplus(wrong), axis=2)
        return loss, pairs

    def shared(self, pairs, noise, negative):
        """By how many pairs each negative counts: (g, q), (g, k) -> (g, k)."""
        share = ops.sum(pairs, axis=1, keepdims=True) * (negative / noise.shape[1])
        return ops.broadcast_to(share, ops.shape(noise))

    def limited(self, table, ids, pairs):
        """Vectors of ids, whose gradient counts for at most `limit` pairs of each.

        A sum over more would go too far: each of them pulls on the vector as it stood before.

        Args:
            table: `inner` or `outer`.
            ids: int32, of any shape.
            pairs: by how many pairs each id is moved, of the same shape.
        """
        vectors = table(ids)
        flat = ops.reshape(ids, (-1,))
        total = ops.segment_sum(ops.reshape(pairs, (-1,)), flat, table.input_dim)
        share = self.limit / ops.maximum(ops.take(total, ids), self.limit)
        share = ops.cast(share, vectors.dtype)[..., None]
        return share * (vectors - ops.stop_gradient(vectors)) + ops.stop_gradient(vectors)

    def scores(self, given, words, pairs, odds=False):
        """How well words (g, k) go with what is given (g, q, hidden_dim): (g, q, k) float32.

        The product of their vectors, or log P in a tree; with `odds` the log-odds of each word
        against `HELD_OUT` negatives. `pairs` (g, k) is as of `limited`.
        """
        if not self.is_tree:
            vectors = self.limited(self.outer, words, pairs)
            found = ops.matmul(given, ops.transpose(vectors, (0, 2, 1)))
            return ops.cast(found, "float32") + odds * math.log(self.negative / HELD_OUT)
        nodes, turns = ops.take(self.nodes, words, axis=0), ops.take(self.turns, words, axis=0)
        g, k, longest = ops.shape(nodes)
        vectors = self.limited(self.outer, nodes, pairs[:, :, None] * ops.abs(turns))
        vectors = ops.reshape(vectors, (g, k * longest, self.hidden_dim))
        found = ops.matmul(given, ops.transpose(vectors, (0, 2, 1)))
        found = ops.reshape(ops.cast(found, "float32"), (g, -1, k, longest))
        turns = turns[:, None]
        found = -ops.sum(ops.abs(turns) * ops.softplus(-turns * found), axis=3)
        return found - ops.take(self.log_noise, words)[:, None] if odds else found

    def own_scores(self, given, words, pairs, odds=False):
        """`scores` of one word for each that is given: (g, q, hidden_dim), (g, q) -> (g, q)."""
        if not self.is_tree:
            found = ops.sum(given * self.limited(self.outer, words, pairs), axis=2)
            return ops.cast(found, "float32") + odds * math.log(self.negative / HELD_OUT)
        g, q, width = ops.shape(given)
        given = ops.reshape(given, (-1, 1, width))
        words, pairs = ops.reshape(words, (-1, 1)), ops.reshape(pairs, (-1, 1))
        return ops.reshape(self.scores(given, words, pairs, odds), (g, q))

    def held_out(self, x):
        """What rows (n, t) cost, by one measure for all settings of an architecture.

        It is the loss of negative sampling with 5 negatives, as -log of the probability that a word
        is told from noise: with the same negatives always, all words within 5 of each other, and
        none left out but unknown ones. Scores are turned into the log-odds of a pair against 5
        negatives, log P(word | given) - log 5 P_noise(word).

        Returns:
            The loss in nats and the number of pairs of each word, both (n, t) float32.
        """
        n, t = ops.shape(x)
        q = self.chunk
        x = ops.pad(x, ((0, 0), (0, -t % q)))
        known = x >= RESERVED
        words = ops.reshape(ops.where(known, x, 0), (-1, q))
        sentences = ops.where(known, ops.arange(1, n + 1, dtype="int32")[:, None], 0)
        sentences = ops.reshape(sentences, (-1, q))
        place = ops.arange(ops.shape(words)[0]) % (ops.shape(x)[1] // q)  # of a chunk in its row
        noise = ops.take(self.even_noise, place % len(self.even_noise), axis=0)
        reach = ops.full_like(words, HELD_OUT)
        found = self.pair_losses(words, sentences, reach, noise, HELD_OUT, HELD_OUT, odds=True)
        return tuple(ops.reshape(part, (n, -1))[:, :t] for part in found)

    def anomaly_score(self, x: np.ndarray, batch_size: int = 128) -> np.ndarray:
        """How unusual each text is, (n,): the mean over its pairs of the loss of `held_out`.

        Args:
            x: ids int32 (n, t), 0 behind the end of a text.
            batch_size: rows at a time.
        """
        self.check_ids(np.asarray(x))
        parts = [self.held_out(x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
        loss, pairs = (
            np.concatenate([ops.convert_to_numpy(part).sum(axis=1) for part in found])
            for found in zip(*parts, strict=True)
        )
        return loss / np.maximum(pairs, 1)

    @property
    def vectors(self) -> Vectors:
        """The words and their vectors."""
        tokenizer = self.arguments["tokenizer"]
        ids = range(RESERVED, self.arguments["vocabulary_size"])
        words = list(map(str, ids))
        if tokenizer:
            from recipes.data import tokenizers

            words = tokenizers.from_config(tokenizer).tokens(ids)
        return Vectors(words, ops.convert_to_numpy(self.inner.embeddings)[RESERVED:])

    def most_similar(self, word, top_n: int = 10) -> list[tuple[str, float]]:
        """See `Vectors.most_similar`."""
        return self.vectors.most_similar(word, top_n)

    def analogy(self, a: str, b: str, c: str, top_n: int = 5) -> list[tuple[str, float]]:
        """See `Vectors.analogy`."""
        return self.vectors.analogy(a, b, c, top_n)

    def similarity(self, a: str, b: str) -> float:
        """See `Vectors.similarity`."""
        return self.vectors.similarity(a, b)


VARIANTS = {
    "skip_gram": {},
    "cbow": {"architecture": "cbow", "learning_rate": 0.05},
    "skip_gram_hs": {"objective": "hierarchical_softmax"},
    "cbow_hs": {"architecture": "cbow", "objective": "hierarchical_softmax",
                "learning_rate": 0.05},
    "tiny": {"hidden_dim": 16},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "skip_gram",
    *,
    vocabulary_size: int = 10_000,
    sequence_length: int = 64,
    hidden_dim: int = 100,
    architecture: str = "skip_gram",
    objective: str = "negative_sampling",
    window: int = 5,
    negative: int = 5,
    sample: float = 1e-3,
    limit: float | None = None,
    counts: Sequence[int] | None = None,
    tokenizer: dict | None = None,
    optimizer: str | keras.optimizers.Optimizer = "sgd",
    learning_rate: float = 0.025,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `Word2Vec`: token ids (n, t) -> their vectors (n, t, hidden_dim).

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        vocabulary_size: tokens, padding and unknown included.
        sequence_length: tokens of a row; rows of any length do.
        hidden_dim: of the vectors.
        architecture: "skip_gram", which guesses a word from each neighbour, or "cbow", from the
            mean of all neighbours.
        objective: "negative_sampling" or "hierarchical_softmax".
        window: the widest; each word draws its own, from 1 to this, so that what is near counts
            more.
        negative: words drawn by chance for each pair; 5 to 20 for small texts, 2 to 5 for large.
        sample: words with a larger share of the text are thinned out; 0: none are.
        limit: most pairs whose gradients are added for a word in a step; of more, the mean counts
            for so many. None: 2.5 / learning_rate, beyond which a step may go too far.
        counts: how often each token occurs in the training part, (vocabulary_size,); None: as
            Zipf's law has it, the most frequent first.
        tokenizer: configuration of the tokenizer, without which words are their ids.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: the first, which falls along a line to 1e-4 of it; or a schedule.
        seed: of the initial weights and of all that is drawn.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    for name, value in (("window", window), ("negative", negative)):
        ok = isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
        check(ok, name, value, "must be a positive integer")
    ok = isinstance(sample, Real) and not isinstance(sample, bool) and sample >= 0
    check(ok, "sample", sample, "must be a number of at least 0, such as 1e-3")
    ok = limit is None or (isinstance(limit, Real) and not isinstance(limit, bool) and limit > 0)
    check(ok, "limit", limit, "must be a positive number, or None")
    if limit is None:
        limit = PULL / (learning_rate if isinstance(learning_rate, Real) else 0.025)
    least = RESERVED + 2
    wanted = f"must be at least {least}: padding, unknown and two words"
    check(vocabulary_size >= least, "vocabulary_size", vocabulary_size, wanted)
    if counts is None:
        ranks = np.arange(1, vocabulary_size - RESERVED + 1)
        counts = [0] * RESERVED + (1e9 / ranks).astype(int).tolist()
    ok = np.ndim(counts) == 1 and len(counts) == vocabulary_size
    ok = ok and all(isinstance(n, Integral) for n in counts) and min(counts[RESERVED:]) >= 1
    wanted = f"needs vocabulary_size={vocabulary_size} integers, of words at least 1"
    check(ok, "counts", f"{np.size(counts)} values", wanted)
    model = Word2Vec(
        vocabulary_size, hidden_dim, architecture, objective, window, negative, sample, limit,
        counts, tokenizer, seed, name=f"word2vec_{variant}",
    )  # fmt: skip
    if isinstance(learning_rate, Real):
        learning_rate = LinearDecay(learning_rate)
    model.compile(optimizer=make_optimizer(optimizer, learning_rate, momentum=0.0))
    choose_jit(model)
    return model


def load_data(source: object = "pydoc_topics", *, batch_size: int = 64, seed: int = 0, **options):
    """Python's help texts by words, a TensorFlow Datasets name, files, or a text.

    See `recipes.data.corpus.load` for all sources and options. Words that occur fewer than 5 times
    (`min_count`) are unknown, and left out. The help texts have 120,000 words, which is little: for
    good analogies take a text of tens of millions.

    Returns:
        `Data` of token ids int32 (n, sequence_length); the targets are not looked at.
    """
    options = {"level": "words", "min_count": 5, **options}
    found = data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)
    if "counts" in found.spec:
        return found
    starts, length = found.train.indices, found.spec["sequence_length"]
    stride = int(starts[1] - starts[0]) if len(starts) > 1 else length
    rows = found.train.x[starts[:: max(1, length // stride)]]  # those that do not overlap
    counts = np.bincount(rows.ravel(), minlength=found.spec["vocabulary_size"])
    counts[RESERVED:] = np.maximum(counts[RESERVED:], 1)  # what stands in the last words alone
    return replace(found, spec={**found.spec, "counts": counts.tolist()})


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`.

    Not of `sample`: the loss outside of training is of the whole text, and least where nothing is
    thinned out, whatever that does to the vectors.
    """
    return {
        "hidden_dim": hp.Choice("hidden_dim", [50, 100, 200, 300], default=100),
        "window": hp.Choice("window", [2, 5, 8, 10], default=5),
        "negative": hp.Choice("negative", [2, 5, 10, 15, 20], default=5),
        "learning_rate": hp.Float("learning_rate", 5e-3, 0.1, sampling="log", default=0.025),
    }


def pictures(model: Word2Vec, data) -> dict:
    """What a run shows: a map of frequent words, and the nearest neighbours of some."""
    from recipes.reports import plots

    vectors = model.vectors
    # The most frequent ones are articles, prepositions and marks.
    shown = [word for word in vectors.words[:600] if len(word) > 3 and word.isalpha()][:120]
    shown = shown or vectors.words[:120]
    directions = vectors.directions[[vectors.ids[word] for word in shown]]
    centred = directions - directions.mean(axis=0)
    points = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    figure, (ax,) = plots.figure(10, 8)
    ax.scatter(*points.T, s=6, color=plots.BLUE)
    for word, point in zip(shown, points, strict=True):
        ax.annotate(plots.visible(word), point, xytext=(2, 2), textcoords="offset points",
                    fontsize=8, color=plots.INK, parse_math=False)  # fmt: skip
    ax.set_title(f"the {len(shown)} most frequent longer words; first two principal components")

    asked, top = shown[:: max(1, len(shown) // 12)][:12], 6
    table, axes = plots.figure(11, 7, 3, 4)
    for ax in axes[len(asked) :]:
        ax.set_axis_off()
    for ax, word in zip(axes, asked, strict=False):
        names, cosines = zip(*vectors.most_similar(word, top), strict=True)
        ax.barh(range(len(names)), cosines, color=plots.BLUES(0.3))
        for i, name in enumerate(names):
            ax.text(0.02, i, plots.visible(name), va="center", fontsize=9, color=plots.INK,
                    parse_math=False)  # fmt: skip
        ax.set(xlim=(0, 1), ylim=(top - 0.4, -0.6), yticks=[])
        ax.set_title(plots.visible(word), fontsize=10, parse_math=False)
    table.supxlabel("cosine of the angle to the nearest words", fontsize=9, color=plots.INK)
    return {"words": figure, "neighbours": table}
