"""Plots of a training, as Matplotlib figures without global state: nothing here uses pyplot."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, GREY, INK = "#2563eb", "#ea7317", "#9ca3af", "#1f2937"
# What metrics that are better higher are called.
RISING = ("accuracy", "auc", "precision", "bits", "recalled", "return", "fitness")
CLASSES = colormaps["tab10"]
BLUES = LinearSegmentedColormap.from_list("recipes", ["#ffffff", "#bfd3fb", BLUE, "#12296b"])


def figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list]:
    """An empty figure in inches and its axes in reading order, in the package's style."""
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = list(np.ravel(made.subplots(rows, columns, squeeze=False)))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(colors=INK, labelsize=9)
        ax.title.set_fontsize(11)
    return made, axes


def save(made: Figure, path: str | Path) -> Path:
    """Write a figure as PNG at 150 dots an inch."""
    made.savefig(path, dpi=150)
    return Path(path)


def save_frames(frames: Sequence[np.ndarray], path: str | Path, most: int = 200) -> Path:
    """Write pictures, uint8 (height, width, 3), as a GIF that repeats: `most` of them at most.

    They are no wider than 320 pixels. Each is shown for 40 ms, one that stands for several longer.
    """
    from PIL import Image

    every = math.ceil(len(frames) / most)
    shown = [Image.fromarray(frame) for frame in frames[::every]]
    scale = min(1, 320 / shown[0].width)
    size = round(scale * shown[0].width), round(scale * shown[0].height)
    # One palette for all: what does not move is then the same in each, and stored once.
    palette = shown[len(shown) // 2].resize(size).quantize(64)
    shown = [picture.resize(size).quantize(palette=palette, dither=0) for picture in shown]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=40 * min(every, 3), loop=0)
    return Path(path)


def strip(frames: Sequence[np.ndarray], count: int = 8) -> Figure:
    """Pictures of an episode at equal distances, the first and the last included."""
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    height, width = frames[0].shape[:2]
    rows = math.ceil(len(chosen) / 4)
    made, axes = figure(10, rows * (2.4 * height / width + 0.3), rows, 4)
    for ax in axes:
        ax.set_axis_off()
    for ax, i in zip(axes, chosen, strict=False):
        ax.imshow(frames[i])
        ax.set_title(f"step {i}", fontsize=9, color=INK)
    return made


def learning_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Each metric over the epochs, training and validation in one panel.

    Args:
        history: metric to its values, one for each epoch, as in `History.history`.
    """
    names = [k for k in history if not k.startswith("val_") and k not in ("epoch", "learning_rate")]
    made, axes = figure(4.6 * len(names), 3.4, 1, len(names))
    for ax, name in zip(axes, names, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        marker = "o" if len(epochs) < 30 else None
        ax.plot(epochs, history[name], color=GREY, marker=marker, markersize=3, label="training")
        validation = history.get(f"val_{name}")
        if validation is not None:
            ax.plot(epochs, validation, color=BLUE, marker=marker, markersize=4, label="validation")
            rises = any(word in name for word in RISING)
            best = int(np.argmax(validation) if rises else np.argmin(validation))
            ax.annotate(
                f"{validation[best]:.4g}",
                (epochs[best], validation[best]),
                xytext=(0, -14 if rises else 8),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color=BLUE,
            )
        ax.set_title(name)
        ax.set_xlabel("epoch", color=INK)
        ax.grid(axis="y", color="#e5e7eb", linewidth=0.8)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.margins(y=0.15)
        ax.legend(frameon=False, fontsize=9)
    return made


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """How often each class (row) was taken for each class (column).

    Args:
        truth: labels, int (n,).
        predicted: labels, int (n,).
        class_names: names of the labels 0, 1, ...
    """
    count = len(class_names)
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (truth, predicted), 1)
    side = min(12.0, 2.4 + 0.45 * max(count, 4))
    made, (ax,) = figure(side + 0.6, side)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap=BLUES, vmin=0, vmax=1)
    if count <= 30:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            color = "white" if share[row, column] > 0.5 else INK
            ax.text(
                column, row, matrix[row, column], ha="center", va="center", color=color, fontsize=8
            )
        ax.set_xticks(
            range(count),
            class_names,
            rotation=45 if _wide(class_names) else 0,
            ha="right" if _wide(class_names) else "center",
        )
        ax.set_yticks(range(count), class_names)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    ax.set_title(f"{accuracy:.2%} of {matrix.sum():,} right")
    ax.set_xlabel("predicted", color=INK)
    ax.set_ylabel("true", color=INK)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return made


def _wide(names: Sequence[str]) -> bool:
    return max(map(len, names)) > 3


def mistakes(
    images: np.ndarray,
    truth: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    most: int = 24,
) -> Figure:
    """The misclassified pictures, those first that the network was surest of.

    Args:
        images: raw pictures, (n, height, width, channels), of any range.
        truth: labels, int (n,).
        probabilities: (n, classes).
        class_names: names of the labels.
        most: pictures shown.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    sureness = probabilities[wrong, predicted[wrong]]
    chosen = wrong[np.argsort(-sureness, kind="stable")][:most]
    columns = min(8, max(4, len(chosen)))
    rows = max(1, math.ceil(len(chosen) / columns))
    made, axes = figure(1.35 * columns, 1.75 * rows + 0.4, rows, columns)
    for ax in axes:
        ax.set_axis_off()
    for ax, index in zip(axes, chosen, strict=False):
        show(ax, images[index])
        label = predicted[index]
        ax.set_title(
            f"{class_names[label]}  {probabilities[index, label]:.0%}\ntrue: "
            f"{class_names[truth[index]]}",
            fontsize=8,
            color=INK,
        )
    made.suptitle(f"{len(wrong):,} of {len(truth):,} wrong; the surest mistakes", fontsize=11)
    return made


