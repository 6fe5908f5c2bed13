"""What a search varies: a function of hyperparameters, and the part of it that is searched.

A space can be written down, too, as a dictionary or in a YAML file:

    learning_rate: {log: [1e-4, 1e-1]}    # a number, drawn on a logarithmic scale
    batch_size: {log: [16, 512]}          # likewise, whole: the argument is
    dropout_rate: {float: [0, 0.5]}       # a number
    num_layers: {int: [1, 4]}             # a whole number, both ends included
    units: [64, 128, [256, 64]]           # one of these
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import keras_tuner

from recipes.contract import check, unknown
from recipes.training.precision import choose

# What a space may decide beside build_model's arguments.
OF_FIT = ("batch_size", "epochs", "precision")
KINDS = ("log", "float", "int")
Fixed = keras_tuner.engine.hyperparameters.Fixed


@dataclass
class Space:
    """A function of hyperparameters, with what is fixed.

    Args:
        function: hp -> arguments of `build_model`, `batch_size`, `epochs` and `precision`.
        fixed: arguments that win over the function's.
        ignored: names that the function does not decide, beside those fixed.
        only: names that it decides, and no others; default all.
    """

    function: Callable[[keras_tuner.HyperParameters], dict]
    fixed: dict[str, Any]
    ignored: set[str]
    only: Sequence[str] | None = None
    hyperparameters: keras_tuner.HyperParameters = field(init=False)  # what is searched

    def __post_init__(self):
        self.ignored = {*self.ignored, *self.fixed}
        if self.only is not None:
            drawn = _explored(self.function)
            names = self.function(drawn).keys()
            for name in self.only:
                if name not in names:
                    raise unknown("argument to search", name, names)
            self.ignored |= names - set(self.only)
        self.hyperparameters = reduced_space(self.function, self.ignored)
        wanted = "leaves nothing to search: all is fixed"
        check(self.varying, "space", self.function, wanted)

    @property
    def varying(self) -> list[str]:
        """Names of the hyperparameters that are not fixed."""
        space = self.hyperparameters.space
        return list(dict.fromkeys(p.name for p in space if not isinstance(p, Fixed)))

    @property
    def defaults(self) -> dict[str, Any]:
        """What the function decides where every hyperparameter is at its default."""
        return self.arguments(keras_tuner.HyperParameters())

    def arguments(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """What the function decides, without what is fixed."""
        return {k: v for k, v in self.function(hp).items() if k not in self.ignored}

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A value for each hyperparameter that is active then, the default where none is given."""
        values: dict[str, Any] = {}
        for p in self.hyperparameters.space:  # those that others depend on come first
            if all(condition.is_active(values) for condition in p.conditions):
                values[p.name] = given.get(p.name, p.default)
        return values

    def values(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """Of the hyperparameters that vary."""
        return {k: v for k, v in hp.values.items() if k in self.varying}


def reduced_space(
    space: Callable[[keras_tuner.HyperParameters], dict], ignored: set[str]
) -> keras_tuner.HyperParameters:
    """The space's hyperparameters, with those fixed that only move arguments in `ignored`.

    Else an algorithm would try configurations that differ in nothing.
    """
    drawn, reduced = _explored(space), keras_tuner.HyperParameters()
    for p in drawn.space:
        moved = moved_by(p, drawn, space)
        if moved and moved <= ignored:
            p = Fixed(p.name, p.default, conditions=p.conditions)
        reduced.merge([p])
    return reduced


def moved_by(
    p: Any,
    hp: keras_tuner.HyperParameters,
    space: Callable[[keras_tuner.HyperParameters], dict],
) -> set[str]:
    """The arguments that one of the hyperparameters has a say in."""
    probe = hp.copy()
    for condition in p.conditions:
        probe.values[condition.name] = condition.values[0]
    outcomes = []
    for share in range(12):
        probe.values[p.name] = p.prob_to_value((share + 0.5) / 12)
        probe.ensure_active_values()
        outcomes.append(space(probe.copy()))
    first, names = outcomes[0], {name for drawn in outcomes for name in drawn}
    return {n for n in names if any(o.get(n) != first.get(n) for o in outcomes)}


def _explored(
    space: Callable[[keras_tuner.HyperParameters], dict],
) -> keras_tuner.HyperParameters:
    """All hyperparameters that a space can ask for, as far as its conditional scopes tell."""
    hp = keras_tuner.HyperParameters()
    check(isinstance(space(hp), dict), "space", space, "must return a dictionary of arguments")
    waiting, seen = list(hp.inactive_scopes), []
    while waiting:
        conditions = waiting.pop()
        if conditions in seen:
            continue
        seen.append(conditions)
        probe = keras_tuner.HyperParameters()
        probe.merge(hp.space)
        for condition in conditions:
            probe.values[condition.name] = condition.values[0]
        probe.ensure_active_values()
        space(probe)
        hp.merge(probe.space, overwrite=False)
        waiting += probe.inactive_scopes
    return hp


def read_space(space: Mapping | str | Path, build_model: Callable) -> dict[str, Any]:
    """A space that was written down, as a dictionary of plain values, checked.

    Args:
        space: the dictionary, or the path of a YAML or JSON file.
        build_model: whose arguments it may name, beside those in `OF_FIT`.

    Raises:
        ValueError: no such file; a name that is no argument; a range that is none.
    """
    if not isinstance(space, Mapping):
        import yaml

        check(Path(space).is_file(), "space", str(space), "no such file")
        try:
            space = yaml.safe_load(Path(space).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"space={str(space)!r}: {' '.join(str(error).split())}") from error
    wanted = "must name arguments and their values, such as learning_rate: {log: [1e-4, 0.1]}"
    check(isinstance(space, Mapping) and space, "space", space, wanted)
    parameters = inspect.signature(build_model).parameters
    known = [name for name in parameters if name not in ("variant", "seed")]
    found: dict[str, Any] = {}
    for name, values in space.items():
        if name not in (*known, *OF_FIT):
            raise unknown("argument of the space", name, (*known, *OF_FIT))
        if isinstance(values, Mapping):
            wanted = "must be a list, such as [float32, bfloat16]"
            check(name != "precision", f"space, {name}", values, wanted)
            annotation = parameters[name].annotation if name in parameters else int
            takes = {annotation, *get_args(annotation)}
            found[name] = _range(name, values, int in takes and float not in takes)
        else:
            ok = isinstance(values, list | tuple) and len(values) > 0
            check(ok, f"space, {name}", values, "must be a list of values, or a range")
            found[name] = [_plain(value) for value in values]
            if name == "precision":
                found[name] = [choose(value) for value in found[name]]
    return found


def written_space(space: Mapping[str, Any], build_model: Callable) -> Callable:
    """The function of a space that `read_space` gave; defaults are those of `build_model`."""
    parameters = inspect.signature(build_model).parameters

    def function(hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        drawn = {}
        for name, values in space.items():
            default = parameters[name].default if name in parameters else None
            if isinstance(values, list):  # by their texts: KerasTuner knows neither tuples nor None
                texts = {str(value): value for value in values}
                default = {"default": str(default)} if str(default) in texts else {}
                drawn[name] = texts[hp.Choice(name, list(texts), **default)]
                continue
            ((kind, (low, high)),) = values.items()
            inside = isinstance(default, int | float) and low <= default <= high
            middle = math.sqrt(low * high) if kind == "log" else (low + high) / 2
            default = default if inside else middle
            number, draw = (int, hp.Int) if isinstance(low, int) else (float, hp.Float)
            sampling = "log" if kind == "log" else "linear"
            drawn[name] = draw(name, low, high, sampling=sampling, default=number(default))
        return drawn

    return function


def _range(name: str, values: Mapping, whole: bool) -> dict[str, list]:
    """A range as {kind: [low, high]}, checked; of integers where all is to be `whole`."""
    where = f"space, {name}"
    ((kind, ends),) = values.items() if len(values) == 1 else (("", ()),)
    wanted = f"must be one of {', '.join(KINDS)}, with two numbers: {{log: [1e-4, 0.1]}}"
    check(kind in KINDS and isinstance(ends, list | tuple), where, values, wanted)
    low, high = (_number(name, values, end) for end in ends) if len(ends) == 2 else (0, 0)
    check(low < high, where, values, "needs a low end below the high one")
    check(kind != "log" or low > 0, where, values, "log needs ends above 0")
    wanted = "takes whole numbers: {int: [1, 8]}, or {log: [1, 8]}"
    check(kind != "float" or not whole, where, values, wanted)
    if not whole and kind != "int":
        return {kind: [low, high]}
    check(low == int(low) and high == int(high), where, values, "needs whole numbers")
    return {kind: [int(low), int(high)]}


def _number(name: str, values: Any, end: Any) -> float:
    """YAML reads 1e-4, without a point, as a text."""
    try:
        found = float(end)
    except (TypeError, ValueError):
        found = math.nan
    ok = math.isfinite(found) and not isinstance(end, bool)
    check(ok, f"space, {name}", values, "needs two numbers")
    return found


def _plain(value: Any) -> Any:
    """With tuples for lists, and numbers for texts that are some."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
