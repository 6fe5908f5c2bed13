"""Perceptron: threshold units, set by hand (McCulloch, Pitts) or learning by Rosenblatt's rule.

A unit adds up its weighted inputs and says yes where the sum is large enough. Rosenblatt's rule
learns the weights: where the unit is wrong, add the example to them, or subtract it.

Papers:
    McCulloch & Pitts 1943, A logical calculus of the ideas immanent in nervous activity.
    Rosenblatt 1958, The perceptron: a probabilistic model.
    Novikoff 1962, On convergence proofs on perceptrons.
    Minsky & Papert 1969, Perceptrons (what one unit cannot do, such as XOR).
    Freund & Schapire 1999, Large margin classification using the perceptron algorithm (`averaged`).

Differences:
    The unit sees the inputs themselves, without Rosenblatt's random layer of association units.
    The threshold is learned, as the weight of one more input that is always 1; a score of exactly
    0 counts as a mistake for either class. More than two classes are one unit each, against the
    rest. `averaged` predicts with the mean of the weights after each example, which Freund &
    Schapire call "average", not with their vote.
"""

import operator
import warnings
from collections.abc import Iterable, Iterator

import keras
import numpy as np
from keras import layers, ops

from recipes import data
from recipes.contract import check, recipe
from recipes.training.fitting import Callbacks, batches_of, refuse, run_epochs

KINDS = ("tables", "images")
OBJECTIVE = ("val_accuracy", "max")
EPOCHS = 20
NO_GRADIENT = "Rosenblatt's rule adds misclassified examples to the weights, without a gradient."
NO_MIXED_PRECISION = "The scores are the whole network, and scores are float32 under every policy."

# Examples x inputs x units up to which `fit` asks a linear program whether it had a chance: 0.5 s.
DECIDABLE = 250_000


