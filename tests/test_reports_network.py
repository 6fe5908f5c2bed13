"""The picture of a network says what its layers are: every one once, and who feeds whom."""

from itertools import pairwise

import keras
import pytest
from keras import layers

from recipes import cnn, resnet
from recipes.reports import network


def branched() -> keras.Model:
    """A convolution, a path of two layers beside a shortcut, and a head."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="norm")(x)
    trunk = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(6, 5, strides=2, padding="same", activation="relu", name="long")(trunk)
    x = layers.Conv2D(6, 3, padding="same", name="longer")(x)
    short = layers.Conv2D(6, 1, strides=2, name="short")(trunk)
    x = layers.Add(name="sum")([x, short])
    x = layers.Dense(10, name="head")(layers.Flatten(name="flat")(x))
    return keras.Model(inputs, x, name="branched")


def test_every_operation_is_in_one_box():
    for model in (branched(), cnn.build_model("lenet5"), resnet.build_model("tiny")):
        drawn = [op for box in network.boxes_of(model) for op in box.operations]
        assert len(drawn) == len(set(map(id, drawn)))
        assert set(map(id, drawn)) == set(map(id, model.operations))


def test_boxes_follow_the_graph():
    boxes = {box.main.name: box for box in network.boxes_of(branched())}
    # The input has a name of its own; what only normalises or rearranges joins its neighbour.
    assert set(boxes) - {"stem", "long", "longer", "short", "sum", "head"} == {
        box.main.name for box in boxes.values() if not box.sources
    }
    assert [op.name for op in boxes["stem"].operations] == ["stem", "norm", "relu"]
    assert [op.name for op in boxes["head"].operations] == ["flat", "head"]
    sources = {name: [s.main.name for s in box.sources] for name, box in boxes.items()}
    assert sources["long"] == sources["short"] == ["stem"]
    assert sources["sum"] == ["longer", "short"]
    columns = {name: box.column for name, box in boxes.items()}
    assert [columns[n] for n in ("stem", "long", "longer", "sum", "head")] == [1, 2, 3, 4, 5]
    # The longest path lies straight, the shortcut beside it.
    assert {name for name, box in boxes.items() if box.lane} == {"short"}


def test_what_others_use_too_is_not_swallowed():
    x = inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 1, name="first")(x)
    h = layers.ReLU(name="relu")(x)  # of one path only: the shortcut leaves before it
    h = layers.Conv2D(4, 1, name="second")(h)
    model = keras.Model(inputs, layers.Add(name="sum")([h, x]))
    boxes = {box.main.name: box for box in network.boxes_of(model)}
    assert [op.name for op in boxes["first"].operations] == ["first"]
    assert [op.name for op in boxes["second"].operations] == ["relu", "second"]
    assert [s.main.name for s in boxes["sum"].sources] == ["second", "first"]


def test_a_box_says_what_it_is():
    boxes = {box.main.name: box for box in network.boxes_of(branched())}
    long, stem, head = boxes["long"], boxes["stem"], boxes["head"]
    assert (long.title, long.details, long.shape) == ("conv 5×5 /2", "relu", (4, 4, 6))
    assert long.parameters == 5 * 5 * 4 * 6 + 6
    assert (stem.title, stem.details) == ("conv 3×3", "batch norm, relu")
    assert stem.parameters == (3 * 3 * 3 * 4 + 4) + 4 * 4
    assert (head.title, head.details, head.shape) == ("dense", "flatten", (10,))
    assert [text for text, _ in head.lines] == ["dense", "flatten", "10", "970"]
    assert boxes["sum"].parameters == 0
    assert sum(box.parameters for box in boxes.values()) == branched().count_params()


def test_rows_break_only_where_one_arrow_crosses():
    boxes = network.boxes_of(branched())
    for most in range(1, 7):
        rows = network.rows_of(boxes, most)
        assert [c for row in rows for c in row] == list(range(6))
        for row in rows[:-1]:
            # Inside the branch (columns 2 and 3), two arrows would cross.
            assert row[-1] not in (2, 3)
    assert network.rows_of(boxes, 6) == [range(6)]
    assert network.rows_of(boxes, 5) == [range(5), range(5, 6)]


def test_the_drawing_has_a_rectangle_a_box_and_all_its_words():
    model = branched()
    figure = network.draw(model)
    boxes = network.boxes_of(model)
    rectangles = [p for ax in figure.axes for p in ax.patches if hasattr(p, "get_height")]
    arrows = [p for ax in figure.axes for p in ax.patches if hasattr(p, "get_arrowstyle")]
    assert len(rectangles) == len(boxes)
    assert len(arrows) == sum(len(box.sources) for box in boxes)
    words = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert sorted(words) == sorted(text for box in boxes for text, _ in box.lines)
    assert figure.get_suptitle() == f"branched: {model.count_params():,} parameters"
    # A picture twice as high is drawn twice as high, but for the frame's least height.
    heights = sorted({round(p.get_height(), 3) for p in rectangles if p.get_width() > 0.12})
    assert heights == [0.525, 0.9]


def test_every_variant_can_be_drawn_without_boxes_on_top_of_each_other():
    for model in (cnn.build_model("lenet5_1998"), resnet.build_model("resnet20")):
        for ax in network.draw(model).axes:
            ends = sorted(
                (round(p.get_y(), 3), p.get_x(), p.get_x() + p.get_width())
                for p in ax.patches
                if hasattr(p, "get_height") and p.get_y() < 0
            )
            lanes = sorted((left, right) for _, left, right in ends)
            assert all(a[1] < b[0] for a, b in pairwise(lanes))


def test_a_model_without_a_graph_is_refused():
    class Bare(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="model='Bare': must be a functional Keras model"):
        network.draw(Bare())
