"""The evolutionary loop: measures by hand, `fit` and its callbacks, environments, and resuming."""

import gymnasium
import keras
import numpy as np
import pytest

import recipes
from recipes import neat
from recipes.training.evolution import of_classes, of_numbers

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
Y = np.array([0, 1, 1, 0], "int32")


def build(**arguments) -> keras.Model:
    return neat.build_model("tiny", **{"input_shape": (2,), "seed": 0, **arguments})


# Measures.


def test_fitness_of_two_classes_is_the_papers():
    p = np.array([[0.1, 0.6, 0.9, 0.4], [0.5, 0.5, 0.5, 0.5]])  # of the second class
    logits = np.stack([np.zeros_like(p), np.log(p / (1 - p))], axis=-1)
    found = of_classes(Y, logits)
    error = np.abs(p - Y).sum(axis=1)  # 0.1 + 0.4 + 0.1 + 0.4, and 2
    np.testing.assert_allclose(error, [1.0, 2.0])
    np.testing.assert_allclose(found["fitness"], [(4 - 1.0) ** 2, (4 - 2.0) ** 2])
    np.testing.assert_allclose(found["loss"], [-np.log([0.9, 0.6, 0.9, 0.6]).mean(), np.log(2)])
    np.testing.assert_allclose(found["accuracy"], [1.0, 0.5])


