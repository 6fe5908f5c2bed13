"""Generative adversarial networks: one network forges images, another learns to tell them apart.

The generator G turns noise z into images G(z); the discriminator D turns an image into one number,
the logit of its being real. D learns to tell real images from G's, and G to be taken for real by
D. Where both are at their best, G draws as the data does and D can only guess: D = 1/2.

Papers:
    Goodfellow et al. 2014, Generative adversarial nets (`goodfellow2014`).
    Radford, Metz & Chintala 2015, Unsupervised representation learning with deep convolutional
    GANs (`dcgan`; `dcgan64`: 3,576,704 and 2,765,568 parameters).
    Mirza & Osindero 2014, Conditional generative adversarial nets (`conditional`).
    Gulrajani et al. 2017, Improved training of Wasserstein GANs (`wgan_gp`).
    Miyato et al. 2018, Spectral normalization for GANs (`sngan`).
    Makhzani et al. 2015, Adversarial autoencoders (`adversarial_autoencoder`).

Differences:
    One compiled step moves both networks at once, each by the gradient of its own loss alone; the
    papers take turns, so that G follows a D that is one step older here. Noise is normal, and the
    optimizer Adam, everywhere. `goodfellow2014` has no dropout on the input. `dcgan` has kernels
    of 4x4 (paper: 5x5), widths for small images and, by default, batches of 16 (128): 5,000 images
    give too few steps else. `conditional` is Mirza's idea in a DCGAN: D sees the label as one more,
    learnt, channel. In `wgan_gp` G and its averages in Adam rest for 4 of 5 steps, and the fifth
    moves both; G's gradient is computed, for nothing, in the other four. `adversarial_autoencoder`
    is the unsupervised one; it adds up the losses that the paper descends in turn.
"""

import importlib
import math

import keras
import numpy as np
from keras import layers, ops

from recipes.contract import check, recipe, unknown
from recipes.data.core import Rows
from recipes.data.images import load_unit
from recipes.layers.coders import check_sizes, cut, encode, halved
from recipes.layers.normalization import BatchNormalization
from recipes.training import averages
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import Adam, PatientAdam, make_optimizer
from recipes.training.unsupervised import Unsupervised, beside

KINDS = ("images",)
OBJECTIVE = ("val_frechet_pixels", "min")
EPOCHS = 12
NO_FALLING_LOSS = "the two losses pull against each other: neither falls when all goes well"

# (discriminator's, generator's) loss of each example, from the logits of real and of fake ones.
LOSSES = {
    "nonsaturating": lambda real, fake: (
        ops.softplus(-real) + ops.softplus(fake),  # -log D(x) - log(1 - D(G(z)))
        ops.softplus(-fake),  # -log D(G(z)), Goodfellow et al. 2014, section 3
    ),
    "hinge": lambda real, fake: (ops.relu(1 - real) + ops.relu(1 + fake), -fake),
    "wasserstein": lambda real, fake: (fake - real, -fake),
}
CELLS = 7  # along each side of the image that `FrechetPixels` sees
NORMALIZATIONS = ("none", "batch")


