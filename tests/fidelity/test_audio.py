"""Log-mel frames against transformers' audio utilities."""

import numpy as np
import pytest

from recipes.data import audio

utils = pytest.importorskip(
    "transformers.audio_utils", reason="the peer is transformers (extra `peers`)"
)


def sound(rate: int) -> np.ndarray:
    """Two gliding tones in noise, one second."""
    rng = np.random.default_rng(0)
    time = np.arange(rate) / rate
    low, high = (np.sin(2 * np.pi * (f * time + f * time**2)) for f in (200, 900))
    return 0.4 * low + 0.2 * high + rng.normal(0, 0.01, rate)


SIZES = pytest.mark.parametrize(
    ("rate", "num_mels", "frame", "hop"),
    [(8000, 40, 200, 80), (16000, 80, 400, 160), (22050, 64, 1024, 256)],
)


def filters_of(rate: int, num_mels: int, frame: int) -> np.ndarray:
    return utils.mel_filter_bank(
        num_frequency_bins=audio.fft_length(frame) // 2 + 1,
        num_mel_filters=num_mels,
        min_frequency=0.0,
        max_frequency=rate / 2,
        sampling_rate=rate,
        norm=None,
        mel_scale="htk",
    )


@SIZES
def test_filters(rate, num_mels, frame, hop):
    found = audio.mel_filters(rate, frame, num_mels)
    np.testing.assert_allclose(found, filters_of(rate, num_mels, frame), atol=1e-9)


@SIZES
def test_log_mel_spectrogram(rate, num_mels, frame, hop):
    x = sound(rate)
    x /= np.abs(x).max()
    power = utils.spectrogram(
        x,
        utils.window_function(frame, "hann", periodic=True),
        frame_length=frame,
        hop_length=hop,
        fft_length=audio.fft_length(frame),
        power=2.0,
        center=False,
        mel_filters=filters_of(rate, num_mels, frame),
        mel_floor=0.0,
    )  # (num_mels, frames)
    expected = np.log(power.T + audio.FLOOR)
    plain = {"mean": [0.0] * num_mels, "std": [1.0] * num_mels}
    frames = len(expected)
    transform = audio.AudioTransform(rate, frames, num_mels, frame / rate, hop / rate, **plain)
    found = transform([x * 1000])[0]
    assert found.shape == expected.shape == (1 + (rate - frame) // hop, num_mels)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
