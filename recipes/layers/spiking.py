"""Spiking neurons, surrogate gradients, and ways into spikes and out of them.

Time is the second axis: currents, membranes and spikes are (n, num_steps, ...). A spike is 1.0,
none is 0.0. Membranes are float32 under every policy.
"""

import math
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes.contract import check, unknown

# dS/du, with u = U - threshold, in place of the step's own derivative, which is 0 or infinite.
SURROGATES = {
    # Zenke & Ganguli 2018, equation 4; k = 25
    "fast_sigmoid": lambda u: 1.0 / ops.square(1.0 + 25.0 * ops.abs(u)),
    # Fang et al. 2021; alpha = 2: of arctan(pi u) / pi
    "arctan": lambda u: 1.0 / (1.0 + ops.square(math.pi * u)),
    # Esser et al. 2016: piecewise linear
    "triangular": lambda u: ops.maximum(0.0, 1.0 - ops.abs(u)),
}
RESETS = ("subtract", "zero", "none")
UNROLLED = 64  # steps that are laid out in one graph; more of them are a loop


def check_spikes(spikes: Any, what: str = "spikes") -> np.ndarray:
    """Spikes as an array; raise where they are no zeros and ones with an axis of time."""
    found = np.asarray(spikes)
    wanted = "needs spikes of 0 and 1, (n, num_steps, ...)"
    check(found.ndim >= 2 and found.size, what, f"array of shape {found.shape}", wanted)
    strange = np.unique(found[(found != 0) & (found != 1)])[:3]
    check(not strange.size, what, f"values such as {', '.join(map(str, strange))}", wanted)
    return found


def fires(u: Any, surrogate: str = "fast_sigmoid") -> Any:
    """1 where u > 0, else 0; back goes the slope of a surrogate (one of `SURROGATES`)."""
    slope = SURROGATES[surrogate]

    @ops.custom_gradient
    def step(u):
        def gradient(*given, upstream=None):  # TensorFlow and JAX give it as the argument
            return (given[0] if upstream is None else upstream) * slope(u)

        return ops.cast(u > 0, u.dtype), gradient

    return step(ops.convert_to_tensor(u))  # PyTorch follows no variable


def check_steps(num_steps: Any) -> None:
    """Raise where this is no number of time steps."""
    ok = isinstance(num_steps, Integral) and not isinstance(num_steps, bool) and num_steps >= 1
    check(ok, "num_steps", num_steps, "must be a positive integer")


def number_in(value: Any, low: float, high: float) -> bool:
    """Whether this is a number in (low, high]."""
    return isinstance(value, Real) and not isinstance(value, bool) and low < value <= high


