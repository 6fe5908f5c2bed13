"""Images: the embedded sets' facts, statistics, folders of pictures, arrays."""

import shutil

import numpy as np
import pytest

from recipes import data
from recipes.data import images
from recipes.data.pictures import Pictures, read_picture

RNG = np.random.default_rng(0)


def load(source, **options):
    return data.load(source, ("images",), **options)


def colours(n=40, size=(6, 5), channels=3):
    """Random uint8 pictures whose channels differ in mean and spread, of two classes."""
    spread = np.array([40, 90, 120])[:channels]
    x = 10 * np.arange(channels) + RNG.random((n, *size, channels)) * spread
    return x.astype("uint8"), np.arange(n) % 2


def save(path, pixels, mode=None, **options):
    """Write an array as a picture; returns the path."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.squeeze(pixels))
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """20 colour PNG pictures of 6 x 5 in the classes 'ape' and 'bee'; (folder, x, y)."""
    x, y = colours(20)
    y = np.sort(y)
    for i, (pixels, label) in enumerate(zip(x, y, strict=True)):
        save(tmp_path / "set" / ("ape", "bee")[label] / f"{i:02}.png", pixels)
    return tmp_path / "set", x, y


# --- embedded sets


def test_mnist5k_is_500_images_of_each_digit():
    found = load("mnist5k")
    assert found.sizes == {"train": 3500, "validation": 500, "test": 1000}
    assert found.spec == {"input_shape": (28, 28, 1), "num_classes": 10}
    assert found.class_names == tuple("0123456789")
    for part, count in ((found.train, 350), (found.validation, 50), (found.test, 100)):
        assert np.bincount(part.targets).tolist() == [count] * 10
    raw = found.train.x
    assert raw.shape == (5000, 28, 28, 1) and raw.dtype == np.uint8
    assert (raw.min(), raw.max()) == (0, 255)
    assert raw.max(axis=(1, 2, 3)).min() > 100  # no image is empty
    assert np.all(raw[:, 0, 0] == 0)  # digits are centred
    assert "CC BY-SA 3.0" in found.licence and "LeCun" in found.citation


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    found = load("digits")
    assert found.spec == {"input_shape": (8, 8, 1), "num_classes": 10}
    labels = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(found.train.y).tolist() == labels and sum(labels) == 1797
    raw = found.train.x[..., 0]
    assert (raw.min(), raw.max()) == (0, 255)
    np.testing.assert_array_equal(np.rint(raw * (16 / 255)), load_digits().images)
    assert "CC BY 4.0" in found.licence


# --- statistics and the transform


@pytest.mark.parametrize("channels", [1, 3])
def test_training_images_have_mean_0_and_deviation_1_in_each_channel(channels):
    found = load(colours(60, channels=channels), seed=3)
    x, _ = found.train.arrays()
    assert x.dtype == np.float32 and x.shape[1:] == (6, 5, channels)
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 1, 2)), 1, atol=1e-5)
    assert np.abs(found.test.arrays()[0].mean()) > 1e-4  # the test part has its own


def test_the_transform_is_scale_then_standardise():
    transform = images.ImageTransform((2, 2), 3, 1 / 255, [0.1, 0.2, 0.3], [0.5, 1.0, 2.0])
    raw = RNG.integers(0, 256, (4, 2, 2, 3)).astype("uint8")
    before = raw.copy()
    expected = (raw / 255.0 - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(transform(raw), expected, atol=1e-6)
    np.testing.assert_array_equal(raw, before)
    floats = raw.astype("float32")
    transform(floats)
    np.testing.assert_array_equal(floats, before)  # an array of the caller's own is not touched


def test_statistics_come_from_the_training_part_only():
    x, y = colours(60)
    first = load((x, y))
    changed = x.copy()
    for part in (first.test, first.validation):
        changed[part.indices] = 255
    second = load((changed, y))
    assert np.array_equal(first.train.indices, second.train.indices)
    assert first.transform.get_config() == second.transform.get_config()
    changed[first.train.indices[0]] = 255
    assert load((changed, y)).transform.get_config() != first.transform.get_config()


def test_statistics_are_summed_over_all_chunks():
    x, y = colours(1000)
    found = load((x, y))
    of_training = x[found.train.indices] / 255.0
    np.testing.assert_allclose(found.transform.mean, of_training.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(found.transform.std, of_training.std(axis=(0, 1, 2)), rtol=1e-9)


def test_a_constant_channel_does_not_blow_up():
    x, y = colours()
    x[..., 1] = 7
    inputs, _ = load((x, y)).train.arrays()
    assert np.abs(inputs[..., 1]).max() < 1e-5


def test_without_standardising_inputs_lie_in_0_to_1():
    x, y = colours()
    inputs, _ = load((x, y), standardize=False).train.arrays()
    np.testing.assert_allclose(inputs, x[load((x, y)).train.indices] / 255, rtol=1e-6)


@pytest.mark.parametrize(("factor", "offset", "scale"), [(1, 0, 1 / 255), (1 / 255, 0, 1.0)])
def test_float_arrays_are_taken_as_0_to_255_or_0_to_1_and_agree_with_files(
    tmp_path, factor, offset, scale
):
    x, y = colours()
    x[:, 0, 0] = 255
    bytes_ = load((x, y))
    floats = load((x.astype("float32") * factor + offset, y))
    assert floats.transform.scale == pytest.approx(scale)
    np.testing.assert_allclose(floats.test.arrays()[0], bytes_.test.arrays()[0], atol=1e-5)
    path = save(tmp_path / "a.png", x[0])
    np.testing.assert_allclose(
        floats.transform.read_files([path]), bytes_.transform(x[:1]), atol=1e-5
    )


def test_floats_of_another_range_train_but_files_cannot_be_scaled_to_them(tmp_path):
    x, y = colours()
    found = load((x.astype("float32") - 128, y))
    np.testing.assert_allclose(found.train.arrays()[0].std(axis=(0, 1, 2)), 1, atol=1e-5)
    with pytest.raises(ValueError, match=r"values outside of 0 \.\. 255"):
        found.transform.read_files([save(tmp_path / "a.png", x[0])])


# --- arrays


def test_arrays_are_scaled_to_cover_and_cropped_in_the_middle():
    x = np.zeros((10, 4, 8, 1), "uint8")
    x[:, :, 2:6] = 200  # the middle square
    found = load((x, np.arange(10) % 2), image_size=4, standardize=False)
    assert found.spec["input_shape"] == (4, 4, 1)
    np.testing.assert_allclose(found.train[0][0], 200 / 255, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_channels_are_changed_without_changing_white_and_black(dtype):
    x = np.zeros((10, 2, 2, 3), dtype)
    x[:, 0] = 255
    grey = load((x, np.arange(10) % 2), channels=1)
    assert grey.train.x.shape == (10, 2, 2, 1) and grey.train.x.dtype == dtype
    np.testing.assert_allclose(grey.train.x[:, :, :, 0], x[..., 0], atol=1e-4)
    colour = load((grey.train.x, np.arange(10) % 2), channels=3)
    np.testing.assert_allclose(colour.train.x, x, atol=1e-4)


def test_grey_arrays_without_a_channel_axis():
    x, y = colours(channels=1)
    np.testing.assert_array_equal(load((x[..., 0], y)).train.x, x)


# --- folders


def test_a_folder_gives_what_its_arrays_give(folder, monkeypatch):
    path, x, y = folder
    expected = load((x, y), seed=1)
    monkeypatch.chdir(path.parent)
    for source in (path, str(path), f"{path}/", "set"):
        found = load(source, seed=1)
        assert found.name == "set" and found.class_names == ("ape", "bee")
        assert found.spec == {"input_shape": (6, 5, 3), "num_classes": 2}
        for part in ("train", "validation", "test"):
            given, wanted = getattr(found, part), getattr(expected, part)
            np.testing.assert_array_equal(given.arrays()[0], wanted.arrays()[0])
            np.testing.assert_array_equal(given.targets, wanted.targets)
    files = sorted(path.rglob("*.png"))
    np.testing.assert_array_equal(found.transform.read_files(files), found.transform(x))


def test_a_folder_larger_than_the_cache_is_read_batch_by_batch(folder):
    path, *_ = folder
    small, large = load(path, batch_size=4), load(path, batch_size=4, cache_bytes=100)
    assert isinstance(large.train.x, Pictures) and large.train.workers > 1
    assert small.transform.get_config() == large.transform.get_config()
    for i in range(len(small.train)):
        for a, b in zip(small.train[i], large.train[i], strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_no_picture_is_left_alone_and_names_may_be_anything(folder):
    path, x, _ = folder
    for junk in (".DS_Store", "ape/.DS_Store", "ape/._00.png", "ape/notes.txt", "__MACOSX/a.png"):
        (path / junk).parent.mkdir(exist_ok=True)
        (path / junk).write_bytes(b"junk")
    (path / ".cache").mkdir()
    (path / "bee").rename(path / "Bär und Löwe ☃")
    save(path / "ape" / "deeper" / "ein Bild.PNG", x[0])
    found = load(path)
    assert found.class_names == ("Bär und Löwe ☃", "ape")
    assert sum(found.sizes.values()) == 21


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "testing")])
def test_sub_folders_that_are_parts(folder, names):
    path, x, y = folder
    root = path.parent / "parts"
    for part, chosen in zip(names, (slice(0, 20), slice(3, 6), slice(8, 13)), strict=True):
        for i in range(20)[chosen]:
            save(root / part / ("ape", "bee")[y[i]] / f"{i:02}.png", x[i])
    found = load(root, standardize=False)
    assert found.sizes == {"train": 20, "validation": 3, "test": 5}
    inputs, targets = found.test.arrays()
    np.testing.assert_allclose(inputs, x[8:13] / 255, rtol=1e-6)
    assert targets.tolist() == [0, 0, 1, 1, 1]

    shutil.rmtree(root / names[1])
    shutil.rmtree(root / names[2])
    assert load(root).sizes == {"train": 14, "validation": 2, "test": 4}

    save(root / names[2] / "cow" / "1.png", x[0])
    with pytest.raises(ValueError, match="cow: a class that the training part does not have"):
        load(root)


def test_classes_may_be_called_like_parts(folder):
    path, *_ = folder
    (path / "ape").rename(path / "test")
    assert load(path).class_names == ("bee", "test")


def test_mixed_sizes_become_64_by_64_or_what_is_asked_for(folder):
    path, x, _ = folder
    save(path / "ape" / "large.jpg", np.repeat(np.repeat(x[0], 20, 0), 30, 1))
    assert load(path).spec["input_shape"] == (64, 64, 3)
    assert load(path, image_size=(8, 10)).spec["input_shape"] == (8, 10, 3)
    assert load(path, image_size=8, channels=1).spec["input_shape"] == (8, 8, 1)


def test_all_grey_files_make_grey_images(tmp_path):
    x, _ = colours(12, channels=1)
    for i, pixels in enumerate(x):
        options = {"mode": ("L", "1", "LA")[i % 3]}
        save(tmp_path / "ab"[i % 2] / f"{i}.png", pixels, **options)
    assert load(tmp_path).spec["input_shape"] == (6, 5, 1)
    save(tmp_path / "a" / "colour.png", np.zeros((6, 5, 3), "uint8"))
    assert load(tmp_path).spec["input_shape"] == (6, 5, 3)


def test_pixels_are_right_in_every_mode(tmp_path):
    from PIL import Image

    x = colours(1, size=(16, 16))[0][0]
    x = np.array(Image.fromarray(x).quantize(16).convert("RGB"))  # fits a palette
    paths = {
        "palette": save(tmp_path / "p.png", x, "P", optimize=False),
        "alpha": save(tmp_path / "a.png", x, "RGBA"),
        "bitmap": save(tmp_path / "b.bmp", x),
        "webp": save(tmp_path / "w.webp", x, lossless=True),
        "tiff": save(tmp_path / "t.tif", x),
    }
    Image.fromarray(x).quantize(16).save(paths["palette"])
    for name, path in paths.items():
        np.testing.assert_array_equal(read_picture(path, None, 3), x, err_msg=name)
    smooth = np.full((16, 16, 3), (200, 100, 30), "uint8")
    cmyk = read_picture(save(tmp_path / "c.jpg", smooth, "CMYK", quality=95), None, 3)
    assert np.abs(cmyk.astype(int) - smooth).max() <= 4
    grey = read_picture(paths["tiff"], None, 1)[..., 0]
    np.testing.assert_allclose(grey, x @ [0.299, 0.587, 0.114], atol=0.51)


def test_16_bit_pictures_keep_their_shades(tmp_path):
    shades = np.arange(256, dtype="uint16").reshape(16, 16)
    path = save(tmp_path / "deep.png", shades * 257)  # 0 .. 65535
    np.testing.assert_array_equal(read_picture(path, None, 1)[..., 0], shades)
    np.testing.assert_array_equal(read_picture(path, None, 3)[..., 1], shades)


def test_pictures_stand_upright(tmp_path):
    """EXIF orientation 6: the camera was turned, the stored pixels lie on their side."""
    from PIL import Image

    x = np.zeros((16, 32, 3), "uint8")
    x[:8] = 255  # the stored upper half is the right half of the picture
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        for i in range(5):
            save(tmp_path / name / f"{i}.jpg", x, exif=exif, quality=95)
    found = load(tmp_path, standardize=False)
    assert found.spec["input_shape"] == (32, 16, 3)
    image = found.train[0][0][0]
    assert image[:, :7].max() < 0.05 and image[:, 9:].min() > 0.95


@pytest.mark.parametrize("cache_bytes", [100, 2**20])
def test_a_damaged_file_is_named_or_skipped(folder, cache_bytes):
    path, *_ = folder
    (path / "ape" / "03.png").write_bytes((path / "ape" / "03.png").read_bytes()[:-40])  # cut short
    (path / "bee" / "15.png").write_bytes(b"no picture at all")
    with pytest.raises(ValueError) as error:
        load(path, cache_bytes=cache_bytes)
    assert "03.png: not a readable picture" in str(error.value)
    assert "and 1 more" in str(error.value) and "on_corrupt='skip'" in str(error.value)
    with pytest.warns(UserWarning, match=r"skipped .*03\.png.* and 1 more"):
        found = load(path, on_corrupt="skip", cache_bytes=cache_bytes)
    assert sum(found.sizes.values()) == 18
    assert found.spec["input_shape"] == (6, 5, 3)
    assert np.bincount(found.train.y).tolist() == [9, 9]
    kept = [i for i in range(20) if i not in (3, 15)]
    np.testing.assert_array_equal(found.train.x[np.arange(18)], folder[1][kept])


def test_a_file_that_may_not_be_read(folder, monkeypatch):
    path, *_ = folder
    from PIL import Image

    def refuse(file, *arguments, **options):
        raise PermissionError("Permission denied")

    monkeypatch.setattr(Image, "open", refuse)  # root may read what chmod forbids
    with pytest.raises(ValueError, match=r"00\.png: not a readable picture \(Permission denied\)"):
        load(path)


# --- bad input

X, Y = colours(20)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("digits", {"image_size": 0}, "image_size=0: must be a positive integer"),
        ("digits", {"image_size": (8, 8, 3)}, "image_size=(8, 8, 3): must be"),
        ("digits", {"image_size": "8"}, "image_size='8': must be"),
        ("digits", {"image_size": 8.0}, "image_size=8.0: must be"),
        ("digits", {"channels": 2}, "channels=2: must be 1 (grey) or 3 (colour)"),
        ("digits", {"on_corrupt": "ignore"}, "on_corrupt='ignore': must be 'error' or 'skip'"),
        ("digits", {"class_names": list("abcdefghij")}, "is for arrays only"),
        ((X[..., :2], Y), {}, "x has shape (20, 6, 5, 2); images need"),
        ((X[0, 0, 0], Y[:3]), {}, "x has shape (3,); images need"),
        ((X[None], Y[:1]), {}, "x has shape (1, 20, 6, 5, 3); images need"),
        ((X.astype(str), Y), {}, "images need numbers"),
        ((X.astype("complex64"), Y), {}, "images need numbers"),
        ((np.where(X > 100, np.nan, X), Y), {}, "holds NaN or infinite pixels"),
        ((X, Y), {"class_names": ["a"]}, "class_names=('a',): y holds labels 0 .. 1"),
        ((X, Y * 0), {}, "needs at least 2 classes"),
        ((X, Y / 3), {}, "labels must be whole numbers or texts"),
        ((X[:2], Y[:2]), {}, "2 examples are too few"),
    ],
)
def test_bad_input(source, options, words):
    with pytest.raises(ValueError) as error:
        load(source, **options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "found 0 sub-folder(s); needs one sub-folder a class"),
        (lambda p: save(p / "a" / "1.png", X[0]), "found 1 sub-folder(s)"),
        (lambda p: save(p / "1.png", X[0]), "found 0 sub-folder(s)"),
        (lambda p: [(p / c).mkdir() for c in "ab"], "a: no pictures; known types: .png, .jpg"),
        (
            lambda p: (
                [save(p / "a" / "1.png", X[0]), (p / "b").mkdir()]
                and (p / "b" / "x.png").write_bytes(b"")
            ),
            "x.png: not a readable picture",
        ),
        (
            lambda p: [save(p / f"{c}" / "1.tif", X[0, :, :, 0].astype("f4")) for c in "ab"],
            "32-bit floats",
        ),
    ],
)
def test_bad_folders(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    assert words in str(error.value)


def test_a_class_without_a_readable_picture(folder):
    path, *_ = folder
    (path / "cow").mkdir()
    (path / "cow" / "1.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match="cow: no readable picture; needs at least one"),
    ):
        load(path, on_corrupt="skip")


def test_bad_files_to_predict(folder):
    path, *_ = folder
    transform = load(path).transform
    with pytest.raises(ValueError, match="needs at least one picture"):
        transform.read_files([])
    with pytest.raises(ValueError, match="ape: not a readable picture"):
        transform.read_files([path / "ape"])
    with pytest.raises(ValueError, match=r"gone\.png: not a readable picture"):
        transform.read_files([path / "gone.png"])


# Images for networks that learn without labels


def flat_folder(folder, count=6):
    """Pictures in a folder of no classes, each of one grey value."""
    for i in range(count):
        save(folder / f"{i}.png", np.full((9, 7), 40 * i, "uint8"))
    return folder


def test_pictures_need_no_labels(tmp_path):
    folder = str(flat_folder(tmp_path / "holiday"))
    with pytest.raises(ValueError, match=r"found 0 sub-folder\(s\); needs one sub-folder a class"):
        images.load(folder)
    data = images.load(folder, labelled=False, standardize=False, validation_fraction=0.2)
    assert data.spec == {"input_shape": (9, 7, 1)}
    assert data.class_names is None
    assert data.train.targets is None
    assert len(data.train[0]) == 1  # x alone
    parts = [part.arrays() for part in (data.train, data.validation, data.test)]
    assert all(y is None for _, y in parts)
    greys = np.concatenate([x[:, 0, 0, 0] for x, _ in parts])
    np.testing.assert_allclose(np.sort(greys), np.arange(6) * 40 / 255, rtol=1e-6)
    # Parts stay apart, and classes are taken where they are.
    for part in ("train", "test"):
        flat_folder(tmp_path / "split" / part, 4)
    data = images.load(str(tmp_path / "split"), labelled=False, validation_fraction=0)
    assert data.sizes == {"train": 4, "validation": 0, "test": 4}
    for name in ("cats", "dogs"):
        flat_folder(tmp_path / "pets" / name)
    assert images.load(str(tmp_path / "pets"), labelled=False).class_names == ("cats", "dogs")


def test_arrays_need_no_labels():
    x = np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3), "uint8")
    data = images.load(x, labelled=False)
    assert data.sizes == {"train": 14, "validation": 2, "test": 4}
    assert data.train.targets is None
    parts = images.load({"train": x, "test": x[:3]}, labelled=False)
    np.testing.assert_array_equal(parts.test.x[parts.test.indices], x[:3])
    with pytest.raises(ValueError, match="either all parts have labels or none has"):
        images.load({"train": x, "test": (x[:3], [0, 1, 0])}, labelled=False)
    with pytest.raises(
        ValueError, match=r"the train part is a ndarray of length 20; needs \(x, y\)"
    ):
        images.load(x)


def test_binary_images_are_drawn_once_with_the_grey_value_as_probability():
    x = np.repeat(np.array([0, 51, 204, 255], "uint8"), 2000).reshape(-1, 1, 1, 1)
    x = x.repeat(4, axis=1)
    data = images.load(x, labelled=False, binarize="sample", seed=1)
    drawn = data.train.transform(data.train.x)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    shares = drawn.reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(shares, [0, 0.2, 0.8, 1], atol=0.02)
    again = images.load(x, labelled=False, binarize="sample", seed=1)
    np.testing.assert_array_equal(again.train.transform(again.train.x), drawn)
    other = images.load(x, labelled=False, binarize="sample", seed=2)
    assert (other.train.transform(other.train.x) != drawn).any()
    threshold = images.load(x, labelled=False, binarize="threshold")
    found = threshold.train.transform(threshold.train.x).reshape(4, -1)
    np.testing.assert_array_equal(found.mean(axis=1), [0, 0, 1, 1])
    # A new picture goes through a threshold, with the transform as it is kept on disk.
    for loaded in (data, threshold):
        transform = images.ImageTransform(**loaded.transform.get_config())
        np.testing.assert_array_equal(
            transform(np.float32([[0.2], [0.8]]) / transform.scale), [[0], [1]]
        )


def test_unit_images_lie_between_0_and_1_or_are_refused():
    grey = np.random.default_rng(0).integers(0, 256, (30, 4, 4), "uint8")
    for x in (grey, grey / 255.0, grey.astype("float64")):
        data = images.load_unit(x, ("images",))
        found = data.train.transform(data.train.x)
        np.testing.assert_allclose(found[..., 0], grey / 255.0, atol=1e-6)
    labelled = images.load_unit("digits", ("images",))
    assert labelled.spec == {"input_shape": (8, 8, 1), "num_classes": 10}
    assert images.load_unit("digits", ("images",), conditional=False).spec == {
        "input_shape": (8, 8, 1)
    }
    words = r"needs images with values in 0 .. 255 or in \[0, 1\], and not standardised"
    for source in (grey - 0.5, images.load("digits")):
        with pytest.raises(ValueError, match=words):
            images.load_unit(source, ("images",))


def test_unit_images_say_how_they_were_asked_for():
    found = images.load_unit("digits", ("images",), batch_size=8)
    assert found.source == {"source": "digits", "batch_size": 8}
