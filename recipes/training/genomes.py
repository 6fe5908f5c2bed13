"""Genomes of networks that grow: innovations, crossing, species (Stanley & Miikkulainen 2002).

Sections and figures are those of the paper, Evolving neural networks through augmenting topologies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

SMALL = 20  # genes; distances between genomes smaller than that count every gene in full
BLOCK = 32  # genomes that may found species, looked at together
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
        """Some genomes, by their numbers."""
        parts = (self.weights, self.present, self.enabled)
        return Genomes(*[v.take(rows, axis=0) for v in parts])  # several times as fast as v[rows]

    def of_genes(self, chosen: np.ndarray) -> "Genomes":
        """The same genomes with some of the columns."""
        return Genomes(*[v[:, chosen] for v in (self.weights, self.present, self.enabled)])

    def widened(self, genes: int) -> "Genomes":
        """The same genomes with columns of absent genes behind, up to so many."""
        if genes == self.weights.shape[1]:
            return self
        shape = (len(self.weights), genes - self.weights.shape[1])
        parts = (self.weights, self.present, self.enabled)
        return Genomes(*[np.concatenate([v, np.zeros(shape, v.dtype)], axis=1) for v in parts])


def distance(a: Genomes, b: Genomes, c1: float = 1.0, c2: float = 1.0, c3: float = 0.4):
    """Compatibility distance, c1 E / N + c2 D / N + c3 W (equation 1): (n, m) float32.

    E and D count excess and disjoint genes; W is the mean difference of matching weights; N is the
    number of genes of the larger genome, and 1 where both have fewer than 20.
    """
    mine, theirs = a.present.astype("float32"), b.present.astype("float32")
    size, other_size = mine.sum(axis=1)[:, None], theirs.sum(axis=1)
    matching = mine @ theirs.T
    unmatched = c2 * (size + other_size - 2 * matching)
    if c1 != c2:
        unmatched += (c1 - c2) * excess(a, b)
    # The genes that each of b has, one after the other's: most columns are empty.
    who, gene = nonzero(b.present)
    apart = np.ascontiguousarray(a.weights.T).take(gene, axis=0)
    apart -= b.weights[who, gene][:, None]
    np.abs(apart, out=apart)
    apart *= np.ascontiguousarray(mine.T).take(gene, axis=0)
    whose = (who == np.arange(len(b.weights))[:, None]).astype("float32")
    apart = (whose @ apart).T
    larger = np.maximum(size, other_size)
    counted = np.where(larger < SMALL, 1, larger)
    return unmatched / counted + c3 * apart / np.maximum(matching, 1)


def excess(a: Genomes, b: Genomes) -> np.ndarray:
    """How many genes of either genome are behind the other's last one: (n, m) float32."""
    columns = np.arange(a.present.shape[1])
    behind, other_behind = (
        (columns >= len(columns) - v.present[:, ::-1].argmax(axis=1)[:, None]).astype("float32")
        for v in (a, b)
    )
    return a.present.astype("float32") @ other_behind.T + behind @ b.present.T.astype("float32")


