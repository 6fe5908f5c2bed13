"""LSTM against torch.nn.LSTM, with torch's own weights: outputs, states and gradients."""

import pytest

from recipes import lstm


def ours_of(w_ih, w_hh, b_ih, b_hh):
    """Kernel, recurrent kernel and bias; torch's second bias, which adds nothing, is zero here."""
    return [w_ih.T, w_hh.T, b_ih]


SHAPES = pytest.mark.parametrize(
    "shape", [(1, False), (2, False), (2, True)], ids=["one", "stacked", "both ways"]
)


@SHAPES
def test_outputs(recurrent_pair, shape):
    recurrent_pair(lstm, "LSTM", ours_of, *shape).check_outputs()


@SHAPES
def test_gradients(recurrent_pair, shape):
    recurrent_pair(lstm, "LSTM", ours_of, *shape).check_gradients()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_final_states(recurrent_pair, num_layers):
    recurrent_pair(lstm, "LSTM", ours_of, num_layers, False).check_final_states()
