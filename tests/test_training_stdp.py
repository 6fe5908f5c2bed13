"""STDP by an independent loop over neurons and spikes, its competition, and Oja's theorem."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.sparse import csr_array

import recipes
from recipes import snn
from recipes.training.stdp import DiehlCook, Hebbian

rng = np.random.default_rng(0)


def sparse(trains):
    """Spikes (num_steps, n, inputs) as a network takes them."""
    return csr_array(np.swapaxes(trains, 0, 1).reshape(-1, trains.shape[-1]).astype("float32"))


def present(model, trains, counted=None):
    """Show spikes (num_steps, n, inputs); returns what each neuron answers."""
    counted = np.ones((trains.shape[1], 1), "float32") if counted is None else counted
    return model.present(sparse(trains), counted)


def scaled(kernel):
    """Weights in 0 .. 1 whose sums are the paper's."""
    kernel = np.clip(kernel, 0, 1)
    return kernel * (len(kernel) * 78 / 784 / kernel.sum(axis=0))


def network(cls=DiehlCook, shape=(5, 4), classes=3, **arguments):
    model = cls(shape, classes, **{"seed": 1, **arguments})
    model.compile(
        keras.optimizers.SGD(), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )  # fmt: skip
    return model


def diehl_and_cook(trains, kernel, theta, rate, dt):
    """One presentation, as the code of the paper has it: neuron by neuron, spike by spike.

    Returns the number of spikes and the weights' changes. Spikes arrive with the next step, but
    for those of the inputs.
    """
    steps, inputs = trains.shape
    units = kernel.shape[1]
    v, ge, gi, hold = np.full(units, -65.0), np.zeros(units), np.zeros(units), np.zeros(units)
    vi, gie, hold_i = np.full(units, -60.0), np.zeros(units), np.zeros(units)
    pre, post1, post2 = np.zeros(inputs), np.zeros(units), np.zeros(units)
    counts, change, arriving = np.zeros(units), np.zeros_like(kernel), np.zeros(units)
    for t in range(steps):
        fired = []
        pre *= np.exp(-dt / 20)
        for i in np.flatnonzero(trains[t]):
            pre[i] = 1
        post1 *= np.exp(-dt / 20)
        post2 *= np.exp(-dt / 40)
        for i in np.flatnonzero(trains[t]):
            change[i] -= 0.01 * rate * post1
        for j in range(units):
            ge[j] += -ge[j] * dt / 1 + kernel[trains[t] > 0, j].sum()
            gi[j] += -gi[j] * dt / 2 + arriving[j]
            if hold[j] > 0:
                hold[j] -= dt
                continue
            # dv/dt = (-65 - v + ge (0 - v) + gi (-100 - v)) / 100, in a hundred small steps
            for _ in range(100):
                v[j] += dt / 1e4 * ((-65 - v[j]) + ge[j] * (0 - v[j]) + gi[j] * (-100 - v[j]))
            hold[j] -= dt
            if v[j] > theta[j] + 0.05 * counts[j] - 20 - 52:
                fired.append(j)
                v[j], hold[j] = -65, 5.0
        for j in fired:
            counts[j] += 1
            change[:, j] += rate * pre * post2[j]
            post1[j] = post2[j] = 1
        arriving[:] = 0
        for j in range(units):
            gie[j] += -gie[j] * dt / 1 + (10.4 if j in fired else 0)
            if hold_i[j] > 0:
                hold_i[j] -= dt
                continue
            for _ in range(100):
                vi[j] += dt / 1e3 * ((-60 - vi[j]) + gie[j] * (0 - vi[j]))
            hold_i[j] -= dt
            if vi[j] > -40:
                vi[j], hold_i[j] = -45, 2.0
                arriving += 17.0
                arriving[j] -= 17.0
    return counts, change


@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_a_presentation_equals_a_loop_over_neurons_and_spikes(dt):
    steps = int(120 / dt)
    model = network(units=6, num_steps=steps, time_step=dt, learning_rate=0.02)
    kernel = rng.uniform(0.2, 0.9, (20, 6)).astype("float32")
    theta = rng.uniform(18, 24, 6).astype("float32")
    model.kernel.assign(kernel)
    model.theta.assign(theta)
    trains = (rng.random((steps, 3, 20)) < 0.2 * dt).astype("uint8")
    trains[:, 2] = 0
    answers = present(model, trains, np.array([[1], [1], [0]], "float32"))
    expected = [diehl_and_cook(trains[:, i], kernel, theta, 0.02, dt) for i in range(3)]
    counts = np.stack([c for c, _ in expected])
    assert counts[:2].sum() >= 20
    np.testing.assert_array_equal(answers, counts)
    change = sum(c for _, c in expected)
    assert np.abs(change).max() > 0.01
    found = ops.convert_to_numpy(model.kernel)
    np.testing.assert_allclose(found, scaled(kernel + change), rtol=1e-4, atol=1e-6)
    # Of two examples, each with 150 ms of rest behind it.
    fade = theta * np.expm1(-2 * (120 + 150) / 1e7)
    found = ops.convert_to_numpy(model.theta) - theta
    np.testing.assert_allclose(found, 0.05 * counts.sum(0) + fade, atol=1e-5)


