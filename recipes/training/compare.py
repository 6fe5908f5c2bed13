"""Compare families on the same data: each is trained in a process of its own, one after another."""

import contextlib
import inspect
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras

from recipes.contract import check, family, unknown
from recipes.contract.arguments import check_vocabulary, seconds
from recipes.data.core import Batches, Data
from recipes.reports import comparison as reports
from recipes.reports import plots
from recipes.reports.progress import Progress
from recipes.training.precision import choose, policy
from recipes.training.runs import (
    Run,
    check_new,
    environment,
    new_directory,
    read_history,
    write_json,
)
from recipes.training.train import data_identity, default_variant, reported, train
from recipes.tuning.executors import Ended, Processes
from recipes.tuning.trial import Tell
from recipes.tuning.worker import peak_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

MOST_EPOCHS = 100_000  # where the budget alone ends a training
MANY = 256  # examples at a time, whose rate is measured


@dataclass
class Comparison:
    """What was compared, in `rows`, in the order asked for, and its directory.

    A row has: name ("cnn", "cnn:vgg11" ...), family, variant; reason: why it failed, or None; and,
    None where it failed: test and validation (the metric, in the epoch that is best by the family's
    own objective), seconds (of training), epochs, best_epoch, parameters (trainable ones), memory
    (the most bytes that its process held), latency (seconds for one example), rate (examples a
    second, 256 at a time); curve (a pair for each epoch: seconds since the start, validation);
    folder (the run directory).

    The directory holds these runs, `comparison.csv`, `comparison.json`, `comparison.png` and a
    page, `README.md`.
    """

    directory: Path
    data: str
    metric: tuple[str, str]  # its name, and "max" or "min"
    budget: float | None  # seconds of each training
    rows: list[dict[str, Any]] = field(default_factory=list)

    def table(self) -> "Table":
        """The rows as a `rich` table, the best first."""
        return reports.table(self.rows, self.metric, self.title)

    def plot(self) -> "Figure":
        """Validation over time, and test over parameters."""
        return reports.plot(self.rows, self.metric)

    @property
    def title(self) -> str:
        """What was compared on what."""
        budget = "" if self.budget is None else f", {self.budget:g} s of training each"
        return f"{len(self.rows)} networks on {self.data}{budget}"

    def write(self) -> None:
        """Write all files of the directory but the runs."""
        reports.write_csv(self.rows, self.directory / "comparison.csv")
        about = {"data": self.data, "metric": self.metric, "budget": self.budget}
        about |= {"rows": self.rows, "environment": environment()}
        write_json(self.directory / "comparison.json", about)
        if any(row["reason"] is None for row in self.rows):
            plots.save(self.plot(), self.directory / "comparison.png")
        page = reports.page(self.rows, self.metric, self.title)
        (self.directory / "README.md").write_text(page, encoding="utf-8")


def compare(
    families: Sequence[str | ModuleType],
    data: Any = None,
    *,
    budget: float | str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    patience: int | None = None,
    data_options: dict[str, Any] | None = None,
    directory: str | Path | None = None,
    verbose: int = 1,
) -> Comparison:
    """Train several families on the same split of the same data, and measure each.

    Each has a process of its own, so that time and memory are its own, and goes through
    `recipes.train`, of which it leaves the run directory. One that fails is a row with its reason.
    Ctrl-C leaves what is done.

    Args:
        families: modules or names; "cnn:vgg11" names a variant.
        data: anything that the `load_data` of all of them takes, or a `Data`; default the data set
            of the first.
        budget: of each training, in seconds or as "10m", "1h30m"; it ends after the epoch in which
            the budget is spent, and the best epoch counts. Building and reports are not counted.
        epochs: of each training, at most; default as many as the budget allows, or without one the
            family's `EPOCHS`.
        batch_size: default that of each family.
        precision: "float32", "bfloat16", "float16", or "auto": by the device.
        seed: of the split, the weights, the order and dropout.
        patience: stop after so many epochs without a better objective; default never.
        data_options: further arguments of `load_data`.
        directory: a new one; default `compare/<data>-<number>`.
        verbose: 0 prints nothing, 1 a line for each family.

    Raises:
        ValueError: before anything trains: an unknown family, variant or data set, data that one of
            them does not take or takes for another task, a directory that is not empty.
        RuntimeError: all failed; says why the first did.
    """
    listed = isinstance(families, Sequence) and not isinstance(families, str) and len(families)
    check(listed, "families", families, "must be a list of families, such as ['cnn', 'dnn']")
    check_vocabulary(
        {"epochs": epochs, "batch_size": batch_size, "seed": seed},
        optional=("epochs", "batch_size"),
    )
    budget = None if budget is None else seconds(budget)
    check_new(directory, "directory")
    precision = choose(precision)
    options = {"seed": seed, **(data_options or {})}
    options |= {"batch_size": batch_size} if batch_size else {}
    given = {"epochs": epochs, "patience": patience, "precision": precision, "seed": seed}
    entries = _entries(families, data, options, budget, given)
    metric = _metric(entries)
    _check_same_split(entries)

    name = entries[0].data.name
    path = new_directory(directory, name, "compare")
    found = Comparison(path, name, metric, budget)
    most = None if budget is None else budget * len(entries)
    progress = Progress(lambda: len(found.rows), len(entries), most, verbose > 0, what="network")
    try:
        with progress:
            for entry in entries:
                entry.metric = metric[0]
                row = _run(entry, path, progress)
                found.rows.append(row)
                found.write()
                if verbose:
                    print(reports.line(row, metric, len(found.rows), len(entries)), flush=True)
    except KeyboardInterrupt:
        if verbose:
            print(f"\nStopped; {len(found.rows)} of {len(entries)} are in {path}.")
        raise
    if all(row["reason"] for row in found.rows):
        raise RuntimeError(f"all of {path} failed; the first: {found.rows[0]['reason']}")
    return found


