"""KerasTuner's oracles, which choose what is tried next, with their traps closed.

KerasTuner writes a trial's file, then the oracle's, neither of them whole or not at all: a kill in
between leaves a trial that runs for ever, or a file that nothing can read. Here one file holds it
all. The grid does not wait for one trial to end before it names the next, and goes on after a
reload. A Bayesian search repeats no configuration, and draws the same after a reload.
"""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus
from sklearn.exceptions import ConvergenceWarning

from recipes.training.runs import write_json
from recipes.tuning.spaces import Space


class _Saved(keras_tuner.Oracle):
    """Its state and its trials in one file, `oracle.json`, written whole or not at all.

    `first` holds the values that are to be tried before its own, `given` the trials that had such.
    """

    def __init__(self, **options):
        self.first: list[dict[str, Any]] = []
        self.given: list[str] = []
        super().__init__(**options)

    def next_given(self, trial_id: str) -> dict[str, Any] | None:
        """Values that were given and not tried yet, or None."""
        while self.first:
            values = dict(self.first.pop(0))  # Hyperband adds to them
            if not self._duplicate(values):
                self.given.append(trial_id)
                return values
        return None

    def populate_space(self, trial_id):
        """What was given, then the algorithm's."""
        values = self.next_given(trial_id)
        if values is not None:
            return {"status": TrialStatus.RUNNING, "values": values}
        return super().populate_space(trial_id)

    def get_state(self):
        """With what is to be tried first."""
        return super().get_state() | {"first": self.first, "given": self.given}

    def set_state(self, state):
        """As it was saved."""
        super().set_state(state)
        self.first, self.given = state.get("first", []), state.get("given", [])

    def _save_trial(self, trial):
        """Not by itself: `save` follows."""

    def save(self):
        """KerasTuner calls this after each event."""
        names = ("status", "score", "best_step", "message")
        trials = {
            trial.trial_id: {
                "values": trial.hyperparameters.values,
                "metrics": trial.metrics.get_config(),
                **{name: getattr(trial, name) for name in names},
            }
            for trial in self.trials.values()
        }
        write_json(Path(self._get_oracle_fname()), {**self.get_state(), "trials": trials})

    def reload(self):
        """Go on from the file; trials that ran are given out again, the first one first."""
        state = json.loads(Path(self._get_oracle_fname()).read_text())
        for trial_id, saved in state.pop("trials").items():
            hp = self.hyperparameters.copy()
            hp.values = saved.pop("values")
            trial = self.trials[trial_id] = Trial(hp, trial_id)
            trial.metrics = trial.metrics.from_config(saved.pop("metrics"))
            vars(trial).update(saved)
        # KerasTuner saves while the trial that just ended still counts as running.
        running = [i for i, t in self.trials.items() if t.status == TrialStatus.RUNNING]
        self.set_state({**state, "ongoing_trials": {}, "retry_queue": running[::-1]})


class _Random(_Saved, keras_tuner.oracles.RandomSearchOracle):
    """As KerasTuner's."""


class _Hyperband(_Saved, keras_tuner.oracles.HyperbandOracle):
    """What is given takes the place of random draws in a bracket."""

    def populate_space(self, trial_id):
        """Values with their epochs, or the end, or that others must end first."""
        self._next_id = trial_id
        return keras_tuner.oracles.HyperbandOracle.populate_space(self, trial_id)

    def _random_values(self):
        return self.next_given(self._next_id) or super()._random_values()


class _Bayesian(_Saved, keras_tuner.oracles.BayesianOptimizationOracle):
    """Draws anew where the Gaussian process proposes what was tried already."""

    def populate_space(self, trial_id):
        """Values, or the end where random draws find nothing new either."""
        # Its own state, which KerasTuner does not save, would differ after a reload.
        self._random_state = np.random.RandomState(self.seed + int(trial_id))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few trials say little
            response = super().populate_space(trial_id)
        if response["values"] is not None and self._duplicate(response["values"]):
            return self._random_populate_space()
        return response


class _Grid(_Saved, keras_tuner.oracles.GridSearchOracle):
    """Each configuration is the one after that which was started last.

    KerasTuner waits for trials to end, since they could bring new hyperparameters; ours do not.
    """

    def populate_space(self, trial_id):
        """Values, or the end."""
        values = self.next_given(trial_id)
        if values is None:
            drawn = [i for i in self.start_order if i not in self.given]
            if drawn:
                last = self.trials[drawn[-1]].hyperparameters.values
                values = self._get_next_combination(last)
            else:
                hp = self.get_space()
                values = {p.name: p.default for p in hp.space if hp.is_active(p)}
            while values is not None and self._duplicate(values):
                values = self._get_next_combination(values)
        status = TrialStatus.STOPPED if values is None else TrialStatus.RUNNING
        return {"status": status, "values": values}


ORACLES = {"bayesian": _Bayesian, "random": _Random, "hyperband": _Hyperband, "grid": _Grid}


def make_oracle(
    algorithm: str,
    space: Space,
    objective: tuple[str, str],
    max_trials: int,
    epochs: int,
    seed: int,
    directory: Path,
    start: Sequence[dict[str, Any]] | None = None,
) -> keras_tuner.Oracle:
    """What chooses the hyperparameters, where it stood if the directory has its file.

    Args:
        algorithm: a name in `ORACLES`.
        space: what is searched.
        objective: (name of a metric, "max" or "min").
        max_trials: limits every algorithm.
        epochs: of the longest trial; only Hyperband asks.
        seed: from 0.
        directory: of the search.
        start: values to try next, unless they were tried before; None: a search that begins tries
            the space's defaults first.
    """
    options: dict[str, Any] = {}
    if algorithm == "bayesian":
        # KerasTuner's 3 for each dimension would make most searches random to the end.
        options["num_initial_points"] = min(3 * len(space.varying), max(3, max_trials // 3))
    if algorithm == "hyperband":
        options |= {"max_epochs": epochs, "hyperband_iterations": None}  # until max_trials
    oracle = ORACLES[algorithm](
        objective=keras_tuner.Objective(*objective),
        hyperparameters=space.hyperparameters,
        seed=seed + 1,  # KerasTuner takes 0 for "any"
        max_consecutive_failed_trials=math.inf,
        **options,
    )
    oracle.max_trials = max_trials
    oracle.verbose = 0
    directory = directory.resolve()
    oracle._set_project_dir(str(directory.parent), directory.name)
    if Path(oracle._get_oracle_fname()).exists():
        oracle.reload()
    elif start is None:
        start = [space.filled({})]
    oracle.first += [values for values in start or () if values not in oracle.first]
    return oracle
