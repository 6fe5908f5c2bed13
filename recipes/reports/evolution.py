"""Plots of evolution: the champion, species and fitness over the generations, what it does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from keras import ops
from matplotlib.figure import Figure

from recipes.data.environments import record
from recipes.reports import plots

if TYPE_CHECKING:
    from recipes.data.core import Data
    from recipes.training.evolution import Evolution
    from recipes.training.genomes import Population


def pictures(model: "Evolution", data: "Data") -> dict:
    """What a run shows: the champion, species and fitness over the generations, and what it does:
    the probability that it gives each point of a plane, or scenes of an episode.
    """
    names = list(data.class_names or [])
    outputs = names[1:] if len(names) == 2 else names
    found = {"champion": graph(model, getattr(data.transform, "feature_names", []), outputs)}
    if model.population is not None:
        found |= {"species": species(model.population), "fitness": fitness(model.population)}
    if data.kind == "environments":
        frames = record(model.player(), data.test.world, data.test.seed)
        if frames:
            found |= {"episode": plots.strip(frames), "play": frames}
    elif model.inputs == model.num_classes == 2:
        found["surface"] = surface(model, *data.test.arrays())
    return found


def graph(model: "Evolution", inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Figure:
    """A figure: the champion from its inputs, left, to its outputs, right; blue connections have
    positive weights, orange ones negative, wide ones large.
    """
    kernel, places = (ops.convert_to_numpy(w) for w in model.network.weights)
    fixed = model.inputs + 1 + model.num_outputs
    nodes = np.flatnonzero(places >= 0)
    y = (np.arange(len(places)) * 0.618 + 0.25) % 1 * 0.8 + 0.1  # hidden nodes are spread
    for some in (np.arange(model.inputs + 1), np.arange(model.inputs + 1, fixed)):
        y[some] = 1 - (some - some[0] + 0.5) / len(some)
    made, (ax,) = plots.figure(6.4, 1.6 + 0.5 * min(12, max(model.inputs, len(nodes) / 3)))
    for start, to in np.argwhere(kernel):
        weight, end = kernel[start, to], to + model.inputs + 1
        tip, tail = (places[end], y[end]), (places[start], y[start])
        bend, gap = (0.4 if tail[0] >= tip[0] else 0.08), 9
        if end == start:  # a loop above the node
            tip, tail = ((tip[0] + side, tip[1] + 0.03) for side in (0.02, -0.02))
            bend, gap = -2.5, 0
        arrow = {"arrowstyle": "-|>", "linewidth": 0.4 + 0.5 * abs(weight), "shrinkA": gap,
                 "shrinkB": gap, "color": plots.BLUE if weight > 0 else plots.ORANGE,
                 "connectionstyle": f"arc3,rad={bend}", "alpha": 0.8}  # fmt: skip
        ax.annotate("", tip, tail, arrowprops=arrow)
    colors = np.where(nodes < fixed, plots.INK, "white")
    ax.scatter(places[nodes], y[nodes], s=180, c=colors, edgecolors=plots.INK, zorder=3)
    named = [*(inputs or [f"input {i}" for i in range(model.inputs)]), "bias"]
    for i, name in enumerate(named):
        ax.text(-0.04, y[i], name, ha="right", va="center", fontsize=9, color=plots.INK)
    for i, name in enumerate(outputs or [f"output {i}" for i in range(model.num_outputs)]):
        ax.text(1.04, y[model.inputs + 1 + i], name, va="center", fontsize=9, color=plots.INK)
    ax.set(xlim=(-0.35, 1.3), ylim=(-0.05, 1.05))
    ax.set_axis_off()
    hidden, connections = len(nodes) - fixed, np.count_nonzero(kernel)
    ax.set_title(f"hidden nodes: {hidden}, connections: {connections}")
    return made


def species(population: "Population") -> Figure:
    """A figure: how many networks each species has, over the generations."""
    generation, number, members = np.concatenate(population.sizes).T
    table = np.zeros((number.max() + 1, generation.max() + 1))
    table[number, generation] = members
    made, (ax,) = plots.figure(6.4, 3.4)
    colors = [plots.CLASSES(i % 10) for i in range(len(table))]
    ax.stackplot(np.arange(table.shape[1]), table, colors=colors, step="mid", alpha=0.8)
    ax.set_xlabel("generation", color=plots.INK)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_title(f"networks of each of {len(table)} species")
    ax.margins(0)
    return made


def fitness(population: "Population") -> Figure:
    """A figure: fitness of the best network and the mean of all, over the generations."""
    best, mean = np.concatenate(population.curve).T
    made, (ax,) = plots.figure(5.2, 3.4)
    ax.plot(best, color=plots.BLUE, label="best", marker="o", markersize=3)
    ax.plot(mean, color=plots.GREY, label="mean", marker="o", markersize=3)
    ax.set_xlabel("generation", color=plots.INK)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_title("fitness")
    ax.legend(frameon=False, fontsize=9)
    return made


def surface(model: "Evolution", x: np.ndarray, y: np.ndarray) -> Figure:
    """A figure: the probability of the second class over the plane, and examples x (n, 2)."""
    low, high = x.min(axis=0), x.max(axis=0)
    ends = np.stack([low, high]) + np.array([[-0.2], [0.2]]) * (high - low)
    axes = [np.linspace(*ends[:, i], 100, dtype="float32") for i in range(2)]
    grid = np.stack(np.meshgrid(*axes), axis=-1)
    logits = model.predict(grid.reshape(-1, 2), batch_size=10_000, verbose=0)[:, 1]
    p = 1 / (1 + np.exp(-np.clip(logits, -30, 30))).reshape(100, 100)
    made, (ax,) = plots.figure(4.6, 3.8)
    shades = ax.pcolormesh(*axes, p, cmap=plots.BLUES, vmin=0, vmax=1, rasterized=True)
    colors = np.where(y == 1, plots.ORANGE, "white")
    ax.scatter(*x.T, c=colors, edgecolors=plots.INK, s=60, zorder=3)
    made.colorbar(shades, ax=ax).outline.set_visible(False)
    ax.set_title("probability of the second class")
    return made
