"""Texts with a class each: TensorFlow Datasets, folders, files, tables, lists.

Raw examples are texts. Model inputs are token ids int32 (n, sequence_length), cut or padded with 0
at the end; labels are int32 (n,). The vocabulary and the length come from the training part alone.
"""

import gzip
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.contract import check, unknown
from recipes.contract.arguments import check_vocabulary
from recipes.data import arrays, folders, tables, tfds, tokenizers
from recipes.data.core import Data, Source, assemble, check_options, labels_and_names, split

# Latin letters alone, so that the writing does not give the language away.
LANGUAGES = ("cs", "da", "de", "en", "es", "fi", "fr", "hu", "it", "nl", "pl", "pt", "sv", "tr")
SHARE = 99  # per cent of the training texts that the default length does not cut
WANTED = (
    "needs lists (texts, labels), ((texts, labels), (texts, labels)), a dictionary of such parts, "
    "or a dictionary of class names to files of one text a line"
)


class TextTransform:
    """Raw texts to model inputs.

    Args:
        tokenizer: a `Tokenizer`'s configuration.
        sequence_length: tokens of a model input, or of each sentence.
        column: of tables that hold texts.
        num_sentences: of a model input; None: the whole text is one row.
    """

    def __init__(
        self,
        tokenizer: Mapping[str, Any],
        sequence_length: int,
        column: str | None = None,
        num_sentences: int | None = None,
    ):
        self.tokenizer = tokenizers.from_config(tokenizer)
        self.sequence_length, self.column = sequence_length, column
        self.num_sentences = num_sentences

    def __call__(self, raw: Sequence[str]) -> np.ndarray:
        """n texts -> token ids int32 (n, sequence_length), padded at the end.

        With `num_sentences`: (n, num_sentences, sequence_length), cut or padded in both.

        Raises:
            ValueError: a text that is empty or none.
        """
        check(not isinstance(raw, str), "raw", raw, "needs a list of texts")
        texts = check_texts(raw)
        if self.num_sentences is None:
            return padded(self.tokenizer.encode_batch(texts), self.sequence_length)
        found = np.zeros((len(texts), self.num_sentences, self.sequence_length), "int32")
        for rows, text in zip(found, texts, strict=True):
            some = self.tokenizer.encode_batch(sentences(text)[: self.num_sentences])
            rows[: len(some)] = padded(some, self.sequence_length)
        return found

    def read_files(self, paths: Sequence[Path]) -> np.ndarray:
        """Files of one text a line, or tables -> model inputs, as `recipes predict` does.

        Raises:
            ValueError: no files, one that cannot be read, or no such column.
        """
        check(len(paths), "paths", paths, "needs at least one file")
        texts: list[str] = []
        for path in paths:
            if tables.is_table(path):
                table = tables.read_file(path)
                texts += table[text_column(table, self.column)].tolist()
            else:
                texts += [line for line in read_lines(path) if line.strip()]
        return self(texts)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        config = {"tokenizer": self.tokenizer.get_config()}
        return {
            **config,
            "sequence_length": self.sequence_length,
            "column": self.column,
            "num_sentences": self.num_sentences,
        }


TRANSFORM = TextTransform


