"""NEAT: networks that evolve their weights and their wiring together, from the smallest there is.

A genome is a list of connections. Mutations shift weights, join two nodes, or put a new node into a
connection. Each connection that arises gets a number, its place in history, by which any two
genomes line up: so networks of different shape can be crossed, and told how far apart they are.
Those that are close form a species and compete among themselves alone, which gives a new structure
the time to become useful. Fitness is all that has to be known: no gradient, no target even.

Paper:
    Stanley & Miikkulainen 2002, Evolving neural networks through augmenting topologies. All numbers
    of its section 4.1 are defaults here: 150 networks, c1 = c2 = 1, c3 = 0.4, threshold 3.

Differences:
    A connection between the same two nodes has the same number in later generations, too. In
    feed-forward networks a node that splits a connection stands halfway between its ends, and
    connections lead onwards only: so every crossing is free of circles. What the paper leaves open
    is as in its authors' program: initial weights in [-1, 1], shifts by 2.5, weights of at most 8,
    the best fifth of a species has offspring, old connections are the likeliest to be split, and
    the bias' never; but new weights are drawn from [-8, 8], and the second parent is another one
    than the first. Classes and actions are read off the sums that enter the output nodes: with two
    classes there is one, and the sigmoid of its sum is the probability of the second. Where a
    fitness is negative, all are counted from the lowest.
"""

from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.training.evolution import Evolution
from recipes.training.genomes import Population

KINDS = ("tables", "environments")
OBJECTIVE = ("val_fitness", "max")
EPOCHS = 100
NO_GRADIENT = "Weights change by mutation and selection, without a gradient."
NO_FALLING_LOSS = "Fitness is what evolution raises; the loss need not fall with it."
NO_MIXED_PRECISION = "Sums of a few steep nodes are the whole network: float32 everywhere."

SLOPE = 4.9  # of the sigmoid: close to linear between -0.5 and 0.5
SWEEPS = 3  # over all nodes, between two looks at whether anything changes


# The networks, all together.


def of(x: Any) -> Any:
    """Where the functions of x are: NumPy for an array, `keras.ops` for a tensor."""
    return np if isinstance(x, np.ndarray) else ops


def driven(kernels: Any, x: Any) -> Any:
    """What the inputs and the bias alone give to the sums, (p, n, m)."""
    inputs = x.shape[-1]
    return of(kernels).matmul(x, kernels[:, :inputs]) + kernels[:, inputs : inputs + 1]


def activation(z: Any) -> Any:
    """s' = 1 / (1 + exp(-4.9 z))."""
    return 0.5 + 0.5 * of(z).tanh(0.5 * SLOPE * z)


def sweep(kernels: Any, x: Any, s: Any) -> tuple[Any, Any]:
    """All nodes once, from what they were: sums z and activations s'.

    Args:
        kernels: weights (p, inputs + 1 + m, m), from the inputs, the bias and the m nodes to the m.
        x: inputs (p or 1, n, inputs).
        s: activations (p, n, m); None: of 0.
    """
    z = driven(kernels, x)
    if s is not None:
        z = z + of(kernels).matmul(s, kernels[:, x.shape[-1] + 1 :])
    return z, activation(z)


def settle(kernels: Any, x: Any) -> Any:
    """The sums (p, n, m) of feed-forward networks: sweeps until nothing changes."""
    z = drive = driven(kernels, x)
    inner = kernels[:, x.shape[-1] + 1 :]
    if isinstance(kernels, np.ndarray):
        for _ in range(inner.shape[1]):  # no path is longer
            before, z = z, drive + activation(z) @ inner
            if np.array_equal(before, z):
                break
        return z

    def some(step, z, change):
        for _ in range(SWEEPS):
            before, z = z, drive + ops.matmul(activation(z), inner)
        return step + SWEEPS, z, ops.any(ops.not_equal(z, before))

    def moves(step, z, change):
        return ops.logical_and(step < inner.shape[1], change)

    start = some(ops.convert_to_tensor(0, "int32"), z, None)
    return ops.while_loop(moves, some, start)[1]