def cross(
    fitter: Genomes, other: Genomes, equal: np.ndarray, rng: np.random.Generator,
    stay_disabled: float | np.ndarray = 0.75,
) -> Genomes:  # fmt: skip
    """Offspring of pairs of parents (figure 4), one each.

    Matching genes come from either parent at random, the others from the fitter one; from both,
    where the parents are `equal` (n,) in fitness. A gene that is disabled in either parent is
    disabled with the chance `stay_disabled`, a number or one for each pair (n,).
    """
    present = fitter.present | (other.present & equal[:, None])
    at = np.flatnonzero(present)  # most columns are empty: draws for the genes alone
    coin, stay = rng.random((2, len(at)))
    theirs = other.present.take(at) & ((coin < 0.5) | ~fitter.present.take(at))
    weights = np.zeros_like(fitter.weights)
    weights.reshape(-1)[at] = np.where(theirs, other.weights.take(at), fitter.weights.take(at))
    off = (fitter.present > fitter.enabled) | (other.present > other.enabled)
    chance = np.broadcast_to(stay_disabled, len(off)).take(at // off.shape[1])
    off.reshape(-1)[at] &= stay < chance
    return Genomes(weights, present, present > off)


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
        self.speciate(self.genomes[self.species])

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

        # The second parent is another one, where there is another one, or the same one again.
        crossed = ~self.unchanged & (rng.random(self.size) >= self.rates["mutation_only_rate"])
        away = rng.random(self.size) < self.rates["interspecies_rate"]
        species[away] = self.member[rng.integers(0, self.size, self.size)[away]]
        others = 1 + (rng.random(self.size) * (kept[species] - 1)).astype(int)
        fathers = order[first[species] + (rank + others) % kept[species]]
        fathers = np.where(crossed, fathers, mothers)
        swap = fitness[fathers] > fitness[mothers]
        fitter, other = np.where(swap, fathers, mothers), np.where(swap, mothers, fathers)
        equal = fitness[fitter] == fitness[other]
        stay = np.where(crossed, self.rates["stay_disabled_rate"], 1.0)
        fitter_genomes = self.genomes[fitter]
        children = cross(fitter_genomes, self.genomes[other], equal, rng, stay)
        if len(self.places) > self.max_nodes:  # equal parents may have too many together
            large = self.nodes_of(children).sum(axis=1) > self.max_nodes
            for f in fields(Genomes):
                getattr(children, f.name)[large] = getattr(fitter_genomes, f.name)[large]
        return children

    def mutate_weights(self, rng: np.random.Generator) -> None:
        """Shift the weights of most networks, and draw some of them anew."""
        g, rates = self.genomes, self.rates
        chosen = ~self.unchanged & (rng.random(self.size) < rates["weight_mutation_rate"])
        at, weights = np.flatnonzero(g.present & chosen[:, None]), g.weights.reshape(-1)
        count, limit = len(at), rates["weight_limit"]
        shifted = rng.random(count) < rates["perturbation_rate"]
        step = rng.uniform(-1, 1, count) * np.where(shifted, rates["weight_step"], limit)
        weights[at] = (weights[at] * shifted + step).clip(-limit, limit)

    def nodes_of(self, genomes: Genomes) -> np.ndarray:
        """Which nodes each genome has: bool (n, nodes)."""
        return self.touched(genomes.present)

    def touched(self, genes: np.ndarray) -> np.ndarray:
        """Which nodes are ends of some genes (n, g), or are not hidden: bool (n, nodes)."""
        ends = np.zeros((len(self.ends), len(self.places)), "float32")
        ends[np.arange(len(ends))[:, None], self.ends] = 1
        found = genes.astype("float32") @ ends > 0
        found[:, : self.fixed] = True
        return found

    def chosen(self, rate: float, rng: np.random.Generator) -> np.ndarray:
        """Numbers of the genomes that mutate."""
        return np.flatnonzero(~self.unchanged & (rng.random(self.size) < rate))

    def add_connections(self, rng: np.random.Generator) -> None:
        """Join two nodes that are not joined, in some networks."""
        rows = self.chosen(self.rates["add_connection_rate"], rng)
        mutants, places, count = self.genomes[rows], self.places, len(self.places)
        start, end = self.ends.T
        sources = self.nodes_of(mutants)
        targets = sources.copy()
        targets[:, : self.inputs + 1] = False
        if not self.recurrent:
            sources[:, self.inputs + 1 : self.fixed] = False
        free = sources[:, :, None] & targets[:, None, :]
        if not self.recurrent:  # of nodes in one place, the older one comes first
            rank = places.argsort(kind="stable").argsort()
            free &= rank[:, None] < rank
        free[:, start, end] &= ~mutants.present
        which, pair = pick(free.reshape(len(rows), count * count), rng)
        rows, gene_of = rows[which], np.full(count * count, -1)
        gene_of[start * count + end] = np.arange(len(self.ends))
        new = np.unique(pair[gene_of[pair] < 0])
        gene_of[new] = len(self.ends) + np.arange(len(new))
        self.arise(np.stack(np.divmod(new, count), axis=1))
        g, gene = self.genomes, gene_of[pair]
        g.weights[rows, gene] = rng.uniform(-1, 1, len(rows)) * self.rates["weight_limit"]
        g.present[rows, gene] = g.enabled[rows, gene] = True

    def add_nodes(self, rng: np.random.Generator) -> None:
        """Put a node into a connection, in some networks: the old connection is disabled; the new
        ones, to and from the node, have the weight 1 and the old weight.
        """
        rows, places = self.chosen(self.rates["add_node_rate"], rng), self.places
        start, end = places[self.ends].T
        middle = (start + end) / 2
        apart = ((start != middle) & (middle != end)) | self.recurrent  # as floats go
        apart &= self.ends[:, 0] != self.inputs  # a node behind the bias alone is another bias
        room = self.nodes_of(self.genomes[rows]).sum(axis=1) < self.max_nodes
        splits = self.genomes.enabled[rows] & apart & room[:, None]
        which, old = pick(splits, rng)
        rows, early = rows[which], splits[which] & (rng.random((len(which), len(apart))) < OLD)
        old = np.where(early.any(axis=1), early.argmax(axis=1), old)
        split = np.unique(old)  # the same split is the same innovation
        turn = np.searchsorted(split, old)
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
        if np.count_nonzero(alive) > 0.8 * len(alive):
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
        return self.touched(self.genomes.enabled[rows])

    def kernels(self, rows: Any = slice(None), nodes: int | None = None) -> np.ndarray:
        """Weights of enabled connections, float32 (n, from, to).

        Args:
            rows: which genomes.
            nodes: a network has: inputs, bias, outputs, hidden ones and free places. From: all of
                them; to: all but inputs and bias. None: what they need, in powers of 2 of hidden
                nodes, so that few shapes are compiled.
        """
        enabled, weights = self.genomes.enabled[rows], self.genomes.weights[rows]
        slots = self.touched(enabled).cumsum(axis=1) - 1  # of each node
        if nodes is None:
            hidden = int(slots[:, -1].max()) + 1 - self.fixed
            nodes = self.fixed + (1 << max(2, (hidden - 1).bit_length()))
        who, gene = nonzero(enabled)
        start, end = (slots.take(who * slots.shape[1] + v.take(gene)) for v in self.ends.T)
        kernels = np.zeros((len(weights), nodes, nodes - self.inputs - 1), "float32")
        kernels[who, start, end - self.inputs - 1] = weights[who, gene]
        return kernels


def nonzero(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of what is true in mask (n, m), several times as fast as `np.nonzero`."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def pick(mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one of the true columns of each row that has any: rows and columns, int (k,) each."""
    counts = mask.sum(axis=1)
    drawn = counts.cumsum() - counts + (rng.random(len(mask)) * counts).astype(int)
    rows = np.flatnonzero(counts)
    return rows, np.flatnonzero(mask)[drawn[rows]] % mask.shape[1]
