"""NEAT: neat-python on XOR, with the settings of its own example.

These are 150 networks, the same four examples, a fitness of 4 - sum of squared errors, and rates of
mutation that are higher than the paper's. A round of ours and of neat-python's is one population's
first generations, from a seed of the round's; they go on where XOR is solved. A batch is the
population, a step is a generation, and the parameters are those of the first one.
"""

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

from peers import Case

X = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
Y = [0.0, 1.0, 1.0, 0.0]
UNREACHABLE = 17.0  # the best fitness is 16
# neat-python's examples/xor/config-feedforward, as far as it is not its default.
SETTINGS = """
[NEAT]
fitness_criterion = max
fitness_threshold = 3.9
no_fitness_termination = True
pop_size = {size}
reset_on_extinction = False
[DefaultGenome]
activation_default = sigmoid
activation_mutate_rate = 0.0
activation_options = sigmoid
aggregation_default = sum
aggregation_mutate_rate = 0.0
aggregation_options = sum
bias_init_mean = 0.0
bias_init_stdev = 1.0
bias_init_type = gaussian
bias_max_value = 30.0
bias_min_value = -30.0
bias_mutate_power = 0.5
bias_mutate_rate = 0.7
bias_replace_rate = 0.1
compatibility_disjoint_coefficient = 1.0
compatibility_excess_coefficient = 1.0
compatibility_weight_coefficient = 0.5
conn_add_prob = 0.5
conn_delete_prob = 0.5
enabled_default = True
enabled_mutate_rate = 0.01
enabled_rate_to_true_add = 0.0
enabled_rate_to_false_add = 0.0
feed_forward = True
initial_connection = full_direct
node_add_prob = 0.2
node_delete_prob = 0.2
num_hidden = 0
num_inputs = 2
num_outputs = 1
response_init_mean = 1.0
response_init_stdev = 0.0
response_init_type = gaussian
response_max_value = 30.0
response_min_value = -30.0
response_mutate_power = 0.0
response_mutate_rate = 0.0
response_replace_rate = 0.0
single_structural_mutation = False
structural_mutation_surer = default
weight_init_mean = 0.0
weight_init_stdev = 1.0
weight_init_type = gaussian
weight_max_value = 30
weight_min_value = -30
weight_mutate_power = 0.5
weight_mutate_rate = 0.8
weight_replace_rate = 0.1
[DefaultSpeciesSet]
compatibility_threshold = 3.0
[DefaultStagnation]
species_fitness_func = max
max_stagnation = 20
species_elitism = 2
[DefaultReproduction]
elitism = 2
survival_threshold = 0.2
min_species_size = 2
"""


class Evolving(Case):
    """A case that grows by its networks."""

    def ours(self):
        import numpy as np

        model = self.build_model()
        x, y, seeds = np.array(X, "float32"), np.array(Y, "int32"), itertools.count()

        def train():
            model.population, model.seed = None, next(seeds)
            model.fit(x, y, epochs=self.steps, verbose=0)

        return {"train": train}, 3 * self.batch_size

    def larger(self, what, factor):
        if what != "networks":
            return None
        arguments = {**self.arguments, "population_size": self.batch_size * factor}
        return replace(self, batch_size=self.batch_size * factor, arguments=arguments)


class Solved(Exception):
    """Ends neat-python's `run`."""


def evolve(seed: int, generations: int, size: int, until_solved: bool = False) -> dict | None:
    """One run of neat-python's; returns what solved it, where it should and did.

    It has where all outputs of the best network are within 0.5, as ours has.
    """
    import neat

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings"
        path.write_text(SETTINGS.format(size=size))
        settings = neat.Config(neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet,
                               neat.DefaultStagnation, str(path))  # fmt: skip
    population = neat.Population(settings, seed=seed)
    found = {}

    def judge(genomes, settings):
        best = None
        for _, genome in genomes:
            network = neat.nn.FeedForwardNetwork.create(genome, settings)
            errors = [abs(network.activate(x)[0] - y) for x, y in zip(X, Y, strict=True)]
            genome.fitness = 4.0 - sum(e * e for e in errors)
            if best is None or genome.fitness > best[0].fitness:
                best = genome, max(errors)
        if until_solved and best[1] < 0.5:
            used = best[0].connections.values()
            found.update(
                generations=population.generation + 1,
                hidden_nodes=len(best[0].nodes) - 1,
                connections=sum(gene.enabled for gene in used),
            )
            raise Solved

    try:
        population.run(judge, generations)
    except Solved:
        return found
    return None


def neat_python(case: Evolving) -> tuple:
    seeds = itertools.count()

    def train():
        evolve(next(seeds), case.steps, case.batch_size)

    return {"train": train}, 3 * case.batch_size


CASES = {
    "neat_xor": Evolving(
        "neat", "xor", (2,), 150, 100, {"neat-python": neat_python},
        {"fitness_threshold": UNREACHABLE}, num_classes=2,
    ),
}  # fmt: skip
