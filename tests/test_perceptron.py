"""Rosenblatt's rule and McCulloch and Pitts's units: by hand, by theory, and on real data."""

import itertools
import warnings

import keras
import numpy as np
import pytest

from recipes import perceptron
from recipes.data.core import Batches

quiet = pytest.mark.filterwarnings("ignore:the perceptron did not converge")

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
AND, OR, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])


def small(inputs: int = 2, **arguments):
    return perceptron.build_model("tiny", input_shape=(inputs,), **arguments)


def weights(model) -> np.ndarray:
    """(inputs + 1, units), the bias last."""
    return np.array(model.units.w)


def learn(model, x, y, epochs=1, **options):
    return model.fit(x, y, epochs=epochs, **{"shuffle": False, "verbose": 0} | options)


def margins_of(x, y, w, b):
    return np.where(y == 1, 1, -1) * (x @ w + b)


# The rule, by hand.


@quiet
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_first_updates_on_and(batch_size):
    # (x1, x2, 1) in order; score before, then the weights after it:
    #   (0,0,1): 0, wrong -> (0,0,-1); (0,1,1): -1; (1,0,1): -1; (1,1,1): -1, wrong -> (1,1,0)
    model = small()
    logs = learn(model, X, AND, batch_size=batch_size).history
    np.testing.assert_array_equal(weights(model)[:, 0], [1, 1, 0])
    assert logs == {"mistakes": [2], "loss": [0.25], "accuracy": [0.75]}
    #   (0,0,1): 0, wrong -> (1,1,-1); (0,1,1): 0, wrong -> (1,0,-2); (1,0,1): -1;
    #   (1,1,1): -1, wrong -> (2,1,-1)
    logs = learn(model, X, AND, batch_size=batch_size).history
    np.testing.assert_array_equal(weights(model)[:, 0], [2, 1, -1])
    assert logs == {"mistakes": [3], "loss": [0.25], "accuracy": [0.75]}
    np.testing.assert_array_equal(
        model.predict(X, verbose=0), [[1, -1], [0, 0], [-1, 1], [-2, 2]]
    )  # (-z, z)


@quiet
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_averaged_predicts_with_the_mean_of_the_weights_each_example_left(batch_size):
    # The weights of the test above: 3 (0,0,-1) + (1,1,0), then (1,1,-1) + 2 (1,0,-2) + (2,1,-1).
    model = small(averaged=True)
    learn(model, X, AND, batch_size=batch_size)
    np.testing.assert_allclose(model.units.mean[:, 0], np.array([1, 1, -3]) / 4)
    learn(model, X, AND, batch_size=batch_size)
    mean = np.array([6, 3, -9]) / 8
    np.testing.assert_allclose(model.units.mean[:, 0], mean)
    np.testing.assert_array_equal(weights(model)[:, 0], [2, 1, -1])
    assert float(model.units.seen) == 8
    scores = X @ mean[:2] + mean[2]
    np.testing.assert_allclose(model.predict(X, verbose=0), np.stack([-scores, scores], axis=1))


@quiet
def test_criterion_is_the_mean_of_what_lies_on_the_wrong_side():
    model = small()
    model.units.w.assign([[2.0], [1.0], [-1.0]])  # z = -1, 0, 1, 2
    assert model.evaluate(X, AND, verbose=0) == pytest.approx([1 / 4, 3 / 4])
    three = small(1, num_classes=3)
    three.units.w.assign([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])
    # Scores (1, -1, 2) for class 0: units 0 right, 1 right, 2 wrong by 2.
    found = three.evaluate(np.ones((1, 1), "float32"), np.array([0]), verbose=0)
    assert found == pytest.approx([2 / 3, 0])


@quiet
def test_learning_rate_scales_the_weights_and_nothing_else():
    one, quarter = small(), small(learning_rate=0.25)
    a, b = (learn(m, X, XOR, epochs=5).history["mistakes"] for m in (one, quarter))
    assert a == b
    np.testing.assert_array_equal(0.25 * weights(one), weights(quarter))