@keras.saving.register_keras_serializable("recipes")
class LIF(layers.Layer):
    """Leaky integrate-and-fire neurons: currents (n, num_steps, ...) -> spikes, the same shape.

    U[t] = beta U[t-1] + I[t] - S[t-1] threshold,    S[t] = 1 where U[t] > threshold, else 0

    from S[-1] = 0 and U[-1] = start_at threshold: the reset follows one step behind its spike, and
    no gradient goes through it, as in snnTorch's `Leaky`. With beta = 1 nothing leaks (IF).

    Args:
        beta: what is left of a membrane after a step, in (0, 1]; exp(-time step / time constant).
        threshold: above which a membrane fires.
        reset: "subtract" the threshold; "zero": U[t-1] counts as 0 after a spike; or "none".
        surrogate: one of `SURROGATES`.
        returns: "spikes", or "membranes": U, float32.
        start_at: share of the threshold, at least 0, that membranes start at.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(self, beta=0.9, threshold=1.0, reset="subtract", surrogate="fast_sigmoid",
                 returns="spikes", start_at=0.0, **kwargs):  # fmt: skip
        super().__init__(autocast=False, **kwargs)
        check(number_in(beta, 0, 1), "beta", beta, "must be a number in (0, 1]")
        wanted = "must be a positive number"
        check(number_in(threshold, 0, math.inf), "threshold", threshold, wanted)
        both = ("spikes", "membranes")
        for name, value, known in (("reset", reset, RESETS), ("surrogate", surrogate, SURROGATES),
                                   ("returns", returns, both)):  # fmt: skip
            if value not in known:
                raise unknown(name, value, known)
        self.beta, self.threshold, self.reset = beta, threshold, reset
        self.surrogate, self.returns, self.start_at = surrogate, returns, start_at

    def start(self, zeros: Any) -> tuple:
        """States before the first step, of zeros (n, ...): spike, membrane, and others."""
        return zeros, zeros + self.start_at * self.threshold

    def step(self, states: tuple, current: Any) -> tuple:
        """One step: states, current (n, ...) -> states."""
        s, u = states
        u = self.integrate(u, s, current, self.threshold)
        return fires(u - self.threshold, self.surrogate), u

    def integrate(self, u: Any, s: Any, current: Any, threshold: Any) -> Any:
        """The membrane after a leak, a current, and the reset of the last spike."""
        s = ops.stop_gradient(s)
        if self.reset == "zero":
            return self.beta * u * (1.0 - s) + current
        u = self.beta * u + current
        return u - s * threshold if self.reset == "subtract" else u

    def states(self, currents: Any) -> tuple:
        """All states over time, each (n, num_steps, ...) float32: spikes, membranes, ..."""
        x, num_steps = ops.cast(currents, "float32"), currents.shape[1]
        states = self.start(ops.zeros_like(x[:, 0]))
        if num_steps > UNROLLED:

            def body(states, current):
                states = self.step(states, current)
                return states, states

            _, found = ops.scan(body, states, ops.swapaxes(x, 0, 1), length=num_steps)
            return tuple(ops.swapaxes(state, 0, 1) for state in found)
        found = []
        for current in ops.unstack(x, num_steps, axis=1):
            states = self.step(states, current)
            found.append(states)
        return tuple(ops.stack(state, axis=1) for state in zip(*found, strict=True))

    def call(self, currents):
        """Spikes in the compute dtype, or membranes."""
        spikes, membranes, *_ = self.states(currents)
        return membranes if self.returns == "membranes" else ops.cast(spikes, self.compute_dtype)

    def compute_output_spec(self, currents):
        """As it came; known without going through time."""
        dtype = "float32" if self.returns == "membranes" else self.compute_dtype
        return keras.KerasTensor(currents.shape, dtype)

    def get_config(self):
        """The constructor's arguments."""
        names = ("beta", "threshold", "reset", "surrogate", "returns", "start_at")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("recipes")
class Synaptic(LIF):
    """LIF neurons whose synapses have a memory of their own, as in snnTorch's `Synaptic`.

    A[t] = alpha A[t-1] + I[t],    U[t] = beta U[t-1] + A[t] - S[t-1] threshold

    Args:
        alpha: what is left of a synaptic current after a step, in (0, 1].
        **kwargs: those of `LIF`.
    """

    def __init__(self, alpha=0.8, **kwargs):
        super().__init__(**kwargs)
        check(number_in(alpha, 0, 1), "alpha", alpha, "must be a number in (0, 1]")
        self.alpha = alpha

    def start(self, zeros):
        """Spike, membrane, synaptic current."""
        return *super().start(zeros), zeros

    def step(self, states, current):
        """One step."""
        s, u, a = states
        a = self.alpha * a + current
        return *super().step((s, u), a), a

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"alpha": self.alpha}


