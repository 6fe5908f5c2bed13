"""Train a family on data, in a run directory that holds all that matters, and resume it."""

import inspect
import json
import math
import shlex
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

import recipes
from recipes.contract import check, family, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data.core import Batches, Data
from recipes.data.environments import Episodes
from recipes.training import checkpoints
from recipes.training.compilation import create_variables
from recipes.training.distribution import Distribution, OneDevice, distribution, throwaway_directory
from recipes.training.precision import choose, policy
from recipes.training.runs import (
    Recorder,
    Run,
    check_new,
    environment,
    new_directory,
    read_config,
    read_history,
    write_json,
)
from recipes.training.tensorboard import ScalarLog


def train(
    family_or_name: str | ModuleType | None = None,
    data: Any = None,
    *,
    variant: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    patience: int | None = None,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    distribute: str | None = None,
    callbacks: list[keras.callbacks.Callback] = (),
    data_options: dict[str, Any] | None = None,
    verbose: int | str = "auto",
    **build_arguments: Any,
) -> Run:
    """Train a model and keep everything about it.

    The run directory holds: `config.json` (all arguments, resolved), `environment.json`,
    `data.json` (how new inputs are prepared), `history.csv`, `metrics.json`, `best.keras` and
    `last.keras`, `plots/`, `logs/` (TensorBoard), and `README.md`, a model card.

    Args:
        family_or_name: a family's module or name, such as "cnn".
        data: anything the family's `load_data` takes, or a `Data`; default its own data set.
        variant: of the family; default that of its `build_model`.
        epochs: at most so many; default the family's `EPOCHS`.
        batch_size: default that of the family's `load_data`.
        precision: "float32", "bfloat16", "float16", or "auto": by the device.
        seed: of the weights, the splits, the order and dropout.
        patience: stop after so many epochs without a better objective; default never.
        run_dir: a new directory; default `runs/<family>-<variant>-<data>-<number>`.
        resume: a run directory, to continue after a crash, or for more `epochs` or `patience`. It
            keeps all other arguments, but needs `data` again where the run had arrays. On a CPU
            it ends with the same weights as a run that nothing disturbed.
        distribute: over all devices of this process, and of others that were started with it:
            "data": each takes its share of a batch; "model" or "model:N": transformers are split,
            over N devices; see `recipes.training.distribution`. The first process alone keeps the
            run; the others' directories are thrown away as they end.
        callbacks: further Keras callbacks.
        data_options: further arguments of `load_data`.
        verbose: as in `fit`; "auto" shows a progress bar in a terminal and lines elsewhere.
        **build_arguments: of `build_model`, over what the data asks for.

    Returns:
        The `Run`, with the best model.

    Raises:
        ValueError: an unknown family, variant, argument or data set; data that does not fit the
            arguments; a `run_dir` that is not empty; a `resume` that is no run; a loss that is
            not finite from the first epoch on.
    """
    check_vocabulary(
        {"epochs": epochs, "batch_size": batch_size, "seed": seed},
        optional=("epochs", "batch_size"),
    )
    whole = isinstance(patience, int) and not isinstance(patience, bool) and patience >= 0
    check(patience is None or whole, "patience", patience, "must be an integer of at least 0")
    ok = isinstance(callbacks, list | tuple)
    ok = ok and all(isinstance(c, keras.callbacks.Callback) for c in callbacks)
    check(ok, "callbacks", callbacks, "must be a list of Keras callbacks")
    devices = distribution(distribute)
    if resume is not None:
        given = {
            "family": family_or_name,
            "variant": variant,
            "batch_size": batch_size,
            "precision": None if precision == "auto" else precision,
            "seed": seed or None,
            "run_dir": run_dir,
            "data_options": data_options,
            **build_arguments,
        }
        refused = ", ".join(name for name, value in given.items() if value is not None)
        wanted = f"keeps its {refused}; only epochs, patience, distribute and callbacks can be new"
        check(not refused, "resume", str(resume), wanted)
        return _resume(resume, data, epochs, patience, callbacks, verbose, devices)

    check(family_or_name is not None, "family", None, "name a family, or a run to resume")
    module = family(family_or_name)
    name = module.__name__.rpartition(".")[2]
    variant = default_variant(module) if variant is None else variant
    if variant not in module.VARIANTS:
        raise unknown("variant", variant, module.VARIANTS)
    defaults = _defaults(module)
    known = [*defaults, *inspect.signature(train).parameters]
    for argument in build_arguments:
        if argument not in defaults:
            raise unknown("argument", argument, known[:-1])  # without "build_arguments" itself
    precision = choose(precision)
    if devices.process:
        run_dir = throwaway_directory()
    check_new(run_dir)

    if isinstance(data, Data):
        wanted = "is for data that is still to be loaded; give it to load_data"
        check(not data_options, "data_options", data_options, wanted)
        data = module.load_data(data)  # which refuses another kind
        data = data.with_batch_size(batch_size) if batch_size else data
        source = data.source or None
    else:
        ok = data_options is None or isinstance(data_options, dict)
        check(ok, "data_options", data_options, "must be a dictionary of arguments of load_data")
        options = {"seed": seed, **(data_options or {})}
        options |= {"batch_size": batch_size} if batch_size else {}
        data = module.load_data(*(() if data is None else (data,)), **options)
        source = data.source or {"source": None, **options}
    check_fits(data, build_arguments)

    config = {
        "recipes": recipes.__version__,
        "family": name,
        "variant": variant,
        "build": {**defaults, **module.VARIANTS[variant], **data.spec, **build_arguments},
        "data": {**data_identity(data), "source": source},
        "epochs": epochs or module.EPOCHS,
        "batch_size": data.train.batch_size,
        "precision": precision,
        "seed": int(seed),
        "patience": patience,
    }
    with policy(precision):
        keras.utils.set_random_seed(seed)
        # Built first: a wrong argument must not leave a directory behind.
        with devices.scope():
            model = module.build_model(variant, **config["build"])
            devices.check(model, data.train)
        directory = new_directory(run_dir, f"{name}-{variant}-{data.name}")
        write_json(directory / "config.json", config)
        write_json(directory / "environment.json", environment())
        write_json(
            directory / "data.json",
            {
                "name": data.name,
                "kind": data.kind,
                "class_names": data.class_names,
                "transform": data.transform.get_config(),
            },
        )
        recorder = Recorder(directory, module.OBJECTIVE, patience)
        return _fit(directory, model, data, recorder, callbacks, verbose, devices)


