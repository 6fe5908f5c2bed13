"""A picture of a network: its layers as boxes, its connections as arrows."""

import math
import re
import textwrap

import keras
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path

from recipes.contract import check
from recipes.reports.plots import BLUE, GREY, INK, figure

COLUMNS = 9  # in a row, about an inch each
LINE = 0.155  # inches from one line of text to the next
# Layers that are named in another layer's box.
LAYOUT = ("Flatten", "Reshape", "Permute", "ZeroPadding1D", "ZeroPadding2D")
SMALL = (*LAYOUT, "Activation", "ReLU", "LeakyReLU", "BatchNormalization", "LayerNormalization",
         "Dropout", "AlphaDropout", "SpatialDropout2D")  # fmt: skip


class Box:
    """One or more operations of a network, drawn as one box."""

    def __init__(self, operation: keras.Operation, sources: list["Box"]):
        self.operations, self.sources = [operation], sources
        self.column, self.lane = 1 + max((s.column for s in sources), default=-1), 0

    @property
    def main(self) -> keras.Operation:
        """The operation that gives the box its name."""
        return next((op for op in self.operations if not is_small(op)), self.operations[0])

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of what comes out, without the batch."""
        return keras.tree.flatten(self.operations[-1].output)[0].shape[1:]

    @property
    def parameters(self) -> int:
        """Number of weights, those that are not trained included."""
        return sum(op.count_params() for op in self.operations if isinstance(op, keras.Layer))

    @property
    def title(self) -> str:
        """What it is, such as "conv 5×5"."""
        sizes = [getattr(self.main, name, None) for name in ("kernel_size", "pool_size")]
        sizes = [n if isinstance(n, tuple) else (n, n) for n in sizes if n]
        strides = getattr(self.main, "strides", 1)
        strides = strides[0] if isinstance(strides, tuple) else strides
        words = [words_of(self.main), *("×".join(map(str, n)) for n in sizes)]
        slides = hasattr(self.main, "kernel_size") and strides > 1
        return " ".join(words + [f"/{strides}"] * slides)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Text and its colour, line by line: title, details, shape, parameters."""
        texts = [*textwrap.wrap(self.title, 15), *textwrap.wrap(self.details, 17)]
        shape = "×".join("?" if n is None else str(n) for n in self.shape)
        count = [(f"{self.parameters:,}", BLUE)] * (self.parameters > 0)
        return [(text, INK) for text in texts] + [(shape, "#6b7280")] + count

    @property
    def details(self) -> str:
        """What else is done in it, in order."""
        found = [words_of(op) for op in self.operations if op is not self.main]
        activation = getattr(getattr(self.main, "activation", None), "__name__", "linear")
        return ", ".join(found + [activation] * (activation != "linear"))


def is_small(operation: keras.Operation) -> bool:
    """Whether it is named in another's box."""
    return type(operation).__name__ in SMALL


def words_of(operation: keras.Operation) -> str:
    """A layer's type in plain words: GlobalAveragePooling2D -> "global average pooling"."""
    name = type(operation).__name__
    if name == "Activation":
        return operation.activation.__name__
    if isinstance(operation, keras.Model):
        return operation.name
    name = re.sub("Normalization", "Norm", re.sub("(Layer|[123]D)$", "", name))
    return re.sub("(?<=[a-z])(?=[A-Z][a-z])", " ", name).lower()


def boxes_of(model: keras.Model) -> list[Box]:
    """The boxes of a functional model, sources first.

    A layer that only rearranges, activates, normalises or drops joins the box before it; where
    others use that box too, or the layer prepares for the next (padding, flattening), the one
    behind it.
    """
    operations = getattr(model, "operations", None)
    wanted = "must be a functional Keras model: its layers are its graph"
    check(operations, "model", type(model).__name__, wanted)
    maker = {id(t): op for op in operations for t in keras.tree.flatten(op.output)}
    inputs = {
        id(op): [maker[id(t)] for t in keras.tree.flatten(op.input) if id(t) in maker]
        for op in operations
        if not isinstance(op, keras.layers.InputLayer)
    }
    uses = [id(source) for sources in inputs.values() for source in sources]
    boxes, box_of = [], {}
    for op in operations:
        sources = list(dict.fromkeys(box_of[id(source)] for source in inputs.get(id(op), [])))
        before = sources[0] if len(sources) == 1 else None
        if before and before.sources and uses.count(id(before.operations[-1])) == 1:
            waits = all(map(is_small, before.operations))
            if waits or (is_small(op) and type(op).__name__ not in LAYOUT):
                before.operations.append(op)
                box_of[id(op)] = before
                continue
        box_of[id(op)] = Box(op, sources)
        boxes.append(box_of[id(op)])

    # The longest path lies in lane 0; what goes past it lies above.
    path, box = [], max(boxes, key=lambda b: b.column)
    while box:
        path.append(box)
        box = max(box.sources, key=lambda b: b.column, default=None)
    for column in range(len(path)):
        beside = [b for b in boxes if b.column == column and b not in path]
        for lane, box in enumerate(beside, start=1):
            box.lane = lane
    return boxes


