"""What a training loses when it is killed, and whether weights mean the same on other backends.

    python benchmarks/robustness.py kills           # or: kills cnn gan; the others' rows stay
    python benchmarks/robustness.py backends

`kills`: for each of four families, a run that nobody disturbs, and others whose process is ended by
SIGKILL at random moments, five in all, each time continued by `recipes train --resume` until they
are done. All must end with the same weights. `backends`: each family's variant "tiny", trained a
little on one backend and saved, is loaded on the others and predicts the same examples. Needs the
extras `jax` and `torch`.
Results go to `benchmarks/results/robustness.json` and `robustness.md`.
"""

import argparse
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures

RESULTS = Path(__file__).parent / "results" / "robustness.json"
BACKENDS = ("tensorflow", "jax", "torch")
# Of `recipes train`: each takes half a minute, with epochs of seconds.
KILLED = {
    "cnn": ["--data", "digits", "--epochs", "30"],
    "lstm": ["--data", "sunspots", "--epochs", "60"],
    "gan": ["--data", "digits", "--epochs", "8"],
    "gnn": ["--data", "karate", "--epochs", "300"],
}


def ended(arguments: list[str], kill_after: float | None) -> tuple[float, int]:
    """Seconds that a `recipes` command took, perhaps killed, and its exit status."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return time.perf_counter() - start, process.returncode


def epochs(run: Path) -> int:
    """How many a run has written down."""
    history = run / "history.csv"
    return max(0, len(history.read_text().splitlines()) - 1) if history.exists() else 0


def weights(path: Path) -> list:
    """All variables of a saved model, the optimizer's included."""
    import keras
    import numpy as np

    import recipes

    model = recipes.load(path)
    found = model.variables + model.optimizer.variables
    return [np.asarray(keras.ops.convert_to_numpy(v), "float64") for v in found]


def kills(options: argparse.Namespace) -> list[dict]:
    """For each family, how trainings end that are killed again and again."""
    import numpy as np

    rows = []
    for name in options.families or KILLED:
        draw, given = random.Random(f"{options.seed} {name}"), KILLED[name]
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "whole"
            command = ["train", name, *given, "--seed", "0", "--run-dir"]
            seconds, code = ended([*command, str(whole)], None)
            if code:
                raise RuntimeError(f"{name}: the undisturbed run ended with {code}")
            hits, starts, runs, run = [], 0, [], None
            while run is not None or len(hits) < options.kills:
                run = run or Path(folder) / f"run{len(runs)}"
                # A run that was killed before it began has no directory to go on from.
                resumes = (run / "config.json").exists()
                moment = draw.uniform(0, seconds) if len(hits) < options.kills else None
                arguments = ["train", "--resume", str(run)] if resumes else [*command, str(run)]
                _, code = ended(arguments, moment)
                starts += 1
                if code == -signal.SIGKILL:
                    hits.append(epochs(run))
                elif code:
                    raise RuntimeError(f"{name}: start {starts} ended with {code}")
                else:  # a kill would hit nothing now: the next one is for a run of its own
                    runs, run = [*runs, run], None
            theirs = weights(whole / "last.keras")
            largest = max(
                np.abs(a - b).max(initial=0)
                for run in runs
                for a, b in zip(weights(run / "last.keras"), theirs, strict=True)
            )
            same = all(epochs(run) == epochs(whole) for run in runs)
        row = {"family": name, "seconds": round(seconds, 1), "kills": len(hits), "starts": starts,
               "runs": len(runs), "epochs": int(given[-1]), "killed_after_epochs": hits,
               "same_epochs": same, "largest_difference": float(largest)}  # fmt: skip
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def save_all(folder: str) -> None:
    """Train each family's smallest network for a moment; save it, with examples and outputs."""
    import keras

    from recipes.contract import families, family
    from recipes.training import compilation

    compilation.XLA_ON_CPU = False  # compiling would be most of the time
    for name in families():
        data = family(name).load_data()
        model = family(name).build_model("tiny", **data.spec, seed=1)
        if data.kind == "environments":  # which are learnt from by playing
            model.fit(data.train, epochs=1, verbose=0)
        elif type(model).fit is not keras.Model.fit:
            model.fit(data.train.first(64), epochs=1, verbose=0)
        else:
            model.train_on_batch(*data.train.first(64).with_batch_size(64)[0])
        x = data.test.first(16).with_batch_size(16)[0][0]
        outputs = model.predict(x, verbose=0)
        model.save(Path(folder) / f"{name}.keras")
        (Path(folder) / f"{name}.pickle").write_bytes(pickle.dumps((x, outputs)))
        keras.backend.clear_session(free_memory=False)


