"""The transformer: sizes, what it cannot see, the ways to write, and dates that it learns."""

import itertools

import keras
import numpy as np
import pytest

import recipes
from recipes import transformer
from recipes.layers.transformer import SinusoidalPositions

RNG = np.random.default_rng(0)
END = 3


def small(**arguments) -> keras.Model:
    sizes = {"source_vocabulary_size": 9, "target_vocabulary_size": 9, "target_length": 4}
    return transformer.build_model("tiny", **{**sizes, "seed": 0, **arguments})


@pytest.fixture(scope="module")
def shaken() -> keras.Model:
    """A network whose guesses differ from position to position."""
    model = small()
    for weight in model.weights:
        weight.assign_add(0.4 * RNG.standard_normal(weight.shape).astype("float32"))
    return model


@pytest.fixture
def source() -> np.ndarray:
    ids = RNG.integers(4, 9, (6, 5))
    ids[1, 3:] = 0
    return ids


def count(model: keras.Model) -> int:
    """Weights without the table of tokens."""
    table = {id(w) for w in model.table.weights}
    return sum(int(np.prod(w.shape)) for w in model.weights if id(w) not in table)


@pytest.mark.parametrize(
    "variant, blocks, whole",
    [("base", 44_138_496, 63_082_496), ("big", 176_357_376, 214_245_376)],
)
def test_the_papers_networks_have_their_parameters(variant, blocks, whole, sketch):
    model = sketch(transformer.build_model, variant)
    assert count(model) == blocks
    assert model.count_params() == whole


def test_positions_are_the_papers():
    found = SinusoidalPositions()(np.zeros((1, 3, 4), "float32"), start=0)
    expected = [[0, 1, 0, 1], [0.841471, 0.540302, 0.0099998, 0.99995]]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found)[0, :2], expected, rtol=1e-4)


def test_the_target_sees_no_later_token_and_all_of_the_source(shaken, source):
    target = RNG.integers(4, 9, (6, 4))
    before = shaken.predict([source, target], verbose=0)
    later = target.copy()
    later[:, 2] = 4 + (later[:, 2] - 3) % 5
    after = shaken.predict([source, later], verbose=0)
    np.testing.assert_allclose(before[:, :2], after[:, :2], rtol=1e-4, atol=1e-5)
    moved = np.abs(before - after).max(-1)
    assert moved[:, 2].min() > 1e-3
    assert moved[:, 3].max() > 1e-3
    other = source.copy()
    other[:, 0] = 4 + (other[:, 0] - 3) % 5
    changed = shaken.predict([other, target], verbose=0)
    assert np.abs(before - changed).max((1, 2)).min() > 1e-3


