"""Hopfield networks: rules by their definitions, energy, and how much each can store."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops

import recipes
from recipes import hopfield
from recipes.data.patterns import corrupt, random_patterns


def patterns(count, *shape, seed=0):
    return random_patterns(count, shape, seed).astype("float32")


def stored(x, variant="hebb", **arguments):
    """A network that has stored x."""
    model = hopfield.build_model(
        variant, input_shape=x.shape[1:], num_patterns=len(x), seed=0, **arguments
    )
    model.fit(x, verbose=0)
    return model


def weights(model):
    """W (N, N) of a network of pairs."""
    return ops.convert_to_numpy(model.memory.w) / model.memory.units


def right(model, x, spoilt):
    """Share of values right after recall."""
    return np.mean(model.predict(spoilt, verbose=0) * x > 0)


# The rules.


def test_hebbs_weights_by_hand():
    x = np.array([[1, 1, -1], [1, -1, -1]], "float32")
    # W_ij = (x_i x_j + x'_i x'_j) / 3: the units 0 and 1 agree once, 0 and 2 never, 1 and 2 once
    expected = np.array([[0, 0, -2], [0, 0, 0], [-2, 0, 0]]) / 3
    np.testing.assert_allclose(weights(stored(x)), expected, atol=1e-7)


def test_storkeys_weights_by_its_definition():
    x = patterns(5, 7)
    n, w = 7, np.zeros((7, 7))
    for row in x:
        old = w.copy()
        for i in range(n):
            for j in range(n):
                if i != j:
                    h_ij = sum(old[i, k] * row[k] for k in range(n) if k not in (i, j))
                    h_ji = sum(old[j, k] * row[k] for k in range(n) if k not in (i, j))
                    w[i, j] += (row[i] * row[j] - row[i] * h_ji - h_ij * row[j]) / n
    np.testing.assert_allclose(weights(stored(x, "storkey")), w, atol=1e-6)


@pytest.mark.parametrize("rule", ["hebb", "storkey"])
def test_weights_are_symmetric_and_no_unit_is_joined_to_itself(rule):
    w = weights(stored(patterns(9, 20), rule))
    np.testing.assert_allclose(w, w.T, atol=1e-7)
    assert not w.diagonal().any()
    assert w.any()


def test_energies_by_hand():
    x = np.array([[1, 1, -1, 1], [1, -1, -1, -1]], "float32")
    s = np.array([[1, 1, 1, 1], [1, 1, -1, 1], [-1, 1, 1, -1]], "float32")
    # overlaps x_p.s: (2, -2), (4, 0), (-2, -2)
    # E = -1/2 s.W s = -sum_p (x_p.s)^2 / (2 N) + P / 2, since the diagonal is left out
    np.testing.assert_allclose(stored(x).energy(s), [-8 / 8 + 1, -16 / 8 + 1, -8 / 8 + 1])
    # E = -sum_p (x_p.s / N)^3
    found = stored(x, "dense", degree=3).energy(s)
    np.testing.assert_allclose(found, [0, -1, 1 / 4], atol=1e-6)
    # E = -log(e^a + e^b) + s.s / 2 + log P + M^2 / 2, s.s = M^2 = 4
    overlaps = np.array([[2, -2], [4, 0], [-2, -2]])
    expected = 2 + 2 + np.log(2) - np.log(np.exp(overlaps).sum(axis=1))
    np.testing.assert_allclose(stored(x, "modern", beta=1.0).energy(s), expected, rtol=1e-6)
    # beta = 2: E = -log(e^2a + e^2b) / 2 + 4 + log(2) / 2
    expected = 4 + np.log(2) / 2 - np.log(np.exp(2 * overlaps).sum(axis=1)) / 2
    np.testing.assert_allclose(stored(x, "modern", beta=2.0).energy(s), expected, rtol=1e-6)


def test_a_second_fit_replaces_the_first_and_the_order_matters_to_storkey_alone():
    x, other = patterns(6, 30), patterns(6, 30, seed=1)
    for rule in ("hebb", "storkey"):
        model = stored(x, rule)
        once = weights(model)
        model.fit(other, verbose=0)
        assert not np.allclose(weights(model), once)
        model.fit(x, verbose=0)
        np.testing.assert_array_equal(weights(model), once)
        turned = weights(stored(x[::-1].copy(), rule))
        assert np.allclose(turned, once) == (rule == "hebb")


# Recall.


def test_asynchronous_recall_by_hand():
    # Two units that want to be alike. The first in the order gives way to the other.
    x = np.array([[1, 1], [-1, -1]], "float32")
    model = stored(x)
    first, second = model.order
    state = np.zeros((1, 2), "float32")
    state[0, first], state[0, second] = -1, 1
    np.testing.assert_array_equal(model.predict(state, verbose=0), [[1, 1]])
    np.testing.assert_array_equal(model.predict(-state, verbose=0), [[-1, -1]])
    # All at once they change places for ever: after an odd or an even number of sweeps.
    for steps, expected in ((1, -state), (2, state), (7, -state)):
        model = stored(x, "synchronous", max_steps=steps)
        np.testing.assert_array_equal(model.predict(state, verbose=0), expected)


def test_a_unit_without_a_field_stays():
    x = np.array([[1, 1, 1, 1], [1, 1, -1, -1]], "float32")  # W joins 0 with 1, and 2 with 3
    for mode in ("asynchronous", "synchronous"):
        model = stored(x[:, :2].repeat(2, 0)[:2] * [[1, 1], [1, -1]], mode=mode)
        assert not weights(model).any()
        np.testing.assert_array_equal(model.predict(x[:, :2], verbose=0), x[:, :2])
    model = stored(x)
    assert np.count_nonzero(weights(model)) == 4
    unknown = np.array([[0, 1, -1, 0], [-1, 0, 0, 0]], "float32")
    expected = [[1, 1, -1, -1], [-1, -1, 0, 0]]  # what nothing is known of stays unknown
    np.testing.assert_array_equal(model.predict(unknown, verbose=0), expected)


@pytest.mark.parametrize("rule", ["hebb", "storkey", "dense"])
def test_no_turn_of_a_unit_raises_the_energy(rule):
    x = patterns(12, 40)  # far beyond what Hebb's rule can store: there is much to change
    model = stored(x, rule)
    states = model.trajectory(patterns(8, 40, seed=3), max_steps=3, every=1)
    changed = (np.diff(states, axis=0) != 0).sum(axis=2)
    assert changed.max() == 1  # one unit at a time
    assert changed.sum() > 50
    energies = np.stack([model.energy(s) for s in states]).astype("float64")
    falls = np.diff(energies, axis=0)
    assert falls.max() < 1e-5
    assert falls[changed > 0].max() < 0 or rule != "hebb"  # whole numbers: strictly


def test_the_energy_of_the_modern_network_falls_and_has_bounds():
    x = patterns(30, 16)
    model = stored(x, "modern", beta=0.2)
    start = np.random.default_rng(0).uniform(-1, 1, (20, 16)).astype("float32")
    states = model.trajectory(start, max_steps=30)
    assert len(states) > 4
    energies = np.stack([model.energy(s) for s in states])
    assert np.diff(energies, axis=0).max() < 1e-4  # theorem 1
    assert np.diff(energies[:2], axis=0).max() < -0.01
    assert 0 <= energies.min() < energies.max() <= 2 * 16  # 0 <= E <= 2 M^2


@pytest.mark.parametrize("variant", ["hebb", "storkey", "synchronous", "dense", "modern"])
def test_predict_goes_where_the_trajectory_goes_and_the_result_is_at_rest(variant):
    x = patterns(4, 6, 8)
    model = stored(x, variant)
    spoilt = corrupt(x.repeat(3, axis=0), 0.1, 5)
    recalled = model.predict(spoilt, batch_size=5, verbose=0)
    assert recalled.shape == spoilt.shape
    np.testing.assert_allclose(recalled, model.trajectory(spoilt)[-1], atol=1e-3)
    np.testing.assert_allclose(model.predict(recalled, verbose=0), recalled, atol=1e-3)
    np.testing.assert_array_equal(recalled > 0, x.repeat(3, axis=0) > 0)


def test_opposite_states_have_opposite_recalls():
    model = stored(patterns(10, 51))
    s = patterns(20, 51, seed=4)
    there, back = (model.predict(sign * s, verbose=0) for sign in (1, -1))
    np.testing.assert_array_equal(there, -back)
    np.testing.assert_array_equal(model.energy(s), model.energy(-s))


def test_the_dense_network_of_degree_2_is_hebbs():
    x, s = patterns(8, 64), patterns(20, 64, seed=5)
    hebb, dense = stored(x), stored(x, "dense", degree=2)
    there, here = (model.predict(s, verbose=0) for model in (hebb, dense))
    np.testing.assert_array_equal(there, here)
    # -sum_p (x.s / N)^2 = 2 / N * (-1/2 s.W s) - P / N
    np.testing.assert_allclose(dense.energy(s), hebb.energy(s) * 2 / 64 - 8 / 64, atol=1e-5)


def test_the_order_of_turns_is_drawn_by_the_seed():
    orders = [hopfield.build_model(seed=seed).order.tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(256))
    assert orders[0] != sorted(orders[0])


# How much each can store.


@pytest.mark.parametrize("mode", ["asynchronous", "synchronous"])
def test_hebb_recalls_99_percent_at_a_tenth_of_a_pattern_a_unit(mode):
    x = patterns(50, 500)
    assert right(stored(x, mode=mode), x, corrupt(x, 0.1)) >= 0.99


def test_hebb_collapses_past_0138():
    # Mean overlap with the pattern that recall starts from, as simulated for N = 500 elsewhere:
    # 0.997 at the load 0.1, 0.898 at 0.138, 0.502 at 0.2.
    overlaps = {}
    for count in (50, 69, 100):
        x = patterns(count, 500, seed=1)
        recalled = stored(x).predict(x, verbose=0)
        overlaps[count] = np.mean(recalled * x)
    assert overlaps[50] == pytest.approx(0.997, abs=0.01)
    assert overlaps[69] == pytest.approx(0.898, abs=0.08)
    assert overlaps[100] == pytest.approx(0.502, abs=0.08)


def test_bits_that_one_step_turns_agree_with_the_theory():
    # The other P - 1 patterns act on a unit as noise of variance (P - 1) / N: a share of
    # erfc(sqrt(N / 2 (P - 1))) / 2 of the bits of a stored pattern turns.
    for count in (75, 150):
        x = patterns(count, 500)
        model = stored(x, "synchronous", max_steps=1)
        wrong = 1 - right(model, x, x)
        expected = math.erfc(math.sqrt(500 / (2 * (count - 1)))) / 2
        deviation = math.sqrt(expected / x.size)
        assert wrong == pytest.approx(expected, abs=5 * deviation)


def test_storkeys_rule_stores_what_hebbs_cannot():
    x = patterns(40, 200)  # 0.2 N
    spoilt = corrupt(x, 0.1)
    assert right(stored(x), x, spoilt) < 0.85
    assert right(stored(x, "storkey"), x, spoilt) > 0.99


def test_the_dense_network_stores_more_the_higher_its_degree():
    x = patterns(100, 60)
    spoilt = corrupt(x, 0.1)[:30]
    shares = [right(stored(x, "dense", degree=d), x[:30], spoilt) for d in (2, 3, 5)]
    assert shares[0] < 0.75
    assert shares[1] > 0.95
    assert shares[2] > 0.999


def test_the_modern_network_stores_over_100_times_more_than_hebbs():
    units, bar = 100, 0.99

    def holds(variant, count):
        x = patterns(count, units)
        some = x[:200]
        return right(stored(x, variant), some, corrupt(some, 0.1)) >= bar

    most = max(count for count in (5, 10, 15, 20, 25) if holds("hebb", count))
    assert 10 <= most <= 20
    assert holds("modern", 100 * most)
    assert holds("modern", 1000 * most)


def test_the_modern_network_recalls_in_one_step():
    x = patterns(1000, 64)
    model = stored(x, "modern", max_steps=1)
    spoilt = corrupt(x[:100], 6 / 64)
    assert (spoilt != x[:100]).sum(axis=1).tolist() == [6] * 100
    once = model.predict(spoilt, verbose=0)
    np.testing.assert_allclose(once, x[:100], atol=1e-3)
    found = model.evaluate(spoilt, x[:100], verbose=0, return_dict=True)
    assert found["recalled"] == found["bits"] == 1
    assert found["loss"] == 0


def test_a_small_beta_recalls_the_mean_of_all_patterns():
    x = patterns(20, 30)
    model = stored(x, "modern", beta=1e-6)
    recalled = model.predict(corrupt(x, 0.1), verbose=0)
    np.testing.assert_allclose(recalled, np.tile(x.mean(axis=0), (20, 1)), atol=1e-3)


def test_the_letters_and_real_digits_come_back():
    for variant in ("hebb", "storkey", "dense", "modern"):
        letters = hopfield.load_data(flip=0.2)
        model = hopfield.build_model(variant, **letters.spec)
        model.fit(letters.train, verbose=0)
        assert model.evaluate(letters.test, verbose=0, return_dict=True)["bits"] > 0.999
    digits = hopfield.load_data("mnist5k", count=100, copies=1, batch_size=100)
    model = hopfield.build_model("modern", **digits.spec, beta=0.1)
    model.fit(digits.train, verbose=0)
    found = model.evaluate(digits.test, verbose=0, return_dict=True)
    assert found["recalled"] == 1
    # More alike than random patterns are, and so too much for pairs of units: 50 for 64 units.
    digits = hopfield.load_data("digits", count=50, copies=1)
    model = hopfield.build_model("hebb", **digits.spec, max_steps=5)
    model.fit(digits.train, verbose=0)
    assert model.evaluate(digits.test, verbose=0, return_dict=True)["recalled"] < 0.1


# fit, evaluate, predict.


def test_evaluate_by_hand():
    x = np.array([[1, 1, 1, 1]], "float32")
    model = stored(x)
    # E = -1/2 sum_{i != j} x_i x_j / 4 = -12 / 8. All but the mirror image come back to x.
    start = np.array([[1, 1, 1, -1], [-1, -1, -1, -1]], "float32")
    expected = {"loss": 0.5, "bits": 0.5, "recalled": 0.5, "energy": -1.5}
    found = model.evaluate(start, x.repeat(2, 0), verbose=0, return_dict=True)
    assert found == pytest.approx(expected)
    found = model.evaluate(start, -x.repeat(2, 0), verbose=0, return_dict=True)
    assert found == pytest.approx(expected)
    found = model.evaluate(start, np.array([[1, 1, 1, -1], [-1, -1, 1, 1]]), verbose=0,
                           return_dict=True)  # fmt: skip
    assert found == pytest.approx({"loss": 0.375, "bits": 0.625, "recalled": 0, "energy": -1.5})
    found = model.evaluate(start, x.repeat(2, 0), sample_weight=np.array([1.0, 0.0]), verbose=0,
                           return_dict=True)  # fmt: skip
    assert found["bits"] == found["recalled"] == 1


def test_fit_takes_arrays_batches_and_data_and_calls_back():
    data = hopfield.load_data(copies=2)
    x, _ = data.train.arrays()
    expected = stored(x).get_weights()[0]
    calls = []

    class Calls(keras.callbacks.Callback):
        pass

    order = ("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end",
             "on_test_begin", "on_test_end", "on_epoch_end", "on_train_end")  # fmt: skip
    for name in order:
        setattr(Calls, name, lambda self, *_, name=name, **__: calls.append(name))

    for given in (data.train, list(x), [(x[:4], x[:4]), (x[4:], x[4:])], x.astype(int)):
        model = hopfield.build_model(**data.spec)
        calls.clear()
        history = model.fit(given, validation_data=data.validation, callbacks=[Calls()], verbose=0)
        np.testing.assert_array_equal(model.get_weights()[0], expected)
        assert history.epoch == [0]
        names = {"loss", "bits", "recalled", "energy"}
        assert set(history.history) == names | {f"val_{name}" for name in names}
        assert history.history["val_bits"] == [1.0]
        assert tuple(calls) == order


def test_fit_tells_of_all_patterns_not_of_the_last_batch():
    x = random_patterns(40, (20,), 0).astype("float32")  # far too many
    model = hopfield.build_model(input_shape=(20,), num_patterns=40)
    history = model.fit(x, batch_size=8, verbose=0).history
    found = model.evaluate(x, x, batch_size=40, verbose=0, return_dict=True)
    assert 0.5 < found["bits"] < 0.95
    for name, value in found.items():
        assert history[name] == [pytest.approx(value, rel=1e-5)]


def test_more_epochs_change_nothing_and_are_said_to():
    x = patterns(3, 20)
    model = hopfield.build_model(input_shape=(20,), num_patterns=3)
    with pytest.warns(UserWarning, match="epochs=5: one epoch stored all patterns"):
        history = model.fit(x, epochs=5, verbose=0)
    assert history.epoch == [0]
    np.testing.assert_array_equal(model.get_weights()[0], stored(x).get_weights()[0])
    assert model.fit(x, initial_epoch=3, epochs=3, verbose=0).epoch == []


def test_stored_patterns_are_the_least_unusual():
    x = patterns(5, 100)
    for variant in ("hebb", "modern"):
        model = stored(x, variant)
        few, many, none = (model.anomaly_score(corrupt(x, flip)) for flip in (0, 0.1, 0.4))
        assert (few < many).all()
        assert (many < none).all()
        some = model.anomaly_score(np.concatenate([x] * 60), batch_size=7)
        np.testing.assert_allclose(some, np.tile(few, 60), rtol=1e-5)


@pytest.mark.parametrize("variant", ["hebb", "dense", "modern"])
def test_a_saved_network_remembers(tmp_path, variant):
    x = patterns(4, 5, 6)
    model = stored(x, variant, max_steps=7, beta=0.5)
    model.save(tmp_path / "h.keras")
    loaded = recipes.load(tmp_path / "h.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    np.testing.assert_array_equal(loaded.order, model.order)
    np.testing.assert_array_equal(loaded.energy(x), model.energy(x))
    np.testing.assert_array_equal(right(loaded, x, corrupt(x, 0.1)), 1.0)


BOARD = patterns(3, 4)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (patterns(3, 5), r"x='array of shape \(3, 5\)': needs patterns of -1 and \+1, \(3, \*\(4,"),
        (patterns(2, 4), r"x='2 patterns': needs patterns of -1 and \+1, \(3, "),
        ((BOARD + 1) / 2, r"x='values such as 0': needs patterns of -1 and \+1"),
        (BOARD * np.nan, r"x='values such as nan': needs patterns"),
        ([[1, -1, 1, 1], [1, -1], [1, 1, 1, 1]], r"x: patterns of unequal lengths; this model"),
    ],
)
def test_wrong_patterns_get_one_clear_error(x, message):
    model = hopfield.build_model(input_shape=(4,), num_patterns=3)
    with pytest.raises(ValueError, match=message):
        model.fit(x, verbose=0)
    assert not model.get_weights()[0].any()


def test_wrong_states_and_targets_get_one_clear_error():
    model = stored(BOARD)
    with pytest.raises(ValueError, match=r"shape \(2, 5\)': this model takes \(None, 4\)"):
        model.predict(patterns(2, 5), verbose=0)
    with pytest.raises(ValueError, match=r"values in 0 .. 255': this model takes values in \[-1"):
        model.predict(np.array([[0, 255, 0, 0]], "float32"), verbose=0)
    with pytest.raises(ValueError, match=r"values in nan .. nan'"):
        model.energy(BOARD * np.nan)
    with pytest.raises(ValueError, match=r"y='array of shape \(\w+, 1\)': needs the patterns"):
        model.evaluate(BOARD, np.ones((3, 1), "float32"), verbose=0)
    with pytest.raises(ValueError, match=r"validation_split=0.5: not supported"):
        model.fit(BOARD, validation_split=0.5)
    with pytest.raises(ValueError, match="batch_size"):
        model.fit(BOARD, batch_size=-1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "heb"}, r"unknown rule 'heb'; known: hebb, storkey, dense, modern. Did you"),
        ({"mode": "both"}, r"unknown mode of the rule 'hebb' 'both'; known: asynchronous, sync"),
        ({"rule": "modern", "mode": "asynchronous"}, r"of the rule 'modern' .*known: synchronous"),
        ({"rule": "dense", "mode": "synchronous"}, r"of the rule 'dense' .*known: asynchronous"),
        ({"num_patterns": 0}, r"num_patterns=0: must be an integer of at least 1"),
        ({"max_steps": 1.5}, r"max_steps=1.5: must be an integer of at least 1"),
        ({"degree": 1}, r"degree=1: must be an integer of at least 2"),
        ({"beta": 0.0}, r"beta=0.0: must be a positive number"),
    ],
)
def test_wrong_arguments_get_one_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        hopfield.build_model(**arguments)


# Pictures.


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["hebb", "modern"])
def test_pictures_of_patterns_of_any_shape(variant):
    data = hopfield.load_data("random", count=3, shape=(12,), copies=2)
    model = hopfield.build_model(variant, **data.spec)
    model.fit(data.train, verbose=0)
    figures = hopfield.pictures(model, data)
    assert list(figures) == ["recall", "energy", "capacity"]
    lines = figures["energy"].axes[0].lines
    above = np.array([line.get_ydata() for line in lines[:6]])
    assert (np.diff(above, axis=1) <= 1e-5).all()
    bits = figures["capacity"].axes[0].lines[0].get_ydata()
    assert bits[0] == 1
    assert bits[-1] < 0.75 if variant == "hebb" else bits.min() == 1


SHAPES = [((12,), (3, 4, 1)), ((7,), (1, 7, 1)), ((5, 6), (5, 6, 1)), ((4, 4, 3), (4, 4, 3)),
          ((2, 3, 4), (4, 6, 1))]  # fmt: skip


@pytest.mark.parametrize(("shape", "expected"), SHAPES)
def test_patterns_of_any_shape_are_shown(shape, expected):
    x = patterns(2, *shape)
    found = hopfield.as_images(x)
    assert found.shape == (2, *expected)
    np.testing.assert_array_equal(found.ravel(), x.ravel())
