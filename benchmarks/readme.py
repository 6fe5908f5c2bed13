"""Writes the table of all families in README.md from the results of the other benchmarks.

    python benchmarks/readme.py

A test fails where the table is not what this would write.
"""

import json
import math
import os
import re
import statistics
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import measures
import peers

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- written by benchmarks/readme.py -->\n", "<!-- end -->\n"

# family: (what is measured, file, what chooses a row, where in it, format, the paper or the bar)
QUALITY = {
    "perceptron": ("averaged, MNIST", "quality", {"name": "perceptron-mnist"},
                   "test_accuracy_percent", "{:.2f} %", "88.0 %, a linear network"),
    "dnn": ("two layers of 800, MNIST", "quality", {"name": "dnn800-mnist"},
            "test_accuracy_percent", "{:.2f} %", "98.4 %"),
    "cnn": ("LeNet-5, MNIST", "quality", {"name": "lenet5-mnist"}, "test_accuracy_percent",
            "{:.2f} %", "99.05 %"),
    "resnet": ("ResNet-20, Fashion-MNIST", "quality", {"name": "resnet20-fashion"},
               "test_accuracy_percent", "{:.2f} %", "not reported"),
    "autoencoder": ("deep, squared error / PCA's, MNIST", "generators", {"name": "autoencoder"},
                    "found.deep_mse_over_pca", "{:.2f}", "below 1"),
    "vae": ("ELBO, MNIST, nats", "generators", {"name": "vae"}, "found.test_elbo_nats", "{:.1f}",
            "-105 to -100"),
    "gan": ("DCGAN, digit classes of 10", "generators", {"name": "gan"}, "found.dcgan_modes",
            "{:.0f}", "10"),
    "diffusion": ("Frechet distance, MNIST, 50 steps", "generators", {"name": "diffusion"},
                  "found.ddim50_frechet", "{:.1f}", "1.4, real halves"),
    "rbm": ("log-likelihood, MNIST, nats", "generators", {"name": "rbm"},
            "found.test_log_likelihood_nats", "{:.1f}", "-86"),
    "dbn": ("MNIST", "generators", {"name": "dbn"}, "found.accuracy_percent", "{:.2f} %",
            "98.75 %"),
    "hopfield": ("share of bits recalled at load 0.1", "generators", {"name": "hopfield"},
                 "found.hebb_bits_at_load_0.10", "{:.3f}", "collapse at 0.138"),
    "dqn": ("CartPole, steps until solved", "acting", {"row": "cartpole", "contender": "ours"},
            "steps", "{:,.0f}", "26,624, stable-baselines3"),
    "neat": ("XOR, generations, mean of 100 runs", "evolution", {"row": "xor", "contender": "ours"},
             "generations.mean", "{:.1f}", "32"),
    "rnn": ("sunspots, MASE", "sequences", {"name": "forecasts"}, "found.sunspots_rnn", "{:.2f}",
            "1.18, last value"),
    "lstm": ("TREC questions", "sequences", {"name": "trec"}, "found.lstm_accuracy_percent",
             "{:.1f} %", "91.2 %, a CNN"),
    "gru": ("TREC questions", "sequences", {"name": "trec"}, "found.gru_accuracy_percent",
            "{:.1f} %", "91.2 %, a CNN"),
    "attention": ("dates to ISO 8601", "sequences", {"name": "dates"},
                  "found.attention_exact_percent", "{:.1f} %", "99 %"),
    "transformer": ("dates to ISO 8601", "sequences", {"name": "dates"},
                    "found.transformer_exact_percent", "{:.1f} %", "99 %"),
    "gpt": ("tiny Shakespeare, nats", "sequences", {"name": "shakespeare"},
            "found.validation_loss_nats", "{:.2f}", "1.88, nanoGPT"),
    "word2vec": ("rank correlation with gensim's similarities", "word2vec",
                 {"architecture": "skip_gram"}, "rank_correlation.ours and gensim", "{:.2f}",
                 "0.99, gensim's seeds"),
    "snn": ("400 neurons by STDP, MNIST", "spikes", {"name": "stdp_400"},
            "found.accuracy_percent", "{:.1f} %", "87.0 %"),
    "gnn": ("GCN, Cora, mean of 10 seeds", "graphs", {"name": "gcn_cora"},
            "found.accuracy_percent", "{:.1f} %", "81.5 %"),
}  # fmt: skip


