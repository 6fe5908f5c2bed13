"""Whether this process has met the others."""

import jax


def is_joined() -> bool:
    """By `keras.distribution.initialize`, or JAX's own."""
    return jax.distributed.is_initialized()
