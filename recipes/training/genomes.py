"""Genomes of networks that grow: innovations, crossing, species (Stanley & Miikkulainen 2002).

Sections and figures are those of the paper, Evolving neural networks through augmenting topologies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

SMALL = 20  # genes; distances between genomes smaller than that count every gene in full
BLOCK = 32  # genomes that may found species, looked at together
TRIES = 20  # to find two nodes that are not joined yet
OLD = 0.7  # chance of the oldest connection to be split, of the next one, if it is not, and so on


@dataclass
class Genomes:
    """Genomes (n) over the same genes (g), aligned by innovation: a column is one gene.

    weights float32, present bool and enabled bool, (n, g) each; what is enabled is present.
    """

    weights: np.ndarray
    present: np.ndarray
    enabled: np.ndarray

    def __getitem__(self, rows: Any) -> "Genomes":
        """Some genomes, by an array of their numbers."""
        return Genomes(self.weights[rows], self.present[rows], self.enabled[rows])

    def of_genes(self, chosen: np.ndarray) -> "Genomes":
        """The same genomes with some of the columns."""
        return Genomes(*(getattr(self, f.name)[:, chosen] for f in fields(self)))

    def widened(self, genes: int) -> "Genomes":
        """The same genomes with columns of absent genes behind, up to so many."""
        shape = (len(self.weights), genes - self.weights.shape[1])
        parts = (getattr(self, f.name) for f in fields(self))
        return Genomes(*(np.concatenate([v, np.zeros(shape, v.dtype)], axis=1) for v in parts))


def distance(a: Genomes, b: Genomes, c1: float = 1.0, c2: float = 1.0, c3: float = 0.4):
    """Compatibility distance, c1 E / N + c2 D / N + c3 W (equation 1): (n, m) float32.

    E and D count excess and disjoint genes; W is the mean difference of matching weights; N is the
    number of genes of the larger genome, and 1 where both have fewer than 20.
    """
    mine, theirs = a.present.astype("float32"), b.present.astype("float32")
    columns = np.arange(mine.shape[1])
    size, other_size = mine.sum(axis=1)[:, None], theirs.sum(axis=1)
    behind, other_behind = (  # which columns are behind a genome's last gene
        (columns >= len(columns) - v.present[:, ::-1].argmax(axis=1)[:, None]).astype("float32")
        for v in (a, b)
    )
    excess = mine @ other_behind.T + behind @ theirs.T
    matching = mine @ theirs.T
    disjoint = size + other_size - 2 * matching - excess
    # The genes that each of b has, one after the other's: most columns are empty.
    who, gene = np.nonzero(b.present)
    apart = np.abs(np.ascontiguousarray(a.weights.T)[gene] - b.weights[who, gene][:, None])
    apart *= np.ascontiguousarray(mine.T)[gene]
    starts = np.searchsorted(who, np.arange(len(b.weights)))
    apart = np.add.reduceat(apart, starts, axis=0).T
    larger = np.maximum(size, other_size)
    counted = np.where(larger < SMALL, 1, larger)
    return (c1 * excess + c2 * disjoint) / counted + c3 * apart / np.maximum(matching, 1)


def cross(
    fitter: Genomes, other: Genomes, equal: np.ndarray, rng: np.random.Generator,
    stay_disabled: float = 0.75,
) -> Genomes:  # fmt: skip
    """Offspring of pairs of parents (figure 4), one each.

    Matching genes come from either parent at random, the others from the fitter one; from both,
    where the parents are `equal` (n,) in fitness. A gene that is disabled in either parent is
    disabled with the chance `stay_disabled`.
    """
    both = fitter.present & other.present
    present = fitter.present | (other.present & equal[:, None])
    theirs = np.where(both, rng.random(both.shape, "float32") < 0.5, ~fitter.present)
    off = (fitter.present > fitter.enabled) | (other.present > other.enabled)
    off &= rng.random(both.shape, "float32") < stay_disabled
    return Genomes(np.where(theirs, other.weights, fitter.weights), present, present & ~off)


class Population:
    """Genomes, their species, and the history of innovations.

    Nodes are numbered: inputs, the bias, outputs, and then hidden ones as they arise. `places` (n,)
    says how far each is on the way from the inputs, 0, to the outputs, 1.

    Args:
        inputs: number of input nodes, without the bias.
        outputs: number of output nodes.
        size: number of genomes.
        max_nodes: of one network.
        recurrent: connections may lead back.
        seed: of all draws; a generation's depend on it and on the generation's number alone.
        rates: of `build_model`, those in `RATES`.
        state: of `state()`, to go on from.
    """

    saved = ("numbers", "ends", "places", "member", "species", "species_best", "species_since",
             "seed", "generation", "best", "since", "next_gene", "next_species")  # fmt: skip

    def __init__(self, inputs: int, outputs: int, size: int, max_nodes: int, recurrent: bool,
                 seed: int, rates: Mapping[str, float], state: Mapping | None = None):  # fmt: skip
        self.inputs, self.outputs, self.size, self.max_nodes = inputs, outputs, size, max_nodes
        self.recurrent, self.rates = recurrent, rates
        self.measured: dict[str, float] = {}  # of the champion, where it was judged
        self.fixed = inputs + 1 + outputs  # nodes that every network has
        if state is not None:
            for name in self.saved:
                value = state[name]
                setattr(self, name, value if value.ndim else value.item())
            self.sizes, self.curve = [state["sizes"]], [state["curve"]]
            self.genomes = Genomes(*(state[f.name] for f in fields(Genomes)))
            return
        start, end = np.meshgrid(np.arange(inputs + 1), np.arange(inputs + 1, self.fixed))
        self.ends = np.stack([start.ravel(), end.ravel()], axis=1)  # of genes (g, 2): from, to
        self.numbers = np.arange(len(self.ends))  # of the innovations
        self.places = np.repeat([0.0, 1.0], [inputs + 1, outputs])
        self.seed, self.generation = int(seed), 0
        self.best, self.since = -np.inf, 0  # the best fitness, and generations since
        self.next_gene, self.next_species = len(self.ends), 0
        self.curve = [np.zeros((0, 2))]  # best and mean fitness of each generation
        self.sizes = [np.zeros((0, 3), int)]  # generation, species, members
        weights = self.rng().uniform(-1, 1, (size, len(self.ends))).astype("float32")
        self.genomes = Genomes(weights, *np.ones((2, *weights.shape), bool))
        self.species, self.species_best = np.zeros(0, int), np.zeros(0)
        self.species_since = np.zeros(0, int)
        self.speciate(self.genomes[:0])

    def state(self) -> dict[str, np.ndarray]:
        """All of it, as arrays."""
        self.sizes, self.curve = [np.concatenate(self.sizes)], [np.concatenate(self.curve)]
        found = {name: np.asarray(getattr(self, name)) for name in self.saved}
        found |= {"sizes": self.sizes[0], "curve": self.curve[0]}
        found |= {f.name: getattr(self.genomes, f.name) for f in fields(Genomes)}
        return found

    def rng(self) -> np.random.Generator:
        """Of this generation."""
        return np.random.default_rng((self.seed, self.generation))

    # From one generation to the next.

    def tell(self, fitness: np.ndarray) -> dict[str, float]:
        """The next generation, by the fitness (size,) of this one; counts of this one."""
        members = np.bincount(self.member, minlength=len(self.species))
        generation = np.full(len(members), self.generation)
        self.sizes.append(np.stack([generation, self.species, members], axis=1))
        self.curve.append([[fitness.max(), fitness.mean()]])
        offspring = self.shares(fitness, members)
        self.generation += 1
        rng = self.rng()
        # By species, the best first.
        order = np.lexsort((-fitness, self.member))
        first = members.cumsum() - members
        drawn = order[first + (rng.random(len(members)) * members).astype(int)]
        representatives = self.genomes[drawn]  # each a random member of its species
        self.genomes = self.breed(fitness, members, offspring, order, first, rng)
        self.mutate_weights(rng)
        self.add_connections(rng)
        self.add_nodes(rng)
        self.speciate(representatives)
        self.forget()
        return {"species": float(len(members))}

    def shares(self, fitness: np.ndarray, members: np.ndarray) -> np.ndarray:
        """How many offspring each species has: in proportion to its members' mean fitness, which
        is the sum of their shared fitness (equation 2), unless it stagnates.
        """
        top = np.full(len(members), -np.inf)
        np.maximum.at(top, self.member, fitness)
        better = top > self.species_best
        self.species_best = np.where(better, top, self.species_best)
        self.species_since = np.where(better, 0, self.species_since + 1)
        self.since = 0 if fitness.max() > self.best else self.since + 1
        self.best = max(self.best, float(fitness.max()))

        allowed = self.species_since < self.rates["stagnation"]
        allowed[self.member[fitness.argmax()]] = True
        if self.since >= self.rates["population_stagnation"]:
            allowed = np.isin(np.arange(len(top)), np.argsort(-top, kind="stable")[:2])
            self.species_since[allowed] = self.since = 0
        shared = np.bincount(self.member, fitness - min(0.0, fitness.min())) / members
        shared = np.where(allowed, shared, 0.0)
        shared = shared if shared.any() else allowed.astype(float)
        exact = self.size * shared / shared.sum()
        counts = np.floor(exact).astype(int)
        most = np.argsort(counts - exact, kind="stable")  # the largest remainders get one more
        counts[most[: self.size - counts.sum()]] += 1
        return counts

    def breed(self, fitness, members, offspring, order, first, rng) -> Genomes:
        """The offspring of all species, not yet mutated; `unchanged` says which shall stay so."""
        kept = np.ceil(self.rates["survival_rate"] * members).astype(int)
        species = np.repeat(np.arange(len(members)), offspring)  # of each child
        rank = (rng.random(self.size) * kept[species]).astype(int)
        large = (members > 5) & (offspring > 0)  # their champions are copied
        copies = (offspring.cumsum() - offspring)[large]
        rank[copies], self.unchanged = 0, np.zeros(self.size, bool)
        self.unchanged[copies] = True
        mothers = order[first[species] + rank]

        crossed = ~self.unchanged & (rng.random(self.size) >= self.rates["mutation_only_rate"])
        away = rng.random(self.size) < self.rates["interspecies_rate"]
        species = np.where(away, self.member[rng.integers(0, self.size, self.size)], species)
        # The second parent is another one, where there is another one.
        others = 1 + (rng.random(self.size) * (kept[species] - 1)).astype(int)
        fathers = order[first[species] + (rank + others) % kept[species]][crossed]
        children = self.genomes[mothers]
        mothers = mothers[crossed]
        swap = fitness[fathers] > fitness[mothers]
        fitter, other = np.where(swap, fathers, mothers), np.where(swap, mothers, fathers)
        fitter_genomes = self.genomes[fitter]
        equal = fitness[fitter] == fitness[other]
        stay = self.rates["stay_disabled_rate"]
        made = cross(fitter_genomes, self.genomes[other], equal, rng, stay)
        equal = np.flatnonzero(equal)  # only such pairs can have children with more nodes
        large = equal[self.nodes_of(made[equal]).sum(axis=1) > self.max_nodes]
        for f in fields(Genomes):
            values = getattr(made, f.name)
            values[large] = getattr(fitter_genomes, f.name)[large]
            getattr(children, f.name)[crossed] = values
        return children

    def mutate_weights(self, rng: np.random.Generator) -> None:
        """Shift the weights of most networks, and draw some of them anew."""
        g, rates = self.genomes, self.rates
        chosen = ~self.unchanged & (rng.random(self.size) < rates["weight_mutation_rate"])
        at = np.nonzero(g.present & chosen[:, None])
        count, limit = len(at[0]), rates["weight_limit"]
        shifted = rng.random(count) < rates["perturbation_rate"]
        step = rng.uniform(-1, 1, count) * np.where(shifted, rates["weight_step"], limit)
        g.weights[at] = (g.weights[at] * shifted + step).clip(-limit, limit)

    def nodes_of(self, genomes: Genomes) -> np.ndarray:
        """Which nodes each genome has: bool (n, nodes)."""
        touches = np.zeros((len(self.ends), len(self.places)), "float32")
        touches[np.arange(len(self.ends))[:, None], self.ends] = 1
        found = genomes.present.astype("float32") @ touches > 0
        found[:, : self.fixed] = True
        return found

    def chosen(self, rate: float, rng: np.random.Generator) -> np.ndarray:
        """Numbers of the genomes that mutate."""
        return np.flatnonzero(~self.unchanged & (rng.random(self.size) < rate))

    def add_connections(self, rng: np.random.Generator) -> None:
        """Join two nodes that are not joined, in some networks."""
        rows = self.chosen(self.rates["add_connection_rate"], rng)
        nodes, count = self.nodes_of(self.genomes[rows]), len(self.places)
        sources, targets = nodes.copy(), nodes
        targets[:, : self.inputs + 1] = False
        if not self.recurrent:
            sources[:, self.inputs + 1 : self.fixed] = False
        a, b = (pick(mask, TRIES, rng) for mask in (sources, targets))  # (rows, tries)
        # Its gene, where there is one: pairs of nodes as single numbers, looked up in order.
        keys = self.ends @ (count, 1)
        by_key = np.argsort(keys)
        wanted = a * count + b
        gene = by_key[np.searchsorted(keys[by_key], wanted).clip(max=len(keys) - 1)]
        known = keys[gene] == wanted
        free = ~(known & self.genomes.present[rows[:, None], gene])
        if not self.recurrent:  # of nodes in one place, the older one comes first
            onwards = self.places[a] < self.places[b]
            free &= onwards | ((self.places[a] == self.places[b]) & (a < b))
        found, which = free.any(axis=1), free.argmax(axis=1)
        rows, at = rows[found], (np.flatnonzero(found), which[found])
        gene, known, wanted = gene[at], known[at], wanted[at]
        new, turn = np.unique(wanted[~known], return_inverse=True)
        gene[~known] = len(keys) + turn
        self.arise(np.stack(np.divmod(new, count), axis=1))
        g = self.genomes
        g.weights[rows, gene] = rng.uniform(-1, 1, len(rows)) * self.rates["weight_limit"]
        g.present[rows, gene] = g.enabled[rows, gene] = True

    def add_nodes(self, rng: np.random.Generator) -> None:
        """Put a node into a connection, in some networks: the old connection is disabled; the new
        ones, to and from the node, have the weight 1 and the old weight.
        """
        rows, places = self.chosen(self.rates["add_node_rate"], rng), self.places
        middle = places[self.ends].mean(axis=1)
        apart = (middle != places[self.ends].T).all(axis=0) | self.recurrent  # as floats go
        apart &= self.ends[:, 0] != self.inputs  # a node behind the bias alone is another bias
        room = self.nodes_of(self.genomes[rows]).sum(axis=1) < self.max_nodes
        splits = self.genomes.enabled[rows] & apart & room[:, None]
        rows, splits = rows[splits.any(axis=1)], splits[splits.any(axis=1)]
        early = splits & (rng.random(splits.shape) < OLD)
        old = np.where(early.any(axis=1), early.argmax(axis=1), pick(splits, 1, rng)[:, 0])
        split, turn = np.unique(old, return_inverse=True)  # the same split is the same innovation
        node, genes = len(places) + np.arange(len(split)), len(self.ends)
        self.places = np.concatenate([places, middle[split]])
        start, end = self.ends[split].T
        self.arise(np.stack([start, node, node, end], axis=1).reshape(-1, 2))
        g, into, out = self.genomes, genes + 2 * turn, genes + 2 * turn + 1
        g.weights[rows, into], g.weights[rows, out] = 1.0, g.weights[rows, old]
        for gene in (into, out):
            g.present[rows, gene] = g.enabled[rows, gene] = True
        g.enabled[rows, old] = False

    def arise(self, ends: np.ndarray) -> None:
        """Number new connections (k, 2) and give them columns, empty so far."""
        if len(ends):
            self.numbers = np.concatenate([self.numbers, self.next_gene + np.arange(len(ends))])
            self.next_gene += len(ends)
            self.ends = np.concatenate([self.ends, ends])
            self.genomes = self.genomes.widened(len(self.ends))

    def speciate(self, representatives: Genomes) -> None:
        """Put each genome into the first species whose representative is near; else found one."""
        g, rates = self.genomes, self.rates

        def near(rows: np.ndarray, others: Genomes) -> np.ndarray:
            apart = distance(g[rows], others, rates["c1"], rates["c2"], rates["c3"])
            return apart < rates["compatibility_threshold"]

        found = near(np.arange(self.size), representatives.widened(len(self.ends)))
        found = np.concatenate([found, np.ones((self.size, 1), bool)], axis=1)
        count = known = len(self.species)
        member = found.argmax(axis=1)
        left = np.flatnonzero(member == known)
        member[left] = -1
        while len(left):
            some = left[:BLOCK]
            found = near(left, g[some])
            for i, row in enumerate(some):
                if member[row] < 0:
                    member[left[found[:, i] & (member[left] < 0)]] = count
                    member[row], count = count, count + 1
            left = left[member[left] < 0]
        new = count - known
        species = np.concatenate([self.species, self.next_species + np.arange(new)])
        best = np.concatenate([self.species_best, np.full(new, -np.inf)])
        since = np.concatenate([self.species_since, np.zeros(new, int)])
        self.next_species += new
        alive = np.bincount(member, minlength=count) > 0
        self.member = (alive.cumsum() - 1)[member]
        self.species, self.species_best = species[alive], best[alive]
        self.species_since = since[alive]

    def forget(self) -> None:
        """Drop the columns of genes that nobody has any more, and nodes without a gene."""
        alive = self.genomes.present.any(axis=0)
        if alive.mean() > 0.8:
            return
        self.genomes = self.genomes.of_genes(alive)
        self.numbers, self.ends = self.numbers[alive], self.ends[alive]
        kept = np.arange(len(self.places)) < self.fixed
        kept[self.ends] = True
        self.places = self.places[kept]
        self.ends = (kept.cumsum() - 1)[self.ends]

    # What a genome is as a network.

    def counts(self, index: int) -> dict[str, float]:
        """Hidden nodes and enabled connections of a genome."""
        one = self.genomes[[index]]
        hidden = self.nodes_of(one).sum() - self.fixed
        return {"hidden_nodes": float(hidden), "connections": float(one.enabled.sum())}

    def used(self, rows: Any = slice(None)) -> np.ndarray:
        """Which nodes have an enabled connection, or are not hidden: bool (n, nodes)."""
        who, gene = np.nonzero(self.genomes.enabled[rows])
        found = np.zeros((len(self.genomes.enabled[rows]), len(self.places)), bool)
        found[who[:, None], self.ends[gene]] = True
        found[:, : self.fixed] = True
        return found

    def kernels(self, rows: Any = slice(None), nodes: int | None = None) -> np.ndarray:
        """Weights of enabled connections, float32 (n, to, from).

        Args:
            rows: which genomes.
            nodes: a network has: inputs, bias, outputs, hidden ones and free places. From: all of
                them; to: all but inputs and bias. None: what they need, in powers of 2 of hidden
                nodes, so that few shapes are compiled.
        """
        g, used = self.genomes[rows], self.used(rows)
        who, gene = np.nonzero(g.enabled)
        start, end = self.ends[gene].T
        slots = used.cumsum(axis=1) - 1
        if nodes is None:
            hidden = int(slots[:, -1].max()) + 1 - self.fixed
            nodes = self.fixed + (1 << max(2, (hidden - 1).bit_length()))
        kernels = np.zeros((len(g.weights), nodes - self.inputs - 1, nodes), "float32")
        to = slots[who, end] - self.inputs - 1
        kernels[who, to, slots[who, start]] = g.weights[who, gene]
        return kernels


def pick(mask: np.ndarray, tries: int, rng: np.random.Generator) -> np.ndarray:
    """Draw from the true columns of each row, with equal chances: int (rows, tries)."""
    counts = mask.cumsum(axis=1)
    ranks = (rng.random((len(mask), tries)) * counts[:, -1:]).astype(int)
    return (counts[:, None, :] <= ranks[:, :, None]).sum(axis=2)
