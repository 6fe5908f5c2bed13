"""Environments to act in: Gymnasium's, by name, or your own.

An example is an observation, float32 (n, *shape). What is learnt from is not kept in a data set,
but met by acting: each part of the `Data` is an `Episodes`, which makes environments. Taken as
batches, as `predict` does, a part gives observations that random play met.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check
from recipes.contract.arguments import check_vocabulary
from recipes.data.core import Batches, Data

OBSERVATIONS = {"train": 1024, "validation": 256, "test": 256}  # of random play
COPIES = 16  # environments that random play steps together
FRAMES = 4  # of Atari's, one observation (Mnih et al. 2015)


class ObservationTransform:
    """Observations as an environment gives them, to model inputs.

    Args:
        input_shape: of one model input.
        stacked: observations are frames (frames, height, width), which become channels.
        scale: that values are multiplied by.
    """

    def __init__(self, input_shape: Sequence[int], stacked: bool = False, scale: float = 1.0):
        self.input_shape, self.stacked, self.scale = tuple(input_shape), stacked, scale

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Of one observation as the environment gives it."""
        shape = self.input_shape
        return (*shape[-1:], *shape[:-1]) if self.stacked else shape

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """(n, *raw_shape) -> (n, *input_shape) float32."""
        raw = np.asarray(raw)
        raw = np.moveaxis(raw, 1, -1) if self.stacked else raw
        wanted = f"this model takes observations {('n', *self.input_shape)}".replace("'", "")
        ok = raw.ndim == 1 + len(self.input_shape) and raw.shape[1:] == self.input_shape
        check(ok, "observations", f"array of shape {raw.shape}", wanted)
        return raw.astype("float32") * np.float32(self.scale)

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """Raw observations in .npy files, one array (n, ...) each -> (n, *input_shape) float32.

        Raises:
            ValueError: another file, or observations of another shape.
        """
        parts = []
        for path in paths:
            wanted = "this model acts on observations; give it an array, or a .npy file of one"
            check(path.suffix == ".npy", "inputs", str(path), wanted)
            try:
                parts.append(self(np.load(path)))
            except (OSError, EOFError, ValueError) as error:
                raise ValueError(f"inputs={str(path)!r}: {error}") from None
        return np.concatenate(parts)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            "input_shape": list(self.input_shape),
            "stacked": self.stacked,
            "scale": self.scale,
        }


TRANSFORM = ObservationTransform


