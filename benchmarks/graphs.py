"""What the networks of graphs reach, beside the bars and the papers.

    python benchmarks/graphs.py --list
    python benchmarks/graphs.py gcn_cora gat_cora

Each name trains with the fixed recipe below from `SEEDS` seeds, beginning at `--seed`, and measures
on the test part, once each. Of Cora it is the public split of 140, 500 and 1,000 nodes (Yang, Cohen
& Salakhutdinov 2016); its Planetoid files (`ind.cora.x` ...) are read from the folder `cora` in
`RECIPES_DATA`, by default `../shared/data`. Results go to `benchmarks/results/graphs.json`, one row
for each (name, seed), and `graphs.md` is written from them.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import measures
import numpy as np

DATA = Path(os.environ.get("RECIPES_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEEDS = 10


class Best(keras.callbacks.Callback):
    """Keeps the weights of the epoch that is best on the validation part, and ends in good time.

    As the code of GAT has it: an epoch is better if both its loss and its accuracy are as good as
    any before; an epoch in which neither is for `patience` times ends the training.

    Args:
        patience: epochs.
        measure: in place of the accuracy; of an "auc" the loss is not looked at.
    """

    def __init__(self, patience: int, measure: str = "accuracy"):
        super().__init__()
        self.patience, self.waited, self.epochs, self.measure = patience, 0, 0, measure
        self.loss, self.accuracy, self.weights = np.inf, 0.0, None

    def on_epoch_end(self, epoch, logs=None):
        """Compare."""
        self.epochs = epoch + 1
        accuracy = logs[f"val_{self.measure}"]
        loss = 0.0 if self.measure == "auc" else logs["val_loss"]
        good = loss <= self.loss, accuracy >= self.accuracy
        if all(good):
            self.weights = self.model.get_weights()
        self.waited = 0 if any(good) else self.waited + 1
        self.loss, self.accuracy = min(loss, self.loss), max(accuracy, self.accuracy)
        self.model.stop_training = self.waited >= self.patience

    def on_train_end(self, logs=None):
        """Take the best weights back."""
        self.model.set_weights(self.weights)


def nodes(variant: str, epochs: int, patience: int, seed: int, **arguments) -> dict:
    """Accuracy on Cora's test nodes, over the seeds."""
    from recipes import gnn

    data, found, ends = gnn.load_data(DATA / "cora"), [], []
    for i in range(seed, seed + SEEDS):
        keras.utils.set_random_seed(i)
        model, best = gnn.build_model(variant, **data.spec, **arguments, seed=i), Best(patience)
        model.fit(data.train, validation_data=data.validation, epochs=epochs, callbacks=[best],
                  verbose=0)  # fmt: skip
        found.append(100 * model.evaluate(data.test, verbose=0)[1])
        ends.append(best.epochs)
        print(f"{variant}, seed {i}: {found[-1]:.2f} % after {best.epochs} epochs", flush=True)
    return {**spread("accuracy_percent", found), "epochs": np.mean(ends)}


def spread(name: str, values: list[float]) -> dict:
    """Mean and deviation over the seeds, and the worst one."""
    deviation = np.std(values, ddof=1)
    return {name: np.mean(values), f"{name}_deviation": deviation, f"{name}_least": min(values)}


def gcn_cora(seed: int) -> dict:
    """Accuracy of GCN on Cora: 200 epochs, the best one on the validation part."""
    return nodes("gcn", 200, 200, seed)


def gat_cora(seed: int) -> dict:
    """Accuracy of GAT on Cora: patience of 100 epochs."""
    return nodes("gat", 2000, 100, seed)


def graphsage_cora(seed: int) -> dict:
    """Accuracy of GraphSAGE (mean, two layers, 64 units) on Cora, from the whole graph."""
    return nodes("graphsage", 200, 50, seed, units=64)


def links(variant: str, seed: int) -> dict:
    """Areas under the curve of Cora's hidden links, 10 % of all; the best of 200 epochs."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from recipes import gnn

    areas, precisions = [], []
    for i in range(seed, seed + SEEDS):
        data = gnn.load_data(DATA / "cora", task="links", seed=i)
        keras.utils.set_random_seed(i)
        model = gnn.build_model(variant, **data.spec, seed=i)
        model.fit(data.train, validation_data=data.validation, epochs=200, verbose=0,
                  callbacks=[Best(200, "auc")])  # fmt: skip
        logits, y = model.predict(data.test, verbose=0), data.test[0][1]
        areas.append(100 * roc_auc_score(y, logits))
        precisions.append(100 * average_precision_score(y, logits))
        print(f"{variant}, seed {i}: {areas[-1]:.2f}, {precisions[-1]:.2f}", flush=True)
    return spread("auc_percent", areas) | spread("average_precision_percent", precisions)


def gae_cora(seed: int) -> dict:
    """Links of Cora by the graph auto-encoder."""
    return links("gae", seed)


def vgae_cora(seed: int) -> dict:
    """Links of Cora by the variational graph auto-encoder."""
    return links("vgae", seed)


def digits_knn(seed: int) -> dict:
    """Accuracy of GCN on digits with 10 labels a class, beside networks that see no graph."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    from recipes import gnn

    found: dict[str, list] = {"accuracy": [], "logistic_regression": [], "nearest_neighbour": []}
    for i in range(seed, seed + SEEDS):
        data = gnn.load_data(seed=i)
        keras.utils.set_random_seed(i)
        model = gnn.build_model(**data.spec, seed=i)
        model.fit(data.train, epochs=200, verbose=0)
        found["accuracy"].append(100 * model.evaluate(data.test, verbose=0)[1])
        x = data.train.x.features
        train, test = ((x[p.indices], p.targets) for p in (data.train, data.test))
        others = (LogisticRegression(max_iter=1000), KNeighborsClassifier(1))
        for name, other in zip(("logistic_regression", "nearest_neighbour"), others, strict=True):
            found[name].append(100 * other.fit(*train).score(*test))
        print({name: round(values[-1], 2) for name, values in found.items()}, flush=True)
    values = spread("accuracy_percent", found.pop("accuracy"))
    return values | {f"{name}_percent": np.mean(v) for name, v in found.items()}


def digit_graphs(seed: int) -> dict:
    """Accuracy of GIN on the graphs of 359 digits' inked pixels, one seed, 60 epochs."""
    from recipes import gnn

    data = gnn.load_data("digit_graphs", seed=seed)
    model = gnn.build_model("gin", **data.spec, seed=seed)
    model.fit(data.train, validation_data=data.validation, epochs=60, verbose=2,
              callbacks=[Best(60)])  # fmt: skip
    return {"accuracy_percent": 100 * model.evaluate(data.test, verbose=0)[1]}


ROWS = {
    "gcn_cora": (gcn_cora, "81.5 %", "81.5 % (Kipf & Welling 2017)"),
    "gat_cora": (gat_cora, "83.0 %", "83.0 +- 0.7 % (Velickovic 2018)"),
    "graphsage_cora": (graphsage_cora, "reported", "none for this split"),
    "gae_cora": (gae_cora, "91.0", "91.0 and 92.0 (Kipf & Welling 2016)"),
    "vgae_cora": (vgae_cora, "91.4", "91.4 and 92.6 (Kipf & Welling 2016)"),
    "digits_knn": (digits_knn, "above both others", "none"),
    "digit_graphs": (digit_graphs, "90 %", "none"),
}

if __name__ == "__main__":
    about = "Written by `python benchmarks/graphs.py NAME ...`, which says what is measured."
    measures.main(ROWS, measures.RESULTS / "graphs.json", __doc__.partition("\n")[0], about)
