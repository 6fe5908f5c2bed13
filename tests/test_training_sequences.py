"""Masked loss and accuracy, and the schedule of the transformer's paper, by hand."""

import numpy as np
import pytest

from recipes.training.sequences import InverseSquareRoot, MaskedAccuracy, MaskedCrossentropy

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((3, 4, 6)).astype("float32")
Y = np.array([[1, 2, 5, 0], [4, 0, 0, 0], [3, 3, 2, 1]])


@pytest.mark.parametrize("e", [0.0, 0.1])
def test_the_loss_is_the_mean_over_real_tokens(e):
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    total = count = 0
    for i in range(3):
        for j in range(4):
            if Y[i, j]:
                q = np.full(6, e / 6) + (1 - e) * (np.arange(6) == Y[i, j])
                total, count = total - q @ log_p[i, j], count + 1
    found = float(MaskedCrossentropy(e)(Y, LOGITS))
    assert found == pytest.approx(total / count, rel=1e-5)


def test_accuracy_of_tokens_and_of_whole_sequences():
    logits = np.eye(6, dtype="float32")[np.where(Y == 0, 4, Y)]  # wrong where there is padding
    logits[2, 1] = np.eye(6)[5]
    tokens, whole = MaskedAccuracy(), MaskedAccuracy(whole=True)
    for metric in (tokens, whole):
        metric.update_state(Y, logits)
    assert float(tokens.result()) == pytest.approx(7 / 8)
    assert float(whole.result()) == pytest.approx(2 / 3)


def test_the_papers_schedule():
    """Base: width 512, 4,000 steps of warm-up; the values were computed by hand."""
    schedule = InverseSquareRoot(512, 4000)
    for step, rate in ((1, 1.7469e-7), (4000, 6.9877e-4), (100_000, 1.39754e-4)):
        assert float(schedule(step - 1)) == pytest.approx(rate, rel=1e-4)
