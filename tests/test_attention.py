"""Attention networks: scores, looks that are drawn and learnt, sentences, and what is written."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import recipes
from recipes import attention
from recipes.layers import attention as looks
from recipes.layers import decoding

RNG = np.random.default_rng(0)
END = 3


def small(**arguments) -> keras.Model:
    sizes = {"source_vocabulary_size": 9, "target_vocabulary_size": 9, "target_length": 4}
    return attention.build_model("tiny", **{**sizes, "seed": 0, **arguments})


def of_words(**arguments) -> keras.Model:
    sizes = {"vocabulary_size": 20, "num_classes": 3, "encoder": "words"}
    return attention.build_model("tiny", **{**sizes, "seed": 0, **arguments})


def shake(model: keras.Model) -> keras.Model:
    """Guesses differ from position to position."""
    generator = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" not in weight.path and "baseline" not in weight.path:
            weight.assign_add(0.4 * generator.standard_normal(weight.shape).astype("float32"))
    return model


@pytest.fixture
def source() -> np.ndarray:
    ids = np.random.default_rng(2).integers(4, 9, (6, 5))
    ids[1, 3:] = 0
    return ids


def count(weights) -> int:
    return sum(int(np.prod(w.shape)) for w in weights)


def test_yangs_network_has_its_parameters(sketch):
    model = sketch(attention.build_model, "yang2016")
    (words, of_words), (sentences, of_sentences) = model.levels
    assert [count(part.weights) for part in (words, sentences)] == [
        2 * 3 * (50 * 200 + 50 * 50 + 2 * 50),  # 75,600
        2 * 3 * (50 * 100 + 50 * 50 + 2 * 50),  # 45,600
    ]
    assert count(of_words.trainable_weights) == 100 * 100 + 100 + 100
    assert count(of_sentences.trainable_weights) == 100 * 100 + 100 + 100


def test_the_papers_decoders_have_their_parameters(sketch):
    model = sketch(attention.build_model, "rnnsearch")
    alignment = model.decoder.attention
    assert count(alignment.weights) == 1000 * 1000 + 2000 * 1000 + 1000
    (cell,) = model.decoder.cells
    assert count(cell.weights) == 3 * (1000 * (620 + 2000) + 1000 * 1000 + 2 * 1000)
    assert count(model.decoder.readout.weights) == (1000 + 620 + 2000) * 2 * 500
    model = sketch(attention.build_model, "luong2015")
    assert count(model.decoder.attention.weights) == 2000 * 1000
    first, *others = model.decoder.cells
    assert count(first.weights) == 4 * (1000 * (1000 + 1000) + 1000 * 1000 + 1000)
    assert len(others) == 3
    assert count(model.decoder.readout.weights) == (2000 + 1000) * 1000


@pytest.mark.parametrize("score", ["additive", "multi_head"])
@pytest.mark.parametrize("ask", ["before", "after"])
def test_a_decoders_outputs_are_known_without_writing(ask, score):
    decoder = attention.Decoder(ask, 8, readout_dim=6, score=score, num_heads=2,
                                dtype="mixed_bfloat16")  # fmt: skip
    y, states, last = (np.ones(shape, "float32") for shape in ((2, 3, 4), (2, 5, 8), (2, 8)))
    memory = {"states": states, "last": [last], "there": np.ones((2, 5), bool)}
    told = decoder.compute_output_spec(y, memory)
    for name, found in decoder(y, memory).items():
        dtype = keras.backend.standardize_dtype(found.dtype)
        assert (tuple(found.shape), dtype) == (told[name].shape, told[name].dtype), name
    assert told["shares"].shape == (2, 2 if score == "multi_head" else 1, 3, 5)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("score", attention.SCORES)
def test_scores_are_the_papers(score):
    generator = np.random.default_rng(3)
    q, h = generator.standard_normal((2, 3, 8)), generator.standard_normal((2, 5, 8))
    there = np.ones((2, 5), bool)
    there[1, 3:] = False
    layer = looks.Attention(score, units=6, num_heads=2)
    layer.build(q.shape, h.shape)
    for weight in layer.weights:
        weight.assign(generator.standard_normal(weight.shape))
    q, h = q.astype("float32"), h.astype("float32")
    found, shares, _, _ = layer(q, h, layer.prepare(h), there)
    w = [ops.convert_to_numpy(weight) for weight in layer.weights]
    if score == "multi_head":
        q_w, kv, out = w
        heads = [np.split(part, 2, axis=-1) for part in (q @ q_w, *np.split(h @ kv, 2, axis=-1))]
        a = [softmax(np.where(there[:, None], qi @ ki.transpose(0, 2, 1) / 2, -np.inf))
             for qi, ki in zip(heads[0], heads[1], strict=True)]  # fmt: skip
        expected = np.concatenate([ai @ vi for ai, vi in zip(a, heads[2], strict=True)], -1) @ out
        a = np.stack(a, axis=1)
    else:
        e = np.empty((2, 3, 5))
        for n, i, j in np.ndindex(e.shape):
            if score in ("additive", "concat"):
                of_q, of_h, v = w
                both = np.concatenate([q[n, i], h[n, j]])  # Luong's way to write it
                e[n, i, j] = np.tanh(both @ np.concatenate([of_q, of_h])) @ v[:, 0]
            elif score == "general":
                e[n, i, j] = q[n, i] @ (h[n, j] @ w[0])
            else:
                e[n, i, j] = q[n, i] @ h[n, j] / (np.sqrt(8) if score == "scaled_dot" else 1)
        a = softmax(np.where(there[:, None], e, -np.inf))
        expected, a = a @ h, a[:, None]
    np.testing.assert_allclose(ops.convert_to_numpy(shares), a, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-3, atol=1e-5)


def look(a, noise):
    a = np.asarray(a, "float32")
    noise = None if noise is None else ops.convert_to_tensor(noise.astype("float32"))
    return [ops.convert_to_numpy(part) for part in
            looks.hard_look(ops.convert_to_tensor(a), noise)]  # fmt: skip


def test_places_are_drawn_by_their_shares():
    a = np.array([0.5, 0.2, 0.0, 0.3, 0.0])
    grid = (np.arange(1000) + 0.5) / 1000
    noise = np.stack([grid, np.full(1000, 0.9)], -1)[:, None]  # 0.9: do not look softly
    looked, log_p, entropy = look(np.tile(a, (1000, 1, 1)), noise)
    assert set(np.unique(looked)) == {0.0, 1.0}
    np.testing.assert_allclose(looked.mean((0, 1)), a, atol=1e-3)
    np.testing.assert_allclose(np.exp(log_p[:, 0]), a[looked[:, 0].argmax(-1)], rtol=1e-5)
    real = a[a > 0]
    np.testing.assert_allclose(entropy, -(real * np.log(real)).sum(), rtol=1e-5)


def test_half_look_softly_and_at_test_time_all_take_the_likeliest():
    a = np.tile(np.array([0.2, 0.5, 0.3]), (4, 1, 1))
    looked, log_p, _ = look(a, np.array([[[0.1, 0.49]]] * 2 + [[[0.1, 0.5]]] * 2))
    np.testing.assert_allclose(looked[:2], a[:2], rtol=1e-6)
    np.testing.assert_array_equal(looked[2:, 0], [[1, 0, 0]] * 2)
    np.testing.assert_allclose(log_p[:, 0], [0, 0, np.log(0.2), np.log(0.2)], rtol=1e-5)
    np.testing.assert_array_equal(look(a, None)[0][:, 0], [[0, 1, 0]] * 4)


@pytest.mark.parametrize("baseline", [0.0, -2.0])
def test_reinforce_follows_the_gradient_of_the_expected_loss(baseline, monkeypatch):
    """All draws of one text together move the questions as the exact expectation would."""
    ids, y, draws = np.array([[5, 6, 7]]), np.array([1]), 4000
    monkeypatch.setattr(attention, "ENTROPY", 0.0)
    model = shake(of_words(hard=True, optimizer=keras.optimizers.SGD(1.0), clip_norm=1e9))
    pooling, v = model.levels[0][1], model.levels[0][1].v.kernel
    start = ops.convert_to_numpy(v).copy()

    def expected_loss(at):
        v.assign(at)
        vectors = ops.convert_to_numpy(model.table(ids))[0]
        a = ops.convert_to_numpy(pooling(vectors[None], np.ones((1, 3), bool))[1])[0, 0]
        logits = ops.convert_to_numpy(model.head(vectors)).astype(float)
        nats = -np.log(softmax(logits)[:, y[0]])
        return float(a @ nats)

    exact = np.zeros_like(start)
    for i in range(len(start)):
        step = np.zeros_like(start)
        step[i] = 1e-2
        exact[i] = (expected_loss(start + step) - expected_loss(start - step)) / 2e-2
    v.assign(start)
    model.baseline.assign([baseline])
    grid = (np.arange(draws) + 0.5) / draws
    noise = np.stack([grid, np.full(draws, 0.9)], -1)[:, None].astype("float32")
    monkeypatch.setattr(keras.random, "uniform", lambda shape, seed: ops.convert_to_tensor(noise))
    model.train_on_batch(np.repeat(ids, draws, 0), np.repeat(y, draws, 0))
    assert np.abs(exact).max() > 1e-2
    np.testing.assert_allclose(start - ops.convert_to_numpy(v), exact, atol=2e-3)
    assert ops.convert_to_numpy(model.baseline)[0] != baseline


@pytest.mark.parametrize("hard", [False, True])
def test_it_finds_the_word_that_counts(hard):
    """One of 12 words says the class; no order of words helps, and no mean of them all."""
    ids = RNG.integers(4, 20, (3000, 12))
    y = RNG.integers(0, 3, 3000)
    place = RNG.integers(0, 12, 3000)
    ids[np.arange(3000), place] = 1 + y
    model = of_words(hard=hard, learning_rate=1e-2)
    model.fit(ids[:2500], y[:2500], epochs=6, batch_size=50, verbose=0)
    assert model.evaluate(ids[2500:], y[2500:], verbose=0)[1] > 0.98
    looked = model.attention_weights(ids[2500:])
    assert (looked.argmax(-1) == place[2500:]).mean() > 0.98


def test_questions_that_look_at_the_same_cost():
    """|A A^T - I|^2 of two equal rows of shares (1/2, 1/2): four numbers 1/2, less I: 4 / 4."""
    pooling = looks.Pooling(4, num_questions=2, penalty=0.5)
    words = np.zeros((3, 2, 4), "float32")
    pooling(words, np.ones((3, 2), bool), training=False)
    assert not pooling.losses
    pooling(words, np.ones((3, 2), bool), training=True)
    assert float(pooling.losses[0]) == pytest.approx(0.5 * 1.0)


def test_a_text_is_read_sentence_by_sentence():
    model = shake(attention.build_model(
        "tiny", vocabulary_size=20, num_classes=3, num_sentences=3, seed=0
    ))  # fmt: skip
    x = RNG.integers(1, 20, (4, 3, 6)).astype("int32")
    x[0, 2], x[1, :, 4:] = 0, 0
    weights = model.attention_weights(x)
    np.testing.assert_allclose(weights.sum((1, 2)), 1, rtol=1e-5)
    assert (weights[x == 0] < 1e-6).all()
    before = model.predict(x, verbose=0)
    wider = np.pad(x, ((0, 0), (0, 2), (0, 3)))
    np.testing.assert_allclose(before, model.predict(wider, verbose=0), rtol=1e-4, atol=1e-5)
    # Where a word stands in its sentence counts, and so does where the sentence stands.
    for other in (x[:, ::-1], np.concatenate([x[:, :, 1::-1], x[:, :, 2:]], axis=2)):
        changed = np.abs(before - model.predict(other, verbose=0)).max(1)
        assert (changed > 1e-4).all()


@pytest.mark.parametrize(
    "arguments", [{}, {"ask": "after", "cell": "lstm", "num_layers": 2, "score": "dot"},
                  {"score": "multi_head"}, {"hard": True}]
)  # fmt: skip
def test_writing_is_what_recomputation_gives(arguments, source):
    model = shake(small(**arguments))
    made, written = model.generate(source), np.full((6, 1), decoding.START)
    for _ in range(4):
        logits = model.predict([source, written], verbose=0)[:, -1, 3:]
        written = np.concatenate([written, 3 + logits.argmax(-1)[:, None]], axis=1)
    ended = np.cumsum(written[:, 1:] == END, axis=1) - (written[:, 1:] == END) > 0
    np.testing.assert_array_equal(made, np.where(ended, 0, written[:, 1:]))
    best = model.generate(source, beam_size=9, length_penalty=0)
    assert (log_p(model, source, best) >= log_p(model, source, model.generate(source)) - 1e-4).all()


def log_p(model, source, written) -> np.ndarray:
    """Of whole targets (n, t), 0 behind their end."""
    given = np.pad(written[:, :-1], ((0, 0), (1, 0)), constant_values=decoding.START)
    logits = model.predict([source, given], verbose=0)[..., 3:].astype(float)
    each = np.take_along_axis(np.log(softmax(logits)), np.maximum(written - 3, 0)[..., None], -1)
    return (each[..., 0] * (written != 0)).sum(1)


def test_the_target_sees_no_later_token_and_no_padding_of_the_source(source):
    model = shake(small())
    target = RNG.integers(4, 9, (6, 4))
    before = model.predict([source, target], verbose=0)
    later = target.copy()
    later[:, 2] = 4 + (later[:, 2] - 3) % 5
    after = model.predict([source, later], verbose=0)
    np.testing.assert_allclose(before[:, :2], after[:, :2], rtol=1e-4, atol=1e-5)
    assert np.abs(before - after)[:, 2].max(-1).min() > 1e-3
    wider = np.pad(source, ((0, 0), (0, 3)))
    same = model.predict([wider, target], verbose=0)
    np.testing.assert_allclose(before, same, rtol=1e-4, atol=1e-5)
    weights = model.attention_weights(wider, target)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (
        np.swapaxes(weights, -1, -2)[np.broadcast_to((wider == 0)[:, None], (6, 1, 8))] < 1e-6
    ).all()


@pytest.mark.slow
def test_it_learns_to_turn_sequences_round_and_looks_where_it_must():
    ids = RNG.integers(4, 9, (2000, 4))
    start, end = np.full((2000, 1), 2), np.full((2000, 1), END)
    back = ids[:, ::-1]
    model = small(target_length=5, units=32, learning_rate=1e-2)
    x = (ids, np.concatenate([start, back], 1))
    model.fit(x, np.concatenate([back, end], 1), epochs=8, batch_size=50, verbose=0)
    other = np.array(list(itertools.product(range(4, 9), repeat=4)))
    assert (model.generate(other)[:, :4] == other[:, ::-1]).all(1).mean() > 0.97
    weights = model.attention_weights(
        other, np.pad(other[:, ::-1], ((0, 0), (1, 0)), constant_values=2)
    )
    looked = weights[:, 0, :4].mean(0)
    # The state of a neighbour knows the word too, but nothing farther away does as well.
    far = np.abs(np.arange(4)[:, None] - np.arange(3, -1, -1)) > 1
    assert looked[far].sum() / 4 < 0.2


@pytest.mark.slow
def test_dates_in_five_languages():
    """One pass over 16,000 dates more than the transformer's first ten minutes bring."""
    data = attention.load_data()
    model = attention.build_model(**data.spec, seed=0)
    model.fit(data.train, epochs=4, verbose=0)
    source, _ = data.test.sample(2000)
    raw = [data.test.y[i] for i in data.test.indices]
    found = data.transform.decode(model.generate(source[0]))
    right = [a == b for a, b in zip(found, data.transform.decode(np.array(raw)), strict=True)]
    assert np.mean(right) >= 0.99


