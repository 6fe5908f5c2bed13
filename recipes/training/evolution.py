"""Learning by evolution: a population is asked for, all of it is judged, and told how well it did.

A generation is an epoch, and its networks answer together, as arrays with one more axis in front:
in one compiled call, or, where they are few and small, in NumPy.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from threadpoolctl import threadpool_limits

from recipes.contract import check
from recipes.data.core import Batches
from recipes.data.environments import Episodes, play
from recipes.layers.compiled import compiled
from recipes.training.fitting import refuse, run_epochs

VALUES = 2**23  # of all networks' answers that are computed at once
FEW = 2**18  # below so many, a compiled call takes longer than NumPy, measured on two cores


class Evolution(keras.Model):
    """A model that is the best network of a population so far, the champion.

    It learns classes or numbers from examples, or to act in an environment. A subclass gives
    `first_population`, `express`, `respond`, `champion` and `adopt`. A population has `seed`,
    `generation`, `tell(fitness)`, which makes the next generation, `counts(index)`, more numbers
    for the history, `state()`, arrays by name, of which `revive` makes it again,
    and `measured`, a dictionary that is kept here: the champion's measures, where it was judged.

    The fitness is, for classes, the square of the sum over all examples of the probability of the
    right class: of two classes, and with targets 0 and 1, that is (n - sum |error|)^2, as Stanley &
    Miikkulainen 2002 have it for XOR. For numbers it is 1 / (1 + mean squared error); in an
    environment, the mean return.

    Args:
        input_shape: of one example or observation.
        num_classes: of examples; None for numbers.
        num_targets: numbers to predict.
        num_actions: of an environment, whatever else is given.
        population_size: networks.
        episodes: that each network plays in a generation.
        fitness: a function of targets (n, ...) and outputs float32 (networks, n, values), which
            gives the fitness (networks,); None: see above.
        fitness_threshold: where evolution ends, in an environment on validation episodes as well;
            None: where all examples' classes are right, or at the environment's own threshold.
        seed: of all draws; None: drawn where `fit` begins.
    """

    numbers = ("num_classes", "num_targets", "num_actions", "population_size", "episodes",
               "fitness_threshold", "seed")  # fmt: skip

    own_loop = True  # `fit` runs on one device

    def __init__(self, input_shape: Sequence[int], num_classes: int | None = None,
                 num_targets: int = 1, num_actions: int | None = None, population_size: int = 150,
                 episodes: int = 5, fitness: Callable | None = None,
                 fitness_threshold: float | None = None, seed: int | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(autocast=False, **kwargs)
        self.example_shape = tuple(input_shape)
        self.num_classes, self.num_targets, self.num_actions = num_classes, num_targets, num_actions
        self.population_size, self.episodes, self.seed = population_size, episodes, seed
        self.fitness, self.fitness_threshold = fitness, fitness_threshold
        self.population: Any = None
        self._compiled = compiled(self, lambda inputs: self.respond(*inputs))
        self.built = True

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, *input_shape), as of other models."""
        return (None, *self.example_shape)

    def first_population(self, seed: int) -> Any:
        """The population of generation 0."""
        raise NotImplementedError

    def revive(self, state: dict[str, np.ndarray]) -> Any:
        """The population of a `state()`."""
        raise NotImplementedError

    def express(self, population: Any) -> np.ndarray:
        """All networks as `respond` takes them: (networks, ...)."""
        raise NotImplementedError

    def champion(self) -> np.ndarray:
        """The champion likewise: (1, ...)."""
        raise NotImplementedError

    def adopt(self, population: Any, index: int) -> None:
        """Make one of the networks the champion."""
        raise NotImplementedError

    def respond(self, networks: Any, x: Any, state: Any = None) -> tuple:
        """Answers of all networks: in tensors, compiled, or, where they are few, in arrays.

        Args:
            networks: of `express`.
            x: (networks or 1, n, *input_shape).
            state: of recurrent networks, what the last call gave; None at first.

        Returns:
            (outputs (networks, n, values),), or with the new state behind them.
        """
        raise NotImplementedError

    # What is judged.

    def _answer(self, networks: np.ndarray, x: np.ndarray, *state: np.ndarray) -> tuple:
        """`respond`, of arrays."""
        few = math.prod(networks.shape[:2]) * x.shape[1] < FEW
        return self.respond(networks, x, *state) if few else self._compiled([networks, x, *state])

    def answers(self, networks: np.ndarray, x: np.ndarray, batch_size: int | None = None):
        """Answers to examples x (n, *input_shape): float32 (networks, n, values)."""
        rows = batch_size or max(1, VALUES // math.prod(networks.shape[:2]))
        parts = [self._answer(networks, x[None, i : i + rows])[0] for i in range(0, len(x), rows)]
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def judge(self, networks: np.ndarray, examples: Any, seed: Any = None,
              batch_size: int | None = None) -> dict[str, np.ndarray]:  # fmt: skip
        """Every network's measures, (networks,) each: fitness, and what else there is to know.

        Args:
            networks: of `express`.
            examples: (x, y), or `Episodes`.
            seed: of training episodes; None: the part's own seed and number of episodes.
            batch_size: examples at once.
        """
        if isinstance(examples, Episodes):
            return self._play(networks, examples, seed)
        x, y = examples
        outputs = self.answers(networks, x, batch_size)
        found = of_numbers(y, outputs) if self.num_classes is None else of_classes(y, outputs)
        if self.fitness is not None:
            found["fitness"] = np.asarray(self.fitness(y, outputs), "float64")
        return found

    def _play(self, networks: np.ndarray, part: Episodes, seed: Any) -> dict[str, np.ndarray]:
        count, state = len(networks), ()
        episodes = part.episodes if seed is None else self.episodes

        def act(seen: np.ndarray) -> np.ndarray:
            nonlocal state
            x = part.transform(seen).reshape(count, episodes, *self.example_shape)
            outputs, *state = self._answer(networks, x, *state)
            return outputs.argmax(axis=-1).ravel()

        seed = part.seed if seed is None else seed
        returns, lengths = play(act, part.world, count * episodes, seed)
        returns, lengths = (v.reshape(count, episodes).mean(axis=1) for v in (returns, lengths))
        return {"fitness": returns, "length": lengths}

    def player(self) -> Callable[[np.ndarray], np.ndarray]:
        """The champion as `environments.record` takes it; a new one for each episode."""
        state, champion = (), self.champion()

        def act(seen: np.ndarray) -> np.ndarray:
            nonlocal state
            x = np.asarray(seen, "float32").reshape(1, -1, *self.example_shape)
            outputs, *state = self._answer(champion, x, *state)
            return outputs[0].argmax(axis=-1)

        return act

    def solved(self, logs: dict[str, float], examples: Any) -> bool:
        """Whether there is nothing left to look for, see `fitness_threshold`."""
        threshold = self.fitness_threshold
        if not isinstance(examples, Episodes):
            found = logs.get("accuracy", 0.0) == 1.0
            return found if threshold is None else logs["fitness"] >= threshold
        threshold = examples.world.reward_threshold if threshold is None else threshold
        lowest = min(logs["fitness"], logs.get("val_fitness", np.inf))
        return threshold is not None and lowest >= threshold

    # Keras's own.

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
            validation_batch_size=None, validation_freq=1):  # fmt: skip
        """Evolve for `epochs` generations, or until it is solved.

        Arguments are those of `keras.Model.fit`. x is an array with targets y, a `PyDataset`, a
        `tf.data.Dataset` or another iterable of batches (x, y), or `Episodes`, the part of an
        environment's data. A generation sees all examples, at most `batch_size` at once. A second
        call goes on with the population, and looks for a new champion.

        Returns:
            `History`: fitness and the other measures of the champion, the population's
            mean_fitness, what the population counts, and val_fitness ... of the champion.

        Raises:
            ValueError: examples of another shape, without targets, or with others than the model
                was built for; fitness that is no number; weights, splits and steps.
        """
        refuse("all examples count alike in each generation",
               validation_split=validation_split or None, class_weight=class_weight,
               sample_weight=sample_weight, steps_per_epoch=steps_per_epoch)  # fmt: skip
        examples = self.examples(x, y)
        if isinstance(validation_data, Batches):
            validation_data = self.examples(validation_data)
        elif validation_data is not None:
            held = keras.utils.unpack_x_y_sample_weight(validation_data)
            validation_data = self.examples(*held[:2])

        def evolve(epoch, callbacks):
            callbacks.on_train_batch_begin(0)
            if self.population is None:
                drawn = random.getrandbits(31) if self.seed is None else self.seed
                self.population = self.first_population(drawn)
            elif epoch == 0:
                self.population.measured = {}
            logs = self.next_generation(examples, batch_size)
            callbacks.on_train_batch_end(0, logs)
            return logs

        with threadpool_limits(1, "blas"):  # threads of small products wait for each other
            return run_epochs(
                self, evolve, epochs=epochs, initial_epoch=initial_epoch, steps=1, verbose=verbose,
                callbacks=callbacks, validation_data=validation_data,
                validation_freq=validation_freq,
                validation_batch_size=validation_batch_size or batch_size,
                done=lambda logs: self.solved(logs, examples),
            )  # fmt: skip

    def next_generation(self, examples: Any, batch_size: int | None = None) -> dict[str, float]:
        """Judge the population, keep the best network, and go on to the next generation."""
        population = self.population
        seed = None
        if isinstance(examples, Episodes):  # new ones in each generation
            key = (population.seed, examples.seed, population.generation)
            seed = int(np.random.SeedSequence(key).generate_state(1)[0] // 2)
        found = self.judge(self.express(population), examples, seed, batch_size)
        fitness = found["fitness"]
        shape = f"gave an array of shape {fitness.shape}"
        wanted = f"must give one number for each of {self.population_size} networks"
        check(fitness.shape == (self.population_size,), "fitness", shape, wanted)
        strange = fitness[~np.isfinite(fitness)]
        wanted = f"of {len(strange)} of {len(fitness)} networks; must be a finite number"
        check(not len(strange), "fitness", float(strange[0]) if len(strange) else 0.0, wanted)
        best = int(fitness.argmax())
        held = population.measured.get("fitness", -np.inf)
        # Equal returns are luck as well: the newer network has it in newer episodes.
        if fitness[best] > held or (fitness[best] == held and seed is not None):
            population.measured = {name: float(values[best]) for name, values in found.items()}
            population.measured |= population.counts(best)
            self.adopt(population, best)
        logs = {**population.measured, "mean_fitness": float(fitness.mean())}
        logs |= population.tell(fitness)
        return logs

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None,
                 steps=None, callbacks=None, return_dict=False, **kwargs):  # fmt: skip
        """As `keras.Model.evaluate`, of the champion: loss, fitness and more; in an environment
        fitness, the mean return of `episodes` that the part has, and their mean length.
        """
        refuse("all examples count alike", sample_weight=sample_weight, steps=steps)
        examples = self.examples(x, y)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(
                callbacks, add_progbar=verbose != 0, model=self, verbose=verbose, epochs=1, steps=1
            )
        callbacks.on_test_begin()
        callbacks.on_test_batch_begin(0)
        found = self.judge(self.champion(), examples, batch_size=batch_size)
        logs = {name: float(values[0]) for name, values in found.items()}
        callbacks.on_test_batch_end(0, logs)
        callbacks.on_test_end(logs)
        return logs if return_dict else list(logs.values())

    def examples(self, x: Any, y: Any = None) -> Any:
        """What `fit` was given, checked: `Episodes` as they are, or arrays (x float32, y)."""
        if self.num_actions is not None:
            what = f"a {type(x).__name__}"
            check(
                isinstance(x, Episodes), "x", what, "a model that acts needs an environment's data"
            )
            wanted = f"this model takes {self.example_shape} and {self.num_actions} actions"
            found = (x.world.observation_shape, x.world.num_actions)
            fits = found == (self.example_shape, self.num_actions)
            check(fits, "x", f"observations {found[0]} and {found[1]} actions", wanted)
            return x
        wanted = "this model learns from examples; build it with num_actions to act"
        check(not isinstance(x, Episodes), "x", "an environment", wanted)
        if isinstance(x, Batches):
            x, y = x.arrays()
        elif isinstance(x, keras.utils.PyDataset):
            x, y = _joined([x[i] for i in range(len(x))])
        elif hasattr(x, "as_numpy_iterator"):  # a tf.data.Dataset
            x, y = _joined(x.as_numpy_iterator())
        elif y is None and not hasattr(x, "shape"):
            x, y = _joined(x)
        check(y is not None, "y", None, "learning needs targets")
        x, y = (ops.convert_to_numpy(v) for v in (x, y))
        wanted = f"this model takes {self.input_shape}"
        check(x.shape[1:] == self.example_shape, "x", f"array of shape {x.shape}", wanted)
        check(len(x) == len(y) > 0, "y", f"array of shape {y.shape}", f"needs {len(x)} targets")
        if self.num_classes is None:
            wanted = f"needs numbers (n, {self.num_targets})"
            y = y[:, None] if y.ndim == 1 else y
            fits = y.shape[1:] == (self.num_targets,)
            check(fits, "y", f"array of shape {y.shape}", wanted)
        else:
            wanted = f"needs labels 0 .. {self.num_classes - 1}, (n,)"
            check(y.size == len(y), "y", f"array of shape {y.shape}", wanted)
            y = y.reshape(len(y))
            inside = np.isin(y, np.arange(self.num_classes)).all()
            check(inside, "y", f"values in {y.min():g} .. {y.max():g}", wanted)
            y = y.astype("int32")
        return x.astype("float32"), y

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """As `keras.Model.predict`: the champion's answers."""
        if isinstance(x, np.ndarray):
            wanted = f"this model takes {self.input_shape}"
            check(x.shape[1:] == self.example_shape, "x", f"array of shape {x.shape}", wanted)
        return super().predict(x, *args, **kwargs)

    # What is saved.

    def get_config(self) -> dict:
        """The constructor's arguments."""
        config = {"name": self.name, "input_shape": self.example_shape}
        config |= {name: getattr(self, name) for name in self.numbers}
        return config | {"fitness": keras.saving.serialize_keras_object(self.fitness)}

    @classmethod
    def from_config(cls, config: dict) -> "Evolution":
        """The model of a configuration."""
        fitness = keras.saving.deserialize_keras_object(config["fitness"])
        return cls(**{**config, "fitness": fitness})

    def save_own_variables(self, store: Any) -> None:
        """The population and the champion's measures, so that evolution can go on."""
        if self.population is not None:
            for name, array in self.population.state().items():
                store[name] = array
            for name, value in self.population.measured.items():
                store[f"measured.{name}"] = np.float64(value)

    def load_own_variables(self, store: Any) -> None:
        """What `save_own_variables` has put there."""
        found = {name: np.array(store[name]) for name in store.keys()}  # noqa: SIM118
        measured = {n: float(found.pop(n)) for n in list(found) if n.startswith("measured.")}
        if found:
            self.population = self.revive(found)
            names = [name.removeprefix("measured.") for name in measured]
            self.population.measured = dict(zip(names, measured.values(), strict=True))


