"""Time of a training step and of inference, side by side with the same network elsewhere.

    python benchmarks/speed.py --list
    python benchmarks/speed.py --family cnn resnet --backend jax --rounds 9
    python benchmarks/speed.py --names resnet50 --device gpu
    python benchmarks/speed.py --names gpt_nano lenet5 --grow batch length

The peers are in `peers/`, a module for each family: the same network written by hand in plain Keras
or taken from `keras.applications`, on the same backend, with the same optimizer, loss, metric and
`jit_compile` ("auto"); in PyTorch as its users write it (eager, channels first); or the strongest
other implementation. All are fed by the same batches of random numbers in memory. Each contender
has a process of its own; after a warm-up, which compiles, they take turns. What building and
compiling cost is the time from an imported framework to the end of the first round of training,
less that of a later round; memory is the most that the process held, the framework included.
`--grow` measures training steps with batches, layers, sequences, nodes (of graphs or memories),
vocabularies or populations of 1, 2 and 4 times the size. Results go to
`benchmarks/results/speed.json`, one row for each (network, backend, device, peer), or
`growth.json`, and `speed.md` or `growth.md` is written from them.
"""

import argparse
import importlib
import importlib.util
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import packages_distributions, version
from pathlib import Path

import measures
import peers

RESULTS = Path(__file__).parent / "results"
BACKENDS = ("tensorflow", "jax", "torch")
PARTS = {"train": "training step", "predict": "inference", "generate": "generation"}
CASES = peers.cases()
GROW = ("batch", "depth", "length", "nodes", "words", "networks")
FACTORS = (1, 2, 4)
PAUSE = 0.1  # seconds before each turn: another's threads go on waiting busily for some time


def work(case: peers.Case, contender: str, measured: Iterable[str]) -> None:
    """In a process of its own: warm up, then a round of what is measured for each line read."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    for module in ("recipes", "keras") if contender == "ours" else (module_of(contender),):
        importlib.import_module(module)
    start = time.perf_counter()
    parts, parameters = {"ours": type(case).ours, **case.peers}[contender](case)
    parts = {name: part for name, part in parts.items() if name in measured}
    parts["train"]()
    facts = {"parameters": parameters, "first_round": time.perf_counter() - start}
    for name in parts.keys() - {"train"}:
        parts[name]()
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
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of Linux: in kB
        print(json.dumps({"times": times, "memory": memory}), file=answers, flush=True)


def module_of(contender: str) -> str:
    """What another implementation is imported as."""
    return peers.MODULES.get(contender, "keras")


def compare(name: str, backend: str, device: str, rounds: int, grown: tuple = ()) -> list[dict]:
    """Our network and its peers in turns; returns a row for each peer.

    Args:
        name: of a case.
        backend: of ours.
        device: "cpu" or "gpu".
        rounds: how many.
        grown: (what, factor), of `Case.larger`.
    """
    case = CASES[name].larger(*grown) if grown else CASES[name]
    environment = {
        **os.environ, "TF_CPP_MIN_LOG_LEVEL": "2",
        # several processes share the device
        "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }  # fmt: skip
    if device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}

    def start(contender: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, __file__, "--worker", name, contender, *map(str, grown)],
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
        if importlib.util.find_spec(module_of(contender)):
            workers[contender] = start(contender)
            facts[contender] = answer(contender)
    times, memory = {contender: [] for contender in workers}, {}
    for i in range(rounds):
        for contender in workers if i % 2 else reversed(workers):
            time.sleep(PAUSE)
            print(file=workers[contender].stdin, flush=True)
            answered = answer(contender)
            times[contender].append(answered["times"])
            memory[contender] = round(answered["memory"])
    for worker in workers.values():
        worker.communicate()  # closes its input, which ends it

    used = {"keras", "numpy", backend, *map(module_of, workers)}
    packages = sorted(packages_distributions()[module][0] for module in used)
    common = {
        "name": name, "backend": backend, "device": device,
        "input_shape": case.input_shape, "batch_size": case.batch_size, "steps": case.steps,
        "machine": f"{facts['ours']['device']}, {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "command": " ".join(["python", *sys.argv]),
    }  # fmt: skip
    starts = {}
    for contender, found in facts.items():
        later = statistics.median(t["train"] for t in times[contender]) * case.steps / 1000
        starts[contender] = round(max(0.0, found["first_round"] - later), 2)
    rows = []
    for peer in list(workers)[1:]:
        pair = ("ours", peer)
        row = {
            **common,
            "peer": peer,
            "parameters": [facts[c]["parameters"] for c in pair],
            "start_seconds": [starts[c] for c in pair],
            "peak_megabytes": [memory[c] for c in pair],
        }
        for part in times["ours"][0]:
            if part in times[peer][0]:
                row[part] = [[t[part] for t in times[c]] for c in pair]
        rows.append(row)
    return rows


def grow(name: str, backend: str, device: str, rounds: int, what: str) -> list[dict]:
    """How the time of a training step grows with its size; a row for each peer."""
    found = [compare(name, backend, device, rounds, (what, factor)) for factor in FACTORS]
    rows = []
    for sizes in zip(*found, strict=True):
        row = {k: v for k, v in sizes[0].items() if k not in {*PARTS, "start_seconds"}}
        row |= {"what": what, "train": [row["train"] for row in sizes]}
        row["peak_megabytes"] = [row["peak_megabytes"] for row in sizes]
        rows.append(row)
    return rows


def record(rows: list[dict], file: str, write: Callable[[list[dict]], str]) -> str:
    """Put rows in the results, in place of older ones of the same key; returns the table."""

    def key(row):
        order = BACKENDS.index(row["backend"]), list(CASES).index(row["name"])
        peer = list(CASES[row["name"]].peers).index(row["peer"])
        return row["device"], *order, GROW.index(row.get("what", "batch")), peer

    path = RESULTS / f"{file}.json"
    old = json.loads(path.read_text()) if path.exists() else []
    rows = sorted({key(row): row for row in [*old, *rows]}.values(), key=key)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    path.with_suffix(".md").write_text(write(rows))
    return write(rows)


def growth_table(rows: list[dict]) -> str:
    """The growth as Markdown."""
    lines = [
        f"Written by `{rows[-1]['command']}` and the like.",
        "Milliseconds of a training step, medians over the rounds, and the most that the process",
        "held in MB, for batches, layers, sequences, nodes (of graphs or memories), vocabularies",
        "(words) or populations (networks) of 1, 2 and 4 times the size. The exponent is that of",
        "the size, from once to four times it.",
        "",
    ]
    titles = ["network", "backend", "peer", "of", "ours, ms", "exponent", "the peer's, ms",
              "exponent", "ours, MB", "the peer's, MB"]  # fmt: skip
    cells = []
    for row in rows:
        mine, theirs = ([statistics.median(t[i]) for t in row["train"]] for i in (0, 1))
        memory = [", ".join(str(m[i]) for m in row["peak_megabytes"]) for i in (0, 1)]
        line = [row["name"], row["backend"], row["peer"], row["what"]]
        for times in (mine, theirs):
            exponent = math.log(times[-1] / times[0]) / math.log(FACTORS[-1])
            line += [", ".join(f"{t:.1f}" for t in times), f"{exponent:.2f}"]
        cells.append([*line, *memory])
    return "\n".join([*lines, *measures.markdown(titles, cells)]) + "\n"


def means(rows: list[dict]) -> list[str]:
    """A line for each backend and device: the mean over the networks beside their fastest peers."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        mine, theirs = map(statistics.median, row["train"])
        ratios = found.setdefault((row["backend"], row["device"]), {})
        ratios[row["name"]] = max(mine / theirs, ratios.get(row["name"], 0.0))
    return [
        f"- {backend}, {device}: a training step takes {statistics.geometric_mean(r.values()):.2f} "
        f"times as long as the fastest peer's (geometric mean of {len(r)} networks, "
        f"{sum(ratio <= 1.05 for ratio in r.values())} of them within 5 % of it or below)."
        for (backend, device), r in found.items()
    ]


