"""The simple recurrent network: its hidden units see the input and themselves one step before.

With x of the step and h of the step before,

    h' = tanh(x W + h U + b).

What an error says about k steps before passes k times through U and the slope of tanh, and so
shrinks or grows like a power (Hochreiter 1991; Bengio, Simard & Frasconi 1994): twenty steps are
far. `irnn` starts with h' = relu(h): the state stays, until training finds a reason to change it.

Papers:
    Elman 1990, Finding structure in time.
    Schuster & Paliwal 1997, Bidirectional recurrent neural networks (`bidirectional`).
    Le, Jaitly & Hinton 2015, A simple way to initialize recurrent networks of rectified linear
    units (`irnn`: U starts as the identity, W as N(0, 0.001), 100 units).

Differences:
    Elman's gradients went one step back; these go to the beginning. Adam, not plain descent, and
    clipped gradients (Pascanu, Mikolov & Bengio 2013). U of the others starts orthogonal (Saxe,
    McClelland & Ganguli 2014). A forecast is, by default, made in differences from the window's
    last value: a series that rises leaves the range of its past, where the network knows nothing.

Keras has no cuDNN path for this layer: on a GPU it goes step by step on TensorFlow and JAX, and
`lstm` and `gru` are faster there.
"""

import functools

import keras

from recipes import data
from recipes.contract import recipe, unknown
from recipes.layers import recurrent
from recipes.layers.recurrence import SimpleRNN

KINDS = ("series", "text", "audio")
OBJECTIVE = ("val_loss", "min")
EPOCHS = 30

VARIANTS = {
    "elman": {},
    "irnn": {"units": (100,), "activation": "relu", "initializer": "identity"},
    "bidirectional": {"bidirectional": True},
    "text": {
        "units": (128,), "bidirectional": True, "hidden_dim": 128, "pooling": "max",
        "dropout_rate": 0.5, "learning_rate": 1e-3,
    },
    "tiny": {"units": (16,), "hidden_dim": 16, "learning_rate": 1e-2},
}  # fmt: skip
INITIALIZERS = ("orthogonal", "identity")
# A configuration, so that each layer makes a generator of its own.
SMALL = {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 0.001}}


@recipe(VARIANTS)
def build_model(
    variant: str = "elman",
    *,
    input_shape: tuple[int, ...] = (33, 1),
    vocabulary_size: int | None = None,
    sequence_length: int | None = None,
    task: str | None = None,
    num_classes: int | None = None,
    num_targets: int = 1,
    horizon: int = 1,
    decoder: str = "direct",
    residual: bool = True,
    units: int | tuple[int, ...] = (32,),
    bidirectional: bool = False,
    activation: str = "tanh",
    initializer: str = "orthogonal",
    hidden_dim: int = 64,
    pooling: str = "last",
    masking: bool = False,
    dropout_rate: float = 0.0,
    stateful: bool = False,
    batch_size: int | None = None,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 3e-3,
    clip_norm: float | None = 1.0,
    seed: int | None = None,
) -> keras.Model:
    """A compiled network: float (n, steps, features) or token ids (n, steps) -> a task's outputs.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: (steps, features) of float inputs.
        vocabulary_size: of token ids, which then are the inputs, int32, 0 where padded.
        sequence_length: of token ids.
        task: "classification": logits (n, num_classes); "labelling": of each step; "regression":
            values (n, num_targets); "forecasting": values (n, horizon[, num_targets]). By default
            classification where there are classes, otherwise forecasting.
        num_classes: of classification and labelling.
        num_targets: of regression; of forecasting, which of the features come first are forecast.
        horizon: steps that are forecast.
        decoder: "direct": all steps of the horizon from the last state; "autoregressive": one
            step, which is fed back as the next input.
        residual: of a forecast: the targets are seen and told as differences from the window's
            last value.
        units: of each recurrent layer.
        bidirectional: each layer reads forwards and backwards, with its units each way.
        activation: a Keras activation.
        initializer: how U starts: "orthogonal", or "identity", with W small, N(0, 0.001).
        hidden_dim: numbers that a token is embedded in.
        pooling: what the head sees: the "last" state, or each unit's "max" over the steps.
        masking: float steps that are all zero are padding.
        dropout_rate: of embeddings and each layer's outputs; not from step to step.
        stateful: each batch goes on from the states that the one before ended in;
            `recipes.layers.recurrent.reset_state` begins anew.
        batch_size: of a stateful model, fixed.
        optimizer: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: a number or a schedule.
        clip_norm: of all gradients together, at most; None: not clipped.
        seed: of the initial weights and of dropout.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    given = dict(locals())
    for name in ("variant", "activation", "initializer", "seed"):
        del given[name]
    if initializer not in INITIALIZERS:
        raise unknown("initializer", initializer, INITIALIZERS)
    layer = functools.partial(
        SimpleRNN,
        activation=keras.activations.get(activation),
        kernel_initializer=SMALL if initializer == "identity" else "glorot_uniform",
        recurrent_initializer=initializer,
    )
    return recurrent.build(layer, f"rnn_{variant}", **given)


def load_data(source: object = "sunspots", *, batch_size: int = 32, seed: int = 0, **options):
    """Sunspots of each year, another series, or texts or recordings with a class each.

    See `load` of `recipes.data.series`, `recipes.data.text` and `recipes.data.audio` for all
    sources and options.

    Returns:
        `Data` of windows float32 (n, window, features) and what follows, (n, horizon); or of token
        ids int32 (n, sequence_length), or log-mel frames float32 (n, frames, num_mels), and labels
        int32 (n,).
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    num_layers = hp.Int("num_layers", 1, 3, default=1)
    width = hp.Choice("units", [16, 32, 64, 128, 256], default=32)
    return {
        "units": (width,) * num_layers,
        "bidirectional": hp.Boolean("bidirectional", default=False),
        "pooling": hp.Choice("pooling", list(recurrent.POOLINGS), default="last"),
        "hidden_dim": hp.Choice("hidden_dim", [32, 64, 128, 256], default=64),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.6, step=0.1, default=0.0),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=3e-3),
        "batch_size": hp.Choice("batch_size", [16, 32, 64, 128], default=32),
    }


def pictures(model: keras.Model, data) -> dict:
    """What a run shows: forecasts of the test part, or which classes are taken for which."""
    from recipes.reports import series

    return series.pictures(model, data)
