"""Deep Q-networks: errors by hand, values of environments that can be solved, exploration, fit."""

import json

import gymnasium
import keras
import numpy as np
import pytest
from keras import ops

import recipes
from recipes import dqn
from recipes.data.environments import World, play


class Chain(gymnasium.Env):
    """Five states in a row. Action 1 goes right, 0 back to the first; both at a risk of nothing.

    To leave the last one to the right gives 10 and ends the episode; to go back gives 1.
    """

    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Discrete(5)
    limit = 20

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = int(self.np_random.integers(5)), 0
        return self.state, {}

    def step(self, action):
        self.steps += 1
        won = bool(action == 1 and self.state == 4)
        reward = 10.0 if won else float(action == 0)
        self.state = (self.state + 1) % 5 if action == 1 else 0
        return self.state, reward, won, not won and self.steps >= self.limit, {}


class Endless(Chain):
    """It only ends by being cut off, after three steps, and always gives 1: Q = 1 / (1 - gamma)."""

    def step(self, action):
        self.steps += 1
        return self.state, 1.0, False, self.steps >= 3, {}


def values_of_chain(gamma: float) -> np.ndarray:
    """Q (5, 2) by value iteration."""
    q = np.zeros((5, 2))
    for _ in range(2000):
        v = q.max(axis=1)
        q = np.stack([1 + gamma * np.full(5, v[0]), np.r_[gamma * v[1:], 10]], axis=1)
    return q


SMALL = {  # by chance alone: what is learnt does not depend on how it is met
    "units": (64,), "num_envs": 4, "train_every": 40, "gradient_steps": 40, "target_every": 40,
    "warmup_steps": 1000, "epoch_steps": 1400, "buffer_size": 2500, "epsilon_end": 1.0,
    "num_steps": 1, "seed": 0,
}  # fmt: skip


def learnt(env, variant="mlp", epochs=1, **arguments):
    """A model that has played, and its values of all states (5, 2)."""
    data = dqn.load_data(env, batch_size=64)
    model = dqn.build_model(variant, **data.spec, **{**SMALL, **arguments})
    model.fit(data.train, epochs=epochs, verbose=0)
    return model, model.predict(np.eye(5, dtype="float32"), verbose=0)


def q_of(table):
    """A network whose values are a linear function: observations (n, k) -> (n, actions)."""
    table = np.asarray(table, "float32")
    x = keras.Input(table.shape[:1])
    layer = keras.layers.Dense(table.shape[1], use_bias=False)
    network = keras.Model(x, layer(x))
    layer.set_weights([table])
    return network


# Values.


@pytest.mark.parametrize(
    "variant, arguments",
    [
        ("mlp", {}),
        ("double", {}),
        ("dueling", {}),
        ("prioritized", {}),
        ("mlp", {"num_envs": 1}),
    ],
)
def test_values_of_a_chain_are_those_of_value_iteration(variant, arguments):
    _, q = learnt(Chain, variant, gamma=0.8, learning_rate=3e-3, **arguments)
    np.testing.assert_allclose(q, values_of_chain(0.8), atol=0.05)


def test_what_is_cut_off_would_have_gone_on():
    """Q = 1 + 0.8 + 0.64 + ... = 5, though no episode has more than three steps."""
    _, q = learnt(Endless, gamma=0.8, learning_rate=3e-3)
    np.testing.assert_allclose(q, 5, atol=0.25)


def test_all_together_learn_to_go_to_the_end():
    """With several steps, values are of what was played, chance included: only near the end."""
    model, q = learnt(Chain, "combined", gamma=0.8, learning_rate=3e-3, num_steps=2, num_envs=20)
    assert (q.argmax(axis=1)[2:] == 1).all()
    assert q[4, 1] == pytest.approx(10, abs=0.5)
    assert model.epsilon == 0
    sigmas = [w for w in model.trainable_variables if "sigma" in w.path]
    assert len(sigmas) == 8  # kernels and biases of both streams' two layers
    still = ops.convert_to_numpy(sigmas[0])
    assert still.std() > 0.01 * still.mean()  # they began as equal


# The error and its loss.


def transitions(**arrays):
    rows = {name: np.asarray(value, "float32") for name, value in arrays.items()}
    rows["action"] = rows["action"].astype("int32")
    return rows


@pytest.mark.parametrize("double", [False, True])
def test_the_error_by_hand(double):
    model = dqn.DQN(q_of([[1, 2], [5, 4]]), double=double)
    model.target.set_weights([np.array([[10, 20], [30, 50]], "float32")])
    x = transitions(
        observation=[[1, 0], [0, 1], [0, 1]], action=[1, 0, 0], reward=[3, 4, 7],
        next_observation=[[0, 1], [1, 0], [1, 0]], discount=[0.5, 0.25, 0],
    )  # fmt: skip
    # In the state (0, 1) the network prefers action 0, and the target network action 1.
    after = [30 if double else 50, 20, 20]
    expected = [3 + 0.5 * after[0] - 2, 4 + 0.25 * after[1] - 5, 7 - 5]
    np.testing.assert_allclose(ops.convert_to_numpy(model(x, training=True)), expected)