def table(rows: list[dict]) -> str:
    """The results as Markdown, a line for each row."""
    columns = ["network", "input, batch", "backend", "peer", "parameters, ours / peer's"]
    for part in PARTS.values():
        columns += [f"{part}, ms", "ratio (quartiles)"]
    columns += ["start, s", "memory, MB", "rounds", "machine", "why slower"]
    lines = [
        f"Written by `{rows[-1]['command']}` and the like.",
        "Milliseconds for a batch (generation: for a batch of samples, from first to last step),",
        "ours / the peer's, medians over the rounds; ratios are of the same round, below 1 where",
        "ours is faster. Start: what building and compiling cost; memory: the most that the",
        "process held. `speed.json` has the versions and every round.",
        "",
        *means(rows),
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
        for name in ("start_seconds", "peak_megabytes"):
            cells.append(" / ".join(map(str, row.get(name, ()))))
        mine, theirs = map(statistics.median, row["train"])
        slower = row["backend"] == "tensorflow" and mine > 1.05 * theirs
        why = CASES[row["name"]].why if slower else ""
        table_rows.append([*cells, len(row["train"][0]), row["machine"], why])
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
    parser.add_argument("--grow", nargs="+", choices=GROW, help="how the time of a step grows")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    names = [n for n in options.names or CASES if CASES[n].family in options.family]
    if options.worker:
        name, contender, *grown = options.worker
        case = CASES[name]
        if grown:
            work(case.larger(grown[0], int(grown[1])), contender, ["train"])
        else:
            work(case, contender, PARTS)
    elif options.list:
        print("\n".join(f"{name}: {', '.join(CASES[name].peers)}" for name in names))
    else:
        for backend in options.backend:
            for name in names:
                given = (name, backend, options.device, options.rounds)
                if not options.grow:
                    print(record(compare(*given), "speed", table), flush=True)
                for what in options.grow or ():
                    if CASES[name].larger(what, 1) is None:
                        print(f"{name}: does not grow by {what}")
                        continue
                    print(record(grow(*given, what), "growth", growth_table), flush=True)


if __name__ == "__main__":
    main()
