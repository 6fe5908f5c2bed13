"""Train a family on data, in a run directory that holds all that matters, and resume it."""

import inspect
import json
import math
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

import recipes
from recipes.contract import check, family, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data.core import Data
from recipes.training import checkpoints
from recipes.training.precision import choose, policy
from recipes.training.runs import (
    Recorder,
    Run,
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
        resume: a run directory, to continue after a crash, or for more `epochs`. Only `epochs`,
            `callbacks` and `verbose` may be given with it, and `data` if the run had arrays.
        callbacks: further Keras callbacks.
        data_options: further arguments of `load_data`.
        verbose: as in `fit`; "auto" shows a progress bar in a terminal and lines elsewhere.
        **build_arguments: of `build_model`, over what the data asks for.

    Returns:
        The `Run`, with the best model.

    Raises:
        ValueError: an unknown family, variant, argument or data set; data that does not fit the
            arguments; a `run_dir` that is not empty; a `resume` that is no run.
    """
    if resume is not None:
        given = dict(
            build_arguments,
            variant=variant,
            batch_size=batch_size,
            run_dir=run_dir,
            patience=patience,
            data_options=data_options,
        )
        given |= {"family": family_or_name} if family_or_name is not None else {}
        refused = [name for name, value in given.items() if value is not None]
        check(
            not refused,
            "resume",
            str(resume),
            f"cannot change {', '.join(refused)}: a resumed run keeps its arguments, except epochs",
        )
        return _resume(Path(resume), data, epochs, callbacks, verbose)

    check(family_or_name is not None, "family", None, "name a family, or a run to resume")
    module = family(family_or_name)
    name = module.__name__.rpartition(".")[2]
    variant = _default_variant(module) if variant is None else variant
    if variant not in module.VARIANTS:
        raise unknown("variant", variant, module.VARIANTS)
    check_vocabulary(
        {"epochs": epochs, "batch_size": batch_size, "seed": seed},
        optional=("epochs", "batch_size"),
    )
    check(
        patience is None or (isinstance(patience, int) and patience >= 0),
        "patience",
        patience,
        "must be an integer of at least 0",
    )
    precision = choose(precision)

    if not isinstance(data, Data):
        options = dict(data_options or {}, seed=seed)
        options |= {"batch_size": batch_size} if batch_size else {}
        data = module.load_data(*(() if data is None else (data,)), **options)
    elif batch_size:
        data = data.with_batch_size(batch_size)
    for argument, value in data.spec.items():
        wanted = build_arguments.get(argument, value)
        same = tuple(wanted) == tuple(value) if argument == "input_shape" else wanted == value
        check(same, argument, wanted, f"the data {data.name!r} needs {value!r}")

    config = {
        "recipes": recipes.__version__,
        "family": name,
        "variant": variant,
        "build": {**data.spec, **build_arguments},
        "data": _data_identity(data),
        "epochs": epochs or module.EPOCHS,
        "batch_size": data.train.batch_size,
        "precision": precision,
        "seed": int(seed),
        "patience": patience,
    }
    with policy(precision):
        keras.utils.set_random_seed(seed)
        # Built first: a wrong argument must not leave a directory behind.
        model = module.build_model(variant, **config["build"])
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
        return _fit(directory, config, model, data, recorder, callbacks, verbose)


def _resume(directory: Path, data: Any, epochs: int | None, callbacks: list, verbose: Any) -> Run:
    config = read_config(directory)
    last = directory / "last.keras"
    check(last.is_file(), "resume", str(directory), "has no last.keras to continue from")
    module = family(config["family"])
    check_vocabulary({"epochs": epochs}, optional=("epochs",))
    config["epochs"] = epochs or config["epochs"]
    identity = config["data"]
    if not isinstance(data, Data):
        if data is None and identity["source"] is None:
            raise ValueError(
                f"resume={str(directory)!r}: this run was trained on data in memory "
                f"({identity['name']}); pass the same data again"
            )
        options = dict(identity["source"] or {"seed": config["seed"]})
        source = options.pop("source", None)
        options["batch_size"] = config["batch_size"]
        data = module.load_data(source if data is None else data, **options)
    data = data.with_batch_size(config["batch_size"])
    found = _data_identity(data)
    for key in ("spec", "sizes", "labels"):
        found_value, wanted = (json.loads(json.dumps(d[key])) for d in (found, identity))
        check(
            found_value == wanted,
            "data",
            data.name,
            f"is not what the run was trained on: its {key} are {found_value}, not {wanted}",
        )

    with policy(config["precision"]):
        keras.utils.set_random_seed(config["seed"])
        model = checkpoints.load(last)
        recorder = Recorder(directory, module.OBJECTIVE, config["patience"])
        recorder.restore(checkpoints.read_state(last))
        write_json(directory / "config.json", config)
        return _fit(directory, config, model, data, recorder, callbacks, verbose)


def _fit(
    directory: Path,
    config: dict,
    model: keras.Model,
    data: Data,
    recorder: Recorder,
    callbacks: list,
    verbose: Any,
) -> Run:
    """Fit from where the recorder stands, then evaluate the best model and write the reports."""
    from recipes.reports.run import write_reports

    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() else 2
    data.train.epoch = recorder.epoch
    if recorder.epoch < config["epochs"] and not recorder.stopped:
        try:
            model.fit(
                data.train,
                validation_data=data.validation,
                epochs=config["epochs"],
                initial_epoch=recorder.epoch,
                shuffle=False,  # Batches shuffles, by seed and epoch
                callbacks=[*callbacks, ScalarLog(directory / "logs"), recorder],
                verbose=verbose,
            )
        except KeyboardInterrupt:
            print(
                f"\nPaused after epoch {recorder.epoch}. To continue: "
                f"recipes train --resume {directory}"
            )
            raise
    best_file = directory / "best.keras"
    best = checkpoints.load(best_file) if best_file.exists() else model
    tested = best.evaluate(data.test, verbose=0, return_dict=True)
    metrics = {
        **checkpoints.read_state(best_file if best_file.exists() else directory / "last.keras"),
        "epochs": recorder.epoch,
        **{f"test_{key}": float(value) for key, value in tested.items()},
        "parameters": sum(math.prod(w.shape) for w in best.trainable_weights),
        "seconds": round(recorder.seconds, 1),
    }
    write_json(directory / "metrics.json", metrics)
    run = Run(directory, config["family"], best, data, read_history(directory), metrics, config)
    write_reports(run)
    return run


def _default_variant(module: ModuleType) -> str:
    return inspect.signature(module.build_model).parameters["variant"].default


def _data_identity(data: Data) -> dict:
    """What makes two data sets the same: names, sizes, shapes and a checksum of the labels."""
    parts = (data.train, data.validation, data.test)
    return {
        "name": data.name,
        "source": data.source or None,
        "sizes": data.sizes,
        "spec": data.spec,
        "labels": [zlib.crc32(part.targets.tobytes()) for part in parts if part is not None],
    }
