"""Dense feed-forward networks (DNN, FNN, MLP): any stack of hidden layers, for tables and images.

Each hidden layer is a weighted sum of all its inputs and a nonlinearity, act(x W + b); one is
enough to approximate any continuous function, more of them need fewer units. An image is
flattened to a row of numbers: the network does not know which pixels are neighbours.

Papers:
    Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors.
    LeCun, Bottou, Bengio & Haffner 1998 (`lenet300`, known as LeNet-300-100).
    Simard, Steinkraus & Platt 2003, Best practices for CNNs (`simard2003`: 1.6 % error on MNIST
    without distortions; its "two layers" are one hidden layer of 800 units and the output).
    Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural networks (`selu`).

Differences:
    The papers' widths, trained as today: Adam, cross-entropy, and initial weights after Glorot
    2010, for ReLU He 2015, for SELU LeCun 1998. Normalisation stands before the nonlinearity, and
    its shift replaces the dense layer's bias (Ioffe & Szegedy 2015; Ba, Kiros & Hinton 2016).
    Dropout covers the hidden layers, not the input; after SELU it is alpha dropout. Weight decay
    covers kernels, not biases.
"""

from numbers import Integral

import keras
from keras import layers

from recipes import data
from recipes.contract import check, recipe
from recipes.training.optimizers import l2, make_optimizer

KINDS = ("images", "tables")
OBJECTIVE = ("val_loss", "min")  # the one measure that classes and regressions both have
EPOCHS = 20

# Without classes it would be a regression.
VARIANTS = {
    "mlp": {"num_classes": 10},
    "shallow": {"num_classes": 10, "units": (128,)},
    "lenet300": {"num_classes": 10, "units": (300, 100), "activation": "tanh", "dropout_rate": 0.0},
    "simard2003": {"num_classes": 10, "units": (800,), "activation": "tanh", "dropout_rate": 0.0},
    "selu": {"num_classes": 10, "units": (256,) * 8, "activation": "selu", "dropout_rate": 0.05},
    "table": {
        "input_shape": (30,),
        "num_classes": 2,
        "units": (64, 64),
        "dropout_rate": 0.1,
        "learning_rate": 1e-2,  # a small table gives few steps in an epoch
    },
    "tiny": {"num_classes": 10, "units": (32,), "dropout_rate": 0.0},
}

# Glorot's for all others.
INITIALIZERS = {keras.activations.relu: "he_normal", keras.activations.selu: "lecun_normal"}
NORMALIZATIONS = ("none", "batch", "layer")


@recipe(VARIANTS)
def build_model(
    variant: str = "mlp",
    *,
    input_shape: tuple[int, ...] = (28, 28, 1),
    num_classes: int | None = None,
    num_targets: int = 1,
    units: tuple[int, ...] = (512, 512),
    activation: str = "relu",
    normalization: str = "none",
    dropout_rate: float = 0.2,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 1e-3,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    decay_steps: tuple[int, ...] = (),
    seed: int | None = None,
) -> keras.Model:
    """A compiled dense network: (n, ...) -> logits (n, num_classes) or values (n, num_targets).

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (features,), or any other shape, which is flattened.
        num_classes: number of logits; None for a regression.
        num_targets: number of values that a regression predicts.
        units: of each hidden layer; () makes it a linear model.
        activation: a Keras activation.
        normalization: before each activation: "none", "batch" or "layer".
        dropout_rate: after each hidden layer.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        momentum: of "sgd" and "rmsprop".
        weight_decay: L2 penalty (weight_decay / 2) |w|^2 on the kernels.
        decay_steps: steps after which the learning rate is divided by ten.
        seed: of the initial weights and of dropout.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    flat = isinstance(units, tuple | list) and all(isinstance(n, Integral) for n in units)
    check(flat, "units", units, "must be a tuple of integers, such as (512, 512)")
    check(normalization in NORMALIZATIONS, "normalization", normalization,
          f"must be one of {', '.join(NORMALIZATIONS)}")  # fmt: skip
    activation = keras.activations.get(activation)
    dropout = layers.AlphaDropout if activation is keras.activations.selu else layers.Dropout

    x = inputs = keras.Input(input_shape)
    if len(input_shape) > 1:
        x = layers.Flatten()(x)
    for width in units:
        x = layers.Dense(
            width,
            use_bias=normalization == "none",
            kernel_initializer=INITIALIZERS.get(activation, "glorot_uniform"),
            kernel_regularizer=l2(weight_decay),
        )(x)
        if normalization == "batch":
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        elif normalization == "layer":
            x = layers.LayerNormalization(epsilon=1e-5)(x)
        x = layers.Activation(activation)(x)
        if dropout_rate:
            x = dropout(dropout_rate)(x)
    outputs = layers.Dense(
        num_targets if num_classes is None else num_classes,
        dtype="float32",
        name="values" if num_classes is None else "logits",
        kernel_regularizer=l2(weight_decay),
    )(x)

    model = keras.Model(inputs, outputs, name=f"dnn_{variant}")
    if num_classes is None:
        loss, metrics = keras.losses.MeanSquaredError(), ["mae"]
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy"]
    model.compile(
        optimizer=make_optimizer(
            optimizer, learning_rate, momentum=momentum, decay_steps=decay_steps
        ),
        loss=loss,
        metrics=metrics,
    )
    return model


def load_data(source: object = "mnist5k", *, batch_size: int = 32, seed: int = 0, **options):
    """5,000 of MNIST's digits, another embedded set, images or a table of your own.

    See `recipes.data.images.load` and `recipes.data.tables.load` for all sources and options.

    Returns:
        `Data` of x float32 (n, height, width, channels) or (n, features), and labels int32 (n,)
        or, for a regression, values float32 (n, 1).
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`.

    Not of `weight_decay`, which counts in the loss on the validation part, too: none would win.
    """
    deepest = 4
    num_layers = hp.Int("num_layers", 1, deepest, default=2)
    units = []
    for i in range(1, deepest + 1):
        with hp.conditional_scope("num_layers", list(range(i, deepest + 1))):
            units.append(hp.Choice(f"units_{i}", [32, 64, 128, 256, 512, 1024], default=512))
    return {
        "units": tuple(units[:num_layers]),
        "activation": hp.Choice("activation", ["relu", "tanh", "selu"], default="relu"),
        "normalization": hp.Choice("normalization", list(NORMALIZATIONS), default="none"),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.6, step=0.1, default=0.2),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "batch_size": hp.Choice("batch_size", [16, 32, 64, 128], default=32),
    }