@keras.saving.register_keras_serializable("recipes")
class Adaptive(LIF):
    """LIF neurons that tire: each spike raises the threshold for a while (Bellec et al. 2018).

    a[t] = rho a[t-1] + (1 - rho) S[t-1],    B[t] = threshold + strength a[t],
    U[t] = beta U[t-1] + I[t] - S[t-1] B[t-1],    S[t] = 1 where U[t] > B[t], else 0

    Args:
        rho: what is left of the adaptation after a step, in (0, 1].
        strength: of the adaptation.
        **kwargs: those of `LIF`.
    """

    def __init__(self, rho=0.95, strength=1.8, **kwargs):
        super().__init__(**kwargs)
        check(number_in(rho, 0, 1), "rho", rho, "must be a number in (0, 1]")
        wanted = "must be a positive number"
        check(number_in(strength, 0, math.inf), "strength", strength, wanted)
        self.rho, self.strength = rho, strength

    def start(self, zeros):
        """Spike, membrane, adaptation."""
        return *super().start(zeros), zeros

    def step(self, states, current):
        """One step."""
        s, u, a = states
        u = self.integrate(u, s, current, self.threshold + self.strength * a)
        a = self.rho * a + (1.0 - self.rho) * s
        return fires(u - self.threshold - self.strength * a, self.surrogate), u, a

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"rho": self.rho, "strength": self.strength}


NEURONS = {"lif": LIF, "synaptic": Synaptic, "adaptive": Adaptive}


# Into spikes: values (n, ...) -> (n, num_steps, ...).


@keras.saving.register_keras_serializable("recipes")
class Direct(layers.Layer):
    """Each value as a current that stays: (n, ...) -> (n, num_steps, ...). Not spikes yet.

    The base of all encoders, which have to be given values in [0, 1].

    Args:
        num_steps: of time.
    """

    def __init__(self, num_steps, **kwargs):
        super().__init__(autocast=False, **kwargs)
        check_steps(num_steps)
        self.num_steps = num_steps

    def call(self, x):
        """The same at each step."""
        return ops.repeat(x[:, None], self.num_steps, axis=1)

    def compute_output_spec(self, x):
        """(n, num_steps, ...)."""
        dtype = x.dtype if type(self) is Direct else self.compute_dtype
        return keras.KerasTensor((x.shape[0], self.num_steps, *x.shape[1:]), dtype)

    def steps_like(self, x: Any) -> Any:
        """0, 1, ..., num_steps - 1, as float32 (num_steps, 1, ..., 1) that goes with x[:, None]."""
        t = ops.arange(self.num_steps, dtype="float32")
        return ops.reshape(t, (self.num_steps, *(1 for _ in x.shape[1:])))

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"num_steps": self.num_steps}


@keras.saving.register_keras_serializable("recipes")
class Rate(Direct):
    """Rate code: at each step a spike with the value as its probability, drawn anew in each call.

    Args:
        num_steps: of time.
        seed: of the draws; None: another one each time.
    """

    def __init__(self, num_steps, seed=None, **kwargs):
        super().__init__(num_steps, **kwargs)
        self.seed, self.seeds = seed, keras.random.SeedGenerator(seed)

    def call(self, x):
        """Independent draws (Bernoulli; in the limit of short steps, Poisson)."""
        shape = (ops.shape(x)[0], self.num_steps, *x.shape[1:])
        noise = keras.random.uniform(shape, seed=self.seeds, dtype="float32")
        return ops.cast(noise < ops.cast(x, "float32")[:, None], self.compute_dtype)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable("recipes")
class Latency(Direct):
    """Latency code (time to first spike): one spike for each value, sooner for larger ones.

    Linear: at step (num_steps - 1) (1 - x). Otherwise at tau ln(x / (x - threshold)), when a
    leaky membrane that x drives would reach the threshold, with such a tau that values just above
    it spike in the last step. Values below the threshold do not spike.

    Args:
        num_steps: of time.
        threshold: in (0, 1).
        linear: which of the two.
    """

    def __init__(self, num_steps, threshold=0.01, linear=True, **kwargs):
        super().__init__(num_steps, **kwargs)
        ok = number_in(threshold, 0, 1) and threshold < 1
        check(ok, "threshold", threshold, "must be a number in (0, 1)")
        self.threshold, self.linear = threshold, linear

    def times(self, x: Any) -> Any:
        """When each value spikes, (n, ...) float32, of values of at least the threshold."""
        last, x = self.num_steps - 1.0, ops.cast(x, "float32")
        if self.linear:
            return last * (1.0 - x)
        x, small = ops.maximum(x, self.threshold + 1e-7), 1e-7
        tau = last / math.log((self.threshold + small) / small)
        return tau * ops.log(x / (x - self.threshold))

    def call(self, x):
        """One spike each."""
        now = ops.equal(ops.round(self.times(x))[:, None], self.steps_like(x))
        visible = ops.cast(x, "float32") >= self.threshold
        return ops.cast(ops.logical_and(now, visible[:, None]), self.compute_dtype)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"threshold": self.threshold, "linear": self.linear}