@keras.saving.register_keras_serializable("recipes")
class FrechetPixels(keras.metrics.Metric):
    """Frechet distance between Gaussians fitted to the coarse pixels of real and made images.

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)), over all that was seen since the last reset.

    Args:
        size: of a coarse image, as a row.
    """

    def __init__(self, size: int = 1, name: str = "frechet_pixels", **kwargs):
        super().__init__(name=name, **kwargs)
        self.size = size
        # Sums over rows (v, 1) of their outer products: products, sums and count in one matrix.
        shape = (size + 1, size + 1)
        self.sums = [
            self.add_variable(shape, "zeros", name=name, dtype="float32")
            for name in ("real", "made")
        ]

    @property
    def seen(self):
        """Number of real images so far, int32."""
        return ops.cast(self.sums[0][-1, -1], "int32")

    def update_state(self, real, made):
        """Add images (n, height, width, channels) in [0, 1]."""
        for sums, images in zip(self.sums, (real, made), strict=True):
            rows = ops.reshape(coarse(images), (-1, self.size))
            rows = ops.stop_gradient(ops.concatenate([rows, ops.ones_like(rows[:, :1])], axis=1))
            sums.assign_add(ops.matmul(ops.transpose(rows), rows))

    def result(self):
        """The distance, a scalar."""
        (m, s), (m_made, s_made) = map(self._gaussian, self.sums)
        values, vectors = ops.linalg.eigh(s)
        root = vectors * ops.sqrt(ops.relu(values))  # root root^T = s
        # The eigenvalues of S S' are those of the symmetric root^T S' root.
        cross, _ = ops.linalg.eigh(ops.matmul(ops.matmul(ops.transpose(root), s_made), root))
        trace = ops.trace(s) + ops.trace(s_made) - 2 * ops.sum(ops.sqrt(ops.relu(cross)))
        return ops.relu(ops.sum(ops.square(m - m_made)) + trace)

    @staticmethod
    def _gaussian(sums):
        count = ops.maximum(sums[-1, -1], 1.0)
        mean = sums[-1, :-1] / count
        return mean, sums[:-1, :-1] / count - ops.outer(mean, mean)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {**super().get_config(), "size": self.size}