def load_all(folder: str) -> None:
    """Print, for each family, the largest difference of what its model predicts here.

    As a share of the largest output, where that is more than 1.
    """
    import keras
    import numpy as np

    import recipes
    from recipes.contract import families
    from recipes.training import compilation

    compilation.XLA_ON_CPU = False
    for name in families():
        x, outputs = pickle.loads((Path(folder) / f"{name}.pickle").read_bytes())
        try:
            model = recipes.load(Path(folder) / f"{name}.keras")
            difference = np.abs(model.predict(x, verbose=0) - outputs).max()
            found = float(difference / max(1.0, np.abs(outputs).max()))
        except Exception as error:  # which is a result, too
            found = f"{type(error).__name__}: {error}"[:300]
        print("\n" + json.dumps({"family": name, "difference": found}), flush=True)
        keras.backend.clear_session(free_memory=False)


def backends(options: argparse.Namespace) -> list[dict]:
    """For each family and each ordered pair of backends, how outputs differ."""
    rows: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:

        def run(backend: str, what: str, where: Path) -> str:
            code = f"import sys; sys.path.insert(0, sys.argv[1]); import robustness as r; r.{what}("
            command = [sys.executable, "-c", code + "sys.argv[2])", Path(__file__).parent, where]
            environment = os.environ | {"KERAS_BACKEND": backend}
            return subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        for backend in BACKENDS:
            (Path(folder) / backend).mkdir()
            run(backend, "save_all", Path(folder) / backend)
        for source in BACKENDS:
            for target in BACKENDS:
                if source == target:
                    continue
                for line in run(target, "load_all", Path(folder) / source).splitlines():
                    if line.startswith('{"family"'):
                        found = json.loads(line)
                        row = rows.setdefault(found["family"], {"family": found["family"]})
                        row[f"{source} to {target}"] = found["difference"]
                        print(source, target, line, flush=True)
    return list(rows.values())


def table(found: dict) -> str:
    """The results as Markdown."""

    lines = ["Written by `python benchmarks/robustness.py WHAT`, which says what is measured."]
    if "kills" in found:
        lines += ["", "Trainings killed by SIGKILL, and the largest difference of their weights,"]
        lines += ["and their optimizer's state, from those of the undisturbed run in the end.", ""]
        lines += measures.markdown(
            ["family", "epochs", "seconds undisturbed", "kills, after so many epochs",
             "runs", "largest difference"],
            [[row["family"], row["epochs"], row["seconds"],
              f"{row['kills']} ({', '.join(map(str, row['killed_after_epochs']))})", row["runs"],
              row["largest_difference"]] for row in found["kills"]],
        )  # fmt: skip
    if "backends" in found:
        pairs = [name for name in found["backends"][0] if name != "family"]
        lines += ["", "Largest difference of what a model predicts that was trained and saved on"]
        lines += ["one backend and loaded on another, as a share of the largest output where that"]
        lines += ["is more than 1.", ""]
        lines += measures.markdown(
            ["family", *pairs],
            [[row["family"],
              *(f"{row[p]:.0e}" if isinstance(row[p], float) else "-" for p in pairs)]
             for row in found["backends"]],
        )  # fmt: skip
        lines += [""] + [f"- `{row['family']}`, {pair}: {row[pair]}" for row in found["backends"]
                         for pair in pairs if isinstance(row[pair], str)]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["kills", "backends"])
    parser.add_argument("families", nargs="*", help=f"of kills: {', '.join(KILLED)}; default all")
    parser.add_argument("--kills", type=int, default=5, help="of each family")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    rows = {"kills": kills, "backends": backends}[options.what](options)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.what == "kills":  # families that were not run now stay
        new = {row["family"] for row in rows}
        rows = [row for row in found.get("kills", []) if row["family"] not in new] + rows
    found[options.what] = rows
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
