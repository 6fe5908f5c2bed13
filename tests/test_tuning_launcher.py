"""The loop of a search, with an executor that trains nothing: what is lost where, and when."""

import itertools
from pathlib import Path

import keras_tuner
import pytest

from recipes.tuning import launcher
from recipes.tuning.budget import Budget
from recipes.tuning.executors import Ended
from recipes.tuning.launcher import launch
from recipes.tuning.oracles import ORACLES, make_oracle
from recipes.tuning.spaces import Space
from recipes.tuning.trial import Task


def space():
    def function(hp):
        return {"rate": hp.Float("rate", 0.0, 1.0, step=0.125), "deep": hp.Boolean("deep")}

    return Space(function, {}, set())


def score_of(values: dict) -> float:
    return values["rate"] * (1 - values["rate"]) + 0.1 * values["deep"]


class Kill(BaseException):
    """As sudden as SIGKILL: nothing is tidied up."""


class Fake:
    """Trials end at once, in the order of their slots; `fate` can say otherwise."""

    def __init__(self, slots=1, fate=lambda task, time: None):
        self.slots, self.fate = range(slots), fate
        self.tasks, self.stopped, self.waiting = [], False, []

    def submit(self, slot, task):
        self.tasks.append(task)
        self.waiting.append((slot, task))

    def wait(self, heard, timeout):
        slot, task = self.waiting.pop(0)
        heard(slot, 1, {})
        times = sum(t.number == task.number for t in self.tasks)
        record = record_of(task, self.fate(task, times))
        return Ended(slot, None, "shot") if record is None else Ended(slot, record)

    def stop(self):
        self.stopped = True


def record_of(task, fate):
    if fate == "dies":
        return None
    history = {} if fate else {"score": [score_of(task.arguments)], "loss": [1.0]}
    score = None if fate else history["score"][0]
    return {"reason": fate, "epoch": 1, "best_epoch": 1, "score": score, "history": history}


def run(directory: Path, executor, algorithm="random", max_trials=6, start=None, **options):
    oracle = make_oracle(algorithm, space(), ("score", "max"), max_trials, 9, 0, directory, start)

    def task_of(trial):
        folder = directory / f"trial_{trial.trial_id}"
        number = int(trial.trial_id) + 1
        given = {"batch_size": 64, "epochs": 1, "precision": "float32"}
        return Task(number, folder, trial.hyperparameters.values, **given)

    spent = launch(oracle, executor, task_of, **options)
    return oracle, spent


def outcomes(oracle):
    trials = oracle.trials.values()
    return [(t.trial_id, t.hyperparameters.values, t.status, t.score) for t in trials]


@pytest.mark.parametrize("algorithm", ORACLES)
def test_a_kill_at_any_moment_changes_nothing(algorithm, tmp_path, monkeypatch):
    """One process at a time is killed before and after each time that the oracle is saved."""
    whole = outcomes(run(tmp_path / "whole", Fake(), algorithm)[0])
    assert [t[2] for t in whole] == ["COMPLETED"] * 6
    defaults = space().hyperparameters.values
    assert {name: whole[0][1][name] for name in defaults} == defaults
    save, count = ORACLES[algorithm].save, itertools.count()
    lives, fatal = [], itertools.chain(range(1, 40, 3), itertools.repeat(1000))

    def deadly(self):
        if next(count) == lives[-1]:
            if lives[-1] % 2:
                save(self)
            raise Kill
        save(self)

    monkeypatch.setattr(ORACLES[algorithm], "save", deadly)
    while True:
        lives.append(next(fatal))
        try:
            oracle, _ = run(tmp_path / "killed", Fake(), algorithm)
            break
        except Kill:
            continue
    assert len(lives) > 4
    assert outcomes(oracle) == whole


START = [{"rate": rate, "deep": deep} for rate, deep in ((0.5, True), (0.125, False), (1.0, True))]


@pytest.mark.parametrize("algorithm", ORACLES)
def test_what_is_given_is_tried_first_and_survives_a_kill(algorithm, tmp_path, monkeypatch):
    """Killed as its first trial is saved as ended, and with two given ones left."""
    whole = outcomes(run(tmp_path / "whole", Fake(), algorithm, start=START)[0])
    kept = [{name: t[1][name] for name in ("rate", "deep")} for t in whole]
    assert kept[:3] == START and len(whole) == 6
    if algorithm != "hyperband":  # which tries the best again, for longer
        assert len({tuple(values.items()) for values in kept}) == 6
    save, count = ORACLES[algorithm].save, itertools.count()

    def deadly(self):
        save(self)
        if next(count) == 1:
            raise Kill

    monkeypatch.setattr(ORACLES[algorithm], "save", deadly)
    with pytest.raises(Kill):
        run(tmp_path / "killed", Fake(), algorithm, start=START)
    # Given again or not, it is tried once.
    for start in (None, START):
        (tmp_path / "again").mkdir(exist_ok=True)
        for file in (tmp_path / "killed").glob("*.json"):
            (tmp_path / "again" / file.name).write_bytes(file.read_bytes())
        assert outcomes(run(tmp_path / "again", Fake(), algorithm, start=start)[0]) == whole


