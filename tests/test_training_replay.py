"""Replay: what is drawn, with what chance, and that it is what really followed."""

import numpy as np
import pytest

from recipes.training.replay import LEAST, Replay, SumTree


def fill(replay, rewards, terminated=(), truncated=(), first=0):
    """One environment, whose observation at time t is t and whose action is 10 + t."""
    for i, reward in enumerate(rewards):
        t = first + i
        replay.add(
            np.array([[float(t)]]), np.array([10 + t]), np.array([reward]),
            np.array([t in terminated]), np.array([t in truncated]),
        )  # fmt: skip


def drawn(replay, count=400):
    """Each transition that is drawn, once, by its observation."""
    x, _, _ = replay.sample(1, count)
    x = {name: value[0].reshape(count).tolist() for name, value in x.items()}
    rows = zip(x["observation"], x["action"], x["reward"], x["next_observation"], x["discount"],
               strict=True)  # fmt: skip
    return {int(row[0]): row[1:] for row in rows}


# The sum tree.


@pytest.mark.parametrize("size", [1, 2, 5, 8, 1000])
def test_sums_are_those_of_the_weights(size):
    rng = np.random.default_rng(0)
    tree, weights = SumTree(size), np.zeros(size)
    for _ in range(20):
        places, new = rng.integers(0, size, 7), rng.random(7) * (rng.random(7) < 0.8)
        for place, weight in zip(places, new, strict=True):
            weights[place] = weight  # of equal places the last one counts
        tree.set(places, new)
        assert tree.total == pytest.approx(weights.sum())
    np.testing.assert_array_equal(tree[np.arange(size)], weights)


def test_a_share_falls_where_the_weights_before_it_end():
    tree = SumTree(5)
    tree.set(np.arange(5), np.array([1.0, 0.0, 3.0, 4.0, 2.0]))
    # Of 10: place 0 has 0 .. 0.1, place 2 from there to 0.4, 3 to 0.8, 4 to 1
    shares = np.array([0.0, 0.0999, 0.1, 0.3999, 0.4, 0.7999, 0.8, 0.9999])
    assert tree.draw(shares).tolist() == [0, 0, 2, 2, 3, 3, 4, 4]
    assert tree.draw(shares.reshape(2, 4)).tolist() == [[0, 0, 2, 2], [3, 3, 4, 4]]


def test_what_weighs_nothing_is_never_drawn():
    rng = np.random.default_rng(0)
    tree, weights = SumTree(777), rng.random(777) * (rng.random(777) < 0.1) * 1e-7
    tree.set(np.arange(777), weights)
    shares = np.r_[rng.random(50_000), np.nextafter(1, 0), 0]
    assert (tree[tree.draw(shares)] > 0).all()


# Transitions.


def test_one_step_by_hand():
    replay = Replay(100, 1, (1,), gamma=0.9)
    # Times 0 1 2 | 3 idle | 4 5 | 6 idle | 7: an episode ends by itself at 2, one is cut off at 5.
    fill(replay, [1, 2, 3, 0, 5, 6, 0, 8, 9], terminated=[2], truncated=[5])
    assert drawn(replay) == {
        0: (10, 1, 1, pytest.approx(0.9)),
        1: (11, 2, 2, pytest.approx(0.9)),
        2: (12, 3, 3, 0),
        4: (14, 5, 5, pytest.approx(0.9)),
        5: (15, 6, 6, pytest.approx(0.9)),  # it would have gone on
        7: (17, 8, 8, pytest.approx(0.9)),
    }


def test_three_steps_by_hand():
    replay = Replay(100, 1, (1,), gamma=0.5, num_steps=3)
    fill(replay, [1, 2, 4, 8, 16, 0, 32, 64, 0, 7, 7, 7, 7], terminated=[4], truncated=[7])
    assert drawn(replay) == {
        0: (10, 1 + 1 + 1, 3, 1 / 8),
        1: (11, 2 + 2 + 2, 4, 1 / 8),
        2: (12, 4 + 4 + 4, 5, 0),  # 4 is the episode's last step
        3: (13, 8 + 8, 5, 0),
        4: (14, 16, 5, 0),
        6: (16, 32 + 32, 8, 1 / 4),  # cut off after two steps
        7: (17, 64, 8, 1 / 2),
        9: (19, 7 + 3.5 + 1.75, 12, 1 / 8),
    }


def test_environments_side_by_side_are_not_mixed():
    replay = Replay(40, 2, (1,), gamma=1.0, num_steps=2)
    for t in range(6):
        ends = np.array([False, t == 2])
        replay.add(
            np.array([[t], [100.0 + t]]), np.array([0, 1]), np.array([1, 10]), ends, ~ends & False
        )
    x, _, _ = replay.sample(3, 200)
    first = x["observation"][..., 0] < 100
    step = x["next_observation"][..., 0] - x["observation"][..., 0]
    assert (x["action"] == ~first).all()
    assert (step[first] == 2).all()
    assert (x["reward"][first] == 2).all()
    last = x["observation"][..., 0] == 102
    assert (step[~first & ~last] == 2).all()
    assert (x["reward"][last] == 10).all()
    assert not (x["observation"] == 103).any()  # idle


