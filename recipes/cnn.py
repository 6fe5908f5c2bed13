"""Convolutional networks: LeNet-5, AlexNet, VGG and a simple stack, for images.

An image passes through convolutions, which look for the same small patterns everywhere, and
through pooling, which keeps where they are only roughly; dense layers then name the class.

Papers:
    LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition.
    Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep CNNs (AlexNet).
    Simonyan & Zisserman 2015, Very deep convolutional networks (VGG).

Differences:
    `lenet5` is LeNet-5 as it is used today: C3 sees all maps, pooling has no weights, the head is
    a dense layer. `lenet5_1998` is the paper's (60,000 parameters), with random instead of
    hand-drawn target codes, which the paper names as an alternative, and without the loss's
    constant "rubbish class" term. Pictures smaller than 32x32 are padded, as in the paper.
    AlexNet's two towers are grouped convolutions (`groups=1`: one tower). Its third convolution
    sees both. VGG starts from He's initial weights instead of from a trained smaller network, and
    `batch_norm=True` keeps the convolutions' biases, as torchvision counts them. Weight decay
    covers kernels, not biases. The learning rate, divided by hand in the papers, is `decay_steps`.
    There is no data augmentation.
"""

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.training.optimizers import l2, make_optimizer

KINDS = ("images",)
OBJECTIVE = ("val_accuracy", "max")
EPOCHS = 10

# Table I of the paper: the S2 maps (0 .. 5) that each of the 16 C3 maps sees.
C3_CONNECTIONS = (
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6) for i in range(3)),
    (0, 1, 2, 3, 4, 5),
)


@keras.saving.register_keras_serializable("recipes")
def scaled_tanh(x):
    """1.7159 tanh(2x/3) (LeCun 1998, appendix A): f(1) = 1, f(-1) = -1, nearly linear between."""
    return 1.7159 * ops.tanh(x * (2.0 / 3.0))


@keras.saving.register_keras_serializable("recipes")
class FanInUniform(keras.initializers.RandomUniform):
    """Uniform in +-2.4 / fan-in (LeCun 1998, appendix A)."""

    def __init__(self, seed=None):
        super().__init__(seed=seed)

    def __call__(self, shape, dtype=None):
        """The last axis is the outputs'; the others make the fan-in."""
        limit = 2.4 / np.prod(shape[:-1])
        return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=self.seed)

    def get_config(self):
        """The constructor's arguments."""
        return {"seed": super().get_config()["seed"]}


