"""Residual networks: ResNet-18 to 152 for ImageNet, ResNet-20 to 110 for small pictures, v1 and v2.

A block adds what it computes to what it was given, x + F(x), so that a layer has only to learn
what to change; gradients pass through the addition, and a hundred layers train as easily as ten.

Papers:
    He, Zhang, Ren & Sun 2015, Deep residual learning for image recognition (v1).
    He, Zhang, Ren & Sun 2016, Identity mappings in deep residual networks (v2, `preactivation`).

Differences:
    Bottlenecks halve the picture in their 3x3 convolution, as torchvision and most users of the
    name do, not in the first 1x1. Weight decay covers kernels, not biases and batch-norm scales.
    Off unless asked for: the paper's schedule (`decay_steps=(32000, 48000)` at batch 128), its
    augmentation (`crop_padding=4, flip=True`), and the zero start of each block's last scale
    (`zero_init`; Goyal 2017, section 5.1).
"""

from numbers import Integral

import keras
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.layers.normalization import BatchNormalization
from recipes.training.optimizers import l2, make_optimizer

KINDS = ("images",)
OBJECTIVE = ("val_accuracy", "max")
EPOCHS = 8


@keras.saving.register_keras_serializable("recipes")
class PaddedShortcut(layers.Layer):
    """The shortcut without weights (option A): every `strides`-th pixel, new channels zero.

    (n, h, w, c) -> (n, ceil(h / strides), ceil(w / strides), filters).

    Args:
        filters: number of output channels.
        strides: between the pixels that are kept.
    """

    def __init__(self, filters, strides, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.strides = filters, strides

    def call(self, x):
        """The new channels lie half before and half behind the old ones."""
        extra = self.filters - x.shape[-1]
        x = x[:, :: self.strides, :: self.strides]
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))

    def compute_output_shape(self, input_shape):
        """(n, ceil(h / strides), ceil(w / strides), filters)."""
        n, h, w, _ = input_shape
        return (n, -(-h // self.strides), -(-w // self.strides), self.filters)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"filters": self.filters, "strides": self.strides}


@keras.saving.register_keras_serializable("recipes")
class RandomCropFlip(layers.Layer):
    """In training, pad each picture with zeros, crop it at random, mirror half of them (sec. 4.2).

    (n, h, w, c) -> (n, h, w, c); each picture has its own draw; in inference the identity.

    Args:
        padding: pixels on each side.
        flip: mirror half of the pictures, left to right.
        seed: of the draws.
    """

    def __init__(self, padding=4, flip=True, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.padding, self.flip, self.seed = padding, flip, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        """Gather each picture's own rows, then its own columns."""
        if not training:
            return x
        (height, width), p = x.shape[1:3], self.padding
        n = ops.shape(x)[0]

        def draw(high):
            return keras.random.randint((n, 1), 0, high, seed=self.seed_generator)

        rows = ops.arange(height) + draw(2 * p + 1)  # (n, h)
        columns = ops.arange(width)
        if self.flip:
            columns = ops.where(draw(2) == 1, width - 1 - columns, columns)
        columns = columns + draw(2 * p + 1)  # (n, w)
        x = ops.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
        x = ops.take_along_axis(x, rows[:, :, None, None], axis=1)  # (n, h, w + 2p, c)
        return ops.take_along_axis(x, columns[:, None, :, None], axis=2)  # (n, h, w, c)

    def compute_output_shape(self, input_shape):
        """As it came."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        config = {"padding": self.padding, "flip": self.flip, "seed": self.seed}
        return super().get_config() | config


def _imagenet(block: str, *num_blocks: int) -> dict:
    """The paper's table 1."""
    return {
        "input_shape": (224, 224, 3),
        "num_classes": 1000,
        "block": block,
        "num_blocks": num_blocks,
        "filters": (64, 128, 256, 512),
        "stem": "imagenet",
        "shortcut": "projection",
    }


VARIANTS = {
    # 6n + 2 layers (section 4.2)
    "resnet20": {"num_blocks": (3, 3, 3)},
    "resnet32": {"num_blocks": (5, 5, 5)},
    "resnet44": {"num_blocks": (7, 7, 7)},
    "resnet56": {"num_blocks": (9, 9, 9)},
    "resnet110": {"num_blocks": (18, 18, 18)},
    "resnet18": _imagenet("basic", 2, 2, 2, 2),
    "resnet34": _imagenet("basic", 3, 4, 6, 3),
    "resnet50": _imagenet("bottleneck", 3, 4, 6, 3),
    "resnet101": _imagenet("bottleneck", 3, 4, 23, 3),
    "resnet152": _imagenet("bottleneck", 3, 8, 36, 3),
    "tiny": {"num_blocks": (1, 1, 1), "filters": (8, 16, 32)},
}


@recipe(VARIANTS)
def build_model(
    variant: str = "resnet20",
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    block: str = "basic",
    num_blocks: tuple[int, ...] = (3, 3, 3),
    filters: tuple[int, ...] = (16, 32, 64),
    stem: str = "cifar",
    shortcut: str = "pad",
    preactivation: bool = False,
    zero_init: bool = False,
    crop_padding: int = 0,
    flip: bool = False,
    optimizer: str | keras.optimizers.Optimizer = "sgd",
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    decay_steps: tuple[int, ...] = (),
    seed: int | None = None,
) -> keras.Model:
    """A compiled residual network: (n, height, width, channels) -> logits (n, num_classes).

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (height, width, channels).
        num_classes: number of logits.
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1, four times as wide).
        num_blocks: number of blocks in each stage.
        filters: width of each stage; every stage after the first halves the picture.
        stem: "cifar" (one 3x3 convolution) or "imagenet" (7x7 and pooling, each halving).
        shortcut: where the shape changes: "pad" (option A, no weights) or "projection" (B).
        preactivation: normalise and activate before each convolution: v2.
        zero_init: start each block's last batch-norm scale at zero; not with preactivation.
        crop_padding: in training, pad by so many pixels and crop at random.
        flip: in training, mirror half of the pictures.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        momentum: of "sgd" and "rmsprop".
        weight_decay: L2 penalty (weight_decay / 2) |w|^2 on the kernels.
        decay_steps: steps after which the learning rate is divided by ten.
        seed: of the initial weights and of the augmentation.

    Raises:
        ValueError: an unknown variant, argument or value; an image too small for the network.
    """
    for name, value, known in (
        ("block", block, ("basic", "bottleneck")),
        ("stem", stem, ("cifar", "imagenet")),
        ("shortcut", shortcut, ("pad", "projection")),
    ):
        check(value in known, name, value, f"must be one of {', '.join(known)}")
    for name, value in (("filters", filters), ("num_blocks", num_blocks)):
        ok = isinstance(value, tuple | list) and value
        ok = ok and all(isinstance(n, Integral) and n >= 1 for n in value)
        check(ok, name, value, "must be a tuple of positive integers, one for each stage")
    stages = len(filters)
    check(len(num_blocks) == stages, "num_blocks", num_blocks, f"needs {stages}, as filters has")
    grows = list(filters) == sorted(filters)
    check(grows or shortcut != "pad", "filters", filters, 'must not fall with shortcut="pad"')
    check(not (zero_init and preactivation), "zero_init", zero_init, "needs preactivation=False")
    ok = isinstance(crop_padding, Integral) and crop_padding >= 0
    check(ok, "crop_padding", crop_padding, "must be an integer of at least 0")
    check(len(input_shape) == 3, "input_shape", input_shape, "must be (height, width, channels)")
    smallest = 2 ** (stages - 1) * (4 if stem == "imagenet" else 1)
    check(
        min(input_shape[:2]) >= smallest,
        "input_shape",
        tuple(input_shape),
        f"this network needs pictures of at least {smallest}x{smallest}; load the data with "
        f"image_size={smallest} or more",
    )

    def conv(x, width: int, size: int, strides: int = 1):
        """Padded by size // 2 on all sides: "same" would pad strided convolutions unevenly."""
        if strides > 1 and size > 1:
            x = layers.ZeroPadding2D(size // 2)(x)
        return layers.Conv2D(
            width,
            size,
            strides,
            padding="same" if strides == 1 else "valid",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=l2(weight_decay),
        )(x)

    def norm(x, gamma: str = "ones"):
        return BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=gamma)(x)

    def activate(x):
        return layers.ReLU()(norm(x))

    def residual(x, width: int, strides: int, first: bool):
        """One block: relu(x + F(x)), or x + F(x) with pre-activation."""
        # (filters, kernel size, strides) of the convolutions in F
        plan = [(width, 3, strides), (width, 3, 1)]
        if block == "bottleneck":
            plan = [(width, 1, 1), (width, 3, strides), (4 * width, 1, 1)]
        wide = plan[-1][0]
        # The stem has activated what the first block gets (2016, appendix).
        y = activate(x) if preactivation and not first else x
        if strides > 1 or x.shape[-1] != wide:  # the shortcut starts behind the activation
            if shortcut == "pad":
                x = PaddedShortcut(wide, strides)(y)
            else:
                x = conv(y, wide, 1, strides)
                x = x if preactivation else norm(x)
        for step in plan[:-1]:
            y = activate(conv(y, *step))
        y = conv(y, *plan[-1])
        if preactivation:
            return layers.Add()([x, y])
        y = norm(y, "zeros" if zero_init else "ones")
        return layers.ReLU()(layers.Add()([x, y]))

    x = inputs = keras.Input(input_shape)
    if crop_padding or flip:
        x = RandomCropFlip(crop_padding, flip)(x)
    x = activate(conv(x, filters[0], 7, 2) if stem == "imagenet" else conv(x, filters[0], 3))
    if stem == "imagenet":
        # Zeros are as good as no padding here: nothing behind a ReLU is smaller.
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, (width, count) in enumerate(zip(filters, num_blocks, strict=True)):
        for i in range(count):
            halve = stage > 0 and i == 0
            x = residual(x, width, strides=2 if halve else 1, first=stage == i == 0)
    if preactivation:
        x = activate(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(
        num_classes, dtype="float32", name="logits", kernel_regularizer=l2(weight_decay)
    )(x)

    model = keras.Model(inputs, outputs, name=f"resnet_{variant}")
    model.compile(
        optimizer=make_optimizer(
            optimizer, learning_rate, momentum=momentum, decay_steps=decay_steps
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def load_data(source: object = "mnist5k", *, batch_size: int = 128, seed: int = 0, **options):
    """5,000 of MNIST's digits, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options.

    Returns:
        `Data` of x float32 (n, height, width, channels) and labels int32 (n,).
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training around ResNet-20; defaults are `build_model`'s."""
    blocks = hp.Choice("blocks_per_stage", [1, 2, 3, 5], default=3)
    width = hp.Choice("first_width", [8, 16, 32], default=16)
    return {
        "num_blocks": (blocks, blocks, blocks),
        "filters": (width, 2 * width, 4 * width),
        "preactivation": hp.Boolean("preactivation", default=False),
        "crop_padding": hp.Choice("crop_padding", [0, 2, 4], default=0),
        "learning_rate": hp.Float("learning_rate", 1e-3, 0.5, sampling="log", default=0.1),
        "weight_decay": hp.Float("weight_decay", 1e-5, 1e-3, sampling="log", default=1e-4),
        "batch_size": hp.Choice("batch_size", [64, 128, 256], default=128),
    }
