"""word2vec: what is drawn, the losses against plain loops, what is learnt, and the text format."""

import math

import keras
import numpy as np
import pytest

from recipes import word2vec

RNG = np.random.default_rng(0)
SIZE = 12
COUNTS = [0, 7, *range(60, 10, -5)]
ALL = ["skip_gram", "cbow", "skip_gram_hs", "cbow_hs"]


def small(variant="skip_gram", **arguments) -> word2vec.Word2Vec:
    """A network of ten words whose vectors are large enough to matter."""
    common = {"vocabulary_size": SIZE, "counts": COUNTS, "hidden_dim": 4, "sample": 0.0, "seed": 0}
    model = word2vec.build_model(variant, **{**common, **arguments})
    for table in (model.inner, model.outer):
        table.embeddings.assign(np.random.default_rng(1).normal(size=table.embeddings.shape))
    return model


def rows(n=3, t=50):
    return np.random.default_rng(2).integers(0, SIZE, (n, t)).astype("int32")


def test_noise_and_subsampling_by_hand():
    """REFERENCE values: counts (100, 10, 1)^0.75; sqrt(t / f) + t / f for f = 0.01."""
    found = word2vec.noise_distribution([100, 10, 1])
    np.testing.assert_allclose(found, [0.826822, 0.147032, 0.026146], atol=1e-6)
    for sample, expected in ((1e-3, 0.416228), (1e-5, 0.032623), (1.0, 1.0), (0, 1.0)):
        kept = word2vec.keep_probability([1, 99], sample)[0]
        assert kept == pytest.approx(expected, abs=1e-6)


def test_huffman_by_hand():
    """Counts 8, 4, 2, 1: ways of 1, 2, 3 and 3 turns; the rarer branch is the 0."""
    nodes, turns = word2vec.huffman([8, 4, 2, 1])
    np.testing.assert_array_equal(turns, [[-1, 0, 0], [1, -1, 0], [1, 1, -1], [1, 1, 1]])
    np.testing.assert_array_equal(nodes[3], [2, 1, 0])
    np.testing.assert_array_equal(nodes[1][:2], [2, 1])


def test_draws_keep_order_rows_and_shares():
    model = small(sample=0.0, window=3)
    x = rows()
    drawn = model.draw(x, np.random.default_rng(0), len(x))
    known = x >= 2
    count = known.sum()
    np.testing.assert_array_equal(drawn["words"].ravel()[:count], x[known])
    np.testing.assert_array_equal(drawn["sentences"].ravel()[:count], np.nonzero(known)[0] + 1)
    assert not drawn["words"].ravel()[count:].any()
    assert not drawn["sentences"].ravel()[count:].any()
    assert set(drawn["reach"].ravel()) == {1, 2, 3}
    # A batch that is not full has the shape of a full one.
    less = model.draw(x[:1], np.random.default_rng(0), len(x))
    assert less["words"].shape == drawn["words"].shape

    model = small(sample=0.02)
    x = RNG.choice(SIZE, (200, 200), p=np.array(COUNTS) / sum(COUNTS)).astype("int32")
    drawn = model.draw(x, np.random.default_rng(0), len(x))
    kept = np.bincount(drawn["words"].ravel(), minlength=SIZE)[2:]
    expected = word2vec.keep_probability(COUNTS[2:], 0.02)
    assert expected[0] < 0.6
    np.testing.assert_allclose(kept / np.bincount(x.ravel())[2:], expected, atol=0.05)
    noise = np.bincount(drawn["noise"].ravel(), minlength=SIZE) / drawn["noise"].size
    expected = word2vec.noise_distribution(COUNTS[2:])
    np.testing.assert_allclose(noise[2:], expected, atol=0.02)
    assert not noise[:2].any()


def softplus(x):
    return math.log1p(math.exp(x))