def test_hundreds_that_fire_at_once_do_not_blow_membranes_up():
    model = network(units=400)
    states, theta, fired = model.start(1), ops.full((400,), 20.0), 0
    for _ in range(100):
        states, spikes = model.step(states, ops.full((1, 400), 2.0), theta)
        fired += float(ops.sum(spikes))
        # Between the potentials that excitation and inhibition pull to: Euler's steps left them.
        v = ops.convert_to_numpy(states[0])
        assert -100 <= v.min() <= v.max() <= 0
    assert fired >= 2 * 400


def test_a_neuron_is_inhibited_by_others_and_not_by_itself():
    trains = np.ones((350, 1, 20), "uint8")
    counts = []
    for weights in ([0.1], [0.1, 0.15]):
        model = network(units=len(weights))
        model.kernel.assign(np.tile(weights, (20, 1)))
        counts.append(present(model, trains)[0])
    assert counts[0][0] > 15
    assert counts[1][0] < 0.8 * counts[0][0]
    assert counts[1][1] > counts[1][0]


def test_weights_sum_up_to_the_same_and_stay_in_their_range():
    model = network(units=4)
    kernel = rng.normal(0.1, 0.3, (20, 4)).astype("float32")
    model.kernel.assign(kernel)
    present(model, np.zeros((350, 1, 20)))
    found = ops.convert_to_numpy(model.kernel)
    np.testing.assert_allclose(found.sum(axis=0), 20 * 78 / 784, rtol=1e-5)
    assert found.min() >= 0


def test_inputs_are_poisson_trains_of_the_papers_rate():
    model = network(shape=(100,), num_steps=350)
    x = np.tile([[0.0, 0.1, 0.5, 1.0]], (200, 25))
    trains = model.trains(x, np.full((200, 1), 2)).toarray().reshape(200, 350, 100)
    assert set(np.unique(trains)) == {0, 1}
    rates = trains.reshape(-1, 4).mean(axis=0) * 1000
    # 63.75 Hz; two spikes in one step of 1 ms are one
    expected = 1000 * (1 - np.exp(-np.array([0.0, 6.375, 31.875, 63.75]) / 1000))
    np.testing.assert_allclose(rates, expected, rtol=0.02)
    assert rates[0] == 0
    counts = trains.sum(axis=1)[:, 3::4]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.15)
    brighter = model.trains(x, np.full((200, 1), 4))
    assert brighter.mean() == pytest.approx(2 * trains.mean(), rel=0.05)


def test_what_draws_few_spikes_is_shown_again_brighter_and_not_for_ever():
    model = network(units=5, num_steps=100)
    shown = []

    def trains(x, strength):
        shown.append(strength[:, 0].tolist())
        found = np.ones((100, len(x), 20))
        found[:, 0] = 0
        return sparse(found)

    model.trains = trains
    x, y = np.full((3, 20), 0.5, "float32"), np.array([0, 1, 2])
    # The first row is dark however bright it is shown; the rest fire a lot.
    heard = [model.learn(x, y), *model.learn_rest()]
    assert shown == [[2, 2, 2], *([k, 0, 0] for k in range(3, 13))]
    assert [len(labels) for _, labels in heard] == [2, 1]
    assert heard[0][1].tolist() == [1, 2]
    assert heard[1][0].sum() == 0


def test_neurons_are_named_and_vote_by_hand():
    model = network(units=4)
    responses = np.array([[8, 1, 0, 0], [6, 3, 0, 0], [0, 2, 9, 0]], "float32")
    model.name_neurons(responses, np.array([0, 0, 2]))
    assert model.names.tolist() == [0, 0, 2, -1]  # the second: 2 to class 0, 2 to class 2
    logits = ops.convert_to_numpy(model.votes(np.array([[3, 1, 1, 50]], "float32")))
    # Mean spikes: (3 + 1) / 2 of class 0, none of class 1, 1 of class 2; the last has no vote.
    np.testing.assert_allclose(np.exp(logits) - 1e-3, [[2, 0, 1]], atol=1e-5)


