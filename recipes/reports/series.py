"""Plots of what a network says of sequences: forecasts of a series, classes of texts and sounds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from recipes.reports import plots

if TYPE_CHECKING:
    import keras

    from recipes.data.core import Data


def pictures(model: "keras.Model", data: "Data") -> dict[str, Figure]:
    """Of a model on the test part: "forecasts" of a series, the "confusion_matrix" of classes."""
    x, y = data.test.arrays()
    outputs = np.asarray(model.predict(x, batch_size=128, verbose=0))
    if data.kind != "series":
        predicted = outputs.argmax(axis=-1)
        return {"confusion_matrix": plots.confusion_matrix(y, predicted, data.class_names)}
    transform = data.transform
    found = {"forecast": outputs, **naive_forecasts(transform, x)}
    scores = {name: transform.mase(y, f) for name, f in found.items()}
    shown = {name: _first(transform, f) for name, f in found.items()}
    steps = data.test.indices + transform.window
    return {"forecasts": forecasts(steps, _first(transform, y), shown, scores)}


def naive_forecasts(transform, x: np.ndarray) -> dict[str, np.ndarray]:
    """The forecasts that need no learning, by name, scaled as the targets are.

    Args:
        transform: a `SeriesTransform`.
        x: model inputs (n, window, features).
    """
    found = {"the last value": transform.naive(x, 1)}
    if 1 < transform.season <= x.shape[1]:
        found = {"one season before": transform.naive(x), **found}
    return found


def _first(transform, y: np.ndarray) -> np.ndarray:
    """The first target in its own units: (n, horizon[, targets]) -> (n, horizon)."""
    y = transform.inverse(y)
    return y[..., 0] if transform.num_targets > 1 else y


def forecasts(
    steps: np.ndarray,
    truth: np.ndarray,
    found: Mapping[str, np.ndarray],
    scores: Mapping[str, float],
) -> Figure:
    """Forecasts over the truth, and how their error grows with the distance.

    Args:
        steps: the time step that each forecast begins at, (n,).
        truth: (n, horizon), in the series' units.
        found: name to forecasts (n, horizon); the first is drawn strong.
        scores: name to MASE.
    """
    horizon = truth.shape[1]
    made, axes = plots.figure(10 if horizon > 1 else 8, 3.6, 1, 1 + (horizon > 1))
    # Forecasts that follow one another without a gap or an overlap.
    chosen = np.flatnonzero((steps - steps[0]) % horizon == 0)
    over = steps[chosen, None] + np.arange(horizon)
    colours = (plots.BLUE, plots.ORANGE, plots.GREY)
    axes[0].plot(over.ravel(), truth[chosen].ravel(), color=plots.INK, linewidth=1.2, label="truth")
    for (name, values), colour in zip(found.items(), colours, strict=False):
        strong = colour == plots.BLUE
        axes[0].plot(over.ravel(), values[chosen].ravel(), color=colour, zorder=2 + strong,
                     linewidth=1.4 if strong else 0.9, alpha=1 if strong else 0.7,
                     label=f"{name}: MASE {scores[name]:.2f}")  # fmt: skip
        if horizon > 1:
            error = np.abs(values - truth).mean(axis=0)
            axes[1].plot(np.arange(1, horizon + 1), error, color=colour)
    axes[0].set_title("test part" if horizon == 1 else f"test part, {horizon} steps at a time")
    axes[0].set_xlabel("time step", color=plots.INK)
    made.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=4,
                loc="outside lower center")  # fmt: skip
    if horizon > 1:
        axes[1].set_title("mean absolute error")
        axes[1].set_xlabel("steps ahead", color=plots.INK)
        axes[1].set_ylim(bottom=0)
    return made
