"""Restricted Boltzmann machines: a network of two layers that learns how probable an image is.

Each visible unit is a pixel, each hidden unit a feature that it looks for. The network gives every
image an energy, and so a probability, p(v) = exp(-F(v)) / Z: learning lowers the free energy F of
the data and raises that of what the network itself dreams of, until the two cannot be told apart.

Papers:
    Smolensky 1986, Information processing in dynamical systems: foundations of harmony theory.
    Hinton 2002, Training products of experts by minimizing contrastive divergence (`cd1`, `cd25`:
    the dreams start at the data, and end after 1 or 25 steps).
    Tieleman 2008, Training restricted Boltzmann machines using approximations to the likelihood
    gradient (`pcd`: the dreams go on where those of the last batch ended).
    Hinton & Salakhutdinov 2006, Reducing the dimensionality of data with neural networks
    (`gaussian`: pixels of any value, with unit variance).
    Salakhutdinov & Murray 2008, On the quantitative analysis of deep belief networks (log Z; 500
    hidden units).
    Hinton 2010, A practical guide to training restricted Boltzmann machines (initial weights and
    biases, learning rates).

Differences:
    The learning rate and the momentum are constant, the papers' are not; for the best likelihood
    give a schedule that falls to 0 (on 3,500 digits it gave `pcd` 13 nats). Visible units are drawn
    in the negative phase, where the guide allows their means. The loss that `fit` shows is the
    reconstruction error, as in the guide: contrastive divergence is not the gradient of any
    function, and the likelihood needs log Z. It tells that learning goes well, but not which of two
    machines is the better one; `log_likelihood` does.
"""

import math
from dataclasses import replace
from numbers import Integral

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data.core import Rows
from recipes.data.images import load_unit
from recipes.layers.boltzmann import VISIBLE, Boltzmann, first_examples, log_partition, run_chains
from recipes.training.optimizers import make_optimizer
from recipes.training.unsupervised import Unsupervised

KINDS = ("images",)
OBJECTIVE = ("val_reconstruction_error", "min")
EPOCHS = 30


