"""Recordings with a class each: TensorFlow Datasets, folders of .wav files, lists.

Model inputs are log-mel frames, float32 (n, frames, num_mels): short pieces of sound, one after the
other, each told by the logarithm of its power in bands that are as wide as the ear's. Behind the
end of a recording come frames of zeros. Labels are int32 (n,). The rate, the number of frames, and
each band's mean and deviation come from the training part alone.

Source: Davis & Mermelstein 1980, Comparison of parametric representations for monosyllabic word
recognition in continuously spoken sentences; the mel scale and triangles are the HTK Book's.
"""

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recipes.contract import check
from recipes.data import arrays, folders, tfds
from recipes.data.core import Data, Source, assemble, check_options, labels_and_names, split
from recipes.data.pictures import WORKERS

EXTENSIONS = (".wav",)
FLOOR = 1e-6  # added to a band's power; a full-scale tone has about 1e3
SHARE = 99  # per cent of the training recordings that the default length does not cut
TINY = 1e-3  # stands for 0 in a frame whose bands are all at their means
CHUNK = 256  # recordings prepared at once
WANTED = (
    "needs lists (recordings, labels), ((recordings, labels), (recordings, labels)), or a "
    "dictionary of such parts; a recording is a row of numbers or the path of a .wav file"
)


def mel_filters(sample_rate: int, frame: int, num_mels: int) -> np.ndarray:
    """Triangles over the power spectrum, float64 (lines, num_mels).

    Their corners are evenly spaced from 0 to half the rate on the scale
    mel = 2595 log10(1 + f / 700); each triangle is 1 in its middle.

    Args:
        sample_rate: in Hz.
        frame: samples of a frame, which are padded with zeros to the next power of two.
        num_mels: bands.

    Raises:
        ValueError: more bands than the spectrum has lines for.
    """
    lines = np.linspace(0, sample_rate / 2, fft_length(frame) // 2 + 1)
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, num_mels + 2) / 2595) - 1)
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (lines[:, None] - low) / (middle - low)
    falling = (high - lines[:, None]) / (high - middle)
    found = np.maximum(0, np.minimum(rising, falling))
    wanted = (
        f"the {len(lines)} lines of the spectrum at {sample_rate} Hz leave a band empty; needs "
        "fewer bands or a longer frame"
    )
    check((found > 0).any(axis=0).all(), "num_mels", num_mels, wanted)
    return found


def fft_length(frame: int) -> int:
    """The power of two that a frame's samples are padded to."""
    return 1 << (frame - 1).bit_length()


