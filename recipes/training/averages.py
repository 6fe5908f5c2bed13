"""The moving average of a network's weights, which makes better pictures than the weights do."""

import keras
from keras import ops


def copy_of(network: keras.Model) -> keras.Model:
    """A network of the same weights that no optimizer moves: where an average begins."""
    average = keras.models.clone_model(network)
    average.set_weights(network.get_weights())
    average.trainable = False
    return average


def follow(average: keras.Model, network: keras.Model, decay: float, steps_seen) -> None:
    """Move an average towards a network's weights: a += (1 - d) (w - a), in `compute_loss`.

    The decay d warms up, min(decay, (1 + n) / (10 + n)) in step n: an average that begins at random
    weights would else keep them for long.

    Args:
        average: of `copy_of`.
        network: whose weights are followed.
        decay: d, in [0, 1).
        steps_seen: n, a weight that is counted up here.
    """
    n = steps_seen.assign_add(1.0)
    decay = ops.minimum(decay, (1 + n) / (10 + n))
    for slow, fast in zip(average.weights, network.weights, strict=True):
        slow.assign(slow + (1 - decay) * (ops.stop_gradient(fast) - slow))
