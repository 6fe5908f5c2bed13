"""What has been met in environments, kept to be learnt from again: replay and its sum tree.

Sources:
    Lin 1992, Self-improving reactive agents based on reinforcement learning, planning and teaching.
    Mnih et al. 2015, Human-level control through deep reinforcement learning.
    Schaul et al. 2016, Prioritized experience replay (proportional; appendix B.2.1 for the tree).
    Sutton 1988, Learning to predict by the methods of temporal differences (several steps).
"""

from collections.abc import Callable

import numpy as np

from recipes.contract import check

LEAST = 1e-6  # added to each error, so that nothing is never met again


class SumTree:
    """Weights of places 0 .. size - 1, drawn from in proportion: both in log2(size) steps.

    A node holds the sum of the two below it; the root is node 1, the children of i are 2i and
    2i + 1, the places are the leaves.

    Args:
        size: number of places.
    """

    def __init__(self, size: int):
        self.depth = max(1, (size - 1).bit_length())
        self.leaves = 2**self.depth
        self.sums = np.zeros(2 * self.leaves)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """Weights of places (n,)."""
        return self.sums[self.leaves + places]

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self.sums[1])

    def set(self, places: np.ndarray, weights: np.ndarray) -> None:
        """Give places (n,) these weights (n,), of at least 0; of equal places the last one counts.

        Sums are made anew, not changed by differences, so that no rounding error grows.
        """
        nodes = self.leaves + np.asarray(places)
        self.sums[nodes] = weights
        for _ in range(self.depth):
            nodes = nodes // 2
            self.sums[nodes] = self.sums[2 * nodes] + self.sums[2 * nodes + 1]

    def draw(self, shares: np.ndarray) -> np.ndarray:
        """The places (n,) below which shares (n,) in [0, 1) of all the weight lie."""
        left, nodes = np.asarray(shares) * self.total, np.ones(np.shape(shares), int)
        for _ in range(self.depth):
            nodes = 2 * nodes
            first = self.sums[nodes]
            right = (left >= first) & (self.sums[nodes + 1] > 0)  # never to where nothing is
            left, nodes = left - np.where(right, first, 0), nodes + right
        return nodes - self.leaves