def test_the_loss_is_hubers_and_its_weights_count():
    model = dqn.DQN(q_of([[1.0, 2.0]]))
    errors, weights = np.array([0.5, -1, 3, -9], "float32"), np.array([1, 0.5, 0.25, 0], "float32")
    parts = np.array([0.125, 0.5, 2.5, 8.5])
    found = [model.compute_loss(y_pred=ops.convert_to_tensor(errors), sample_weight=w)
             for w in (None, ops.convert_to_tensor(weights))]  # fmt: skip
    np.testing.assert_allclose(found, [parts.mean(), (parts * weights).mean()], rtol=1e-6)


def test_an_update_moves_the_network_alone_and_by_an_error_of_one_at_most():
    """Plain descent with rate 1: W_sa += clip(error) s, and only for the action that was taken."""
    model = dqn.DQN(q_of(np.zeros((2, 2))), gradient_steps=1)
    model.compile(optimizer=keras.optimizers.SGD(1.0))
    x = transitions(observation=[[1, 0]], action=[1], reward=[100], next_observation=[[0, 1]],
                    discount=[0.9])  # fmt: skip
    model.train_on_batch(x)
    np.testing.assert_allclose(model.network.get_weights()[0], [[0, 1], [0, 0]])
    assert not model.target.get_weights()[0].any()


def test_a_dueling_head_by_hand():
    value = np.array([[1.0], [10.0]], "float32")
    advantage = np.array([[1, 2, 6], [0, 0, 3]], "float32")
    found = ops.convert_to_numpy(dqn.Dueling()(value, advantage))
    np.testing.assert_allclose(found, [[1 - 2, 1 - 1, 1 + 3], [10 - 1, 10 - 1, 10 + 2]])
    model = dqn.build_model("dueling", num_actions=3)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    streams = keras.Model(model.network.inputs, model.network.layers[-1].input)
    value, advantage = streams([x])
    assert (value.shape, advantage.shape) == ((5, 1), (5, 3))
    found = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(found.mean(axis=1), ops.convert_to_numpy(value)[:, 0], atol=1e-5)


def test_noise_is_a_product_of_two_and_of_training_alone():
    layer = dqn.NoisyDense(500, seed=0)
    layer.build((None, 16))
    kernel, bias, *sigmas = (ops.convert_to_numpy(w) for w in (
        layer.kernel, layer.bias, layer.kernel_sigma, layer.bias_sigma))  # fmt: skip
    assert 0.24 < np.abs(kernel).max() <= 0.25
    assert all((sigma == 0.5 / 4).all() for sigma in sigmas)
    x = np.concatenate([np.zeros((1, 16)), np.eye(16)]).astype("float32")
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), x @ kernel + bias, atol=1e-6)
    drawn = [ops.convert_to_numpy(layer(x, training=True)) for _ in range(2)]
    assert not np.allclose(*drawn)
    out = (drawn[0][0] - bias) / 0.125  # f(e_j), from the bias's noise
    noise = (drawn[0][1:] - drawn[0][0] - kernel) / 0.125  # f(e_i) f(e_j)
    into = noise @ out / (out @ out)
    np.testing.assert_allclose(noise, np.outer(into, out), atol=1e-4)
    # f(e)^2 = |e|, of mean (2 / pi)^1/2 and variance 1 - 2 / pi, and f(e) has either sign.
    assert np.square(out).mean() == pytest.approx((2 / np.pi) ** 0.5, abs=4 * (0.364 / 500) ** 0.5)
    assert out.mean() == pytest.approx(0, abs=4 * (0.8 / 500) ** 0.5)


# Playing.


def player(variant="tiny", part=None, **arguments):
    data = dqn.load_data()
    model = dqn.build_model(variant, **data.spec, **arguments)
    return model, dqn.Player(model, data.train if part is None else part, 32)


def test_epsilon_falls_in_a_line_and_is_the_share_of_chance():
    model, _ = player(exploration_steps=1000, epsilon_end=0.1)
    found = []
    for steps in (0, 250, 1000, 9000):
        model.steps.assign(steps)
        found.append(model.epsilon)
    assert found == pytest.approx([1, 0.775, 0.1, 0.1])
    # Chance takes each of two actions as often: what is not the greedy one is half of epsilon.
    model, played = player(num_envs=16, train_every=16)
    played.play(16 * 400, epsilon=0.3)
    seen = played.replay.observations[:400].reshape(-1, 4)
    greedy = model.predict(seen, verbose=0).argmax(axis=1)
    taken = played.replay.actions[:400].ravel()
    mine = ~played.replay.idle[:400].ravel()
    assert (taken != greedy)[mine].mean() == pytest.approx(0.15, abs=0.015)


