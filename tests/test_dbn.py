"""Deep belief networks: stages, what each of them moves, and what a stop in between keeps."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from recipes import dbn
from recipes.training import checkpoints


@pytest.fixture(scope="module")
def digits():
    return dbn.load_data("digits", batch_size=100)


def small(**arguments):
    """Two layers with two epochs of pre-training each."""
    given = {"input_shape": (8, 8, 1), "units": (16, 12), "pretrain_epochs": 2, "seed": 0}
    return dbn.build_model("tiny", **{**given, **arguments})


def fitted(model, data, epochs, **arguments):
    data.train.epoch = arguments.get("initial_epoch", 0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "epochs=.*no fine-tuning")
        return model.fit(data.train, epochs=epochs, verbose=0, shuffle=False, **arguments)


def dense_layers(model):
    return [layer for layer in model.network.layers if isinstance(layer, keras.layers.Dense)]


def values(layers):
    return [w.copy() for layer in layers for w in layer.get_weights()]


class Watch(keras.callbacks.Callback):
    """All weights, the stage and the optimizer at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.seen, self.begun = [], 0

    def on_train_begin(self, logs=None):
        self.begun += 1

    def on_epoch_end(self, epoch, logs=None):
        model = self.model
        now = [values([layer]) for layer in (*model.machines, *dense_layers(model))]
        self.seen.append((model.stage, now, model.optimizer))


# Parameters and stages.


def test_parameters_of_the_classifier_and_of_the_machines():
    model = dbn.build_model("hinton2006")
    trained = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert trained == 1_665_010  # Hinton & Salakhutdinov 2006: 784-500-500-2000-10
    # each machine also has biases of its visible units
    assert model.count_params() == 2 * trained - (2000 * 10 + 10) + 784 + 500 + 500
    model.enter(1)
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == 500 * 500 + 500 + 500


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"pretrain_epochs": 2}, [0, 0, 1, 1, 2, 2, 2]),
        ({"pretrain_epochs": 1, "units": (5,)}, [0, 1, 1, 1, 1, 1, 1]),
        ({"pretrain_epochs": 0}, [2] * 7),
    ],
)
def test_stage_follows_from_the_epoch(arguments, expected):
    model = small(**arguments)
    assert [model.stage_of(epoch) for epoch in range(7)] == expected


