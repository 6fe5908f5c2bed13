"""Diffusion models: pictures out of noise, by a network that learnt to remove a little of it.

Training adds noise to a picture, x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, as much as a random time t
says, and asks the network for what was added. Sampling starts from noise alone and goes back from
t = T to 0: at each step the network's guess of the picture says where a little less noise leads.

Papers:
    Ho, Jain & Abbeel 2020, Denoising diffusion probabilistic models (`ddpm`: the linear schedule;
    `cifar10`: the paper's U-Net of 35,746,307 parameters).
    Song, Meng & Ermon 2020, Denoising diffusion implicit models (the sampler "ddim").
    Nichol & Dhariwal 2021, Improved DDPM (`improved`, the default: the cosine schedule, which
    keeps small pictures longer).
    Salimans & Ho 2022, Progressive distillation (`velocity`: prediction of v).
    Ho & Salimans 2021, Classifier-free diffusion guidance (`conditional`).

Differences:
    The default network is small, for digits of 8x8 pixels, and `mnist` works on patches of 2x2, so
    that a CPU can train them in minutes; `cifar10` is the paper's. The learnt variances of Improved
    DDPM are left out. Sampling uses the posterior's variance (the paper's "fixed small"), and the
    guess of the picture is clipped to [-1, 1], as in the authors' code. The average of the weights
    warms up: its decay is at most (1 + n) / (10 + n) after n steps.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from recipes.contract import check, recipe, unknown
from recipes.data.core import Rows
from recipes.data.images import load_unit
from recipes.layers.attention import attend
from recipes.layers.compiled import compiled
from recipes.training import averages
from recipes.training.compilation import choose_jit
from recipes.training.optimizers import make_optimizer
from recipes.training.unsupervised import Unsupervised

KINDS = ("images",)
OBJECTIVE = ("val_loss", "min")
EPOCHS = 12

SCHEDULES = ("linear", "cosine")
PREDICTIONS = ("noise", "image", "velocity")
SAMPLERS = {"ddim": 0.0, "ddpm": 1.0}  # eta of Song et al. 2020, eq. 16
CHUNK = 25  # steps of a sampler between two signs of progress


def alpha_bars(schedule: str, num_steps: int) -> np.ndarray:
    """Share of the picture's variance that is left after 0 .. num_steps steps, float64.

    Args:
        schedule: "linear": betas from 1e-4 to 0.02 over 1,000 steps, and for another number of
            steps as many times larger (Ho et al. 2020, section 4); "cosine": cos^2 (Nichol &
            Dhariwal 2021, eq. 17), betas of at most 0.999.
        num_steps: T.
    """
    if schedule == "linear":
        scale = 1000 / num_steps
        betas = np.linspace(1e-4 * scale, min(0.02 * scale, 0.999), num_steps)
    else:
        f = np.cos((np.arange(num_steps + 1) / num_steps + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    return np.concatenate([[1.0], np.cumprod(1 - betas)])


# The network


@keras.saving.register_keras_serializable("recipes")
class TimeEmbedding(layers.Layer):
    """Times (n,) -> sines and cosines of `dim` / 2 frequencies, (n, dim).

    The positions of Vaswani et al. 2017, sines first, wavelengths from 2 pi to 20,000 pi.
    """

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim

    def call(self, t):
        """(n,) -> (n, dim)."""
        half = self.dim // 2
        frequencies = np.exp(-math.log(10_000) * np.arange(half) / (half - 1)).astype("float32")
        angles = ops.reshape(t, (-1, 1)) * frequencies
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "dim": self.dim}


@keras.saving.register_keras_serializable("recipes")
class PixelAttention(layers.Layer):
    """Each pixel looks at all others: softmax(q k^T / sqrt(channels)) v, one head, and a shortcut.

    (n, height, width, channels) -> the same shape. The last projection starts at zero.
    """

    def __init__(self, groups, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "groups": self.groups}

    def build(self, input_shape):
        """Make the weights."""
        channels = input_shape[-1]
        self.norm = normalization(self.groups)
        self.qkv = layers.Dense(3 * channels, dtype=self.dtype_policy)
        self.out = layers.Dense(channels, kernel_initializer="zeros", dtype=self.dtype_policy)
        self.norm.build(input_shape)
        self.qkv.build(input_shape)
        self.out.build(input_shape)

    def call(self, x):
        """(n, height, width, channels) -> the same shape."""
        _, height, width, channels = x.shape
        qkv = ops.reshape(self.qkv(self.norm(x)), (-1, height * width, 3, channels))
        q, k, v = (qkv[:, :, i : i + 1] for i in range(3))  # (n, pixels, 1 head, channels)
        h = attend(q, k, v)
        return x + self.out(ops.reshape(h, (-1, height, width, channels)))


def normalization(groups: int, **kwargs) -> layers.Layer:
    """Group normalisation, in float32 since it sums many terms."""
    return layers.GroupNormalization(groups, epsilon=1e-6, dtype="float32", **kwargs)


def residual_block(x, time, filters: int, groups: int, dropout_rate: float, name: str):
    """GroupNorm, SiLU and convolution, twice, with the time added in between, and a shortcut."""
    h = normalization(groups, name=f"{name}_norm1")(x)
    h = layers.Activation("silu")(h)
    h = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv1")(h)
    shift = layers.Dense(filters, name=f"{name}_time")(layers.Activation("silu")(time))
    h = layers.Add()([h, layers.Reshape((1, 1, filters))(shift)])
    h = normalization(groups, name=f"{name}_norm2")(h)
    h = layers.Activation("silu")(h)
    h = layers.Dropout(dropout_rate)(h) if dropout_rate else h
    h = layers.Conv2D(filters, 3, padding="same", kernel_initializer="zeros", name=f"{name}_conv2")(
        h
    )
    if x.shape[-1] != filters:
        x = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(x)
    return layers.Add()([x, h])


def unet(
    input_shape: tuple[int, int, int],
    num_classes: int | None,
    filters: int,
    multipliers: tuple[int, ...],
    num_blocks: int,
    attention_sizes: tuple[int, ...],
    dropout_rate: float,
    patch_size: int,
) -> keras.Model:
    """The U-Net of Ho et al. 2020, appendix B: (x_t, t, labels) -> (n, *input_shape), float32.

    Labels are one-hot rows; a row of zeros stands for no label.
    """
    height, width, channels = input_shape
    groups = min(32, filters // 4)
    image = keras.Input(input_shape, name="image")
    t = keras.Input((), name="times")
    inputs = [image, t]
    time = TimeEmbedding(filters, dtype="float32")(t)
    time = layers.Dense(4 * filters, activation="silu", name="time1")(time)
    time = layers.Dense(4 * filters, name="time2")(time)
    if num_classes is not None:
        inputs.append(keras.Input((num_classes,), name="labels"))
        label = layers.Dense(4 * filters, use_bias=False, name="label")(inputs[-1])
        time = layers.Add()([time, label])

    def block(x, width, name):
        x = residual_block(x, time, width, groups, dropout_rate, name)
        if x.shape[1] in attention_sizes:
            x = PixelAttention(groups, name=f"{name}_attention")(x)
        return x

    x = image
    if patch_size > 1:  # (n, h, w, c) -> (n, h / p, w / p, p p c)
        rows, columns = height // patch_size, width // patch_size
        x = layers.Reshape((rows, patch_size, columns, patch_size * channels))(x)
        x = layers.Permute((1, 3, 2, 4))(x)
        x = layers.Reshape((rows, columns, patch_size**2 * channels))(x)
    x = layers.Conv2D(filters, 3, padding="same", name="first")(x)
    kept = [x]
    for level, multiplier in enumerate(multipliers):
        for i in range(num_blocks):
            x = block(x, filters * multiplier, f"down{level}_{i}")
            kept.append(x)
        if level < len(multipliers) - 1:
            x = layers.Conv2D(
                filters * multiplier, 3, strides=2, padding="same", name=f"down{level}_half"
            )(x)
            kept.append(x)

    x = residual_block(x, time, x.shape[-1], groups, dropout_rate, "middle_0")
    x = PixelAttention(groups, name="middle_attention")(x)
    x = residual_block(x, time, x.shape[-1], groups, dropout_rate, "middle_1")

    for level, multiplier in reversed(list(enumerate(multipliers))):
        for i in range(num_blocks + 1):
            x = layers.Concatenate()([x, kept.pop()])
            x = block(x, filters * multiplier, f"up{level}_{i}")
        if level > 0:
            x = layers.UpSampling2D(2)(x)
            x = layers.Conv2D(filters * multiplier, 3, padding="same", name=f"up{level}_double")(x)

    x = normalization(groups, name="last_norm")(x)
    x = layers.Activation("silu", dtype="float32")(x)
    x = layers.Conv2D(
        patch_size**2 * channels, 3, padding="same", kernel_initializer="zeros", dtype="float32",
        name="last",
    )(x)  # fmt: skip
    if patch_size > 1:  # and back
        x = layers.Reshape((rows, columns, patch_size, patch_size * channels), dtype="float32")(x)
        x = layers.Permute((1, 3, 2, 4), dtype="float32")(x)
        x = layers.Reshape(input_shape, dtype="float32")(x)
    return keras.Model(inputs, x, name="unet")


# The model


@keras.saving.register_keras_serializable("recipes")
class Diffusion(Unsupervised):
    """A network that predicts noise, and its average, which samples: images in [0, 1], float32.

    `predict` shows what the network does in one step: x, noised for a quarter of the steps with
    noise that is always the same, and the network's guess of x from that. `evaluate` has a fixed
    noise and evenly spaced times, too, so that its loss can be compared between epochs.

    Args:
        network: (x_t, t, one-hot labels if conditional) -> what `prediction` says.
        schedule: see `alpha_bars`.
        num_steps: T.
        prediction: of "noise" (e), "image" (x_0) or "velocity" (sqrt(a) e - sqrt(1 - a) x_0).
        ema_decay: of the average, in each step.
        label_dropout_rate: share of the training images whose label is withheld.
    """

    xla_on_cpu = True
    networks = ("network",)
    numbers = ("schedule", "num_steps", "prediction", "ema_decay", "label_dropout_rate")

    def __init__(self, input_shape, network, num_classes=None, schedule="linear",
                 num_steps=1000, prediction="noise", ema_decay=0.9999, label_dropout_rate=0.1,
                 **kwargs):  # fmt: skip
        super().__init__(input_shape, num_classes, **kwargs)
        self.network, self.average = network, averages.copy_of(network)
        self.schedule, self.num_steps, self.prediction = schedule, num_steps, prediction
        self.ema_decay, self.label_dropout_rate = ema_decay, label_dropout_rate
        self.alpha_bar = alpha_bars(schedule, num_steps)
        # A constant: generators of random numbers cannot be exported to other runtimes.
        generator = np.random.default_rng(0)
        self.fixed_noise = generator.standard_normal((1, *self.example_shape), "float32")
        self.steps_seen = self.add_weight((), "zeros", trainable=False, name="steps_seen")
        self.seeds = keras.random.SeedGenerator()
        self.go_back = compiled(self, self.steps_back)

    def call(self, x, training=False):
        """The guess of x from x with noise; in training x itself: `compute_loss` does the work."""
        if training:
            return x
        x = 2 * x - 1
        t = ops.full((ops.shape(x)[0],), max(1, self.num_steps // 4), "int32")
        x_t, signal, spread = self.noised(x, self.fixed_noise, t)
        found = self.average(self.inputs_of(x_t, t), training=False)
        image, _ = self.image_and_noise(found, x_t, signal, spread)
        return (ops.clip(image, -1, 1) + 1) / 2

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean squared error of the prediction, L_simple (Ho et al. 2020, eq. 14)."""
        x, count = 2 * x - 1, ops.shape(x)[0]
        if training:
            t = keras.random.randint((count,), 1, self.num_steps + 1, seed=self.seeds)
            noise = keras.random.normal(ops.shape(x), seed=self.seeds)
            averages.follow(self.average, self.network, self.ema_decay, self.steps_seen)
        else:
            share = ops.cast(ops.arange(count), "float32") / ops.cast(count, "float32")
            t = 1 + ops.cast(share * self.num_steps, "int32")
            noise = keras.random.normal(ops.shape(x), seed=1)
        labels = self.condition(y, x, training) if training or y is not None else None
        if labels is not None and training:
            kept = keras.random.uniform((count, 1), seed=self.seeds) >= self.label_dropout_rate
            labels = labels * ops.cast(kept, labels.dtype)
        x_t, signal, spread = self.noised(x, noise, t)
        network = self.network if training else self.average
        found = network(self.inputs_of(x_t, t, labels), training=training)
        wanted = {"noise": noise, "image": x, "velocity": signal * noise - spread * x}
        return ops.mean(ops.square(found - wanted[self.prediction]))

    def noised(self, x, noise, t):
        """x_t, and the factors of picture and noise in it, (n, 1, 1, 1)."""
        a = ops.reshape(ops.take(self.alpha_bar.astype("float32"), t), (-1, 1, 1, 1))
        signal, spread = ops.sqrt(a), ops.sqrt(1 - a)
        return signal * x + spread * noise, signal, spread

    def inputs_of(self, x_t, t, labels=None) -> list:
        """What the network takes; no labels are rows of zeros."""
        inputs = [x_t, ops.cast(t, "float32")]
        if self.num_classes is not None:
            none = ops.zeros((ops.shape(x_t)[0], self.num_classes))
            inputs.append(none if labels is None else labels)
        return inputs

    def image_and_noise(self, found, x_t, signal, spread):
        """The guesses of x_0 and of the noise, from the network's output."""
        if self.prediction == "noise":
            return (x_t - spread * found) / signal, found
        if self.prediction == "image":
            return found, (x_t - signal * found) / spread
        return signal * x_t - spread * found, spread * x_t + signal * found

    def steps_back(self, inputs):
        """Some steps of sampling: x_t (n, h, w, c) -> x' of the same shape.

        Args:
            inputs: "x"; "rows" of `sampling_table`; "noise" (steps, n, h, w, c); and, of a
                conditional model, one-hot "labels" and "guidance", a number, if any.
        """
        labels, guidance = inputs.get("labels"), inputs.get("guidance")

        def step(i, x):
            row, z = ops.take(inputs["rows"], i, axis=0), ops.take(inputs["noise"], i, axis=0)
            t, signal, spread, signal_after, direction, scale = (row[k] for k in range(6))
            times = ops.full((ops.shape(x)[0],), 1.0) * t
            found = self.average(self.inputs_of(x, times, labels), training=False)
            if guidance is not None:
                free = self.average(self.inputs_of(x, times), training=False)
                found = found + guidance * (found - free)
            image, _ = self.image_and_noise(found, x, signal, spread)
            image = ops.clip(image, -1, 1)
            e = (x - signal * image) / spread
            return signal_after * image + direction * e + scale * z

        return ops.fori_loop(0, ops.shape(inputs["rows"])[0], step, inputs["x"])

    def generate(
        self,
        count: int,
        labels=None,
        seed: int = 0,
        *,
        sampler: str = "ddim",
        steps: int | None = None,
        guidance: float = 0.0,
        batch_size: int = 128,
        verbose: int = 0,
    ) -> np.ndarray:
        """Pictures out of noise, float32 (count, height, width, channels) in [0, 1].

        Args:
            count: number of pictures.
            labels: for a conditional model: one class for all, or one each; None: all in turn.
            seed: of the noise, which is the same on every backend and for every batch size.
            sampler: "ddim", which adds no noise on the way, or "ddpm", which does.
            steps: of the sampler, at most `num_steps`; default 50 for "ddim", all for "ddpm".
            guidance: w of classifier-free guidance (Ho & Salimans 2021, eq. 6); 0: none.
            batch_size: pictures at a time.
            verbose: 1 shows the progress.

        Raises:
            ValueError: labels or guidance for an unconditional model, an unknown sampler, more
                steps than the schedule has.
        """
        labels = self.chosen_labels(count, labels, seed)
        if sampler not in SAMPLERS:
            raise unknown("sampler", sampler, SAMPLERS)
        if steps is None:
            steps = min(50, self.num_steps) if sampler == "ddim" else self.num_steps
        whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
        wanted = f"must be an integer from 1 to the schedule's {self.num_steps}"
        check(whole and 1 <= steps <= self.num_steps, "steps", steps, wanted)
        ok = isinstance(guidance, int | float) and guidance >= 0
        check(ok, "guidance", guidance, "must be a number of at least 0")
        wanted = "needs a conditional model"
        check(not guidance or self.num_classes is not None, "guidance", guidance, wanted)

        table = sampling_table(self.alpha_bar, steps, SAMPLERS[sampler])
        noisy = bool(table[:, -1].any())
        progress = keras.utils.Progbar(steps * math.ceil(count / batch_size), verbose=verbose)
        made = []
        for start in range(0, count, batch_size):
            size = min(batch_size, count - start)
            # A generator for each picture: its noise does not depend on the others.
            draw = [np.random.default_rng((seed, start + i)) for i in range(size)]
            x = _normal(draw, 1, self.example_shape)[0]
            given = {}
            if guidance:
                given["guidance"] = np.float32(guidance)
            if labels is not None:
                given["labels"] = np.eye(self.num_classes, dtype="float32")[labels[start:][:size]]
            for step in range(0, steps, CHUNK):
                rows = table[step : step + CHUNK]
                noise = np.zeros((len(rows), 1, 1, 1, 1), "float32")
                if noisy:
                    noise = _normal(draw, len(rows), self.example_shape)
                x = self.go_back({"x": x, "rows": rows, "noise": noise, **given})
                progress.add(len(rows))
            made.append(x)
        return (np.concatenate(made).clip(-1, 1) + 1) / 2

    def anomaly_score(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """How unusual each image is, (n,): the squared error of the guess that `predict` gives."""
        found = self.predict(Rows(x, batch_size), verbose=0)
        return np.square(found - x).mean(axis=(1, 2, 3))


def sampling_table(alpha_bar: np.ndarray, steps: int, eta: float) -> np.ndarray:
    """The factors of each step of a sampler, from noise to picture, float32 (steps, 6).

    A step is x' = sqrt(a') x_0 + sqrt(1 - a' - s^2) e + s z, with s^2 = eta^2 (1 - a') / (1 - a)
    (1 - a / a') (Song et al. 2020, eq. 12 and 16); eta = 1 over all steps is Ho et al.'s.

    Returns:
        Rows t, sqrt(a), sqrt(1 - a), sqrt(a'), sqrt(1 - a' - s^2), s.
    """
    t = np.linspace(1, len(alpha_bar) - 1, steps).round().astype(int)[::-1]
    a, later = alpha_bar[t], alpha_bar[np.append(t[1:], 0)]
    variance = eta**2 * (1 - later) / (1 - a) * (1 - a / later)
    direction = np.sqrt(np.maximum(1 - later - variance, 0))
    columns = [t, np.sqrt(a), np.sqrt(1 - a), np.sqrt(later), direction, np.sqrt(variance)]
    return np.stack(columns, axis=1).astype("float32")


def _normal(generators: list, steps: int, shape: tuple[int, ...]) -> np.ndarray:
    """Noise (steps, n, *shape), float32: each example's from its own generator."""
    drawn = [g.standard_normal((steps, *shape), "float32") for g in generators]
    return np.stack(drawn, axis=1)


VARIANTS = {
    "improved": {},
    "ddpm": {"schedule": "linear"},
    "velocity": {"prediction": "velocity"},
    "conditional": {"conditional": True, "num_classes": 10},
    "mnist": {
        "input_shape": (28, 28, 1),
        "filters": 24,
        "patch_size": 2,
        "attention_sizes": (7,),
        "schedule": "linear",
        "learning_rate": 2e-3,
        "ema_decay": 0.999,
    },
    "cifar10": {
        "input_shape": (32, 32, 3),
        "filters": 128,
        "multipliers": (1, 2, 2, 2),
        "num_blocks": 2,
        "attention_sizes": (16,),
        "schedule": "linear",
        "dropout_rate": 0.1,
        "learning_rate": 2e-4,
        "warmup_steps": 5000,
        "ema_decay": 0.9999,
    },
    "tiny": {"filters": 8, "multipliers": (1, 1), "num_steps": 50},
}


@recipe(VARIANTS)
def build_model(
    variant: str = "improved",
    *,
    input_shape: tuple[int, int, int] = (8, 8, 1),
    num_classes: int | None = None,
    conditional: bool = False,
    filters: int = 16,
    multipliers: tuple[int, ...] = (1, 2),
    num_blocks: int = 1,
    attention_sizes: tuple[int, ...] = (4,),
    patch_size: int = 1,
    dropout_rate: float = 0.0,
    schedule: str = "cosine",
    num_steps: int = 1000,
    prediction: str = "noise",
    label_dropout_rate: float = 0.1,
    ema_decay: float = 0.99,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 3e-3,
    warmup_steps: int = 100,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `Diffusion` model of images (n, *input_shape) in [0, 1].

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (height, width, channels).
        num_classes: of the labels; of no use unless `conditional`.
        conditional: whether labels say what to make.
        filters: of the first convolution, a multiple of 4.
        multipliers: of `filters`, at each size; each size after the first is half as large.
        num_blocks: residual blocks at each size, and one more on the way up.
        attention_sizes: heights of feature maps whose pixels look at each other; the smallest
            feature map's always do.
        patch_size: pixels of a side that the network takes as one.
        dropout_rate: in each residual block.
        schedule: of the noise: "linear" or "cosine".
        num_steps: T, from picture to noise.
        prediction: what the network says: "noise", "image" or "velocity".
        label_dropout_rate: share of images trained without their label, for guidance.
        ema_decay: of the average of the weights that samples.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        warmup_steps: over which the learning rate rises from zero.
        seed: of the initial weights and of the noise.

    Raises:
        ValueError: an unknown variant, argument or value, an image size that the network cannot
            halve.
    """
    check(len(input_shape) == 3, "input_shape", input_shape, "must be (height, width, channels)")
    for name, value, known in (
        ("schedule", schedule, SCHEDULES), ("prediction", prediction, PREDICTIONS),
    ):  # fmt: skip
        if value not in known:
            raise unknown(name, value, known)
    whole = isinstance(filters, int) and filters > 0
    whole = whole and filters % (4 if filters <= 128 else 32) == 0  # for the groups
    check(whole, "filters", filters, "must be a multiple of 4, and beyond 128 of 32")
    for name, value in (("multipliers", multipliers), ("attention_sizes", attention_sizes)):
        flat = isinstance(value, tuple | list) and all(isinstance(n, int) and n > 0 for n in value)
        check(flat, name, value, "must be a tuple of positive integers")
    check(multipliers, "multipliers", multipliers, "needs at least one")
    for name, value in (("patch_size", patch_size), ("num_blocks", num_blocks),
                        ("num_steps", num_steps)):  # fmt: skip
        check(isinstance(value, int) and value >= 1, name, value, "must be a positive integer")
    side = patch_size * 2 ** (len(multipliers) - 1)
    wanted = f"height and width must be multiples of {side}; load_data takes image_size"
    check(not any(n % side for n in input_shape[:2]), "input_shape", tuple(input_shape), wanted)
    for name, value in (("label_dropout_rate", label_dropout_rate), ("ema_decay", ema_decay)):
        ok = isinstance(value, int | float) and 0 <= value < 1
        check(ok, name, value, "must be a number in [0, 1)")
    wanted = "needs num_classes, which labelled data brings"
    check(not conditional or num_classes, "conditional", conditional, wanted)
    num_classes = num_classes if conditional else None

    network = unet(input_shape, num_classes, filters, multipliers, num_blocks, attention_sizes,
                   dropout_rate, patch_size)  # fmt: skip
    model = Diffusion(
        input_shape, network, num_classes=num_classes, schedule=schedule, num_steps=num_steps,
        prediction=prediction, ema_decay=ema_decay, label_dropout_rate=label_dropout_rate,
        name=f"diffusion_{variant}",
    )  # fmt: skip
    model.compile(
        optimizer=make_optimizer(optimizer, learning_rate, warmup_steps=warmup_steps, clip_norm=1.0)
    )
    choose_jit(model)
    return model


def load_data(source: object = "digits", *, batch_size: int = 60, seed: int = 0, **options):
    """1,797 digits of 8x8 pixels, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options; labels are needed for a
    conditional model only. Batches are whole: the examples left over, others in each epoch, are
    left out.

    Returns:
        `Data` of x float32 (n, height, width, channels) in [0, 1], and labels int32 (n,) where
        there are any.
    """
    # By default 60: the 180 validation digits fill three such batches.
    data = load_unit(source, KINDS, batch_size=batch_size, seed=seed, **options)
    return data.in_whole_batches()


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`.

    Not of `schedule` and `prediction`: they decide what the loss is measured on.
    """
    return {
        "filters": hp.Choice("filters", [16, 24, 32, 64, 128], default=16),
        "num_blocks": hp.Int("num_blocks", 1, 3, default=1),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.3, step=0.1, default=0.0),
        "learning_rate": hp.Float("learning_rate", 1e-4, 5e-3, sampling="log", default=3e-3),
        "batch_size": hp.Choice("batch_size", [15, 30, 60, 120], default=60),
    }


def pictures(model: Diffusion, data) -> dict:
    """What a run shows: samples, and how one of them comes out of the noise."""
    from recipes.reports import plots

    count = 64 if model.num_classes is None else 8 * min(model.num_classes, 10)
    columns = 8 if model.num_classes is None else min(model.num_classes, 10)
    samples = model.generate(count, np.arange(count) % columns if model.num_classes else None)
    seen, _ = data.test.sample(10)
    rows = np.concatenate([seen, model.predict(seen, verbose=0)])
    return {
        "samples": plots.pictures(samples, columns),
        "denoised": plots.pictures(rows, 10, rows=["input", "denoised"]),
    }
