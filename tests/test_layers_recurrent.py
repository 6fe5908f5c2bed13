"""What the recurrent families share: heads, padding, states, feedback, pooling, and bad input."""

import keras
import numpy as np
import pytest

import recipes
from recipes import gru, lstm, rnn
from recipes.layers import recurrent

RNG = np.random.default_rng(0)
FAMILIES = [lstm, gru, rnn]
IDS = {"vocabulary_size": 9, "sequence_length": 7, "num_classes": 3}


def shaken(model: keras.Model, scale: float = 0.3) -> keras.Model:
    """With every weight moved, so that none hides behind a zero."""
    for weight in model.weights:
        weight.assign_add(scale * RNG.standard_normal(weight.shape).astype("float32"))
    return model


def windows(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype("float32")


def ids(count: int, length: int) -> np.ndarray:
    return RNG.integers(1, 9, (count, length)).astype("int32")


@pytest.mark.parametrize(
    "arguments, shape",
    [
        ({"num_classes": 4}, (4,)),
        ({"num_classes": 4, "task": "labelling"}, (8, 4)),
        ({"task": "regression", "num_targets": 2}, (2,)),
        ({}, (5,)),
        ({"num_targets": 2}, (5, 2)),
        ({"num_targets": 3, "decoder": "autoregressive"}, (5, 3)),
        ({"num_classes": 4, "pooling": "max", "bidirectional": True, "units": (5, 6)}, (4,)),
        ({"num_classes": 4, "task": "labelling", "pooling": "max"}, (8, 4)),
    ],
)
def test_each_task_has_its_outputs(arguments, shape):
    model = gru.build_model("tiny", input_shape=(8, 3), horizon=5, **arguments)
    assert model.output_shape == (None, *shape)
    assert model.predict(windows(2, 8, 3), verbose=0).shape == (2, *shape)


@pytest.mark.parametrize(
    "family, pooling, bidirectional",
    [(lstm, "last", False), (lstm, "max", True), (gru, "last", True), (rnn, "max", False)],
)
def test_padding_changes_nothing(family, pooling, bidirectional):
    """Padded to 7 or to 11 steps, five tokens say the same; so do five steps of features."""
    options = {"pooling": pooling, "bidirectional": bidirectional, "units": (6, 5), "seed": 0}
    short = shaken(family.build_model("tiny", **IDS, **options))
    long = family.build_model("tiny", **{**IDS, "sequence_length": 11}, **options)
    long.set_weights(short.get_weights())
    x = ids(4, 5)
    found = [m.predict(np.pad(x, [(0, 0), (0, n)]), verbose=0) for m, n in ((short, 2), (long, 6))]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
    bare = family.build_model("tiny", **{**IDS, "sequence_length": 5}, **options)
    bare.set_weights(short.get_weights())
    np.testing.assert_allclose(found[0], bare.predict(x, verbose=0), rtol=1e-5, atol=1e-6)

    shape = {"input_shape": (5, 2), "num_classes": 3}
    bare = shaken(family.build_model("tiny", **shape, **options))
    padded = family.build_model("tiny", **{**shape, "input_shape": (8, 2)}, masking=True, **options)
    padded.set_weights(bare.get_weights())
    x = windows(4, 5, 2)
    found = padded.predict(np.pad(x, [(0, 0), (0, 3), (0, 0)]), verbose=0)
    np.testing.assert_allclose(found, bare.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_padded_steps_are_in_no_loss_and_no_metric():
    model = shaken(lstm.build_model("tiny", **IDS, task="labelling"))
    x, y = ids(6, 7), RNG.integers(0, 3, (6, 7)).astype("int32")
    lengths = np.array([1, 3, 7, 2, 5, 6])
    there = np.arange(7) < lengths[:, None]
    x *= there
    logits = model.predict(x, verbose=0).astype("float64")
    y = np.where(there, y, logits.argmin(-1))  # the worst there is
    nats = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[..., None], -1)[..., 0]
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(nats[there].mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(-1) == y)[there].mean(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_halves_in_a_row_are_the_whole(family):
    options = {"task": "labelling", "num_classes": 3, "units": (5, 4)}
    whole = shaken(family.build_model("tiny", input_shape=(8, 2), **options))
    pieces = family.build_model("tiny", input_shape=(4, 2), stateful=True, batch_size=3, **options)
    pieces.set_weights(whole.get_weights())
    x = windows(3, 8, 2)
    expected = whole.predict(x, verbose=0)
    for _ in range(2):
        found = [pieces.predict(part, batch_size=3, verbose=0) for part in (x[:, :4], x[:, 4:])]
        np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=1e-5, atol=1e-6)
        recurrent.reset_state(pieces)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("residual", [False, True])
def test_feedback_is_the_one_step_network_fed_its_own_forecasts(family, residual):
    """A direct network of one step, with the same weights, goes on over ever longer windows."""
    options = {"num_targets": 2, "units": (5, 4)}
    fed = shaken(
        family.build_model(
            "tiny", input_shape=(6, 2), horizon=4, decoder="autoregressive", residual=residual,
            **options,
        )
    )  # fmt: skip
    x = windows(3, 6, 2)
    found = fed.predict(x, verbose=0)
    level = x[:, -1:] * residual
    x = x - level
    for step in range(4):
        one = family.build_model(
            "tiny", input_shape=(6 + step, 2), horizon=1, residual=False, **options
        )
        one.set_weights(fed.get_weights())
        value = one.predict(x, verbose=0) + x[:, -1:] * residual
        np.testing.assert_allclose(found[:, step], (value + level)[:, 0], rtol=1e-4, atol=1e-5)
        x = np.concatenate([x, value], axis=1)


@pytest.mark.parametrize("decoder", recurrent.DECODERS)
def test_a_series_that_is_moved_has_its_forecast_moved(decoder):
    """Covariates are not: they are no differences."""
    features = 2 if decoder == "autoregressive" else 3
    options = {"input_shape": (6, features), "horizon": 4, "num_targets": 2, "decoder": decoder}
    model, plain = (shaken(gru.build_model("tiny", residual=r, **options)) for r in (True, False))
    x, shift = windows(5, 6, features), np.array([10, -3, 0], "float32")[:features]
    before, after = (model.predict(v, verbose=0) for v in (x, x + shift))
    np.testing.assert_allclose(after, before + shift[:2], rtol=1e-4, atol=1e-4)
    bare, moved = (plain.predict(v, verbose=0) for v in (x, x + shift))
    assert np.abs(moved - bare - shift[:2]).max() > 1
    if features == 3:
        x[..., 2] += 1
        assert np.abs(model.predict(x, verbose=0) - before).max() > 1e-3


@pytest.mark.parametrize("decoder", recurrent.DECODERS)
def test_a_residual_forecast_starts_from_the_last_value(decoder):
    """With a head of zeros it is persistence: of the targets, which come first."""
    features = 2 if decoder == "autoregressive" else 3
    model = lstm.build_model(
        "tiny", input_shape=(6, features), horizon=4, num_targets=2, decoder=decoder
    )
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    x = windows(5, 6, features)
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, np.repeat(x[:, -1:, :2], 4, axis=1), rtol=1e-6)


