"""Papers' small-data results, reproduced on the full data sets with fixed recipes.

    python benchmarks/quality.py --list
    python benchmarks/quality.py lenet5-mnist --seeds 0 1 2
    KERAS_BACKEND=torch python benchmarks/quality.py resnet20-mnist

The recipes below were fixed before the test set was looked at; training uses all training
examples, and the test set is evaluated once, after the last epoch. Needs the TensorFlow Datasets
named in each row, prepared in `TFDS_DATA_DIR`. Results go to `benchmarks/results/quality.json`,
one row for each (name, seed), and `benchmarks/results/quality.md` is written from them.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures

RESULTS = Path(__file__).parent / "results"

# name: family, variant, data set, epochs, peak learning rate of a warm-up and cosine decay (None:
# the own rate of the family), batch size, other arguments of build_model, bar, what papers report
RECIPES = {
    "perceptron-mnist": dict(
        family="perceptron", variant="averaged", data="mnist", epochs=10, learning_rate=None,
        batch_size=128, arguments={}, bar=88.0, paper="88.0, a linear network (LeCun 1998)",
    ),
    "lenet5-mnist": dict(
        family="cnn", variant="lenet5", data="mnist", epochs=20, learning_rate=2e-3,
        batch_size=64, arguments={}, bar=99.0, paper="99.05 (LeCun 1998)",
    ),
    "lenet5_1998-mnist": dict(
        family="cnn", variant="lenet5_1998", data="mnist", epochs=20, learning_rate=2e-3,
        batch_size=64, arguments={}, bar=99.0, paper="99.05 (LeCun 1998)",
    ),
    "dnn800-mnist": dict(
        family="dnn", variant="mlp", data="mnist", epochs=20, learning_rate=1e-3,
        batch_size=128,
        arguments={"units": (800, 800), "dropout_rate": 0.3}, bar=98.4,
        paper="98.4 (Simard 2003)",
    ),
    "resnet20-mnist": dict(
        family="resnet", variant="resnet20", data="mnist", epochs=6, learning_rate=0.1,
        batch_size=128, arguments={"crop_padding": 2}, bar=99.4, paper="none on MNIST",
    ),
    "resnet20-fashion": dict(
        family="resnet", variant="resnet20", data="fashion_mnist", epochs=12, learning_rate=0.1,
        batch_size=128, arguments={"crop_padding": 2, "flip": True}, bar=93.0,
        paper="none on Fashion-MNIST",
    ),
}  # fmt: skip


def run(name: str, seed: int) -> dict:
    """Train one recipe with one seed; returns its row."""
    import keras

    import recipes

    recipe = RECIPES[name]
    family = getattr(recipes, recipe["family"])
    keras.utils.set_random_seed(seed)
    data = family.load_data(
        recipe["data"], batch_size=recipe["batch_size"], seed=seed, validation_fraction=0
    )
    arguments, peak = {**data.spec, **recipe["arguments"], "seed": seed}, recipe["learning_rate"]
    if peak is not None:
        steps, warmup = len(data.train) * recipe["epochs"], len(data.train) // 2
        arguments["learning_rate"] = keras.optimizers.schedules.CosineDecay(
            peak / 10, steps - warmup, alpha=0.0, warmup_target=peak, warmup_steps=warmup
        )
    model = family.build_model(recipe["variant"], **arguments)
    start = time.perf_counter()
    model.fit(data.train, epochs=recipe["epochs"], shuffle=False, verbose=2)
    minutes = (time.perf_counter() - start) / 60
    accuracy = model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]
    return {
        "name": name,
        "seed": seed,
        "test_accuracy_percent": round(100 * accuracy, 2),
        "minutes": round(minutes, 1),
        "parameters": sum(math.prod(w.shape) for w in model.trainable_weights),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPU",
    }


def record(row: dict) -> None:
    """Put a row in the results, in place of an older one of the same name and seed."""
    path = RESULTS / "quality.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [r for r in rows if (r["name"], r["seed"]) != (row["name"], row["seed"])]
    rows = sorted([*rows, row], key=lambda r: (list(RECIPES).index(r["name"]), r["seed"]))
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "quality.md").write_text(table(rows))


def table(rows: list[dict]) -> str:
    """The results as a Markdown table, a line for each recipe."""
    lines = [
        "Written by `python benchmarks/quality.py NAME ...`; accuracy in percent on the whole",
        "test set after the last epoch; recipes and seeds in that file.",
        "",
    ]
    titles = (
        "recipe",
        "epochs",
        "test accuracy, mean (spread)",
        "bar",
        "paper",
        "minutes",
        "backend",
    )
    cells = []
    for name, recipe in RECIPES.items():
        found = [r for r in rows if r["name"] == name]
        if not found:
            continue
        scores = [r["test_accuracy_percent"] for r in found]
        spread = f"{min(scores):.2f} to {max(scores):.2f}, {len(scores)} seeds"
        if len(scores) == 1:
            spread = "1 seed"
        minutes = statistics.median(r["minutes"] for r in found)
        backends = ", ".join(dict.fromkeys(r["backend"] for r in found))
        cells.append([
            name, recipe["epochs"], f"{statistics.mean(scores):.2f} ({spread})",
            f"{recipe['bar']:.1f}", recipe["paper"], f"{minutes:.0f}", backends,
        ])  # fmt: skip
    return "\n".join([*lines, *measures.markdown(titles, cells)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="recipes to run; default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--list", action="store_true", help="list the recipes")
    options = parser.parse_args()
    unknown = set(options.names) - set(RECIPES)
    if unknown:
        parser.error(f"unknown recipe {sorted(unknown)}; known: {', '.join(RECIPES)}")
    if options.list:
        print("\n".join(f"{name}: {recipe}" for name, recipe in RECIPES.items()))
        return
    for name in options.names or RECIPES:
        for seed in options.seeds:
            row = run(name, seed)
            record(row)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