@quiet
def test_learning_rate_schedule_counts_batches():
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([3], [1.0, 2.0])
    model = small(learning_rate=rate)
    learn(model, X, AND, epochs=2, batch_size=1)
    # As above, then with rate 2: (0,0,1): 0, wrong -> (1,1,-2); two right; (1,1,1): 0, wrong.
    np.testing.assert_array_equal(weights(model)[:, 0], [3, 3, 0])


@quiet
def test_each_class_is_one_unit_against_the_rest():
    data = perceptron.load_data("iris")
    x, y = data.train.arrays()
    three = perceptron.build_model(**data.spec)
    learn(three, x, y, epochs=4)
    mistakes = 0
    for label in range(3):
        one = small(4)
        mistakes += sum(learn(one, x, y == label, epochs=4).history["mistakes"])
        np.testing.assert_array_equal(weights(one)[:, 0], weights(three)[:, label])
    # A unit that converged early would have made no more mistakes.
    assert mistakes == sum(three.history.history["mistakes"])


# What a perceptron can and cannot learn.


@pytest.mark.parametrize("y", [AND, OR], ids=["AND", "OR"])
def test_learns_exactly(y):
    model = small()
    history = learn(model, X, y, epochs=50)
    np.testing.assert_array_equal(model.predict(X, verbose=0).argmax(axis=1), y)
    assert model.evaluate(X, y, verbose=0) == [0.0, 1.0]
    assert model.converged is True
    mistakes = history.history["mistakes"]
    assert mistakes[-1] == 0 and 0 not in mistakes[:-1] and len(mistakes) < 50
    assert history.history["accuracy"][-1] == 1.0 and history.history["loss"][-1] == 0.0


