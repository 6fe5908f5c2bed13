"""Deep Q-networks: acting learnt from rewards alone, by playing.

Q(s, a) is the sum of rewards, each worth gamma times the one before it, that follows when action a
is taken in state s and the best ones after it. Whoever knows Q acts best by taking its largest
value. It obeys Q(s, a) = r + gamma max_a' Q(s', a'); a network learns it by making the two sides
equal on what it has met, and meets more by acting on what it has learnt.

Papers:
    Mnih et al. 2015, Human-level control through deep reinforcement learning (`nature`: replay, and
    a target network that stays behind).
    van Hasselt et al. 2016, Deep reinforcement learning with double Q-learning (`double`).
    Wang et al. 2016, Dueling network architectures for deep reinforcement learning (`dueling`).
    Schaul et al. 2016, Prioritized experience replay (`prioritized`).
    Fortunato et al. 2018, Noisy networks for exploration (`noisy`).
    Hessel et al. 2018, Rainbow (`combined` is all of these with several steps, but without the
    distribution of returns: it is no Rainbow).

Differences:
    Several environments are stepped together, and several updates follow each other, so that few
    large calls do the work; `nature` has four environments where the paper has one that is updated
    after every fourth step. Batches of one round are drawn before the round's first update.
    `target_every` counts updates, as the paper's text does, in whole rounds. A life is no episode.
    Greedy episodes are greedy; the paper's have an epsilon of 0.05. The noise of `noisy` is drawn
    once for a batch, and for one step of all environments. All variants but `nature` have the
    sizes and rates that solved CartPole best here, with 10 steps where the papers have 1 or 3.
"""

import importlib
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.data.environments import Episodes, play, record
from recipes.layers.compiled import compiled
from recipes.training.averages import copy_of
from recipes.training.fitting import refuse, run_epochs
from recipes.training.optimizers import make_optimizer
from recipes.training.replay import Replay

KINDS = ("environments",)
OBJECTIVE = ("val_return", "max")
EPOCHS = 30
NO_FALLING_LOSS = "What the network is to predict grows as it plays better, and the loss with it."


