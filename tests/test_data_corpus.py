"""Corpora: windows by hand, the split, tokens of the training part alone, real texts."""

import gzip
import json

import numpy as np
import pytest

from recipes import data
from recipes.data.tokenizers import from_config

LETTERS = "".join(chr(ord("a") + i % 26) for i in range(999)) + "\n"


def load(source, **options):
    return data.load(source, ("corpus",), **options)


def text_of(found, part):
    """The text of a part, out of windows that touch and do not overlap."""
    x, y = part.arrays()
    decode = found.transform.tokenizer.decode
    return decode(x.ravel()) + decode(y[-1, -1:])


def test_targets_are_the_inputs_one_token_later():
    found = load(LETTERS, sequence_length=7, batch_size=5)
    x, y = found.train[0]
    assert x.shape == y.shape == (5, 7) and x.dtype == y.dtype == np.int32
    assert np.array_equal(x[:, 1:], y[:, :-1])
    assert found.spec["vocabulary_size"] == 26 + 2  # the end of the line is the test part's
    ids = found.train.x[:, 0]
    assert np.array_equal(found.train.y[:, 0][:-1], ids[1:])


@pytest.mark.parametrize("stride", [None, 1, 3])
def test_parts_follow_one_another_and_no_window_reaches_over(stride):
    text = "".join(chr(0x4E00 + i) for i in range(1000)) + "\n"  # each character once
    found = load(text, sequence_length=10, stride=stride, level="bytes")
    assert found.spec["vocabulary_size"] == 258
    found = load(text, sequence_length=10, stride=stride, validation_fraction=0.2)
    starts = found.train.arrays()[0][:, 0]
    place = {i: p for p, i in enumerate(found.transform.tokenizer.encode(text[:701]))}
    assert np.array_equal(
        [place[i] for i in starts], np.arange(0, 691, stride or 10)[: len(starts)]
    )
    x, y = (np.vectorize(place.get)(a) for a in found.train.arrays())
    assert y.max() == range(0, 690, stride or 10)[-1] + 10 and np.array_equal(y, x + 1)
    # of the later parts nothing is known
    for part in (found.validation, found.test):
        assert set(part.arrays()[0].ravel()) == {1}


def test_a_training_part_sees_nothing_of_the_later_ones():
    past = (LETTERS[:25] + " ") * 32
    for level in ("characters", "words", "bpe"):
        size = 300 if level == "bpe" else None
        options = {"level": level, "vocabulary_size": size, "sequence_length": 1}
        a, b = (load(f"{past}{late} {late}\n", **options) for late in ("a b" * 33, "X-" * 49 + "Y"))
        assert a.spec["tokenizer"] == b.spec["tokenizer"]
        assert np.array_equal(a.train.arrays()[0], b.train.arrays()[0])
        assert not np.array_equal(a.test.arrays()[0], b.test.arrays()[0])


def test_nanogpts_split_of_tiny_shakespeare(shared_tfds):
    given = load("tiny_shakespeare", data_dir=shared_tfds)
    assert given.spec["vocabulary_size"] == 65 + 2
    tokens = [len(range(0, n - 64, 64)) for n in (1_003_854, 55_770, 55_770)]
    assert list(given.sizes.values()) == tokens
    ours = load(
        "tiny_shakespeare", data_dir=shared_tfds, validation_fraction=0.1, test_fraction=0, stride=1
    )
    # as nanoGPT's prepare.py prints: 1,003,854 and 111,540 tokens
    assert ours.train.size == 1_003_854 - 64 and ours.validation.size == 111_540 - 64
    assert np.array_equal(ours.test.indices, ours.validation.indices)
    assert text_of(given, given.train).startswith("First Citizen:\nBefore we proceed any further")
    assert np.array_equal(ours.train.x[:, 0], given.train.x[:, 0])  # the parts in their order
    assert 1 not in given.train.x[:, 0]


def test_pydoc_topics():
    from pydoc_data.topics import topics

    found = load("pydoc_topics", sequence_length=100)
    whole = "\n".join(topics[name] for name in sorted(topics))
    assert whole.startswith(text_of(found, found.train)) and len(whole) > 400_000
    parts = [part.size for part in (found.train, found.validation, found.test)]
    np.testing.assert_allclose(np.array(parts) * 100 / len(whole), [0.8, 0.1, 0.1], atol=0.001)
    assert found.licence.startswith("PSF")


@pytest.mark.parametrize(("level", "size"), [("bpe", 500), ("bytes", None), ("words", 300)])
def test_levels(level, size):
    found = load("pydoc_topics", level=level, vocabulary_size=size, sequence_length=32)
    assert found.spec["vocabulary_size"] == (size or 258)
    tokenizer = from_config(json.loads(json.dumps(found.spec["tokenizer"])))
    assert tokenizer == found.transform.tokenizer
    x = found.test.arrays()[0]
    assert x.min() >= 1 and x.max() < found.spec["vocabulary_size"]
    unknown = (x == 1).mean()
    assert unknown == 0 if level != "words" else 0 < unknown < 0.5


def test_files_and_folders_are_read_in_order(tmp_path):
    (tmp_path / "b.txt").write_text(LETTERS[500:], newline="")
    (tmp_path / "a.gz").write_bytes(gzip.compress(LETTERS[:500].encode()))
    found = load(tmp_path, sequence_length=9)
    joined = LETTERS[:500] + "\n" + LETTERS[500:]
    assert joined.startswith(text_of(found, found.train))
    assert found.source == {"source": str(tmp_path), "sequence_length": 9}
    assert load(tmp_path / "b.txt", sequence_length=9).sizes["train"] == len(range(0, 400 - 9, 9))
    assert load(LETTERS).source == {}  # a text is not kept with the run


def test_a_prompt_is_prepared_as_the_training_was():
    found = load(LETTERS, sequence_length=8)
    again = data.transform_from_config(
        "corpus", json.loads(json.dumps(found.transform.get_config()))
    )
    x = again(["abc", "?"])
    assert x.shape == (2, 8) and x[0, 3:].tolist() == [0] * 5 and x[1, 0] == 1
    with pytest.raises(ValueError, match="text 0='9 tokens': this model takes at most 8"):
        again(["abcdefghi"])
    with pytest.raises(ValueError, match="text 0='': is empty"):
        again([""])


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("\n", {}, "source='text': is empty"),
        (LETTERS, {"sequence_length": 100}, "the validation part has 100 tokens; one window"),
        (LETTERS, {"sequence_length": 0}, "sequence_length=0"),
        (LETTERS, {"stride": 0}, "stride=0: must be a positive integer"),
        (LETTERS, {"level": "sentences"}, "unknown level 'sentences'; known: words"),
        (LETTERS, {"level": "bpe", "vocabulary_size": 100}, "=100: must be at least 258"),
        (LETTERS, {"validation_fraction": 0, "test_fraction": 0}, "must be in (0, 1)"),
        (LETTERS, {"validation_fraction": 0.5, "test_fraction": 0.5}, "must be in (0, 1)"),
        ("no/such/file.txt", {}, "no such file or folder"),
        ("empty.txt", {}, "holds no text"),
        (".", {}, "holds no text"),
        ("iris", {}, "holds tables; this family takes corpus, embedded: pydoc_topics"),
        (3, {}, "source is a int"),
    ],
)  # fmt: skip
def test_bad_input(source, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError) as error:
        load(source, **options)
    assert words in str(error.value)
