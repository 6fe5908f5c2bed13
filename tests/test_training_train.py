"""recipes.train: what a run directory holds, repeatability, and exact resumption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import recipes
from recipes import dnn
from recipes.training import checkpoints
from recipes.training.runs import Recorder, read_history
from recipes.training.tensorboard import ScalarLog

EPOCHS = 3
# What a resumed run could lose: dropout's masks, an augmentation's draws, the optimizer's averages.
CASES = {
    "dropout": {"family_or_name": "dnn", "variant": "tiny", "dropout_rate": 0.3},
    "augmentation": {
        "family_or_name": "resnet",
        "variant": "tiny",
        "filters": (4,),
        "num_blocks": (1,),
        "crop_padding": 1,
        "flip": True,
    },
}
COMMON = {"data": "digits", "batch_size": 256, "precision": "float32", "verbose": 0}


@pytest.fixture
def no_reports(monkeypatch):
    """Plots take longer than these trainings."""
    monkeypatch.setattr("recipes.reports.run.write_reports", lambda run: None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """`undisturbed(case)`: a whole run of a case, made once."""
    runs: dict[str, recipes.training.runs.Run] = {}

    def get(case: str):
        if case not in runs:
            directory = tmp_path_factory.mktemp("runs") / case
            runs[case] = recipes.train(**CASES[case], **COMMON, epochs=EPOCHS, run_dir=directory)
        return runs[case]

    return get


@pytest.fixture
def run(undisturbed):
    return undisturbed("dropout")


def everything(directory: Path) -> list[np.ndarray]:
    """Weights, optimizer and random states of a run's last model."""
    model = checkpoints.load(directory / "last.keras")
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def assert_same(one: Path, other: Path) -> None:
    """Two runs ended alike: models, history, and which epoch was best."""
    pairs = list(zip(everything(one), everything(other), strict=True))
    assert len(pairs) > 10
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
    assert read_history(one) == read_history(other)
    states = [checkpoints.read_state(path / "best.keras") for path in (one, other)]
    for state in states:
        del state["seconds"]
    assert states[0] == states[1]


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in the midst of an epoch."""

    def __init__(self, epoch: int, batch: int):
        super().__init__()
        self.stop_at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.stop_at:
            raise KeyboardInterrupt


# --- the run directory ----------------------------------------------------------------------------


def test_directory_holds_what_the_docstring_says(run):
    names = {path.name for path in run.directory.iterdir()}
    promised = {
        "config.json", "environment.json", "data.json", "history.csv", "metrics.json",
        "best.keras", "last.keras", "plots", "logs", "README.md",
    }  # fmt: skip
    assert names == promised
    assert all(name in recipes.train.__doc__ for name in promised)
    plots = {path.name for path in (run.directory / "plots").iterdir()}
    assert plots == {"confusion_matrix.png", "learning_curves.png", "mistakes.png"}
    environment = json.loads((run.directory / "environment.json").read_text())
    assert environment["backend"] == keras.backend.backend()
    assert environment["packages"]["keras"] == keras.version()


def test_history_has_a_row_for_each_epoch(run):
    lines = (run.directory / "history.csv").read_text().splitlines()
    assert lines[0].split(",")[0] == "epoch"
    assert [int(line.split(",")[0]) for line in lines[1:]] == [1, 2, 3]
    assert set(run.history) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert run.history["loss"][-1] < run.history["loss"][0]


@pytest.mark.parametrize(
    ("case", "objective", "best"),
    [("dropout", "val_loss", np.argmin), ("augmentation", "val_accuracy", np.argmax)],
)
def test_best_epoch_is_that_of_the_best_objective(case, objective, best, undisturbed):
    run = undisturbed(case)
    values = run.history[objective]
    assert run.metrics["objective"] == objective
    assert run.metrics["best_epoch"] == best(values) + 1
    assert run.metrics["best"] == values[best(values)]
    found = recipes.load(run.directory).evaluate(run.data.validation, verbose=0, return_dict=True)
    assert found[objective.removeprefix("val_")] == pytest.approx(run.metrics["best"], rel=1e-5)


def test_metrics_are_those_of_the_best_model_on_the_test_part(run):
    written = json.loads((run.directory / "metrics.json").read_text())
    assert written == run.metrics
    x, y = run.data.test.arrays()
    model = recipes.load(run.directory)
    logits = model.predict(x, verbose=0).astype("float64")
    assert written["test_accuracy"] == pytest.approx((logits.argmax(1) == y).mean())
    chosen = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert written["test_loss"] == pytest.approx(-chosen[range(len(y)), y].mean(), rel=1e-4)
    assert written["parameters"] == model.count_params()
    assert written["epochs"] == EPOCHS


def test_tensorboard_shows_the_history(run):
    events = EventAccumulator(str(run.directory / "logs")).Reload()
    assert set(events.Tags()["scalars"]) == set(run.history) - {"epoch"}
    for name in events.Tags()["scalars"]:
        assert [e.step for e in events.Scalars(name)] == [1, 2, 3]
        np.testing.assert_allclose([e.value for e in events.Scalars(name)], run.history[name])
        times = [e.wall_time for e in events.Scalars(name)]
        assert time.time() - 3600 < times[0] < times[1] < times[2] < time.time()


def test_tensorboard_shows_the_last_of_many_attempts_at_an_epoch(tmp_path):
    for attempt in range(12):  # in far less than a second
        log = ScalarLog(tmp_path)
        log.on_train_begin()
        log.on_epoch_end(0, {"loss": attempt})
        log.on_train_end()
    (shown,) = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert (shown.step, shown.value) == (1, 11)


# --- seeds and configuration ----------------------------------------------------------------------


def test_configuration_holds_all_arguments_and_repeats_the_run(run, tmp_path, no_reports):
    config = json.loads((run.directory / "config.json").read_text())
    assert config == run.config
    assert config["build"]["dropout_rate"] == 0.3  # given
    assert config["build"]["units"] == [32]  # the variant's
    assert config["build"]["momentum"] == 0.9  # the default
    assert config["build"]["input_shape"] == [8, 8, 1]  # the data's
    options = dict(config["data"]["source"])
    recipes.train(
        config["family"],
        options.pop("source"),
        data_options=options,
        **{k: config[k] for k in ("variant", "epochs", "batch_size", "precision", "seed")},
        **config["build"],
        run_dir=tmp_path / "again",
        verbose=0,
    )
    assert_same(run.directory, tmp_path / "again")


def test_another_seed_gives_other_weights_and_another_split(run, tmp_path, no_reports):
    other = recipes.train(
        **CASES["dropout"], **COMMON, epochs=1, seed=1, run_dir=tmp_path / "other"
    )
    assert other.config["data"]["labels"] != run.config["data"]["labels"]
    differ = [
        not np.array_equal(a, b)
        for a, b in zip(run.model.get_weights(), other.model.get_weights(), strict=True)
    ]
    assert all(differ)


# --- resume ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error:.*optimizer")  # Keras's, where it could not load all of it
@pytest.mark.parametrize(("case", "epoch"), [("dropout", 0), ("augmentation", 1)])
def test_resume_after_an_interruption_is_exact(
    case, epoch, undisturbed, tmp_path, no_reports, capsys
):
    directory, stop = tmp_path / "run", Interrupt(epoch, 2)
    with pytest.raises(KeyboardInterrupt):
        recipes.train(**CASES[case], **COMMON, epochs=EPOCHS, run_dir=directory, callbacks=[stop])
    told = f"Paused after epoch {epoch}. To continue: recipes train --resume {directory}"
    assert told in capsys.readouterr().out
    assert checkpoints.read_state(directory / "last.keras")["epoch"] == epoch
    keras.utils.set_random_seed(7)  # another process
    recipes.train(resume=directory, verbose=0)
    assert_same(undisturbed(case).directory, directory)


def test_resume_after_an_interruption_between_two_files_is_exact(
    run, tmp_path, no_reports, monkeypatch
):
    save, directory = checkpoints.save, tmp_path / "run"

    def interrupted(model, path, state):
        if path.name == "last.keras" and state["epoch"] == 2:
            raise KeyboardInterrupt
        save(model, path, state)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "save", interrupted)
        recipes.train(**CASES["dropout"], **COMMON, epochs=EPOCHS, run_dir=directory)
    # Epoch 2 is in the history, and its model is the best one; the training stands at epoch 1.
    assert len(read_history(directory)["epoch"]) == 2
    assert checkpoints.read_state(directory / "best.keras")["epoch"] == 2
    assert checkpoints.read_state(directory / "last.keras")["epoch"] == 1
    recipes.train(resume=directory, verbose=0)
    assert_same(run.directory, directory)
    events = EventAccumulator(str(directory / "logs")).Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3]


KILLED = """
import os, signal, sys
import keras
import recipes

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 2):
            os.kill(os.getpid(), signal.SIGKILL)

