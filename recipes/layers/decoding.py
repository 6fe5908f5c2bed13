"""Choosing the next token from logits, and writing whole targets with models of pairs.

A model that writes has `numbers` (its sizes: `source_vocabulary_size`, `target_vocabulary_size` and
`target_length`), `tokenizers`, an empty dictionary `writers`, and

    read(source ids (n, s)) -> memory: what it looks at while it writes
    first_states(memory) -> states
    advance(token ids (n, 1), memory, states, t) -> logits (n, tokens) of what follows, new states

where memory and states are any structures of tensors (n, ...).
"""

import functools
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from recipes.contract import check
from recipes.contract.arguments import check_vocabulary
from recipes.layers.compiled import compiled

PADDING, START, END = 0, 2, 3  # ids that recipes.data.pairs reserves


def choose(logits: Any, uniform: Any, temperature: Any, top_k: Any, top_p: Any) -> Any:
    """A token for each row: the same on every backend, since the random numbers are given.

    The tokens are lined up by probability, cut after `top_k` of them and where those before have
    `top_p` together, and the one is taken in whose share the random number falls.

    Args:
        logits: (n, tokens).
        uniform: random numbers in [0, 1), (n,).
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw from so many of the likeliest tokens only.
        top_p: draw from the likeliest tokens that have this probability together (Holtzman et al.
            2020).

    Returns:
        ids (n,), int32.
    """
    size = logits.shape[-1]
    values, order = ops.top_k(logits / ops.maximum(temperature, 1e-6), size)
    shares = ops.softmax(values)
    before = ops.cumsum(shares, axis=-1) - shares
    kept = ops.logical_and(ops.arange(size) < top_k, before < top_p)
    ends = ops.cumsum(ops.where(kept, shares, 0.0), axis=-1)
    place = ops.sum(ops.cast(ends <= uniform[:, None] * ends[:, -1:], "int32"), axis=-1)
    place = ops.minimum(place, ops.sum(ops.cast(kept, "int32"), axis=-1) - 1)
    return ops.cast(ops.take_along_axis(order, place[:, None], axis=-1)[:, 0], "int32")


def check_choice(size: int, temperature: Any, top_k: Any, top_p: Any, seed: Any) -> None:
    """Raise where one of `choose`'s arguments for `size` tokens is impossible."""
    check_vocabulary({"seed": seed})
    ok = isinstance(temperature, Real) and temperature >= 0
    check(ok, "temperature", temperature, "must be a number of at least 0")
    ok = top_k is None or (isinstance(top_k, Integral) and 1 <= top_k <= size)
    check(ok, "top_k", top_k, f"must be an integer from 1 to {size}, or None")
    ok = top_p is None or (isinstance(top_p, Real) and 0 < top_p <= 1)
    check(ok, "top_p", top_p, "must be a number in (0, 1], or None")


def generate(
    self: keras.Model,
    sources: Any,
    *,
    beam_size: int = 1,
    length_penalty: float = 0.6,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    batch_size: int = 128,
) -> Any:
    """Turn sources into targets.

    Args:
        sources: a text, a list of texts, or token ids (n, s).
        beam_size: beams of the search; 1 takes the likeliest token each time.
        length_penalty: of a search with several beams: above 0 longer targets are preferred (Wu et
            al. 2016, equation 14).
        temperature: above 0 each token is drawn, its logits divided by it.
        top_k: draw from so many of the likeliest tokens only; None: from all.
        top_p: draw from the likeliest tokens of this probability together; None: from all.
        seed: of the draws.
        batch_size: sources at a time.

    Returns:
        As the sources: a text or a list of texts; or ids (n, target_length), the end token
        included, 0 behind it.

    Raises:
        ValueError: no or empty sources, texts for a model without tokenizers, ids that do not
            exist, beams together with a temperature, or values out of their range.
    """
    size, length = self.numbers["target_vocabulary_size"], self.numbers["target_length"]
    check_choice(size, temperature, top_k, top_p, seed)
    check_vocabulary({"batch_size": batch_size})
    whole = isinstance(beam_size, Integral) and not isinstance(beam_size, bool)
    check(whole and 1 <= beam_size <= size, "beam_size", beam_size,
          f"must be an integer from 1 to {size}")  # fmt: skip
    ok = isinstance(length_penalty, Real) and length_penalty >= 0
    check(ok, "length_penalty", length_penalty, "must be a number of at least 0")
    wanted = "beams are not drawn: needs temperature=0"
    check(beam_size == 1 or not temperature, "beam_size", beam_size, wanted)
    ids, back = _ids(self, sources)

    kind = 0 if temperature else int(beam_size)
    if kind not in self.writers:
        way = functools.partial(beam_search, self, width=kind)
        way = way if kind else functools.partial(sample, self)
        # Writing is many small operations: XLA pays there even where it does not in training.
        self.writers[kind] = compiled(self, way, xla_on_cpu=True)
    generator, made = np.random.default_rng(seed), []
    how = {"penalty": np.float32(length_penalty)}
    if temperature:
        how = {"temperature": np.float32(temperature), "top_k": np.int32(top_k or size),
               "top_p": np.float32(top_p or 1.0)}  # fmt: skip
    for i in range(0, len(ids), batch_size):
        part = ids[i : i + batch_size]
        if temperature:
            how["uniform"] = generator.random((len(part), length), "float32")
        made.append(self.writers[kind]({"source": part, **how}))
    return back(np.concatenate(made))