@pytest.mark.slow
def test_autoregressive_models_save_and_load(tmp_path):
    options = {"decoder": "autoregressive", "dropout_rate": 0.2, "units": (6, 5)}
    model = shaken(gru.build_model("tiny", input_shape=(9, 1), horizon=3, **options))
    x, y = windows(8, 9, 1), windows(8, 3)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "x.keras")
    again = recipes.load(tmp_path / "x.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    assert again.fit(x, y, verbose=0).history["loss"][0] > 0


def test_dropout_is_between_layers_and_in_training_alone():
    model = lstm.build_model("tiny", **IDS, units=(6, 6), dropout_rate=0.4)
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.4] * 3  # of the embeddings and behind each layer
    cells = [layer.cell for layer in model.layers if hasattr(layer, "cell")]
    assert all(cell.dropout == cell.recurrent_dropout == 0 for cell in cells)  # cuDNN has neither


def test_the_maximum_is_of_each_unit_over_the_steps():
    x = windows(3, 6, 4)
    mask = np.arange(6) < np.array([[6], [2], [4]])
    found = recurrent.MaxOverTime()(x, mask=keras.ops.convert_to_tensor(mask))
    expected = [row[:n].max(axis=0) for row, n in zip(x, (6, 2, 4), strict=True)]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), expected)


