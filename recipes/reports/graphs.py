"""Plots of what a network says of graphs: classes of nodes, links, and classes of graphs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from recipes.reports import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recipes.data.core import Data

MOST_DRAWN = 300  # nodes of a graph that is drawn with its edges
MOST_PLACED = 2000  # nodes that are placed in a plane by what the network made of them


def pictures(model, data: "Data") -> dict[str, Figure]:
    """Of a `GraphModel` on the test part.

    Returns:
        Of nodes "confusion_matrix", and "graph" or, where it is large, "nodes": their features
        before the last layer, in a plane; of links "links", how sure the network is of pairs with
        and without an edge; of graphs "confusion_matrix" and "graphs".
    """
    part = data.test
    x, y = part.sample(part.size)
    outputs = np.asarray(model.predict(x, verbose=0))
    if data.class_names is None:
        return {"links": links(outputs, y)}
    predicted = outputs.argmax(axis=1)
    found = {"confusion_matrix": plots.confusion_matrix(y, predicted, data.class_names)}
    if part.task == "graphs":
        shown = part.indices[:: max(1, part.size // 18)][:18]
        some = [part.x.graphs(np.array([i])) for i in shown]
        which = np.searchsorted(part.indices, shown)
        found["graphs"] = small_graphs(some, y[which], predicted[which], data.class_names)
        return found
    count = part.x.shape[0]
    whole = part.x.inputs(np.arange(count))
    classes = np.asarray(model.predict(whole, verbose=0)).argmax(axis=1)
    wrong = np.zeros(count, bool)
    wrong[part.indices] = classes[part.indices] != part.y[part.indices]
    if count <= MOST_DRAWN:
        found["graph"] = drawn(part.x, classes, data.train.indices, wrong, data.class_names)
    else:
        found["nodes"] = placed(
            model.encode(whole), classes, data.train.indices, part.indices, wrong, data.class_names
        )
    return found


def layout(edges: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Places of nodes, such that neighbours lie together: (n, 2), by NetworkX's springs."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(edges.tolist())
    places = networkx.spring_layout(graph, seed=seed, iterations=200 if count <= MOST_DRAWN else 50)
    return np.array([places[i] for i in range(count)])


def _draw(ax: "Axes", places: np.ndarray, edges: np.ndarray, weights: np.ndarray) -> None:
    """The edges, darker where they weigh more."""
    shade = 0.25 + 0.5 * weights / max(float(weights.max(initial=0)), 1e-9)
    colours = np.zeros((len(edges), 4))
    colours[:, 3] = shade.clip(0, 1)
    ax.add_collection(LineCollection(places[edges], colors=colours, linewidths=0.7, zorder=1))
    ax.set_axis_off()
    ax.set_aspect("equal")


def drawn(graph, classes: np.ndarray, train: np.ndarray, wrong: np.ndarray,
          class_names: Sequence[str]) -> Figure:  # fmt: skip
    """A small graph, its nodes coloured by the class that the network gives them.

    Args:
        graph: a `Graph`.
        classes: of the nodes, int (n,).
        train: nodes with a label in training, drawn as squares.
        wrong: booleans (n,), those of the test part that it mistakes, drawn with a ring.
        class_names: names of the classes.
    """
    count = len(classes)
    places = layout(graph.edges, count)
    made, (ax,) = plots.figure(7.2, 5.6)
    _draw(ax, places, graph.edges, graph.weights)
    size = 220 if count <= 60 else 60
    taught = np.isin(np.arange(count), train)
    for label, name in enumerate(class_names):
        for squares in (False, True):
            chosen = (classes == label) & (taught == squares)
            ax.scatter(
                *places[chosen].T, s=size * (1 + squares), marker="s" if squares else "o",
                color=plots.CLASSES(label % 10), zorder=2, edgecolors="white",
                label=None if squares else name,
            )  # fmt: skip
    if wrong.any():
        ax.scatter(*places[wrong].T, s=2.6 * size, facecolors="none", edgecolors=plots.INK,
                   linewidths=1.6, zorder=3, label="mistaken")  # fmt: skip
    if count <= 60:
        for i, (across, up) in enumerate(places):
            ax.text(across, up, str(i), ha="center", va="center", fontsize=7, color="white",
                    zorder=4)  # fmt: skip
    ax.legend(frameon=False, fontsize=9, labelspacing=1.4, loc="center left",
              bbox_to_anchor=(1, 0.5))  # fmt: skip
    ax.set_title(f"predicted classes; squares: the {taught.sum()} with a label in training")
    return made


def placed(features: np.ndarray, classes: np.ndarray, train: np.ndarray, test: np.ndarray,
           wrong: np.ndarray, class_names: Sequence[str]) -> Figure:  # fmt: skip
    """Nodes of the test part in a plane, by t-SNE of what the network made of them.

    Args:
        features: of all nodes, (n, d).
        classes: that the network gives them, int (n,).
        train: nodes with a label in training, drawn large.
        test: nodes of the test part.
        wrong: booleans (n,), those that it mistakes, drawn as crosses.
        class_names: names of the classes.
    """
    from sklearn.manifold import TSNE

    chosen = test[:: -(-len(test) // MOST_PLACED)]
    both = np.concatenate([chosen, train])
    places = TSNE(init="pca", random_state=0).fit_transform(features[both].astype("float64"))
    taught, chosen = places[len(chosen) :], places[: len(chosen)]
    nodes, learnt = both[: len(chosen)], both[len(chosen) :]
    made, (ax,) = plots.figure(6.8, 5.4)
    for label, name in enumerate(class_names):
        colour, of_label = plots.CLASSES(label % 10), classes[nodes] == label
        right, missed = of_label & ~wrong[nodes], of_label & wrong[nodes]
        ax.scatter(*chosen[right].T, s=9, color=colour, alpha=0.6, linewidths=0, label=name)
        ax.scatter(*chosen[missed].T, s=26, color=colour, marker="x", linewidths=1.2)
        own = classes[learnt] == label
        ax.scatter(*taught[own].T, s=42, color=colour, edgecolors=plots.INK, linewidths=0.8)
    ax.set_axis_off()
    ax.legend(frameon=False, fontsize=8, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set_title("nodes by their features before the last layer (t-SNE), predicted classes;\n"
                 "ringed: with a label in training; crosses: mistaken", fontsize=9)  # fmt: skip
    return made


def links(logits: np.ndarray, y: np.ndarray) -> Figure:
    """How sure a network is of pairs, those with an edge (y 1) and those without (0)."""
    from sklearn.metrics import roc_auc_score, roc_curve

    made, (ax, curve) = plots.figure(9, 3.6, 1, 2)
    bins = np.linspace(*np.quantile(logits, [0.002, 0.998]), 40)
    for label, colour, name in ((0, plots.GREY, "not joined"), (1, plots.BLUE, "joined")):
        ax.hist(logits[y == label], bins, color=colour, alpha=0.7, label=name)
    ax.set_xlabel("logit", color=plots.INK)
    ax.set_title(f"{len(y):,} pairs of the test part")
    ax.legend(frameon=False, fontsize=9)
    false, true, _ = roc_curve(y, logits)
    curve.plot(false, true, color=plots.BLUE)
    curve.plot([0, 1], [0, 1], color=plots.GREY, linestyle="--", linewidth=1)
    curve.set_title(f"area under the curve: {roc_auc_score(y, logits):.3f}")
    curve.set_xlabel("share of pairs that are not joined, taken for links", color=plots.INK)
    curve.set_ylabel("share of links found", color=plots.INK)
    return made


def small_graphs(graphs: Sequence, truth: np.ndarray, predicted: np.ndarray,
                 class_names: Sequence[str]) -> Figure:  # fmt: skip
    """Some graphs, each with the class that the network gives it; in orange where it is wrong."""
    columns = 6
    rows = -(-len(graphs) // columns)
    made, axes = plots.figure(1.7 * columns, 1.9 * rows, rows, columns)
    for ax in axes:
        ax.set_axis_off()
    for ax, graph, label, guess in zip(axes, graphs, truth, predicted, strict=False):
        import networkx

        drawn = networkx.Graph(graph.edges.tolist())
        drawn.add_nodes_from(range(graph.shape[0]))
        found = networkx.kamada_kawai_layout(drawn)
        places = np.array([found[i] for i in range(graph.shape[0])])
        _draw(ax, places, graph.edges, graph.weights)
        colour = plots.BLUE if label == guess else plots.ORANGE
        ax.scatter(*places.T, s=14, color=colour, zorder=2, linewidths=0)
        text = class_names[guess]
        if label != guess:
            text += f" (true: {class_names[label]})"
        ax.set_title(text, fontsize=9, color=colour)
    return made
