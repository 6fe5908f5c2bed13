"""Deep belief networks: layers that learn to see one by one, without labels, then all with labels.

Each layer is a restricted Boltzmann machine that learns what the layer below it says about the
images. The stack so gained is a generator of images, and also the best known start, in 2006, for
the training of a deep classifier: a head is put on top, and back-propagation tunes it all.

`fit` does both: the first epochs, `pretrain_epochs` for each layer, train one layer after the
other; the epochs that remain train the classifier. Which it is follows from the epoch's number
alone, so `initial_epoch` resumes in the right place, and a second `fit` from epoch 0 starts over.

Papers:
    Hinton, Osindero & Teh 2006, A fast learning algorithm for deep belief nets (784-500-500-2000;
    1.25 % of MNIST's test digits wrong).
    Hinton & Salakhutdinov 2006, Reducing the dimensionality of data with neural networks
    (`hinton2006`: 784-500-500-2000-10, 1,665,010 parameters, fine-tuned by back-propagation: 1.2 %
    wrong).
    Bengio, Lamblin, Popovici & Larochelle 2007, Greedy layer-wise training of deep networks.

Differences:
    The first paper models the labels together with the images in the top layer, and fine-tunes by
    the up-down algorithm; here, as in the second, a softmax layer is trained by back-propagation,
    but with Adam, not with conjugate gradients. The machines keep their weights in fine-tuning,
    which moves a copy, so that the network still generates. In pre-training the loss is the
    reconstruction error in nats a unit, and the accuracy is that of the untrained classifier.
"""

import math
import warnings
from numbers import Integral

import keras
import numpy as np
from keras import layers, ops

from recipes.contract import check, recipe
from recipes.contract.arguments import check_vocabulary
from recipes.data.images import load_unit
from recipes.layers.boltzmann import Boltzmann, first_examples, run_chains
from recipes.training.optimizers import make_optimizer
from recipes.training.unsupervised import Unsupervised

KINDS = ("images",)
OBJECTIVE = ("val_accuracy", "max")
EPOCHS = 40
NO_FALLING_LOSS = "Its loss is another one in each stage: reconstruction errors, then classes."


