"""Plots of spiking networks: spikes and membranes over time, what they cost, what they learnt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
from matplotlib.figure import Figure

from recipes.layers.spiking import check_spikes
from recipes.reports import plots
from recipes.reports.run import softmax

if TYPE_CHECKING:
    from recipes.data.core import Data


def pictures(model: keras.Model, data: "Data") -> dict[str, Figure]:
    """What a run shows: one example's spikes and membranes, the cost, what was learnt, mistakes."""
    x, y = data.test.sample(1000)
    shares = softmax(np.asarray(model.predict(x, verbose=0), "float64"))
    found = {}
    if getattr(model, "neurons", None):
        traces = model.trace(x[:1])
        found["spikes"] = raster({k: s[0] for k, (s, _) in traces.items() if s is not None})
        *_, (_, membranes) = traces.values()
        found["membranes"] = membrane_traces(membranes[0], data.class_names)
        found["cost"] = cost(model.statistics(x[:200]))
    elif hasattr(model, "filters"):
        filters = model.filters()[:100]
        filters = filters[np.argsort(model.names[:100], kind="stable")]
        if filters.ndim == 4 and filters.shape[-1] in (1, 3):
            top = float(filters.max())
            found["filters"] = plots.pictures(filters, 10, value_range=(0, top))
    found["confusion_matrix"] = plots.confusion_matrix(y, shares.argmax(1), data.class_names)
    if (shares.argmax(1) != y).any():
        found["mistakes"] = plots.mistakes(x, y, shares, data.class_names)
    return found


def raster(spikes: dict[str, np.ndarray], most: int = 200) -> Figure:
    """A figure: a dot for each spike of one example, a panel for each layer.

    Args:
        spikes: name of a layer to zeros and ones (num_steps, ...).
        most: neurons that are shown of a layer.

    Raises:
        ValueError: values other than 0 and 1.
    """
    for name, value in spikes.items():
        check_spikes(value, name)
    made, axes = plots.figure(6.4, 2.2 * len(spikes) + 0.4, len(spikes), 1)
    for ax, (name, value) in zip(axes, spikes.items(), strict=True):
        flat = np.asarray(value).reshape(len(value), -1)
        count = min(flat.shape[1], most)
        some = np.linspace(0, flat.shape[1] - 1, count).astype(int)  # evenly from all of them
        steps, which = np.nonzero(flat[:, some])
        ax.scatter(steps, which, s=6 if count > 20 else 40, marker="|", color=plots.BLUE)
        ax.set(xlim=(-0.5, len(flat) - 0.5), ylim=(-0.5, count - 0.5))
        of = f" of the {flat.shape[1]:,}" if flat.shape[1] > count else ""
        ax.set_title(f"{name}: {int(flat.sum()):,} spikes; {count}{of} neurons")
    axes[-1].set_xlabel("time step", color=plots.INK)
    return made


def membrane_traces(membranes: np.ndarray, names: Sequence[str]) -> Figure:
    """A figure: the membranes of the last neurons for one example, (num_steps, classes)."""
    made, (ax,) = plots.figure(6.4, 3.2)
    best = np.argsort(-membranes.max(axis=0))[:3]
    for i, row in enumerate(membranes.T):
        color = plots.CLASSES(i % 10) if i in best else plots.GREY
        label = names[i] if i in best else None
        ax.plot(row, color=color, linewidth=1.5 if i in best else 0.6, label=label)
    ax.set_xlabel("time step", color=plots.INK)
    ax.set_title("membranes of the last neurons")
    ax.legend(frameon=False, fontsize=9)
    return made


def cost(rows: list[dict]) -> Figure:
    """A figure: operations of each layer of weights, beside a network without time.

    Args:
        rows: of `recipes.snn.Spiking.statistics`.
    """
    made, (ax,) = plots.figure(5.6, 0.7 * len(rows) + 1.4)
    places = np.arange(len(rows))[::-1]
    for key, shift, color in (("multiply_adds", 0.2, plots.GREY), ("operations", -0.2, plots.BLUE)):
        values = [max(row[key], 1) for row in rows]
        label = "multiply-adds without time" if shift > 0 else "synaptic operations"
        ax.barh(places + shift, values, 0.36, color=color, label=label)
    ax.set_yticks(places, [row["layer"] for row in rows])
    ax.set_xscale("log")
    totals = [sum(row[key] for row in rows) for key in ("operations", "multiply_adds")]
    ax.set_title("operations of an example: {:,.0f} / {:,}".format(*totals))
    ax.legend(frameon=False, fontsize=9)
    return made
