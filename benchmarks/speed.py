"""Time of a training step and of inference, side by side with the same network elsewhere.

    python benchmarks/speed.py --list
    python benchmarks/speed.py --family cnn resnet --backend jax --rounds 9
    python benchmarks/speed.py --names resnet50 --device gpu

The peers are in `peers/`, a module for each family: the same network written by hand in plain Keras
or taken from `keras.applications`, on the same backend, with the same optimizer, loss, metric and
`jit_compile` ("auto"); in PyTorch as its users write it (eager, channels first); or the strongest
other implementation. All are fed by the same batches of random numbers in memory. Each contender
has a process of its own; after a warm-up, which compiles, they take turns.
Results go to `benchmarks/results/speed.json`, one row for each (network, backend, device, peer),
and `speed.md` is written from them.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import packages_distributions, version
from pathlib import Path

import measures
import peers

RESULTS = Path(__file__).parent / "results"
BACKENDS = ("tensorflow", "jax", "torch")
PARTS = {"train": "training step", "predict": "inference", "generate": "generation"}
CASES = peers.cases()


def work(case: peers.Case, contender: str) -> None:
    """In a process of its own: warm up, then one round for each line that comes in."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    parts, parameters = {"ours": peers.ours, **case.peers}[contender](case)
    for part in parts.values():
        part()
    facts = {"parameters": parameters}
    if contender == "ours":
        from recipes.training.precision import devices

        device = devices()[0]
        facts["device"] = "CPU" if device.kind == "cpu" else device.name
    print(json.dumps(facts), file=answers, flush=True)
    for _ in sys.stdin:
        times = {}
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            calls = 1 if name == "generate" else case.steps
            times[name] = round(1000 * (time.perf_counter() - start) / calls, 4)
        print(json.dumps(times), file=answers, flush=True)


def compare(name: str, backend: str, device: str, rounds: int) -> list[dict]:
    """Our network and its peers in turns; returns a row for each peer."""
    case = CASES[name]
    environment = {
        **os.environ, "TF_CPP_MIN_LOG_LEVEL": "2",
        # several processes share the device
        "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }  # fmt: skip
    if device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}

    def start(contender: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, __file__, "--worker", name, contender],
            env={**environment, "KERAS_BACKEND": backend},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def answer(contender: str) -> dict:
        line = workers[contender].stdout.readline()
        if not line:
            sys.exit(f"{name}, {contender}: the process ended with {workers[contender].wait()}")
        return json.loads(line)

    workers, facts = {}, {}
    for contender in ("ours", *case.peers):
        if importlib.util.find_spec(peers.MODULES.get(contender, "keras")):
            workers[contender] = start(contender)
            facts[contender] = answer(contender)
    times = {contender: [] for contender in workers}
    for i in range(rounds):
        for contender in workers if i % 2 else reversed(workers):
            print(file=workers[contender].stdin, flush=True)
            times[contender].append(answer(contender))
    for worker in workers.values():
        worker.communicate()  # closes its input, which ends it

    asked = {"keras", "numpy", "torch", backend}
    asked |= {peers.MODULES[name] for name in workers if name in peers.MODULES}
    packages = sorted(packages_distributions()[module][0] for module in asked)
    common = {
        "name": name, "backend": backend, "device": device,
        "input_shape": case.input_shape, "batch_size": case.batch_size, "steps": case.steps,
        "machine": f"{facts['ours']['device']}, {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "command": " ".join(["python", *sys.argv]),
    }  # fmt: skip
    rows = []
    for peer in list(workers)[1:]:
        row = {
            **common,
            "peer": peer,
            "parameters": [facts[c]["parameters"] for c in ("ours", peer)],
        }
        for part in times["ours"][0]:
            if part in times[peer][0]:
                row[part] = [[t[part] for t in times[c]] for c in ("ours", peer)]
        rows.append(row)
    return rows


def record(rows: list[dict]) -> str:
    """Put rows in the results, in place of older ones of the same key; returns the table."""

    def key(row):
        order = BACKENDS.index(row["backend"]), list(CASES).index(row["name"])
        return row["device"], *order, list(CASES[row["name"]].peers).index(row["peer"])

    path = RESULTS / "speed.json"
    old = json.loads(path.read_text()) if path.exists() else []
    rows = sorted({key(row): row for row in [*old, *rows]}.values(), key=key)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "speed.md").write_text(table(rows))
    return table(rows)


def table(rows: list[dict]) -> str:
    """The results as Markdown, a line for each row."""
    columns = ["network", "input, batch", "backend", "peer", "parameters, ours / peer's"]
    for part in PARTS.values():
        columns += [f"{part}, ms", "ratio (quartiles)"]
    columns += ["rounds", "machine"]
    lines = [
        f"Written by `{rows[-1]['command']}` and the like.",
        "Milliseconds for a batch (generation: for a batch of samples, from first to last step),",
        "ours / the peer's, medians over the rounds; ratios are of the",
        "same round, below 1 where ours is faster. `speed.json` has the versions and every round.",
        "",
    ]
    table_rows = []
    for row in rows:
        cells = [row["name"], f"{'x'.join(map(str, row['input_shape']))}, {row['batch_size']}",
                 row["backend"], row["peer"], "{:,} / {:,}".format(*row["parameters"])]  # fmt: skip
        for part in PARTS:
            if part not in row:
                cells += ["", ""]
                continue
            mine, theirs = row[part]
            ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
            cells.append(f"{statistics.median(mine):.2f} / {statistics.median(theirs):.2f}")
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        table_rows.append([*cells, len(row["train"][0]), row["machine"]])
    return "\n".join([*lines, *measures.markdown(columns, table_rows)]) + "\n"


def main() -> None:
    families = sorted({case.family for case in CASES.values()})
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", nargs="+", choices=CASES, help="networks; default all")
    parser.add_argument("--family", nargs="+", choices=families, default=families)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=["tensorflow"])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--list", action="store_true", help="list the networks and their peers")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    names = [n for n in options.names or CASES if CASES[n].family in options.family]
    if options.worker:
        work(CASES[options.worker[0]], options.worker[1])
    elif options.list:
        print("\n".join(f"{name}: {', '.join(CASES[name].peers)}" for name in names))
    else:
        for backend in options.backend:
            for name in names:
                print(record(compare(name, backend, options.device, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
