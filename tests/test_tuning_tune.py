"""The search: KerasTuner's traps, what it hands back, how it fails and how it continues."""

import csv
import gc
import io
import json
import math
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from rich.console import Console

import recipes
from recipes import cnn, dnn, perceptron
from recipes.reports import search as reports
from recipes.reports.progress import Progress
from recipes.tuning.budget import read_budget
from recipes.tuning.spaces import read_space, reduced_space, written_space


def images():
    """Bright and dark pictures, (96, 8, 8, 1): 67 to train on, 10 to validate, 19 to test."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 48)
    x = 0.5 * rng.normal(size=(96, 8, 8, 1)) + 0.3 * (2 * y - 1)[:, None, None, None]
    return cnn.load_data((x.astype("float32"), y), batch_size=16)


def points():
    """Two overlapping clouds of 200 points, (200, 3)."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 100)
    return perceptron.load_data((rng.normal(size=(200, 3)) + 0.5 * y[:, None], y))


def small(hp):
    """A space of small networks."""
    return {
        "filters": (4, 4),
        "units": (hp.Choice("width", [4, 8, 16]),),
        "learning_rate": hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=1e-2),
        "batch_size": hp.Choice("batch_size", [16, 32]),
    }


def plain(hp):
    """A space of the perceptron's, 2 x 4 configurations."""
    return {
        "averaged": hp.Boolean("averaged"),
        "learning_rate": hp.Choice("rate", [1.0, 0.5, 0.25, 2.0]),
    }


class Spy(keras.callbacks.Callback):
    """Calls a function as each trial begins; trials copy callbacks, but not functions."""

    def __init__(self, begin):
        super().__init__()
        self.begin = begin

    def on_train_begin(self, logs=None):
        self.begin(self.model)


def tune_small(directory, **changes):
    given = {"algorithm": "random", "max_trials": 3, "epochs": 2, "objective": "val_loss"}
    given |= {"variant": "tiny", "space": small, "precision": "float32", "verbose": 0}
    given |= {"workers": 0}
    return recipes.tune("cnn", images(), directory=directory, **given | changes)


def tune_plain(directory, **changes):
    given = {"algorithm": "grid", "max_trials": 8, "epochs": 1, "verbose": 0, "space": plain}
    given |= {"precision": "float32", "workers": 0}
    with np.errstate(all="ignore"):
        return recipes.tune("perceptron", points(), directory=directory, **given | changes)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Three trials of two epochs."""
    return tune_small(tmp_path_factory.mktemp("search") / "a")


@pytest.fixture(scope="module")
def searched_plain(tmp_path_factory):
    """One trial."""
    return tune_plain(tmp_path_factory.mktemp("search") / "b", max_trials=1)


def outcomes(search):
    return [(trial["arguments"], trial["score"]) for trial in search.trials]


def test_the_best_model_scores_what_the_search_says(searched):
    scores = [trial["score"] for trial in searched.trials]
    assert searched.best_score == min(scores) and len(set(scores)) == 3
    data = images().with_batch_size(searched.best_arguments["batch_size"])
    model = searched.best_model()
    found = model.evaluate(data.validation, verbose=0, return_dict=True)
    assert found["loss"] == searched.best_score
    best = searched.trials[scores.index(min(scores))]
    steps = len(data.train) * (1 + np.argmin(best["history"]["val_loss"]))
    assert int(model.optimizer.iterations) == steps  # so that a schedule would go on from there


def test_each_trial_keeps_its_history_and_cost(searched):
    for trial in searched.trials:
        assert min(trial["history"]["val_loss"]) == trial["score"]
        assert trial["epochs"] == 2 == len(trial["history"]["accuracy"])
        assert trial["seconds"] > 0 and trial["reason"] is None
        width = trial["arguments"]["units"][0]
        # two 3x3 convolutions of four maps, 2x2x4 -> width -> 2
        assert trial["parameters"] == 40 + 148 + 17 * width + 2 * (width + 1)


@pytest.mark.slow
def test_a_seed_makes_a_search_repeatable(searched, tmp_path):
    # 0 is the seed that KerasTuner takes for none
    same = tune_small(tmp_path / "same", seed=0, max_trials=2)
    assert outcomes(same) == outcomes(searched)[:2]
    other = tune_small(tmp_path / "other", seed=1, max_trials=1)
    assert outcomes(other)[0] != outcomes(searched)[0]


def test_train_takes_the_best_arguments_and_gets_the_same(searched, tmp_path):
    best = min(searched.trials, key=lambda trial: trial["score"])
    run = recipes.train(
        "cnn",
        images(),
        epochs=2,
        precision="float32",
        seed=best["number"],  # the search's seed is 0
        run_dir=tmp_path / "run",
        verbose=0,
        **searched.best_arguments,
    )
    assert run.history["val_loss"] == pytest.approx(best["history"]["val_loss"], rel=1e-6)


def test_files_say_what_the_search_found(searched):
    config = json.loads((searched.directory / "search.json").read_text())
    assert (config["family"], config["objective"]) == ("cnn", ["val_loss", "min"])
    with (searched.directory / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [t["score"] for t in searched.trials]
    assert [float(row["learning_rate"]) for row in rows] == [
        trial["arguments"]["learning_rate"] for trial in searched.trials
    ]
    assert (searched.directory / "search.png").read_bytes().startswith(b"\x89PNG")
    assert isinstance(searched.tuner, keras_tuner.Tuner)


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_precision_holds_in_every_trial(precision, tmp_path):
    """KerasTuner's clear_session() resets the policy before each trial."""
    keras.config.set_dtype_policy("float64")
    seen = []

    def look(model):
        convolution, head = model.layers[1], model.layers[-1]
        policy = keras.config.dtype_policy().name
        seen.append((policy, convolution.compute_dtype, convolution.dtype, head.compute_dtype))

    search = tune_small(
        tmp_path / "s", precision=precision, max_trials=2, epochs=1, callbacks=[Spy(look)]
    )
    assert seen == [(f"mixed_{precision}", precision, "float32", "float32")] * 2
    assert search.best_model().layers[1].compute_dtype == precision
    assert keras.config.dtype_policy().name == "float64"  # the caller's


