"""Corpora: one long text, for models that foretell each token from those before it.

Model inputs are token ids int32 (n, sequence_length), targets the same one token later. The parts
follow one another in the text, and no window reaches over a border between them. Ids 0 and 1 are
reserved for padding and unknown at every level, so tiny Shakespeare's 65 characters make a
vocabulary of 67; windows hold no padding.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recipes.contract import check
from recipes.contract.arguments import check_vocabulary
from recipes.data import arrays, tfds, tokenizers
from recipes.data.core import Data, Source, assemble, check_options
from recipes.data.text import check_texts, padded, read_text, text_files


class CorpusTransform:
    """Raw texts, such as prompts, to model inputs.

    Args:
        tokenizer: a `Tokenizer`'s configuration.
        sequence_length: most tokens of a model input.
    """

    def __init__(self, tokenizer: Mapping[str, Any], sequence_length: int):
        self.tokenizer = tokenizers.from_config(tokenizer)
        self.sequence_length = sequence_length

    def __call__(self, raw: Sequence[str]) -> np.ndarray:
        """n texts -> token ids int32 (n, sequence_length), padded with 0 at the end.

        Raises:
            ValueError: a text that is empty or longer than sequence_length.
        """
        check(not isinstance(raw, str), "raw", raw, "needs a list of texts")
        ids = self.tokenizer.encode_batch(check_texts(raw))
        for i, row in enumerate(ids):
            wanted = f"this model takes at most {self.sequence_length}"
            check(len(row) <= self.sequence_length, f"text {i}", f"{len(row)} tokens", wanted)
        return padded(ids, self.sequence_length)

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """Text files, one text each -> model inputs, as `recipes predict` does.

        Raises:
            ValueError: no files, one that cannot be read, or a text that is too long.
        """
        check(len(paths), "paths", paths, "needs at least one file")
        return self([read_text(path) for path in paths])

    def get_config(self) -> dict:
        """The constructor's arguments."""
        config = {"tokenizer": self.tokenizer.get_config()}
        return {**config, "sequence_length": self.sequence_length}


TRANSFORM = CorpusTransform


def _pydoc_topics() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