class World:
    """An environment with discrete actions, of which any number of copies can be made.

    Observations that are no array (numbered states, tuples) become one vector, in which a number
    is one-hot. Atari's (`ALE/...`) are prepared as in Mnih et al. 2015: grey, 84x84, each action
    for 4 frames, the last 4 of which are one observation; scores stay whole.

    Args:
        source: a name of Gymnasium's, such as "CartPole-v1", or a function that makes a
            `gymnasium.Env`.

    Raises:
        ValueError: there is no such environment, it cannot be made, or its actions are not
            discrete.
    """

    def __init__(self, source: str | Callable[[], Any]):
        import gymnasium

        self.source = source
        self.name = source if isinstance(source, str) else getattr(source, "__name__", "own")
        one = self.single()
        actions = one.action_space
        discrete = isinstance(actions, gymnasium.spaces.Discrete)
        wanted = f"needs discrete actions, not {actions}"
        check(discrete, "source", self.name, wanted)
        self.num_actions, self._start = int(actions.n), int(actions.start)
        box = isinstance(one.observation_space, gymnasium.spaces.Box)
        self._flat = not box
        self.reward_threshold = getattr(one.spec, "reward_threshold", None)  # Gymnasium's own
        space = gymnasium.spaces.flatten_space(one.observation_space)
        check(isinstance(space, gymnasium.spaces.Box), "source", self.name,
              f"observations of no fixed size: {one.observation_space}")  # fmt: skip
        shape = one.observation_space.shape if box else space.shape
        self.stacked = isinstance(source, str) and source.startswith("ALE/")
        self.observation_shape = (*shape[1:], shape[0]) if self.stacked else shape
        self.scale = 1 / 255 if space.dtype == np.uint8 else 1.0
        one.close()

    def single(self, **options: Any) -> Any:
        """A `gymnasium.Env` as `source` says, with the options of `gymnasium.make`."""
        import gymnasium

        if not isinstance(self.source, str):
            made = self.source()
            ok = isinstance(made, gymnasium.Env)
            check(ok, "source", f"a function that gives {type(made).__name__}",
                  "must give a gymnasium.Env")  # fmt: skip
            return made
        try:
            if not self.source.startswith("ALE/"):
                return gymnasium.make(self.source, **options)
            import ale_py

            gymnasium.register_envs(ale_py)
            made = gymnasium.make(self.source, frameskip=1, **options)
            made = gymnasium.wrappers.AtariPreprocessing(made)
            return gymnasium.wrappers.FrameStackObservation(made, FRAMES)
        except gymnasium.error.UnregisteredEnv as error:
            told = f"{error} gymnasium.pprint_registry() lists those there are"
            raise ValueError(f"source={self.source!r}: {told}") from None
        except gymnasium.error.DependencyNotInstalled as error:
            raise ValueError(f"source={self.source!r}: {error}") from None
        except ImportError as error:
            wanted = f'{error}; pip install "ale-py" "opencv-python-headless"'
            raise ValueError(f"source={self.source!r}: {wanted}") from None

    def make(self, count: int) -> Any:
        """A `gymnasium.vector.VectorEnv` of `count` copies, with actions 0 .. num_actions - 1.

        Where an episode has ended, the next step begins another: its action is not taken, and its
        reward is 0.
        """
        import gymnasium
        from gymnasium.wrappers import FlattenObservation, TransformAction

        spec = gymnasium.registry.get(self.source) if isinstance(self.source, str) else None
        whole = not (self._flat or self._start or self.stacked)
        if whole and spec is not None and spec.vector_entry_point is not None:
            return gymnasium.make_vec(self.source, count, "vector_entry_point")

        def one() -> Any:
            made = self.single()
            made = FlattenObservation(made) if self._flat else made
            if self._start:
                space = gymnasium.spaces.Discrete(self.num_actions)
                made = TransformAction(made, lambda action: action + self._start, space)
            return made

        return gymnasium.vector.SyncVectorEnv([one] * count)


def play(
    act: Callable[[np.ndarray], np.ndarray],
    world: World,
    count: int,
    seed: int = 0,
    most_steps: int = 27_000,
) -> tuple[np.ndarray, np.ndarray]:
    """Play episodes, all at once.

    Args:
        act: raw observations (count, ...) -> actions (count,) int. Row i is always episode i's;
            actions of episodes that have ended are not looked at.
        world: in which.
        count: number of episodes.
        seed: of the environments.
        most_steps: after which an episode ends.

    Returns:
        (returns float64 (count,): sums of rewards, lengths int64 (count,)).
    """
    made = world.make(count)
    try:
        seen, _ = made.reset(seed=seed)
        returns, lengths = np.zeros(count), np.zeros(count, int)
        going = np.ones(count, bool)
        for _ in range(most_steps):
            seen, rewards, terminated, truncated, _ = made.step(np.asarray(act(seen)))
            returns += np.where(going, rewards, 0.0)
            lengths += going
            going &= ~(terminated | truncated)
            if not going.any():
                break
    finally:
        made.close()
    return returns, lengths


def record(
    act: Callable[[np.ndarray], np.ndarray], world: World, seed: int = 0, most_steps: int = 27_000
) -> list[np.ndarray]:
    """The pictures of one episode, uint8 (height, width, 3) each; none where there is no view.

    Args:
        act: raw observations (1, ...) -> actions (1,) int.
        world: in which.
        seed: of the environment.
        most_steps: after which the episode ends.
    """
    from gymnasium import spaces

    if not isinstance(world.source, str):
        return []
    made = world.single(render_mode="rgb_array")
    frames = []
    try:
        seen, _ = made.reset(seed=seed)
        for _ in range(most_steps):
            frames.append(made.render())
            if world._flat:
                seen = spaces.flatten(made.observation_space, seen)
            (action,) = np.asarray(act(np.asarray(seen)[None]))
            seen, _, terminated, truncated, _ = made.step(action + world._start)
            if terminated or truncated:
                break
    finally:
        made.close()
    return [np.asarray(frame) for frame in frames if frame is not None]


