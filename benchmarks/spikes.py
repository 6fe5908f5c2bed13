"""What spiking networks reach on MNIST, and what they cost, beside the bars and the papers.

    python benchmarks/spikes.py --list
    python benchmarks/spikes.py stdp_100 --seed 1

Each name trains on all of MNIST (TensorFlow Datasets, prepared in `TFDS_DATA_DIR`) with the fixed
recipe below and measures on the test images. Results go to `benchmarks/results/spikes.json`, one
row for each (name, seed), from which `spikes.md` and `spikes.png`, accuracy and cost of STDP by the
number of neurons, are made. Operations are those of an example: additions of a weight at a spike,
beside the multiply-adds of the same layers without time.
"""

import functools
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures

from recipes import snn

PAPER = {100: 82.9, 400: 87.0, 1600: 91.9}  # Diehl & Cook 2015: accuracy by neurons


def score(model, data) -> float:
    """Accuracy on the test part, in percent."""
    return 100 * model.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]


def cost(model, data) -> dict:
    """Spikes and operations of an example, on average over 1,000 test images."""
    rows = model.statistics(data.test.sample(1000)[0])
    totals = {key: sum(row[key] for row in rows) for key in rows[0] if key != "layer"}
    return {"spikes": totals["spikes"], "operations": totals["operations"],
            "multiply_adds": totals["multiply_adds"]}  # fmt: skip


def surrogate(seed: int, variant: str = "dense", epochs: int = 8) -> dict:
    """Accuracy by back-propagation through 25 steps, with what an example costs."""
    import keras

    data = snn.load_data("mnist", seed=seed, validation_fraction=0)
    model = snn.build_model(
        variant,
        **data.spec,
        learning_rate=keras.optimizers.schedules.CosineDecay(1e-3, epochs * len(data.train)),
        seed=seed,
    )
    model.fit(data.train, epochs=epochs, verbose=2, shuffle=False)
    return {"accuracy_percent": score(model, data), **cost(model, data)}


def stdp(seed: int, units: int, epochs: int = 1) -> dict:
    """Accuracy of neurons that learnt without labels (Diehl & Cook 2015), and seconds it took.

    Thrice the paper's rate makes up for fewer passes than the paper's.
    """
    data = snn.load_data("mnist", batch_size=64, seed=seed, validation_fraction=0)
    model = snn.build_model(
        "diehl_cook", **data.spec, units=(units,), learning_rate=0.03, seed=seed
    )
    start = time.perf_counter()
    history = model.fit(data.train, epochs=epochs, verbose=2, shuffle=False).history
    seconds = time.perf_counter() - start
    return {
        "accuracy_percent": score(model, data),
        "neurons": units,
        "spikes_of_an_example": history["spikes"][-1],
        "presentations": 64 * int(model.shown),
        "training_seconds": seconds,
    }


def conversion(seed: int) -> dict:
    """Accuracy of LeNet-5 with ReLUs, and as IF neurons in so many steps, with the cost."""
    from recipes import cnn

    data = cnn.load_data("mnist", seed=seed, validation_fraction=0)
    model = cnn.build_model("lenet5", **data.spec, activation="relu", seed=seed)
    model.fit(data.train, epochs=3, verbose=2, shuffle=False)
    found = {"network_percent": score(model, data)}
    for num_steps in (10, 25, 50, 100):
        spiking = snn.convert(model, data, num_steps=num_steps)
        found[f"steps_{num_steps}_percent"] = score(spiking, data)
        found[f"steps_{num_steps}_operations"] = cost(spiking, data)["operations"]
    return found | {"multiply_adds": cost(spiking, data)["multiply_adds"]}


def row(function, **arguments):
    """The function with some arguments; `--list` shows its docstring."""
    found = functools.partial(function, **arguments)
    found.__doc__ = function.__doc__
    return found


# name: (function, its bars, what papers report)
ROWS = {
    "mnist_surrogate": (row(surrogate), "98 %", "none for this network"),
    "mnist_convolutional": (
        row(surrogate, variant="convolutional", epochs=3), "98 %", "none for this network",
    ),
    "stdp_100": (row(stdp, units=100), "80 %", "82.9 % (Diehl & Cook 2015)"),
    "stdp_400": (row(stdp, units=400), "85 %", "87.0 % (Diehl & Cook 2015)"),
    "stdp_1600": (row(stdp, units=1600), "none", "91.9 % (Diehl & Cook 2015)"),
    "conversion": (conversion, "within 1 % of the network", "none for this network"),
}  # fmt: skip


def draw(path: Path) -> None:
    """How accuracy and cost grow with the neurons that learn by STDP: seeds, and their medians."""
    from recipes.reports import plots

    found = [row["found"] for row in json.loads(path.read_text()) if "neurons" in row["found"]]
    neurons = sorted({one["neurons"] for one in found})
    if len(neurons) < 2:
        return
    made, (ax, cost) = plots.figure(8, 3.2, 1, 2)
    ticks = sorted({*neurons, *PAPER})
    for axes, what, title in (
        (ax, "accuracy_percent", "accuracy on MNIST, %"),
        (cost, "training_seconds", "seconds of training"),
    ):
        seeds = [[one[what] for one in found if one["neurons"] == n] for n in neurons]
        for n, values in zip(neurons, seeds, strict=True):
            axes.plot([n] * len(values), values, color=plots.BLUE, marker="o", linestyle="")
        axes.plot(neurons, [statistics.median(values) for values in seeds], color=plots.BLUE)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("neurons", color=plots.INK)
    ax.plot(*zip(*PAPER.items(), strict=True), color=plots.GREY, marker="o", label="the paper")
    ax.legend(frameon=False, fontsize=9)
    cost.set_ylim(0, 1.1 * max(one["training_seconds"] for one in found))
    plots.save(made, path.with_suffix(".png"))


if __name__ == "__main__":
    about = (
        "Written by `python benchmarks/spikes.py NAME ...`, which says what is measured.\n"
        "Whole MNIST; test images."
    )
    results = measures.RESULTS / "spikes.json"
    measures.main(ROWS, results, __doc__.partition("\n")[0], about)
    draw(results)
