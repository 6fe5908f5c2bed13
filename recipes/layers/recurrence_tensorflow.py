"""All steps of a recurrent layer in training as two loops, compiled by XLA, with TensorFlow.

TensorFlow's own loop takes longer over starting its dozen operations a step than over computing
them, and adds up the kernels' gradients step by step. Here the one loop goes forwards, the other
back through time; what they keep for each step are arrays, since XLA's lists cannot leave a
compiled function, and the gradients of the kernels are one product each behind the loop.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from recipes.layers.recurrent import NARROW  # models up to it are compiled as a whole
from recipes.training import compilation
from recipes.training.precision import devices

# One step: from what the inputs give to the gates, z, and the states before them, p, (n, gates u),
# and the states to the new states, the first of which is the output.


def lstm(z: tf.Tensor, p: tf.Tensor, states: list[tf.Tensor]) -> list[tf.Tensor]:
    """Gers 2000: c' = f c + i g, h' = o tanh(c')."""
    i, f, g, o = tf.split(z + p, 4, axis=1)
    c = tf.sigmoid(f) * states[1] + tf.sigmoid(i) * tf.tanh(g)
    return [tf.sigmoid(o) * tf.tanh(c), c]


def gru(z: tf.Tensor, p: tf.Tensor, states: list[tf.Tensor]) -> list[tf.Tensor]:
    """Cho 2014, with the reset behind the product: h' = u h + (1 - u) tanh(z + r p)."""
    (z_u, z_r, z_h), (p_u, p_r, p_h) = (tf.split(part, 3, axis=1) for part in (z, p))
    u, r = tf.sigmoid(z_u + p_u), tf.sigmoid(z_r + p_r)
    return [u * states[0] + (1 - u) * tf.tanh(z_h + r * p_h)]


STEPS = {
    "lstm": lstm,
    "gru": gru,
    "rnn_tanh": lambda z, p, states: [tf.tanh(z + p)],
    "rnn_relu": lambda z, p, states: [tf.nn.relu(z + p)],
}


def pays(layer: keras.layers.RNN, x: Any, training: bool) -> bool:
    """Whether it is faster so for sequences x (n, steps, d): a training step, traced, on a CPU."""
    if not training or tf.executing_eagerly() or not compilation.XLA_ON_CPU:
        return False
    return layer.cell.units > NARROW and x.shape[1] is not None and devices()[0].kind == "cpu"


def read(
    layer: keras.layers.RNN, x: tf.Tensor, states: list[tf.Tensor], mask: Any
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """What `inner_loop` of Keras's RNN returns.

    Args:
        layer: whose cell it is.
        x: (n, steps, d).
        states: of the cell, (n, u) each.
        mask: (n, steps), true where a step is read; others leave the states as they are. Or None.

    Returns:
        The last output (n, u), all outputs (n, steps, u) and the states.
    """
    cell, dtype = layer.cell, layer.compute_dtype
    weights = [cell.kernel, cell.recurrent_kernel, *([cell.bias] if cell.use_bias else [])]
    w, u, *b = (tf.cast(tf.convert_to_tensor(v), dtype) for v in weights)
    b = b[0] if b else tf.zeros(u.shape[1], dtype)
    b = b if b.shape.rank == 2 else tf.stack([b, tf.zeros_like(b)])  # of inputs, of states
    z = tf.transpose(tf.matmul(tf.cast(x, dtype), w) + b[0], (1, 0, 2))
    there = None if mask is None else tf.transpose(tf.cast(mask, "bool"))[:, :, None]
    if layer.go_backwards:
        z, there = tf.reverse(z, [0]), None if mask is None else tf.reverse(there, [0])
    forwards, backwards = loops(STEPS[layer.operation], x.shape[1], there)

    @tf.custom_gradient
    def run(z, u, b, *states):
        outputs, *kept, last = forwards(z, u, b, states)

        def gradient(d_outputs, *d_last):
            return backwards(z, u, states, (outputs, *kept), d_outputs, list(d_last))

        return (outputs, *last), gradient

    outputs, *last = run(z, u, b[1], *states)
    if mask is not None:  # what is not read repeats the last output, which is 0 before the first
        read_so_far = tf.cumsum(tf.cast(there, "int32")) > 0
        shown = there if layer.zero_output_for_mask else read_so_far
        outputs = tf.where(shown, outputs, tf.zeros_like(outputs))
    return outputs[-1], tf.transpose(outputs, (1, 0, 2)), last


def loops(step: Callable, steps: int, there: tf.Tensor | None) -> tuple[Callable, Callable]:
    """The loop over the steps and the one back, where each is read that is `there`, (steps, n, 1).

    Forwards goes from z (steps, n, gates u), the kernel and the bias of the states, and the first
    states to the states behind each step, p of each step, and a list of the last states. Backwards
    goes from their gradients to those of z, kernel, bias and first states.
    """
    compiled = tf.function(jit_compile=True, autograph=False)

    def one(t, z, p, states, there):
        new = step(z, p, states)
        if there is None:
            return new
        return [tf.where(there[t], a, old) for a, old in zip(new, states, strict=True)]

    def arrays(count, dtype):
        return [tf.TensorArray(dtype, steps) for _ in range(count)]

    def loop(start, body, kept, carried):
        def go_on(t, *_):
            return tf.logical_and(t >= 0, t < steps)

        found = tf.while_loop(go_on, body, (start, carried, kept), maximum_iterations=steps)
        return [array.stack() for array in found[2]], found[1]

    @compiled
    def forwards(z, u, b, states, there):
        def body(t, states, kept):
            p = tf.matmul(states[0], u) + b
            new = one(t, z[t], p, states, there)
            kept = [a.write(t, v) for a, v in zip(kept, [*new, p], strict=True)]
            return t + 1, new, kept

        kept, last = loop(0, body, arrays(len(states) + 1, z.dtype), list(states))
        return *kept, last

    @compiled
    def backwards(z, u, states, kept, d_outputs, d_last, there):
        *after, p = kept
        before = [tf.concat([s[None], v[:-1]], axis=0) for s, v in zip(states, after, strict=True)]

        def body(t, d, kept):
            at = z[t], p[t], [v[t] for v in before]
            with tf.GradientTape() as tape:
                tape.watch(at)
                new = one(t, *at, there)
            d = [d[0] + d_outputs[t], *d[1:]]
            d_z, d_p, d = tape.gradient(new, at, d, unconnected_gradients="zero")
            d = [d[0] + tf.matmul(d_p, u, transpose_b=True), *d[1:]]
            return t - 1, d, [a.write(t, v) for a, v in zip(kept, (d_z, d_p), strict=True)]

        (d_z, d_p), d = loop(steps - 1, body, arrays(2, z.dtype), d_last)
        d_u = tf.einsum("tni,tnj->ij", before[0], d_p)
        return d_z, d_u, tf.reduce_sum(d_p, (0, 1)), *d

    return partial(forwards, there=there), partial(backwards, there=there)