@pytest.mark.parametrize("source, plots, options", [
    ("dates", {"alignments"}, {"count": 600, "languages": ("en",)}),
    ((["good film. I liked it", "bad film! No"] * 40, ["good", "bad"] * 40),
     {"looks", "confusion_matrix"}, {"num_sentences": 2}),
], ids=["pairs", "texts"])  # fmt: skip
@pytest.mark.slow
def test_a_run_shows_where_it_looked(source, plots, options, tmp_path):
    run = recipes.train(
        "attention", source, variant="tiny", epochs=1, run_dir=tmp_path / "run", verbose=0,
        data_options=options,
    )  # fmt: skip
    assert {p.stem for p in (run.directory / "plots").glob("*.png")} == plots | {"learning_curves"}
    texts = ["April 3, 1984", "May 1, 2020"] if source == "dates" else ["good film", "bad. No"]
    found = recipes.predict(run.directory, texts)
    model = recipes.load(run.directory)
    if source == "dates":
        assert [row["output"] for row in found] == model.generate(texts)
    else:
        assert {row["class"] for row in found} <= {"good", "bad"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"score": "cosine"}, r"unknown score 'cosine'; known: .*additive"),
        ({"cell": "rnn"}, r"unknown cell 'rnn'; known: gru, lstm"),
        ({"ask": "later"}, r"unknown ask 'later'; known: .*before"),
        ({"encoder": "cnn"}, r"unknown encoder 'cnn'"),
        ({"encoder": "self"}, r"encoder='self': is for classifiers"),
        ({"num_questions": 2}, r"num_questions=2: is for classifiers"),
        ({"num_classes": 3}, r"vocabulary_size=None: a classifier needs"),
        ({"hard": 1}, r"hard=1: must be True or False"),
        ({"hard": True, "score": "multi_head"}, r"hard=True: does not go with several heads"),
        ({"num_classes": 3, "vocabulary_size": 9, "hard": True, "num_sentences": 2},
         r"hard=True: goes with one question"),
        ({"score": "dot", "units": 31}, r"units=31: must be even for score='dot'"),
        ({"score": "multi_head", "units": 30}, r"units=30: must be a multiple of num_heads=4"),
        ({"alignment_dim": 0}, r"alignment_dim=0: must be a positive integer"),
        ({"penalty": -1}, r"penalty=-1: must be a number of at least 0"),
    ],
)  # fmt: skip
def test_build_model_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        attention.build_model(**arguments)
