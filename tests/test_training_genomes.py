"""Genomes: distance, crossing, shares and innovations by hand, and what never happens."""

import numpy as np
import pytest

from recipes.neat import RATES
from recipes.training.genomes import Genomes, Population, cross, distance, pick


def genomes(*rows: dict[int, float], disabled: tuple = (), genes: int = 10) -> Genomes:
    """Genomes of {gene: weight}, of genes numbered from 1; disabled: (genome, gene) ..."""
    weights = np.zeros((len(rows), genes), "float32")
    present = np.zeros(weights.shape, bool)
    for i, row in enumerate(rows):
        columns = np.array([*row]) - 1
        weights[i, columns], present[i, columns] = [*row.values()], True
    enabled = present.copy()
    for i, gene in disabled:
        enabled[i, gene - 1] = False
    return Genomes(weights, present, enabled)


# The parents of the paper's figure 4. Genes 6 and 7, and 8, are disjoint, 9 and 10 in excess.
FIRST, SECOND = (1, 2, 3, 4, 5, 8), (1, 2, 3, 4, 5, 6, 7, 9, 10)


def parents() -> tuple[Genomes, Genomes]:
    both = genomes(dict.fromkeys(FIRST, 1.0), dict.fromkeys(SECOND, -1.0),
                   disabled=((0, 2), (1, 2), (1, 5)))  # fmt: skip
    return both[[0]], both[[1]]


def population(size: int = 10, inputs: int = 2, outputs: int = 1, seed: int = 0, **rates):
    found = Population(inputs, outputs, size, rates.pop("max_nodes", 30),
                       rates.pop("recurrent", False), seed, {**RATES, **rates})  # fmt: skip
    found.unchanged = np.zeros(size, bool)
    return found


def evolved(generations: int = 25, size: int = 40, **arguments) -> Population:
    """A population that has grown, with a fitness that means nothing."""
    found = population(size, **{"add_node_rate": 0.2, "add_connection_rate": 0.3, **arguments})
    draws = np.random.default_rng(1)
    for _ in range(generations):
        found.tell(draws.random(size))
    return found


# Distance.


def test_distance_of_the_papers_parents_by_hand():
    first, second = parents()
    # 2 excess, 3 disjoint, N = 1, and matching weights that differ by 2
    assert distance(first, second, 1, 0, 0) == 2
    assert distance(first, second, 0, 1, 0) == 3
    assert distance(first, second, 0, 0, 1) == 2
    assert distance(first, second, 1.0, 2.0, 0.4) == pytest.approx(2 + 6 + 0.8)
    assert distance(second, first, 1.0, 2.0, 0.4) == pytest.approx(2 + 6 + 0.8)


def test_distance_of_larger_genomes_is_a_share_of_the_genes():
    for count, size in ((19, 1), (20, 20), (25, 25)):
        a = genomes(dict.fromkeys(range(1, count + 1), 1.0), genes=30)
        b = genomes({1: 0.5, 2: 1.0}, genes=30)
        # W: the mean over the two matching genes
        found = distance(a, b, 3.0, 1.0, 2.0)[0, 0]
        assert found == pytest.approx(3 * (count - 2) / size + 2 * 0.25)


def test_distances_of_many_at_once_are_those_of_pairs():
    found = evolved(generations=12).genomes
    all_of_them = distance(found, found[range(7)])
    assert all_of_them.shape == (40, 7)
    for i in range(0, 40, 5):
        for j in range(7):
            one = distance(found[[i]], found[[j]])[0, 0]
            assert all_of_them[i, j] == pytest.approx(one, rel=1e-5, abs=1e-5)
    assert np.allclose(np.diag(all_of_them), 0)
    assert distance(found, found[np.arange(0)]).shape == (40, 0)


# Crossing.


def test_offspring_of_the_papers_parents():
    first, second = parents()
    rng = np.random.default_rng(0)
    once, n = np.zeros(2000, int), 2000
    fitter = cross(first[once], second[once], np.zeros(n, bool), rng)
    assert (np.flatnonzero(fitter.present.any(axis=0)) + 1).tolist() == list(FIRST)
    assert (np.flatnonzero(fitter.present.all(axis=0)) + 1).tolist() == list(FIRST)
    equal = cross(first[once], second[once], np.ones(n, bool), rng)
    assert equal.present.all()
    # Matching genes come from either parent with equal chances, each for itself.
    matching = equal.weights[:, :5]
    assert (matching > 0).mean(axis=0) == pytest.approx(0.5, abs=0.05)
    assert abs(np.corrcoef(matching.T) - np.eye(5)).max() < 0.1
    assert (equal.weights[:, 5:] == [-1, -1, 1, -1, -1]).all()
    # Gene 2 is disabled in both, 5 in one of them.
    assert equal.enabled.mean(axis=0)[[1, 4]] == pytest.approx(0.25, abs=0.04)
    others = np.isin(np.arange(10), (1, 4), invert=True)
    assert equal.enabled[:, others].all()
    assert not cross(first, second, np.ones(1, bool), rng, stay_disabled=1.0).enabled[0, 1]
    assert cross(first, second, np.ones(1, bool), rng, stay_disabled=0.0).enabled.all()