@dataclass
class Entry:
    """One of those compared; sent to the process that trains it."""

    name: str
    family: str
    variant: str
    data: Data
    budget: float | None
    given: dict[str, Any]  # of `train`
    metric: str = ""

    def run(self, place: "Place", tell: Tell) -> dict[str, Any]:
        """Train in this process, and measure: the numbers of a row."""
        clock = _Clock(self.budget, tell)
        run = train(
            self.family,
            self.data,
            variant=self.variant,
            run_dir=place.folder,
            callbacks=[clock],
            verbose=0,
            **self.given,
        )
        memory = peak_memory()  # before examples are predicted many at a time
        values = _validation(read_history(place.folder), self.metric)
        metrics = run.metrics
        latency, rate = _speed(run)
        return {
            "test": metrics[f"test_{self.metric}"],
            "validation": values[metrics["best_epoch"] - 1],
            "seconds": metrics["seconds"],
            "epochs": metrics["epochs"],
            "best_epoch": metrics["best_epoch"],
            "parameters": metrics["parameters"],
            "memory": memory,
            "latency": latency,
            "rate": rate,
            "curve": list(zip(clock.times, values, strict=True)),
        }


@dataclass
class Place:
    """Where an entry's run goes."""

    folder: Path


class _Clock(keras.callbacks.Callback):
    """Ends a training after the epoch in which its budget is spent."""

    def __init__(self, budget: float | None, tell: Tell):
        super().__init__()
        self.budget, self.tell, self.times = budget, tell, []

    def on_train_begin(self, logs=None):
        """The budget begins."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Look at the clock."""
        self.times.append(round(time.perf_counter() - self._start, 3))
        self.tell(epoch + 1, {name: float(value) for name, value in (logs or {}).items()})
        if self.budget is not None and self.times[-1] >= self.budget:
            self.model.stop_training = True


def _entries(
    families: Sequence[str | ModuleType],
    data: Any,
    options: dict[str, Any],
    budget: float | None,
    given: dict[str, Any],
) -> list[Entry]:
    """Those to be compared, with their data; raises where one of them cannot be."""
    named = []
    for item in families:
        label, _, variant = item.partition(":") if isinstance(item, str) else (item, "", "")
        module = family(label)
        name = module.__name__.rpartition(".")[2]
        if variant and variant not in module.VARIANTS:
            raise unknown(f"variant of {name}", variant, module.VARIANTS)
        entry = f"{name}:{variant}" if variant else name
        wanted = "is there twice; name its variants, such as cnn:vgg11"
        check(entry not in [n for n, *_ in named], "families", entry, wanted)
        named.append((entry, module, variant or default_variant(module)))
    if data is None:
        data = inspect.signature(named[0][1].load_data).parameters["source"].default
    entries = []
    for name, module, variant in named:
        given_epochs = given["epochs"] or (MOST_EPOCHS if budget else None)
        try:
            loaded = module.load_data(data, **({} if isinstance(data, Data) else options))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        of_train = {**given, "epochs": given_epochs}
        short = module.__name__.rpartition(".")[2]
        entries.append(Entry(name, short, variant, loaded, budget, of_train))
    return entries


