"""The gated recurrent unit (GRU): gates as the LSTM's, but no memory beside the state.

Two gates do the work of three: what is kept of the state and what is new share one, z. One step,
with x of the step and h of the step before (* is by element):

    z = sigmoid(x W_z + h U_z + b_z)      what is kept
    r = sigmoid(x W_r + h U_r + b_r)      what the new is made of
    g = tanh(x W_h + (r * h) U_h + b_h)               `reset_after=False`: the paper's
    g = tanh(x W_h + b_h + r * (h U_h + c_h))         `reset_after=True`: cuDNN's, and PyTorch's
    h' = z * h + (1 - z) * g

Where the reset comes after the product, all three products with h are one, and a GPU can do them
at once. The two are different networks, with different weights, and of equal use.

Papers:
    Cho et al. 2014, Learning phrase representations using RNN encoder-decoder (`cho2014`: 1,000
    units, words in 100 numbers; the decoder is not here).
    Chung, Gulcehre, Cho & Bengio 2014, Empirical evaluation of gated recurrent neural networks on
    sequence modeling.
    Conneau et al. 2017, Supervised learning of universal sentence representations (`text`: each
    unit's maximum over the words, in both directions; smaller here. `audio`: likewise over frames
    of sound).

Differences:
    z is what is kept, as in Cho's equation 7; Chung's is what is new. Each gate has a bias.
    Trained by Adam with clipped gradients (Pascanu, Mikolov & Bengio 2013). A forecast is, by
    default, made in differences from the window's last value: a series that rises leaves the range
    of its past, where the network knows nothing.

On GPUs Keras's layer runs cuDNN's kernel, many times faster than step by step. What would break
that: `reset_after=False`, so that the paper's unit is the slow one; recurrent dropout, other
activations than the equations', unrolling, no bias, padding that is not at the end of a sequence
(PyTorch takes it), and, on TensorFlow, `jit_compile=True`. On JAX Keras has no such kernel for the
GRU, only a scan.
"""

import functools

import keras

from recipes import data
from recipes.contract import check, recipe
from recipes.layers import recurrent
from recipes.layers.recurrence import GRU

KINDS = ("series", "text", "audio")
OBJECTIVE = ("val_loss", "min")
EPOCHS = 25

VARIANTS = {
    "gru": {},
    "cho2014": {"units": (1000,), "hidden_dim": 100, "reset_after": False, "learning_rate": 1e-3},
    "text": {
        "units": (128,), "bidirectional": True, "hidden_dim": 128, "pooling": "max",
        "dropout_rate": 0.5, "learning_rate": 1e-3,
    },
    "audio": {
        "units": (64,), "bidirectional": True, "pooling": "max", "dropout_rate": 0.2,
        "learning_rate": 2e-3,
    },
    "tiny": {"units": (16,), "hidden_dim": 16, "learning_rate": 1e-2},
}  # fmt: skip


@recipe(VARIANTS)
def build_model(
    variant: str = "gru",
    *,
    input_shape: tuple[int, ...] = (104, 1),
    vocabulary_size: int | None = None,
    sequence_length: int | None = None,
    task: str | None = None,
    num_classes: int | None = None,
    num_targets: int = 1,
    horizon: int = 13,
    decoder: str = "direct",
    residual: bool = True,
    units: int | tuple[int, ...] = (32,),
    bidirectional: bool = False,
    reset_after: bool = True,
    hidden_dim: int = 64,
    pooling: str = "last",
    masking: bool = False,
    dropout_rate: float = 0.0,
    stateful: bool = False,
    batch_size: int | None = None,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 5e-3,
    clip_norm: float | None = 1.0,
    seed: int | None = None,
) -> keras.Model:
    """A compiled GRU: float (n, steps, features) or token ids (n, steps) -> a task's outputs.

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
        reset_after: after the product with U_h, as cuDNN does it; False: before it, as the paper.
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
    for name in ("variant", "reset_after", "seed"):
        del given[name]
    wanted = "must be True or False"
    check(isinstance(reset_after, bool), "reset_after", reset_after, wanted)
    layer = functools.partial(GRU, reset_after=reset_after)
    return recurrent.build(layer, f"gru_{variant}", **given)


def load_data(source: object = "co2", *, batch_size: int = 64, seed: int = 0, **options):
    """CO2 at Mauna Loa, another series, or texts or recordings with a class each.

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
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=5e-3),
        "batch_size": hp.Choice("batch_size", [16, 32, 64, 128], default=64),
    }


def pictures(model: keras.Model, data) -> dict:
    """What a run shows: forecasts of the test part, or which classes are taken for which."""
    from recipes.reports import series

    return series.pictures(model, data)
