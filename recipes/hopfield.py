"""Hopfield networks: memories that complete what they are shown, by going downhill in energy.

Every unit is joined to every other. The weights are set so that each stored pattern lies at the
bottom of a valley of the energy; from a spoilt or partial pattern, the units turn one by one to
where the energy is lower, until none has to turn any more.

Papers:
    Hopfield 1982, Neural networks and physical systems with emergent collective computational
    abilities (`hebb`).
    Little 1974, The existence of persistent states in the brain (`synchronous`: all units at once).
    Amit, Gutfreund & Sompolinsky 1985, Storing infinite numbers of patterns in a spin-glass model
    of neural networks (no recall beyond 0.138 patterns a unit).
    Storkey 1997, Increasing the capacity of a Hopfield network without sacrificing functionality.
    Krotov & Hopfield 2016, Dense associative memory for pattern recognition (`dense`).
    Ramsauer et al. 2020, Hopfield networks is all you need (`modern`: the update is the softmax
    attention of a Transformer, with the state as query and the patterns as keys and values).

Differences:
    Units are -1 and +1 (0 and 1 in 1982), without thresholds; a unit without a field stays as it
    is, and 0 stands for a value that is not known. Units take turns in one order, drawn by the
    seed, so that recall is repeatable; the paper's turns come at random. `dense` divides overlaps
    by the number of units, which scales its energy and changes no state. `modern` stores the
    patterns as they are, without the paper's learned projections.
"""

import math
import warnings
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data.patterns import corrupt, random_patterns
from recipes.layers.compiled import compiled
from recipes.training.compilation import choose_jit
from recipes.training.fitting import refuse, run_epochs
from recipes.training.unsupervised import Unsupervised

KINDS = ("patterns",)
OBJECTIVE = ("val_bits", "max")
EPOCHS = 1
NO_GRADIENT = "Patterns are stored by a rule in one go, without a gradient."
NO_FALLING_LOSS = "One epoch stores all patterns, so that there is no second loss to compare."
NO_MIXED_PRECISION = "Fields and energies are the whole network: float32 under every policy."

# Each rule, and how its units can be updated; the first is the default.
RULES = {
    "hebb": ("asynchronous", "synchronous"),
    "storkey": ("asynchronous", "synchronous"),
    "dense": ("asynchronous",),
    "modern": ("synchronous",),
}
STILL = 1e-4  # a state that changes by less has settled


@keras.saving.register_keras_serializable("recipes")
class PairMemory(layers.Layer):
    """Weights W (units, units) between pairs of units; E = -1/2 s.W s.

    `w` is N W, for N units: by Hebb's rule whole numbers, so that a field of 0 is exactly 0.

    Args:
        units: N, of -1 and +1.
        rule: "hebb": W = 1/N sum_p x_p x_p^T; "storkey": pattern by pattern,
            W_ij += 1/N (x_i x_j - x_i h_ji - h_ij x_j), h_ij = sum_{k != i, j} W_ik x_k. No unit
            is joined to itself.
    """

    def __init__(self, units, rule="hebb", **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.units, self.rule = units, rule
        self.w = self.add_weight(shape=(units, units), initializer="zeros", name="w")
        self.built = True

    def store(self, x: np.ndarray) -> None:
        """Set the weights by patterns x (p, units), in their order."""
        if self.rule == "hebb":
            w = x.T @ x  # whole numbers, exact in float32
            np.fill_diagonal(w, 0)
        else:
            w = np.zeros((self.units, self.units))
            for row in x.astype("float64"):
                h = (w @ row)[:, None] / self.units - w * row / self.units  # h_ij, w_ii = 0
                w += np.outer(row, row) - row[:, None] * h.T - h * row
                np.fill_diagonal(w, 0)
        self.w.assign(w)

    def start_turns(self, s):
        """What a sweep of turns goes on from: the states, (units, n)."""
        return (ops.transpose(s),)

    def take_turn(self, state, i):
        """Unit i goes to the sign of its field, sum_j w_ij s_j; the energy never rises."""
        (s,) = state
        field = ops.matmul(self.w[i], s)  # (n,)
        return (with_unit(s, i, turn(s[i], field)),)

    def step(self, s):
        """All units at once: (n, units) -> (n, units)."""
        return turn(s, ops.matmul(s, self.w))

    def energy(self, s):
        """-1/2 s.W s: (n, units) -> (n,)."""
        return -ops.sum(s * ops.matmul(s, self.w), 1) / (2 * self.units)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"units": self.units, "rule": self.rule}