def test_precision_can_be_searched(tmp_path):
    seen = []
    search = tune_small(
        tmp_path / "s", space={"precision": ["float32", "bfloat16"]}, algorithm="grid", epochs=1,
        callbacks=[Spy(lambda model: seen.append(model.layers[1].compute_dtype))],
    )  # fmt: skip
    assert seen == ["float32", "bfloat16"]
    best = search.best_arguments["precision"]
    assert search.best_model().layers[1].compute_dtype == best
    with pytest.raises(ValueError, match="unknown precision 'int8'"):
        tune_small(tmp_path / "t", space={"precision": ["int8"]})


def test_a_loss_that_is_no_number_fails_the_trial(tmp_path):
    def space(hp):
        return {"learning_rate": hp.Choice("learning_rate", [1e-3, 1e30]), "filters": (4,)}

    # Accuracy stays a number where the loss is none.
    search = tune_small(tmp_path / "s", space=space, algorithm="grid", objective="val_accuracy")
    good, bad = search.trials
    assert bad["arguments"]["learning_rate"] == 1e30
    assert (bad["status"], bad["score"]) == ("failed", None)
    assert bad["reason"] == f"loss is {bad['history']['loss'][-1]} in epoch {bad['epochs']}"
    assert not math.isfinite(bad["history"]["loss"][-1])
    assert math.isfinite(bad["history"]["val_accuracy"][-1])
    assert search.best_score == good["score"]
    assert search.best_arguments["learning_rate"] == 1e-3


def test_failed_trials_keep_their_reason_and_the_search_goes_on(tmp_path, capsys):
    huge = 2**40  # 64 TiB of weights

    def space(hp):
        return {"filters": (4, 4), "units": (hp.Choice("width", [4, -1, -2, huge, 8, 9]),)}

    def begin(model):
        if model.layers[-2].units == 8:
            raise OSError("the disk is full")

    search = tune_small(
        tmp_path / "s",
        space=space,
        algorithm="grid",
        max_trials=6,
        epochs=1,
        callbacks=[Spy(begin)],
    )
    status = [trial["status"] for trial in search.trials]
    assert status == ["completed", *["failed"] * 4, "completed"]
    _, negative, _, memory, disk, _ = (trial["reason"] for trial in search.trials)
    assert negative.startswith("units=(-1,): must be a positive integer")
    assert memory.startswith("out of memory: ")
    assert disk == "OSError: the disk is full"
    assert capsys.readouterr().err.count("Traceback") == 0  # KerasTuner prints them
    with (tmp_path / "s/results.csv").open() as file:
        assert [row["reason"] for row in csv.DictReader(file)][4] == disk


