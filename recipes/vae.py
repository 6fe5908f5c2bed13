"""Variational autoencoders (VAE): a code with a distribution, and so a model that generates.

The encoder gives each image x not a point but a Gaussian q(z|x) in the space of codes; the
decoder gives each code z a distribution p(x|z) of images. Both learn from one number, a lower
bound of log p(x): how well x comes back from a code drawn from q(z|x), less how far q(z|x) is from
p(z) = N(0, I). A code drawn from p(z) then decodes to an image like those of the training part.

Papers:
    Kingma & Welling 2013, Auto-encoding variational Bayes (`kingma2013`: 784-500-20, 815,824
    parameters; equation 10 is the loss, figure 4 the picture of the plane).
    Higgins, Matthey, Pal et al. 2017, beta-VAE (`beta`: the divergence counts four times).
    Sohn, Lee & Yan 2015, Learning structured output representation using deep conditional
    generative models (`conditional`: both networks see the label).
    Burda, Grosse & Salakhutdinov 2015, Importance weighted autoencoders (equation 8:
    `log_likelihood_bound`).

Differences:
    Rectified units and Adam, with Glorot's initial weights and no prior on the weights; the paper's
    tanh and Adagrad are kept by `kingma2013`. A Gaussian p(x|z) has the logistic mean of the paper,
    but one fixed standard deviation, `pixel_std`, in place of a learned one for each pixel. p(z) of
    a conditional network does not depend on the label, as it may in the paper; its one-hot label is
    scaled to the length of a code, without which 5,000 digits are too few to learn to look at it.
"""

import math
from statistics import NormalDist

import keras
import numpy as np
from keras import layers, ops

from recipes.contract import check, recipe, unknown
from recipes.data.images import load_unit
from recipes.layers.coders import check_sizes, decode, encode
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import make_optimizer
from recipes.training.unsupervised import Unsupervised, beside

KINDS = ("images",)
OBJECTIVE = ("val_loss", "min")
EPOCHS = 50

LIKELIHOODS = ("bernoulli", "gaussian")
SCORE_SAMPLES = 16  # codes an image, for its anomaly score