def show(ax: Axes, image: np.ndarray) -> None:
    """One raw picture, (height, width, channels), grey or colour, of any range."""
    image = np.asarray(image, "float32")
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        low, high = (0.0, 255.0) if low >= 0 and high <= 255 else (low, high)
        image = (image - low) / max(high - low, 1e-6)
    if image.shape[-1] == 1:
        ax.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)
    else:
        ax.imshow(image)


def pictures(
    images: np.ndarray,
    columns: int,
    titles: Sequence[str] = (),
    rows: Sequence[str] = (),
    value_range: tuple[float, float] | None = (0.0, 1.0),
) -> Figure:
    """Pictures side by side, in reading order.

    Args:
        images: (n, height, width, channels), grey or colour.
        columns: pictures in a row.
        titles: above the first pictures.
        rows: what each row shows, to the left of it.
        value_range: shown as the darkest ink and as paper, reversed for grey; None: each
            picture's own, symmetric about zero, as weights are shown.
    """
    images = np.asarray(images, "float32")
    count = math.ceil(len(images) / columns)
    size = min(1.0, 11 / columns)
    width = size * columns + (0.9 if rows else 0)
    made, axes = figure(width, size * count + (0.3 if len(titles) else 0), count, columns)
    made.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    for ax, image in zip(axes, images, strict=False):
        if value_range is None:
            most = max(float(np.abs(image).max()), 1e-6)
            shown, low, high = image.mean(axis=-1), -most, most
            ax.imshow(shown, cmap="RdBu", vmin=low, vmax=high)
            continue
        low, high = value_range
        if image.shape[-1] == 1:
            ax.imshow(image[..., 0], cmap="gray_r", vmin=low, vmax=high)
        else:
            ax.imshow(((image - low) / (high - low)).clip(0, 1))
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize=8, color=INK)
    for ax, text in zip(axes[::columns], rows, strict=False):
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, color=INK)
    return made


def scatter(points: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str]) -> Figure:
    """Points of a plane, (n, 2), coloured by label."""
    made, (ax,) = figure(5.6, 4.8)
    if labels is None:
        ax.scatter(*points.T, s=5, color=BLUE, alpha=0.5, linewidths=0)
    for label, name in enumerate(class_names if labels is not None else ()):
        of_label = points[labels == label]
        color = CLASSES(label % 10)
        ax.scatter(*of_label.T, s=5, color=color, alpha=0.7, linewidths=0, label=name)
    if labels is not None and len(class_names) <= 20:
        ax.legend(frameon=False, fontsize=8, markerscale=3, loc="center left",
                  bbox_to_anchor=(1, 0.5))  # fmt: skip
    return made


def attention(
    weights: np.ndarray, tokens: Sequence[str], memory: Sequence[str] | None = None
) -> Figure:
    """Who looks at whom: a panel for each layer (downwards) and head.

    Args:
        weights: (layers, heads, queries, keys), rows of sum 1.
        tokens: a text for each position that looks.
        memory: for each position that is looked at; None: the same.
    """
    num_layers, heads, *_ = weights.shape
    side = 10 / max(heads, 4)
    made, axes = figure(side * heads, side * num_layers + 0.3, num_layers, heads)
    for i, ax in enumerate(axes):
        layer, head = divmod(i, heads)
        _looks(ax, weights[layer, head], tokens, tokens if memory is None else memory)
        ax.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
    made.supxlabel("position looked at", fontsize=9, color=INK)
    made.supylabel("looks", fontsize=9, color=INK)
    return made