def test_learns_all_boolean_functions_of_two_inputs_but_two():
    learned = []
    for y in itertools.product([0, 1], repeat=4):
        model = small()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            learn(model, X, np.array(y), epochs=50)
        assert model.converged is (y not in [(0, 1, 1, 0), (1, 0, 0, 1)])
        assert model.separable is (None if model.converged else False)
        learned.append(model.converged)
    assert sum(learned) == 14


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_xor_is_never_learned_and_the_reason_is_said(epochs, rate):
    model = small(learning_rate=rate)
    model.units.w.assign(np.random.default_rng(epochs).normal(size=(3, 1)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn(model, X, XOR, epochs=epochs, shuffle=True)
    caught = [warning for warning in caught if warning.category is UserWarning]
    assert [warning.filename for warning in caught] == [__file__]  # once, where `fit` is called
    assert f"mistakes in the last of {epochs} epochs" in str(caught[0].message)
    assert "It never will: no hyperplane separates the classes" in str(caught[0].message)
    assert (model.predict(X, verbose=0).argmax(axis=1) == XOR).sum() <= 3
    assert (model.converged, model.separable) == (False, False)


def test_stopping_too_early_is_told_from_never():
    model = small()
    with pytest.warns(UserWarning, match="2 mistakes in the last of 1 epochs.*more epochs"):
        learn(model, X, AND)
    assert (model.converged, model.separable) == (False, True)


def test_too_much_data_is_left_undecided(monkeypatch):
    monkeypatch.setattr(perceptron, "DECIDABLE", 4)
    model = small()
    with pytest.warns(UserWarning, match="too costly to decide"):
        learn(model, X, XOR)
    assert (model.converged, model.separable) == (False, None)


def test_separable_finds_the_104_threshold_functions_of_three_inputs():
    corners = np.array(list(itertools.product([0, 1], repeat=3)), "float64")
    targets = np.array(list(itertools.product([-1, 1], repeat=8)))
    assert sum(perceptron.separable(corners, t) for t in targets) == 104  # Muroga 1971


def test_separable_does_not_depend_on_scale():
    x, t = np.array([[0.0, 5], [1, 5], [2, 5], [3, 5]]), np.array([-1, -1, 1, 1])
    for scale, shift in ((1, 0), (1e-12, 0), (1e12, 0), (1e-3, 1e6)):
        assert perceptron.separable(scale * x + shift, t) is True
        assert perceptron.separable(scale * x + shift, t * [1, -1, 1, 1]) is True
        assert perceptron.separable(scale * x + shift, t * [-1, 1, 1, 1]) is False


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("inputs,gap", [(2, 0.05), (5, 0.2), (20, 0.5)])
def test_mistakes_stay_within_novikoffs_bound(inputs, gap, seed):
    generator = np.random.default_rng((inputs, seed))
    w = generator.normal(size=inputs)
    x = generator.normal(size=(200, inputs)).astype("float32")
    b = generator.normal() / 2
    x = x[np.abs(x @ w + b) > gap * np.linalg.norm(w)]
    y = (x @ w + b > 0).astype(int)
    # The bias is one more coordinate, of the examples and of the separating direction.
    radius = np.sqrt((x**2).sum(axis=1) + 1).max()
    gamma = margins_of(x, y, w, b).min() / np.sqrt(w @ w + b * b)
    bound = (radius / gamma) ** 2
    model = small(inputs)
    mistakes = learn(model, x, y, epochs=int(bound) + 1).history["mistakes"]
    assert model.converged  # each epoch before the last spent at least one mistake
    assert 0 < sum(mistakes) <= bound
    z = x @ weights(model)[:-1, 0] + weights(model)[-1, 0]
    np.testing.assert_array_equal(z > 0, y == 1)


def test_novikoffs_bound_is_attained_by_orthogonal_examples():
    # R = 1 and gamma = 1 / sqrt(d), by w = t: exactly d mistakes, and none after them.
    d = 7
    t = np.where(np.arange(d) % 3, 1.0, -1.0)[:, None]
    w = np.zeros((d, 1))
    scores, _ = perceptron.rosenblatt(w, np.eye(d), t)
    assert (t * scores <= 0).sum() == d
    scores, _ = perceptron.rosenblatt(w, np.eye(d), t)
    assert (t * scores > 0).all()


# McCulloch and Pitts.


@pytest.mark.parametrize(
    "unit, table",
    [
        (([[1, 1]], [2]), [0, 0, 0, 1]),  # AND
        (([[1, 1]], [1]), [0, 1, 1, 1]),  # OR
        (([[0, -1]], [0]), [1, 0, 1, 0]),  # NOT the second
        (([[-1, -1]], [-1]), [1, 1, 1, 0]),  # NAND
        (([[1, 0]], [1], [[0, 1]]), [0, 0, 1, 0]),  # the first but not the second
        (([[9, 0]], [1], [[0, 1]]), [0, 0, 1, 0]),  # no excitation outweighs an inhibitor
        (([[1, 1]], [0], [[1, 1]]), [1, 0, 0, 0]),  # NOR by inhibition
    ],
)
def test_mcculloch_pitts_truth_tables(unit, table):
    np.testing.assert_array_equal(perceptron.McCullochPitts(*unit)(X)[:, 0], table)


def test_mcculloch_pitts_units_in_two_layers_are_xor_and_save(tmp_path):
    inputs = keras.Input((2,))
    hidden = perceptron.McCullochPitts([[1, 0], [0, 1]], [1, 1], [[0, 1], [1, 0]])(inputs)
    model = keras.Model(inputs, perceptron.McCullochPitts([[1, 1]], [1])(hidden))
    model.save(tmp_path / "xor.keras")
    for network in (model, keras.saving.load_model(tmp_path / "xor.keras")):
        np.testing.assert_array_equal(network.predict(X, verbose=0)[:, 0], XOR)
        assert not network.weights


# Real data.


def test_iris_setosa_is_learned_exactly_and_the_others_cannot_be():
    data = perceptron.load_data("iris")
    parts = [part.arrays() for part in (data.train, data.validation, data.test)]
    x, y = map(np.concatenate, zip(*parts, strict=True))
    model = perceptron.build_model(**data.spec)
    with pytest.warns(UserWarning, match="no hyperplane separates class 1 or class 2 from the"):
        learn(model, x, y, epochs=30)
    np.testing.assert_array_equal(model.predict(x, verbose=0)[:, 0] > 0, y == 0)
    alone = small(4)
    learn(alone, x, y == 0, epochs=30)
    assert alone.converged


@quiet
@pytest.mark.parametrize("variant, bar", [("rosenblatt", 0.94), ("averaged", 0.95)])
def test_breast_cancer(variant, bar):
    accuracy = []
    for seed in range(10):
        data = perceptron.load_data(seed=seed)
        model = perceptron.build_model(variant, **data.spec)
        model.fit(data.train, epochs=perceptron.EPOCHS, verbose=0)
        x, y = data.test.arrays()
        accuracy.append((model.predict_on_batch(x).argmax(axis=1) == y).mean())
    # Measured over 40 seeds: 0.957 (standard deviation 0.020), averaged 0.964 (0.015).
    assert np.mean(accuracy) >= bar
    assert min(accuracy) >= 0.88


@quiet
def test_pictures_are_flattened_and_averaging_helps_where_nothing_converges():
    data = perceptron.load_data("mnist5k")
    accuracy = {}
    for variant in ("rosenblatt", "averaged"):
        model = perceptron.build_model(variant, **data.spec)
        model.fit(data.train, epochs=3, verbose=0)
        accuracy[variant] = model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]
    # Measured over 3 seeds: 0.858 to 0.863, and 0.885 to 0.910.
    assert accuracy["rosenblatt"] >= 0.78 and accuracy["averaged"] >= 0.87


@quiet
def test_scores_are_float32_under_a_mixed_policy():
    x = np.random.default_rng(0).normal(size=(40, 6, 6, 1)).astype("float32")
    y = (x[:, 0, 0, 0] > 0).astype(int)
    found = {}
    policy = keras.config.dtype_policy()
    try:
        for name in ("float32", "mixed_bfloat16", "mixed_float16"):
            keras.config.set_dtype_policy(name)
            model = perceptron.build_model(input_shape=(6, 6, 1))
            learn(model, x, y, epochs=3)
            found[name] = weights(model), model.predict(x, verbose=0)
    finally:
        keras.config.set_dtype_policy(policy)
    for w, scores in found.values():
        assert scores.dtype == "float32"
        np.testing.assert_array_equal(w, found["float32"][0])
        np.testing.assert_allclose(scores, found["float32"][1], rtol=1e-6)


# `fit` as Keras has it.


class Recorder(keras.callbacks.Callback):
    """The hooks in the order of their calls, with the batch or the epoch."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.calls, self.stop_at = [], stop_at

    def record(self, name, number=None):
        self.calls.append(name if number is None else f"{name} {number}")
        if self.calls[-1] == self.stop_at:
            self.model.stop_training = True

    def on_train_begin(self, logs=None):
        self.record("train")

    def on_train_end(self, logs=None):
        self.record("end")

    def on_epoch_begin(self, epoch, logs=None):
        self.record("epoch", epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.record("epoch end", epoch)

    def on_train_batch_begin(self, batch, logs=None):
        self.record("batch", batch)

    def on_train_batch_end(self, batch, logs=None):
        self.record("batch end", batch)

    def on_test_begin(self, logs=None):
        self.record("test")


EPOCH = ["batch 0", "batch end 0", "batch 1", "batch end 1"]


@quiet
def test_callbacks_are_called_in_keras_order():
    recorder = Recorder()
    learn(small(), X, XOR, epochs=2, batch_size=2, callbacks=[recorder], validation_data=(X, XOR))
    assert recorder.calls == ["train", "epoch 0", *EPOCH, "test", "epoch end 0",
                              "epoch 1", *EPOCH, "test", "epoch end 1", "end"]  # fmt: skip


@quiet
def test_a_callback_can_stop_in_the_middle_of_an_epoch():
    recorder = Recorder(stop_at="batch end 0")
    model = small()
    history = learn(model, X, AND, epochs=5, batch_size=2, callbacks=[recorder])
    assert recorder.calls == ["train", "epoch 0", *EPOCH[:2], "epoch end 0", "end"]
    assert history.epoch == [0] and model.converged is False
    np.testing.assert_array_equal(weights(model)[:, 0], [0, 0, -1])
    learn(model, X, AND, epochs=50)
    assert model.converged is True
    learn(model, X, AND, epochs=5, batch_size=2, callbacks=[Recorder(stop_at="batch end 0")])
    assert model.converged is False  # half an epoch without a mistake proves nothing


@quiet
def test_early_stopping_restores_the_best_weights():
    stop = keras.callbacks.EarlyStopping("mistakes", 0, 2, mode="min", restore_best_weights=True)
    model = small()
    history = learn(model, X, XOR, epochs=50, callbacks=[stop])
    # Every epoch makes 4 mistakes, or 3 at first: none better than the best comes.
    best = int(np.argmin(history.history["mistakes"]))
    assert len(history.epoch) == best + 3
    again = small()
    learn(again, X, XOR, epochs=best + 1)
    np.testing.assert_array_equal(weights(model), weights(again))


@quiet
def test_validation_logs_are_those_of_evaluate():
    data = perceptron.load_data()
    model = perceptron.build_model(**data.spec)
    history = model.fit(
        data.train, epochs=4, verbose=0, validation_data=data.validation, validation_freq=2
    ).history
    assert {name: len(values) for name, values in history.items()} == {
        "loss": 4, "accuracy": 4, "mistakes": 4, "val_loss": 2, "val_accuracy": 2
    }  # fmt: skip
    loss, accuracy = model.evaluate(data.validation, verbose=0)
    assert history["val_loss"][-1] == pytest.approx(loss)
    assert history["val_accuracy"][-1] == pytest.approx(accuracy)


@quiet
@pytest.mark.parametrize("variant", ["rosenblatt", "averaged"])
def test_a_saved_model_goes_on_as_if_it_had_never_stopped(variant, tmp_path):
    data = perceptron.load_data()
    options = {"learning_rate": 0.5, **data.spec}
    whole = perceptron.build_model(variant, **options)
    undisturbed = whole.fit(data.train, epochs=5, verbose=0).history["mistakes"]

    train = perceptron.load_data().train
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    perceptron.build_model(variant, **options).fit(
        train, epochs=3, verbose=0, callbacks=[checkpoint]
    )
    model = keras.saving.load_model(tmp_path / "3.keras")
    history = model.fit(train, epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4] and history.history["mistakes"] == undisturbed[3:]
    for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@quiet
def test_backup_and_restore_goes_on_where_it_was_interrupted(tmp_path):
    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("power cut")

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path)

    with pytest.raises(RuntimeError, match="power cut"):
        learn(small(), X, XOR, epochs=4, callbacks=[backup(), Crash()])
    model, whole = small(), small()
    assert learn(model, X, XOR, epochs=4, callbacks=[backup()]).epoch == [2, 3]
    learn(whole, X, XOR, epochs=4)
    np.testing.assert_array_equal(weights(model), weights(whole))


@quiet
@pytest.mark.parametrize("source", ["arrays", "lists", "Batches", "tf.data", "iterable"])
def test_every_source_gives_the_same_weights(source):
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    model, expected = small(3), np.zeros((4, 1))
    for _ in range(3):
        t = np.where(y == 1, 1.0, -1.0)[:, None]
        perceptron.rosenblatt(expected, np.column_stack([x, np.ones(50)]), t)
    if source == "arrays":
        learn(model, x, y[:, None], epochs=3, batch_size=8)
    elif source == "lists":
        learn(model, x.tolist(), y.tolist(), epochs=3, batch_size=8)
    elif source == "Batches":
        learn(model, Batches(x, y, np.arange(50), np.asarray, 8), None, epochs=3)
    elif source == "tf.data":
        tf = pytest.importorskip("tensorflow")
        learn(model, tf.data.Dataset.from_tensor_slices((x, y)).batch(8), None, epochs=3)
    else:
        learn(model, [(x[i : i + 8], y[i : i + 8]) for i in range(0, 50, 8)], None, epochs=3)
    np.testing.assert_allclose(weights(model), expected, rtol=1e-6, atol=1e-6)


@quiet
def test_arrays_are_shuffled_anew_in_each_epoch_and_repeatably():
    x, y = np.arange(20, dtype="float32")[:, None], np.arange(20) % 2
    orders = []
    model = small(1)
    plain = model._examples

    def examples(batches):
        for batch in plain(batches):
            orders.append(batch[0][:, 0].tolist())
            yield batch

    model._examples = examples
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model.units.w.assign(np.zeros((2, 1)))
        learn(model, x, y, epochs=2, batch_size=20, shuffle=True)
        orders.pop()  # of the search for a reason at the end
    first, second, *again = orders
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second and again == [first, second]


NAN = X.copy()
NAN[1, 0] = np.nan
ITERATOR = iter([(X, AND)])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(x=X, y=[-1, -1, -1, 1]), r"y='labels \[-1  1\]': must be integers in 0 .. 1"),
        (dict(x=X, y=[0, 1, 2, 1]), r"y='labels \[0 1 2\]': must be integers in 0 .. 1"),
        (dict(x=X, y=[0, 0.5, 1, 1]), r"y='labels \[0.  0.5 1. \]'"),
        (dict(x=X, y=np.eye(4)[:, :2]), r"y='batch of shape \(4, 2\)': needs 4 labels"),
        (dict(x=X, y=AND[:3]), r"y='array of shape \(3,\)': .*x, shape \(4, 2\)"),
        (dict(x=X[:, :1], y=AND), r"x='batch of shape \(4, 1\)': needs \(n, \*\(2,\)\)"),
        (dict(x=NAN, y=AND), "x='batch': holds NaN or infinity"),
        (dict(x=X), "x='ndarray': needs y beside it"),
        (dict(x=None), "x='NoneType': needs y beside it"),
        (dict(x=ITERATOR), "x='list_iterator': .*not a generator"),
        (dict(x=[(X, AND, AND)]), r"x='tuple': each batch must be \(x, y\)"),
        (dict(x=[]), "x='list': holds no examples"),
        (dict(x=X, y=AND, class_weight={0: 1, 1: 2}), "class_weight=.*not supported"),
        (dict(x=X, y=AND, sample_weight=[1]), "sample_weight=.*not supported"),
        (dict(x=X, y=AND, steps_per_epoch=1), "steps_per_epoch=1: not supported"),
        (dict(x=X, y=AND, validation_split=0.5), "validation_split=0.5: not supported"),
    ],
)
def test_bad_input_to_fit(arguments, message):
    model = small()
    with pytest.raises(ValueError, match=message):
        model.fit(**arguments, verbose=0)
    assert not weights(model).any()  # nothing half-learned


def test_an_infinite_dataset_is_refused():
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match="is infinite"):
        small().fit(tf.data.Dataset.from_tensors((X, AND)).repeat(), verbose=0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([1, 1], [2]), "connections=.*shape"),
        (([[1, 1]], [2, 1]), "thresholds=.*needs 1"),
        (([[1, 1]], [2], [[1]]), r"inhibitors=.*must be of shape \(1, 2\)"),
    ],
)
def test_bad_mcculloch_pitts_units(arguments, message):
    with pytest.raises(ValueError, match=message):
        perceptron.McCullochPitts(*arguments)