def padded(sequences: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Token ids int32 (n, length): cut, or padded with 0, at the end."""
    found = np.zeros((len(sequences), length), "int32")
    for row, ids in zip(found, sequences, strict=True):
        row[: len(ids)] = ids[:length]
    return found


def sentences(text: str) -> list[str]:
    """A text cut behind what ends a sentence: . ! ? with a blank behind, 。！？, ends of lines."""
    return [part for part in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text) if part.strip()]


def check_texts(texts: Sequence[Any], argument: str = "text") -> list[str]:
    """Texts as they are; bytes are taken for UTF-8.

    Raises:
        ValueError: one is empty or no text, with its number.
    """
    found = [text.decode() if isinstance(text, bytes) else text for text in texts]
    for i, text in enumerate(found):
        check(isinstance(text, str), f"{argument} {i}", text, "is no text")
        check(text.strip(), f"{argument} {i}", text, "is empty")
    return found


def read_text(path: str | Path) -> str:
    """A UTF-8 text file, also one that gzip has packed (.gz).

    Raises:
        ValueError: no such file, or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as UTF-8 text ({error})") from None


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file; those that are empty are kept, except at the end."""
    # Not splitlines, which also ends a line at rare characters and so loses the line numbers.
    return read_text(path).rstrip("\n").split("\n")


def _languages() -> Source:
    from babel import Locale

    owners: dict[str, set[str]] = {}
    for code in LANGUAGES:
        of = Locale(code)
        zones = (name for zone in of.meta_zones.values() for name in zone.get("long", {}).values())
        names = (*of.territories.values(), *of.languages.values(), *of.scripts.values())
        for name in (*names, *of.currencies.values(), *zones):
            owners.setdefault(str(name), set()).add(code)
    # A name that two languages share has no one answer.
    found = sorted((name, min(codes)) for name, codes in owners.items() if len(codes) == 1)
    labels = np.array([LANGUAGES.index(code) for _, code in found], "int32")
    return Source(
        "languages",
        np.array([name for name, _ in found], object),
        labels,
        tuple(str(Locale(code).english_name) for code in LANGUAGES),
        licence="Unicode License v3",
        citation="Unicode Common Locale Data Repository (CLDR), from Babel",
    )


EMBEDDED = {"languages": _languages}


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    level: str = "auto",
    vocabulary_size: int | None = None,
    min_count: int = 1,
    sequence_length: int | None = None,
    num_sentences: int | None = None,
    text: str | None = None,
    label: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    class_names: Sequence[str] | None = None,
    data_dir: str | None = None,
    cache_bytes: int = 2**31,
) -> Data:
    """Load texts with a class each.

    The embedded set "languages" is about 16,000 names of countries, languages, scripts, currencies
    and time zones in 14 languages of Latin letters, from Unicode's CLDR as Babel holds it; the
    class is the language. Names that two languages share are left out. Few test names are of known
    words, so it is read by characters: naive Bayes on single letters finds 58 %, on up to three
    letters in a row 81 %.

    Args:
        source: "languages", the name of a TensorFlow Datasets set, a folder with a sub-folder a
            class of .txt files or with a file a class of one text a line (or `train`, `validation`
            and `test` folders of such), a dictionary of class names to such files, a file of lines
            `label<TAB>text`, a CSV, TSV or Parquet file, a pandas frame, lists (texts, labels), or
            a `tf.data.Dataset`. Files may be packed by gzip (.gz).
        batch_size: texts in a batch.
        seed: of the splits and of the order.
        level: of the tokens: "words" (lower-cased), "cased_words", "characters", "bytes", "bpe";
            "auto" takes characters where most letters are of a writing without spaces, such as
            Chinese, and words otherwise.
        vocabulary_size: most token ids, padding and unknown included; default: all, of "bpe" 8,000.
        min_count: words or characters rarer than this in the training part become unknown.
        sequence_length: tokens of an example; default: what 99 % of the training texts need.
        num_sentences: cut texts into sentences, each a row of `sequence_length` tokens; longer
            texts are cut off.
        text: the column or feature that holds the texts; default "text", or the only one of texts.
        label: the column or feature that holds the classes; default "label", then the only one
            beside the texts, then the first class label in order, as "label-coarse" of trec.
        validation_fraction: share of the examples, where the source has no such part.
        test_fraction: likewise.
        class_names: names of the classes 0, 1, ...; for lists.
        data_dir: where TensorFlow Datasets are prepared; default `TFDS_DATA_DIR`, then
            `~/tensorflow_datasets`.
        cache_bytes: a larger `tf.data.Dataset` is refused.

    Returns:
        `Data` whose batches are x int32 (n, sequence_length), with `num_sentences` (n,
        num_sentences, sequence_length), 0 where padded, and y int32 (n,).

    Raises:
        ValueError: a source that is not there or holds no labelled texts, an empty text, or an
            option out of its range.
    """
    common = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    check_options(batch_size=batch_size, seed=seed, **common)
    sizes = {"vocabulary_size": vocabulary_size, "sequence_length": sequence_length}
    check_vocabulary(sizes, optional=tuple(sizes))
    whole = isinstance(num_sentences, int) and num_sentences >= 1
    wanted = "must be a positive integer"
    check(num_sentences is None or whole, "num_sentences", num_sentences, wanted)
    tokenizers.check_level(level, ("auto", *tokenizers.LEVELS))
    origin = arrays.origin_of(source)
    ours = origin == "arrays"
    check(class_names is None or ours, "class_names", class_names, "is for lists only")
    named = not ours and source is not None and not (origin == "name" and source in EMBEDDED)
    for name, value in (("text", text), ("label", label)):
        check(value is None or named, name, value, "only tables have a choice of columns")

    if ours:
        found = _from_lists(source, class_names, cache_bytes)
    elif origin == "frame":
        found = _from_frame(source, "frame", text, label)
    elif source in EMBEDDED:
        found = EMBEDDED[source]()
        level = "characters" if level == "auto" else level
    elif tfds.is_prepared(source, data_dir):
        found = tfds.read_texts(source, data_dir, text, label)
    elif Path(source).is_dir():
        found = _from_folder(Path(source))
    elif Path(source).is_file() or tables.is_table(source):
        found = _from_file(Path(source), text, label)
    else:
        found = tfds.read_texts(source, data_dir, text, label)  # says what is not there
    texts = check_texts(found.x)

    parts = split(found, **common, seed=seed)
    train = [texts[i] for i in parts["train"]]
    level = tokenizers.level_of(train) if level == "auto" else level
    tokenizer = tokenizers.train(train, level, vocabulary_size=vocabulary_size, min_count=min_count)
    if sequence_length is None:
        rows = train if num_sentences is None else [row for t in train for row in sentences(t)]
        lengths = [len(ids) for ids in tokenizer.encode_batch(rows)]
        sequence_length = math.ceil(np.percentile(lengths, SHARE))
    transform = TextTransform(tokenizer.get_config(), sequence_length, text, num_sentences)
    found.x = transform(texts)
    return assemble(
        found,
        "text",
        parts,
        transform,
        {
            "vocabulary_size": tokenizer.vocabulary_size,
            "sequence_length": sequence_length,
            "num_classes": len(found.class_names),
            **({} if num_sentences is None else {"num_sentences": num_sentences}),
        },
        batch_size=batch_size,
        seed=seed,
        of_batch=np.asarray,  # its rows are ready
    )


def _from_lists(source: Any, class_names: Sequence[str] | None, cache_bytes: int) -> Source:
    """Lists, alone or in parts; or a dictionary of class names to files."""
    if arrays.is_dataset(source):
        x, y, _ = arrays.read(source, cache_bytes)
        return _labelled("tf.data.Dataset", {"train": (x.reshape(len(x)), y)}, class_names)
    if isinstance(source, dict) and source and not set(source) & set(arrays.PARTS):
        paths = all(isinstance(path, str | Path) for path in source.values())
        check(paths, "source", f"a dictionary with keys {list(source)}", WANTED)
        return _of_classes("files", {"train": {c: [p] for c, p in source.items()}}, False)
    return _labelled("lists", arrays.labelled_lists(source, "texts", WANTED), class_names)


def _labelled(
    name: str, parts: Mapping[str, Sequence], class_names: Sequence[str] | None = None
) -> Source:
    """Parts of (texts, labels) as one source."""
    texts, labels, given = arrays.joined(parts)
    y, names = labels_and_names(labels, class_names)
    wanted = "as good as every text has a label of its own; which column holds the labels?"
    check(len(names) <= max(2, len(y) / 2), "label", f"{len(names)} classes", wanted)
    x = np.empty(len(texts), object)
    x[:] = texts
    return Source(name, x, y, names, **given)


def text_column(table: Any, name: str | None) -> str:
    """The column of a table that holds the texts: the one named, "text", or the only one."""
    of_texts = [c for c in table.columns if table[c].dtype.kind not in "iufbmM"]
    if name is None:
        name = "text" if "text" in table else of_texts[0] if len(of_texts) == 1 else None
    if name is None or name not in table:
        raise unknown("column of texts", name, table.columns)
    check(name in of_texts, "text", name, "this column holds no texts")
    return name


def _from_frame(table: Any, name: str, text: str | None, label: str | None) -> Source:
    table = table.set_axis([str(column) for column in table.columns], axis=1)
    columns = list(table.columns)
    if label is None:
        others = [c for c in columns if c != (text or "text")]
        label = "label" if "label" in columns else others[0] if len(others) == 1 else None
    if label not in columns:
        raise unknown("column of labels", label, columns)
    text = text_column(table.drop(columns=label), text)
    gone = int(table[[text, label]].isna().any(axis=1).sum())
    check(not gone, "source", name, f"{gone} row(s) lack a text or a label")
    return _labelled(name, {"train": (table[text].tolist(), table[label].tolist())})


def _from_file(path: Path, text: str | None, label: str | None) -> Source:
    """A table, or lines of `label<TAB>text`."""
    if tables.is_table(path):
        if path.suffix.lower() != ".tsv":
            return _from_frame(tables.read_file(path), path.name, text, label)
        head = read_lines(path)[0].split("\t")
        if {text or "text", label or "label"} <= set(head):
            return _from_frame(tables.read_file(path), path.name, text, label)
    for name, value in (("text", text), ("label", label)):
        check(value is None, name, value, f"{path} names no columns")
    rows = [line.split("\t", 1) for line in read_lines(path)]
    for i, row in enumerate(rows, 1):
        if len(row) != 2 and row != [""]:
            raise ValueError(f"{path}, line {i}: {row[0][:40]!r} is not label<TAB>text")
    rows = [row for row in rows if row != [""]]
    check(rows, "source", str(path), "holds no lines of label<TAB>text")
    return _labelled(path.name, {"train": ([t for _, t in rows], [c for c, _ in rows])})


def _from_folder(folder: Path) -> Source:
    """A sub-folder or a file a class, or parts of such."""
    parts = folders.parts_of(folder, _visible(folder, True))
    by_folder = bool(_visible(parts["train"], True))
    found: dict[str, dict[str, list[Path]]] = {}
    for part, root in parts.items():
        if by_folder:
            classes = {p.name: text_files(p) for p in _visible(root, True)}
        else:
            classes = _classes_of_files(text_files(root))
        for name, files in classes.items():
            if not files:
                raise ValueError(f"{root / name}: no .txt files")
            known = part == "train" or name in found["train"]
            check(known, "source", str(root), f"has a class {name!r} that is not in training")
        found[part] = classes
    if len(found["train"]) < 2:
        raise ValueError(
            f"{parts['train']}: needs a sub-folder a class with .txt files, or a .txt or .gz file "
            "a class with one text a line; at least two classes"
        )
    return _of_classes(folder.resolve().name, found, by_folder)


def _visible(folder: Path, directories: bool) -> list[Path]:
    """What lies in a folder, directories or files, hidden ones and notes about the data aside."""
    found = (p for p in sorted(folder.iterdir()) if p.is_dir() == directories)
    notes = ("readme", "license", "licence")
    return [
        p
        for p in found
        if not p.name.startswith((".", "__")) and not any(n in p.name.lower() for n in notes)
    ]


def text_files(folder: Path) -> list[Path]:
    """The .txt and .gz files of a folder and those below it, in order of their names."""
    found = [p for p in _visible(folder, False) if p.suffix.lower() in (".txt", ".gz")]
    return found + [p for inner in _visible(folder, True) for p in text_files(inner)]


def _classes_of_files(files: list[Path]) -> dict[str, list[Path]]:
    """Files by class: their names without .txt and .gz, and without a part that all begin with."""
    names = [p.name.removesuffix(".gz").removesuffix(".txt") for p in files]
    if len({name.partition(".")[0] for name in names}) == 1:  # rt-polarity.neg, rt-polarity.pos
        names = [name.partition(".")[2] or name for name in names]
    return {name: [path] for name, path in zip(names, files, strict=True)}


def _of_classes(
    name: str, parts: Mapping[str, Mapping[str, Sequence[str | Path]]], whole: bool
) -> Source:
    """Files of each class of each part: a text each (`whole`), or a text a line."""
    found = {}
    for part, classes in parts.items():
        texts, labels = [], []
        for label, paths in classes.items():
            for path in paths:
                some = [read_text(path)] if whole else read_lines(path)
                some = some if whole else [line for line in some if line.strip()]
                if not some or not some[0].strip():
                    raise ValueError(f"{path}: the text is empty")
                texts += some
                labels += [label] * len(some)
        found[part] = (texts, labels)
    return _labelled(name, found)