recipes.train(**eval(sys.argv[1]), run_dir=sys.argv[2], callbacks=[Kill()])
"""


@pytest.mark.slow
def test_resume_after_a_kill_is_exact(run, tmp_path, no_reports):
    directory = tmp_path / "run"
    arguments = repr(CASES["dropout"] | COMMON | {"epochs": EPOCHS})
    ended = subprocess.run([sys.executable, "-c", KILLED, arguments, directory], env=os.environ)
    assert ended.returncode == -signal.SIGKILL
    recipes.train(resume=directory, verbose=0)
    assert_same(run.directory, directory)


def test_more_epochs_are_those_of_a_longer_run(run, tmp_path, no_reports):
    directory = tmp_path / "run"
    recipes.train(**CASES["dropout"], **COMMON, epochs=1, run_dir=directory)
    resumed = recipes.train(resume=directory, epochs=EPOCHS, verbose=0)
    assert resumed.config["epochs"] == EPOCHS
    assert_same(run.directory, directory)


def test_resuming_a_finished_run_only_reports_again(run, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", None)
    (run.directory / "metrics.json").unlink()
    (run.directory / "README.md").unlink()
    again = recipes.train(resume=run.directory)
    assert again.metrics == pytest.approx(run.metrics)
    assert (run.directory / "README.md").exists()


def test_resume_of_arrays_wants_the_same_arrays(tmp_path, no_reports, capsys):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 4, 4), "uint8"), rng.permutation(60) % 3
    directory = tmp_path / "run"
    options = {"test_fraction": 0.5}
    whole = recipes.train(
        "dnn", (x, y), variant="tiny", epochs=2, run_dir=tmp_path / "whole",
        data_options=options, verbose=0,
    )  # fmt: skip
    recipes.train(
        "dnn", (x, y), variant="tiny", epochs=1, run_dir=directory, data_options=options, verbose=0
    )
    with pytest.raises(ValueError, match="pass the same again"):
        recipes.train(resume=directory, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        recipes.train(
            resume=directory, data=(x, y), epochs=2, verbose=0, callbacks=[Interrupt(1, 0)]
        )
    told = f"Paused after epoch 1. To continue: recipes.train(resume={str(directory)!r}, data=...)"
    assert told in capsys.readouterr().out
    for other in ((x, 2 - y), (x[:30], y[:30]), (x[:, :3], y)):
        with pytest.raises(ValueError, match="is not what the run was trained on"):
            recipes.train(resume=directory, data=other, epochs=2)
    recipes.train(resume=directory, data=(x, y), epochs=2, verbose=0)
    assert_same(whole.directory, directory)


# --- when it stops --------------------------------------------------------------------------------


@pytest.fixture
def recorder(tmp_path):
    """`recorder(values, patience, direction)`: fed with epochs until it stops."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    def feed(values, patience, direction="max", state=None, **more):
        made = Recorder(tmp_path, ("val_score", direction), patience)
        made.set_model(model)
        model.stop_training = False
        if state:
            made.restore(state)
        made.on_train_begin()
        for value in values:
            logs = {"loss": 1.0, "val_score": value} | {k: v[made.epoch] for k, v in more.items()}
            made.on_epoch_end(made.epoch, logs)
            if model.stop_training:
                break
        return made

    return feed