def test_where_all_trials_fail_the_first_reason_is_the_error(tmp_path):
    def begin(model):
        raise OSError("no luck")

    with pytest.raises(
        RuntimeError, match=r"all 2 trials of .* failed; the first: OSError: no luck"
    ):
        tune_plain(tmp_path / "s", max_trials=2, callbacks=[Spy(begin)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1.0}, "unknown argument 'learning_rat'.* Did you mean 'learning_rate'"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0: must be a positive number"),
        ({"num_classes": 5}, "num_classes=5: arrays needs 2"),
        ({"batch_size": 0}, "batch_size=0: must be a positive integer"),
        ({"variant": "deep"}, "unknown variant 'deep'; known: rosenblatt, averaged, tiny"),
        ({"algorithm": "annealing"}, "unknown algorithm 'annealing'; known: bayesian, random"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
        ({"objective": "val_f1"}, "unknown objective 'val_f1'; known: .*val_accuracy, val_loss"),
        ({"objective": ("val_loss", "down")}, "objective=.*'down'.*: say which way is better"),
        ({"objective": "val_mistakes_"}, "Did you mean"),
        ({"objective": "mistakes"}, r"say which way is better: \('mistakes', \"max\"\)"),
        ({"objective": 3}, "objective=3: must be a metric, or"),
        ({"max_trials": 0}, "max_trials=0: must be an integer of at least 1"),
        ({"epochs": 0}, "epochs=0: must be a positive integer"),
        ({"workers": -1}, "workers=-1: must be an integer of at least 0"),
        ({"patience": -1}, "patience=-1: must be an integer of at least 0"),
        ({"seed": -1}, "seed=-1: must be an integer of at least 0"),
        ({"callbacks": [print]}, "callbacks=.*must be a list of Keras callbacks"),
        ({"directory": 3}, "directory=3: must be the path of a directory"),
        ({"space": 3}, "space=3: must be a function"),
        ({"space": {"average": [True]}}, "unknown argument of the space 'average'.*'averaged'"),
        ({"space": {"learning_rate": {"log": [1, 0.1]}}}, "learning_rate=.*a low end below"),
        ({"space": {"learning_rate": {"log": [0, 0.1]}}}, "learning_rate=.*ends above 0"),
        ({"space": {"learning_rate": {"int": [1, 2.5]}}}, "learning_rate=.*whole numbers"),
        ({"space": {"learning_rate": {"float": [1, "x"]}}}, "learning_rate=.*needs two numbers"),
        ({"space": {"epochs": {"float": [1, 3]}}}, "epochs=.*takes whole numbers: {int"),
        ({"space": {"num_classes": {"log": [1.5, 3]}}}, "num_classes=.*needs whole numbers"),
        ({"space": {"precision": {"float": [1, 3]}}}, "precision=.*must be a list"),
        ({"space": {"learning_rate": {"loguniform": [1, 2]}}}, "must be one of log, float, int"),
        ({"space": {"learning_rate": 1.0}}, "learning_rate=1.0: must be a list of values"),
        ({"space": {}}, "space={}: must name arguments"),
        ({"space": "gone.yaml"}, "space='gone.yaml': no such file"),
        ({"space": lambda hp: {"learning_rate": hp.Float("r", 2.0, 1.0)}}, "min_value 2.0 is grea"),
        ({"search": ["rate"]}, "unknown argument to search 'rate'; known: averaged, learning_rate"),
        ({"search": "rate"}, "search='rate': must be a list of names"),
        ({"budget": "soon"}, "budget='soon': must be a number of seconds"),
        ({"budget": 0}, "budget=0: must be a number of seconds"),
        ({"budget": "0 epochs"}, "budget='0 epochs': must be .*\"200 epochs\""),
        ({"budget": "20 trials"}, "budget='20 trials': must be a number"),
        ({"keep": 0}, "keep=0: must be an integer of at least 1"),
        ({"resume": "gone"}, "resume='gone': keeps its family, .*algorithm"),
        ({"space": lambda hp: None}, "space=.*must return a dictionary"),
        ({"space": lambda hp: {"depth": hp.Int("depth", 1, 3)}}, "unknown argument 'depth'"),
        ({"averaged": True, "learning_rate": 1.0}, "space=.*nothing to search"),
        ({"directory": __file__}, "directory=.*is not empty and holds no search"),
    ],
)
def test_bad_arguments_are_told_before_the_first_trial(changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = []
    with pytest.raises(ValueError, match=message):
        tune_plain(**{"directory": None, "callbacks": [Spy(begun.append)]} | changes)
    assert not begun and not list(tmp_path.iterdir())


def test_an_objective_on_missing_validation_data(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), np.tile([0, 1], 20)
    data = perceptron.load_data((x, y), validation_fraction=0)
    with pytest.raises(ValueError, match=r"unknown objective 'val_accuracy'.*no validation part"):
        recipes.tune("perceptron", data, directory=tmp_path / "s")


def test_what_is_fixed_wins_and_does_not_vary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = tune_plain(None, averaged=True, batch_size=50)
    # 4 configurations, not 8: the space's `averaged` would change nothing
    assert [t["arguments"] for t in search.trials] == [
        {"learning_rate": rate} for rate in (1.0, 0.5, 0.25, 2.0)
    ]
    assert all(trial["values"].keys() == {"rate"} for trial in search.trials)
    best = search.best_arguments
    assert (best["averaged"], best["batch_size"], best["variant"]) == (True, 50, "rosenblatt")
    assert search.best_model().layers[-1].averaged
    # the first free name, twice
    again = tune_plain(None, averaged=True, max_trials=1)
    assert (str(search.directory), str(again.directory)) == (
        "searches/perceptron-arrays-1",
        "searches/perceptron-arrays-2",
    )


@pytest.mark.slow
def test_a_space_from_a_file(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "learning_rate: {log: [1e-2, 1e+1]}\naveraged: [true, false]\nepochs: {int: [1, 2]}\n"
    )
    search = tune_plain(
        tmp_path / "s", space=str(tmp_path / "space.yaml"), algorithm="random", epochs=None
    )
    drawn = [trial["arguments"] for trial in search.trials]
    rates = [arguments["learning_rate"] for arguments in drawn]
    assert all(0.01 <= rate <= 10 for rate in rates)
    assert {type(arguments["averaged"]) for arguments in drawn} == {bool}
    assert [t["epochs"] for t in search.trials] == [arguments["epochs"] for arguments in drawn]
    same = recipes.tune(resume=tmp_path / "s", data=points(), max_trials=9, workers=0, verbose=0)
    assert same.trials[:8] == search.trials and len(same.trials) == 9


def test_written_spaces_begin_with_the_defaults_and_hold_any_value():
    written = read_space(
        {"units": [[32], (64, "2e2")], "dropout_rate": {"float": [0, 0.5]}, "optimizer": ["adam"]}
        | {"weight_decay": {"log": ["1e-6", 1e-2]}, "activation": [None, "tanh", "relu"]},
        dnn.build_model,
    )
    space = written_space(written, dnn.build_model)
    hp = keras_tuner.HyperParameters()
    assert space(hp) == {
        "units": (32,),
        "dropout_rate": 0.2,
        "optimizer": "adam",
        "weight_decay": pytest.approx(1e-4),  # the default, 0, is none of it: the middle
        "activation": "relu",
    }
    hp.values |= {"units": "(64, 200.0)", "activation": "None"}
    assert space(hp)["units"] == (64, 200.0) and space(hp)["activation"] is None


def test_a_range_of_whole_numbers_gives_integers_on_a_logarithmic_scale_too():
    written = read_space({"batch_size": {"log": [16, "256"]}}, dnn.build_model)
    written = json.loads(json.dumps(written))  # as a search that goes on finds it
    hp = keras_tuner.HyperParameters()
    assert written_space(written, dnn.build_model)(hp) == {"batch_size": 64}  # the middle
    found = [hp.space[0].prob_to_value(p) for p in np.arange(0.0005, 1, 0.001)]
    assert {type(value) for value in found} == {int}
    assert (min(found), max(found)) == (16, 256) and abs(np.median(found) - 64) <= 2


def test_only_what_is_asked_for_is_searched(tmp_path):
    search = tune_plain(tmp_path / "s", search=["learning_rate"])
    assert [t["arguments"] for t in search.trials] == [
        {"learning_rate": rate} for rate in (1.0, 0.5, 0.25, 2.0)
    ]


def test_a_search_resumes_with_its_arguments(tmp_path):
    given = {"workers": 0, "verbose": 0}
    first = recipes.tune(
        "perceptron", "iris", directory=tmp_path / "s", max_trials=2, algorithm="random",
        learning_rate=0.5, **given,
    )  # fmt: skip
    assert recipes.tune(resume=tmp_path / "s", **given).trials == first.trials
    again = recipes.tune(resume=tmp_path / "s", max_trials=3, **given)
    assert again.trials[:2] == first.trials and len(again.trials) == 3
    assert again.best_arguments["learning_rate"] == 0.5
    with pytest.raises(ValueError, match=r"resume=.*: keeps its learning_rate, seed; only max_tri"):
        recipes.tune(resume=tmp_path / "s", seed=2, learning_rate=1.0)
    tune_plain(tmp_path / "own", max_trials=1)
    with pytest.raises(ValueError, match=r"resume=.*data in memory"):
        recipes.tune(resume=tmp_path / "own")
    with pytest.raises(ValueError, match=r"resume=.*a function of your own; pass the same"):
        recipes.tune(resume=tmp_path / "own", data=points())


@pytest.mark.parametrize(
    ("text", "value"),
    [(90, 90), ("90", 90), ("1.5s", 1.5), ("20m", 1200), ("1h30m5s", 5405), (None, None)],
)
def test_budgets_of_time(text, value):
    assert read_budget(text) == (value, None)


@pytest.mark.parametrize("text", ["30 epochs", "30epochs", " 30 epoch "])
def test_budgets_of_epochs(text):
    assert read_budget(text) == (None, 30)


@pytest.mark.slow
def test_a_budget_of_epochs_is_over_all_trials(tmp_path):
    given = {"epochs": 3, "max_trials": 4}
    search = tune_plain(tmp_path / "s", budget="5 epochs", **given)
    assert [trial["epochs"] for trial in search.trials] == [3, 2]
    search = tune_plain(tmp_path / "s", budget="5 epochs", **given)  # a new one
    assert [trial["epochs"] for trial in search.trials] == [3, 2, 3, 2]
    two = tune_plain(tmp_path / "folds", budget="5 epochs", folds=4, **given)
    (trial,) = two.trials  # two of four folds, the second cut short
    assert trial["score"] is not None and not (trial["folder"] / "fold_3").exists()


def test_a_variant_keeps_its_structure(tmp_path):
    (trial,) = tune_small(tmp_path / "s", space=None, max_trials=1, epochs=1).trials
    # `tiny` sets the others of cnn's space: filters, kernel_size, pooling and activation
    searched = {"batch_norm", "dropout_rate", "learning_rate", "batch_size"}
    assert trial["arguments"].keys() == trial["values"].keys() == searched
    given = {"batch_norm": trial["arguments"]["batch_norm"], **images().spec}
    assert trial["parameters"] == sum(
        np.prod(w.shape) for w in cnn.build_model("tiny", **given).trainable_weights
    )


def test_hyperparameters_that_only_move_fixed_arguments_are_not_searched():
    def space(hp):
        depth = hp.Int("depth", 1, 3, default=1)
        units = []
        for i in (1, 2, 3):
            with hp.conditional_scope("depth", list(range(i, 4))):
                units.append(hp.Choice(f"units_{i}", [8, 16]))
        rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
        rest = {"momentum": hp.Float("momentum", 0.0, 0.9)} if rate > 1 else {}
        return {"units": tuple(units[:depth]), "rate": rate, **rest}

    def names(ignored):
        fixed = keras_tuner.engine.hyperparameters.Fixed
        return [p.name for p in reduced_space(space, ignored).space if not isinstance(p, fixed)]

    every = ["depth", "units_1", "units_2", "units_3", "rate"]
    assert names(set()) == every
    assert names({"units"}) == ["rate"]
    assert names({"rate"}) == every[:-1]


def test_a_search_continues_where_it_stopped(tmp_path):
    begun = []
    whole = tune_plain(tmp_path / "whole", max_trials=5)
    tune_plain(tmp_path / "s", max_trials=3)
    search = tune_plain(
        tmp_path / "s", max_trials=5, callbacks=[Spy(lambda model: begun.append(1))]
    )
    assert len(begun) == 2
    assert outcomes(search) == outcomes(whole)
    assert tune_plain(tmp_path / "s", max_trials=4).trials == search.trials  # nothing left to do


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1.0}, "fixed is"),
        ({"space": lambda hp: {"averaged": hp.Boolean("averaged")}}, "space"),
        ({"epochs": 2}, "epochs is 1, not 2"),
        ({"algorithm": "random"}, "algorithm is 'grid', not 'random'"),
        ({"objective": "val_loss"}, "objective is"),
    ],
)
def test_a_directory_of_another_search_is_refused(changes, message, searched_plain):
    directory = searched_plain.directory
    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=f"holds another search, whose ({message})"):
        tune_plain(directory, max_trials=2, **changes)
    assert before == {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_directory_of_a_search_on_other_data_is_refused(searched_plain):
    given = {"directory": searched_plain.directory, "space": plain, "algorithm": "grid"}
    given |= {"epochs": 1, "precision": "float32", "max_trials": 1, "verbose": 0, "workers": 0}
    data = points()
    assert recipes.tune("perceptron", data, **given).trials == searched_plain.trials
    data.train.y = 1 - data.train.y
    with pytest.raises(ValueError, match="holds another search, whose data"):
        recipes.tune("perceptron", data, **given)


@pytest.mark.slow
def test_an_interrupted_trial_runs_again(tmp_path):
    begun = []

    def interrupt(model):
        begun.append(1)
        if len(begun) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_plain(tmp_path / "s", algorithm="random", max_trials=4, callbacks=[Spy(interrupt)])
    assert len((tmp_path / "s/results.csv").read_text().splitlines()) == 1 + 2
    search = tune_plain(tmp_path / "s", algorithm="random", max_trials=4)
    whole = tune_plain(tmp_path / "whole", algorithm="random", max_trials=4)
    assert outcomes(search) == outcomes(whole)


@pytest.mark.slow
def test_bayesian_search_leaves_random_draws_behind_and_repeats_nothing(tmp_path, monkeypatch):
    fitted = []
    from sklearn.gaussian_process import GaussianProcessRegressor

    fit = GaussianProcessRegressor.fit
    monkeypatch.setattr(
        GaussianProcessRegressor, "fit", lambda self, x, y: (fitted.append(len(x)), fit(self, x, y))
    )
    search = tune_plain(tmp_path / "s", algorithm="bayesian", max_trials=20)
    tried = [tuple(trial["arguments"].items()) for trial in search.trials]
    assert len(tried) == len(set(tried)) == 8  # all there are
    assert fitted and fitted[0] == 6  # a third of max_trials, at most 3 a dimension


@pytest.mark.slow
def test_hyperband_goes_on_from_the_weights_of_earlier_trials(tmp_path):
    begun = []
    search = tune_small(
        tmp_path / "s",
        algorithm="hyperband",
        epochs=3,
        max_trials=5,
        batch_size=16,
        callbacks=[Spy(lambda model: begun.append(int(model.optimizer.iterations)))],
    )
    # Bracket 1 of max_epochs=3, factor=3: three trials of one epoch, the best one of three.
    first, last = search.trials[:3], search.trials[3]
    best = min(first, key=lambda trial: trial["score"])
    assert [trial["epochs"] for trial in search.trials] == [1, 1, 1, 2, 3]
    steps = len(images().train)
    assert begun == [0, 0, 0, steps, 0]
    assert last["arguments"] == best["arguments"]
    run = recipes.train(
        "cnn",
        images(),
        epochs=3,
        precision="float32",
        seed=best["number"],
        run_dir=tmp_path / "run",
        verbose=0,
        **{"variant": "tiny", "batch_size": 16} | best["arguments"],
    )
    # as if it had never stopped: weights, optimizer and the order of the examples
    assert last["history"]["loss"] == pytest.approx(run.history["loss"][1:], rel=1e-5)


@pytest.mark.slow
def test_tensorboard_shows_the_hyperparameters_of_each_trial(tmp_path):
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata

    logs = keras.callbacks.TensorBoard(tmp_path / "logs")
    search = tune_small(tmp_path / "s", max_trials=2, epochs=1, folds=2, callbacks=[logs])
    for trial in search.trials:
        name = trial["folder"].name
        for number in (1, 2):
            folder = tmp_path / "logs" / name / f"fold_{number}"
            (file,) = folder.glob("events*")
            (value,) = [
                v for event in EventFileLoader(str(file)).Load() for v in event.summary.value
            ]
            info = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
            assert info.group_name == name
            found = {n: getattr(v, v.WhichOneof("kind")) for n, v in info.hparams.items()}
            arguments = trial["arguments"]
            assert (
                found.pop("units") == str(arguments["units"]) and found.pop("filters") == "(4, 4)"
            )
            assert found == {n: arguments[n] for n in ("learning_rate", "batch_size")}
            assert list((folder / "validation").glob("events*"))  # what `fit` reports


def test_patience_ends_a_trial(tmp_path):
    # Nothing is learnt at this rate: the first epoch is the best, and two follow in vain.
    search = tune_small(
        tmp_path / "s",
        learning_rate=1e-12,
        objective="val_accuracy",
        epochs=9,
        patience=2,
        max_trials=1,
    )
    assert search.trials[0]["epochs"] == 3


def test_networks_of_finished_trials_are_freed(tmp_path):
    alive, models = [], []

    def begin(model):
        gc.collect()
        alive.append(sum(one() is not None for one in models))
        models.append(weakref.ref(model))

    tune_small(tmp_path / "s", max_trials=3, epochs=1, callbacks=[Spy(begin)])
    assert alive == [0, 0, 0]


def test_verbose_prints_one_line_for_each_trial(tmp_path, capsys):
    tune_plain(tmp_path / "s", max_trials=2, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    assert lines[0].endswith("(defaults)") and lines[1].endswith("learning_rate=0.5")
    tune_plain(tmp_path / "s", max_trials=3, verbose=0)
    assert capsys.readouterr().out == ""


def trial(number, score, reason=None, **values):
    status = "completed" if reason is None else "failed"
    return {"number": number, "status": status, "score": score, "reason": reason, "seconds": 1.5,
            "parameters": 1000, "epochs": 1, "arguments": values, "values": values}  # fmt: skip


TRIALS = [
    trial(1, 0.5, rate=0.1, norm=True, same=1),
    trial(2, None, "loss is nan in epoch 1", rate=0.9, norm=True, same=1),
    trial(3, 0.7, rate=0.001, norm=False, same=1),
    trial(4, 0.6, rate=0.01, norm=False, same=1),
]


def test_plot_shows_the_score_over_trials_and_hyperparameters():
    figure = reports.plot(TRIALS, ("val_accuracy", "max"))
    over, rate, norm = figure.axes
    assert [ax.get_xlabel() for ax in figure.axes] == ["trial", "rate", "norm"]
    steps = [line for line in over.lines if len(line.get_xdata()) > 1]
    np.testing.assert_array_equal(steps[0].get_ydata(), [0.5, 0.5, 0.7, 0.7])  # the best so far
    dots = {(line.get_xdata()[0], line.get_ydata()[0]) for line in rate.lines}
    assert {(0.1, 0.5), (0.001, 0.7), (0.01, 0.6)} <= dots and rate.get_xscale() == "log"
    assert (0.9, 0.02) in dots  # the failed one, at the foot
    assert [text.get_text() for text in norm.get_xticklabels()] == ["False", "True"]
    lower = reports.plot(TRIALS, ("val_loss", "min")).axes[0]
    steps = [line for line in lower.lines if len(line.get_xdata()) > 1]
    np.testing.assert_array_equal(steps[0].get_ydata(), [0.5, 0.5, 0.5, 0.5])


def test_importance_finds_what_decides_the_score():
    rng = np.random.default_rng(0)
    rates, widths = 10 ** rng.uniform(-4, -1, 40), rng.choice([8, 16, 32], 40)
    kinds = rng.choice(["a", "b"], 40).tolist()
    trials = [
        trial(i, -abs(np.log10(rate) + 2.5) - (kind == "a"), rate=rate, width=int(width), kind=kind)
        for i, (rate, width, kind) in enumerate(zip(rates.tolist(), widths, kinds, strict=True))
    ]
    shares = reports.importance(trials)
    assert list(shares) == ["kind", "rate", "width"]
    assert shares["width"] < 0.05 < 0.2 < shares["rate"] and sum(shares.values()) <= 1
    assert reports.importance(trials[:7]) == {}


def test_parallel_coordinates_lead_each_trial_to_its_score():
    (ax,) = reports.parallel(TRIALS, ("val_accuracy", "max")).axes
    lines = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 3]
    # rate, by its place in the order; norm; the score between the worst and the best
    wanted = {(1.0, 1.0, 0.0), (0.5, 0.0, 0.5), (0.0, 0.0, 1.0)}
    assert {tuple(np.round(line, 6).tolist()) for line in lines} == wanted
    assert lines[-1][-1] == 1  # the best is drawn last
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["rate", "norm", "val_accuracy"]


def test_the_page_has_the_best_with_their_cost_and_the_failures(searched):
    config = {"family": "cnn", "data": {"name": "digits"}, "objective": ("val_accuracy", "max"),
              "algorithm": "random", "seed": 0, "precision": "float32"}  # fmt: skip
    page = reports.page(TRIALS, config)
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows[0] == "| trial | val_accuracy | seconds | weights | rate | norm |"
    assert rows[1] == "| 3 | 0.7000 | 1.5 | 1,000 | 0.001 | False |" and len(rows) == 5
    assert "- failed 2: loss is nan in epoch 1" in page
    # The defaults, which the best have to beat, are told even behind them.
    short = reports.page(TRIALS, config, default=TRIALS[0], most=1).splitlines()
    trials = [line.split(" | ")[0] for line in short if line.startswith("| ")]
    assert trials == ["| trial", "| ---", "| 3", "| 1 (defaults)"]
    assert searched.default_trial is searched.trials[0]
    written = (searched.directory / "README.md").read_text()
    for name in re.findall(r"\]\((.*?)\)", written):
        assert (searched.directory / name).read_bytes().startswith(b"\x89PNG")
    assert written.count(".png") == 2


def test_only_the_best_models_are_kept(tmp_path):
    search = tune_plain(tmp_path / "s", max_trials=6, keep=2, objective="val_accuracy")
    kept = {path.parent for path in (tmp_path / "s").rglob("best.keras")}
    assert kept == {t["folder"] for t in reports.ranked(search.trials, ("val_accuracy", "max"))[:2]}
    found = search.best_model().evaluate(points().validation, verbose=0, return_dict=True)
    assert found["accuracy"] == search.best_score


def test_progress_shows_what_runs_and_the_time_left():
    ended, clock = [1, 2], iter([0.0, 60.0, 60.0, 60.0]).__next__
    console = Console(force_terminal=True, color_system=None, width=60, file=io.StringIO())
    progress = Progress(lambda: len(ended), 10, None, console=console, clock=clock)
    progress.epoch(3, 4, 9, "val_loss 0.5")
    progress.epoch(4, 1, 9, "val_loss 0.7")
    progress.end(4)
    ended.append(3)
    console.print(progress)
    text = console.file.getvalue()
    assert "3 of 10 trials, about 7 min left" in text  # 60 s for one, 7 to go
    assert re.search(r"3 +4/9 +val_loss 0.5", text) and "0.7" not in text
    progress.budget = 90
    assert progress.seconds_left == 30
    plain = Console(file=io.StringIO())
    with Progress(lambda: 0, 1, None, console=plain, clock=lambda: 0.0) as silent:
        silent.epoch(1, 1, 1, "")
    assert plain.file.getvalue() == ""


def test_table_has_the_best_first_and_the_reasons_of_failures():
    table = reports.table(TRIALS, ("val_accuracy", "max"), TRIALS[0])
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["trial"] == ["3", "4", "1", "2"]
    assert columns["score"] == ["0.7000", "0.6000", "0.5000", "failed"]
    assert columns["rate"] == ["0.001", "0.01", "0.1", "0.9"] and "same" not in columns
    assert table.caption == "defaults: 1\nfailed 2: loss is nan in epoch 1"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_search_without_tensorflow(backend, tmp_path):
    pytest.importorskip(backend)
    code = f"""
import sys
sys.modules["tensorflow"] = None  # as if it were not installed
sys.path.insert(0, {str(Path(__file__).parent)!r})
import recipes, recipes.cnn
assert "keras_tuner" not in sys.modules  # it takes seconds
import test_tuning_tune as tests
search = tests.tune_small({str(tmp_path / "s")!r}, algorithm="bayesian", max_trials=4, epochs=1)
data = tests.images().with_batch_size(search.best_arguments["batch_size"])
loss = search.best_model().evaluate(data.validation, verbose=0, return_dict=True)["loss"]
assert loss == search.best_score, (loss, search.best_score)
search = tests.tune_small({str(tmp_path / "s")!r}, algorithm="bayesian", max_trials=5, epochs=1)
assert [t["status"] for t in search.trials] == ["completed"] * 5
"""
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