@pytest.mark.parametrize("alpha", [None, 0.6])
def test_the_oldest_are_forgotten(alpha):
    replay = Replay(8, 1, (1,), num_steps=2, alpha=alpha)
    for t in range(30):
        fill(replay, [t], terminated=[20], first=t)
        if t >= 2:
            found = drawn(replay)
            expected = {u for u in range(max(0, t - 7), t - 1) if u != 21}
            assert set(found) == expected, t
            assert all(action == 10 + u for u, (action, *_) in found.items())


@pytest.mark.parametrize("alpha", [None, 1.0])
def test_stacks_are_put_together_as_they_were(alpha):
    """Against frames kept whole, over episodes of many lengths and several rounds of the buffer."""
    rng = np.random.default_rng(0)
    replay = Replay(3 * 30, 3, (4, 2, 2), "uint8", stacked=True, num_steps=2, alpha=alpha)
    assert replay.observations.nbytes == 3 * 30 * 2 * 2  # each frame once
    stacks = rng.integers(0, 256, (3, 1, 2, 2), "uint8").repeat(4, axis=1)
    kept, ended = [], np.zeros(3, bool)
    for _ in range(100):
        kept.append(stacks.copy())
        now = rng.random(3) < 0.15
        over, ended = ended, now & ~ended
        replay.add(stacks, np.zeros(3), np.zeros(3), ended, ended & False)
        frame = rng.integers(0, 256, (3, 1, 2, 2), "uint8")
        stacks = np.concatenate([stacks[:, 1:], frame], axis=1)
        stacks[over] = frame[over].repeat(4, axis=1)  # where an episode begins
    x, _, places = replay.sample(4, 200)
    row, env = np.divmod(places, 3)
    time = replay.oldest + (row - replay.oldest) % replay.rows
    assert time.min() <= 100 - 30 + 4
    kept = np.array(kept)
    np.testing.assert_array_equal(x["observation"], kept[time, env])
    steps = np.where(x["discount"] > 0, 2, 0)
    going = steps == 2
    np.testing.assert_array_equal(x["next_observation"][going], kept[(time + 2)[going], env[going]])


def test_uniform_draws_are_uniform():
    replay = Replay(100, 1, (1,))
    fill(replay, np.zeros(12), terminated=[3, 7])
    x, _, _ = replay.sample(10, 2000)
    times, counts = np.unique(x["observation"], return_counts=True)
    assert times.tolist() == [0, 1, 2, 3, 5, 6, 7, 9, 10]
    assert np.abs(counts / 20_000 - 1 / 9).max() < 4 * (8 / 81 / 20_000) ** 0.5


def test_draws_are_in_proportion_to_errors_and_weights_undo_it():
    replay = Replay(64, 1, (1,), alpha=0.5)
    fill(replay, np.arange(10.0))
    errors = np.array([0, 0.25, 1, 4, 9, -16, 25, 0.01, 2])
    places = np.arange(9)
    replay.set_errors(places, errors)
    chance = (np.abs(errors) + LEAST) ** 0.5
    chance /= chance.sum()
    _, weights, drawn = replay.sample(50, 1000, beta=1.0)
    counts = np.bincount(drawn.ravel(), minlength=9) / drawn.size
    np.testing.assert_allclose(counts, chance, atol=2e-3)  # stratified: closer than by chance
    # w = (N P)^-1 over the batch's largest
    assert weights.max() == 1
    expected = 1 / chance[drawn]
    np.testing.assert_allclose(weights, expected / expected.max(axis=1, keepdims=True), rtol=1e-5)
    # so that a weighted mean is that over all alike: here of the rewards
    x, weights, _ = replay.sample(1, 50_000, beta=1.0)
    mean = (weights * x["reward"]).sum() / weights.sum()
    assert mean == pytest.approx(np.arange(9).mean(), abs=0.35)
    assert (replay.sample(1, 50, beta=0.0)[1] == 1).all()


def test_what_is_new_has_the_highest_priority_so_far():
    replay = Replay(64, 1, (1,), alpha=1.0)
    fill(replay, np.zeros(3))
    assert replay.tree[np.arange(4)].tolist() == [1, 1, 0, 0]  # what follows 2 is not known yet
    replay.set_errors(np.array([0]), np.array([7.0]))
    fill(replay, [0], first=3)
    np.testing.assert_allclose(replay.tree[np.arange(4)], [7, 1, 7, 0], atol=1e-5)


def test_nothing_and_too_little_room_are_refused():
    with pytest.raises(ValueError, match=r"replay='0 steps': needs more than 1 steps"):
        Replay(64, 1, (1,)).sample(1, 4)
    with pytest.raises(ValueError, match=r"buffer_size=6: 2 environments, 3 steps and 1 frames"):
        Replay(6, 2, (1,), num_steps=3)