def test_what_is_kept_is_what_the_environment_does():
    """Each transition that can be drawn is one of CartPole's own equations of motion."""
    _, played = player(buffer_size=500)
    played.play(1500, epsilon=1.0)
    x, _, _ = played.replay.sample(1, 300)
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    for i in range(300):
        env.state = x["observation"][0, i].astype("float64")
        env.steps_beyond_terminated = None
        after, reward, terminated, _, _ = env.step(int(x["action"][0, i]))
        np.testing.assert_allclose(x["next_observation"][0, i], after, atol=1e-6)
        assert x["reward"][0, i] == reward
        assert x["discount"][0, i] == pytest.approx(0 if terminated else 0.99)


def test_returns_and_lengths_are_of_the_episodes_that_ended():
    _, played = player(buffer_size=2000)
    assert played.results() == {"return": 0, "length": 0}
    played.play(4 * 300, epsilon=1.0)
    ends = played.replay.ended[: played.replay.written].sum()
    assert len(played.ended) == ends > 30
    assert all(total == length for total, length in played.ended)  # a reward of 1 for each step
    found = played.results()
    assert 15 < found["length"] < 30  # chance keeps the pole up for 22 steps
    idle = played.replay.idle[: played.replay.written].sum()
    whole = sum(length for _, length in played.ended) + played.lengths.sum()
    assert whole == 4 * 300 - idle


def test_rewards_are_clipped_for_learning_and_not_in_what_is_told():
    data = dqn.load_data(Chain)
    model = dqn.build_model("tiny", **data.spec, clip_rewards=True, num_envs=4)
    played = dqn.Player(model, data.train, 32)
    played.play(4000, epsilon=1.0)
    assert set(np.unique(played.replay.rewards)) == {0, 1}
    assert max(total for total, _ in played.ended) >= 10


def test_the_target_network_follows_every_so_many_updates():
    data = dqn.load_data()
    model = dqn.build_model("tiny", **data.spec, gradient_steps=4, target_every=8, seed=0)
    played = dqn.Player(model, data.train, 32)
    played.play(64, epsilon=1.0)
    same = []
    for _ in range(6):
        before = model.target.get_weights()
        played.learn()
        pairs = zip(before, model.target.get_weights(), strict=True)
        followed = zip(model.network.get_weights(), model.target.get_weights(), strict=True)
        stays = all(np.array_equal(a, b) for a, b in pairs)
        same.append((stays, all(np.array_equal(a, b) for a, b in followed)))
    assert same == [(True, False), (False, True)] * 3
    assert int(model.optimizer.iterations) == 24
    assert not model.target.trainable_variables


def test_a_round_of_updates_is_the_same_updates_one_by_one():
    data = dqn.load_data()
    models = [dqn.build_model("tiny", **data.spec, gradient_steps=5, seed=0) for _ in range(2)]
    played = dqn.Player(models[0], data.train, 16)
    played.play(200, epsilon=1.0)
    batches, weights, _ = played.replay.sample(5, 16)
    weights = np.random.default_rng(0).random(weights.shape).astype("float32")
    errors = played.update(batches, weights)
    assert errors.shape == (5, 16)
    for i in range(5):
        batch = {name: value[i] for name, value in batches.items()}
        found = ops.convert_to_numpy(models[1](batch, training=True))
        np.testing.assert_allclose(errors[i], found, atol=1e-5)
        models[1].train_on_batch(batch, None, weights[i])
    pairs = zip(*(model.network.get_weights() for model in models), strict=True)
    assert all(np.allclose(a, b, rtol=0, atol=1e-6) for a, b in pairs)


# The family.


def test_the_parameters_of_the_paper(sketch):
    model = sketch(dqn.build_model, "nature", num_actions=4)
    count = sum(np.prod(w.shape) for w in model.trainable_variables)
    assert count == 1_684_128 + 512 * 4 + 4
    assert model.network.layers[-2].output.shape == (None, 512)


