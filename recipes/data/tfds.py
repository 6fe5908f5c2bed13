"""TensorFlow Datasets that are prepared on this machine, read without touching the network.

Sets in array_record format are read without TensorFlow; those in TFRecord format need it
installed, whatever the backend.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import unknown
from recipes.data.core import Source


def data_dir_of(data_dir: str | None) -> Path:
    """The folder of prepared sets: the argument, `TFDS_DATA_DIR`, `~/tensorflow_datasets`."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared(data_dir: str | None = None) -> list[str]:
    """Names of the sets that lie ready in the folder."""
    folder = data_dir_of(data_dir)
    return sorted({path.relative_to(folder).parts[0] for path in folder.glob("*/**/features.json")})


def is_prepared(name: str, data_dir: str | None = None) -> bool:
    """Whether "name", "name/config" or "name:version" lies ready in the folder."""
    return bool(_versions(name, data_dir))


def _versions(name: str, data_dir: str | None) -> list[Path]:
    """Folders of the prepared versions of a set; none where the name cannot be a set's."""
    path, _, version = str(name).partition(":")
    if not re.fullmatch(r"[a-z0-9_]+(/[\w.-]+)?", path):
        return []
    found = [p.parent for p in (data_dir_of(data_dir) / path).glob("**/dataset_info.json")]
    return [p for p in found if not version or p.name == version]


def builder(name: str, data_dir: str | None = None) -> Any:
    """The read-only builder of a prepared set: "name", "name/config" or "name:version".

    Raises:
        ValueError: no such set, or it is not prepared; the message says how to prepare it.
    """
    found = _versions(name, data_dir)
    if not found:
        raise _not_prepared(str(name), data_dir_of(data_dir))
    import tensorflow_datasets as tfds

    latest = max(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)])
    return tfds.builder_from_directory(latest)


def _not_prepared(name: str, folder: Path) -> ValueError:
    import tensorflow_datasets as tfds

    from recipes import data

    if not re.fullmatch(r"[\w.:/-]+", name) or name.count("/") > 1 or name.startswith((".", "/")):
        return ValueError(f"source={name!r}: no such file or folder, and no name of a data set")
    known = tfds.list_builders(with_community_datasets=False)
    if re.split("[:/]", name)[0] in known:
        return ValueError(
            f"source={name!r} is a TensorFlow Datasets set that is not prepared in {folder}. "
            f"Prepare it once, with a network: tfds build {name} --data_dir {folder}"
        )
    error = unknown("data set", name, data.embedded())
    ready = ", ".join(prepared(str(folder))) or "none"
    near = unknown("", name, known).args[0].partition("Did you mean")
    hint = f" TensorFlow Datasets has{near[2].rstrip('?')}." if near[2] else ""
    return ValueError(
        f"{error.args[0]} Prepared TensorFlow Datasets in {folder}: {ready}.{hint} "
        "No file or folder has that name either."
    )


def keys_of(info: Any) -> tuple[str, str, str]:
    """(kind of data, key of x, key of the label) by the set's features.

    Raises:
        ValueError: neither labelled images nor a labelled table.
    """
    import tensorflow_datasets as tfds

    features = info.features
    supervised = info.supervised_keys or ()
    names = list(supervised) if len(supervised) == 2 else list(features)
    labels = [n for n in names if isinstance(features[n], tfds.features.ClassLabel)]
    images = [n for n in names if isinstance(features[n], tfds.features.Image)]
    if labels and images:
        return "images", images[0], labels[0]
    numbers = [
        n
        for n in names
        if type(features[n]) is tfds.features.Tensor
        and len(features[n].shape) == 1
        and np.issubdtype(features[n].np_dtype, np.number)
    ]
    if labels and numbers:
        return "tables", numbers[0], labels[0]
    raise ValueError(
        f"the data set {info.name!r} holds {list(features)}; needs images or a row of numbers, "
        "and a class label"
    )


def read_images(name: str, data_dir: str | None, cache_bytes: int) -> Source:
    """A set of labelled images, in memory where it fits."""
    built = builder(name, data_dir)
    info = built.info
    kind, x_key, y_key = keys_of(info)
    if kind != "images":
        raise ValueError(f"the data set {info.name!r} holds {kind}, not images")
    shape = info.features[x_key].shape
    splits = _splits(info)
    count = sum(info.splits[split].num_examples for split in splits.values())
    fixed = None not in shape
    if fixed and count * np.prod(shape) > cache_bytes:
        raise ValueError(
            f"the data set {info.name!r} has {count * np.prod(shape):,} bytes of pixels, more than "
            f"cache_bytes={cache_bytes:,}; raise cache_bytes if the memory is there"
        )
    xs, ys, parts = [], [], {}
    for part, split in splits.items():
        start = len(ys)
        for example in _examples(built, split):
            xs.append(example[x_key])
            ys.append(example[y_key])
        if part != "train":
            parts[part] = np.arange(start, len(ys))
    x = np.stack(xs) if fixed else np.stack(_to_one_size(xs))
    return Source(
        info.name,
        x,
        np.asarray(ys, "int32"),
        tuple(info.features[y_key].names),
        licence=(getattr(info, "license", None) or "see the data set's page"),
        citation=info.citation,
        **parts,
    )


def read_table(name: str, data_dir: str | None) -> Source:
    """A set of rows of numbers with a class label."""
    import pandas

    built = builder(name, data_dir)
    info = built.info
    kind, x_key, y_key = keys_of(info)
    if kind != "tables":
        raise ValueError(f"the data set {info.name!r} holds {kind}, not a table")
    xs, ys, parts = [], [], {}
    for part, split in _splits(info).items():
        start = len(ys)
        for example in _examples(built, split):
            xs.append(example[x_key])
            ys.append(example[y_key])
        if part != "train":
            parts[part] = np.arange(start, len(ys))
    table = pandas.DataFrame(np.stack(xs))
    table.columns = [f"{x_key}_{i}" for i in range(table.shape[1])]
    return Source(
        info.name,
        table,
        np.asarray(ys, "int32"),
        tuple(info.features[y_key].names),
        citation=info.citation,
        **parts,
    )


def _splits(info: Any) -> dict[str, str]:
    """Our part to the set's split; a set without "train" gives its first split."""
    splits = {part: part for part in ("train", "validation", "test") if part in info.splits}
    return splits if "train" in splits else {"train": next(iter(info.splits))}


def _examples(built: Any, split: str) -> Iterator[dict[str, Any]]:
    """Examples of one split in stored order, as NumPy values."""
    import tensorflow_datasets as tfds

    if built.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        yield from built.as_data_source(split=split)
    elif importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"the data set {built.info.name!r} is prepared as TFRecord files, which need "
            "TensorFlow installed; or prepare it again: "
            f"tfds build {built.info.name} --file_format array_record"
        )
    else:
        yield from tfds.as_numpy(built.as_dataset(split=split))


def _to_one_size(images: list[np.ndarray], size: tuple[int, int] = (64, 64)) -> list[np.ndarray]:
    """Images of many sizes, scaled to cover one size, then cropped."""
    from PIL import Image, ImageOps

    scaled = []
    for image in images:
        picture = Image.fromarray(image.squeeze())
        array = np.asarray(ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR))
        scaled.append(array.reshape(*size, -1))
    return scaled
