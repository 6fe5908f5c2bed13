"""A search: its directory, what it found, and KerasTuner's own view of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError

from recipes.reports import plots
from recipes.reports import search as reports
from recipes.training import checkpoints
from recipes.training.runs import write_json
from recipes.tuning.folds import whole
from recipes.tuning.spaces import OF_FIT, Space
from recipes.tuning.trial import Setup, Task, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


class Search:
    """A search and its directory.

    The directory holds `search.json` (all that the search was asked), `oracle.json` (where it
    stands), `results.csv`, `best.json`, at the end a page, `README.md`, with figures, and a folder
    for each trial with, in `record.json`, its history, and the models of the best trials.
    """

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        oracle: keras_tuner.Oracle,
        space: Space,
        setup: Setup,
    ):
        self.directory, self.config = directory, config
        self.oracle, self.space, self.setup = oracle, space, setup
        self._described: dict[str, dict[str, Any]] = {}  # by the trial's id

    def _ended(self) -> list[Trial]:
        """KerasTuner's trials that ended, in order."""
        trials = [self.oracle.trials[trial_id] for trial_id in self.oracle.end_order]
        return sorted(trials, key=lambda trial: int(trial.trial_id))

    def _best(self) -> Trial:
        """KerasTuner's trial with the best score, the first of equals."""
        completed = [trial for trial in self._ended() if trial.status == "COMPLETED"]
        if not completed:
            raise RuntimeError(f"no trial of {self.directory} has a score yet")
        sign = 1 if self.config["objective"][1] == "max" else -1
        return max(completed, key=lambda trial: sign * trial.score)

    def folder_of(self, trial: Trial) -> Path:
        """Where a trial's files are."""
        return self.directory / f"trial_{trial.trial_id}"

    def task_of(self, trial: Trial) -> Task:
        """What there is to do for a trial."""
        values = trial.hyperparameters.values
        arguments = {
            **self.setup.data.spec,
            **self.space.arguments(trial.hyperparameters),
            **self.space.fixed,
        }
        source = values.get("tuner/trial_id")  # whose training Hyperband lets go on
        return Task(
            number=int(trial.trial_id) + 1,
            folder=self.folder_of(trial).resolve(),
            name=self.folder_of(trial).name,
            arguments={k: v for k, v in arguments.items() if k not in OF_FIT},
            batch_size=arguments.get("batch_size", self.setup.data.train.batch_size),
            epochs=values.get("tuner/epochs", arguments.get("epochs", self.setup.epochs)),
            precision=arguments.get("precision", self.setup.precision),
            initial_epoch=values.get("tuner/initial_epoch", 0),
            start=None
            if source is None
            else self.directory.resolve() / f"trial_{source}/best.keras",
        )

    @property
    def trials(self) -> list[dict[str, Any]]:
        """A dictionary for each trial that ended, in order.

        number: from 1; status: "completed" or "failed"; score: None where it failed; spread: its
        standard deviation over folds, or None; reason: why it failed, or None; seconds;
        parameters: trainable ones, None where none was built; epochs: that it ran; arguments: what
        the space decided; values: of the hyperparameters behind them; history: metric to its
        values, one for each epoch; folder: of its files.
        """
        return [self._describe(trial) for trial in self._ended()]

    def _describe(self, trial: Trial) -> dict[str, Any]:
        known = self._described.get(trial.trial_id)
        if known is not None:
            return known
        folder = self.folder_of(trial)
        record = json.loads((folder / "record.json").read_text())
        arguments = self.space.arguments(trial.hyperparameters)
        if record["batch_size"] != self.task_of(trial).batch_size:  # memory was short
            arguments["batch_size"] = record["batch_size"]
        found = self._described[trial.trial_id] = {
            "number": int(trial.trial_id) + 1,
            "status": trial.status.lower(),
            "score": float(trial.score) if trial.status == "COMPLETED" else None,
            "spread": record.get("spread"),
            "reason": record["reason"],
            "seconds": record["seconds"],
            "parameters": record["parameters"],
            "epochs": len(next(iter(record["history"].values()), ())),
            "arguments": arguments,
            "values": self.space.values(trial.hyperparameters),
            "history": record["history"],
            "folder": folder,
        }
        return found

    @property
    def default_trial(self) -> dict[str, Any] | None:
        """The one in `trials` whose arguments are the defaults, the best where there are several.

        The first of a search, unless it was given others to start with.
        """
        found = [trial for trial in self.trials if trial["arguments"] == self.space.defaults]
        return reports.ranked(found, self.config["objective"])[0] if found else None

    @property
    def best_score(self) -> float:
        """Of the trial that did best, by the objective, in its best epoch."""
        return float(self._best().score)

    @property
    def best_arguments(self) -> dict[str, Any]:
        """What `recipes.train(family, data, **arguments)` takes to train the best trial's model."""
        drawn = self._describe(self._best())["arguments"]
        return {"variant": self.setup.variant, **self.space.fixed, **drawn}

    def best_model(self) -> keras.Model:
        """A compiled model with the weights that scored, and its optimizer's state then.

        With folds no single model scored: it is that of `retrain` then.
        """
        return (
            self.retrain() if self.setup.folds else checkpoints.load(self.folder_of(self._best()))
        )

    def retrain(self) -> keras.Model:
        """The best trial's model, trained anew on the training and the validation part together.

        It trains for as many epochs as the trial took to its best, with folds to their median, from
        the same seed; in this process. Kept in the trial's folder, in `whole/`: a second call loads
        it, and after a kill goes on from the last checkpoint. The test part is left to you:
        `search.retrain().evaluate(data.test)`.

        Raises:
            ValueError: the data's validation part cannot be trained on.
            RuntimeError: the training failed; says why.
        """
        best = self._best()
        task = self.task_of(best)
        record = json.loads((task.folder / "record.json").read_text())
        task = replace(
            task,
            folder=task.folder / "whole",
            name=f"{task.name}/whole",
            batch_size=record["batch_size"],
            epochs=record["best_epoch"],
            initial_epoch=0,
            start=None,
        )
        setup = replace(self.setup, data=whole(self.setup.data), objective=None, patience=None)
        done = run(replace(setup, folds=None, callbacks=[]), task)
        if done["reason"] is not None:
            (task.folder / "record.json").unlink()  # another call tries again
            raise RuntimeError(f"trial {task.number} of {self.directory}: {done['reason']}")
        return checkpoints.load(task.folder)

    @property
    def tuner(self) -> keras_tuner.Tuner:
        """KerasTuner's view of the search, for what works on its tuners."""
        return FamilyTuner(self)

    def table(self) -> "Table":
        """The trials as a `rich` table, the best first."""
        return reports.table(self.trials, self.config["objective"], self.default_trial)

    @property
    def importance(self) -> dict[str, float]:
        """Share of the score's variance that each hyperparameter explains, the largest first."""
        return reports.importance(self.trials)

    def plot(self) -> "Figure":
        """The score over the trials, and each hyperparameter against the score."""
        return reports.plot(self.trials, self.config["objective"])

    def report(self, verbose: int = 1) -> None:
        """Write `results.csv` and `best.json`, and print a line on the latest trial."""
        trials = self.trials
        reports.write_csv(trials, self.directory / "results.csv")
        if any(trial["score"] is not None for trial in trials):
            best = {"number": int(self._best().trial_id) + 1, "score": self.best_score}
            write_json(self.directory / "best.json", best | {"arguments": self.best_arguments})
        if verbose:
            # What differs from the defaults, which say nothing new
            defaults = self.space.defaults
            as_ended = [self._describe(self.oracle.trials[i]) for i in self.oracle.end_order]
            of = self.config["max_trials"]
            print(reports.line(as_ended, defaults, self.config["objective"], of), flush=True)

    def keep(self, most: int | None) -> None:
        """Delete the models of all but the best trials; not Hyperband's, which goes on from any."""
        if most is None or self.config["algorithm"] == "hyperband":
            return
        for trial in reports.ranked(self.trials, self.config["objective"])[most:]:
            for file in trial["folder"].glob("**/best.keras"):  # its folds', too
                file.unlink()

    def write_page(self) -> None:
        """`README.md` with `search.png` and `parallel.png`."""
        trials, objective = self.trials, self.config["objective"]
        plots.save(self.plot(), self.directory / "search.png")
        scored = [trial for trial in trials if trial["score"] is not None]
        if len(scored) > 1 and reports.differing(trials, "values"):
            plots.save(reports.parallel(trials, objective), self.directory / "parallel.png")
        (self.directory / "README.md").write_text(
            reports.page(trials, self.config, self.default_trial)
        )

    def __repr__(self) -> str:
        trials = self._ended()
        failed = sum(trial.status == "FAILED" for trial in trials)
        best = f", best {self.best_score:.4g}" if failed < len(trials) else ""
        return f"Search({str(self.directory)!r}: {len(trials)} trials, {failed} failed{best})"


class FamilyTuner(keras_tuner.Tuner):
    """A search as one of KerasTuner's tuners; its `search()` runs trials in this process."""

    def __init__(self, search: Search):
        self._search = search
        where = search.directory.resolve()
        super().__init__(search.oracle, directory=str(where.parent), project_name=where.name)

    def run_trial(self, trial, *args, **kwargs):
        """As any other trial of the search."""
        record = run(self._search.setup, self._search.task_of(trial))
        if record["reason"] is not None:
            raise FailedTrialError(record["reason"])
        return {self.oracle.objective.name: record["score"]}

    def load_model(self, trial):
        """The model of the trial's best epoch, with folds the first one's."""
        folder = self._search.folder_of(trial)
        return checkpoints.load(folder / "fold_1" if self._search.setup.folds else folder)
