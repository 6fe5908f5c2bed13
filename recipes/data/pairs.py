"""Pairs of sequences, for models that turn one into the other.

Inputs are (source, target_in), token ids int32 (n, source_length) and (n, target_length), and
targets are target_out, int32 (n, target_length), the target one token later: target_in begins with
the start token (2), target_out ends with the end token (3), as teacher forcing needs them (Williams
& Zipser 1989). All are padded with 0 at the end. Tokenizers and lengths come from the training
part alone.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data import arrays, tfds, tokenizers
from recipes.data.core import Batches, Data, Source, check_options, split
from recipes.data.text import check_texts, padded, read_lines

FIVE = ("en", "de", "fr", "es", "it")
MANY = (
    *FIVE, "ca", "cs", "da", "el", "et", "fi", "hr", "hu", "id", "is", "ja", "ko", "lt", "lv", "nb",
    "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "tr", "uk", "vi", "zh",
)  # fmt: skip
# CLDR's own patterns. Its "short" is left out: of 3/4/25 nobody knows the day, or the century.
FORMATS = ("full", "long", "medium")
FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)
WANTED = (
    "needs lists (sources, targets), two parallel text files (path, path), a dictionary of source "
    "and target, or a dictionary of such parts: train, validation, test"
)


class PairTransform:
    """Raw source texts to model inputs, and token ids back to target texts.

    Args:
        source: the source tokenizer's configuration.
        target: the target's; None where both share one.
        source_length: tokens of a source.
        target_length: tokens of a target, its end included.
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        target: Mapping[str, Any] | None,
        source_length: int,
        target_length: int,
    ):
        self.source = tokenizers.from_config(source)
        self.target = self.source if target is None else tokenizers.from_config(target)
        self.source_length, self.target_length = source_length, target_length

    def __call__(self, raw: Sequence[str]) -> np.ndarray:
        """n source texts -> token ids int32 (n, source_length).

        Raises:
            ValueError: a text that is empty.
        """
        check(not isinstance(raw, str), "raw", raw, "needs a list of texts")
        return padded(self.source.encode_batch(check_texts(raw)), self.source_length)

    def decode(self, ids: Any) -> list[str]:
        """Target token ids (n, any) -> n texts, each up to its end token."""
        end, texts = self.target.special("end"), []
        for row in np.asarray(ids).tolist():
            texts.append(self.target.decode(row[: row.index(end)] if end in row else row))
        return texts

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """Files of one source text a line -> model inputs, as `recipes predict` does.

        Raises:
            ValueError: no files, or one that cannot be read.
        """
        check(len(paths), "paths", paths, "needs at least one file")
        return self([line for path in paths for line in read_lines(path) if line.strip()])

    def get_config(self) -> dict:
        """The constructor's arguments."""
        shared = self.target is self.source
        return {
            "source": self.source.get_config(),
            "target": None if shared else self.target.get_config(),
            "source_length": self.source_length,
            "target_length": self.target_length,
        }


TRANSFORM = PairTransform