def test_each_stage_moves_its_own_weights_alone(digits):
    model, watch = small(), Watch()
    before = [values([layer]) for layer in (*model.machines, *dense_layers(model))]
    history = fitted(model, digits, 6, callbacks=[watch], validation_data=digits.validation)
    assert history.epoch == list(range(6))
    assert set(history.history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert {len(column) for column in history.history.values()} == {6}
    assert watch.begun == 1
    assert [stage for stage, *_ in watch.seen] == [0, 0, 1, 1, 2, 2]
    # machine 1, machine 2, and the three layers of the classifier
    moving = [[0], [0], [1], [1], [2, 3, 4], [2, 3, 4]]
    for (_, now, _), moved in zip(watch.seen, moving, strict=True):
        same = [all(map(np.array_equal, old, new)) for old, new in zip(before, now, strict=True)]
        assert [i for i, still in enumerate(same) if not still] == moved
        before = now
    rates = [float(optimizer.learning_rate) for *_, optimizer in watch.seen]
    np.testing.assert_allclose(rates, [0.05] * 4 + [1e-3] * 2)
    names = [type(optimizer).__name__ for *_, optimizer in watch.seen]
    assert names == ["SGD"] * 4 + ["Adam"] * 2
    steps = [int(optimizer.iterations) for _, _, optimizer in watch.seen[1::2]]
    assert steps == [2 * len(digits.train)] * 3  # a new optimizer each


def test_loss_falls_in_each_stage(digits):
    model = small(units=(32, 24), pretrain_learning_rate=0.2, pretrain_epochs=6)
    loss = np.array(fitted(model, digits.with_batch_size(20), 18).history["loss"])
    assert loss[5] < loss[0] - 0.01
    assert loss[11] < loss[6] - 0.01
    assert loss[17] < loss[12] - 0.5


def test_fine_tuning_starts_from_the_machines_and_leaves_them_alone(digits):
    model = small()
    fitted(model, digits, 4)
    machines = values(model.machines)
    model.enter(2)
    x = digits.test.arrays()[0][:20]
    hidden = keras.Model(model.network.inputs[0], dense_layers(model)[-1].input)(x)
    np.testing.assert_allclose(
        ops.convert_to_numpy(hidden), ops.convert_to_numpy(model.stack(x)), atol=1e-6
    )
    model.fit(x, np.zeros(20, "int32"), initial_epoch=4, epochs=6, verbose=0)
    for old, new in zip(machines, values(model.machines), strict=True):
        np.testing.assert_array_equal(old, new)


def test_loss_of_pre_training_is_the_reconstruction_error_of_a_unit_by_hand(digits):
    model = small()
    generator = np.random.default_rng(0)
    for machine in model.machines:
        machine.set_weights([generator.normal(0, 0.5, w.shape) for w in machine.get_weights()])
    x, y = (part[:50] for part in digits.test.arrays())
    v = x.reshape(50, -1).astype("float64")
    for stage, machine in enumerate(model.machines):
        w, b, c = machine.get_weights()
        h = 1 / (1 + np.exp(-(c + v @ w)))
        p = 1 / (1 + np.exp(-(b + h @ w.T)))
        expected = -(v * np.log(p) + (1 - v) * np.log(1 - p)).mean()
        model.enter(stage)
        loss = model.evaluate(x, y, verbose=0, batch_size=50)[0]
        assert loss == pytest.approx(expected, rel=1e-4)
        v = h  # what the next machine sees


def test_a_new_machine_starts_from_the_frequencies_of_what_it_sees(digits):
    model, x = small(), digits.train.arrays()[0]
    model.machines[0].set_weights(
        [np.random.default_rng(0).normal(0, 0.5, w.shape) for w in model.machines[0].get_weights()]
    )
    model.enter(1, x)
    share = 1 / (1 + np.exp(-model.machines[1].get_weights()[1]))
    seen = ops.convert_to_numpy(model.machines[0](x.reshape(len(x), -1)))
    np.testing.assert_allclose(share, seen.mean(axis=0), atol=1e-3)
    assert np.ptp(share) > 0.3


# Stops and starts.


@pytest.mark.parametrize("stop", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 5))])
def test_a_stop_changes_nothing(digits, tmp_path, stop):
    whole = small()
    fitted(whole, digits, 6)
    model = small()
    fitted(model, digits, stop)
    checkpoints.save(model, tmp_path / "model.keras")
    again = checkpoints.load(tmp_path / "model.keras")
    assert again.stage == model.stage == model.stage_of(stop - 1)
    assert int(again.optimizer.iterations) == int(model.optimizer.iterations)
    fitted(again, digits, 6, initial_epoch=stop)
    assert len(again.weights) == len(whole.weights)
    for found, expected in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_optimizer_that_was_compiled_last_does_the_fine_tuning(digits):
    model = small(pretrain_epochs=1, optimizer="rmsprop", learning_rate=0.02)
    fitted(model, digits, 3)
    assert type(model.optimizer).__name__ == "RMSprop"
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adagrad(0.03), loss=loss, metrics=["accuracy"])
    fitted(model, digits, 3)
    assert type(model.optimizer).__name__ == "Adagrad"
    assert float(model.optimizer.learning_rate) == pytest.approx(0.03)


def test_float16_keeps_its_loss_scale_through_the_stages(digits):
    keras.config.set_dtype_policy("mixed_float16")
    model, watch = small(pretrain_epochs=1), Watch()
    fitted(model, digits, 3, callbacks=[watch])
    scaled = keras.optimizers.LossScaleOptimizer
    assert all(isinstance(optimizer, scaled) for *_, optimizer in watch.seen)
    inner = [type(optimizer.inner_optimizer).__name__ for *_, optimizer in watch.seen]
    assert inner == ["SGD", "SGD", "Adam"]


