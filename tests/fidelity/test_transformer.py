"""The transformer against torch.nn.Transformer, with its weights."""

import keras
import numpy as np
import pytest

from recipes import transformer

torch = pytest.importorskip("torch", reason="the peer runs on PyTorch (extra `peers`)")

WIDTH, HEADS, UNITS, LAYERS = 16, 4, 24, 2


def array(tensor) -> np.ndarray:
    return tensor.detach().numpy()


def attention(layer, peer, cross: bool, get=lambda w: w) -> list[tuple]:
    """Our weights beside theirs: kernels are (inputs, outputs) here, (outputs, inputs) there."""
    w, b = array(get(peer.in_proj_weight)), array(get(peer.in_proj_bias))
    pairs = [(layer.out.kernel, array(get(peer.out_proj.weight)).T),
             (layer.out.bias, array(get(peer.out_proj.bias)))]  # fmt: skip
    if cross:
        pairs += [(layer.q.kernel, w[:WIDTH].T), (layer.q.bias, b[:WIDTH])]
        return [*pairs, (layer.kv.kernel, w[WIDTH:].T), (layer.kv.bias, b[WIDTH:])]
    return [*pairs, (layer.qkv.kernel, w.T), (layer.qkv.bias, b)]


def table(model, peer, get=lambda w: w) -> list[tuple]:
    """All of our blocks' weights beside theirs."""
    pairs = []
    for ours, theirs in ((model.encoder, peer.encoder), (model.decoder, peer.decoder)):
        for block, layer in zip(ours, theirs.layers, strict=False):
            cross = theirs is peer.decoder
            pairs += attention(block.attention, layer.self_attn, False, get)
            norms = [(block.norm, layer.norm1)]
            if cross:
                pairs += attention(block.memory_attention, layer.multihead_attn, True, get)
                norms += [(block.memory_norm, layer.norm2), (block.dense_norm, layer.norm3)]
            else:
                norms.append((block.dense_norm, layer.norm2))
            for norm, other in norms:
                pairs += [(norm.gamma, array(get(other.weight))),
                          (norm.beta, array(get(other.bias)))]  # fmt: skip
            for dense, other in ((block.up, layer.linear1), (block.down, layer.linear2)):
                pairs += [(dense.kernel, array(get(other.weight)).T),
                          (dense.bias, array(get(other.bias)))]  # fmt: skip
    return pairs


@pytest.fixture(params=[False, True], ids=["post-norm", "pre-norm"])
def both(request):
    torch.manual_seed(0)
    theirs = torch.nn.Transformer(
        WIDTH, HEADS, LAYERS, LAYERS, UNITS, dropout=0.0, batch_first=True,
        norm_first=request.param,
    )  # fmt: skip
    if not request.param:  # the paper has no norms behind the stacks
        theirs.encoder.norm = theirs.decoder.norm = None
    with torch.no_grad():
        for w in theirs.parameters():
            w.add_(0.1 * torch.randn(w.shape))
    ours = transformer.build_model(
        source_vocabulary_size=11, target_vocabulary_size=11, num_layers=LAYERS, num_heads=HEADS,
        hidden_dim=WIDTH, intermediate_dim=UNITS, dropout_rate=0.0, norm_first=request.param,
    )  # fmt: skip
    for weight, value in table(ours, theirs):
        weight.assign(value)
    if request.param:
        for stack, norm in (
            (ours.encoder, theirs.encoder.norm),
            (ours.decoder, theirs.decoder.norm),
        ):
            stack[-1].set_weights([array(norm.weight), array(norm.bias)])
    return ours, theirs.train()


def inputs() -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(0)
    source, target = generator.integers(4, 11, (3, 6)), generator.integers(4, 11, (3, 5))
    source[1, 4:] = 0
    wanted = generator.integers(4, 11, (3, 5))
    wanted[2, 3:] = 0
    return source, target, wanted


def logits(ours, theirs, source, target):
    """Theirs, between our table and our positions."""
    tokens = torch.tensor(keras.ops.convert_to_numpy(ours.table.embeddings))

    def begin(ids):
        zero = np.zeros((1, ids.shape[1], WIDTH), "float32")
        places = torch.tensor(keras.ops.convert_to_numpy(ours.positions(zero)))
        return tokens[torch.tensor(ids)] * WIDTH**0.5 + places

    padding = torch.tensor(source == 0)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(target.shape[1])
    found = theirs(
        begin(source), begin(target), tgt_mask=causal, src_key_padding_mask=padding,
        memory_key_padding_mask=padding, tgt_is_causal=True,
    )  # fmt: skip
    return found @ tokens.T


def test_same_logits(both):
    ours, theirs = both
    source, target, _ = inputs()
    expected = array(logits(ours, theirs, source, target))
    found = ours.predict([source, target], verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_same_loss_and_gradients(both, smoothing):
    """A step of plain descent moves every block's weight by torch's gradient."""
    ours, theirs = both
    source, target, wanted = inputs()
    loss = torch.nn.functional.cross_entropy(
        logits(ours, theirs, source, target).flatten(0, 1), torch.tensor(wanted).flatten(),
        ignore_index=0, label_smoothing=smoothing,
    )  # fmt: skip
    loss.backward()
    expected = table(ours, theirs, lambda w: w.grad)
    before = [keras.ops.convert_to_numpy(w).copy() for w, _ in expected]
    ours.compile(
        optimizer=keras.optimizers.SGD(1.0), loss=transformer.MaskedCrossentropy(smoothing)
    )
    found = ours.train_on_batch((source, target), wanted, return_dict=True)["loss"]
    assert float(found) == pytest.approx(loss.item(), rel=1e-5)
    for (weight, gradient), old in zip(expected, before, strict=True):
        moved = old - keras.ops.convert_to_numpy(weight)
        np.testing.assert_allclose(
            moved, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max() + 1e-7
        )
