"""Recordings: the prepared set's facts, the features by theory, every kind of source, bad input."""

import io
import json
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from recipes import data, gru, lstm
from recipes.data import arrays, audio

RATE = 8000
FRAME, HOP = 200, 80  # samples of the default frame and hop


def load(source, **options):
    return data.load(source, ("audio",), **options)


def tone(frequency: float, samples: int, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)


def recordings(count: int = 40, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Tones of two heights in noise, of 0.1 to 0.3 seconds, and "low" or "high"."""
    rng = np.random.default_rng(seed)
    x, y = [], []
    for i in range(count):
        length = int(rng.integers(800, 2400))
        x.append(tone((500, 1500)[i % 2], length) + rng.normal(0, 0.02, length))
        y.append(("low", "high")[i % 2])
    return x, y


X, Y = recordings()


def sixteen_bits(x: np.ndarray) -> np.ndarray:
    return np.rint(x * 32767).astype("int16")


def write(folder: Path, files: dict[str, np.ndarray | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            wavfile.write(path, RATE, content)
    return folder


def frames_of(samples: int) -> int:
    return 1 + (samples - FRAME) // HOP


def transform(**options) -> audio.AudioTransform:
    """One that does not scale."""
    bands = options.get("num_mels", 40)
    plain = {"mean": [0.0] * bands, "std": [1.0] * bands}
    given = {"sample_rate": RATE, "frames": 50, "num_mels": 40, "frame": 0.025, "hop": 0.01}
    return audio.AudioTransform(**{**given, **plain, **options})


# --- real data


def test_spoken_digit(shared_tfds):
    found = load("spoken_digit", data_dir=shared_tfds)
    assert found.sizes == {"train": 1750, "validation": 250, "test": 500}
    assert np.bincount(found.train.y).tolist() == [250] * 10  # as its authors state
    assert np.bincount(found.test.targets).tolist() == [50] * 10
    assert found.class_names == tuple("0123456789")
    frames = found.spec["input_shape"][0]
    spec = {"task": "classification", "num_classes": 10, "masking": True}
    assert found.spec == {"input_shape": (frames, 40), **spec}
    assert found.transform.sample_rate == 8000
    x, y = found.train[0]
    assert x.dtype == np.float32 and x.shape == (32, frames, 40) and y.dtype == np.int32
    x, _ = found.train.arrays()
    real = x.any(axis=-1)
    lengths = real.sum(axis=1)
    assert (real == (np.arange(frames) < lengths[:, None])).all()  # zeros at the end alone
    assert np.mean(lengths < frames) > 0.98  # 99 % are whole
    np.testing.assert_allclose(x[real].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(x[real].std(axis=0), 1, atol=1e-3)


@pytest.mark.slow
def test_a_short_training_tells_spoken_digits_apart(shared_tfds):
    found = load("spoken_digit", data_dir=shared_tfds)
    model = gru.build_model("audio", **found.spec, seed=0)
    model.fit(found.train, epochs=4, verbose=0)
    assert model.evaluate(found.test, verbose=0)[1] >= 0.95


# --- features


@pytest.mark.parametrize("frequency", [300, 1000, 2500, 3600])
def test_a_tone_peaks_in_its_band(frequency):
    step = 2595 * np.log10(1 + 4000 / 700) / 41  # 40 bands between 42 corners
    expected = 2595 * np.log10(1 + frequency / 700) / step - 1  # bands' middles are whole numbers
    found = transform()([tone(frequency, 4000)])[0]
    assert found.shape == (50, 40)
    assert (np.abs(found[:48].argmax(axis=1) - expected) <= 0.51).all()
    # Nothing is six bands away, but what Hann's window lets through, below -50 dB.
    peak = found[5].max()
    far = np.abs(np.arange(40) - expected) > 6
    assert (found[5, far] < peak - np.log(1e5)).all()


def test_the_power_of_a_tone_by_hand():
    # cos at line 32 of 256: a Hann window of 256 gives |X| = 256 / 4 there and half of it beside.
    x = np.cos(2 * np.pi * 1000 * np.arange(256) / RATE)
    filters = np.eye(129)
    power = audio.mel_power(x, 256, 80, filters)
    assert power.shape == (1, 129)
    np.testing.assert_allclose(power[0, 31:34], [32**2, 64**2, 32**2], rtol=1e-9)
    np.testing.assert_allclose(power[0, 36:], 0, atol=1e-9)
    # Triangles that meet in each other's middle add up to 1.
    total = audio.mel_filters(RATE, 256, 40)[2:118].sum(axis=1)  # from 62 to 3656 Hz
    np.testing.assert_allclose(total, 1, rtol=1e-9)


def test_a_recording_of_twice_the_rate_has_the_same_features(tmp_path):
    def sound(rate: int) -> np.ndarray:
        time = np.arange(rate // 2) / rate
        glide = np.sin(2 * np.pi * (300 * time + 2000 * time**2))  # 300 to 2300 Hz
        return sixteen_bits(0.4 * glide + 0.2 * np.sin(2 * np.pi * 3000 * time))

    for rate in (8000, 16000, 11025):
        wavfile.write(tmp_path / f"{rate}.wav", rate, sound(rate))
    paths = [tmp_path / f"{rate}.wav" for rate in (8000, 16000, 11025)]
    plain, *others = transform(frames=48).read_files(paths)
    loud = plain > plain.max() - np.log(1e4)  # within 40 dB of the loudest
    assert loud.any(axis=1).all()
    for other in others:
        assert np.abs(other - plain)[1:-1][loud[1:-1]].max() < 0.1


def test_the_volume_and_the_type_of_the_samples_do_not_matter():
    x = sixteen_bits(X[0])
    expected = transform()([x])
    for same in (x / 32768, x.astype("float32"), x.astype("int64"), x * 3.0, x.tolist()):
        np.testing.assert_allclose(transform()([same]), expected, atol=1e-4)
    coarse = transform()([np.rint(X[0] * 127 + 128).astype("uint8")])[0, :5]
    strong = expected[0, :5] > expected.max() - np.log(1e3)
    assert np.abs(coarse - expected[0, :5])[strong].max() < 0.1


def test_padding_is_zero_and_sound_never_is():
    whole = transform(frames=30)
    found = whole([X[0][:1000], X[0][:150], np.zeros(600)])
    real = found.any(axis=-1)
    # (1000 - 200) / 80 = 10 hops; less than one frame is one; silence is sound
    assert real.sum(axis=1).tolist() == [11, 1, 6]
    assert all((found[i, n:] == 0).all() for i, n in enumerate((11, 1, 6)))
    silence = [float(np.log(audio.FLOOR))] * 40
    at_mean = transform(frames=30, mean=silence)([np.zeros(600)])
    assert at_mean.any(axis=-1).sum() == 6
    assert 0 < np.abs(at_mean).max() < 0.01


def test_a_network_does_not_see_the_padding():
    x = X[:4]
    narrow, wide = transform(frames=30)(x), transform(frames=45)(x)
    assert (wide[:, 30:] == 0).all()
    logits = []
    for frames in (narrow, wide):
        model = lstm.build_model(
            "audio", input_shape=frames.shape[1:], task="classification", num_classes=3,
            masking=True, units=8, seed=1,
        )  # fmt: skip
        logits.append(model.predict(frames, verbose=0))
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)
    assert np.ptp(logits[0], axis=0).min() > 1e-3  # while it does see what is before


# --- statistics


def test_statistics_and_length_are_the_training_parts():
    quiet = [x * 0.1 + 0.2 for x in X[:6]]
    tests = {"as": (X[:6], Y[:6]), "other": (quiet, Y[:6]), "long": ([tone(900, 9000)], ["low"])}
    found = {
        name: load({"train": (X, Y), "test": part}, sample_rate=RATE)
        for name, part in tests.items()
    }
    config = found["as"].transform.get_config()
    for other in found.values():
        assert other.transform.get_config() == config
    assert found["long"].test.arrays()[0].any(axis=-1).all()  # cut
    train = found["as"].train
    lengths = [frames_of(len(X[i])) for i in train.indices]
    assert config["frames"] == int(np.ceil(np.percentile(lengths, 99)))
    x = train.arrays()[0]
    real = np.concatenate([row[:n] for row, n in zip(x, lengths, strict=True)])
    np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(real.std(axis=0), 1, atol=1e-5)
    # Another training part gives others.
    other = load({"train": recordings(seed=1), "test": tests["as"]}, sample_rate=RATE)
    assert np.abs(np.subtract(other.transform.mean, config["mean"])).max() > 1e-3


def test_seconds_and_the_lowest_rate(tmp_path):
    assert load((X, Y), sample_rate=RATE, seconds=0.5).spec["input_shape"] == (frames_of(4000), 40)
    files = {f"{c}/{i}.wav": sixteen_bits(X[i]) for i, c in enumerate(Y)}
    write(tmp_path, files)
    for i in (0, 1, 2, 3):
        wavfile.write(tmp_path / Y[i] / f"{i}.wav", 6000, sixteen_bits(X[i]))
    found = load(tmp_path)
    low = [0, 1, 20, 21]  # the folders in order: high 1, 11, 13, ..., low 0, 10, ...
    assert any(i in found.train.indices for i in low)
    assert found.transform.sample_rate == 6000
    assert load(tmp_path, sample_rate=4000, num_mels=20).transform.sample_rate == 4000


# --- sources


def test_each_source_holds_the_same_examples(tmp_path):
    whole = [sixteen_bits(x) for x in X]
    write(tmp_path, {f"tree/{c}/{i:02}.wav": whole[i] for i, c in enumerate(Y)})
    (tmp_path / "tree/notes.txt").write_text("no class")
    (tmp_path / "tree/low/._00.wav").write_bytes(b"hidden")
    paths = [tmp_path / f"tree/{c}/{i:02}.wav" for i, c in enumerate(Y)]
    ragged = np.empty(len(whole), object)
    ragged[:] = whole
    sources = [
        ((whole, Y), {"sample_rate": RATE}),
        ((ragged, np.array(Y)), {"sample_rate": RATE}),
        ({"train": ([x.tolist() for x in whole], Y)}, {"sample_rate": RATE}),
        ((paths, Y), {}),
        (([str(p) for p in paths], Y), {}),
        (tmp_path / "tree", {}),
    ]
    plain = transform(frames=30)
    expected = sorted(zip(Y, (float(v) for v in plain(whole).sum(axis=(1, 2))), strict=True))
    for source, options in sources:
        for kinds in (("audio",), gru.KINDS):
            found = data.load(source, kinds, seconds=0.315, test_fraction=0.3, **options)
            assert found.kind == "audio" and found.class_names == ("high", "low")
            assert found.spec["input_shape"] == (30, 40)
            seen = []
            for part in (found.train, found.validation, found.test):
                x, y = part.arrays()
                t = found.transform
                raw = np.where(x.any(axis=-1)[..., None], x * t.std + t.mean, 0).sum(axis=(1, 2))
                seen += zip((found.class_names[label] for label in y), raw.tolist(), strict=True)
            for (name, total), (label, value) in zip(sorted(seen), expected, strict=True):
                assert name == label and total == pytest.approx(value, rel=1e-4)
    assert json.loads(json.dumps(found.source))["source"] == str(tmp_path / "tree")


def test_given_parts_are_kept(tmp_path):
    test = (X[:2], Y[:2])
    for source in (((X, Y), test), {"train": (X, Y), "test": test}):
        found = load(source, sample_rate=RATE, validation_fraction=0)
        assert found.sizes == {"train": 40, "validation": 0, "test": 2}
        assert found.test.targets.tolist() == [1, 0]
    rows = np.stack([x[:800] for x in X])  # of equal length, as one array
    assert lstm.load_data((rows, Y), sample_rate=RATE).spec["input_shape"] == (8, 40)
    files = {
        f"{part}/{c}/{i}.wav": sixteen_bits(X[i])
        for part in ("training", "val", "test") for c in "ab" for i in range(5)
    }  # fmt: skip
    sizes = load(write(tmp_path, files)).sizes
    assert sizes == {"train": 10, "validation": 10, "test": 10}


def test_every_kind_of_wav(tmp_path):
    x = X[0]
    expected = transform()([x])[0]
    stereo = np.stack([sixteen_bits(x * 0.5), sixteen_bits(x * 1.5)], axis=1)
    files = {
        "8.wav": np.rint(x * 127 + 128).astype("uint8"),
        "16.wav": sixteen_bits(x),
        "32.wav": np.rint(x * (2**31 - 1)).astype("int32"),
        "float.wav": x.astype("float32"),
        "double.wav": x,
        "stereo.wav": stereo,
    }
    write(tmp_path, files)
    whole = np.rint(x * (2**23 - 1)).astype("<i4")
    with wave.open(str(tmp_path / "24.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(RATE)
        file.writeframes(whole[:, None].view("uint8")[:, :3].tobytes())
    for name in (*files, "24.wav"):
        found = transform().read_files([tmp_path / name])[0]
        strong = expected > expected.max() - np.log(1e3)
        least = 0.1 if name == "8.wav" else 0.01
        assert np.abs(found - expected)[strong].max() < least, name
    cut = (tmp_path / "16.wav").read_bytes()[: 44 + 2 * FRAME]  # the header says more
    (tmp_path / "cut.wav").write_bytes(cut)
    np.testing.assert_allclose(
        transform().read_files([tmp_path / "cut.wav"])[0, 0], transform()([x[:FRAME]])[0, 0],
        atol=0.1,
    )  # fmt: skip


def test_a_large_set_is_read_batch_by_batch(tmp_path):
    files = {f"{c}/{i:02}.wav": sixteen_bits(X[i]) for i, c in enumerate(Y)}
    write(tmp_path, files)
    held, read = load(tmp_path), load(tmp_path, cache_bytes=0)
    assert isinstance(held.train.x, np.ndarray) and isinstance(read.train.x, audio.Recordings)
    for a, b in zip(held.train, read.train, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_array_equal(held.test.arrays()[0], read.test.arrays()[0])


def test_new_recordings_are_prepared_as_the_training_was(tmp_path):
    found = load((X, Y), sample_rate=RATE)
    config = json.loads(json.dumps(found.transform.get_config()))
    assert len(json.dumps(config)) < 4000
    again = data.transform_from_config("audio", config)
    chosen = found.test.indices
    np.testing.assert_array_equal(again([X[i] for i in chosen]), found.test.arrays()[0])
    wavfile.write(tmp_path / "a.wav", RATE, X[0])
    np.testing.assert_array_equal(again.read_files([tmp_path / "a.wav"]), again(X[:1]))


def test_a_network_learns_from_it():
    found = load((X, Y), sample_rate=RATE, seconds=0.1, seed=1)
    model = gru.build_model("tiny", **found.spec, seed=0)
    model.fit(found.train, epochs=8, verbose=0)
    assert model.evaluate(found.test, verbose=0)[1] == 1


# --- prepared sets of other shapes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Sets made here: "pairs" of two channels at 16 kHz; "rows" of no stated rate; "packed"."""
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as t

    folder = tmp_path_factory.mktemp("made")
    f = t.features
    label = f.ClassLabel(names=["high", "low"])

    class Made(t.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = t.core.Version("1.0.0")

        def __init__(self, name, features, rows):
            self.name, self.of_set, self.rows = name, features, rows
            super().__init__(data_dir=folder)

        def _info(self):
            features = f.FeaturesDict(self.of_set)
            return t.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, manager):
            return {"train": enumerate(self.rows)}

        def _generate_examples(self):
            raise NotImplementedError

    def store(name, features, rows):
        Made(name, features, rows).download_and_prepare()

    both = [
        {"sound": np.stack([x, np.zeros_like(x)], axis=1).astype("float32"), "label": y}
        for x, y in zip(X, Y, strict=True)
    ]
    sound = f.Audio(shape=(None, 2), dtype=np.float32, sample_rate=16000)
    store("pairs", {"sound": sound, "label": label}, both)
    rows = [
        {"sound": sixteen_bits(x), "a": y, "b": Y[0], "text": y} for x, y in zip(X, Y, strict=True)
    ]
    packed = {"sound": f.Audio(file_format="wav", lazy_decode=True), "label": label}
    store("packed", packed, [{"sound": io.BytesIO(b"RIFF"), "label": y} for y in Y])
    store("rows", {"sound": f.Audio(), "a": label, "b": label, "text": f.Text()}, rows)
    return str(folder)


def test_a_set_of_two_channels(made):
    found = lstm.load_data("pairs", data_dir=made)
    assert found.transform.sample_rate == 16000 and found.class_names == ("high", "low")
    at_8 = load("pairs", data_dir=made, sample_rate=RATE)
    t = at_8.transform
    i = at_8.test.indices[0]
    from scipy.signal import resample_poly

    expected = t([resample_poly(X[i].astype("float32"), 1, 2)])  # half as loud is the same
    np.testing.assert_allclose(at_8.test.arrays()[0][:1], expected, atol=1e-4)


def test_a_set_without_a_rate(made):
    with pytest.raises(ValueError, match="sample_rate=None: the recordings of rows do not say"):
        load("rows", data_dir=made)
    found = load("rows", data_dir=made, sample_rate=RATE)
    x, y = found.test.arrays()
    i = found.test.indices
    np.testing.assert_allclose(x, found.transform([sixteen_bits(X[j]) for j in i]), atol=1e-6)
    assert [found.class_names[label] for label in y] == [Y[j] for j in i]
    with pytest.raises(ValueError, match="unknown label of rows 'c'; known: a, b"):
        load("rows", data_dir=made, sample_rate=RATE, label="c")
    with pytest.raises(ValueError, match="'packed' stores 'sound' packed; needs samples"):
        load("packed", data_dir=made, sample_rate=RATE)


# --- bad input

NAN = [*X[:-1], np.full(900, np.nan)]


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ((X, Y), {}, "sample_rate=None: the recordings of lists do not say their rate"),
        ((X, Y[:-1]), {"sample_rate": RATE}, "the train part has 40 recordings and 39 labels"),
        (([], []), {"sample_rate": RATE}, "holds no recordings"),
        ((X, ["low"] * 40), {"sample_rate": RATE}, "only the class low"),
        (X, {"sample_rate": RATE}, "needs lists (recordings, labels)"),
        ({"test": (X, Y)}, {"sample_rate": RATE}, "a dictionary with keys ['test']"),
        ((NAN, Y), {"sample_rate": RATE}, "recording 39: holds NaN or infinity"),
        (([*X[:-1], []], Y), {"sample_rate": RATE}, "recording 39: is empty"),
        (([*X[:-1], np.ones((9, 2))], Y), {"sample_rate": RATE}, "float64 of shape (9, 2); needs"),
        (([*X[:-1], None], Y), {"sample_rate": RATE}, "recording 39: object of shape ()"),
        (([*X[:-1], "gone.wav"], Y), {"sample_rate": RATE}, "gone.wav: no such file"),
        ((X, Y), {"label": "x"}, "label='x': only data sets"),
        ("nowhere/at/all", {}, "no such file or folder"),
        ("nowhere", {"label": "x"}, "no data set, file or folder has this name"),
        ("digits", {}, "holds images; this family takes audio"),
        ((X, Y), {"sample_rate": 0}, "sample_rate=0: must be a positive integer"),
        ((X, Y), {"sample_rate": 8000.5}, "sample_rate=8000.5: must be a positive integer"),
        ((X, Y), {"num_mels": 0}, "num_mels=0: must be a positive integer"),
        ((X, Y), {"num_mels": True}, "num_mels=True"),
        ((X, Y), {"sample_rate": RATE, "num_mels": 100}, "num_mels=100: the 129 lines"),
        ((X, Y), {"frame": 0}, "frame=0: must be a positive number, of seconds"),
        ((X, Y), {"frame": "long"}, "frame='long'"),
        ((X, Y), {"hop": -0.01}, "hop=-0.01: must be a positive number"),
        ((X, Y), {"hop": 0.05}, "hop=0.05: must be at most frame=0.025"),
        ((X, Y), {"seconds": float("nan")}, "seconds=nan: must be a positive number"),
        ((X, Y), {"seconds": 0.01}, "seconds=0.01: must be at least frame=0.025"),
        ((X, Y), {"sample_rate": RATE, "hop": 1e-5}, "hop=1e-05: seconds; needs at least 1 sample"),
        ((X, Y), {"sample_rate": 30}, "frame=0.025: seconds; needs at least 2 sample(s) at 30 Hz"),
        ((X, Y), {"batch_size": 0}, "batch_size=0"),
        ((X, Y), {"mels": 40}, "unknown option of audio 'mels'; known:"),
    ],
)  # fmt: skip
def test_bad_input(source, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        load(source, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


GOOD = sixteen_bits(X[0])
TREE = {f"d/{c}/{i}.wav": GOOD for c in "ab" for i in range(2, 9)}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**TREE, "d/b/1.wav": b""}, "b/1.wav: not a readable .wav file"),
        ({**TREE, "d/b/1.wav": b"RIFF no sound"}, "b/1.wav: not a readable .wav file"),
        ({**TREE, "d/b/1.wav": GOOD[:0]}, "b/1.wav: is empty; needs samples"),
        ({**TREE, "d/b/1.wav": np.full(300, np.inf)}, "b/1.wav: holds NaN or infinity"),
        ({"d/a/1.wav": GOOD, "d/b/1.png": b""}, "b: no .wav files"),
        ({"d/a/1.wav": GOOD}, "found 1 sub-folder(s); needs one sub-folder a class"),
        ({"d/1.wav": GOOD}, "found 0 sub-folder(s)"),
        ({"d/a/x.png": b"", "d/b/x.png": b""}, "no .wav files"),
        ({f"d/{p}/1.wav": GOOD for p in ("train/a", "train/b", "test/c")}, "c: a class that"),
        ({"d/train/a/1.wav": GOOD, "d/train/b/1.wav": GOOD, "d/test/x.txt": b""}, "no .wav files"),
    ],
)  # fmt: skip
def test_bad_files(files, words, tmp_path):
    write(tmp_path, files)
    with pytest.raises(ValueError) as error:
        load(tmp_path / "d")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_single_file_and_a_frame_are_no_source(tmp_path):
    write(tmp_path, {"a.wav": GOOD})
    for kinds in (("audio",), lstm.KINDS):
        with pytest.raises(ValueError, match="is one file; recordings are given as their folder"):
            data.load(tmp_path / "a.wav", kinds)
    with pytest.raises(ValueError, match=r"recording 0: float64 of shape \(\)"):
        transform()(X[0])
    with pytest.raises(ValueError, match="needs a list of recordings"):
        transform()("a.wav")
    with pytest.raises(ValueError, match="needs at least one file"):
        transform().read_files([])


def test_recordings_are_told_from_series_and_texts(tmp_path):
    assert arrays.holds_recordings((X, Y)) and arrays.holds_recordings(((X, Y), (X, Y)))
    assert arrays.holds_recordings({"train": (np.ones((9, 99)), Y[:9])})
    assert arrays.holds_recordings((["a.WAV"], ["x"]))
    assert arrays.holds_recordings(([[0.1, 0.2]], [0]))
    series = (np.ones(9), np.ones((9, 2)), [0.1, 0.2], [[0.1, 0.2]] * 9)
    others = ((["a text"], ["x"]), (np.ones((9, 5, 3)), Y[:9]), (), [], ([], []), None)
    for source in (*series, *others):
        assert not arrays.holds_recordings(source)
    found = lstm.load_data(np.arange(200.0), window=8, horizon=1)
    assert found.kind == "series"
    for i, c in enumerate("ab" * 10):
        write(tmp_path, {f"{c}/{i}.txt": f"a text of {c}".encode()})
    assert lstm.load_data(tmp_path).kind == "text"
    with pytest.raises(ValueError, match=r"no \.wav files"):
        lstm.load_data(tmp_path, num_mels=20)