@keras.saving.register_keras_serializable("recipes")
class DenseMemory(layers.Layer):
    """Patterns x_p, each with a valley as steep as its power: E = -sum_p (x_p.s / N)^degree.

    Krotov & Hopfield 2016, equations 1 and 2. Degree 2 is Hebb's rule; more keep other patterns
    from shifting the valleys, and the number of patterns grows with N^(degree - 1).

    Args:
        units: N, of -1 and +1.
        num_patterns: how many there are.
        degree: of the power, at least 2.
    """

    def __init__(self, units, num_patterns, degree=3, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.units, self.num_patterns, self.degree = units, num_patterns, degree
        shape = (units, num_patterns)
        self.patterns = self.add_weight(shape=shape, initializer="zeros", name="patterns")
        self.built = True

    def store(self, x: np.ndarray) -> None:
        """Keep patterns x (num_patterns, units)."""
        self.patterns.assign(x.T)

    def start_turns(self, s):
        """The states, (units, n), their overlaps x_p.s, (n, num_patterns), and the states again."""
        before = ops.transpose(s)
        return before, ops.matmul(s, self.patterns), before

    def take_turn(self, state, i):
        """Unit i goes to where the energy is lower, with the others as they are."""
        s, overlaps, before = state
        # (n,), (num_patterns,); a unit turns once in a sweep, and XLA copies s if it is read, too
        s_i, x_i = before[i], self.patterns[i]
        rest = overlaps - s_i[:, None] * x_i  # without unit i
        up, down = ((rest + sign * x_i) / self.units for sign in (1, -1))
        new = turn(s_i, ops.sum(up**self.degree - down**self.degree, 1))
        return with_unit(s, i, new), overlaps + (new - s_i)[:, None] * x_i, before

    def energy(self, s):
        """-sum_p (x_p.s / N)^degree: (n, units) -> (n,)."""
        return -ops.sum((ops.matmul(s, self.patterns) / self.units) ** self.degree, 1)

    def get_config(self):
        """The constructor's arguments."""
        names = ("units", "num_patterns", "degree")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("recipes")
class SoftmaxMemory(layers.Layer):
    """Patterns x_p, and states s of real numbers that move to a weighted mean of them.

    Ramsauer et al. 2020, equations 2 and 3, with P patterns of at most length M:
    E = -1/beta log sum_p exp(beta x_p.s) + s.s / 2 + log(P) / beta + M^2 / 2.

    Args:
        units: N.
        num_patterns: P.
        beta: inverse temperature: the larger, the more the nearest pattern counts alone.
    """

    def __init__(self, units, num_patterns, beta=1.0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.units, self.num_patterns, self.beta = units, num_patterns, beta
        shape = (num_patterns, units)
        self.patterns = self.add_weight(shape=shape, initializer="zeros", name="patterns")
        self.built = True

    def store(self, x: np.ndarray) -> None:
        """Keep patterns x (num_patterns, units)."""
        self.patterns.assign(x)

    def step(self, s):
        """s' = sum_p softmax_p(beta x_p.s) x_p: (n, units) -> (n, units)."""
        x = ops.convert_to_tensor(self.patterns)
        return ops.matmul(ops.softmax(self.beta * ops.matmul(s, ops.transpose(x))), x)

    def energy(self, s):
        """(n, units) -> (n,), in 0 .. 2 M^2 for states no longer than M."""
        x = ops.convert_to_tensor(self.patterns)
        near = ops.logsumexp(self.beta * ops.matmul(s, ops.transpose(x)), 1) / self.beta
        longest = ops.max(ops.sum(ops.square(x), 1))
        constant = math.log(self.num_patterns) / self.beta + longest / 2
        return ops.sum(ops.square(s), 1) / 2 - near + constant

    def get_config(self):
        """The constructor's arguments."""
        names = ("units", "num_patterns", "beta")
        return super().get_config() | {name: getattr(self, name) for name in names}


def turn(s, drive):
    """Units s to the sign of their drive; without one they stay."""
    return ops.where(ops.equal(drive, 0), s, ops.sign(drive))


def with_unit(s, i, values):
    """States s (N, n), in which unit i has the values (n,)."""
    return ops.scatter_update(s, ops.reshape(i, (1, 1)), values[None])


@keras.saving.register_keras_serializable("recipes")
class Hopfield(Unsupervised):
    """An associative memory: spoilt patterns (n, *input_shape) in [-1, 1] -> the recalled ones.

    `fit` stores; `predict` recalls, float32: of -1 and +1, but for the rule "modern" real numbers,
    of which the signs count. `evaluate` gives "bits", the share of values recalled right,
    "recalled", the share of patterns without a wrong value, and "energy", the mean energy of where
    recall ends. The loss is the share of wrong values.

    Args:
        num_patterns: that `fit` stores.
        rule: "hebb", "storkey", "dense" or "modern".
        mode: "asynchronous", unit after unit, or "synchronous", all at once, where the energy
            may rise and two states follow each other for ever.
        max_steps: sweeps over all units after which recall ends, settled or not.
        degree: of the rule "dense".
        beta: of the rule "modern".
        seed: of the order in which units take turns.
    """

    own_loop = True  # `fit` runs on one device
    xla_on_cpu = True  # a turn of a unit is many small operations
    numbers = ("num_patterns", "rule", "mode", "max_steps", "degree", "beta", "seed")
    value_range = (-1.0, 1.0)

    def __init__(self, input_shape, num_patterns, rule="hebb", mode="asynchronous", max_steps=100,
                 degree=3, beta=1.0, seed=0, **kwargs):  # fmt: skip
        super().__init__(input_shape, **kwargs)
        self.num_patterns, self.max_steps = num_patterns, max_steps
        self.rule, self.mode = rule, mode
        self.degree, self.beta, self.seed = degree, beta, seed
        units = math.prod(self.example_shape)
        if rule == "modern":
            self.memory = SoftmaxMemory(units, num_patterns, beta, name="memory")
        elif rule == "dense":
            self.memory = DenseMemory(units, num_patterns, degree, name="memory")
        else:
            self.memory = PairMemory(units, rule, name="memory")
        self.order = np.random.default_rng(seed).permutation(units)
        self.bits = keras.metrics.Mean("bits")
        self.recalled = keras.metrics.Mean("recalled")
        self.mean_energy = keras.metrics.Mean("energy")
        self.reread = compiled(self, lambda x: self.compare(self.call(x), x))

    def advance(self, s):
        """One sweep over all units, (n, units) -> (n, units)."""
        if self.mode == "synchronous":
            return self.memory.step(s)
        order = ops.convert_to_tensor(self.order, "int32")

        def next_turn(k, state):
            return self.memory.take_turn(state, order[k])

        start = self.memory.start_turns(s)
        return ops.transpose(ops.fori_loop(0, len(self.order), next_turn, start)[0])

    def call(self, x, training=False):
        """Recall: sweeps until nothing changes, or there were `max_steps`."""

        def unsettled(step, s, moves):
            return ops.logical_and(step < self.max_steps, moves)

        def go_on(step, s, moves):
            new = self.advance(s)
            return step + 1, new, ops.any(ops.abs(new - s) > STILL)

        s = ops.reshape(x, (-1, self.memory.units))
        start = (ops.convert_to_tensor(0, "int32"), s, ops.convert_to_tensor(True))
        return ops.reshape(ops.while_loop(unsettled, go_on, start)[1], ops.shape(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The share of wrong values; without y, x are the patterns themselves."""
        y = x if y is None else y
        wanted = f"needs the patterns, (n, *{self.example_shape})"
        shape = tuple(y.shape)
        check(shape[1:] == self.example_shape, "y", f"array of shape {shape}", wanted)
        flat = (-1, self.memory.units)
        s, y = ops.reshape(y_pred, flat), ops.reshape(ops.cast(y, "float32"), flat)
        found = self.compare(s, y)
        for metric in (self.bits, self.recalled, self.mean_energy):
            metric.update_state(found[metric.name], sample_weight)
        return ops.mean(1 - found["bits"])

    def compare(self, s, y):
        """States s with patterns y, (n, units) each: "bits", "recalled" and "energy", (n,)."""
        right = ops.cast(s * y > 0, "float32")  # (n, units)
        bits, recalled = ops.mean(right, 1), ops.cast(ops.all(right > 0, 1), "float32")
        return {"bits": bits, "recalled": recalled, "energy": self.memory.energy(s)}

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
            validation_batch_size=None, validation_freq=1):  # fmt: skip
        """Store patterns in place of those stored before. One epoch does it: more change nothing.

        Arguments are those of `keras.Model.fit`. x is an array of patterns, or a `PyDataset`, a
        `tf.data.Dataset` or another iterable of batches of them, alone or as (x, ...): they are
        their own targets, and y is not looked at.

        Returns:
            `History` of one epoch: loss, bits, recalled and energy of recall from the patterns
            themselves, and val_loss ... of the validation data.

        Raises:
            ValueError: patterns of another shape, of other values than -1 and +1, of unequal
                lengths, or not `num_patterns`; validation_split, steps_per_epoch, weights.
        """
        refuse("the rule takes all patterns alike", validation_split=validation_split or None,
               class_weight=class_weight, sample_weight=sample_weight,
               steps_per_epoch=steps_per_epoch)  # fmt: skip
        patterns = self._patterns(x).reshape(self.num_patterns, -1)
        size = batch_size or 256
        check_vocabulary({"batch_size": size})

        def store(epoch, callbacks):
            callbacks.on_train_batch_begin(0)
            self.memory.store(patterns)
            found = [self.reread(patterns[i : i + size]) for i in range(0, len(patterns), size)]
            logs = {name: np.concatenate([p[name] for p in found]).mean() for name in found[0]}
            logs = {"loss": 1 - logs["bits"], **logs}
            callbacks.on_train_batch_end(0, logs)
            return logs

        history = run_epochs(
            self, store, epochs=epochs, initial_epoch=initial_epoch, steps=1, verbose=verbose,
            callbacks=callbacks, validation_data=validation_data, validation_steps=validation_steps,
            validation_batch_size=validation_batch_size or batch_size, done=lambda logs: True,
        )  # fmt: skip
        if history.epoch and history.epoch[-1] + 1 < epochs:
            told = f"epochs={epochs}: one epoch stored all patterns; more change nothing"
            warnings.warn(told, stacklevel=2)
        return history

    def _patterns(self, x: Any) -> np.ndarray:
        """The patterns that `fit` was given, checked: float32 (num_patterns, *input_shape)."""
        if isinstance(x, keras.utils.PyDataset):
            x = [x[i] for i in range(len(x))]
        elif hasattr(x, "as_numpy_iterator"):  # a tf.data.Dataset
            x = list(x.as_numpy_iterator())
        rule = f"needs patterns of -1 and +1, ({self.num_patterns}, *{self.example_shape})"
        try:
            if isinstance(x, list) and x and isinstance(x[0], tuple):  # batches (x, ...)
                x = np.concatenate([ops.convert_to_numpy(batch[0]) for batch in x])
            x = np.asarray(x if isinstance(x, list) else ops.convert_to_numpy(x))
        except ValueError:
            raise ValueError(f"x: patterns of unequal lengths; this model {rule}") from None
        check(x.shape[1:] == self.example_shape, "x", f"array of shape {x.shape}", rule)
        check(((x == 1) | (x == -1)).all(), "x", f"values such as {_strange(x)}", rule)
        check(len(x) == self.num_patterns, "x", f"{len(x)} patterns", rule)
        return x.astype("float32")

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`: recall from x, compared with the patterns y."""
        self.check_examples(x)
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """As `keras.Model.predict`: what is recalled from x; values of 0 are not known."""
        self.check_examples(x)
        return super().predict(x, *args, **kwargs)

    def trajectory(self, x: np.ndarray, max_steps: int = 10, every: int = 0) -> np.ndarray:
        """The states that recall goes through, until they settle.

        Args:
            x: where it begins, (n, *input_shape).
            max_steps: sweeps.
            every: so many turns of units, in the mode "asynchronous", and at the end of a sweep,
                the states are kept; 0: at the end only.

        Returns:
            (states, n, *input_shape), the first of which is x, float32.
        """
        s = ops.convert_to_tensor(np.reshape(x, (len(x), -1)), "float32")
        states = [s]
        for _ in range(max_steps):
            before = s
            if self.mode == "synchronous":
                s = self.memory.step(s)
            else:
                state = self.memory.start_turns(s)
                for k, i in enumerate(self.order.tolist()):
                    if k and every and k % every == 0:
                        states.append(ops.transpose(state[0]))
                    state = self.memory.take_turn(state, i)
                s = ops.transpose(state[0])
            states.append(s)
            if ops.convert_to_numpy(ops.max(ops.abs(s - before))) <= STILL:
                break
        found = np.stack([ops.convert_to_numpy(state) for state in states])
        return found.reshape(len(states), *np.shape(x))

    def energy(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Energy of states (n, *input_shape) as they are, before any recall: float32 (n,)."""
        x = np.asarray(x, "float32")
        self.check_examples(x)
        x = x.reshape(len(x), -1)
        rows = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
        found = [self.memory.energy(ops.convert_to_tensor(row)) for row in rows]
        return np.concatenate([ops.convert_to_numpy(part) for part in found])

    def anomaly_score(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """How unlike all that is stored, (n,): the energy."""
        return self.energy(x, batch_size)


def _strange(x: np.ndarray) -> str:
    """Some of the values that are neither -1 nor +1."""
    return ", ".join(f"{value:g}" for value in np.unique(x[~np.isin(x, (-1, 1))])[:3])


def capacity(
    loads: list[float], units: int = 200, flip: float = 0.1, seed: int = 0, **arguments: Any
) -> np.ndarray:
    """Share of values right after recall, for so many random patterns a unit, (loads,).

    Args:
        loads: numbers of patterns divided by the number of units.
        units: of the networks.
        flip: share of the values that recall starts from that are wrong.
        seed: of the patterns and of these values.
        **arguments: of `build_model`.
    """
    counts, found = [max(1, round(load * units)) for load in loads], []
    model = build_model(input_shape=(units,), num_patterns=max(counts), **arguments)
    recall = model.predict_on_batch  # compiled once, since rows of zeros make up for fewer patterns
    for count in counts:
        x = random_patterns(count, (units,), seed).astype("float32")
        if model.rule == "modern":  # where they would draw the states as patterns do
            recall = model = build_model(input_shape=(units,), num_patterns=count, **arguments)
        model.memory.store(np.pad(x, ((0, model.num_patterns - count), (0, 0))))
        x = np.resize(x, (50, units))
        recalled = ops.convert_to_numpy(recall(corrupt(x, flip, seed)))
        found.append(np.mean(recalled * x > 0))
    return np.array(found)


VARIANTS = {
    "hebb": {},
    "storkey": {"rule": "storkey"},
    "synchronous": {"mode": "synchronous"},
    "dense": {"rule": "dense"},
    "modern": {"rule": "modern"},
    "tiny": {"max_steps": 10},
}


@recipe(VARIANTS)
def build_model(
    variant: str = "hebb",
    *,
    input_shape: tuple[int, ...] = (16, 16, 1),
    num_patterns: int = 6,
    rule: str = "hebb",
    mode: str | None = None,
    max_steps: int = 100,
    degree: int = 3,
    beta: float = 1.0,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `Hopfield`: spoilt patterns (n, *input_shape) -> recalled ones, float32.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: of one pattern.
        num_patterns: that `fit` stores.
        rule: "hebb", "storkey", "dense" (powers of overlaps) or "modern" (softmax of overlaps).
        mode: "asynchronous", unit after unit, or "synchronous", all at once; by default the first,
            but for the rule "modern", which has the second alone, as "dense" has the first.
        max_steps: sweeps over all units after which recall ends, settled or not.
        degree: of the powers of the rule "dense": an integer of at least 2.
        beta: of the rule "modern": how much the nearest pattern counts above the others.
        seed: of the order in which units take turns.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    mode = RULES[rule][0] if mode is None else mode
    if mode not in RULES[rule]:
        raise unknown(f"mode of the rule {rule!r}", mode, RULES[rule])
    for name, value, least in (("num_patterns", num_patterns, 1), ("max_steps", max_steps, 1),
                               ("degree", degree, 2)):  # fmt: skip
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        check(whole, name, value, f"must be an integer of at least {least}")
    number = isinstance(beta, int | float) and not isinstance(beta, bool) and 0 < beta < math.inf
    check(number, "beta", beta, "must be a positive number")
    model = Hopfield(
        input_shape, num_patterns, rule, mode, max_steps, degree, beta, seed or 0,
        name=f"hopfield_{variant}",
    )  # fmt: skip
    # No rule has an optimizer, but Keras does not load a compiled model without one.
    model.compile(optimizer=keras.optimizers.SGD())
    choose_jit(model)
    return model


def load_data(source: object = "letters", *, batch_size: int = 32, seed: int = 0, **options):
    """Letters of 16x16 pixels, random patterns, an array of patterns, or images in black and white.

    See `recipes.data.patterns.load` for all sources and options.

    Returns:
        `Data` of patterns x of -1 and +1, float32 (n, *shape), to store, and of spoilt copies of
        them with the patterns as targets.
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model`; the defaults are those of `build_model`."""
    drawn: dict[str, Any] = {"rule": hp.Choice("rule", list(RULES), default="hebb")}
    with hp.conditional_scope("rule", ["hebb", "storkey"]):
        mode = hp.Choice("mode", list(RULES["hebb"]), default="asynchronous")
    with hp.conditional_scope("rule", ["dense"]):
        degree = hp.Int("degree", 2, 6, default=3)
    with hp.conditional_scope("rule", ["modern"]):
        beta = hp.Float("beta", 1e-3, 10.0, sampling="log", default=1.0)
    own = {"dense": {"degree": degree}, "modern": {"beta": beta}}
    return drawn | own.get(drawn["rule"], {"mode": mode})


def pictures(model: Hopfield, data) -> dict:
    """What a run shows: recall, the energy on the way, and how much such a network can store."""
    from recipes.reports import plots

    spoilt, stored = data.test.arrays()
    shown = min(10, model.num_patterns)  # the first copies are one of each pattern
    rows = {"stored": stored[:shown], "spoilt": spoilt[:shown]}
    rows["recalled"] = model.predict(spoilt[:shown], verbose=0)
    images = np.concatenate([as_images(x) for x in rows.values()])
    return {
        "recall": plots.pictures(images, shown, rows=[*rows], value_range=(-1, 1)),
        "energy": energy_on_the_way(model, spoilt[:20], stored[:20]),
        "capacity": capacity_curve(model),
    }


def as_images(x: np.ndarray) -> np.ndarray:
    """Patterns of any shape as (n, height, width, 1 or 3), for `plots.pictures`."""
    shape = x.shape[1:]
    if len(shape) == 3 and shape[-1] in (1, 3):
        return x
    if len(shape) == 2:
        return x[..., None]
    units = math.prod(shape)
    height = next(h for h in range(math.isqrt(units), 0, -1) if units % h == 0)
    return x.reshape(len(x), height, units // height, 1)


def energy_on_the_way(model: Hopfield, spoilt: np.ndarray, stored: np.ndarray):
    """A figure: the energy of each state during recall, above that of the pattern it belongs to."""
    from recipes.reports import plots

    units = model.memory.units
    every = max(1, units // 16)
    kept = math.ceil(units / every) if model.mode == "asynchronous" else 1  # states of a sweep
    states = model.trajectory(spoilt, max_steps=4, every=every)
    energies = np.stack([model.energy(state) for state in states]) - model.energy(stored)
    made, (ax,) = plots.figure(5.2, 3.4)
    ax.plot(np.arange(len(states)) / kept, energies, color=plots.BLUE, alpha=0.5, linewidth=1)
    ax.axhline(0, color=plots.GREY, linestyle="--", linewidth=1)
    ax.set_xlabel("sweeps over all units", color=plots.INK)
    ax.set_title("energy above that of the stored pattern")
    return made


def capacity_curve(model: Hopfield):
    """A figure: values right after recall against the load, for random patterns, 10 % turned."""
    from recipes.reports import plots

    pairs = isinstance(model.memory, PairMemory)
    loads = {"dense": [0.1, 0.5, 1, 2, 4, 8], "modern": [0.1, 1, 10, 100]}.get(
        model.rule, [0.02, 0.06, 0.1, 0.13, 0.16, 0.2, 0.3]
    )
    names = ("rule", "mode", "degree", "beta")
    arguments = {name: getattr(model, name) for name in names} | {"max_steps": 20}
    made, (ax,) = plots.figure(5.2, 3.4)
    bits = capacity(loads, units=200 if pairs else 100, **arguments)
    ax.plot(loads, bits, color=plots.BLUE, marker="o", markersize=4, label=model.rule)
    ax.axvline(0.138, color=plots.ORANGE, linestyle="--", linewidth=1, label="0.138 (Hebb's limit)")
    ax.set_xscale("linear" if pairs else "log")
    ax.set_xlabel("random patterns stored, for each unit", color=plots.INK)
    ax.set_title("values right after recall, 10 % turned over")
    ax.legend(frameon=False, fontsize=9)
    return made