def results(name: str) -> list | dict:
    """What a benchmark has written; nothing where it has not."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else []


def quality(family: str) -> tuple[str, str, str]:
    """(What is measured, the median over the seeds and their spread, what the paper has)."""
    what, file, chosen, where, form, paper = QUALITY[family]
    found, seeds = [], set()
    for row in results(file):
        if all(row.get(key) == value for key, value in chosen.items()):
            first, _, rest = where.partition(".")
            found.append(row[first][rest] if rest else row[first])
            seeds.add(row.get("seed"))
    value = form.format(statistics.median(found))
    if len(seeds) > 1:
        least, most = (form.format(end(found)).split()[0] for end in (min, max))
        spread = f"{least} to {most}, " if least != most else ""
        value += f" ({spread}{len(seeds)} seeds)"
    return what, value, paper


def fidelity(family: str) -> tuple[str, str]:
    """(Peers, the largest difference from them)."""
    row = dict(results("fidelity")).get(family)
    if row is None:
        return "", ""
    return ", ".join(row["peers"]), f"{row['difference']:.0e}" if row["compared"] else ""


def speed(family: str, backend: str) -> str:
    """Times of a training step on a CPU, beside the fastest peer's.

    Of the network where that is least, to where it is most, if a family has several.
    """
    cases, found = peers.cases(), {}
    for row in results("speed"):
        mine = cases[row["name"]].family == family
        if mine and (row["backend"], row["device"]) == (backend, "cpu"):
            ratio = statistics.median(a / b for a, b in zip(*row["train"], strict=True))
            found.setdefault(row["name"], []).append((ratio, row["peer"]))
    slowest = sorted(max(ratios) for ratios in found.values())
    ends = [slowest[0], slowest[-1]][-len(slowest) :] if slowest else []
    beside = ", ".join(dict.fromkeys(peer for _, peer in ends))
    return " to ".join(f"{ratio:.2f}" for ratio, _ in ends) + f" ({beside})" * bool(ends)


def moves(family: str) -> str:
    """How many of the six moves of a model from one backend to another leave what it predicts."""
    rows = dict(results("robustness")).get("backends", [])
    for row in rows:
        if row["family"] == family:
            found = [value for pair, value in row.items() if pair != "family"]
            return f"{sum(isinstance(v, float) and v <= 1e-5 for v in found)} of {len(found)}"
    return ""


def parameters(family: str) -> str:
    """Of the default network, those that are learnt."""
    import recipes

    model = getattr(recipes, family).build_model()
    count = sum(math.prod(w.shape) for w in model.trainable_weights)
    return f"{count:,}" if count else "evolve"


def table() -> str:
    """A line for each family."""
    import recipes

    titles = ["family", "parameters", "measured", "value", "paper or bar", "equal to",
              "largest difference", "step's time / the peer's", "on JAX", "on PyTorch",
              "backends"]  # fmt: skip
    rows = [
        [f"`{name}`", parameters(name), *quality(name), *fidelity(name),
         *(speed(name, backend) for backend in ("tensorflow", "jax", "torch")), moves(name)]
        for name in recipes.families()
    ]  # fmt: skip
    return "\n".join(measures.markdown(titles, rows)) + "\n"


def written(text: str) -> str:
    """README's text with the table as it should be."""
    return re.sub(f"({START}).*?({END})", lambda m: m[1] + table() + m[2], text, flags=re.DOTALL)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(written(readme.read_text("utf-8")), "utf-8")