# Fitness sharing.


def shares(member, fitness, **changes):
    fitness = np.array(fitness, float)
    found = population(len(fitness))
    found.member = np.array(member)
    count = len(set(member))
    found.species = np.arange(count)
    found.species_best, found.species_since = np.full(count, -np.inf), np.zeros(count, int)
    for name, value in changes.items():
        setattr(found, name, value)
    return found.shares(fitness, np.bincount(member)).tolist(), found


def test_offspring_are_in_proportion_to_shared_fitness():
    # The sums of f / members are 3 and 1: of 10, 7.5 and 2.5.
    counts, _ = shares([0, 0] + [1] * 8, [4, 2, 1, 1, 1, 1, 1, 1, 1, 1])
    assert counts == [8, 2]  # the first of equal remainders
    counts, _ = shares([0, 0, 0, 1, 1, 2], [3, 3, 3, 3, 3, 0])
    assert counts == [3, 3, 0]
    counts, _ = shares([0, 0, 1, 1], [0, 0, 0, 0])
    assert counts == [2, 2]
    counts, _ = shares([0, 1, 1, 1], [-100, -100, -200, -300])  # counted from -300: 200 and 100
    assert counts == [3, 1]


def test_a_species_that_stagnates_has_no_offspring_but_the_best_one_has():
    member, fitness = [0, 0, 1, 1], [2, 2, 1, 1]
    old = {"species_best": np.array([9.0, 9.0]), "best": 1.0}
    counts, after = shares(member, fitness, **old, species_since=np.array([13, 13]))
    assert after.species_since.tolist() == [14, 14]
    assert counts == [3, 1]
    counts, after = shares(member, fitness, **old, species_since=np.array([14, 14]))
    assert counts == [4, 0]
    counts, after = shares(member, fitness, species_since=np.array([14, 14]))  # both got better
    assert after.species_since.tolist() == [0, 0]
    assert counts == [3, 1]
    assert after.species_best.tolist() == [2, 1]


def test_when_all_stagnate_the_best_two_species_alone_have_offspring():
    member, fitness = [0, 0, 1, 1, 2, 2], [1, 1, 2, 2, 3, 3]
    old = {"best": 3.0, "species_best": np.full(3, 9.0)}
    counts, after = shares(member, fitness, since=18, **old)
    assert (after.since, counts) == (19, [1, 2, 3])
    counts, after = shares(member, fitness, since=19, **old)
    assert (after.since, counts) == (0, [0, 2, 4])


def test_champions_of_large_species_alone_are_copied():
    found = population(12, weight_mutation_rate=1.0, perturbation_rate=1.0)
    found.member = np.repeat([0, 1], [7, 5])
    found.species = np.arange(2)
    found.species_best, found.species_since = np.full(2, -np.inf), np.zeros(2, int)
    before = found.genomes.weights.copy()
    fitness = np.array([1, 2, 9, 3, 1, 1, 1, 2, 2, 8, 2, 2.0])
    found.tell(fitness)
    kept = {
        i for i in range(12) for row in found.genomes.weights[:, :3] if (before[i] == row).all()
    }
    assert kept == {2}
    assert found.unchanged.sum() == 1


# Innovations.


def test_a_split_disables_the_old_connection_and_keeps_what_passes():
    found = population(1, inputs=1, add_node_rate=1.0)
    old = found.genomes.weights[0].copy()
    found.add_nodes(np.random.default_rng(0))
    assert found.ends.tolist() == [[0, 2], [1, 2], [0, 3], [3, 2]]  # the bias' is never split
    assert found.genomes.enabled[0].tolist() == [False, True, True, True]
    assert found.genomes.present.all()
    assert found.genomes.weights[0].tolist() == [*old, 1.0, old[0]]
    assert found.numbers.tolist() == [0, 1, 2, 3]
    assert found.places.tolist() == [0, 0, 1, 0.5]


def test_the_same_innovation_of_a_generation_has_one_number():
    found = population(300, add_node_rate=1.0, add_connection_rate=1.0)
    found.add_nodes(np.random.default_rng(0))
    assert found.numbers.tolist() == [*range(7)]  # two inputs to the output can be split
    splits = found.genomes.present[:, 3:]
    assert set(map(tuple, splits.tolist())) == {
        (True, True, False, False),
        (False, False, True, True),
    }
    assert 0.6 < splits[:, 0].mean() < 0.85  # the older one is the likelier
    found.add_connections(np.random.default_rng(1))
    new = found.ends[7:]
    assert len(set(map(tuple, found.ends.tolist()))) == len(found.ends)
    for start, end in new:
        assert end >= 4
        assert start not in (3, end)
    # Another generation's split of the same connection is another node.
    before = len(found.places)
    found.add_nodes(np.random.default_rng(2))
    assert len(found.places) > before
    assert len(set(map(tuple, found.ends.tolist()))) == len(found.ends)
    assert (np.diff(found.numbers) == 1).all()


