"""Warm start: which values arguments stand for, where they come from, and what is refused."""

import numpy as np
import pytest

import recipes
from recipes import cnn, dnn, lstm, perceptron
from recipes.contract import families
from recipes.tuning.spaces import Space, read_space, written_space
from recipes.tuning.start import read_start


def values_of(given, function, fixed=(), **options):
    made = Space(function, dict(fixed), set(), **options)
    (values,) = read_start([given], made)
    hp = made.hyperparameters.copy()
    hp.values = values
    assert all(made.arguments(hp)[name] == value for name, value in given.items())
    assert not any(key for key in values if not any(p.name == key for p in hp.space))
    return values


def test_arguments_find_the_values_behind_them():
    values = values_of({"units": (64, 1024, 32), "learning_rate": 2.5e-4}, dnn.search_space)
    assert values["num_layers"] == 3 and "units_4" not in values
    assert [values[f"units_{i}"] for i in (1, 2, 3)] == [64, 1024, 32]
    assert values["learning_rate"] == 2.5e-4 and values["activation"] == "relu"
    assert values_of({"units": (128, 128)}, lstm.search_space)["units"] == 128
    assert values_of({"filters": (12, 32)}, cnn.search_space)["width"] == 2.0
    assert values_of({}, cnn.search_space)["width"] == 1.0  # the defaults

    written = {"units": [[64], [64, 32]], "learning_rate": {"log": [1e-4, 1e-1]}}
    written = written_space(read_space(written, dnn.build_model), dnn.build_model)
    assert values_of({"units": (64, 32)}, written)["units"] == "(64, 32)"


def test_arguments_that_only_a_condition_brings():
    def function(hp):
        found = {"kind": hp.Choice("kind", ["a", "b"])}
        with hp.conditional_scope("kind", ["b"]):
            if found["kind"] == "b":
                found["depth"] = hp.Int("depth", 1, 3)
        return found

    assert values_of({"depth": 2}, function) == {"kind": "b", "depth": 2}
    assert values_of({"kind": "a"}, function) == {"kind": "a"}


@pytest.mark.parametrize("name", families())
def test_every_family_can_start_from_its_defaults(name):
    function = getattr(recipes, name).search_space
    made = Space(function, {}, set())
    default = made.arguments(made.hyperparameters.copy())
    assert read_start([default], made) == read_start([{}], made)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ([{"learning_rate": 5.0}], "=5.0 is outside.*: learning_rate from 0.0001 to 0.01"),
        ([{"units": (64, 65)}], r"start: units=\(64, 65\) is outside of the space: num_layers f"),
        ([{"activation": "gelu"}], "start: activation='gelu' is outside.*one of relu, tanh, selu"),
        ([{"learning_rat": 1e-3}], "argument to start with 'learning_rat'.*'learning_rate'"),
        ([{"batch_size": 32.5}], "batch_size=32.5 is outside of the space: batch_size one of 16"),
        ([{"dropout_rate": 0.2}], "unknown argument to start with 'dropout_rate'"),  # it is fixed
        ([3], "start=.*must be a list of dictionaries"),
        ({"units": (64,)}, "start=.*must be a list of dictionaries"),
        ("gone", "search='gone': is no search"),
    ],
)  # fmt: skip
def test_what_is_outside_of_the_space_is_refused(start, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        recipes.tune("dnn", "iris", start=start, dropout_rate=0.2, directory=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def clouds():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 100)
    return perceptron.load_data((rng.normal(size=(200, 3)) + 0.5 * y[:, None], y))


def tune(directory, rates, **changes):
    given = {"algorithm": "grid", "max_trials": 6, "epochs": 1, "verbose": 0, "workers": 0}
    given |= {"space": {"learning_rate": rates, "averaged": [True, False]}}
    return recipes.tune("perceptron", clouds(), directory=directory, **given | changes)


@pytest.mark.slow
def test_the_best_of_an_earlier_search_come_first(tmp_path):
    first = tune(tmp_path / "first", [0.5, 1.0, 2.0])
    ranked = sorted(first.trials, key=lambda trial: -trial["score"])
    wanted = [t["arguments"] for t in ranked if t["arguments"]["learning_rate"] > 0.5]
    second = tune(tmp_path / "second", [4.0, 1.0, 2.0], start=first.directory, algorithm="bayesian")
    assert [trial["arguments"] for trial in second.trials[:4]] == wanted[:4]
    assert len(second.trials) == 6
    with pytest.raises(
        ValueError, match=r"start=.*has no trial .* fit the space: learning_rate one"
    ):
        tune(tmp_path / "third", [7.0, 8.0], start=first.directory, averaged=True)