@pytest.mark.parametrize(
    ("values", "patience", "direction", "stops", "best"),
    [
        ([0.5, 0.6, 0.6, 0.6, 0.9], 2, "max", 4, 2),  # an equal value is no better one
        ([0.5, 0.6, 0.5, 0.7, 0.6, 0.6, 0.9], 2, "max", 6, 4),  # a better one starts the count anew
        ([3.0, 2.0, 2.5, 2.5, 1.0], 2, "min", 4, 2),
        ([0.5, 0.4, 0.9], 1, "max", 2, 1),
        ([0.5, 0.4, 0.9], 0, "max", 2, 1),
        ([0.9, 0.1, 0.1, 0.1, 0.1], None, "max", 5, 1),
        ([float("nan"), 0.5, float("nan"), 0.4], 2, "max", 4, 2),  # NaN is never better
    ],
)
def test_patience_counts_epochs_without_a_better_value(
    recorder, values, patience, direction, stops, best, tmp_path
):
    made = recorder(values, patience, direction)
    assert (made.epoch, made.best_epoch) == (stops, best)
    assert made.best == values[best - 1]
    assert bool(made.stopped) == (patience is not None)
    assert checkpoints.read_state(tmp_path / "best.keras")["epoch"] == best
    assert len(read_history(tmp_path)["val_score"]) == stops


