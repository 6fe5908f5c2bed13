"""What a person sees of a comparison: a line for each, a table, a CSV file, a figure, a page."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from recipes.reports.plots import CLASSES, INK, figure
from recipes.reports.search import markdown_table

# A row is a dictionary as in `recipes.training.compare.Comparison.rows`; a metric is
# (its name, "max" or "min").
Row = Mapping[str, Any]
NUMBERS = (
    "test", "validation", "seconds", "epochs", "best_epoch", "parameters", "memory", "latency",
    "rate",
)  # fmt: skip


def ranked(rows: Sequence[Row], metric: Sequence[str]) -> list[Row]:
    """The best on the test part first, those that failed last."""
    sign = -1 if metric[1] == "max" else 1
    done = [row for row in rows if row["reason"] is None]
    failed = [row for row in rows if row["reason"] is not None]
    return [*sorted(done, key=lambda row: sign * row["test"]), *failed]


def line(row: Row, metric: Sequence[str], number: int, of: int) -> str:
    """A row on one line, as it is done."""
    count = f"{number:{len(str(of))}}/{of}  {row['name']}"
    if row["reason"] is not None:
        return f"{count}  failed: {row['reason']}"
    name = metric[0].replace("_", " ")
    epochs = f"{row['epochs']} epoch{'s' * (row['epochs'] != 1)}"
    return f"{count}  test {name} {row['test']:.4f}  {epochs} in {row['seconds']:.1f} s"


def _cells(row: Row) -> list[str]:
    """The numbers of a row as a person reads them."""
    if row["reason"] is not None:
        return ["failed"] + [""] * 7
    return [
        f"{row['test']:.4f}",
        f"{row['validation']:.4f}",
        f"{row['seconds']:.1f}",
        f"{row['epochs']} ({row['best_epoch']})",
        _rounded(row["parameters"]),
        f"{row['memory'] / 1e6:.0f}",
        f"{1e3 * row['latency']:.2f}",
        _rounded(row["rate"]),
    ]


def _rounded(number: float) -> str:
    """Three digits: 650, 61.7k, 25.6M."""
    for unit in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"


def _head(metric: Sequence[str]) -> list[str]:
    name = metric[0].replace("_", " ")
    return [
        "network", f"test\n{name}", f"val.\n{name}", "train\ns", "epochs\n(best)", "weights",
        "peak\nMB", "one\nms", "many\n/s",
    ]  # fmt: skip


# What the heads do not say
LEGEND = """\
Of the epoch that is best by the family's own objective on the validation part. peak: most memory
that the process held, backend and data included. one: a prediction for one example. many:
predictions a second, 256 at a time."""


def _failures(rows: Sequence[Row]) -> list[str]:
    return [f"{row['name']} failed: {row['reason']}" for row in rows if row["reason"] is not None]


def table(rows: Sequence[Row], metric: Sequence[str], title: str) -> Table:
    """The rows, the best first."""
    made = Table(
        title=title,
        title_justify="left",
        caption="\n".join([LEGEND.replace("\n", " "), *_failures(rows)]),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    first, *others = _head(metric)
    made.add_column(first, no_wrap=True)
    for name in others:
        made.add_column(name, justify="right", no_wrap=True)
    best = ranked(rows, metric)[0]
    for row in ranked(rows, metric):
        style = "dim" if row["reason"] is not None else "bold" if row is best else None
        made.add_row(row["name"], *_cells(row), style=style)
    return made


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """One row for each family, in the order asked for; seconds and bytes."""
    columns = ("name", "family", "variant", *NUMBERS, "folder", "reason")
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([row[name] for name in columns] for row in rows)


def plot(rows: Sequence[Row], metric: Sequence[str]) -> Figure:
    """Validation over time, the best epochs marked, and test over parameters."""
    done = [row for row in rows if row["reason"] is None]
    made, (over_time, over_size) = figure(10, 3.8, 1, 2)
    name = metric[0].replace("_", " ")
    for number, row in enumerate(done):
        color = CLASSES(number % 10)
        times, values = zip(*row["curve"], strict=True)
        marker = "o" if len(times) == 1 else None
        over_time.plot(times, values, color=color, linewidth=1.5, marker=marker, markersize=3)
        best = row["best_epoch"] - 1
        over_time.plot(times[best], values[best], "o", color=color, label=row["name"])
        over_size.plot(row["parameters"], row["test"], "o", color=color, markersize=8)
        over_size.annotate(
            row["name"], (row["parameters"], row["test"]), xytext=(0, 8),
            textcoords="offset points", ha="center", fontsize=9, color=color,
        )  # fmt: skip
    ends = [row["curve"][-1][0] for row in done]
    if max(ends) > 20 * min(ends):
        over_time.set_xscale("log")
    else:
        over_time.set_xlim(left=0)
    over_time.set_xlabel("seconds of training", color=INK)
    over_time.set_title(f"validation {name}, best epochs marked")
    over_time.legend(frameon=False, fontsize=9)
    over_size.set_xscale("log")
    over_size.set_xlabel("trainable parameters", color=INK)
    over_size.set_title(f"test {name}")
    over_size.margins(x=0.2, y=0.2)
    for ax in (over_time, over_size):
        ax.grid(axis="y", color="#e5e7eb", linewidth=0.8)
        ax.set_axisbelow(True)
    return made


def page(rows: Sequence[Row], metric: Sequence[str], title: str) -> str:
    """The comparison as a page of Markdown."""
    cells = [[row["name"], *_cells(row)] for row in ranked(rows, metric)]
    head = [name.replace("\n", " ") for name in _head(metric)]
    lines = [f"# {title}", "", *markdown_table(head, cells), "", LEGEND, ""]
    if any(row["reason"] is None for row in rows):
        lines += ["![comparison](comparison.png)", ""]
    lines += [f"- {text}" for text in _failures(rows)]
    return "\n".join(lines).rstrip() + "\n"