def _resume(
    resume: str | Path,
    data: Any,
    epochs: int | None,
    patience: int | None,
    callbacks: list,
    verbose: Any,
    devices: OneDevice | Distribution,
) -> Run:
    config = read_config(resume)
    directory = Path(resume)
    if devices.process:
        directory = shutil.copytree(directory, throwaway_directory(), dirs_exist_ok=True)
    last = directory / "last.keras"
    check(last.is_file(), "resume", str(directory), "has no last.keras yet; delete it, train anew")
    state = checkpoints.read_state(last)
    wanted = f"{directory} has {state['epoch']} epochs already"
    check(epochs is None or epochs >= state["epoch"], "epochs", epochs, wanted)
    config["epochs"] = epochs or config["epochs"]
    config["patience"] = config["patience"] if patience is None else patience

    module = family(config["family"])
    if not isinstance(data, Data):
        options = config["data"]["source"] or {"source": None, "seed": config["seed"]}
        source = options["source"] if data is None else data
        wanted = f"was trained on data in memory ({config['data']['name']}); pass the same again"
        check(source is not None, "resume", str(directory), wanted)
        data = module.load_data(source, **{k: v for k, v in options.items() if k != "source"})
    data = data.with_batch_size(config["batch_size"])
    found = _as_json(data_identity(data))
    for key in ("spec", "sizes", "labels"):
        wanted = f"is not what the run was trained on: its {key} are {found[key]}"
        check(
            found[key] == config["data"][key],
            "data",
            data.name,
            f"{wanted}, not {config['data'][key]}",
        )

    with policy(config["precision"]):
        keras.utils.set_random_seed(config["seed"])
        with devices.scope():
            model = checkpoints.load(last)
            devices.check(model, data.train)
        recorder = Recorder(directory, module.OBJECTIVE, config["patience"])
        recorder.restore(state)
        write_json(directory / "config.json", config)
        return _fit(directory, model, data, recorder, callbacks, verbose, devices)