def coarse(images):
    """Images (n, height, width, channels), averaged over cells: about CELLS along each side."""
    sides = tuple(max(1, n // CELLS) for n in images.shape[1:3])
    return ops.average_pool(images, sides, sides, padding="valid")


@keras.saving.register_keras_serializable("recipes")
class SpectralNormalization(layers.Wrapper):
    """A dense or convolutional layer, its kernel divided by its largest singular value.

    One step of power iteration in each training step; the gradient passes through the division
    (Miyato et al. 2018, algorithm 1). `keras.layers.SpectralNormalization` overwrites the kernel
    instead, which PyTorch cannot derive and JAX forgets.

    Args:
        layer: the layer, not built yet.
    """

    def __init__(self, layer: keras.Layer, **kwargs):
        super().__init__(layer, **{"dtype": layer.dtype_policy, **kwargs})

    def build(self, input_shape):
        """Make the layer's weights and the singular vector."""
        super().build(input_shape)
        units = (self.layer.kernel.shape[-1],)
        self.vector = self.add_weight(units, "random_normal", trainable=False, name="vector")

    def call(self, x, training=False):
        """The layer's output with the divided kernel."""
        kernel, *others = (ops.convert_to_tensor(v) for v in self.layer.trainable_variables)
        w = ops.reshape(ops.cast(kernel, "float32"), (-1, kernel.shape[-1]))  # (inputs, units)
        fixed = ops.stop_gradient(w)
        v = ops.normalize(ops.matmul(fixed, ops.cast(self.vector, "float32")[:, None]), axis=0)
        u = ops.normalize(ops.matmul(ops.transpose(fixed), v), axis=0)
        if training:
            self.vector.assign(u[:, 0])
        sigma = ops.sum(v * ops.matmul(w, u))
        kernel = kernel / ops.cast(sigma, kernel.dtype)
        return self.layer.stateless_call([kernel, *others], [], x)[0]

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The layer of a configuration, which Keras's own method would empty."""
        return super().from_config({**config}, custom_objects)


@keras.saving.register_keras_serializable("recipes")
class GAN(Unsupervised):
    """Generator and discriminator: images in [0, 1] -> logits of their being real, (n, 1).

    A conditional one that is given no labels, as in `predict`, counts each class the same.

    Args:
        generator: noise (n, latent_dim), and one-hot labels if conditional -> images in [0, 1].
        discriminator: images, and one-hot labels if conditional -> logits (n, 1).
        adversarial_loss: a key of `LOSSES`.
        gradient_penalty: weight of (|dD/dx| - 1)^2 between real and made images.
        ema_decay: of the moving average of the generator's weights that `generate` and `evaluate`
            use; 0: none, they use the weights as they are.
    """

    networks = ("generator", "discriminator")
    numbers = ("adversarial_loss", "gradient_penalty", "ema_decay")

    def __init__(self, input_shape, generator, discriminator, adversarial_loss="nonsaturating",
                 gradient_penalty=0.0, ema_decay=0.0, num_classes=None, **kwargs):  # fmt: skip
        super().__init__(input_shape, num_classes, **kwargs)
        self.generator, self.discriminator = generator, discriminator
        self.adversarial_loss, self.gradient_penalty = adversarial_loss, gradient_penalty
        self.ema_decay, self.average = ema_decay, None
        if ema_decay:
            self.average = averages.copy_of(generator)
            self.steps_seen = self.add_weight((), "zeros", trainable=False, name="steps_seen")
        self.latent_dim = generator.inputs[0].shape[-1]
        # Of `evaluate`; NumPy's is the same on each backend.
        shape = (2048, self.latent_dim)
        self.fixed_noise = np.random.default_rng(0).standard_normal(shape).astype("float32")
        self.seeds = keras.random.SeedGenerator()
        self.d_loss, self.g_loss = keras.metrics.Mean("d_loss"), keras.metrics.Mean("g_loss")
        size = math.prod(coarse(np.zeros((1, *self.example_shape), "float32")).shape)
        self.frechet = FrechetPixels(size)

    @property
    def sampler(self) -> keras.Model:
        """The generator that `generate` uses."""
        return self.generator if self.average is None else self.average

    def call(self, x, training=False):
        """Logits of being real; in training x itself, since `compute_loss` does the work."""
        if training:
            return x
        x = ops.convert_to_tensor(x)
        return self.discriminator(beside(x, self.condition(None, x)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of both networks' losses, each of which reaches its own network alone."""
        x = ops.convert_to_tensor(x)  # `train_on_batch` may give an array
        c, z = self.condition(y, x, training), self.noise(x, training)
        if training:
            self.update_average()
        network = self.generator if training else self.sampler
        made = network(beside(z, c), training=training)
        self.frechet.update_state(x, made)
        return self.contest(x, made, c, training)

    def contest(self, real, made, c, training):
        """Both losses; the generator's reaches whatever `made` depends on."""
        d = self.discriminator
        # Read once for all passes. TensorFlow's optimizer of graphs may else move the frozen pass's
        # own reading behind the step of the discriminator.
        weights = [w * 1.0 for w in d.trainable_variables]
        frozen = [ops.stop_gradient(w) for w in weights]
        state = d.non_trainable_variables
        # Each in its own pass, so that batch normalisation sees real or made images, never both.
        on_real, state = d.stateless_call(weights, state, beside(real, c), training=training)
        still = ops.stop_gradient(made)
        on_made, state = d.stateless_call(weights, state, beside(still, c), training=training)
        judged, _ = d.stateless_call(frozen, state, beside(made, c), training=training)
        losses = LOSSES[self.adversarial_loss]
        d_loss, g_loss = losses(on_real, on_made)[0], losses(on_real, judged)[1]
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        loss = ops.mean(d_loss) + ops.mean(g_loss)
        if not training:
            return loss
        for variable, value in zip(d.non_trainable_variables, state, strict=True):
            variable.assign(value)
        if self.gradient_penalty:
            loss += self.gradient_penalty * self.penalty(real, still, c, weights)
        return loss

    def penalty(self, real, made, c, weights):
        """Mean of (|dD/dx| - 1)^2 at random points between (Gulrajani et al. 2017, eq. 3)."""
        d, shape = self.discriminator, (ops.shape(real)[0], *[1] * (len(real.shape) - 1))
        share = keras.random.uniform(shape, seed=self.seeds)
        between = share * real + (1 - share) * made

        def logits(x):
            state = d.non_trainable_variables
            return d.stateless_call(weights, state, beside(x, c), training=True)[0]

        backend = importlib.import_module(f"recipes.training.gradients_{keras.backend.backend()}")
        gradient = backend.input_gradient(logits, between)
        squares = ops.sum(ops.square(gradient), axis=tuple(range(1, len(shape))))
        return ops.mean(ops.square(ops.sqrt(squares + 1e-12) - 1))

    def noise(self, x, training):
        """As much noise as there is x, (n, latent_dim); the same in each evaluation."""
        if training:
            return keras.random.normal((ops.shape(x)[0], self.latent_dim), seed=self.seeds)
        rows = self.frechet.seen + ops.arange(ops.shape(x)[0], dtype="int32")
        return ops.take(self.fixed_noise, rows % len(self.fixed_noise), axis=0)

    def update_average(self):
        """Move the average a little towards the weights as they are."""
        if self.average is not None:
            averages.follow(self.average, self.generator, self.ema_decay, self.steps_seen)

    def generate(self, count: int, labels=None, seed: int = 0, batch_size: int = 256) -> np.ndarray:
        """Images float32 (count, height, width, channels) in [0, 1].

        Args:
            count: number of images.
            labels: of a conditional model: one for all, one each, or None: all classes in turn.
            seed: of the noise.
            batch_size: images at once.

        Raises:
            ValueError: labels for an unconditional model, or labels that do not exist.
        """
        labels = self.chosen_labels(count, labels, seed)
        z = np.random.default_rng(seed).standard_normal((count, self.latent_dim)).astype("float32")
        c = None if labels is None else np.eye(self.num_classes, dtype="float32")[labels]
        return self.sampler.predict(Rows(beside(z, c), batch_size), verbose=0)

    def anomaly_score(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """How unusual the discriminator finds each image, (n,): minus its logit."""
        return -self.predict(Rows(x, batch_size), verbose=0)[:, 0]


@keras.saving.register_keras_serializable("recipes")
class AdversarialAutoencoder(GAN):
    """An autoencoder whose codes learn to look like normal noise: images -> reconstructions.

    The generator is its decoder. The discriminator tells codes from noise.

    Args:
        encoder: images -> codes (n, latent_dim), float32.
        **kwargs: those of `GAN`.
    """

    networks = ("generator", "discriminator", "encoder")

    def __init__(self, input_shape, generator, discriminator, encoder, **kwargs):
        super().__init__(input_shape, generator, discriminator, **kwargs)
        self.encoder = encoder
        self.mse = keras.metrics.Mean("mse")

    def call(self, x, training=False):
        """Reconstructions; in training x itself."""
        return x if training else self.generator(self.encoder(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Squared error of an image, plus both losses of the contest over codes."""
        codes = self.encoder(x, training=training)
        error = ops.square(self.generator(codes, training=training) - x)
        error = ops.sum(error, axis=tuple(range(1, len(x.shape))))
        self.mse.update_state(error / math.prod(self.example_shape))
        if training:
            self.update_average()
        z = self.noise(x, training)
        self.frechet.update_state(x, self.sampler(z, training=False))
        return ops.mean(error) + self.contest(z, codes, None, training)

    def encode(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Images in [0, 1] -> codes (n, latent_dim), float32."""
        return self.encoder.predict(Rows(x, batch_size), verbose=0)

    def anomaly_score(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """How unusual each image is, (n,): the mean squared error of its reconstruction."""
        found = self.predict(Rows(x, batch_size), verbose=0)
        return np.square(found - x).mean(axis=(1, 2, 3))


def normal():
    """DCGAN's start. One for each layer: an initializer gives the same to equal shapes."""
    return keras.initializers.RandomNormal(stddev=0.02)


def make_generator(latent_dim, num_classes, output_shape, units, filters, kernel_size):
    """noise (, one-hot labels) -> images in [0, 1], float32."""
    inputs = h = keras.Input((latent_dim,), name="noise")
    if num_classes is not None:
        inputs = [h, keras.Input((num_classes,), name="label")]
        h = layers.Concatenate()(inputs)
    *sides, channels = output_shape
    for width in units:
        h = layers.Dense(width, activation="relu")(h)
    if not filters:
        h = layers.Dense(math.prod(output_shape), activation="tanh", dtype="float32")(h)
        h = layers.Reshape(output_shape, dtype="float32")(h)
    else:
        sizes = halved(sides, len(filters))
        h = layers.Dense(math.prod(sizes[-1]) * filters[-1], use_bias=False,
                         kernel_initializer=normal())(h)  # fmt: skip
        h = layers.Reshape((*sizes[-1], filters[-1]))(h)
    for i in reversed(range(len(filters))):
        h = BatchNormalization(momentum=0.9, epsilon=1e-5)(h)
        h = layers.ReLU()(h)
        last = {"activation": "tanh", "dtype": "float32"} if i == 0 else {}
        h = layers.Conv2DTranspose(
            filters[i - 1] if i else channels, kernel_size, strides=2, padding="same",
            use_bias=False, kernel_initializer=normal(), **last,
        )(h)  # fmt: skip
        h = cut(h, sizes[i])
    images = layers.Rescaling(0.5, 0.5, dtype="float32")(h)  # [-1, 1] -> [0, 1]
    return keras.Model(inputs, images, name="generator")


def make_discriminator(input_shape, num_classes, units, filters, kernel_size, normalization="none",
                       spectral=False, maxout=0, dropout_rate=0.0):  # fmt: skip
    """images or codes (, one-hot labels) -> logits (n, 1), float32."""
    wrapped = SpectralNormalization if spectral else lambda layer: layer
    batch = normalization == "batch"

    def start():
        return normal() if filters and batch else "glorot_uniform"

    inputs = h = keras.Input(input_shape, name="x")
    if len(input_shape) == 3:
        h = layers.Rescaling(2.0, -1.0)(h)  # [0, 1] -> [-1, 1]
    if num_classes is not None:
        label = keras.Input((num_classes,), name="label")
        inputs = [inputs, label]
        if filters:  # one more channel
            plane = layers.Dense(math.prod(input_shape[:2]))(label)
            label = layers.Reshape((*input_shape[:2], 1))(plane)
        else:
            h = layers.Flatten()(h)
        h = layers.Concatenate()([h, label])
    for i, width in enumerate(filters):
        normalized = batch and i > 0  # but for the input (Radford et al. 2015, section 3)
        h = wrapped(layers.Conv2D(width, kernel_size, strides=2, padding="same",
                                  use_bias=not batch, kernel_initializer=start()))(h)  # fmt: skip
        if normalized:
            h = BatchNormalization(momentum=0.9, epsilon=1e-5)(h)
        h = layers.LeakyReLU(0.2)(h)
        if dropout_rate:
            h = layers.Dropout(dropout_rate)(h)
    h = layers.Flatten()(h)
    for width in units:
        h = wrapped(layers.Dense(width))(h)
        if maxout:  # of groups of `maxout` units, the greatest
            h = ops.max(layers.Reshape((width // maxout, maxout))(h), axis=-1)
        else:
            h = layers.LeakyReLU(0.2)(h)
        if dropout_rate:
            h = layers.Dropout(dropout_rate)(h)
    head = layers.Dense(1, use_bias=not (filters and batch), kernel_initializer=start(),
                        dtype="float32", name="logit")  # fmt: skip
    return keras.Model(inputs, wrapped(head)(h), name="discriminator")


VARIANTS = {
    "dcgan": {},
    "dcgan64": {"input_shape": (64, 64, 3), "filters": (64, 128, 256, 512)},
    "goodfellow2014": {"filters": (), "units": (1200, 1200), "maxout": 5, "dropout_rate": 0.5},
    "conditional": {"conditional": True, "num_classes": 10},
    "wgan_gp": {"adversarial_loss": "wasserstein", "normalization": "none",
                "gradient_penalty": 10.0, "n_critic": 5, "learning_rate": 1e-4, "beta_1": 0.0,
                "beta_2": 0.9},
    "sngan": {"adversarial_loss": "hinge", "normalization": "none", "spectral_normalization": True},
    "adversarial_autoencoder": {"autoencoder": True, "filters": (), "units": (1000, 1000),
                                "latent_dim": 8},
    "tiny": {"filters": (), "units": (64,), "latent_dim": 16, "learning_rate": 1e-3},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "dcgan",
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int | None = None,
    conditional: bool = False,
    latent_dim: int = 100,
    filters: tuple[int, ...] = (32, 64),
    units: tuple[int, ...] = (),
    kernel_size: int = 4,
    normalization: str = "batch",
    spectral_normalization: bool = False,
    maxout: int = 0,
    dropout_rate: float = 0.0,
    adversarial_loss: str = "nonsaturating",
    gradient_penalty: float = 0.0,
    n_critic: int = 1,
    ema_decay: float = 0.0,
    autoencoder: bool = False,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 2e-4,
    beta_1: float = 0.5,
    beta_2: float = 0.999,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `GAN`: images (n, *input_shape) in [0, 1] -> logits; `generate` makes images.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (height, width, channels).
        num_classes: of the labels; of no use unless `conditional`.
        conditional: whether both networks see labels, too.
        latent_dim: numbers of noise that an image is made of.
        filters: of the discriminator's convolutions, each of which halves height and width; the
            generator mirrors them. (): both networks are dense.
        units: of dense layers: the generator's first and the discriminator's last; in an
            autoencoder the encoder's last, too, and its decoder has them in the opposite order.
        kernel_size: of all convolutions.
        normalization: behind the discriminator's convolutions but the first: "batch" or "none".
        spectral_normalization: divide each of the discriminator's kernels by its largest singular
            value.
        maxout: the discriminator's dense units pass on the greatest of so many; 0: each its own,
            through a leaky rectifier.
        dropout_rate: behind the discriminator's hidden layers.
        adversarial_loss: "nonsaturating" (the paper's), "hinge" or "wasserstein".
        gradient_penalty: weight of (|dD/dx| - 1)^2; 10 in WGAN-GP.
        n_critic: the generator moves in every so many-th step only.
        ema_decay: of the average of the generator's weights that `generate` and `evaluate` use;
            0: they use the weights as they are.
        autoencoder: an adversarial autoencoder, whose decoder is the generator.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        beta_1: of "adam": decay of its average of gradients.
        beta_2: of "adam": decay of its average of squared gradients.
        seed: of the initial weights and of the noise.

    Raises:
        ValueError: an unknown variant, argument or value, or arguments that exclude each other.
    """
    check_sizes(input_shape, units=units, filters=filters)
    for name, value, known in (("adversarial_loss", adversarial_loss, LOSSES),
                               ("normalization", normalization, NORMALIZATIONS)):  # fmt: skip
        if value not in known:
            raise unknown(name, value, known)
    whole = isinstance(kernel_size, int)
    check(whole, "kernel_size", kernel_size, "must be a positive integer")
    for name, value in (("ema_decay", ema_decay), ("beta_1", beta_1), ("beta_2", beta_2)):
        ok = isinstance(value, int | float) and 0 <= value < 1
        check(ok, name, value, "must be a number in [0, 1)")
    ok = isinstance(gradient_penalty, int | float) and 0 <= gradient_penalty < float("inf")
    check(ok, "gradient_penalty", gradient_penalty, "must be a number of at least 0")
    unmixed = not gradient_penalty or not filters or normalization == "none" or autoencoder
    wanted = "needs normalization='none': it is of one image, which batches must not mix"
    check(unmixed, "gradient_penalty", gradient_penalty, wanted)
    ok = (
        isinstance(maxout, int)
        and maxout >= 0
        and (not maxout or not any(n % maxout for n in units))
    )
    check(ok, "maxout", maxout, f"must be 0 or a divisor of units={units}")
    check(isinstance(n_critic, int) and n_critic >= 1, "n_critic", n_critic,
          "must be a positive integer")  # fmt: skip
    patient = n_critic == 1 or (optimizer == "adam" and not autoencoder)
    check(patient, "n_critic", n_critic, "needs optimizer='adam' and autoencoder=False")
    check(not (autoencoder and conditional), "conditional", conditional, "needs autoencoder=False")
    wanted = "needs num_classes, which labelled data brings"
    check(not conditional or num_classes, "conditional", conditional, wanted)
    num_classes = num_classes if conditional else None

    first = units[::-1] if autoencoder else units
    generator = make_generator(latent_dim, num_classes, input_shape, first, filters, kernel_size)
    judged = ((latent_dim,), None, units, ()) if autoencoder else (
        input_shape, num_classes, units, filters)  # fmt: skip
    discriminator = make_discriminator(
        *judged, kernel_size, normalization, spectral_normalization, maxout, dropout_rate
    )
    arguments = {"adversarial_loss": adversarial_loss, "gradient_penalty": float(gradient_penalty),
                 "ema_decay": ema_decay, "name": f"gan_{variant}"}  # fmt: skip
    if autoencoder:
        x = keras.Input(input_shape)
        z = layers.Dense(latent_dim, dtype="float32", name="code")(
            encode(x, units, filters, "relu")
        )
        encoder = keras.Model(x, z, name="encoder")
        model = AdversarialAutoencoder(input_shape, generator, discriminator, encoder, **arguments)
    else:
        model = GAN(input_shape, generator, discriminator, num_classes=num_classes, **arguments)
    if optimizer == "adam":
        betas = {"beta_1": beta_1, "beta_2": beta_2}
        if n_critic == 1:
            optimizer = Adam(learning_rate, **betas)
        else:
            held = len(generator.trainable_variables)  # which come first
            optimizer = PatientAdam(learning_rate, **betas, held=held, every=n_critic)
    model.compile(optimizer=make_optimizer(optimizer, learning_rate))
    choose_jit(model)
    return model


def load_data(source: object = "mnist5k", *, batch_size: int = 16, seed: int = 0, **options):
    """5,000 of MNIST's digits, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options; only `conditional` needs labels.
    Batches are whole: the examples left over, others in each epoch, are left out.

    Returns:
        `Data` of x float32 (n, height, width, channels) in [0, 1], and labels int32 (n,) if any.
    """
    data = load_unit(source, KINDS, batch_size=batch_size, seed=seed, **options)
    return data.in_whole_batches()


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    width = hp.Choice("filters", [16, 32, 64, 128], default=32)
    return {
        "filters": (width, 2 * width),
        "latent_dim": hp.Choice("latent_dim", [32, 64, 100, 128], default=100),
        "spectral_normalization": hp.Boolean("spectral_normalization", default=False),
        "beta_1": hp.Choice("beta_1", [0.0, 0.5], default=0.5),
        "learning_rate": hp.Float("learning_rate", 5e-5, 2e-3, sampling="log", default=2e-4),
        "batch_size": hp.Choice("batch_size", [16, 32, 64, 128], default=16),
    }


def pictures(model: GAN, data) -> dict:
    """What a run shows: made images, and the training images nearest to some of them."""
    from recipes.reports import plots, samples

    if model.num_classes is None:
        grid = plots.pictures(model.generate(96), 12)
    else:
        rows = data.class_names[:10]
        labels = np.repeat(np.arange(len(rows)), 12)
        grid = plots.pictures(model.generate(len(labels), labels), 12, rows=rows)
    made = model.generate(12, seed=1)
    train = data.train.transform(data.train.x[data.train.indices[:10_000]])
    distances, indices = samples.nearest(made, train)
    shown = np.concatenate([made, train[indices]])
    titles = [f"{d:.1f}" for d in distances]
    nearest = plots.pictures(shown, 12, titles=titles, rows=["made", "nearest"])
    return {"samples": grid, "nearest": nearest}
