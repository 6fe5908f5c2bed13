"""Warm start: configurations that a search tries first, as values of its hyperparameters."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_tuner.engine import hyperparameters

from recipes.contract import check, unknown
from recipes.training.runs import read_search
from recipes.tuning.spaces import Fixed, Space, moved_by

BEST = 5  # so many configurations of an earlier search
MOST = 50_000  # combinations that are tried to find the values behind arguments


def read_start(
    start: Sequence[Mapping[str, Any]] | str | Path, space: Space
) -> list[dict[str, Any]]:
    """Values of the space's hyperparameters, for each configuration; defaults where none is given.

    Args:
        start: dictionaries of arguments as the space decides them, or an earlier search's
            directory: its best configurations whose values this space holds, as far as it searches
            the same hyperparameters.
        space: of the search that is to start with them.

    Raises:
        ValueError: an argument that the space does not decide or a value that is outside of it;
            a directory that is no search, or whose configurations are all outside.
    """
    if isinstance(start, str | Path):
        found = [_inside(values, space) for values in _best_of(start)]
        found = [values for values in found if values is not None]
        ranges = "; ".join(map(_range, _searched(space)))
        wanted = f"has no trial with a score whose values fit the space: {ranges}"
        check(found, "start", str(start), wanted)
        return [v for i, v in enumerate(found) if v not in found[:i]][:BEST]
    ok = isinstance(start, list | tuple) and all(isinstance(given, Mapping) for given in start)
    check(
        ok, "start", start, "must be a list of dictionaries of arguments, or a search's directory"
    )
    return [_values_of(given, space) for given in start]


def _best_of(directory: str | Path) -> list[dict[str, Any]]:
    """Values of an earlier search's trials that have a score, the best first."""
    config, file = read_search(directory), Path(directory) / "oracle.json"
    trials = json.loads(file.read_text())["trials"].values() if file.exists() else ()
    scored = [trial for trial in trials if trial["status"] == "COMPLETED"]
    best = config["objective"][1] == "max"
    return [t["values"] for t in sorted(scored, key=lambda t: t["score"], reverse=best)]


def _inside(values: Mapping[str, Any], space: Space) -> dict[str, Any] | None:
    """Those values that the space searches, with its defaults; None where one is outside."""
    shared = [p for p in _searched(space) if p.name in values]
    if not shared or not all(_holds(p, values[p.name]) for p in shared):
        return None
    return space.filled({p.name: values[p.name] for p in shared})


def _values_of(given: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The values with which the space's function decides the given arguments.

    It is a function like any other, so values are tried, of all hyperparameters together that have
    a say in one argument. One without steps is taken to be the argument itself.
    """
    hp = space.hyperparameters.copy()

    def decided(values: Mapping[str, Any]) -> dict[str, Any]:
        hp.values = dict(values)
        return space.arguments(hp)

    wanted = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    found = space.filled({})
    moved = {p.name: moved_by(p, hp, space.arguments) for p in _searched(space)}
    known = decided(found).keys() | set().union(*moved.values())
    for name in wanted:
        if name not in known:
            raise unknown("argument to start with", name, sorted(known))
    for names in _groups(wanted, moved.values()):
        movers = [p for p in _searched(space) if moved[p.name] & names]
        for values in itertools.islice(_combinations(movers, wanted, found), MOST):
            drawn = decided(space.filled(values))
            if all(name in drawn and drawn[name] == wanted[name] for name in names):
                found = values
                break
        else:
            pairs = ", ".join(f"{name}={wanted[name]!r}" for name in sorted(names))
            ranges = "; ".join(map(_range, movers)) or "nothing of it is searched"
            raise ValueError(f"start: {pairs} is outside of the space: {ranges}")
    return space.filled(found)


def _groups(names: Iterable[str], moved: Iterable[set[str]]) -> list[set[str]]:
    """Names that some hyperparameter moves together, in sets of their own."""
    groups = [{name} for name in names]
    for together in moved:
        joined = [group for group in groups if group & together]
        if len(joined) > 1:
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return groups


def _combinations(
    movers: Sequence[Any], wanted: Mapping[str, Any], values: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Values with all that the movers can be, as far as they are active."""
    if not movers:
        yield values
        return
    first, *rest = movers
    if not all(condition.is_active(values) for condition in first.conditions):
        yield from _combinations(rest, wanted, values)
        return
    of_any = wanted.values() if _is_continuous(first) else first.values
    for value in of_any:
        if _holds(first, value):
            yield from _combinations(rest, wanted, {**values, first.name: value})


def _searched(space: Space) -> list[Any]:
    return [p for p in space.hyperparameters.space if not isinstance(p, Fixed)]


def _is_continuous(p: Any) -> bool:
    return isinstance(p, hyperparameters.Float) and p.step is None


def _holds(p: Any, value: Any) -> bool:
    """Whether a value is one of a hyperparameter's."""
    if _is_continuous(p):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and p.min_value <= value <= p.max_value
    return any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in p.values)


def _range(p: Any) -> str:
    """What a hyperparameter can be, in words."""
    if isinstance(p, hyperparameters.Float | hyperparameters.Int):
        return f"{p.name} from {p.min_value} to {p.max_value}"
    return f"{p.name} one of {', '.join(map(str, p.values))}"