class Episodes(Batches):
    """A part of an environment's `Data`: episodes to play, and observations of random play.

    Args:
        world: the environment.
        episodes: that `evaluate` plays.
        **arguments: of `Batches`.
    """

    def __init__(self, world: World, episodes: int, **arguments: Any):
        super().__init__(**arguments)
        self.world, self.episodes = world, episodes

    def first(self, count: int) -> "Episodes":
        """The first observations, and at most as many episodes."""
        part = super().first(count)
        part.episodes = min(count, part.episodes)
        return part

    def _arguments(self) -> dict[str, Any]:
        return {"world": self.world, "episodes": self.episodes, **super()._arguments()}


def is_name(source: Any) -> bool:
    """Whether a source is written as Gymnasium writes names: CartPole-v1, ALE/Pong-v5."""
    return isinstance(source, str) and re.fullmatch(r"([\w.-]+/)?[\w.-]+-v\d+", source) is not None


EMBEDDED = dict.fromkeys(("CartPole-v1", "Acrobot-v1", "MountainCar-v0"), World)


def load(
    source: Any,
    *,
    batch_size: int = 64,
    seed: int = 0,
    validation_episodes: int = 20,
    test_episodes: int = 100,
) -> Data:
    """Load an environment.

    Args:
        source: a name of Gymnasium's, such as "CartPole-v1" or "ALE/Pong-v5" (which needs ale-py
            and opencv), or a function that makes a `gymnasium.Env`; its actions are discrete.
        batch_size: examples of a training step.
        seed: of the environments: training, validation and test each start from their own.
        validation_episodes: played after each epoch.
        test_episodes: played by `evaluate(data.test)`.

    Returns:
        `Data` of `Episodes`; spec: `input_shape` and `num_actions`.

    Raises:
        ValueError: there is no such environment, or its actions are not discrete.
    """
    check_vocabulary({"batch_size": batch_size, "seed": seed})
    numbers = {"validation_episodes": validation_episodes, "test_episodes": test_episodes}
    for name, value in numbers.items():
        ok = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        check(ok, name, value, "must be an integer of at least 1")
    world = World(source)
    transform = ObservationTransform(world.observation_shape, world.stacked, world.scale)
    observed = _random_play(world, sum(OBSERVATIONS.values()), seed)
    parts, start = {}, 0
    for i, (name, count) in enumerate(OBSERVATIONS.items()):
        parts[name] = Episodes(
            world,
            {"train": 0, "validation": validation_episodes, "test": test_episodes}[name],
            x=observed,
            y=None,
            indices=np.arange(start, start + count),
            transform=transform,
            batch_size=batch_size,
            shuffle=name == "train",
            seed=3 * seed + i,
        )
        start += count
    return Data(
        name=world.name,
        kind="environments",
        spec={"input_shape": world.observation_shape, "num_actions": world.num_actions},
        transform=transform,
        licence="MIT (Gymnasium)" if isinstance(source, str) else "not stated",
        citation="Towers et al. 2024, Gymnasium: a standard interface for reinforcement learning",
        **parts,
    )


def _random_play(world: World, count: int, seed: int) -> np.ndarray:
    """Observations that random actions meet, raw (count, ...)."""
    made = world.make(COPIES)
    generator = np.random.default_rng(seed)
    seen, _ = made.reset(seed=seed)
    found = [seen.copy()]
    while COPIES * len(found) < count:
        found.append(made.step(generator.integers(0, world.num_actions, COPIES))[0].copy())
    made.close()
    return np.concatenate(found)[:count]