def _fit(
    directory: Path,
    model: keras.Model,
    data: Data,
    recorder: Recorder,
    callbacks: list,
    verbose: Any,
    devices: OneDevice | Distribution,
) -> Run:
    """Fit from where the recorder stands, then evaluate the best model and write the reports."""
    from recipes.reports.run import write_reports

    config = read_config(directory)
    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() else 2
    verbose = 0 if devices.process else verbose
    data.train.epoch = recorder.epoch
    train = devices.share(data.train)
    with devices.scope():
        create_variables(model, train[0])
    seeds = checkpoints.SeedEpochs(config["seed"])
    if recorder.epoch < config["epochs"] and not recorder.stopped:
        try:
            with devices.scope():
                model.fit(
                    train,
                    validation_data=devices.share(data.validation),
                    epochs=config["epochs"],
                    initial_epoch=recorder.epoch,
                    shuffle=False,  # Batches shuffles, by seed and epoch
                    callbacks=[seeds, *callbacks, ScalarLog(directory / "logs"), recorder],
                    verbose=verbose,
                )
        except KeyboardInterrupt:
            again = f"recipes train --resume {shlex.quote(str(directory))}"
            if not (config["data"]["source"] or {}).get("source"):  # arrays are none of a shell's
                again = f"recipes.train(resume={str(directory)!r}, data=...)"
            print(f"\nPaused after epoch {recorder.epoch}. To continue: {again}")
            raise
    rate = config["build"].get("learning_rate")
    check(recorder.best is not None, "learning_rate", rate, recorder.stopped)
    if recorder.stopped and verbose:
        print(f"Stopped: {recorder.stopped}.")
    best = checkpoints.load(directory / "best.keras")
    tested = best.evaluate(data.test, verbose=0, return_dict=True)
    metrics = {
        "objective": recorder.objective,
        "best": recorder.best,
        "best_epoch": recorder.best_epoch,
        "epochs": recorder.epoch,
        "stopped": recorder.stopped,
        **{f"test_{name}": float(value) for name, value in tested.items()},
        "parameters": sum(math.prod(w.shape) for w in best.trainable_weights),
        "seconds": round(recorder.seconds, 1),
    }
    if data.class_names is None and "mae" in tested:  # which the model sees standardised
        metrics["test_mae_unscaled"] = metrics["test_mae"] * data.transform.target[1]
    write_json(directory / "metrics.json", metrics)
    run = Run(directory, config["family"], best, data, read_history(directory), metrics, config)
    write_reports(run)
    return run


def check_fits(data: Data, arguments: dict[str, Any]) -> None:
    """Raise where an argument of `build_model` contradicts what the data needs."""
    for name, needed in data.spec.items():
        given = arguments.get(name, needed)
        check(_as_json(given) == _as_json(needed), name, given, f"{data.name} needs {needed!r}")


def reported(build: Callable[[], keras.Model], data: Data, precision: str) -> list[str]:
    """Metrics that `fit` reports of a model that `build` makes: it is fitted to one batch.

    What is wrong with the arguments or does not fit the data is found here, before many trainings.
    """
    batch = data.with_batch_size(8).train[0]
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    given = {"x": x, "y": y, "sample_weight": weights, "batch_size": 8}
    if isinstance(data.train, Episodes):  # there is no example of what acts but acting
        batch = data.train.first(8)
        given = {"x": batch, "steps_per_epoch": 1}
    with warnings.catch_warnings(), policy(precision):
        warnings.simplefilter("ignore")  # of what a batch is too small for
        model = build()
        # Compiling takes longer than a step, but JAX compiles each operation of an eager one.
        model.run_eagerly = keras.backend.backend() != "jax"
        validation = batch if data.validation is not None else None
        history = model.fit(**given, validation_data=validation, verbose=0)
    return list(history.history)


def _as_json(value: Any) -> Any:
    """With lists for tuples, as JSON gives it back."""
    return json.loads(json.dumps(value, default=str))


def default_variant(module: ModuleType) -> str:
    """The variant that a family's `build_model` builds unless told otherwise."""
    return inspect.signature(module.build_model).parameters["variant"].default


def _defaults(module: ModuleType) -> dict[str, Any]:
    """The arguments of `build_model` beside the variant and the seed, which is the run's."""
    parameters = inspect.signature(module.build_model).parameters
    return {n: p.default for n, p in parameters.items() if n not in ("variant", "seed")}


def data_identity(data: Data) -> dict:
    """What makes two data sets the same: names, sizes, shapes, and a checksum of the labels or,
    where there are none, of the split.
    """
    parts = (data.train, data.validation, data.test)
    return {
        "name": data.name,
        "source": data.source or None,
        "sizes": data.sizes,
        "spec": data.spec,
        "labels": [_checksum(part) for part in parts if part is not None],
    }


def _checksum(part: Batches) -> int:
    """Of a part's targets, or of some where they are windows that overlap, or of its indices."""
    if part.y is None:
        return zlib.crc32(part.indices.tobytes())
    step = 1 + part.size * math.prod(part.y.shape[1:]) // 10**7
    return zlib.crc32(part.y[part.indices[::step]].tobytes())
