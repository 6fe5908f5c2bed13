"""KerasTuner's classes, with their traps closed.

`clear_session()`, which KerasTuner calls before each trial, forgets the dtype policy and the random
seed: both are set again for each trial. A loss or an objective that is no number fails its trial.
A trial that fails says why, and the search goes on. A grid search continues after a reload, and a
Bayesian one does not repeat a configuration.
"""

import math
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.errors import FailedTrialError, FatalError
from sklearn.exceptions import ConvergenceWarning

from recipes.contract import check
from recipes.data.core import Data
from recipes.training.compilation import create_variables
from recipes.training.precision import policy
from recipes.training.runs import write_json

OF_FIT = ("batch_size", "epochs")  # what a space may decide beside build_model's arguments


@dataclass(eq=False)
class FamilyModel(keras_tuner.HyperModel):
    """What KerasTuner builds and fits in a trial: a family's model for the arguments drawn.

    Args:
        module: of the family.
        variant: of the family.
        data: fitted on its training part, scored on its validation part.
        space: hp -> arguments of `build_model`, `batch_size` and `epochs`.
        fixed: arguments that win over the space.
        ignored: names that the space does not decide.
        epochs: of a trial, where the space does not decide it.
        precision: "float32", "bfloat16" or "float16".
        seed: trial n starts from seed + n.
        objective: (name of a metric, "max" or "min").
        patience: epochs without a better objective after which a trial ends, or None.
    """

    module: ModuleType
    variant: str
    data: Data
    space: Callable[[keras_tuner.HyperParameters], dict]
    fixed: dict[str, Any]
    ignored: set[str]
    epochs: int
    precision: str
    seed: int
    objective: tuple[str, str]
    patience: int | None
    exploring: bool = False  # KerasTuner looks for the hyperparameters; a network is not needed
    number: int = 0  # of the trial; the first is 1
    record: dict[str, Any] = field(default_factory=dict)  # of the trial

    def __post_init__(self):
        super().__init__()

    def arguments(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """What the space decides, without what is fixed."""
        return {k: v for k, v in self.space(hp).items() if k not in self.ignored}

    def build(self, hp):
        """A compiled model, from the trial's seed and under the search's precision."""
        arguments = {**self.data.spec, **self.arguments(hp), **self.fixed}
        if self.exploring:
            return None
        keras.utils.set_random_seed(self.seed + self.number)
        with policy(self.precision):
            model = self.module.build_model(
                self.variant, **{k: v for k, v in arguments.items() if k not in OF_FIT}
            )
            if model.built and model.optimizer is not None:
                # A checkpoint then gives back the optimizer's state and step, too.
                model.optimizer.build(model.trainable_variables)
        self.record["parameters"] = sum(math.prod(w.shape) for w in model.trainable_weights)
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        """Train as long as Hyperband, the space or the search says; returns the `History`."""
        arguments = {**self.arguments(hp), **self.fixed}
        data = self.data.with_batch_size(arguments.get("batch_size", self.data.train.batch_size))
        data.train.epoch = kwargs.get("initial_epoch", 0)
        history = self.record["history"] = {}
        own: list[keras.callbacks.Callback] = [_Guard(history, self.objective[0])]
        if self.patience is not None:
            name, mode = self.objective
            own.append(keras.callbacks.EarlyStopping(name, patience=self.patience, mode=mode))
        kwargs = {"epochs": arguments.get("epochs", self.epochs), **kwargs}
        with policy(self.precision):
            create_variables(model, data.train[0])
            return model.fit(
                data.train,
                validation_data=data.validation,
                shuffle=False,  # Batches shuffles, by seed and epoch
                callbacks=[*own, *callbacks],  # the guard comes before KerasTuner's checkpoint
                **kwargs,
            )


class _Guard(keras.callbacks.Callback):
    """Keeps the history, and fails a trial whose loss or objective is no finite number.

    Accuracy alone does not show it: a network of NaNs still hits its share of the classes.
    """

    def __init__(self, history: dict[str, list[float]], objective: str):
        super().__init__()
        self.history, self.objective = history, objective

    def on_epoch_end(self, epoch, logs=None):
        """Raise before anything is saved."""
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        loss, score = logs.get("loss", 0.0), logs.get(self.objective, math.nan)
        for name, value in (("loss", loss), (self.objective, score)):
            if not math.isfinite(value):
                raise FailedTrialError(f"{name} is {value} in epoch {epoch + 1}")


class FamilyTuner(keras_tuner.Hyperband):
    """Runs the trials of any oracle, and writes what became of each into its `record.json`.

    Hyperband's tuner is the most general of KerasTuner's: it differs from the others only where a
    trial goes on from the weights of an earlier one, which its own oracle alone asks for.

    Args:
        oracle: chooses the hyperparameters.
        hypermodel: builds and fits.
        directory: of the search.
        ended: called after each trial.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hypermodel: FamilyModel,
        directory: Path,
        ended: Callable[[], None] = lambda: None,
    ):
        self.ended = ended
        directory = directory.resolve()
        keras_tuner.Tuner.__init__(
            self, oracle, hypermodel, directory=str(directory.parent), project_name=directory.name
        )

    def _populate_initial_space(self):
        """As KerasTuner's, without its network for each condition of the space."""
        self.hypermodel.exploring = True
        super()._populate_initial_space()
        self.hypermodel.exploring = False

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        """Any error but KerasTuner's fatal ones fails the trial; KerasTuner would print it all."""
        self.hypermodel.number = int(trial.trial_id) + 1
        record = self.hypermodel.record = {"reason": None}
        started = time.perf_counter()
        try:
            self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = TrialStatus.COMPLETED
        except FatalError:
            raise
        except Exception as error:
            trial.status, trial.message = TrialStatus.FAILED, traceback.format_exc()
            record["reason"] = reason_of(error)
        finally:
            record["seconds"] = round(time.perf_counter() - started, 3)
            write_json(self.folder_of(trial) / "record.json", record)

    def folder_of(self, trial: Any) -> Path:
        """Where a trial's files are."""
        return Path(self.get_trial_dir(trial.trial_id))

    def on_trial_end(self, trial):
        """Save, then tell."""
        super().on_trial_end(trial)
        self.ended()


def reason_of(error: Exception) -> str:
    """Why a trial failed, on one line."""
    text = " ".join(str(error).split())[:300]
    name = type(error).__name__
    if isinstance(error, MemoryError) or any(
        sign in f"{name} {text}"
        for sign in ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "allocate memory")
    ):
        return f"out of memory: {text or name}"
    return text if text and isinstance(error, FailedTrialError | ValueError) else f"{name}: {text}"


