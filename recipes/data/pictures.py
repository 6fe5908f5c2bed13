"""Picture files: one at a time, many that are read as they are needed, and a folder a class."""

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data.core import Source
from recipes.data.folders import read_classes

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
DEFAULT_SIZE = (64, 64)  # where pictures differ in size
GREY_MODES = ("1", "L", "LA", "La")  # Pillow's; and "I...", which is 16 bits
WORKERS = 4  # threads that read pictures; Pillow decodes without holding the interpreter
CHUNK = 256  # pictures read at once


def read_picture(
    file: Any, image_size: tuple[int, int] | None, channels: int, name: object = None
) -> np.ndarray:
    """One picture as uint8 (height, width, channels): scaled to cover `image_size`, then cropped.

    Args:
        file: a path, or an open file.
        image_size: (height, width); None keeps the picture's own.
        channels: 1 for grey, 3 for colour; transparency is ignored.
        name: of the file, for the error.

    Raises:
        ValueError: the file cannot be read as a picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise ValueError("32-bit floats of unknown range; save it as PNG")
            if image.mode.startswith("I"):  # 16 bits, of which the upper 8 are kept
                high = np.asarray(image) >> 8
                image = Image.fromarray(high.clip(0, 255).astype("uint8"))
            image = image.convert("L" if channels == 1 else "RGB")
            if image_size and image.size != image_size[::-1]:
                image = ImageOps.fit(image, image_size[::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except Exception as error:  # Pillow raises errors of many kinds on a damaged file
        raise ValueError(f"{name or file}: not a readable picture ({error})") from None
    return pixels[..., None] if channels == 1 else pixels


class Pictures:
    """Pictures that are read when they are asked for, indexed like an array.

    Args:
        read: numbers of pictures to a list of uint8 arrays (height, width, channels).
        count: number of pictures.
        image_size: (height, width) of all of them.
        channels: 1 or 3.
    """

    def __init__(
        self,
        read: Callable[[list[int]], list[np.ndarray]],
        count: int,
        image_size: tuple[int, int],
        channels: int,
    ):
        self.read = read
        self.shape, self.dtype = (count, *image_size, channels), np.dtype("uint8")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> np.ndarray:
        """uint8 (len(indices), height, width, channels)."""
        return np.stack(self.read(np.arange(len(self))[indices].tolist()))

    def in_memory(self, cache_bytes: int) -> "np.ndarray | Pictures":
        """All pictures as one array where it takes at most `cache_bytes`, else these."""
        if math.prod(self.shape) > cache_bytes:
            return self
        pixels = np.empty(self.shape, self.dtype)

        def fill(start: int) -> None:
            numbers = range(start, min(start + CHUNK, len(self)))
            pixels[start : start + CHUNK] = self.read(list(numbers))

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(fill, range(0, len(self), CHUNK)))
        return pixels


def read_folder(
    folder: Path,
    image_size: tuple[int, int] | None,
    channels: int | None,
    on_corrupt: str,
    cache_bytes: int,
    labelled: bool = True,
) -> Source:
    """One sub-folder a class, or parts (`train`, `validation` or `val`, `test`) of such.

    Where labels are not needed, pictures that lie in no sub-folders have none.
    """
    found = read_classes(folder, EXTENSIONS, "pictures", labelled)
    names = [name for name in found["train"] if name]
    paths, labels, part_of = [], [], []
    for part, classes in found.items():
        for name, files in classes.items():
            paths += files
            labels += [names.index(name) if names else 0] * len(files)
            part_of += [part] * len(files)

    with ThreadPoolExecutor(WORKERS) as pool:
        looks = [look for look in pool.map(_look, paths) if look]
    if image_size is None:
        sizes = {size for size, _ in looks}
        image_size = sizes.pop() if len(sizes) == 1 else DEFAULT_SIZE
    if channels is None:
        channels = 1 if all(grey for _, grey in looks) else 3

    # Every picture is read once here, so that one cut short is not found in the midst of training.
    shape = (len(paths), *image_size, channels)
    pixels = np.empty(shape, "uint8") if math.prod(shape) <= cache_bytes else None

    def read(i: int) -> str | None:
        try:
            picture = read_picture(paths[i], image_size, channels)
        except ValueError as error:
            return str(error)
        if pixels is not None:
            pixels[i] = picture
        return None

    with ThreadPoolExecutor(WORKERS) as pool:
        errors = list(pool.map(read, range(len(paths))))
    good = [i for i, error in enumerate(errors) if error is None]
    if len(good) < len(paths):
        _report([error for error in errors if error], on_corrupt)
        paths = [paths[i] for i in good]
        pixels = None if pixels is None else pixels[good]
    y = np.array([labels[i] for i in good], "int32")
    for label, name in enumerate(names):
        if label not in y:
            raise ValueError(
                f"{found['train'][name][0].parent}: no readable picture; needs at least one"
            )

    def read_some(numbers: Sequence[int]) -> list[np.ndarray]:
        return [read_picture(paths[i], image_size, channels) for i in numbers]

    x = Pictures(read_some, len(paths), image_size, channels) if pixels is None else pixels
    part_of = np.array([part_of[i] for i in good])
    given = {name: np.flatnonzero(part_of == name) for name in found if name != "train"}
    labels = (y, tuple(names)) if names else (None, None)
    return Source(folder.resolve().name, x, *labels, **given)


def _report(errors: list[str], on_corrupt: str) -> None:
    message = errors[0] + (f", and {len(errors) - 1} more" if len(errors) > 1 else "")
    if on_corrupt == "error":
        raise ValueError(f"{message}; repair or remove it, or pass on_corrupt='skip'")
    warnings.warn(f"skipped {message}", stacklevel=4)


def _look(path: Path) -> tuple[tuple[int, int], bool] | None:
    """((height, width), whether it is grey) from a picture's head; None where that is damaged."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # the camera was held upright
                width, height = height, width
            return (height, width), image.mode in GREY_MODES or image.mode.startswith("I")
    except Exception:  # `read_picture` says what is wrong
        return None
