"""GPT: sizes, what it cannot see, writing with and without a cache, drawing, and what it learns."""

import keras
import numpy as np
import pytest

import recipes
from recipes import gpt

RNG = np.random.default_rng(0)


def small(**arguments) -> keras.Model:
    sizes = {"vocabulary_size": 12, "sequence_length": 10, "num_layers": 2}
    return gpt.build_model("tiny", **{**sizes, "seed": 0, **arguments})


@pytest.fixture(scope="module")
def shaken() -> keras.Model:
    """A network whose guesses differ from position to position."""
    model = small()
    for weight in model.weights:
        weight.assign_add(0.3 * RNG.standard_normal(weight.shape).astype("float32"))
    return model


@pytest.mark.parametrize(
    "variant, count",
    [
        ("gpt1", 116_534_784),
        ("gpt2", 124_439_808),
        ("gpt2_medium", 354_823_168),
        ("gpt2_large", 774_030_080),
        ("gpt2_xl", 1_557_611_200),
    ],
)
def test_the_papers_networks_have_their_parameters(variant, count, sketch):
    assert sketch(gpt.build_model, variant).count_params() == count


def test_nanogpts_networks_have_their_parameters(sketch):
    """Karpathy counts 10.65 M for the larger one: without the positions, biases and 65 tokens."""
    assert sketch(gpt.build_model, "baby", vocabulary_size=65).count_params() == 10_745_088


def test_initial_weights_are_gpt2s():
    """N(0, 0.02), smaller by sqrt(2 layers) where a matrix leads back to the shortcut."""
    model = gpt.build_model("nano", num_layers=8, hidden_dim=256, seed=0)
    block = model.blocks[3]
    for layer, deviation in (
        (block.attention.qkv, 0.02), (block.up, 0.02), (block.attention.out, 0.005),
        (block.down, 0.005),
    ):  # fmt: skip
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        assert kernel.std() == pytest.approx(deviation, rel=0.03)
    assert keras.ops.convert_to_numpy(model.positions.positions).std() == pytest.approx(
        0.01, rel=0.03
    )


def test_no_guess_depends_on_what_comes_later(shaken):
    ids = RNG.integers(0, 12, (2, 10))
    before = shaken.predict(ids, verbose=0)
    ids[:, 6] = (ids[:, 6] + 1) % 12
    after = shaken.predict(ids, verbose=0)
    np.testing.assert_allclose(before[:, :6], after[:, :6], rtol=1e-5, atol=1e-6)
    assert np.abs(before[:, 6:] - after[:, 6:]).max(-1).min() > 1e-3


def recomputed(model, row, count):
    """The likeliest tokens, each from a pass over all before it."""
    row = list(row)
    for _ in range(count):
        row.append(int(model.predict(np.array([row]), verbose=0)[0, -1].argmax()))
    return row


def test_the_cache_writes_what_recomputation_writes(shaken):
    """Two prompts of unequal lengths at once."""
    prompts = [[3, 1, 4], [2, 7, 1, 8, 2]]
    found = shaken.generate(prompts, 5, temperature=0)
    assert [row.tolist() for row in found] == [recomputed(shaken, p, 5) for p in prompts]


def test_past_its_length_it_goes_on_from_the_last_half(shaken):
    found = shaken.generate([5, 6], 14, temperature=0).tolist()
    expected = recomputed(shaken, [5, 6], 8)  # 10 positions are full
    expected += recomputed(shaken, expected[-5:], 5)[5:]
    expected += recomputed(shaken, expected[-5:], 1)[5:]
    assert found == expected


def chances(model, prompt, **options) -> np.ndarray:
    """Shares of the tokens that follow a prompt, over many draws."""
    rows = model.generate([prompt] * 4000, 1, seed=3, **options)
    return np.bincount([row[-1] for row in rows], minlength=12) / 4000


def test_draws_follow_the_guess(shaken):
    logits = shaken.predict(np.array([[3, 1]]), verbose=0)[0, -1].astype("float64")
    for temperature in (1.0, 0.5):
        p = np.exp(logits / temperature)
        p /= p.sum()
        error = np.sqrt(p * (1 - p) / 4000)
        found = chances(shaken, [3, 1], temperature=temperature)
        assert (np.abs(found - p) <= 4 * error + 1e-9).all()


def test_top_k_and_top_p_cut_the_unlikely_away(shaken):
    logits = shaken.predict(np.array([[3, 1]]), verbose=0)[0, -1].astype("float64")
    p = np.exp(logits) / np.exp(logits).sum()
    order = p.argsort()[::-1]
    assert set(np.flatnonzero(chances(shaken, [3, 1], top_k=3))) == set(order[:3])
    enough = int((p[order].cumsum() < 0.6).sum()) + 1  # the fewest that have 0.6 together
    assert set(np.flatnonzero(chances(shaken, [3, 1], top_p=0.6))) == set(order[:enough])
    assert chances(shaken, [3, 1], top_k=1)[order[0]] == 1


def test_the_seed_fixes_the_draws(shaken):
    first, again, other = (shaken.generate([1, 2], 8, seed=s).tolist() for s in (0, 0, 1))
    assert first == again != other


