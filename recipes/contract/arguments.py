"""What a family does with its arguments: variants, one vocabulary, and one clear error at the door.

`recipe` turns a plain builder function into a family's `build_model`. A family then writes only
its network; unknown names, impossible values and the precedence of explicit arguments over the
variant's are handled here, in the same words everywhere.
"""

import difflib
import functools
import inspect
import numbers
import random
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def unknown(what: str, value: object, known: Iterable[str]) -> ValueError:
    """The error for a name that does not exist: says which do, and the nearest of them."""
    known = [str(name) for name in known]
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {what} {value!r}; known: {', '.join(known)}.{hint}")


def check(condition: object, argument: str, value: object, wanted: str) -> None:
    """Raise a ValueError that names the argument, what came and what would do."""
    if not condition:
        raise ValueError(f"{argument}={value!r}: {wanted}")


def _is_count(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _are_counts(value: object) -> bool:
    """A positive integer, or any nesting of tuples of them."""
    if isinstance(value, tuple | list):
        return all(_are_counts(item) for item in value)
    return _is_count(value)


def _is_rate(value: object) -> bool:
    # A schedule object stands for itself.
    return (_is_number(value) and value > 0) or hasattr(value, "get_config")


_COUNTS = (_are_counts, "must be a positive integer, or a tuple of them")
_COUNT = (_is_count, "must be a positive integer")
_NOT_NEGATIVE = (lambda v: _is_number(v) and v >= 0, "must be a number of at least 0")

# One vocabulary: an argument with one of these names means the same, and is checked the same, in
# every family. (test, what would do)
VOCABULARY: dict[str, tuple[Callable[[Any], object], str]] = {
    "input_shape": (
        lambda v: isinstance(v, tuple | list) and v and all(_is_count(n) for n in v),
        "must be a tuple of positive integers without the batch size, such as (28, 28, 1)",
    ),
    "num_classes": (lambda v: _is_count(v) and v >= 2, "must be an integer of at least 2"),
    "num_targets": _COUNT,
    "num_layers": _COUNTS,
    "num_heads": _COUNT,
    "hidden_dim": _COUNT,
    "intermediate_dim": _COUNT,
    "latent_dim": _COUNT,
    "vocabulary_size": _COUNT,
    "sequence_length": _COUNT,
    "filters": _COUNTS,
    "kernel_size": _COUNTS,
    "strides": _COUNTS,
    "pool_size": _COUNTS,
    "groups": _COUNTS,
    "units": _COUNTS,
    "batch_size": _COUNT,
    "count": _COUNT,
    "epochs": _COUNT,
    "dropout_rate": (lambda v: _is_number(v) and 0 <= v < 1, "must be a number in [0, 1)"),
    "learning_rate": (_is_rate, "must be a positive number or a Keras learning-rate schedule"),
    "weight_decay": _NOT_NEGATIVE,
    "momentum": (lambda v: _is_number(v) and 0 <= v < 1, "must be a number in [0, 1)"),
    "seed": (
        lambda v: isinstance(v, numbers.Integral) and not isinstance(v, bool) and v >= 0,
        "must be an integer of at least 0",
    ),
}


def check_vocabulary(arguments: Mapping[str, object], optional: Iterable[str] = ()) -> None:
    """Check each argument that the vocabulary knows; None passes where it is the default."""
    for name, value in arguments.items():
        if name in VOCABULARY and not (value is None and name in optional):
            test, wanted = VOCABULARY[name]
            check(test(value), name, value, wanted)


def seconds(budget: float | str, others: str = "") -> float:
    """A time in seconds: 90, "90", "90s", "20m", "1h30m".

    Args:
        budget: such a time.
        others: what would do as well, for the error.

    Raises:
        ValueError: anything else, or nothing.
    """
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+\.?\d*)s?)?", str(budget))
    times = zip(parts.groups() if parts else (), (3600, 60, 1), strict=False)
    found = sum(float(number or 0) * unit for number, unit in times)
    wanted = f'must be a number of seconds, or a text such as "20m" or "1h30m"{others}'
    check(found > 0, "budget", budget, wanted)
    return found


def recipe(variants: Mapping[str, Mapping[str, object]]) -> Callable:
    """Make a family's `build_model` out of a function that builds and compiles the network.

    The decorated function is called as `build_model(variant, **arguments)`. Its arguments are,
    in order of precedence: those given, the variant's, the defaults in its signature. They are
    checked before anything is built. A `seed` makes the initial weights repeatable and touches
    no other random state.

    Args:
        variants: the family's `VARIANTS`, name to keyword arguments.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        defaults = {n: p.default for n, p in signature.parameters.items() if n != "variant"}
        optional = [name for name, default in defaults.items() if default is None]
        default_variant = signature.parameters["variant"].default

        @functools.wraps(function)
        def build_model(variant: str = default_variant, **given):
            if variant not in variants:
                raise unknown("variant", variant, variants)
            for name in given:
                if name not in defaults:
                    raise unknown("argument", name, defaults)
            arguments = {**defaults, **variants[variant], **given}
            check_vocabulary(arguments, optional)
            if arguments.get("seed") is None:
                return function(variant, **arguments)
            # Keras draws the seeds of initialisers and dropout from Python's generator.
            state = random.getstate()
            random.seed(arguments["seed"])
            try:
                return function(variant, **arguments)
            finally:
                random.setstate(state)

        return build_model

    return decorate


def describe(function: Callable) -> dict[str, str]:
    """The `Args:` section of a docstring, argument to its text on one line."""
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    texts: dict[str, str] = {}
    name, inside = None, False
    for line in lines:
        if line and not line.startswith(" "):
            inside = line.strip() == "Args:"
        elif inside and line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            texts[name] = text
        elif inside and name and line.strip():
            texts[name] += " " + line.strip()
    return texts
