"""Patterns of -1 and +1 for associative memories, and spoilt copies of them to recall from.

The training part is the patterns themselves. The validation and the test part are copies in which
a share of the values is turned over; their targets are the patterns. All are float32 (n, *shape).
"""

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check
from recipes.contract.arguments import VOCABULARY, check_vocabulary
from recipes.data import arrays
from recipes.data.core import Data, Source, assemble

WANTED = (
    "needs one array (n, ...) of patterns of equal length, of -1 and +1, 0 and 1, or booleans, "
    "without labels"
)

# Letters as lines between points, each a column 0 .. 4 and a row 0 .. 6 from the top left. Each is
# as unlike those before it as can be: Hebb's rule keeps the first seven, and loses them in more.
LETTERS = {
    "W": "00-16-23-36-40",
    "A": "06-20-46 14-34",
    "F": "40-00-06 03-33",
    "Y": "00-23-40 23-26",
    "Q": "10-30-41-45-36-16-05-01-10 24-46",
    "M": "06-00-23-40-46",
    "Z": "00-40-06-46",
    "K": "00-06 40-03-46",
    "L": "00-06-46",
    "J": "40-45-36-16-05",
    "D": "00-06-26-44-42-20-00",
    "S": "41-30-10-01-02-13-33-44-45-36-16-05",
    "X": "00-46 40-06",
    "T": "00-40 20-26",
    "V": "00-26-40",
    "R": "06-00-30-41-42-33-03 23-46",
    "C": "41-30-10-01-05-16-36-45",
    "E": "40-00-06-46 03-33",
    "B": "00-06-36-45-44-33-03 33-42-41-30-00",
    "H": "00-06 40-46 03-43",
    "U": "00-05-16-36-45-40",
    "I": "00-40 20-26 06-46",
    "N": "06-00-46-40",
    "P": "06-00-30-41-42-33-03",
    "G": "41-30-10-01-05-16-36-45-43-23",
    "O": "10-30-41-45-36-16-05-01-10",
}
SIZE, PEN = 16, 0.62  # pixels in height and width; half the width of a line, in columns


class PatternTransform:
    """Raw patterns, or grey pictures, to patterns of -1 and +1.

    Args:
        input_shape: of one pattern.
        threshold: raw values from here on become +1, the others -1.
    """

    def __init__(self, input_shape: Sequence[int], threshold: float):
        self.input_shape, self.threshold = tuple(input_shape), threshold
        self.image_size, self.channels = self.input_shape[:-1], self.input_shape[-1]

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """(n, *input_shape), raw -> the same shape, float32."""
        raw = np.asarray(raw)
        check(not np.isnan(raw).any(), "raw", "an array", "holds NaN")
        return np.where(raw >= self.threshold, 1, -1).astype("float32")

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """Picture files -> patterns: what is brighter than half of white becomes +1.

        Raises:
            ValueError: a file that is no picture; no files; patterns that are no pictures.
        """
        from recipes.data.pictures import read_picture

        check(len(paths), "paths", paths, "needs at least one picture")
        flat = len(self.input_shape) != 3 or self.channels not in (1, 3)
        wanted = "pictures are no input of this model; call it on arrays"
        check(not flat, "input_shape", self.input_shape, wanted)
        raw = np.stack([read_picture(path, self.image_size, self.channels) for path in paths])
        return np.where(raw >= 127.5, 1, -1).astype("float32")

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {"input_shape": list(self.input_shape), "threshold": self.threshold}


TRANSFORM = PatternTransform


def _letters() -> Source:
    x = np.stack([_draw(strokes) for strokes in LETTERS.values()])
    return Source("letters", x, None, licence="that of recipes", citation="drawn for recipes")


def _draw(strokes: str) -> np.ndarray:
    """One letter, int8 (SIZE, SIZE, 1): +1 where a pen of width 2 PEN passes along the lines."""
    centre = (np.arange(SIZE) + 0.5) / SIZE
    at = np.stack(np.meshgrid(5.6 * centre - 0.8, 7.6 * centre - 0.8), axis=-1)  # (row, column, 2)
    ink = np.zeros((SIZE, SIZE), bool)
    for line in strokes.split():
        points = np.array([(int(x), int(y)) for x, y in line.split("-")], float)
        for start, way in zip(points, np.diff(points, axis=0), strict=False):
            along = ((at - start) @ way / (way @ way)).clip(0, 1)  # of the nearest point
            ink |= np.linalg.norm(at - start - along[..., None] * way, axis=-1) < PEN
    return np.where(ink, 1, -1).astype("int8")[..., None]


def random_patterns(count: int, shape: Sequence[int], seed: Any = 0) -> np.ndarray:
    """Patterns of which each value is -1 or +1 with equal chance: int8 (count, *shape)."""
    draws = np.random.default_rng(seed).integers(0, 2, (count, *shape), "int8")
    return 2 * draws - 1


def _random(count: int = 10, shape: Sequence[int] = (100,), seed: int = 0) -> Source:
    x = random_patterns(count, shape, (seed, 0))
    return Source("random", x, None, licence="none needed", citation="drawn by the seed")


def corrupt(x: np.ndarray, flip: float, seed: Any = 0) -> np.ndarray:
    """Copies of patterns x (n, ...) with a share `flip` of each one's values turned over."""
    spoilt = np.array(x).reshape(len(x), -1)
    lots = np.random.default_rng(seed).random(spoilt.shape).argsort(axis=1)
    chosen = lots[:, : round(flip * spoilt.shape[1])]
    np.put_along_axis(spoilt, chosen, -np.take_along_axis(spoilt, chosen, axis=1), axis=1)
    return spoilt.reshape(np.shape(x))


