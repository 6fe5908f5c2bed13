"""Attention: by hand in NumPy; masks, caches and memories by what must follow from them."""

import keras
import numpy as np
import pytest

from recipes.layers.attention import MultiHeadAttention, attend, causal_mask
from recipes.layers.transformer import PositionEmbedding, TiedEmbedding, TransformerBlock

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype("float32")


def numpy(x) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_hand(q, k, v, mask=None, bias=0.0):
    """One head after another: equation 1 as it is printed."""
    found = np.zeros((*q.shape[:3], v.shape[-1]))
    for n in range(q.shape[0]):
        for h in range(q.shape[2]):
            scores = q[n, :, h] @ k[n, :, h].T / np.sqrt(q.shape[-1])
            scores = scores + np.broadcast_to(bias, (*q.shape[:3][::2], *scores.shape))[n, h]
            if mask is not None:
                scores = np.where(mask, scores, -np.inf)
            found[n, :, h] = softmax(scores) @ v[n, :, h]
    return found


@pytest.mark.parametrize("bias", [None, normal(1, 4, 5, 7)])
def test_attention_by_hand(bias):
    q, k, v = normal(2, 5, 4, 3), normal(2, 7, 4, 3), normal(2, 7, 4, 6)
    mask = RNG.random((5, 7)) < 0.7
    mask[:, 0] = True
    expected = by_hand(q, k, v, mask, 0.0 if bias is None else bias)
    if bias is None and v.shape[-1] != q.shape[-1]:
        v = v[..., :3]  # the fused operation wants one width on some backends
        expected = by_hand(q, k, v, mask)
    found = attend(q, k, v, mask=mask[None, None], bias=bias)
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_the_fused_way_and_the_open_way_agree():
    q, k, v = normal(2, 6, 2, 4), normal(2, 6, 2, 4), normal(2, 6, 2, 4)
    fused = attend(q, k, v, causal=True)
    found, weights = attend(q, k, v, causal=True, return_weights=True)
    np.testing.assert_allclose(numpy(fused), numpy(found), rtol=1e-4, atol=1e-5)
    weights = numpy(weights)
    assert weights.shape == (2, 2, 6, 6)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (weights[..., ~np.tri(6, dtype=bool)] == 0).all()


def test_causal_mask_starts_where_it_is_told():
    expected = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    np.testing.assert_array_equal(numpy(causal_mask(2, 5, 2)), np.array(expected, bool))


def test_no_position_sees_a_later_one():
    block = TransformerBlock(2, 16, dropout_rate=0.0)
    x = normal(1, 6, 8)
    before = numpy(block(x, causal=True))
    x[:, 4] += 1
    after = numpy(block(x, causal=True))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).min(-1).max() > 0


def test_padding_that_is_masked_changes_nothing():
    block = TransformerBlock(2, 16, dropout_rate=0.0)
    x = normal(2, 6, 8)
    alone = numpy(block(x[:, :4]))
    mask = (np.arange(6) < 4)[None, None, None]
    np.testing.assert_allclose(
        numpy(block(x, attention_mask=mask))[:, :4], alone, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_cache_gives_what_the_whole_gives(norm_first):
    block = TransformerBlock(2, 16, norm_first=norm_first, dropout_rate=0.0)
    x = normal(3, 7, 8)
    expected = numpy(block(x, causal=True))
    cache = block.attention.empty_cache(3, 9)
    first, cache = block(x[:, :4], cache=cache, start=0)
    found = [numpy(first)]
    for t in range(4, 7):
        one, cache = block(x[:, t : t + 1], cache=cache, start=t)
        found.append(numpy(one))
    np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=1e-4, atol=1e-5)


def test_a_memory_is_looked_at_and_can_be_kept():
    layer = MultiHeadAttention(2, cross=True)
    x, memory = normal(2, 3, 8), normal(2, 5, 12)
    expected = numpy(layer(x, memory=memory))
    assert layer.kv.kernel.shape == (12, 16)
    kept = layer.remember(memory)
    np.testing.assert_allclose(numpy(layer(x, memory=kept)), expected, rtol=1e-5)
    mask = (np.arange(5) < 2)[None, None, None]
    seen = numpy(layer(x, memory=memory, attention_mask=mask))
    np.testing.assert_allclose(seen, numpy(layer(x, memory=memory[:, :2])), rtol=1e-4, atol=1e-5)


def test_dropout_is_of_the_weights_and_in_training_alone():
    layer = MultiHeadAttention(1, dropout_rate=0.5)
    x = normal(4, 20, 6)
    still = numpy(layer(x))
    np.testing.assert_array_equal(numpy(layer(x)), still)
    draws = np.stack([numpy(layer(x, training=True)) for _ in range(300)])
    assert draws.std(0).min() > 0
    error = np.abs(draws.mean(0) - still) / draws.std(0)  # unbiased: of the order 1 / sqrt(300)
    assert np.median(error) < 0.1


def test_a_block_by_hand():
    """Post-norm: norm(x + attention), then norm(h + dense(h)) (Vaswani 2017, section 3.1)."""
    block = TransformerBlock(2, 16, activation="relu", dropout_rate=0.0)
    x = normal(1, 4, 8)
    found = numpy(block(x))

    def norm(layer, x):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-5) * numpy(layer.gamma) + numpy(layer.beta)

    def dense(layer, x):
        return x @ numpy(layer.kernel) + numpy(layer.bias)

    qkv = dense(block.attention.qkv, x).reshape(1, 4, 3, 2, 4)
    seen = by_hand(*(qkv[:, :, i] for i in range(3))).reshape(1, 4, 8)
    h = norm(block.norm, x + dense(block.attention.out, seen))
    expected = norm(block.dense_norm, h + dense(block.down, np.maximum(dense(block.up, h), 0)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_equal_matrices_of_a_block_start_differently():
    block = TransformerBlock(2, 16, kernel_initializer=keras.initializers.RandomNormal(seed=3))
    block(normal(1, 2, 8))
    kernels = numpy(block.attention.qkv.kernel).reshape(8, 3, 8)
    assert not np.allclose(kernels[:, 0], kernels[:, 1])
    assert not np.allclose(numpy(block.attention.out.kernel), kernels[:, 0])


def test_tied_embedding_is_its_own_way_back():
    layer = TiedEmbedding(5, 3)
    ids = np.array([[1, 4]])
    vectors = numpy(layer(ids))
    logits = numpy(layer(vectors, reverse=True))
    table = numpy(layer.embeddings)
    np.testing.assert_allclose(logits, table[ids] @ table.T, rtol=1e-5)
    assert len(layer.weights) == 1


def test_positions_start_where_they_are_told():
    layer = PositionEmbedding(6, "normal")
    x = np.zeros((2, 3, 4), "float32")
    whole = numpy(layer(np.zeros((2, 6, 4), "float32")))
    np.testing.assert_array_equal(numpy(layer(x, start=2)), whole[:, 2:5])