@keras.saving.register_keras_serializable("recipes")
class Binary(Direct):
    """Binary code: values of at least 0.5 spike at every step, the others never."""

    def call(self, x):
        """All or none."""
        return ops.repeat(ops.cast(x >= 0.5, self.compute_dtype)[:, None], self.num_steps, axis=1)


@keras.saving.register_keras_serializable("recipes")
class Temporal(Direct):
    """Fully temporal code: the time of every spike tells the value, and no time is left to chance.

    The spikes of an IF neuron whose current is the value: evenly spaced, 1 / x steps apart.
    """

    def call(self, x):
        """floor((t + 1) x) - floor(t x)."""
        x = ops.cast(x, "float32")[:, None] + 1e-6  # 10 steps of 0.1 are a spike
        t = self.steps_like(x[:, 0])
        return ops.cast(ops.floor((t + 1) * x) - ops.floor(t * x), self.compute_dtype)


ENCODERS = {
    "direct": Direct, "rate": Rate, "latency": Latency, "binary": Binary, "temporal": Temporal,
}  # fmt: skip


# Through time and out of it.


@keras.saving.register_keras_serializable("recipes")
class EachStep(layers.Wrapper):
    """A layer for each step, as for more examples: (n, num_steps, ...) -> (n, num_steps, ...).

    All steps are one call, and so one large matrix product.
    """

    def call(self, x, training=False):
        """Time joins the examples, and parts from them again."""
        found = self.layer(ops.reshape(x, (-1, *x.shape[2:])), training=training)
        return ops.reshape(found, (-1, x.shape[1], *found.shape[1:]))

    def build(self, input_shape=None):
        """The layer's weights."""
        super().build((None, *input_shape[2:]))

    def compute_output_shape(self, input_shape):
        """(n, num_steps, ...)."""
        inner = self.layer.compute_output_shape((None, *input_shape[2:]))
        return (*input_shape[:2], *inner[1:])


def first_spikes(spikes: Any) -> Any:
    """Steps before each neuron's first spike: (n, num_steps, ...) -> (n, ...) float32.

    num_steps, where it never fires. Gradients go through the spikes up to the first one.
    """
    silent, total = 1.0, 0.0
    for s in ops.unstack(ops.cast(spikes, "float32"), spikes.shape[1], axis=1):
        silent = silent * (1.0 - s)  # 1 until the first spike, 0 from then on
        total = total + silent
    return total


READOUTS = {
    "count": lambda x: ops.sum(x, axis=1),
    "first_spike": lambda x: -first_spikes(x),
    "membrane": lambda x: ops.max(x, axis=1),
    "mean_membrane": lambda x: ops.mean(x, axis=1),
}


@keras.saving.register_keras_serializable("recipes")
class Readout(layers.Layer):
    """Logits, float32, from the last neurons over time: (n, num_steps, classes) -> (n, classes).

    Args:
        readout: "count": of spikes; "first_spike": the sooner, the larger, -(steps before it);
            "membrane": its maximum over time; "mean_membrane".
    """

    def __init__(self, readout="count", **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if readout not in READOUTS:
            raise unknown("readout", readout, READOUTS)
        self.readout = readout

    def call(self, x):
        """The logits."""
        return READOUTS[self.readout](x)

    def compute_output_shape(self, input_shape):
        """(n, classes)."""
        return (input_shape[0], *input_shape[2:])

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"readout": self.readout}
