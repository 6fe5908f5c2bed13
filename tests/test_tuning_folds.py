"""Cross-validation: how examples are dealt out, what a trial's folds say, and what a kill costs."""

import json

import keras
import numpy as np
import pytest

import recipes
from recipes import cnn, dnn, gnn, lstm, transformer
from recipes.tuning.folds import fold, together


def rows(**options):
    """Two overlapping clouds, two thirds of them of class 0, (90, 3)."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 0, 1], 30)
    return dnn.load_data((rng.normal(size=(90, 3)) + y[:, None], y), batch_size=16, **options)


def space(hp):
    return {
        "units": (4,),
        "dropout_rate": 0.2,
        "learning_rate": hp.Choice("learning_rate", [1e-2, 1e-1, 3e-2]),
    }


def tune(directory, **changes):
    given = {"algorithm": "grid", "max_trials": 2, "epochs": 3, "objective": "val_loss"}
    given |= {"space": space, "folds": 3, "precision": "float32", "verbose": 0, "workers": 0}
    return recipes.tune("dnn", rows(), directory=directory, **given | changes)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return tune(tmp_path_factory.mktemp("folds") / "s")


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_hold_each_example_once_and_each_class_in_proportion(folds):
    data = rows()
    parts = [fold(data, number, folds, seed=0) for number in range(1, folds + 1)]
    held = [part.validation.indices for part in parts]
    pool = np.concatenate([data.train.indices, data.validation.indices])
    np.testing.assert_array_equal(np.sort(np.concatenate(held)), np.sort(pool))
    for part, indices in zip(parts, held, strict=True):
        np.testing.assert_array_equal(part.train.indices, np.setdiff1d(pool, indices))
        assert part.test is data.test and part.train.shuffle and not part.validation.shuffle
    ones = [np.sum(part.validation.targets == 1) for part in parts]
    assert max(ones) - min(ones) <= 1
    assert max(map(len, held)) - min(map(len, held)) <= 1
    other = fold(data, 1, folds, seed=1).validation.indices
    assert not np.array_equal(other, held[0])


def test_folds_of_numbers_pictures_without_labels_and_pairs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    unlabelled = recipes.vae.load_data(rng.random((40, 8, 8, 1)).astype("float32"))
    pairs = transformer.load_data(([f"{i}" for i in range(60)], [f"{i + 1}" for i in range(60)]))
    for data in (dnn.load_data((x, x.sum(axis=1))), unlabelled, pairs):
        part = fold(data, 2, 4, seed=0)
        sizes = data.sizes["train"] + data.sizes["validation"]
        assert part.sizes["train"] + part.sizes["validation"] == sizes
        assert abs(part.sizes["validation"] - sizes / 4) < 1
        assert (
            sum(len(batch[0][0] if data is pairs else batch[0]) for batch in part.train)
            == (part.sizes["train"])
        )


def test_the_score_is_the_mean_over_folds(searched):
    for trial in searched.trials:
        records = [
            json.loads((trial["folder"] / f"fold_{n}/record.json").read_text()) for n in (1, 2, 3)
        ]
        scores = [min(record["history"]["val_loss"]) for record in records]
        assert len(set(scores)) == 3
        assert trial["score"] == pytest.approx(np.mean(scores))
        assert trial["spread"] == pytest.approx(np.std(scores))
        assert trial["history"]["val_loss"] == pytest.approx(
            np.mean([record["history"]["val_loss"] for record in records], axis=0)
        )
        assert trial["seconds"] >= records[0]["seconds"] + records[1]["seconds"]
    assert searched.best_score == min(trial["score"] for trial in searched.trials)
    assert f"{searched.best_score:.4f} ± " in (searched.directory / "README.md").read_text()
    assert (searched.directory / "results.csv").read_text().startswith("number,status,score,spread")


def test_a_fold_trains_as_the_same_data_would(searched, tmp_path):
    trial = searched.trials[0]
    run = recipes.train(
        "dnn", fold(rows(), 2, 3, seed=0), epochs=3, seed=1, precision="float32", verbose=0,
        run_dir=tmp_path / "run", **{"variant": "mlp", **trial["arguments"]},
    )  # fmt: skip
    record = json.loads((trial["folder"] / "fold_2/record.json").read_text())
    assert run.history["val_loss"] == pytest.approx(record["history"]["val_loss"], rel=1e-5)


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in an epoch of the training that begins as number `which`."""

    begun = 0

    def __init__(self, which, epoch):
        super().__init__()
        self.which, self.epoch = which, epoch

    def on_train_begin(self, logs=None):
        Interrupt.begun += 1

    def on_epoch_begin(self, epoch, logs=None):
        Interrupt.epochs.append(epoch)
        if Interrupt.begun == self.which and epoch == self.epoch:
            raise KeyboardInterrupt