def test_says_what_begins_unless_silent(digits, capsys):
    digits.train.epoch = 0
    small(pretrain_epochs=1).fit(digits.train, epochs=3, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    found = [line for line in lines if line.startswith(("Pre", "Fine"))]
    assert found == [
        "Pre-training layer 1 of 2 (64-16)", "Pre-training layer 2 of 2 (16-12)",
        "Fine-tuning all layers",
    ]  # fmt: skip
    small(pretrain_epochs=1).fit(digits.train, epochs=3, verbose=0)
    assert capsys.readouterr().out == ""


def test_warns_where_no_fine_tuning_takes_place(digits):
    with pytest.warns(UserWarning, match=r"epochs=4: no fine-tuning takes place.*takes 4 \(2 for"):
        small().fit(digits.train, epochs=4, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        small(pretrain_epochs=1).fit(digits.train, epochs=3, verbose=0)
        small(pretrain_epochs=0).fit(digits.train, epochs=1, verbose=0)


# Dreams.


def test_dreams_come_from_the_top_down_by_hand():
    model = small()
    first, top = model.machines
    generator = np.random.default_rng(0)
    on = generator.random(16) < 0.5
    # the top's visible units are held by their biases, whatever its hidden ones say
    top.set_weights([np.zeros((16, 12)), np.where(on, 50.0, -50.0), np.zeros(12)])
    w, b = generator.normal(size=(64, 16)), generator.normal(size=64)
    first.set_weights([w, b, np.zeros(16)])
    expected = 1 / (1 + np.exp(-(b + w @ on)))
    found = model.generate(3, gibbs_steps=2)
    assert found.shape == (3, 8, 8, 1)
    assert found.dtype == np.float32
    for image in found:
        np.testing.assert_allclose(image.ravel(), expected, rtol=1e-4)


@pytest.mark.parametrize("units", [(16,), (16, 12, 8)], ids=str)
def test_dreams_repeat_for_a_seed(units):
    model = small(units=units)
    for machine in model.machines:
        machine.set_weights([3 * w + 0.3 * (w.ndim == 1) for w in machine.get_weights()])
    first, again, other = (model.generate(4, seed=s, gibbs_steps=7) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.min() >= 0
    assert first.max() <= 1


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 500}, r"units=500: must be a tuple of positive integers"),
        ({"units": ()}, r"units=\(\): must be a tuple of positive integers"),
        ({"units": (5, 0)}, r"units=\(5, 0\): must be a positive integer"),
        ({"pretrain_epochs": -1}, r"pretrain_epochs=-1: must be an integer of at least 0"),
        ({"gibbs_steps": 0}, r"gibbs_steps=0: must be an integer of at least 1"),
        ({"pretrain_learning_rate": 0}, r"pretrain_learning_rate=0: must be a positive number"),
        ({"optimizer": "adm"}, r"unknown optimizer 'adm'.*adam"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dbn.build_model(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.fit(x * 255, x), r"values in 0.*: this model takes values in \[0, 1\]"),
        (lambda m, x: m.fit(x[:, 1:], x), r"shape \(9, 7, 8, 1\)'?: this model takes"),
        (lambda m, x: m.generate(2, labels=3), r"labels=3: the machines learn without labels"),
        (lambda m, x: m.generate(0), r"count=0: must be a positive integer"),
        (lambda m, x: m.generate(1, gibbs_steps=0), r"gibbs_steps=0: must be a positive"),
        (lambda m, x: dbn.load_data(x), r"needs \(x, y\)"),
    ],
)
def test_bad_input(call, message):
    x = np.random.default_rng(0).random((9, 8, 8, 1)).astype("float32")
    with pytest.raises(ValueError, match=message):
        call(small(), x)