@keras.saving.register_keras_serializable("recipes")
class NoisyDense(layers.Layer):
    """A dense layer whose weights are drawn: w = mu + sigma * noise, with mu and sigma learnt.

    Fortunato et al. 2018, section 3.1, factorised: noise_ij = f(e_i) f(e_j), f(x) = sgn(x) |x|^1/2.
    Outside of training w = mu.

    Args:
        units: of the output.
        activation: as of `keras.layers.Dense`.
        sigma: initial standard deviation of a weight, times the root of the number of inputs.
        seed: of the noise.
    """

    def __init__(self, units, activation=None, sigma=0.5, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.sigma, self.seed = units, sigma, seed
        self.activation = keras.activations.get(activation)
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        """Make mu, uniform in +-1/sqrt(inputs), and sigma."""
        width = input_shape[-1]
        mean = keras.initializers.RandomUniform(-(width**-0.5), width**-0.5)
        spread = keras.initializers.Constant(self.sigma * width**-0.5)
        for part, shape in (("kernel", (width, self.units)), ("bias", (self.units,))):
            setattr(self, part, self.add_weight(shape=shape, initializer=mean, name=part))
            name = f"{part}_sigma"
            setattr(self, name, self.add_weight(shape=shape, initializer=spread, name=name))

    def call(self, x, training=False):
        """(n, inputs) -> (n, units)."""
        kernel, bias = self.kernel, self.bias
        if training:
            noise = [keras.random.normal((size,), seed=self.generator, dtype=self.compute_dtype)
                     for size in kernel.shape]  # fmt: skip
            into, out = (ops.sign(e) * ops.sqrt(ops.abs(e)) for e in noise)
            kernel = kernel + self.kernel_sigma * into[:, None] * out
            bias = bias + self.bias_sigma * out
        return self.activation(ops.matmul(x, kernel) + bias)

    def compute_output_shape(self, input_shape):
        """(..., units)."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """The constructor's arguments."""
        config = {name: getattr(self, name) for name in ("units", "sigma", "seed")}
        config["activation"] = keras.activations.serialize(self.activation)
        return super().get_config() | config


@keras.saving.register_keras_serializable("recipes")
class Dueling(layers.Layer):
    """Q = V + A - mean_a A, float32 (Wang et al. 2016, equation 9)."""

    def call(self, value, advantage):
        """(n, 1) and (n, actions) -> (n, actions)."""
        return value + advantage - ops.mean(advantage, axis=-1, keepdims=True)

    def compute_output_shape(self, value_shape, advantage_shape):
        """That of the advantage."""
        return advantage_shape


@keras.saving.register_keras_serializable("recipes")
class DQN(keras.Model):
    """Observations (n, *input_shape) -> values of actions, float32 (n, actions); learns by acting.

    Args:
        network: observations -> values, a functional model.
        num_envs: environments that are stepped together.
        train_every: their steps, of all together, between two rounds of updates.
        gradient_steps: updates of a round.
        target_every: updates after which the target network is made equal to the other.
        warmup_steps: steps by chance before the first update.
        epoch_steps: steps of an epoch where `fit` is not told otherwise.
        buffer_size: steps that are kept.
        gamma: discount of a step.
        num_steps: rewards before a value stands for the rest.
        double: the network chooses the action that the target network values.
        alpha: how much errors count for what is learnt from; None: all steps alike.
        beta: how far importance weights undo that at first; it grows to 1 over `beta_steps`.
        beta_steps: steps.
        epsilon_start: share of actions by chance at first.
        epsilon_end: after `exploration_steps`.
        exploration_steps: steps.
        noisy: explore by the network's noise alone.
        clip_rewards: learn from their signs, or, between -1 and 1, from themselves.
        seed: of chance.
    """

    numbers = (
        "num_envs", "train_every", "gradient_steps", "target_every", "warmup_steps", "epoch_steps",
        "buffer_size", "gamma", "num_steps", "double", "alpha", "beta", "beta_steps",
        "epsilon_start", "epsilon_end", "exploration_steps", "noisy", "clip_rewards", "seed",
    )  # fmt: skip
    own_loop = True  # `fit` runs on one device
    xla_on_cpu = True  # see `recipes.training.compilation`

    def __init__(self, network, num_envs=16, train_every=256, gradient_steps=128, target_every=256,
                 warmup_steps=1024, epoch_steps=2048, buffer_size=100_000, gamma=0.99, num_steps=1,
                 double=False, alpha=None, beta=0.4, beta_steps=100_000, epsilon_start=1.0,
                 epsilon_end=0.04, exploration_steps=10_000, noisy=False, clip_rewards=False,
                 seed=0, **kwargs):  # fmt: skip
        super().__init__(autocast=False, **kwargs)  # errors are float32
        self.network = network
        self.target = copy_of(network)
        given = locals()
        for name in self.numbers:
            setattr(self, name, given[name])
        # What is saved with the weights, so that a training that resumes explores as it did.
        self.steps = self.add_weight((), "zeros", "int32", trainable=False, name="steps")
        self.built = True  # the networks have their weights

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, *input_shape), as of other models."""
        return self.network.input_shape

    def get_config(self) -> dict:
        """The constructor's arguments."""
        config = {"name": self.name, **{name: getattr(self, name) for name in self.numbers}}
        return config | {"network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config: dict) -> "DQN":
        """The model of a configuration."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})

    def call(self, x, training=False):
        """Values of actions; of transitions, as `Replay` draws them, the errors float32 (n,).

        The error is r + gamma^n max_a' Q'(s', a') - Q(s, a), Q' being the target network.
        """
        if not isinstance(x, dict):
            return self.network(x, training=training)
        after = self.target(x["next_observation"], training=training)  # (n, actions)
        if self.double:
            best = ops.argmax(self.network(x["next_observation"], training=training), axis=-1)
            value = pick(after, best)
        else:
            value = ops.max(after, axis=-1)
        target = ops.stop_gradient(x["reward"] + x["discount"] * value)
        return target - pick(self.network(x["observation"], training=training), x["action"])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Huber's loss of the errors, whose gradient is the error, clipped to +-1."""
        size = ops.abs(y_pred)
        loss = ops.where(size <= 1, 0.5 * ops.square(size), size - 0.5)
        # On PyTorch `train_on_batch` gives arrays, which do not multiply tensors.
        return ops.mean(loss if sample_weight is None else ops.multiply(loss, sample_weight))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The loss, and the errors, which are the priorities of what was learnt from."""
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "errors": y_pred}

    @property
    def epsilon(self) -> float:
        """The share of actions by chance, at this number of steps."""
        if self.noisy:
            return 0.0
        share = min(1.0, int(self.steps) / self.exploration_steps)
        return self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
            validation_batch_size=None, validation_freq=1):  # fmt: skip
        """Play and learn. Arguments are those of `keras.Model.fit`.

        Replay begins empty in each call: `warmup_steps` are played before the first epoch, and
        before the first one of a training that is resumed, then as well as it has learnt to. The
        number of steps, with the schedules that depend on it, is saved with the model.

        Args:
            x: the training part of `load_data`: `Episodes`.
            batch_size: transitions of an update; default that of x.
            steps_per_epoch: steps of all environments together in an epoch, made up to whole rounds
                of `train_every`; default `epoch_steps`.
            validation_data: `Episodes`, of which as many are played as it says.

        Returns:
            `History`: loss; return (sum of rewards) and length, means over the episodes that ended
            in the epoch, or, where none did, over those that go on; epsilon; val_return and
            val_length of greedy episodes.

        Raises:
            ValueError: x is no `Episodes` or has other observations or actions; a batch is larger
                than `buffer_size`; arguments that mean nothing here.
        """
        refuse("this model learns by acting", y=y, validation_split=validation_split or None,
               class_weight=class_weight, sample_weight=sample_weight,
               validation_steps=validation_steps)  # fmt: skip
        self._check(x, "x")
        if validation_data is not None:
            self._check(validation_data, "validation_data")
        batch_size = batch_size or x.batch_size
        wanted = f"must be at most buffer_size={self.buffer_size}"
        check(batch_size <= self.buffer_size, "batch_size", batch_size, wanted)
        wanted = "must be a positive integer"
        steps = self.epoch_steps if steps_per_epoch is None else steps_per_epoch
        check(isinstance(steps, Integral) and steps >= 1, "steps_per_epoch", steps, wanted)

        rounds = math.ceil(steps / self.train_every)
        player = Player(self, x, batch_size)

        def learn(epoch, callbacks):
            if not len(player.replay):
                player.play(self.warmup_steps, self.epsilon if int(self.steps) else 1.0)
            self.reset_metrics()
            player.ended.clear()
            for i in range(rounds):
                callbacks.on_train_batch_begin(i * self.train_every)
                player.play(self.train_every, self.epsilon)
                logs = {"loss": player.learn(), **player.results(), "epsilon": self.epsilon}
                callbacks.on_train_batch_end((i + 1) * self.train_every - 1, logs)
                if self.stop_training:
                    break
            return logs

        try:
            return run_epochs(
                self, learn, epochs=epochs, initial_epoch=initial_epoch, verbose=verbose,
                callbacks=callbacks, steps=rounds * self.train_every,
                validation_data=validation_data, validation_freq=validation_freq,
            )  # fmt: skip
        finally:
            player.close()

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None,
                 steps=None, callbacks=None, return_dict=False, **kwargs):  # fmt: skip
        """Play greedy episodes: means of their returns (sums of rewards) and lengths.

        Args:
            x: `Episodes`: a part of `load_data`, which says how many there are, and their seed.

        Returns:
            {"return": ..., "length": ...}, or without `return_dict` the list of both.

        Raises:
            ValueError: x is no `Episodes`, or has other observations or actions.
        """
        self._check(x, "x")
        given = callbacks
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(callbacks, model=self)
        callbacks.on_test_begin()
        returns, lengths = play(self.greedy(x.transform), x.world, x.episodes, x.seed)
        logs = {"return": float(returns.mean()), "length": float(lengths.mean())}
        callbacks.on_test_end(logs)
        if verbose not in (0, "auto") and given is not callbacks:
            print(f"{x.episodes} episodes: " + ", ".join(f"{k} {v:g}" for k, v in logs.items()))
        return logs if return_dict else list(logs.values())

    def greedy(self, transform) -> Any:
        """Raw observations (n, ...) -> the actions of the largest values, (n,)."""
        return lambda seen: np.argmax(self.predict_on_batch(transform(seen)), axis=-1)

    def _check(self, x: Any, name: str) -> None:
        """Raise where x is no part of an environment's data, or of another environment's."""
        wanted = "this model learns by acting: give it a part of dqn.load_data(...)"
        check(isinstance(x, Episodes), name, f"<{type(x).__name__}>", wanted)
        found = (tuple(x.world.observation_shape), x.world.num_actions)
        taken = (self.input_shape[1:], self.network.output_shape[-1])
        wanted = f"this model takes observations {taken[0]} and has {taken[1]} actions"
        told = f"{x.world.name}, of observations {found[0]} and {found[1]} actions"
        check(found == taken, name, told, wanted)


def pick(values: Any, actions: Any) -> Any:
    """Of each row (n, actions) the value of one action: (n,)."""
    return ops.squeeze(ops.take_along_axis(values, actions[:, None], axis=1), axis=1)


class Player:
    """Environments in which a model acts and learns.

    Args:
        model: which.
        part: the training part of the data.
        batch_size: of its updates.
    """

    def __init__(self, model: DQN, part: Episodes, batch_size: int):
        self.model, self.part, self.batch_size = model, part, batch_size
        done = int(model.steps)
        self.generator = np.random.default_rng((model.seed, part.seed, done))
        count = model.num_envs
        self.envs = part.world.make(count)
        self.seen, _ = self.envs.reset(seed=int(self.generator.integers(2**31)))
        self.over, self.returns, self.lengths = np.zeros((3, count))
        self.ended: list[tuple[float, float]] = []  # returns and lengths
        self.replay = Replay(
            model.buffer_size, count, self.seen.shape[1:], self.seen.dtype,
            stacked=part.world.stacked, num_steps=model.num_steps, gamma=model.gamma,
            alpha=model.alpha, seed=int(self.generator.integers(2**31)),
        )  # fmt: skip
        # In training, so that there is noise where the network has some.
        self.values = compiled(model, lambda x: model.network(x, training=model.noisy))
        model.optimizer.build(model.trainable_variables)
        backend = importlib.import_module(f"recipes.training.updates_{keras.backend.backend()}")
        self.update = backend.repeat(model)
        self.updates = int(model.optimizer.iterations)

    def play(self, steps: int, epsilon: float) -> None:
        """Take so many steps, of all environments together."""
        model, count = self.model, len(self.over)
        for _ in range(math.ceil(steps / count)):
            chance = self.generator.random(count) < epsilon
            actions = self.generator.integers(0, self.part.world.num_actions, count)
            if not chance.all():
                values = self.values(self.part.transform(self.seen))
                actions = np.where(chance, actions, np.argmax(values, axis=-1))
            seen, rewards, terminated, truncated, _ = self.envs.step(actions)
            learnt = np.clip(rewards, -1, 1) if model.clip_rewards else rewards
            self.replay.add(self.seen, actions, learnt, terminated, truncated)
            self.returns, self.lengths = self.returns + rewards, self.lengths + (self.over == 0)
            self.over, self.seen = terminated | truncated, seen.copy()
            if self.over.any():
                both = self.returns[self.over], self.lengths[self.over]
                self.ended += zip(*(part.tolist() for part in both), strict=True)
                self.returns, self.lengths = (
                    np.where(self.over, 0, part) for part in (self.returns, self.lengths)
                )
        model.steps.assign(int(model.steps) + math.ceil(steps / count) * count)

    def learn(self) -> float:
        """One round of updates; the epoch's mean loss so far."""
        model = self.model
        share = min(1.0, int(model.steps) / model.beta_steps)
        beta = model.beta + share * (1 - model.beta)
        batches, weights, places = self.replay.sample(
            model.gradient_steps, self.batch_size, self.part.transform, beta
        )
        errors = self.update(batches, weights)
        if model.alpha is not None:
            self.replay.set_errors(places, errors)
        before, self.updates = self.updates, self.updates + model.gradient_steps
        if before // model.target_every != self.updates // model.target_every:
            model.target.set_weights(model.network.get_weights())
        return float(model.get_metrics_result()["loss"])

    def results(self) -> dict[str, float]:
        """Mean return and length, see `DQN.fit`."""
        both = self.ended or list(zip(self.returns, self.lengths, strict=True))
        found = np.mean(both, axis=0).tolist()
        return dict(zip(("return", "length"), found, strict=True))

    def close(self) -> None:
        """End the environments."""
        self.envs.close()


VARIANTS = {
    "mlp": {},
    "nature": {
        "input_shape": (84, 84, 4),
        "filters": (32, 64, 64),
        "kernel_size": (8, 4, 3),
        "strides": (4, 2, 1),
        "units": (512,),
        "optimizer": "rmsprop",
        "learning_rate": 2.5e-4,
        "clip_norm": None,
        "num_steps": 1,
        "num_envs": 4,
        "train_every": 4,
        "gradient_steps": 1,
        "target_every": 10_000,
        "warmup_steps": 50_000,
        "epoch_steps": 50_000,
        "buffer_size": 1_000_000,
        "epsilon_end": 0.1,
        "exploration_steps": 1_000_000,
        "clip_rewards": True,
    },
    "double": {"double": True},
    "dueling": {"dueling": True},
    "prioritized": {"prioritized": True},
    "noisy": {"noisy": True},
    "combined": {
        "double": True,
        "dueling": True,
        "prioritized": True,
        "noisy": True,
    },
    "tiny": {
        "units": (32,),
        "num_steps": 1,
        "num_envs": 4,
        "train_every": 32,
        "gradient_steps": 8,
        "target_every": 32,
        "warmup_steps": 64,
        "epoch_steps": 128,
        "buffer_size": 1000,
        "exploration_steps": 1000,
    },
}


@recipe(VARIANTS)
def build_model(
    variant: str = "mlp",
    *,
    input_shape: tuple[int, ...] = (4,),
    num_actions: int = 2,
    filters: tuple[int, ...] = (),
    kernel_size: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
    units: tuple[int, ...] = (128, 128),
    double: bool = False,
    dueling: bool = False,
    prioritized: bool = False,
    alpha: float = 0.6,
    beta: float = 0.4,
    beta_steps: int = 100_000,
    noisy: bool = False,
    num_steps: int = 10,
    gamma: float = 0.99,
    epsilon_start: float = 1.0,
    epsilon_end: float = 0.04,
    exploration_steps: int = 10_000,
    clip_rewards: bool = False,
    num_envs: int = 16,
    train_every: int = 256,
    gradient_steps: int = 128,
    target_every: int = 256,
    warmup_steps: int = 1024,
    epoch_steps: int = 2048,
    buffer_size: int = 100_000,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 1e-3,
    clip_norm: float | None = 10.0,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `DQN`: observations (n, *input_shape) -> values of actions, float32 (n, actions).

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: of one observation; (height, width, channels) where there are `filters`.
        num_actions: that the environment has.
        filters: of each convolution; none by default.
        kernel_size: of each.
        strides: of each.
        units: of each dense layer behind them; of a dueling network, the last is of each stream.
        double: the network chooses the action that the target network values.
        dueling: values are V + A - mean A, of two streams.
        prioritized: learn from what had large errors more often.
        alpha: how much they count, if `prioritized`: 0 is not at all.
        beta: how far importance weights undo it at first, in [0, 1]; it grows to 1.
        beta_steps: over so many steps.
        noisy: explore by noise on the weights of dense layers, and not by epsilon.
        num_steps: rewards before a value stands for the rest.
        gamma: discount of a step, in (0, 1].
        epsilon_start: share of actions by chance at first.
        epsilon_end: and after `exploration_steps`.
        exploration_steps: steps over which it falls.
        clip_rewards: learn from rewards cut to -1 .. 1.
        num_envs: environments that are stepped together.
        train_every: steps, of all environments together, between rounds of updates; a multiple of
            `num_envs`.
        gradient_steps: updates of a round.
        target_every: updates, in whole rounds, between copies to the target network.
        warmup_steps: by chance, before the first update.
        epoch_steps: steps that `fit` calls an epoch, unless told `steps_per_epoch`.
        buffer_size: steps kept for replay; of Atari's a million take 7 GB.
        optimizer: "sgd", "adam", "adamw", "rmsprop" (centred, as Mnih's), "adagrad", or an
            optimizer.
        learning_rate: a number or a schedule.
        clip_norm: of all gradients together, at most; None: any.
        seed: of the initial weights and of exploration.

    Raises:
        ValueError: an unknown variant, argument or value; layers that do not fit `input_shape`; a
            `buffer_size` that is smaller than the warm-up.
    """
    counts = {
        "num_actions": num_actions, "num_steps": num_steps, "num_envs": num_envs,
        "exploration_steps": exploration_steps, "beta_steps": beta_steps,
        "train_every": train_every, "gradient_steps": gradient_steps, "target_every": target_every,
        "warmup_steps": warmup_steps, "epoch_steps": epoch_steps, "buffer_size": buffer_size,
    }  # fmt: skip
    for name, value in counts.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
        check(whole, name, value, "must be a positive integer")
    flags = {"double": double, "dueling": dueling, "prioritized": prioritized, "noisy": noisy,
             "clip_rewards": clip_rewards}  # fmt: skip
    for name, value in flags.items():
        check(isinstance(value, bool), name, value, "must be True or False")
    shares = {"alpha": alpha, "beta": beta, "epsilon_start": epsilon_start,
              "epsilon_end": epsilon_end}  # fmt: skip
    for name, value in {**shares, "gamma": gamma}.items():
        number = isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= 1
        above = name in shares or value != 0
        wanted = "must be a number in [0, 1]" if name in shares else "must be a number in (0, 1]"
        check(number and above, name, value, wanted)
    wanted = f"must be a multiple of num_envs={num_envs}"
    check(train_every % num_envs == 0, "train_every", train_every, wanted)
    wanted = f"must be at least warmup_steps={warmup_steps}"
    check(buffer_size >= warmup_steps, "buffer_size", buffer_size, wanted)
    least = num_envs * (num_steps + 1)
    wanted = f"{num_envs} environments and {num_steps} steps need at least {least}"
    check(warmup_steps >= least, "warmup_steps", warmup_steps, wanted)

    network = q_network(
        input_shape, num_actions, (filters, kernel_size, strides), units, dueling, noisy
    )
    model = DQN(
        network, num_envs, train_every, gradient_steps, target_every, warmup_steps, epoch_steps,
        buffer_size, gamma, num_steps, double, alpha if prioritized else None, beta, beta_steps,
        epsilon_start, epsilon_end, exploration_steps, noisy, clip_rewards, seed or 0,
        name=f"dqn_{variant}",
    )  # fmt: skip
    if optimizer == "rmsprop":  # Graves's: of the variance of gradients, not of their squares
        optimizer = keras.optimizers.RMSprop(
            learning_rate, rho=0.95, epsilon=0.01, centered=True, global_clipnorm=clip_norm
        )
    model.compile(optimizer=make_optimizer(optimizer, learning_rate, clip_norm=clip_norm))
    return model


def q_network(
    input_shape: Sequence[int],
    num_actions: int,
    convolutions: tuple[Sequence[int], Sequence[int], Sequence[int]],
    units: Sequence[int],
    dueling: bool,
    noisy: bool,
) -> keras.Model:
    """Observations -> values: convolutions, dense layers, and one or two heads."""
    filters, kernel_size, strides = convolutions
    same = len(filters) == len(kernel_size) == len(strides)
    check(same, "filters", filters, f"needs as many in {kernel_size=} and {strides=}")
    wanted = "convolutions need observations (height, width, channels)"
    check(not filters or len(input_shape) == 3, "input_shape", input_shape, wanted)
    dense = NoisyDense if noisy else layers.Dense

    x = inputs = keras.Input(input_shape, name="observation")
    for count, size, stride in zip(filters, kernel_size, strides, strict=True):
        enough = min(x.shape[1:3]) >= size
        check(enough, "input_shape", input_shape, f"too small for {kernel_size=} and {strides=}")
        x = layers.Conv2D(count, size, stride, activation="relu")(x)
    x = layers.Flatten()(x)
    for width in units[:-1]:
        x = dense(width, activation="relu")(x)

    def stream(outputs: int) -> Any:
        last = dense(units[-1], activation="relu")(x)
        return dense(outputs, dtype="float32")(last)

    q = Dueling(dtype="float32")(stream(1), stream(num_actions)) if dueling else stream(num_actions)
    return keras.Model(inputs, q, name="q_network")


def load_data(source: object = "CartPole-v1", *, batch_size: int = 64, seed: int = 0, **options):
    """An environment of Gymnasium's by name, or a function that makes one; discrete actions.

    See `recipes.data.environments.load` for all options.

    Returns:
        `Data` of `Episodes`, which `fit` and `evaluate` play; as batches they are observations of
        random play, float32 (n, *shape).
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    return {
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "gamma": hp.Choice("gamma", [0.95, 0.98, 0.99, 0.995, 0.999], default=0.99),
        "num_steps": hp.Choice("num_steps", [1, 3, 5, 10, 20], default=10),
        "double": hp.Boolean("double", default=False),
        "dueling": hp.Boolean("dueling", default=False),
        "gradient_steps": hp.Choice("gradient_steps", [32, 64, 128, 256], default=128),
        "exploration_steps": hp.Choice("exploration_steps", [2500, 10_000, 40_000], default=10_000),
        "batch_size": hp.Choice("batch_size", [32, 64, 128, 256], default=64),
    }


def pictures(model: DQN, data) -> dict:
    """What a run shows: a greedy episode, moving and as a strip, and the values on its way."""
    from recipes.reports import plots

    values, transform = [], data.test.transform

    def act(seen):
        values.append(model.predict_on_batch(transform(seen))[0])
        return np.argmax(values[-1])[None]

    frames = record(act, data.test.world, data.test.seed)
    if not frames:  # no view of it: nothing was played
        play(act, data.test.world, 1, data.test.seed)
    figures = {"values": values_on_the_way(np.array(values))}
    if frames:
        figures |= {"episode": plots.strip(frames), "play": frames}
    return figures


def values_on_the_way(values: np.ndarray):
    """A figure: the value of each action at each step of an episode, (steps, actions)."""
    from recipes.reports import plots

    made, (ax,) = plots.figure(7, 3.4)
    for action, series in enumerate(values.T):
        color = plots.CLASSES(action % 10)
        ax.plot(series, color=color, linewidth=1, label=f"action {action}")
    ax.set_title("values of actions along a greedy episode")
    ax.set_xlabel("step", color=plots.INK)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return made
