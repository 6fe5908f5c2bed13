"""TensorFlow Datasets that are prepared on this machine, read without touching the network.

Sets in TFRecord and in array_record format are read record by record, by number, so that neither
needs TensorFlow, and a set larger than the memory is read as it is needed.
"""

import difflib
import io
import mmap
import os
import re
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import unknown
from recipes.data.core import Source
from recipes.data.pictures import DEFAULT_SIZE, Pictures, read_picture

NAME = r"(\w+)(/[\w.-]+)?(:[\d.]+)?"  # name/config:version


def data_dir_of(data_dir: str | None) -> Path:
    """The folder of prepared sets: the argument, `TFDS_DATA_DIR`, `~/tensorflow_datasets`."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared(data_dir: str | None = None) -> list[str]:
    """Names of the sets that lie ready in the folder."""
    folder = data_dir_of(data_dir)
    found = chain(folder.glob("*/*/features.json"), folder.glob("*/*/*/features.json"))
    return sorted({path.relative_to(folder).parts[0] for path in found})


def is_prepared(name: str, data_dir: str | None = None) -> bool:
    """Whether "name", "name/config" or "name:version" lies ready in the folder."""
    return bool(_versions(name, data_dir))


def _versions(name: str, data_dir: str | None) -> list[Path]:
    """Folders of the prepared versions of a set; none where the name cannot be a set's."""
    if not (isinstance(name, str) and re.fullmatch(NAME, name)):
        return []
    path, _, version = name.partition(":")
    folder = data_dir_of(data_dir) / path
    found = chain(folder.glob("*/dataset_info.json"), folder.glob("*/*/dataset_info.json"))
    return [p.parent for p in found if not version or p.parent.name == version]


def builder(name: str, data_dir: str | None = None) -> Any:
    """The read-only builder of a prepared set: "name", "name/config" or "name:version".

    Raises:
        ValueError: no such set; it is not prepared, and the message says how to prepare it; or it
            is there in several configurations.
    """
    found = _versions(name, data_dir)
    if not found:
        raise _not_prepared(str(name), data_dir_of(data_dir))
    configs = sorted({f"{p.parent.parent.name}/{p.parent.name}" for p in found})
    if len(configs) > 1:
        raise ValueError(f"source={name!r}: name one of its configurations: {', '.join(configs)}")
    import tensorflow_datasets as tfds

    latest = max(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)])
    return tfds.builder_from_directory(latest)


def command(name: str, folder: str | Path) -> str:
    """The shell command that prepares a set in a folder, with a network and TensorFlow."""
    # Not `tfds build`: it needs apache_beam, which TensorFlow Datasets does not install.
    script = f"import tensorflow_datasets as t; t.load({name!r}, data_dir={str(folder)!r})"
    return f'python -c "{script}"'


