"""LSTM against torch.nn.LSTM, with torch's own weights: outputs, states and gradients."""

import keras
import numpy as np
import pytest

from recipes import lstm

torch = pytest.importorskip("torch", reason="the peer runs on PyTorch (extra `peers`)")

RNG = np.random.default_rng(0)
UNITS, FEATURES = 6, 3


def ours_of(w_ih, w_hh, b_ih, b_hh):
    """Kernel, recurrent kernel and bias; torch's second bias, which adds nothing, is zero here."""
    return [w_ih.T, w_hh.T, b_ih]


class Peer(torch.nn.Module):
    """Recurrent layers and a linear head at each step."""

    def __init__(self, num_layers: int, bidirectional: bool):
        super().__init__()
        self.body = torch.nn.LSTM(
            FEATURES, UNITS, num_layers, batch_first=True, bidirectional=bidirectional
        )
        self.head = torch.nn.Linear(UNITS * (1 + bidirectional), 4)
        with torch.no_grad():
            for name, w in self.named_parameters():
                w.copy_(torch.as_tensor(RNG.uniform(-0.6, 0.6, w.shape)) * ("bias_hh" not in name))

    def forward(self, x):
        return self.head(self.body(x)[0])

    def named(self, of=lambda w: w):
        """Weights, or what `of` makes of them, in our order."""
        found = []
        for i in range(self.body.num_layers):
            for way in ("", "_reverse")[: 1 + self.body.bidirectional]:
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                parts = [of(getattr(self.body, f"{n}_l{i}{way}")) for n in names]
                found += ours_of(*[p.detach().numpy() for p in parts])
        return found + [
            of(self.head.weight).detach().numpy().T,
            of(self.head.bias).detach().numpy(),
        ]


@pytest.fixture(params=[(1, False), (2, False), (2, True)], ids=["one", "stacked", "both ways"])
def pair(request):
    num_layers, bidirectional = request.param
    torch.manual_seed(0)
    theirs = Peer(num_layers, bidirectional)
    ours = lstm.build_model(
        "tiny", input_shape=(15, FEATURES), task="labelling", num_classes=4,
        units=(UNITS,) * num_layers, bidirectional=bidirectional, clip_norm=None,
        optimizer=keras.optimizers.SGD(1.0),
    )  # fmt: skip
    ours.set_weights(theirs.named())
    return theirs, ours


def near(found, expected):
    """Equal to 1e-5 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_outputs(pair):
    theirs, ours = pair
    x = RNG.standard_normal((5, 15, FEATURES)).astype("float32")
    with torch.no_grad():
        near(ours.predict(x, verbose=0), theirs(torch.tensor(x)).numpy())


def test_gradients(pair):
    """Of the mean cross-entropy: by how much one step of plain descent moves each weight."""
    theirs, ours = pair
    x = RNG.standard_normal((5, 15, FEATURES)).astype("float32")
    y = RNG.integers(0, 4, (5, 15)).astype("int32")
    logits = theirs(torch.tensor(x))
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 4), torch.tensor(y.ravel()).long())
    loss.backward()
    before = ours.get_weights()
    found = ours.train_on_batch(x, y, return_dict=True)
    assert found["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    moved = [a - b for a, b in zip(before, ours.get_weights(), strict=True)]
    for step, gradient in zip(moved, theirs.named(lambda w: w.grad), strict=True):
        assert np.abs(gradient).max() > 1e-4
        # A weight of size 0.6 is known to 6e-8 alone.
        np.testing.assert_allclose(step, gradient, rtol=1e-5, atol=3e-7)


def test_final_states(pair):
    theirs, ours = pair
    if theirs.body.bidirectional:
        pytest.skip("states are of one direction")
    x = RNG.standard_normal((5, 15, FEATURES)).astype("float32")
    with torch.no_grad():
        expected = theirs.body(torch.tensor(x))[1]
    expected = expected if isinstance(expected, tuple) else (expected,)
    for i in range(theirs.body.num_layers):
        layer = ours.get_layer(f"layer_{i}")
        again = type(layer).from_config({**layer.get_config(), "return_state": True})
        again.build((None, *x.shape[1:]))
        again.set_weights(layer.get_weights())
        x, *states = (keras.ops.convert_to_numpy(v) for v in again(x))
        assert len(states) == len(expected)
        for found, wanted in zip(states, expected, strict=True):
            near(found, wanted[i].numpy())