def test_a_killed_trial_goes_on_in_the_fold_it_was_at(searched, tmp_path):
    Interrupt.begun, Interrupt.epochs = 0, []
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "s", checkpoint_every=0, callbacks=[Interrupt(2, 1)])
    Interrupt.begun, Interrupt.epochs = 2, []
    search = tune(tmp_path / "s", checkpoint_every=0, callbacks=[Interrupt(2, 9)], max_trials=1)
    assert Interrupt.epochs == [1, 2, 0, 1, 2]  # the rest of the second fold, and the third
    assert search.trials[0]["history"] == {
        name: pytest.approx(values, rel=1e-5)
        for name, values in searched.trials[0]["history"].items()
    }


def test_a_fold_that_fails_fails_the_trial(tmp_path):
    def wild(hp):
        return {"units": (4,), "learning_rate": hp.Choice("learning_rate", [1e-2, 1e38])}

    good, bad = tune(tmp_path / "s", space=wild, optimizer="sgd").trials
    assert good["reason"] is None and bad["score"] is None
    assert bad["reason"].endswith("in epoch 1 (fold 1)")


def test_folds_of_unequal_length():
    def record(curve):
        score = min(curve)
        found = {"score": score, "best_epoch": 1 + curve.index(score), "history": {"loss": curve}}
        return found | {"epoch": len(curve), "seconds": 1.0, "parameters": 3, "batch_size": 2}

    found = together([record([5.0, 1.0]), record([4.0, 3.0, 2.0, 6.0]), record([3.0, 2.0, 1.5])])
    assert found["score"] == 1.5 and found["scores"] == [1.0, 2.0, 1.5]
    assert found["history"]["loss"] == [4.0, 2.0, 1.75, 6.0]
    assert (found["best_epoch"], found["epoch"], found["seconds"]) == (3, 4, 3.0)


@pytest.mark.parametrize(
    ("family", "source", "kind"),
    [(lstm, "sunspots", "series"), (gnn, "karate", "graphs"), ("dqn", "CartPole-v1", "environm"),
     ("gpt", "pydoc_topics", "corpus"), ("hopfield", "letters", "patterns")],
)  # fmt: skip
def test_what_cannot_be_dealt_out_anew_is_refused(family, source, kind, tmp_path):
    wanted = f"folds=5: .* holds {kind}.*cannot be dealt out anew; only images, tables"
    with pytest.raises(ValueError, match=wanted):
        recipes.tune(family, source, folds=5, directory=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("folds", "message"),
    [(1, "folds=1: must be an integer of at least 2"), (99, "folds=99: arrays has only 72 exam")],
)
def test_impossible_numbers_of_folds(folds, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tune(tmp_path / "s", folds=folds)


def test_parts_of_different_arrays_are_refused():
    data, other = rows(), rows()
    data.validation = other.validation
    with pytest.raises(ValueError, match="hold different arrays"):
        recipes.tune("dnn", data, folds=2)


@pytest.mark.slow
def test_folds_of_pictures_in_a_process(tmp_path):
    rng = np.random.default_rng(0)
    data = cnn.load_data((rng.random((48, 8, 8, 1)).astype("float32"), np.tile([0, 1], 24)))
    search = recipes.tune(
        "cnn", data, variant="tiny", max_trials=1, epochs=1, folds=2, verbose=0,
        directory=tmp_path / "s",
    )  # fmt: skip
    assert search.trials[0]["reason"] is None and search.trials[0]["spread"] is not None