def _not_prepared(name: str, folder: Path) -> ValueError:
    if not re.fullmatch(NAME, name):
        return ValueError(f"source={name!r}: no such file or folder")
    from recipes.data import embedded

    base, registered = re.split("[:/]", name)[0], []
    if find_spec("tensorflow_datasets"):  # it is not needed for what is not one of its sets
        import tensorflow_datasets as tfds

        registered = tfds.list_builders(with_community_datasets=False)
    if base in registered:
        return ValueError(
            f"source={name!r} is a TensorFlow Datasets set that is not prepared in {folder}. "
            f"Prepare it once, with a network and TensorFlow: {command(name, folder)}"
        )
    ready = prepared(str(folder))
    near = difflib.get_close_matches(base, [*embedded(), *ready, *registered], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(
        f"source={name!r}: no data set, file or folder has this name; embedded: "
        f"{', '.join(embedded())}; prepared in {folder}: {', '.join(ready) or 'none'}.{hint}"
    )


def kind_of(info: Any) -> str:
    """The kind of data that a set holds by its features.

    Raises:
        ValueError: neither labelled images or recordings nor a table with a column to predict nor
            texts.
    """
    if _image_and_label(info):
        return "images"
    if _columns_and_target(info):
        return "tables"
    if all(_of_types(info, "Audio", "ClassLabel")):
        return "audio"
    texts, labels = _of_types(info, "Text", "ClassLabel")
    if texts:
        return "text" if labels else "corpus"
    raise ValueError(
        f"the data set {info.name!r} holds {', '.join(sorted(info.features))}; needs pictures or "
        "recordings with a class label, columns of numbers with one to predict, or texts"
    )


def _target(info: Any) -> str | None:
    """The key of what is to be predicted: the set's own choice, or its only class label."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys or ()
    if len(keys) == 2 and isinstance(keys[1], str):
        return keys[1]
    is_label = tfds.features.ClassLabel
    labels = [key for key, feature in info.features.items() if isinstance(feature, is_label)]
    return labels[0] if len(labels) == 1 else None


def _image_and_label(info: Any) -> tuple[str, str] | None:
    import tensorflow_datasets as tfds

    features, label = info.features, _target(info)
    # The set's own choice first; features have no order of their own.
    keys = [key for key in (*(info.supervised_keys or ()), *sorted(features)) if key in features]
    images = [
        key
        for key in keys
        if isinstance(features[key], tfds.features.Image)
        and features[key].np_dtype in (np.uint8, np.uint16)
    ]
    if label and images and isinstance(features[label], tfds.features.ClassLabel):
        return images[0], label
    return None


def _columns_and_target(info: Any) -> tuple[dict[tuple, Any], str] | None:
    """Features of a table by their keys from the outside in, and the key of the one to predict."""
    import tensorflow_datasets as tfds

    numeric = (tfds.features.Tensor, tfds.features.Scalar)

    def flat(features: Any, outer: tuple = ()) -> dict[tuple, Any]:
        found = {}
        for key, feature in sorted(features.items()):  # as stored, the order changes
            nested = isinstance(feature, tfds.features.FeaturesDict)
            found |= flat(feature, (*outer, key)) if nested else {(*outer, key): feature}
        return found

    def fits(feature: Any) -> bool:
        if isinstance(feature, tfds.features.ClassLabel | tfds.features.Text):
            return True
        return type(feature) in numeric and None not in feature.shape

    target, columns = _target(info), flat(info.features)
    if (target,) not in columns or columns[target,].shape or not all(map(fits, columns.values())):
        return None
    given = [feature for keys, feature in columns.items() if keys != (target,)]
    some = any(type(f) in numeric and np.issubdtype(f.np_dtype, np.number) for f in given)
    return (columns, target) if some else None


def _of_types(info: Any, *types: str) -> tuple[list[str], ...]:
    """Keys of the features of each type: the set's own choice, then by name."""
    import tensorflow_datasets as tfds

    kinds = [getattr(tfds.features, name) for name in types]
    keys = [*(k for k in info.supervised_keys or () if isinstance(k, str)), *sorted(info.features)]
    keys = [key for key in dict.fromkeys(keys) if key in info.features]
    return tuple([k for k in keys if isinstance(info.features[k], kind)] for kind in kinds)


def read_images(
    name: str,
    data_dir: str | None,
    image_size: tuple[int, int] | None,
    channels: int | None,
    cache_bytes: int,
) -> Source:
    """A set of labelled images, in memory where it takes at most `cache_bytes`."""
    built = builder(name, data_dir)
    info = built.info
    x_key, y_key = _image_and_label(info) or _wrong(info, "images")
    records, y, parts = _read(info, y_key)
    height, width, depth = info.features[x_key].shape
    if image_size is None:  # None in the shape: of mixed sizes
        image_size = (height, width) if height and width else DEFAULT_SIZE
    channels = channels or (1 if depth == 1 else 3)

    def read(numbers: list[int]) -> list[np.ndarray]:
        files = [io.BytesIO(_value(record, x_key)) for record in records.__getitems__(numbers)]
        names = [f"{info.name}, example {i}" for i in numbers]
        return [
            read_picture(file, image_size, channels, example)
            for file, example in zip(files, names, strict=True)
        ]

    x = Pictures(read, len(y), image_size, channels).in_memory(cache_bytes)
    return _source(info, x, y.astype("int32"), parts, y_key)


def read_table(name: str, data_dir: str | None) -> Source:
    """A set of rows: x a pandas frame, y as it is stored."""
    import pandas

    built = builder(name, data_dir)
    info = built.info
    columns, target = _columns_and_target(info) or _wrong(info, "a table")
    records, y, parts = _read(info, target)
    table: dict[str, list] = {}
    for record in _all(records):
        example = info.features.deserialize_example_np(record)
        for keys, feature in columns.items():
            value = example
            for key in keys:
                value = value[key]
            name = "/".join(keys)
            if getattr(feature, "names", None):  # a class label; -1: not known
                value = feature.names[value] if value >= 0 else None
            if isinstance(value, bytes):
                value = value.decode() or None
            if feature.shape:
                for i, one in enumerate(np.ravel(value)):
                    table.setdefault(f"{name}_{i}", []).append(one)
            else:
                table.setdefault(name, []).append(value)
    del table[target]
    return _source(info, pandas.DataFrame(table), y, parts, target)


def read_texts(name: str, data_dir: str | None, text: str | None, label: str | None) -> Source:
    """A set of texts with a class each: x texts, object (n,), y int32.

    Args:
        name: of the set.
        data_dir: where it is prepared.
        text: feature of the texts; by default the set's own choice, then the first.
        label: class label to predict; likewise.
    """
    built = builder(name, data_dir)
    info = built.info
    texts, labels = _of_types(info, "Text", "ClassLabel")
    if not (texts and labels):
        _wrong(info, "text with a class label")
    for what, given, known in (("text", text, texts), ("label", label, labels)):
        if given is not None and given not in known:
            raise unknown(f"{what} of {info.name}", given, known)
    text, label = text or texts[0], label or labels[0]
    records, y, parts = _read(info, label)
    x = np.empty(len(y), object)
    x[:] = [_value(record, text).decode() for record in _all(records)]
    return _source(info, x, y.astype("int32"), parts, label)


def read_audio(name: str, data_dir: str | None, label: str | None) -> Source:
    """A set of recordings with a class each: x `recipes.data.audio.Recordings`, y int32.

    Args:
        name: of the set.
        data_dir: where it is prepared.
        label: class label to predict; by default the set's own choice, then the first.
    """
    from recipes.data.audio import Recordings, check_samples

    built = builder(name, data_dir)
    info = built.info
    sounds, labels = _of_types(info, "Audio", "ClassLabel")
    if not (sounds and labels):
        _wrong(info, "recordings with a class label")
    if label is not None and label not in labels:
        raise unknown(f"label of {info.name}", label, labels)
    key, label = sounds[0], label or labels[0]
    records, y, parts = _read(info, label)
    feature = info.features[key]
    rate = feature.sample_rate or None  # 0 stands for none where it was stored
    channels = (*feature.shape, 1)[1]

    def read(number: int) -> tuple[np.ndarray, int | None]:
        samples = _values(records.__getitems__([number])[0], key)
        if samples.dtype.kind not in "if":
            raise ValueError(f"the data set {info.name!r} stores {key!r} packed; needs samples")
        samples = check_samples(samples, f"{info.name}, example {number}")
        return samples.reshape(-1, channels).mean(axis=1), rate

    return _source(info, Recordings(read, len(y)), y.astype("int32"), parts, label)


def read_corpus(name: str, data_dir: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """A set of texts without labels: the text of each part, and its licence and citation."""
    built = builder(name, data_dir)
    info = built.info
    texts, labels = _of_types(info, "Text", "ClassLabel")
    if labels or not texts:
        _wrong(info, "corpus")
    found = {}
    for part in ("train", "validation", "test"):
        if part in info.splits:
            records = _records(info, [str(path) for path in info.splits[part].filepaths])
            found[part] = "\n".join(_value(record, texts[0]).decode() for record in _all(records))
    licence = info.redistribution_info.license or "see the data set's page"
    return found, {"licence": licence, "citation": info.citation}


def _wrong(info: Any, wanted: str) -> Any:
    raise ValueError(f"the data set {info.name!r} holds {kind_of(info)}, not {wanted}")


def _source(info: Any, x: Any, y: np.ndarray, parts: dict[str, np.ndarray], target: str) -> Source:
    names = getattr(info.features[target], "names", None)
    return Source(
        info.name,
        x,
        y,
        tuple(names) if names else None,
        licence=info.redistribution_info.license or "see the data set's page",
        citation=info.citation,
        **parts,
    )


def _read(info: Any, target: str) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    """Records of all parts, their targets, and which records are the validation and test parts."""
    splits = {part: part for part in ("train", "validation", "test") if part in info.splits}
    if "train" not in splits:
        splits = {"train": next(iter(info.splits))}
    files, targets, parts, start = [], [], {}, 0
    for part, split in splits.items():
        paths = [str(path) for path in info.splits[split].filepaths]
        records, count = _records(info, paths), info.splits[split].num_examples
        if len(records) != count:
            raise ValueError(f"{paths[0]}: {len(records)} examples of {count}; prepare it again")
        y = np.array([_value(record, target) for record in _all(records)])
        if part != "train" and y.dtype.kind == "i" and (y < 0).all():
            continue  # a part without labels
        files += paths
        targets.append(y)
        if part != "train":
            parts[part] = np.arange(start, start + count)
        start += count
    return _records(info, files), np.concatenate(targets), parts


def _records(info: Any, paths: list[str]) -> Any:
    """Records by number: `len`, and `__getitems__` of a list of numbers, as bytes."""
    form = info.file_format.value
    if form == "array_record":
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return ArrayRecordDataSource(paths)
    if form == "tfrecord":
        return TFRecords(paths)
    raise ValueError(f"{info.name!r} is prepared as {form}; needs tfrecord or array_record")


def _all(records: Any, chunk: int = 1024) -> Iterator[bytes]:
    for start in range(0, len(records), chunk):
        yield from records.__getitems__(list(range(start, min(start + chunk, len(records)))))


def _value(record: bytes, key: str) -> Any:
    """The first value of one feature, as it is stored."""
    return _stored(record, key)[0]


def _values(record: bytes, key: str) -> np.ndarray:
    """All values of one feature, as they are stored: int64, float32 or bytes."""
    return np.array(_stored(record, key))


def _stored(record: bytes, key: str) -> Any:
    from tensorflow_datasets.proto import tf_example_pb2

    feature = tf_example_pb2.Example.FromString(record).features.feature[key]
    return getattr(feature, feature.WhichOneof("kind")).value


class TFRecords:
    """Records of TFRecord files, by number.

    A record is its length (8 bytes, the lowest first), a checksum of that (4), that many bytes of
    content, and a checksum of those (4); the checksums are not looked at.
    """

    def __init__(self, paths: list[str]):
        self._places: list[tuple[mmap.mmap, int, int]] = []  # file, start and end of the content
        for path in paths:
            with open(path, "rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            start = 0
            while start + 12 <= len(content):
                end = start + 12 + struct.unpack_from("<Q", content, start)[0]
                self._places.append((content, start + 12, end))
                start = end + 4
            if start != len(content):
                raise ValueError(f"{path}: the file is cut short; prepare the data set again")

    def __len__(self) -> int:
        return len(self._places)

    def __getitems__(self, numbers: list[int]) -> list[bytes]:
        """The contents of some records."""
        return [self._places[i][0][self._places[i][1] : self._places[i][2]] for i in numbers]
