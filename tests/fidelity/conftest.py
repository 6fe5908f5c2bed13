"""Fixtures of the tests against independent implementations."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

UNITS, FEATURES, STEPS, CLASSES = 6, 3, 15, 4


class RecurrentPair:
    """A recurrent network of ours and PyTorch's layer with a linear head, of the same weights.

    Args:
        family: of ours.
        layer: name of the class in `torch.nn`.
        ours_of: a layer's weight_ih, weight_hh, bias_ih, bias_hh -> its weights in our order.
        num_layers: of both.
        bidirectional: likewise.
    """

    def __init__(self, family, layer: str, ours_of: Callable, num_layers: int, bidirectional: bool):
        import torch

        self.torch, self.ours_of, self.rng = torch, ours_of, np.random.default_rng(0)
        self.num_layers, self.bidirectional = num_layers, bidirectional
        self.body = getattr(torch.nn, layer)(
            FEATURES, UNITS, num_layers, batch_first=True, bidirectional=bidirectional
        )
        self.head = torch.nn.Linear(UNITS * (1 + bidirectional), CLASSES)
        both = layer == "GRU"  # else the second bias adds nothing, and ours has none
        with torch.no_grad():
            for name, w in (*self.body.named_parameters(), *self.head.named_parameters()):
                drawn = torch.as_tensor(self.rng.uniform(-0.6, 0.6, w.shape))
                w.copy_(drawn * (both or "bias_hh" not in name))
        self.ours = family.build_model(
            "tiny", input_shape=(STEPS, FEATURES), task="labelling", num_classes=CLASSES,
            units=(UNITS,) * num_layers, bidirectional=bidirectional, clip_norm=None,
            optimizer=keras.optimizers.SGD(1.0),
        )  # fmt: skip
        self.ours.set_weights(self.named())

    def named(self, of: Callable = lambda w: w) -> list[np.ndarray]:
        """Torch's weights, or what `of` makes of them, in our order."""
        found = []
        for i in range(self.num_layers):
            for way in ("", "_reverse")[: 1 + self.bidirectional]:
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                parts = [of(getattr(self.body, f"{n}_l{i}{way}")) for n in names]
                found += self.ours_of(*[p.detach().numpy() for p in parts])
        head = [of(w).detach().numpy() for w in (self.head.weight, self.head.bias)]
        return [*found, head[0].T, head[1]]

    def x(self) -> np.ndarray:
        return self.rng.standard_normal((5, STEPS, FEATURES)).astype("float32")

    def theirs(self, x: np.ndarray):
        """Torch's logits."""
        return self.head(self.body(self.torch.tensor(x))[0])

    def check_outputs(self) -> None:
        """The logits are the same."""
        x = self.x()
        near(self.ours.predict(x, verbose=0), self.theirs(x).detach().numpy())

    def check_gradients(self) -> None:
        """Of the mean cross-entropy: by how much one step of plain descent moves each weight."""
        x, y = self.x(), self.rng.integers(0, CLASSES, (5, STEPS)).astype("int32")
        logits, targets = self.theirs(x).reshape(-1, CLASSES), self.torch.tensor(y.ravel()).long()
        loss = self.torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        before = self.ours.get_weights()
        found = self.ours.train_on_batch(x, y, return_dict=True)
        assert found["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
        moved = [a - b for a, b in zip(before, self.ours.get_weights(), strict=True)]
        for step, gradient in zip(moved, self.named(lambda w: w.grad), strict=True):
            assert np.abs(gradient).max() > 1e-4
            # A weight of size 0.6 is known to 6e-8 alone.
            np.testing.assert_allclose(step, gradient, rtol=1e-5, atol=3e-7)

    def check_final_states(self) -> None:
        """Layer by layer, of one direction."""
        x = self.x()
        expected = self.body(self.torch.tensor(x))[1]
        expected = expected if isinstance(expected, tuple) else (expected,)
        for i in range(self.num_layers):
            layer = self.ours.get_layer(f"layer_{i}")
            again = type(layer).from_config({**layer.get_config(), "return_state": True})
            again.build((None, *x.shape[1:]))
            again.set_weights(layer.get_weights())
            x, *states = (keras.ops.convert_to_numpy(v) for v in again(x))
            assert len(states) == len(expected)
            for found, wanted in zip(states, expected, strict=True):
                near(found, wanted[i].detach().numpy())


def near(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to 1e-5 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def recurrent_pair() -> type[RecurrentPair]:
    """`recurrent_pair(family, "LSTM", ours_of, num_layers, bidirectional)`."""
    pytest.importorskip("torch", reason="the peer runs on PyTorch (extra `peers`)")
    return RecurrentPair