def test_the_spec_of_each_kind_of_data_fits():
    for family in FAMILIES:
        series = family.load_data(np.arange(80.0).reshape(40, 2), window=6, horizon=3)
        text = family.load_data((["a b", "b c", "c d e", "d"] * 10, [0, 1, 1, 0] * 10))
        for data in (series, text):
            model = family.build_model("tiny", **data.spec)
            x, y = data.test.arrays()
            loss = model.evaluate(x, y, verbose=0)[0]
            assert np.isfinite(loss)
        assert model.output_shape == (None, 2)


BAD = [
    ({"task": "forecast"}, r"task='forecast': must be one of classification, labelling"),
    ({"task": "labelling"}, r"num_classes=None: task='labelling' needs a number"),
    ({"task": "regression", "num_classes": 3}, r"num_classes=3: task='regression' has no classes"),
    ({"input_shape": (8,)}, r"input_shape=\(8,\): must be \(steps, features\)"),
    ({"num_targets": 4}, r"input_shape=\(8, 3\): num_targets=4 of the features"),
    ({"vocabulary_size": 9, "num_classes": 3}, r"sequence_length=None: token ids need"),
    ({**IDS, "num_classes": None}, r"task='forecasting': does not go with token ids"),
    ({**IDS, "masking": True}, r"masking=True: token ids are masked where they are 0"),
    ({"masking": True}, r"masking=True: a forecast goes on from the last step"),
    ({"horizon": 0}, r"horizon=0: must be a positive integer"),
    ({"horizon": 2.0}, r"horizon=2.0: must be a positive integer"),
    ({"units": ()}, r"units=\(\): must be an integer or a tuple"),
    ({"units": ((3, 4), 5)}, r"units=\(\(3, 4\), 5\): must be an integer or a tuple"),
    ({"decoder": "seq2seq"}, r"decoder='seq2seq': must be one of direct, autoregressive"),
    ({"decoder": "autoregressive"}, r"decoder='autoregressive': it feeds back all features"),
    ({"decoder": "autoregressive", "num_targets": 3, "bidirectional": True},
     r"bidirectional=True: does not go with decoder='autoregressive'"),
    ({"decoder": "autoregressive", "num_targets": 3, "pooling": "max"},
     r"pooling='max': decoder='autoregressive' needs 'last'"),
    ({"pooling": "mean"}, r"pooling='mean': must be one of last, max"),
    ({"bidirectional": 1}, r"bidirectional=1: must be True or False"),
    ({"residual": "yes"}, r"residual='yes': must be True or False"),
    ({"stateful": True}, r"batch_size=None: stateful=True keeps a state for each row"),
    ({"stateful": True, "batch_size": 4, "bidirectional": True},
     r"bidirectional=True: does not go with stateful=True"),
    ({"clip_norm": 0}, r"clip_norm=0: must be a positive number, or None"),
    ({"hidden_dim": 0}, r"hidden_dim=0: must be a positive integer"),
    ({"dropout_rate": 1.0}, r"dropout_rate=1.0: must be a number in \[0, 1\)"),
]  # fmt: skip


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gru.build_model(**{"input_shape": (8, 3), **arguments})


@pytest.mark.parametrize("pooling", ["max", "last"])
def test_dropout_does_not_shift_the_pooled_features(pooling):
    """What the head gets in training is on average what it gets in use; a maximum over steps that
    dropout has scaled would be larger."""
    options = {"pooling": pooling, "dropout_rate": 0.5, "units": (16,), "seed": 0}
    model = shaken(gru.build_model("tiny", input_shape=(20, 3), num_classes=4, **options), 1.0)
    x = windows(6, 20, 3)
    drawn = keras.ops.convert_to_numpy(model(np.tile(x, (500, 1, 1)), training=True))
    drawn = drawn.reshape(500, 6, 4)
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    shift = drawn.mean(axis=0) - model.predict(x, verbose=0)
    assert (error > 0).all()
    assert np.abs(shift / error).max() < 5
