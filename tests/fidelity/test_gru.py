"""GRU against torch.nn.GRU, with torch's own weights: outputs, states and gradients."""

import numpy as np
import pytest

from recipes import gru


def ours_of(w_ih, w_hh, b_ih, b_hh):
    """Kernel, recurrent kernel and both biases; torch has r before z."""

    def order(w):
        r, z, n = np.split(w, 3)
        return np.concatenate([z, r, n])

    return [order(w_ih).T, order(w_hh).T, np.stack([order(b_ih), order(b_hh)])]


SHAPES = pytest.mark.parametrize(
    "shape", [(1, False), (2, False), (2, True)], ids=["one", "stacked", "both ways"]
)


@SHAPES
def test_outputs(recurrent_pair, shape):
    recurrent_pair(gru, "GRU", ours_of, *shape).check_outputs()


@SHAPES
def test_gradients(recurrent_pair, shape):
    recurrent_pair(gru, "GRU", ours_of, *shape).check_gradients()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_final_states(recurrent_pair, num_layers):
    recurrent_pair(gru, "GRU", ours_of, num_layers, False).check_final_states()
