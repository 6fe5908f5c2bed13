"""Rows of measures: run by name, kept as JSON, shown as a Markdown table."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
# name: (function of a seed that gives a dictionary of numbers, the bars, what papers report)
Rows = Mapping[str, tuple[Callable[[int], dict], str, str]]


def markdown(titles: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """The lines of a table."""
    lines = [list(titles), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return ["| " + " | ".join(map(str, cells)) + " |" for cells in lines]


def record(path: Path, about: str, rows_by_name: Rows, row: dict) -> None:
    """Put a row in the results, in place of an older one of the same name and seed."""
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [r for r in rows if (r["name"], r["seed"]) != (row["name"], row["seed"])]
    order = list(rows_by_name)
    rows = sorted([*rows, row], key=lambda r: (order.index(r["name"]), r["seed"]))
    path.write_text(json.dumps(rows, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(about, rows_by_name, rows))


def table(about: str, rows_by_name: Rows, rows: list[dict]) -> str:
    """The results as a Markdown table, a line for each measure."""
    titles = ("name", "seed", "measure", "value", "bar", "paper", "minutes", "backend")
    lines = []
    for row in rows:
        _, bar, paper = rows_by_name[row["name"]]
        for i, (name, value) in enumerate(row["found"].items()):
            ends = (bar, paper, f"{row['minutes']:.0f}", row["backend"]) if i == 0 else ("",) * 4
            start = (row["name"], row["seed"]) if i == 0 else ("", "")
            lines.append([*start, name.replace("_", " "), f"{value:.4g}", *ends])
    return "\n".join([about, "", *markdown(titles, lines)]) + "\n"


def main(rows_by_name: Rows, path: Path, title: str, about: str) -> None:
    """The command line: names to run, `--seed`, `--list`.

    Args:
        rows_by_name: what can be run.
        path: of the JSON results; the table stands beside it.
        title: of the help.
        about: stands over the table.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("names", nargs="*", help="rows to run; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="list the names")
    options = parser.parse_args()
    if unknown := set(options.names) - set(rows_by_name):
        parser.error(f"unknown {sorted(unknown)}; known: {', '.join(rows_by_name)}")
    if options.list:
        for name, (function, bar, _) in rows_by_name.items():
            print(f"{name}: {function.__doc__} Bar: {bar}")
        return
    import keras

    for name in options.names or rows_by_name:
        keras.utils.set_random_seed(options.seed)
        start = time.perf_counter()
        found = rows_by_name[name][0](options.seed)
        row = {
            "name": name,
            "seed": options.seed,
            "found": {key: float(f"{value:.6g}") for key, value in found.items()},
            "minutes": round((time.perf_counter() - start) / 60, 1),
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU",
        }
        record(path, about, rows_by_name, row)
        print(json.dumps(row), flush=True)