def test_rates_are_chances():
    rng = np.random.default_rng(0)
    found = population(4000, weight_mutation_rate=0.3, perturbation_rate=0.9, weight_step=0.5)
    before = found.genomes.weights.copy()
    found.mutate_weights(rng)
    step = found.genomes.weights - before
    moved = (step != 0).any(axis=1)
    assert moved.mean() == pytest.approx(0.3, abs=0.03)
    far = np.abs(step[moved]) > 0.5
    # Of weights in [-8, 8] drawn anew, some fifteen in sixteen are that far away.
    assert far.mean() == pytest.approx(0.1 * 15 / 16, abs=0.02)
    assert np.abs(found.genomes.weights).max() <= 8
    found = population(4000, add_node_rate=0.1)
    found.unchanged[:2000] = True
    found.add_nodes(rng)
    split = (~found.genomes.enabled & found.genomes.present).any(axis=1)
    assert not split[:2000].any()
    assert split[2000:].mean() == pytest.approx(0.1, abs=0.02)


def test_drawing_from_rows_is_fair():
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    rows, columns = pick(np.tile(mask, (3000, 1)), np.random.default_rng(0))
    assert (rows % 3 != 1).all()  # nothing to draw
    drawn = np.bincount(columns[rows % 3 == 0], minlength=4) / 3000
    assert drawn == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.04)
    assert (columns[rows % 3 == 2] == 1).all()
    assert len(rows) == 6000


# Species.


def test_species_are_those_of_the_first_representative_that_is_near():
    found = population(5, inputs=1, c3=1.0)
    found.genomes.weights[:] = np.array([0, 0.4, 3.2, 3.5, 9])[:, None]
    representatives = found.genomes[[0]]
    representatives.weights[:] = 0.5
    found.species, found.species_best = np.array([7]), np.array([1.5])
    found.species_since, found.next_species = np.array([3]), 9
    found.speciate(representatives)
    assert found.member.tolist() == [0, 0, 0, 1, 2]  # 3.5 is 3 away, and no less
    assert found.species.tolist() == [7, 9, 10]
    assert found.species_best.tolist() == [1.5, -np.inf, -np.inf]
    found.speciate(found.genomes[[4, 3, 0]])
    assert found.member.tolist() == [2, 2, 1, 1, 0]
    found.speciate(found.genomes[[3, 3, 0]])  # 9 has none near, and nobody is in the second
    assert found.species.tolist() == [7, 10, 11]
    assert found.member.tolist() == [1, 1, 0, 0, 2]


# What holds for all that evolves.


def test_feed_forward_networks_have_no_circles_and_no_more_nodes_than_allowed():
    found = evolved(generations=40, max_nodes=12)
    start, end = found.places[found.ends].T
    order = (start < end) | ((start == end) & (found.ends[:, 0] < found.ends[:, 1]))
    assert order.all()
    nodes = found.nodes_of(found.genomes).sum(axis=1)
    assert nodes.max() == 12
    kernels = found.kernels()
    inner = kernels[:, 3:] != 0
    power = inner.astype(int)
    for _ in range(inner.shape[1]):
        power = np.minimum(power @ inner, 1)
    assert inner.any(axis=(1, 2)).mean() > 0.5
    assert not power.any()
    assert not found.genomes.enabled[~found.genomes.present].any()


def test_recurrent_networks_have_circles():
    found = evolved(recurrent=True)
    kernels = found.kernels()
    own = kernels[:, 3:].diagonal(axis1=1, axis2=2)
    assert own.any()
    assert kernels[:, 3].any()  # from the output


def test_forgetting_changes_no_network_and_keeps_numbers():
    found = evolved(generations=10)
    fitness = np.random.default_rng(3).random(40)
    forget, kept = found.forget, []
    found.forget = lambda: kept.append((found.kernels(), len(found.numbers)))
    for _ in range(6):
        found.tell(fitness)
    kernels, count = kept[-1]
    pairs = dict(zip(found.numbers.tolist(), found.genomes.weights.T, strict=True))
    forget()
    assert len(found.numbers) < count
    np.testing.assert_array_equal(found.kernels(), kernels)
    for number, weights in zip(found.numbers.tolist(), found.genomes.weights.T, strict=True):
        np.testing.assert_array_equal(weights, pairs[number])
    assert found.genomes.present.any(axis=0).all()
    assert found.ends.max() == len(found.places) - 1


def test_a_seed_repeats_evolution_and_a_state_goes_on_with_it():
    one, same, other = (evolved(generations=8, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.genomes.weights, same.genomes.weights)
    assert one.genomes.weights.shape != other.genomes.weights.shape or not np.array_equal(
        one.genomes.weights, other.genomes.weights
    )
    arguments = (2, 1, 40, 30, False, 99, one.rates)
    again = Population(*arguments, {name: array.copy() for name, array in one.state().items()})
    draws = np.random.default_rng(5).random((5, 40))
    for fitness in draws:
        one.tell(fitness)
        again.tell(fitness)
    for name, array in one.state().items():
        np.testing.assert_array_equal(array, again.state()[name], err_msg=name)
    sizes = one.state()["sizes"]
    assert np.bincount(sizes[:, 0], sizes[:, 2]).tolist() == [40.0] * 13