class Replay:
    """The last steps of environments that go on side by side, as transitions to learn from.

    Each observation is kept once: what a step led to is the observation of the next row. So it is
    after an episode's end too, since the environments (Gymnasium's next-step mode) show its last
    observation for one more step, whose action and reward are nothing's: such a row is idle, and
    never drawn. Of stacked frames the newest alone is kept, and stacks are put together again: a
    million of Atari's observations take 7 GB, not 28, or 56 with those that follow.

    Args:
        size: of steps kept, of all environments together.
        num_envs: environments.
        shape: of one raw observation.
        dtype: of it.
        stacked: it is (frames, ...), the newest last, and an episode begins with copies of one.
        num_steps: n, rewards before a value stands for the rest.
        gamma: discount of a step.
        alpha: how much priorities count; None: all transitions alike.
        seed: of the draws.

    Raises:
        ValueError: `size` is too small for one transition of each environment.
    """

    def __init__(
        self,
        size: int,
        num_envs: int,
        shape: tuple[int, ...],
        dtype: np.dtype | str = "float32",
        *,
        stacked: bool = False,
        num_steps: int = 1,
        gamma: float = 0.99,
        alpha: float | None = None,
        seed: int = 0,
    ):
        self.frames = shape[0] if stacked else 1
        self.stacked, self.num_steps, self.gamma, self.alpha = stacked, num_steps, gamma, alpha
        self.rows, self.num_envs = size // num_envs, num_envs
        least = (num_steps + self.frames) * num_envs
        wanted = f"{num_envs} environments, {num_steps} steps and {self.frames} frames need {least}"
        check(size >= least, "buffer_size", size, wanted)
        shape, table = shape[1:] if stacked else shape, (self.rows, num_envs)
        self.observations = np.zeros((*table, *shape), dtype)  # memory is taken as it is filled
        self.actions, self.rewards = np.zeros(table, "int32"), np.zeros(table, "float32")
        self.terminated, self.ended = np.zeros(table, bool), np.zeros(table, bool)
        self.idle, self.first = np.zeros(table, bool), np.zeros(table, bool)
        self.written = 0  # rows, in all
        self.tree = None if alpha is None else SumTree(self.rows * num_envs)
        self.highest = 1.0  # priority so far, which what is new gets
        self.generator = np.random.default_rng(seed)

    def add(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
    ) -> None:
        """Keep a step of each environment, in place of the oldest.

        Args:
            observations: that were acted on, raw (num_envs, *shape).
            actions: int (num_envs,).
            rewards: (num_envs,).
            terminated: whether that was an episode's end, (num_envs,): nothing of worth follows.
            truncated: whether the episode was only cut off: it would have gone on.
        """
        row, before = self.written % self.rows, (self.written - 1) % self.rows
        begun = self.written > 0
        self.observations[row] = observations[:, -1] if self.stacked else observations
        self.actions[row], self.rewards[row] = actions, rewards
        self.first[row] = self.idle[before] if begun else True
        self.idle[row] = self.ended[before] if begun else False
        self.terminated[row], self.ended[row] = terminated, terminated | truncated
        self.written += 1
        if self.tree is not None:
            # What this row has overwritten, or is needed for, goes; one with all its steps comes.
            for gone in range(max(0, self.written - self.rows - 1), self.oldest):
                self._weigh(gone, 0.0)
            ready = self.written - 1 - self.num_steps
            if ready >= self.oldest:
                idle = self.idle[ready % self.rows]
                self._weigh(ready, np.where(idle, 0.0, self.highest**self.alpha))

    def _weigh(self, time: int, weights: np.ndarray | float) -> None:
        """Give the row of a time these weights."""
        places = time % self.rows * self.num_envs + np.arange(self.num_envs)
        self.tree.set(places, np.broadcast_to(weights, self.num_envs))

    @property
    def oldest(self) -> int:
        """The time, counted in rows, of the first row whose frames are all there."""
        return max(0, self.written - self.rows + self.frames - 1) * (self.written > self.rows)

    def __len__(self) -> int:
        """Steps that can be drawn, with idle ones."""
        return max(0, self.written - self.num_steps - self.oldest) * self.num_envs

    def sample(
        self,
        steps: int,
        batch_size: int,
        prepare: Callable[[np.ndarray], np.ndarray] = np.asarray,
        beta: float = 1.0,
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Draw batches.

        Args:
            steps: number of batches.
            batch_size: transitions in each.
            prepare: raw observations to model inputs.
            beta: how far importance weights undo what priorities prefer, in [0, 1].

        Returns:
            The transitions, arrays (steps, batch_size, ...): "observation", "action" (int32),
            "reward" (of n steps, or fewer where the episode ends), "next_observation" (after
            them), "discount" (gamma^n, 0 where the episode terminated); the weights
            (N P)^-beta over the largest of the batch, float32 (steps, batch_size); the places,
            for `set_errors`.

        Raises:
            ValueError: nothing was kept that could be drawn.
        """
        wanted = f"needs more than {self.num_steps} steps of each environment"
        check(len(self), "replay", f"{self.written} steps", wanted)
        count = steps * batch_size
        weights = np.ones((steps, batch_size), "float32")
        if self.tree is None:
            time, env = self._uniform(count)
        else:
            # Of each share of a batch's size one, as in appendix B.2.1.
            lots = self.generator.random((steps, batch_size))
            places = self.tree.draw((np.arange(batch_size) + lots) / batch_size)  # (steps, batch)
            chance = self.tree[places] / self.tree.total
            weights = (len(self) * chance) ** -beta
            weights = (weights / weights.max(axis=1, keepdims=True)).astype("float32")
            row, env = np.divmod(places.reshape(-1), self.num_envs)
            time = self.oldest + (row - self.oldest) % self.rows

        reward, length, going = np.zeros(count), np.zeros(count, int), np.ones(count, bool)
        for k in range(self.num_steps):
            at = (time + k) % self.rows, env
            reward += np.where(going, self.gamma**k * self.rewards[at], 0)
            length += going
            going &= ~self.ended[at]
        last = (time + length - 1) % self.rows, env
        discount = np.where(self.terminated[last], 0.0, self.gamma**length)
        found = {
            "observation": prepare(self._seen(time, env)),
            "action": self.actions[time % self.rows, env],
            "reward": reward.astype("float32"),
            "next_observation": prepare(self._seen(time + length, env)),
            "discount": discount.astype("float32"),
        }
        batches = {k: v.reshape(steps, batch_size, *v.shape[1:]) for k, v in found.items()}
        return batches, weights, (time % self.rows * self.num_envs + env).reshape(weights.shape)

    def _uniform(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and environments (count,), each that is not idle with the same chance."""
        time, env, missing = np.zeros(count, int), np.zeros(count, int), np.arange(count)
        while len(missing):
            end = self.written - self.num_steps
            time[missing] = self.generator.integers(self.oldest, end, len(missing))
            env[missing] = self.generator.integers(0, self.num_envs, len(missing))
            missing = missing[self.idle[time[missing] % self.rows, env[missing]]]
        return time, env

    def _seen(self, time: np.ndarray, env: np.ndarray) -> np.ndarray:
        """Raw observations (n, *shape)."""
        newest = self.observations[time % self.rows, env]
        if not self.stacked:
            return newest
        frames = [newest]
        for _ in range(self.frames - 1):
            time = time - ~self.first[time % self.rows, env]  # an episode's first frame stays
            frames.append(self.observations[time % self.rows, env])
        return np.stack(frames[::-1], axis=1)

    def set_errors(self, places: np.ndarray, errors: np.ndarray) -> None:
        """Make transitions as likely as (|error| + 1e-6)^alpha.

        Args:
            places: of `sample`.
            errors: temporal-difference errors of the same shape.
        """
        priorities = np.abs(errors).reshape(-1) + LEAST
        self.highest = max(self.highest, float(priorities.max()))
        self.tree.set(places.reshape(-1), priorities**self.alpha)
