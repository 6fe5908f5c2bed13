"""Does a model wait for its data? Examples a second of the pipeline alone and with a model.

    python benchmarks/pipeline.py
    python benchmarks/pipeline.py --backends jax --steps 50 --rounds 5

MNIST in batches of 128 (5,000 of its digits, over and over, where TensorFlow Datasets' `mnist`
is not prepared in `TFDS_DATA_DIR`). In rounds, after one to warm up: the batches made and thrown
away; an epoch of `fit` with one dense layer, which is little more than Keras feeding itself; an
epoch of `fit` with LeNet-5. Each backend has a process of its own. Results go to
`benchmarks/results/pipeline.json` and `.md`.
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
from pathlib import Path

import measures

RESULTS = Path(__file__).parent / "results"
BACKENDS = ("tensorflow", "jax", "torch")
BATCH_SIZE = 128


def measure(steps: int, rounds: int) -> dict:
    """Seconds of each part on the current backend; returns its row."""
    import keras
    import numpy as np

    from recipes import cnn, dnn
    from recipes.data import tfds
    from recipes.data.core import Batches
    from recipes.training.precision import devices

    data = cnn.load_data("mnist" if tfds.is_prepared("mnist") else "mnist5k")
    train = data.train
    indices = np.resize(train.indices, steps * BATCH_SIZE)
    batches = Batches(train.x, train.y, indices, train.transform, BATCH_SIZE, shuffle=True)

    class Timer(keras.callbacks.Callback):
        """Seconds of an epoch, without what `fit` does once before the first."""

        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.start

    def alone() -> float:
        start = time.perf_counter()
        for i in range(len(batches)):
            batches[i]
        return time.perf_counter() - start

    def fit(model) -> float:
        timer = Timer()
        model.fit(batches, shuffle=False, verbose=0, callbacks=[timer])
        return timer.seconds

    dense = dnn.build_model(**data.spec, units=(), optimizer="sgd")
    lenet = cnn.build_model("lenet5", **data.spec)
    parts = {"pipeline": alone, "dense": lambda: fit(dense), "lenet5": lambda: fit(lenet)}
    seconds = [{name: part() for name, part in parts.items()} for _ in range(1 + rounds)][1:]
    examples, device = steps * BATCH_SIZE, devices()[0]
    return {
        "backend": keras.backend.backend(),
        "data": data.name,
        "batch_size": BATCH_SIZE,
        "steps": steps,
        "rounds": rounds,
        "examples_per_second": {
            name: round(statistics.median(examples / s[name] for s in seconds)) for name in parts
        },
        "pipeline_share_of_lenet5": sorted(round(s["pipeline"] / s["lenet5"], 4) for s in seconds),
        "device": "CPU" if device.kind == "cpu" else device.name,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "numpy": np.__version__,
            keras.backend.backend(): importlib.import_module(keras.backend.backend()).__version__,
        },
    }


def record(row: dict) -> None:
    """Put a row in the results, in place of an older one of the same backend and device."""
    path = RESULTS / "pipeline.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [r for r in rows if (r["backend"], r["device"]) != (row["backend"], row["device"])]
    rows = sorted([*rows, row], key=lambda r: (r["device"], BACKENDS.index(r["backend"])))
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "pipeline.md").write_text(table(rows))


def table(rows: list[dict]) -> str:
    """The results as a Markdown table, a line for each backend."""
    last = rows[-1]
    columns = (
        "backend", "device, machine", "data", "batches alone", "`fit`, one dense layer",
        "`fit`, LeNet-5", "share", "versions",
    )  # fmt: skip
    lines = [
        f"Written by `{last['command']}`.",
        f"Examples a second: medians of {last['rounds']} epochs of {last['steps']} batches.",
        "The share is the time that the batches alone take of that of `fit` with LeNet-5, with its",
        "spread; where `fit` makes batches while the model computes, it hides even this.",
        "",
    ]
    cells = []
    for row in rows:
        speed, share = row["examples_per_second"], row["pipeline_share_of_lenet5"]
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        cells.append([
            row["backend"], f"{row['device']}, {row['machine']}", row["data"],
            *(f"{speed[name]:,}" for name in ("pipeline", "dense", "lenet5")),
            f"{statistics.median(share):.2%} ({share[0]:.2%} to {share[-1]:.2%})", versions,
        ])  # fmt: skip
    return "\n".join([*lines, *measures.markdown(columns, cells)]) + "\n"


def main() -> None:
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=installed)
    parser.add_argument("--steps", type=int, default=100, help="batches in an epoch")
    parser.add_argument("--rounds", type=int, default=7, help="epochs, after one to warm up")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.steps, options.rounds)))
        return
    for backend in options.backends:
        command = [sys.executable, __file__, "--here"]
        command += ["--steps", str(options.steps), "--rounds", str(options.rounds)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "KERAS_BACKEND": backend}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{backend}: failed")
        row = json.loads(done.stdout.splitlines()[-1])
        record({**row, "command": " ".join(["python", *sys.argv])})
        print(json.dumps(row), flush=True)
    print((RESULTS / "pipeline.md").read_text())


if __name__ == "__main__":
    main()