@keras.saving.register_keras_serializable("recipes")
class DBN(keras.Model):
    """A classifier and the machines that it starts from: images in [0, 1] -> logits, float32.

    Stage i trains machine i on the hidden probabilities of the one below; the last stage, where a
    new model and one without pre-training are at once, trains the classifier. Each stage has an
    optimizer of its own.

    Args:
        input_shape: of one image.
        network: images -> logits; a dense layer for each machine, and the head.
        machines: images -> hidden probabilities of the last machine, through all of them.
        pretraining: configuration of the optimizer of the machines.
        finetuning: that of the classifier, while it is not the model's present one.
        pretrain_epochs: for each machine.
        gibbs_steps: of contrastive divergence.
        stage: the present one; None: the last.
    """

    value_range = (0.0, 1.0)
    input_shape = Unsupervised.input_shape
    check_examples = Unsupervised.check_examples

    def __init__(self, input_shape, network, machines, pretraining, finetuning=None,
                 pretrain_epochs=10, gibbs_steps=1, stage=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.example_shape, self.network, self.stack = tuple(input_shape), network, machines
        self.machines = [layer for layer in machines.layers if isinstance(layer, Boltzmann)]
        self.pretraining, self.finetuning = pretraining, finetuning
        self.pretrain_epochs, self.gibbs_steps = pretrain_epochs, gibbs_steps
        self.built = True
        self._train_alone(len(self.machines) if stage is None else stage)

    def get_config(self):
        """The constructor's arguments."""
        names = ("pretraining", "finetuning", "pretrain_epochs", "gibbs_steps", "stage")
        return {
            "name": self.name,
            "input_shape": self.example_shape,
            "network": keras.saving.serialize_keras_object(self.network),
            "machines": keras.saving.serialize_keras_object(self.stack),
            **{name: getattr(self, name) for name in names},
        }

    @classmethod
    def from_config(cls, config):
        """The model of a configuration."""
        names = ("network", "machines")
        made = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
        return cls(**{**config, **made})

    def get_compile_config(self):
        """With the optimizer of the present stage."""
        if not self.compiled:
            return None
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return {**super().get_compile_config(), "optimizer": optimizer}

    def call(self, x):
        """Logits."""
        return self.network(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Of the present stage: nats a visible unit, or the compiled loss of the classes."""
        if self.stage == len(self.machines):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        machine, v = self.machines[self.stage], self.seen_by(self.stage, x)
        if not training:
            return ops.mean(machine.reconstruction_error(v)) / v.shape[-1]
        loss, error, _ = machine.contrastive_divergence(v, self.gibbs_steps)
        loss = loss + sum(self.losses)
        return loss - ops.stop_gradient(loss) + ops.mean(error) / v.shape[-1]

    def seen_by(self, index, x):
        """What a machine sees of images: the hidden probabilities of the one below."""
        v = ops.reshape(ops.cast(x, "float32"), (-1, math.prod(self.example_shape)))
        for machine in self.machines[:index]:
            v = machine(v)
        return ops.stop_gradient(v)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            **kwargs):  # fmt: skip
        """As `keras.Model.fit`; epochs count over all stages, and each stage says its beginning.

        Warns where the epochs do not reach fine-tuning.

        Raises:
            ValueError: the first images have another shape, or values outside of [0, 1].
        """
        self.check_examples(x)
        needed = self.pretrain_epochs * len(self.machines)
        if needed and epochs <= needed:
            warnings.warn(
                f"epochs={epochs}: no fine-tuning takes place, since pre-training takes {needed} "
                f"({self.pretrain_epochs} for each layer): the classes are not learnt",
                stacklevel=2,
            )
        callbacks = [Stages(x, verbose), *keras.tree.flatten(callbacks or [])]
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def stage_of(self, epoch: int) -> int:
        """The stage that an epoch (from 0) belongs to; the number of machines: fine-tuning."""
        last = len(self.machines)
        return min(epoch // self.pretrain_epochs, last) if self.pretrain_epochs else last

    def enter(self, stage: int, examples: np.ndarray | None = None) -> None:
        """Leave the present stage for another one, with a new optimizer.

        Args:
            stage: as of `stage_of`.
            examples: images, whose frequencies a machine that is new starts from.
        """
        last = len(self.machines)
        if self.stage == last:
            self.finetuning = keras.saving.serialize_keras_object(self.optimizer)
        if stage == last:
            dense = [layer for layer in self.network.layers if isinstance(layer, layers.Dense)]
            for machine, layer in zip(self.machines, dense[:-1], strict=True):
                layer.set_weights(
                    [*map(ops.convert_to_numpy, (machine.kernel, machine.hidden_bias))]
                )
        elif examples is not None:
            bias = self.machines[stage].visible_bias
            if not np.any(ops.convert_to_numpy(bias)):
                seen = ops.convert_to_numpy(self.seen_by(stage, examples))
                bias.assign(self.machines[stage].bias_of(seen))
        self._train_alone(stage)
        made = keras.optimizers.deserialize(self.finetuning if stage == last else self.pretraining)
        scaled = keras.optimizers.LossScaleOptimizer
        if isinstance(self.optimizer, scaled) and not isinstance(made, scaled):
            made = scaled(made)
        made.build(self.trainable_variables)
        self.optimizer = made
        self.make_train_function(force=True)
        self.make_test_function(force=True)

    def _train_alone(self, stage):
        for i, machine in enumerate(self.machines):
            machine.trainable = i == stage
        self.network.trainable = stage == len(self.machines)
        self.stage = stage

    def generate(
        self, count: int, labels: None = None, seed: int = 0, gibbs_steps: int = 1000
    ) -> np.ndarray:
        """Dreams of the pre-trained machines: images (count, *input_shape) in [0, 1], float32.

        Gibbs sampling in the top machine, then one pass down: drawn layer by layer, but for the
        pixels, which are probabilities.

        Args:
            count: images, each from a chain of its own.
            labels: must be None: the machines know no labels.
            seed: of all draws.
            gibbs_steps: that each chain takes.

        Raises:
            ValueError: labels, or a count or number of steps below 1.
        """
        check_vocabulary({"count": count, "seed": seed})
        check(labels is None, "labels", labels, "the machines learn without labels: must be None")
        ok = isinstance(gibbs_steps, Integral) and gibbs_steps >= 1
        check(ok, "gibbs_steps", gibbs_steps, "must be a positive integer")
        *below, top = self.machines
        v, _ = run_chains(top, count, np.ones(gibbs_steps + 1), seed=seed)
        generator = np.random.default_rng(seed)
        if not below:
            v = ops.convert_to_numpy(top.reconstruct(ops.convert_to_tensor(v)))
        for machine in reversed(below):
            h = v.astype("float32")
            v = ops.convert_to_numpy(machine.visible_means(machine.visible_inputs(h)))
            if machine is not below[0]:
                v = generator.random(v.shape, "float32") < v
        return v.reshape(count, *self.example_shape)


class Stages(keras.callbacks.Callback):
    """Takes a `DBN` from stage to stage.

    Args:
        x: what the model is fitted on.
        verbose: 0 for silence.
    """

    def __init__(self, x, verbose):
        super().__init__()
        self.x, self.verbose, self.said = x, verbose, None

    def on_epoch_begin(self, epoch, logs=None):
        """Enter the stage that the epoch belongs to, and say so."""
        model, stage = self.model, self.model.stage_of(epoch)
        if stage != model.stage:
            model.enter(stage, first_examples(self.x))
        if self.verbose and stage != self.said and model.pretrain_epochs:
            self.said, last = stage, len(model.machines)
            if stage < last:
                sizes = "-".join(map(str, model.machines[stage].kernel.shape))
                print(f"Pre-training layer {stage + 1} of {last} ({sizes})")
            else:
                print("Fine-tuning all layers")


VARIANTS = {
    "small": {},
    "hinton2006": {"units": (500, 500, 2000), "pretrain_epochs": 50},
    "tiny": {"units": (32,), "pretrain_epochs": 1},
}


@recipe(VARIANTS)
def build_model(
    variant: str = "small",
    *,
    input_shape: tuple[int, ...] = (28, 28, 1),
    num_classes: int = 10,
    units: tuple[int, ...] = (500, 500),
    pretrain_epochs: int = 10,
    pretrain_learning_rate: float = 0.05,
    gibbs_steps: int = 1,
    momentum: float = 0.5,
    weight_decay: float = 2e-4,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float = 1e-3,
    seed: int | None = None,
) -> keras.Model:
    """A compiled `DBN`: images (n, *input_shape) in [0, 1] -> logits (n, num_classes).

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: of one example, as a rule (height, width, channels).
        num_classes: number of logits.
        units: of each layer.
        pretrain_epochs: epochs in which each layer learns alone, before the classifier; 0: none.
        pretrain_learning_rate: of these, by stochastic gradient descent.
        gibbs_steps: of their contrastive divergence.
        momentum: of theirs, and of "sgd" and "rmsprop".
        weight_decay: L2 penalty (weight_decay / 2) |W|^2 on their kernels.
        optimizer: of fine-tuning: "sgd", "adam", "adamw", "rmsprop", "adagrad", or an optimizer.
        learning_rate: of fine-tuning, a number or a schedule.
        seed: of the initial weights and of the sampling.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    flat = isinstance(units, tuple | list) and units and all(isinstance(n, int) for n in units)
    check(flat, "units", units, "must be a tuple of positive integers, such as (500, 500)")
    for name, value, least in (("pretrain_epochs", pretrain_epochs, 0),
                               ("gibbs_steps", gibbs_steps, 1)):  # fmt: skip
        ok = isinstance(value, Integral) and not isinstance(value, bool) and value >= least
        check(ok, name, value, f"must be an integer of at least {least}")
    rate = pretrain_learning_rate
    ok = isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0
    check(ok, "pretrain_learning_rate", rate, "must be a positive number")

    x = keras.Input(input_shape)
    h = layers.Flatten(dtype="float32")(x)
    for i, width in enumerate(units, 1):
        h = Boltzmann(width, weight_decay=weight_decay, name=f"machine_{i}")(h)
    machines = keras.Model(x, h, name="machines")
    x = keras.Input(input_shape)
    h = layers.Flatten()(x)
    for width in units:
        h = layers.Dense(width, activation="sigmoid")(h)
    h = layers.Dense(num_classes, dtype="float32", name="logits")(h)
    network = keras.Model(x, h, name="network")

    pretraining = make_optimizer("sgd", pretrain_learning_rate, momentum=momentum)
    model = DBN(
        input_shape, network, machines, keras.saving.serialize_keras_object(pretraining),
        pretrain_epochs=pretrain_epochs, gibbs_steps=gibbs_steps, name=f"dbn_{variant}",
    )  # fmt: skip
    model.compile(
        optimizer=make_optimizer(optimizer, learning_rate, momentum=momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def load_data(source: object = "mnist5k", *, batch_size: int = 50, seed: int = 0, **options):
    """5,000 of MNIST's digits, a TensorFlow Datasets name, a folder of pictures, or arrays.

    See `recipes.data.images.load` for all sources and options.

    Returns:
        `Data` of x float32 (n, height, width, channels) in [0, 1], and labels int32 (n,).
    """
    options = {"labelled": True, **options}
    return load_unit(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; the defaults are those of `build_model`."""
    width = hp.Choice("units", [100, 200, 500, 1000], default=500)
    return {
        "units": (width,) * hp.Int("num_layers", 1, 3, default=2),
        "pretrain_epochs": hp.Choice("pretrain_epochs", [0, 5, 10], default=10),
        "pretrain_learning_rate": hp.Float(
            "pretrain_learning_rate", 5e-3, 0.2, sampling="log", default=0.05
        ),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "batch_size": hp.Choice("batch_size", [20, 50, 100], default=50),
    }


def pictures(model: DBN, data) -> dict:
    """What a run shows: the first layer's features, dreams, and the test part's confusions."""
    from recipes.reports import plots

    part = data.test
    chosen = part.indices[:10_000]
    logits = model.predict(part.transform(part.x[chosen]), verbose=0)
    kernel = ops.convert_to_numpy(model.machines[0].kernel)
    filters = kernel.T.reshape(-1, *model.example_shape)
    strongest = np.argsort(-np.square(kernel).sum(axis=0), kind="stable")[:60]
    return {
        "filters": plots.pictures(filters[strongest], 12, value_range=None),
        "samples": plots.pictures(model.generate(36), 12),
        "confusion_matrix": plots.confusion_matrix(
            part.y[chosen], logits.argmax(axis=1), data.class_names
        ),
    }