def _joined(batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Batches (x, y) as two arrays."""
    batches = [tuple(batch) for batch in batches]
    wanted = "needs batches (x, y)"
    ok = batches and all(len(batch) == 2 for batch in batches)
    check(ok, "x", f"{len(batches)} batches", wanted)
    x, y = zip(*batches, strict=True)
    return tuple(np.concatenate([ops.convert_to_numpy(part) for part in v]) for v in (x, y))


def of_classes(y: np.ndarray, logits: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of logits (networks, n, classes) for labels y (n,), (networks,) each."""
    by_class = logits.transpose(2, 0, 1)  # few and long: what is fast
    shifted = by_class - by_class.max(axis=0)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=0))
    right = log_p[y, :, np.arange(len(y))]  # (n, networks)
    return {
        "loss": -right.mean(axis=0),
        "fitness": np.exp(right).sum(axis=0, dtype="float64") ** 2,
        "accuracy": (logits.argmax(axis=-1) == y).mean(axis=1),
    }


def of_numbers(y: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of values (networks, n, targets) for targets y (n, targets), (networks,) each."""
    error = values - y
    squared = np.square(error, dtype="float64").mean(axis=(1, 2))
    mae = np.abs(error).mean(axis=(1, 2))
    return {"loss": squared, "fitness": 1 / (1 + squared), "mae": mae}