def mel_power(samples: np.ndarray, frame: int, hop: int, filters: np.ndarray) -> np.ndarray:
    """Samples float (t,) -> the power in each band, float64 (frames, num_mels).

    Each frame is weighted by a Hann window. What is behind the last whole frame, less than a hop,
    is left out; samples of less than one frame are padded with zeros to one.
    """
    if len(samples) < frame:
        samples = np.pad(samples, (0, frame - len(samples)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    pieces = sliding_window_view(samples, frame)[::hop] * window  # (frames, frame)
    return np.abs(np.fft.rfft(pieces, fft_length(frame))) ** 2 @ filters


class AudioTransform:
    """Raw recordings to model inputs.

    A recording's loudest sample becomes 1 or -1 first, so that neither the volume nor the range of
    the numbers matters.

    Args:
        sample_rate: of the samples, in Hz.
        frames: of a model input.
        num_mels: bands.
        frame: seconds of a frame.
        hop: seconds from the start of a frame to that of the next.
        mean: of each band's logarithm, subtracted.
        std: of each band's logarithm, divided by.
    """

    def __init__(
        self,
        sample_rate: int,
        frames: int,
        num_mels: int,
        frame: float,
        hop: float,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        self.sample_rate, self.frames, self.num_mels = sample_rate, frames, num_mels
        self.frame, self.hop, self.mean, self.std = frame, hop, list(mean), list(std)
        self._frame, self._hop = frame_and_hop(frame, hop, sample_rate)
        self._filters = mel_filters(sample_rate, self._frame, num_mels)

    def log_mel(self, samples: np.ndarray) -> np.ndarray:
        """Samples float (t,) -> float64 (at most `frames`, num_mels), neither scaled nor padded."""
        peak = np.abs(samples).max()
        samples = samples[: (self.frames - 1) * self._hop + self._frame] / (peak or 1.0)
        return np.log(mel_power(samples, self._frame, self._hop, self._filters) + FLOOR)

    def __call__(self, raw: Sequence[Any]) -> np.ndarray:
        """n recordings, each numbers (t,) -> float32 (n, frames, num_mels), cut or padded.

        A frame of a recording is never all zero, so that zeros are padding and nothing else.

        Raises:
            ValueError: a recording that is empty, or no row of numbers, or holds NaN.
        """
        listed = isinstance(raw, list | tuple | np.ndarray)
        check(listed, "raw", f"a {type(raw).__name__}", "needs a list of recordings")
        found = np.zeros((len(raw), self.frames, self.num_mels), "float32")
        for i, samples in enumerate(raw):
            bands = self.log_mel(check_samples(samples, f"recording {i}"))
            scaled = ((bands - self.mean) / self.std).astype("float32")
            scaled[~scaled.any(axis=-1)] = TINY
            found[i, : len(scaled)] = scaled
        return found

    def read_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Files .wav of any rate -> model inputs, as `recipes predict` does.

        Raises:
            ValueError: no files, or one that is no recording.
        """
        check(len(paths), "paths", paths, "needs at least one file")
        return self([resample(*read_wav(path), self.sample_rate) for path in paths])

    def get_config(self) -> dict:
        """The constructor's arguments."""
        names = ("sample_rate", "frames", "num_mels", "frame", "hop", "mean", "std")
        return {name: getattr(self, name) for name in names}


TRANSFORM = AudioTransform
EMBEDDED: dict[str, Callable[[], Source]] = {}  # no dependency holds recordings


def frame_and_hop(frame: float, hop: float, sample_rate: int) -> tuple[int, int]:
    """Samples of a frame and of a hop.

    Raises:
        ValueError: a frame of less than two samples, or a hop of none.
    """
    for name, value, least in (("frame", frame, 2), ("hop", hop, 1)):
        enough = round(value * sample_rate) >= least
        check(enough, name, value, f"seconds; needs at least {least} sample(s) at {sample_rate} Hz")
    return round(frame * sample_rate), round(hop * sample_rate)


def check_samples(samples: Any, name: str) -> np.ndarray:
    """Samples as float64 (t,); those of uint8 are taken for 8-bit sound, in which 128 is silence.

    Raises:
        ValueError: no row of numbers, none at all, or some that are NaN or infinite.
    """
    try:
        found = np.asarray(samples)
    except ValueError:  # rows of unequal length
        found = np.empty((0, 0), object)
    if found.dtype.kind not in "iuf" or found.ndim != 1:
        what = f"{found.dtype} of shape {found.shape}" if found.size else type(samples).__name__
        raise ValueError(f"{name}: {what}; needs numbers in one row, a sample each")
    if not found.size:
        raise ValueError(f"{name}: is empty; needs samples")
    centre = 128 if found.dtype == np.uint8 else 0
    found = found.astype("float64") - centre
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: holds NaN or infinity")
    return found


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples float64 (t,) of a .wav file, the mean of its channels, and their rate in Hz.

    Raises:
        ValueError: no such file, no .wav file, or no samples in it.
    """
    from scipy.io import wavfile

    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            # Of parts that are no sound, and of a length that a recorder did not put in.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except Exception as error:  # SciPy raises errors of many kinds on a damaged file
        raise ValueError(f"{path}: not a readable .wav file ({error})") from None
    if samples.ndim == 2:
        samples = check_samples(samples.ravel(), str(path)).reshape(samples.shape).mean(axis=1)
    if rate < 1:
        raise ValueError(f"{path}: not a readable .wav file (its rate is {rate} Hz)")
    return check_samples(samples, str(path)), rate


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The same sound at another rate."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return resample_poly(samples, wanted // common, rate // common)


class Recordings:
    """Recordings that are read when they are asked for, indexed like an array.

    Args:
        read: number of a recording to its samples float64 (t,) and their rate; None: not known.
        count: number of recordings.
    """

    def __init__(self, read: Callable[[int], tuple[np.ndarray, int | None]], count: int):
        self.read, self.shape = read, (count,)
        self.sample_rate: int | None = None  # that all are brought to

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> list[np.ndarray]:
        """Samples of each, at the common rate."""
        found = [self.read(i) for i in np.arange(len(self))[indices].tolist()]
        wanted = self.sample_rate
        return [resample(samples, rate or wanted, wanted) for samples, rate in found]


def load(
    source: Any,
    *,
    batch_size: int = 32,
    seed: int = 0,
    sample_rate: int | None = None,
    num_mels: int = 40,
    frame: float = 0.025,
    hop: float = 0.01,
    seconds: float | None = None,
    label: str | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    class_names: Sequence[str] | None = None,
    data_dir: str | None = None,
    cache_bytes: int = 2**31,
) -> Data:
    """Load recordings with a class each.

    A .wav file may be of 8, 16, 24 or 32 bits or of floats; its channels are averaged.

    Args:
        source: the name of a TensorFlow Datasets set, a folder with a sub-folder a class of .wav
            files (or `train`, `validation` and `test` folders of such), or lists (recordings,
            labels), where a recording is a row of numbers or the path of a .wav file.
        batch_size: recordings in a batch.
        seed: of the splits and of the order.
        sample_rate: in Hz, that all recordings are brought to; default: the lowest one in the
            training part. Rows of numbers, which do not say theirs, are taken to be of this rate.
        num_mels: bands of a frame.
        frame: seconds of a frame.
        hop: seconds from the start of a frame to that of the next.
        seconds: of a model input; default: what 99 % of the training recordings need. Longer
            recordings are cut at the end, shorter ones are padded there.
        label: the class label to predict, where a TensorFlow Datasets set has several.
        validation_fraction: share of the examples, where the source has no such part.
        test_fraction: likewise.
        class_names: names of the classes 0, 1, ...; for lists.
        data_dir: where TensorFlow Datasets are prepared; default `TFDS_DATA_DIR`, then
            `~/tensorflow_datasets`.
        cache_bytes: larger sets are read batch by batch instead of held in memory.

    Returns:
        `Data` whose batches are x float32 (n, frames, num_mels), zero where padded, and y int32
        (n,).

    Raises:
        ValueError: a source that is not there or holds no labelled recordings, a recording that
            cannot be read, is empty or holds NaN, or an option out of its range.
    """
    common = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    check_options(batch_size=batch_size, seed=seed, **common)
    _check_sizes(sample_rate, num_mels, frame, hop, seconds)
    origin = arrays.origin_of(source)
    check(origin != "frame", "source", "a pandas frame", "holds no recordings")
    ours = origin == "arrays"
    check(class_names is None or ours, "class_names", class_names, "is for lists only")
    prepared = not ours and tfds.is_prepared(source, data_dir)
    from_files = ours or (not prepared and Path(source).exists())
    check(label is None or not from_files, "label", label, "only data sets have a choice of labels")

    if ours:
        parts = arrays.labelled_lists(source, "recordings", WANTED)
        found = _labelled("lists", parts, class_names)
    elif not prepared and Path(source).is_dir():
        found = _from_folder(Path(source))
    else:
        wanted = "is one file; recordings are given as their folder, with one sub-folder a class"
        check(not from_files, "source", source, wanted)
        found = tfds.read_audio(source, data_dir, label)  # says what is not there

    parts = split(found, **common, seed=seed)
    recordings = found.x
    # Every recording is read once here, so that a bad one is not found in the midst of training.
    looks = [(len(samples), rate) for samples, rate in map(recordings.read, range(len(recordings)))]
    if sample_rate is None:
        rates = [looks[i][1] for i in parts["train"]]
        wanted = f"the recordings of {found.name} do not say their rate, in Hz; give it"
        check(None not in rates, "sample_rate", None, wanted)
        sample_rate = min(rates)
    recordings.sample_rate = sample_rate
    if seconds is None:
        train = [looks[i] for i in parts["train"]]
        lengths = [math.ceil(n * sample_rate / (rate or sample_rate)) for n, rate in train]
    else:
        lengths = [round(seconds * sample_rate)]
    width, step = frame_and_hop(frame, hop, sample_rate)
    frames = math.ceil(np.percentile([1 + max(0, n - width) // step for n in lengths], SHARE))

    make = functools.partial(AudioTransform, sample_rate, frames, num_mels, frame, hop)
    plain = make([0.0] * num_mels, [1.0] * num_mels)
    mean, std = _statistics(plain.log_mel(recordings[[i]][0]) for i in parts["train"])
    transform = make(mean.tolist(), std.tolist())
    held = len(recordings) * frames * num_mels * 4 <= cache_bytes
    if held:
        chunks = range(0, len(recordings), CHUNK)
        found.x = np.concatenate([transform(recordings[i : i + CHUNK]) for i in chunks])
    spec = {
        "input_shape": (frames, num_mels),
        "task": "classification",
        "num_classes": len(found.class_names),
        "masking": True,
    }
    return assemble(
        found,
        "audio",
        parts,
        transform,
        spec,
        batch_size=batch_size,
        seed=seed,
        of_batch=np.asarray if held else None,
        workers=1 if held else WORKERS,
    )


def _check_sizes(
    sample_rate: int | None, num_mels: int, frame: float, hop: float, seconds: float | None
) -> None:
    counts = {"num_mels": num_mels} | ({} if sample_rate is None else {"sample_rate": sample_rate})
    for name, value in counts.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
        check(whole, name, value, "must be a positive integer")
    times = {"frame": frame, "hop": hop} | ({} if seconds is None else {"seconds": seconds})
    for name, value in times.items():
        number = isinstance(value, Real) and not isinstance(value, bool) and 0 < value < math.inf
        check(number, name, value, "must be a positive number, of seconds")
    check(hop <= frame, "hop", hop, f"must be at most frame={frame}, or some sound is in no frame")
    wanted = f"must be at least frame={frame}"
    check(seconds is None or seconds >= frame, "seconds", seconds, wanted)
    if sample_rate is not None:
        mel_filters(sample_rate, frame_and_hop(frame, hop, sample_rate)[0], num_mels)


def _statistics(bands: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each band over the frames of many recordings."""
    count, total, squares = 0, 0.0, 0.0
    for some in bands:  # (frames, num_mels)
        count += len(some)
        total = total + some.sum(axis=0)
        squares = squares + np.square(some).sum(axis=0)
    std = np.sqrt(np.maximum(squares / count - np.square(total / count), 0))
    return total / count, np.where(std > 1e-6, std, 1.0)  # silence alone


def _labelled(
    name: str, parts: Mapping[str, Sequence], class_names: Sequence[str] | None = None
) -> Source:
    """Parts of (recordings, labels) as one source."""
    raw, labels, given = arrays.joined(parts)
    y, names = labels_and_names(labels, class_names)

    def read(i: int) -> tuple[np.ndarray, int | None]:
        if isinstance(raw[i], str | Path):
            return read_wav(raw[i])
        return check_samples(raw[i], f"recording {i}"), None

    return Source(name, Recordings(read, len(raw)), y, names, **given)


def _from_folder(folder: Path) -> Source:
    """A sub-folder a class, or parts (`train`, `validation`, `test`) of such."""
    found = folders.read_classes(folder, EXTENSIONS, ".wav files")
    parts = {}
    for part, classes in found.items():
        paths = [path for files in classes.values() for path in files]
        parts[part] = (paths, [name for name, files in classes.items() for _ in files])
    return _labelled(folder.resolve().name, parts, list(found["train"]))


def has_recordings(path: Path) -> bool:
    """Whether this is a .wav file or a folder with such."""
    if path.is_dir():
        return bool(folders.files_below(path, EXTENSIONS))
    return path.suffix.lower() in EXTENSIONS
