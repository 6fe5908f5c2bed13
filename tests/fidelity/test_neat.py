"""Evolved networks against neat-python's, built from the same genomes."""

from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from recipes.neat import RATES, Network
from recipes.training.genomes import Population

peer = pytest.importorskip("neat", reason="the peer (extra `peers`)")

INPUTS, OUTPUTS, SIZE = 3, 2, 40


def evolved(recurrent: bool) -> Population:
    """A population that has grown, in which each hidden node has an input."""
    rates = {**RATES, "add_node_rate": 0.4, "add_connection_rate": 0.6, "stay_disabled_rate": 0.0}
    found = Population(INPUTS, OUTPUTS, SIZE, 30, recurrent, 0, rates)
    draws = np.random.default_rng(0)
    for _ in range(25):
        found.tell(draws.random(SIZE))
    found.genomes.weights[:] = (found.genomes.weights / 4).clip(-1.5, 1.5)  # no node is saturated
    return found


def theirs(population: Population, index: int, kind: type):
    """Their network of a genome: the bias is one more input, of 1; its slope is 5, ours 4.9."""
    from neat.activations import ActivationFunctionSet
    from neat.aggregations import AggregationFunctionSet
    from neat.genes import DefaultConnectionGene, DefaultNodeGene

    def key(node: int) -> int:
        return -1 - node if node <= INPUTS else node - INPUTS - 1

    genome, genes = peer.DefaultGenome(index), population.genomes
    for node in range(INPUTS + 1, len(population.places)):
        made = DefaultNodeGene(key(node))
        made.bias, made.response, made.activation, made.aggregation = 0.0, 0.98, "sigmoid", "sum"
        genome.nodes[made.key] = made
    for gene in np.flatnonzero(genes.present[index]):
        ends = tuple(key(int(node)) for node in population.ends[gene])
        made = DefaultConnectionGene(ends, innovation=int(population.numbers[gene]))
        made.weight = float(genes.weights[index, gene])
        made.enabled = bool(genes.enabled[index, gene])
        genome.connections[ends] = made
    about = SimpleNamespace(
        input_keys=[*range(-1, -2 - INPUTS, -1)], output_keys=[*range(OUTPUTS)],
        activation_defs=ActivationFunctionSet(), aggregation_function_defs=AggregationFunctionSet(),
    )  # fmt: skip
    return kind.create(genome, SimpleNamespace(genome_config=about))


def sigmoid(z):
    return 1 / (1 + np.exp(-4.9 * z))


def test_feed_forward_networks_give_the_same_outputs():
    population = evolved(recurrent=False)
    kernels = population.kernels()
    x = np.random.default_rng(1).normal(size=(10, INPUTS)).astype("float32")
    expected = []
    for index in range(SIZE):
        network = theirs(population, index, peer.nn.FeedForwardNetwork)
        expected.append([network.activate([*row.tolist(), 1.0]) for row in x])
    assert population.nodes_of(population.genomes).sum(axis=1).max() > 12
    layer = Network(INPUTS, OUTPUTS, 30)
    arrays = layer.respond(kernels, x[None])[0]
    tensors = layer.respond(ops.convert_to_tensor(kernels), ops.convert_to_tensor(x[None]))[0]
    for found in (arrays, ops.convert_to_numpy(tensors)):
        np.testing.assert_allclose(sigmoid(found), expected, atol=1e-5)


def test_recurrent_networks_give_the_same_outputs_step_by_step():
    population = evolved(recurrent=True)
    x = np.random.default_rng(1).normal(size=(6, INPUTS)).astype("float32")
    networks = [theirs(population, i, peer.nn.RecurrentNetwork) for i in range(SIZE)]
    layer, kernels, state = Network(INPUTS, OUTPUTS, 30, recurrent=True), population.kernels(), None
    back = kernels[:, INPUTS + 1 :].diagonal(axis1=1, axis2=2)
    assert back.any(axis=1).sum() > 5  # nodes that see themselves
    for row in x:
        expected = [network.activate([*row.tolist(), 1.0]) for network in networks]
        found, state = layer.respond(kernels, row[None, None], state)
        np.testing.assert_allclose(sigmoid(found[:, 0]), expected, atol=1e-5)