def test_labels_change_names_and_nothing_else():
    x, y = snn.load_data("digits").train.sample(64)
    weights = []
    for labels in (y, (y + 1) % 10):
        model = snn.build_model("diehl_cook", input_shape=(8, 8, 1), units=(5,), num_steps=60,
                                seed=0)  # fmt: skip
        keras.utils.set_random_seed(0)
        model.fit(x, labels, batch_size=32, shuffle=False, verbose=0)
        weights.append([model.filters(), (model.names - labels[0] + y[0]) % 10])
    np.testing.assert_allclose(weights[0][0], weights[1][0])


# Hebb's rule.


def test_ojas_neuron_finds_the_first_principal_component():
    generator = np.random.default_rng(0)
    axis = generator.uniform(0.2, 0.8, (2, 20))
    x = (generator.random((400, 2)) * [1.0, 0.4] @ axis / 1.4).astype("float32")
    model = network(Hebbian, units=1, num_steps=400, learning_rate=0.2)
    model.kernel.assign(np.eye(20, 1))
    history = model.fit(
        x.reshape(-1, 5, 4), np.zeros(400, int), batch_size=50, epochs=15, verbose=0
    )
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(unit.T @ unit)
    w = ops.convert_to_numpy(model.kernel)[:, 0]
    assert np.linalg.norm(w) == pytest.approx(1, abs=0.01)
    assert abs(w @ vectors[:, -1]) / np.linalg.norm(w) > 0.995
    assert history.history["spikes"][-1] > history.history["spikes"][0]


def test_neurons_share_what_there_is_to_win():
    data = snn.load_data("digits", batch_size=50)
    model = snn.build_model("hebbian", **data.spec, units=(20,), seed=0)
    model.fit(data.train, epochs=8, verbose=0)
    wins = ops.convert_to_numpy(model.wins)
    assert wins.min() > 0.2
    assert wins.max() < 3
    kernel = ops.convert_to_numpy(model.kernel)
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, atol=0.05)
    assert model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"] > 0.6


# Both.


@pytest.mark.parametrize("variant", ["diehl_cook", "hebbian"])
def test_fit_calls_back_validates_saves_and_loads(variant, tmp_path):
    x, y = snn.load_data("digits").train.sample(96)
    model = snn.build_model(variant, input_shape=(8, 8, 1), units=(8,), num_steps=40, seed=0)
    calls = []

    class Calls(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            calls.append((batch, set(logs)))

        def on_epoch_end(self, epoch, logs=None):
            calls.append(("epoch", epoch))
            self.model.stop_training = epoch == 1

    history = model.fit(
        x, y, 32, validation_data=(x[:32], y[:32]), epochs=9, callbacks=[Calls()], verbose=0
    )
    assert history.epoch == [0, 1]
    names = {"loss", "accuracy", "spikes", "val_loss", "val_accuracy"}
    assert set(history.history) == names
    one = [(i, {"spikes"}) for i in range(3)]
    assert calls == [*one, ("epoch", 0), *one, ("epoch", 1)]
    assert int(model.optimizer.iterations) == 6
    model.save(tmp_path / "m.keras")
    loaded = recipes.load(tmp_path / "m.keras")
    assert loaded.get_config() == model.get_config()
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.predict(x[:5], verbose=0).shape == (5, 10)


@pytest.mark.slow
def test_stdp_learns_real_digits_without_labels():
    data = snn.load_data("mnist5k", batch_size=64)
    model = snn.build_model("diehl_cook", **data.spec, units=(50,), learning_rate=0.03, seed=0)
    x, y = data.train.sample(2000)
    model.fit(x, y, batch_size=64, verbose=0)
    x, y = data.test.sample(300)
    assert model.evaluate(x, y, batch_size=100, verbose=0, return_dict=True)["accuracy"] > 0.5


X, Y = rng.random((6, 5, 4)).astype("float32"), np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": X[:, :3], "y": Y}, r"batch of shape \(6, 3, 4\)': this model takes \(None, 5, 4\)"),
        ({"x": X * 255, "y": Y}, r"x='values in .*: this model takes \(None, 5, 4\) in \[0, 1\]"),
        ({"x": X * np.nan, "y": Y}, r"x='values in nan .. nan'"),
        ({"x": X, "y": Y + 1}, r"y='int64 \(6,\)': needs 6 labels in 0 .. 2"),
        ({"x": X}, r"x='ndarray': needs y beside it"),
        ({"x": [(X,)]}, r"each batch must be \(x, y\): labels name the neurons"),
        ({"x": X, "y": Y, "validation_split": 0.5}, r"validation_split=0.5: not supported"),
        ({"x": []}, r"x='list': holds no examples"),
    ],
)
@pytest.mark.parametrize("cls", [DiehlCook, Hebbian])
def test_wrong_data_get_one_clear_error(cls, arguments, message):
    model = network(cls, units=2, num_steps=5)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(**arguments, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
