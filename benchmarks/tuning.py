"""A search beside plain KerasTuner, its memory, and what kills cost it.

    python benchmarks/tuning.py speed dnn cnn lstm --seeds 5
    python benchmarks/tuning.py kills --kills 15
    python benchmarks/tuning.py kills --kills 5 --ray
    python benchmarks/tuning.py memory --trials 100
    python benchmarks/tuning.py tuned gru gnn --trials 30 --budget 10m

`speed`: trials an hour and the best score of `recipes.tune` with two workers and of KerasTuner's
own tuner, each in a fresh process: the same space, data, algorithm, seeds and epochs. KerasTuner's
gets arrays, as in its guide. `kills`: searches whose workers, or launcher, or both, are killed by
SIGKILL at random moments until they are done; all trials must be there, with the hyperparameters
of a search that nobody disturbed; with `--ray`, the workers are on a Ray cluster that outlives the
launcher. `memory`: what the workers hold after each trial. `tuned`: a family's default model,
trained as `recipes train FAMILY` does, beside the best of a search over its space, on its test
part, which neither has seen. Results go to `benchmarks/results/tuning.json` and `tuning.md`.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import measures

RESULTS = Path(__file__).parent / "results" / "tuning.json"


def dnn_space(hp):
    return {
        "units": (hp.Choice("first", [32, 64, 128]), hp.Choice("second", [32, 64, 128])),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.5),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-1, sampling="log"),
        "batch_size": hp.Choice("batch_size", [32, 64, 128]),
    }


def cnn_space(hp):
    return {
        "filters": (hp.Choice("first", [4, 6, 8]), hp.Choice("second", [8, 16])),
        "dropout_rate": hp.Float("dropout_rate", 0.0, 0.5),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-1, sampling="log"),
        "batch_size": hp.Choice("batch_size", [64, 128]),
    }


def lstm_space(hp):
    return {
        "units": (hp.Choice("units", [16, 32, 64]),),
        "learning_rate": hp.Float("learning_rate", 1e-4, 1e-1, sampling="log"),
        "batch_size": hp.Choice("batch_size", [32, 64]),
    }


# family, its data, variant, space, epochs of a trial
CASES = {
    "dnn": ("digits", "mlp", dnn_space, 5),
    "cnn": ("mnist5k", "lenet5", cnn_space, 3),
    "lstm": ("sunspots", None, lstm_space, 3),
}


def ours(case: str, algorithm: str, seed: int, trials: int, workers: int, directory: str) -> dict:
    """A search by `recipes.tune`."""
    import recipes
    from recipes.contract import family

    source, variant, space, epochs = CASES[case]
    data = family(case).load_data(source)
    start = time.perf_counter()
    search = recipes.tune(
        case, data, variant=variant, algorithm=algorithm, max_trials=trials, epochs=epochs,
        precision="float32", seed=seed, objective=("val_loss", "min"), space=space,
        start=(), directory=directory, workers=workers, verbose=0,
    )  # fmt: skip
    return {"seconds": time.perf_counter() - start, "best": search.best_score}


def plain(case: str, algorithm: str, seed: int, trials: int, workers: int, directory: str) -> dict:
    """The same by KerasTuner, as its guide has it."""
    import keras_tuner

    from recipes.contract import family
    from recipes.training.train import default_variant

    module = family(case)
    source, variant, space, epochs = CASES[case]
    variant = variant or default_variant(module)
    data = module.load_data(source)
    validation = data.validation.arrays()

    class Model(keras_tuner.HyperModel):
        def build(self, hp):
            arguments = {**data.spec, **space(hp)}
            arguments.pop("batch_size")
            return module.build_model(variant, **arguments)

        def fit(self, hp, model, *args, **kwargs):
            return model.fit(*args, batch_size=hp.get("batch_size"), **kwargs)

    tuner_class = {
        "random": keras_tuner.RandomSearch, "bayesian": keras_tuner.BayesianOptimization,
    }[algorithm]  # fmt: skip
    where = Path(directory)
    x, y = data.train.arrays()
    start = time.perf_counter()
    tuner = tuner_class(
        Model(), objective="val_loss", max_trials=trials, seed=seed + 1,
        directory=str(where.parent), project_name=where.name,
    )  # fmt: skip
    tuner.search(x, y, validation_data=validation, epochs=epochs, verbose=0)
    best = tuner.oracle.get_best_trials(1)[0].score
    return {"seconds": time.perf_counter() - start, "best": float(best)}


def in_process(what: str, *arguments) -> dict:
    """One search in a fresh process, with the processor's seconds of it and its workers."""
    code = (
        "import sys, json, resource; sys.path.insert(0, sys.argv[1]); import tuning\n"
        "found = getattr(tuning, sys.argv[2])(*json.loads(sys.argv[3]))\n"
        "used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "found['cpu_seconds'] = sum(u.ru_utime + u.ru_stime for u in used)\n"
        "print('\\n' + json.dumps(found))"
    )
    given = [str(Path(__file__).parent), what, json.dumps(arguments)]
    done = subprocess.run(
        [sys.executable, "-c", code, *given], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def speed(options: argparse.Namespace) -> list[dict]:
    """Pairs of searches, one after the other, the first one in turns."""
    rows, algorithm = [], options.algorithm or "random"
    for case in options.cases:
        for seed in range(options.seeds):
            found = {}
            for name in ("ours", "plain") if seed % 2 else ("plain", "ours"):
                with tempfile.TemporaryDirectory() as folder:
                    found[name] = in_process(
                        name, case, algorithm, seed, options.trials, options.workers,
                        f"{folder}/search",
                    )  # fmt: skip
            rows.append(
                {
                    "case": case, "algorithm": algorithm, "seed": seed,
                    "trials": options.trials, "workers": options.workers,
                    "trials_an_hour": {
                        name: round(3600 * options.trials / f["seconds"], 1)
                        for name, f in found.items()
                    },
                    "cpu_seconds": {n: round(f["cpu_seconds"], 1) for n, f in found.items()},
                    "best": {n: round(f["best"], 6) for n, f in found.items()},
                    "ratio": round(found["plain"]["seconds"] / found["ours"]["seconds"], 2),
                }
            )  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


SEARCH = """
import sys
sys.path.insert(0, {here!r})
import recipes, tuning
recipes.tune("dnn", "digits", variant="mlp", algorithm="random", max_trials={trials}, epochs=6,
    space=tuning.dnn_space, directory={where!r}, workers={workers}, precision="float32", verbose=0,
    checkpoint_every=0.5, cluster={cluster!r})
"""


@contextlib.contextmanager
def ray_cluster(cores: int) -> Iterator[str]:
    """The address of a Ray cluster of this machine, which ends with the context."""
    command, port = Path(sys.executable).with_name("ray"), 6399
    os.environ["RAY_AUTH_MODE"] = "disabled"  # of the searches, too
    given = ["--head", f"--port={port}", f"--num-cpus={cores}", "--include-dashboard=false"]
    subprocess.run([command, "start", *given], check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([command, "stop", "--force"], check=False, stdout=subprocess.DEVNULL)


def processes_of(launcher: int, cluster: str | None) -> list[int]:
    """The numbers of the processes that run trials for a launcher."""
    if cluster is None:
        return [
            int(n) for n in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        ]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::Runner"):
                found.append(int(folder.name))
    return found


def kills(options: argparse.Namespace) -> list[dict]:
    """One search that is killed again and again, and one that is not."""
    with ray_cluster(options.workers) if options.ray else contextlib.nullcontext() as cluster:
        return [killed(options, cluster)]


def killed(options: argparse.Namespace, cluster: str | None) -> dict:
    """A search whose trials run here, or on a cluster."""
    draw = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp())

    def start(where: str) -> subprocess.Popen:
        given = {"here": str(Path(__file__).parent), "where": str(folder / where)}
        given["cluster"] = cluster
        code = SEARCH.format(trials=options.trials, workers=options.workers, **given)
        with (folder / "said").open("w") as said:
            return subprocess.Popen([sys.executable, "-c", code], stderr=said)

    def shot(process: subprocess.Popen, whom: str) -> None:
        targets = processes_of(process.pid, cluster)
        if whom == "worker":
            targets = draw.sample(targets, min(1, len(targets)))
        elif whom == "launcher":
            targets = [process.pid]
        else:
            targets = [process.pid, *targets]
        for pid in targets:
            os.kill(pid, signal.SIGKILL)

    whole = start("whole")
    whole.wait()
    done, starts, process = [], 1, start("killed")
    while process.poll() is None or process.returncode:
        if process.poll() is not None:
            starts, process = starts + 1, start("killed")
        time.sleep(draw.uniform(*options.pause))
        if len(done) < options.kills and process.poll() is None:
            whom = draw.choice(["worker", "launcher", "both"])
            shot(process, whom)
            done.append(whom)
            print(len(done), whom, flush=True)
        elif process.poll() is None:
            process.wait()
        if process.poll() is not None and process.returncode > 0:
            raise RuntimeError((folder / "said").read_text()[-2000:])

    def trials(where: str) -> dict[str, dict]:
        return json.loads((folder / where / "oracle.json").read_text())["trials"]

    undisturbed, found = trials("whole"), trials("killed")
    failed = [t["message"] for t in found.values() if t["status"] == "FAILED"]
    row = {
        "cluster": "Ray" if cluster else "processes",
        "kills": {whom: done.count(whom) for whom in sorted(set(done))},
        "starts": starts,
        "trials": len(found),
        "ended": sum(t["status"] in ("COMPLETED", "FAILED") for t in found.values()),
        "failed": failed,
        "same_hyperparameters": [t["values"] for t in found.values()]
        == [t["values"] for t in undisturbed.values()],
        "same_scores": sum(
            found[i]["score"] is not None and abs(found[i]["score"] - t["score"]) < 1e-5
            for i, t in undisturbed.items()
        ),
    }
    shutil.rmtree(folder)
    print(json.dumps(row))
    return row


def memory(options: argparse.Namespace) -> list[dict]:
    """Megabytes that a worker holds after each of many trials, workers that follow on included."""
    import pickle

    from recipes.tuning import executors

    held, load = [], pickle.load

    def listened(file):
        event = load(file)
        if event[0] == "ended":
            held.append(event[2] >> 20)
        return event

    executors.pickle.load = listened
    with tempfile.TemporaryDirectory() as folder:
        ours("dnn", "random", 0, options.trials, 1, f"{folder}/search")
    early, late = held[:10], held[-10:]
    row = {"trials": len(held), "megabytes_first_10": max(early), "megabytes_last_10": max(late)}
    row |= {"most": max(held), "growth": round(max(held) / held[0] - 1, 4)}
    print(json.dumps(row))
    return [row]


def tuned(options: argparse.Namespace) -> list[dict]:
    """For each family, its default model and the best of a search, on the test part."""
    import recipes
    from recipes.contract import family

    rows = []
    for name in options.cases:
        module = family(name)
        metric, direction = module.OBJECTIVE
        metric, data = metric.removeprefix("val_"), module.load_data()
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            run = recipes.train(name, data, run_dir=f"{folder}/run", verbose=0)
            trained = time.perf_counter()
            search = recipes.tune(
                name, data, algorithm=options.algorithm or "bayesian", max_trials=options.trials,
                budget=options.budget, seed=options.seed, workers=options.workers,
                directory=f"{folder}/search", verbose=0,
            )  # fmt: skip
            seconds = (trained - start, time.perf_counter() - trained)
            best = search.best_model().evaluate(data.test, verbose=0, return_dict=True)[metric]
            default = run.metrics[f"test_{metric}"]
            number = json.loads((search.directory / "best.json").read_text())["number"]
        row = {
            "family": name,
            "metric": f"{metric} ({direction})",
            "default": default,
            "tuned": best,
            "better": bool(best > default if direction == "max" else best < default),
            "algorithm": search.config["algorithm"],
            "trials": len(search.trials),
            "best_trial": number,
            "minutes": [round(s / 60, 1) for s in seconds],
            "arguments": search.best_arguments,
        }
        rows.append(row)
        print(json.dumps(row, default=str), flush=True)
    return rows


def table(found: dict) -> str:
    """The results as Markdown."""

    def rows_of(what: str) -> list[dict]:
        return found.get(what, {}).get("rows", [])

    lines = ["Written by `python benchmarks/tuning.py WHAT`, which says what is measured.", ""]
    lines += ["Trials an hour, medians over the seeds.", ""]
    titles = ["family", "data", "trials", "workers", "ours", "KerasTuner", "ratio (all)",
              "best loss, mean, ours / KerasTuner"]  # fmt: skip
    cells = []
    for case in dict.fromkeys(row["case"] for row in rows_of("speed")):
        rows = [row for row in rows_of("speed") if row["case"] == case]
        hourly = [f"{statistics.median(row['trials_an_hour'][name] for row in rows):.0f}"
                  for name in ("ours", "plain")]  # fmt: skip
        ratios = sorted(row["ratio"] for row in rows)
        spread = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        best = [f"{statistics.mean(row['best'][name] for row in rows):.4f}"
                for name in ("ours", "plain")]  # fmt: skip
        cells.append([case, CASES[case][0], rows[0]["trials"], rows[0]["workers"], *hourly,
                      f"{statistics.median(ratios):.2f} ({spread})", " / ".join(best)])  # fmt: skip
    lines += measures.markdown(titles, cells)
    lines += ["", "Killed by SIGKILL at random moments.", ""]
    titles = ["trials in", "kills", "trials", "ended", "failed", "same hyperparameters",
              "same score"]  # fmt: skip
    cells = []
    for row in rows_of("kills") + rows_of("kills_ray"):
        whom = ", ".join(f"{count} {whom}" for whom, count in row["kills"].items())
        cells.append([row["cluster"], f"{sum(row['kills'].values())} ({whom})", row["trials"],
                      row["ended"], len(row["failed"]), row["same_hyperparameters"],
                      row["same_scores"]])  # fmt: skip
    lines += measures.markdown(titles, cells)
    lines += ["", "Memory of a worker, MB, the most in some trials.", ""]
    lines += measures.markdown(
        ["trials", "first 10", "last 10", "all"],
        [[row[key] for key in ("trials", "megabytes_first_10", "megabytes_last_10", "most")]
         for row in rows_of("memory")],
    )  # fmt: skip
    if not rows_of("tuned"):
        return "\n".join(lines) + "\n"
    confirmed = sum(row["best_trial"] == 1 for row in rows_of("tuned"))
    better = sum(row["better"] for row in rows_of("tuned") if row["best_trial"] != 1)
    told = f"Of {len(rows_of('tuned'))} searches {confirmed} end with the default, the first trial,"
    lines += ["", f"{told} and {better} with a model that is better than it on test data.", ""]
    lines += measures.markdown(
        ["family", "metric", "default", "tuned", "algorithm", "trials", "the best trial",
         "minutes, default / search"],
        [[row["family"], row["metric"], f"{row['default']:.4g}", f"{row['tuned']:.4g}",
          row["algorithm"], row["trials"], row["best_trial"],
          " / ".join(map(str, row["minutes"]))] for row in rows_of("tuned")],
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["speed", "kills", "memory", "tuned"])
    cases = f"of speed: {', '.join(CASES)}; of tuned: families"
    parser.add_argument("cases", nargs="*", help=cases)
    parser.add_argument("--algorithm", help="default random; of tuned, bayesian")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of kills and of tuned")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ray", action="store_true", help="kill the workers of a Ray cluster")
    parser.add_argument("--pause", type=float, nargs=2, default=(5.0, 25.0), help="between kills")
    parser.add_argument("--budget", help="of each search of tuned, such as 10m")
    options = parser.parse_args()
    options.cases = options.cases or list(CASES)
    what = {"speed": speed, "kills": kills, "memory": memory, "tuned": tuned}[options.what]
    name, rows = options.what + "_ray" * options.ray, what(options)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if name in ("speed", "tuned"):  # cases that were not run now stay
        key = "case" if name == "speed" else "family"
        new = {row[key] for row in rows}
        rows += [row for row in found.get(name, {}).get("rows", []) if row[key] not in new]
        rows.sort(key=lambda row: row[key])
    machine = f"{platform.machine()}, {os.cpu_count()} cores, shared, load {os.getloadavg()[0]:.1f}"
    found[name] = {"machine": machine, "rows": rows}
    RESULTS.write_text(json.dumps(found, indent=1, default=str) + "\n")
    RESULTS.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
