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
    constant "rubbish class" term. Both pad smaller pictures to 32x32 with zeros, and learn by
    Adam instead of by the paper's stochastic Levenberg-Marquardt method.
    AlexNet's two towers are grouped convolutions (`groups=1`: one tower). VGG starts from He's
    initial weights instead of from a trained smaller network; with `batch_norm` its convolutions
    keep their biases, as torchvision's do. Weight decay covers kernels, not biases. The learning
    rate, lowered by hand in the papers, has `decay_steps`. There is no data augmentation.
"""

from numbers import Integral

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.layers.normalization import BatchNormalization
from recipes.training.optimizers import l2, make_optimizer

KINDS = ("images",)
OBJECTIVE = ("val_accuracy", "max")
EPOCHS = 15

# Table I of the paper: the S2 maps (0 .. 5) that each of the 16 C3 maps sees.
C3_CONNECTIONS = (
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6) for i in range(3)),
    (0, 1, 2, 3, 4, 5),
)


@keras.saving.register_keras_serializable("recipes")
def scaled_tanh(x):
    """1.7159 tanh(2x/3) (LeCun 1998, equation 6): f(1) = 1, f(-1) = -1, nearly linear between."""
    return 1.7159 * ops.tanh(x * (2.0 / 3.0))


@keras.saving.register_keras_serializable("recipes")
class SparseConv2D(layers.Layer):
    """Convolution whose output maps each see some of the input maps (LeNet-5's C3).

    (n, h, w, c) -> (n, h - k + 1, w - k + 1, len(connections)).

    Args:
        connections: for each output map, the indices of the input maps that it sees.
        kernel_size: k.
        kernel_initializer: of the kernels, shape (k, k, number of connections).
        kernel_regularizer: likewise.
    """

    def __init__(
        self,
        connections,
        kernel_size,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.connections = tuple(tuple(maps) for maps in connections)
        self.kernel_size = kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        """One k x k kernel for each connection and one bias for each output map."""
        pairs = [(i, o) for o, maps in enumerate(self.connections) for i in maps]
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, len(pairs)),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(len(self.connections),), initializer="zeros", name="bias"
        )
        # Which kernel joins input map i to output map o; where none does, one of zeros behind them.
        self._index = np.full((input_shape[-1], len(self.connections)), len(pairs))
        self._index[tuple(zip(*pairs, strict=True))] = np.arange(len(pairs))

    def call(self, x):
        """Gather the dense kernel (k, k, c, maps) and convolve."""
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
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
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
        self.bias = self.add_weight(shape=maps, initializer="zeros", name="bias")

    def call(self, x):
        """Coefficient * sum + bias."""
        return self.coefficient * (4.0 * ops.average_pool(x, 2, 2)) + self.bias

    def compute_output_shape(self, input_shape):
        """(n, h // 2, w // 2, c)."""
        n, h, w, c = input_shape
        return (n, h // 2, w // 2, c)


@keras.saving.register_keras_serializable("recipes")
class LocalResponseNormalization(layers.Layer):
    """b = a / (bias + alpha * sum of a^2 over `depth` neighbouring channels)^beta (AlexNet, 3.3).

    (n, h, w, c) -> (n, h, w, c).

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

    def compute_output_shape(self, input_shape):
        """As it came."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        config = {"depth": self.depth, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}
        return super().get_config() | config


@keras.saving.register_keras_serializable("recipes")
class RadialBasis(layers.Layer):
    """Minus the squared distance to one fixed code of +-1 for each class (LeNet-5, equation 7).

    (n, d) -> (n, num_classes). As logits, softmax cross-entropy over them is the paper's
    discriminative criterion (equation 9).

    Args:
        num_classes: number of codes.
        seed: of the codes.
    """

    def __init__(self, num_classes, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.seed = num_classes, seed

    def build(self, input_shape):
        """Codes (d, num_classes) are drawn from the seed, so that they need not be saved."""
        shape = (input_shape[-1], self.num_classes)
        self.codes = np.random.default_rng(self.seed).choice([-1.0, 1.0], shape).astype("float32")

    def call(self, x):
        """-|x - c|^2 = 2 x.c - |x|^2 - d."""
        norm = ops.sum(ops.square(x), axis=-1, keepdims=True)
        return 2.0 * ops.matmul(x, self.codes) - norm - float(x.shape[-1])

    def compute_output_shape(self, input_shape):
        """(n, num_classes)."""
        return (input_shape[0], self.num_classes)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"num_classes": self.num_classes, "seed": self.seed}


_IMAGENET = {
    "num_classes": 1000,
    "pooling": "max",
    "units": (4096, 4096),
    "activation": "relu",
    "dropout_rate": 0.5,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
}


def _vgg(*convolutions: int) -> dict:
    """VGG's table 1: five blocks of so many 3x3 convolutions."""
    widths = zip((64, 128, 256, 512, 512), convolutions, strict=True)
    return _IMAGENET | {
        "input_shape": (224, 224, 3),
        "filters": tuple((width,) * count for width, count in widths),
        "kernel_size": 3,
        "padding": "same",
    }


_SMALL = {"kernel_size": 3, "padding": "same", "pooling": "max", "activation": "relu"}

VARIANTS = {
    "lenet5": {},
    "lenet5_1998": {"pooling": "subsampling", "activation": "scaled_tanh"},
    "simple": _SMALL | {"filters": (32, 64), "units": (128,), "dropout_rate": 0.5},
    "tiny": _SMALL | {"filters": (8, 16), "units": (32,)},
    "alexnet": _IMAGENET
    | {
        "input_shape": (227, 227, 3),
        "filters": (96, 256, 384, 384, 256),
        "kernel_size": (11, 5, 3, 3, 3),
        "groups": 2,
    },
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
}


POOLS = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}


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
        variant: a key of `VARIANTS`; arguments given here override what it sets. `lenet5_1998`
            fixes its convolutions and pooling.
        input_shape: (height, width, channels).
        num_classes: number of logits.
        filters: for each block of convolutions before a pooling, the width of its one
            convolution, or a tuple of widths; in AlexNet, the widths of the five convolutions.
        kernel_size: of all convolutions; in AlexNet, of each of the five.
        padding: "valid" or "same"; in AlexNet, of the first convolution.
        pooling: "max", "average", or LeNet-5's "subsampling".
        groups: 2 splits AlexNet's convolutions 2, 4 and 5 into two towers.
        units: of the hidden dense layers.
        activation: a Keras activation, or "scaled_tanh".
        batch_norm: normalise each batch between a convolution and its activation.
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
    check(len(input_shape) == 3, "input_shape", input_shape, "must be (height, width, channels)")
    check(_are_integers(units), "units", units, "must be a tuple of integers, such as (120, 84)")
    check(groups == 1 or variant == "alexnet", "groups", groups, "only alexnet has two towers")
    if variant == "lenet5_1998":
        for name, value, paper in (
            ("filters", filters, (6, 16)),
            ("kernel_size", kernel_size, 5),
            ("padding", padding, "valid"),
            ("pooling", pooling, "subsampling"),
            ("batch_norm", batch_norm, False),
        ):
            check(np.array_equal(value, paper), name, value, f"the network of 1998 has {paper!r}")
    else:
        check(padding in ("valid", "same"), "padding", padding, "must be 'valid' or 'same'")
        check(pooling in POOLS, "pooling", pooling, f"must be one of {', '.join(POOLS)}")
    if variant == "alexnet":
        for name, value in (("filters", filters), ("kernel_size", kernel_size)):
            five = _are_integers(value) and len(value) == 5
            check(five, name, value, "alexnet needs five, one for each convolution")
    else:
        check(isinstance(kernel_size, Integral), "kernel_size", kernel_size, "must be an integer")
        ok = isinstance(filters, tuple | list) and len(filters)
        check(ok, "filters", filters, "must be a tuple, such as (6, 16) or ((64, 64), (128, 128))")
        blocks = [block if isinstance(block, tuple | list) else (block,) for block in filters]
    if activation == "scaled_tanh":
        activation = scaled_tanh
    activation = keras.activations.get(activation)

    def kernel(fan_in: int) -> dict:
        """How a kernel starts, and its penalty."""
        if variant == "lenet5_1998":
            initializer = keras.initializers.RandomUniform(-2.4 / fan_in, 2.4 / fan_in)  # app. A
        elif variant == "alexnet":
            initializer = keras.initializers.RandomNormal(stddev=0.01)  # section 5
        else:
            relu = activation is keras.activations.relu
            initializer = "he_normal" if relu else "glorot_uniform"
        return {"kernel_initializer": initializer, "kernel_regularizer": l2(weight_decay)}

    def conv(x, width: int, size: int, **options):
        fan_in = size * size * x.shape[-1]
        x = layers.Conv2D(width, size, **kernel(fan_in), **options)(x)
        if batch_norm:
            x = BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        return layers.Activation(activation)(x)

    x = inputs = keras.Input(input_shape)
    if variant in ("lenet5", "lenet5_1998"):
        x = _pad_to_32(x)
    if variant == "lenet5_1998":  # section II.B
        x = conv(x, 6, 5)  # C1: 28 x 28 x 6
        x = layers.Activation(activation)(Subsampling()(x))  # S2: 14 x 14 x 6
        x = SparseConv2D(C3_CONNECTIONS, 5, **kernel(5 * 5 * 60 / 16))(x)  # C3: 10 x 10 x 16
        x = layers.Activation(activation)(x)
        x = layers.Activation(activation)(Subsampling()(x))  # S4: 5 x 5 x 16
        # C5 sees all of S4, so that it is the first dense layer; F6 is the second.
    elif variant == "alexnet":  # section 3.5
        first = (kernel_size[0] if padding == "valid" else 1, 4)
        _check_size(input_shape, x, [first, (3, 2), (3, 2), (3, 2)])
        for i, (width, size) in enumerate(zip(filters, kernel_size, strict=True), start=1):
            x = conv(
                x,
                width,
                size,
                strides=4 if i == 1 else 1,
                padding=padding if i == 1 else "same",
                groups=groups if i in (2, 4, 5) else 1,
                bias_initializer="ones" if i in (2, 4, 5) else "zeros",
            )
            if i in (1, 2):
                x = LocalResponseNormalization()(x)
            if i in (1, 2, 5):
                x = POOLS[pooling](3, strides=2)(x)
    else:
        windows = []
        for block in blocks:
            windows += [(kernel_size, 1)] * len(block) * (padding == "valid") + [(2, 2)]
        _check_size(input_shape, x, windows)
        for block in blocks:
            for width in block:
                x = conv(x, width, kernel_size, padding=padding)
            x = POOLS[pooling](2)(x)

    x = layers.Flatten()(x)
    for width in units:
        bias = "ones" if variant == "alexnet" else "zeros"  # section 5
        x = layers.Dense(width, activation, bias_initializer=bias, **kernel(x.shape[-1]))(x)
        if dropout_rate:
            x = layers.Dropout(dropout_rate)(x)
    if variant == "lenet5_1998":
        outputs = RadialBasis(num_classes, dtype="float32", name="logits")(x)
    else:
        head = kernel(x.shape[-1])
        outputs = layers.Dense(num_classes, dtype="float32", name="logits", **head)(x)

    model = keras.Model(inputs, outputs, name=f"cnn_{variant}")
    model.compile(
        optimizer=make_optimizer(
            optimizer, learning_rate, momentum=momentum, decay_steps=decay_steps
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _are_integers(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(n, Integral) for n in value)


def _pad_to_32(x):
    """Pad pictures below LeNet's 32 x 32 with zeros on all sides, as the paper does with 28."""
    missing = [max(0, 32 - size) for size in x.shape[1:3]]
    if not any(missing):
        return x
    return layers.ZeroPadding2D(tuple((m // 2, m - m // 2) for m in missing))(x)


def _check_size(input_shape: tuple, x, windows: list[tuple[int, int]]) -> None:
    """Raise where x is smaller than what ends as one pixel after all windows (size, stride)."""
    smallest = 1
    for size, stride in reversed(windows):
        smallest = (smallest - 1) * stride + size
    check(
        min(x.shape[1:3]) >= smallest,
        "input_shape",
        tuple(input_shape),
        f"this network needs pictures of at least {smallest}x{smallest}; load the data with "
        f"image_size={smallest} or more",
    )


def load_data(source: object = "mnist5k", *, batch_size: int = 32, seed: int = 0, **options):
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
        "batch_size": hp.Choice("batch_size", [16, 32, 64, 128], default=32),
    }
