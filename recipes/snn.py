"""Spiking networks: neurons that say all they have to say in spikes, over time.

A neuron adds up what comes in and forgets some of it at each step. When its membrane passes a
threshold it fires, once, and starts lower again:

    U[t] = beta U[t-1] + I[t] - S[t-1] threshold,    S[t] = 1 where U[t] > threshold, else 0

What a spike is worth is a sum of weights, not a product: where nothing fires, nothing is computed.

Papers:
    Neftci, Mostafa & Zenke 2019, Surrogate gradient learning in spiking neural networks; Eshraghian
    et al. 2023, Training spiking neural networks using lessons from deep learning (snnTorch;
    `dense` and `convolutional` are the networks of its tutorials). Learning is back-propagation
    through time; at a spike the slope of a smoother step stands in for the step's own.
    Bellec et al. 2018, Long short-term memory and learning-to-learn in networks of spiking neurons
    (`adaptive`: a threshold that each spike raises).
    Diehl & Cook 2015, Unsupervised learning of digit recognition using spike-timing-dependent
    plasticity (`diehl_cook`; constants of their published code).
    Oja 1982, A simplified neuron model as a principal component analyzer (`hebbian`).
    Bohte, Kok & La Poutre 2002, Error-backpropagation in temporally encoded networks of spiking
    neurons (`spikeprop`: exact spike times).
    Diehl et al. 2015, Fast-classifying, high-accuracy spiking deep networks; Rueckauer et al. 2017,
    Conversion of continuous-valued deep networks (`convert`).

Differences:
    `dense` and `convolutional` feed the image as a constant current, so that the first layer is
    computed once for all steps; and learn from the maximum of membranes that do not fire, not from
    the loss of each step. Membranes are Euler's steps of length 1, reset one step behind a spike as
    in snnTorch. `adaptive` has no recurrent connections, and its surrogate is not damped.
    `diehl_cook`: the examples of a batch are each shown to a copy of the network, and what the
    copies learn is added up when the batch is over (Saunders et al. 2019 do alike), so that weights
    stand still within a presentation; steps are 1 ms (0.5 in the code), which solve the membrane
    exactly for conductances that stand still (Euler's in the code, which blows up at 1 ms when
    hundreds of neurons fire at once); each presentation starts at rest, so that the 150 ms between
    two pass without simulation; synapses have no delays; neurons are named by the spikes with which
    they learnt. `hebbian` competes: for each example the neuron with the strongest drive learns,
    with a conscience (DeSieno 1988) that lets each win its share. `spikeprop` on images has one
    delay, not 16, and the loss is the cross-entropy of the classes' spike times (Mostafa 2017); a
    neuron that stays silent counts as one that fires after the end, the later the lower its highest
    membrane.
"""

import math
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe, unknown
from recipes.data.core import Rows
from recipes.layers.spiking import (
    ENCODERS,
    LIF,
    NEURONS,
    READOUTS,
    SURROGATES,
    Direct,
    EachStep,
    Latency,
    Readout,
    check_spikes,
    check_steps,
    number_in,
)
from recipes.training.conversion import spiking_tensors
from recipes.training.optimizers import make_optimizer
from recipes.training.stdp import DiehlCook, Hebbian

KINDS = ("images",)
OBJECTIVE = ("val_accuracy", "max")
EPOCHS = 15

LEARNING = ("surrogate", "stdp", "hebbian", "spikeprop")


