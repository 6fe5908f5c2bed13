"""Spiking networks that learn without labels: by STDP (Diehl & Cook 2015) and by Hebb's rule.

Neurons compete for what they are shown; who wins learns. Labels only name the neurons afterwards:
each is of the class that it fired most for, and a picture is of the class whose neurons fire most.
"""

import math
import operator
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from recipes.contract import check
from recipes.layers.compiled import compiled
from recipes.training.fitting import Callbacks, batches_of, refuse, run_epochs

STRETCH = 50  # steps in one go, as PyTorch copies all that they teach at each of them
NAMED_BY = 10_000  # last presentations of an epoch that name the neurons, as in the paper's code


class Competing(keras.Model):
    """Neurons that compete and learn from x alone: (n, *input_shape) -> logits (n, num_classes).

    The logits are the logarithms of the mean responses of each class's neurons, so that their
    softmax is the share of the votes. A subclass has `respond` (x in [0, 1], (n, inputs) ->
    responses (n, units)) and `learn`.

    Args:
        input_shape: of one example.
        num_classes: that neurons are named after.
        units: neurons.
        learning_rate: of the rule.
        num_steps: of time.
        seed: of the draws; None: another one each time.
    """

    own_loop = True  # `fit` runs on one device
    numbers = ("units", "learning_rate", "num_steps", "seed")

    def __init__(self, input_shape, num_classes, units, learning_rate, num_steps, seed=None,
                 **kwargs):  # fmt: skip
        super().__init__(autocast=False, **kwargs)
        self.example_shape, self.num_classes = tuple(input_shape), num_classes
        self.units, self.learning_rate = units, learning_rate
        self.num_steps = num_steps
        self.seed = random.randrange(2**31) if seed is None else seed
        self.size = math.prod(input_shape)
        self.kernel = self.add_weight(
            name="kernel", shape=(self.size, units), initializer=self.initial_kernel()
        )
        # Mean response of each neuron to each class, when it last learnt.
        self.responses = self.add_weight(
            name="responses", shape=(num_classes, units), initializer="zeros", trainable=False
        )
        self.seeds = keras.random.SeedGenerator(self.seed)
        self.built = True

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, *input_shape), as of other models."""
        return (None, *self.example_shape)

    def initial_kernel(self) -> keras.initializers.Initializer:
        """Of the weights (inputs, units)."""
        return keras.initializers.RandomUniform(0.003, 0.303, self.seed)

    def call(self, x):
        """Logits from the votes."""
        return self.votes(self.respond(ops.reshape(ops.cast(x, "float32"), (-1, self.size))))

    def votes(self, responses: Any) -> Any:
        """Responses (n, units) -> logits (n, num_classes)."""
        best = ops.argmax(self.responses, axis=0)
        named = ops.transpose(ops.one_hot(best, self.num_classes, dtype="float32"))
        named = named * ops.cast(ops.max(self.responses, axis=0) > 0, "float32")  # silent: no vote
        count = ops.maximum(ops.sum(named, axis=1), 1.0)
        return ops.log(ops.matmul(responses, ops.transpose(named)) / count + 1e-3)

    @property
    def names(self) -> np.ndarray:
        """The class of each neuron, int (units,); -1 where it never fired."""
        found = ops.convert_to_numpy(self.responses)
        return np.where(found.max(axis=0) > 0, found.argmax(axis=0), -1)

    def filters(self) -> np.ndarray:
        """What each neuron learnt to look for, (units, *input_shape)."""
        return ops.convert_to_numpy(self.kernel).T.reshape(-1, *self.example_shape)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
            validation_batch_size=None, validation_freq=1):  # fmt: skip
        """Learn from x; after each epoch, name the neurons by y.

        Arguments are those of `keras.Model.fit`. x is an array in [0, 1], with labels y (n,); or a
        `PyDataset`, a `tf.data.Dataset` or another iterable of (x, y) that starts anew in each
        epoch.

        Returns:
            `History` of spikes (for each example, of all neurons together), and of loss and
            accuracy, as the neurons voted while they learnt, and val_loss, val_accuracy.

        Raises:
            ValueError: data that do not fit; validation_split, steps_per_epoch, weights of
                examples or classes.
        """
        refuse("the rule takes all examples alike", validation_split=validation_split or None,
               class_weight=class_weight, sample_weight=sample_weight,
               steps_per_epoch=steps_per_epoch)  # fmt: skip
        batches = batches_of(x, y, batch_size, shuffle)
        if not self.optimizer.built:  # it only counts the batches, but is saved as a whole
            self.optimizer.build(self.trainable_variables)
        return run_epochs(
            self, lambda epoch, callbacks: self._one_epoch(batches, callbacks),
            epochs=epochs, initial_epoch=initial_epoch, verbose=verbose, callbacks=callbacks,
            steps=operator.length_hint(batches) or None, validation_data=validation_data,
            validation_freq=validation_freq, validation_steps=validation_steps,
            validation_batch_size=validation_batch_size or batch_size,
        )  # fmt: skip

    def _one_epoch(self, batches: Iterable, callbacks: Callbacks) -> dict[str, float]:
        """Learn from each batch, then name the neurons; returns the logs."""
        is_dataset, heard = isinstance(batches, keras.utils.PyDataset), []
        if is_dataset:
            batches.on_epoch_begin()
        for step, (x, y) in enumerate(self._examples(batches)):
            callbacks.on_train_batch_begin(step)
            heard.append(self.learn(x, y))
            spikes = float(np.mean(heard[-1][0].sum(axis=1))) if len(heard[-1][0]) else 0.0
            self.optimizer.iterations.assign_add(1)
            callbacks.on_train_batch_end(step, {"spikes": spikes})
            if self.stop_training:
                break
        heard += self.learn_rest()
        count = sum(len(y) for _, y in heard)
        check(count, "x", type(batches).__name__, "holds no examples")
        if is_dataset:
            batches.on_epoch_end()
        responses, y = (np.concatenate(part)[-NAMED_BY:] for part in zip(*heard, strict=True))
        self.name_neurons(responses, y)
        logits = self.votes(ops.convert_to_tensor(responses))
        self.reset_metrics()
        loss = float(self.compute_loss(None, ops.convert_to_tensor(y), logits))
        logs = self.compute_metrics(None, ops.convert_to_tensor(y), logits)
        logs = {name: float(value) for name, value in logs.items()} | {"loss": loss}
        self.reset_metrics()
        return logs | {"spikes": float(responses.sum(axis=1).mean())}

    def name_neurons(self, responses: np.ndarray, y: np.ndarray) -> None:
        """Name each neuron by what it answered: responses (n, units), labels (n,)."""
        means = [responses[y == k].mean(axis=0) if (y == k).any() else np.zeros(self.units)
                 for k in range(self.num_classes)]  # fmt: skip
        self.responses.assign(np.stack(means).astype("float32"))

    def learn(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One batch; returns responses that count, (n, units), with their labels (n,)."""
        raise NotImplementedError

    def learn_rest(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """What is still to be learnt at the end of an epoch."""
        return []

    def _examples(self, batches: Iterable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Checked batches: x float32 (n, inputs), labels (n,)."""
        is_dataset = isinstance(batches, keras.utils.PyDataset)
        for batch in map(batches.__getitem__, range(len(batches))) if is_dataset else batches:
            check(isinstance(batch, tuple | list) and len(batch) == 2, "x", type(batch).__name__,
                  "each batch must be (x, y): labels name the neurons")  # fmt: skip
            x, y = np.asarray(batch[0], "float32"), np.asarray(batch[1])
            wanted = f"this model takes {self.input_shape} in [0, 1]"
            check(x.shape[1:] == self.example_shape, "x", f"batch of shape {x.shape}", wanted)
            inside = x.size and x.min() >= 0 and x.max() <= 1  # False for NaN, too
            check(inside, "x", f"values in {x.min():g} .. {x.max():g}", wanted)
            known = y.size == len(x) and np.isin(y, range(self.num_classes)).all()
            check(known, "y", f"{y.dtype} {y.shape}",
                  f"needs {len(x)} labels in 0 .. {self.num_classes - 1}")  # fmt: skip
            yield x.reshape(len(x), -1), y.reshape(-1)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        config = {"name": self.name, "input_shape": self.example_shape}
        config |= {"num_classes": self.num_classes}
        return config | {name: getattr(self, name) for name in self.numbers}


@keras.saving.register_keras_serializable("recipes")
class DiehlCook(Competing):
    """Excitatory neurons that learn by STDP and inhibit each other (Diehl & Cook 2015).

    Each input fires at random, at up to 63.75 Hz for 350 ms. A membrane v follows
    tau dv/dt = (rest - v) + g_e (0 - v) + g_i (E_i - v); each neuron drives an inhibitory one of
    its own, which inhibits all the others. Where a neuron fires, its weights grow from those
    inputs that fired just before; its threshold rises by `THETA_PLUS`, so that others get their
    turn. An example that draws fewer than 5 spikes is shown again, brighter.

    Args:
        input_shape: of one example.
        num_classes: that neurons are named after.
        units: neurons.
        learning_rate: of weights that grow; those that shrink have a hundredth of it.
        num_steps: of one presentation.
        seed: of the draws; None: another one each time.
        time_step: in ms.
    """

    numbers = (*Competing.numbers, "time_step")

    # Of the code that Diehl published; mV and ms.
    RATE = 63.75  # Hz of a white pixel
    SUM = 78 / 784  # sum of a neuron's weights, for each input
    THETA, THETA_PLUS, THETA_TAU = 20.0, 0.05, 1e7
    REST = 150.0  # between two presentations
    FEW, BRIGHTEST = 5, 12  # spikes; in steps of half the rate

    def __init__(self, input_shape, num_classes, units=100, learning_rate=0.01, num_steps=350,
                 seed=None, time_step=1.0, **kwargs):  # fmt: skip
        super().__init__(input_shape, num_classes, units, learning_rate, num_steps, seed, **kwargs)
        self.time_step = time_step
        # Of the threshold; v fires above theta - 20 - 52.
        self.theta = self.add_weight(
            name="theta", shape=(units,), trainable=False,
            initializer=keras.initializers.Constant(self.THETA),
        )  # fmt: skip
        self.shown = self.add_weight(
            name="shown", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self._size, self._waiting = 0, []  # of a batch; x (inputs,), label, strength
        self.fired = compiled(self, self.fire, xla_on_cpu=True)  # many small operations

    def chances(self, x: Any, strength: Any) -> Any:
        """Expected spikes in a step; strength 2 is the full rate."""
        return x * strength * (self.RATE / 2 * self.time_step / 1000)

    def trains(self, x: np.ndarray, strength: np.ndarray) -> Any:
        """Poisson spikes of the inputs, a sparse array of ones (n num_steps, inputs).

        A row is an example's inputs at one step. Spikes are few, and so drawn one by one; they
        depend on the seed and on how many batches were shown, not on the backend.
        """
        from scipy.sparse import csr_array

        generator = np.random.default_rng((self.seed, int(self.shown)))
        self.shown.assign_add(1)
        ends = np.cumsum(self.chances(x, strength), dtype="float64")  # of shares of the spikes
        count = generator.poisson(ends[-1] * self.num_steps)
        which = np.searchsorted(ends, generator.random(count) * ends[-1], side="right")
        step = generator.integers(self.num_steps, size=count)
        rows, columns = which // self.size * self.num_steps + step, which % self.size
        shape = (len(x) * self.num_steps, self.size)
        found = csr_array((np.ones(count, "float32"), (rows, columns)), shape)
        found.data[:] = 1  # two in one step are one
        return found

    def start(self, count: Any) -> tuple:
        """All at rest: v, g_e, g_i, pause, of excitatory and then of inhibitory neurons."""
        zeros = ops.zeros((count, self.units))
        return (zeros - 65.0, zeros, zeros, zeros, zeros - 60.0, zeros, zeros, zeros)

    def step(self, states: tuple, current: Any, theta: Any) -> tuple[tuple, Any]:
        """One time step: states, what arrives -> states, spikes (n, units).

        Conductances go by Euler's method; membranes by that of constant conductances, which is
        stable when hundreds of neurons inhibit one at once.
        """
        dt = self.time_step
        v, g_e, g_i, pause, v_i, i_e, i_i, pause_i = states
        g_e, g_i = g_e * (1 - dt / 1.0) + current, g_i * (1 - dt / 2.0) + i_i
        g = 1.0 + g_e + g_i
        goal = (-65.0 - 100.0 * g_i) / g
        moved = goal + (v - goal) * ops.exp(-dt / 100 * g)
        v = ops.where(pause > 0, -65.0, moved)
        s = ops.cast(ops.logical_and(v > theta - 20.0 - 52.0, pause <= 0), "float32")
        v, pause = ops.where(s > 0, -65.0, v), ops.where(s > 0, 5.0, pause - dt)
        # The inhibitory neuron of each: 10.4 from its own, 17 to all others.
        i_e = i_e * (1 - dt / 1.0) + 10.4 * s
        goal = -60.0 / (1.0 + i_e)
        moved = goal + (v_i - goal) * ops.exp(-dt / 10 * (1.0 + i_e))
        v_i = ops.where(pause_i > 0, -45.0, moved)
        s_i = ops.cast(ops.logical_and(v_i > -40.0, pause_i <= 0), "float32")
        v_i, pause_i = ops.where(s_i > 0, -45.0, v_i), ops.where(s_i > 0, 2.0, pause_i - dt)
        i_i = 17.0 * (ops.sum(s_i, axis=1, keepdims=True) - s_i)
        return (v, g_e, g_i, pause, v_i, i_e, i_i, pause_i), s

    def fire(self, inputs: tuple) -> tuple:
        """A stretch of time in copies of the network: what arrives -> what they answer and teach.

        Args:
            inputs: currents (n, steps, units); whether each copy counts, (n, 1); all states, with
                the traces of the last spikes and the number of spikes.

        Returns:
            The states at the end; and for each step, (n, steps, 2, units), what weights grow by,
            for a trace of 1 of their input, and what they shrink by at a spike of it.
        """
        currents, counted, both = inputs
        theta = ops.convert_to_tensor(self.theta)
        keep_1, keep_2 = (math.exp(-self.time_step / tau) for tau in (20, 40))
        grow, shrink = self.learning_rate, 0.01 * self.learning_rate

        def step(t, both):
            states, post1, post2, counts, taught = both
            states, s = self.step(states, currents[:, t], theta + self.THETA_PLUS * counts)
            s = s * counted
            post1, post2 = post1 * keep_1, post2 * keep_2
            # What grows goes by how long ago the neuron itself fired (the triplet rule).
            now = ops.stack([grow * s * post2, shrink * post1], axis=1)[:, None]
            taught = ops.slice_update(taught, (0, t, 0, 0), now)
            return states, ops.maximum(post1, s), ops.maximum(post2, s), counts + s, taught

        taught = ops.zeros_like(ops.stack([currents, currents], axis=2))
        *both, taught = ops.fori_loop(0, ops.shape(currents)[1], step, (*both, taught))
        return tuple(both), taught

    def present(self, trains: Any, counted: np.ndarray) -> np.ndarray:
        """Show each example to a copy of the network; add up what the copies learn, and learn it.

        Args:
            trains: of `trains`.
            counted: whether each example counts, (n, 1).

        Returns:
            Spikes (n, units).
        """
        kernel, n = ops.convert_to_numpy(self.kernel), len(counted)
        currents = (trains @ kernel).reshape(n, -1, self.units)
        both = (self.start(n), *[ops.zeros((n, self.units))] * 3)
        taught = []
        for part in np.split(currents, range(STRETCH, self.num_steps, STRETCH), axis=1):
            both, part = self.fired((part, counted, both))
            taught.append(part)
        counts, taught = both[-1], np.concatenate(taught, axis=1)
        grow, shrink = taught.reshape(-1, 2, self.units).swapaxes(0, 1)
        moments = np.flatnonzero(grow.any(axis=1))
        change = self.traces(trains, moments).T @ grow[moments] - trains.T @ shrink
        kernel = np.clip(kernel + change, 0, 1)
        # The weights of each neuron sum up to the same again.
        self.kernel.assign(kernel * (self.SUM * self.size / np.maximum(kernel.sum(axis=0), 1e-9)))
        # Thresholds: what they gain in each copy, and lose with time.
        time = (self.num_steps * self.time_step + self.REST) * counted.sum()
        fade = ops.convert_to_numpy(self.theta) * math.expm1(-time / self.THETA_TAU)
        self.theta.assign_add(self.THETA_PLUS * counts.sum(axis=0) + fade)
        return counts

    def traces(self, trains: Any, moments: np.ndarray) -> np.ndarray:
        """The inputs' traces, 1 at a spike and then fading, at some rows of `trains`, in order."""
        rows = np.repeat(np.arange(trains.shape[0]), np.diff(trains.indptr))
        nearest = np.searchsorted(moments, rows)  # the first moment that a spike is heard at
        heard = nearest < len(moments)
        last = np.full((len(moments), self.size), -1)
        last[nearest[heard], trains.indices[heard]] = rows[heard]  # the last of several stays
        last = np.maximum.accumulate(last, axis=0)
        own = last >= (moments // self.num_steps * self.num_steps)[:, None]  # of this example
        age = (moments[:, None] - last) * self.time_step
        return np.where(own, np.exp(-age / 20), 0.0).astype("float32")

    def learn(self, x, y):
        """Those that draw few spikes are shown again, brighter, with the next batch."""
        self._size = max(self._size, len(x))
        self._waiting += [(*row, 2) for row in zip(x, y, strict=True)]
        return self._show_while(lambda: len(self._waiting) >= self._size)

    def learn_rest(self):
        """Show all that are still waiting."""
        heard = self._show_while(lambda: self._waiting)
        self._size = 0
        return [heard]

    def _show_while(self, more: Callable[[], Any]) -> tuple[np.ndarray, np.ndarray]:
        """Show a batch of those who wait, and another; returns the responses that count."""
        heard = [(np.zeros((0, self.units), "float32"), np.zeros(0, "int32"))]
        while more():
            rows, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            x, y, strength = (np.stack(part) for part in zip(*rows, strict=True))
            empty = self._size - len(rows)  # the size that is compiled
            trains = self.trains(np.pad(x, [(0, empty), (0, 0)]),
                                 np.pad(strength, (0, empty))[:, None])  # fmt: skip
            counted = (np.arange(self._size) < len(rows))[:, None].astype("float32")
            responses = self.present(trains, counted)[: len(rows)]
            ready = (responses.sum(axis=1) >= self.FEW) | (strength >= self.BRIGHTEST)
            heard.append((responses[ready], y[ready]))
            self._waiting += [(x, y, strength + 1) for (x, y, strength), ok
                              in zip(rows, ready, strict=True) if not ok]  # fmt: skip
        return tuple(np.concatenate(part) for part in zip(*heard, strict=True))

    def respond(self, x):
        """Spikes of each neuron, (n, units), with the weights as they are."""
        n, theta = ops.shape(x)[0], ops.convert_to_tensor(self.theta)
        noise = keras.random.uniform((self.num_steps, *ops.shape(x)), seed=self.seeds)

        def few(counts):
            return ops.sum(counts, axis=1, keepdims=True) < self.FEW

        def show(strength, counts):
            chances = self.chances(x, strength)

            def step(t, both):
                states, counts = both
                spikes = ops.cast(noise[t] < chances, "float32")
                states, s = self.step(states, ops.matmul(spikes, self.kernel), theta)
                return states, counts + s

            _, new = ops.fori_loop(0, self.num_steps, step, (self.start(n), ops.zeros_like(counts)))
            return strength + 1.0, ops.where(few(counts), new, counts)

        def again(strength, counts):
            return ops.logical_and(strength <= self.BRIGHTEST, ops.any(few(counts)))

        start = (ops.convert_to_tensor(2.0), ops.zeros((n, self.units)))
        return ops.while_loop(again, show, start)[1]


@keras.saving.register_keras_serializable("recipes")
class Hebbian(Competing):
    """Neurons that compete and learn by Oja's rule: dw = rate y (x - y w), y = w.x (Oja 1982).

    x are the shares of steps at which each input fired, scaled to length 1. The neuron of the
    largest y wins, and it alone learns, from the mean over the batch; its w goes to the first
    principal component of all that it wins, of length 1. Who has won more than the others is
    handicapped while they learn.

    Args:
        input_shape: of one example.
        num_classes: that neurons are named after.
        units: neurons.
        learning_rate: of the rule.
        num_steps: at which each input fires with its value as the probability.
        seed: of the draws; None: another one each time.
    """

    CONSCIENCE, PACE = 0.3, 0.05  # handicap of who wins twice its share; of the running mean

    def __init__(self, input_shape, num_classes, units=100, learning_rate=0.1, num_steps=50,
                 seed=None, **kwargs):  # fmt: skip
        super().__init__(input_shape, num_classes, units, learning_rate, num_steps, seed, **kwargs)
        self.wins = self.add_weight(  # share of the examples, times units: 1 on average
            name="wins", shape=(units,), initializer="ones", trainable=False
        )
        self.presented = compiled(self, self.present)

    def initial_kernel(self):
        """Of a length of about 1."""
        return keras.initializers.RandomUniform(0.0, math.sqrt(3 / self.size), self.seed)

    def rates(self, x: Any) -> Any:
        """Random spikes' shares of the steps, of length 1: (n, inputs) -> (n, inputs)."""
        noise = keras.random.uniform((self.num_steps, *ops.shape(x)), seed=self.seeds)
        rates = ops.mean(ops.cast(noise < x, "float32"), axis=0)
        return rates / (ops.norm(rates, axis=1, keepdims=True) + 1e-9)

    def answers(self, x: Any, handicap: Any) -> Any:
        """y of the winners, (n, units), 0 of the others."""
        y = ops.matmul(x, self.kernel)
        return y * ops.one_hot(ops.argmax(y - handicap, axis=1), self.units, dtype="float32")

    def present(self, x: Any) -> tuple:
        """Answers (n, units), and the changes of the weights and of `wins`."""
        x = self.rates(x)
        y = self.answers(x, self.CONSCIENCE * (self.wins - 1.0))
        won = ops.sum(ops.cast(y > 0, "float32"), axis=0)
        kernel = ops.convert_to_tensor(self.kernel)
        change = ops.matmul(ops.transpose(x), y) - kernel * ops.sum(ops.square(y), axis=0)
        share = won * self.units / ops.maximum(ops.sum(won), 1.0)
        change = self.learning_rate * change / ops.maximum(won, 1.0)
        return y, change, self.PACE * (share - self.wins)

    def learn(self, x, y):
        """Each neuron from those that it wins."""
        answers, change, wins = self.presented(x)
        self.kernel.assign_add(change)
        self.wins.assign_add(wins)
        return answers, y

    def respond(self, x):
        """The winner's answer."""
        return self.answers(self.rates(x), 0.0)
