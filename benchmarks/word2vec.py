"""word2vec beside gensim: whether the vectors are as good; `speed.py` has how fast they are learnt.

    python benchmarks/word2vec.py train.en.gz rt-polarity.pos.gz
    python benchmarks/word2vec.py tiny_shakespeare --architecture cbow

Both learn from the same rows of the same words, without unknown ones, by negative sampling with
gensim's defaults (100 numbers a word, 5 negatives, windows up to 5, sample 1e-3, rate 0.025, 5
epochs).

Measured, of a training of each: Spearman's rank correlation of the similarities of all pairs among
1,000 frequent words, between ours and gensim's and between two seeds of gensim's; and the loss of
negative sampling on held-out rows, of all vectors by the same formula (`Word2Vec.held_out`).
"""

import argparse
import json
import os
import platform
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gensim
import keras
import numpy as np
from scipy.stats import spearmanr

from recipes import word2vec
from recipes.data import corpus

RESULTS = Path(__file__).parent / "results" / "word2vec.json"
FREQUENT = slice(100, 1100)  # by rank, behind the function words


def read(sources: list[str], seed: int) -> str:
    """The texts of all sources, in blocks of 8 lines, shuffled: parts that follow are alike."""
    texts = [text for source in sources for text in corpus._read(source, None)[1].values()]
    lines = "\n".join(texts).split("\n")
    blocks = ["\n".join(lines[i : i + 8]) for i in range(0, len(lines), 8)]
    return "\n".join(np.random.default_rng(seed).permutation(blocks).tolist())


def peer(rows: list[list[str]], options: argparse.Namespace, seed: int):
    """gensim's model, trained."""
    model = gensim.models.Word2Vec(
        vector_size=100, window=5, negative=5, sample=1e-3, min_count=1, alpha=0.025,
        min_alpha=0.025 * 1e-4, sg=int(options.architecture == "skip_gram"),
        workers=os.cpu_count(), seed=seed,
    )  # fmt: skip
    model.build_vocab(rows)
    model.train(rows, total_examples=len(rows), epochs=options.epochs)
    return model


def tables(model, size: int) -> tuple[np.ndarray, np.ndarray]:
    """gensim's two tables in our order of the words."""
    inner, outer = (np.zeros((size, 100), "float32") for _ in range(2))
    for word, i in model.wv.key_to_index.items():
        inner[int(word)], outer[int(word)] = model.wv.vectors[i], model.syn1neg[i]
    return inner, outer


def similarities(inner: np.ndarray) -> np.ndarray:
    """Of all pairs of the frequent words."""
    some = inner[word2vec.RESERVED :][FREQUENT]
    some = some / np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-12)
    return (some @ some.T)[np.triu_indices(len(some), 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sources", nargs="+", help="text files, or names of data sets")
    parser.add_argument("--architecture", choices=word2vec.ARCHITECTURES, default="skip_gram")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--limit", type=float)
    options = parser.parse_args()

    data = word2vec.load_data(read(options.sources, 0), batch_size=options.batch_size)
    size = data.spec["vocabulary_size"]
    ids = data.train.x[data.train.indices]
    rows = [[str(i) for i in row if i >= word2vec.RESERVED] for row in ids.tolist()]
    words = sum(map(len, rows))

    model = word2vec.build_model(
        architecture=options.architecture, learning_rate=0.025, limit=options.limit, seed=1,
        **data.spec,
    )  # fmt: skip
    model.fit(data.train, epochs=options.epochs, verbose=0)
    found = {"ours": [keras.ops.convert_to_numpy(t.embeddings) for t in (model.inner, model.outer)]}
    for seed in (1, 2):
        found[f"gensim, seed {seed}"] = tables(peer(rows, options, seed), size)
    losses = {}
    for name, (inner, outer) in found.items():
        model.inner.embeddings.assign(inner)
        model.outer.embeddings.assign(outer)
        losses[name] = round(float(model.evaluate(data.test, verbose=0)), 4)
    a, b, c = (similarities(inner) for inner, _ in found.values())
    row = {
        "architecture": options.architecture, "backend": keras.backend.backend(),
        "sources": [Path(s).name for s in options.sources], "words": words,
        "vocabulary_size": size, "batch_size": options.batch_size, "limit": model.limit,
        "epochs": options.epochs, "gensim": gensim.__version__, "keras": keras.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rank_correlation": {
            "ours and gensim": round(float(spearmanr(a, b).statistic), 4),
            "gensim and gensim": round(float(spearmanr(b, c).statistic), 4),
        },
        "held_out_loss": losses,
    }  # fmt: skip
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    key = ("architecture", "backend", "sources", "machine")
    rows = [old for old in rows if [old[k] for k in key] != [row[k] for k in key]]
    RESULTS.write_text(json.dumps([*rows, row], indent=1) + "\n")
    print(f"rank correlation: {row['rank_correlation']}\nheld-out loss: {losses}")


if __name__ == "__main__":
    main()
