"""Pairs: teacher forcing, buckets, dates read back by hand, parallel files, bad input."""

import gzip
import json
import re
from datetime import date
from pathlib import Path

import keras
import numpy as np
import pytest

from recipes import data
from recipes.data import pairs

SHARED = Path(__file__).parents[2] / "shared" / "data" / "multi30k_de_en"
RNG = np.random.default_rng(0)
SOURCES = ["".join(RNG.choice(list("abcdef"), n)) for n in RNG.integers(1, 30, 400)]
TARGETS = [text[::-1] + text[:1] for text in SOURCES]


def load(source, **options):
    return data.load(source, ("pairs",), **options)


@pytest.fixture(scope="module")
def dates():
    return load("dates", count=3000)


@pytest.fixture
def lists():
    return load((SOURCES, TARGETS), level="characters", batch_size=16)


# --- what a batch holds


def test_the_target_comes_in_one_step_later_than_it_goes_out():
    found = load((["ab", "b"] * 10, ["ba", "b"] * 10), level="characters", num_buckets=1)
    assert found.transform.source.vocabulary == ["b", "a"]  # 4 b, 2 a in each four texts
    b, a = 4, 5
    examples = {
        (tuple(x), tuple(i), tuple(o))
        for (xs, into), out in found.train
        for x, i, o in zip(xs.tolist(), into.tolist(), out.tolist(), strict=True)
    }
    assert examples == {((a, b), (2, b, a), (b, a, 3)), ((b, 0), (2, b, 0), (b, 3, 0))}
    (x, into), out = found.test[0]
    assert x.dtype == into.dtype == out.dtype == np.int32
    assert found.spec["source_length"] == 2 and found.spec["target_length"] == 3
    assert found.spec["source_vocabulary_size"] == found.spec["target_vocabulary_size"] == 6
    assert found.transform.decode(out[:1]) in (["ba"], ["b"])
    assert found.transform.decode([[4, 3, 5, 5]]) == ["b"]  # up to the end


def test_longer_sequences_are_cut():
    found = load((["abc"] * 20, ["abc"] * 20), level="characters", source_length=2, target_length=2)
    (x, into), out = found.train[0]
    assert x.shape[1] == into.shape[1] == out.shape[1] == 2
    assert into[0].tolist() == [2, out[0, 0]] and 3 not in out


def test_separate_vocabularies():
    options = {"level": "characters", "shared_vocabulary": False}
    found = load((["ab"] * 20, ["xyz"] * 20), **options)
    assert found.spec["source_vocabulary_size"] == 6 and found.spec["target_vocabulary_size"] == 7
    configs = found.spec["tokenizers"]
    assert configs["source"]["vocabulary"] == ["a", "b"]
    assert configs["target"]["vocabulary"] == ["x", "y", "z"]
    again = data.transform_from_config(
        "pairs", json.loads(json.dumps(found.transform.get_config()))
    )
    assert again.decode(found.test[0][1]) == ["xyz"] * 2
    np.testing.assert_array_equal(again(["ba", "c"]), [[5, 4], [1, 0]])


# --- buckets


def test_each_pair_comes_once_an_epoch_in_the_least_bucket_that_holds_it(lists):
    train = lists.train
    assert 2 <= len(train.widths) <= 4
    assert np.all(np.diff(train.widths, axis=0) > 0)
    assert train.widths[-1] == (lists.spec["source_length"], lists.spec["target_length"])
    whole = {tuple(row) for row in train.x[0][train.indices].tolist()}
    slots = 0
    for _ in range(2):
        seen = []
        assert len(list(train)) == len(train)
        for (x, into), out in train:
            assert (x.shape[1], out.shape[1]) in train.widths and into.shape == out.shape
            slots += x.size
            fits = [w for w in train.widths if (x != 0).sum(1).max() <= w[0]
                    and (out != 0).sum(1).max() <= w[1]]  # fmt: skip
            assert fits[0] == (x.shape[1], out.shape[1])
            seen += x.tolist()
        full = np.zeros((len(seen), train.x[0].shape[1]), int)
        for row, ids in zip(full, seen, strict=True):
            row[: len(ids)] = ids
        assert {tuple(row) for row in full.tolist()} == whole  # nothing is cut off
        assert sorted(train.order.tolist()) == train.indices.tolist()
        train.on_epoch_end()
    assert slots < 0.75 * 2 * train.size * train.widths[-1][0]  # what it is for


