"""Cross-validation: a trial trained once a fold, what its folds say, and training on all of them.

The training and validation parts are dealt out anew; the test part is not touched. Statistics and
vocabularies, which hold no targets of single examples, stay those of the data as they were loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recipes.contract import check
from recipes.data.core import Data

EXCHANGEABLE = ("images", "tables", "text", "audio", "pairs")  # kinds of examples in any order
ORDERED = ("series", "corpus")  # kinds whose examples are windows, which overlap


def check_folds(data: Data, folds: int | None) -> None:
    """Raise where the data cannot be split in so many."""
    whole = isinstance(folds, int) and not isinstance(folds, bool) and folds >= 2
    check(folds is None or whole, "folds", folds, "must be an integer of at least 2")
    if folds is None:
        return
    wanted = (
        f"{data.name} holds {data.kind}, whose examples cannot be dealt out anew; "
        f"only {', '.join(EXCHANGEABLE)} can"
    )
    check(data.kind in EXCHANGEABLE, "folds", folds, wanted)
    size = len(_pool(data))
    wanted = f"{data.name} has only {size} examples to train on and to validate"
    check(folds <= size, "folds", folds, wanted)


def fold(data: Data, number: int, folds: int, seed: int) -> Data:
    """The data with fold `number`, from 1, as the validation part, and the others to train on.

    Each class is dealt out evenly: the folds' shares of it differ by one example at most.
    """
    pool = _pool(data)
    dealt = np.random.default_rng(seed).permutation(pool)
    if data.class_names is not None and data.train.y.ndim == 1:
        dealt = dealt[np.argsort(data.train.y[dealt], kind="stable")]
    held = np.sort(dealt[number - 1 :: folds])
    train = data.train.part(np.setdiff1d(pool, held), shuffle=data.train.shuffle)
    return replace(data, train=train, validation=data.train.part(held, shuffle=False))


def whole(data: Data) -> Data:
    """The data with the validation part's examples to train on, too, and no validation part.

    Raises:
        ValueError: they are of another sort than the training part's, such as nodes of a graph.
    """
    if data.validation is None:
        return data
    wanted = f"holds {data.kind}, whose validation part cannot be trained on"
    check(data.kind in (*EXCHANGEABLE, *ORDERED), "data", data.name, wanted)
    pool = _pool(data)
    wanted = "its validation part is the test part, too"
    check(not np.intersect1d(pool, data.test.indices).size, "data", data.name, wanted)
    return replace(data, train=data.train.part(pool, shuffle=data.train.shuffle), validation=None)


def _pool(data: Data) -> np.ndarray:
    """Indices of all that may be trained on, in order."""
    parts = [part for part in (data.train, data.validation) if part is not None]
    same = all(part.x is data.train.x and part.y is data.train.y for part in parts)
    wanted = "training and validation part hold different arrays; give them to load_data together"
    check(same, "data", data.name, wanted)
    return np.sort(np.concatenate([part.indices for part in parts]))


def together(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of a trial from those of its folds.

    `score` is the mean of the folds' scores, `spread` their standard deviation, `scores` they
    themselves; `best_epoch` is the median, and `history` the mean over those folds that got so far.
    """
    scores = [record["score"] for record in records]
    histories = [record["history"] for record in records]
    first = records[0]
    history = {}
    for name in first["history"]:
        curves = [found[name] for found in histories]
        rows = [[c[e] for c in curves if e < len(c)] for e in range(max(map(len, curves)))]
        history[name] = [float(np.mean(row)) for row in rows]
    return {
        "reason": None,
        "epoch": max(record["epoch"] for record in records),
        "score": float(np.mean(scores)),
        "spread": float(np.std(scores)),
        "scores": scores,
        "best_epoch": round(float(np.median([record["best_epoch"] for record in records]))),
        "history": history,
        "parameters": first["parameters"],
        "batch_size": first["batch_size"],
        "seconds": round(sum(record["seconds"] for record in records), 3),
    }
