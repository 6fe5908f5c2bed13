"""word2vec against gensim: noise, subsampling, Huffman codes, one update, text format, quality."""

import keras
import numpy as np
import pytest

from recipes import word2vec

gensim = pytest.importorskip("gensim", reason="the peer (extra `peers`)")
stats = pytest.importorskip("scipy.stats")

COUNTS = (97, 50, 31, 13, 8, 5, 2, 1)
WORDS = [f"w{i}" for i in range(len(COUNTS))]
SENTENCE = [0, 3, 1, 2, 0, 4, 1, 5, 3, 0, 2, 6, 1, 0]


def peer(**options) -> gensim.models.Word2Vec:
    """gensim's model of these counts."""
    common = {"vector_size": 6, "min_count": 1, "workers": 1, "seed": 1}
    model = gensim.models.Word2Vec(**{**common, **options})
    model.build_vocab_from_freq(dict(zip(WORDS, COUNTS, strict=True)))
    assert model.wv.index_to_key == WORDS
    return model


def test_noise_is_gensims():
    ends = peer().cum_table / (2**31 - 1)
    found = word2vec.noise_distribution(COUNTS).cumsum()
    np.testing.assert_allclose(found, ends, atol=1e-6)


@pytest.mark.parametrize("sample", [1e-1, 1e-2])
def test_words_are_kept_as_often_as_in_gensim(sample):
    model = peer(sample=sample)
    expected = [model.wv.get_vecattr(word, "sample_int") / 2**32 for word in WORDS]
    found = word2vec.keep_probability(COUNTS, sample)
    assert found.min() < 0.7
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_huffman_codes_are_gensims():
    model = peer(hs=1, negative=0)
    nodes, turns = word2vec.huffman(COUNTS)
    for i, word in enumerate(WORDS):
        code, points = (model.wv.get_vecattr(word, name) for name in ("code", "point"))
        length = int((turns[i] != 0).sum())
        np.testing.assert_array_equal((1 - turns[i, :length]) / 2, code)
        np.testing.assert_array_equal(nodes[i, :length], points)


@pytest.mark.parametrize("objective", ["negative_sampling", "hierarchical_softmax"])
@pytest.mark.parametrize("architecture", ["skip_gram", "cbow"])
def test_one_update_is_gensims(architecture, objective):
    """Each moves both tables from the same start, over one sentence, with the last word as the
    only negative. gensim moves them pair by pair, so the rate is small; it reads sigmoid from a
    table of 1,000 values, each up to 0.003 too small.
    """
    rate, tree = 1e-4, objective == "hierarchical_softmax"
    rng = np.random.default_rng(0)
    size = len(WORDS)
    inner = rng.normal(0, 0.7, (size, 6)).astype("float32")
    outer = rng.normal(0, 0.7, (size, 6)).astype("float32")

    theirs = peer(
        sg=int(architecture == "skip_gram"), hs=int(tree), negative=0 if tree else 5, sample=0,
        window=2, shrink_windows=False,
    )  # fmt: skip
    theirs.wv.vectors[:] = inner
    table = theirs.syn1 if tree else theirs.syn1neg
    table[:] = outer
    if not tree:
        theirs.cum_table[:-1] = 0
    sentence = [WORDS[i] for i in SENTENCE]
    theirs.train([sentence], total_examples=1, epochs=1, start_alpha=rate, end_alpha=rate)

    ours = word2vec.build_model(
        vocabulary_size=size + 2, counts=[0, 0, *COUNTS], hidden_dim=6, window=2, sample=0.0,
        architecture=architecture, objective=objective, learning_rate=rate, limit=1e9,
    )  # fmt: skip
    ours.inner.embeddings.assign(np.pad(inner, ((2, 0), (0, 0))))
    ours.outer.embeddings.assign(outer[:-1] if tree else np.pad(outer, ((2, 0), (0, 0))))
    drawn = ours.draw(np.array([SENTENCE]) + 2, rng, 1)
    drawn |= {"reach": np.full_like(drawn["reach"], 2)}
    drawn |= {"noise": np.full_like(drawn["noise"], size + 1)}
    keras.Model.train_on_batch(ours, drawn)
    moved = keras.ops.convert_to_numpy(ours.inner.embeddings)[2:] - inner
    expected = theirs.wv.vectors - inner
    assert np.abs(expected).max() > 2 * rate
    np.testing.assert_allclose(moved, expected, atol=0.03 * np.abs(expected).max())
    moved = keras.ops.convert_to_numpy(ours.outer.embeddings)
    moved = moved - outer[:-1] if tree else moved[2:] - outer
    expected = (table - outer)[: len(moved)]
    np.testing.assert_allclose(moved, expected, atol=0.03 * np.abs(expected).max())


def test_gensim_reads_what_is_written_and_the_reverse(tmp_path):
    array = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    ours = word2vec.Vectors(["é", "don't", "x", "y"], array)
    read = gensim.models.KeyedVectors.load_word2vec_format(ours.save(tmp_path / "ours.txt"))
    assert read.index_to_key == ours.words
    np.testing.assert_array_equal(read.vectors, array)
    read.save_word2vec_format(tmp_path / "theirs.txt")
    again = word2vec.Vectors.load(tmp_path / "theirs.txt")
    assert again.words == ours.words
    np.testing.assert_allclose(again.array, array, rtol=1e-6)
    for word in ours.words:
        expected = read.most_similar(word, topn=2)
        found = ours.most_similar(word, 2)
        assert [w for w, _ in found] == [w for w, _ in expected]
        np.testing.assert_allclose([c for _, c in found], [c for _, c in expected], atol=1e-5)
    expected = read.most_similar(positive=["don't", "x"], negative=["é"], topn=1)[0]
    assert ours.analogy("é", "don't", "x", 1)[0][0] == expected[0]
