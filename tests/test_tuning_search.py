"""What a search hands back: the best model trained on all that may be trained on."""

import json

import numpy as np
import pytest

import recipes
from recipes import dnn
from recipes.tuning.folds import whole


def rows(**options):
    """Two overlapping clouds, (90, 3): 63 to train on, 9 to validate, 18 to test."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 45)
    return dnn.load_data((rng.normal(size=(90, 3)) + y[:, None], y), batch_size=16, **options)


def space(hp):
    rate = hp.Choice("learning_rate", [1e-2, 3e-2])
    return {"units": (4,), "dropout_rate": 0.2, "learning_rate": rate}


def tune(directory, **changes):
    given = {"algorithm": "grid", "max_trials": 2, "epochs": 4, "space": space, "workers": 0}
    given |= {"precision": "float32", "verbose": 0}
    return recipes.tune("dnn", rows(), directory=directory, **given | changes)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return tune(tmp_path_factory.mktemp("search") / "s")


def by_hand(search, epochs):
    """Weights of that configuration, trained on all but the test part."""
    best = min(search.trials, key=lambda trial: trial["score"])
    run = recipes.train(
        "dnn", whole(rows()), epochs=epochs, seed=best["number"], precision="float32", verbose=0,
        run_dir=search.directory / f"run_{epochs}", **search.best_arguments,
    )  # fmt: skip
    return recipes.load(run.directory / "last.keras").get_weights()


def assert_close(model, weights):
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_whole_is_training_and_validation_and_no_test():
    data = rows()
    found = whole(data)
    assert found.validation is None and found.test is data.test
    pool = np.concatenate([data.train.indices, data.validation.indices])
    np.testing.assert_array_equal(found.train.indices, np.sort(pool))
    assert not set(pool) & set(data.test.indices) and whole(found) is found


def test_retraining_takes_the_best_arguments_and_epochs(searched, monkeypatch):
    best = min(searched.trials, key=lambda trial: trial["score"])
    epochs = 1 + int(np.argmin(best["history"]["val_loss"]))
    model = searched.retrain()
    assert_close(model, by_hand(searched, epochs))
    steps = -(-(90 - 18) // 16) * epochs
    assert int(model.optimizer.iterations) == steps
    assert searched.best_model().optimizer.iterations != steps  # without the validation part
    monkeypatch.setattr("recipes.tuning.trial._fit", None)
    assert_close(searched.retrain(), model.get_weights())  # kept


def test_with_folds_the_best_model_is_trained_on_all_of_them(tmp_path):
    search = tune(tmp_path / "s", folds=3, max_trials=1)
    model = search.best_model()
    (trial,) = search.trials
    records = [
        np.argmin(json.loads(path.read_text())["history"]["val_loss"]) + 1
        for path in sorted(trial["folder"].glob("fold_*/record.json"))
    ]
    assert len(records) == 3
    assert int(model.optimizer.iterations) == -(-(90 - 18) // 16) * int(np.median(records))
    assert (
        search.tuner.load_model(search._best()).optimizer.iterations != model.optimizer.iterations
    )


def test_a_failed_retraining_says_why_and_is_tried_again(searched, monkeypatch, tmp_path):
    search = tune(tmp_path / "s", max_trials=1)

    def fail(*args):
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("recipes.tuning.trial._fit", fail)
        with pytest.raises(RuntimeError, match=r"trial 1 of .*: out of memory: no room"):
            search.retrain()
    assert search.retrain().built


def test_validation_parts_that_cannot_be_trained_on():
    with pytest.raises(ValueError, match="data='karate': holds graphs, whose validation part"):
        whole(recipes.gnn.load_data("karate"))
    data = rows()
    data.test = data.validation
    with pytest.raises(ValueError, match="validation part is the test part"):
        whole(data)