def test_the_order_is_a_function_of_seed_and_epoch_alone(lists):
    orders = []
    for _ in range(3):
        orders.append(lists.train.order.tolist())
        lists.train.on_epoch_end()
    other = load((SOURCES, TARGETS), level="characters", batch_size=16)
    for epoch in (2, 0, 1):
        other.train.epoch = epoch
        assert other.train.order.tolist() == orders[epoch]
    assert len({tuple(order) for order in orders}) == 3
    other = load((SOURCES, TARGETS), level="characters", batch_size=16, seed=1)
    assert other.train.order.tolist() != orders[0]


def test_the_first_two_batches_differ_in_width(lists):
    # TensorFlow learns from these which axes vary.
    for _ in range(20):
        (first, _), (second, _) = lists.train[0][0], lists.train[1][0]
        assert first.shape[1] != second.shape[1]
        lists.train.on_epoch_end()


def test_validation_and_test_are_in_order_at_full_width(lists):
    for part in (lists.validation, lists.test):
        assert part.order.tolist() == part.indices.tolist()
        (x, into), y = part.arrays()
        assert x.shape == (part.size, lists.spec["source_length"])
        assert into.shape == y.shape == (part.size, lists.spec["target_length"])
        assert lists.transform.decode(y) == [TARGETS[i] for i in part.indices]


def test_fit_takes_buckets_and_predict_gives_one_array(lists):
    """A network that copies its second input learns nothing, but must see every pair."""
    source = keras.Input((None,), dtype="int32")
    target = keras.Input((None,), dtype="int32")
    table = keras.layers.Embedding(20, 4)
    context = keras.layers.GlobalAveragePooling1D(keepdims=True)(table(source))
    logits = keras.layers.Dense(20)(table(target) + context)
    model = keras.Model([source, target], logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    model.compile("adam", loss)
    losses = model.fit(lists.train, validation_data=lists.validation, epochs=3, verbose=0).history[
        "loss"
    ]
    assert losses[-1] < losses[0]
    y = lists.test.arrays()[1]
    assert model.predict(lists.test, verbose=0).shape == (*y.shape, 20)


def test_with_batch_size_keeps_all_else(lists):
    other = lists.with_batch_size(50)
    assert other.sizes == lists.sizes == {"train": 320, "validation": 40, "test": 40}
    assert other.train.widths == lists.train.widths
    assert len(other.train) < len(lists.train)
    assert sorted(other.train.order) == sorted(lists.train.order)


# --- dates


def test_dates_of_five_languages_say_what_their_iso_form_says(dates):
    (x, _), y = dates.test.arrays()
    written = [dates.transform.source.decode(row) for row in x]
    iso = dates.transform.decode(y)
    for text, target in zip(written, iso, strict=True):
        day = date.fromisoformat(target)
        numbers = [int(n) for n in re.findall(r"\d+", text)]
        # in words the month is no number; "03.04.1984" is German
        in_words, in_numbers = [day.day, day.year], [day.day, day.month, day.year]
        assert sorted(numbers) in (sorted(in_words), sorted(in_numbers)), (text, target)
        assert str(day.year) in text
    texts = " ".join(written)
    assert all(word in texts for word in ("de enero de", "Januar", "January", "janvier", "gennaio"))


def test_no_day_is_in_two_parts_and_the_seed_draws_others(dates):
    days = []
    for part in (dates.train, dates.validation, dates.test):
        texts = dates.transform.decode(part.arrays()[1])
        assert len(set(texts)) == len(texts)
        days.append(set(texts))
    assert not days[0] & days[1] and not days[0] & days[2] and not days[1] & days[2]
    assert sum(map(len, days)) == 3000
    other = load("dates", count=3000, seed=1)
    assert set(other.transform.decode(other.train.arrays()[1])) != days[0]
    again = load("dates", count=3000)
    assert np.array_equal(again.train.x[0], dates.train.x[0])


def test_dates_of_a_day_known_by_heart():
    days = [date(1984, 4, 3)] * 60
    assert set(pairs.write_dates(days, ["en"])[0]) == {
        "Tuesday, April 3, 1984", "April 3, 1984", "Apr 3, 1984"}  # fmt: skip
    assert set(pairs.write_dates(days, ["de"])[0]) == {
        "Dienstag, 3. April 1984", "3. April 1984", "03.04.1984"}  # fmt: skip
    assert pairs.write_dates(days, ["de", "en"])[1] == ["1984-04-03"] * 60


def test_dates_in_english_and_in_many_languages():
    few = load("dates", count=500, languages=("en",))
    many = load("dates", count=500, languages="many")
    assert many.spec["source_vocabulary_size"] > 2 * few.spec["source_vocabulary_size"]
    assert few.spec["target_length"] == many.spec["target_length"] == 11
    assert few.source == {"source": "dates", "count": 500, "languages": ("en",)}
    assert len(few.train.widths) > 1 and {w[1] for w in few.train.widths} == {11}


# --- sources


def test_multi30k():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    source = {
        "train": [str(SHARED / f"val.{side}.gz") for side in ("de", "en")],  # smaller than train
        "test": {
            "source": SHARED / "test_2016_flickr.de.gz",
            "target": SHARED / "test_2016_flickr.en.gz",
        },
    }
    found = load(source, vocabulary_size=2000, validation_fraction=0)
    assert found.sizes == {"train": 1014, "validation": 0, "test": 1000}
    assert found.spec["source_vocabulary_size"] == 2000
    text = "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    assert found.transform.source.decode(found.test.x[0][1014]) == text
    assert (
        found.transform.decode(found.test[0][1])[0]
        == "A man in an orange hat starring at something."
    )
    assert found.source["source"]["test"]["source"] == str(SHARED / "test_2016_flickr.de.gz")
    again = load(**json.loads(json.dumps(found.source)))
    assert np.array_equal(again.train.x[0], found.train.x[0])


def test_each_source_holds_the_same_pairs(tmp_path, lists):
    rows = "".join(f"{a}\t{b}\tCC BY\n" for a, b in zip(SOURCES, TARGETS, strict=True))
    (tmp_path / "a.tsv").write_text(rows)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "s.txt").write_text("\n".join(SOURCES))
    (tmp_path / "t.txt").write_text("\n".join(TARGETS) + "\n")
    both = (tmp_path / "s.txt", tmp_path / "t.txt")
    named = dict(zip(("source", "target"), both, strict=True))
    lone = {"source": SOURCES, "target": TARGETS}
    for source in (tmp_path / "a.tsv", tmp_path / "a.txt.gz", both, list(both), named, lone):
        found = load(source, level="characters")
        assert np.array_equal(found.train.x[0], lists.train.x[0])
        assert np.array_equal(found.test.y, lists.test.y)
    parts = ((SOURCES, TARGETS), (SOURCES[:7], TARGETS[:7]))
    assert load(parts, level="characters").sizes["test"] == 7
    assert load((both, both), level="characters").sizes["test"] == 400