def test_a_loaded_model_writes_the_same_text(tmp_path):
    from recipes.data import tokenizers

    tokenizer = tokenizers.train(["hello world"], "characters").get_config()
    model = small(vocabulary_size=10, tokenizer=tokenizer)
    model.save(tmp_path / "x.keras")
    found = recipes.load(tmp_path / "x.keras").generate(["hel", "w"], 5)
    assert found == model.generate(["hel", "w"], 5)
    assert [len(text) for text in found] == [8, 6]
    assert found[0].startswith("hel")


def test_attention_weights_and_surprise_are_of_the_same_network(shaken):
    ids = RNG.integers(0, 12, (2, 7))
    weights = shaken.attention_weights(ids)
    assert weights.shape == (2, 2, 2, 7, 7)  # n, layers, heads, queries, keys
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    loss = shaken.evaluate(ids[:, :-1], ids[:, 1:], verbose=0, return_dict=True)["loss"]
    assert shaken.surprise(ids).mean() == pytest.approx(loss, rel=1e-5)


def test_weight_decay_leaves_biases_and_norms_alone():
    model = small(use_bias=True, weight_decay=0.5, learning_rate=1e-3)
    zero = np.zeros((2, 4), "int32")
    model.train_on_batch(zero, zero)
    decays = {w.path: model.optimizer._use_weight_decay(w) for w in model.trainable_weights}
    assert {path for path, decay in decays.items() if not decay} == {
        w.path for w in model.trainable_weights if len(w.shape) < 2
    }


def test_it_learns_to_repeat():
    """The second half of each row repeats the first: copying needs attention to a place before."""
    half = RNG.integers(0, 12, (512, 5))
    rows = np.concatenate([half, half], axis=1)
    model = small(learning_rate=1e-2, hidden_dim=64)
    model.fit(rows[:, :-1], rows[:, 1:], epochs=30, batch_size=64, verbose=0)
    other = RNG.integers(0, 12, (64, 5))
    made = model.generate(list(np.concatenate([other, other[:, :1]], axis=1)), 4, temperature=0)
    assert np.mean(np.array(made)[:, 5:] == other) > 0.95


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prompt": ""}, r"prompt='': "),
        ({"prompt": []}, r"prompt=\[\]: needs at least one"),
        ({"prompt": [[1], []]}, r"prompt=\[\]: must not be empty"),
        ({"prompt": [1] * 11}, r"prompt='11 tokens': this model sees at most 10"),
        ({"prompt": [1, 12]}, r"prompt=\[1, 12\]: must be token ids in 0 .. 11"),
        ({"prompt": "text"}, r"prompt='text': needs a model with a tokenizer"),
        ({"max_new_tokens": 0}, r"max_new_tokens=0: must be a positive integer"),
        ({"temperature": -1}, r"temperature=-1: must be a number of at least 0"),
        ({"top_k": 13}, r"top_k=13: must be an integer from 1 to 12, or None"),
        ({"top_p": 0.0}, r"top_p=0.0: must be a number in \(0, 1\], or None"),
        ({"seed": -1}, r"seed=-1"),
    ],
)
def test_generate_refuses(shaken, arguments, message):
    with pytest.raises(ValueError, match=message):
        shaken.generate(**{"prompt": [1, 2], "max_new_tokens": 2, **arguments})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"hidden_dim": 30, "num_heads": 4}, r"hidden_dim=30: must be a multiple of num_heads=4"),
        ({"norm_first": 1}, r"norm_first=1: must be True or False"),
        ({"cosine_steps": 50, "warmup_steps": 100}, r"cosine_steps=50: must be 0 or an integer"),
    ],
)
def test_build_model_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config.json"):
        gpt.load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model_type='bert': this reads GPT-2's"):
        gpt.load_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training on the embedded text, as `recipes train` does it."""
    folder = tmp_path_factory.mktemp("runs")
    return recipes.train("gpt", variant="tiny", epochs=1, run_dir=folder / "gpt", verbose=0)


def test_a_run_shows_texts_and_says_how_unusual_one_is(run, tmp_path):
    plots = {path.stem for path in (run.directory / "plots").glob("*.png")}
    assert plots == {"learning_curves", "texts", "attention"}
    assert run.metrics["test_loss"] < 3.2  # guessing by the letters' frequencies alone
    common, odd = recipes.predict(run.directory, ["the value of the object", "zq%x^vv~jqk@wz"])
    assert common["score"] < odd["score"] - 1
    (tmp_path / "text.txt").write_text("the value of the object")
    (of_file,) = recipes.predict(run.directory, tmp_path / "text.txt")
    assert of_file["score"] == pytest.approx(common["score"], rel=1e-5)


def test_the_command_line_goes_on_with_a_text(run, capsys):
    from recipes.__main__ import main

    arguments = ["generate", str(run.directory), "--prompt", "The ", "--max-new-tokens", "30"]
    assert main([*arguments, "--count", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("The ")
    assert out.count("The ") >= 2
    assert main(arguments[:2]) == 1
    assert "--prompt" in capsys.readouterr().err