EMBEDDED = {"pydoc_topics": _pydoc_topics}
PYDOC = {
    "licence": "PSF License Version 2",
    "citation": "Python Software Foundation, the help topics of this Python's standard library",
}


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    level: str = "characters",
    vocabulary_size: int | None = None,
    min_count: int = 1,
    sequence_length: int = 64,
    stride: int | None = None,
    validation_fraction: float | None = None,
    test_fraction: float | None = None,
    data_dir: str | None = None,
) -> Data:
    """Load a corpus.

    Args:
        source: "pydoc_topics", the help of this Python, about 500 kB of English and code; the
            name of a TensorFlow Datasets set of texts, such as "tiny_shakespeare"; a text file
            (also .gz), or a folder of .txt and .gz files, joined in order of their names; or a
            text itself, which has more than one line.
        batch_size: windows in a batch.
        seed: of the training order.
        level: of the tokens: "characters", "bytes", "bpe", "words" (lower-cased) or
            "cased_words".
        vocabulary_size: most token ids, padding and unknown included; default: all, of "bpe"
            8,000. The tokenizer is made from the training part: what that lacks is unknown.
        min_count: words or characters rarer than this in the training part become unknown.
        sequence_length: tokens of an example.
        stride: tokens from one window to the next; default sequence_length, so that each token is
            foretold once an epoch. With 1 a window begins at every token, as nanoGPT draws them.
        validation_fraction: share of the text's characters before the test part; default 0.1.
        test_fraction: share of the characters at the end; default 0.1. With 0 the validation part
            is the test part as well: nanoGPT's split of tiny Shakespeare is a
            validation_fraction of 0.1 and a test_fraction of 0.
            Where either is given, parts that the source brings itself are joined and split anew.
        data_dir: where TensorFlow Datasets are prepared; default `TFDS_DATA_DIR`, then
            `~/tensorflow_datasets`.

    Returns:
        `Data` whose batches are x int32 (n, sequence_length) and y, the same one token later.
        `spec["tokenizer"]` is the tokenizer's configuration.

    Raises:
        ValueError: a source that is not there or holds no text, a part shorter than one window,
            or an option out of its range.
    """
    afresh = validation_fraction is not None or test_fraction is not None
    fractions = {
        "validation_fraction": 0.1 if validation_fraction is None else validation_fraction,
        "test_fraction": 0.1 if test_fraction is None else test_fraction,
    }
    check_options(batch_size=batch_size, seed=seed, **fractions)
    total = sum(fractions.values())
    check(0 < total < 1, "validation_fraction + test_fraction", total, "must be in (0, 1)")
    tokenizers.check_level(level)
    sizes = {"vocabulary_size": vocabulary_size, "sequence_length": sequence_length}
    check_vocabulary(sizes, optional=("vocabulary_size",))
    stride = sequence_length if stride is None else stride
    whole = isinstance(stride, int) and not isinstance(stride, bool) and stride >= 1
    check(whole, "stride", stride, "must be a positive integer")

    found, texts = _read(source, data_dir)
    if afresh or len(texts) == 1:
        joined = "".join(texts.values())
        size = len(joined)
        # What is left over goes to the later parts; rounded first, since 0.1 + 0.2 > 0.3.
        ends = [size - math.ceil(round(f * size, 6)) for f in (total, fractions["test_fraction"])]
        borders = [0, *ends, size]
        texts = {part: joined[borders[i] : borders[i + 1]] for i, part in enumerate(arrays.PARTS)}
    texts = {part: text for part, text in texts.items() if text}
    check("train" in texts, "source", found.name, "is empty")
    train = texts["train"]
    # In pieces by lines, so that a long text needs no memory of its own for each of its tokens.
    tokenizer = tokenizers.train(
        train.splitlines(keepends=True),
        level,
        vocabulary_size=vocabulary_size,
        min_count=min_count,
    )
    ids, parts, start = [], {}, 0
    for part, text in texts.items():
        some = np.array(tokenizer.encode(text), "int32")
        wanted = f"the {part} part has {len(some)} tokens; one window needs {sequence_length + 1}"
        check(len(some) > sequence_length, "sequence_length", sequence_length, wanted)
        parts[part] = np.arange(start, start + len(some) - sequence_length, stride)
        ids.append(some)
        start += len(some)
    if "test" not in parts:
        parts["test"] = parts["validation"]
    parts = {part: parts.get(part, np.arange(0)) for part in arrays.PARTS}
    # Views: a batch alone is copied.
    ids = np.concatenate(ids)
    found.x = sliding_window_view(ids[:-1], sequence_length)
    found.y = sliding_window_view(ids[1:], sequence_length)
    transform = CorpusTransform(tokenizer.get_config(), sequence_length)
    return assemble(
        found,
        "corpus",
        parts,
        transform,
        {
            "vocabulary_size": tokenizer.vocabulary_size,
            "sequence_length": sequence_length,
            "tokenizer": tokenizer.get_config(),
        },
        batch_size=batch_size,
        seed=seed,
        of_batch=np.asarray,  # they are ids
    )


def _read(source: Any, data_dir: str | None) -> tuple[Source, dict[str, str]]:
    """What is known of a corpus, and its text, or those of its parts in their order."""
    origin = arrays.origin_of(source)
    wanted = "needs a text, a file, a folder or the name of a data set"
    check(origin == "name", "source", f"a {type(source).__name__}", wanted)
    if source in EMBEDDED:
        return Source(source, None, None, **PYDOC), {"train": EMBEDDED[source]()}
    if "\n" in str(source):
        return Source("text", None, None), {"train": source}
    if not tfds.is_prepared(source, data_dir) and Path(source).exists():
        path = Path(source)
        files = text_files(path) if path.is_dir() else [path]
        check(files, "source", source, "holds no .txt or .gz files")
        text = "\n".join(read_text(file) for file in files)
        check(text.strip(), "source", source, "holds no text")
        return Source(path.name, None, None), {"train": text}
    texts, about = tfds.read_corpus(source, data_dir)
    return Source(source, None, None, **about), texts