class PairBatches(Batches):
    """Pairs in batches of like lengths, each batch as wide as its bucket.

    An epoch shuffles the pairs of each bucket, cuts them into batches, and shuffles the batches;
    each pair comes once. The order is a function of seed and epoch alone.

    Args:
        x: source and target_in, int32 (n, source_length) and (n, target_length).
        y: target_out, int32 (n, target_length).
        indices: pairs of this part.
        widths: (source width, target width) of each bucket, both ascending; the last holds all.
        batch_size: pairs in a batch; the last of each bucket may have fewer.
        shuffle: a new order in each epoch.
        seed: of the order.
    """

    def __init__(
        self,
        x: tuple[np.ndarray, np.ndarray],
        y: np.ndarray,
        indices: np.ndarray,
        widths: Sequence[tuple[int, int]],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
    ):
        super().__init__(x, y, indices, tuple, batch_size, shuffle=shuffle, seed=seed)
        self.widths = [tuple(width) for width in widths]
        # Padding is at the end; a target is as long coming in as going out.
        lengths = [(part[indices] != 0).sum(axis=1) for part in (x[0], y)]
        bounds = np.array(self.widths).T  # (2, buckets)
        which = [np.searchsorted(b, n) for b, n in zip(bounds, lengths, strict=True)]
        which = np.minimum(np.maximum(*which), len(self.widths) - 1)
        self.buckets = [indices[which == i] for i in range(len(self.widths))]
        self._batches: tuple[int, list[tuple[int, np.ndarray]]] | None = None

    def batches(self) -> list[tuple[int, np.ndarray]]:
        """This epoch's batches: the bucket of each, and its pairs' indices."""
        epoch = self.epoch if self.shuffle else 0
        if self._batches is None or self._batches[0] != epoch:
            generator = np.random.default_rng((self.seed, epoch))
            found = []
            for i, bucket in enumerate(self.buckets):
                order = generator.permutation(bucket) if self.shuffle else bucket
                starts = range(0, len(order), self.batch_size)
                found += [(i, order[start : start + self.batch_size]) for start in starts]
            if self.shuffle:
                found = [found[i] for i in generator.permutation(len(found))]
            # From the first two batches Keras tells TensorFlow which axes vary: these must differ.
            other = next((i for i, batch in enumerate(found) if batch[0] != found[0][0]), 0)
            if other > 1:
                found[1], found[other] = found[other], found[1]
            self._batches = (epoch, found)
        return self._batches[1]

    @property
    def order(self) -> np.ndarray:
        """This epoch's order, as indices of x, shape (size,)."""
        return np.concatenate([chosen for _, chosen in self.batches()])

    def __len__(self) -> int:
        return sum(math.ceil(len(bucket) / self.batch_size) for bucket in self.buckets)

    def __getitem__(self, index: int) -> tuple:
        """Batch ((source, target_in), target_out)."""
        bucket, chosen = self.batches()[range(len(self))[index]]
        source, target = self.widths[bucket]
        (x, into), out = self.x, self.y
        return (x[chosen, :source], into[chosen, :target]), out[chosen, :target]

    def _arguments(self) -> dict[str, Any]:
        names = ("x", "y", "indices", "widths", "batch_size", "shuffle", "seed")
        return {name: getattr(self, name) for name in names}

    def sample(self, count: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """At most `count` pairs, spread evenly over the stored order, at full width."""
        count = min(count, self.size)
        chosen = self.indices[np.arange(count) * self.size // max(1, count)]
        return tuple(part[chosen] for part in self.x), self.y[chosen]


def write_dates(
    days: Sequence[date], languages: Sequence[str], seed: Any = 0
) -> tuple[list[str], list[str]]:
    """Dates as people write them, each in a language and a format drawn by the seed, and in ISO."""
    from babel.dates import format_date

    generator = np.random.default_rng(seed)
    draws = zip(
        days,
        generator.choice(list(languages), len(days)).tolist(),
        generator.choice(FORMATS, len(days)).tolist(),
        strict=True,
    )
    written = [format_date(day, format=how, locale=language) for day, language, how in draws]
    return written, [day.isoformat() for day in days]


def _dates(count: int, languages: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    # Each day once, so that no day of one part is in another.
    numbers = np.random.default_rng((seed, 0)).permutation((LAST - FIRST).days + 1)[:count]
    days = [FIRST + timedelta(days=number) for number in numbers.tolist()]
    return write_dates(days, languages, (seed, 1))


EMBEDDED = {"dates": _dates}


def load(
    source: Any,
    *,
    batch_size: int = 64,
    seed: int = 0,
    level: str = "auto",
    vocabulary_size: int | None = None,
    min_count: int = 1,
    shared_vocabulary: bool = True,
    source_length: int | None = None,
    target_length: int | None = None,
    num_buckets: int = 4,
    count: int | None = None,
    languages: str | Sequence[str] = "five",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> Data:
    """Load pairs of sequences.

    The embedded set "dates" is drawn afresh from the seed: days of 1900 to 2099, each in one of
    some languages and in one of CLDR's full, long and medium formats, as Babel writes them, such as
    "mardi 3 avril 1984"; the target is the day in ISO 8601, "1984-04-03". No day comes twice.

    Args:
        source: "dates"; a file of lines `source<TAB>target`, of which further columns are left
            out; two parallel files of one text a line, as (path, path) or {"source": path,
            "target": path}; lists (sources, targets); or a dictionary of such parts, "train",
            "validation" and "test". Files may be packed by gzip (.gz).
        batch_size: pairs in a batch.
        seed: of the dates, the splits and the order.
        level: of the tokens: "words" (lower-cased), "cased_words", "characters", "bytes", "bpe";
            "auto" takes characters for dates, and otherwise bpe.
        vocabulary_size: most token ids of a vocabulary, the four reserved ones (padding, unknown,
            start, end) included; default: all, of "bpe" 8,000.
        min_count: words or characters rarer than this in the training part become unknown.
        shared_vocabulary: one tokenizer for both sides, as in Vaswani 2017, so that a model can
            tie their embeddings.
        source_length: tokens of a source; longer ones are cut. Default: the training part's most.
        target_length: tokens of a target, its end included; likewise.
        num_buckets: widths that training batches come in; a pair is padded to the least that it
            fits, by equal shares of the training pairs. 1 pads all to the full lengths, as
            validation and test always are.
        count: dates drawn; default 20,000.
        languages: of the dates: "five" (English, German, French, Spanish, Italian), "many" (32), or
            a list of Babel's locales, such as ("en",).
        validation_fraction: share of the pairs, where the source has no such part.
        test_fraction: likewise.

    Returns:
        `Data` whose batches are ((source, target_in), target_out). `spec["tokenizers"]` holds the
        configurations of the tokenizers of "source" and "target", equal where they share one.

    Raises:
        ValueError: a source that is not there, parallel files of unequal length, an empty text, or
            an option out of its range.
    """
    common = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    check_options(batch_size=batch_size, seed=seed, **common)
    sizes = {"vocabulary_size": vocabulary_size, "count": count}
    check_vocabulary(sizes, optional=tuple(sizes))
    tokenizers.check_level(level, ("auto", *tokenizers.LEVELS))
    lengths = {"source_length": source_length, "target_length": target_length}
    for name, value in {**lengths, "num_buckets": num_buckets}.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        ok = whole or (value is None and name in lengths)
        check(ok, name, value, "must be a positive integer")
    embedded = isinstance(source, str) and source in EMBEDDED
    for name, value, default in (("count", count, None), ("languages", languages, "five")):
        check(embedded or value == default, name, value, "is for dates only")

    found = _drawn(count, languages, seed) if embedded else _read(source)
    if level == "auto":
        level = "characters" if embedded else "bpe"
    parts = split(found, **common, seed=seed)
    texts = found.x[:, 0].tolist(), found.x[:, 1].tolist()
    train = [[side[i] for i in parts["train"]] for side in texts]
    options = {"vocabulary_size": vocabulary_size, "min_count": min_count}
    options["specials"] = tokenizers.SEQUENCE_SPECIALS
    if shared_vocabulary:
        made = [tokenizers.train(train[0] + train[1], level, **options)] * 2
    else:
        made = [tokenizers.train(side, level, **options) for side in train]
    ids = [one.encode_batch(side) for one, side in zip(made, texts, strict=True)]
    most = [max(len(side[i]) for i in parts["train"]) for side in ids]
    source_length, target_length = source_length or most[0], target_length or most[1] + 1

    start, end = (made[1].special(name) for name in ("start", "end"))
    x = padded(ids[0], source_length), padded([[start, *row] for row in ids[1]], target_length)
    y = padded([[*row, end] for row in ids[1]], target_length)
    widths = _widths(x[0], y, parts["train"], num_buckets)
    batches = {
        name: PairBatches(
            x,
            y,
            indices,
            widths if name == "train" else widths[-1:],
            batch_size,
            shuffle=name == "train",
            seed=seed,
        )
        if len(indices)
        else None
        for name, indices in parts.items()
    }
    configs = [one.get_config() for one in made]
    return Data(
        name=found.name,
        kind="pairs",
        spec={
            "source_vocabulary_size": made[0].vocabulary_size,
            "target_vocabulary_size": made[1].vocabulary_size,
            "source_length": source_length,
            "target_length": target_length,
            "tokenizers": dict(zip(("source", "target"), configs, strict=True)),
        },
        transform=PairTransform(
            configs[0],
            None if shared_vocabulary else configs[1],
            source_length,
            target_length,
        ),
        licence=found.licence,
        citation=found.citation,
        **batches,
    )


def _widths(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, num_buckets: int
) -> list[tuple[int, int]]:
    """Widths of the buckets by quantiles of the lengths; the full ones are the last.

    On each side the widths ascend strictly, or are all the same where the lengths are.
    """
    shares = np.arange(1, num_buckets) / num_buckets
    full, columns = (x.shape[1], y.shape[1]), []
    for part, most in zip((x, y), full, strict=True):
        lengths = (part[train] != 0).sum(axis=1)
        fixed = lengths.min() == lengths.max()
        inner = np.full(len(shares), most) if fixed else np.ceil(np.quantile(lengths, shares))
        columns.append((inner.astype(int).tolist(), fixed))
    (sources, same_source), (targets, same_target) = columns
    found: list[tuple[int, int]] = []
    for width in zip(sources, targets, strict=True):
        last = found[-1] if found else (0, 0)
        rises = [a < b < c for a, b, c in zip(last, width, full, strict=True)]
        if (rises[0] or same_source) and (rises[1] or same_target) and any(rises):
            found.append(width)
    return [*found, full]


def _drawn(count: int | None, languages: str | Sequence[str], seed: int) -> Source:
    from babel import localedata

    if isinstance(languages, str):
        sets = {"five": FIVE, "many": MANY}
        if languages not in sets:
            raise unknown("set of languages", languages, sets)
        languages = sets[languages]
    ok = isinstance(languages, tuple | list) and languages
    ok = ok and all(isinstance(n, str) and localedata.exists(n) for n in languages)
    check(ok, "languages", languages, "must be 'five', 'many', or locales such as ('en', 'de')")
    most = (LAST - FIRST).days + 1
    count = count or 20_000
    check(count <= most, "count", count, f"there are {most} days from {FIRST} to {LAST}")
    found = _paired("dates", {"train": _dates(count, languages, seed)})
    found.licence = "Unicode License v3 (CLDR's formats)"
    found.citation = "drawn for recipes; formats of the Unicode CLDR, from Babel"
    return found


def _read(source: Any) -> Source:
    """Files or lists, alone or in parts."""
    origin = arrays.origin_of(source)
    if origin == "name":
        if not Path(source).is_file():
            tfds.builder(source)  # says what is not there
            raise ValueError(f"source={source!r} holds no pairs; {WANTED}")
        return _paired(Path(source).name, {"train": _tabbed(Path(source))})
    check(origin == "arrays", "source", f"a {type(source).__name__}", WANTED)
    parts = {"train": source}
    if isinstance(source, dict) and "train" in source:
        parts = source
    elif not isinstance(source, dict) and len(source) == 2 and _is_pair(source[0]):
        parts = dict(zip(("train", "test"), source, strict=True))
    known = isinstance(parts, dict) and set(parts) <= set(arrays.PARTS)
    check(known, "source", f"a dictionary with keys {list(parts)}", WANTED)
    found = {name: _two(part, name) for name, part in parts.items()}
    return _paired("files" if arrays.are_files(source) else "lists", found)


def _is_pair(part: Any) -> bool:
    """Whether this is a part of its own: two paths or two lists of texts."""
    if isinstance(part, dict):
        return set(part) == {"source", "target"}
    if not isinstance(part, tuple | list) or len(part) != 2:
        return False
    if all(map(arrays.are_files, part)):
        return True
    return all(not isinstance(side, str | Path) and hasattr(side, "__len__") for side in part)


def _two(part: Any, name: str) -> tuple[list[str], list[str]]:
    """Sources and targets of one part, of equal length."""
    if isinstance(part, dict):
        check(set(part) == {"source", "target"}, "source", f"keys {list(part)}", WANTED)
        part = (part["source"], part["target"])
    if isinstance(part, str | Path):
        return _tabbed(Path(part))
    fits = isinstance(part, tuple | list) and len(part) == 2
    check(fits, "source", f"{name} part: a {type(part).__name__}", WANTED)
    paths = [isinstance(side, str | Path) for side in part]
    check(all(paths) or not any(paths), "source", f"{name} part: a path and a list", WANTED)
    sides = [read_lines(side) if all(paths) else list(side) for side in part]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        names = [str(side) for side in part] if all(paths) else ["source", "target"]
        raise ValueError(
            f"parallel {'files' if all(paths) else 'lists'} of unequal length: {names[0]} has "
            f"{counts[0]} texts and {names[1]} has {counts[1]}"
        )
    return sides[0], sides[1]


def _tabbed(path: Path) -> tuple[list[str], list[str]]:
    """Lines of `source<TAB>target`."""
    rows = [line.split("\t") for line in read_lines(path)]
    for i, row in enumerate(rows, 1):
        if len(row) < 2 and row != [""]:
            raise ValueError(f"{path}, line {i}: {row[0][:40]!r} is not source<TAB>target")
    rows = [row for row in rows if row != [""]]
    check(rows, "source", str(path), "holds no lines of source<TAB>target")
    return [row[0] for row in rows], [row[1] for row in rows]


def _paired(name: str, parts: Mapping[str, tuple[list[str], list[str]]]) -> Source:
    """Parts of (sources, targets) as one source: x object (n, 2)."""
    sides: tuple[list, list] = ([], [])
    given = {}
    for part in (p for p in arrays.PARTS if p in parts):
        start = len(sides[0])
        for side, texts, what in zip(sides, parts[part], ("source", "target"), strict=True):
            side += check_texts(texts, f"{part} {what}")
        if part != "train":
            given[part] = np.arange(start, len(sides[0]))
    check(sides[0], "source", name, "holds no pairs")
    x = np.empty((len(sides[0]), 2), object)
    x[:, 0], x[:, 1] = sides
    return Source(name, x, None, **given)