EMBEDDED = {"letters": _letters, "random": _random}


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    count: int | None = None,
    flip: float = 0.1,
    copies: int = 10,
    shape: tuple[int, ...] | None = None,
    image_size: int | tuple[int, int] | None = None,
    data_dir: str | None = None,
    cache_bytes: int = 2**31,
) -> Data:
    """Load patterns.

    Args:
        source: "letters" (26, of 16x16 pixels) or "random"; an array of patterns, of -1 and +1, 0
            and 1, or booleans; or images as `recipes.data.images` reads them, such as "mnist5k":
            grey, of which what is brighter than half becomes +1.
        batch_size: patterns in a batch.
        seed: of random patterns, of the values turned over, and of the order.
        count: patterns taken, the first ones, and of images one of each class in turn; by default
            6 letters, 10 random ones, one image a class, and otherwise all.
        flip: share of the values of each copy that are turned over, in [0, 0.5].
        copies: of each pattern, in the validation and in the test part.
        shape: of random patterns; default (100,).
        image_size: height and width to scale images to.
        data_dir: where TensorFlow Datasets are prepared; default `TFDS_DATA_DIR`, then
            `~/tensorflow_datasets`.
        cache_bytes: a larger set of images is read as it is needed.

    Returns:
        `Data` whose batches are x float32 (n, *shape), a pattern or a copy of it, and y, the
        pattern.

    Raises:
        ValueError: a source that is not there or holds no patterns, or an option out of its range.
    """
    known = {"batch_size": batch_size, "seed": seed, "count": count}
    check_vocabulary(known, optional=("count",))
    fits, wanted = VOCABULARY["input_shape"]
    check(shape is None or fits(shape), "shape", shape, wanted)
    whole = isinstance(copies, int) and not isinstance(copies, bool) and copies >= 1
    check(whole, "copies", copies, "must be a positive integer")
    share = isinstance(flip, Real) and not isinstance(flip, bool) and 0 <= flip <= 0.5
    check(share, "flip", flip, "must be a number in [0, 0.5]")
    is_random = isinstance(source, str) and source == "random"
    check(is_random or shape is None, "shape", shape, "is for random patterns only")

    threshold = 0.0
    if arrays.origin_of(source) != "name":
        found, threshold = _from_arrays(source)
    elif is_random:
        found = _random(count or 10, shape or (100,), seed)
    elif source == "letters":
        found, count = _letters(), count or 6
    else:
        places = {"data_dir": data_dir, "cache_bytes": cache_bytes}
        found, threshold = _from_images(source, count, seed=seed, image_size=image_size, **places)
    held, count = len(found.x), count or len(found.x)
    check(count <= held, "count", count, f"{found.name} holds {held} patterns")

    x = found.x[:count].astype("float32")
    found.y = np.tile(x, (1 + 2 * copies,) + (1,) * (x.ndim - 1))
    spoilt = [corrupt(found.y[: count * copies], flip, (seed, part)) for part in (1, 2)]
    found.x = np.concatenate([x, *spoilt])
    ends = [count, count * (1 + copies)]
    parts = np.split(np.arange(len(found.x)), ends)
    return assemble(
        found,
        "patterns",
        dict(zip(("train", "validation", "test"), parts, strict=True)),
        PatternTransform(x.shape[1:], threshold),
        {"input_shape": x.shape[1:], "num_patterns": count},
        batch_size=batch_size,
        seed=seed,
        of_batch=np.asarray,  # they are ready
    )


def _from_arrays(source: Any) -> tuple[Source, float]:
    """Patterns of an array, and the threshold between its two values."""
    what = type(source).__name__
    alone = not (arrays.is_dataset(source) or isinstance(source, dict) or hasattr(source, "iloc"))
    check(alone, "source", f"a {what}", WANTED)
    try:
        x = np.asarray(source)
    except ValueError:
        raise ValueError(f"source: patterns of unequal lengths; {WANTED}") from None
    fits = x.ndim >= 2 and x.size and x.dtype.kind in "biuf"
    check(fits, "source", f"{x.dtype} array of shape {x.shape}", WANTED)
    check(not np.isnan(x).any(), "source", "an array with NaN", WANTED)
    ones, zeros = (set(values) for values in ((-1, 1), (0, 1)))
    values = set(np.unique(x).tolist())
    some = ", ".join(f"{value:g}" for value in sorted(values)[:4])
    binary = values <= ones or values <= zeros
    check(binary, "source", f"an array with the values {some} ...", WANTED)
    threshold = 0.0 if values <= ones else 0.5
    return Source("arrays", np.where(x >= threshold, 1, -1), None), threshold


def _from_images(source: str, count: int | None, **options: Any) -> tuple[Source, float]:
    """Patterns of the training part of images, one of each class in turn, and their threshold."""
    from recipes.data.images import load_unit

    data = load_unit(source, ("images",), channels=1, **options)
    labels, part = data.train.targets, data.train.indices
    if labels is not None:
        turn = np.empty(len(labels), int)  # the how many-th of its class each is
        for label in np.unique(labels):
            turn[labels == label] = np.arange((labels == label).sum())
        part = part[np.lexsort((labels, turn))]
        count = count or len(data.class_names)
    part = part[:count]
    threshold = 0.5 / data.transform.scale
    x = np.where(data.train.x[part] >= threshold, 1, -1)
    return Source(data.name, x, None, None, licence=data.licence, citation=data.citation), threshold