def test_measures_of_three_classes_and_of_numbers_by_hand():
    logits = np.log([[[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]])
    found = of_classes(np.array([0, 1]), logits + 5)
    np.testing.assert_allclose(found["fitness"], [(0.7 + 0.3) ** 2])
    np.testing.assert_allclose(found["accuracy"], [0.5])
    found = of_numbers(np.array([[1.0], [3.0]]), np.array([[[1.0], [1.0]], [[1.0], [3.0]]]))
    np.testing.assert_allclose(found["loss"], [2, 0])
    np.testing.assert_allclose(found["mae"], [1, 0])
    np.testing.assert_allclose(found["fitness"], [1 / 3, 1])


def test_evaluate_and_the_history_are_of_what_predict_says():
    model = build()
    history = model.fit(X, Y, epochs=6, verbose=0).history
    assert set(history) == {"loss", "fitness", "accuracy", "hidden_nodes", "connections",
                            "mean_fitness", "species"}  # fmt: skip
    assert (np.diff(history["fitness"]) >= 0).all()
    assert (np.array(history["mean_fitness"]) <= history["fitness"]).all()
    p = 1 / (1 + np.exp(-model.predict(X, verbose=0)[:, 1]))
    found = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert found["fitness"] == pytest.approx((4 - np.abs(p - Y).sum()) ** 2, rel=1e-4)
    for name, value in found.items():
        assert history[name][-1] == pytest.approx(value, rel=1e-4)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(list(found.values()))


def test_rows_at_a_time_change_no_answer():
    model = build()
    model.fit(X, Y, epochs=4, verbose=0)
    networks, x = (
        model.express(model.population),
        np.random.default_rng(0).random((11, 2), "float32"),
    )
    whole = model.answers(networks, x)
    assert whole.shape == (20, 11, 2)
    np.testing.assert_allclose(
        model.answers(networks, x, batch_size=4), whole, rtol=1e-4, atol=1e-5
    )


# fit.


def test_fit_takes_what_keras_takes():
    expected = build().fit(X, Y, epochs=3, verbose=0).history["mean_fitness"]
    data = neat.load_data()
    pairs = [(X[:3], Y[:3]), (X[3:], Y[3:])]
    for given in ((X.tolist(), Y), (data.train, None), (pairs, None), (X, Y[:, None])):
        x, y = given
        x = np.array(x, "float32") if isinstance(x, list) and y is not None else x
        found = build().fit(x, y, epochs=3, verbose=0).history["mean_fitness"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_it_ends_where_it_is_solved_or_told_to():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    assert len(build().fit(X, Y, epochs=9, verbose=0, callbacks=[Stop()]).epoch) == 3
    history = build(fitness_threshold=4.5).fit(X, Y, epochs=50, verbose=0).history["fitness"]
    assert history[-1] >= 4.5
    assert all(value < 4.5 for value in history[:-1])
    easy = build().fit(X, X[:, 0].astype(int), epochs=50, verbose=0).history  # needs no hidden node
    assert easy["accuracy"][-1] == 1
    assert len(easy["accuracy"]) < 20


def test_callbacks_are_called_in_keras_order():
    calls = []

    class Calls(keras.callbacks.Callback):
        pass

    order = ("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end",
             "on_test_begin", "on_test_end", "on_epoch_end", "on_train_end")  # fmt: skip
    for name in order:
        setattr(Calls, name, lambda self, *_, name=name, **__: calls.append(name))
    history = build().fit(X, Y, epochs=2, validation_data=(X, Y), validation_freq=2, verbose=0,
                          callbacks=[Calls()])  # fmt: skip
    first = [name for name in order[:-1] if "test" not in name]
    assert calls == [*first, *order[1:]]
    assert history.history["val_fitness"] == pytest.approx(
        [history.history["fitness"][-1]], rel=1e-4
    )


def test_a_saved_model_goes_on_as_the_undisturbed_one(tmp_path):
    whole = build(fitness_threshold=99.0)
    history = whole.fit(X, Y, epochs=9, verbose=0).history
    part = build(fitness_threshold=99.0)
    part.fit(X, Y, epochs=4, verbose=0)
    part.save(tmp_path / "m.keras")
    again = recipes.load(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0), part.predict(X, verbose=0))
    rest = again.fit(X, Y, initial_epoch=4, epochs=9, verbose=0)
    assert rest.epoch == [4, 5, 6, 7, 8]
    for name, values in rest.history.items():
        np.testing.assert_allclose(values, history[name][4:], rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(again.predict(X, verbose=0), whole.predict(X, verbose=0))


def test_a_second_fit_looks_for_a_new_champion():
    model = build()
    model.fit(X, X[:, 0].astype(int), epochs=30, verbose=0)
    assert model.evaluate(X, X[:, 0].astype(int), verbose=0, return_dict=True)["accuracy"] == 1
    generation = model.population.generation
    history = model.fit(X, 1 - X[:, 0].astype(int), epochs=30, verbose=0).history
    assert history["fitness"][0] < 16
    assert history["accuracy"][-1] == 1
    assert model.population.generation == generation + len(history["fitness"])


def test_seeds_are_keras_own_where_none_is_given():
    def curve(seed):
        keras.utils.set_random_seed(seed)
        return build(seed=None).fit(X, Y, epochs=2, verbose=0).history["mean_fitness"]

    assert curve(1) == curve(1)
    assert curve(1) != curve(2)


@keras.saving.register_keras_serializable("tests")
def least_first_answer(y, outputs):
    """Fitness that has nothing to do with y."""
    return -outputs[:, 0, 1]


def test_a_fitness_of_ones_own_is_raised_and_saved(tmp_path):
    model = build(fitness=least_first_answer, fitness_threshold=20.0)
    history = model.fit(X, Y, epochs=60, verbose=0).history["fitness"]
    answer = model.predict(X, verbose=0)[0, 1]
    assert history[0] < 10
    assert -answer == pytest.approx(history[-1], rel=1e-5)
    assert history[-1] >= 20
    model.save(tmp_path / "m.keras")
    assert recipes.load(tmp_path / "m.keras").fitness is least_first_answer


# Environments.


class Remember(gymnasium.Env):
    """A light is on or off in the first of three steps; in the last, say which it was."""

    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.light, self.steps = int(self.np_random.integers(2)), 0
        return np.array([self.light, 1], "float32"), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == 3
        reward = float(over and action == self.light)
        return np.zeros(2, "float32"), reward, over, False, {}


class Look(Remember):
    """The same with the light on all the time."""

    def step(self, action):
        return np.array([self.light, 0], "float32"), *super().step(action)[1:]


def act_on(source, recurrent, epochs):
    data = neat.load_data(source, test_episodes=60)
    model = neat.build_model(**data.spec, recurrent=recurrent, population_size=60, episodes=12,
                             fitness_threshold=1.0, seed=1)  # fmt: skip
    history = model.fit(data.train, epochs=epochs, verbose=0).history
    return model, data, history


def test_it_learns_to_act_from_what_it_sees():
    model, data, history = act_on(Look, recurrent=False, epochs=30)
    assert set(history) == {"fitness", "length", "mean_fitness", "species", "hidden_nodes",
                            "connections"}  # fmt: skip
    assert history["fitness"][-1] == 1
    assert history["length"] == [3.0] * len(history["length"])
    found = model.evaluate(data.test, verbose=0, return_dict=True)
    assert found == {"fitness": 1.0, "length": 3.0}
    values = model.predict(np.array([[0, 0], [1, 0]], "float32"), verbose=0)
    assert values.argmax(axis=1).tolist() == [0, 1]


def test_only_a_recurrent_network_remembers():
    model, data, history = act_on(Remember, recurrent=True, epochs=60)
    assert history["fitness"][-1] == 1
    assert model.evaluate(data.test, verbose=0, return_dict=True)["fitness"] == 1
    player = model.player()
    for light in (1, 0):
        player, seen = model.player(), np.array([[light, 1], [0, 0], [0, 0]], "float32")
        assert [int(player(row[None])[0]) for row in seen][-1] == light
    model, data, _ = act_on(Remember, recurrent=False, epochs=15)
    found = model.evaluate(data.test, verbose=0, return_dict=True)["fitness"]
    assert found == pytest.approx(0.5, abs=0.2)


def test_training_episodes_are_new_in_each_generation_and_test_episodes_the_same():
    data = neat.load_data("CartPole-v1", validation_episodes=3)
    model = neat.build_model(
        "cartpole", population_size=3, episodes=2, fitness_threshold=1e9, seed=0
    )
    model.fit(data.train, epochs=1, verbose=0)
    seeds, play = [], model.judge
    model.judge = lambda *a, **k: seeds.append(a[2]) or play(*a, **k)
    model.fit(data.train, epochs=2, initial_epoch=0, verbose=0)
    assert None not in seeds
    assert len(set(seeds)) == 2
    del model.judge
    one, two = (model.evaluate(data.validation, verbose=0) for _ in range(2))
    assert one == two


# What is refused.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build().fit(X[:, :1], Y), r"shape \(4, 1\)': this model takes \(None, 2\)"),
        (lambda: build().fit(X), r"y=None: learning needs targets"),
        (lambda: build().fit(X, Y[:2]), r"y='array of shape \(2,\)': needs 4 targets"),
        (lambda: build().fit(X, Y + 1), r"y='values in 1 .. 2': needs labels 0 .. 1"),
        (lambda: build().fit(X, X), r"y='array of shape \(4, 2\)': needs labels 0 .. 1, \(n,\)"),
        (lambda: build(num_classes=None).fit(X, X), r"\(4, 2\)': needs numbers \(n, 1\)"),
        (lambda: build().fit(X, Y, sample_weight=np.ones(4)), r"sample_weight=.*not supported"),
        (lambda: build().fit(X, Y, validation_data=(X[:, :1], Y)), r"x='array of shape \(4, 1\)'"),
        (lambda: build(fitness=lambda y, o: o[:, 0, 0] * np.nan).fit(X, Y),
         r"fitness=nan: of 20 of 20 networks; must be a finite number"),
        (lambda: build(fitness=lambda y, o: o[:, 0]).fit(X, Y, verbose=0),
         r"fitness='gave an array of shape \(20, 2\)': must give one number for each of 20"),
        (lambda: build(num_actions=2).fit(X, Y), r"x='a ndarray': .* needs an environment's data"),
        (lambda: build().fit(neat.load_data("CartPole-v1").train),
         r"x='an environment': this model learns from examples; build it with num_actions"),
        (lambda: build(num_actions=3).fit(neat.load_data("CartPole-v1").train),
         r"x='observations \(4,\) and 2 actions': this model takes \(2,\) and 3 actions"),
        (lambda: build().predict(X[:, :1]), r"x='array of shape \(4, 1\)': this model takes"),
    ],
)  # fmt: skip
def test_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