@keras.saving.register_keras_serializable("recipes")
class Network(layers.Layer):
    """One network: x (n, inputs) -> sums of its output nodes (n, outputs), float32.

    Args:
        inputs: number of input nodes, without the bias.
        outputs: number of output nodes.
        max_nodes: of the network: inputs, bias, outputs and hidden ones.
        recurrent: connections may lead back: each call is one sweep over all nodes.
    """

    def __init__(self, inputs, outputs, max_nodes, recurrent=False, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.inputs, self.outputs, self.max_nodes = inputs, outputs, max_nodes
        self.recurrent = recurrent
        shape = (max_nodes, max_nodes - inputs - 1)  # from inputs, bias, outputs, hidden; to
        make = partial(self.add_weight, initializer="zeros", trainable=False)
        self.kernel = make(shape=shape, name="kernel")
        # From 0, inputs, to 1, outputs; -1: no node. For pictures.
        self.places = make(shape=(max_nodes,), name="places")
        self.built = True

    def respond(self, kernels: Any, x: Any, state: Any = None) -> tuple:
        """Sums of the output nodes (p, n, outputs) of networks (p, nodes, m), and their state.

        x is (p or 1, n, inputs) or, for recurrent networks, may be (p or 1, n, steps, inputs).
        """
        if not self.recurrent:
            return (settle(kernels, x)[..., : self.outputs],)
        if len(x.shape) == 4:
            z, state = sweep(kernels, x[:, :, 0], state)
            for i in range(1, x.shape[2]):
                z, state = sweep(kernels, x[:, :, i], state)
        else:
            z, state = sweep(kernels, x, state)
        return z[..., : self.outputs], state

    def call(self, x):
        """The network's own answers."""
        return self.respond(self.kernel[None], x[None])[0][0]

    def get_config(self):
        """The constructor's arguments."""
        names = ("inputs", "outputs", "max_nodes", "recurrent")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("recipes")
class NEAT(Evolution):
    """The champion of a population of networks that grow: examples or observations -> answers.

    They are logits (n, num_classes), values (n, num_targets) or, of actions, (n, num_actions), of
    which the largest is taken; float32.

    Args:
        max_nodes: of one network.
        recurrent: connections may lead back; one sweep over the nodes is one step of time.
        rates: those in `RATES`, by name.
        **kwargs: of `Evolution`.
    """

    def __init__(self, input_shape, max_nodes, recurrent=False, rates=None, **kwargs):
        super().__init__(input_shape, **kwargs)
        self.max_nodes, self.recurrent = max_nodes, recurrent
        self.rates = {**RATES, **(rates or {})}
        self.inputs = input_shape[-1]
        self.network = Network(self.inputs, self.num_outputs, max_nodes, recurrent, name="champion")

    @property
    def num_outputs(self) -> int:
        """Output nodes: one for two classes."""
        if self.num_actions is not None:
            return self.num_actions
        if self.num_classes is None:
            return self.num_targets
        return 1 if self.num_classes == 2 else self.num_classes

    def call(self, x, training=False):
        """The champion's answers."""
        return self.respond(self.network.kernel[None], x[None])[0][0]

    def respond(self, networks, x, state=None):
        """See `Evolution.respond`: networks (p, nodes, m), as of `Population.kernels`."""
        z, *state = self.network.respond(networks, x, state)
        if self.num_actions is None and self.num_classes is not None:
            z = SLOPE * z
            if self.num_classes == 2:  # log-odds of the second class
                z = of(z).concatenate([0 * z, z], axis=-1)
        return z, *state

    def first_population(self, seed):
        """Networks without hidden nodes, of random weights."""
        return self.revive(None, seed)

    def revive(self, state, seed=0):
        """The population that a `state()` tells of."""
        return Population(self.inputs, self.num_outputs, self.population_size, self.max_nodes,
                          self.recurrent, seed, self.rates, state)  # fmt: skip

    def express(self, population):
        """Kernels of all networks."""
        return population.kernels()

    def champion(self):
        """The champion's kernel (1, nodes, m)."""
        return ops.convert_to_numpy(self.network.kernel)[None]

    def adopt(self, population, index):
        """Keep one network as the champion."""
        self.network.kernel.assign(population.kernels([index], self.max_nodes)[0])
        places = population.places[population.used([index])[0]]
        free = self.max_nodes - len(places)
        self.network.places.assign(np.pad(places, (0, free), constant_values=-1.0))

    def get_config(self):
        """The constructor's arguments."""
        names = ("max_nodes", "recurrent", "rates")
        return super().get_config() | {name: getattr(self, name) for name in names}


VARIANTS = {
    "xor": {"num_classes": 2},
    "cartpole": {"input_shape": (4,), "num_actions": 2, "fitness_threshold": 500.0},
    "recurrent": {"input_shape": (4,), "num_actions": 2, "recurrent": True},
    "tiny": {"num_classes": 2, "population_size": 20},
}
# What evolution goes by, and the defaults.
RATES = {
    "c1": 1.0,
    "c2": 1.0,
    "c3": 0.4,
    "compatibility_threshold": 3.0,
    "weight_mutation_rate": 0.8,
    "perturbation_rate": 0.9,
    "weight_step": 2.5,
    "weight_limit": 8.0,
    "add_node_rate": 0.03,
    "add_connection_rate": 0.05,
    "stay_disabled_rate": 0.75,
    "mutation_only_rate": 0.25,
    "interspecies_rate": 0.001,
    "survival_rate": 0.2,
    "stagnation": 15,
    "population_stagnation": 20,
}


@recipe(VARIANTS)
def build_model(
    variant: str = "xor",
    *,
    input_shape: tuple[int, ...] = (2,),
    num_classes: int | None = None,
    num_targets: int = 1,
    num_actions: int | None = None,
    recurrent: bool = False,
    max_nodes: int | None = None,
    population_size: int = 150,
    episodes: int = 5,
    fitness: Callable | None = None,
    fitness_threshold: float | None = None,
    c1: float = 1.0,
    c2: float = 1.0,
    c3: float = 0.4,
    compatibility_threshold: float = 3.0,
    weight_mutation_rate: float = 0.8,
    perturbation_rate: float = 0.9,
    weight_step: float = 2.5,
    weight_limit: float = 8.0,
    add_node_rate: float = 0.03,
    add_connection_rate: float = 0.05,
    stay_disabled_rate: float = 0.75,
    mutation_only_rate: float = 0.25,
    interspecies_rate: float = 0.001,
    survival_rate: float = 0.2,
    stagnation: int = 15,
    population_stagnation: int = 20,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `NEAT`: rows of numbers (n, inputs) -> logits, values, or worth of actions.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (inputs,), or (steps, inputs) of sequences that recurrent networks read.
        num_classes: number of logits; None for numbers.
        num_targets: numbers to predict, where there are no classes.
        num_actions: of an environment, whatever else is given.
        recurrent: connections may lead back; each sweep over the nodes is one step of time.
        max_nodes: of one network: inputs, bias, outputs and hidden ones; None: 60 hidden ones.
        population_size: networks in a generation.
        episodes: that each network plays in a generation, in an environment.
        fitness: of examples, a function of targets (n, ...) and outputs (networks, n, values) that
            gives (networks,); None: as `Evolution` says.
        fitness_threshold: where evolution ends; None: where all classes are right, or at the
            environment's own threshold.
        c1: weight of excess genes in the distance of two genomes.
        c2: weight of disjoint genes.
        c3: weight of the mean difference of matching weights.
        compatibility_threshold: genomes nearer than that are of one species.
        weight_mutation_rate: share of offspring whose weights mutate.
        perturbation_rate: share of their weights that are shifted; the others are drawn anew.
        weight_step: the most by which a weight is shifted.
        weight_limit: the largest weight, and the largest new one.
        add_node_rate: share of offspring that get a new node.
        add_connection_rate: share of offspring that get a new connection.
        stay_disabled_rate: of genes that are disabled in either parent.
        mutation_only_rate: share of offspring with one parent alone.
        interspecies_rate: share of pairs whose second parent is of any species.
        survival_rate: share of a species, the best, that has offspring.
        stagnation: generations without a better network, after which a species has no offspring.
        population_stagnation: likewise of all, after which the best two species alone have any.
        seed: of all draws; None: from Keras's, where `fit` begins.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    rates = {name: value for name, value in locals().items() if name in RATES}
    for name, value in rates.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if name.endswith("_rate"):
            check(number and 0 <= value <= 1, name, value, "must be a number in [0, 1]")
        elif name in ("c1", "c2", "c3"):
            check(number and value >= 0, name, value, "must be a number of at least 0")
        elif name.endswith("stagnation"):
            check(is_count(value), name, value, "must be a positive integer")
        else:
            check(number and value > 0, name, value, "must be a positive number")
    for name, value, least in (("population_size", population_size, 2), ("episodes", episodes, 1)):
        wanted = f"must be an integer of at least {least}"
        check(is_count(value) and value >= least, name, value, wanted)
    if num_actions is not None:
        check(is_count(num_actions), "num_actions", num_actions, "must be a positive integer")
    check(isinstance(recurrent, bool), "recurrent", recurrent, "must be True or False")
    axes = 2 if recurrent and num_actions is None else 1
    wanted = "(steps, inputs) of sequences" if axes == 2 else "(inputs,)"
    check(len(input_shape) == axes, "input_shape", input_shape, f"must be {wanted}")
    check(fitness is None or callable(fitness), "fitness", fitness, "must be a function or None")
    number = isinstance(fitness_threshold, Real) and not isinstance(fitness_threshold, bool)
    check(number or fitness_threshold is None, "fitness_threshold", fitness_threshold,
          "must be a number or None")  # fmt: skip
    outputs = num_actions or (num_targets if num_classes is None else num_classes)
    least = input_shape[-1] + 1 + (1 if outputs == num_classes == 2 else outputs)
    wanted = f"must be at least {least}: inputs, a bias and outputs"
    ok = max_nodes is None or (is_count(max_nodes) and max_nodes >= least)
    check(ok, "max_nodes", max_nodes, wanted)
    model = NEAT(
        input_shape, max_nodes or least + 60, recurrent, rates, num_classes=num_classes,
        num_targets=num_targets, num_actions=num_actions, population_size=population_size,
        episodes=episodes, fitness=fitness, fitness_threshold=fitness_threshold, seed=seed,
        name=f"neat_{variant}",
    )  # fmt: skip
    # There is no gradient to follow, but Keras does not load a compiled model without an optimizer.
    model.compile(optimizer=keras.optimizers.SGD())
    return model


def is_count(value: object) -> bool:
    """Whether it is a positive integer."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1


def load_data(source: object = "xor", *, batch_size: int = 32, seed: int = 0, **options):
    """XOR, another table, or an environment to act in, such as "CartPole-v1".

    See `recipes.data.tables.load` and `recipes.data.environments.load` for sources and options.

    Returns:
        `Data` of x float32 (n, features) with labels int32 (n,) or values float32 (n, 1), or of
        `Episodes`.
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model`; the defaults are those of `build_model`."""
    rate = {"sampling": "log", "min_value": 0.01, "max_value": 0.5}
    return {
        "population_size": hp.Choice("population_size", [50, 100, 150, 300, 1000], default=150),
        "compatibility_threshold": hp.Float("compatibility_threshold", 1.0, 6.0, default=3.0),
        "weight_step": hp.Float("weight_step", 0.1, 5.0, sampling="log", default=2.5),
        "add_node_rate": hp.Float("add_node_rate", default=0.03, **rate),
        "add_connection_rate": hp.Float("add_connection_rate", default=0.05, **rate),
        "survival_rate": hp.Float("survival_rate", 0.1, 1.0, default=0.2),
    }


def pictures(model: NEAT, data) -> dict:
    """What a run shows: the champion, species and fitness over the generations, and what it does:
    the probability that it gives each point of a plane, or scenes of an episode.
    """
    from recipes.reports import evolution

    return evolution.pictures(model, data)
