"""Patterns: what is stored, how copies are spoilt, and which sources hold patterns."""

import json

import numpy as np
import pytest
from PIL import Image

from recipes import data, hopfield
from recipes.data import patterns
from recipes.data.images import load as load_images

ROWS = np.array([[1, -1, 1, 1], [-1, -1, 1, -1], [1, 1, -1, -1]])


def test_parts_are_the_patterns_and_spoilt_copies_of_them():
    found = patterns.load("random", count=7, shape=(4, 5), flip=0.25, copies=3)
    assert found.kind == "patterns"
    assert found.spec == {"input_shape": (4, 5), "num_patterns": 7}
    assert found.sizes == {"train": 7, "validation": 21, "test": 21}
    assert found.class_names is None
    x, y = found.train.arrays()
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(x, y)
    assert set(np.unique(x)) == {-1, 1}
    spoilt = {}
    for name in ("validation", "test"):
        copies, truth = getattr(found, name).arrays()
        np.testing.assert_array_equal(truth, np.tile(x, (3, 1, 1)))
        assert ((copies != truth).sum(axis=(1, 2)) == 5).all()  # a quarter of 20, in each one
        assert set(np.unique(copies)) == {-1, 1}
        spoilt[name] = copies
    assert (spoilt["test"] != spoilt["validation"]).any(axis=(1, 2)).all()
    assert len(np.unique(spoilt["test"], axis=0)) == 21  # no two copies are alike


def test_the_seed_fixes_patterns_and_copies():
    first, again, other = (patterns.load("random", seed=seed) for seed in (1, 1, 2))
    for part in ("train", "validation", "test"):
        x, same, different = (getattr(d, part).arrays()[0] for d in (first, again, other))
        np.testing.assert_array_equal(x, same)
        assert (x != different).any()


def test_random_patterns_are_fair_and_independent():
    x = patterns.random_patterns(400, (500,)).astype("float64")
    assert abs(x.mean()) < 4 / np.sqrt(x.size)
    overlaps = (x @ x.T / 500)[np.triu_indices(400, 1)]
    assert overlaps.std() == pytest.approx(1 / np.sqrt(500), rel=0.03)


def test_values_are_turned_over_anywhere():
    x = patterns.random_patterns(2000, (10,))
    turned = (patterns.corrupt(x, 0.3, 5) != x).mean(axis=0)
    np.testing.assert_allclose(turned, 0.3, atol=4 * np.sqrt(0.21 / 2000))
    np.testing.assert_array_equal(patterns.corrupt(x, 0.0), x)


def test_letters_are_26_different_patterns_with_half_of_the_pixels_in_ink():
    x, _ = patterns.load("letters", count=26).train.arrays()
    assert x.shape == (26, 16, 16, 1)
    assert len(np.unique(x.reshape(26, -1), axis=0)) == 26
    assert sorted(patterns.LETTERS) == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    ink = (x > 0).mean(axis=(1, 2, 3))
    assert 0.25 < ink.min() < ink.max() < 0.65
    (letter_i, letter_t, letter_h) = (x[list(patterns.LETTERS).index(c), :, :, 0] for c in "ITH")
    np.testing.assert_array_equal(letter_i, letter_i[:, ::-1])  # I, T and H are symmetric ...
    np.testing.assert_array_equal(letter_t, letter_t[:, ::-1])
    np.testing.assert_array_equal(letter_h, letter_h[::-1])
    assert (letter_t != letter_t[::-1]).any()  # ... T not upside down: its bar is on top
    assert letter_t[2].sum() > letter_t[13].sum()


@pytest.mark.parametrize("given", [ROWS, (ROWS + 1) // 2, ROWS > 0, ROWS.astype("float32"),
                                   ROWS.tolist(), [tuple(row) for row in ROWS > 0]])  # fmt: skip
def test_arrays_of_two_values_are_patterns(given):
    found = hopfield.load_data(given)
    np.testing.assert_array_equal(found.train.arrays()[0], ROWS)
    np.testing.assert_array_equal(found.transform(np.asarray(given)), ROWS)