def test_padding_of_the_source_changes_nothing(shaken, source):
    target = RNG.integers(4, 9, (6, 4))
    wider = np.pad(source, ((0, 0), (0, 3)))
    np.testing.assert_allclose(
        shaken.predict([source, target], verbose=0), shaken.predict([wider, target], verbose=0),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def log_p(model, row, written) -> np.ndarray:
    """Of each next token, what cannot be written excluded, from a pass over all before it."""
    logits = model.predict([row[None], np.array([[2, *written]])], verbose=0)[0, -1].astype(float)
    logits[:3] = -np.inf
    return logits - np.log(np.exp(logits).sum())


def test_greedy_writing_is_what_recomputation_gives(shaken, source):
    for row, made in zip(source, shaken.generate(source), strict=True):
        written = []
        while len(written) < 4 and END not in written:
            written.append(int(log_p(shaken, row, written).argmax()))
        assert made.tolist() == written + [0] * (4 - len(written))


def test_a_beam_that_holds_all_finds_the_likeliest(source):
    """Three tokens of six can be written: 216 sequences, of which the search must find the best."""
    model = small(target_length=3)
    for weight in model.weights:
        weight.assign_add(0.4 * RNG.standard_normal(weight.shape).astype("float32"))
    every = np.array(list(itertools.product(range(3, 9), repeat=3)))  # (216, 3)
    given = np.pad(every[:, :2], ((0, 0), (1, 0)), constant_values=2)
    for row, made in zip(source[:3], model.generate(source[:3], beam_size=9), strict=True):
        rows = np.repeat(row[None], len(every), axis=0)
        logits = model.predict([rows, given], verbose=0)[..., 3:].astype(float)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        log_p = np.take_along_axis(log_p, every[..., None] - 3, axis=-1)[..., 0]
        ended = (every == END).any(1)
        lengths = np.where(ended, (every == END).argmax(1) + 1, 3)
        there = np.arange(3) < lengths[:, None]
        best = ((log_p * there).sum(1) / ((5 + lengths) / 6) ** 0.6).argmax()
        assert made.tolist() == (every * there)[best].tolist()


def test_draws_follow_the_guess(shaken, source):
    rows = np.repeat(source[:1], 3000, axis=0)
    made = shaken.generate(rows, temperature=1.0, seed=1)[:, 0]
    p = np.exp(log_p(shaken, source[0], []))
    error = np.sqrt(p * (1 - p) / 3000)
    assert (np.abs(np.bincount(made, minlength=9) / 3000 - p) <= 4 * error + 1e-9).all()
    again = shaken.generate(rows[:8], temperature=1.0, seed=1)
    np.testing.assert_array_equal(
        again[:, 0], shaken.generate(rows[:8], temperature=1.0, seed=1)[:, 0]
    )
    assert (shaken.generate(rows[:8], temperature=1.0, top_k=1) == shaken.generate(rows[:8])).all()


def test_nothing_is_written_behind_the_end(shaken, source):
    for options in ({}, {"beam_size": 3}, {"temperature": 1.0}):
        for row in shaken.generate(np.repeat(source, 5, axis=0), **options).tolist():
            if END in row:
                assert not any(row[row.index(END) + 1 :])
            assert not {1, 2} & set(row)


def test_attention_to_the_source_leaves_padding_out(shaken, source):
    weights = shaken.attention_weights(source, RNG.integers(4, 9, (6, 4)))
    assert weights.shape == (6, 1, 2, 4, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (weights[1, ..., 3:] < 1e-6).all()


def test_a_classifier_reads_the_mean_of_what_is_no_padding(source):
    model = transformer.build_model(
        "tiny", vocabulary_size=9, num_classes=3, sequence_length=5, seed=0
    )
    wider = np.pad(source, ((0, 0), (0, 2)))
    np.testing.assert_allclose(
        model.predict(source, verbose=0), model.predict(wider, verbose=0), rtol=1e-4, atol=1e-5
    )
    assert model.predict(source, verbose=0).shape == (6, 3)


def test_it_learns_to_turn_sequences_round():
    """Backwards: the first token written needs the last one read."""
    ids = RNG.integers(4, 9, (2000, 3))
    start, end = np.full((2000, 1), 2), np.full((2000, 1), END)
    back = ids[:, ::-1]
    model = small(learning_rate=5e-3)
    x = (ids, np.concatenate([start, back], 1))
    model.fit(x, np.concatenate([back, end], 1), epochs=8, batch_size=50, verbose=0)
    other = np.array(list(itertools.product(range(4, 9), repeat=3)))
    right = (model.generate(other)[:, :3] == other[:, ::-1]).all(1).mean()
    assert right > 0.97


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training on dates, as `recipes train` does it."""
    folder = tmp_path_factory.mktemp("runs")
    return recipes.train(
        "transformer", variant="tiny", epochs=1, run_dir=folder / "run", verbose=0,
        data_options={"count": 600, "languages": ("en",)},
    )  # fmt: skip


def test_a_run_shows_what_it_writes_and_predicts_texts(run):
    plots = {path.stem for path in (run.directory / "plots").glob("*.png")}
    assert plots == {"learning_curves", "written", "attention"}
    found = recipes.predict(run.directory, ["April 3, 1984", "May 1, 2020"])
    model = recipes.load(run.directory)
    assert [row["output"] for row in found] == model.generate(["April 3, 1984", "May 1, 2020"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sources": "3 May"}, r"sources='3 May': needs a model with tokenizers"),
        ({"sources": []}, r"sources=.*: needs a text"),
        ({"sources": [[9]]}, r"sources='ids 9 .. 9': must be in 0 .. 8"),
        ({"beam_size": 0}, r"beam_size=0: must be an integer from 1 to 9"),
        ({"beam_size": 2, "temperature": 1.0}, r"beam_size=2: beams are not drawn"),
        ({"temperature": -1}, r"temperature=-1: must be a number of at least 0"),
        ({"top_k": 0}, r"top_k=0: must be an integer from 1 to 9"),
        ({"top_p": 2}, r"top_p=2: must be a number in"),
    ],
)
def test_generate_refuses(shaken, arguments, message):
    with pytest.raises(ValueError, match=message):
        shaken.generate(**{"sources": [[4, 5]], **arguments})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"hidden_dim": 30, "num_heads": 4}, r"hidden_dim=30: must be a multiple of num_heads=4"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1.0: must be a number in \[0, 1\)"),
        ({"source_vocabulary_size": 8}, r"shared_vocabulary=True: needs source_vocabulary_size"),
        ({"warmup_steps": 0}, r"warmup_steps=0: must be a positive integer"),
        ({"num_classes": 3}, r"vocabulary_size=None: a classifier needs"),
    ],
)
def test_build_model_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