def _metric(entries: Sequence[Entry]) -> tuple[str, str]:
    """What all of them report, with the direction that is better."""
    known = {}
    for entry in entries:
        module = family(entry.family)

        def build(entry=entry, module=module) -> keras.Model:
            with policy(entry.given["precision"]):
                return module.build_model(entry.variant, **entry.data.spec)

        try:
            names = reported(build, entry.data, entry.given["precision"])
        except ValueError as error:
            raise ValueError(f"{entry.name}: {error}") from error
        known[entry.name] = [n for n in names if not n.startswith("val_")]
    # The losses of two families are not of one kind.
    one = len({entry.family for entry in entries}) == 1
    names = [n for n in next(iter(known.values())) if n != "loss" or one]
    common = [n for n in names if all(n in others for others in known.values())]
    told = "; ".join(f"{name} reports {', '.join(found)}" for name, found in known.items())
    wanted = f"are for different tasks, without a metric to compare: {told}"
    check(common, "families", [entry.name for entry in entries], wanted)
    first, direction = family(entries[0].family).OBJECTIVE
    first = first.removeprefix("val_")
    if first in common and first != "loss":
        return first, direction
    best = next((n for n in common if n != "loss"), "loss")
    return best, "max" if any(word in best for word in plots.RISING) else "min"


def _check_same_split(entries: Sequence[Entry]) -> None:
    """Raise where two have other examples, or others of them to train on."""
    first, *others = [json.loads(json.dumps(data_identity(e.data), default=str)) for e in entries]
    for entry, found in zip(entries[1:], others, strict=True):
        same = all(found[key] == first[key] for key in ("sizes", "labels"))
        wanted = f"{entry.name} splits or labels it otherwise than {entries[0].name} does"
        check(same, "data", entry.data.name, wanted)


def _run(entry: Entry, directory: Path, progress: Progress) -> dict[str, Any]:
    """The row of an entry, which is trained in a process of its own."""
    folder = directory.resolve() / entry.name.replace(":", "-")
    epochs = entry.given["epochs"] or family(entry.family).EPOCHS

    def heard(slot: int, epoch: int, logs: dict[str, float]) -> None:
        value = logs.get(f"val_{entry.metric}", logs.get(entry.metric))
        shown = "" if value is None else f"{entry.metric.replace('_', ' ')} {value:.4f}"
        progress.epoch(entry.name, epoch, epochs, shown)

    with contextlib.closing(Processes(1, entry)) as executor:
        progress.epoch(entry.name, 0, epochs, "")
        executor.submit(0, Place(folder))
        end: Ended | None = None
        while end is None:
            end = executor.wait(heard, None)
    progress.end(entry.name)
    record = {"reason": end.died} if end.record is None else end.record
    record.pop("stop", None)  # a search would end
    row = {"name": entry.name, "family": entry.family, "variant": entry.variant, "reason": None}
    row |= dict.fromkeys(reports.NUMBERS)
    return row | {"curve": [], "folder": str(directory / folder.name), **record}


def _validation(history: dict[str, list[float]], metric: str) -> list[float]:
    """A metric over the epochs, on the validation part where there is one."""
    return history.get(f"val_{metric}", history[metric])


def _speed(run: Run) -> tuple[float, float]:
    """Seconds for one example, and examples a second, where many come at once."""
    with policy(run.config["precision"]):
        one, took = _time(run.model, run.data.test, 1)
        many, together = _time(run.model, run.data.test, MANY)
    return took / one, many / together


def _time(model: keras.Model, part: Batches, count: int, at_most: float = 1.0) -> tuple[int, float]:
    """How many examples a prediction is of, and the median of its seconds."""
    count = min(count, part.size)
    x = part.first(count).with_batch_size(count)[0][0]
    outputs = keras.tree.flatten(model.predict_on_batch(x))[0]  # compiled
    times: list[float] = []
    while len(times) < 5 or (sum(times) < at_most and len(times) < 200):
        start = time.perf_counter()
        model.predict_on_batch(x)
        times.append(time.perf_counter() - start)
    return len(outputs), statistics.median(times)