def test_images_become_patterns_one_of_each_class_in_turn():
    found = hopfield.load_data("digits", count=23)
    x, _ = found.train.arrays()
    assert x.shape == (23, 8, 8, 1)
    images = load_images("digits", standardize=False)
    raw, labels = images.train.x[images.train.indices], images.train.targets
    which = [labels[(np.where(raw >= 127.5, 1, -1) == row).all(axis=(1, 2, 3))][0] for row in x]
    assert which == [*range(10), *range(10), 0, 1, 2]
    assert len(np.unique(x, axis=0)) == 23
    assert hopfield.load_data("digits").spec["num_patterns"] == 10
    np.testing.assert_array_equal(found.transform(raw[:5]), np.where(raw[:5] >= 127.5, 1, -1))


@pytest.mark.slow
def test_a_prepared_set_and_a_folder_become_patterns(shared_tfds, tmp_path):
    found = hopfield.load_data("mnist", data_dir=shared_tfds, image_size=14)
    assert found.spec == {"input_shape": (14, 14, 1), "num_patterns": 10}
    for i in range(12):
        dots = np.random.default_rng(i).integers(0, 256, (9, 9), "uint8")
        Image.fromarray(dots).save(tmp_path / f"{i}.png")
    found = hopfield.load_data(str(tmp_path))
    assert found.spec["input_shape"] == (9, 9, 1)
    assert set(np.unique(found.train.arrays()[0])) == {-1, 1}


def test_the_transform_is_made_again_from_its_config_and_reads_pictures(tmp_path):
    found = patterns.load("letters")
    config = json.loads(json.dumps(found.transform.get_config()))
    again = data.transform_from_config("patterns", config)
    letter = found.train.x[:1]
    np.testing.assert_array_equal(again(letter), letter)
    grey = np.where(letter[0, :, :, 0] > 0, 200, 90).astype("uint8")
    Image.fromarray(grey).save(tmp_path / "w.png")
    np.testing.assert_array_equal(again.read_files([tmp_path / "w.png"]), letter)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([[1, -1], [1, -1, 1]], {}, r"unequal lengths; needs one array .* -1 and \+1, 0 and 1"),
        (np.array([[1, -1, 2]]), {}, r"the values -1, 1, 2 \.\.\.': needs one array"),
        (np.array([[0, 1, -1]]), {}, r"the values -1, 0, 1 "),
        (np.array([[1.0, np.nan]]), {}, r"with NaN': needs one array"),
        (np.array([1, -1]), {}, r"shape \(2,\)': needs one array"),
        (np.empty((0, 4)), {}, r"shape \(0, 4\)'"),
        (np.array([["a", "b"]]), {}, r"<U1 array"),
        ({"train": ROWS}, {}, r"a dict': needs one array"),
        ((ROWS, np.zeros(3)), {}, r"unequal lengths; .* without labels"),
        ("iris", {}, r"'iris' holds tables; this family takes patterns, embedded: letters, random"),
        ("letters", {"count": 27}, r"count=27: letters holds 26 patterns"),
        ("letters", {"count": 0}, r"count=0: must be a positive integer"),
        ("letters", {"flip": 0.6}, r"flip=0.6: must be a number in \[0, 0.5\]"),
        ("letters", {"copies": 0}, r"copies=0: must be a positive integer"),
        ("letters", {"shape": (4,)}, r"shape=\(4,\): is for random patterns only"),
        ("random", {"shape": (0,)}, r"^shape=\(0,\): must be a tuple of positive"),
    ],
)  # fmt: skip
def test_what_holds_no_patterns_gets_one_clear_error(source, options, message):
    with pytest.raises(ValueError, match=message):
        hopfield.load_data(source, **options)


def test_images_are_still_images_for_the_other_families():
    with pytest.raises(ValueError, match="holds patterns; this family takes images"):
        data.load("letters", ("images",))
    assert data.load("digits", ("images",)).kind == "images"
    assert data.load(np.zeros((10, 8, 8)), ("images",), labelled=False).kind == "images"