class _Bayesian(keras_tuner.oracles.BayesianOptimizationOracle):
    """Draws anew where the Gaussian process proposes what was tried already."""

    def populate_space(self, trial_id):
        """Values, or the end where random draws find nothing new either."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few trials say little
            response = super().populate_space(trial_id)
        if response["values"] is not None and self._duplicate(response["values"]):
            return self._random_populate_space()
        return response


class _Grid(keras_tuner.oracles.GridSearchOracle):
    """Goes on after a reload: KerasTuner saves the trials but not where on the grid they lie."""

    def reload(self):
        """Trials were started in the grid's order."""
        super().reload()
        for trial_id in self.start_order:
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(self.start_order)


ORACLES = {
    "bayesian": _Bayesian,
    "random": keras_tuner.oracles.RandomSearchOracle,
    "hyperband": keras_tuner.oracles.HyperbandOracle,
    "grid": _Grid,
}


def make_oracle(
    algorithm: str,
    hyperparameters: keras_tuner.HyperParameters,
    objective: tuple[str, str],
    max_trials: int,
    epochs: int,
    seed: int,
) -> keras_tuner.Oracle:
    """What chooses the hyperparameters; `max_trials` limits every algorithm."""
    options: dict[str, Any] = {}
    if algorithm == "bayesian":
        # KerasTuner's 3 for each dimension would make most searches random to the end.
        dimensions = len(varying(hyperparameters))
        options["num_initial_points"] = min(3 * dimensions, max(3, max_trials // 3))
    if algorithm == "hyperband":
        options |= {"max_epochs": epochs, "hyperband_iterations": None}  # until max_trials
    oracle = ORACLES[algorithm](
        objective=keras_tuner.Objective(*objective),
        hyperparameters=hyperparameters,
        seed=seed + 1,  # KerasTuner takes 0 for "any"
        max_consecutive_failed_trials=math.inf,
        **options,
    )
    oracle.max_trials = max_trials
    return oracle


def varying(hp: keras_tuner.HyperParameters) -> list[str]:
    """Names of the hyperparameters that are not fixed."""
    fixed = keras_tuner.engine.hyperparameters.Fixed
    return list(dict.fromkeys(p.name for p in hp.space if not isinstance(p, fixed)))


def reduced_space(
    space: Callable[[keras_tuner.HyperParameters], dict], ignored: set[str]
) -> keras_tuner.HyperParameters:
    """The space's hyperparameters, with those fixed that only move arguments in `ignored`.

    Else an algorithm would try configurations that differ in nothing.
    """
    drawn, reduced = keras_tuner.HyperParameters(), keras_tuner.HyperParameters()
    check(isinstance(space(drawn), dict), "space", space, "must return a dictionary of arguments")
    for p in drawn.space:
        probe = drawn.copy()
        for condition in p.conditions:
            probe.values[condition.name] = condition.values[0]
        outcomes = []
        for share in range(12):
            probe.values[p.name] = p.prob_to_value((share + 0.5) / 12)
            probe.ensure_active_values()
            outcomes.append(space(probe.copy()))
        first, names = outcomes[0], {name for drawn in outcomes for name in drawn}
        moved = {n for n in names if any(o.get(n) != first.get(n) for o in outcomes)}
        if moved and moved <= ignored:
            p = keras_tuner.engine.hyperparameters.Fixed(p.name, p.default, conditions=p.conditions)
        reduced.merge([p])
    return reduced
