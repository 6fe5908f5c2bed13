"""Search a family's hyperparameters, and keep all that the search found."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial

import recipes
from recipes.contract import check, family, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data.core import Data
from recipes.reports.progress import Progress
from recipes.training.precision import choose
from recipes.training.runs import environment, read_search
from recipes.training.train import check_fits, data_identity, default_variant, reported
from recipes.tuning.budget import read_budget
from recipes.tuning.directory import claimed, writing
from recipes.tuning.executors import AS_NEEDED, Here, Processes
from recipes.tuning.folds import check_folds
from recipes.tuning.launcher import Executor, launch
from recipes.tuning.oracles import ORACLES, make_oracle
from recipes.tuning.search import Search
from recipes.tuning.spaces import OF_FIT, Space, read_space, written_space
from recipes.tuning.start import read_start
from recipes.tuning.trial import Setup, build

# Arguments of training, which are searched even where a variant has its own value.
TRAINING = {"learning_rate", "weight_decay", "momentum", "dropout_rate"}


def tune(
    family_or_name: str | ModuleType | None = None,
    data: Any = None,
    *,
    variant: str | None = None,
    algorithm: str = "bayesian",
    max_trials: int | None = None,
    epochs: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    patience: int | None = None,
    folds: int | None = None,
    objective: str | tuple[str, str] | None = None,
    space: Callable[[keras_tuner.HyperParameters], dict] | Mapping | str | Path | None = None,
    search: Sequence[str] | None = None,
    start: Sequence[Mapping[str, Any]] | str | Path | None = None,
    directory: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: list[keras.callbacks.Callback] = (),
    workers: int = 1,
    cluster: str | None = None,
    budget: float | str | None = None,
    shrink_batch: bool = False,
    keep: int | None = 3,
    checkpoint_every: float = 30.0,
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
        max_trials: configurations to try, at most, default 20; fewer where the space has no more.
        epochs: of each trial; default what the space says, or the family's `EPOCHS`. Hyperband
            gives so many to the best trials and fewer to the others.
        precision: "float32", "bfloat16", "float16", or "auto": by the device, where the space does
            not decide it.
        seed: of the search, and, plus the trial's number, of each trial's weights and dropout.
        patience: epochs without a better objective after which a trial ends; default never.
        folds: cross-validation: each trial trains so many times, on all but one of as many parts of
            training and validation data together, each class in proportion. Its score is the mean
            over the folds. Not for series, corpora, patterns, environments and graphs.
        objective: a metric, or (metric, "max" or "min"); default the family's `OBJECTIVE`.
        space: a function, `hp` -> arguments of `build_model`, `batch_size`, `epochs`, `precision`;
            or the same as a dictionary, {"learning_rate": {"log": [1e-4, 1e-1]}, "num_layers":
            {"int": [1, 4]}, "dropout_rate": {"float": [0, 0.5]}, "units": [64, 128]}, or as a YAML
            file; default the family's `search_space`.
        search: names of the arguments to search; the space's others stay as they are.
        start: configurations to try first, dictionaries of arguments of the space, others at their
            defaults; or an earlier search's directory, for the best five of its own that this space
            holds. A Bayesian search learns from them. Those that were tried are left out. A
            search without it tries the defaults first, which what it finds has to beat.
        directory: of the search; default `searches/<family>-<data>-<number>`. A search that is
            there already continues, if it is the same but for `max_trials`.
        resume: a search's directory, to continue with all of its arguments; `max_trials` and how it
            runs can be new. Needs `data` and `space` again where they were arrays or a function.
        callbacks: further Keras callbacks; each trial gets copies.
        workers: processes in which trials run, each with its share of the cores or with a GPU. One
            that dies is replaced, and its trial goes on from its last checkpoint; a trial that
            kills two is a failed one. 0 runs all trials in this process.
        cluster: the address of a Ray cluster on whose machines the workers are, "auto" for the one
            that this machine is in, "local" for one of this machine alone; needs the extra `ray`.
            See `recipes.tuning.cluster`.
        budget: seconds, a text such as "20m" or "1h30m", or epochs over all trials and folds, "200
            epochs", after which no trial begins; those that run end after their epoch, and count.
            With folds, those that had not begun are left out. The same call goes on with a new
            budget.
        shrink_batch: try a trial that runs out of memory again in batches of half the size.
        keep: the models of so many of the best trials are kept, None for all; Hyperband keeps all.
        checkpoint_every: seconds between two checkpoints of a trial that runs.
        verbose: 0 prints nothing, 1 a line for each trial.
        **fixed: arguments of `build_model`, or `batch_size`, that stay as they are.

    Returns:
        The `Search`.

    Raises:
        ValueError: before the first trial: an unknown family, variant, argument, algorithm or data
            set, an objective that the model does not report, a directory of something else.
        RuntimeError: every trial failed; says why the first did.
        OSError: the directory cannot be written, or the disk is full. What is there is whole, and
            the same call continues the search.
    """
    running = {
        "workers": workers,
        "cluster": cluster,
        "budget": budget,
        "shrink_batch": shrink_batch,
    }
    running |= {
        "start": start,
        "keep": keep,
        "checkpoint_every": checkpoint_every,
        "callbacks": callbacks,
        "verbose": verbose,
    }
    if resume is not None:
        given = {"family": family_or_name, "variant": variant, "epochs": epochs, "search": search}
        given |= {
            "patience": patience,
            "folds": folds,
            "objective": objective,
            "directory": directory,
            **fixed,
        }
        given |= {"algorithm": None if algorithm == "bayesian" else algorithm}
        given |= {"seed": seed or None, "precision": None if precision == "auto" else precision}
        refused = ", ".join(name for name, value in given.items() if value is not None)
        wanted = f"keeps its {refused}; only max_trials and how it runs can be new"
        check(not refused, "resume", str(resume), wanted)
        known = {} if max_trials is None else {"max_trials": max_trials}
        return tune(**{**_asked(resume, data, space), **known, **running})
    check(family_or_name is not None, "family", None, "name a family, or a search to resume")
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
    max_trials = 20 if max_trials is None else max_trials
    counts = (("max_trials", max_trials, 1), ("patience", patience, 0), ("workers", workers, 0))
    counts += (("keep", keep, 1),)
    for argument, value, least in counts:
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        optional = argument in ("patience", "keep") and value is None
        check(whole or optional, argument, value, f"must be an integer of at least {least}")
    spendable = read_budget(budget)
    ok = cluster is None or (isinstance(cluster, str) and cluster)
    check(ok, "cluster", cluster, 'must be an address, "auto" or "local"')
    check(cluster is None or workers, "workers", workers, "a cluster needs at least 1")
    ok = isinstance(checkpoint_every, int | float) and checkpoint_every >= 0
    check(ok, "checkpoint_every", checkpoint_every, "must be a number of seconds")
    ignored = set(fixed)
    if epochs or algorithm == "hyperband":  # which says itself how many epochs a trial gets
        ignored.add("epochs")
    written = "function"
    if space is None:
        written, space = None, module.search_space
        if variant != default_variant(module):
            ignored |= module.VARIANTS[variant].keys() - TRAINING
    ok = isinstance(callbacks, list | tuple)
    ok = ok and all(isinstance(c, keras.callbacks.Callback) for c in callbacks)
    check(ok, "callbacks", callbacks, "must be a list of Keras callbacks")
    ok = directory is None or isinstance(directory, str | Path)
    check(ok, "directory", directory, "must be the path of a directory")
    if isinstance(space, Mapping | str | Path):
        written = read_space(space, module.build_model)
        space = written_space(written, module.build_model)
    wanted = "must be a function, hp -> dict of arguments, a dictionary or the path of a YAML file"
    check(callable(space), "space", space, wanted)
    ok = isinstance(search, list | tuple) and all(isinstance(n, str) for n in search)
    check(search is None or ok, "search", search, "must be a list of names of arguments")
    if workers:  # the GPUs are theirs: this process builds a model, and trains none
        for limit, value in AS_NEEDED.items():
            os.environ.setdefault(limit, value)
    precision = choose(precision)
    if not isinstance(data, Data):
        data = module.load_data(*(() if data is None else (data,)), seed=seed)

    check_fits(data, fixed)
    check_folds(data, folds)
    space = Space(space, fixed, ignored, search)
    setup = Setup(
        family=name,
        variant=variant,
        data=data,
        precision=precision,
        seed=int(seed),
        objective=module.OBJECTIVE,
        epochs=epochs or module.EPOCHS,
        patience=patience,
        callbacks=list(callbacks),
        checkpoint_every=checkpoint_every,
        folds=folds,
    )
    metrics = _reported(setup.of_fold(1) if folds else setup, space)
    setup.objective = _objective(objective or module.OBJECTIVE, metrics)
    given_first = None if start is None else read_start(start, space)
    config = {
        "recipes": recipes.__version__,
        "family": name,
        "variant": variant,
        "data": data_identity(data),
        "batch_size": data.train.batch_size,
        "fixed": fixed,
        "algorithm": algorithm,
        "objective": setup.objective,
        "epochs": epochs,
        "patience": patience,
        "folds": folds,
        "precision": precision,
        "seed": setup.seed,
        "space": space.hyperparameters.get_config()["space"],
        "written_space": written,
        "search": search,
        "max_trials": max_trials,
        "environment": environment(),
    }
    config = json.loads(json.dumps(config, default=str))
    executor = _executor(workers, cluster, setup)
    claim = claimed(directory, f"{name}-{data.name}", config)
    with contextlib.closing(executor), claim as path:
        oracle = make_oracle(
            algorithm,
            space,
            setup.objective,
            max_trials,
            setup.epochs,
            setup.seed,
            path,
            given_first,
        )
        found = Search(path, config, oracle, space, setup)
        done = oracle.end_order
        progress = Progress(lambda: len(done), max_trials, spendable.seconds, show=verbose > 0)

        def heard(trial: Trial, epoch: int, logs: dict[str, float]) -> None:
            name, epochs = setup.objective[0], found.task_of(trial).epochs * (folds or 1)
            progress.epoch(int(trial.trial_id) + 1, epoch, epochs, f"{name} {logs[name]:.4f}")

        def ended(trial: Trial) -> None:
            progress.end(int(trial.trial_id) + 1)
            found.report(verbose)
            found.keep(keep)

        events = {"heard": heard, "ended": ended, "budget": spendable, "shrink_batch": shrink_batch}
        try:
            with writing(path), progress:
                spent = launch(oracle, executor, found.task_of, **events)
                found.report(verbose=0)  # where the disk was full after the last trial
        except KeyboardInterrupt:
            print(f"\nPaused. The same call with directory={str(path)!r} continues the search.")
            raise
    trials = found.trials
    if all(trial["status"] == "failed" for trial in trials):
        raise RuntimeError(
            f"all {len(trials)} trials of {path} failed; the first: {trials[0]['reason']}"
        )
    with writing(path):
        found.write_page()
    if verbose and len(trials) < max_trials:
        why = "the budget is spent" if spent else "the space holds no other configurations"
        print(f"{len(trials)} trials: {why}")
    return found


