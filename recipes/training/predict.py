"""Predict from a run: new inputs are prepared as the training data was."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from recipes import data
from recipes.contract import check
from recipes.training import checkpoints
from recipes.training.runs import read_config


def predict(run: str | Path, inputs: Any, *, batch_size: int = 128) -> list[dict[str, Any]]:
    """Predict with the best model of a run.

    Args:
        run: a run directory.
        inputs: an array of raw inputs (as `load_data` took them); or a path, or a list of paths,
            to pictures, to folders of pictures, or to CSV or Parquet files.
        batch_size: inputs at a time.

    Returns:
        For each input a dictionary: "input" (path, or row number), and "class", "probability" and
        "probabilities" (class name to share), or "value" for a regression, in the target's units.

    Raises:
        ValueError: no run there, no such file, or inputs of another shape.
    """
    read_config(run)  # says so if this is no run
    about = json.loads((Path(run) / "data.json").read_text())
    transform = data.transform_from_config(about["kind"], about["transform"])
    model = checkpoints.load(run)
    if isinstance(inputs, str | Path):
        inputs = [inputs]
    if isinstance(inputs, list | tuple) and all(isinstance(p, str | Path) for p in inputs):
        names, x = _read(inputs, about["kind"], transform)
    else:
        x = transform(np.asarray(inputs)) if about["kind"] == "images" else transform(inputs)
        names = list(range(len(x)))
    wanted = tuple(model.input_shape[1:])
    check(x.shape[1:] == wanted, "inputs", f"shape {x.shape}", f"this model takes (n, {wanted})")
    outputs = np.asarray(model.predict(x, batch_size=batch_size, verbose=0), "float64")
    if about["class_names"] is None:
        mean, std = transform.target
        return [
            {"input": name, "value": float(row[0] * std + mean)}
            for name, row in zip(names, outputs, strict=True)
        ]
    from recipes.reports.run import softmax

    found = []
    for name, row in zip(names, softmax(outputs), strict=True):
        shares = dict(zip(about["class_names"], row.tolist(), strict=True))
        best = max(shares, key=shares.get)
        found.append(
            {
                "input": name,
                "class": best,
                "probability": shares[best],
                "probabilities": shares,
            }
        )
    return found


def _read(paths: list, kind: str, transform: Any) -> tuple[list, np.ndarray]:
    """Names of the inputs and their model inputs."""
    paths = [Path(path) for path in paths]
    for path in paths:
        check(path.exists(), "inputs", str(path), "no such file or folder")
    if kind == "images":
        from recipes.data.images import EXTENSIONS

        files = []
        for path in paths:
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
            check(path.is_file() or inside, "inputs", str(path), "holds no pictures")
            files += [path] if path.is_file() else inside
        return [str(file) for file in files], transform.read_files(files)
    x = transform.read_files(paths)
    return list(range(len(x))), x