def test_what_is_made_from_the_training_part_sees_no_other():
    late = (["zzz" * 20] * 5, ["zz" * 20] * 5)
    found = load(((SOURCES, TARGETS), late), level="characters")
    assert "z" not in found.transform.source.vocabulary
    assert found.spec["source_length"] == max(map(len, SOURCES)) < 60
    assert set(found.test[0][0][0].ravel()) == {1}


# --- bad input


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (("s.txt", "t.txt"), {}, "unequal length: s.txt has 2 texts and t.txt has 3"),
        ((["a"], ["b", "c"]), {}, "unequal length: source has 1 texts and target has 2"),
        (("s.txt", "gone.txt"), {}, "gone.txt: no such file"),
        ((["a", ""], ["b", "c"]), {}, "train source 1='': is empty"),
        ((["a", "b"], ["c", None]), {}, "train target 1=None: is no text"),
        ({"train": (["a"], ["b"]), "dev": 1}, {}, "a dictionary with keys"),
        ("s.txt", {}, "s.txt, line 1: 'a' is not source<TAB>target"),
        ("empty.txt", {}, "holds no lines of source<TAB>target"),
        ("nowhere/at/all", {}, "no such file or folder"),
        ("dates", {"level": "letters"}, "unknown level 'letters'; known: auto"),
        ("dates", {"languages": "ten"}, "unknown set of languages 'ten'; known: five, many"),
        ("dates", {"languages": ("en", "xx")}, "locales such as ('en', 'de')"),
        ("dates", {"count": 10**6}, "count=1000000: there are 73049 days"),
        ("dates", {"num_buckets": 0}, "num_buckets=0: must be a positive integer"),
        ("dates", {"source_length": 0}, "source_length=0"),
        ((SOURCES, TARGETS), {"count": 5}, "count=5: is for dates only"),
        ((SOURCES, TARGETS), {"vocabulary_size": 100}, "must be at least 260 for level='bpe'"),
        ("iris", {}, "holds tables; this family takes pairs, embedded: dates"),
        ((np.eye(3), np.eye(3)), {}, "source=<tuple> holds tables"),
    ],
)  # fmt: skip
def test_bad_input(source, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.txt").write_text("a\nb\n")
    Path("t.txt").write_text("a\nb\nc\n")
    Path("empty.txt").touch()
    with pytest.raises(ValueError) as error:
        load(source, **options)
    assert words in str(error.value)
