"""Attention networks against PyTorch, with the same weights: logits, shares and gradients.

The peers are written with torch.nn's GRU, LSTM and their cells; Keras's own attention layers are
asked for the scores that they have.
"""

import keras
import numpy as np
import pytest
from keras import ops

from recipes import attention
from recipes.layers import attention as looks

torch = pytest.importorskip("torch", reason="the peer runs on PyTorch (extra `peers`)")
F = torch.nn.functional

RNG = np.random.default_rng(0)
GATES = {"gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}  # torch's r, z, n from our z, r, n


class Peer:
    """Our weights by path as torch's parameters, and layers that use them."""

    def __init__(self, model: keras.Model, cell: str):
        self.cell = cell
        self.weights = {
            f"/{w.path}": torch.tensor(ops.convert_to_numpy(w), requires_grad=True)
            for w in model.trainable_weights
        }  # fmt: skip

    def __getitem__(self, end: str):
        (found,) = [w for path, w in self.weights.items() if path.endswith(end)]
        return found

    def gates(self, prefix: str):
        """Weights of a cell or a layer as torch's functions take them."""
        order = GATES[self.cell]

        def put(w):
            parts = torch.chunk(w, len(order), dim=-1)
            return torch.cat([parts[i] for i in order], dim=-1)

        bias = self[f"{prefix}/bias"]
        b_ih, b_hh = bias if bias.ndim == 2 else (bias, torch.zeros_like(bias))
        return [put(self[f"{prefix}/kernel"]).T, put(self[f"{prefix}/recurrent_kernel"]).T,
                put(b_ih), put(b_hh)]  # fmt: skip

    def step(self, prefix: str, x, state):
        """One step of a cell: a list of states."""
        if self.cell == "gru":
            return [torch.gru_cell(x, state[0], *self.gates(prefix))]
        return list(torch.lstm_cell(x, state, *self.gates(prefix)))

    def read(self, prefixes, x, there):
        """Both directions over texts of unequal length: states, and the last ones backwards."""
        n, s = there.shape
        lengths = there.sum(1)
        outs = []
        for way, prefix in enumerate(prefixes):
            units = self[f"{prefix}/recurrent_kernel"].shape[0]
            out = [[None] * s for _ in range(n)]
            for i in range(n):  # each text by itself
                state = [torch.zeros(1, units) for _ in range(1 + (self.cell == "lstm"))]
                steps = range(int(lengths[i]))
                for j in reversed(steps) if way else steps:
                    state = self.step(prefix, x[i, j][None], state)
                    out[i][j] = state
            outs.append(out)
        zero = torch.zeros(1, units)
        rows = [torch.cat([torch.cat([o[i][j][0] if o[i][j] else zero for o in outs], 1)
                           for j in range(s)]) for i in range(n)]  # fmt: skip
        last = [torch.cat([outs[1][i][0][k] for i in range(n)])
                for k in range(len(outs[1][0][0]))]  # fmt: skip
        return torch.stack(rows), last


def translate(peer, model, source, target):
    """The two papers' decoders, step by step."""
    numbers = model.numbers
    there = torch.tensor(source) != 0
    x = peer["source_tokens/embeddings"][torch.tensor(source)]
    ways = [
        f"encoder/layer_0/{way}_{peer.cell}/{peer.cell}_cell" for way in ("forward", "backward")
    ]
    memory, last = peer.read(ways, x, there)
    how = (torch.tanh, lambda v: v)
    state = [f(h @ peer[f"start_0_{k}/kernel"] + peer[f"start_0_{k}/bias"])
             for k, (h, f) in enumerate(zip(last, how, strict=False))]  # fmt: skip
    y = peer["/tokens/embeddings"][torch.tensor(target)]
    readout = torch.zeros(len(source), numbers["readout_dim"])
    found, looks = [], []

    def look(s):
        if numbers["score"] == "additive":
            hidden = (s @ peer["of_question/kernel"])[:, None] + memory @ peer["of_memory/kernel"]
            e = (torch.tanh(hidden) @ peer["attention/v/kernel"])[..., 0]
        else:
            e = torch.einsum("nd,nsd->ns", s, memory @ peer["of_memory/kernel"])
        a = torch.softmax(e.masked_fill(~there, -torch.inf), -1)
        return torch.einsum("ns,nsm->nm", a, memory), a

    for t in range(target.shape[1]):
        if numbers["ask"] == "before":
            c, a = look(state[0])
            before = state[0]
            state = peer.step("cell_0", torch.cat([y[:, t], c], 1), state)
            r = torch.cat([before, y[:, t], c], 1) @ peer["readout/kernel"]
            readout = r.reshape(len(r), -1, 2).amax(-1)
        else:
            state = peer.step("cell_0", torch.cat([y[:, t], readout], 1), state)
            c, a = look(state[0])
            readout = torch.tanh(torch.cat([c, state[0]], 1) @ peer["readout/kernel"])
        found.append(readout)
        looks.append(a)
    logits = torch.stack(found, 1) @ peer["logits/kernel"] + peer["logits/bias"]
    return logits, torch.stack(looks, 1)


def shaken(model):
    for w in model.trainable_weights:
        w.assign(RNG.uniform(-0.5, 0.5, w.shape).astype("float32"))
    return model


def check_gradients(model, peer, x, y, loss):
    """By how much one step of plain descent moves each weight."""
    before = [ops.convert_to_numpy(w).copy() for w in model.trainable_weights]
    found = model.train_on_batch(x, y, return_dict=True)
    assert found["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    loss.backward()
    theirs = list(peer.weights.values())
    for w, old, other in zip(model.trainable_weights, before, theirs, strict=True):
        gradient = other.grad.numpy()
        assert np.abs(gradient).max() > 1e-6, w.path
        moved = old - ops.convert_to_numpy(w)
        np.testing.assert_allclose(moved, gradient, rtol=1e-4, atol=5e-7, err_msg=w.path)


@pytest.mark.parametrize(
    "arguments",
    [{"ask": "before", "score": "additive", "cell": "gru"},
     {"ask": "after", "score": "general", "cell": "lstm"}],
    ids=["bahdanau", "luong"],
)  # fmt: skip
def test_translators(arguments):
    model = shaken(attention.build_model(
        "tiny", source_vocabulary_size=9, target_vocabulary_size=8, target_length=5, units=6,
        hidden_dim=4, readout_dim=3, alignment_dim=5, clip_norm=1e9,
        optimizer=keras.optimizers.SGD(1.0), **arguments,
    ))  # fmt: skip
    source, target = RNG.integers(4, 9, (3, 6)), RNG.integers(4, 8, (3, 5))
    source[1, 4:], target[2, 3:] = 0, 0
    peer = Peer(model, arguments["cell"])
    logits, looks = translate(peer, model, source, target)
    ours = model.predict([source, target], verbose=0)
    expected = logits.detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())
    shares = model.attention_weights(source, target)[:, 0]
    np.testing.assert_allclose(shares, looks.detach().numpy(), atol=1e-5)
    y = np.where(target == 0, 0, RNG.integers(1, 8, target.shape))
    loss = F.cross_entropy(logits.transpose(1, 2), torch.tensor(y), ignore_index=0)
    check_gradients(model, peer, (source, target), y, loss)


def test_hierarchical_classifier():
    model = shaken(attention.build_model(
        "tiny", vocabulary_size=9, num_classes=3, num_sentences=2, units=5, hidden_dim=4,
        alignment_dim=6, clip_norm=1e9, optimizer=keras.optimizers.SGD(1.0),
    ))  # fmt: skip
    ids = RNG.integers(1, 9, (3, 2, 4))
    ids[0, 1, 2:] = 0
    peer = Peer(model, "gru")

    def pool(name, x, there):
        ways = [f"{name}_encoder/layer_0/{way}_gru/gru_cell" for way in ("forward", "backward")]
        h, _ = peer.read(ways, x, there)
        of = f"{name}_attention"
        u = torch.tanh(h @ peer[f"{of}/hidden/kernel"] + peer[f"{of}/hidden/bias"])
        e = (u @ peer[f"{of}/v/kernel"])[..., 0].masked_fill(~there, -torch.inf)
        return torch.einsum("ns,nsm->nm", torch.softmax(e, -1), h)

    flat = torch.tensor(ids.reshape(6, 4))
    x = pool("word", peer["/tokens/embeddings"][flat], flat != 0).reshape(3, 2, -1)
    x = pool("sentence", x, torch.ones(3, 2, dtype=torch.bool))
    logits = x @ peer["logits/kernel"] + peer["logits/bias"]
    expected = logits.detach().numpy()
    ours = model.predict(ids, verbose=0)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())
    y = np.array([0, 2, 1])
    check_gradients(model, peer, ids, y, F.cross_entropy(logits, torch.tensor(y)))


@pytest.mark.parametrize(
    "score, theirs",
    [("dot", keras.layers.Attention()), ("scaled_dot", keras.layers.Attention(score_mode="dot")),
     ("additive", keras.layers.AdditiveAttention(use_scale=False))],
)  # fmt: skip
def test_scores_against_keras(score, theirs):
    """Keras's additive attention has no W, U and v: identities and ones make ours that."""
    q, h = RNG.standard_normal((2, 2, 3, 6)).astype("float32")
    there = np.array([[True] * 3, [True, True, False]])
    layer = looks.Attention(score, units=6)
    layer.build(q.shape, h.shape)
    for w in layer.weights:
        w.assign(np.eye(6) if w.shape == (6, 6) else np.ones(w.shape))
    asked = q / np.sqrt(6) if score == "scaled_dot" else q
    expected = theirs([asked, h], mask=[None, there])
    found = layer(q, h, layer.prepare(h), there)[0]
    found, expected = (ops.convert_to_numpy(v) for v in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
