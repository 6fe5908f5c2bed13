"""Environments: what is observed, how episodes are counted, and what is refused."""

import gymnasium
import numpy as np
import pytest

from recipes import data
from recipes.data.environments import ObservationTransform, World, is_name, play, record


def load(source, **options):
    return data.load(source, ("environments",), **options)


def follow_speed(seen: np.ndarray) -> np.ndarray:
    """Mountain car: push the way it moves."""
    return np.where(seen[:, 1] >= 0, 2, 0)


def to_the_side_of_the_fall(seen: np.ndarray) -> np.ndarray:
    return (seen[:, 2] + seen[:, 3] > 0).astype(int)


def test_returns_and_lengths_are_those_of_episodes_played_one_by_one():
    returns, lengths = play(follow_speed, World("MountainCar-v0"), 3, seed=5)
    one = gymnasium.make("MountainCar-v0")
    for i in range(3):
        seen, _ = one.reset(seed=5 + i)
        total, steps, over = 0.0, 0, False
        while not over:
            seen, reward, terminated, truncated, _ = one.step(follow_speed(seen[None])[0])
            total, steps, over = total + reward, steps + 1, terminated or truncated
        assert (returns[i], lengths[i]) == (total, steps)
    assert len(set(lengths)) > 1


def test_an_episode_ends_with_its_own_limit_and_not_with_the_next_one():
    """Two policies in one call: episodes that ended early gain nothing while others go on."""
    returns, lengths = play(
        lambda seen: np.r_[to_the_side_of_the_fall(seen[:1]), 0], World("CartPole-v1"), 2, seed=0
    )
    assert list(returns) == list(lengths)  # a reward of 1 for each step
    assert lengths[0] == 500
    assert 8 <= lengths[1] <= 11  # a pole that is pushed one way falls
    assert play(to_the_side_of_the_fall, World("CartPole-v1"), 2, most_steps=7)[1].tolist() == [
        7,
        7,
    ]


def test_parts_start_from_their_own_seeds_and_random_play_is_repeatable():
    first, again, other = load("CartPole-v1"), load("CartPole-v1"), load("CartPole-v1", seed=1)
    np.testing.assert_array_equal(first.test[0][0], again.test[0][0])
    assert not np.array_equal(first.test[0][0], other.test[0][0])
    seeds = {part.seed for d in (first, other) for part in (d.train, d.validation, d.test)}
    assert len(seeds) == 6
    assert first.spec == {"input_shape": (4,), "num_actions": 2}
    assert (first.validation.episodes, first.test.episodes) == (20, 100)
    assert first.source == {"source": "CartPole-v1"}
    smaller = first.with_batch_size(16)
    assert smaller.test.world is first.test.world
    assert smaller.train[0][0].shape == (16, 4)


def test_numbered_states_are_one_hot():
    found = load("FrozenLake-v1")
    assert found.spec == {"input_shape": (16,), "num_actions": 4}
    x, _ = found.train.arrays()
    assert (x.sum(axis=1) == 1).all()
    assert set(np.unique(x)) == {0, 1}
    world = World("FrozenLake-v1")
    seen, _ = world.make(2).reset(seed=0)
    assert seen.argmax(axis=1).tolist() == [0, 0]  # it starts in the first field


def test_tuples_become_one_vector():
    found = load("Blackjack-v1")
    assert found.spec == {"input_shape": (32 + 11 + 2,), "num_actions": 2}
    x, _ = found.train.arrays()
    assert (x.sum(axis=1) == 3).all()  # a one-hot part for each of the three numbers


class FromThree(gymnasium.Env):
    """Actions 3 and 4; the reward is the action."""

    action_space = gymnasium.spaces.Discrete(2, start=3)
    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2), {}

    def step(self, action):
        assert action in self.action_space
        return np.ones(2), float(action), True, False, {}


def test_an_own_environment_whose_actions_do_not_start_at_zero():
    found = load(FromThree)
    assert found.name == "FromThree"
    assert found.source == {}  # a function cannot be found again by name
    returns, lengths = play(lambda seen: np.array([0, 1]), found.test.world, 2)
    assert returns.tolist() == [3, 4]
    assert lengths.tolist() == [1, 1]


def test_frames_become_channels_between_0_and_1():
    raw = np.arange(2 * 3 * 4 * 5, dtype="uint8").reshape(2, 3, 4, 5)
    found = ObservationTransform((4, 5, 3), stacked=True, scale=1 / 255)(raw)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1, 2, 3, 0], raw[1, 0, 2, 3] / 255, rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"shape \(2, 4\)': this model takes observations \(n, 3\)"
    ):
        ObservationTransform((3,))(np.zeros((2, 4)))


def test_observations_are_read_from_files(tmp_path):
    transform = ObservationTransform((2, 2, 3), stacked=True, scale=0.5)
    assert transform.raw_shape == (3, 2, 2)
    assert ObservationTransform((4,)).raw_shape == (4,)
    raw = np.arange(24.0).reshape(2, 3, 2, 2)
    np.save(tmp_path / "a.npy", raw)
    np.save(tmp_path / "wrong.npy", raw[:, 0])
    (tmp_path / "b.npy").write_text("no array")
    found = transform.read_files([tmp_path / "a.npy", tmp_path / "a.npy"])
    np.testing.assert_array_equal(found, np.concatenate([transform(raw)] * 2))
    for name, message in (("a.csv", "a .npy file"), ("b.npy", "b.npy"), ("wrong.npy", "takes obs")):
        with pytest.raises(ValueError, match=message):
            transform.read_files([tmp_path / name])


def test_atari_is_prepared_as_in_the_paper():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    found = load("ALE/Pong-v5")
    assert found.spec == {"input_shape": (84, 84, 4), "num_actions": 6}
    x = found.train[0][0]
    assert 0.3 < x.max() <= 1


def test_an_episode_can_be_seen():
    frames = record(to_the_side_of_the_fall, World("CartPole-v1"), seed=0, most_steps=12)
    assert len(frames) == 12
    assert frames[0].shape == (400, 600, 3)
    assert not np.array_equal(frames[0], frames[-1])
    assert record(to_the_side_of_the_fall, World(FromThree)) == []


@pytest.mark.parametrize(
    "source, options, message",
    [
        ("Nope-v1", {}, r"source='Nope-v1': Environment `Nope` doesn't exist"),
        ("CartPole-v9", {}, r"source='CartPole-v9': .*versioned environments: \[ `v0`, `v1` \]"),
        ("Pendulum-v1", {}, r"source='Pendulum-v1': needs discrete actions, not Box\(-2.0, 2.0"),
        (lambda: 3, {}, r"gives int': must give a gymnasium.Env"),
        ("CartPole-v1", {"test_episodes": 0}, r"test_episodes=0: must be an integer of at least 1"),
        ("CartPole-v1", {"batch_size": 0}, r"batch_size=0: must be a positive integer"),
        ("iris", {}, r"holds tables; this family takes environments, embedded: CartPole-v1"),
    ],
)
def test_one_clear_error(source, options, message):
    with pytest.raises(ValueError, match=message):
        load(source, **options)


def test_names_of_environments_are_told_from_files():
    assert is_name("CartPole-v1")
    assert is_name("ALE/Pong-v5")
    assert not is_name("photos/")
    assert not is_name("model-v1.csv")
    with pytest.raises(ValueError, match="holds environments; this family takes tables"):
        data.load("CartPole-v1", ("tables",))
