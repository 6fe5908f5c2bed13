"""Search a family's hyperparameters, and keep all that the search found."""

import contextlib
import gc
import io
import itertools
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner

import recipes
from recipes.contract import check, family, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data.core import Data
from recipes.reports import plots
from recipes.reports import search as reports
from recipes.training.precision import choose, policy
from recipes.training.runs import environment, write_json
from recipes.training.train import check_fits, data_identity, default_variant
from recipes.tuning.engine import (
    ORACLES,
    FamilyModel,
    FamilyTuner,
    make_oracle,
    reduced_space,
    varying,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


# Arguments of training, which are searched even where a variant has its own value.
TRAINING = {"learning_rate", "weight_decay", "momentum", "dropout_rate"}


class Search:
    """A search and its directory.

    The directory holds `search.json` (all that the search was asked), `results.csv`, `search.png`,
    and a folder for each trial with its best weights and, in `record.json`, its history.
    """

    def __init__(self, directory: Path, tuner: FamilyTuner, config: dict[str, Any]):
        self.directory, self.tuner, self.config = directory, tuner, config

    def _ended(self) -> list[Any]:
        """KerasTuner's trials that ended, in order."""
        trials = self.tuner.oracle.trials.values()
        ended = [trial for trial in trials if trial.status in ("COMPLETED", "FAILED")]
        return sorted(ended, key=lambda trial: int(trial.trial_id))

    def _best(self) -> Any:
        """KerasTuner's trial with the best score, the first of equals."""
        completed = [trial for trial in self._ended() if trial.status == "COMPLETED"]
        if not completed:
            raise RuntimeError(f"no trial of {self.directory} has a score yet")
        sign = 1 if self.config["objective"][1] == "max" else -1
        return max(completed, key=lambda trial: sign * trial.score)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """A dictionary for each trial that ended, in order.

        number: from 1; status: "completed" or "failed"; score: None where it failed; reason: why it
        failed, or None; seconds; parameters: trainable ones, None where none was built; epochs:
        that it ran; arguments: what the space decided; values: of the hyperparameters behind them;
        history: metric to its values, one for each epoch; folder: of its files.
        """
        return [self._describe(trial) for trial in self._ended()]

    def _describe(self, trial: Any) -> dict[str, Any]:
        folder = self.tuner.folder_of(trial)
        record = json.loads((folder / "record.json").read_text())
        history = record.get("history", {})
        completed = trial.status == "COMPLETED"
        names = varying(self.tuner.oracle.hyperparameters)
        return {
            "number": int(trial.trial_id) + 1,
            "status": trial.status.lower(),
            "score": float(trial.score) if completed else None,
            "reason": record["reason"],
            "seconds": record["seconds"],
            "parameters": record.get("parameters"),
            "epochs": len(history.get("loss", ())),
            "arguments": self.tuner.hypermodel.arguments(trial.hyperparameters),
            "values": {k: v for k, v in trial.hyperparameters.values.items() if k in names},
            "history": history,
            "folder": folder,
        }

    @property
    def best_score(self) -> float:
        """Of the trial that did best, by the objective, in its best epoch."""
        return float(self._best().score)

    @property
    def best_arguments(self) -> dict[str, Any]:
        """What `recipes.train(family, data, **arguments)` takes to train the best trial's model."""
        model = self.tuner.hypermodel
        drawn = model.arguments(self._best().hyperparameters)
        return {"variant": model.variant, **drawn, **model.fixed}

    def best_model(self) -> keras.Model:
        """A compiled model with the weights that scored, and its optimizer's state then."""
        with policy(self.config["precision"]):  # KerasTuner clears the session, and the policy
            return self.tuner.load_model(self._best())

    def table(self) -> "Table":
        """The trials as a `rich` table, the best first."""
        return reports.table(self.trials, self.config["objective"])

    def plot(self) -> "Figure":
        """The score over the trials, and each hyperparameter against the score."""
        return reports.plot(self.trials, self.config["objective"])

    def report(self, verbose: int = 1) -> None:
        """Write `results.csv`, and print a line on the latest trial."""
        trials = self.trials
        reports.write_csv(trials, self.directory / "results.csv")
        if verbose:
            # What differs from the defaults, which say nothing new
            defaults = self.tuner.hypermodel.arguments(keras_tuner.HyperParameters())
            of = self.config["max_trials"]
            print(reports.line(trials, defaults, self.config["objective"], of), flush=True)

    def __repr__(self) -> str:
        trials = self._ended()
        failed = sum(trial.status == "FAILED" for trial in trials)
        best = f", best {self.best_score:.4g}" if failed < len(trials) else ""
        return f"Search({str(self.directory)!r}: {len(trials)} trials, {failed} failed{best})"


def tune(
    family_or_name: str | ModuleType,
    data: Any = None,
    *,
    variant: str | None = None,
    algorithm: str = "bayesian",
    max_trials: int = 20,
    epochs: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    patience: int | None = None,
    objective: str | tuple[str, str] | None = None,
    space: Callable[[keras_tuner.HyperParameters], dict] | None = None,
    directory: str | Path | None = None,
    callbacks: list[keras.callbacks.Callback] = (),
    verbose: int = 1,
    **fixed: Any,
) -> Search:
    """Search for the arguments with which a family does best on the validation part of the data.

    A trial fails, with its reason kept, where it raises an error, runs out of memory, or where its
    loss or its objective is NaN or infinite in any epoch; the search goes on. With the same seed
    a search on a CPU finds the same again. Test data are never touched.

    Args:
        family_or_name: a family's module or name, such as "cnn".
        data: anything the family's `load_data` takes, or a `Data`; default its own data set.
        variant: of the family; default that of its `build_model`. The family's space leaves the
            structure of any other as it is, and searches how to train it.
        algorithm: "bayesian", "random", "hyperband" or "grid".
        max_trials: configurations to try, at most; fewer where the space has no more.
        epochs: of each trial; default what the space says, or the family's `EPOCHS`. Hyperband
            gives so many to the best trials and fewer to the others.
        precision: "float32", "bfloat16", "float16", or "auto": by the device.
        seed: of the search, and, plus the trial's number, of each trial's weights and dropout.
        patience: epochs without a better objective after which a trial ends; default never.
        objective: a metric, or (metric, "max" or "min"); default the family's `OBJECTIVE`.
        space: `hp` -> arguments of `build_model`, `batch_size`, `epochs`; default the family's
            `search_space`.
        directory: of the search; default `searches/<family>-<data>-<number>`. A search that is
            there already continues, if it is the same but for `max_trials`.
        callbacks: further Keras callbacks; each trial gets copies.
        verbose: 0 prints nothing, 1 a line for each trial.
        **fixed: arguments of `build_model`, or `batch_size`, that stay as they are.

    Returns:
        The `Search`.

    Raises:
        ValueError: before the first trial: an unknown family, variant, argument, algorithm or data
            set, an objective that the model does not report, a directory of something else.
        RuntimeError: every trial failed; says why the first did.
    """
    module = family(family_or_name)
    name = module.__name__.rpartition(".")[2]
    variant = default_variant(module) if variant is None else variant
    if variant not in module.VARIANTS:
        raise unknown("variant", variant, module.VARIANTS)
    if algorithm not in ORACLES:
        raise unknown("algorithm", algorithm, ORACLES)
    check_vocabulary(
        {"epochs": epochs, "seed": seed, "batch_size": fixed.get("batch_size")},
        optional=("epochs", "batch_size"),
    )
    for argument, value, least in (("max_trials", max_trials, 1), ("patience", patience, 0)):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        optional = argument == "patience" and value is None
        check(whole or optional, argument, value, f"must be an integer of at least {least}")
    ignored = set(fixed)
    if epochs or algorithm == "hyperband":  # which says itself how many epochs a trial gets
        ignored.add("epochs")
    if space is None:
        space = module.search_space
        if variant != default_variant(module):
            ignored |= module.VARIANTS[variant].keys() - TRAINING
    ok = isinstance(callbacks, list | tuple)
    ok = ok and all(isinstance(c, keras.callbacks.Callback) for c in callbacks)
    check(ok, "callbacks", callbacks, "must be a list of Keras callbacks")
    ok = directory is None or isinstance(directory, str | Path)
    check(ok, "directory", directory, "must be the path of a directory")
    check(callable(space), "space", space, "must be a function: hp -> dict of arguments")
    precision = choose(precision)
    if not isinstance(data, Data):
        data = module.load_data(*(() if data is None else (data,)), seed=seed)

    check_fits(data, fixed)
    model = FamilyModel(
        module=module,
        variant=variant,
        data=data,
        space=space,
        fixed=fixed,
        ignored=ignored,
        epochs=epochs or module.EPOCHS,
        precision=precision,
        seed=int(seed),
        objective=module.OBJECTIVE,
        patience=patience,
    )
    hyperparameters = reduced_space(space, model.ignored)
    check(varying(hyperparameters), "space", space, "leaves nothing to search: all is fixed")
    with policy(precision):  # KerasTuner's clear_session() forgets the caller's, too
        model.objective = _objective(objective or module.OBJECTIVE, _reported(model))
        config = {
            "recipes": recipes.__version__,
            "family": name,
            "variant": variant,
            "data": data_identity(data),
            "batch_size": data.train.batch_size,
            "fixed": fixed,
            "algorithm": algorithm,
            "objective": model.objective,
            "epochs": model.epochs,
            "patience": patience,
            "precision": precision,
            "seed": model.seed,
            "space": hyperparameters.get_config()["space"],
            "max_trials": max_trials,
            "environment": environment(),
        }
        config = json.loads(json.dumps(config, default=str))
        path = _claim(directory, f"{name}-{data.name}", config)
        oracle = make_oracle(
            algorithm, hyperparameters, model.objective, max_trials, model.epochs, model.seed
        )
        with contextlib.redirect_stdout(io.StringIO()):  # "Reloading Tuner from ..."
            tuner = FamilyTuner(oracle, model, path)
        search = Search(path, tuner, config)
        tuner.ended = lambda: search.report(verbose)
        # KerasTuner collects garbage twice in each trial, and need not look at all of Keras for it.
        gc.collect()
        gc.freeze()
        try:
            tuner.search(callbacks=list(callbacks), verbose=0)
        except KeyboardInterrupt:
            print(f"\nPaused. The same call with directory={str(path)!r} continues the search.")
            raise
        finally:
            gc.unfreeze()
    trials = search.trials
    if all(trial["status"] == "failed" for trial in trials):
        raise RuntimeError(
            f"all {len(trials)} trials of {path} failed; the first: {trials[0]['reason']}"
        )
    plots.save(search.plot(), path / "search.png")
    if verbose and len(trials) < max_trials:
        print(f"{len(trials)} trials: the space holds no other configurations")
    return search


def _reported(model: FamilyModel) -> list[str]:
    """Metrics that `fit` reports. Builds the default configuration, and fits it to one batch.

    What is wrong with the arguments or does not fit the data is found here, not in each trial.
    """
    hp = keras_tuner.HyperParameters()
    batch = model.data.with_batch_size(8).train[0]
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a batch is too small for
        history = model.build(hp).fit(
            x,
            y,
            sample_weight=weights,
            batch_size=8,
            validation_data=batch if model.data.validation is not None else None,
            verbose=0,
        )
    return list(history.history)


def _objective(objective: Any, reported: list[str]) -> tuple[str, str]:
    """(name, direction) of an objective that the model reports."""
    if isinstance(objective, str):
        objective = (objective, None)
    pair = isinstance(objective, tuple | list) and len(objective) == 2
    check(pair, "objective", objective, 'must be a metric, or (metric, "max" or "min")')
    name, direction = objective
    if name not in reported:
        error = unknown("objective", name, reported)
        no_validation = name.startswith("val_") and name.removeprefix("val_") in reported
        hint = " The data have no validation part." if no_validation else ""
        raise ValueError(f"{error}{hint}")
    if direction is None:
        direction = keras_tuner.engine.metrics_tracking.infer_metric_direction(name)
    wanted = f'say which way is better: ({name!r}, "max") or ({name!r}, "min")'
    check(direction in ("max", "min"), "objective", objective, wanted)
    return name, direction


def _claim(directory: str | Path | None, name: str, config: dict[str, Any]) -> Path:
    """The search's directory, with its `search.json`: a new one, or that of the same search."""
    if directory is None:
        name = re.sub(r"[^\w.-]+", "_", name)
        for number in itertools.count(1):
            directory = Path("searches") / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                directory.mkdir(parents=True)
                break
    path = Path(directory)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        known = path / "search.json"
        wanted = "is not empty and holds no search; name a new one"
        check(known.is_file(), "directory", str(path), wanted)
        _check_same(path, json.loads(known.read_text()), config)
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "search.json", config)
    return path


def _check_same(path: Path, found: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise where a directory's search is another one than that asked for."""
    for key, ours in config.items():
        if key in ("recipes", "max_trials", "environment"):
            continue
        theirs = found.get(key)
        if key == "data":  # how it was loaded does not matter
            theirs, ours = (d | {"source": None} for d in (theirs, ours))
        if theirs != ours:
            what = (
                f"{key} is {theirs!r}, not {ours!r}" if len(repr(ours)) < 80 else f"{key} differs"
            )
            raise ValueError(
                f"directory={str(path)!r}: holds another search, whose {what}; name a new directory"
            )