def _executor(workers: int, cluster: str | None, setup: Setup) -> Executor:
    """Where trials run."""
    if cluster is None:
        return Processes(workers, setup) if workers else Here(setup)
    try:
        from recipes.tuning.cluster import Cluster
    except ImportError as error:
        wanted = f"needs Ray ({error}): pip install 'keras-recipes[ray]'"
        raise ImportError(f"cluster={cluster!r}: {wanted}") from error
    return Cluster(workers, setup, cluster)


def _asked(directory: str | Path, data: Any, space: Any) -> dict[str, Any]:
    """The arguments of `tune` that a search was asked with, from its `search.json`."""
    config = read_search(directory)
    source = dict(config["data"]["source"] or {"source": None})
    if data is None:
        data = source.pop("source")
        wanted = f"searches on data in memory ({config['data']['name']}); pass the same again"
        check(data is not None, "resume", str(directory), wanted)
        data = family(config["family"]).load_data(data, **source)
    if space is None and config["written_space"] is not None:
        space = config["written_space"]
        wanted = "searches a function of your own; pass the same space again"
        check(space != "function", "resume", str(directory), wanted)
    names = ("variant", "algorithm", "objective", "epochs", "patience", "folds", "precision")
    names += ("seed", "search", "max_trials")
    kept = {name: config.get(name) for name in names} | config["fixed"]
    named = {"family_or_name": config["family"], "data": data, "space": space}
    return named | kept | {"directory": directory}


def _reported(setup: Setup, space: Space) -> list[str]:
    """Metrics that the default configuration reports."""
    arguments = {**setup.data.spec, **space.defaults, **space.fixed}
    arguments = {k: v for k, v in arguments.items() if k not in OF_FIT}
    return reported(lambda: build(setup, 0, arguments), setup.data, setup.precision)


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
