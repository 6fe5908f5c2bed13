"""What a person sees of a search: a line for each trial, a table, a CSV file, a figure."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.table import Table

from recipes.reports.plots import BLUE, GREY, INK, ORANGE, figure

# A trial is a dictionary as in `recipes.tuning.tune.Search.trials`; an objective is
# (name of a metric, "max" or "min").
Trial = Mapping[str, Any]


def short(value: Any) -> str:
    """A value as few characters show it."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(short, value))}{',' * (len(value) == 1)})"
    return str(value)


def ranked(trials: Sequence[Trial], objective: Sequence[str]) -> list[Trial]:
    """The best trial first, the failed ones last; equals in their order."""
    sign = -1 if objective[1] == "max" else 1
    done = [trial for trial in trials if trial["score"] is not None]
    failed = [trial for trial in trials if trial["score"] is None]
    return [*sorted(done, key=lambda trial: sign * trial["score"]), *failed]


def differing(trials: Sequence[Trial], of: str) -> list[str]:
    """Names in `trial[of]` (arguments or values) that are not the same in all trials."""
    names = dict.fromkeys(name for trial in trials for name in trial[of])
    return [n for n in names if any(t[of].get(n) != trials[0][of].get(n) for t in trials)]


def line(trials: Sequence[Trial], defaults: Mapping, objective: Sequence[str], of: int) -> str:
    """The latest of the trials on one line, with those of its arguments that are not default.

    Args:
        trials: so far.
        defaults: arguments and their values.
        objective: (name, direction).
        of: number of trials that there will be.
    """
    last, best = trials[-1], ranked(trials, objective)[0]
    if last["score"] is None:
        outcome = f"failed: {last['reason']}"
    else:
        star = "*" if last is best else " "
        outcome = f"{objective[0]} {last['score']:.4f}{star} best {best['score']:.4f}"
    changed = [
        f"{name}={short(value)}"
        for name, value in last["arguments"].items()
        if name not in defaults or value != defaults[name]
    ]
    count = f"{len(trials):{len(str(of))}}/{of}"
    return f"{count}  {outcome}  {last['seconds']:.1f} s  {' '.join(changed) or '(defaults)'}"


def table(trials: Sequence[Trial], objective: Sequence[str]) -> Table:
    """The trials, the best first, with the arguments in which they differ."""
    name, direction = objective
    arguments = differing(trials, "arguments")
    made = Table(
        title=f"{len(trials)} trials by {name} ({direction})",
        title_justify="left",
        caption="\n".join(_failures(trials)) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for title in ("trial", "score", "weights", "s"):
        made.add_column(title, justify="right", no_wrap=True)
    for title in arguments:
        made.add_column(title.replace("_", "_\n"), justify="right", overflow="fold")
    best = ranked(trials, objective)[0]
    for trial in ranked(trials, objective):
        score, parameters = trial["score"], trial["parameters"]
        made.add_row(
            str(trial["number"]),
            "failed" if score is None else f"{score:.4f}",
            "" if parameters is None else f"{parameters:,}",
            f"{trial['seconds']:.1f}",
            *(short(trial["arguments"].get(n, "")) for n in arguments),
            style="dim" if score is None else "bold" if trial is best else None,
        )
    return made


def _failures(trials: Sequence[Trial]) -> list[str]:
    """Each reason for which trials failed, with their numbers."""
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        if trial["status"] == "failed":
            reasons.setdefault(trial["reason"], []).append(str(trial["number"]))
    return [f"failed {', '.join(numbers)}: {reason}" for reason, numbers in reasons.items()]


def write_csv(trials: Sequence[Trial], path: str | Path) -> None:
    """One row for each trial, in order, with all that the space decided."""
    arguments = list(dict.fromkeys(name for trial in trials for name in trial["arguments"]))
    columns = ("number", "status", "score", "seconds", "parameters", "epochs")
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *arguments, "reason"])
        for trial in trials:
            drawn = trial["arguments"]
            row = [trial[name] for name in columns] + [drawn.get(name) for name in arguments]
            writer.writerow([*row, trial["reason"]])


def plot(trials: Sequence[Trial], objective: Sequence[str]) -> Figure:
    """The score over the trials, then each hyperparameter against the score.

    The best trial is marked; crosses at the foot are trials that failed.
    """
    names = differing(trials, "values")
    columns = min(3, 1 + len(names))
    rows = math.ceil((1 + len(names)) / columns)
    made, axes = figure(4.2 * columns, 3.1 * rows, rows, columns)
    scores = [trial["score"] for trial in trials if trial["score"] is not None]
    wide = min(scores) > 0 and max(scores) > 100 * min(scores)
    best = ranked(trials, objective)[0]
    for ax, name in zip(axes, [None, *names], strict=False):
        shown = [t for t in trials if name is None or name in t["values"]]
        x = _over_trials(ax, shown) if name is None else _against(ax, name, shown)
        for trial, place in zip(shown, x, strict=True):
            if trial["score"] is None:
                at_foot = ax.get_xaxis_transform()
                ax.plot(place, 0.02, "x", color=GREY, markersize=6, transform=at_foot)
            else:
                color, size = (ORANGE, 8) if trial is best else (BLUE, 5)
                ax.plot(
                    place,
                    trial["score"],
                    "o",
                    color=color,
                    markersize=size,
                    alpha=1 if trial is best else 0.6,
                    markeredgewidth=0,
                    zorder=3 if trial is best else 2,
                )
        ax.grid(axis="y", color="#e5e7eb", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.margins(x=0.08, y=0.12)
        if wide:
            ax.set_yscale("log")
        if name is None:
            pick = np.fmax if objective[1] == "max" else np.fmin
            so_far = pick.accumulate(
                [math.nan if t["score"] is None else t["score"] for t in shown]
            )
            ax.step(x, so_far, where="post", color=ORANGE, linewidth=1.2, zorder=1)
            ax.set_title(f"best {best['score']:.4g}, trial {best['number']}")
    for ax in axes[::columns]:
        ax.set_ylabel(objective[0], color=INK)
    for ax in axes[1 + len(names) :]:
        ax.set_axis_off()
    return made


def _over_trials(ax: Axes, trials: Sequence[Trial]) -> list[int]:
    ax.set_xlabel("trial", color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return [trial["number"] for trial in trials]


def _against(ax: Axes, name: str, trials: Sequence[Trial]) -> list[float]:
    """The places of the trials on the axis of a hyperparameter."""
    ax.set_xlabel(name, color=INK)
    values = [trial["values"][name] for trial in trials]
    known = set(values)
    numeric = not any(isinstance(value, str | bool) for value in known)
    if numeric and (len(known) > 6 or len(known) == len(values)):
        if min(known) > 0 and max(known) >= 10 * min(known):
            ax.set_xscale("log")
        return values
    ordered = sorted(known) if numeric else sorted(known, key=str)
    ax.set_xticks(range(len(ordered)), [short(value) for value in ordered])
    ax.set_xlim(-0.5, len(ordered) - 0.5)
    return [ordered.index(value) for value in values]
