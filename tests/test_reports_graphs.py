"""Plots of graphs: what is drawn where, and in which colour."""

import numpy as np
import pytest

from recipes.data.graph_batches import Graph, in_order, mirrored
from recipes.reports import graphs, plots


def two_rings():
    """Two rings of five that one edge joins."""
    edges = [(i, (i + 1) % 5) for i in range(5)] + [(5 + i, 5 + (i + 1) % 5) for i in range(5)]
    edges, weights = in_order(*mirrored(np.array([*edges, (0, 5)]), np.ones(11)), 10)
    return Graph(np.ones((10, 1), "float32"), edges, weights, np.array([10], "int32"))


def test_neighbours_lie_together():
    graph = two_rings()
    places = graphs.layout(graph.edges, 10)
    near = np.linalg.norm(places[graph.edges[:, 0]] - places[graph.edges[:, 1]], axis=1)
    far = np.linalg.norm(places[2] - places[7])
    assert far > 1.5 * near.max()
    np.testing.assert_array_equal(places, graphs.layout(graph.edges, 10))


def test_nodes_have_the_colours_of_their_classes_and_mistakes_a_ring():
    graph, classes = two_rings(), np.repeat([0, 1], 5)
    wrong = np.isin(np.arange(10), (3, 8))
    (ax,) = graphs.drawn(graph, classes, np.array([0, 5]), wrong, ("a", "b")).axes
    places = graphs.layout(graph.edges, 10)
    *nodes, rings = [c for c in ax.collections if hasattr(c, "get_sizes") and len(c.get_sizes())]
    np.testing.assert_allclose(rings.get_offsets(), places[[3, 8]])
    of_a = np.concatenate([c.get_offsets() for c in nodes
                           if np.allclose(c.get_facecolor()[0], plots.CLASSES(0))])  # fmt: skip
    assert {tuple(p) for p in of_a.tolist()} == {tuple(p) for p in places[:5].tolist()}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b", "mistaken"]


def test_the_area_under_the_curve_of_links():
    logits, y = np.array([3, 2, 1, 0, -1, -2.0]), np.array([1, 1, 0, 1, 0, 0])
    _, curve = graphs.links(logits, y).axes
    # 8 of the 9 pairs of a link and no link are in order.
    assert curve.get_title() == "area under the curve: 0.889"


def test_wrong_graphs_are_orange():
    some = [two_rings()] * 3
    made = graphs.small_graphs(some, np.array([0, 1, 1]), np.array([0, 0, 1]), ("a", "b"))
    titles = [ax.get_title() for ax in made.axes[:3]]
    assert titles == ["a", "a (true: b)", "b"]
    colours = [ax.title.get_color() for ax in made.axes[:3]]
    assert colours == [plots.BLUE, plots.ORANGE, plots.BLUE]


@pytest.mark.parametrize("count", [3, 18])
def test_as_many_panels_as_graphs(count):
    made = graphs.small_graphs([two_rings()] * count, *np.zeros((2, count), int), ("a", "b"))
    assert sum(bool(ax.get_title()) for ax in made.axes) == count
