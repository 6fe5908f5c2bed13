"""word2vec: gensim's skip-gram and CBOW by negative sampling, from the same random words.

A round is a pass over the text, whose words are drawn by Zipf's law; a step is a batch of its rows.
"""

from dataclasses import replace

from peers import Case, of_keras

RESERVED = 2  # our ids of padding and of unknown words


class Text(Case):
    """A case that grows by its vocabulary."""

    @property
    def size(self) -> int:
        """Token ids, `RESERVED` ones included."""
        return self.arguments["vocabulary_size"]

    def arrays(self):
        """Ids int32 (n, length), each word at least once; no targets."""
        import numpy as np

        generator, words = np.random.default_rng(0), self.size - RESERVED
        count = self.steps * self.batch_size * self.input_shape[0]
        shares = 1 / np.arange(1, words + 1)
        drawn = generator.choice(words, count - words, p=shares / shares.sum())
        ids = generator.permutation(np.concatenate([np.arange(words), drawn])) + RESERVED
        return ids.reshape(-1, *self.input_shape).astype("int32"), None

    def ours(self):
        import keras
        import numpy as np

        counts = np.bincount(self.arrays()[0].ravel(), minlength=self.size)
        # Our own schedule is as long as one call of `fit`, and compiled anew by the next.
        rate = keras.optimizers.schedules.PolynomialDecay(0.025, 10**6)
        arguments = {**self.arguments, "counts": counts.tolist(), "learning_rate": rate}
        model = replace(self, arguments=arguments).build_model()
        parts, parameters = of_keras(model, self)
        return {"train": parts["train"]}, parameters

    def larger(self, what, factor):
        words = (self.size - RESERVED) * factor + RESERVED
        return replace(self, arguments={"vocabulary_size": words}) if what == "words" else None


def gensim(case: Text) -> tuple:
    import os

    from gensim.models import Word2Vec

    rows = [[str(word) for word in row] for row in case.arrays()[0].tolist()]
    model = Word2Vec(
        vector_size=100, window=5, negative=5, sample=1e-3, min_count=1, alpha=0.025, seed=1,
        sg=int(case.variant == "skip_gram"), workers=os.cpu_count(),
    )  # fmt: skip
    model.build_vocab(rows)

    def train():
        model.train(rows, total_examples=len(rows), epochs=1)

    return {"train": train}, model.wv.vectors.size + model.syn1neg.size


def case(variant: str, why: str = "") -> Text:
    return Text(
        "word2vec", variant, (64,), 64, 96, {"gensim": gensim},
        {"vocabulary_size": 5000 + RESERVED}, num_classes=None, values="ids", why=why,
    )  # fmt: skip


CASES = {
    "word2vec_skip_gram": case("skip_gram"),
    "word2vec_cbow": case("cbow", "products of whole windows, there in a loop in C"),
}