def alignments(
    examples: Sequence[tuple[np.ndarray, Sequence[str], Sequence[str]]], columns: int = 2
) -> Figure:
    """Where a decoder looked when it wrote, a panel for each example.

    Args:
        examples: weights (written, read), rows of sum 1; the tokens written; the tokens read.
        columns: panels in a row.
    """
    rows = math.ceil(len(examples) / columns)
    made, axes = figure(10, 5.5 / columns * 1.1 * rows + 0.4, rows, columns)
    for ax, (weights, written, read) in zip(axes, examples, strict=False):
        _looks(ax, weights, written, read)
    for ax in axes[len(examples) :]:
        ax.axis("off")
    made.supxlabel("read", fontsize=9, color=INK)
    made.supylabel("written", fontsize=9, color=INK)
    return made


def _looks(ax: Axes, weights: np.ndarray, tokens: Sequence[str], memory: Sequence[str]) -> None:
    """Weights (queries, keys) as shades, with the tokens at both sides where there are few."""
    sides = [[visible(t) for t in side] for side in (memory, tokens)]
    few = max(map(len, sides)) <= 48
    ax.imshow(weights, cmap=BLUES, vmin=0, vmax=1, aspect="auto")
    for put, side, turn in zip((ax.set_xticks, ax.set_yticks), sides, (90, 0), strict=True):
        turn = 0 if max(map(len, side), default=0) == 1 else turn
        put(range(len(side)) if few else [], side if few else [], fontsize=7, rotation=turn)
    ax.tick_params(length=0, pad=1)


def coloured_texts(
    texts: Mapping[str, tuple[Sequence[str], Sequence[float] | None]], columns: int = 96
) -> Figure:
    """Texts in lines of equally wide letters, each token on a ground that tells a number.

    Args:
        texts: title to the tokens of a text and a number of at least 0 for each, or None.
        columns: letters in a line.
    """
    parts = {}
    for title, (tokens, values) in texts.items():
        placed, row, column = [], 0, 0
        for i, token in enumerate(tokens):
            shown = visible(token)
            if column and column + len(shown) > columns:
                row, column = row + 1, 0
            placed.append((row, column, shown, None if values is None else values[i]))
            column += len(shown)
            if "\n" in token:
                row, column = row + 1, 0
        parts[title] = (placed, row + 1)
    letter, line = 0.082, 0.19  # inches
    heights = [line * (rows + 1) + 0.35 for _, rows in parts.values()]
    made = Figure(figsize=(letter * columns + 0.3, sum(heights)), facecolor="white",
                  layout="constrained")  # fmt: skip
    axes = np.ravel(made.subplots(len(parts), 1, height_ratios=heights, squeeze=False))
    for ax, (title, (placed, rows)) in zip(axes, parts.items(), strict=True):
        ax.set(xlim=(0, columns), ylim=(rows, 0))
        ax.set_title(title, fontsize=10, loc="left", color=INK)
        ax.axis("off")
        for row, column, shown, value in placed:
            if value is not None:
                ground = BLUES(min(1.0, value / 6) * 0.6)
                ax.add_patch(Rectangle((column, row), len(shown), 1, color=ground, lw=0))
            for i, sign in enumerate(shown):
                ax.text(column + i + 0.5, row + 0.5, sign, fontsize=8, family="monospace",
                        ha="center", va="center", color=INK, parse_math=False)  # fmt: skip
    return made


def visible(token: str) -> str:
    """A token as it can be drawn: ends of lines as a sign, what cannot be drawn as a dot."""
    token = token.replace("\n", "¶").replace("\t", " ")
    return "".join(sign if sign.isprintable() else "·" for sign in token)


def predicted_against_true(truth: np.ndarray, predicted: np.ndarray) -> Figure:
    """A regression's predictions against the truth, both (n,), in the target's own units."""
    made, (ax,) = figure(4.6, 4.4)
    ax.scatter(truth, predicted, s=14, color=BLUE, alpha=0.5, linewidths=0)
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    ax.plot(ends, ends, color=GREY, linewidth=1)
    residual = float(((truth - predicted) ** 2).sum())
    total = float(((truth - truth.mean()) ** 2).sum()) or 1.0
    ax.set_title(f"test part: R² = {1 - residual / total:.3f}")
    ax.set_xlabel("true", color=INK)
    ax.set_ylabel("predicted", color=INK)
    return made
