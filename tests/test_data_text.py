"""Texts: the prepared sets' facts, every kind of source, the vocabulary, bad input."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas
import pytest

from recipes import data
from recipes.data import arrays, text

SHARED = Path(__file__).parents[2] / "shared" / "data"
TEXTS = [f"{'good' if i % 2 else 'bad'} film number {i}, really" for i in range(40)]
LABELS = ["pos" if i % 2 else "neg" for i in range(40)]


def load(source, **options):
    return data.load(source, ("text",), **options)


def raw(found, part):
    """Decoded texts of a part."""
    return [found.transform.tokenizer.decode(row) for row in part.arrays()[0]]


def shared_file(name: str) -> str:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not there")
    return str(SHARED / name)


# --- real data


def test_languages_can_be_told_by_their_letters_only_in_part():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    found = load("languages", sequence_length=80)
    assert sum(found.sizes.values()) > 10_000 and len(found.class_names) == 14
    assert {"Danish", "English", "Turkish"} <= set(found.class_names)
    assert found.transform.tokenizer.level == "characters"
    texts = [raw(found, part) for part in (found.train, found.test)]
    assert not set(texts[0]) & set(texts[1])  # no name twice
    scores = []
    for widest in (1, 3):
        count = CountVectorizer(analyzer="char_wb", ngram_range=(1, widest), lowercase=False)
        model = MultinomialNB(alpha=0.1).fit(count.fit_transform(texts[0]), found.train.targets)
        scores.append(model.score(count.transform(texts[1]), found.test.targets))
    assert 0.5 < scores[0] < 0.65 and 0.75 < scores[1] < 0.9  # order tells more than letters


def test_trec(shared_tfds):
    found = load("trec", data_dir=shared_tfds)
    assert found.sizes["test"] == 500 and sum(found.sizes.values()) == 5952
    names = np.array(found.class_names)
    # as published by Li & Roth for the test questions
    published = {"ABBR": 9, "DESC": 138, "ENTY": 94, "HUM": 65, "LOC": 81, "NUM": 113}
    assert Counter(names[found.test.targets].tolist()) == published
    x, y = found.test[0]
    assert x.dtype == y.dtype == np.int32 and x.shape == (32, found.spec["sequence_length"])
    assert "what is an atom?" in raw(found, found.test)
    fine = load("trec", data_dir=shared_tfds, label="label-fine")
    assert fine.spec["num_classes"] == 47
    with pytest.raises(ValueError, match=r"unknown label of trec 'label'; known: label-coarse"):
        load("trec", data_dir=shared_tfds, label="label")


def test_sms_spam_and_sentence_polarity():
    sms = load(shared_file("sms_spam/SMSSpamCollection.gz"))
    assert sms.class_names == ("ham", "spam")
    assert np.bincount(sms.train.y).tolist() == [4827, 747]  # as UCI states
    folder = shared_file("sentence_polarity")
    polarity = load(folder)
    assert polarity.class_names == ("neg", "pos")
    assert np.bincount(polarity.train.y).tolist() == [5331, 5331]
    files = {name: f"{folder}/rt-polarity.{name}.gz" for name in ("neg", "pos")}
    again = load(files)
    assert np.array_equal(again.train.x, polarity.train.x)
    assert json.loads(json.dumps(again.source))["source"] == files


# --- sources


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
        )
    return folder


def test_each_source_holds_the_same_examples(tmp_path):
    frame = pandas.DataFrame({"label": LABELS, "text": TEXTS})
    by_class = {
        c: [t for t, k in zip(TEXTS, LABELS, strict=True) if k == c] for c in ("neg", "pos")
    }
    rows = "".join(f"{c}\t{t}\n" for c, t in zip(LABELS, TEXTS, strict=True))
    write(
        tmp_path,
        {
            "plain.txt": rows,
            "windows.tsv": rows.replace("\n", "\r\n"),
            "packed.gz": rows,
            "head.tsv": "label\ttext\n" + rows,
            "files/neg.txt": "\n".join(by_class["neg"]) + "\n",
            "files/pos.txt": "\n\n".join(by_class["pos"]),
            "files/README.txt": "no class",
            **{f"tree/{c}/{i:02}.txt": t for c in by_class for i, t in enumerate(by_class[c])},
        },
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    other = frame.rename(columns={"label": "stars", "text": "review"}).assign(n=1)
    sources = [
        ((TEXTS, LABELS), {}),
        ({"train": (TEXTS, LABELS)}, {}),
        ((np.array(TEXTS), np.array(LABELS)), {}),
        (frame, {}),
        (other, {"text": "review", "label": "stars"}),
        *[(str(tmp_path / n), {}) for n in ("plain.txt", "windows.tsv", "packed.gz", "head.tsv")],
        *[(tmp_path / n, {}) for n in ("a.csv", "a.parquet", "files", "tree")],
        ({c: tmp_path / f"files/{c}.txt" for c in by_class}, {}),
    ]
    for source, options in sources:
        found = load(source, sequence_length=20, **options)
        assert found.class_names == ("neg", "pos")
        pairs = []
        for part in (found.train, found.validation, found.test):
            pairs += zip(raw(found, part), part.targets.tolist(), strict=True)
        # "unknown" hides the numbers that the training part lacks
        heads = Counter((t.split()[0], y) for t, y in pairs)
        assert heads == {("good", 1): 20, ("bad", 0): 20}, source


def test_given_parts_are_kept(tmp_path):
    test = (["a bad one", "a good one"], ["neg", "pos"])
    for source in (((TEXTS, LABELS), test), {"train": (TEXTS, LABELS), "test": test}):
        found = load(source, validation_fraction=0)
        assert found.sizes == {"train": 40, "validation": 0, "test": 2}
        assert found.test.targets.tolist() == [0, 1]
    files = {
        f"{p}/{c}/{i}.txt": f"{c} {i}" for p in ("train", "test") for c in "ab" for i in range(9)
    }
    assert load(write(tmp_path, files)).sizes == {"train": 16, "validation": 2, "test": 18}


def test_a_tensorflow_dataset():
    tf = pytest.importorskip("tensorflow")
    plain = tf.data.Dataset.from_tensor_slices((TEXTS, np.arange(40) % 2))
    for source in (plain, plain.batch(7)):
        found = load(source, class_names=("neg", "pos"))
        assert {t.split()[0] for t in raw(found, found.test)} == {"good", "bad"}


# --- tokens


def test_the_vocabulary_and_the_length_are_the_training_parts():
    long = "word " * 300
    found = load(((TEXTS, LABELS), ([long, "unseen film"], ["neg", "pos"])))
    train = raw(found, found.train)
    known = {t for text in TEXTS for t in text.replace(",", " ,").split()}
    assert set(found.transform.tokenizer.vocabulary) <= known
    assert "unseen" not in found.transform.tokenizer.vocabulary
    assert found.spec["sequence_length"] == 6  # good film number 1 , really
    x = found.test.arrays()[0]
    assert x[0].tolist() == [1] * 6  # cut; "word" is unknown
    assert x[1, 0] == 1 and x[1, 1] > 1 and x[1, 2:].tolist() == [0] * 4  # padded at the end
    assert len(train) == 36


def test_chinese_is_read_by_character():
    texts = [f"这部电影很{'好' if i % 2 else '差'}看，我看了{i}次" for i in range(40)]
    found = load((texts, LABELS))
    assert found.transform.tokenizer.level == "characters"
    assert {"电", "好", "差"} <= set(found.transform.tokenizer.vocabulary)
    assert load((TEXTS, LABELS)).transform.tokenizer.level == "words"
    by_words = load((TEXTS, LABELS), level="words", vocabulary_size=6, min_count=2)
    assert by_words.spec["vocabulary_size"] == 6


def test_a_text_can_be_rows_of_sentences():
    texts = ["One two. Three 3.5!  Four\nfive six", "One。two？ three", "a b c d e f. g"]
    labels = ["x", "y", "x"]
    found = text.load(
        ((texts * 4, labels * 4), (texts, labels)), level="words", num_sentences=3,
        sequence_length=4, validation_fraction=0,
    )  # fmt: skip
    x = found.test.arrays()[0]
    assert found.spec["num_sentences"] == 3
    assert x.shape == (3, 3, 4)
    words = {"one": x[0, 0, 0], "two": x[0, 0, 1], "three": x[0, 1, 0], "four": x[0, 2, 0]}
    assert (x[0, 0, :2] != 0).all()
    assert x[1, :, 0].tolist() == [words["one"], words["two"], words["three"]]
    assert (x[2, 0] != 0).all()  # the fifth word is cut off
    assert (x[2, 2] == 0).all()
    again = text.TextTransform(**found.transform.get_config())
    np.testing.assert_array_equal(again(texts), x)


def test_raw_text_is_prepared_as_the_training_was(tmp_path):
    found = load((TEXTS, LABELS))
    config = json.loads(json.dumps(found.transform.get_config()))
    again = data.transform_from_config("text", config)
    np.testing.assert_array_equal(again(TEXTS), found.transform(TEXTS))
    chosen = found.test.indices
    np.testing.assert_array_equal(again([TEXTS[i] for i in chosen]), found.test.arrays()[0])
    pandas.DataFrame({"text": TEXTS[:3]}).to_csv(tmp_path / "a.csv")
    (tmp_path / "b.txt").write_text("\n".join(TEXTS[3:5]) + "\n")
    read = again.read_files([tmp_path / "a.csv", tmp_path / "b.txt"])
    np.testing.assert_array_equal(read, again(TEXTS[:5]))


# --- bad input

FRAME = pandas.DataFrame({"review": TEXTS, "stars": LABELS, "city": LABELS})


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ((["a", " ", "b"], [0, 1, 0]), {}, "text 1=' ': is empty"),
        ((["a", None, "b"], [0, 1, 0]), {}, "text 1=None: is no text"),
        ((["a", "b"], [0, 1, 0]), {}, "the train part has 2 texts and 3 labels"),
        (([], []), {}, "holds no texts"),
        ((TEXTS, ["x"] * 40), {}, "only the class x"),
        ((TEXTS, TEXTS), {}, "40 classes'"),
        ({"a": "no.txt", "b": "no.txt"}, {}, "no.txt: no such file"),
        ("nowhere/at/all", {}, "no such file or folder"),
        ("nowhere.csv", {}, "nowhere.csv: no such file"),
        (FRAME, {}, "unknown column of labels None; known: review, stars, city"),
        (FRAME, {"label": "star"}, "Did you mean 'stars'?"),
        (FRAME, {"label": "stars", "text": "reviews"}, "unknown column of texts 'reviews'"),
        (FRAME, {"label": "stars"}, "unknown column of texts None"),
        (FRAME.assign(review=None), {"label": "stars", "text": "review"}, "40 row(s) lack a text"),
        ((TEXTS, LABELS), {"label": "stars"}, "label='stars': only tables"),
        ("languages", {"level": "word"}, "unknown level 'word'; known: auto, words"),
        ("languages", {"sequence_length": 0}, "sequence_length=0: must be a positive"),
        ("languages", {"num_sentences": 0}, "num_sentences=0: must be a positive"),
        ("languages", {"vocabulary_size": 2}, "vocabulary_size=2: must be at least 3"),
        ("digits", {}, "holds images; this family takes text, embedded: languages"),
    ],
)  # fmt: skip
def test_bad_input(source, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        load(source, **options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.txt": "ham\tone\nno label\n"}, "line 2: 'no label' is not label<TAB>text"),
        ({"a.txt": ""}, "holds no lines of label<TAB>text"),
        ({"d/a/1.txt": "x", "d/b/1.txt": ""}, "1.txt: the text is empty"),
        ({"d/a/1.txt": "x", "d/b/1.png": ""}, "no .txt files"),
        ({"d/a.txt": "x"}, "at least two classes"),
        ({"d/train/a/1.txt": "x", "d/train/b/1.txt": "x", "d/test/c/1.txt": "x"}, "a class 'c'"),
    ],
)
def test_bad_files(files, words, tmp_path):
    write(tmp_path, files)
    with pytest.raises(ValueError) as error:
        load(tmp_path / next(iter(files)).partition("/")[0])
    assert words in str(error.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.gz").write_bytes(b"no gzip")
    for name in ("a.txt", "b.gz"):
        with pytest.raises(ValueError, match=f"{name}: not readable as UTF-8 text"):
            text.read_text(tmp_path / name)


def test_lists_of_texts_are_told_from_numbers():
    assert arrays.holds_texts((TEXTS, LABELS)) and arrays.holds_texts({"train": (TEXTS, LABELS)})
    assert arrays.holds_texts(("a.de", "a.en")) and arrays.holds_texts(np.array(TEXTS))
    assert not arrays.holds_texts((np.eye(3), TEXTS)) and not arrays.holds_texts(([[1.0]], TEXTS))