def test_the_grid_is_whole_beside_what_is_given(tmp_path):
    oracle, _ = run(tmp_path / "s", Fake(), "grid", max_trials=99, start=START)
    tried = {(v["rate"], v["deep"]) for _, v, _, _ in outcomes(oracle)}
    assert len(oracle.trials) == len(tried) == 18


def test_given_configurations_come_next_in_a_search_that_is_there(tmp_path):
    run(tmp_path / "s", Fake(), "bayesian", max_trials=6, start=START[:1])
    oracle, _ = run(tmp_path / "s", Fake(), "bayesian", max_trials=9, start=START)
    tried = [values for _, values, _, _ in outcomes(oracle)]
    assert all(values in tried for values in START)
    assert [v for v in tried[6:] if v in START] == [v for v in START if v not in tried[:6]]
    assert tried[6] in START or all(v in tried[:6] for v in START)


@pytest.mark.parametrize("algorithm", ["random", "grid"])
def test_several_slots_try_what_one_tries(algorithm, tmp_path):
    one, _ = run(tmp_path / "one", Fake(), algorithm, max_trials=9)
    executor = Fake(3)
    three, _ = run(tmp_path / "three", executor, algorithm, max_trials=9)
    assert outcomes(three) == outcomes(one)


def test_the_grid_keeps_all_slots_busy(tmp_path):
    busy = []
    executor = Fake(3)
    wait = executor.wait
    executor.wait = lambda *a: (busy.append(len(executor.waiting)), wait(*a))[1]
    oracle, _ = run(tmp_path / "s", executor, "grid", max_trials=99)
    assert len(oracle.trials) == 18  # all there are: 9 rates, deep or not
    assert busy == [3] * 16 + [2, 1]


def test_what_dies_runs_again_once(tmp_path):
    fates = {2: ["dies", None], 4: ["dies", "dies"]}
    executor = Fake(2, lambda task, time: fates.get(task.number, [None])[time - 1])
    oracle, _ = run(tmp_path / "s", executor)
    assert sorted(t.number for t in executor.tasks) == [1, 2, 2, 3, 4, 4, 5, 6]
    status = {int(i) + 1: (t.status, t.message) for i, t in oracle.trials.items()}
    assert status.pop(4) == ("FAILED", "shot")
    assert set(status.values()) == {("COMPLETED", None)} and len(status) == 5
    assert (tmp_path / "s/trial_3/record.json").exists()


def test_short_memory_fails_a_trial_unless_its_batches_may_shrink(tmp_path):
    def fate(task, time):
        return "out of memory: 9 GB" if task.number == 2 and task.batch_size > 16 else None

    executor = Fake(1, fate)
    oracle, _ = run(tmp_path / "a", executor)
    assert oracle.trials["1"].status == "FAILED" and len(executor.tasks) == 6
    executor = Fake(1, fate)
    oracle, _ = run(tmp_path / "b", executor, shrink_batch=True)
    assert oracle.trials["1"].status == "COMPLETED"
    assert [t.batch_size for t in executor.tasks] == [64, 64, 32, 16, 64, 64, 64, 64]


def test_the_budget_ends_a_search_and_the_trials_that_run_count(tmp_path, monkeypatch):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(launcher.time, "monotonic", lambda: next(clock))
    executor = Fake(2)
    oracle, spent = run(tmp_path / "s", executor, max_trials=50, budget=Budget(100))
    assert spent and executor.stopped and not executor.waiting
    assert {t.status for t in oracle.trials.values()} == {"COMPLETED"}
    assert 2 <= len(oracle.trials) < 10
    monkeypatch.undo()
    oracle, spent = run(tmp_path / "s", Fake(2), max_trials=50)
    assert not spent  # and goes on, until random draws find nothing new
    assert 10 < len(oracle.trials) <= 18


def test_an_oracle_that_waits_for_nothing_ends_the_search(tmp_path, monkeypatch):
    idle = {"status": "IDLE", "values": None}
    monkeypatch.setattr(ORACLES["random"], "populate_space", lambda self, i: idle)
    assert run(tmp_path / "s", Fake())[0].trials == {}


def test_conditions_within_conditions_are_found():
    def function(hp):
        found = {"kind": hp.Choice("kind", ["a", "b"])}
        with hp.conditional_scope("kind", ["b"]):
            if found["kind"] == "b":
                found["depth"] = hp.Int("depth", 1, 2)
                with hp.conditional_scope("depth", [2]):
                    if found["depth"] == 2:
                        found["rate"] = hp.Float("rate", 0.0, 1.0)
        return found

    made = Space(function, {}, set())
    assert made.varying == ["kind", "depth", "rate"]
    assert len(made.hyperparameters.space) == 3
    assert isinstance(made.hyperparameters, keras_tuner.HyperParameters)
