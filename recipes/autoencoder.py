"""Autoencoders: a network that learns to repeat its input through a narrow or restrained code.

The encoder turns x into a code z of a few numbers, the decoder turns z back into x'; both learn
together, from the difference between x and x' alone. What is lost in x' is what the code has no
room for, and so an input unlike those seen in training comes back badly: the error tells it apart.

Papers:
    Hinton & Salakhutdinov 2006, Reducing the dimensionality of data with neural networks (`deep`:
    784-1000-500-250-30 and its mirror image, 2,837,314 parameters).
    Masci, Meier, Ciresan & Schmidhuber 2011, Stacked convolutional auto-encoders
    (`convolutional`).
    Vincent, Larochelle, Bengio & Manzagol 2008, Extracting and composing robust features with
    denoising autoencoders (`denoising`: x' from a spoilt x is compared with the whole x).
    Ng 2011, Sparse autoencoder, CS294A (`sparse`: a wide code whose units are mostly off).
    Rifai, Vincent, Muller, Glorot & Bengio 2011, Contractive auto-encoders (`contractive`).

Differences:
    All are trained as a whole by Adam from random weights: the paper of 2006 had to train layer by
    layer first (as `dbn` does). Hidden layers are rectified, but for `deep`, `sparse` and
    `contractive`, which keep the papers' logistic units. Weights of the decoder are its own, not
    the encoder's transposed, but for `contractive`, where the paper ties them.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from recipes.contract import check, recipe, unknown
from recipes.data.core import Rows
from recipes.data.images import load_unit
from recipes.layers.coders import check_sizes, decode, encode
from recipes.training.optimizers import make_optimizer
from recipes.training.unsupervised import Unsupervised

KINDS = ("images",)
OBJECTIVE = ("val_mse", "min")
EPOCHS = 30

LOSSES = ("mse", "crossentropy")
NOISES = ("none", "gaussian", "masking")


@keras.saving.register_keras_serializable("recipes")
class Autoencoder(Unsupervised):
    """Encoder and decoder: images in [0, 1] -> reconstructions in [0, 1], float32.

    Args:
        encoder: images -> codes (n, latent_dim).
        decoder: codes -> logits of images.
        reconstruction: loss between x and x', summed over an image: "mse" (squared error) or
            "crossentropy" (nats; each value is taken as a probability).
        noise: what x goes through before the encoder: "none"; "gaussian", of standard deviation
            `noise_level`; "masking", a share `noise_level` of the values set to 0.
        noise_level: see there.
        sparsity: mean activation of each code unit over a batch that is aimed at; None: any.
        sparsity_weight: of the sum over the code's units of KL(sparsity || mean activation).
        contraction: weight of the squared Frobenius norm of dz/dx; needs a code of one logistic
            layer.
    """

    networks = ("encoder", "decoder")
    numbers = ("reconstruction", "noise", "noise_level", "sparsity", "sparsity_weight",
               "contraction")  # fmt: skip

    def __init__(self, input_shape, encoder, decoder, reconstruction="mse", noise="none",
                 noise_level=0.0, sparsity=None, sparsity_weight=0.0, contraction=0.0,
                 **kwargs):  # fmt: skip
        super().__init__(input_shape, **kwargs)
        self.encoder, self.decoder, self.reconstruction = encoder, decoder, reconstruction
        self.noise, self.noise_level = noise, noise_level
        self.sparsity, self.sparsity_weight = sparsity, sparsity_weight
        self.contraction = contraction
        self.seeds = keras.random.SeedGenerator()
        self.mse = keras.metrics.Mean("mse")

    def call(self, x, training=False):
        """Reconstructions; in training x itself, since `compute_loss` does the work."""
        return x if training else ops.sigmoid(self.decoder(self.encoder(x)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Reconstruction loss of a batch, plus the penalties."""
        x = ops.convert_to_tensor(x)  # `train_on_batch` may give an array
        z = self.encoder(self.spoil(x), training=training)
        logits = self.decoder(z, training=training)
        error = ops.sum(ops.square(ops.sigmoid(logits) - x), (1, 2, 3))
        self.mse.update_state(error / math.prod(self.example_shape))
        if self.reconstruction == "crossentropy":
            error = ops.sum(ops.binary_crossentropy(x, logits, from_logits=True), (1, 2, 3))
        loss = ops.mean(error)
        z = ops.cast(z, "float32")
        if self.sparsity is not None:
            loss += self.sparsity_weight * bernoulli_divergence(self.sparsity, ops.mean(z, 0))
        if self.contraction:
            # dz_j/dx_i = z_j (1 - z_j) W_ij
            w = ops.cast(self.encoder.get_layer("code").kernel, "float32")
            slopes = ops.square(z * (1 - z))  # (n, latent_dim)
            norms = ops.sum(ops.square(w), 0)
            loss += self.contraction * ops.mean(ops.matmul(slopes, norms[:, None]))
        return loss

    def spoil(self, x):
        """x with noise: what the encoder of a denoising autoencoder sees."""
        if self.noise == "gaussian":
            return x + self.noise_level * keras.random.normal(ops.shape(x), seed=self.seeds)
        if self.noise == "masking":
            kept = keras.random.uniform(ops.shape(x), seed=self.seeds) >= self.noise_level
            return x * ops.cast(kept, x.dtype)
        return x

    def encode(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Images in [0, 1] -> codes (n, latent_dim), float32."""
        return self.encoder.predict(Rows(x, batch_size), verbose=0).astype("float32")

    def decode(self, z: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Codes (n, latent_dim) -> images in [0, 1], float32."""
        logits = self.decoder.predict(Rows(z, batch_size), verbose=0)
        return ops.convert_to_numpy(ops.sigmoid(logits))

    def anomaly_score(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """How unusual each image is, (n,): the mean squared error of its reconstruction."""
        found = self.predict(Rows(x, batch_size), verbose=0)
        return np.square(found - x).mean(axis=(1, 2, 3))


def bernoulli_divergence(target: float, means):
    """Sum over units of KL(Bernoulli(target) || Bernoulli(mean)), in nats (Ng 2011, section 3)."""
    means = ops.clip(means, 1e-6, 1 - 1e-6)
    return ops.sum(
        target * (math.log(target) - ops.log(means))
        + (1 - target) * (math.log(1 - target) - ops.log(1 - means))
    )


VARIANTS = {
    "dense": {},
    "deep": {"units": (1000, 500, 250), "latent_dim": 30, "activation": "sigmoid",
             "reconstruction": "crossentropy"},
    "convolutional": {"units": (), "filters": (16, 32)},
    "denoising": {"units": (), "latent_dim": 500, "noise": "masking", "noise_level": 0.25,
                  "reconstruction": "crossentropy"},
    "sparse": {"units": (), "latent_dim": 196, "code_activation": "sigmoid", "sparsity": 0.05,
               "sparsity_weight": 3.0},
    "contractive": {"units": (), "latent_dim": 300, "code_activation": "sigmoid",
                    "contraction": 0.1, "reconstruction": "crossentropy"},
    "tiny": {"units": (), "latent_dim": 8, "learning_rate": 1e-2},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "dense",
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    latent_dim: int = 32,
    units: tuple[int, ...] = (64,),
    filters: tuple[int, ...] = (),
    activation: str = "relu",
    code_activation: str = "linear",
    reconstruction: str = "mse",
    noise: str = "none",
    noise_level: float = 0.0,
    sparsity: float | None = None,
    sparsity_weight: float = 0.0,
    contraction: float = 0.0,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 2e-3,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `Autoencoder`: images (n, *input_shape) in [0, 1] -> reconstructions.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (height, width, channels).
        latent_dim: numbers in a code.
        units: of the encoder's dense layers before the code; the decoder mirrors them.
        filters: of convolutions before those, each of which halves height and width.
        activation: of the hidden layers.
        code_activation: of the code.
        reconstruction: the loss, summed over an image: "mse" or "crossentropy".
        noise: what the encoder's input goes through: "none", "gaussian" or "masking".
        noise_level: standard deviation of "gaussian", or the share of values that "masking" drops.
        sparsity: mean activation, in (0, 1), that each unit of a "sigmoid" code should have.
        sparsity_weight: of the penalty on another mean activation.
        contraction: weight of |dz/dx|^2, for a "sigmoid" code right behind the input.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        seed: of the initial weights and of the noise.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    check_sizes(input_shape, units=units, filters=filters)
    if reconstruction not in LOSSES:
        raise unknown("reconstruction", reconstruction, LOSSES)
    if noise not in NOISES:
        raise unknown("noise", noise, NOISES)
    highest = 1 if noise == "masking" else float("inf")
    for name, value, most in (("noise_level", noise_level, highest),
                              ("sparsity_weight", sparsity_weight, float("inf")),
                              ("contraction", contraction, float("inf"))):  # fmt: skip
        check(isinstance(value, int | float) and 0 <= value < most, name, value,
              f"must be a number in [0, {most:g})")  # fmt: skip
    ok = sparsity is None or (isinstance(sparsity, float) and 0 < sparsity < 1)
    check(ok, "sparsity", sparsity, "must be a number between 0 and 1, or None")
    logistic = code_activation == "sigmoid"
    check(sparsity is None or logistic, "sparsity", sparsity, "needs code_activation='sigmoid'")
    shallow = logistic and not units and not filters
    wanted = "needs code_activation='sigmoid', and no units and no filters before the code"
    check(not contraction or shallow, "contraction", contraction, wanted)

    x = keras.Input(input_shape)
    h = encode(x, units, filters, activation)
    z = layers.Dense(latent_dim, activation=code_activation, name="code")(h)
    encoder = keras.Model(x, z, name="encoder")
    z = keras.Input((latent_dim,))
    decoder = keras.Model(z, decode(z, input_shape, units, filters, activation), name="decoder")

    model = Autoencoder(
        input_shape, encoder, decoder, reconstruction=reconstruction, noise=noise,
        noise_level=noise_level, sparsity=sparsity, sparsity_weight=sparsity_weight,
        contraction=contraction, name=f"autoencoder_{variant}",
    )  # fmt: skip
    model.compile(optimizer=make_optimizer(optimizer, learning_rate))
    return model


def load_data(source: object = "mnist5k", *, batch_size: int = 32, seed: int = 0, **options):
    """5,000 of MNIST's digits, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options; labels are not needed.

    Returns:
        `Data` of x float32 (n, height, width, channels) in [0, 1].
    """
    return load_unit(source, KINDS, conditional=False, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`.

    Not of `latent_dim`: the longer the code, the smaller the error, down to none of a copy.
    """
    width = hp.Choice("units", [0, 32, 64, 128, 256, 512], default=64)
    return {
        "units": (width,) if width else (),
        "activation": hp.Choice("activation", ["relu", "gelu", "tanh"], default="relu"),
        "reconstruction": hp.Choice("reconstruction", list(LOSSES), default="mse"),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=2e-3),
        "batch_size": hp.Choice("batch_size", [16, 32, 64, 128], default=32),
    }


def pictures(model: Autoencoder, data) -> dict:
    """What a run shows: reconstructions of the test part, and its most unusual images."""
    from recipes.reports import plots

    x, seen = (data.test.sample(count)[0] for count in (2000, 12))
    shown = {"input": seen}
    if model.noise != "none":
        shown["spoilt"] = ops.convert_to_numpy(model.spoil(ops.convert_to_tensor(seen))).clip(0, 1)
    shown["output"] = model.predict(next(reversed(shown.values())), verbose=0)
    scores = model.anomaly_score(x)
    odd = np.argsort(-scores)[:24]
    return {
        "reconstructions": plots.pictures(np.concatenate([*shown.values()]), 12, rows=[*shown]),
        "most_unusual": plots.pictures(x[odd], 12, titles=[f"{s:.3f}" for s in scores[odd]]),
    }
