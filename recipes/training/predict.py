"""Predict from a run: new inputs are prepared as the training data was."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from recipes import data
from recipes.contract import check
from recipes.contract.arguments import check_vocabulary
from recipes.training import checkpoints
from recipes.training.runs import read_config

TEXTS = ("text", "corpus", "pairs")  # kinds whose inputs are texts, or files of texts


def predict(run: str | Path, inputs: Any, *, batch_size: int = 128) -> list[dict[str, Any]]:
    """Predict with the best model of a run.

    Args:
        run: a run directory.
        inputs: an array or a pandas frame of raw inputs (as `load_data` took them); a path, or a
            list of paths, to pictures or .wav files, to folders of these, to CSV or Parquet files,
            to .npy files of observations, to text files, or to graphs; or, for a model that reads,
            a text or a list of texts.
        batch_size: inputs at a time.

    Returns:
        For each input a dictionary: "input" (path, or row number), and "class", "probability" and
        "probabilities" (class name to share), or "value" for a regression, in the target's units,
        or "forecast" for a series, a list in its units, or "output", a text, for pairs, or
        "action" and "values", a list with one for each action, for what acts, or
        "score", how unusual the input is, for a network that learnt without labels, or "link",
        how probable each edge of a graph is. Of a graph the inputs are its nodes.

    Raises:
        ValueError: no run there, no such file, or inputs of another shape.
    """
    read_config(run)  # says so if this is no run
    check_vocabulary({"batch_size": batch_size})
    about = json.loads((Path(run) / "data.json").read_text())
    transform = data.transform_from_config(about["kind"], about["transform"])
    if isinstance(inputs, str | Path):
        inputs = [inputs]
    if about["kind"] == "graphs":
        names, x = transform.read(inputs)
        return _named(checkpoints.load(run), names, x, batch_size, about, transform)
    paths = isinstance(inputs, list | tuple) and all(isinstance(p, str | Path) for p in inputs)
    check(not paths or inputs, "inputs", inputs, "needs at least one")
    texts = paths and about["kind"] in TEXTS and not any(_exists(p) for p in inputs)
    if texts:
        x = transform([str(text) for text in inputs])
        names = list(range(len(x)))
    elif paths:
        names, x = _read([Path(p) for p in inputs], about["kind"], transform)
    else:
        x = transform(_raw(inputs, about["kind"], transform))
        names = list(range(len(x)))
    return _named(checkpoints.load(run), names, x, batch_size, about, transform)


def _named(
    model: Any, names: list, x: Any, batch_size: int, about: dict[str, Any], transform: Any
) -> list[dict[str, Any]]:
    """What a model says of inputs, by their names."""
    if hasattr(model, "anomaly_score"):
        scores = model.anomaly_score(x, batch_size=batch_size)
        return [{"input": n, "score": float(s)} for n, s in zip(names, scores, strict=True)]
    if about["kind"] == "pairs":
        texts = transform.decode(model.generate(x, batch_size=batch_size))
        return [{"input": n, "output": text} for n, text in zip(names, texts, strict=True)]
    outputs = np.asarray(model.predict(x, batch_size=batch_size, verbose=0), "float64")
    if about["kind"] == "environments":
        actions = outputs.argmax(axis=1).tolist()
        found = zip(names, actions, outputs.tolist(), strict=True)
        return [{"input": n, "action": a, "values": values} for n, a, values in found]
    if about["kind"] == "series":
        values = transform.inverse(outputs).tolist()
        return [{"input": n, "forecast": v} for n, v in zip(names, values, strict=True)]
    if about["kind"] == "graphs" and about["class_names"] is None:
        shares = 1 / (1 + np.exp(-outputs))
        return [{"input": n, "link": float(s)} for n, s in zip(names, shares, strict=True)]
    if about["class_names"] is None:
        mean, std = transform.target
        values = outputs[:, 0] * std + mean
        return [{"input": n, "value": float(v)} for n, v in zip(names, values, strict=True)]
    from recipes.reports.run import softmax

    found = []
    for name, row in zip(names, softmax(outputs), strict=True):
        shares = dict(zip(about["class_names"], row.tolist(), strict=True))
        best = max(shares, key=shares.get)
        of_best = {"class": best, "probability": shares[best], "probabilities": shares}
        found.append({"input": name, **of_best})
    return found


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # too long for a name: a text
        return False


def _read(paths: list[Path], kind: str, transform: Any) -> tuple[list, np.ndarray]:
    """Names of the inputs and their model inputs."""
    for path in paths:
        check(path.exists(), "inputs", str(path), "no such file or folder")
    if kind not in ("images", "patterns", "audio"):
        x = transform.read_files(paths)
        return list(range(len(x))), x
    from recipes.data import audio, pictures
    from recipes.data.folders import files_below

    what, extensions = "pictures", pictures.EXTENSIONS
    if kind == "audio":
        what, extensions = ".wav files", audio.EXTENSIONS
    files = []
    for path in paths:
        inside = files_below(path, extensions) if path.is_dir() else []
        check(path.is_file() or inside, "inputs", str(path), f"holds no {what}")
        files += [path] if path.is_file() else inside
    return [str(file) for file in files], transform.read_files(files)


def _raw(inputs: Any, kind: str, transform: Any) -> Any:
    """An array or a frame as the transform takes it."""
    names = [*transform.numbers, *transform.categories] if kind == "tables" else []
    if kind in (*TEXTS, "audio"):
        return inputs  # which the transform checks
    if kind == "series":
        names = transform.columns
    if hasattr(inputs, "columns"):
        missing = [name for name in names if name not in inputs]
        wanted = f"needs a frame with the columns {', '.join(names)}"
        check(names and not missing, "inputs", list(inputs.columns), wanted)
        if kind == "tables":
            return inputs
        inputs = inputs[names].to_numpy()[None, -transform.window :]  # the last window
    try:
        raw = np.asarray(inputs)
    except ValueError:  # rows of unequal length
        raw = np.empty(0, object)
    if kind == "tables":
        import pandas

        shape = (len(names),)
    elif kind == "series":
        shape = (transform.window, len(names))
    elif kind == "environments":
        shape = transform.raw_shape
    else:
        shape = (*transform.image_size, transform.channels)
        raw = raw[..., None] if raw.ndim == 3 and shape[-1] == 1 else raw
    fits = raw.shape[1:] == shape and raw.dtype.kind in "iufb"
    wanted = f"this model takes numbers, {('n', *shape)}".replace("'", "")
    check(fits, "inputs", f"{raw.dtype} {raw.shape}", wanted)
    return pandas.DataFrame(raw, columns=names) if kind == "tables" else raw