@keras.saving.register_keras_serializable("recipes")
class RBM(Unsupervised):
    """A machine that learns: images -> mean-field reconstructions, float32.

    Args:
        encoder: images -> probabilities of the hidden units, by a layer "machine".
        gibbs_steps: of the negative phase.
        num_chains: that the negative phase goes on with; 0: it starts at the data.
    """

    networks = ("encoder",)
    numbers = ("gibbs_steps", "num_chains")

    def __init__(self, input_shape, encoder, gibbs_steps=1, num_chains=0, **kwargs):
        super().__init__(input_shape, **kwargs)
        self.encoder, self.gibbs_steps, self.num_chains = encoder, gibbs_steps, num_chains
        self.value_range = (0.0, 1.0) if self.machine.visible == "binary" else None
        self.reconstruction_error = keras.metrics.Mean("reconstruction_error")
        self.chains = None
        if num_chains:  # from 0, one step leads to pure noise: the first weights are small
            shape = (num_chains, math.prod(input_shape))
            self.chains = self.add_weight(
                name="chains", shape=shape, initializer="zeros", trainable=False
            )

    @property
    def machine(self) -> Boltzmann:
        """The layer that has the weights."""
        return self.encoder.get_layer("machine")

    def call(self, x, training=False):
        """Reconstructions; in training x itself, since `compute_loss` does the work."""
        if training:
            return x
        return ops.reshape(self.machine.reconstruct(self.flat(x)), (-1, *self.example_shape))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The reconstruction error; in training, with the gradient of contrastive divergence."""
        v = self.flat(x)
        if training:
            loss, error, chains = self.machine.contrastive_divergence(
                v, self.gibbs_steps, self.chains
            )
            if self.chains is not None:
                self.chains.assign(chains)
        else:
            error = self.machine.reconstruction_error(v)
            loss = ops.mean(error)
        self.reconstruction_error.update_state(error)
        return loss + sum(self.losses)

    def fit(self, x=None, *args, **kwargs):
        """As `Unsupervised.fit`; where nothing is learnt yet, the visible biases start at the data.

        Then visible units that no hidden one influences have the frequencies of the data (Hinton
        2010, section 8). From 0 most of the probability would stay with grey noise: contrastive
        divergence never goes there. Data that cannot be looked at ahead leaves the biases alone.
        """
        self.check_examples(x)
        seen = first_examples(x)
        if seen is not None and self.compiled and not int(self.optimizer.iterations):
            self.machine.visible_bias.assign(self.machine.bias_of(seen))
        return super().fit(x, *args, **kwargs)

    def flat(self, x):
        """(n, *input_shape) -> (n, visible), float32."""
        return ops.reshape(ops.cast(x, "float32"), (-1, math.prod(self.example_shape)))

    def reconstruct(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Images -> their mean-field reconstructions; the same as `predict`."""
        return self.predict(Rows(x, batch_size), verbose=0)

    def encode(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Images -> probabilities of the hidden units (n, units), float32."""
        return self.encoder.predict(Rows(x, batch_size), verbose=0)

    def generate(
        self, count: int, labels: None = None, seed: int = 0, gibbs_steps: int = 1000
    ) -> np.ndarray:
        """Dreams: images (count, *input_shape), the means of the pixels after Gibbs sampling.

        Args:
            count: images, each from a chain of its own that starts at noise.
            labels: must be None.
            seed: of all draws.
            gibbs_steps: that each chain takes.

        Raises:
            ValueError: labels, or a count or number of steps below 1.
        """
        self.chosen_labels(count, labels, seed)
        wanted = "must be a positive integer"
        check(isinstance(gibbs_steps, Integral) and gibbs_steps >= 1, "gibbs_steps", gibbs_steps,
              wanted)  # fmt: skip
        v, _ = run_chains(self.machine, count, np.ones(gibbs_steps + 1), seed=seed)
        return self.reconstruct(v.reshape(-1, *self.example_shape))

    def free_energy(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """F(x) = -log p(x) - log Z, (n,) float32, in nats."""
        parts = [
            self.machine.free_energy(self.flat(x[start : start + batch_size]))
            for start in range(0, len(x), batch_size)
        ]
        return np.concatenate([ops.convert_to_numpy(part) for part in parts])

    def anomaly_score(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """How unusual each image is, (n,): its free energy."""
        return self.free_energy(x, batch_size)

    def log_partition(
        self, x: np.ndarray | None = None, num_chains: int = 100, num_betas: int = 1000,
        seed: int = 0,
    ) -> tuple[float, float]:  # fmt: skip
        """Estimate log Z by annealed importance sampling (Salakhutdinov & Murray 2008).

        Args:
            x: images whose mean is that of the first distribution, from which the way to the
                machine's is shorter; None: the machine's own visible biases.
            num_chains: independent estimates that are averaged.
            num_betas: distributions on the way; the error falls with it.
            seed: of all draws.

        Returns:
            log Z in nats, and the standard error of the estimate.
        """
        check_vocabulary({"seed": seed})
        for name, value, least in (("num_chains", num_chains, 2), ("num_betas", num_betas, 1)):
            ok = isinstance(value, Integral) and value >= least
            check(ok, name, value, f"must be an integer of at least {least}")
        base = None if x is None else self.machine.bias_of(x)
        return log_partition(self.machine, base, num_chains, num_betas, seed)

    def log_likelihood(self, x: np.ndarray, log_z: float | None = None) -> np.ndarray:
        """log p(x) in nats, (n,) float64; of 0 or 1 a pixel, where the units are binary.

        Args:
            x: images (n, *input_shape).
            log_z: of `log_partition`; None: estimated as it is by default.
        """
        log_z = self.log_partition()[0] if log_z is None else log_z
        return -self.free_energy(x).astype("float64") - log_z


VARIANTS = {
    "cd1": {},
    "cd25": {"gibbs_steps": 25},
    "pcd": {"persistent": True, "momentum": 0.0},  # wants a learning rate that falls to 0
    "gaussian": {"visible": "gaussian", "learning_rate": 1e-3},
    "tiny": {"units": 32},
}


@recipe(VARIANTS)
def build_model(
    variant: str = "cd1",
    *,
    input_shape: tuple[int, ...] = (28, 28, 1),
    units: int = 500,
    visible: str = "binary",
    gibbs_steps: int = 1,
    persistent: bool = False,
    num_chains: int = 100,
    optimizer: str | keras.optimizers.Optimizer = "sgd",
    learning_rate: float = 0.05,
    momentum: float = 0.5,
    weight_decay: float = 2e-4,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `RBM`: images (n, *input_shape) -> reconstructions.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: of one example, as a rule (height, width, channels).
        units: hidden units.
        visible: kind of the visible units: "binary", for values in [0, 1], or "gaussian", for
            values of any range whose variance is about 1.
        gibbs_steps: of the negative phase: the k of CD-k.
        persistent: start the negative phase where the last one ended, not at the data.
        num_chains: of a persistent negative phase.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        momentum: of "sgd" and "rmsprop".
        weight_decay: L2 penalty (weight_decay / 2) |W|^2 on the kernel.
        seed: of the initial weights and of the sampling.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    if visible not in VISIBLE:
        raise unknown("visible", visible, VISIBLE)
    check(isinstance(persistent, bool), "persistent", persistent, "must be True or False")
    for name, value in (("units", units), ("gibbs_steps", gibbs_steps), ("num_chains", num_chains)):
        ok = isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
        check(ok, name, value, "must be a positive integer")

    x = keras.Input(input_shape)
    v = layers.Flatten(dtype="float32")(x)
    h = Boltzmann(units, visible, weight_decay=weight_decay, name="machine")(v)
    model = RBM(
        input_shape, keras.Model(x, h, name="encoder"), gibbs_steps=gibbs_steps,
        num_chains=num_chains if persistent else 0, name=f"rbm_{variant}",
    )  # fmt: skip
    model.compile(optimizer=make_optimizer(optimizer, learning_rate, momentum=momentum))
    return model


def load_data(source: object = "mnist5k", *, batch_size: int = 50, seed: int = 0, **options):
    """5,000 of MNIST's digits, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options; labels are not needed. By default
    each pixel is drawn once as 0 or 1 (`binarize="sample"`), as the likelihood of binary units
    needs it. For Gaussian units, `standardize=True` gives mean 0 and variance 1 instead.

    Returns:
        `Data` of x float32 (n, height, width, channels): 0 or 1, in [0, 1], or standardised.
    """
    common = {"batch_size": batch_size, "seed": seed}
    if options.get("standardize"):
        found = data.load(source, KINDS, **{"labelled": False, **common, **options})
        return replace(found, spec={"input_shape": found.spec["input_shape"]})
    options = {"binarize": "sample", **options}
    return load_unit(source, KINDS, conditional=False, **common, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`.

    Not of `gibbs_steps` and `persistent`: among those the reconstruction error is no judge.
    """
    return {
        "units": hp.Choice("units", [64, 128, 256, 500, 1000], default=500),
        "learning_rate": hp.Float("learning_rate", 5e-3, 0.2, sampling="log", default=0.05),
        "momentum": hp.Choice("momentum", [0.0, 0.5, 0.9], default=0.5),
        "weight_decay": hp.Choice("weight_decay", [0.0, 1e-5, 2e-4, 1e-3], default=2e-4),
        "batch_size": hp.Choice("batch_size", [20, 50, 100], default=50),
    }


def pictures(model: RBM, data) -> dict:
    """What a run shows: the features, dreams, and reconstructions of the test part."""
    from recipes.reports import plots

    x = data.test.transform(data.test.x[data.test.indices[:2000]])
    filters = ops.convert_to_numpy(model.machine.kernel).T.reshape(-1, *model.example_shape)
    strongest = np.argsort(-np.square(filters).sum(axis=(1, 2, 3)), kind="stable")[:60]
    shown = np.concatenate([x[:12], model.reconstruct(x[:12])])
    odd = x[np.argsort(-model.anomaly_score(x))[:24]]
    ends = (float(x.min()), float(x.max()))
    return {
        "filters": plots.pictures(filters[strongest], 12, value_range=None),
        "samples": plots.pictures(model.generate(36), 12, value_range=ends),
        "reconstructions": plots.pictures(shown, 12, rows=["input", "output"], value_range=ends),
        "most_unusual": plots.pictures(odd, 12, value_range=ends),
    }