@keras.saving.register_keras_serializable("recipes")
class McCullochPitts(layers.Layer):
    """Units set by hand: 1 where sum_i w_i x_i >= threshold and no inhibitor is on, 0 elsewhere.

    Zeros and ones (n, inputs) -> zeros and ones (n, units), float32.

    AND is `McCullochPitts([[1, 1]], [2])`, the default, OR `McCullochPitts([[1, 1]], [1])`, NOT
    `McCullochPitts([[-1]], [0])`, and "a but not b" `McCullochPitts([[1, 0]], [1], [[0, 1]])`.

    Args:
        connections: weights w (units, inputs).
        thresholds: of each unit.
        inhibitors: 1 for each input that silences the unit whatever the sum, as in 1943, else 0;
            shape (units, inputs); by default there are none.

    Raises:
        ValueError: the shapes do not fit.
    """

    def __init__(self, connections=((1, 1),), thresholds=(2,), inhibitors=None, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.connections = np.array(connections, "float32")
        self.thresholds = np.array(thresholds, "float32")
        inhibitors = self.connections * 0 if inhibitors is None else inhibitors
        self.inhibitors = np.array(inhibitors, "float32")
        shape = self.connections.shape
        check(len(shape) == 2, "connections", connections, "must have the shape (units, inputs)")
        check(self.thresholds.shape == shape[:1], "thresholds", thresholds, f"needs {shape[0]}")
        check(self.inhibitors.shape == shape, "inhibitors", inhibitors, f"must be of shape {shape}")

    def call(self, x):
        """All or none."""
        fires = ops.greater_equal(ops.matmul(x, self.connections.T), self.thresholds)
        free = ops.equal(ops.matmul(x, self.inhibitors.T), 0)
        return ops.cast(ops.logical_and(fires, free), "float32")

    def get_config(self):
        """The constructor's arguments."""
        names = ("connections", "thresholds", "inhibitors")
        return super().get_config() | {name: getattr(self, name).tolist() for name in names}


@keras.saving.register_keras_serializable("recipes")
class Units(layers.Layer):
    """Threshold units of score z = w.x + b: (n, inputs) -> logits (n, num_classes), float32.

    For two classes there is one unit, and the logits are (-z, z). For more there is one unit for
    each class, against the rest, and the logits are their scores.

    `w` (inputs + 1, units) is what learns, from zero; its last row is b. If averaged, the scores
    come from `mean`, of the same shape: the mean of w over the `seen` examples so far.
    """

    def __init__(self, num_classes, averaged=False, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.num_classes, self.averaged = num_classes, averaged
        self.units = 1 if num_classes == 2 else num_classes

    def build(self, input_shape):
        """All zero."""
        shape = (input_shape[-1] + 1, self.units)
        self.w = self.add_weight(shape=shape, initializer="zeros", name="w")
        if self.averaged:
            fixed = {"initializer": "zeros", "trainable": False}
            self.mean = self.add_weight(shape=shape, name="mean", **fixed)
            self.seen = self.add_weight(shape=(), name="seen", **fixed)

    def call(self, x):
        """The sums, before the threshold."""
        w = self.mean if self.averaged else self.w
        z = ops.matmul(x, w[:-1]) + w[-1]
        if self.units > 1:
            return z
        # A score of 0 is a tie; TensorFlow's argmax would take -0.0 for less than 0.0.
        return ops.concatenate([ops.where(z == 0, 0.0, -z), z], axis=-1)

    def get_config(self):
        """The constructor's arguments."""
        return super().get_config() | {"num_classes": self.num_classes, "averaged": self.averaged}


@keras.saving.register_keras_serializable("recipes")
def perceptron_criterion(y_true, y_pred):
    """max(0, -t z), mean over the units: how far the scores lie on the wrong side.

    Labels (n,) and logits (n, num_classes) -> (n,).
    """
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    t = 2.0 * ops.one_hot(labels, y_pred.shape[-1], dtype="float32") - 1.0
    return ops.mean(ops.relu(-t * y_pred), axis=-1)


def rosenblatt(w: np.ndarray, x: np.ndarray, t: np.ndarray, rate: float = 1.0):
    """Rosenblatt's rule over examples in their order; w changes in place.

    Args:
        w: weights (inputs, units), float64.
        x: examples (n, inputs).
        t: targets (n, units), each -1 or +1.
        rate: w += rate * t x on a mistake, t z <= 0. From w = 0 it does no more than scale w.

    Returns:
        The scores (n, units) that each example met, and the sum over the examples of the w that
        each left behind.
    """
    from scipy.linalg.blas import dger  # in half of the time that w += np.outer takes

    scores, changes, now = np.empty(t.shape), np.zeros(t.shape), np.asfortranarray(w)
    for i in range(len(x)):
        scores[i] = x[i] @ now
        wrong = t[i] * scores[i] <= 0
        if wrong.any():
            changes[i] = rate * t[i] * wrong
            now = dger(1.0, x[i], changes[i], a=now, overwrite_a=True)
    w[:] = now
    late = x.T @ (np.arange(len(x))[:, None] * changes)  # what examples before did not leave behind
    return scores, len(x) * w - late


def separable(x: np.ndarray, t: np.ndarray) -> bool | None:
    """Whether some w and b make t (w.x + b) positive for all examples, by a linear program.

    Args:
        x: examples (n, inputs).
        t: targets (n,), each -1 or +1.

    Returns:
        None where the solver came to no answer.
    """
    from scipy.optimize import linprog

    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-30)  # changes nothing but precision
    signed = t[:, None] * np.column_stack([x, np.ones(len(x))])  # signed @ (w, b) >= 1
    cost, margin = np.zeros(signed.shape[1]), np.ones(len(x))
    found = linprog(cost, A_ub=-signed, b_ub=-margin, bounds=(None, None))
    return {0: True, 2: False}.get(found.status)  # 0: solved, 2: infeasible


@keras.saving.register_keras_serializable("recipes")
class Perceptron(keras.Model):
    """One layer of threshold units, whose `fit` is Rosenblatt's rule.

    (n, *input_shape) -> logits (n, num_classes), float32.

    After `fit`, `converged` tells whether an epoch passed without a mistake, and `separable`,
    where that failed, whether any weights at all would do (None: not decided). Weights are set at
    the end of each epoch.
    """

    converged: bool | None = None
    separable: bool | None = None

    own_loop = True  # `fit` runs on one device

    def __init__(self, input_shape, num_classes, averaged=False, **kwargs):
        x = inputs = keras.Input(input_shape)
        if len(input_shape) > 1:
            x = layers.Flatten(dtype="float32")(x)
        units = Units(num_classes, averaged, name="units")
        super().__init__(inputs, units(x), **kwargs)
        self.units = units

    def get_config(self):
        """The constructor's arguments."""
        return {
            "name": self.name,
            "input_shape": self.input_shape[1:],
            "num_classes": self.units.num_classes,
            "averaged": self.units.averaged,
        }

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
            validation_batch_size=None, validation_freq=1):  # fmt: skip
        """Learn example by example, until an epoch makes no mistake or the epochs are over.

        Arguments are those of `keras.Model.fit`. x is an array, with labels y (n,) in
        0 .. num_classes - 1; or a `PyDataset`, a `tf.data.Dataset` or another iterable of (x, y)
        that starts anew in each epoch. Batches only group the examples for the callbacks.

        Returns:
            `History` of loss, accuracy (both as met on the way, before each update) and mistakes
            (updates, over all units), and val_loss, val_accuracy.

        Raises:
            ValueError: data that do not fit; validation_split, steps_per_epoch, weights of
                examples or classes.
        """
        refuse("the rule takes all examples alike", validation_split=validation_split or None,
               class_weight=class_weight, sample_weight=sample_weight,
               steps_per_epoch=steps_per_epoch)  # fmt: skip
        batches = batches_of(x, y, batch_size, shuffle)
        self.converged, self.separable = None, None
        history = run_epochs(
            self, lambda epoch, callbacks: self._learn(batches, callbacks),
            epochs=epochs, initial_epoch=initial_epoch, verbose=verbose, callbacks=callbacks,
            steps=operator.length_hint(batches) or None, validation_data=validation_data,
            validation_freq=validation_freq, validation_steps=validation_steps,
            validation_batch_size=validation_batch_size or batch_size,
            done=lambda logs: self.converged,
        )  # fmt: skip
        if history.epoch and (mistakes := int(history.history["mistakes"][-1])):
            self._explain(batches, history.epoch[-1] + 1, mistakes)
        return history

    def _learn(self, batches: Iterable, callbacks: Callbacks) -> dict[str, float]:
        """One epoch; returns its logs."""
        units, rate = self.units, float(self.optimizer.learning_rate)
        w = ops.convert_to_numpy(units.w).astype("float64")
        total, count, mistakes, loss, met = np.zeros_like(w), 0, 0, 0.0, []
        if isinstance(batches, keras.utils.PyDataset):
            batches.on_epoch_begin()
        for step, (x, labels) in enumerate(self._examples(batches)):
            callbacks.on_train_batch_begin(step)
            t = self._targets(labels)
            scores, left = rosenblatt(w, np.column_stack([x, np.ones(len(x))]), t, rate)
            met.append((labels, scores))
            total += left
            count += len(x)
            mistakes += int((t * scores <= 0).sum())
            loss += np.maximum(0, -t * scores).mean(axis=1).sum()
            logs = {"loss": loss / count, "mistakes": mistakes}
            callbacks.on_train_batch_end(step, logs)
            if self.stop_training:
                break
        check(count, "x", type(batches).__name__, "holds no examples")
        if isinstance(batches, keras.utils.PyDataset):
            batches.on_epoch_end()
        units.w.assign(w)
        if units.averaged:
            seen = float(units.seen)
            units.mean.assign((seen * ops.convert_to_numpy(units.mean) + total) / (seen + count))
            units.seen.assign(seen + count)
        self.converged = mistakes == 0 and not self.stop_training
        self.optimizer.iterations.assign_add(len(met))  # what a learning-rate schedule goes by
        labels, scores = map(np.concatenate, zip(*met, strict=True))
        logits = scores if units.units > 1 else np.hstack([0 - scores, scores])
        self.reset_metrics()
        return self.compute_metrics(None, labels, logits.astype("float32")) | logs

    def _examples(self, batches: Iterable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Checked batches: x float64 (n, inputs), labels (n,)."""
        is_dataset = isinstance(batches, keras.utils.PyDataset)
        wanted, classes = self.input_shape[1:], self.units.num_classes
        for batch in map(batches.__getitem__, range(len(batches))) if is_dataset else batches:
            check(isinstance(batch, tuple | list) and len(batch) == 2, "x", type(batch).__name__,
                  "each batch must be (x, y)")  # fmt: skip
            x, y = np.asarray(batch[0], "float64"), np.asarray(batch[1])
            check(x.shape[1:] == wanted, "x", f"batch of shape {x.shape}", f"needs (n, *{wanted})")
            check(np.isfinite(x).all(), "x", "batch", "holds NaN or infinity")
            fits = y.shape[:1] == x.shape[:1] and y.size == len(x)
            check(fits, "y", f"batch of shape {y.shape}", f"needs {len(x)} labels")
            check(np.isin(y, range(classes)).all(), "y", f"labels {np.unique(y)[:5]}",
                  f"must be integers in 0 .. {classes - 1}")  # fmt: skip
            yield x.reshape(len(x), -1), y.reshape(-1)

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        """-1 and +1, (n, units); one unit alone is for class 1."""
        t = np.where(labels[:, None] == np.arange(self.units.num_classes), 1.0, -1.0)
        return t[:, -self.units.units :]

    def _explain(self, batches: Iterable, epochs: int, mistakes: int) -> None:
        """Warn that the rule did not converge, and say whether it ever could."""
        kept, size = [], 0
        for batch in self._examples(batches):
            kept.append(batch)
            size += batch[0].size * self.units.units
            if size > DECIDABLE:
                break
        why = "Whether any weights would do is too costly to decide."
        if size <= DECIDABLE:
            x, labels = map(np.concatenate, zip(*kept, strict=True))
            fate = [separable(x, t) for t in self._targets(labels).T]
            if False in fate:
                lost = " or class ".join(str(unit) for unit, can in enumerate(fate) if can is False)
                whose = f"class {lost} from the rest" if len(fate) > 1 else "the classes"
                self.separable, why = False, f"It never will: no hyperplane separates {whose}."
            elif None not in fate:
                self.separable = True
                why = "The data is linearly separable: given more epochs, the rule will converge."
        warnings.warn(
            f"the perceptron did not converge: {mistakes} mistakes in the last of {epochs} "
            f"epochs. {why}",
            stacklevel=3,
        )


VARIANTS = {
    "rosenblatt": {},
    "averaged": {"averaged": True},
    "tiny": {},  # it is as small as it can be
}


@recipe(VARIANTS)
def build_model(
    variant: str = "rosenblatt",
    *,
    input_shape: tuple[int, ...] = (30,),
    num_classes: int = 2,
    averaged: bool = False,
    learning_rate: float = 1.0,
    seed: int | None = None,
) -> keras.Model:
    """A compiled perceptron: (n, *input_shape) -> logits (n, num_classes), float32.

    Args:
        variant: a key of `VARIANTS`; arguments given here override what it sets.
        input_shape: of one example; pictures are flattened.
        num_classes: number of classes.
        averaged: predict with the mean of the weights over all examples seen.
        learning_rate: a number or a schedule. A number only scales the weights, which start at
            zero: the predictions are the same for all.
        seed: changes nothing, since no weight is drawn at random.

    Raises:
        ValueError: an unknown variant, argument or value.
    """
    model = Perceptron(input_shape, num_classes, averaged, name=f"perceptron_{variant}")
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate),  # it only holds the rate
        loss=perceptron_criterion,
        metrics=["accuracy"],
        auto_scale_loss=False,
    )
    return model


def load_data(source: object = "breast_cancer", *, batch_size: int = 32, seed: int = 0, **options):
    """Breast cancer, another embedded set, a TensorFlow Datasets name, a table, pictures, arrays.

    See `recipes.data.tables.load` and `recipes.data.images.load` for all sources and options.

    Returns:
        `Data` of x float32 (n, features) or pictures, and labels int32 (n,).
    """
    return data.load(source, KINDS, batch_size=batch_size, seed=seed, **options)


def search_space(hp) -> dict:
    """Arguments of `build_model` and of training; defaults are `build_model`'s.

    There is little to choose: the learning rate scales the weights and nothing else, and the rule
    takes examples one by one whatever the batch size.
    """
    return {
        "averaged": hp.Boolean("averaged", default=False),
        "epochs": hp.Choice("epochs", [5, 10, 20, 50, 100], default=EPOCHS),
    }