@keras.saving.register_keras_serializable("recipes")
class VAE(Unsupervised):
    """Encoder and decoder: images in [0, 1] -> reconstructions in [0, 1], float32.

    `fit` and `evaluate` report, in nats an image, from one code drawn for each: "reconstruction",
    -log p(x|z); "kl", KL(q(z|x) || p(z)); and "loss", reconstruction + beta * kl. With beta 1 that
    is the negative evidence lower bound (ELBO): -log p(x) is at most as high.

    Args:
        encoder: images -> mean and log variance of q(z|x), (n, latent_dim) each.
        decoder: codes (n, latent_dim) -> logits of images.
        likelihood: p(x|z): "bernoulli", or "gaussian" about the logistic function of the logits.
        pixel_std: standard deviation of "gaussian".
        beta: weight of the divergence in the loss.

    With `num_classes`, both networks take one-hot labels (n, num_classes) as a second input.
    """

    xla_on_cpu = True
    networks = ("encoder", "decoder")
    numbers = ("likelihood", "pixel_std", "beta")

    def __init__(self, input_shape, encoder, decoder, likelihood="bernoulli", pixel_std=0.1,
                 beta=1.0, **kwargs):  # fmt: skip
        super().__init__(input_shape, **kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.likelihood, self.pixel_std, self.beta = likelihood, pixel_std, beta
        self.latent_dim = decoder.inputs[0].shape[-1]
        self.seeds = keras.random.SeedGenerator()
        self.reconstruction = keras.metrics.Mean("reconstruction")
        self.kl = keras.metrics.Mean("kl")

    def call(self, x, training=False):
        """Reconstructions from the means of q(z|x); in training x itself, see `compute_loss`."""
        if training:
            return x
        x = ops.convert_to_tensor(x)
        c = self.condition(None, x)
        mean, _ = self.encoder(beside(x, c))
        return ops.sigmoid(self.decoder(beside(mean, c)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """-ELBO of a batch, the divergence weighted by beta (Kingma 2013, equation 10, L = 1)."""
        x = ops.convert_to_tensor(x)  # `train_on_batch` may give an array
        c = self.condition(y, x, training)
        mean, log_variance = self.encoder(beside(x, c), training=training)
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        z = mean + ops.exp(log_variance / 2) * noise
        error = -self.log_likelihood(x, self.decoder(beside(z, c), training=training))
        divergence = gaussian_divergence(mean, log_variance)
        self.reconstruction.update_state(error)
        self.kl.update_state(divergence)
        return ops.mean(error + self.beta * divergence)

    def log_likelihood(self, x, logits):
        """log p(x|z) in nats: images and logits (n, height, width, channels) -> (n,)."""
        if self.likelihood == "bernoulli":  # x log p + (1 - x) log(1 - p)
            terms = x * logits - ops.softplus(logits)
        else:
            error = (x - ops.sigmoid(logits)) / self.pixel_std
            terms = -ops.square(error) / 2 - math.log(self.pixel_std * math.sqrt(2 * math.pi))
        return ops.sum(terms, (1, 2, 3))

    def encode(
        self, x: np.ndarray, labels: object = None, batch_size: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of q(z|x), (n, latent_dim) each, float32.

        Args:
            x: images (n, *input_shape) in [0, 1].
            labels: of a conditional model, as in `generate`; without, each class counts the same.
            batch_size: images at a time.

        Raises:
            ValueError: images of another shape or range; labels that the model does not have.
        """
        self.check_examples(x)
        c = self.conditions(len(x), labels)
        mean, log_variance = _outputs(self.encoder, x, c, batch_size)
        return mean, np.exp(log_variance / 2)

    def decode(self, z: np.ndarray, labels: object = None, batch_size: int = 256) -> np.ndarray:
        """Codes (n, latent_dim) -> the means of p(x|z), images in [0, 1], float32."""
        z = np.asarray(z, "float32")
        wanted = f"this model takes codes of shape (n, {self.latent_dim})"
        check(z.shape[1:] == (self.latent_dim,), "z", f"array of shape {z.shape}", wanted)
        (logits,) = _outputs(self.decoder, z, self.conditions(len(z), labels), batch_size)
        return ops.convert_to_numpy(ops.sigmoid(logits))

    def reconstruct(
        self, x: np.ndarray, labels: object = None, batch_size: int = 256
    ) -> np.ndarray:
        """What `predict` gives, but with the labels of a conditional model."""
        return self.decode(self.encode(x, labels, batch_size)[0], labels, batch_size)

    def generate(
        self, count: int, labels: object = None, seed: int = 0, batch_size: int = 256
    ) -> np.ndarray:
        """New images (count, *input_shape) in [0, 1], float32: the means of p(x|z), z from p(z).

        Args:
            count: number of images.
            labels: of a conditional model: one for all, one each, or None: all classes in turn.
            seed: of the codes, the same for every backend and batch size.
            batch_size: images at a time.

        Raises:
            ValueError: labels for a model that has none, or labels that do not exist.
        """
        labels = self.chosen_labels(count, labels, seed)
        z = np.random.default_rng(seed).standard_normal((count, self.latent_dim), "float32")
        return self.decode(z, labels, batch_size)

    def interpolate(
        self, a: np.ndarray, b: np.ndarray, steps: int = 10, labels: object = None
    ) -> np.ndarray:
        """Images (steps, *input_shape) on the straight line of codes from image a to image b.

        Args:
            a: an image, input_shape.
            b: another.
            steps: images, with those of the codes of a and b themselves.
            labels: of a conditional model: one for all.
        """
        check(isinstance(steps, int) and steps >= 2, "steps", steps, "must be at least 2")
        first, last = self.encode(np.stack([a, b]), labels)[0]
        share = np.linspace(0, 1, steps, dtype="float32")[:, None]
        return self.decode((1 - share) * first + share * last, labels)

    def log_likelihood_bound(
        self, x: np.ndarray, k: int = 500, seed: int = 0, labels: object = None,
        batch_size: int = 4096,
    ) -> np.ndarray:  # fmt: skip
        """Importance-weighted lower bound of log p(x) in nats, (n,) (Burda 2015, equation 8).

        It is the ELBO, on average, for k = 1, rises with k, and tends to log p(x).

        Args:
            x: images (n, *input_shape) in [0, 1].
            k: codes drawn for each image.
            seed: of the codes.
            labels: of a conditional model, as in `encode`; the bound is then of log p(x|label).
            batch_size: pairs of an image and a code at a time; bounds the memory.

        Raises:
            ValueError: k below 1; what `encode` does not take.
        """
        log_w = self.log_weights(x, k, seed, labels, batch_size).astype("float64")
        most = log_w.max(axis=1)
        return most + np.log(np.mean(np.exp(log_w - most[:, None]), axis=1))

    def anomaly_score(
        self, x: np.ndarray, labels: object = None, batch_size: int = 256
    ) -> np.ndarray:
        """How unusual each image is, (n,): -ELBO in nats, from 16 codes with a fixed seed each.

        The mean of q(z|x) alone would not give the ELBO, which is an average over q(z|x).
        """
        return -self.log_weights(x, SCORE_SAMPLES, 0, labels, batch_size).mean(axis=1)

    def log_weights(self, x, k, seed, labels, batch_size):
        """log p(x|z) + log p(z) - log q(z|x) for k codes z from q(z|x) each: (n, k), float32."""
        check(isinstance(k, int) and k >= 1, "k", k, "must be a positive integer")
        mean, std = self.encode(x, labels)
        c = self.conditions(len(x), labels)
        generator = np.random.default_rng(seed)
        found = np.empty(len(x) * k, "float32")
        for start in range(0, len(found), batch_size):
            which = np.arange(start, min(start + batch_size, len(found))) // k  # images
            noise = generator.standard_normal((len(which), self.latent_dim), "float32")
            z = mean[which] + std[which] * noise
            logits = self.decoder(beside(z, None if c is None else c[which]))
            of_x = self.log_likelihood(ops.convert_to_tensor(x[which]), logits)
            # Both densities have the factor (2 pi)^(-latent_dim / 2).
            ratio = np.sum((noise**2 - z**2) / 2 + np.log(std[which]), axis=1)
            found[start : start + len(which)] = ops.convert_to_numpy(of_x) + ratio
        return found.reshape(len(x), k)

    def conditions(self, count: int, labels: object) -> np.ndarray | None:
        """One-hot labels (count, num_classes), float32; None for a model without labels."""
        if labels is None:
            shape = (count, self.num_classes)
            return None if self.num_classes is None else np.full(shape, 1 / shape[1], "float32")
        chosen = self.chosen_labels(count, labels, 0)
        return np.eye(self.num_classes, dtype="float32")[chosen]


def _outputs(network, x, c, batch_size):
    """What a network puts out, an array each; for a few examples `predict` compiles too much."""
    found = []
    for start in range(0, max(1, len(x)), batch_size):
        part = slice(start, start + batch_size)
        outputs = network(beside(x[part], None if c is None else c[part]))
        found.append([ops.convert_to_numpy(v) for v in keras.tree.flatten(outputs)])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def gaussian_divergence(mean, log_variance):
    """KL(N(mean, variance) || N(0, I)) in nats: (n, latent_dim) twice -> (n,) (appendix B)."""
    terms = 1 + log_variance - ops.square(mean) - ops.exp(log_variance)
    return -ops.sum(terms, -1) / 2


VARIANTS = {
    "dense": {},
    "kingma2013": {"units": (500,), "activation": "tanh", "optimizer": "adagrad",
                   "learning_rate": 0.02},
    "convolutional": {"filters": (32, 64), "units": (256,)},
    "beta": {"beta": 4.0},
    "conditional": {"conditional": True, "num_classes": 10},
    "plane": {"latent_dim": 2, "units": (400, 200), "learning_rate": 3e-3},
    "gaussian": {"likelihood": "gaussian"},
    "tiny": {"units": (32,), "latent_dim": 4, "learning_rate": 1e-2},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "dense",
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int | None = None,
    conditional: bool = False,
    latent_dim: int = 20,
    units: tuple[int, ...] = (400,),
    filters: tuple[int, ...] = (),
    activation: str = "relu",
    likelihood: str = "bernoulli",
    pixel_std: float = 0.1,
    beta: float = 1.0,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 1e-3,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `VAE`: images (n, *input_shape) in [0, 1] -> reconstructions.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (height, width, channels).
        num_classes: of the labels that a conditional network sees; ignored by the others.
        conditional: whether encoder and decoder see the label.
        latent_dim: numbers in a code.
        units: of the encoder's dense layers before the code; the decoder mirrors them.
        filters: of convolutions before those, each of which halves height and width.
        activation: of the hidden layers.
        likelihood: p(x|z): "bernoulli", for values of 0 and 1, or "gaussian", for any in [0, 1].
        pixel_std: standard deviation of "gaussian".
        beta: weight of the divergence in the loss.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        seed: of the initial weights and of the noise.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    check_sizes(input_shape, units=units, filters=filters)
    if likelihood not in LIKELIHOODS:
        raise unknown("likelihood", likelihood, LIKELIHOODS)
    positive = isinstance(pixel_std, int | float) and 0 < pixel_std < float("inf")
    check(positive, "pixel_std", pixel_std, "must be a positive number")
    ok = isinstance(beta, int | float) and 0 <= beta < float("inf")
    check(ok, "beta", beta, "must be a number of at least 0")
    check(isinstance(conditional, bool), "conditional", conditional, "must be True or False")
    wanted = "a conditional model needs the number of classes"
    check(num_classes is not None or not conditional, "num_classes", num_classes, wanted)

    labels = [keras.Input((num_classes,), name="label")] if conditional else []
    # As long as a code drawn from p(z)
    seen = [layers.Rescaling(math.sqrt(latent_dim))(c) for c in labels]
    x = keras.Input(input_shape, name="image")
    h = encode(x, (), filters, activation)  # (n, features)
    if conditional:
        h = layers.Concatenate()([h, *seen])
    for width in units:
        h = layers.Dense(width, activation=activation)(h)
    code = [layers.Dense(latent_dim, dtype="float32", name=name)(h)
            for name in ("mean", "log_variance")]  # fmt: skip
    encoder = keras.Model([x, *labels] if conditional else x, code, name="encoder")

    z = keras.Input((latent_dim,), name="code")
    h = layers.Concatenate()([z, *seen]) if conditional else z
    logits = decode(h, input_shape, units, filters, activation)
    decoder = keras.Model([z, *labels] if conditional else z, logits, name="decoder")

    model = VAE(
        input_shape, encoder, decoder, num_classes=num_classes if conditional else None,
        likelihood=likelihood, pixel_std=pixel_std, beta=beta, name=f"vae_{variant}",
    )  # fmt: skip
    model.compile(optimizer=make_optimizer(optimizer, learning_rate))
    choose_jit(model)
    return model


def load_data(
    source: object = "mnist5k",
    *,
    batch_size: int = 128,
    seed: int = 0,
    binarize: str | None = "sample",
    **options,
):
    """5,000 of MNIST's digits, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options. The values become 0 or 1, each
    drawn once with the grey value as its probability; `binarize=None` leaves them grey, which is
    for the "gaussian" likelihood: a Bernoulli p(x|z) is no density of grey values, and its loss
    not in nats. Batches are whole: the examples left over, others in each epoch, are left out.

    Returns:
        `Data` of x float32 (n, height, width, channels) in [0, 1].
    """
    options = {"batch_size": batch_size, "seed": seed, "binarize": binarize, **options}
    return load_unit(source, KINDS, **options).in_whole_batches()


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    num_layers = hp.Int("num_layers", 1, 2, default=1)
    return {
        "units": (hp.Choice("units", [100, 200, 400, 500, 800], default=400),) * num_layers,
        "latent_dim": hp.Choice("latent_dim", [5, 10, 20, 40, 64], default=20),
        "activation": hp.Choice("activation", ["relu", "gelu", "tanh"], default="relu"),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "batch_size": hp.Choice("batch_size", [32, 64, 128, 256], default=128),
    }


def plane(model: VAE, steps: int = 20) -> np.ndarray:
    """The codes of a plane, decoded, as one image (steps * height, steps * width, channels).

    Both coordinates take values of equal probability under p(z), from -2 to 2 (Kingma 2013,
    figure 4).
    """
    normal = NormalDist()
    shares = np.linspace(normal.cdf(-2), normal.cdf(2), steps)
    values = [normal.inv_cdf(share) for share in shares]
    z = [(across, up) for up in reversed(values) for across in values]
    height, width, channels = model.example_shape
    images = model.decode(np.array(z)).reshape(steps, steps, height, width, channels)
    return images.swapaxes(1, 2).reshape(steps * height, steps * width, channels)


def pictures(model: VAE, data) -> dict:
    """What a run shows: reconstructions, new images, and the space of the codes."""
    from recipes.reports import plots

    part = data.test
    chosen = part.indices[:2000]
    x = part.transform(part.x[chosen])
    y = None if model.num_classes is None else part.y[chosen]
    few = np.linspace(0, len(x) - 1, 12).astype(int)  # the stored order may be that of the classes
    seen, repeated = x[few], model.reconstruct(x[few], None if y is None else y[few])
    shown = np.concatenate([seen, repeated])
    found = {"reconstructions": plots.pictures(shown, 12, rows=["input", "output"])}
    if y is None:
        found["samples"] = plots.pictures(model.generate(100), 10)
    else:
        classes = np.arange(model.num_classes)[:10]
        drawn = model.generate(10 * len(classes), np.repeat(classes, 10))
        found["samples"] = plots.pictures(drawn, 10, rows=[data.class_names[c] for c in classes])
    if model.latent_dim == 2:
        labels = None if data.class_names is None else part.y[chosen]
        found["codes"] = plots.scatter(model.encode(x, y)[0], labels, data.class_names or ())
    if y is None and model.latent_dim == 2:
        found["plane"], (ax,) = plots.figure(7, 7)
        plots.show(ax, plane(model))
        ax.set_axis_off()
    elif y is None:
        paths = [model.interpolate(x[i], x[j]) for i, j in few.reshape(6, 2)]
        found["interpolation"] = plots.pictures(np.concatenate(paths), 10)
    return found
