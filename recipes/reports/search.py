"""What a person sees of a search: a line for each trial, tables, a CSV file, figures, a page."""

import csv
import io
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

from recipes.reports.plots import BLUE, BLUES, GREY, INK, ORANGE, figure
from recipes.training.runs import write_text

# A trial is a dictionary as in `recipes.tuning.search.Search.trials`; an objective is
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


def score_of(trial: Trial) -> str:
    """The score, with its spread over folds where there are some."""
    spread = trial.get("spread")
    return f"{trial['score']:.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def table(trials: Sequence[Trial], objective: Sequence[str], default: Trial | None = None) -> Table:
    """The trials, the best first, with the arguments in which they differ.

    Args:
        trials: all.
        objective: (name, direction).
        default: that of the trials whose arguments are the defaults.
    """
    name, direction = objective
    arguments = differing(trials, "arguments")
    notes = [] if default is None else [f"defaults: {default['number']}"]
    made = Table(
        title=f"{len(trials)} trials by {name} ({direction})",
        title_justify="left",
        caption="\n".join([*notes, *_failures(trials)]) or None,
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
            "failed" if score is None else score_of(trial),
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
    columns = ["number", "status", "score", "seconds", "parameters", "epochs"]
    if any(trial.get("spread") is not None for trial in trials):
        columns.insert(3, "spread")
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([*columns, *arguments, "reason"])
    for trial in trials:
        drawn = trial["arguments"]
        row = [trial.get(name) for name in columns] + [drawn.get(name) for name in arguments]
        writer.writerow([*row, trial["reason"]])
    write_text(Path(path), file.getvalue())


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


def importance(trials: Sequence[Trial], seed: int = 0) -> dict[str, float]:
    """How much of the score each hyperparameter explains by itself, the most important first.

    As functional ANOVA has it (Hutter et al. 2014, section 3): a random forest learns the rank of
    the score from the values; a hyperparameter's share is the variance of the forest's mean over
    all others, as it alone moves, of the variance of all predictions. What is missing to 1 is due
    to several together. Empty with fewer than 8 scores, which say nothing.
    """
    from sklearn.ensemble import RandomForestRegressor

    scored = [trial for trial in trials if trial["score"] is not None]
    names = differing(scored, "values") if scored else []
    if len(scored) < 8 or not names:
        return {}
    x = np.stack([_encoded(scored, name) for name in names], axis=1)
    y = np.argsort(np.argsort([trial["score"] for trial in scored]))
    forest = RandomForestRegressor(200, min_samples_leaf=2, random_state=seed).fit(x, y)
    shares = {}
    for column, name in enumerate(names):
        moved = np.tile(x, (len(x), 1))
        moved[:, column] = np.repeat(x[:, column], len(x))  # each value as often as it came
        means = forest.predict(moved).reshape(len(x), len(x)).mean(axis=1)
        shares[name] = float(np.var(means) / max(np.var(forest.predict(x)), 1e-12))
    return dict(sorted(shares.items(), key=lambda share: -share[1]))


def _encoded(trials: Sequence[Trial], name: str) -> np.ndarray:
    """Values as places in their order, which is all that a tree sees; -1 where there is none."""
    values = [trial["values"].get(name) for trial in trials]
    known = {value for value in values if value is not None}
    ordered = sorted(known, key=str if any(isinstance(v, str) for v in known) else None)
    return np.array([-1 if value is None else ordered.index(value) for value in values], float)


def parallel(trials: Sequence[Trial], objective: Sequence[str]) -> Figure:
    """Each trial as a line through its values to its score: dark for good, orange for the best."""
    scored = ranked([trial for trial in trials if trial["score"] is not None], objective)
    names = differing(scored, "values")
    made, (ax,) = figure(1.6 * (len(names) + 1) + 1, 4)
    places = [_encoded(scored, name) for name in names]
    scores = np.array([trial["score"] for trial in scored])
    log = scores.min() > 0 and scores.max() > 100 * scores.min()
    places.append(np.log(scores) if log else scores)
    for column, name in enumerate([*names, objective[0]]):
        column_values = places[column]
        low, high = column_values.min(), column_values.max()
        places[column] = (column_values - low) / max(high - low, 1e-12)
        ax.axvline(column, color=GREY, linewidth=0.8, zorder=1)
        shown = [t["score"] if name == objective[0] else t["values"].get(name) for t in scored]
        for place in (0.0, 1.0):
            at = [v for v, p in zip(shown, places[column], strict=True) if p == place]
            text = "none" if at and at[0] is None else short(at[0]) if at else ""
            ax.text(column, place + 0.06 * (2 * place - 1), text, ha="center", va="center",
                    color=INK, fontsize=8)  # fmt: skip
    for rank in reversed(range(len(scored))):
        color = ORANGE if rank == 0 else BLUES(0.25 + 0.75 * (1 - rank / len(scored)))
        width = 2.2 if rank == 0 else 1.1
        path = [column[rank] for column in places]
        ax.plot(range(len(path)), path, color=color, linewidth=width, zorder=2 + (rank == 0))
    ax.set_xticks(range(len(places)), [*names, objective[0]], rotation=20, ha="right")
    ax.set_yticks([])
    ax.set_ylim(-0.12, 1.12)
    ax.spines[["left", "bottom"]].set_visible(False)
    return made


def page(
    trials: Sequence[Trial],
    config: Mapping[str, Any],
    default: Trial | None = None,
    most: int = 10,
) -> str:
    """The search as a page of Markdown.

    Args:
        trials: all.
        config: what `search.json` holds.
        default: that of the trials whose arguments are the defaults.
        most: trials in the table of the best, beside the default one.
    """
    name, direction = objective = config["objective"]
    best = [t for i, t in enumerate(ranked(trials, objective)) if i < most or t is default]
    arguments = differing(trials, "arguments")
    head = ["trial", name, "seconds", "weights", *arguments]
    rows = [
        [
            f"{t['number']}{' (defaults)' * (t is default)}",
            "failed" if t["score"] is None else score_of(t),
            f"{t['seconds']:.1f}",
            "" if t["parameters"] is None else f"{t['parameters']:,}",
            *(short(t["arguments"].get(n, "")) for n in arguments),
        ]
        for t in best
    ]
    seconds = sum(t["seconds"] for t in trials)
    asked = f"{config['algorithm']}, seed {config['seed']}, {config['precision']}"
    lines = [
        f"# {config['family']} on {config['data']['name']}: {len(trials)} trials",
        "",
        f"By {name} ({direction}), {asked}; the trials took {seconds:.0f} s.",
        "",
        "`recipes train --from` this folder trains the best; `recipes tune --resume` searches on.",
        "",
        "## The best",
        "",
        *markdown_table(head, rows),
        "",
    ]
    if shares := importance(trials):
        explained = [[n, f"{100 * share:.0f} %"] for n, share in shares.items()]
        lines += [
            "## What mattered",
            "",
            "The share of the score's variance that each explains by itself, in a random forest;",
            "the rest is due to several together, and to chance.",
            "",
            *markdown_table(["hyperparameter", "share"], explained),
            "",
        ]
    lines += ["![score](search.png)", ""]
    if sum(t["score"] is not None for t in trials) > 1 and differing(trials, "values"):
        lines += ["![parallel coordinates](parallel.png)", ""]
    if failures := _failures(trials):
        lines += ["## Failed", "", *(f"- {line}" for line in failures), ""]
    return "\n".join(lines)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]
