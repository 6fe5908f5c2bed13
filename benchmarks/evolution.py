"""How soon a population solves its task, beside neat-python; `speed.py` has how fast.

    python benchmarks/evolution.py --list
    python benchmarks/evolution.py xor --runs 100

- xor: runs with seeds from 0 on, until all four outputs are within 0.5, at most 300 generations.
  Ours is the default model.
- cartpole: runs until a network of the population has a mean return of 500 in 5 episodes; then the
  100 test episodes.

neat-python has the settings of its own XOR example (`peers/neat.py`).

Results go to `benchmarks/results/evolution.json`, an entry for each row and contender, and
`evolution.md` is written from them.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures
import numpy as np
import peers.neat

RESULTS = Path(__file__).parent / "results"
X, Y = np.array(peers.neat.X, "float32"), np.array(peers.neat.Y, "int32")
MOST, SIZE, EPISODES = 300, 150, 5
THEIRS = 4  # neat-python, which is slower, has one run of XOR for so many of ours


def theirs(seed: int) -> dict:
    """One run of neat-python's."""
    found = peers.neat.evolve(seed, MOST, SIZE, until_solved=True)
    return {"solved": True, **found} if found else {"generations": MOST, "solved": False}


def ours(seed: int) -> dict:
    """One run of ours."""
    from recipes import neat

    history = neat.build_model(seed=seed).fit(X, Y, epochs=MOST, verbose=0).history
    return {
        "generations": len(history["fitness"]),
        "solved": history["accuracy"][-1] == 1,
        "hidden_nodes": history["hidden_nodes"][-1],
        "connections": history["connections"][-1],
    }


CONTENDERS = {"ours": ours, "neat-python": theirs}


def xor(runs: int) -> Iterator[tuple[str, dict]]:
    """Runs until it is solved."""
    for name, run in CONTENDERS.items():
        count = runs if name == "ours" else max(1, runs // THEIRS)
        every = [run(seed) for seed in range(count)]
        solved = [one for one in every if one["solved"]]
        generations = [one["generations"] for one in every]
        found = {
            "runs": count, "failures": count - len(solved), "generations": spread(generations),
            "networks": spread(SIZE * value for value in generations),
            "hidden_nodes": spread(one["hidden_nodes"] for one in solved),
            "connections": spread(one["connections"] for one in solved),
        }  # fmt: skip
        yield name, found


def cartpole(runs: int) -> Iterator[tuple[str, dict]]:
    """Runs until a network balances the pole for all of its episodes."""
    from recipes import neat

    every = []
    for seed in range(runs):
        data = neat.load_data("CartPole-v1", seed=seed)
        model = neat.build_model("cartpole", **data.spec, episodes=EPISODES, seed=seed)
        wall, cpu = time.perf_counter(), time.process_time()
        history = model.fit(data.train, epochs=50, verbose=0).history
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        test = model.evaluate(data.test, verbose=0, return_dict=True)["fitness"]
        every.append((len(history["fitness"]), test, wall, cpu))
    generations, tests, wall, cpu = zip(*every, strict=True)
    yield "ours", {
        "runs": runs, "failures": sum(test < 475 for test in tests),
        "generations": spread(generations), "test_return": spread(tests),
        "wall_seconds": spread(wall), "cpu_seconds": spread(cpu),
    }  # fmt: skip


def spread(values) -> dict[str, float]:
    """What is recorded of a measure."""
    values = [float(v) for v in values]
    return {
        "mean": statistics.mean(values), "median": statistics.median(values),
        "deviation": statistics.pstdev(values), "least": min(values), "most": max(values),
    }  # fmt: skip


ROWS = {"xor": (xor, 100), "cartpole": (cartpole, 5)}


def record(found: dict) -> None:
    """Put an entry in the results, in place of an older one of the same row and contender."""

    def key(entry: dict) -> tuple:
        return [*ROWS].index(entry["row"]), [*CONTENDERS].index(entry["contender"])

    path = RESULTS / "evolution.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    entries = sorted([*(e for e in entries if key(e) != key(found)), found], key=key)
    path.write_text(json.dumps(entries, indent=1) + "\n")
    (RESULTS / "evolution.md").write_text(table(entries))


def table(entries: list[dict]) -> str:
    """The results as Markdown."""
    rows = []
    for entry in entries:
        for name, value in entry.items():
            if isinstance(value, dict) and "median" in value:
                text = "{mean:.2f} ± {deviation:.2f}, {median:.2f}, {least:.2f} to {most:.2f}"
                cells = [entry[key] for key in ("row", "contender", "runs")]
                cells += [entry.get("failures", ""), name.replace("_", " "), text.format(**value)]
                rows.append(cells)
    lines = ["Mean ± standard deviation, median, and range over the runs.", ""]
    lines += measures.markdown(("row", "contender", "runs", "failures", "measure", "value"), rows)
    lines += ["", *dict.fromkeys(f"`{entry['command']}`, {entry['backend']}, {entry['machine']}, "
                                 f"load {entry['load']:.1f}" for entry in entries)]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; default all")
    parser.add_argument("--runs", type=int, help="how many")
    parser.add_argument("--list", action="store_true", help="list the rows")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"unknown {sorted(unknown)}; known: {', '.join(ROWS)}")
    for row in options.rows or ROWS:
        run, count = ROWS[row]
        if options.list:
            print(f"{row}: {(run.__doc__ or '').strip()} {count} runs")
            continue
        runs = options.runs or count
        for name, values in run(runs):
            packages = ("numpy", "keras", "gymnasium", "neat-python")
            found = {
                "row": row, "contender": name, **values,
                "command": f"python benchmarks/evolution.py {row} --runs {runs}",
                "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
                "versions": {package: version(package) for package in packages},
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU",
                "load": os.getloadavg()[1],
            }  # fmt: skip
            record(found)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