def sample(model: keras.Model, inputs: dict) -> Any:
    """Targets drawn token by token: (n, target_length).

    Args:
        model: see above.
        inputs: "source" (n, s); "uniform" (n, target_length), the random numbers; "temperature",
            "top_k" and "top_p" as of `choose`.
    """
    source, length = inputs["source"], model.numbers["target_length"]
    count = ops.shape(source)[0]
    memory = model.read(source)

    def unfinished(t, token, done, ids, states):
        return ops.logical_and(t < length, ops.logical_not(ops.all(done)))

    def step(t, token, done, ids, states):
        logits, states = model.advance(token, memory, states, t)
        logits = ops.where(ops.arange(logits.shape[-1]) < END, -1e9, logits)
        drawn = ops.take(inputs["uniform"], t, axis=1)
        new = choose(logits, drawn, inputs["temperature"], inputs["top_k"], inputs["top_p"])
        new = ops.where(done, PADDING, new)
        ids = ops.slice_update(ids, (0, t), new[:, None])
        return t + 1, new[:, None], ops.logical_or(done, ops.equal(new, END)), ids, states

    start = (ops.convert_to_tensor(0, "int32"), ops.full((count, 1), START, "int32"),
             ops.zeros((count,), "bool"), ops.zeros((count, length), "int32"),
             model.first_states(memory))  # fmt: skip
    return ops.while_loop(unfinished, step, start)[3]


def beam_search(model: keras.Model, inputs: dict, width: int) -> Any:
    """The likeliest targets found, (n, target_length).

    In each step every beam is continued by every token, and the `width` likeliest stay.

    Args:
        model: see above.
        inputs: "source" (n, s); "penalty", a in the length penalty ((5 + length) / 6)^a that log p
            is divided by at the end.
        width: number of beams.
    """
    source, length = inputs["source"], model.numbers["target_length"]
    count, tokens = ops.shape(source)[0], model.numbers["target_vocabulary_size"]
    memory = model.read(source)
    memory = tree.map_structure(lambda part: ops.repeat(part, width, axis=0), memory)
    rows = ops.arange(count)[:, None] * width  # where each source's beams begin

    def unfinished(t, ids, score, done, states):
        return ops.logical_and(t < length, ops.logical_not(ops.all(done)))

    def step(t, ids, score, done, states):
        last = ops.take(ids, ops.maximum(t - 1, 0), axis=2)
        last = ops.where(t > 0, last, START)  # (n, width)
        logits, states = model.advance(ops.reshape(last, (-1, 1)), memory, states, t)
        known = ops.arange(tokens)
        logits = ops.where(known < END, -1e9, logits)
        log_p = ops.reshape(ops.log_softmax(logits), (-1, width, tokens))
        # What is done goes on with padding, for nothing.
        still = ops.where(ops.equal(known, PADDING), 0.0, -1e9)
        log_p = ops.where(done[:, :, None], still, log_p)
        total = ops.reshape(score[:, :, None] + log_p, (-1, width * tokens))
        score, best = ops.top_k(total, width)
        best = ops.cast(best, "int32")
        parent, new = best // tokens, best % tokens
        ids = ops.take_along_axis(ids, parent[:, :, None], axis=1)
        done = ops.take_along_axis(done, parent, axis=1)
        ids = ops.slice_update(ids, (0, 0, t), new[:, :, None])
        done = ops.logical_or(done, ops.equal(new, END))
        chosen = ops.reshape(rows + parent, (-1,))
        states = tree.map_structure(lambda part: ops.take(part, chosen, axis=0), states)
        return t + 1, ids, score, done, states

    first = ops.where(ops.arange(width) == 0, 0.0, -1e9)  # at first all beams are the same
    start = (ops.convert_to_tensor(0, "int32"), ops.zeros((count, width, length), "int32"),
             ops.zeros((count, 1)) + first, ops.zeros((count, width), "bool"),
             model.first_states(memory))  # fmt: skip
    _, ids, score, *_ = ops.while_loop(unfinished, step, start)
    lengths = ops.sum(ops.cast(ops.not_equal(ids, PADDING), "float32"), axis=-1)
    score = score / ((5 + lengths) / 6) ** inputs["penalty"]
    best = ops.argmax(score, axis=-1)
    return ops.take_along_axis(ids, ops.cast(best, "int32")[:, None, None], axis=1)[:, 0]


def _ids(model: keras.Model, sources: Any) -> tuple[np.ndarray, Any]:
    """Sources as ids, and what turns written ids into what the sources were."""
    one = isinstance(sources, str)
    texts = [sources] if one else sources
    if isinstance(texts, list | tuple) and len(texts) and isinstance(texts[0], str):
        from recipes.data.pairs import PairTransform

        wanted = "needs a model with tokenizers; give token ids"
        check(model.tokenizers is not None, "sources", sources, wanted)
        both = (model.tokenizers["source"], model.tokenizers["target"])
        for text in texts:
            check(isinstance(text, str) and text.strip(), "sources", text, "must be a text")
        transform = PairTransform(*both, source_length=1, target_length=1)
        longest = max(map(len, transform.source.encode_batch(texts)))
        transform.source_length = -(-longest // 16) * 16  # few lengths to compile for

        def back(ids):
            found = transform.decode(ids)
            return found[0] if one else found

        return transform(list(texts)), back
    ids = np.asarray(sources)
    wanted = "needs a text, a list of texts, or token ids (n, s)"
    ok = ids.ndim == 2 and ids.size and ids.dtype.kind in "iu"
    check(ok, "sources", f"{ids.dtype} {ids.shape}", wanted)
    size = model.numbers["source_vocabulary_size"]
    inside = ids.min() >= 0 and ids.max() < size
    check(inside, "sources", f"ids {ids.min()} .. {ids.max()}", f"must be in 0 .. {size - 1}")
    return ids.astype("int32"), lambda made: made