@keras.saving.register_keras_serializable("recipes")
class SparseConv2D(layers.Layer):
    """Convolution whose output maps each see some of the input maps (LeNet-5's C3).

    (n, h, w, c) -> (n, h - k + 1, w - k + 1, len(connections)).

    Args:
        connections: for each output map, the indices of the input maps that it sees.
        kernel_size: k.
        kernel_regularizer: a Keras regularizer.
    """

    def __init__(self, connections, kernel_size, kernel_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.connections = tuple(tuple(maps) for maps in connections)
        self.kernel_size = kernel_size
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        """One k x k kernel for each connection and one bias for each output map."""
        pairs = [(i, o) for o, maps in enumerate(self.connections) for i in maps]
        k = self.kernel_size
        # Where to find the kernel of (input, output) map; the last entry is a kernel of zeros.
        self._index = np.full((input_shape[-1], len(self.connections)), len(pairs))
        for position, (i, o) in enumerate(pairs):
            self._index[i, o] = position
        limit = 2.4 * len(self.connections) / (k * k * len(pairs))  # 2.4 / mean fan-in
        self.kernel = self.add_weight(
            shape=(k, k, len(pairs)),
            initializer=keras.initializers.RandomUniform(-limit, limit),
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(len(self.connections),), name="bias")

    def call(self, x):
        """Gather the dense kernel (k, k, c, maps), zero where there is no connection."""
        kernel = ops.pad(self.kernel, ((0, 0), (0, 0), (0, 1)))
        kernel = ops.take(kernel, self._index, axis=-1)
        return ops.conv(x, kernel, strides=1, padding="valid") + self.bias

    def compute_output_shape(self, input_shape):
        """(n, h - k + 1, w - k + 1, maps)."""
        n, h, w, _ = input_shape
        return (n, h - self.kernel_size + 1, w - self.kernel_size + 1, len(self.connections))

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {
            "connections": self.connections,
            "kernel_size": self.kernel_size,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable("recipes")
class Subsampling(layers.Layer):
    """LeNet-5's S layers: each map's 2x2 sums times one coefficient, plus one bias.

    (n, h, w, c) -> (n, h // 2, w // 2, c).
    """

    def build(self, input_shape):
        """A coefficient and a bias for each map; 1/4 makes it the mean at the start."""
        maps = input_shape[-1:]
        self.coefficient = self.add_weight(
            shape=maps, initializer=keras.initializers.Constant(0.25), name="coefficient"
        )
        self.bias = self.add_weight(shape=maps, name="bias")

    def call(self, x):
        """Coefficient * sum + bias."""
        return self.coefficient * (4.0 * ops.average_pool(x, 2, 2)) + self.bias


@keras.saving.register_keras_serializable("recipes")
class LocalResponseNormalization(layers.Layer):
    """b = a / (bias + alpha * sum of a^2 over `depth` neighbouring channels)^beta (AlexNet, 3.3).

    Args:
        depth: number of channels summed over, centred; n in the paper.
        bias: k in the paper.
        alpha: not divided by n, unlike in PyTorch.
        beta: exponent.
    """

    def __init__(self, depth=5, bias=2.0, alpha=1e-4, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.bias, self.alpha, self.beta = depth, bias, alpha, beta

    def call(self, x):
        """Squares are summed in float32: half precision overflows at 256^2."""
        channels = x.shape[-1]
        before = self.depth // 2
        squares = ops.square(ops.cast(x, "float32"))
        squares = ops.pad(squares, ((0, 0), (0, 0), (0, 0), (before, self.depth - 1 - before)))
        total = sum(squares[..., i : i + channels] for i in range(self.depth))
        return x * ops.cast((self.bias + self.alpha * total) ** -self.beta, x.dtype)

    def get_config(self):
        """The constructor's arguments."""
        config = {"depth": self.depth, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}
        return super().get_config() | config


@keras.saving.register_keras_serializable("recipes")
class RadialBasis(layers.Layer):
    """Minus the squared distance to one fixed code of +-1 for each class (LeNet-5's output).

    (n, d) -> (n, num_classes). As logits, softmax cross-entropy over them is the paper's
    discriminative criterion (its equation 9).

    Args:
        num_classes: number of codes.
        seed: of the codes.
    """

    def __init__(self, num_classes, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.seed = num_classes, seed

    def build(self, input_shape):
        """Codes are drawn from the seed, so that they need not be saved."""
        shape = (input_shape[-1], self.num_classes)
        self.codes = np.random.default_rng(self.seed).choice([-1.0, 1.0], shape).astype("float32")

    def call(self, x):
        """-|x - c|^2 = 2 x.c - |x|^2 - |c|^2."""
        norm = ops.sum(ops.square(x), axis=-1, keepdims=True)
        return 2.0 * ops.matmul(x, self.codes) - norm - float(self.codes.shape[0])

    def compute_output_shape(self, input_shape):
        """(n, num_classes)."""
        return (input_shape[0], self.num_classes)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"num_classes": self.num_classes, "seed": self.seed}


def _vgg(*convolutions: int) -> dict:
    """VGG's configurations (table 1): 3x3 convolutions in five blocks of doubling width."""
    return {
        "input_shape": (224, 224, 3),
        "num_classes": 1000,
        "filters": tuple(
            (w,) * n for w, n in zip((64, 128, 256, 512, 512), convolutions, strict=True)
        ),
        "kernel_size": 3,
        "padding": "same",
        "pooling": "max",
        "units": (4096, 4096),
        "activation": "relu",
        "dropout_rate": 0.5,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "weight_decay": 5e-4,
    }


_SMALL = {"kernel_size": 3, "padding": "same", "pooling": "max", "activation": "relu"}

VARIANTS = {
    "lenet5": {},
    "lenet5_1998": {"pooling": "subsampling", "activation": "scaled_tanh"},
    "simple": _SMALL | {"filters": (32, 64), "units": (128,), "dropout_rate": 0.5},
    "tiny": _SMALL | {"filters": (8, 16), "units": (32,)},
    "alexnet": {
        "input_shape": (227, 227, 3),
        "num_classes": 1000,
        "filters": (96, 256, 384, 384, 256),
        "kernel_size": (11, 5, 3, 3, 3),
        "pooling": "max",
        "groups": 2,
        "units": (4096, 4096),
        "activation": "relu",
        "dropout_rate": 0.5,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "weight_decay": 5e-4,
    },
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
}


POOLS = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}

# What the structure of a network decides, so that it cannot be chosen.
FIXED = {
    "lenet5_1998": {
        "filters": (6, 16),
        "kernel_size": 5,
        "padding": "valid",
        "pooling": "subsampling",
        "batch_norm": False,
    },
    "alexnet": {"padding": "valid", "pooling": "max", "batch_norm": False},
}


@recipe(VARIANTS)
def build_model(
    variant: str = "lenet5",
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    filters: tuple = (6, 16),
    kernel_size: int | tuple[int, ...] = 5,
    padding: str = "valid",
    pooling: str = "average",
    groups: int = 1,
    units: tuple[int, ...] = (120, 84),
    activation: str = "tanh",
    batch_norm: bool = False,
    dropout_rate: float = 0.0,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 1e-3,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    decay_steps: tuple[int, ...] = (),
    seed: int | None = None,
) -> keras.Model:
    """A compiled convolutional network: (n, height, width, channels) -> logits (n, num_classes).

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (height, width, channels).
        num_classes: number of logits.
        filters: for each block of convolutions before a pooling, the width of its one
            convolution, or a tuple of widths; in AlexNet, the widths of the five convolutions.
        kernel_size: of all convolutions; in AlexNet, of each of the five.
        padding: "valid" or "same".
        pooling: "max", "average", or LeNet-5's "subsampling".
        groups: 2 splits AlexNet's convolutions 2, 4 and 5 into two towers.
        units: of the hidden dense layers.
        activation: a Keras activation, or "scaled_tanh".
        batch_norm: normalise each batch after each convolution.
        dropout_rate: after each hidden dense layer.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        momentum: of "sgd" and "rmsprop".
        weight_decay: L2 penalty (weight_decay / 2) |w|^2 on the kernels.
        decay_steps: steps after which the learning rate is divided by ten.
        seed: of the initial weights.

    Raises:
        ValueError: an unknown variant, argument or value; an image too small for the network.
    """
    given = dict(locals())
    for name, value in FIXED.get(variant, {}).items():
        check(given[name] == value, name, given[name], f"{variant} is built with {value!r}")
    if variant not in FIXED:
        check(pooling in POOLS, "pooling", pooling, f"must be one of {', '.join(POOLS)}")
        check(padding in ("valid", "same"), "padding", padding, "must be 'valid' or 'same'")
    check(groups == 1 or variant == "alexnet", "groups", groups, "only alexnet has two towers")
    check(len(input_shape) == 3, "input_shape", input_shape, "must be (height, width, channels)")
    activation = scaled_tanh if activation == "scaled_tanh" else keras.activations.get(activation)

    def kernel() -> dict:
        """A fresh initialiser for each kernel: one that is shared would draw the same values."""
        if variant == "alexnet":
            initializer = keras.initializers.RandomNormal(stddev=0.01)  # section 5
        elif variant == "lenet5_1998":
            initializer = FanInUniform()
        else:
            relu = activation is keras.activations.relu
            initializer = "he_normal" if relu else "glorot_uniform"
        return {"kernel_initializer": initializer, "kernel_regularizer": l2(weight_decay)}

    x = inputs = keras.Input(input_shape)
    if variant == "alexnet":
        x = _alexnet(x, filters, kernel_size, groups, activation, kernel)
    elif variant == "lenet5_1998":
        x = _lenet5_1998(_pad_to_32(x), activation, kernel)
    else:
        x = _pad_to_32(x) if variant == "lenet5" else x
        x = _blocks(
            x, filters, kernel_size, padding, POOLS[pooling], batch_norm, activation, kernel
        )

    x = layers.Flatten()(x)
    for width in units:
        bias = "ones" if variant == "alexnet" else "zeros"  # section 5
        x = layers.Dense(width, activation, bias_initializer=bias, **kernel())(x)
        if dropout_rate:
            x = layers.Dropout(dropout_rate)(x)
    if variant == "lenet5_1998":
        outputs = RadialBasis(num_classes, dtype="float32")(x)
    else:
        outputs = layers.Dense(num_classes, dtype="float32", name="logits", **kernel())(x)

    model = keras.Model(inputs, outputs, name=f"cnn_{variant}")
    model.compile(
        optimizer=make_optimizer(
            optimizer, learning_rate, momentum=momentum, decay_steps=decay_steps
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _pad_to_32(x):
    """Pad pictures below LeNet's 32 x 32 with zeros on all sides, as the paper does with 28."""
    (top, bottom), (left, right) = (
        (missing // 2, missing - missing // 2)
        for missing in (max(0, 32 - x.shape[1]), max(0, 32 - x.shape[2]))
    )
    return layers.ZeroPadding2D(((top, bottom), (left, right)))(x)


def _blocks(x, filters, kernel_size, padding, pool, batch_norm, activation, kernel):
    """Blocks of convolutions, each block closed by a pooling that halves height and width."""
    windows = []  # (size, stride) of everything that shrinks the picture
    blocks = [(block,) if isinstance(block, int) else block for block in filters]
    for block in blocks:
        windows += [(kernel_size, 1)] * len(block) * (padding == "valid") + [(2, 2)]
    _check_size(x, windows)
    for block in blocks:
        for width in block:
            x = layers.Conv2D(width, kernel_size, padding=padding, **kernel())(x)
            if batch_norm:
                x = layers.BatchNormalization()(x)
            x = layers.Activation(activation)(x)
        x = pool(2)(x)
    return x


def _lenet5_1998(x, activation, kernel):
    """C1, S2, C3 and S4 (section II.B); C5 sees all of S4, so that it is the first dense layer."""
    x = layers.Conv2D(6, 5, activation=activation, **kernel())(x)  # C1: 28 x 28 x 6
    x = layers.Activation(activation)(Subsampling()(x))  # S2: 14 x 14 x 6
    x = SparseConv2D(C3_CONNECTIONS, 5, kernel()["kernel_regularizer"])(x)  # C3: 10 x 10 x 16
    x = layers.Activation(activation)(x)
    return layers.Activation(activation)(Subsampling()(x))  # S4: 5 x 5 x 16


def _alexnet(x, filters, kernel_size, groups, activation, kernel):
    """Five convolutions, of which 1, 2 and 5 are pooled and 1 and 2 normalised (section 3.5)."""
    for name, value in (("filters", filters), ("kernel_size", kernel_size)):
        five = isinstance(value, tuple | list) and len(value) == 5
        check(five, name, value, "alexnet needs five, one for each convolution")
    _check_size(x, [(kernel_size[0], 4), (3, 2), (3, 2), (3, 2)])
    for i, (width, size) in enumerate(zip(filters, kernel_size, strict=True), start=1):
        x = layers.Conv2D(
            width,
            size,
            strides=4 if i == 1 else 1,
            padding="valid" if i == 1 else "same",
            groups=groups if i in (2, 4, 5) else 1,
            activation=activation,
            bias_initializer="ones" if i in (2, 4, 5) else "zeros",
            **kernel(),
        )(x)
        if i in (1, 2):
            x = LocalResponseNormalization()(x)
        if i in (1, 2, 5):
            x = layers.MaxPooling2D(3, strides=2)(x)
    return x


def _check_size(x, windows: list[tuple[int, int]]) -> None:
    """Raise where the picture is smaller than what ends as one pixel after all windows."""
    smallest = 1
    for size, stride in reversed(windows):
        smallest = (smallest - 1) * stride + size
    height, width, channels = x.shape[1:]
    if min(height, width) < smallest:
        raise ValueError(
            f"input_shape={(height, width, channels)}: this network needs pictures of at least "
            f"{smallest}x{smallest}; load the data with image_size={smallest} or more"
        )


def load_data(source: object = "mnist5k", *, batch_size: int = 128, seed: int = 0, **options):
    """5,000 of MNIST's digits, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options.

    Returns:
        `Data` of x float32 (n, height, width, channels) and labels int32 (n,).
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training around LeNet-5; defaults are `build_model`'s."""
    scale = hp.Choice("width", [0.5, 1.0, 2.0, 4.0], default=1.0)
    return {
        "filters": (round(6 * scale), round(16 * scale)),
        "kernel_size": hp.Choice("kernel_size", [3, 5], default=5),
        "pooling": hp.Choice("pooling", ["average", "max"], default="average"),
        "activation": hp.Choice("activation", ["tanh", "relu"], default="tanh"),
        "batch_norm": hp.Boolean("batch_norm", default=False),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.6, step=0.1, default=0.0),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "batch_size": hp.Choice("batch_size", [32, 64, 128, 256], default=128),
    }