def test_patience_goes_on_counting_after_a_resume(recorder, tmp_path):
    recorder([0.5, 0.6, 0.5], 3)
    state = checkpoints.read_state(tmp_path / "last.keras")
    assert recorder([0.5, 0.5, 0.9], 3, state=state).epoch == 5


def test_without_a_validation_part_the_training_value_decides(recorder, tmp_path):
    made = Recorder(tmp_path, ("val_accuracy", "max"), None)
    made.set_model(recorder([], None).model)
    made.on_train_begin()
    for value in (0.3, 0.2):
        made.on_epoch_end(made.epoch, {"loss": 1.0, "accuracy": value})
    assert (made.objective, made.best, made.best_epoch) == ("accuracy", 0.3, 1)


def test_a_loss_that_is_no_number_stops_and_is_never_the_best(recorder):
    made = recorder([0.5, 0.9, 0.9], None, val_loss=[1.0, float("inf"), 1.0])
    assert made.best_epoch == 3  # the model of epoch 2 is broken, whatever its accuracy
    made = recorder([0.9] * 3, None, state=made.state, loss=[0] * 3 + [float("nan")] * 3)
    assert (made.epoch, made.best_epoch) == (4, 3)
    assert made.stopped == "the loss is nan in epoch 4; try a smaller learning_rate"


def test_training_out_of_patience_stops_and_says_so(tmp_path, no_reports, capsys):
    run = recipes.train(
        "dnn", "iris", variant="tiny", epochs=9, patience=2, learning_rate=1e-30,
        run_dir=tmp_path / "run", verbose=2,
    )  # fmt: skip
    assert run.metrics["epochs"] == 3
    assert "Stopped: no better val_loss since epoch 1, out of patience." in capsys.readouterr().out
    more = recipes.train(resume=run.directory, epochs=12, verbose=0)  # still out of it
    assert more.metrics["epochs"] == 3
    more = recipes.train(resume=run.directory, patience=4, verbose=0)
    assert more.metrics["epochs"] == 5


def test_training_that_diverges_says_so(tmp_path, no_reports, capsys):
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    arguments = {"variant": "tiny", "epochs": 9, "verbose": 0}
    with pytest.raises(ValueError, match=r"learning_rate=1e\+30: the loss is \w+ in epoch 1; try"):
        recipes.train("dnn", "iris", learning_rate=1e30, run_dir=tmp_path / "first", **arguments)
    run = recipes.train(
        "dnn", "iris", run_dir=tmp_path / "later", callbacks=[Break()], **arguments | {"verbose": 2}
    )
    assert (run.metrics["epochs"], run.metrics["best_epoch"]) == (2, 1)
    assert np.isfinite(run.metrics["test_loss"])
    assert capsys.readouterr().out.count("Stopped: the loss is nan in epoch 2") == 1


# --- data -----------------------------------------------------------------------------------------


def test_regression_is_scored_in_the_units_of_the_target_too(tmp_path, no_reports):
    run = recipes.train(
        "dnn", "diabetes", variant="tiny", epochs=2, run_dir=tmp_path / "run", verbose=0
    )
    x, y = run.data.test.arrays()
    error = np.abs(run.model.predict(x, verbose=0) - y).mean()
    from sklearn.datasets import load_diabetes

    unscaled = error * load_diabetes().target[run.data.train.indices].std()
    assert run.metrics["test_mae"] == pytest.approx(error, rel=1e-5)
    assert run.metrics["test_mae_unscaled"] == pytest.approx(unscaled, rel=1e-5)


def test_data_that_was_loaded_before_keeps_its_options(tmp_path, no_reports, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = dnn.load_data("iris", seed=5, test_fraction=0.4, batch_size=8)
    run = recipes.train(dnn, data, variant="tiny", epochs=1, batch_size=16, verbose=0)
    assert run.directory == Path("runs/dnn-tiny-iris-1")
    assert (run.data.test.size, run.data.train.batch_size) == (60, 16)
    more = recipes.train(resume=run.directory, epochs=2, verbose=0)
    assert more.data.train.batch_size == 16
    np.testing.assert_array_equal(more.data.test.indices, data.test.indices)
    second = recipes.train(dnn, data, variant="tiny", epochs=1, verbose=0)
    assert second.directory == Path("runs/dnn-tiny-iris-2")


def test_a_wrong_argument_leaves_no_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="units"):
        recipes.train("dnn", "iris", units="many")
    assert not list(tmp_path.iterdir())