def test_fit_keeps_the_contract_of_keras():
    data = dqn.load_data(validation_episodes=3, test_episodes=5, batch_size=16)
    model = dqn.build_model("tiny", **data.spec, seed=0)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(epoch)

        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, sorted(logs)))

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 3

    history = model.fit(
        data.train, validation_data=data.validation, epochs=9, initial_epoch=1, verbose=0,
        steps_per_epoch=60, callbacks=[Watch()], validation_freq=2,
    )  # fmt: skip
    model.evaluate(data.test, verbose=0)
    assert history is model.history
    assert history.epoch == [1, 2, 3]
    # 60 steps are two rounds of 32
    names = ["epsilon", "length", "loss", "return"]
    assert seen[:4] == [1, (31, names), (63, names), 2]
    assert {name: len(values) for name, values in history.history.items()} == {
        "loss": 3, "return": 3, "length": 3, "epsilon": 3, "val_return": 2, "val_length": 2,
    }  # fmt: skip
    assert int(model.steps) == 64 + 3 * 64
    assert int(model.optimizer.iterations) == 3 * 2 * 8


def test_evaluate_plays_greedy_episodes():
    data = dqn.load_data(test_episodes=7)
    model = dqn.build_model("tiny", **data.spec, seed=0)
    found = model.evaluate(data.test, verbose=0, return_dict=True)

    def act(seen):
        return model.predict(seen, verbose=0).argmax(axis=1)

    returns, lengths = play(act, World("CartPole-v1"), 7, data.test.seed)
    assert found == pytest.approx({"return": returns.mean(), "length": lengths.mean()})
    assert model.evaluate(data.test, verbose=0) == [found["return"], found["length"]]


def test_a_run_resumes_where_its_exploration_was(tmp_path):
    options = {"validation_episodes": 2, "test_episodes": 2}
    run = recipes.train("dqn", variant="tiny", epochs=2, run_dir=tmp_path / "run", verbose=0,
                        data_options=options)  # fmt: skip
    assert int(run.model.steps) in (64 + 128, 64 + 256)  # the best epoch's
    last = recipes.load(run.directory / "last.keras")
    assert int(last.steps) == 64 + 256
    assert last.epsilon == run.history["epsilon"][-1]
    for a, b in zip(last.target.get_weights(), last.network.get_weights(), strict=True):
        assert a.shape == b.shape
    run = recipes.train(resume=run.directory, epochs=4, verbose=0)
    assert len(run.history["loss"]) == 4
    # Replay is filled anew: by what was learnt, not by chance.
    assert int(recipes.load(run.directory / "last.keras").steps) == 64 + 256 + 64 + 256
    assert {"test_return", "test_length"} <= set(run.metrics)
    names = {path.name for path in (run.directory / "plots").iterdir()}
    assert names == {"learning_curves.png", "values.png", "episode.png", "play.gif"}
    card = (run.directory / "README.md").read_text()
    assert "plots/play.gif" in card
    seen = np.random.default_rng(0).normal(size=(3, 4))
    rows = recipes.predict(run.directory, seen)
    values = run.model.predict(seen.astype("float32"), verbose=0)
    np.testing.assert_allclose([row["values"] for row in rows], values, atol=1e-5)
    assert [row["action"] for row in rows] == values.argmax(axis=1).tolist()
    np.save(tmp_path / "seen.npy", seen)
    assert recipes.predict(run.directory, tmp_path / "seen.npy") == rows
    assert json.loads((run.directory / "data.json").read_text())["kind"] == "environments"


def test_an_interruption_leaves_a_model_that_goes_on():
    data = dqn.load_data()
    model = dqn.build_model("tiny", **data.spec, seed=0)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(data.train, epochs=3, verbose=0, callbacks=[Stop()])
    assert int(model.steps) == 64 + 32
    assert int(model.optimizer.iterations) == 8
    assert all(np.isfinite(w).all() for w in model.get_weights())
    model.fit(data.train, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == 8 + 4 * 8


def test_the_same_seed_plays_and_learns_the_same():
    data = dqn.load_data()
    found = []
    for _ in range(2):
        model = dqn.build_model("combined", **data.spec, **{**dqn.VARIANTS["tiny"], "seed": 3})
        history = model.fit(data.train, epochs=2, verbose=0).history
        found.append((history, model.get_weights()))
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_cartpole_is_learnt():
    """A modest bar: benchmarks/acting.py has the real one."""
    data = dqn.load_data()
    model = dqn.build_model(**data.spec, seed=0)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = logs["val_return"] >= 400

    model.fit(data.train, validation_data=data.validation, epochs=30, verbose=0, callbacks=[Stop()])
    assert model.evaluate(data.test, verbose=0)[0] >= 300


@pytest.mark.slow
def test_atari_is_learnt_from_frames():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    data = dqn.load_data("ALE/Pong-v5", batch_size=8, test_episodes=1)
    model = dqn.build_model(
        "nature", **data.spec, warmup_steps=64, epoch_steps=64, buffer_size=400, seed=0
    )
    before = model.network.get_weights()
    history = model.fit(data.train, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert int(model.optimizer.iterations) == 32
    after = model.network.get_weights()
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