def by_loops(model, drawn):
    """The loss and the number of pairs, as word2vec.c goes through the text."""
    inner, outer = (keras.ops.convert_to_numpy(t.embeddings) for t in (model.inner, model.outer))
    words, sentences, reach = (drawn[k].ravel() for k in ("words", "sentences", "reach"))
    loss, pairs = 0.0, 0
    if model.is_tree:
        nodes, turns = word2vec.huffman(COUNTS[2:])

    def of_pair(given, word, chunk):
        if model.is_tree:
            way = zip(nodes[word - 2], turns[word - 2], strict=True)
            return sum(softplus(-turn * (given @ outer[n])) for n, turn in way if turn)
        noise = drawn["noise"][chunk]
        wrong = sum(softplus(given @ outer[k]) for k in noise) * model.negative / len(noise)
        return softplus(-(given @ outer[word])) + wrong

    for i in range(len(words)):
        near = [
            j
            for j in range(max(0, i - reach[i]), min(len(words), i + reach[i] + 1))
            if j != i and sentences[i] == sentences[j] > 0
        ]
        if model.is_cbow and near:
            mean = np.mean([inner[words[j]] for j in near], axis=0)
            loss, pairs = loss + of_pair(mean, words[i], i // model.chunk), pairs + 1
        elif not model.is_cbow:  # the neighbour's vector guesses the word in the middle
            loss += sum(of_pair(inner[words[j]], words[i], j // model.chunk) for j in near)
            pairs += len(near)
    return loss, pairs


@pytest.mark.parametrize("variant", ALL)
def test_losses_are_those_of_plain_loops(variant):
    model = small(variant, window=4)
    drawn = model.draw(rows(), np.random.default_rng(3), 3)
    assert len(drawn["words"]) > 2
    loss, pairs = model.pair_losses(**drawn, negative=model.negative)
    expected, count = by_loops(model, drawn)
    assert float(keras.ops.sum(pairs)) == count > 100
    assert float(keras.ops.sum(loss)) == pytest.approx(expected, rel=1e-5)
    assert float(model.compute_loss(drawn)) == pytest.approx(expected / count, rel=1e-5)


def test_a_words_gradient_counts_for_so_many_pairs_at_most():
    """One step over a text of one word moves its vector by limit / pairs of the full gradient."""
    x = np.full((1, 60), 5, "int32")
    moved = []
    for limit in (1e9, 50.0):
        model = small("skip_gram", window=1, learning_rate=1e-3, limit=limit)
        drawn = model.draw(x, np.random.default_rng(0), 1)
        drawn["noise"][:] = 6
        before = keras.ops.convert_to_numpy(model.outer.embeddings)
        keras.Model.train_on_batch(model, drawn)
        moved.append(keras.ops.convert_to_numpy(model.outer.embeddings) - before)
    pairs = 2 * 59
    np.testing.assert_allclose(moved[1][5], moved[0][5] * 50 / pairs, rtol=1e-2)
    np.testing.assert_allclose(moved[1][6], moved[0][6] * 50 / (5 * pairs), rtol=1e-2)


@pytest.mark.parametrize("variant", ["skip_gram_hs", "cbow_hs"])
def test_a_trees_probabilities_sum_to_one(variant):
    model = small(variant)
    given = keras.ops.convert_to_tensor(RNG.normal(size=(1, 3, 4)), "float32")
    words = np.arange(2, SIZE, dtype="int32")[None]
    pairs = keras.ops.ones(words.shape)
    log_p = keras.ops.convert_to_numpy(model.scores(given, words, pairs))
    np.testing.assert_allclose(np.exp(log_p).sum(axis=2), 1, rtol=1e-5)
    # With `odds`, log P / (5 P_noise): what negative sampling learns where it learns all.
    odds = keras.ops.convert_to_numpy(model.scores(given, words, pairs, odds=True))
    expected = log_p - np.log(5 * word2vec.noise_distribution(COUNTS[2:]))
    np.testing.assert_allclose(odds, expected, atol=1e-4)


def test_validation_does_not_depend_on_chance_windows_or_negatives():
    """Vectors of zero: every decision is one half, 6 log 2 a pair; the shift of 15 negatives."""
    x = rows()
    loss = small(window=2).evaluate(x, verbose=0)
    for other in (small(window=2), small(window=7, sample=0.1, seed=5)):
        assert other.evaluate(x, verbose=0) == pytest.approx(loss, rel=1e-6)
    model = small(negative=15)
    zeros = keras.ops.zeros((SIZE, 4))
    model.outer.embeddings.assign(zeros)
    expected = math.log(1 + 5 / 15) + 5 * math.log(1 + 15 / 5)
    assert model.evaluate(x, verbose=0) == pytest.approx(expected, rel=1e-5)
    scores = model.anomaly_score(x)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_rows_do_not_see_each_other():
    model, x = small(), rows(4, 20)
    alone = np.concatenate([model.anomaly_score(row[None]) for row in x])
    np.testing.assert_allclose(model.anomaly_score(x), alone, rtol=1e-5)
    padded = np.pad(x, ((0, 0), (0, 9)))
    np.testing.assert_allclose(model.anomaly_score(padded), alone, rtol=1e-5)


def twins(seed=0, n=1500):
    """Sentences of a topic's words, where words 2 k and 2 k + 1 stand for each other.

    Five topics of two frames around one of two twins: only the neighbours tell who is whose twin.
    """
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 5, (n, 1))
    twin = rng.integers(0, 2, (n, 1))
    frames = 12 + 2 * topic + rng.integers(0, 2, (n, 4))
    words = 2 + 2 * topic + twin
    return np.concatenate([frames[:, :2], words, frames[:, 2:]], axis=1).astype("int32")


@pytest.mark.parametrize("variant", ALL)
def test_words_that_stand_for_each_other_become_neighbours(variant):
    x = twins()
    counts = np.bincount(x.ravel(), minlength=22).tolist()
    model = word2vec.build_model(
        variant, vocabulary_size=22, counts=counts, hidden_dim=12, sample=0.0, seed=0,
        learning_rate=0.05,
    )  # fmt: skip
    history = model.fit(x, epochs=20, batch_size=50, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    vectors = model.vectors
    for k in range(5):
        one, other = str(2 + 2 * k), str(3 + 2 * k)
        elsewhere = [vectors.similarity(one, str(2 + 2 * j)) for j in range(5) if j != k]
        assert vectors.similarity(one, other) > max(0.6, *elsewhere), (variant, k)


def test_the_rate_falls_to_a_ten_thousandth_and_training_resumes_where_it_was():
    x = twins(n=100)
    counts = np.bincount(x.ravel(), minlength=22).tolist()

    def build():
        return word2vec.build_model("tiny", vocabulary_size=22, counts=counts, seed=1)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    whole, parts = build(), build()
    arguments = {"batch_size": 20, "shuffle": False, "verbose": 0}
    whole.fit(x, epochs=2, **arguments)
    rate = whole.optimizer._learning_rate
    assert float(rate(0)) == pytest.approx(0.025)
    assert float(rate(5)) == pytest.approx(0.0125)
    assert float(rate(10)) == pytest.approx(2.5e-6)
    parts.fit(x, epochs=2, callbacks=[Stop()], **arguments)
    parts.fit(x, epochs=2, initial_epoch=1, **arguments)
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.fixture
def vectors():
    """Two pairs at right angles, and one that goes with none."""
    array = [[1, 0, 0], [1, 1, 0], [0, 0, 2], [0, 1, 2], [-1, 0, 0]]
    return word2vec.Vectors(["man", "king", "woman", "queen", "rock"], array)


def test_searching_by_hand(vectors):
    assert vectors.similarity("man", "king") == pytest.approx(math.sqrt(0.5))
    found = vectors.most_similar("man", 2)
    assert found[0] == ("king", pytest.approx(math.sqrt(0.5)))
    assert [word for word, _ in vectors.most_similar("man", 99)][-1] == "rock"
    assert len(vectors.most_similar("man", 99)) == 4
    assert vectors.most_similar(np.array([0, 0, 3.0]), 1) == [("woman", pytest.approx(1.0))]
    assert vectors.analogy("man", "king", "woman", 1)[0][0] == "queen"


def test_text_format_keeps_every_bit(tmp_path, vectors):
    array = RNG.normal(size=(3, 7)).astype("float32")
    path = word2vec.Vectors(["a", "ü", "…"], array).save(tmp_path / "v.txt")
    assert path.read_text("utf-8").splitlines()[0] == "3 7"
    again = word2vec.Vectors.load(path)
    assert again.words == ["a", "ü", "…"]
    np.testing.assert_array_equal(again.array, array)
    with pytest.raises(ValueError, match="word='a b': the text format holds no words"):
        word2vec.Vectors(["a b"], array[:1]).save(tmp_path / "bad.txt")
    assert not (tmp_path / "bad.txt").exists()


@pytest.mark.parametrize(
    "text",
    ["", "2 3\na 1 2 3\n", "1 3\na 1 2\n", "1 2\na 1 x\n", "2 1\na 1\na 2\n", "1 1\na nan\n"],
)
def test_files_of_another_format_are_refused(tmp_path, text):
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not in the text format of word2vec"):
        word2vec.Vectors.load(path)
    with pytest.raises(ValueError, match="no such file"):
        word2vec.Vectors.load(tmp_path / "none.txt")


def test_unknown_words_get_near_spellings(vectors):
    with pytest.raises(ValueError, match=r"word='kin': is not among the 5 words.*king"):
        vectors.most_similar("kin")
    with pytest.raises(ValueError, match=r"word='quen'.*queen"):
        vectors.analogy("man", "king", "quen")
    with pytest.raises(ValueError, match="a vector of 3 finite numbers"):
        vectors.most_similar(np.zeros(4))
    with pytest.raises(ValueError, match="top_n=0: must be a positive integer"):
        vectors.most_similar("man", 0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"architecture": "skipgram"}, "unknown architecture 'skipgram'.*skip_gram"),
        ({"objective": "softmax"}, "unknown objective 'softmax'"),
        ({"window": 0}, "window=0: must be a positive integer"),
        ({"negative": 0}, "negative=0: must be a positive integer"),
        ({"sample": -1}, "sample=-1: must be a number of at least 0"),
        ({"vocabulary_size": 3}, "vocabulary_size=3: must be at least 4"),
        ({"limit": 0}, "limit=0: must be a positive number, or None"),
        ({"counts": [1, 2]}, "counts='2 values': needs vocabulary_size=12 integers"),
        ({"counts": [0] * SIZE}, "of words at least 1"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_impossible_rows():
    model = small()
    for x, message in (
        (np.zeros((2, 3), "float32"), "integers of shape"),
        (np.zeros(3, "int32"), "integers of shape"),
        (np.full((2, 3), SIZE, "int32"), f"ids {SIZE} .. {SIZE}.*must be token ids in 0 .. 11"),
        ([[1, 2]], "needs rows of token ids"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(x, verbose=0)


@pytest.fixture(scope="module")
def data():
    return word2vec.load_data()


def test_default_data_are_words_with_their_counts(data):
    ids = data.train.x[data.train.indices]
    counts = data.spec["counts"]
    assert ids.size > 80_000
    assert counts[0] == 0
    assert counts[1] == (ids == 1).sum()
    assert counts[2] == (ids == 2).sum() == max(counts[2:])
    overlapping = word2vec.load_data(stride=1).spec["counts"]
    np.testing.assert_allclose(overlapping[1:50], counts[1:50], atol=3)
    assert word2vec.load_data(data) is data


@pytest.mark.slow
def test_pictures_and_vectors_of_a_training(data):
    model = word2vec.build_model(**data.spec, seed=0)
    model.fit(data.train, epochs=8, verbose=0)
    expected = 6 * math.log(2)
    assert model.evaluate(data.test, verbose=0) < 0.7 * expected
    assert "the" in model.vectors.words[:5]
    figures = word2vec.pictures(model, data)
    assert set(figures) == {"words", "neighbours"}
    names = {text.get_text() for text in figures["words"].axes[0].texts}
    assert {"class", "function"} <= names
    first = figures["neighbours"].axes[0]
    nearest = model.most_similar(first.get_title(), 6)
    assert [text.get_text() for text in first.texts] == [word for word, _ in nearest]