@keras.saving.register_keras_serializable("recipes")
class Spiking(keras.Model):
    """A network of spiking neurons that can be looked into: (n, ...) -> logits (n, num_classes)."""

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`.

        Raises:
            ValueError: the first examples have another shape, values that the encoder does not
                take, or are no spikes where there is no encoder.
        """
        self.check_examples(x)
        return super().fit(x, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """As `keras.Model.predict`."""
        self.check_examples(x)
        return super().predict(x, *args, **kwargs)

    @property
    def encoder(self) -> Direct | None:
        """The layer that gives the inputs a time; None where they are spikes already."""
        return next((layer for layer in self.layers if isinstance(layer, Direct)), None)

    def check_examples(self, x: Any) -> None:
        """Raise where the first examples of x, an array or a `PyDataset`, do not fit."""
        first = x[0][0] if isinstance(x, keras.utils.PyDataset) else x
        if not isinstance(first, np.ndarray) or not first.size:
            return  # a tensor or a generator; not worth a look ahead
        wanted, some = f"this model takes {self.input_shape}", first[:128]
        shape = tuple(self.input_shape[1:])
        check(first.shape[1:] == shape, "x", f"array of shape {first.shape}", wanted)
        if self.encoder is None:
            check_spikes(some, "x")
        elif type(self.encoder) is not Direct:
            low, high = float(some.min()), float(some.max())
            code = type(self.encoder).__name__.lower()
            wanted = f"the {code} code takes values in [0, 1]"
            check(low >= 0 and high <= 1, "x", f"values in {low:g} .. {high:g}", wanted)

    @property
    def neurons(self) -> list[LIF]:
        """The layers that fire."""
        found = [layer for layer in self.layers if isinstance(layer, LIF)]
        return [layer for layer in found if layer.returns == "spikes"]

    def trace(self, x: np.ndarray, batch_size: int = 128) -> dict[str, tuple]:
        """What happens in each layer of neurons over time.

        Returns:
            Name to (spikes, membranes), float32 (n, num_steps, ...), of the layers in order; a last
            layer that only adds up has spikes of None.
        """
        layers_ = [layer for layer in self.layers if isinstance(layer, LIF)]
        check(layers_, "model", self.name, "has no neurons that go step by step")
        inner = keras.Model(self.inputs, [layer.input for layer in layers_])
        currents = inner.predict(Rows(np.asarray(x, "float32"), batch_size), verbose=0)
        found = {}
        for layer, current in zip(layers_, keras.tree.flatten(currents), strict=True):
            spikes, membranes, *_ = map(ops.convert_to_numpy, layer.states(current))
            found[layer.name] = (None if layer.returns == "membranes" else spikes, membranes)
        return found

    def statistics(self, x: np.ndarray, batch_size: int = 128) -> list[dict[str, Any]]:
        """What an example costs, on average over x: a row for each layer of weights.

        Returns:
            Rows of "layer"; "spikes" that come in for an example; "operations": additions of a
            weight that they cause, spikes x fan-out (multiplications, where values come in); and
            "multiply_adds" of the same layer in a network without time. Convolutions are counted as
            if every value had the mean fan-out.
        """
        weighted = []
        for layer in self.layers:
            inner = layer.layer if isinstance(layer, EachStep) else layer
            if isinstance(inner, layers.Dense | layers.Conv2D):
                weighted.append((layer, inner))
        check(weighted, "model", self.name, "has no layers of weights that go step by step")
        counts = [
            ops.count_nonzero(layer.input, axis=tuple(range(1, len(layer.input.shape))))
            for layer, _ in weighted
        ]
        found = keras.Model(self.inputs, counts).predict(
            Rows(np.asarray(x, "float32"), batch_size), verbose=0
        )
        rows = []
        for (layer, inner), came in zip(weighted, keras.tree.flatten(found), strict=True):
            timed = isinstance(layer, EachStep)
            places = math.prod(layer.output.shape[2 if timed else 1 : -1])  # of a kernel
            multiply_adds = math.prod(inner.kernel.shape) * places
            spikes = float(np.mean(came)) if timed else 0.0
            share = spikes / math.prod(layer.input.shape[2:]) if timed else 1.0
            rows.append({"layer": inner.name, "spikes": spikes, "operations": share * multiply_adds,
                         "multiply_adds": multiply_adds})  # fmt: skip
        return rows


NEVER = 1e4  # the time of a spike that does not come


@keras.saving.register_keras_serializable("recipes")
class Times(Latency):
    """Values in [0, 1] -> times of their only spike, float32 (n, ...), as `Latency` sets them."""

    def call(self, x):
        """`NEVER`, below the threshold."""
        return ops.where(ops.cast(x, "float32") >= self.threshold, self.times(x), NEVER)

    def compute_output_spec(self, x):
        """As it came, float32."""
        return keras.KerasTensor(x.shape, "float32")


@keras.saving.register_keras_serializable("recipes")
class SpikeTimes(layers.Layer):
    """Neurons that fire once: times of spikes (n, inputs) -> times of spikes (n, units), float32.

    V_j(t) = sum_i sum_k w_ijk e(t - t_i - k),    e(s) = s / tau exp(1 - s / tau) for s > 0, else 0

    Neuron j fires where V_j first passes 1. The time is found on a grid of steps of 1 / `grid`,
    between two of them, and then by a step of Newton's method; its gradients are those of the
    implicit function, dt_j / dw = -(dV_j / dw) / V_j'(t_j) (Bohte et al. 2002, equation 12).

    Args:
        units: neurons.
        num_steps: time at the end; a neuron that is silent until then counts as firing later, by
            as much as its highest V lacks.
        num_delays: synapses of each pair, with delays of 0 .. num_delays - 1.
        tau: time constant of a synapse.
        grid: steps in a unit of time.
        gain: of the initial weights.
    """

    SLOPE = 0.1  # of V at least, where it is divided by; it is 0 where a peak only just passes

    def __init__(self, units, num_steps, num_delays=1, tau=7.0, grid=2, gain=3.0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.units, self.num_steps, self.num_delays = units, num_steps, num_delays
        self.tau, self.grid, self.gain = tau, grid, gain

    def build(self, input_shape):
        """Weights (num_delays inputs, units), most of them positive, so that neurons fire."""
        size = input_shape[-1] * self.num_delays
        self.kernel = self.add_weight(
            name="kernel", shape=(size, self.units),
            initializer=keras.initializers.RandomUniform(-self.gain / size, 3 * self.gain / size),
        )  # fmt: skip

    def potential(self, since: Any) -> tuple[Any, Any]:
        """e(s) and its derivative, of any shape."""
        s = ops.maximum(since, 0.0) / self.tau
        fade = ops.exp(1.0 - s)
        return s * fade, ops.where(since > 0, (1.0 - s) * fade / self.tau, 0.0)

    def call(self, times):
        """When each neuron fires."""
        delays = ops.arange(self.num_delays, dtype="float32")
        came = times[:, :, None] + delays  # (n, inputs, delays)
        came = ops.reshape(came, (-1, self.kernel.shape[0]))
        # Where V first passes 1 on the grid, or is highest. No gradient goes this way.
        still, w = ops.stop_gradient(came), ops.stop_gradient(self.kernel)
        t = ops.arange(self.num_steps * self.grid + 1, dtype="float32") / self.grid
        v = ops.matmul(self.potential(t[None, :, None] - still[:, None])[0], w)  # (n, grid, units)
        passed = v >= 1.0
        fired = ops.any(passed, axis=1)
        at = ops.where(fired, ops.argmax(passed, axis=1), ops.argmax(v, axis=1))
        # Between there and the step before, as if V were straight.
        here, last = (ops.take_along_axis(v, ops.maximum(i, 0)[:, None], axis=1)[:, 0]
                      for i in (at, at - 1))  # fmt: skip
        back = (here - 1.0) / ops.maximum(here - last, 1e-6)
        at = (ops.cast(at, "float32") - ops.where(fired, ops.minimum(back, 1.0), 0.0)) / self.grid
        # V there, as a function of weights and times: (n, inputs, units)
        e, slope = self.potential(at[:, None] - came[:, :, None])
        v = ops.sum(e * self.kernel, axis=1)
        rise = ops.sum(ops.stop_gradient(slope) * w, axis=1)
        exact = at - (v - 1.0) / ops.maximum(rise, self.SLOPE)
        return ops.where(fired, exact, self.num_steps + (1.0 - v) * self.tau)

    def compute_output_shape(self, input_shape):
        """(n, units)."""
        return (input_shape[0], self.units)

    def get_config(self):
        """The constructor's arguments."""
        names = ("units", "num_steps", "num_delays", "tau", "grid", "gain")
        return super().get_config() | {name: getattr(self, name) for name in names}


VARIANTS = {
    "dense": {},
    "convolutional": {"filters": (12, 64), "units": ()},
    "adaptive": {"neuron": "adaptive"},
    "synaptic": {"neuron": "synaptic", "beta": 0.5},
    "latency": {"encoder": "latency"},
    "diehl_cook": {"learning": "stdp", "units": (100,), "num_steps": 350, "learning_rate": 0.01},
    "hebbian": {"learning": "hebbian", "units": (100,), "num_steps": 50, "learning_rate": 0.1},
    "spikeprop": {"learning": "spikeprop", "units": (100,), "num_steps": 20},
    "tiny": {"units": (32,), "num_steps": 10},
}


@recipe(VARIANTS)
def build_model(
    variant: str = "dense",
    *,
    input_shape: tuple[int, ...] = (28, 28, 1),
    num_classes: int = 10,
    learning: str = "surrogate",
    filters: tuple[int, ...] = (),
    kernel_size: int = 5,
    units: tuple[int, ...] = (1000,),
    num_steps: int = 25,
    encoder: str = "direct",
    neuron: str = "lif",
    beta: float = 0.9,
    threshold: float = 1.0,
    reset: str = "subtract",
    surrogate: str = "arctan",
    readout: str = "membrane",
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 1e-3,
    seed: int | None = None,
) -> keras.Model:
    """A compiled spiking network: (n, *input_shape) -> logits (n, num_classes), float32.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (height, width, channels), or any other shape, which is flattened; with the
            encoder "spikes", (num_steps, ...).
        num_classes: number of logits.
        learning: "surrogate": back-propagation through time; "stdp" (Diehl & Cook), "hebbian"
            (Oja's rule): without labels, one layer of `units` that are named after the classes;
            "spikeprop": by gradients of spike times.
        filters: of each convolution, which an average pooling follows; of "surrogate" alone.
        kernel_size: of all convolutions.
        units: of each hidden dense layer.
        num_steps: of time; of "stdp", in ms.
        encoder: values to spikes, of "surrogate": "direct" (the value as a constant current),
            "rate" (Bernoulli draws), "latency" (one spike, sooner for larger values), "binary",
            "temporal" (evenly spaced, fully temporal), or "spikes": the inputs are such already.
        neuron: "lif", "if" (nothing leaks), "adaptive" (a threshold that rises), or "synaptic" (a
            current that lasts); of "surrogate".
        beta: share of a membrane that is left after a step, in (0, 1]; of "surrogate".
        threshold: of a membrane; likewise.
        reset: after a spike: "subtract" the threshold, to "zero", or "none"; likewise.
        surrogate: slope of a spike: "fast_sigmoid", "arctan" or "triangular".
        readout: the last layer's "membrane" (maximum over time) or "mean_membrane", which then
            does not fire; or its "count" of spikes or its "first_spike", whose gradients fade far
            below the threshold; of "surrogate".
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer; of gradients.
        learning_rate: a number or a schedule; of "stdp" and "hebbian", a number.
        seed: of the initial weights and of all draws.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    check_steps(num_steps)
    wanted = "must be a tuple of integers, such as "
    for name, value, such in (("units", units, "(1000,)"), ("filters", filters, "(12, 32)")):
        ok = isinstance(value, tuple | list) and all(isinstance(n, Integral) for n in value)
        check(ok, name, value, wanted + such)
    if learning not in LEARNING:
        raise unknown("learning", learning, LEARNING)
    name = f"snn_{variant}"
    if learning == "surrogate":
        model = _surrogate(
            name, input_shape, num_classes, filters, kernel_size, units, num_steps, encoder,
            neuron, beta, threshold, reset, surrogate, readout, seed,
        )  # fmt: skip
    else:
        check(not filters, "filters", filters, f"the learning {learning!r} has no convolutions")
    if learning == "spikeprop":
        x = inputs = keras.Input(input_shape)
        x = Times(num_steps, name="times")(x)
        x = layers.Flatten(dtype="float32")(x)
        gain = 12.0  # most pixels of a digit never fire
        for i, width in enumerate(units, 1):
            x, gain = SpikeTimes(width, 2 * num_steps, gain=gain, name=f"spikes_{i}")(x), 3.0
        x = SpikeTimes(num_classes, 3 * num_steps, gain=gain, name="spikes")(x)
        x = layers.Rescaling(-1.0, name="logits", dtype="float32")(x)  # the sooner, the likelier
        model = Spiking(inputs, x, name=name)
    elif learning in ("stdp", "hebbian"):
        check(len(units) == 1, "units", units, f"the learning {learning!r} has one layer")
        rate = isinstance(learning_rate, int | float)
        wanted = f"the learning {learning!r} takes a number"
        check(rate, "learning_rate", learning_rate, wanted)
        cls = DiehlCook if learning == "stdp" else Hebbian
        model = cls(input_shape, num_classes, units[0], learning_rate, num_steps, seed=seed,
                    name=name)  # fmt: skip
        optimizer = "sgd"  # only counts the batches
    _compile(model, make_optimizer(optimizer, learning_rate))
    return model


def _compile(model: keras.Model, optimizer: str | keras.optimizers.Optimizer) -> None:
    """For classes as integers."""
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def _surrogate(name, input_shape, num_classes, filters, kernel_size, units, num_steps, encoder,
               neuron, beta, threshold, reset, surrogate, readout, seed) -> Spiking:  # fmt: skip
    """Encoder -> (weights -> neurons) of each layer -> readout."""
    for what, value, known in (("encoder", encoder, (*ENCODERS, "spikes")), ("neuron", neuron,
                               (*NEURONS, "if")), ("readout", readout, READOUTS)):  # fmt: skip
        if value not in known:
            raise unknown(what, value, known)
    last = input_shape if encoder != "spikes" else input_shape[1:]
    wanted = "convolutions need (height, width, channels)"
    check(not filters or len(last) == 3, "input_shape", input_shape, wanted)
    if encoder == "spikes":
        check(len(last) >= 1, "input_shape", input_shape, "spikes need (num_steps, ...)")
    if neuron == "if":
        neuron, beta = "lif", 1.0

    def fire(x, name):
        return NEURONS[neuron](beta=beta, threshold=threshold, reset=reset, surrogate=surrogate,
                               name=name)(x)  # fmt: skip

    conv = [layers.Conv2D(n, kernel_size, name=f"conv_{i}") for i, n in enumerate(filters, 1)]
    dense = [layers.Dense(n, name=f"dense_{i}") for i, n in enumerate((*units, num_classes), 1)]
    x = inputs = keras.Input(input_shape)
    timed = encoder != "direct"
    if encoder == "rate":
        x = ENCODERS[encoder](num_steps, seed, name=encoder)(x)
    elif timed and encoder != "spikes":
        x = ENCODERS[encoder](num_steps, name=encoder)(x)

    def each(layer, x):
        return EachStep(layer, name=f"{layer.name}_each_step")(x) if timed else layer(x)

    for i, layer in enumerate([*conv, *dense]):
        if layer is dense[0] and len(x.shape) > 2 + timed:
            x = each(layers.Flatten(name="flatten"), x)
        x = each(layer, x)
        if layer in conv:
            x = each(layers.MaxPooling2D(2, name=f"pool_{i + 1}"), x)
        if not timed:  # the values' currents stay the same: once will do for all steps
            x, timed = Direct(num_steps, name="direct")(x), True
        if layer is not dense[-1]:
            x = fire(x, f"neurons_{i + 1}")
    if readout in ("count", "first_spike"):
        x = fire(x, "neurons")
    else:
        x = LIF(beta=beta, reset="none", returns="membranes", name="membranes")(x)
    return Spiking(inputs, Readout(readout, name="logits")(x), name=name)


def convert(
    model: keras.Model, data: Any, num_steps: int = 100, percentile: float = 99.9
) -> Spiking:
    """A trained network of ReLUs as a spiking one that needs no training.

    Takes networks such as those of `recipes.dnn` and `recipes.cnn` with the activation "relu":
    dense layers and convolutions, batch normalisation before the ReLU, average pooling, dropout.
    Rates have an error of up to 1 / num_steps: with enough steps its classes are the network's.

    Args:
        model: a chain of such layers that ends in logits.
        data: a `Data`, whose training part is measured, or an array of inputs.
        num_steps: of time.
        percentile: of a layer's activations on the data that a spike at each step stands for.

    Returns:
        A compiled `Spiking` of IF neurons, (n, *input_shape) -> logits (n, num_classes).

    Raises:
        ValueError: the network has another layer, such as maximum pooling, or is no chain.
    """
    check_steps(num_steps)
    wanted = "must be a number in (0, 100]"
    check(number_in(percentile, 0, 100), "percentile", percentile, wanted)
    check(isinstance(model, keras.Model), "model", type(model).__name__, "must be a Keras model")
    x = data.train.sample(1000)[0] if hasattr(data, "train") else np.asarray(data, "float32")
    wanted = f"needs inputs {tuple(model.input_shape)}"
    check(x.shape[1:] == tuple(model.input_shape[1:]), "data", f"array of shape {x.shape}", wanted)
    found = Spiking(*spiking_tensors(model, x, num_steps, percentile), name=f"{model.name}_spiking")
    _compile(found, "adam")
    return found


def load_data(source: object = "mnist5k", *, batch_size: int = 128, seed: int = 0, **options):
    """5,000 of MNIST's digits, another embedded set, a TensorFlow Datasets name, or images.

    See `recipes.data.images.load` for all sources and options. Values are in [0, 1], as encoders
    need them (`standardize=False`).

    Returns:
        `Data` of x float32 (n, height, width, channels) and labels int32 (n,).
    """
    options = {"standardize": False, **options}
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    num_layers = hp.Int("num_layers", 1, 3, default=1)
    width = hp.Choice("units", [128, 256, 512, 1000], default=1000)
    return {
        "units": (width,) * num_layers,
        "num_steps": hp.Choice("num_steps", [5, 10, 25, 50], default=25),
        "neuron": hp.Choice("neuron", ["lif", "adaptive", "synaptic"], default="lif"),
        "beta": hp.Choice("beta", [0.5, 0.8, 0.9, 0.95, 0.99], default=0.9),
        "surrogate": hp.Choice("surrogate", list(SURROGATES), default="arctan"),
        "readout": hp.Choice("readout", ["count", "membrane"], default="membrane"),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "batch_size": hp.Choice("batch_size", [32, 64, 128, 256], default=128),
    }


def pictures(model: keras.Model, data) -> dict:
    """What a run shows: one example's spikes and membranes, the cost, what was learnt, mistakes."""
    from recipes.reports import spikes

    return spikes.pictures(model, data)