def rows_of(boxes: list[Box], most: int = COLUMNS) -> list[range]:
    """Columns in rows of at most `most`, broken only where a single box's output crosses."""
    last = max(b.column for b in boxes)
    ends = []
    for c in range(last + 1):
        crossing = {s for b in boxes for s in b.sources if s.column <= c < b.column}
        if all(s.column == c and s.lane == 0 for s in crossing):
            ends.append(c)
    rows, start = [], 0
    while start <= last:
        end = max((c for c in ends if start <= c < start + most), default=None)
        end = min(c for c in ends if c >= start) if end is None else end
        rows.append(range(start, end + 1))
        start = end + 1
    return rows


def draw(model: keras.Model) -> Figure:
    """The layers of a functional model as boxes, with output shapes and numbers of parameters.

    A box is as tall as its picture and as wide as its channels are many (logarithm); a vector is
    a thin box. Those with parameters are blue. "/2" is a stride. A layer that is called twice is
    drawn once.

    Raises:
        ValueError: a model without a graph of layers.
    """
    boxes = boxes_of(model)
    rows = rows_of(boxes)
    tops = [_top([b for b in boxes if b.column in row]) for row in rows]
    bottoms = [
        0.6 + LINE * max(len(b.lines) for b in boxes if b.column in row and not b.lane)
        for row in rows
    ]
    heights = [top + bottom for top, bottom in zip(tops, bottoms, strict=True)]
    columns = max(3.2, *map(len, rows)) + 0.3
    total = sum(heights) + 0.4
    made, axes = figure(1.05 * columns, total, len(rows), 1)
    made.set_layout_engine("none")
    high = total - 0.4
    for ax, row, top, height in zip(axes, rows, tops, heights, strict=True):
        high -= height
        ax.set_position((0, high / total, 1, height / total))
        ax.set_xlim(-0.8, columns - 0.8)
        ax.set_ylim(top - height, top)
        ax.set_axis_off()
        _draw_row(ax, row, boxes)
    title = f"{model.name}: {model.count_params():,} parameters"
    made.suptitle(title, fontsize=11, color=INK, y=1 - 0.12 / total)
    return made


def _top(boxes: list[Box]) -> float:
    """Height of a row above the middle of its main line."""
    above = [_middle(b) + 0.5 + LINE * len(b.lines) for b in boxes if b.lane]
    past = [0.75 for b in boxes for s in b.sources if b.column - s.column > 1]
    return max([0.5, *above, *past])


def _middle(box: Box) -> float:
    """How far up a box lies: the text of lane 0 is below its boxes, that of others above."""
    return 1.2 * box.lane + 0.6 * max(0, box.lane - 1)


def _draw_row(ax: Axes, row: range, boxes: list[Box]) -> None:
    tallest = max((b.shape[0] or 1 for b in boxes if len(b.shape) > 1), default=1)
    widest = max((b.shape[-1] or 1 for b in boxes if b.shape), default=1)

    def place(box: Box) -> tuple[float, float, float, float]:
        """(x, y, width, height) of a box; what comes from the row above is a point on the left."""
        if box.column < row.start:
            return -0.65, 0.0, 0.0, 0.0
        x, y = box.column - row.start, _middle(box)
        share = math.log1p(box.shape[-1] or 1 if box.shape else 1) / math.log1p(widest)
        if len(box.shape) > 1:
            return x, y, 0.1 + 0.45 * share, 0.15 + 0.75 * (box.shape[0] or 1) / tallest
        return x, y, 0.12, 0.15 + 0.75 * share

    for box in boxes:
        if box.column not in row:
            continue
        x, y, w, h = place(box)
        face = "#dbe7fd" if box.parameters else "#f3f4f6" if box.sources else "white"
        edge = BLUE if box.parameters else GREY
        corner = (x - w / 2, y - h / 2)
        ax.add_patch(Rectangle(corner, w, h, facecolor=face, edgecolor=edge, linewidth=1.2))
        top = y + h / 2 + 0.03 + LINE * len(box.lines) if box.lane else y - 0.52
        for i, (line, colour) in enumerate(box.lines):
            ax.text(x, top - LINE * i, line, ha="center", va="top", fontsize=8, color=colour)
        for source in box.sources:
            a, b, v, g = place(source)
            span = box.column - max(source.column, row.start - 1)
            if b == y and span == 1:
                points = [(a + v / 2, y), (x - w / 2, y)]
            elif b < y:
                points = [(a + 0.1, b + g / 2), (a + 0.1, y), (x - w / 2, y)]
            elif b > y:
                points = [(a + v / 2, b), (x - 0.1, b), (x - 0.1, y + h / 2)]
            else:
                over = min(y + 0.52 + 0.03 * span, y + 0.7)
                points = [(a + 0.1, b + g / 2), (a + 0.1, over), (x - 0.1, over)]
                points += [(x - 0.1, y + h / 2)]
            ax.add_patch(
                FancyArrowPatch(
                    path=Path(points), arrowstyle="-|>", mutation_scale=9, color=GREY, linewidth=1.1
                )
            )
        if box.column == row[-1] and box.lane == 0 and row[-1] < max(b.column for b in boxes):
            ax.plot([x + w / 2, x + 0.45], [y, y], color=GREY, linewidth=1.1)
